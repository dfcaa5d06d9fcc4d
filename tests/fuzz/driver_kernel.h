/* The kernel of fuzz_driver.c: it lends pages and gets them back, at once or later, keeps the list
 * that some drivers want kept, and plugs memory. */
#ifndef FUZZ_DRIVER_KERNEL_H
#define FUZZ_DRIVER_KERNEL_H

#include <balloon/balloon.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fuzz targets are linked to the library alone. */
#include "guest_kernel.c"
#include "prng.c"

enum { PAGES = 256, PLUG = 64, MOST = PAGES + PLUG, FLOOR = 32, RUNS = 512, TRANSPORTS = 4 };

struct guest {
    struct prng host; /* the input: draws are 0 once it is used up */
    struct prng prng; /* the kernel's, who has no end of choices */
    struct guest_kernel kernel;
    balloon_driver *driver;
    bool tracker;      /* the driver knows its pages, or else it is ... */
    bool listed[MOST]; /* ... this list that has them; the kernel keeps it anyway */
    uint64_t hints[MOST], hint_count;
    balloon_time_t now;
    unsigned transport, steps;
    bool plugged;
    uint32_t plug_id;
    /* By channel: an ALLOC or TAKE that is answered later; a SEND that waits to be written. */
    bool asked[BALLOON_CHANNELS], busy[BALLOON_CHANNELS];
    balloon_driver_action ask[BALLOON_CHANNELS];
    uint32_t room[BALLOON_CHANNELS];
    uint32_t queues;            /* virtio: those that may be answered */
    size_t bitmap_bytes;        /* virtio: room for bits in the last message that inflates */
    uint64_t migrated;          /* a page on its way in may replace one that is still held */
    uint64_t balloon;           /* with what is on its way in, after the last step */
    balloon_xen_header request; /* Xen: the last one */
};

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    abort();
}

static void list(struct guest *g, balloon_range run, bool in)
{
    memset(g->listed + run.first, in, (size_t)run.count);
}

/* Pages of the list, from anywhere on, in the guest's own size. */
static size_t pick(struct guest *g, uint64_t pages, balloon_range *runs, size_t max)
{
    uint32_t unit = g->kernel.page_pages;
    uint64_t at = prng_below(&g->prng, MOST / unit);
    size_t count = 0;

    for (uint64_t i = 0; i < MOST / unit && count < max && pages >= unit; i++) {
        balloon_range run = {(at + i) % (MOST / unit) * unit, unit};

        if (!g->listed[run.first])
            continue;
        runs[count++] = run;
        pages -= unit;
    }
    return count;
}

/* Late answers may have nobody who waits for them; the pages are the kernel's then. */
static void give(struct guest *g, balloon_driver_channel channel)
{
    static balloon_range runs[RUNS];
    const balloon_driver_action *a = &g->ask[channel];
    uint64_t pages = a->pages < MOST ? a->pages : MOST;
    size_t max = a->max_runs < RUNS ? a->max_runs : RUNS, count;
    balloon_status status;

    g->asked[channel] = false;
    if (prng_one_in(&g->prng, 4))
        pages /= 2;
    if (a->type == BALLOON_DRIVER_TAKE)
        count = pick(g, pages, runs, max);
    else
        count =
            kernel_lend(&g->kernel, pages, a->block, channel != BALLOON_CHANNEL_INFLATE, runs, max);
    status = balloon_driver_give(g->driver, channel, runs, count, g->now);
    if (status != BALLOON_OK && status != BALLOON_ERR_STATE)
        fail("the driver refuses pages that it asked for");
    for (size_t i = 0; a->type == BALLOON_DRIVER_ALLOC && i < count; i++)
        if (status != BALLOON_OK)
            kernel_return(&g->kernel, runs[i]);
        else if (channel == BALLOON_CHANNEL_INFLATE)
            list(g, runs[i], true);
        else
            for (uint64_t p = 0; channel == BALLOON_CHANNEL_HINT && p < runs[i].count; p++)
                g->hints[g->hint_count++] = runs[i].first + p;
}

static void take_back(struct guest *g, const balloon_driver_action *a)
{
    bool all = !a->run_count && a->channel == BALLOON_CHANNEL_INFLATE;

    for (uint32_t i = 0; i < a->run_count; i++) {
        kernel_return(&g->kernel, a->runs[i]);
        if (!g->kernel.why[0])
            list(g, a->runs[i], false);
    }
    for (uint64_t p = 0; all && p < MOST; p++)
        if (g->listed[p])
            kernel_return(&g->kernel, (balloon_range){p, 1});
    if (all)
        memset(g->listed, 0, sizeof(g->listed));
    if (a->channel == BALLOON_CHANNEL_HINT && a->pages > g->hint_count)
        fail("more hinted pages come back than were lent");
    for (uint64_t i = 0; a->channel == BALLOON_CHANNEL_HINT && i < a->pages; i++)
        kernel_return(&g->kernel, (balloon_range){g->hints[--g->hint_count], 1});
}

static void migrate(struct guest *g)
{
    uint32_t unit = g->kernel.page_pages;
    balloon_range from, to;

    if (!pick(g, unit, &from, 1) || !kernel_lend(&g->kernel, unit, unit, true, &to, 1))
        return;
    if (balloon_driver_migrate(g->driver, from.first, to.first, g->now) == BALLOON_OK) {
        list(g, to, true);
        g->migrated += unit;
    } else {
        kernel_return(&g->kernel, to);
    }
}

static bool plug(struct guest *g)
{
    balloon_region region = {PAGES, PLUG, 1};

    if (g->plugged)
        return false;
    if (balloon_driver_add_region(g->driver, &region, &g->plug_id) != BALLOON_OK)
        fail("no room for the memory that was planned");
    kernel_plug(&g->kernel, (balloon_range){PAGES, PLUG});
    g->plugged = true;
    return true;
}

/* What was asked for more memory than there is now is answered first. */
static void unplug(struct guest *g)
{
    balloon_range range = {PAGES, PLUG};

    if (!g->plugged || g->asked[BALLOON_CHANNEL_INFLATE])
        return;
    for (uint64_t i = 0; i < PLUG; i++)
        if (g->kernel.owner[PAGES + i] == KERNEL_LENT)
            return;
    if (balloon_driver_remove_region(g->driver, g->plug_id, PLUG) != BALLOON_OK) {
        if (g->tracker)
            fail("memory that is not in the balloon cannot go");
        return;
    }
    (void)kernel_unplug(&g->kernel, range);
    g->plugged = false;
}

static void must_be_lent(const struct guest *g, uint64_t pfn)
{
    if (pfn >= MOST || g->kernel.owner[pfn] != KERNEL_LENT)
        fail("a message names a page that was not lent");
}

#endif
