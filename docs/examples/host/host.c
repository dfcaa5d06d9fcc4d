/* The loop: who is there, what is asked when, and what is told to whom. */
#include "host.h"
#include "places.h"

#include <balloon/alloc.h>
#include <balloon/os.h>
#include <balloon/policy.h>

#include <stdlib.h>
#include <string.h>

/* Answers take about that long, so they are asked for before the decision that needs them. */
#define AHEAD (100 * MILLISECOND)

/* At the start all guests are there already, and answer within a second. */
#define SETTLE (2 * SECOND)

balloon_time_t host_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (balloon_time_t)now.tv_sec * SECOND + (balloon_time_t)now.tv_nsec;
}

static uint64_t host_bytes(void)
{
    balloon_os_host host = {.size = sizeof(host)};

    if (balloon_os_host_read(NULL, &host) != BALLOON_OK)
        return 0;
    return host.effective_total;
}

const char *host_init(struct host *h, const struct config *config)
{
    balloon_pool_config setup = {.size = sizeof(setup), .max_guests = HOST_GUESTS_MOST};
    const char *wrong;

    memset(h, 0, sizeof(*h));
    h->config = config;
    h->settle_until = host_clock() + SETTLE;
    h->pages = config_pages(&config->pool, host_bytes());
    setup.pages = h->pages;
    setup.reserve = config_pages(&config->reserve, h->pages * BALLOON_PAGE_SIZE);
    setup.policy = balloon_policy_find(config->policy);
    wrong = balloon_pool_config_check(&setup);
    if (wrong == NULL && balloon_pool_create(&setup, &h->pool) != BALLOON_OK)
        wrong = "no memory for the pool";
    h->polled = calloc(HOST_EXTRA, sizeof(*h->polled));
    if (wrong == NULL && h->polled == NULL)
        wrong = "no memory";
    return wrong;
}

void host_end(struct host *h)
{
    for (unsigned i = 0; i < h->count; i++) {
        vmm_end(&h->members[i]->vmm);
        free(h->members[i]);
    }
    free(h->members);
    free(h->polled);
    balloon_pool_destroy(h->pool);
    memset(h, 0, sizeof(*h));
}

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
    unsigned room = h->room ? h->room * 2 : 16;
    struct member **members;
    struct pollfd *polled;

    if (h->count < h->room)
        return true;
    polled = realloc(h->polled, (room + HOST_EXTRA) * sizeof(*polled));
    if (polled == NULL)
        return false;
    h->polled = polled;
    members = realloc(h->members, room * sizeof(struct member *));
    if (members == NULL)
        return false;
    h->members = members;
    h->room = room;
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
static void found(void *context, const char *path, const struct stat *what)
{
    struct host *h = context;
    struct member *m = find(h, path);

    if (strlen(path) >= VMM_PATH || (m == NULL && (m = add(h, path)) == NULL))
        return;
    m->found = true;
    if (m->inode != what->st_ino || m->made_at != what->st_ctime)
        vmm_retry(&m->vmm);
    m->inode = what->st_ino;
    m->made_at = what->st_ctime;
}

/* A guest that cannot be asked, such as a QEMU that was stopped before we came, has memory all the
 * same. When there is no room to set aside for it, all that there is has to do. */
static void set_aside(struct host *h)
{
    uint64_t unknown = 0;

    for (unsigned i = 0; i < h->count; i++)
        if (!h->members[i]->in_pool && process_lives(&h->members[i]->vmm.process))
            unknown += pages(process_bytes(&h->members[i]->vmm.process));
    while (balloon_pool_reserve(h->pool, unknown) != BALLOON_OK)
        unknown -= unknown / 4 + 1;
}

static bool is_gone(const struct member *m)
{
    return !m->found && !m->in_pool && m->vmm.state == VMM_AWAY;
}

static void scan(struct host *h, balloon_time_t now)
{
    unsigned kept = 0;

    if (now < h->scan_at)
        return;
    h->scan_at = now + SECOND;
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

static void take_sample(struct host *h, struct member *m, balloon_time_t now)
{
    balloon_sample sample = m->vmm.sample;

    if (config_is_windows(h->config, m->vmm.name) &&
        balloon_sample_get(&sample, BALLOON_STAT_SWAP_IN, NULL))
        sample.present |= BALLOON_SAMPLE_READS;
    must(balloon_pool_sample(h->pool, m->id, &sample, now));
}

static void feed(struct host *h, struct member *m, balloon_time_t now)
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

/* --- out of the pool ----------------------------------------------------------------------- */

static struct member *member_of(struct host *h, uint64_t id)
{
    for (unsigned i = 0; i < h->count; i++)
        if (h->members[i]->in_pool && h->members[i]->id == id)
            return h->members[i];
    return NULL;
}

static void decide(struct host *h, balloon_time_t now)
{
    balloon_change change;
    struct member *m;

    set_aside(h);
    h->verdict = balloon_pool_decide(h->pool, now);
    while (balloon_pool_next(h->pool, &change)) {
        m = member_of(h, change.id);
        if (m == NULL)
            continue;
        m->change = change;
        m->shown = false;
        if (!h->dry)
            vmm_set_target(&m->vmm, change.target * BALLOON_PAGE_SIZE, now);
    }
}

bool host_is_complete(const struct host *h)
{
    for (unsigned i = 0; i < h->count; i++)
        if (!h->members[i]->in_pool && h->members[i]->vmm.errors == 0)
            return false;
    return true;
}

/* Ask for what the next decision needs. */
static void ask(struct host *h, balloon_time_t deadline, balloon_time_t now)
{
    for (unsigned i = 0; i < h->count; i++) {
        struct member *m = h->members[i];
        uint32_t wants = m->in_pool ? balloon_pool_wants(h->pool, m->id, deadline) : 0;
        unsigned what = 0;

        if (wants & (uint32_t)BALLOON_POOL_WANTS_SAMPLE)
            what |= VMM_SAMPLE;
        if (wants & (uint32_t)BALLOON_POOL_WANTS_SIZE)
            what |= VMM_SIZE;
        /* Only statistics show that a driver has come, and of a guest without one the pool wants
         * none. */
        if (m->in_pool && !m->vmm.driver && now >= m->driver_at) {
            m->driver_at = now + SECOND;
            what |= VMM_SAMPLE;
        }
        if (what)
            vmm_want(&m->vmm, what, now);
        count_owed(h, m, now);
        judge(h, m, now);
    }
}

static void beat(struct host *h, balloon_time_t now)
{
    balloon_time_t deadline = balloon_pool_deadline(h->pool);

    /* What is not known yet would be promised to those that are. */
    if (h->hold || (now < h->settle_until && !host_is_complete(h))) {
        if (now >= h->ask_at) {
            h->ask_at = now + SECOND;
            ask(h, now, now);
        }
        return;
    }
    if (now >= deadline) {
        decide(h, now);
        deadline = balloon_pool_deadline(h->pool);
        h->ask_at = deadline > now + AHEAD ? deadline - AHEAD : now;
    }
    if (now >= h->ask_at) {
        h->ask_at = BALLOON_TIME_NEVER;
        ask(h, deadline, now);
    }
}

/* --- the round ----------------------------------------------------------------------------- */

static balloon_time_t earlier(balloon_time_t a, balloon_time_t b)
{
    return a < b ? a : b;
}

static balloon_time_t decision_at(const struct host *h)
{
    balloon_time_t due = balloon_pool_deadline(h->pool);

    return due < h->settle_until && !host_is_complete(h) ? h->settle_until : due;
}

static balloon_time_t next_time(const struct host *h)
{
    balloon_time_t next = earlier(h->scan_at, h->ask_at);

    if (!h->hold)
        next = earlier(next, decision_at(h));
    for (unsigned i = 0; i < h->count; i++)
        next = earlier(next, vmm_deadline(&h->members[i]->vmm));
    return next;
}

static int milliseconds(balloon_time_t until)
{
    balloon_time_t now = host_clock();

    if (until <= now)
        return 0;
    if (until - now > 60 * SECOND)
        return 60000;
    return (int)((until - now + MILLISECOND - 1) / MILLISECOND);
}

void host_round(struct host *h, struct pollfd *extra, unsigned extra_count, balloon_time_t until)
{
    unsigned guests = h->count;
    balloon_time_t now;
    int ready;

    for (unsigned i = 0; i < guests; i++)
        h->polled[i] = (struct pollfd){.fd = h->members[i]->vmm.wire.fd,
                                       .events = vmm_events(&h->members[i]->vmm)};
    for (unsigned i = 0; i < extra_count; i++)
        h->polled[guests + i] = extra[i];
    ready = poll(h->polled, guests + extra_count, milliseconds(earlier(until, next_time(h))));
    now = host_clock();
    for (unsigned i = 0; i < extra_count; i++)
        extra[i].revents = ready > 0 ? h->polled[guests + i].revents : 0;
    for (unsigned i = 0; i < guests; i++) {
        struct member *m = h->members[i];

        if (ready > 0 && h->polled[i].revents)
            vmm_bytes(&m->vmm, h->polled[i].revents, now);
        vmm_time(&m->vmm, now);
        feed(h, m, now);
    }
    scan(h, now);
    beat(h, now);
}

static bool is_telling(const struct host *h)
{
    balloon_time_t now = host_clock();

    for (unsigned i = 0; i < h->count; i++)
        if (vmm_is_telling(&h->members[i]->vmm) && !vmm_is_silent(&h->members[i]->vmm, now))
            return true;
    return false;
}

void host_decide(struct host *h)
{
    h->hold = true;
    decide(h, host_clock());
    while (is_telling(h))
        host_round(h, NULL, 0, host_clock() + SECOND / 4);
}
