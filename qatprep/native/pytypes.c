/* Key, Jobs and Signer as Python sees them. */
#define _DEFAULT_SOURCE
#include "pynative.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One interpreter, one set of types: the module keeps no state of its own. */
static PyTypeObject *key_type, *jobs_type, *signer_type;

static void *member(PyObject *object, PyTypeObject *type, const char *name)
{
    if (PyObject_TypeCheck(object, type))
        return object;
    PyErr_Format(PyExc_TypeError, "a %s is needed here", name);
    return NULL;
}

struct py_key *qp_py_key(PyObject *object)
{
    return member(object, key_type, "Key");
}

struct py_jobs *qp_py_jobs(PyObject *object)
{
    return member(object, jobs_type, "Jobs");
}

struct py_signer *qp_py_signer(PyObject *object)
{
    return member(object, signer_type, "Signer");
}

static PyObject *make(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

static void unmake(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/*
 * A buffer that can be wiped: false, with an exception set, where it cannot. `bytes` cannot be written to through a buffer
 * and are wiped all the same, or the key would stay in them. Those of one byte belong to the interpreter.
 */
static bool take(PyObject *source, Py_buffer *buffer)
{
    bool bytes = PyBytes_CheckExact(source);
    if (bytes && PyBytes_Size(source) < 2) {
        PyErr_SetString(PyExc_ValueError, "not a DER private key");
        return false;
    }
    return PyObject_GetBuffer(source, buffer, bytes ? PyBUF_SIMPLE : PyBUF_WRITABLE) == 0;
}

PyObject *qp_py_wipe(PyObject *self, PyObject *source)
{
    (void)self;
    Py_buffer buffer;
    if (!take(source, &buffer))
        return NULL;
    explicit_bzero(buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    Py_RETURN_NONE;
}

/* -- Key -------------------------------------------------------------------------------------------------------- */

static PyObject *key_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"der", NULL};
    PyObject *source;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O", names, &source))
        return NULL;
    Py_buffer der;
    if (!take(source, &der))
        return NULL;
    struct py_key *self = (struct py_key *)make(type);
    const char *why = self ? qp_key_init(&self->key, der.buf, (size_t)der.len) : NULL;
    /* The caller's copy ends here, whatever came of it: bytes too, which is why it must be the caller's alone. */
    explicit_bzero(der.buf, (size_t)der.len);
    PyBuffer_Release(&der);
    if (self && why) {
        PyErr_SetString(PyExc_ValueError, why);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void key_free(PyObject *object)
{
    qp_key_clear(&((struct py_key *)object)->key);
    unmake(object);
}

static PyObject *key_kind(PyObject *object, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((struct py_key *)object)->key.kind == QP_RSA ? "rsa" : "p256");
}

static PyObject *key_bits(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((struct py_key *)object)->key.bits);
}

static PyGetSetDef key_attributes[] = {
    {"kind", key_kind, NULL, "rsa or p256", NULL},
    {"bits", key_bits, NULL, "of the modulus, or of the curve", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot key_slots[] = {
    {Py_tp_doc, "Key(der): a private key, taken out of `der`, which is wiped"},
    {Py_tp_new, key_new},
    {Py_tp_dealloc, key_free},
    {Py_tp_getset, key_attributes},
    {0, NULL},
};

static PyType_Spec key_spec = {"qatprep._native.Key", sizeof(struct py_key), 0, Py_TPFLAGS_DEFAULT, key_slots};

/* -- Jobs ------------------------------------------------------------------------------------------------------- */

enum { MOST_JOBS = 1 << 20 };

/* Copy a sequence of equally long bytes behind each other. NULL with an exception set. */
static uint8_t *gather(PyObject *sequence, size_t each, size_t *count)
{
    Py_ssize_t length = PySequence_Size(sequence);
    if (length < 0)
        return NULL;
    if (length > MOST_JOBS) {
        PyErr_Format(PyExc_ValueError, "%zd things to sign, of at most %d", length, (int)MOST_JOBS);
        return NULL;
    }
    uint8_t *all = calloc((size_t)length + 1, each);
    if (!all) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        PyObject *item = PySequence_GetItem(sequence, i);
        char *data;
        Py_ssize_t size;
        bool right = item && PyBytes_AsStringAndSize(item, &data, &size) == 0;
        if (right && (size_t)size != each) {
            PyErr_Format(PyExc_ValueError, "%zu bytes are needed, not %zd", each, size);
            right = false;
        }
        if (right)
            memcpy(all + (size_t)i * each, data, each);
        Py_XDECREF(item);
        if (!right) {
            free(all);
            return NULL;
        }
    }
    *count = (size_t)length;
    return all;
}

static PyObject *jobs_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "inputs", NULL};
    PyObject *key, *inputs;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO", names, &key, &inputs))
        return NULL;
    struct py_key *owner = qp_py_key(key);
    if (!owner)
        return NULL;
    struct py_jobs *self = (struct py_jobs *)make(type);
    if (!self)
        return NULL;
    self->owner = Py_NewRef(key);
    struct qp_jobs *jobs = &self->jobs;
    jobs->key = &owner->key;
    jobs->inputs = gather(inputs, owner->key.in_size, &jobs->count);
    if (jobs->inputs && jobs->count == 0)
        PyErr_SetString(PyExc_ValueError, "nothing to sign");
    if (!PyErr_Occurred() && owner->key.kind == QP_P256) {
        jobs->nonces = calloc(jobs->count, sizeof *jobs->nonces);
        if (!jobs->nonces)
            PyErr_NoMemory();
        for (size_t i = 0; jobs->nonces && i < jobs->count; i++)
            if (!qp_p256_nonce(jobs->nonces[i])) {
                PyErr_SetFromErrno(PyExc_OSError);
                break;
            }
    }
    if (PyErr_Occurred()) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void jobs_free(PyObject *object)
{
    struct py_jobs *self = (struct py_jobs *)object;
    struct qp_jobs *jobs = &self->jobs;
    if (jobs->nonces) {
        /* A nonce beside its signature gives the key away. */
        explicit_bzero(jobs->nonces, jobs->count * sizeof *jobs->nonces);
        free(jobs->nonces);
    }
    free(jobs->inputs);
    free(jobs->expected);
    Py_XDECREF(self->owner);
    unmake(object);
}

static PyObject *jobs_expect(PyObject *object, PyObject *results)
{
    struct qp_jobs *jobs = &((struct py_jobs *)object)->jobs;
    size_t count = 0;
    uint8_t *expected = gather(results, jobs->key->out_size, &count);
    if (!expected)
        return NULL;
    if (count != jobs->count) {
        free(expected);
        PyErr_SetString(PyExc_ValueError, "one result a job is needed");
        return NULL;
    }
    if (((struct py_jobs *)object)->users) {
        free(expected);
        PyErr_SetString(PyExc_RuntimeError, "these jobs are being signed: say what to expect before or after");
        return NULL;
    }
    free(jobs->expected);
    jobs->expected = expected;
    Py_RETURN_NONE;
}

static PyMethodDef jobs_methods[] = {
    {"expect", jobs_expect, METH_O, "What the results must be, from an independent source"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot jobs_slots[] = {
    {Py_tp_doc, "Jobs(key, inputs): what is signed"},
    {Py_tp_new, jobs_new},
    {Py_tp_dealloc, jobs_free},
    {Py_tp_methods, jobs_methods},
    {0, NULL},
};

static PyType_Spec jobs_spec = {"qatprep._native.Jobs", sizeof(struct py_jobs), 0, Py_TPFLAGS_DEFAULT, jobs_slots};

/* -- Signer ----------------------------------------------------------------------------------------------------- */

static void signer_free(PyObject *object)
{
    struct qp_signer *signer = &((struct py_signer *)object)->signer;
    if (signer->ops)
        signer->ops->release(signer);
    unmake(object);
}

static PyObject *signer_text(PyObject *object, void *which)
{
    struct qp_signer *signer = &((struct py_signer *)object)->signer;
    const char *texts[] = {signer->provider, signer->library, signer->version, signer->path};
    return PyUnicode_FromString(texts[(size_t)which]);
}

static PyObject *signer_width(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(((struct py_signer *)object)->signer.width);
}

static PyGetSetDef signer_attributes[] = {
    {"provider", signer_text, NULL, "cryptomb or openssl", (void *)0},
    {"library", signer_text, NULL, "path, or bundled", (void *)1},
    {"version", signer_text, NULL, "as the library says it", (void *)2},
    {"path", signer_text, NULL, "the code path of crypto_mb, or ''", (void *)3},
    {"width", signer_width, NULL, "operations at once", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot signer_slots[] = {
    {Py_tp_doc, "A library that signs"},
    {Py_tp_dealloc, signer_free},
    {Py_tp_getset, signer_attributes},
    {0, NULL},
};

static PyType_Spec signer_spec = {
    "qatprep._native.Signer", sizeof(struct py_signer), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    signer_slots,
};

PyObject *qp_py_os_error(int number, const char *text)
{
    PyObject *arguments = Py_BuildValue("(is)", number, text);
    if (arguments) {
        PyErr_SetObject(PyExc_OSError, arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}

/* A signer, from what `open` makes of `name`. OSError, because what fails is the machine's: its CPU, a library. */
static PyObject *opened(PyObject *paths, const char *name, bool (*open)(struct qp_signer *, const char *, char *, size_t))
{
    char missing[QP_MISSING] = "", chosen[QP_PATH_NAME] = "", why[600];
    if (paths && !qp_py_gate(paths, missing, sizeof missing, chosen, sizeof chosen))
        return NULL;
    if (missing[0]) {
        snprintf(why, sizeof why, "crypto_mb needs what is missing here: %s", missing);
        return qp_py_os_error(ENOTSUP, why);
    }
    PyObject *object = make(signer_type);
    if (!object)
        return NULL;
    struct qp_signer *signer = &((struct py_signer *)object)->signer;
    if (open(signer, name, why, sizeof why)) {
        snprintf(signer->path, sizeof signer->path, "%s", chosen);
        return object;
    }
    Py_DECREF(object);
    return qp_py_os_error(ENOENT, why);
}

PyObject *qp_py_mb_bundled(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *paths;
    return PyArg_ParseTuple(args, "O", &paths) ? opened(paths, "bundled", qp_mb_bundled) : NULL;
}

PyObject *qp_py_mb_open(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *name, *paths;
    if (!PyArg_ParseTuple(args, "O&O", PyUnicode_FSConverter, &name, &paths))
        return NULL;
    PyObject *object = opened(paths, PyBytes_AsString(name), qp_mb_open);
    Py_DECREF(name);
    return object;
}

PyObject *qp_py_ssl_open(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *name;
    if (!PyArg_ParseTuple(args, "O&", PyUnicode_FSConverter, &name))
        return NULL;
    PyObject *object = opened(NULL, PyBytes_AsString(name), qp_ssl_open);
    Py_DECREF(name);
    return object;
}

int qp_py_types(PyObject *module)
{
    const struct {
        const char *name;
        PyType_Spec *spec;
        PyTypeObject **type;
    } types[] = {
        {"Key", &key_spec, &key_type}, {"Jobs", &jobs_spec, &jobs_type}, {"Signer", &signer_spec, &signer_type},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, types[i].spec, NULL);
        if (!type || PyModule_AddObjectRef(module, types[i].name, type))
            return -1;
        *types[i].type = (PyTypeObject *)type; /* kept for as long as the process lives */
    }
    return 0;
}
