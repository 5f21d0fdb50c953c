/*
 * Signing with crypto_mb, eight lanes at a time: the copy linked into this module, or a libcrypto_mb.so of the system.
 * The callers have asked pygate.c first whether the code may run here.
 */
#define _GNU_SOURCE
#include "signer.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef QP_BUNDLED_MB
#define BN_OPENSSL_DISABLE
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/rsa.h>
#include <crypto_mb/version.h>
#endif

/*
 * The calls used, with the types of the library's public headers (crypto_mb/rsa.h, ec_nistp256.h, version.h), which are
 * the same from soname 11 to 13. Where the headers are at hand the compiler checks these against them, below.
 */
typedef unsigned long long word;
typedef struct {
    int major, minor, patch;
    char target_cpu[4];
    const char *name, *build_date, *text;
} library_version;
struct method;

struct api {
    unsigned (*rsa_crt)(const uint8_t *const from[8], uint8_t *const to[8], const word *const p[8],
                        const word *const q[8], const word *const dp[8], const word *const dq[8],
                        const word *const qinv[8], int bits, const struct method *, uint8_t *scratch);
    unsigned (*rsa_public)(const uint8_t *const from[8], uint8_t *const to[8], const word *const n[8], int bits,
                           const struct method *, uint8_t *scratch);
    const struct method *(*rsa_crt_method)(int bits);
    const struct method *(*rsa_public_method)(int bits);
    int (*rsa_scratch)(const struct method *);
    unsigned (*p256_sign)(uint8_t *r[8], uint8_t *s[8], const uint8_t *const digest[8], const word *const nonce[8],
                          const word *const key[8], uint8_t *scratch);
    const library_version *(*version)(void);
};

struct context {
    const struct api *api;
    const struct qp_key *key;
    const struct method *private_method, *public_method;
    size_t scratch_size;
    uint8_t *scratch;
    uint8_t checked[QP_LANES][QP_MAX_BYTES];
};

static void close_context(void *opaque)
{
    struct context *c = opaque;
    if (c->scratch) {
        explicit_bzero(c->scratch, c->scratch_size);
        free(c->scratch);
    }
    free(c);
}

static void *open_context(const struct qp_signer *signer, const struct qp_key *key)
{
    struct context *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->api = signer->api;
    c->key = key;
    if (key->kind == QP_RSA) {
        c->private_method = c->api->rsa_crt_method(key->bits);
        c->public_method = c->api->rsa_public_method(key->bits);
        int need = c->private_method ? c->api->rsa_scratch(c->private_method) : 0;
        int also = c->public_method ? c->api->rsa_scratch(c->public_method) : 0;
        if (need > 0 && also > 0) {
            c->scratch_size = ((size_t)(need > also ? need : also) + 63) / 64 * 64;
            c->scratch = aligned_alloc(64, c->scratch_size);
        }
        if (!c->scratch) {
            close_context(c);
            return NULL;
        }
        memset(c->scratch, 0, c->scratch_size);
    }
    return c;
}

/* A lane is right when its four bits of the status are zero: crypto_mb/status.h. */
static unsigned right_lanes(unsigned status, unsigned count)
{
    unsigned mask = 0;
    for (unsigned i = 0; i < count; i++)
        if (!(status >> 4 * i & 0xF))
            mask |= 1u << i;
    return mask;
}

static unsigned sign(void *opaque, const struct qp_batch *batch)
{
    struct context *c = opaque;
    const struct qp_key *key = c->key;
    unsigned count = batch->count;
    if (key->kind == QP_RSA) {
        const word *p[8] = {0}, *q[8] = {0}, *dp[8] = {0}, *dq[8] = {0}, *qinv[8] = {0};
        for (unsigned i = 0; i < count; i++) {
            p[i] = (const word *)key->p_words;
            q[i] = (const word *)key->q_words;
            dp[i] = (const word *)key->dp_words;
            dq[i] = (const word *)key->dq_words;
            qinv[i] = (const word *)key->qinv_words;
        }
        return right_lanes(c->api->rsa_crt(batch->in, batch->out, p, q, dp, dq, qinv, key->bits, c->private_method,
                                           c->scratch),
                           count);
    }
    uint8_t *r[8] = {0}, *s[8] = {0};
    const word *nonce[8] = {0}, *scalar[8] = {0};
    for (unsigned i = 0; i < count; i++) {
        r[i] = batch->out[i];
        s[i] = batch->out[i] + 32;
        nonce[i] = (const word *)batch->nonce[i];
        scalar[i] = (const word *)key->scalar;
    }
    return right_lanes(c->api->p256_sign(r, s, batch->in, nonce, scalar, NULL), count);
}

static unsigned check(void *opaque, const struct qp_batch *batch)
{
    struct context *c = opaque;
    unsigned count = batch->count, mask = 0;
    if (c->key->kind != QP_RSA)
        return (1u << count) - 1; /* Envoy checks no ECDSA signature either */
    const uint8_t *from[8] = {0};
    uint8_t *to[8] = {0};
    const word *n[8] = {0};
    for (unsigned i = 0; i < count; i++) {
        from[i] = batch->out[i];
        to[i] = c->checked[i];
        n[i] = (const word *)c->key->n_words;
    }
    unsigned right =
        right_lanes(c->api->rsa_public(from, to, n, c->key->bits, c->public_method, c->scratch), count);
    for (unsigned i = 0; i < count; i++)
        if (right >> i & 1 && memcmp(c->checked[i], batch->in[i], c->key->in_size) == 0)
            mask |= 1u << i;
    return mask;
}

static void release(struct qp_signer *signer)
{
    if (signer->handle) {
        free((void *)signer->api);
        dlclose(signer->handle);
    }
    signer->handle = NULL;
    signer->api = NULL;
}

static const struct qp_signer_ops ops = {open_context, sign, check, close_context, release};

static void finish(struct qp_signer *signer, const struct api *api, const char *library)
{
    const library_version *v = api->version();
    signer->ops = &ops;
    signer->provider = "cryptomb";
    signer->width = QP_LANES;
    signer->takes_nonces = true;
    signer->api = api;
    snprintf(signer->library, sizeof signer->library, "%s", library);
    snprintf(signer->version, sizeof signer->version, "crypto_mb %d.%d.%d", v->major, v->minor, v->patch);
}

#ifdef QP_BUNDLED_MB

/*
 * The archive's objects also hold variants that take OpenSSL numbers. They are never called from here, so that the
 * OpenSSL functions they mention need only exist for the linker; hidden, so that no other library can be caught by them.
 */
#define STUB(name)                                                \
    __attribute__((visibility("hidden"), noreturn)) void name(void); \
    void name(void) { abort(); }
STUB(BN_num_bits)
STUB(BN_bn2lebinpad)
STUB(BN_bin2bn)
STUB(BN_is_word)
STUB(ECDSA_SIG_get0)

static unsigned b_rsa_crt(const uint8_t *const from[8], uint8_t *const to[8], const word *const p[8],
                          const word *const q[8], const word *const dp[8], const word *const dq[8],
                          const word *const qinv[8], int bits, const struct method *m, uint8_t *scratch)
{
    return mbx_rsa_private_crt_mb8(from, to, p, q, dp, dq, qinv, bits, (const mbx_RSA_Method *)m, scratch);
}

static unsigned b_rsa_public(const uint8_t *const from[8], uint8_t *const to[8], const word *const n[8], int bits,
                             const struct method *m, uint8_t *scratch)
{
    return mbx_rsa_public_mb8(from, to, n, bits, (const mbx_RSA_Method *)m, scratch);
}

static const struct method *b_crt_method(int bits)
{
    return (const struct method *)mbx_RSA_private_crt_Method(bits);
}

static const struct method *b_public_method(int bits)
{
    return (const struct method *)mbx_RSA_pub65537_Method(bits);
}

static int b_scratch(const struct method *m)
{
    return mbx_RSA_Method_BufSize((const mbx_RSA_Method *)m);
}

static const library_version *b_version(void)
{
    _Static_assert(sizeof(library_version) == sizeof(mbxVersion), "mbxVersion has changed");
    return (const library_version *)mbx_getversion();
}

bool qp_mb_bundled(struct qp_signer *signer, const char *name, char *why, size_t size)
{
    static const struct api api = {
        b_rsa_crt, b_rsa_public, b_crt_method, b_public_method, b_scratch, mbx_nistp256_ecdsa_sign_mb8, b_version,
    };
    (void)why, (void)size;
    finish(signer, &api, name);
#ifdef QP_MUL52X30
    /* It is not quite the library of that version: mul52x30.c. */
    strncat(signer->version, "+mul52x30", sizeof signer->version - strlen(signer->version) - 1);
#endif
    return true;
}

#else

bool qp_mb_bundled(struct qp_signer *signer, const char *name, char *why, size_t size)
{
    (void)signer, (void)name;
    snprintf(why, size, "qatprep was built without crypto_mb");
    return false;
}

#endif

bool qp_mb_open(struct qp_signer *signer, const char *path, char *why, size_t size)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | QP_DEEPBIND);
    if (!handle) {
        const char *error = dlerror();
        snprintf(why, size, "%s", error ? error : path);
        return false;
    }
    struct api *api = calloc(1, sizeof *api);
    if (!api) {
        dlclose(handle);
        snprintf(why, size, "out of memory");
        return false;
    }
    const struct qp_symbol wanted[] = {
        {"mbx_rsa_private_crt_mb8", &api->rsa_crt},
        {"mbx_rsa_public_mb8", &api->rsa_public},
        {"mbx_RSA_private_crt_Method", &api->rsa_crt_method},
        {"mbx_RSA_pub65537_Method", &api->rsa_public_method},
        {"mbx_RSA_Method_BufSize", &api->rsa_scratch},
        {"mbx_nistp256_ecdsa_sign_mb8", &api->p256_sign},
        {"mbx_getversion", &api->version},
    };
    const char *absent = qp_symbols(handle, wanted, sizeof wanted / sizeof *wanted);
    if (absent) {
        snprintf(why, size, "%s has no %s", path, absent);
        free(api);
        dlclose(handle);
        return false;
    }
    finish(signer, api, path);
    signer->handle = handle;
    return true;
}
