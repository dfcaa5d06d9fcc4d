/* Both Hyper-V bindings joined by their bytes, with a kernel that reuses a page as soon as it has
 * it back. Messages wait on their way for as long as chance has it, targets change at any moment,
 * and the device moves to another host now and then. */
#include <stdlib.h>

#include "hyperv_driver_support.h"
#include "prng.h"
#include "rig.h"

#define PAGES  2048
#define FLOOR  100
#define QUEUE  64
#define ROUNDS 3000

enum owner { KERNEL, DRIVER };

/* Messages on their way in one direction. */
struct pipe {
    struct {
        uint8_t *bytes;
        size_t size;
    } messages[QUEUE];
    unsigned first, count;
};

static struct {
    struct prng prng;
    balloon_time_t now;
    balloon_device *device;
    void *device_memory;
    uint64_t granule;
    enum owner owner[PAGES];
    uint64_t kernels;                    /* pages that the kernel has */
    bool device_sends;                   /* SEND was told and not answered */
    bool driver_sends[BALLOON_CHANNELS]; /* likewise */
    struct pipe to_guest, to_host;
    uint64_t given, taken, discarded, messages, moves, busy;
} loop;

static void push(struct pipe *pipe, const uint8_t *bytes, size_t size)
{
    unsigned at = (pipe->first + pipe->count++) % QUEUE;

    cr_assert_leq(pipe->count, QUEUE);
    /* Exactly as long as the message, so that sanitizers see who reads past its end. */
    pipe->messages[at].bytes = malloc(size);
    cr_assert(pipe->messages[at].bytes);
    memcpy(pipe->messages[at].bytes, bytes, size);
    pipe->messages[at].size = size;
    loop.messages++;
}

static void pop(struct pipe *pipe)
{
    free(pipe->messages[pipe->first].bytes);
    pipe->first = (pipe->first + 1) % QUEUE;
    pipe->count--;
}

/* --- the kernel ------------------------------------------------------------------------------- */

static void own(balloon_range range, enum owner from, enum owner to)
{
    for (uint64_t page = range.first; page < range.first + range.count; page++) {
        cr_assert_lt(page, PAGES);
        cr_assert_eq(loop.owner[page], from, "page %" PRIu64, page);
        loop.owner[page] = to;
    }
    loop.kernels += to == KERNEL ? range.count : 0;
    loop.kernels -= to == KERNEL ? 0 : range.count;
}

/* Free pages from anywhere, in blocks of any size, and sometimes less of them than there are. */
static void allocate(const balloon_driver_action *action)
{
    static balloon_range runs[4096];
    uint64_t left = action->pages;
    size_t count = 0;

    if (prng_one_in(&loop.prng, 8))
        left = prng_below(&loop.prng, left);
    for (unsigned tries = 0; left && count < action->max_runs && tries < 200; tries++) {
        balloon_range run = {prng_below(&loop.prng, PAGES), 0};
        uint64_t most = 1 + prng_below(&loop.prng, 64);

        while (run.count < left && run.count < most && run.first + run.count < PAGES &&
               loop.owner[run.first + run.count] == KERNEL)
            run.count++;
        if (!run.count)
            continue;
        own(run, KERNEL, DRIVER);
        runs[count++] = run;
        left -= run.count;
        loop.given += run.count;
    }
    cr_assert_eq(balloon_driver_give(driver, action->channel, runs, count, loop.now), BALLOON_OK);
}

static bool driver_step(void)
{
    balloon_driver_action action;
    const char *why;

    if (!balloon_driver_poll(driver, loop.now, &action))
        return false;
    cr_assert(balloon_driver_check(driver, &why), "%s", why);
    switch (action.type) {
    case BALLOON_DRIVER_ALLOC:
        allocate(&action);
        break;
    case BALLOON_DRIVER_FREE:
        for (uint32_t i = 0; i < action.run_count; i++) {
            own(action.runs[i], DRIVER, KERNEL);
            loop.taken += action.runs[i].count;
        }
        break;
    case BALLOON_DRIVER_STATS:
        kernel.available = loop.kernels;
        kernel.committed = 10;
        hd_answer_stats(loop.now);
        break;
    default:
        cr_assert_eq(action.type, BALLOON_DRIVER_SEND);
        cr_assert_not(loop.driver_sends[action.channel]);
        loop.driver_sends[action.channel] = true;
        break;
    }
    return true;
}

static bool driver_write(unsigned channel)
{
    uint8_t bytes[BALLOON_HYPERV_MESSAGE_BYTES];
    balloon_status status;
    size_t size;

    if (!loop.driver_sends[channel] || loop.to_host.count == QUEUE)
        return false;
    loop.driver_sends[channel] = false;
    status = balloon_hyperv_driver_write(driver, (balloon_driver_channel)channel, bytes,
                                         sizeof(bytes), loop.now, &size);
    cr_assert_eq(status, BALLOON_OK);
    push(&loop.to_host, bytes, size);
    return true;
}

/* --- the host --------------------------------------------------------------------------------- */

static balloon_device *make_device(void **memory)
{
    balloon_region ram = {0, PAGES, loop.granule};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .gather_pages = 64,
                                    .target_align = 1};
    balloon_hyperv_options options = {
        .size = sizeof(options), .start_delay = SECOND, .retry_delay = SECOND};
    balloon_device *device = rig_make(&config, memory);

    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
    return device;
}

static bool device_step(void)
{
    balloon_action action;
    const char *why;

    if (!balloon_device_poll(loop.device, loop.now, &action))
        return false;
    cr_assert(balloon_device_check(loop.device, &why), "%s", why);
    if (action.type == BALLOON_ACTION_SEND)
        loop.device_sends = true;
    for (uint32_t i = 0; i < action.run_count; i++) {
        balloon_range range = action.runs[i].range;

        for (uint64_t page = range.first; page < range.first + range.count; page++)
            cr_assert_eq(loop.owner[page], DRIVER, "page %" PRIu64 " is in use", page);
        loop.discarded += range.count;
    }
    return true;
}

static bool device_write(void)
{
    uint8_t bytes[BALLOON_HYPERV_MESSAGE_BYTES];
    size_t size,
        room = prng_one_in(&loop.prng, 4) ? 24 + prng_below(&loop.prng, 200) : sizeof(bytes);

    if (!loop.device_sends || loop.to_guest.count == QUEUE)
        return false;
    loop.device_sends = false;
    if (balloon_hyperv_write(loop.device, bytes, room, loop.now, &size) == BALLOON_OK)
        push(&loop.to_guest, bytes, size);
    return true;
}

static void move_device(void)
{
    void *memory, *saved;
    balloon_device *to = make_device(&memory);
    balloon_time_t then = loop.now;
    size_t bytes;

    saved = rig_save(loop.device, then, &bytes);
    cr_assert_eq(balloon_device_load(to, loop.now, saved, bytes), BALLOON_OK);
    free(saved);
    free(loop.device_memory);
    loop.device = to;
    loop.device_memory = memory;
    loop.device_sends = false;
    loop.moves++;
}

/* --- all together ----------------------------------------------------------------------------- */

static bool deliver_to_guest(void)
{
    struct pipe *pipe = &loop.to_guest;
    balloon_status status;

    if (!pipe->count)
        return false;
    status = balloon_hyperv_driver_receive(driver, pipe->messages[pipe->first].bytes,
                                           pipe->messages[pipe->first].size, loop.now);
    if (status == BALLOON_ERR_BUSY) {
        loop.busy++;
        return false;
    }
    cr_assert_eq(status, BALLOON_OK);
    pop(pipe);
    return true;
}

static bool deliver_to_host(void)
{
    struct pipe *pipe = &loop.to_host;

    if (!pipe->count)
        return false;
    cr_assert_eq(balloon_hyperv_receive(loop.device, pipe->messages[pipe->first].bytes,
                                        pipe->messages[pipe->first].size, loop.now),
                 BALLOON_OK);
    pop(pipe);
    return true;
}

static bool step(uint64_t kind)
{
    switch (kind) {
    case 0:
    case 1:
        return driver_step();
    case 2:
    case 3:
        return device_step();
    case 4:
        return device_write();
    case 5:
        return deliver_to_guest();
    case 6:
        return deliver_to_host();
    default:
        return driver_write((unsigned)kind - 7);
    }
}

#define STEPS (7 + BALLOON_CHANNELS)

/* Until nobody has anything to do: then both ends must agree about every page. */
static void come_to_rest(void)
{
    balloon_device_status host;
    balloon_hyperv_session session;
    balloon_driver_status guest;
    bool any = true;

    while (any) {
        any = false;
        for (unsigned kind = 0; kind < STEPS; kind++)
            any |= step(kind);
    }
    balloon_device_status_get(loop.device, &host);
    balloon_driver_status_get(driver, &guest);
    balloon_hyperv_session_get(loop.device, &session);
    cr_assert_eq(host.held, guest.held);
    cr_assert_eq(host.actual, guest.held);
    cr_assert_eq(guest.on_way_in, 0);
    cr_assert_eq(loop.kernels, PAGES - guest.held);
    for (uint64_t page = 0; page < PAGES; page++) {
        balloon_range one = {page, 1};
        uint64_t held =
            balloon_tracker_count(balloon_device_tracker(loop.device), BALLOON_SET_HELD, one);

        cr_assert_eq(held, loop.owner[page] == DRIVER);
        cr_assert_eq(held,
                     balloon_tracker_count(balloon_driver_tracker(driver), BALLOON_SET_HELD, one));
    }
    if (loop.now >= 2 * SECOND)
        cr_assert(host.held == host.target || session.exhausted);
}

static void finish(void)
{
    balloon_device_counters host;
    balloon_driver_counters guest;

    balloon_device_counters_get(loop.device, &host);
    guest = hd_counters();
    cr_assert_eq(host.protocol_errors, 0);
    cr_assert_eq(host.inflate_duplicate, 0);
    cr_assert_eq(guest.protocol_errors, 0);
    cr_assert_eq(guest.foreign, 0);
    cr_assert_eq(guest.answers_unasked, 0);
    cr_assert_gt(loop.discarded, 0);
    cr_assert_gt(loop.taken, 0);
    cr_assert_gt(loop.moves, 0);
    while (loop.to_guest.count)
        pop(&loop.to_guest);
    while (loop.to_host.count)
        pop(&loop.to_host);
    free(loop.device_memory);
    hd_end();
}

static void play(uint64_t granule, uint64_t stream)
{
    static const balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .floor_pages = FLOOR,
        .chunk_pages = 700,
        .chunk_runs = 600,
        .stats = true,
    };

    memset(&loop, 0, sizeof(loop));
    loop.prng = prng_start(prng_seed(), stream);
    loop.granule = granule;
    loop.kernels = PAGES;
    loop.device = make_device(&loop.device_memory);
    hd_make(&config);
    cr_assert_eq(balloon_hyperv_open(loop.device), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    come_to_rest();
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t steps = prng_below(&loop.prng, 250);

        cr_assert_eq(
            balloon_device_set_target(loop.device, prng_below(&loop.prng, PAGES + 1), loop.now),
            BALLOON_OK);
        for (uint64_t i = 0; i < steps; i++)
            (void)step(prng_below(&loop.prng, STEPS));
        loop.now += prng_below(&loop.prng, SECOND / 10);
        if (prng_one_in(&loop.prng, 16))
            loop.now += SECOND;
        if (prng_one_in(&loop.prng, 32))
            move_device();
        if (prng_one_in(&loop.prng, 8))
            come_to_rest();
    }
    come_to_rest();
    finish();
}

Test(hyperv_driver_loop, both_ends_agree_about_every_page)
{
    play(1, 1);
}

Test(hyperv_driver_loop, both_ends_agree_with_large_host_pages)
{
    play(16, 2);
}
