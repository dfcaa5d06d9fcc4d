/* A batch is what its entries are one by one: each has its answer, and what is left is the same. */
#include "page_batches.h"
#include "vmware_support.h"

TestSuite(vmware_device_order, .fini = vm_end);

/* One gets batches, the other a call for each page. */
struct pair {
    balloon_device *batch, *single;
    balloon_time_t now;
    uint32_t inhibited;
    uint64_t own; /* page of the batch */
};

static balloon_device *device_of(uint64_t granule, uint64_t target)
{
    balloon_region regions[BATCH_REGIONS];
    balloon_device_config config = {
        .size = sizeof(config), .regions = regions, .region_count = BATCH_REGIONS};
    balloon_vmware_options options = {.size = sizeof(options)};
    balloon_device *device;

    batch_regions(regions, granule);
    device = vm_device(&config);
    cr_assert_eq(balloon_vmware_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, target, 0), BALLOON_OK);
    (void)vmw_start(device, VMW_ALL);
    (void)vmw_get_target(device);
    return device;
}

static uint32_t ask_single(struct pair *p, bool in, balloon_pfn_t pfn)
{
    balloon_vmware_request call = {.command = in ? BALLOON_VMWARE_LOCK : BALLOON_VMWARE_UNLOCK,
                                   .pfn = pfn};
    balloon_range page = {pfn, 1};
    balloon_vmware_frame frame;

    /* For a page by itself there is no such rule, nor a way to say that it is there twice. */
    if (in && pfn == p->own &&
        balloon_tracker_count(balloon_device_tracker(p->single), BALLOON_SET_FREE, page))
        return BALLOON_VMWARE_PPN_INVALID;
    cr_assert_eq(balloon_vmware_write_request(&call, BALLOON_VMWARE_64_BIT, &frame), BALLOON_OK);
    cr_assert_eq(balloon_vmware_call(p->single, &frame, BALLOON_VMWARE_64_BIT, NULL, 0, p->now),
                 BALLOON_OK);
    return frame.ax == BALLOON_VMWARE_PPN_LOCKED ? BALLOON_VMWARE_PPN_INVALID : (uint32_t)frame.ax;
}

static uint64_t read_word(const uint8_t *page, size_t i)
{
    uint64_t word = 0;

    for (unsigned b = 8; b-- > 0;)
        word = word << 8 | page[8 * i + b];
    return word;
}

static void move(struct pair *p, struct prng *prng, bool in, const uint64_t *pfns, uint32_t count)
{
    static uint8_t page[4096 + 8];
    balloon_vmware_request call = {.command = in ? BALLOON_VMWARE_BATCHED_LOCK
                                                 : BALLOON_VMWARE_BATCHED_UNLOCK,
                                   .pfn = p->own,
                                   .entries = count};
    uint8_t *at = page + prng_below(prng, 8); /* of any alignment */
    bool sane = true;

    /* Guests leave anything where the status will be. */
    for (size_t i = 0; i < count; i++)
        for (unsigned b = 0; b < 8; b++)
            at[8 * i + b] = (uint8_t)((pfns[i] << 12 | prng_below(prng, 4096)) >> 8 * b);

    uint64_t errors = vm_counters(p->batch).protocol_errors;
    balloon_vmware_reply reply =
        vmw_ask_at(p->batch, &call, BALLOON_VMWARE_64_BIT, at, 4096, p->now);

    if (vmw_held(p->single, p->own)) {
        cr_assert_eq(reply.status, BALLOON_VMWARE_PPN_LOCKED);
        return;
    }
    cr_assert_eq(reply.status, BALLOON_VMWARE_SUCCESS);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t expected = ask_single(p, in, pfns[i]);

        cr_assert_eq(read_word(at, i), pfns[i] << 12 | expected, "entry %u of %u", i, count);
        sane &= expected != BALLOON_VMWARE_PPN_INVALID;
    }
    cr_assert_eq(vm_counters(p->batch).protocol_errors - errors, !sane);
}

/* What the host does between two calls. */
static void act(struct pair *p, struct prng *prng)
{
    uint64_t target = prng_below(prng, 5700);

    switch (prng_below(prng, 8)) {
    case 0:
        cr_assert_eq(balloon_device_set_target(p->batch, target, p->now), BALLOON_OK);
        cr_assert_eq(balloon_device_set_target(p->single, target, p->now), BALLOON_OK);
        break;
    case 1:
        balloon_device_flush(p->batch);
        balloon_device_flush(p->single);
        break;
    case 2:
        if (p->inhibited) {
            cr_assert_eq(balloon_device_release(p->batch), BALLOON_OK);
            cr_assert_eq(balloon_device_release(p->single), BALLOON_OK);
        } else {
            balloon_device_inhibit(p->batch);
            balloon_device_inhibit(p->single);
        }
        p->inhibited = !p->inhibited;
        break;
    case 3:
        p->own = prng_below(prng, 6000);
        break;
    default:
        break;
    }
    if (prng_one_in(prng, 3))
        devices_poll(p->batch, p->single, p->now);
    p->now += prng_below(prng, 200 * VM_MS);
}

static void compare(uint64_t granule)
{
    struct prng prng = prng_start(prng_seed(), granule);
    struct pair p = {device_of(granule, 5000), device_of(granule, 5000), 0, 0, 5999};
    uint64_t pfns[BATCH_MOST];
    size_t count = 0;

    for (int left = prng_check_all() ? 20000 : 400; left; left--) {
        /* Half of what leaves is what came last. */
        bool in = prng_one_in(&prng, 2);

        if (in || !count || prng_one_in(&prng, 2))
            count = draw_batch(&prng, pfns);
        if (prng_one_in(&prng, 4))
            pfns[prng_below(&prng, count)] = p.own;
        move(&p, &prng, in, pfns, (uint32_t)count);
        devices_agree(p.batch, p.single, p.now);
        act(&p, &prng);
    }
}

Test(vmware_device_order, a_batch_is_its_entries_one_by_one)
{
    compare(1);
}

Test(vmware_device_order, so_it_is_for_hosts_with_large_pages)
{
    compare(4);
    compare(512);
}
