/* A device in memory of its own, and the few lines that every test of it needs. */
#ifndef TEST_RIG_H
#define TEST_RIG_H

#include <balloon/virtio.h>

/* Makes a device; aborts when the config is refused. The memory is filled with rubbish first. */
balloon_device *rig_make(const balloon_device_config *config, void **memory);

/* Negotiate BALLOON_F_* and VERSION_1 and set DRIVER_OK; aborts when that is refused. */
void rig_start(balloon_device *device, uint32_t features, balloon_time_t now);

/* The number of a queue; -1 when there is none. */
int rig_queue(const balloon_device *device, balloon_virtio_queue kind);

/* Send one buffer: readable bytes, writable spans, or both. */
balloon_status rig_send(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                        const void *bytes, size_t count, balloon_time_t now);
balloon_status rig_send_pfns(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                             const uint32_t *pfns, size_t count, balloon_time_t now);
balloon_status rig_send_spans(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                              const balloon_virtio_span *spans, size_t count, balloon_time_t now);

/* The driver writes its 32-bit little-endian field at an offset of configuration space. */
void rig_write_config(balloon_device *device, uint64_t offset, uint32_t value);
uint32_t rig_read_config(const balloon_device *device, uint64_t offset);

/* The saved form, in memory to be freed. */
void *rig_save(const balloon_device *device, balloon_time_t now, size_t *bytes);

/* Poll until there is nothing to do. Returns the number of acknowledgements; actions are
 * otherwise dropped, discards taken as done. */
size_t rig_drain(balloon_device *device, balloon_time_t now);

#endif
