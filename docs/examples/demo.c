/* The story the library exists for: three guests on a host that has memory for
 * one and a half, and a rush that moves from one to the next. The pool takes
 * memory from those who are idle and gives it to the one who waits.
 *
 * host_tick() is what a VMM does when the pool says so: once a second while all
 * is calm, and ten times a second while somebody waits. serve_until() is what it
 * does in between. The clock is the demo's own: the library never reads one, so a run
 * is the same however fast it goes. Memory is real: resident is what the kernel
 * says (mincore), and the program fails if a promise was not kept.
 */
#define _DEFAULT_SOURCE
#include "demo_machine.h"
#include "demo_view.h"

#include <balloon/alloc.h>
#include <balloon/host.h>
#include <balloon/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    GUESTS = VIEW_GUESTS,
    RAM = 512, /* MiB, as all below */
    POOL = 768,
    FLOOR = 64, /* no guest gets smaller */
    CALM = 48,  /* what the program of an idle guest has */
    SECONDS = 200,
    SECOND_ON_SCREEN = 55, /* milliseconds */
    EXIT_SKIP = 77         /* not enough memory to show anything */
};

#define MILLISECOND UINT64_C(1000000)

/* A program of a guest wants that much from one second to another. */
struct surge {
    unsigned guest, begin, end, mib;
    unsigned size_before, size_met;
    balloon_time_t met_after; /* 0: not yet */
};

static struct surge surges[] = {
    {.guest = 0, .begin = 15, .end = 70, .mib = 320},
    {.guest = 1, .begin = 70, .end = 125, .mib = 300},
    {.guest = 2, .begin = 125, .end = 180, .mib = 330},
};
enum { SURGES = sizeof(surges) / sizeof(surges[0]) };

static const struct view_subject subject = {.title = "Three guests of 512 MiB",
                                            .clock = "the guests",
                                            .names = {"web", "db", "build"},
                                            .guests = GUESTS,
                                            .ram = RAM,
                                            .pool = POOL,
                                            .second = "needs",
                                            .every = 10};

struct host {
    struct machine machines[GUESTS];
    uint64_t ids[GUESTS]; /* in the pool */
    struct machine_work booted[GUESTS];
    uint64_t stalls[GUESTS], faults[GUESTS]; /* as of the last second */
    unsigned least[GUESTS], most[GUESTS];    /* sizes seen, in MiB */
    balloon_pool *pool;
    balloon_time_t now;
    uint64_t resident_most, process_most; /* pages */
    struct view view;
    bool broken; /* some promise was not kept */
};

static unsigned mib(uint64_t pages)
{
    return (unsigned)(pages / PAGES_PER_MIB);
}

static void promise(struct host *h, bool kept, const char *what)
{
    if (kept)
        return;
    view_event(&h->view, "BROKEN PROMISE: %s", what);
    h->broken = true;
}

/* ---- The host ---- */

/* Let time pass, and serve everybody whenever there is something to do. */
static void serve_until(struct host *h, balloon_time_t end)
{
    for (;;) {
        balloon_time_t next = BALLOON_TIME_NEVER;

        for (int i = 0; i < GUESTS; i++) {
            machine_serve(&h->machines[i], h->now);
            balloon_time_t deadline = machine_deadline(&h->machines[i]);
            next = deadline < next ? deadline : next;
        }
        if (next > end)
            break;
        h->now = next > h->now ? next : h->now;
    }
    h->now = end;
}

/* The pool says whose statistics would change its next decision. A guest that
 * has not answered the last request yet need not be asked again. */
static void host_ask(struct host *h, balloon_time_t when)
{
    for (int i = 0; i < GUESTS; i++)
        if (balloon_pool_wants(h->pool, h->ids[i], when) & BALLOON_POOL_WANTS_SAMPLE)
            (void)!balloon_device_request_stats(h->machines[i].device, h->now);
}

/* What the devices know goes into the pool, what the pool decides to the
 * devices. */
static void host_tick(struct host *h)
{
    balloon_change change;

    for (int i = 0; i < GUESTS; i++)
        CHECK(balloon_host_feed(h->pool, h->ids[i], h->machines[i].device, h->now));
    (void)balloon_pool_decide(h->pool, h->now);
    while (balloon_pool_next(h->pool, &change))
        for (int i = 0; i < GUESTS; i++)
            if (h->ids[i] == change.id)
                CHECK(balloon_host_apply(h->machines[i].device, &change, h->now));
}

static void make_pool(struct host *h)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = GUESTS,
                                  .pages = (uint64_t)POOL * PAGES_PER_MIB,
                                  .policy = &balloon_policy_waterline};

    CHECK(balloon_pool_create(&config, &h->pool));
}

/* The guests boot with equal parts of the pool. The device of the second does
 * not offer to wait for its answers, and so has to discard before each of them.
 */
static void start_guests(struct host *h)
{
    uint32_t start = (POOL - POOL / 16) / GUESTS;

    for (unsigned i = 0; i < GUESTS; i++) {
        struct machine *m = &h->machines[i];

        machine_start(m, subject.names[i], RAM * PAGES_PER_MIB, FLOOR * PAGES_PER_MIB,
                      (RAM - start) * PAGES_PER_MIB, i != 1);
        balloon_pool_guest guest = {.size = sizeof(guest),
                                    .min = FLOOR * PAGES_PER_MIB,
                                    .max = RAM * PAGES_PER_MIB,
                                    .current = machine_size(m)};

        CHECK(balloon_pool_add(h->pool, &guest, 0, &h->ids[i]));
        m->guest.demand = CALM * PAGES_PER_MIB;
        h->least[i] = h->most[i] = start;
        h->booted[i] = machine_work(m);
    }
}

/* ---- Looking ---- */

/* Memory that the process takes, as the kernel counts it. */
static uint64_t process_resident(const struct host *h)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long long total, resident = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * h->machines[0].granule;
}

static bool has_surge(const struct host *h, unsigned guest)
{
    unsigned second = (unsigned)(h->now / (1000 * MILLISECOND));
    bool surge = false;

    for (unsigned k = 0; k < SURGES; k++)
        surge |= surges[k].guest == guest && second > surges[k].begin && second <= surges[k].end;
    return surge;
}

static struct view_guest look_at(struct host *h, unsigned i)
{
    const struct guest *g = &h->machines[i].guest;
    unsigned size = mib(machine_size(&h->machines[i]));
    uint64_t waited = g->stalls - h->stalls[i] + (g->faults - h->faults[i]) / 10; /* ms */

    h->stalls[i] = g->stalls;
    h->faults[i] = g->faults;
    h->least[i] = size < h->least[i] ? size : h->least[i];
    h->most[i] = size > h->most[i] ? size : h->most[i];
    return (struct view_guest){.size = size,
                               .used = mib(g->owned[OWNER_KERNEL] + g->owned[OWNER_PROGRAM]),
                               .cached = mib(g->owned[OWNER_CACHE]),
                               .second = mib(guest_need(g)),
                               .waits = (unsigned)(waited < 1000 ? waited / 10 : 100),
                               .rush = has_surge(h, i)};
}

/* What the ledger allows: a guest takes no more than its size and what it owes,
 * and all of them no more than what may be promised, with what is owed. */
static void look(struct host *h)
{
    struct view_moment moment = {0};
    uint64_t all = 0;
    balloon_pool_status pool;

    balloon_pool_status_get(h->pool, &pool);
    for (unsigned i = 0; i < GUESTS; i++) {
        struct machine *m = &h->machines[i];
        uint64_t resident = machine_resident(m);

        promise(h, resident <= machine_size(m) + machine_owed(m),
                "a guest takes more memory than the pool knows of");
        moment.guests[i] = look_at(h, i);
        all += resident;
    }
    promise(h, all <= pool.budget + pool.owed, "the guests take more memory than was promised");
    h->resident_most = all > h->resident_most ? all : h->resident_most;
    moment.resident = mib(all);
    view_moment(&h->view, &moment);
}

/* ---- The story ---- */
static void begin_surge(struct host *h, struct surge *s)
{
    struct machine *m = &h->machines[s->guest];

    s->size_before = mib(machine_size(m));
    view_event(&h->view, "%s: a program wants %u MiB; the guest has %u", m->name, s->mib,
               s->size_before);
    m->guest.demand = s->mib * PAGES_PER_MIB;
}

static void watch_surge(struct host *h, struct surge *s)
{
    struct machine *m = &h->machines[s->guest];
    balloon_time_t begin = s->begin * 1000 * MILLISECOND;

    if (s->met_after || m->guest.owned[OWNER_PROGRAM] < m->guest.demand)
        return;
    s->met_after = h->now - begin;
    s->size_met = mib(machine_size(m));
    view_event(&h->view, "%s: the program has it, after %.1f s; the guest has %u MiB", m->name,
               (double)s->met_after / 1e9, s->size_met);
}

static void end_surge(struct host *h, struct surge *s)
{
    struct machine *m = &h->machines[s->guest];

    view_event(&h->view, "%s: the program ends", m->name);
    m->guest.demand = CALM * PAGES_PER_MIB;
}

static void live_a_second(struct host *h, unsigned second)
{
    for (unsigned k = 0; k < SURGES; k++) {
        if (surges[k].end == second)
            end_surge(h, &surges[k]);
        if (surges[k].begin == second)
            begin_surge(h, &surges[k]);
    }
    for (unsigned step = 0; step < 1000 / STEP_MS; step++) {
        for (unsigned i = 0; i < GUESTS; i++)
            guest_step(&h->machines[i].guest);
        host_ask(h, h->now + STEP_MS * MILLISECOND);
        serve_until(h, h->now + STEP_MS * MILLISECOND);
        if (h->now >= balloon_pool_deadline(h->pool))
            host_tick(h);
        for (unsigned k = 0; k < SURGES; k++)
            if (second >= surges[k].begin && second < surges[k].end)
                watch_surge(h, &surges[k]);
        uint64_t process = process_resident(h);

        h->process_most = process > h->process_most ? process : h->process_most;
    }
    look(h);
}

/* On a terminal, leave the eye some time. The clock of the guests stands still
 * meanwhile. */
static void wait_for_eye(const struct timespec *start, unsigned second)
{
    uint64_t due = (uint64_t)start->tv_nsec + second * SECOND_ON_SCREEN * MILLISECOND;
    struct timespec until = {.tv_sec = start->tv_sec + (time_t)(due / 1000000000u),
                             .tv_nsec = (long)(due % 1000000000u)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* ---- What it came to ---- */
static void tell_surges(struct host *h)
{
    view_heading(&h->view, "Where it was needed");
    for (unsigned k = 0; k < SURGES; k++) {
        const struct surge *s = &surges[k];

        promise(h, s->met_after != 0, "a guest did not get what its program needed");
        promise(h, s->size_met > s->size_before, "no memory followed the demand");
        if (s->met_after)
            view_text("%-5s  wanted %u MiB with %u MiB of RAM: %u MiB came in %.1f "
                      "s, %.0f MiB/s",
                      subject.names[s->guest], s->mib, s->size_before, s->size_met - s->size_before,
                      (double)s->met_after / 1e9,
                      (s->size_met - s->size_before) * 1e9 / (double)s->met_after);
    }
}

static struct machine_work work_of(const struct host *h, unsigned i)
{
    struct machine_work now = machine_work(&h->machines[i]);
    const struct machine_work *then = &h->booted[i];

    return (struct machine_work){.inflated = now.inflated - then->inflated,
                                 .deflated = now.deflated - then->deflated,
                                 .discarded = now.discarded - then->discarded,
                                 .runs = now.runs - then->runs,
                                 .calls = now.calls - then->calls,
                                 .in_library = now.in_library - then->in_library,
                                 .in_kernel = now.in_kernel - then->in_kernel};
}

static void tell_moves(struct host *h)
{
    view_heading(&h->view, "What moved, after the guests had booted");
    view_text("       RAM, MiB    taken from    given to                  system   pages");
    view_text("       from..to    it, MiB       it, MiB       discards    calls  a call");
    for (unsigned i = 0; i < GUESTS; i++) {
        struct machine_work w = work_of(h, i);

        view_text("%-5s  %3u..%3u    %7u       %7u       %8llu    %5llu    %6llu", subject.names[i],
                  h->least[i], h->most[i], mib(w.inflated), mib(w.deflated),
                  (unsigned long long)w.runs, (unsigned long long)w.calls,
                  (unsigned long long)(w.calls ? w.discarded / w.calls : 0));
    }
    view_text("The device of %s discards before each answer, those of the others "
              "let discards",
              subject.names[1]);
    view_text("gather for a moment, since their guests wait for the answer to a "
              "deflate.");
}

static void tell_speed(struct host *h)
{
    double library = 0, kernel = 0, moved = 0, discarded = 0;

    for (unsigned i = 0; i < GUESTS; i++) {
        struct machine_work w = work_of(h, i);

        library += (double)w.in_library;
        kernel += (double)w.in_kernel;
        moved += (double)(w.inflated + w.deflated);
        discarded += (double)w.discarded;
    }
    view_heading(&h->view, "What it took");
    view_text("Time of the host: %.1f ns a page in the library, %.0f "
              "ns in the kernel for",
              library / moved, kernel / discarded);
    view_text("each that was discarded; %.1f GiB/s together.",
              discarded * (double)BALLOON_PAGE_SIZE / 1.073741824 / (library + kernel));
}

static void tell_memory(struct host *h)
{
    uint64_t checked = 0, lost = 0;
    const char *why = NULL;

    view_text("%u MiB of RAM in three guests took %u MiB of the host at most; "
              "the pool has %u.",
              GUESTS * RAM, mib(h->resident_most), POOL);
    view_text("The whole process, with all tables of guests and library: %u MiB.",
              mib(h->process_most));
    for (unsigned i = 0; i < GUESTS; i++) {
        struct machine *m = &h->machines[i];

        guest_check_all(&m->guest);
        checked += m->guest.checked;
        lost += m->guest.lost;
        why = machine_wrong(m);
        promise(h, !why, why);
    }
    view_text("%llu times the contents of a page were compared with what was "
              "written; %llu were "
              "lost.",
              (unsigned long long)checked, (unsigned long long)lost);
    promise(h, lost == 0, "a guest has lost a page");
    promise(h, balloon_pool_check(h->pool, &why), why);
}

static void introduce(struct host *h)
{
    balloon_os_host host = {.size = sizeof(host)};

    if (balloon_os_host_read(NULL, &host) == BALLOON_OK &&
        (host.present & BALLOON_OS_HAS_EFFECTIVE_AVAILABLE) &&
        host.effective_available >> 20 < POOL + POOL / 4) {
        fprintf(stderr, "demo: this needs %d MiB of free memory\n", POOL + POOL / 4);
        exit(EXIT_SKIP);
    }
    printf("\n");
    view_text("libballoon %s. Three toy guests with %d MiB of real RAM each, and "
              "a host that has",
              balloon_version(), RAM);
    view_text("%d MiB for them. Guest and host talk in bytes of virtio-balloon; "
              "the pool decides",
              POOL);
    view_text("once a second by what the guests say of themselves (policy \"%s\").",
              balloon_policy_waterline.name);
    view_text("Idle guests fill their memory with files, so whatever moves has "
              "to be taken.");
    view_heading(&h->view, h->view.live ? "A rush goes from guest to guest"
                                        : "A rush goes from guest to guest (MiB it has/needs)");
}

int main(int argc, char **argv)
{
    static struct host host;
    struct host *h = &host;
    struct timespec start;
    char file[4096];

    view_open(&h->view, &subject);
    introduce(h);
    make_pool(h);
    start_guests(h);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned second = 0; second < SECONDS; second++) {
        live_a_second(h, second);
        if (h->view.live)
            wait_for_eye(&start, second);
    }
    view_close(&h->view);

    tell_surges(h);
    tell_moves(h);
    tell_speed(h);
    tell_memory(h);
    snprintf(file, sizeof(file), "%s.svg", argv[0]);
    if (view_draw(&h->view, argc > 1 ? argv[1] : file))
        view_text("A drawing of the run is in %s", argc > 1 ? argv[1] : file);
    view_heading(&h->view, h->broken ? "Not every promise was kept." : "Every promise was kept.");
    for (unsigned i = 0; i < GUESTS; i++)
        machine_stop(&h->machines[i]);
    balloon_pool_destroy(h->pool);
    return h->broken ? EXIT_FAILURE : EXIT_SUCCESS;
}
