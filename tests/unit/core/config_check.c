/* A config that is wrong: the field is named, and layout and init refuse it. */
#include <balloon/balloon.h>

#include <criterion/criterion.h>
#include <string.h>

static const balloon_region ram = {0, 4096, 1};
static _Alignas(64) unsigned char memory[1 << 20];

/* What many give at first; 2 TiB are more pages than there can be. */
static const balloon_region in_bytes = {0, UINT64_C(2) << 40, 1};
static const balloon_region many[5000] = {{0, 16, 1}};

static void says_bytes(const char *text)
{
    cr_assert(text && strstr(text, "are these bytes?"), "%s", text ? text : "nothing");
}

/* The text begins with the field, and there is a reason behind it. */
static void named(const char *text, const char *field)
{
    size_t length = strlen(field);

    cr_assert_not_null(text, "%s is wrong and nothing is said", field);
    cr_assert(strncmp(text, field, length) == 0 && text[length] == ':' && strlen(text) > length + 8,
              "%s, not %s", text, field);
}

#define BAD(kind, field, change)                                                                   \
    do {                                                                                           \
        balloon_##kind##_config c = good;                                                          \
        balloon_##kind *made = NULL;                                                               \
        balloon_layout layout;                                                                     \
        change;                                                                                    \
        named(balloon_##kind##_config_check(&c), field);                                           \
        cr_assert(balloon_##kind##_layout(&c, &layout) != BALLOON_OK ||                            \
                      balloon_##kind##_init(memory, sizeof(memory), &c, &made) ==                  \
                          BALLOON_ERR_INVALID,                                                     \
                  "%s is accepted", #change);                                                      \
    } while (0)

#define GOOD(kind)                                                                                 \
    do {                                                                                           \
        balloon_layout layout;                                                                     \
        cr_assert_null(balloon_##kind##_config_check(&good));                                      \
        cr_assert_eq(balloon_##kind##_layout(&good, &layout), BALLOON_OK);                         \
        named(balloon_##kind##_config_check(NULL), "size");                                        \
    } while (0)

Test(config_check, tracker)
{
    balloon_tracker_config good = {.size = sizeof(good), .max_pages = 4096};

    GOOD(tracker);
    BAD(tracker, "size", c.size--);
    BAD(tracker, "max_pages", c.max_pages = 0);
    BAD(tracker, "max_pages", c.max_pages = (UINT64_C(1) << 40) + 1);
    BAD(tracker, "max_regions", c.max_regions = 4097);
}

Test(config_check, device)
{
    static const balloon_region empty = {0, 0, 1}, odd = {0, 16, 3},
                                huge = {0, 16, UINT64_C(1) << 30},
                                bytes = {UINT64_C(1) << 40, 1, 1},
                                twice[2] = {{0, 16, 1}, {15, 16, 1}},
                                endless[2] = {{0, UINT64_MAX, 1}, {0, 2, 1}};
    balloon_device_config good = {.size = sizeof(good), .regions = &ram, .region_count = 1};

    GOOD(device);
    good.regions = &in_bytes;
    says_bytes(balloon_device_config_check(&good));
    good.regions = &ram;
    BAD(device, "size", c.size--);
    BAD(device, "regions", c.regions = NULL);
    BAD(device, "regions", c.regions = &empty; c.max_pages = 16);
    BAD(device, "regions", c.regions = &odd);
    BAD(device, "regions", c.regions = &huge);
    BAD(device, "regions", c.regions = &bytes);
    BAD(device, "regions", c.regions = twice; c.region_count = 2);
    BAD(device, "regions", c.regions = endless; c.region_count = 2);
    BAD(device, "max_pages", c.max_pages = 4095);
    BAD(device, "max_pages", c.max_pages = (UINT64_C(1) << 40) + 1);
    BAD(device, "max_pages", c.region_count = 0);
    BAD(device, "max_regions", c.max_regions = 1; c.regions = twice; c.region_count = 2);
    BAD(device, "max_regions", c.max_regions = 4097);
    BAD(device, "region_count", c.regions = many; c.region_count = 5000);
    BAD(device, "features", c.features = 0x40);
    BAD(device, "target_align", c.target_align = 3);
    BAD(device, "run_batch", c.run_batch = 1025);
    BAD(device, "max_buffers", c.max_buffers = 65537);
}

Test(config_check, driver)
{
    static const balloon_region empty = {0, 0, 1}, twice[2] = {{0, 16, 1}, {15, 16, 1}};
    balloon_driver_config good = {.size = sizeof(good), .regions = &ram, .region_count = 1};

    GOOD(driver);
    good.regions = &in_bytes;
    says_bytes(balloon_driver_config_check(&good));
    good.regions = &ram;
    BAD(driver, "size", c.size--);
    BAD(driver, "region_count", c.region_count = 0);
    BAD(driver, "region_count", c.regions = NULL);
    BAD(driver, "regions", c.regions = &empty);
    BAD(driver, "regions", c.regions = twice; c.region_count = 2);
    BAD(driver, "total_pages", c.regions = NULL; c.region_count = 0);
    BAD(driver, "total_pages", c.regions = NULL; c.region_count = 0;
        c.total_pages = UINT64_C(1) << 40);
    BAD(driver, "max_pages", c.max_pages = 4095);
    BAD(driver, "max_pages", c.max_pages = (UINT64_C(1) << 40) + 1);
    BAD(driver, "max_regions", c.max_regions = 1; c.regions = twice; c.region_count = 2);
    BAD(driver, "max_regions", c.max_regions = 4097);
    BAD(driver, "region_count", c.regions = many; c.region_count = 5000);
    BAD(driver, "page_pages", c.page_pages = 2);
    BAD(driver, "chunk_pages", c.page_pages = 16; c.chunk_pages = 15);
    BAD(driver, "chunk_pages", c.chunk_pages = (1u << 20) + 1);
    BAD(driver, "chunk_runs", c.chunk_runs = 4097);
    BAD(driver, "block_pages", c.block_pages = 3);
    BAD(driver, "report_block", c.report_block = 3);
    BAD(driver, "retry_delay", c.retry_delay = BALLOON_TIME_NEVER);
    BAD(driver, "oom_delay", c.oom_delay = BALLOON_TIME_NEVER);
}

Test(config_check, pool)
{
    balloon_policy policy = balloon_policy_fixed;
    balloon_pool_config good = {
        .size = sizeof(good), .max_guests = 4, .pages = 4096, .policy = &policy};

    GOOD(pool);
    BAD(pool, "size", c.size--);
    BAD(pool, "max_guests", c.max_guests = 0);
    BAD(pool, "max_guests", c.max_guests = 100001);
    BAD(pool, "pages", c.pages = 0);
    BAD(pool, "pages", c.pages = (UINT64_C(1) << 40) + 1);
    BAD(pool, "reserve", c.reserve = 4096);
    BAD(pool, "policy", c.policy = NULL);
    policy.init = NULL;
    BAD(pool, "knobs", c.knobs = &ram);
    policy.decide = NULL;
    BAD(pool, "policy", (void)0);
}

Test(config_check, sim)
{
    static const balloon_curve_point point = {0, 0};
    static const balloon_curve curve = {&point, 1};
    static const balloon_sim_phase phase = {.pages = 1024};
    static const balloon_sim_guest guest = {.max = 2048, .phases = &phase, .phase_count = 1};
    balloon_scenario scenario = {.pages = 4096,
                                 .duration_ms = 1000,
                                 .guests = &guest,
                                 .guest_count = 1,
                                 .curves = &curve,
                                 .curve_count = 1};
    static const balloon_sim_actuator none = {.size = sizeof(none)};
    balloon_sim_config good = {.size = sizeof(good), .scenario = &scenario};

    good.pool.policy = &balloon_policy_fixed;
    GOOD(sim);
    BAD(sim, "size", c.size--);
    BAD(sim, "scenario", c.scenario = NULL);
    BAD(sim, "tick_ms", c.tick_ms = 60001);
    BAD(sim, "step_ms", c.step_ms = 60001);
    BAD(sim, "record_ms", c.record_ms = 1000000001);
    BAD(sim, "records", c.record_count = 1);
    BAD(sim, "actuator", c.actuator = &none);
    BAD(sim, "pool", c.pool.policy = NULL);
    scenario.duration_ms = 0;
    BAD(sim, "scenario", (void)0);
}

#ifdef __linux__
Test(config_check, os)
{
    balloon_os_config good = {.size = sizeof(good)};

    GOOD(os);
    BAD(os, "size", c.size--);
    BAD(os, "max_regions", c.max_regions = 4097);
    BAD(os, "flags", c.flags = 0x80);
}
#endif
