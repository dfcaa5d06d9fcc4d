/* What numbers mean, and how they are written. */
#include <criterion/criterion.h>

#include <string.h>

#include "prng.h"
#include "virtio_codec_support.h"

/* --- Windows ---------------------------------------------------------------------------------- */

/* Ten records as Windows' driver sends them. */
static balloon_sample read_ten(const uint64_t *tags, const uint64_t *values)
{
    unsigned char bytes[100];
    balloon_iov iov = {bytes, sizeof(bytes)};
    balloon_virtio_reader reader;
    balloon_sample sample;

    for (size_t i = 0; i < 10; i++) {
        for (size_t j = 0; j < 10; j++)
            bytes[10 * i + j] =
                (unsigned char)(j < 2 ? tags[i] >> 8 * j : values[i] >> 8 * (j - 2));
    }
    balloon_virtio_reader_init(&reader, &iov, 1, sizeof(bytes), BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_stats(&reader, &sample), 10);
    return sample;
}

static const uint64_t in_order[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
static const uint64_t windows_values[10] = {4096, 8192, 3, 4, 1 << 20, 1 << 30, 1 << 20, 7, 0, 0};

/* WMI gives nothing: -1, times 4096 where it would have been pages. */
Test(virtio_codec, a_failed_query_of_windows_is_no_value)
{
    static const uint64_t failures[] = {UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 63};

    for (size_t f = 0; f < sizeof(failures) / sizeof(*failures); f++) {
        for (size_t i = 0; i < 10; i++) {
            uint64_t values[10];
            balloon_sample sample;

            memcpy(values, windows_values, sizeof(values));
            values[i] = failures[f];
            sample = read_ten(in_order, values);
            cr_assert_not(balloon_sample_get(&sample, (balloon_stat)i, NULL));
            cr_assert_eq(sample.value[i], 0);
            cr_assert_eq(sample.ignored, 1);
            cr_assert_eq(sample.present & 0x3ff, 0x3ffu & ~(1u << i));
            values[i] = (UINT64_C(1) << 63) - 1;
            sample = read_ten(in_order, values);
            cr_assert_eq(sample.value[i], values[i]);
        }
    }
}

Test(virtio_codec, swap_in_of_windows_is_marked)
{
    static const uint64_t linux_6_1[10] = {0, 1, 2, 3, 8, 9, 4, 5, 6, 7};
    uint64_t values[10], tags[10], filled[10];
    balloon_sample sample = read_ten(in_order, windows_values);
    unsigned char bytes[160];

    cr_assert_eq(sample.present, 0x3ff | BALLOON_SAMPLE_READS);
    cr_assert_not(balloon_sample_get(&sample, (balloon_stat)31, NULL));
    cr_assert_eq(read_ten(linux_6_1, windows_values).present, 0x3ff);
    memcpy(values, windows_values, sizeof(values));
    values[9] = 1; /* Windows has none such. */
    cr_assert_eq(read_ten(in_order, values).present, 0x3ff);
    memcpy(tags, in_order, sizeof(tags));
    tags[9] = 10;
    cr_assert_eq(read_ten(tags, windows_values).present, 0x5ff);

    /* Some queries have not come back yet. */
    memcpy(filled, windows_values, sizeof(filled));
    for (size_t i = 6; i < 10; i++) {
        tags[i] = 0xffff;
        filled[i] = UINT64_MAX;
    }
    cr_assert_eq(read_ten(tags, filled).present, 0x3f | BALLOON_SAMPLE_READS);
    /* The first buffer of all. */
    for (size_t i = 0; i < 10; i++) {
        tags[i] = 0xffff;
        filled[i] = UINT64_MAX;
    }
    cr_assert_eq(read_ten(tags, filled).present, 0);

    /* A driver of ours is not taken for one. */
    sample.present = 0x3ff;
    cr_assert_eq(balloon_virtio_write_stats(&sample, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes)),
                 100);
    balloon_iov iov = {bytes, 100};
    balloon_virtio_reader reader;
    balloon_virtio_reader_init(&reader, &iov, 1, 100, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_stats(&reader, &sample), 10);
    cr_assert_eq(sample.present, 0x3ff);
}

Test(virtio_codec, a_maximum_beyond_any_array_is_no_overflow)
{
    unsigned char bytes[16] = {1};
    balloon_iov iov = {bytes, sizeof(bytes)};
    balloon_virtio_working_set set;
    balloon_virtio_reader reader;
    balloon_pfn_t pfns64[2];
    uint32_t pfns[4];

    balloon_virtio_reader_init(&reader, &iov, 1, 100, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_pfns(&reader, pfns, SIZE_MAX), 4);
    balloon_virtio_reader_init(&reader, &iov, 1, 100, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_pfns(&reader, pfns, SIZE_MAX / 4 + 1), 4);
    balloon_virtio_reader_init(&reader, &iov, 1, 100, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_pfns64(&reader, pfns64, SIZE_MAX / 8 + 1), 2);
    balloon_virtio_reader_init(&reader, &iov, 1, 100, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_working_sets(&reader, &set, SIZE_MAX), 0);
    cr_assert_eq(balloon_virtio_reader_left(&reader), 16);
}

/* --- Values ---------------------------------------------------------------------------------- */

Test(virtio_codec, page_numbers_keep_all_their_bits)
{
    static const uint32_t edges[] = {0, 1, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
    static const uint64_t edges64[] = {0,          0x7fffffff,  0x80000000,
                                       0xffffffff, 0x100000000, UINT64_MAX};

    for (int endian = 0; endian < 2; endian++) {
        for (size_t i = 0; i < 6; i++) {
            unsigned char bytes[8];
            balloon_iov iov = {bytes, 4};
            balloon_virtio_reader reader;
            balloon_pfn_t pfn64;
            uint32_t pfn;

            for (size_t k = 0; k < 4; k++)
                bytes[endian ? 3 - k : k] = (unsigned char)(edges[i] >> 8 * k);
            balloon_virtio_reader_init(&reader, &iov, 1, 8, (balloon_endian)endian);
            cr_assert_eq(balloon_virtio_read_pfns(&reader, &pfn, 1), 1);
            cr_assert_eq((uint64_t)pfn << BALLOON_PAGE_SHIFT, (uint64_t)edges[i] * 4096);

            for (size_t k = 0; k < 8; k++)
                bytes[endian ? 7 - k : k] = (unsigned char)(edges64[i] >> 8 * k);
            iov.bytes = 8;
            balloon_virtio_reader_init(&reader, &iov, 1, 8, (balloon_endian)endian);
            cr_assert_eq(balloon_virtio_read_pfns64(&reader, &pfn64, 1), 1);
            cr_assert_eq(pfn64, edges64[i]);
        }
    }
}

Test(virtio_codec, of_two_records_with_one_tag_the_last_wins)
{
    unsigned char bytes[30] = {4, 0, 1, [10] = 5, 0, 2, [20] = 4, 0, 3};
    balloon_iov iov = {bytes, sizeof(bytes)};
    balloon_virtio_reader reader;
    balloon_sample sample;

    balloon_virtio_reader_init(&reader, &iov, 1, 100, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_stats(&reader, &sample), 3);
    cr_assert_eq(sample.present, 1u << BALLOON_STAT_FREE | 1u << BALLOON_STAT_TOTAL);
    cr_assert_eq(sample.value[BALLOON_STAT_FREE], 3);
    cr_assert_eq(sample.value[BALLOON_STAT_TOTAL], 2);
}

Test(virtio_codec, nothing_of_an_older_sample_remains)
{
    balloon_virtio_reader reader;
    balloon_sample sample;
    balloon_sample zero;

    memset(&sample, 0xff, sizeof(sample));
    memset(&zero, 0, sizeof(zero));
    balloon_virtio_reader_init(&reader, NULL, 0, 100, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_stats(&reader, &sample), 0);
    cr_assert_eq(memcmp(&sample, &zero, sizeof(sample)), 0);
}

/* --- Writing --------------------------------------------------------------------------------- */

/* Where Linux has a tag. */
static int place_of(uint64_t tag)
{
    static const int places[16] = {0, 1, 2, 3, 12, 13, 14, 15, 10, 11, 4, 5, 6, 7, 8, 9};

    cr_assert_lt(tag, 16);
    return places[tag];
}

Test(virtio_codec, what_is_written_is_read_again)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 4);

    for (int i = 0; i < 20000; i++) {
        balloon_endian endian = (balloon_endian)prng_below(&prng, 2);
        unsigned char bytes[16 * 10 + 1];
        uint32_t pfns[40];
        uint32_t again[40];
        size_t count = (size_t)prng_below(&prng, 41);
        balloon_sample sample = {0};
        balloon_sample back;
        uint32_t id = (uint32_t)prng_next(&prng);
        uint32_t id_back = 0;
        size_t needed;
        balloon_iov iov = {bytes, 0};
        balloon_virtio_reader reader;

        for (size_t k = 0; k < count; k++)
            pfns[k] = (uint32_t)prng_next(&prng);
        iov.bytes = balloon_virtio_write_pfns(pfns, count, endian, bytes, sizeof(bytes));
        cr_assert_eq(iov.bytes, count * 4);
        balloon_virtio_reader_init(&reader, &iov, 1, iov.bytes, endian);
        cr_assert_eq(balloon_virtio_read_pfns(&reader, again, 40), count);
        cr_assert_eq(memcmp(pfns, again, count * 4), 0, "seed %llu, case %d",
                     (unsigned long long)seed, i);
        for (size_t k = 0; k < count; k++)
            cr_assert_eq(number(bytes + k * 4, 4, endian), pfns[k]);

        for (int tag = 0; tag < BALLOON_VIRTIO_STAT_TAGS; tag++) {
            if (prng_one_in(&prng, 2))
                balloon_sample_set(&sample, (balloon_stat)tag, prng_next(&prng) >> 1);
        }
        needed = balloon_virtio_write_stats(&sample, endian, bytes, sizeof(bytes));
        iov.bytes = needed;
        balloon_virtio_reader_init(&reader, &iov, 1, needed, endian);
        cr_assert_eq(balloon_virtio_read_stats(&reader, &back), needed / 10);
        cr_assert_eq(memcmp(&sample, &back, sizeof(sample)), 0, "seed %llu, case %d",
                     (unsigned long long)seed, i);
        for (size_t k = 10; k < needed; k += 10)
            cr_assert_lt(place_of(number(bytes + k - 10, 2, endian)),
                         place_of(number(bytes + k, 2, endian)));

        iov.bytes = balloon_virtio_write_hint(id, endian, bytes, sizeof(bytes));
        cr_assert_eq(iov.bytes, 4);
        balloon_virtio_reader_init(&reader, &iov, 1, 100, endian);
        cr_assert_eq(balloon_virtio_read_hint(&reader, &id_back), BALLOON_OK);
        cr_assert_eq(id, id_back, "seed %llu, case %d", (unsigned long long)seed, i);
    }
}

Test(virtio_codec, too_small_a_buffer_is_not_written)
{
    uint32_t pfns[5] = {1, 2, 3, 4, 5};
    balloon_sample sample = {0};
    unsigned char bytes[40];
    unsigned char untouched[40];

    memset(bytes, 0xc7, sizeof(bytes));
    memset(untouched, 0xc7, sizeof(untouched));
    balloon_sample_set(&sample, BALLOON_STAT_FREE, 1);
    balloon_sample_set(&sample, BALLOON_STAT_CACHES, 2);
    for (int endian = 0; endian < 2; endian++) {
        for (size_t room = 0; room < 20; room++) {
            cr_assert_eq(balloon_virtio_write_pfns(pfns, 5, (balloon_endian)endian, bytes, room),
                         20);
            cr_assert_eq(balloon_virtio_write_stats(&sample, (balloon_endian)endian, bytes, room),
                         20);
        }
        for (size_t room = 0; room < 4; room++)
            cr_assert_eq(balloon_virtio_write_hint(7, (balloon_endian)endian, bytes, room), 4);
        cr_assert_eq(balloon_virtio_write_pfns(pfns, 5, (balloon_endian)endian, NULL, 0), 20);
        cr_assert_eq(balloon_virtio_write_stats(&sample, (balloon_endian)endian, NULL, 0), 20);
        cr_assert_eq(balloon_virtio_write_hint(7, (balloon_endian)endian, NULL, 0), 4);
        cr_assert_eq(balloon_virtio_write_pfns(NULL, 0, (balloon_endian)endian, NULL, 0), 0);
        cr_assert_eq(balloon_virtio_write_pfns(pfns, SIZE_MAX / 4 + 1, (balloon_endian)endian,
                                               bytes, sizeof(bytes)),
                     SIZE_MAX);
    }
    cr_assert_eq(memcmp(bytes, untouched, sizeof(bytes)), 0);
}
