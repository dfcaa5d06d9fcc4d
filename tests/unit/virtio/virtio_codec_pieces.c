/* However a buffer lies in memory, the same is read, and only what lies there. */
#include <criterion/criterion.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "prng.h"
#include "restless.h"
#include "virtio_codec_support.h"

#define MAX_BYTES  128
#define MAX_PIECES (2 * MAX_BYTES + 8)

/* The kinds of messages, so that a property can be asked of all of them in one loop. */
enum message { PFNS, PFNS64, STATS, HINT, WORKING_SETS, MESSAGES };

/* All that one reading of a buffer comes to. */
struct reading {
    uint64_t values[5 * MAX_BYTES];
    size_t count;
    balloon_sample sample;
    balloon_status status;
    uint64_t left;
};

static struct reading read_all(enum message message, const balloon_iov *iov, size_t pieces,
                               uint64_t limit, balloon_endian endian)
{
    balloon_virtio_working_set sets[MAX_BYTES / 32];
    uint32_t pfns[MAX_BYTES / 4];
    balloon_pfn_t pfns64[MAX_BYTES / 8];
    uint32_t id = 0xabababab;
    balloon_virtio_reader reader;
    struct reading reading;

    memset(&reading, 0, sizeof(reading));
    balloon_virtio_reader_init(&reader, iov, pieces, limit, endian);
    switch (message) {
    case PFNS:
        reading.count = balloon_virtio_read_pfns(&reader, pfns, MAX_BYTES / 4);
        for (size_t i = 0; i < reading.count; i++)
            reading.values[i] = pfns[i];
        break;
    case PFNS64:
        reading.count = balloon_virtio_read_pfns64(&reader, pfns64, MAX_BYTES / 8);
        for (size_t i = 0; i < reading.count; i++)
            reading.values[i] = pfns64[i];
        break;
    case STATS:
        reading.count = balloon_virtio_read_stats(&reader, &reading.sample);
        break;
    case HINT:
        reading.status = balloon_virtio_read_hint(&reader, &id);
        reading.values[0] = id;
        break;
    default:
        reading.count = balloon_virtio_read_working_sets(&reader, sets, MAX_BYTES / 32);
        for (size_t i = 0; i < reading.count; i++) {
            reading.values[i * 5] = sets[i].tag;
            reading.values[i * 5 + 1] = sets[i].node;
            reading.values[i * 5 + 2] = sets[i].idle_ms;
            reading.values[i * 5 + 3] = sets[i].anon;
            reading.values[i * 5 + 4] = sets[i].file;
        }
    }
    reading.left = balloon_virtio_reader_left(&reader);
    return reading;
}

/* The same reading by the book, of one piece. */
static struct reading expect(enum message message, const unsigned char *bytes, size_t count,
                             balloon_endian endian)
{
    struct reading reading;
    size_t used = 0;

    memset(&reading, 0, sizeof(reading));
    switch (message) {
    case PFNS:
    case PFNS64: {
        size_t size = message == PFNS ? 4 : 8;

        for (; count - used >= size; used += size)
            reading.values[reading.count++] = number(bytes + used, size, endian);
        break;
    }
    case STATS:
        for (; count - used >= 10; used += 10) {
            uint64_t tag = number(bytes + used, 2, endian);

            reading.count++;
            if (tag < 16 && !(number(bytes + used + 2, 8, endian) >> 63)) {
                reading.sample.present |= (uint32_t)1 << tag;
                reading.sample.value[tag] = number(bytes + used + 2, 8, endian);
            } else {
                reading.sample.ignored++;
            }
        }
        break;
    case HINT:
        reading.status = count == 4 ? BALLOON_OK : BALLOON_ERR_PROTOCOL;
        reading.values[0] = count == 4 ? number(bytes, 4, endian) : 0xabababab;
        used = count == 4 ? 4 : 0;
        break;
    default:
        for (; count - used >= 32; used += 32) {
            uint64_t *values = &reading.values[reading.count++ * 5];

            values[0] = number(bytes + used, 2, endian);
            values[1] = number(bytes + used + 2, 2, endian);
            values[2] = number(bytes + used + 8, 8, endian);
            values[3] = number(bytes + used + 16, 8, endian);
            values[4] = number(bytes + used + 24, 8, endian);
        }
    }
    reading.left = count - used;
    return reading;
}

static bool same(const struct reading *a, const struct reading *b)
{
    return memcmp(a->values, b->values, sizeof(a->values)) == 0 && a->count == b->count &&
           memcmp(&a->sample, &b->sample, sizeof(a->sample)) == 0 && a->status == b->status &&
           a->left == b->left;
}

/* Random bytes, among which known statistics tags are not too rare. */
static void fill(struct prng *prng, unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] =
            (unsigned char)(prng_one_in(prng, 3) ? prng_below(prng, 20) : prng_below(prng, 256));
    for (size_t i = 0; i + 1 < count; i += 10) {
        if (prng_one_in(prng, 2))
            bytes[i + prng_below(prng, 2)] = 0;
    }
}

static void check_pieces(enum message message, const balloon_iov *iov, size_t pieces,
                         const unsigned char *bytes, size_t count, uint64_t seed)
{
    for (int endian = 0; endian < 2; endian++) {
        struct reading expected = expect(message, bytes, count, (balloon_endian)endian);
        struct reading found = read_all(message, iov, pieces, count, (balloon_endian)endian);

        cr_assert(same(&found, &expected), "seed %llu, message %d, %zu bytes in %zu pieces",
                  (unsigned long long)seed, (int)message, count, pieces);
    }
}

/* --- Pieces and limits ----------------------------------------------------------------------- */

Test(virtio_codec_pieces, two_pieces_and_three_read_like_one)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);
    unsigned char bytes[68];

    for (int message = 0; message < MESSAGES; message++) {
        for (size_t count = 0; count <= sizeof(bytes); count += message == HINT ? 1 : 3) {
            fill(&prng, bytes, count);
            for (size_t a = 0; a <= count; a++) {
                for (size_t b = a; b <= count; b++) {
                    balloon_iov iov[] = {
                        {bytes, a}, {NULL, 0}, {bytes + a, b - a}, {bytes + b, count - b}};

                    check_pieces((enum message)message, iov, 4, bytes, count, seed);
                }
            }
        }
    }
}

Test(virtio_codec_pieces, any_number_of_pieces_reads_like_one)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 1);
    unsigned char bytes[MAX_BYTES];
    balloon_iov iov[MAX_PIECES];

    for (int i = 0; i < 40000; i++) {
        size_t count = (size_t)prng_below(&prng, MAX_BYTES + 1);
        uint64_t longest = 1 + prng_below(&prng, 16);
        size_t done = 0;
        size_t pieces = 0;

        fill(&prng, bytes, count);
        while (done < count) {
            size_t here = (size_t)prng_below(&prng, longest + 1);

            if (pieces >= MAX_PIECES - MAX_BYTES && here == 0)
                here = 1;
            here = here < count - done ? here : count - done;
            iov[pieces++] = (balloon_iov){here == 0 ? NULL : bytes + done, here};
            done += here;
        }
        check_pieces((enum message)prng_below(&prng, MESSAGES), iov, pieces, bytes, count, seed);
    }
}

Test(virtio_codec_pieces, limit_cuts_like_a_shorter_buffer)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 2);
    unsigned char bytes[67];
    balloon_iov iov[] = {{bytes, 5}, {NULL, 0}, {bytes + 5, 29}, {bytes + 34, 33}, {NULL, 0}};

    fill(&prng, bytes, sizeof(bytes));
    for (int message = 0; message < MESSAGES; message++) {
        for (size_t limit = 0; limit <= sizeof(bytes) + 2; limit++) {
            size_t count = limit < sizeof(bytes) ? limit : sizeof(bytes);
            struct reading expected =
                expect((enum message)message, bytes, count, BALLOON_LITTLE_ENDIAN);
            struct reading found =
                read_all((enum message)message, iov, 5, limit, BALLOON_LITTLE_ENDIAN);

            cr_assert(same(&found, &expected), "seed %llu, message %d, limit %zu",
                      (unsigned long long)seed, message, limit);
        }
    }
}

Test(virtio_codec_pieces, reading_in_parts_gives_the_same_numbers)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 3);
    unsigned char bytes[103];
    balloon_iov iov[] = {{bytes, 2}, {bytes + 2, 49}, {NULL, 0}, {bytes + 51, 52}};

    fill(&prng, bytes, sizeof(bytes));
    for (size_t max = 0; max <= 30; max++) {
        balloon_virtio_reader reader;
        uint32_t pfns[30];
        size_t done = 0;
        size_t count;

        balloon_virtio_reader_init(&reader, iov, 4, 1000, BALLOON_BIG_ENDIAN);
        while ((count = balloon_virtio_read_pfns(&reader, pfns, max)) > 0) {
            cr_assert(count == max || done + count == 25);
            for (size_t i = 0; i < count; i++)
                cr_assert_eq(pfns[i], number(bytes + (done + i) * 4, 4, BALLOON_BIG_ENDIAN));
            done += count;
            cr_assert_eq(balloon_virtio_reader_left(&reader), 103 - done * 4);
        }
        cr_assert_eq(done, max == 0 ? 0 : 25, "max %zu", max);
    }
}

Test(virtio_codec_pieces, readers_of_different_numbers_follow_each_other)
{
    unsigned char bytes[22] = {1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 9};
    balloon_iov iov[] = {{bytes, 3}, {bytes + 3, 6}, {bytes + 9, 13}};
    balloon_virtio_reader reader;
    balloon_sample sample;
    balloon_pfn_t pfn64;
    uint32_t pfn;

    balloon_virtio_reader_init(&reader, iov, 3, sizeof(bytes), BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_read_pfns(&reader, &pfn, 1), 1);
    cr_assert_eq(balloon_virtio_read_pfns64(&reader, &pfn64, 1), 1);
    cr_assert_eq(balloon_virtio_read_stats(&reader, &sample), 1);
    cr_assert_eq(pfn, 1);
    cr_assert_eq(pfn64, 2);
    cr_assert_eq(sample.value[BALLOON_STAT_FREE], 9);
    cr_assert_eq(balloon_virtio_reader_left(&reader), 0);
}

Test(virtio_codec_pieces, no_pieces_and_empty_pieces_read_as_nothing)
{
    static balloon_iov empty[100000];
    unsigned char bytes[4] = {1, 2, 3, 4};

    for (int message = 0; message < MESSAGES; message++) {
        struct reading expected = expect((enum message)message, bytes, 0, BALLOON_LITTLE_ENDIAN);
        struct reading none = read_all((enum message)message, NULL, 0, 100, BALLOON_LITTLE_ENDIAN);
        struct reading many =
            read_all((enum message)message, empty, 100000, 100, BALLOON_LITTLE_ENDIAN);

        cr_assert(same(&none, &expected), "message %d", message);
        cr_assert(same(&many, &expected), "message %d", message);
    }
    for (size_t i = 0; i < 4; i++)
        empty[99999 - i * 1000] = (balloon_iov){&bytes[3 - i], 1};
    cr_assert_eq(read_all(PFNS, empty, 100000, 100, BALLOON_LITTLE_ENDIAN).values[0], 0x04030201);
}

Test(virtio_codec_pieces, lengths_that_add_up_to_more_than_64_bits_do_not_wrap)
{
    unsigned char byte = 0;
    balloon_iov iov[] = {{&byte, 5}, {&byte, SIZE_MAX}, {&byte, SIZE_MAX}};
    balloon_virtio_reader reader;

    balloon_virtio_reader_init(&reader, iov, 3, UINT64_MAX, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_reader_left(&reader),
                 SIZE_MAX == UINT64_MAX ? UINT64_MAX : (uint64_t)SIZE_MAX * 2 + 5);
    balloon_virtio_reader_init(&reader, iov, 3, 5, BALLOON_LITTLE_ENDIAN);
    cr_assert_eq(balloon_virtio_reader_left(&reader), 5);
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

static unsigned char *place(struct guarded guarded, size_t bytes, bool at_end)
{
    return guarded.page + (at_end ? guarded.bytes - bytes : 0);
}

/* Each piece lies flush against a guard page, now before it and now behind it, so one byte read
 * too many or too early ends the test by a signal. */
Test(virtio_codec_pieces, nothing_outside_of_the_pieces_is_read)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 5);
    struct guarded areas[3] = {guard(), guard(), guard()};
    unsigned char bytes[MAX_BYTES];

    for (int i = 0; i < 20000; i++) {
        size_t count = (size_t)prng_below(&prng, MAX_BYTES + 1);
        size_t done = 0;
        balloon_iov iov[3];

        fill(&prng, bytes, count);
        for (size_t k = 0; k < 3; k++) {
            size_t here = k == 2 ? count - done : (size_t)prng_below(&prng, count - done + 1);
            unsigned char *at = place(areas[k], here, prng_one_in(&prng, 2));

            memcpy(at, bytes + done, here);
            iov[k] = (balloon_iov){at, here};
            done += here;
        }
        check_pieces((enum message)prng_below(&prng, MESSAGES), iov, 3, bytes, count, seed);
    }
}

Test(virtio_codec_pieces, nothing_outside_of_the_results_is_written)
{
    struct guarded area = guard();
    unsigned char bytes[MAX_BYTES];
    balloon_iov iov = {bytes, sizeof(bytes)};
    balloon_virtio_reader reader;
    balloon_sample sample = {.present = 0xffff};
    uint32_t pfns[16] = {0};

    memset(bytes, 0x55, sizeof(bytes));
    for (int i = 0; i < 4; i++) {
        balloon_endian endian = (balloon_endian)(i & 1);
        bool at_end = i >= 2;

        for (size_t max = 0; max <= 16; max++) {
            balloon_virtio_reader_init(&reader, &iov, 1, sizeof(bytes), endian);
            cr_assert_eq(
                balloon_virtio_read_pfns(&reader, (void *)place(area, max * 4, at_end), max), max);
            balloon_virtio_reader_init(&reader, &iov, 1, sizeof(bytes), endian);
            cr_assert_eq(
                balloon_virtio_read_pfns64(&reader, (void *)place(area, max * 8, at_end), max),
                max);
            cr_assert_eq(
                balloon_virtio_write_pfns(pfns, max, endian, place(area, max * 4, at_end), max * 4),
                max * 4);
        }
        for (size_t max = 0; max <= 4; max++) {
            size_t room = max * sizeof(balloon_virtio_working_set);

            balloon_virtio_reader_init(&reader, &iov, 1, sizeof(bytes), endian);
            cr_assert_eq(
                balloon_virtio_read_working_sets(&reader, (void *)place(area, room, at_end), max),
                max);
        }
        balloon_virtio_reader_init(&reader, &iov, 1, sizeof(bytes), endian);
        cr_assert_eq(
            balloon_virtio_read_stats(&reader, (void *)place(area, sizeof(sample), at_end)),
            sizeof(bytes) / 10);
        cr_assert_eq(balloon_virtio_write_stats(&sample, endian, place(area, 160, at_end), 160),
                     160);
        cr_assert_eq(balloon_virtio_write_hint(1, endian, place(area, 4, at_end), 4), 4);
    }
}

/* The tag turns from one that is known into one that is not, or back. */
static void turn_tag(unsigned char *page)
{
    page[0] ^= BALLOON_STAT_FREE ^ BALLOON_STAT_TOTAL;
    page[1] ^= 1;
}

/* The record is kept or it is counted as unknown, never both and never neither. */
Test(virtio_codec_pieces, a_buffer_that_changes_while_it_is_read)
{
    unsigned char *page = restless_page();

    for (int parity = 0; parity < 2; parity++) {
        balloon_iov iov = {page, 10};
        balloon_virtio_reader reader;
        balloon_sample sample;
        unsigned kept = 0;
        size_t looks;

        page[0] = parity == 0 ? BALLOON_STAT_FREE : BALLOON_STAT_TOTAL;
        page[1] = (unsigned char)parity;
        balloon_virtio_reader_init(&reader, &iov, 1, 10, BALLOON_LITTLE_ENDIAN);
        restless_start(turn_tag);
        cr_assert_eq(balloon_virtio_read_stats(&reader, &sample), 1);
        looks = restless_stop();

        cr_assert_gt(looks, 0);
        cr_assert_leq(looks, 10, "looked %zu times at 10 bytes", looks);
        for (int tag = 0; tag < BALLOON_STAT_SLOTS; tag++)
            kept += sample.present >> tag & 1;
        cr_assert_eq(kept + sample.ignored, 1, "kept %u, ignored %u", kept, sample.ignored);
    }
}
