#include <string.h>

#include <balloon/hyperv.h>

#include "hyperv_codec_p.h"

#define HEADER_BYTES        8
#define HOT_ADD_BYTES       16 /* The short form, */
#define HOT_ADD_LONG_BYTES  24 /* and the one with a region. */
#define INFO_OFFSET         16 /* What INFO's info_size counts starts here, */
#define INFO_DATA_OFFSET    24 /* and its data here. */
#define INFO_MAX_PAGES_DATA 8
#define HEAD_BYTES_MAX      48 /* STATUS_REPORT */

#define BIT(n) ((uint64_t)1 << (n))

/* --- Kinds of messages ----------------------------------------------------------------------- */

enum sender { NOBODY, GUEST, HOST };

/* A message starts with a head of fixed length; a list of ranges or data may follow. */
struct kind {
    uint8_t head_bytes;
    uint8_t sender;
    uint32_t since; /* The first version that has it; 0 for the oldest. */
};

static const struct kind kinds[BALLOON_HYPERV_TYPES] = {
    [BALLOON_HYPERV_ERROR] = {HEADER_BYTES, NOBODY, 0},
    [BALLOON_HYPERV_VERSION_REQUEST] = {16, GUEST, 0},
    [BALLOON_HYPERV_VERSION_RESPONSE] = {16, HOST, 0},
    [BALLOON_HYPERV_CAPABILITIES_REPORT] = {32, GUEST, 0},
    [BALLOON_HYPERV_CAPABILITIES_RESPONSE] = {16, HOST, 0},
    [BALLOON_HYPERV_STATUS_REPORT] = {HEAD_BYTES_MAX, GUEST, 0},
    [BALLOON_HYPERV_BALLOON_REQUEST] = {16, HOST, 0},
    [BALLOON_HYPERV_BALLOON_RESPONSE] = {BALLOON_HYPERV_RANGES_OFFSET, GUEST, 0},
    [BALLOON_HYPERV_UNBALLOON_REQUEST] = {BALLOON_HYPERV_RANGES_OFFSET, HOST, 0},
    [BALLOON_HYPERV_UNBALLOON_RESPONSE] = {HEADER_BYTES, GUEST, 0},
    [BALLOON_HYPERV_HOT_ADD_REQUEST] = {HOT_ADD_BYTES, HOST, 0},
    [BALLOON_HYPERV_HOT_ADD_RESPONSE] = {16, GUEST, 0},
    [BALLOON_HYPERV_INFO] = {INFO_DATA_OFFSET, HOST, BALLOON_HYPERV_VERSION_1_0},
    [BALLOON_HYPERV_HOT_REMOVE_REQUEST] = {24, HOST, BALLOON_HYPERV_VERSION_2_0},
    [BALLOON_HYPERV_HOT_REMOVE_RESPONSE] = {BALLOON_HYPERV_REMOVED_OFFSET, GUEST,
                                            BALLOON_HYPERV_VERSION_2_0},
};

bool balloon_hyperv_may_send(uint16_t type, bool guest, uint32_t version)
{
    return type < BALLOON_HYPERV_TYPES && kinds[type].sender == (guest ? GUEST : HOST) &&
           version >= kinds[type].since;
}

/* --- Versions -------------------------------------------------------------------------------- */

static const uint32_t versions[] = {BALLOON_HYPERV_VERSION_2_0, BALLOON_HYPERV_VERSION_1_0,
                                    BALLOON_HYPERV_VERSION_0_3};

#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

bool balloon_hyperv_version_known(uint32_t version)
{
    for (size_t i = 0; i < VERSIONS; i++) {
        if (versions[i] == version)
            return true;
    }
    return false;
}

uint32_t balloon_hyperv_version_below(uint32_t refused)
{
    for (size_t i = 0; i < VERSIONS; i++) {
        if (versions[i] < refused)
            return versions[i];
    }
    return 0;
}

/* --- Ranges: page number in bits 0 to 39, number of pages in bits 40 to 63 ------------------- */

static bool packable(balloon_range range)
{
    return range.first < BALLOON_HYPERV_PFN_LIMIT && range.count <= BALLOON_HYPERV_RANGE_PAGES_MAX;
}

#define CHUNK 64u /* Ranges read at a time. */

size_t balloon_hyperv_read_ranges(const balloon_hyperv_ranges *list, size_t first,
                                  balloon_range *ranges, size_t max)
{
    size_t count = first < list->count ? list->count - first : 0;

    count = count < max ? count : max;
    for (size_t done = 0, n; done < count; done += n) {
        const unsigned char *from = list->packed;
        uint64_t words[CHUNK];

        n = count - done < CHUNK ? count - done : CHUNK;
        bl_copy_words_in(words, from + (first + done) * sizeof(*words), n);
        for (size_t i = 0; i < n; i++)
            ranges[done + i] = bl_hyperv_unpack(words[i]);
    }
    return count;
}

/* Moves pages from the front of one range to the end of another, as many as that can have. */
static void move_pages(balloon_range *from, balloon_range *to)
{
    uint64_t room = BALLOON_HYPERV_RANGE_PAGES_MAX - to->count;
    uint64_t moved = from->count < room ? from->count : room;

    to->count += moved;
    from->first += moved;
    from->count -= moved;
}

balloon_status balloon_hyperv_pack(balloon_range *range, void *packed, uint32_t *count,
                                   uint32_t max)
{
    if (range->count == 0)
        return BALLOON_OK;
    if (range->first >= BALLOON_HYPERV_PFN_LIMIT ||
        range->count > BALLOON_HYPERV_PFN_LIMIT - range->first)
        return BALLOON_ERR_RANGE;
    if (*count > 0) {
        balloon_range last = bl_hyperv_unpack(bl_hyperv_get_packed(packed, *count - 1));

        if (last.first + last.count == range->first) {
            move_pages(range, &last);
            bl_hyperv_put_packed(packed, *count - 1, bl_hyperv_pack(last));
        }
    }
    while (range->count > 0) {
        balloon_range next = {range->first, 0};

        if (*count >= max)
            return BALLOON_ERR_NOSPACE;
        move_pages(range, &next);
        bl_hyperv_put_packed(packed, (*count)++, bl_hyperv_pack(next));
    }
    return BALLOON_OK;
}

/* --- Reading --------------------------------------------------------------------------------- */

static uint32_t get32(const unsigned char *head, unsigned offset)
{
    return (uint32_t)bl_get_le(head + offset, 4);
}

static uint64_t get64(const unsigned char *head, unsigned offset)
{
    return bl_get_le(head + offset, 8);
}

/* The data of INFO. Its info_size is checked, but not used: whether it counts the 8 bytes before
 * the data is not known for sure. */
static balloon_status decode_info(const unsigned char *head, const unsigned char *bytes,
                                  size_t size, balloon_hyperv_info *info)
{
    uint32_t info_bytes = get32(head, 12);
    uint32_t data_bytes = get32(head, 20);

    if (info_bytes > size - INFO_OFFSET || data_bytes > size - INFO_DATA_OFFSET)
        return BALLOON_ERR_PROTOCOL;
    info->type = get32(head, 16);
    if (info->type == BALLOON_HYPERV_INFO_MAX_PAGES) {
        if (data_bytes != INFO_MAX_PAGES_DATA)
            return BALLOON_ERR_PROTOCOL;
        info->max_pages = bl_hyperv_get_packed(bytes + INFO_DATA_OFFSET, 0);
    } else {
        info->data.base = bytes + INFO_DATA_OFFSET;
        info->data.bytes = data_bytes;
    }
    return BALLOON_OK;
}

/* A list of ranges behind a head. */
static balloon_status decode_ranges(uint32_t count, bool more, size_t offset,
                                    const unsigned char *bytes, size_t size,
                                    balloon_hyperv_ranges *ranges)
{
    if (count > (size - offset) / BALLOON_HYPERV_RANGE_BYTES)
        return BALLOON_ERR_PROTOCOL;
    ranges->packed = bytes + offset;
    ranges->count = count;
    ranges->more = more;
    return BALLOON_OK;
}

static balloon_status decode_body(const unsigned char *head, const unsigned char *bytes,
                                  size_t size, balloon_hyperv_message *message)
{
    uint64_t flags = get64(head, 8);

    switch ((balloon_hyperv_type)message->type) {
    case BALLOON_HYPERV_VERSION_REQUEST:
        message->body.version.version = get32(head, 8);
        message->body.version.last = head[12] & 1;
        break;
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        message->body.answer.hot_remove = flags >> 1 & 1;
        message->body.answer.suppress_reports = flags >> 2 & 1;
        message->body.answer.accepted = flags & 1;
        break;
    case BALLOON_HYPERV_VERSION_RESPONSE:
        message->body.answer.accepted = flags & 1;
        break;
    case BALLOON_HYPERV_CAPABILITIES_REPORT:
        message->body.capabilities.balloon = flags & 1;
        message->body.capabilities.hot_add = flags >> 1 & 1;
        message->body.capabilities.alignment = flags >> 2 & BALLOON_HYPERV_ALIGNMENT_MAX;
        message->body.capabilities.hot_remove = flags >> 6 & 1;
        message->body.capabilities.min_pages = get64(head, 16);
        message->body.capabilities.max_page = get64(head, 24);
        break;
    case BALLOON_HYPERV_STATUS_REPORT:
        message->body.status.available = get64(head, 8);
        message->body.status.committed = get64(head, 16);
        message->body.status.page_file = get64(head, 24);
        message->body.status.zero_free = get64(head, 32);
        message->body.status.page_file_writes = get32(head, 40);
        message->body.status.io_diff = get32(head, 44);
        break;
    case BALLOON_HYPERV_BALLOON_REQUEST:
        message->body.pages = get32(head, 8);
        break;
    case BALLOON_HYPERV_BALLOON_RESPONSE: /* The flag shares a word with the count ... */
        return decode_ranges(get32(head, 12) >> 1, head[12] & 1, BALLOON_HYPERV_RANGES_OFFSET,
                             bytes, size, &message->body.ranges);
    case BALLOON_HYPERV_UNBALLOON_REQUEST: /* ... and here each has its own. */
        return decode_ranges(get32(head, 12), head[8] & 1, BALLOON_HYPERV_RANGES_OFFSET, bytes,
                             size, &message->body.ranges);
    case BALLOON_HYPERV_UNBALLOON_RESPONSE:
        break;
    case BALLOON_HYPERV_HOT_ADD_REQUEST:
        message->body.hot_add.range = bl_hyperv_unpack(get64(head, 8));
        message->body.hot_add.has_region = message->bytes != HOT_ADD_BYTES;
        if (message->body.hot_add.has_region)
            message->body.hot_add.region = bl_hyperv_unpack(get64(head, 16));
        break;
    case BALLOON_HYPERV_HOT_ADD_RESPONSE:
        message->body.hot_added.pages = get32(head, 8);
        message->body.hot_added.result = get32(head, 12);
        break;
    case BALLOON_HYPERV_INFO:
        return decode_info(head, bytes, size, &message->body.info);
    case BALLOON_HYPERV_HOT_REMOVE_REQUEST:
        message->body.hot_remove.node = get32(head, 8);
        message->body.hot_remove.pages = get32(head, 12);
        message->body.hot_remove.qos =
            get32(head, 16) & (BALLOON_HYPERV_QOS_LARGE | BALLOON_HYPERV_QOS_LOCAL);
        break;
    case BALLOON_HYPERV_HOT_REMOVE_RESPONSE:
        message->body.hot_removed.result = get32(head, 8);
        return decode_ranges(get32(head, 12), head[16] & 1, BALLOON_HYPERV_REMOVED_OFFSET, bytes,
                             size, &message->body.hot_removed.ranges);
    case BALLOON_HYPERV_ERROR:
        message->body.error.base = bytes + HEADER_BYTES;
        message->body.error.bytes = size - HEADER_BYTES;
        break;
    case BALLOON_HYPERV_TYPES:
        break;
    }
    return BALLOON_OK;
}

balloon_status balloon_hyperv_decode(const void *bytes, size_t size,
                                     balloon_hyperv_message *message)
{
    unsigned char head[HEAD_BYTES_MAX] = {0};
    balloon_hyperv_message found;
    size_t head_bytes;

    memset(&found, 0, sizeof(found));
    if (size < HEADER_BYTES)
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(head, bytes, HEADER_BYTES);
    found.type = (uint16_t)bl_get_le(head, 2);
    found.bytes = (uint16_t)bl_get_le(head + 2, 2);
    found.id = get32(head, 4);
    if (found.type >= BALLOON_HYPERV_TYPES)
        return BALLOON_ERR_PROTOCOL;

    head_bytes = kinds[found.type].head_bytes;
    if (found.type == BALLOON_HYPERV_HOT_ADD_REQUEST && found.bytes != HOT_ADD_BYTES)
        head_bytes = HOT_ADD_LONG_BYTES;
    if (size < head_bytes)
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(head + HEADER_BYTES, (const unsigned char *)bytes + HEADER_BYTES,
               head_bytes - HEADER_BYTES);
    if (decode_body(head, bytes, size, &found) != BALLOON_OK)
        return BALLOON_ERR_PROTOCOL;
    *message = found;
    return BALLOON_OK;
}

/* --- Writing --------------------------------------------------------------------------------- */

/* A message on its way out: a head that is made here, and what follows it, which lies elsewhere. */
struct outgoing {
    unsigned char head[HEAD_BYTES_MAX];
    size_t head_bytes;
    const void *tail;
    size_t tail_bytes;
};

static void put32(struct outgoing *out, unsigned offset, uint32_t value)
{
    bl_put_le(out->head + offset, 4, value);
}

static void put64(struct outgoing *out, unsigned offset, uint64_t value)
{
    bl_put_le(out->head + offset, 8, value);
}

static bool set_tail(struct outgoing *out, const void *tail, size_t bytes)
{
    if (bytes > BALLOON_HYPERV_WIRE_BYTES_MAX - out->head_bytes)
        return false;
    out->tail = tail;
    out->tail_bytes = bytes;
    return true;
}

static bool set_ranges(struct outgoing *out, const balloon_hyperv_ranges *ranges)
{
    return ranges->count <= BALLOON_HYPERV_WIRE_BYTES_MAX / BALLOON_HYPERV_RANGE_BYTES &&
           set_tail(out, ranges->packed, (size_t)ranges->count * BALLOON_HYPERV_RANGE_BYTES);
}

static bool encode_capabilities(const balloon_hyperv_capabilities *capabilities,
                                struct outgoing *out)
{
    if (capabilities->alignment > BALLOON_HYPERV_ALIGNMENT_MAX)
        return false;
    put64(out, 8,
          (capabilities->balloon ? BIT(0) : 0) | (capabilities->hot_add ? BIT(1) : 0) |
              (uint64_t)capabilities->alignment << 2 | (capabilities->hot_remove ? BIT(6) : 0));
    put64(out, 16, capabilities->min_pages);
    put64(out, 24, capabilities->max_page);
    return true;
}

static bool encode_hot_add(const balloon_hyperv_hot_add *hot_add, struct outgoing *out)
{
    if (!packable(hot_add->range) || (hot_add->has_region && !packable(hot_add->region)))
        return false;
    put64(out, 8, bl_hyperv_pack(hot_add->range));
    if (hot_add->has_region) {
        put64(out, 16, bl_hyperv_pack(hot_add->region));
        out->head_bytes = HOT_ADD_LONG_BYTES;
    }
    return true;
}

static bool encode_info(const balloon_hyperv_info *info, struct outgoing *out)
{
    size_t data_bytes = info->data.bytes;

    if (info->type == BALLOON_HYPERV_INFO_MAX_PAGES) {
        put64(out, INFO_DATA_OFFSET, info->max_pages);
        out->head_bytes += INFO_MAX_PAGES_DATA;
        data_bytes = INFO_MAX_PAGES_DATA;
    } else if (!set_tail(out, info->data.base, data_bytes)) {
        return false;
    }
    put32(out, 12, (uint32_t)(INFO_DATA_OFFSET - INFO_OFFSET + data_bytes));
    put32(out, 16, info->type);
    put32(out, 20, (uint32_t)data_bytes);
    return true;
}

static bool encode_body(const balloon_hyperv_message *message, struct outgoing *out)
{
    switch ((balloon_hyperv_type)message->type) {
    case BALLOON_HYPERV_VERSION_REQUEST:
        put32(out, 8, message->body.version.version);
        put32(out, 12, message->body.version.last);
        return true;
    case BALLOON_HYPERV_VERSION_RESPONSE:
        put64(out, 8, message->body.answer.accepted);
        return true;
    case BALLOON_HYPERV_CAPABILITIES_REPORT:
        return encode_capabilities(&message->body.capabilities, out);
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        put64(out, 8,
              (message->body.answer.accepted ? BIT(0) : 0) |
                  (message->body.answer.hot_remove ? BIT(1) : 0) |
                  (message->body.answer.suppress_reports ? BIT(2) : 0));
        return true;
    case BALLOON_HYPERV_STATUS_REPORT:
        put64(out, 8, message->body.status.available);
        put64(out, 16, message->body.status.committed);
        put64(out, 24, message->body.status.page_file);
        put64(out, 32, message->body.status.zero_free);
        put32(out, 40, message->body.status.page_file_writes);
        put32(out, 44, message->body.status.io_diff);
        return true;
    case BALLOON_HYPERV_BALLOON_REQUEST:
        put32(out, 8, message->body.pages);
        return true;
    case BALLOON_HYPERV_BALLOON_RESPONSE:
        if (!set_ranges(out, &message->body.ranges))
            return false;
        put32(out, 12, message->body.ranges.count << 1 | message->body.ranges.more);
        return true;
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        put32(out, 8, message->body.ranges.more);
        put32(out, 12, message->body.ranges.count);
        return set_ranges(out, &message->body.ranges);
    case BALLOON_HYPERV_UNBALLOON_RESPONSE:
        return true;
    case BALLOON_HYPERV_HOT_ADD_REQUEST:
        return encode_hot_add(&message->body.hot_add, out);
    case BALLOON_HYPERV_HOT_ADD_RESPONSE:
        put32(out, 8, message->body.hot_added.pages);
        put32(out, 12, message->body.hot_added.result);
        return true;
    case BALLOON_HYPERV_INFO:
        return encode_info(&message->body.info, out);
    case BALLOON_HYPERV_HOT_REMOVE_REQUEST:
        put32(out, 8, message->body.hot_remove.node);
        put32(out, 12, message->body.hot_remove.pages);
        put32(out, 16, message->body.hot_remove.qos);
        return message->body.hot_remove.qos <=
               (BALLOON_HYPERV_QOS_LARGE | BALLOON_HYPERV_QOS_LOCAL);
    case BALLOON_HYPERV_HOT_REMOVE_RESPONSE:
        put32(out, 8, message->body.hot_removed.result);
        put32(out, 12, message->body.hot_removed.ranges.count);
        put64(out, 16, message->body.hot_removed.ranges.more);
        return set_ranges(out, &message->body.hot_removed.ranges);
    case BALLOON_HYPERV_ERROR:
        return set_tail(out, message->body.error.base, message->body.error.bytes);
    case BALLOON_HYPERV_TYPES:
        break;
    }
    return false;
}

size_t balloon_hyperv_encode(const balloon_hyperv_message *message, void *buffer, size_t bytes)
{
    struct outgoing out;
    size_t needed;

    if (message->type >= BALLOON_HYPERV_TYPES)
        return SIZE_MAX;
    memset(&out, 0, sizeof(out));
    out.head_bytes = kinds[message->type].head_bytes;
    if (!encode_body(message, &out))
        return SIZE_MAX;
    needed = out.head_bytes + out.tail_bytes;
    if (bytes < needed)
        return needed;
    bl_put_le(out.head, 2, message->type);
    bl_put_le(out.head + 2, 2, needed);
    put32(&out, 4, message->id);
    if (out.tail_bytes > 0) /* First, since it may lie where the head goes. */
        memmove((unsigned char *)buffer + out.head_bytes, out.tail, out.tail_bytes);
    memcpy(buffer, out.head, out.head_bytes);
    return needed;
}

/* --- Hot-add and pressure -------------------------------------------------------------------- */

uint64_t balloon_hyperv_alignment_pages(const balloon_hyperv_capabilities *capabilities)
{
    return BIT(20 - BALLOON_PAGE_SHIFT) << (capabilities->alignment & BALLOON_HYPERV_ALIGNMENT_MAX);
}

bool balloon_hyperv_hot_add_valid(const balloon_hyperv_hot_add *hot_add)
{
    balloon_range range = hot_add->range;
    balloon_range region = hot_add->region;

    if (range.count == 0 || !packable(range) ||
        range.count > BALLOON_HYPERV_PFN_LIMIT - range.first)
        return false;
    if (!hot_add->has_region || region.count == 0)
        return true;
    return packable(region) && region.count <= BALLOON_HYPERV_PFN_LIMIT - region.first &&
           range.first >= region.first && range.first + range.count <= region.first + region.count;
}

balloon_hyperv_outcome balloon_hyperv_hot_add_result(const balloon_hyperv_hot_added *response,
                                                     uint32_t asked, uint32_t *pages)
{
    uint32_t added = response->result == 0 ? 0 : response->pages;

    added = added < asked ? added : asked;
    if (pages != NULL)
        *pages = added;
    if (response->result == 0)
        return BALLOON_HYPERV_TRY_LATER;
    if (added == asked)
        return BALLOON_HYPERV_ADDED;
    return added > 0 ? BALLOON_HYPERV_ADDED_PART : BALLOON_HYPERV_NEVER;
}

/* Linux' compute_balloon_floor(): straight lines that meet at 128 MiB, 512 MiB, 2 GiB and 8 GiB. */
uint64_t balloon_hyperv_floor(uint64_t total)
{
    static const struct {
        uint64_t below; /* All in MiB. */
        uint64_t base;
    } lines[] = {{128, 8}, {512, 40}, {2048, 104}, {8192, 232}, {UINT64_MAX, 488}};
    unsigned i = 0;

    while (total >> 8 >= lines[i].below)
        i++;
    return (lines[i].base << 8) + (total >> (i + 1));
}
