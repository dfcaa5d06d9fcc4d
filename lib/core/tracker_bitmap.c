/* Sets of pages as bitmaps of bytes, for a migration and for saved state. */
#include <string.h>

#include "bytes.h"
#include "tracker_set_p.h"

/* So many bytes are cleared, and then filled while they are near. */
#define CHUNK_BYTES 16384u

/* 64 bits of the maps from any index on. */
static inline uint64_t fetch(const struct set_maps *m, uint64_t at)
{
    uint64_t w = at / WORD_BITS, shift = at % WORD_BITS, x = set_word(m, w) >> shift;

    return shift ? x | set_word(m, w + 1) << (WORD_BITS - shift) : x;
}

/* The same, those past hi are 0, and nothing past it is read. */
static uint64_t fetch_some(const struct set_maps *m, uint64_t at, uint64_t hi)
{
    uint64_t w = at / WORD_BITS, shift = at % WORD_BITS, x = set_word(m, w) >> shift;

    if (shift && at + WORD_BITS - shift < hi)
        x |= set_word(m, w + 1) << (WORD_BITS - shift);
    return hi - at < WORD_BITS ? x & ~(~UINT64_C(0) << (hi - at)) : x;
}

static inline void put_bytes(uint8_t *to, uint64_t x)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(to, &x, sizeof(x));
#else
    bl_put_le(to, 8, x);
#endif
}

static inline void set_bytes(uint8_t *to, uint64_t x)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t was;

    memcpy(&was, to, sizeof(was));
    put_bytes(to, was | x);
#else
    put_bytes(to, bl_get_le(to, 8) | x);
#endif
}

/* Pages lo..hi-1 become bits from number `to` on. */
static void set_bits(const struct set_maps *m, uint64_t lo, uint64_t hi, uint8_t *bits, uint64_t to)
{
    while (lo < hi) {
        /* From the first whole byte on, 64 pages make 8 bytes. */
        uint64_t n = to % 8 ? 8 - to % 8 : WORD_BITS;

        if (n == WORD_BITS && lo % WORD_BITS == 0 && !m->b) {
            const uint64_t *a = m->a + lo / WORD_BITS, flip = m->flip,
                           words = (hi - lo) / WORD_BITS;

            for (uint64_t i = 0; i < words; i++)
                set_bytes(bits + to / 8 + 8 * i, a[i] ^ flip);
            lo += words * WORD_BITS;
            to += words * WORD_BITS;
        } else if (n == WORD_BITS) {
            for (; hi - lo >= WORD_BITS; lo += WORD_BITS, to += WORD_BITS)
                set_bytes(bits + to / 8, fetch(m, lo));
        }
        n = hi - lo < n ? hi - lo : n;
        if (!n)
            return;
        uint64_t x = fetch_some(m, lo, lo + n) << (to % 8);

        for (size_t i = (size_t)(to / 8); x; i++, x >>= 8)
            bits[i] |= (uint8_t)x;
        lo += n;
        to += n;
    }
}

/* Pages lo..hi-1 of a region, but not those whose pending bits are set and not meant. */
static void set_region(const balloon_tracker *t, const region *r, balloon_set set, uint64_t lo,
                       uint64_t hi, uint8_t *bits, uint64_t to)
{
    const struct set_maps m = set_maps_of(t, set);

    if (!m.a)
        return;
    while (lo < hi) {
        uint64_t first = 0, end = hi;
        bool masked = false;

        if (set == BALLOON_SET_PENDING && bl_tracker_giants(r)) {
            masked = bl_giant_masks(t, r, lo, &first);
            end = first + r->granule < hi ? first + r->granule : hi;
        }
        if (!masked)
            set_bits(&m, lo, end, bits, to);
        to += end - lo;
        lo = end;
    }
}

static void merge(const balloon_tracker *t, balloon_set set, balloon_range range, uint8_t *bits)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        uint64_t pfn = range.first > r->first ? range.first : r->first;
        uint64_t last = stop < r->end ? stop : r->end;

        set_region(t, r, set, pfn + r->shift, last + r->shift, bits, pfn - range.first);
    }
}

/* 64 pages from any index on become 8 bytes each, to where nothing is yet. What is a copy is one
 * call: the C library knows how large ones are made. */
static void copy_words(const struct set_maps *maps, uint64_t at, uint64_t words, uint8_t *bits)
{
    const struct set_maps m = *maps;
    const uint64_t *from = m.a + at / WORD_BITS;

    if (m.b || at % WORD_BITS)
        for (uint64_t i = 0; i < words; i++)
            put_bytes(bits + 8 * i, fetch(&m, at + i * WORD_BITS));
    else if (m.flip || !bl_little_endian())
        for (uint64_t i = 0; i < words; i++)
            put_bytes(bits + 8 * i, from[i] ^ m.flip);
    else
        memcpy(bits, from, (size_t)words * sizeof(*from));
}

/* The first pages of a range, as many words of one region as there are. Returns these pages; where
 * it is 0, it must be looked closer. */
static uint64_t copy_first(const balloon_tracker *t, balloon_set set, balloon_range range,
                           uint8_t *bits)
{
    const region *r = bl_tracker_region_after(t, range.first);
    const struct set_maps m = set_maps_of(t, set);
    uint64_t words = 0;

    if (r == t->regions + t->region_count || range.first < r->first || !m.a ||
        (set == BALLOON_SET_PENDING && bl_tracker_giants(r)))
        return 0;
    words = (range.count < r->end - range.first ? range.count : r->end - range.first) / WORD_BITS;
    copy_words(&m, range.first + r->shift, words, bits);
    return words * WORD_BITS;
}

balloon_status balloon_tracker_merge(const balloon_tracker *t, balloon_set set, balloon_range range,
                                     uint8_t *bits, size_t bytes)
{
    if (!bl_tracker_bitmap_fits(range, bytes))
        return BALLOON_ERR_NOSPACE;
    if (set == BALLOON_SET_PENDING)
        bl_tracker_leave_line(t);
    merge(t, set, range, bits);
    return BALLOON_OK;
}

balloon_status balloon_tracker_export(const balloon_tracker *t, balloon_set set,
                                      balloon_range range, uint8_t *bits, size_t bytes)
{
    if (!bl_tracker_bitmap_fits(range, bytes))
        return BALLOON_ERR_NOSPACE;
    if (set == BALLOON_SET_PENDING)
        bl_tracker_leave_line(t);
    while (range.count) {
        balloon_range part = {range.first, copy_first(t, set, range, bits)};

        if (!part.count) {
            part.count = CHUNK_BYTES * UINT64_C(8);
            part.count = part.count < range.count ? part.count : range.count;
            memset(bits, 0, (size_t)((part.count + 7) / 8));
            merge(t, set, part, bits);
        }
        bits += part.count / 8;
        range.first += part.count;
        range.count -= part.count;
        if (range.first < part.first) { /* page numbers end here */
            memset(bits, 0, (size_t)((range.count + 7) / 8));
            break;
        }
    }
    return BALLOON_OK;
}
