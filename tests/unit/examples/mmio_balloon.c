/* docs/examples/mmio_balloon.c, with the library's driver for its guest: what an embedder copies,
 * from the first register to the last discard. */
#define main example_main
#include "../../../docs/examples/mmio_balloon.c"
#undef main

#include <criterion/criterion.h>
#include <string.h>

/* The guest's pages: the window first, and free ones behind it. */
enum { FIRST = 1024, BLOCK = 16 };
#define NAME(page) (RAM_AT / BALLOON_PAGE_SIZE + (page))

static struct vm vm;
static struct mmio_guest guest;
static balloon_driver *driver;
static bool lent[PAGES];

/* Free blocks of whole blocks of the kernel's. */
static size_t lend(const balloon_driver_action *a, balloon_range *runs)
{
    size_t count = 0;
    uint64_t left = a->pages, block = a->pages < BLOCK ? a->pages : BLOCK;

    for (uint64_t i = FIRST; i < PAGES && left >= block && count < a->max_runs; i += BLOCK) {
        if (lent[i])
            continue;
        runs[count++] = (balloon_range){NAME(i), block};
        left -= block;
        memset(lent + i, true, BLOCK);
    }
    return count;
}

static void give_back(const balloon_range *run)
{
    memset(lent + (run->first - NAME(0)), false, run->count);
}

/* Whether a page holds what was written at the start, or nothing. */
static bool written(uint64_t page)
{
    uint8_t first = vm.ram[page * BALLOON_PAGE_SIZE];
    cr_assert(first == 0 || first == 0xaa);
    return first != 0;
}

static void read_config(void)
{
    uint8_t config[BALLOON_VIRTIO_CONFIG_BYTES];
    for (unsigned i = 0; i < sizeof config; i++)
        config[i] = (uint8_t)virtio_mmio_read(&vm.mmio, 0x100 + i, 1);
    balloon_virtio_driver_config(driver, config, sizeof config, now());
}

static void driver_action(const balloon_driver_action *a)
{
    static uint8_t bytes[4096];
    static balloon_range runs[4096];
    balloon_virtio_message m;
    balloon_sample sample = {0};

    switch (a->type) {
    case BALLOON_DRIVER_ALLOC:
        cr_assert_eq(balloon_driver_give(driver, a->channel, runs, lend(a, runs), now()),
                     BALLOON_OK);
        break;
    case BALLOON_DRIVER_FREE:
        for (uint32_t i = 0; i < a->run_count; i++)
            give_back(&a->runs[i]);
        break;
    case BALLOON_DRIVER_SEND:
        cr_assert_eq(balloon_virtio_driver_write(driver, a->channel, bytes, sizeof bytes, &m),
                     BALLOON_OK);
        cr_assert(mmio_guest_put(&guest, m.queue, bytes, m.bytes, m.spans, m.span_count));
        mmio_guest_kick(&guest, m.queue);
        break;
    case BALLOON_DRIVER_STATS:
        balloon_sample_set(&sample, BALLOON_STAT_FREE, 12345);
        cr_assert_eq(balloon_driver_give_stats(driver, &sample, now()), BALLOON_OK);
        break;
    case BALLOON_DRIVER_CONFIG:
        register_written(&vm, 0x100 + a->offset, a->value);
        break;
    default:
        cr_assert_fail("action %d", (int)a->type);
    }
}

static void act_for_driver(void)
{
    balloon_driver_action a;

    while (balloon_driver_poll(driver, now(), &a))
        driver_action(&a);
}

/* Both sides have a look at the clock, and the guest at its interrupt. */
static balloon_device_status turn(void)
{
    balloon_device_status status;

    if (now() >= vm.timer)
        timer_expired(&vm);
    if (vm.line) {
        uint32_t interrupts = mmio_guest_interrupts(&guest);
        for (unsigned i = 0; i < MMIO_GUEST_QUEUES; i++)
            while (mmio_guest_take(&guest, i))
                cr_assert_eq(balloon_virtio_driver_acked(driver, i, now()), BALLOON_OK);
        if (interrupts & 2)
            read_config();
    }
    act_for_driver();
    balloon_device_status_get(vm.balloon, &status);
    usleep(100);
    return status;
}

static void start_guest(uint64_t without)
{
    static _Alignas(64) uint8_t memory[65536];
    balloon_region ram = {NAME(0), PAGES, 1};
    balloon_driver_config config = {.size = sizeof config,
                                    .regions = &ram,
                                    .region_count = 1,
                                    .floor_pages = UINT64_MAX,
                                    .report_block = BLOCK,
                                    .report_delay = 1,
                                    .stats = true,
                                    .reporting = true};
    uint64_t chosen;

    guest = (struct mmio_guest){.mmio = &vm.mmio,
                                .write = register_written,
                                .self = &vm,
                                .window = vm.ram,
                                .window_at = RAM_AT};
    cr_assert_eq(balloon_driver_init(memory, sizeof memory, &config, &driver), BALLOON_OK);
    uint64_t offered = mmio_guest_offered(&guest) & ~without;
    cr_assert_eq(balloon_virtio_driver_negotiate(driver, offered, NULL, &chosen), BALLOON_OK);
    cr_assert(mmio_guest_choose(&guest, chosen | (offered & VQ_FEATURES)));
    act_for_driver();
    mmio_guest_set_up(&guest, 0xf);
    mmio_guest_ready(&guest);
    cr_assert_eq(balloon_virtio_driver_start(driver, now()), BALLOON_OK);
    read_config();
}

static void round_trip(bool legacy, uint64_t without)
{
    enum { WANTED = 2048, TURNS = 100000 };
    balloon_device_status status = {0};
    balloon_device_counters counters = {0};
    balloon_sample sample = {0};
    unsigned left = TURNS;
    uint64_t zeros = 0;

    cr_assert(start(&vm, legacy));
    memset(vm.ram + FIRST * BALLOON_PAGE_SIZE, 0xaa, (PAGES - FIRST) * BALLOON_PAGE_SIZE);
    cr_assert_eq(balloon_device_set_target(vm.balloon, WANTED, now()), BALLOON_OK);
    start_guest(without);

    /* Into the balloon: and nothing else is discarded. */
    while (left && !(status.settled && status.returned == WANTED))
        status = turn(), left--;
    cr_assert_eq(status.held, (uint64_t)WANTED);
    cr_assert_eq(status.returned, (uint64_t)WANTED);
    for (uint64_t i = FIRST; i < PAGES; i++) {
        zeros += !written(i);
        cr_assert(without & BALLOON_F_REPORTING ? written(i) == !lent[i] : true, "page %u",
                  (unsigned)i);
    }
    cr_assert_geq(zeros, (uint64_t)WANTED);

    /* Statistics. */
    cr_assert_eq(balloon_device_request_stats(vm.balloon, now()), BALLOON_OK);
    act(&vm);
    for (left = TURNS; left && sample.value[BALLOON_STAT_FREE] != 12345; left--) {
        turn();
        (void)balloon_device_sample(vm.balloon, &sample);
    }
    cr_assert(left);

    /* Free pages that were not asked for. */
    if (!(without & BALLOON_F_REPORTING)) {
        for (left = TURNS; left && counters.reported < BLOCK; left--) {
            turn();
            balloon_device_counters_get(vm.balloon, &counters);
        }
        cr_assert_geq(counters.reported, (uint64_t)BLOCK);
    }

    /* And out of it. */
    cr_assert_eq(balloon_device_set_target(vm.balloon, 0, now()), BALLOON_OK);
    act(&vm);
    for (left = TURNS; left && status.held > 0; left--)
        status = turn();
    cr_assert_eq(status.held, 0u);
    balloon_device_counters_get(vm.balloon, &counters);
    cr_assert_eq(counters.protocol_errors, 0u);
    cr_assert_eq(status.negotiated, BALLOON_F_DEFAULT & ~BALLOON_F_POISON &
                                        ~BALLOON_F_DEFLATE_ON_OOM & ~(uint32_t)without);
    cr_assert_eq(virtio_mmio_read(&vm.mmio, 0x70, 4) & 0x40, 0u);
    balloon_os_destroy(vm.os);
    balloon_device_destroy(vm.balloon);
    munmap(vm.ram, PAGES * BALLOON_PAGE_SIZE);
}

Test(mmio_balloon, round_trip_modern, .timeout = 120)
{
    round_trip(false, 0);
}

Test(mmio_balloon, round_trip_legacy, .timeout = 120)
{
    round_trip(true, 0);
}

Test(mmio_balloon, round_trip_of_a_plain_guest, .timeout = 120)
{
    round_trip(true, VQ_FEATURES | BALLOON_F_MUST_TELL | BALLOON_F_REPORTING);
}
