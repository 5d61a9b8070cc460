/* See cpu.h. */

#include "cpu.h"

static int detected = -1;
static int allowed = LEVEL_AVX512;

static int detect(void)
{
#ifdef KCPSTACK_X86
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("aes")
          && __builtin_cpu_supports("pclmul")))
        return LEVEL_PORTABLE;
    if (!__builtin_cpu_supports("avx2"))
        return LEVEL_SSE;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
          && __builtin_cpu_supports("gfni")))
        return LEVEL_AVX2;
    return LEVEL_AVX512;
#else
    return LEVEL_PORTABLE;
#endif
}

int kcp_level(void)
{
    if (detected < 0)
        detected = detect();
    return detected < allowed ? detected : allowed;
}

void kcp_limit(int level)
{
    allowed = level;
}
