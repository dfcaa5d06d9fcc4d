/* What goes over xenstore and into memory_op, byte by byte, both ways. */
#include <criterion/criterion.h>

#include <string.h>

#include <balloon/xen.h>

#define LIST 0xffff888000010000

static balloon_iov text(const char *string)
{
    return (balloon_iov){string, strlen(string)};
}

static void check_iov(balloon_iov found, balloon_iov expected)
{
    cr_assert_eq(found.bytes, expected.bytes);
    cr_assert(found.bytes == 0 || memcmp(found.base, expected.base, found.bytes) == 0);
}

/* Reads the bytes, compares, and writes them again. */
static balloon_xen_message check_message(bool reply, const unsigned char *bytes, size_t size,
                                         const balloon_xen_message *expected)
{
    unsigned char written[64];
    balloon_xen_message found;

    cr_assert_eq(reply ? balloon_xen_read_reply(bytes, size, &found)
                       : balloon_xen_read_request(bytes, size, &found),
                 BALLOON_OK);
    cr_assert_eq(found.header.type, expected->header.type);
    cr_assert_eq(found.header.id, expected->header.id);
    cr_assert_eq(found.header.transaction, expected->header.transaction);
    cr_assert_eq(found.header.bytes, size - BALLOON_XEN_HEADER_BYTES);
    check_iov(found.path, expected->path);
    check_iov(found.token, expected->token);
    check_iov(found.value, expected->value);
    cr_assert_eq(found.started, expected->started);
    cr_assert_eq(found.commit, expected->commit);
    cr_assert_eq(found.error, expected->error);

    memset(written, 0xc7, sizeof(written));
    cr_assert_eq(reply ? balloon_xen_write_reply(expected, written, sizeof(written))
                       : balloon_xen_write_request(expected, written, sizeof(written)),
                 size);
    cr_assert_eq(memcmp(written, bytes, size), 0);
    return found;
}

/* --- xenstore -------------------------------------------------------------------------------- */

Test(golden_xen, x1_watch)
{
    static const unsigned char bytes[] = "\x04\0\0\0\x01\0\0\0\0\0\0\0\x10\0\0\0memory/target\0t";
    balloon_xen_message message = {
        .header = {.type = 4, .id = 1}, .path = text("memory/target"), .token = text("t")};

    check_message(false, bytes, sizeof(bytes), &message);
}

Test(golden_xen, x2_watch_event)
{
    static const unsigned char bytes[] = "\x0f\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0memory/target\0t";
    balloon_xen_message message = {
        .header = {.type = 15}, .path = text("memory/target"), .token = text("t")};
    uint16_t domain = 0;

    message = check_message(true, bytes, sizeof(bytes), &message);
    cr_assert_eq(balloon_xen_find_key(message.path.base, message.path.bytes, &domain),
                 BALLOON_XEN_KEY_TARGET);
    cr_assert_eq(domain, BALLOON_XEN_DOMAIN_SELF);
}

Test(golden_xen, x3_read)
{
    static const unsigned char bytes[] = "\x02\0\0\0\x02\0\0\0\0\0\0\0\x0e\0\0\0memory/target";
    char path[13];
    balloon_xen_message message = {.header = {.type = 2, .id = 2}, .path = {path, sizeof(path)}};

    cr_assert_eq(
        balloon_xen_write_path(BALLOON_XEN_DOMAIN_SELF, BALLOON_XEN_KEY_TARGET, path, sizeof(path)),
        sizeof(path));
    check_message(false, bytes, sizeof(bytes), &message);
}

Test(golden_xen, x4_value)
{
    static const unsigned char bytes[] = "\x02\0\0\0\x02\0\0\0\0\0\0\0\x07\0\0\0"
                                         "1048576";
    char value[7];
    balloon_xen_message message = {.header = {.type = 2, .id = 2}, .value = {value, 7}};
    uint64_t pages = 0;

    cr_assert_eq(balloon_xen_write_size(262144, value, sizeof(value)), 7);
    message = check_message(true, bytes, sizeof(bytes) - 1, &message);
    cr_assert_eq(balloon_xen_read_size(message.value.base, message.value.bytes, &pages),
                 BALLOON_OK);
    cr_assert_eq(pages, 262144);
}

Test(golden_xen, x5_write)
{
    static const unsigned char bytes[] = "\x0b\0\0\0\x03\0\0\0\0\0\0\0\x24\0\0\0"
                                         "/local/domain/5/memory/target\0"
                                         "524288";
    char path[40];
    char value[20];
    balloon_xen_message message = {.header = {.type = 11, .id = 3}};
    uint16_t domain = 0;
    uint64_t pages = 0;

    message.path.base = path;
    message.path.bytes = balloon_xen_write_path(5, BALLOON_XEN_KEY_TARGET, path, sizeof(path));
    message.value.base = value;
    message.value.bytes = balloon_xen_write_size(131072, value, sizeof(value));
    message = check_message(false, bytes, sizeof(bytes) - 1, &message);
    cr_assert_eq(balloon_xen_find_key(message.path.base, message.path.bytes, &domain),
                 BALLOON_XEN_KEY_TARGET);
    cr_assert_eq(domain, 5);
    cr_assert_eq(balloon_xen_read_size(message.value.base, message.value.bytes, &pages),
                 BALLOON_OK);
    cr_assert_eq(pages, 131072);
}

Test(golden_xen, x6_error)
{
    static const unsigned char bytes[] = "\x10\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0"
                                         "EACCES";
    balloon_xen_message message = {
        .header = {.type = 16, .id = 5}, .value = text("EACCES"), .error = BALLOON_XEN_EACCES};

    check_message(true, bytes, sizeof(bytes), &message);
    cr_assert_str_eq(balloon_xen_error_name(BALLOON_XEN_EACCES), "EACCES");
}

/* A host's transaction: start, answer, commit, answer. */
Test(golden_xen, transaction)
{
    static const unsigned char start[] = "\x06\0\0\0\x07\0\0\0\0\0\0\0\x01\0\0\0";
    static const unsigned char started[] = "\x06\0\0\0\x07\0\0\0\0\0\0\0\x03\0\0\0"
                                           "42";
    static const unsigned char end[] = "\x07\0\0\0\x08\0\0\0\x2a\0\0\0\x02\0\0\0T";
    static const unsigned char drop[] = "\x07\0\0\0\x08\0\0\0\x2a\0\0\0\x02\0\0\0F";
    static const unsigned char okay[] = "\x07\0\0\0\x08\0\0\0\x2a\0\0\0\x03\0\0\0OK";
    balloon_xen_message message = {.header = {.type = 6, .id = 7}};

    check_message(false, start, sizeof(start), &message);
    message.started = 42;
    check_message(true, started, sizeof(started), &message);
    message = (balloon_xen_message){.header = {.type = 7, .id = 8, .transaction = 42}};
    check_message(true, okay, sizeof(okay), &message);
    check_message(false, drop, sizeof(drop), &message);
    message.commit = true;
    check_message(false, end, sizeof(end), &message);
}

Test(golden_xen, unwatch_remove_and_what_is_not_read_further)
{
    static const unsigned char unwatch[] = "\x05\0\0\0\x01\0\0\0\0\0\0\0\x10\0\0\0memory/target\0t";
    static const unsigned char watch_depth[] = "\x04\0\0\0\x01\0\0\0\0\0\0\0\x0b\0\0\0memory\0t\0"
                                               "1";
    static const unsigned char remove[] = "\x0d\0\0\0\x01\0\0\0\x02\0\0\0\x15\0\0\0"
                                          "memory/uncooperative";
    static const unsigned char reset[] = "\x15\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0";
    balloon_xen_message message = {
        .header = {.type = 5, .id = 1}, .path = text("memory/target"), .token = text("t")};

    check_message(false, unwatch, sizeof(unwatch), &message);
    message = (balloon_xen_message){.header = {.type = 4, .id = 1},
                                    .path = text("memory"),
                                    .token = text("t"),
                                    .value = {"1", 2}};
    check_message(false, watch_depth, sizeof(watch_depth), &message);
    message = (balloon_xen_message){.header = {.type = 13, .id = 1, .transaction = 2},
                                    .path = text("memory/uncooperative")};
    check_message(false, remove, sizeof(remove), &message);
    message = (balloon_xen_message){.header = {.type = 21, .id = 1}, .value = {"", 1}};
    check_message(false, reset, sizeof(reset), &message);
}

Test(golden_xen, x13_values_that_are_no_numbers)
{
    static const char *const values[] = {
        "-1", "12a", "", "18446744073709551616", "+1", " 1", "1 ", "1\n", "0x10", "1.5", "1024k"};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint64_t pages = 77;

        cr_assert_eq(balloon_xen_read_size(values[i], strlen(values[i]), &pages),
                     BALLOON_ERR_PROTOCOL, "'%s'", values[i]);
        cr_assert_eq(balloon_xen_read_number(values[i], strlen(values[i]), &pages),
                     BALLOON_ERR_PROTOCOL, "'%s'", values[i]);
        cr_assert_eq(pages, 77);
    }
}

/* --- memory_op ------------------------------------------------------------------------------- */

static void check_reservation(const unsigned char *bytes, size_t size, balloon_xen_layout layout,
                              const balloon_xen_reservation *expected)
{
    unsigned char written[64];
    balloon_xen_reservation found;

    cr_assert_eq(balloon_xen_read_reservation(bytes, size, layout, &found), BALLOON_OK);
    cr_assert_eq(found.list, expected->list);
    cr_assert_eq(found.extents, expected->extents);
    cr_assert_eq(found.order, expected->order);
    cr_assert_eq(found.flags, expected->flags);
    cr_assert_eq(found.domain, expected->domain);
    memset(written, 0xc7, sizeof(written));
    cr_assert_eq(balloon_xen_write_reservation(expected, layout, written, sizeof(written)), size);
    cr_assert_eq(memcmp(written, bytes, size), 0);
}

Test(golden_xen, x7_reservation)
{
    static const unsigned char bytes[32] = {0x00, 0x00, 0x01, 0x00,        0x80, 0x88,
                                            0xff, 0xff, 0x03, [24] = 0xf0, 0x7f};
    balloon_xen_reservation reservation = {
        .list = LIST, .extents = 3, .domain = BALLOON_XEN_DOMAIN_SELF};

    check_reservation(bytes, sizeof(bytes), BALLOON_XEN_64, &reservation);
    cr_assert_eq(balloon_xen_check_reservation(BALLOON_XEN_DECREASE_RESERVATION, &reservation,
                                               BALLOON_XEN_ORDER_GUEST),
                 BALLOON_OK);
}

Test(golden_xen, x8_list)
{
    static const unsigned char bytes[] = {0x45, 0x23, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x46, 0x23, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x21, 0x43, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00};
    static const unsigned char narrow[] = {0x45, 0x23, 0x01, 0x00, 0x46, 0x23,
                                           0x01, 0x00, 0x21, 0x43, 0x05, 0x00};
    static const balloon_pfn_t pfns[] = {0x12345, 0x12346, 0x54321};
    balloon_iov iov[] = {{bytes, sizeof(bytes)}, {narrow, sizeof(narrow)}};
    unsigned char written[24];
    balloon_pfn_t found[4];
    balloon_xen_frames frames;

    for (int layout = 0; layout < 2; layout++) {
        balloon_xen_frames_init(&frames, &iov[layout], 1, 3, (balloon_xen_layout)layout);
        cr_assert_eq(balloon_xen_read_frames(&frames, found, 4), 3);
        cr_assert_eq(memcmp(found, pfns, sizeof(pfns)), 0);
        cr_assert_eq(balloon_xen_write_frames(pfns, 3, (balloon_xen_layout)layout, written, 24),
                     iov[layout].bytes);
        cr_assert_eq(memcmp(written, iov[layout].base, iov[layout].bytes), 0);
    }
}

Test(golden_xen, x9_one_2_mib_extent)
{
    static const unsigned char bytes[32] = {0x00, 0x00, 0x01, 0x00,        0x80,        0x88,
                                            0xff, 0xff, 0x01, [16] = 0x09, [24] = 0xf0, 0x7f};
    balloon_xen_reservation reservation = {
        .list = LIST, .extents = 1, .order = 9, .domain = BALLOON_XEN_DOMAIN_SELF};
    balloon_range range;

    check_reservation(bytes, sizeof(bytes), BALLOON_XEN_64, &reservation);
    cr_assert_eq(balloon_xen_check_reservation(BALLOON_XEN_POPULATE_PHYSMAP, &reservation,
                                               BALLOON_XEN_ORDER_GUEST),
                 BALLOON_OK);
    cr_assert_eq(balloon_xen_extent_range(0x12200, reservation.order, &range), BALLOON_OK);
    cr_assert_eq(range.first, 0x12200);
    cr_assert_eq(range.count * BALLOON_PAGE_SIZE, 2 << 20);
}

Test(golden_xen, x10_domain)
{
    static const unsigned char bytes[] = {0xf0, 0x7f};
    unsigned char written[2];
    uint16_t domain = 0;

    cr_assert_eq(balloon_xen_read_domain(bytes, sizeof(bytes), &domain), BALLOON_OK);
    cr_assert_eq(domain, BALLOON_XEN_DOMAIN_SELF);
    cr_assert_eq(balloon_xen_write_domain(BALLOON_XEN_DOMAIN_SELF, written, 2), 2);
    cr_assert_eq(memcmp(written, bytes, 2), 0);
}

Test(golden_xen, x11_pod_target)
{
    static const unsigned char bytes[40] = {0x00, 0x00, 0x04, [32] = 0x05};
    balloon_xen_pod_target target = {.target = 262144, .domain = 5};
    balloon_xen_pod_target found;
    unsigned char written[40];

    for (int layout = 0; layout < 2; layout++) {
        size_t size = layout == BALLOON_XEN_32 ? 36 : 40;

        memset(&found, 0xff, sizeof(found));
        cr_assert_eq(balloon_xen_read_pod_target(bytes, size, (balloon_xen_layout)layout, &found),
                     BALLOON_OK);
        cr_assert_eq(found.target, 262144);
        cr_assert_eq(found.total, 0);
        cr_assert_eq(found.cache, 0);
        cr_assert_eq(found.entries, 0);
        cr_assert_eq(found.domain, 5);
        memset(written, 0xc7, sizeof(written));
        cr_assert_eq(balloon_xen_write_pod_target(&target, (balloon_xen_layout)layout, written, 40),
                     size);
        cr_assert_eq(memcmp(written, bytes, size), 0);
    }
}

Test(golden_xen, x12_reservation_of_a_32_bit_guest)
{
    static const unsigned char bytes[] = {0x00, 0x00, 0x01, 0xc0, 0x03, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0xf0, 0x7f, 0x00, 0x00};
    balloon_xen_reservation reservation = {
        .list = 0xc0010000, .extents = 3, .domain = BALLOON_XEN_DOMAIN_SELF};

    check_reservation(bytes, sizeof(bytes), BALLOON_XEN_32, &reservation);
}

/* 512 single pages for one of 2 MiB. */
Test(golden_xen, exchange_in_both_layouts)
{
    static const unsigned char wide[72] = {
        0x00,        0x10,        [8] = 0x00,  0x02,        [24] = 0xf0, 0x7f,       [33] = 0x20,
        [40] = 0x01, [48] = 0x09, [52] = 0x20, [56] = 0xf0, 0x7f,        [64] = 0x07};
    static const unsigned char narrow[44] = {
        0x00,        0x10,        [4] = 0x00,  0x02,        [16] = 0xf0, 0x7f,       [21] = 0x20,
        [24] = 0x01, [28] = 0x09, [32] = 0x20, [36] = 0xf0, 0x7f,        [40] = 0x07};
    balloon_xen_exchange exchange = {
        .in = {.list = 0x1000, .extents = 512, .domain = BALLOON_XEN_DOMAIN_SELF},
        .out = {.list = 0x2000,
                .extents = 1,
                .order = 9,
                .flags = 32,
                .domain = BALLOON_XEN_DOMAIN_SELF},
        .exchanged = 7};

    for (int layout = 0; layout < 2; layout++) {
        const unsigned char *bytes = layout == BALLOON_XEN_32 ? narrow : wide;
        size_t size = layout == BALLOON_XEN_32 ? sizeof(narrow) : sizeof(wide);
        balloon_xen_exchange found;
        unsigned char written[72];

        cr_assert_eq(balloon_xen_read_exchange(bytes, size, (balloon_xen_layout)layout, &found),
                     BALLOON_OK);
        cr_assert_eq(found.in.list, 0x1000);
        cr_assert_eq(found.in.extents, 512);
        cr_assert_eq(found.out.list, 0x2000);
        cr_assert_eq(found.out.order, 9);
        cr_assert_eq(found.out.flags, 32);
        cr_assert_eq(found.exchanged, 7);
        cr_assert_eq(balloon_xen_check_exchange(&found, BALLOON_XEN_ORDER_GUEST), BALLOON_OK);
        memset(written, 0xc7, sizeof(written));
        cr_assert_eq(balloon_xen_write_exchange(&exchange, (balloon_xen_layout)layout, written, 72),
                     size);
        cr_assert_eq(memcmp(written, bytes, size), 0);
    }
}
