/* A driver on Xen by hand for its tests: what it asks as text, answers of the store by their words.
 */
#ifndef TEST_XEN_DRIVER_SUPPORT_H
#define TEST_XEN_DRIVER_SUPPORT_H

#include <balloon/xen.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define PAGES  8192u
#define FIRST  1000u /* number of the first request */

static void *memory;
static balloon_driver *driver;
static char text[1024];

static inline void make(const balloon_driver_config *given)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .floor_pages = UINT64_MAX,
                                    .chunk_pages = 1024,
                                    .retry_delay = SECOND};
    balloon_layout layout;

    if (given)
        config = *given;
    cr_assert_eq(balloon_driver_layout(&config, &layout), BALLOON_OK);
    free(memory);
    memory = aligned_alloc(layout.align, (layout.bytes + layout.align - 1) & ~(layout.align - 1));
    memset(memory, 0x5a, layout.bytes);
    cr_assert_eq(balloon_driver_init(memory, layout.bytes, &config, &driver), BALLOON_OK);
}

static inline void open_with(const balloon_xen_driver_options *given)
{
    balloon_xen_driver_options options = {0};

    if (given)
        options = *given;
    options.size = sizeof(options);
    options.first_id = FIRST;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_OK);
}

static inline void end(void)
{
    if (driver)
        cr_assert(balloon_driver_check(driver, NULL));
    free(memory);
    memory = driver = NULL;
}

static inline balloon_driver_status status_of(void)
{
    balloon_driver_status status;

    balloon_driver_status_get(driver, &status);
    return status;
}

static inline balloon_driver_counters counters(void)
{
    balloon_driver_counters count;

    balloon_driver_counters_get(driver, &count);
    return count;
}

/* --- actions as text -------------------------------------------------------------------------- */

static inline void say(const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + used, sizeof(text) - used, format, args);
    va_end(args);
}

static inline void say_request(void)
{
    uint8_t bytes[BALLOON_XEN_SEND_BYTES];
    balloon_xen_message message;
    size_t used;

    cr_assert_eq(balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used), BALLOON_OK);
    cr_assert_eq(balloon_xen_read_request(bytes, used, &message), BALLOON_OK);
    cr_assert_eq(message.header.transaction, 0);
    say("%s/%u %.*s",
        message.header.type == BALLOON_XEN_WATCH   ? "watch"
        : message.header.type == BALLOON_XEN_READ  ? "read"
        : message.header.type == BALLOON_XEN_WRITE ? "write"
                                                   : "?",
        message.header.id - FIRST, (int)message.path.bytes, (const char *)message.path.base);
    if (message.token.bytes)
        say(" %.*s", (int)message.token.bytes, (const char *)message.token.base);
    if (message.value.bytes)
        say(" =%.*s", (int)message.value.bytes, (const char *)message.value.base);
}

static inline void say_call(void)
{
    uint8_t list[1024 * 8];
    balloon_xen_reservation reservation;
    uint64_t start, pfns[8];
    uint32_t command;
    balloon_xen_frames frames;
    balloon_iov iov = {list, sizeof(list)};

    cr_assert_eq(balloon_xen_driver_reservation(driver, list, sizeof(list), 0xabcd000, &command,
                                                &reservation),
                 BALLOON_OK);
    unsigned op = balloon_xen_read_command(command, &start);

    cr_assert_eq(start, 0);
    cr_assert_eq(reservation.list, 0xabcd000);
    cr_assert_eq(reservation.flags, 0);
    cr_assert_eq(reservation.domain, BALLOON_XEN_DOMAIN_SELF);
    cr_assert_eq(
        balloon_xen_check_reservation((balloon_xen_op)op, &reservation, BALLOON_XEN_ORDER_GUEST),
        BALLOON_OK);
    say("%s", op == BALLOON_XEN_DECREASE_RESERVATION ? "decrease" : "populate");
    if (reservation.order)
        say(" order %u", reservation.order);
    balloon_xen_frames_init(&frames, &iov, 1, reservation.extents, BALLOON_XEN_64);
    size_t n = balloon_xen_read_frames(&frames, pfns, 8);

    for (size_t i = 0; i < n; i++)
        say("%c%" PRIu64, i ? ',' : ' ', pfns[i]);
    if (frames.left)
        say(" and %" PRIu64 " more", frames.left);
}

/* Next thing to do; requests and calls are made, but not answered. "" when there is none. */
static inline const char *step(balloon_time_t now)
{
    balloon_driver_action action;
    balloon_time_t at = balloon_driver_deadline(driver);
    const char *why = NULL;

    text[0] = '\0';
    bool more = balloon_driver_poll(driver, now, &action);

    cr_assert(balloon_driver_check(driver, &why), "%s", why);
    cr_assert_eq(more, at <= now);
    if (!more)
        return text;
    if (action.type == BALLOON_DRIVER_SEND && action.channel == BALLOON_CHANNEL_CONTROL) {
        cr_assert_eq(action.bytes, BALLOON_XEN_SEND_BYTES);
        say_request();
    } else if (action.type == BALLOON_DRIVER_SEND) {
        say_call();
    } else if (action.type == BALLOON_DRIVER_ALLOC) {
        say("alloc %" PRIu64, action.pages);
    } else if (action.type == BALLOON_DRIVER_FREE) {
        say("free");
        for (uint32_t i = 0; i < action.run_count; i++)
            say(" %" PRIu64 "+%" PRIu64, action.runs[i].first, action.runs[i].count);
    } else {
        say("action %d", (int)action.type);
    }
    return text;
}

#define CHECK_STEP_AT(now, expected)                                                               \
    do {                                                                                           \
        const char *got_ = step(now);                                                              \
        cr_assert(strcmp(got_, expected) == 0, "got \"%s\"\nnot \"%s\"", got_, expected);          \
    } while (0)
#define CHECK(expected) CHECK_STEP_AT(0, expected)

/* --- what the store says ---------------------------------------------------------------------- */

static inline balloon_status tell(balloon_xen_message message, balloon_time_t now)
{
    static uint8_t bytes[BALLOON_XEN_MESSAGE_BYTES_MAX];
    size_t size = balloon_xen_write_reply(&message, bytes, sizeof(bytes));

    cr_assert_leq(size, sizeof(bytes));
    return balloon_xen_driver_receive(driver, bytes, size, now);
}

static inline balloon_status reply(balloon_xen_message_type type, uint32_t id, const char *value)
{
    balloon_xen_message message = {.header = {.type = type, .id = FIRST + id}};

    if (value)
        message.value = (balloon_iov){value, strlen(value)};
    return tell(message, 0);
}

static inline balloon_status fail(uint32_t id, balloon_xen_error error, balloon_time_t now)
{
    return tell((balloon_xen_message){.header = {.type = BALLOON_XEN_ERROR, .id = FIRST + id},
                                      .error = error},
                now);
}

static inline balloon_status event(const char *token)
{
    return tell((balloon_xen_message){.header = {.type = BALLOON_XEN_WATCH_EVENT},
                                      .path = {"memory/target", 13},
                                      .token = {token, strlen(token)}},
                0);
}

#define TOKEN BALLOON_XEN_DRIVER_TOKEN

/* Watches, and has read static-max and the first target. */
static inline void greet(const char *static_max, const char *target)
{
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("read/2 memory/static-max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 2, static_max), BALLOON_OK);
    CHECK("read/3 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 3, target), BALLOON_OK);
}

/* A driver whose guest is as large as static-max, and that shall have a balloon of so many pages.
 */
static inline void wanting(uint64_t pages)
{
    char target[32];

    make(NULL);
    open_with(NULL);
    snprintf(target, sizeof(target), "%" PRIu64, (PAGES - pages) * 4);
    greet("32768", target);
    cr_assert_eq(status_of().target, pages);
}

static inline void next_target(uint32_t id, const char *value, balloon_status want)
{
    char request[64];

    cr_assert_eq(event(TOKEN), BALLOON_OK);
    snprintf(request, sizeof(request), "read/%u memory/target", id);
    for (int i = 0; i < 100 && strcmp(step(0), request) != 0; i++)
        cr_assert(*text != '\0', "does not read the target");
    cr_assert_eq(reply(BALLOON_XEN_READ, id, value), want);
}

#endif
