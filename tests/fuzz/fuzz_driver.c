/* The driver against a host that says anything, on every transport: the kernel's pages stay its
 * own, each page is in one place, and what the driver sends names pages that were lent. */
#include <balloon/balloon.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fuzz targets are linked to the library alone. */
#include "guest_kernel.c"
#include "prng.c"

enum { PAGES = 256, RUNS = 512, TRANSPORTS = 4 };

struct guest {
    struct prng prng;
    struct guest_kernel kernel;
    balloon_driver *driver;
    uint64_t hints[PAGES], hint_count;
    balloon_time_t now;
    unsigned transport;
    bool busy; /* a SEND waits for its message to be made */
    balloon_driver_channel channel;
    uint32_t room;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    abort();
}

/* --- the kernel ------------------------------------------------------------------------------- */

static void lend(struct guest *g, const balloon_driver_action *a)
{
    static balloon_range runs[RUNS];
    uint64_t pages = a->pages < PAGES ? a->pages : PAGES;
    size_t count = kernel_lend(&g->kernel, prng_one_in(&g->prng, 4) ? pages / 2 : pages, a->block,
                               a->channel != BALLOON_CHANNEL_INFLATE, runs,
                               a->max_runs < RUNS ? a->max_runs : RUNS);

    if (balloon_driver_give(g->driver, a->channel, runs, count, g->now) != BALLOON_OK)
        fail("the driver refuses pages that it asked for");
    for (size_t i = 0; a->channel == BALLOON_CHANNEL_HINT && i < count; i++)
        for (uint64_t p = 0; p < runs[i].count; p++)
            g->hints[g->hint_count++] = runs[i].first + p;
}

static void take_back(struct guest *g, const balloon_driver_action *a)
{
    for (uint32_t i = 0; i < a->run_count; i++)
        kernel_return(&g->kernel, a->runs[i]);
    if (a->channel == BALLOON_CHANNEL_HINT && a->pages > g->hint_count)
        fail("more hinted pages come back than were lent");
    for (uint64_t i = 0; a->channel == BALLOON_CHANNEL_HINT && i < a->pages; i++)
        kernel_return(&g->kernel, (balloon_range){g->hints[--g->hint_count], 1});
}

static void must_be_lent(const struct guest *g, uint64_t pfn)
{
    if (pfn >= PAGES || g->kernel.owner[pfn] != KERNEL_LENT)
        fail("a message names a page that was not lent");
}

/* --- the transports --------------------------------------------------------------------------- */

static void open_driver(struct guest *g)
{
    uint64_t chosen;
    balloon_hyperv_driver_options hyperv = {
        .size = sizeof(hyperv), .report_delay = 1, .hot_add = prng_one_in(&g->prng, 2)};
    balloon_vmware_driver_options vmware = {.size = sizeof(vmware), .context = 1, .resource = 2};
    balloon_xen_driver_options xen = {.size = sizeof(xen), .first_id = 7};
    balloon_virtio_driver_options virtio = {
        .size = sizeof(virtio), .numbering = (balloon_virtio_numbering)prng_below(&g->prng, 3)};

    switch (g->transport) {
    case 0:
        if (balloon_virtio_driver_negotiate(g->driver, prng_next(&g->prng), &virtio, &chosen) ==
            BALLOON_OK)
            (void)!balloon_virtio_driver_start(g->driver, g->now);
        break;
    case 1:
        (void)!balloon_hyperv_driver_open(g->driver, &hyperv, g->now);
        break;
    case 2:
        (void)!balloon_vmware_driver_open(g->driver, &vmware, g->now);
        break;
    default:
        (void)!balloon_xen_driver_open(g->driver, &xen);
        break;
    }
}

static void send_virtio(struct guest *g)
{
    static uint8_t buffer[65536];
    balloon_virtio_message m;
    balloon_virtio_reader reader;
    uint32_t pfn;

    if (balloon_virtio_driver_write(g->driver, g->channel, buffer, g->room, &m) != BALLOON_OK)
        fail("no message for a SEND");
    balloon_iov iov = {buffer, m.bytes};

    balloon_virtio_reader_init(&reader, &iov, 1, m.bytes, BALLOON_LITTLE_ENDIAN);
    if (g->channel == BALLOON_CHANNEL_INFLATE || g->channel == BALLOON_CHANNEL_DEFLATE)
        while (balloon_virtio_read_pfns(&reader, &pfn, 1))
            must_be_lent(g, pfn);
    for (uint32_t i = 0; i < m.span_count; i++)
        for (uint64_t p = 0; p < m.spans[i].count; p++)
            must_be_lent(g, m.spans[i].first + p);
}

static void send_hyperv(struct guest *g)
{
    static uint8_t buffer[BALLOON_HYPERV_WIRE_BYTES_MAX];
    balloon_hyperv_message m;
    balloon_range range;
    size_t used;

    if (balloon_hyperv_driver_write(g->driver, g->channel, buffer, sizeof(buffer), g->now, &used) !=
        BALLOON_OK)
        return;
    if (balloon_hyperv_decode(buffer, used, &m) != BALLOON_OK)
        fail("a message that nobody can read");
    for (uint32_t i = 0; m.type == BALLOON_HYPERV_BALLOON_RESPONSE && i < m.body.ranges.count; i++)
        if (balloon_hyperv_read_ranges(&m.body.ranges, i, &range, 1))
            for (uint64_t p = 0; p < range.count; p++)
                must_be_lent(g, range.first + p);
}

/* The host may change any register and any entry. */
static void send_vmware(struct guest *g)
{
    balloon_vmware_frame frame;
    uint64_t batch[512];
    balloon_vmware_request request;
    balloon_vmware_entry entries[512];

    if (balloon_vmware_driver_write(g->driver, g->channel, &frame, batch, sizeof(batch),
                                    PAGES + 5) != BALLOON_OK)
        return;
    if (balloon_vmware_read_request(&frame, BALLOON_VMWARE_64_BIT, &request) != BALLOON_OK)
        fail("a call that nobody understands");
    if (request.entries &&
        balloon_vmware_read_batch(batch, sizeof(batch), request.entries, entries) == BALLOON_OK)
        for (uint32_t i = 0; i < request.entries; i++)
            must_be_lent(g, entries[i].pfn);
    frame.ax = prng_one_in(&g->prng, 2) ? 0 : prng_below(&g->prng, 10);
    if (request.command == BALLOON_VMWARE_START && prng_one_in(&g->prng, 2))
        frame.ax = BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES;
    frame.bx = prng_one_in(&g->prng, 8) ? prng_next(&g->prng) : prng_below(&g->prng, 2 * PAGES);
    frame.cx = prng_one_in(&g->prng, 4) ? prng_next(&g->prng) : BALLOON_VMWARE_CAPABILITIES_ALL;
    for (uint32_t i = 0; i < request.entries; i++)
        if (prng_one_in(&g->prng, 8))
            batch[i] = prng_next(&g->prng);
        else if (prng_one_in(&g->prng, 4))
            batch[i] |= prng_below(&g->prng, 32);
    (void)!balloon_vmware_driver_reply(g->driver, &frame, batch, sizeof(batch), g->now);
}

static void send_xen(struct guest *g)
{
    static uint64_t list[4096];
    uint8_t buffer[BALLOON_XEN_SEND_BYTES];
    balloon_xen_reservation reservation;
    uint32_t command;
    size_t used;

    if (g->channel == BALLOON_CHANNEL_CONTROL) {
        (void)!balloon_xen_driver_write(g->driver, buffer, sizeof(buffer), &used);
        return;
    }
    if (balloon_xen_driver_reservation(g->driver, list, sizeof(list), 4096, &command,
                                       &reservation) != BALLOON_OK)
        return;
    balloon_iov iov = {list, sizeof(list)};
    balloon_xen_frames frames;
    balloon_pfn_t pfn;

    balloon_xen_frames_init(&frames, &iov, 1, reservation.extents, BALLOON_XEN_64);
    while (balloon_xen_read_frames(&frames, &pfn, 1))
        for (uint64_t p = 0; p < (uint64_t)1 << reservation.order; p++)
            must_be_lent(g, pfn + p);
    int64_t result = prng_one_in(&g->prng, 8)
                         ? (int64_t)prng_next(&g->prng)
                         : (int64_t)prng_below(&g->prng, reservation.extents + 2);

    (void)!balloon_xen_driver_result(g->driver, result, g->now);
}

static void make_message(struct guest *g)
{
    static void (*const send[TRANSPORTS])(struct guest *) = {send_virtio, send_hyperv, send_vmware,
                                                             send_xen};

    g->busy = false;
    send[g->transport](g);
}

static size_t bytes_of(struct guest *g, uint8_t *to, size_t most)
{
    size_t count = (size_t)prng_below(&g->prng, most + 1);

    for (size_t i = 0; i < count; i++)
        to[i] = (uint8_t)prng_next(&g->prng);
    return count;
}

/* Something a sane host could send, which the bytes above then change here and there. */
static size_t hyperv_packet(struct guest *g, uint8_t *to, size_t room)
{
    balloon_hyperv_message m;
    uint64_t packed[8];
    uint32_t count = 0;

    memset(&m, 0, sizeof(m));
    m.type = (uint16_t)prng_below(&g->prng, BALLOON_HYPERV_TYPES);
    switch (m.type) {
    case BALLOON_HYPERV_VERSION_RESPONSE:
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        m.body.answer.accepted = !prng_one_in(&g->prng, 4);
        break;
    case BALLOON_HYPERV_BALLOON_REQUEST:
        m.body.pages = (uint32_t)prng_below(&g->prng, PAGES);
        break;
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        for (unsigned i = 0; i < 4; i++) {
            balloon_range range = {prng_below(&g->prng, PAGES), prng_below(&g->prng, 80)};

            (void)!balloon_hyperv_pack(&range, packed, &count, 8);
        }
        m.body.ranges = (balloon_hyperv_ranges){packed, count, prng_one_in(&g->prng, 2)};
        break;
    default:
        break;
    }
    size_t used = balloon_hyperv_encode(&m, to, room);

    return used > room ? 0 : used;
}

static void host_says(struct guest *g)
{
    uint8_t bytes[600];
    size_t count;
    balloon_xen_message m;

    switch (g->transport) {
    case 0:
        if (prng_one_in(&g->prng, 2)) {
            (void)!balloon_virtio_driver_acked(g->driver, (uint32_t)prng_below(&g->prng, 6),
                                               g->now);
            break;
        }
        count = bytes_of(g, bytes, 20);
        if (count > 3)
            bytes[2] = bytes[3] = 0; /* mostly a size that means something */
        balloon_virtio_driver_config(g->driver, bytes, count, g->now);
        break;
    case 1:
        count = hyperv_packet(g, bytes, sizeof(bytes));
        if (!count || prng_one_in(&g->prng, 8))
            count = bytes_of(g, bytes, 64);
        (void)!balloon_hyperv_driver_receive(g->driver, bytes, count, g->now);
        break;
    case 2:
        balloon_vmware_driver_doorbell(g->driver, g->now);
        break;
    default:
        memset(&m, 0, sizeof(m));
        m.header.type = prng_one_in(&g->prng, 2) ? BALLOON_XEN_READ : BALLOON_XEN_WATCH_EVENT;
        m.header.id = 7 + (uint32_t)prng_below(&g->prng, 8);
        m.path = (balloon_iov){"memory/target", 13};
        m.token = (balloon_iov){BALLOON_XEN_DRIVER_TOKEN, strlen(BALLOON_XEN_DRIVER_TOKEN)};
        char text[24];

        m.value = (balloon_iov){
            text, balloon_xen_write_number(prng_below(&g->prng, 8 * PAGES), text, sizeof(text))};
        count = balloon_xen_write_reply(&m, bytes, sizeof(bytes));
        if (count > sizeof(bytes) || prng_one_in(&g->prng, 8))
            count = bytes_of(g, bytes, 64);
        (void)!balloon_xen_driver_receive(g->driver, bytes, count, g->now);
        break;
    }
}

/* --- steps ------------------------------------------------------------------------------------ */

static void poll_driver(struct guest *g)
{
    balloon_driver_action a;
    balloon_sample sample = {0};

    for (unsigned i = 0; balloon_driver_poll(g->driver, g->now, &a); i++) {
        if (i > 100000)
            fail("polls without end");
        switch (a.type) {
        case BALLOON_DRIVER_ALLOC:
            lend(g, &a);
            break;
        case BALLOON_DRIVER_FREE:
            take_back(g, &a);
            break;
        case BALLOON_DRIVER_SEND:
            if (g->busy)
                make_message(g);
            g->busy = true;
            g->channel = a.channel;
            g->room = a.bytes;
            if (g->transport == 0 || prng_one_in(&g->prng, 2))
                make_message(g);
            break;
        case BALLOON_DRIVER_STATS:
            balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, prng_next(&g->prng));
            (void)!balloon_driver_give_stats(g->driver, &sample, g->now);
            break;
        case BALLOON_DRIVER_PLUG:
            (void)!balloon_hyperv_driver_plugged(g->driver, 0, prng_one_in(&g->prng, 2));
            break;
        case BALLOON_DRIVER_SUSPENDED:
            balloon_driver_reset(g->driver);
            g->busy = false;
            break;
        default:
            break;
        }
    }
}

static void check(struct guest *g)
{
    balloon_driver_status s;
    const char *why = "";

    balloon_driver_status_get(g->driver, &s);
    if (g->kernel.why[0])
        fail(g->kernel.why);
    if (!balloon_driver_check(g->driver, &why))
        fail(why);
    if (s.held + s.on_way_in + s.hinted + s.reporting != g->kernel.lent)
        fail("a page is nowhere, or in two places");
    if (s.held + s.on_way_in > s.total)
        fail("the balloon is larger than the guest");
}

static void step(struct guest *g)
{
    uint64_t coming;

    switch (prng_below(&g->prng, 16)) {
    case 0:
        (void)!balloon_driver_oom(g->driver, prng_below(&g->prng, PAGES), &coming, g->now);
        break;
    case 1:
        (void)!balloon_driver_suspend(g->driver, g->now);
        break;
    case 2:
        balloon_driver_reset(g->driver);
        g->busy = false;
        break;
    case 3:
    case 4:
        g->now += prng_below(&g->prng, 4000) * 1000000;
        break;
    case 5:
        open_driver(g);
        break;
    case 6:
        kernel_work(&g->kernel, 4);
        break;
    case 7:
    case 8:
        if (g->busy)
            make_message(g);
        break;
    default:
        host_says(g);
        break;
    }
    poll_driver(g);
    check(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t pages[] = {1, 4, 16};
    static _Alignas(64) uint8_t memory[65536];
    balloon_region ram = {0, PAGES, 1};
    struct guest g = {.prng = prng_from_bytes(data, size)};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .floor_pages = 32,
                                    .chunk_runs = RUNS,
                                    .report_block = 16,
                                    .deflate_on_oom = true,
                                    .stats = true,
                                    .reporting = true,
                                    .hinting = true};

    g.transport = (unsigned)prng_below(&g.prng, TRANSPORTS);
    config.page_pages = g.transport == 0 || g.transport == 3 ? pages[prng_below(&g.prng, 3)] : 1;
    config.chunk_pages = 16u << prng_below(&g.prng, 6);
    kernel_start(&g.kernel, &g.prng, PAGES, config.page_pages);
    kernel_plug(&g.kernel, (balloon_range){0, PAGES});
    if (balloon_driver_init(memory, sizeof(memory), &config, &g.driver) != BALLOON_OK)
        fail("no driver");
    open_driver(&g);
    while (g.prng.left)
        step(&g);
    /* The way out gives everything back. */
    balloon_driver_reset(g.driver);
    poll_driver(&g);
    check(&g);
    if (g.kernel.lent)
        fail("pages are missing after a reset");
    kernel_end(&g.kernel);
    return 0;
}
