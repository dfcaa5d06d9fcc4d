/* What the program shows: lines anywhere, a table that moves on a terminal. */
#ifndef HOST_TABLE_H
#define HOST_TABLE_H

#include "host.h"

struct table {
    struct host *host;
    bool live;
    balloon_time_t begin;
    bool said[CONFIG_PLACES]; /* why there are no guests at a place */
    uint64_t pool;            /* how large it was said to be, bytes */
};

void table_open(struct table *table, struct host *host);

/* What has happened, as a line; not while a table is shown. */
void table_tell(void *context, const struct member *member, enum host_event event);

/* After each round: targets are shown once a second at the most, however often they change. */
void table_tick(struct table *table);

/* The table, once, or over the last one on a terminal. */
void table_show(struct table *table);
void table_close(struct table *table);

#endif
