#include "guest_sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

static const char *fail(struct guest_sim *sim, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(sim->why, sizeof(sim->why), format, args);
    va_end(args);
    return sim->why;
}

static void *zeros(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        abort();
    return memory;
}

static bool must_tell(const struct guest_sim *sim)
{
    return sim->plan.features & BALLOON_F_MUST_TELL;
}

static balloon_device *make_device(const struct guest_sim *sim, void **memory)
{
    balloon_device_config config = {
        .size = sizeof(config),
        .regions = sim->region,
        .region_count = 2,
        .features = sim->plan.features ? sim->plan.features : BALLOON_F_NONE,
        .run_batch = 3,
        .max_buffers = GUEST_SIM_BUFFERS,
        .gather_pages = 64,
        .gather_delay = 5 * MS,
    };
    return rig_make(&config, memory);
}

static void start_driver(struct guest_sim *sim)
{
    if (sim->plan.features & BALLOON_F_POISON) {
        balloon_status status = balloon_virtio_set_features(
            sim->device, sim->plan.features | BALLOON_VIRTIO_F_VERSION_1);
        if (status != BALLOON_OK)
            abort();
        rig_write_config(sim->device, 12, sim->plan.poison);
    }
    rig_start(sim->device, sim->plan.features, sim->now);
}

/* The guest writes to a page it uses. */
static void write_page(struct guest_sim *sim, uint32_t page)
{
    uint64_t first = page * sim->plan.guest_page;
    for (uint64_t p = first; p < first + sim->plan.guest_page; p++) {
        sim->value[p] = sim->written[p] = ++sim->next_value;
        sim->populated[p / sim->plan.host_granule] = 1;
    }
}

void guest_sim_start(struct guest_sim *sim, const struct guest_sim_plan *plan, struct prng *prng)
{
    memset(sim, 0, sizeof(*sim));
    sim->plan = *plan;
    sim->prng = prng;
    /* Borders of regions at guest pages, but not at host granules where those are larger. */
    uint64_t unit = plan->guest_page;
    uint64_t size = plan->host_granule > unit ? plan->host_granule / unit : 1;
    uint64_t many = size > 16 ? 4 * size : 64;
    uint32_t skip = size > 1 ? (uint32_t)(size / 2 + size % 2) : 1;
    uint32_t first = (uint32_t)many, second = (uint32_t)(many / 2 + 1);
    sim->region[0] = (balloon_region){skip * unit, first * unit, plan->host_granule};
    sim->region[1] = (balloon_region){(2 * skip + first) * unit, second * unit, plan->host_granule};
    sim->pages = 2 * skip + first + second;
    uint64_t small = (sim->pages + size) * unit + plan->host_granule;
    sim->state = zeros(sim->pages, 1);
    sim->value = zeros(small, sizeof(*sim->value));
    sim->written = zeros(small, sizeof(*sim->written));
    sim->populated = zeros(small / plan->host_granule + 1, 1);
    sim->device = make_device(sim, &sim->memory);
    for (uint32_t page = 0; page < sim->pages; page++) {
        if ((page >= skip && page < skip + first) || page >= 2 * skip + first) {
            sim->state[page] = GUEST_OWNED;
            write_page(sim, page);
        }
    }
    start_driver(sim);
}

void guest_sim_end(struct guest_sim *sim)
{
    free(sim->state);
    free(sim->value);
    free(sim->written);
    free(sim->populated);
    free(sim->memory);
}

/* --- what the device asks for ------------------------------------------------------------- */

static bool uses(uint8_t state)
{
    return state == GUEST_OWNED || state == GUEST_STOLEN || state == GUEST_TELLING;
}

/* Discard a part of a run, page by page: no page of it may be one the guest may use. */
static const char *discard(struct guest_sim *sim, balloon_range range)
{
    for (uint64_t p = range.first; p < range.first + range.count; p++) {
        uint8_t state = sim->state[p / sim->plan.guest_page];
        bool fine = state == GUEST_INFLATING || state == GUEST_REPORTING;
        if (must_tell(sim))
            fine = fine || state == GUEST_BALLOON || state == GUEST_DEFLATING;
        if (!fine)
            return fail(sim, "page %#" PRIx64 " was discarded in state %d", p, state);
        if (state == GUEST_REPORTING && (sim->plan.features & BALLOON_F_POISON) && sim->plan.poison)
            return fail(sim, "page %#" PRIx64 " must keep its pattern", p);
        sim->value[p] = 0;
        sim->populated[p / sim->plan.host_granule] = 0;
        sim->discarded++;
        sim->reported += state == GUEST_REPORTING;
    }
    return NULL;
}

static const char *do_discard(struct guest_sim *sim, const balloon_action *action)
{
    if (sim->inhibited)
        return fail(sim, "a discard while inhibited");
    if (!action->run_count || action->run_count > 3)
        return fail(sim, "%u runs in an action", action->run_count);
    balloon_run runs[3];
    memcpy(runs, action->runs, action->run_count * sizeof(*runs));
    for (uint32_t i = 0; i < action->run_count; i++) {
        balloon_run run = runs[i];
        uint64_t mask = sim->plan.host_granule - 1;
        if (run.region > 1 || !run.range.count || (run.range.first & mask) ||
            (run.range.count & mask) || run.range.first < sim->region[run.region].first ||
            run.range.first + run.range.count >
                sim->region[run.region].first + sim->region[run.region].count)
            return fail(sim, "a run of region %u, %#" PRIx64 "+%" PRIu64, run.region,
                        run.range.first, run.range.count);
        balloon_run failed = {.region = run.region};
        if (sim->plan.faults && prng_one_in(sim->prng, 4)) {
            /* As a short return of the system call: some of it done, the rest not. */
            uint64_t done = prng_below(sim->prng, run.range.count / (mask + 1)) * (mask + 1);
            failed.range = (balloon_range){run.range.first + done, run.range.count - done};
            run.range.count = done;
        }
        const char *why = discard(sim, run.range);
        if (why)
            return why;
        if (failed.range.count)
            balloon_device_discard_failed(sim->device, &failed, sim->now);
    }
    return NULL;
}

static const char *do_ack(struct guest_sim *sim, const balloon_action *action)
{
    struct guest_buffer *buffer = NULL;
    for (int i = 0; i < GUEST_SIM_BUFFERS; i++)
        if (sim->buffer[i].used && sim->buffer[i].cookie == action->cookie)
            buffer = &sim->buffer[i];
    if (!buffer)
        return fail(sim, "%" PRIu64 " was acknowledged and is not on the way", action->cookie);
    if (action->used_bytes || (int)action->queue != rig_queue(sim->device, buffer->kind))
        return fail(sim, "%" PRIu64 " came back by queue %u with %u bytes", action->cookie,
                    action->queue, action->used_bytes);
    buffer->used = false;
    for (size_t i = 0; i < buffer->count; i++) {
        uint32_t page = buffer->page[i];
        if (buffer->kind == BALLOON_QUEUE_INFLATE) {
            sim->state[page] = GUEST_BALLOON;
            /* Taken back at once, as a guest may that need not tell. */
            if (!must_tell(sim) && prng_one_in(sim->prng, 3)) {
                sim->state[page] = GUEST_STOLEN;
                write_page(sim, page);
            }
        } else {
            sim->state[page] = GUEST_OWNED;
            write_page(sim, page);
        }
    }
    return NULL;
}

const char *guest_sim_poll(struct guest_sim *sim, size_t most)
{
    balloon_action action;
    const char *why = NULL;
    while (most-- && !why && balloon_device_poll(sim->device, sim->now, &action)) {
        if (action.type == BALLOON_ACTION_DISCARD)
            why = do_discard(sim, &action);
        else if (action.type == BALLOON_ACTION_ACK)
            why = do_ack(sim, &action);
    }
    return why;
}

/* --- what the guest does ------------------------------------------------------------------- */

static struct guest_buffer *free_buffer(struct guest_sim *sim)
{
    for (int i = 0; i < GUEST_SIM_BUFFERS; i++)
        if (!sim->buffer[i].used)
            return &sim->buffer[i];
    return NULL;
}

/* Send guest pages as the PFNs of all their small pages, ascending in each. */
static const char *send_pages(struct guest_sim *sim, struct guest_buffer *buffer,
                              balloon_virtio_queue kind, const uint32_t *pages, size_t count)
{
    size_t unit = (size_t)sim->plan.guest_page, n = 0;
    uint32_t *pfns = zeros(count * unit, sizeof(*pfns));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < unit; j++)
            pfns[n++] = (uint32_t)(pages[i] * unit + j);
    *buffer = (struct guest_buffer){
        .used = true, .kind = kind, .cookie = ++sim->next_cookie, .count = count};
    memcpy(buffer->page, pages, count * sizeof(*pages));
    balloon_status status = rig_send_pfns(sim->device, kind, buffer->cookie, pfns, n, sim->now);
    free(pfns);
    return status == BALLOON_OK ? NULL : fail(sim, "receive gave %d", (int)status);
}

const char *guest_sim_inflate(struct guest_sim *sim, const uint32_t *pages, size_t count)
{
    struct guest_buffer *buffer = free_buffer(sim);
    if (!buffer || count > 512)
        abort();
    for (size_t i = 0; i < count; i++)
        sim->state[pages[i]] = GUEST_INFLATING;
    return send_pages(sim, buffer, BALLOON_QUEUE_INFLATE, pages, count);
}

/* Some pages in one of two states: near each other, in a random order or not. */
static size_t some_pages(struct guest_sim *sim, uint8_t either, uint8_t or, uint32_t *pages)
{
    size_t unit = (size_t)sim->plan.guest_page;
    size_t most = 1 + (size_t)prng_below(sim->prng, unit >= 256 ? 2 : 256 / unit);
    size_t count = 0;
    uint32_t at = (uint32_t)prng_below(sim->prng, sim->pages);
    uint64_t one_in = prng_one_in(sim->prng, 2) ? 1 : 3;
    for (uint32_t i = 0; i < sim->pages && count < most; i++, at = (at + 1) % sim->pages)
        if ((sim->state[at] == either || sim->state[at] == or) && prng_one_in(sim->prng, one_in))
            pages[count++] = at;
    uint64_t order = prng_below(sim->prng, 3);
    for (size_t i = 0; i < count && order; i++) {
        /* Reversed, as Linux sends them, or shuffled. */
        size_t j = order == 1 ? count - 1 - i : (size_t)prng_below(sim->prng, count);
        if (order == 1 && j <= i)
            break;
        uint32_t swap = pages[i];
        pages[i] = pages[j];
        pages[j] = swap;
    }
    return count;
}

static const char *step_inflate(struct guest_sim *sim)
{
    uint32_t pages[512];
    size_t count = free_buffer(sim) ? some_pages(sim, GUEST_OWNED, GUEST_OWNED, pages) : 0;
    return count ? guest_sim_inflate(sim, pages, count) : NULL;
}

static const char *step_deflate(struct guest_sim *sim)
{
    uint32_t pages[512];
    struct guest_buffer *buffer = free_buffer(sim);
    size_t count = buffer ? some_pages(sim, GUEST_BALLOON, GUEST_STOLEN, pages) : 0;
    if (!count)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        bool used = sim->state[pages[i]] == GUEST_STOLEN;
        /* As virtio-win does: free and used again first, then told. */
        if (!must_tell(sim) && prng_one_in(sim->prng, 2)) {
            write_page(sim, pages[i]);
            used = true;
        }
        sim->state[pages[i]] = used ? GUEST_TELLING : GUEST_DEFLATING;
    }
    return send_pages(sim, buffer, BALLOON_QUEUE_DEFLATE, pages, count);
}

/* Report blocks of free memory, each a run of guest pages. */
static const char *step_report(struct guest_sim *sim)
{
    struct guest_buffer *buffer = free_buffer(sim);
    balloon_virtio_span spans[32];
    if (!buffer || !(sim->plan.features & BALLOON_F_REPORTING))
        return NULL;
    *buffer = (struct guest_buffer){.kind = BALLOON_QUEUE_REPORT, .cookie = ++sim->next_cookie};
    size_t blocks = 1 + (size_t)prng_below(sim->prng, 4), n = 0;
    for (size_t i = 0; i < blocks; i++) {
        uint32_t first = (uint32_t)prng_below(sim->prng, sim->pages), length = 0;
        uint32_t most = 1 + (uint32_t)prng_below(sim->prng, 40);
        uint64_t unit = sim->plan.guest_page;
        while (first + length < sim->pages && length < most && buffer->count < 512 &&
               sim->state[first + length] == GUEST_OWNED) {
            sim->state[first + length] = GUEST_REPORTING;
            buffer->page[buffer->count++] = first + length++;
        }
        if (length)
            spans[n++] = (balloon_virtio_span){first * unit * 4096, length * unit * 4096};
    }
    if (!n)
        return NULL;
    buffer->used = true;
    balloon_status status =
        rig_send_spans(sim->device, BALLOON_QUEUE_REPORT, buffer->cookie, spans, n, sim->now);
    return status == BALLOON_OK ? NULL : fail(sim, "a report gave %d", (int)status);
}

static void step_steal(struct guest_sim *sim)
{
    uint32_t page = (uint32_t)prng_below(sim->prng, sim->pages);
    if (uses(sim->state[page])) {
        write_page(sim, page);
    } else if (sim->state[page] == GUEST_BALLOON && !must_tell(sim)) {
        sim->state[page] = GUEST_STOLEN;
        write_page(sim, page);
    }
}

/* The guest starts anew: all memory is its own, whatever was on the way. */
static void step_reset(struct guest_sim *sim)
{
    balloon_device_reset(sim->device);
    memset(sim->buffer, 0, sizeof(sim->buffer));
    for (uint32_t page = 0; page < sim->pages; page++) {
        if (sim->state[page] == GUEST_NONE)
            continue;
        sim->state[page] = GUEST_OWNED;
        write_page(sim, page);
    }
    start_driver(sim);
}

/* --- what the host does -------------------------------------------------------------------- */

static const char *step_move(struct guest_sim *sim)
{
    size_t bytes;
    void *memory, *saved = rig_save(sim->device, sim->now, &bytes);
    balloon_device *device = make_device(sim, &memory);
    sim->now += prng_below(sim->prng, 3) * MS;
    balloon_status status = balloon_device_load(device, sim->now, saved, bytes);
    free(saved);
    free(sim->memory);
    sim->memory = memory;
    sim->device = device;
    for (uint32_t i = 0; i < sim->inhibited; i++)
        balloon_device_inhibit(device);
    return status == BALLOON_OK ? NULL : fail(sim, "load gave %d", (int)status);
}

static const char *check_memory(struct guest_sim *sim)
{
    for (uint32_t page = 0; page < sim->pages; page++) {
        uint64_t first = page * sim->plan.guest_page;
        for (uint64_t p = first; p < first + sim->plan.guest_page && uses(sim->state[page]); p++)
            if (sim->value[p] != sim->written[p])
                return fail(sim, "page %#" PRIx64 " in state %d lost what was written", p,
                            sim->state[page]);
    }
    const char *why = NULL;
    return balloon_device_check(sim->device, &why) ? NULL : fail(sim, "check: %s", why);
}

const char *guest_sim_step(struct guest_sim *sim)
{
    uint64_t op = prng_below(sim->prng, 100);
    sim->now += prng_below(sim->prng, 4) ? 0 : prng_below(sim->prng, 3 * MS);
    if (op < 25)
        return step_inflate(sim);
    if (op < 40)
        return step_deflate(sim);
    if (op < 50)
        return step_report(sim);
    if (op < 60) {
        step_steal(sim);
        return NULL;
    }
    if (op < 75)
        return guest_sim_poll(sim, SIZE_MAX);
    if (op < 90)
        return guest_sim_poll(sim, 1 + (size_t)prng_below(sim->prng, 3));
    if (op < 93) {
        if (sim->inhibited && balloon_device_release(sim->device) != BALLOON_OK)
            return fail(sim, "release failed");
        sim->inhibited -= sim->inhibited > 0;
    } else if (op < 94 && sim->inhibited < 2) {
        balloon_device_inhibit(sim->device);
        sim->inhibited++;
    } else if (op < 95) {
        balloon_device_flush(sim->device);
    } else if (op < 96 && prng_one_in(sim->prng, 4)) {
        step_reset(sim);
    } else if (op < 97 && sim->plan.moves) {
        return step_move(sim);
    } else if (op < 98) {
        return check_memory(sim);
    }
    return NULL;
}

const char *guest_sim_finish(struct guest_sim *sim)
{
    sim->plan.faults = false;
    for (; sim->inhibited; sim->inhibited--)
        if (balloon_device_release(sim->device) != BALLOON_OK)
            return fail(sim, "release failed");
    /* The longest that a failed discard may wait. */
    for (int i = 0; i < 2; i++) {
        const char *why = guest_sim_poll(sim, SIZE_MAX);
        if (why)
            return why;
        sim->now += 20000 * MS;
    }
    for (int i = 0; i < GUEST_SIM_BUFFERS; i++)
        if (sim->buffer[i].used)
            return fail(sim, "%" PRIu64 " was never acknowledged", sim->buffer[i].cookie);
    const char *why = check_memory(sim);
    /* With the promise to wait, every granule of which no page is in use is given back. */
    for (int i = 0; i < 2 && must_tell(sim) && !why; i++) {
        uint64_t size = sim->plan.host_granule, end = sim->region[i].first + sim->region[i].count;
        uint64_t g = (sim->region[i].first + size - 1) / size;
        for (; (g + 1) * size <= end && !why; g++) {
            bool held = true;
            for (uint64_t p = g * size; p < (g + 1) * size; p++)
                held = held && sim->state[p / sim->plan.guest_page] == GUEST_BALLOON;
            if (held && sim->populated[g])
                why = fail(sim, "granule %#" PRIx64 " is wholly held and was not given back",
                           g * size);
        }
    }
    return why;
}
