/* A driver that speaks Hyper-V, and a host and a kernel to play by hand. */
#ifndef TEST_HYPERV_DRIVER_SUPPORT_H
#define TEST_HYPERV_DRIVER_SUPPORT_H

#include <stdlib.h>

#include <balloon/driver.h>

#include "hyperv_text.h"

#define SECOND UINT64_C(1000000000)

static balloon_driver *driver;
static void *driver_memory;

/* What the kernel answers, unless a test changes it. */
static struct {
    uint64_t next;      /* pages for ALLOC, from here up, ... */
    uint64_t left;      /* ... as long as there are */
    uint64_t step;      /* distance of blocks of one page; 0: one block */
    uint64_t available; /* pages, for STATS; UINT64_MAX: not known */
    uint64_t committed; /* likewise */
    bool lazy;          /* SEND is not answered */
} kernel;

static inline void hd_end(void)
{
    free(driver_memory);
    driver_memory = NULL;
}

static inline void hd_make(const balloon_driver_config *config)
{
    balloon_layout layout;
    size_t bytes;

    cr_assert_eq(balloon_driver_layout(config, &layout), BALLOON_OK);
    bytes = (layout.bytes + layout.align - 1) & ~(layout.align - 1);
    driver_memory = aligned_alloc(layout.align, bytes);
    cr_assert(driver_memory);
    memset(driver_memory, 0x5a, bytes);
    cr_assert_eq(balloon_driver_init(driver_memory, layout.bytes, config, &driver), BALLOON_OK);
    memset(&kernel, 0, sizeof(kernel));
    kernel.left = UINT64_MAX;
    kernel.available = kernel.committed = UINT64_MAX;
}

/* 4096 pages that begin at page 0, and room for as many; no floor. */
static inline balloon_driver_config hd_config(bool stats)
{
    static const balloon_region ram = {0, 4096, 1};
    balloon_driver_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .max_pages = 8192,
        .floor_pages = UINT64_MAX,
        .chunk_pages = 1024,
        .block_pages = 1,
        .stats = stats,
    };

    return config;
}

static inline void hd_answer_alloc(const balloon_driver_action *action, balloon_time_t now)
{
    static balloon_range runs[4096];
    uint64_t pages = action->pages < kernel.left ? action->pages : kernel.left;
    size_t count = pages ? 1 : 0;

    runs[0] = (balloon_range){kernel.next, pages};
    if (kernel.step) {
        count = pages < action->max_runs ? (size_t)pages : action->max_runs;
        for (size_t i = 0; i < count; i++)
            runs[i] = (balloon_range){kernel.next + i * kernel.step, 1};
        pages = count;
    }
    kernel.left -= pages;
    kernel.next += pages * (kernel.step ? kernel.step : 1);
    cr_assert_eq(balloon_driver_give(driver, action->channel, runs, count, now), BALLOON_OK);
}

static inline void hd_answer_stats(balloon_time_t now)
{
    balloon_sample sample;

    memset(&sample, 0, sizeof(sample));
    if (kernel.available != UINT64_MAX)
        balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, kernel.available * 4096 + 4095);
    if (kernel.committed != UINT64_MAX)
        balloon_sample_set(&sample, BALLOON_STAT_COMMITTED, kernel.committed * 4096);
    cr_assert_eq(balloon_driver_give_stats(driver, &sample, now), BALLOON_OK);
}

/* All that polling answers: messages, "alloc 16", "free 1+2", "stats", "plug 1+2 in 1+4", "rest",
 * and what SEND is for where it is not answered: "-5". */
static inline const char *hd_poll(balloon_time_t now)
{
    static struct text text;
    static uint8_t bytes[BALLOON_HYPERV_MESSAGE_BYTES];
    balloon_driver_action action;
    balloon_time_t due = balloon_driver_deadline(driver);
    const char *why = NULL;
    size_t size;

    text.used = 0;
    text.chars[0] = '\0';
    for (; balloon_driver_poll(driver, now, &action); due = balloon_driver_deadline(driver)) {
        const char *gap = text.used ? " | " : "";

        cr_assert_leq(due, now);
        cr_assert(balloon_driver_check(driver, &why), "%s", why);
        switch (action.type) {
        case BALLOON_DRIVER_ALLOC:
            text_add(&text, "%salloc %" PRIu64, gap, action.pages);
            hd_answer_alloc(&action, now);
            break;
        case BALLOON_DRIVER_SEND:
            cr_assert_eq(action.bytes, BALLOON_HYPERV_MESSAGE_BYTES);
            if (kernel.lazy) {
                text_add(&text, "%s-%d", gap, (int)action.channel);
                break;
            }
            cr_assert_eq(balloon_hyperv_driver_write(driver, action.channel, bytes, action.bytes,
                                                     now, &size),
                         BALLOON_OK);
            text_message(&text, bytes, size);
            break;
        case BALLOON_DRIVER_FREE:
            text_add(&text, "%sfree", gap);
            for (uint32_t i = 0; i < action.run_count; i++)
                text_add(&text, "%s%" PRIu64 "+%" PRIu64, i ? "," : " ", action.runs[i].first,
                         action.runs[i].count);
            break;
        case BALLOON_DRIVER_STATS:
            text_add(&text, "%sstats", gap);
            hd_answer_stats(now);
            break;
        case BALLOON_DRIVER_PLUG:
            cr_assert_eq(action.run_count, 2);
            text_add(&text, "%splug %" PRIu64 "+%" PRIu64 " in %" PRIu64 "+%" PRIu64, gap,
                     action.runs[0].first, action.runs[0].count, action.runs[1].first,
                     action.runs[1].count);
            break;
        default:
            cr_assert_eq(action.type, BALLOON_DRIVER_SUSPENDED);
            text_add(&text, "%srest", gap);
            break;
        }
        cr_assert(balloon_driver_check(driver, &why), "%s", why);
    }
    cr_assert_gt(balloon_driver_deadline(driver), now);
    return text.chars;
}

static inline balloon_status hd_hear(const balloon_hyperv_message *m, balloon_time_t now)
{
    static uint8_t bytes[BALLOON_HYPERV_WIRE_BYTES_MAX];
    size_t size = balloon_hyperv_encode(m, bytes, sizeof(bytes));

    cr_assert_leq(size, sizeof(bytes));
    return balloon_hyperv_driver_receive(driver, bytes, size, now);
}

static inline balloon_status hd_answer(balloon_hyperv_type type, bool accepted, bool quiet,
                                       balloon_time_t now)
{
    balloon_hyperv_message m = {.type = (uint16_t)type};

    m.body.answer.accepted = accepted;
    m.body.answer.suppress_reports = quiet;
    return hd_hear(&m, now);
}

static inline balloon_status hd_ask(uint32_t pages, balloon_time_t now)
{
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_BALLOON_REQUEST};

    m.body.pages = pages;
    return hd_hear(&m, now);
}

static inline balloon_status hd_return(bool more, const balloon_range *ranges, size_t count)
{
    balloon_hyperv_message m = list_message(BALLOON_HYPERV_UNBALLOON_REQUEST, more, ranges, count);

    return hd_hear(&m, SECOND);
}

static inline balloon_status hd_plug(balloon_range range, balloon_range region, bool has_region)
{
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_HOT_ADD_REQUEST};

    m.body.hot_add.range = range;
    m.body.hot_add.region = region;
    m.body.hot_add.has_region = has_region;
    return hd_hear(&m, SECOND);
}

/* Past the handshake. */
static inline void hd_start(const balloon_driver_config *config,
                            const balloon_hyperv_driver_options *options)
{
    hd_make(config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, options, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "version 20000");
    cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, 0), BALLOON_OK);
    (void)hd_poll(0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_CAPABILITIES_RESPONSE, true, false, 0), BALLOON_OK);
    CHECK_SAYS(hd_poll(0), "");
}

static inline void hd_simple(void)
{
    balloon_driver_config config = hd_config(false);

    hd_start(&config, NULL);
}

static inline balloon_driver_status hd_status(void)
{
    balloon_driver_status status;

    balloon_driver_status_get(driver, &status);
    return status;
}

static inline balloon_driver_counters hd_counters(void)
{
    balloon_driver_counters counters;

    balloon_driver_counters_get(driver, &counters);
    return counters;
}

static inline balloon_hyperv_driver_session hd_session(void)
{
    balloon_hyperv_driver_session session;

    memset(&session, 0xee, sizeof(session));
    balloon_hyperv_driver_session_get(driver, &session);
    return session;
}

#endif
