/* The built-in scenarios: what each of them is about. */
#include "scenario_p.h"

/* Equal guests whose one phase wants three quarters of their RAM. */
static void steady(struct bl_maker *m)
{
    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 4 * BALLOON_SIM_GIB);
        balloon_sim_phase *p = bl_make_phase(m, g, 0, bl_percent(g->max, 75), BL_CURVE_CUBE);

        p->misses = m->guests[0].phases->misses;
        p->file = 400;
    }
    bl_make_pool(m, 150);
}

static void shares(struct bl_maker *m)
{
    steady(m);
    for (uint32_t i = 0; i < m->scenario->guest_count; i++)
        m->guests[i].shares = 250u << i % 4;
}

/* Guests with a steady need, one phase each. */
static void steady_crowd(struct bl_maker *m, uint32_t low, uint32_t high)
{
    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 0);
        uint64_t pages = bl_percent(g->max, bl_draw(m, low, high));

        bl_make_phase(m, g, 0, pages, bl_draw_curve(m, BL_CURVE_GENTLE, BL_CURVE_QUERIES));
    }
}

/* Phases of a guest must follow each other, so the one that jumps is drawn last. */
static void step(struct bl_maker *m)
{
    uint32_t last = m->scenario->guest_count - 1;
    balloon_sim_guest *g;
    uint64_t pages;

    m->scenario->step_ms = 600 * SECOND;
    for (uint32_t i = 0; i < last; i++) {
        g = bl_make_guest(m, i, 4 * BALLOON_SIM_GIB);
        pages = bl_percent(g->max, bl_draw(m, 40, 70));
        bl_make_phase(m, g, 0, pages, bl_draw_curve(m, BL_CURVE_SQUARE, BL_CURVE_STEEP));
    }
    g = bl_make_guest(m, last, 8 * BALLOON_SIM_GIB);
    bl_make_phase(m, g, 0, bl_percent(g->max, 20), BL_CURVE_CUBE);
    bl_make_phase(m, g, m->scenario->step_ms, bl_percent(g->max, 90), BL_CURVE_CUBE);
    bl_make_pool(m, 160);
}

static void steps(struct bl_maker *m)
{
    uint32_t count = m->scenario->guest_count;

    for (uint32_t i = 0; i < count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 0);
        uint32_t curve = bl_draw_curve(m, BL_CURVE_GENTLE, BL_CURVE_QUERIES);
        uint64_t at = bl_div((i + 1) * (m->scenario->duration_ms - 600 * SECOND), count + 1);

        bl_make_phase(m, g, 0, bl_percent(g->max, 30), curve);
        bl_make_phase(m, g, at, bl_percent(g->max, 100), curve);
        bl_make_phase(m, g, at + 600 * SECOND, bl_percent(g->max, 30), curve);
    }
}

/* Overcommitted by two, guests that want three quarters of their RAM want 1.5 times the pool. */
static void surge(struct bl_maker *m)
{
    m->scenario->step_ms = 600 * SECOND;
    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 0);
        uint32_t curve = bl_draw_curve(m, BL_CURVE_GENTLE, BL_CURVE_QUERIES);

        bl_make_phase(m, g, 0, bl_percent(g->max, 30), curve);
        bl_make_phase(m, g, m->scenario->step_ms, bl_percent(g->max, 75), curve);
    }
    bl_make_pool(m, 200);
}

static void square(struct bl_maker *m)
{
    static const uint8_t periods[] = {2, 4, 6, 10, 15, 20, 30, 45, 60, 80, 100, 120};

    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 0);
        uint64_t period = m->options->period_ms;
        uint32_t curve = bl_draw_curve(m, BL_CURVE_GENTLE, BL_CURVE_STEEPEST);

        if (!period)
            period = periods[bl_draw(m, 0, sizeof(periods) - 1)] * SECOND;
        /* Every second guest the other way round. */
        bl_make_phase(m, g, 0, bl_percent(g->max, i % 2 ? 90 : 30), curve);
        bl_make_phase(m, g, period / 2, bl_percent(g->max, i % 2 ? 30 : 90), curve);
        g->repeat_ms = period;
    }
}

static void leak(struct bl_maker *m)
{
    uint32_t last = m->scenario->guest_count - 1;
    uint64_t pages;
    balloon_sim_guest *g;

    for (uint32_t i = 0; i < last; i++)
        bl_make_phases(m, bl_make_guest(m, i, 0), 20, 70);
    g = bl_make_guest(m, last, 8 * BALLOON_SIM_GIB);
    pages = bl_percent(g->max, 20);
    for (uint32_t i = 0; i < 60; i++) {
        balloon_sim_phase *p = bl_make_phase(m, g, i * 30 * SECOND, pages, BL_CURVE_CUBE);

        p->misses = g->phases->misses;
        p->file = 300;
        p->cold = bl_div((g->max - pages) * i, 59);
    }
}

static void stream(struct bl_maker *m)
{
    uint32_t last = m->scenario->guest_count - 1;
    balloon_sim_guest *g;
    balloon_sim_phase *p;

    bl_make_crowd(m, 0, last - 1);
    g = bl_make_guest(m, last, 4 * BALLOON_SIM_GIB);
    bl_make_phase(m, g, 0, bl_percent(g->max, 20), BL_CURVE_CUBE);
    p = bl_make_phase(m, g, 300 * SECOND, 2 * g->max, BL_CURVE_STREAM);
    p->misses = 1000000;
    p->file = 1000;
    p->flags = BALLOON_SIM_STREAM;
}

static void cliffs(struct bl_maker *m)
{
    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 0);
        uint64_t at = 0;

        while (at < m->scenario->duration_ms) {
            uint64_t pages = bl_percent(g->max, bl_draw(m, 30, 100));

            bl_make_phase(m, g, at, pages, bl_draw_curve(m, BL_CURVE_LOOP, BL_CURVE_TWO_LOOPS));
            at += bl_draw(m, 120, 600) * SECOND;
        }
    }
}

static void storm(struct bl_maker *m)
{
    uint32_t count = m->scenario->guest_count;

    bl_make_crowd(m, 0, count - 1);
    for (uint32_t i = 0; i < count; i++) {
        balloon_sim_guest *g = &m->guests[i];

        g->boot_ms = bl_draw(m, 10, 60) * SECOND;
        if (i >= count / 2) {
            g->arrive_ms = 300 * SECOND + bl_draw(m, 0, 300) * SECOND;
            g->start = bl_draw(m, 0, 1) ? g->max : g->max / 2;
        }
        if (i % 3 == 0)
            g->depart_ms = bl_draw(m, 1200, 3000) * SECOND;
    }
}

static void balloons(struct bl_maker *m)
{
    bl_make_crowd(m, 0, m->scenario->guest_count - 1);
    m->guests[1].manner = BALLOON_SIM_SLOW;
    m->guests[2].manner = BALLOON_SIM_HALF;
    m->guests[3].manner = BALLOON_SIM_THIEF;
    m->guests[3].flags |= BALLOON_SIM_DEFLATES_ON_OOM;
    bl_make_event(m, 300 * SECOND, BALLOON_SIM_MANNER, 0, BALLOON_SIM_STUCK);
}

static void statistics(struct bl_maker *m)
{
    static const uint8_t forgeries[] = {BALLOON_SIM_FORGES_FREE, BALLOON_SIM_FORGES_STALL,
                                        BALLOON_SIM_SILENT,      BALLOON_SIM_FROZEN,
                                        BALLOON_SIM_RESETS,      BALLOON_SIM_NOISE,
                                        BALLOON_SIM_FORGES_NEED};

    bl_make_crowd(m, 0, m->scenario->guest_count - 1);
    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = &m->guests[i];

        /* Half of them are honest. */
        if (i % 2 == 0 && i / 2 < sizeof(forgeries))
            g->forgery = forgeries[i / 2];
        if (i % 4 == 3) {
            g->loss = 300;
            g->age_ms = 5000;
            g->jitter_ms = 2000;
        }
    }
}

/* 95 % of what the pool can promise as minimums. */
static void minimums(struct bl_maker *m)
{
    uint64_t pages, ram = 0;

    bl_make_crowd(m, 0, m->scenario->guest_count - 1);
    bl_make_pool(m, 150);
    pages = bl_percent(m->scenario->pages - (m->scenario->pages >> 4), 95);
    for (uint32_t i = 0; i < m->scenario->guest_count; i++)
        ram += m->guests[i].max;
    for (uint32_t i = 0; i < m->scenario->guest_count; i++)
        m->guests[i].min = bl_mul_div(pages, m->guests[i].max, ram);
}

static void giant(struct bl_maker *m)
{
    uint32_t last = m->scenario->guest_count - 1;
    balloon_sim_guest *g;

    for (uint32_t i = 0; i < last; i++) {
        g = bl_make_guest(m, i, BALLOON_SIM_GIB);
        g->shares = 10;
        g->weight = 1000;
        bl_make_phases(m, g, 20, 100);
    }
    g = bl_make_guest(m, last, 1000 * BALLOON_SIM_GIB);
    g->shares = 10000;
    g->weight = 1000;
    g->inflate = 2048 * BALLOON_SIM_MIB;
    g->deflate = 8192 * BALLOON_SIM_MIB;
    g->cache = 512 * BALLOON_SIM_MIB;
    bl_make_phases(m, g, 20, 100);
    bl_make_pool(m, 130);
}

static void crowd(struct bl_maker *m)
{
    bl_make_crowd(m, 0, m->scenario->guest_count - 1);
}

/* Two thirds of the pool are left, step by step, and come back at once. */
static void host(struct bl_maker *m)
{
    steady_crowd(m, 30, 80);
    bl_make_pool(m, 130);
    for (uint32_t i = 1; i <= 20; i++)
        bl_make_event(m, (600 + 15 * i) * SECOND, BALLOON_SIM_POOL, 0,
                      m->scenario->pages - bl_div(m->scenario->pages * i, 60));
    bl_make_event(m, 1500 * SECOND, BALLOON_SIM_POOL, 0, m->scenario->pages);
}

static void migration(struct bl_maker *m)
{
    uint32_t count = m->scenario->guest_count;

    bl_make_crowd(m, 0, count - 1);
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t at = (300 + 400 * i) * SECOND;
        uint32_t guest = (uint32_t)bl_draw(m, 0, count - 1);

        bl_make_event(m, at, BALLOON_SIM_PIN, guest, 1);
        bl_make_event(m, at + bl_draw(m, 60, 300) * SECOND, BALLOON_SIM_PIN, guest, 0);
    }
}

static void hoarders(struct bl_maker *m)
{
    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 4 * BALLOON_SIM_GIB);
        balloon_sim_phase *p =
            bl_make_phase(m, g, 0, bl_percent(g->max, i % 2 ? 95 : 10), BL_CURVE_CUBE);

        if (i % 2)
            p->misses = bl_sim_most(p->misses, 8000000);
        else
            p->cold = bl_percent(g->max, 85);
    }
    bl_make_pool(m, 170);
}

/* Three days of 20 minutes, of which each guest has its own noon. */
static void days(struct bl_maker *m)
{
    /* Half a sine, in percent. */
    static const uint8_t light[] = {0,   16, 31, 45, 59, 71, 81, 89, 95, 99,
                                    100, 99, 95, 89, 81, 71, 59, 45, 31, 16};

    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 0);
        uint32_t curve = bl_draw_curve(m, BL_CURVE_GENTLE, BL_CURVE_QUERIES);
        uint32_t noon = (uint32_t)bl_draw(m, 0, sizeof(light) - 1);
        uint64_t height = bl_draw(m, 40, 80);

        for (uint32_t k = 0; k < sizeof(light); k++) {
            uint64_t now = light[(k + noon) % (uint32_t)sizeof(light)];
            balloon_sim_phase *p = bl_make_phase(
                m, g, k * 60 * SECOND, bl_percent(g->max, 20 + bl_div(height * now, 100)), curve);

            p->misses = g->phases->misses;
            p->file = g->phases->file;
        }
        g->repeat_ms = sizeof(light) * 60 * SECOND;
    }
}

/* A sample of a trace, within what a guest can need; 0 for none. */
static uint64_t demand(const balloon_scenario_trace *t, uint32_t row, uint32_t column)
{
    uint64_t pages = t->pages[(size_t)row * t->columns + column];

    return pages == UINT64_MAX ? 0 : bl_sim_most(1, bl_sim_least(pages, (uint64_t)1 << 32));
}

/* RAM is a quarter more than the most that was seen. */
static void trace(struct bl_maker *m)
{
    const balloon_scenario_trace *t = m->options->trace;

    for (uint32_t i = 0; i < t->columns; i++) {
        uint64_t peak = 16 * BALLOON_SIM_MIB, last = 1;
        balloon_sim_guest *g;
        uint32_t curve;

        for (uint32_t k = 0; k < t->rows; k++)
            peak = bl_sim_most(peak, demand(t, k, i));
        g = bl_make_guest(m, i, peak + peak / 4);
        curve = bl_draw_curve(m, BL_CURVE_GENTLE, BL_CURVE_QUERIES);
        for (uint32_t k = 0; k < t->rows; k++) {
            uint64_t pages = demand(t, k, i);
            balloon_sim_phase *p;

            /* A gap, or no change: the last phase goes on. */
            if (k && (!pages || pages == last))
                continue;
            last = bl_sim_most(pages, 1);
            p = bl_make_phase(m, g, k * t->row_ms, last, curve);
            p->misses = g->phases->misses;
            p->file = g->phases->file;
        }
    }
}

/* Three guests of 384 MiB under QEMU, and a hog that is in one of them after the other, as they
 * were recorded. Each has 16 MiB that a worker uses, 62 of its kernel and 7 that this keeps free,
 * and at first 64 of files that were read once. The hog touches 250 MiB over and over, 100 a second
 * if nothing holds it up; what is missing comes from a disk in clusters of eight pages, and
 * balloons inflate as fast as processors do that are not the guest's alone. */
static void hog(struct bl_maker *m)
{
    const uint64_t stays = 85 * BALLOON_SIM_MIB, files = 64 * BALLOON_SIM_MIB;
    const balloon_sim_phase quiet = {.at_ms = SECOND, .pages = stays, .curve = BL_CURVE_ROUND};

    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = bl_make_guest(m, i, 384 * BALLOON_SIM_MIB);

        g->min = g->floor = 64 * BALLOON_SIM_MIB;
        g->cache = 0;
        g->age_ms = g->noise = 0;
        g->jitter_ms = 200;
        g->miss_us = 500;
        g->inflate = 25 * BALLOON_SIM_MIB;
        m->phase[0] = m->phase[1] = m->phase[3] = quiet;
        m->phase[0].at_ms = 0;
        m->phase[0].pages += files;
        m->phase[0].file = 1000;
        m->phase[2] = (balloon_sim_phase){.at_ms = (2 + 40 * i) * SECOND,
                                          .pages = stays + 250 * BALLOON_SIM_MIB,
                                          .misses = 25600 / 8 * 1000,
                                          .curve = BL_CURVE_ROUND,
                                          .grow = 25600};
        m->phase[3].at_ms = (42 + 40 * i) * SECOND;
        m->phase += g->phase_count = 4;
    }
    m->scenario->duration_ms = (2 + 40 * m->scenario->guest_count) * SECOND;
    m->scenario->pages = bl_div(640 * BALLOON_SIM_MIB * m->scenario->guest_count, 3);
}

bl_scenario_fill *const bl_scenario_fills[BALLOON_SCENARIOS] = {
    steady,     shares,   step,  steps, surge, square,    leak,     stream, cliffs, storm, balloons,
    statistics, minimums, giant, crowd, host,  migration, hoarders, days,   trace,  hog};
