/* A datagram in a buffer. */

#ifndef KCPSTACK_SPAN_H
#define KCPSTACK_SPAN_H

#include "cpu.h"

typedef struct {
    uint8_t *at;
    size_t length;
} span;

#endif
