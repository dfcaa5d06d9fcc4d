/* When what is asked of whom, and when is decided. */
#include "beat.h"
#include "members.h"

#include <poll.h>

/* Guests take about that long to answer, so they are asked before the decision that needs it. */
#define AHEAD (100 * MILLISECOND)

/* What QEMU itself knows it says within milliseconds; who does not, is not waited for. */
#define NAP         (4 * MILLISECOND)
#define ANSWER_MOST (50 * MILLISECOND)

/* After so long without any news, seconds are longer. */
#define QUIET     (30 * SECOND)
#define STRETCHED (SECOND * 9 / 4)

/* --- decisions ----------------------------------------------------------------------------- */

void beat_wake(struct host *h, balloon_time_t now)
{
    h->quiet_at = now + QUIET;
}

/* When to decide: as the pool says, or when all has been quiet, later. */
static balloon_time_t due(const struct host *h)
{
    balloon_time_t deadline = balloon_pool_deadline(h->pool);

    if (h->calm_until && deadline == h->calm_until && deadline >= h->quiet_at)
        return deadline + STRETCHED - SECOND;
    return deadline;
}

/* The pool is as large as the host has room for. */
static void follow_host(struct host *h, balloon_time_t now)
{
    balloon_os_host host = {.size = sizeof(host)};
    uint64_t before = h->room.bytes, pages, reserve;

    if (now < h->room_at)
        return;
    h->room_at = now + SECOND * 9 / 10;
    if (balloon_os_host_read(h->root, &host) != BALLOON_OK)
        host.present = 0;
    room_look(&h->room, &host, members_resident(h), now);
    if (h->room.bytes == before)
        return;
    beat_wake(h, now);
    pages = h->room.bytes / BALLOON_PAGE_SIZE;
    reserve = h->reserve;
    if (reserve > pages / 4) /* it goes with the pool, or nothing would be left */
        reserve = pages / 4;
    if (balloon_pool_resize(h->pool, pages, reserve) != BALLOON_OK)
        h->room.bytes = before;
}

void beat_decide(struct host *h, balloon_time_t now)
{
    balloon_time_t deadline;
    balloon_change change;
    struct member *m;

    follow_host(h, now);
    members_set_aside(h);
    h->answer_until = h->nap_until = 0;
    h->verdict = balloon_pool_decide(h->pool, now);
    while (balloon_pool_next(h->pool, &change)) {
        m = members_find(h, change.id);
        if (m == NULL)
            continue;
        m->change = change;
        m->shown = false;
        if (!h->dry)
            vmm_set_target(&m->vmm, change.target * BALLOON_PAGE_SIZE, now);
        beat_wake(h, now);
    }
    deadline = balloon_pool_deadline(h->pool);
    h->calm_until = deadline > now + AHEAD ? deadline : 0;
    if (h->calm_until == 0)
        beat_wake(h, now);
    h->ask_at = h->calm_until ? due(h) - AHEAD : now;
}

/* --- questions ----------------------------------------------------------------------------- */

/* Ask for what the next decision needs; in a hurry, the guests themselves. Of a guest without a
 * driver the pool wants no statistics, but they show that one has come. */
static unsigned wishes(const struct host *h, struct member *m, unsigned sample,
                       balloon_time_t deadline, balloon_time_t now)
{
    uint32_t wants = balloon_pool_wants(h->pool, m->id, deadline);
    unsigned what = 0;

    if (wants & (uint32_t)BALLOON_POOL_WANTS_SAMPLE)
        what |= sample;
    if (wants & (uint32_t)BALLOON_POOL_WANTS_SIZE)
        what |= VMM_SIZE;
    if (!m->vmm.driver && now >= m->driver_at) {
        m->driver_at = now + SECOND * 3 / 4;
        what |= VMM_STATS;
    }
    return what;
}

static void ask(struct host *h, balloon_time_t deadline, balloon_time_t now)
{
    for (unsigned i = 0; i < h->count; i++) {
        struct member *m = h->members[i];

        if (m->in_pool)
            vmm_want(&m->vmm, wishes(h, m, VMM_SAMPLE, deadline, now), now);
        members_look(h, m, now);
    }
}

/* When all is calm nobody waits for what QEMU asks its guest for, once a second; but that second
 * should end shortly before ours. When one does not, all are set again, to wake up seldom. */
static bool can_nudge(const struct member *m)
{
    return m->in_pool && m->vmm.driver && m->vmm.state == VMM_THERE;
}

static void nudge(struct host *h, balloon_time_t now)
{
    for (unsigned i = 0; i < h->count; i++)
        if (can_nudge(h->members[i]))
            vmm_want(&h->members[i]->vmm, VMM_NUDGE, now);
    h->nap_until = due(h); /* that it was done is no news */
}

static bool anyone_needs_nudge(const struct host *h)
{
    for (unsigned i = 0; i < h->count; i++)
        if (can_nudge(h->members[i]) && !vmm_is_in_step(&h->members[i]->vmm, due(h)))
            return true;
    return false;
}

static void hear(struct host *h, struct member *m, balloon_time_t now)
{
    vmm_bytes(&m->vmm, POLLIN, now);
    members_feed(h, m, now);
}

/* The decision is due: ask all QEMUs at once for what they know. What else is to be done in this
 * second is done while they answer. */
static void look(struct host *h, balloon_time_t now)
{
    for (unsigned i = 0; i < h->count; i++) {
        struct member *m = h->members[i];
        unsigned what;

        if (vmm_is_asked(&m->vmm))
            hear(h, m, now);
        what = m->in_pool ? wishes(h, m, VMM_STATS, now, now) : 0;
        m->looked = what != 0 && !vmm_is_asked(&m->vmm);
        if (what)
            vmm_want(&m->vmm, what, now);
    }
    for (unsigned i = 0; i < h->count; i++)
        members_look(h, h->members[i], now);
    h->nap_until = now + NAP;
    h->answer_until = now + ANSWER_MOST;
}

/* Take in what has come; returns whether all has that was asked for by look(). */
static bool collect(struct host *h, balloon_time_t now)
{
    bool complete = true;

    for (unsigned i = 0; i < h->count; i++) {
        struct member *m = h->members[i];

        if (!m->looked)
            continue;
        if (vmm_is_asked(&m->vmm))
            hear(h, m, now);
        m->looked = vmm_is_asked(&m->vmm);
        complete = complete && !m->looked;
    }
    return complete;
}

/* What is not known yet would be promised to those that are. */
static void only_look(struct host *h, balloon_time_t now)
{
    if (now < h->ask_at)
        return;
    h->ask_at = now + SECOND;
    ask(h, now, now);
}

/* When somebody is found to wait, the decision does not. */
static bool is_known(struct host *h, balloon_time_t now)
{
    return h->answer_until == 0 || collect(h, now) || now >= h->answer_until ||
           balloon_pool_deadline(h->pool) != h->calm_until;
}

/* On a busy host answers take longer: the next look is twice as late as this one. */
static void nap_again(struct host *h, balloon_time_t now)
{
    balloon_time_t begun = h->answer_until - ANSWER_MOST, then = now + (now - begun);

    h->nap_until = then < h->answer_until ? then : h->answer_until;
}

static bool settles(const struct host *h, balloon_time_t now)
{
    return now < h->settle_until && !host_is_complete(h);
}

void beat(struct host *h, balloon_time_t now)
{
    if (h->hold || settles(h, now)) {
        only_look(h, now);
        return;
    }
    if (h->calm_until && h->answer_until == 0 && now >= due(h) &&
        balloon_pool_deadline(h->pool) == h->calm_until) {
        look(h, now);
        now = host_clock();
    }
    if (now >= due(h)) {
        if (is_known(h, now))
            beat_decide(h, now);
        else if (h->nap_until == 0)
            nap_again(h, now);
    }
    if (now < h->ask_at || h->answer_until)
        return;
    if (h->calm_until && anyone_needs_nudge(h))
        nudge(h, now);
    else if (h->calm_until == 0)
        ask(h, balloon_pool_deadline(h->pool), now);
    h->ask_at = BALLOON_TIME_NEVER;
}

balloon_time_t beat_at(const struct host *h)
{
    balloon_time_t next;

    if (h->hold)
        return h->ask_at;
    if (h->nap_until || h->answer_until)
        return h->nap_until ? h->nap_until : h->answer_until;
    next = due(h);
    if (next < h->settle_until && !host_is_complete(h))
        return h->scan_at < h->settle_until ? h->scan_at : h->settle_until;
    if (h->ask_at < next && (h->calm_until == 0 || anyone_needs_nudge(h)))
        next = h->ask_at;
    return next;
}

bool beat_naps(const struct host *h)
{
    return h->nap_until != 0;
}
