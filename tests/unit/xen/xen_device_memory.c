/* The device as a Xen guest's hypervisor: extents out of the guest and back into it. */
#include <stdlib.h>

#include "prng.h"
#include "xen_support.h"

TestSuite(xen_device_memory, .fini = vm_end);

#define SECOND UINT64_C(1000000000)

static bool held(const balloon_device *device, uint64_t first, uint64_t count)
{
    balloon_range range = {first, count};

    return balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_HELD, range) == count;
}

static int64_t size_of(balloon_device *device, balloon_xen_op op)
{
    balloon_xen_reservation reservation = {.domain = BALLOON_XEN_DOMAIN_SELF};
    int64_t result = 12345;

    cr_assert_eq(
        balloon_xen_memory_op(device, (uint64_t)op, &reservation, NULL, 0, &result, SECOND),
        BALLOON_OK);
    return result;
}

/* --- pages ------------------------------------------------------------------------------------ */

Test(xen_device_memory, pages_go_and_come_back)
{
    balloon_device *device = xen_device(NULL);

    xen_watch(device, 0);
    cr_assert_eq(balloon_device_set_target(device, 16, 0), BALLOON_OK);
    cr_assert_eq(xen_move(device, DECREASE, 100, 20, BALLOON_OK, 0), 20);
    cr_assert_eq(vm_status(device).held, 20);
    cr_assert_eq(vm_status(device).actual, 20);
    cr_assert_eq(vm_counters(device).buffers, 1);
    cr_assert_eq(vm_counters(device).acks, 1);
    balloon_device_flush(device);
    CHECK_XEN(device, 0, "event memory/target token | discard 100+20");
    cr_assert_eq(xen_move(device, POPULATE, 100, 4, BALLOON_OK, 0), 4);
    cr_assert(held(device, 104, 16) && !held(device, 103, 1));
    cr_assert_eq(vm_status(device).actual, 16);
    cr_assert(vm_status(device).settled);
    CHECK_XEN(device, 0, "");
}

Test(xen_device_memory, discards_gather_and_a_populate_cancels_them)
{
    balloon_device *device = xen_device(NULL);

    xen_watch(device, 0);
    cr_assert_eq(xen_list(device, DECREASE, 0, XEN_LIST(7, 5, 6, 100), BALLOON_OK, 0), 4);
    CHECK_XEN(device, 0, "");
    cr_assert_eq(xen_list(device, POPULATE, 0, XEN_LIST(100), BALLOON_OK, 0), 1);
    CHECK_XEN(device, 100000000, "discard 5+3");
    cr_assert_eq(vm_counters(device).cancelled, 1);
}

Test(xen_device_memory, the_first_page_attaches_a_driver)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_list(device, DECREASE, 0, XEN_LIST(XEN_PAGES), BALLOON_ERR_PROTOCOL, 0), 0);
    cr_assert_not(vm_status(device).driver);
    cr_assert_eq(xen_list(device, DECREASE, 0, XEN_LIST(3), BALLOON_OK, 0), 1);
    cr_assert(vm_status(device).driver);
    cr_assert_eq(vm_status(device).pending, 1);
}

Test(xen_device_memory, extents_have_orders)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_list(device, DECREASE, 9, XEN_LIST(512, 1024, 2048), BALLOON_OK, 0), 3);
    cr_assert(held(device, 512, 1024) && held(device, 2048, 512));
    cr_assert_eq(vm_status(device).held, 1536);
    /* They need not be aligned, and come back in other orders. */
    cr_assert_eq(xen_list(device, POPULATE, 3, XEN_LIST(515, 523), BALLOON_OK, 0), 2);
    cr_assert(held(device, 512, 3) && held(device, 531, 5));
    cr_assert_eq(vm_status(device).held, 1520);
}

Test(xen_device_memory, pinned_memory_still_goes_and_stays)
{
    balloon_device *device = xen_device(NULL);

    balloon_device_inhibit(device);
    cr_assert_eq(xen_move(device, DECREASE, 0, 100, BALLOON_OK, 0), 100);
    balloon_device_flush(device);
    CHECK_XEN(device, SECOND, "");
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    CHECK_XEN(device, SECOND, "discard 0+100");
}

/* --- what stops a call ------------------------------------------------------------------------ */

Test(xen_device_memory, stops_at_the_first_page_that_cannot_go)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_list(device, DECREASE, 0, XEN_LIST(1, 2, 3, 3, 4), BALLOON_ERR_PROTOCOL, 0),
                 3);
    cr_assert(held(device, 1, 3) && !held(device, 4, 1));
    cr_assert_eq(vm_counters(device).inflate_duplicate, 1);
    cr_assert_eq(
        xen_list(device, DECREASE, 0, XEN_LIST(10, XEN_PAGES, 11), BALLOON_ERR_PROTOCOL, 0), 1);
    cr_assert(held(device, 10, 1) && !held(device, 11, 1));
    cr_assert_eq(vm_counters(device).inflate_outside, 1);
    cr_assert_eq(vm_counters(device).protocol_errors, 2);
    /* In the middle of a run. */
    cr_assert_eq(xen_move(device, DECREASE, 5, 10, BALLOON_ERR_PROTOCOL, 0), 5);
    cr_assert(held(device, 5, 5) && !held(device, 11, 1));
}

Test(xen_device_memory, stops_at_the_first_page_that_is_there_already)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_move(device, DECREASE, 0, 10, BALLOON_OK, 0), 10);
    cr_assert_eq(xen_move(device, POPULATE, 6, 8, BALLOON_ERR_PROTOCOL, 0), 4);
    cr_assert_eq(vm_counters(device).deflate_unheld, 1);
    cr_assert_eq(xen_list(device, POPULATE, 0, XEN_LIST(0, 0), BALLOON_ERR_PROTOCOL, 0), 1);
    cr_assert_eq(xen_list(device, POPULATE, 0, XEN_LIST(XEN_PAGES, 1), BALLOON_ERR_PROTOCOL, 0), 0);
    cr_assert_eq(vm_counters(device).deflate_outside, 1);
    cr_assert_eq(vm_status(device).held, 5);
    cr_assert_eq(vm_status(device).actual, 5);
}

/* Xen would take a part of it and say that it had taken nothing. */
Test(xen_device_memory, an_extent_goes_wholly_or_not_at_all)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_list(device, DECREASE, 0, XEN_LIST(515), BALLOON_OK, 0), 1);
    cr_assert_eq(xen_list(device, DECREASE, 9, XEN_LIST(0, 512, 1024), BALLOON_ERR_PROTOCOL, 0), 1);
    cr_assert_eq(vm_status(device).held, 513);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 1);
    cr_assert_eq(xen_list(device, DECREASE, 9, XEN_LIST(XEN_PAGES - 511), BALLOON_ERR_PROTOCOL, 0),
                 0);
    cr_assert_eq(vm_counters(device).inflate_outside, 1);
    cr_assert_eq(xen_list(device, POPULATE, 9, XEN_LIST(1, 512), BALLOON_ERR_PROTOCOL, 0), 0);
    cr_assert_eq(vm_status(device).held, 513);
}

Test(xen_device_memory, numbers_that_cannot_be_pages)
{
    static const uint64_t wild[] = {UINT64_MAX,        UINT64_MAX >> 12,  (UINT64_MAX >> 12) + 1,
                                    UINT64_C(1) << 63, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 5};
    balloon_device *device = xen_device(&(balloon_xen_options){.max_order = 18});

    for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++)
        for (uint32_t order = 0; order <= 18; order += 9) {
            cr_assert_eq(xen_list(device, DECREASE, order, &wild[i], 1, BALLOON_ERR_PROTOCOL, 0),
                         0);
            cr_assert_eq(xen_list(device, POPULATE, order, &wild[i], 1, BALLOON_ERR_PROTOCOL, 0),
                         0);
        }
    cr_assert_eq(vm_status(device).held, 0);
    /* All the guest is less than the largest extent. */
    cr_assert_eq(xen_list(device, DECREASE, 12, XEN_LIST(0), BALLOON_OK, 0), 1);
    cr_assert_eq(vm_status(device).held, XEN_PAGES);
}

/* --- the argument ----------------------------------------------------------------------------- */

static int64_t call(balloon_device *device, uint64_t command, balloon_xen_reservation reservation,
                    balloon_status want)
{
    static const uint8_t list[8] = {9};
    balloon_iov iov = {list, sizeof(list)};
    int64_t result = 12345;

    cr_assert_eq(balloon_xen_memory_op(device, command, &reservation, &iov, 1, &result, 0), want);
    return result;
}

Test(xen_device_memory, arguments_that_xen_refuses_do_nothing)
{
    const balloon_xen_reservation fine = {.extents = 1, .domain = BALLOON_XEN_DOMAIN_SELF};
    balloon_device *device = xen_device(&(balloon_xen_options){.domain = 5});
    balloon_xen_reservation bad = fine;

    bad.order = BALLOON_XEN_ORDER_GUEST + 1;
    cr_assert_eq(call(device, DECREASE, bad, BALLOON_ERR_PROTOCOL), 0);
    bad.order = UINT32_MAX;
    cr_assert_eq(call(device, DECREASE, bad, BALLOON_ERR_PROTOCOL), 0);
    bad = fine;
    bad.extents = BALLOON_XEN_EXTENTS_MAX + 1;
    cr_assert_eq(call(device, DECREASE, bad, BALLOON_ERR_PROTOCOL), 0);
    bad = fine;
    bad.flags = 5;
    cr_assert_eq(call(device, DECREASE, bad, BALLOON_ERR_PROTOCOL), 0);
    /* Somebody else, and oneself by either name. */
    bad = fine;
    bad.domain = 0;
    cr_assert_eq(call(device, DECREASE, bad, BALLOON_ERR_PROTOCOL), 0);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 5);
    bad.domain = 5;
    cr_assert_eq(call(device, DECREASE, bad, BALLOON_OK), 1);
    bad.flags = 1 << 16;
    cr_assert_eq(call(device, POPULATE, bad, BALLOON_ERR_PROTOCOL), 0);
    cr_assert_eq(vm_status(device).held, 1);
    cr_assert_eq(call(device, POPULATE, fine, BALLOON_OK), 1);
    /* Nothing asked, nothing done. */
    bad = fine;
    bad.extents = 0;
    cr_assert_eq(call(device, DECREASE, bad, BALLOON_OK), 0);
}

Test(xen_device_memory, only_xen_begins_in_the_middle)
{
    const balloon_xen_reservation fine = {.extents = 1, .domain = BALLOON_XEN_DOMAIN_SELF};
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(call(device, DECREASE | 1 << 6, fine, BALLOON_ERR_PROTOCOL), 1);
    cr_assert_eq(call(device, DECREASE | UINT64_C(0xffffffc0), fine, BALLOON_ERR_PROTOCOL),
                 0x3ffffff);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(call(device, DECREASE | UINT64_C(1) << 63, fine, BALLOON_ERR_PROTOCOL), INT64_C(1)
                                                                                             << 57);
    cr_assert_eq(call(device, BALLOON_XEN_CURRENT_RESERVATION | 1 << 6, fine, BALLOON_ERR_PROTOCOL),
                 -BALLOON_XEN_EINVAL);
}

Test(xen_device_memory, a_list_that_is_cut_short)
{
    balloon_device *device = xen_device(NULL);
    balloon_xen_reservation three = {.extents = 3, .domain = BALLOON_XEN_DOMAIN_SELF};

    cr_assert_eq(call(device, DECREASE, three, BALLOON_ERR_PROTOCOL), 1);
    cr_assert(held(device, 9, 1));
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
}

Test(xen_device_memory, lists_come_in_pieces_and_widths)
{
    static const uint8_t bytes[] = {1, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0};
    balloon_iov pieces[sizeof(bytes)];
    balloon_xen_reservation three = {.extents = 3, .domain = BALLOON_XEN_DOMAIN_SELF};
    balloon_device *device = xen_device(&(balloon_xen_options){.layout = BALLOON_XEN_32});
    int64_t result;

    for (size_t i = 0; i < sizeof(bytes); i++)
        pieces[i] = (balloon_iov){bytes + i, 1};
    cr_assert_eq(balloon_xen_memory_op(device, DECREASE, &three, pieces, sizeof(bytes), &result, 0),
                 BALLOON_OK);
    cr_assert_eq(result, 3);
    cr_assert(held(device, 1, 2) && held(device, 512, 1));
}

Test(xen_device_memory, long_lists)
{
    balloon_device *device = xen_device(NULL);
    uint64_t pfns[512];

    for (size_t i = 0; i < 512; i++)
        pfns[i] = 511 - i;
    cr_assert_eq(xen_list(device, DECREASE, 0, pfns, 512, BALLOON_OK, 0), 512);
    cr_assert_eq(xen_move(device, POPULATE, 0, 512, BALLOON_OK, 0), 512);
    cr_assert_eq(vm_status(device).held, 0);
}

/* --- other operations ------------------------------------------------------------------------- */

Test(xen_device_memory, other_operations_are_the_embedders)
{
    const balloon_xen_reservation fine = {.extents = 1, .domain = BALLOON_XEN_DOMAIN_SELF};
    balloon_device *device = xen_device(NULL);

    for (unsigned op = 0; op < 64; op++)
        if (op != DECREASE && op != POPULATE && op != BALLOON_XEN_CURRENT_RESERVATION &&
            op != BALLOON_XEN_MAXIMUM_RESERVATION)
            cr_assert_eq(call(device, op, fine, BALLOON_ERR_UNSUPPORTED), 12345);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}

Test(xen_device_memory, sizes)
{
    balloon_device *device = xen_device(&(balloon_xen_options){.domain = 5});

    cr_assert_eq(size_of(device, BALLOON_XEN_CURRENT_RESERVATION), XEN_PAGES);
    cr_assert_eq(size_of(device, BALLOON_XEN_MAXIMUM_RESERVATION), XEN_PAGES);
    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    cr_assert_eq(xen_move(device, DECREASE, 0, 100, BALLOON_OK, 0), 100);
    cr_assert_eq(size_of(device, BALLOON_XEN_CURRENT_RESERVATION), XEN_PAGES - 100);
    cr_assert_eq(size_of(device, BALLOON_XEN_MAXIMUM_RESERVATION), XEN_PAGES);
    cr_assert_eq(call(device, BALLOON_XEN_CURRENT_RESERVATION,
                      (balloon_xen_reservation){.domain = 5}, BALLOON_OK),
                 XEN_PAGES - 100);
    cr_assert_eq(call(device, BALLOON_XEN_MAXIMUM_RESERVATION,
                      (balloon_xen_reservation){.domain = 6}, BALLOON_ERR_PROTOCOL),
                 -BALLOON_XEN_ESRCH);
}

/* --- enforcing the target --------------------------------------------------------------------- */

Test(xen_device_memory, a_guest_may_be_kept_from_growing_above_its_target)
{
    balloon_device *device = xen_device(&(balloon_xen_options){.enforce = true});

    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    cr_assert_eq(size_of(device, BALLOON_XEN_MAXIMUM_RESERVATION), XEN_PAGES - 1024 + 256);
    /* It has not given yet, and gets nothing back: as with Xen, it can only shrink. */
    cr_assert_eq(xen_move(device, DECREASE, 0, 512, BALLOON_OK, 0), 512);
    cr_assert_eq(xen_move(device, POPULATE, 0, 1, BALLOON_OK, 0), 0);
    cr_assert_eq(xen_move(device, DECREASE, 512, 512, BALLOON_OK, 0), 512);
    /* 1 MiB is allowed, and a list goes as far as that. */
    cr_assert_eq(xen_move(device, POPULATE, 0, 512, BALLOON_OK, 0), 256);
    cr_assert_eq(vm_status(device).held, 768);
    cr_assert_eq(xen_list(device, POPULATE, 0, XEN_LIST(700), BALLOON_OK, 0), 0);
    cr_assert_eq(xen_list(device, POPULATE, 8, XEN_LIST(512), BALLOON_OK, 0), 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
    /* A lower target lets it. */
    cr_assert_eq(balloon_device_set_target(device, 256, 0), BALLOON_OK);
    cr_assert_eq(size_of(device, BALLOON_XEN_MAXIMUM_RESERVATION), XEN_PAGES);
    cr_assert_eq(xen_move(device, POPULATE, 256, 512, BALLOON_OK, 0), 512);
    cr_assert_eq(xen_move(device, POPULATE, 768, 256, BALLOON_OK, 0), 256);
    cr_assert_eq(vm_status(device).held, 0);
}

Test(xen_device_memory, a_guest_that_takes_back_is_under_pressure)
{
    balloon_device *device = xen_device(NULL);

    xen_watch(device, 0);
    cr_assert_eq(balloon_device_set_target(device, 512, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "event memory/target token");
    cr_assert_eq(xen_move(device, DECREASE, 0, 512, BALLOON_OK, 0), 512);
    cr_assert_eq(xen_move(device, POPULATE, 0, 100, BALLOON_OK, 0), 100);
    CHECK_XEN(device, 0, "pressure");
    cr_assert_eq(vm_counters(device).deflated_below, 100);
}

/* Random calls, valid or not, against a plain array of who has each page. */
Test(xen_device_memory, random_calls_against_a_plain_array)
{
    struct prng prng = prng_start(prng_seed(), 8801);
    balloon_device *device = xen_device(&(balloon_xen_options){.max_order = 10});
    uint8_t *in_balloon = calloc(2 * XEN_PAGES, 1);
    uint64_t count = 0;

    for (unsigned step = 0; step < 4000; step++) {
        bool decrease = prng_below(&prng, 2) == 0;
        uint32_t order = prng_one_in(&prng, 3) ? (uint32_t)prng_below(&prng, 12) : 0;
        size_t n = 1 + (size_t)prng_below(&prng, order ? 6 : 100);
        uint64_t at = prng_below(&prng, XEN_PAGES + 100), pfns[100];
        int64_t want = 0;
        bool stop = order > 10;

        for (size_t i = 0; i < n; i++) {
            pfns[i] = at;
            at = prng_one_in(&prng, 4) ? prng_below(&prng, XEN_PAGES + 2) : at + (1u << order);
        }
        for (size_t i = 0; i < n && !stop; i++) {
            for (uint64_t j = 0; j < UINT64_C(1) << order && !stop; j++)
                stop = pfns[i] + j >= XEN_PAGES || in_balloon[pfns[i] + j] == decrease;
            if (stop)
                break;
            memset(in_balloon + pfns[i], decrease, (size_t)1 << order);
            count = decrease ? count + (UINT64_C(1) << order) : count - (UINT64_C(1) << order);
            want++;
        }
        cr_assert_eq(xen_list(device, decrease ? DECREASE : POPULATE, order, pfns, n,
                              stop ? BALLOON_ERR_PROTOCOL : BALLOON_OK, 0),
                     want, "BALLOON_SEED=%" PRIu64 " step %u", prng_seed(), step);
        cr_assert_eq(vm_status(device).held, count);
        if (prng_one_in(&prng, 20))
            (void)xen_poll(device, step * UINT64_C(10000000));
    }
    for (uint64_t pfn = 0; pfn < XEN_PAGES; pfn++)
        cr_assert_eq(held(device, pfn, 1), in_balloon[pfn]);
    free(in_balloon);
}
