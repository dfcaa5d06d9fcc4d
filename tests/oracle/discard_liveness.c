/* What can be given back is: after everything was inflated, in whatever order and over however
 * many buffers, all whole granules are discarded, each page once. */
#include "guest_sim.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static const uint64_t sizes[] = {1, 4, 16, 512};

enum order { ASCENDING, DESCENDING, SHUFFLED };

static uint64_t whole_granules(const balloon_region *region)
{
    uint64_t size = region->granule;
    uint64_t first = (region->first + size - 1) / size,
             end = (region->first + region->count) / size;
    return first < end ? (end - first) * size : 0;
}

/* Inflates all memory, so many guest pages in a buffer. Returns how many pages were discarded. */
static uint64_t inflate_all(struct guest_sim *sim, enum order order, size_t in_buffer)
{
    uint32_t list[4096];
    size_t count = 0;
    for (uint32_t page = 0; page < sim->pages; page++)
        if (sim->state[page] == GUEST_OWNED)
            list[count++] = page;
    for (size_t i = 0; i < count; i++) {
        size_t j = order == SHUFFLED     ? (size_t)prng_below(sim->prng, count)
                   : order == DESCENDING ? count - 1 - i
                                         : i;
        if (order == DESCENDING && j <= i)
            break;
        uint32_t swap = list[i];
        list[i] = list[j];
        list[j] = swap;
    }
    for (size_t at = 0; at < count; at += in_buffer) {
        const char *why =
            guest_sim_inflate(sim, list + at, count - at < in_buffer ? count - at : in_buffer);
        if (!why)
            why = guest_sim_poll(sim, SIZE_MAX);
        cr_assert_null(why, "%s", why);
        sim->now += 1000000;
    }
    const char *why = guest_sim_finish(sim);
    cr_assert_null(why, "%s", why);
    return sim->discarded;
}

static void each_size(uint32_t features, enum order order, size_t in_buffer)
{
    uint64_t seed = prng_seed();
    for (int host = 0; host < 4; host++) {
        for (int guest = 0; guest < 4; guest++) {
            struct guest_sim_plan plan = {
                .host_granule = sizes[host], .guest_page = sizes[guest], .features = features};
            struct prng prng = prng_start(seed, 9000 + (uint64_t)(host * 4 + guest));
            struct guest_sim sim;
            guest_sim_start(&sim, &plan, &prng);
            uint64_t want = whole_granules(&sim.region[0]) + whole_granules(&sim.region[1]);
            uint64_t got = inflate_all(&sim, order, in_buffer);
            cr_assert_eq(got, want,
                         "BALLOON_SEED=%" PRIu64 ": %" PRIu64 " of %" PRIu64
                         " pages given back, host granule %" PRIu64 ", guest page %" PRIu64,
                         seed, got, want, plan.host_granule, plan.guest_page);
            guest_sim_end(&sim);
        }
    }
}

Test(discard_liveness, gathering_in_order)
{
    each_size(BALLOON_F_MUST_TELL, ASCENDING, 3);
    each_size(BALLOON_F_MUST_TELL, DESCENDING, 256);
}

Test(discard_liveness, gathering_in_random_order)
{
    each_size(BALLOON_F_MUST_TELL, SHUFFLED, 1);
    each_size(BALLOON_F_MUST_TELL, SHUFFLED, 100);
}

/* Without MUST_TELL_HOST only granules that come wholly in one buffer can be given back: those
 * of a host whose granules are no larger than the guest's pages. */
Test(discard_liveness, settling)
{
    uint64_t seed = prng_seed();
    for (int host = 0; host < 4; host++) {
        for (int guest = host; guest < 4; guest++) {
            struct guest_sim_plan plan = {.host_granule = sizes[host], .guest_page = sizes[guest]};
            struct prng prng = prng_start(seed, 9500 + (uint64_t)(host * 4 + guest));
            struct guest_sim sim;
            guest_sim_start(&sim, &plan, &prng);
            uint64_t want = whole_granules(&sim.region[0]) + whole_granules(&sim.region[1]);
            cr_assert_eq(inflate_all(&sim, SHUFFLED, 7), want);
            guest_sim_end(&sim);
        }
    }
}

/* One buffer for all: granules larger than the guest's pages are complete before the answer. */
Test(discard_liveness, settling_in_one_buffer)
{
    uint64_t seed = prng_seed();
    for (int host = 1; host < 3; host++) {
        struct guest_sim_plan plan = {.host_granule = sizes[host], .guest_page = 1};
        struct prng prng = prng_start(seed, 9600 + (uint64_t)host);
        struct guest_sim sim;
        guest_sim_start(&sim, &plan, &prng);
        uint64_t want = whole_granules(&sim.region[0]) + whole_granules(&sim.region[1]);
        cr_assert_eq(inflate_all(&sim, SHUFFLED, 512), want);
        guest_sim_end(&sim);
    }
}
