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

#include "os_release_p.h"

#include <balloon/os.h>

#include "../core/sized.h"

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

/* How a region is discarded: a balloon_os_method, or this, which frees locked memory, too. */
#define OS_DONTNEED_LOCKED (BALLOON_OS_REMAP + 1)
#define OS_WAYS            (OS_DONTNEED_LOCKED + 1)

struct os_region {
    bool used;
    bool verified;       /* the mapping was looked at, and is what was declared */
    bool unproven;       /* The file may be another: what is done to it may not be meant for it. */
    bool shared;         /* The file is the memory: it may be punched. */
    bool locked;         /* By mlock(). What replaces it by REMAP is locked, too. */
    bool no_huge;        /* MADV_NOHUGEPAGE was said. */
    int fd;              /* Our own duplicate, or -1. */
    int protection;      /* PROT_* of the mapping. */
    balloon_range pages; /* Guest pages. */
    uint64_t unit;       /* Host page, or huge page, in 4 KiB pages. */
    uint64_t granule;    /* What is discarded at least, in 4 KiB pages. */
    unsigned char *host;
    uint64_t fd_offset;
    uint64_t device; /* Of the file it maps; see os_maps. */
    balloon_os_backing backing;
    balloon_os_method method;
    int way; /* The method, or OS_DONTNEED_LOCKED. */
    unsigned char
        *fresh;        /* By unit, a bit: REMAP has put anonymous memory there. NULL elsewhere. */
    uint64_t failures; /* Ranges refused. */
    balloon_os_reason reason; /* Of the last of them. */
};

/* How many mappings REMAP may still make. */
struct os_mappings {
    uint64_t limit; /* vm.max_map_count. */
    uint64_t made;  /* Handed out so far. */
    uint64_t room;  /* Of them, what may be used before they are counted again. */
    uint32_t wait;  /* Refusals before they are counted again. */
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
    uint32_t flags;
    void (*release)(void *memory); /* By balloon_os_create(); else NULL. */
    int pidfd;                     /* OS_PIDFD_SELF, a descriptor of ours, or -1. */
    bool batches[OS_WAYS];         /* process_madvise() does it. */
    int error;                     /* First errno of the discard under way. */
    balloon_os_reason why;         /* Of the range that was just refused. */
    balloon_os_reason refusal;     /* First one of the discard or region under way. */
    struct os_mappings mappings;
    bool fills; /* New memory is there at once: mlockall(MCL_FUTURE). */
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

static inline size_t bl_os_bytes(balloon_range pages)
{
    return (size_t)(pages.count << BALLOON_PAGE_SHIFT);
}

/* Where pages of a region are mapped. */
static inline unsigned char *bl_os_region_host(const struct os_region *region, balloon_range pages)
{
    return region->host + ((pages.first - region->pages.first) << BALLOON_PAGE_SHIFT);
}

/* Whether memory at host takes a page of RAM. */
bool bl_os_is_resident(unsigned char *host);

/* --- REMAP: fresh anonymous memory in place of a private file --- */

balloon_status bl_os_remap_open(balloon_os *os, struct os_region *region);
void bl_os_remap_close(struct os_region *region);
/* One range; when it fails, errno and os->why tell. */
bool bl_os_remap(balloon_os *os, const struct os_region *region, balloon_range pages);

/* Find out by trying which methods process_madvise() does on this process. */
void bl_os_probe_batches(balloon_os *os);

/* --- What /proc tells of a region --- */

/* What the file descriptor tells. */
struct os_file {
    bool given;
    bool huge;
    bool secret;    /* memfd_secret(). */
    bool empty;     /* No blocks allocated. */
    bool read_only; /* Not writable through this descriptor, or sealed. */
    uint64_t inode;
    uint64_t device; /* Its number is one of this file system: major << 32 | minor. */
    uint64_t page;   /* Bytes. */
};

/* What /proc/self/maps tells of the whole region. */
struct os_maps {
    bool shared;
    bool file;       /* Any part maps a file, as shared and hugetlb memory always does. */
    bool anon_huge;  /* MAP_ANONYMOUS | MAP_HUGETLB. */
    bool read_only;  /* Some part may not be read and written. */
    bool mixed;      /* Parts have different protections. */
    bool unproven;   /* The file given has the right number, and its device is not known. */
    int protection;  /* PROT_* of the last part. */
    uint64_t device; /* Of the file: major << 32 | minor. */
};

/* Read it, and check it against the file; a reason other than NONE when it does not fit. */
balloon_os_reason bl_os_maps(const struct os_region *region, const struct os_file *file,
                             struct os_maps *maps);

/* What smaps tells of it. The kernel walks all page tables to print smaps, which takes long in a
 * large process: ask only where nothing else tells. */
struct os_smaps {
    bool mixed;          /* Parts have different page sizes. */
    bool locked;         /* Some part is, by mlock(). */
    uint64_t page;       /* Bytes. */
    uint64_t mappings;   /* It consists of so many. */
    uint64_t huge_bytes; /* Mapped by transparent huge pages, also beside the region. */
    uint32_t plain; /* Bit i: a whole page of 2^i pages fits where MADV_NOHUGEPAGE was not said, */
    uint32_t advised; /* and where MADV_HUGEPAGE was. */
};

#define OS_ORDERS 20 /* Sizes of transparent huge pages: 2 pages to 2 GiB. */

balloon_status bl_os_smaps(const struct os_region *region, struct os_smaps *smaps);

/* Sizes of transparent huge pages, bit i for 2^i pages, and the one that a page table maps. */
struct os_huge {
    uint32_t always;  /* They come unasked, */
    uint32_t advised; /* and where MADV_HUGEPAGE asks. */
    uint64_t pmd;     /* Pages; 0 where the kernel has no huge pages. */
};

/* By /sys and /proc below root; the device of the mapped file, where it is a file. */
struct os_huge bl_os_huge_rules(const char *root, bool shared, uint64_t device);

/* Whether a file is of memory that no mount shows: memfd, shared anonymous memory. */
bool bl_os_is_internal(uint64_t device);

/* The largest that may come into a region, in pages, or 0. */
uint64_t bl_os_huge_pages(const struct os_region *region, const struct os_smaps *smaps);

/* Pages of this process's page tables. The shared page of zeros counts nowhere. */
struct os_pages {
    uint64_t present;
    uint64_t swapped;
    uint64_t file; /* Of those present: of a file's cache, not copies of it. */
    uint64_t huge; /* Of those present: mapped by huge pages. */
};

/* Count them; false where the kernel cannot. */
bool bl_os_pagemap(const unsigned char *host, size_t bytes, struct os_pages *pages);

/* Mappings of this process, or 0. */
uint64_t bl_os_count_mappings(void);

/* Whether this process has locked any memory. */
bool bl_os_locks_memory(void);

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
