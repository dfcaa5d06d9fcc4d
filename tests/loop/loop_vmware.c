/* VMware: calls that are answered at once, and a doorbell that may be late, rung twice or not
 * heard. Now and then the host forgets everything, as after a restart, and says so by RESET. */
#include <criterion/criterion.h>
#include <string.h>

#include "loop.h"

static bool called[BALLOON_CHANNELS], rung;
static size_t call_bytes;

static balloon_vmware_width width_of(const struct loop *l)
{
    return l->capabilities >> 8 & 1 ? BALLOON_VMWARE_32_BIT : BALLOON_VMWARE_64_BIT;
}

static void close_vmware(struct loop *l)
{
    (void)l;
    memset(called, 0, sizeof(called));
    rung = false;
}

static void configure_vmware(struct loop *l)
{
    balloon_vmware_options host = {.size = sizeof(host)};

    host.capabilities = (l->capabilities & BALLOON_VMWARE_CAPABILITIES_ALL) | BALLOON_VMWARE_BASIC;
    if (!(host.capabilities & BALLOON_VMWARE_BATCHED))
        host.capabilities &= ~(uint64_t)BALLOON_VMWARE_BATCHED_2M;
    LOOP_MUST(l, balloon_vmware_configure(l->device, &host));
}

static void open_vmware(struct loop *l)
{
    balloon_vmware_driver_options guest = {
        .size = sizeof(guest), .width = width_of(l), .context = 5, .resource = 7};

    if (balloon_vmware_driver_open(l->driver, &guest, l->now) != BALLOON_OK)
        loop_fail(l, "cannot open");
}

static void driver_vmware(struct loop *l, const balloon_driver_action *a)
{
    if (a->type != BALLOON_DRIVER_SEND)
        loop_fail(l, "action %d", (int)a->type);
    called[a->channel] = true;
    call_bytes = a->bytes;
}

static void device_vmware(struct loop *l, const balloon_action *a)
{
    (void)l;
    rung = rung || a->type == BALLOON_ACTION_CONFIG_IRQ;
    if (a->type != BALLOON_ACTION_CONFIG_IRQ)
        loop_fail(l, "action %d", (int)a->type);
}

/* The host writes another page into an answer: it must not matter, answers go by their place. */
static bool spoil(struct loop *l, const balloon_vmware_frame *frame, uint64_t *batch)
{
    balloon_vmware_request request;

    if (balloon_vmware_read_request(frame, width_of(l), &request) != BALLOON_OK ||
        !request.entries || !prng_one_in(&l->prng, 8))
        return false;
    /* Little-endian; the status is in the lowest 12 bits and stays. */
    unsigned char *entry = (unsigned char *)&batch[prng_below(&l->prng, request.entries)];
    uint64_t other = loop_foreign(l) << BALLOON_PAGE_SHIFT;

    entry[1] = (unsigned char)((entry[1] & 0xf) | (other >> 8 & 0xf0));
    for (unsigned i = 2; i < 8; i++)
        entry[i] = (unsigned char)(other >> 8 * i);
    return true;
}

static void call(struct loop *l, balloon_driver_channel channel)
{
    static uint64_t batch[512];
    balloon_vmware_frame asked;
    bool spoilt;
    balloon_vmware_frame frame;
    balloon_pfn_t pfn = LOOP_PAGES + LOOP_PLUG + 5; /* no RAM of the balloon's */
    balloon_status status =
        balloon_vmware_driver_write(l->driver, channel, &frame, batch, sizeof(batch), pfn);

    /* A call that is not wanted any more need not be made. */
    if (status == BALLOON_ERR_STATE)
        return;
    asked = frame;
    if (status != BALLOON_OK || call_bytes > sizeof(batch) ||
        balloon_vmware_call(l->device, &frame, width_of(l), batch, sizeof(batch), l->now) !=
            BALLOON_OK)
        loop_fail(l, "cannot call for channel %d: %s", (int)channel, balloon_status_text(status));
    spoilt = spoil(l, &asked, batch);
    status = balloon_vmware_driver_reply(l->driver, &frame, batch, sizeof(batch), l->now);
    if (status != BALLOON_OK && !(spoilt && status == BALLOON_ERR_PROTOCOL))
        loop_fail(l, "the driver refuses an answer: %s", balloon_status_text(status));
}

static bool carry_vmware(struct loop *l)
{
    if (!l->calm && prng_one_in(&l->prng, 2000))
        balloon_device_reset(l->device);
    if (rung && prng_one_in(&l->prng, 3)) {
        rung = prng_one_in(&l->prng, 4);
        if (!prng_one_in(&l->prng, 4))
            balloon_vmware_driver_doorbell(l->driver, l->now);
        return true;
    }
    for (unsigned i = 0; i < BALLOON_CHANNELS; i++)
        if (called[i]) {
            called[i] = false;
            call(l, (balloon_driver_channel)i);
            return true;
        }
    return false;
}

static const struct loop_transport vmware = {
    .name = "VMware",
    .needs = BALLOON_F_MUST_TELL,
    .small_pages = true,
    .may_deflate = true,
    .slack = BALLOON_VMWARE_SLACK,
    .configure = configure_vmware,
    .open = open_vmware,
    .close = close_vmware,
    .driver_action = driver_vmware,
    .device_action = device_vmware,
    .carry = carry_vmware,
};

Test(loop, vmware, .timeout = 600)
{
    loop_run(&vmware, 3, loop_steps());
}
