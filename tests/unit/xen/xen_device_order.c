/* A list is what its pages are one by one, up to the first that cannot go. */
#include "page_batches.h"
#include "xen_support.h"

TestSuite(xen_device_order, .fini = vm_end);

/* One gets lists, the other a call for each page. */
struct pair {
    balloon_device *list, *single;
    balloon_time_t now;
};

static balloon_device *device_of(uint64_t granule, balloon_xen_layout layout, bool enforce)
{
    balloon_region regions[BATCH_REGIONS];
    balloon_device_config config = {
        .size = sizeof(config), .regions = regions, .region_count = BATCH_REGIONS};
    balloon_xen_options options = {
        .size = sizeof(options), .layout = layout, .enforce = enforce, .max_order = 9};
    balloon_device *device;

    batch_regions(regions, granule);
    device = vm_device(&config);
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_OK);
    return device;
}

/* The bytes of a list in some pieces, which need not have whole numbers. */
static int64_t call(balloon_device *device, bool in, const uint8_t *bytes, size_t size,
                    size_t extents, struct prng *prng, bool *sane, balloon_time_t now)
{
    balloon_xen_reservation reservation = {
        .list = 0x1000, .extents = extents, .domain = BALLOON_XEN_DOMAIN_SELF};
    balloon_iov pieces[4];
    int64_t result = -1;
    balloon_status status;
    size_t from = 0;

    for (unsigned i = 0; i < 4; i++) {
        size_t here = i == 3 ? size - from : (size_t)prng_below(prng, size - from + 1);

        pieces[i] = (balloon_iov){bytes + from, here};
        from += here;
    }
    status = balloon_xen_memory_op(device, in ? DECREASE : POPULATE, &reservation, pieces, 4,
                                   &result, now);
    cr_assert(status == BALLOON_OK || status == BALLOON_ERR_PROTOCOL);
    *sane = status == BALLOON_OK;
    return result;
}

static void move(struct pair *p, struct prng *prng, balloon_xen_layout layout, bool in,
                 const uint64_t *pfns, size_t count)
{
    uint8_t bytes[8 * BATCH_MOST];
    size_t word = layout == BALLOON_XEN_64 ? 8 : 4, size = word * count, done = 0;
    /* Guests may promise more than they send. */
    size_t missing = prng_one_in(prng, 10) ? (size_t)prng_below(prng, size) : 0;
    bool sane, single = true;
    int64_t result;

    cr_assert_eq(balloon_xen_write_frames(pfns, count, layout, bytes, sizeof(bytes)), size);
    result = call(p->list, in, bytes, size - missing, count, prng, &sane, p->now);
    for (; done < count && single; done++) {
        bool whole = word * (done + 1) <= size - missing;

        if (!whole)
            single = false;
        else if (call(p->single, in, bytes + word * done, word, 1, prng, &single, p->now))
            continue;
        break;
    }
    cr_assert_eq(result, (int64_t)done, "%d of %d, not %d", (int)result, (int)count, (int)done);
    cr_assert_eq(sane, single);
}

static void act(struct pair *p, struct prng *prng)
{
    uint64_t target = prng_below(prng, 5700);

    switch (prng_below(prng, 6)) {
    case 0:
        cr_assert_eq(balloon_device_set_target(p->list, target, p->now), BALLOON_OK);
        cr_assert_eq(balloon_device_set_target(p->single, target, p->now), BALLOON_OK);
        break;
    case 1:
        balloon_device_flush(p->list);
        balloon_device_flush(p->single);
        break;
    default:
        break;
    }
    if (prng_one_in(prng, 3))
        devices_poll(p->list, p->single, p->now);
    p->now += prng_below(prng, 200 * VM_MS);
}

static void compare(uint64_t granule, balloon_xen_layout layout, bool enforce)
{
    struct prng prng = prng_start(prng_seed(), 8 * granule + 2 * (unsigned)layout + enforce);
    struct pair p = {device_of(granule, layout, enforce), device_of(granule, layout, enforce), 0};
    uint64_t pfns[BATCH_MOST];
    size_t count = 0;

    for (int left = prng_check_all() ? 20000 : 400; left; left--) {
        bool in = prng_one_in(&prng, 2);

        if (in || !count || prng_one_in(&prng, 2))
            count = draw_batch(&prng, pfns);
        for (size_t i = 0; layout == BALLOON_XEN_32 && i < count; i++)
            pfns[i] &= UINT32_MAX;
        move(&p, &prng, layout, in, pfns, count);
        devices_agree(p.list, p.single, p.now);
        act(&p, &prng);
    }
}

Test(xen_device_order, a_list_is_its_pages_one_by_one)
{
    compare(1, BALLOON_XEN_64, false);
    compare(1, BALLOON_XEN_32, false);
}

Test(xen_device_order, so_it_is_where_the_guest_may_not_have_all_pages)
{
    compare(1, BALLOON_XEN_64, true);
}
