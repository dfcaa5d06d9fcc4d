/* The device's life: memory, regions, target, inhibition, reset. */
#include <string.h>

#include "../core/tracker_saved_p.h"
#include "device_p.h"

#define DEFAULT_BATCH        256u
#define DEFAULT_BUFFERS      256u
#define DEFAULT_BUFFER_BYTES (1u << 20)
#define DEFAULT_GATHER_PAGES 65536u
#define DEFAULT_GATHER_DELAY UINT64_C(100000000)
#define MOST_TIMEOUT         UINT64_C(3600000000000)
#define DEFAULT_ALIGN        16u
#define DEFAULT_REGIONS      8u
#define MOST_REGIONS         4096u

/* A config with every default filled in, and where the parts of the device lie in its memory. */
struct plan {
    balloon_device_config config;
    balloon_tracker_config tracker;
    balloon_layout tracker_layout;
    size_t runs, buffers, claimed, tracker_at, bytes;
};

static uint32_t or_default(uint32_t value, uint32_t by_default)
{
    return value ? value : by_default;
}

/* 0, or which of the rules of device_config.c is broken. */
static unsigned fill_config(const balloon_device_config *given, balloon_device_config *c)
{
    uint64_t pages = 0;

    if (!given || !bl_sized(given, sizeof(*given)))
        return 1;
    if (given->region_count && !given->regions)
        return 2;
    *c = *given;
    for (size_t i = 0; i < c->region_count; i++) {
        if (c->regions[i].count > UINT64_MAX - pages)
            return 3;
        pages += c->regions[i].count;
    }
    if (!c->max_pages)
        c->max_pages = pages;
    if (!c->max_regions)
        c->max_regions =
            c->region_count > DEFAULT_REGIONS ? (uint32_t)c->region_count : DEFAULT_REGIONS;
    c->features = or_default(c->features, BALLOON_F_DEFAULT) & ~BALLOON_F_NONE;
    c->target_align = or_default(c->target_align, DEFAULT_ALIGN);
    c->run_batch = or_default(c->run_batch, DEFAULT_BATCH);
    c->max_buffers = or_default(c->max_buffers, DEFAULT_BUFFERS);
    c->max_buffer_bytes = or_default(c->max_buffer_bytes, DEFAULT_BUFFER_BYTES);
    c->gather_pages = c->gather_pages ? c->gather_pages : DEFAULT_GATHER_PAGES;
    c->gather_delay = c->gather_delay ? c->gather_delay : DEFAULT_GATHER_DELAY;
    if (c->stats_timeout > MOST_TIMEOUT)
        c->stats_timeout = MOST_TIMEOUT;
    if (c->region_count > MOST_REGIONS)
        return 10;
    if (c->region_count > c->max_regions)
        return 4;
    if (c->features & ~(BALLOON_F_ALL | BALLOON_F_EXPERIMENTAL))
        return 5;
    if ((c->features & BALLOON_F_DEVICE_INIT_REPORTED) && !(c->features & BALLOON_F_REPORTING))
        return 11;
    if (c->target_align & (c->target_align - 1))
        return 6;
    if (c->run_batch > 1024)
        return 7;
    return c->max_buffers > 65536 ? 8 : 0;
}

static size_t align_up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static unsigned make_plan(const balloon_device_config *given, struct plan *p)
{
    unsigned fault;

    memset(p, 0, sizeof(*p));
    fault = fill_config(given, &p->config);
    if (fault)
        return fault;
    p->tracker.size = sizeof(p->tracker);
    p->tracker.max_pages = p->config.max_pages;
    p->tracker.max_regions = p->config.max_regions;
    p->tracker.hints = (p->config.features & BALLOON_F_HINTING) != 0;
    if (p->config.max_regions > MOST_REGIONS)
        return 4;
    if (balloon_tracker_layout(&p->tracker, &p->tracker_layout) != BALLOON_OK)
        return 9;
    p->runs = align_up(sizeof(balloon_device), _Alignof(balloon_run));
    p->buffers = align_up(p->runs + p->config.run_batch * sizeof(balloon_run),
                          _Alignof(struct waiting_buffer));
    p->claimed = p->buffers + p->config.max_buffers * sizeof(struct waiting_buffer);
    p->tracker_at = p->claimed;
    if (p->config.features & BALLOON_F_DEVICE_INIT_ON_INFLATE)
        p->tracker_at += sizeof(struct claimed_pages);
    p->tracker_at = align_up(p->tracker_at, p->tracker_layout.align);
    p->bytes = p->tracker_at + p->tracker_layout.bytes;
    return p->bytes > p->tracker_at ? 0 : 9;
}

unsigned bl_device_config_fault(const balloon_device_config *config)
{
    struct plan p;

    return make_plan(config, &p);
}

balloon_status balloon_device_layout(const balloon_device_config *config, balloon_layout *layout)
{
    struct plan p;

    if (!layout || make_plan(config, &p))
        return BALLOON_ERR_INVALID;
    layout->bytes = p.bytes;
    layout->align = p.tracker_layout.align > _Alignof(balloon_device) ? p.tracker_layout.align
                                                                      : _Alignof(balloon_device);
    return BALLOON_OK;
}

static void note_high_ram(balloon_device *d)
{
    balloon_range above = {PFN32_END, UINT64_MAX - PFN32_END};
    bool wide = d->binding && d->binding->wide;
    balloon_run run;

    d->high_ram = !wide && (balloon_tracker_next(d->tracker, BALLOON_SET_HELD, above, &run) ||
                            balloon_tracker_next(d->tracker, BALLOON_SET_FREE, above, &run));
}

static balloon_status init(void *memory, size_t bytes, const balloon_device_config *config,
                           bool is_zero, balloon_device **device)
{
    balloon_device *d = memory;
    uint8_t *base = memory;
    struct plan p;

    if (!memory || !device || make_plan(config, &p) ||
        (uintptr_t)memory % _Alignof(balloon_device) ||
        ((uintptr_t)memory + p.tracker_at) % p.tracker_layout.align)
        return BALLOON_ERR_INVALID;
    if (bytes < p.bytes)
        return BALLOON_ERR_NOSPACE;

    memset(d, 0, sizeof(*d));
    d->runs = (balloon_run *)(void *)(base + p.runs);
    d->buffers = (struct waiting_buffer *)(void *)(base + p.buffers);
    d->offered = p.config.features;
    if (d->offered & BALLOON_F_DEVICE_INIT_ON_INFLATE) {
        d->claimed = (struct claimed_pages *)(void *)(base + p.claimed);
        memset(d->claimed, 0, sizeof(*d->claimed));
    }
    d->target_align = p.config.target_align;
    d->run_batch = p.config.run_batch;
    d->max_buffers = p.config.max_buffers;
    d->max_buffer_bytes = p.config.max_buffer_bytes;
    d->gather_pages = p.config.gather_pages;
    d->gather_delay = p.config.gather_delay;
    d->stats_timeout = p.config.stats_timeout;
    d->flush_at = d->stats.next = d->stats.deadline = BALLOON_TIME_NEVER;
    d->hint.id = HINT_STOP;
    d->hint.next_id = UINT32_C(0x80000000);

    balloon_status status = (is_zero ? bl_tracker_init_zero : balloon_tracker_init)(
        base + p.tracker_at, p.tracker_layout.bytes, &p.tracker, &d->tracker);
    if (status == BALLOON_OK)
        status = bl_tracker_add_regions(d->tracker, config->regions, config->region_count);
    if (status != BALLOON_OK)
        return BALLOON_ERR_INVALID;
    note_high_ram(d);
    *device = d;
    return BALLOON_OK;
}

balloon_status balloon_device_init(void *memory, size_t bytes, const balloon_device_config *config,
                                   balloon_device **device)
{
    return init(memory, bytes, config, false, device);
}

balloon_status bl_device_init_zero(void *memory, size_t bytes, const balloon_device_config *config,
                                   balloon_device **device)
{
    return init(memory, bytes, config, true, device);
}

balloon_status balloon_device_add_region(balloon_device *d, const balloon_region *region,
                                         uint32_t *id)
{
    balloon_status status = balloon_tracker_add_region(d->tracker, region, id);

    if (status == BALLOON_OK)
        d->outside = false;
    note_high_ram(d);
    return status;
}

balloon_status balloon_device_remove_region(balloon_device *d, uint32_t id)
{
    balloon_status status = balloon_tracker_remove_region(d->tracker, id);

    if (status != BALLOON_OK)
        return status;
    bl_device_drop_claims(d);
    /* The guest has not taken these pages back. */
    if (d->peak > balloon_tracker_held(d->tracker))
        d->peak = balloon_tracker_held(d->tracker);
    note_high_ram(d);
    if (d->binding && d->binding->unplugged)
        d->binding->unplugged(d);
    return BALLOON_OK;
}

void bl_device_bind(balloon_device *d, const struct device_binding *binding)
{
    if (d->binding != binding) {
        memset(d->room, 0, sizeof(d->room));
        balloon_tracker_reset(d->tracker); /* of pages that were declared */
        d->actual = d->peak = 0;
    }
    bl_device_adopt(d, binding);
    d->gather = binding->starts_out;
    balloon_tracker_set_gather(d->tracker, d->gather);
}

void bl_device_adopt(balloon_device *d, const struct device_binding *binding)
{
    d->binding = binding;
    note_high_ram(d);
}

void bl_device_attach(balloon_device *d, balloon_time_t now)
{
    d->driver = true;
    d->gather = (d->chosen & BALLOON_F_MUST_TELL) != 0;
    d->progress = now;
    d->nudge_delay = 0;
    balloon_tracker_set_gather(d->tracker, d->gather);
    if (d->stats.period)
        d->stats.next = now;
}

void balloon_device_reset(balloon_device *d)
{
    balloon_time_t period = d->stats.period;

    balloon_tracker_reset(d->tracker);
    d->driver = false;
    d->gather = device_starts_out(d);
    balloon_tracker_set_gather(d->tracker, d->gather);
    d->chosen = 0;
    d->actual = d->peak = 0;
    d->tell_config = d->tell_pressure = d->pressure = false;
    d->withheld = d->outside = false;
    d->gave_back = d->took = d->descending = d->emptying = d->doubting = false;
    d->lenient_until = 0;
    bl_device_drop_claims(d);
    d->unproved = false;
    d->buffer_first = d->buffer_count = 0;
    d->flush = d->failed = false;
    d->flush_at = BALLOON_TIME_NEVER;
    d->retry_at = d->retry_delay = 0;

    memset(&d->stats, 0, sizeof(d->stats));
    d->stats.period = period;
    d->stats.next = d->stats.deadline = BALLOON_TIME_NEVER;

    d->hint.state = BALLOON_HINTING_OFF;
    d->hint.id = HINT_STOP;
    d->hint.tell = false;

    memset(&d->poison, 0, sizeof(d->poison));
    if (d->binding)
        d->binding->reset(d);
    else
        memset(d->room, 0, sizeof(d->room));
    d->count.resets++;
}

balloon_status balloon_device_set_target(balloon_device *d, uint64_t pages, balloon_time_t now)
{
    if (pages > balloon_tracker_pages(d->tracker) || pages > UINT32_MAX)
        return BALLOON_ERR_RANGE;
    pages &= ~((uint64_t)d->target_align - 1);
    if (pages && d->high_ram)
        return BALLOON_ERR_UNSUPPORTED;
    if (pages == d->target) {
        bl_device_nudge(d, now);
        return BALLOON_OK;
    }
    d->peak = balloon_tracker_held(d->tracker);
    /* What it was asked to take back may still be on its way. */
    if (d->peak > d->target)
        d->lenient_until = time_after(now, SLOW);
    d->target = pages;
    d->descending = d->peak > pages;
    d->pressure = d->tell_pressure = d->doubting = d->emptying = false;
    d->progress = now;
    d->nudge_delay = 0;
    d->tell_config = d->driver;
    return BALLOON_OK;
}

void balloon_device_inhibit(balloon_device *d)
{
    d->inhibited++;
}

balloon_status balloon_device_release(balloon_device *d)
{
    if (!d->inhibited)
        return BALLOON_ERR_STATE;
    d->inhibited--;
    return BALLOON_OK;
}

void balloon_device_status_get(const balloon_device *d, balloon_device_status *status)
{
    memset(status, 0, sizeof(*status));
    status->guest_pages = balloon_tracker_pages(d->tracker);
    status->target = d->target;
    status->actual = d->actual;
    status->held = balloon_tracker_held(d->tracker);
    status->pending = balloon_tracker_pending(d->tracker);
    status->ready = balloon_tracker_ready(d->tracker);
    status->hinted = balloon_tracker_hinted(d->tracker);
    status->returned = balloon_tracker_returned(d->tracker);
    status->offered = d->offered;
    status->negotiated = device_features(d);
    status->inhibited = d->inhibited;
    status->hinting = d->hint.state;
    status->driver = d->driver;
    status->settled = bl_device_arrived(d);
    status->stats_late = d->stats.late;
    status->pressure = d->pressure;
    status->slack = (uint32_t)bl_device_slack(d);
}

bool balloon_device_sample(const balloon_device *d, balloon_sample *sample)
{
    if (d->stats.have_sample)
        *sample = d->stats.sample;
    return d->stats.have_sample;
}

void balloon_device_counters_get(const balloon_device *d, balloon_device_counters *counters)
{
    *counters = d->count;
}

const balloon_tracker *balloon_device_tracker(const balloon_device *d)
{
    return d->tracker;
}
