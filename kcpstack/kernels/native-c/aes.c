/* See aes.h.
 *
 * A block takes some forty cycles from end to end, and the processor can begin two steps of different blocks in each.  CFB
 * makes a datagram a chain of blocks, each waiting for the one before, so LANES datagrams are encrypted side by side: as one
 * ends, the next one takes its lane.
 */

#include "aes.h"

#include <string.h>

#define LANES 8

#ifdef KCPSTACK_X86

#define AES_TARGET TARGET("aes,sse4.1")

/* ------------------------------------------------------------ the key schedule (FIPS 197, 5.2) */

AES_TARGET
static uint32_t substituted(uint32_t word)
{
    return (uint32_t)_mm_cvtsi128_si32(_mm_aeskeygenassist_si128(_mm_set1_epi32((int)word), 0));
}

AES_TARGET
static void expand(aes_key *schedule, const uint8_t *key, size_t words)
{
    uint32_t made[60], constant = 1;
    size_t count = 4 * (words + 7);

    memcpy(made, key, 4 * words);
    for (size_t i = words; i < count; i++) {
        uint32_t word = made[i - 1];
        if (i % words == 0) {
            word = substituted(word);
            word = (word >> 8 | word << 24) ^ constant;
            constant = constant << 1 ^ (constant & 0x80 ? 0x11b : 0);
        } else if (words > 6 && i % words == 4) {
            word = substituted(word);
        }
        made[i] = made[i - words] ^ word;
    }
    schedule->rounds = (int)words + 6;
    memcpy(schedule->keys, made, 4 * count);
}

/* ------------------------------------------------------------ blocks */

#define KEY(round) _mm_loadu_si128((const __m128i *)key->keys[round])

AES_TARGET
INLINE __m128i encrypted(const aes_key *key, __m128i block)
{
    block = _mm_xor_si128(block, KEY(0));
    for (int round = 1; round < key->rounds; round++)
        block = _mm_aesenc_si128(block, KEY(round));
    return _mm_aesenclast_si128(block, KEY(key->rounds));
}

/* Encrypt LANES blocks in place. */
AES_TARGET
INLINE void encrypt_lanes(const aes_key *key, __m128i *blocks)
{
    __m128i a = blocks[0], b = blocks[1], c = blocks[2], d = blocks[3];
    __m128i e = blocks[4], f = blocks[5], g = blocks[6], h = blocks[7], k = KEY(0);

    a = _mm_xor_si128(a, k), b = _mm_xor_si128(b, k), c = _mm_xor_si128(c, k), d = _mm_xor_si128(d, k);
    e = _mm_xor_si128(e, k), f = _mm_xor_si128(f, k), g = _mm_xor_si128(g, k), h = _mm_xor_si128(h, k);
    for (int round = 1; round < key->rounds; round++) {
        k = KEY(round);
        a = _mm_aesenc_si128(a, k), b = _mm_aesenc_si128(b, k), c = _mm_aesenc_si128(c, k);
        d = _mm_aesenc_si128(d, k), e = _mm_aesenc_si128(e, k), f = _mm_aesenc_si128(f, k);
        g = _mm_aesenc_si128(g, k), h = _mm_aesenc_si128(h, k);
    }
    k = KEY(key->rounds);
    blocks[0] = _mm_aesenclast_si128(a, k), blocks[1] = _mm_aesenclast_si128(b, k);
    blocks[2] = _mm_aesenclast_si128(c, k), blocks[3] = _mm_aesenclast_si128(d, k);
    blocks[4] = _mm_aesenclast_si128(e, k), blocks[5] = _mm_aesenclast_si128(f, k);
    blocks[6] = _mm_aesenclast_si128(g, k), blocks[7] = _mm_aesenclast_si128(h, k);
}

INLINE __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

INLINE void store(uint8_t *at, __m128i block)
{
    _mm_storeu_si128((__m128i *)at, block);
}

/* XOR the last bytes of a datagram, less than a block, with the front of a keystream block. */
static void xor_tail(uint8_t *at, size_t length, __m128i stream)
{
    uint8_t bytes[AES_BLOCK];
    store(bytes, stream);
    for (size_t i = 0; i < length; i++)
        at[i] ^= bytes[i];
}

/* ------------------------------------------------------------ CFB */

AES_TARGET
void aes_cfb_encrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count)
{
    uint8_t *at[LANES], idle[AES_BLOCK];
    size_t left[LANES], next = 0;
    __m128i chain[LANES];
    int busy = 0;

    for (int lane = 0; lane < LANES; lane++) {
        left[lane] = 0;
        at[lane] = idle;
        chain[lane] = _mm_setzero_si128();
    }
    for (;;) {
        size_t steps = (size_t)-1;
        busy = 0;
        for (int lane = 0; lane < LANES; lane++) {
            while (left[lane] < AES_BLOCK) {
                if (left[lane])
                    xor_tail(at[lane], left[lane], encrypted(key, chain[lane]));
                left[lane] = 0;
                if (next == count)
                    break;
                at[lane] = datagrams[next].at;
                left[lane] = datagrams[next++].length;
                chain[lane] = load(iv);
            }
            if (left[lane]) {
                size_t blocks = left[lane] / AES_BLOCK;
                steps = blocks < steps ? blocks : steps;
                busy++;
            } else {
                at[lane] = NULL;
            }
        }
        if (!busy)
            return;
        if (busy == 1) { /* a chain by itself: the others would only cost */
            for (int lane = 0; lane < LANES; lane++)
                for (size_t step = 0; at[lane] && step < steps; step++, at[lane] += AES_BLOCK, left[lane] -= AES_BLOCK) {
                    chain[lane] = _mm_xor_si128(load(at[lane]), encrypted(key, chain[lane]));
                    store(at[lane], chain[lane]);
                }
            continue;
        }
        for (size_t step = 0; step < steps; step++) {
            encrypt_lanes(key, chain);
            for (int lane = 0; lane < LANES; lane++) {
                if (at[lane]) {
                    chain[lane] = _mm_xor_si128(chain[lane], load(at[lane]));
                    store(at[lane], chain[lane]);
                    at[lane] += AES_BLOCK;
                }
            }
        }
        for (int lane = 0; lane < LANES; lane++)
            left[lane] -= at[lane] ? steps * AES_BLOCK : 0;
    }
}

AES_TARGET
static void cfb_decrypt_one(const aes_key *key, const uint8_t *iv, uint8_t *at, size_t length)
{
    __m128i before = load(iv), blocks[LANES], sealed[LANES];

    for (; length >= LANES * AES_BLOCK; at += LANES * AES_BLOCK, length -= LANES * AES_BLOCK) {
        for (int i = 0; i < LANES; i++) {
            sealed[i] = load(at + i * AES_BLOCK);
            blocks[i] = i ? sealed[i - 1] : before;
        }
        before = sealed[LANES - 1];
        encrypt_lanes(key, blocks);
        for (int i = 0; i < LANES; i++)
            store(at + i * AES_BLOCK, _mm_xor_si128(blocks[i], sealed[i]));
    }
    if (length) { /* the rest, less than LANES blocks, all at once as well */
        int whole = (int)(length / AES_BLOCK);
        for (int i = 0; i < LANES; i++) {
            blocks[i] = before;
            if (i < whole)
                before = load(at + i * AES_BLOCK);
        }
        encrypt_lanes(key, blocks);
        for (int i = 0; i < whole; i++)
            store(at + i * AES_BLOCK, _mm_xor_si128(blocks[i], load(at + i * AES_BLOCK)));
        xor_tail(at + whole * AES_BLOCK, length % AES_BLOCK, blocks[whole]);
    }
}

void aes_cfb_decrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cfb_decrypt_one(key, iv, datagrams[i].at, datagrams[i].length);
}

int aes_expand(aes_key *schedule, const uint8_t *key, size_t length)
{
    if (kcp_level() < LEVEL_SSE || (length != 16 && length != 24 && length != 32))
        return 0;
    expand(schedule, key, length / 4);
    return 1;
}

#else

int aes_expand(aes_key *schedule, const uint8_t *key, size_t length)
{
    return 0;
}

void aes_cfb_encrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count)
{
}

void aes_cfb_decrypt(const aes_key *key, const uint8_t *iv, const span *datagrams, size_t count)
{
}

#endif
