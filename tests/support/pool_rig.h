/* A pool whose policy is a spy: it keeps what it saw and wishes what the test has written. */
#ifndef TEST_POOL_RIG_H
#define TEST_POOL_RIG_H

#include <balloon/pool.h>

#define POOL_RIG_GUESTS 16
#define RIG_SECOND      UINT64_C(1000000000)

struct pool_rig {
    balloon_pool *pool;
    void *memory;
    /* Of the last decision. */
    balloon_view view;
    balloon_guest_view seen[POOL_RIG_GUESTS];
    balloon_wish first[POOL_RIG_GUESTS]; /* what wishes are before the policy writes any */
    balloon_verdict verdict;
    balloon_change changes[2 * POOL_RIG_GUESTS];
    uint32_t change_count;
    /* What is wished for the guests with these ids, from now on. */
    bool wishing[POOL_RIG_GUESTS];
    balloon_wish wishes[POOL_RIG_GUESTS];
};

/* There is one; each test is a process. */
extern struct pool_rig pool_rig;
extern const balloon_policy pool_rig_policy;

/* A pool of that many pages and a reserve of 1024 for each 16384 (the default); booting takes no
 * time. config may be NULL; its policy is replaced. */
void pool_rig_make(uint64_t pages, const balloon_pool_config *config);
void pool_rig_drop(void);

/* A guest of its size from the start. Aborts when it is refused; returns its id. */
uint64_t pool_rig_add(uint64_t min, uint64_t max, uint64_t current);
void pool_rig_wish(uint64_t id, uint64_t target, balloon_why why, uint32_t urgency);

/* Set the size of a guest at a time, and nothing, a sample with these values in pages (or counts,
 * if cumulative), and so on: pairs of balloon_stat and value, ended by -1. */
void pool_rig_size(uint64_t id, uint64_t size, balloon_time_t now);
void pool_rig_sample(uint64_t id, balloon_time_t time, ...);

/* Decide, and take all changes. */
balloon_verdict pool_rig_decide(balloon_time_t now);

/* What the last decision asked of a guest: its new target, or 0 when it was not asked. */
uint64_t pool_rig_asked(uint64_t id);

/* How the guest was seen in the last decision; aborts when it was not. */
const balloon_guest_view *pool_rig_seen(uint64_t id);
balloon_pool_guest_status pool_rig_guest(uint64_t id);
balloon_pool_status pool_rig_status(void);
balloon_pool_counters pool_rig_counters(void);

#endif
