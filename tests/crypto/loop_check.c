/*
 * The queues of engine.c, or the same queues under libevent itself, on a clock that this program turns: no time passes
 * but what the loop sleeps and what signing takes, so that both do exactly the same or are wrong. It defines the functions
 * by which both look at the clock and sleep; libevent, loaded at run time, finds them here first.
 *
 * Usage: loop_check engine|LIBEVENT DELAY_US TICK_US PHASE_NS SIGN_NS QUEUES, arrivals in ns on standard input.
 * LIBEVENT is libevent_core-2.1.so.7 or the like. Prints a line for each queue worked off, "SIZE TIME_NS", and for the
 * engine a last line with the latencies.
 *
 * Built by the tests: gcc -rdynamic loop_check.c key.c -ldl
 */
#include "../../qatprep/native/engine.c"

#include <dlfcn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 100000 };
static uint64_t now_ns = 7000000000, tick_ns, phase_ns, sign_ns, start_ns;
static uint64_t arrivals[MOST], latencies[MOST];
static size_t count, next_arrival;

/* -- the clock ------------------------------------------------------------------------------------------------------ */

int clock_gettime(clockid_t clock, struct timespec *t)
{
    uint64_t value = now_ns;
    if (clock == CLOCK_MONOTONIC_COARSE)
        value = (now_ns - phase_ns) / tick_ns * tick_ns + phase_ns;
    *t = (struct timespec){(time_t)(value / NS), (long)(value % NS)};
    return 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t, struct timespec *rest)
{
    (void)clock, (void)flags, (void)rest;
    uint64_t until = (uint64_t)t->tv_sec * NS + (uint64_t)t->tv_nsec;
    now_ns = until > now_ns ? until : now_ns;
    return 0;
}

static int ready[2];
static uint64_t woke_ns;

/* Sleeps until an arrival, which makes the pipe readable, or to the end of the timeout. */
int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
    uint64_t wake = timeout < 0 ? UINT64_MAX : now_ns + (uint64_t)timeout * 1000000;
    bool arrived = next_arrival < count && start_ns + arrivals[next_arrival] <= wake;
    if (arrived && start_ns + arrivals[next_arrival] > now_ns)
        now_ns = start_ns + arrivals[next_arrival];
    else if (!arrived)
        now_ns = wake;
    woke_ns = now_ns;
    if (arrived && write(ready[1], "", 1) != 1)
        abort();
    return (int)syscall(SYS_epoll_pwait, fd, events, most, 0, NULL, 8);
}

/* -- the signer ------------------------------------------------------------------------------------------------------ */

static unsigned sign_batch(void *context, const struct qp_batch *batch)
{
    (void)context;
    printf("%u %llu\n", batch->count, (unsigned long long)(now_ns - start_ns));
    now_ns += sign_ns;
    return 0xFF;
}

static void *open_nothing(const struct qp_signer *signer, const struct qp_key *key)
{
    (void)key;
    return (void *)signer;
}

static void close_nothing(void *context)
{
    (void)context;
}

static const struct qp_signer_ops ops = {open_nothing, sign_batch, NULL, close_nothing, NULL};

/* -- Envoy's queue on libevent: CryptoMbQueue, TimerImpl -------------------------------------------------------------- */

struct event;
struct event_base;
enum { EV_READ = 2, EV_PERSIST = 16 }; /* event2/event.h */

static struct {
    struct event_base *(*base_new)(void);
    struct event *(*event_new)(struct event_base *, int, short, void (*)(int, short, void *), void *);
    int (*add)(struct event *, const struct timeval *);
    int (*del)(struct event *);
    int (*dispatch)(struct event_base *);
    int (*stop)(struct event_base *);
} event;
static struct event_base *base;
static struct loop chooser;
static struct context {
    unsigned size;
    struct event *timer;
} contexts[64];
static struct timeval delay;

static void process(struct context *c)
{
    sign_batch(NULL, &(struct qp_batch){.count = c->size});
    c->size = 0;
    bool waiting = next_arrival < count;
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        waiting |= contexts[i].size > 0;
    if (!waiting)
        event.stop(base);
}

static void timer_fired(int fd, short what, void *opaque)
{
    (void)fd, (void)what;
    process(opaque);
}

static void arrived(int fd, short what, void *unused)
{
    (void)what, (void)unused;
    char byte;
    if (read(fd, &byte, 1) != 1)
        abort();
    uint64_t until = woke_ns;
    while (next_arrival < count && start_ns + arrivals[next_arrival] <= until) {
        struct context *c = &contexts[next_queue(&chooser) - chooser.queues];
        next_arrival++;
        if (++c->size == QP_LANES) {
            event.del(c->timer);
            process(c);
        } else if (c->size == 1) {
            event.add(c->timer, &delay);
        }
    }
}

static int under_libevent(const char *library, struct qp_worker *worker)
{
    void *handle = dlopen(library, RTLD_NOW);
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        return 77;
    }
    *(void **)&event.base_new = dlsym(handle, "event_base_new");
    *(void **)&event.event_new = dlsym(handle, "event_new");
    *(void **)&event.add = dlsym(handle, "event_add");
    *(void **)&event.del = dlsym(handle, "event_del");
    *(void **)&event.dispatch = dlsym(handle, "event_base_dispatch");
    *(void **)&event.stop = dlsym(handle, "event_base_loopbreak");
    static struct queue queues[sizeof contexts / sizeof *contexts];
    chooser = (struct loop){.worker = worker, .queues = queues};
    if (pipe(ready))
        return 1;
    base = event.base_new();
    for (unsigned i = 0; i < worker->run->queue_count; i++)
        contexts[i].timer = event.event_new(base, -1, 0, timer_fired, &contexts[i]);
    event.add(event.event_new(base, ready[0], EV_READ | EV_PERSIST, arrived, NULL), NULL);
    return event.dispatch(base) < 0;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    uint64_t delay_us = strtoull(argv[2], NULL, 10);
    tick_ns = strtoull(argv[3], NULL, 10) * 1000;
    phase_ns = strtoull(argv[4], NULL, 10);
    sign_ns = strtoull(argv[5], NULL, 10);
    unsigned queues = (unsigned)strtoul(argv[6], NULL, 10);
    while (count < MOST && scanf("%lu", &arrivals[count]) == 1)
        count++;
    static uint8_t data[8];
    static bool has_result[1];
    struct qp_key key = {.kind = QP_RSA, .in_size = 1, .out_size = 1};
    struct qp_jobs jobs = {.key = &key, .count = 1, .inputs = data};
    struct qp_signer signer = {.ops = &ops, .width = QP_LANES};
    struct qp_run run = {
        .signer = &signer, .jobs = &jobs, .poll_delay_ns = delay_us * 1000, .queue_count = queues,
        .duration_ns = UINT64_MAX / 4, .worker_count = 1, .running = 1,
    };
    struct qp_worker worker = {
        .run = &run, .arrivals = arrivals, .arrival_count = count, .latencies = latencies, .results = data,
        .has_result = has_result,
    };
    run.workers = &worker;
    start_ns = run.start_ns = now_ns;
    delay = (struct timeval){(time_t)(delay_us / 1000000), (suseconds_t)(delay_us % 1000000)};
    if (strcmp(argv[1], "engine"))
        return under_libevent(argv[1], &worker);
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.change, NULL);
    qp_engine_work(&worker);
    for (size_t i = 0; i < count; i++)
        printf("%s%lu", i ? " " : "", latencies[i]);
    printf("\n");
    return 0;
}
