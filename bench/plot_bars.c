/* Lines of JSON, as the benchmarks print them, into drawings: plot-bars <directory> <lines. A
 * drawing for each group of cases, which are those whose names differ in one letter, the pattern,
 * only; others are a group by the first part of their names. What reading or copying costs is a
 * line. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096, NAME = 96 };
enum { BAR = 14, GAP = 26, LEFT = 60, TOP = 40, PLOT = 300, LEGEND = 18 };

struct figure {
    char group[NAME], column[NAME], impl[NAME], unit[NAME];
    double value;
};

static struct figure figures[MOST];
static size_t figure_count;

static const char *const colours[] = {"#1b6ca8", "#56a3d9", "#0f8b5f", "#6cc19d",
                                      "#c2571a", "#e39a63", "#7b4ea3", "#b598d1",
                                      "#8a8a8a", "#c0b23a", "#a8324a", "#d98a9a"};
#define COLOURS (sizeof(colours) / sizeof(*colours))

/* --- reading ------------------------------------------------------------------------------ */

/* The text of "name":"text". */
static bool text_of(const char *line, const char *name, char *to)
{
    char key[NAME];
    const char *at;
    size_t length;

    snprintf(key, sizeof(key), "\"%s\":\"", name);
    at = strstr(line, key);
    if (!at)
        return false;
    at += strlen(key);
    length = strcspn(at, "\"");
    if (length >= NAME)
        return false;
    memcpy(to, at, length);
    to[length] = '\0';
    return true;
}

/* The number that a line is about, and its name: a time, or else bits. */
static bool number_of(const char *line, char *unit, double *value)
{
    const char *name = strstr(line, "\"ns");
    size_t length;

    if (!name)
        name = strstr(line, "\"bits_per_");
    length = name ? strcspn(++name, "\"") : NAME;
    if (length >= NAME)
        return false;
    memcpy(unit, name, length);
    unit[length] = '\0';
    *value = strtod(name + length + 2, NULL); /* behind the quote and the colon */
    return *value > 0;
}

/* "inflate/a/4GiB" is column a of "inflate 4GiB", "pool/decide" one of "pool". */
static void divide(const char *name, struct figure *f)
{
    const char *slash = name;

    while ((slash = strchr(slash, '/'))) {
        if (slash[1] && slash[2] == '/') {
            snprintf(f->column, NAME, "%c", slash[1]);
            snprintf(f->group, NAME, "%.*s-%s", (int)(slash - name), name, slash + 3);
            break;
        }
        slash++;
    }
    if (!slash) {
        snprintf(f->group, NAME, "%.*s", (int)strcspn(name, "/"), name);
        snprintf(f->column, NAME, "%s", name[strcspn(name, "/")] ? strchr(name, '/') + 1 : name);
    }
    for (char *c = f->group; *c; c++)
        *c = *c == '/' || *c == ' ' ? '-' : *c;
}

static void read_line(const char *line)
{
    struct figure *f = &figures[figure_count];
    char name[NAME];
    const char *guests = strstr(line, "\"guests\":");

    if (figure_count == MOST || !text_of(line, "case", name) || !text_of(line, "impl", f->impl) ||
        !number_of(line, f->unit, &f->value))
        return;
    divide(name, f);
    if (guests) {
        size_t used = strlen(f->column);

        snprintf(f->column + used, NAME - used, " %.10s", guests + strlen("\"guests\":"));
        f->column[strcspn(f->column, ",}")] = '\0';
    }
    figure_count++;
}

/* --- drawing ------------------------------------------------------------------------------ */

static bool is_floor(const struct figure *f)
{
    return !strcmp(f->impl, "read floor") || !strcmp(f->impl, "memcpy");
}

/* Distinct words of a group in their order: columns, or who takes part. */
static size_t words(const char *group, size_t offset, bool floor, const char **to)
{
    size_t count = 0, i, k;

    for (i = 0; i < figure_count; i++) {
        const char *word = (const char *)&figures[i] + offset;

        if (strcmp(figures[i].group, group) || is_floor(&figures[i]) != floor)
            continue;
        for (k = 0; k < count && strcmp(to[k], word); k++)
            ;
        if (k == count && count < MOST)
            to[count++] = word;
    }
    return count;
}

static const struct figure *find(const char *group, const char *column, const char *impl)
{
    for (size_t i = 0; i < figure_count; i++)
        if (!strcmp(figures[i].group, group) && !strcmp(figures[i].column, column) &&
            (impl ? !strcmp(figures[i].impl, impl) : is_floor(&figures[i])))
            return &figures[i];
    return NULL;
}

/* Whole powers of ten around all values of a group. */
static void limits(const char *group, double *low, double *high)
{
    *low = 1e300;
    *high = 0;
    for (size_t i = 0; i < figure_count; i++) {
        if (strcmp(figures[i].group, group))
            continue;
        *low = fmin(*low, figures[i].value);
        *high = fmax(*high, figures[i].value);
    }
    *low = floor(log10(*low) - 0.1);
    *high = ceil(log10(*high) + 0.1);
}

static double height(double value, double low, double high)
{
    return PLOT * (log10(value) - low) / (high - low);
}

static void axis(FILE *out, double width, double low, double high, const char *unit)
{
    for (double p = low; p <= high; p++) {
        double y = TOP + PLOT - height(pow(10, p), low, high);

        fprintf(out,
                "<line x1='%d' x2='%.0f' y1='%.1f' y2='%.1f' stroke='#ddd'/>"
                "<text x='%d' y='%.1f' text-anchor='end'>%g</text>\n",
                LEFT, width - 10, y, y, LEFT - 6, y + 4, pow(10, p));
    }
    fprintf(out, "<text x='6' y='%d'>%s</text>\n", TOP - 8, unit);
}

static void column(FILE *out, const char *group, const char *name, const char **impls, size_t count,
                   double x, double low, double high)
{
    const struct figure *f = find(group, name, NULL);
    double end = x + (double)count * BAR;

    for (size_t k = 0; k < count; k++) {
        const struct figure *bar = find(group, name, impls[k]);
        double tall, at = x + (double)k * BAR;

        if (!bar)
            continue;
        tall = height(bar->value, low, high);
        fprintf(out,
                "<rect x='%.1f' y='%.1f' width='%d' height='%.1f' fill='%s'>"
                "<title>%s, %s: %.3g</title></rect>"
                "<text transform='translate(%.1f,%.1f) rotate(-90)' font-size='9'>%.3g</text>\n",
                at, TOP + PLOT - tall, BAR - 2, tall, colours[k % COLOURS], name, impls[k],
                bar->value, at + BAR - 4, TOP + PLOT - tall - 3, bar->value);
    }
    if (f) {
        double y = TOP + PLOT - height(f->value, low, high);

        fprintf(out,
                "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='#d00' stroke-width='2'>"
                "<title>%s: %.3g</title></line>\n",
                x - 4, end + 4, y, y, f->impl, f->value);
    }
    fprintf(out, "<text transform='translate(%.1f,%d) rotate(%d)' text-anchor='%s'>%s</text>\n",
            (x + end) / 2, TOP + PLOT + 16, name[1] ? 30 : 0, name[1] ? "start" : "middle", name);
}

static bool draw(const char *directory, const char *group)
{
    static const char *columns[MOST], *impls[MOST], *floors[MOST];
    size_t column_count = words(group, offsetof(struct figure, column), false, columns);
    size_t impl_count = words(group, offsetof(struct figure, impl), false, impls);
    size_t floor_count = words(group, offsetof(struct figure, impl), true, floors);
    double step = (double)impl_count * BAR + GAP, low, high;
    double width = fmax(LEFT + (double)column_count * step + 160, 420);
    double legend = TOP + PLOT + 150;
    const struct figure *first = find(group, columns[0], impls[0]);
    char path[4096];
    FILE *out = NULL;

    if (!column_count)
        return true;
    if (snprintf(path, sizeof(path), "%s/%s.svg", directory, group) < (int)sizeof(path))
        out = fopen(path, "w");
    if (!out) {
        perror(path);
        return false;
    }
    limits(group, &low, &high);
    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' "
            "font-family='sans-serif' font-size='12'>\n<rect width='100%%' height='100%%' "
            "fill='white'/>\n<text x='%d' y='18' font-size='15'>%s</text>\n",
            width, legend + (double)(impl_count + floor_count) * LEGEND + 10, LEFT, group);
    axis(out, width, low, high, first ? first->unit : "");
    for (size_t i = 0; i < column_count; i++)
        column(out, group, columns[i], impls, impl_count, LEFT + GAP / 2 + (double)i * step, low,
               high);
    for (size_t k = 0; k < impl_count + floor_count; k++) {
        double y = legend + (double)k * LEGEND;
        bool bar = k < impl_count;

        fprintf(out,
                "<rect x='%d' y='%.0f' width='12' height='%d' fill='%s'/>"
                "<text x='%d' y='%.0f'>%s</text>\n",
                LEFT, y - (bar ? 10 : 5), bar ? 12 : 2, bar ? colours[k % COLOURS] : "#d00",
                LEFT + 20, y, bar ? impls[k] : floors[k - impl_count]);
    }
    fprintf(out, "</svg>\n");
    printf("%s\n", path);
    return fclose(out) == 0;
}

int main(int argc, char **argv)
{
    char line[1024];
    bool good = true;

    if (argc != 2) {
        fprintf(stderr, "usage: plot-bars <directory> <lines-of-json\n");
        return 2;
    }
    while (fgets(line, sizeof(line), stdin))
        read_line(line);
    for (size_t i = 0; i < figure_count; i++) {
        size_t k = 0;

        while (strcmp(figures[k].group, figures[i].group))
            k++;
        if (k == i)
            good = draw(argv[1], figures[i].group) && good;
    }
    if (!figure_count)
        fprintf(stderr, "plot-bars: no figures\n");
    return figure_count && good ? 0 : 1;
}
