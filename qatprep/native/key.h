/* A private key in memory, in the forms the engines take. Wiped when it goes. */
#ifndef QP_KEY_H
#define QP_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum qp_kind { QP_RSA, QP_P256 };

/* A big-endian number without leading zeros, inside the key's DER. */
struct qp_number {
    const uint8_t *data;
    size_t size;
};

enum { QP_MAX_BYTES = 512 };   /* RSA-4096 */
enum { QP_HALF_WORDS = 32 };   /* 64-bit words of a prime of RSA-4096 */
enum { QP_MAX_WORDS = 64 };

struct qp_key {
    enum qp_kind kind;
    int bits;
    size_t in_size;  /* bytes of one input: a padded message (RSA) or a SHA-256 digest (P-256) */
    size_t out_size; /* bytes of one result: a signature, or r and s after each other */
    uint8_t *der;    /* PKCS#1 RSAPrivateKey or SEC1 ECPrivateKey */
    size_t der_size;
    struct qp_number n, e, d, p, q, dp, dq, qinv;
    /* The same, least significant word first, as crypto_mb wants them; scalar is the P-256 private key. */
    uint64_t n_words[QP_MAX_WORDS];
    uint64_t p_words[QP_HALF_WORDS], q_words[QP_HALF_WORDS], dp_words[QP_HALF_WORDS], dq_words[QP_HALF_WORDS],
        qinv_words[QP_HALF_WORDS];
    uint64_t scalar[4];
};

/* Take a copy of `der` apart. NULL, or why it cannot be used. */
const char *qp_key_init(struct qp_key *key, const uint8_t *der, size_t size);
void qp_key_clear(struct qp_key *key);

/* r and s of a DER ECDSA-Sig-Value (RFC 3279, 2.2.3), 32 bytes each; false when it is none. */
bool qp_p256_signature(const uint8_t *der, size_t size, uint8_t out[64]);

/* A nonce for P-256: random, between 1 and the order of the curve less 1. False when there is no randomness. */
bool qp_p256_nonce(uint64_t words[4]);

#endif
