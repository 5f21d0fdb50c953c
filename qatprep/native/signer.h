/* What every engine offers: sign up to `width` inputs at once on the calling thread. */
#ifndef QP_SIGNER_H
#define QP_SIGNER_H

#include "key.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QP_LANES = 8 };

struct qp_signer;

/* Inputs and results of one call. Unused lanes are NULL. */
struct qp_batch {
    unsigned count;
    const uint8_t *in[QP_LANES];
    uint8_t *out[QP_LANES];
    const uint64_t *nonce[QP_LANES]; /* P-256: the ephemeral key, for engines that take one */
};

struct qp_signer_ops {
    /* A context for one thread and one key; NULL when the key cannot be used or memory is short. */
    void *(*open)(const struct qp_signer *signer, const struct qp_key *key);
    /* A bit for every lane that was signed. */
    unsigned (*sign)(void *context, const struct qp_batch *batch);
    /*
     * A bit for every lane whose result the public key turns back into its input: what Envoy's CryptoMB provider does
     * after every batch against faults (contrib/cryptomb, processRsaRequests). NULL where the engine does so itself.
     */
    unsigned (*check)(void *context, const struct qp_batch *batch);
    /* Wipes what the context holds of the key. */
    void (*close)(void *context);
    /* Give the library back. */
    void (*release)(struct qp_signer *signer);
};

struct qp_signer {
    const struct qp_signer_ops *ops;
    const char *provider; /* "cryptomb" or "openssl" */
    unsigned width;
    bool takes_nonces;
    char path[32]; /* the code path of crypto_mb, as instruction_sets.py calls it; "" where there is but one */
    char library[512]; /* path, or "bundled" */
    char version[128];
    void *handle; /* of dlopen */
    const void *api;
};

/*
 * A library's own calls go to itself first, and not to a libcrypto of another version that this Python was linked with:
 * standalone builds of Python carry one. The sanitizers do not allow this flag.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QP_DEEPBIND 0
#else
#define QP_DEEPBIND RTLD_DEEPBIND
#endif

/* A function of a loaded library and where to put its address. */
struct qp_symbol {
    const char *name;
    void *slot;
};

/* Look all of them up; NULL, or the name of the first that the library does not have. */
const char *qp_symbols(void *handle, const struct qp_symbol *wanted, size_t count);

/* Each fills `signer`; on failure false and the reason in `why`. */
bool qp_mb_bundled(struct qp_signer *signer, const char *name, char *why, size_t size);
bool qp_mb_open(struct qp_signer *signer, const char *path, char *why, size_t size);
bool qp_ssl_open(struct qp_signer *signer, const char *path, char *why, size_t size);

#endif
