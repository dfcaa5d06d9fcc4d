/* Batches in plain C. */
#include "tracker_batch_p.h"

static size_t joined(const uint32_t *v, size_t n, uint32_t step, uint64_t *m)
{
    size_t count = 0;

    for (size_t i = 0; i + 1 < n;) {
        size_t stop = i + WORD_BITS < n - 1 ? i + WORD_BITS : n - 1;
        uint64_t bits = 0;

        for (size_t k = i; k < stop; k++)
            bits |= (uint64_t)(v[k + 1] - v[k] == step) << (k - i);
        m[i / WORD_BITS] = bits;
        count += bits_ones(bits);
        i = stop;
    }
    return count;
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

static void ranks(const uint32_t *v, size_t n, uint32_t *rank)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t smaller = 0;

        for (size_t k = 0; k < n; k++)
            smaller += v[k] < v[i];
        rank[i] = smaller;
    }
}

/* By bytes, lowest first; not by those that are all alike. */
static void sort(const uint32_t *v, size_t n, uint32_t *to)
{
    uint32_t other[256], differ = 0, *from = to;

    for (size_t i = 0; i < n; i++) {
        differ |= v[i] ^ v[0];
        to[i] = v[i];
    }
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
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
}

#define ones bits_ones

#include "tracker_batch_code_p.h"

const struct batch_code bl_batch_portable = {"portable", inflate, deflate};
