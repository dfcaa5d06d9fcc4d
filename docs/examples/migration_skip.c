/* Live migration that does not copy free pages: a round of hints and the skip bitmap. */
#include <balloon/alloc.h>
#include <balloon/virtio.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 4096, BITMAP_BYTES = PAGES / 8 };

static const balloon_range all_ram = {0, PAGES};

/* The VMM's: guest memory here and at the destination, and the log of pages written since the last
 * sync, as KVM keeps it. */
static uint8_t source[PAGES][BALLOON_PAGE_SIZE], destination[PAGES][BALLOON_PAGE_SIZE];
static uint8_t dirty_log[BITMAP_BYTES];

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(EXIT_FAILURE);
}
#define CHECK(x) check(x, #x)

static void guest_writes(uint32_t page, uint8_t value)
{
    memset(source[page], value, BALLOON_PAGE_SIZE);
    dirty_log[page / 8] |= (uint8_t)(1 << page % 8);
}

/* Hinting knows no time: it is 0 everywhere. */
static void poll_device(balloon_device *device)
{
    balloon_action action;

    while (balloon_device_poll(device, 0, &action))
        CHECK(action.type != BALLOON_ACTION_DISCARD); /* hinted pages are not given back */
}

static void guest_sends(balloon_device *device, const balloon_virtio_buffer *buffer)
{
    int queue = balloon_virtio_queue_index(BALLOON_QUEUES_BY_OFFER, BALLOON_F_HINTING,
                                           BALLOON_F_HINTING, BALLOON_QUEUE_HINT);

    CHECK(queue == 2); /* after inflate and deflate, as there is no statistics queue here */
    CHECK(!balloon_virtio_receive(device, (uint32_t)queue, buffer, 0));
    poll_device(device);
}

/* A command is 4 bytes for the device to read. */
static void guest_commands(balloon_device *device, uint32_t id)
{
    uint8_t bytes[4];
    balloon_iov iov = {bytes, sizeof(bytes)};

    balloon_virtio_write_hint(id, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes));
    guest_sends(device, &(balloon_virtio_buffer){.readable = &iov, .readable_count = 1});
}

/* A hint is a free block that the device might write to. */
static void guest_hints(balloon_device *device, uint64_t first, uint64_t pages)
{
    balloon_virtio_span span = {first * BALLOON_PAGE_SIZE, pages * BALLOON_PAGE_SIZE};

    guest_sends(device, &(balloon_virtio_buffer){.writable = &span, .writable_count = 1});
}

/* What the guest reads as free_page_hint_cmd_id, at offset 8 of the configuration space. */
static uint32_t command_shown(const balloon_device *device)
{
    uint8_t b[4];

    balloon_virtio_config_read(device, 8, b, sizeof(b));
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static balloon_device *make_device(void)
{
    balloon_region ram = {.first = 0, .count = PAGES};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_HINTING | BALLOON_F_MUST_TELL};
    balloon_device *device;

    CHECK(!balloon_device_create(&config, &device));
    return device;
}

/* Take over what was written since the last sync. */
static void sync_log(uint8_t *dirty)
{
    for (size_t i = 0; i < BITMAP_BYTES; i++) {
        dirty[i] |= dirty_log[i];
        dirty_log[i] = 0;
    }
}

/* End the round and strike free pages off the list. It must come before the next sync: a page that
 * the guest has taken into use since it hinted it is in the log, and gets onto the list again. */
static void strike_free_pages(balloon_device *device, uint8_t *dirty)
{
    uint8_t skip[BITMAP_BYTES];

    if (balloon_device_stop_hinting(device) == BALLOON_OK) /* or the guest was done already */
        poll_device(device);
    CHECK(!balloon_tracker_export(balloon_device_tracker(device), BALLOON_SET_SKIP, all_ram, skip,
                                  sizeof(skip)));
    for (size_t i = 0; i < BITMAP_BYTES; i++)
        dirty[i] &= (uint8_t)~skip[i];
}

static unsigned copy_pages(uint8_t *dirty)
{
    unsigned copied = 0;

    for (uint32_t page = 0; page < PAGES; page++) {
        if (dirty[page / 8] & 1 << page % 8) {
            memcpy(destination[page], source[page], BALLOON_PAGE_SIZE);
            copied++;
        }
    }
    memset(dirty, 0, BITMAP_BYTES);
    return copied;
}

int main(void)
{
    balloon_device *device = make_device();
    uint8_t dirty[BITMAP_BYTES];
    uint8_t saved[4096];
    size_t saved_bytes;

    CHECK(!balloon_virtio_set_features(device, balloon_virtio_features(device)));
    CHECK(!balloon_virtio_driver_ok(device, 0, 0));

    /* The guest uses a quarter of its memory; the rest holds what it has no use for any more. */
    for (uint32_t page = 0; page < PAGES; page++)
        guest_writes(page, page < PAGES / 4 ? 1 : 0xee);

    /* Round one: everything is to be copied, and then most of it is not. */
    memset(dirty, 0xff, sizeof(dirty));
    sync_log(dirty);
    CHECK(!balloon_device_start_hinting(device));
    poll_device(device);
    guest_commands(device, command_shown(device));
    guest_hints(device, PAGES / 4, PAGES / 2);
    guest_writes(2000, 2); /* it needs one of them after all */
    guest_hints(device, PAGES / 4 * 3, PAGES / 4);
    guest_commands(device, BALLOON_VIRTIO_HINT_STOP);
    strike_free_pages(device, dirty);
    unsigned first = copy_pages(dirty);

    /* A hint that comes too late is dropped: the page may be in use. */
    guest_hints(device, 5, 1);
    strike_free_pages(device, dirty);

    /* The guest is paused; the last round is short. The device goes along, and loading it tells the
     * guest that its pages are its own again. When a migration fails, call
     * balloon_device_finish_hinting() at the source. */
    guest_writes(5, 3);
    strike_free_pages(device, dirty);
    sync_log(dirty);
    unsigned last = copy_pages(dirty);
    CHECK(!balloon_device_save(device, 0, saved, sizeof(saved), &saved_bytes));
    balloon_device_destroy(device);
    device = make_device();
    CHECK(!balloon_device_load(device, 0, saved, saved_bytes));
    poll_device(device);
    CHECK(command_shown(device) == BALLOON_VIRTIO_HINT_DONE);

    printf("copied %u pages, then %u while the guest was paused, of %d\n", first, last, PAGES);
    CHECK(first == PAGES / 4 && last == 2);
    for (uint32_t page = 0; page < PAGES; page++)
        if (page < PAGES / 4 || page == 2000)
            CHECK(memcmp(source[page], destination[page], BALLOON_PAGE_SIZE) == 0);
    balloon_device_destroy(device);
    return 0;
}
