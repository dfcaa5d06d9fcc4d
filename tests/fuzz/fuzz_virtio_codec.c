/* The virtio codec on bytes of a guest: however they are cut into pieces they mean the same, what
 * was read can be written and read again, and nothing outside of a piece is touched (each piece
 * is an allocation of its own, for the address sanitizer to watch).
 *
 * Input: message kind and byte order, limit, piece lengths, then the buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/virtio.h>

#define HEADER     4
#define MAX_BYTES  2048
#define MAX_PIECES 256

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct reading {
    uint32_t pfns[MAX_BYTES / 4];
    balloon_pfn_t pfns64[MAX_BYTES / 8];
    balloon_virtio_working_set sets[MAX_BYTES / 32];
    balloon_sample sample;
    balloon_status status;
    uint32_t id;
    size_t count;
    uint64_t left;
};

enum message { PFNS, PFNS64, STATS, HINT, WORKING_SETS, MESSAGES };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct reading *out, enum message message, const balloon_iov *iov,
                     size_t pieces, uint64_t limit, balloon_endian endian)
{
    balloon_virtio_reader reader;

    memset(out, 0, sizeof(*out));
    balloon_virtio_reader_init(&reader, iov, pieces, limit, endian);
    switch (message) {
    case PFNS:
        out->count = balloon_virtio_read_pfns(&reader, out->pfns, MAX_BYTES / 4);
        break;
    case PFNS64:
        out->count = balloon_virtio_read_pfns64(&reader, out->pfns64, MAX_BYTES / 8);
        break;
    case STATS:
        out->count = balloon_virtio_read_stats(&reader, &out->sample);
        break;
    case HINT:
        out->status = balloon_virtio_read_hint(&reader, &out->id);
        break;
    default:
        out->count = balloon_virtio_read_working_sets(&reader, out->sets, MAX_BYTES / 32);
    }
    out->left = balloon_virtio_reader_left(&reader);
}

/* Cuts the bytes into pieces of 0 .. longest bytes, each in memory of its own; when there are too
 * many, the last has all the rest. */
static size_t cut(const uint8_t *bytes, size_t count, uint8_t longest, uint8_t salt,
                  balloon_iov *iov)
{
    size_t pieces = 0;
    uint32_t state = salt;

    while (count > 0) {
        size_t here = count;
        void *copy;

        state = state * 1103515245 + 12345;
        if (pieces < MAX_PIECES - 1)
            here = (state >> 16) % (longest + 1u);
        here = here < count ? here : count;
        copy = malloc(here);
        CHECK(copy != NULL || here == 0);
        if (here > 0)
            memcpy(copy, bytes, here);
        iov[pieces++] = (balloon_iov){copy, here};
        bytes += here;
        count -= here;
    }
    return pieces;
}

static void check_round_trip(const struct reading *reading, enum message message,
                             const uint8_t *bytes, balloon_endian endian)
{
    static struct reading again;
    static uint8_t written[MAX_BYTES];
    balloon_iov iov = {written, 0};

    switch (message) {
    case PFNS:
        iov.bytes = balloon_virtio_write_pfns(reading->pfns, reading->count, endian, written,
                                              sizeof(written));
        CHECK(iov.bytes == reading->count * 4);
        CHECK(memcmp(written, bytes, iov.bytes) == 0);
        break;
    case STATS:
        iov.bytes = balloon_virtio_write_stats(&reading->sample, endian, written, sizeof(written));
        CHECK(iov.bytes <= reading->count * BALLOON_VIRTIO_STAT_BYTES);
        read_all(&again, STATS, &iov, 1, iov.bytes, endian);
        CHECK(again.sample.present == (reading->sample.present & ~BALLOON_SAMPLE_READS));
        CHECK(memcmp(again.sample.value, reading->sample.value, sizeof(again.sample.value)) == 0);
        CHECK(again.sample.ignored == 0 && again.left == 0);
        break;
    case HINT:
        if (reading->status != BALLOON_OK)
            break;
        CHECK(balloon_virtio_write_hint(reading->id, endian, written, sizeof(written)) == 4);
        CHECK(memcmp(written, bytes, 4) == 0);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reading whole;
    static struct reading pieced;
    static balloon_iov iov[MAX_PIECES];
    enum message message;
    balloon_endian endian;
    uint64_t limit;
    balloon_iov one;
    size_t pieces;

    if (size < HEADER)
        return 0;
    message = (enum message)((data[0] & 0x7f) % MESSAGES);
    endian = data[0] & 0x80 ? BALLOON_BIG_ENDIAN : BALLOON_LITTLE_ENDIAN;
    limit = data[1] == 0xff ? UINT64_MAX : (uint64_t)data[1] * 8;
    one.base = data + HEADER;
    one.bytes = size - HEADER < MAX_BYTES ? size - HEADER : MAX_BYTES;

    read_all(&whole, message, &one, 1, limit, endian);
    pieces = cut(data + HEADER, one.bytes, data[2], data[3], iov);
    read_all(&pieced, message, iov, pieces, limit, endian);
    for (size_t i = 0; i < pieces; i++)
        free((void *)iov[i].base);

    CHECK(memcmp(&whole, &pieced, sizeof(whole)) == 0);
    CHECK(whole.left <= limit && whole.left <= one.bytes);
    check_round_trip(&whole, message, data + HEADER, endian);
    return 0;
}
