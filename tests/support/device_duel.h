/* Random guests, commands and moves on a device and on a naive model of it at once. */
#ifndef TEST_DEVICE_DUEL_H
#define TEST_DEVICE_DUEL_H

#include "model.h"
#include "prng.h"
#include "rig.h"

#define DUEL_BUFFERS 6

struct duel_waiting {
    balloon_virtio_queue kind;
    uint64_t cookie;
};

struct device_duel {
    struct prng *prng;
    balloon_device *device;
    void *memory;
    balloon_device_config config;
    balloon_virtio_options options;
    uint64_t check_every;

    /* The model. */
    struct model model;
    uint32_t negotiated, chosen, poison;
    bool driver, version_1;
    uint64_t target, actual;
    uint32_t inhibited;
    struct duel_waiting waiting[DUEL_BUFFERS];
    size_t waiting_count;
    bool stats_held, stats_late, have_sample, tell_sample;
    enum { DUEL_IDLE, DUEL_WANTED, DUEL_ASKED } request;
    uint64_t stats_cookie;
    balloon_time_t stats_deadline;
    balloon_sample sample;
    balloon_hinting hinting;
    uint32_t hint_id; /* Read from configuration space when a round begins. */
    bool tell_hinted, tell_config, may_config, pressure;
    balloon_time_t ready_since; /* BALLOON_TIME_NEVER when nothing is ready. */
    bool flush;
    bool failing; /* A discard failed, so others wait for a time that only the device knows. */
    balloon_device_counters count, base;
    uint64_t cancelled_least;

    balloon_time_t now;
    uint64_t cookie, steps;
    char why[256];
};

void device_duel_start(struct device_duel *duel, struct prng *prng);
void device_duel_end(struct device_duel *duel);

/* One input or command, and mostly a poll for all there is to do. NULL, or what went wrong. */
const char *device_duel_step(struct device_duel *duel);

/* Save, load into a fresh device with nothing in common, and go on with that one. */
const char *device_duel_move(struct device_duel *duel);

/* Reset on both sides. */
void device_duel_reset(struct device_duel *duel);

/* Compare everything that can be asked for. */
const char *device_duel_compare(struct device_duel *duel);

#endif
