/* What the program shows: lines anywhere, a table that moves on a terminal. */
#ifndef HOST_VIEW_H
#define HOST_VIEW_H

#include "host.h"

struct view {
    struct host *host;
    bool live;
    balloon_time_t begin;
};

void view_open(struct view *view, struct host *host);

/* What has happened, as a line; not while a table is shown. */
void view_tell(void *view, const struct member *member, enum host_event event);

/* The table, once, or over the last one on a terminal. */
void view_table(struct view *view);
void view_close(struct view *view);

#endif
