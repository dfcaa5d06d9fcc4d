/* Does balloon_sim_check() see it when a rule is broken? This file looks inside. */
#include <criterion/criterion.h>

#include "../../../lib/sim/sim_p.h"
#include "sim_lab.h"

/* Break a field, see that it is found, and mend it. */
#define BREAK(field, value, rule)                                                                  \
    do {                                                                                           \
        __typeof__(field) was_ = field;                                                            \
        const char *why_ = "nothing";                                                              \
        field = (__typeof__(field))(value);                                                        \
        cr_assert_not(balloon_sim_check(lab->sim, &why_), "not seen: %s", rule);                   \
        cr_assert_str_eq(why_, rule, "%s", why_);                                                  \
        cr_assert_not(balloon_sim_check(lab->sim, NULL));                                          \
        field = was_;                                                                              \
        cr_assert(balloon_sim_check(lab->sim, NULL));                                              \
    } while (0)

Test(sim_check, sees_each_broken_rule)
{
    struct lab *lab = lab_new(3);
    struct bl_sim_guest *g;
    balloon_sim *sim;

    lab->phases[1][0].pages = 10000;
    lab->guests[2].arrive_ms = 50000;
    lab_run(lab, 3000);
    sim = lab->sim;
    g = sim->guests;
    BREAK(g[1].cache, 40001, "a guest's memory is used once");
    BREAK(g[0].size, 100001, "a guest is no larger than its RAM");
    BREAK(g[2].target, 1, "who is not there has no memory");
    BREAK(g[1].hot, 10001, "a guest holds what its phase has");
    BREAK(g[1].cold, 1, "a guest holds what its phase has");
    BREAK(g[0].counts.swap_in, g[0].counts.swap_out + 1, "what is swapped in was swapped out");
    BREAK(sim->refusals, 1, "the pool refuses nothing");
    BREAK(g[0].heap, g[1].heap, "each guest has its place");
    BREAK(g[sim->heap[0]].next, UINT64_MAX, "guests wait in order");
    BREAK(sim->names[1].id, 1, "names are in order");
    BREAK(sim->used, 1, "sizes add up");
    BREAK(g[0].target, 60000, "promises add up");
    BREAK(sim->idle, 1, "idle memory adds up");
    BREAK(sim->idle_missing, 1, "idle memory adds up");
    BREAK(sim->missing, 2, "who misses is counted");
    BREAK(sim->waiting, 1, "guests are counted");
    lab_free(lab);
}
