/* Inside the driver. The bindings of the transports share it; each keeps its own state in the
 * driver's room for it. */
#ifndef BALLOON_DRIVER_DRIVER_P_H
#define BALLOON_DRIVER_DRIVER_P_H

#include <stdalign.h>

#include <balloon/driver.h>

#include "../core/sized.h"

#define LARGE_PAGES     512u /* 2 MiB, the large page of all transports that have one */
#define REPORT_RUNS     32u  /* what Linux reports at a time */
#define MESSAGE_ENTRIES 512u /* most answers to one message that differ from each other */
#define RELEASE_RUNS    512u /* most ranges that a host gives back at a time */

/* Room for the state of one binding. */
#define DRIVER_ROOM_BYTES 320

/* Pages are on their way in one direction at a time, as one operation: asked for, sent in one or
 * more messages, answered one by one. */
enum driver_op { OP_NONE = 0, OP_INFLATE = 1, OP_DEFLATE = 2, OP_COUNT = 3 };

enum driver_phase {
    PHASE_ASK = 0,   /* an ALLOC or TAKE is due */
    PHASE_ASKED = 1, /* the kernel has it */
    PHASE_SEND = 2,  /* a SEND is due */
    PHASE_SENT = 3   /* the host has it, or is about to */
};

/* What a transport lets guests do. */
struct driver_traits {
    uint32_t chunk_pages;   /* most pages of an operation: driver_chunk() */
    uint64_t message_pages; /* most pages of a message; 0: no limit */
    uint32_t message_runs;  /* most runs of it; with in_units, most units; 0: no limit */
    uint32_t message_bytes; /* room that its write function wants */
    balloon_pfn_t pfn_end;  /* page numbers end here; 0: no limit */
    bool may_deflate;       /* pages leave the balloon as the guest wishes */
    bool may_oom;           /* even below the target */
    bool in_units;          /* all of a message is in large pages, or all in the guest's own */
    bool no_large;          /* and large ones are not known */
    bool deflate_first;     /* a page that is to be replaced leaves before its substitute comes */
};

/* What a transport adds to the driver. */
struct driver_binding {
    /* What to do next, before what the driver itself wants; and when. */
    bool (*poll)(balloon_driver *d, balloon_time_t now, balloon_driver_action *action);
    balloon_time_t (*deadline)(const balloon_driver *d);
    /* The session is over. */
    void (*reset)(balloon_driver *d);
    /* The kernel has answered STATS. May be NULL. */
    void (*stats)(balloon_driver *d, const balloon_sample *sample, balloon_time_t now);
    /* May the driver come to rest? NULL: yes. */
    bool (*idle)(const balloon_driver *d);
    /* RAM was plugged in or unplugged. May be NULL. */
    void (*resized)(balloon_driver *d);
    /* So many pages were declared to be out. May be NULL. */
    void (*declared)(balloon_driver *d, uint64_t pages);
    /* The kernel has no pages to lend for a hint or a report, or none that can be used. NULL where
     * nothing is lent. */
    void (*loan_refused)(balloon_driver *d, bool hint, balloon_time_t now);
};

/* Free pages that the kernel has lent for a message: hints, reports. */
struct driver_loan {
    enum driver_phase phase;
    bool active;                     /* phase means something */
    bool back;                       /* runs are the kernel's again: a FREE is due */
    bool zeroed;                     /* and read as zeros, which is due before */
    uint32_t count;                  /* of runs */
    balloon_range runs[REPORT_RUNS]; /* on their way */
};

struct balloon_driver {
    const struct driver_binding *binding; /* NULL: detached */
    struct driver_traits traits;
    balloon_tracker *tracker; /* pages of the balloon and on their way into it; NULL: the kernel
                                 keeps the list */
    uint64_t total, floor, target;
    uint64_t listed; /* without tracker: pages of the balloon */
    uint64_t on_way; /* pages on their way into it */
    uint32_t page_pages, chunk_runs, block_pages, report_block, poison;
    uint32_t chunk_wanted; /* as configured; 0: what is best on the transport */
    uint32_t chunk_pages;  /* in use */
    balloon_time_t retry_delay, oom_delay, report_delay;
    bool default_floor; /* the floor follows the total */
    bool poisoned, deflate_on_oom, can_stats, can_report, can_hint;

    balloon_driver_state state;

    enum driver_op op;
    enum driver_phase phase;
    uint64_t asked;      /* pages of the ALLOC or TAKE */
    balloon_range *runs; /* of the operation; room for chunk_runs + 1 */
    uint32_t run_count;
    uint32_t slice;      /* runs that the message has */
    uint32_t at;         /* run whose answer is next, */
    uint64_t at_page;    /* and page of it */
    bool migrating;      /* the operation replaces a page; */
    bool migrate_second; /* its first half is done */
    balloon_pfn_t from, to;
    balloon_pfn_t pick_from; /* pages leave from here on: behind the last one refused */

    uint64_t window;                /* pages to ask for at the most */
    balloon_time_t pause[OP_COUNT]; /* no operation of the kind before */
    uint32_t backoff[OP_COUNT];     /* pauses double */
    uint32_t oom_backoff;
    uint64_t oom_left; /* pages to give back for lack of memory */

    balloon_range *back; /* pages for FREE: room for back_room */
    uint32_t back_count, back_room;
    uint32_t zeroed_count; /* ranges of back are for ZEROED first, while no page is for FREE */
    bool runs_back;        /* runs are for FREE, too */
    bool drop_all;         /* all of the balloon is */
    balloon_range *release;
    uint32_t release_at, release_count;

    uint64_t hinted, hint_back; /* pages lent for hints; to be given back of them */
    struct driver_loan hint, report;
    bool stats_wanted, stats_asked;

    uint32_t negotiated; /* features in use */
    balloon_driver_counters count;
    alignas(8) unsigned char room[DRIVER_ROOM_BYTES]; /* the binding's state */
};

static inline balloon_time_t driver_time_after(balloon_time_t now, balloon_time_t span)
{
    return now > BALLOON_TIME_NEVER - span ? BALLOON_TIME_NEVER : now + span;
}

/* The most pages that an operation has, on a transport with this default. */
static inline uint32_t driver_chunk(const balloon_driver *d, uint32_t by_default)
{
    return d->chunk_wanted ? d->chunk_wanted : by_default;
}

/* --- what bindings call ----------------------------------------------------------------------- */

/* A host is there. */
void bl_driver_attach(balloon_driver *d, const struct driver_binding *binding,
                      const struct driver_traits *traits);

/* The host wants a balloon of this size. */
void bl_driver_set_target(balloon_driver *d, uint64_t pages);

/* Pages in the balloon, and what the driver works for. */
uint64_t bl_driver_held(const balloon_driver *d);
uint64_t bl_driver_goal(const balloon_driver *d);

/* The message that is to be written or answered: its pages as runs, in the order that they are sent
 * in. unit: what all of it comes in, with traits.in_units. OP_NONE when no SEND was told. */
enum driver_op bl_driver_outgoing(const balloon_driver *d, const balloon_range **runs,
                                  uint32_t *count, uint32_t *unit);

/* The host has taken, or refused, the next so many pages of the message. */
void bl_driver_accept(balloon_driver *d, uint64_t pages);
void bl_driver_refuse(balloon_driver *d, uint64_t pages);
/* The answer is complete: pages it did not name are refused. later: start nothing of the kind
 * before a delay has passed, which doubles. */
void bl_driver_answered(balloon_driver *d, bool later, balloon_time_t now);
/* The usual answer: all is taken. */
void bl_driver_accept_all(balloon_driver *d, balloon_time_t now);

/* Before the answer of a message that inflates: these of its pages read as zeros, by a bit for each
 * page in its order. */
void bl_driver_zeroed(balloon_driver *d, const uint8_t *bits);

/* Nothing is on its way, nor will be before the kernel, the host or time says something new. */
bool bl_driver_idle(const balloon_driver *d, balloon_time_t now);

/* The host gives pages back on its own. What is ours among them leaves the balloon, and comes by
 * FREE; the rest is counted as foreign. The list must have been worked off (bl_driver_releasing()
 * says no) before ranges are added, up to RELEASE_RUNS. Only with a tracker. */
void bl_driver_release(balloon_driver *d, balloon_range range);
bool bl_driver_releasing(const balloon_driver *d);

/* The host asks the guest to start over: all pages are the guest's, and come by FREE. Nothing that
 * was sent will be answered. */
void bl_driver_drop_all(balloon_driver *d);
bool bl_driver_dropping(const balloon_driver *d);

/* Ask the kernel for statistics; the binding's stats hook has the answer. */
void bl_driver_want_stats(balloon_driver *d);

/* --- parts of the driver for each other ------------------------------------------------------- */

/* Are these pages of the guest's size, in its RAM, and not in the balloon? */
bool bl_driver_usable(const balloon_driver *d, balloon_range run);
/* They are the driver's now. */
void bl_driver_track(balloon_driver *d, balloon_range run);
balloon_status bl_driver_give_op(balloon_driver *d, const balloon_range *runs, size_t count,
                                 balloon_time_t now);
bool bl_driver_op_poll(balloon_driver *d, balloon_time_t now, balloon_driver_action *action);
balloon_time_t bl_driver_op_deadline(const balloon_driver *d);
bool bl_driver_back_poll(balloon_driver *d, balloon_driver_action *action);
bool bl_driver_back_due(const balloon_driver *d);
/* Pages are the kernel's again. */
void bl_driver_give_back(balloon_driver *d, balloon_range range);
/* Ask the kernel for the loan, and say what was lent; returns whether there is an action. */
bool bl_driver_loan_poll(struct driver_loan *loan, balloon_driver_channel channel, uint32_t block,
                         balloon_driver_action *action);

/* What is wrong with a config: 0 nothing, else a number for balloon_driver_config_check(). */
unsigned bl_driver_config_fault(const balloon_driver_config *config);

#endif
