/* Give pages back: gather runs into batches of ranges, make few system calls, lose no failure. */
#include "os_p.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <balloon/range.h>

#define DEFAULT_REGIONS 8u
#define MAX_REGIONS     4096u

/* The kernel's default of vm.max_map_count. */
#define DEFAULT_MAP_COUNT 65530u

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Since 5.18. */
#endif

/* How often an interrupted call is made again before it counts as failed. */
#define RETRIES 16

/* What one balloon_os_discard() works on. */
struct job {
    const balloon_run *runs;
    balloon_run *failed; /* failed[i] belongs to runs[i] until the end. */
    bool refused;
};

static ssize_t call_process_madvise(int pidfd, const struct iovec *iov, size_t count, int advice)
{
#ifdef SYS_process_madvise
    return (ssize_t)syscall(SYS_process_madvise, pidfd, iov, count, advice, 0);
#else
    (void)pidfd, (void)iov, (void)count, (void)advice;
    errno = ENOSYS;
    return -1;
#endif
}

static int call_pidfd_open(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    (void)pid;
    errno = ENOSYS;
    return -1;
#endif
}

static const struct os_calls linux_calls = {
    .madvise = madvise,
    .process_madvise = call_process_madvise,
    .fallocate = fallocate,
    .mmap = mmap,
    .pidfd_open = call_pidfd_open,
};

static bool interrupted(void)
{
    return errno == EINTR || errno == EAGAIN;
}

/* --- Setting up --- */

static uint32_t max_regions(const balloon_os_config *config)
{
    return config->max_regions ? config->max_regions : DEFAULT_REGIONS;
}

const char *balloon_os_config_check(const balloon_os_config *config)
{
    if (!config || !bl_sized(config, sizeof(*config)))
        return "size: not sizeof(balloon_os_config), or fields of a later version are set";
    if (config->max_regions > MAX_REGIONS)
        return "max_regions: more than 4096";
    if (config->flags & ~(BALLOON_OS_NO_BATCH | BALLOON_OS_NO_HUGE))
        return "flags: not BALLOON_OS_*";
    return NULL;
}

balloon_status balloon_os_layout(const balloon_os_config *config, balloon_layout *layout)
{
    if (balloon_os_config_check(config) || !layout)
        return BALLOON_ERR_INVALID;
    layout->bytes = sizeof(balloon_os) + max_regions(config) * sizeof(struct os_region);
    layout->align = _Alignof(max_align_t);
    return BALLOON_OK;
}

static uint64_t max_map_count(void)
{
    uint64_t count = DEFAULT_MAP_COUNT;
    struct os_lines lines;
    const char *line;

    if (!bl_os_lines_open(&lines, "/proc/sys/vm/max_map_count"))
        return count;
    line = bl_os_lines_next(&lines);
    if (line && !bl_os_number(&line, 10, &count))
        count = DEFAULT_MAP_COUNT;
    bl_os_lines_close(&lines);
    return count;
}

balloon_status balloon_os_init(void *memory, size_t bytes, const balloon_os_config *config,
                               balloon_os **os)
{
    balloon_os *o = memory;
    balloon_layout layout;

    if (!memory || !os || balloon_os_layout(config, &layout) != BALLOON_OK ||
        (uintptr_t)memory % layout.align)
        return BALLOON_ERR_INVALID;
    if (bytes < layout.bytes)
        return BALLOON_ERR_NOSPACE;

    memset(memory, 0, layout.bytes);
    o->calls = &linux_calls;
    o->max_regions = max_regions(config);
    o->regions = (struct os_region *)(o + 1);
    o->pidfd = -1;
    o->flags = config->flags;
    o->mappings.limit = max_map_count();
    if (!(config->flags & BALLOON_OS_NO_BATCH))
        bl_os_probe_batches(o);
    *os = o;
    return BALLOON_OK;
}

void balloon_os_destroy(balloon_os *os)
{
    if (!os)
        return;
    for (uint32_t id = 0; id < os->max_regions; id++) {
        if (os->regions[id].used)
            (void)!balloon_os_remove_region(os, id);
    }
    if (os->pidfd >= 0)
        close(os->pidfd);
    os->pidfd = -1;
    if (os->release)
        os->release(os);
}

void bl_os_release_by(balloon_os *os, void (*release)(void *memory))
{
    os->release = release;
}

void balloon_os_counters_get(const balloon_os *os, balloon_os_counters *counters)
{
    *counters = os->counters;
}

balloon_os_reason balloon_os_refusal(const balloon_os *os)
{
    return os->refusal;
}

/* --- Batches: what the kernel can do --- */

static int advice_of(int way)
{
    if (way == BALLOON_OS_REMOVE)
        return MADV_REMOVE;
    return way == OS_DONTNEED_LOCKED ? MADV_DONTNEED_LOCKED : MADV_DONTNEED;
}

/* Discard the first and the last of three pages and look whether exactly these are gone. Kernels
 * differ in what they accept, so no version or error code is asked. */
static bool batch_works(const balloon_os *os, int way)
{
    int flags = way == BALLOON_OS_REMOVE ? MAP_SHARED : MAP_PRIVATE;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    volatile unsigned char *p;
    struct iovec iov[2];
    ssize_t done;
    bool works;

    p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    for (size_t i = 0; i < 3; i++)
        p[i * page] = 1;
    iov[0] = (struct iovec){(void *)p, page};
    iov[1] = (struct iovec){(void *)(p + 2 * page), page};
    done = os->calls->process_madvise(os->pidfd, iov, 2, advice_of(way));
    works = done == (ssize_t)(2 * page) && p[0] == 0 && p[page] == 1 && p[2 * page] == 0;
    munmap((void *)p, 3 * page);
    return works;
}

static bool probe(balloon_os *os)
{
    os->batches[BALLOON_OS_DONTNEED] = batch_works(os, BALLOON_OS_DONTNEED);
    os->batches[BALLOON_OS_REMOVE] = batch_works(os, BALLOON_OS_REMOVE);
    os->batches[OS_DONTNEED_LOCKED] =
        os->batches[BALLOON_OS_DONTNEED] && batch_works(os, OS_DONTNEED_LOCKED);
    return os->batches[BALLOON_OS_DONTNEED] || os->batches[BALLOON_OS_REMOVE];
}

void bl_os_probe_batches(balloon_os *os)
{
    if (os->pidfd >= 0)
        close(os->pidfd);
    os->pidfd = OS_PIDFD_SELF;
    if (probe(os))
        return;
    /* After a fork it still means the parent; the kernel lets nobody discard there. */
    os->pidfd = os->calls->pidfd_open(getpid());
    if (os->pidfd < 0 || probe(os))
        return;
    close(os->pidfd);
    os->pidfd = -1;
}

/* --- One range --- */

static bool call_once(balloon_os *os, const struct os_region *region, int way, balloon_range pages)
{
    unsigned char *host = bl_os_region_host(region, pages);
    size_t bytes = bl_os_bytes(pages);
    uint64_t offset;

    switch (way) {
    case BALLOON_OS_DONTNEED:
    case OS_DONTNEED_LOCKED:
    case BALLOON_OS_REMOVE:
        return os->calls->madvise(host, bytes, advice_of(way)) == 0;
    case BALLOON_OS_PUNCH:
        offset = region->fd_offset + ((pages.first - region->pages.first) << BALLOON_PAGE_SHIFT);
        return os->calls->fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                    (off_t)offset, (off_t)bytes) == 0;
    case BALLOON_OS_REMAP:
        return bl_os_remap(os, region, pages);
    }
    errno = EINVAL;
    return false;
}

static bool call(balloon_os *os, const struct os_region *region, int way, balloon_range pages)
{
    for (int i = 0; i < RETRIES; i++) {
        os->counters.calls++;
        os->why = BALLOON_OS_REASON_SYSTEM;
        if (call_once(os, region, way, pages))
            return true;
        if (!interrupted())
            break;
    }
    return false;
}

/* The second way, for memory that is locked: the first one says EINVAL.
 *
 * MADV_REMOVE comes first although both punch the file for all who share it: it goes through the
 * mapping, so it cannot hit another place of the file than the guest's page, and userfaultfd hears
 * of it. In batches it is as fast as punching the file, alone 15 to 50 % slower. Punching the file
 * directly is safe only where it is known to be mapped there, at that offset. */
static bool call_locked(balloon_os *os, struct os_region *region, balloon_range pages)
{
    if (errno != EINVAL)
        return false;
    if (region->way == BALLOON_OS_REMOVE && region->fd >= 0 && region->verified &&
        !region->unproven)
        return call(os, region, BALLOON_OS_PUNCH, pages);
    if (region->way != BALLOON_OS_DONTNEED)
        return false;
    if (!call(os, region, OS_DONTNEED_LOCKED, pages)) {
        errno = EINVAL;
        return false;
    }
    region->way = OS_DONTNEED_LOCKED; /* It does as well for what is not locked. */
    return true;
}

static bool discard_range(balloon_os *os, struct os_region *region, balloon_range pages)
{
    if (call(os, region, region->way, pages) || call_locked(os, region, pages)) {
        os->counters.ranges++;
        os->counters.bytes += bl_os_bytes(pages);
        return true;
    }
    os->counters.failures++;
    region->failures++;
    region->reason = os->why;
    if (!os->error) {
        os->error = errno ? errno : EIO;
        os->refusal = os->why;
    }
    return false;
}

/* --- Batches --- */

/* Widen what failed of a run so that it holds these pages too. */
static void fail_run(struct job *job, size_t i, balloon_range pages)
{
    balloon_range *failed = &job->failed[i].range;
    uint64_t end = balloon_range_end(pages);

    if (!pages.count)
        return;
    if (!failed->count) {
        *failed = pages;
        return;
    }
    if (balloon_range_end(*failed) > end)
        end = balloon_range_end(*failed);
    if (pages.first < failed->first)
        failed->first = pages.first;
    failed->count = end - failed->first;
}

/* Runs that were merged are tried one by one when they fail together. */
static bool finish_range(balloon_os *os, struct job *job, const struct os_range *range)
{
    bool merged = range->first_run < range->last_run;

    if (discard_range(os, range->region, range->pages))
        return true;
    for (size_t i = range->first_run; i <= range->last_run; i++) {
        balloon_range part = balloon_range_intersect(job->runs[i].range, range->pages);

        if (!merged || (part.count && !discard_range(os, range->region, part)))
            fail_run(job, i, part);
    }
    return false;
}

/* Errors that are about the whole call, such as those of a seccomp filter, unless the range at
 * which it stopped gives the same one. */
static bool is_about_the_call(int error)
{
    return error == ENOSYS || error == EPERM || error == EBADF || error == ESRCH;
}

/* One call for the ranges from i on.
 * Returns how many are done; at 0 the kernel balks at range i, or, says *forbidden, at the call. */
static size_t call_batch(balloon_os *os, size_t i, bool *forbidden)
{
    int way = os->range[i].region->way;
    size_t first = i, left;
    ssize_t done;
    int tries = 0;

    do {
        os->counters.calls++;
        done = os->calls->process_madvise(os->pidfd, os->iov + i, os->filled - i, advice_of(way));
    } while (done < 0 && interrupted() && ++tries < RETRIES);

    *forbidden = done < 0 && is_about_the_call(errno);
    if (done <= 0)
        return 0;

    left = (size_t)done;
    while (i < os->filled && left >= os->iov[i].iov_len) {
        left -= os->iov[i].iov_len;
        os->counters.bytes += os->iov[i].iov_len;
        os->counters.ranges++;
        i++;
    }
    /* A range done in part is done again as a whole, which does no harm. */
    if (i < os->filled)
        os->counters.shorts++;
    return i - first;
}

static void swap_ranges(balloon_os *os, size_t i, size_t j)
{
    struct os_range range = os->range[i];
    struct iovec iov = os->iov[i];

    os->range[i] = os->range[j];
    os->iov[i] = os->iov[j];
    os->range[j] = range;
    os->iov[j] = iov;
}

/* A region has refused something: from i on, what is of other regions goes first, so that it does
 * not wait for each refusal. Order means nothing here. */
static void put_last(balloon_os *os, size_t i, const struct os_region *region)
{
    for (size_t j = i; j < os->filled; j++) {
        if (os->range[j].region != region)
            swap_ranges(os, i++, j);
    }
}

/* Discard what has gathered. After a batch that stopped short, the range it stopped at is tried
 * alone, which tells whether it fails, and the rest goes on as a batch. After a refusal, the region
 * goes on one by one until it takes something. */
static void flush(balloon_os *os, struct job *job)
{
    const struct os_region *refusing = NULL;
    size_t i = 0;

    while (i < os->filled) {
        int way = os->range[i].region->way;
        bool forbidden = false;

        if (os->filled - i > 1 && os->batches[way] && os->range[i].region != refusing)
            i += call_batch(os, i, &forbidden);
        if (i == os->filled)
            break;
        if (finish_range(os, job, &os->range[i])) {
            /* It takes the range, but no batch of it: one call a range from now on. */
            if (forbidden)
                os->batches[way] = false;
            refusing = NULL;
            i++;
        } else {
            if (refusing != os->range[i].region)
                put_last(os, i + 1, os->range[i].region);
            refusing = os->range[i++].region;
        }
    }
    os->filled = 0;
    os->bytes = 0;
}

static void gather(balloon_os *os, struct job *job, size_t run, struct os_region *region,
                   balloon_range pages)
{
    struct os_range *last = os->filled ? &os->range[os->filled - 1] : NULL;
    size_t bytes = bl_os_bytes(pages);

    /* A batch has one way. A range too large for any batch gets one of its own. */
    if (last && (os->bytes > OS_BATCH_BYTES || bytes > OS_BATCH_BYTES - os->bytes ||
                 last->region->way != region->way)) {
        flush(os, job);
        last = NULL;
    }
    if (last && last->region == region && balloon_range_end(last->pages) == pages.first) {
        last->pages.count += pages.count;
        last->last_run = run;
        os->iov[os->filled - 1].iov_len += bytes;
        os->bytes += bytes;
        return;
    }
    if (os->filled == OS_BATCH_RANGES)
        flush(os, job);
    os->range[os->filled] = (struct os_range){region, pages, run, run};
    os->iov[os->filled] = (struct iovec){bl_os_region_host(region, pages), bytes};
    os->filled++;
    os->bytes += bytes;
}

/* The kernel rounds lengths up to a page, which would take a neighbour along. So rounding is done
 * here, inward, and what falls off is a failure. */
static void take_run(balloon_os *os, struct job *job, size_t i)
{
    const balloon_run *run = &job->runs[i];
    struct os_region *region = bl_os_region_find(os, run->region);
    uint64_t end = balloon_range_end(run->range);
    balloon_range whole;

    if (!run->range.count)
        return;
    if (!region || balloon_range_intersect(run->range, region->pages).count != run->range.count) {
        os->counters.refused++;
        job->refused = true;
        fail_run(job, i, run->range);
        return;
    }
    whole = balloon_range_inward(run->range, region->unit);
    if (whole.count != run->range.count) {
        os->counters.refused++;
        job->refused = true;
    }
    if (!whole.count) {
        fail_run(job, i, run->range);
        return;
    }
    fail_run(job, i, (balloon_range){run->range.first, whole.first - run->range.first});
    fail_run(job, i, (balloon_range){balloon_range_end(whole), end - balloon_range_end(whole)});
    gather(os, job, i, region, whole);
}

balloon_status balloon_os_discard(balloon_os *os, const balloon_run *runs, size_t count,
                                  balloon_run *failed, size_t *failed_count)
{
    struct job job = {runs, failed, false};
    size_t failures = 0;

    if (!os || !failed_count || (count && (!runs || !failed)))
        return BALLOON_ERR_INVALID;

    os->error = 0;
    os->refusal = BALLOON_OS_REASON_NONE;
    for (size_t i = 0; i < count; i++) {
        failed[i] = (balloon_run){runs[i].region, 0, {0, 0}};
        take_run(os, &job, i);
    }
    flush(os, &job);

    for (size_t i = 0; i < count; i++) {
        if (failed[i].range.count)
            failed[failures++] = failed[i];
    }
    *failed_count = failures;
    if (os->error) {
        errno = os->error;
        return BALLOON_ERR_SYSTEM;
    }
    if (!job.refused)
        return BALLOON_OK;
    os->refusal = BALLOON_OS_REASON_RANGE;
    return BALLOON_ERR_RANGE;
}

#endif
