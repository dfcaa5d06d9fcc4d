/* Bytes as guests of the field put them into their buffers, and what they mean. */
#include <criterion/criterion.h>

#include <string.h>

#include <balloon/range.h>
#include <balloon/virtio.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void check_pfns(const unsigned char *bytes, size_t count, balloon_endian endian,
                       const uint32_t *expected, size_t expected_count, uint64_t tail)
{
    balloon_iov iov = {bytes, count};
    balloon_virtio_reader reader;
    uint32_t pfns[64];

    balloon_virtio_reader_init(&reader, &iov, 1, 4096, endian);
    cr_assert_eq(balloon_virtio_read_pfns(&reader, pfns, COUNT_OF(pfns)), expected_count);
    for (size_t i = 0; i < expected_count; i++)
        cr_assert_eq(pfns[i], expected[i], "number %zu is %#x", i, pfns[i]);
    cr_assert_eq(balloon_virtio_reader_left(&reader), tail);
}

static size_t read_stats(const unsigned char *bytes, size_t count, balloon_endian endian,
                         balloon_sample *sample, uint64_t tail)
{
    balloon_iov iov = {bytes, count};
    balloon_virtio_reader reader;
    size_t records;

    balloon_virtio_reader_init(&reader, &iov, 1, 4096, endian);
    records = balloon_virtio_read_stats(&reader, sample);
    cr_assert_eq(balloon_virtio_reader_left(&reader), tail);
    return records;
}

static void check_value(const balloon_sample *sample, balloon_stat stat, uint64_t expected)
{
    uint64_t value = 0;

    cr_assert(balloon_sample_get(sample, stat, &value), "%s is absent", balloon_stat_name(stat));
    cr_assert_eq(value, expected, "%s is %#llx", balloon_stat_name(stat),
                 (unsigned long long)value);
}

Test(golden_virtio, vector_01_inflate)
{
    static const unsigned char bytes[] = {0x00, 0x01, 0x00, 0x00, 0x01, 0x01,
                                          0x00, 0x00, 0x45, 0x23, 0x01, 0x00};
    static const uint32_t pfns[] = {0x100, 0x101, 0x12345};

    check_pfns(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, pfns, 3, 0);
}

Test(golden_virtio, vector_02_inflate_of_a_big_endian_legacy_guest)
{
    static const unsigned char bytes[] = {0x00, 0x01, 0x23, 0x45, 0x00, 0x01, 0x23, 0x46};
    static const uint32_t big[] = {0x12345, 0x12346};
    static const uint32_t little[] = {0x45230100, 0x46230100};

    check_pfns(bytes, sizeof(bytes), BALLOON_BIG_ENDIAN, big, 2, 0);
    check_pfns(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, little, 2, 0);
}

Test(golden_virtio, vector_03_inflate_of_one_64_kib_page)
{
    unsigned char bytes[64];
    uint32_t pfns[16];

    for (unsigned i = 0; i < 16; i++) {
        memcpy(bytes + i * 4, (unsigned char[]){(unsigned char)i, 0x00, 0x04, 0x00}, 4);
        pfns[i] = (0x40000000 >> 12) + i;
    }
    check_pfns(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, pfns, 16, 0);
}

Test(golden_virtio, vector_04_inflate_with_an_odd_tail)
{
    static const unsigned char bytes[] = {0x00, 0x01, 0x00, 0x00, 0x01, 0x01};
    static const uint32_t pfns[] = {0x100};

    check_pfns(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, pfns, 1, 2);
}

Test(golden_virtio, vector_05_the_last_page_that_32_bits_can_name)
{
    static const unsigned char bytes[] = {0xff, 0xff, 0xff, 0xff};
    static const uint32_t pfns[] = {0xffffffff};

    check_pfns(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, pfns, 1, 0);
    cr_assert_eq((balloon_pfn_t)pfns[0] << BALLOON_PAGE_SHIFT, 0xffffffff000);
}

Test(golden_virtio, vector_06_inflate_with_a_duplicate)
{
    static const unsigned char bytes[] = {0x00, 0x05, 0x00, 0x00, 0x00, 0x05,
                                          0x00, 0x00, 0x01, 0x05, 0x00, 0x00};
    static const uint32_t pfns[] = {0x500, 0x500, 0x501};

    check_pfns(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, pfns, 3, 0);
}

Test(golden_virtio, vector_07_inflate_of_a_64_bit_windows_guest)
{
    static const unsigned char bytes[] = {0xb3, 0xa2, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0xb4, 0xa2, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00};
    static const uint32_t narrow[] = {0x1a2b3, 0, 0x1a2b4, 0};
    balloon_iov iov = {bytes, sizeof(bytes)};
    balloon_virtio_reader reader;
    balloon_pfn_t pfns[4];

    check_pfns(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, narrow, 4, 0);
    balloon_virtio_reader_init(&reader, &iov, 1, 4096, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_pfns64(&reader, pfns, 4), 2);
    cr_assert_eq(pfns[0], 0x1a2b3);
    cr_assert_eq(pfns[1], 0x1a2b4);
}

Test(golden_virtio, vector_08_a_number_in_two_descriptors)
{
    static const unsigned char a[] = {0x00, 0x01};
    static const unsigned char b[] = {0x00, 0x00};
    balloon_iov iov[] = {{a, sizeof(a)}, {b, sizeof(b)}};
    balloon_virtio_reader reader;
    uint32_t pfns[2];

    balloon_virtio_reader_init(&reader, iov, 2, 4096, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_pfns(&reader, pfns, 2), 1);
    cr_assert_eq(pfns[0], 0x100);
}

static void check_vector_12(const unsigned char *bytes, balloon_endian endian)
{
    unsigned char again[20];
    balloon_sample sample;

    cr_assert_eq(read_stats(bytes, 20, endian, &sample, 0), 2);
    cr_assert_eq(sample.present, 1u << BALLOON_STAT_FREE | 1u << BALLOON_STAT_TOTAL);
    cr_assert_eq(sample.ignored, 0);
    check_value(&sample, BALLOON_STAT_FREE, 0x12345678);
    check_value(&sample, BALLOON_STAT_TOTAL, 0x200000000);
    cr_assert_eq(balloon_virtio_write_stats(&sample, endian, again, sizeof(again)), 20);
    cr_assert_eq(memcmp(bytes, again, 20), 0);
}

static const unsigned char vector_12[] = {0x04, 0x00, 0x78, 0x56, 0x34, 0x12, 0x00,
                                          0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x02, 0x00, 0x00, 0x00};

Test(golden_virtio, vector_12_statistics)
{
    check_vector_12(vector_12, BALLOON_LITTLE_ENDIAN);
}

Test(golden_virtio, vector_13_statistics_of_a_big_endian_legacy_guest)
{
    static const unsigned char bytes[] = {0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x12,
                                          0x34, 0x56, 0x78, 0x00, 0x05, 0x00, 0x00,
                                          0x00, 0x02, 0x00, 0x00, 0x00, 0x00};

    check_vector_12(bytes, BALLOON_BIG_ENDIAN);
}

Test(golden_virtio, vector_14_an_unknown_statistic)
{
    static const unsigned char bytes[] = {0xff, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00,
                                          0x00, 0x40, 0x00, 0x00, 0x00, 0x00};
    balloon_sample sample;

    cr_assert_eq(read_stats(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, &sample, 0), 2);
    cr_assert_eq(sample.present, 1u << BALLOON_STAT_AVAILABLE);
    cr_assert_eq(sample.ignored, 1);
    check_value(&sample, BALLOON_STAT_AVAILABLE, 0x40000000);
}

Test(golden_virtio, vector_15_the_statistics_of_linux_6_12)
{
    static const unsigned char bytes[] = {0x0a, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x70,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    balloon_sample sample;

    cr_assert_eq(read_stats(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, &sample, 0), 2);
    check_value(&sample, BALLOON_STAT_OOM_KILL, 3);
    check_value(&sample, BALLOON_STAT_DIRECT_RECLAIM, 0x7000);
    cr_assert_eq(sample.ignored, 0);
}

Test(golden_virtio, vector_16_the_first_statistics_of_windows)
{
    unsigned char bytes[100];
    balloon_sample sample;

    memset(bytes, 0xff, sizeof(bytes));
    cr_assert_eq(read_stats(bytes, sizeof(bytes), BALLOON_LITTLE_ENDIAN, &sample, 0), 10);
    cr_assert_eq(sample.present, 0);
    cr_assert_eq(sample.ignored, 10);
}

Test(golden_virtio, vector_17_statistics_with_half_a_record)
{
    balloon_sample sample;

    cr_assert_eq(read_stats(vector_12, 12, BALLOON_LITTLE_ENDIAN, &sample, 2), 1);
    cr_assert_eq(sample.present, 1u << BALLOON_STAT_FREE);
    check_value(&sample, BALLOON_STAT_FREE, 0x12345678);
}

Test(golden_virtio, vector_18_hinting_commands)
{
    static const struct {
        unsigned char bytes[4];
        balloon_endian endian;
        uint32_t id;
    } commands[] = {
        {{0x01, 0x00, 0x00, 0x80}, BALLOON_LITTLE_ENDIAN, 0x80000001},
        {{0x80, 0x00, 0x00, 0x01}, BALLOON_BIG_ENDIAN, 0x80000001},
        {{0x00, 0x00, 0x00, 0x00}, BALLOON_LITTLE_ENDIAN, BALLOON_VIRTIO_HINT_STOP},
    };

    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        balloon_iov iov = {commands[i].bytes, 4};
        balloon_virtio_reader reader;
        unsigned char again[4];
        uint32_t id = 99;

        balloon_virtio_reader_init(&reader, &iov, 1, 4096, commands[i].endian);
        cr_assert_eq(balloon_virtio_read_hint(&reader, &id), BALLOON_OK);
        cr_assert_eq(id, commands[i].id);
        cr_assert_eq(balloon_virtio_write_hint(id, commands[i].endian, again, 4), 4);
        cr_assert_eq(memcmp(again, commands[i].bytes, 4), 0);
    }
}

Test(golden_virtio, vector_19_the_pages_of_a_hint)
{
    balloon_range range = balloon_range_from_bytes(0x7fc00000, 4 << 20);

    cr_assert_eq(range.first, 0x7fc00);
    cr_assert_eq(range.count, 1024);
}

Test(golden_virtio, vector_20_the_pages_of_a_report)
{
    balloon_range a = balloon_range_from_bytes(0x10000000, 2 << 20);
    balloon_range b = balloon_range_from_bytes(0x2fe00000, 2 << 20);

    cr_assert_eq(a.first, 0x10000);
    cr_assert_eq(a.count, 512);
    cr_assert_eq(b.first, 0x2fe00);
    cr_assert_eq(b.count, 512);
}

Test(golden_virtio, vector_23_a_working_set_record_of_crosvm)
{
    static const unsigned char bytes[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0xe8, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00};
    balloon_iov iov = {bytes, sizeof(bytes)};
    balloon_virtio_working_set sets[2];
    balloon_virtio_reader reader;

    balloon_virtio_reader_init(&reader, &iov, 1, 4096, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_working_sets(&reader, sets, 2), 1);
    cr_assert_eq(sets[0].tag, 0);
    cr_assert_eq(sets[0].node, 0);
    cr_assert_eq(sets[0].idle_ms, 1000);
    cr_assert_eq(sets[0].anon, 1 << 20);
    cr_assert_eq(sets[0].file, 2 << 20);
}

Test(golden_virtio, vector_24_an_empty_buffer)
{
    balloon_sample sample;

    check_pfns(NULL, 0, BALLOON_LITTLE_ENDIAN, NULL, 0, 0);
    cr_assert_eq(read_stats(NULL, 0, BALLOON_LITTLE_ENDIAN, &sample, 0), 0);
    cr_assert_eq(sample.present, 0);
    cr_assert_eq(sample.ignored, 0);
}
