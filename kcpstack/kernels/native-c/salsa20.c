/* See salsa20.h.
 *
 * Blocks of the keystream differ in their counter alone, so eight are made at once, a word of each in a vector, in
 * GCC's portable vectors: the compiler makes of them what the target has.
 */

#include "salsa20.h"

#include <string.h>

#define WIDE 8
#define BLOCK 64

typedef uint32_t words __attribute__((vector_size(4 * WIDE)));

INLINE uint32_t read32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void start(uint32_t *state, const uint8_t *key, const uint8_t *nonce)
{
    static const uint8_t constants[] = "expand 32-byte k";
    for (int i = 0; i < 4; i++) {
        state[5 * i] = read32(constants + 4 * i);
        state[1 + i] = read32(key + 4 * i);
        state[11 + i] = read32(key + 16 + 4 * i);
    }
    state[6] = read32(nonce);
    state[7] = read32(nonce + 4);
    state[8] = state[9] = 0;
}

#define STEP(to, a, b, bits) \
    do { \
        words sum = x[a] + x[b]; \
        x[to] ^= sum << (bits) | sum >> (32 - (bits)); \
    } while (0)

#define QUARTER(a, b, c, d) \
    STEP(b, a, d, 7); \
    STEP(c, b, a, 9); \
    STEP(d, c, b, 13); \
    STEP(a, d, c, 18)

/* WIDE blocks of keystream from block ``counter`` on. */
INLINE void make_blocks(const uint32_t *state, uint32_t counter, uint8_t *stream)
{
    words x[16], begin[16];

    for (int i = 0; i < 16; i++)
        for (int lane = 0; lane < WIDE; lane++)
            begin[i][lane] = state[i] + (i == 8 ? counter + (uint32_t)lane : 0);
    memcpy(x, begin, sizeof x);
    for (int round = 0; round < 20; round += 2) {
        QUARTER(0, 4, 8, 12);
        QUARTER(5, 9, 13, 1);
        QUARTER(10, 14, 2, 6);
        QUARTER(15, 3, 7, 11);
        QUARTER(0, 1, 2, 3);
        QUARTER(5, 6, 7, 4);
        QUARTER(10, 11, 8, 9);
        QUARTER(15, 12, 13, 14);
    }
    for (int i = 0; i < 16; i++) {
        words sum = x[i] + begin[i];
        for (int lane = 0; lane < WIDE; lane++) {
            uint32_t word = sum[lane];
            uint8_t *at = stream + lane * BLOCK + 4 * i;
            at[0] = (uint8_t)word, at[1] = (uint8_t)(word >> 8), at[2] = (uint8_t)(word >> 16), at[3] = (uint8_t)(word >> 24);
        }
    }
}

INLINE void xor_stream(const uint32_t *state, uint8_t *data, size_t length)
{
    uint8_t stream[WIDE * BLOCK];
    uint64_t a, b;

    for (uint32_t counter = 0; length; counter += WIDE) {
        size_t taken = length < sizeof stream ? length : sizeof stream, at = 0;
        make_blocks(state, counter, stream);
        for (; at + 8 <= taken; at += 8) {
            memcpy(&a, data + at, 8);
            memcpy(&b, stream + at, 8);
            a ^= b;
            memcpy(data + at, &a, 8);
        }
        for (; at < taken; at++)
            data[at] ^= stream[at];
        data += taken;
        length -= taken;
    }
}

static void portable(const uint32_t *state, uint8_t *data, size_t length)
{
    xor_stream(state, data, length);
}

#ifdef KCPSTACK_X86
TARGET("avx2")
static void by_avx2(const uint32_t *state, uint8_t *data, size_t length)
{
    xor_stream(state, data, length);
}
#endif

void salsa20_xor(const uint8_t *key, const uint8_t *nonce, uint8_t *data, size_t length)
{
    uint32_t state[16];

    start(state, key, nonce);
#ifdef KCPSTACK_X86
    if (kcp_level() >= LEVEL_AVX2) {
        by_avx2(state, data, length);
        return;
    }
#endif
    portable(state, data, length);
}
