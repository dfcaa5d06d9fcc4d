/* Batches in plain C. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__OPTIMIZE_SIZE__)
#define ALIGNED_CODE /* see tracker_batch_avx2.c */
#pragma GCC push_options
#pragma GCC optimize("align-functions=64", "align-loops=32")
#endif
#include <string.h>

#include "bytes.h"
#include "tracker_batch_p.h"

/* Numbers compared at a time: without a branch for each, and a constant number of them, so that
 * compilers make vectors of it. */
#define AT_ONCE 64u

/* Places to sort to, and how often numbers may be moved after that. */
#define PLACE_BITS 10u
#define PLACES     (1u << PLACE_BITS)
#define MOVES_MAX  BATCH_PAGES

/* Numbers that fall one by one from 0, or rise. */
#define STEPS_4(k, step) (k) * (step), (k + 1) * (step), (k + 2) * (step), (k + 3) * (step)
#define STEPS_16(k, step)                                                                          \
    STEPS_4(k, step), STEPS_4(k + 4, step), STEPS_4(k + 8, step), STEPS_4(k + 12, step)
#define STEPS(step)                                                                                \
    STEPS_16(0u, step), STEPS_16(16u, step), STEPS_16(32u, step), STEPS_16(48u, step)

static const uint32_t steps[2][AT_ONCE] = {{STEPS(UINT32_MAX)}, {STEPS(1)}};

static bool follow(const uint32_t *v, size_t n, uint32_t step)
{
    const uint32_t *expected = steps[step == 1];
    uint32_t differ = 0, base = v[0];
    size_t i = 0;

    for (; i + AT_ONCE <= n; i += AT_ONCE, base += AT_ONCE * step)
        for (uint32_t k = 0; k < AT_ONCE; k++)
            differ |= (v[i + k] - base) ^ expected[k];
    for (; i < n; i++, base += step)
        differ |= v[i] ^ base;
    return !differ;
}

static bool between(const uint32_t *v, size_t n, uint32_t first, uint32_t last)
{
    uint32_t beyond = 0;
    size_t i = 0;

    for (; i + AT_ONCE <= n; i += AT_ONCE)
        for (uint32_t k = 0; k < AT_ONCE; k++)
            beyond |= v[i + k] - first > last - first;
    for (; i < n; i++)
        beyond |= v[i] - first > last - first;
    return !beyond;
}

static uint32_t copy_run(uint32_t *to, const unsigned char *peer, size_t n)
{
    uint32_t step;

    bl_copy_pieces(to, peer, n * sizeof(*to));
    step = n > 1 ? to[1] - to[0] : 1;
    return (step == 1 || step == UINT32_MAX) && follow(to, n, step) ? step : 0;
}

static ALWAYS_INLINE void narrow_some(const uint64_t *words, size_t n, unsigned shift, uint32_t one,
                                      uint32_t *to, struct narrowed *bits)
{
    uint64_t any = 0, lack = 0;
    uint32_t found = 0;

    for (size_t i = 0; i < n; i++) {
        any |= words[i];
        lack |= ~words[i];
        to[i] = (uint32_t)(words[i] >> shift);
        found |= to[i] == one;
    }
    bits->any |= any;
    bits->all &= ~lack;
    bits->found |= found;
}

static struct narrowed narrow(const uint64_t *words, size_t n, unsigned shift, uint32_t one,
                              uint32_t *to)
{
    struct narrowed bits = {0, ~UINT64_C(0), false};
    size_t i = 0;

    for (; i + AT_ONCE <= n; i += AT_ONCE)
        narrow_some(words + i, AT_ONCE, shift, one, to + i, &bits);
    narrow_some(words + i, n - i, shift, one, to + i, &bits);
    return bits;
}

/* Eight bytes as a number, the first one lowest. Compilers make one load or store of it. */
static inline uint64_t get_eight(const uint8_t *from)
{
    return (uint64_t)from[0] | (uint64_t)from[1] << 8 | (uint64_t)from[2] << 16 |
           (uint64_t)from[3] << 24 | (uint64_t)from[4] << 32 | (uint64_t)from[5] << 40 |
           (uint64_t)from[6] << 48 | (uint64_t)from[7] << 56;
}

static inline void put_eight(uint8_t *to, uint64_t x)
{
    to[0] = (uint8_t)x;
    to[1] = (uint8_t)(x >> 8);
    to[2] = (uint8_t)(x >> 16);
    to[3] = (uint8_t)(x >> 24);
    to[4] = (uint8_t)(x >> 32);
    to[5] = (uint8_t)(x >> 40);
    to[6] = (uint8_t)(x >> 48);
    to[7] = (uint8_t)(x >> 56);
}

/* 64 bytes of 0 or 1 to bits, eight by a product that brings each to its place. */
static inline uint64_t byte_bits(const uint8_t *map)
{
    uint64_t word = 0;

    for (unsigned k = 0; k < WORD_BITS; k += 8, map += 8)
        word |= (get_eight(map) * UINT64_C(0x0102040810204080)) >> 56 << k;
    return word;
}

static void block_words(const uint8_t *map, uint64_t *words)
{
    for (size_t w = 0; w < BLOCK_WORDS; w++)
        words[w] = byte_bits(map + w * WORD_BITS);
}

static size_t starts(const uint32_t *v, size_t n, uint32_t step, uint64_t *m)
{
    uint8_t map[BATCH_PAGES] = {1};
    size_t i = 1, count = 0;

    for (; i + 16 <= n; i += 16)
        for (uint32_t k = 0; k < 16; k++)
            map[i + k] = v[i + k] - v[i + k - 1] != step;
    for (; i < n; i++)
        map[i] = v[i] - v[i - 1] != step;
    for (size_t w = 0; w < BATCH_PAGES / WORD_BITS; w++) {
        m[w] = byte_bits(map + w * WORD_BITS);
        count += bits_ones(m[w]);
    }
    return count;
}

static void ranks(const uint32_t *v, size_t n, uint32_t *rank)
{
    uint32_t all[RUNS_MAX];

    memset(all, 0xff, sizeof(all));
    memcpy(all, v, n * sizeof(*v));
    for (size_t i = 0; i < n; i++) {
        uint32_t smaller = 0;

        for (size_t at = 0; at < n; at += 16)
            for (uint32_t k = 0; k < 16; k++)
                smaller += all[at + k] < v[i];
        rank[i] = smaller;
    }
}

/* By PLACE_BITS of their bits, in one step; those that are alike stay in their order. */
static void sort_bits(const uint32_t *v, size_t n, unsigned shift, uint32_t *to)
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint8_t place[PLACES] = {0};
    uint64_t before = 0;

    for (size_t i = 0; i < n; i++)
        place[v[i] >> shift & (PLACES - 1)]++;
    /* Where each place ends. A product adds each byte to all above it. That may be one too large
     * for a byte where the last number ends: 0 is as good there, and what comes after is not used.
     */
    for (size_t i = 0; i < PLACES; i += 8) {
        uint64_t ends = get_eight(place + i) * each;

        put_eight(place + i, ends + before);
        before += (ends >> 56) * each;
    }
    for (size_t i = n; i--;)
        to[--place[v[i] >> shift & (PLACES - 1)]] = v[i];
}

/* Lowest bits first. */
static void sort_far(const uint32_t *v, size_t n, uint32_t *to, uint32_t differ)
{
    uint32_t other[BATCH_PAGES];
    const uint32_t *from = v;

    for (unsigned shift = 0; shift < 32 && differ >> shift; shift += PLACE_BITS) {
        uint32_t *next = from == to ? other : to;

        sort_bits(from, n, shift, next);
        from = next;
    }
    if (from != to)
        memcpy(to, from, n * sizeof(*to));
}

/* In one step to about the right place, by the highest bits in which they differ, and the rest of
 * the way by insertion. Where that is too far, by all their bits after all. */
static void sort(const uint32_t *v, size_t n, uint32_t *to)
{
    uint32_t differ = 0;
    size_t i = 0, moves = 0;

    for (; i + AT_ONCE <= n; i += AT_ONCE)
        for (uint32_t k = 0; k < AT_ONCE; k++)
            differ |= v[i + k] ^ v[0];
    for (; i < n; i++)
        differ |= v[i] ^ v[0];
    sort_bits(v, n, differ < PLACES ? 0 : bits_highest(differ) + 1 - PLACE_BITS, to);
    for (i = 1; i < n; i++) {
        uint32_t x = to[i];
        size_t k = i;

        if (to[k - 1] <= x)
            continue;
        for (; k && to[k - 1] > x; k--)
            to[k] = to[k - 1];
        to[k] = x;
        moves += i - k;
        if (moves > MOVES_MAX) {
            sort_far(v, n, to, differ);
            return;
        }
    }
}

static size_t edges(const uint32_t *v, size_t n, uint32_t *edge)
{
    struct edges e = {edge, UINT64_MAX};
    uint32_t before = *edge;

    for (size_t i = 0; i < n; i++)
        edges_add(&e, v[i]);
    e.edge[0] = (uint32_t)e.end;
    *edge = before;
    return (size_t)(e.edge - edge) / 2;
}

static inline uint32_t *turns(uint64_t word, uint32_t at, uint32_t *to)
{
    for (; word; word &= word - 1)
        *to++ = at + bits_lowest(word);
    return to;
}

static void hand_out(const uint32_t *edge, size_t count, uint32_t id, balloon_run *runs)
{
    for (size_t i = 0; i < count; i++) {
        runs[i].range.first = edge[2 * i];
        runs[i].range.count = edge[2 * i + 1] - edge[2 * i];
        runs[i].region = id;
        runs[i].reserved = 0;
    }
}

#define ones bits_ones

#include "tracker_batch_code_p.h"

const struct batch_code bl_batch_portable = {"portable",   find_edges,  hand_out,    inflate,
                                             deflate,      inflate_all, deflate_all, inflate_from,
                                             deflate_from, order_line,  narrow};

#ifdef ALIGNED_CODE
#pragma GCC pop_options
#endif
