/* Devices for tests to read: short commands in, and all that a poll answers as one line of text. */
#ifndef TEST_VM_H
#define TEST_VM_H

#include <criterion/criterion.h>
#include <string.h>

#include "rig.h"

#define VM_MS     UINT64_C(1000000)
#define VM_SECOND (1000 * VM_MS)

/* An array of page numbers and its length. */
#define VM_PFNS(...)                                                                               \
    (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

/* A device whose memory is freed by vm_end(), the .fini of every suite that makes devices. */
balloon_device *vm_device(const balloon_device_config *config);

/* 4096 pages of 4 KiB granules that begin at page 0, exactly these features offered, and a driver
 * since time 0 that takes all of them. */
balloon_device *vm_simple(uint32_t features);

/* The same with a granule, and with pages above 4096 to plug in. */
balloon_device *vm_granules(uint32_t features, uint64_t granule);
void vm_end(void);

/* Inflate or deflate pages first .. first + count - 1 by one buffer. */
balloon_status vm_inflate(balloon_device *device, uint64_t cookie, uint32_t first, uint32_t count,
                          balloon_time_t now);
balloon_status vm_deflate(balloon_device *device, uint64_t cookie, uint32_t first, uint32_t count,
                          balloon_time_t now);

/* Report or hint pages by one buffer of one span. */
balloon_status vm_report(balloon_device *device, uint64_t cookie, uint64_t first, uint64_t count);
balloon_status vm_hint(balloon_device *device, uint64_t cookie, uint64_t first, uint64_t count);

/* The driver's hinting command. */
balloon_status vm_hint_command(balloon_device *device, uint64_t cookie, uint32_t id);

/* One statistic in a statistics buffer. */
balloon_status vm_stats(balloon_device *device, uint64_t cookie, balloon_stat stat, uint64_t value,
                        balloon_time_t now);

/* Poll until there is nothing to do. Answers in their order, as in
 *   irq | discard 16+2,40+1 | ack inflate/7 | stats | late | pressure | hinted
 * where 7 is the cookie of a buffer, and a run outside of region 0 begins with its region: 1:16+2.
 * The text is good until the next call. Aborts when a rule of the device is broken, when fields
 * that do not belong to an action are set, and when the deadline does not fit. */
const char *vm_poll(balloon_device *device, balloon_time_t now);

/* Poll once; an empty text when there is nothing to do. */
const char *vm_step(balloon_device *device, balloon_time_t now);

#define CHECK_TEXT(call, expected)                                                                 \
    do {                                                                                           \
        const char *got_ = call;                                                                   \
        cr_assert(strcmp(got_, expected) == 0, "got \"%s\"\nnot \"%s\"", got_, expected);          \
    } while (0)
#define CHECK_POLL(device, now, expected) CHECK_TEXT(vm_poll(device, now), expected)
#define CHECK_STEP(device, now, expected) CHECK_TEXT(vm_step(device, now), expected)

balloon_device_status vm_status(const balloon_device *device);
balloon_device_counters vm_counters(const balloon_device *device);

/* Save one device and load it into another. */
balloon_status vm_move(const balloon_device *from, balloon_time_t then, balloon_device *to,
                       balloon_time_t now);

#endif
