/* CRC-32 of IEEE 802.3 (reflected, polynomial 0xedb88320).
 *
 * Portable: eight tables, eight bytes at a time (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for High-
 * Performance CRC Generation", 2008).  With PCLMULQDQ: folding (Gopal and others, "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ Instruction", Intel, 2009), whose constants for this polynomial are powers of x modulo it.
 */

#include "crc32.h"

#define POLYNOMIAL 0xedb88320u

static uint32_t tables[8][256];
static int made;

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
        tables[0][i] = value;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 255];
    made = 1;
}

static uint32_t by_tables(uint32_t crc, const uint8_t *data, size_t length)
{
    if (!made)
        make_tables();
    for (; length >= 8; data += 8, length -= 8) {
        crc ^= data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        crc = tables[7][crc & 255] ^ tables[6][crc >> 8 & 255] ^ tables[5][crc >> 16 & 255] ^ tables[4][crc >> 24]
            ^ tables[3][data[4]] ^ tables[2][data[5]] ^ tables[1][data[6]] ^ tables[0][data[7]];
    }
    while (length--)
        crc = crc >> 8 ^ tables[0][(crc ^ *data++) & 255];
    return crc;
}

#ifdef KCPSTACK_X86

#define FOLD(x, k, next) \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)), next)

#define LOAD(offset) _mm_loadu_si128((const __m128i *)(data + (offset)))

/* length: 64 or more, a multiple of 16. */
TARGET("sse4.1,pclmul")
static uint32_t by_folding(uint32_t crc, const uint8_t *data, size_t length)
{
    const __m128i by64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i by16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i last = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low32 = _mm_setr_epi32(~0, 0, ~0, 0);
    __m128i a = _mm_xor_si128(LOAD(0), _mm_cvtsi32_si128((int)crc)), b = LOAD(16), c = LOAD(32), d = LOAD(48), e;

    for (data += 64, length -= 64; length >= 64; data += 64, length -= 64) {
        a = FOLD(a, by64, LOAD(0));
        b = FOLD(b, by64, LOAD(16));
        c = FOLD(c, by64, LOAD(32));
        d = FOLD(d, by64, LOAD(48));
    }
    b = FOLD(a, by16, b);
    c = FOLD(b, by16, c);
    a = FOLD(c, by16, d);
    for (; length >= 16; data += 16, length -= 16)
        a = FOLD(a, by16, LOAD(0));

    a = _mm_xor_si128(_mm_srli_si128(a, 8), _mm_clmulepi64_si128(a, by16, 0x10));
    e = _mm_srli_si128(a, 4);
    a = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(a, low32), last, 0x00), e);
    e = _mm_clmulepi64_si128(_mm_and_si128(a, low32), barrett, 0x10);
    e = _mm_clmulepi64_si128(_mm_and_si128(e, low32), barrett, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, e), 1);
}

#endif

uint32_t kcp_crc32(const uint8_t *data, size_t length)
{
    uint32_t crc = 0xffffffffu;
#ifdef KCPSTACK_X86
    if (length >= 64 && kcp_level() >= LEVEL_SSE) {
        size_t folded = length & ~(size_t)15;
        crc = by_folding(crc, data, folded);
        data += folded;
        length -= folded;
    }
#endif
    return ~by_tables(crc, data, length);
}
