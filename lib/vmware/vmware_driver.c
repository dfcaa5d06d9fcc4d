/* The VMware binding of the driver: the session, and pages by single calls and by batches. */
#include <string.h>

#include <balloon/vmware.h>

#include "../driver/driver_p.h"

/* Entries that are made or read at a time. */
#define CHUNK 64u

#define BATCH_BYTES (BALLOON_VMWARE_BATCH_MAX * BALLOON_VMWARE_ENTRY_BYTES)

/* What the driver does next, beside moving pages. */
enum vmware_step {
    STEP_START = 0,    /* START, not before start_at */
    STEP_DOORBELL = 1, /* tell of the doorbell */
    STEP_GUEST = 2,    /* tell which system this is */
    STEP_RUN = 3       /* GET_TARGET at ask_at, and pages */
};

struct vmware_driver_state {
    balloon_vmware_width width;
    uint64_t wanted, granted; /* capabilities; granted is 0 without a session */
    uint32_t guest, context, resource;
    enum vmware_step step;
    balloon_time_t start_at, ask_at;
    balloon_vmware_request control; /* the call of channel CONTROL, */
    bool told;                      /* if there is one that was not answered */
    bool called;                    /* a call was written and not answered: */
    balloon_driver_channel channel; /* that of this channel, */
    balloon_vmware_command command; /* this one */
    bool rung;                      /* the host may have our doorbell */
    uint32_t refused;               /* pages refused since the target was asked for */
};

_Static_assert(sizeof(struct vmware_driver_state) <= DRIVER_ROOM_BYTES, "vmware has room");

static struct vmware_driver_state *vmware_state(balloon_driver *d)
{
    return (struct vmware_driver_state *)(void *)d->room;
}

static const struct vmware_driver_state *vmware_const(const balloon_driver *d)
{
    return (const struct vmware_driver_state *)(const void *)d->room;
}

static bool can(const balloon_driver *d, uint64_t capability)
{
    return (vmware_const(d)->granted & capability) != 0;
}

static struct driver_traits traits_of(const balloon_driver *d)
{
    struct driver_traits t = {.chunk_pages = driver_chunk(d, LARGE_PAGES),
                              .message_runs = 1,
                              .pfn_end = UINT64_C(1) << 32,
                              .may_deflate = true,
                              .may_oom = true,
                              .in_units = true,
                              .no_large = !can(d, BALLOON_VMWARE_BATCHED_2M),
                              .deflate_first = true};

    if (can(d, BALLOON_VMWARE_BATCHED)) {
        t.message_runs = BALLOON_VMWARE_BATCH_MAX;
        t.message_bytes = BATCH_BYTES;
    }
    if (can(d, BALLOON_VMWARE_WIDE_TARGET) && vmware_const(d)->width == BALLOON_VMWARE_64_BIT)
        t.pfn_end = BALLOON_VMWARE_PFN_END;
    return t;
}

/* --- the session ------------------------------------------------------------------------------ */

/* Next, and not before: what channel CONTROL has to say. A session is left when nothing else is
 * left to do; whether it is, only polls know. */
static balloon_time_t control_due(const balloon_driver *d, bool leave)
{
    const struct vmware_driver_state *v = vmware_const(d);
    const balloon_range *runs;
    uint32_t count, unit;

    if (v->told || bl_driver_dropping(d) || bl_driver_outgoing(d, &runs, &count, &unit) != OP_NONE)
        return BALLOON_TIME_NEVER;
    if (d->state == BALLOON_DRIVER_SUSPENDING)
        return leave && v->granted ? 0 : BALLOON_TIME_NEVER;
    if (d->state != BALLOON_DRIVER_ATTACHED)
        return BALLOON_TIME_NEVER;
    if (v->step == STEP_START)
        return v->start_at;
    return v->step == STEP_RUN ? v->ask_at : 0;
}

static uint64_t limit_of(const balloon_driver *d)
{
    return balloon_vmware_clamp_target(d->total, vmware_const(d)->width, vmware_const(d)->granted);
}

/* The call to make now. */
static balloon_vmware_request next_control(balloon_driver *d, balloon_time_t now)
{
    struct vmware_driver_state *v = vmware_state(d);
    balloon_vmware_request call = {0};

    if (d->state == BALLOON_DRIVER_SUSPENDING && v->rung) {
        call.command = BALLOON_VMWARE_SET_DOORBELL;
        call.context = call.resource = BALLOON_VMWARE_NO_ID;
    } else if (d->state == BALLOON_DRIVER_SUSPENDING) {
        call.command = BALLOON_VMWARE_START;
    } else if (v->step == STEP_START) {
        call.command = BALLOON_VMWARE_START;
        call.capabilities = v->wanted;
        v->start_at = driver_time_after(now, BALLOON_VMWARE_POLL_PERIOD);
    } else if (v->step == STEP_DOORBELL) {
        call.command = BALLOON_VMWARE_SET_DOORBELL;
        call.context = v->context;
        call.resource = v->resource;
    } else if (v->step == STEP_GUEST) {
        call.command = BALLOON_VMWARE_SET_GUEST;
        call.guest = v->guest;
    } else {
        call.command = BALLOON_VMWARE_GET_TARGET;
        call.limit = limit_of(d);
        v->ask_at = driver_time_after(now, BALLOON_VMWARE_POLL_PERIOD);
        v->refused = 0;
    }
    return call;
}

static bool poll(balloon_driver *d, balloon_time_t now, balloon_driver_action *action)
{
    if (now < control_due(d, bl_driver_idle(d, now)))
        return false;
    vmware_state(d)->control = next_control(d, now);
    vmware_state(d)->told = true;
    d->count.messages++;
    action->type = BALLOON_DRIVER_SEND;
    action->channel = BALLOON_CHANNEL_CONTROL;
    return true;
}

/* Nothing that is due is idle, and what is due is the driver's own deadline. */
static balloon_time_t deadline(const balloon_driver *d)
{
    return control_due(d, bl_driver_idle(d, 0));
}

static void reset(balloon_driver *d)
{
    memset(vmware_state(d), 0, sizeof(*vmware_state(d)));
}

static bool idle(const balloon_driver *d)
{
    return !vmware_const(d)->granted && !vmware_const(d)->told;
}

static const struct driver_binding binding = {
    .poll = poll,
    .deadline = deadline,
    .reset = reset,
    .idle = idle,
};

/* All pages are the guest's; the next session has to begin. */
static void end_session(balloon_driver *d)
{
    vmware_state(d)->granted = 0;
    vmware_state(d)->rung = false;
    vmware_state(d)->told = false; /* what is not written yet belongs to the session that is over */
    vmware_state(d)->step = STEP_START;
    bl_driver_set_target(d, 0);
    bl_driver_drop_all(d);
}

/* What goes in later must come out again, so a balloon that is a little too large is left alone; a
 * balloon that shrinks already does so to the end. */
static void take_target(balloon_driver *d, uint64_t pages)
{
    uint64_t held = bl_driver_held(d);

    if (pages && pages < held && held - pages < BALLOON_VMWARE_SLACK && held <= d->target)
        pages = held;
    bl_driver_set_target(d, pages);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Which pages the next entry stands for. */
struct cursor {
    const balloon_range *runs;
    uint64_t page;
    uint32_t unit;
};

static balloon_pfn_t next_pfn(struct cursor *at)
{
    balloon_pfn_t pfn = at->runs->first + at->page;

    at->page += at->unit;
    if (at->page >= at->runs->count) {
        at->page = 0;
        at->runs++;
    }
    return pfn;
}

/* The pages of the message as entries; 0 when there is none. */
static uint32_t entries_of(const balloon_driver *d, enum driver_op *op, struct cursor *at)
{
    const balloon_range *runs;
    uint32_t count, unit;
    uint64_t pages = 0;

    *op = bl_driver_outgoing(d, &runs, &count, &unit);
    if (*op == OP_NONE)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        pages += runs[i].count;
    *at = (struct cursor){runs, 0, unit};
    return (uint32_t)(unit == BALLOON_VMWARE_LARGE_PAGE ? pages / BALLOON_VMWARE_LARGE_PAGE
                                                        : pages);
}

static balloon_vmware_command command_for(const balloon_driver *d, enum driver_op op, uint32_t unit)
{
    bool in = op == OP_INFLATE;

    if (!can(d, BALLOON_VMWARE_BATCHED))
        return in ? BALLOON_VMWARE_LOCK : BALLOON_VMWARE_UNLOCK;
    if (unit == BALLOON_VMWARE_LARGE_PAGE)
        return in ? BALLOON_VMWARE_BATCHED_2M_LOCK : BALLOON_VMWARE_BATCHED_2M_UNLOCK;
    return in ? BALLOON_VMWARE_BATCHED_LOCK : BALLOON_VMWARE_BATCHED_UNLOCK;
}

static void write_entries(struct cursor at, uint32_t count, uint8_t *page)
{
    balloon_vmware_entry entries[CHUNK];

    for (uint32_t n; count; count -= n, page += (size_t)n * BALLOON_VMWARE_ENTRY_BYTES) {
        n = count < CHUNK ? count : CHUNK;
        for (uint32_t i = 0; i < n; i++)
            entries[i] = (balloon_vmware_entry){next_pfn(&at), 0};
        (void)balloon_vmware_write_batch(entries, n, page, (size_t)n * BALLOON_VMWARE_ENTRY_BYTES);
    }
}

balloon_status balloon_vmware_driver_write(balloon_driver *d, balloon_driver_channel channel,
                                           balloon_vmware_frame *frame, void *batch, size_t bytes,
                                           balloon_pfn_t pfn)
{
    struct vmware_driver_state *v = vmware_state(d);
    balloon_vmware_request call = {0};
    bool control = channel == BALLOON_CHANNEL_CONTROL;
    enum driver_op op = OP_NONE;
    struct cursor at = {0};
    uint32_t count = 0;

    if (d->binding != &binding)
        return BALLOON_ERR_STATE;
    if (control) {
        call = v->control;
    } else {
        count = entries_of(d, &op, &at);
        call.command = command_for(d, op, at.unit);
        call.entries = d->traits.message_bytes ? count : 0;
        call.pfn = call.entries ? pfn : (count ? at.runs->first : 0);
    }
    if (control
            ? !v->told
            : !v->granted || !count ||
                  channel != (op == OP_INFLATE ? BALLOON_CHANNEL_INFLATE : BALLOON_CHANNEL_DEFLATE))
        return BALLOON_ERR_STATE;
    if (call.entries && (!batch || bytes < d->traits.message_bytes))
        return BALLOON_ERR_NOSPACE;
    if (balloon_vmware_write_request(&call, v->width, frame) != BALLOON_OK)
        return BALLOON_ERR_INVALID;
    if (call.entries)
        write_entries(at, count, batch);
    v->channel = channel;
    v->command = call.command;
    v->called = true;
    return BALLOON_OK;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void started(balloon_driver *d, const balloon_vmware_reply *reply, bool sane)
{
    struct vmware_driver_state *v = vmware_state(d);
    uint64_t granted = sane ? balloon_vmware_negotiate(reply->capabilities, v->wanted) : 0;

    if (!(granted & (BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED)))
        return;
    v->granted = granted;
    v->step = STEP_DOORBELL;
    v->ask_at = 0;
    d->traits = traits_of(d);
    if (!can(d, BALLOON_VMWARE_DOORBELL))
        v->step = v->guest ? STEP_GUEST : STEP_RUN;
}

static void controlled(balloon_driver *d, const balloon_vmware_reply *reply, bool sane)
{
    struct vmware_driver_state *v = vmware_state(d);

    v->told = false;
    switch (v->control.command) {
    case BALLOON_VMWARE_START:
        if (v->control.capabilities)
            started(d, reply, sane);
        else
            end_session(d);
        break;
    case BALLOON_VMWARE_SET_DOORBELL:
        /* Without it the target is a little late, no more. */
        v->rung = v->control.context != BALLOON_VMWARE_NO_ID;
        if (v->step == STEP_DOORBELL)
            v->step = v->guest ? STEP_GUEST : STEP_RUN;
        break;
    case BALLOON_VMWARE_SET_GUEST:
        v->step = STEP_RUN;
        break;
    default:
        if (reply->status == BALLOON_VMWARE_SUCCESS)
            take_target(d, reply->target);
        break;
    }
}

struct verdict {
    bool sane;
    bool reset;
    bool full;        /* the target is reached, the host says */
    uint32_t refused; /* entries, for other reasons */
};

/* An answer for each entry, by its place. Those refused are told when one that is not follows: what
 * is left at the end counts as refused. */
static struct verdict take_entries(balloon_driver *d, struct cursor at, uint32_t count,
                                   const uint8_t *page)
{
    balloon_vmware_entry entries[CHUNK];
    struct verdict verdict = {true, false, false, 0};
    uint64_t skipped = 0;
    uint32_t unit = at.unit;

    for (uint32_t n; count; count -= n, page += (size_t)n * BALLOON_VMWARE_ENTRY_BYTES) {
        n = count < CHUNK ? count : CHUNK;
        (void)!balloon_vmware_read_batch(page, (size_t)n * BALLOON_VMWARE_ENTRY_BYTES, n, entries);
        for (uint32_t i = 0; i < n; i++) {
            bool taken = entries[i].status == BALLOON_VMWARE_SUCCESS;
            /* Accepting moves nothing that is still to be read of the runs. */
            balloon_pfn_t pfn = next_pfn(&at);

            verdict.sane &= entries[i].pfn == pfn && entries[i].status <= BALLOON_VMWARE_BUSY;
            verdict.reset |= entries[i].status == BALLOON_VMWARE_RESET;
            verdict.full |= entries[i].status == BALLOON_VMWARE_PPN_NOTNEEDED;
            verdict.refused += !taken && entries[i].status != BALLOON_VMWARE_PPN_NOTNEEDED;
            if (!taken) {
                skipped += unit;
                continue;
            }
            bl_driver_refuse(d, skipped);
            bl_driver_accept(d, unit);
            skipped = 0;
        }
    }
    return verdict;
}

/* The answer to a call for one page, which is all there is to say about it. */
static struct verdict take_single(balloon_driver *d, int32_t status)
{
    struct verdict verdict = {true, false, status == BALLOON_VMWARE_PPN_NOTNEEDED, 0};

    if (status == BALLOON_VMWARE_SUCCESS)
        bl_driver_accept(d, 1);
    else
        verdict.refused = !verdict.full;
    return verdict;
}

static bool about_page(int32_t status)
{
    return status >= BALLOON_VMWARE_PPN_INVALID && status <= BALLOON_VMWARE_PPN_NOTNEEDED;
}

/* The answer to a message with pages. */
static bool moved(balloon_driver *d, const balloon_vmware_reply *reply, const void *batch,
                  balloon_time_t now)
{
    struct vmware_driver_state *v = vmware_state(d);
    struct verdict verdict = {true, false, false, 0};
    bool batched = can(d, BALLOON_VMWARE_BATCHED), done = reply->status == BALLOON_VMWARE_SUCCESS;
    bool reset, later = false;
    enum driver_op op;
    struct cursor at;
    uint32_t count = entries_of(d, &op, &at);

    if (done && batched)
        verdict = take_entries(d, at, count, batch);
    else if (done || (!batched && about_page(reply->status)))
        verdict = take_single(d, reply->status);
    else
        later = true;
    reset = verdict.reset || reply->status == BALLOON_VMWARE_RESET;
    v->refused += verdict.refused;
    bl_driver_answered(d, later || verdict.full || v->refused >= BALLOON_VMWARE_REFUSED_MAX, now);
    /* A single page is in the way of a large one more often than of a small one, and a host may
     * want pages back in the size that it took them in, which nobody here remembers. */
    if (verdict.refused && can(d, BALLOON_VMWARE_BATCHED_2M))
        d->traits.no_large = !d->traits.no_large;
    if (done)
        take_target(d, reply->target);
    if (reset) {
        d->count.resets++;
        end_session(d);
    }
    return verdict.sane;
}

balloon_status balloon_vmware_driver_reply(balloon_driver *d, const balloon_vmware_frame *frame,
                                           const void *batch, size_t bytes, balloon_time_t now)
{
    struct vmware_driver_state *v = vmware_state(d);
    bool control = v->channel == BALLOON_CHANNEL_CONTROL, sane;
    balloon_vmware_reply reply = {BALLOON_VMWARE_FAILURE, 0, 0};

    if (d->binding != &binding || !v->called) {
        d->count.answers_unasked++;
        return BALLOON_ERR_STATE;
    }
    if (!control && d->traits.message_bytes && (!batch || bytes < d->traits.message_bytes))
        return BALLOON_ERR_NOSPACE;
    v->called = false;
    sane = balloon_vmware_read_reply(v->command, frame, v->width, &reply) == BALLOON_OK;
    if (control) {
        controlled(d, &reply, sane);
        if (v->command == BALLOON_VMWARE_GET_TARGET && reply.status == BALLOON_VMWARE_RESET) {
            d->count.resets++;
            end_session(d);
        }
    } else {
        sane = moved(d, &reply, batch, now) && sane;
    }
    d->count.protocol_errors += !sane;
    return sane ? BALLOON_OK : BALLOON_ERR_PROTOCOL;
}

/* --- setting up ------------------------------------------------------------------------------- */

static bool fill_options(const balloon_vmware_driver_options *o, struct vmware_driver_state *v)
{
    uint64_t all = BALLOON_VMWARE_CAPABILITIES_ALL;

    if (!bl_sized(o, sizeof(*o)) || (unsigned)o->width > BALLOON_VMWARE_32_BIT ||
        o->resource == BALLOON_VMWARE_NO_ID || o->context == BALLOON_VMWARE_NO_ID)
        return false;
    if (o->width == BALLOON_VMWARE_32_BIT)
        all &= ~(uint64_t)BALLOON_VMWARE_WIDE_TARGET;
    if (!o->context)
        all &= ~(uint64_t)BALLOON_VMWARE_DOORBELL;
    v->width = o->width;
    v->wanted = o->capabilities ? o->capabilities : all;
    v->guest = o->guest;
    v->context = o->context;
    v->resource = o->resource;
    return !(v->wanted & ~all) && balloon_vmware_negotiate(v->wanted, v->wanted) == v->wanted &&
           (v->wanted & (BALLOON_VMWARE_BASIC | BALLOON_VMWARE_BATCHED));
}

balloon_status balloon_vmware_driver_open(balloon_driver *d,
                                          const balloon_vmware_driver_options *options,
                                          balloon_time_t now)
{
    static const balloon_vmware_driver_options defaults = {.size = sizeof(defaults)};
    struct vmware_driver_state next = {0};
    struct driver_traits traits;

    if (!fill_options(options ? options : &defaults, &next))
        return BALLOON_ERR_INVALID;
    if (d->page_pages != 1)
        return BALLOON_ERR_UNSUPPORTED;
    if (d->state != BALLOON_DRIVER_DETACHED)
        return BALLOON_ERR_STATE;
    if (bl_driver_back_due(d))
        return BALLOON_ERR_BUSY;
    next.start_at = now;
    *vmware_state(d) = next;
    traits = traits_of(d);
    bl_driver_attach(d, &binding, &traits);
    return BALLOON_OK;
}

void balloon_vmware_driver_doorbell(balloon_driver *d, balloon_time_t now)
{
    if (d->binding == &binding && now < vmware_state(d)->ask_at)
        vmware_state(d)->ask_at = now;
}

uint64_t balloon_vmware_driver_capabilities(const balloon_driver *d)
{
    return d->binding == &binding ? vmware_const(d)->granted : 0;
}
