/*
 * The gate before crypto_mb: none of its functions is called, and no copy of it is loaded, before this has found every
 * instruction that its code may execute. The table of them is qatprep/instruction_sets.py; what is checked here is this
 * CPU and its operating system.
 */
#include "pynative.h"

#include "cpu.h"

#include <stdio.h>
#include <string.h>

struct gap {
    char *text;
    size_t size;
};

static void add_missing(struct gap *gap, const char *name)
{
    size_t used = strlen(gap->text);
    snprintf(gap->text + used, gap->size - used, "%s%s", used ? ", " : "", name);
}

/* How many of `bits` are not set; their names are added to `gap`. -1 with an exception set. */
static int lacking(PyObject *bits, struct gap *gap)
{
    int count = 0;
    Py_ssize_t length = PySequence_Size(bits);
    for (Py_ssize_t i = 0; i < length; i++) {
        PyObject *item = PySequence_GetItem(bits, i);
        PyObject *fields = item ? PySequence_Tuple(item) : NULL;
        Py_XDECREF(item);
        const char *name;
        unsigned leaf, subleaf, reg, bit;
        if (!fields || !PyArg_ParseTuple(fields, "sIIII", &name, &leaf, &subleaf, &reg, &bit)) {
            Py_XDECREF(fields);
            return -1;
        }
        if (!qp_cpu_bit(leaf, subleaf, reg, bit)) {
            count++;
            add_missing(gap, name);
        }
        Py_DECREF(fields);
    }
    return length < 0 ? -1 : count;
}

bool qp_py_gate(PyObject *paths, char *missing, size_t size, char *chosen, size_t chosen_size)
{
    Py_ssize_t count = PySequence_Size(paths);
    if (count < 0)
        return false;
    char ignored[QP_MISSING];
    missing[0] = chosen[0] = '\0';
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PySequence_GetItem(paths, i);
        PyObject *path = item ? PySequence_Tuple(item) : NULL;
        Py_XDECREF(item);
        const char *name;
        PyObject *chosen_by, *executes;
        if (!path || !PyArg_ParseTuple(path, "sOO", &name, &chosen_by, &executes)) {
            Py_XDECREF(path);
            return false;
        }
        ignored[0] = '\0';
        struct gap unused = {ignored, sizeof ignored}, gap = {missing, size};
        int passed_over = lacking(chosen_by, &unused);
        /* The library takes the first path whose bits are set. Where it takes none, the first path's are missing. */
        int wrong = passed_over;
        if (passed_over == 0) {
            missing[0] = '\0';
            snprintf(chosen, chosen_size, "%s", name);
            wrong = lacking(executes, &gap);
        } else if (passed_over > 0 && i == 0) {
            wrong = lacking(executes, &gap);
        }
        Py_DECREF(path);
        if (wrong < 0)
            return false;
        if (passed_over == 0)
            break;
    }
    return true;
}

PyObject *qp_py_missing(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *paths;
    char missing[QP_MISSING], chosen[QP_PATH_NAME];
    if (!PyArg_ParseTuple(args, "O", &paths) || !qp_py_gate(paths, missing, sizeof missing, chosen, sizeof chosen))
        return NULL;
    return Py_BuildValue("(ss)", chosen, missing);
}
