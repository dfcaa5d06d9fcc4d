/* The guests of a host: who is there, what they say to the pool, and what it is told of them. */
#ifndef HOST_MEMBERS_H
#define HOST_MEMBERS_H

#include "host.h"

/* Look for guests that have come, and drop those that have gone; not more than once a second,
 * however often it is called. */
void members_scan(struct host *host, balloon_time_t now);

/* Pass on what a guest has said. */
void members_feed(struct host *host, struct member *member, balloon_time_t now);

/* What is known without asking: whether it answers, and what it has given that did not come back.
 */
void members_look(struct host *host, struct member *member, balloon_time_t now);

/* Before a decision: count what guests have that cannot be asked. */
void members_set_aside(struct host *host);

/* What guests have of the host's memory now, bytes; of one that cannot be looked at, its size. What
 * they had before does not go with what the host has left now: one that grows would be in neither.
 */
uint64_t members_resident(const struct host *host);

/* The guest of that number in the pool, or NULL. */
struct member *members_find(struct host *host, uint64_t id);

#endif
