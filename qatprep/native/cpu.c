#include "cpu.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>

bool qp_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
    return true;
}

bool qp_xgetbv(uint32_t index, uint64_t *value)
{
    uint32_t r[4];
    qp_cpuid(1, 0, r);
    if (!(r[2] >> 27 & 1)) /* CPUID.1:ECX.OSXSAVE mirrors CR4.OSXSAVE: Intel SDM vol. 2A, CPUID */
        return false;
    if (index != 0) {
        /* XCR1 exists only with CPUID.(D,1):EAX[2]; any other index is #GP: SDM vol. 2D, XGETBV. */
        qp_cpuid(0, 0, r);
        if (index != 1 || r[0] < 0xD)
            return false;
        qp_cpuid(0xD, 1, r);
        if (!(r[0] >> 2 & 1))
            return false;
    }
    uint32_t low, high;
    /* As an instruction, not as _xgetbv(): the intrinsic would need -mxsave, and no file here gets a -m flag. */
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
    *value = (uint64_t)high << 32 | low;
    return true;
}

static void add(char *text, size_t size, const char *name)
{
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
}

void qp_cpu_missing(char *text, size_t size)
{
    /* ipp-crypto, crypto_mb/src/common/cpu_features.c, CRYPTO_MB_REQUIRED_CPU_FEATURES_K1 */
    static const struct {
        const char *name;
        int reg, bit;
    } needed[] = {
        {"BMI2", 1, 8},        {"AVX512F", 1, 16},  {"AVX512DQ", 1, 17},
        {"AVX512IFMA", 1, 21}, {"AVX512BW", 1, 30}, {"AVX512VBMI2", 2, 6},
    };
    uint32_t r[4] = {0};
    text[0] = '\0';
    qp_cpuid(0, 0, r);
    if (r[0] >= 7)
        qp_cpuid(7, 0, r);
    else
        memset(r, 0, sizeof r);
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!(r[needed[i].reg] >> needed[i].bit & 1))
            add(text, size, needed[i].name);
    uint64_t xcr0;
    if (!qp_xgetbv(0, &xcr0))
        add(text, size, "OSXSAVE");
    else if ((xcr0 & 0xE6) != 0xE6) /* SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM: SDM vol. 1, 13.3 */
        add(text, size, "AVX-512 register states in XCR0");
}

#else

bool qp_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    (void)leaf, (void)subleaf, (void)out;
    return false;
}

bool qp_xgetbv(uint32_t index, uint64_t *value)
{
    (void)index, (void)value;
    return false;
}

void qp_cpu_missing(char *text, size_t size)
{
    snprintf(text, size, "x86-64");
}

#endif
