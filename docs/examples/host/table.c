#include "table.h"
#include "domains.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOME  "\033[H"
#define CLEAR "\033[2J"
#define ERASE "\033[K"
#define BELOW "\033[J"

enum { PAGES_PER_MIB = 256 };

static unsigned long long mib(uint64_t pages)
{
    return (pages + PAGES_PER_MIB / 2) / PAGES_PER_MIB;
}

static unsigned long long mib_of(const balloon_sample *sample, balloon_stat stat)
{
    uint64_t bytes = 0;

    (void)balloon_sample_get(sample, stat, &bytes);
    return mib(bytes / BALLOON_PAGE_SIZE);
}

void table_open(struct table *v, struct host *host)
{
    const char *term = getenv("TERM");

    memset(v, 0, sizeof(*v));
    v->host = host;
    v->pool = host->room.bytes;
    v->live = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
    v->begin = host_clock();
    if (v->live)
        fputs(HOME CLEAR, stdout);
}

/* --- lines --------------------------------------------------------------------------------- */

static void print_time(const struct table *v)
{
    printf("%8.2f  ", (double)(host_clock() - v->begin) / 1e9);
}

static void print_target(const struct table *v, const struct member *m)
{
    const balloon_change *c = &m->change;

    print_time(v);
    printf("%s: %llu -> %llu MiB (%s%s)%s\n", m->vmm.name, mib(m->vmm.size / BALLOON_PAGE_SIZE),
           mib(c->target), c->emergency ? "emergency, " : "", balloon_why_text(c->why),
           v->host->dry ? ", not told" : "");
}

static const char *state_of(const struct member *m)
{
    if (vmm_is_silent(&m->vmm, host_clock()))
        return "does not answer";
    if (!m->vmm.running)
        return "paused";
    return m->vmm.driver ? "runs" : "has no balloon driver";
}

void table_tell(void *context, const struct member *m, enum host_event event)
{
    struct table *v = context;

    if (v->live)
        return;
    print_time(v);
    switch (event) {
    case HOST_CAME:
        printf("%s: has %llu of %llu MiB%s\n", m->vmm.name, mib(m->vmm.size / BALLOON_PAGE_SIZE),
               mib(m->vmm.ram / BALLOON_PAGE_SIZE), m->vmm.device[0] ? "" : ", and no balloon");
        break;
    case HOST_WENT:
        printf("%s: has gone\n", m->vmm.name);
        break;
    case HOST_ERROR:
        printf("%s: %s\n", m->vmm.name, m->vmm.error);
        break;
    default:
        printf("%s: %s\n", m->vmm.name, state_of(m));
    }
    fflush(stdout);
}

static void say_errors(struct table *v)
{
    const struct config *config = v->host->config;
    char text[CONFIG_TEXT];

    for (unsigned i = 0; i < config->place_count; i++) {
        bool wrong = domains_error(config->places[i], text, sizeof(text));

        if (wrong && !v->said[i]) {
            print_time(v);
            printf("%s: %s\n", config->places[i], text);
        }
        v->said[i] = wrong;
    }
}

/* In steps of a 32nd. */
static void say_room(struct table *v)
{
    const struct room *room = &v->host->room;
    uint64_t differs = room->bytes > v->pool ? room->bytes - v->pool : v->pool - room->bytes;

    if (differs == 0 || (differs < room->most / 32 && room->bytes != room->most))
        return;
    v->pool = room->bytes;
    print_time(v);
    printf("the pool has %llu of %llu MiB%s\n", mib(room->bytes / BALLOON_PAGE_SIZE),
           mib(room->most / BALLOON_PAGE_SIZE),
           room->bytes < room->most ? ", the host needs the rest" : "");
}

void table_tick(struct table *v)
{
    balloon_time_t now = host_clock();

    if (!v->live) {
        say_errors(v);
        say_room(v);
    }
    for (unsigned i = 0; i < v->host->count && !v->live; i++) {
        struct member *m = v->host->members[i];

        if (m->shown || !m->in_pool || m->change.target == 0 || now < m->shown_at + SECOND)
            continue;
        print_target(v, m);
        m->shown = true;
        m->shown_at = now;
    }
    fflush(stdout);
}

/* --- table --------------------------------------------------------------------------------- */

static const char *const verdicts[] = {"ok", "some wait", "SHORT"};
static const char *const states[] = {"enough", "soft", "hard", "low"};

static const char *end_of_line(const struct table *v)
{
    return v->live ? ERASE "\n" : "\n";
}

static void print_pool(struct table *v)
{
    balloon_pool_status s;

    balloon_pool_status_get(v->host->pool, &s);
    printf("pool %llu MiB: %llu in use, %llu owed, %llu free; memory: %s; %s", mib(s.pages),
           mib(s.used), mib(s.owed), mib(s.pages > s.used + s.owed ? s.pages - s.used - s.owed : 0),
           states[s.state & 3], verdicts[s.verdict < 3 ? s.verdict : 0]);
    if (s.verdict == BALLOON_VERDICT_SHORT)
        printf(" of %llu MiB", mib(s.shortfall));
    fputs(end_of_line(v), stdout);
}

static void print_errors(struct table *v)
{
    const struct config *config = v->host->config;
    char text[CONFIG_TEXT];

    for (unsigned i = 0; i < config->place_count; i++)
        if (domains_error(config->places[i], text, sizeof(text)))
            printf("%s: %s%s", config->places[i], text, end_of_line(v));
}

static void print_member(struct table *v, const struct member *m, balloon_time_t now)
{
    const struct vmm *g = &m->vmm;
    balloon_pool_guest_status s;

    if (!m->in_pool || balloon_pool_guest_get(v->host->pool, m->id, &s) != BALLOON_OK) {
        printf("%-20.20s  %s%s", g->name, g->error[0] ? g->error : "connecting", end_of_line(v));
        return;
    }
    printf("%-20.20s %7llu %7llu %7llu %7llu %7llu %6llu %6u.%u  ", g->name,
           mib(g->ram / BALLOON_PAGE_SIZE), mib(s.config.current), mib(s.target),
           mib_of(&g->sample, BALLOON_STAT_AVAILABLE), mib_of(&g->sample, BALLOON_STAT_FREE),
           mib(s.owed), s.stall / 10000, s.stall / 1000 % 10);
    if (g->error[0])
        printf("%s", g->error);
    else if (vmm_is_silent(g, now))
        printf("does not answer");
    else if (!g->running)
        printf("paused");
    else
        printf("%s", balloon_why_text(s.why));
    fputs(end_of_line(v), stdout);
}

void table_show(struct table *v)
{
    balloon_time_t now = host_clock();

    if (v->live)
        fputs(HOME, stdout);
    print_pool(v);
    printf("%-20s %7s %7s %7s %7s %7s %6s %8s%s", "guest (MiB)", "ram", "size", "target", "avail",
           "free", "owed", "waits %", end_of_line(v));
    for (unsigned i = 0; i < v->host->count; i++)
        print_member(v, v->host->members[i], now);
    if (v->live) {
        print_errors(v);
        fputs(BELOW, stdout);
    }
    fflush(stdout);
}

void table_close(struct table *v)
{
    if (v->live)
        table_show(v);
}
