/* Free page hints out of turn. A hint counts only in its round; it never discards anything. */
#include "prng.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const balloon_region ram[] = {{0, 4096, 1}};

static balloon_device *make(void **memory)
{
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_HINTING | BALLOON_F_MUST_TELL};
    balloon_device *device = rig_make(&config, memory);
    rig_start(device, BALLOON_F_HINTING | BALLOON_F_MUST_TELL, 0);
    return device;
}

/* Polls; nothing may be discarded. Returns how often the end of a round was told. */
static int poll_all(balloon_device *device, size_t acks)
{
    balloon_action action;
    int ended = 0;
    while (balloon_device_poll(device, 0, &action)) {
        cr_assert_neq(action.type, BALLOON_ACTION_DISCARD);
        ended += action.type == BALLOON_ACTION_HINTED;
        acks -= action.type == BALLOON_ACTION_ACK;
    }
    cr_assert_eq(acks, 0);
    return ended;
}

/* Returns how often the end of a round was told. */
static int command(balloon_device *device, uint32_t id)
{
    uint8_t bytes[4];
    balloon_virtio_write_hint(id, BALLOON_LITTLE_ENDIAN, bytes, 4);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 1, bytes, 4, 0), BALLOON_OK);
    return poll_all(device, 1);
}

/* Hints so many pages from a page on; returns how many hinted pages that made. */
static uint64_t hint(balloon_device *device, uint64_t first, uint64_t pages)
{
    const balloon_tracker *tracker = balloon_device_tracker(device);
    uint64_t before = balloon_tracker_hinted(tracker);
    balloon_virtio_span span = {first << 12, pages << 12};
    (void)!rig_send_spans(device, BALLOON_QUEUE_HINT, 2, &span, 1, 0);
    poll_all(device, 1);
    return balloon_tracker_hinted(tracker) - before;
}

static balloon_hinting state(const balloon_device *device)
{
    balloon_device_status status;
    balloon_device_status_get(device, &status);
    return status.hinting;
}

Test(hostile_hints, only_those_of_the_round)
{
    void *memory;
    balloon_device *device = make(&memory);
    cr_assert_eq(hint(device, 0, 8), 0, "before any round");
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    uint32_t first = rig_read_config(device, 8);
    cr_assert_eq(hint(device, 0, 8), 0, "before the guest has begun");
    command(device, first + 1);
    cr_assert_eq(hint(device, 0, 8), 0, "after a wrong id");
    command(device, first);
    cr_assert_eq(hint(device, 0, 8), 8);
    cr_assert_eq(hint(device, 4, 8), 4);

    /* A new round: the old one's hints are forgotten, and so are its stop and its stragglers. */
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    uint32_t second = rig_read_config(device, 8);
    cr_assert_neq(second, first);
    cr_assert_eq(balloon_tracker_hinted(balloon_device_tracker(device)), 0);
    cr_assert_eq(hint(device, 0, 8), 0, "of the old round");
    command(device, first);
    cr_assert_eq(hint(device, 0, 8), 0, "the old id again");
    cr_assert_eq(command(device, BALLOON_VIRTIO_HINT_STOP), 0, "the end of the old round");
    cr_assert_eq(state(device), BALLOON_HINTING_REQUESTED);
    command(device, second);
    cr_assert_eq(hint(device, 16, 8), 8);
    cr_assert_eq(command(device, BALLOON_VIRTIO_HINT_STOP), 1);
    cr_assert_eq(state(device), BALLOON_HINTING_STOPPED);
    cr_assert_eq(hint(device, 32, 8), 0, "after the end");
    command(device, second);
    cr_assert_eq(hint(device, 32, 8), 0, "the id once more");
    cr_assert_eq(balloon_tracker_count(balloon_device_tracker(device), BALLOON_SET_SKIP,
                                       (balloon_range){0, 4096}),
                 8);
    cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_OK);
    cr_assert_eq(rig_read_config(device, 8), BALLOON_VIRTIO_HINT_DONE);
    cr_assert_eq(balloon_tracker_hinted(balloon_device_tracker(device)), 0);
    free(memory);
}

/* A command is what the device may read, a hint what it may write, whatever the lengths. */
Test(hostile_hints, roles_by_direction)
{
    void *memory;
    balloon_device *device = make(&memory);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    uint8_t id[8] = {0};
    balloon_virtio_config_read(device, 8, id, 4);
    /* A writable span of 4 bytes is no command. */
    balloon_virtio_span span = {0, 4};
    (void)!rig_send_spans(device, BALLOON_QUEUE_HINT, 1, &span, 1, 0);
    cr_assert_eq(state(device), BALLOON_HINTING_REQUESTED);
    for (size_t length = 0; length <= 8; length++) {
        if (length == 4)
            continue;
        cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 1, id, length, 0),
                     length ? BALLOON_ERR_PROTOCOL : BALLOON_OK);
        cr_assert_eq(state(device), BALLOON_HINTING_REQUESTED, "%zu bytes", length);
    }
    poll_all(device, 9);
    /* In two pieces it is one command. */
    balloon_iov iov[2] = {{id, 3}, {id + 3, 1}};
    balloon_virtio_buffer buffer = {.readable = iov, .readable_count = 2};
    cr_assert_eq(
        balloon_virtio_receive(device, (uint32_t)rig_queue(device, BALLOON_QUEUE_HINT), &buffer, 0),
        BALLOON_OK);
    cr_assert_eq(state(device), BALLOON_HINTING_RUNNING);
    poll_all(device, 1);
    free(memory);
}

/* Hints and the balloon do not get in each other's way. */
Test(hostile_hints, pages_hinted_and_held)
{
    void *memory;
    balloon_device *device = make(&memory);
    const balloon_tracker *tracker = balloon_device_tracker(device);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    command(device, rig_read_config(device, 8));
    cr_assert_eq(hint(device, 100, 50), 50);
    uint32_t pfns[100];
    for (uint32_t i = 0; i < 100; i++)
        pfns[i] = 120 + i;
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, 100, 0), BALLOON_OK);
    poll_all(device, 1);
    balloon_range all = {0, 4096};
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_SKIP, all), 120);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_HINTED, all), 50);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_HELD, all), 100);
    cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_OK);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_SKIP, all), 100);
    balloon_device_flush(device);
    balloon_action action;
    uint64_t discarded = 0;
    while (balloon_device_poll(device, 0, &action))
        for (uint32_t i = 0; i < action.run_count; i++)
            discarded += action.runs[i].range.count;
    cr_assert_eq(discarded, 100);
    free(memory);
}

/* Many rounds: an id never comes back at once, and none is one of the two commands. */
Test(hostile_hints, many_rounds)
{
    void *memory;
    balloon_device *device = make(&memory);
    uint32_t last[16] = {0};
    for (uint32_t i = 0; i < 50000; i++) {
        cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
        uint32_t id = rig_read_config(device, 8);
        cr_assert(id > BALLOON_VIRTIO_HINT_DONE);
        for (int j = 0; j < 16; j++)
            cr_assert_neq(id, last[j]);
        last[i % 16] = id;
        poll_all(device, 0);
    }
    free(memory);
}
