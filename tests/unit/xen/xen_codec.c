/* Arguments of memory_op. */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <balloon/xen.h>

#include "prng.h"
#include "restless.h"

#define LAYOUTS 2

/* The arguments, so that a property can be asked of all of them in one loop. */
enum argument { RESERVATION, EXCHANGE, POD_TARGET, DOMAIN, ARGUMENTS };

union any {
    balloon_xen_reservation reservation;
    balloon_xen_exchange exchange;
    balloon_xen_pod_target target;
    uint16_t domain;
    unsigned char bytes[sizeof(balloon_xen_exchange)];
};

static const size_t sizes[ARGUMENTS][LAYOUTS] = {{32, 20}, {72, 44}, {40, 36}, {2, 2}};

static balloon_status read_any(enum argument argument, const void *bytes, size_t size,
                               balloon_xen_layout layout, union any *any)
{
    switch (argument) {
    case RESERVATION:
        return balloon_xen_read_reservation(bytes, size, layout, &any->reservation);
    case EXCHANGE:
        return balloon_xen_read_exchange(bytes, size, layout, &any->exchange);
    case POD_TARGET:
        return balloon_xen_read_pod_target(bytes, size, layout, &any->target);
    default:
        return balloon_xen_read_domain(bytes, size, &any->domain);
    }
}

static size_t write_any(enum argument argument, const union any *any, balloon_xen_layout layout,
                        void *buffer, size_t bytes)
{
    switch (argument) {
    case RESERVATION:
        return balloon_xen_write_reservation(&any->reservation, layout, buffer, bytes);
    case EXCHANGE:
        return balloon_xen_write_exchange(&any->exchange, layout, buffer, bytes);
    case POD_TARGET:
        return balloon_xen_write_pod_target(&any->target, layout, buffer, bytes);
    default:
        return balloon_xen_write_domain(any->domain, buffer, bytes);
    }
}

/* Which bytes of an argument mean something. */
static bool is_padding(enum argument argument, balloon_xen_layout layout, size_t at)
{
    size_t part = sizes[RESERVATION][layout];
    size_t end = layout == BALLOON_XEN_32 ? 18 : 26;

    if (argument == EXCHANGE && at < 2 * part)
        at %= part;
    else if (argument == POD_TARGET)
        return at >= 34;
    else if (argument != RESERVATION)
        return false;
    return at >= end;
}

/* --- Structures ------------------------------------------------------------------------------ */

Test(xen_codec, arguments_are_read_and_written_again)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);

    for (int i = 0; i < 40000; i++) {
        enum argument argument = (enum argument)prng_below(&prng, ARGUMENTS);
        balloon_xen_layout layout = (balloon_xen_layout)prng_below(&prng, LAYOUTS);
        size_t size = sizes[argument][layout];
        unsigned char bytes[80];
        unsigned char again[80];
        union any any;

        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (unsigned char)prng_next(&prng);
        cr_assert_eq(read_any(argument, bytes, size + prng_below(&prng, 5), layout, &any),
                     BALLOON_OK);
        memset(again, 0xc7, sizeof(again));
        cr_assert_eq(write_any(argument, &any, layout, again, size), size);
        for (size_t k = 0; k < size; k++)
            cr_assert_eq(again[k], is_padding(argument, layout, k) ? 0 : bytes[k],
                         "seed %" PRIu64 ", argument %d, layout %d, byte %zu", seed, (int)argument,
                         (int)layout, k);
        for (size_t k = size; k < sizeof(again); k++)
            cr_assert_eq(again[k], 0xc7);
    }
}

Test(xen_codec, arguments_that_are_cut_short_are_malformed)
{
    static const unsigned char zeros[80];

    for (int argument = 0; argument < ARGUMENTS; argument++) {
        for (int layout = 0; layout < LAYOUTS; layout++) {
            size_t size = sizes[argument][layout];
            unsigned char buffer[80];
            union any any;
            union any untouched;

            memset(&any, 0x5a, sizeof(any));
            untouched = any;
            memset(buffer, 0xc7, sizeof(buffer));
            for (size_t room = 0; room < size; room++) {
                union any zero = {.exchange = {.exchanged = 0}};

                cr_assert_eq(read_any((enum argument)argument, zeros, room,
                                      (balloon_xen_layout)layout, &any),
                             BALLOON_ERR_PROTOCOL);
                cr_assert_eq(write_any((enum argument)argument, &zero, (balloon_xen_layout)layout,
                                       buffer, room),
                             size);
            }
            cr_assert_eq(memcmp(&any, &untouched, sizeof(any)), 0);
            for (size_t i = 0; i < sizeof(buffer); i++)
                cr_assert_eq(buffer[i], 0xc7);
        }
    }
}

Test(xen_codec, numbers_too_large_for_32_bits_are_not_written)
{
    const uint64_t large = (uint64_t)UINT32_MAX + 1;
    unsigned char buffer[80];
    balloon_xen_reservation fits = {.list = UINT32_MAX, .extents = UINT32_MAX};

    cr_assert_eq(balloon_xen_write_reservation(&fits, BALLOON_XEN_32, buffer, 80), 20);
    memset(buffer, 0xc7, sizeof(buffer));
    for (int field = 0; field < 5; field++) {
        balloon_xen_exchange exchange = {.in = fits, .out = fits, .exchanged = UINT32_MAX};
        uint64_t *fields[] = {&exchange.in.list, &exchange.in.extents, &exchange.out.list,
                              &exchange.out.extents, &exchange.exchanged};

        cr_assert_eq(balloon_xen_write_exchange(&exchange, BALLOON_XEN_32, NULL, 0), 44);
        *fields[field] = large;
        cr_assert_eq(balloon_xen_write_exchange(&exchange, BALLOON_XEN_32, buffer, 80), SIZE_MAX);
        cr_assert_eq(balloon_xen_write_exchange(&exchange, BALLOON_XEN_64, NULL, 0), 72);
        if (field < 2)
            cr_assert_eq(balloon_xen_write_reservation(&exchange.in, BALLOON_XEN_32, buffer, 80),
                         SIZE_MAX);
    }
    for (size_t i = 0; i < sizeof(buffer); i++)
        cr_assert_eq(buffer[i], 0xc7);
}

/* --- Words ----------------------------------------------------------------------------------- */

Test(xen_codec, commands)
{
    static const balloon_xen_op ops[] = {
        BALLOON_XEN_INCREASE_RESERVATION, BALLOON_XEN_DECREASE_RESERVATION,
        BALLOON_XEN_POPULATE_PHYSMAP,     BALLOON_XEN_EXCHANGE,
        BALLOON_XEN_MAXIMUM_GPFN,         BALLOON_XEN_CLAIM_PAGES};
    uint64_t start;

    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        cr_assert_eq(balloon_xen_write_command(ops[i], 0), (uint32_t)ops[i]);
        cr_assert_eq(balloon_xen_read_command(
                         balloon_xen_write_command(ops[i], BALLOON_XEN_EXTENTS_MAX), &start),
                     (unsigned)ops[i]);
        cr_assert_eq(start, BALLOON_XEN_EXTENTS_MAX);
    }
    cr_assert_eq(balloon_xen_write_command(BALLOON_XEN_POPULATE_PHYSMAP, 3), 0xc6);
    cr_assert_eq(balloon_xen_read_command(UINT64_MAX, &start), 63);
    cr_assert_eq(start, UINT64_MAX >> 6);
}

Test(xen_codec, flags_are_read_and_written_again)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 1);

    for (int i = 0; i < 100000; i++) {
        uint32_t word = (uint32_t)(prng_next(&prng) >> prng_below(&prng, 64));
        uint32_t again = ~word;
        balloon_xen_flags flags;

        balloon_xen_read_flags(word, &flags);
        cr_assert_eq(flags.address_bits, word % 256);
        cr_assert_eq(flags.has_node, word / 256 % 256 != 0);
        cr_assert_eq(flags.node, flags.has_node ? word / 256 % 256 - 1 : 0);
        cr_assert_eq(flags.populate_on_demand, word / 65536 % 2);
        cr_assert_eq(flags.exact_node, word / 131072 % 2);
        cr_assert_eq(flags.virtual_node, word / 262144 % 2);
        cr_assert_eq(flags.unknown, word / 524288 * 524288);
        cr_assert_eq(balloon_xen_write_flags(&flags, &again), BALLOON_OK);
        cr_assert_eq(word, again, "seed %" PRIu64 ", %#x", seed, word);
    }
}

Test(xen_codec, flags_that_would_mean_something_else_are_not_written)
{
    balloon_xen_flags bad[] = {{.has_node = true, .node = 255},
                               {.node = 1},
                               {.unknown = 1},
                               {.unknown = 0x40000},
                               {.unknown = UINT32_MAX}};
    balloon_xen_flags good[] = {{.has_node = true, .node = 254}, {.unknown = 0x80000}, {.node = 0}};
    static const uint32_t words[] = {0xff00, 0x80000, 0};
    uint32_t word = 7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(balloon_xen_write_flags(&bad[i], &word), BALLOON_ERR_INVALID, "%zu", i);
    cr_assert_eq(word, 7);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_eq(balloon_xen_write_flags(&good[i], &word), BALLOON_OK);
        cr_assert_eq(word, words[i]);
    }
}

/* --- What Xen takes -------------------------------------------------------------------------- */

Test(xen_codec, each_limit_of_a_reservation)
{
    static const balloon_xen_op ops[] = {BALLOON_XEN_INCREASE_RESERVATION,
                                         BALLOON_XEN_DECREASE_RESERVATION,
                                         BALLOON_XEN_POPULATE_PHYSMAP};
    const balloon_xen_reservation plain = {.list = 0x1000,
                                           .extents = BALLOON_XEN_EXTENTS_MAX,
                                           .order = 9,
                                           .domain = BALLOON_XEN_DOMAIN_SELF};

    for (size_t i = 0; i < 3; i++) {
        balloon_xen_reservation changed = plain;

        cr_assert_eq(balloon_xen_check_reservation(ops[i], &plain, 9), BALLOON_OK);
        cr_assert_eq(balloon_xen_check_reservation(ops[i], &plain, 8), BALLOON_ERR_PROTOCOL);
        changed.extents++;
        cr_assert_eq(balloon_xen_check_reservation(ops[i], &changed, 9), BALLOON_ERR_PROTOCOL);
        changed = plain;
        for (uint32_t bits = 0; bits < 256; bits++) {
            changed.flags = bits;
            cr_assert_eq(balloon_xen_check_reservation(ops[i], &changed, 9),
                         bits == 0 || bits > 12 ? BALLOON_OK : BALLOON_ERR_PROTOCOL);
        }
        changed.flags = 0x10000; /* Promised pages. */
        cr_assert_eq(balloon_xen_check_reservation(ops[i], &changed, 9),
                     ops[i] == BALLOON_XEN_POPULATE_PHYSMAP ? BALLOON_ERR_PROTOCOL : BALLOON_OK);
        changed.domain = 5;
        cr_assert_eq(balloon_xen_check_reservation(ops[i], &changed, 9), BALLOON_OK);
    }
}

Test(xen_codec, each_limit_of_a_claim)
{
    balloon_xen_reservation claim = {.extents = UINT64_MAX, .domain = 5};

    cr_assert_eq(balloon_xen_check_reservation(BALLOON_XEN_CLAIM_PAGES, &claim, 0), BALLOON_OK);
    claim.list = 1;
    cr_assert_eq(balloon_xen_check_reservation(BALLOON_XEN_CLAIM_PAGES, &claim, 18),
                 BALLOON_ERR_PROTOCOL);
    claim = (balloon_xen_reservation){.order = 1};
    cr_assert_eq(balloon_xen_check_reservation(BALLOON_XEN_CLAIM_PAGES, &claim, 18),
                 BALLOON_ERR_PROTOCOL);
    claim = (balloon_xen_reservation){.flags = 0x80000000};
    cr_assert_eq(balloon_xen_check_reservation(BALLOON_XEN_CLAIM_PAGES, &claim, 18),
                 BALLOON_ERR_PROTOCOL);
    claim.flags = 0;
    for (int op = -1; op < 70; op++) {
        if (op != 0 && op != 1 && op != 6 && op != 24)
            cr_assert_eq(balloon_xen_check_reservation((balloon_xen_op)op, &claim, 18),
                         BALLOON_ERR_INVALID, "operation %d", op);
    }
}

Test(xen_codec, each_limit_of_an_exchange)
{
    const balloon_xen_exchange plain = {.in = {.extents = 512, .domain = 3},
                                        .out = {.extents = 1, .order = 9, .domain = 3},
                                        .exchanged = 512};
    balloon_xen_exchange changed = plain;

    cr_assert_eq(balloon_xen_check_exchange(&plain, 9), BALLOON_OK);
    cr_assert_eq(balloon_xen_check_exchange(&plain, 8), BALLOON_ERR_PROTOCOL);
    changed.exchanged = 513;
    cr_assert_eq(balloon_xen_check_exchange(&changed, 9), BALLOON_ERR_PROTOCOL);
    changed = plain;
    changed.in.extents = 511;
    changed.exchanged = 0;
    cr_assert_eq(balloon_xen_check_exchange(&changed, 9), BALLOON_ERR_PROTOCOL);
    changed = plain;
    changed.out.domain = 4;
    cr_assert_eq(balloon_xen_check_exchange(&changed, 9), BALLOON_ERR_PROTOCOL);
    /* Sizes that are equal only modulo 2^64. */
    changed = plain;
    changed.in.extents = 0;
    changed.exchanged = 0;
    changed.out.extents = (uint64_t)1 << 55;
    cr_assert_eq(balloon_xen_check_exchange(&changed, 9), BALLOON_ERR_PROTOCOL);
    changed.out.extents--;
    changed.in.extents = changed.out.extents << 9;
    cr_assert_eq(balloon_xen_check_exchange(&changed, 9), BALLOON_OK);
    for (uint32_t order = 60; order < 70; order++) {
        changed = (balloon_xen_exchange){.in = {.order = order}, .out = {.order = order}};
        cr_assert_eq(balloon_xen_check_exchange(&changed, UINT32_MAX),
                     order < 64 ? BALLOON_OK : BALLOON_ERR_PROTOCOL);
    }
}

Test(xen_codec, results_are_signed_and_never_more_than_asked)
{
    cr_assert_eq(balloon_xen_extents_done(0, 10), 0);
    cr_assert_eq(balloon_xen_extents_done(1, 10), 1);
    cr_assert_eq(balloon_xen_extents_done(10, 10), 10);
    cr_assert_eq(balloon_xen_extents_done(11, 10), 10);
    cr_assert_eq(balloon_xen_extents_done(-1, 10), 0);
    cr_assert_eq(balloon_xen_extents_done(-BALLOON_XEN_ENOSYS, 512), 0);
    cr_assert_eq(balloon_xen_extents_done(INT64_MIN, UINT64_MAX), 0);
    cr_assert_eq(balloon_xen_extents_done(INT64_MAX, UINT64_MAX), INT64_MAX);
    cr_assert_eq(balloon_xen_extents_done(INT64_MAX, 0), 0);
}

Test(xen_codec, extents_stay_within_64_bit_addresses)
{
    const uint64_t last = UINT64_MAX >> 12;
    balloon_range range = {1, 2};

    for (uint32_t order = 0; order <= 18; order++) {
        uint64_t count = (uint64_t)1 << order;

        cr_assert_eq(balloon_xen_extent_range(last - count + 1, order, &range), BALLOON_OK);
        cr_assert_eq(range.first, last - count + 1);
        cr_assert_eq(range.count, count);
        cr_assert_eq(balloon_xen_extent_range(last - count + 2, order, &range),
                     BALLOON_ERR_PROTOCOL);
        cr_assert_eq(balloon_xen_extent_range(UINT64_MAX, order, &range), BALLOON_ERR_PROTOCOL);
        cr_assert_eq(range.count, count);
    }
    for (uint32_t order = 19; order < 200; order++)
        cr_assert_eq(balloon_xen_extent_range(0, order, &range), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_xen_extent_range(0, UINT32_MAX, &range), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(range.count, 1 << 18);
}

/* --- Lists ----------------------------------------------------------------------------------- */

/* A page of memory between two that must not be touched. */
static unsigned char *guarded(size_t *bytes)
{
    unsigned char *pages;

    *bytes = (size_t)sysconf(_SC_PAGESIZE);
    pages = mmap(NULL, 3 * *bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(pages, MAP_FAILED);
    cr_assert_eq(mprotect(pages + *bytes, *bytes, PROT_READ | PROT_WRITE), 0);
    return pages + *bytes;
}

/* Lists of any length, in any pieces, each flush against a page that must not be touched, read in
 * any portions, with a claimed length that is right, too small or too large. */
Test(xen_codec, a_list_in_any_pieces_reads_like_one)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 2);
    size_t page;
    unsigned char *areas[4];

    for (size_t i = 0; i < 4; i++)
        areas[i] = guarded(&page);
    for (int i = 0; i < 20000; i++) {
        balloon_xen_layout layout = (balloon_xen_layout)prng_below(&prng, LAYOUTS);
        size_t word = layout == BALLOON_XEN_32 ? 4 : 8;
        size_t bytes = (size_t)prng_below(&prng, 800);
        uint64_t extents = prng_one_in(&prng, 4) ? UINT64_MAX : prng_below(&prng, 110);
        size_t expected = bytes / word < extents ? bytes / word : (size_t)extents;
        unsigned char list[800];
        balloon_pfn_t pfns[200];
        balloon_xen_frames frames;
        balloon_iov iov[6];
        size_t done = 0;
        size_t cut = 0;

        for (size_t k = 0; k < bytes; k++)
            list[k] = (unsigned char)prng_next(&prng);
        for (size_t k = 0; k < 4; k++) {
            size_t here = k == 3 ? bytes - cut : (size_t)prng_below(&prng, bytes - cut + 1);
            unsigned char *at = areas[k] + (prng_one_in(&prng, 2) ? page - here : 0);

            memcpy(at, list + cut, here);
            iov[k] = (balloon_iov){at, here};
            cut += here;
        }
        balloon_xen_frames_init(&frames, iov, 4, extents, layout);
        for (;;) {
            size_t max = (size_t)prng_below(&prng, 90) + 1;
            size_t count = balloon_xen_read_frames(&frames, pfns + done, max);

            cr_assert_eq(count, max < expected - done ? max : expected - done,
                         "seed %" PRIu64 ", case %d", seed, i);
            done += count;
            if (count < max)
                break;
        }
        cr_assert_eq(done, expected);
        for (size_t k = 0; k < expected; k++) {
            balloon_pfn_t pfn = 0;

            for (size_t b = word; b-- > 0;)
                pfn = pfn * 256 + list[k * word + b];
            cr_assert_eq(pfns[k], pfn, "seed %" PRIu64 ", case %d, number %zu", seed, i, k);
        }
        cr_assert_eq(balloon_xen_write_frames(pfns, expected, layout,
                                              areas[0] + page - expected * word, expected * word),
                     expected * word);
        cr_assert_eq(memcmp(areas[0] + page - expected * word, list, expected * word), 0);
    }
}

Test(xen_codec, lengths_that_add_up_to_more_than_all_memory_do_not_wrap)
{
    unsigned char bytes[8] = {1};
    balloon_iov iov[] = {{bytes, 5}, {bytes, SIZE_MAX}, {bytes, SIZE_MAX}};
    balloon_xen_frames frames;
    balloon_pfn_t pfn = 0;

    balloon_xen_frames_init(&frames, iov, 3, UINT64_MAX, BALLOON_XEN_64);
    cr_assert_eq(balloon_xen_read_frames(&frames, &pfn, 1), 1);
    cr_assert_eq(pfn, 1 + ((uint64_t)1 << 40));
    balloon_xen_frames_init(&frames, NULL, 0, UINT64_MAX, BALLOON_XEN_64);
    cr_assert_eq(balloon_xen_read_frames(&frames, &pfn, SIZE_MAX), 0);
    balloon_xen_frames_init(&frames, iov, 1, UINT64_MAX, BALLOON_XEN_32);
    cr_assert_eq(balloon_xen_read_frames(&frames, &pfn, 0), 0);
}

Test(xen_codec, lists_that_do_not_fit_are_not_written)
{
    const balloon_pfn_t pfns[] = {UINT32_MAX, (balloon_pfn_t)UINT32_MAX + 1};
    unsigned char buffer[16];

    memset(buffer, 0xc7, sizeof(buffer));
    for (size_t room = 0; room < 16; room++)
        cr_assert_eq(balloon_xen_write_frames(pfns, 2, BALLOON_XEN_64, buffer, room), 16);
    cr_assert_eq(balloon_xen_write_frames(pfns, 2, BALLOON_XEN_32, buffer, 16), SIZE_MAX);
    cr_assert_eq(balloon_xen_write_frames(pfns, 1, BALLOON_XEN_32, buffer, 3), 4);
    cr_assert_eq(balloon_xen_write_frames(pfns, SIZE_MAX / 8 + 1, BALLOON_XEN_64, buffer, 16),
                 SIZE_MAX);
    cr_assert_eq(balloon_xen_write_frames(NULL, 0, BALLOON_XEN_64, NULL, 0), 0);
    for (size_t i = 0; i < sizeof(buffer); i++)
        cr_assert_eq(buffer[i], 0xc7);
}

/* --- Memory that changes --------------------------------------------------------------------- */

Test(xen_codec, an_argument_is_looked_at_no_more_often_than_it_has_bytes)
{
    unsigned char *page = restless_page();

    for (int argument = 0; argument < ARGUMENTS; argument++) {
        for (int layout = 0; layout < LAYOUTS; layout++) {
            union any any;
            size_t looks;

            restless_start(NULL);
            cr_assert_eq(read_any((enum argument)argument, page, sizes[argument][layout],
                                  (balloon_xen_layout)layout, &any),
                         BALLOON_OK);
            looks = restless_stop();
            cr_assert_leq(looks, sizes[argument][layout], "argument %d: %zu", argument, looks);
            cr_assert_gt(looks, 0);
        }
    }
}
