/* The Hyper-V codec on bytes of a peer: what was read can be written and is then read the same,
 * lists that were unpacked can be packed again, errors touch nothing, and neither does anything
 * outside of the bytes (which are an allocation of their own, for the address sanitizer to watch).
 *
 * Input: 0 and a message, or else the number of ranges and the input of a heat hint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/hyperv.h>

#define MAX_BYTES  (BALLOON_HYPERV_WIRE_BYTES_MAX + 64)
#define MAX_RANGES (MAX_BYTES / BALLOON_HYPERV_RANGE_BYTES)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Packs all ranges and reads them again: the same pages, in the same order. */
static void check_list(const balloon_hyperv_ranges *list, const uint8_t *bytes, size_t size)
{
    static balloon_range ranges[MAX_RANGES];
    static uint8_t packed[MAX_RANGES * BALLOON_HYPERV_RANGE_BYTES];
    balloon_hyperv_ranges again = {packed, 0, false};
    size_t next = 0;
    uint64_t used = 0;

    CHECK((const uint8_t *)list->packed >= bytes && list->count <= size / 8);
    CHECK((size_t)((const uint8_t *)list->packed - bytes) + (size_t)list->count * 8 <= size);
    CHECK(balloon_hyperv_read_ranges(list, 0, ranges, MAX_RANGES) == list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        balloon_range range = ranges[i];
        balloon_status status = balloon_hyperv_pack(&range, packed, &again.count, MAX_RANGES);
        bool nameable = range.first + range.count <= BALLOON_HYPERV_PFN_LIMIT;

        if (nameable || ranges[i].count == 0)
            CHECK(status == BALLOON_OK && range.count == 0);
        else
            CHECK(status == BALLOON_ERR_RANGE && range.count == ranges[i].count);
        if (status != BALLOON_OK)
            ranges[i].count = 0;
    }
    for (uint32_t i = 0; i < again.count; i++) {
        balloon_range range;

        CHECK(balloon_hyperv_read_ranges(&again, i, &range, 1) == 1 && range.count > 0);
        while (range.count > 0) {
            CHECK(next < list->count);
            if (used == ranges[next].count) {
                next++;
                used = 0;
                continue;
            }
            CHECK(range.first == ranges[next].first + used);
            uint64_t part = ranges[next].count - used;

            part = part < range.count ? part : range.count;
            range.first += part;
            range.count -= part;
            used += part;
        }
    }
    for (; next < list->count; next++, used = 0)
        CHECK(used == ranges[next].count);
}

static void check_message(const uint8_t *bytes, size_t size)
{
    static uint8_t written[MAX_BYTES];
    static uint8_t again[MAX_BYTES];
    balloon_hyperv_message message;
    balloon_hyperv_message untouched;
    size_t needed;

    memset(&message, 0xee, sizeof(message));
    memset(&untouched, 0xee, sizeof(untouched));
    if (balloon_hyperv_decode(bytes, size, &message) != BALLOON_OK) {
        CHECK(memcmp(&message, &untouched, sizeof(message)) == 0);
        return;
    }
    CHECK(message.type < BALLOON_HYPERV_TYPES);
    if (message.type == BALLOON_HYPERV_BALLOON_RESPONSE ||
        message.type == BALLOON_HYPERV_UNBALLOON_REQUEST)
        check_list(&message.body.ranges, bytes, size);
    else if (message.type == BALLOON_HYPERV_HOT_REMOVE_RESPONSE)
        check_list(&message.body.hot_removed.ranges, bytes, size);
    else if (message.type == BALLOON_HYPERV_HOT_ADD_REQUEST)
        (void)balloon_hyperv_hot_add_valid(&message.body.hot_add);

    needed = balloon_hyperv_encode(&message, written, sizeof(written));
    if (needed == SIZE_MAX) { /* More than a header can state, which is no one's packet. */
        CHECK(size > BALLOON_HYPERV_WIRE_BYTES_MAX);
        return;
    }
    CHECK(needed <= size);
    CHECK(balloon_hyperv_decode(written, needed, &message) == BALLOON_OK);
    CHECK(message.bytes == needed);
    CHECK(balloon_hyperv_encode(&message, again, needed) == needed);
    CHECK(memcmp(written, again, needed) == 0);
}

static void check_hint(const uint8_t *bytes, size_t size, uint32_t count)
{
    static uint8_t written[BALLOON_HYPERV_HINT_BYTES];
    balloon_hyperv_hint hint;

    if (balloon_hyperv_decode_hint(bytes, size, count, &hint) != BALLOON_OK)
        return;
    CHECK(hint.count == count && 8 + (size_t)count * 8 <= size);
    for (uint32_t i = 0; i < count; i++) {
        balloon_range range = {77, 88};
        uint8_t packed[8 * 4];
        uint32_t words = 0;

        if (balloon_hyperv_read_hint_range(&hint, i, &range) != BALLOON_OK) {
            CHECK(range.first == 77 && range.count == 88);
            continue;
        }
        CHECK(range.count > 0 && range.count <= (uint64_t)2048 << 18);
        if (balloon_hyperv_pack_hint(&range, packed, &words, 4) == BALLOON_OK)
            CHECK(range.count == 0 && words > 0);
    }
    CHECK(balloon_hyperv_encode_hint(&hint, written, sizeof(written)) == 8 + (size_t)count * 8);
    CHECK(memcmp(written, bytes, 8 + (size_t)count * 8) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0 || size - 1 > MAX_BYTES)
        return 0;
    copy = malloc(size - 1);
    CHECK(copy != NULL || size == 1);
    if (size > 1)
        memcpy(copy, data + 1, size - 1);
    if (data[0] == 0)
        check_message(copy, size - 1);
    else
        check_hint(copy, size - 1, data[0]);
    free(copy);
    return 0;
}
