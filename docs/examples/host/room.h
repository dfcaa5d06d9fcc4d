/* How much memory guests may have now: what was configured, or less when the host, or the cgroup of
 * this program, needs it for others. */
#ifndef HOST_ROOM_H
#define HOST_ROOM_H

#include <balloon/os.h>

#include <stdint.h>

struct room {
    uint64_t most;    /* what was configured, bytes */
    uint64_t bytes;   /* what there is now */
    uint64_t stalled; /* of the pressure information at the last look, nanoseconds */
    balloon_time_t looked_at;
};

void room_init(struct room *room, uint64_t most);

/* Look again: guests have so many bytes of the host's memory, and that is how the host is. While a
 * host does not say, all stays as it is: one that never does has enough. Less room counts at once,
 * more of it bit by bit. */
void room_look(struct room *room, const balloon_os_host *host, uint64_t resident,
               balloon_time_t now);

#endif
