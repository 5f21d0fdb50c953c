#include "signer.h"

#include <dlfcn.h>
#include <string.h>

const char *qp_symbols(void *handle, const struct qp_symbol *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *symbol = dlsym(handle, wanted[i].name);
        if (!symbol)
            return wanted[i].name;
        memcpy(wanted[i].slot, &symbol, sizeof symbol); /* an object pointer does not convert to a function in C */
    }
    return NULL;
}
