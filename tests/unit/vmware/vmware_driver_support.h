/* A kernel with a driver of VMware, whose host is a function of the test. Each page has one owner,
 * and every action is checked against that. */
#ifndef TEST_VMWARE_DRIVER_SUPPORT_H
#define TEST_VMWARE_DRIVER_SUPPORT_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/driver.h>
#include <balloon/vmware.h>

#include "prng.h"

#define VMK_MS     UINT64_C(1000000)
#define VMK_SECOND (1000 * VMK_MS)
#define VMK_PAGES  16384
#define VMK_BATCH  (VMK_PAGES - 1) /* never free */

enum vmk_owner { VMK_FREE = 0, VMK_USED, VMK_GIVEN };

struct vmk;
typedef void (*vmk_host)(struct vmk *k, balloon_vmware_frame *frame);

struct vmk {
    balloon_driver *driver;
    void *memory;
    bool lists; /* the kernel keeps the list of pages */
    balloon_vmware_width width;
    vmk_host host;
    void *host_data;
    uint8_t owner[VMK_PAGES];
    uint64_t given;
    uint8_t page[4096];
    uint64_t calls, starts, allocs;
    uint64_t no_memory; /* allocations fail */
    struct prng *prng;  /* allocates at random when not NULL */
    bool suspended, freed_all;
    balloon_time_t now;

    /* A simple host, for those who want no other. */
    int32_t start_status, status[11];
    uint64_t grant, target;
    uint32_t entry_status[BALLOON_VMWARE_BATCH_MAX];
    char log[8192];
    size_t used;
};

static inline void vmk_say(struct vmk *k, const char *format, ...)
{
    va_list args;

    if (k->used + 64 > sizeof(k->log))
        return;
    va_start(args, format);
    k->used += (size_t)vsnprintf(k->log + k->used, sizeof(k->log) - k->used, format, args);
    va_end(args);
}

/* Answers as k says, and writes down what was asked:
 *   start 2e | guest 1 | bell 3/10001 | target 16384 | lock 5 | unlock 5 | in 3 pages: 12
 * where 12 is the first page of a batch of 3; in2m and out2m are those of 2 MiB. */
static inline void vmk_simple_host(struct vmk *k, balloon_vmware_frame *frame)
{
    static const char *const batches[] = {"in", "out", "in2m", "out2m"};
    balloon_vmware_request call;
    balloon_vmware_reply reply = {0};
    balloon_vmware_entry entries[BALLOON_VMWARE_BATCH_MAX];

    cr_assert_eq(balloon_vmware_read_request(frame, k->width, &call), BALLOON_OK);
    reply.status = k->status[call.command];
    reply.target = k->target;
    vmk_say(k, "%s", k->used ? " | " : "");
    switch (call.command) {
    case BALLOON_VMWARE_START:
        vmk_say(k, "start %" PRIx64, call.capabilities);
        if (reply.status == BALLOON_VMWARE_SUCCESS)
            balloon_vmware_answer_start(call.capabilities, k->grant, &reply);
        break;
    case BALLOON_VMWARE_GET_TARGET:
        vmk_say(k, "target %" PRIu64, call.limit);
        break;
    case BALLOON_VMWARE_LOCK:
    case BALLOON_VMWARE_UNLOCK:
        vmk_say(k, "%s %" PRIu64, call.command == BALLOON_VMWARE_LOCK ? "lock" : "unlock",
                call.pfn);
        break;
    case BALLOON_VMWARE_SET_GUEST:
        vmk_say(k, "guest %" PRIu32, call.guest);
        break;
    case BALLOON_VMWARE_SET_DOORBELL:
        vmk_say(k, "bell %" PRIx32 "/%" PRIx32, call.context, call.resource);
        break;
    default:
        cr_assert_eq(call.pfn, VMK_BATCH);
        cr_assert_eq(balloon_vmware_read_batch(k->page, 4096, call.entries, entries), BALLOON_OK);
        vmk_say(k, "%s %" PRIu32 ": %" PRIu64, batches[call.command - BALLOON_VMWARE_BATCHED_LOCK],
                call.entries, entries[0].pfn);
        for (uint32_t i = 0; i < call.entries; i++) {
            cr_assert_eq(entries[i].status, 0);
            entries[i].status = k->entry_status[i];
        }
        cr_assert_eq(balloon_vmware_write_batch(entries, call.entries, k->page, 4096),
                     8 * call.entries);
        break;
    }
    cr_assert_eq(balloon_vmware_write_reply(call.command, &reply, k->width, frame), BALLOON_OK);
}

static inline void vmk_make(struct vmk *k, const balloon_driver_config *given)
{
    static const balloon_region ram = {0, VMK_PAGES, 1};
    balloon_driver_config config = *given;
    balloon_layout layout;

    memset(k, 0, sizeof(*k));
    config.size = sizeof(config);
    config.deflate_on_oom = true;
    if (!config.total_pages) {
        config.regions = &ram;
        config.region_count = 1;
    }
    k->lists = config.total_pages != 0;
    if (!config.floor_pages)
        config.floor_pages = UINT64_MAX;
    cr_assert_eq(balloon_driver_layout(&config, &layout), BALLOON_OK);
    k->memory = malloc(layout.bytes);
    cr_assert_not_null(k->memory);
    memset(k->memory, 0xa5, layout.bytes);
    cr_assert_eq(balloon_driver_init(k->memory, layout.bytes, &config, &k->driver), BALLOON_OK);
    k->owner[VMK_BATCH] = VMK_USED;
    k->host = vmk_simple_host;
    k->grant = BALLOON_VMWARE_CAPABILITIES_ALL;
}

static inline void vmk_end(struct vmk *k)
{
    free(k->memory);
    memset(k, 0, sizeof(*k));
}

static inline void vmk_check(struct vmk *k)
{
    const char *why = NULL;
    balloon_driver_status s;

    cr_assert(balloon_driver_check(k->driver, &why), "%s", why);
    balloon_driver_status_get(k->driver, &s);
    cr_assert_leq(s.held + s.on_way_in, k->given);
}

static inline bool vmk_is_free(const struct vmk *k, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++)
        if (i >= VMK_PAGES || k->owner[i] != VMK_FREE)
            return false;
    return true;
}

static inline void vmk_set_owner(struct vmk *k, uint64_t first, uint64_t count, enum vmk_owner from,
                                 enum vmk_owner to)
{
    cr_assert_leq(first + count, VMK_PAGES);
    for (uint64_t i = first; i < first + count; i++) {
        cr_assert_eq(k->owner[i], from, "page %d belongs to %d", (int)i, k->owner[i]);
        k->owner[i] = (uint8_t)to;
    }
    k->given += to == VMK_GIVEN ? count : 0;
    k->given -= from == VMK_GIVEN ? count : 0;
}

static inline void vmk_alloc(struct vmk *k, const balloon_driver_action *action)
{
    balloon_range *runs = calloc(action->max_runs, sizeof(*runs));
    uint64_t left = action->pages, block = action->block;
    uint32_t count = 0;

    k->allocs++;
    if (k->no_memory || (k->prng && prng_one_in(k->prng, 20)))
        left = 0;
    /* Large blocks first, as long as there are any. */
    for (; block; block /= 2) {
        uint64_t from = k->prng ? prng_below(k->prng, VMK_PAGES / block) * block : 0;

        for (uint64_t n = 0; n < VMK_PAGES && left >= block && count < action->max_runs;
             n += block) {
            uint64_t at = (from + n) % VMK_PAGES;

            if (!vmk_is_free(k, at, block) || (k->prng && prng_one_in(k->prng, 8)))
                continue;
            runs[count++] = (balloon_range){at, block};
            vmk_set_owner(k, at, block, VMK_FREE, VMK_GIVEN);
            left -= block;
        }
    }
    cr_assert_eq(balloon_driver_give(k->driver, action->channel, runs, count, k->now), BALLOON_OK);
    free(runs);
}

static inline void vmk_take(struct vmk *k, const balloon_driver_action *action)
{
    balloon_range *runs = calloc(action->max_runs, sizeof(*runs));
    uint64_t left = action->pages;
    uint32_t count = 0;

    cr_assert(k->lists);
    for (uint64_t at = 0; at < VMK_PAGES && left && count < action->max_runs; at++) {
        uint64_t n = 0;

        while (at + n < VMK_PAGES && k->owner[at + n] == VMK_GIVEN && n < left)
            n++;
        if (!n)
            continue;
        runs[count++] = (balloon_range){at, n};
        left -= n;
        at += n;
    }
    cr_assert_eq(balloon_driver_give(k->driver, BALLOON_CHANNEL_DEFLATE, runs, count, k->now),
                 BALLOON_OK);
    free(runs);
}

static inline void vmk_free(struct vmk *k, const balloon_driver_action *action)
{
    for (uint32_t i = 0; i < action->run_count; i++)
        vmk_set_owner(k, action->runs[i].first, action->runs[i].count, VMK_GIVEN, VMK_FREE);
    if (action->run_count)
        return;
    cr_assert(k->lists);
    for (uint64_t i = 0; i < VMK_PAGES; i++)
        if (k->owner[i] == VMK_GIVEN)
            vmk_set_owner(k, i, 1, VMK_GIVEN, VMK_FREE);
}

/* Write a call and have it answered. */
static inline balloon_status vmk_send(struct vmk *k, const balloon_driver_action *action)
{
    uint8_t *page = action->bytes ? k->page : NULL;
    balloon_vmware_frame frame;

    memset(&frame, 0xee, sizeof(frame));
    memset(k->page, 0xa5, sizeof(k->page));
    cr_assert_leq(action->bytes, sizeof(k->page));
    cr_assert_eq(balloon_vmware_driver_write(k->driver, action->channel, &frame, page,
                                             action->bytes, VMK_BATCH),
                 BALLOON_OK);
    cr_assert(balloon_vmware_is_call(&frame));
    k->calls++;
    k->starts += frame.cx == BALLOON_VMWARE_START;
    k->host(k, &frame);
    return balloon_vmware_driver_reply(k->driver, &frame, page, action->bytes, k->now);
}

/* Poll once. */
static inline bool vmk_step(struct vmk *k)
{
    balloon_time_t deadline = balloon_driver_deadline(k->driver);
    balloon_driver_action action;

    if (!balloon_driver_poll(k->driver, k->now, &action)) {
        cr_assert_gt(deadline, k->now, "the deadline is over, and there is nothing to do");
        return false;
    }
    cr_assert_leq(deadline, k->now, "there is something to do before the deadline");
    switch (action.type) {
    case BALLOON_DRIVER_ALLOC:
        vmk_alloc(k, &action);
        break;
    case BALLOON_DRIVER_TAKE:
        vmk_take(k, &action);
        break;
    case BALLOON_DRIVER_FREE:
        vmk_free(k, &action);
        break;
    case BALLOON_DRIVER_SEND:
        (void)!vmk_send(k, &action);
        break;
    case BALLOON_DRIVER_SUSPENDED:
        k->suspended = true;
        break;
    default:
        cr_assert(false, "no action of this transport");
    }
    return true;
}

/* Poll until there is nothing to do at this time. Returns what the simple host was asked. */
static inline const char *vmk_run(struct vmk *k, balloon_time_t now)
{
    uint64_t steps = 0;

    k->now = now;
    k->used = 0;
    k->log[0] = '\0';
    while (vmk_step(k)) {
        cr_assert_lt(++steps, 100000, "it never ends");
        if (steps < 16 || steps % 64 == 0)
            vmk_check(k);
    }
    vmk_check(k);
    return k->log;
}

static inline balloon_driver_status vmk_status(const struct vmk *k)
{
    balloon_driver_status status;

    balloon_driver_status_get(k->driver, &status);
    return status;
}

static inline balloon_driver_counters vmk_counters(const struct vmk *k)
{
    balloon_driver_counters counters;

    balloon_driver_counters_get(k->driver, &counters);
    return counters;
}

#define CHECK_CALLS(k, now, expected)                                                              \
    do {                                                                                           \
        const char *got_ = vmk_run(k, now);                                                        \
        cr_assert(strcmp(got_, expected) == 0, "got \"%s\"\nnot \"%s\"", got_, expected);          \
    } while (0)

#define BASIC   BALLOON_VMWARE_BASIC
#define BATCHED (BASIC | BALLOON_VMWARE_BATCHED)
#define LARGE   (BATCHED | BALLOON_VMWARE_BATCHED_2M)

static inline void vmk_make_simple(struct vmk *k, uint32_t chunk_pages)
{
    balloon_driver_config config = {.chunk_pages = chunk_pages};

    vmk_make(k, &config);
}

static inline balloon_status vmk_open(struct vmk *k, uint64_t capabilities, uint32_t guest,
                                      uint32_t context)
{
    balloon_vmware_driver_options options = {.size = sizeof(options),
                                             .capabilities = capabilities,
                                             .guest = guest,
                                             .context = context,
                                             .resource = 0x10001};

    return balloon_vmware_driver_open(k->driver, &options, 0);
}

/* Started, asks for the target at each second, and has it. */
static inline void vmk_start(struct vmk *k, uint32_t chunk_pages, uint64_t capabilities,
                             uint64_t target)
{
    vmk_make_simple(k, chunk_pages);
    cr_assert_eq(vmk_open(k, capabilities, 0, 0), BALLOON_OK);
    k->target = target;
    (void)vmk_run(k, 0);
    cr_assert_eq(balloon_vmware_driver_capabilities(k->driver), capabilities);
}

static inline bool vmk_was_asked(const struct vmk *k, const char *what)
{
    return strstr(k->log, what) != NULL;
}

/* Poll up to a SEND with pages. */
static inline balloon_driver_action vmk_until_pages(struct vmk *k)
{
    balloon_driver_action action;

    for (;;) {
        cr_assert(balloon_driver_poll(k->driver, k->now, &action));
        if (action.type == BALLOON_DRIVER_SEND && action.channel != BALLOON_CHANNEL_CONTROL)
            return action;
        if (action.type == BALLOON_DRIVER_SEND)
            (void)!vmk_send(k, &action);
        else if (action.type == BALLOON_DRIVER_ALLOC)
            vmk_alloc(k, &action);
        else
            vmk_free(k, &action);
    }
}

#endif
