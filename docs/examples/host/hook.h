/* A program that is run when no balloon can bring what is missing: somebody above this host has to
 * move or end a guest. */
#ifndef HOST_HOOK_H
#define HOST_HOOK_H

#include <balloon/pool.h>

#include <sys/types.h>

struct hook {
    const char *command; /* for /bin/sh; empty for none */
    pid_t running;       /* or 0 */
    balloon_time_t again_at;
};

/* After each round. The program is run when the pool is short, once a minute as long as it is, and
 * one at a time; BALLOON_SHORT_MIB in its environment is how much is missing. */
void hook_tick(struct hook *hook, const balloon_pool *pool, balloon_time_t now);

#endif
