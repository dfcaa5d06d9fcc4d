/* A balloon driver for a kernel of one's own: a page allocator, and the loop around the driver.
 * Once the driver knows which pages are in the balloon, by a bitmap, and once the kernel has a
 * list. */
#include <balloon/driver.h>
#include <balloon/virtio.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 16384, NO_PAGE = PAGES }; /* 64 MiB of guest RAM */

/* ---- The kernel's own: here a byte a page, first fit ---- */
enum { FREE = 0, USED = 1, LISTED = 2 }; /* LISTED: given to the driver, and not freed by it */
static unsigned char in_use[PAGES];

static size_t find_free(size_t count)
{
    size_t run = 0;

    for (size_t page = 0; page < PAGES; page++) {
        run = in_use[page] ? 0 : run + 1;
        if (run == count && (page + 1 - run) % count == 0)
            return page + 1 - run;
        if ((page + 1) % count == 0)
            run = 0;
    }
    return NO_PAGE;
}

/* As many blocks as there are, large ones first; never waits. */
static size_t take_pages(uint64_t pages, uint32_t block, balloon_range *runs, size_t max)
{
    size_t count = 0;

    while (count < max && block) {
        size_t page = block <= pages ? find_free(block) : NO_PAGE;

        if (page == NO_PAGE) {
            block /= 2;
            continue;
        }
        memset(in_use + page, LISTED, block);
        runs[count++] = (balloon_range){page, block};
        pages -= block;
    }
    return count;
}

/* Pages of the list that shall leave the balloon. They stay in it until the driver frees them, for
 * the host may keep them; next time others are named first. */
static size_t name_pages(uint64_t pages, balloon_range *runs, size_t max)
{
    static size_t page;
    size_t count = 0;

    for (size_t i = 0; i < PAGES && pages && count < max; i++, page = (page + 1) % PAGES)
        if (in_use[page] == LISTED) {
            runs[count++] = (balloon_range){page, 1};
            pages--;
        }
    return count;
}

static void free_list(void)
{
    for (size_t page = 0; page < PAGES; page++)
        if (in_use[page] == LISTED)
            in_use[page] = FREE;
}

static uint64_t free_pages(void)
{
    uint64_t count = 0;

    for (size_t page = 0; page < PAGES; page++)
        count += !in_use[page];
    return count;
}

static void check(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(EXIT_FAILURE);
}
#define CHECK(x) check(x, #x)

/* ---- The device: in a kernel these are virtqueues, configuration space and a clock. Here a device
 * of the library's other end is called, and answers at once. ---- */
static balloon_device *host;
static balloon_driver *driver;
static balloon_time_t now;

static void config_interrupt(void)
{
    unsigned char config[BALLOON_VIRTIO_CONFIG_BYTES];

    balloon_virtio_config_read(host, 0, config, sizeof(config));
    balloon_virtio_driver_config(driver, config, sizeof(config), now);
}

static void host_works(void)
{
    balloon_action action;

    while (balloon_device_poll(host, now, &action))
        if (action.type == BALLOON_ACTION_ACK)
            CHECK(!balloon_virtio_driver_acked(driver, action.queue, now));
        else if (action.type == BALLOON_ACTION_CONFIG_IRQ)
            config_interrupt();
}

static void put_on_queue(const balloon_virtio_message *message, const void *bytes)
{
    balloon_iov piece = {bytes, message->bytes};
    balloon_virtio_buffer buffer = {.readable = &piece, .readable_count = 1};

    CHECK(!balloon_virtio_receive(host, message->queue, &buffer, now));
    host_works();
}

/* ---- The driver's loop: from here ... ---- */
static void driver_works(void)
{
    static unsigned char buffer[4 * 256];
    static balloon_range runs[256];
    balloon_driver_action action;
    balloon_virtio_message message;
    balloon_sample sample = {0};

    while (balloon_driver_poll(driver, now, &action)) {
        switch (action.type) {
        case BALLOON_DRIVER_ALLOC:
            CHECK(!balloon_driver_give(driver, action.channel, runs,
                                       take_pages(action.pages, action.block, runs,
                                                  action.max_runs < 256 ? action.max_runs : 256),
                                       now));
            break;
        case BALLOON_DRIVER_FREE:
            for (uint32_t i = 0; i < action.run_count; i++)
                memset(in_use + action.runs[i].first, FREE, action.runs[i].count);
            if (!action.run_count) /* the host is gone; only without regions */
                free_list();
            break;
        case BALLOON_DRIVER_TAKE: /* only without regions */
            CHECK(!balloon_driver_give(
                driver, BALLOON_CHANNEL_DEFLATE, runs,
                name_pages(action.pages, runs, action.max_runs < 256 ? action.max_runs : 256),
                now));
            break;
        case BALLOON_DRIVER_SEND:
            CHECK(!balloon_virtio_driver_write(driver, action.channel, buffer, sizeof(buffer),
                                               &message));
            put_on_queue(&message, buffer);
            break;
        case BALLOON_DRIVER_STATS:
            balloon_sample_set(&sample, BALLOON_STAT_FREE, free_pages() * BALLOON_PAGE_SIZE);
            balloon_sample_set(&sample, BALLOON_STAT_TOTAL, PAGES * BALLOON_PAGE_SIZE);
            CHECK(!balloon_driver_give_stats(driver, &sample, now));
            break;
        case BALLOON_DRIVER_CONFIG: {
            unsigned char value[4] = {
                (unsigned char)action.value, (unsigned char)(action.value >> 8),
                (unsigned char)(action.value >> 16), (unsigned char)(action.value >> 24)};

            balloon_virtio_config_write(host, action.offset, value, sizeof(value));
            break;
        }
        default: /* nothing else comes, as this kernel does not suspend */
            break;
        }
    }
    /* Set a timer for balloon_driver_deadline(driver) here. */
}
/* ---- ... to here. ---- */

static void start(int list)
{
    static _Alignas(64) unsigned char memory[64 * 1024];
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .floor_pages = 2048,
                                    .stats = true,
                                    .deflate_on_oom = true};
    uint64_t features;

    if (list) {
        config.regions = NULL;
        config.region_count = 0;
        config.total_pages = PAGES;
    }
    CHECK(!balloon_driver_init(memory, sizeof(memory), &config, &driver));
    CHECK(!balloon_virtio_driver_negotiate(driver, balloon_virtio_features(host), NULL, &features));
    CHECK(!balloon_virtio_set_features(host, features)); /* write them, set FEATURES_OK */
    driver_works();
    CHECK(!balloon_virtio_driver_ok(host, 0, now)); /* set DRIVER_OK */
    CHECK(!balloon_virtio_driver_start(driver, now));
    config_interrupt();
    driver_works();
}

static void want(uint64_t pages)
{
    balloon_driver_status status;

    CHECK(!balloon_device_set_target(host, pages, now));
    host_works();
    for (;;) {
        driver_works();
        balloon_driver_status_get(driver, &status);
        if (status.held == status.goal)
            break;
        now = balloon_driver_deadline(driver); /* the kernel was short of pages: wait */
    }
    printf("the host wants %5llu pages: the balloon has %5llu, the kernel %5llu free\n",
           (unsigned long long)pages, (unsigned long long)status.held,
           (unsigned long long)free_pages());
}

static void demonstrate(int list)
{
    static _Alignas(64) unsigned char memory[64 * 1024];
    balloon_region ram = {0, PAGES, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    uint64_t coming;

    CHECK(!balloon_device_init(memory, sizeof(memory), &config, &host));
    memset(in_use, FREE, sizeof(in_use));
    memset(in_use, USED, 1000); /* the kernel itself */
    start(list);
    printf("%s\n", list ? "The kernel keeps a list." : "The driver keeps a bitmap.");
    want(8192);
    want(16384); /* more than the kernel is ready to give */
    want(4096);

    /* The kernel has run out of memory. */
    CHECK(!balloon_driver_oom(driver, 1024, &coming, now));
    driver_works();
    printf("out of memory: %llu pages come back, %llu are free\n", (unsigned long long)coming,
           (unsigned long long)free_pages());

    /* The device is reset: all pages are the guest's. */
    balloon_device_reset(host);
    balloon_driver_reset(driver);
    driver_works();
    CHECK(free_pages() == PAGES - 1000);
}

int main(void)
{
    demonstrate(0);
    demonstrate(1);
    return 0;
}
