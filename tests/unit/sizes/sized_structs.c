/* What a program does with each struct that begins with its size, and how large these were. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "../hyperv/hyperv_device_support.h"
#include "sim_lab.h"
#include "sized_structs.h"

/* Each takes a block in which nothing but size is set, sets what it has to be in any version, and
 * says whether the library has taken it. What came of it is added to seen. */

static const balloon_region ram = {0, 4096, 1};

static balloon_status use_tracker_config(void *given, uint64_t *seen)
{
    balloon_tracker_config *c = given;
    balloon_layout layout = {0};
    balloon_status status;

    if (c->size >= sizeof(*c))
        c->max_pages = 4096;
    status = balloon_tracker_layout(c, &layout);
    *seen += layout.bytes;
    cr_expect((status == BALLOON_OK) == !balloon_tracker_config_check(c));
    return status;
}

static balloon_status use_device_config(void *given, uint64_t *seen)
{
    balloon_device_config *c = given;
    balloon_device *device = NULL;
    balloon_device_status at;
    balloon_status status;

    if (c->size >= sizeof(*c)) {
        c->regions = &ram;
        c->region_count = 1;
    }
    status = balloon_device_create(c, &device);
    cr_expect((status == BALLOON_OK) == !balloon_device_config_check(c));
    if (status != BALLOON_OK)
        return status;
    cr_expect_eq(balloon_device_set_target(device, 100, 0), BALLOON_OK);
    balloon_device_status_get(device, &at);
    *seen += at.target + at.offered;
    balloon_device_destroy(device);
    return status;
}

static balloon_driver *new_driver(void)
{
    balloon_driver_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .stats = true};
    balloon_driver *driver = NULL;

    cr_assert_eq(balloon_driver_create(&config, &driver), BALLOON_OK);
    return driver;
}

static balloon_status use_driver_config(void *given, uint64_t *seen)
{
    balloon_driver_config *c = given;
    balloon_driver *driver = NULL;
    balloon_driver_status at;
    balloon_status status;

    if (c->size >= sizeof(*c)) {
        c->regions = &ram;
        c->region_count = 1;
    }
    status = balloon_driver_create(c, &driver);
    cr_expect((status == BALLOON_OK) == !balloon_driver_config_check(c));
    if (status != BALLOON_OK)
        return status;
    balloon_driver_status_get(driver, &at);
    *seen += at.total + at.window;
    balloon_driver_destroy(driver);
    return status;
}

static balloon_status use_hyperv_options(void *given, uint64_t *seen)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);
    balloon_status status = balloon_hyperv_configure(device, given);

    if (status != BALLOON_OK)
        return status;
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    hv_poll(device, 0);
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    hv_poll(device, 0);
    cr_assert_eq(balloon_device_set_target(device, 16, START), BALLOON_OK);
    hv_poll(device, START);
    *seen += balloon_device_deadline(device); /* the guest has so long for its answer */
    return status;
}

static balloon_status use_hyperv_driver_options(void *given, uint64_t *seen)
{
    balloon_driver *driver = new_driver();
    balloon_status status = balloon_hyperv_driver_open(driver, given, 0);

    *seen += balloon_driver_deadline(driver);
    balloon_driver_destroy(driver);
    return status;
}

static balloon_status use_os_config(void *given, uint64_t *seen)
{
    balloon_layout layout = {0};
    balloon_status status = balloon_os_layout(given, &layout);

    *seen += layout.bytes;
    cr_expect((status == BALLOON_OK) == !balloon_os_config_check(given));
    return status;
}

/* A region of 2 MiB of the host, at page 0 of the guest. */
#define HOST_BYTES ((size_t)1 << 21)

static balloon_os *new_os(balloon_os_region *region)
{
    balloon_os_config config = {.size = sizeof(config)};
    balloon_os *os = NULL;
    unsigned char *memory =
        mmap(NULL, 2 * HOST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert(memory != MAP_FAILED);
    cr_assert_eq(balloon_os_create(&config, &os), BALLOON_OK);
    region->pages.count = HOST_BYTES / BALLOON_PAGE_SIZE;
    region->pages.granule = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE;
    region->host = memory + (HOST_BYTES - (uintptr_t)memory % HOST_BYTES) % HOST_BYTES;
    region->fd = -1;
    return os;
}

static balloon_os *new_os_with_region(void)
{
    balloon_os_region region = {.size = sizeof(region)};
    balloon_os *os = new_os(&region);

    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    return os;
}

static balloon_status use_os_region(void *given, uint64_t *seen)
{
    balloon_os_region *region = given, other;
    balloon_os *os = new_os(region->size >= sizeof(*region) ? region : &other);
    balloon_status status = balloon_os_add_region(os, 0, region);

    *seen += balloon_os_refusal(os) == BALLOON_OS_REASON_NONE;
    balloon_os_destroy(os);
    return status;
}

static balloon_status use_os_region_status(void *given, uint64_t *seen)
{
    balloon_os *os = new_os_with_region();
    balloon_status status = balloon_os_region_get(os, 0, given);

    if (status == BALLOON_OK)
        *seen += ((const balloon_os_region_status *)given)->page;
    balloon_os_destroy(os);
    return status;
}

static balloon_status use_os_selftest_result(void *given, uint64_t *seen)
{
    balloon_os *os = new_os_with_region();
    balloon_status status = balloon_os_selftest(os, 0, (balloon_range){0, 256}, given);

    if (status == BALLOON_OK)
        *seen += ((const balloon_os_selftest_result *)given)->pages;
    balloon_os_destroy(os);
    return status;
}

static balloon_status use_os_residency(void *given, uint64_t *seen)
{
    balloon_os *os = new_os_with_region();
    balloon_run run = {.range = {0, 256}};
    balloon_status status = balloon_os_resident(os, &run, 0, given);

    if (status == BALLOON_OK)
        *seen += ((const balloon_os_residency *)given)->looked;
    balloon_os_destroy(os);
    return status;
}

static balloon_status use_os_host(void *given, uint64_t *seen)
{
    balloon_status status = balloon_os_host_read("/nowhere", given);

    if (status != BALLOON_ERR_INVALID)
        *seen += ((const balloon_os_host *)given)->total;
    return status;
}

static balloon_status pool_of(const balloon_policy *policy, const void *knobs, uint64_t *seen)
{
    balloon_pool_config config = {
        .size = sizeof(config), .max_guests = 4, .pages = 100000, .policy = policy, .knobs = knobs};
    balloon_pool_guest guest = {.size = sizeof(guest), .min = 100, .max = 9000, .current = 5000};
    balloon_pool *pool = NULL;
    balloon_status status = balloon_pool_create(&config, &pool);
    balloon_change change;
    uint64_t id;

    if (status != BALLOON_OK)
        return status;
    cr_assert_eq(balloon_pool_add(pool, &guest, 0, &id), BALLOON_OK);
    cr_assert_eq(balloon_pool_set_size(pool, id, 5000, 60 * VM_SECOND), BALLOON_OK);
    balloon_pool_decide(pool, 60 * VM_SECOND);
    while (balloon_pool_next(pool, &change))
        *seen += change.target;
    balloon_pool_destroy(pool);
    return status;
}

static void keep(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    /* The other way round: a policy may look how much the library knows of the view. */
    cr_assert_eq(view->size, sizeof(*view));
    wishes[0].target = view->guests[0].size - 256;
}

static balloon_status use_policy(void *given, uint64_t *seen)
{
    balloon_policy *policy = given;

    if (policy->size >= sizeof(*policy)) {
        policy->name = "keep";
        policy->decide = keep;
    }
    return pool_of(policy, NULL, seen);
}

#define USE_KNOBS(policy)                                                                          \
    static balloon_status use_##policy##_knobs(void *given, uint64_t *seen)                        \
    {                                                                                              \
        return pool_of(&balloon_policy_##policy, given, seen);                                     \
    }
USE_KNOBS(shares)
USE_KNOBS(proxmox)
USE_KNOBS(stall)
USE_KNOBS(buffer)
USE_KNOBS(waterline)

static balloon_status use_pool_config(void *given, uint64_t *seen)
{
    balloon_pool_config *c = given;
    balloon_pool *pool = NULL;
    balloon_pool_status at;
    balloon_status status;

    if (c->size >= sizeof(*c)) {
        c->max_guests = 4;
        c->pages = 100000;
        c->policy = &balloon_policy_waterline;
    }
    status = balloon_pool_create(c, &pool);
    cr_expect((status == BALLOON_OK) == !balloon_pool_config_check(c));
    if (status != BALLOON_OK)
        return status;
    balloon_pool_status_get(pool, &at);
    *seen += at.budget;
    balloon_pool_destroy(pool);
    return status;
}

static balloon_status use_pool_guest(void *given, uint64_t *seen)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = 4,
                                  .pages = 100000,
                                  .policy = &balloon_policy_waterline};
    balloon_pool_guest *guest = given;
    balloon_pool_guest_status at;
    balloon_pool *pool = NULL;
    balloon_status status;
    uint64_t id;

    cr_assert_eq(balloon_pool_create(&config, &pool), BALLOON_OK);
    if (guest->size >= sizeof(*guest)) {
        guest->min = 100;
        guest->max = guest->current = 9000;
    }
    status = balloon_pool_add(pool, guest, 0, &id);
    if (status == BALLOON_OK) {
        cr_assert_eq(balloon_pool_guest_get(pool, id, &at), BALLOON_OK);
        *seen += at.target + at.config.shares;
    }
    cr_expect_eq(balloon_pool_adopt(pool, guest, 0, &id), status);
    balloon_pool_destroy(pool);
    return status;
}

static balloon_status use_scenario_options(void *given, uint64_t *seen)
{
    balloon_scenario_options *o = given;
    const balloon_scenario *scenario;
    balloon_layout layout = {0};
    balloon_status status;
    void *memory;

    if (o->size >= sizeof(*o))
        o->number = 1;
    status = balloon_scenario_layout(o, &layout);
    if (status != BALLOON_OK)
        return status;
    memory = lab_memory(&layout);
    cr_assert_eq(balloon_scenario_build(memory, layout.bytes, o, &scenario), BALLOON_OK);
    *seen += scenario->pages + scenario->guest_count;
    free(memory);
    return status;
}

/* Play 5 s of two guests. */
static balloon_status play(const balloon_sim_config *config, uint64_t *seen)
{
    balloon_layout layout;
    balloon_status status = balloon_sim_layout(config, &layout);
    balloon_sim_result result;
    balloon_sim *sim;
    void *memory;

    cr_expect((status == BALLOON_OK) == !balloon_sim_config_check(config));
    if (status != BALLOON_OK)
        return status;
    memory = lab_memory(&layout);
    cr_assert_eq(balloon_sim_init(memory, layout.bytes, config, &sim), BALLOON_OK);
    balloon_sim_run(sim, 5000);
    balloon_sim_result_get(sim, &result);
    *seen += result.cost + result.decisions;
    free(memory);
    return status;
}

static balloon_status use_sim_config(void *given, uint64_t *seen)
{
    balloon_sim_config *c = given;
    struct lab *lab = lab_new(2);
    balloon_status status;

    if (c->size >= offsetof(balloon_sim_config, profile)) {
        c->scenario = &lab->scenario;
        c->pool.policy = &orders_policy;
    }
    status = play(c, seen);
    lab_free(lab);
    return status;
}

static size_t no_bytes(uint64_t pages)
{
    (void)pages;
    return 0;
}

static void no_init(void *state, uint64_t pages, balloon_time_t now)
{
    (void)state;
    (void)pages;
    (void)now;
}

static uint64_t moves(void *state, uint64_t size, balloon_time_t now)
{
    (void)state;
    (void)now;
    return size;
}

static balloon_status use_sim_actuator(void *given, uint64_t *seen)
{
    balloon_sim_actuator *a = given;
    struct lab *lab = lab_new(2);
    balloon_status status;

    if (a->size >= sizeof(*a)) {
        a->name = "straight";
        a->bytes = no_bytes;
        a->init = no_init;
        a->move = moves;
    }
    lab->config.actuator = a;
    status = play(&lab->config, seen);
    lab_free(lab);
    return status;
}

static balloon_status use_virtio_options(void *given, uint64_t *seen)
{
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_device *device = vm_device(&config);
    balloon_status status = balloon_virtio_configure(device, given);

    *seen += balloon_virtio_features(device);
    return status;
}

static balloon_status use_virtio_driver_options(void *given, uint64_t *seen)
{
    balloon_driver *driver = new_driver();
    balloon_driver_action action;
    balloon_virtio_message message = {0};
    balloon_sample sample = {.present = 0xffff};
    unsigned char bytes[1024];
    uint64_t chosen = 0;
    balloon_status status = balloon_virtio_driver_negotiate(
        driver, BALLOON_F_ALL | BALLOON_F_EXPERIMENTAL, given, &chosen);

    if (status == BALLOON_OK) {
        cr_assert_eq(balloon_virtio_driver_start(driver, 0), BALLOON_OK);
        while (balloon_driver_poll(driver, 0, &action)) {
            if (action.type == BALLOON_DRIVER_STATS)
                cr_assert_eq(balloon_driver_give_stats(driver, &sample, 0), BALLOON_OK);
            else if (action.type == BALLOON_DRIVER_SEND)
                cr_assert_eq(balloon_virtio_driver_write(driver, action.channel, bytes,
                                                         sizeof(bytes), &message),
                             BALLOON_OK);
        }
        cr_assert(message.bytes);
    }
    *seen += chosen + message.bytes;
    balloon_driver_destroy(driver);
    return status;
}

static balloon_status use_vmware_options(void *given, uint64_t *seen)
{
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};

    (void)seen;
    return balloon_vmware_configure(vm_device(&config), given);
}

static balloon_status use_vmware_driver_options(void *given, uint64_t *seen)
{
    balloon_driver *driver = new_driver();
    balloon_status status = balloon_vmware_driver_open(driver, given, 0);

    *seen += balloon_driver_deadline(driver);
    balloon_driver_destroy(driver);
    return status;
}

static balloon_status use_xen_options(void *given, uint64_t *seen)
{
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};

    (void)seen;
    return balloon_xen_configure(vm_device(&config), given);
}

static balloon_status use_xen_driver_options(void *given, uint64_t *seen)
{
    balloon_driver *driver = new_driver();
    balloon_status status = balloon_xen_driver_open(driver, given);

    *seen += balloon_driver_deadline(driver);
    balloon_driver_destroy(driver);
    return status;
}

/* How large a struct was when this was its last field. */
#define UP_TO(type, field)                                                                         \
    ((offsetof(type, field) + sizeof(((type *)0)->field) + _Alignof(type) - 1) / _Alignof(type) *  \
     _Alignof(type))

/* A struct that grows gets another size here, and its row keeps the old ones for good. */
const struct sized sized_structs[] = {
#define SIZED(name, ...)                                                                           \
    {                                                                                              \
        "balloon_" #name, FILLED_BY_PROGRAMS, sizeof(balloon_##name), use_##name,                  \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define ANSWER(name, ...)                                                                          \
    {                                                                                              \
        "balloon_" #name, FILLED_BY_LIBRARY, sizeof(balloon_##name), use_##name,                   \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
    SIZED(tracker_config, UP_TO(balloon_tracker_config, hints)),
    SIZED(device_config, UP_TO(balloon_device_config, stats_timeout)),
    SIZED(driver_config, UP_TO(balloon_driver_config, hinting)),
    SIZED(hyperv_options, UP_TO(balloon_hyperv_options, retry_delay),
          UP_TO(balloon_hyperv_options, answer_timeout)),
    SIZED(hyperv_driver_options, UP_TO(balloon_hyperv_driver_options, alignment)),
    SIZED(os_config, UP_TO(balloon_os_config, flags)),
    SIZED(os_region, UP_TO(balloon_os_region, reserved)),
    ANSWER(os_region_status, UP_TO(balloon_os_region_status, mappings)),
    ANSWER(os_selftest_result, UP_TO(balloon_os_selftest_result, words)),
    ANSWER(os_residency, UP_TO(balloon_os_residency, may_be_less)),
    ANSWER(os_host, UP_TO(balloon_os_host, effective_available)),
    SIZED(policy, UP_TO(balloon_policy, decide)),
    SIZED(shares_knobs, UP_TO(balloon_shares_knobs, tax)),
    SIZED(proxmox_knobs, UP_TO(balloon_proxmox_knobs, percent)),
    SIZED(stall_knobs, UP_TO(balloon_stall_knobs, interval)),
    SIZED(buffer_knobs, UP_TO(balloon_buffer_knobs, buffer)),
    SIZED(waterline_knobs, UP_TO(balloon_waterline_knobs, ignore_curves)),
    SIZED(pool_config, UP_TO(balloon_pool_config, retry_after)),
    SIZED(pool_guest, UP_TO(balloon_pool_guest, priority)),
    SIZED(scenario_options, UP_TO(balloon_scenario_options, trace)),
    SIZED(sim_actuator, UP_TO(balloon_sim_actuator, sample)),
    SIZED(sim_config, UP_TO(balloon_sim_config, record_ms), UP_TO(balloon_sim_config, rest_ms)),
    SIZED(virtio_options, UP_TO(balloon_virtio_options, legacy_only)),
    SIZED(virtio_driver_options, UP_TO(balloon_virtio_driver_options, legacy_endian),
          UP_TO(balloon_virtio_driver_options, stat_tags),
          UP_TO(balloon_virtio_driver_options, experimental)),
    SIZED(vmware_options, UP_TO(balloon_vmware_options, capabilities)),
    SIZED(vmware_driver_options, UP_TO(balloon_vmware_driver_options, resource)),
    SIZED(xen_options, UP_TO(balloon_xen_options, enforce)),
    SIZED(xen_driver_options, UP_TO(balloon_xen_driver_options, feature)),
};

const size_t sized_struct_count = sizeof(sized_structs) / sizeof(*sized_structs);
