/*
 * The queues of Envoy's CryptoMB provider (contrib/cryptomb/private_key_providers/source/cryptomb_private_key_provider.cc,
 * CryptoMbQueue). There is one for each worker thread and each TLS context with the provider (a certificate, a secret of
 * SDS, a cluster). It is worked off on that thread when its eighth operation comes or when the timer fires that its first
 * one started. An engine of width 1 is the same without a queue: signing synchronously, as Envoy does without a provider.
 * Arrivals are an open loop: they do not wait for results, and latency counts from the moment an operation should have
 * started.
 *
 * The timer is that of Envoy's event loop, libevent without EVENT_BASE_FLAG_PRECISE_TIMER (event_base_new() in Envoy's
 * libevent_scheduler.cc): its clock is CLOCK_MONOTONIC_COARSE, which advances with the kernel's tick, read once each time
 * the loop wakes; it sleeps in epoll_wait(), whose timeout is in whole milliseconds, rounded up. tests/crypto/loop_check.c holds this file against libevent itself.
 */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum { NS = 1000000000 };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

uint64_t qp_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t qp_thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void qp_sleep_until(uint64_t ns, const atomic_bool *stop)
{
    enum { SLICE = NS / 50 }; /* so that a stop is seen soon */
    for (;;) {
        uint64_t now = qp_now_ns();
        if (now >= ns || atomic_load_explicit(stop, memory_order_relaxed))
            return;
        uint64_t until = ns - now > SLICE ? now + SLICE : ns;
        struct timespec t = {(time_t)(until / NS), (long)(until % NS)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
}

uint64_t qp_since(uint64_t start_ns)
{
    uint64_t now = qp_now_ns();
    return now > start_ns ? now - start_ns : 0;
}

bool qp_job_right(const struct qp_jobs *jobs, size_t job, const uint8_t *result)
{
    size_t size = jobs->key->out_size;
    return !jobs->expected || memcmp(jobs->expected + job * size, result, size) == 0;
}

/* The clock of libevent's timers, in microseconds as libevent keeps it. */
static uint64_t coarse_us(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE) / 1000;
}

struct queue {
    unsigned size;
    size_t job[QP_LANES];
    size_t arrival[QP_LANES];
    struct qp_batch batch;
    bool armed; /* the timer runs */
    bool due;   /* ... and had passed when the loop woke */
    uint64_t deadline_us;
};

struct loop {
    struct qp_worker *worker;
    void *context;
    uint64_t turn;   /* operations taken so far: chooses the next job */
    uint64_t random; /* chooses the queue */
    uint64_t cached_us; /* the clock when the loop last woke: libevent's tv_cache */
    struct queue *queues;
};

static void add(struct loop *l, struct queue *q, size_t arrival)
{
    const struct qp_jobs *jobs = l->worker->run->jobs;
    size_t job = (size_t)((l->worker->number + l->turn++) % jobs->count);
    unsigned lane = q->size++;
    q->job[lane] = job;
    q->arrival[lane] = arrival;
    q->batch.in[lane] = jobs->inputs + job * jobs->key->in_size;
    q->batch.nonce[lane] = jobs->nonces ? jobs->nonces[job] : NULL;
    q->batch.out[lane] = l->worker->results + job * jobs->key->out_size;
}

/*
 * What Envoy does beside signing. RSA: every result is turned back with the public key (processRsaRequests). P-256: it
 * draws a nonce for each operation, hands nonce and key over as BIGNUMs (mbx_nistp256_ecdsa_sign_ssl_mb8), and makes two
 * of r and s. The jobs keep their own nonces here, so that results can be foreseen: one is drawn and thrown away, and
 * four numbers are made and turned round.
 */
static unsigned as_envoy(const struct loop *l, const struct queue *q)
{
    const struct qp_run *run = l->worker->run;
    unsigned all = (1u << q->size) - 1;
    if (run->jobs->key->kind == QP_RSA)
        return run->signer->ops->check ? run->signer->ops->check(l->context, &q->batch) : all;
    for (unsigned i = 0; run->signer->takes_nonces && i < q->size; i++) {
        enum { WORDS = 4 };
        uint64_t nonce[WORDS];
        if (!qp_p256_nonce(nonce))
            return 0;
        for (int number = 0; number < 4; number++) {
            uint64_t *copy = malloc(sizeof nonce);
            if (!copy)
                return 0;
            for (int w = 0; w < WORDS; w++)
                copy[w] = __builtin_bswap64(nonce[WORDS - 1 - w]);
            memcpy(nonce, copy, sizeof nonce);
            free(copy);
        }
        __asm__ volatile("" : : "r"(nonce) : "memory"); /* so that the compiler does not leave it out */
    }
    return all;
}

static void work_off(struct loop *l, struct queue *q)
{
    struct qp_worker *w = l->worker;
    struct qp_run *run = w->run;
    q->armed = q->due = false;
    q->batch.count = q->size;
    unsigned right = run->signer->ops->sign(l->context, &q->batch);
    if (!run->bare) {
        if (run->check)
            right &= as_envoy(l, q);
        uint64_t done = w->latencies ? qp_since(run->start_ns) : 0;
        bool foreseen = run->signer->takes_nonces || run->jobs->key->kind == QP_RSA;
        for (unsigned i = 0; i < q->size; i++) {
            if (foreseen && !qp_job_right(run->jobs, q->job[i], q->batch.out[i]))
                right &= ~(1u << i);
            w->has_result[q->job[i]] = true;
            if (w->latencies)
                w->latencies[q->arrival[i]] = done - w->arrivals[q->arrival[i]];
        }
    }
    w->sizes[q->size]++;
    w->completed += q->size;
    w->failed += q->size - (unsigned)__builtin_popcount(right & ((1u << q->size) - 1));
    for (unsigned i = 0; i < q->size; i++) {
        q->batch.in[i] = NULL;
        q->batch.out[i] = NULL;
        q->batch.nonce[i] = NULL;
    }
    q->size = 0;
}

/* An operation for one of the contexts, any of them: the same ones in every run, whatever signs. (splitmix64) */
static struct queue *next_queue(struct loop *l)
{
    unsigned count = l->worker->run->queue_count;
    if (count < 2)
        return l->queues;
    uint64_t x = l->random += 0x9E3779B97F4A7C15;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return &l->queues[(x ^ x >> 31) % count];
}

/* The timer that ends first: among those that are due, or among all that run. NULL when there is none. */
static struct queue *first_timer(struct loop *l, bool due)
{
    struct queue *first = NULL;
    for (unsigned i = 0; i < l->worker->run->queue_count; i++) {
        struct queue *q = &l->queues[i];
        if (q->armed && (q->due || !due) && (!first || q->deadline_us < first->deadline_us))
            first = q;
    }
    return first;
}

/* One round of libevent's loop: what has arrived, then the timers that had passed when it woke (event_base_loop). */
static size_t go_round(struct loop *l, size_t next, uint64_t now)
{
    struct qp_worker *w = l->worker;
    struct qp_run *run = w->run;
    struct queue *q;
    l->cached_us = coarse_us();
    for (unsigned i = 0; i < run->queue_count; i++)
        l->queues[i].due = l->queues[i].armed && l->queues[i].deadline_us <= l->cached_us;
    for (; next < w->arrival_count && run->start_ns + w->arrivals[next] <= now; next++) {
        if (atomic_load_explicit(&run->stop, memory_order_relaxed) || qp_since(run->start_ns) >= run->duration_ns)
            return next;
        q = next_queue(l);
        add(l, q, next);
        if (q->size == run->signer->width) {
            work_off(l, q);
        } else if (q->size == 1) {
            q->armed = true;
            q->deadline_us = l->cached_us + run->poll_delay_ns / 1000;
        }
    }
    while ((q = first_timer(l, true)))
        work_off(l, q);
    return next;
}

static void loop(struct loop *l)
{
    enum { MS = 1000000 };
    struct qp_worker *w = l->worker;
    struct qp_run *run = w->run;
    size_t next = 0;
    while (!atomic_load_explicit(&run->stop, memory_order_relaxed) && qp_since(run->start_ns) < run->duration_ns) {
        if (!w->arrivals) {
            struct queue *q = l->queues;
            while (q->size < run->signer->width)
                add(l, q, 0);
            work_off(l, q);
            continue;
        }
        next = go_round(l, next, qp_now_ns());
        const struct queue *q = first_timer(l, false);
        if (next == w->arrival_count && !q)
            break;
        uint64_t wake = UINT64_MAX;
        if (q) {
            /* From when the loop last woke, however long it has signed since: timeout_next() uses tv_cache as well. */
            uint64_t remaining_us = q->deadline_us > l->cached_us ? q->deadline_us - l->cached_us : 0;
            wake = qp_now_ns() + (remaining_us + 999) / 1000 * MS;
        }
        if (next < w->arrival_count && run->start_ns + w->arrivals[next] < wake)
            wake = run->start_ns + w->arrivals[next];
        if (wake > run->start_ns + run->duration_ns)
            wake = run->start_ns + run->duration_ns;
        qp_sleep_until(wake, &run->stop);
    }
}

void *qp_engine_work(void *opaque)
{
    struct qp_worker *w = opaque;
    struct loop l = {.worker = w, .random = w->number};
    l.queues = calloc(w->run->queue_count, sizeof *l.queues);
    l.context = l.queues ? w->run->signer->ops->open(w->run->signer, w->run->jobs->key) : NULL;
    if (!l.context) {
        w->trouble = l.queues ? "the library does not take this key" : "out of memory";
    } else {
        /* 50 us of slack, the kernel's default, would be seen in the latencies of an idle worker. */
        prctl(PR_SET_TIMERSLACK, 1000UL);
        qp_sleep_until(w->run->start_ns, &w->run->stop);
        uint64_t cpu = qp_thread_cpu_ns();
        loop(&l);
        w->cpu_ns = qp_thread_cpu_ns() - cpu;
        w->elapsed_ns = qp_since(w->run->start_ns);
        w->run->signer->ops->close(l.context);
    }
    free(l.queues);
    qp_run_done(w);
    return NULL;
}

const char *qp_run_start(struct qp_run *run, void *(*work)(void *worker))
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&run->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&run->change, &attributes);
    pthread_condattr_destroy(&attributes);
    atomic_init(&run->stop, false);
    run->running = 0;
    run->start_ns = qp_now_ns() + NS / 500; /* 2 ms: all threads are there when the first operation comes */
    for (unsigned i = 0; i < run->worker_count; i++) {
        struct qp_worker *w = &run->workers[i];
        pthread_mutex_lock(&run->lock);
        run->running++;
        pthread_mutex_unlock(&run->lock);
        if (pthread_create(&w->thread, NULL, work, w)) {
            qp_run_done(w);
            atomic_store(&run->stop, true);
            return "no more threads can be started";
        }
        w->started = true;
    }
    return NULL;
}

void qp_run_done(struct qp_worker *worker)
{
    struct qp_run *run = worker->run;
    pthread_mutex_lock(&run->lock);
    run->running--;
    pthread_cond_signal(&run->change);
    pthread_mutex_unlock(&run->lock);
}

bool qp_run_wait(struct qp_run *run, unsigned milliseconds)
{
    uint64_t until = qp_now_ns() + (uint64_t)milliseconds * 1000000;
    struct timespec t = {(time_t)(until / NS), (long)(until % NS)};
    pthread_mutex_lock(&run->lock);
    while (run->running && pthread_cond_timedwait(&run->change, &run->lock, &t) != ETIMEDOUT)
        ;
    bool over = run->running == 0;
    pthread_mutex_unlock(&run->lock);
    return over;
}

void qp_run_join(struct qp_run *run)
{
    for (unsigned i = 0; i < run->worker_count; i++)
        if (run->workers[i].started)
            pthread_join(run->workers[i].thread, NULL);
    pthread_mutex_destroy(&run->lock);
    pthread_cond_destroy(&run->change);
}
