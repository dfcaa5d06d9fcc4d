/* Batches for machines with AVX2: the same code, with vectors of eight numbers for what compilers
 * make none of. */
#include "bytes.h"
#include "tracker_batch_p.h"

#ifdef BATCH_AVX2
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
/* What follows registers across calls leaves out "vzeroupper" where a path needs it: 100 ns then.
 * Where the loops of a batch begin is worth up to 40 %, and is not to depend on what is linked
 * before them. */
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#pragma GCC optimize("no-tree-slp-vectorize", "no-ipa-ra")
#pragma GCC optimize("align-functions=64", "align-loops=32")
#endif
#include <immintrin.h>
#include <string.h>

#define LANES 8u

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

typedef __m256i vector;

static inline vector load(const uint32_t *v)
{
    return _mm256_loadu_si256((const vector *)(const void *)v);
}

static inline void store(uint32_t *v, vector x)
{
    _mm256_storeu_si256((vector *)(void *)v, x);
}

/* Eight numbers from v[at] on; behind the first n the largest ones there are. */
static inline vector load_first(const uint32_t *v, size_t at, size_t n)
{
    uint32_t part[LANES];

    if (at + LANES <= n)
        return load(v + at);
    for (size_t i = 0; i < LANES; i++)
        part[i] = at + i < n ? v[at + i] : UINT32_MAX;
    return load(part);
}

static inline unsigned ones(uint64_t x)
{
    return (unsigned)_mm_popcnt_u64(x);
}

static ALWAYS_INLINE bool follow(const uint32_t *v, size_t n, uint32_t step)
{
    const vector lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const vector next = _mm256_set1_epi32((int)(LANES * step));
    const vector far = _mm256_set1_epi32((int)(4 * LANES * step));
    vector differ = _mm256_setzero_si256(), base[4], x[4];
    uint32_t rest = 0;
    size_t i = 0;

    base[0] = _mm256_add_epi32(_mm256_set1_epi32((int)v[0]),
                               _mm256_mullo_epi32(lane, _mm256_set1_epi32((int)step)));
    UNROLL for (unsigned k = 1; k < 4; k++) base[k] = _mm256_add_epi32(base[k - 1], next);
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        UNROLL for (unsigned k = 0; k < 4; k++) x[k] =
            _mm256_xor_si256(load(v + i + k * LANES), base[k]);
        UNROLL for (unsigned k = 0; k < 4; k++) base[k] = _mm256_add_epi32(base[k], far);
        x[0] = _mm256_or_si256(_mm256_or_si256(x[0], x[1]), _mm256_or_si256(x[2], x[3]));
        differ = _mm256_or_si256(differ, x[0]);
    }
    for (; i < n; i++)
        rest |= v[i] ^ (v[0] + (uint32_t)i * step);
    return _mm256_testz_si256(differ, differ) && !rest;
}

static bool between(const uint32_t *v, size_t n, uint32_t first, uint32_t last)
{
    const vector from = _mm256_set1_epi32((int)first);
    const vector length = _mm256_set1_epi32((int)(last - first));
    vector top = length;
    uint32_t beyond = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        top = _mm256_max_epu32(top, _mm256_sub_epi32(load(v + i), from));
    for (; i < n; i++)
        beyond |= v[i] - first > last - first;
    top = _mm256_xor_si256(top, length);
    return _mm256_testz_si256(top, top) && !beyond;
}

/* All bits of the lanes where v[at + k] is what follows the one before; never so at 0. */
static ALWAYS_INLINE vector joined(const uint32_t *v, size_t at, vector steps)
{
    const vector down = _mm256_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6);
    vector x = load(v + at), before;

    before = at ? load(v + at - 1) : _mm256_permutevar8x32_epi32(x, down);
    return _mm256_cmpeq_epi32(_mm256_sub_epi32(x, before), steps);
}

static size_t starts(const uint32_t *v, size_t n, uint32_t step, uint64_t *m)
{
    const vector steps = _mm256_set1_epi32((int)step);
    const vector order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0, count = 0;

    memset(m, 0, BATCH_PAGES / 8);
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        vector a = _mm256_packs_epi32(joined(v, i, steps), joined(v, i + LANES, steps));
        vector b =
            _mm256_packs_epi32(joined(v, i + 2 * LANES, steps), joined(v, i + 3 * LANES, steps));
        vector all = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
        uint32_t others = ~(uint32_t)_mm256_movemask_epi8(all);

        m[i / WORD_BITS] |= (uint64_t)others << (i % WORD_BITS);
    }
    for (; i < n; i++)
        m[i / WORD_BITS] |= (uint64_t)(!i || v[i] - v[i - 1] != step) << (i % WORD_BITS);
    for (size_t w = 0; w < BATCH_PAGES / WORD_BITS; w++)
        count += ones(m[w]);
    return count;
}

static void block_words(const uint8_t *map, uint64_t *words)
{
    for (size_t w = 0; w < BLOCK_WORDS; w++, map += WORD_BITS) {
        /* The lowest bit of a byte becomes the highest, which is what a mask is made of. */
        vector low = _mm256_slli_epi16(_mm256_loadu_si256((const vector *)(const void *)map), 7);
        vector high =
            _mm256_slli_epi16(_mm256_loadu_si256((const vector *)(const void *)(map + 32)), 7);

        words[w] = (unsigned)_mm256_movemask_epi8(low) |
                   (uint64_t)(unsigned)_mm256_movemask_epi8(high) << 32;
    }
}

static void ranks(const uint32_t *v, size_t n, uint32_t *rank)
{
    for (size_t i = 0; i < n; i += LANES) {
        vector smaller = _mm256_setzero_si256(), x = load(v + i);

        /* v[k] < x where the smaller of both is not x. */
        for (size_t k = 0; k < n; k++) {
            vector y = _mm256_set1_epi32((int)v[k]);

            smaller = _mm256_add_epi32(smaller, _mm256_cmpeq_epi32(_mm256_min_epu32(x, y), x));
        }
        store(rank + i, _mm256_add_epi32(smaller, _mm256_set1_epi32((int)n)));
    }
}

static struct narrowed narrow(const uint64_t *words, size_t n, unsigned shift, uint32_t one,
                              uint32_t *to)
{
    const vector ones_of = _mm256_set1_epi32((int)one);
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    vector any = _mm256_setzero_si256(), all = _mm256_set1_epi32(-1), same = any;
    struct narrowed bits = {0, ~UINT64_C(0), false};
    uint64_t some[4], each[4];
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        vector low = load((const uint32_t *)(const void *)(words + i)), x;
        vector high = load((const uint32_t *)(const void *)(words + i + LANES / 2));

        any = _mm256_or_si256(any, _mm256_or_si256(low, high));
        all = _mm256_and_si256(all, _mm256_and_si256(low, high));
        low = _mm256_srl_epi64(low, by);
        high = _mm256_srl_epi64(high, by);
        x = _mm256_castps_si256(
            _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0x88));
        x = _mm256_permute4x64_epi64(x, 0xd8);
        same = _mm256_or_si256(same, _mm256_cmpeq_epi32(x, ones_of));
        store(to + i, x);
    }
    for (; i < n; i++) {
        bits.any |= words[i];
        bits.all &= words[i];
        to[i] = (uint32_t)(words[i] >> shift);
        bits.found |= to[i] == one;
    }
    store((uint32_t *)(void *)some, any);
    store((uint32_t *)(void *)each, all);
    bits.any |= some[0] | some[1] | some[2] | some[3];
    bits.all &= each[0] & each[1] & each[2] & each[3];
    bits.found |= !_mm256_testz_si256(same, same);
    return bits;
}

/* Eight numbers of the peer, which are not read again. */
static ALWAYS_INLINE vector load_peer(const unsigned char *peer)
{
    vector x = _mm256_loadu_si256((const vector *)(const void *)peer);

    __asm__("" : "+x"(x));
    return x;
}

/* They are compared as they pass. */
static ALWAYS_INLINE uint32_t copy_run(uint32_t *to, const unsigned char *peer, size_t n)
{
    const vector lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    vector x, base, steps, differ;
    uint32_t step, rest = 0;
    size_t i = LANES;

    if (n < LANES) {
        bl_copy_in((unsigned char *)to, peer, n * sizeof(*to));
        step = n > 1 ? to[1] - to[0] : 1;
        return (step == 1 || step == UINT32_MAX) && follow(to, n, step) ? step : 0;
    }
    x = load_peer(peer);
    store(to, x);
    step = (uint32_t)_mm256_extract_epi32(x, 1) - (uint32_t)_mm256_extract_epi32(x, 0);
    steps = _mm256_set1_epi32((int)step);
    base = _mm256_add_epi32(_mm256_broadcastd_epi32(_mm256_castsi256_si128(x)),
                            _mm256_mullo_epi32(lane, steps));
    steps = _mm256_slli_epi32(steps, 3);
    differ = _mm256_xor_si256(x, base);
    for (; i + LANES <= n; i += LANES) {
        x = load_peer(peer + i * sizeof(*to));
        store(to + i, x);
        base = _mm256_add_epi32(base, steps);
        differ = _mm256_or_si256(differ, _mm256_xor_si256(x, base));
    }
    if (i < n)
        bl_copy_in((unsigned char *)(to + i), peer + i * sizeof(*to), (n - i) * sizeof(*to));
    for (; i < n; i++)
        rest |= to[i] ^ (to[0] + (uint32_t)i * step);
    return _mm256_testz_si256(differ, differ) && !rest && (step == 1 || step == UINT32_MAX) ? step
                                                                                            : 0;
}

/* Mostly no two of eight are joined. */
static size_t edges(const uint32_t *v, size_t n, uint32_t *edge)
{
    struct edges e = {edge, UINT64_MAX};
    uint32_t before = *edge;
    size_t i = 0;

    while (i + LANES < n) {
        vector x = load(v + i), end = _mm256_sub_epi32(x, _mm256_set1_epi32(-1));
        vector joined = _mm256_cmpeq_epi32(end, load(v + i + 1));

        if (e.end != v[i] && _mm256_testz_si256(joined, joined)) {
            vector low = _mm256_unpacklo_epi32(x, end), high = _mm256_unpackhi_epi32(x, end);

            e.edge[0] = (uint32_t)e.end;
            store(e.edge + 1, _mm256_permute2x128_si256(low, high, 0x20));
            store(e.edge + 1 + LANES, _mm256_permute2x128_si256(low, high, 0x31));
            e.edge += 2 * LANES;
            i += LANES;
            e.end = v[i - 1] + UINT64_C(1);
            continue;
        }
        for (size_t stop = i + LANES; i < stop; i++)
            edges_add(&e, v[i]);
    }
    for (; i < n; i++)
        edges_add(&e, v[i]);
    e.edge[0] = (uint32_t)e.end;
    *edge = before;
    return (size_t)(e.edge - edge) / 2;
}

/* The numbers of the bits of each byte, lowest first, a byte for each. */
#define BIT(b, i)     (1 & (uint64_t)(b) >> (i))
#define PUSH(x, b, i) ((x) << 8 * BIT(b, i) | BIT(b, i) * (i))
#define HIGH(b)       PUSH(PUSH(PUSH(PUSH(UINT64_C(0), b, 7), b, 6), b, 5), b, 4)
#define ROW(b)        PUSH(PUSH(PUSH(PUSH(HIGH(b), b, 3), b, 2), b, 1), b, 0)
#define ROWS_4(b)     ROW(b), ROW((b) + 1), ROW((b) + 2), ROW((b) + 3)
#define ROWS_16(b)    ROWS_4(b), ROWS_4((b) + 4), ROWS_4((b) + 8), ROWS_4((b) + 12)
#define ROWS_64(b)    ROWS_16(b), ROWS_16((b) + 16), ROWS_16((b) + 32), ROWS_16((b) + 48)

static const uint64_t bit_numbers[256] = {ROWS_64(0), ROWS_64(64), ROWS_64(128), ROWS_64(192)};

static inline uint32_t *turns(uint64_t word, uint32_t at, uint32_t *to)
{
    for (; word; word >>= 8, at += 8) {
        vector x = _mm256_cvtepu8_epi32(
            _mm_loadl_epi64((const __m128i *)(const void *)&bit_numbers[word & 0xff]));

        store(to, _mm256_add_epi32(x, _mm256_set1_epi32((int)at)));
        to += ones(word & 0xff);
    }
    return to;
}

static void hand_out(const uint32_t *edge, size_t count, uint32_t id, balloon_run *runs)
{
    const balloon_run named = {.region = id};
    uint64_t name;
    size_t i = 0;

    memcpy(&name, &named, sizeof(name));
    for (; i + 2 <= count; i += 2) {
        /* first, end, first, end: what comes before an end is taken from it, modulo 2^32. */
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(edge + 2 * i));
        vector ranges = _mm256_cvtepu32_epi64(_mm_sub_epi32(x, _mm_slli_epi64(x, 32)));

        memcpy(&runs[i], &name, sizeof(name));
        memcpy(&runs[i + 1], &name, sizeof(name));
        _mm_storeu_si128((__m128i *)(void *)&runs[i].range, _mm256_castsi256_si128(ranges));
        _mm_storeu_si128((__m128i *)(void *)&runs[i + 1].range,
                         _mm256_extracti128_si256(ranges, 1));
    }
    if (i < count)
        runs[i] = (balloon_run){id, 0, {edge[2 * i], edge[2 * i + 1] - edge[2 * i]}};
}

/* --- sorting ---------------------------------------------------------------------------------
 * A network for 32 rows of 8 lanes: first each lane is sorted down its rows, then lanes are merged
 * by twos, fours and eights. What is compared does not depend on the numbers. Rows go through the
 * registers eight at a time. */

#define ROWS 32u

static ALWAYS_INLINE void order(vector *a, vector *b)
{
    vector low = _mm256_min_epu32(*a, *b);

    *b = _mm256_max_epu32(*a, *b);
    *a = low;
}

/* Order the rows that lie `apart` from each other among eight. */
static ALWAYS_INLINE void order_apart(vector *x, unsigned apart)
{
    UNROLL for (unsigned i = 0; i < 8; i++) if (!(i & apart)) order(&x[i], &x[i | apart]);
}

/* Eight rows that rise and then fall, or the other way round. */
static ALWAYS_INLINE void merge_eight(vector *x)
{
    order_apart(x, 4);
    order_apart(x, 2);
    order_apart(x, 1);
}

/* Eight rows in any order: the shortest network, of 19 comparisons. */
static ALWAYS_INLINE void sort_eight(vector *x)
{
    order_apart(x, 2);
    order_apart(x, 4);
    order_apart(x, 1);
    order(&x[2], &x[4]);
    order(&x[3], &x[5]);
    order(&x[1], &x[4]);
    order(&x[3], &x[6]);
    order(&x[1], &x[2]);
    order(&x[3], &x[4]);
    order(&x[5], &x[6]);
}

/* Row number i of those that go together when two sorted halves, the second from its end, are
 * merged: with each row these have those at 8 and 16 rows from it, and its mirror image. */
static ALWAYS_INLINE unsigned partner(unsigned first, unsigned i)
{
    return i < 4 ? first + 8 * i : 8 * i + 7 - 8 * 4 - first;
}

/* Sorted lanes of 16 rows each become lanes of 32. */
static ALWAYS_INLINE void join_sixteens(vector *r)
{
    for (unsigned first = 0; first < 8; first++) {
        vector *a = &r[first], *b = &r[first + 8], *c = &r[23 - first], *d = &r[31 - first];

        order(a, d);
        order(b, c);
        order(a, b);
        order(c, d);
    }
}

static ALWAYS_INLINE vector swap(vector x, const int far)
{
    switch (far) {
    case 1:
        return _mm256_shuffle_epi32(x, 0xb1);
    case 2:
        return _mm256_shuffle_epi32(x, 0x4e);
    case 3:
        return _mm256_shuffle_epi32(x, 0x1b);
    default:
        return _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
    }
}

/* Of two rows the smaller numbers, and in the lanes `high` the larger ones. */
static ALWAYS_INLINE vector keep(vector x, vector y, const int high)
{
    vector low = _mm256_min_epu32(x, y);

    return high == 0xaa   ? _mm256_blend_epi32(low, _mm256_max_epu32(x, y), 0xaa)
           : high == 0xcc ? _mm256_blend_epi32(low, _mm256_max_epu32(x, y), 0xcc)
                          : _mm256_blend_epi32(low, _mm256_max_epu32(x, y), 0xf0);
}

/* Sorted groups of `lanes` / 2 lanes become groups of `lanes`; a group is sorted lane after lane.
 */
static ALWAYS_INLINE void join_lanes(vector *r, const int lanes)
{
    const int high = lanes == 2 ? 0xaa : lanes == 4 ? 0xcc : 0xf0;

    for (unsigned first = 0; first < 4; first++) {
        vector x[8], y[8];

        UNROLL for (unsigned i = 0; i < 8; i++) x[i] = r[partner(first, i)];
        /* Partner 7 - i is the mirror image of partner i. */
        UNROLL for (unsigned i = 0; i < 8; i++) y[i] = keep(x[i], swap(x[7 - i], lanes - 1), high);
        if (lanes == 8)
            UNROLL for (unsigned i = 0; i < 8; i++) y[i] = keep(y[i], swap(y[i], 2), 0xcc);
        if (lanes >= 4)
            UNROLL for (unsigned i = 0; i < 8; i++) y[i] = keep(y[i], swap(y[i], 1), 0xaa);
        /* Partners at 16 rows, then at 8. */
        order(&y[0], &y[2]);
        order(&y[1], &y[3]);
        order(&y[4], &y[6]);
        order(&y[5], &y[7]);
        order_apart(y, 1);
        UNROLL for (unsigned i = 0; i < 8; i++) r[partner(first, i)] = y[i];
    }
}

/* Eight rows of lanes to eight lanes of rows. */
static ALWAYS_INLINE void transpose(const vector *r, uint32_t *to)
{
    vector a[8], b[8];

    UNROLL for (unsigned i = 0; i < 8; i += 2)
    {
        a[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL for (unsigned i = 0; i < 8; i += 4)
    {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    UNROLL for (unsigned i = 0; i < 4; i++)
    {
        store(to + i * ROWS, _mm256_permute2x128_si256(b[i], b[i + 4], 0x20));
        store(to + (i + 4) * ROWS, _mm256_permute2x128_si256(b[i], b[i + 4], 0x31));
    }
}

/* Merge each eight rows, and lanes become rows. */
static ALWAYS_INLINE void merge_eights(vector *r, uint32_t *to)
{
    for (unsigned first = 0; first < ROWS; first += 8) {
        vector x[8];

        UNROLL for (unsigned i = 0; i < 8; i++) x[i] = r[first + i];
        merge_eight(x);
        if (to)
            transpose(x, to + first);
        else
            UNROLL for (unsigned i = 0; i < 8; i++) r[first + i] = x[i];
    }
}

static void sort(const uint32_t *v, size_t n, uint32_t *to)
{
    vector r[ROWS];

    for (unsigned first = 0; first < ROWS; first += 8) {
        vector x[8];

        UNROLL for (unsigned i = 0; i < 8; i++) x[i] = load_first(v, (first + i) * LANES, n);
        sort_eight(x);
        UNROLL for (unsigned i = 0; i < 8; i++) r[first + i] = x[i];
    }
    for (unsigned first = 0; first < 8; first++) {
        order(&r[first], &r[15 - first]);
        order(&r[16 + first], &r[31 - first]);
    }
    merge_eights(r, NULL);
    join_sixteens(r);
    merge_eights(r, NULL);
    join_lanes(r, 2);
    merge_eights(r, NULL);
    join_lanes(r, 4);
    merge_eights(r, NULL);
    join_lanes(r, 8);
    merge_eights(r, to);
}

#include "tracker_batch_code_p.h"

const struct batch_code bl_batch_avx2 = {"avx2",       find_edges,  hand_out,    inflate,
                                         deflate,      inflate_all, deflate_all, inflate_from,
                                         deflate_from, order_line,  narrow};

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
