/*
 * As much of the ABI of libqat.so.4 and libusdm.so.0 as an RSA private operation takes (qatlib, Apache-like BSD headers
 * quickassist/include/cpa.h, cpa_types.h, lac/cpa_cy_common.h, lac/cpa_cy_im.h, lac/cpa_cy_rsa.h and
 * utilities/libusdm_drv/qae_mem.h; the same from 22.07 to 26.08). Both are loaded at run time and need no headers to build;
 * tests/crypto/abi_check.c compares this file with the real ones where they are installed.
 */
#ifndef QP_CPA_H
#define QP_CPA_H

#include <stddef.h>
#include <stdint.h>

typedef void *cpa_instance;

enum cpa_status {
    CPA_OK = 0,
    CPA_FAIL = -1,
    CPA_RETRY = -2,
    CPA_RESOURCE = -3,
    CPA_INVALID_PARAM = -4,
    CPA_FATAL = -5,
    CPA_UNSUPPORTED = -6,
    CPA_RESTARTING = -7,
};

struct cpa_buffer {
    uint32_t size;
    uint8_t *data; /* memory of libusdm: the device reads and writes it */
};

enum { CPA_RSA_TWO_PRIME = 1, CPA_RSA_KEY_CRT = 2 };

struct cpa_rsa_key {
    int version;
    int type;
    struct cpa_buffer n, d;
    struct cpa_buffer p, q, dp, dq, qinv;
};

struct cpa_rsa_decrypt {
    struct cpa_rsa_key *key;
    struct cpa_buffer input; /* big endian, below the modulus */
};

typedef void cpa_callback(void *tag, int status, void *operation, struct cpa_buffer *output);

struct cpa_info {
    int service;
    uint8_t vendor[64], part[64], version[64], name[64], id[128];
    uint16_t package, accelerator, engine, bus;
    uint32_t kpt;
    uint32_t cores[128];
    uint32_t node;
    int state;
    int contiguous, polled, offloaded;
};

struct cpa_capabilities {
    int sym, sym_dp, dh, dsa, rsa;
    int others[59]; /* 14 more in 24.02, and room for later ones */
};

#endif
