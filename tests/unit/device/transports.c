/* A device speaks one transport at a time: what is left of another, and calls meant for another. */
#include <balloon/hyperv.h>
#include <balloon/vmware.h>
#include <balloon/xen.h>

#include "vm.h"

TestSuite(device_transports, .fini = vm_end);

static const balloon_region ram[1] = {{0, 1024, 1}};

static balloon_device *a_device(void)
{
    const balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = 1};

    return vm_device(&config);
}

/* Bound to another transport, a device has no virtio state, and says so instead of making some. */
Test(device_transports, virtio_is_refused_by_a_device_of_another_transport)
{
    balloon_device *d = a_device();
    const balloon_virtio_buffer buffer = {.cookie = 1};
    const balloon_vmware_options options = {.size = sizeof(options)};
    balloon_vmware_session before, after;
    uint8_t actual[4] = {1, 2, 3, 4};

    cr_assert_eq(balloon_vmware_configure(d, &options), BALLOON_OK);
    balloon_vmware_session_get(d, &before);
    cr_expect_eq(balloon_virtio_set_features(d, 0), BALLOON_ERR_STATE);
    cr_expect_eq(balloon_virtio_driver_ok(d, 0, 0), BALLOON_ERR_STATE);
    cr_expect_eq(balloon_virtio_receive(d, 0, &buffer, 0), BALLOON_ERR_STATE);
    balloon_virtio_config_write(d, 4, actual, sizeof(actual));
    cr_expect_eq(vm_counters(d).protocol_errors, 1);
    balloon_vmware_session_get(d, &after);
    cr_expect_eq(memcmp(&before, &after, sizeof(before)), 0);
}

/* The state of a transport goes when another one is chosen. */
Test(device_transports, the_last_transport_chosen_counts)
{
    balloon_device *d = a_device();
    const balloon_xen_options xen = {.size = sizeof(xen), .domain = 0x7ff};
    const balloon_hyperv_options hyperv = {.size = sizeof(hyperv)};
    const balloon_virtio_options virtio = {.size = sizeof(virtio)};
    balloon_vmware_frame frame = {0};
    balloon_hyperv_session talk;
    int64_t result;

    cr_assert_eq(balloon_xen_configure(d, &xen), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_configure(d, &hyperv), BALLOON_OK);
    cr_expect_eq(balloon_xen_memory_op(d, 0, NULL, NULL, 0, &result, 0), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_hyperv_open(d), BALLOON_OK);
    balloon_hyperv_session_get(d, &talk);
    cr_expect_eq(talk.phase, BALLOON_HYPERV_VERSION);
    cr_assert_eq(balloon_virtio_configure(d, &virtio), BALLOON_OK);
    cr_expect_eq(balloon_hyperv_open(d), BALLOON_ERR_STATE);
    cr_expect_eq(balloon_vmware_call(d, &frame, BALLOON_VMWARE_64_BIT, NULL, 0, 0),
                 BALLOON_ERR_STATE);
    balloon_hyperv_session_get(d, &talk);
    cr_expect_eq(talk.phase, 0);
    cr_expect_eq(balloon_virtio_driver_ok(d, 0, 0), BALLOON_OK);
}

/* A device may be loaded before its transport is known; then it speaks virtio. */
Test(device_transports, what_is_loaded_before_virtio_is_called_is_kept)
{
    balloon_device *from = a_device(), *to = a_device();
    const uint64_t chosen = BALLOON_F_MUST_TELL | BALLOON_VIRTIO_F_VERSION_1;
    const uint8_t half[2] = {0x34, 0x12}, rest[2] = {0, 0};

    cr_assert_eq(balloon_virtio_set_features(from, chosen), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_ok(from, 0, 0), BALLOON_OK);
    balloon_virtio_config_write(from, 4, half, 2);
    cr_assert_eq(vm_move(from, 0, to, 0), BALLOON_OK);
    cr_expect_eq(vm_move(to, 0, from, 0), BALLOON_OK, "saved again, it is the same");
    balloon_virtio_config_write(to, 6, rest, 2);
    cr_expect_eq(vm_status(to).actual, 0x1234);
    cr_expect_eq(balloon_virtio_set_features(to, chosen), BALLOON_OK, "it is what was chosen");
    cr_expect_eq(balloon_virtio_set_features(to, BALLOON_F_MUST_TELL), BALLOON_ERR_STATE);
}
