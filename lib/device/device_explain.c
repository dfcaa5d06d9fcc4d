/* Why is nothing reclaimed? And: does the device keep its own rules? */
#include "device_p.h"

static const char *const texts[] = {
    [BALLOON_REASON_NONE] = "nothing stands in the way",
    [BALLOON_REASON_NO_DRIVER] = "no balloon driver is attached in the guest",
    [BALLOON_REASON_INHIBITED] = "discarding is inhibited, since guest memory is pinned or copied",
    [BALLOON_REASON_ADDRESSES] =
        "guest RAM lies above 16 TiB, where the guest's 32-bit page numbers name wrong pages",
    [BALLOON_REASON_DISCARD_FAILS] = "the host could not discard the last pages",
    [BALLOON_REASON_NO_TARGET] = "the target is 0 and free pages are not reported",
    [BALLOON_REASON_PRESSURE] = "the guest takes pages back, it is short of memory",
    [BALLOON_REASON_GUEST_SLOW] =
        "the guest makes no progress: it finds no free pages, or its driver sleeps or hangs",
    [BALLOON_REASON_GATHERING] = "pages wait for more to be discarded together with them",
    [BALLOON_REASON_PARTIAL] =
        "pages came in pieces of host pages, or while discarding was inhibited",
    [BALLOON_REASON_TARGET_MET] = "the guest has given what was asked for",
    [BALLOON_REASON_REPORT_NOT_OFFERED] = "free page reporting is not offered to the guest",
    [BALLOON_REASON_REPORT_REFUSED] = "the guest's driver does not report free pages",
    [BALLOON_REASON_POISON] = "reported pages are kept, since the guest expects a pattern in them",
    [BALLOON_REASON_STATS_LATE] = "the guest does not answer requests for statistics",
    [BALLOON_REASON_CLAIM_DIFFERS] =
        "the guest claims a balloon of another size than the pages it has named",
    [BALLOON_REASON_OUTSIDE] = "the guest names pages outside the regions you gave",
    [BALLOON_REASON_NO_ANSWER] =
        "the guest does not answer requests: it may be set up to hibernate, or its driver hangs",
    [BALLOON_REASON_GUEST_LEAVES] =
        "the guest took all pages back: it suspends, or its driver is being removed",
};

/* Those that came later stand at the end of the enum. */
static const unsigned char by_weight[] = {
    BALLOON_REASON_NO_DRIVER,      BALLOON_REASON_INHIBITED,    BALLOON_REASON_ADDRESSES,
    BALLOON_REASON_DISCARD_FAILS,  BALLOON_REASON_NO_TARGET,    BALLOON_REASON_OUTSIDE,
    BALLOON_REASON_PRESSURE,       BALLOON_REASON_GUEST_LEAVES, BALLOON_REASON_CLAIM_DIFFERS,
    BALLOON_REASON_NO_ANSWER,      BALLOON_REASON_GUEST_SLOW,   BALLOON_REASON_GATHERING,
    BALLOON_REASON_PARTIAL,        BALLOON_REASON_TARGET_MET,   BALLOON_REASON_REPORT_NOT_OFFERED,
    BALLOON_REASON_REPORT_REFUSED, BALLOON_REASON_POISON,       BALLOON_REASON_STATS_LATE,
};

const char *balloon_reason_text(balloon_reason reason)
{
    unsigned i = (unsigned)reason;

    return i < sizeof(texts) / sizeof(texts[0]) ? texts[i] : "unknown reason";
}

bool bl_device_may_discard_reports(const balloon_device *d)
{
    if (!(d->chosen & BALLOON_F_POISON))
        return true;
    return d->poison.written && !d->poison.value;
}

static uint32_t why_target(const balloon_device *d, balloon_time_t now)
{
    if (!d->target)
        return device_features(d) & BALLOON_F_REPORTING ? 0 : 1u << BALLOON_REASON_NO_TARGET;
    if (balloon_tracker_held(d->tracker) > d->target || bl_device_holds_target(d))
        return 1u << BALLOON_REASON_TARGET_MET;
    if (bl_device_short(d))
        return 1u << BALLOON_REASON_PRESSURE;
    if (bl_device_left(d))
        return 1u << BALLOON_REASON_GUEST_LEAVES;
    return now >= time_after(d->progress, SLOW) ? 1u << BALLOON_REASON_GUEST_SLOW : 0;
}

static uint32_t why_reports(const balloon_device *d)
{
    if (!(d->offered & BALLOON_F_REPORTING))
        return 1u << BALLOON_REASON_REPORT_NOT_OFFERED;
    if (!(d->chosen & BALLOON_F_REPORTING))
        return 1u << BALLOON_REASON_REPORT_REFUSED;
    return bl_device_may_discard_reports(d) ? 0 : 1u << BALLOON_REASON_POISON;
}

balloon_reason balloon_device_explain(const balloon_device *d, balloon_time_t now, uint32_t *all)
{
    uint64_t ready = balloon_tracker_ready(d->tracker);
    uint32_t reasons = 0;

    if (!d->driver)
        reasons |= 1u << BALLOON_REASON_NO_DRIVER;
    if (d->inhibited)
        reasons |= 1u << BALLOON_REASON_INHIBITED;
    if (d->high_ram)
        reasons |= 1u << BALLOON_REASON_ADDRESSES;
    if (d->failed)
        reasons |= 1u << BALLOON_REASON_DISCARD_FAILS;
    if (ready && !d->inhibited)
        reasons |= 1u << BALLOON_REASON_GATHERING;
    if (balloon_tracker_pending(d->tracker) > ready || d->withheld)
        reasons |= 1u << BALLOON_REASON_PARTIAL;
    if (d->outside)
        reasons |= 1u << BALLOON_REASON_OUTSIDE;
    if (d->stats.late)
        reasons |= 1u << BALLOON_REASON_STATS_LATE;
    if (d->driver)
        reasons |= why_target(d, now) | why_reports(d);
    if (d->driver && bl_device_claim_differs(d, now))
        reasons |= 1u << BALLOON_REASON_CLAIM_DIFFERS;
    if (d->driver && d->binding && d->binding->reasons)
        reasons |= d->binding->reasons(d);
    if (all)
        *all = reasons;
    for (unsigned i = 0; i < sizeof(by_weight); i++)
        if (reasons >> by_weight[i] & 1)
            return (balloon_reason)by_weight[i];
    return BALLOON_REASON_NONE;
}

#define RULE(holds, words)                                                                         \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            *why = words;                                                                          \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

bool balloon_device_check(const balloon_device *d, const char **why_out)
{
    const char *unused = NULL, **why = why_out ? why_out : &unused;
    bool settles = false;

    if (!balloon_tracker_check(d->tracker, why))
        return false;
    RULE(d->buffer_count <= d->max_buffers && d->buffer_first < d->max_buffers,
         "waiting buffers are in their ring");
    RULE(d->driver || (!d->buffer_count && !d->stats.held && d->gather == device_starts_out(d) &&
                       (d->gather || (!balloon_tracker_held(d->tracker) &&
                                      !balloon_tracker_pending(d->tracker)))),
         "without a driver the guest has all its pages");
    RULE(!(d->chosen & ~d->offered), "only offered features are chosen");
    RULE(!d->driver || d->gather == ((d->chosen & BALLOON_F_MUST_TELL) != 0),
         "discards gather exactly under MUST_TELL_HOST");
    for (uint32_t i = 0; i < d->buffer_count; i++)
        settles = settles || d->buffers[(d->buffer_first + i) % d->max_buffers].settle;
    RULE(d->gather || settles || !balloon_tracker_pending(d->tracker),
         "without MUST_TELL_HOST nothing is pending after its acknowledgement");
    RULE(!balloon_tracker_hinted(d->tracker) || d->hint.state != BALLOON_HINTING_OFF,
         "hints end with hinting");
    RULE(d->target <= UINT32_MAX && d->actual <= UINT32_MAX, "sizes fit the protocol");
    return true;
}
