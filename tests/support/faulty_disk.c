/* A disk that fails when told, and that remembers what it really holds. Loaded by LD_PRELOAD (faulty_disk.py).
 *
 * Below DISK_ROOT, while the file DISK_FAULT says "<call> <errno> <how often> <end of the path, or *>" (call: sync or
 * write), such calls fail, and each failure is a line in DISK_TOLD. With DISK_HELD, a folder, the model of a kernel is kept there: a page
 * is there once a sync of its file has succeeded after it was written; a sync that fails drops what was to be written,
 * as if it were clean (as ext4 and XFS do), so that the next one succeeds without it. A process that dies loses all
 * that it had not synced. What is in the folder is what a power cut would leave. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 1 << 17, FILES = 16 };
static struct { char path[512]; unsigned char dirty[PAGES]; } files[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long raw_read(const char *path, char *into, size_t room) {
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    long got = syscall(SYS_read, fd, into, room - 1);
    syscall(SYS_close, fd);
    if (got >= 0) into[got] = 0;
    return got;
}

/* The path of fd below DISK_ROOT, or NULL. */
static const char *ours(int fd, char path[512]) {
    const char *root = getenv("DISK_ROOT");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = root ? readlink(link, path, 511) : -1;
    if (length < 0) return NULL;
    path[length] = 0;
    return strncmp(path, root, strlen(root)) ? NULL : path;
}

/* The errno that a call of this kind has to fail with now; 0 where none. */
static int fault(const char *call, const char *path) {
    static char last[256];
    static int times;
    char told[256], kind[16], end[64];
    int number = 0, most = 0;
    const char *from = getenv("DISK_FAULT"), *to = getenv("DISK_TOLD");
    if (!from || raw_read(from, told, sizeof told) <= 0) return 0;
    if (sscanf(told, "%15s %d %d %63s", kind, &number, &most, end) < 4 || strcmp(kind, call)) return 0;
    size_t all = strlen(path), tail = strlen(end);
    if (strcmp(end, "*") && (tail > all || strcmp(path + all - tail, end))) return 0;
    if (strcmp(last, told)) times = 0;
    strcpy(last, told);
    if (times++ >= most) return 0;
    int fd = to ? syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        char line[600];
        int length = snprintf(line, sizeof line, "%s %s\n", call, path);
        syscall(SYS_write, fd, line, length);
        syscall(SYS_close, fd);
    }
    return number;
}

static unsigned char *dirty_of(const char *path) {
    for (int i = 0; i < FILES; i++) {
        if (!files[i].path[0]) strcpy(files[i].path, path);
        if (!strcmp(files[i].path, path)) return files[i].dirty;
    }
    abort();
}

static const char *held(const char *path, char into[512]) {
    const char *folder = getenv("DISK_HELD");
    if (!folder) return NULL;
    snprintf(into, 512, "%s/%s", folder, strrchr(path, '/') + 1);
    return into;
}

static void written(const char *path, off_t at, size_t size) {
    if (!getenv("DISK_HELD") || !size) return;
    pthread_mutex_lock(&lock);
    unsigned char *dirty = dirty_of(path);
    for (off_t page = at / PAGE; page <= (off_t)(at + size - 1) / PAGE; page++) {
        if (page >= PAGES) abort();
        dirty[page] = 1;
    }
    pthread_mutex_unlock(&lock);
}

static void synced(const char *path, int is_lost) {
    char copy[512], page[PAGE];
    if (!held(path, copy)) return;
    pthread_mutex_lock(&lock);
    unsigned char *dirty = dirty_of(path);
    if (!is_lost) {
        int from = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        int to = syscall(SYS_openat, AT_FDCWD, copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        struct stat state;
        if (from < 0 || to < 0 || fstat(from, &state)) abort();
        for (off_t i = 0; i < PAGES; i++) {
            if (!dirty[i]) continue;
            long got = syscall(SYS_pread64, from, page, PAGE, i * PAGE);
            if (got > 0 && syscall(SYS_pwrite64, to, page, got, i * PAGE) != got) abort();
        }
        if (syscall(SYS_ftruncate, to, state.st_size)) abort();
        syscall(SYS_close, from);
        syscall(SYS_close, to);
    }
    memset(dirty, 0, PAGES);
    pthread_mutex_unlock(&lock);
}

static int sync_file(int fd) {
    char path[512];
    if (!ours(fd, path)) return syscall(SYS_fsync, fd);
    int number = fault("sync", path);
    struct stat state;
    if (!fstat(fd, &state) && S_ISREG(state.st_mode)) synced(path, number);
    if (!number) return 0;
    errno = number;
    return -1;
}

static ssize_t write_at(int fd, const void *data, size_t size, off_t at) {
    char path[512];
    if (ours(fd, path)) {
        int number = fault("write", path);
        if (number) {
            errno = number;
            return -1;
        }
        written(path, at, size);
    }
    return syscall(SYS_pwrite64, fd, data, size, at);
}

int fsync(int fd) { return sync_file(fd); }
int fdatasync(int fd) { return sync_file(fd); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return write_at(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return write_at(fd, data, size, at); }
int unlink(const char *path) {
    char copy[512];
    const char *root = getenv("DISK_ROOT");
    if (root && !strncmp(path, root, strlen(root)) && held(path, copy)) {
        syscall(SYS_unlinkat, AT_FDCWD, copy, 0);
        pthread_mutex_lock(&lock);
        memset(dirty_of(path), 0, PAGES);
        pthread_mutex_unlock(&lock);
    }
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
