/* The driver against a host that says anything, on every transport: the kernel's pages stay its
 * own, each page is in one place, and what the driver sends names pages that were lent. The input
 * is what the host says and what happens; what the kernel does follows from its first bytes, so
 * that short inputs go far. */
#include "driver_kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the transports --------------------------------------------------------------------------- */

static void open_driver(struct guest *g)
{
    uint64_t chosen;
    balloon_hyperv_driver_options hyperv = {
        .size = sizeof(hyperv), .report_delay = 1, .hot_add = prng_one_in(&g->prng, 2)};
    balloon_vmware_driver_options vmware = {.size = sizeof(vmware), .context = 1, .resource = 2};
    balloon_xen_driver_options xen = {
        .size = sizeof(xen), .first_id = 7, .pv = prng_one_in(&g->prng, 2)};
    balloon_virtio_driver_options virtio = {.size = sizeof(virtio),
                                            .numbering =
                                                (balloon_virtio_numbering)prng_below(&g->prng, 3),
                                            .experimental = BALLOON_F_EXPERIMENTAL};

    switch (g->transport) {
    case 0:
        if (balloon_virtio_driver_negotiate(
                g->driver, prng_one_in(&g->host, 2) ? BALLOON_F_ALL : prng_next(&g->host), &virtio,
                &chosen) == BALLOON_OK)
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

static void send_virtio(struct guest *g, balloon_driver_channel channel)
{
    static uint8_t buffer[65536];
    balloon_virtio_message m;
    balloon_virtio_reader reader;
    uint32_t pfn;

    if (balloon_virtio_driver_write(g->driver, channel, buffer, g->room[channel], &m) != BALLOON_OK)
        fail("no message for a SEND");
    balloon_iov iov = {buffer, m.bytes};

    g->queues |= 1u << m.queue;
    balloon_virtio_reader_init(&reader, &iov, 1, m.bytes, BALLOON_LITTLE_ENDIAN);
    if (channel == BALLOON_CHANNEL_INFLATE || channel == BALLOON_CHANNEL_DEFLATE)
        while (balloon_virtio_read_pfns(&reader, &pfn, 1))
            must_be_lent(g, pfn);
    if (m.bytes + m.bitmap_bytes > g->room[channel] ||
        (m.bitmap_bytes && m.bitmap_bytes != (m.bytes / 4 + 7) / 8))
        fail("the bitmap does not fit the message");
    if (channel == BALLOON_CHANNEL_INFLATE)
        g->bitmap_bytes = m.bitmap_bytes;
    for (uint32_t i = 0; i < m.span_count; i++)
        for (uint64_t p = 0; p < m.spans[i].count; p++)
            must_be_lent(g, m.spans[i].first + p);
}

static void send_hyperv(struct guest *g, balloon_driver_channel channel)
{
    static uint8_t buffer[BALLOON_HYPERV_WIRE_BYTES_MAX];
    balloon_hyperv_message m;
    balloon_range range;
    size_t used;

    if (balloon_hyperv_driver_write(g->driver, channel, buffer, sizeof(buffer), g->now, &used) !=
        BALLOON_OK)
        return;
    if (balloon_hyperv_decode(buffer, used, &m) != BALLOON_OK)
        fail("a message that nobody can read");
    for (uint32_t i = 0; m.type == BALLOON_HYPERV_BALLOON_RESPONSE && i < m.body.ranges.count; i++)
        if (balloon_hyperv_read_ranges(&m.body.ranges, i, &range, 1))
            for (uint64_t p = 0; p < range.count; p++)
                must_be_lent(g, range.first + p);
}

/* An answer, of which the host may change any register and any entry. */
static void answer_vmware(struct guest *g, const balloon_vmware_request *request,
                          balloon_vmware_frame *frame, uint64_t *batch)
{
    frame->ax = prng_one_in(&g->host, 8) ? prng_below(&g->host, 10) : 0;
    if (request->command == BALLOON_VMWARE_START && !prng_one_in(&g->host, 4))
        frame->ax = BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES;
    frame->bx = prng_one_in(&g->host, 16) ? prng_next(&g->host) : prng_below(&g->host, 256) * 2;
    frame->cx = BALLOON_VMWARE_CAPABILITIES_ALL;
    if (request->command == BALLOON_VMWARE_START && prng_one_in(&g->host, 4))
        frame->cx = prng_next(&g->host);
    for (uint64_t i = request->entries ? prng_below(&g->host, 4) : 0; i > 0; i--) {
        uint64_t *entry = &batch[prng_below(&g->host, request->entries)];

        if (prng_one_in(&g->host, 4))
            *entry = prng_next(&g->host);
        else if (prng_one_in(&g->host, 2))
            *entry = prng_below(&g->host, 256) << BALLOON_PAGE_SHIFT; /* taken, of another page */
        else
            *entry |= prng_below(&g->host, 32);
    }
}

static void send_vmware(struct guest *g, balloon_driver_channel channel)
{
    balloon_vmware_frame frame;
    uint64_t batch[512];
    balloon_vmware_request request;
    balloon_vmware_entry entries[512];

    if (balloon_vmware_driver_write(g->driver, channel, &frame, batch, sizeof(batch), MOST + 5) !=
        BALLOON_OK)
        return;
    if (balloon_vmware_read_request(&frame, BALLOON_VMWARE_64_BIT, &request) != BALLOON_OK)
        fail("a call that nobody understands");
    if (request.command == BALLOON_VMWARE_LOCK || request.command == BALLOON_VMWARE_UNLOCK)
        must_be_lent(g, request.pfn);
    if (request.entries &&
        balloon_vmware_read_batch(batch, sizeof(batch), request.entries, entries) == BALLOON_OK)
        for (uint32_t i = 0; i < request.entries; i++)
            must_be_lent(g, entries[i].pfn);
    answer_vmware(g, &request, &frame, batch);
    (void)!balloon_vmware_driver_reply(g->driver, &frame, batch, sizeof(batch), g->now);
}

static void send_xen(struct guest *g, balloon_driver_channel channel)
{
    static uint64_t extents[4096];
    uint8_t buffer[BALLOON_XEN_SEND_BYTES];
    balloon_xen_reservation reservation;
    uint32_t command;
    size_t used;

    if (channel == BALLOON_CHANNEL_CONTROL) {
        if (balloon_xen_driver_write(g->driver, buffer, sizeof(buffer), &used) == BALLOON_OK &&
            balloon_xen_read_header(buffer, used, &g->request) != BALLOON_OK)
            fail("a request that no store can read");
        return;
    }
    if (balloon_xen_driver_reservation(g->driver, extents, sizeof(extents), 4096, &command,
                                       &reservation) != BALLOON_OK)
        return;
    balloon_iov iov = {extents, sizeof(extents)};
    balloon_xen_frames frames;
    balloon_pfn_t pfn;

    balloon_xen_frames_init(&frames, &iov, 1, reservation.extents, BALLOON_XEN_64);
    while (balloon_xen_read_frames(&frames, &pfn, 1))
        for (uint64_t p = 0; p < (uint64_t)1 << reservation.order; p++)
            must_be_lent(g, pfn + p);
    int64_t result = (int64_t)reservation.extents;

    if (prng_one_in(&g->host, 16))
        result = (int64_t)prng_next(&g->host);
    else if (prng_one_in(&g->host, 4))
        result = (int64_t)prng_below(&g->host, reservation.extents + 2);
    (void)!balloon_xen_driver_result(g->driver, result, g->now);
}

static void make_message(struct guest *g, balloon_driver_channel channel)
{
    static void (*const send[TRANSPORTS])(struct guest *, balloon_driver_channel) = {
        send_virtio, send_hyperv, send_vmware, send_xen};

    if (g->busy[channel]) {
        g->busy[channel] = false;
        send[g->transport](g, channel);
    }
}

static size_t bytes_of(struct guest *g, uint8_t *to, size_t most)
{
    size_t count = (size_t)prng_below(&g->host, most + 1);

    for (size_t i = 0; i < count; i++)
        to[i] = (uint8_t)prng_below(&g->host, 256);
    return count;
}

/* Mostly what can be said now. */
static balloon_hyperv_type hyperv_type(struct guest *g)
{
    static const balloon_hyperv_type idle[] = {BALLOON_HYPERV_BALLOON_REQUEST,
                                               BALLOON_HYPERV_UNBALLOON_REQUEST,
                                               BALLOON_HYPERV_HOT_ADD_REQUEST, BALLOON_HYPERV_INFO};
    balloon_hyperv_driver_session session;

    balloon_hyperv_driver_session_get(g->driver, &session);
    if (prng_one_in(&g->host, 8))
        return (balloon_hyperv_type)prng_below(&g->host, BALLOON_HYPERV_TYPES);
    if (session.phase == BALLOON_HYPERV_VERSION)
        return BALLOON_HYPERV_VERSION_RESPONSE;
    if (session.phase == BALLOON_HYPERV_CAPABILITIES)
        return BALLOON_HYPERV_CAPABILITIES_RESPONSE;
    return idle[prng_below(&g->host, 4)];
}

static size_t hyperv_packet(struct guest *g, uint8_t *to, size_t room)
{
    balloon_hyperv_message m;
    uint64_t packed[8];
    uint32_t count = 0;

    memset(&m, 0, sizeof(m));
    m.type = (uint16_t)hyperv_type(g);
    switch (m.type) {
    case BALLOON_HYPERV_VERSION_RESPONSE:
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        m.body.answer.accepted = !prng_one_in(&g->host, 8);
        break;
    case BALLOON_HYPERV_BALLOON_REQUEST:
        m.body.pages = (uint32_t)prng_below(&g->host, PAGES);
        break;
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        for (uint64_t i = prng_below(&g->host, 4); i < 4; i++) {
            balloon_range range = {prng_below(&g->host, PAGES), prng_below(&g->host, 80)};

            (void)!balloon_hyperv_pack(&range, packed, &count, 8);
        }
        m.body.ranges = (balloon_hyperv_ranges){packed, count, prng_one_in(&g->host, 4)};
        break;
    case BALLOON_HYPERV_HOT_ADD_REQUEST:
        m.body.hot_add.range = (balloon_range){PAGES, PLUG};
        if (prng_one_in(&g->host, 4))
            m.body.hot_add.range.first = prng_below(&g->host, MOST);
        break;
    default:
        break;
    }
    size_t used = balloon_hyperv_encode(&m, to, room);

    return used > room ? 0 : used;
}

/* An answer to the last request, or a watch fires. */
static size_t xen_packet(struct guest *g, uint8_t *to, size_t room)
{
    balloon_xen_message m;
    char text[24];

    memset(&m, 0, sizeof(m));
    m.header = g->request;
    if (prng_one_in(&g->host, 4))
        m.header.type = BALLOON_XEN_WATCH_EVENT;
    if (prng_one_in(&g->host, 8))
        m.header.id = 7 + (uint32_t)prng_below(&g->host, 8);
    m.path = (balloon_iov){"memory/target", 13};
    m.token = (balloon_iov){BALLOON_XEN_DRIVER_TOKEN, strlen(BALLOON_XEN_DRIVER_TOKEN)};
    m.value = (balloon_iov){
        text, balloon_xen_write_number(prng_below(&g->host, 256) * 5, text, sizeof(text))};
    if (prng_one_in(&g->host, 8)) {
        m.header.type = BALLOON_XEN_ERROR;
        m.error = (balloon_xen_error)prng_below(&g->host, 16);
    }
    size_t used = balloon_xen_write_reply(&m, to, room);

    return used > room ? 0 : used;
}

/* A used length, mostly of what was sent, and bits. */
static void answer_virtio(struct guest *g, uint32_t queue)
{
    balloon_driver_status s;
    uint8_t *bits = NULL;
    uint32_t used = 0;

    balloon_driver_status_get(g->driver, &s);
    if (s.negotiated & BALLOON_F_EXPERIMENTAL) {
        used = (uint32_t)(prng_one_in(&g->host, 4) ? prng_next(&g->host) : g->bitmap_bytes);
        if (prng_one_in(&g->host, 2))
            used = (uint32_t)(s.reporting << BALLOON_PAGE_SHIFT);
        /* No more than there is may be looked at. */
        bits = malloc(g->bitmap_bytes ? g->bitmap_bytes : 1);
        for (size_t i = 0; bits && i < g->bitmap_bytes; i++)
            bits[i] = (uint8_t)prng_below(&g->host, 256);
    }
    (void)!balloon_virtio_driver_used(g->driver, queue, used, bits, g->now);
    free(bits);
}

static void virtio_says(struct guest *g)
{
    uint8_t bytes[20];
    uint32_t queue = (uint32_t)prng_below(&g->host, 8);
    size_t count;

    if (queue < 6) {
        /* Mostly one that waits for an answer. */
        while (g->queues && !prng_one_in(&g->host, 16) && !(g->queues >> queue & 1))
            queue = (queue + 1) % 6;
        g->queues &= ~(1u << queue);
        answer_virtio(g, queue);
        return;
    }
    count = bytes_of(g, bytes, sizeof(bytes));
    if (count > 3)
        bytes[2] = bytes[3] = 0; /* mostly a size that means something */
    if (count > 3 && bytes[1] > 1)
        bytes[1] = 0;
    balloon_virtio_driver_config(g->driver, bytes, count, g->now);
}

static void host_says(struct guest *g)
{
    uint8_t bytes[600];
    size_t count;

    switch (g->transport) {
    case 0:
        virtio_says(g);
        break;
    case 1:
        count = hyperv_packet(g, bytes, sizeof(bytes));
        if (!count || prng_one_in(&g->host, 16))
            count = bytes_of(g, bytes, 64);
        (void)!balloon_hyperv_driver_receive(g->driver, bytes, count, g->now);
        break;
    case 2:
        balloon_vmware_driver_doorbell(g->driver, g->now);
        break;
    default:
        count = xen_packet(g, bytes, sizeof(bytes));
        if (!count || prng_one_in(&g->host, 16))
            count = bytes_of(g, bytes, 64);
        (void)!balloon_xen_driver_receive(g->driver, bytes, count, g->now);
        break;
    }
}

/* --- steps ------------------------------------------------------------------------------------ */

/* New memory, all of it or nothing. */
static void take_plug(struct guest *g, const balloon_driver_action *a)
{
    bool take = a->runs[0].first == PAGES && a->runs[0].count >= PLUG && plug(g);

    (void)!balloon_hyperv_driver_plugged(g->driver, take ? PLUG : 0, prng_one_in(&g->prng, 2));
}

static void reset(struct guest *g)
{
    balloon_driver_reset(g->driver);
    memset(g->busy, 0, sizeof(g->busy));
    g->queues = 0;
}

static void act(struct guest *g, const balloon_driver_action *a)
{
    balloon_sample sample = {0};

    switch (a->type) {
    case BALLOON_DRIVER_ALLOC:
    case BALLOON_DRIVER_TAKE:
        if (a->type == BALLOON_DRIVER_TAKE && g->tracker)
            fail("asked for pages of a list that nobody keeps");
        g->ask[a->channel] = *a;
        g->asked[a->channel] = true;
        if (!prng_one_in(&g->prng, 4))
            give(g, a->channel);
        break;
    case BALLOON_DRIVER_FREE:
        take_back(g, a);
        break;
    case BALLOON_DRIVER_ZEROED:
        for (uint32_t i = 0; i < a->run_count; i++)
            for (uint64_t p = 0; p < a->runs[i].count; p++)
                must_be_lent(g, a->runs[i].first + p);
        break;
    case BALLOON_DRIVER_SEND:
        make_message(g, a->channel);
        g->busy[a->channel] = true;
        g->room[a->channel] = a->bytes;
        if (g->transport == 0 || prng_one_in(&g->prng, 2))
            make_message(g, a->channel);
        break;
    case BALLOON_DRIVER_STATS:
        balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, prng_below(&g->prng, MOST) << 12);
        (void)!balloon_driver_give_stats(g->driver, &sample, g->now);
        break;
    case BALLOON_DRIVER_PLUG:
        take_plug(g, a);
        break;
    case BALLOON_DRIVER_SUSPENDED:
        reset(g);
        break;
    default:
        break;
    }
}

static void poll_driver(struct guest *g)
{
    balloon_driver_action a;

    for (unsigned i = 0; balloon_driver_poll(g->driver, g->now, &a); i++) {
        if (i > 100000)
            fail("polls without end");
        act(g, &a);
    }
}

static void check(struct guest *g)
{
    balloon_driver_status s;
    uint64_t most, balloon;
    const char *why = "";

    balloon_driver_status_get(g->driver, &s);
    if (g->kernel.why[0])
        fail(g->kernel.why);
    /* It looks at every page, so a fuzzer would do little else. */
    if ((g->steps++ % 16 == 0 || !g->host.left) && !balloon_driver_check(g->driver, &why))
        fail(why);
    if (s.held + s.on_way_in + s.hinted + s.reporting != g->kernel.lent)
        fail("a page is nowhere, or in two places");
    if (s.total != g->kernel.present)
        fail("the driver is wrong about the guest's size");
    /* Where a page is replaced, both are taken until the host lets the old one out. */
    balloon = s.held + s.on_way_in;
    most = s.total - FLOOR;
    if (balloon <= most && !s.on_way_in)
        g->migrated = 0;
    if (balloon > most + g->migrated && balloon > g->balloon)
        fail("the balloon grows into the floor");
    g->balloon = balloon;
}

static void step(struct guest *g)
{
    uint64_t coming, draw = prng_below(&g->host, BALLOON_CHANNELS * 20);
    balloon_driver_channel channel = (balloon_driver_channel)(draw % BALLOON_CHANNELS);
    balloon_driver_status s;

    switch (draw / BALLOON_CHANNELS) {
    case 0:
        (void)!balloon_driver_oom(g->driver, prng_below(&g->prng, PAGES), &coming, g->now);
        break;
    case 1:
        if (channel == 0)
            (void)!balloon_driver_suspend(g->driver, g->now);
        else if (channel == 1)
            reset(g);
        break;
    case 2:
        if (channel < 3)
            (void)plug(g);
        else
            unplug(g);
        break;
    case 3:
    case 4:
        g->now += prng_below(&g->prng, 4000) * 1000000;
        break;
    case 5:
        migrate(g);
        break;
    case 6:
        kernel_work(&g->kernel, 4);
        break;
    case 7:
    case 8:
    case 9:
        if (g->asked[channel])
            give(g, channel);
        break;
    case 10:
    case 11:
    case 12:
        make_message(g, channel);
        break;
    default:
        host_says(g);
        break;
    }
    balloon_driver_status_get(g->driver, &s);
    if (s.state == BALLOON_DRIVER_DETACHED)
        open_driver(g); /* else nothing would be heard of the host any more */
    poll_driver(g);
    check(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t pages[] = {1, 4, 16};
    static _Alignas(64) uint8_t memory[131072];
    static struct guest g;
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .max_pages = MOST,
                                    .floor_pages = FLOOR,
                                    .chunk_runs = RUNS,
                                    .report_block = 16,
                                    .deflate_on_oom = true,
                                    .stats = true,
                                    .reporting = true,
                                    .hinting = true};

    memset(&g, 0, sizeof(g));
    g.host = prng_from_bytes(data, size);
    g.transport = (unsigned)prng_below(&g.host, TRANSPORTS);
    g.prng = prng_start(prng_below(&g.host, 65536), 0);
    g.tracker = g.transport == 1 || !prng_one_in(&g.prng, 3);
    if (g.tracker) {
        config.regions = &ram;
        config.region_count = 1;
    } else {
        config.total_pages = PAGES;
    }
    config.page_pages = g.transport == 0 || g.transport == 3 ? pages[prng_below(&g.prng, 3)] : 1;
    config.chunk_pages = 16u << prng_below(&g.prng, 6);
    kernel_start(&g.kernel, &g.prng, MOST, config.page_pages);
    kernel_plug(&g.kernel, (balloon_range){0, PAGES});
    if (balloon_driver_init(memory, sizeof(memory), &config, &g.driver) != BALLOON_OK)
        fail("no driver");
    open_driver(&g);
    while (g.host.left)
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
