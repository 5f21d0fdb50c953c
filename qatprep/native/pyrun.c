/* sign() and run(): from Python's arguments to an engine and back, without the GIL in between. */
#include "pynative.h"

#include <stdlib.h>
#include <string.h>

static PyObject *result_or_none(const struct qp_jobs *jobs, const uint8_t *results, size_t job, bool has)
{
    if (!has)
        return Py_NewRef(Py_None);
    size_t size = jobs->key->out_size;
    return PyBytes_FromStringAndSize((const char *)results + job * size, (Py_ssize_t)size);
}

PyObject *qp_py_sign(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *signer_object, *jobs_object;
    if (!PyArg_ParseTuple(args, "OO", &signer_object, &jobs_object))
        return NULL;
    struct py_signer *s = qp_py_signer(signer_object);
    struct py_jobs *j = s ? qp_py_jobs(jobs_object) : NULL;
    if (!j)
        return NULL;
    const struct qp_signer *signer = &s->signer;
    const struct qp_jobs *jobs = &j->jobs;
    uint8_t *results = calloc(jobs->count, jobs->key->out_size);
    bool *right = calloc(jobs->count, sizeof *right);
    void *context = results && right ? signer->ops->open(signer, jobs->key) : NULL;
    if (context) {
        j->users++;
        Py_BEGIN_ALLOW_THREADS
        for (size_t first = 0; first < jobs->count; first += signer->width) {
            struct qp_batch batch = {.count = 0};
            while (batch.count < signer->width && first + batch.count < jobs->count) {
                size_t job = first + batch.count;
                batch.in[batch.count] = jobs->inputs + job * jobs->key->in_size;
                batch.nonce[batch.count] = jobs->nonces ? jobs->nonces[job] : NULL;
                batch.out[batch.count] = results + job * jobs->key->out_size;
                batch.count++;
            }
            unsigned mask = signer->ops->sign(context, &batch);
            for (unsigned i = 0; i < batch.count; i++)
                right[first + i] = mask >> i & 1;
        }
        signer->ops->close(context);
        Py_END_ALLOW_THREADS
        j->users--;
    }
    PyObject *list = NULL;
    if (!results || !right) {
        PyErr_NoMemory();
    } else if (!context) {
        PyErr_Format(PyExc_ValueError, "%s does not take this key", signer->library);
    } else if ((list = PyList_New((Py_ssize_t)jobs->count))) {
        for (size_t i = 0; i < jobs->count && list; i++) {
            PyObject *item = result_or_none(jobs, results, i, right[i]);
            if (!item || PyList_SetItem(list, (Py_ssize_t)i, item))
                Py_CLEAR(list);
        }
    }
    free(results);
    free(right);
    return list;
}

/* -- run -------------------------------------------------------------------------------------------------------- */

/* False when memory is short. */
static bool make_workers(struct qp_run *run)
{
    run->workers = calloc(run->worker_count, sizeof *run->workers);
    if (!run->workers)
        return false;
    for (unsigned i = 0; i < run->worker_count; i++) {
        struct qp_worker *w = &run->workers[i];
        w->run = run;
        w->number = i;
        w->results = calloc(run->jobs->count, run->jobs->key->out_size);
        w->has_result = calloc(run->jobs->count, sizeof *w->has_result);
        if (!w->results || !w->has_result)
            return false;
    }
    return true;
}

/* A worker's arrivals, copied: a run lets Python go on, which may change them. False with an exception set. */
static bool set_arrivals(struct qp_worker *w, PyObject *source)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(source, &buffer, PyBUF_SIMPLE))
        return false;
    size_t size = (size_t)buffer.len;
    w->arrival_count = size / sizeof(uint64_t);
    w->arrivals = malloc(size + 1);
    w->latencies = malloc(size + 1);
    bool right = false;
    if (size % sizeof(uint64_t)) {
        PyErr_SetString(PyExc_ValueError, "arrivals are uint64");
    } else if (!w->arrivals || !w->latencies) {
        PyErr_NoMemory();
    } else {
        memcpy(w->arrivals, buffer.buf, size);
        right = true;
        for (size_t k = 0; k < w->arrival_count; k++) {
            w->latencies[k] = QP_UNFINISHED;
            if (k && w->arrivals[k] < w->arrivals[k - 1])
                right = false;
        }
        if (!right)
            PyErr_SetString(PyExc_ValueError, "arrivals must ascend");
    }
    PyBuffer_Release(&buffer);
    return right;
}

static PyObject *worker_results(const struct qp_run *run, const struct qp_worker *w)
{
    PyObject *list = PyList_New((Py_ssize_t)run->jobs->count);
    for (size_t i = 0; list && i < run->jobs->count; i++) {
        PyObject *item = result_or_none(run->jobs, w->results, i, w->has_result[i]);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item))
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *worker_report(const struct qp_run *run, const struct qp_worker *w)
{
    PyObject *sizes = PyTuple_New(QP_LANES + 1);
    for (int i = 0; sizes && i <= QP_LANES; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(w->sizes[i]);
        if (!number || PyTuple_SetItem(sizes, i, number))
            Py_CLEAR(sizes);
    }
    PyObject *results = worker_results(run, w);
    PyObject *latencies = PyBytes_FromStringAndSize((const char *)w->latencies,
                                                    (Py_ssize_t)(w->latencies ? w->arrival_count * sizeof(uint64_t) : 0));
    if (!sizes || !results || !latencies) {
        Py_XDECREF(sizes);
        Py_XDECREF(results);
        Py_XDECREF(latencies);
        return NULL;
    }
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:N,s:N,s:N}", "completed", (unsigned long long)w->completed, "failed",
                         (unsigned long long)w->failed, "elapsed_ns", (unsigned long long)w->elapsed_ns, "cpu_ns",
                         (unsigned long long)w->cpu_ns, "sizes", sizes, "latencies", latencies, "results", results);
}

PyObject *qp_py_report(const struct qp_run *run)
{
    for (unsigned i = 0; i < run->worker_count; i++)
        if (run->workers[i].trouble) {
            PyErr_SetString(PyExc_RuntimeError, run->workers[i].trouble);
            return NULL;
        }
    PyObject *list = PyList_New((Py_ssize_t)run->worker_count);
    for (unsigned i = 0; list && i < run->worker_count; i++) {
        PyObject *item = worker_report(run, &run->workers[i]);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item))
            Py_CLEAR(list);
    }
    return list;
}

bool qp_py_load(struct qp_py_load *load, struct qp_run *run, struct py_jobs *jobs, PyObject *arrivals)
{
    enum { MOST_WORKERS = 4096, MOST_QUEUES = 4096 };
    *load = (struct qp_py_load){.run = run, .jobs = jobs};
    jobs->users++;
    Py_ssize_t count = arrivals == Py_None ? (Py_ssize_t)run->worker_count : PySequence_Size(arrivals);
    if (count < 0)
        return false;
    if (count < 1 || count > MOST_WORKERS || run->queue_count < 1 || run->queue_count > MOST_QUEUES) {
        PyErr_SetString(PyExc_ValueError, "between 1 and 4096 workers, and as many queues each");
        return false;
    }
    run->worker_count = (unsigned)count;
    const uint64_t longest = UINT64_MAX / 4; /* so that no sum of times overflows */
    run->duration_ns = run->duration_ns < longest ? run->duration_ns : longest;
    run->poll_delay_ns = run->poll_delay_ns < longest ? run->poll_delay_ns : longest;
    if (!make_workers(run)) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; arrivals != Py_None && i < count; i++) {
        PyObject *item = PySequence_GetItem(arrivals, i);
        bool right = item && set_arrivals(&run->workers[i], item);
        Py_XDECREF(item);
        if (!right)
            return false;
    }
    return true;
}

void qp_py_unload(struct qp_py_load *load)
{
    struct qp_run *run = load->run;
    for (unsigned i = 0; run->workers && i < run->worker_count; i++) {
        free(run->workers[i].arrivals);
        free(run->workers[i].latencies);
        free(run->workers[i].results);
        free(run->workers[i].has_result);
    }
    free(run->workers);
    load->jobs->users--;
}

bool qp_py_carry_out(struct qp_run *run, void *(*work)(void *))
{
    const char *why = qp_run_start(run, work);
    bool over = false, interrupted = false;
    while (!over) {
        Py_BEGIN_ALLOW_THREADS
        over = qp_run_wait(run, 50);
        Py_END_ALLOW_THREADS
        if (!over && !interrupted && PyErr_CheckSignals()) {
            interrupted = true;
            atomic_store(&run->stop, true);
        }
    }
    Py_BEGIN_ALLOW_THREADS
    qp_run_join(run);
    Py_END_ALLOW_THREADS
    if (!interrupted && why)
        PyErr_SetString(PyExc_OSError, why);
    return !interrupted && !why;
}

PyObject *qp_py_run(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)self;
    static char *names[] = {"signer",        "jobs",  "arrivals", "workers", "duration_ns",
                            "poll_delay_ns", "check", "bare",     "queues",  NULL};
    PyObject *signer_object, *jobs_object, *arrivals = Py_None;
    unsigned long long duration = 1000000000, poll_delay = 0;
    unsigned workers = 1, queues = 1;
    int check = 0, bare = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|OIKKppI", names, &signer_object, &jobs_object, &arrivals,
                                     &workers, &duration, &poll_delay, &check, &bare, &queues))
        return NULL;
    struct py_signer *s = qp_py_signer(signer_object);
    struct py_jobs *j = s ? qp_py_jobs(jobs_object) : NULL;
    if (!j)
        return NULL;
    struct qp_run run = {
        .signer = &s->signer, .jobs = &j->jobs, .poll_delay_ns = poll_delay, .duration_ns = duration,
        .check = check, .bare = bare, .worker_count = workers, .queue_count = queues,
    };
    struct qp_py_load load;
    PyObject *list = NULL;
    if (qp_py_load(&load, &run, j, arrivals) && qp_py_carry_out(&run, qp_engine_work))
        list = qp_py_report(&run);
    qp_py_unload(&load);
    return list;
}
