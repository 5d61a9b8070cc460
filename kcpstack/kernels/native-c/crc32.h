/* CRC-32 of IEEE 802.3, as zlib's crc32. */

#ifndef KCPSTACK_CRC32_H
#define KCPSTACK_CRC32_H

#include "cpu.h"

uint32_t kcp_crc32(const uint8_t *data, size_t length);

#endif
