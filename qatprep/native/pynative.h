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
