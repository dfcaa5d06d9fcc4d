/* The guest's RAM as the driver sees it: limits, plugging and unplugging. */
#include "driver_support.h"

/* Of what Linux keeps: half of 16 MiB and 8 MiB, a fourth of 144 MiB and 40 MiB. */
Test(driver_ram, the_default_floor_is_that_of_all_ram)
{
    const balloon_region more = {PAGES, 128 * 256, 1};
    balloon_driver_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .max_pages = 144 * 256};
    balloon_driver *driver = NULL;
    uint32_t id;

    cr_assert_eq(balloon_driver_init(memory, sizeof(memory), &config, &driver), BALLOON_OK);
    start(driver, 0);
    want(driver, UINT32_MAX);
    cr_assert_eq(status_of(driver).goal, 0);
    cr_assert_eq(balloon_driver_add_region(driver, &more, &id), BALLOON_OK);
    cr_assert_eq(status_of(driver).goal, (144 - 76) * 256);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
    cr_assert_eq(status_of(driver).goal, 0);
}

Test(driver_ram, a_floor_that_was_asked_for_stays)
{
    const balloon_region more = {0, 128 * 256, 1};
    balloon_driver_config config = {.total_pages = PAGES, .floor_pages = 96};
    balloon_driver *driver = make(&config);

    start(driver, 0);
    want(driver, UINT32_MAX);
    cr_assert_eq(status_of(driver).goal, PAGES - 96);
    cr_assert_eq(balloon_driver_add_region(driver, &more, NULL), BALLOON_OK);
    cr_assert_eq(status_of(driver).goal, 144 * 256 - 96);
}

Test(driver_ram, has_less_than_2_to_the_40_pages)
{
    const uint64_t end = UINT64_C(1) << 40;
    const uint64_t bad[] = {end, end + 1, UINT64_MAX - 5, UINT64_MAX};
    const balloon_region one = {0, 1, 1}, all = {0, UINT64_MAX, 1};
    balloon_driver_config config = {.size = sizeof(config)};
    balloon_driver *driver;
    balloon_layout layout;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        config.total_pages = bad[i];
        cr_assert_eq(balloon_driver_layout(&config, &layout), BALLOON_ERR_INVALID, "%zu", i);
    }
    config.total_pages = end - 2;
    driver = make(&config);
    cr_assert_eq(balloon_driver_add_region(driver, &all, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_add_region(driver, &one, NULL), BALLOON_OK);
    cr_assert_eq(balloon_driver_add_region(driver, &one, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(status_of(driver).total, end - 1);
}

static balloon_driver *lent(balloon_driver_config *config, uint32_t *id, uint32_t features)
{
    static const balloon_region more = {8192, 1024, 1};
    balloon_driver *driver;

    config->max_pages = PAGES + 1024;
    config->report_delay = MS;
    driver = make(config);
    cr_assert_eq(balloon_driver_add_region(driver, &more, id), BALLOON_OK);
    start(driver, features);
    return driver;
}

Test(driver_ram, stays_while_it_is_lent_for_a_report)
{
    balloon_driver_config config = {.reporting = true};
    const balloon_range runs[] = {{0, 512}, {8704, 512}};
    uint32_t id;
    balloon_driver *driver = lent(&config, &id, BALLOON_F_REPORTING);

    next(driver, MS, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_REPORT, runs, 2, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    next(driver, MS, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 2, MS), BALLOON_OK);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    next(driver, MS, BALLOON_DRIVER_FREE);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
}

Test(driver_ram, stays_while_it_is_named_in_a_hint)
{
    balloon_driver_config config = {.hinting = true};
    const balloon_range run = {8192, 1};
    uint32_t id;
    balloon_driver *driver = lent(&config, &id, BALLOON_F_HINTING);

    hint_id(driver, 9);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 2, 0), BALLOON_OK);
    next(driver, 0, BALLOON_DRIVER_ALLOC);
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_HINT, &run, 1, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 2, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
}

Test(driver_ram, stays_until_all_of_it_was_freed)
{
    balloon_driver_config config = {0};
    uint32_t id;
    balloon_driver *driver = lent(&config, &id, 0);

    want(driver, 8);
    inflate(driver, (balloon_range){8192, 8});
    want(driver, 0);
    next(driver, 0, BALLOON_DRIVER_SEND);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(balloon_virtio_driver_acked(driver, 1, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_ERR_BUSY);
    next(driver, 0, BALLOON_DRIVER_FREE);
    cr_assert_eq(balloon_driver_remove_region(driver, id, 0), BALLOON_OK);
}
