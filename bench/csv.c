#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csv.h"

#define FILE_MAX ((size_t)64 << 20)
#define TIME_MAX 1e11      /* s; dates in seconds are fine */
#define STEP_MAX 1000000   /* s from row to row */
#define SPAN_MAX 31622400u /* s of all rows: a year */

/* --- lines and fields --------------------------------------------------------------------------
 */

/* A file in memory, a line of it, and the fields of that line. */
struct reader {
    const char *path;
    struct csv_error *error;
    char *text;
    size_t size, at;   /* at: where the next line begins */
    size_t line;       /* the number of the current one */
    const char *field; /* the current field, */
    size_t length;     /* its length, */
    size_t column;     /* and its number; 0 before the first */
    const char *end;   /* of the line */
};

/* Name the place, and quote the field as far as it can be printed. Always false. */
static bool __attribute__((format(printf, 2, 3))) wrong(struct reader *r, const char *format, ...)
{
    char what[160], quote[40] = "";
    size_t n = 0;
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    for (; r->column && n < r->length && n < 32; n++)
        quote[n] = r->field[n] >= ' ' && r->field[n] <= '~' ? r->field[n] : '?';
    snprintf(r->error->text, sizeof(r->error->text), "%.100s: line %zu, column %zu: %s%s%s%s",
             r->path, r->line, r->column, what, n ? ": \"" : "", quote,
             !n              ? ""
             : n < r->length ? "...\""
                             : "\"");
    return false;
}

/* The field after the last one of the line. */
static bool __attribute__((format(printf, 2, 3))) missing(struct reader *r, const char *format, ...)
{
    char what[160];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    r->column++;
    r->length = 0;
    return wrong(r, "%s", what);
}

static bool fail_file(struct reader *r, const char *what)
{
    snprintf(r->error->text, sizeof(r->error->text), "%.200s: %s", r->path, what);
    return false;
}

static bool slurp(struct reader *r)
{
    FILE *file = fopen(r->path, "rb");
    size_t room = 0, got;
    bool ok = false;

    if (!file)
        return fail_file(r, strerror(errno));
    for (;;) {
        if (r->size == room) {
            char *more = realloc(r->text, room = room ? room * 2 : 65536);

            if (!more) {
                fail_file(r, "not enough memory");
                break;
            }
            r->text = more;
        }
        got = fread(r->text + r->size, 1, room - r->size, file);
        r->size += got;
        if (r->size > FILE_MAX) {
            fail_file(r, "larger than 64 MiB");
            break;
        }
        if (!got) {
            ok = !ferror(file);
            if (!ok)
                fail_file(r, strerror(errno ? errno : EIO));
            break;
        }
    }
    fclose(file);
    return ok;
}

/* Go to the next line that is not empty. */
static bool next_line(struct reader *r)
{
    while (r->at < r->size) {
        const char *start = r->text + r->at, *end = memchr(start, '\n', r->size - r->at);

        if (!end)
            end = r->text + r->size;
        r->at = (size_t)(end - r->text) + 1;
        r->line++;
        if (end > start && end[-1] == '\r')
            end--;
        if (end == start)
            continue;
        r->field = start;
        r->length = r->column = 0;
        r->end = end;
        return true;
    }
    return false;
}

static bool next_field(struct reader *r)
{
    const char *start = r->column ? r->field + r->length + 1 : r->field, *comma;

    if (r->column && r->field + r->length == r->end)
        return false;
    comma = memchr(start, ',', (size_t)(r->end - start));
    r->field = start;
    r->length = (size_t)((comma ? comma : r->end) - start);
    r->column++;
    return true;
}

static bool field_is(const struct reader *r, const char *text)
{
    return r->length == strlen(text) && !memcmp(r->field, text, r->length);
}

/* Plain decimal numbers only: what strtod() takes beside them is no measurement. */
static bool number(struct reader *r, double most, double *value)
{
    char text[64], *end;

    if (!r->length)
        return wrong(r, "a number is missing");
    if (r->length >= sizeof(text))
        return wrong(r, "not a number");
    for (size_t i = 0; i < r->length; i++) {
        if (!r->field[i] || !strchr("0123456789+-.eE", r->field[i]))
            return wrong(r, "not a number");
    }
    memcpy(text, r->field, r->length);
    text[r->length] = '\0';
    *value = strtod(text, &end);
    if (*end || end == text)
        return wrong(r, "not a number");
    if (!(*value >= 0))
        return wrong(r, "less than 0");
    if (*value > most)
        return wrong(r, "more than %.0f", most);
    return true;
}

static void take_name(const struct reader *r, char *to)
{
    size_t n = r->length < CSV_NAME_MAX - 1 ? r->length : CSV_NAME_MAX - 1;

    for (size_t i = 0; i < n; i++)
        to[i] = r->field[i] >= ' ' && r->field[i] <= '~' ? r->field[i] : '?';
    to[n] = '\0';
}

/* --- demand ------------------------------------------------------------------------------------
 */

/* Where the capacities stand, until it is known how many columns there are. */
struct notes {
    struct reader capacity; /* at its first field; line 0 when there is none */
};

static bool skip_notes(struct reader *r, struct notes *notes)
{
    while (next_line(r)) {
        if (*r->field != '#')
            return true;
        next_field(r);
        if (!field_is(r, "# capacity_mib"))
            continue;
        if (notes->capacity.line)
            return wrong(r, "a second line of capacities");
        notes->capacity = *r;
    }
    r->line += !r->line;
    r->column = 0;
    return missing(r, "the header \"time_s,...\" is missing");
}

static bool read_header(struct reader *r, struct csv_demand *d)
{
    next_field(r);
    if (field_is(r, "workload"))
        return wrong(r, "these are curves, or working sets by workload, not demand over time");
    if (!field_is(r, "time_s"))
        return wrong(r, "the header must begin with time_s, not");
    for (const char *c = r->field; c < r->end; c++)
        d->columns += *c == ',';
    if (!d->columns)
        return wrong(r, "no columns after time_s");
    if (d->columns > CSV_COLUMNS_MAX)
        return wrong(r, "more than %d columns", CSV_COLUMNS_MAX);
    d->names = calloc(d->columns, sizeof(*d->names));
    d->capacity = calloc(d->columns, sizeof(*d->capacity));
    if (!d->names || !d->capacity)
        return fail_file(r, "not enough memory");
    for (size_t i = 0; i < d->columns; i++) {
        next_field(r);
        if (!r->length)
            return wrong(r, "a column without a name");
        take_name(r, d->names[i]);
        d->capacity[i] = NAN;
    }
    return true;
}

static bool read_capacities(struct reader *r, struct csv_demand *d)
{
    for (size_t i = 0; i < d->columns; i++) {
        if (!next_field(r)) {
            return missing(r, "%zu capacities for %zu columns", i, d->columns);
        }
        if (r->length && !number(r, CSV_MIB_MAX, &d->capacity[i]))
            return false;
        if (d->capacity[i] <= 0)
            return wrong(r, "a capacity of 0");
    }
    return !next_field(r) || wrong(r, "more capacities than columns");
}

static bool read_time(struct reader *r, struct csv_demand *d, double *first)
{
    double time;

    next_field(r);
    if (!number(r, TIME_MAX, &time))
        return false;
    if (!d->rows)
        *first = time;
    if (time < *first)
        return wrong(r, "time must rise");
    if (time - *first > SPAN_MAX)
        return wrong(r, "more than %u s after the first row", SPAN_MAX);
    d->time_ms[d->rows] = (uint64_t)((time - *first) * 1000 + 0.5);
    if (d->rows && d->time_ms[d->rows] <= d->time_ms[d->rows - 1])
        return wrong(r, "time must rise by a millisecond or more");
    if (d->rows && d->time_ms[d->rows] - d->time_ms[d->rows - 1] > STEP_MAX * UINT64_C(1000))
        return wrong(r, "more than %d s after the row before", STEP_MAX);
    return true;
}

static bool read_cells(struct reader *r, const struct csv_scale *scale, struct csv_demand *d)
{
    double *row = d->mib + d->rows * d->columns;

    for (size_t i = 0; i < d->columns; i++) {
        if (!next_field(r)) {
            return missing(r, "the row ends, %zu fields are missing", d->columns - i);
        }
        row[i] = NAN;
        if (!r->length)
            continue;
        if (!number(r, scale->set ? 1 : CSV_MIB_MAX, &row[i]))
            return false;
        if (scale->set)
            row[i] = scale->floor_mib + row[i] * (scale->ceil_mib - scale->floor_mib);
    }
    return !next_field(r) || wrong(r, "more fields than the header has");
}

static bool read_rows(struct reader *r, const struct csv_scale *scale, struct csv_demand *d)
{
    double first = 0;
    size_t most = 1;

    for (size_t i = r->at; i < r->size; i++)
        most += r->text[i] == '\n';
    /* Short lines cannot have many cells, so this is at most eight times the file. */
    if (most > r->size / d->columns + 1)
        most = r->size / d->columns + 1;
    d->time_ms = malloc(most * sizeof(*d->time_ms));
    d->mib = malloc(most * d->columns * sizeof(*d->mib));
    if (!d->time_ms || !d->mib)
        return fail_file(r, "not enough memory");
    while (next_line(r)) {
        if (*r->field == '#')
            continue;
        if (d->rows == most) {
            /* All of these rows together could not have enough commas. */
            r->column = 1;
            return wrong(r, "a row with too few fields");
        }
        if (!read_time(r, d, &first) || !read_cells(r, scale, d))
            return false;
        d->rows++;
    }
    return d->rows || fail_file(r, "no rows");
}

bool csv_demand_read(const char *path, const struct csv_scale *scale, struct csv_demand *d,
                     struct csv_error *error)
{
    struct reader r = {.path = path, .error = error};
    struct notes notes = {0};
    bool ok;

    *d = (struct csv_demand){0};
    ok = slurp(&r) && skip_notes(&r, &notes) && read_header(&r, d) &&
         (!notes.capacity.line || read_capacities(&notes.capacity, d)) && read_rows(&r, scale, d);
    free(r.text);
    if (!ok)
        csv_demand_free(d);
    return ok;
}

void csv_demand_free(struct csv_demand *d)
{
    free(d->time_ms);
    free(d->mib);
    free(d->capacity);
    free(d->names);
    *d = (struct csv_demand){0};
}

/* --- curves ------------------------------------------------------------------------------------
 */

static bool read_curve_header(struct reader *r)
{
    static const char *const words[] = {"workload", "size_mib", "miss_ratio", "misses_per_s"};

    do {
        r->column = 0;
        if (!next_line(r)) {
            r->line += !r->line;
            return missing(r,
                           "the header \"workload,size_mib,miss_ratio,misses_per_s\" is missing");
        }
    } while (*r->field == '#');
    for (size_t i = 0; i < 4; i++) {
        if (!next_field(r) || !field_is(r, words[i]))
            return wrong(r, "the header must be workload,size_mib,miss_ratio,misses_per_s, not");
    }
    return !next_field(r) || wrong(r, "more fields than the header may have");
}

static bool read_point(struct reader *r, struct csv_curves *c, size_t at)
{
    struct csv_point *p = &c->points[at];
    struct csv_curve *last = c->count ? &c->curves[c->count - 1] : NULL;
    char name[CSV_NAME_MAX];
    double ratio;

    next_field(r);
    if (!r->length)
        return wrong(r, "a workload without a name");
    take_name(r, name);
    if (!last || strcmp(last->name, name)) {
        for (size_t i = 0; i < c->count; i++) {
            if (!strcmp(c->curves[i].name, name))
                return wrong(r, "the rows of a workload must follow each other");
        }
        if (c->count == CSV_CURVES_MAX)
            return wrong(r, "more than %d workloads", CSV_CURVES_MAX);
        last = &c->curves[c->count++];
        *last = (struct csv_curve){.first = at};
        memcpy(last->name, name, sizeof(name));
    }
    if (!next_field(r))
        return missing(r, "size_mib is missing");
    if (!number(r, CSV_MIB_MAX, &p->mib))
        return false;
    if (last->count ? p->mib <= p[-1].mib : p->mib <= 0)
        return wrong(r, "sizes must rise from above 0");
    if (!next_field(r))
        return missing(r, "miss_ratio is missing");
    if (!number(r, 1, &ratio))
        return false;
    if (!next_field(r))
        return missing(r, "misses_per_s is missing");
    if (!number(r, 1e15, &p->misses))
        return false;
    if (last->count && p->misses > p[-1].misses)
        return wrong(r, "misses must not rise with size");
    last->count++;
    return !next_field(r) || wrong(r, "more fields than the header has");
}

static bool read_points(struct reader *r, struct csv_curves *c)
{
    size_t most = 1, count = 0;

    for (size_t i = r->at; i < r->size; i++)
        most += r->text[i] == '\n';
    c->curves = calloc(CSV_CURVES_MAX, sizeof(*c->curves));
    c->points = malloc(most * sizeof(*c->points));
    if (!c->curves || !c->points)
        return fail_file(r, "not enough memory");
    while (next_line(r)) {
        if (*r->field == '#')
            continue;
        if (!read_point(r, c, count++))
            return false;
    }
    return count || fail_file(r, "no rows");
}

bool csv_curves_read(const char *path, struct csv_curves *c, struct csv_error *error)
{
    struct reader r = {.path = path, .error = error};
    bool ok;

    *c = (struct csv_curves){0};
    ok = slurp(&r) && read_curve_header(&r) && read_points(&r, c);
    free(r.text);
    if (!ok)
        csv_curves_free(c);
    return ok;
}

void csv_curves_free(struct csv_curves *c)
{
    free(c->curves);
    free(c->points);
    *c = (struct csv_curves){0};
}
