/* Prove that a discard frees memory: fill pages, discard them, look what is still held. */
#include "os_p.h"

#ifdef __linux__

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <balloon/range.h>

#define MAX_UNITS 64u                                         /* Host pages or huge pages to try. */
#define MAX_PAGES ((uint64_t)64 << (20 - BALLOON_PAGE_SHIFT)) /* 64 MiB. */
#define FILL      0xa5

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The pages under test, counted in granules, or host pages where there is no whole granule. */
struct sample {
    balloon_os *os;
    struct os_region *region;
    uint32_t id;
    balloon_range pages;
    uint64_t unit;
    uint64_t units;
};

static balloon_range unit_at(const struct sample *s, uint64_t i)
{
    return (balloon_range){s->pages.first + i * s->unit, s->unit};
}

/* Does the file's allocated size tell? It is the only witness for shared memory: the process's own
 * page tables look empty after MADV_DONTNEED while every page still sits in the file. */
static bool measured_by_file(const struct os_region *region)
{
    return region->shared && region->fd >= 0;
}

/* Pages in memory: of the sample, or of the whole file. */
static bool measure(const struct sample *s, uint64_t *pages)
{
    size_t host_page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *at = bl_os_region_host(s->region, s->pages);
    size_t left = bl_os_bytes(s->pages) / host_page;
    unsigned char present[1024];
    struct stat st;

    if (measured_by_file(s->region)) {
        if (fstat(s->region->fd, &st) < 0)
            return false;
        *pages = (uint64_t)st.st_blocks * 512 >> BALLOON_PAGE_SHIFT;
        return true;
    }
    *pages = 0;
    while (left) {
        size_t n = left < sizeof(present) ? left : sizeof(present);

        if (mincore(at, n * host_page, present) < 0)
            return false;
        for (size_t i = 0; i < n; i++)
            *pages += (present[i] & 1) * (host_page >> BALLOON_PAGE_SHIFT);
        at += n * host_page;
        left -= n;
    }
    return true;
}

/* Writing to a page that cannot be had kills the process; this call only fails. Kernels before 5.14
 * do not know it. */
static bool populate(const struct sample *s)
{
    unsigned char *host = bl_os_region_host(s->region, s->pages);

    if (madvise(host, bl_os_bytes(s->pages), MADV_POPULATE_WRITE) < 0 && errno != EINVAL)
        return false;
    memset(host, FILL, bl_os_bytes(s->pages));
    return true;
}

/* Discard every second unit, so that the call sees scattered ranges, as from a guest. */
static bool discard(const struct sample *s, uint64_t from)
{
    balloon_run runs[MAX_UNITS], failed[MAX_UNITS];
    size_t count = 0, failures;

    for (uint64_t i = from; i < s->units; i += 2)
        runs[count++] = (balloon_run){s->id, 0, unit_at(s, i)};
    return balloon_os_discard(s->os, runs, count, failed, &failures) == BALLOON_OK;
}

/* Whether all bytes of every second unit have a value. */
static bool holds(const struct sample *s, uint64_t from, unsigned char value)
{
    for (uint64_t i = from; i < s->units; i += 2) {
        const unsigned char *host = bl_os_region_host(s->region, unit_at(s, i));

        if (host[0] != value || memcmp(host, host + 1, bl_os_bytes(unit_at(s, i)) - 1))
            return false;
    }
    return true;
}

/* Transparent huge pages that keep units of the sample from being freed, or may come in their
 * place; in pages. *seen says that they are there, which for files does not matter: they are split.
 */
static uint64_t huge_pages(const struct sample *s, bool *seen)
{
    balloon_os_region_status status = {.size = sizeof(status)};
    struct os_pages pages;

    if (balloon_os_region_get(s->os, s->id, &status) != BALLOON_OK || s->unit >= status.huge)
        return 0;
    if (!s->region->shared)
        *seen |=
            bl_os_pagemap(bl_os_region_host(s->region, s->pages), bl_os_bytes(s->pages), &pages)
                ? pages.huge > 0
                : status.in_huge > 0;
    return status.huge;
}

/* What was measured. */
struct findings {
    bool failed;
    bool seen_huge;
    bool blind; /* Nothing tells what is in memory here. */
};

static void put_in_words(balloon_os_selftest_result *r, const struct findings *f)
{
    const char *outcome;
    char advice[80] = "";

    if (r->frees)
        outcome = "it works";
    else if (f->failed)
        outcome = "the host refuses the call";
    else if (!r->intact)
        outcome = "it destroys pages next to those discarded";
    else if (f->seen_huge)
        outcome = "they are parts of transparent huge pages";
    else if (!r->zeros)
        outcome = "it does not free them, and old contents can be read back";
    else if (f->blind)
        outcome = "too few pages took memory to tell";
    else
        outcome = "it does not free them";
    if (r->huge && f->seen_huge)
        snprintf(advice, sizeof(advice), ": use granules of %u, or MADV_NOHUGEPAGE",
                 (unsigned)r->huge);
    else if (r->huge && r->frees)
        snprintf(advice, sizeof(advice),
                 ", but huge pages may come: use granules of %u, or MADV_NOHUGEPAGE",
                 (unsigned)r->huge);
    snprintf(r->words, sizeof(r->words), "%s%s: %" PRIu64 " of %" PRIu64 " pages freed; %s%s",
             balloon_os_method_text(r->method), r->batched ? " in batches" : "", r->freed, r->pages,
             outcome, advice);
}

static balloon_status run_test(const struct sample *s, balloon_os_selftest_result *r)
{
    struct findings f = {false, false, false};
    uint64_t before, full, after;

    /* What is there already goes first, and is not counted. */
    (void)huge_pages(s, &f.seen_huge);
    f.failed = !discard(s, 0);
    f.failed |= !discard(s, 1);
    if (!measure(s, &before) || !populate(s) || !measure(s, &full))
        return BALLOON_ERR_SYSTEM;
    r->populated = full > before ? full - before : 0;
    r->huge = (uint32_t)huge_pages(s, &f.seen_huge);

    f.failed |= !discard(s, 0);
    r->intact = holds(s, 1, FILL);
    f.failed |= !discard(s, 1);
    if (!measure(s, &after))
        return BALLOON_ERR_SYSTEM;
    r->freed = full > after && !f.seen_huge ? full - after : 0;
    f.blind = r->populated < r->pages && s->region->shared && s->region->fd < 0;

    /* Reading fills pages of a file again: look at the contents last, and clean up. */
    r->zeros = holds(s, 0, 0) && holds(s, 1, 0);
    f.failed |= !discard(s, 0);
    f.failed |= !discard(s, 1);

    /* A file system may keep a few blocks of its own for a file full of holes. */
    r->frees = !f.failed && r->intact && r->zeros && r->populated >= r->pages &&
               r->freed >= r->pages - r->pages / 8;
    put_in_words(r, &f);
    return BALLOON_OK;
}

/* Choose the units: granules as the device discards them, if there are any in the range. */
static bool choose_sample(struct sample *s, balloon_range range)
{
    uint64_t most;

    s->unit = s->region->granule;
    s->pages = balloon_range_inward(range, s->unit);
    if (!s->pages.count || s->unit > MAX_PAGES) {
        s->unit = s->region->unit;
        s->pages = balloon_range_inward(range, s->unit);
    }
    s->units = s->pages.count / s->unit;
    most = MAX_PAGES / s->unit;
    if (most > MAX_UNITS)
        most = MAX_UNITS;
    if (most < 1)
        most = 1;
    if (s->units > most)
        s->units = most;
    s->pages.count = s->units * s->unit;
    return s->units > 0;
}

balloon_status balloon_os_selftest(balloon_os *os, uint32_t id, balloon_range range,
                                   balloon_os_selftest_result *result)
{
    struct sample s = {.os = os, .id = id};
    balloon_os_selftest_result r;
    balloon_status status;

    if (!os || !result || result->size < sizeof(*result))
        return BALLOON_ERR_INVALID;
    s.region = bl_os_region_find(os, id);
    if (!s.region)
        return BALLOON_ERR_INVALID;
    if (balloon_range_intersect(range, s.region->pages).count != range.count ||
        !choose_sample(&s, range))
        return BALLOON_ERR_RANGE;

    memset(&r, 0, sizeof(r));
    r.size = result->size;
    r.method = s.region->method;
    r.batched = os->batches[s.region->way] && s.units > 2;
    r.pages = s.pages.count;
    status = run_test(&s, &r);
    if (status == BALLOON_OK)
        *result = r;
    return status;
}

#endif
