/* GCM, see aes.h.
 *
 * GHASH multiplies in GF(2^128) with PCLMULQDQ (Gueron and Kounavis, "Intel Carry-Less Multiplication Instruction and its
 * Usage for Computing the GCM Mode", 2010): the bits are in the other order, so a product is shifted left by one, and
 * reduced by shifts.  Eight blocks are multiplied by eight powers of H and reduced once.
 */

#include "aes.h"

#include <string.h>

#define WIDE 8

#ifdef KCPSTACK_X86

#define GCM_TARGET TARGET("aes,sse4.1,ssse3,pclmul")

INLINE __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

INLINE void store(uint8_t *at, __m128i block)
{
    _mm_storeu_si128((__m128i *)at, block);
}

GCM_TARGET
INLINE __m128i turned(__m128i block)
{
    return _mm_shuffle_epi8(block, _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
}

/* ------------------------------------------------------------ GHASH */

typedef struct {
    __m128i low, middle, high; /* a product of 256 bits that is not yet put together */
} product;

GCM_TARGET
INLINE void multiply(product *sum, __m128i a, __m128i b)
{
    sum->low = _mm_xor_si128(sum->low, _mm_clmulepi64_si128(a, b, 0x00));
    sum->high = _mm_xor_si128(sum->high, _mm_clmulepi64_si128(a, b, 0x11));
    sum->middle = _mm_xor_si128(
        sum->middle, _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10)));
}

GCM_TARGET
INLINE __m128i reduced(const product *sum)
{
    __m128i low = _mm_xor_si128(sum->low, _mm_slli_si128(sum->middle, 8));
    __m128i high = _mm_xor_si128(sum->high, _mm_srli_si128(sum->middle, 8));
    __m128i lowCarry = _mm_srli_epi32(low, 31), highCarry = _mm_srli_epi32(high, 31), t, u;

    low = _mm_or_si128(_mm_slli_epi32(low, 1), _mm_slli_si128(lowCarry, 4));
    high = _mm_or_si128(_mm_slli_epi32(high, 1), _mm_slli_si128(highCarry, 4));
    high = _mm_or_si128(high, _mm_srli_si128(lowCarry, 12));

    t = _mm_xor_si128(_mm_xor_si128(_mm_slli_epi32(low, 31), _mm_slli_epi32(low, 30)), _mm_slli_epi32(low, 25));
    u = _mm_srli_si128(t, 4);
    low = _mm_xor_si128(low, _mm_slli_si128(t, 12));
    t = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi32(low, 1), _mm_srli_epi32(low, 2)), _mm_srli_epi32(low, 7));
    return _mm_xor_si128(high, _mm_xor_si128(low, _mm_xor_si128(t, u)));
}

GCM_TARGET
static __m128i hashed(const gcm_key *key, __m128i hash, const uint8_t *data, size_t length)
{
    uint8_t last[AES_BLOCK] = {0};

    while (length) {
        size_t whole = length / AES_BLOCK, count = whole < WIDE ? whole : WIDE;
        product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
        if (!count) { /* the last block, filled up with zeros */
            memcpy(last, data, length);
            multiply(&sum, _mm_xor_si128(hash, turned(load(last))), load(key->powers[0]));
            return reduced(&sum);
        }
        for (size_t i = 0; i < count; i++) {
            __m128i block = turned(load(data + i * AES_BLOCK));
            multiply(&sum, i ? block : _mm_xor_si128(block, hash), load(key->powers[count - 1 - i]));
        }
        hash = reduced(&sum);
        data += count * AES_BLOCK;
        length -= count * AES_BLOCK;
    }
    return hash;
}

/* ------------------------------------------------------------ the counter mode */

#define KEY(round) _mm_loadu_si128((const __m128i *)key->keys[round])

GCM_TARGET
INLINE void encrypt_wide(const aes_key *key, __m128i *blocks)
{
    for (int i = 0; i < WIDE; i++)
        blocks[i] = _mm_xor_si128(blocks[i], KEY(0));
    for (int round = 1; round < key->rounds; round++) {
        __m128i k = KEY(round);
        for (int i = 0; i < WIDE; i++)
            blocks[i] = _mm_aesenc_si128(blocks[i], k);
    }
    for (int i = 0; i < WIDE; i++)
        blocks[i] = _mm_aesenclast_si128(blocks[i], KEY(key->rounds));
}

GCM_TARGET
INLINE __m128i counter_block(__m128i nonce, uint32_t counter)
{
    return _mm_insert_epi32(nonce, (int)__builtin_bswap32(counter), 3);
}

/* Encrypt, which is also to decrypt.  Returns the block that covers the tag. */
GCM_TARGET
static __m128i counted(const aes_key *key, __m128i nonce, uint8_t *data, size_t length)
{
    uint32_t counter = 1; /* block 1 is the tag's, 2 the first of the data */
    __m128i blocks[WIDE], cover = _mm_setzero_si128();
    uint8_t stream[WIDE * AES_BLOCK];
    int first = 1; /* the tag's block goes along with the first of the data */

    do {
        size_t room = (size_t)(WIDE - first) * AES_BLOCK, taken = length < room ? length : room, at = 0;
        for (int i = 0; i < WIDE; i++)
            blocks[i] = counter_block(nonce, counter++);
        encrypt_wide(key, blocks);
        if (first)
            cover = blocks[0];
        for (int i = first; at + AES_BLOCK <= taken; i++, at += AES_BLOCK)
            store(data + at, _mm_xor_si128(load(data + at), blocks[i]));
        if (at < taken) {
            store(stream, blocks[first + (int)(at / AES_BLOCK)]);
            for (int i = 0; at < taken; i++, at++)
                data[at] ^= stream[i];
        }
        first = 0;
        data += taken;
        length -= taken;
    } while (length);
    return cover;
}

GCM_TARGET
static __m128i tag_of(const gcm_key *key, const uint8_t *data, size_t length)
{
    __m128i hash = hashed(key, _mm_setzero_si128(), data, length);
    product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};

    multiply(&sum, _mm_xor_si128(hash, _mm_set_epi64x(0, (long long)length * 8)), load(key->powers[0]));
    return turned(reduced(&sum));
}

GCM_TARGET
static __m128i nonce_block(const uint8_t *nonce)
{
    uint8_t block[AES_BLOCK] = {0};
    memcpy(block, nonce, GCM_NONCE);
    return load(block);
}

GCM_TARGET
void gcm_seal(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, uint8_t *tag)
{
    __m128i cover = counted(&key->key, nonce_block(nonce), data, length);
    store(tag, _mm_xor_si128(cover, tag_of(key, data, length)));
}

GCM_TARGET
int gcm_open(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, const uint8_t *tag)
{
    __m128i blocks[WIDE], given = load(tag), start = nonce_block(nonce), right;

    for (int i = 0; i < WIDE; i++)
        blocks[i] = counter_block(start, 1);
    encrypt_wide(&key->key, blocks);
    right = _mm_xor_si128(blocks[0], tag_of(key, data, length));
    if (_mm_movemask_epi8(_mm_cmpeq_epi8(right, given)) != 0xffff)
        return 0;
    counted(&key->key, start, data, length);
    return 1;
}

GCM_TARGET
static void make_powers(gcm_key *schedule)
{
    __m128i blocks[WIDE], power;

    for (int i = 0; i < WIDE; i++)
        blocks[i] = _mm_setzero_si128();
    encrypt_wide(&schedule->key, blocks);
    power = turned(blocks[0]);
    store(schedule->powers[0], power);
    for (int i = 1; i < WIDE; i++) {
        product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
        multiply(&sum, power, load(schedule->powers[0]));
        power = reduced(&sum);
        store(schedule->powers[i], power);
    }
}

int gcm_expand(gcm_key *schedule, const uint8_t *key, size_t length)
{
    if (!aes_expand(&schedule->key, key, length))
        return 0;
    make_powers(schedule);
    return 1;
}

#else

int gcm_expand(gcm_key *schedule, const uint8_t *key, size_t length)
{
    return 0;
}

void gcm_seal(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, uint8_t *tag)
{
}

int gcm_open(const gcm_key *key, const uint8_t *nonce, uint8_t *data, size_t length, const uint8_t *tag)
{
    return 0;
}

#endif
