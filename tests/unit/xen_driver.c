/* The guest's end of a balloon on Xen: what it asks the store, what it makes of the answers, and
 * the hypercalls that follow. */
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

static void make(const balloon_driver_config *given)
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

static void open_with(const balloon_xen_driver_options *given)
{
    balloon_xen_driver_options options = {0};

    if (given)
        options = *given;
    options.size = sizeof(options);
    options.first_id = FIRST;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_OK);
}

static void end(void)
{
    if (driver)
        cr_assert(balloon_driver_check(driver, NULL));
    free(memory);
    memory = driver = NULL;
}

TestSuite(xen_driver, .fini = end);

static balloon_driver_status status_of(void)
{
    balloon_driver_status status;

    balloon_driver_status_get(driver, &status);
    return status;
}

static balloon_driver_counters counters(void)
{
    balloon_driver_counters count;

    balloon_driver_counters_get(driver, &count);
    return count;
}

/* --- actions as text -------------------------------------------------------------------------- */

static void say(const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + used, sizeof(text) - used, format, args);
    va_end(args);
}

static void say_request(void)
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

static void say_call(void)
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
static const char *step(balloon_time_t now)
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

static balloon_status tell(balloon_xen_message message, balloon_time_t now)
{
    static uint8_t bytes[BALLOON_XEN_MESSAGE_BYTES_MAX];
    size_t size = balloon_xen_write_reply(&message, bytes, sizeof(bytes));

    cr_assert_leq(size, sizeof(bytes));
    return balloon_xen_driver_receive(driver, bytes, size, now);
}

static balloon_status reply(balloon_xen_message_type type, uint32_t id, const char *value)
{
    balloon_xen_message message = {.header = {.type = type, .id = FIRST + id}};

    if (value)
        message.value = (balloon_iov){value, strlen(value)};
    return tell(message, 0);
}

static balloon_status fail(uint32_t id, balloon_xen_error error, balloon_time_t now)
{
    return tell((balloon_xen_message){.header = {.type = BALLOON_XEN_ERROR, .id = FIRST + id},
                                      .error = error},
                now);
}

static balloon_status event(const char *token)
{
    return tell((balloon_xen_message){.header = {.type = BALLOON_XEN_WATCH_EVENT},
                                      .path = {"memory/target", 13},
                                      .token = {token, strlen(token)}},
                0);
}

#define TOKEN BALLOON_XEN_DRIVER_TOKEN

/* Watches, and has read static-max and the first target. */
static void greet(const char *static_max, const char *target)
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
static void wanting(uint64_t pages)
{
    char target[32];

    make(NULL);
    open_with(NULL);
    snprintf(target, sizeof(target), "%" PRIu64, (PAGES - pages) * 4);
    greet("32768", target);
    cr_assert_eq(status_of().target, pages);
}

static void next_target(uint32_t id, const char *value, balloon_status want)
{
    char request[64];

    cr_assert_eq(event(TOKEN), BALLOON_OK);
    snprintf(request, sizeof(request), "read/%u memory/target", id);
    for (int i = 0; i < 100 && strcmp(step(0), request) != 0; i++)
        cr_assert(*text != '\0', "does not read the target");
    cr_assert_eq(reply(BALLOON_XEN_READ, id, value), want);
}

/* --- opening ---------------------------------------------------------------------------------- */

Test(xen_driver, options_have_limits)
{
    const balloon_xen_driver_options fine = {.size = sizeof(fine)};
    balloon_xen_driver_options options = fine;

    make(NULL);
    options.size--;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.layout = (balloon_xen_layout)2;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.extents = BALLOON_XEN_EXTENTS_MAX + 1;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.first_id = UINT32_MAX - 254;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_INVALID);
    options.first_id--;
    options.extents = BALLOON_XEN_EXTENTS_MAX;
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_OK);
    cr_assert_eq(balloon_xen_driver_open(driver, &options), BALLOON_ERR_STATE);
    balloon_driver_reset(driver);
    cr_assert_eq(balloon_xen_driver_open(driver, NULL), BALLOON_OK);
    cr_assert_eq(status_of().state, BALLOON_DRIVER_ATTACHED);
}

Test(xen_driver, nothing_works_before_it_is_open)
{
    balloon_xen_reservation reservation;
    uint8_t bytes[128] = {BALLOON_XEN_READ};
    uint32_t command;
    size_t used;

    make(NULL);
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_driver_receive(driver, bytes, 16, 0), BALLOON_ERR_STATE);
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, bytes, sizeof(bytes), 0, &command, &reservation),
        BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_ERR_STATE);
    cr_assert_eq(counters().answers_unasked, 1);
    CHECK("");
}

/* --- requests --------------------------------------------------------------------------------- */

Test(xen_driver, watches_and_reads)
{
    balloon_xen_driver_session session;

    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    CHECK("");
    /* The event can come before the answer. */
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("");
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert(session.watched && !session.have_target);
    CHECK("read/2 memory/static-max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 2, "32768"), BALLOON_OK);
    CHECK("read/3 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 3, "32752"), BALLOON_OK);
    cr_assert_eq(status_of().target, 4);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert(session.have_target);
    cr_assert_eq(session.target, 8188);
    cr_assert_eq(session.static_max, 8192);
    CHECK("alloc 4");
}

Test(xen_driver, makes_one_request_at_a_time)
{
    uint8_t bytes[128];
    size_t used;
    balloon_driver_action action;

    make(NULL);
    open_with(NULL);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    cr_assert(balloon_driver_poll(driver, 0, &action));
    cr_assert_not(balloon_driver_poll(driver, 0, &action));
    for (size_t room = 0; room < 41; room++) {
        cr_assert_eq(balloon_xen_driver_write(driver, bytes, room, &used), BALLOON_ERR_NOSPACE);
        cr_assert_eq(used, 16 + 14 + 11);
    }
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, 41, &used), BALLOON_OK);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, 41, &used), BALLOON_ERR_STATE);
    cr_assert_not(balloon_driver_poll(driver, 0, &action));
}

Test(xen_driver, says_that_it_can_balloon_if_asked_to)
{
    make(NULL);
    open_with(&(balloon_xen_driver_options){.feature = true});
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("write/2 control/feature-balloon =1");
    /* libxl does not let it, and it does not try again. */
    cr_assert_eq(fail(2, BALLOON_XEN_EACCES, 0), BALLOON_OK);
    CHECK("read/3 memory/static-max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 3, "32768"), BALLOON_OK);
    CHECK("read/4 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "32768"), BALLOON_OK);
    CHECK("");
    cr_assert_eq(counters().protocol_errors, 0);
}

Test(xen_driver, a_watch_that_fails_is_set_later)
{
    balloon_time_t now = 0, wait = SECOND;
    char want[64];

    make(NULL);
    open_with(NULL);
    for (uint32_t i = 1; i <= 8; i++) {
        snprintf(want, sizeof(want), "watch/%u memory/target " TOKEN, i);
        CHECK_STEP_AT(now, want);
        cr_assert_eq(fail(i, BALLOON_XEN_ENOSPC, now), BALLOON_ERR_PROTOCOL);
        CHECK_STEP_AT(now + wait - 1, "");
        now += wait;
        wait = wait < 32 * SECOND ? 2 * wait : wait;
    }
    CHECK_STEP_AT(now, "watch/9 memory/target " TOKEN);
    /* It is there already: then no event comes by itself. */
    cr_assert_eq(fail(9, BALLOON_XEN_EEXIST, now), BALLOON_OK);
    CHECK_STEP_AT(now, "read/10 memory/static-max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 10, "32768"), BALLOON_OK);
    CHECK_STEP_AT(now, "read/11 memory/target");
}

Test(xen_driver, events_while_reading_are_one_more_read)
{
    make(NULL);
    open_with(NULL);
    greet("32768", "32768");
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("read/4 memory/target");
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("");
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "32768"), BALLOON_OK);
    CHECK("read/5 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 5, "32768"), BALLOON_OK);
    CHECK("");
}

Test(xen_driver, numbers_of_requests_stay_in_their_range)
{
    make(NULL);
    open_with(NULL);
    greet("32768", "32768");
    for (uint32_t i = 4; i < 600; i++)
        next_target(i & 255, "32768", BALLOON_OK);
}

/* --- target ----------------------------------------------------------------------------------- */

Test(xen_driver, the_balloon_is_static_max_less_target)
{
    static const struct {
        const char *static_max, *target;
        uint64_t pages;
    } cases[] = {
        {"32768", "32768", 0},
        {"32768", "16384", 4096},
        {"32768", "16387", 4096}, /* KiB that are no page are not there. */
        {"32768", "16380", 4097},
        {"32768", "40000", 0},
        {"40000", "32768", 1808}, /* Video RAM and the like. */
        {"32768", "0", 8192},
        {"32768", "18446744073709551615", 0},
        {"18446744073709551615", "0", UINT64_MAX >> 2},
        {"0", "0", 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make(NULL);
        open_with(NULL);
        greet(cases[i].static_max, cases[i].target);
        cr_assert_eq(status_of().target, cases[i].pages, "case %zu", i);
        cr_assert_leq(status_of().goal, PAGES);
    }
}

Test(xen_driver, a_guest_keeps_its_floor)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .floor_pages = 2048};

    make(&config);
    open_with(NULL);
    greet("32768", "4");
    cr_assert_eq(status_of().target, 8191);
    cr_assert_eq(status_of().goal, 6144);
}

Test(xen_driver, static_max_can_have_its_old_name)
{
    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("read/2 memory/static-max");
    cr_assert_eq(fail(2, BALLOON_XEN_ENOENT, 0), BALLOON_OK);
    CHECK("read/3 memory/memory_static_max");
    cr_assert_eq(reply(BALLOON_XEN_READ, 3, "32768"), BALLOON_OK);
    CHECK("read/4 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "32764"), BALLOON_OK);
    cr_assert_eq(status_of().target, 1);
}

/* Neither is there, or neither is a number: the first target is what there was. */
Test(xen_driver, without_static_max_the_first_target_is_it)
{
    for (int broken = 0; broken < 2; broken++) {
        make(NULL);
        open_with(NULL);
        CHECK("watch/1 memory/target " TOKEN);
        cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
        for (uint32_t i = 2; i < 4; i++) {
            CHECK(i == 2 ? "read/2 memory/static-max" : "read/3 memory/memory_static_max");
            cr_assert_eq(broken ? reply(BALLOON_XEN_READ, i, "-1") : fail(i, BALLOON_XEN_ENOENT, 0),
                         broken ? BALLOON_ERR_PROTOCOL : BALLOON_OK);
        }
        CHECK("read/4 memory/target");
        cr_assert_eq(reply(BALLOON_XEN_READ, 4, "20000"), BALLOON_OK);
        cr_assert_eq(status_of().target, 0);
        next_target(5, "19960", BALLOON_OK);
        cr_assert_eq(status_of().target, 10);
    }
}

Test(xen_driver, pv_guests_know_their_size)
{
    balloon_xen_driver_session session;

    make(NULL);
    open_with(&(balloon_xen_driver_options){.pv = true});
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    CHECK("read/2 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 2, "32000"), BALLOON_OK);
    cr_assert_eq(status_of().target, 192);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert_eq(session.static_max, 0);
}

Test(xen_driver, what_is_no_target_changes_nothing)
{
    static const char *const values[] = {"",     "-1",    "12a", "18446744073709551616",
                                         " 123", "0x100", "1 "};
    uint32_t id = 4;

    make(NULL);
    open_with(NULL);
    greet("32768", "30000");
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        next_target(id++, values[i], BALLOON_ERR_PROTOCOL);
        cr_assert_eq(status_of().target, 692);
    }
    cr_assert_eq(counters().protocol_errors, sizeof(values) / sizeof(values[0]));
    /* Absent is usual, in domain 0 at least. */
    next_target(id++, "28000", BALLOON_OK);
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    while (strncmp(step(0), "read", 4) != 0)
        cr_assert(*text != '\0');
    cr_assert_eq(fail(id++, BALLOON_XEN_ENOENT, 0), BALLOON_OK);
    cr_assert_eq(status_of().target, 1192);
    /* Other errors are not. */
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("read/13 memory/target");
    cr_assert_eq(fail(id++, BALLOON_XEN_EIO, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(status_of().target, 1192);
}

/* --- hostile stores --------------------------------------------------------------------------- */

Test(xen_driver, leaves_alone_what_is_not_its_own)
{
    uint8_t bytes[20] = {BALLOON_XEN_READ};

    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(event("somebody"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(event(TOKEN "x"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(event("libballooN"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(reply(BALLOON_XEN_READ, (uint32_t)-1, "1"), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(reply(BALLOON_XEN_READ, 256, "1"), BALLOON_ERR_UNSUPPORTED);
    for (size_t size = 0; size < 16; size++)
        cr_assert_eq(balloon_xen_driver_receive(driver, bytes, size, 0), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(counters().protocol_errors + counters().answers_unasked, 0);
    CHECK("");
}

Test(xen_driver, answers_to_nothing_are_dropped)
{
    make(NULL);
    open_with(NULL);
    for (uint32_t id = 0; id < 256; id++)
        cr_assert_eq(reply(BALLOON_XEN_READ, id, "4"), BALLOON_ERR_PROTOCOL);
    CHECK("watch/1 memory/target " TOKEN);
    for (uint32_t id = 0; id < 256; id++)
        if (id != 1)
            cr_assert_eq(reply(BALLOON_XEN_WATCH, id, NULL), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(counters().answers_unasked, 511);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_OK);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 1, NULL), BALLOON_ERR_PROTOCOL);
    CHECK("read/2 memory/static-max");
}

/* Every type of answer to every request: the talk goes on, and no target comes of it. */
Test(xen_driver, answers_of_the_wrong_type)
{
    for (unsigned request = 0; request < 5; request++) {
        for (uint32_t type = 0; type < 30; type++) {
            uint8_t bytes[18] = {(uint8_t)type, [12] = 2, [16] = '8', [17] = 0};
            static const char *const asked[] = {"watch", "write", "read", "read", "read"};

            make(NULL);
            open_with(&(balloon_xen_driver_options){.feature = true});
            for (unsigned i = 0; i <= request; i++) {
                cr_assert_eq(strncmp(step(0), asked[i], 4), 0);
                if (i == request)
                    break;
                if (i == 2)
                    cr_assert_eq(fail(i + 1, BALLOON_XEN_ENOENT, 0), BALLOON_OK);
                else
                    cr_assert_eq(reply(i == 0   ? BALLOON_XEN_WATCH
                                       : i == 1 ? BALLOON_XEN_WRITE
                                                : BALLOON_XEN_READ,
                                       i + 1, i == 3 ? "32768" : NULL),
                                 BALLOON_OK);
            }
            uint32_t id = FIRST + request + 1;

            memcpy(bytes + 4, (uint8_t[]){(uint8_t)id, (uint8_t)(id >> 8), 0, 0}, 4);
            /* "8" and a zero is no number, either; and feature-balloon may meet any error. */
            bool fine = request == 1 && type == BALLOON_XEN_ERROR;

            cr_assert_eq(balloon_xen_driver_receive(driver, bytes, sizeof(bytes), 0),
                         fine ? BALLOON_OK : BALLOON_ERR_PROTOCOL, "request %u type %u", request,
                         type);
            cr_assert_eq(counters().protocol_errors, !fine);
            cr_assert_eq(status_of().target, 0);
            cr_assert_eq(*step(40 * SECOND) == '\0', request == 4);
        }
    }
}

/* --- hypercalls ------------------------------------------------------------------------------- */

static void give(balloon_driver_channel channel, uint64_t first, uint64_t count)
{
    balloon_range run = {first, count};

    cr_assert_eq(balloon_driver_give(driver, channel, &run, 1, 0), BALLOON_OK);
}

Test(xen_driver, pages_go_one_by_one)
{
    wanting(8);
    CHECK("alloc 8");
    balloon_range runs[] = {{40, 2}, {7, 1}, {100, 5}};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, runs, 3, 0), BALLOON_OK);
    CHECK("decrease 40,41,7,100,101,102,103,104");
    cr_assert_eq(balloon_xen_driver_result(driver, 8, 0), BALLOON_OK);
    CHECK("");
    cr_assert_eq(status_of().held, 8);
    next_target(4, "32744", BALLOON_OK);
    CHECK("populate 7,40");
    cr_assert_eq(balloon_xen_driver_result(driver, 2, 0), BALLOON_OK);
    CHECK("free 7+1 40+1");
    cr_assert_eq(status_of().held, 6);
}

/* Grows the window of the driver until it asks for so many pages. */
static void alloc_until(uint64_t pages, uint64_t *at)
{
    for (;;) {
        balloon_driver_action action;

        cr_assert(balloon_driver_poll(driver, 0, &action));
        if (action.type == BALLOON_DRIVER_ALLOC && action.pages >= pages)
            return;
        if (action.type == BALLOON_DRIVER_ALLOC) {
            give(BALLOON_CHANNEL_INFLATE, *at, action.pages);
            *at += action.pages;
        } else {
            cr_assert_eq(action.type, BALLOON_DRIVER_SEND);
            cr_assert_eq(balloon_xen_driver_result(driver, INT64_MAX, 0), BALLOON_ERR_PROTOCOL);
        }
    }
}

Test(xen_driver, large_pages_go_as_such)
{
    uint64_t at = 4096;

    wanting(8000);
    alloc_until(1024, &at);
    balloon_range runs[] = {{512, 512}, {3, 2}, {1536, 510}};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, runs, 3, 0), BALLOON_OK);
    CHECK("decrease order 9 512");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("decrease 3,4,1536,1537,1538,1539,1540,1541 and 504 more");
    cr_assert_eq(balloon_xen_driver_result(driver, 512, 0), BALLOON_OK);
    CHECK("alloc 1024");
}

Test(xen_driver, large_pages_can_be_left_out)
{
    uint64_t at = 4096;

    make(NULL);
    open_with(&(balloon_xen_driver_options){.no_large = true, .extents = 100});
    greet("32768", "1024");
    alloc_until(1024, &at);
    give(BALLOON_CHANNEL_INFLATE, 512, 1024);
    CHECK("decrease 512,513,514,515,516,517,518,519 and 92 more");
    cr_assert_eq(balloon_xen_driver_result(driver, 100, 0), BALLOON_OK);
    CHECK("decrease 612,613,614,615,616,617,618,619 and 92 more");
}

Test(xen_driver, pages_of_64_kib_have_an_order)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .page_pages = 16,
                                    .floor_pages = UINT64_MAX};

    make(&config);
    open_with(NULL);
    greet("32768", "32640");
    CHECK("alloc 32");
    give(BALLOON_CHANNEL_INFLATE, 64, 32);
    CHECK("decrease order 4 64,80");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("free 80+16");
    cr_assert_eq(status_of().held, 16);
}

Test(xen_driver, what_is_not_taken_is_the_kernels_again)
{
    static const struct {
        int64_t result;
        uint64_t taken;
    } cases[] = {{8, 8}, {6, 6}, {4, 4}, {0, 0}, {-1, 0}, {-22, 0}, {INT64_MIN, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char want[64];

        wanting(8);
        CHECK("alloc 8");
        give(BALLOON_CHANNEL_INFLATE, 200, 8);
        CHECK("decrease 200,201,202,203,204,205,206,207");
        cr_assert_eq(balloon_xen_driver_result(driver, cases[i].result, 0), BALLOON_OK);
        cr_assert_eq(status_of().held, cases[i].taken);
        cr_assert_eq(status_of().on_way_in, 0);
        cr_assert_eq(counters().refused, 8 - cases[i].taken);
        snprintf(want, sizeof(want), "free %" PRIu64 "+%" PRIu64, 200 + cases[i].taken,
                 8 - cases[i].taken);
        CHECK(cases[i].taken < 8 ? want : "");
        /* And is tried again a second later. */
        CHECK_STEP_AT(SECOND - 1, "");
        snprintf(want, sizeof(want), "alloc %" PRIu64, 8 - cases[i].taken);
        CHECK_STEP_AT(SECOND, cases[i].taken < 8 ? want : "");
    }
}

Test(xen_driver, what_is_not_given_back_stays_and_is_asked_for_later)
{
    balloon_time_t now = 0;

    wanting(8);
    CHECK("alloc 8");
    give(BALLOON_CHANNEL_INFLATE, 200, 8);
    CHECK("decrease 200,201,202,203,204,205,206,207");
    cr_assert_eq(balloon_xen_driver_result(driver, 8, 0), BALLOON_OK);
    next_target(4, "32768", BALLOON_OK);
    CHECK("populate 200,201,202,203,204,205,206,207");
    cr_assert_eq(balloon_xen_driver_result(driver, 3, 0), BALLOON_OK);
    CHECK("free 200+3");
    cr_assert_eq(status_of().held, 5);
    for (balloon_time_t wait = SECOND; wait <= 32 * SECOND; wait *= 2) {
        CHECK_STEP_AT(now + wait - 1, "");
        now += wait;
        CHECK_STEP_AT(now, "populate 203,204,205,206,207");
        cr_assert_eq(balloon_xen_driver_result(driver, -12, now), BALLOON_OK);
        cr_assert_eq(status_of().held, 5);
    }
    cr_assert_eq(counters().kept, 35);
}

Test(xen_driver, results_of_more_than_was_asked)
{
    wanting(2);
    CHECK("alloc 2");
    give(BALLOON_CHANNEL_INFLATE, 10, 2);
    CHECK("decrease 10,11");
    cr_assert_eq(balloon_xen_driver_result(driver, 3, 0), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(status_of().held, 2);
    cr_assert_eq(counters().protocol_errors, 1);
    cr_assert_eq(balloon_xen_driver_result(driver, 2, 0), BALLOON_ERR_STATE);
    cr_assert_eq(counters().answers_unasked, 1);
    cr_assert_eq(status_of().held, 2);
}

Test(xen_driver, lists_need_room_and_an_address)
{
    balloon_xen_reservation reservation;
    uint8_t list[24];
    uint32_t command;

    make(NULL);
    open_with(&(balloon_xen_driver_options){.layout = BALLOON_XEN_32});
    greet("32768", "32752");
    CHECK("alloc 4");
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, list, sizeof(list), 0, &command, &reservation),
        BALLOON_ERR_STATE);
    balloon_range high = {UINT64_C(1) << 32, 4};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &high, 1, 0),
                 BALLOON_ERR_INVALID);
    CHECK_STEP_AT(SECOND, "alloc 4");
    balloon_range run = {0x123456, 4};

    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &run, 1, 0),
                 BALLOON_ERR_INVALID);
    CHECK_STEP_AT(3 * SECOND, "alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 0x1234, 4);
    balloon_driver_action action;

    cr_assert(balloon_driver_poll(driver, 0, &action));
    cr_assert_eq(action.type, BALLOON_DRIVER_SEND);
    cr_assert_geq(action.bytes, 16);
    cr_assert_eq(balloon_xen_driver_reservation(driver, list, 15, 0x1000, &command, &reservation),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, list, 16, UINT64_C(1) << 32, &command, &reservation),
        BALLOON_ERR_INVALID);
    cr_assert_eq(
        balloon_xen_driver_reservation(driver, list, 16, UINT32_MAX, &command, &reservation),
        BALLOON_OK);
    cr_assert_eq(command, BALLOON_XEN_DECREASE_RESERVATION);
    cr_assert_eq(reservation.extents, 4);
    cr_assert_eq(memcmp(list, "\x34\x12\0\0\x35\x12\0\0\x36\x12\0\0\x37\x12\0\0", 16), 0);
    /* The same again. */
    memset(list, 0, sizeof(list));
    cr_assert_eq(balloon_xen_driver_reservation(driver, list, 16, 0, &command, &reservation),
                 BALLOON_OK);
    cr_assert_eq(memcmp(list, "\x34\x12\0\0\x35\x12\0\0\x36\x12\0\0\x37\x12\0\0", 16), 0);
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
}

Test(xen_driver, a_kernel_that_keeps_the_list_itself)
{
    balloon_driver_config config = {
        .size = sizeof(config), .total_pages = PAGES, .floor_pages = UINT64_MAX};

    make(&config);
    open_with(NULL);
    greet("32768", "32752");
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 70000, 4);
    CHECK("decrease 70000,70001,70002,70003");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    next_target(4, "32764", BALLOON_OK);
    CHECK("action 6"); /* TAKE */
    give(BALLOON_CHANNEL_DEFLATE, 70001, 3);
    CHECK("populate 70001,70002,70003");
    cr_assert_eq(balloon_xen_driver_result(driver, 2, 0), BALLOON_OK);
    CHECK("free 70001+2");
    cr_assert_eq(status_of().held, 2);
}

Test(xen_driver, gives_back_when_the_kernel_is_out_of_memory)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_driver_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .floor_pages = UINT64_MAX,
                                    .deflate_on_oom = true};
    uint64_t coming;

    make(&config);
    open_with(NULL);
    greet("32768", "32752");
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_oom(driver, 3, &coming, 0), BALLOON_OK);
    cr_assert_eq(coming, 3);
    CHECK("populate 7,8,9");
    cr_assert_eq(balloon_xen_driver_result(driver, 3, 0), BALLOON_OK);
    CHECK("free 7+3");
}

/* The substitute goes first, so that the guest's size never passes what it may have. */
Test(xen_driver, replaces_a_page)
{
    wanting(1);
    CHECK("alloc 1");
    give(BALLOON_CHANNEL_INFLATE, 7, 1);
    CHECK("decrease 7");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_migrate(driver, 7, 99, 0), BALLOON_OK);
    CHECK("decrease 99");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("populate 7");
    cr_assert_eq(balloon_xen_driver_result(driver, 1, 0), BALLOON_OK);
    CHECK("free 7+1");
    cr_assert_eq(status_of().held, 1);
    cr_assert_eq(counters().migrated, 1);
}

/* --- save and restore of the guest ------------------------------------------------------------ */

Test(xen_driver, asks_and_watches_again_after_a_restore)
{
    balloon_xen_driver_session session;

    wanting(4);
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    cr_assert_eq(event(TOKEN), BALLOON_OK);
    CHECK("read/4 memory/target");
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_OK);
    balloon_xen_driver_session_get(driver, &session);
    cr_assert(!session.watched && session.have_target);
    cr_assert_eq(status_of().held, 4);
    /* What the old store still had to say is not heard. */
    cr_assert_eq(reply(BALLOON_XEN_READ, 4, "4"), BALLOON_ERR_PROTOCOL);
    CHECK("watch/5 memory/target " TOKEN);
    cr_assert_eq(reply(BALLOON_XEN_WATCH, 5, NULL), BALLOON_OK);
    CHECK("read/6 memory/target");
    cr_assert_eq(reply(BALLOON_XEN_READ, 6, "32760"), BALLOON_OK);
    cr_assert_eq(status_of().target, 2);
    CHECK("populate 7,8");
}

Test(xen_driver, a_restore_before_anything_was_answered)
{
    uint8_t bytes[128];
    size_t used;
    balloon_driver_action action;

    make(NULL);
    open_with(NULL);
    cr_assert(balloon_driver_poll(driver, 0, &action));
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_OK);
    cr_assert_eq(balloon_xen_driver_write(driver, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    greet("32768", "32764");
    cr_assert_eq(status_of().target, 1);
    /* Nor does it wait for what a failure made it wait for. */
    make(NULL);
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
    cr_assert_eq(fail(1, BALLOON_XEN_ENOMEM, 0), BALLOON_ERR_PROTOCOL);
    CHECK("");
    cr_assert_eq(balloon_xen_driver_resume(driver), BALLOON_OK);
    CHECK("watch/2 memory/target " TOKEN);
}

Test(xen_driver, empties_the_balloon_before_it_goes)
{
    wanting(4);
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    cr_assert_eq(balloon_driver_suspend(driver, 0), BALLOON_OK);
    CHECK("populate 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    CHECK("free 7+4");
    CHECK("action 8"); /* SUSPENDED */
    balloon_driver_reset(driver);
    CHECK("");
    open_with(NULL);
    CHECK("watch/1 memory/target " TOKEN);
}

Test(xen_driver, opens_when_the_old_pages_are_back)
{
    wanting(4);
    CHECK("alloc 4");
    give(BALLOON_CHANNEL_INFLATE, 7, 4);
    CHECK("decrease 7,8,9,10");
    cr_assert_eq(balloon_xen_driver_result(driver, 4, 0), BALLOON_OK);
    balloon_driver_reset(driver);
    cr_assert_eq(balloon_xen_driver_open(driver, NULL), BALLOON_ERR_BUSY);
    CHECK("free 7+4");
    cr_assert_eq(balloon_xen_driver_open(driver, NULL), BALLOON_OK);
}
