/* A Xen guest moves to another host: what was on its way arrives there, and bytes that no device
 * has saved are refused. */
#include <stdlib.h>

#include "xen_support.h"

TestSuite(xen_device_save, .fini = vm_end);

#define THEN UINT64_C(7000000000)
#define NOW  UINT64_C(90000000000)

/* Where the binding's part is in the saved form. */
#define BLOB       57u
#define BLOB_BYTES 64u

static balloon_device *moved(const balloon_device *from, const balloon_xen_options *options)
{
    balloon_device *to = xen_device(options);

    cr_assert_eq(vm_move(from, THEN, to, NOW), BALLOON_OK);
    cr_assert(balloon_device_check(to, NULL));
    return to;
}

static balloon_status ask(balloon_device *device, balloon_xen_message_type type, uint32_t id,
                          const char *path, const char *word)
{
    return xen_ask(device, type, id, path, word, THEN);
}

/* --- states ----------------------------------------------------------------------------------- */

Test(xen_device_save, nothing_yet)
{
    balloon_device *to = moved(xen_device(NULL), NULL);

    CHECK_XEN(to, NOW, "");
    cr_assert_not(vm_status(to).driver);
    xen_watch(to, NOW);
}

Test(xen_device_save, each_answer_arrives)
{
    static const struct {
        balloon_xen_message_type type;
        const char *path, *word, *answer;
    } cases[] = {
        {BALLOON_XEN_READ, "memory/target", NULL, "read/7 12288"},
        {BALLOON_XEN_READ, "memory/videoram", NULL, "read/7 0"},
        {BALLOON_XEN_READ, "control/balloon-active", NULL, "error/7 ENOENT"},
        {BALLOON_XEN_WRITE, "control/feature-balloon", "1", "write/7 ok"},
        {BALLOON_XEN_WRITE, "control/balloon-active", "x", "error/7 EINVAL"},
        {BALLOON_XEN_WRITE, "memory/target", "1", "error/7 EACCES"},
        {BALLOON_XEN_RM, "control/feature-balloon", NULL, "error/7 ENOENT"},
        {BALLOON_XEN_WATCH, "memory/target", "t", "watch/7 ok | event memory/target t"},
        {BALLOON_XEN_WATCH, "memory/target", "123456789012345678901234567890123", "error/7 E2BIG"},
        {BALLOON_XEN_UNWATCH, "memory/target", "t", "error/7 ENOENT"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_device *device = xen_device(NULL);
        balloon_action action;

        cr_assert_eq(balloon_device_set_target(device, 1024, THEN), BALLOON_OK);
        (void)!ask(device, cases[i].type, 7, cases[i].path, cases[i].word);
        balloon_device *before = moved(device, NULL);

        CHECK_XEN(before, NOW, cases[i].answer);
        /* It was told here and is told again there. */
        cr_assert(balloon_device_poll(device, THEN, &action));
        CHECK_XEN(moved(device, NULL), NOW, cases[i].answer);
        vm_end();
    }
}

Test(xen_device_save, the_watch_and_its_event)
{
    balloon_device *device = xen_device(NULL);
    balloon_xen_session session;

    cr_assert_eq(ask(device, BALLOON_XEN_WATCH, 1, "/local/domain/1/memory/target",
                     "TOK|FFFFF8066B2A51C4|002A"),
                 BALLOON_OK);
    CHECK_XEN(device, THEN,
              "watch/1 ok | event /local/domain/1/memory/target TOK|FFFFF8066B2A51C4|002A");
    balloon_device *to = moved(device, NULL);

    CHECK_XEN(to, NOW, "");
    balloon_xen_session_get(to, &session);
    cr_assert(session.watched && vm_status(to).driver);
    cr_assert_eq(balloon_device_set_target(to, 64, NOW), BALLOON_OK);
    CHECK_XEN(to, NOW, "event /local/domain/1/memory/target TOK|FFFFF8066B2A51C4|002A");
    /* A target that nobody has been told of, before and after the poll that notes it. */
    cr_assert_eq(balloon_device_set_target(device, 64, THEN), BALLOON_OK);
    CHECK_XEN(moved(device, NULL), NOW,
              "event /local/domain/1/memory/target TOK|FFFFF8066B2A51C4|002A");
    balloon_action action;

    cr_assert(balloon_device_poll(device, THEN, &action));
    CHECK_XEN(moved(device, NULL), NOW,
              "event /local/domain/1/memory/target TOK|FFFFF8066B2A51C4|002A");
    CHECK_XEN(device, THEN, "");
}

Test(xen_device_save, keys_of_the_guest)
{
    for (unsigned keys = 0; keys < 6; keys++) {
        balloon_device *device = xen_device(NULL);
        balloon_xen_session session;

        if (keys & 1) {
            cr_assert_eq(ask(device, BALLOON_XEN_WRITE, 1, "control/feature-balloon", "1"),
                         BALLOON_OK);
            CHECK_XEN(device, THEN, "write/1 ok");
        }
        if (keys / 2) {
            cr_assert_eq(ask(device, BALLOON_XEN_WRITE, 2, "control/balloon-active",
                             keys / 2 == 1 ? "0" : "1"),
                         BALLOON_OK);
            CHECK_XEN(device, THEN, "write/2 ok");
        }
        balloon_device *to = moved(device, NULL);

        balloon_xen_session_get(to, &session);
        cr_assert_eq(session.feature, (keys & 1) != 0);
        cr_assert_eq(session.active, keys / 2 == 2);
        cr_assert_eq(xen_ask(to, BALLOON_XEN_READ, 3, "control/balloon-active", NULL, NOW),
                     BALLOON_OK);
        CHECK_XEN(to, NOW,
                  keys / 2 == 0   ? "error/3 ENOENT"
                  : keys / 2 == 1 ? "read/3 0"
                                  : "read/3 1");
        vm_end();
    }
}

Test(xen_device_save, pages)
{
    balloon_device *device = xen_device(NULL);

    cr_assert_eq(xen_move(device, DECREASE, 100, 50, BALLOON_OK, THEN), 50);
    balloon_device *to = moved(device, NULL);

    cr_assert_eq(vm_status(to).held, 50);
    cr_assert_eq(vm_status(to).pending, 50);
    cr_assert_eq(vm_status(to).actual, 50);
    cr_assert_eq(xen_move(to, POPULATE, 110, 5, BALLOON_OK, NOW), 5);
    balloon_device_flush(to);
    CHECK_XEN(to, NOW, "discard 100+10 115+35");
}

/* --- options and other transports ------------------------------------------------------------- */

Test(xen_device_save, needs_the_same_options_at_the_other_side)
{
    static const balloon_xen_options others[] = {
        {.static_max = 5000}, {.domain = 2},     {.layout = BALLOON_XEN_32},
        {.max_order = 10},    {.enforce = true},
    };
    balloon_device *device = xen_device(NULL);

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        balloon_device *other = xen_device(&others[i]);

        cr_assert_eq(vm_move(device, THEN, other, NOW), BALLOON_ERR_PROTOCOL);
        cr_assert_eq(vm_move(other, THEN, device, NOW), BALLOON_ERR_PROTOCOL);
        (void)moved(other, &others[i]);
    }
    cr_assert_eq(vm_move(device, THEN, xen_blank(), NOW), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_move(xen_blank(), THEN, device, NOW), BALLOON_ERR_PROTOCOL);
}

/* --- hostile bytes ---------------------------------------------------------------------------- */

/* A device in one of several states. */
static balloon_device *in_state(unsigned state)
{
    balloon_device *device = xen_device(NULL);

    if (state >= 1)
        (void)!ask(device, BALLOON_XEN_WATCH, 0x01020304, "memory/target", "some-token");
    if (state >= 2)
        (void)xen_poll(device, THEN);
    if (state == 3)
        (void)!ask(device, BALLOON_XEN_READ, 5, "memory/target", NULL);
    if (state == 4)
        (void)!ask(device, BALLOON_XEN_WRITE, 5, "control/balloon-active", "1");
    if (state == 5)
        (void)!ask(device, BALLOON_XEN_RM, 5, "memory/target", NULL);
    return device;
}

/* Whatever can be loaded is a device that works. */
static void use(balloon_device *device)
{
    balloon_action action;
    uint8_t bytes[BALLOON_XEN_SEND_BYTES];
    balloon_xen_message message;
    size_t used, sent = 0;

    cr_assert(balloon_device_check(device, NULL));
    while (balloon_device_poll(device, NOW, &action)) {
        cr_assert_eq(action.type, BALLOON_ACTION_SEND);
        cr_assert_eq(balloon_xen_write(device, bytes, sizeof(bytes), &used), BALLOON_OK);
        cr_assert_eq(balloon_xen_read_reply(bytes, used, &message), BALLOON_OK);
        sent++;
    }
    cr_assert_leq(sent, 2);
}

Test(xen_device_save, a_byte_of_it_is_wrong)
{
    for (unsigned state = 0; state < 6; state++) {
        size_t size, bytes, used, accepted = 0;
        uint8_t *saved = rig_save(in_state(state), THEN, &size), *again = malloc(size);
        balloon_device *to = xen_device(NULL);

        cr_assert_eq(saved[BLOB - 1], 3);
        for (size_t at = BLOB - 1; at < BLOB + BLOB_BYTES; at++) {
            uint8_t was = saved[at];

            for (unsigned value = 0; value < 256; value++) {
                saved[at] = (uint8_t)value;
                if (balloon_device_load(to, NOW, saved, size) != BALLOON_OK) {
                    cr_assert_neq(value, was);
                    continue;
                }
                accepted++;
                /* It means the same to the device as to who wrote it. */
                bytes = balloon_device_save_bytes(to);
                cr_assert_eq(bytes, size);
                cr_assert_eq(balloon_device_save(to, NOW, again, bytes, &used), BALLOON_OK);
                cr_assert_eq(memcmp(saved + BLOB, again + BLOB, BLOB_BYTES), 0);
                use(to);
            }
            saved[at] = was;
        }
        cr_assert_gt(accepted, BLOB_BYTES);
        free(saved);
        free(again);
        vm_end();
    }
}

/* Pairs that do not fit each other. */
Test(xen_device_save, states_that_no_device_has)
{
    static const struct {
        unsigned state;
        uint8_t at, value;
    } cases[] = {
        {0, 24, 1},   /* A watch without a driver. */
        {2, 24, 0},   /* A token without a watch. */
        {0, 24, 2},   /* An event without a watch. */
        {0, 24, 4},   /* A path without one. */
        {0, 24, 32},  /* A value of a key that is not there. */
        {0, 24, 128}, /* A flag of a later version. */
        {2, 25, 33},  /* A token that is too long, */
        {2, 25, 9},   /* or has something behind it, */
        {2, 25, 11},  /* or a zero in it. */
        {0, 13, 2},   /* A type, a key, an error, or numbers without an answer. */
        {0, 14, 1},   {0, 15, 2}, {0, 16, 1}, {0, 20, 1}, {3, 12, 4}, /* No kind of answer. */
        {3, 12, 1},                                                   /* A READ needs a value, */
        {4, 12, 2},                                                   /* a WRITE has none, */
        {5, 15, 0},                                                   /* an error has a name */
        {5, 15, 3},                                                   /* that the store knows. */
        {3, 14, 14},                                                  /* No such key. */
        {3, 13, 11}, /* Not what is answered by a value. */
        {4, 13, 9},  /* Not what is answered by OK. */
        {3, 15, 2},  /* Fine and yet an error. */
        {2, 63, 1},  /* Bytes behind the end. */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t size;
        uint8_t *saved = rig_save(in_state(cases[i].state), THEN, &size);
        balloon_device *to = xen_device(NULL);

        cr_assert_eq(balloon_device_load(to, NOW, saved, size), BALLOON_OK);
        saved[BLOB + cases[i].at] = cases[i].value;
        cr_assert_eq(balloon_device_load(to, NOW, saved, size), BALLOON_ERR_PROTOCOL, "case %zu",
                     i);
        free(saved);
        vm_end();
    }
}
