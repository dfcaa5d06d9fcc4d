/* Both ends of a balloon joined, with a toy kernel at one end and an oracle that watches every
 * page. A transport carries what the ends say, late and, where that is legal, in another order. */
#ifndef TEST_LOOP_H
#define TEST_LOOP_H

#include <balloon/balloon.h>

#include "guest_kernel.h"

#define LOOP_PAGES 4096u /* the guest's RAM at start */
#define LOOP_PLUG  512u  /* plugged in and out above it */
#define LOOP_WHY   512

struct loop;

struct loop_transport {
    const char *name;
    uint32_t features;  /* BALLOON_F_* that its devices can have, */
    uint32_t needs;     /* and must have */
    bool small_pages;   /* guests have pages of 4 KiB */
    bool may_deflate;   /* guests can shrink the balloon when they want */
    bool needs_tracker; /* guests cannot keep the list of the balloon themselves */
    bool starts_out;    /* guests may start with pages in the balloon */
    uint64_t slack;     /* a balloon that is too large by less than this is left alone */
    /* Options of the device, the same each time; it is new, or was reset. */
    void (*configure)(struct loop *loop);
    /* The guest attaches. */
    void (*open)(struct loop *loop);
    /* What is on its way is lost. */
    void (*close)(struct loop *loop);
    /* SEND, CONFIG and the like of the driver; SEND, ACK, CONFIG_IRQ of the device. */
    void (*driver_action)(struct loop *loop, const balloon_driver_action *action);
    void (*device_action)(struct loop *loop, const balloon_action *action);
    /* Carry one thing that is on its way, chosen at random. Returns whether there was one. */
    bool (*carry)(struct loop *loop);
    /* The host has new memory for the guest. NULL: nobody is asked, and both ends have it. */
    void (*hot_add)(struct loop *loop);
};

struct loop {
    const struct loop_transport *transport;
    struct prng prng;
    uint64_t seed, round, step;
    balloon_time_t now;
    struct guest_kernel kernel;
    balloon_driver *driver;
    balloon_device *device;
    balloon_device_config device_config;
    balloon_region ram[2];
    uint64_t capabilities; /* of the transport, as it likes */
    uint64_t floor;        /* the guest keeps this much */
    uint64_t most;         /* the largest balloon that the transport can ask for */
    bool open, suspending, calm;
    bool tracker;                        /* the driver knows its pages; */
    bool listed[LOOP_PAGES + LOOP_PLUG]; /* else the kernel has this list, which it keeps anyway */
    uint64_t plugged;                    /* pages at LOOP_PAGES; and does the host know? */
    bool plug_told;
    uint32_t plug_device, plug_driver; /* ids */
    unsigned inhibited;
    uint64_t migrated;            /* a page on its way in may replace one that is still held */
    uint64_t balloon;             /* with what is on its way in, after the last step */
    bool asked[BALLOON_CHANNELS]; /* an ALLOC or TAKE is answered later */
    balloon_driver_action ask[BALLOON_CHANNELS];
    balloon_range lent[4096];
    uint64_t hints[LOOP_PAGES + LOOP_PLUG]; /* pages lent for hints, the kernel's own list */
    uint64_t hint_count;
    bool zeroed[LOOP_PAGES + LOOP_PLUG]; /* the host has said so, and they were not used since */
    uint64_t carried, discards, moves, foreign;
    uint64_t told_zero, spared; /* pages that were told to be zero, and freed as such */
    char why[LOOP_WHY];
};

/* Something is wrong: remember the first, with its seed. */
void loop_fail(struct loop *loop, const char *format, ...);

/* A call that must succeed. */
void loop_must(struct loop *loop, balloon_status status, const char *what);
#define LOOP_MUST(loop, call) loop_must(loop, call, #call)

/* A page that is not in the balloon, nor on its way there; or one beyond all memory. */
balloon_pfn_t loop_foreign(struct loop *loop);

/* The guest is reset, or gives up on its host. */
void loop_lost(struct loop *loop);

/* loop_guest.c: what the kernel does for its driver, at once or later, ... */
void loop_driver_act(struct loop *loop, const balloon_driver_action *action);
void loop_answer_late(struct loop *loop);
/* ... and on its own: another page for one of the balloon; memory in use; memory that goes, which
 * fails while a page of it is lent. */
void loop_migrate(struct loop *loop);
void loop_plug(struct loop *loop, uint64_t pages);
bool loop_unplug(struct loop *loop);
/* Pages at the top of RAM have no memory when the guest starts. */
void loop_start_out(struct loop *loop, uint64_t pages);
/* The host knows what was plugged. */
void loop_plug_told(struct loop *loop);

/* So many steps in rounds of a few thousand, each with another guest. Aborts the test at the first
 * thing that is wrong. */
void loop_run(const struct loop_transport *transport, uint64_t stream, uint64_t steps);

/* 10^4 steps, or 10^6 in the long run. */
uint64_t loop_steps(void);

#endif
