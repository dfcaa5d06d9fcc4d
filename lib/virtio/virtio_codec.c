#include <string.h>

#include "../core/bits.h"
#include "virtio_codec_p.h"

/* --- Byte order ------------------------------------------------------------------------------ */

static uint32_t swap32(uint32_t value)
{
    return value >> 24 | (value >> 8 & 0xff00) | (value << 8 & 0xff0000) | value << 24;
}

static uint64_t swap64(uint64_t value)
{
    return (uint64_t)swap32((uint32_t)value) << 32 | swap32((uint32_t)(value >> 32));
}

static uint64_t get(const unsigned char *bytes, unsigned size, balloon_endian endian)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value = value << 8 | bytes[endian == BALLOON_BIG_ENDIAN ? i : size - 1 - i];
    return value;
}

static void put(unsigned char *bytes, unsigned size, uint64_t value, balloon_endian endian)
{
    for (unsigned i = 0; i < size; i++) {
        bytes[endian == BALLOON_BIG_ENDIAN ? size - 1 - i : i] = (unsigned char)value;
        value >>= 8;
    }
}

/* --- Reader ---------------------------------------------------------------------------------- */

/* How much of what is wanted can be read. Stops at the piece that settles it, so that a loop over
 * a long buffer looks at each piece a constant number of times. */
static uint64_t available(const balloon_virtio_reader *reader, uint64_t wanted)
{
    uint64_t most = reader->budget < wanted ? reader->budget : wanted;
    uint64_t found = 0;
    size_t offset = reader->offset;

    for (size_t i = 0; i < reader->iov_left && found < most; i++) {
        uint64_t here = reader->iov[i].bytes - offset;

        if (here >= most - found) /* The sum could overflow, this cannot. */
            return most;
        found += here;
        offset = 0;
    }
    return found;
}

/* Copies bytes that are known to be there. */
static void take(balloon_virtio_reader *reader, void *private_copy, size_t bytes)
{
    unsigned char *to = private_copy;

    reader->budget -= bytes;
    while (bytes > 0) {
        size_t here = reader->iov->bytes - reader->offset;

        if (here == 0) {
            reader->iov++;
            reader->iov_left--;
            reader->offset = 0;
            continue;
        }
        here = here < bytes ? here : bytes;
        bl_copy_in(to, (const unsigned char *)reader->iov->base + reader->offset, here);
        reader->offset += here;
        to += here;
        bytes -= here;
    }
}

/* Takes one record whole or not at all. */
static bool take_record(balloon_virtio_reader *reader, unsigned char *record, size_t bytes)
{
    if (available(reader, bytes) < bytes)
        return false;
    take(reader, record, bytes);
    return true;
}

/* Takes as many whole elements of 1 << shift bytes as there are, but not more than max. */
static ALWAYS_INLINE size_t take_array(balloon_virtio_reader *reader, void *elements, size_t max,
                                       unsigned shift)
{
    size_t count = max < SIZE_MAX >> shift ? max : SIZE_MAX >> shift, bytes = count << shift;

    /* Mostly they are in one piece. */
    if (bytes && reader->iov_left && bytes <= reader->budget &&
        bytes <= reader->iov->bytes - reader->offset) {
        bl_copy_pieces(elements, (const unsigned char *)reader->iov->base + reader->offset, bytes);
        reader->offset += bytes;
        reader->budget -= bytes;
        return count;
    }
    count = (size_t)(available(reader, (uint64_t)count << shift) >> shift);
    take(reader, elements, count << shift);
    return count;
}

void balloon_virtio_reader_init(balloon_virtio_reader *reader, const balloon_iov *iov, size_t count,
                                uint64_t limit, balloon_endian endian)
{
    reader->iov = iov;
    reader->iov_left = count;
    reader->offset = 0;
    reader->budget = limit;
    reader->endian = endian;
}

uint64_t balloon_virtio_reader_left(const balloon_virtio_reader *reader)
{
    return available(reader, UINT64_MAX);
}

/* --- Pages ----------------------------------------------------------------------------------- */

size_t balloon_virtio_read_pfns(balloon_virtio_reader *reader, uint32_t *pfns, size_t max)
{
    size_t count = take_array(reader, pfns, max, 2);

    if (is_foreign(reader->endian)) {
        for (size_t i = 0; i < count; i++)
            pfns[i] = swap32(pfns[i]);
    }
    return count;
}

size_t balloon_virtio_read_pfns64(balloon_virtio_reader *reader, balloon_pfn_t *pfns, size_t max)
{
    size_t count = take_array(reader, pfns, max, 3);

    if (is_foreign(reader->endian)) {
        for (size_t i = 0; i < count; i++)
            pfns[i] = swap64(pfns[i]);
    }
    return count;
}

size_t balloon_virtio_write_pfns(const uint32_t *pfns, size_t count, balloon_endian endian,
                                 void *buffer, size_t bytes)
{
    unsigned char *to = buffer;

    if (count > SIZE_MAX / 4)
        return SIZE_MAX; /* No such array can exist. */
    if (count == 0 || bytes < count * 4)
        return count * 4;
    if (is_foreign(endian)) {
        for (size_t i = 0; i < count; i++)
            put(to + i * 4, 4, pfns[i], endian);
    } else {
        memcpy(to, pfns, count * 4);
    }
    return count * 4;
}

/* --- Statistics ------------------------------------------------------------------------------ */

/* Windows' driver has tags 0 to 9, or the all-ones that it fills its buffer with. */
#define WINDOWS_TAGS 10u
#define FILLER       0xffffu

size_t balloon_virtio_read_stats(balloon_virtio_reader *reader, balloon_sample *sample)
{
    unsigned char record[BALLOON_VIRTIO_STAT_BYTES];
    bool windows = true;
    size_t count = 0;

    memset(sample, 0, sizeof(*sample));
    for (; take_record(reader, record, sizeof(record)); count++) {
        uint64_t tag = get(record, 2, reader->endian), value = get(record + 2, 8, reader->endian);
        bool known = tag < BALLOON_VIRTIO_STAT_TAGS && !(value >> 63);

        windows &= tag == count || tag == FILLER;
        balloon_sample_set(sample, known ? (balloon_stat)tag : BALLOON_STAT_SLOTS, value);
    }
    if (windows && count == WINDOWS_TAGS &&
        balloon_sample_get(sample, BALLOON_STAT_SWAP_IN, NULL) &&
        !sample->value[BALLOON_STAT_HUGE_ALLOC] && !sample->value[BALLOON_STAT_HUGE_FAIL])
        sample->present |= BALLOON_SAMPLE_READS;
    return count;
}

/* In which order Linux sends them. */
static const unsigned char linux_order[BALLOON_VIRTIO_STAT_TAGS] = {0,  1,  2, 3, 10, 11, 12, 13,
                                                                    14, 15, 8, 9, 4,  5,  6,  7};

size_t balloon_virtio_write_stats(const balloon_sample *sample, balloon_endian endian, void *buffer,
                                  size_t bytes)
{
    unsigned char *to = buffer;
    size_t needed = 0;
    uint64_t value;

    for (unsigned tag = 0; tag < BALLOON_VIRTIO_STAT_TAGS; tag++) {
        if (balloon_sample_get(sample, (balloon_stat)tag, NULL))
            needed += BALLOON_VIRTIO_STAT_BYTES;
    }
    if (bytes < needed)
        return needed;
    for (unsigned i = 0; i < BALLOON_VIRTIO_STAT_TAGS; i++) {
        unsigned tag = linux_order[i];

        if (balloon_sample_get(sample, (balloon_stat)tag, &value)) {
            put(to, 2, tag, endian);
            put(to + 2, 8, value, endian);
            to += BALLOON_VIRTIO_STAT_BYTES;
        }
    }
    return needed;
}

size_t balloon_virtio_read_working_sets(balloon_virtio_reader *reader,
                                        balloon_virtio_working_set *records, size_t max)
{
    unsigned char record[32];
    size_t count = 0;

    for (; count < max && take_record(reader, record, sizeof(record)); count++) {
        records[count].tag = (uint16_t)get(record, 2, reader->endian);
        records[count].node = (uint16_t)get(record + 2, 2, reader->endian);
        records[count].idle_ms = get(record + 8, 8, reader->endian);
        records[count].anon = get(record + 16, 8, reader->endian);
        records[count].file = get(record + 24, 8, reader->endian);
    }
    return count;
}

/* --- Hinting --------------------------------------------------------------------------------- */

balloon_status balloon_virtio_read_hint(balloon_virtio_reader *reader, uint32_t *id)
{
    unsigned char command[4];

    if (available(reader, sizeof(command) + 1) != sizeof(command))
        return BALLOON_ERR_PROTOCOL;
    take(reader, command, sizeof(command));
    *id = (uint32_t)get(command, sizeof(command), reader->endian);
    return BALLOON_OK;
}

size_t balloon_virtio_write_hint(uint32_t id, balloon_endian endian, void *buffer, size_t bytes)
{
    if (bytes >= 4)
        put(buffer, 4, id, endian);
    return 4;
}

/* --- Queue numbers --------------------------------------------------------------------------- */

/* Feature that a queue comes with; 0 for those that always exist. */
static const uint32_t queue_feature[BALLOON_QUEUE_KINDS] = {
    [BALLOON_QUEUE_STATS] = BALLOON_F_STATS,
    [BALLOON_QUEUE_HINT] = BALLOON_F_HINTING,
    [BALLOON_QUEUE_REPORT] = BALLOON_F_REPORTING,
};

static bool has_queue(uint32_t features, unsigned kind)
{
    return (queue_feature[kind] & ~features) == 0;
}

int balloon_virtio_queue_index(balloon_virtio_numbering rule, uint32_t offered, uint32_t negotiated,
                               balloon_virtio_queue kind)
{
    uint32_t counted = 0;
    int index = 0;

    switch (rule) {
    case BALLOON_QUEUES_BY_OFFER:
        counted = offered;
        break;
    case BALLOON_QUEUES_BY_NEGOTIATION:
        counted = offered & negotiated;
        break;
    case BALLOON_QUEUES_FIXED:
        counted = BALLOON_F_ALL;
        break;
    default:
        return -1;
    }
    if ((uint32_t)kind >= BALLOON_QUEUE_KINDS || !has_queue(offered & negotiated, kind))
        return -1;
    for (unsigned before = 0; before < (unsigned)kind; before++)
        index += has_queue(counted, before);
    return index;
}

balloon_virtio_queue balloon_virtio_queue_kind(balloon_virtio_numbering rule, uint32_t offered,
                                               uint32_t negotiated, uint32_t index)
{
    for (unsigned kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
        int number =
            balloon_virtio_queue_index(rule, offered, negotiated, (balloon_virtio_queue)kind);

        if (number >= 0 && (uint32_t)number == index)
            return (balloon_virtio_queue)kind;
    }
    return BALLOON_QUEUE_NONE;
}

bool balloon_virtio_find_numbering(uint32_t offered, uint32_t negotiated, uint32_t enabled,
                                   balloon_virtio_numbering *rule)
{
    for (unsigned candidate = 0; candidate <= BALLOON_QUEUES_FIXED; candidate++) {
        uint32_t queues = 0;

        for (unsigned kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
            int number = balloon_virtio_queue_index((balloon_virtio_numbering)candidate, offered,
                                                    negotiated, (balloon_virtio_queue)kind);

            if (number >= 0)
                queues |= (uint32_t)1 << number;
        }
        if (queues == enabled) {
            *rule = (balloon_virtio_numbering)candidate;
            return true;
        }
    }
    return false;
}
