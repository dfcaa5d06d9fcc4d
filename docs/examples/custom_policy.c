/* A policy of one's own, in a pool: each guest gets what it uses and an equal part of the rest. */
#include <balloon/policy.h>
#include <balloon/pool.h>

#include <stdio.h>
#include <stdlib.h>

enum { GUESTS = 3, MIB = 256 }; /* pages in a MiB */
static const uint64_t SECOND = 1000000000;

/* ---- The policy ---- */

/* What it remembers of a guest: zero at first, and kept as long as the guest lives. */
struct memory {
    uint64_t used; /* the most of late */
};

static bool may_change(const balloon_guest_view *guest)
{
    return (guest->known & BALLOON_KNOWS_AVAILABLE) != 0 &&
           (guest->flags & (BALLOON_GUEST_NO_DRIVER | BALLOON_GUEST_PINNED)) == 0;
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    uint64_t rest = view->pool - view->reserve, takers = 0;

    (void)state; /* this policy has none for the pool as a whole */
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *guest = &view->guests[i];
        struct memory *memory = guest->state;
        uint64_t used = guest->size - guest->available;

        /* Rises at once, falls slowly. */
        if (may_change(guest))
            memory->used = used > memory->used ? used : memory->used - memory->used / 16;
        takers += may_change(guest);
        used = may_change(guest) ? memory->used : guest->size;
        rest -= used < rest ? used : rest;
    }
    /* A wish starts as the size the guest was last asked for. Nothing here looks at limits, or at
     * whether memory came back yet: the pool sees to that. */
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *guest = &view->guests[i];
        const struct memory *memory = guest->state;

        if (may_change(guest)) {
            wishes[i].target = memory->used + rest / takers;
            wishes[i].why = BALLOON_WHY_DEMAND;
        }
    }
}

static const balloon_policy equal_rest = {
    .size = sizeof(balloon_policy),
    .name = "equal-rest",
    .guest_bytes = sizeof(struct memory),
    .decide = decide,
};

/* ---- A host with three guests ---- */

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(EXIT_FAILURE);
}
#define CHECK(x) check(x, #x)

/* What each guest uses, in MiB, by second. */
static const uint64_t uses[][GUESTS] = {
    {200, 200, 200}, {200, 700, 200}, {200, 900, 200}, {600, 900, 100}, {600, 300, 100},
};

int main(void)
{
    balloon_pool_config config = {
        .size = sizeof(config),
        .max_guests = GUESTS,
        .pages = 2048 * MIB,
        .policy = &equal_rest,
        .boot_grace = 1, /* they run already */
    };
    balloon_pool_guest guest = {
        .size = sizeof(guest), .min = 128 * MIB, .max = 1024 * MIB, .current = 512 * MIB};
    uint64_t ids[GUESTS], sizes[GUESTS];
    balloon_pool_status status;
    balloon_layout layout;
    balloon_pool *pool;

    CHECK(!balloon_pool_layout(&config, &layout));
    void *memory = aligned_alloc(layout.align,
                                 (layout.bytes + layout.align - 1) / layout.align * layout.align);
    CHECK(memory);
    CHECK(!balloon_pool_init(memory, layout.bytes, &config, &pool));
    for (int i = 0; i < GUESTS; i++) {
        CHECK(!balloon_pool_add(pool, &guest, 0, &ids[i]));
        sizes[i] = guest.current;
    }

    for (size_t second = 0; second < sizeof(uses) / sizeof(uses[0]); second++) {
        balloon_time_t now = (second + 1) * SECOND;
        balloon_change change;

        /* First what is: sizes and statistics, which come from the guests' devices. */
        for (int i = 0; i < GUESTS; i++) {
            uint64_t used = uses[second][i] * MIB;
            balloon_sample sample = {.time = now};

            CHECK(!balloon_pool_set_size(pool, ids[i], sizes[i], now));
            balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE,
                               (used < sizes[i] ? sizes[i] - used : 0) * BALLOON_PAGE_SIZE);
            CHECK(!balloon_pool_sample(pool, ids[i], &sample, now));
        }
        /* Then what should be. */
        balloon_pool_decide(pool, now);
        printf("second %d:", (int)second);
        while (balloon_pool_next(pool, &change)) {
            printf("  guest %d to %d MiB (%s)", (int)change.id, (int)(change.target / MIB),
                   balloon_why_text(change.why));
            /* Here a device would be told. The pool believes it when it hears the size that the
             * guest has after that: no sooner than with the next decision. */
            for (int i = 0; i < GUESTS; i++)
                if (ids[i] == change.id)
                    sizes[i] = change.target;
        }
        printf("\n");

        balloon_pool_status_get(pool, &status);
        CHECK(status.committed <= status.budget);
    }
    /* Who used more has more. */
    CHECK(sizes[0] > sizes[2] && sizes[1] > sizes[2]);
    free(memory);
    return 0;
}
