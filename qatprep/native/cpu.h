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

/*
 * The names of what crypto_mb needs and is not there, separated by ", "; "" when its code may be entered.
 * This is the only gate before crypto_mb: it is asked before any of its functions is called or a library is loaded.
 */
void qp_cpu_missing(char *text, size_t size);

#endif
