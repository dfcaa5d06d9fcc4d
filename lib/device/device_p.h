/* Inside the device. The bindings of the transports share it; each keeps its own state in the
 * device's room for it. */
#ifndef BALLOON_DEVICE_DEVICE_P_H
#define BALLOON_DEVICE_DEVICE_P_H

#include <stdalign.h>

#include <balloon/device.h>

#include "../core/sized.h"

/* PFNs of 32 bits reach this far (16 TiB). */
#define PFN32_END (UINT64_C(1) << 32)

/* Pages of one buffer that are taken as reported or hinted at the most: 16 GiB, what the largest
 * buffer of Linux can name. A descriptor of 16 bytes could name all of memory, again and again. */
#define SPAN_PAGES_MAX (UINT64_C(1) << 22)

/* Pages of one buffer that the guest can be told of: what guests put into one. */
#define CLAIMED_PAGES 256u

/* Room for the state of one binding, and for what is saved of it. */
#define DEVICE_ROOM_BYTES   192
#define SAVED_BINDING_BYTES 64

/* Ids of hinting as the guest reads them: no round, and all hinted pages may be used again. */
enum { HINT_STOP = 0, HINT_DONE = 1 };

/* Numbers of queues are below this. */
#define QUEUES_END 5u

/* The ways that guests number their queues in are 0 to this. */
#define NUMBERING_MOST 2u

/* Guest pages are up to 64 KiB: balloon sizes this close to each other are the same. */
#define SIZE_SLACK UINT64_C(16)

/* Some guests of virtio move whole MiB (nanos, src/virtio/virtio_balloon.c: 256 pages). */
#define VIRTIO_UNIT 256u

/* A buffer that was read and waits for its acknowledgement. */
struct waiting_buffer {
    uint64_t cookie;
    uint32_t used; /* bytes to claim as written */
    uint8_t queue;
    bool settle; /* its pages must be discarded, or forgotten, before it is acknowledged */
    bool bits;   /* what is claimed are the bits of struct claimed_pages */
};

/* The pages of one buffer that waits, in its order, and a bit for each that reads as zeros. */
struct claimed_pages {
    uint32_t pfns[CLAIMED_PAGES];
    uint8_t bits[CLAIMED_PAGES / 8];
    uint32_t count;
    bool waits;
};

enum stats_request {
    STATS_IDLE = 0,   /* nobody asked */
    STATS_WANTED = 1, /* asked, and the guest's buffer must be returned or is yet to come */
    STATS_ASKED = 2   /* the buffer went back to the guest */
};

struct stats_state {
    bool held; /* the guest's buffer is here */
    bool late;
    bool have_sample;
    bool tell_sample; /* action due */
    enum stats_request request;
    uint32_t queue;
    uint64_t cookie;
    balloon_time_t deadline; /* of the request */
    balloon_time_t period, next;
    balloon_sample sample;
};

struct hint_state {
    balloon_hinting state;
    uint32_t id;      /* as the guest reads it: stop, done, or that of the round */
    uint32_t next_id; /* of the next round */
    bool tell;        /* action due */
};

/* What free pages of the guest hold, if they hold a pattern (BALLOON_F_POISON). */
struct poison_state {
    bool written;
    uint32_t value;
};

/* What a transport adds to the device. */
struct device_binding {
    unsigned char number; /* in the saved form; virtio is 0 */
    bool wide;            /* page numbers of guests have no bound of 32 bits */
    /* A guest may keep less than so many pages more than it was asked for; 0: SIZE_SLACK. */
    uint16_t slack;
    /* So it may if its whole balloon comes in this many pages, and it is less than one of them. */
    uint16_t unit;
    bool leaves;     /* guests take all pages back before they go */
    bool starts_out; /* pages can be out before there is a driver, and are the host's until they
                        are asked for */
    /* Guests that take back what the host asked for may take more, and give it again within this.
     */
    balloon_time_t overshoot;
    balloon_time_t stats_timeout; /* unless the embedder says so; 0: the device's default */
    /* What to do next, before what the device itself wants; and when. NULL: never anything. */
    bool (*poll)(balloon_device *d, balloon_time_t now, balloon_action *action);
    balloon_time_t (*deadline)(const balloon_device *d);
    /* The driver has been told of the target, and sleeps: make it look again. NULL: it cannot be,
     * or need not. */
    void (*nudge)(balloon_device *d);
    /* The session is over. */
    void (*reset)(balloon_device *d);
    /* So many pages were declared to be in the balloon. May be NULL. */
    void (*declared)(balloon_device *d, uint64_t pages);
    /* Guest RAM was unplugged. May be NULL. */
    void (*unplugged)(balloon_device *d);
    /* What it knows of why nothing comes, a bit for each reason. May be NULL. */
    uint32_t (*reasons)(const balloon_device *d);
    /* The binding's part of the saved form; load returns whether it is sound. */
    void (*save)(const balloon_device *d, balloon_time_t now, uint8_t saved[SAVED_BINDING_BYTES]);
    bool (*load)(balloon_device *d, balloon_time_t now, const uint8_t saved[SAVED_BINDING_BYTES]);
};

/* The start of a binding's state while no transport has been bound: what the saved form has of
 * virtio, since a device may be loaded before its transport is known. It is virtio as it is without
 * options then. */
struct unbound_state {
    uint8_t numbering;
    uint8_t version_1;
    uint8_t actual[4];
};

struct balloon_device {
    const struct device_binding *binding; /* NULL: not known yet */
    balloon_tracker *tracker;

    uint32_t offered, target_align, run_batch, max_buffers, max_buffer_bytes;
    uint64_t gather_pages;
    balloon_time_t gather_delay, stats_timeout;

    bool driver;
    bool gather;      /* MUST_TELL_HOST is in use */
    bool high_ram;    /* some RAM is beyond the reach of 32-bit PFNs */
    bool tell_config; /* actions due */
    bool tell_pressure;
    bool pressure;
    bool gave_back;  /* pages were taken back as asked since the last poll; */
    bool took;       /* or below the target */
    bool descending; /* the target is below the balloon, and was since it was set */
    bool emptying;   /* the last pages taken back may be a part of all of them */
    bool doubting;   /* the guest may be short, or may not: it is told later */
    bool outside;    /* the guest has named pages to take that are in no region */
    bool withheld;   /* pages of the balloon were acknowledged without having been discarded */
    uint32_t chosen; /* features the driver has chosen; in use while it is there */
    uint32_t inhibited;
    uint64_t target, actual;
    uint64_t peak;                /* most pages held since the target was set */
    balloon_time_t progress;      /* when the balloon last moved as asked, or its target changed */
    balloon_time_t taken;         /* when pages were last taken back below the target */
    balloon_time_t doubted;       /* since when the device is doubting */
    balloon_time_t lenient_until; /* what is taken back before is told then */
    balloon_time_t nudged, nudge_delay; /* when the driver was last woken, and until it is again */

    struct waiting_buffer *buffers; /* ring */
    uint32_t buffer_first, buffer_count;

    balloon_run *runs;
    uint32_t last_runs;            /* runs of the last action */
    bool claims;                   /* a buffer that waits may have claims */
    bool unproved;                 /* of pages in the last action, and nobody has confirmed it */
    struct claimed_pages *claimed; /* NULL: not offered */

    bool flush;              /* discard without waiting for more */
    bool failed;             /* a run of the last action failed */
    balloon_time_t flush_at; /* when what is ready has waited long enough */
    balloon_time_t retry_at; /* after a failure: no discard before */
    balloon_time_t retry_delay;

    struct stats_state stats;
    struct hint_state hint;
    struct poison_state poison;
    balloon_device_counters count;
    alignas(8) unsigned char room[DEVICE_ROOM_BYTES]; /* the binding's state */
};

/* A guest that has not moved for this long does not move. */
#define SLOW UINT64_C(5000000000)

static inline balloon_time_t time_after(balloon_time_t now, balloon_time_t span)
{
    return now > BALLOON_TIME_NEVER - span ? BALLOON_TIME_NEVER : now + span;
}

static inline bool device_starts_out(const balloon_device *d)
{
    return d->binding && d->binding->starts_out;
}

static inline uint32_t device_features(const balloon_device *d)
{
    return d->driver ? d->chosen : 0;
}

/* --- inputs: neutral messages the bindings decode --------------------------------------------- */

/* Is there room for one more buffer? */
static inline bool bl_device_has_room(const balloon_device *d)
{
    return d->buffer_count < d->max_buffers;
}

/* Queue the acknowledgement of a buffer. */
void bl_device_push(balloon_device *d, uint32_t queue, uint64_t cookie, bool settle);

/* PFNs into or out of the balloon. What became of them is added to a tally that starts as 0 and
 * goes to one of the two below when it is complete, as if all of them had come at once; `held`
 * pages were in the balloon before. */
static inline void device_inflate(balloon_device *d, const uint32_t *pfns, size_t count,
                                  balloon_tally *tally)
{
    if (d->high_ram)
        tally->outside += count;
    else
        balloon_tracker_inflate(d->tracker, pfns, count, tally);
}
/* Deflates are believed even where PFNs of 32 bits are ambiguous: to keep a page too many from
 * being discarded loses nothing but memory. */
static inline void device_deflate(balloon_device *d, const uint32_t *pfns, size_t count,
                                  balloon_tally *tally)
{
    balloon_tracker_deflate(d->tracker, pfns, count, tally);
}
void bl_device_inflated(balloon_device *d, const balloon_tally *tally, balloon_time_t now);
void bl_device_deflated(balloon_device *d, const balloon_tally *tally, uint64_t held);

/* A range into or out of the balloon. Return whether all of it is guest RAM. */
bool bl_device_inflate_range(balloon_device *d, balloon_range range, balloon_time_t now);
bool bl_device_deflate_range(balloon_device *d, balloon_range range);

/* PFNs in their order, up to the first that cannot go, which is left to the caller as all behind it
 * are. Transports with MUST_TELL_HOST and wide page numbers. Return how many went. */
size_t bl_device_inflate_in_order(balloon_device *d, const uint32_t *pfns, size_t count,
                                  balloon_time_t now);
size_t bl_device_deflate_in_order(balloon_device *d, const uint32_t *pfns, size_t count);

/* A range is free for the moment; withhold: count it only. */
bool bl_device_report(balloon_device *d, balloon_range range, bool withhold);

/* Does the guest let reported pages read as zeros afterwards? */
bool bl_device_may_discard_reports(const balloon_device *d);

/* --- what reads as zeros -------------------------------------------------------------------------
 */

/* The last buffer that was queued is answered with so many bytes if all that is ready by now is
 * discarded before, and confirmed to read as zeros; else with 0. */
void bl_device_claim(balloon_device *d, uint32_t bytes);

/* The same by a bit for each page: the first count of d->claimed->pfns, which nobody waits for. */
void bl_device_claim_pages(balloon_device *d, uint32_t count, uint32_t bytes);

/* Something came between. */
void bl_device_drop_claims(balloon_device *d);

/* The last action is over and was not confirmed, though there are claims; and a buffer goes back
 * with what is claimed of it. */
void bl_device_claims_note(balloon_device *d);
void bl_device_claims_take(balloon_device *d, const struct waiting_buffer *b,
                           balloon_action *action);

/* The guest claims a balloon size. */
void bl_device_set_actual(balloon_device *d, uint64_t pages);

/* --- the size ----------------------------------------------------------------------------------
 */

/* Is the balloon of the size that was asked for, as far as this guest and this transport can make
 * it: by the pages that it named, by its claim and these? */
bool bl_device_holds_target(const balloon_device *d);
bool bl_device_arrived(const balloon_device *d);

/* Does the guest claim another size than the pages that it named make? */
bool bl_device_claim_differs(const balloon_device *d, balloon_time_t now);

/* Pages that are not there though they were, and should be. Pages that come and go in pairs (a
 * guest that moves a page of the balloon) are not missing, nor are those that the host gave. */
static inline uint64_t device_missing(const balloon_device *d, uint64_t held)
{
    uint64_t expected = d->peak < d->target ? d->peak : d->target;

    return held + SIZE_SLACK <= expected ? expected - held : 0;
}

/* A driver that sleeps is first woken when it has not moved for so long. */
#define NUDGE_FIRST UINT64_C(10000000000)

/* Is there anything for bl_device_size_poll() to do? Not as long as pages come. */
static inline bool device_size_moves(const balloon_device *d, balloon_time_t now)
{
    return d->gave_back || d->took || d->descending || d->doubting ||
           device_missing(d, balloon_tracker_held(d->tracker)) ||
           now >= time_after(d->progress, NUDGE_FIRST);
}

/* Note what became of the size since the last poll; do that and what follows from it; and when to
 * look again. */
void bl_device_size_note(balloon_device *d, balloon_time_t now);
void bl_device_size_poll(balloon_device *d, balloon_time_t now);
balloon_time_t bl_device_size_deadline(const balloon_device *d);

/* What is saved of the size, beside the numbers: when the balloon last moved, and the most pages
 * held, which are more than are held now unless the guest gives again after it was short. And the
 * rest of it, when all that was saved has been loaded. */
balloon_time_t bl_device_saved_move(const balloon_device *d);
uint64_t bl_device_saved_peak(const balloon_device *d);
void bl_device_size_load(balloon_device *d, balloon_time_t now);

/* Wake a driver that sleeps. */
void bl_device_nudge(balloon_device *d, balloon_time_t now);

/* Is the guest short: has it taken pages back, and did nothing since say that it can do without? */
bool bl_device_short(const balloon_device *d);

/* Has it taken all pages back as one does that goes: asleep, or its driver? */
bool bl_device_left(const balloon_device *d);

/* Fewer pages than this above the target, and the guest has still done what was asked. */
uint64_t bl_device_slack(const balloon_device *d);

/* --- life ---------------------------------------------------------------------------------------
 */

/* Speak this transport from now on; its state is all zeros. Only without a driver. */
void bl_device_bind(balloon_device *d, const struct device_binding *binding);

/* The same for a device that no transport was bound to: what was loaded stays. */
void bl_device_adopt(balloon_device *d, const struct device_binding *binding);

/* The driver is there. */
void bl_device_attach(balloon_device *d, balloon_time_t now);

/* --- statistics and hinting ------------------------------------------------------------------ */

/* The guest's statistics buffer. */
void bl_device_stats_hold(balloon_device *d, uint32_t queue, uint64_t cookie);
/* Statistics of a guest that sends them unasked. */
void bl_device_stats_offer(balloon_device *d, const balloon_sample *sample, balloon_time_t now);
void bl_device_stats_answer(balloon_device *d, const balloon_sample *sample, balloon_time_t now);
bool bl_device_stats_poll(balloon_device *d, balloon_time_t now, balloon_action *action);
balloon_time_t bl_device_stats_deadline(const balloon_device *d);

void bl_device_hint_command(balloon_device *d, uint32_t id);
bool bl_device_hint_range(balloon_device *d, balloon_range range);
void bl_device_hint_abandon(balloon_device *d);

/* What is wrong with a config: 0 nothing, else a number for balloon_device_config_check(). */
unsigned bl_device_config_fault(const balloon_device_config *config);

/* balloon_device_init() of memory that is zero; see bl_tracker_init_zero(). */
balloon_status bl_device_init_zero(void *memory, size_t bytes, const balloon_device_config *config,
                                   balloon_device **device);

#endif
