/* Hyper-V: a ring for each direction. Packets keep their order, and may be late. */
#include <criterion/criterion.h>
#include <string.h>

#include "loop.h"

/* A guest that is small by what it gives at a time says much at once. */
#define RING 512

static struct ring {
    struct packet {
        size_t bytes;
        uint8_t payload[BALLOON_HYPERV_MESSAGE_BYTES];
    } packets[RING];
    unsigned first, count;
} to_host, to_guest;

static struct packet *push(struct loop *l, struct ring *r)
{
    if (r->count == RING) {
        loop_fail(l, "a ring is full");
        return &r->packets[0];
    }
    return &r->packets[(r->first + r->count++) % RING];
}

static void pop(struct ring *r)
{
    r->first = (r->first + 1) % RING;
    r->count--;
}

static void close_hyperv(struct loop *l)
{
    to_host.count = to_guest.count = 0;
    balloon_hyperv_close(l->device);
}

static void configure_hyperv(struct loop *l)
{
    balloon_hyperv_options host = {.size = sizeof(host),
                                   .start_delay = 1000000,
                                   .answer_timeout = UINT64_C(3600000000000),
                                   .retry_delay = l->capabilities & 1 ? 1000000000 : 0};

    LOOP_MUST(l, balloon_hyperv_configure(l->device, &host));
}

static void open_hyperv(struct loop *l)
{
    balloon_hyperv_driver_options guest = {.size = sizeof(guest),
                                           .report_delay = 1000000,
                                           .hot_add = l->capabilities & 2,
                                           .alignment = 1};

    if (balloon_hyperv_open(l->device) != BALLOON_OK ||
        balloon_hyperv_driver_open(l->driver, &guest, l->now) != BALLOON_OK)
        loop_fail(l, "cannot open the channel");
}

static void driver_hyperv(struct loop *l, const balloon_driver_action *a)
{
    struct packet *p = push(l, &to_host);
    size_t room = prng_one_in(&l->prng, 2) ? sizeof(p->payload) : a->bytes;
    balloon_status status =
        balloon_hyperv_driver_write(l->driver, a->channel, p->payload, room, l->now, &p->bytes);

    if (a->type != BALLOON_DRIVER_SEND || status != BALLOON_OK)
        loop_fail(l, "no message for action %d of channel %d: %s", (int)a->type, (int)a->channel,
                  balloon_status_text(status));
}

static void device_hyperv(struct loop *l, const balloon_action *a)
{
    size_t room = prng_one_in(&l->prng, 2) ? BALLOON_HYPERV_MESSAGE_BYTES : 24;

    if (a->type == BALLOON_ACTION_CONFIG_IRQ)
        loop_fail(l, "an interrupt for a configuration that is not there");
    if (a->type != BALLOON_ACTION_SEND)
        return;
    struct packet *p = push(l, &to_guest);
    balloon_status status = balloon_hyperv_write(l->device, p->payload, room, l->now, &p->bytes);

    if (status == BALLOON_ERR_STATE)
        to_guest.count--;
    else if (status != BALLOON_OK)
        loop_fail(l, "no message: %s", balloon_status_text(status));
}

/* The host offers memory, if the guest has said that it can take it and nothing else is under way.
 */
static void hot_add_hyperv(struct loop *l)
{
    balloon_hyperv_hot_add request = {.range = {LOOP_PAGES, LOOP_PLUG},
                                      .region = {LOOP_PAGES, LOOP_PLUG},
                                      .has_region = prng_one_in(&l->prng, 2)};

    if (!l->plugged)
        (void)!balloon_hyperv_hot_add_request(l->device, &request);
}

/* What the guest has taken into use is guest memory from now on. */
static void hot_added(struct loop *l)
{
    balloon_hyperv_session session;

    balloon_hyperv_session_get(l->device, &session);
    if (session.hot_add != BALLOON_HYPERV_HOT_ADD_ANSWERED || !l->plugged || l->plug_told)
        return;
    if (session.added != l->plugged)
        loop_fail(l, "the host has added %u pages", (unsigned)session.added);
    loop_plug_told(l);
}

/* A list that goes on, of pages that the guest has itself: it must free none of them. */
static void return_foreign(struct loop *l)
{
    uint8_t packet[200];
    uint64_t packed[8];
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_UNBALLOON_REQUEST};

    m.body.ranges = (balloon_hyperv_ranges){packed, 0, true};
    for (unsigned i = 0; i < 4; i++) {
        balloon_range range = {loop_foreign(l), 1};

        while (range.count < 64 && (range.first + range.count >= LOOP_PAGES + LOOP_PLUG ||
                                    l->kernel.owner[range.first + range.count] != KERNEL_LENT))
            range.count++;
        LOOP_MUST(l, balloon_hyperv_pack(&range, packed, &m.body.ranges.count, 8));
    }
    size_t used = balloon_hyperv_encode(&m, packet, sizeof(packet));
    balloon_status status = balloon_hyperv_driver_receive(l->driver, packet, used, l->now);

    if (used > sizeof(packet) || (status != BALLOON_OK && status != BALLOON_ERR_BUSY))
        loop_fail(l, "the guest refuses a list: %s", balloon_status_text(status));
}

/* A guest waits 5 s for an answer to its greeting. */
static bool gave_up(struct loop *l)
{
    balloon_hyperv_driver_session session;

    balloon_hyperv_driver_session_get(l->driver, &session);
    if (session.phase == BALLOON_HYPERV_FAILED)
        loop_lost(l);
    return session.phase == BALLOON_HYPERV_FAILED;
}

static bool carry_hyperv(struct loop *l)
{
    bool guest = prng_one_in(&l->prng, 2) ? to_guest.count != 0 : !to_host.count;
    struct ring *r = guest ? &to_guest : &to_host;
    struct packet *p = &r->packets[r->first];
    balloon_status status;

    if (!r->count)
        return false;
    if (guest && p->payload[0] == BALLOON_HYPERV_UNBALLOON_REQUEST && prng_one_in(&l->prng, 4)) {
        return_foreign(l);
        return true;
    }
    if (guest)
        status = balloon_hyperv_driver_receive(l->driver, p->payload, p->bytes, l->now);
    else
        status = balloon_hyperv_receive(l->device, p->payload, p->bytes, l->now);
    if (guest && status == BALLOON_ERR_BUSY)
        return true;
    pop(r);
    if (!guest)
        hot_added(l);
    if (gave_up(l))
        return true;
    if (status != BALLOON_OK)
        loop_fail(l, "the %s refuses a packet of type %d: %s", guest ? "guest" : "host",
                  p->payload[0], balloon_status_text(status));
    return true;
}

static const struct loop_transport hyperv = {
    .name = "Hyper-V",
    .features = BALLOON_F_STATS,
    .needs = BALLOON_F_MUST_TELL,
    .small_pages = true,
    .needs_tracker = true,
    .configure = configure_hyperv,
    .hot_add = hot_add_hyperv,
    .open = open_hyperv,
    .close = close_hyperv,
    .driver_action = driver_hyperv,
    .device_action = device_hyperv,
    .carry = carry_hyperv,
};

Test(loop, hyperv, .timeout = 600)
{
    loop_run(&hyperv, 2, loop_steps());
}
