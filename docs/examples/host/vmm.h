/* One guest, spoken to by QMP: a state machine that is told of time and of bytes, and never
 * waits. It finds the balloon of the guest, asks for what is wanted, and tells what is new. */
#ifndef HOST_VMM_H
#define HOST_VMM_H

#include "process.h"
#include "wire.h"

#include <balloon/stats.h>

#define SECOND      UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

/* More than a socket's path can have: one that is too long is an error that is told. */
enum { VMM_PATH = 512, VMM_NAME = 64, VMM_TEXT = 128 };

enum vmm_state {
    VMM_AWAY,   /* no connection; tried again later */
    VMM_ASKING, /* connected; finding out what is there */
    VMM_THERE   /* all is known that a pool needs */
};

/* What can be wanted, and what can be new. */
enum {
    VMM_SIZE = 1 << 0,
    VMM_SAMPLE = 1 << 1,
    VMM_TARGET = 1 << 2, /* wanted: tell it; new: it was told */
    VMM_STATUS = 1 << 3, /* new: paused or running, rebooted, connected or not */
    VMM_GONE = 1 << 4,   /* new: nothing is left of it */
    VMM_STATS =
        1 << 5, /* wanted: a sample, if QEMU has a new one; it asks once a second by itself */
    VMM_NUDGE = 1 << 6 /* wanted: that QEMU asks now, and each second from now on */
};

/* Commands that wait for their answers: one talk's. */
enum { VMM_PENDING = 5 };

struct vmm_pending {
    uint64_t id;
    unsigned command; /* a talk_command */
};

struct vmm {
    char path[VMM_PATH]; /* of its QMP socket, or what places.h has for one */
    char name[VMM_NAME];
    enum vmm_state state;
    struct wire wire;
    char device[VMM_PATH]; /* QOM path of its balloon; empty when it has none */

    /* What is known. Sizes in bytes. */
    uint64_t ram, size;
    balloon_time_t size_time; /* when it was asked for */
    balloon_sample sample;    /* the last one */
    bool driver;              /* a balloon driver is at work */
    bool running;
    struct process process;
    unsigned news;
    char error[VMM_TEXT]; /* why it is not there, or does not answer; empty when all is well */
    uint64_t errors;      /* how many there were */

    /* The conversation. */
    bool greeted;
    unsigned step;     /* of finding out: a talk_command */
    unsigned sampling; /* where taking statistics has got to */
    unsigned wanted;   /* what to ask for, or to tell */
    struct vmm_pending pending[VMM_PENDING];
    unsigned pending_count;
    unsigned command;        /* a talk_command: whose answer is read */
    uint64_t last_id;        /* of the last command */
    balloon_time_t asked_at; /* when they were sent, or the connection made */
    uint64_t target, told;   /* what the guest should be asked for, and was; bytes, 0 for nothing */
    uint64_t stamp;          /* of the last statistics, as QEMU has it */
    bool look;               /* look for the answer of the guest */
    unsigned looks;          /* how often that was done */
    balloon_time_t look_at;  /* when to look again */
    balloon_time_t nudged_at; /* since when QEMU asks in step; 0 when it does not */
    balloon_time_t retry_at, retry_delay;
    uint64_t interval; /* guest-stats-polling-interval; UINT64_MAX when it has none */
    uint64_t
        restore; /* the one it is given back, which another program may have set; or the same */
};

/* A guest at a path; connects with the first vmm_time(). */
void vmm_init(struct vmm *vmm, const char *path);

/* Leave the guest as it is, but for its polling interval, which it gets back. */
void vmm_end(struct vmm *vmm);

/* There is a reason to try again at once to connect. */
void vmm_retry(struct vmm *vmm);

/* What poll() should wait for: POLLIN, POLLOUT, or 0 without connection. */
short vmm_events(const struct vmm *vmm);

/* When vmm_time() has something to do next; BALLOON_NEVER when only bytes can change anything. */
balloon_time_t vmm_deadline(const struct vmm *vmm);

/* Time has passed; bytes may have come. */
void vmm_time(struct vmm *vmm, balloon_time_t now);
void vmm_bytes(struct vmm *vmm, short events, balloon_time_t now);

/* Ask for what is wanted: VMM_SIZE, VMM_SAMPLE, VMM_STATS, VMM_NUDGE. All that is wanted goes out
 * in one write, once the last talk has ended. */
void vmm_want(struct vmm *vmm, unsigned what, balloon_time_t now);

/* Ask the guest to be that large. */
void vmm_set_target(struct vmm *vmm, uint64_t bytes, balloon_time_t now);

/* Whether a target is on its way to QEMU. */
bool vmm_is_telling(const struct vmm *vmm);

/* Whether an answer is awaited. */
bool vmm_is_asked(const struct vmm *vmm);

/* Whether QEMU asks its guest once a second at about the time of the last VMM_NUDGE, as far as is
 * known: the guest takes some milliseconds, and the second begins after that. */
bool vmm_is_in_step(const struct vmm *vmm, balloon_time_t now);

/* Whether a command has waited for its answer for two seconds. */
bool vmm_is_silent(const struct vmm *vmm, balloon_time_t now);

#endif
