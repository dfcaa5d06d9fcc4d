/* The inputs of the device duel: buffers as guests send them, and the commands of the host. */
#include "device_duel_p.h"

#include <balloon/range.h>

#include <string.h>

/* --- buffers --------------------------------------------------------------------------------- */

#define BYTES_MAX 3000

/* Sends bytes, cut into pieces at random places, with writable spans beside them. */
static balloon_status deliver(struct device_duel *duel, balloon_virtio_queue kind,
                              const uint8_t *bytes, size_t count, const balloon_virtio_span *spans,
                              size_t span_count)
{
    balloon_iov iov[8];
    size_t pieces = 0, at = 0;
    while (pieces < 7 && at < count && !prng_one_in(duel->prng, 2)) {
        size_t n = (size_t)prng_below(duel->prng, count - at + 1);
        iov[pieces++] = (balloon_iov){n ? bytes + at : NULL, n};
        at += n;
    }
    iov[pieces++] = (balloon_iov){at < count ? bytes + at : NULL, count - at};
    balloon_virtio_buffer buffer = {.cookie = ++duel->cookie,
                                    .readable = iov,
                                    .readable_count = pieces,
                                    .writable = spans,
                                    .writable_count = span_count};
    int queue = rig_queue(duel->device, kind);
    return balloon_virtio_receive(duel->device, queue < 0 ? 99 : (uint32_t)queue, &buffer,
                                  duel->now);
}

/* Whether the buffer was taken; *why says when the answer was wrong. */
static bool taken(struct device_duel *duel, balloon_virtio_queue kind, balloon_status status,
                  bool sane, const char **why)
{
    static const uint32_t needs[] = {0, 0, BALLOON_F_STATS, BALLOON_F_HINTING, BALLOON_F_REPORTING};
    bool have = !needs[kind] || (duel->negotiated & needs[kind]);
    balloon_status refused = !duel->driver                         ? BALLOON_ERR_STATE
                             : !have                               ? BALLOON_ERR_INVALID
                             : duel->waiting_count >= DUEL_BUFFERS ? BALLOON_ERR_BUSY
                                                                   : BALLOON_OK;
    /* An offered queue that was not negotiated may have a number all the same, or not. */
    if (refused == BALLOON_ERR_INVALID && (duel->config.features & needs[kind]))
        refused = status == BALLOON_ERR_INVALID ? status : BALLOON_OK;
    if (refused != BALLOON_OK) {
        if (status != refused)
            *why = duel_fail(duel, "receive gave %d, not %d", (int)status, (int)refused);
        return false;
    }
    if (status != BALLOON_OK && (sane || status != BALLOON_ERR_PROTOCOL)) {
        *why = duel_fail(duel, "receive on queue kind %d gave %d", (int)kind, (int)status);
        return false;
    }
    duel->count.buffers++;
    if (kind != BALLOON_QUEUE_STATS)
        duel->waiting[duel->waiting_count++] = (struct duel_waiting){kind, duel->cookie};
    return true;
}

static uint64_t some_pfn(struct device_duel *duel)
{
    return prng_one_in(duel->prng, 40) ? prng_next(duel->prng) : prng_below(duel->prng, 2600);
}

static size_t put(const struct device_duel *duel, uint8_t *to, uint64_t value, size_t bytes)
{
    bool big = !duel->version_1 && duel->options.legacy_endian == BALLOON_BIG_ENDIAN;
    for (size_t i = 0; i < bytes; i++)
        to[big ? bytes - 1 - i : i] = (uint8_t)(value >> 8 * i);
    return bytes;
}

const char *duel_send_pfns(struct device_duel *duel, bool inflate)
{
    uint8_t bytes[BYTES_MAX];
    uint64_t pfn[BYTES_MAX / 4];
    size_t width = duel->options.windows_pfns ? 8 : 4, used = 0, n = 0;
    size_t most = prng_one_in(duel->prng, 3) ? 350 : 40;
    size_t count = (size_t)prng_below(duel->prng, most);
    uint64_t at = some_pfn(duel), shape = prng_below(duel->prng, 4);
    bool sane = true;
    for (size_t i = 0; i < count; i++) {
        if (shape == 3 || prng_one_in(duel->prng, 30))
            at = some_pfn(duel);
        else
            at = shape == 0 ? at - 1 : at + 1;
        if (width == 4)
            at = (uint32_t)at;
        used += put(duel, bytes + used, at, width);
        pfn[n++] = at;
    }
    size_t tail = prng_one_in(duel->prng, 8) ? (size_t)prng_below(duel->prng, width) : 0;
    memset(bytes + used, 0x11, tail);
    size_t total = used + tail, limit = duel->config.max_buffer_bytes;
    balloon_virtio_span span = {0, 4096};
    size_t spans = prng_one_in(duel->prng, 50);
    balloon_virtio_queue kind = inflate ? BALLOON_QUEUE_INFLATE : BALLOON_QUEUE_DEFLATE;
    balloon_status status = deliver(duel, kind, bytes, total, &span, spans);
    size_t cut = limit && total > limit ? total - limit : 0;
    n = (total - cut) / width;
    balloon_tally tally = {0};
    struct model_counts before = model_count_all(&duel->model);
    for (size_t i = 0; i < n; i++)
        sane = sane && model_page_at(&duel->model, pfn[i], NULL);
    sane = sane && !tail && !cut && !spans;
    const char *why = NULL;
    if (!taken(duel, kind, status, sane, &why))
        return why;
    duel->count.truncated_bytes += cut;
    duel->count.tail_bytes += (total - cut) % width;
    for (size_t i = 0; i < n && !inflate; i++) {
        const struct model_page *page = model_page_at(&duel->model, pfn[i], NULL);
        bool again = !page || !page->held || !page->pending;
        for (size_t j = 0; j < i && !again; j++)
            again = pfn[j] == pfn[i];
        duel->cancelled_least += !again;
    }
    for (size_t i = 0; i < n; i++)
        (inflate ? model_inflate : model_deflate)(&duel->model, (balloon_range){pfn[i], 1}, &tally);
    struct model_counts after = model_count_all(&duel->model);
    if (inflate) {
        duel->count.inflated += tally.changed;
        duel->count.inflate_duplicate += tally.unchanged;
        duel->count.inflate_outside += tally.outside;
        if (after.held >= duel->target)
            duel->pressure = false;
    } else {
        duel->count.deflated += tally.changed;
        duel->count.deflate_unheld += tally.unchanged;
        duel->count.deflate_outside += tally.outside;
        duel->count.cancelled += tally.cancelled;
        uint64_t top = before.held < duel->target ? before.held : duel->target;
        duel->count.deflated_below += after.held < top ? top - after.held : 0;
    }
    return NULL;
}

/* Reports and hints: runs of pages by their addresses, some of them not whole pages. */
static size_t some_spans(struct device_duel *duel, balloon_virtio_span *spans, bool *sane)
{
    size_t count = (size_t)prng_below(duel->prng, 4);
    for (size_t i = 0; i < count; i++) {
        uint64_t first = prng_below(duel->prng, 2600), pages = 1 + prng_below(duel->prng, 100);
        if (prng_one_in(duel->prng, 3)) { /* Something aligned, so that granules fit. */
            first &= ~UINT64_C(63);
            pages = UINT64_C(64) << prng_below(duel->prng, 4);
        }
        spans[i] = (balloon_virtio_span){first * 4096, pages * 4096};
        if (prng_one_in(duel->prng, 10)) {
            spans[i].address += prng_below(duel->prng, 4096);
            *sane = false;
        }
        balloon_range range = balloon_range_from_bytes(spans[i].address, spans[i].bytes);
        *sane = *sane && model_count(&duel->model, BALLOON_SET_HELD, range) +
                                 model_count(&duel->model, BALLOON_SET_FREE, range) ==
                             range.count;
    }
    return count;
}

const char *duel_send_report(struct device_duel *duel)
{
    balloon_virtio_span spans[4];
    bool sane = true;
    size_t count = some_spans(duel, spans, &sane);
    balloon_status status = deliver(duel, BALLOON_QUEUE_REPORT, NULL, 0, spans, count);
    const char *why = NULL;
    if (!taken(duel, BALLOON_QUEUE_REPORT, status, sane, &why))
        return why;
    bool poisoned = (duel->negotiated & BALLOON_F_POISON) && duel->poison;
    for (size_t i = 0; i < count; i++) {
        balloon_range range = balloon_range_from_bytes(spans[i].address, spans[i].bytes);
        balloon_tally tally = {0};
        if (poisoned || duel->inhibited) {
            duel->count.report_withheld += range.count;
            continue;
        }
        model_report(&duel->model, range, &tally);
        duel->count.reported += tally.changed;
        duel->count.report_partial += tally.unchanged;
        duel->count.report_outside += tally.outside;
    }
    return NULL;
}

const char *duel_send_hint(struct device_duel *duel)
{
    balloon_virtio_span spans[4];
    uint8_t bytes[8];
    bool sane = true, command = prng_one_in(duel->prng, 2);
    uint32_t id = prng_one_in(duel->prng, 4) ? (uint32_t)prng_next(duel->prng) : duel->hint_id;
    if (prng_one_in(duel->prng, 3))
        id = BALLOON_VIRTIO_HINT_STOP;
    size_t length = prng_one_in(duel->prng, 8) ? 1 + (size_t)prng_below(duel->prng, 8) : 4;
    memset(bytes, 0, sizeof(bytes));
    put(duel, bytes, id, 4);
    size_t count = command ? 0 : some_spans(duel, spans, &sane);
    sane = sane && length == 4;
    balloon_status status =
        deliver(duel, BALLOON_QUEUE_HINT, bytes, command ? length : 0, spans, count);
    const char *why = NULL;
    if (!taken(duel, BALLOON_QUEUE_HINT, status, sane, &why))
        return why;
    if (command && length == 4) {
        if (duel->hinting == BALLOON_HINTING_REQUESTED && id == duel->hint_id) {
            duel->hinting = BALLOON_HINTING_RUNNING;
        } else if (duel->hinting == BALLOON_HINTING_RUNNING && id == BALLOON_VIRTIO_HINT_STOP) {
            duel->hinting = BALLOON_HINTING_STOPPED;
            duel->tell_hinted = true;
        }
    }
    for (size_t i = 0; i < count; i++) {
        balloon_range range = balloon_range_from_bytes(spans[i].address, spans[i].bytes);
        balloon_tally tally = {0};
        if (duel->hinting == BALLOON_HINTING_RUNNING) {
            model_hint(&duel->model, range, &tally);
            duel->count.hints += tally.changed;
        } else {
            duel->count.hints_stale += range.count;
        }
    }
    return NULL;
}

const char *duel_send_stats(struct device_duel *duel)
{
    uint8_t bytes[BYTES_MAX];
    size_t used = 0, records = (size_t)prng_below(duel->prng, 20);
    balloon_sample sample;
    memset(&sample, 0, sizeof(sample));
    for (size_t i = 0; i < records; i++) {
        uint64_t tag = prng_below(duel->prng, 20), value = prng_next(duel->prng);
        used += put(duel, bytes + used, tag, 2);
        used += put(duel, bytes + used, value, 8);
        balloon_sample_set(&sample,
                           tag < BALLOON_VIRTIO_STAT_TAGS && !(value >> 63) ? (balloon_stat)tag
                                                                            : BALLOON_STAT_SLOTS,
                           value);
    }
    if (used > 256) /* More than some configs read. */
        return NULL;
    uint64_t older = duel->stats_cookie;
    bool second = duel->stats_held;
    balloon_status status = deliver(duel, BALLOON_QUEUE_STATS, bytes, used, NULL, 0);
    const char *why = NULL;
    if (!taken(duel, BALLOON_QUEUE_STATS, status, !second, &why))
        return why;
    if (second)
        duel->waiting[duel->waiting_count++] = (struct duel_waiting){BALLOON_QUEUE_STATS, older};
    duel->stats_held = true;
    duel->stats_cookie = duel->cookie;
    bool asked = duel->request != DUEL_IDLE;
    if (duel->version_1 ? !asked && duel->have_sample : duel->request != DUEL_ASKED) {
        duel->count.stats_unasked++;
    } else if (duel->request == DUEL_ASKED ||
               sample.present) { /* Filler only counts if asked for. */
        duel->count.stats_received++;
        duel->sample = sample;
        duel->sample.time = duel->now;
        duel->have_sample = duel->tell_sample = true;
        duel->stats_late = false;
        duel->request = DUEL_IDLE;
        duel->stats_deadline = BALLOON_TIME_NEVER;
    }
    return NULL;
}

/* --- commands -------------------------------------------------------------------------------- */

const char *duel_expect(struct device_duel *duel, const char *what, balloon_status got,
                        balloon_status want)
{
    return got == want ? NULL : duel_fail(duel, "%s gave %d, not %d", what, (int)got, (int)want);
}

static const char *step_target(struct device_duel *duel)
{
    uint64_t pages = model_count_all(&duel->model).pages, target = prng_below(duel->prng, 2600);
    if (prng_one_in(duel->prng, 8))
        target = prng_next(duel->prng);
    balloon_status status = balloon_device_set_target(duel->device, target, duel->now);
    if (target > pages)
        return duel_expect(duel, "set_target", status, BALLOON_ERR_RANGE);
    target &= ~UINT64_C(15);
    if (target != duel->target) {
        duel->tell_config = duel->driver;
        duel->pressure = false;
    }
    duel->may_config = true;
    duel->target = target;
    return duel_expect(duel, "set_target", status, BALLOON_OK);
}

static const char *step_hinting(struct device_duel *duel)
{
    bool can = duel->negotiated & BALLOON_F_HINTING;
    bool round =
        duel->hinting == BALLOON_HINTING_REQUESTED || duel->hinting == BALLOON_HINTING_RUNNING;
    uint64_t op = prng_below(duel->prng, 4);
    if (op < 2) {
        balloon_status status = balloon_device_start_hinting(duel->device);
        if (!can)
            return duel_expect(duel, "start_hinting", status, BALLOON_ERR_STATE);
        uint32_t id = 0;
        if (balloon_virtio_config_bytes(duel->device) >= 12)
            id = rig_read_config(duel->device, 8);
        if (id < 2 || id == duel->hint_id)
            return duel_fail(duel, "the id of a round is %u after %u", id, duel->hint_id);
        model_forget_hints(&duel->model);
        duel->hint_id = id;
        duel->hinting = BALLOON_HINTING_REQUESTED;
        duel->tell_config = true;
        return duel_expect(duel, "start_hinting", status, BALLOON_OK);
    }
    if (op == 2) {
        balloon_status status = balloon_device_stop_hinting(duel->device);
        if (!round)
            return duel_expect(duel, "stop_hinting", status, BALLOON_ERR_STATE);
        duel->hinting = BALLOON_HINTING_STOPPED;
        duel->tell_config = true;
        return duel_expect(duel, "stop_hinting", status, BALLOON_OK);
    }
    balloon_status status = balloon_device_finish_hinting(duel->device);
    if (duel->hinting == BALLOON_HINTING_OFF)
        return duel_expect(duel, "finish_hinting", status, BALLOON_ERR_STATE);
    duel->hinting = BALLOON_HINTING_OFF;
    duel->tell_config = true;
    model_forget_hints(&duel->model);
    return duel_expect(duel, "finish_hinting", status, BALLOON_OK);
}

static const char *step_regions(struct device_duel *duel)
{
    if (prng_one_in(duel->prng, 2)) {
        uint32_t id = (uint32_t)prng_below(duel->prng, 5);
        bool used = duel->model.region[id].used;
        balloon_status status = balloon_device_remove_region(duel->device, id);
        if (used)
            model_remove_region(&duel->model, id);
        return duel_expect(duel, "remove_region", status, used ? BALLOON_OK : BALLOON_ERR_INVALID);
    }
    balloon_region region = {prng_below(duel->prng, 2600), 1 + prng_below(duel->prng, 300),
                             UINT64_C(1) << prng_below(duel->prng, 8)};
    unsigned verdict = model_region_verdict(&duel->model, &region);
    uint32_t id;
    balloon_status status = balloon_device_add_region(duel->device, &region, &id);
    if (status == BALLOON_OK && verdict == 1)
        model_add_region(&duel->model, &region, id);
    return verdict >> status & 1 ? NULL : duel_fail(duel, "add_region gave %d", (int)status);
}

const char *duel_command(struct device_duel *duel)
{
    balloon_status status;
    switch (prng_below(duel->prng, 12)) {
    case 0:
    case 1:
        return step_target(duel);
    case 2:
        balloon_device_inhibit(duel->device);
        duel->inhibited++;
        return NULL;
    case 3:
    case 4:
        status = balloon_device_release(duel->device);
        if (duel->inhibited)
            return duel_expect(duel, "release", status, duel->inhibited-- ? BALLOON_OK : 0);
        return duel_expect(duel, "release", status, BALLOON_ERR_STATE);
    case 5:
        balloon_device_flush(duel->device);
        duel->flush = duel_gathers(duel);
        return NULL;
    case 6:
    case 7:
        status = balloon_device_request_stats(duel->device, duel->now);
        if (!(duel->negotiated & BALLOON_F_STATS))
            return duel_expect(duel, "request_stats", status, BALLOON_ERR_STATE);
        if (duel->stats_deadline != BALLOON_TIME_NEVER)
            return duel_expect(duel, "request_stats", status, BALLOON_ERR_BUSY);
        if (duel->request == DUEL_IDLE)
            duel->request = DUEL_WANTED;
        duel->stats_deadline = duel->now + duel->config.stats_timeout;
        return duel_expect(duel, "request_stats", status, BALLOON_OK);
    case 8:
    case 9:
        return step_hinting(duel);
    case 10:
        duel->actual = prng_one_in(duel->prng, 4)
                           ? (uint32_t)prng_next(duel->prng)
                           : balloon_tracker_held(balloon_device_tracker(duel->device));
        rig_write_config(duel->device, 4, (uint32_t)duel->actual);
        return NULL;
    default:
        return step_regions(duel);
    }
}
