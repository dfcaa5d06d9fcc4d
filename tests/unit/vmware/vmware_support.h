/* A guest that speaks to a device of VMware by registers. */
#ifndef TEST_VMWARE_SUPPORT_H
#define TEST_VMWARE_SUPPORT_H

#include <balloon/vmware.h>

#include "vm.h"

#define VMW_ALL ((uint64_t)BALLOON_VMWARE_CAPABILITIES_ALL)

/* Where the batch page lies, unless a test wants another place. */
#define VMW_BATCH 4000

/* 4096 pages of RAM, and no driver yet. */
static inline balloon_device *vmw_blank(uint64_t capabilities, uint64_t granule)
{
    balloon_region ram = {0, 4096, granule};
    balloon_device_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .max_pages = 16384,
        .gather_delay = 10 * VM_MS,
    };
    balloon_vmware_options options = {.size = sizeof(options), .capabilities = capabilities};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_vmware_configure(device, &options), BALLOON_OK);
    return device;
}

/* One call, whose registers also have rubbish wherever open-vm-tools leaves it. Checks that the
 * answer is in the registers that carry answers, and nowhere else. */
static inline balloon_vmware_reply vmw_ask_at(balloon_device *device,
                                              const balloon_vmware_request *request,
                                              balloon_vmware_width width, void *page, size_t bytes,
                                              balloon_time_t now)
{
    balloon_vmware_frame frame, before;
    balloon_vmware_reply reply;

    cr_assert_eq(balloon_vmware_write_request(request, width, &frame), BALLOON_OK);
    frame.cx |= UINT64_C(0xabcdef0123450000);
    frame.dx |= UINT64_C(0x1234567800990000);
    frame.ax |= UINT64_C(0x7777777700000000);
    frame.si |= UINT64_C(0x5555555500000000);
    frame.di = UINT64_C(0x4444444444444444);
    before = frame;
    cr_assert_eq(balloon_vmware_call(device, &frame, width, page, bytes, now), BALLOON_OK);
    cr_assert(balloon_device_check(device, NULL));
    cr_assert_eq(frame.dx, before.dx);
    cr_assert_eq(frame.si, before.si);
    cr_assert_eq(frame.di, before.di);
    cr_assert_eq(frame.ax >> 32, 0);
    cr_assert(request->command == BALLOON_VMWARE_START || frame.cx == before.cx);
    cr_assert_eq(balloon_vmware_read_reply(request->command, &frame, width, &reply), BALLOON_OK);
    return reply;
}

static inline balloon_vmware_reply vmw_ask(balloon_device *device, balloon_vmware_request request)
{
    return vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, NULL, 0, 0);
}

static inline balloon_vmware_reply vmw_start(balloon_device *device, uint64_t capabilities)
{
    return vmw_ask(device, (balloon_vmware_request){.command = BALLOON_VMWARE_START,
                                                    .capabilities = capabilities});
}

static inline balloon_vmware_reply vmw_get_target(balloon_device *device)
{
    return vmw_ask(device,
                   (balloon_vmware_request){.command = BALLOON_VMWARE_GET_TARGET, .limit = 4096});
}

/* LOCK or UNLOCK: the status. */
static inline int32_t vmw_page(balloon_device *device, balloon_vmware_command command,
                               balloon_pfn_t pfn)
{
    return vmw_ask(device, (balloon_vmware_request){.command = command, .pfn = pfn}).status;
}

static inline int32_t vmw_doorbell(balloon_device *device, uint32_t context, uint32_t resource)
{
    return vmw_ask(device, (balloon_vmware_request){.command = BALLOON_VMWARE_SET_DOORBELL,
                                                    .context = context,
                                                    .resource = resource})
        .status;
}

/* A batch: the status of the call, and those of the entries in place of what was in there. The page
 * numbers must be what they were, and nothing behind the entries may be written. */
static inline int32_t vmw_batch(balloon_device *device, balloon_vmware_command command,
                                const balloon_pfn_t *pfns, uint32_t count, uint32_t *statuses)
{
    uint8_t page[4096 + 8];
    balloon_vmware_entry entries[BALLOON_VMWARE_BATCH_MAX];
    balloon_vmware_request request = {.command = command, .pfn = VMW_BATCH, .entries = count};

    memset(page, 0xa5, sizeof(page));
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (balloon_vmware_entry){pfns[i], 0};
    cr_assert_eq(balloon_vmware_write_batch(entries, count, page, 4096), 8 * count);

    balloon_vmware_reply reply = vmw_ask_at(device, &request, BALLOON_VMWARE_64_BIT, page, 4096, 0);

    cr_assert_eq(balloon_vmware_read_batch(page, 4096, count, entries), BALLOON_OK);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(entries[i].pfn, pfns[i]);
        statuses[i] = entries[i].status;
    }
    for (size_t i = 8 * count; i < sizeof(page); i++)
        cr_assert_eq(page[i], 0xa5);
    return reply.status;
}

/* Started with all that the device grants, and this target. */
static inline balloon_device *vmw_started(uint64_t capabilities, uint64_t granule, uint64_t target)
{
    balloon_device *device = vmw_blank(capabilities, granule);

    cr_assert_eq(balloon_device_set_target(device, target, 0), BALLOON_OK);
    (void)vmw_start(device, VMW_ALL);
    (void)vmw_get_target(device);
    cr_assert(vm_status(device).driver);
    return device;
}

static inline bool vmw_held(const balloon_device *device, balloon_pfn_t pfn)
{
    balloon_range page = {pfn, 1};

    return balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_HELD, page) == 1;
}

static inline balloon_vmware_session vmw_session(const balloon_device *device)
{
    balloon_vmware_session session;

    balloon_vmware_session_get(device, &session);
    return session;
}

#endif
