/* What the files of the Linux edge share. Include it first: it selects the system's interfaces. On
 * other systems it is just the public header, and the files that include it are empty. */
#ifndef BALLOON_OS_OS_P_H
#define BALLOON_OS_OS_P_H

#ifdef __linux__

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <sys/types.h>
#include <sys/uio.h>

#endif

#include <balloon/os.h>

#ifdef __linux__

/* The kernel takes no more ranges in one call. */
#define OS_BATCH_RANGES 1024
/* It silently cuts a batch at 2 GiB less a page, which is no multiple of a huge page. Every page
 * size up to 1 GiB divides this limit. */
#define OS_BATCH_BYTES ((size_t)1 << 30)

/* "This process", without a file descriptor; in recent kernels. */
#define OS_PIDFD_SELF (-10000)

/* The system calls that discard, in a table so that tests can make them fail. */
struct os_calls {
    int (*madvise)(void *address, size_t bytes, int advice);
    ssize_t (*process_madvise)(int pidfd, const struct iovec *iov, size_t count, int advice);
    int (*fallocate)(int fd, int mode, off_t offset, off_t bytes);
    void *(*mmap)(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
    int (*pidfd_open)(pid_t pid);
};

struct os_region {
    bool used;
    bool verified;       /* the mapping was looked at, and is what was declared */
    bool shared;         /* The file is the memory: it may be punched. */
    int fd;              /* Our own duplicate, or -1. */
    balloon_range pages; /* Guest pages. */
    uint64_t unit;       /* Host page, or huge page, in 4 KiB pages. */
    unsigned char *host;
    uint64_t fd_offset;
    balloon_os_method method;
};

/* One range of a batch: neighbouring runs, merged. */
struct os_range {
    struct os_region *region;
    balloon_range pages;
    size_t first_run; /* The runs it came from. */
    size_t last_run;
};

struct balloon_os {
    const struct os_calls *calls;
    int pidfd;                          /* OS_PIDFD_SELF, a descriptor of ours, or -1. */
    bool batches[BALLOON_OS_REMAP + 1]; /* By method: process_madvise() does it. */
    int error;                          /* First errno of the discard under way. */
    uint32_t max_regions;
    struct os_region *regions; /* By id. */
    balloon_os_counters counters;
    size_t filled; /* Ranges in the batch. */
    size_t bytes;  /* Bytes in the batch. */
    struct os_range range[OS_BATCH_RANGES];
    struct iovec iov[OS_BATCH_RANGES]; /* The same ranges in host memory. */
};

/* A region in use, or NULL. */
struct os_region *bl_os_region_find(balloon_os *os, uint32_t id);

size_t bl_os_bytes(balloon_range pages);

/* Where pages of a region are mapped. */
unsigned char *bl_os_region_host(const struct os_region *region, balloon_range pages);

/* Find out by trying which methods process_madvise() does on this process. */
void bl_os_probe_batches(balloon_os *os);

/* Text files, line by line, without stdio and its malloc. Longer lines than this are skipped: half
 * a line could be half a number. */
#define OS_LINE_BYTES 8192

struct os_lines {
    int fd;
    size_t at, end;
    char buffer[OS_LINE_BYTES + 1];
};

bool bl_os_lines_open(struct os_lines *lines, const char *path);
char *bl_os_lines_next(struct os_lines *lines); /* Without its newline; NULL at the end. */
void bl_os_lines_close(struct os_lines *lines);

/* Read a number in base 10 or 16 and move *text past it; false for none, or one above 2^64 - 1. */
bool bl_os_number(const char **text, unsigned base, uint64_t *value);

#endif

#endif
