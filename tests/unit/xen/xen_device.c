/* The device as a Xen guest's xenstore: keys, one watch, answers and events. */
#include "xen_support.h"

TestSuite(xen_device, .fini = vm_end);

#define TARGET "memory/target"

/* --- setting up ------------------------------------------------------------------------------- */

Test(xen_device, options_have_limits)
{
    const balloon_xen_options fine = {.size = sizeof(fine)};
    balloon_device *device = xen_blank();
    balloon_xen_options options = fine;

    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_OK);
    options.size--;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.max_order = BALLOON_XEN_ORDER_CONTROL;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_OK);
    options.max_order++;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.domain = BALLOON_XEN_DOMAIN_RESERVED - 1;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_OK);
    options.domain++;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.layout = (balloon_xen_layout)2;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_ERR_INVALID);
    options = fine;
    options.static_max = (UINT64_C(1) << 62) - 1;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_OK);
    options.static_max++;
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_ERR_INVALID);
}

Test(xen_device, needs_ram_and_must_tell)
{
    balloon_xen_options options = {.size = sizeof(options)};
    balloon_device_config config = {.size = sizeof(config), .max_pages = 512};

    cr_assert_eq(balloon_xen_configure(vm_device(&config), &options), BALLOON_ERR_INVALID);
    options.static_max = 100;
    cr_assert_eq(balloon_xen_configure(vm_device(&config), &options), BALLOON_OK);
    config.features = BALLOON_F_STATS;
    cr_assert_eq(balloon_xen_configure(vm_device(&config), &options), BALLOON_ERR_INVALID);
}

Test(xen_device, is_configured_between_drivers)
{
    balloon_xen_options options = {.size = sizeof(options)};
    balloon_device *device = xen_device(NULL);

    xen_watch(device, 0);
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_ERR_STATE);
    balloon_device_reset(device);
    cr_assert_eq(balloon_xen_configure(device, &options), BALLOON_OK);
}

Test(xen_device, other_devices_do_not_speak_xen)
{
    balloon_device *device = vm_simple(BALLOON_F_MUST_TELL);
    balloon_xen_reservation reservation = {0};
    uint8_t bytes[128];
    int64_t result;
    size_t used;

    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, TARGET, NULL, 0), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_xen_memory_op(device, BALLOON_XEN_CURRENT_RESERVATION, &reservation, NULL,
                                       0, &result, 0),
                 BALLOON_ERR_STATE);
}

/* --- keys ------------------------------------------------------------------------------------- */

Test(xen_device, sizes_can_be_read_before_there_is_a_driver)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, "memory/static-max", NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/1 16384");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, TARGET, NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/2 12288");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 3, "memory/videoram", NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/3 0");
    cr_assert_not(vm_status(device).driver);
}

Test(xen_device, static_max_is_as_configured_whatever_is_plugged_in_later)
{
    balloon_device *device = xen_device(&(balloon_xen_options){.static_max = 5000});
    balloon_region more = {8192, 1024, 1};

    cr_assert_eq(balloon_device_add_region(device, &more, NULL), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 5008, 0), BALLOON_OK);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, "memory/static-max", NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/1 20000");
    /* More than that cannot be asked for in this way. */
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, TARGET, NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/2 0");
}

Test(xen_device, what_is_read_is_what_holds_when_it_is_sent)
{
    balloon_device *device = xen_device(NULL);

    xen_watch(device, 0);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, TARGET, NULL, 0), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 16, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/2 16320 | event memory/target token");
}

Test(xen_device, the_guest_says_that_it_can_balloon_and_that_it_does)
{
    balloon_device *device = xen_device(NULL);
    balloon_xen_session session;

    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, "control/feature-balloon", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "error/1 ENOENT");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 2, "control/feature-balloon", "yes", 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "write/2 ok");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 3, "control/feature-balloon", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "read/3 1");
    balloon_xen_session_get(device, &session);
    cr_assert(session.feature && !session.active && !session.watched);

    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 4, "control/balloon-active", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "error/4 ENOENT");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 5, "control/balloon-active", "1", 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "write/5 ok");
    balloon_xen_session_get(device, &session);
    cr_assert(session.active);
    /* What is neither changes nothing. */
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 6, "control/balloon-active", "2", 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/6 EINVAL");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 7, "control/balloon-active", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "read/7 1");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 8, "control/balloon-active", "0", 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "write/8 ok");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 9, "control/balloon-active", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "read/9 0");
}

Test(xen_device, the_guest_removes_its_own_keys_only)
{
    balloon_device *device = xen_device(NULL);
    balloon_xen_session session;

    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 1, "control/feature-balloon", "1", 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "write/1 ok");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 2, "control/balloon-active", "1", 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "write/2 ok");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_RM, 3, "control/feature-balloon", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "rm/3 ok");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_RM, 4, "control/balloon-active", NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "rm/4 ok");
    balloon_xen_session_get(device, &session);
    cr_assert(!session.feature && !session.active);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_RM, 5, "control/feature-balloon", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "error/5 ENOENT");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_RM, 6, "control/balloon-active", NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "error/6 ENOENT");
    cr_assert_eq(vm_counters(device).protocol_errors, 0);

    cr_assert_eq(xen_ask(device, BALLOON_XEN_RM, 7, TARGET, NULL, 0), BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/7 EACCES");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 8, TARGET, "1", 0), BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/8 EACCES");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 9, "memory/static-max", "1", 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/9 EACCES");
    cr_assert_eq(vm_counters(device).protocol_errors, 3);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 10, TARGET, NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/10 16384");
}

Test(xen_device, leaves_everything_else_to_the_other_store)
{
    balloon_device *device = xen_device(&(balloon_xen_options){.domain = 7});
    static const char *const paths[] = {
        "memory",          "memory/target/x",
        "data/updated",    "memory/memory_static_max",
        "domid",           "memory/dynamic-min",
        "/vm/1/memory",    "/local/domain/8/memory/target",
        "memory/target-x", "/local/domain/07/memory/target",
    };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, paths[i], NULL, 0),
                     BALLOON_ERR_UNSUPPORTED);
        cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 1, paths[i], "1", 0),
                     BALLOON_ERR_UNSUPPORTED);
        cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 1, paths[i], "t", 0),
                     BALLOON_ERR_UNSUPPORTED);
    }
    /* Watches on keys that nobody but the guest changes. */
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 1, "memory/static-max", "t", 0),
                 BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_UNWATCH, 1, "control/balloon-active", "t", 0),
                 BALLOON_ERR_UNSUPPORTED);
    CHECK_XEN(device, 0, "");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, "/local/domain/7/memory/target", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "read/1 16384");
}

/* Every type with the path of a key, and nothing but the five that are about keys is taken. */
Test(xen_device, takes_five_types_of_requests)
{
    for (uint32_t type = 0; type < 40; type++) {
        balloon_device *device = xen_device(NULL);
        uint8_t bytes[] = "....12340000....memory/target\0t";
        size_t payload = sizeof(bytes) - 16;
        bool ours =
            type == BALLOON_XEN_WATCH || type == BALLOON_XEN_UNWATCH || type == BALLOON_XEN_WRITE;

        if (type == BALLOON_XEN_READ || type == BALLOON_XEN_RM) {
            payload -= 2;
            ours = true;
        }
        memset(bytes, 0, 4);
        memset(bytes + 12, 0, 4);
        bytes[0] = (uint8_t)type;
        bytes[12] = (uint8_t)payload;
        cr_assert_eq(balloon_xen_receive(device, bytes, 16 + payload, 0) != BALLOON_ERR_UNSUPPORTED,
                     ours, "type %u", type);
        vm_end();
    }
}

Test(xen_device, malformed_messages_are_not_taken)
{
    balloon_device *device = xen_device(NULL);
    /* X1 of a watch, and every way of cutting it short or having it too long. */
    uint8_t bytes[64] = "\4\0\0\0\1\0\0\0\0\0\0\0\020\0\0\0memory/target\0t";

    for (size_t size = 0; size <= sizeof(bytes); size++)
        if (size != 32)
            cr_assert_eq(balloon_xen_receive(device, bytes, size, 0), BALLOON_ERR_UNSUPPORTED);
    for (unsigned length = 0; length < 256; length++) {
        bytes[12] = (uint8_t)length;
        if (length != 16)
            cr_assert_eq(balloon_xen_receive(device, bytes, 32, 0), BALLOON_ERR_UNSUPPORTED);
    }
    bytes[12] = 16;
    bytes[16] = '*';
    cr_assert_eq(balloon_xen_receive(device, bytes, 32, 0), BALLOON_ERR_UNSUPPORTED);
    CHECK_XEN(device, 0, "");
    cr_assert_not(vm_status(device).driver);
    bytes[16] = 'm';
    cr_assert_eq(balloon_xen_receive(device, bytes, 32, 0), BALLOON_OK);
    cr_assert(vm_status(device).driver);
}

/* --- watches ---------------------------------------------------------------------------------- */

Test(xen_device, a_watch_is_a_driver_and_has_a_first_event)
{
    balloon_device *device = xen_device(NULL);
    balloon_xen_session session;

    cr_assert_eq(balloon_device_explain(device, 0, NULL), BALLOON_REASON_NO_DRIVER);
    xen_watch(device, 0);
    cr_assert(vm_status(device).driver);
    cr_assert_eq(vm_status(device).negotiated, BALLOON_F_MUST_TELL);
    balloon_xen_session_get(device, &session);
    cr_assert(session.watched);
}

Test(xen_device, each_new_target_is_an_event_as_the_watch_was_set)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 9, "/local/domain/1/memory/target",
                         "ffff888003c0d1e0", 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "watch/9 ok | event /local/domain/1/memory/target ffff888003c0d1e0");
    cr_assert_eq(balloon_device_set_target(device, 64, 1), BALLOON_OK);
    CHECK_XEN(device, 1, "event /local/domain/1/memory/target ffff888003c0d1e0");
    /* The same target is no event. */
    cr_assert_eq(balloon_device_set_target(device, 64, 2), BALLOON_OK);
    CHECK_XEN(device, 2, "");
    /* Three of them at once are one. */
    cr_assert_eq(balloon_device_set_target(device, 96, 3), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 0, 3), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 128, 3), BALLOON_OK);
    CHECK_XEN(device, 3, "event /local/domain/1/memory/target ffff888003c0d1e0");
}

Test(xen_device, events_while_one_waits_are_one)
{
    balloon_device *device = xen_device(NULL);
    balloon_action action;
    char text[256];

    xen_watch(device, 0);
    cr_assert_eq(balloon_device_set_target(device, 64, 1), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 1, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_SEND);
    for (uint64_t i = 1; i <= 100; i++) {
        cr_assert_eq(balloon_device_set_target(device, 16 * i, 1), BALLOON_OK);
        cr_assert_not(balloon_device_poll(device, 1, &action));
    }
    xen_say(device, text, sizeof(text));
    cr_assert_str_eq(text, "event memory/target token");
    CHECK_XEN(device, 1, "");
}

Test(xen_device, there_is_room_for_one_watch)
{
    balloon_device *device = xen_device(NULL);

    xen_watch(device, 0);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 2, TARGET, "token", 0), BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/2 EEXIST");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 3, TARGET, "tokem", 0), BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/3 ENOSPC");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 4, TARGET, "toke", 0), BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/4 ENOSPC");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 5, "/local/domain/1/memory/target", "token", 0),
                 BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/5 ENOSPC");
    cr_assert_eq(vm_counters(device).protocol_errors, 4);
}

Test(xen_device, tokens_of_real_guests_fit)
{
    static const char *const tokens[] = {"", "ffff888003c0d1e0", "TOK|FFFFF8066B2A51C4|002A",
                                         "0123456789abcdef0123456789abcdef"};

    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        balloon_device *device = xen_device(NULL);
        char want[256];

        cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 1, TARGET, tokens[i], 0), BALLOON_OK);
        snprintf(want, sizeof(want), "watch/1 ok | event memory/target %s", tokens[i]);
        CHECK_XEN(device, 0, want);
    }
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(
        xen_ask(device, BALLOON_XEN_WATCH, 1, TARGET, "0123456789abcdef0123456789abcdef0", 0),
        BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/1 E2BIG");
    cr_assert_not(vm_status(device).driver);
}

Test(xen_device, an_unwatch_ends_the_events)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_ask(device, BALLOON_XEN_UNWATCH, 1, TARGET, "token", 0), BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/1 ENOENT");
    xen_watch(device, 0);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_UNWATCH, 2, TARGET, "other", 0), BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/2 ENOENT");
    cr_assert_eq(
        xen_ask(device, BALLOON_XEN_UNWATCH, 3, "/local/domain/1/memory/target", "token", 0),
        BALLOON_ERR_PROTOCOL);
    CHECK_XEN(device, 0, "error/3 ENOENT");
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_UNWATCH, 4, TARGET, "token", 0), BALLOON_OK);
    CHECK_XEN(device, 0, "unwatch/4 ok");
    cr_assert_eq(balloon_device_set_target(device, 128, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "");
    /* The pages that it holds are still in the balloon. */
    cr_assert(vm_status(device).driver);
    xen_watch(device, 0);
}

Test(xen_device, reset_watches_drops_the_watch_and_is_for_the_other_store)
{
    balloon_device *device = xen_device(NULL);
    uint8_t bytes[17] = {BALLOON_XEN_RESET_WATCHES, [12] = 1};
    balloon_xen_session session;
    balloon_action action;
    size_t used;

    xen_watch(device, 0);
    cr_assert_eq(balloon_device_set_target(device, 64, 0), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_SEND);
    cr_assert_eq(balloon_xen_receive(device, bytes, sizeof(bytes), 0), BALLOON_ERR_UNSUPPORTED);
    balloon_xen_session_get(device, &session);
    cr_assert_not(session.watched);
    /* What was told is not there any more. */
    cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    CHECK_XEN(device, 0, "");
    xen_watch(device, 0);
}

Test(xen_device, a_storm_of_watches_makes_one_event)
{
    balloon_device *device = xen_device(NULL);
    char text[256];

    for (uint32_t i = 0; i < 1000; i++) {
        cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, i, TARGET, "t", 0), BALLOON_OK);
        xen_say(device, text, sizeof(text));
        cr_assert_eq(xen_ask(device, BALLOON_XEN_UNWATCH, i, TARGET, "t", 0), BALLOON_OK);
        xen_say(device, text, sizeof(text));
    }
    CHECK_XEN(device, 0, "");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 1, TARGET, "t", 0), BALLOON_OK);
    CHECK_XEN(device, 0, "watch/1 ok | event memory/target t");
}

/* --- sending ---------------------------------------------------------------------------------- */

Test(xen_device, one_answer_waits_at_a_time)
{
    balloon_device *device = xen_device(NULL);
    balloon_action action;
    char text[256];

    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, TARGET, NULL, 0), BALLOON_OK);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, TARGET, NULL, 0), BALLOON_ERR_BUSY);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 3, TARGET, "t", 0), BALLOON_ERR_BUSY);
    cr_assert_not(vm_status(device).driver);
    /* Others need not wait. */
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 4, "domid", NULL, 0), BALLOON_ERR_UNSUPPORTED);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_SEND);
    cr_assert_not(balloon_device_poll(device, 0, &action));
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, TARGET, NULL, 0), BALLOON_ERR_BUSY);
    xen_say(device, text, sizeof(text));
    cr_assert_str_eq(text, "read/1 16384");
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 2, TARGET, NULL, 0), BALLOON_OK);
    CHECK_XEN(device, 0, "read/2 16384");
}

Test(xen_device, tells_how_much_room_a_message_needs)
{
    balloon_device *device = xen_device(&(balloon_xen_options){.domain = 32751});
    const char *path = "/local/domain/32751/memory/target",
               *token = "0123456789abcdef0123456789abcdef";
    uint8_t bytes[BALLOON_XEN_SEND_BYTES];
    size_t used;

    cr_assert_eq(xen_ask(device, BALLOON_XEN_WATCH, 1, path, token, 0), BALLOON_OK);
    for (size_t room = 0; room < 19; room++) {
        cr_assert_eq(balloon_xen_write(device, bytes, room, &used), BALLOON_ERR_NOSPACE);
        cr_assert_eq(used, 19);
    }
    cr_assert_eq(balloon_xen_write(device, bytes, 19, &used), BALLOON_OK);
    cr_assert_eq(balloon_xen_write(device, bytes, 0, &used), BALLOON_ERR_NOSPACE);
    cr_assert_eq(used, 16 + 33 + 1 + 32 + 1);
    cr_assert_leq(used, BALLOON_XEN_SEND_BYTES);
    cr_assert_eq(balloon_xen_write(device, bytes, used, &used), BALLOON_OK);
    cr_assert_eq(balloon_xen_write(device, bytes, used, &used), BALLOON_ERR_STATE);
}

Test(xen_device, a_reset_forgets_the_session_and_keeps_the_options)
{
    balloon_device *device = xen_device(&(balloon_xen_options){.domain = 3, .static_max = 5000});
    balloon_xen_session session;
    uint8_t bytes[128];
    size_t used;

    xen_watch(device, 0);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_WRITE, 1, "control/feature-balloon", "1", 0),
                 BALLOON_OK);
    balloon_device_reset(device);
    CHECK_XEN(device, 0, "");
    cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_ERR_STATE);
    balloon_xen_session_get(device, &session);
    cr_assert(!session.watched && !session.feature);
    cr_assert_eq(xen_ask(device, BALLOON_XEN_READ, 1, "/local/domain/3/memory/static-max", NULL, 0),
                 BALLOON_OK);
    CHECK_XEN(device, 0, "read/1 20000");
}

/* The bytes of vectors X1 to X4 of the protocol's description. */
Test(xen_device, the_first_exchange_in_bytes)
{
    static const uint8_t watch[] = "\x04\0\0\0\x01\0\0\0\0\0\0\0\x10\0\0\0memory/target\0t",
                         okay[] = "\x04\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0OK",
                         event[] = "\x0f\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0memory/target\0t",
                         read[] = "\x02\0\0\0\x02\0\0\0\0\0\0\0\x0e\0\0\0memory/target",
                         value[] = "\x02\0\0\0\x02\0\0\0\0\0\0\0\x07\0\0\0001048576";
    balloon_device *device = xen_device(&(balloon_xen_options){.static_max = 262144});
    uint8_t bytes[128];
    size_t used;

    cr_assert_eq(balloon_xen_receive(device, watch, sizeof(watch), 0), BALLOON_OK);
    cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_OK);
    cr_assert_eq(used, sizeof(okay));
    cr_assert_eq(memcmp(bytes, okay, used), 0);
    cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_OK);
    cr_assert_eq(used, sizeof(event));
    cr_assert_eq(memcmp(bytes, event, used), 0);
    cr_assert_eq(balloon_xen_receive(device, read, sizeof(read), 0), BALLOON_OK);
    cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_OK);
    cr_assert_eq(used, sizeof(value) - 1);
    cr_assert_eq(memcmp(bytes, value, used), 0);
}
