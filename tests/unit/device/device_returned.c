/* How much of the balloon the host really got back: what a pool may promise to others. */
#include "vm.h"

TestSuite(device_returned, .fini = vm_end);

static const uint64_t granules[] = {1, 16, 512};
static const uint32_t modes[] = {0, BALLOON_F_MUST_TELL};

#define EACH_GRANULE(g) for (size_t g##_ = 0, g; g##_ < 3 && (g = granules[g##_], true); g##_++)
#define EACH_MODE(m)                                                                               \
    for (uint32_t m##_ = 0, m; m##_ < 2 && (m = modes[m##_] | BALLOON_F_REPORTING, true); m##_++)

static balloon_time_t now;

/* Poll for as long as discards may gather. */
static void settle(balloon_device *device)
{
    (void)vm_poll(device, now);
    now += VM_SECOND;
    (void)vm_poll(device, now);
}

static void inflate(balloon_device *device, uint32_t first, uint32_t count)
{
    cr_assert_eq(vm_inflate(device, 1, first, count, now), BALLOON_OK);
    settle(device);
}

static void deflate(balloon_device *device, uint32_t first, uint32_t count)
{
    cr_assert_eq(vm_deflate(device, 2, first, count, now), BALLOON_OK);
    settle(device);
}

static void inflate_every_second(balloon_device *device, uint32_t first, uint32_t count)
{
    uint32_t pfns[1024];

    for (uint32_t i = 0; i < count / 2; i++)
        pfns[i] = first + 2 * i;
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, count / 2, now), BALLOON_OK);
    settle(device);
}

static void check(const balloon_device *device, uint64_t held, uint64_t returned)
{
    balloon_device_status is = vm_status(device);

    cr_assert_eq(is.held, held, "held %lu, not %lu", (unsigned long)is.held, (unsigned long)held);
    cr_assert_eq(is.returned, returned, "returned %lu, not %lu", (unsigned long)is.returned,
                 (unsigned long)returned);
}

Test(device_returned, whole_granules_count_until_they_are_deflated)
{
    EACH_MODE(mode) EACH_GRANULE(granule)
    {
        balloon_device *device = vm_granules(mode, granule);

        inflate(device, 0, 1024);
        check(device, 1024, 1024);
        deflate(device, 100, 1);
        check(device, 1023, 1024 - granule);
        deflate(device, 101, 1);
        check(device, 1022, granule == 1 ? 1022 : 1024 - granule);
        deflate(device, 0, 1024);
        check(device, 0, 0);
        inflate(device, 512, 512);
        check(device, 512, 512);
    }
}

Test(device_returned, what_waits_does_not_count)
{
    EACH_MODE(mode)
    {
        balloon_device *device = vm_simple(mode);

        cr_assert_eq(vm_inflate(device, 1, 0, 64, now), BALLOON_OK);
        check(device, 64, 0);
        settle(device);
        check(device, 64, 64);
        /* Taken back before it was discarded: nothing else was. */
        cr_assert_eq(vm_inflate(device, 1, 64, 64, now), BALLOON_OK);
        cr_assert_eq(vm_deflate(device, 2, 64, 64, now), BALLOON_OK);
        check(device, 64, 64);
        settle(device);
        check(device, 64, 64);
    }
}

Test(device_returned, incomplete_granules_do_not_count)
{
    EACH_MODE(mode) EACH_GRANULE(granule)
    {
        balloon_device *device = vm_granules(mode, granule);
        uint64_t single = granule == 1 ? 1024 : 0;

        inflate_every_second(device, 0, 2048);
        check(device, 1024, single);
        inflate(device, 2048, 512);
        check(device, 1536, single + 512);
        /* What did not count is not missed either. */
        deflate(device, 0, 2048);
        check(device, 512, 512);
    }
}

/* Without MUST_TELL_HOST it is too late for the first half. */
Test(device_returned, granules_in_two_buffers)
{
    EACH_MODE(mode)
    {
        balloon_device *device = vm_granules(mode, 16);
        bool gathers = (mode & BALLOON_F_MUST_TELL) != 0;

        inflate(device, 0, 8);
        inflate(device, 8, 8);
        check(device, 16, gathers ? 16 : 0);
        deflate(device, 0, 16);
        check(device, 0, 0);
        inflate(device, 0, 16);
        check(device, 16, 16);
    }
}

Test(device_returned, nothing_counts_while_discarding_is_inhibited)
{
    EACH_MODE(mode) EACH_GRANULE(granule)
    {
        balloon_device *device = vm_granules(mode, granule);

        inflate(device, 0, 512);
        balloon_device_inhibit(device);
        inflate(device, 512, 512);
        check(device, 1024, 512);
        cr_assert_eq(balloon_device_release(device), BALLOON_OK);
        settle(device);
        check(device, 1024, mode & BALLOON_F_MUST_TELL ? 1024 : 512);
        deflate(device, 512, 512);
        check(device, 512, 512);
    }
}

/* In one block of 2 MiB nobody can tell them apart: rather too little. */
Test(device_returned, withheld_and_returned_in_one_block)
{
    balloon_device *device = vm_simple(0);

    inflate(device, 0, 100);
    balloon_device_inhibit(device);
    inflate(device, 100, 100);
    check(device, 200, 100);
    deflate(device, 100, 60);
    check(device, 140, 40);
    deflate(device, 0, 100);
    check(device, 40, 0);
}

Test(device_returned, failed_discards_do_not_count)
{
    EACH_MODE(mode) EACH_GRANULE(granule)
    {
        balloon_device *device = vm_granules(mode, granule);
        balloon_run run = {.range = {520, 8}};
        balloon_action action = {0};

        cr_assert_eq(vm_inflate(device, 1, 0, 1024, now), BALLOON_OK);
        balloon_device_flush(device);
        while (action.type != BALLOON_ACTION_DISCARD)
            cr_assert(balloon_device_poll(device, now, &action));
        balloon_device_discard_failed(device, &run, now);
        check(device, 1024, 1024 - (granule < 8 ? 8 : granule));
        settle(device);
        check(device, 1024, mode & BALLOON_F_MUST_TELL ? 1024 : 1024 - (granule < 8 ? 8 : granule));
    }
}

Test(device_returned, reported_pages_do_not_count)
{
    EACH_MODE(mode) EACH_GRANULE(granule)
    {
        balloon_device *device = vm_granules(mode, granule);

        cr_assert_eq(vm_report(device, 3, 1024, 512), BALLOON_OK);
        settle(device);
        check(device, 0, 0);
        inflate(device, 0, 512);
        /* Reported by a guest that lies, and taken back before it was discarded again. */
        cr_assert_eq(vm_report(device, 3, 0, 512), BALLOON_OK);
        settle(device);
        check(device, 512, 512);
        cr_assert_eq(vm_report(device, 3, 0, 512), BALLOON_OK);
        cr_assert_eq(vm_deflate(device, 2, 0, 512, now), BALLOON_OK);
        check(device, 0, 0);
        settle(device);
        check(device, 0, 0);
    }
}

Test(device_returned, a_reset_or_an_unplugged_region_takes_it_along)
{
    EACH_MODE(mode)
    {
        balloon_device *device = vm_granules(mode, 16);
        balloon_region more = {4096, 1024, 16};
        uint32_t id;

        cr_assert_eq(balloon_device_add_region(device, &more, &id), BALLOON_OK);
        inflate(device, 4000, 500);
        check(device, 500, 496);
        cr_assert_eq(balloon_device_remove_region(device, id), BALLOON_OK);
        check(device, 96, 96);
        balloon_device_reset(device);
        check(device, 0, 0);
    }
}

/* Also to a host with other granules: only those that are complete there count. */
Test(device_returned, is_saved)
{
    EACH_MODE(mode) EACH_GRANULE(from) EACH_GRANULE(to)
    {
        balloon_device *device = vm_granules(mode, from), *other = vm_granules(mode, to);
        uint64_t least;

        inflate(device, 0, 1024);
        inflate(device, 1024, 16);
        inflate_every_second(device, 2048, 512);
        least = vm_status(device).returned;
        balloon_device_reset(other);
        cr_assert_eq(vm_move(device, now, other, now), BALLOON_OK);
        cr_assert_geq(vm_status(other).returned, 1024);
        cr_assert_leq(vm_status(other).returned, from == to ? least : 1024 + 16 + 256);
        if (from == to)
            cr_assert_eq(vm_status(other).returned, least);
        settle(other);
        cr_assert_leq(vm_status(other).returned, 1024 + 16 + 256);
        deflate(other, 0, 2048);
        deflate(other, 2048, 512);
        check(other, 0, 0);
    }
}

Test(device_returned, what_was_withheld_is_not_returned_by_loading)
{
    EACH_GRANULE(granule)
    {
        balloon_device *device = vm_granules(0, granule), *other = vm_granules(0, granule);

        balloon_device_inhibit(device);
        inflate(device, 0, 512);
        cr_assert_eq(balloon_device_release(device), BALLOON_OK);
        inflate(device, 512, 512);
        inflate(device, 1536, 512);
        balloon_device_reset(other);
        cr_assert_eq(vm_move(device, now, other, now), BALLOON_OK);
        check(other, 1536, 1024);
    }
}
