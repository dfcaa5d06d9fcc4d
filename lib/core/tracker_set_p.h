/* The maps that a set is made of. */
#ifndef BALLOON_CORE_TRACKER_SET_P_H
#define BALLOON_CORE_TRACKER_SET_P_H

#include "tracker_p.h"

/* A set is (a | b) ^ flip, where there are such maps; it has no pages without a. Bits outside of a
 * region are of no meaning, and it is as if all that is pending were meant. */
struct set_maps {
    const uint64_t *a, *b;
    uint64_t flip;
};

static inline struct set_maps set_maps_of(const balloon_tracker *t, balloon_set set)
{
    switch (set) {
    case BALLOON_SET_FREE:
        return (struct set_maps){t->held, NULL, ~UINT64_C(0)};
    case BALLOON_SET_HELD:
        return (struct set_maps){t->held, NULL, 0};
    case BALLOON_SET_PENDING:
        return (struct set_maps){t->pending, NULL, 0};
    case BALLOON_SET_HINTED:
        return (struct set_maps){t->hinted, NULL, 0};
    case BALLOON_SET_SKIP:
        /* In settling mode the guest may be using a held page before it says so. */
        if (t->gather)
            return (struct set_maps){t->held, t->hinted, 0};
        return (struct set_maps){t->hinted, NULL, 0};
    }
    return (struct set_maps){NULL, NULL, 0};
}

static inline uint64_t set_word(const struct set_maps *m, uint64_t w)
{
    return (m->b ? m->a[w] | m->b[w] : m->a[w]) ^ m->flip;
}

#endif
