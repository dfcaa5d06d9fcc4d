/* docs/examples/virtqueue.c in memory that a guest fills as it likes, before and between: what
 * comes out lies in guest memory, work is bounded, and nothing but the used ring is written.
 *
 * Input: features, size, where the three parts are, where it goes on; then steps: write some bytes
 * to memory, a turn, take, give. Memory is two allocations of their own, for the address sanitizer
 * to watch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtqueue.h"

enum { BASE = 0x1000, PIECE = 0x1000, END = BASE + 2 * PIECE };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint8_t *memory[2];
static uint64_t finds;
static struct virtqueue vq;
static struct vq_chain chain;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *find(void *self, uint64_t address, uint64_t *bytes)
{
    (void)self;
    finds++;
    if (address < BASE || address >= END)
        return NULL;
    uint64_t offset = (address - BASE) % PIECE;
    *bytes = *bytes < PIECE - offset ? *bytes : PIECE - offset;
    return memory[(address - BASE) / PIECE] + offset;
}

static uint32_t number(const uint8_t **at, const uint8_t *end, unsigned bytes)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < bytes && *at < end; i++) {
        uint32_t byte = *(*at)++;
        value |= byte << 8 * i;
    }
    return value;
}

static void check_chain(void)
{
    CHECK(chain.head < vq.size);
    CHECK(chain.readable_count <= VQ_CHAIN_MAX && chain.writable_count <= VQ_CHAIN_MAX);
    for (size_t i = 0; i < chain.readable_count; i++) {
        const uint8_t *base = chain.readable[i].base;
        size_t bytes = chain.readable[i].bytes;
        CHECK(bytes > 0 && bytes <= PIECE);
        CHECK((base >= memory[0] && base + bytes <= memory[0] + PIECE) ||
              (base >= memory[1] && base + bytes <= memory[1] + PIECE));
    }
}

static void take(void)
{
    static uint8_t before[2][PIECE];
    struct virtqueue was = vq;
    uint64_t event = vq.used - BASE + 4 + 8ull * vq.size;

    memcpy(before[0], memory[0], PIECE);
    memcpy(before[1], memory[1], PIECE);
    finds = 0;
    enum vq_take taken = virtqueue_take(&vq, &chain);
    CHECK(finds <= 3 + 2 * VQ_CHAIN_MAX);
    /* It writes the event index and nothing else. */
    if (event < 2 * PIECE - 1 && vq.features & VQ_F_EVENT_IDX)
        memcpy(before[event / PIECE] + event % PIECE, memory[event / PIECE] + event % PIECE, 2);
    CHECK(memcmp(before[0], memory[0], PIECE) == 0 && memcmp(before[1], memory[1], PIECE) == 0);
    CHECK(vq.next_used == was.next_used);
    CHECK(vq.next_avail == (uint16_t)(was.next_avail + (taken == VQ_CHAIN)));
    CHECK(vq.turn == was.turn - (taken == VQ_CHAIN));
    if (taken == VQ_CHAIN)
        check_chain();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size;

    for (unsigned i = 0; i < 2; i++) {
        memory[i] = calloc(1, PIECE);
        CHECK(memory[i]);
    }
    vq = (struct virtqueue){.memory = {find, NULL}};
    vq.features = (uint64_t)number(&data, end, 1) << 28;
    vq.size = number(&data, end, 2);
    vq.desc = number(&data, end, 2);
    vq.avail = number(&data, end, 2);
    vq.used = number(&data, end, 2);
    if (vq.features >> 35 & 1 ? !virtqueue_resume(&vq, (uint16_t)number(&data, end, 2))
                              : !virtqueue_start(&vq))
        vq.size = 0; /* all else must refuse as well */
    while (data < end) {
        uint32_t step = number(&data, end, 1);
        uint32_t at = number(&data, end, 2);
        bool interrupt;
        if (step % 4 == 0) {
            virtqueue_turn(&vq, at);
            CHECK(vq.turn <= vq.size);
        } else if (step % 4 == 1) {
            take();
        } else if (step % 4 == 2) {
            uint16_t used = vq.next_used;
            bool given = virtqueue_give(&vq, (uint16_t)at, at, &interrupt);
            CHECK(vq.next_used == (uint16_t)(used + given) && (given || !interrupt));
        } else {
            for (uint32_t count = step / 4; count > 0 && data < end; count--, at++)
                memory[at / PIECE % 2][at % PIECE] = (uint8_t)number(&data, end, 1);
        }
    }
    free(memory[0]);
    free(memory[1]);
    return 0;
}
