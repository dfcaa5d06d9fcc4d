/* Several buffers in one call, and several acknowledgements: the same as one by one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "vm.h"

TestSuite(virtio_many, .fini = vm_end);

#define MANY 12

static balloon_device *some_device(uint32_t features, uint32_t max_buffers)
{
    static const balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = features | BALLOON_F_STATS,
                                    .max_buffers = max_buffers};

    return vm_device(&config);
}

/* Buffers of one page each: page 10 i. */
static size_t send(balloon_device *device, uint32_t queue, size_t count, balloon_status *statuses)
{
    balloon_virtio_buffer buffers[MANY];
    uint8_t pages[MANY][4];
    balloon_iov iov[MANY];

    for (size_t i = 0; i < count; i++) {
        balloon_virtio_write_pfns(&(uint32_t){(uint32_t)(10 * i)}, 1, BALLOON_LITTLE_ENDIAN,
                                  pages[i], sizeof(pages[i]));
        iov[i] = (balloon_iov){pages[i], sizeof(pages[i])};
        buffers[i] = (balloon_virtio_buffer){.cookie = i, .readable = &iov[i], .readable_count = 1};
    }
    return balloon_virtio_receive_many(device, queue, buffers, count, statuses, 0);
}

/* How many of them can be given back now; they are 0, 1, 2 ... from `first` on. */
static size_t acks(balloon_device *device, uint64_t first, size_t max)
{
    balloon_ack got[MANY];
    size_t n = balloon_device_poll_acks(device, got, max);

    cr_assert_leq(n, max);
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(got[i].cookie, first + i);
        cr_assert_eq(got[i].used_bytes, 0);
    }
    return n;
}

Test(virtio_many, are_taken_as_far_as_there_is_room)
{
    balloon_device *device = some_device(0, 3);
    balloon_status statuses[5];

    rig_start(device, 0, 0);
    cr_assert_eq(send(device, BALLOON_QUEUE_INFLATE, 5, statuses), 3);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(statuses[i], i < 3 ? BALLOON_OK : BALLOON_ERR_BUSY);
    cr_assert_eq(vm_counters(device).buffers, 3);
    cr_assert_eq(vm_counters(device).inflated, 3, "the others were not read");
    CHECK_POLL(device, 0, "discard 0+1,10+1,20+1 | ack inflate/0 | ack inflate/1 | ack inflate/2");
    cr_assert_eq(send(device, BALLOON_QUEUE_INFLATE, 0, statuses), 0);
}

Test(virtio_many, are_not_taken_without_a_driver_or_from_no_queue)
{
    balloon_device *device = some_device(0, 3);
    balloon_status statuses[5];

    cr_assert_eq(send(device, BALLOON_QUEUE_INFLATE, 5, statuses), 0);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(statuses[i], BALLOON_ERR_STATE);
    rig_start(device, 0, 0);
    cr_assert_eq(send(device, 3, 5, statuses), 0);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(statuses[i], BALLOON_ERR_INVALID);
    cr_assert_eq(send(device, BALLOON_QUEUE_STATS, 2, statuses), 2);
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(statuses[i], BALLOON_ERR_PROTOCOL, "the driver did not take that feature");
    cr_assert_eq(vm_counters(device).protocol_errors, 2);
}

Test(virtio_many, have_a_status_each)
{
    balloon_device *device = some_device(0, 0);
    balloon_iov page = {"\x05\0\0", 4}, outside = {"\x05\0\1", 4}, half = {"\x06\0", 3};
    balloon_virtio_span room = {0, 4096};
    balloon_virtio_buffer buffers[] = {
        {.cookie = 0, .readable = &page, .readable_count = 1},
        {.cookie = 1, .readable = &outside, .readable_count = 1},
        {.cookie = 2, .readable = &page, .readable_count = 1},
        {.cookie = 3, .readable = &half, .readable_count = 1},
        {.cookie = 4, .writable = &room, .writable_count = 1},
        {.cookie = 5},
    };
    balloon_status statuses[6];

    rig_start(device, 0, 0);
    for (uint32_t queue = 0; queue < 2; queue++) {
        cr_assert_eq(balloon_virtio_receive_many(device, queue, buffers, 6, statuses, 0), 6);
        for (size_t i = 0; i < 6; i++)
            cr_assert_eq(statuses[i],
                         i == 1 || i == 3 || i == 4 ? BALLOON_ERR_PROTOCOL : BALLOON_OK,
                         "buffer %zu", i);
    }
    cr_assert_eq(vm_counters(device).protocol_errors, 6);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 1);
    cr_assert_eq(vm_counters(device).inflate_outside, 1);
    cr_assert_eq(vm_counters(device).deflate_unheld, 1);
    cr_assert_eq(vm_counters(device).deflate_outside, 1);
    cr_assert_eq(vm_counters(device).tail_bytes, 6);
}

/* The rule of discards: no answer before them without MUST_TELL_HOST. */
Test(virtio_many, are_answered_after_their_discards)
{
    balloon_device *device = some_device(0, 0);
    balloon_status statuses[5];

    rig_start(device, 0, 0);
    send(device, BALLOON_QUEUE_INFLATE, 5, statuses);
    cr_assert_eq(acks(device, 0, MANY), 0, "pages have not been discarded");
    cr_assert_str_eq(vm_step(device, 0), "discard 0+1,10+1,20+1,30+1,40+1");
    cr_assert_eq(acks(device, 0, 2), 2);
    cr_assert_eq(acks(device, 2, 0), 0);
    CHECK_POLL(device, 0, "ack inflate/2 | ack inflate/3 | ack inflate/4");
    cr_assert_eq(acks(device, 5, MANY), 0);
    cr_assert_eq(vm_counters(device).acks, 5);
}

Test(virtio_many, are_answered_only_as_far_as_nothing_is_to_be_discarded)
{
    balloon_device *device = some_device(0, 0);
    balloon_virtio_buffer last = {.cookie = 2};
    balloon_status statuses[2];

    rig_start(device, 0, 0);
    send(device, BALLOON_QUEUE_DEFLATE, 1, statuses);
    send(device, BALLOON_QUEUE_INFLATE, 2, statuses);
    cr_assert_eq(balloon_virtio_receive(device, BALLOON_QUEUE_DEFLATE, &last, 0), BALLOON_OK);
    cr_assert_eq(acks(device, 0, MANY), 1, "the deflate");
    cr_assert_str_eq(vm_step(device, 0), "discard 0+1,10+1");
    cr_assert_eq(acks(device, 0, MANY), 3);
}

Test(virtio_many, are_answered_while_discarding_is_inhibited)
{
    balloon_device *device = some_device(0, 0);
    balloon_status statuses[4];

    rig_start(device, 0, 0);
    balloon_device_inhibit(device);
    send(device, BALLOON_QUEUE_INFLATE, 4, statuses);
    cr_assert_eq(acks(device, 0, MANY), 0, "what is pending is forgotten by the first answer");
    cr_assert_str_eq(vm_step(device, 0), "ack inflate/0");
    cr_assert_eq(acks(device, 1, MANY), 3);
    cr_assert_eq(vm_counters(device).inflate_withheld, 4);
}

/* With MUST_TELL_HOST pages that wait do not keep an answer; what was reported does. */
Test(virtio_many, are_answered_at_once_when_gathering)
{
    balloon_device *device = some_device(BALLOON_F_MUST_TELL | BALLOON_F_REPORTING, 0);
    balloon_virtio_span page = {50 * 4096, 4096};
    balloon_status statuses[4];

    rig_start(device, BALLOON_F_MUST_TELL | BALLOON_F_REPORTING, 0);
    send(device, BALLOON_QUEUE_INFLATE, 4, statuses);
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 4, &page, 1, 0), BALLOON_OK);
    cr_assert_eq(acks(device, 0, MANY), 4);
    CHECK_POLL(device, 0, "discard 0+1,10+1,20+1,30+1,50+1 | ack report/4");
}

/* The answer of a report ends what was reported, also where none of it was a whole granule. */
Test(virtio_many, leave_nothing_reported_behind)
{
    balloon_region ram = {0, 4096, 4};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_REPORTING};
    balloon_device *device = vm_device(&config);
    balloon_virtio_span whole = {0, 4 * 4096}, part = {4096, 4096};
    const uint32_t pages[] = {0, 1, 2, 3};

    rig_start(device, BALLOON_F_REPORTING, 0);
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 0, &whole, 1, 0), BALLOON_OK);
    cr_assert_str_eq(vm_step(device, 0), "discard 0+4");
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 1, &part, 1, 0), BALLOON_OK);
    cr_assert_eq(acks(device, 0, MANY), 2);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 2, pages, 4, 0), BALLOON_OK);
    CHECK_POLL(device, 0, "discard 0+4 | ack inflate/2");
    cr_assert_eq(vm_status(device).returned, 4, "pages that are only reported do not count");
}

Test(virtio_many, with_claims_are_answered_one_by_one)
{
    uint32_t features = BALLOON_F_DEVICE_INIT_ON_INFLATE;
    balloon_device *device = some_device(features, 0);
    balloon_iov page = {"\x05\0\0", 4};
    balloon_virtio_span room = {0, 32};
    balloon_virtio_buffer buffer = {
        .readable = &page, .readable_count = 1, .writable = &room, .writable_count = 1};
    balloon_status status;
    balloon_action action;

    rig_start(device, features, 0);
    cr_assert_eq(balloon_virtio_receive_many(device, 0, &buffer, 1, &status, 0), 1);
    cr_assert_eq(status, BALLOON_OK);
    cr_assert_str_eq(vm_step(device, 0), "discard 5+1");
    balloon_device_discard_zeroed(device);
    cr_assert_eq(acks(device, 0, MANY), 0);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_ACK);
    cr_assert_eq(action.used_bytes, 1);
    cr_assert_eq(action.used[0], 1);

    /* What was claimed before keeps nothing back. */
    page.base = "\x06\0\0";
    buffer.writable_count = 0;
    cr_assert_eq(balloon_virtio_receive_many(device, 0, &buffer, 1, &status, 0), 1);
    cr_assert_eq(status, BALLOON_OK);
    cr_assert_str_eq(vm_step(device, 0), "discard 6+1");
    balloon_device_discard_zeroed(device);
    cr_assert_eq(acks(device, 0, MANY), 1);
}

Test(virtio_many, can_be_saved_when_some_were_answered)
{
    balloon_device *device = some_device(0, 0), *other = some_device(0, 0);
    balloon_status statuses[5];
    size_t bytes;

    rig_start(device, 0, 0);
    send(device, BALLOON_QUEUE_INFLATE, 5, statuses);
    (void)vm_step(device, 0);
    cr_assert_eq(acks(device, 0, 2), 2);
    void *saved = rig_save(device, 0, &bytes);
    cr_assert_eq(balloon_device_load(other, 0, saved, bytes), BALLOON_OK);
    free(saved);
    cr_assert_eq(acks(other, 2, MANY), 3);
    CHECK_POLL(other, 0, "");
    cr_assert_eq(balloon_tracker_held(balloon_device_tracker(other)), 5);
}

/* --- against one by one ------------------------------------------------------------------------
 */

/* Two devices that are told the same: this one by one, that in any parts. */
struct pair {
    balloon_device *one, *many;
    void *memory[2];
    balloon_device_config config;
    balloon_virtio_options options;
    uint64_t cookie;
    balloon_time_t now;
    char said[2][1 << 16];  /* what they said since the last comparison; discards and failures, */
    char acked[2][1 << 14]; /* and everything else */
};

static void say(char *to, size_t room, const char *what, uint64_t a, uint64_t b)
{
    size_t at = strlen(to);

    cr_assert_lt(at + 64, room);
    snprintf(to + at, room - at, "%s %llu %llu\n", what, (unsigned long long)a,
             (unsigned long long)b);
}

static void note_action(struct pair *p, int i, const balloon_action *a, bool fails)
{
    balloon_device *device = i ? p->many : p->one;

    if (a->type == BALLOON_ACTION_ACK) {
        say(p->acked[i], sizeof(p->acked[i]), "ack", a->queue, a->cookie);
        say(p->acked[i], sizeof(p->acked[i]), "used", a->used_bytes, a->used ? a->used[0] : 0);
    } else if (a->type != BALLOON_ACTION_DISCARD) {
        say(p->acked[i], sizeof(p->acked[i]), "action", a->type, 0);
    }
    for (uint32_t r = 0; r < a->run_count; r++)
        say(p->said[i], sizeof(p->said[i]), "discard", a->runs[r].range.first,
            a->runs[r].range.count);
    if (a->run_count && fails)
        balloon_device_discard_failed(device, &a->runs[0], p->now);
    else if (a->run_count)
        balloon_device_discard_zeroed(device);
}

/* A step of one, and the acknowledgements after it; the other makes as many steps, if it follows.
 * Returns whether there was one. */
static bool step(struct pair *p, struct prng *prng, bool follow)
{
    bool fails = follow && prng_one_in(prng, 8);
    balloon_action action;
    balloon_ack got[MANY];
    size_t n;

    if (!balloon_device_poll(p->many, p->now, &action))
        return false;
    note_action(p, 1, &action, fails);
    n = balloon_device_poll_acks(p->many, got, (size_t)prng_below(prng, MANY + 1));
    for (size_t i = 0; i < n; i++)
        note_action(p, 1,
                    &(balloon_action){.type = BALLOON_ACTION_ACK,
                                      .queue = got[i].queue,
                                      .cookie = got[i].cookie,
                                      .used_bytes = got[i].used_bytes},
                    false);
    for (size_t i = 0; follow && i <= n; i++) {
        cr_assert(balloon_device_poll(p->one, p->now, &action));
        note_action(p, 0, &action, fails);
    }
    return true;
}

static void compare(struct pair *p)
{
    balloon_device_counters a = vm_counters(p->one), b = vm_counters(p->many);
    size_t bytes[2];
    void *saved[2] = {rig_save(p->one, p->now, &bytes[0]), rig_save(p->many, p->now, &bytes[1])};
    const char *why = NULL;

    cr_assert_str_eq(p->said[0], p->said[1]);
    cr_assert_str_eq(p->acked[0], p->acked[1]);
    p->said[0][0] = p->said[1][0] = p->acked[0][0] = p->acked[1][0] = '\0';
    cr_assert(memcmp(&a, &b, sizeof(a)) == 0, "counters");
    cr_assert_eq(bytes[0], bytes[1]);
    cr_assert(memcmp(saved[0], saved[1], bytes[0]) == 0, "saved form");
    cr_assert(balloon_device_check(p->many, &why), "%s", why);
    free(saved[0]);
    free(saved[1]);
}

static balloon_device *load_anew(struct pair *p, int i)
{
    size_t bytes;
    void *memory, *saved = rig_save(i ? p->many : p->one, p->now, &bytes);
    balloon_device *device = rig_make(&p->config, &memory);

    free(p->memory[i]);
    p->memory[i] = memory;

    cr_assert_eq(balloon_virtio_configure(device, &p->options), BALLOON_OK);
    cr_assert_eq(balloon_device_load(device, p->now, saved, bytes), BALLOON_OK);
    free(saved);
    return device;
}

/* Page numbers of a buffer: a run, few pages, or from anywhere, some of them outside. */
static size_t fill(struct prng *prng, uint8_t *bytes, size_t room, unsigned width)
{
    size_t count = (size_t)prng_below(prng, room / width + 1);
    uint64_t first = prng_below(prng, 5000), kind = prng_below(prng, 3);

    for (size_t i = 0; i < count; i++) {
        uint64_t pfn = kind == 0 ? first + i : prng_below(prng, kind == 1 ? 64 : 5000);

        memset(bytes + i * width, 0, width);
        for (unsigned k = 0; k < 2; k++)
            bytes[i * width + k] = (uint8_t)(pfn >> 8 * k);
    }
    return count * width + (prng_one_in(prng, 8) ? (size_t)prng_below(prng, width) : 0);
}

/* The same buffers to both; some more than there is room for. */
static void give(struct pair *p, struct prng *prng)
{
    static uint8_t bytes[MANY][2600];
    balloon_virtio_span spans[MANY][2];
    balloon_iov iov[MANY][3];
    balloon_virtio_buffer buffers[MANY] = {{0}};
    balloon_status statuses[MANY];
    uint32_t queue = (uint32_t)prng_below(prng, prng_one_in(prng, 4) ? 6 : 2);
    size_t count = 1 + (size_t)prng_below(prng, MANY), taken = 0;

    for (size_t i = 0; i < count; i++) {
        size_t size = fill(prng, bytes[i], 2590, p->options.windows_pfns ? 8 : 4), at = 0;

        buffers[i].cookie = p->cookie + i;
        buffers[i].readable = iov[i];
        buffers[i].readable_count = prng_one_in(prng, 4) ? 1 + (size_t)prng_below(prng, 3) : 1;
        for (size_t k = 0; k < buffers[i].readable_count; k++) {
            bool last = k + 1 == buffers[i].readable_count;
            size_t part = last ? size - at : (size_t)prng_below(prng, size - at + 1);

            iov[i][k] = (balloon_iov){bytes[i] + at, part};
            at += part;
        }
        if (prng_one_in(prng, 16))
            buffers[i].readable_count = 0;
        if (queue < 2 && !prng_one_in(prng, 6))
            continue;
        buffers[i].writable = spans[i];
        buffers[i].writable_count = (size_t)prng_below(prng, 3);
        for (size_t k = 0; k < buffers[i].writable_count; k++)
            spans[i][k] =
                (balloon_virtio_span){prng_below(prng, 5000) << 12, prng_below(prng, 64) << 12};
    }
    p->cookie += count;
    size_t got = balloon_virtio_receive_many(p->many, queue, buffers, count, statuses, p->now);
    for (; taken < count; taken++) {
        balloon_status status = balloon_virtio_receive(p->one, queue, &buffers[taken], p->now);

        cr_assert_eq(status, statuses[taken], "buffer %zu of %zu", taken, count);
        if (status != BALLOON_OK && status != BALLOON_ERR_PROTOCOL)
            break;
    }
    cr_assert_eq(got, taken);
    for (; taken < count; taken++)
        cr_assert_eq(statuses[taken], statuses[got]);
}

static void duel(uint32_t features, bool windows, bool legacy, uint64_t stream)
{
    static const balloon_region ram[] = {{0, 3000, 1}, {3100, 1500, 4}};
    static struct pair p;
    struct prng prng = prng_start(prng_seed(), stream);
    uint64_t version_1 = legacy ? 0 : BALLOON_VIRTIO_F_VERSION_1;

    memset(&p, 0, sizeof(p));
    p.config = (balloon_device_config){.size = sizeof(p.config),
                                       .regions = ram,
                                       .region_count = 2,
                                       .features = BALLOON_F_ALL | BALLOON_F_EXPERIMENTAL,
                                       .run_batch = 5,
                                       .max_buffers = 9,
                                       .max_buffer_bytes = 2500,
                                       .gather_pages = 300};
    p.options = (balloon_virtio_options){.size = sizeof(p.options),
                                         .windows_pfns = windows,
                                         .legacy_endian =
                                             legacy ? BALLOON_BIG_ENDIAN : BALLOON_LITTLE_ENDIAN};
    p.one = rig_make(&p.config, &p.memory[0]);
    p.many = rig_make(&p.config, &p.memory[1]);
    for (int i = 0; i < 2; i++) {
        balloon_device *device = i ? p.many : p.one;

        cr_assert_eq(balloon_virtio_configure(device, &p.options), BALLOON_OK);
        cr_assert_eq(balloon_virtio_set_features(device, features | version_1), BALLOON_OK);
        cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK);
        cr_assert_eq(balloon_device_set_target(device, 1600, 0), BALLOON_OK);
    }
    for (int round = 0; round < 400; round++) {
        p.now += prng_below(&prng, 100000000);
        give(&p, &prng);
        if (prng_one_in(&prng, 20)) {
            balloon_device_inhibit(p.one);
            balloon_device_inhibit(p.many);
        } else if (balloon_device_release(p.one) == BALLOON_OK) {
            cr_assert_eq(balloon_device_release(p.many), BALLOON_OK);
        }
        /* Where discards gather, answers need not wait for them, and may come before; so only the
         * ends are the same there. */
        bool gathers = features & BALLOON_F_MUST_TELL;
        uint64_t steps = gathers || prng_one_in(&prng, 2) ? UINT64_MAX : prng_below(&prng, 4);
        balloon_action action;

        while (steps-- && step(&p, &prng, !gathers))
            continue;
        while (gathers && balloon_device_poll(p.one, p.now, &action))
            note_action(&p, 0, &action, false);
        compare(&p);
        if (prng_one_in(&prng, 50)) {
            p.one = load_anew(&p, 0);
            p.many = load_anew(&p, 1);
        }
    }
    free(p.memory[0]);
    free(p.memory[1]);
}

Test(virtio_many, are_the_same_as_one_by_one)
{
    static const uint32_t features[] = {0,
                                        BALLOON_F_STATS | BALLOON_F_REPORTING,
                                        BALLOON_F_ALL,
                                        BALLOON_F_MUST_TELL,
                                        BALLOON_F_EXPERIMENTAL | BALLOON_F_REPORTING,
                                        BALLOON_F_HINTING};

    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        for (unsigned how = 0; how < 4; how++)
            duel(features[i], how & 1, how & 2, 7000 + 4 * i + how);
}
