#include <balloon/range.h>

static uint64_t granule_mask(uint64_t granule)
{
    return granule == 0 ? 0 : granule - 1;
}

static balloon_range between(uint64_t first, uint64_t end)
{
    balloon_range range = {first, end > first ? end - first : 0};

    return range;
}

uint64_t balloon_range_end(balloon_range range)
{
    if (range.count > UINT64_MAX - range.first)
        return UINT64_MAX;
    return range.first + range.count;
}

balloon_range balloon_range_intersect(balloon_range a, balloon_range b)
{
    uint64_t first = a.first > b.first ? a.first : b.first;
    uint64_t end_a = balloon_range_end(a);
    uint64_t end_b = balloon_range_end(b);

    return between(first, end_a < end_b ? end_a : end_b);
}

/* Clearing the bits of a mask never adds more than was added before and never raises the end, so
 * the result stays inside the range even for a granule that is no power of two. */
balloon_range balloon_range_inward(balloon_range range, uint64_t granule)
{
    uint64_t mask = granule_mask(granule);

    if (range.first > UINT64_MAX - mask)
        return between(range.first, range.first);
    return between((range.first + mask) & ~mask, balloon_range_end(range) & ~mask);
}

balloon_range balloon_range_outward(balloon_range range, uint64_t granule)
{
    uint64_t mask = granule_mask(granule);
    uint64_t end = balloon_range_end(range);

    if (range.count == 0)
        return range;
    /* The end of the very last granule is 2^64, which no uint64_t can name. */
    end = end > UINT64_MAX - mask ? ~mask : (end + mask) & ~mask;
    return between(range.first & ~mask, end);
}

balloon_range balloon_range_from_bytes(uint64_t address, uint64_t bytes)
{
    uint64_t page_mask = ((uint64_t)1 << BALLOON_PAGE_SHIFT) - 1;
    uint64_t first = (address >> BALLOON_PAGE_SHIFT) + ((address & page_mask) != 0);
    uint64_t end;

    if (bytes > UINT64_MAX - address)
        end = (UINT64_MAX >> BALLOON_PAGE_SHIFT) + 1;
    else
        end = (address + bytes) >> BALLOON_PAGE_SHIFT;
    return between(first, end);
}
