/* Salsa20/20 with a key of 32 bytes (Bernstein, "The Salsa20 family of stream ciphers", 2007). */

#ifndef KCPSTACK_SALSA20_H
#define KCPSTACK_SALSA20_H

#include "cpu.h"

/* XOR ``data`` with the keystream from its beginning. */
void salsa20_xor(const uint8_t *key, const uint8_t *nonce, uint8_t *data, size_t length);

#endif
