#include <criterion/criterion.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <balloon/hyperv.h>

#include "hyperv_sample.h"
#include "prng.h"
#include "restless.h"

/* Two messages are the same when they are written alike. The lists of a sample move with it. */
static void check_written(balloon_hyperv_message message, const struct hyperv_sample *sample,
                          uint64_t seed)
{
    unsigned char written[HYPERV_SAMPLE_BYTES];

    memset(written, 0xc7, sizeof(written));
    cr_assert_eq(balloon_hyperv_encode(&message, written, sizeof(written)), sample->count,
                 "seed %llu, type %d", (unsigned long long)seed, sample->message.type);
    cr_assert_eq(memcmp(written, sample->bytes, sample->count), 0, "seed %llu, type %d",
                 (unsigned long long)seed, sample->message.type);
    for (size_t i = sample->count; i < sizeof(written); i++)
        cr_assert_eq(written[i], 0xc7);
}

static void check_refused(const void *bytes, size_t count)
{
    balloon_hyperv_message message;
    balloon_hyperv_message untouched;

    memset(&message, 0xee, sizeof(message));
    memset(&untouched, 0xee, sizeof(untouched));
    cr_assert_eq(balloon_hyperv_decode(bytes, count, &message), BALLOON_ERR_PROTOCOL,
                 "%zu bytes were taken", count);
    cr_assert_eq(memcmp(&message, &untouched, sizeof(message)), 0);
}

static void check_read(const void *bytes, size_t count, const struct hyperv_sample *sample,
                       uint64_t seed)
{
    balloon_hyperv_message message;

    memset(&message, 0xee, sizeof(message));
    cr_assert_eq(balloon_hyperv_decode(bytes, count, &message), BALLOON_OK, "seed %llu, type %d",
                 (unsigned long long)seed, sample->message.type);
    cr_assert_eq(message.type, sample->message.type);
    cr_assert_eq(message.id, sample->message.id);
    check_written(message, sample, seed);
}

/* --- All kinds ------------------------------------------------------------------------------- */

Test(hyperv_codec, bytes_are_as_the_book_says_both_ways)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);

    for (int i = 0; i < 30000; i++) {
        struct hyperv_sample sample =
            hyperv_sample_make(&prng, (uint16_t)prng_below(&prng, BALLOON_HYPERV_TYPES));

        check_written(hyperv_sample_message(&sample), &sample, seed);
        check_read(sample.bytes, sample.count, &sample, seed);
    }
}

Test(hyperv_codec, what_is_cut_short_is_refused)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 1);

    check_refused(NULL, 0);
    for (int i = 0; i < 3000; i++) {
        struct hyperv_sample sample =
            hyperv_sample_make(&prng, (uint16_t)(i % BALLOON_HYPERV_TYPES));
        /* Nothing but the header is known of ERROR. */
        size_t least = sample.message.type == BALLOON_HYPERV_ERROR ? 8 : sample.count;

        for (size_t count = 0; count < least; count++)
            check_refused(sample.bytes, count);
    }
}

Test(hyperv_codec, what_follows_a_message_is_ignored)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 2);

    for (int i = 0; i < 3000; i++) {
        struct hyperv_sample sample =
            hyperv_sample_make(&prng, (uint16_t)(1 + i % (BALLOON_HYPERV_TYPES - 1)));
        struct hyperv_sample longer = sample;

        for (size_t k = sample.count; k < HYPERV_SAMPLE_BYTES; k++)
            longer.bytes[k] = (unsigned char)prng_next(&prng);
        check_read(longer.bytes, HYPERV_SAMPLE_BYTES, &sample, seed);
        check_read(longer.bytes, sample.count + 8, &sample, seed);
    }
}

Test(hyperv_codec, reserved_bits_are_ignored)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 3);

    for (uint16_t type = 0; type < BALLOON_HYPERV_TYPES; type++) {
        struct hyperv_sample sample = hyperv_sample_make(&prng, type);
        struct hyperv_sample noisy = sample;

        for (size_t bit = 0; bit < 8 * sizeof(sample.reserved); bit++) {
            if ((sample.reserved[bit / 8] >> bit % 8 & 1) == 0)
                continue;
            noisy.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            check_read(noisy.bytes, noisy.count, &sample, seed);
            if (prng_one_in(&prng, 2))
                noisy.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
    }
}

Test(hyperv_codec, the_length_in_the_header_does_not_count)
{
    static const unsigned lengths[] = {0, 1, 7, 8, 15, 17, 4096, 65535};
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 4);

    for (uint16_t type = 0; type < BALLOON_HYPERV_TYPES; type++) {
        struct hyperv_sample sample = hyperv_sample_make(&prng, type);
        struct hyperv_sample lying = sample;

        if (type == BALLOON_HYPERV_HOT_ADD_REQUEST)
            continue;
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            balloon_hyperv_message message;

            hyperv_put(lying.bytes + 2, 2, lengths[i]);
            check_read(lying.bytes, lying.count, &sample, seed);
            cr_assert_eq(balloon_hyperv_decode(lying.bytes, lying.count, &message), BALLOON_OK);
            cr_assert_eq(message.bytes, lengths[i]);
        }
    }
}

Test(hyperv_codec, the_length_in_the_header_tells_forms_of_hot_add)
{
    unsigned char bytes[24] = {10, 0, 16, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 3, 0, 0, 0, 0, 4};
    balloon_hyperv_message message;

    /* 16 is the short form, however long the packet is. */
    for (size_t size = 16; size <= 24; size += 8) {
        cr_assert_eq(balloon_hyperv_decode(bytes, size, &message), BALLOON_OK);
        cr_assert_not(message.body.hot_add.has_region);
        cr_assert_eq(message.body.hot_add.range.first, 1);
        cr_assert_eq(message.body.hot_add.range.count, 2);
        cr_assert_eq(message.body.hot_add.region.count, 0);
    }
    /* All else is the long form. */
    for (unsigned stated = 0; stated < 40; stated++) {
        if (stated == 16)
            continue;
        bytes[2] = (unsigned char)stated;
        cr_assert_eq(balloon_hyperv_decode(bytes, 24, &message), BALLOON_OK);
        cr_assert(message.body.hot_add.has_region);
        cr_assert_eq(message.body.hot_add.region.first, 3);
        cr_assert_eq(message.body.hot_add.region.count, 4);
        check_refused(bytes, 23);
        check_refused(bytes, 16);
    }
}

Test(hyperv_codec, kinds_without_a_name_are_refused)
{
    unsigned char bytes[64] = {0};
    balloon_hyperv_message message;

    memset(&message, 0, sizeof(message));
    for (unsigned type = BALLOON_HYPERV_TYPES; type <= UINT16_MAX; type++) {
        hyperv_put(bytes, 2, type);
        check_refused(bytes, sizeof(bytes));
        message.type = (uint16_t)type;
        cr_assert_eq(balloon_hyperv_encode(&message, bytes, sizeof(bytes)), SIZE_MAX);
    }
}

/* --- Counts ---------------------------------------------------------------------------------- */

Test(hyperv_codec, ranges_are_counted_against_the_bytes)
{
    static const uint32_t counts[] = {0,   1,    2,          509,        510,        511,
                                      512, 8189, 0x1fffffff, 0x20000000, 0x20000001, 0x7fffffff};
    static unsigned char bytes[4096 + 8];
    static const struct {
        uint16_t type;
        unsigned offset;
        unsigned limit;
    } kinds[] = {{BALLOON_HYPERV_BALLOON_RESPONSE, 16, BALLOON_HYPERV_RANGES_MAX},
                 {BALLOON_HYPERV_UNBALLOON_REQUEST, 16, BALLOON_HYPERV_RANGES_MAX},
                 {BALLOON_HYPERV_HOT_REMOVE_RESPONSE, 24, BALLOON_HYPERV_REMOVED_MAX}};

    for (size_t k = 0; k < 3; k++) {
        bool shifted = kinds[k].type == BALLOON_HYPERV_BALLOON_RESPONSE;
        balloon_hyperv_message message;

        hyperv_put(bytes, 2, kinds[k].type);
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            uint64_t needed = kinds[k].offset + (uint64_t)counts[i] * 8;

            hyperv_put(bytes + 12, 4, shifted ? counts[i] << 1 : counts[i]);
            if (needed <= sizeof(bytes)) {
                cr_assert_eq(balloon_hyperv_decode(bytes, (size_t)needed, &message), BALLOON_OK);
                check_refused(bytes, (size_t)needed - 1);
            } else {
                check_refused(bytes, sizeof(bytes));
            }
        }
        hyperv_put(bytes + 12, 4, shifted ? kinds[k].limit << 1 : kinds[k].limit);
        cr_assert_eq(balloon_hyperv_decode(bytes, BALLOON_HYPERV_MESSAGE_BYTES, &message),
                     BALLOON_OK);
        hyperv_put(bytes + 12, 4, shifted ? (kinds[k].limit + 1) << 1 : kinds[k].limit + 1);
        check_refused(bytes, BALLOON_HYPERV_MESSAGE_BYTES);
        if (!shifted) {
            hyperv_put(bytes + 12, 4, UINT32_MAX);
            check_refused(bytes, sizeof(bytes));
        }
    }
}

Test(hyperv_codec, data_of_info_are_counted_against_the_bytes)
{
    static const uint32_t big[] = {0x7fffffff, 0x80000000, 0xfffffff0, UINT32_MAX - 8, UINT32_MAX};
    unsigned char bytes[64] = {12};
    balloon_hyperv_message message;

    hyperv_put(bytes + 16, 4, 5);
    for (uint32_t data = 0; data <= 50; data++) {
        hyperv_put(bytes + 20, 4, data);
        for (uint32_t info = 0; info <= 60; info++) {
            hyperv_put(bytes + 12, 4, info);
            if (data <= 40 && info <= 48) {
                cr_assert_eq(balloon_hyperv_decode(bytes, sizeof(bytes), &message), BALLOON_OK);
                cr_assert_eq(message.body.info.data.bytes, data);
                cr_assert_eq(message.body.info.data.base, bytes + 24);
            } else {
                check_refused(bytes, sizeof(bytes));
            }
        }
    }
    for (size_t i = 0; i < sizeof(big) / sizeof(big[0]); i++) {
        hyperv_put(bytes + 12, 4, 8);
        hyperv_put(bytes + 20, 4, big[i]);
        check_refused(bytes, sizeof(bytes));
        hyperv_put(bytes + 12, 4, big[i]);
        hyperv_put(bytes + 20, 4, 0);
        check_refused(bytes, sizeof(bytes));
    }

    hyperv_put(bytes + 12, 4, 16);
    hyperv_put(bytes + 16, 4, BALLOON_HYPERV_INFO_MAX_PAGES);
    for (uint32_t data = 0; data <= 40; data++) {
        hyperv_put(bytes + 20, 4, data);
        if (data == 8)
            cr_assert_eq(balloon_hyperv_decode(bytes, 32, &message), BALLOON_OK);
        else
            check_refused(bytes, sizeof(bytes));
    }
}

/* --- Writing --------------------------------------------------------------------------------- */

Test(hyperv_codec, too_small_a_buffer_is_not_written)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 5);
    unsigned char untouched[HYPERV_SAMPLE_BYTES];

    memset(untouched, 0xc7, sizeof(untouched));
    for (int i = 0; i < 300; i++) {
        struct hyperv_sample sample =
            hyperv_sample_make(&prng, (uint16_t)(i % BALLOON_HYPERV_TYPES));
        balloon_hyperv_message message = hyperv_sample_message(&sample);
        unsigned char bytes[HYPERV_SAMPLE_BYTES];

        memset(bytes, 0xc7, sizeof(bytes));
        for (size_t room = 0; room < sample.count; room++)
            cr_assert_eq(balloon_hyperv_encode(&message, bytes, room), sample.count);
        cr_assert_eq(balloon_hyperv_encode(&message, NULL, 0), sample.count);
        cr_assert_eq(memcmp(bytes, untouched, sizeof(bytes)), 0);
    }
}

static size_t needed(const balloon_hyperv_message *message)
{
    return balloon_hyperv_encode(message, NULL, 0);
}

Test(hyperv_codec, what_no_message_can_hold_is_not_written)
{
    static unsigned char list[65536];
    balloon_hyperv_message message;

    memset(&message, 0, sizeof(message));
    message.type = BALLOON_HYPERV_CAPABILITIES_REPORT;
    message.body.capabilities.alignment = 15;
    cr_assert_eq(needed(&message), 32);
    message.body.capabilities.alignment = 16;
    cr_assert_eq(needed(&message), SIZE_MAX);

    memset(&message, 0, sizeof(message));
    message.type = BALLOON_HYPERV_HOT_ADD_REQUEST;
    message.body.hot_add.range = (balloon_range){BALLOON_HYPERV_PFN_LIMIT - 1, 0xffffff};
    message.body.hot_add.region = (balloon_range){BALLOON_HYPERV_PFN_LIMIT, 0x1000000};
    cr_assert_eq(needed(&message), 16);
    message.body.hot_add.has_region = true;
    cr_assert_eq(needed(&message), SIZE_MAX);
    message.body.hot_add.region.first--;
    cr_assert_eq(needed(&message), SIZE_MAX);
    message.body.hot_add.region.count--;
    cr_assert_eq(needed(&message), 24);
    message.body.hot_add.range.first++;
    cr_assert_eq(needed(&message), SIZE_MAX);
    message.body.hot_add.range = (balloon_range){0, 0x1000000};
    cr_assert_eq(needed(&message), SIZE_MAX);

    memset(&message, 0, sizeof(message));
    message.type = BALLOON_HYPERV_HOT_REMOVE_REQUEST;
    message.body.hot_remove.qos = 3;
    cr_assert_eq(needed(&message), 24);
    message.body.hot_remove.qos = 4;
    cr_assert_eq(needed(&message), SIZE_MAX);

    for (uint16_t type = 7; type <= 8; type++) {
        memset(&message, 0, sizeof(message));
        message.type = type;
        message.body.ranges = (balloon_hyperv_ranges){list, 8189, true};
        cr_assert_eq(needed(&message), 65528);
        message.body.ranges.count = 8190;
        cr_assert_eq(needed(&message), SIZE_MAX);
        message.body.ranges.count = 0x20000000;
        cr_assert_eq(needed(&message), SIZE_MAX);
        message.body.ranges.count = UINT32_MAX;
        cr_assert_eq(needed(&message), SIZE_MAX);
    }
    memset(&message, 0, sizeof(message));
    message.type = BALLOON_HYPERV_HOT_REMOVE_RESPONSE;
    message.body.hot_removed.ranges = (balloon_hyperv_ranges){list, 8188, true};
    cr_assert_eq(needed(&message), 65528);
    message.body.hot_removed.ranges.count = 8189;
    cr_assert_eq(needed(&message), SIZE_MAX);

    memset(&message, 0, sizeof(message));
    message.type = BALLOON_HYPERV_INFO;
    message.body.info.type = 1;
    message.body.info.data = (balloon_iov){list, 65535 - 24};
    cr_assert_eq(needed(&message), 65535);
    message.body.info.data.bytes++;
    cr_assert_eq(needed(&message), SIZE_MAX);
    message.body.info.data.bytes = SIZE_MAX;
    cr_assert_eq(needed(&message), SIZE_MAX);

    memset(&message, 0, sizeof(message));
    message.body.error = (balloon_iov){list, 65535 - 8};
    cr_assert_eq(needed(&message), 65535);
    message.body.error.bytes++;
    cr_assert_eq(needed(&message), SIZE_MAX);
}

Test(hyperv_codec, a_list_may_lie_in_the_buffer)
{
    static const uint16_t types[] = {BALLOON_HYPERV_BALLOON_RESPONSE,
                                     BALLOON_HYPERV_UNBALLOON_REQUEST,
                                     BALLOON_HYPERV_HOT_REMOVE_RESPONSE};
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 6);

    for (int i = 0; i < 1000; i++) {
        struct hyperv_sample sample = hyperv_sample_make(&prng, types[i % 3]);
        balloon_hyperv_message message = sample.message;
        unsigned char bytes[HYPERV_SAMPLE_BYTES];
        size_t at = (size_t)prng_below(&prng, 33);
        bool removed = types[i % 3] == BALLOON_HYPERV_HOT_REMOVE_RESPONSE;

        if (prng_one_in(&prng, 4))
            at = removed ? BALLOON_HYPERV_REMOVED_OFFSET : BALLOON_HYPERV_RANGES_OFFSET;
        memset(bytes, 0x55, sizeof(bytes));
        memcpy(bytes + at, sample.list, sizeof(sample.list));
        if (removed)
            message.body.hot_removed.ranges.packed = bytes + at;
        else
            message.body.ranges.packed = bytes + at;
        cr_assert_eq(balloon_hyperv_encode(&message, bytes, sizeof(bytes)), sample.count);
        cr_assert_eq(memcmp(bytes, sample.bytes, sample.count), 0, "seed %llu, list at %zu",
                     (unsigned long long)seed, at);
    }
}

/* --- Memory that is not ours ----------------------------------------------------------------- */

/* A page of memory between two that must not be touched. */
struct guarded {
    unsigned char *page;
    size_t bytes;
};

static struct guarded guard(void)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *pages = mmap(NULL, 3 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(pages, MAP_FAILED);
    cr_assert_eq(mprotect(pages + bytes, bytes, PROT_READ | PROT_WRITE), 0);
    return (struct guarded){pages + bytes, bytes};
}

/* Each message, whole and cut short, lies flush against a guard page, now before it and now behind
 * it, so one byte too many or too early ends the test by a signal. */
Test(hyperv_codec, nothing_outside_of_the_bytes_is_touched)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 7);
    struct guarded in = guard();
    struct guarded out = guard();

    for (int i = 0; i < 20000; i++) {
        struct hyperv_sample sample =
            hyperv_sample_make(&prng, (uint16_t)prng_below(&prng, BALLOON_HYPERV_TYPES));
        size_t count =
            prng_one_in(&prng, 2) ? sample.count : (size_t)prng_below(&prng, sample.count + 1);
        bool at_end = prng_one_in(&prng, 2);
        unsigned char *bytes = in.page + (at_end ? in.bytes - count : 0);
        unsigned char *written = out.page + (at_end ? out.bytes - sample.count : 0);
        balloon_hyperv_message message;

        /* Any bytes, but of a known type. */
        if (prng_one_in(&prng, 3)) {
            for (size_t k = 2; k < sample.count; k++)
                sample.bytes[k] = (unsigned char)prng_next(&prng);
        }
        memcpy(bytes, sample.bytes, count);
        if (balloon_hyperv_decode(bytes, count, &message) != BALLOON_OK)
            continue;
        (void)balloon_hyperv_encode(&message, written, sample.count);
        if (message.type == BALLOON_HYPERV_BALLOON_RESPONSE) {
            balloon_range ranges[HYPERV_SAMPLE_RANGES];

            cr_assert_leq(16 + (uint64_t)message.body.ranges.count * 8, count);
            cr_assert_eq(
                balloon_hyperv_read_ranges(&message.body.ranges, 0, ranges, HYPERV_SAMPLE_RANGES),
                message.body.ranges.count);
        }
    }
}

/* The number of ranges turns from one that fits into one that does not, or back. */
static void turn_count(unsigned char *page)
{
    page[15] ^= 0x40;
}

/* The number is good and used, or bad and refused, and never good first and bad later. */
Test(hyperv_codec, a_message_that_changes_while_it_is_read)
{
    unsigned char *page = restless_page();
    int taken = 0;

    for (int i = 0; i < 4; i++) {
        balloon_hyperv_message message;
        balloon_range ranges[4];
        balloon_status status;
        size_t looks;

        memset(page, 0, 32);
        page[0] = i < 2 ? 7 : 8;
        page[12] = i < 2 ? 4 : 2;
        page[15] = i % 2 == 0 ? 0 : 0x40;
        restless_start(turn_count);
        status = balloon_hyperv_decode(page, 32, &message);
        looks = restless_stop();
        cr_assert_gt(looks, 0);
        cr_assert_leq(looks, 16, "looked %zu times at 16 bytes", looks);
        if (status == BALLOON_OK) {
            taken++;
            cr_assert_eq(message.body.ranges.count, 2);
            cr_assert_eq(balloon_hyperv_read_ranges(&message.body.ranges, 0, ranges, 4), 2);
        }
    }
    cr_assert(taken > 0 && taken < 4, "%d of 4", taken);
}
