/* Figures for Prometheus, as text over HTTP: on a Unix socket, or on a port of 127.0.0.1. One
 * answer to whoever connects; nobody is waited for. */
#ifndef HOST_METRICS_H
#define HOST_METRICS_H

#include "host.h"

struct metrics {
    int fd;                   /* listens; -1 when nobody wants figures */
    balloon_time_t accept_at; /* nobody can be accepted before */
    struct metrics_client {
        int fd; /* -1 when free */
        char *answer;
        size_t length, sent;
        balloon_time_t until; /* not longer */
    } clients[4];
};

/* At a path with a slash, or at a port. Returns 0 or an errno. */
int metrics_open(struct metrics *metrics, const char *where);
void metrics_close(struct metrics *metrics);

/* What poll() should wait for, up to 5 descriptors. Returns how many. */
unsigned metrics_polled(const struct metrics *metrics, struct pollfd *polled);
void metrics_serve(struct metrics *metrics, const struct pollfd *polled, unsigned count,
                   const struct host *host);

/* The figures. Returns a text to be freed, or NULL. */
char *metrics_text(const struct host *host);

#endif
