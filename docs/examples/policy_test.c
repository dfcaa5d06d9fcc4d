/* A unit test of one's own policy: does a guest get memory back soon after it needs it again? Link
 * with libballoon and Criterion. */
#include <balloon/sim.h>

#include <criterion/criterion.h>

#include <stdlib.h>

/* The policy under test: to each what it uses, and a quarter more. Statistics are of another time
 * than sizes, so it does not follow each change. Put yours here. */
static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *guest = &view->guests[i];

        uint64_t want = (guest->size - guest->available + guest->swapped) / 4 * 5;

        if (guest->known & BALLOON_KNOWS_AVAILABLE &&
            (want > guest->target || want < guest->target / 4 * 3))
            wishes[i].target = want;
    }
}

static const balloon_policy quarter_more = {
    .size = sizeof(balloon_policy), .name = "quarter-more", .decide = decide};

/* Misses by size: straight from all of them without memory to none with the whole working set. */
static const balloon_curve_point line[] = {{0, BALLOON_SIM_ONE}, {BALLOON_SIM_ONE, 0}};
static const balloon_curve curves[] = {{line, 2}};

/* One guest needs 3 GiB after a minute, the other always 1 GiB. */
static const balloon_sim_phase grows[] = {
    {.pages = BALLOON_SIM_GIB, .misses = 1000000},
    {.at_ms = 60000, .pages = 3 * BALLOON_SIM_GIB, .misses = 3000000}};
static const balloon_sim_guest guests[] = {{.max = 4 * BALLOON_SIM_GIB,
                                            .start = BALLOON_SIM_GIB,
                                            .swap = 4 * BALLOON_SIM_GIB,
                                            .phases = grows,
                                            .phase_count = 2},
                                           {.max = 4 * BALLOON_SIM_GIB,
                                            .start = BALLOON_SIM_GIB,
                                            .swap = 4 * BALLOON_SIM_GIB,
                                            .phases = grows,
                                            .phase_count = 1}};
static const balloon_scenario scenario = {.name = "one grows",
                                          .text = "One of two guests needs more.",
                                          .pages = 8 * BALLOON_SIM_GIB,
                                          .duration_ms = 120000,
                                          .curves = curves,
                                          .curve_count = 1,
                                          .guest_count = 2,
                                          .guests = guests};

Test(my_policy, relieves_a_guest_that_needs_more)
{
    balloon_sim_config config = {
        .size = sizeof(config),
        .scenario = &scenario,
        .pool = {.policy = &quarter_more},
        .profile = BALLOON_SIM_VIRTIO, /* what QEMU tells of stock Linux */
    };
    balloon_sim_guest_result guest;
    balloon_sim_result result;
    balloon_layout need;
    balloon_sim *sim;

    cr_assert_eq(balloon_sim_layout(&config, &need), BALLOON_OK);
    void *memory =
        aligned_alloc(need.align, (need.bytes + need.align - 1) / need.align * need.align);
    cr_assert_eq(balloon_sim_init(memory, need.bytes, &config, &sim), BALLOON_OK);
    balloon_sim_run(sim, scenario.duration_ms);

    cr_assert_eq(balloon_sim_guest_result_get(sim, 0, &guest), BALLOON_OK);
    cr_assert_leq(guest.stall_mean, 10000, "it waits for more than 1 %% of its time");
    balloon_sim_result_get(sim, &result);
    cr_assert_leq(result.reversals, 10, "it goes back and forth");
    free(memory);
}
