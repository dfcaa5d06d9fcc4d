/* Keys of xenstore and their values. */
#include "xen_codec_p.h"

/* --- Numbers --------------------------------------------------------------------------------- */

/* Dividing 64 bits by ten would call the compiler's library on 32-bit machines. */
static const uint64_t powers[] = {10000000000000000000u,
                                  1000000000000000000u,
                                  100000000000000000u,
                                  10000000000000000u,
                                  1000000000000000u,
                                  100000000000000u,
                                  10000000000000u,
                                  1000000000000u,
                                  100000000000u,
                                  10000000000u,
                                  1000000000u,
                                  100000000u,
                                  10000000u,
                                  1000000u,
                                  100000u,
                                  10000u,
                                  1000u,
                                  100u,
                                  10u,
                                  1u};

#define POWERS (sizeof(powers) / sizeof(powers[0]))

balloon_status balloon_xen_read_number(const void *text, size_t bytes, uint64_t *number)
{
    const unsigned char *chars = text;
    uint64_t value = 0;

    if (bytes == 0)
        return BALLOON_ERR_PROTOCOL;
    for (size_t i = 0; i < bytes; i++) {
        unsigned digit = (unsigned)chars[i] - '0';

        if (digit > 9 || value > UINT64_MAX / 10 || value * 10 > UINT64_MAX - digit)
            return BALLOON_ERR_PROTOCOL;
        value = value * 10 + digit;
    }
    *number = value;
    return BALLOON_OK;
}

size_t balloon_xen_write_number(uint64_t number, void *text, size_t bytes)
{
    unsigned char *to = text;
    size_t first = 0;

    while (first < POWERS - 1 && number < powers[first])
        first++;
    if (bytes < POWERS - first)
        return POWERS - first;
    for (size_t i = first; i < POWERS; i++) {
        *to = '0';
        for (; number >= powers[i]; number -= powers[i])
            ++*to;
        to++;
    }
    return POWERS - first;
}

balloon_status balloon_xen_read_offset(const void *text, size_t bytes, int64_t *offset)
{
    const unsigned char *chars = text;
    bool negative = bytes > 0 && chars[0] == '-';
    uint64_t most = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    uint64_t value;

    if (balloon_xen_read_number(negative ? chars + 1 : chars, bytes - negative, &value) !=
            BALLOON_OK ||
        value > most)
        return BALLOON_ERR_PROTOCOL;
    if (negative)
        *offset = value == 0 ? 0 : -(int64_t)(value - 1) - 1; /* INT64_MIN has no positive. */
    else
        *offset = (int64_t)value;
    return BALLOON_OK;
}

size_t balloon_xen_write_offset(int64_t offset, void *text, size_t bytes)
{
    unsigned char *to = text;
    size_t needed;

    if (offset >= 0)
        return balloon_xen_write_number((uint64_t)offset, text, bytes);
    needed = 1 + balloon_xen_write_number(0 - (uint64_t)offset, NULL, 0);
    if (bytes >= needed) {
        *to = '-';
        balloon_xen_write_number(0 - (uint64_t)offset, to + 1, bytes - 1);
    }
    return needed;
}

balloon_status balloon_xen_read_size(const void *text, size_t bytes, uint64_t *pages)
{
    uint64_t kib;

    if (balloon_xen_read_number(text, bytes, &kib) != BALLOON_OK)
        return BALLOON_ERR_PROTOCOL;
    *pages = kib >> (BALLOON_PAGE_SHIFT - 10);
    return BALLOON_OK;
}

size_t balloon_xen_write_size(uint64_t pages, void *text, size_t bytes)
{
    if (pages > UINT64_MAX >> (BALLOON_PAGE_SHIFT - 10))
        return SIZE_MAX;
    return balloon_xen_write_number(pages << (BALLOON_PAGE_SHIFT - 10), text, bytes);
}

balloon_status balloon_xen_read_flag(const void *text, size_t bytes, bool *flag)
{
    unsigned char copy = bytes == 1 ? *(const unsigned char *)text : 0;

    if (copy != '0' && copy != '1')
        return BALLOON_ERR_PROTOCOL;
    *flag = copy == '1';
    return BALLOON_OK;
}

/* --- Keys ------------------------------------------------------------------------------------ */

static const char *const key_paths[BALLOON_XEN_KEYS] = {
    [BALLOON_XEN_KEY_TARGET] = "memory/target",
    [BALLOON_XEN_KEY_STATIC_MAX] = "memory/static-max",
    [BALLOON_XEN_KEY_OLD_STATIC_MAX] = "memory/memory_static_max",
    [BALLOON_XEN_KEY_VIDEORAM] = "memory/videoram",
    [BALLOON_XEN_KEY_DYNAMIC_MIN] = "memory/dynamic-min",
    [BALLOON_XEN_KEY_DYNAMIC_MAX] = "memory/dynamic-max",
    [BALLOON_XEN_KEY_INITIAL_RESERVATION] = "memory/initial-reservation",
    [BALLOON_XEN_KEY_RESERVATION_ID] = "memory/reservation-id",
    [BALLOON_XEN_KEY_MEMORY_OFFSET] = "memory/memory-offset",
    [BALLOON_XEN_KEY_UNCOOPERATIVE] = "memory/uncooperative",
    [BALLOON_XEN_KEY_INITIAL_TARGET] = "memory/initial-target",
    [BALLOON_XEN_KEY_FEATURE_BALLOON] = "control/feature-balloon",
    [BALLOON_XEN_KEY_BALLOON_ACTIVE] = "control/balloon-active",
    [BALLOON_XEN_KEY_UPDATED] = "data/updated",
};

static const char domains[] = "/local/domain/";

#define DOMAINS_BYTES (sizeof(domains) - 1)

static size_t length(const char *text)
{
    size_t bytes = 0;

    while (text[bytes] != '\0')
        bytes++;
    return bytes;
}

const char *balloon_xen_key_path(balloon_xen_key key)
{
    return (unsigned)key < BALLOON_XEN_KEYS ? key_paths[key] : NULL;
}

size_t balloon_xen_write_path(uint16_t domain, balloon_xen_key key, void *buffer, size_t bytes)
{
    const char *name = balloon_xen_key_path(key);
    unsigned char *to = buffer;
    size_t name_bytes;
    size_t start = 0;

    if (name == NULL || domain > BALLOON_XEN_DOMAIN_SELF)
        return SIZE_MAX;
    name_bytes = length(name);
    if (domain != BALLOON_XEN_DOMAIN_SELF)
        start = DOMAINS_BYTES + balloon_xen_write_number(domain, NULL, 0) + 1;
    if (bytes < start + name_bytes)
        return start + name_bytes;
    if (start > 0) {
        memcpy(to, domains, DOMAINS_BYTES);
        balloon_xen_write_number(domain, to + DOMAINS_BYTES, start - DOMAINS_BYTES);
        to[start - 1] = '/';
    }
    memcpy(to + start, name, name_bytes);
    return start + name_bytes;
}

balloon_xen_key balloon_xen_find_key(const void *path, size_t bytes, uint16_t *domain)
{
    const unsigned char *from = path;
    uint64_t number = BALLOON_XEN_DOMAIN_SELF;

    if (bytes > 0 && from[0] == '/') {
        size_t digits = 0;

        if (bytes < DOMAINS_BYTES || memcmp(from, domains, DOMAINS_BYTES) != 0)
            return BALLOON_XEN_KEY_NONE;
        from += DOMAINS_BYTES;
        bytes -= DOMAINS_BYTES;
        while (digits < bytes && from[digits] != '/')
            digits++;
        /* As xenstore writes them: 05 would be another directory. */
        if (digits == bytes || balloon_xen_read_number(from, digits, &number) != BALLOON_OK ||
            number >= BALLOON_XEN_DOMAIN_RESERVED ||
            digits != balloon_xen_write_number(number, NULL, 0))
            return BALLOON_XEN_KEY_NONE;
        from += digits + 1;
        bytes -= digits + 1;
    }
    for (unsigned key = 0; key < BALLOON_XEN_KEYS; key++) {
        if (bytes == length(key_paths[key]) && memcmp(from, key_paths[key], bytes) == 0) {
            *domain = (uint16_t)number;
            return (balloon_xen_key)key;
        }
    }
    return BALLOON_XEN_KEY_NONE;
}
