/* Fewest misses for a budget, by the hulls of the guests' curves. On hulls, taking the steepest
 * piece first is exact; only the guest whose piece fits in part can end above its hull.
 *
 * A heap has them in that order, but each look at it is at another guest, and with many of them
 * none is in the cache. So pieces that are clearly among the first are taken guest by guest: those
 * that are steeper than a bound which is found by counting pages by steepness. It is the same
 * choice, and leaves few pieces to the heap. */
#include "policy_p.h"

#include "../core/bits.h"

/* The next corner of the hull. */
static balloon_curve_point next_corner(const bl_slope *s)
{
    if (s->hull != 0)
        return s->curve.points[bits_lowest(s->hull)];
    return (balloon_curve_point){s->hi, balloon_curve_at(&s->curve, s->hi)};
}

/* What one page of the next piece saves, with 24 bits behind the point. 0 at the end. */
static uint64_t steepness(const bl_slope *s)
{
    balloon_curve_point next;
    uint64_t saved, pages, whole, rest, key;

    if (s->got >= s->hi)
        return 0;
    next = next_corner(s);
    pages = next.pages - s->got;
    saved = bl_sat_mul(s->misses - next.misses, s->weight);
    whole = bl_div(saved, pages);
    rest = saved - whole * pages; /* less than pages, and these are at most 2^40 */
    key = whole >> 40 ? UINT64_MAX : (whole << 24) + bl_div(rest << 24, pages);
    return key == 0 && saved != 0 ? 1 : key;
}

static void advance(bl_slope *s)
{
    balloon_curve_point next = next_corner(s);

    s->got = next.pages;
    s->misses = next.misses;
    s->hull &= s->hull - 1;
}

/* Steepness in 8 classes for each power of two; 0 is for what saves nothing. */
#define CLASSES 512u

static uint32_t class_of(uint64_t key)
{
    uint32_t shift = 0;

    if (key < 16)
        return (uint32_t)key;
    shift = bits_highest(key) - 3;
    return (shift << 3) + (uint32_t)(key >> shift);
}

/* Add the pages of all pieces of a slope to their classes. None is before those it lies behind,
 * also where its saving was too large to count. */
static void count_pages(const bl_slope *slope, uint64_t pages[CLASSES])
{
    bl_slope s = *slope;
    uint64_t key = steepness(&s);

    while (key != 0) {
        uint64_t from = s.got;

        advance(&s);
        pages[class_of(key)] += s.got - from;
        key = bl_min(key, steepness(&s));
    }
}

/* Take the pieces above a class. Returns how steep the next one is. */
static uint64_t take_above(bl_slope *s, uint32_t class)
{
    uint64_t next = steepness(s), key = next;

    while (class_of(key) > class) {
        advance(s);
        next = steepness(s);
        key = bl_min(key, next);
    }
    return next;
}

/* Equal ones go by order, so that the result has no accidents. */
static bool is_before(const bl_steep *a, const bl_steep *b)
{
    return a->key > b->key || (a->key == b->key && a->slope < b->slope);
}

static void sift_down(bl_steep *heap, uint32_t at, uint32_t count)
{
    bl_steep item = heap[at];

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= count)
            break;
        if (child + 1 < count && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &item))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = item;
}

/* What a guest saves by pages that reach into its next piece. */
static uint64_t saved_by(const bl_slope *s, uint64_t pages)
{
    return bl_sat_mul(s->misses - balloon_curve_at(&s->curve, s->got + pages), s->weight);
}

static void make_heap(bl_steep *heap, uint32_t count)
{
    for (uint32_t i = count / 2; i > 0; i--)
        sift_down(heap, i - 1, count);
}

/* Everybody has the least, and of the steepest classes all, as long as all of a class fits. The
 * steepest next piece is on top. Returns what is left of the budget. */
static uint64_t begin(bl_slope *slopes, bl_steep *heap, uint32_t count, uint64_t budget)
{
    uint64_t pages[CLASSES] = {0};
    uint32_t bound = CLASSES - 1;

    for (uint32_t i = 0; i < count; i++) {
        bl_slope *s = &slopes[i];

        s->got = s->lo;
        s->misses = balloon_curve_at(&s->curve, s->lo);
        s->hull = bl_curve_hull(&s->curve, s->lo, s->hi);
        count_pages(s, pages);
        budget = bl_less(budget, s->lo);
    }
    while (bound > 0 && pages[bound] <= budget)
        budget -= pages[bound--];
    for (uint32_t i = 0; i < count; i++)
        heap[i] = (bl_steep){take_above(&slopes[i], bound), i};
    make_heap(heap, count);
    return budget;
}

/* A piece does not fit: from now on only those count that do. Returns how many there are. */
static uint32_t keep_those_that_fit(bl_slope *slopes, bl_steep *heap, uint32_t count,
                                    const bl_slope *split, uint64_t rest)
{
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < count; i++) {
        bl_slope *s = &slopes[i];

        s->kept = s->got;
        if (s != split && s->got < s->hi && next_corner(s).pages - s->got <= rest)
            heap[waiting++] = (bl_steep){steepness(s), i};
    }
    make_heap(heap, waiting);
    return waiting;
}

void bl_hull_fill(bl_slope *slopes, bl_steep *heap, uint32_t count, uint64_t budget)
{
    uint64_t rest = begin(slopes, heap, count, budget);
    uint64_t first_rest = 0, split_saves = 0, others_save = 0;
    uint32_t waiting = count;
    bl_slope *split = NULL;

    while (waiting > 0 && rest > 0 && heap[0].key != 0) {
        bl_slope *top = &slopes[heap[0].slope];
        balloon_curve_point next = next_corner(top);

        if (next.pages - top->got <= rest) {
            if (split != NULL)
                others_save =
                    bl_sat_add(others_save, bl_sat_mul(top->misses - next.misses, top->weight));
            rest -= next.pages - top->got;
            advance(top);
            heap[0].key = steepness(top);
        } else if (split == NULL) {
            split = top;
            first_rest = rest;
            split_saves = saved_by(top, rest);
            waiting = keep_those_that_fit(slopes, heap, count, split, rest);
            continue;
        } else {
            heap[0] = heap[--waiting];
        }
        if (waiting > 0)
            sift_down(heap, 0, waiting);
    }
    if (split == NULL)
        return;
    /* A cliff may save nothing before its end: then less steep pieces of others are better. */
    others_save = bl_sat_add(others_save, saved_by(split, rest));
    if (others_save <= split_saves) {
        for (uint32_t i = 0; i < count; i++)
            slopes[i].got = slopes[i].kept;
        rest = first_rest;
    }
    split->got += rest;
}
