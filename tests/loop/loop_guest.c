/* The kernel's side of the loop: it lends pages and gets them back, at once or some steps later,
 * and has its own list of the balloon, which is all there is for drivers without regions. */
#include "loop.h"

#include <inttypes.h>
#include <string.h>

enum { ALL = LOOP_PAGES + LOOP_PLUG };

static void list(struct loop *l, balloon_range run, bool in)
{
    memset(l->listed + run.first, in, (size_t)run.count);
}

/* The host says that pages are empty, and they have to be: now, and as long as nobody writes to
 * them.
 */
static void zeroed(struct loop *l, const balloon_driver_action *a)
{
    for (uint32_t i = 0; i < a->run_count; i++)
        for (uint64_t p = a->runs[i].first; p < a->runs[i].first + a->runs[i].count; p++) {
            if (p >= ALL || l->kernel.owner[p] != KERNEL_LENT || l->kernel.memory[p])
                loop_fail(l, "page %" PRIu64 " is said to be zero", p);
            else
                l->zeroed[p] = true;
        }
    for (uint32_t i = 0; i < a->run_count; i++)
        l->told_zero += a->runs[i].count;
}

/* What comes back and was told to be zero needs no zeroing; what is lent is not known any more. */
static void look_at(struct loop *l, balloon_range run, bool back)
{
    for (uint64_t p = run.first; p < run.first + run.count; p++) {
        if (back && l->zeroed[p] && l->kernel.memory[p])
            loop_fail(l, "page %" PRIu64 " was said to be zero, and comes back with something", p);
        l->spared += back && l->zeroed[p];
        l->zeroed[p] = false;
    }
}

/* Pages of the list, from anywhere on, in the guest's own size. */
static size_t pick(struct loop *l, uint64_t pages, balloon_range *runs, size_t max)
{
    uint64_t unit = l->kernel.page_pages, at = prng_below(&l->prng, ALL / unit);
    size_t count = 0;

    for (uint64_t i = 0; i < ALL / unit && count < max && pages >= unit; i++) {
        balloon_range run = {(at + i) % (ALL / unit) * unit, unit};

        if (!l->listed[run.first])
            continue;
        runs[count++] = run;
        pages -= unit;
    }
    return count;
}

static size_t find(struct loop *l, const balloon_driver_action *a)
{
    uint64_t pages = a->pages < LOOP_PAGES ? a->pages : LOOP_PAGES;
    size_t max = a->max_runs < 4096 ? a->max_runs : 4096;

    /* Calm means that all that is free was reported. */
    if (l->calm ? a->channel == BALLOON_CHANNEL_REPORT : prng_one_in(&l->prng, 8))
        return 0;
    if (!l->calm && prng_one_in(&l->prng, 8))
        pages /= 2;
    if (a->type == BALLOON_DRIVER_TAKE)
        return pick(l, pages, l->lent, max);
    return kernel_lend(&l->kernel, pages, a->block, a->channel != BALLOON_CHANNEL_INFLATE, l->lent,
                       max);
}

/* When the driver was reset meanwhile nobody waits for the answer, and the pages are the kernel's.
 */
static void answer(struct loop *l, balloon_driver_channel channel, bool late)
{
    const balloon_driver_action *a = &l->ask[channel];
    size_t count = find(l, a);
    balloon_status status = balloon_driver_give(l->driver, channel, l->lent, count, l->now);

    l->asked[channel] = false;
    for (size_t i = 0; a->type == BALLOON_DRIVER_ALLOC && i < count; i++)
        look_at(l, l->lent[i], false);
    if (!late || status != BALLOON_ERR_STATE)
        LOOP_MUST(l, status);
    for (size_t i = 0; a->type == BALLOON_DRIVER_ALLOC && i < count; i++)
        if (status != BALLOON_OK)
            kernel_return(&l->kernel, l->lent[i]);
        else if (channel == BALLOON_CHANNEL_INFLATE)
            list(l, l->lent[i], true);
        else
            for (uint64_t p = 0; channel == BALLOON_CHANNEL_HINT && p < l->lent[i].count; p++)
                l->hints[l->hint_count++] = l->lent[i].first + p;
}

void loop_answer_late(struct loop *l)
{
    for (unsigned i = 0; i < BALLOON_CHANNELS; i++)
        if (l->asked[i])
            answer(l, (balloon_driver_channel)i, true);
}

static void asked(struct loop *l, const balloon_driver_action *a)
{
    if (a->type == BALLOON_DRIVER_TAKE && l->tracker)
        loop_fail(l, "asked for pages of a list that nobody keeps");
    l->ask[a->channel] = *a;
    if (l->calm || !prng_one_in(&l->prng, 4))
        answer(l, a->channel, false);
    else
        l->asked[a->channel] = true;
}

static void freed(struct loop *l, const balloon_driver_action *a)
{
    bool all = !a->run_count && a->channel == BALLOON_CHANNEL_INFLATE;

    for (uint32_t i = 0; i < a->run_count && !l->kernel.why[0]; i++) {
        kernel_return(&l->kernel, a->runs[i]);
        if (l->kernel.why[0])
            break;
        list(l, a->runs[i], false);
        look_at(l, a->runs[i], true);
    }
    for (uint64_t p = 0; all && p < ALL; p++)
        if (l->listed[p]) {
            kernel_return(&l->kernel, (balloon_range){p, 1});
            look_at(l, (balloon_range){p, 1}, true);
        }
    if (all)
        memset(l->listed, 0, sizeof(l->listed));
    if (a->channel != BALLOON_CHANNEL_HINT)
        return;
    if (a->pages > l->hint_count) {
        loop_fail(l, "more hinted pages come back than were lent");
        return;
    }
    for (uint64_t i = 0; i < a->pages; i++)
        kernel_return(&l->kernel, (balloon_range){l->hints[--l->hint_count], 1});
}

static void statistics(struct loop *l)
{
    balloon_sample sample = {0};

    balloon_sample_set(&sample, BALLOON_STAT_TOTAL, l->kernel.present * BALLOON_PAGE_SIZE);
    balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE,
                       (l->kernel.present - l->kernel.used - l->kernel.lent) * BALLOON_PAGE_SIZE);
    balloon_sample_set(&sample, BALLOON_STAT_COMMITTED, l->kernel.used * BALLOON_PAGE_SIZE);
    LOOP_MUST(l, balloon_driver_give_stats(l->driver, &sample, l->now));
}

/* All of the new memory, half of it, or none. */
static void plug_action(struct loop *l, const balloon_driver_action *a)
{
    uint64_t pages = a->runs[0].count / (1 + prng_below(&l->prng, 2));

    if (prng_one_in(&l->prng, 4) || l->plugged)
        pages = 0;
    if (a->runs[0].first != LOOP_PAGES || a->runs[0].count > LOOP_PLUG)
        loop_fail(l, "the wrong memory is to be plugged");
    else if (pages)
        loop_plug(l, pages);
    LOOP_MUST(l, balloon_hyperv_driver_plugged(l->driver, pages, prng_one_in(&l->prng, 2)));
}

void loop_driver_act(struct loop *l, const balloon_driver_action *a)
{
    switch (a->type) {
    case BALLOON_DRIVER_ALLOC:
    case BALLOON_DRIVER_TAKE:
        asked(l, a);
        break;
    case BALLOON_DRIVER_FREE:
        freed(l, a);
        break;
    case BALLOON_DRIVER_STATS:
        statistics(l);
        break;
    case BALLOON_DRIVER_PLUG:
        plug_action(l, a);
        break;
    case BALLOON_DRIVER_ZEROED:
        zeroed(l, a);
        break;
    case BALLOON_DRIVER_SUSPENDED:
        if (l->transport->may_deflate && l->kernel.lent)
            loop_fail(l, "the driver rests and has %" PRIu64 " pages", l->kernel.lent);
        loop_lost(l);
        break;
    default:
        l->transport->driver_action(l, a);
        break;
    }
}

void loop_migrate(struct loop *l)
{
    uint32_t unit = l->kernel.page_pages;
    balloon_range from, to;

    if (!pick(l, unit, &from, 1) || !kernel_lend(&l->kernel, unit, unit, true, &to, 1))
        return;
    if (balloon_driver_migrate(l->driver, from.first, to.first, l->now) == BALLOON_OK) {
        list(l, to, true);
        l->migrated += unit;
    } else {
        kernel_return(&l->kernel, to);
    }
}

void loop_plug(struct loop *l, uint64_t pages)
{
    balloon_region region = {LOOP_PAGES, pages, l->ram[0].granule};

    LOOP_MUST(l, balloon_driver_add_region(l->driver, &region, &l->plug_driver));
    kernel_plug(&l->kernel, (balloon_range){LOOP_PAGES, pages});
    l->plugged = pages;
    l->plug_told = false;
}

void loop_start_out(struct loop *l, uint64_t pages)
{
    balloon_range range = {LOOP_PAGES - pages, pages};

    kernel_lose(&l->kernel, range);
    list(l, range, true);
    LOOP_MUST(l, balloon_driver_declare_out(l->driver, range));
    LOOP_MUST(l, balloon_device_declare_held(l->device, range, l->now));
}

void loop_plug_told(struct loop *l)
{
    balloon_region region = {LOOP_PAGES, l->plugged, l->ram[0].granule};

    if (l->plugged && !l->plug_told)
        LOOP_MUST(l, balloon_device_add_region(l->device, &region, &l->plug_device));
    l->plug_told = l->plugged != 0;
}

/* What was asked for while the guest was larger is answered first, or the balloon could grow into
 * the floor. */
bool loop_unplug(struct loop *l)
{
    balloon_range range = {LOOP_PAGES, l->plugged};

    if (l->asked[BALLOON_CHANNEL_INFLATE])
        return false;
    for (uint64_t i = 0; i < range.count; i++)
        if (l->kernel.owner[range.first + i] == KERNEL_LENT)
            return false;
    /* A driver that has no regions counts pages only, and may have too many for what is left. */
    if (balloon_driver_remove_region(l->driver, l->plug_driver, l->plugged) != BALLOON_OK) {
        if (l->tracker)
            loop_fail(l, "memory that is not in the balloon cannot go");
        return false;
    }
    LOOP_MUST(l, balloon_device_remove_region(l->device, l->plug_device));
    (void)kernel_unplug(&l->kernel, range);
    l->plugged = 0;
    l->plug_told = false;
    return true;
}
