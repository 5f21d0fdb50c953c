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
    unsigned users;  /* calls that sign these jobs now, without the GIL: nothing may be changed below them */
    struct qp_jobs jobs;
};

struct py_signer {
    PyObject_HEAD
    struct qp_signer signer;
};

/* From Python's arguments to the workers of a run, and back. */
struct qp_py_load {
    struct qp_run *run;
    struct py_jobs *jobs;
};
bool qp_py_load(struct qp_py_load *load, struct qp_run *run, struct py_jobs *jobs, PyObject *arrivals);
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

/*
 * Which code path crypto_mb would take here, and what that needs and is not there: names, separated by ", ". False with
 * an exception set. An empty sequence of paths is for a library that needs nothing special: the tests' stand-in.
 */
enum { QP_MISSING = 400, QP_PATH_NAME = 32 };
bool qp_py_gate(PyObject *paths, char *missing, size_t size, char *chosen, size_t chosen_size);
PyObject *qp_py_missing(PyObject *, PyObject *);

PyObject *qp_py_wipe(PyObject *, PyObject *);
PyObject *qp_py_mb_bundled(PyObject *, PyObject *);
PyObject *qp_py_mb_open(PyObject *, PyObject *);
PyObject *qp_py_ssl_open(PyObject *, PyObject *);
PyObject *qp_py_sign(PyObject *, PyObject *);
PyObject *qp_py_run(PyObject *, PyObject *, PyObject *);

#endif
