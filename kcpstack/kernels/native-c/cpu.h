/* What this processor can do, asked once.  KCPSTACK_X86 and friends say what the compiler can be asked for. */

#ifndef KCPSTACK_CPU_H
#define KCPSTACK_CPU_H

#include <stddef.h>
#include <stdint.h>

#if (defined(__x86_64__) || defined(_M_X64)) && defined(__GNUC__)
#define KCPSTACK_X86 1
#include <immintrin.h>
#define TARGET(features) __attribute__((target(features)))
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Levels, the later ones faster.  A function uses the best that it has a form for and that is allowed. */
enum { LEVEL_PORTABLE = 0, LEVEL_SSE = 1, LEVEL_AVX2 = 2, LEVEL_AVX512 = 3 };

/* SSE: SSSE3, SSE4.1, AES and PCLMULQDQ.  AVX2: those and AVX2.  AVX512: those, AVX-512 F, BW and VL, and GFNI. */
int kcp_level(void);

/* Allow no level above this one; for tests, which compare them. */
void kcp_limit(int level);

#endif
