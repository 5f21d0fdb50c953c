/* qatprep._native: the module's functions and what is simple enough to need no file of its own. See _native.pyi. */
#include "pynative.h"

#include "cpu.h"

#include <errno.h>

static PyObject *cpuid(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned leaf, subleaf = 0;
    uint32_t r[4];
    if (!PyArg_ParseTuple(args, "I|I", &leaf, &subleaf))
        return NULL;
    if (!qp_cpuid(leaf, subleaf, r))
        return qp_py_os_error(ENOTSUP, "not an x86-64 machine");
    return Py_BuildValue("IIII", r[0], r[1], r[2], r[3]);
}

static PyObject *xgetbv(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned index;
    uint64_t value;
    if (!PyArg_ParseTuple(args, "I", &index))
        return NULL;
    if (!qp_xgetbv(index, &value))
        return qp_py_os_error(ENOTSUP, "the operating system has not switched XSAVE on, or there is no such register");
    return PyLong_FromUnsignedLongLong(value);
}

static PyMethodDef functions[] = {
    {"cpuid", cpuid, METH_VARARGS, "cpuid(leaf, subleaf=0) -> (eax, ebx, ecx, edx)"},
    {"xgetbv", xgetbv, METH_VARARGS, "xgetbv(index) -> value; OSError(ENOTSUP) where it would fault"},
    {"missing", qp_py_missing, METH_VARARGS, "missing(paths) -> (code path, what it needs and is not there)"},
    {"wipe", qp_py_wipe, METH_O, "wipe(key): overwrite a key where it lies"},
    {"mb_bundled", qp_py_mb_bundled, METH_VARARGS, "mb_bundled(paths): the crypto_mb linked in"},
    {"mb_open", qp_py_mb_open, METH_VARARGS, "mb_open(path, paths): a libcrypto_mb.so"},
    {"ssl_open", qp_py_ssl_open, METH_VARARGS, "ssl_open(path): a libcrypto.so"},
    {"sign", qp_py_sign, METH_VARARGS, "sign(signer, jobs) -> results"},
    {"run", (PyCFunction)(void (*)(void))qp_py_run, METH_VARARGS | METH_KEYWORDS, "Put load on a signer"},
    {NULL, NULL, 0, NULL},
};

static int start(PyObject *module)
{
    if (qp_py_types(module) || qp_py_qat_type(module))
        return -1;
#ifdef QP_BUNDLED_MB
    PyObject *bundled = Py_True;
#else
    PyObject *bundled = Py_False;
#endif
    return PyModule_AddObjectRef(module, "BUNDLED", bundled);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, start}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "qatprep._native",
    .m_doc = "Engines that sign, and what the CPU offers them.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void);
PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
