/* The driver's side of virtio-mmio and of split rings, as much of it as sends given buffers. */
#ifndef DIFFERENTIAL_MMIO_H
#define DIFFERENTIAL_MMIO_H

#include "qemu.h"

enum {
    MMIO_QUEUES = 5,
    MMIO_PIECES = 6, /* most descriptors of one buffer */
    MMIO_BURST = 4,  /* most buffers of one kick */
    MMIO_ISR_CONFIG = 2
};

/* The last pages of guest memory hold rings and buffers and are never named in one. */
#define MMIO_WINDOW_FIRST UINT32_C(3840)

struct mmio_piece {
    uint64_t address;
    uint32_t bytes;
    bool writable;
};

struct mmio_buffer {
    struct mmio_piece piece[MMIO_PIECES];
    unsigned pieces;
    uint16_t head; /* set when it is sent */
};

struct mmio_ring {
    uint16_t size, next, available, used;
    uint8_t *descriptors, *avail, *used_ring;
};

struct mmio {
    struct qemu *qemu;
    bool legacy;
    struct mmio_ring ring[MMIO_QUEUES];
};

struct mmio_used {
    uint32_t head, bytes;
};

void mmio_reset(struct mmio *mmio);
uint64_t mmio_offered(struct mmio *mmio);

/* After a reset: choose features, then set up the queues in the mask with rings of this size and
 * set DRIVER_OK. */
void mmio_choose(struct mmio *mmio, uint64_t features);
void mmio_start(struct mmio *mmio, unsigned queues, uint16_t size);

void mmio_send(struct mmio *mmio, unsigned queue, struct mmio_buffer *buffers, unsigned count);

/* Take what was used since the last call, at the most max. When it is less than wanted, wait for up
 * to some seconds. */
unsigned mmio_take_used(struct mmio *mmio, unsigned queue, struct mmio_used *used, unsigned max,
                        unsigned wanted);

/* Read and clear the interrupt status. */
uint32_t mmio_interrupts(struct mmio *mmio);

uint32_t mmio_config_read(struct mmio *mmio, unsigned offset, unsigned width);
void mmio_config_write(struct mmio *mmio, unsigned offset, unsigned width, uint32_t value);

#endif
