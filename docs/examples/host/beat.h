/* The beat of a host: when is what asked of whom, and when is decided.
 *
 * While somebody waits for memory, or memory is on its way, the pool decides ten times a second,
 * and in between guests themselves are asked for what counts. When all is calm it decides once a
 * second. Then each QEMU asks its guest by itself; at the end of the second all are asked at once
 * for what they know, what else there is to do is done, and their answers are read together: the
 * process wakes up twice. After half a minute in which nothing has happened it does so less often.
 */
#ifndef HOST_BEAT_H
#define HOST_BEAT_H

#include "host.h"

/* Do what is due, and when there is something to do again. */
void beat(struct host *host, balloon_time_t now);
balloon_time_t beat_at(const struct host *host);

/* Whether guests should be listened to only when beat_at() has come. */
bool beat_naps(const struct host *host);

/* Decide now. */
void beat_decide(struct host *host, balloon_time_t now);

/* Something has happened. */
void beat_wake(struct host *host, balloon_time_t now);

#endif
