/* What a driver asks for by default on each transport: chunks that its largest blocks fit into. */
#include "driver_support.h"

#include <balloon/hyperv.h>
#include <balloon/vmware.h>
#include <balloon/xen.h>

/* All that is asked for is there. Returns the largest request. */
static balloon_driver_action grow(balloon_driver *driver, balloon_status (*sent)(balloon_driver *))
{
    balloon_driver_action action, largest = {0};
    balloon_pfn_t at = 0;

    while (balloon_driver_poll(driver, 0, &action)) {
        cr_assert(balloon_driver_check(driver, NULL));
        if (action.type == BALLOON_DRIVER_SEND) {
            cr_assert_eq(sent(driver), BALLOON_OK);
        } else if (action.type == BALLOON_DRIVER_ALLOC) {
            balloon_range run = {(at + action.block - 1) & ~(balloon_pfn_t)(action.block - 1),
                                 action.pages};

            cr_assert_eq(action.pages % action.block, 0);
            cr_assert_leq(action.max_runs, action.pages);
            at = run.first + run.count;
            cr_assert_eq(balloon_driver_give(driver, action.channel, &run, 1, 0), BALLOON_OK);
            if (action.pages > largest.pages)
                largest = action;
        }
    }
    return largest;
}

static uint64_t most; /* pages of a message */

static balloon_driver *make_default(void)
{
    balloon_driver_config config = {0};

    most = 0;
    return make(&config);
}

static balloon_status virtio_sent(balloon_driver *driver)
{
    static unsigned char bytes[256 * 4];
    balloon_virtio_message message;

    cr_assert_eq(balloon_virtio_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, sizeof(bytes),
                                             &message),
                 BALLOON_OK);
    most = message.bytes / 4 > most ? message.bytes / 4 : most;
    return balloon_virtio_driver_acked(driver, message.queue, 0);
}

/* What every device takes. */
Test(driver_blocks, of_virtio_are_as_large_as_a_buffer)
{
    balloon_driver *driver = make_default();
    balloon_driver_action largest;

    start(driver, 0);
    want(driver, 3072);
    largest = grow(driver, virtio_sent);
    cr_assert_eq(largest.block, 256);
    cr_assert_eq(largest.pages, 256);
    cr_assert_eq(most, 256);
    cr_assert_eq(status_of(driver).held, 3072);
}

static balloon_status xen_sent(balloon_driver *driver)
{
    static unsigned char bytes[4096];
    balloon_xen_reservation call;
    uint32_t command;
    size_t used;

    if (balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used) == BALLOON_OK)
        return BALLOON_OK;
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, bytes, sizeof(bytes), 4096, &command, &call),
        BALLOON_OK);
    most = call.extents << call.order > most ? call.extents << call.order : most;
    if (call.extents << call.order == 512)
        cr_assert_eq(call.order, 9);
    return balloon_xen_driver_result(driver, (int64_t)call.extents, 0);
}

static void xen_says(balloon_driver *driver, balloon_xen_message_type type, uint32_t id,
                     const char *value)
{
    static unsigned char bytes[256];
    balloon_xen_message message = {.header = {.type = type, .id = id},
                                   .value = {value, strlen(value)}};
    size_t size = balloon_xen_write_reply(&message, bytes, sizeof(bytes));

    (void)grow(driver, xen_sent);
    cr_assert_eq(balloon_xen_driver_receive(driver, bytes, size, 0), BALLOON_OK);
}

Test(driver_blocks, of_xen_are_2_mib)
{
    balloon_xen_driver_options options = {.size = sizeof(options), .pv = true};
    balloon_driver *driver = make_default();

    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_OK);
    xen_says(driver, BALLOON_XEN_WATCH, 1, "");
    xen_says(driver, BALLOON_XEN_READ, 2, "4096"); /* KiB, of 16384 */
    cr_assert_eq(grow(driver, xen_sent).block, 512);
    cr_assert_eq(most, 512);
    cr_assert_eq(status_of(driver).held, 3072);
}

static balloon_status hyperv_sent(balloon_driver *driver)
{
    static unsigned char bytes[BALLOON_HYPERV_MESSAGE_BYTES];
    balloon_hyperv_message m;
    size_t used;

    if (balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_CONTROL, bytes, sizeof(bytes), 0,
                                    &used) == BALLOON_OK)
        return BALLOON_OK;
    cr_assert_eq(balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, sizeof(bytes),
                                             0, &used),
                 BALLOON_OK);
    cr_assert_eq(balloon_hyperv_decode(bytes, used, &m), BALLOON_OK);
    cr_assert_eq(m.body.ranges.count, 1);
    return BALLOON_OK;
}

static void hyperv_says(balloon_driver *driver, balloon_hyperv_type type, uint32_t pages)
{
    static unsigned char bytes[BALLOON_HYPERV_WIRE_BYTES_MAX];
    balloon_hyperv_message m = {.type = (uint16_t)type};
    size_t size;

    if (pages)
        m.body.pages = pages;
    else
        m.body.answer.accepted = true;
    size = balloon_hyperv_encode(&m, bytes, sizeof(bytes));
    (void)grow(driver, hyperv_sent);
    cr_assert_eq(balloon_hyperv_driver_receive(driver, bytes, size, 0), BALLOON_OK);
}

Test(driver_blocks, of_hyperv_are_2_mib)
{
    balloon_driver *driver = make_default();

    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    hyperv_says(driver, BALLOON_HYPERV_VERSION_RESPONSE, 0);
    hyperv_says(driver, BALLOON_HYPERV_CAPABILITIES_RESPONSE, 0);
    hyperv_says(driver, BALLOON_HYPERV_BALLOON_REQUEST, 3072);
    cr_assert_eq(grow(driver, hyperv_sent).block, 512);
    cr_assert_eq(status_of(driver).held, 3072);
}

static balloon_status vmware_sent(balloon_driver *driver)
{
    static unsigned char bytes[4096];
    balloon_vmware_frame frame;
    balloon_vmware_request call;
    balloon_vmware_reply reply = {.target = 3072};
    balloon_vmware_entry entry;

    if (balloon_vmware_driver_write(driver, BALLOON_CHANNEL_CONTROL, &frame, NULL, 0, 0) !=
        BALLOON_OK)
        cr_assert_eq(balloon_vmware_driver_write(driver, BALLOON_CHANNEL_INFLATE, &frame, bytes,
                                                 sizeof(bytes), PAGES - 1),
                     BALLOON_OK);
    cr_assert_eq(balloon_vmware_read_request(&frame, BALLOON_VMWARE_64_BIT, &call), BALLOON_OK);
    if (call.command == BALLOON_VMWARE_START)
        balloon_vmware_answer_start(call.capabilities, BALLOON_VMWARE_CAPABILITIES_ALL, &reply);
    if (call.command == BALLOON_VMWARE_BATCHED_2M_LOCK) {
        cr_assert_eq(balloon_vmware_read_batch(bytes, sizeof(bytes), 1, &entry), BALLOON_OK);
        most = 512;
    }
    cr_assert_eq(balloon_vmware_write_reply(call.command, &reply, BALLOON_VMWARE_64_BIT, &frame),
                 BALLOON_OK);
    return balloon_vmware_driver_reply(driver, &frame, bytes, sizeof(bytes), 0);
}

Test(driver_blocks, of_vmware_are_2_mib)
{
    balloon_driver *driver = make_default();

    cr_assert_eq(balloon_vmware_driver_open(driver, NULL, 0), BALLOON_OK);
    cr_assert_eq(grow(driver, vmware_sent).block, 512);
    cr_assert_eq(most, 512);
    cr_assert_eq(status_of(driver).held, 3072);
}

/* A config is the same on all of them. */
Test(driver_blocks, are_no_larger_than_a_chunk_that_was_asked_for)
{
    balloon_driver_config config = {.chunk_pages = 128};
    balloon_driver *driver = make(&config);

    cr_assert_eq(balloon_vmware_driver_open(driver, NULL, 0), BALLOON_OK);
    cr_assert_eq(grow(driver, vmware_sent).block, 128);
}
