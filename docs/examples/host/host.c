/* The loop: who is there, what is asked when, and what is told to whom. */
#include "host.h"
#include "beat.h"
#include "domains.h"
#include "members.h"

#include <balloon/alloc.h>
#include <balloon/os.h>
#include <balloon/policy.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    for (unsigned i = 0; i < config->place_count; i++)
        if (places_is_uri(config->places[i]) && domains_missing())
            return domains_missing();
    h->config = config;
    h->settle_until = host_clock() + SETTLE;
    setup.pages = config_pages(&config->pool, host_bytes());
    room_init(&h->room, setup.pages * BALLOON_PAGE_SIZE);
    setup.reserve = h->reserve = config_pages(&config->reserve, h->room.most);
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
    domains_end();
    free(h->members);
    free(h->polled);
    balloon_pool_destroy(h->pool);
    memset(h, 0, sizeof(*h));
}

bool host_is_complete(const struct host *h)
{
    if (!domains_settled())
        return false;
    for (unsigned i = 0; i < h->count; i++)
        if (!h->members[i]->in_pool && h->members[i]->vmm.errors == 0)
            return false;
    return true;
}

/* --- the round ----------------------------------------------------------------------------- */

static balloon_time_t earlier(balloon_time_t a, balloon_time_t b)
{
    return a < b ? a : b;
}

static balloon_time_t next_time(const struct host *h)
{
    balloon_time_t next = beat_at(h);

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

/* Guests that were asked all at once are listened to when most have answered. Who has no connection
 * is left out: poll() takes no more than there may be open files. Returns how many guests these
 * are. */
static unsigned listen_to(struct host *h, struct pollfd *extra, unsigned extra_count)
{
    unsigned count = 0;

    for (unsigned i = 0; i < h->count; i++) {
        const struct vmm *g = &h->members[i]->vmm;

        if (g->wire.fd >= 0)
            h->polled[count++] =
                (struct pollfd){.fd = g->wire.fd, .events = beat_naps(h) ? 0 : vmm_events(g)};
    }
    for (unsigned i = 0; i < extra_count; i++)
        h->polled[count + i] = extra[i];
    return count;
}

void host_round(struct host *h, struct pollfd *extra, unsigned extra_count, balloon_time_t until)
{
    unsigned polled = listen_to(h, extra, extra_count), at = 0;
    balloon_time_t now;
    int ready;

    ready = poll(h->polled, polled + extra_count, milliseconds(earlier(until, next_time(h))));
    if (ready < 0 && errno != EINTR)
        h->error = errno;
    now = host_clock();
    if (now >= h->nap_until)
        h->nap_until = 0;
    for (unsigned i = 0; i < extra_count; i++)
        extra[i].revents = ready > 0 ? h->polled[polled + i].revents : 0;
    for (unsigned i = 0; i < h->count; i++) {
        struct member *m = h->members[i];
        short events = 0;

        if (at < polled && h->polled[at].fd == m->vmm.wire.fd)
            events = h->polled[at++].revents;
        if (ready > 0 && events)
            vmm_bytes(&m->vmm, events, now);
        vmm_time(&m->vmm, now);
        members_feed(h, m, now);
    }
    members_scan(h, now);
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
    beat_decide(h, host_clock());
    while (is_telling(h) && h->error == 0)
        host_round(h, NULL, 0, host_clock() + SECOND / 4);
}
