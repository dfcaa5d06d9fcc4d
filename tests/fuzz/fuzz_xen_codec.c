/* The Xen codec on bytes of a peer: what can be read can be written and read again and is the same
 * then, streams and lists mean the same in any pieces, and nothing outside of a piece is touched
 * (each is an allocation of its own, for the address sanitizer to watch).
 *
 * Input: what it is, how it is cut, then the bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/xen.h>

#define HEADER     3
#define MAX_BYTES  8192
#define MAX_PIECES 64

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum kind { REQUEST, REPLY, STREAM, LIST, ARGUMENT, VALUE, KINDS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

static void release(balloon_iov *iov, size_t pieces)
{
    for (size_t i = 0; i < pieces; i++)
        free((void *)iov[i].base);
}

static void check_same(balloon_iov a, balloon_iov b)
{
    CHECK(a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.base, b.base, a.bytes) == 0));
}

static void check_message(bool reply, const uint8_t *bytes, size_t size)
{
    static uint8_t written[BALLOON_XEN_MESSAGE_BYTES_MAX];
    balloon_xen_message message;
    balloon_xen_message again;
    size_t needed;

    if ((reply ? balloon_xen_read_reply(bytes, size, &message)
               : balloon_xen_read_request(bytes, size, &message)) != BALLOON_OK)
        return;
    CHECK(message.header.bytes == size - BALLOON_XEN_HEADER_BYTES);
    needed = reply ? balloon_xen_write_reply(&message, written, sizeof(written))
                   : balloon_xen_write_request(&message, written, sizeof(written));
    /* A transaction may have come with zeros in front. */
    CHECK(needed == size || (needed < size && message.started != 0));
    CHECK((reply ? balloon_xen_read_reply(written, needed, &again)
                 : balloon_xen_read_request(written, needed, &again)) == BALLOON_OK);
    CHECK(again.header.type == message.header.type && again.started == message.started);
    CHECK(again.commit == message.commit && again.error == message.error);
    check_same(again.path, message.path);
    check_same(again.token, message.token);
    check_same(again.value, message.value);
}

/* Messages of a stream, collected in pieces and found in the whole. */
static void check_stream(const uint8_t *bytes, size_t size, const balloon_iov *iov, size_t pieces)
{
    static uint8_t message[BALLOON_XEN_MESSAGE_BYTES_MAX];
    balloon_xen_header header;
    size_t start = 0;
    size_t have = 0;

    for (size_t i = 0; i < pieces; i++) {
        balloon_iov left = iov[i];
        bool whole = true;

        while (whole) {
            size_t taken = 0;
            balloon_status status = balloon_xen_gather(message, &have, &left, 1, &taken, &whole);

            if (status != BALLOON_OK) {
                CHECK(status == BALLOON_ERR_PROTOCOL);
                CHECK(size - start >= BALLOON_XEN_HEADER_BYTES);
                CHECK(balloon_xen_read_header(bytes + start, size - start, &header) ==
                      BALLOON_ERR_PROTOCOL);
                return;
            }
            CHECK(taken <= left.bytes && have <= sizeof(message));
            CHECK(memcmp(message, bytes + start, have) == 0);
            left = (balloon_iov){left.base == NULL ? NULL : (const char *)left.base + taken,
                                 left.bytes - taken};
            if (whole) {
                CHECK(balloon_xen_read_header(message, have, &header) == BALLOON_OK);
                CHECK(have == BALLOON_XEN_HEADER_BYTES + header.bytes);
                check_message(false, message, have);
                check_message(true, message, have);
                start += have;
                have = 0;
            }
        }
        CHECK(left.bytes == 0);
    }
    CHECK(start + have == size);
}

static void check_list(const uint8_t *bytes, size_t size, const balloon_iov *iov, size_t pieces,
                       balloon_xen_layout layout)
{
    static balloon_pfn_t whole[MAX_BYTES / 4];
    static balloon_pfn_t pieced[MAX_BYTES / 4];
    static uint8_t written[MAX_BYTES];
    size_t word = layout == BALLOON_XEN_32 ? 4 : 8;
    balloon_iov one = {bytes, size};
    balloon_xen_frames frames;
    size_t count;
    size_t done = 0;

    balloon_xen_frames_init(&frames, &one, 1, UINT64_MAX, layout);
    count = balloon_xen_read_frames(&frames, whole, MAX_BYTES / 4);
    CHECK(count == size / word);
    balloon_xen_frames_init(&frames, iov, pieces, count, layout);
    while (done < count)
        done += balloon_xen_read_frames(&frames, pieced + done, 1 + done % 50);
    CHECK(done == count && frames.left == 0);
    CHECK(memcmp(whole, pieced, count * sizeof(whole[0])) == 0);
    CHECK(balloon_xen_write_frames(whole, count, layout, written, sizeof(written)) == count * word);
    CHECK(memcmp(written, bytes, count * word) == 0);
}

static void check_argument(const uint8_t *bytes, size_t size, balloon_xen_layout layout)
{
    uint8_t written[BALLOON_XEN_EXCHANGE_BYTES];
    balloon_xen_exchange exchange;
    balloon_xen_exchange again;
    balloon_xen_pod_target target;
    balloon_xen_flags flags;
    balloon_range range;
    uint32_t word;
    size_t needed;

    if (balloon_xen_read_pod_target(bytes, size, layout, &target) == BALLOON_OK) {
        needed = balloon_xen_write_pod_target(&target, layout, written, sizeof(written));
        CHECK(needed <= size && memcmp(written, bytes, 34) == 0);
    }
    if (balloon_xen_read_exchange(bytes, size, layout, &exchange) != BALLOON_OK)
        return;
    needed = balloon_xen_write_exchange(&exchange, layout, written, sizeof(written));
    CHECK(needed <= size);
    CHECK(balloon_xen_read_exchange(written, needed, layout, &again) == BALLOON_OK);
    CHECK(again.in.list == exchange.in.list && again.in.extents == exchange.in.extents);
    CHECK(again.out.order == exchange.out.order && again.out.flags == exchange.out.flags);
    CHECK(again.out.domain == exchange.out.domain && again.exchanged == exchange.exchanged);
    if (balloon_xen_check_exchange(&exchange, BALLOON_XEN_ORDER_CONTROL) == BALLOON_OK)
        CHECK(exchange.in.extents << exchange.in.order == exchange.out.extents
                                                              << exchange.out.order);
    if (balloon_xen_check_reservation(BALLOON_XEN_DECREASE_RESERVATION, &exchange.in,
                                      BALLOON_XEN_ORDER_CONTROL) == BALLOON_OK)
        CHECK(exchange.in.extents <= BALLOON_XEN_EXTENTS_MAX && exchange.in.order <= 18);
    if (balloon_xen_extent_range(exchange.in.list, exchange.in.order, &range) == BALLOON_OK)
        CHECK(range.count > 0 && (range.first + range.count - 1) >> 52 == 0);
    balloon_xen_read_flags(exchange.in.flags, &flags);
    CHECK(balloon_xen_write_flags(&flags, &word) == BALLOON_OK && word == exchange.in.flags);
}

static void check_value(const uint8_t *bytes, size_t size)
{
    char text[BALLOON_XEN_NUMBER_CHARS_MAX];
    char path[80];
    uint64_t number;
    uint64_t again;
    int64_t offset;
    int64_t offset_again;
    uint16_t domain;
    balloon_xen_key key;
    size_t needed;

    if (balloon_xen_read_number(bytes, size, &number) == BALLOON_OK) {
        needed = balloon_xen_write_number(number, text, sizeof(text));
        CHECK(needed <= size && memcmp(text, bytes + (size - needed), needed) == 0);
        CHECK(balloon_xen_read_size(bytes, size, &again) == BALLOON_OK && again == number / 4);
    }
    if (balloon_xen_read_offset(bytes, size, &offset) == BALLOON_OK) {
        needed = balloon_xen_write_offset(offset, text, sizeof(text));
        CHECK(needed <= size);
        CHECK(balloon_xen_read_offset(text, needed, &offset_again) == BALLOON_OK);
        CHECK(offset == offset_again);
    }
    key = balloon_xen_find_key(bytes, size, &domain);
    if (key != BALLOON_XEN_KEY_NONE) {
        CHECK(balloon_xen_path_valid(bytes, size));
        CHECK(balloon_xen_write_path(domain, key, path, sizeof(path)) == size);
        CHECK(memcmp(path, bytes, size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static balloon_iov iov[MAX_PIECES];
    balloon_xen_layout layout;
    const uint8_t *bytes;
    size_t pieces;

    if (size < HEADER)
        return 0;
    layout = data[0] & 0x80 ? BALLOON_XEN_32 : BALLOON_XEN_64;
    bytes = data + HEADER;
    size = size - HEADER < MAX_BYTES ? size - HEADER : MAX_BYTES;
    switch ((data[0] & 0x7f) % KINDS) {
    case REQUEST:
        check_message(false, bytes, size);
        break;
    case REPLY:
        check_message(true, bytes, size);
        break;
    case ARGUMENT:
        check_argument(bytes, size, layout);
        break;
    case VALUE:
        check_value(bytes, size);
        break;
    default:
        pieces = cut(bytes, size, data[1], data[2], iov);
        if ((data[0] & 0x7f) % KINDS == STREAM)
            check_stream(bytes, size, iov, pieces);
        else
            check_list(bytes, size, iov, pieces, layout);
        release(iov, pieces);
    }
    return 0;
}
