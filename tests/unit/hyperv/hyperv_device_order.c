/* A message with many ranges is as many messages with one: short ranges are taken together, long
 * ones by themselves, and nobody can tell. */
#include "hyperv_device_support.h"
#include "page_batches.h"

TestSuite(hyperv_device_order, .fini = vm_end);

static balloon_device *device_of(uint64_t granule)
{
    balloon_region regions[BATCH_REGIONS];
    balloon_device_config config = {
        .size = sizeof(config), .regions = regions, .region_count = BATCH_REGIONS};
    balloon_hyperv_options options = {.size = sizeof(options)};
    balloon_device *device;

    batch_regions(regions, granule);
    device = vm_device(&config);
    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, true), BALLOON_OK);
    (void)hv_poll_room(device, 0, 4096);
    cr_assert_eq(hv_can(device, true, false), BALLOON_OK);
    (void)hv_poll_room(device, 0, 4096);
    return device;
}

/* Ranges of the pages, cut where these do not follow each other, and some of which are longer or
 * empty; or a range for each page. */
static size_t make_ranges(struct prng *prng, const uint64_t *pfns, size_t count,
                          balloon_range *ranges)
{
    bool single = prng_one_in(prng, 3);
    size_t n = 0;

    for (size_t i = 0; i < count && n < 400; i++) {
        uint64_t pfn = pfns[i] & (BALLOON_HYPERV_PFN_LIMIT - 1);

        if (single) {
            ranges[n++] = (balloon_range){pfn, 1};
            continue;
        }
        if (n && pfn == ranges[n - 1].first + ranges[n - 1].count && !prng_one_in(prng, 20)) {
            ranges[n - 1].count++;
            continue;
        }
        ranges[n++] = (balloon_range){pfn, 1};
        if (prng_one_in(prng, 30))
            ranges[n - 1].count = prng_below(prng, 70);
        if (prng_one_in(prng, 300)) /* not all that one message may name */
            ranges[n - 1].count = prng_below(prng, 100000);
    }
    return n;
}

static void compare(uint64_t granule)
{
    struct prng prng = prng_start(prng_seed(), granule);
    balloon_device *many = device_of(granule), *one = device_of(granule);
    balloon_time_t now = START;

    for (int left = prng_check_all() ? 10000 : 200; left; left--) {
        uint64_t target = prng_below(&prng, 5700), pfns[BATCH_MOST];
        balloon_range ranges[BATCH_MOST];
        bool asked;
        size_t count;

        cr_assert_eq(balloon_device_set_target(many, target, now), BALLOON_OK);
        cr_assert_eq(balloon_device_set_target(one, target, now), BALLOON_OK);
        now += 60 * VM_SECOND;
        asked = strstr(hv_poll_room(many, now, 4096), "balloon") != NULL;
        cr_assert_eq(strstr(hv_poll_room(one, now, 4096), "balloon") != NULL, asked);
        count = make_ranges(&prng, pfns, draw_batch(&prng, pfns), ranges);
        (void)hv_give(many, false, ranges, count, now);
        for (size_t i = 0; i < count; i++)
            (void)hv_give(one, i + 1 < count, &ranges[i], 1, now);
        if (!count)
            (void)hv_give(one, false, NULL, 0, now);
        (void)hv_simple(many, BALLOON_HYPERV_UNBALLOON_RESPONSE, now);
        (void)hv_simple(one, BALLOON_HYPERV_UNBALLOON_RESPONSE, now);
        devices_agree(many, one, now);
    }
    cr_assert_gt(vm_counters(many).inflated, 10000);
    cr_assert_gt(vm_counters(many).inflate_duplicate, 100);
    cr_assert_gt(vm_counters(many).inflate_outside, 100);
}

/* Short ranges: some pages are above what a number of 32 bits can say, one is in no region. */
Test(hyperv_device_order, pages_are_those_that_were_named)
{
    const balloon_range named[] = {{5, 1}, {(UINT64_C(1) << 32) + 7, 2}, {20, 8}};
    const balloon_range outside[] = {{40, 1}, {4095, 2}};
    balloon_device *device = device_of(1);

    cr_assert_eq(balloon_device_set_target(device, 1000, START), BALLOON_OK);
    (void)hv_poll_room(device, START + 60 * VM_SECOND, 4096);
    cr_assert_eq(hv_give(device, true, named, 3, START + 60 * VM_SECOND), BALLOON_OK);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(
            balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_HELD, named[i]),
            named[i].count);
    cr_assert_eq(vm_status(device).held, 11);
    cr_assert_eq(hv_give(device, false, outside, 2, START + 60 * VM_SECOND), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 13);
    cr_assert_eq(vm_counters(device).inflate_outside, 1);
}

/* Also where nothing but single pages follows. */
Test(hyperv_device_order, a_message_names_no_more_than_it_may)
{
    balloon_range ranges[300] = {{UINT64_C(1) << 34, (UINT64_C(1) << 22) - 50}};
    balloon_device *device = device_of(1);

    for (uint32_t i = 1; i < 300; i++)
        ranges[i] = (balloon_range){2 * i, 1};
    cr_assert_eq(balloon_device_set_target(device, 1000, START), BALLOON_OK);
    (void)hv_poll_room(device, START + 60 * VM_SECOND, 4096);
    cr_assert_eq(hv_give(device, false, ranges, 300, START + 60 * VM_SECOND), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 50);
    cr_assert_eq(vm_counters(device).truncated_bytes, (299 - 50) * 4096);
}

Test(hyperv_device_order, a_message_is_its_ranges_one_by_one)
{
    compare(1);
}

Test(hyperv_device_order, so_it_is_for_hosts_with_large_pages)
{
    compare(4);
}
