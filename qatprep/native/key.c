#define _DEFAULT_SOURCE
#include "key.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A reader of DER (X.690): definite lengths below 64 KiB, which is all a private key needs. */
struct reader {
    const uint8_t *at, *end;
};

static bool element(struct reader *r, uint8_t tag, struct reader *content)
{
    if (r->end - r->at < 2 || r->at[0] != tag)
        return false;
    size_t length = r->at[1];
    const uint8_t *at = r->at + 2;
    if (length & 0x80) {
        size_t bytes = length & 0x7F;
        if (bytes < 1 || bytes > 2 || (size_t)(r->end - at) < bytes)
            return false;
        length = 0;
        while (bytes--)
            length = length << 8 | *at++;
    }
    if ((size_t)(r->end - at) < length)
        return false;
    content->at = at;
    content->end = r->at = at + length;
    return true;
}

static bool integer(struct reader *r, struct qp_number *number)
{
    struct reader content;
    if (!element(r, 0x02, &content) || content.at == content.end || *content.at & 0x80)
        return false;
    while (content.at < content.end && *content.at == 0)
        content.at++;
    number->data = content.at;
    number->size = (size_t)(content.end - content.at);
    return true;
}

static void words_of(struct qp_number number, uint64_t *words, size_t count)
{
    memset(words, 0, count * sizeof *words);
    for (size_t i = 0; i < number.size; i++)
        words[i / 8] |= (uint64_t)number.data[number.size - 1 - i] << (i % 8 * 8);
}

static const char *rsa(struct qp_key *key, struct reader body)
{
    struct qp_number *numbers[] = {&key->n, &key->e, &key->d, &key->p, &key->q, &key->dp, &key->dq, &key->qinv};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!integer(&body, numbers[i]) || numbers[i]->size == 0)
            return "not a PKCS#1 RSAPrivateKey";
    size_t size = key->n.size;
    if ((size != 256 && size != 384 && size != 512) || !(key->n.data[0] & 0x80))
        return "RSA keys of 2048, 3072 and 4096 bits only";
    if (key->p.size != size / 2 || key->q.size != size / 2 || key->dp.size > size / 2 || key->dq.size > size / 2 ||
        key->qinv.size > size / 2 || key->d.size > size)
        return "the two primes of the RSA key are not of half its size";
    if (key->e.size != 3 || memcmp(key->e.data, "\x01\x00\x01", 3))
        return "RSA keys with the public exponent 65537 only, as Envoy's providers want them";
    key->kind = QP_RSA;
    key->bits = (int)size * 8;
    key->in_size = key->out_size = size;
    words_of(key->n, key->n_words, QP_MAX_WORDS);
    words_of(key->p, key->p_words, QP_HALF_WORDS);
    words_of(key->q, key->q_words, QP_HALF_WORDS);
    words_of(key->dp, key->dp_words, QP_HALF_WORDS);
    words_of(key->dq, key->dq_words, QP_HALF_WORDS);
    words_of(key->qinv, key->qinv_words, QP_HALF_WORDS);
    return NULL;
}

static const char *ec(struct qp_key *key, struct reader body)
{
    /* OID 1.2.840.10045.3.1.7, prime256v1: RFC 5480, 2.1.1.1 */
    static const uint8_t p256[] = {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
    struct reader secret, parameters, oid;
    if (!element(&body, 0x04, &secret) || !element(&body, 0xA0, &parameters) || !element(&parameters, 0x06, &oid))
        return "not a SEC1 ECPrivateKey with a named curve";
    if (oid.end - oid.at != sizeof p256 || memcmp(oid.at, p256, sizeof p256) || secret.end - secret.at != 32)
        return "elliptic curve keys on P-256 only";
    key->kind = QP_P256;
    key->bits = 256;
    key->in_size = 32;
    key->out_size = 64;
    words_of((struct qp_number){secret.at, 32}, key->scalar, 4);
    return NULL;
}

const char *qp_key_init(struct qp_key *key, const uint8_t *der, size_t size)
{
    memset(key, 0, sizeof *key);
    key->der = malloc(size ? size : 1);
    if (!key->der)
        return "out of memory";
    memcpy(key->der, der, size);
    key->der_size = size;
    struct reader all = {key->der, key->der + size}, body;
    struct qp_number version;
    const char *why = "not a DER private key";
    if (element(&all, 0x30, &body) && all.at == all.end && integer(&body, &version)) {
        if (version.size == 0)
            why = rsa(key, body);
        else if (version.size == 1 && version.data[0] == 1)
            why = ec(key, body);
    }
    if (why)
        qp_key_clear(key);
    return why;
}

void qp_key_clear(struct qp_key *key)
{
    if (key->der) {
        explicit_bzero(key->der, key->der_size);
        free(key->der);
    }
    explicit_bzero(key, sizeof *key);
}

bool qp_p256_signature(const uint8_t *der, size_t size, uint8_t out[64])
{
    struct reader all = {der, der + size}, body;
    struct qp_number r, s;
    if (!element(&all, 0x30, &body) || !integer(&body, &r) || !integer(&body, &s) || r.size > 32 || s.size > 32)
        return false;
    memset(out, 0, 64);
    memcpy(out + 32 - r.size, r.data, r.size);
    memcpy(out + 64 - s.size, s.data, s.size);
    return true;
}

bool qp_p256_nonce(uint64_t words[4])
{
    /* SP 800-186, 3.2.1.3: the order of P-256, least significant word first */
    static const uint64_t order[4] = {0xF3B9CAC2FC632551, 0xBCE6FAADA7179E84, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF00000000};
    for (;;) {
        if (getrandom(words, 32, 0) != 32)
            return false;
        if (!(words[0] | words[1] | words[2] | words[3]))
            continue;
        for (int i = 3; i >= 0; i--) {
            if (words[i] < order[i])
                return true;
            if (words[i] > order[i])
                break;
        }
    }
}
