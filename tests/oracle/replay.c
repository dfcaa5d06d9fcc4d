/* What a real Linux guest sent, replayed: exact tallies, no page in use ever discarded, and as
 * few discards as a count by hand gives. */
#include "prng.h"
#include "rig.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

static const char *const names[] = {"256M_fresh",    "256M_touched", "256M_frag",
                                    "256M_fraghard", "512M_frag",    "512M_oom"};

struct replay {
    struct trace trace;
    balloon_device *device;
    void *memory;
    uint64_t pages, granule;
    bool gather;
    size_t window;       /* Buffers between two flushes; 0 leaves it to the device. */
    uint8_t *held;       /* By page: sent to the balloon. */
    uint8_t *given_back; /* By page: the host has it. */
    uint64_t runs, discarded;
};

static void open_trace(struct replay *replay, const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "tests/data/%s.bpt", name);
    cr_assert(trace_read(path, &replay->trace), "%s cannot be read", path);
    replay->pages = (replay->trace.highest | 511) + 1;
}

static void start(struct replay *replay)
{
    balloon_region ram = {0, replay->pages, replay->granule};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_ALL,
                                    .gather_pages = UINT64_MAX,
                                    .gather_delay = replay->window ? 1000000 * MS : 50 * MS};
    replay->device = rig_make(&config, &replay->memory);
    rig_start(replay->device, replay->gather ? BALLOON_F_MUST_TELL : 0, 0);
    replay->held = calloc(replay->pages, 1);
    replay->given_back = calloc(replay->pages, 1);
    replay->runs = replay->discarded = 0;
}

static void finish(struct replay *replay)
{
    free(replay->memory);
    free(replay->held);
    free(replay->given_back);
}

static void discard(struct replay *replay, const balloon_run *run)
{
    replay->runs++;
    replay->discarded += run->range.count;
    for (uint64_t p = run->range.first; p < run->range.first + run->range.count; p++) {
        cr_assert(replay->held[p], "page %#" PRIx64 " is in use and was discarded", p);
        cr_assert_not(replay->given_back[p], "page %#" PRIx64 " was discarded twice", p);
        replay->given_back[p] = 1;
    }
}

static void drain(struct replay *replay, uint64_t cookie, balloon_time_t now)
{
    balloon_action action;
    bool acked = cookie == 0;
    while (balloon_device_poll(replay->device, now, &action)) {
        if (action.type == BALLOON_ACTION_ACK) {
            cr_assert(!acked && action.cookie == cookie && action.used_bytes == 0);
            acked = true;
        }
        if (action.type != BALLOON_ACTION_DISCARD)
            continue;
        cr_assert(replay->gather || !acked, "a discard after the answer");
        for (uint32_t i = 0; i < action.run_count; i++)
            discard(replay, &action.runs[i]);
    }
    cr_assert(acked);
}

/* Plays buffers from..to-1 of the trace; one each millisecond. */
static void play(struct replay *replay, size_t from, size_t to)
{
    balloon_device_counters before, c;
    for (size_t b = from; b < to; b++) {
        const struct trace_buffer *buffer = &replay->trace.buffers[b];
        balloon_time_t now = (b + 1) * MS;
        uint64_t changed = 0, unchanged = 0;
        for (size_t i = 0; i < buffer->count; i++) {
            uint8_t *held = &replay->held[buffer->pfns[i]];
            changed += *held == buffer->deflate;
            unchanged += *held != buffer->deflate;
            *held = !buffer->deflate;
            if (buffer->deflate) { /* The guest brings the whole granule back. */
                uint64_t g = buffer->pfns[i] & ~(replay->granule - 1);
                memset(replay->given_back + g, 0, replay->granule);
            }
        }
        balloon_device_counters_get(replay->device, &before);
        cr_assert_eq(rig_send_pfns(replay->device,
                                   buffer->deflate ? BALLOON_QUEUE_DEFLATE : BALLOON_QUEUE_INFLATE,
                                   b + 1, buffer->pfns, buffer->count, now),
                     BALLOON_OK);
        balloon_device_counters_get(replay->device, &c);
        if (buffer->deflate) {
            cr_assert_eq(c.deflated - before.deflated, changed);
            cr_assert_eq(c.deflate_unheld - before.deflate_unheld, unchanged);
        } else {
            cr_assert_eq(c.inflated - before.inflated, changed);
            cr_assert_eq(c.inflate_duplicate - before.inflate_duplicate, unchanged);
        }
        if (replay->window && (b + 1 - from) % replay->window == 0)
            balloon_device_flush(replay->device);
        drain(replay, b + 1, now);
    }
    balloon_device_counters_get(replay->device, &c);
    cr_assert_eq(c.inflate_outside + c.deflate_outside + c.protocol_errors + c.tail_bytes, 0);
    cr_assert_eq(c.discard_runs, replay->runs);
    cr_assert_eq(c.discarded, replay->discarded);
    const char *why = NULL;
    cr_assert(balloon_device_check(replay->device, &why), "%s", why);
}

static uint64_t held_pages(const struct replay *replay)
{
    uint64_t held = 0;
    for (uint64_t p = 0; p < replay->pages; p++)
        held += replay->held[p];
    return held;
}

/* All of each trace, in both modes, on hosts with small and large pages. */
Test(replay, whole_traces)
{
    static const uint64_t granules[] = {1, 4, 16, 512};
    for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++) {
        struct replay replay = {0};
        open_trace(&replay, names[n]);
        for (int mode = 0; mode < 2; mode++) {
            for (int g = 0; g < 4; g++) {
                replay.gather = mode;
                replay.granule = granules[g];
                start(&replay);
                play(&replay, 0, replay.trace.count);
                uint64_t held = held_pages(&replay);
                cr_assert_eq(balloon_tracker_held(balloon_device_tracker(replay.device)), held);
                /* Nothing stays ready past the deadline. */
                balloon_time_t deadline = balloon_device_deadline(replay.device);
                if (deadline != BALLOON_TIME_NEVER)
                    drain(&replay, 0, deadline);
                cr_assert_eq(balloon_tracker_ready(balloon_device_tracker(replay.device)), 0);
                for (uint64_t p = 0; replay.gather && p < replay.pages; p += granules[g]) {
                    bool whole = !memchr(replay.held + p, 0, granules[g]);
                    cr_assert_eq(replay.given_back[p], whole, "%s: granule %#" PRIx64, names[n], p);
                }
                finish(&replay);
            }
        }
        trace_free(&replay.trace);
    }
}

/* Runs that a count by hand finds in one set of pages. */
static uint64_t runs_in(const uint8_t *set, uint64_t pages)
{
    uint64_t runs = 0;
    for (uint64_t p = 0; p < pages; p++)
        runs += set[p] && (!p || !set[p - 1]);
    return runs;
}

/* The first inflation of each trace: discards needed one buffer at a time, and gathered over
 * more and more buffers. */
Test(replay, gathering_saves_discards)
{
    static const size_t windows[] = {1, 4, 16, 64, 256};
    for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++) {
        struct replay replay = {.granule = 1};
        open_trace(&replay, names[n]);
        size_t first = 0, end = 0;
        while (first < replay.trace.count && replay.trace.buffers[first].deflate)
            first++;
        end = first;
        while (end < replay.trace.count && !replay.trace.buffers[end].deflate)
            end++;
        fprintf(stderr, "%-14s %4zu buffers, discards:", names[n], end - first);
        uint64_t got[5];
        for (int w = 0; w < 5; w++) {
            replay.gather = true;
            replay.window = windows[w];
            start(&replay);
            uint8_t *set = calloc(replay.pages, 1);
            uint64_t want = 0;
            for (size_t b = first; b < end; b++) {
                const struct trace_buffer *buffer = &replay.trace.buffers[b];
                for (size_t i = 0; i < buffer->count; i++)
                    set[buffer->pfns[i]] = 1;
                if ((b + 1 - first) % windows[w] == 0 || b + 1 == end) {
                    want += runs_in(set, replay.pages);
                    memset(set, 0, replay.pages);
                }
            }
            play(&replay, first, end);
            balloon_device_flush(replay.device);
            drain(&replay, 0, (end + 1) * MS);
            got[w] = replay.runs;
            fprintf(stderr, " %" PRIu64 " (%zu)", got[w], windows[w]);
            cr_assert_eq(got[w], want, "%s, %zu buffers: %" PRIu64 " runs, by hand %" PRIu64,
                         names[n], windows[w], got[w], want);
            finish(&replay);
            free(set);
        }
        fprintf(stderr, "\n");
        /* Without the promise of MUST_TELL_HOST it is each buffer for itself. */
        replay.gather = false;
        start(&replay);
        play(&replay, first, end);
        cr_assert_eq(replay.runs, got[0], "%s", names[n]);
        finish(&replay);
        cr_assert_leq(got[4], got[0]);
        trace_free(&replay.trace);
    }
}

/* Reset after every buffer: what is left behind is what a device has that never saw a guest. */
Test(replay, reset_after_every_buffer)
{
    struct replay replay = {.granule = 4};
    open_trace(&replay, "512M_oom");
    size_t fresh_bytes, last = prng_check_all() ? replay.trace.count : 150;
    start(&replay);
    balloon_device_reset(replay.device);
    void *fresh = rig_save(replay.device, 0, &fresh_bytes);
    finish(&replay);
    for (size_t k = 1; k <= last && k < replay.trace.count; k++) {
        replay.gather = k % 2;
        start(&replay);
        play(&replay, k > 40 ? k - 40 : 0, k);
        /* One that was received and not answered is forgotten too. */
        const struct trace_buffer *buffer = &replay.trace.buffers[k];
        cr_assert_eq(
            rig_send_pfns(replay.device, BALLOON_QUEUE_INFLATE, 7, buffer->pfns, buffer->count, 0),
            BALLOON_OK);
        balloon_device_reset(replay.device);
        cr_assert_eq(rig_drain(replay.device, 1000000 * MS), 0);
        cr_assert_eq(balloon_device_deadline(replay.device), BALLOON_TIME_NEVER);
        size_t bytes;
        void *left = rig_save(replay.device, 0, &bytes);
        cr_assert(bytes == fresh_bytes && !memcmp(left, fresh, bytes), "after %zu buffers", k);
        free(left);
        finish(&replay);
    }
    free(fresh);
    trace_free(&replay.trace);
}
