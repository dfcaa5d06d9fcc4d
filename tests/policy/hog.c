/* Scenario 21 beside what was recorded of three guests under QEMU 7.2 (Linux 6.1 and 7.2), in which
 * a hog went round, with the same policies. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/sim.h>

#define GUESTS  3
#define ROUND   40000 /* ms */
#define FIRST   2000
#define EVERY   100
#define RECORDS (GUESTS * ((FIRST + GUESTS * ROUND) / EVERY + 1))
#define SEEDS   4

/* Of one guest's time with the hog, or the mean of many. */
struct relief {
    double speed;   /* s, to 80 % of its speed for good; the whole time when it is not reached */
    double growth;  /* s, to 90 % of what the guest grows by */
    double in, out; /* MiB of swap */
    double end;     /* MiB of the guest when the hog goes */
};

static void look(const balloon_sim *sim, uint32_t guest, struct relief *r, int sign)
{
    balloon_sim_guest_status s = {0};
    uint64_t in = 0, out = 0;

    cr_assert_eq(balloon_sim_guest_get(sim, guest, &s), BALLOON_OK);
    (void)balloon_sample_get(&s.last, BALLOON_STAT_SWAP_IN, &in);
    (void)balloon_sample_get(&s.last, BALLOON_STAT_SWAP_OUT, &out);
    r->in += sign * (double)in / 1048576;
    r->out += sign * (double)out / 1048576;
    r->end = (double)s.size / (double)BALLOON_SIM_MIB;
}

static double seconds_to(const balloon_sim_record *from, bool speed)
{
    const size_t count = ROUND / EVERY - 1;
    uint64_t first = from->size, last = from[count * GUESTS].size;
    size_t i = 0, well = 0;

    if (speed) {
        /* For two seconds in a row. */
        for (; i < count && well < 20; i++)
            well = from[i * GUESTS].stall <= 200000 && i > 20 ? well + 1 : 0;
        i = well < 20 ? count : i - well;
    } else {
        while (i < count && from[i * GUESTS].size < first + (last - first) / 10 * 9)
            i++;
    }
    return (double)i * EVERY / 1000;
}

/* Means over guests and seeds. */
static struct relief play(const char *policy, uint32_t tick_ms)
{
    balloon_sim_record *records = calloc(RECORDS, sizeof(*records));
    struct relief mean = {0};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        balloon_scenario_options o = {.size = sizeof(o), .number = 21, .seed = seed};
        balloon_sim_config config = {.size = sizeof(config),
                                     .pool = {.policy = balloon_policy_find(policy)},
                                     .seed = seed,
                                     .tick_ms = tick_ms,
                                     .records = records,
                                     .record_count = RECORDS,
                                     .record_ms = EVERY,
                                     .profile = BALLOON_SIM_VIRTIO};
        balloon_layout layout;
        balloon_sim *sim;
        void *scenario, *memory;

        cr_assert_eq(balloon_scenario_layout(&o, &layout), BALLOON_OK);
        scenario = malloc(layout.bytes);
        cr_assert_eq(balloon_scenario_build(scenario, layout.bytes, &o, &config.scenario),
                     BALLOON_OK);
        cr_assert_eq(balloon_sim_layout(&config, &layout), BALLOON_OK);
        memory = aligned_alloc(layout.align,
                               (layout.bytes + layout.align - 1) / layout.align * layout.align);
        cr_assert_eq(balloon_sim_init(memory, layout.bytes, &config, &sim), BALLOON_OK);
        for (uint32_t g = 0; g < GUESTS; g++) {
            uint64_t begins = FIRST + g * ROUND;
            struct relief one = {0};

            balloon_sim_run(sim, begins - 1);
            look(sim, g, &one, -1);
            balloon_sim_run(sim, begins + ROUND - 1);
            look(sim, g, &one, 1);
            one.speed = seconds_to(&records[begins / EVERY * GUESTS + g], true);
            one.growth = seconds_to(&records[begins / EVERY * GUESTS + g], false);
            mean.speed += one.speed / (GUESTS * SEEDS);
            mean.growth += one.growth / (GUESTS * SEEDS);
            mean.in += one.in / (GUESTS * SEEDS);
            mean.out += one.out / (GUESTS * SEEDS);
            mean.end += one.end / (GUESTS * SEEDS);
        }
        cr_assert(balloon_sim_check(sim, NULL));
        free(memory);
        free(scenario);
    }
    free(records);
    return mean;
}

static void expect_near(const char *policy, const char *what, double was, double is)
{
    cr_expect_geq(is, was * 0.75, "%s: %s was %.1f, is %.1f", policy, what, was, is);
    cr_expect_leq(is, was * 1.25, "%s: %s was %.1f, is %.1f", policy, what, was, is);
}

/* Means of what was recorded, with the beat that these had: of greedy, the first time to full speed
 * is left out, in which the hog had not begun to go round. */
Test(hog, is_relieved_as_it_was_in_real_guests)
{
    static const struct {
        const char *policy;
        uint32_t tick_ms;
        struct relief was;
    } table[] = {
        {"greedy", 100, {13.4, 10.7, 120, 127, 384}},
        {"buffer", 1000, {11.4, 10.5, 118, 124, 383}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct relief *was = &table[i].was;
        struct relief is = play(table[i].policy, table[i].tick_ms);

        expect_near(table[i].policy, "seconds to full speed", was->speed, is.speed);
        expect_near(table[i].policy, "seconds of growth", was->growth, is.growth);
        expect_near(table[i].policy, "MiB swapped in", was->in, is.in);
        expect_near(table[i].policy, "MiB swapped out", was->out, is.out);
        expect_near(table[i].policy, "MiB at the end", was->end, is.end);
    }
}

/* Under these the real hog was not back at its speed when it went, after 28 s. */
Test(hog, is_not_relieved_where_it_was_not)
{
    static const char *const names[] = {"shares", "stall", "mom", "proxmox"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        cr_assert_gt(play(names[i], 1000).speed, 28, "%s", names[i]);
}
