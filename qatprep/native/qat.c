/*
 * Loading libqat, starting it, finding the instances that can do RSA. libqat may block, write to the standard streams or
 * end the process: whoever calls this does so in a process made for it.
 */
#define _DEFAULT_SOURCE
#include "qat.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *load(const char *path, char *why, size_t size)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!handle) {
        const char *error = dlerror();
        snprintf(why, size, "%s", error ? error : path);
    }
    return handle;
}

bool qp_qat_load(struct qp_qat *qat, const char *libqat, const char *libusdm, char *why, size_t size)
{
    struct qp_qat_api *api = &qat->api;
    why[0] = '\0';
    /* First libusdm: libqat needs it by its soname, which the loader then finds loaded, wherever it came from. */
    if (!(qat->libusdm = load(libusdm, why, size)) || !(qat->libqat = load(libqat, why, size)))
        return false;
    const struct qp_symbol from_libqat[] = {
        {"icp_sal_userStart", &api->start},
        {"icp_sal_userStop", &api->stop},
        {"cpaCyGetNumInstances", &api->count},
        {"cpaCyGetInstances", &api->list},
        {"cpaCyInstanceGetInfo2", &api->info},
        {"cpaCyQueryCapabilities", &api->capabilities},
        {"cpaCySetAddressTranslation", &api->translate},
        {"cpaCyStartInstance", &api->start_instance},
        {"cpaCyStopInstance", &api->stop_instance},
        {"cpaCyRsaDecrypt", &api->decrypt},
        {"icp_sal_CyPollInstance", &api->poll},
    };
    const struct qp_symbol from_libusdm[] = {
        {"qaeMemAllocNUMA", &api->allocate},
        {"qaeMemFreeNUMA", &api->release},
        {"qaeVirtToPhysNUMA", &api->physical},
    };
    const char *absent = qp_symbols(qat->libqat, from_libqat, sizeof from_libqat / sizeof *from_libqat);
    const char *library = libqat;
    if (!absent) {
        absent = qp_symbols(qat->libusdm, from_libusdm, sizeof from_libusdm / sizeof *from_libusdm);
        library = libusdm;
    }
    if (absent)
        snprintf(why, size, "%s has no %s", library, absent);
    return !absent;
}

static bool prepare(struct qp_qat *qat, struct qp_qat_instance *instance, int *status, char *why, size_t size)
{
    const struct qp_qat_api *api = &qat->api;
    /* Larger than what libqat writes today: a later one may have grown these structures at their end. */
    union {
        struct cpa_info info;
        char room[8192];
    } info;
    union {
        struct cpa_capabilities capabilities;
        char room[1024];
    } can;
    memset(&info, 0, sizeof info);
    memset(&can, 0, sizeof can);
    if ((*status = api->info(instance->handle, &info.info)) != CPA_OK) {
        snprintf(why, size, "cpaCyInstanceGetInfo2");
        return false;
    }
    instance->info = info.info;
    if ((*status = api->capabilities(instance->handle, &can.capabilities)) != CPA_OK) {
        snprintf(why, size, "cpaCyQueryCapabilities");
        return false;
    }
    /* cpaCyGetNumInstances counts sym-only instances as well (qat_direct, sal_instances.c): RSA cannot run there. */
    instance->rsa = can.capabilities.rsa == 1;
    if (!instance->rsa)
        return true;
    if ((*status = api->translate(instance->handle, api->physical)) != CPA_OK) {
        snprintf(why, size, "cpaCySetAddressTranslation");
        return false;
    }
    if ((*status = api->start_instance(instance->handle)) != CPA_OK) {
        snprintf(why, size, "cpaCyStartInstance");
        return false;
    }
    instance->ready = true;
    return true;
}

bool qp_qat_start(struct qp_qat *qat, const char *section, int *status, char *why, size_t size)
{
    const struct qp_qat_api *api = &qat->api;
    why[0] = '\0';
    if ((*status = api->start(section)) != CPA_OK) {
        snprintf(why, size, "icp_sal_userStart");
        return false;
    }
    qat->started = true;
    uint16_t count = 0;
    if ((*status = api->count(&count)) != CPA_OK) {
        snprintf(why, size, "cpaCyGetNumInstances");
        return false;
    }
    if (!count)
        return true;
    cpa_instance *handles = calloc(count, sizeof *handles);
    qat->instances = calloc(count, sizeof *qat->instances);
    bool right = handles && qat->instances;
    if (!right)
        snprintf(why, size, "out of memory");
    if (right && (*status = api->list(count, handles)) != CPA_OK) {
        snprintf(why, size, "cpaCyGetInstances");
        right = false;
    }
    for (unsigned i = 0; right && i < count; i++) {
        struct qp_qat_instance *instance = &qat->instances[i];
        instance->qat = qat;
        instance->handle = handles[i];
        pthread_mutex_init(&instance->lock, NULL);
        pthread_cond_init(&instance->wanted, NULL);
        qat->count++;
        right = prepare(qat, instance, status, why, size);
    }
    free(handles);
    return right;
}

void qp_qat_stop(struct qp_qat *qat)
{
    if (qat->lost)
        return; /* the process that holds all this is about to end; until then the device may write */
    for (unsigned i = 0; i < qat->count; i++) {
        struct qp_qat_instance *instance = &qat->instances[i];
        if (instance->ready)
            qat->api.stop_instance(instance->handle);
        pthread_mutex_destroy(&instance->lock);
        pthread_cond_destroy(&instance->wanted);
    }
    qp_qat_free_slots(qat);
    free(qat->instances);
    qat->instances = NULL;
    qat->count = 0;
    if (qat->started)
        qat->api.stop();
    qat->started = false;
}

void qp_qat_free(struct qp_qat *qat)
{
    qp_qat_stop(qat);
    if (!qat->lost)
        free(qat);
}

static bool put(struct qp_qat_instance *instance, struct cpa_buffer *buffer, const struct qp_number *number, size_t size)
{
    buffer->data = instance->qat->api.allocate(size, (int)instance->info.node, 64);
    if (!buffer->data)
        return false;
    buffer->size = (uint32_t)size;
    memset(buffer->data, 0, size - number->size);
    memcpy(buffer->data + (size - number->size), number->data, number->size);
    return true;
}

bool qp_qat_key(struct qp_qat *qat, const struct qp_key *key)
{
    size_t half = key->in_size / 2;
    for (unsigned i = 0; i < qat->count; i++) {
        struct qp_qat_instance *instance = &qat->instances[i];
        struct cpa_rsa_key *k = &instance->key;
        if (!instance->rsa)
            continue;
        k->version = CPA_RSA_TWO_PRIME;
        k->type = CPA_RSA_KEY_CRT;
        if (!put(instance, &k->p, &key->p, half) || !put(instance, &k->q, &key->q, half) ||
            !put(instance, &k->dp, &key->dp, half) || !put(instance, &k->dq, &key->dq, half) ||
            !put(instance, &k->qinv, &key->qinv, half))
            return false;
    }
    return true;
}

void qp_qat_forget(struct qp_qat *qat)
{
    if (qat->lost)
        return;
    for (unsigned i = 0; i < qat->count; i++) {
        struct cpa_rsa_key *k = &qat->instances[i].key;
        struct cpa_buffer *buffers[] = {&k->p, &k->q, &k->dp, &k->dq, &k->qinv};
        for (size_t b = 0; b < sizeof buffers / sizeof *buffers; b++) {
            if (!buffers[b]->data)
                continue;
            explicit_bzero(buffers[b]->data, buffers[b]->size);
            void *memory = buffers[b]->data;
            qat->api.release(&memory);
            buffers[b]->data = NULL;
        }
    }
}
