#include "cpu.h"

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

bool qp_cpu_bit(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    uint32_t r[4];
    if (reg == QP_XCR0) {
        uint64_t xcr0;
        return bit < 64 && qp_xgetbv(0, &xcr0) && xcr0 >> bit & 1;
    }
    if (reg > 3 || bit > 31)
        return false;
    /* A leaf above the highest answers with the data of the highest one: SDM vol. 2A, CPUID. */
    qp_cpuid(leaf & 0x80000000, 0, r);
    if (r[0] < leaf)
        return false;
    if (leaf == 7 && subleaf) {
        qp_cpuid(7, 0, r); /* EAX: the highest subleaf */
        if (r[0] < subleaf)
            return false;
    }
    qp_cpuid(leaf, subleaf, r);
    return r[reg] >> bit & 1;
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

bool qp_cpu_bit(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    (void)leaf, (void)subleaf, (void)reg, (void)bit;
    return false;
}

#endif
