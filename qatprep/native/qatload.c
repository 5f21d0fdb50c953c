/*
 * Load on QAT as Envoy puts it there (contrib/qat/private_key_providers/source/qat.cc): operations go round-robin over
 * the instances; one thread an instance polls for results, sleeping the poll delay in between, and sleeps altogether
 * while nothing is pending. A result's latency ends in that thread's callback, where Envoy would wake the worker.
 */
#define _GNU_SOURCE
#include "qat.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum { NS = 1000000000 };

/* -- polling ------------------------------------------------------------------------------------------------------ */

static void *poll_instance(void *opaque)
{
    struct qp_qat_instance *instance = opaque;
    prctl(PR_SET_TIMERSLACK, 1000UL);
    for (;;) {
        pthread_mutex_lock(&instance->lock);
        while (!instance->pending && !instance->done)
            pthread_cond_wait(&instance->wanted, &instance->lock);
        bool done = instance->done;
        pthread_mutex_unlock(&instance->lock);
        if (done)
            break;
        instance->qat->api.poll(instance->handle, 0);
        instance->polls++;
        if (instance->poll_delay_ns) {
            struct timespec t = {(time_t)(instance->poll_delay_ns / NS), (long)(instance->poll_delay_ns % NS)};
            clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        } else {
            sched_yield();
        }
    }
    instance->cpu_ns = qp_thread_cpu_ns();
    return NULL;
}

bool qp_qat_poll_start(struct qp_qat *qat, uint64_t poll_delay_ns)
{
    for (unsigned i = 0; i < qat->count; i++) {
        struct qp_qat_instance *instance = &qat->instances[i];
        if (!instance->ready)
            continue;
        instance->poll_delay_ns = poll_delay_ns;
        instance->done = false;
        instance->polls = instance->cpu_ns = 0;
        if (pthread_create(&instance->thread, NULL, poll_instance, instance))
            return false;
        instance->polling = true;
    }
    return true;
}

void qp_qat_poll_stop(struct qp_qat *qat)
{
    for (unsigned i = 0; i < qat->count; i++) {
        struct qp_qat_instance *instance = &qat->instances[i];
        if (!instance->polling)
            continue;
        pthread_mutex_lock(&instance->lock);
        instance->done = true;
        pthread_cond_signal(&instance->wanted);
        pthread_mutex_unlock(&instance->lock);
        pthread_join(instance->thread, NULL);
        instance->polling = false;
    }
}

static void expect_result(struct qp_qat_instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    if (instance->pending++ == 0)
        pthread_cond_signal(&instance->wanted);
    pthread_mutex_unlock(&instance->lock);
}

static void result_came(struct qp_qat_instance *instance)
{
    pthread_mutex_lock(&instance->lock);
    instance->pending--;
    pthread_mutex_unlock(&instance->lock);
}

/* -- operations --------------------------------------------------------------------------------------------------- */

struct flight;

enum slot_state {
    IDLE,    /* whatever comes for it is a second result */
    PENDING, /* its result belongs to its flight */
    GIVEN_UP /* its flight is gone: a result, should one come, belongs to nobody */
};

/* One operation at a time. It outlives the run it is made for: libqat and the device have its address and its buffers'. */
struct qp_qat_slot {
    struct qp_qat *qat;
    struct qp_qat_slot *all; /* the list of the qat's */
    bool taken;              /* by a flight; under the run's lock */
    atomic_int state;
    struct qp_qat_instance *instance;
    struct cpa_rsa_decrypt operation;
    struct cpa_buffer output;
    /* To be looked at in state PENDING alone. */
    struct flight *flight;
    struct qp_qat_slot *next; /* free ones of the flight */
    size_t job, arrival;
};

/* A worker's operations in flight. It lasts as long as the worker works, and until callbacks that use it are over. */
struct flight {
    struct qp_worker *worker;
    struct qp_qat_run *load;
    struct qp_qat_slot **slots;
    unsigned slot_count;
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct qp_qat_slot *free;
    unsigned busy;
};

static void give_back(struct flight *flight, struct qp_qat_slot *slot)
{
    pthread_mutex_lock(&flight->lock);
    slot->next = flight->free;
    flight->free = slot;
    flight->busy--;
    pthread_cond_signal(&flight->change);
    pthread_mutex_unlock(&flight->lock);
}

static void finished(void *tag, int status, void *operation, struct cpa_buffer *output)
{
    (void)operation;
    struct qp_qat_slot *slot = tag;
    int state = PENDING;
    if (!atomic_compare_exchange_strong(&slot->state, &state, IDLE)) {
        /* Nothing of any run may be touched: not the flight, the worker, the jobs. */
        atomic_fetch_add(&slot->qat->spurious, 1);
        return;
    }
    struct flight *flight = slot->flight;
    struct qp_worker *w = flight->worker;
    struct qp_qat_run *load = flight->load;
    const struct qp_jobs *jobs = w->run->jobs;
    size_t size = jobs->key->out_size;
    bool right = status == CPA_OK && output && output->data && output->size == size &&
                 qp_job_right(jobs, slot->job, output->data);
    if (status != CPA_OK)
        atomic_store(&load->last_status, status);
    uint64_t now = qp_since(w->run->start_ns);
    pthread_mutex_lock(&flight->lock); /* results of one worker can come on several polling threads */
    if (status == CPA_OK) {
        memcpy(w->results + slot->job * size, slot->output.data, size);
        w->has_result[slot->job] = true;
    }
    w->completed++;
    w->failed += !right;
    if (w->latencies)
        w->latencies[slot->arrival] = now - w->arrivals[slot->arrival];
    pthread_mutex_unlock(&flight->lock);
    result_came(slot->instance);
    give_back(flight, slot);
}

/* The next instance that does RSA, going round. */
static struct qp_qat_instance *next_instance(struct qp_qat_run *load)
{
    for (unsigned tried = 0; tried < load->qat->count; tried++) {
        unsigned turn = atomic_fetch_add(&load->next, 1);
        struct qp_qat_instance *instance = &load->qat->instances[turn % load->qat->count];
        if (instance->ready)
            return instance;
    }
    return NULL;
}

static void set_deadline(struct timespec *t, uint64_t ns)
{
    t->tv_sec = (time_t)(ns / NS);
    t->tv_nsec = (long)(ns % NS);
}

/* A free slot, waiting for one until `until`. */
static struct qp_qat_slot *take(struct flight *flight, uint64_t until)
{
    struct timespec t;
    set_deadline(&t, until);
    pthread_mutex_lock(&flight->lock);
    while (!flight->free && pthread_cond_timedwait(&flight->change, &flight->lock, &t) == 0)
        ;
    struct qp_qat_slot *slot = flight->free;
    if (slot) {
        flight->free = slot->next;
        flight->busy++;
    }
    pthread_mutex_unlock(&flight->lock);
    return slot;
}

/* Send one operation; false when it could not be sent until `until`, or was refused. */
static bool send(struct flight *flight, struct qp_qat_slot *slot, size_t job, size_t arrival, uint64_t until)
{
    struct qp_qat_run *load = flight->load;
    const struct qp_jobs *jobs = flight->worker->run->jobs;
    struct qp_qat_instance *instance = next_instance(load);
    int status = CPA_FAIL;
    if (instance) {
        slot->instance = instance;
        slot->job = job;
        slot->arrival = arrival;
        slot->operation.key = &instance->key;
        memcpy(slot->operation.input.data, jobs->inputs + job * jobs->key->in_size, jobs->key->in_size);
        slot->output.size = (uint32_t)jobs->key->out_size;
        atomic_store(&slot->state, PENDING);
        expect_result(instance); /* before the call: the result can be there before it returns */
        while ((status = load->qat->api.decrypt(instance->handle, finished, slot, &slot->operation, &slot->output)) ==
               CPA_RETRY) {
            atomic_fetch_add(&load->retries, 1);
            if (qp_now_ns() >= until || atomic_load_explicit(&load->run.stop, memory_order_relaxed))
                break;
            sched_yield();
        }
        if (status == CPA_OK)
            return true;
        atomic_store(&slot->state, IDLE);
        result_came(instance);
    }
    if (status != CPA_RETRY) {
        atomic_store(&load->last_status, status);
        pthread_mutex_lock(&flight->lock);
        flight->worker->completed++;
        flight->worker->failed++;
        pthread_mutex_unlock(&flight->lock);
    }
    give_back(flight, slot);
    return false;
}

static void fly(struct flight *flight)
{
    struct qp_worker *w = flight->worker;
    struct qp_run *run = w->run;
    uint64_t until = run->start_ns + run->duration_ns;
    uint64_t turn = 0;
    for (size_t next = 0; !w->arrivals || next < w->arrival_count; next++) {
        if (w->arrivals) {
            if (w->arrivals[next] >= run->duration_ns)
                break;
            qp_sleep_until(run->start_ns + w->arrivals[next], &run->stop);
        }
        if (qp_now_ns() >= until || atomic_load_explicit(&run->stop, memory_order_relaxed))
            break;
        struct qp_qat_slot *slot = take(flight, until);
        if (!slot)
            break;
        size_t job = (size_t)((w->number + turn++) % run->jobs->count);
        send(flight, slot, job, next, until);
    }
}

static void land(struct flight *flight)
{
    struct timespec t;
    set_deadline(&t, qp_now_ns() + flight->load->patience_ns);
    pthread_mutex_lock(&flight->lock);
    while (flight->busy && pthread_cond_timedwait(&flight->change, &flight->lock, &t) == 0)
        ;
    pthread_mutex_unlock(&flight->lock);
    /* What has not come by now is given up, one by one: a result that comes in the meantime still counts. */
    unsigned lost = 0;
    for (unsigned i = 0; i < flight->slot_count; i++) {
        int state = PENDING;
        lost += atomic_compare_exchange_strong(&flight->slots[i]->state, &state, GIVEN_UP);
    }
    atomic_fetch_add(&flight->load->lost, lost);
    pthread_mutex_lock(&flight->lock);
    flight->busy -= lost;
    while (flight->busy) /* callbacks that have begun */
        pthread_cond_wait(&flight->change, &flight->lock);
    pthread_mutex_unlock(&flight->lock);
}

void qp_qat_free_slots(struct qp_qat *qat)
{
    while (qat->slots) {
        struct qp_qat_slot *slot = qat->slots;
        void *buffers[] = {slot->operation.input.data, slot->output.data};
        for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
            if (buffers[i])
                qat->api.release(&buffers[i]);
        qat->slots = slot->all;
        free(slot);
    }
}

static struct qp_qat_slot *new_slot(struct qp_qat *qat, int node)
{
    struct qp_qat_slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return NULL;
    slot->qat = qat;
    atomic_init(&slot->state, IDLE);
    slot->all = qat->slots;
    qat->slots = slot;
    slot->operation.input.data = qat->api.allocate(QP_MAX_BYTES, node, 64);
    slot->output.data = qat->api.allocate(QP_MAX_BYTES, node, 64);
    return slot->operation.input.data && slot->output.data ? slot : NULL;
}

/* Slots of earlier runs, and new ones where those do not suffice. Not to be called for two flights at once. */
static bool make_slots(struct flight *flight)
{
    struct qp_qat_run *load = flight->load;
    const struct qp_key *key = load->run.jobs->key;
    struct qp_qat_instance *first = next_instance(load);
    flight->slots = calloc(load->depth, sizeof *flight->slots);
    if (!flight->slots || !first)
        return false;
    struct qp_qat_slot *idle = load->qat->slots;
    while (flight->slot_count < load->depth) {
        while (idle && (idle->taken || !idle->operation.input.data || !idle->output.data))
            idle = idle->all;
        struct qp_qat_slot *slot = idle ? idle : new_slot(load->qat, (int)first->info.node);
        if (!slot)
            return false;
        slot->taken = true;
        slot->flight = flight;
        slot->operation.input.size = (uint32_t)key->in_size;
        flight->slots[flight->slot_count++] = slot;
        slot->next = flight->free;
        flight->free = slot;
    }
    return true;
}

static void leave_slots(struct flight *flight)
{
    for (unsigned i = 0; i < flight->slot_count; i++)
        flight->slots[i]->taken = atomic_load(&flight->slots[i]->state) != IDLE;
}

void *qp_qat_work(void *opaque)
{
    struct qp_worker *w = opaque;
    struct flight flight = {.worker = w, .load = (struct qp_qat_run *)w->run};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&flight.lock, NULL);
    pthread_cond_init(&flight.change, &attributes);
    pthread_condattr_destroy(&attributes);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    pthread_mutex_lock(&w->run->lock);
    bool ready = make_slots(&flight);
    pthread_mutex_unlock(&w->run->lock);
    if (ready) {
        uint64_t cpu = qp_thread_cpu_ns();
        qp_sleep_until(w->run->start_ns, &w->run->stop);
        fly(&flight);
        land(&flight);
        w->cpu_ns = qp_thread_cpu_ns() - cpu;
        w->elapsed_ns = qp_since(w->run->start_ns);
    } else {
        w->trouble = "libusdm has no memory for the device (qaeMemAllocNUMA)";
    }
    pthread_mutex_lock(&w->run->lock);
    leave_slots(&flight);
    pthread_mutex_unlock(&w->run->lock);
    free(flight.slots);
    pthread_mutex_destroy(&flight.lock);
    pthread_cond_destroy(&flight.change);
    qp_run_done(w);
    return NULL;
}
