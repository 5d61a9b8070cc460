/* See galois.h.
 *
 * Portable: bit by bit from the highest, Horner's way: sum = sum * x + the inputs whose weight has this bit, eight bytes in
 * a word.  With SSSE3 and AVX2: a product is the XOR of two lookups of four bits each (Plank, Greenan and Miller, "Screaming
 * Fast Galois Field Arithmetic Using Intel SIMD Instructions", 2013).  With GFNI: multiplication by a constant is a matrix
 * of bits, and there is an instruction that applies one.
 */

#include "galois.h"

#include <string.h>

#define POLYNOMIAL 0x1d /* without x^8 */

INLINE uint8_t doubled(uint8_t value)
{
    return (uint8_t)(value << 1 ^ (value & 0x80 ? POLYNOMIAL : 0));
}

static uint8_t product(uint8_t a, uint8_t b)
{
    uint8_t result = 0;
    for (; b; b >>= 1, a = doubled(a))
        if (b & 1)
            result ^= a;
    return result;
}

/* ------------------------------------------------------------ portable */

INLINE uint64_t doubled_words(uint64_t word)
{
    uint64_t top = word & 0x8080808080808080u;
    return (word ^ top) << 1 ^ (top >> 7) * POLYNOMIAL;
}

static void portable(const uint8_t *inputs, size_t count, size_t length, const uint8_t *weights, uint8_t *out)
{
    for (size_t at = 0; at < length; at += GALOIS_STEP) {
        uint64_t sum[GALOIS_STEP / 8] = {0}, word;
        for (int bit = 7; bit >= 0; bit--) {
            for (int i = 0; i < GALOIS_STEP / 8; i++)
                sum[i] = doubled_words(sum[i]);
            for (size_t input = 0; input < count; input++) {
                if (!(weights[input] >> bit & 1))
                    continue;
                for (int i = 0; i < GALOIS_STEP / 8; i++) {
                    memcpy(&word, inputs + input * length + at + 8 * i, 8);
                    sum[i] ^= word;
                }
            }
        }
        memcpy(out + at, sum, GALOIS_STEP);
    }
}

#ifdef KCPSTACK_X86

/* ------------------------------------------------------------ lookups of four bits */

/* For each weight: its products with 0 to 15, and with 0x00, 0x10 ... 0xf0; and the matrix of multiplication by it as
 * vgf2p8affineqb takes one: byte 7 - i makes bit i of a result of those bits of the value that it has set. */
static uint8_t nibbles[256][2][16];
static uint64_t matrices[256];
static int made;

static void make_tables(void)
{
    for (int weight = 0; weight < 256; weight++) {
        for (int i = 0; i < 16; i++) {
            nibbles[weight][0][i] = product((uint8_t)weight, (uint8_t)i);
            nibbles[weight][1][i] = product((uint8_t)weight, (uint8_t)(i << 4));
        }
        for (int column = 0; column < 8; column++) {
            uint8_t image = product((uint8_t)weight, (uint8_t)(1 << column));
            for (int row = 0; row < 8; row++)
                if (image >> row & 1)
                    matrices[weight] |= (uint64_t)1 << (8 * (7 - row) + column);
        }
    }
    made = 1;
}

TARGET("ssse3")
static void by_ssse3(const uint8_t *inputs, size_t count, size_t length, const uint8_t *weights, uint8_t *out)
{
    const __m128i mask = _mm_set1_epi8(15);

    memset(out, 0, length);
    for (size_t input = 0; input < count; input++) {
        const uint8_t *from = inputs + input * length;
        const uint8_t(*tables)[16] = (const uint8_t(*)[16])nibbles[weights[input]];
        __m128i low = _mm_loadu_si128((const __m128i *)tables[0]), high = _mm_loadu_si128((const __m128i *)tables[1]);
        for (size_t at = 0; at < length; at += 16) {
            __m128i value = _mm_loadu_si128((const __m128i *)(from + at)), *to = (__m128i *)(out + at);
            __m128i found = _mm_xor_si128(_mm_shuffle_epi8(low, _mm_and_si128(value, mask)),
                                          _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi64(value, 4), mask)));
            _mm_storeu_si128(to, _mm_xor_si128(_mm_loadu_si128(to), found));
        }
    }
}

TARGET("avx2")
static void by_avx2(const uint8_t *inputs, size_t count, size_t length, const uint8_t *weights, uint8_t *out)
{
    const __m256i mask = _mm256_set1_epi8(15);

    memset(out, 0, length);
    for (size_t input = 0; input < count; input++) {
        const uint8_t *from = inputs + input * length;
        const uint8_t(*tables)[16] = (const uint8_t(*)[16])nibbles[weights[input]];
        __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)tables[0]));
        __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)tables[1]));
        for (size_t at = 0; at < length; at += 32) {
            __m256i value = _mm256_loadu_si256((const __m256i *)(from + at)), *to = (__m256i *)(out + at);
            __m256i found = _mm256_xor_si256(
                _mm256_shuffle_epi8(low, _mm256_and_si256(value, mask)),
                _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi64(value, 4), mask)));
            _mm256_storeu_si256(to, _mm256_xor_si256(_mm256_loadu_si256(to), found));
        }
    }
}

/* ------------------------------------------------------------ matrices of bits */

TARGET("avx512f,avx512bw,avx512vl,gfni")
static void by_gfni(const uint8_t *inputs, size_t count, size_t length, const uint8_t *weights, uint8_t *out)
{
    __m512i constants[256];

    for (size_t input = 0; input < count; input++)
        constants[input] = _mm512_set1_epi64((long long)matrices[weights[input]]);
    for (size_t at = 0; at < length; at += 64) {
        __m512i sum = _mm512_setzero_si512();
        for (size_t input = 0; input < count; input++)
            sum = _mm512_xor_si512(
                sum, _mm512_gf2p8affine_epi64_epi8(_mm512_loadu_si512(inputs + input * length + at), constants[input], 0));
        _mm512_storeu_si512(out + at, sum);
    }
}

#endif

void galois_combine(const uint8_t *inputs, size_t count, size_t length, const uint8_t *weights, size_t rows, uint8_t *out)
{
#ifdef KCPSTACK_X86
    if (!made)
        make_tables();
#endif
    for (size_t row = 0; row < rows; row++, weights += count, out += length) {
#ifdef KCPSTACK_X86
        int level = kcp_level();
        if (level >= LEVEL_AVX512)
            by_gfni(inputs, count, length, weights, out);
        else if (level >= LEVEL_AVX2)
            by_avx2(inputs, count, length, weights, out);
        else if (level >= LEVEL_SSE)
            by_ssse3(inputs, count, length, weights, out);
        else
#endif
            portable(inputs, count, length, weights, out);
    }
}
