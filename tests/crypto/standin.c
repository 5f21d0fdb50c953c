/*
 * A software stand-in for libqat.so.4 and libusdm.so.0, for tests: the calls that qatprep uses, RSA through libcrypto,
 * and the ways in which a device or its library can misbehave. QP_STANDIN holds words such as "instances=2 delay_us=500":
 *
 *   instances=N     how many (1)                       sym_only=1      none of them does RSA
 *   start=S         icp_sal_userStart returns S        hang=S          ... and takes S seconds
 *   say=TEXT        ... writing TEXT ('_' for space)   die=N           ... and the process ends with signal N
 *   delay_us=N      a result is ready after N us       capacity=N      operations an instance takes at once (64)
 *   retry=K         every K-th send says RETRY         reorder=1       results come last first
 *   error=K         every K-th result is FAIL          wrong=K         every K-th result has a wrong bit
 *   drop=K          every K-th result never comes      twice=K         every K-th result comes twice
 *   refuse=K        every K-th send says FAIL          no_memory=1     qaeMemAllocNUMA gives nothing
 *   fail=K          the device refuses every K-th: libqat calls that a success and leaves the output as it was
 *   software=1      the instances say that they are software
 *   counters=FILE   FILE gets the number of operations done, as fw_counters shows it
 *
 * Built by the tests: gcc -shared -fPIC standin.c -lcrypto
 */
#define _GNU_SOURCE
#include <openssl/bn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../qatprep/native/cpa.h"

enum { MOST = 4096 };

struct operation {
    cpa_callback *callback;
    void *tag;
    struct cpa_rsa_decrypt *what;
    struct cpa_buffer *output;
    uint64_t ready;
    uint64_t number;
};

struct instance {
    pthread_mutex_t lock;
    struct operation waiting[MOST];
    unsigned count;
    bool running, translated;
};

static struct instance instances[64];
static uint64_t sent, done_count;
static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint8_t *at;
    size_t size;
} blocks[1 << 16];
static unsigned block_count;

static long option(const char *name, long otherwise)
{
    const char *all = getenv("QP_STANDIN"), *at = all;
    size_t length = strlen(name);
    while (at && (at = strstr(at, name))) {
        if ((at == all || at[-1] == ' ') && at[length] == '=')
            return strtol(at + length + 1, NULL, 10);
        at += length;
    }
    return otherwise;
}

static void text_option(const char *name, char *text, size_t size)
{
    char pattern[40];
    snprintf(pattern, sizeof pattern, "%s=", name);
    const char *all = getenv("QP_STANDIN");
    const char *at = all ? strstr(all, pattern) : NULL;
    text[0] = '\0';
    if (!at)
        return;
    at += strlen(pattern);
    size_t length = strcspn(at, " ");
    snprintf(text, size, "%.*s", (int)length, at);
}

static bool every(const char *name, uint64_t number)
{
    long k = option(name, 0);
    return k > 0 && number % (uint64_t)k == 0;
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* -- libusdm ------------------------------------------------------------------------------------------------------ */

void *qaeMemAllocNUMA(size_t size, int node, size_t alignment)
{
    (void)node;
    void *memory = NULL;
    if (option("no_memory", 0) || posix_memalign(&memory, alignment, size))
        return NULL;
    pthread_mutex_lock(&memory_lock);
    for (unsigned i = 0; i <= block_count; i++)
        if (!blocks[i].at) {
            blocks[i].at = memory;
            blocks[i].size = size;
            if (i == block_count)
                block_count++;
            break;
        }
    pthread_mutex_unlock(&memory_lock);
    return memory;
}

void qaeMemFreeNUMA(void **memory)
{
    pthread_mutex_lock(&memory_lock);
    for (unsigned i = 0; i < block_count; i++)
        if (blocks[i].at == *memory)
            blocks[i].at = NULL;
    pthread_mutex_unlock(&memory_lock);
    free(*memory);
    *memory = NULL;
}

uint64_t qaeVirtToPhysNUMA(void *memory)
{
    return (uint64_t)(uintptr_t)memory;
}

/* Whether the device could reach that much there: the real one takes nothing but libusdm's memory. */
static bool reachable(const struct cpa_buffer *buffer)
{
    bool found = false;
    pthread_mutex_lock(&memory_lock);
    for (unsigned i = 0; i < block_count; i++)
        found |= blocks[i].at && buffer->data >= blocks[i].at && buffer->data + buffer->size <= blocks[i].at + blocks[i].size;
    pthread_mutex_unlock(&memory_lock);
    return found;
}

/* -- libqat ------------------------------------------------------------------------------------------------------- */

int icp_sal_userStart(const char *section)
{
    char text[200];
    text_option("say", text, sizeof text);
    for (char *c = text; *c; c++)
        if (*c == '_')
            *c = ' ';
    if (text[0])
        fprintf(stderr, "%s\n", text);
    printf("section %s\n", section);
    if (option("die", 0))
        raise((int)option("die", 0));
    if (option("hang", 0))
        sleep((unsigned)option("hang", 0));
    return (int)option("start", CPA_OK);
}

int icp_sal_userStop(void)
{
    return CPA_OK;
}

int cpaCyGetNumInstances(uint16_t *count)
{
    *count = (uint16_t)option("instances", 1);
    return CPA_OK;
}

int cpaCyGetInstances(uint16_t count, cpa_instance *handles)
{
    for (uint16_t i = 0; i < count; i++) {
        pthread_mutex_init(&instances[i].lock, NULL);
        handles[i] = &instances[i];
    }
    return CPA_OK;
}

int cpaCyInstanceGetInfo2(cpa_instance handle, struct cpa_info *info)
{
    memset(info, 0, sizeof *info);
    info->service = 5;
    snprintf((char *)info->name, sizeof info->name, "stand-in %d", (int)((struct instance *)handle - instances));
    snprintf((char *)info->part, sizeof info->part, "software stand-in");
    snprintf((char *)info->version, sizeof info->version, "0");
    info->polled = 1;
    info->offloaded = !option("software", 0);
    return CPA_OK;
}

int cpaCyQueryCapabilities(cpa_instance handle, struct cpa_capabilities *can)
{
    (void)handle;
    can->sym = 1;
    can->rsa = !option("sym_only", 0);
    return CPA_OK;
}

int cpaCySetAddressTranslation(cpa_instance handle, uint64_t (*translate)(void *))
{
    ((struct instance *)handle)->translated = translate != NULL;
    return CPA_OK;
}

int cpaCyStartInstance(cpa_instance handle)
{
    ((struct instance *)handle)->running = true;
    return CPA_OK;
}

int cpaCyStopInstance(cpa_instance handle)
{
    ((struct instance *)handle)->running = false;
    return CPA_OK;
}

int cpaCyRsaDecrypt(cpa_instance handle, cpa_callback *callback, void *tag, const struct cpa_rsa_decrypt *what,
                    struct cpa_buffer *output)
{
    struct instance *instance = handle;
    const struct cpa_rsa_key *key = what->key;
    if (!instance->running || !instance->translated || !callback)
        return CPA_FAIL;
    if (key->version != CPA_RSA_TWO_PRIME || key->type != CPA_RSA_KEY_CRT)
        return CPA_INVALID_PARAM;
    const struct cpa_buffer *all[] = {&key->p, &key->q, &key->dp, &key->dq, &key->qinv, &what->input, output};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!reachable(all[i]))
            return CPA_INVALID_PARAM;
    uint64_t number = __atomic_add_fetch(&sent, 1, __ATOMIC_SEQ_CST);
    if (every("retry", number))
        return CPA_RETRY;
    if (every("refuse", number))
        return CPA_FAIL;
    int status = CPA_RETRY;
    pthread_mutex_lock(&instance->lock);
    if (instance->count < (unsigned)option("capacity", 64)) {
        instance->waiting[instance->count++] = (struct operation){
            callback, tag, (struct cpa_rsa_decrypt *)what, output,
            now() + (uint64_t)option("delay_us", 0) * 1000, number,
        };
        status = CPA_OK;
    }
    pthread_mutex_unlock(&instance->lock);
    return status;
}

static BIGNUM *number_of(const struct cpa_buffer *buffer)
{
    return BN_bin2bn(buffer->data, (int)buffer->size, NULL);
}

/* Chinese remainder: RFC 8017, 5.1.2, step 2.b */
static void decrypt(const struct operation *o)
{
    const struct cpa_rsa_key *key = o->what->key;
    BN_CTX *context = BN_CTX_new();
    BIGNUM *p = number_of(&key->p), *q = number_of(&key->q), *dp = number_of(&key->dp), *dq = number_of(&key->dq);
    BIGNUM *qinv = number_of(&key->qinv), *input = number_of(&o->what->input), *a = BN_new(), *b = BN_new();
    BN_mod_exp(a, input, dp, p, context);
    BN_mod_exp(b, input, dq, q, context);
    BN_mod_sub(a, a, b, p, context);
    BN_mod_mul(a, a, qinv, p, context);
    BN_mul(a, a, q, context);
    BN_add(a, a, b);
    BN_bn2binpad(a, o->output->data, (int)o->output->size);
    BIGNUM *numbers[] = {p, q, dp, dq, qinv, input, a, b};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        BN_clear_free(numbers[i]);
    BN_CTX_free(context);
}

static void count_operation(void)
{
    char path[300];
    uint64_t total = __atomic_add_fetch(&done_count, 1, __ATOMIC_SEQ_CST);
    text_option("counters", path, sizeof path);
    if (!path[0])
        return;
    FILE *file = fopen(path, "w");
    if (file) {
        fprintf(file, "AE  Requests  Responses\n 0: %lu %lu\n", (unsigned long)total, (unsigned long)total);
        fclose(file);
    }
}

int icp_sal_CyPollInstance(cpa_instance handle, uint32_t quota);

/* Polls every instance for so many milliseconds, as a program would that has not noticed the end of its run. */
int late_polls(int milliseconds)
{
    int found = 0;
    for (uint64_t until = now() + (uint64_t)milliseconds * 1000000; now() < until;) {
        uint64_t before = done_count;
        for (long i = 0; i < option("instances", 1); i++)
            icp_sal_CyPollInstance(&instances[i], 0);
        found += (int)(done_count - before);
    }
    return found;
}

int icp_sal_CyPollInstance(cpa_instance handle, uint32_t quota)
{
    struct instance *instance = handle;
    struct operation due[MOST];
    unsigned count = 0, left = 0;
    (void)quota;
    uint64_t time = now();
    pthread_mutex_lock(&instance->lock);
    for (unsigned i = 0; i < instance->count; i++) {
        if (every("drop", instance->waiting[i].number))
            continue;
        if (instance->waiting[i].ready <= time)
            due[count++] = instance->waiting[i];
        else
            instance->waiting[left++] = instance->waiting[i];
    }
    instance->count = left;
    pthread_mutex_unlock(&instance->lock);
    for (unsigned i = 0; i < count; i++) {
        struct operation *o = &due[option("reorder", 0) ? count - 1 - i : i];
        int status = every("error", o->number) ? CPA_FAIL : CPA_OK;
        if (status == CPA_OK && !every("fail", o->number)) {
            decrypt(o);
            count_operation();
        }
        if (every("wrong", o->number))
            o->output->data[o->output->size / 2] ^= 1;
        bool again = every("twice", o->number);
        o->callback(o->tag, status, o->what, o->output);
        if (again)
            o->callback(o->tag, status, o->what, o->output);
    }
    return count ? CPA_OK : CPA_RETRY;
}
