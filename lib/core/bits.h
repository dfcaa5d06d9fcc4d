/* Bitmaps of 64-bit words, and a summary of three levels to find the next set bit of a sparse one.
 * Plain C without compiler builtins that may call into a runtime library. */
#ifndef BALLOON_CORE_BITS_H
#define BALLOON_CORE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORD_BITS 64u

/* Hot loops take the function they apply as an argument; it must be inlined to be fast. Who
 * compiles for size does not want a copy of the loop for each. */
#if defined(__GNUC__) && !defined(__OPTIMIZE_SIZE__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE inline
#endif
#ifdef __GNUC__
#define NOINLINE          __attribute__((noinline))
#define PREFETCH(address) __builtin_prefetch(address, 1)
#else
#define NOINLINE
#define PREFETCH(address) (void)(address)
#endif

static inline unsigned bits_ones(uint64_t x)
{
    x -= (x >> 1) & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)((x * UINT64_C(0x0101010101010101)) >> 56);
}

/* Number of the lowest set bit; x is not 0. */
static inline unsigned bits_lowest(uint64_t x)
{
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
    return (unsigned)__builtin_ctzll(x);
#else
    return bits_ones((x & (~x + 1)) - 1);
#endif
}

/* Number of the highest set bit; x is not 0. */
static inline unsigned bits_highest(uint64_t x)
{
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
    return 63u - (unsigned)__builtin_clzll(x);
#else
    for (unsigned n = 1; n < WORD_BITS; n *= 2)
        x |= x >> n;
    return bits_ones(x) - 1;
#endif
}

/* Bits from..63. */
static inline uint64_t bits_from(uint64_t from)
{
    return ~UINT64_C(0) << (from % WORD_BITS);
}

/* The part of word w that lies in the bit range lo..hi-1; the two must meet. */
static inline uint64_t bits_mask(uint64_t w, uint64_t lo, uint64_t hi)
{
    uint64_t mask = ~UINT64_C(0);

    if (w == lo / WORD_BITS)
        mask = bits_from(lo);
    if (w == (hi - 1) / WORD_BITS)
        mask &= ~UINT64_C(0) >> (WORD_BITS - 1 - (hi - 1) % WORD_BITS);
    return mask;
}

static inline uint64_t bits_count(const uint64_t *map, uint64_t lo, uint64_t hi)
{
    uint64_t n = 0;

    if (lo < hi)
        for (uint64_t w = lo / WORD_BITS; w <= (hi - 1) / WORD_BITS; w++)
            n += bits_ones(map[w] & bits_mask(w, lo, hi));
    return n;
}

/* A bit an item, above it a bit for each word of those that is not 0, and one for each word of
 * these. */
typedef struct summary {
    uint64_t *bit;
    uint64_t *top;
    uint64_t *peak;
} summary;

static inline uint64_t bits_put(uint64_t word, uint64_t i, bool value)
{
    return (word & ~(UINT64_C(1) << (i % WORD_BITS))) | (uint64_t)value << (i % WORD_BITS);
}

static inline bool summary_has(const summary *s, uint64_t i)
{
    return s->bit[i / WORD_BITS] >> (i % WORD_BITS) & 1;
}

/* A word of items became 0, or is not any more. */
static inline void summary_note(summary *s, uint64_t w)
{
    uint64_t t = w / WORD_BITS;

    s->top[t] = bits_put(s->top[t], w, s->bit[w] != 0);
    s->peak[t / WORD_BITS] = bits_put(s->peak[t / WORD_BITS], t, s->top[t] != 0);
}

/* Give a word of items a new value; returns what it was. That it becomes 0 is rare. */
static inline uint64_t summary_put_word(summary *s, uint64_t w, uint64_t now)
{
    uint64_t was = s->bit[w];

    s->bit[w] = now;
    if (!was != !now)
        summary_note(s, w);
    return was;
}

static inline void summary_set(summary *s, uint64_t i)
{
    summary_put_word(s, i / WORD_BITS, s->bit[i / WORD_BITS] | UINT64_C(1) << (i % WORD_BITS));
}

static inline void summary_clear(summary *s, uint64_t i)
{
    summary_put_word(s, i / WORD_BITS, s->bit[i / WORD_BITS] & ~(UINT64_C(1) << (i % WORD_BITS)));
}

/* Items from..end-1, at least one. */
static inline void summary_put_all(summary *s, uint64_t from, uint64_t end, bool value)
{
    for (uint64_t w = from / WORD_BITS; w <= (end - 1) / WORD_BITS; w++) {
        uint64_t mask = bits_mask(w, from, end);

        summary_put_word(s, w, value ? s->bit[w] | mask : s->bit[w] & ~mask);
    }
}

/* The first set item in from..end-1, or end. */
static inline uint64_t summary_next(const summary *s, uint64_t from, uint64_t end)
{
    uint64_t w = from / WORD_BITS, words = (end + WORD_BITS - 1) / WORD_BITS, found = 0;

    if (from >= end)
        return end;
    found = s->bit[w] & bits_from(from);
    if (!found) {
        uint64_t tops = (words + WORD_BITS - 1) / WORD_BITS, t = ++w / WORD_BITS, more = 0;

        if (w >= words)
            return end;
        more = s->top[t] & bits_from(w);
        if (!more) {
            uint64_t peaks = (tops + WORD_BITS - 1) / WORD_BITS, p = ++t / WORD_BITS;

            if (t >= tops)
                return end;
            for (more = s->peak[p] & bits_from(t); !more; more = s->peak[p])
                if (++p == peaks)
                    return end;
            t = p * WORD_BITS + bits_lowest(more);
            more = s->top[t];
        }
        w = t * WORD_BITS + bits_lowest(more);
        if (w >= words)
            return end;
        found = s->bit[w];
    }
    from = w * WORD_BITS + bits_lowest(found);
    return from < end ? from : end;
}

#endif
