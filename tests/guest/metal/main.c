/* The loop around the driver: what the device says in, what the driver wants out, and commands over
 * the serial line. Each command is answered by one line. */
#include "metal.h"

#include <balloon/driver.h>
#include <balloon/virtio.h>

enum { RUNS_MAX = 512, MESSAGE_BYTES = 16384, CHUNK_PAGES = 4096, BLOCK_PAGES = 512 };
#define NS_PER_MS UINT64_C(1000000)
/* So long that it ends only when a command makes the clock go forward. */
#define OOM_DELAY (UINT64_C(3600000) * NS_PER_MS)

static _Alignas(64) uint8_t memory[131072];
static balloon_driver *driver;
static bool running;
static uint32_t version;
static balloon_time_t skipped, config_at;
static uint64_t errors; /* calls that failed and should not have */

static void must(balloon_status status)
{
    errors += status != BALLOON_OK;
}

/* Whatever the processor's counter counts, 2 GHz are close enough. */
static balloon_time_t now_is(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((uint64_t)high << 32 | low) / 2 + skipped;
}

/* --- the driver ------------------------------------------------------------------------------- */

static bool make_driver(void)
{
    balloon_region regions[MEMORY_REGIONS];
    balloon_driver_config config = {
        .size = sizeof config,
        .regions = regions,
        .region_count = memory_regions(regions),
        .floor_pages = UINT64_MAX,
        .chunk_pages = CHUNK_PAGES,
        .chunk_runs = RUNS_MAX,
        .block_pages = BLOCK_PAGES,
        .oom_delay = OOM_DELAY,
        .report_block = BLOCK_PAGES,
        .deflate_on_oom = true,
        .stats = true,
        .reporting = true,
    };
    balloon_layout layout;

    return balloon_driver_layout(&config, &layout) == BALLOON_OK &&
           balloon_driver_init(memory, sizeof memory, &config, &driver) == BALLOON_OK;
}

/* What the device offers, what the driver makes of it, and a queue for each kind it uses. */
static bool start_driver(void)
{
    const balloon_virtio_driver_options options = {.size = sizeof options,
                                                   .experimental = BALLOON_F_EXPERIMENTAL};
    uint64_t offered = virtio_offered(), chosen;

    if (balloon_virtio_driver_negotiate(driver, offered, &options, &chosen) != BALLOON_OK ||
        !virtio_choose(chosen))
        return false;
    for (unsigned kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
        int queue = balloon_virtio_queue_index(BALLOON_QUEUES_BY_OFFER, (uint32_t)offered,
                                               (uint32_t)chosen, (balloon_virtio_queue)kind);
        if (queue >= 0 && !virtio_start_queue((unsigned)queue))
            return false;
    }
    virtio_ready();
    return balloon_virtio_driver_start(driver, now_is()) == BALLOON_OK;
}

static void give(const balloon_driver_action *action)
{
    balloon_range runs[RUNS_MAX];
    size_t count = memory_take(action->pages, action->block, action->max_runs,
                               action->channel == BALLOON_CHANNEL_REPORT, runs);

    must(balloon_driver_give(driver, action->channel, runs, count, now_is()));
}

static void give_stats(void)
{
    const struct memory_counts *counts = memory_counts();
    balloon_sample sample = {0};

    balloon_sample_set(&sample, BALLOON_STAT_FREE, counts->free << BALLOON_PAGE_SHIFT);
    balloon_sample_set(&sample, BALLOON_STAT_TOTAL, counts->total << BALLOON_PAGE_SHIFT);
    balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, counts->free << BALLOON_PAGE_SHIFT);
    must(balloon_driver_give_stats(driver, &sample, now_is()));
}

/* The device has what it was sent until it comes back; no channel sends again before. Behind it
 * there may be room for the device's answer. */
static const uint8_t *answer_at;

static void send(const balloon_driver_action *action)
{
    static _Alignas(16) uint8_t buffer[BALLOON_QUEUE_KINDS][MESSAGE_BYTES];
    balloon_virtio_message sent;

    if (balloon_virtio_driver_write(driver, action->channel, buffer[action->channel], MESSAGE_BYTES,
                                    &sent) != BALLOON_OK)
        errors++;
    else if (sent.span_count)
        virtio_send_ranges(sent.queue, sent.spans, sent.span_count);
    else
        virtio_send(sent.queue, buffer[action->channel], sent.bytes, sent.bitmap_bytes);
    if (action->channel == BALLOON_CHANNEL_INFLATE)
        answer_at = buffer[action->channel] + sent.bytes;
}

static void act(const balloon_driver_action *action)
{
    switch (action->type) {
    case BALLOON_DRIVER_ALLOC:
        give(action);
        break;
    case BALLOON_DRIVER_FREE:
        for (uint32_t i = 0; i < action->run_count; i++)
            memory_put(action->runs[i]);
        break;
    case BALLOON_DRIVER_ZEROED:
        for (uint32_t i = 0; i < action->run_count; i++)
            memory_zeroed(action->runs[i]);
        break;
    case BALLOON_DRIVER_SEND:
        send(action);
        break;
    case BALLOON_DRIVER_STATS:
        give_stats();
        break;
    case BALLOON_DRIVER_CONFIG:
        virtio_config_write(action->offset, action->value);
        break;
    default:
        errors++; /* not for this driver: it has regions, a virtio device, and never rests */
    }
}

/* The configuration is read once in a millisecond: each read stops QEMU as a whole. */
static void run_driver(void)
{
    balloon_driver_action action;
    balloon_time_t now = now_is();
    uint32_t config[2], bytes;

    if (now >= config_at) {
        config_at = now + NS_PER_MS;
        virtio_config_read(config, sizeof config);
        balloon_virtio_driver_config(driver, config, sizeof config, now);
    }
    for (unsigned queue = 0; queue < BALLOON_QUEUE_KINDS; queue++)
        if (virtio_came_back(queue, &bytes))
            must(balloon_virtio_driver_used(driver, queue, bytes, answer_at, now));
    while (balloon_driver_poll(driver, now_is(), &action))
        act(&action);
}

/* --- commands --------------------------------------------------------------------------------- */

static void say_status(void)
{
    const struct memory_counts *counts = memory_counts();
    balloon_driver_status status;
    balloon_driver_counters driver_counters;
    const char *why = NULL;

    balloon_driver_status_get(driver, &status);
    balloon_driver_counters_get(driver, &driver_counters);
    serial_text("status");
    serial_number("target", status.target);
    serial_number("held", status.held);
    serial_number("way", status.on_way_in + status.on_way_out + status.reporting);
    serial_number("allocs", driver_counters.allocs);
    serial_number("reported", driver_counters.reported);
    serial_number("total", counts->total);
    serial_number("free", counts->free);
    serial_number("away", counts->away);
    serial_number("bad", counts->bad);
    serial_number("stale", counts->stale);
    serial_number("wrong", counts->wrong);
    serial_number("wiped", counts->wiped);
    serial_number("saved", counts->saved);
    serial_number("errors", errors + driver_counters.protocol_errors +
                                driver_counters.answers_unasked + driver_counters.alloc_unusable +
                                driver_counters.refused + driver_counters.kept +
                                driver_counters.foreign + driver_counters.zeroed_foreign);
    serial_text(balloon_driver_check(driver, &why) ? " why=none" : " why=");
    serial_text(why ? why : "");
    serial_text("\n");
}

static void say_oom(uint64_t pages)
{
    uint64_t coming = 0;
    balloon_status status = balloon_driver_oom(driver, pages, &coming, now_is());

    serial_text("oom");
    serial_number("result", (uint64_t)status);
    serial_number("coming", coming);
    serial_text("\n");
}

static bool is_word(const char *line, const char *word, const char **rest)
{
    while (*word && *line == *word) {
        line++;
        word++;
    }
    *rest = line;
    return !*word && (*line == ' ' || !*line);
}

static uint64_t number(const char *text)
{
    uint64_t value = 0;

    for (; *text; text++)
        if (*text >= '0' && *text <= '9')
            value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

/* Returns false when it was the last one. */
static bool obey(const char *line)
{
    const char *rest;

    if (is_word(line, "quit", &rest))
        return false;
    if (is_word(line, "oom", &rest)) {
        say_oom(number(rest));
        return true;
    }
    if (is_word(line, "start", &rest)) {
        running = start_driver();
        errors += !running;
    } else if (is_word(line, "wipe", &rest)) {
        memory_wipe();
    } else if (is_word(line, "fill", &rest)) {
        memory_fill();
    } else if (is_word(line, "verify", &rest)) {
        memory_verify();
    } else if (is_word(line, "later", &rest)) {
        skipped += number(rest) * NS_PER_MS;
    } else if (!is_word(line, "status", &rest)) {
        errors++;
    }
    say_status();
    return true;
}

void metal_main(const void *start_info)
{
    if (!memory_start(start_info) || !make_driver() || !(version = virtio_find())) {
        serial_text("no memory, driver or device\n");
        return;
    }
    /* The host has to find memory for all of it. */
    memory_fill();
    serial_text("ready");
    serial_number("version", version);
    serial_number("free", memory_counts()->free);
    serial_number("whole", memory_whole(BLOCK_PAGES));
    serial_text("\n");
    for (;;) {
        const char *line = serial_line();
        if (line && !obey(line))
            return;
        if (running)
            run_driver();
        __asm__ volatile("pause");
    }
}
