/* The vhost-user example against front-ends and guests that misbehave. No Linux needed. */
#include "front_end.h"
#include "guest.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { INFLATE = 0, DEFLATE = 1, VERSION = 1 };

#define F_EVENT_IDX ((uint64_t)1 << 29)
#define F_PROTOCOL  ((uint64_t)1 << 30)
#define F_VERSION_1 ((uint64_t)1 << 32)
#define F_INDIRECT  ((uint64_t)1 << 28)
#define F_MUST_TELL ((uint64_t)1 << 0)
#define F_STATS     ((uint64_t)1 << 1)

static struct backend *backend;

static void begin(struct front_end *fe, uint64_t features)
{
    char path[128];
    static const char *const options[] = {"--features", "3", NULL};
    if (!backend)
        backend = backend_start(2, options);
    backend_socket(backend, 0, path, sizeof path);
    fe_connect(fe, path);
    fe->features = features;
    fe_set_up(fe);
}

/* After an end, the next front-end may come only when the last one was noticed to go. */
static void end(struct front_end *fe)
{
    static unsigned ended;
    ended++;
    fe_close(fe);
    for (uint64_t limit = guest_deadline(5); backend_events(backend, "disconnected") < ended;
         guest_sleep(2))
        cr_assert(guest_clock() < limit, "the end of a front-end goes unnoticed");
}

/* Put page numbers at an offset of guest RAM. */
static void put_pfns(struct front_end *fe, size_t offset, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++, first++)
        memcpy(fe->ram + offset + i * 4, &first, 4);
}

static void inflate(struct front_end *fe, uint32_t first, uint32_t count)
{
    uint16_t used = fe->ring[INFLATE].used[1];
    put_pfns(fe, FE_DATA, first, count);
    fe->ring[INFLATE].desc[0] = (struct fe_desc){fe_guest(FE_DATA), count * 4, 0, 0};
    fe_offer(fe, INFLATE, 0);
    cr_assert_eq(fe_wait_used(fe, INFLATE, (uint16_t)(used + 1)), (uint16_t)(used + 1));
}

Test(vhost_user, chains_of_every_shape, .timeout = 1200)
{
    struct front_end fe;
    begin(&fe, 0);
    struct fe_ring *ring = &fe.ring[INFLATE];
    /* A page number straddles two direct descriptors, with an empty one between them. */
    put_pfns(&fe, FE_DATA, FE_FIRST_PFN, 4);
    ring->desc[5] = (struct fe_desc){fe_guest(FE_DATA), 6, FE_NEXT, 9};
    ring->desc[9] = (struct fe_desc){0, 0, FE_NEXT, 2};
    ring->desc[2] = (struct fe_desc){fe_guest(FE_DATA + 6), 10, 0, 0};
    fe_offer(&fe, INFLATE, 5);
    cr_assert_eq(fe_wait_used(&fe, INFLATE, 1), 1);
    cr_assert_eq(ring->used[2], 5);
    cr_assert_eq(backend_number(backend, 0, "held"), 4u);

    /* The same through an indirect table. */
    struct fe_desc table[2] = {{fe_guest(FE_DATA + 0x100), 3, FE_NEXT, 1},
                               {fe_guest(FE_DATA + 0x103), 13, 0, 0}};
    put_pfns(&fe, FE_DATA + 0x100, FE_FIRST_PFN + 10, 4);
    memcpy(fe.ram + FE_DATA + 0x200, table, sizeof table);
    ring->desc[7] = (struct fe_desc){fe_guest(FE_DATA + 0x200), sizeof table, FE_INDIRECT, 0};
    fe_offer(&fe, INFLATE, 7);
    cr_assert_eq(fe_wait_used(&fe, INFLATE, 2), 2);
    cr_assert_eq(ring->used[6], 7);
    cr_assert_eq(backend_number(backend, 0, "held"), 8u);

    /* Around the ring more than once. */
    for (uint32_t i = 0; i < 3 * FE_RING; i++)
        inflate(&fe, FE_FIRST_PFN + 100 + i, 1);
    cr_assert_eq(backend_number(backend, 0, "held"), 8u + 3 * FE_RING);
    cr_assert_eq(backend_number(backend, 0, "protocol_errors"), 0u);
    end(&fe);
    backend_end(backend);
}

/* One kick for more buffers than are served in a turn. */
Test(vhost_user, full_ring_behind_one_kick, .timeout = 1200)
{
    struct front_end fe;
    begin(&fe, 0);
    struct fe_ring *ring = &fe.ring[INFLATE];
    put_pfns(&fe, FE_DATA, FE_FIRST_PFN, FE_RING);
    for (uint16_t i = 0; i < FE_RING; i++) {
        ring->desc[i] = (struct fe_desc){fe_guest(FE_DATA + i * 4u), 4, 0, 0};
        ring->avail[2 + i] = i;
    }
    ring->avail[1] = FE_RING - 1;
    fe_offer(&fe, INFLATE, FE_RING - 1);
    cr_assert_eq(fe_wait_used(&fe, INFLATE, FE_RING), FE_RING);
    cr_assert_eq(backend_number(backend, 0, "held"), (unsigned)FE_RING);
    end(&fe);
    backend_end(backend);
}

Test(vhost_user, interrupts_only_when_wanted, .timeout = 1200)
{
    struct front_end fe;
    begin(&fe, 0);
    struct fe_ring *ring = &fe.ring[INFLATE];
    ring->avail[2 + FE_RING] = 2; /* used_event: tell me after the third */
    for (uint32_t i = 0; i < 3; i++) {
        fe_interrupted(&fe, INFLATE);
        inflate(&fe, FE_FIRST_PFN + i, 1);
        backend_number(backend, 0, "held"); /* it is through with the buffer now */
        cr_assert_eq(fe_interrupted(&fe, INFLATE), i == 2);
    }
    cr_assert_eq(ring->used[2 + 4 * FE_RING], ring->avail[1], "it does not ask for kicks");
    end(&fe);

    begin(&fe, F_MUST_TELL | F_STATS | F_VERSION_1 | F_PROTOCOL);
    for (uint32_t i = 0; i < 2; i++) {
        fe.ring[INFLATE].avail[0] = (uint16_t)i; /* 1: do not interrupt */
        fe_interrupted(&fe, INFLATE);
        inflate(&fe, FE_FIRST_PFN + i, 1);
        backend_number(backend, 0, "held");
        cr_assert_eq(fe_interrupted(&fe, INFLATE), i == 0);
    }
    end(&fe);
    backend_end(backend);
}

/* There is nothing to wait for then; a page that the guest moves later gathers as ever. */
Test(vhost_user, what_gathers_goes_when_the_target_is_reached, .timeout = 1200)
{
    static const char *const options[] = {"--features", "3", "--gather-ms", "600000", NULL};
    const uint32_t sizes[] = {100, 256};
    struct front_end fe;
    backend = backend_start(2, options);
    begin(&fe, 0);
    backend_do(backend, "target 1");
    inflate(&fe, FE_FIRST_PFN, sizes[0]);
    cr_assert(fe_config_write(&fe, 4, &sizes[0], 4));
    cr_assert_eq(backend_number(backend, 0, "pending"), sizes[0], "more is coming");
    inflate(&fe, FE_FIRST_PFN + sizes[0], sizes[1] - sizes[0]);
    cr_assert(fe_config_write(&fe, 4, &sizes[1], 4));
    backend_wait(backend, 0, "discarded", sizes[1], 5);
    cr_assert_eq(backend_number(backend, 0, "discard_runs"), 1u);
    inflate(&fe, FE_FIRST_PFN + sizes[1], 1);
    cr_assert_eq(backend_number(backend, 0, "pending"), 1u);
    end(&fe);
    backend_end(backend);
}

/* Each puts something bad at head 0 of the ring. */
static void bad_loop(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){fe_guest(FE_DATA), 4, FE_NEXT, 1};
    ring->desc[1] = (struct fe_desc){fe_guest(FE_DATA), 4, FE_NEXT, 0};
}

static void bad_next(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){fe_guest(FE_DATA), 4, FE_NEXT, FE_RING};
}

static void bad_address(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){0x1000, 4, 0, 0};
}

static void bad_length(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){fe_guest(FE_DATA), UINT32_MAX, 0, 0};
}

static void bad_overflow(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){UINT64_MAX - 3, 64, 0, 0};
}

static void bad_indirect_size(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){fe_guest(FE_DATA), 24, FE_INDIRECT, 0};
}

static void bad_indirect_empty(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){fe_guest(FE_DATA), 0, FE_INDIRECT, 0};
}

static void bad_indirect_end(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->desc[0] = (struct fe_desc){fe_guest(FE_BYTES - 16), 32, FE_INDIRECT, 0};
}

static void bad_indirect_nested(struct front_end *fe, struct fe_ring *ring)
{
    struct fe_desc self = {fe_guest(FE_DATA), sizeof self, FE_INDIRECT, 0};
    memcpy(fe->ram + FE_DATA, &self, sizeof self);
    ring->desc[0] = self;
}

static void bad_indirect_next(struct front_end *fe, struct fe_ring *ring)
{
    struct fe_desc entry = {fe_guest(FE_DATA), 4, FE_NEXT, 1};
    memcpy(fe->ram + FE_DATA, &entry, sizeof entry);
    ring->desc[0] = (struct fe_desc){fe_guest(FE_DATA), sizeof entry, FE_INDIRECT, 0};
}

static void bad_head(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    for (unsigned i = 0; i < FE_RING; i++)
        ring->avail[2 + i] = FE_RING; /* offered once more below, at another place */
    ring->avail[1]++;
}

static void bad_index(struct front_end *fe, struct fe_ring *ring)
{
    (void)fe;
    ring->avail[1] = (uint16_t)(ring->avail[1] + FE_RING + 1);
}

Test(vhost_user, bad_ring_stops_alone, .timeout = 1200)
{
    static void (*const bad[])(struct front_end *, struct fe_ring *) = {
        bad_loop,           bad_next,         bad_address,
        bad_length,         bad_overflow,     bad_indirect_size,
        bad_indirect_empty, bad_indirect_end, bad_indirect_nested,
        bad_indirect_next,  bad_head,         bad_index};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct front_end fe;
        begin(&fe, 0);
        inflate(&fe, FE_FIRST_PFN, 8);
        bad[i](&fe, &fe.ring[INFLATE]);
        fe_offer(&fe, INFLATE, 0);
        for (uint64_t limit = guest_deadline(5); backend_events(backend, "ring_broken") != i + 1;
             guest_sleep(2))
            cr_assert(guest_clock() < limit, "case %u: the ring still runs", i);
        cr_assert_eq(fe.ring[INFLATE].used[1], 1, "case %u: a bad buffer was used", i);

        /* The other ring and the messages go on. */
        put_pfns(&fe, FE_DATA, FE_FIRST_PFN, 3);
        fe.ring[DEFLATE].desc[0] = (struct fe_desc){fe_guest(FE_DATA), 12, 0, 0};
        fe_offer(&fe, DEFLATE, 0);
        cr_assert_eq(fe_wait_used(&fe, DEFLATE, 1), 1, "case %u: the other ring stands", i);
        cr_assert_eq(backend_number(backend, 0, "held"), 5u);

        /* Set up again, the ring works again. */
        uint64_t features = fe.features;
        cr_assert(fe_request(&fe, 2, &features, sizeof features, NULL, 0));
        memset(fe.ram, 0, FE_DATA);
        fe_start_rings(&fe, NULL);
        inflate(&fe, FE_FIRST_PFN, 2);
        cr_assert_eq(backend_number(backend, 0, "held"), 2u);
        end(&fe);
    }
    backend_end(backend);
}

/* Without the protocol features a kick descriptor starts a ring. */
Test(vhost_user, rings_run_without_the_protocol_features, .timeout = 1200)
{
    struct front_end fe;
    begin(&fe, F_MUST_TELL | F_STATS | F_VERSION_1);
    inflate(&fe, FE_FIRST_PFN, 7);
    cr_assert_eq(backend_number(backend, 0, "held"), 7u);
    end(&fe);
    backend_end(backend);
}

struct message {
    const char *what;
    uint32_t request;
    size_t bytes;
    uint64_t payload[8];
};

Test(vhost_user, bad_requests_are_refused, .timeout = 1200)
{
    static const struct message bad[] = {
        {"unknown request", 99, 8, {0}},
        {"features not offered", 2, 8, {(uint64_t)1 << 40}},
        {"short features", 2, 4, {0}},
        {"too many regions", 5, 40, {9, FE_GUEST, FE_BYTES, FE_USER, 0}},
        {"short table", 5, 40, {2, FE_GUEST, FE_BYTES, FE_USER, 0}},
        {"region past its file", 5, 40, {1, FE_GUEST, FE_BYTES + 4096, FE_USER, 0}},
        {"region of no page", 5, 40, {1, FE_GUEST, 100, FE_USER, 0}},
        {"region that wraps", 5, 40, {1, UINT64_MAX - 4095, FE_BYTES, FE_USER, 0}},
        {"offset that wraps", 5, 40, {1, FE_GUEST, 4096, FE_USER, UINT64_MAX - 4095}},
        {"ring number", 8, 8, {200}},
        {"ring of no size", 8, 8, {1}},
        {"ring of odd size", 8, 8, {1 | (uint64_t)3 << 32}},
        {"ring too large", 8, 8, {1 | (uint64_t)65536 << 32}},
        {"kick of no ring", 12, 8, {200}},
        {"kick without descriptor", 12, 8, {0x100}},
        {"configuration too long", 25, 16, {(uint64_t)300 << 32}}};
    struct front_end fe;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(&fe, 0);
        int fds[1] = {fe.memfd};
        cr_assert_not(fe_request(&fe, bad[i].request, bad[i].payload, bad[i].bytes, fds,
                                 bad[i].request == 5 ? 1 : 0),
                      "accepted: %s", bad[i].what);
        end(&fe);
    }
    /* What is no message ends the connection. */
    static const uint32_t nonsense[][3] = {{1, VERSION, UINT32_MAX}, {1, 3, 0}, {1, 0, 0}};
    for (unsigned i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        uint64_t answer;
        begin(&fe, 0);
        cr_assert_eq(write(fe.socket, nonsense[i], sizeof nonsense[i]), sizeof nonsense[i]);
        cr_assert_eq(fe_receive(&fe, &answer, sizeof answer), 0u);
        end(&fe);
    }
    backend_end(backend);
}

Test(vhost_user, slow_front_end_holds_up_nobody, .timeout = 1200)
{
    struct front_end slow, fast;
    char path[128];
    begin(&fast, 0);
    backend_socket(backend, 1, path, sizeof path);
    fe_connect(&slow, path);
    uint32_t header[3] = {2, VERSION, 8};
    cr_assert_eq(write(slow.socket, header, 7), 7);
    inflate(&fast, FE_FIRST_PFN, 5);
    cr_assert_eq(backend_number(backend, 0, "held"), 5u);
    cr_assert_eq(write(slow.socket, (char *)header + 7, 5), 5);
    inflate(&fast, FE_FIRST_PFN + 5, 5);
    end(&slow);
    end(&fast);
    backend_end(backend);
}
