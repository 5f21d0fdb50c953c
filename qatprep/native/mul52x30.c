/*
 * The Montgomery multiplication behind RSA-3072, in place of crypto_mb's own in the archive of the PyPI wheel.
 *
 * That one was compiled so that 15 of its 30 accumulators live on the stack: 190 loads and stores of 64 bytes around the
 * same 121 multiply-adds, each accumulator waiting for its own store in every round. It takes 91 % of the time of an
 * RSA-3072 signature and makes the library slower than OpenSSL at that size (docs/engines.md has the measurements).
 * The linker takes a function it has already before it looks into an archive, so this one is used. setup.py compiles it
 * only with the release of the archive it was made for: what it replaces is an internal function.
 *
 * Eight numbers of 30 digits of 52 bits, digit by digit, one number in each 64-bit lane. The result is a*b/2^1560 modulo
 * m, below 2^1560 but not always below m, for odd m below 2^1536 and k0 = -1/m modulo 2^52. No branch and no address
 * depends on the numbers.
 */
#include <immintrin.h>
#include <stdint.h>

enum { DIGITS = 30 };

/* Unrolled, r[] lives in registers. */
#define EACH(j, from, to) _Pragma("GCC unroll 30") for (int j = (from); j < (to); j++)

typedef const __m512i *numbers;

void ifma_amm52x30_mb8(int64_t *out, const int64_t *a, const int64_t *b, const int64_t *m, const int64_t *k0);

__attribute__((target("avx512f,avx512ifma"), visibility("hidden"))) void
ifma_amm52x30_mb8(int64_t *out, const int64_t *a, const int64_t *b, const int64_t *m, const int64_t *k0)
{
    const numbers A = (numbers)a, B = (numbers)b, M = (numbers)m;
    const __m512i inverse = _mm512_loadu_si512(k0);
    const __m512i digit = _mm512_set1_epi64((1LL << 52) - 1);
    const __m512i zero = _mm512_setzero_si512();
    __m512i r[DIGITS];
    EACH (j, 0, DIGITS)
        r[j] = zero;
    for (int i = 0; i < DIGITS; i++) {
        /* r += b[i] * a, low halves; then the multiple of m that makes the lowest digit zero, and down by one digit. */
        const __m512i factor = _mm512_loadu_si512(B + i);
        EACH (j, 0, DIGITS)
            r[j] = _mm512_madd52lo_epu64(r[j], factor, _mm512_loadu_si512(A + j));
        const __m512i multiple = _mm512_madd52lo_epu64(zero, r[0], inverse);
        const __m512i lowest = _mm512_madd52lo_epu64(r[0], multiple, _mm512_loadu_si512(M));
        EACH (j, 0, DIGITS - 1)
            r[j] = _mm512_madd52lo_epu64(r[j + 1], multiple, _mm512_loadu_si512(M + j + 1));
        r[0] = _mm512_add_epi64(r[0], _mm512_srli_epi64(lowest, 52));
        r[DIGITS - 1] = zero;
        /* The high halves belong one digit higher, which is where they are now. */
        EACH (j, 0, DIGITS)
            r[j] = _mm512_madd52hi_epu64(r[j], factor, _mm512_loadu_si512(A + j));
        EACH (j, 0, DIGITS)
            r[j] = _mm512_madd52hi_epu64(r[j], multiple, _mm512_loadu_si512(M + j));
    }
    /* Until here digits have grown to less than 2^59: 30 rounds of four halves below 2^52 each. */
    EACH (j, 0, DIGITS - 1) {
        r[j + 1] = _mm512_add_epi64(r[j + 1], _mm512_srli_epi64(r[j], 52));
        r[j] = _mm512_and_si512(r[j], digit);
    }
    r[DIGITS - 1] = _mm512_and_si512(r[DIGITS - 1], digit);
    EACH (j, 0, DIGITS)
        _mm512_storeu_si512((__m512i *)out + j, r[j]);
}
