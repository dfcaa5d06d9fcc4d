/* What the tests of the Linux edge share. */
#ifndef TEST_OS_SUPPORT_H
#define TEST_OS_SUPPORT_H

#include "../../../lib/os/os_p.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <criterion/criterion.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Since Linux 5.18. */
#endif

#define PAGE BALLOON_PAGE_SIZE

/* The first guest page of every test region, on a boundary of every host page but 1 GiB. */
#define GUEST ((balloon_pfn_t)0x40000)

/* Pages per page of this host. */
static inline uint64_t host_unit(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE) / PAGE;
}

static inline balloon_os *os_make(uint32_t flags)
{
    balloon_os_config config = {.size = sizeof(config), .flags = flags};
    balloon_layout layout;
    balloon_os *os = NULL;
    void *memory;

    cr_assert_eq(balloon_os_layout(&config, &layout), BALLOON_OK);
    memory = malloc(layout.bytes);
    cr_assert_not_null(memory);
    cr_assert_eq(balloon_os_init(memory, layout.bytes, &config, &os), BALLOON_OK);
    return os;
}

static inline void os_drop(balloon_os *os)
{
    balloon_os_destroy(os);
    free(os);
}

static inline balloon_os_region os_region_of(void *host, uint64_t pages, int fd)
{
    balloon_os_region region = {.size = sizeof(region), .host = host, .fd = fd};

    region.pages = (balloon_region){GUEST, pages, host_unit()};
    return region;
}

/* Anonymous memory, filled with 0xaa: private or shared, as in MAP_PRIVATE or MAP_SHARED. */
static inline unsigned char *map_anonymous(int flags, uint64_t pages)
{
    unsigned char *host =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(host, MAP_FAILED);
    memset(host, 0xaa, pages * PAGE);
    return host;
}

/* A file in memory, filled with 0xaa. */
static inline int make_memfd(unsigned flags, uint64_t pages)
{
    unsigned char *page = malloc(PAGE);
    int fd = memfd_create("test", MFD_CLOEXEC | flags);

    cr_assert_geq(fd, 0);
    cr_assert_not_null(page);
    memset(page, 0xaa, PAGE);
    for (uint64_t i = 0; i < pages; i++)
        cr_assert_eq(pwrite(fd, page, PAGE, (off_t)(i * PAGE)), (ssize_t)PAGE);
    free(page);
    return fd;
}

static inline unsigned char *map_file(int flags, int fd, uint64_t pages)
{
    unsigned char *host = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

    cr_assert_neq(host, MAP_FAILED);
    return host;
}

static inline balloon_run run_of(uint32_t region, uint64_t first, uint64_t count)
{
    return (balloon_run){region, 0, {GUEST + first, count}};
}

/* mlock(), which sanitizers replace by nothing. */
static inline bool lock_pages(void *host, size_t bytes)
{
    return syscall(SYS_mlock, host, bytes) == 0;
}

static inline bool page_is(const unsigned char *host, uint64_t page, unsigned char value)
{
    const unsigned char *p = host + page * PAGE;

    return p[0] == value && !memcmp(p, p + 1, PAGE - 1);
}

static inline uint64_t file_pages(int fd)
{
    struct stat st;

    cr_assert_eq(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512 / PAGE;
}

/* Private memory as region 0. */
struct memory {
    balloon_os *os;
    unsigned char *host;
    uint64_t pages;
};

static inline struct memory memory_make(uint32_t flags, uint64_t pages)
{
    struct memory m = {os_make(flags), map_anonymous(MAP_PRIVATE, pages), pages};
    balloon_os_region region = os_region_of(m.host, pages, -1);

    cr_assert_eq(balloon_os_add_region(m.os, 0, &region), BALLOON_OK);
    return m;
}

static inline void memory_drop(struct memory *m)
{
    munmap(m->host, m->pages * PAGE);
    os_drop(m->os);
}

static inline balloon_os_counters counters(const balloon_os *os)
{
    balloon_os_counters c;

    balloon_os_counters_get(os, &c);
    return c;
}

/* Discard every second host page of region 0. */
static inline void check_scattered(struct memory *m, uint64_t count)
{
    balloon_run *runs = calloc(count, sizeof(*runs)), *failed = calloc(count, sizeof(*runs));
    uint64_t u = host_unit();
    size_t failures;

    for (uint64_t i = 0; i < count; i++)
        runs[i] = run_of(0, 2 * i * u, u);
    cr_assert_eq(balloon_os_discard(m->os, runs, count, failed, &failures), BALLOON_OK);
    cr_assert_eq(failures, 0);
    for (uint64_t i = 0; i < count; i++) {
        cr_assert(page_is(m->host, 2 * i * u, 0));
        cr_assert(page_is(m->host, (2 * i + 1) * u, 0xaa));
    }
    cr_assert_eq(counters(m->os).ranges, count);
    free(runs);
    free(failed);
}

#define NEEDS_4K_HOST()                                                                            \
    do {                                                                                           \
        if (host_unit() != 1)                                                                      \
            cr_skip_test("this host's pages are not 4 KiB");                                       \
    } while (0)

/* Huge pages for a test: how many 2 MiB pages there were before, and a lock against other tests
 * that ask for some at the same time. */
struct huge_pages {
    int lock;
    long before;
};

#define HUGE_PAGE  ((size_t)2 << 20)
#define HUGE_FLAG  (21 << 26) /* 2 MiB pages, for mmap() and memfd_create(). */
#define HUGE_UNIT  ((uint64_t)512)
#define HUGE_SYSFS "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static inline long huge_count(long set)
{
    FILE *file = fopen(HUGE_SYSFS, set >= 0 ? "r+" : "r");
    long count = -1;

    if (!file)
        return -1;
    if (set >= 0 && (fprintf(file, "%ld\n", set) < 0 || fflush(file)))
        set = -1;
    rewind(file);
    if (fscanf(file, "%ld", &count) != 1)
        count = -1;
    fclose(file);
    return count;
}

static inline void huge_give_back(struct huge_pages *huge)
{
    if (huge->lock < 0)
        return;
    if (huge->before >= 0)
        huge_count(huge->before);
    close(huge->lock);
    huge->lock = -1;
}

/* Reserve more huge pages; false where there are none to be had. */
static inline bool huge_reserve(struct huge_pages *huge, long count)
{
    huge->before = -1;
    huge->lock = open(HUGE_SYSFS, O_RDONLY | O_CLOEXEC);
    if (huge->lock < 0 || flock(huge->lock, LOCK_EX))
        return false;
    huge->before = huge_count(-1);
    if (huge->before >= 0 && huge_count(huge->before + count) == huge->before + count)
        return true;
    huge_give_back(huge);
    return false;
}

#endif
