/*
 * Signing with any library that has the classic libcrypto calls: OpenSSL 1.1 and 3, BoringSSL. It is loaded when asked
 * for, so that neither its headers nor the library itself are needed to build or to load this module.
 */
#define _DEFAULT_SOURCE
#include "signer.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_PADDING = 3 }; /* RSA_NO_PADDING: openssl/rsa.h */

/* openssl/rsa.h, ec.h, ecdsa.h, crypto.h; the same in BoringSSL. */
struct api {
    void *(*read_rsa)(void **, const unsigned char **, long);
    void (*free_rsa)(void *);
    int (*sign_rsa)(int, const unsigned char *, unsigned char *, void *, int);
    void *(*read_ec)(void **, const unsigned char **, long);
    void (*free_ec)(void *);
    int (*sign_ec)(int, const unsigned char *, int, unsigned char *, unsigned *, void *);
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

static unsigned sign(void *opaque, const struct qp_batch *batch)
{
    struct context *c = opaque;
    int size = (int)c->key->in_size;
    unsigned mask = 0;
    for (unsigned i = 0; i < batch->count; i++) {
        bool right;
        if (c->key->kind == QP_RSA) {
            right = c->api->sign_rsa(size, batch->in[i], batch->out[i], c->native, NO_PADDING) == size;
        } else {
            unsigned char der[80];
            unsigned used = sizeof der;
            right = c->api->sign_ec(0, batch->in[i], size, der, &used, c->native) == 1 &&
                    qp_p256_signature(der, used, batch->out[i]);
        }
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
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
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
