/* What batches look like; a part of tracker_batch_code_p.h. */
#include <string.h>

/* So many pages are worth a second thought. */
#define LOOK_MIN 32u

/* From this many blocks on (32 GiB) the maps leave the caches, and what pages that are all over
 * memory need is fetched some steps ahead. */
#define FETCH_BLOCKS 16384u
#define FETCH_AHEAD  16u

/* Of a region that has a page with a number of 32 bits: where these end. */
static inline uint64_t end_of(const region *r)
{
    return r->end < UINT64_C(1) << 32 ? r->end : UINT64_C(1) << 32;
}

/* Are all pages in a region? */
static inline bool all_inside(const region *r, const uint32_t *v, size_t n)
{
    return between(v, n, (uint32_t)r->first, (uint32_t)(end_of(r) - 1));
}

/* --- one run --------------------------------------------------------------------------------- */

/* Up or down; *first is its lowest page. */
static ALWAYS_INLINE bool one_run(const uint32_t *v, size_t n, uint32_t *first)
{
    uint32_t last = v[n - 1];
    bool up = v[0] <= last;

    *first = up ? v[0] : last;
    return (up ? last - v[0] : v[0] - last) == n - 1 && follow(v, n, up ? 1 : UINT32_MAX);
}

/* Words and parts of words that a run of up to BATCH_PAGES pages covers: five at most. Of the three
 * between the first and the last some may be the same. */
struct span {
    uint64_t w, last, head, tail;
};

static inline struct span span_of(uint64_t lo, uint64_t hi)
{
    struct span s = {lo / WORD_BITS, (hi - 1) / WORD_BITS, bits_from(lo),
                     ~UINT64_C(0) >> (WORD_BITS - 1 - (hi - 1) % WORD_BITS)};

    if (s.w == s.last)
        s.head = s.tail &= s.head;
    return s;
}

static inline uint64_t span_any(const uint64_t *map, struct span s)
{
    uint64_t any = (map[s.w] & s.head) | (map[s.last] & s.tail);

    if (s.last > s.w + 1)
        any |= map[s.w + 1] | map[(s.w + s.last) / 2] | map[s.last - 1];
    return any;
}

static inline bool span_all(const uint64_t *map, struct span s)
{
    uint64_t lack = (~map[s.w] & s.head) | (~map[s.last] & s.tail);

    if (s.last > s.w + 1)
        lack |= ~(map[s.w + 1] & map[(s.w + s.last) / 2] & map[s.last - 1]);
    return !lack;
}

/* All of its bits become 1, ~0, or 0. */
static ALWAYS_INLINE void span_put(uint64_t *map, struct span s, const uint64_t bits)
{
    map[s.w] = (map[s.w] & ~s.head) | (bits & s.head);
    if (s.last > s.w + 1)
        map[s.w + 1] = map[(s.w + s.last) / 2] = map[s.last - 1] = bits;
    map[s.last] = (map[s.last] & ~s.tail) | (bits & s.tail);
}

static inline void span_set(uint64_t *map, struct span s)
{
    span_put(map, s, ~UINT64_C(0));
}

static inline void span_clear(uint64_t *map, struct span s)
{
    span_put(map, s, 0);
}

/* --- some runs ------------------------------------------------------------------------------- */

struct runs {
    size_t count;
    uint32_t first[RUNS_MAX], pages[RUNS_MAX];
};

/* A look at some pairs of neighbours, an odd number of steps apart: are most of them joined? If not
 * there are many runs. Few numbers are not worth a look. */
static inline bool look_joined(const uint32_t *v, size_t n)
{
    size_t pairs = 0, joined_pairs = 0;

    if (n < LOOK_MIN)
        return true;
    for (size_t i = 0; i + 1 < n; i += n / 16 | 1) {
        joined_pairs += v[i + 1] - v[i] == 1 || v[i] - v[i + 1] == 1;
        pairs++;
    }
    return 2 * joined_pairs >= pairs;
}

/* Cut v into runs that all go up, or all go down, if there are few, and all are in the region. */
static inline bool find_runs(const region *r, const uint32_t *v, size_t n, struct runs *to)
{
    uint64_t m[BATCH_PAGES / WORD_BITS], size = end_of(r) - r->first;
    uint32_t at[RUNS_MAX + 1];
    bool down = false, outside = false;
    size_t k = 0;

    if (!look_joined(v, n))
        return false;
    if (starts(v, n, 1, m) > RUNS_MAX) {
        down = true;
        if (starts(v, n, UINT32_MAX, m) > RUNS_MAX)
            return false;
    }
    for (uint32_t w = 0; w * WORD_BITS < n; w++)
        for (uint64_t left = m[w]; left; left &= left - 1)
            at[k++] = w * WORD_BITS + bits_lowest(left);
    at[k] = (uint32_t)n;
    to->count = k;
    for (size_t i = 0; i < k; i++) {
        uint32_t pages = at[i + 1] - at[i], first = v[at[i]] - (down ? pages - 1 : 0);

        to->first[i] = first;
        to->pages[i] = pages;
        outside |= first - (uint32_t)r->first + (uint64_t)pages > size;
    }
    return !outside;
}

/* Bring near what runs need; inlined as fetch_ahead() is. */
static ALWAYS_INLINE void fetch_runs(const balloon_tracker *t, const region *r,
                                     const struct runs *runs, const bool pending)
{
    for (size_t i = 0; i < runs->count; i++) {
        uint64_t at = runs->first[i] + r->shift;

        PREFETCH(&t->held[at / WORD_BITS]);
        PREFETCH(&t->in[at / BLOCK_PAGES]);
        if (!pending)
            continue;
        PREFETCH(&t->pending[at / WORD_BITS]);
        PREFETCH(&t->pending_in[at / BLOCK_PAGES]);
    }
}

/* By rising address; false when some overlap or touch. */
static inline bool sort_runs(const struct runs *from, struct runs *to)
{
    uint32_t rank[RUNS_MAX];
    uint64_t taken = 0;
    bool apart = true;

    ranks(from->first, from->count, rank);
    for (size_t i = 0; i < from->count; i++) {
        to->first[rank[i]] = from->first[i];
        to->pages[rank[i]] = from->pages[i];
        taken |= UINT64_C(1) << rank[i];
    }
    to->count = from->count;
    if (taken != ~UINT64_C(0) >> (WORD_BITS - from->count))
        return false;
    for (size_t i = 0; i + 1 < to->count; i++)
        apart &= to->first[i + 1] - to->first[i] > to->pages[i];
    return apart;
}

/* --- one block ------------------------------------------------------------------------------- */

/* A block of the region, of which all of it, or at least what is named, lies there. */
static inline bool in_one_block(const region *r, const uint32_t *v, size_t n)
{
    uint32_t first = v[0] & ~(uint32_t)(BLOCK_PAGES - 1), last = v[0] | (BLOCK_PAGES - 1);

    first = first > r->first ? first : (uint32_t)r->first;
    last = last < r->end ? last : (uint32_t)(r->end - 1);
    return v[n - 1] - first <= last - first && between(v, n, first, last);
}

/* Which pages of its block are named: a byte a page, or each would wait for the last one of its
 * word. */
static inline void mark_block(const uint32_t *v, size_t n, uint64_t words[BLOCK_WORDS])
{
    uint8_t map[BLOCK_PAGES] = {0};
    size_t i = 0;

    for (; i + 4 <= n; i += 4)
        for (unsigned k = 0; k < 4; k++)
            map[v[i + k] % BLOCK_PAGES] = 1;
    for (; i < n; i++)
        map[v[i] % BLOCK_PAGES] = 1;
    block_words(map, words);
}

/* --- counts of blocks ------------------------------------------------------------------------ */

/* Both counts at once, so much more or, modulo 2^32, less; neither reaches 2^16. Returns the pages
 * that are held then. */
static inline unsigned add_both(struct block_pages *in, uint32_t n)
{
    struct block_pages now;
    uint32_t both;

    memcpy(&both, in, sizeof(both));
    both += n * UINT32_C(0x10001);
    memcpy(in, &both, sizeof(both));
    memcpy(&now, &both, sizeof(both));
    return now.held;
}

/* A page came to a block, or left it: was the block empty or full before, or is it now? */
static inline bool is_first_or_last(unsigned held)
{
    return (held & (BLOCK_PAGES - 1)) < 2;
}

/* --- from all over --------------------------------------------------------------------------- */

/* The maps, and what makes an index of a page: compilers read them again after each store if they
 * are not copied. */
struct row {
    uint64_t *held, *pending;
    struct block_pages *in;
    uint16_t *pending_in;
    uint64_t shift;
};

static inline struct row row_of(const balloon_tracker *t, const region *r)
{
    return (struct row){t->held, t->pending, t->in, t->pending_in, r->shift};
}

/* Bring near what a page some steps ahead needs. Inlined, since gcc drops calls of a function that
 * only fetches. */
static ALWAYS_INLINE void fetch_ahead(const struct row *row, const uint32_t *v, size_t i, size_t n,
                                      const bool pending)
{
    uint64_t at = v[i + FETCH_AHEAD < n ? i + FETCH_AHEAD : n - 1] + row->shift;

    PREFETCH(&row->held[at / WORD_BITS]);
    PREFETCH(&row->in[at / BLOCK_PAGES]);
    if (!pending)
        return;
    PREFETCH(&row->pending[at / WORD_BITS]);
    PREFETCH(&row->pending_in[at / BLOCK_PAGES]);
}
