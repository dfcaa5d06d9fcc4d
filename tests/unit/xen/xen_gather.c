/* Messages of xenstore out of a stream, however it is cut. */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <balloon/xen.h>

#include "prng.h"
#include "restless.h"

#define HEADER BALLOON_XEN_HEADER_BYTES
#define MOST   BALLOON_XEN_MESSAGE_BYTES_MAX

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

static void put_length(unsigned char *message, size_t payload)
{
    for (size_t i = 0; i < 4; i++)
        message[12 + i] = (unsigned char)(payload >> 8 * i);
}

Test(xen_gather, a_stream_in_any_pieces_gives_the_same_messages)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);
    static unsigned char stream[8 * MOST];
    static unsigned char message[MOST];

    for (int round = 0; round < 300; round++) {
        size_t longest = prng_one_in(&prng, 4) ? BALLOON_XEN_PAYLOAD_BYTES_MAX : 40;
        size_t piece = 1 + (size_t)prng_below(&prng, prng_one_in(&prng, 3) ? 1024 : 24);
        size_t sizes[8];
        size_t total = 0;
        size_t at = 0;
        size_t start = 0;
        size_t done = 0;
        size_t bytes = 0;

        for (size_t i = 0; i < 8; i++) {
            size_t payload = (size_t)prng_below(&prng, longest + 1);

            for (size_t k = 0; k < HEADER + payload; k++)
                stream[total + k] = (unsigned char)prng_next(&prng);
            put_length(stream + total, payload);
            sizes[i] = HEADER + payload;
            total += sizes[i];
        }
        while (done < 8) {
            balloon_iov iov[4] = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
            size_t count = (size_t)prng_below(&prng, 5);
            size_t offered = 0;
            size_t taken = SIZE_MAX;
            bool whole = false;

            for (size_t i = 0; i < count; i++) {
                size_t here = (size_t)prng_below(&prng, piece + 1);

                here = here < total - at - offered ? here : total - at - offered;
                iov[i] = (balloon_iov){here == 0 ? NULL : stream + at + offered, here};
                offered += here;
            }
            cr_assert_eq(balloon_xen_gather(message, &bytes, iov, count, &taken, &whole),
                         BALLOON_OK);
            cr_assert_leq(taken, offered);
            at += taken;
            cr_assert_eq(bytes, at - start, "seed %" PRIu64 ", round %d", seed, round);
            cr_assert_eq(memcmp(message, stream + start, bytes), 0);
            cr_assert_eq(whole, bytes == sizes[done]);
            cr_assert(whole || taken == offered, "seed %" PRIu64 ", round %d", seed, round);
            if (whole) {
                start += sizes[done++];
                bytes = 0;
            }
        }
        cr_assert_eq(at, total);
    }
}

Test(xen_gather, a_message_that_is_too_long_is_refused_at_each_cut)
{
    unsigned char bytes[HEADER + 8] = {2};
    static const size_t lengths[] = {4097, 8192, 65536 + 4, 0x80000000, 0xffffffff};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        put_length(bytes, lengths[i]);
        for (size_t cut = 0; cut < HEADER; cut++) {
            unsigned char message[HEADER];
            unsigned char untouched[HEADER];
            balloon_iov first = {bytes, cut};
            balloon_iov rest = {bytes + cut, sizeof(bytes) - cut};
            size_t have = 0;
            size_t taken = 0;
            bool whole = true;

            memset(message, 0xc7, sizeof(message));
            cr_assert_eq(balloon_xen_gather(message, &have, &first, 1, &taken, &whole), BALLOON_OK);
            cr_assert_eq(have, cut);
            cr_assert_eq(taken, cut);
            cr_assert_not(whole);
            memcpy(untouched, message, sizeof(message));
            whole = true;
            taken = 99;
            cr_assert_eq(balloon_xen_gather(message, &have, &rest, 1, &taken, &whole),
                         BALLOON_ERR_PROTOCOL);
            cr_assert_eq(have, cut);
            cr_assert_eq(taken, 99);
            cr_assert(whole);
            cr_assert_eq(memcmp(message, untouched, sizeof(message)), 0);
        }
    }
}

Test(xen_gather, more_than_a_message_is_the_callers_mistake)
{
    unsigned char message[64] = {2};
    size_t have = HEADER + 5;
    size_t taken = 99;
    bool whole = false;

    put_length(message, 4);
    cr_assert_eq(balloon_xen_gather(message, &have, NULL, 0, &taken, &whole), BALLOON_ERR_INVALID);
    cr_assert_eq(have, HEADER + 5);
    cr_assert_eq(taken, 99);
    have--;
    cr_assert_eq(balloon_xen_gather(message, &have, NULL, 0, &taken, &whole), BALLOON_OK);
    cr_assert(whole);
    cr_assert_eq(taken, 0);
}

/* The message lies flush against a page that must not be touched, and so does each piece. */
Test(xen_gather, nothing_outside_of_the_pieces_and_the_message_is_touched)
{
    size_t page;
    unsigned char *from = guarded(&page);
    unsigned char *to = guarded(&page);
    unsigned char *far = guarded(&page);

    for (size_t payload = 0; payload < 40; payload++) {
        for (size_t cut = 0; cut <= HEADER + payload; cut++) {
            size_t size = HEADER + payload;
            unsigned char *message = to + page - size;
            unsigned char *second = far;
            balloon_iov iov[] = {{from + page - cut, cut}, {second, size - cut}};
            unsigned char bytes[HEADER + 40] = {4, 3, 2, 1};
            size_t have = 0;
            size_t taken = 0;
            bool whole = false;

            put_length(bytes, payload);
            for (size_t i = HEADER; i < size; i++)
                bytes[i] = (unsigned char)(i * 7);
            memcpy(from + page - cut, bytes, cut);
            memcpy(second, bytes + cut, size - cut);
            cr_assert_eq(balloon_xen_gather(message, &have, iov, 2, &taken, &whole), BALLOON_OK);
            cr_assert(whole);
            cr_assert_eq(taken, size);
            cr_assert_eq(memcmp(message, bytes, size), 0);
        }
    }
}

/* The length turns from one that is allowed into one that is not, or back. */
static void turn_length(unsigned char *page)
{
    page[12] ^= 4 ^ 9;
    page[13] ^= 0x20;
}

Test(xen_gather, a_length_that_changes_while_it_is_read)
{
    unsigned char *page = restless_page();

    for (int parity = 0; parity < 2; parity++) {
        unsigned char message[HEADER + 64];
        balloon_iov iov = {page, HEADER + 64};
        balloon_xen_header header;
        balloon_status status;
        size_t have = 0, taken = 0, looks;
        bool whole = false;

        page[12] = parity == 0 ? 4 : 9;
        page[13] = parity == 0 ? 0 : 0x20;
        restless_start(turn_length);
        status = balloon_xen_gather(message, &have, &iov, 1, &taken, &whole);
        looks = restless_stop();

        cr_assert_gt(looks, 0);
        cr_assert_leq(looks, HEADER + 64, "looked %zu times", looks);
        if (status == BALLOON_OK) {
            cr_assert(whole);
            cr_assert_eq(balloon_xen_read_header(message, have, &header), BALLOON_OK);
            cr_assert_eq(have, HEADER + header.bytes);
            cr_assert_eq(taken, have);
        } else {
            cr_assert_eq(status, BALLOON_ERR_PROTOCOL);
            cr_assert_eq(have, 0);
        }
    }
}
