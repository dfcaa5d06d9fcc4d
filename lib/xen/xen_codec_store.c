/* Messages to and from xenstore. */
#include "xen_codec_p.h"

/* --- Errors ---------------------------------------------------------------------------------- */

/* Those that xenstore sends come first. */
static const struct {
    balloon_xen_error number;
    unsigned char bytes;
    char name[11];
} errors[] = {
    {BALLOON_XEN_EINVAL, 6, "EINVAL"},
    {BALLOON_XEN_EACCES, 6, "EACCES"},
    {BALLOON_XEN_EEXIST, 6, "EEXIST"},
    {BALLOON_XEN_EISDIR, 6, "EISDIR"},
    {BALLOON_XEN_ENOENT, 6, "ENOENT"},
    {BALLOON_XEN_ENOMEM, 6, "ENOMEM"},
    {BALLOON_XEN_ENOSPC, 6, "ENOSPC"},
    {BALLOON_XEN_EIO, 3, "EIO"},
    {BALLOON_XEN_ENOTEMPTY, 9, "ENOTEMPTY"},
    {BALLOON_XEN_ENOSYS, 6, "ENOSYS"},
    {BALLOON_XEN_EROFS, 5, "EROFS"},
    {BALLOON_XEN_EBUSY, 5, "EBUSY"},
    {BALLOON_XEN_EAGAIN, 6, "EAGAIN"},
    {BALLOON_XEN_EISCONN, 7, "EISCONN"},
    {BALLOON_XEN_E2BIG, 5, "E2BIG"},
    {BALLOON_XEN_EPERM, 5, "EPERM"},
    {BALLOON_XEN_ESRCH, 5, "ESRCH"},
    {BALLOON_XEN_EFAULT, 6, "EFAULT"},
    {BALLOON_XEN_EOPNOTSUPP, 10, "EOPNOTSUPP"},
};

#define ERRORS       (sizeof(errors) / sizeof(errors[0]))
#define STORE_ERRORS 16

const char *balloon_xen_error_name(balloon_xen_error error)
{
    for (size_t i = 0; i < ERRORS; i++) {
        if (errors[i].number == error)
            return errors[i].name;
    }
    return NULL;
}

/* --- Paths and strings ----------------------------------------------------------------------- */

static bool is_path_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '/' || c == '_' || c == '@';
}

static bool path_valid(const unsigned char *path, size_t bytes, size_t most)
{
    if (bytes == 0 || bytes > most || (bytes > 1 && path[bytes - 1] == '/'))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (!is_path_char(path[i]) || (i > 0 && path[i] == '/' && path[i - 1] == '/'))
            return false;
    }
    return true;
}

bool balloon_xen_path_valid(const void *path, size_t bytes)
{
    const unsigned char *chars = path;

    return bytes > 0 &&
           path_valid(chars, bytes,
                      chars[0] == '/' ? BALLOON_XEN_PATH_MAX : BALLOON_XEN_RELATIVE_PATH_MAX);
}

/* Index of the first zero; bytes if there is none. */
static size_t find_zero(const unsigned char *text, size_t bytes)
{
    size_t i = 0;

    while (i < bytes && text[i] != 0)
        i++;
    return i;
}

/* --- What is in a message -------------------------------------------------------------------- */

/* Syntax of the bytes after the header. */
enum shape {
    AS_IS,      /* In value, unread. */
    PATH,       /* A path. */
    PATH_VALUE, /* A path, and the rest is the value. */
    PATH_TOKEN, /* A path, a token, and the rest is the value. */
    EVENT,      /* A path, a token and no more. */
    ZERO,       /* A single zero. */
    COMMIT,     /* T or F. */
    OKAY,       /* OK. */
    STARTED,    /* The number of a transaction. */
    ERROR,      /* The name of an error. */
    NEVER       /* That end does not send it. */
};

#define SHAPES (BALLOON_XEN_ERROR + 1)

static const unsigned char request_shapes[SHAPES] = {
    [BALLOON_XEN_READ] = PATH,
    [BALLOON_XEN_WATCH] = PATH_TOKEN,
    [BALLOON_XEN_UNWATCH] = PATH_TOKEN,
    [BALLOON_XEN_TRANSACTION_START] = ZERO,
    [BALLOON_XEN_TRANSACTION_END] = COMMIT,
    [BALLOON_XEN_WRITE] = PATH_VALUE,
    [BALLOON_XEN_RM] = PATH,
    [BALLOON_XEN_WATCH_EVENT] = NEVER,
    [BALLOON_XEN_ERROR] = NEVER,
};

/* The value that READ asked for comes as it is. */
static const unsigned char reply_shapes[SHAPES] = {
    [BALLOON_XEN_WATCH] = OKAY,
    [BALLOON_XEN_UNWATCH] = OKAY,
    [BALLOON_XEN_TRANSACTION_START] = STARTED,
    [BALLOON_XEN_TRANSACTION_END] = OKAY,
    [BALLOON_XEN_WRITE] = OKAY,
    [BALLOON_XEN_RM] = OKAY,
    [BALLOON_XEN_WATCH_EVENT] = EVENT,
    [BALLOON_XEN_ERROR] = ERROR,
};

static enum shape shape_of(const unsigned char *shapes, uint32_t type)
{
    return type < SHAPES ? (enum shape)shapes[type] : AS_IS;
}

static const unsigned char okay[] = {'O', 'K', 0};

/* --- Reading --------------------------------------------------------------------------------- */

static balloon_iov piece(const unsigned char *bytes, size_t count)
{
    return (balloon_iov){bytes, count};
}

/* A path that ends at the first zero. Returns what comes after that, NULL for no such path. */
static const unsigned char *read_path(const unsigned char *bytes, size_t count, bool event,
                                      balloon_iov *path)
{
    size_t zero = find_zero(bytes, count);

    /* What a relative watch tells of can be deeper than what it was set on. */
    if (zero == count || !(event ? path_valid(bytes, zero, BALLOON_XEN_PATH_MAX)
                                 : balloon_xen_path_valid(bytes, zero)))
        return NULL;
    *path = piece(bytes, zero);
    return bytes + zero + 1;
}

static bool read_paths(enum shape shape, const unsigned char *bytes, size_t count,
                       balloon_xen_message *message)
{
    const unsigned char *end = bytes + count;
    const unsigned char *rest = read_path(bytes, count, shape == EVENT, &message->path);
    size_t zero;

    if (rest == NULL)
        return false;
    if (shape == PATH)
        return rest == end;
    if (shape != PATH_VALUE) {
        zero = find_zero(rest, (size_t)(end - rest));
        if (zero == (size_t)(end - rest))
            return false;
        message->token = piece(rest, zero);
        rest += zero + 1;
    }
    if (shape == EVENT)
        return rest == end;
    message->value = piece(rest, (size_t)(end - rest));
    return true;
}

/* Text with a zero at its end and no other. */
static bool is_string(const unsigned char *bytes, size_t count)
{
    return count > 0 && find_zero(bytes, count) == count - 1;
}

static bool read_started(const unsigned char *bytes, size_t count, uint32_t *started)
{
    uint64_t number;

    /* 0 stands for no transaction: to go on with it would be to write at once. */
    if (!is_string(bytes, count) ||
        balloon_xen_read_number(bytes, count - 1, &number) != BALLOON_OK || number == 0 ||
        number > UINT32_MAX)
        return false;
    *started = (uint32_t)number;
    return true;
}

static bool read_error(const unsigned char *bytes, size_t count, balloon_xen_message *message)
{
    if (!is_string(bytes, count) || count == 1)
        return false;
    message->value = piece(bytes, count - 1);
    for (size_t i = 0; i < STORE_ERRORS; i++) {
        if (errors[i].bytes == count - 1 && memcmp(errors[i].name, bytes, count - 1) == 0)
            message->error = errors[i].number;
    }
    return true;
}

static bool read_payload(enum shape shape, const unsigned char *bytes, size_t count,
                         balloon_xen_message *message)
{
    switch (shape) {
    case PATH:
    case PATH_VALUE:
    case PATH_TOKEN:
    case EVENT:
        return read_paths(shape, bytes, count, message);
    case ZERO:
        return count == 1 && bytes[0] == 0;
    case COMMIT:
        if (count != 2 || (bytes[0] != 'T' && bytes[0] != 'F') || bytes[1] != 0)
            return false;
        message->commit = bytes[0] == 'T';
        return true;
    case OKAY:
        return count == sizeof(okay) && memcmp(bytes, okay, sizeof(okay)) == 0;
    case STARTED:
        return read_started(bytes, count, &message->started);
    case ERROR:
        return read_error(bytes, count, message);
    case NEVER:
        return false;
    default:
        message->value = piece(bytes, count);
        return true;
    }
}

static balloon_status read_message(const unsigned char *shapes, const void *bytes, size_t size,
                                   balloon_xen_message *message)
{
    balloon_xen_message found;

    memset(&found, 0, sizeof(found));
    if (balloon_xen_read_header(bytes, size, &found.header) != BALLOON_OK ||
        size - BALLOON_XEN_HEADER_BYTES != found.header.bytes ||
        !read_payload(shape_of(shapes, found.header.type),
                      (const unsigned char *)bytes + BALLOON_XEN_HEADER_BYTES, found.header.bytes,
                      &found))
        return BALLOON_ERR_PROTOCOL;
    *message = found;
    return BALLOON_OK;
}

balloon_status balloon_xen_read_header(const void *bytes, size_t size, balloon_xen_header *header)
{
    const unsigned char *from = bytes;
    uint32_t payload;

    if (size < BALLOON_XEN_HEADER_BYTES)
        return BALLOON_ERR_PROTOCOL;
    payload = (uint32_t)bl_get_le(from + 12, 4);
    if (payload > BALLOON_XEN_PAYLOAD_BYTES_MAX)
        return BALLOON_ERR_PROTOCOL;
    header->type = (uint32_t)bl_get_le(from, 4);
    header->id = (uint32_t)bl_get_le(from + 4, 4);
    header->transaction = (uint32_t)bl_get_le(from + 8, 4);
    header->bytes = payload;
    return BALLOON_OK;
}

balloon_status balloon_xen_read_request(const void *bytes, size_t size,
                                        balloon_xen_message *message)
{
    return read_message(request_shapes, bytes, size, message);
}

balloon_status balloon_xen_read_reply(const void *bytes, size_t size, balloon_xen_message *message)
{
    return read_message(reply_shapes, bytes, size, message);
}

/* --- Collecting ------------------------------------------------------------------------------ */

balloon_status balloon_xen_gather(void *message, size_t *bytes, const balloon_iov *iov,
                                  size_t count, size_t *taken, bool *whole)
{
    unsigned char start[BALLOON_XEN_HEADER_BYTES];
    unsigned char *to = message;
    size_t before = *bytes;
    size_t known = before < sizeof(start) ? before : sizeof(start);
    size_t have = before;
    size_t needed = sizeof(start);
    size_t offset = 0;
    balloon_xen_header header;

    /* The header is put together apart from the message, which stays as it is when it is wrong. */
    memcpy(start, to, known);
    have += bl_xen_pull(&iov, &count, &offset, start + known, sizeof(start) - known);
    if (have >= sizeof(start)) {
        if (balloon_xen_read_header(start, sizeof(start), &header) != BALLOON_OK)
            return BALLOON_ERR_PROTOCOL;
        needed += header.bytes;
    }
    if (have > needed)
        return BALLOON_ERR_INVALID;
    if (before < sizeof(start))
        memcpy(to + before, start + before, have - before);
    if (have >= sizeof(start))
        have += bl_xen_pull(&iov, &count, &offset, to + have, needed - have);
    *taken = have - before;
    *bytes = have;
    *whole = have == needed;
    return BALLOON_OK;
}

/* --- Writing --------------------------------------------------------------------------------- */

/* Counts bytes, and writes them when there is somewhere to write. */
struct out {
    unsigned char *to;
    size_t bytes;
};

static void put_bytes(struct out *out, const void *bytes, size_t count)
{
    if (out->to != NULL && count > 0)
        memcpy(out->to + out->bytes, bytes, count);
    out->bytes += count;
}

static void put_string(struct out *out, balloon_iov text)
{
    put_bytes(out, text.base, text.bytes);
    put_bytes(out, "", 1);
}

static bool has_no_zero(balloon_iov text)
{
    return find_zero(text.base, text.bytes) == text.bytes;
}

static bool writable(enum shape shape, const balloon_xen_message *message)
{
    const balloon_iov *path = &message->path;

    /* So that no sum of lengths overflows. */
    if (path->bytes > BALLOON_XEN_PAYLOAD_BYTES_MAX ||
        message->token.bytes > BALLOON_XEN_PAYLOAD_BYTES_MAX ||
        message->value.bytes > BALLOON_XEN_PAYLOAD_BYTES_MAX)
        return false;
    switch (shape) {
    case PATH:
    case PATH_VALUE:
        return balloon_xen_path_valid(path->base, path->bytes);
    case PATH_TOKEN:
        return balloon_xen_path_valid(path->base, path->bytes) && has_no_zero(message->token);
    case EVENT:
        return path_valid(path->base, path->bytes, BALLOON_XEN_PATH_MAX) &&
               has_no_zero(message->token);
    case STARTED:
        return message->started != 0;
    case ERROR:
        if (message->error == BALLOON_XEN_NO_ERROR)
            return message->value.bytes > 0 && has_no_zero(message->value);
        for (size_t i = 0; i < STORE_ERRORS; i++) {
            if (errors[i].number == message->error)
                return true;
        }
        return false;
    default:
        return shape != NEVER;
    }
}

static void put_started(struct out *out, uint32_t started)
{
    unsigned char digits[BALLOON_XEN_NUMBER_CHARS_MAX];

    put_string(out, piece(digits, balloon_xen_write_number(started, digits, sizeof(digits))));
}

static void put_error(struct out *out, const balloon_xen_message *message)
{
    balloon_iov name = message->value;

    for (size_t i = 0; i < STORE_ERRORS; i++) {
        if (errors[i].number == message->error)
            name = (balloon_iov){errors[i].name, errors[i].bytes};
    }
    put_string(out, name);
}

static void put_payload(struct out *out, enum shape shape, const balloon_xen_message *message)
{
    switch (shape) {
    case PATH:
        put_string(out, message->path);
        break;
    case PATH_VALUE:
        put_string(out, message->path);
        put_bytes(out, message->value.base, message->value.bytes);
        break;
    case PATH_TOKEN:
        put_string(out, message->path);
        put_string(out, message->token);
        put_bytes(out, message->value.base, message->value.bytes);
        break;
    case EVENT:
        put_string(out, message->path);
        put_string(out, message->token);
        break;
    case ZERO:
        put_bytes(out, "", 1);
        break;
    case COMMIT:
        put_bytes(out, message->commit ? "T" : "F", 2);
        break;
    case OKAY:
        put_bytes(out, okay, sizeof(okay));
        break;
    case STARTED:
        put_started(out, message->started);
        break;
    case ERROR:
        put_error(out, message);
        break;
    default:
        put_bytes(out, message->value.base, message->value.bytes);
    }
}

static size_t write_message(const unsigned char *shapes, const balloon_xen_message *message,
                            void *buffer, size_t bytes)
{
    enum shape shape = shape_of(shapes, message->header.type);
    struct out out = {NULL, 0};
    unsigned char *to = buffer;
    size_t needed;

    if (!writable(shape, message))
        return SIZE_MAX;
    put_payload(&out, shape, message);
    if (out.bytes > BALLOON_XEN_PAYLOAD_BYTES_MAX)
        return SIZE_MAX;
    needed = BALLOON_XEN_HEADER_BYTES + out.bytes;
    if (bytes < needed)
        return needed;
    bl_put_le(to, 4, message->header.type);
    bl_put_le(to + 4, 4, shape == EVENT ? 0 : message->header.id);
    bl_put_le(to + 8, 4, shape == EVENT ? 0 : message->header.transaction);
    bl_put_le(to + 12, 4, out.bytes);
    out = (struct out){to + BALLOON_XEN_HEADER_BYTES, 0};
    put_payload(&out, shape, message);
    return needed;
}

size_t balloon_xen_write_request(const balloon_xen_message *message, void *buffer, size_t bytes)
{
    return write_message(request_shapes, message, buffer, bytes);
}

size_t balloon_xen_write_reply(const balloon_xen_message *message, void *buffer, size_t bytes)
{
    return write_message(reply_shapes, message, buffer, bytes);
}
