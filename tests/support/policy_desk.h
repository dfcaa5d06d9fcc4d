/* A policy by itself: a view to fill in, its state and scratch memory, and what it wishes. */
#ifndef TEST_POLICY_DESK_H
#define TEST_POLICY_DESK_H

#include <balloon/policy.h>

#include "prng.h"

#define SECOND UINT64_C(1000000000)
#define MIB    UINT64_C(256) /* in pages */
#define GIB    (1024 * MIB)

struct policy_desk {
    const balloon_policy *policy;
    void *state;
    balloon_view view;          /* pool and reserve to be set; state starts as HIGH */
    balloon_guest_view *guests; /* sizes, limits and signals to be set */
    balloon_wish *wishes;
    bool silent;     /* no new statistics, */
    bool same_stall; /* or none of waiting */
};

/* Guests of 1 GiB with limits 0 and 1 GiB and 1000 shares, of which nothing is known. False when
 * the policy refuses the knobs. */
bool desk_open(struct policy_desk *desk, const balloon_policy *policy, const void *knobs,
               uint32_t guests);
void desk_close(struct policy_desk *desk);

/* Does the policy accept the knobs? */
bool desk_accepts(const balloon_policy *policy, const void *knobs);

/* Give a guest a size, as if it was also asked for that. */
void desk_set_size(struct policy_desk *desk, uint32_t guest, uint64_t pages);

/* Decide, on new statistics unless silent. Sums are worked out; used is not touched when it exceeds
 * the sum of sizes. */
void desk_decide(struct policy_desk *desk, balloon_time_t now);

/* All guests do what was wished. */
void desk_follow(struct policy_desk *desk);

/* Sum of the wishes. */
uint64_t desk_wished(const struct policy_desk *desk);

/* Whether all wishes are what the guests were asked for already. */
bool desk_is_still(const struct policy_desk *desk);

/* Random guests, all signals known, with limits, sizes up to `most` pages, and curves of none. */
void desk_shuffle(struct policy_desk *desk, struct prng *prng, uint64_t most);

/* What holds for every policy: no guests; one guest; all pinned; limits without a range; a full
 * host; nothing known. */
void desk_check_edges(const balloon_policy *policy);

#endif
