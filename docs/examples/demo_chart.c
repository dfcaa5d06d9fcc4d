/* The run as a drawing: sizes of the guests on top of each other, in each the
 * figure that is compared with it, and below when there was a rush in it. */
#include "demo_view.h"

#include <stdio.h>

enum { WIDTH = 960, HEIGHT = 480, LEFT = 60, TOP = 70, RIGHT = 940, BOTTOM = 430 };

static const char *const fills[VIEW_GUESTS] = {"#9ecae1", "#fdd0a2", "#a1d99b"};
static const char *const strokes[VIEW_GUESTS] = {"#08519c", "#a63603", "#006d2c"};

static double x_of(const struct view *v, unsigned second)
{
    return (double)LEFT + (double)(RIGHT - LEFT) * second / v->seconds;
}

/* There is room above the pool for a need that is not met. */
static double y_of(const struct view *v, unsigned mib)
{
    return (double)BOTTOM - (double)(BOTTOM - TOP) * mib / (v->about.pool + v->about.ram / 2);
}

/* Where a guest's area begins. */
static unsigned base(const struct view_moment *m, unsigned guest)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < guest; i++)
        sum += m->guests[i].size;
    return sum;
}

static void point(FILE *out, const struct view *v, unsigned second, unsigned mib)
{
    fprintf(out, "%.1f,%.1f ", x_of(v, second), y_of(v, mib));
}

static void draw_axes(FILE *out, const struct view *v)
{
    for (unsigned mib = 0; mib <= v->about.pool; mib += 128)
        fprintf(out,
                "<path d='M%d %.1fH%d' stroke='#ddd'/>"
                "<text x='%d' y='%.1f' text-anchor='end'>%u</text>\n",
                LEFT, y_of(v, mib), RIGHT, LEFT - 8, y_of(v, mib) + 4, mib);
    for (unsigned second = 0; second <= v->seconds; second += 20)
        fprintf(out, "<text x='%.1f' y='%d' text-anchor='middle'>%u</text>\n", x_of(v, second),
                BOTTOM + 18, second);
    fprintf(out,
            "<text x='%d' y='%d' text-anchor='middle'>seconds of %s; bars: "
            "a program wants more than usual</text>"
            "<text x='8' y='%d'>MiB</text>\n",
            (LEFT + RIGHT) / 2, BOTTOM + 38, v->about.clock, TOP - 8);
}

static void draw_size(FILE *out, const struct view *v, unsigned guest)
{
    fprintf(out, "<polygon fill='%s' points='", fills[guest]);
    for (unsigned s = 0; s < v->seconds; s++)
        point(out, v, s, base(&v->moments[s], guest + 1));
    for (unsigned s = v->seconds; s-- > 0;)
        point(out, v, s, base(&v->moments[s], guest));
    fprintf(out, "'/>\n");
}

static void draw_second(FILE *out, const struct view *v, unsigned guest)
{
    fprintf(out, "<polyline fill='none' stroke='%s' stroke-width='2' points='", strokes[guest]);
    for (unsigned s = 0; s < v->seconds; s++)
        point(out, v, s, base(&v->moments[s], guest) + v->moments[s].guests[guest].second);
    fprintf(out, "'/>\n");
}

static void draw_rushes(FILE *out, const struct view *v, unsigned guest)
{
    for (unsigned s = 0; s + 1 < v->seconds; s++)
        if (v->moments[s].guests[guest].rush)
            fprintf(out, "<path d='M%.1f %dH%.1f' stroke='%s' stroke-width='4'/>\n", x_of(v, s),
                    BOTTOM + 2, x_of(v, s + 1), strokes[guest]);
}

static void draw_resident(FILE *out, const struct view *v)
{
    fprintf(out, "<polyline fill='none' stroke='#000' stroke-dasharray='2 3' points='");
    for (unsigned s = 0; s < v->seconds; s++)
        point(out, v, s, v->moments[s].resident);
    fprintf(out, "'/>\n<path d='M%d %.1fH%d' stroke='#c00' stroke-width='2'/>\n", LEFT,
            y_of(v, v->about.pool), RIGHT);
}

static void draw_legend(FILE *out, const struct view *v)
{
    int x = LEFT;

    for (unsigned i = 0; i < v->about.guests; i++, x += 170)
        fprintf(out,
                "<rect x='%d' y='34' width='24' height='14' fill='%s'/>"
                "<path d='M%d 41h24' stroke='%s' stroke-width='2'/>"
                "<text x='%d' y='46'>%s: has, %s</text>\n",
                x, fills[i], x, strokes[i], x + 30, v->about.names[i], v->about.second);
    fprintf(out,
            "<path d='M%d 41h24' stroke='#c00' stroke-width='2'/><text x='%d' "
            "y='46'>pool</text>"
            "<path d='M%d 41h24' stroke='#000' stroke-dasharray='2 3'/>"
            "<text x='%d' y='46'>resident in the host</text>\n",
            x, x + 30, x + 90, x + 120);
}

bool view_draw(const struct view *v, const char *file)
{
    FILE *out = fopen(file, "w");
    bool good;

    if (!out)
        return false;
    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' "
            "font-family='sans-serif' "
            "font-size='13'>\n<rect width='%d' height='%d' fill='#fff'/>\n"
            "<text x='%d' y='22' font-size='16'>%s in a pool of %u MiB</text>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, v->about.title, v->about.pool);
    draw_axes(out, v);
    for (unsigned i = 0; i < v->about.guests; i++)
        draw_size(out, v, i);
    for (unsigned i = 0; i < v->about.guests; i++)
        draw_second(out, v, i);
    for (unsigned i = 0; i < v->about.guests; i++)
        draw_rushes(out, v, i);
    draw_resident(out, v);
    draw_legend(out, v);
    fprintf(out, "</svg>\n");
    good = ferror(out) == 0;
    return fclose(out) == 0 && good;
}
