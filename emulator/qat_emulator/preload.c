/*
 * VFIO for a process on a machine that has none. Preloaded into the process, this gives what it does with VFIO to the
 * emulator, which answers; nothing is decided here.
 *
 *  - What is opened below /dev/vfio is told to the emulator, which may refuse, or give another file for it.
 *  - ioctls of VFIO go to the emulator with their argument.
 *  - A device is a sparse file in which region R lies at R << 40, as the kernel numbers them (drivers/vfio/pci). Its BARs
 *    are mapped for reading only: each store traps and goes to the emulator, with its size and in its order, and so does
 *    what is written by pwrite.
 *  - Memory that is mapped for DMA is moved into a file of its own that the emulator maps, too.
 *
 * Interfaces: linux/vfio.h. x86-64 only, as the device is. Not done: one buffer mapped for DMA twice at a time; vector
 * and string instructions that store to registers (the process is ended with a message).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef __x86_64__
#error "QAT exists on x86-64 only"
#endif

enum operation { OPEN, IOCTL, WRITE, MMAP };
enum { MOST_BYTES = 4096, MOST_BARS = 256, HIGH = 500 };

struct message { /* shared_memory.py knows this layout */
    uint32_t operation;
    uint32_t number;   /* IOCTL: its number; WRITE: bytes */
    uint64_t target;   /* inode of the file that it is about */
    uint64_t argument; /* IOCTL: its argument, or the inode of the file it names; else: offset in the device's file */
    uint64_t value;    /* WRITE: the value; MMAP: bytes */
    uint8_t bytes[MOST_BYTES];
};
struct reply {
    int32_t result; /* below 0: an error number */
    uint8_t bytes[MOST_BYTES];
};
#define HEAD offsetof(struct message, bytes)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int line = -1;
static pid_t line_of;
static struct bar { uintptr_t start, end; uint64_t target, offset; } bars[MOST_BARS];
static struct sigaction theirs; /* what the process itself does about SIGSEGV */

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static int fail(int result)
{
    if (result >= 0)
        return result;
    errno = -result;
    return -1;
}

static int connect_once(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const char *path = getenv("QAT_EMULATOR_SOCKET");
    int fd, kind;

    /* A process that becomes a daemon may have closed what it does not know. */
    if (line >= 0 && line_of == getpid() &&
        !getsockopt(line, SOL_SOCKET, SO_TYPE, &kind, &(socklen_t){sizeof(kind)}) && kind == SOCK_SEQPACKET)
        return 0;
    if (!path || strlen(path) >= sizeof(name.sun_path))
        return -ENODEV;
    strcpy(name.sun_path, path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    line = fcntl(fd, F_DUPFD_CLOEXEC, HIGH); /* where nobody takes its number */
    if (line < 0)
        line = fd;
    else
        close(fd);
    line_of = getpid();
    return line < 0 || connect(line, (struct sockaddr *)&name, sizeof(name)) ? -ENODEV : 0;
}

/* Tell the emulator, with `size` bytes behind the head and a file or -1; `*given` is the file it sends, or -1. */
static int tell(struct message *message, size_t size, int file, struct reply *reply, int *given)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec vector = {message, HEAD + size};
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
    struct cmsghdr *part;
    int result = -EIO;

    *given = -1;
    if (file >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof(control);
        part = CMSG_FIRSTHDR(&header);
        *part = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(part), &file, sizeof(int));
    }
    pthread_mutex_lock(&lock);
    if (!connect_once() && sendmsg(line, &header, MSG_NOSIGNAL) >= 0) {
        vector = (struct iovec){reply, sizeof(*reply)};
        header = (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        if (recvmsg(line, &header, MSG_CMSG_CLOEXEC) >= (ssize_t)sizeof(int32_t)) {
            result = reply->result;
            part = CMSG_FIRSTHDR(&header);
            if (part && part->cmsg_type == SCM_RIGHTS)
                memcpy(given, CMSG_DATA(part), sizeof(int));
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* The inode of a file of the emulator's own file system; 0 where it is another's. */
static uint64_t target_of(int fd)
{
    static dev_t ours;
    struct stat about;

    if (!ours)
        ours = strtoull(getenv("QAT_EMULATOR_DEVICE") ?: "0", NULL, 10);
    return !fstat(fd, &about) && about.st_dev == ours && S_ISREG(about.st_mode) ? about.st_ino : 0;
}

/* -- open -------------------------------------------------------------------------------------------------------- */

static int opened(int fd)
{
    struct message message = {.operation = OPEN};
    struct reply reply;
    int given, result;

    if (fd < 0 || !(message.target = target_of(fd)))
        return fd;
    result = tell(&message, 0, -1, &reply, &given);
    if (result < 0 || given >= 0)
        close(fd);
    return result < 0 ? fail(result) : given >= 0 ? given : fd;
}

#define MODE(last) \
    ({ va_list list; va_start(list, last); mode_t mode = va_arg(list, mode_t); va_end(list); mode; })

int open(const char *path, int flags, ...) { return opened(REAL(open)(path, flags, MODE(flags))); }
int open64(const char *path, int flags, ...) { return opened(REAL(open64)(path, flags, MODE(flags))); }
int openat(int at, const char *path, int flags, ...) { return opened(REAL(openat)(at, path, flags, MODE(flags))); }
int openat64(int at, const char *path, int flags, ...) { return opened(REAL(openat64)(at, path, flags, MODE(flags))); }
int __open_2(const char *path, int flags) { return opened(REAL(open)(path, flags)); }
int __open64_2(const char *path, int flags) { return opened(REAL(open64)(path, flags)); }

/* -- ioctl ------------------------------------------------------------------------------------------------------- */

static int map(uint64_t target, struct vfio_iommu_type1_dma_map *wanted)
{
    struct message message = {.operation = IOCTL, .number = VFIO_IOMMU_MAP_DMA, .target = target};
    void *memory = (void *)(uintptr_t)wanted->vaddr, *copy;
    struct reply reply;
    int given, result, fd = memfd_create("dma", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, wanted->size))
        return -ENOMEM;
    copy = mmap(NULL, wanted->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (copy == MAP_FAILED)
        return -ENOMEM;
    memcpy(copy, memory, wanted->size);
    munmap(copy, wanted->size);
    memcpy(message.bytes, wanted, sizeof(*wanted));
    result = tell(&message, sizeof(*wanted), fd, &reply, &given);
    if (!result && mmap(memory, wanted->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        result = -errno;
    close(fd);
    return result;
}

static int vfio_ioctl(int fd, uint64_t target, unsigned long number, void *argument)
{
    struct message message = {.operation = IOCTL, .number = number, .target = target};
    struct reply reply;
    size_t size = 0;
    int file = -1, given, result;

    switch (number) {
    case VFIO_IOMMU_MAP_DMA:
        return map(target, argument);
    case VFIO_GET_API_VERSION:
    case VFIO_CHECK_EXTENSION:
    case VFIO_SET_IOMMU:
    case VFIO_GROUP_UNSET_CONTAINER:
    case VFIO_DEVICE_RESET:
        message.argument = (uintptr_t)argument;
        break;
    case VFIO_GROUP_SET_CONTAINER:
        message.argument = target_of(*(int *)argument);
        break;
    case VFIO_GROUP_GET_DEVICE_FD:
        size = strnlen(argument, MOST_BYTES - 1) + 1;
        break;
    default: /* all others begin with their own size */
        size = *(uint32_t *)argument;
        if (size > MOST_BYTES)
            return -E2BIG;
    }
    if (size)
        memcpy(message.bytes, argument, size);
    if (number == VFIO_DEVICE_SET_IRQS) {
        struct vfio_irq_set *set = argument;
        if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD && set->count)
            memcpy(&file, set->data, sizeof(file));
    }
    result = tell(&message, size, file, &reply, &given);
    if (number == VFIO_GROUP_GET_DEVICE_FD)
        return result < 0 ? result : given;
    if (result >= 0 && size)
        memcpy(argument, reply.bytes, size);
    return result;
}

int ioctl(int fd, unsigned long number, ...)
{
    va_list list;
    va_start(list, number);
    void *argument = va_arg(list, void *);
    va_end(list);
    uint64_t target = (number >> 8 & 0xFF) == VFIO_TYPE ? target_of(fd) : 0;
    return target ? fail(vfio_ioctl(fd, target, number, argument)) : (int)syscall(SYS_ioctl, fd, number, argument);
}

/* -- registers --------------------------------------------------------------------------------------------------- */

static int store(uint64_t target, uint64_t offset, uint32_t size, uint64_t value)
{
    struct message message = {WRITE, size, target, offset, value, {0}};
    struct reply reply;
    int given;

    return tell(&message, 0, -1, &reply, &given);
}

static ssize_t write_at(int fd, uint64_t target, const void *data, size_t size, off_t offset)
{
    uint64_t value = 0;

    if (size != 1 && size != 2 && size != 4 && size != 8)
        return fail(-EINVAL);
    memcpy(&value, data, size);
    int result = store(target, offset, size, value);
    return result < 0 ? fail(result) : (ssize_t)size;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    uint64_t target = target_of(fd);
    return target ? write_at(fd, target, data, size, offset) : REAL(pwrite)(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    uint64_t target = target_of(fd);
    return target ? write_at(fd, target, data, size, offset) : REAL(pwrite64)(fd, data, size, offset);
}

struct access { unsigned length, size; uint64_t value; };

/* What a store instruction stores. Only moves of a register or of a constant; length 0 for everything else. */
static struct access decode(const uint8_t *at, const greg_t *registers)
{
    static const uint8_t order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    const uint8_t *begin = at;
    unsigned size = 4, rex = 0, constant;
    struct access access = {0};

    if (*at == 0x66) {
        size = 2;
        at++;
    }
    if ((*at & 0xF0) == 0x40)
        rex = *at++;
    if (rex & 8)
        size = 8;
    switch (*at++) {
    case 0x88: constant = 0; size = 1; break;
    case 0x89: constant = 0; break;
    case 0xC6: constant = 1; size = 1; break;
    case 0xC7: constant = 1; break;
    default: return access;
    }
    unsigned mode = *at >> 6, number = (*at >> 3 & 7) | (rex & 4 ? 8 : 0), place = *at++ & 7;
    if (place == 4 && mode != 3 && (*at++ & 7) == 5 && mode == 0)
        at += 4;
    at += mode == 1 ? 1 : mode == 2 || (mode == 0 && place == 5) ? 4 : 0;
    if (constant) {
        int32_t number32 = 0;
        unsigned bytes = size == 8 ? 4 : size;
        memcpy(&number32, at, bytes);
        access.value = size == 8 ? (uint64_t)(int64_t)number32 : (uint32_t)number32;
        at += bytes;
    } else if (size == 1 && !rex && number >= 4) { /* AH, CH, DH, BH */
        access.value = registers[order[number - 4]] >> 8;
    } else {
        access.value = registers[order[number]];
    }
    if (size < 8)
        access.value &= (1ULL << 8 * size) - 1;
    access.size = size;
    access.length = at - begin;
    return access;
}

static void trapped(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t address = (uintptr_t)info->si_addr;

    for (struct bar *bar = bars; bar < bars + MOST_BARS && info->si_code == SEGV_ACCERR; bar++)
        if (address >= bar->start && address < bar->end) {
            struct access access = decode((const uint8_t *)registers[REG_RIP], registers);
            if (!access.length) {
                dprintf(2, "qat-emulator: a store to a register by an instruction that is not known (%02x %02x %02x)\n",
                        ((uint8_t *)registers[REG_RIP])[0], ((uint8_t *)registers[REG_RIP])[1],
                        ((uint8_t *)registers[REG_RIP])[2]);
                abort();
            }
            int before = errno;
            store(bar->target, bar->offset + address - bar->start, access.size, access.value);
            errno = before;
            registers[REG_RIP] += access.length;
            return;
        }
    if (theirs.sa_flags & SA_SIGINFO && theirs.sa_sigaction)
        theirs.sa_sigaction(number, info, context);
    else if (theirs.sa_handler != SIG_DFL && theirs.sa_handler != SIG_IGN)
        theirs.sa_handler(number);
    else /* the instruction runs once more, and the process ends as it would have */
        REAL(sigaction)(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
}

static void *mapped(void *memory, size_t size, int fd, uint64_t target, off64_t offset)
{
    static int once;

    if (memory == MAP_FAILED)
        return memory;
    for (struct bar *bar = bars; bar < bars + MOST_BARS; bar++)
        if (!bar->end) {
            struct sigaction ours = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
            *bar = (struct bar){(uintptr_t)memory, (uintptr_t)memory + size, target, offset};
            if (!__atomic_exchange_n(&once, 1, __ATOMIC_SEQ_CST))
                REAL(sigaction)(SIGSEGV, &ours, &theirs);
            return memory;
        }
    REAL(munmap)(memory, size);
    errno = ENOMEM;
    return MAP_FAILED;
}

void *mmap(void *wish, size_t size, int protection, int flags, int fd, off_t offset)
{
    uint64_t target = fd >= 0 && protection & PROT_WRITE && flags & MAP_SHARED ? target_of(fd) : 0;
    if (!target)
        return (void *)syscall(SYS_mmap, wish, size, protection, flags, fd, offset);
    struct message message = {.operation = MMAP, .target = target, .argument = offset, .value = size};
    struct reply reply;
    int given, result = tell(&message, 0, -1, &reply, &given);
    if (result < 0) {
        errno = -result;
        return MAP_FAILED;
    }
    void *memory = (void *)syscall(SYS_mmap, wish, size, PROT_READ, flags, fd, offset);
    return mapped(memory, size, fd, target, offset);
}

void *mmap64(void *wish, size_t size, int protection, int flags, int fd, off64_t offset)
{
    return mmap(wish, size, protection, flags, fd, offset);
}

int munmap(void *memory, size_t size)
{
    for (struct bar *bar = bars; bar < bars + MOST_BARS; bar++)
        if (bar->end && (uintptr_t)memory <= bar->start && bar->end <= (uintptr_t)memory + size)
            *bar = (struct bar){0};
    return (int)syscall(SYS_munmap, memory, size);
}

/* The process may handle SIGSEGV as it likes: it gets what is not a store to a register. */
int sigaction(int number, const struct sigaction *wanted, struct sigaction *before)
{
    struct sigaction now;

    if (number != SIGSEGV || REAL(sigaction)(number, NULL, &now) || now.sa_sigaction != trapped)
        return REAL(sigaction)(number, wanted, before);
    now = theirs;
    if (wanted)
        theirs = *wanted;
    if (before)
        *before = now;
    return 0;
}
