#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(balloon_status status, const char *what)
{
    if (status == BALLOON_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, balloon_status_text(status));
    abort();
}

balloon_device *rig_make(const balloon_device_config *config, void **memory)
{
    balloon_layout layout;
    balloon_device *device = NULL;
    must(balloon_device_layout(config, &layout), "device layout");
    size_t bytes = (layout.bytes + layout.align - 1) & ~(layout.align - 1);
    *memory = aligned_alloc(layout.align, bytes);
    if (!*memory)
        abort();
    memset(*memory, 0x5a, bytes);
    must(balloon_device_init(*memory, layout.bytes, config, &device), "device init");
    return device;
}

void rig_start(balloon_device *device, uint32_t features, balloon_time_t now)
{
    must(balloon_virtio_set_features(device, features | BALLOON_VIRTIO_F_VERSION_1), "features");
    must(balloon_virtio_driver_ok(device, 0, now), "driver_ok");
}

int rig_queue(const balloon_device *device, balloon_virtio_queue kind)
{
    for (uint32_t i = 0; i < BALLOON_QUEUE_KINDS; i++)
        if (balloon_virtio_queue_of(device, i) == kind)
            return (int)i;
    return -1;
}

static balloon_status send(balloon_device *device, balloon_virtio_queue kind,
                           const balloon_virtio_buffer *buffer, balloon_time_t now)
{
    int queue = rig_queue(device, kind);
    /* A number no device has, so that the device gets to refuse it. */
    return balloon_virtio_receive(device, queue < 0 ? 99 : (uint32_t)queue, buffer, now);
}

balloon_status rig_send(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                        const void *bytes, size_t count, balloon_time_t now)
{
    balloon_iov iov = {.base = bytes, .bytes = count};
    balloon_virtio_buffer buffer = {.cookie = cookie, .readable = &iov, .readable_count = 1};
    return send(device, kind, &buffer, now);
}

balloon_status rig_send_pfns(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                             const uint32_t *pfns, size_t count, balloon_time_t now)
{
    uint8_t *bytes = malloc(count * 4 + 1);
    if (!bytes)
        abort();
    balloon_virtio_write_pfns(pfns, count, BALLOON_LITTLE_ENDIAN, bytes, count * 4);
    balloon_status status = rig_send(device, kind, cookie, bytes, count * 4, now);
    free(bytes);
    return status;
}

balloon_status rig_send_spans(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                              const balloon_virtio_span *spans, size_t count, balloon_time_t now)
{
    balloon_virtio_buffer buffer = {.cookie = cookie, .writable = spans, .writable_count = count};
    return send(device, kind, &buffer, now);
}

void rig_write_config(balloon_device *device, uint64_t offset, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                        (uint8_t)(value >> 24)};
    balloon_virtio_config_write(device, offset, bytes, 4);
}

uint32_t rig_read_config(const balloon_device *device, uint64_t offset)
{
    uint8_t bytes[4];
    balloon_virtio_config_read(device, offset, bytes, 4);
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

void *rig_save(const balloon_device *device, balloon_time_t now, size_t *bytes)
{
    size_t room = balloon_device_save_bytes(device);
    void *saved = malloc(room ? room : 1);
    if (!saved)
        abort();
    must(balloon_device_save(device, now, saved, room, bytes), "save");
    return saved;
}

size_t rig_drain(balloon_device *device, balloon_time_t now)
{
    balloon_action action;
    size_t acks = 0;
    while (balloon_device_poll(device, now, &action))
        acks += action.type == BALLOON_ACTION_ACK;
    return acks;
}
