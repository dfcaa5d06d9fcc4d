/* A guest with memory, and the host that discards it. The guest keeps to the protocol but uses
 * every page as early as it may; a value it wrote must never be lost. */
#ifndef TEST_GUEST_SIM_H
#define TEST_GUEST_SIM_H

#include "prng.h"
#include "rig.h"

struct guest_sim_plan {
    uint64_t host_granule; /* Pages. */
    uint64_t guest_page;   /* Pages. */
    uint32_t features;     /* Offered and negotiated. */
    uint32_t poison;       /* Written to configuration space when F_POISON is there. */
    bool faults;           /* Discards fail, wholly or in part. */
    bool moves;            /* The device is saved and loaded into another one now and then. */
};

/* What the guest does with one of its pages. */
enum guest_state {
    GUEST_NONE,      /* Not RAM. */
    GUEST_OWNED,     /* Used. */
    GUEST_INFLATING, /* Sent to the balloon. */
    GUEST_BALLOON,   /* In the balloon. */
    GUEST_STOLEN,    /* In the balloon, and used all the same: fine without MUST_TELL_HOST. */
    GUEST_TELLING,   /* Used, with its deflate on the way. */
    GUEST_DEFLATING, /* Not used until its deflate is answered. */
    GUEST_REPORTING  /* Reported free; not used until that is answered. */
};

#define GUEST_SIM_BUFFERS 8

struct guest_buffer {
    bool used;
    balloon_virtio_queue kind;
    uint64_t cookie;
    size_t count;
    uint32_t page[512]; /* Guest pages. */
};

struct guest_sim {
    struct guest_sim_plan plan;
    struct prng *prng;
    balloon_device *device;
    void *memory;
    balloon_region region[2];
    balloon_time_t now;
    uint32_t pages;     /* Guest pages, with the gap between the regions. */
    uint8_t *state;     /* enum guest_state by guest page. */
    uint32_t *value;    /* Memory, by 4 KiB page; 0 after a discard. */
    uint32_t *written;  /* What the guest wrote last. */
    uint8_t *populated; /* By host granule: the guest touched it since it was discarded. */
    uint32_t next_value;
    uint64_t next_cookie;
    uint32_t inhibited;
    struct guest_buffer buffer[GUEST_SIM_BUFFERS];
    uint64_t discarded; /* Pages, in all. */
    uint64_t reported;  /* Of those, reported ones. */
    char why[256];
};

void guest_sim_start(struct guest_sim *sim, const struct guest_sim_plan *plan, struct prng *prng);
void guest_sim_end(struct guest_sim *sim);

/* One random thing that the guest, the host or the clock does. NULL, or what rule was broken. */
const char *guest_sim_step(struct guest_sim *sim);

/* Inflate guest pages, in this order; at most 512. */
const char *guest_sim_inflate(struct guest_sim *sim, const uint32_t *pages, size_t count);

/* Poll until there is nothing to do, or for so many actions. */
const char *guest_sim_poll(struct guest_sim *sim, size_t most);

/* Let everything come to rest, then check memory, and that nothing that could be given back was
 * forgotten. */
const char *guest_sim_finish(struct guest_sim *sim);

#endif
