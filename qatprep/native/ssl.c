/*
 * Signing with any library that has the classic libcrypto calls: OpenSSL 1.1 and 3, BoringSSL. It is loaded when asked
 * for, so that neither its headers nor the library itself are needed to build or to load this module.
 */
#define _GNU_SOURCE
#include "signer.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_PADDING = 3 }; /* RSA_NO_PADDING: openssl/rsa.h */

/*
 * openssl/rsa.h, ec.h, ecdsa.h, crypto.h. BoringSSL's differ in one thing: lengths are size_t there, where OpenSSL takes
 * int (RSA_private_encrypt's first argument, ECDSA_sign's third).
 */
struct api {
    void *(*read_rsa)(void **, const unsigned char **, long);
    void (*free_rsa)(void *);
    bool boring;
    union {
        int (*openssl)(int, const unsigned char *, unsigned char *, void *, int);
        int (*boringssl)(size_t, const unsigned char *, unsigned char *, void *, int);
    } sign_rsa;
    void *(*read_ec)(void **, const unsigned char **, long);
    void (*free_ec)(void *);
    union {
        int (*openssl)(int, const unsigned char *, int, unsigned char *, unsigned *, void *);
        int (*boringssl)(int, const unsigned char *, size_t, unsigned char *, unsigned *, const void *);
    } sign_ec;
    const char *(*version)(int);
};

struct context {
    const struct api *api;
    const struct qp_key *key;
    void *native;
};

static void close_context(void *opaque)
{
    struct context *c = opaque;
    if (c->key->kind == QP_RSA)
        c->api->free_rsa(c->native);
    else
        c->api->free_ec(c->native);
    free(c);
}

static void *open_context(const struct qp_signer *signer, const struct qp_key *key)
{
    struct context *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->api = signer->api;
    c->key = key;
    const unsigned char *at = key->der;
    /* One object a thread: RSA blinding of OpenSSL takes a lock in an object that is shared. */
    if (key->kind == QP_RSA)
        c->native = c->api->read_rsa(NULL, &at, (long)key->der_size);
    else
        c->native = c->api->read_ec(NULL, &at, (long)key->der_size);
    if (!c->native) {
        free(c);
        return NULL;
    }
    return c;
}

static bool sign_rsa(const struct context *c, const uint8_t *in, uint8_t *out)
{
    size_t size = c->key->in_size;
    int made = c->api->boring ? c->api->sign_rsa.boringssl(size, in, out, c->native, NO_PADDING)
                              : c->api->sign_rsa.openssl((int)size, in, out, c->native, NO_PADDING);
    return made == (int)size;
}

static bool sign_ec(const struct context *c, const uint8_t *in, uint8_t *out)
{
    size_t size = c->key->in_size;
    unsigned char der[80];
    unsigned used = sizeof der;
    int made = c->api->boring ? c->api->sign_ec.boringssl(0, in, size, der, &used, c->native)
                              : c->api->sign_ec.openssl(0, in, (int)size, der, &used, c->native);
    return made == 1 && qp_p256_signature(der, used, out);
}

static unsigned sign(void *opaque, const struct qp_batch *batch)
{
    const struct context *c = opaque;
    unsigned mask = 0;
    for (unsigned i = 0; i < batch->count; i++) {
        bool right = c->key->kind == QP_RSA ? sign_rsa(c, batch->in[i], batch->out[i])
                                            : sign_ec(c, batch->in[i], batch->out[i]);
        mask |= (unsigned)right << i;
    }
    return mask;
}

static void release(struct qp_signer *signer)
{
    /* The library stays loaded: libcrypto registers handlers for the end of threads and of the process. */
    free((void *)signer->api);
    signer->api = NULL;
}

static const struct qp_signer_ops ops = {open_context, sign, NULL, close_context, release};

bool qp_ssl_open(struct qp_signer *signer, const char *path, char *why, size_t size)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | QP_DEEPBIND);
    if (!handle) {
        const char *error = dlerror();
        snprintf(why, size, "%s", error ? error : path);
        return false;
    }
    struct api *api = calloc(1, sizeof *api);
    if (!api) {
        snprintf(why, size, "out of memory");
        return false;
    }
    const struct qp_symbol wanted[] = {
        {"d2i_RSAPrivateKey", &api->read_rsa}, {"RSA_free", &api->free_rsa},
        {"RSA_private_encrypt", &api->sign_rsa}, {"d2i_ECPrivateKey", &api->read_ec},
        {"EC_KEY_free", &api->free_ec},        {"ECDSA_sign", &api->sign_ec},
        {"OpenSSL_version", &api->version},
    };
    const char *absent = qp_symbols(handle, wanted, sizeof wanted / sizeof *wanted);
    if (absent) {
        snprintf(why, size, "%s has no %s", path, absent);
        free(api);
        return false;
    }
    api->boring = strstr(api->version(0), "BoringSSL") != NULL;
    signer->ops = &ops;
    signer->provider = "openssl";
    signer->width = 1;
    signer->takes_nonces = false;
    signer->handle = handle;
    signer->api = api;
    snprintf(signer->library, sizeof signer->library, "%s", path);
    snprintf(signer->version, sizeof signer->version, "%s", api->version(0));
    return true;
}
