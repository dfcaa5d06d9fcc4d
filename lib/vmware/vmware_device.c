/* The VMware binding of the device: a call comes in, and its answer is there at once. */
#include <string.h>

#include <balloon/vmware.h>

#include "../core/bytes.h"
#include "../core/tracker_saved_p.h"
#include "../device/device_p.h"

/* Entries that are read, decided and written at a time. */
#define CHUNK 256u

/* Of an entry: below the page number. */
#define STATUS_BITS ((1u << BALLOON_PAGE_SHIFT) - 1)

/* open-vm-tools unlocks up to 512 pages of 2 MiB at once, whatever is asked, and locks what is too
 * much in the next second. */
#define OVERSHOOT UINT64_C(5000000000)

enum {
    SAVED_SUPPORTED = 0,
    SAVED_GRANTED = 8,
    SAVED_LIMIT = 16,
    SAVED_GUEST = 24,
    SAVED_CONTEXT = 28,
    SAVED_RESOURCE = 32,
    SAVED_UNCOUNTED = 36,
    SAVED_LARGE = 40,
    SAVED_FLAGS = 44,
    SAVED_END = 45
};

enum { FLAG_MISCOUNTS = 1, FLAG_RESET_TOLD = 2 };

/* Of a 2 MiB page that open-vm-tools frees after RESET this much stays in its count. */
#define LEFT_OVER (BALLOON_VMWARE_LARGE_PAGE - 1)

/* As many as a target of 32 bits has room for. */
#define UNCOUNTED_MAX (UINT32_MAX / LEFT_OVER)

struct vmware_device_state {
    uint64_t supported; /* what can be granted */
    balloon_vmware_session session;
    bool miscounts;     /* the driver counts like open-vm-tools */
    bool reset_told;    /* it was told to start again, and has not */
    uint32_t large;     /* pages of 2 MiB that it has locked */
    uint32_t uncounted; /* pages of 2 MiB that it freed after RESET and still counts but for one */
    uint64_t told;      /* the target that it knows of */
};

_Static_assert(sizeof(struct vmware_device_state) <= DEVICE_ROOM_BYTES, "vmware has room");

static struct vmware_device_state *vmware_state(balloon_device *d)
{
    return (struct vmware_device_state *)(void *)d->room;
}

static const struct vmware_device_state *vmware_const(const balloon_device *d)
{
    return (const struct vmware_device_state *)(const void *)d->room;
}

/* --- the session ------------------------------------------------------------------------------ */

static void forget_session(balloon_device *d)
{
    struct vmware_device_state *v = vmware_state(d);
    uint32_t room = UNCOUNTED_MAX - v->uncounted;

    if (v->miscounts)
        v->uncounted += v->large < room ? v->large : room;
    v->miscounts = v->reset_told = false;
    v->large = 0;
    v->told = 0;
    memset(&v->session, 0, sizeof(v->session));
    v->session.context = v->session.resource = BALLOON_VMWARE_NO_ID;
}

/* The target as this guest counts: what it believes to be in the balloon, and is not, comes on top.
 * An empty balloon is one however it counts. */
static uint64_t target_for(const balloon_device *d, balloon_vmware_width width)
{
    const struct vmware_device_state *v = vmware_const(d);
    uint64_t target = d->target ? d->target + (uint64_t)v->uncounted * LEFT_OVER : 0;

    return balloon_vmware_clamp_target(target, width, v->session.capabilities);
}

static bool has_doorbell(const balloon_vmware_session *s)
{
    return s->context != BALLOON_VMWARE_NO_ID && s->resource != BALLOON_VMWARE_NO_ID;
}

/* Nothing goes out but what the device itself wants. A guest without a doorbell asks by itself. */
static bool poll(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    (void)now;
    (void)action;
    if (!has_doorbell(&vmware_state(d)->session))
        d->tell_config = false;
    return false;
}

static balloon_time_t deadline(const balloon_device *d)
{
    (void)d;
    return BALLOON_TIME_NEVER;
}

static void put(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | from[i];
    return value;
}

static void save(const balloon_device *d, balloon_time_t now, uint8_t saved[SAVED_BINDING_BYTES])
{
    const balloon_vmware_session *s = &vmware_const(d)->session;

    (void)now;
    put(saved + SAVED_SUPPORTED, vmware_const(d)->supported, 8);
    put(saved + SAVED_GRANTED, s->capabilities, 8);
    put(saved + SAVED_LIMIT, s->limit, 8);
    put(saved + SAVED_GUEST, s->guest, 4);
    put(saved + SAVED_CONTEXT, s->context, 4);
    put(saved + SAVED_RESOURCE, s->resource, 4);
    put(saved + SAVED_UNCOUNTED, vmware_const(d)->uncounted, 4);
    put(saved + SAVED_LARGE, vmware_const(d)->large, 4);
    put(saved + SAVED_FLAGS,
        (vmware_const(d)->miscounts ? FLAG_MISCOUNTS : 0u) |
            (vmware_const(d)->reset_told ? FLAG_RESET_TOLD : 0u),
        1);
}

static bool load(balloon_device *d, balloon_time_t now, const uint8_t saved[SAVED_BINDING_BYTES])
{
    struct vmware_device_state *v = vmware_state(d);
    balloon_vmware_session *s = &v->session;
    const uint8_t flags = FLAG_MISCOUNTS | FLAG_RESET_TOLD;
    uint8_t rest = saved[SAVED_FLAGS] & (uint8_t)(0xff ^ flags);

    (void)now;
    for (unsigned i = SAVED_END; i < SAVED_BINDING_BYTES; i++)
        rest |= saved[i];
    s->capabilities = get(saved + SAVED_GRANTED, 8);
    s->limit = get(saved + SAVED_LIMIT, 8);
    s->guest = (uint32_t)get(saved + SAVED_GUEST, 4);
    s->context = (uint32_t)get(saved + SAVED_CONTEXT, 4);
    s->resource = (uint32_t)get(saved + SAVED_RESOURCE, 4);
    v->uncounted = (uint32_t)get(saved + SAVED_UNCOUNTED, 4);
    v->large = (uint32_t)get(saved + SAVED_LARGE, 4);
    v->miscounts = saved[SAVED_FLAGS] & FLAG_MISCOUNTS;
    v->reset_told = saved[SAVED_FLAGS] & FLAG_RESET_TOLD;
    v->told = 0;
    /* A driver was granted something. */
    return !rest && v->uncounted <= UNCOUNTED_MAX &&
           get(saved + SAVED_SUPPORTED, 8) == v->supported &&
           balloon_vmware_negotiate(s->capabilities, v->supported) == s->capabilities &&
           (!d->driver || s->capabilities) && (d->driver || !v->large) &&
           (s->capabilities ? !v->reset_told : !v->miscounts) &&
           d->chosen == (d->driver ? BALLOON_F_MUST_TELL : 0) &&
           (!has_doorbell(s) || (s->capabilities & BALLOON_VMWARE_DOORBELL));
}

/* For a guest with a doorbell: others ask once a second. */
static void nudge(balloon_device *d)
{
    d->tell_config = has_doorbell(&vmware_const(d)->session);
}

static const struct device_binding vmware = {
    .number = 2,
    .wide = true,
    .slack = BALLOON_VMWARE_SLACK,
    .overshoot = OVERSHOOT,
    .poll = poll,
    .deadline = deadline,
    .nudge = nudge,
    .reset = forget_session,
    .save = save,
    .load = load,
};

/* --- pages ------------------------------------------------------------------------------------ */

/* Is all of a range guest RAM, and how much of it is in the balloon? */
static bool look_up(const balloon_device *d, balloon_range range, uint64_t *held)
{
    bool is_held, inside;

    if (range.count == 1) {
        inside = bl_tracker_has(d->tracker, range.first, &is_held);
        *held = is_held;
        return inside;
    }
    *held = balloon_tracker_count(d->tracker, BALLOON_SET_HELD, range);
    return *held + balloon_tracker_count(d->tracker, BALLOON_SET_FREE, range) == range.count;
}

static balloon_vmware_status lock(balloon_device *d, const balloon_vmware_request *call,
                                  balloon_range range, balloon_time_t now)
{
    uint64_t held;

    if (!look_up(d, range, &held)) {
        d->count.inflate_outside += range.count;
        return BALLOON_VMWARE_PPN_INVALID;
    }
    if (call->entries && call->pfn - range.first < range.count)
        return BALLOON_VMWARE_PPN_INVALID;
    if (held) {
        d->count.inflate_duplicate += held;
        return call->entries ? BALLOON_VMWARE_PPN_INVALID : BALLOON_VMWARE_PPN_LOCKED;
    }
    if (balloon_tracker_held(d->tracker) >= d->target)
        return BALLOON_VMWARE_PPN_NOTNEEDED;
    if (d->inhibited)
        return BALLOON_VMWARE_PPN_PINNED;
    (void)bl_device_inflate_range(d, range, now);
    return BALLOON_VMWARE_SUCCESS;
}

/* Pages locked one by one may come back by 2 MiB and the other way round: what is held of a range
 * is the guest's again. */
static balloon_vmware_status unlock(balloon_device *d, balloon_range range)
{
    uint64_t held;

    if (!look_up(d, range, &held)) {
        d->count.deflate_outside += range.count;
        return BALLOON_VMWARE_PPN_INVALID;
    }
    (void)bl_device_deflate_range(d, range);
    return held ? BALLOON_VMWARE_SUCCESS : BALLOON_VMWARE_PPN_UNLOCKED;
}

static balloon_vmware_status move(balloon_device *d, const balloon_vmware_request *call,
                                  balloon_pfn_t pfn, balloon_time_t now)
{
    uint32_t *large = &vmware_state(d)->large;
    balloon_vmware_status status;
    balloon_range range;

    if (balloon_vmware_entry_range(call->command, pfn, &range) != BALLOON_OK)
        return BALLOON_VMWARE_PPN_INVALID;
    switch (call->command) {
    case BALLOON_VMWARE_LOCK:
    case BALLOON_VMWARE_BATCHED_LOCK:
        return lock(d, call, range, now);
    case BALLOON_VMWARE_BATCHED_2M_LOCK:
        status = lock(d, call, range, now);
        *large += status == BALLOON_VMWARE_SUCCESS && *large < UNCOUNTED_MAX;
        return status;
    case BALLOON_VMWARE_BATCHED_2M_UNLOCK:
        status = unlock(d, range);
        *large -= status == BALLOON_VMWARE_SUCCESS && *large;
        return status;
    default:
        return unlock(d, range);
    }
}

/* Entries of a batch as they were read, and their page numbers by 32 bits. */
struct batch {
    uint32_t count;
    bool high;   /* one has more than 32 bits */
    bool own;    /* the page of the batch itself may be among them */
    bool status; /* there is a status in one */
    uint64_t words[CHUNK];
    uint32_t pfns[CHUNK];
};

static void read_batch(struct batch *b, const uint8_t *page, uint32_t count, balloon_pfn_t own)
{
    struct narrowed bits;

    b->count = count;
    bl_copy_words_in(b->words, page, count);
    bits = bl_tracker_narrow(b->words, count, BALLOON_PAGE_SHIFT, (uint32_t)own, b->pfns);
    b->high = bits.any >> BALLOON_PAGE_SHIFT > UINT32_MAX;
    b->own = bits.found;
    b->status = bits.any & STATUS_BITS;
}

/* Single pages of which there is nothing to say but SUCCESS, up to the first that needs a look.
 * Returns how many they are. */
static uint32_t move_plain(balloon_device *d, const balloon_vmware_request *call,
                           const struct batch *b, balloon_time_t now)
{
    uint64_t held = balloon_tracker_held(d->tracker),
             room = d->target > held ? d->target - held : 0;
    uint32_t n = b->count < room ? b->count : (uint32_t)room;

    if (b->high)
        return 0;
    if (call->command == BALLOON_VMWARE_BATCHED_UNLOCK)
        return (uint32_t)bl_device_deflate_in_order(d, b->pfns, b->count);
    if (call->command != BALLOON_VMWARE_BATCHED_LOCK || d->inhibited ||
        (b->own && call->pfn < PFN32_END))
        return 0;
    return (uint32_t)bl_device_inflate_in_order(d, b->pfns, n, now);
}

/* The entries from number `from` on, one by one. */
static bool move_rest(balloon_device *d, const balloon_vmware_request *call, struct batch *b,
                      uint32_t from, balloon_time_t now)
{
    bool sane = true;

    for (uint32_t i = 0; i < b->count; i++)
        b->words[i] &= ~(uint64_t)STATUS_BITS;
    for (uint32_t i = from; i < b->count; i++) {
        balloon_vmware_status status = move(d, call, b->words[i] >> BALLOON_PAGE_SHIFT, now);

        sane &= status != BALLOON_VMWARE_PPN_INVALID;
        b->words[i] |= (uint64_t)status;
    }
    return sane;
}

/* Each entry is read once, and written as it was read: guests look for its page number again.
 * Nothing is written where all is as it was read. */
static balloon_vmware_status move_batch(balloon_device *d, const balloon_vmware_request *call,
                                        uint8_t *page, size_t bytes, bool *sane, balloon_time_t now)
{
    struct batch b;
    bool held;

    *sane = false;
    if (!page || bytes / BALLOON_VMWARE_ENTRY_BYTES < call->entries)
        return BALLOON_VMWARE_PPN_INVALID;
    (void)bl_tracker_has(d->tracker, call->pfn, &held);
    if (held)
        return BALLOON_VMWARE_PPN_LOCKED;
    *sane = true;
    for (uint32_t left = call->entries, went; left; left -= b.count) {
        read_batch(&b, page, left < CHUNK ? left : CHUNK, call->pfn);
        went = move_plain(d, call, &b, now);
        if (went < b.count || b.status) {
            *sane &= move_rest(d, call, &b, went, now);
            bl_copy_words_out(page, b.words, b.count);
        }
        page += (size_t)b.count * BALLOON_VMWARE_ENTRY_BYTES;
    }
    return BALLOON_VMWARE_SUCCESS;
}

/* --- commands --------------------------------------------------------------------------------- */

/* open-vm-tools alone offers 2 MiB without a doorbell: it has none, and Linux learned both in the
 * same release. Whoever else does so is found out by what it locks. */
static bool may_miscount(uint64_t offered, balloon_vmware_width width)
{
    return width == BALLOON_VMWARE_64_BIT && (offered & BALLOON_VMWARE_BATCHED_2M) &&
           !(offered & (BALLOON_VMWARE_DOORBELL | BALLOON_VMWARE_WIDE_TARGET));
}

/* A START is no driver yet: open-vm-tools leaves by one that is like all others. Who stays asks for
 * the target next. */
static balloon_vmware_reply start(balloon_device *d, uint64_t offered, balloon_vmware_width width)
{
    struct vmware_device_state *v = vmware_state(d);
    bool told = v->reset_told;
    balloon_vmware_reply reply;

    balloon_vmware_answer_start(offered, v->supported, &reply);
    balloon_device_reset(d);
    /* Who starts by itself begins to count. */
    if (offered && !told)
        v->uncounted = 0;
    v->session.capabilities = reply.capabilities;
    v->miscounts = reply.capabilities && may_miscount(offered, width);
    return reply;
}

static void attach(balloon_device *d, balloon_time_t now)
{
    if (d->driver)
        return;
    d->chosen = BALLOON_F_MUST_TELL;
    bl_device_attach(d, now);
}

/* Linux takes its doorbell back before its first START, from every host. */
static balloon_vmware_status set_doorbell(balloon_device *d, const balloon_vmware_request *call)
{
    balloon_vmware_session *s = &vmware_state(d)->session;
    balloon_vmware_session next = *s;

    next.context = call->context;
    next.resource = call->resource;
    if (has_doorbell(&next) && !(s->capabilities & BALLOON_VMWARE_DOORBELL))
        return BALLOON_VMWARE_CMD_INVALID;
    *s = next;
    return BALLOON_VMWARE_SUCCESS;
}

static bool locks(balloon_vmware_command command)
{
    return command == BALLOON_VMWARE_LOCK || command == BALLOON_VMWARE_BATCHED_LOCK ||
           command == BALLOON_VMWARE_BATCHED_2M_LOCK;
}

/* A guest that knows the target and goes on locking beyond it believes its balloon to be smaller
 * than it was taken to believe. */
static void check_belief(balloon_device *d, balloon_vmware_command command,
                         balloon_vmware_width width)
{
    struct vmware_device_state *v = vmware_state(d);

    if (v->uncounted && locks(command) && balloon_tracker_held(d->tracker) >= d->target &&
        v->told == target_for(d, width))
        v->uncounted = 0;
}

/* Commands about pages. */
static balloon_vmware_status act(balloon_device *d, const balloon_vmware_request *call, void *page,
                                 size_t bytes, bool *sane, balloon_time_t now)
{
    balloon_vmware_session *s = &vmware_state(d)->session;
    balloon_vmware_status status = BALLOON_VMWARE_SUCCESS;
    uint64_t held;

    if (!s->capabilities) {
        vmware_state(d)->reset_told = true;
        return BALLOON_VMWARE_RESET;
    }
    *sane = balloon_vmware_allowed(call->command, s->capabilities);
    if (!*sane)
        return BALLOON_VMWARE_CMD_INVALID;
    attach(d, now);
    if (call->command == BALLOON_VMWARE_GET_TARGET) {
        s->limit = call->limit;
        d->tell_config = false; /* it is being told */
        return BALLOON_VMWARE_SUCCESS;
    }
    if (call->entries) {
        status = move_batch(d, call, page, bytes, sane, now);
    } else {
        status = move(d, call, call->pfn, now);
        *sane = status != BALLOON_VMWARE_PPN_INVALID;
    }
    held = balloon_tracker_held(d->tracker);
    bl_device_set_actual(d, held < UINT32_MAX ? held : UINT32_MAX);
    return status;
}

balloon_status balloon_vmware_call(balloon_device *d, balloon_vmware_frame *frame,
                                   balloon_vmware_width width, void *batch, size_t bytes,
                                   balloon_time_t now)
{
    balloon_vmware_request call = {0};
    balloon_vmware_reply reply = {BALLOON_VMWARE_SUCCESS, 0, 0};
    bool sane = true;

    if (d->binding != &vmware)
        return BALLOON_ERR_STATE;
    if (!balloon_vmware_is_call(frame))
        return BALLOON_ERR_INVALID;
    d->count.buffers++;
    d->count.acks++;
    if (balloon_vmware_read_request(frame, width, &call) != BALLOON_OK) {
        reply.status = BALLOON_VMWARE_CMD_INVALID;
        sane = false;
    } else if (call.command == BALLOON_VMWARE_START) {
        reply = start(d, call.capabilities, width);
    } else if (call.command == BALLOON_VMWARE_SET_GUEST) {
        vmware_state(d)->session.guest = call.guest;
    } else if (call.command == BALLOON_VMWARE_SET_DOORBELL) {
        reply.status = set_doorbell(d, &call);
    } else {
        check_belief(d, call.command, width);
        reply.status = act(d, &call, batch, bytes, &sane, now);
        /* Guests take the target from any answer; nothing is wanted of one that has not started. */
        if (vmware_state(d)->session.capabilities)
            reply.target = target_for(d, width);
        if (reply.status == BALLOON_VMWARE_SUCCESS)
            vmware_state(d)->told = reply.target;
    }
    if (!sane)
        d->count.protocol_errors++;
    return balloon_vmware_write_reply(call.command, &reply, width, frame);
}

/* --- setting up ------------------------------------------------------------------------------- */

balloon_status balloon_vmware_configure(balloon_device *d, const balloon_vmware_options *options)
{
    uint64_t supported = BALLOON_VMWARE_CAPABILITIES_DEFAULT;

    if (!bl_sized(options, sizeof(*options)))
        return BALLOON_ERR_INVALID;
    if (options->capabilities)
        supported = options->capabilities;
    if ((supported & ~(uint64_t)BALLOON_VMWARE_CAPABILITIES_ALL) ||
        !(supported & BALLOON_VMWARE_BASIC) ||
        balloon_vmware_negotiate(supported, supported) != supported ||
        !(d->offered & BALLOON_F_MUST_TELL))
        return BALLOON_ERR_INVALID;
    if (d->driver || (d->binding == &vmware && vmware_state(d)->session.capabilities))
        return BALLOON_ERR_STATE;
    bl_device_bind(d, &vmware);
    memset(vmware_state(d), 0, sizeof(*vmware_state(d)));
    vmware_state(d)->supported = supported;
    forget_session(d);
    return BALLOON_OK;
}

void balloon_vmware_session_get(const balloon_device *d, balloon_vmware_session *session)
{
    memset(session, 0, sizeof(*session));
    if (d->binding == &vmware)
        *session = vmware_const(d)->session;
}
