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

void loop_must(struct loop *l, balloon_status status, const char *what)
{
    if (status != BALLOON_OK)
        loop_fail(l, "%s: %s", what, balloon_status_text(status));
}

balloon_pfn_t loop_foreign(struct loop *l)
{
    balloon_pfn_t pfn = prng_below(&l->prng, LOOP_PAGES + LOOP_PLUG + 64);

    while (pfn < LOOP_PAGES + LOOP_PLUG && l->kernel.owner[pfn] == KERNEL_LENT)
        pfn++;
    l->foreign++;
    return pfn;
}

/* --- the host's side -------------------------------------------------------------------------- */

static void discard(struct loop *l, const balloon_action *a)
{
    bool failed = false;

    for (uint32_t i = 0; i < a->run_count; i++) {
        l->discards++;
        if (prng_one_in(&l->prng, 20)) {
            balloon_device_discard_failed(l->device, &a->runs[i], l->now);
            failed = true;
        } else {
            kernel_discard(&l->kernel, a->runs[i].range);
        }
    }
    /* Whoever tries to prove it where it is not true is not believed either. */
    if (!failed || l->step % 2)
        balloon_device_discard_zeroed(l->device);
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
            loop_driver_act(l, &guest);
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

/* The balloon does not grow into what the guest keeps. Where a page is replaced, both are taken for
 * a while, which is longer when the host does not let the old one out. */
static void check_floor(struct loop *l, const balloon_driver_status *guest)
{
    uint64_t balloon = guest->held + guest->on_way_in;
    uint64_t most = guest->total > l->floor ? guest->total - l->floor : 0;

    if (balloon <= most)
        l->migrated = guest->on_way_in ? l->migrated : 0;
    if (balloon > most + l->migrated && balloon > l->balloon)
        loop_fail(l, "a balloon of %" PRIu64 " pages leaves less than %" PRIu64, balloon, l->floor);
    l->balloon = balloon;
}

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
    if (guest.total != l->kernel.present ||
        host.guest_pages + (l->plug_told ? 0 : l->plugged) != l->kernel.present)
        loop_fail(l, "the ends do not agree on the guest's size");
    check_floor(l, &guest);
    if (l->step % 256 == 0)
        kernel_verify(&l->kernel);
}

/* --- events ----------------------------------------------------------------------------------- */

static void open_again(struct loop *l)
{
    l->transport->open(l);
    l->open = true;
}

static uint64_t guest_pages(const struct loop *l)
{
    balloon_device_status host;

    balloon_device_status_get(l->device, &host);
    return host.guest_pages;
}

/* Any, and often the least or the most. */
static void set_target(struct loop *l)
{
    uint64_t most = guest_pages(l), pages = prng_below(&l->prng, most + 1);

    if (prng_one_in(&l->prng, 4))
        pages = prng_one_in(&l->prng, 2) ? 0 : most;
    LOOP_MUST(l, balloon_device_set_target(l->device, pages, l->now));
}

void loop_lost(struct loop *l)
{
    balloon_device_reset(l->device);
    l->transport->close(l);
    balloon_driver_reset(l->driver);
    loop_plug_told(l);
    l->open = l->suspending = false;
}

static void *memory_for(balloon_layout layout)
{
    return aligned_alloc(layout.align, (layout.bytes + layout.align - 1) & ~(layout.align - 1));
}

static void make_device(struct loop *l)
{
    balloon_layout layout;

    LOOP_MUST(l, balloon_device_layout(&l->device_config, &layout));
    LOOP_MUST(l,
              balloon_device_init(memory_for(layout), layout.bytes, &l->device_config, &l->device));
    l->transport->configure(l);
}

/* The device moves to another process, where nothing is known but its options. */
static void move(struct loop *l)
{
    balloon_device *old = l->device;
    balloon_region region = {LOOP_PAGES, l->plugged, l->ram[0].granule};
    size_t bytes = balloon_device_save_bytes(old), used;
    void *saved = malloc(bytes);

    LOOP_MUST(l, balloon_device_save(old, l->now, saved, bytes, &used));
    make_device(l);
    if (l->plugged && l->plug_told)
        LOOP_MUST(l, balloon_device_add_region(l->device, &region, &l->plug_device));
    for (unsigned i = 0; i < l->inhibited; i++)
        balloon_device_inhibit(l->device);
    LOOP_MUST(l, balloon_device_load(l->device, l->now, saved, used));
    free(saved);
    free(old);
    l->moves++;
}

/* Memory comes and goes. */
static void plug(struct loop *l)
{
    if (l->plugged) {
        if (l->plug_told && loop_unplug(l))
            LOOP_MUST(l, balloon_device_set_target(l->device, 0, l->now));
    } else if (l->transport->hot_add) {
        l->transport->hot_add(l);
    } else {
        loop_plug(l, LOOP_PLUG);
        loop_plug_told(l);
    }
}

static void host_event(struct loop *l)
{
    switch (prng_below(&l->prng, 16)) {
    case 0:
        move(l);
        break;
    case 1:
        balloon_device_inhibit(l->device);
        l->inhibited++;
        break;
    case 2:
    case 3:
        l->inhibited -= balloon_device_release(l->device) == BALLOON_OK;
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
        loop_migrate(l);
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
    case 4:
        loop_answer_late(l);
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

static void start(struct loop *l)
{
    static const uint32_t pages[] = {1, 4, 16};
    uint64_t granule = (uint64_t)1 << 2 * prng_below(&l->prng, 4);
    uint32_t features =
        ((uint32_t)prng_next(&l->prng) & l->transport->features) | l->transport->needs;

    if (!(features & BALLOON_F_REPORTING))
        features &= ~BALLOON_F_DEVICE_INIT_REPORTED;

    balloon_driver_config driver = {
        .size = sizeof(driver),
        .total_pages = LOOP_PAGES,
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

    l->tracker = l->transport->needs_tracker || !prng_one_in(&l->prng, 3);
    if (l->tracker) {
        driver.regions = l->ram;
        driver.region_count = 1;
    }
    l->floor = driver.floor_pages == UINT64_MAX ? 0 : driver.floor_pages;
    l->most = UINT64_MAX;
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
    make_device(l);
    LOOP_MUST(l, balloon_driver_layout(&driver, &layout));
    LOOP_MUST(l, balloon_driver_init(memory_for(layout), layout.bytes, &driver, &l->driver));
    if (l->transport->starts_out && prng_one_in(&l->prng, 2))
        loop_start_out(l, (1 + prng_below(&l->prng, LOOP_PAGES / 32)) * 16);
}

/* The programs end, and all but the balloon is free. */
static void end_programs(struct guest_kernel *k)
{
    kernel_verify(k);
    for (uint64_t i = 0; i < k->pages; i++)
        if (k->owner[i] == KERNEL_USED)
            k->owner[i] = KERNEL_FREE;
    k->used = 0;
}

/* Do both ends have the balloon that the host wants and the guest can do without? */
static bool reached(struct loop *l, char *how, size_t bytes)
{
    balloon_driver_status guest;
    balloon_device_status host;
    uint64_t want = l->most;

    balloon_driver_status_get(l->driver, &guest);
    balloon_device_status_get(l->device, &host);
    if (want > host.target)
        want = host.target;
    if (want > guest.total - l->floor)
        want = guest.total - l->floor;
    want &= ~(uint64_t)(l->kernel.page_pages - 1);
    snprintf(how, bytes,
             "of %" PRIu64 " pages, for a target of %" PRIu64 ", the host has %" PRIu64
             " and the guest %" PRIu64 " and %" PRIu64 " on their way",
             want, host.target, host.held, guest.held, guest.on_way_in);
    return l->open && host.held == guest.held && !guest.on_way_in && guest.held >= want &&
           guest.held < want + (l->transport->slack ? l->transport->slack : 1);
}

/* When nobody says anything, the next thing to happen is due at a time. */
static void wait_for_deadline(struct loop *l)
{
    balloon_time_t at = balloon_device_deadline(l->device);

    if (at > balloon_driver_deadline(l->driver))
        at = balloon_driver_deadline(l->driver);
    if (at != BALLOON_TIME_NEVER && at > l->now)
        l->now = at;
}

/* Left alone, with memory to spare, the ends reach what the host wants, and stay there. */
static void calm_down(struct loop *l)
{
    char how[LOOP_WHY / 2] = "";
    unsigned idle = 0, good = 0;

    l->calm = true;
    end_programs(&l->kernel);
    (void)!balloon_device_finish_hinting(l->device);
    for (; l->inhibited; l->inhibited--)
        LOOP_MUST(l, balloon_device_release(l->device));
    for (unsigned i = 0; i < 20000 && good < 200 && !l->why[0]; i++) {
        if (!l->open)
            open_again(l);
        /* The last word comes while earlier ones are on their way, and may ask for all there is. */
        if (i < 50 && prng_one_in(&l->prng, 10))
            set_target(l);
        loop_answer_late(l);
        idle = l->transport->carry(l) ? 0 : idle + 1;
        l->now += 50 * MS;
        if (idle > 20)
            wait_for_deadline(l);
        settle(l);
        check(l);
        good = reached(l, how, sizeof(how)) ? good + 1 : 0;
    }
    if (!good)
        loop_fail(l, "in the end, %s", how);
    kernel_verify(&l->kernel);
    check(l);
}

void loop_run(const struct loop_transport *transport, uint64_t stream, uint64_t steps)
{
    static struct loop l;
    uint64_t carried = 0, discards = 0, inflated = 0, deflated = 0, foreign = 0, zeroed = 0,
             spared = 0;
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
        foreign += l.foreign;
        zeroed += l.told_zero;
        spared += l.spared;
        l.transport->close(&l);
        kernel_end(&l.kernel);
        free(l.driver);
        free(l.device);
    }
    printf("%s: %" PRIu64 " steps, BALLOON_SEED=%" PRIu64 ": %" PRIu64 " pages in, %" PRIu64
           " out, %" PRIu64 " things carried, %" PRIu64 " runs discarded, %" PRIu64
           " foreign pages named, %" PRIu64 " pages told to be zero, %" PRIu64 " freed as such\n",
           transport->name, steps, prng_seed(), inflated, deflated, carried, discards, foreign,
           zeroed, spared);
    fflush(stdout);
    /* The steps were not all idle. */
    cr_assert(carried > steps / 100 && discards > steps / 1000 && inflated > steps / 10 &&
                  deflated > steps / 10,
              "%s, BALLOON_SEED=%" PRIu64 ": too little has happened", transport->name,
              prng_seed());
    cr_assert(!(transport->features & BALLOON_F_EXPERIMENTAL) || spared > steps / 10,
              "%s, BALLOON_SEED=%" PRIu64 ": nothing was told to be zero", transport->name,
              prng_seed());
}
