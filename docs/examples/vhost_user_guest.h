/* What the parts of the example share: its guests, and how it speaks. */
#ifndef VHOST_USER_GUEST_H
#define VHOST_USER_GUEST_H

#include "vhost_user.h"

#include <balloon/device.h>
#include <balloon/os.h>

#include <signal.h>

enum { GUESTS_MAX = 16, PAGES_PER_MIB = 256 };

struct guest {
    unsigned number;
    const char *path;
    int listener;
    struct vu_session session;
    balloon_device *device;
    balloon_os *os;
    uint32_t region_of[VU_REGIONS]; /* the device's number for memory.region[slot] */
    const char *memory_refused;     /* why the last memory table was, or NULL */
    balloon_time_t memory_due;      /* when there should have been one */
    uint8_t config_read[BALLOON_VIRTIO_CONFIG_BYTES]; /* as the front-end saw it last */
    uint64_t wish;   /* the target to set when guest memory is known, in pages */
    bool on_its_way; /* to a target; what comes back gathers until it is there */
    struct late_ack {
        bool waits;
        uint16_t head;
    } late[VU_QUEUES];    /* buffers that the device gave back while their ring stood still */
    unsigned stats_asked; /* "stats" commands that wait for an answer */
};

extern struct guest guests[GUESTS_MAX];
extern unsigned guest_count;
extern volatile sig_atomic_t quit;

balloon_time_t now(void);

/* Do what the library asks for, until it has nothing more. */
void guest_act(struct guest *g);

/* For calls that only fail when this program is wrong. */
void check(balloon_status status, const char *what);
#define CHECK(call) check((call), #call)

/* vhost_user_device.c: the transport asks, and a front-end has not brought its memory in time. */
extern const struct vu_device guest_callbacks;
void guest_memory_missing(struct guest *g);

/* vhost_user_output.c: a part of a line, like printf(), and the line goes out when it is whole.
 * Lines that nobody reads wait, then are lost. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool say_waits(void); /* something is to be written: say_on() when it can be */
void say_on(void);
void say_last(void); /* give it a little time at the end */

/* vhost_user_control.c: read and obey commands; say things, a JSON object a line. */
void commands(void);
void say_event(const struct guest *g, const char *event);
void say_why(const struct guest *g, const char *event, const char *why);
void say_stats(struct guest *g, bool late);

#endif
