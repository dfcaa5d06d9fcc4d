/* Both ends of a balloon with real memory below: what a VMM writes for the one,
 * and a kernel for the other. Between them there are only a buffer, a queue
 * number and sixteen bytes of configuration. */
#define _DEFAULT_SOURCE
#include "demo_machine.h"

#include <balloon/alloc.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RUN_BATCH = 1024, CHUNK = 256 };

#define MILLISECOND UINT64_C(1000000)

void demo_die(const char *what, const char *why)
{
    fflush(stdout);
    fprintf(stderr, "demo: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

void demo_check(balloon_status status, const char *what)
{
    if (status != BALLOON_OK)
        demo_die(what, balloon_status_text(status));
}

static balloon_time_t read_clock(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (balloon_time_t)t.tv_sec * 1000000000u + (balloon_time_t)t.tv_nsec;
}

/* ---- The host's end ---- */
static void read_config(struct machine *m, balloon_time_t now)
{
    unsigned char config[BALLOON_VIRTIO_CONFIG_BYTES];

    balloon_virtio_config_read(m->device, 0, config, sizeof(config));
    balloon_virtio_driver_config(m->driver, config, sizeof(config), now);
}

static void discard(struct machine *m, const balloon_action *action, balloon_time_t now)
{
    balloon_run failed[RUN_BATCH];
    size_t failures = 0;
    /* Not what others on a busy machine take of the time. This clock is slow, so the library has to
     * make do with the other one. */
    balloon_time_t start = read_clock(CLOCK_THREAD_CPUTIME_ID);

    if (balloon_os_discard(m->os, action->runs, action->run_count, failed, &failures))
        for (size_t i = 0; i < failures; i++)
            balloon_device_discard_failed(m->device, &failed[i], now);
    m->in_kernel += read_clock(CLOCK_THREAD_CPUTIME_ID) - start;
}

static bool next_action(struct machine *m, balloon_time_t now, balloon_action *action)
{
    balloon_time_t start = read_clock(CLOCK_MONOTONIC);
    bool any = balloon_device_poll(m->device, now, action);

    /* A question without an answer is not the price of a page. */
    if (any)
        m->in_library += read_clock(CLOCK_MONOTONIC) - start;
    return any;
}

static void serve_device(struct machine *m, balloon_time_t now)
{
    balloon_action action;

    while (next_action(m, now, &action)) {
        if (action.type == BALLOON_ACTION_DISCARD)
            discard(m, &action, now);
        else if (action.type == BALLOON_ACTION_ACK)
            CHECK(balloon_virtio_driver_acked(m->driver, action.queue, now));
        else if (action.type == BALLOON_ACTION_CONFIG_IRQ)
            read_config(m, now);
    }
}

/* ---- The guest's end ---- */
static void send(struct machine *m, balloon_driver_channel channel, balloon_time_t now)
{
    unsigned char bytes[4 * CHUNK];
    balloon_virtio_message message;

    CHECK(balloon_virtio_driver_write(m->driver, channel, bytes, sizeof(bytes), &message));

    balloon_iov piece = {bytes, message.bytes};
    balloon_virtio_buffer buffer = {.readable = &piece, .readable_count = 1};
    balloon_time_t start = read_clock(CLOCK_MONOTONIC);

    CHECK(balloon_virtio_receive(m->device, message.queue, &buffer, now));
    m->in_library += read_clock(CLOCK_MONOTONIC) - start;
    serve_device(m, now);
}

static void serve_driver(struct machine *m, balloon_time_t now)
{
    balloon_range runs[CHUNK];
    balloon_driver_action action;
    balloon_sample sample;

    while (balloon_driver_poll(m->driver, now, &action)) {
        switch (action.type) {
        case BALLOON_DRIVER_ALLOC: {
            size_t max = action.max_runs < CHUNK ? action.max_runs : CHUNK;
            size_t count = guest_take(&m->guest, action.pages, action.block, runs, max);

            CHECK(balloon_driver_give(m->driver, action.channel, runs, count, now));
            break;
        }
        case BALLOON_DRIVER_FREE:
            for (uint32_t i = 0; i < action.run_count; i++)
                guest_return(&m->guest, action.runs[i]);
            break;
        case BALLOON_DRIVER_SEND:
            send(m, action.channel, now);
            break;
        case BALLOON_DRIVER_STATS:
            sample = guest_stats(&m->guest);
            CHECK(balloon_driver_give_stats(m->driver, &sample, now));
            break;
        case BALLOON_DRIVER_CONFIG: {
            const unsigned char value[4] = {
                (unsigned char)action.value, (unsigned char)(action.value >> 8),
                (unsigned char)(action.value >> 16), (unsigned char)(action.value >> 24)};

            balloon_virtio_config_write(m->device, action.offset, value, sizeof(value));
            break;
        }
        default: /* nothing else comes with these features */
            break;
        }
    }
}

void machine_serve(struct machine *m, balloon_time_t now)
{
    serve_device(m, now);
    serve_driver(m, now);
    serve_device(m, now);
}

balloon_time_t machine_deadline(const struct machine *m)
{
    balloon_time_t device = balloon_device_deadline(m->device);
    balloon_time_t driver = balloon_driver_deadline(m->driver);

    return device < driver ? device : driver;
}

/* ---- Setting up ---- */
static void map_ram(struct machine *m)
{
    size_t bytes = m->pages * BALLOON_PAGE_SIZE;

    m->ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    if (m->ram == MAP_FAILED)
        demo_die("guest memory", strerror(errno));
    /* With huge pages a touched page can bring its neighbours along, and figures
     * get fuzzy. */
    (void)madvise(m->ram, bytes, MADV_NOHUGEPAGE);
    m->granule = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE;
    m->present = malloc(m->pages / m->granule);
    if (!m->present)
        demo_die("memory", strerror(ENOMEM));
}

static void make_os(struct machine *m, const balloon_region *ram)
{
    balloon_os_config config = {.size = sizeof(config), .max_regions = 1};
    balloon_os_region region = {.size = sizeof(region), .pages = *ram, .host = m->ram, .fd = -1};
    balloon_os_selftest_result test = {.size = sizeof(test)};

    CHECK(balloon_os_create(&config, &m->os));
    CHECK(balloon_os_add_region(m->os, 0, &region));
    CHECK(balloon_os_selftest(m->os, 0, (balloon_range){0, 16 * PAGES_PER_MIB}, &test));
    if (!test.frees)
        demo_die("discarding does not free memory here", test.words);
}

static void make_driver(struct machine *m, const balloon_region *ram, uint32_t floor)
{
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = ram,
                                    .region_count = 1,
                                    .floor_pages = floor,
                                    .page_pages = (uint32_t)ram->granule,
                                    .chunk_pages = CHUNK,
                                    .stats = true};

    CHECK(balloon_driver_create(&config, &m->driver));
}

static void attach(struct machine *m)
{
    uint64_t features;

    CHECK(balloon_virtio_driver_negotiate(m->driver, balloon_virtio_features(m->device), NULL,
                                          &features));
    CHECK(balloon_virtio_set_features(m->device, features));
    machine_serve(m, 0);
    CHECK(balloon_virtio_driver_ok(m->device, 0, 0));
    CHECK(balloon_virtio_driver_start(m->driver, 0));
    read_config(m, 0);
    machine_serve(m, 0);
}

void machine_start(struct machine *m, const char *name, uint32_t pages, uint32_t floor,
                   uint32_t balloon, bool gather)
{
    static uint32_t seed;

    memset(m, 0, sizeof(*m));
    m->name = name;
    m->pages = pages;
    map_ram(m);

    balloon_region ram = {.first = 0, .count = pages, .granule = m->granule};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features =
                                        BALLOON_F_STATS | (gather ? BALLOON_F_MUST_TELL : 0),
                                    .run_batch = RUN_BATCH,
                                    .gather_delay = 20 * MILLISECOND};

    make_os(m, &ram);
    if (!guest_init(&m->guest, m->ram, pages, (uint32_t)m->granule, ++seed))
        demo_die("memory", strerror(ENOMEM));
    make_driver(m, &ram, floor);
    CHECK(balloon_device_create(&config, &m->device));
    CHECK(balloon_device_set_target(m->device, balloon, 0));
    balloon_device_set_stats_period(m->device, 1000 * MILLISECOND, 0);
    attach(m);
}

void machine_stop(struct machine *m)
{
    guest_destroy(&m->guest);
    balloon_os_destroy(m->os);
    balloon_device_destroy(m->device);
    balloon_driver_destroy(m->driver);
    free(m->present);
    munmap(m->ram, m->pages * BALLOON_PAGE_SIZE);
}

/* ---- Looking ---- */
static balloon_device_status device_status(const struct machine *m)
{
    balloon_device_status status;

    balloon_device_status_get(m->device, &status);
    return status;
}

uint64_t machine_size(const struct machine *m)
{
    return m->pages - device_status(m).held;
}

uint64_t machine_owed(const struct machine *m)
{
    balloon_device_status status = device_status(m);

    return status.held - status.returned;
}

uint64_t machine_resident(struct machine *m)
{
    uint64_t resident = 0;

    if (mincore(m->ram, m->pages * BALLOON_PAGE_SIZE, m->present) < 0)
        demo_die("mincore", strerror(errno));
    for (size_t i = 0; i < m->pages / m->granule; i++)
        resident += (m->present[i] & 1) * m->granule;
    return resident;
}

struct machine_work machine_work(const struct machine *m)
{
    balloon_device_counters device;
    balloon_os_counters os;

    balloon_device_counters_get(m->device, &device);
    balloon_os_counters_get(m->os, &os);
    return (struct machine_work){.inflated = device.inflated,
                                 .deflated = device.deflated,
                                 .discarded = device.discarded,
                                 .runs = device.discard_runs,
                                 .calls = os.calls,
                                 .in_library = m->in_library,
                                 .in_kernel = m->in_kernel};
}

const char *machine_wrong(const struct machine *m)
{
    balloon_device_counters device;
    balloon_driver_counters driver;
    const char *why = NULL;

    balloon_device_counters_get(m->device, &device);
    balloon_driver_counters_get(m->driver, &driver);
    if (!balloon_device_check(m->device, &why) || !balloon_driver_check(m->driver, &why))
        return why;
    if (device.protocol_errors || driver.protocol_errors)
        return "the two ends did not understand each other";
    if (device.discard_failed)
        return "a discard failed";
    if (device.inflated != device.discarded + device.cancelled + machine_owed(m))
        return "a page went into the balloon and was never discarded";
    if (m->guest.owned[OWNER_BALLOON] != m->pages - machine_size(m))
        return "guest and host do not agree about the balloon";
    return NULL;
}
