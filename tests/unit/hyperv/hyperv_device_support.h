/* A device that speaks Hyper-V, and a guest to play by hand. */
#ifndef TEST_HYPERV_DEVICE_SUPPORT_H
#define TEST_HYPERV_DEVICE_SUPPORT_H

#include "hyperv_text.h"
#include "vm.h"

#define START (60 * VM_SECOND) /* requests are due */

/* 4096 pages that begin at page 0, granules as given, and room for as many. */
static inline balloon_device *hv_blank(uint64_t granule, uint32_t features)
{
    balloon_region ram = {0, 4096, granule};
    balloon_device_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .max_pages = 8192,
        .features = features,
    };
    balloon_hyperv_options options = {.size = sizeof(options)};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
    return device;
}

static inline balloon_status hv_hear(balloon_device *device, const balloon_hyperv_message *m,
                                     balloon_time_t now)
{
    static uint8_t bytes[BALLOON_HYPERV_WIRE_BYTES_MAX];
    size_t size = balloon_hyperv_encode(m, bytes, sizeof(bytes));
    balloon_status status;

    cr_assert_leq(size, sizeof(bytes));
    status = balloon_hyperv_receive(device, bytes, size, now);
    cr_assert(balloon_device_check(device, NULL));
    return status;
}

static inline balloon_status hv_version(balloon_device *device, uint32_t version, bool last)
{
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_VERSION_REQUEST, .id = 77};

    m.body.version.version = version;
    m.body.version.last = last;
    return hv_hear(device, &m, 0);
}

/* alignment: of 2 MiB, so that tests can do with little memory */
static inline balloon_status hv_can(balloon_device *device, bool balloon, bool hot_add)
{
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_CAPABILITIES_REPORT, .id = 78};

    m.body.capabilities.balloon = balloon;
    m.body.capabilities.hot_add = hot_add;
    m.body.capabilities.alignment = 1;
    m.body.capabilities.max_page = UINT64_MAX;
    return hv_hear(device, &m, 0);
}

static inline balloon_status hv_give(balloon_device *device, bool more, const balloon_range *ranges,
                                     size_t count, balloon_time_t now)
{
    balloon_hyperv_message m = list_message(BALLOON_HYPERV_BALLOON_RESPONSE, more, ranges, count);

    return hv_hear(device, &m, now);
}

static inline balloon_status hv_simple(balloon_device *device, balloon_hyperv_type type,
                                       balloon_time_t now)
{
    balloon_hyperv_message m = {.type = (uint16_t)type};

    return hv_hear(device, &m, now);
}

static inline balloon_status hv_added(balloon_device *device, uint32_t pages, uint32_t result)
{
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_HOT_ADD_RESPONSE};

    m.body.hot_added.pages = pages;
    m.body.hot_added.result = result;
    return hv_hear(device, &m, START);
}

/* All that polling answers, messages written by room bytes. "-" where nothing was written. */
static inline const char *hv_poll_room(balloon_device *device, balloon_time_t now, size_t room)
{
    static struct text text;
    static uint8_t bytes[BALLOON_HYPERV_WIRE_BYTES_MAX];
    balloon_action action;
    balloon_time_t due = balloon_device_deadline(device);
    const char *why = NULL;
    size_t size;

    text.used = 0;
    text.chars[0] = '\0';
    for (; balloon_device_poll(device, now, &action); due = balloon_device_deadline(device)) {
        static const char *const names[] = {
            [BALLOON_ACTION_DISCARD] = "discard",   [BALLOON_ACTION_CONFIG_IRQ] = "irq",
            [BALLOON_ACTION_STATS] = "stats",       [BALLOON_ACTION_STATS_LATE] = "late",
            [BALLOON_ACTION_PRESSURE] = "pressure",
        };

        cr_assert_leq(due, now);
        if (action.type == BALLOON_ACTION_SEND && room) {
            cr_assert_eq(balloon_hyperv_write(device, bytes, room, now, &size), BALLOON_OK);
            cr_assert_leq(size, room);
            text_message(&text, bytes, size);
        } else {
            text_add(&text, "%s%s", text.used ? " | " : "",
                     action.type == BALLOON_ACTION_SEND ? "-" : names[action.type]);
        }
        for (uint32_t i = 0; i < action.run_count; i++)
            text_add(&text, "%s%" PRIu64 "+%" PRIu64, i ? "," : " ", action.runs[i].range.first,
                     action.runs[i].range.count);
        cr_assert(balloon_device_check(device, &why), "%s", why);
    }
    cr_assert_gt(balloon_device_deadline(device), now);
    return text.chars;
}

static inline const char *hv_poll(balloon_device *device, balloon_time_t now)
{
    return hv_poll_room(device, now, 8192);
}

/* Past the handshake, with version 2.0, a guest that can all, and at START. */
static inline balloon_device *hv_device(uint64_t granule)
{
    balloon_device *device = hv_blank(granule, BALLOON_F_DEFAULT);

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "can ok");
    CHECK_SAYS(hv_poll(device, START), "");
    return device;
}

static inline void hv_target(balloon_device *device, uint64_t pages, balloon_time_t now)
{
    cr_assert_eq(balloon_device_set_target(device, pages, now), BALLOON_OK);
}

/* Have these pages in the balloon, discarded, and the target where they are. */
static inline void hv_hold(balloon_device *device, uint64_t pages, const balloon_range *ranges,
                           size_t count)
{
    hv_target(device, pages, START);
    (void)hv_poll(device, START);
    cr_assert_eq(hv_give(device, false, ranges, count, START), BALLOON_OK);
    balloon_device_flush(device);
    (void)hv_poll(device, START);
    cr_assert_eq(vm_status(device).held, pages);
}

static inline balloon_hyperv_session hv_session(const balloon_device *device)
{
    balloon_hyperv_session session;

    memset(&session, 0xee, sizeof(session));
    balloon_hyperv_session_get(device, &session);
    return session;
}

#endif
