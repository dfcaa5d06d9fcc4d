/* A desk for the policy waterline: what its guests say. */
#ifndef TEST_WATERLINE_DESK_H
#define TEST_WATERLINE_DESK_H

#include "policy_desk.h"

#define SWAPLESS ((uint32_t)BALLOON_KNOWS_AVAILABLE | (uint32_t)BALLOON_KNOWS_STALL)
#define CALM     (SWAPLESS | (uint32_t)BALLOON_KNOWS_SWAP)

/* Guests are left alone for that many seconds at first. */
#define HOLD 10

/* While somebody is urgent, others give one part in so many of their cache in a second. */
#define CACHE_PART 4

static inline void set_use(struct policy_desk *desk, uint32_t guest, uint64_t size,
                           uint64_t available)
{
    desk_set_size(desk, guest, size);
    desk->guests[guest].known = CALM;
    desk->guests[guest].available = available;
}

static inline void set_stall(struct policy_desk *desk, uint32_t guest, uint32_t stall)
{
    desk->guests[guest].stall = stall;
}

#endif
