/* docs/examples/virtio_mmio.c: the registers, as drivers use them and as they should not. */
#include "mmio_guest.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PAGES = 1024, AT = 0x100000 }; /* the window lies at the start of RAM, which is at 1 MiB */
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 0x40 };
enum { INFLATE, DEFLATE, STATS, REPORT };

enum {
    DEVICE_FEATURES = 0x10,
    DEVICE_FEATURES_SEL = 0x14,
    DRIVER_FEATURES = 0x20,
    DRIVER_FEATURES_SEL = 0x24,
    GUEST_PAGE_SIZE = 0x28,
    QUEUE_SEL = 0x30,
    QUEUE_NUM_MAX = 0x34,
    QUEUE_NUM = 0x38,
    QUEUE_ALIGN = 0x3c,
    QUEUE_PFN = 0x40,
    QUEUE_READY = 0x44,
    QUEUE_NOTIFY = 0x50,
    INTERRUPT_STATUS = 0x60,
    INTERRUPT_ACK = 0x64,
    STATUS = 0x70,
    QUEUE_DESC = 0x80,
    GENERATION = 0xfc,
    CONFIG = 0x100
};

static _Alignas(4096) uint8_t ram[PAGES * BALLOON_PAGE_SIZE];
static _Alignas(64) uint8_t memory[65536];
static struct virtio_mmio m;
static struct mmio_guest guest;
static balloon_device *device;

static void *find(void *self, uint64_t address, uint64_t *bytes)
{
    (void)self;
    if (address < AT || address - AT >= sizeof ram)
        return NULL;
    uint64_t left = AT + sizeof ram - address;
    *bytes = *bytes < left ? *bytes : left;
    return ram + (address - AT);
}

static uint32_t get(uint64_t at)
{
    return (uint32_t)virtio_mmio_read(&m, at, 4);
}

static void put(uint64_t at, uint32_t value)
{
    virtio_mmio_write(&m, at, value, 4, 0);
}

static void write_register(void *self, uint64_t offset, uint32_t value)
{
    (void)self;
    put(offset, value);
}

static void begin_with(bool legacy, balloon_device_config config)
{
    balloon_region region = {AT / BALLOON_PAGE_SIZE, PAGES, 1};
    config.size = sizeof config;
    config.regions = &region;
    config.region_count = 1;
    cr_assert_eq(balloon_device_init(memory, sizeof memory, &config, &device), BALLOON_OK);
    m = (struct virtio_mmio){.balloon = device, .memory = {find, NULL}, .legacy = legacy};
    virtio_mmio_reset(&m);
    guest =
        (struct mmio_guest){.mmio = &m, .write = write_register, .window = ram, .window_at = AT};
}

static void begin(bool legacy)
{
    begin_with(legacy, (balloon_device_config){0});
}

static bool driver(void)
{
    balloon_device_status status;
    balloon_device_status_get(device, &status);
    return status.driver;
}

static uint64_t held(void)
{
    balloon_device_status status;
    balloon_device_status_get(device, &status);
    return status.held;
}

/* What an embedder does after each write. */
static unsigned act(void)
{
    balloon_action a;
    unsigned acks = 0;
    while (balloon_device_poll(device, 0, &a)) {
        if (a.type == BALLOON_ACTION_ACK) {
            virtio_mmio_give(&m, &a);
            acks++;
        } else if (a.type == BALLOON_ACTION_CONFIG_IRQ)
            virtio_mmio_config_changed(&m);
    }
    return acks;
}

static bool send_pfn(unsigned queue, uint32_t page)
{
    uint8_t bytes[4];
    page += AT / BALLOON_PAGE_SIZE;
    balloon_virtio_write_pfns(&page, 1, BALLOON_LITTLE_ENDIAN, bytes, 4);
    return mmio_guest_put(&guest, queue, bytes, sizeof bytes, NULL, 0);
}

static void start(uint64_t rings)
{
    uint64_t offered = mmio_guest_offered(&guest);
    cr_assert(mmio_guest_choose(&guest, offered & (~VQ_FEATURES | rings)));
    mmio_guest_set_up(&guest, 0xf);
    mmio_guest_ready(&guest);
    act();
}

Test(virtio_mmio, says_what_it_is)
{
    for (unsigned legacy = 0; legacy < 2; legacy++) {
        begin(legacy);
        cr_assert_eq(get(0), 0x74726976u); /* "virt" */
        cr_assert_eq(get(4), legacy ? 1u : 2u);
        cr_assert_eq(get(8), 5u);
        cr_assert_eq(get(0xb0), legacy ? 0 : UINT32_MAX);
    }
}

Test(virtio_mmio, offers_features_in_two_words)
{
    for (unsigned legacy = 0; legacy < 2; legacy++) {
        begin(legacy);
        put(DEVICE_FEATURES_SEL, 0);
        cr_assert_eq(get(DEVICE_FEATURES), BALLOON_F_DEFAULT | VQ_FEATURES);
        put(DEVICE_FEATURES_SEL, 1);
        cr_assert_eq(get(DEVICE_FEATURES), legacy ? 0u : 1u); /* VERSION_1 */
        put(DEVICE_FEATURES_SEL, 2);
        cr_assert_eq(get(DEVICE_FEATURES), 0u);
    }
}

Test(virtio_mmio, refuses_what_it_did_not_offer)
{
    begin(false);
    uint64_t offered = mmio_guest_offered(&guest);
    cr_assert_not(mmio_guest_choose(&guest, offered & UINT32_MAX), "without VERSION_1");
    cr_assert_not(mmio_guest_choose(&guest, offered | BALLOON_F_HINTING));
    cr_assert_not(mmio_guest_choose(&guest, offered | (uint64_t)1 << 33));
    cr_assert_eq(get(STATUS), (uint32_t)(ACKNOWLEDGE | DRIVER));
    put(STATUS, 15);
    cr_assert_not(get(STATUS) & DRIVER_OK, "it starts without features");
    cr_assert_not(driver());
    cr_assert(mmio_guest_choose(&guest, offered));
    cr_assert_eq(get(STATUS), (uint32_t)(ACKNOWLEDGE | DRIVER | FEATURES_OK));

    /* They stay, whatever is written now. */
    put(DRIVER_FEATURES_SEL, 0);
    put(DRIVER_FEATURES, 0);
    cr_assert_eq(m.features, offered);
    put(DRIVER_FEATURES_SEL, 7);
    put(DRIVER_FEATURES, 0);
    cr_assert_eq(m.features, offered);
}

/* Legacy drivers cannot be told. */
Test(virtio_mmio, legacy_features_are_cut_to_what_was_offered)
{
    balloon_device_status status;

    begin(true);
    mmio_guest_offered(&guest);
    mmio_guest_choose(&guest, UINT32_MAX);
    for (uint32_t i = 1; i < 4; i++) {
        put(DRIVER_FEATURES_SEL, i);
        put(DRIVER_FEATURES, UINT32_MAX);
    }
    mmio_guest_set_up(&guest, 0xf);
    mmio_guest_ready(&guest);
    cr_assert(driver());
    balloon_device_status_get(device, &status);
    cr_assert_eq(status.negotiated, BALLOON_F_DEFAULT);
    cr_assert_eq(m.features, BALLOON_F_DEFAULT | VQ_FEATURES);
    cr_assert_not(get(STATUS) & FEATURES_OK);
}

Test(virtio_mmio, only_a_reset_clears_the_status)
{
    begin(false);
    start(0);
    cr_assert(driver());
    put(STATUS, ACKNOWLEDGE);
    cr_assert_eq(get(STATUS), 15u);
    put(STATUS, 0xffffffff);
    cr_assert_eq(get(STATUS), 0x8fu, "FAILED is the driver's, and NEEDS_RESET is not");
    for (uint32_t i = 1; i <= 3; i++) { /* and what was set already starts nothing again */
        send_pfn(INFLATE, 700 + i);
        mmio_guest_kick(&guest, INFLATE);
        cr_assert_eq(held(), i);
        put(STATUS, 0xffffffff);
    }
    put(STATUS, 0);
    cr_assert_eq(get(STATUS), 0u);
    cr_assert_not(driver());
    cr_assert_eq(held(), 0u);
    cr_assert_not(virtio_mmio_line(&m));
    put(QUEUE_SEL, INFLATE);
    cr_assert_eq(get(QUEUE_READY), 0u);
    cr_assert_eq(act(), 0u, "buffers of before the reset are the guest's");
    start(0);
    cr_assert(driver());
}

/* A buffer that the library had when the guest did its reset is not given into the new queue. */
Test(virtio_mmio, acknowledgements_of_a_stopped_queue_are_dropped)
{
    begin(false);
    start(0);
    send_pfn(INFLATE, 700);
    mmio_guest_kick(&guest, INFLATE);
    put(QUEUE_SEL, INFLATE);
    put(QUEUE_READY, 0);
    cr_assert_eq(get(QUEUE_READY), 0u);
    put(QUEUE_READY, 1);
    cr_assert_eq(get(QUEUE_READY), 0u, "no queue comes back at work");
    cr_assert_eq(act(), 1u);
    cr_assert_not(mmio_guest_take(&guest, INFLATE));
}

Test(virtio_mmio, has_the_queues_of_its_device_and_no_more)
{
    for (unsigned legacy = 0; legacy < 2; legacy++) {
        begin(legacy);
        uint32_t count = balloon_virtio_queue_count(device);
        for (uint32_t i = 0; i < 10; i++) {
            put(QUEUE_SEL, i);
            cr_assert_eq(get(QUEUE_NUM_MAX), i < count ? VIRTIO_MMIO_QUEUE_SIZE : 0u);
            put(QUEUE_NUM, 8);
            put(legacy ? QUEUE_PFN : QUEUE_READY, 1);
            cr_assert_eq(get(legacy ? QUEUE_PFN : QUEUE_READY), i < count ? 1u : 0u);
            put(legacy ? QUEUE_PFN : QUEUE_READY, 0);
            put(legacy ? QUEUE_PFN : QUEUE_READY, 0);
            cr_assert_eq(get(legacy ? QUEUE_PFN : QUEUE_READY), 0u);
            put(legacy ? QUEUE_PFN : QUEUE_READY, 1);
            cr_assert(i >= VIRTIO_MMIO_QUEUES || m.queue[i].ready == (i < count));
        }
        put(QUEUE_SEL, UINT32_MAX);
        cr_assert_eq(get(QUEUE_NUM_MAX), 0u);
        put(QUEUE_NOTIFY, UINT32_MAX);
    }
}

/* Linux fills its statistics queue first, and kicks too early. */
Test(virtio_mmio, buffers_from_before_driver_ok_are_found)
{
    for (unsigned legacy = 0; legacy < 2; legacy++) {
        begin(legacy);
        cr_assert(mmio_guest_choose(&guest, mmio_guest_offered(&guest)));
        mmio_guest_set_up(&guest, 0xf);
        cr_assert(send_pfn(INFLATE, 700));
        put(QUEUE_NOTIFY, INFLATE);
        cr_assert_eq(held(), 0u);
        mmio_guest_ready(&guest);
        cr_assert_eq(held(), 1u);
        cr_assert_eq(act(), 1u);
        cr_assert(mmio_guest_take(&guest, INFLATE));
    }
}

Test(virtio_mmio, legacy_queues_are_where_the_page_number_says)
{
    static const struct {
        uint32_t page, align, size;
        uint64_t avail, used; /* behind the descriptors */
    } layout[] = {
        {4096, 4096, 128, 2048, 4096},
        {4096, 64, 128, 2048, 2368}, /* 2048 + 6 + 256, and up to the next 64 */
        {4096, 4096, 4, 64, 4096},
        {65536, 4096, 8, 128, 4096},
    };

    for (unsigned i = 0; i < sizeof layout / sizeof *layout; i++) {
        begin(true);
        mmio_guest_offered(&guest);
        put(GUEST_PAGE_SIZE, layout[i].page);
        put(GUEST_PAGE_SIZE, 12345); /* not a power of two: nothing happens */
        put(QUEUE_SEL, INFLATE);
        put(QUEUE_NUM, layout[i].size);
        put(QUEUE_ALIGN, layout[i].align);
        put(QUEUE_ALIGN, 100);
        put(QUEUE_PFN, AT / layout[i].page);
        cr_assert_eq(get(QUEUE_PFN), AT / layout[i].page);
        mmio_guest_ready(&guest);
        cr_assert(m.queue[INFLATE].running);
        cr_assert_eq(m.queue[INFLATE].vq.desc, (uint64_t)AT);
        cr_assert_eq(m.queue[INFLATE].vq.avail, AT + layout[i].avail);
        cr_assert_eq(m.queue[INFLATE].vq.used, AT + layout[i].used);
    }
}

Test(virtio_mmio, queues_do_not_change_while_they_are_ready)
{
    begin(false);
    cr_assert(mmio_guest_choose(&guest, mmio_guest_offered(&guest)));
    mmio_guest_set_up(&guest, 1);
    struct virtqueue before = m.queue[INFLATE].vq;
    for (unsigned at_work = 0; at_work < 2; at_work++) {
        put(QUEUE_SEL, INFLATE);
        put(QUEUE_NUM, 2);
        for (uint64_t at = QUEUE_DESC; at < 0xa8; at += 4)
            put(at, 1);
        cr_assert_eq(m.queue[INFLATE].vq.size, before.size);
        cr_assert_eq(m.queue[INFLATE].vq.desc, before.desc);
        cr_assert_eq(m.queue[INFLATE].vq.avail, before.avail);
        cr_assert_eq(m.queue[INFLATE].vq.used, before.used);
        /* And no queue comes late. */
        mmio_guest_ready(&guest);
        put(QUEUE_SEL, DEFLATE);
        put(QUEUE_READY, 1);
        cr_assert_eq(get(QUEUE_READY), 0u);
    }
}

Test(virtio_mmio, addresses_have_two_halves)
{
    begin(false);
    put(QUEUE_SEL, REPORT);
    for (uint32_t i = 0; i < 6; i++)
        put(QUEUE_DESC + (i / 2) * 16 + (i % 2) * 4, 0x1000 + i);
    cr_assert_eq(m.queue[REPORT].vq.desc, 0x100100001000u);
    cr_assert_eq(m.queue[REPORT].vq.avail, 0x100300001002u);
    cr_assert_eq(m.queue[REPORT].vq.used, 0x100500001004u);
    /* Each layout knows only its own registers. */
    put(QUEUE_PFN, 1);
    cr_assert_eq(get(QUEUE_READY), 0u);
    begin(true);
    put(QUEUE_SEL, REPORT);
    put(QUEUE_READY, 1);
    put(QUEUE_DESC, 77);
    cr_assert_eq(get(QUEUE_PFN), 0u);
    cr_assert_eq(m.queue[REPORT].vq.desc, 0u);
}

Test(virtio_mmio, interrupts_until_they_are_acknowledged)
{
    begin(false);
    start(0);
    cr_assert_not(virtio_mmio_line(&m));
    send_pfn(INFLATE, 700);
    mmio_guest_kick(&guest, INFLATE);
    act();
    cr_assert_eq(get(INTERRUPT_STATUS), 1u);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    act();
    cr_assert_eq(get(INTERRUPT_STATUS), 3u);
    put(INTERRUPT_ACK, 1);
    cr_assert(virtio_mmio_line(&m));
    cr_assert_eq(mmio_guest_interrupts(&guest), 2u);
    cr_assert_not(virtio_mmio_line(&m));
    cr_assert(mmio_guest_take(&guest, INFLATE));
}

/* No interrupt for a buffer when the driver wants none. */
Test(virtio_mmio, interrupts_only_when_wanted)
{
    begin(false);
    start(VQ_F_EVENT_IDX);
    for (unsigned i = 0; i < 3; i++) {
        send_pfn(INFLATE, 700 + i);
        mmio_guest_kick(&guest, INFLATE);
        cr_assert_eq(act(), 1u);
        cr_assert_eq(mmio_guest_interrupts(&guest), i == 0, "it did not look after the first");
    }
}

/* Drivers count their queues by more than one rule; those that are set up tell which. */
Test(virtio_mmio, the_device_learns_which_queues_there_are)
{
    begin_with(false, (balloon_device_config){.features = BALLOON_F_ALL});
    uint64_t offered = mmio_guest_offered(&guest);
    cr_assert(mmio_guest_choose(&guest, offered & ~(uint64_t)BALLOON_F_HINTING));
    mmio_guest_set_up(&guest, 0xf);
    mmio_guest_ready(&guest);
    cr_assert_eq(balloon_virtio_queue_of(device, 3), BALLOON_QUEUE_REPORT);
}

Test(virtio_mmio, configuration_has_generations)
{
    begin(false);
    virtio_mmio_config_changed(&m);
    cr_assert_not(virtio_mmio_line(&m), "no driver is there to be interrupted");
    start(0);
    uint32_t before = get(GENERATION);
    cr_assert_eq(balloon_device_set_target(device, 0x120, 0), BALLOON_OK);
    act();
    cr_assert_neq(get(GENERATION), before);
    begin(true);
    start(0);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    act();
    cr_assert_eq(get(GENERATION), 0u);
}

Test(virtio_mmio, accesses_of_every_width)
{
    balloon_device_status status;
    balloon_device_counters counters;

    begin(false);
    start(0);
    cr_assert_eq(balloon_device_set_target(device, 0x120, 0), BALLOON_OK);
    cr_assert_eq(virtio_mmio_read(&m, CONFIG, 1), 0x20u);
    cr_assert_eq(virtio_mmio_read(&m, CONFIG + 1, 1), 1u);
    cr_assert_eq(virtio_mmio_read(&m, CONFIG, 2), 0x120u);
    cr_assert_eq(virtio_mmio_read(&m, CONFIG, 8), 0x120u);
    cr_assert_eq(virtio_mmio_read(&m, CONFIG, 9), 0u);
    cr_assert_eq(virtio_mmio_read(&m, CONFIG + 0xff0, 4), UINT32_MAX);
    virtio_mmio_write(&m, CONFIG + 4, 0x07060504, 9, 0);
    virtio_mmio_write(&m, CONFIG + 4, 0x0120, 2, 0);
    virtio_mmio_write(&m, CONFIG + 6, 0, 2, 0);
    balloon_device_status_get(device, &status);
    cr_assert_eq(status.actual, 0x120u);
    balloon_device_counters_get(device, &counters);
    cr_assert_eq(counters.protocol_errors, 0u, "registers are not configuration");
    /* Registers have 4 bytes. */
    cr_assert_eq(virtio_mmio_read(&m, 0, 2), 0u);
    cr_assert_eq(virtio_mmio_read(&m, 0, 8), 0u);
    cr_assert_eq(virtio_mmio_read(&m, 1, 4), 0u);
    virtio_mmio_write(&m, STATUS, 0, 1, 0);
    cr_assert(driver());
}

/* ---- Guests that do not behave ---- */

/* The library takes so many buffers between two polls, and the rest has its turn later. */
Test(virtio_mmio_hostile, a_full_queue_takes_several_turns)
{
    unsigned acks = 0, turns = 0;

    begin_with(false, (balloon_device_config){.max_buffers = 4});
    start(0);
    for (unsigned i = 0; i < 10; i++)
        cr_assert(send_pfn(INFLATE, 700 + i));
    mmio_guest_kick(&guest, INFLATE);
    cr_assert_eq(held(), 4u);
    for (; m.again; turns++) {
        cr_assert_eq(m.again, 1u << INFLATE);
        acks += act();
        virtio_mmio_again(&m, 0);
    }
    acks += act();
    cr_assert_eq(turns, 2u);
    cr_assert_eq(acks, 10u);
    cr_assert_eq(held(), 10u);
    for (unsigned i = 0; i < 10; i++)
        cr_assert(mmio_guest_take(&guest, INFLATE));
}

static void break_ring(unsigned queue)
{
    uint16_t *avail = guest.queue[queue].avail;
    avail[1] = VQ_LE16((uint16_t)(VQ_LE16(avail[1]) + 1000));
    put(QUEUE_NOTIFY, queue);
    act();
}

Test(virtio_mmio_hostile, a_broken_queue_stops_alone)
{
    for (unsigned legacy = 0; legacy < 2; legacy++) {
        begin(legacy);
        start(0);
        uint32_t generation = get(GENERATION);
        break_ring(DEFLATE);
        cr_assert_not(m.queue[DEFLATE].running);
        cr_assert_eq(get(STATUS) & NEEDS_RESET, legacy ? 0u : (uint32_t)NEEDS_RESET);
        cr_assert_eq(get(INTERRUPT_STATUS), legacy ? 0u : 2u);
        cr_assert_eq(get(GENERATION) == generation, legacy != 0);
        send_pfn(INFLATE, 700);
        mmio_guest_kick(&guest, INFLATE);
        cr_assert_eq(act(), 1u);
        cr_assert(mmio_guest_take(&guest, INFLATE));
        /* It is as new after a reset. */
        start(0);
        cr_assert_eq(get(STATUS) & NEEDS_RESET, 0u);
        cr_assert(m.queue[DEFLATE].running);
    }
}

Test(virtio_mmio_hostile, a_queue_that_breaks_at_an_acknowledgement)
{
    begin(false);
    start(0);
    send_pfn(INFLATE, 700);
    mmio_guest_kick(&guest, INFLATE);
    m.queue[INFLATE].vq.used = 0; /* as if its memory were unplugged */
    act();
    cr_assert_not(m.queue[INFLATE].running);
    cr_assert(get(STATUS) & NEEDS_RESET);
}

Test(virtio_mmio_hostile, queues_that_cannot_be)
{
    static const struct {
        uint32_t size, page;
    } bad[] = {{0, AT}, {3, AT}, {2 * VIRTIO_MMIO_QUEUE_SIZE, AT}, {8, 0}, {8, UINT32_MAX}};

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(false);
        cr_assert(mmio_guest_choose(&guest, mmio_guest_offered(&guest)));
        mmio_guest_set_up(&guest, 0xe);
        put(QUEUE_SEL, INFLATE);
        put(QUEUE_NUM, bad[i].size);
        for (uint64_t at = QUEUE_DESC; at <= 0xa0; at += 16)
            put(at, bad[i].page);
        put(QUEUE_READY, 1);
        mmio_guest_ready(&guest);
        cr_assert(driver(), "the others are there");
        cr_assert_not(m.queue[INFLATE].running, "queue %u", i);
        cr_assert(get(STATUS) & NEEDS_RESET);
        put(QUEUE_NOTIFY, INFLATE);
        cr_assert(m.queue[DEFLATE].running);

        /* The same by a page number: no page size, none of RAM. */
        begin(true);
        mmio_guest_offered(&guest);
        put(QUEUE_SEL, INFLATE);
        put(GUEST_PAGE_SIZE, i == 4 ? 0x80000000 : 4096);
        put(QUEUE_NUM, bad[i].size);
        put(QUEUE_PFN, i >= 3 ? bad[i].page : AT / 4096);
        mmio_guest_ready(&guest);
        cr_assert(driver());
        cr_assert_not(m.queue[INFLATE].running, "legacy queue %u", i);
    }
}

/* Registers in any order and with any value: the fuzz target does it for longer. */
Test(virtio_mmio_hostile, every_register_and_value)
{
    static const uint32_t values[] = {0, 1, 2, 5, 127, 128, 4096, 0x80000000, UINT32_MAX};

    for (unsigned legacy = 0; legacy < 2; legacy++) {
        begin(legacy);
        for (unsigned round = 0; round < 2; round++, start(0))
            for (uint64_t at = 0; at < 0x200; at++)
                for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
                    put(at, values[i]);
                    get(at);
                    act();
                }
        cr_assert(driver());
        cr_assert(balloon_device_check(device, NULL));
    }
}
