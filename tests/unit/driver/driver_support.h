/* A driver on virtio by hand for its tests: the host is a script. */
#ifndef TEST_DRIVER_SUPPORT_H
#define TEST_DRIVER_SUPPORT_H

#include <criterion/criterion.h>
#include <string.h>

#include <balloon/virtio.h>

#define MS UINT64_C(1000000)

enum { PAGES = 4096 };

static const balloon_region ram = {0, PAGES, 1};
static _Alignas(64) unsigned char memory[65536];

static inline balloon_driver *make(balloon_driver_config *config)
{
    balloon_driver *driver = NULL;

    config->size = sizeof(*config);
    if (!config->regions && !config->total_pages) {
        config->regions = &ram;
        config->region_count = 1;
    }
    if (!config->floor_pages)
        config->floor_pages = UINT64_MAX;
    cr_assert_eq(balloon_driver_init(memory, sizeof(memory), config, &driver), BALLOON_OK);
    return driver;
}

static inline void start(balloon_driver *driver, uint64_t offered)
{
    balloon_driver_action action;
    uint64_t chosen;

    cr_assert_eq(balloon_virtio_driver_negotiate(driver, offered | BALLOON_VIRTIO_F_VERSION_1, NULL,
                                                 &chosen),
                 BALLOON_OK);
    while (balloon_driver_poll(driver, 0, &action))
        cr_assert_eq(action.type, BALLOON_DRIVER_CONFIG);
    cr_assert_eq(balloon_virtio_driver_start(driver, 0), BALLOON_OK);
}

static inline void want(balloon_driver *driver, uint32_t pages)
{
    const unsigned char config[4] = {(unsigned char)pages, (unsigned char)(pages >> 8),
                                     (unsigned char)(pages >> 16), (unsigned char)(pages >> 24)};

    balloon_virtio_driver_config(driver, config, sizeof(config), 0);
}

/* The next action is this one. */
static inline balloon_driver_action next(balloon_driver *driver, balloon_time_t now,
                                         balloon_driver_action_type type)
{
    balloon_driver_action action = {0};

    cr_assert(balloon_driver_poll(driver, now, &action), "nothing to do, expected %d", (int)type);
    cr_assert_eq(action.type, type, "action %d, expected %d", (int)action.type, (int)type);
    cr_assert(balloon_driver_check(driver, NULL));
    return action;
}

static inline void nothing(balloon_driver *driver, balloon_time_t now)
{
    balloon_driver_action action;

    cr_assert_not(balloon_driver_poll(driver, now, &action), "action %d", (int)action.type);
}

static inline balloon_driver_status status_of(const balloon_driver *driver)
{
    balloon_driver_status status;

    balloon_driver_status_get(driver, &status);
    return status;
}

static inline balloon_driver_counters counters_of(const balloon_driver *driver)
{
    balloon_driver_counters counters;

    balloon_driver_counters_get(driver, &counters);
    return counters;
}

/* Inflate one block, up to the answer. */
static inline void inflate(balloon_driver *driver, balloon_range run)
{
    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &run, 1, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 0, 0), BALLOON_OK);
    cr_assert_eq(next(driver, 0, BALLOON_DRIVER_CONFIG).value, status_of(driver).held);
}

static inline void hint_id(balloon_driver *driver, uint32_t id)
{
    const unsigned char config[12] = {[8] = (unsigned char)id};

    balloon_virtio_driver_config(driver, config, sizeof(config), 0);
}

#endif
