/* Messages of Hyper-V as short texts, for the tests of both bindings. */
#ifndef TEST_HYPERV_TEXT_H
#define TEST_HYPERV_TEXT_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <balloon/hyperv.h>

struct text {
    char chars[16384];
    size_t used;
};

static inline void text_add(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text->used +=
        (size_t)vsnprintf(text->chars + text->used, sizeof(text->chars) - text->used, format, args);
    va_end(args);
    cr_assert_lt(text->used, sizeof(text->chars));
}

static inline void text_ranges(struct text *text, const balloon_hyperv_ranges *list)
{
    balloon_range range;

    for (uint32_t i = 0; balloon_hyperv_read_ranges(list, i, &range, 1) == 1; i++)
        text_add(text, "%s%" PRIu64 "+%" PRIu64, i ? "," : " ", range.first, range.count);
    if (list->more)
        text_add(text, " ...");
}

/* Reads a message, which must be sound, and says what it is:
 *   version 20000 | version 3 last | version ok | version no
 *   can balloon hot_add 7 | can ok | can ok quiet
 *   status 100 of 200
 *   ask 16 | take 1+2,5+1 ... | return 1+2,5+1 | returned
 *   add 256+256 | add 256+256 in 0+1024 | added 256 ok | added 0 no */
static inline void text_message(struct text *text, const void *bytes, size_t size)
{
    balloon_hyperv_message m;
    const balloon_hyperv_capabilities *can = &m.body.capabilities;
    const balloon_hyperv_hot_add *add = &m.body.hot_add;

    cr_assert_eq(balloon_hyperv_decode(bytes, size, &m), BALLOON_OK);
    cr_assert_eq(m.bytes, size);
    text_add(text, "%s", text->used ? " | " : "");
    switch ((balloon_hyperv_type)m.type) {
    case BALLOON_HYPERV_VERSION_REQUEST:
        text_add(text, "version %" PRIx32 "%s", m.body.version.version,
                 m.body.version.last ? " last" : "");
        break;
    case BALLOON_HYPERV_VERSION_RESPONSE:
        text_add(text, "version %s", m.body.answer.accepted ? "ok" : "no");
        break;
    case BALLOON_HYPERV_CAPABILITIES_REPORT:
        text_add(text, "can%s%s %u", can->balloon ? " balloon" : "", can->hot_add ? " hot_add" : "",
                 can->alignment);
        break;
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        text_add(text, "can %s%s", m.body.answer.accepted ? "ok" : "no",
                 m.body.answer.suppress_reports ? " quiet" : "");
        break;
    case BALLOON_HYPERV_STATUS_REPORT:
        text_add(text, "status %" PRIu64 " of %" PRIu64, m.body.status.available,
                 m.body.status.committed);
        break;
    case BALLOON_HYPERV_BALLOON_REQUEST:
        text_add(text, "ask %" PRIu32, m.body.pages);
        break;
    case BALLOON_HYPERV_BALLOON_RESPONSE:
        text_add(text, "take");
        text_ranges(text, &m.body.ranges);
        break;
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        text_add(text, "return");
        text_ranges(text, &m.body.ranges);
        break;
    case BALLOON_HYPERV_UNBALLOON_RESPONSE:
        text_add(text, "returned");
        break;
    case BALLOON_HYPERV_HOT_ADD_REQUEST:
        text_add(text, "add %" PRIu64 "+%" PRIu64, add->range.first, add->range.count);
        if (add->has_region)
            text_add(text, " in %" PRIu64 "+%" PRIu64, add->region.first, add->region.count);
        break;
    case BALLOON_HYPERV_HOT_ADD_RESPONSE:
        text_add(text, "added %" PRIu32 " %s", m.body.hot_added.pages,
                 m.body.hot_added.result ? "ok" : "no");
        break;
    default:
        cr_assert_fail("type %u", m.type);
    }
}

#define CHECK_SAYS(call, expected)                                                                 \
    do {                                                                                           \
        const char *said_ = call;                                                                  \
        cr_assert(strcmp(said_, expected) == 0, "got \"%s\"\nnot \"%s\"", said_, expected);        \
    } while (0)

/* A message with a list of ranges, in room that the next call reuses. */
#define RANGES(...)                                                                                \
    (const balloon_range[]){__VA_ARGS__},                                                          \
        sizeof((const balloon_range[]){__VA_ARGS__}) / sizeof(balloon_range)

static inline balloon_hyperv_message list_message(balloon_hyperv_type type, bool more,
                                                  const balloon_range *ranges, size_t count)
{
    static uint8_t packed[BALLOON_HYPERV_WIRE_BYTES_MAX];
    balloon_hyperv_message m;

    memset(&m, 0, sizeof(m));
    m.type = (uint16_t)type;
    for (size_t i = 0; i < count; i++) {
        uint64_t word = ranges[i].first | ranges[i].count << 40;

        for (unsigned b = 0; b < 8; b++)
            packed[8 * i + b] = (uint8_t)(word >> 8 * b);
    }
    m.body.ranges = (balloon_hyperv_ranges){packed, (uint32_t)count, more};
    return m;
}

#endif
