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

static bool make_workers(struct qp_run *run, const Py_buffer *buffers)
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
        if (buffers) {
            w->arrivals = buffers[i].buf;
            w->arrival_count = (size_t)buffers[i].len / sizeof(uint64_t);
            w->latencies = malloc(w->arrival_count * sizeof(uint64_t) + 1);
            if (!w->latencies)
                return false;
            for (size_t k = 0; k < w->arrival_count; k++)
                w->latencies[k] = QP_UNFINISHED;
        }
    }
    return true;
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

bool qp_py_load(struct qp_py_load *load, struct qp_run *run, PyObject *arrivals)
{
    *load = (struct qp_py_load){.run = run};
    if (arrivals != Py_None) {
        Py_ssize_t count = PySequence_Size(arrivals);
        if (count < 0)
            return false;
        run->worker_count = (unsigned)count;
        load->buffers = calloc((size_t)count + 1, sizeof *load->buffers);
        if (!load->buffers) {
            PyErr_NoMemory();
            return false;
        }
        for (; load->held < count; load->held++) {
            PyObject *item = PySequence_GetItem(arrivals, load->held);
            int wrong = !item || PyObject_GetBuffer(item, &load->buffers[load->held], PyBUF_SIMPLE);
            Py_XDECREF(item);
            if (wrong)
                return false;
            if (load->buffers[load->held].len % (Py_ssize_t)sizeof(uint64_t)) {
                load->held++;
                PyErr_SetString(PyExc_ValueError, "arrivals are uint64");
                return false;
            }
        }
    }
    if (run->worker_count < 1 || run->worker_count > 4096) {
        PyErr_SetString(PyExc_ValueError, "between 1 and 4096 workers");
        return false;
    }
    if (!make_workers(run, load->buffers)) {
        PyErr_NoMemory();
        return false;
    }
    return true;
}

void qp_py_unload(struct qp_py_load *load)
{
    struct qp_run *run = load->run;
    for (unsigned i = 0; run->workers && i < run->worker_count; i++) {
        free(run->workers[i].latencies);
        free(run->workers[i].results);
        free(run->workers[i].has_result);
    }
    free(run->workers);
    for (Py_ssize_t i = 0; i < load->held; i++)
        PyBuffer_Release(&load->buffers[i]);
    free(load->buffers);
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
    static char *names[] = {"signer", "jobs", "arrivals", "workers", "duration_ns", "poll_delay_ns", "check", "bare", NULL};
    PyObject *signer_object, *jobs_object, *arrivals = Py_None;
    unsigned long long duration = 1000000000, poll_delay = 0;
    unsigned workers = 1;
    int check = 0, bare = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|OIKKpp", names, &signer_object, &jobs_object, &arrivals,
                                     &workers, &duration, &poll_delay, &check, &bare))
        return NULL;
    struct py_signer *s = qp_py_signer(signer_object);
    struct py_jobs *j = s ? qp_py_jobs(jobs_object) : NULL;
    if (!j)
        return NULL;
    struct qp_run run = {
        .signer = &s->signer, .jobs = &j->jobs, .poll_delay_ns = poll_delay, .duration_ns = duration,
        .check = check, .bare = bare, .worker_count = workers,
    };
    struct qp_py_load load;
    PyObject *list = NULL;
    if (qp_py_load(&load, &run, arrivals) && qp_py_carry_out(&run, qp_engine_work))
        list = qp_py_report(&run);
    qp_py_unload(&load);
    return list;
}
