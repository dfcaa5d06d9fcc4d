#include "vm.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define DEVICES 64

static void *memory[DEVICES];
static size_t devices;
static char text[16384];
static size_t used;

static void die(const char *why)
{
    fprintf(stderr, "vm: %s\n", why);
    abort();
}

balloon_device *vm_device(const balloon_device_config *config)
{
    if (devices == DEVICES)
        die("too many devices");
    return rig_make(config, &memory[devices++]);
}

balloon_device *vm_granules(uint32_t features, uint64_t granule)
{
    balloon_region ram = {0, 4096, granule};
    balloon_device_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .max_pages = 16384,
        .features = features ? features : BALLOON_F_NONE,
    };
    balloon_device *device = vm_device(&config);

    rig_start(device, features, 0);
    return device;
}

balloon_device *vm_simple(uint32_t features)
{
    return vm_granules(features, 1);
}

void vm_end(void)
{
    while (devices)
        free(memory[--devices]);
}

static balloon_status send_run(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                               uint32_t first, uint32_t count, balloon_time_t now)
{
    uint32_t *pfns = malloc((count + 1) * sizeof(*pfns));

    if (!pfns)
        abort();
    for (uint32_t i = 0; i < count; i++)
        pfns[i] = first + i;
    balloon_status status = rig_send_pfns(device, kind, cookie, pfns, count, now);
    free(pfns);
    return status;
}

balloon_status vm_inflate(balloon_device *device, uint64_t cookie, uint32_t first, uint32_t count,
                          balloon_time_t now)
{
    return send_run(device, BALLOON_QUEUE_INFLATE, cookie, first, count, now);
}

balloon_status vm_deflate(balloon_device *device, uint64_t cookie, uint32_t first, uint32_t count,
                          balloon_time_t now)
{
    return send_run(device, BALLOON_QUEUE_DEFLATE, cookie, first, count, now);
}

static balloon_status send_span(balloon_device *device, balloon_virtio_queue kind, uint64_t cookie,
                                uint64_t first, uint64_t count)
{
    balloon_virtio_span span = {first << BALLOON_PAGE_SHIFT, count << BALLOON_PAGE_SHIFT};

    return rig_send_spans(device, kind, cookie, &span, 1, 0);
}

balloon_status vm_report(balloon_device *device, uint64_t cookie, uint64_t first, uint64_t count)
{
    return send_span(device, BALLOON_QUEUE_REPORT, cookie, first, count);
}

balloon_status vm_hint(balloon_device *device, uint64_t cookie, uint64_t first, uint64_t count)
{
    return send_span(device, BALLOON_QUEUE_HINT, cookie, first, count);
}

balloon_status vm_hint_command(balloon_device *device, uint64_t cookie, uint32_t id)
{
    uint8_t bytes[4];

    balloon_virtio_write_hint(id, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes));
    return rig_send(device, BALLOON_QUEUE_HINT, cookie, bytes, sizeof(bytes), 0);
}

balloon_status vm_stats(balloon_device *device, uint64_t cookie, balloon_stat stat, uint64_t value,
                        balloon_time_t now)
{
    uint8_t bytes[BALLOON_VIRTIO_STAT_BYTES];
    balloon_sample sample = {0};

    balloon_sample_set(&sample, stat, value);
    balloon_virtio_write_stats(&sample, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes));
    return rig_send(device, BALLOON_QUEUE_STATS, cookie, bytes, sizeof(bytes), now);
}

/* --- actions as text -------------------------------------------------------------------------- */

static void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    used += (size_t)vsnprintf(text + used, sizeof(text) - used, format, args);
    va_end(args);
    if (used >= sizeof(text))
        die("too many actions for one text");
}

static const char *queue_name(const balloon_device *device, uint32_t queue)
{
    static const char *const names[] = {"inflate", "deflate", "stats", "hint", "report"};
    balloon_virtio_queue kind = balloon_virtio_queue_of(device, queue);

    return kind < BALLOON_QUEUE_KINDS ? names[kind] : "nowhere";
}

static void say_runs(const balloon_action *action)
{
    for (uint32_t i = 0; i < action->run_count; i++) {
        const balloon_run *run = &action->runs[i];

        say(i ? "," : "");
        if (run->region)
            say("%" PRIu32 ":", run->region);
        say("%" PRIu64 "+%" PRIu64, run->range.first, run->range.count);
    }
}

static void say_action(const balloon_device *device, const balloon_action *action)
{
    static const char *const names[] = {
        [BALLOON_ACTION_DISCARD] = "discard ", [BALLOON_ACTION_ACK] = "ack ",
        [BALLOON_ACTION_CONFIG_IRQ] = "irq",   [BALLOON_ACTION_STATS] = "stats",
        [BALLOON_ACTION_STATS_LATE] = "late",  [BALLOON_ACTION_PRESSURE] = "pressure",
        [BALLOON_ACTION_HINTED] = "hinted",
    };
    bool runs = action->type == BALLOON_ACTION_DISCARD, ack = action->type == BALLOON_ACTION_ACK;

    if (action->used_bytes || (!ack && (action->queue || action->cookie)) ||
        runs != (action->run_count > 0) || runs != (action->runs != NULL))
        die("a field is set that does not belong to the action");
    say("%s%s", used ? " | " : "", names[action->type]);
    if (ack)
        say("%s/%" PRIu64, queue_name(device, action->queue), action->cookie);
    say_runs(action);
}

static bool step(balloon_device *device, balloon_time_t now)
{
    const char *why = NULL;
    balloon_action action;
    bool more = balloon_device_poll(device, now, &action);

    if (!balloon_device_check(device, &why))
        die(why);
    if (more)
        say_action(device, &action);
    else if (balloon_device_deadline(device) <= now)
        die("the deadline is over, and there is nothing to do");
    return more;
}

static void begin_text(void)
{
    text[0] = '\0';
    used = 0;
}

const char *vm_step(balloon_device *device, balloon_time_t now)
{
    begin_text();
    (void)step(device, now);
    return text;
}

const char *vm_poll(balloon_device *device, balloon_time_t now)
{
    begin_text();
    for (bool more = step(device, now); more;) {
        bool told = balloon_device_deadline(device) <= now;

        more = step(device, now);
        if (more && !told)
            die("there is something to do before the deadline");
    }
    return text;
}

/* --- questions -------------------------------------------------------------------------------- */

balloon_device_status vm_status(const balloon_device *device)
{
    balloon_device_status status;

    balloon_device_status_get(device, &status);
    return status;
}

balloon_device_counters vm_counters(const balloon_device *device)
{
    balloon_device_counters counters;

    balloon_device_counters_get(device, &counters);
    return counters;
}

balloon_status vm_move(const balloon_device *from, balloon_time_t then, balloon_device *to,
                       balloon_time_t now)
{
    size_t bytes;
    void *saved = rig_save(from, then, &bytes);
    balloon_status status = balloon_device_load(to, now, saved, bytes);

    free(saved);
    return status;
}
