/* Qat as Python sees it. Made to be used in a process of its own: see qat.c. */
#include "pynative.h"

#include "qat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct py_qat {
    PyObject_HEAD
    struct qp_qat *qat;
    bool busy; /* a call works on it without the GIL: no other may begin */
};

/* The library behind it, for this call alone. NULL with an exception set. */
static struct qp_qat *begin(PyObject *object)
{
    struct py_qat *self = (struct py_qat *)object;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another call is at work on this Qat");
        return NULL;
    }
    self->busy = true;
    return self->qat;
}

static void end(PyObject *object)
{
    ((struct py_qat *)object)->busy = false;
}

static PyObject *qat_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"libqat", "libusdm", NULL};
    PyObject *libqat = NULL, *libusdm = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&O&", names, PyUnicode_FSConverter, &libqat,
                                     PyUnicode_FSConverter, &libusdm)) {
        Py_XDECREF(libqat);
        return NULL;
    }
    char why[600];
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct py_qat *self = (struct py_qat *)allocate(type, 0);
    if (self && !(self->qat = calloc(1, sizeof *self->qat))) {
        PyErr_NoMemory();
        Py_CLEAR(self);
    }
    bool right = self && qp_qat_load(self->qat, PyBytes_AsString(libqat), PyBytes_AsString(libusdm), why, sizeof why);
    Py_DECREF(libqat);
    Py_DECREF(libusdm);
    if (self && !right) {
        Py_DECREF(self);
        return qp_py_os_error(ENOENT, why);
    }
    return (PyObject *)self;
}

static void qat_free(PyObject *object)
{
    struct py_qat *self = (struct py_qat *)object;
    if (self->qat)
        qp_qat_free(self->qat);
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* (0, "") or libqat's status and the call that gave it. */
static PyObject *qat_start(PyObject *object, PyObject *args)
{
    const char *section;
    if (!PyArg_ParseTuple(args, "s", &section))
        return NULL;
    struct qp_qat *qat = begin(object);
    if (!qat)
        return NULL;
    if (qat->started) {
        end(object);
        PyErr_SetString(PyExc_RuntimeError, "started already");
        return NULL;
    }
    char why[100];
    int status = CPA_OK;
    bool right;
    Py_BEGIN_ALLOW_THREADS
    right = qp_qat_start(qat, section, &status, why, sizeof why);
    Py_END_ALLOW_THREADS
    end(object);
    if (!right && status == CPA_OK)
        status = CPA_FAIL;
    return Py_BuildValue("is", status, why);
}

static PyObject *qat_stop(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct qp_qat *qat = begin(object);
    if (!qat)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    qp_qat_stop(qat);
    Py_END_ALLOW_THREADS
    end(object);
    Py_RETURN_NONE;
}

static PyObject *text(const uint8_t *bytes, size_t size)
{
    return PyUnicode_DecodeUTF8((const char *)bytes, (Py_ssize_t)strnlen((const char *)bytes, size), "backslashreplace");
}

static PyObject *qat_instances(PyObject *object, PyObject *unused)
{
    (void)unused;
    const struct qp_qat *qat = ((struct py_qat *)object)->qat;
    PyObject *list = PyList_New((Py_ssize_t)qat->count);
    for (unsigned i = 0; list && i < qat->count; i++) {
        const struct cpa_info *info = &qat->instances[i].info;
        PyObject *item = Py_BuildValue(
            "{s:N,s:N,s:N,s:I,s:i,s:O,s:O,s:O}", "name", text(info->name, sizeof info->name), "part",
            text(info->part, sizeof info->part), "version", text(info->version, sizeof info->version), "bus",
            (unsigned)info->bus, "node", (int)info->node, "rsa", qat->instances[i].rsa ? Py_True : Py_False, "polled",
            info->polled ? Py_True : Py_False, "offloaded", info->offloaded ? Py_True : Py_False);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item))
            Py_CLEAR(list);
    }
    return list;
}

/* How often and how long the polling threads ran. */
static PyObject *summary(const struct qp_qat_run *load, unsigned long long spurious, PyObject *workers)
{
    unsigned long long polls = 0, cpu = 0;
    for (unsigned i = 0; i < load->qat->count; i++) {
        polls += load->qat->instances[i].polls;
        cpu += load->qat->instances[i].cpu_ns;
    }
    return Py_BuildValue("{s:N,s:K,s:K,s:K,s:i,s:K,s:K}", "workers", workers, "retries",
                         (unsigned long long)atomic_load(&load->retries), "spurious",
                         spurious, "lost",
                         (unsigned long long)atomic_load(&load->lost), "last_status", atomic_load(&load->last_status),
                         "polls", polls, "poll_cpu_ns", cpu);
}

/* The load on a qat that is this call's own. */
static PyObject *carry_out(struct qp_qat *qat, struct qp_qat_run *load, uint64_t poll_delay)
{
    unsigned long long before = atomic_load(&qat->spurious);
    if (!qp_qat_key(qat, load->run.jobs->key))
        PyErr_SetString(PyExc_RuntimeError, "libusdm has no memory for the device (qaeMemAllocNUMA)");
    else if (!qp_qat_poll_start(qat, poll_delay))
        PyErr_SetString(PyExc_OSError, "no more threads can be started");
    else
        qp_py_carry_out(&load->run, qp_qat_work);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_BEGIN_ALLOW_THREADS
    qp_qat_poll_stop(qat);
    Py_END_ALLOW_THREADS
    qat->lost += atomic_load(&load->lost);
    qp_qat_forget(qat);
    PyErr_Restore(type, value, traceback);
    PyObject *list = PyErr_Occurred() ? NULL : qp_py_report(&load->run);
    return list ? summary(load, atomic_load(&qat->spurious) - before, list) : NULL;
}

static PyObject *qat_run(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"jobs",          "arrivals", "workers",     "duration_ns",
                            "poll_delay_ns", "depth",    "patience_ns", NULL};
    PyObject *jobs_object, *arrivals = Py_None;
    unsigned long long duration = 1000000000, poll_delay = 0, patience = 2000000000;
    unsigned workers = 1, depth = 64;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|OIKKIK", names, &jobs_object, &arrivals, &workers, &duration,
                                     &poll_delay, &depth, &patience))
        return NULL;
    struct py_jobs *j = qp_py_jobs(jobs_object);
    if (!j)
        return NULL;
    if (j->jobs.key->kind != QP_RSA || depth < 1 || depth > 65536) {
        PyErr_SetString(PyExc_ValueError, "RSA keys, and between 1 and 65536 operations in flight");
        return NULL;
    }
    struct qp_qat *qat = begin(object);
    if (!qat)
        return NULL;
    bool rsa = false;
    for (unsigned i = 0; i < qat->count; i++)
        rsa |= qat->instances[i].ready;
    PyObject *report = NULL;
    if (qat->lost) {
        /* The device may still write to that run's memory, and its rings may be full of it. */
        PyErr_Format(PyExc_RuntimeError, "%llu operations of an earlier run never came back: start libqat again",
                     qat->lost);
    } else if (!rsa) {
        PyErr_SetString(PyExc_RuntimeError, "no instance does RSA");
    } else {
        const uint64_t longest = UINT64_MAX / 4;
        struct qp_qat_run load = {
            .run = {.jobs = &j->jobs, .duration_ns = duration, .worker_count = workers, .queue_count = 1},
            .qat = qat, .depth = depth, .patience_ns = patience < longest ? patience : longest,
        };
        struct qp_py_load arguments;
        if (qp_py_load(&arguments, &load.run, j, arrivals))
            report = carry_out(qat, &load, poll_delay);
        qp_py_unload(&arguments);
    }
    end(object);
    return report;
}

static PyMethodDef qat_methods[] = {
    {"start", qat_start, METH_VARARGS, "start(section) -> (status, call)"},
    {"stop", qat_stop, METH_NOARGS, "Give everything back"},
    {"instances", qat_instances, METH_NOARGS, "What the started library has"},
    {"run", (PyCFunction)(void (*)(void))qat_run, METH_VARARGS | METH_KEYWORDS, "Put load on the instances"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot qat_slots[] = {
    {Py_tp_doc, "Qat(libqat, libusdm): the libraries, loaded"},
    {Py_tp_new, qat_new},
    {Py_tp_dealloc, qat_free},
    {Py_tp_methods, qat_methods},
    {0, NULL},
};

static PyType_Spec qat_spec = {"qatprep._native.Qat", sizeof(struct py_qat), 0, Py_TPFLAGS_DEFAULT, qat_slots};

int qp_py_qat_type(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &qat_spec, NULL);
    int wrong = !type || PyModule_AddObjectRef(module, "Qat", type);
    Py_XDECREF(type);
    return wrong ? -1 : 0;
}
