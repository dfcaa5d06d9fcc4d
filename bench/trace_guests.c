#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace_guests.h"

#define PART_MS     UINT64_C(1000000000)
#define LAST_ROW_MS 60000 /* how long the only row of a file lasts */
#define RAM_LEAST   (16 * BALLOON_SIM_MIB)
#define POOL_LEAST  (4 * BALLOON_SIM_MIB)
#define POOL_MOST   (UINT64_C(1) << 40)

static uint64_t pages_of(double mib)
{
    uint64_t pages = (uint64_t)(mib * (double)BALLOON_SIM_MIB + 0.5);

    return pages ? pages : 1;
}

static uint64_t whole_mib(uint64_t pages)
{
    return (pages + BALLOON_SIM_MIB - 1) / BALLOON_SIM_MIB * BALLOON_SIM_MIB;
}

static uint64_t reserve_of(uint64_t pool)
{
    return pool / 16;
}

static uint64_t min_of(uint64_t ram)
{
    return ram / 8;
}

/* --- facts -------------------------------------------------------------------------------------
 */

/* When a row ends: the last one lasts as long as the one before. */
static uint64_t row_end(const struct csv_demand *d, size_t row)
{
    if (row + 1 < d->rows)
        return d->time_ms[row + 1];
    return d->time_ms[row] + (row ? d->time_ms[row] - d->time_ms[row - 1] : LAST_ROW_MS);
}

static void add_guest(struct trace *t, size_t column)
{
    const struct csv_demand *d = &t->demand;
    struct trace_guest g = {.column = column, .first = SIZE_MAX};
    double peak = 0;

    for (size_t row = 0; row < d->rows; row++) {
        double mib = d->mib[row * d->columns + column];

        if (isnan(mib))
            continue;
        g.first = g.first == SIZE_MAX ? row : g.first;
        g.last = row;
        peak = mib > peak ? mib : peak;
    }
    if (g.first == SIZE_MAX)
        return;
    g.ram = pages_of(isnan(d->capacity[column]) ? peak * 1.25 : fmax(d->capacity[column], peak));
    g.raised = d->capacity[column] < peak;
    t->raised += g.raised;
    g.ram = whole_mib(g.ram > RAM_LEAST ? g.ram : RAM_LEAST);
    t->ram += g.ram;
    t->guests[t->guest_count++] = g;
}

static bool add_up(struct trace *t)
{
    const struct csv_demand *d = &t->demand;
    double *last = calloc(t->guest_count, sizeof(*last)), sum = 0;

    if (!last)
        return false;
    for (size_t row = 0; row < d->rows; row++) {
        double now = 0;

        for (uint32_t i = 0; i < t->guest_count; i++) {
            const struct trace_guest *g = &t->guests[i];
            double mib = d->mib[row * d->columns + g->column];

            last[i] = isnan(mib) ? last[i] : mib;
            now += row >= g->first && row <= g->last ? last[i] : 0;
        }
        if (pages_of(now) > t->peak)
            t->peak = pages_of(now);
        sum += now * (double)(row_end(d, row) - d->time_ms[row]);
    }
    t->duration_ms = row_end(d, d->rows - 1);
    t->mean = pages_of(sum / (double)t->duration_ms);
    free(last);
    return true;
}

static bool cut(struct trace *t)
{
    const struct csv_demand *d = &t->demand;
    uint64_t begin = 0;

    t->part_rows = calloc((size_t)(t->duration_ms / (PART_MS / 2)) + 3, sizeof(*t->part_rows));
    if (!t->part_rows)
        return false;
    for (size_t row = 0; row < d->rows; row++) {
        if (row_end(d, row) - begin > PART_MS) {
            t->part_rows[++t->parts] = row;
            begin = d->time_ms[row];
        }
    }
    t->part_rows[++t->parts] = d->rows;
    return true;
}

static bool choose_pool(struct trace *t, const char *path, uint64_t pool_mib,
                        struct csv_error *error)
{
    uint64_t least = 0, room;

    for (uint32_t i = 0; i < t->guest_count; i++)
        least += min_of(t->guests[i].ram);
    room = whole_mib(least / 15 * 16 + 16);
    room = room > POOL_LEAST ? room : POOL_LEAST;
    t->pool = pool_mib * BALLOON_SIM_MIB;
    if (!pool_mib) {
        t->pool = whole_mib(t->peak / 100 * 85);
        t->pool = t->pool > room ? t->pool : room;
    }
    if (t->pool > POOL_MOST) {
        snprintf(error->text, sizeof(error->text), "%.200s: more than 4 PiB are needed", path);
        return false;
    }
    if (t->pool >= room)
        return true;
    snprintf(error->text, sizeof(error->text),
             "a pool of %llu MiB is too small for %.160s: its guests need %llu at least",
             (unsigned long long)pool_mib, path, (unsigned long long)(room / BALLOON_SIM_MIB));
    return false;
}

bool trace_load(struct trace *t, const char *path, const char *curves_path,
                const struct csv_form *form, uint64_t pool_mib, struct csv_error *error)
{
    *t = (struct trace){0};
    if (!csv_demand_read(path, form, &t->demand, error))
        return false;
    t->guests = calloc(t->demand.columns, sizeof(*t->guests));
    for (size_t i = 0; t->guests && i < t->demand.columns; i++)
        add_guest(t, i);
    if (t->guests && !t->guest_count)
        snprintf(error->text, sizeof(error->text), "%.200s: no samples", path);
    else if (!t->guests || !add_up(t) || !cut(t))
        snprintf(error->text, sizeof(error->text), "%.200s: not enough memory", path);
    else if (choose_pool(t, path, pool_mib, error) &&
             (!curves_path || csv_curves_read(curves_path, &t->curves, error)))
        return true;
    trace_free(t);
    return false;
}

void trace_free(struct trace *t)
{
    csv_demand_free(&t->demand);
    csv_curves_free(&t->curves);
    free(t->guests);
    free(t->part_rows);
    *t = (struct trace){0};
}

/* --- curves ------------------------------------------------------------------------------------
 */

/* The shape of a measured curve: from about a 16th of the footprint on, since below that nothing
 * runs, at most as many points as there may be. */
static uint32_t shape(const struct csv_point *p, size_t count, balloon_curve_point *to)
{
    double footprint = p[count - 1].mib;
    size_t first = 0, step;
    uint32_t n = 0;

    while (first + 1 < count && p[first].mib < footprint / 17)
        first++;
    step = (count - first - 1) / (BALLOON_CURVE_POINTS_MAX - 1) + 1;
    /* Counted from the end, which must be among them. */
    for (size_t i = first + (count - 1 - first) % step; i < count; i += step) {
        balloon_curve_point point = {(uint64_t)(p[i].mib / footprint * 65536 + 0.5), 0};

        if (p[first].misses > 0)
            point.misses = (uint64_t)(fmin(p[i].misses / p[first].misses, 1) * 65536 + 0.5);
        if (n && point.pages <= to[n - 1].pages)
            n--;
        if (n && point.misses > to[n - 1].misses)
            point.misses = to[n - 1].misses;
        to[n++] = point;
    }
    return n;
}

/* (1 - x)^3 */
static uint32_t convex(balloon_curve_point *to)
{
    for (uint32_t i = 0; i <= 16; i++)
        to[i] = (balloon_curve_point){i * 4096, (uint64_t)(16 - i) * (16 - i) * (16 - i) * 16};
    return 17;
}

/* --- scenarios ---------------------------------------------------------------------------------
 */

/* All that a scenario points at, in one piece of memory. */
struct building {
    balloon_scenario scenario;
    balloon_curve *curves;
    balloon_curve_point (*points)[BALLOON_CURVE_POINTS_MAX];
    balloon_sim_guest *guests;
    balloon_sim_phase *phases;
};

static struct building *lay_out(const struct trace *t, size_t rows)
{
    size_t curves = t->curves.count ? t->curves.count : 1;
    size_t phases = rows * t->guest_count;
    char *memory = calloc(1, sizeof(struct building) + t->guest_count * sizeof(balloon_sim_guest) +
                                 phases * sizeof(balloon_sim_phase) +
                                 curves * (sizeof(balloon_curve) +
                                           BALLOON_CURVE_POINTS_MAX * sizeof(balloon_curve_point)));
    struct building *b = (struct building *)(void *)memory;

    if (!b)
        return NULL;
    memory += sizeof(*b);
    /* What holds 64 bits first. */
    b->points = (balloon_curve_point(*)[BALLOON_CURVE_POINTS_MAX])(void *)memory;
    memory += curves * sizeof(*b->points);
    b->guests = (balloon_sim_guest *)(void *)memory;
    memory += t->guest_count * sizeof(*b->guests);
    b->phases = (balloon_sim_phase *)(void *)memory;
    memory += phases * sizeof(*b->phases);
    b->curves = (balloon_curve *)(void *)memory;
    b->scenario.curves = b->curves;
    b->scenario.curve_count = (uint32_t)curves;
    b->scenario.guests = b->guests;
    b->scenario.guest_count = t->guest_count;
    return b;
}

static void fill_curves(const struct trace *t, struct building *b)
{
    for (uint32_t i = 0; i < b->scenario.curve_count; i++) {
        balloon_curve *to = &b->curves[i];

        to->points = b->points[i];
        if (t->curves.count) {
            const struct csv_curve *c = &t->curves.curves[i];

            to->count = shape(&t->curves.points[c->first], c->count, b->points[i]);
        } else {
            to->count = convex(b->points[i]);
        }
    }
}

/* Guests as the built-in scenario draws them, with one phase each that says what they are like. */
static const balloon_scenario *draw_guests(const struct trace *t, uint64_t seed, void **memory)
{
    uint64_t *pages = malloc(t->guest_count * sizeof(*pages));
    balloon_scenario_trace trace = {
        .pages = pages, .rows = 1, .columns = t->guest_count, .row_ms = 1000};
    balloon_scenario_options o = {.size = sizeof(o), .number = 20, .seed = seed, .trace = &trace};
    const balloon_scenario *drawn = NULL;
    balloon_layout layout;

    for (uint32_t i = 0; pages && i < t->guest_count; i++)
        pages[i] = t->guests[i].ram;
    if (!pages || balloon_scenario_layout(&o, &layout) != BALLOON_OK ||
        (*memory = malloc(layout.bytes)) == NULL ||
        balloon_scenario_build(*memory, layout.bytes, &o, &drawn) != BALLOON_OK)
        drawn = NULL;
    free(pages);
    return drawn;
}

/* The drawn phase with another curve, and as many misses at half of the working set. */
static balloon_sim_phase like(const balloon_scenario *drawn, const balloon_sim_phase *p,
                              const struct building *b, uint32_t curve)
{
    const uint64_t half = BALLOON_SIM_ONE / 2, most = UINT64_C(10000000000);
    uint64_t had = balloon_curve_at(&drawn->curves[p->curve], half);
    uint64_t has = balloon_curve_at(&b->curves[curve], half);
    balloon_sim_phase to = *p;

    to.curve = curve;
    if (has) {
        double misses = (double)p->misses * (double)had / (double)has;

        to.misses = misses < (double)most ? (uint64_t)misses : most;
    }
    return to;
}

/* The phases of a guest between two rows. Returns where the next guest's phases may begin. */
static balloon_sim_phase *fill_phases(const struct trace *t, const struct trace_guest *g,
                                      size_t row, size_t end, const balloon_sim_phase *model,
                                      balloon_sim_guest *guest, balloon_sim_phase *to)
{
    const struct csv_demand *d = &t->demand;
    uint64_t begin = d->time_ms[row], pages = 1;
    /* A gap at the beginning of a part: what was last seen before it. */
    size_t at = row;

    while (at > g->first && isnan(d->mib[at * d->columns + g->column]))
        at--;
    guest->phases = to;
    for (at = at < g->first ? g->first : at; at < end && at <= g->last; at++) {
        double mib = d->mib[at * d->columns + g->column];

        if (isnan(mib) || (guest->phase_count && pages_of(mib) == pages))
            continue;
        pages = pages_of(mib);
        *to = *model;
        to->pages = pages;
        to->at_ms = guest->phase_count ? d->time_ms[at] - begin : 0;
        to++;
        guest->phase_count++;
    }
    if (!guest->phase_count) { /* not there in this part */
        *to++ = *model;
        guest->phase_count = 1;
    }
    return to;
}

static void fill_guests(const struct trace *t, size_t part, const balloon_scenario *drawn,
                        struct building *b)
{
    const struct csv_demand *d = &t->demand;
    size_t row = t->part_rows[part], end = t->part_rows[part + 1];
    balloon_sim_phase *phase = b->phases;

    for (uint32_t i = 0; i < t->guest_count; i++) {
        const struct trace_guest *from = &t->guests[i];
        balloon_sim_phase model =
            like(drawn, drawn->guests[i].phases, b, i % b->scenario.curve_count);
        balloon_sim_guest *g = &b->guests[i];

        *g = drawn->guests[i];
        g->max = g->swap = from->ram;
        g->min = g->floor = min_of(from->ram);
        g->phase_count = 0;
        phase = fill_phases(t, from, row, end, &model, g, phase);
        if (from->first >= end || from->last < row)
            g->arrive_ms = BALLOON_SIM_NEVER;
        else if (from->first > row)
            g->arrive_ms = d->time_ms[from->first] - d->time_ms[row];
        if (from->last >= row && from->last + 1 < end)
            g->depart_ms = d->time_ms[from->last + 1] - d->time_ms[row];
    }
}

static uint64_t within(const balloon_sim_guest *g, uint64_t size)
{
    return size < g->min ? g->min : size < g->max ? size : g->max;
}

/* The greatest size that guests can all have, within their limits, with so much memory. late: those
 * too that come later. */
static uint64_t equal_size(const balloon_scenario *s, uint64_t pages, bool late)
{
    uint64_t low = 0, high = UINT64_C(1) << 34;

    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2, sum = 0;

        for (uint32_t i = 0; i < s->guest_count; i++) {
            if (late ? s->guests[i].arrive_ms != BALLOON_SIM_NEVER : !s->guests[i].arrive_ms)
                sum += within(&s->guests[i], middle);
        }
        *(sum <= pages ? &low : &high) = middle;
    }
    return low;
}

/* All begin with the same size. That of late ones fits even when all are there, whatever the others
 * have until then, since a pool sets aside what it can take from them. */
static void share_out(struct building *b)
{
    const balloon_scenario *s = &b->scenario;
    uint64_t size = equal_size(s, s->pages - s->reserve / 2, false);
    uint64_t late = equal_size(s, s->pages - s->reserve, true);

    for (uint32_t i = 0; i < s->guest_count; i++)
        b->guests[i].start = within(&b->guests[i], b->guests[i].arrive_ms ? late : size);
}

const balloon_scenario *trace_build(const void *trace_part, uint64_t seed, void **memory)
{
    const struct trace_part *which = trace_part;
    const struct trace *t = which->trace;
    size_t row = t->part_rows[which->part], end = t->part_rows[which->part + 1];
    struct building *b = lay_out(t, end - row);
    void *drawn_memory = NULL;
    const balloon_scenario *drawn = b ? draw_guests(t, seed, &drawn_memory) : NULL;

    if (drawn) {
        b->scenario.name = drawn->name;
        b->scenario.text = drawn->text;
        b->scenario.pages = t->pool;
        b->scenario.reserve = reserve_of(t->pool);
        b->scenario.duration_ms = row_end(&t->demand, end - 1) - t->demand.time_ms[row];
        fill_curves(t, b);
        fill_guests(t, which->part, drawn, b);
        share_out(b);
    }
    free(drawn_memory);
    if (!drawn) {
        free(b);
        return NULL;
    }
    *memory = b;
    return &b->scenario;
}
