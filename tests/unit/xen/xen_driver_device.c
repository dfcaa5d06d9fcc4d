/* Both ends of a balloon on Xen together: every message and every list goes through bytes, the
 * kernel uses each page from the moment it may, and the host takes each page that it is given.
 * Nothing that the kernel wrote may be lost. */
#include <balloon/xen.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"
#include "vm.h"

TestSuite(xen_driver_device, .fini = vm_end);

#define END  12288u /* pages of the guest are below */
#define RAM  8192u
#define ROOM (4096 * 8)

static const balloon_region ram[] = {{0, 3072, 0}, {7168, 5120, 0}};

struct world {
    struct prng prng;
    balloon_xen_options options;
    uint64_t granule;
    balloon_device *device;
    void *device_memory, *driver_memory;
    balloon_driver *driver;
    balloon_time_t now;
    uint32_t next;
    bool scarce; /* The kernel has less than it is asked for, now and then. */
    bool faults; /* Lists cannot be mapped as a whole, now and then. */
    bool mine[END];
    uint32_t value[END], written[END];
    uint64_t discarded, large, freed;
};

static void make_device(struct world *w)
{
    balloon_region regions[2] = {ram[0], ram[1]};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = regions,
                                    .region_count = 2,
                                    .features = BALLOON_F_MUST_TELL};

    regions[0].granule = regions[1].granule = w->granule;
    w->device = rig_make(&config, &w->device_memory);
    cr_assert_eq(balloon_xen_configure(w->device, &w->options), BALLOON_OK);
}

static void make_driver(struct world *w)
{
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = ram,
                                    .region_count = 2,
                                    .floor_pages = UINT64_MAX,
                                    .chunk_pages = 4096,
                                    .retry_delay = VM_SECOND};
    balloon_xen_driver_options options = {
        .size = sizeof(options), .layout = w->options.layout, .feature = true};
    balloon_layout layout;

    cr_assert_eq(balloon_driver_layout(&config, &layout), BALLOON_OK);
    w->driver_memory =
        aligned_alloc(layout.align, (layout.bytes + layout.align - 1) & ~(layout.align - 1));
    cr_assert_eq(balloon_driver_init(w->driver_memory, layout.bytes, &config, &w->driver),
                 BALLOON_OK);
    cr_assert_eq(balloon_xen_driver_open(w->driver, &options), BALLOON_OK);
}

static struct world *start(uint64_t stream, balloon_xen_options options, uint64_t granule)
{
    struct world *w = calloc(1, sizeof(*w));

    w->prng = prng_start(prng_seed(), stream);
    w->options = options;
    w->options.size = sizeof(options);
    w->granule = granule;
    make_device(w);
    make_driver(w);
    for (size_t i = 0; i < 2; i++)
        for (uint64_t p = 0; p < ram[i].count; p++) {
            w->mine[ram[i].first + p] = true;
            w->value[ram[i].first + p] = w->written[ram[i].first + p] = ++w->next;
        }
    return w;
}

static void stop(struct world *w)
{
    free(w->device_memory);
    free(w->driver_memory);
    free(w);
}

#define MUST(w, condition)                                                                         \
    cr_assert(condition, "BALLOON_SEED=%" PRIu64 " time %" PRIu64, prng_seed(), (w)->now)

/* --- the kernel ------------------------------------------------------------------------------- */

static void allocate(struct world *w, const balloon_driver_action *action)
{
    balloon_range runs[512];
    uint64_t left = action->pages, at = prng_below(&w->prng, END);
    size_t count = 0;
    uint32_t block = prng_one_in(&w->prng, 2) ? action->block : 1;

    if (w->scarce && prng_one_in(&w->prng, 4))
        left = prng_below(&w->prng, left);
    for (uint32_t looked = 0; looked < END && left && count < 512 && count < action->max_runs;
         looked += block) {
        uint64_t first = (at + looked) % END / block * block, n = 0;

        while (n < block && n < left && first + n < END && w->mine[first + n])
            n++;
        if (!n || (block > 1 && n < block))
            continue;
        for (uint64_t p = 0; p < n; p++)
            w->mine[first + p] = false;
        runs[count++] = (balloon_range){first, n};
        left -= n;
    }
    MUST(w, balloon_driver_give(w->driver, action->channel, runs, count, w->now) == BALLOON_OK);
}

static void take_back(struct world *w, const balloon_driver_action *action)
{
    for (uint32_t i = 0; i < action->run_count; i++)
        for (uint64_t p = 0; p < action->runs[i].count; p++) {
            balloon_range page = {action->runs[i].first + p, 1};

            MUST(w, page.first < END && !w->mine[page.first]);
            /* The host has it in its books as the guest's. */
            MUST(w, balloon_tracker_count(balloon_device_tracker(w->device), BALLOON_SET_FREE,
                                          page) == 1);
            w->mine[page.first] = true;
            w->value[page.first] = w->written[page.first] = ++w->next;
            w->freed++;
        }
}

static void hypercall(struct world *w)
{
    static uint8_t list[ROOM], argument[BALLOON_XEN_RESERVATION_BYTES];
    balloon_xen_layout layout = w->options.layout;
    balloon_xen_reservation reservation, seen;
    uint32_t command;
    int64_t result;

    MUST(w, balloon_xen_driver_reservation(w->driver, list, sizeof(list), 0x1000, &command,
                                           &reservation) == BALLOON_OK);
    size_t bytes = balloon_xen_write_reservation(&reservation, layout, argument, sizeof(argument));

    MUST(w, balloon_xen_read_reservation(argument, bytes, layout, &seen) == BALLOON_OK);
    size_t size = (size_t)seen.extents * (layout == BALLOON_XEN_32 ? 4 : 8);

    if (w->faults && prng_one_in(&w->prng, 8))
        size = (size_t)prng_below(&w->prng, size);
    size_t cut = (size_t)prng_below(&w->prng, size + 1);
    balloon_iov pieces[2] = {{list, cut}, {list + cut, size - cut}};
    balloon_status status =
        balloon_xen_memory_op(w->device, command, &seen, pieces, 2, &result, w->now);

    MUST(w, status == BALLOON_OK || w->faults);
    w->large += reservation.order == 9 ? (uint64_t)result : 0;
    if (w->faults && prng_one_in(&w->prng, 50) && !result)
        result = -BALLOON_XEN_ENOMEM;
    MUST(w, balloon_xen_driver_result(w->driver, result, w->now) == BALLOON_OK);
}

/* --- both ------------------------------------------------------------------------------------- */

static bool device_step(struct world *w)
{
    uint8_t bytes[BALLOON_XEN_SEND_BYTES];
    balloon_action action;
    size_t used;

    if (!balloon_device_poll(w->device, w->now, &action))
        return false;
    if (action.type == BALLOON_ACTION_SEND) {
        MUST(w, balloon_xen_write(w->device, bytes, sizeof(bytes), &used) == BALLOON_OK);
        MUST(w,
             balloon_xen_driver_receive(w->driver, bytes, used, w->now) != BALLOON_ERR_UNSUPPORTED);
    }
    for (uint32_t i = 0; i < action.run_count; i++) {
        balloon_range range = action.runs[i].range;

        for (uint64_t p = 0; p < range.count; p++) {
            MUST(w, !w->mine[range.first + p]);
            w->value[range.first + p] = 0;
        }
        w->discarded += range.count;
    }
    return true;
}

static bool driver_step(struct world *w)
{
    uint8_t bytes[BALLOON_XEN_SEND_BYTES];
    balloon_driver_action action;
    balloon_status status;
    size_t used;

    if (!balloon_driver_poll(w->driver, w->now, &action))
        return false;
    switch (action.type) {
    case BALLOON_DRIVER_ALLOC:
        allocate(w, &action);
        break;
    case BALLOON_DRIVER_FREE:
        take_back(w, &action);
        break;
    default:
        MUST(w, action.type == BALLOON_DRIVER_SEND);
        if (action.channel != BALLOON_CHANNEL_CONTROL) {
            hypercall(w);
            break;
        }
        MUST(w, balloon_xen_driver_write(w->driver, bytes, sizeof(bytes), &used) == BALLOON_OK);
        /* After a resume the answer to an older request can still be on its way. */
        while ((status = balloon_xen_receive(w->device, bytes, used, w->now)) == BALLOON_ERR_BUSY)
            MUST(w, device_step(w));
        MUST(w, status == BALLOON_OK || status == BALLOON_ERR_PROTOCOL);
    }
    return true;
}

static void pump(struct world *w)
{
    for (unsigned steps = 0; device_step(w) || driver_step(w); steps++)
        MUST(w, steps < 100000);
}

static void compare(struct world *w)
{
    const char *why = NULL;
    balloon_driver_status guest;

    cr_assert(balloon_device_check(w->device, &why), "%s", why);
    cr_assert(balloon_driver_check(w->driver, &why), "%s", why);
    balloon_driver_status_get(w->driver, &guest);
    MUST(w, guest.held == vm_status(w->device).held);
    MUST(w, guest.on_way_in + guest.on_way_out == 0);
    for (uint32_t p = 0; p < END; p++) {
        balloon_range page = {p, 1};
        uint64_t held =
            balloon_tracker_count(balloon_device_tracker(w->device), BALLOON_SET_HELD, page);

        MUST(w, held == balloon_tracker_count(balloon_driver_tracker(w->driver), BALLOON_SET_HELD,
                                              page));
        if (w->mine[p])
            MUST(w, !held && w->value[p] == w->written[p]);
    }
}

static void move_host(struct world *w)
{
    balloon_device *from = w->device;
    void *old = w->device_memory;

    make_device(w);
    MUST(w, vm_move(from, w->now, w->device, w->now) == BALLOON_OK);
    free(old);
}

static void fight(struct world *w, unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        if (prng_one_in(&w->prng, 30))
            move_host(w);
        if (prng_one_in(&w->prng, 40))
            MUST(w, balloon_xen_driver_resume(w->driver) == BALLOON_OK);
        MUST(w, balloon_device_set_target(w->device, prng_below(&w->prng, RAM + 1), w->now) ==
                    BALLOON_OK);
        for (uint64_t i = prng_below(&w->prng, 40); i > 0; i--)
            if (!(prng_one_in(&w->prng, 2) ? device_step(w) : driver_step(w)))
                w->now += prng_below(&w->prng, VM_SECOND);
        if (prng_one_in(&w->prng, 4)) {
            pump(w);
            compare(w);
        }
    }
    /* When nothing stands in the way, the target is met. */
    w->scarce = w->faults = false;
    for (unsigned i = 0; i < 200; i++) {
        pump(w);
        w->now += VM_SECOND;
    }
    compare(w);
    MUST(w, vm_status(w->device).held == vm_status(w->device).target);
    MUST(w, vm_status(w->device).settled);
    cr_assert_gt(w->discarded, 0);
    cr_assert_gt(w->freed, 0);
}

static void each_granule(uint64_t stream, balloon_xen_options options, bool scarce, bool faults)
{
    static const uint64_t granules[] = {1, 16, 512};
    uint64_t large = 0;

    for (size_t i = 0; i < 3; i++) {
        struct world *w = start(stream + i, options, granules[i]);

        w->scarce = scarce;
        w->faults = faults;
        fight(w, prng_check_all() ? 5000 : 400);
        large += w->large;
        stop(w);
    }
    cr_assert_gt(large, 0);
}

Test(xen_driver_device, in_64_bits)
{
    each_granule(8900, (balloon_xen_options){0}, false, false);
}

Test(xen_driver_device, in_32_bits)
{
    each_granule(8910, (balloon_xen_options){.layout = BALLOON_XEN_32, .domain = 9}, false, false);
}

Test(xen_driver_device, with_a_kernel_that_is_short_of_memory)
{
    each_granule(8920, (balloon_xen_options){0}, true, false);
}

Test(xen_driver_device, with_hypercalls_that_fail)
{
    each_granule(8930, (balloon_xen_options){0}, true, true);
}

Test(xen_driver_device, with_a_host_that_enforces_targets)
{
    each_granule(8940, (balloon_xen_options){.enforce = true}, true, false);
}
