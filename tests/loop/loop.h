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
    uint32_t features; /* BALLOON_F_* that its devices can have, */
    uint32_t needs;    /* and must have */
    bool small_pages;  /* guests have pages of 4 KiB */
    bool may_deflate;  /* guests can shrink the balloon when they want */
    /* The guest attaches, and its device is new or was reset. */
    void (*open)(struct loop *loop);
    /* What is on its way is lost. */
    void (*close)(struct loop *loop);
    /* SEND, CONFIG and the like of the driver; SEND, ACK, CONFIG_IRQ of the device. */
    void (*driver_action)(struct loop *loop, const balloon_driver_action *action);
    void (*device_action)(struct loop *loop, const balloon_action *action);
    /* Carry one thing that is on its way, chosen at random. Returns whether there was one. */
    bool (*carry)(struct loop *loop);
    /* The device was saved and loaded again. May be NULL. */
    void (*moved)(struct loop *loop);
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
    bool open, plugged, suspending, calm;
    uint32_t plug_device, plug_driver; /* ids */
    balloon_range asked[4096];
    uint64_t hints[LOOP_PAGES + LOOP_PLUG]; /* pages lent for hints, the kernel's own list */
    uint64_t hint_count;
    uint64_t carried, discards, inflated, deflated, moves;
    char why[LOOP_WHY];
};

/* Something is wrong: remember the first, with its seed. */
void loop_fail(struct loop *loop, const char *format, ...);

/* The guest is reset, or gives up on its host. */
void loop_lost(struct loop *loop);

/* So many steps in rounds of a few thousand, each with another guest. Aborts the test at the first
 * thing that is wrong. */
void loop_run(const struct loop_transport *transport, uint64_t stream, uint64_t steps);

/* 10^4 steps, or 10^6 in the long run. */
uint64_t loop_steps(void);

#endif
