/* The loop: random events at both ends and between, and what must hold after each. */
#include "loop.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

void loop_fail(struct loop *l, const char *format, ...)
{
    char text[LOOP_WHY / 2];
    va_list args;

    if (l->why[0])
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(l->why, sizeof(l->why),
             "%s, BALLOON_SEED=%" PRIu64 ", round %" PRIu64 ", step %" PRIu64 ": %s",
             l->transport->name, l->seed, l->round, l->step, text);
}

uint64_t loop_steps(void)
{
    return prng_check_all() ? 1000000 : 10000;
}

static void must(struct loop *l, balloon_status status, const char *what)
{
    if (status != BALLOON_OK)
        loop_fail(l, "%s: %s", what, balloon_status_text(status));
}
#define MUST(l, call) must(l, call, #call)

/* --- the kernel's side ------------------------------------------------------------------------ */

static void lend(struct loop *l, const balloon_driver_action *a)
{
    bool inflate = a->channel == BALLOON_CHANNEL_INFLATE;
    uint64_t pages = a->pages < LOOP_PAGES ? a->pages : LOOP_PAGES;
    size_t count = 0;

    if (!prng_one_in(&l->prng, 8))
        count = kernel_lend(&l->kernel, prng_one_in(&l->prng, 8) ? pages / 2 : pages, a->block,
                            !inflate, l->asked, a->max_runs);
    if (a->channel == BALLOON_CHANNEL_HINT)
        for (size_t i = 0; i < count; i++)
            for (uint64_t p = 0; p < l->asked[i].count; p++)
                l->hints[l->hint_count++] = l->asked[i].first + p;
    MUST(l, balloon_driver_give(l->driver, a->channel, l->asked, count, l->now));
}

static void freed(struct loop *l, const balloon_driver_action *a)
{
    for (uint32_t i = 0; i < a->run_count; i++)
        kernel_return(&l->kernel, a->runs[i]);
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
    MUST(l, balloon_driver_give_stats(l->driver, &sample, l->now));
}

static void open_again(struct loop *l);

static void driver_act(struct loop *l, const balloon_driver_action *a)
{
    switch (a->type) {
    case BALLOON_DRIVER_ALLOC:
        lend(l, a);
        break;
    case BALLOON_DRIVER_FREE:
        freed(l, a);
        break;
    case BALLOON_DRIVER_STATS:
        statistics(l);
        break;
    case BALLOON_DRIVER_SUSPENDED:
        l->suspending = false;
        if (l->transport->may_deflate && l->kernel.lent)
            loop_fail(l, "the driver rests and has %" PRIu64 " pages", l->kernel.lent);
        balloon_device_reset(l->device);
        l->transport->close(l);
        balloon_driver_reset(l->driver);
        l->open = false;
        break;
    case BALLOON_DRIVER_TAKE:
        loop_fail(l, "asked for pages of a list that nobody keeps");
        break;
    default:
        l->transport->driver_action(l, a);
        break;
    }
}

/* --- the host's side -------------------------------------------------------------------------- */

static void discard(struct loop *l, const balloon_action *a)
{
    for (uint32_t i = 0; i < a->run_count; i++) {
        l->discards++;
        if (prng_one_in(&l->prng, 20))
            balloon_device_discard_failed(l->device, &a->runs[i], l->now);
        else
            kernel_discard(&l->kernel, a->runs[i].range);
    }
}

static void device_act(struct loop *l, const balloon_action *a)
{
    switch (a->type) {
    case BALLOON_ACTION_DISCARD:
        discard(l, a);
        break;
    case BALLOON_ACTION_ACK:
    case BALLOON_ACTION_CONFIG_IRQ:
    case BALLOON_ACTION_SEND:
        l->transport->device_action(l, a);
        break;
    default:
        break;
    }
}

/* Poll both ends until neither has anything to do. */
static void settle(struct loop *l)
{
    balloon_action host;
    balloon_driver_action guest;
    unsigned rounds = 0;
    bool more = true;

    while (more && !l->why[0]) {
        more = false;
        while (balloon_device_poll(l->device, l->now, &host) && ++rounds < 100000) {
            device_act(l, &host);
            more = true;
        }
        while (balloon_driver_poll(l->driver, l->now, &guest) && ++rounds < 100000) {
            driver_act(l, &guest);
            more = true;
        }
        if (rounds >= 100000)
            loop_fail(l, "polls without end");
    }
    if (l->why[0])
        return;
    if (balloon_driver_deadline(l->driver) <= l->now)
        loop_fail(l, "the driver has a deadline but nothing to do");
}

/* --- what must hold --------------------------------------------------------------------------- */

static void check(struct loop *l)
{
    balloon_driver_status guest;
    balloon_device_status host;
    const char *why = "";

    if (l->why[0])
        return;
    if (l->kernel.why[0])
        loop_fail(l, "%s", l->kernel.why);
    if (!balloon_driver_check(l->driver, &why) || !balloon_device_check(l->device, &why))
        loop_fail(l, "%s", why);
    balloon_driver_status_get(l->driver, &guest);
    balloon_device_status_get(l->device, &host);
    /* Every page is in one place. */
    if (guest.held + guest.on_way_in + guest.hinted + guest.reporting != l->kernel.lent)
        loop_fail(l,
                  "%" PRIu64 " pages are lent, the driver has %" PRIu64 "+%" PRIu64 "+%" PRIu64
                  "+%" PRIu64,
                  l->kernel.lent, guest.held, guest.on_way_in, guest.hinted, guest.reporting);
    if (host.held > guest.held + guest.on_way_in)
        loop_fail(l, "the host has %" PRIu64 " pages, of %" PRIu64, host.held,
                  guest.held + guest.on_way_in);
    if (guest.total != l->kernel.present || host.guest_pages != l->kernel.present)
        loop_fail(l, "the ends do not agree on the guest's size");
    if (l->step % 256 == 0)
        kernel_verify(&l->kernel);
}

/* --- events ----------------------------------------------------------------------------------- */

static void open_again(struct loop *l)
{
    l->transport->open(l);
    l->open = true;
}

static void set_target(struct loop *l)
{
    uint64_t most = l->kernel.present;
    uint64_t pages = prng_one_in(&l->prng, 4) ? 0 : prng_below(&l->prng, most + 1);

    MUST(l, balloon_device_set_target(l->device, pages, l->now));
}

void loop_lost(struct loop *l)
{
    balloon_device_reset(l->device);
    l->transport->close(l);
    balloon_driver_reset(l->driver);
    l->open = l->suspending = false;
}

/* The device moves to another process. */
static void move(struct loop *l)
{
    size_t bytes = balloon_device_save_bytes(l->device), used;
    void *saved = malloc(bytes);

    MUST(l, balloon_device_save(l->device, l->now, saved, bytes, &used));
    MUST(l, balloon_device_load(l->device, l->now, saved, used));
    free(saved);
    l->moves++;
    if (l->transport->moved)
        l->transport->moved(l);
}

static void plug(struct loop *l)
{
    balloon_region region = {LOOP_PAGES, LOOP_PLUG, l->ram[0].granule};
    balloon_range range = {LOOP_PAGES, LOOP_PLUG};

    if (!l->plugged) {
        MUST(l, balloon_device_add_region(l->device, &region, &l->plug_device));
        MUST(l, balloon_driver_add_region(l->driver, &region, &l->plug_driver));
        kernel_plug(&l->kernel, range);
        l->plugged = true;
        return;
    }
    for (uint64_t i = 0; i < range.count; i++)
        if (l->kernel.owner[range.first + i] == KERNEL_LENT)
            return;
    MUST(l, balloon_driver_remove_region(l->driver, l->plug_driver, 0));
    MUST(l, balloon_device_remove_region(l->device, l->plug_device));
    (void)kernel_unplug(&l->kernel, range);
    if (l->device)
        MUST(l, balloon_device_set_target(l->device, 0, l->now));
    l->plugged = false;
}

static void migrate(struct loop *l)
{
    balloon_range to;
    balloon_pfn_t from = prng_below(&l->prng, LOOP_PAGES) & ~(uint64_t)(l->kernel.page_pages - 1);
    balloon_run run;

    if (!balloon_tracker_next(balloon_driver_tracker(l->driver), BALLOON_SET_HELD,
                              (balloon_range){from, LOOP_PAGES}, &run) ||
        !kernel_lend(&l->kernel, l->kernel.page_pages, l->kernel.page_pages, true, &to, 1))
        return;
    if (balloon_driver_migrate(l->driver, run.range.first, to.first, l->now) != BALLOON_OK)
        kernel_return(&l->kernel, to);
}

static void host_event(struct loop *l)
{
    switch (prng_below(&l->prng, 16)) {
    case 0:
        move(l);
        break;
    case 1:
        balloon_device_inhibit(l->device);
        break;
    case 2:
    case 3:
        (void)!balloon_device_release(l->device);
        break;
    case 4:
        balloon_device_flush(l->device);
        break;
    case 5:
    case 6:
        (void)!balloon_device_request_stats(l->device, l->now);
        break;
    case 7:
        (void)!balloon_device_start_hinting(l->device);
        break;
    case 8:
        (void)!balloon_device_stop_hinting(l->device);
        break;
    case 9:
        (void)!balloon_device_finish_hinting(l->device);
        break;
    default:
        set_target(l);
        break;
    }
}

static void guest_event(struct loop *l)
{
    uint64_t coming;

    switch (prng_below(&l->prng, 40)) {
    case 0:
        loop_lost(l);
        break;
    case 1:
        l->suspending = balloon_driver_suspend(l->driver, l->now) == BALLOON_OK;
        break;
    case 2:
    case 3:
        plug(l);
        break;
    case 4:
    case 5:
    case 6:
        (void)!balloon_driver_oom(l->driver, prng_below(&l->prng, 600), &coming, l->now);
        break;
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
        migrate(l);
        break;
    default:
        kernel_work(&l->kernel, 16);
        break;
    }
}

static void pass_time(struct loop *l)
{
    uint64_t span = prng_one_in(&l->prng, 10) ? 5000 : 100;

    l->now += prng_below(&l->prng, span) * MS;
}

static void one_step(struct loop *l)
{
    if (!l->open && prng_one_in(&l->prng, 4))
        open_again(l);
    switch (prng_below(&l->prng, 10)) {
    case 0:
        host_event(l);
        break;
    case 1:
        guest_event(l);
        break;
    case 2:
    case 3:
        pass_time(l);
        break;
    default:
        if (l->open && l->transport->carry(l))
            l->carried++;
        else
            pass_time(l);
        break;
    }
    settle(l);
    check(l);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void *memory_for(balloon_layout layout)
{
    return aligned_alloc(layout.align, (layout.bytes + layout.align - 1) & ~(layout.align - 1));
}

static void start(struct loop *l)
{
    static const uint32_t pages[] = {1, 4, 16};
    uint64_t granule = (uint64_t)1 << 2 * prng_below(&l->prng, 4);
    uint32_t features =
        ((uint32_t)prng_next(&l->prng) & l->transport->features) | l->transport->needs;
    balloon_driver_config driver = {
        .size = sizeof(driver),
        .regions = l->ram,
        .region_count = 1,
        .max_pages = LOOP_PAGES + LOOP_PLUG,
        .page_pages = l->transport->small_pages ? 1 : pages[prng_below(&l->prng, 3)],
        .floor_pages = prng_one_in(&l->prng, 2) ? 1024 : UINT64_MAX,
        .chunk_pages = (uint32_t)64 << prng_below(&l->prng, 5),
        .report_block = 16,
        .deflate_on_oom = !prng_one_in(&l->prng, 3),
        .stats = !prng_one_in(&l->prng, 3),
        .reporting = !prng_one_in(&l->prng, 3),
        .hinting = !prng_one_in(&l->prng, 3),
        .poisoned = prng_one_in(&l->prng, 3),
        .poison = prng_one_in(&l->prng, 2) ? 0xaaaaaaaa : 0,
    };
    balloon_layout layout;

    l->ram[0] = (balloon_region){0, LOOP_PAGES, granule};
    l->device_config = (balloon_device_config){
        .size = sizeof(l->device_config),
        .regions = l->ram,
        .region_count = 1,
        .max_pages = LOOP_PAGES + LOOP_PLUG,
        .features = features ? features : BALLOON_F_NONE,
        .gather_pages = prng_one_in(&l->prng, 2) ? 64 : 0,
    };
    l->capabilities = prng_next(&l->prng);
    kernel_start(&l->kernel, &l->prng, LOOP_PAGES + LOOP_PLUG, driver.page_pages);
    kernel_plug(&l->kernel, (balloon_range){0, LOOP_PAGES});
    MUST(l, balloon_device_layout(&l->device_config, &layout));
    MUST(l, balloon_device_init(memory_for(layout), layout.bytes, &l->device_config, &l->device));
    MUST(l, balloon_driver_layout(&driver, &layout));
    MUST(l, balloon_driver_init(memory_for(layout), layout.bytes, &driver, &l->driver));
}

/* Left alone, the ends agree in the end. */
static void calm_down(struct loop *l)
{
    balloon_driver_status guest;
    balloon_device_status host;

    l->calm = true;
    if (!l->open)
        open_again(l);
    while (balloon_device_release(l->device) == BALLOON_OK)
        ;
    for (unsigned i = 0, quiet = 0; i < 2000 && quiet < 400 && !l->why[0]; i++, quiet++) {
        if (l->transport->carry(l))
            quiet = 0;
        l->now += 50 * MS;
        if (!l->open)
            open_again(l);
        settle(l);
    }
    balloon_driver_status_get(l->driver, &guest);
    balloon_device_status_get(l->device, &host);
    if (host.held != guest.held)
        loop_fail(l, "in the end the host has %" PRIu64 " pages and the guest %" PRIu64, host.held,
                  guest.held);
    kernel_verify(&l->kernel);
    check(l);
}

void loop_run(const struct loop_transport *transport, uint64_t stream, uint64_t steps)
{
    static struct loop l;
    uint64_t carried = 0, discards = 0, inflated = 0, deflated = 0;
    const uint64_t most = 2500;

    for (uint64_t done = 0, round = 0; done < steps; round++) {
        memset(&l, 0, sizeof(l));
        l.transport = transport;
        l.seed = prng_seed();
        l.round = round;
        l.prng = prng_start(l.seed, stream << 32 | round);
        l.now = prng_below(&l.prng, 1000) * MS;
        start(&l);
        for (l.step = 0; l.step < most && !l.why[0]; l.step++, done++)
            one_step(&l);
        calm_down(&l);
        cr_assert(!l.why[0], "%s", l.why);

        balloon_driver_counters counters;

        balloon_driver_counters_get(l.driver, &counters);
        inflated += counters.inflated;
        deflated += counters.deflated;
        carried += l.carried;
        discards += l.discards;
        l.transport->close(&l);
        kernel_end(&l.kernel);
        free(l.driver);
        free(l.device);
    }
    /* The steps were not all idle. */
    cr_assert_gt(carried, steps / 100);
    cr_assert_gt(discards, steps / 1000);
    cr_assert_gt(inflated, steps);
    cr_assert_gt(deflated, steps);
}
