/* Both ends of VMware, joined by registers and a batch page: whatever is asked, the host discards
 * no page that the guest uses, and both count the same. */
#include "vm.h"
#include "vmware_driver_support.h"

static struct vmk k;

static void end(void)
{
    vmk_end(&k);
    vm_end();
}

TestSuite(vmware_driver_device, .fini = end);

struct joined {
    balloon_device *device;
    uint64_t rings, discarded;
};

/* Registers travel as bytes, so that no half of them gets through that the guest has not. */
static void device_host(struct vmk *kernel, balloon_vmware_frame *frame)
{
    struct joined *j = kernel->host_data;
    uint8_t bytes[BALLOON_VMWARE_FRAME_BYTES];
    balloon_vmware_frame seen;
    size_t size = balloon_vmware_write_frame(frame, kernel->width, bytes, sizeof(bytes));

    cr_assert_eq(balloon_vmware_read_frame(bytes, size, kernel->width, &seen), BALLOON_OK);
    cr_assert_eq(balloon_vmware_call(j->device, &seen, kernel->width, kernel->page,
                                     sizeof(kernel->page), kernel->now),
                 BALLOON_OK);
    size = balloon_vmware_write_frame(&seen, kernel->width, bytes, sizeof(bytes));
    cr_assert_eq(balloon_vmware_read_frame(bytes, size, kernel->width, frame), BALLOON_OK);
}

/* What the device wants: discards hit pages that the kernel has given away, and no others. */
static void serve(struct joined *j)
{
    balloon_action action;
    const char *why = NULL;

    while (balloon_device_poll(j->device, k.now, &action)) {
        if (action.type == BALLOON_ACTION_CONFIG_IRQ) {
            balloon_vmware_session session;

            balloon_vmware_session_get(j->device, &session);
            cr_assert_eq(session.context, 3);
            cr_assert_eq(session.resource, 5);
            j->rings++;
            balloon_vmware_driver_doorbell(k.driver, k.now);
        }
        for (uint32_t i = 0; i < action.run_count; i++)
            for (uint64_t p = 0; p < action.runs[i].range.count; p++)
                cr_assert_eq(k.owner[action.runs[i].range.first + p], VMK_GIVEN);
        for (uint32_t i = 0; i < action.run_count; i++)
            j->discarded += action.runs[i].range.count;
    }
    cr_assert(balloon_device_check(j->device, &why), "%s", why);
}

static void check_same(const struct joined *j)
{
    const balloon_tracker *host = balloon_device_tracker(j->device);
    const balloon_tracker *guest = balloon_driver_tracker(k.driver);

    cr_assert_eq(balloon_tracker_held(host), k.given);
    for (uint64_t i = 0; i < VMK_PAGES; i++) {
        balloon_range page = {i, 1};
        uint64_t given = k.owner[i] == VMK_GIVEN;

        cr_assert_eq(balloon_tracker_count(host, BALLOON_SET_HELD, page), given);
        if (guest)
            cr_assert_eq(balloon_tracker_count(guest, BALLOON_SET_HELD, page), given);
    }
}

struct talk {
    uint64_t stream;
    uint64_t host, guest; /* capabilities */
    balloon_vmware_width width;
    uint64_t granule;
    uint32_t chunk_pages, steps;
    bool doorbell, lists;
};

static void join(struct joined *j, struct prng *prng, const struct talk *t)
{
    balloon_region ram = {0, VMK_PAGES, t->granule};
    balloon_device_config host = {
        .size = sizeof(host), .regions = &ram, .region_count = 1, .gather_pages = 1024};
    balloon_driver_config guest = {.chunk_pages = t->chunk_pages,
                                   .total_pages = t->lists ? VMK_PAGES : 0};
    balloon_vmware_options options = {.size = sizeof(options), .capabilities = t->host};
    balloon_vmware_driver_options driver_options = {.size = sizeof(driver_options),
                                                    .width = t->width,
                                                    .capabilities = t->guest,
                                                    .guest = BALLOON_VMWARE_GUEST_LINUX,
                                                    .context = t->doorbell ? 3 : 0,
                                                    .resource = 5};

    *j = (struct joined){.device = vm_device(&host)};
    cr_assert_eq(balloon_vmware_configure(j->device, &options), BALLOON_OK);
    vmk_make(&k, &guest);
    k.prng = prng;
    k.width = t->width;
    k.host = device_host;
    k.host_data = j;
    cr_assert_eq(balloon_vmware_driver_open(k.driver, &driver_options, 0), BALLOON_OK);
    (void)vmk_run(&k, 0);
}

/* Anything that a host, a kernel or a management layer may do. */
static void disturb(struct joined *j, struct prng *prng, const struct talk *t)
{
    uint64_t page = prng_below(prng, VMK_PAGES), other = prng_below(prng, VMK_PAGES);

    switch (prng_below(prng, 40)) {
    case 0: /* the device is made anew, as it were: the guest is to start again */
        balloon_device_reset(j->device);
        break;
    case 1:
    case 2:
        (void)!balloon_driver_oom(k.driver, prng_below(prng, 300), NULL, k.now);
        break;
    case 3:
        balloon_device_inhibit(j->device);
        break;
    case 4:
    case 5:
    case 6:
        (void)!balloon_device_release(j->device);
        break;
    case 7:
    case 8:
    case 9:
        if (k.owner[page] == VMK_GIVEN && k.owner[other] == VMK_FREE &&
            balloon_driver_migrate(k.driver, page, other, k.now) == BALLOON_OK)
            vmk_set_owner(&k, other, 1, VMK_FREE, VMK_GIVEN);
        break;
    case 10: { /* the guest moves to another host */
        struct joined next = *j;
        balloon_region ram = {0, VMK_PAGES, t->granule};
        balloon_device_config config = {
            .size = sizeof(config), .regions = &ram, .region_count = 1, .gather_pages = 1024};
        balloon_vmware_options options = {.size = sizeof(options), .capabilities = t->host};

        if (k.calls % 4)
            break;
        next.device = vm_device(&config);
        cr_assert_eq(balloon_vmware_configure(next.device, &options), BALLOON_OK);
        cr_assert_eq(vm_move(j->device, k.now, next.device, k.now), BALLOON_OK);
        *j = next;
        break;
    }
    default:
        break;
    }
}

static void talk(const struct talk *t)
{
    struct prng prng = prng_start(prng_seed(), 500 + t->stream);
    uint32_t steps = prng_check_all() ? 20 * t->steps : t->steps, moves = 0;
    struct joined j;

    join(&j, &prng, t);
    for (uint32_t i = 1; i <= steps; i++) {
        k.now += VMK_SECOND / 4;
        if (prng_one_in(&prng, 3))
            cr_assert_eq(balloon_device_set_target(
                             j.device,
                             prng_one_in(&prng, 6) ? 0 : prng_below(&prng, VMK_PAGES * 3 / 4),
                             k.now),
                         BALLOON_OK);
        serve(&j);
        if (moves < 40) {
            const balloon_device *before = j.device;

            disturb(&j, &prng, t);
            moves += j.device != before;
        }
        (void)vmk_run(&k, k.now);
        serve(&j);
        /* A device that was reset knows of no pages until the guest has heard of it. */
        if (i % 16 == 0 && vm_status(j.device).driver)
            check_same(&j);
    }
    /* Left alone, both come to the target, to the page. */
    while (balloon_device_release(j.device) == BALLOON_OK)
        ;
    for (uint64_t target = 0; target < 3; target++) {
        cr_assert_eq(balloon_device_set_target(j.device, target * 4000, k.now), BALLOON_OK);
        for (uint32_t i = 0; i < 400 && (i < 8 || k.given != target * 4000); i++) {
            serve(&j);
            (void)vmk_run(&k, k.now + VMK_SECOND / 4);
        }
        cr_assert_eq(k.given, target * 4000);
        check_same(&j);
        cr_assert(vm_status(j.device).settled);
    }
    cr_assert_gt(j.discarded, 0);
    cr_assert_eq(j.rings > 0, t->doorbell);
    cr_assert_eq(vmk_counters(&k).protocol_errors, 0);
    cr_assert_eq(vm_counters(j.device).protocol_errors, 0);
    /* And the guest goes to sleep. */
    cr_assert_eq(balloon_driver_suspend(k.driver, k.now), BALLOON_OK);
    for (uint32_t i = 0; i < 100 && !k.suspended; i++)
        (void)vmk_run(&k, k.now + VMK_SECOND);
    cr_assert(k.suspended);
    cr_assert_eq(k.given, 0);
    cr_assert_not(vm_status(j.device).driver);
    check_same(&j);
}

Test(vmware_driver_device, of_today)
{
    talk(&(struct talk){.stream = 1, .chunk_pages = 8192, .granule = 1, .steps = 500});
}

Test(vmware_driver_device, with_a_doorbell_and_large_host_pages)
{
    talk(&(struct talk){.stream = 2,
                        .host = BALLOON_VMWARE_CAPABILITIES_ALL,
                        .doorbell = true,
                        .chunk_pages = 2048,
                        .granule = 512,
                        .steps = 500});
}

Test(vmware_driver_device, in_batches_of_single_pages)
{
    talk(&(struct talk){.stream = 3,
                        .guest = BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED,
                        .chunk_pages = 1024,
                        .granule = 16,
                        .steps = 500});
}

Test(vmware_driver_device, of_32_bits)
{
    talk(&(struct talk){.stream = 4,
                        .width = BALLOON_VMWARE_32_BIT,
                        .chunk_pages = 4096,
                        .granule = 1,
                        .steps = 500});
}

Test(vmware_driver_device, by_single_calls)
{
    talk(&(struct talk){.stream = 5,
                        .host = BALLOON_VMWARE_BASIC,
                        .width = BALLOON_VMWARE_32_BIT,
                        .chunk_pages = 256,
                        .granule = 1,
                        .steps = 40});
}

Test(vmware_driver_device, of_a_kernel_with_lists)
{
    talk(&(struct talk){
        .stream = 6, .lists = true, .chunk_pages = 2048, .granule = 1, .steps = 500});
}
