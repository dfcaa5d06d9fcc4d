/* Messages to and from xenstore. */
#include <criterion/criterion.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/xen.h>

#include "prng.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define HEADER          BALLOON_XEN_HEADER_BYTES
#define MOST            BALLOON_XEN_MESSAGE_BYTES_MAX

static balloon_iov text(const char *string)
{
    return (balloon_iov){string, strlen(string)};
}

static balloon_status read_side(bool reply, const void *bytes, size_t size,
                                balloon_xen_message *message)
{
    return reply ? balloon_xen_read_reply(bytes, size, message)
                 : balloon_xen_read_request(bytes, size, message);
}

static size_t write_side(bool reply, const balloon_xen_message *message, void *buffer, size_t bytes)
{
    return reply ? balloon_xen_write_reply(message, buffer, bytes)
                 : balloon_xen_write_request(message, buffer, bytes);
}

/* A message of given type and payload, by the book. */
static size_t make(unsigned char *to, uint32_t type, const void *payload, size_t count)
{
    const uint32_t words[4] = {type, 0x01020304, 0xfffefdfc, (uint32_t)count};

    for (size_t i = 0; i < 16; i++)
        to[i] = (unsigned char)(words[i / 4] >> 8 * (i % 4));
    memcpy(to + HEADER, payload, count);
    return HEADER + count;
}

static bool same_iov(balloon_iov a, balloon_iov b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.base, b.base, a.bytes) == 0);
}

static bool same_message(const balloon_xen_message *a, const balloon_xen_message *b)
{
    return a->header.type == b->header.type && a->header.bytes == b->header.bytes &&
           same_iov(a->path, b->path) && same_iov(a->token, b->token) &&
           same_iov(a->value, b->value) && a->started == b->started && a->commit == b->commit &&
           a->error == b->error;
}

/* --- Errors ---------------------------------------------------------------------------------- */

Test(xen_store, errors_have_the_numbers_of_xen_and_names)
{
    static const char *const sent[] = {
        "EINVAL",    "EACCES", "EEXIST", "EISDIR", "ENOENT", "ENOMEM",  "ENOSPC", "EIO",
        "ENOTEMPTY", "ENOSYS", "EROFS",  "EBUSY",  "EAGAIN", "EISCONN", "E2BIG",  "EPERM"};
    static const int numbers[] = {22, 13, 17, 21, 2, 12, 28, 5, 39, 38, 30, 16, 11, 106, 7, 1};
    unsigned char bytes[64];
    balloon_xen_message message;
    size_t names = 0;

    for (size_t i = 0; i < COUNT_OF(sent); i++) {
        size_t size = make(bytes, 16, sent[i], strlen(sent[i]) + 1);

        cr_assert_str_eq(balloon_xen_error_name((balloon_xen_error)numbers[i]), sent[i]);
        cr_assert_eq(balloon_xen_read_reply(bytes, size, &message), BALLOON_OK);
        cr_assert_eq((int)message.error, numbers[i]);
        cr_assert(same_iov(message.value, text(sent[i])));
    }
    for (int error = -1; error < 200; error++)
        names += balloon_xen_error_name((balloon_xen_error)error) != NULL;
    cr_assert_eq(names, 19);
    cr_assert_str_eq(balloon_xen_error_name(BALLOON_XEN_ESRCH), "ESRCH");
    cr_assert_str_eq(balloon_xen_error_name(BALLOON_XEN_EFAULT), "EFAULT");
    cr_assert_str_eq(balloon_xen_error_name(BALLOON_XEN_EOPNOTSUPP), "EOPNOTSUPP");

    /* Newer names come through as text, also one that only hypercalls have. */
    cr_assert_eq(balloon_xen_read_reply(bytes, make(bytes, 16, "ESRCH", 6), &message), BALLOON_OK);
    cr_assert_eq(message.error, BALLOON_XEN_NO_ERROR);
    cr_assert(same_iov(message.value, text("ESRCH")));
    cr_assert_eq(balloon_xen_read_reply(bytes, make(bytes, 16, "EINVALID", 9), &message),
                 BALLOON_OK);
    cr_assert_eq(message.error, BALLOON_XEN_NO_ERROR);
}

/* --- Messages -------------------------------------------------------------------------------- */

/* What a payload comes to, found by cutting it into strings. */
static bool expect(bool reply, uint32_t type, const unsigned char *payload, size_t count,
                   balloon_xen_message *out)
{
    const char *strings[3] = {NULL, NULL, NULL};
    size_t lengths[3] = {0};
    const char *at = (const char *)payload;
    size_t left = count;
    size_t zeros = 0;
    size_t found = 0;

    memset(out, 0, sizeof(*out));
    out->header.type = type;
    out->header.bytes = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        zeros += payload[i] == 0;
    while (found < 2 && left > 0 && memchr(at, 0, left) != NULL) {
        strings[found] = at;
        lengths[found] = strlen(at);
        left -= lengths[found] + 1;
        at += lengths[found++] + 1;
    }
    switch (reply ? 100 + type : type) {
    case 2:
    case 13:
        out->path = (balloon_iov){strings[0], lengths[0]};
        return zeros == 1 && left == 0 && balloon_xen_path_valid(strings[0], lengths[0]);
    case 11:
        if (found == 0)
            return false;
        out->path = (balloon_iov){strings[0], lengths[0]};
        out->value = (balloon_iov){strings[0] + lengths[0] + 1, count - lengths[0] - 1};
        return balloon_xen_path_valid(strings[0], lengths[0]);
    case 4:
    case 5:
    case 115:
        out->path = (balloon_iov){strings[0], lengths[0]};
        out->token = (balloon_iov){strings[1], lengths[1]};
        out->value = (balloon_iov){at, left};
        return found == 2 && balloon_xen_path_valid(strings[0], lengths[0]) &&
               (type != 15 || left == 0);
    case 6:
        return count == 1 && payload[0] == 0;
    case 7:
        out->commit = count > 0 && payload[0] == 'T';
        return count == 2 && zeros == 1 &&
               (strcmp(strings[0], "T") == 0 || strcmp(strings[0], "F") == 0);
    case 104:
    case 105:
    case 107:
    case 111:
    case 113:
        return count == 3 && memcmp(payload, "OK", 3) == 0;
    case 106:
        if (zeros != 1 || left != 0 || lengths[0] == 0 ||
            strspn(strings[0], "0123456789") != lengths[0])
            return false;
        errno = 0;
        out->started = (uint32_t)strtoull(strings[0], NULL, 10);
        return errno == 0 && strtoull(strings[0], NULL, 10) <= UINT32_MAX && out->started != 0;
    case 116:
        out->value = (balloon_iov){strings[0], lengths[0]};
        for (int error = 1; error < 200 && zeros == 1; error++) {
            const char *name = balloon_xen_error_name((balloon_xen_error)error);

            if (name != NULL && strcmp(name, strings[0]) == 0 && error != BALLOON_XEN_ESRCH &&
                error != BALLOON_XEN_EFAULT && error != BALLOON_XEN_EOPNOTSUPP)
                out->error = (balloon_xen_error)error;
        }
        return zeros == 1 && left == 0 && lengths[0] > 0;
    case 15:
    case 16:
        return false;
    default:
        out->value = (balloon_iov){payload, count};
        return true;
    }
}

static const char *const words[] = {"memory/target",
                                    "/local/domain/5",
                                    "a",
                                    "/",
                                    "//",
                                    "x y",
                                    "T",
                                    "F",
                                    "OK",
                                    "1",
                                    "42",
                                    "0",
                                    "4294967295",
                                    "4294967296",
                                    "99999999999999999999999",
                                    "EACCES",
                                    "ENOENT",
                                    "EFOO",
                                    "-1",
                                    ""};

static size_t random_payload(struct prng *prng, unsigned char *payload)
{
    size_t count = 0;

    for (uint64_t i = prng_below(prng, 4); i > 0; i--) {
        const char *word = words[prng_below(prng, COUNT_OF(words))];
        size_t length = strlen(word) + prng_below(prng, 2);

        memcpy(payload + count, word, length);
        count += length;
    }
    if (prng_one_in(prng, 2))
        payload[count++] = 0;
    if (count > 0 && prng_one_in(prng, 4))
        payload[prng_below(prng, count)] = (unsigned char)prng_below(prng, 256);
    return count;
}

Test(xen_store, payloads_mean_what_they_mean_by_the_book)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 1);
    size_t good = 0;
    size_t bad = 0;

    for (int i = 0; i < 200000; i++) {
        unsigned char payload[128];
        unsigned char bytes[HEADER + 128];
        unsigned char again[HEADER + 128];
        bool reply = prng_one_in(&prng, 2);
        uint32_t type = (uint32_t)prng_below(&prng, 28);
        size_t count = random_payload(&prng, payload);
        size_t size = make(bytes, type, payload, count);
        balloon_xen_message expected;
        balloon_xen_message found;
        balloon_xen_message untouched;

        memset(&found, 0x5a, sizeof(found));
        untouched = found;
        if (!expect(reply, type, payload, count, &expected)) {
            cr_assert_eq(read_side(reply, bytes, size, &found), BALLOON_ERR_PROTOCOL,
                         "seed %" PRIu64 ", case %d, type %u", seed, i, type);
            cr_assert_eq(memcmp(&found, &untouched, sizeof(found)), 0);
            bad++;
            continue;
        }
        good++;
        cr_assert_eq(read_side(reply, bytes, size, &found), BALLOON_OK,
                     "seed %" PRIu64 ", case %d, type %u", seed, i, type);
        cr_assert(same_message(&found, &expected), "seed %" PRIu64 ", case %d, type %u", seed, i,
                  type);
        cr_assert_eq(found.header.id, 0x01020304);
        cr_assert_eq(found.header.transaction, 0xfffefdfc);
        /* Writing gives the same bytes, but for an event's numbers, which are 0, and for zeros in
         * front of a transaction's. */
        if (reply && type == BALLOON_XEN_TRANSACTION_START && payload[0] == '0')
            continue;
        cr_assert_eq(write_side(reply, &found, again, sizeof(again)), size);
        if (reply && type == BALLOON_XEN_WATCH_EVENT)
            memset(bytes + 4, 0, 8);
        cr_assert_eq(memcmp(again, bytes, size), 0, "seed %" PRIu64 ", case %d, type %u", seed, i,
                     type);
        for (size_t room = 0; room < size; room += 1 + prng_below(&prng, 9)) {
            memset(again, 0xc7, sizeof(again));
            cr_assert_eq(write_side(reply, &found, again, room), size);
            cr_assert_eq(again[0], 0xc7);
            cr_assert_eq(memcmp(again, again + 1, sizeof(again) - 1), 0);
        }
    }
    cr_assert_gt(good, 10000);
    cr_assert_gt(bad, 10000);
}

/* One good message of each kind. */
static const struct sample {
    bool reply;
    uint32_t type;
    const char *payload;
    size_t count;
} samples[] = {
    {false, 2, "memory/target", 14},
    {false, 13, "memory/target", 14},
    {false, 4, "memory/target\0t", 16},
    {false, 5, "memory/target\0t", 16},
    {false, 6, "", 1},
    {false, 7, "T", 2},
    {false, 11, "a\0b", 3},
    {true, 4, "OK", 3},
    {true, 5, "OK", 3},
    {true, 6, "42", 3},
    {true, 7, "OK", 3},
    {true, 11, "OK", 3},
    {true, 13, "OK", 3},
    {true, 15, "memory/target\0t", 16},
    {true, 16, "ENOENT", 7},
    {true, 2, "1024", 4},
    {false, 1, "memory", 7},
    {true, 0xffff, "", 0},
};

Test(xen_store, a_length_that_is_not_that_of_the_bytes_is_malformed)
{
    for (size_t i = 0; i < COUNT_OF(samples); i++) {
        const struct sample *sample = &samples[i];
        unsigned char bytes[64] = {0};
        size_t size = make(bytes, sample->type, sample->payload, sample->count);
        balloon_xen_message message;

        cr_assert_eq(read_side(sample->reply, bytes, size, &message), BALLOON_OK, "sample %zu", i);
        for (size_t other = 0; other <= sizeof(bytes); other++) {
            if (other != size)
                cr_assert_eq(read_side(sample->reply, bytes, other, &message), BALLOON_ERR_PROTOCOL,
                             "sample %zu, %zu bytes", i, other);
        }
    }
}

Test(xen_store, events_and_errors_are_not_for_clients_to_send)
{
    balloon_xen_message message = {.path = text("a"), .token = text("t"), .value = text("x")};
    unsigned char bytes[64];

    for (uint32_t type = 15; type <= 16; type++) {
        message.header.type = type;
        cr_assert_eq(balloon_xen_write_request(&message, bytes, sizeof(bytes)), SIZE_MAX);
        cr_assert_eq(balloon_xen_read_request(bytes, make(bytes, type, "a\0t", 4), &message),
                     BALLOON_ERR_PROTOCOL);
    }
}

Test(xen_store, headers)
{
    unsigned char bytes[HEADER] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x00, 0x10, 0, 0};
    balloon_xen_header header;
    balloon_xen_header untouched;

    memset(&header, 0x5a, sizeof(header));
    untouched = header;
    for (size_t size = 0; size < HEADER; size++)
        cr_assert_eq(balloon_xen_read_header(bytes, size, &header), BALLOON_ERR_PROTOCOL);
    for (size_t at = 12; at < 16; at++) {
        bytes[at]++;
        cr_assert_eq(balloon_xen_read_header(bytes, HEADER, &header), BALLOON_ERR_PROTOCOL);
        bytes[at]--;
    }
    cr_assert_eq(memcmp(&header, &untouched, sizeof(header)), 0);
    cr_assert_eq(balloon_xen_read_header(bytes, HEADER, &header), BALLOON_OK);
    cr_assert_eq(header.type, 0x04030201);
    cr_assert_eq(header.id, 0x08070605);
    cr_assert_eq(header.transaction, 0x0c0b0a09);
    cr_assert_eq(header.bytes, 4096);
}

Test(xen_store, what_is_too_long_or_malformed_is_not_written)
{
    static char zeros[BALLOON_XEN_PAYLOAD_BYTES_MAX + 1];
    static char token[BALLOON_XEN_PAYLOAD_BYTES_MAX + 1];
    static unsigned char buffer[MOST + 1];
    balloon_xen_message message = {.header = {.type = BALLOON_XEN_WRITE}, .path = text("a")};
    balloon_xen_message back;

    memset(token, 't', sizeof(token));
    message.value = (balloon_iov){zeros, BALLOON_XEN_PAYLOAD_BYTES_MAX - 2};
    cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)), MOST);
    cr_assert_eq(balloon_xen_read_request(buffer, MOST, &back), BALLOON_OK);
    cr_assert_eq(back.value.bytes, BALLOON_XEN_PAYLOAD_BYTES_MAX - 2);
    message.value.bytes++;
    cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)), SIZE_MAX);
    message.value.bytes = SIZE_MAX;
    cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)), SIZE_MAX);

    message = (balloon_xen_message){.header = {.type = BALLOON_XEN_WATCH}, .path = text("a")};
    message.token = (balloon_iov){token, BALLOON_XEN_PAYLOAD_BYTES_MAX - 3};
    cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)), MOST);
    message.token.bytes++;
    cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)), SIZE_MAX);
    message.token.bytes = SIZE_MAX;
    cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)), SIZE_MAX);
    message.token = (balloon_iov){"t\0t", 3};
    cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)), SIZE_MAX);
    message.header.type = BALLOON_XEN_WATCH_EVENT;
    cr_assert_eq(balloon_xen_write_reply(&message, buffer, sizeof(buffer)), SIZE_MAX);

    for (int type = 2; type < 16; type++) {
        bool has_path = type == 2 || type == 4 || type == 5 || type == 11 || type == 13;

        message = (balloon_xen_message){.header = {.type = (uint32_t)type}, .path = text("a b")};
        cr_assert_eq(balloon_xen_write_request(&message, buffer, sizeof(buffer)) == SIZE_MAX,
                     has_path || type == 15, "type %d", type);
    }
    message = (balloon_xen_message){.header = {.type = BALLOON_XEN_TRANSACTION_START}};
    cr_assert_eq(balloon_xen_write_reply(&message, buffer, sizeof(buffer)), SIZE_MAX);
    message = (balloon_xen_message){.header = {.type = BALLOON_XEN_ERROR}};
    cr_assert_eq(balloon_xen_write_reply(&message, buffer, sizeof(buffer)), SIZE_MAX);
    message.error = BALLOON_XEN_ESRCH;
    cr_assert_eq(balloon_xen_write_reply(&message, buffer, sizeof(buffer)), SIZE_MAX);
    message.error = BALLOON_XEN_EAGAIN;
    cr_assert_eq(balloon_xen_write_reply(&message, buffer, sizeof(buffer)), HEADER + 7);
    message = (balloon_xen_message){.header = {.type = BALLOON_XEN_DIRECTORY}};
    message.value = (balloon_iov){zeros, BALLOON_XEN_PAYLOAD_BYTES_MAX};
    cr_assert_eq(balloon_xen_write_reply(&message, buffer, sizeof(buffer)), MOST);
    message.value.bytes++;
    cr_assert_eq(balloon_xen_write_reply(&message, buffer, sizeof(buffer)), SIZE_MAX);
}

/* A relative watch may tell of a key that is deeper than relative requests can name. */
Test(xen_store, events_name_longer_paths_than_requests)
{
    static unsigned char payload[BALLOON_XEN_PATH_MAX + 4];
    static unsigned char bytes[MOST];
    balloon_xen_message message;

    memset(payload, 'a', BALLOON_XEN_PATH_MAX + 1);
    payload[BALLOON_XEN_PATH_MAX] = 0;
    cr_assert_eq(
        balloon_xen_read_reply(bytes, make(bytes, 15, payload, BALLOON_XEN_PATH_MAX + 2), &message),
        BALLOON_OK);
    cr_assert_eq(balloon_xen_read_request(bytes, make(bytes, 4, payload, BALLOON_XEN_PATH_MAX + 2),
                                          &message),
                 BALLOON_ERR_PROTOCOL);
    memset(payload, 'a', BALLOON_XEN_PATH_MAX + 1);
    payload[BALLOON_XEN_PATH_MAX + 1] = 0;
    cr_assert_eq(
        balloon_xen_read_reply(bytes, make(bytes, 15, payload, BALLOON_XEN_PATH_MAX + 3), &message),
        BALLOON_ERR_PROTOCOL);
}
