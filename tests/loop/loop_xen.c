/* Xen: messages to the store and from it, which may be late, and hypercalls, which are answered at
 * once and may do less than asked. */
#include <criterion/criterion.h>
#include <string.h>

#include "loop.h"

#define RING 32

static struct ring {
    struct message {
        size_t bytes;
        uint8_t payload[BALLOON_XEN_SEND_BYTES];
    } messages[RING];
    unsigned first, count;
} to_store, to_guest;
static bool hypercall;

static struct message *push(struct loop *l, struct ring *r)
{
    if (r->count == RING) {
        loop_fail(l, "a ring is full");
        return &r->messages[0];
    }
    return &r->messages[(r->first + r->count++) % RING];
}

static balloon_xen_layout layout_of(const struct loop *l)
{
    return l->capabilities >> 8 & 1 ? BALLOON_XEN_32 : BALLOON_XEN_64;
}

static void close_xen(struct loop *l)
{
    (void)l;
    to_store.count = to_guest.count = 0;
    hypercall = false;
}

/* The toolstack sets static-max once, and does not ask for a larger balloon. */
static void configure_xen(struct loop *l)
{
    balloon_xen_options host = {
        .size = sizeof(host), .layout = layout_of(l), .static_max = LOOP_PAGES};

    l->most = LOOP_PAGES;
    LOOP_MUST(l, balloon_xen_configure(l->device, &host));
}

static void open_xen(struct loop *l)
{
    balloon_xen_driver_options guest = {.size = sizeof(guest),
                                        .layout = layout_of(l),
                                        .first_id = 1000,
                                        .extents = l->capabilities & 1 ? 16 : 0,
                                        .no_large = l->capabilities >> 1 & 1,
                                        .feature = l->capabilities >> 2 & 1};

    if (balloon_xen_driver_open(l->driver, &guest) != BALLOON_OK)
        loop_fail(l, "cannot open");
}

static void driver_xen(struct loop *l, const balloon_driver_action *a)
{
    if (a->type != BALLOON_DRIVER_SEND) {
        loop_fail(l, "action %d", (int)a->type);
        return;
    }
    if (a->channel != BALLOON_CHANNEL_CONTROL) {
        hypercall = true;
        return;
    }
    struct message *m = push(l, &to_store);

    if (balloon_xen_driver_write(l->driver, m->payload, sizeof(m->payload), &m->bytes) !=
        BALLOON_OK)
        loop_fail(l, "no request");
}

static void device_xen(struct loop *l, const balloon_action *a)
{
    if (a->type != BALLOON_ACTION_SEND) {
        loop_fail(l, "action %d", (int)a->type);
        return;
    }
    struct message *m = push(l, &to_guest);
    balloon_status status = balloon_xen_write(l->device, m->payload, sizeof(m->payload), &m->bytes);

    if (status == BALLOON_ERR_STATE)
        to_guest.count--;
    else if (status != BALLOON_OK)
        loop_fail(l, "no message: %s", balloon_status_text(status));
}

static void call(struct loop *l)
{
    static uint64_t list[4096];
    balloon_xen_reservation reservation;
    uint32_t command;
    int64_t result = 0;
    balloon_status status =
        balloon_xen_driver_reservation(l->driver, list, sizeof(list), 4096, &command, &reservation);

    if (status == BALLOON_ERR_STATE)
        return;
    if (status != BALLOON_OK) {
        loop_fail(l, "no hypercall: %s", balloon_status_text(status));
        return;
    }
    uint64_t asked = reservation.extents;

    /* Sometimes the hypervisor runs out of memory on the way. */
    if (prng_one_in(&l->prng, 10))
        reservation.extents = prng_below(&l->prng, reservation.extents + 1);
    balloon_iov iov = {list, sizeof(list)};

    if (balloon_xen_memory_op(l->device, command, &reservation, &iov, 1, &result, l->now) !=
        BALLOON_OK)
        loop_fail(l, "the host refuses a hypercall");
    /* The list is the hypervisor's to write to; and it may say that it did more than was asked. */
    bool spoilt = result == (int64_t)asked && prng_one_in(&l->prng, 8);

    for (unsigned i = 0; i < 4 && prng_one_in(&l->prng, 2); i++)
        list[i] = loop_foreign(l);
    status = balloon_xen_driver_result(l->driver, result + spoilt, l->now);
    if (status != BALLOON_OK && !(spoilt && status == BALLOON_ERR_PROTOCOL))
        loop_fail(l, "the driver refuses a result of %d", (int)result);
}

static bool is_event(const struct message *m)
{
    return m->payload[0] == BALLOON_XEN_WATCH_EVENT;
}

/* Replies keep their order, and so do events; a reply and an event have none. */
static void overtake(struct loop *l, struct ring *r)
{
    struct message *first = &r->messages[r->first], *second = &r->messages[(r->first + 1) % RING];
    struct message m = *first;

    if (r->count < 2 || is_event(first) == is_event(second) || prng_one_in(&l->prng, 2))
        return;
    *first = *second;
    *second = m;
}

static bool carry_xen(struct loop *l)
{
    bool guest = prng_one_in(&l->prng, 2) ? to_guest.count != 0 : !to_store.count;
    struct ring *r = guest ? &to_guest : &to_store;
    struct message *m = &r->messages[r->first];
    balloon_status status;

    if (hypercall && prng_one_in(&l->prng, 2)) {
        hypercall = false;
        call(l);
        return true;
    }
    if (!r->count)
        return hypercall;
    if (guest)
        overtake(l, r);
    if (guest)
        status = balloon_xen_driver_receive(l->driver, m->payload, m->bytes, l->now);
    else
        status = balloon_xen_receive(l->device, m->payload, m->bytes, l->now);
    if (status == BALLOON_ERR_BUSY)
        return true;
    r->first = (r->first + 1) % RING;
    r->count--;
    if (status != BALLOON_OK)
        loop_fail(l, "the %s refuses a message of type %d: %s", guest ? "guest" : "store",
                  m->payload[0], balloon_status_text(status));
    return true;
}

static const struct loop_transport xen = {
    .name = "Xen",
    .needs = BALLOON_F_MUST_TELL,
    .may_deflate = true,
    .starts_out = true,
    .configure = configure_xen,
    .open = open_xen,
    .close = close_xen,
    .driver_action = driver_xen,
    .device_action = device_xen,
    .carry = carry_xen,
};

Test(loop, xen, .timeout = 600)
{
    loop_run(&xen, 4, loop_steps());
}
