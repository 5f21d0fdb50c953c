/* Load on an engine: N workers, each with queues of its own, as Envoy's worker threads have. */
#ifndef QP_ENGINE_H
#define QP_ENGINE_H

#include "key.h"
#include "signer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QP_UNFINISHED UINT64_MAX

/* What is signed, over and over. */
struct qp_jobs {
    const struct qp_key *key;
    size_t count;
    uint8_t *inputs;          /* count * key->in_size */
    uint8_t *expected;        /* count * key->out_size, or NULL where results cannot be foreseen */
    uint64_t (*nonces)[4];    /* P-256: one a job, so that a result can be compared with an earlier, verified one */
};

struct qp_worker {
    struct qp_run *run;
    unsigned number;
    pthread_t thread;
    bool started;
    uint64_t *arrivals; /* ns after the start, ascending; NULL: another operation is always waiting */
    size_t arrival_count;
    uint64_t *latencies;      /* ns from arrival to result, QP_UNFINISHED; NULL without arrivals */
    uint8_t *results;         /* the last result of each job */
    bool *has_result;
    uint64_t completed, failed;
    uint64_t sizes[QP_LANES + 1]; /* how often a queue of that size was worked off */
    uint64_t elapsed_ns, cpu_ns;
    const char *trouble;
};

struct qp_run {
    const struct qp_signer *signer;
    const struct qp_jobs *jobs;
    uint64_t poll_delay_ns;
    unsigned queue_count; /* a worker: one for each TLS context with a private key of its own */
    uint64_t duration_ns; /* without arrivals: how long; with arrivals: when to give up */
    bool check;           /* what Envoy does beside signing: engine.c, as_envoy() */
    bool bare;            /* no queue, no timer, no comparison: the loop the engine is measured against */
    unsigned worker_count;
    struct qp_worker *workers;
    atomic_bool stop;
    uint64_t start_ns;
    pthread_mutex_t lock;
    pthread_cond_t change;
    unsigned running;
};

uint64_t qp_now_ns(void);       /* CLOCK_MONOTONIC */
uint64_t qp_since(uint64_t start_ns); /* ns from `start_ns` to now, 0 before it */
uint64_t qp_thread_cpu_ns(void);
void qp_sleep_until(uint64_t ns, const atomic_bool *stop);

/* Start the workers; NULL or why not. Then call qp_run_wait until it returns true, then qp_run_join. */
const char *qp_run_start(struct qp_run *run, void *(*work)(void *worker));
bool qp_run_wait(struct qp_run *run, unsigned milliseconds);
void qp_run_join(struct qp_run *run);
void qp_run_done(struct qp_worker *worker); /* the last thing a worker does */

/* Whether a job's result is right as far as it can be foreseen. */
bool qp_job_right(const struct qp_jobs *jobs, size_t job, const uint8_t *result);

/* The worker of the signers that work on the calling thread (crypto_mb, OpenSSL). */
void *qp_engine_work(void *worker);

#endif
