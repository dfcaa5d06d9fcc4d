#include <string.h>

#include <balloon/hyperv.h>

#include "hyperv_codec_p.h"

/* A range of the hypercall has one unit and 0 to 2047 more, in bits 0 to 10. Bit 11 tells small
 * units, with a page number from bit 12 on, from large ones, with a number of 2 MiB pages from bit
 * 21 on; those are of 2 MiB, or of 1 GiB by bit 12. */
#define MORE_UNITS    ((uint64_t)BALLOON_HYPERV_HINT_UNITS_MAX - 1)
#define LARGE         ((uint64_t)1 << 11)
#define SMALL_SHIFT   12
#define HUGE          ((uint64_t)1 << 12)
#define RESERVED      ((uint64_t)0xff << 13)
#define LARGE_SHIFT   21
#define LARGE_PAGES   512 /* Pages in 2 MiB, */
#define LARGE_IN_HUGE 512 /* and those in 1 GiB. */
#define PFN_LIMIT     ((uint64_t)1 << (64 - SMALL_SHIFT))

balloon_status balloon_hyperv_decode_hint(const void *bytes, size_t size, uint32_t count,
                                          balloon_hyperv_hint *hint)
{
    unsigned char header[BALLOON_HYPERV_HINT_OFFSET];
    uint64_t heat;

    if (count == 0 || count > BALLOON_HYPERV_HINT_RANGES_MAX ||
        size < sizeof(header) + (size_t)count * BALLOON_HYPERV_RANGE_BYTES)
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(header, bytes, sizeof(header));
    heat = bl_get_le(header, sizeof(header));
    if (heat > BALLOON_HYPERV_HEAT_DISCARD)
        return BALLOON_ERR_PROTOCOL;
    hint->heat = (balloon_hyperv_heat)heat;
    hint->packed = (const unsigned char *)bytes + sizeof(header);
    hint->count = count;
    return BALLOON_OK;
}

balloon_status balloon_hyperv_read_hint_range(const balloon_hyperv_hint *hint, uint32_t index,
                                              balloon_range *range)
{
    uint64_t word;
    uint64_t units;

    if (index >= hint->count)
        return BALLOON_ERR_INVALID;
    word = bl_hyperv_get_packed(hint->packed, index);
    units = (word & MORE_UNITS) + 1;
    if ((word & LARGE) == 0) {
        *range = (balloon_range){word >> SMALL_SHIFT, units};
        return BALLOON_OK;
    }
    if ((word & RESERVED) != 0)
        return BALLOON_ERR_PROTOCOL;
    if ((word & HUGE) != 0) {
        if ((word >> LARGE_SHIFT) % LARGE_IN_HUGE != 0)
            return BALLOON_ERR_PROTOCOL;
        units *= LARGE_IN_HUGE;
    }
    *range = (balloon_range){(word >> LARGE_SHIFT) * LARGE_PAGES, units * LARGE_PAGES};
    return BALLOON_OK;
}

/* Takes units of one size from the front of a range, which has some, and packs them. */
static uint64_t pack_units(balloon_range *range, bool large)
{
    uint64_t unit = large ? LARGE_PAGES : 1;
    uint64_t units = large ? range->count / LARGE_PAGES : range->count;
    uint64_t word = range->first << SMALL_SHIFT | (large ? LARGE : 0);

    /* Small ones end where a large page begins. */
    if (!large && units > LARGE_PAGES - range->first % LARGE_PAGES)
        units = LARGE_PAGES - range->first % LARGE_PAGES;
    units = units < BALLOON_HYPERV_HINT_UNITS_MAX ? units : BALLOON_HYPERV_HINT_UNITS_MAX;
    range->first += units * unit;
    range->count -= units * unit;
    return word | (units - 1);
}

balloon_status balloon_hyperv_pack_hint(balloon_range *range, void *packed, uint32_t *count,
                                        uint32_t max)
{
    if (range->count == 0)
        return BALLOON_OK;
    if (range->first >= PFN_LIMIT || range->count > PFN_LIMIT - range->first)
        return BALLOON_ERR_RANGE;
    while (range->count > 0) {
        if (*count >= max)
            return BALLOON_ERR_NOSPACE;
        bl_hyperv_put_packed(
            packed, (*count)++,
            pack_units(range, range->first % LARGE_PAGES == 0 && range->count >= LARGE_PAGES));
    }
    return BALLOON_OK;
}

size_t balloon_hyperv_encode_hint(const balloon_hyperv_hint *hint, void *buffer, size_t bytes)
{
    size_t list_bytes;

    if ((uint32_t)hint->heat > BALLOON_HYPERV_HEAT_DISCARD || hint->count == 0 ||
        hint->count > BALLOON_HYPERV_HINT_RANGES_MAX)
        return SIZE_MAX;
    list_bytes = (size_t)hint->count * BALLOON_HYPERV_RANGE_BYTES;
    if (bytes < BALLOON_HYPERV_HINT_OFFSET + list_bytes)
        return BALLOON_HYPERV_HINT_OFFSET + list_bytes;
    /* The list first, since it may lie where the header goes. */
    memmove((unsigned char *)buffer + BALLOON_HYPERV_HINT_OFFSET, hint->packed, list_bytes);
    bl_put_le(buffer, BALLOON_HYPERV_HINT_OFFSET, (uint64_t)hint->heat);
    return BALLOON_HYPERV_HINT_OFFSET + list_bytes;
}
