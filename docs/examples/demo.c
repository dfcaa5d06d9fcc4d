/* The library at work: a toy guest with real memory, and the host loop that balloons it.
 *
 * machine_kick(), machine_poll() and machine_start_driver() are what a VMM has to write; the rest
 * tells the story. Resident memory is what the kernel says (mincore), never what we believe, and
 * the program fails if a promise was not kept.
 */
#include "demo_guest.h"
#include "demo_view.h"

#include <balloon/alloc.h>
#include <balloon/os.h>
#include <balloon/version.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RUN_BATCH = 256, SLICE = 512, PAGES_PER_MIB = 256, TOLERANCE = PAGES_PER_MIB };

#define MILLISECOND UINT64_C(1000000)

struct machine {
    uint8_t *ram;
    uint32_t pages;
    uint64_t granule; /* a host page, in pages of 4 KiB */
    balloon_device *device;
    size_t device_bytes;
    balloon_os *os;
    struct guest guest;
    uint64_t negotiated;
    bool stats_wanted; /* the guest has its statistics buffer back, and is to fill it */
    bool broken;       /* some promise was not kept */

    balloon_time_t in_library, in_kernel; /* time spent */

    struct view view;
    struct view_figures now;
    unsigned char *present; /* what mincore() said of each host page */
    balloon_time_t shown;   /* when the last frame was drawn */
    balloon_time_t begun;   /* when the step began */
    balloon_time_t paused;  /* time spent on drawing and on waiting for the eye; not the guest's */
};

/* What has been done since the start, or in a step. */
struct cost {
    uint64_t buffers, runs, calls, pages; /* pages: discarded */
    balloon_time_t in_library, in_kernel;
    int64_t freed; /* fall of resident memory, in pages */
};

static balloon_time_t read_clock(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (balloon_time_t)t.tv_sec * 1000000000u + (balloon_time_t)t.tv_nsec;
}

static balloon_time_t clock_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static balloon_time_t machine_now(const struct machine *m)
{
    return clock_now() - m->paused;
}

static void sleep_for(balloon_time_t span)
{
    struct timespec t = {(time_t)(span / 1000000000u), (long)(span % 1000000000u)};

    nanosleep(&t, NULL);
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "demo: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static void check(balloon_status status, const char *what)
{
    if (status != BALLOON_OK)
        die(what, balloon_status_text(status));
}
#define CHECK(call) check((call), #call)

/* ---- The host loop ---- */
static void machine_discard(struct machine *m, const balloon_action *action)
{
    balloon_run failed[RUN_BATCH];
    size_t failures = 0;
    /* Not what others on a busy machine take of the time. */
    balloon_time_t start = read_clock(CLOCK_THREAD_CPUTIME_ID);

    if (balloon_os_discard(m->os, action->runs, action->run_count, failed, &failures))
        for (size_t i = 0; i < failures; i++)
            balloon_device_discard_failed(m->device, &failed[i], machine_now(m));
    m->in_kernel += read_clock(CLOCK_THREAD_CPUTIME_ID) - start;
}

static bool machine_next(struct machine *m, balloon_action *action)
{
    balloon_time_t start = clock_now();
    bool any = balloon_device_poll(m->device, start - m->paused, action);

    m->in_library += clock_now() - start;
    return any;
}

static void machine_poll(struct machine *m)
{
    balloon_action action;

    while (machine_next(m, &action)) {
        switch (action.type) {
        case BALLOON_ACTION_DISCARD:
            machine_discard(m, &action);
            break;
        case BALLOON_ACTION_ACK:
            /* The guest waits for the answer in machine_kick(), except for statistics. */
            if (balloon_virtio_queue_of(m->device, action.queue) == BALLOON_QUEUE_STATS)
                m->stats_wanted = true;
            break;
        default:
            /* The guest reads the configuration, and the story asks for news, when it suits. */
            break;
        }
    }
}

void machine_kick(struct machine *m, balloon_virtio_queue kind, const balloon_virtio_buffer *buffer)
{
    int queue = balloon_virtio_queue_index(
        BALLOON_QUEUES_BY_OFFER, (uint32_t)balloon_virtio_features(m->device) & BALLOON_F_ALL,
        (uint32_t)m->negotiated & BALLOON_F_ALL, kind);
    balloon_time_t start = clock_now();

    CHECK(balloon_virtio_receive(m->device, (uint32_t)queue, buffer, machine_now(m)));
    m->in_library += clock_now() - start;
    machine_poll(m);
}

uint32_t machine_config_read(struct machine *m, uint64_t offset)
{
    uint8_t b[4];

    balloon_virtio_config_read(m->device, offset, b, sizeof(b));
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

void machine_config_write(struct machine *m, uint64_t offset, uint32_t value)
{
    const uint8_t b[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                          (uint8_t)(value >> 24)};

    balloon_virtio_config_write(m->device, offset, b, sizeof(b));
}

/* A driver without `refused` features comes up. */
static void machine_start_driver(struct machine *m, uint64_t refused)
{
    balloon_device_reset(m->device);
    m->negotiated = balloon_virtio_features(m->device) & ~refused;
    CHECK(balloon_virtio_set_features(m->device, m->negotiated));
    CHECK(balloon_virtio_driver_ok(m->device, 0, machine_now(m)));
    guest_send_stats(&m->guest);
}

/* Serve the device until it waits for nothing any more. */
static void machine_settle(struct machine *m)
{
    balloon_time_t deadline;

    for (machine_poll(m); (deadline = balloon_device_deadline(m->device)) != BALLOON_TIME_NEVER;
         machine_poll(m))
        if (deadline > machine_now(m))
            sleep_for(deadline - machine_now(m));
}

/* ---- Setting up ---- */

/* 512 MiB, or what is a quarter of the memory at hand. */
static uint32_t choose_pages(void)
{
    balloon_os_host host = {.size = sizeof(host)};
    uint64_t bytes = UINT64_C(512) << 20;

    if (balloon_os_host_read(NULL, &host) != BALLOON_OK ||
        !(host.present & BALLOON_OS_HAS_EFFECTIVE_AVAILABLE))
        return (128u << 20) / BALLOON_PAGE_SIZE;
    while (bytes > host.effective_available / 4)
        bytes /= 2;
    if (bytes < UINT64_C(64) << 20)
        die("not enough memory", "256 MiB should be free");
    return (uint32_t)(bytes / BALLOON_PAGE_SIZE);
}

static void machine_init(struct machine *m)
{
    memset(m, 0, sizeof(*m));
    m->pages = choose_pages();
    m->granule = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE;

    size_t bytes = m->pages * BALLOON_PAGE_SIZE;
    balloon_region ram = {.first = 0, .count = m->pages, .granule = m->granule};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_ALL & ~BALLOON_F_POISON,
                                    .run_batch = RUN_BATCH};
    balloon_os_config os_config = {.size = sizeof(os_config), .max_regions = 1};
    balloon_os_region backing = {.size = sizeof(backing), .pages = ram, .fd = -1};
    balloon_layout layout;

    m->ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->ram == MAP_FAILED)
        die("guest memory", strerror(errno));
    /* With huge pages a touched page can bring its neighbours along, and figures get fuzzy. */
    (void)madvise(m->ram, bytes, MADV_NOHUGEPAGE);
    backing.host = m->ram;

    CHECK(balloon_device_layout(&config, &layout));
    m->device_bytes = layout.bytes;
    CHECK(balloon_device_create(&config, &m->device));
    CHECK(balloon_os_layout(&os_config, &layout));
    void *memory = NULL;
    if (posix_memalign(&memory, layout.align, layout.bytes) != 0)
        die("memory", strerror(ENOMEM));
    CHECK(balloon_os_init(memory, layout.bytes, &os_config, &m->os));
    CHECK(balloon_os_add_region(m->os, 0, &backing));

    m->now.host_pages = m->pages / m->granule;
    m->now.present = m->present = malloc(m->now.host_pages);
    if (!m->present || !guest_init(&m->guest, m, m->ram, m->pages))
        die("memory", strerror(errno));
}

static void machine_destroy(struct machine *m)
{
    guest_destroy(&m->guest);
    balloon_os_destroy(m->os);
    free(m->os);
    balloon_device_destroy(m->device);
    free(m->present);
    munmap(m->ram, m->pages * BALLOON_PAGE_SIZE);
}

/* ---- Looking and waiting ---- */
static void look(struct machine *m)
{
    balloon_device_status status;

    if (mincore(m->ram, m->pages * BALLOON_PAGE_SIZE, m->present) < 0)
        die("mincore", strerror(errno));
    m->now.resident = 0;
    for (size_t i = 0; i < m->now.host_pages; i++)
        m->now.resident += (m->present[i] & 1) * m->granule;
    balloon_device_status_get(m->device, &status);
    m->now.balloon = status.held;
}

/* On a terminal, show where we are, and let the work last for milliseconds in all. The clock of
 * machine and device stands still meanwhile, so this changes no figure. */
static void show(struct machine *m, uint64_t done, uint64_t of, unsigned milliseconds)
{
    balloon_time_t start = clock_now();
    balloon_time_t due = m->begun + milliseconds * MILLISECOND * done / of;

    if (!m->view.live)
        return;
    if (start > m->shown + 30 * MILLISECOND) {
        look(m);
        view_frame(&m->view, &m->now);
        m->shown = start;
    }
    if (due > clock_now())
        sleep_for(due - clock_now());
    m->paused += clock_now() - start;
}

static struct cost read_cost(const struct machine *m)
{
    balloon_device_counters device;
    balloon_os_counters os;

    balloon_device_counters_get(m->device, &device);
    balloon_os_counters_get(m->os, &os);
    return (struct cost){.buffers = device.buffers,
                         .runs = device.discard_runs,
                         .calls = os.calls,
                         .pages = device.discarded,
                         .in_library = m->in_library,
                         .in_kernel = m->in_kernel};
}

static struct cost begin(struct machine *m, const char *title)
{
    look(m);
    view_begin(&m->view, &m->now, title);
    m->begun = clock_now();
    return read_cost(m);
}

static struct cost end(struct machine *m, const struct cost *before)
{
    struct cost cost = read_cost(m);

    look(m);
    view_end(&m->view, &m->now);
    cost.freed = (int64_t)m->view.resident_before - (int64_t)m->now.resident;
    cost.buffers -= before->buffers;
    cost.runs -= before->runs;
    cost.calls -= before->calls;
    cost.pages -= before->pages;
    cost.in_library -= before->in_library;
    cost.in_kernel -= before->in_kernel;
    return cost;
}

static void promise(struct machine *m, bool kept, const char *what)
{
    if (kept)
        return;
    view_text("BROKEN PROMISE: %s", what);
    m->broken = true;
}

/* Did resident memory fall (or rise, when negative) by so many pages? */
static void promise_freed(struct machine *m, const struct cost *cost, int64_t pages)
{
    promise(m, cost->freed >= pages - TOLERANCE && cost->freed <= pages + TOLERANCE,
            "resident memory did not change by what was moved");
}

/* ---- The story ---- */
static unsigned long long mib(uint64_t pages)
{
    return pages / PAGES_PER_MIB;
}

static double ns_a_page(balloon_time_t time, const struct cost *cost)
{
    return cost->pages ? (double)time / (double)cost->pages : 0;
}

static double gib_per_second(const struct cost *cost)
{
    double bytes = (double)cost->pages * (double)BALLOON_PAGE_SIZE;

    return cost->pages ? bytes / 1.073741824 / (double)(cost->in_library + cost->in_kernel) : 0;
}

static void tell_cost(const struct cost *cost)
{
    view_text("%llu discard runs in %llu system call%s", (unsigned long long)cost->runs,
              (unsigned long long)cost->calls, cost->calls == 1 ? "" : "s");
    view_text("%.1f ns a page in the library, %.0f ns in the kernel: %.1f GiB/s",
              ns_a_page(cost->in_library, cost), ns_a_page(cost->in_kernel, cost),
              gib_per_second(cost));
}

static void boot(struct machine *m)
{
    struct cost cost = begin(m, "The guest boots; programs, data and cached files fill its memory");

    while (guest_boot(&m->guest, SLICE))
        show(m, m->guest.filled, m->pages, 1300);
    cost = end(m, &cost);
    promise_freed(m, &cost, -(int64_t)m->pages);
}

/* The guest gives up cache until the balloon has its target. */
static struct cost inflate(struct machine *m, uint64_t target, const char *title)
{
    struct cost cost = begin(m, title);

    CHECK(balloon_device_set_target(m->device, target, machine_now(m)));
    machine_poll(m);
    while (guest_balloon(&m->guest))
        show(m, m->guest.balloon.count, target, 1800);
    machine_settle(m);
    cost = end(m, &cost);
    tell_cost(&cost);
    promise(m, m->now.balloon == target, "the balloon is not as large as its target");
    promise(m, cost.pages == target, "not every page of the balloon was discarded");
    promise_freed(m, &cost, (int64_t)target);
    return cost;
}

/* The balloon shrinks, and the guest uses what it got for files. */
static void deflate(struct machine *m, uint64_t target, const char *title)
{
    struct cost cost = begin(m, title);
    uint64_t pages = m->now.balloon - target, used = 0;

    CHECK(balloon_device_set_target(m->device, target, machine_now(m)));
    machine_poll(m);
    while (guest_balloon(&m->guest))
        show(m, pages + target - m->guest.balloon.count, pages * 4, 1500);
    for (uint32_t n; used < pages && (n = guest_read_files(&m->guest, SLICE)) > 0; used += n)
        show(m, pages + used * 3, pages * 4, 1500);
    machine_settle(m);
    cost = end(m, &cost);
    promise(m, m->now.balloon == target, "the balloon is not as small as its target");
    promise(m, cost.runs == 0, "pages were discarded while the balloon shrank");
    promise_freed(m, &cost, -(int64_t)pages);
}

static unsigned long long stat_mib(const balloon_sample *sample, balloon_stat stat)
{
    uint64_t bytes = 0;

    (void)balloon_sample_get(sample, stat, &bytes);
    return mib(bytes / BALLOON_PAGE_SIZE);
}

static void ask_statistics(struct machine *m)
{
    struct cost cost = begin(m, "The host asks the guest how it is doing");
    balloon_sample sent = {0}, got = {0};

    CHECK(balloon_device_request_stats(m->device, machine_now(m)));
    machine_poll(m);
    if (m->stats_wanted)
        sent = guest_send_stats(&m->guest);
    m->stats_wanted = false;
    show(m, 1, 1, 500);
    end(m, &cost);
    promise(m,
            balloon_device_sample(m->device, &got) && got.present == sent.present &&
                memcmp(got.value, sent.value, sizeof(got.value)) == 0,
            "the statistics are not what the guest has sent");
    view_text("it has %llu MiB, %llu MiB of them available", stat_mib(&got, BALLOON_STAT_TOTAL),
              stat_mib(&got, BALLOON_STAT_AVAILABLE));
}

/* Hints move nothing: they tell a migration what it need not copy. */
static void hint(struct machine *m)
{
    struct cost cost = begin(m, "A program ends; before a migration the host asks what is free");
    uint64_t program = m->guest.owned[OWNER_PROGRAM];
    balloon_range everything = {0, m->pages};

    guest_end_program(&m->guest);
    CHECK(balloon_device_start_hinting(m->device));
    machine_poll(m);
    while (guest_hint(&m->guest))
        show(m, m->guest.scan, m->pages, 800);
    machine_poll(m);
    uint64_t skip =
        balloon_tracker_count(balloon_device_tracker(m->device), BALLOON_SET_SKIP, everything);
    CHECK(balloon_device_finish_hinting(m->device));
    machine_poll(m);
    cost = end(m, &cost);
    view_text("%llu of %llu MiB would not have to be copied: hinted free, or in the balloon",
              mib(skip), mib(m->pages));
    promise(m, skip == program + m->now.balloon, "a page is missing in the bitmap to skip");
    promise_freed(m, &cost, 0);
}

static void report(struct machine *m)
{
    struct cost cost = begin(m, "No migration then. The guest reports its free pages by itself");
    uint64_t free_pages = m->guest.owned[OWNER_FREE];

    while (guest_report(&m->guest))
        show(m, m->guest.owned[OWNER_REPORTED], free_pages, 1000);
    machine_settle(m);
    cost = end(m, &cost);
    tell_cost(&cost);
    promise_freed(m, &cost, (int64_t)free_pages);
}

static void compare(const char *what, int digits, double first, double gathered)
{
    view_text("%-34s%16.*f%16.*f", what, digits, first, digits, gathered);
}

static void sum_up(const struct cost *first, const struct cost *gathered)
{
    view_text("%-34s%16s%16s", "Half of memory given back", "before answers", "gathered");
    compare("resident memory freed, MiB", 0, (double)first->freed / PAGES_PER_MIB,
            (double)gathered->freed / PAGES_PER_MIB);
    compare("pages discarded", 0, (double)first->pages, (double)gathered->pages);
    compare("buffers from the guest", 0, (double)first->buffers, (double)gathered->buffers);
    compare("discard runs", 0, (double)first->runs, (double)gathered->runs);
    compare("system calls", 0, (double)first->calls, (double)gathered->calls);
    compare("time in the library, ns a page", 1, ns_a_page(first->in_library, first),
            ns_a_page(gathered->in_library, gathered));
    compare("time in the kernel, ns a page", 0, ns_a_page(first->in_kernel, first),
            ns_a_page(gathered->in_kernel, gathered));
    compare("both, GiB/s", 1, gib_per_second(first), gib_per_second(gathered));
}

static void introduce(struct machine *m)
{
    balloon_os_selftest_result test = {.size = sizeof(test)};

    printf("\n");
    view_text("libballoon %s. A toy guest with %llu MiB of real memory talks to a host",
              balloon_version(), mib(m->pages));
    view_text("in bytes of virtio-balloon. \"Resident\" is what the kernel says (mincore).");
    view_text("The library's record of the guest's pages takes %zu KiB.", m->device_bytes / 1024);
    printf("\n");
    CHECK(balloon_os_selftest(m->os, 0, (balloon_range){0, m->pages}, &test));
    view_text("Self-test of discarding, in %llu pages:", (unsigned long long)test.pages);
    view_text("%s", test.words);
    promise(m, test.frees, "discarding does not free memory here");
}

int main(void)
{
    const char *why = "";
    struct machine m;
    balloon_device_counters counters;

    machine_init(&m);
    view_open(&m.view, m.pages);
    introduce(&m);

    boot(&m);
    uint64_t before = guest_checksum(&m.guest);

    machine_start_driver(&m, BALLOON_F_MUST_TELL);
    struct cost first =
        inflate(&m, m.pages / 2, "The host asks for half of it: pages go before each answer");
    deflate(&m, 0, "The host gives all of it back, and the guest uses it again");
    machine_start_driver(&m, 0);
    struct cost gathered =
        inflate(&m, m.pages / 2, "Half again, from a driver that lets discards gather");
    ask_statistics(&m);
    hint(&m);
    report(&m);
    deflate(&m, m.pages / 4, "The host gives half of the balloon back, and the guest uses it");

    view_heading(&m.view, "What it came to");
    sum_up(&first, &gathered);
    uint64_t after = guest_checksum(&m.guest);
    printf("\n");
    view_text("checksum of %llu MiB of data in the guest, before %016llx",
              mib(m.guest.owned[OWNER_DATA]), (unsigned long long)before);
    view_text("                                         after  %016llx", (unsigned long long)after);
    balloon_device_counters_get(m.device, &counters);
    promise(&m, before == after, "the guest has lost data");
    promise(&m, counters.protocol_errors == 0, "the device did not understand the guest");
    promise(&m, counters.discard_failed == 0, "a discard failed");
    promise(&m, balloon_device_check(m.device, &why), why);
    view_heading(&m.view, m.broken ? "Not every promise was kept." : "Every promise was kept.");
    machine_destroy(&m);
    return m.broken ? EXIT_FAILURE : EXIT_SUCCESS;
}
