/* Arguments of memory_op. */
#include "xen_codec_p.h"

/* --- Structures ------------------------------------------------------------------------------ */

/* Width of pointers, counts and page numbers. */
static size_t word_bytes(balloon_xen_layout layout)
{
    return layout == BALLOON_XEN_32 ? 4 : 8;
}

static bool fits(uint64_t value, balloon_xen_layout layout)
{
    return layout != BALLOON_XEN_32 || value <= UINT32_MAX;
}

static bool reservation_fits(const balloon_xen_reservation *reservation, balloon_xen_layout layout)
{
    return fits(reservation->list, layout) && fits(reservation->extents, layout);
}

static size_t reservation_bytes(balloon_xen_layout layout)
{
    return layout == BALLOON_XEN_32 ? BALLOON_XEN_RESERVATION_32_BYTES
                                    : BALLOON_XEN_RESERVATION_BYTES;
}

/* After the two words all is the same in both layouts, but for the padding at the end. */
static void get_reservation(const unsigned char *from, balloon_xen_layout layout,
                            balloon_xen_reservation *reservation)
{
    size_t word = word_bytes(layout);

    reservation->list = bl_get_le(from, word);
    reservation->extents = bl_get_le(from + word, word);
    from += 2 * word;
    reservation->order = (uint32_t)bl_get_le(from, 4);
    reservation->flags = (uint32_t)bl_get_le(from + 4, 4);
    reservation->domain = (uint16_t)bl_get_le(from + 8, 2);
}

static void put_reservation(unsigned char *to, balloon_xen_layout layout,
                            const balloon_xen_reservation *reservation)
{
    size_t word = word_bytes(layout);

    memset(to, 0, reservation_bytes(layout));
    bl_put_le(to, word, reservation->list);
    bl_put_le(to + word, word, reservation->extents);
    to += 2 * word;
    bl_put_le(to, 4, reservation->order);
    bl_put_le(to + 4, 4, reservation->flags);
    bl_put_le(to + 8, 2, reservation->domain);
}

balloon_status balloon_xen_read_reservation(const void *bytes, size_t size,
                                            balloon_xen_layout layout,
                                            balloon_xen_reservation *reservation)
{
    unsigned char copy[BALLOON_XEN_RESERVATION_BYTES];
    size_t needed = reservation_bytes(layout);

    if (size < needed)
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(copy, bytes, needed);
    get_reservation(copy, layout, reservation);
    return BALLOON_OK;
}

size_t balloon_xen_write_reservation(const balloon_xen_reservation *reservation,
                                     balloon_xen_layout layout, void *buffer, size_t bytes)
{
    size_t needed = reservation_bytes(layout);

    if (!reservation_fits(reservation, layout))
        return SIZE_MAX;
    if (bytes >= needed)
        put_reservation(buffer, layout, reservation);
    return needed;
}

static size_t exchange_bytes(balloon_xen_layout layout)
{
    return 2 * reservation_bytes(layout) + word_bytes(layout);
}

balloon_status balloon_xen_read_exchange(const void *bytes, size_t size, balloon_xen_layout layout,
                                         balloon_xen_exchange *exchange)
{
    unsigned char copy[BALLOON_XEN_EXCHANGE_BYTES];
    size_t part = reservation_bytes(layout);
    size_t needed = exchange_bytes(layout);

    if (size < needed)
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(copy, bytes, needed);
    get_reservation(copy, layout, &exchange->in);
    get_reservation(copy + part, layout, &exchange->out);
    exchange->exchanged = bl_get_le(copy + 2 * part, word_bytes(layout));
    return BALLOON_OK;
}

size_t balloon_xen_write_exchange(const balloon_xen_exchange *exchange, balloon_xen_layout layout,
                                  void *buffer, size_t bytes)
{
    unsigned char *to = buffer;
    size_t part = reservation_bytes(layout);
    size_t needed = exchange_bytes(layout);

    if (!reservation_fits(&exchange->in, layout) || !reservation_fits(&exchange->out, layout) ||
        !fits(exchange->exchanged, layout))
        return SIZE_MAX;
    if (bytes >= needed) {
        put_reservation(to, layout, &exchange->in);
        put_reservation(to + part, layout, &exchange->out);
        bl_put_le(to + 2 * part, word_bytes(layout), exchange->exchanged);
    }
    return needed;
}

/* Counts are 64-bit in both layouts; on 32-bit x86 these are aligned to 4 bytes, so only the
 * padding differs. */
static size_t pod_target_bytes(balloon_xen_layout layout)
{
    return layout == BALLOON_XEN_32 ? BALLOON_XEN_POD_TARGET_32_BYTES
                                    : BALLOON_XEN_POD_TARGET_BYTES;
}

balloon_status balloon_xen_read_pod_target(const void *bytes, size_t size,
                                           balloon_xen_layout layout,
                                           balloon_xen_pod_target *target)
{
    unsigned char copy[BALLOON_XEN_POD_TARGET_BYTES];
    size_t needed = pod_target_bytes(layout);

    if (size < needed)
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(copy, bytes, needed);
    target->target = bl_get_le(copy, 8);
    target->total = bl_get_le(copy + 8, 8);
    target->cache = bl_get_le(copy + 16, 8);
    target->entries = bl_get_le(copy + 24, 8);
    target->domain = (uint16_t)bl_get_le(copy + 32, 2);
    return BALLOON_OK;
}

size_t balloon_xen_write_pod_target(const balloon_xen_pod_target *target, balloon_xen_layout layout,
                                    void *buffer, size_t bytes)
{
    unsigned char *to = buffer;
    size_t needed = pod_target_bytes(layout);

    if (bytes >= needed) {
        memset(to, 0, needed);
        bl_put_le(to, 8, target->target);
        bl_put_le(to + 8, 8, target->total);
        bl_put_le(to + 16, 8, target->cache);
        bl_put_le(to + 24, 8, target->entries);
        bl_put_le(to + 32, 2, target->domain);
    }
    return needed;
}

balloon_status balloon_xen_read_domain(const void *bytes, size_t size, uint16_t *domain)
{
    unsigned char copy[BALLOON_XEN_DOMAIN_BYTES];

    if (size < sizeof(copy))
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(copy, bytes, sizeof(copy));
    *domain = (uint16_t)bl_get_le(copy, sizeof(copy));
    return BALLOON_OK;
}

size_t balloon_xen_write_domain(uint16_t domain, void *buffer, size_t bytes)
{
    if (bytes >= BALLOON_XEN_DOMAIN_BYTES)
        bl_put_le(buffer, BALLOON_XEN_DOMAIN_BYTES, domain);
    return BALLOON_XEN_DOMAIN_BYTES;
}

/* --- Words ----------------------------------------------------------------------------------- */

#define OP_BITS 6

unsigned balloon_xen_read_command(uint64_t command, uint64_t *start)
{
    *start = command >> OP_BITS;
    return (unsigned)(command & ((1u << OP_BITS) - 1));
}

uint32_t balloon_xen_write_command(balloon_xen_op op, uint32_t start)
{
    return start << OP_BITS | ((uint32_t)op & ((1u << OP_BITS) - 1));
}

/* mem_flags: address bits in bits 0 to 7, node + 1 in bits 8 to 15, then single bits. */
#define NODE_SHIFT              8
#define NODE_NONE               0xff
#define FLAG_POPULATE_ON_DEMAND ((uint32_t)1 << 16)
#define FLAG_EXACT_NODE         ((uint32_t)1 << 17)
#define FLAG_VIRTUAL_NODE       ((uint32_t)1 << 18)
#define FLAGS_KNOWN             ((FLAG_VIRTUAL_NODE << 1) - 1)

void balloon_xen_read_flags(uint32_t word, balloon_xen_flags *flags)
{
    uint32_t node = word >> NODE_SHIFT & 0xff;

    memset(flags, 0, sizeof(*flags));
    flags->address_bits = (uint8_t)(word & 0xff);
    flags->has_node = node != 0;
    if (node != 0)
        flags->node = (uint8_t)(node - 1);
    flags->populate_on_demand = (word & FLAG_POPULATE_ON_DEMAND) != 0;
    flags->exact_node = (word & FLAG_EXACT_NODE) != 0;
    flags->virtual_node = (word & FLAG_VIRTUAL_NODE) != 0;
    flags->unknown = word & ~FLAGS_KNOWN;
}

balloon_status balloon_xen_write_flags(const balloon_xen_flags *flags, uint32_t *word)
{
    uint32_t made = flags->address_bits | flags->unknown;

    if ((flags->has_node ? flags->node == NODE_NONE : flags->node != 0) ||
        (flags->unknown & FLAGS_KNOWN) != 0)
        return BALLOON_ERR_INVALID;
    if (flags->has_node)
        made |= ((uint32_t)flags->node + 1) << NODE_SHIFT;
    if (flags->populate_on_demand)
        made |= FLAG_POPULATE_ON_DEMAND;
    if (flags->exact_node)
        made |= FLAG_EXACT_NODE;
    if (flags->virtual_node)
        made |= FLAG_VIRTUAL_NODE;
    *word = made;
    return BALLOON_OK;
}

/* --- What Xen takes -------------------------------------------------------------------------- */

/* Bits of the smallest address width that has room for a page. */
#define ADDRESS_BITS_MIN (BALLOON_PAGE_SHIFT + 1)

balloon_status balloon_xen_check_reservation(balloon_xen_op op,
                                             const balloon_xen_reservation *reservation,
                                             uint32_t max_order)
{
    uint32_t address_bits = reservation->flags & 0xff;
    bool promise = (reservation->flags & FLAG_POPULATE_ON_DEMAND) != 0;

    switch (op) {
    case BALLOON_XEN_CLAIM_PAGES:
        if (reservation->list != 0 || reservation->order != 0 || reservation->flags != 0)
            return BALLOON_ERR_PROTOCOL;
        return BALLOON_OK;
    case BALLOON_XEN_POPULATE_PHYSMAP:
        if (promise && reservation->domain == BALLOON_XEN_DOMAIN_SELF)
            return BALLOON_ERR_PROTOCOL;
        break;
    case BALLOON_XEN_INCREASE_RESERVATION:
    case BALLOON_XEN_DECREASE_RESERVATION:
        break;
    default:
        return BALLOON_ERR_INVALID;
    }
    if (reservation->extents > BALLOON_XEN_EXTENTS_MAX || reservation->order > max_order ||
        (address_bits != 0 && address_bits < ADDRESS_BITS_MIN))
        return BALLOON_ERR_PROTOCOL;
    return BALLOON_OK;
}

/* Pages of a side of an exchange, unless they are too many to count. */
static bool count_pages(const balloon_xen_reservation *side, uint32_t max_order, uint64_t *pages)
{
    if (side->order > max_order || side->order > 63 || side->extents > UINT64_MAX >> side->order)
        return false;
    *pages = side->extents << side->order;
    return true;
}

balloon_status balloon_xen_check_exchange(const balloon_xen_exchange *exchange, uint32_t max_order)
{
    uint64_t in;
    uint64_t out;

    if (!count_pages(&exchange->in, max_order, &in) ||
        !count_pages(&exchange->out, max_order, &out) || in != out ||
        exchange->in.domain != exchange->out.domain || exchange->exchanged > exchange->in.extents)
        return BALLOON_ERR_PROTOCOL;
    return BALLOON_OK;
}

uint64_t balloon_xen_extents_done(int64_t result, uint64_t asked)
{
    if (result <= 0)
        return 0;
    return (uint64_t)result < asked ? (uint64_t)result : asked;
}

balloon_status balloon_xen_extent_range(balloon_pfn_t first, uint32_t order, balloon_range *range)
{
    const uint64_t end = UINT64_MAX >> BALLOON_PAGE_SHIFT; /* The last page of all. */
    uint64_t count;

    if (order > BALLOON_XEN_ORDER_CONTROL)
        return BALLOON_ERR_PROTOCOL;
    count = (uint64_t)1 << order;
    if (first > end || count - 1 > end - first)
        return BALLOON_ERR_PROTOCOL;
    *range = (balloon_range){first, count};
    return BALLOON_OK;
}

/* --- Lists ----------------------------------------------------------------------------------- */

#define CHUNK 32 /* Numbers read at a time. */

void balloon_xen_frames_init(balloon_xen_frames *frames, const balloon_iov *iov, size_t count,
                             uint64_t extents, balloon_xen_layout layout)
{
    frames->iov = iov;
    frames->iov_left = count;
    frames->offset = 0;
    frames->left = extents;
    frames->layout = layout;
}

/* How much of what is wanted there is. Stops at the piece that settles it. */
static size_t available(const balloon_xen_frames *frames, size_t wanted)
{
    size_t offset = frames->offset;
    size_t found = 0;

    for (size_t i = 0; i < frames->iov_left; i++) {
        size_t here = frames->iov[i].bytes - offset;

        if (here >= wanted - found) /* The sum could overflow, this cannot. */
            return wanted;
        found += here;
        offset = 0;
    }
    return found;
}

/* Takes the bytes of as many whole numbers as there are, up to a number that is wanted. */
static size_t take_frames(balloon_xen_frames *frames, void *to, size_t wanted, size_t word)
{
    size_t count = frames->left < wanted ? (size_t)frames->left : wanted;

    count = available(frames, count * word) / word;
    bl_xen_pull(&frames->iov, &frames->iov_left, &frames->offset, to, count * word);
    frames->left -= count;
    return count;
}

size_t balloon_xen_read_frames(balloon_xen_frames *frames, balloon_pfn_t *pfns, size_t max)
{
    unsigned char copy[CHUNK * 4];
    size_t done = 0, wanted, count;

    if (word_bytes(frames->layout) == 8) {
        done = take_frames(frames, pfns, max < SIZE_MAX / 8 ? max : SIZE_MAX / 8, 8);
        bl_swap_words(pfns, done);
        return done;
    }
    do {
        wanted = max - done < CHUNK ? max - done : CHUNK;
        count = take_frames(frames, copy, wanted, 4);
        for (size_t i = 0; i < count; i++)
            pfns[done++] = bl_get_le(copy + 4 * i, 4);
    } while (done < max && count == wanted);
    return done;
}

size_t balloon_xen_write_frames(const balloon_pfn_t *pfns, size_t count, balloon_xen_layout layout,
                                void *buffer, size_t bytes)
{
    unsigned char *to = buffer;
    size_t word = word_bytes(layout);

    if (count > SIZE_MAX / 8)
        return SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!fits(pfns[i], layout))
            return SIZE_MAX;
    }
    if (bytes >= count * word) {
        for (size_t i = 0; i < count; i++)
            bl_put_le(to + i * word, word, pfns[i]);
    }
    return count * word;
}
