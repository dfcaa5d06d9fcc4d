/* A Xen guest by hand for tests of the device: requests by their words, answers as text. */
#ifndef TEST_XEN_SUPPORT_H
#define TEST_XEN_SUPPORT_H

#include <balloon/xen.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vm.h"

#define XEN_PAGES 4096u

static inline balloon_device *xen_blank(void)
{
    balloon_region ram = {0, XEN_PAGES, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .max_pages = 4 * XEN_PAGES,
                                    .features = BALLOON_F_MUST_TELL};

    return vm_device(&config);
}

static inline balloon_device *xen_device(const balloon_xen_options *given)
{
    balloon_xen_options options = {0};
    balloon_device *device = xen_blank();

    if (given)
        options = *given;
    options.size = sizeof(options);
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_OK);
    return device;
}

/* --- the store -------------------------------------------------------------------------------- */

static inline balloon_iov xen_text(const char *text)
{
    return (balloon_iov){text, text ? strlen(text) : 0};
}

/* word: the token of a watch, the value of a write. */
static inline balloon_status xen_ask(balloon_device *device, balloon_xen_message_type type,
                                     uint32_t id, const char *path, const char *word,
                                     balloon_time_t now)
{
    static uint8_t bytes[BALLOON_XEN_MESSAGE_BYTES_MAX];
    balloon_xen_message message = {.header = {.type = type, .id = id, .transaction = id + 100},
                                   .path = xen_text(path)};

    if (type == BALLOON_XEN_WATCH || type == BALLOON_XEN_UNWATCH)
        message.token = xen_text(word);
    else
        message.value = xen_text(word);
    size_t size = balloon_xen_write_request(&message, bytes, sizeof(bytes));

    cr_assert_leq(size, sizeof(bytes));
    return balloon_xen_receive(device, bytes, size, now);
}

/* What the device sends, as text: "watch/1 ok", "read/2 1048576", "error/3 ENOENT", "event
 * memory/target token". */
static inline void xen_say(balloon_device *device, char *text, size_t room)
{
    uint8_t bytes[BALLOON_XEN_SEND_BYTES];
    balloon_xen_message message;
    size_t used = 0;

    cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_OK);
    cr_assert_eq(balloon_xen_read_reply(bytes, used, &message), BALLOON_OK);

    unsigned id = message.header.id;

    if (message.header.type == BALLOON_XEN_WATCH_EVENT) {
        snprintf(text, room, "event %.*s %.*s", (int)message.path.bytes,
                 (const char *)message.path.base, (int)message.token.bytes,
                 (const char *)message.token.base);
        return;
    }
    cr_assert_eq(message.header.transaction, id + 100);
    if (message.header.type == BALLOON_XEN_ERROR)
        snprintf(text, room, "error/%u %s", id, balloon_xen_error_name(message.error));
    else if (message.header.type == BALLOON_XEN_READ)
        snprintf(text, room, "read/%u %.*s", id, (int)message.value.bytes,
                 (const char *)message.value.base);
    else
        snprintf(text, room, "%s/%u ok",
                 message.header.type == BALLOON_XEN_WATCH     ? "watch"
                 : message.header.type == BALLOON_XEN_UNWATCH ? "unwatch"
                 : message.header.type == BALLOON_XEN_WRITE   ? "write"
                                                              : "rm",
                 id);
}

static inline void xen_add(char *text, size_t room, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + used, room - used, format, args);
    va_end(args);
}

/* Poll until there is nothing to do; SEND is answered by what is sent. */
static inline const char *xen_poll(balloon_device *device, balloon_time_t now)
{
    static char text[4096];
    balloon_action action;
    const char *why = NULL;
    char said[256];

    text[0] = '\0';
    for (;;) {
        bool told = balloon_device_deadline(device) <= now;
        bool more = balloon_device_poll(device, now, &action);

        cr_assert(balloon_device_check(device, &why), "%s", why);
        if (!more) {
            cr_assert_gt(balloon_device_deadline(device), now);
            return text;
        }
        cr_assert(told || *text == '\0');
        if (*text)
            xen_add(text, sizeof(text), " | ");
        if (action.type == BALLOON_ACTION_SEND) {
            xen_say(device, said, sizeof(said));
            xen_add(text, sizeof(text), "%s", said);
        } else if (action.type == BALLOON_ACTION_DISCARD) {
            xen_add(text, sizeof(text), "discard");
            for (uint32_t i = 0; i < action.run_count; i++)
                xen_add(text, sizeof(text), " %" PRIu64 "+%" PRIu64, action.runs[i].range.first,
                        action.runs[i].range.count);
        } else {
            xen_add(text, sizeof(text), "%s",
                    action.type == BALLOON_ACTION_PRESSURE ? "pressure" : "something else");
        }
    }
}

#define CHECK_XEN(device, now, expected) CHECK_TEXT(xen_poll(device, now), expected)

/* A watch is there, and all that came of it is over. */
static inline void xen_watch(balloon_device *device, balloon_time_t now)
{
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 1, "memory/target", "token", now), BALLOON_OK);
    CHECK_XEN(device, now, "watch/1 ok | event memory/target token");
}

/* --- hypercalls ------------------------------------------------------------------------------- */

/* One call about a list of 64-bit page numbers; checks the status, returns the result. */
static inline int64_t xen_list(balloon_device *device, balloon_xen_op op, uint32_t order,
                               const uint64_t *pfns, size_t count, balloon_status want,
                               balloon_time_t now)
{
    uint8_t bytes[8 * 512];
    balloon_iov iov = {bytes, count * 8};
    balloon_xen_reservation reservation = {
        .list = 0x1000, .extents = count, .order = order, .domain = BALLOON_XEN_DOMAIN_SELF};
    int64_t result = 12345;

    cr_assert_eq(balloon_xen_write_frames(pfns, count, BALLOON_XEN_64, bytes, sizeof(bytes)),
                 count * 8);
    cr_assert_eq(balloon_xen_memory_op(device, (uint64_t)op, &reservation, &iov, 1, &result, now),
                 want);
    return result;
}

#define XEN_LIST(...)                                                                              \
    (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)

/* A run of pages, one by one. */
static inline int64_t xen_move(balloon_device *device, balloon_xen_op op, uint64_t first,
                               size_t count, balloon_status want, balloon_time_t now)
{
    uint64_t pfns[512];

    for (size_t i = 0; i < count; i++)
        pfns[i] = first + i;
    return xen_list(device, op, 0, pfns, count, want, now);
}

#define DECREASE BALLOON_XEN_DECREASE_RESERVATION
#define POPULATE BALLOON_XEN_POPULATE_PHYSMAP

#endif
