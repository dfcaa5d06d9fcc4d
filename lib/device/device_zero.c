/* Which pages the guest may be told read as zeros: those that were discarded between the receipt of
 * their buffer and its answer, by discards of which all worked and all were confirmed. Where
 * anything comes between, nothing is claimed. */
#include <string.h>

#include "device_p.h"

void bl_device_claim(balloon_device *d, uint32_t bytes)
{
    d->buffers[(d->buffer_first + d->buffer_count - 1) % d->max_buffers].used = bytes;
    d->claims = true;
}

void bl_device_claim_pages(balloon_device *d, uint32_t count, uint32_t bytes)
{
    struct claimed_pages *c = d->claimed;

    /* What is discarded just now may have been written to before this buffer came. */
    if (d->unproved)
        return;
    memset(c->bits, 0, sizeof(c->bits));
    c->count = count < bytes * 8 ? count : bytes * 8;
    c->waits = true;
    bl_device_claim(d, bytes);
    d->buffers[(d->buffer_first + d->buffer_count - 1) % d->max_buffers].bits = true;
}

void bl_device_drop_claims(balloon_device *d)
{
    if (!d->claims)
        return;
    d->claims = false;
    for (uint32_t i = 0; i < d->buffer_count; i++) {
        struct waiting_buffer *b = &d->buffers[(d->buffer_first + i) % d->max_buffers];

        b->used = 0;
        b->bits = false;
    }
    if (d->claimed)
        d->claimed->waits = false;
}

/* Is the page in one of the runs of the last action, which are in ascending order? */
static bool was_taken(const balloon_device *d, uint32_t pfn)
{
    uint32_t low = 0, high = d->last_runs;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const balloon_range *range = &d->runs[middle].range;

        if (pfn < range->first)
            high = middle;
        else if (pfn - range->first < range->count)
            return true;
        else
            low = middle + 1;
    }
    return false;
}

void balloon_device_discard_zeroed(balloon_device *d)
{
    struct claimed_pages *c = d->claimed;

    if (!d->unproved)
        return;
    d->unproved = false;
    for (uint32_t i = 0; c && c->waits && i < c->count; i++)
        if (was_taken(d, c->pfns[i]))
            c->bits[i / 8] |= (uint8_t)(1u << i % 8);
}

void bl_device_claims_note(balloon_device *d)
{
    d->unproved = false;
    bl_device_drop_claims(d);
}

void bl_device_claims_take(balloon_device *d, const struct waiting_buffer *b,
                           balloon_action *action)
{
    action->used_bytes = b->used;
    if (!b->bits) {
        d->count.zeroed += b->used >> BALLOON_PAGE_SHIFT;
        return;
    }
    d->claimed->waits = false;
    action->used = d->claimed->bits;
    for (uint32_t i = 0; i < d->claimed->count; i++)
        d->count.zeroed += d->claimed->bits[i / 8] >> i % 8 & 1;
}
