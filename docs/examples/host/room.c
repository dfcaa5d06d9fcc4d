#include "room.h"

/* That share of the memory should stay available to others, */
#define KEPT 32

/* and when less than that is, time in which everything waits for memory counts as well: other
 * groups of processes may wait at limits of their own, which no balloon changes. */
#define SCARCE  8
#define WAITING 20

/* The pool changes by that share of itself a second: smaller under pressure, and larger again. */
#define STEP 64

/* Nor is it ever less than that share: what is missing then, the pool says. */
#define LEAST 8

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void room_init(struct room *r, uint64_t most)
{
    *r = (struct room){.most = most, .bytes = most};
}

/* Whether everything has waited for a good part of the time since the last look. */
static bool is_pressed(struct room *r, const balloon_os_host *host, balloon_time_t now)
{
    uint64_t stalled = higher(host->pressure.full_total, host->cgroup_pressure.full_total);
    uint64_t waited = less(stalled, r->stalled);
    balloon_time_t span = now - r->looked_at;
    bool known = r->looked_at != 0;

    r->stalled = stalled;
    r->looked_at = now;
    return known && waited > span / WAITING &&
           host->effective_available < host->effective_total / SCARCE;
}

void room_look(struct room *r, const balloon_os_host *host, uint64_t resident, balloon_time_t now)
{
    const uint32_t needed = BALLOON_OS_HAS_EFFECTIVE_TOTAL | BALLOON_OS_HAS_EFFECTIVE_AVAILABLE;
    uint64_t step = r->most / STEP, room;
    bool pressed;

    if ((host->present & needed) != needed)
        return;
    pressed = is_pressed(r, host, now);
    room = less(resident + host->effective_available, host->effective_total / KEPT);
    if (pressed)
        room = lower(room, less(r->bytes, step));
    room = lower(higher(room, r->most / LEAST), r->most);
    /* What comes and goes by less than a step is left alone. */
    if (room < r->bytes || room == r->most || room >= r->bytes + 2 * step)
        r->bytes = lower(room, r->bytes + step);
}
