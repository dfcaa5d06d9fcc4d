/* QEMU's balloon device and ours, given the same bytes and compared after each of them. */
#ifndef DIFFERENTIAL_PAIR_H
#define DIFFERENTIAL_PAIR_H

#include <balloon/virtio.h>
#include <criterion/criterion.h>

#include "differences.h"
#include "mmio.h"

enum { PAIR_CONFIG_BYTES = BALLOON_VIRTIO_CONFIG_BYTES, PAIR_LOG_BYTES = 16384 };

/* What a configuration space should show, where the two devices are known to differ. */
struct pair_config {
    uint8_t space[PAIR_CONFIG_BYTES]; /* QEMU: its cache of the space. Ours: what may be read. */
    uint32_t actual, poison;
    bool poison_written;
};

enum pair_request { REQUEST_IDLE, REQUEST_WANTED, REQUEST_ASKED };

struct pair_stats {
    bool held; /* a statistics buffer is, and which */
    uint32_t head;
    bool have_sample;
    balloon_sample sample;
    enum pair_request request; /* ours only */
};

struct pair {
    struct qemu qemu;
    struct mmio mmio;
    balloon_device *device;
    void *memory;
    uint8_t *ram; /* our copy of guest memory */
    balloon_time_t now;

    uint64_t offered;
    uint32_t chosen; /* BALLOON_F_* */
    bool version_1, driver;
    uint32_t target;
    size_t config_bytes;

    uint8_t is_ram[QEMU_PAGES], zero[QEMU_PAGES], held[QEMU_PAGES];
    /* Of the step under way: who should discard a page, and why not both. */
    uint8_t qemu_would[QEMU_PAGES], ours_would[QEMU_PAGES], cause[QEMU_PAGES];

    struct pair_config qemu_config, our_config;
    enum difference actual_cause, poison_cause;
    struct pair_stats qemu_stats, our_stats;

    struct mmio_used acks[64]; /* of our device, in the step under way */
    unsigned ack_count, config_irqs;

    uint64_t seen[DIFFERENCES];
    uint64_t buffers, discarded;
    unsigned long script;
    char log[PAIR_LOG_BYTES];
    size_t log_used;
};

/* Say what is done, for the message of a failure. */
void pair_say(struct pair *pair, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define AGREE(pair, condition, format, ...)                                                        \
    cr_assert(condition, "script %lu: " format "\n%s", (pair)->script, __VA_ARGS__, (pair)->log)

void pair_start(struct pair *pair, const struct qemu_setup *setup);
void pair_end(struct pair *pair);

/* Both devices are reset, guest memory is full of data. */
void pair_begin_script(struct pair *pair, unsigned long script);
/* All of guest memory is the same. */
void pair_end_script(struct pair *pair);

/* The steps: what the guest, or the host, does. */
void pair_reset(struct pair *pair);
void pair_choose(struct pair *pair, uint64_t features);
void pair_start_driver(struct pair *pair, unsigned queues, uint16_t ring_size);
void pair_send_pfns(struct pair *pair, bool inflate, struct mmio_buffer *buffers, unsigned count,
                    bool poll_each);
void pair_send_reports(struct pair *pair, struct mmio_buffer *buffers, unsigned count,
                       bool poll_each);
void pair_send_hints(struct pair *pair, struct mmio_buffer *buffers, unsigned count,
                     bool poll_each);
void pair_send_stats(struct pair *pair, struct mmio_buffer *buffer);
void pair_request_stats(struct pair *pair);
void pair_set_target(struct pair *pair, uint64_t vm_bytes);
void pair_config_read(struct pair *pair, unsigned offset, unsigned width);
void pair_config_write(struct pair *pair, unsigned offset, unsigned width, uint32_t value);
/* The guest writes to pages. */
void pair_touch(struct pair *pair, uint32_t first, uint32_t count);

/* The number of an offered queue; -1 when it is not offered. */
int pair_queue(const struct pair *pair, balloon_virtio_queue kind);

/* For the parts of the pair: what our device says, and what changed in memory. */
void pair_poll(struct pair *pair);
void pair_compare_memory(struct pair *pair);
void pair_choose_config(struct pair *p);
void pair_reset_config(struct pair *pair);
void pair_check_stats_after_reset(struct pair *pair);
void pair_send(struct pair *pair, balloon_virtio_queue kind, struct mmio_buffer *buffers,
               unsigned count, bool poll_each);

#endif
