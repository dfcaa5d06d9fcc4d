/* Save and load of a device of VMware: the guest does not notice. */
#include <stdlib.h>

#include "vmware_support.h"

TestSuite(vmware_device_save, .fini = vm_end);

#define THEN (1000 * VM_SECOND)
#define NOW  (5000 * VM_SECOND)

Test(vmware_device_save, the_session_goes_on)
{
    balloon_device *device = vmw_started(VMW_ALL, 1, 64), *to = vmw_blank(VMW_ALL, 1);
    balloon_vmware_request guest = {.command = BALLOON_VMWARE_SET_GUEST,
                                    .guest = UINT32_C(0xfedcba98)};
    balloon_vmware_request limit = {.command = BALLOON_VMWARE_GET_TARGET,
                                    .limit = UINT64_C(0x123456789abcdef0)};

    (void)vmw_ask(device, guest);
    (void)vmw_ask(device, limit);
    (void)vmw_doorbell(device, 3, 0x10001);
    cr_assert_eq(vmw_page(device, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(balloon_device_set_target(device, 32, THEN), BALLOON_OK);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);

    balloon_vmware_session a = vmw_session(device), b = vmw_session(to);
    cr_assert_eq(b.capabilities, VMW_ALL);
    cr_assert_eq(b.guest, guest.guest);
    cr_assert_eq(b.limit, limit.limit);
    cr_assert_eq(b.context, 3);
    cr_assert_eq(b.resource, 0x10001);
    cr_assert_eq(memcmp(&a, &b, sizeof(a)), 0);
    CHECK_POLL(to, NOW, "irq");
    CHECK_POLL(to, NOW + VM_SECOND, "discard 5+1");
    cr_assert_eq(vmw_get_target(to).target, 32);
    cr_assert_eq(vmw_page(to, BALLOON_VMWARE_UNLOCK, 5), BALLOON_VMWARE_SUCCESS);
}

Test(vmware_device_save, no_driver_is_no_driver_there)
{
    balloon_device *device = vmw_blank(0, 1), *to = vmw_started(0, 1, 64);

    cr_assert_eq(vmw_page(to, BALLOON_VMWARE_LOCK, 5), BALLOON_VMWARE_SUCCESS);
    cr_assert_eq(vm_move(device, THEN, to, NOW), BALLOON_OK);
    cr_assert_not(vm_status(to).driver);
    cr_assert_eq(vm_status(to).held, 0);
    cr_assert_eq(vmw_get_target(to).status, BALLOON_VMWARE_RESET);
}

Test(vmware_device_save, needs_the_same_transport_and_capabilities)
{
    balloon_device *device = vmw_started(0, 1, 64);

    cr_assert_eq(vm_move(device, THEN, vmw_blank(VMW_ALL, 1), NOW), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_move(device, THEN, vmw_blank(BALLOON_VMWARE_BASIC, 1), NOW),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_move(device, THEN, vm_simple(BALLOON_F_DEFAULT), NOW), BALLOON_ERR_PROTOCOL);
}

/* Where the part of the binding lies: where two devices that differ by the guest's name do. */
static size_t find_part(const uint8_t *saved, const uint8_t *other, size_t bytes)
{
    size_t at = 0;

    while (at < bytes && saved[at] == other[at])
        at++;
    cr_assert_lt(at, bytes);
    return at - 24;
}

/* What no device can have saved. */
Test(vmware_device_save, every_byte_of_the_part_is_checked)
{
    balloon_device *device = vmw_started(VMW_ALL & ~(uint64_t)BALLOON_VMWARE_DOORBELL, 1, 64);
    balloon_vmware_request guest = {.command = BALLOON_VMWARE_SET_GUEST, .guest = 0xff};
    const uint32_t too_many = UINT32_MAX / 511 + 1;
    size_t bytes, other_bytes;
    uint8_t *before = rig_save(device, THEN, &other_bytes);

    (void)vmw_ask(device, guest);

    uint8_t *saved = rig_save(device, THEN, &bytes);
    size_t part = find_part(saved, before, bytes);
    const struct {
        size_t at;
        uint8_t value;
    } damage[] = {
        {part - 1, 0},    /* transport */
        {part, 0x3e},     /* what the device supports */
        {part + 7, 1},    /* its last byte */
        {part + 8, 0x3e}, /* granted: more than supported */
        {part + 8, 0x0a}, /* 2 MiB batches alone */
        {part + 8, 0},    /* nothing, though there is a driver */
        {part + 44, 4},   /* unknown flags */
        {part + 44, 2},   /* told to start again, though it has a session */
        {part + 45, 1},   /* behind the part */
        {part + 63, 1},   /* its end */
    };

    cr_assert_eq(bytes, other_bytes);
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        balloon_device *to = vmw_blank(0, 1);
        uint8_t was = saved[damage[i].at];

        saved[damage[i].at] = damage[i].value;
        cr_assert_eq(balloon_device_load(to, NOW, saved, bytes), BALLOON_ERR_PROTOCOL, "%zu", i);
        cr_assert_not(vm_status(to).driver);
        saved[damage[i].at] = was;
    }
    balloon_device *to = vmw_blank(0, 1);

    for (unsigned i = 0; i < 4; i++)
        saved[part + 36 + i] = (uint8_t)(too_many >> 8 * i);
    cr_assert_eq(balloon_device_load(to, NOW, saved, bytes), BALLOON_ERR_PROTOCOL);
    memset(saved + part + 36, 0, 4);
    /* A doorbell without its capability. */
    memset(saved + part + 28, 1, 8);
    cr_assert_eq(balloon_device_load(to, NOW, saved, bytes), BALLOON_ERR_PROTOCOL);
    memset(saved + part + 28, 0xff, 8);
    cr_assert_eq(balloon_device_load(to, NOW, saved, bytes), BALLOON_OK);
    cr_assert_eq(vmw_session(to).guest, 0xff);
    free(before);
    free(saved);
}

/* The features in use are those of this transport. */
Test(vmware_device_save, checks_the_features_in_use)
{
    balloon_device *device = vmw_started(0, 1, 64);
    size_t bytes;
    uint8_t *saved = rig_save(device, THEN, &bytes);

    cr_assert_eq(saved[12], BALLOON_F_MUST_TELL);
    saved[12] = BALLOON_F_MUST_TELL | BALLOON_F_STATS;
    cr_assert_eq(balloon_device_load(vmw_blank(0, 1), NOW, saved, bytes), BALLOON_ERR_PROTOCOL);
    saved[12] = 0;
    cr_assert_eq(balloon_device_load(vmw_blank(0, 1), NOW, saved, bytes), BALLOON_ERR_PROTOCOL);
    free(saved);
}
