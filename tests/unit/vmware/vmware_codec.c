#include <criterion/criterion.h>

#include <string.h>

#include <balloon/vmware.h>

#include "prng.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const balloon_vmware_command commands[] = {
    BALLOON_VMWARE_START,          BALLOON_VMWARE_GET_TARGET,      BALLOON_VMWARE_LOCK,
    BALLOON_VMWARE_UNLOCK,         BALLOON_VMWARE_SET_GUEST,       BALLOON_VMWARE_BATCHED_LOCK,
    BALLOON_VMWARE_BATCHED_UNLOCK, BALLOON_VMWARE_BATCHED_2M_LOCK, BALLOON_VMWARE_BATCHED_2M_UNLOCK,
    BALLOON_VMWARE_SET_DOORBELL,
};

static bool is_known(uint64_t command)
{
    return command <= 10 && command != 5;
}

static bool is_batched(uint64_t command)
{
    return command >= 6 && command <= 9;
}

static bool has_target(uint64_t command)
{
    return (command >= 1 && command <= 3) || is_batched(command);
}

static uint64_t most(balloon_vmware_width width)
{
    return width == BALLOON_VMWARE_32_BIT ? UINT32_MAX : UINT64_MAX;
}

/* Any number, of which edges are not rare. */
static uint64_t draw(struct prng *prng)
{
    switch (prng_below(prng, 4)) {
    case 0:
        return prng_below(prng, 1024);
    case 1:
        return ((uint64_t)1 << prng_below(prng, 64)) - prng_below(prng, 2);
    case 2:
        return (uint32_t)prng_next(prng);
    default:
        return prng_next(prng);
    }
}

static balloon_vmware_frame call(uint64_t command, uint64_t first, uint64_t second)
{
    return (balloon_vmware_frame){.ax = BALLOON_VMWARE_MAGIC,
                                  .bx = first,
                                  .cx = command,
                                  .dx = BALLOON_VMWARE_PORT,
                                  .si = second};
}

static bool same_frame(const balloon_vmware_frame *a, const balloon_vmware_frame *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static bool same_request(const balloon_vmware_request *a, const balloon_vmware_request *b)
{
    return a->command == b->command && a->entries == b->entries && a->pfn == b->pfn &&
           a->capabilities == b->capabilities && a->limit == b->limit && a->guest == b->guest &&
           a->context == b->context && a->resource == b->resource;
}

/* Reads a call; after an error nothing of the request has changed. */
static balloon_status read_call(balloon_vmware_frame frame, balloon_vmware_width width,
                                balloon_vmware_request *request)
{
    balloon_vmware_request untouched;
    balloon_status status;

    memset(request, 0x5c, sizeof(*request));
    memset(&untouched, 0x5c, sizeof(untouched));
    status = balloon_vmware_read_request(&frame, width, request);
    cr_assert(status == BALLOON_OK || memcmp(request, &untouched, sizeof(untouched)) == 0);
    return status;
}

static bool takes(balloon_vmware_frame frame, balloon_vmware_width width)
{
    balloon_vmware_request request;
    balloon_status status = read_call(frame, width, &request);

    cr_assert(status == BALLOON_OK || status == BALLOON_ERR_PROTOCOL);
    return status == BALLOON_OK;
}

/* --- Registers ------------------------------------------------------------------------------- */

Test(vmware_codec, registers_come_in_exactly_their_size)
{
    unsigned char bytes[64];
    balloon_vmware_frame untouched;

    memset(&untouched, 0x5c, sizeof(untouched));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i + 1);
    for (int i = 0; i < 2; i++) {
        balloon_vmware_width width = (balloon_vmware_width)i;
        size_t exact = width == BALLOON_VMWARE_32_BIT ? 24 : 48;

        for (size_t size = 0; size <= sizeof(bytes); size++) {
            balloon_vmware_frame frame = untouched;
            balloon_status status = balloon_vmware_read_frame(bytes, size, width, &frame);

            cr_assert_eq(status, size == exact ? BALLOON_OK : BALLOON_ERR_PROTOCOL, "%zu", size);
            cr_assert_eq(same_frame(&frame, &untouched), size != exact);
        }
    }
}

Test(vmware_codec, registers_are_little_endian_and_in_order)
{
    unsigned char bytes[48];
    unsigned char again[48];
    balloon_vmware_frame frame;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i + 1);
    cr_assert_eq(balloon_vmware_read_frame(bytes, 48, BALLOON_VMWARE_64_BIT, &frame), BALLOON_OK);
    cr_assert_eq(frame.ax, 0x0807060504030201);
    cr_assert_eq(frame.bx, 0x100f0e0d0c0b0a09);
    cr_assert_eq(frame.cx, 0x1817161514131211);
    cr_assert_eq(frame.dx, 0x201f1e1d1c1b1a19);
    cr_assert_eq(frame.si, 0x2827262524232221);
    cr_assert_eq(frame.di, 0x302f2e2d2c2b2a29);
    cr_assert_eq(balloon_vmware_write_frame(&frame, BALLOON_VMWARE_64_BIT, again, 48), 48);
    cr_assert_eq(memcmp(bytes, again, 48), 0);

    /* A 32-bit guest has the lower halves only. */
    cr_assert_eq(balloon_vmware_write_frame(&frame, BALLOON_VMWARE_32_BIT, again, 48), 24);
    cr_assert_eq(memcmp(again + 20, (unsigned char[]){0x29, 0x2a, 0x2b, 0x2c}, 4), 0);
    cr_assert_eq(balloon_vmware_read_frame(bytes, 24, BALLOON_VMWARE_32_BIT, &frame), BALLOON_OK);
    cr_assert_eq(frame.ax, 0x04030201);
    cr_assert_eq(frame.bx, 0x08070605);
    cr_assert_eq(frame.di, 0x18171615);
}

Test(vmware_codec, frames_that_do_not_fit_are_not_written)
{
    balloon_vmware_frame frame = {1, 2, 3, 4, 5, 6};
    unsigned char bytes[48];
    unsigned char untouched[48];

    memset(bytes, 0xc7, sizeof(bytes));
    memset(untouched, 0xc7, sizeof(untouched));
    for (size_t room = 0; room < 48; room++)
        cr_assert_eq(balloon_vmware_write_frame(&frame, BALLOON_VMWARE_64_BIT, bytes, room), 48);
    for (size_t room = 0; room < 24; room++)
        cr_assert_eq(balloon_vmware_write_frame(&frame, BALLOON_VMWARE_32_BIT, bytes, room), 24);
    cr_assert_eq(balloon_vmware_write_frame(&frame, BALLOON_VMWARE_64_BIT, NULL, 0), 48);
    cr_assert_eq(memcmp(bytes, untouched, sizeof(bytes)), 0);
    cr_assert_eq(balloon_vmware_write_frame(&frame, BALLOON_VMWARE_32_BIT, bytes, 24), 24);
    cr_assert_eq(memcmp(bytes + 24, untouched, 24), 0);
}

Test(vmware_codec, magic_and_port_are_looked_at_in_the_parts_that_guests_set)
{
    for (int i = 0; i < 2; i++) {
        balloon_vmware_width width = (balloon_vmware_width)i;

        for (unsigned bit = 0; bit < 64; bit++) {
            balloon_vmware_frame frame = call(BALLOON_VMWARE_GET_TARGET, 0, 0);

            frame.ax ^= (uint64_t)1 << bit;
            cr_assert_eq(takes(frame, width), bit >= 32, "AX, bit %u", bit);
            cr_assert_eq(balloon_vmware_is_call(&frame), bit >= 32);
            frame.ax = BALLOON_VMWARE_MAGIC;
            frame.dx ^= (uint64_t)1 << bit;
            cr_assert_eq(takes(frame, width), bit >= 16, "DX, bit %u", bit);
            cr_assert_eq(balloon_vmware_is_call(&frame), bit >= 16);
        }
    }
    cr_assert_not(takes((balloon_vmware_frame){.ax = 0x564d5868, .dx = 0x5658}, 0),
                  "the general backdoor is something else");
}

/* --- Requests -------------------------------------------------------------------------------- */

Test(vmware_codec, ten_commands_are_known)
{
    for (uint64_t command = 0; command <= UINT16_MAX; command++) {
        balloon_vmware_request request;

        cr_assert_eq(takes(call(command, 1, 1), BALLOON_VMWARE_64_BIT), is_known(command),
                     "command %llu", (unsigned long long)command);
        if (is_known(command)) {
            uint64_t stale = command | 0xfedcba9876540000;

            cr_assert_eq(read_call(call(stale, 1, 1), BALLOON_VMWARE_64_BIT, &request), BALLOON_OK);
            cr_assert_eq(request.command, command);
        }
    }
}

Test(vmware_codec, batches_have_1_to_512_entries)
{
    static const uint64_t stale[] = {0, 0x100000000, 0xffffffff00000000};
    static const struct {
        uint32_t count;
        bool good;
    } cases[] = {{0, false},          {1, true},          {511, true},         {512, true},
                 {513, false},        {0x10001, false},   {0x7fffffff, false}, {0x80000000, false},
                 {0x80000001, false}, {UINT32_MAX, false}};

    for (uint64_t command = 0; command <= 10; command++) {
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            for (size_t k = 0; k < COUNT_OF(stale); k++) {
                balloon_vmware_frame frame = call(command, 1, stale[k] | cases[i].count);
                bool good = is_batched(command) ? cases[i].good : is_known(command);
                balloon_vmware_request request;

                cr_assert_eq(takes(frame, BALLOON_VMWARE_64_BIT), good);
                cr_assert_eq(takes(frame, BALLOON_VMWARE_32_BIT), good);
                if (good && is_batched(command)) {
                    cr_assert_eq(read_call(frame, BALLOON_VMWARE_64_BIT, &request), BALLOON_OK);
                    cr_assert_eq(request.entries, cases[i].count);
                }
            }
        }
    }
}

/* Whoever computes the address of the page would be led to another one. */
Test(vmware_codec, a_batch_page_has_an_address)
{
    for (uint64_t command = 6; command <= 9; command++) {
        balloon_vmware_request request;

        cr_assert_eq(read_call(call(command, BALLOON_VMWARE_PFN_END - 1, 1), BALLOON_VMWARE_64_BIT,
                               &request),
                     BALLOON_OK);
        cr_assert_eq(request.pfn << BALLOON_PAGE_SHIFT >> BALLOON_PAGE_SHIFT, request.pfn);
        cr_assert_not(takes(call(command, BALLOON_VMWARE_PFN_END, 1), BALLOON_VMWARE_64_BIT));
        cr_assert_not(takes(call(command, UINT64_MAX, 1), BALLOON_VMWARE_64_BIT));
        cr_assert(takes(call(command, UINT64_MAX, 1), BALLOON_VMWARE_32_BIT));
    }
}

Test(vmware_codec, the_guest_has_a_number_of_32_bits)
{
    balloon_vmware_request request;

    cr_assert_eq(read_call(call(4, UINT32_MAX, 0), BALLOON_VMWARE_64_BIT, &request), BALLOON_OK);
    cr_assert_eq(request.guest, UINT32_MAX);
    cr_assert_not(takes(call(4, (uint64_t)UINT32_MAX + 1, 0), BALLOON_VMWARE_64_BIT));
    cr_assert(takes(call(4, (uint64_t)UINT32_MAX + 1, 0), BALLOON_VMWARE_32_BIT));
}

Test(vmware_codec, first_arguments_keep_all_bits_that_the_register_has)
{
    for (uint64_t command = 0; command <= 3; command++) {
        balloon_vmware_request request;

        cr_assert_eq(read_call(call(command, UINT64_MAX - 1, 1), BALLOON_VMWARE_64_BIT, &request),
                     BALLOON_OK);
        cr_assert_eq(request.capabilities + request.limit + request.pfn, UINT64_MAX - 1);
        cr_assert_eq(read_call(call(command, UINT64_MAX - 1, 1), BALLOON_VMWARE_32_BIT, &request),
                     BALLOON_OK);
        cr_assert_eq(request.capabilities + request.limit + request.pfn, UINT32_MAX - 1);
    }
}

Test(vmware_codec, no_doorbell_is_all_ones_in_32_bits_or_in_64)
{
    static const uint64_t ids[] = {UINT32_MAX, UINT64_MAX, 0x12345678ffffffff};
    balloon_vmware_frame frame;

    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        for (size_t k = 0; k < COUNT_OF(ids); k++) {
            balloon_vmware_request request;

            cr_assert_eq(read_call(call(10, ids[i], ids[k]), BALLOON_VMWARE_64_BIT, &request),
                         BALLOON_OK);
            cr_assert_eq(request.context, BALLOON_VMWARE_NO_ID);
            cr_assert_eq(request.resource, BALLOON_VMWARE_NO_ID);
            cr_assert_eq(balloon_vmware_write_request(&request, BALLOON_VMWARE_64_BIT, &frame),
                         BALLOON_OK);
            cr_assert(frame.bx == UINT64_MAX && frame.si == UINT64_MAX);
            cr_assert_eq(balloon_vmware_write_request(&request, BALLOON_VMWARE_32_BIT, &frame),
                         BALLOON_OK);
            cr_assert(frame.bx == UINT32_MAX && frame.si == UINT32_MAX);
        }
    }
}

Test(vmware_codec, requests_that_nobody_would_take_are_not_written)
{
    static const struct {
        balloon_vmware_request request;
        bool good[2]; /* By width. */
    } cases[] = {
        {{.command = (balloon_vmware_command)5}, {false, false}},
        {{.command = (balloon_vmware_command)11}, {false, false}},
        {{.command = (balloon_vmware_command)-1}, {false, false}},
        {{.command = BALLOON_VMWARE_START, .capabilities = UINT32_MAX}, {true, true}},
        {{.command = BALLOON_VMWARE_START, .capabilities = 1ull << 32}, {true, false}},
        {{.command = BALLOON_VMWARE_GET_TARGET, .limit = UINT32_MAX}, {true, true}},
        {{.command = BALLOON_VMWARE_GET_TARGET, .limit = 1ull << 32}, {true, false}},
        {{.command = BALLOON_VMWARE_LOCK, .pfn = UINT32_MAX}, {true, true}},
        {{.command = BALLOON_VMWARE_UNLOCK, .pfn = 1ull << 32}, {true, false}},
        {{.command = BALLOON_VMWARE_BATCHED_LOCK, .entries = 0}, {false, false}},
        {{.command = BALLOON_VMWARE_BATCHED_LOCK, .entries = 512}, {true, true}},
        {{.command = BALLOON_VMWARE_BATCHED_UNLOCK, .entries = 513}, {false, false}},
        {{.command = BALLOON_VMWARE_BATCHED_UNLOCK, .entries = 1, .pfn = 1ull << 32},
         {true, false}},
        {{.command = BALLOON_VMWARE_BATCHED_2M_LOCK, .entries = 1, .pfn = (1ull << 52) - 1},
         {true, false}},
        {{.command = BALLOON_VMWARE_BATCHED_2M_UNLOCK, .entries = 1, .pfn = 1ull << 52},
         {false, false}},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (int width = 0; width < 2; width++) {
            balloon_vmware_frame frame;
            balloon_vmware_frame untouched;
            balloon_status status;

            memset(&frame, 0x5c, sizeof(frame));
            memset(&untouched, 0x5c, sizeof(untouched));
            status = balloon_vmware_write_request(&cases[i].request, (balloon_vmware_width)width,
                                                  &frame);
            cr_assert_eq(status, cases[i].good[width] ? BALLOON_OK : BALLOON_ERR_INVALID,
                         "case %zu, width %d", i, width);
            cr_assert_eq(same_frame(&frame, &untouched), !cases[i].good[width]);
            cr_assert(!cases[i].good[width] || takes(frame, (balloon_vmware_width)width));
        }
    }
}

/* Whatever can be read is written as the same call without leftovers, and read again. */
Test(vmware_codec, requests_that_are_read_are_written_and_read_again)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);
    int good = 0;

    for (int i = 0; i < 200000; i++) {
        balloon_vmware_width width = (balloon_vmware_width)prng_below(&prng, 2);
        balloon_vmware_frame frame =
            call(prng_below(&prng, 12) | prng_next(&prng) << 16, draw(&prng), draw(&prng));
        balloon_vmware_request request;
        balloon_vmware_request again;
        balloon_vmware_frame clean;
        unsigned char bytes[48];
        size_t size;

        frame.ax |= prng_next(&prng) << 32;
        frame.dx |= prng_next(&prng) << 16;
        frame.di = prng_next(&prng);
        if (read_call(frame, width, &request) != BALLOON_OK)
            continue;
        good++;
        cr_assert_eq(balloon_vmware_write_request(&request, width, &clean), BALLOON_OK);
        cr_assert(clean.ax == BALLOON_VMWARE_MAGIC && clean.dx == BALLOON_VMWARE_PORT &&
                  clean.cx == (frame.cx & 0xffff) && clean.di == 0 && clean.bx <= most(width) &&
                  clean.si <= most(width));
        size = balloon_vmware_write_frame(&clean, width, bytes, sizeof(bytes));
        cr_assert_eq(balloon_vmware_read_frame(bytes, size, width, &frame), BALLOON_OK);
        cr_assert(same_frame(&frame, &clean));
        cr_assert_eq(read_call(frame, width, &again), BALLOON_OK);
        cr_assert(same_request(&request, &again), "seed %llu, case %d", (unsigned long long)seed,
                  i);
    }
    cr_assert_gt(good, 50000);
}

/* --- Replies --------------------------------------------------------------------------------- */

Test(vmware_codec, replies_change_what_carries_the_answer_and_nothing_else)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 1);

    for (int i = 0; i < 100000; i++) {
        balloon_vmware_command command = commands[prng_below(&prng, COUNT_OF(commands))];
        balloon_vmware_width width = (balloon_vmware_width)prng_below(&prng, 2);
        balloon_vmware_frame before = {draw(&prng), draw(&prng), draw(&prng),
                                       draw(&prng), draw(&prng), draw(&prng)};
        balloon_vmware_reply reply = {.status = (int32_t)prng_below(&prng, 10) - 1,
                                      .target = draw(&prng) & most(width)};
        balloon_vmware_frame after = before;
        balloon_vmware_reply found;

        if (command == BALLOON_VMWARE_START && reply.status <= 0)
            balloon_vmware_answer_start(draw(&prng), draw(&prng) & most(width), &reply);
        cr_assert_eq(balloon_vmware_write_reply(command, &reply, width, &after), BALLOON_OK);
        cr_assert_eq(after.ax, (uint32_t)reply.status);
        cr_assert_eq(after.bx, has_target(command) ? reply.target : before.bx);
        if (command != BALLOON_VMWARE_START || (reply.status > 0 && reply.status <= 8))
            cr_assert_eq(after.cx, before.cx);
        cr_assert(after.dx == before.dx && after.si == before.si && after.di == before.di);

        cr_assert_eq(balloon_vmware_read_reply(command, &after, width, &found), BALLOON_OK);
        cr_assert_eq(found.status, reply.status, "seed %llu, case %d", (unsigned long long)seed, i);
        cr_assert_eq(found.target, has_target(command) ? reply.target : 0);
        cr_assert_eq(found.capabilities, reply.capabilities);
    }
}

Test(vmware_codec, replies_that_no_host_gives_are_not_written)
{
    static const struct {
        int command;
        balloon_vmware_reply reply;
        bool good[2]; /* By width. */
    } cases[] = {
        {1, {.status = -2}, {false, false}},
        {1, {.status = -1}, {true, true}},
        {1, {.status = 8}, {true, true}},
        {1, {.status = 9}, {false, false}},
        {1, {.status = 1000}, {false, false}},
        {1, {.status = 0x03000000}, {false, false}},
        {1, {.target = UINT32_MAX}, {true, true}},
        {1, {.target = 1ull << 32}, {true, false}},
        {9, {.target = 1ull << 32, .status = 7}, {true, false}},
        {10, {.target = 1ull << 32}, {true, true}}, /* Not sent. */
        {0, {.status = 0}, {false, false}},
        {0, {.status = 0, .capabilities = 2}, {true, true}},
        {0, {.status = 0, .capabilities = 6}, {false, false}},
        {0, {.status = 1, .capabilities = 6}, {true, true}}, /* Not sent. */
        {0, {.status = 0x03000000, .capabilities = 0}, {true, true}},
        {0, {.status = 0x03000000, .capabilities = 1}, {false, false}},
        {0, {.status = 0x03000000, .capabilities = 8}, {false, false}},
        {0, {.status = 0x03000000, .capabilities = 12}, {true, true}},
        {0, {.status = 0x03000000, .capabilities = 1ull << 32}, {true, false}},
        {5, {.status = 1}, {true, true}}, /* How unknown commands are answered. */
        {0xffff, {.status = 1}, {true, true}},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (int width = 0; width < 2; width++) {
            balloon_vmware_frame untouched;
            balloon_vmware_frame frame;
            balloon_status status;

            memset(&untouched, 0x5c, sizeof(untouched));
            frame = untouched;
            status =
                balloon_vmware_write_reply((balloon_vmware_command)cases[i].command,
                                           &cases[i].reply, (balloon_vmware_width)width, &frame);
            cr_assert_eq(status, cases[i].good[width] ? BALLOON_OK : BALLOON_ERR_INVALID,
                         "case %zu, width %d", i, width);
            cr_assert_eq(same_frame(&frame, &untouched), !cases[i].good[width]);
        }
    }
}

Test(vmware_codec, any_status_can_be_read)
{
    static const struct {
        uint64_t ax;
        int32_t status;
    } cases[] = {{0, 0},
                 {8, 8},
                 {9, 9},
                 {0x7fffffff, INT32_MAX},
                 {0x80000000, INT32_MIN},
                 {0xffffffff, -1},
                 {UINT64_MAX, -1},
                 {0xabcdef0000000007, 7},
                 {0x03000000, 0x03000000}};

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        balloon_vmware_frame frame = {.ax = cases[i].ax, .bx = 0x1234};
        balloon_vmware_reply reply;

        cr_assert_eq(
            balloon_vmware_read_reply(BALLOON_VMWARE_LOCK, &frame, BALLOON_VMWARE_64_BIT, &reply),
            BALLOON_OK);
        cr_assert_eq(reply.status, cases[i].status, "case %zu", i);
        cr_assert_eq(reply.target, 0x1234);
        cr_assert_eq(reply.capabilities, 0);
    }
}

Test(vmware_codec, an_old_host_grants_basic_commands_whatever_cx_says)
{
    balloon_vmware_frame frame = {.ax = 0, .cx = UINT64_MAX};
    balloon_vmware_reply reply;

    cr_assert_eq(
        balloon_vmware_read_reply(BALLOON_VMWARE_START, &frame, BALLOON_VMWARE_64_BIT, &reply),
        BALLOON_OK);
    cr_assert_eq(reply.capabilities, BALLOON_VMWARE_BASIC);
}

Test(vmware_codec, another_protocol_and_unknown_commands_are_not_read)
{
    balloon_vmware_frame frame = {.ax = BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES, .cx = 3};
    balloon_vmware_reply untouched;
    balloon_vmware_reply reply;

    memset(&untouched, 0x5c, sizeof(untouched));
    reply = untouched;
    cr_assert_eq(balloon_vmware_read_reply(0, &frame, BALLOON_VMWARE_64_BIT, &reply),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(
        balloon_vmware_read_reply((balloon_vmware_command)5, &frame, BALLOON_VMWARE_64_BIT, &reply),
        BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_vmware_read_reply((balloon_vmware_command)11, &frame,
                                           BALLOON_VMWARE_64_BIT, &reply),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(memcmp(&reply, &untouched, sizeof(reply)), 0);
}

/* --- Negotiation ----------------------------------------------------------------------------- */

Test(vmware_codec, what_is_agreed_on_both_ends_have)
{
    for (uint64_t a = 0; a < 128; a++) {
        for (uint64_t b = 0; b < 128; b++) {
            uint64_t granted = balloon_vmware_negotiate(a, b);

            cr_assert_eq(granted & ~(a & b), 0);
            cr_assert_eq(granted & 1, 0);
            cr_assert(!(granted & BALLOON_VMWARE_BATCHED_2M) || (granted & BALLOON_VMWARE_BATCHED));
            cr_assert_eq(granted, balloon_vmware_negotiate(b, a));
            cr_assert_eq(granted, balloon_vmware_negotiate(granted, a));
            /* Nothing else is lost. */
            cr_assert_eq((a & b & ~granted) &
                             ~(1u | (a & b & 4 ? 0 : (unsigned)BALLOON_VMWARE_BATCHED_2M)),
                         0);
        }
    }
    cr_assert_eq(balloon_vmware_negotiate(UINT64_MAX, 1ull << 63 | 2), 1ull << 63 | 2);
}

Test(vmware_codec, commands_come_with_their_capability)
{
    static const uint64_t needs[] = {0, 0, 2, 2, 0, UINT64_MAX, 4, 4, 8, 8, 16};

    for (uint64_t granted = 0; granted < 64; granted++) {
        for (uint64_t command = 0; command < 20; command++) {
            bool allowed = is_known(command) && (needs[command] & ~granted) == 0;

            cr_assert_eq(balloon_vmware_allowed((balloon_vmware_command)command, granted), allowed);
        }
    }
    cr_assert_not(balloon_vmware_allowed((balloon_vmware_command)5, UINT64_MAX));
    cr_assert_not(balloon_vmware_allowed((balloon_vmware_command)-1, UINT64_MAX));
}

Test(vmware_codec, targets_are_cut_for_guests_that_know_32_bits)
{
    static const uint64_t edges[] = {0, 0x80000000, UINT32_MAX, (uint64_t)UINT32_MAX + 1,
                                     UINT64_MAX};

    for (size_t i = 0; i < COUNT_OF(edges); i++) {
        uint64_t cut = edges[i] < UINT32_MAX ? edges[i] : UINT32_MAX;

        cr_assert_eq(balloon_vmware_clamp_target(edges[i], BALLOON_VMWARE_64_BIT, 0x3e), edges[i]);
        cr_assert_eq(balloon_vmware_clamp_target(edges[i], BALLOON_VMWARE_64_BIT, 0x1e), cut);
        cr_assert_eq(balloon_vmware_clamp_target(edges[i], BALLOON_VMWARE_32_BIT, 0x3e), cut);
    }
}
