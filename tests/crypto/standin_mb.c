/*
 * A software stand-in for libcrypto_mb.so, eight operations wide, for CPUs without AVX-512: the calls that qatprep uses,
 * through libcrypto. It says that it is crypto_mb 0.0.0. QP_STANDIN_MB holds words such as "wrong=3072 each=2":
 *
 *   wrong=B       results of keys of B bits (256: P-256) have a wrong bit   each=K    ... but only every K-th
 *   refuse=B      every lane of keys of B bits is MBX_STATUS_UNSUPPORTED_ISA_ERR
 *   die=N         the first signature ends the process with signal N
 *
 * Built by the tests: gcc -shared -fPIC standin_mb.c -lcrypto
 */
#define _GNU_SOURCE
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long word;
typedef struct {
    int bits;
} method;

static long option(const char *name)
{
    const char *all = getenv("QP_STANDIN_MB"), *at = all ? strstr(all, name) : NULL;
    return at && at[strlen(name)] == '=' ? strtol(at + strlen(name) + 1, NULL, 10) : 0;
}

static bool spoiled(int bits)
{
    static unsigned long count;
    if (option("wrong") != bits)
        return false;
    long each = option("each");
    return __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) % (unsigned long)(each ? each : 1) == 0;
}

static unsigned refused(int bits)
{
    if (option("die"))
        raise((int)option("die"));
    return option("refuse") == bits ? 0xAAAAAAAAu : 0;
}

static BIGNUM *number(const word *words, int bits)
{
    return BN_lebin2bn((const uint8_t *)words, bits / 8, NULL);
}

unsigned mbx_rsa_private_crt_mb8(const uint8_t *const from[8], uint8_t *const to[8], const word *const p[8],
                                 const word *const q[8], const word *const dp[8], const word *const dq[8],
                                 const word *const qinv[8], int bits, const method *m, uint8_t *scratch)
{
    (void)scratch;
    unsigned status = refused(bits);
    for (int i = 0; !status && m->bits == bits && i < 8; i++) {
        if (!from[i])
            continue;
        BN_CTX *context = BN_CTX_new();
        BIGNUM *n[] = {number(p[i], bits / 2), number(q[i], bits / 2), number(dp[i], bits / 2), number(dq[i], bits / 2),
                       number(qinv[i], bits / 2), BN_bin2bn(from[i], bits / 8, NULL), BN_new(), BN_new()};
        BN_mod_exp(n[6], n[5], n[2], n[0], context);
        BN_mod_exp(n[7], n[5], n[3], n[1], context);
        BN_mod_sub(n[6], n[6], n[7], n[0], context);
        BN_mod_mul(n[6], n[6], n[4], n[0], context);
        BN_mul(n[6], n[6], n[1], context);
        BN_add(n[6], n[6], n[7]);
        BN_bn2binpad(n[6], to[i], bits / 8);
        for (size_t k = 0; k < sizeof n / sizeof *n; k++)
            BN_clear_free(n[k]);
        BN_CTX_free(context);
        to[i][bits / 16] ^= (uint8_t)spoiled(bits);
    }
    return status;
}

unsigned mbx_rsa_public_mb8(const uint8_t *const from[8], uint8_t *const to[8], const word *const n[8], int bits,
                            const method *m, uint8_t *scratch)
{
    (void)m, (void)scratch;
    for (int i = 0; i < 8; i++) {
        if (!from[i])
            continue;
        BN_CTX *context = BN_CTX_new();
        BIGNUM *modulus = number(n[i], bits), *signature = BN_bin2bn(from[i], bits / 8, NULL), *e = BN_new();
        BN_set_word(e, 65537);
        BN_mod_exp(signature, signature, e, modulus, context);
        BN_bn2binpad(signature, to[i], bits / 8);
        BN_free(modulus);
        BN_free(signature);
        BN_free(e);
        BN_CTX_free(context);
    }
    return 0;
}

/* s = (digest + r * key) / nonce modulo the order, r the first coordinate of nonce * G: SEC 1, 4.1.3 */
unsigned mbx_nistp256_ecdsa_sign_mb8(uint8_t *r[8], uint8_t *s[8], const uint8_t *const digest[8],
                                     const word *const nonce[8], const word *const key[8], uint8_t *scratch)
{
    (void)scratch;
    unsigned status = refused(256);
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    const BIGNUM *order = EC_GROUP_get0_order(group);
    for (int i = 0; !status && i < 8; i++) {
        if (!digest[i])
            continue;
        BN_CTX *context = BN_CTX_new();
        EC_POINT *point = EC_POINT_new(group);
        BIGNUM *k = number(nonce[i], 256), *d = number(key[i], 256), *z = BN_bin2bn(digest[i], 32, NULL), *x = BN_new();
        EC_POINT_mul(group, point, k, NULL, NULL, context);
        EC_POINT_get_affine_coordinates(group, point, x, NULL, context);
        BN_nnmod(x, x, order, context);
        BN_bn2binpad(x, r[i], 32);
        BN_mod_mul(d, d, x, order, context);
        BN_mod_add(d, d, z, order, context);
        BN_mod_inverse(k, k, order, context);
        BN_mod_mul(d, d, k, order, context);
        BN_bn2binpad(d, s[i], 32);
        BN_clear_free(k);
        BN_clear_free(d);
        BN_free(z);
        BN_free(x);
        EC_POINT_free(point);
        BN_CTX_free(context);
        s[i][16] ^= (uint8_t)spoiled(256);
    }
    EC_GROUP_free(group);
    return status;
}

const method *mbx_RSA_private_crt_Method(int bits)
{
    static const method methods[] = {{2048}, {3072}, {4096}};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].bits == bits)
            return &methods[i];
    return NULL;
}

const method *mbx_RSA_pub65537_Method(int bits)
{
    return mbx_RSA_private_crt_Method(bits);
}

int mbx_RSA_Method_BufSize(const method *m)
{
    return m->bits;
}

const void *mbx_getversion(void)
{
    static const struct {
        int major, minor, patch;
        char cpu[4];
        const char *name, *build_date, *text;
    } version = {0, 0, 0, "-", "stand-in", "", "stand-in"};
    return &version;
}
