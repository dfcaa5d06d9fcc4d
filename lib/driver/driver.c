/* The driver's life: memory, RAM, attaching, suspend, reset. */
#include <string.h>

#include "../core/tracker_saved_p.h"
#include "driver_p.h"

#define MOST_CHUNK         (1u << 20)
#define MOST_RUNS          4096u
#define MOST_DEFAULT_CHUNK LARGE_PAGES
#define DEFAULT_RETRY      UINT64_C(200000000)
#define DEFAULT_OOM        UINT64_C(5000000000)
#define DEFAULT_REPORT     UINT64_C(2000000000)
#define DEFAULT_REGIONS    8u
#define MOST_REGIONS       4096u
#define PAGES_END          (UINT64_C(1) << 40)

struct plan {
    balloon_driver_config config;
    balloon_tracker_config tracker;
    balloon_layout tracker_layout;
    uint32_t back_room;
    size_t runs, back, release, tracker_at, bytes;
};

static uint32_t or_default(uint32_t value, uint32_t by_default)
{
    return value ? value : by_default;
}

static bool power_of_two(uint32_t value)
{
    return value && !(value & (value - 1));
}

/* 0, or which of the rules of driver_config.c is broken. */
static unsigned fill_config(const balloon_driver_config *given, balloon_driver_config *c)
{
    uint64_t pages = 0;
    uint32_t most;

    if (!given || !bl_sized(given, sizeof(*given)))
        return 1;
    if (!given->regions != !given->region_count)
        return 2;
    *c = *given;
    for (size_t i = 0; i < c->region_count; i++) {
        if (c->regions[i].count > UINT64_MAX - pages)
            return 3;
        pages += c->regions[i].count;
    }
    if (c->regions)
        c->total_pages = pages;
    if (!c->max_pages)
        c->max_pages = c->total_pages;
    if (!c->max_regions)
        c->max_regions =
            c->region_count > DEFAULT_REGIONS ? (uint32_t)c->region_count : DEFAULT_REGIONS;
    c->page_pages = or_default(c->page_pages, 1);
    most = or_default(c->chunk_pages, MOST_DEFAULT_CHUNK);
    c->chunk_runs = or_default(c->chunk_runs, most < MESSAGE_ENTRIES ? most : MESSAGE_ENTRIES);
    c->block_pages = or_default(c->block_pages, LARGE_PAGES);
    c->report_block = or_default(c->report_block, LARGE_PAGES);
    c->retry_delay = c->retry_delay ? c->retry_delay : DEFAULT_RETRY;
    c->oom_delay = c->oom_delay ? c->oom_delay : DEFAULT_OOM;
    c->report_delay = c->report_delay ? c->report_delay : DEFAULT_REPORT;
    if (!c->total_pages || c->total_pages >= PAGES_END)
        return c->regions ? 3 : 4;
    if (c->region_count > MOST_REGIONS)
        return 14;
    if (c->region_count > c->max_regions)
        return 5;
    if (c->page_pages != 1 && c->page_pages != 4 && c->page_pages != 16)
        return 6;
    if (most < c->page_pages || most > MOST_CHUNK)
        return 7;
    if (c->chunk_runs > MOST_RUNS)
        return 8;
    if (!power_of_two(c->block_pages))
        return 9;
    if (!power_of_two(c->report_block))
        return 10;
    if (c->retry_delay > BALLOON_TIME_NEVER >> 8)
        return 11;
    return c->oom_delay > BALLOON_TIME_NEVER >> 8 ? 12 : 0;
}

static size_t align_up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static unsigned make_plan(const balloon_driver_config *given, struct plan *p)
{
    unsigned fault;

    memset(p, 0, sizeof(*p));
    p->tracker_layout.align = _Alignof(balloon_driver);
    fault = fill_config(given, &p->config);
    if (fault)
        return fault;
    if (p->config.regions) {
        p->tracker.size = sizeof(p->tracker);
        p->tracker.max_pages = p->config.max_pages;
        p->tracker.max_regions = p->config.max_regions;
        if (p->config.max_regions > 4096)
            return 5;
        if (balloon_tracker_layout(&p->tracker, &p->tracker_layout) != BALLOON_OK)
            return 13;
    }
    /* An answer can differ for each entry of a message, and what was to follow comes back with it.
     */
    p->back_room = 1 + p->config.chunk_runs + MESSAGE_ENTRIES;
    p->runs = align_up(sizeof(balloon_driver), _Alignof(balloon_range));
    p->back = p->runs + (p->config.chunk_runs + 1) * sizeof(balloon_range);
    p->release = p->back + p->back_room * sizeof(balloon_range);
    /* Only with a tracker can a host give back on its own. */
    p->tracker_at = p->release + (p->config.regions ? RELEASE_RUNS * sizeof(balloon_range) : 0);
    p->tracker_at = align_up(p->tracker_at, p->tracker_layout.align);
    p->bytes = p->tracker_at + p->tracker_layout.bytes;
    return p->bytes >= p->tracker_at ? 0 : 13;
}

unsigned bl_driver_config_fault(const balloon_driver_config *config)
{
    struct plan p;

    return make_plan(config, &p);
}

balloon_status balloon_driver_layout(const balloon_driver_config *config, balloon_layout *layout)
{
    struct plan p;

    if (!layout || make_plan(config, &p))
        return BALLOON_ERR_INVALID;
    layout->bytes = p.bytes;
    layout->align = p.tracker_layout.align > _Alignof(balloon_driver) ? p.tracker_layout.align
                                                                      : _Alignof(balloon_driver);
    return BALLOON_OK;
}

/* What Linux keeps for itself under Hyper-V. */
static uint64_t default_floor(uint64_t total)
{
    const uint64_t mib = 256;

    if (total < 128 * mib)
        return 8 * mib + total / 2;
    if (total < 512 * mib)
        return 40 * mib + total / 4;
    if (total < 2048 * mib)
        return 104 * mib + total / 8;
    if (total < 8192 * mib)
        return 232 * mib + total / 16;
    return 488 * mib + total / 32;
}

static void set_total(balloon_driver *d, uint64_t pages)
{
    d->total = pages;
    if (d->default_floor)
        d->floor = default_floor(pages);
    if (d->binding && d->binding->resized)
        d->binding->resized(d);
}

balloon_status balloon_driver_init(void *memory, size_t bytes, const balloon_driver_config *config,
                                   balloon_driver **driver)
{
    balloon_driver *d = memory;
    uint8_t *base = memory;
    balloon_status status = BALLOON_OK;
    struct plan p;

    if (!memory || !driver || make_plan(config, &p) ||
        (uintptr_t)memory % _Alignof(balloon_driver) ||
        ((uintptr_t)memory + p.tracker_at) % p.tracker_layout.align)
        return BALLOON_ERR_INVALID;
    if (bytes < p.bytes)
        return BALLOON_ERR_NOSPACE;

    memset(d, 0, sizeof(*d));
    d->runs = (balloon_range *)(void *)(base + p.runs);
    d->back = (balloon_range *)(void *)(base + p.back);
    d->release = (balloon_range *)(void *)(base + p.release);
    d->back_room = p.back_room;
    d->default_floor = !p.config.floor_pages;
    d->floor = p.config.floor_pages == UINT64_MAX ? 0 : p.config.floor_pages;
    set_total(d, p.config.total_pages);
    d->page_pages = p.config.page_pages;
    d->chunk_wanted = p.config.chunk_pages & ~(p.config.page_pages - 1);
    d->chunk_runs = p.config.chunk_runs;
    d->block_pages = p.config.block_pages;
    d->report_block = p.config.report_block > d->page_pages ? p.config.report_block : d->page_pages;
    d->poison = p.config.poison;
    d->poisoned = p.config.poisoned;
    d->deflate_on_oom = p.config.deflate_on_oom;
    d->can_stats = p.config.stats;
    d->can_report = p.config.reporting;
    d->can_hint = p.config.hinting;
    d->retry_delay = p.config.retry_delay;
    d->oom_delay = p.config.oom_delay;
    d->report_delay = p.config.report_delay;
    if (p.config.regions)
        status = balloon_tracker_init(base + p.tracker_at, p.tracker_layout.bytes, &p.tracker,
                                      &d->tracker);
    for (size_t i = 0; status == BALLOON_OK && i < config->region_count; i++)
        status = bl_tracker_add(d->tracker, &config->regions[i], NULL, NULL);
    if (status != BALLOON_OK)
        return BALLOON_ERR_INVALID;
    *driver = d;
    return BALLOON_OK;
}

balloon_status balloon_driver_add_region(balloon_driver *d, const balloon_region *region,
                                         uint32_t *id)
{
    balloon_status status = BALLOON_OK;

    if (!d->tracker && (!region->count || region->count >= PAGES_END - d->total))
        return BALLOON_ERR_INVALID;
    if (d->tracker)
        status = bl_tracker_add(d->tracker, region, NULL, id);
    if (status == BALLOON_OK)
        set_total(d, d->total + region->count);
    return status;
}

balloon_status balloon_driver_declare_out(balloon_driver *d, balloon_range range)
{
    if (bl_driver_back_due(d))
        return BALLOON_ERR_BUSY;
    if (d->tracker ? !bl_driver_usable(d, range)
                   : !range.count || (range.count & (d->page_pages - 1)) ||
                         range.count > d->total - d->listed - d->on_way)
        return BALLOON_ERR_INVALID;
    if (d->tracker)
        bl_driver_track(d, range);
    else
        d->listed += range.count;
    if (d->binding && d->binding->declared)
        d->binding->declared(d, range.count);
    return BALLOON_OK;
}

static bool overlap(const balloon_range *runs, uint32_t count, balloon_range range)
{
    while (count-- > 0)
        if (runs[count].first < range.first + range.count &&
            range.first < runs[count].first + runs[count].count)
            return true;
    return false;
}

static bool lent(const struct driver_loan *loan, balloon_range range)
{
    return (loan->back || (loan->active && loan->phase >= PHASE_SEND)) &&
           overlap(loan->runs, loan->count, range);
}

/* The host or a FREE is still to hear of pages that are not in the balloon. */
static bool named(const balloon_driver *d, balloon_range range)
{
    return lent(&d->report, range) || lent(&d->hint, range) ||
           overlap(d->back, d->back_count, range);
}

balloon_status balloon_driver_remove_region(balloon_driver *d, uint32_t id, uint64_t pages)
{
    balloon_region region = {.count = pages};

    if (d->tracker) {
        if (balloon_tracker_region(d->tracker, id, &region) != BALLOON_OK)
            return BALLOON_ERR_INVALID;
        balloon_range range = {region.first, region.count};
        if (balloon_tracker_count(d->tracker, BALLOON_SET_HELD, range) || named(d, range))
            return BALLOON_ERR_BUSY;
        (void)!balloon_tracker_remove_region(d->tracker, id);
    } else if (!pages || pages > d->total) {
        return BALLOON_ERR_INVALID;
    } else if (d->listed + d->on_way > d->total - pages) {
        return BALLOON_ERR_BUSY;
    }
    set_total(d, d->total - region.count);
    return BALLOON_OK;
}

void bl_driver_attach(balloon_driver *d, const struct driver_binding *binding,
                      const struct driver_traits *traits)
{
    uint32_t start = (traits->chunk_pages / 8) & ~(d->page_pages - 1);

    d->chunk_pages = traits->chunk_pages;
    d->binding = binding;
    d->traits = *traits;
    d->state = BALLOON_DRIVER_ATTACHED;
    d->window = start ? start : d->page_pages;
    memset(d->pause, 0, sizeof(d->pause));
    memset(d->backoff, 0, sizeof(d->backoff));
    d->pick_from = 0;
    d->oom_backoff = 0;
}

/* The kernel was not asked yet. */
static void cancel_ask(struct driver_loan *loan)
{
    loan->active = loan->active && loan->phase != PHASE_ASK;
}

balloon_status balloon_driver_suspend(balloon_driver *d, balloon_time_t now)
{
    (void)now;
    if (d->state == BALLOON_DRIVER_DETACHED)
        return BALLOON_ERR_STATE;
    if (d->state == BALLOON_DRIVER_ATTACHED) {
        d->state = BALLOON_DRIVER_SUSPENDING;
        d->pause[OP_DEFLATE] = 0;
        d->hint_back += d->hinted;
        d->hinted = 0;
        cancel_ask(&d->hint);
        cancel_ask(&d->report);
    }
    return BALLOON_OK;
}

/* A loan that the kernel has given is its own again. */
static void end_loan(struct driver_loan *loan)
{
    loan->back = loan->back || (loan->active && loan->phase >= PHASE_SEND);
    loan->active = false;
}

void bl_driver_drop_all(balloon_driver *d)
{
    /* With a tracker the pages on their way are in it; the kernel's list need not have them. */
    if (d->migrating && d->op == OP_DEFLATE && !d->migrate_second && !d->tracker) {
        d->runs[0] = (balloon_range){d->to, d->page_pages};
        d->run_count = 1;
        d->runs_back = true;
    } else if (d->op == OP_INFLATE && d->phase >= PHASE_SEND && !d->tracker)
        d->runs_back = true;
    else if (!d->runs_back)
        d->run_count = 0;
    d->op = OP_NONE;
    d->migrating = false;
    d->release_count = d->release_at = 0;
    d->zeroed_count = 0;
    d->oom_left = 0;
    d->on_way = 0;
    d->drop_all = d->tracker ? balloon_tracker_held(d->tracker) != 0 : d->listed != 0;
}

void balloon_driver_reset(balloon_driver *d)
{
    if (d->binding)
        d->binding->reset(d);
    d->binding = NULL;
    d->state = BALLOON_DRIVER_DETACHED;
    d->negotiated = 0;
    d->target = 0;
    bl_driver_drop_all(d);
    /* Hints on their way are among those that the kernel keeps. */
    d->hint.active = d->hint.back = false;
    end_loan(&d->report);
    d->hint_back += d->hinted;
    d->hinted = 0;
    d->stats_wanted = d->stats_asked = false;
    d->count.resets++;
}

void balloon_driver_status_get(const balloon_driver *d, balloon_driver_status *status)
{
    memset(status, 0, sizeof(*status));
    status->state = d->state;
    status->total = d->total;
    status->target = d->target;
    status->goal = bl_driver_goal(d);
    status->held = bl_driver_held(d);
    status->on_way_in = d->on_way;
    if (d->op == OP_DEFLATE)
        for (uint32_t i = 0; i < d->run_count; i++)
            status->on_way_out += d->runs[i].count;
    status->hinted = d->hinted + d->hint_back;
    if (d->report.back || (d->report.active && d->report.phase >= PHASE_SEND))
        for (uint32_t i = 0; i < d->report.count; i++)
            status->reporting += d->report.runs[i].count;
    status->window = d->window;
    status->pause_until = d->pause[OP_INFLATE];
    status->negotiated = d->negotiated;
}

void balloon_driver_counters_get(const balloon_driver *d, balloon_driver_counters *counters)
{
    *counters = d->count;
}

const balloon_tracker *balloon_driver_tracker(const balloon_driver *d)
{
    return d->tracker;
}
