/* A guest that uses pages of its balloon brings them back to the host's memory, and no device can
 * forbid it. An audit looks at a few pages at a time and tells the pool, which then does not
 * promise that memory to others. */
#define _DEFAULT_SOURCE
#include <balloon/balloon.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    GUEST_PAGES = 16384,
    BALLOON_PAGES = 8192,
    PAGES_A_STEP = 1024,
    RUNS_A_STEP = 1024,
    SECOND = 1000000000
};

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(EXIT_FAILURE);
}
#define CHECK(x) check(x, #x)

/* ---- The audit: from here ... ---- */
struct audit {
    balloon_pfn_t at;           /* where the next step begins */
    balloon_os_residency round; /* what this round has found up to there */
    uint64_t resident;          /* what the last whole round has found */
};

/* Once a second: as many pages as the step allows. */
static void audit_step(struct audit *audit, balloon_os *os, const balloon_device *device)
{
    const balloon_tracker *tracker = balloon_device_tracker(device);
    uint64_t end;
    balloon_run run;

    audit->round.size = sizeof(audit->round);
    end = audit->round.looked + PAGES_A_STEP;
    /* Runs of less than a host page have nothing to look at, and take time all the same. */
    for (unsigned runs = 0; audit->round.looked < end && runs < RUNS_A_STEP; runs++) {
        balloon_range rest = {audit->at, UINT64_MAX - audit->at};

        if (!balloon_tracker_next(tracker, BALLOON_SET_HELD, rest, &run)) { /* the round is over */
            audit->resident = audit->round.resident;
            audit->round = (balloon_os_residency){.size = sizeof(audit->round)};
            audit->at = 0;
            return;
        }
        CHECK(!balloon_os_resident(os, &run, end - audit->round.looked, &audit->round));
        audit->at = run.range.first;
    }
}

/* After balloon_host_feed(), which knows what did not come back, but not what went again. */
static void audit_tell(const struct audit *audit, balloon_pool *pool, uint64_t id,
                       const balloon_device *device)
{
    balloon_device_status status;
    uint64_t owed;

    balloon_device_status_get(device, &status);
    owed = status.held - status.returned;
    CHECK(!balloon_pool_set_owed(pool, id, audit->resident > owed ? audit->resident : owed));
}
/* ---- ... to here. ---- */

static void inflate(balloon_device *device, balloon_os *os, balloon_time_t now)
{
    static uint32_t pfns[BALLOON_PAGES];
    balloon_iov bytes = {pfns, sizeof(pfns)};
    balloon_virtio_buffer buffer = {.readable = &bytes, .readable_count = 1};
    balloon_run failed[64];
    balloon_action action;
    size_t failures;

    for (uint32_t i = 0; i < BALLOON_PAGES; i++)
        pfns[i] = 4096 + i;
    CHECK(!balloon_virtio_receive(device, BALLOON_QUEUE_INFLATE, &buffer, now));
    for (int i = 0; i < 2; i++, now += SECOND) {
        while (balloon_device_poll(device, now, &action))
            if (action.type == BALLOON_ACTION_DISCARD)
                CHECK(!balloon_os_discard(os, action.runs, action.run_count, failed, &failures));
    }
}

int main(void)
{
    uint64_t unit = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE, id, steps = 0;
    balloon_region ram = {.count = GUEST_PAGES, .granule = unit};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .run_batch = 64};
    balloon_os_config os_config = {.size = sizeof(os_config), .flags = BALLOON_OS_NO_HUGE};
    balloon_os_region backing = {.size = sizeof(backing), .pages = ram, .fd = -1};
    balloon_pool_config pool_config = {.size = sizeof(pool_config),
                                       .max_guests = 1,
                                       .pages = 2 * GUEST_PAGES,
                                       .policy = &balloon_policy_fixed};
    balloon_pool_guest guest = {.size = sizeof(guest), .max = GUEST_PAGES, .current = GUEST_PAGES};
    balloon_pool_guest_status status;
    balloon_device *device;
    balloon_os *os;
    balloon_pool *pool;
    struct audit audit = {0};
    unsigned char *host = mmap(NULL, GUEST_PAGES * BALLOON_PAGE_SIZE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(host != MAP_FAILED);
    backing.host = host;
    CHECK(!balloon_device_create(&config, &device));
    CHECK(!balloon_os_create(&os_config, &os));
    CHECK(!balloon_os_add_region(os, 0, &backing));
    CHECK(!balloon_pool_create(&pool_config, &pool));
    CHECK(!balloon_pool_add(pool, &guest, 0, &id));
    CHECK(!balloon_virtio_set_features(device, balloon_virtio_features(device)));
    CHECK(!balloon_virtio_driver_ok(device, 0, 0));
    memset(host, 0xaa, GUEST_PAGES * BALLOON_PAGE_SIZE);
    inflate(device, os, 0);

    /* The guest cheats: it writes to the first tenth of its balloon. */
    memset(host + 4096 * BALLOON_PAGE_SIZE, 0xaa, BALLOON_PAGES / 10 * BALLOON_PAGE_SIZE);

    do {
        audit_step(&audit, os, device);
        steps++;
    } while (audit.at);
    CHECK(!balloon_host_feed(pool, id, device, SECOND));
    audit_tell(&audit, pool, id, device);
    CHECK(!balloon_pool_guest_get(pool, id, &status));
    printf("%d pages in the balloon, %llu of them in memory, found in %llu steps\n", BALLOON_PAGES,
           (unsigned long long)status.owed, (unsigned long long)steps);
    CHECK(status.owed >= BALLOON_PAGES / 10 && status.owed < BALLOON_PAGES / 10 + unit);

    balloon_pool_destroy(pool);
    balloon_os_destroy(os);
    balloon_device_destroy(device);
    return 0;
}
