/* The whole way of a stream through a device, from the bytes of a transport to the last action. The
 * actions are not executed. */
#ifndef BENCH_DEVICE_PATH_H
#define BENCH_DEVICE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <balloon/device.h>

struct transport;

struct device_path {
    const char *name;
    const struct transport *transport;
    balloon_device *device;
    unsigned char *bytes; /* the stream as the transport carries it, a buffer in each piece */
    uint32_t buffers;
    uint64_t actions, runs; /* that left it */
};

/* Ways there are, by number: virtio without and with MUST_TELL_HOST, the other transports, and
 * virtio with several buffers in each kick. */
#define DEVICE_PATHS 6

/* A device, whose driver is there, of a guest with so many pages. Out of memory, or refused by its
 * device, it ends the program. */
void device_path_open(struct device_path *path, unsigned number, uint64_t guest_pages);
void device_path_close(struct device_path *path);

/* Write the first buffers of a stream of page numbers as the transport carries them. */
void device_path_load(struct device_path *path, const uint32_t *stream, uint32_t buffers);

/* Where they are. */
const unsigned char *device_path_bytes(const struct device_path *path, size_t *bytes);

/* They go into the balloon, and what is to be discarded leaves by actions. */
void device_path_inflate(struct device_path *path);

/* They come back; on Hyper-V the host says in which order. */
void device_path_deflate(struct device_path *path);

#endif
