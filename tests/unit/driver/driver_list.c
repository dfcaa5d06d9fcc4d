/* A kernel that keeps its list of pages to the letter: what is given enters, what FREE names
 * leaves.
 */
#include "driver_support.h"

static bool listed[PAGES], told[PAGES]; /* in the list; the host has it */
static uint64_t freed;

static void kernel_gives(balloon_driver *driver, const balloon_driver_action *action)
{
    balloon_range runs[8];
    uint32_t count = 0;
    uint64_t left = action->pages;

    /* Single pages, each other one. */
    for (balloon_pfn_t at = 0; at < PAGES && left && count < 8; at += 2) {
        if (listed[at])
            continue;
        listed[at] = true;
        runs[count++] = (balloon_range){at, 1};
        left--;
    }
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, runs, count, 0), BALLOON_OK);
}

static void kernel_names(balloon_driver *driver, const balloon_driver_action *action)
{
    balloon_range runs[8];
    uint32_t count = 0;
    uint64_t left = action->pages;

    for (balloon_pfn_t at = 0; at < PAGES && left && count < 8; at++) {
        if (!listed[at])
            continue;
        runs[count++] = (balloon_range){at, 1};
        left--;
    }
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_DEFLATE, runs, count, 0), BALLOON_OK);
}

static void kernel_frees(const balloon_driver_action *action)
{
    bool all = !action->run_count && action->channel == BALLOON_CHANNEL_INFLATE;

    for (uint32_t i = 0; i < action->run_count; i++)
        for (uint64_t page = 0; page < action->runs[i].count; page++) {
            cr_assert(listed[action->runs[i].first + page]);
            listed[action->runs[i].first + page] = false;
            freed++;
        }
    for (size_t at = 0; all && at < PAGES; at++) {
        freed += listed[at];
        listed[at] = false;
    }
}

static uint64_t size_of_list(void)
{
    uint64_t pages = 0;

    for (size_t at = 0; at < PAGES; at++)
        pages += listed[at];
    return pages;
}

/* The host sees the message; whether it answers is another question. */
static uint32_t host_sees(balloon_driver *driver, balloon_driver_channel channel)
{
    unsigned char bytes[1024];
    balloon_virtio_message message;

    cr_assert_eq(balloon_virtio_driver_write(driver, channel, bytes, sizeof(bytes), &message),
                 BALLOON_OK);
    for (size_t i = 0; i < message.bytes; i += 4) {
        size_t page = bytes[i] | (size_t)bytes[i + 1] << 8;

        cr_assert(listed[page], "page %zu is on its way and not in the list", page);
        cr_assert_eq(told[page], channel == BALLOON_CHANNEL_DEFLATE);
        told[page] = channel == BALLOON_CHANNEL_INFLATE;
    }
    return message.queue;
}

/* So many actions at the most. Returns whether there were less. */
static bool run(balloon_driver *driver, unsigned steps)
{
    balloon_driver_action action;

    for (; steps; steps--) {
        balloon_driver_status s = status_of(driver);

        cr_assert(balloon_driver_check(driver, NULL));
        cr_assert_leq(s.held + s.on_way_in, size_of_list());
        if (!balloon_driver_poll(driver, 0, &action))
            return true;
        if (action.type == BALLOON_DRIVER_ALLOC)
            kernel_gives(driver, &action);
        else if (action.type == BALLOON_DRIVER_TAKE)
            kernel_names(driver, &action);
        else if (action.type == BALLOON_DRIVER_FREE)
            kernel_frees(&action);
        else if (action.type == BALLOON_DRIVER_SEND)
            cr_assert_eq(balloon_virtio_driver_acked(driver, host_sees(driver, action.channel), 0),
                         BALLOON_OK);
    }
    return false;
}

static balloon_driver *make_list(void)
{
    balloon_driver_config config = {
        .total_pages = PAGES, .chunk_pages = 8, .deflate_on_oom = true, .retry_delay = MS};
    balloon_driver *driver;

    memset(listed, 0, sizeof(listed));
    memset(told, 0, sizeof(told));
    freed = 0;
    driver = make(&config);
    start(driver, 0);
    return driver;
}

Test(driver_list, has_the_pages_of_the_balloon)
{
    balloon_driver *driver = make_list();

    want(driver, 20);
    cr_assert(run(driver, 1000));
    cr_assert_eq(status_of(driver).held, 20);
    cr_assert_eq(size_of_list(), 20);
    want(driver, 3);
    cr_assert(run(driver, 1000));
    cr_assert_eq(status_of(driver).held, 3);
    cr_assert_eq(size_of_list(), 3);
}

/* Wherever the host is lost, in either direction, each page comes back, and once. */
Test(driver_list, has_nothing_after_a_reset)
{
    for (int down = 0; down < 2; down++) {
        for (unsigned steps = 0, more = 1; more; steps++) {
            balloon_driver *driver = make_list();
            balloon_driver_action action;
            uint64_t given;

            want(driver, 20);
            if (down) {
                (void)run(driver, 1000);
                want(driver, 1);
            }
            more = !run(driver, steps);
            /* A message that the host has and does not answer. */
            if (balloon_driver_poll(driver, 0, &action)) {
                if (action.type == BALLOON_DRIVER_SEND)
                    (void)host_sees(driver, action.channel);
                else if (action.type == BALLOON_DRIVER_ALLOC)
                    kernel_gives(driver, &action);
                else if (action.type == BALLOON_DRIVER_TAKE)
                    kernel_names(driver, &action);
                else if (action.type == BALLOON_DRIVER_FREE)
                    kernel_frees(&action);
            }
            freed = 0;
            given = size_of_list();
            balloon_driver_reset(driver);
            cr_assert(run(driver, 1000));
            cr_assert_eq(size_of_list(), 0, "down %d steps %u", down, steps);
            cr_assert_eq(freed, given);
        }
    }
}

/* The new page enters with the call, the old one leaves by FREE. */
Test(driver_list, has_both_pages_of_a_replacement_until_one_is_freed)
{
    for (unsigned steps = 0, more = 1; more; steps++) {
        balloon_driver *driver = make_list();

        want(driver, 4);
        cr_assert(run(driver, 1000));
        cr_assert_eq(balloon_driver_migrate(driver, 2, 101, 0), BALLOON_OK);
        listed[101] = true;
        more = !run(driver, steps);
        if (!more) {
            cr_assert(listed[101] && !listed[2]);
            cr_assert_eq(size_of_list(), 4);
        }
        balloon_driver_reset(driver);
        cr_assert(run(driver, 1000));
        cr_assert_eq(size_of_list(), 0, "steps %u", steps);
    }
}
