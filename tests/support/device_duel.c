#include "device_duel_p.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *duel_fail(struct device_duel *duel, const char *format, ...)
{
    va_list args;
    int n = snprintf(duel->why, sizeof(duel->why), "step %" PRIu64 ": ", duel->steps);
    va_start(args, format);
    vsnprintf(duel->why + n, sizeof(duel->why) - (size_t)n, format, args);
    va_end(args);
    return duel->why;
}

/* --- life ---------------------------------------------------------------------------------- */

static void configure(struct device_duel *duel)
{
    if (balloon_virtio_configure(duel->device, &duel->options) != BALLOON_OK)
        abort();
}

void device_duel_start(struct device_duel *duel, struct prng *prng)
{
    static const uint64_t granules[] = {1, 1, 4, 16, 64, 512};
    memset(duel, 0, sizeof(*duel));
    duel->prng = prng;
    duel->now = prng_below(prng, 1000) * MS;
    duel->options = (balloon_virtio_options){
        .size = sizeof(duel->options),
        .numbering = (balloon_virtio_numbering)prng_below(prng, 3),
        .legacy_endian = (balloon_endian)prng_below(prng, 2),
        .windows_pfns = prng_one_in(prng, 8),
        .legacy_only = prng_one_in(prng, 8),
    };
    uint32_t offered = (uint32_t)prng_below(prng, 64);
    duel->config = (balloon_device_config){
        .size = sizeof(duel->config),
        .max_pages = DUEL_WINDOW,
        .max_regions = 4,
        .features = offered ? offered : BALLOON_F_NONE,
        .run_batch = 1 + (uint32_t)prng_below(prng, 5),
        .max_buffers = DUEL_BUFFERS,
        .max_buffer_bytes = prng_one_in(prng, 4) ? 256 : 0,
        .gather_pages = prng_one_in(prng, 2) ? 1 + prng_below(prng, 200) : 0,
        .gather_delay = (1 + prng_below(prng, 20)) * MS,
        .stats_timeout = 30 * MS,
    };
    duel->device = rig_make(&duel->config, &duel->memory);
    configure(duel);
    model_init(&duel->model, DUEL_WINDOW, 4, offered & BALLOON_F_HINTING);
    uint64_t first = prng_below(prng, 40), regions = 1 + prng_below(prng, 3);
    for (uint64_t i = 0; i < regions; i++) {
        balloon_region region = {first, 1 + prng_below(prng, 700), granules[prng_below(prng, 6)]};
        uint32_t id;
        if (balloon_device_add_region(duel->device, &region, &id) != BALLOON_OK)
            abort();
        model_add_region(&duel->model, &region, id);
        first += region.count + (prng_one_in(prng, 2) ? prng_below(prng, 600) : 0);
    }
    duel->ready_since = duel->stats_deadline = BALLOON_TIME_NEVER;
    duel->check_every = 16;
}

void device_duel_end(struct device_duel *duel)
{
    model_free(&duel->model);
    free(duel->memory);
}

bool duel_gathers(const struct device_duel *duel)
{
    return duel->driver && (duel->negotiated & BALLOON_F_MUST_TELL);
}

static void forget_driver(struct device_duel *duel)
{
    duel->driver = duel->version_1 = false;
    duel->negotiated = duel->chosen = duel->poison = 0;
    duel->actual = 0;
    duel->waiting_count = 0;
    duel->stats_held = duel->stats_late = duel->have_sample = duel->tell_sample = false;
    duel->request = DUEL_IDLE;
    duel->stats_deadline = BALLOON_TIME_NEVER;
    duel->hinting = BALLOON_HINTING_OFF;
    duel->tell_hinted = duel->tell_config = duel->pressure = duel->flush = duel->failing = false;
    duel->may_config = true;
}

void device_duel_reset(struct device_duel *duel)
{
    balloon_device_reset(duel->device);
    model_reset(&duel->model);
    model_set_gather(&duel->model, false);
    forget_driver(duel);
    duel->count.resets++;
}

static const char *attach(struct device_duel *duel)
{
    uint32_t offered = duel->config.features & BALLOON_F_ALL;
    uint64_t chosen = prng_below(duel->prng, 64) | prng_below(duel->prng, 64);
    chosen &= prng_one_in(duel->prng, 8) ? 63 : offered;
    bool version_1 = !duel->options.legacy_only && !prng_one_in(duel->prng, 4);
    balloon_status status = balloon_virtio_set_features(
        duel->device, chosen | (version_1 ? BALLOON_VIRTIO_F_VERSION_1 : 0));
    if (chosen & ~offered)
        return status == BALLOON_ERR_PROTOCOL ? NULL : duel_fail(duel, "took what was not offered");
    if (status != BALLOON_OK)
        return duel_fail(duel, "set_features gave %d", (int)status);
    duel->version_1 = version_1;
    duel->chosen = (uint32_t)chosen;
    if (chosen & BALLOON_F_POISON) {
        duel->poison = prng_one_in(duel->prng, 2) ? 0 : 0xaaaaaaaa;
        rig_write_config(duel->device, 12, duel->poison);
    }
    status = balloon_virtio_driver_ok(duel->device, 0, duel->now);
    if (status != BALLOON_OK)
        return duel_fail(duel, "driver_ok gave %d", (int)status);
    duel->driver = true;
    duel->negotiated = (uint32_t)chosen;
    duel->tell_config = duel->target != 0;
    model_set_gather(&duel->model, duel_gathers(duel));
    return NULL;
}

/* --- what is expected of poll --------------------------------------------------------------- */

/* What is ready waits from the first poll that sees it. */
static void note_ready(struct device_duel *duel)
{
    if (!duel_gathers(duel) || !model_count_all(&duel->model).ready)
        duel->ready_since = BALLOON_TIME_NEVER;
    else if (duel->ready_since == BALLOON_TIME_NEVER)
        duel->ready_since = duel->now;
}

static const char *on_discard(struct device_duel *duel, const balloon_action *action)
{
    balloon_run got[8], want[8];
    if (duel->inhibited)
        return duel_fail(duel, "a discard while inhibited");
    if (!action->run_count || action->run_count > duel->config.run_batch)
        return duel_fail(duel, "%u runs in one action", action->run_count);
    memcpy(got, action->runs, action->run_count * sizeof(*got));
    size_t count = model_take(&duel->model, want, action->run_count);
    if (count != action->run_count || memcmp(got, want, count * sizeof(*got)))
        return duel_fail(duel, "the runs to discard differ from the model's");
    duel->count.discard_runs += count;
    duel->failing = false;
    for (size_t i = 0; i < count; i++)
        duel->count.discarded += got[i].range.count;
    if (prng_one_in(duel->prng, 12)) {
        balloon_run *run = &got[prng_below(duel->prng, count)];
        balloon_device_discard_failed(duel->device, run, duel->now);
        if (model_put_back(&duel->model, run))
            duel->failing = true;
        duel->count.discard_failed += run->range.count;
    }
    return NULL;
}

/* What is still pending is forgotten where its promise ends, and counted by where it came from. */
static void settle(struct device_duel *duel)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        const struct model_region *region = &duel->model.region[i];
        for (uint64_t p = 0; region->used && p < region->at.count; p++) {
            if (!region->page[p].pending)
                continue;
            if (!region->page[p].held)
                duel->count.report_withheld++;
            else if (!duel_gathers(duel))
                duel->count.inflate_withheld++;
        }
    }
    model_settle(&duel->model);
}

static const char *on_ack(struct device_duel *duel, const balloon_action *action)
{
    if (action->used_bytes)
        return duel_fail(duel, "used_bytes is %u", action->used_bytes);
    duel->count.acks++;
    balloon_virtio_queue kind = balloon_virtio_queue_of(duel->device, action->queue);
    if (duel->stats_held && action->cookie == duel->stats_cookie) {
        if (duel->request != DUEL_WANTED || kind != BALLOON_QUEUE_STATS)
            return duel_fail(duel, "the statistics buffer was returned unasked");
        duel->stats_held = false;
        duel->request = DUEL_ASKED;
        return NULL;
    }
    /* Each queue in its order. */
    size_t i = 0;
    while (i < duel->waiting_count && duel->waiting[i].kind != kind)
        i++;
    if (i == duel->waiting_count || duel->waiting[i].cookie != action->cookie)
        return duel_fail(duel, "buffer %" PRIu64 " was acknowledged out of turn", action->cookie);
    memmove(&duel->waiting[i], &duel->waiting[i + 1],
            (--duel->waiting_count - i) * sizeof(*duel->waiting));
    bool settles = kind == BALLOON_QUEUE_REPORT || kind == BALLOON_QUEUE_INFLATE;
    if (settles && !duel_gathers(duel)) {
        if (!duel->inhibited && model_count_all(&duel->model).ready)
            return duel_fail(duel, "acknowledged before all of it was discarded");
        settle(duel);
    } else if (kind == BALLOON_QUEUE_REPORT) {
        settle(duel);
    }
    return NULL;
}

static const char *on_sample(struct device_duel *duel)
{
    balloon_sample got;
    memset(&got, 0, sizeof(got));
    if (!duel->tell_sample || !balloon_device_sample(duel->device, &got) ||
        memcmp(&got, &duel->sample, sizeof(got)))
        return duel_fail(duel, "the sample is not what the guest has just sent");
    duel->tell_sample = false;
    return NULL;
}

static const char *on_action(struct device_duel *duel, const balloon_action *action)
{
    bool fine = true;
    switch (action->type) {
    case BALLOON_ACTION_DISCARD:
        return on_discard(duel, action);
    case BALLOON_ACTION_ACK:
        return on_ack(duel, action);
    case BALLOON_ACTION_STATS:
        return on_sample(duel);
    case BALLOON_ACTION_STATS_LATE:
        fine = duel->now >= duel->stats_deadline;
        duel->stats_deadline = BALLOON_TIME_NEVER;
        duel->stats_late = true;
        duel->count.stats_late++;
        break;
    case BALLOON_ACTION_CONFIG_IRQ:
        fine = duel->tell_config || duel->may_config;
        duel->tell_config = duel->may_config = false;
        break;
    case BALLOON_ACTION_PRESSURE:
        if (!duel->count.deflated_below || duel->pressure)
            return duel_fail(duel,
                             "pressure, with %" PRIu64 " pages deflated below the target, told %d",
                             duel->count.deflated_below, duel->pressure);
        duel->pressure = true;
        break;
    case BALLOON_ACTION_HINTED:
        fine = duel->tell_hinted;
        duel->tell_hinted = false;
        break;
    case BALLOON_ACTION_SEND:
        fine = false;
        break;
    }
    return fine ? NULL : duel_fail(duel, "an action of type %d for no reason", (int)action->type);
}

static const char *drain(struct device_duel *duel)
{
    balloon_action action;
    balloon_time_t since = duel->ready_since;
    uint64_t ready = duel_gathers(duel) ? model_count_all(&duel->model).ready : 0;
    bool due = duel->flush || ready >= duel->config.gather_pages ||
               (since != BALLOON_TIME_NEVER && duel->now - since >= duel->config.gather_delay);
    due = due && ready && duel->config.gather_pages;
    const char *why = NULL;
    for (int i = 0; !why && balloon_device_poll(duel->device, duel->now, &action); i++) {
        why = on_action(duel, &action);
        if (!why && i > 10000)
            why = duel_fail(duel, "poll never ends");
    }
    if (why)
        return why;
    if (duel->waiting_count)
        return duel_fail(duel, "%zu buffers are not acknowledged", duel->waiting_count);
    if (duel->tell_config || duel->tell_sample || duel->tell_hinted)
        return duel_fail(duel, "something was not told: %d%d%d", duel->tell_config,
                         duel->tell_sample, duel->tell_hinted);
    if (duel->stats_held && duel->request == DUEL_WANTED)
        return duel_fail(duel, "the request for statistics was not passed on");
    if (duel->now >= duel->stats_deadline)
        return duel_fail(duel, "late statistics were not told");
    if (due && !duel->inhibited && !duel->failing && model_count_all(&duel->model).ready)
        return duel_fail(duel, "a discard is overdue");
    note_ready(duel);
    balloon_time_t deadline = balloon_device_deadline(duel->device);
    if (deadline <= duel->now)
        return duel_fail(duel, "there is nothing to do, but the deadline is now");
    if (deadline > duel->stats_deadline)
        return duel_fail(duel, "the deadline is after that of the statistics");
    if (duel->ready_since != BALLOON_TIME_NEVER && !duel->inhibited && !duel->failing &&
        deadline > duel->ready_since + duel->config.gather_delay)
        return duel_fail(duel, "what is ready waits for too long");
    duel->flush = false;
    return NULL;
}

/* --- moving to another host ---------------------------------------------------------------- */

const char *device_duel_move(struct device_duel *duel)
{
    size_t bytes;
    void *memory, *saved = rig_save(duel->device, duel->now, &bytes);
    balloon_device_config config = duel->config;
    balloon_region regions[MODEL_REGIONS];
    uint32_t highest = 0;
    for (uint32_t i = 0; i < MODEL_REGIONS; i++)
        if (duel->model.region[i].used)
            highest = i + 1;
    balloon_device *device = rig_make(&config, &memory);
    /* The same ids: fill the holes with pages far away, then take those out again. */
    const char *why = NULL;
    for (uint32_t i = 0; i < highest && !why; i++) {
        uint32_t id = 0;
        regions[i] = duel->model.region[i].used ? duel->model.region[i].at
                                                : (balloon_region){100000 + i, 1, 1};
        if (balloon_device_add_region(device, &regions[i], &id) != BALLOON_OK || id != i)
            why = duel_fail(duel, "region %u cannot be had again", i);
    }
    for (uint32_t i = 0; i < highest && !why; i++)
        if (!duel->model.region[i].used && balloon_device_remove_region(device, i) != BALLOON_OK)
            why = duel_fail(duel, "region %u cannot be removed", i);
    balloon_time_t later = prng_below(duel->prng, 1000000) * MS;
    if (!why) {
        free(duel->memory);
        duel->memory = memory;
        duel->device = device;
        configure(duel);
        why =
            duel_expect(duel, "load", balloon_device_load(device, later, saved, bytes), BALLOON_OK);
    } else {
        free(memory);
    }
    free(saved);
    if (why)
        return why;
    /* Times move with the clock of the new host. */
    if (duel->stats_deadline != BALLOON_TIME_NEVER)
        duel->stats_deadline =
            duel->stats_deadline > duel->now ? later + (duel->stats_deadline - duel->now) : later;
    if (duel->have_sample) {
        balloon_sample sample;
        if (!balloon_device_sample(device, &sample))
            return duel_fail(duel, "the last sample is lost");
        duel->sample.time = sample.time;
        if (memcmp(&sample, &duel->sample, sizeof(sample)))
            return duel_fail(duel, "the last sample has changed");
    }
    duel->now = later;
    duel->ready_since = BALLOON_TIME_NEVER;
    for (uint32_t i = 0; i < duel->inhibited; i++)
        balloon_device_inhibit(device);
    if (duel->hinting != BALLOON_HINTING_OFF)
        duel->tell_config = true;
    duel->may_config = true;
    duel->hinting = BALLOON_HINTING_OFF;
    model_forget_hints(&duel->model);
    /* A report is advice: its buffer may be acknowledged over there without a discard. */
    for (int i = 0; i < MODEL_REGIONS; i++)
        for (uint64_t p = 0; duel->model.region[i].used && p < duel->model.region[i].at.count; p++)
            duel->model.region[i].page[p].pending &= duel->model.region[i].page[p].held;
    duel->tell_hinted = false;
    duel->flush = false;
    duel->base = duel->count;
    return NULL;
}

/* --- comparing ------------------------------------------------------------------------------- */

static const char *compare_counters(struct device_duel *duel)
{
    balloon_device_counters got;
    balloon_device_counters_get(duel->device, &got);
    uint64_t cancelled = duel->base.cancelled + got.cancelled;
    /* See tracker_duel.c: the tracker may count less than page by page. */
    if (cancelled >= duel->cancelled_least && cancelled <= duel->count.cancelled)
        duel->count.cancelled = duel->cancelled_least = cancelled;
#define SAME(field)                                                                                \
    if (duel->base.field + got.field != duel->count.field)                                         \
        return duel_fail(duel, #field " is %" PRIu64 ", the model has %" PRIu64,                   \
                         duel->base.field + got.field, duel->count.field);
    SAME(buffers)
    SAME(acks)
    SAME(inflated)
    SAME(inflate_duplicate)
    SAME(inflate_outside)
    SAME(deflated)
    SAME(deflate_unheld)
    SAME(deflate_outside)
    SAME(deflated_below)
    SAME(cancelled)
    SAME(discarded)
    SAME(discard_runs)
    SAME(discard_failed)
    SAME(reported)
    SAME(report_withheld)
    SAME(inflate_withheld)
    SAME(report_partial)
    SAME(report_outside)
    SAME(hints)
    SAME(hints_stale)
    SAME(stats_received)
    SAME(stats_late)
    SAME(stats_unasked)
    SAME(tail_bytes)
    SAME(truncated_bytes)
    SAME(resets)
#undef SAME
    return NULL;
}

/* Is a size the target as some guest makes it: with pages of any size, up or down, or up to a MiB?
 */
static bool some_guests_target(uint64_t size, uint64_t target)
{
    static const uint64_t pages[] = {1, 4, 16};
    if (!target || !size)
        return size == target;
    if (size >= target)
        return size < target + 16 || size == (target + 255) / 256 * 256;
    for (size_t i = 0; i < 3; i++)
        if (size == target / pages[i] * pages[i])
            return true;
    return false;
}

const char *device_duel_compare(struct device_duel *duel)
{
    const char *why = NULL;
    balloon_device_status s;
    if (!balloon_device_check(duel->device, &why))
        return duel_fail(duel, "check: %s", why);
    why = model_compare_sets(&duel->model, balloon_device_tracker(duel->device));
    if (why)
        return duel_fail(duel, "%s", why);
    balloon_device_status_get(duel->device, &s);
    struct model_counts want = model_count_all(&duel->model);
    if (s.guest_pages != want.pages || s.held != want.held || s.pending != want.pending ||
        s.ready != want.ready || s.hinted != want.hinted)
        return duel_fail(duel, "the status disagrees with the tracker");
    if (s.settled != (duel->driver && some_guests_target(duel->actual, duel->target) &&
                      some_guests_target(want.held, duel->target)))
        return duel_fail(duel, "settled is %d with actual %" PRIu64 ", held %" PRIu64, s.settled,
                         s.actual, s.held);
    if (s.target != duel->target || s.actual != duel->actual || s.driver != duel->driver ||
        s.negotiated != duel->negotiated || s.inhibited != duel->inhibited ||
        s.hinting != duel->hinting || s.stats_late != duel->stats_late ||
        s.offered != (duel->config.features & BALLOON_F_ALL))
        return duel_fail(duel,
                         "status: target %" PRIu64 " actual %" PRIu64
                         " driver %d negotiated %#x inhibited %u hinting %d late %d, the model has "
                         "%" PRIu64 " %" PRIu64 " %d %#x %u %d %d",
                         s.target, s.actual, s.driver, s.negotiated, s.inhibited, (int)s.hinting,
                         s.stats_late, duel->target, duel->actual, duel->driver, duel->negotiated,
                         duel->inhibited, (int)duel->hinting, duel->stats_late);
    if (rig_read_config(duel->device, 0) != duel->target ||
        rig_read_config(duel->device, 4) != duel->actual)
        return duel_fail(duel, "configuration space has other numbers");
    return compare_counters(duel);
}

const char *device_duel_step(struct device_duel *duel)
{
    const char *why = NULL;
    uint64_t op = prng_below(duel->prng, 100);
    duel->steps++;
    if (prng_one_in(duel->prng, 3))
        duel->now += prng_below(duel->prng, 10 * MS);
    if (!duel->driver && op < 60)
        why = attach(duel);
    else if (op < 32)
        why = duel_send_pfns(duel, true);
    else if (op < 50)
        why = duel_send_pfns(duel, false);
    else if (op < 60)
        why = duel_send_report(duel);
    else if (op < 68)
        why = duel_send_hint(duel);
    else if (op < 74)
        why = duel_send_stats(duel);
    else if (op < 98)
        why = duel_command(duel);
    else if (prng_one_in(duel->prng, 4))
        device_duel_reset(duel);
    if (!model_count_all(&duel->model).ready)
        duel->ready_since = BALLOON_TIME_NEVER;
    if (!why && !prng_one_in(duel->prng, 4))
        why = drain(duel);
    if (!why && duel->steps % duel->check_every == 0)
        why = device_duel_compare(duel);
    return why;
}
