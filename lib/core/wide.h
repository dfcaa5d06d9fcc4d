/* Sums, products and quotients of 64-bit numbers, exact and without the compiler's helper library.
 */
#ifndef BALLOON_CORE_WIDE_H
#define BALLOON_CORE_WIDE_H

#include <stdint.h>

/* a + b, or the largest number. */
static inline uint64_t bl_sat_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

struct bl_wide {
    uint64_t high, low;
};

static inline struct bl_wide bl_mul(uint64_t a, uint64_t b)
{
    uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    uint64_t low = al * bl, m1 = ah * bl, m2 = al * bh;
    uint64_t middle = (low >> 32) + (uint32_t)m1 + (uint32_t)m2;
    struct bl_wide w = {ah * bh + (m1 >> 32) + (m2 >> 32) + (middle >> 32),
                        middle << 32 | (uint32_t)low};

    return w;
}

/* a * b against c * d: less than, equal to or more than 0. */
static inline int bl_mul_compare(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct bl_wide x = bl_mul(a, b), y = bl_mul(c, d);

    if (x.high != y.high)
        return x.high < y.high ? -1 : 1;
    return x.low < y.low ? -1 : x.low > y.low;
}

/* w / d, or UINT64_MAX when that has more than 64 bits. d must not be 0. */
static inline uint64_t bl_wide_div(struct bl_wide w, uint64_t d)
{
    uint64_t rest = w.high, low = w.low;

    if (rest >= d)
        return UINT64_MAX;
    for (int i = 0; i < 64; i++) {
        uint64_t carry = rest >> 63;

        rest = rest << 1 | low >> 63;
        low <<= 1;
        if (carry || rest >= d) {
            rest -= d;
            low |= 1;
        }
    }
    return low;
}

/* a / b, where a 32-bit machine would call a helper. b must not be 0. */
static inline uint64_t bl_div(uint64_t a, uint64_t b)
{
#if UINTPTR_MAX > UINT32_MAX
    return a / b;
#else
    struct bl_wide w = {0, a};

    if (a <= UINT32_MAX && b <= UINT32_MAX)
        return (uint32_t)a / (uint32_t)b;
    return bl_wide_div(w, b);
#endif
}

/* a * b / c rounded down, or UINT64_MAX when that has more than 64 bits. c must not be 0. */
static inline uint64_t bl_mul_div(uint64_t a, uint64_t b, uint64_t c)
{
    struct bl_wide w = bl_mul(a, b);

    return w.high ? bl_wide_div(w, c) : bl_div(w.low, c);
}

#endif
