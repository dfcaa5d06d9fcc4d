/* A vhost-user front-end and its guest, small enough to misbehave in every way. */
#ifndef FRONT_END_H
#define FRONT_END_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FE_QUEUES = 3, FE_RING = 64, FE_BYTES = 4 << 20 };

/* Guest RAM is 4 MiB from this guest physical address; the front-end maps it elsewhere. */
#define FE_GUEST ((uint64_t)1 << 20)
#define FE_USER  ((uint64_t)0x7f0000000000)
/* Free for buffers and tables: offsets from here up to FE_PAGES. */
enum { FE_DATA = 0x10000, FE_PAGES = 0x100000 };
/* The first of 768 pages that may be ballooned. */
enum { FE_FIRST_PFN = (1 << 20) / 4096 + FE_PAGES / 4096 };

enum { FE_NEXT = 1, FE_WRITE = 2, FE_INDIRECT = 4 };

struct fe_desc {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags, next;
};

struct fe_ring {
    struct fe_desc *desc;
    uint16_t *avail; /* flags, idx, ring, used_event */
    uint16_t *used;  /* flags, idx, ring of 8 bytes each, avail_event */
    int kick, call;
};

struct front_end {
    int socket;
    int back; /* where the back-end's own requests come; -1: it cannot send any */
    int memfd;
    uint8_t *ram;
    uint64_t features;
    struct fe_ring ring[FE_QUEUES];
};

/* A message with its descriptors; then its answer, or 0 where none came before the end. */
void fe_send(struct front_end *fe, uint32_t request, uint32_t flags, const void *payload,
             size_t bytes, const int *fds, size_t count);
size_t fe_receive(struct front_end *fe, void *payload, size_t bytes);

/* A request that takes a number, acknowledged: whether it was accepted. */
bool fe_request(struct front_end *fe, uint32_t request, const void *payload, size_t bytes,
                const int *fds, size_t count);

void fe_connect(struct front_end *fe, const char *path);
void fe_close(struct front_end *fe);
/* Features, memory and rings: all of it, or its parts. A ring begins at its base; NULL: all at 0.
 */
void fe_set_up(struct front_end *fe);
void fe_greet(struct front_end *fe); /* what is offered, and the protocol's own features */
void fe_choose(struct front_end *fe);
void fe_share(struct front_end *fe);
void fe_start_rings(struct front_end *fe, const uint16_t *bases);
void fe_enable(struct front_end *fe, bool enable);

/* A pause and its end, as QEMU does it. */
void fe_stop(struct front_end *fe, uint16_t bases[FE_QUEUES]);
void fe_go_on(struct front_end *fe, const uint16_t bases[FE_QUEUES]);

/* The configuration space. */
void fe_config_read(struct front_end *fe, uint32_t offset, void *bytes, uint32_t count);
bool fe_config_write(struct front_end *fe, uint32_t offset, const void *bytes, uint32_t count);
/* Whether the back-end has said that it changed since the last question. */
bool fe_config_told(struct front_end *fe);

/* Make head available on a queue, and kick. */
void fe_offer(struct front_end *fe, unsigned queue, uint16_t head);
/* The used index, when it reaches this value; the last one after two seconds. */
uint16_t fe_wait_used(struct front_end *fe, unsigned queue, uint16_t index);
/* Whether the guest was interrupted since the last question. */
bool fe_interrupted(struct front_end *fe, unsigned queue);

/* Guest address of an offset in RAM, and the place itself. */
static inline uint64_t fe_guest(size_t offset)
{
    return FE_GUEST + offset;
}

#endif
