/* What the two halves of the example share: its guests, and how it speaks. */
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
    uint64_t wish;                  /* the target to set when guest memory is known, in pages */
    void *saved;                    /* the device, while its rings are stopped */
    size_t saved_bytes;
    unsigned stats_asked; /* "stats" commands that wait for an answer */
};

extern struct guest guests[GUESTS_MAX];
extern unsigned guest_count;
extern volatile sig_atomic_t quit;

balloon_time_t now(void);

/* Do what the library asks for, until it has nothing more. */
void guest_act(struct guest *g);

/* vhost_user_control.c: read and obey commands; say things, a JSON object a line. */
void commands(void);
void say_event(const struct guest *g, const char *event);
void say_stats(struct guest *g, bool late);

#endif
