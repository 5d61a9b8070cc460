/* Sums of products in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1, whole shards at a time. */

#ifndef KCPSTACK_GALOIS_H
#define KCPSTACK_GALOIS_H

#include "cpu.h"

#define GALOIS_STEP 64 /* bytes; lengths are multiples of it */

/* For each of ``rows``: out = the sum over ``count`` inputs of weights[row * count + i] * inputs[i].
 *
 * Inputs lie ``length`` bytes apart from ``inputs`` on, and so do the rows from ``out`` on; length is a multiple of
 * GALOIS_STEP.  ``out`` overlaps nothing. */
void galois_combine(const uint8_t *inputs, size_t count, size_t length, const uint8_t *weights, size_t rows, uint8_t *out);

#endif
