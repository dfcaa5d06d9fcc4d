/* Batches in plain C. */
#include <string.h>

#include "bytes.h"
#include "tracker_batch_p.h"

/* Numbers compared at a time: without a branch for each, and a constant number of them, so that
 * compilers make vectors of it. */
#define AT_ONCE 64u

/* Places to sort to, and how often numbers may be moved after that. */
#define PLACE_BITS 8u
#define PLACES     (1u << PLACE_BITS)
#define MOVES_MAX  (2 * BATCH_PAGES)

static bool follow(const uint32_t *v, size_t n, uint32_t step, uint32_t mask)
{
    uint32_t first[AT_ONCE], differ = 0, far = 0;
    size_t i = 0;

    for (uint32_t k = 0; k < AT_ONCE; k++)
        first[k] = v[0] + k * step;
    for (; i + AT_ONCE <= n; i += AT_ONCE, far += AT_ONCE * step)
        for (uint32_t k = 0; k < AT_ONCE; k++)
            differ |= (v[i + k] - far) ^ first[k];
    for (uint32_t k = 0; i < n; i++, k++)
        differ |= (v[i] - far) ^ first[k];
    return !(differ & mask);
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
    return (step == 1 || step == UINT32_MAX) && follow(to, n, step, UINT32_MAX) ? step : 0;
}

/* Eight bytes of 0 or 1 to bits, by a product that brings each to its place. */
static void block_words(const uint8_t *map, uint64_t *words)
{
    for (size_t w = 0; w < BLOCK_WORDS; w++) {
        words[w] = 0;
        for (size_t k = 0; k < 8; k++, map += 8) {
            uint64_t x = 0;

            for (unsigned i = 0; i < 8; i++)
                x |= (uint64_t)map[i] << (8 * i);
            words[w] |= (x * UINT64_C(0x0102040810204080)) >> 56 << (8 * k);
        }
    }
}

/* Few are, where it is asked. */
static size_t starts(const uint32_t *v, size_t n, uint32_t step, uint64_t *m)
{
    size_t count = 1;

    memset(m, 0, BATCH_PAGES / 8);
    m[0] = 1;
    for (size_t i = 1; i < n; i++) {
        if (v[i] - v[i - 1] == step)
            continue;
        m[i / WORD_BITS] |= UINT64_C(1) << (i % WORD_BITS);
        count++;
    }
    return count;
}

static void ranks(const uint32_t *v, size_t n, uint32_t *rank)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t smaller = 0;

        for (size_t k = 0; k < n; k++)
            smaller += v[k] < v[i];
        rank[i] = smaller;
    }
}

/* By bytes, lowest first, though not by those in which all are alike. */
static void sort_bytes(const uint32_t *v, size_t n, uint32_t *to, uint32_t differ)
{
    uint32_t other[BATCH_PAGES], *from = to;

    memcpy(to, v, n * sizeof(*v));
    for (unsigned shift = 0; shift < 32 && differ >> shift; shift += 8) {
        uint32_t *next = from == to ? other : to;
        uint16_t place[256] = {0}, sum = 0;

        for (size_t i = 0; i < n; i++)
            place[from[i] >> shift & 255]++;
        for (size_t i = 0; i < 256; i++) {
            uint16_t count = place[i];

            place[i] = sum;
            sum = (uint16_t)(sum + count);
        }
        for (size_t i = 0; i < n; i++)
            next[place[from[i] >> shift & 255]++] = from[i];
        from = next;
    }
    if (from != to)
        memcpy(to, from, n * sizeof(*to));
}

/* In one step to about the right place, by the highest bits in which they differ, and the rest of
 * the way by insertion. Where that is too far, by bytes after all. */
static void sort(const uint32_t *v, size_t n, uint32_t *to)
{
    uint16_t place[PLACES] = {0}, sum = 0;
    uint32_t differ = 0;
    size_t moves = 0;
    unsigned shift = 0;

    for (size_t i = 0; i < n; i++)
        differ |= v[i] ^ v[0];
    if (differ >= PLACES)
        shift = bits_highest(differ) + 1 - PLACE_BITS;
    for (size_t i = 0; i < n; i++)
        place[v[i] >> shift & (PLACES - 1)]++;
    for (size_t i = 0; i < PLACES; i++) {
        uint16_t count = place[i];

        place[i] = sum;
        sum = (uint16_t)(sum + count);
    }
    for (size_t i = 0; i < n; i++)
        to[place[v[i] >> shift & (PLACES - 1)]++] = v[i];
    for (size_t i = 1; i < n; i++) {
        uint32_t x = to[i];
        size_t k = i;

        for (; k && to[k - 1] > x; k--)
            to[k] = to[k - 1];
        to[k] = x;
        moves += i - k;
        if (moves > MOVES_MAX) {
            sort_bytes(v, n, to, differ);
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

const struct batch_code bl_batch_portable = {"portable",  hand_out,    inflate,      deflate,
                                             inflate_all, deflate_all, inflate_from, deflate_from};
