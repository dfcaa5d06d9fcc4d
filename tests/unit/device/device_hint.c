/* Free page hints: rounds with an id each, for migration. Nothing hinted is ever discarded. */
#include "vm.h"

TestSuite(device_hint, .fini = vm_end);

#define ID_AT 8
#define STOP  BALLOON_VIRTIO_HINT_STOP
#define DONE  BALLOON_VIRTIO_HINT_DONE

/* The id the guest reads, which must be that of a round. */
static uint32_t shown(const balloon_device *device)
{
    uint32_t id = rig_read_config(device, ID_AT);

    cr_assert_gt(id, DONE);
    return id;
}

static uint32_t start(balloon_device *device)
{
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    return shown(device);
}

/* A device with a round that the guest has begun by buffer 1. */
static balloon_device *running(void)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);
    uint32_t id = start(device);

    cr_assert_eq(vm_hint_command(device, 1, id), BALLOON_OK);
    CHECK_POLL(device, 0, "ack hint/1");
    return device;
}

static uint64_t skipped(const balloon_device *device)
{
    return balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_SKIP,
                                 (balloon_range){0, 4096});
}

Test(device_hint, a_round_from_start_to_finish)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);

    cr_assert_eq(rig_read_config(device, ID_AT), STOP);
    uint32_t id = start(device);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_REQUESTED);
    cr_assert_eq(vm_hint_command(device, 1, id), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_RUNNING);
    cr_assert_eq(vm_hint(device, 2, 1024, 1024), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 3, STOP), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_STOPPED);
    CHECK_POLL(device, 0, "ack hint/1 | ack hint/2 | ack hint/3 | hinted");
    cr_assert_eq(vm_status(device).hinted, 1024);
    cr_assert_eq(skipped(device), 1024);
    cr_assert_eq(vm_counters(device).hints, 1024);

    cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    cr_assert_eq(rig_read_config(device, ID_AT), DONE);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_OFF);
    cr_assert_eq(vm_status(device).hinted, 0);
    cr_assert_eq(vm_counters(device).discarded, 0);
}

Test(device_hint, each_round_has_another_id)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);
    uint32_t first = start(device), second = start(device);

    cr_assert_neq(first, second);
    cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    uint32_t third = start(device);
    cr_assert_neq(third, first);
    cr_assert_neq(third, second);
}

Test(device_hint, a_new_round_forgets_the_hints_of_the_last)
{
    balloon_device *device = running();

    cr_assert_eq(vm_hint(device, 2, 0, 512), BALLOON_OK);
    uint32_t id;
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    id = shown(device);
    cr_assert_eq(vm_status(device).hinted, 0);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_REQUESTED);
    /* What is still on its way belongs to the old round. */
    cr_assert_eq(vm_hint(device, 3, 0, 512), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 4, STOP), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_REQUESTED);
    cr_assert_eq(vm_hint_command(device, 5, id), BALLOON_OK);
    cr_assert_eq(vm_hint(device, 6, 512, 256), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinted, 256);
    cr_assert_eq(vm_counters(device).hints_stale, 512);
}

Test(device_hint, hints_before_the_guest_begins_are_stale)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);

    start(device);
    cr_assert_eq(vm_hint(device, 1, 0, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack hint/1");
    cr_assert_eq(vm_status(device).hinted, 0);
    cr_assert_eq(vm_counters(device).hints_stale, 512);
}

Test(device_hint, an_id_that_is_not_the_current_one_begins_nothing)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);
    uint32_t id = start(device);

    cr_assert_eq(vm_hint_command(device, 1, id - 1), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 2, DONE), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 3, STOP), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_REQUESTED);
    CHECK_POLL(device, 0, "ack hint/1 | ack hint/2 | ack hint/3");
}

Test(device_hint, after_the_guests_stop_hints_are_stale)
{
    balloon_device *device = running();

    cr_assert_eq(vm_hint_command(device, 2, STOP), BALLOON_OK);
    cr_assert_eq(vm_hint(device, 3, 0, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack hint/2 | ack hint/3 | hinted");
    cr_assert_eq(vm_status(device).hinted, 0);
    /* Nor does the same id begin once more. */
    cr_assert_eq(vm_hint_command(device, 4, rig_read_config(device, ID_AT)), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_STOPPED);
}

Test(device_hint, the_hosts_stop_keeps_the_hints_and_drops_later_ones)
{
    balloon_device *device = running();

    cr_assert_eq(vm_hint(device, 2, 0, 512), BALLOON_OK);
    cr_assert_eq(balloon_device_stop_hinting(device), BALLOON_OK);
    cr_assert_eq(rig_read_config(device, ID_AT), STOP);
    cr_assert_eq(vm_hint(device, 3, 512, 512), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 4, STOP), BALLOON_OK);
    /* Whoever stopped the round knows that it ended. */
    CHECK_POLL(device, 0, "irq | ack hint/2 | ack hint/3 | ack hint/4");
    cr_assert_eq(skipped(device), 512);
    cr_assert_eq(balloon_device_stop_hinting(device), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_OK);
    cr_assert_eq(skipped(device), 0);
}

Test(device_hint, the_host_may_stop_before_the_guest_begins)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);
    uint32_t id = start(device);

    cr_assert_eq(balloon_device_stop_hinting(device), BALLOON_OK);
    CHECK_POLL(device, 0, "irq");
    cr_assert_eq(vm_hint_command(device, 1, id), BALLOON_OK);
    cr_assert_eq(vm_hint(device, 2, 0, 512), BALLOON_OK);
    CHECK_POLL(device, 0, "ack hint/1 | ack hint/2");
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_STOPPED);
    cr_assert_eq(vm_status(device).hinted, 0);
}

Test(device_hint, commands_need_a_driver_with_the_feature_and_a_round)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);

    cr_assert_eq(balloon_device_stop_hinting(device), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_ERR_STATE);
    balloon_device_reset(device);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_ERR_STATE);
    rig_start(device, 0, 0);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_ERR_STATE);
}

Test(device_hint, skip_is_the_balloon_and_the_hints)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING | BALLOON_F_MUST_TELL);
    uint32_t id = start(device);

    cr_assert_eq(vm_hint_command(device, 1, id), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 100, 100, 0), BALLOON_OK);
    cr_assert_eq(vm_hint(device, 3, 150, 100), BALLOON_OK);
    CHECK_POLL(device, 0, "ack hint/1 | ack inflate/2 | ack hint/3");
    cr_assert_eq(skipped(device), 150);
}

/* A guest that need not tell before it uses a page may be writing to it unseen. */
Test(device_hint, skip_has_no_balloon_without_must_tell)
{
    balloon_device *device = running();

    cr_assert_eq(vm_inflate(device, 2, 100, 100, 0), BALLOON_OK);
    cr_assert_eq(vm_hint(device, 3, 150, 100), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 100+100 | ack inflate/2 | ack hint/3");
    cr_assert_eq(skipped(device), 100);
}

Test(device_hint, what_can_be_read_is_a_command_and_what_can_be_written_a_hint)
{
    balloon_device *device = running();
    balloon_virtio_span four_bytes = {0, 4}, one_page = {4096, 4096};
    balloon_iov stop = {"\0\0\0", 4};
    balloon_virtio_buffer both = {.cookie = 4,
                                  .readable = &stop,
                                  .readable_count = 1,
                                  .writable = &one_page,
                                  .writable_count = 1};

    /* Four bytes to write are no command, though they make no page. */
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_HINT, 2, &four_bytes, 1, 0), BALLOON_OK);
    cr_assert_eq(vm_status(device).hinting, BALLOON_HINTING_RUNNING);
    /* Sixteen bytes to read are no hint. */
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 3, "0123456789abcdef", 16, 0),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).hinted, 0);
    /* Of both in one buffer the command counts first. */
    cr_assert_eq(
        balloon_virtio_receive(device, (uint32_t)rig_queue(device, BALLOON_QUEUE_HINT), &both, 0),
        BALLOON_OK);
    cr_assert_eq(vm_counters(device).hints_stale, 1);
    CHECK_POLL(device, 0, "ack hint/2 | ack hint/3 | ack hint/4 | hinted");
}

Test(device_hint, hints_outside_of_ram_are_nonsense)
{
    balloon_device *device = running();

    cr_assert_eq(vm_hint(device, 2, 4000, 200), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).hinted, 96);
}

Test(device_hint, reset_ends_the_round)
{
    balloon_device *device = running();

    cr_assert_eq(vm_hint(device, 2, 0, 512), BALLOON_OK);
    cr_assert_eq(vm_hint_command(device, 3, STOP), BALLOON_OK);
    balloon_device_reset(device);
    cr_assert_eq(vm_status(device).hinted, 0);
    cr_assert_eq(rig_read_config(device, ID_AT), STOP);
    CHECK_POLL(device, 0, "");
    rig_start(device, BALLOON_F_HINTING, 0);
    CHECK_POLL(device, 0, "");
}
