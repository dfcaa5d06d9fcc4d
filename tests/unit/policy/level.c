/* The level that divides memory, beside a search that only halves. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "../../../lib/policy/policy_p.h"
#include "prng.h"

#define VESSELS 40
#define ROUNDS  20000

static uint64_t size_of(const bl_vessel *v, uint32_t tax, uint64_t level)
{
    uint64_t share =
        bl_min((level >> 20) * v->claim + ((level & 0xfffff) * v->claim >> 20), UINT64_C(1) << 44);
    uint64_t taxed = (tax * v->active + (256 - tax) * share) >> 8;

    return bl_clamp(bl_min(share, taxed), v->lo, v->hi);
}

static uint64_t sum_of(const bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t level)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += size_of(&vessels[i], tax, level);
    return sum;
}

static void fill_slowly(bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t budget)
{
    uint64_t low = 0, high = UINT64_C(1) << 56, rest = budget;

    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (sum_of(vessels, count, tax, middle) <= budget)
            low = middle;
        else
            high = middle;
    }
    /* All are full, or empty. */
    if (sum_of(vessels, count, tax, high) <= budget)
        low = high;
    for (uint32_t i = 0; i < count; i++) {
        vessels[i].got = size_of(&vessels[i], tax, low);
        rest = bl_less(rest, vessels[i].got);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t more = bl_min(rest, size_of(&vessels[i], tax, low + 1) - vessels[i].got);

        vessels[i].got += more;
        rest -= more;
    }
}

/* Numbers of all lengths. */
static uint64_t any(struct prng *prng, uint32_t bits)
{
    return prng_next(prng) >> (64 - 1 - prng_below(prng, bits));
}

static void draw(struct prng *prng, bl_vessel *v)
{
    uint64_t a = any(prng, 40), b = any(prng, 40);

    *v = (bl_vessel){.active = any(prng, 40),
                     .lo = bl_min(a, b),
                     .hi = bl_max(a, b),
                     .claim = (uint32_t)bl_max(any(prng, 27), 256)};
    if (prng_below(prng, 8) == 0)
        v->lo = v->hi;
    if (prng_below(prng, 2) == 0)
        v->lo = 0;
}

Test(level, is_where_halving_finds_it)
{
    struct prng prng = prng_start(prng_seed(), 1);

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t count = (uint32_t)prng_below(&prng, VESSELS),
                 tax = (uint32_t)prng_below(&prng, 241);
        bl_vessel fast[VESSELS], slow[VESSELS];
        uint64_t budget = any(&prng, 45), level = prng_below(&prng, 3) == 0 ? any(&prng, 64) : 0;

        for (uint32_t i = 0; i < count; i++)
            draw(&prng, &fast[i]);
        memcpy(slow, fast, count * sizeof(*slow));
        fill_slowly(slow, count, tax, budget);
        bl_level_fill(fast, count, tax, budget, &level);
        for (uint32_t i = 0; i < count; i++)
            cr_assert_eq(fast[i].got, slow[i].got,
                         "BALLOON_SEED=%" PRIu64 " round %d vessel %" PRIu32 ": %" PRIu64
                         " instead of %" PRIu64,
                         prng_seed(), round, i, fast[i].got, slow[i].got);
    }
}

/* From a level far away, and where most vessels are full or empty, so that there is no slope. */
Test(level, is_found_from_anywhere)
{
    bl_vessel vessels[2] = {{.active = 1000, .lo = 10, .hi = 1000, .claim = 256},
                            {.active = 1000, .lo = 500, .hi = 500, .claim = 256}};

    for (uint32_t bit = 0; bit < 64; bit++) {
        uint64_t level = UINT64_C(1) << bit;

        bl_level_fill(vessels, 2, 192, 700, &level);
        cr_assert_eq(vessels[0].got, 200, "from 2^%" PRIu32, bit);
        cr_assert_eq(vessels[1].got, 500, "from 2^%" PRIu32, bit);
    }
}
