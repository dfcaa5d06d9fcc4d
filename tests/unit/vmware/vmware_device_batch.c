/* The device of VMware: batches, of pages and of 2 MiB. */
#include "vmware_support.h"

TestSuite(vmware_device_batch, .fini = vm_end);

#define LOCK      BALLOON_VMWARE_BATCHED_LOCK
#define UNLOCK    BALLOON_VMWARE_BATCHED_UNLOCK
#define LOCK_2M   BALLOON_VMWARE_BATCHED_2M_LOCK
#define UNLOCK_2M BALLOON_VMWARE_BATCHED_2M_UNLOCK

enum { OK = 0, INVALID = 2, UNLOCKED = 4, PINNED = 5, NOTNEEDED = 6 };

static void check_statuses(const uint32_t *got, const uint32_t *expected, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(got[i], expected[i], "entry %u: %u, not %u", i, got[i], expected[i]);
}

/* A batch that succeeds as a whole, and what becomes of its entries. */
#define CHECK_BATCH(device, command, count, pfns, expected)                                        \
    do {                                                                                           \
        uint32_t statuses_[BALLOON_VMWARE_BATCH_MAX];                                              \
        cr_assert_eq(vmw_batch(device, command, pfns, count, statuses_), BALLOON_VMWARE_SUCCESS);  \
        check_statuses(statuses_, expected, count);                                                \
    } while (0)

Test(vmware_device_batch, each_entry_has_its_own_answer)
{
    balloon_device *device = vmw_started(0, 1, 64);
    const balloon_pfn_t pfns[] = {5, 6, 5, 4096, BALLOON_VMWARE_PFN_END - 1, VMW_BATCH, 7};
    const uint32_t locked[] = {OK, OK, INVALID, INVALID, INVALID, INVALID, OK};
    const uint32_t unlocked[] = {OK, OK, UNLOCKED, INVALID, INVALID, UNLOCKED, OK};

    CHECK_BATCH(device, LOCK, 7, pfns, locked);
    cr_assert_eq(vm_status(device).held, 3);
    cr_assert_eq(vm_status(device).actual, 3);
    cr_assert_eq(vm_counters(device).inflate_outside, 2);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 1);
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
    CHECK_POLL(device, 0, "");
    CHECK_POLL(device, VM_SECOND, "discard 5+3");
    CHECK_BATCH(device, UNLOCK, 7, pfns, unlocked);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_eq(vm_counters(device).deflate_outside, 2);
    cr_assert_eq(vm_counters(device).protocol_errors, 2);
}

Test(vmware_device_batch, stops_at_the_target_and_while_inhibited)
{
    balloon_device *device = vmw_started(0, 1, 16);
    balloon_pfn_t pfns[20];
    uint32_t expected[20] = {0};

    for (uint32_t i = 0; i < 20; i++) {
        pfns[i] = 100 + i;
        expected[i] = i < 16 ? OK : NOTNEEDED;
    }
    CHECK_BATCH(device, LOCK, 20, pfns, expected);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    balloon_device_inhibit(device);
    for (uint32_t i = 0; i < 20; i++)
        expected[i] = i < 16 ? INVALID : PINNED;
    CHECK_BATCH(device, LOCK, 20, pfns, expected);
    cr_assert_eq(vm_status(device).held, 16);
}

/* More than one piece of the page is read and written, up to its last byte. */
Test(vmware_device_batch, has_up_to_512_entries)
{
    static const uint32_t counts[] = {1, 63, 64, 65, 128, 511, BALLOON_VMWARE_BATCH_MAX};
    balloon_device *device = vmw_started(0, 1, 1024);
    balloon_pfn_t pfns[BALLOON_VMWARE_BATCH_MAX];
    const uint32_t expected[BALLOON_VMWARE_BATCH_MAX] = {0};

    for (uint32_t i = 0; i < BALLOON_VMWARE_BATCH_MAX; i++)
        pfns[i] = 3 * i;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        CHECK_BATCH(device, LOCK, counts[i], pfns, expected);
        cr_assert_eq(vm_status(device).held, counts[i]);
        CHECK_BATCH(device, UNLOCK, counts[i], pfns, expected);
        cr_assert_eq(vm_status(device).held, 0);
    }
}

Test(vmware_device_batch, single_pages_leave_in_large_runs)
{
    balloon_device *device = vmw_started(0, 16, 1024);
    balloon_pfn_t pfns[BALLOON_VMWARE_BATCH_MAX];
    const uint32_t expected[BALLOON_VMWARE_BATCH_MAX] = {0};

    for (uint32_t i = 0; i < BALLOON_VMWARE_BATCH_MAX; i++)
        pfns[i] = 519 - i;
    CHECK_BATCH(device, LOCK, BALLOON_VMWARE_BATCH_MAX, pfns, expected);
    CHECK_POLL(device, 0, "");
    CHECK_POLL(device, VM_SECOND, "discard 16+496");
}

Test(vmware_device_batch, of_2_mib_pages)
{
    balloon_device *device = vmw_started(0, 512, 4096);
    const balloon_pfn_t pfns[] = {512, 1, 3584, 4096, 1024, BALLOON_VMWARE_PFN_END - 512};
    /* The second is not aligned, the third has the batch page in it, the others are no RAM. */
    const uint32_t locked[] = {OK, INVALID, INVALID, INVALID, OK, INVALID};
    const uint32_t unlocked[] = {OK, INVALID, UNLOCKED, INVALID, OK, INVALID};

    CHECK_BATCH(device, LOCK_2M, 6, pfns, locked);
    cr_assert_eq(vm_status(device).held, 1024);
    CHECK_POLL(device, 0, "");
    CHECK_POLL(device, VM_SECOND, "discard 512+1024");
    CHECK_BATCH(device, UNLOCK_2M, 6, pfns, unlocked);
    cr_assert_eq(vm_status(device).held, 0);
}

/* Guests ask for a whole 2 MiB page when they are short of the target by less. */
Test(vmware_device_batch, a_2_mib_page_may_cross_the_target)
{
    balloon_device *device = vmw_started(0, 1, 528);
    const balloon_pfn_t pfns[] = {0, 512, 1024};
    const uint32_t expected[] = {OK, OK, NOTNEEDED};

    CHECK_BATCH(device, LOCK_2M, 3, pfns, expected);
    cr_assert_eq(vm_status(device).held, 1024);
    cr_assert_lt(vm_status(device).held - vm_status(device).target, BALLOON_VMWARE_SLACK);
}

/* Sizes may be mixed: the host counts pages. */
Test(vmware_device_batch, pages_come_back_in_any_size)
{
    balloon_device *device = vmw_started(0, 1, 4096);
    const balloon_pfn_t large[] = {0, 512};
    const balloon_pfn_t single[] = {3, 511, 512, 600};
    const uint32_t ok[] = {OK, OK, OK, OK};
    const uint32_t once[] = {OK, UNLOCKED};

    CHECK_BATCH(device, LOCK_2M, 1, large, ok);
    CHECK_BATCH(device, UNLOCK, 2, single, ok);
    cr_assert_eq(vm_status(device).held, 510);
    /* Some of it is in the balloon, so it is no page to lock as a whole. */
    CHECK_BATCH(device, LOCK_2M, 1, large, ((const uint32_t[]){INVALID}));
    cr_assert_eq(vm_status(device).held, 510);
    CHECK_BATCH(device, UNLOCK_2M, 2, large, once);
    cr_assert_eq(vm_status(device).held, 0);
    CHECK_BATCH(device, LOCK, 4, single, ok);
    CHECK_BATCH(device, UNLOCK_2M, 2, large, ok);
    cr_assert_eq(vm_status(device).held, 0);
}

Test(vmware_device_batch, needs_ram_under_all_of_2_mib)
{
    balloon_region ram[] = {{0, 512, 1}, {512, 500, 1}};
    balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = 2, .max_pages = 1 << 14};
    balloon_vmware_options options = {.size = sizeof(options)};
    balloon_device *device = vm_device(&config);
    const balloon_pfn_t pfns[] = {0, 512};
    balloon_region rest = {1012, 1024 - 1012, 1};

    cr_assert_eq(balloon_vmware_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 1008, 0), BALLOON_OK);
    (void)vmw_start(device, VMW_ALL);
    CHECK_BATCH(device, LOCK_2M, 2, pfns, ((const uint32_t[]){OK, INVALID}));
    CHECK_BATCH(device, UNLOCK_2M, 2, pfns, ((const uint32_t[]){OK, INVALID}));
    /* Two regions that meet are fine. */
    cr_assert_eq(balloon_device_add_region(device, &rest, NULL), BALLOON_OK);
    CHECK_BATCH(device, LOCK_2M, 2, pfns, ((const uint32_t[]){OK, OK}));
    cr_assert_eq(vm_status(device).held, 1024);
}

Test(vmware_device_batch, needs_its_page)
{
    balloon_device *device = vmw_started(0, 1, 64);
    balloon_vmware_request request = {.command = LOCK, .pfn = VMW_BATCH, .entries = 2};
    uint8_t page[4096] = {0};

    page[1] = 0x50;
    page[9] = 0x60;
    cr_assert_eq(vmw_ask(device, request).status, BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 15, 0).status,
                 BALLOON_VMWARE_PPN_INVALID);
    cr_assert_eq(vm_counters(device).protocol_errors, 2);
    cr_assert_eq(vm_status(device).held, 0);
    balloon_vmware_reply reply = vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 16, 0);
    cr_assert_eq(reply.status, BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(reply.target, 64);
    cr_assert_eq(vm_status(device).held, 2);
}

/* The host has discarded it, or will. */
Test(vmware_device_batch, its_page_is_not_in_the_balloon)
{
    balloon_device *device = vmw_started(0, 1, 64);
    balloon_vmware_request request = {.command = LOCK, .pfn = 9, .entries = 1};
    uint8_t page[4096] = {0}, before[4096] = {0};

    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 9), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 4096, 0).status,
                 BALLOON_VMWARE_PPN_LOCKED);
    cr_assert_eq(memcmp(page, before, sizeof(page)), 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 1);
    cr_assert_eq(vm_status(device).held, 1);
    /* Even to get that page back: by UNLOCK alone, or by another batch page. */
    request.command = UNLOCK;
    cr_assert_eq(vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 4096, 0).status,
                 BALLOON_VMWARE_PPN_LOCKED);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_UNLOCK, 9), BALLOON_VMWARE_SUCCESS);
}

/* Status and reserved bits of the guest mean nothing, and come back as they should be. */
Test(vmware_device_batch, reserved_bits_mean_nothing)
{
    balloon_device *device = vmw_started(0, 1, 64);
    balloon_vmware_request request = {.command = LOCK, .pfn = VMW_BATCH, .entries = 1};
    uint8_t page[4096] = {0xff, 0x5f};

    cr_assert_eq(vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 4096, 0).status,
                 BALLOON_VMWARE_SUCCESS);
    cr_assert(vmw_held(device, 5));
    cr_assert_eq(page[0], 0);
    cr_assert_eq(page[1], 0x50);
}
