/* Who is there, and in the pool; what guests say, to the pool. */
#include "members.h"
#include "beat.h"
#include "places.h"

#include <stdlib.h>
#include <string.h>

/* Who has come is looked for once a second, when there is something else to do. */
#define SCAN (SECOND * 9 / 10)

/* But at the start there is nothing else to do, and libvirt takes a moment to say. */
#define SCAN_FIRST (SECOND / 5)

/* A guest whose available memory differs by that share of its RAM has done something. */
#define NOTABLE 32

/* For calls that fail only when there is no such guest. */
static void must(balloon_status status)
{
    if (status != BALLOON_OK)
        abort();
}

static uint64_t pages(uint64_t bytes)
{
    return bytes / BALLOON_PAGE_SIZE;
}

static void tell(struct host *h, const struct member *m, enum host_event event)
{
    if (h->tell)
        h->tell(h->context, m, event);
}

/* --- who is there -------------------------------------------------------------------------- */

static struct member *find(struct host *h, const char *path)
{
    for (unsigned i = 0; i < h->count; i++)
        if (strcmp(h->members[i]->vmm.path, path) == 0)
            return h->members[i];
    return NULL;
}

static bool make_room(struct host *h)
{
    unsigned room = h->capacity ? h->capacity * 2 : 16;
    struct member **members;
    struct pollfd *polled;

    if (h->count < h->capacity)
        return true;
    polled = realloc(h->polled, (room + HOST_EXTRA) * sizeof(*polled));
    if (polled == NULL)
        return false;
    h->polled = polled;
    members = realloc(h->members, room * sizeof(struct member *));
    if (members == NULL)
        return false;
    h->members = members;
    h->capacity = room;
    return true;
}

static struct member *add(struct host *h, const char *path)
{
    struct member *m;

    if (h->count == HOST_GUESTS_MOST || !make_room(h))
        return NULL;
    m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    vmm_init(&m->vmm, path);
    h->members[h->count++] = m;
    return m;
}

/* A socket made anew is another guest's, which should not wait for the next try. */
static void found(void *context, const char *path, uint64_t instance)
{
    struct host *h = context;
    struct member *m = find(h, path);

    if (strlen(path) >= VMM_PATH || (m == NULL && (m = add(h, path)) == NULL))
        return;
    m->found = true;
    if (m->instance != instance)
        vmm_retry(&m->vmm);
    m->instance = instance;
}

/* What a guest has that is not in the pool. Huge pages that were set aside for it are nobody's. */
static uint64_t has_unasked(const struct vmm *g)
{
    uint64_t bytes = process_bytes(&g->process);

    return g->process.huge && bytes < g->ram ? g->ram : bytes;
}

/* A guest that cannot be asked, such as a QEMU that was stopped before we came, has memory all the
 * same. When there is no room to set aside for it, all that there is has to do. */
void members_set_aside(struct host *h)
{
    uint64_t unknown = 0;

    for (unsigned i = 0; i < h->count; i++)
        if (!h->members[i]->in_pool && process_lives(&h->members[i]->vmm.process))
            unknown += pages(has_unasked(&h->members[i]->vmm));
    while (balloon_pool_reserve(h->pool, unknown) != BALLOON_OK)
        unknown -= unknown / 4 + 1;
}

static bool is_gone(const struct member *m)
{
    return !m->found && !m->in_pool && m->vmm.state == VMM_AWAY;
}

void members_scan(struct host *h, balloon_time_t now)
{
    unsigned kept = 0;

    if (now < h->scan_at)
        return;
    h->scan_at = now + (now < h->settle_until ? SCAN_FIRST : SCAN);
    for (unsigned i = 0; i < h->count; i++)
        h->members[i]->found = false;
    for (unsigned i = 0; i < h->config->place_count; i++)
        places_visit(h->config->places[i], found, h);
    for (unsigned i = 0; i < h->count; i++) {
        struct member *m = h->members[i];

        if (is_gone(m)) {
            vmm_end(&m->vmm);
            free(m);
        } else {
            h->members[kept++] = m;
        }
    }
    h->count = kept;
}

/* --- into the pool ------------------------------------------------------------------------- */

/* A guest that is paused, or whose QEMU does not answer, keeps what it has: it is not to blame, and
 * goes on where it was. Without a driver that answers it is as large as it is. */
static void judge(struct host *h, struct member *m, balloon_time_t now)
{
    const struct vmm *g = &m->vmm;
    uint32_t flags = 0;

    if (!g->driver || (g->device[0] == '\0' && g->state == VMM_THERE))
        flags |= (uint32_t)BALLOON_GUEST_NO_DRIVER;
    if (!g->running || vmm_is_silent(g, now))
        flags |= (uint32_t)BALLOON_GUEST_PINNED;
    if (!m->in_pool || flags == m->flags)
        return;
    m->flags = flags;
    must(balloon_pool_set_flags(h->pool, m->id, flags, now));
    tell(h, m, m->vmm.error[0] ? HOST_ERROR : HOST_WELL);
}

/* When the minimum that it should have is too much for the pool, it has none: it is there. */
static void adopt(struct host *h, struct member *m, balloon_time_t now)
{
    balloon_pool_guest limits;
    balloon_status status;

    config_limits(h->config, m->vmm.name, m->vmm.ram, &limits);
    limits.current = pages(m->vmm.size);
    /* What was set aside for it must not keep it out; the next decision counts the others again. */
    must(balloon_pool_reserve(h->pool, 0));
    status = balloon_pool_adopt(h->pool, &limits, now, &m->id);
    if (status == BALLOON_ERR_NOSPACE) {
        limits.min = 0;
        status = balloon_pool_adopt(h->pool, &limits, now, &m->id);
    }
    m->in_pool = status == BALLOON_OK;
    m->ram = m->vmm.ram;
    m->flags = 0;
    if (m->in_pool)
        tell(h, m, HOST_CAME);
}

/* Memory was plugged or unplugged. */
static void change_limits(struct host *h, struct member *m)
{
    balloon_pool_guest limits;

    config_limits(h->config, m->vmm.name, m->vmm.ram, &limits);
    if (m->ram != m->vmm.ram && balloon_pool_set_guest(h->pool, m->id, &limits) == BALLOON_OK)
        m->ram = m->vmm.ram;
}

/* After a new connection: nobody knows which of our commands arrived by the old one. */
static void resume(struct host *h, struct member *m, balloon_time_t now)
{
    balloon_pool_guest_status status;

    if (!h->dry && m->vmm.told == 0 && m->change.target != 0 &&
        balloon_pool_guest_get(h->pool, m->id, &status) == BALLOON_OK)
        vmm_set_target(&m->vmm, status.target * BALLOON_PAGE_SIZE, now);
}

static void take_away(struct host *h, struct member *m)
{
    if (m->in_pool) {
        must(balloon_pool_remove(h->pool, m->id));
        tell(h, m, HOST_WENT);
    }
    m->in_pool = false;
    m->change = (balloon_change){0};
}

static bool differs(const balloon_sample *a, const balloon_sample *b, balloon_stat stat,
                    uint64_t least)
{
    uint64_t before = 0, after = 0;

    (void)balloon_sample_get(a, stat, &before);
    (void)balloon_sample_get(b, stat, &after);
    return (after > before ? after - before : before - after) > least;
}

/* Whether the guest has done something since it last had. */
static bool is_notable(struct member *m)
{
    const balloon_sample *last = &m->noted, *now = &m->vmm.sample;
    uint64_t least = m->vmm.ram / NOTABLE;

    if (!differs(last, now, BALLOON_STAT_AVAILABLE, least) &&
        !differs(last, now, BALLOON_STAT_FREE, least) &&
        !differs(last, now, BALLOON_STAT_SWAP_IN, 0))
        return false;
    m->noted = *now;
    return true;
}

static void take_sample(struct host *h, struct member *m, balloon_time_t now)
{
    balloon_sample sample = m->vmm.sample;

    if (config_is_windows(h->config, m->vmm.name) &&
        balloon_sample_get(&sample, BALLOON_STAT_SWAP_IN, NULL))
        sample.present |= BALLOON_SAMPLE_READS;
    must(balloon_pool_sample(h->pool, m->id, &sample, now));
    if (is_notable(m))
        beat_wake(h, now);
}

void members_feed(struct host *h, struct member *m, balloon_time_t now)
{
    struct vmm *g = &m->vmm;
    unsigned news = g->news;

    if (news == 0 || (g->state == VMM_ASKING && !m->in_pool))
        return;
    g->news = 0;
    if (news & VMM_GONE)
        take_away(h, m);
    if (!m->in_pool && g->state == VMM_THERE)
        adopt(h, m, now);
    else if (news & VMM_STATUS && g->error[0])
        tell(h, m, HOST_ERROR);
    judge(h, m, now);
    if (!m->in_pool || g->state != VMM_THERE)
        return;
    if (news & VMM_STATUS) {
        change_limits(h, m);
        resume(h, m, now);
    }
    if (m->size != g->size || news & VMM_STATUS)
        beat_wake(h, now);
    m->size = g->size;
    if (news & VMM_SIZE)
        must(balloon_pool_set_size(h->pool, m->id, pages(g->size), g->size_time));
    if (news & VMM_SAMPLE)
        take_sample(h, m, now);
}

static void count_owed(struct host *h, struct member *m, balloon_time_t now)
{
    if (m->in_pool && m->vmm.state == VMM_THERE)
        must(balloon_pool_set_owed(h->pool, m->id,
                                   pages(process_owed(&m->vmm.process, m->vmm.size, now))));
}

void members_look(struct host *h, struct member *m, balloon_time_t now)
{
    count_owed(h, m, now);
    judge(h, m, now);
}

struct member *members_find(struct host *h, uint64_t id)
{
    for (unsigned i = 0; i < h->count; i++)
        if (h->members[i]->in_pool && h->members[i]->id == id)
            return h->members[i];
    return NULL;
}

uint64_t members_resident(const struct host *h)
{
    uint64_t bytes = 0, now;

    for (unsigned i = 0; i < h->count; i++) {
        const struct vmm *g = &h->members[i]->vmm;

        if (!h->members[i]->in_pool)
            bytes += has_unasked(g);
        else if (g->process.huge) /* given or not, others cannot have it */
            bytes += g->ram;
        else
            bytes += process_guest_bytes(&g->process, &now) ? now : g->size;
    }
    return bytes;
}
