/* Bytes of Hyper-V Dynamic Memory, and what they mean: each is read, and written again from a
 * message that is made by hand. */
#include <criterion/criterion.h>

#include <string.h>

#include <balloon/hyperv.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Bytes in hexadecimal, with spaces anywhere between them. */
struct bytes {
    unsigned char at[64];
    size_t count;
};

static struct bytes parse(const char *text)
{
    static const char digits[] = "0123456789abcdef";
    struct bytes bytes = {{0}, 0};

    for (; *text != '\0'; text++) {
        if (*text == ' ')
            continue;
        bytes.at[bytes.count++] = (unsigned char)((strchr(digits, text[0]) - digits) * 16 +
                                                  (strchr(digits, text[1]) - digits));
        text++;
    }
    return bytes;
}

static balloon_hyperv_message read_message(const struct bytes *bytes, balloon_hyperv_type type,
                                           uint32_t id)
{
    balloon_hyperv_message message;

    memset(&message, 0xee, sizeof(message));
    cr_assert_eq(balloon_hyperv_decode(bytes->at, bytes->count, &message), BALLOON_OK);
    cr_assert_eq(message.type, type);
    cr_assert_eq(message.bytes, bytes->count);
    cr_assert_eq(message.id, id);
    return message;
}

static void check_written(const balloon_hyperv_message *message, const struct bytes *expected)
{
    unsigned char written[64];

    memset(written, 0xee, sizeof(written));
    cr_assert_eq(balloon_hyperv_encode(message, written, expected->count), expected->count);
    cr_assert_eq(memcmp(written, expected->at, expected->count), 0);
}

static void check_ranges(const balloon_hyperv_ranges *list, bool more,
                         const balloon_range *expected, size_t count)
{
    balloon_range ranges[8];

    cr_assert_eq(list->more, more);
    cr_assert_eq(list->count, count);
    cr_assert_eq(balloon_hyperv_read_ranges(list, 0, ranges, COUNT_OF(ranges)), count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(ranges[i].first, expected[i].first);
        cr_assert_eq(ranges[i].count, expected[i].count);
    }
}

/* Packs ranges that do not touch each other. */
static balloon_hyperv_ranges packed_list(const balloon_range *ranges, size_t count, bool more,
                                         unsigned char *packed)
{
    balloon_hyperv_ranges list = {packed, 0, more};

    for (size_t i = 0; i < count; i++) {
        balloon_range range = ranges[i];

        cr_assert_eq(balloon_hyperv_pack(&range, packed, &list.count, (uint32_t)count), BALLOON_OK);
    }
    cr_assert_eq(list.count, count);
    return list;
}

static void check_version_request(const char *text, uint32_t id, uint32_t version, bool last)
{
    struct bytes bytes = parse(text);
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_VERSION_REQUEST, id);
    balloon_hyperv_message made = {.type = BALLOON_HYPERV_VERSION_REQUEST,
                                   .id = id,
                                   .body.version = {.version = version, .last = last}};

    cr_assert_eq(message.body.version.version, version);
    cr_assert_eq(message.body.version.last, last);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_01_version_2_0)
{
    check_version_request("01001000 01000000 00000200 00000000", 1, BALLOON_HYPERV_VERSION_2_0,
                          false);
}

Test(golden_hyperv, vector_02_version_accepted)
{
    struct bytes bytes = parse("02001000 01000000 01000000 00000000");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_VERSION_RESPONSE, 1);
    balloon_hyperv_message made = {
        .type = BALLOON_HYPERV_VERSION_RESPONSE, .id = 1, .body.answer.accepted = true};

    cr_assert(message.body.answer.accepted);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_03_version_0_3_as_the_last_offer)
{
    check_version_request("01001000 03000000 03000000 01000000", 3, BALLOON_HYPERV_VERSION_0_3,
                          true);
}

Test(golden_hyperv, vector_04_capabilities_of_a_linux_guest)
{
    struct bytes bytes =
        parse("03002000 02000000 1f000000 00000000 00000000 00000000 ffffffff ffffffff");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_CAPABILITIES_REPORT, 2);
    balloon_hyperv_message made = {
        .type = BALLOON_HYPERV_CAPABILITIES_REPORT,
        .id = 2,
        .body.capabilities = {
            .balloon = true, .hot_add = true, .alignment = 7, .max_page = UINT64_MAX}};

    cr_assert(message.body.capabilities.balloon);
    cr_assert(message.body.capabilities.hot_add);
    cr_assert_not(message.body.capabilities.hot_remove);
    cr_assert_eq(message.body.capabilities.alignment, 7);
    cr_assert_eq(balloon_hyperv_alignment_pages(&message.body.capabilities),
                 (128 << 20) / BALLOON_PAGE_SIZE);
    cr_assert_eq(message.body.capabilities.min_pages, 0);
    cr_assert_eq(message.body.capabilities.max_page, UINT64_MAX);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_05_capabilities_accepted)
{
    struct bytes bytes = parse("04001000 02000000 07000000 00000000");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_CAPABILITIES_RESPONSE, 2);
    balloon_hyperv_message made = {
        .type = BALLOON_HYPERV_CAPABILITIES_RESPONSE,
        .id = 2,
        .body.answer = {.accepted = true, .hot_remove = true, .suppress_reports = true}};

    cr_assert(message.body.answer.accepted);
    cr_assert(message.body.answer.hot_remove);
    cr_assert(message.body.answer.suppress_reports);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_06_status)
{
    struct bytes bytes = parse("05003000 03000000 00000400 00000000 00000c00 00000000"
                               "00000000 00000000 00000000 00000000 00000000 00000000");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_STATUS_REPORT, 3);
    balloon_hyperv_message made = {.type = BALLOON_HYPERV_STATUS_REPORT,
                                   .id = 3,
                                   .body.status = {.available = 262144, .committed = 786432}};

    cr_assert_eq(message.body.status.available, 262144);
    cr_assert_eq(message.body.status.committed, 786432);
    cr_assert_eq(message.body.status.page_file, 0);
    cr_assert_eq(message.body.status.zero_free, 0);
    cr_assert_eq(message.body.status.page_file_writes, 0);
    cr_assert_eq(message.body.status.io_diff, 0);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_07_balloon_request)
{
    struct bytes bytes = parse("06001000 00000000 00000400 00000000");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_BALLOON_REQUEST, 0);
    balloon_hyperv_message made = {.type = BALLOON_HYPERV_BALLOON_REQUEST, .body.pages = 262144};

    cr_assert_eq(message.body.pages, 262144);
    check_written(&made, &bytes);
}

static void check_pages(const char *text, balloon_hyperv_type type, uint32_t id, bool more,
                        const balloon_range *ranges, size_t count)
{
    unsigned char packed[64];
    struct bytes bytes = parse(text);
    balloon_hyperv_message message = read_message(&bytes, type, id);
    balloon_hyperv_message made = {
        .type = (uint16_t)type, .id = id, .body.ranges = packed_list(ranges, count, more, packed)};

    check_ranges(&message.body.ranges, more, ranges, count);
    check_written(&made, &bytes);
    check_written(&message, &bytes);
}

Test(golden_hyperv, vector_08_balloon_response_with_more_to_come)
{
    static const balloon_range ranges[] = {{0x12200, 512}, {0x80000, 512}};

    check_pages("07002000 04000000 00000000 05000000 00220100 00000200 00000800 00000200",
                BALLOON_HYPERV_BALLOON_RESPONSE, 4, true, ranges, COUNT_OF(ranges));
}

Test(golden_hyperv, vector_09_balloon_response_without_pages)
{
    check_pages("07001000 05000000 00000000 00000000", BALLOON_HYPERV_BALLOON_RESPONSE, 5, false,
                NULL, 0);
}

Test(golden_hyperv, vector_10_unballoon_request_with_more_to_come)
{
    static const balloon_range ranges[] = {{0x80000, 512}};

    check_pages("08001800 01000000 01000000 01000000 00000800 00000200",
                BALLOON_HYPERV_UNBALLOON_REQUEST, 1, true, ranges, COUNT_OF(ranges));
}

Test(golden_hyperv, vector_11_last_unballoon_request)
{
    static const balloon_range ranges[] = {{0x12200, 256}, {0x12340, 1}};

    check_pages("08002000 01000000 00000000 02000000 00220100 00000100 40230100 00010000",
                BALLOON_HYPERV_UNBALLOON_REQUEST, 1, false, ranges, COUNT_OF(ranges));
}

Test(golden_hyperv, vector_12_unballoon_response)
{
    struct bytes bytes = parse("09000800 06000000");
    balloon_hyperv_message made = {.type = BALLOON_HYPERV_UNBALLOON_RESPONSE, .id = 6};

    read_message(&bytes, BALLOON_HYPERV_UNBALLOON_RESPONSE, 6);
    check_written(&made, &bytes);
}

static void check_hot_add(const char *text, bool has_region)
{
    struct bytes bytes = parse(text);
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_HOT_ADD_REQUEST, 2);
    balloon_hyperv_message made = {
        .type = BALLOON_HYPERV_HOT_ADD_REQUEST,
        .id = 2,
        .body.hot_add = {.range = {0x100000, 32768}, .has_region = has_region}};

    cr_assert_eq(message.body.hot_add.range.first, 0x100000);
    cr_assert_eq(message.body.hot_add.range.count, 32768);
    cr_assert_eq(message.body.hot_add.has_region, has_region);
    cr_assert(balloon_hyperv_hot_add_valid(&message.body.hot_add));
    if (has_region) {
        cr_assert_eq(message.body.hot_add.region.first, 0x100000);
        cr_assert_eq(message.body.hot_add.region.count, 32768);
        made.body.hot_add.region = made.body.hot_add.range;
    }
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_13_hot_add)
{
    check_hot_add("0a001000 02000000 00001000 00008000", false);
}

Test(golden_hyperv, vector_14_hot_add_with_a_region)
{
    check_hot_add("0a001800 02000000 00001000 00008000 00001000 00008000", true);
}

static void check_hot_added(const char *text, uint32_t id, uint32_t pages,
                            balloon_hyperv_outcome outcome)
{
    struct bytes bytes = parse(text);
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_HOT_ADD_RESPONSE, id);
    balloon_hyperv_message made = {.type = BALLOON_HYPERV_HOT_ADD_RESPONSE,
                                   .id = id,
                                   .body.hot_added = {.pages = pages, .result = 1}};
    uint32_t added = 99;

    cr_assert_eq(message.body.hot_added.pages, pages);
    cr_assert_eq(message.body.hot_added.result, 1);
    cr_assert_eq(balloon_hyperv_hot_add_result(&message.body.hot_added, 32768, &added), outcome);
    cr_assert_eq(added, pages);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_15_all_was_added)
{
    check_hot_added("0b001000 07000000 00800000 01000000", 7, 32768, BALLOON_HYPERV_ADDED);
}

Test(golden_hyperv, vector_16_nothing_will_ever_be_added)
{
    check_hot_added("0b001000 08000000 00000000 01000000", 8, 0, BALLOON_HYPERV_NEVER);
}

Test(golden_hyperv, vector_17_information)
{
    struct bytes bytes =
        parse("0c002000 00000000 00000000 10000000 00000000 08000000 00000800 00000000");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_INFO, 0);
    balloon_hyperv_message made = {
        .type = BALLOON_HYPERV_INFO,
        .body.info = {.type = BALLOON_HYPERV_INFO_MAX_PAGES, .max_pages = 524288}};

    cr_assert_eq(message.body.info.type, BALLOON_HYPERV_INFO_MAX_PAGES);
    cr_assert_eq(message.body.info.max_pages, 524288);
    cr_assert_eq(message.body.info.data.bytes, 0);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_18_hot_remove)
{
    struct bytes bytes = parse("0d001800 03000000 00000000 00800000 01000000 00000000");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_HOT_REMOVE_REQUEST, 3);
    balloon_hyperv_message made = {
        .type = BALLOON_HYPERV_HOT_REMOVE_REQUEST,
        .id = 3,
        .body.hot_remove = {.pages = 32768, .qos = BALLOON_HYPERV_QOS_LARGE}};

    cr_assert_eq(message.body.hot_remove.node, 0);
    cr_assert_eq(message.body.hot_remove.pages, 32768);
    cr_assert_eq(message.body.hot_remove.qos, BALLOON_HYPERV_QOS_LARGE);
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_19_hot_removed)
{
    static const balloon_range ranges[] = {{0x200000, 32768}};
    unsigned char packed[8];
    struct bytes bytes =
        parse("0e002000 09000000 01000000 01000000 00000000 00000000 00002000 00008000");
    balloon_hyperv_message message = read_message(&bytes, BALLOON_HYPERV_HOT_REMOVE_RESPONSE, 9);
    balloon_hyperv_message made = {
        .type = BALLOON_HYPERV_HOT_REMOVE_RESPONSE,
        .id = 9,
        .body.hot_removed = {.result = 1, .ranges = packed_list(ranges, 1, false, packed)}};

    cr_assert_eq(message.body.hot_removed.result, 1);
    check_ranges(&message.body.hot_removed.ranges, false, ranges, COUNT_OF(ranges));
    check_written(&made, &bytes);
}

Test(golden_hyperv, vector_20_more_ranges_than_there_are_bytes)
{
    struct bytes bytes = parse("07001800 0a000000 00000000 feffffff 01000000 00010000");
    balloon_hyperv_message message;
    balloon_hyperv_message untouched;
    balloon_hyperv_message made = {.type = BALLOON_HYPERV_BALLOON_RESPONSE,
                                   .body.ranges = {bytes.at + 16, 0x7fffffff, false}};

    memset(&message, 0xee, sizeof(message));
    memset(&untouched, 0xee, sizeof(untouched));
    cr_assert_eq(balloon_hyperv_decode(bytes.at, bytes.count, &message), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(memcmp(&message, &untouched, sizeof(message)), 0);
    cr_assert_eq(balloon_hyperv_encode(&made, bytes.at, sizeof(bytes.at)), SIZE_MAX);
}

Test(golden_hyperv, vector_21_heat_hint)
{
    static const balloon_range expected[] = {{0x12200, 1024}, {0x54321, 16}};
    struct bytes bytes = parse("02000000 00000000 01082012 00000000 0f103254 00000000");
    unsigned char written[24];
    unsigned char packed[16];
    balloon_hyperv_hint hint;
    balloon_hyperv_hint made = {BALLOON_HYPERV_HEAT_DISCARD, packed, 0};

    cr_assert_eq(balloon_hyperv_decode_hint(bytes.at, bytes.count, 2, &hint), BALLOON_OK);
    cr_assert_eq(hint.heat, BALLOON_HYPERV_HEAT_DISCARD);
    cr_assert_eq(hint.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        balloon_range range;

        cr_assert_eq(balloon_hyperv_read_hint_range(&hint, i, &range), BALLOON_OK);
        cr_assert_eq(range.first, expected[i].first);
        cr_assert_eq(range.count, expected[i].count);
        cr_assert_eq(balloon_hyperv_pack_hint(&range, packed, &made.count, 2), BALLOON_OK);
    }
    cr_assert_eq(balloon_hyperv_encode_hint(&made, written, sizeof(written)), bytes.count);
    cr_assert_eq(memcmp(written, bytes.at, bytes.count), 0);
}
