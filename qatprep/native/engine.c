/*
 * The queue of Envoy's CryptoMB provider (contrib/cryptomb/private_key_providers/source/cryptomb_private_key_provider.cc,
 * CryptoMbQueue): one a worker thread, worked off on that thread when its eighth operation comes or when the timer fires
 * that its first one started. An engine of width 1 is the same without a queue: signing synchronously, as Envoy does
 * without a provider. Arrivals are an open loop: they do not wait for results, and latency counts from the moment an
 * operation should have started.
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

bool qp_job_right(const struct qp_jobs *jobs, size_t job, const uint8_t *result)
{
    size_t size = jobs->key->out_size;
    return !jobs->expected || memcmp(jobs->expected + job * size, result, size) == 0;
}

struct queue {
    struct qp_worker *worker;
    void *context;
    uint64_t turn; /* operations taken so far: chooses the next job */
    unsigned size;
    size_t job[QP_LANES];
    size_t arrival[QP_LANES];
    struct qp_batch batch;
};

static void add(struct queue *q, size_t arrival)
{
    const struct qp_jobs *jobs = q->worker->run->jobs;
    size_t job = (size_t)((q->worker->number + q->turn++) % jobs->count);
    unsigned lane = q->size++;
    q->job[lane] = job;
    q->arrival[lane] = arrival;
    q->batch.in[lane] = jobs->inputs + job * jobs->key->in_size;
    q->batch.nonce[lane] = jobs->nonces ? jobs->nonces[job] : NULL;
    q->batch.out[lane] = q->worker->results + job * jobs->key->out_size;
}

static void work_off(struct queue *q)
{
    struct qp_worker *w = q->worker;
    struct qp_run *run = w->run;
    q->batch.count = q->size;
    unsigned right = run->signer->ops->sign(q->context, &q->batch);
    if (!run->bare) {
        if (run->check && run->signer->ops->check)
            right &= run->signer->ops->check(q->context, &q->batch);
        uint64_t done = w->latencies ? qp_now_ns() - run->start_ns : 0;
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

static void loop(struct queue *q)
{
    struct qp_worker *w = q->worker;
    struct qp_run *run = w->run;
    unsigned width = run->signer->width;
    size_t next = 0;
    uint64_t deadline = 0;
    while (!atomic_load_explicit(&run->stop, memory_order_relaxed)) {
        uint64_t now = qp_now_ns();
        if (now - run->start_ns >= run->duration_ns)
            break;
        if (!w->arrivals) {
            while (q->size < width)
                add(q, 0);
            work_off(q);
            continue;
        }
        if (next < w->arrival_count && run->start_ns + w->arrivals[next] <= now) {
            add(q, next++);
            if (q->size == width)
                work_off(q);
            else if (q->size == 1)
                deadline = now + run->poll_delay_ns;
            continue;
        }
        if (q->size && now >= deadline) {
            work_off(q);
            continue;
        }
        if (next == w->arrival_count && !q->size)
            break;
        uint64_t wake = q->size ? deadline : UINT64_MAX;
        if (next < w->arrival_count && run->start_ns + w->arrivals[next] < wake)
            wake = run->start_ns + w->arrivals[next];
        qp_sleep_until(wake, &run->stop);
    }
}

void *qp_engine_work(void *opaque)
{
    struct qp_worker *w = opaque;
    struct queue q = {.worker = w};
    q.context = w->run->signer->ops->open(w->run->signer, w->run->jobs->key);
    if (!q.context) {
        w->trouble = "the library does not take this key";
    } else {
        /* 50 us of slack, the kernel's default, would be seen in the latencies of an idle worker. */
        prctl(PR_SET_TIMERSLACK, 1000UL);
        qp_sleep_until(w->run->start_ns, &w->run->stop);
        uint64_t cpu = qp_thread_cpu_ns();
        loop(&q);
        w->cpu_ns = qp_thread_cpu_ns() - cpu;
        w->elapsed_ns = qp_now_ns() - w->run->start_ns;
        w->run->signer->ops->close(q.context);
    }
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
