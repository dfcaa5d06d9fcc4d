#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 4, SECONDS = 5 };

/* --- text ---------------------------------------------------------------------------------- */

struct figure {
    const char *name, *type, *help;
    /* Of one guest; false when it is not known. */
    bool (*value)(const struct host *host, const struct member *m, double *value);
};

static bool statistic(const struct member *m, balloon_stat stat, double *value)
{
    uint64_t found = 0;

    if (!balloon_sample_get(&m->vmm.sample, stat, &found))
        return false;
    *value = (double)found;
    return true;
}

#define STATISTIC(name, stat)                                                                      \
    static bool name(const struct host *host, const struct member *m, double *value)               \
    {                                                                                              \
        (void)host;                                                                                \
        return statistic(m, stat, value);                                                          \
    }
STATISTIC(swap_in, BALLOON_STAT_SWAP_IN)
STATISTIC(swap_out, BALLOON_STAT_SWAP_OUT)
STATISTIC(major_faults, BALLOON_STAT_MAJOR_FAULTS)
STATISTIC(minor_faults, BALLOON_STAT_MINOR_FAULTS)
STATISTIC(not_used, BALLOON_STAT_FREE)
STATISTIC(total, BALLOON_STAT_TOTAL)
STATISTIC(available, BALLOON_STAT_AVAILABLE)
STATISTIC(caches, BALLOON_STAT_CACHES)

static bool of_pool(const struct host *host, const struct member *m, balloon_pool_guest_status *s)
{
    return m->in_pool && balloon_pool_guest_get(host->pool, m->id, s) == BALLOON_OK;
}

static double bytes(uint64_t pages)
{
    return (double)pages * BALLOON_PAGE_SIZE;
}

static bool size(const struct host *host, const struct member *m, double *value)
{
    balloon_pool_guest_status s;

    return of_pool(host, m, &s) && (*value = bytes(s.config.current), true);
}

static bool most(const struct host *host, const struct member *m, double *value)
{
    (void)host;
    *value = (double)m->vmm.ram;
    return m->in_pool;
}

static bool target(const struct host *host, const struct member *m, double *value)
{
    balloon_pool_guest_status s;

    return of_pool(host, m, &s) && (*value = bytes(s.target), true);
}

static bool owed(const struct host *host, const struct member *m, double *value)
{
    balloon_pool_guest_status s;

    return of_pool(host, m, &s) && (*value = bytes(s.owed), true);
}

static bool waits(const struct host *host, const struct member *m, double *value)
{
    balloon_pool_guest_status s;

    return of_pool(host, m, &s) && (*value = s.stall / 1e6, true);
}

static bool up(const struct host *host, const struct member *m, double *value)
{
    (void)host;
    *value = !vmm_is_silent(&m->vmm, host_clock());
    return true;
}

static bool errors(const struct host *host, const struct member *m, double *value)
{
    (void)host;
    *value = (double)m->vmm.errors;
    return true;
}

/* The first ones are called as libvirt's exporter calls them, "available" being the total there. */
static const struct figure figures[] = {
    {"libvirt_domain_info_maximum_memory_bytes", "gauge", "RAM of the guest", most},
    {"libvirt_domain_info_memory_usage_bytes", "gauge", "RAM less the balloon", size},
    {"libvirt_domain_memory_stats_actual_balloon_bytes", "gauge", "RAM less the balloon", size},
    {"libvirt_domain_memory_stats_swap_in_bytes", "counter", "Swapped in", swap_in},
    {"libvirt_domain_memory_stats_swap_out_bytes", "counter", "Swapped out", swap_out},
    {"libvirt_domain_memory_stats_major_fault_total", "counter", "Major faults", major_faults},
    {"libvirt_domain_memory_stats_minor_fault_total", "counter", "Minor faults", minor_faults},
    {"libvirt_domain_memory_stats_unused_bytes", "gauge", "Unused by the guest", not_used},
    {"libvirt_domain_memory_stats_available_bytes", "gauge", "What the guest manages", total},
    {"libvirt_domain_memory_stats_usable_bytes", "gauge", "To be had without swapping", available},
    {"libvirt_domain_memory_stats_disk_cache_bytes", "gauge", "File cache", caches},
    {"balloon_guest_target_bytes", "gauge", "What the guest was asked to be", target},
    {"balloon_guest_owed_bytes", "gauge", "Given by the guest, not back in the host", owed},
    {"balloon_guest_waiting_ratio", "gauge", "Share of time waiting for memory", waits},
    {"balloon_guest_up", "gauge", "Whether its QEMU answers", up},
    {"balloon_guest_errors_total", "counter", "Connections that failed", errors},
};

static void put_label(FILE *out, const char *name)
{
    fputs("{domain=\"", out);
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            fputc('\\', out);
        fputc(*name == '\n' ? ' ' : *name, out);
    }
    fputs("\"} ", out);
}

static void put_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, type);
}

static void put_one(FILE *out, const char *name, const char *type, const char *help, double value)
{
    put_head(out, name, type, help);
    fprintf(out, "%s %.17g\n", name, value);
}

static void put_pool(FILE *out, const struct host *h)
{
    balloon_pool_counters c;
    balloon_pool_status s;

    balloon_pool_status_get(h->pool, &s);
    balloon_pool_counters_get(h->pool, &c);
    put_one(out, "balloon_pool_bytes", "gauge", "Memory for all guests", bytes(s.pages));
    put_one(out, "balloon_pool_configured_bytes", "gauge",
            "What it should be; the host needs the rest", (double)h->room.most);
    put_one(out, "balloon_pool_used_bytes", "gauge", "Sum of the guests' sizes", bytes(s.used));
    put_one(out, "balloon_pool_owed_bytes", "gauge", "Given and not back", bytes(s.owed));
    put_one(out, "balloon_pool_shortfall_bytes", "gauge",
            "What no balloon can bring: guests must move, swap or end",
            s.verdict == BALLOON_VERDICT_SHORT ? bytes(s.shortfall) : 0);
    put_one(out, "balloon_pool_verdict", "gauge", "0 all well, 1 some wait, 2 short",
            (double)s.verdict);
    put_one(out, "balloon_pool_guests", "gauge", "Guests in the pool", s.guests);
    put_one(out, "balloon_pool_changes_total", "counter", "Targets set", (double)c.changes);
}

char *metrics_text(const struct host *h)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    double value;

    if (out == NULL)
        return NULL;
    put_pool(out, h);
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        put_head(out, figures[i].name, figures[i].type, figures[i].help);
        for (unsigned k = 0; k < h->count; k++) {
            if (!figures[i].value(h, h->members[k], &value))
                continue;
            fputs(figures[i].name, out);
            put_label(out, h->members[k]->vmm.name);
            fprintf(out, "%.17g\n", value);
        }
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* --- sockets ------------------------------------------------------------------------------- */

static int listen_at_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat what;
    int fd;

    if (strlen(path) >= sizeof(address.sun_path))
        return errno = ENAMETOOLONG, -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (lstat(path, &what) == 0 && S_ISSOCK(what.st_mode))
        unlink(path); /* of a program before this one */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4)))
        return close(fd), -1;
    return fd;
}

static int listen_at_port(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    unsigned long number = strtoul(port, NULL, 10);
    int fd, on = 1;

    if (number == 0 || number > 65535 || port[strspn(port, "0123456789")])
        return errno = EINVAL, -1;
    address.sin_port = htons((uint16_t)number);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4))
        return close(fd), -1;
    return fd;
}

int metrics_open(struct metrics *m, const char *where)
{
    m->fd = -1;
    m->accept_at = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        m->clients[i] = (struct metrics_client){.fd = -1};
    if (where[0] == '\0')
        return 0;
    m->fd = strchr(where, '/') ? listen_at_path(where) : listen_at_port(where);
    return m->fd < 0 ? errno : 0;
}

static void end_client(struct metrics_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->answer);
    *c = (struct metrics_client){.fd = -1};
}

void metrics_close(struct metrics *m)
{
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
    for (unsigned i = 0; i < CLIENTS; i++)
        end_client(&m->clients[i]);
}

unsigned metrics_polled(const struct metrics *m, struct pollfd *polled)
{
    unsigned count = 0;

    if (m->fd < 0)
        return 0;
    polled[count++] =
        (struct pollfd){.fd = host_clock() < m->accept_at ? -1 : m->fd, .events = POLLIN};
    for (unsigned i = 0; i < CLIENTS; i++)
        polled[count++] = (struct pollfd){.fd = m->clients[i].fd,
                                          .events = m->clients[i].answer ? POLLOUT : POLLIN};
    return count;
}

static void prepare_answer(struct metrics_client *c, const struct host *h)
{
    char *text = metrics_text(h), *whole = NULL;
    size_t room = text ? strlen(text) + 160 : 0;

    if (text && (whole = malloc(room)) != NULL)
        c->length =
            (size_t)snprintf(whole, room,
                             "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                             "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                             strlen(text), text);
    c->answer = whole;
    free(text);
    if (whole == NULL)
        end_client(c);
}

/* Whatever is asked for, there is one answer. */
static void serve_client(struct metrics_client *c, const struct host *h)
{
    char request[4096];
    ssize_t count;

    if (c->answer == NULL) {
        count = recv(c->fd, request, sizeof(request), MSG_DONTWAIT);
        if (count > 0)
            prepare_answer(c, h);
        else if (count == 0 || errno != EAGAIN)
            end_client(c);
        return;
    }
    count = send(c->fd, c->answer + c->sent, c->length - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0)
        c->sent += (size_t)count;
    if (c->sent == c->length || (count < 0 && errno != EAGAIN)) {
        shutdown(c->fd, SHUT_WR);
        end_client(c);
    }
}

/* When all places are taken, the oldest has to go. Who cannot be accepted, as for want of
 * descriptors, goes on knocking, and is heard a second later. */
static void take_client(struct metrics *m)
{
    int fd = accept4(m->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct metrics_client *place = &m->clients[0];

    if (fd < 0) {
        m->accept_at = host_clock() + SECOND;
        return;
    }
    for (unsigned i = 1; i < CLIENTS; i++)
        if (place->fd >= 0 && (m->clients[i].fd < 0 || m->clients[i].until < place->until))
            place = &m->clients[i];
    end_client(place);
    place->fd = fd;
    place->until = host_clock() + SECONDS * SECOND;
}

void metrics_serve(struct metrics *m, const struct pollfd *polled, unsigned count,
                   const struct host *h)
{
    if (count == 0)
        return;
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (polled[i + 1].revents && m->clients[i].fd >= 0)
            serve_client(&m->clients[i], h);
        if (m->clients[i].fd >= 0 && host_clock() > m->clients[i].until)
            end_client(&m->clients[i]);
    }
    if (polled[0].revents)
        take_client(m);
}
