/* Intel QAT through libqat: start, instances, RSA operations, stop. */
#ifndef QP_QAT_H
#define QP_QAT_H

#include "cpa.h"
#include "engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct qp_qat_api {
    int (*start)(const char *section);
    int (*stop)(void);
    int (*count)(uint16_t *count);
    int (*list)(uint16_t count, cpa_instance *instances);
    int (*info)(cpa_instance, struct cpa_info *);
    int (*capabilities)(cpa_instance, struct cpa_capabilities *);
    int (*translate)(cpa_instance, uint64_t (*)(void *));
    int (*start_instance)(cpa_instance);
    int (*stop_instance)(cpa_instance);
    int (*decrypt)(cpa_instance, cpa_callback *, void *tag, const struct cpa_rsa_decrypt *, struct cpa_buffer *);
    int (*poll)(cpa_instance, uint32_t quota);
    void *(*allocate)(size_t size, int node, size_t alignment);
    void (*release)(void **memory);
    uint64_t (*physical)(void *);
};

struct qp_qat_instance {
    struct qp_qat *qat;
    cpa_instance handle;
    struct cpa_info info;
    bool rsa;
    bool ready; /* started, and its polling thread may be */
    /* The polling thread sleeps while nothing is pending: Envoy, contrib/qat, QatManager::qatPoll. */
    pthread_t thread;
    bool polling;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    unsigned pending;
    bool done;
    uint64_t poll_delay_ns;
    uint64_t polls, cpu_ns;
    struct cpa_rsa_key key;
};

struct qp_qat_slot;

/*
 * On the heap. Everything a late result may touch hangs on it: the slots of all runs, their buffers, the instances, the
 * keys. It goes in qp_qat_free(), once the instances are stopped and nothing can come any more; after a loss never.
 */
struct qp_qat {
    struct qp_qat_api api;
    void *libqat, *libusdm;
    bool started;
    unsigned count;
    struct qp_qat_instance *instances;
    struct qp_qat_slot *slots;         /* a list; each serves one operation at a time */
    atomic_ullong spurious;            /* second results for one operation, and results of operations given up */
    unsigned long long lost;           /* operations that never came back: the device may still write to their memory */
};

/* Each gives the empty string, or why not, in `why`; `status` is libqat's. */
bool qp_qat_load(struct qp_qat *qat, const char *libqat, const char *libusdm, char *why, size_t size);
bool qp_qat_start(struct qp_qat *qat, const char *section, int *status, char *why, size_t size);
void qp_qat_stop(struct qp_qat *qat);
void qp_qat_free(struct qp_qat *qat);

/* The key in device memory, for every instance that does RSA. False when there is no such memory. */
bool qp_qat_key(struct qp_qat *qat, const struct qp_key *key);
void qp_qat_forget(struct qp_qat *qat);

struct qp_qat_run {
    struct qp_run run; /* first: a worker's run is this */
    struct qp_qat *qat;
    unsigned depth;        /* operations in flight a worker */
    uint64_t patience_ns;  /* how long results may take after the last operation was sent */
    atomic_uint next;      /* round-robin */
    atomic_ullong retries, lost;
    atomic_int last_status; /* the last status other than success that an operation came back with */
};

bool qp_qat_poll_start(struct qp_qat *qat, uint64_t poll_delay_ns);
void qp_qat_poll_stop(struct qp_qat *qat);
void *qp_qat_work(void *worker);
void qp_qat_free_slots(struct qp_qat *qat);

#endif
