/* What this CPU and its operating system allow. Nothing here can fault on any x86-64 CPU. */
#ifndef QP_CPU_H
#define QP_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* eax, ebx, ecx, edx of one leaf; false on other architectures. */
bool qp_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* One extended control register; false where the OS has not set CR4.OSXSAVE, where XGETBV would fault. */
bool qp_xgetbv(uint32_t index, uint64_t *value);

enum { QP_XCR0 = 4 }; /* after eax, ebx, ecx, edx: XCR0, whose leaf and subleaf do not count */

/* Whether one bit is set; false where the leaf or the register does not exist. */
bool qp_cpu_bit(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit);

#endif
