#include <sys/resource.h>

#include <criterion/criterion.h>

#include <balloon/alloc.h>

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif

static const balloon_region ram = {0, 1024, 1};

Test(alloc, makes_a_tracker)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 1024, .hints = 1};
    balloon_tracker *tracker = NULL;

    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(tracker, &ram, NULL), BALLOON_OK);
    balloon_tracker_inflate(tracker, (const uint32_t[]){1023}, 1, NULL);
    cr_assert_eq(balloon_tracker_held(tracker), 1);
    balloon_tracker_destroy(tracker);
}

Test(alloc, makes_a_device)
{
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = NULL;

    cr_assert_eq(balloon_device_create(&config, &device), BALLOON_OK);
    cr_assert(balloon_device_check(device, NULL));
    balloon_device_destroy(device);
}

Test(alloc, makes_a_driver)
{
    balloon_driver_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_driver *driver = NULL;

    cr_assert_eq(balloon_driver_create(&config, &driver), BALLOON_OK);
    cr_assert(balloon_driver_check(driver, NULL));
    balloon_driver_destroy(driver);
    config.size = 0;
    cr_assert_eq(balloon_driver_create(&config, &driver), BALLOON_ERR_INVALID);
}

Test(alloc, makes_a_pool)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = 10,
                                  .pages = 1 << 20,
                                  .policy = &balloon_policy_waterline};
    balloon_pool *pool = NULL;

    cr_assert_eq(balloon_pool_create(&config, &pool), BALLOON_OK);
    cr_assert(balloon_pool_check(pool, NULL));
    balloon_pool_destroy(pool);
    config.policy = NULL;
    cr_assert_eq(balloon_pool_create(&config, &pool), BALLOON_ERR_INVALID);
}

/* Where the system is another one, os does nothing. */
Test(alloc, makes_an_os)
{
    balloon_os_config config = {.size = sizeof(config)};
    balloon_os *os = NULL;
    balloon_status status = balloon_os_create(&config, &os);

#ifdef __linux__
    cr_assert_eq(status, BALLOON_OK);
    cr_assert_eq(balloon_os_remove_region(os, 7), BALLOON_ERR_INVALID);
    balloon_os_destroy(os);
    cr_assert_eq(balloon_os_create(&config, NULL), BALLOON_ERR_INVALID);
    config.max_regions = 4097;
    cr_assert_eq(balloon_os_create(&config, &os), BALLOON_ERR_INVALID);
#else
    cr_assert_eq(status, BALLOON_ERR_UNSUPPORTED);
#endif
}

/* What malloc() gives has to do, everywhere. */
Test(alloc, no_layout_is_aligned_more_than_any_type)
{
    balloon_tracker_config tracker = {.size = sizeof(tracker), .max_pages = 1024, .hints = 1};
    balloon_device_config device = {.size = sizeof(device), .regions = &ram, .region_count = 1};
    balloon_driver_config driver = {.size = sizeof(driver), .regions = &ram, .region_count = 1};
    balloon_pool_config pool = {.size = sizeof(pool),
                                .max_guests = 10,
                                .pages = 1 << 20,
                                .policy = &balloon_policy_waterline};
    balloon_os_config os = {.size = sizeof(os)};
    balloon_layout layout[5] = {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}};

    cr_assert_eq(balloon_tracker_layout(&tracker, &layout[0]), BALLOON_OK);
    cr_assert_eq(balloon_device_layout(&device, &layout[1]), BALLOON_OK);
    cr_assert_eq(balloon_driver_layout(&driver, &layout[2]), BALLOON_OK);
    cr_assert_eq(balloon_pool_layout(&pool, &layout[3]), BALLOON_OK);
    balloon_status status = balloon_os_layout(&os, &layout[4]);
    cr_expect(status == BALLOON_OK || status == BALLOON_ERR_UNSUPPORTED);
    for (unsigned i = 0; i < 5; i++)
        cr_expect_leq(layout[i].align, _Alignof(max_align_t), "layout %u", i);
}

Test(alloc, refuses_what_init_refuses)
{
    balloon_tracker_config tracker_config = {.size = sizeof(tracker_config)};
    balloon_device_config device_config = {.size = sizeof(device_config)};
    balloon_tracker *tracker = NULL;
    balloon_device *device = NULL;

    cr_assert_eq(balloon_tracker_create(&tracker_config, &tracker), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_create(&device_config, &device), BALLOON_ERR_INVALID);
    cr_assert_eq(tracker, NULL);
    cr_assert_eq(device, NULL);
}

/* The config is sound, the place for the answer or the region is not. */
Test(alloc, frees_what_init_does_not_take)
{
    static const balloon_region odd = {0, 1024, 3};
    balloon_tracker_config tracker_config = {.size = sizeof(tracker_config), .max_pages = 1024};
    balloon_device_config device_config = {
        .size = sizeof(device_config), .regions = &odd, .region_count = 1};
    balloon_device *device = NULL;

    cr_assert_eq(balloon_tracker_create(&tracker_config, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_device_create(&device_config, &device), BALLOON_ERR_INVALID);
    cr_assert_eq(device, NULL);
}

Test(alloc, destroys_nothing)
{
    balloon_tracker_destroy(NULL);
    balloon_device_destroy(NULL);
}

/* A map of 2^30 pages, 4 TiB, is 256 MiB: it has an address on 32 bits, too. */
Test(alloc, says_so_when_there_is_no_memory)
{
    static const balloon_region huge = {0, UINT64_C(1) << 30, 1};
    balloon_tracker_config tracker_config = {.size = sizeof(tracker_config),
                                             .max_pages = UINT64_C(1) << 30};
    balloon_device_config device_config = {
        .size = sizeof(device_config), .regions = &huge, .region_count = 1};
    struct rlimit before;
    struct rlimit limit;
    balloon_tracker *tracker = NULL;
    balloon_device *device = NULL;
    balloon_status tracker_status;
    balloon_status device_status;

#ifdef ADDRESS_SANITIZER
    cr_skip_test("the address sanitizer cannot live with a limit on memory");
#endif
    cr_assert_eq(getrlimit(RLIMIT_AS, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)1 << 27;
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    tracker_status = balloon_tracker_create(&tracker_config, &tracker);
    device_status = balloon_device_create(&device_config, &device);
    cr_assert_eq(setrlimit(RLIMIT_AS, &before), 0);
    cr_assert_eq(tracker_status, BALLOON_ERR_NOSPACE);
    cr_assert_eq(device_status, BALLOON_ERR_NOSPACE);
    cr_assert_eq(tracker, NULL);
    cr_assert_eq(device, NULL);
}
