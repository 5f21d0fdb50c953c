/* What the files of the Python module share. */
#ifndef QP_PYNATIVE_H
#define QP_PYNATIVE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "engine.h"

struct py_key {
    PyObject_HEAD
    struct qp_key key;
};

struct py_jobs {
    PyObject_HEAD
    PyObject *owner; /* the key */
    struct qp_jobs jobs;
};

struct py_signer {
    PyObject_HEAD
    struct qp_signer signer;
};

/* From Python's arguments to the workers of a run, and back. */
struct qp_py_load {
    struct qp_run *run;
    Py_buffer *buffers;
    Py_ssize_t held;
};
bool qp_py_load(struct qp_py_load *load, struct qp_run *run, PyObject *arrivals);
void qp_py_unload(struct qp_py_load *load);
/* Let the workers work; look for signals now and then, so that Ctrl-C ends the run. False with an exception set. */
bool qp_py_carry_out(struct qp_run *run, void *(*work)(void *));
PyObject *qp_py_report(const struct qp_run *run);

/* OSError(number, text); always NULL. */
PyObject *qp_py_os_error(int number, const char *text);

int qp_py_qat_type(PyObject *module);
int qp_py_types(PyObject *module);

/* The struct inside, or NULL with TypeError set. */
struct py_key *qp_py_key(PyObject *object);
struct py_jobs *qp_py_jobs(PyObject *object);
struct py_signer *qp_py_signer(PyObject *object);

PyObject *qp_py_mb_bundled(PyObject *, PyObject *);
PyObject *qp_py_mb_open(PyObject *, PyObject *);
PyObject *qp_py_ssl_open(PyObject *, PyObject *);
PyObject *qp_py_sign(PyObject *, PyObject *);
PyObject *qp_py_run(PyObject *, PyObject *, PyObject *);

#endif
