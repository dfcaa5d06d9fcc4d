#include <criterion/criterion.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <balloon/vmware.h>

#include "prng.h"
#include "restless.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

Test(vmware_batch, batches_are_read_when_all_their_bytes_are_there)
{
    static unsigned char page[4096 + 8];
    static balloon_vmware_entry entries[512];
    static balloon_vmware_entry untouched[512];
    static const uint32_t counts[] = {0, 1, 2, 3, 511, 512, 513, 0x20000001, UINT32_MAX};

    memset(untouched, 0x5c, sizeof(untouched));
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        for (size_t bytes = 0; bytes <= sizeof(page); bytes++) {
            bool good = counts[i] >= 1 && counts[i] <= 512 && bytes >= (size_t)counts[i] * 8;
            balloon_status status;

            memset(entries, 0x5c, sizeof(entries));
            status = balloon_vmware_read_batch(page, bytes, counts[i], entries);
            cr_assert_eq(status, good ? BALLOON_OK : BALLOON_ERR_PROTOCOL, "%u entries in %zu",
                         counts[i], bytes);
            cr_assert(memcmp(entries + (good ? counts[i] : 0), untouched,
                             (size_t)(512 - (good ? counts[i] : 0)) * sizeof(entries[0])) == 0);
        }
    }
}

Test(vmware_batch, each_bit_of_an_entry_has_its_place)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        unsigned char bytes[8] = {0};
        balloon_vmware_entry entry;

        bytes[bit / 8] = (unsigned char)(1u << bit % 8);
        cr_assert_eq(balloon_vmware_read_batch(bytes, 8, 1, &entry), BALLOON_OK);
        cr_assert_eq(entry.status, bit < 5 ? 1u << bit : 0, "bit %u", bit);
        cr_assert_eq(entry.pfn, bit >= 12 ? (uint64_t)1 << (bit - 12) : 0, "bit %u", bit);
    }
}

Test(vmware_batch, batches_that_do_not_fit_are_not_written)
{
    static balloon_vmware_entry entries[513];
    unsigned char bytes[64];
    unsigned char untouched[64];

    memset(bytes, 0xc7, sizeof(bytes));
    memset(untouched, 0xc7, sizeof(untouched));
    for (size_t room = 0; room < 24; room++)
        cr_assert_eq(balloon_vmware_write_batch(entries, 3, bytes, room), 24);
    cr_assert_eq(balloon_vmware_write_batch(entries, 512, NULL, 0), 4096);
    cr_assert_eq(balloon_vmware_write_batch(entries, 0, bytes, sizeof(bytes)), 0);
    cr_assert_eq(balloon_vmware_write_batch(entries, 513, bytes, SIZE_MAX), 0);
    cr_assert_eq(balloon_vmware_write_batch(entries, UINT32_MAX, bytes, SIZE_MAX), 0);
    entries[2].status = 9;
    cr_assert_eq(balloon_vmware_write_batch(entries, 3, bytes, sizeof(bytes)), 0);
    entries[2].status = (uint32_t)BALLOON_VMWARE_FAILURE;
    cr_assert_eq(balloon_vmware_write_batch(entries, 3, bytes, sizeof(bytes)), 0);
    entries[2] = (balloon_vmware_entry){BALLOON_VMWARE_PFN_END, 0};
    cr_assert_eq(balloon_vmware_write_batch(entries, 3, bytes, sizeof(bytes)), 0);
    cr_assert_eq(memcmp(bytes, untouched, sizeof(bytes)), 0);
    entries[2] = (balloon_vmware_entry){BALLOON_VMWARE_PFN_END - 1, 8};
    cr_assert_eq(balloon_vmware_write_batch(entries, 3, bytes, 24), 24);
    cr_assert_eq(memcmp(bytes + 24, untouched, sizeof(bytes) - 24), 0);
    cr_assert_eq(memcmp(bytes + 16, "\x08\xf0\xff\xff\xff\xff\xff\xff", 8), 0);
}

Test(vmware_batch, a_page_number_stands_for_1_page_or_512)
{
    for (uint64_t command = 0; command <= 11; command++) {
        bool large = command == 8 || command == 9;
        bool pages = command == 2 || command == 3 || (command >= 6 && command <= 9);
        static const struct {
            uint64_t pfn;
            bool small;
            bool large;
        } cases[] = {{0, true, true},
                     {1, true, false},
                     {511, true, false},
                     {512, true, true},
                     {0x40100, true, false},
                     {(1ull << 52) - 512, true, true},
                     {(1ull << 52) - 1, true, false},
                     {1ull << 52, false, false},
                     {UINT64_MAX, false, false}};

        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            bool good = pages && (large ? cases[i].large : cases[i].small);
            balloon_range range = {77, 88};
            balloon_status status =
                balloon_vmware_entry_range((balloon_vmware_command)command, cases[i].pfn, &range);

            cr_assert_eq(status, good    ? BALLOON_OK
                                 : pages ? BALLOON_ERR_PROTOCOL
                                         : BALLOON_ERR_INVALID);
            cr_assert_eq(range.first, good ? cases[i].pfn : 77);
            cr_assert_eq(range.count, good ? (large ? 512 : 1) : 88);
        }
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

static unsigned char *place(struct guarded guarded, size_t bytes, bool at_end)
{
    return guarded.page + (at_end ? guarded.bytes - bytes : 0);
}

/* What is read and written lies flush against a guard page, now before it and now behind it. */
Test(vmware_batch, nothing_outside_of_the_bytes_is_touched)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 2);
    struct guarded area = guard();
    static balloon_vmware_entry entries[512];
    static balloon_vmware_entry again[512];

    for (int i = 0; i < 2000; i++) {
        bool at_end = prng_one_in(&prng, 2);
        balloon_vmware_width width = (balloon_vmware_width)prng_below(&prng, 2);
        size_t size = width == BALLOON_VMWARE_32_BIT ? 24 : 48;
        balloon_vmware_frame frame = {prng_next(&prng), prng_next(&prng), prng_next(&prng),
                                      prng_next(&prng), prng_next(&prng), prng_next(&prng)};
        uint32_t count = 1 + (uint32_t)prng_below(&prng, 512);
        unsigned char *at = place(area, (size_t)count * 8, at_end);

        for (uint32_t k = 0; k < count; k++)
            entries[k] = (balloon_vmware_entry){prng_next(&prng) >> (12 + prng_below(&prng, 40)),
                                                (uint32_t)prng_below(&prng, 9)};
        cr_assert_eq(balloon_vmware_write_batch(entries, count, at, (size_t)count * 8), count * 8);
        cr_assert_eq(balloon_vmware_read_batch(at, (size_t)count * 8, count, again), BALLOON_OK);
        for (uint32_t k = 0; k < count; k++)
            cr_assert(again[k].pfn == entries[k].pfn && again[k].status == entries[k].status,
                      "seed %llu, case %d", (unsigned long long)seed, i);
        cr_assert_eq(balloon_vmware_read_batch(at, (size_t)count * 8 - 1, count, again),
                     BALLOON_ERR_PROTOCOL);

        at = place(area, size, at_end);
        cr_assert_eq(balloon_vmware_write_frame(&frame, width, at, size), size);
        cr_assert_eq(balloon_vmware_read_frame(at, size, width, &frame), BALLOON_OK);
    }
}

static void turn_all_bits(unsigned char *page)
{
    for (size_t i = 0; i < 8; i++)
        page[i] ^= 0xff;
}

Test(vmware_batch, an_entry_is_looked_at_once)
{
    unsigned char *page = restless_page();
    balloon_vmware_entry entry;
    size_t looks;

    restless_start(turn_all_bits);
    cr_assert_eq(balloon_vmware_read_batch(page, 8, 1, &entry), BALLOON_OK);
    looks = restless_stop();
    cr_assert_gt(looks, 0);
    cr_assert_leq(looks, 8, "looked %zu times at 8 bytes", looks);
    if (looks == 1)
        cr_assert(entry.pfn == 0 && entry.status == 0);
}
