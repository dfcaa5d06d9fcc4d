/* The control loop between the pool, in this process, and the devices, in the back-end's. It does
 * what balloon/host.h does where both are in one process: sizes and statistics go in, targets come
 * out. */
#include "pool_host.h"

#include <balloon/alloc.h>

#include <stdio.h>
#include <string.h>

#define MILLISECOND UINT64_C(1000000)

/* Swapping is the guest's own affair; it has to be slow and not fatal to be short of memory. */
enum { SWAP_MIB = 256, SETTLE_SECONDS = 30 };

enum {
    STEP_MS = 20,      /* from one look at what is due to the next */
    NOTABLE_PAGES = 64 /* fewer from swap between two statistics do not hold anybody up */
};

static balloon_time_t clock_now(void)
{
    return guest_clock() * MILLISECOND;
}

static void check(balloon_status status, const char *what)
{
    char text[256];

    if (status == BALLOON_OK)
        return;
    snprintf(text, sizeof text, "%s: %s", what, balloon_status_text(status));
    guest_failed(text);
}
#define CHECK(call) check((call), #call)

/* --- talking ----------------------------------------------------------------------------- */

static balloon_sample sample_in(const char *answer)
{
    balloon_sample sample = {.time = clock_now() - answer_number(answer, "age_ms") * MILLISECOND};
    char key[64];

    for (int i = 0; i < BALLOON_STAT_COUNT; i++) {
        const char *name = balloon_stat_name((balloon_stat)i);

        snprintf(key, sizeof key, "\"%s\":", name);
        if (strstr(answer, key))
            balloon_sample_set(&sample, (balloon_stat)i, answer_number(answer, name));
    }
    return sample;
}

static uint64_t pages_of(const balloon_sample *sample, balloon_stat stat)
{
    uint64_t bytes = 0;

    (void)balloon_sample_get(sample, stat, &bytes);
    return bytes / BALLOON_PAGE_SIZE;
}

/* A guest that answers too late is one whose statistics get old; the pool knows what to do then. */
static void take_stats(struct host *host, const char *answer)
{
    uint64_t i = answer_number(answer, "guest");

    if (i >= HOST_GUESTS || !host->guests[i].asked)
        guest_failed(answer);

    struct pool_guest *g = &host->guests[i];

    g->asked = false;
    if (!strstr(answer, "\"stats\""))
        return;

    balloon_sample sample = sample_in(answer);
    uint64_t swapped_in = pages_of(&sample, BALLOON_STAT_SWAP_IN);

    g->free = pages_of(&sample, BALLOON_STAT_FREE);
    g->available = pages_of(&sample, BALLOON_STAT_AVAILABLE);
    if (swapped_in - g->swapped_in >= NOTABLE_PAGES)
        g->waited = guest_clock();
    g->swapped_in = swapped_in;
    CHECK(balloon_pool_sample(host->pool, g->id, &sample, clock_now()));
}

/* Send a command and return what is said to it. Statistics come when the guest has sent them, which
 * can be long after they were asked for. */
static const char *ask(struct host *host, const char *line, const char *mark)
{
    const char *answer;

    backend_tell(host->backend, line);
    while (!strstr(answer = backend_line(host->backend), mark))
        if (!strstr(answer, "\"event\""))
            take_stats(host, answer);
    return answer;
}

static const char *ask_status(struct host *host, unsigned i)
{
    char line[32];

    snprintf(line, sizeof line, "status %u", i);
    return ask(host, line, "\"connected\"");
}

/* The back-end takes whole MiB. Rounding up the balloon never exceeds what the pool has. */
static void set_target(struct host *host, unsigned i, uint64_t pages)
{
    char line[32];

    snprintf(line, sizeof line, "target %u %u", i,
             (unsigned)((host->guests[i].ram - pages + PAGES_PER_MIB - 1) / PAGES_PER_MIB));
    (void)ask(host, line, "\"ok\":true");
}

/* --- looking ----------------------------------------------------------------------------- */

/* What the device still has to discard takes memory of the host and counts as the guest's. */
static uint64_t size_in(const char *status, uint64_t ram)
{
    return ram - answer_number(status, "held") + answer_number(status, "pending");
}

static void look_at_size(struct host *host, unsigned i)
{
    struct pool_guest *g = &host->guests[i];
    const char *status = ask_status(host, i);

    g->size = size_in(status, g->ram);
    CHECK(balloon_pool_set_size(host->pool, g->id, g->size, clock_now()));
    CHECK(balloon_pool_set_flags(
        host->pool, g->id, answer_number(status, "driver") ? 0 : (uint32_t)BALLOON_GUEST_NO_DRIVER,
        clock_now()));
}

void host_look(struct host *host)
{
    balloon_pool_guest_status status;

    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        struct pool_guest *g = &host->guests[i];

        look_at_size(host, i);
        g->allowed = g->size;
        g->resident = linux_host_bytes(g->linux_guest) / BALLOON_PAGE_SIZE;
        look_at_size(host, i);
        if (g->size > g->allowed)
            g->allowed = g->size;
        CHECK(balloon_pool_guest_get(host->pool, g->id, &status));
        g->stall = status.stall;
    }
}

/* --- deciding ---------------------------------------------------------------------------- */

static void decide(struct host *host)
{
    balloon_change change;

    (void)balloon_pool_decide(host->pool, clock_now());
    while (balloon_pool_next(host->pool, &change))
        for (unsigned i = 0; i < HOST_GUESTS; i++)
            if (host->guests[i].id == change.id)
                set_target(host, i, change.target);
}

/* Ask for what the pool wants to know, and decide when it is due. */
static void attend(struct host *host)
{
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        struct pool_guest *g = &host->guests[i];
        uint32_t wants = balloon_pool_wants(host->pool, g->id, clock_now());
        char line[32];

        if (wants & BALLOON_POOL_WANTS_SAMPLE && !g->asked) {
            snprintf(line, sizeof line, "stats %u", i);
            backend_tell(host->backend, line);
            g->asked = true;
        }
        /* With its size comes what guests have said meanwhile. */
        if (wants & BALLOON_POOL_WANTS_SIZE || g->asked)
            look_at_size(host, i);
    }
    if (clock_now() >= balloon_pool_deadline(host->pool))
        decide(host);
}

void host_live(struct host *host, uint64_t until)
{
    for (uint64_t now; (now = guest_clock()) < until;) {
        attend(host);
        guest_sleep(until - now < STEP_MS ? (unsigned)(until - now) : STEP_MS);
    }
}

/* --- life -------------------------------------------------------------------------------- */

/* The target waits for the guest, so that it never has more than its part. */
static void boot(struct host *host, unsigned i, unsigned ram, unsigned start)
{
    backend_do(host->backend, "target %u %u", i, ram - start);
    host->guests[i].linux_guest = linux_start_swapping(host->backend, i, ram, SWAP_MIB);
}

static void join(struct host *host, unsigned i, unsigned ram, unsigned start, unsigned floor)
{
    struct pool_guest *g = &host->guests[i];

    g->ram = (uint64_t)ram * PAGES_PER_MIB;
    for (uint64_t end = guest_deadline(SETTLE_SECONDS);; guest_sleep(20)) {
        g->size = size_in(ask_status(host, i), g->ram);
        if (g->size <= (uint64_t)start * PAGES_PER_MIB)
            break;
        if (guest_clock() > end)
            guest_failed("a guest does not begin with its part of the memory");
    }

    balloon_pool_guest guest = {.size = sizeof guest,
                                .min = (uint64_t)floor * PAGES_PER_MIB,
                                .max = g->ram,
                                .current = g->size};

    CHECK(balloon_pool_add(host->pool, &guest, clock_now(), &g->id));
}

void host_start(struct host *host, unsigned ram, unsigned start, unsigned floor, unsigned pool)
{
    /* The device must be told before a page leaves the balloon, and guests may not help themselves:
     * what they get the pool has decided. */
    const char *options[] = {"--features", "3", NULL};
    balloon_pool_config config = {.size = sizeof config,
                                  .max_guests = HOST_GUESTS,
                                  .pages = (uint64_t)pool * PAGES_PER_MIB,
                                  .policy = &balloon_policy_waterline,
                                  .boot_grace = 1000 * MILLISECOND};

    CHECK(balloon_pool_create(&config, &host->pool));
    host->backend = backend_start(HOST_GUESTS, options);
    for (unsigned i = 0; i < HOST_GUESTS; i++)
        boot(host, i, ram, start);
    for (unsigned i = 0; i < HOST_GUESTS; i++)
        join(host, i, ram, start, floor);
}

void host_end(struct host *host)
{
    for (unsigned i = 0; i < HOST_GUESTS; i++)
        linux_end(host->guests[i].linux_guest);
    backend_end(host->backend);
    balloon_pool_destroy(host->pool);
}

struct pool_work host_work(struct host *host, unsigned guest)
{
    const char *status = ask_status(host, guest);

    return (struct pool_work){.inflated = answer_number(status, "inflated"),
                              .deflated = answer_number(status, "deflated"),
                              .discarded = answer_number(status, "discarded"),
                              .runs = answer_number(status, "discard_runs"),
                              .calls = answer_number(status, "discard_calls")};
}
