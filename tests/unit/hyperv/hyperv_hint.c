#include <criterion/criterion.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <balloon/hyperv.h>
#include <balloon/range.h>

#include "prng.h"

#define HINT_PFN_LIMIT ((uint64_t)1 << 52)

static void put(unsigned char *bytes, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t word_at(const unsigned char *bytes, size_t index)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value += (uint64_t)bytes[index * 8 + i] << 8 * i;
    return value;
}

/* Reads one packed range that lies at an odd address. */
static balloon_status read_word(uint64_t word, balloon_range *range)
{
    unsigned char bytes[9];
    balloon_hyperv_hint hint = {BALLOON_HYPERV_HEAT_DISCARD, bytes + 1, 1};

    put(bytes + 1, word);
    return balloon_hyperv_read_hint_range(&hint, 0, range);
}

static void check_word(uint64_t word, balloon_pfn_t first, uint64_t count)
{
    balloon_range range = {99, 99};

    cr_assert_eq(read_word(word, &range), BALLOON_OK, "%#llx", (unsigned long long)word);
    cr_assert_eq(range.first, first, "%#llx", (unsigned long long)word);
    cr_assert_eq(range.count, count, "%#llx", (unsigned long long)word);
}

static void check_refused(uint64_t word)
{
    balloon_range range = {77, 88};

    cr_assert_eq(read_word(word, &range), BALLOON_ERR_PROTOCOL, "%#llx", (unsigned long long)word);
    cr_assert_eq(range.first, 77);
    cr_assert_eq(range.count, 88);
}

Test(hyperv_hint, ranges_of_all_three_sizes)
{
    uint64_t gib = (uint64_t)1 << 30;

    check_word(0, 0, 1);
    check_word(0x7ff, 0, 2048);
    check_word(0xfffffffffffff7ff, HINT_PFN_LIMIT - 1, 2048);
    check_word(0x800, 0, 512);
    check_word(0xfff, 0, (uint64_t)2048 * 512);
    check_word(0xffffffffffe00fff, HINT_PFN_LIMIT - 512, (uint64_t)2048 * 512);
    check_word(0x1800, 0, 262144);
    check_word(5 * gib | 0x1801, 5 * 262144, 2 * 262144);
    check_word(0xffffffffc0001fff, HINT_PFN_LIMIT - 262144, (uint64_t)2048 * 262144);
}

Test(hyperv_hint, a_range_that_is_not_understood_is_refused)
{
    for (unsigned bit = 13; bit <= 20; bit++) {
        check_refused(0x800 | (uint64_t)1 << bit);
        check_refused(0x1800 | (uint64_t)1 << bit);
        check_word((uint64_t)1 << bit, (uint64_t)1 << (bit - 12), 1);
    }
    for (unsigned bit = 21; bit <= 29; bit++) {
        check_refused(0x1800 | (uint64_t)1 << bit);
        check_word(0x800 | (uint64_t)1 << bit, (uint64_t)1 << (bit - 12), 512);
    }
}

Test(hyperv_hint, a_header_that_is_not_understood_is_refused)
{
    unsigned char bytes[16] = {0};
    balloon_hyperv_hint hint;

    for (unsigned heat = 0; heat <= 2; heat++) {
        put(bytes, heat);
        cr_assert_eq(balloon_hyperv_decode_hint(bytes, sizeof(bytes), 1, &hint), BALLOON_OK);
        cr_assert_eq(hint.heat, heat);
    }
    put(bytes, 3);
    cr_assert_eq(balloon_hyperv_decode_hint(bytes, sizeof(bytes), 1, &hint), BALLOON_ERR_PROTOCOL);
    for (unsigned bit = 2; bit < 64; bit++) {
        put(bytes, 2 | (uint64_t)1 << bit);
        cr_assert_eq(balloon_hyperv_decode_hint(bytes, sizeof(bytes), 1, &hint),
                     BALLOON_ERR_PROTOCOL, "bit %u", bit);
    }
}

Test(hyperv_hint, ranges_are_counted_against_the_bytes)
{
    static unsigned char page[BALLOON_HYPERV_HINT_BYTES + 64];
    balloon_hyperv_hint untouched = {BALLOON_HYPERV_HEAT_HOT, page + 5, 4711};
    balloon_hyperv_hint hint = untouched;
    balloon_range range = {77, 88};

    for (size_t size = 0; size <= 48; size++) {
        for (uint32_t count = 0; count <= 6; count++) {
            bool fits = count > 0 && size >= 8 + (size_t)count * 8;

            hint = untouched;
            cr_assert_eq(balloon_hyperv_decode_hint(page, size, count, &hint),
                         fits ? BALLOON_OK : BALLOON_ERR_PROTOCOL, "%u in %zu", count, size);
            cr_assert_eq(hint.count, fits ? count : untouched.count);
            cr_assert_eq(hint.packed, fits ? page + 8 : untouched.packed);
            cr_assert_eq(hint.heat, fits ? BALLOON_HYPERV_HEAT_COLD : untouched.heat);
        }
    }
    cr_assert_eq(balloon_hyperv_decode_hint(page, BALLOON_HYPERV_HINT_BYTES,
                                            BALLOON_HYPERV_HINT_RANGES_MAX, &hint),
                 BALLOON_OK);
    cr_assert_eq(balloon_hyperv_read_hint_range(&hint, 510, &range), BALLOON_OK);
    range = (balloon_range){77, 88};
    cr_assert_eq(balloon_hyperv_read_hint_range(&hint, 511, &range), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_hyperv_read_hint_range(&hint, UINT32_MAX, &range), BALLOON_ERR_INVALID);
    cr_assert_eq(range.first, 77);
    cr_assert_eq(balloon_hyperv_decode_hint(page, sizeof(page), 512, &hint), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_hyperv_decode_hint(page, sizeof(page), UINT32_MAX, &hint),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_hyperv_decode_hint(page, SIZE_MAX, 0x20000000, &hint),
                 BALLOON_ERR_PROTOCOL);
}

/* --- Packing --------------------------------------------------------------------------------- */

Test(hyperv_hint, large_pages_where_they_fit)
{
    static const struct {
        balloon_range range;
        uint64_t words[4];
    } cases[] = {
        {{0, 1}, {0x000}},
        {{511, 1}, {0x1ff000}},
        {{0, 511}, {0x1fe}},
        {{0, 512}, {0x800}},
        {{0, 513}, {0x800, 0x200000}},
        {{1, 511}, {0x11fe}},
        {{1, 1023}, {0x11fe, 0x200800}},
        {{511, 514}, {0x1ff000, 0x200800, 0x400000}},
        {{256, 512}, {0x1000ff, 0x2000ff}},
        {{0, 2048 * 512}, {0xfff}},
        {{0, 2049 * 512}, {0xfff, (uint64_t)4 << 30 | 0x800}},
        {{HINT_PFN_LIMIT - 1, 1}, {0xfffffffffffff000}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned char packed[32];
        balloon_range range = cases[i].range;
        uint32_t count = 0;

        memset(packed, 0, sizeof(packed));
        cr_assert_eq(balloon_hyperv_pack_hint(&range, packed, &count, 4), BALLOON_OK);
        cr_assert_eq(range.count, 0);
        for (size_t k = 0; k < 4; k++)
            cr_assert_eq(word_at(packed, k), cases[i].words[k], "case %zu, word %zu: %#llx", i, k,
                         (unsigned long long)word_at(packed, k));
    }
}

Test(hyperv_hint, pages_that_cannot_be_named)
{
    static const balloon_range bad[] = {{HINT_PFN_LIMIT, 1},
                                        {HINT_PFN_LIMIT - 1, 2},
                                        {0, HINT_PFN_LIMIT + 1},
                                        {UINT64_MAX, UINT64_MAX},
                                        {1, UINT64_MAX}};
    unsigned char packed[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t count = 0;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        balloon_range range = bad[i];

        cr_assert_eq(balloon_hyperv_pack_hint(&range, packed, &count, 1), BALLOON_ERR_RANGE);
        cr_assert_eq(range.first, bad[i].first);
        cr_assert_eq(range.count, bad[i].count);
    }
    for (size_t i = 0; i < 2; i++) {
        balloon_range empty = {i == 0 ? 5 : UINT64_MAX, 0};

        cr_assert_eq(balloon_hyperv_pack_hint(&empty, packed, &count, 0), BALLOON_OK);
    }
    cr_assert_eq(count, 0);
    cr_assert_eq(memcmp(packed, (unsigned char[]){1, 2, 3, 4, 5, 6, 7, 8}, 8), 0);
}

/* What is packed, sent and read is what it was, whatever fits into one hint. */
Test(hyperv_hint, what_is_packed_is_read_again)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);

    for (int i = 0; i < 20000; i++) {
        unsigned char bytes[8 + 8 * 8];
        uint32_t max = 1 + (uint32_t)prng_below(&prng, 8);
        balloon_range range = {prng_next(&prng) >> (12 + prng_below(&prng, 52)),
                               prng_next(&prng) >> (30 + prng_below(&prng, 34))};
        uint64_t next;
        uint64_t end;
        balloon_status status;

        if (range.count > HINT_PFN_LIMIT - range.first)
            range.count = HINT_PFN_LIMIT - range.first;
        next = range.first;
        end = range.first + range.count;
        while (range.count > 0) {
            balloon_hyperv_hint hint = {BALLOON_HYPERV_HEAT_DISCARD, bytes + 8, 0};
            uint32_t count = 0;

            status = balloon_hyperv_pack_hint(&range, bytes + 8, &count, max);
            cr_assert_eq(status, range.count > 0 ? BALLOON_ERR_NOSPACE : BALLOON_OK);
            cr_assert(count == max || range.count == 0);
            hint.count = count;
            cr_assert_eq(balloon_hyperv_encode_hint(&hint, bytes, sizeof(bytes)), 8 + 8 * count);
            cr_assert_eq(balloon_hyperv_decode_hint(bytes, 8 + 8 * count, count, &hint),
                         BALLOON_OK);
            for (uint32_t k = 0; k < count; k++) {
                balloon_range part;

                cr_assert_eq(balloon_hyperv_read_hint_range(&hint, k, &part), BALLOON_OK);
                cr_assert_eq(part.first, next, "seed %llu, case %d", (unsigned long long)seed, i);
                cr_assert_gt(part.count, 0);
                next += part.count;
            }
            cr_assert_eq(range.first, next);
            if (prng_one_in(&prng, 4)) /* Long ranges are many hints. */
                break;
        }
        cr_assert(next == end || range.count > 0);
        cr_assert_leq(next, end);
    }
}

Test(hyperv_hint, rounded_inward_it_has_large_pages_only)
{
    balloon_range range = balloon_range_inward((balloon_range){700, 5000}, 512);
    unsigned char packed[32];
    uint32_t count = 0;

    cr_assert_eq(balloon_hyperv_pack_hint(&range, packed, &count, 4), BALLOON_OK);
    cr_assert_eq(count, 1);
    cr_assert_eq(word_at(packed, 0), (uint64_t)1024 << 12 | 0x800 | 8);
}

/* --- Writing --------------------------------------------------------------------------------- */

Test(hyperv_hint, too_small_a_buffer_is_not_written)
{
    unsigned char packed[24] = {1, 2, 3};
    unsigned char bytes[32];
    unsigned char untouched[32];
    balloon_hyperv_hint hint = {BALLOON_HYPERV_HEAT_DISCARD, packed, 3};

    memset(bytes, 0xc7, sizeof(bytes));
    memset(untouched, 0xc7, sizeof(untouched));
    for (size_t room = 0; room < sizeof(bytes); room++)
        cr_assert_eq(balloon_hyperv_encode_hint(&hint, bytes, room), sizeof(bytes));
    cr_assert_eq(balloon_hyperv_encode_hint(&hint, NULL, 0), sizeof(bytes));
    for (size_t i = 0; i < 4; i++) {
        hint.count = i == 0 ? 0 : i == 1 ? 512 : i == 2 ? UINT32_MAX : 3;
        if (i == 3)
            hint.heat = (balloon_hyperv_heat)3;
        cr_assert_eq(balloon_hyperv_encode_hint(&hint, bytes, sizeof(bytes)), SIZE_MAX);
    }
    cr_assert_eq(memcmp(bytes, untouched, sizeof(bytes)), 0);
    hint.heat = BALLOON_HYPERV_HEAT_COLD;
    hint.count = BALLOON_HYPERV_HINT_RANGES_MAX;
    cr_assert_eq(balloon_hyperv_encode_hint(&hint, NULL, 0), BALLOON_HYPERV_HINT_BYTES);
}

/* The input lies at the end of a page, before one that must not be touched. */
Test(hyperv_hint, nothing_outside_of_the_input_is_touched)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *area = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(area, MAP_FAILED);
    cr_assert_eq(mprotect(area + page, page, PROT_READ | PROT_WRITE), 0);
    for (uint32_t count = 1; count <= 32; count++) {
        for (int at_end = 0; at_end < 2; at_end++) {
            size_t size = 8 + (size_t)count * 8;
            unsigned char *bytes = at_end ? area + 2 * page - size : area + page;
            balloon_hyperv_hint hint = {BALLOON_HYPERV_HEAT_DISCARD, bytes + 8, 0};
            balloon_range range;

            for (uint32_t i = 0; i < count; i++) {
                range = (balloon_range){i * 1024, 1 + i};
                cr_assert_eq(balloon_hyperv_pack_hint(&range, bytes + 8, &hint.count, count),
                             BALLOON_OK);
            }
            cr_assert_eq(balloon_hyperv_encode_hint(&hint, bytes, size), size);
            for (size_t less = 0; less < 8; less++)
                cr_assert_eq(balloon_hyperv_decode_hint(bytes + less, size - less, count, &hint),
                             less == 0 ? BALLOON_OK : BALLOON_ERR_PROTOCOL);
            cr_assert_eq(balloon_hyperv_decode_hint(bytes, size, count, &hint), BALLOON_OK);
            for (uint32_t i = 0; i < count; i++) {
                cr_assert_eq(balloon_hyperv_read_hint_range(&hint, i, &range), BALLOON_OK);
                cr_assert_eq(range.first, i * 1024);
                cr_assert_eq(range.count, 1 + i);
            }
        }
    }
}
