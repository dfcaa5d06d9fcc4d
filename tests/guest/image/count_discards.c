/* Preloaded into QEMU by the benchmark: counts the system calls by which it discards memory, in the
 * file that COUNT_DISCARDS names, as a 64-bit number. What a preloaded library sees costs nothing
 * that could be measured; a tracer would cost more than the calls. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t *calls;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("COUNT_DISCARDS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *file = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (file != MAP_FAILED)
        calls = file;
}

static void count(int discards)
{
    if (discards && calls)
        __atomic_fetch_add(calls, 1, __ATOMIC_RELAXED);
}

__attribute__((visibility("default"))) int madvise(void *start, size_t bytes, int advice)
{
    count(advice == MADV_DONTNEED || advice == MADV_REMOVE || advice == MADV_FREE);
    return (int)syscall(SYS_madvise, start, bytes, advice);
}

__attribute__((visibility("default"))) int fallocate64(int fd, int mode, off64_t at, off64_t bytes)
{
    count(mode & FALLOC_FL_PUNCH_HOLE);
    return (int)syscall(SYS_fallocate, fd, mode, at, bytes);
}

__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    return fallocate64(fd, mode, at, bytes);
}
