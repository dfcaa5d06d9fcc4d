/* What the transport asks for: guest memory comes and goes, a driver starts, stops and leaves, the
 * configuration is read and written. */
#define _GNU_SOURCE
#include "vhost_user_guest.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Time for a front-end from its features to its memory; it takes milliseconds. */
#define MEMORY_TIME (2 * (balloon_time_t)1000000000)

static uint64_t device_features(void *self)
{
    struct guest *g = self;
    return balloon_virtio_features(g->device);
}

static bool device_set_features(void *self, uint64_t chosen)
{
    struct guest *g = self;
    balloon_device_status status;
    balloon_device_status_get(g->device, &status);
    g->memory_due = status.guest_pages > 0 ? BALLOON_TIME_NEVER : now() + MEMORY_TIME;
    return balloon_virtio_set_features(g->device, chosen) == BALLOON_OK;
}

/* Guest memory came: the device and the discarder learn of it under the same number. */
static const char *device_plug(void *self, unsigned slot)
{
    struct guest *g = self;
    const struct vu_region *region = &g->session.memory.region[slot];
    struct statfs fs;
    bool huge = fstatfs(region->fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
    uint64_t granule = huge ? (uint64_t)fs.f_bsize : (uint64_t)sysconf(_SC_PAGESIZE);
    balloon_os_region ram = {.size = sizeof ram,
                             .pages = {.first = region->guest / BALLOON_PAGE_SIZE,
                                       .count = region->bytes / BALLOON_PAGE_SIZE,
                                       .granule = granule / BALLOON_PAGE_SIZE},
                             .host = region->host,
                             .fd = region->fd,
                             .fd_offset = region->offset,
                             .backing = huge ? BALLOON_OS_HUGETLB_SHARED : BALLOON_OS_SHARED};
    uint32_t id;
    balloon_status status = balloon_device_add_region(g->device, &ram.pages, &id);
    if (status != BALLOON_OK)
        return status == BALLOON_ERR_NOSPACE ? "the guest has more memory than --max-mib"
                                             : balloon_status_text(status);
    if (balloon_os_add_region(g->os, id, &ram) != BALLOON_OK) {
        CHECK(balloon_device_remove_region(g->device, id));
        return "this kind of memory cannot be discarded";
    }
    g->region_of[slot] = id;
    if (g->wish > 0 && balloon_device_set_target(g->device, g->wish, now()) == BALLOON_OK)
        g->wish = 0;
    return NULL;
}

static void device_memory(void *self, const char *refused)
{
    struct guest *g = self;
    g->memory_refused = refused;
    g->memory_due = BALLOON_TIME_NEVER;
    if (refused)
        say_why(g, "memory_refused", refused);
}

/* QEMU says so on its own standard error only. */
void guest_memory_missing(struct guest *g)
{
    device_memory(g, "the front-end shares no memory; QEMU's memory backend needs share=on");
}

static void device_unplug(void *self, unsigned slot)
{
    struct guest *g = self;
    CHECK(balloon_device_remove_region(g->device, g->region_of[slot]));
    CHECK(balloon_os_remove_region(g->os, g->region_of[slot]));
}

/* The device keeps its driver through a pause, balloon, targets and all. */
static void device_started(void *self)
{
    struct guest *g = self;
    balloon_device_status status;
    uint32_t set_up = 0;
    balloon_device_status_get(g->device, &status);
    if (status.driver) {
        say_event(g, "resumed");
        /* The interrupt of a target that came in the pause may be lost. */
        if (!vu_session_config_changed(&g->session))
            say_event(g, "config_irq_lost");
        return;
    }
    for (unsigned i = 0; i < VU_QUEUES; i++)
        set_up |= g->session.ring[i].addressed ? 1u << i : 0;
    say_event(g, balloon_virtio_driver_ok(g->device, set_up, now()) == BALLOON_OK
                     ? "driver"
                     : "driver_refused");
}

static void device_stopped(void *self)
{
    say_event(self, "stopped");
}

static void device_left(void *self)
{
    struct guest *g = self;
    say_stats(g, true);
    balloon_device_reset(g->device);
    memset(g->late, 0, sizeof g->late);
    say_event(g, "driver_left");
}

static void device_config_read(void *self, uint32_t offset, void *bytes, uint32_t count)
{
    struct guest *g = self;
    balloon_virtio_config_read(g->device, offset, bytes, count);
    if (offset <= sizeof g->config_read && count <= sizeof g->config_read - offset)
        memcpy(g->config_read + offset, bytes, count);
}

/* QEMU writes the whole space for each field that the guest writes. Its copy of what is ours can be
 * as old as its last read, and that is no guest's error. */
static void device_config_write(void *self, uint32_t offset, void *bytes, uint32_t count)
{
    struct guest *g = self;
    static const uint32_t ours[] = {0, 8}; /* the target, the hinting command; 4 bytes each */
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        uint32_t at = ours[i] - offset;
        if (offset > ours[i] || count < at + 4)
            continue;
        uint8_t *field = (uint8_t *)bytes + at;
        if (memcmp(field, g->config_read + ours[i], 4) == 0)
            balloon_virtio_config_read(g->device, ours[i], field, 4);
    }
    balloon_virtio_config_write(g->device, offset, bytes, count);
}

const struct vu_device guest_callbacks = {.features = device_features,
                                          .set_features = device_set_features,
                                          .plug = device_plug,
                                          .unplug = device_unplug,
                                          .memory = device_memory,
                                          .started = device_started,
                                          .stopped = device_stopped,
                                          .left = device_left,
                                          .config_read = device_config_read,
                                          .config_write = device_config_write};
