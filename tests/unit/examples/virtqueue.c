/* docs/examples/virtqueue.c: what it takes from a guest that behaves, and from one that does not.
 */
#include "virtqueue.h"

#include <criterion/criterion.h>
#include <string.h>

/* Guest RAM: two pieces next to each other for the guest, and apart here. */
enum { LOW = 0x10000, MIDDLE = 0x20000, END = 0x28000, SIZE = 8 };
enum { DESC = LOW, AVAIL = LOW + 0x1000, USED = LOW + 0x2000, DATA = LOW + 0x3000 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

static _Alignas(4096) uint8_t low[MIDDLE - LOW];
static _Alignas(4096) uint8_t high[END - MIDDLE];
static struct virtqueue vq;
static struct vq_chain chain;
static unsigned finds, change_at; /* the guest writes to its memory at this look-up */
static void (*change)(void);
static uint64_t hidden_from, hidden_to; /* memory that is not there any more */

struct desc {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags, next;
};

static uint8_t *ram(uint64_t address)
{
    return address >= MIDDLE ? high + (address - MIDDLE) : low + (address - LOW);
}

static void *find(void *self, uint64_t address, uint64_t *bytes)
{
    cr_assert_eq(self, (void *)low);
    if (++finds == change_at)
        change();
    if (address < LOW || address >= END || (address >= hidden_from && address < hidden_to))
        return NULL;
    uint64_t left = (address < MIDDLE ? MIDDLE : END) - address;
    *bytes = *bytes < left ? *bytes : left;
    return ram(address);
}

/* Write a descriptor, as a guest does; it is little-endian. */
static void put(uint64_t address, struct desc d)
{
    d = (struct desc){VQ_LE64(d.address), VQ_LE32(d.bytes), VQ_LE16(d.flags), VQ_LE16(d.next)};
    memcpy(ram(address), &d, sizeof d);
}

/* Words of the available and of the used ring. */
static uint16_t *word(uint64_t ring, unsigned i)
{
    return (uint16_t *)(void *)ram(ring) + i;
}

static uint16_t avail(unsigned i)
{
    return VQ_LE16(*word(vq.avail, i));
}

static void set_avail(unsigned i, uint16_t value)
{
    *word(vq.avail, i) = VQ_LE16(value);
}

static uint16_t used(unsigned i)
{
    return VQ_LE16(*word(vq.used, i));
}

static void set_used(unsigned i, uint16_t value)
{
    *word(vq.used, i) = VQ_LE16(value);
}

static void offer(uint16_t head)
{
    set_avail(2 + avail(1) % vq.size, head);
    set_avail(1, (uint16_t)(avail(1) + 1));
}

static void begin(uint64_t features)
{
    memset(low, 0, sizeof low);
    memset(high, 0, sizeof high);
    vq = (struct virtqueue){.memory = {find, low},
                            .desc = DESC,
                            .avail = AVAIL,
                            .used = USED,
                            .features = features,
                            .size = SIZE};
    finds = change_at = 0;
    hidden_from = hidden_to = 0;
    cr_assert(virtqueue_start(&vq));
    virtqueue_turn(&vq, 0);
}

static enum vq_take take_head(uint16_t head)
{
    offer(head);
    return virtqueue_take(&vq, &chain);
}

/* One descriptor, at head 0. */
static enum vq_take take_one(struct desc d)
{
    put(DESC, d);
    return take_head(0);
}

Test(virtqueue, takes_a_chain_apart)
{
    begin(0);
    put(DESC + 5 * 16, (struct desc){DATA, 6, NEXT, 2});
    put(DESC + 2 * 16, (struct desc){0, 0, NEXT, 7});
    put(DESC + 7 * 16, (struct desc){DATA + 0x100, 10, NEXT, 1});
    put(DESC + 1 * 16, (struct desc){0xdead0000beef, 77, WRITE, 3});
    cr_assert_eq(take_head(5), VQ_CHAIN);
    cr_assert_eq(chain.head, 5);
    cr_assert_eq(chain.readable_count, 2u);
    cr_assert_eq(chain.readable[0].base, (void *)ram(DATA));
    cr_assert_eq(chain.readable[0].bytes, 6u);
    cr_assert_eq(chain.readable[1].base, (void *)ram(DATA + 0x100));
    cr_assert_eq(chain.readable[1].bytes, 10u);
    cr_assert_eq(chain.writable_count, 1u);
    cr_assert_eq(chain.writable[0].address, 0xdead0000beefu);
    cr_assert_eq(chain.writable[0].bytes, 77u);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_EMPTY);
}

Test(virtqueue, a_buffer_may_span_pieces_of_memory)
{
    begin(0);
    cr_assert_eq(take_one((struct desc){MIDDLE - 3, 8, 0, 0}), VQ_CHAIN);
    cr_assert_eq(chain.readable_count, 2u);
    cr_assert_eq(chain.readable[0].base, (void *)ram(MIDDLE - 3));
    cr_assert_eq(chain.readable[0].bytes, 3u);
    cr_assert_eq(chain.readable[1].base, (void *)high);
    cr_assert_eq(chain.readable[1].bytes, 5u);
}

Test(virtqueue, takes_an_indirect_table_apart)
{
    begin(VQ_F_INDIRECT_DESC);
    put(DATA + 0x200, (struct desc){DATA, 3, NEXT, 1});
    put(DATA + 0x210, (struct desc){DATA + 3, 13, WRITE, 0});
    put(DESC + 1 * 16, (struct desc){DATA + 0x10, 1, NEXT, 0});
    put(DESC + 0 * 16, (struct desc){DATA + 0x200, 32, INDIRECT, 0});
    cr_assert_eq(take_head(1), VQ_CHAIN);
    cr_assert_eq(chain.head, 1);
    cr_assert_eq(chain.readable_count, 2u);
    cr_assert_eq(chain.readable[1].bytes, 3u);
    cr_assert_eq(chain.writable_count, 1u);
    cr_assert_eq(chain.writable[0].address, (uint64_t)DATA + 3);
}

Test(virtqueue, goes_around_more_often_than_indices_do)
{
    bool interrupt;

    begin(0);
    for (uint32_t i = 0; i < 70000; i++) {
        virtqueue_turn(&vq, 0);
        cr_assert_eq(take_one((struct desc){DATA, i % 7 + 1, 0, 0}), VQ_CHAIN);
        cr_assert_eq(chain.readable[0].bytes, i % 7 + 1);
        cr_assert(virtqueue_give(&vq, chain.head, i, &interrupt));
        uint32_t entry[2];
        memcpy(entry, word(vq.used, 2 + 4 * (i % SIZE)), sizeof entry);
        cr_assert_eq(entry[0], 0u);
        cr_assert_eq(entry[1], VQ_LE32(i));
        cr_assert_eq(used(1), (uint16_t)(i + 1));
    }
}

Test(virtqueue, gives_only_heads_that_there_are)
{
    bool interrupt = true;

    begin(0);
    cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
    cr_assert_not(virtqueue_give(&vq, SIZE, 0, &interrupt));
    cr_assert_not(interrupt);
    cr_assert_eq(used(1), 0);
}

/* A guest that refills its queue all the time gets its turn, and no more. */
Test(virtqueue, writes_to_what_is_writable)
{
    begin(0);
    put(DESC, (struct desc){DATA, 4, NEXT, 3});
    put(DESC + 3 * 16, (struct desc){DATA + 0x10, 1, NEXT | WRITE, 1});
    put(DESC + 1 * 16, (struct desc){DATA + 0x20, 0, NEXT | WRITE, 2});
    put(DESC + 2 * 16, (struct desc){MIDDLE - 2, 5, WRITE, 0});
    cr_assert_eq(take_head(0), VQ_CHAIN);
    cr_assert(virtqueue_write(&vq, 0, "abcd", 4));
    cr_assert_eq(*ram(DATA), 0);
    cr_assert_eq(memcmp(ram(DATA + 0x10), "a\0", 2), 0);
    cr_assert_eq(memcmp(ram(MIDDLE - 2), "bc", 2), 0);
    cr_assert_eq(memcmp(ram(MIDDLE), "d\0", 2), 0);
    cr_assert(virtqueue_write(&vq, 0, "ABCDEF", 6));
    cr_assert_eq(memcmp(ram(MIDDLE), "DEF\0", 4), 0);
    cr_assert_not(virtqueue_write(&vq, 0, "abcdefg", 7));
    cr_assert_eq(*ram(MIDDLE + 3), 0);
}

Test(virtqueue, work_of_a_turn_is_bounded)
{
    bool interrupt;

    begin(VQ_F_EVENT_IDX);
    for (unsigned i = 0; i < SIZE; i++) {
        cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
        cr_assert(virtqueue_give(&vq, 0, 0, &interrupt));
    }
    uint16_t asked = used(2 + 4 * SIZE);
    cr_assert_eq(take_head(0), VQ_LATER);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_LATER);
    cr_assert_eq(used(2 + 4 * SIZE), asked, "it asks for no kick while there is work");
    virtqueue_turn(&vq, 1);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_CHAIN);
    cr_assert_eq(take_head(0), VQ_LATER);
    virtqueue_turn(&vq, 1000);
    cr_assert_eq(vq.turn, (uint32_t)SIZE);
}

Test(virtqueue, interrupts_as_the_flag_says)
{
    bool interrupt;

    begin(0);
    for (uint16_t off = 0; off < 2; off++) {
        set_avail(0, off);
        cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
        cr_assert(virtqueue_give(&vq, 0, 0, &interrupt));
        cr_assert_eq(interrupt, off == 0);
    }
}

Test(virtqueue, interrupts_at_the_event_index)
{
    bool interrupt;

    begin(VQ_F_EVENT_IDX);
    set_avail(0, 1); /* means nothing with event indices */
    set_avail(2 + SIZE, 2);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
        cr_assert(virtqueue_give(&vq, 0, 0, &interrupt));
        cr_assert_eq(interrupt, i == 2, "buffer %u", i);
    }
}

Test(virtqueue, asks_for_a_kick_when_it_is_empty)
{
    begin(VQ_F_EVENT_IDX);
    set_used(2 + 4 * SIZE, 99);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_EMPTY);
    cr_assert_eq(used(2 + 4 * SIZE), 0);
    cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
    cr_assert_eq(used(2 + 4 * SIZE), 0);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_EMPTY);
    cr_assert_eq(used(2 + 4 * SIZE), 1);

    begin(0);
    set_used(2 + 4 * SIZE, 99);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_EMPTY);
    cr_assert_eq(used(2 + 4 * SIZE), 99);
}

Test(virtqueue, resumes_where_the_rings_are)
{
    bool interrupt;

    begin(0);
    set_avail(1, 41);
    set_used(1, 39); /* one was taken and not given */
    cr_assert(virtqueue_resume(&vq, 40));
    virtqueue_turn(&vq, 0);
    set_avail(2 + 40 % SIZE, 3);
    put(DESC + 3 * 16, (struct desc){DATA, 4, 0, 0});
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_CHAIN);
    cr_assert_eq(chain.head, 3);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_EMPTY);
    cr_assert(virtqueue_give(&vq, 3, 0, &interrupt));
    cr_assert_eq(used(1), 40);
}

/* ---- Guests that do not behave ---- */

Test(virtqueue_hostile, the_index_jumps)
{
    bool interrupt;

    begin(0);
    set_avail(1, SIZE + 1);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_BROKEN);
    set_avail(1, UINT16_MAX);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_BROKEN);

    /* Back, after buffers were taken; */
    begin(0);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
    set_avail(1, 2);
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_BROKEN);

    /* or there are more buffers than the queue has room for, with those under way. */
    begin(0);
    for (unsigned i = 0; i < SIZE; i++)
        cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
    virtqueue_turn(&vq, 0);
    cr_assert_eq(take_head(0), VQ_BROKEN);
    cr_assert(virtqueue_give(&vq, 0, 0, &interrupt));
    cr_assert_eq(virtqueue_take(&vq, &chain), VQ_CHAIN);
}

Test(virtqueue_hostile, there_is_no_such_descriptor)
{
    begin(0);
    cr_assert_eq(take_head(SIZE), VQ_BROKEN);
    begin(0);
    cr_assert_eq(take_head(UINT16_MAX), VQ_BROKEN);
    begin(0);
    cr_assert_eq(take_one((struct desc){DATA, 4, NEXT, SIZE}), VQ_BROKEN);
    begin(VQ_F_INDIRECT_DESC);
    put(DESC + 1 * 16, (struct desc){DATA, 4, 0, 0}); /* would do, but the table has one entry */
    put(DATA, (struct desc){DATA, 4, NEXT, 1});
    cr_assert_eq(take_one((struct desc){DATA, 16, INDIRECT, 0}), VQ_BROKEN);
}

Test(virtqueue_hostile, chains_have_an_end)
{
    begin(0);
    put(DESC + 1 * 16, (struct desc){DATA, 4, NEXT, 0});
    cr_assert_eq(take_one((struct desc){DATA, 4, NEXT, 1}), VQ_BROKEN);
    begin(0); /* pieces of no length do not help */
    cr_assert_eq(take_one((struct desc){DATA, 0, NEXT, 0}), VQ_BROKEN);
    begin(0);
    cr_assert_eq(take_one((struct desc){DATA, 0, NEXT | WRITE, 0}), VQ_BROKEN);

    /* One descriptor names the table. */
    for (unsigned long_by = 0; long_by < 2; long_by++) {
        unsigned entries = VQ_CHAIN_MAX - 1 + long_by;
        begin(VQ_F_INDIRECT_DESC);
        for (unsigned i = 0; i < entries; i++)
            put(DATA + i * 16,
                (struct desc){DATA, 1, i + 1 < entries ? NEXT : 0, (uint16_t)(i + 1)});
        enum vq_take take = take_one((struct desc){DATA, entries * 16, INDIRECT, 0});
        cr_assert_eq(take, long_by ? VQ_BROKEN : VQ_CHAIN);
    }
}

/* As many pieces as descriptors, and each of them in two. */
Test(virtqueue_hostile, pieces_are_bounded)
{
    enum { ENTRIES = VQ_CHAIN_MAX / 2 + 1 };

    begin(VQ_F_INDIRECT_DESC);
    for (unsigned i = 0; i < ENTRIES; i++)
        put(DATA + i * 16,
            (struct desc){MIDDLE - 1, 2, i + 1 < ENTRIES ? NEXT : 0, (uint16_t)(i + 1)});
    cr_assert_eq(take_one((struct desc){DATA, ENTRIES * 16, INDIRECT, 0}), VQ_BROKEN);
}

Test(virtqueue_hostile, buffers_lie_outside_of_memory)
{
    static const struct desc bad[] = {
        {0, 1, 0, 0},   {LOW - 1, 2, 0, 0},       {END - 4, 5, 0, 0},
        {END, 1, 0, 0}, {DATA, UINT32_MAX, 0, 0}, {UINT64_MAX - 3, 64, 0, 0},
    };

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(0);
        cr_assert_eq(take_one(bad[i]), VQ_BROKEN, "descriptor %u", i);
    }
    begin(0);
    cr_assert_eq(take_one((struct desc){END - 4, 4, 0, 0}), VQ_CHAIN);
}

Test(virtqueue_hostile, indirect_tables_make_no_sense)
{
    static const struct desc bad[] = {
        {DATA, 0, INDIRECT, 0},         /* empty */
        {DATA, 24, INDIRECT, 0},        /* one and a half */
        {DATA + 4, 16, INDIRECT, 0},    /* not aligned */
        {END - 16, 32, INDIRECT, 0},    /* ends outside */
        {0, 16, INDIRECT, 0},           /* outside */
        {MIDDLE - 16, 32, INDIRECT, 0}, /* in two pieces here */
        {DATA, 16, INDIRECT | NEXT, 1}  /* goes on */
    };

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(VQ_F_INDIRECT_DESC);
        for (unsigned at = 0; at < 3; at++)
            put(DATA + at * 16, (struct desc){DATA, 4, 0, 0});
        put(MIDDLE - 16, (struct desc){DATA, 4, 0, 0});
        put(END - 16, (struct desc){DATA, 4, 0, 0});
        put(DESC + 1 * 16, (struct desc){DATA, 4, 0, 0});
        cr_assert_eq(take_one(bad[i]), VQ_BROKEN, "descriptor %u", i);
    }
    /* A table in a table, and one that was not negotiated. */
    for (unsigned negotiated = 0; negotiated < 2; negotiated++) {
        begin(negotiated ? VQ_F_INDIRECT_DESC : 0);
        put(DATA, (struct desc){DATA + 16, 16, negotiated ? INDIRECT : 0, 0});
        put(DATA + 16, (struct desc){DATA, 4, 0, 0});
        cr_assert_eq(take_one((struct desc){DATA, 16, INDIRECT, 0}), VQ_BROKEN);
    }
}

Test(virtqueue_hostile, the_queue_itself_makes_no_sense)
{
    static const struct {
        uint32_t size;
        uint64_t desc, avail, used;
        bool good;
    } queue[] = {
        {SIZE, DESC, AVAIL, USED, true},
        {1, DESC, AVAIL, USED, true},
        {0, DESC, AVAIL, USED, false},
        {6, DESC, AVAIL, USED, false},
        {2 * VQ_SIZE_MAX, DESC, AVAIL, USED, false},
        {SIZE, 0, AVAIL, USED, false},
        {SIZE, DESC, 0, USED, false},
        {SIZE, DESC, AVAIL, 0, false},
        {SIZE, DESC + 4, AVAIL, USED, false},
        {SIZE, DESC, AVAIL + 1, USED, false},
        {SIZE, DESC, AVAIL, USED + 2, false},
        {SIZE, END - SIZE * 16, AVAIL, USED, true},
        {SIZE, END - SIZE * 16 + 8, AVAIL, USED, false},
        {SIZE, DESC, END - SIZE * 2 - 6, USED, true},
        {SIZE, DESC, END - SIZE * 2 - 4, USED, false},
        {SIZE, DESC, AVAIL, END - SIZE * 8 - 8, true},
        {SIZE, DESC, AVAIL, END - SIZE * 8 - 4, false},
        {SIZE, UINT64_MAX - 7, AVAIL, USED, false},
    };

    for (unsigned i = 0; i < sizeof queue / sizeof *queue; i++) {
        bool interrupt;
        begin(0);
        vq.size = queue[i].size;
        vq.desc = queue[i].desc;
        vq.avail = queue[i].avail;
        vq.used = queue[i].used;
        cr_assert_eq(virtqueue_start(&vq), queue[i].good, "queue %u", i);
        cr_assert_eq(virtqueue_resume(&vq, 0), queue[i].good, "queue %u", i);
        cr_assert_eq(virtqueue_take(&vq, &chain), queue[i].good ? VQ_EMPTY : VQ_BROKEN);
        cr_assert_eq(virtqueue_give(&vq, 0, 0, &interrupt), queue[i].good);
    }
}

/* Between taking a buffer and writing to it. */
Test(virtqueue_hostile, what_is_writable_moves)
{
    begin(0);
    put(DESC, (struct desc){DATA, 4, WRITE, 0});
    cr_assert_eq(take_head(0), VQ_CHAIN);
    cr_assert_not(virtqueue_write(&vq, SIZE, "a", 1));
    put(DESC, (struct desc){END - 1, 4, WRITE, 0});
    cr_assert_not(virtqueue_write(&vq, 0, "abcd", 4));
    put(DESC, (struct desc){LOW - 1, 4, WRITE, 0});
    cr_assert_not(virtqueue_write(&vq, 0, "abcd", 4));
    put(DESC, (struct desc){UINT64_MAX, UINT32_MAX, WRITE, 0});
    cr_assert_not(virtqueue_write(&vq, 0, "abcd", 4));
    put(DESC, (struct desc){DATA, 4, 0, 0});
    cr_assert_not(virtqueue_write(&vq, 0, "abcd", 4));
    put(DESC, (struct desc){DATA, 0, WRITE | NEXT, 0});
    cr_assert_not(virtqueue_write(&vq, 0, "abcd", 4));
    put(DESC, (struct desc){DATA, 4, WRITE, 0});
    hidden_from = DATA;
    hidden_to = DATA + 1;
    cr_assert_not(virtqueue_write(&vq, 0, "abcd", 4));
    hidden_from = hidden_to = 0;
    cr_assert(virtqueue_write(&vq, 0, "abcd", 4));
    vq.desc = END;
    cr_assert_not(virtqueue_write(&vq, 0, "abcd", 4));
}

Test(virtqueue_hostile, memory_goes_away)
{
    bool interrupt;

    begin(0);
    cr_assert_eq(take_one((struct desc){DATA, 4, 0, 0}), VQ_CHAIN);
    hidden_from = USED;
    hidden_to = DATA;
    cr_assert_eq(take_head(0), VQ_BROKEN);
    cr_assert_not(virtqueue_give(&vq, 0, 0, &interrupt));
    cr_assert_not(interrupt);
}

/* The guest writes to what was just read, whenever memory is looked up. Nothing of it may count. */
static void everything_changes(void)
{
    for (unsigned i = 0; i < SIZE; i++)
        put(DESC + i * 16, (struct desc){0, UINT32_MAX, NEXT | INDIRECT, SIZE});
    set_avail(1, (uint16_t)(avail(1) + 1000));
}

Test(virtqueue_hostile, each_field_counts_as_it_was_read)
{
    /* Three look-ups find the parts of the queue; the next is for the buffer or the table. */
    begin(0);
    change = everything_changes;
    change_at = finds + 4;
    put(DESC + 2 * 16, (struct desc){DATA, 12, 0, 0});
    cr_assert_eq(take_head(2), VQ_CHAIN);
    cr_assert_eq(finds, change_at);
    cr_assert_eq(chain.readable_count, 1u);
    cr_assert_eq(chain.readable[0].bytes, 12u);
    cr_assert_eq(vq.next_avail, 1);

    begin(0);
    change_at = finds + 4;
    put(DESC + 2 * 16, (struct desc){MIDDLE - 4, 12, 0, 0}); /* two look-ups */
    cr_assert_eq(take_head(2), VQ_CHAIN);
    cr_assert_eq(chain.readable[0].bytes + chain.readable[1].bytes, 12u);

    begin(VQ_F_INDIRECT_DESC);
    change_at = finds + 4;
    put(DATA, (struct desc){DATA, 4, 0, 0});
    put(DESC + 2 * 16, (struct desc){DATA, 16, INDIRECT, 0});
    cr_assert_eq(take_head(2), VQ_CHAIN);
    cr_assert_eq(chain.readable_count, 1u);
    cr_assert_eq(chain.readable[0].bytes, 4u);
}
