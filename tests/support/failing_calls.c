/* Fails the system calls by which a program writes, as a full or broken disk would: preloaded, and armed by
 * tests/support/failing.py.
 *
 * Counted is every call that takes space or makes something durable below one folder. From the n-th on they fail, or
 * the n-th alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static size_t length;
static long at = -1, count;
static int number, lasts;
static char failed[PATH_MAX + 32];

/* folder: the calls below it count. n: which one fails, from 1 (0: none). lasting: whether all later ones fail too. */
void failing_arm(const char *folder, long n, int error, int lasting) {
    strncpy(below, folder, sizeof below - 1);
    length = strlen(below);
    at = n, number = error, lasts = lasting, count = 0, failed[0] = 0;
}

/* Ends it; returns how many calls counted. */
long failing_disarm(void) {
    length = 0;
    return count;
}

/* The call that failed first, and its file; empty if none did. */
const char *failing_which(void) { return failed; }

__attribute__((constructor)) static void from_environment(void) {
    const char *folder = getenv("FAILING_BELOW"), *n = getenv("FAILING_AT"), *program = getenv("FAILING_PROGRAM");
    char own[4096] = "";
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t size = read(file, own, sizeof own - 1);
        for (ssize_t i = 0; i < size; i++)
            if (!own[i]) own[i] = ' ';
        close(file);
    }
    if (folder && n && (!program || strstr(own, program)))
        failing_arm(folder, atol(n), atoi(getenv("FAILING_ERROR")), 1);
}

static int fails(const char *call, const char *path) {
    if (!length || !path || strncmp(path, below, length)) return 0;
    long mine = __sync_add_and_fetch(&count, 1);
    if (at < 1 || (lasts ? mine < at : mine != at)) return 0;
    if (!failed[0]) snprintf(failed, sizeof failed, "%s %s", call, path);
    errno = number;
    return 1;
}

static int fails_at(const char *call, int folder, const char *path) {
    char whole[PATH_MAX * 2], link[64];
    if (!length) return 0;
    if (path[0] == '/') return fails(call, path);
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, whole, PATH_MAX);
        if (size < 0) return 0;
        whole[size] = 0;
    }
    size_t end = strlen(whole);
    snprintf(whole + end, sizeof whole - end, "/%s", path);
    return fails(call, whole);
}

static int fails_open(const char *call, int file) {
    char path[PATH_MAX], link[64];
    if (!length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(call, path);
}

#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define ON_FILE(type, name, parameters, arguments, file)                                                               \
    type name parameters {                                                                                             \
        static typeof(&name) next;                                                                                     \
        if (!next) next = NEXT(name);                                                                                  \
        return fails_open(#name, file) ? (type)-1 : next arguments;                                                    \
    }
ON_FILE(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), f)
ON_FILE(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o), f)
ON_FILE(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o), f)
ON_FILE(ssize_t, writev, (int f, const struct iovec *v, int n), (f, v, n), f)
ON_FILE(ssize_t, pwritev, (int f, const struct iovec *v, int n, off_t o), (f, v, n, o), f)
ON_FILE(ssize_t, sendfile, (int f, int from, off_t *o, size_t n), (f, from, o, n), f)
ON_FILE(ssize_t, sendfile64, (int f, int from, off64_t *o, size_t n), (f, from, o, n), f)
ON_FILE(ssize_t, copy_file_range, (int from, off64_t *a, int f, off64_t *b, size_t n, unsigned flags),
        (from, a, f, b, n, flags), f)
ON_FILE(int, fsync, (int f), (f), f)
ON_FILE(int, fdatasync, (int f), (f), f)
ON_FILE(int, ftruncate, (int f, off_t n), (f, n), f)
ON_FILE(int, ftruncate64, (int f, off64_t n), (f, n), f)

int posix_fallocate(int f, off_t o, off_t n) { /* returns the error's number */
    return fails_open("posix_fallocate", f) ? number : NEXT(posix_fallocate)(f, o, n);
}
int posix_fallocate64(int f, off64_t o, off64_t n) {
    return fails_open("posix_fallocate64", f) ? number : NEXT(posix_fallocate64)(f, o, n);
}

#define ON_NAME(name, parameters, arguments, folder, path)                                                             \
    int name parameters {                                                                                              \
        static typeof(&name) next;                                                                                     \
        if (!next) next = NEXT(name);                                                                                  \
        return fails_at(#name, folder, path) ? -1 : next arguments;                                                    \
    }
ON_NAME(mkdir, (const char *p, mode_t m), (p, m), AT_FDCWD, p)
ON_NAME(mkdirat, (int d, const char *p, mode_t m), (d, p, m), d, p)
ON_NAME(rename, (const char *a, const char *b), (a, b), AT_FDCWD, b)
ON_NAME(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), e, b)
ON_NAME(link, (const char *a, const char *b), (a, b), AT_FDCWD, b)
ON_NAME(symlink, (const char *a, const char *b), (a, b), AT_FDCWD, b)

/* A file that is there already takes no space when it is opened. */
#define ON_OPEN(name, parameters, arguments, folder, path)                                                             \
    int name parameters {                                                                                              \
        mode_t mode = 0;                                                                                               \
        if (flags & O_CREAT) {                                                                                         \
            va_list more;                                                                                              \
            va_start(more, flags);                                                                                     \
            mode = va_arg(more, mode_t);                                                                               \
            va_end(more);                                                                                              \
            if (faccessat(folder, path, F_OK, 0) && fails_at(#name, folder, path)) return -1;                          \
        }                                                                                                              \
        return NEXT(name) arguments;                                                                                   \
    }
ON_OPEN(open, (const char *p, int flags, ...), (p, flags, mode), AT_FDCWD, p)
ON_OPEN(open64, (const char *p, int flags, ...), (p, flags, mode), AT_FDCWD, p)
ON_OPEN(openat, (int d, const char *p, int flags, ...), (d, p, flags, mode), d, p)
ON_OPEN(openat64, (int d, const char *p, int flags, ...), (d, p, flags, mode), d, p)
