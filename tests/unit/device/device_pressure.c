/* Which pages that a guest takes back mean that it is short, and which do not. */
#include "vm.h"

TestSuite(device_pressure, .fini = vm_end);

#define S        VM_SECOND
#define BIT(why) (UINT32_C(1) << BALLOON_REASON_##why)

/* A balloon of 1536 pages, claimed. */
static balloon_device *filled(uint32_t features)
{
    balloon_device *device = vm_simple(features | BALLOON_F_REPORTING);

    cr_assert_eq(balloon_device_set_target(device, 1536, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 1536, 0), BALLOON_OK);
    rig_write_config(device, 4, 1536);
    CHECK_POLL(device, 0, "irq | discard 0+1536 | ack inflate/1");
    cr_assert(vm_status(device).settled);
    return device;
}

static uint32_t reasons(const balloon_device *device, balloon_time_t now)
{
    uint32_t all;

    (void)balloon_device_explain(device, now, &all);
    return all;
}

/* --- a guest that goes ------------------------------------------------------------------------ */

/* Linux leaves (remove_common()) by buffers of 256 pages, and claims 0 at the end. */
Test(device_pressure, a_guest_that_takes_all_pages_back_leaves)
{
    balloon_device *device = filled(0);
    balloon_time_t now = S;

    for (uint32_t left = 1536; left; left -= 256, now += S / 2) {
        cr_assert_eq(vm_deflate(device, 2, 1536 - left, 256, now), BALLOON_OK);
        CHECK_POLL(device, now, "ack deflate/2");
    }
    rig_write_config(device, 4, 0);
    CHECK_POLL(device, now, "");
    CHECK_POLL(device, now + 9 * S, "");
    cr_assert_not(vm_status(device).pressure);
    cr_assert_eq(balloon_device_explain(device, now, NULL), BALLOON_REASON_GUEST_LEAVES);
    cr_assert_eq(reasons(device, now), BIT(GUEST_LEAVES));
    balloon_device_reset(device);
    CHECK_POLL(device, now, "");
    cr_assert_eq(balloon_device_explain(device, now, NULL), BALLOON_REASON_NO_DRIVER);
    /* Awake again. */
    rig_start(device, BALLOON_F_REPORTING, now);
    CHECK_POLL(device, now, "irq");
    cr_assert_eq(vm_inflate(device, 3, 0, 1536, now), BALLOON_OK);
    (void)vm_poll(device, now);
    cr_assert_eq(balloon_device_explain(device, now, NULL), BALLOON_REASON_TARGET_MET);
}

/* The notifier of OOM takes 256 pages, and claims what is left at once. */
Test(device_pressure, a_guest_that_claims_what_is_left_is_short)
{
    balloon_device *device = filled(BALLOON_F_DEFLATE_ON_OOM);

    cr_assert_eq(vm_deflate(device, 2, 0, 256, S), BALLOON_OK);
    CHECK_POLL(device, S, "ack deflate/2");
    rig_write_config(device, 4, 1280);
    CHECK_POLL(device, S, "pressure");
    cr_assert(vm_status(device).pressure);
    cr_assert_eq(reasons(device, S), BIT(PRESSURE));
}

Test(device_pressure, a_guest_that_stops_half_way_is_short)
{
    balloon_device *device = filled(0);

    cr_assert_eq(vm_deflate(device, 2, 0, 1024, S), BALLOON_OK);
    CHECK_POLL(device, S, "ack deflate/2");
    cr_assert_eq(balloon_device_deadline(device), 2 * S);
    CHECK_POLL(device, 2 * S, "pressure");
    /* A buffer that is not full is no part of all. */
    device = filled(0);
    cr_assert_eq(vm_deflate(device, 2, 0, 256, S), BALLOON_OK);
    CHECK_POLL(device, S, "ack deflate/2");
    cr_assert_eq(vm_deflate(device, 3, 256, 255, S), BALLOON_OK);
    CHECK_POLL(device, S, "ack deflate/3 | pressure");
}

/* For a guest that takes for ever nobody waits. */
Test(device_pressure, a_guest_that_goes_slowly_is_short_after_ten_seconds)
{
    balloon_device *device = vm_simple(0);

    cr_assert_eq(balloon_device_set_target(device, 4096, 0), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 4096, 0), BALLOON_OK);
    (void)vm_poll(device, 0);
    for (uint32_t i = 0; i < 12; i++) {
        cr_assert_eq(vm_deflate(device, 2, 256 * i, 256, i * (S - 1)), BALLOON_OK);
        CHECK_POLL(device, i * (S - 1), i == 11 ? "ack deflate/2 | pressure" : "ack deflate/2");
    }
}

/* The notifier of OOM has taken all that there was, which looks like leaving, until the guest has
 * something to say. */
Test(device_pressure, a_small_balloon_may_go_as_a_whole)
{
    for (unsigned has = 0; has < 2; has++) {
        balloon_device *device = vm_simple(BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_STATS);

        cr_assert_eq(balloon_device_set_target(device, 256, 0), BALLOON_OK);
        cr_assert_eq(vm_inflate(device, 1, 0, 256, 0), BALLOON_OK);
        rig_write_config(device, 4, 256);
        cr_assert_eq(vm_stats(device, 9, BALLOON_STAT_AVAILABLE, 1 << 16, 0), BALLOON_OK);
        (void)vm_poll(device, 0);
        cr_assert_eq(vm_deflate(device, 2, 0, 256, S), BALLOON_OK);
        rig_write_config(device, 4, 0);
        CHECK_POLL(device, S, "ack deflate/2");
        cr_assert_eq(reasons(device, S) & BIT(GUEST_LEAVES), BIT(GUEST_LEAVES), "so far");
        cr_assert_eq(balloon_device_request_stats(device, 2 * S), BALLOON_OK);
        CHECK_POLL(device, 2 * S, "ack stats/9");
        cr_assert_eq(
            vm_stats(device, 10, BALLOON_STAT_AVAILABLE, has ? 1 << 20 : (1 << 20) - 1, 2 * S),
            BALLOON_OK);
        CHECK_POLL(device, 2 * S, has ? "stats" : "stats | pressure");
        cr_assert_eq(vm_status(device).pressure, !has);
        cr_assert_eq(reasons(device, 2 * S) & (BIT(PRESSURE) | BIT(GUEST_LEAVES)),
                     has ? BIT(GUEST_LEAVES) : BIT(PRESSURE));
    }
}

/* --- what the host gave ----------------------------------------------------------------------- */

/* Some buffers of the old way down are under way when the target goes up again. */
Test(device_pressure, what_the_host_asked_back_is_none)
{
    balloon_device *device = filled(0);

    cr_assert_eq(balloon_device_set_target(device, 512, S), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 2, 0, 256, S), BALLOON_OK);
    CHECK_POLL(device, S, "irq | ack deflate/2");
    cr_assert_eq(balloon_device_set_target(device, 1264, 2 * S), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 3, 256, 128, 2 * S), BALLOON_OK);
    CHECK_POLL(device, 2 * S, "irq | ack deflate/3");
    cr_assert_eq(balloon_device_deadline(device), 7 * S);
    cr_assert_eq(vm_inflate(device, 4, 0, 128, 3 * S), BALLOON_OK);
    CHECK_POLL(device, 3 * S, "discard 0+128 | ack inflate/4");
    CHECK_POLL(device, 7 * S, "");
    cr_assert_not(vm_status(device).pressure);
}

Test(device_pressure, what_does_not_come_again_is)
{
    balloon_device *device = filled(0);

    cr_assert_eq(balloon_device_set_target(device, 512, S), BALLOON_OK);
    CHECK_POLL(device, S, "irq");
    cr_assert_eq(balloon_device_set_target(device, 1520, 2 * S), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 3, 256, 128, 2 * S), BALLOON_OK);
    CHECK_POLL(device, 2 * S, "irq | ack deflate/3");
    CHECK_POLL(device, 7 * S - 1, "");
    CHECK_POLL(device, 7 * S, "pressure");
}

/* --- a shortage that is over ------------------------------------------------------------------ */

/* A guest of 16 MiB that took 4 MiB back on OOM. */
static balloon_device *short_guest(void)
{
    balloon_device *device = filled(BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_STATS);

    cr_assert_eq(vm_stats(device, 9, BALLOON_STAT_AVAILABLE, 1 << 24, S), BALLOON_OK);
    CHECK_POLL(device, S, "stats");
    cr_assert_eq(vm_deflate(device, 2, 0, 1024, 2 * S), BALLOON_OK);
    rig_write_config(device, 4, 512);
    CHECK_POLL(device, 2 * S, "ack deflate/2 | pressure");
    cr_assert_eq(balloon_device_request_stats(device, 3 * S), BALLOON_OK);
    CHECK_POLL(device, 3 * S, "ack stats/9");
    return device;
}

Test(device_pressure, is_over_when_newer_statistics_show_memory)
{
    balloon_device *device = short_guest();

    cr_assert_eq(reasons(device, 9 * S), BIT(PRESSURE), "the older ones say nothing");
    cr_assert_eq(vm_stats(device, 10, BALLOON_STAT_AVAILABLE, 1 << 23, 9 * S), BALLOON_OK);
    CHECK_POLL(device, 9 * S, "stats");
    cr_assert_eq(reasons(device, 9 * S), BIT(GUEST_SLOW), "its driver sleeps");
    /* And is woken. */
    CHECK_POLL(device, 12 * S - 1, "");
    CHECK_POLL(device, 12 * S, "irq");
}

Test(device_pressure, stays_while_newer_statistics_show_none)
{
    balloon_device *device = short_guest();

    cr_assert_eq(vm_stats(device, 10, BALLOON_STAT_AVAILABLE, 1 << 20, 3 * S), BALLOON_OK);
    CHECK_POLL(device, 3 * S, "stats");
    cr_assert_eq(reasons(device, 100 * S), BIT(PRESSURE));
    CHECK_POLL(device, 100 * S, "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    /* But the host may insist. */
    cr_assert_eq(balloon_device_set_target(device, 1536, 100 * S), BALLOON_OK);
    CHECK_POLL(device, 100 * S, "irq");
}

Test(device_pressure, is_over_when_the_balloon_grows)
{
    balloon_device *device = short_guest();

    cr_assert_eq(vm_inflate(device, 3, 0, 256, 4 * S - 1), BALLOON_OK);
    (void)vm_poll(device, 4 * S - 1);
    cr_assert_eq(reasons(device, 4 * S - 1), 0);
    cr_assert(vm_status(device).pressure, "what it took it has not given yet");
}

/* --- guests that move to another host --------------------------------------------------------- */

static balloon_device *moved(const balloon_device *from, balloon_time_t then, balloon_time_t now)
{
    balloon_device *to =
        vm_simple(BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_STATS | BALLOON_F_REPORTING);

    balloon_device_reset(to);
    cr_assert_eq(vm_move(from, then, to, now), BALLOON_OK);
    return to;
}

/* The same as filled(), offering what moved() does. */
static balloon_device *about_to_move(void)
{
    return filled(BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_STATS);
}

Test(device_pressure, moves_with_the_guest)
{
    balloon_device *from = filled(0), *to = vm_simple(BALLOON_F_REPORTING);

    cr_assert_eq(vm_deflate(from, 2, 0, 64, S), BALLOON_OK);
    CHECK_POLL(from, S, "ack deflate/2 | pressure");
    balloon_device_reset(to);
    cr_assert_eq(vm_move(from, S, to, 1000 * S), BALLOON_OK);
    CHECK_POLL(to, 1000 * S, "");
    cr_assert_eq(reasons(to, 1000 * S), BIT(PRESSURE));
}

/* On its way down to a target that has gone up a bit again. */
Test(device_pressure, what_the_host_asked_back_is_none_after_a_move)
{
    for (unsigned polled = 0; polled < 2; polled++) {
        balloon_device *device = about_to_move();

        cr_assert_eq(balloon_device_set_target(device, 512, S), BALLOON_OK);
        CHECK_POLL(device, S, "irq");
        cr_assert_eq(vm_deflate(device, 2, 0, 256, S), BALLOON_OK);
        CHECK_POLL(device, S, "ack deflate/2");
        cr_assert_eq(balloon_device_set_target(device, 1024, 2 * S), BALLOON_OK);
        CHECK_POLL(device, 2 * S, "irq");
        device = moved(device, 2 * S, 90 * S);
        cr_assert_eq(vm_deflate(device, 3, 256, 768, 90 * S), BALLOON_OK);
        if (polled)
            CHECK_POLL(device, 90 * S, "ack deflate/3");
        device = moved(device, 90 * S, 30 * S);
        CHECK_POLL(device, 30 * S, polled ? "" : "ack deflate/3");
        cr_assert_eq(vm_inflate(device, 4, 0, 512, 31 * S), BALLOON_OK);
        CHECK_POLL(device, 31 * S, "discard 0+512 | ack inflate/4");
        CHECK_POLL(device, 90 * S, "");
        cr_assert_not(vm_status(device).pressure);
        /* But what it takes by itself then. */
        cr_assert_eq(vm_deflate(device, 5, 0, 128, 90 * S), BALLOON_OK);
        CHECK_POLL(device, 90 * S, "ack deflate/5 | pressure");
    }
}

Test(device_pressure, what_does_not_come_again_is_after_a_move)
{
    balloon_device *device = about_to_move();

    cr_assert_eq(balloon_device_set_target(device, 512, S), BALLOON_OK);
    cr_assert_eq(vm_deflate(device, 2, 0, 1100, S), BALLOON_OK);
    device = moved(device, S, 90 * S);
    CHECK_POLL(device, 90 * S, "irq | ack deflate/2");
    cr_assert_eq(balloon_device_deadline(device), 95 * S);
    CHECK_POLL(device, 95 * S, "pressure");
}

Test(device_pressure, a_guest_that_leaves_may_move)
{
    balloon_device *device = about_to_move();

    cr_assert_eq(vm_deflate(device, 2, 0, 512, 60 * S), BALLOON_OK);
    CHECK_POLL(device, 60 * S, "ack deflate/2");
    device = moved(device, 60 * S, 90 * S);
    CHECK_POLL(device, 90 * S, "");
    cr_assert_eq(vm_deflate(device, 3, 512, 1024, 90 * S), BALLOON_OK);
    CHECK_POLL(device, 90 * S, "ack deflate/3");
    device = moved(device, 95 * S, 190 * S);
    CHECK_POLL(device, 290 * S, "");
    cr_assert_not(vm_status(device).pressure);
    cr_assert_eq(balloon_device_explain(device, 290 * S, NULL), BALLOON_REASON_GUEST_LEAVES);
    /* One that stays half way is short. */
    device = about_to_move();
    cr_assert_eq(vm_deflate(device, 2, 0, 512, 60 * S), BALLOON_OK);
    CHECK_POLL(device, 60 * S, "ack deflate/2");
    device = moved(device, 60 * S, 90 * S);
    CHECK_POLL(device, 90 * S, "");
    CHECK_POLL(device, 91 * S, "pressure");
    cr_assert_eq(reasons(device, 91 * S) & BIT(PRESSURE), BIT(PRESSURE));
}

/* Whether a guest is short, or was and gives again, is the same where it arrives. */
Test(device_pressure, and_the_end_of_it_move_with_the_guest)
{
    static const balloon_time_t clocks[] = {1000 * S, 11 * S, 5, 0};

    for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
        balloon_device *device = short_guest(), *to;
        balloon_time_t now = clocks[i];

        to = moved(moved(device, 3 * S, now), now, 3 * S);
        cr_assert_eq(reasons(to, 3 * S) & BIT(PRESSURE), BIT(PRESSURE));
        /* Statistics from between its last page and the move count as they did. */
        cr_assert_eq(vm_stats(device, 10, BALLOON_STAT_AVAILABLE, 1 << 20, 3 * S), BALLOON_OK);
        CHECK_POLL(device, 3 * S, "stats");
        to = moved(device, 4 * S, now);
        cr_assert_eq(reasons(to, now) & BIT(PRESSURE), BIT(PRESSURE));
        cr_assert_eq(vm_inflate(device, 3, 0, 256, 4 * S), BALLOON_OK);
        (void)vm_poll(device, 4 * S);
        cr_assert_eq(reasons(device, 5 * S), 0);
        to = moved(moved(device, 5 * S, now), now, now);
        cr_assert_eq(reasons(to, now), 0);
        cr_assert(vm_status(to).pressure, "what it took it has not given yet");
        cr_assert_eq(reasons(to, now + 9 * S) & (BIT(PRESSURE) | BIT(GUEST_SLOW)), BIT(GUEST_SLOW));
        CHECK_POLL(to, now + 90 * S, "irq");
        /* And takes once more. */
        cr_assert_eq(vm_deflate(to, 4, 0, 1, now + 90 * S), BALLOON_OK);
        CHECK_POLL(to, now + 90 * S, "ack deflate/4");
        cr_assert_eq(reasons(to, now + 90 * S) & BIT(PRESSURE), BIT(PRESSURE));
        to = moved(to, now + 90 * S, now);
        cr_assert_eq(reasons(to, now) & BIT(PRESSURE), BIT(PRESSURE));
        vm_end();
    }
}

/* One that gives again, and has no memory left: it is not woken, here as there. */
Test(device_pressure, no_memory_moves_with_the_guest)
{
    balloon_device *device = short_guest();

    cr_assert_eq(vm_inflate(device, 3, 0, 256, 4 * S), BALLOON_OK);
    (void)vm_poll(device, 4 * S);
    cr_assert_eq(vm_stats(device, 10, BALLOON_STAT_AVAILABLE, 1 << 20, 5 * S), BALLOON_OK);
    CHECK_POLL(device, 5 * S, "stats");
    CHECK_POLL(device, 90 * S, "");
    CHECK_POLL(moved(device, 5 * S, 5 * S), 90 * S, "");
}
