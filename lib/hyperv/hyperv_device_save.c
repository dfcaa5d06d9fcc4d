/* The Hyper-V binding of the device: its part of the saved form. */
#include <string.h>

#include "hyperv_device_p.h"

/* What is left of a time-out is saved in units of 2^30 ns, about a second: 32-bit machines cannot
 * divide by others without a helper. */
#define LEFT_SHIFT 30

/* Writes or reads numbers one after the other. */
struct cursor {
    uint8_t *bytes;
    unsigned at;
};

static void put(struct cursor *c, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        c->bytes[c->at++] = (uint8_t)(value >> 8 * i);
}

/* Rounded up, so that it is never the 0 of earlier versions, and cut to what there is room for. */
static uint64_t units_left(balloon_time_t at, balloon_time_t now)
{
    uint64_t left = at > now ? ((at - now - 1) >> LEFT_SHIFT) + 1 : 1;

    return left < UINT16_MAX ? left : UINT16_MAX;
}

void bl_hyperv_save(const balloon_device *d, balloon_time_t now, uint8_t saved[SAVED_BINDING_BYTES])
{
    const struct hyperv_device_talk *t = &hyperv_const(d)->talk;
    const balloon_hyperv_capabilities *can = &t->capabilities;
    struct cursor c = {saved, 0};

    put(&c, 1, t->phase);
    put(&c, 1, t->answer);
    put(&c, 1,
        (unsigned)t->accepted | (unsigned)t->gained << 1 | (unsigned)t->exhausted << 2 |
            (unsigned)can->balloon << 3 | (unsigned)can->hot_add << 4 |
            (unsigned)can->hot_remove << 5 | (unsigned)t->request.has_region << 6);
    put(&c, 1, (unsigned)can->alignment | (unsigned)t->hot_add << 4 | (unsigned)t->outcome << 6);
    put(&c, 4, t->answer_id);
    put(&c, 4, t->next_id);
    put(&c, 4, t->version);
    put(&c, 8, t->start_at > now ? t->start_at - now : 0);
    put(&c, 4, t->left);
    put(&c, 4, t->exhausted_target);
    put(&c, 8, t->retry_at > now ? t->retry_at - now : 0);
    put(&c, 8, t->request.range.first | t->request.range.count << 40);
    put(&c, 8, t->request.region.first | t->request.region.count << 40);
    put(&c, 4, t->added);
    put(&c, 1, t->silent);
    put(&c, 1, (unsigned)t->unanswered | (unsigned)t->unconfirmed << 4);
    put(&c, 2, hyperv_waits(t) ? units_left(t->answer_at, now) : 0);
}

static uint64_t get(const uint8_t **from, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | (*from)[i];
    *from += bytes;
    return value;
}

static balloon_range get_range(const uint8_t **from)
{
    uint64_t word = get(from, 8);

    return (balloon_range){word & (BALLOON_HYPERV_PFN_LIMIT - 1), word >> 40};
}

static bool sound_handshake(const balloon_device *d, const struct hyperv_device_talk *t)
{
    bool versioned = t->phase > BALLOON_HYPERV_VERSION ||
                     (t->answer == BALLOON_HYPERV_VERSION_RESPONSE && t->accepted);

    if (t->phase > BALLOON_HYPERV_HOT_ADDING || d->driver != (t->phase >= BALLOON_HYPERV_IDLE))
        return false;
    if (t->answer &&
        !(t->answer == BALLOON_HYPERV_VERSION_RESPONSE && t->phase == BALLOON_HYPERV_VERSION) &&
        !(t->answer == BALLOON_HYPERV_CAPABILITIES_RESPONSE &&
          t->phase == BALLOON_HYPERV_CAPABILITIES))
        return false;
    if (versioned ? !balloon_hyperv_version_known(t->version) : t->version != 0)
        return false;
    return d->chosen == (d->driver ? d->offered : 0);
}

/* Earlier versions did not limit how long an answer takes: 0. */
static bool get_answers(const uint8_t **from, const balloon_device *d, struct hyperv_device_talk *t,
                        balloon_time_t now)
{
    uint64_t silent = get(from, 1), owed = get(from, 1), left = get(from, 2);

    t->silent = silent == 1;
    t->unanswered = (uint8_t)(owed & OWED_MOST);
    t->unconfirmed = (uint8_t)(owed >> 4);
    t->answer_at = time_after(now, left ? left << LEFT_SHIFT : hyperv_const(d)->answer_timeout);
    return silent <= 1 && (hyperv_waits(t) || !left);
}

static bool sound_requests(const struct hyperv_device_talk *t)
{
    const balloon_hyperv_hot_add *r = &t->request;
    bool asked = t->hot_add == BALLOON_HYPERV_HOT_ADD_ASKED;

    if (t->left > BALLOON_HYPERV_REQUEST_PAGES_MAX)
        return false;
    if (asked != (t->phase == BALLOON_HYPERV_HOT_ADDING) ||
        (t->hot_add && (t->phase < BALLOON_HYPERV_IDLE || !balloon_hyperv_hot_add_valid(r))))
        return false;
    return t->added <= r->range.count;
}

bool bl_hyperv_load(balloon_device *d, balloon_time_t now, const uint8_t saved[SAVED_BINDING_BYTES])
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    balloon_hyperv_capabilities *can = &t->capabilities;
    const uint8_t *from = saved;
    unsigned flags, small;
    bool sound;

    memset(t, 0, sizeof(*t));
    t->phase = (balloon_hyperv_phase)get(&from, 1);
    t->answer = (balloon_hyperv_type)get(&from, 1);
    flags = (unsigned)get(&from, 1);
    small = (unsigned)get(&from, 1);
    t->accepted = flags & 1;
    t->gained = flags >> 1 & 1;
    t->exhausted = flags >> 2 & 1;
    can->balloon = flags >> 3 & 1;
    can->hot_add = flags >> 4 & 1;
    can->hot_remove = flags >> 5 & 1;
    t->request.has_region = flags >> 6 & 1;
    can->alignment = small & 15;
    t->hot_add = (balloon_hyperv_hot_add_phase)(small >> 4 & 3);
    t->outcome = (balloon_hyperv_outcome)(small >> 6);
    t->answer_id = (uint32_t)get(&from, 4);
    t->next_id = (uint32_t)get(&from, 4);
    t->version = (uint32_t)get(&from, 4);
    t->start_at = time_after(now, get(&from, 8));
    t->left = (uint32_t)get(&from, 4);
    t->exhausted_target = get(&from, 4);
    t->retry_at = time_after(now, get(&from, 8));
    t->request.range = get_range(&from);
    t->request.region = get_range(&from);
    t->added = (uint32_t)get(&from, 4);
    sound = get_answers(&from, d, t, now);
    if (!t->phase)
        from = saved; /* Without a channel there is nothing to know. */
    while (from < saved + SAVED_BINDING_BYTES)
        flags |= (unsigned)*from++ << 7;
    return sound && flags < 128 && sound_handshake(d, t) && sound_requests(t);
}
