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

/* --- looking ----------------------------------------------------------------------------- */

/* What the device still has to discard takes memory of the host and counts as the guest's. */
static uint64_t size_in(const char *status, uint64_t ram)
{
    return ram - answer_number(status, "held") + answer_number(status, "pending");
}

static void look_at_size(struct host *host, unsigned i)
{
    struct pool_guest *g = &host->guests[i];
    uint64_t before = size_in(backend_ask(host->backend, "status %u", i), g->ram);

    g->resident = linux_host_bytes(g->linux_guest) / BALLOON_PAGE_SIZE;

    const char *status = backend_ask(host->backend, "status %u", i);

    g->size = size_in(status, g->ram);
    g->allowed = before > g->size ? before : g->size;
    CHECK(balloon_pool_set_size(host->pool, g->id, g->size, clock_now()));
    CHECK(balloon_pool_set_flags(
        host->pool, g->id, answer_number(status, "driver") ? 0 : (uint32_t)BALLOON_GUEST_NO_DRIVER,
        clock_now()));
}

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
static void look_at_stats(struct host *host, unsigned i)
{
    struct pool_guest *g = &host->guests[i];
    const char *answer = backend_ask(host->backend, "stats %u", i);

    if (!strstr(answer, "\"stats\""))
        return;

    balloon_sample sample = sample_in(answer);

    g->free = pages_of(&sample, BALLOON_STAT_FREE);
    g->available = pages_of(&sample, BALLOON_STAT_AVAILABLE);
    g->swapped_in = pages_of(&sample, BALLOON_STAT_SWAP_IN);
    CHECK(balloon_pool_sample(host->pool, g->id, &sample, clock_now()));
}

/* --- deciding ---------------------------------------------------------------------------- */

/* The back-end takes whole MiB. Rounding up the balloon never exceeds what the pool has. */
static void ask_for(struct host *host, const balloon_change *change)
{
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        const struct pool_guest *g = &host->guests[i];

        if (g->id == change->id)
            backend_do(host->backend, "target %u %u", i,
                       (unsigned)((g->ram - change->target + PAGES_PER_MIB - 1) / PAGES_PER_MIB));
    }
}

void host_tick(struct host *host)
{
    balloon_pool_guest_status status;
    balloon_change change;

    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        look_at_size(host, i);
        look_at_stats(host, i);
    }
    (void)balloon_pool_decide(host->pool, clock_now());
    while (balloon_pool_next(host->pool, &change))
        ask_for(host, &change);
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        struct pool_guest *g = &host->guests[i];

        CHECK(balloon_pool_guest_get(host->pool, g->id, &status));
        g->target = status.target;
        g->stall = status.stall;
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
        g->size = size_in(backend_ask(host->backend, "status %u", i), g->ram);
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
    const char *status = backend_ask(host->backend, "status %u", guest);

    return (struct pool_work){.inflated = answer_number(status, "inflated"),
                              .deflated = answer_number(status, "deflated"),
                              .runs = answer_number(status, "discard_runs"),
                              .calls = answer_number(status, "discard_calls")};
}
