#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "csv_reader.h"

#define STEP_MAX 1000000 /* s from row to row */

/* What notes say, until it is known how many columns there are. */
struct notes {
    struct csv_reader capacity; /* at its first field; line 0 when there is none */
    bool fractions;             /* values are not MiB */
};

/* "# capacity_mib", with any space between. */
static bool is_capacity(const struct csv_reader *r)
{
    struct csv_reader word = *r;

    do {
        word.field++;
        word.length--;
    } while (word.length && *word.field == ' ');
    return csv_field_is(&word, "capacity_mib");
}

/* Does a note say "not MiB", and not only "not MiB/s"? */
static bool says_fractions(const struct csv_reader *r)
{
    static const char words[] = "not MiB";
    size_t length = sizeof(words) - 1;

    for (const char *c = r->field; c + length <= r->end; c++) {
        if (!strncasecmp(c, words, length))
            return c + length == r->end || c[length] != '/';
    }
    return false;
}

static bool skip_notes(struct csv_reader *r, struct notes *notes)
{
    while (csv_next_line(r)) {
        if (*r->field != '#')
            return true;
        notes->fractions = notes->fractions || says_fractions(r);
        csv_next_field(r);
        if (!is_capacity(r))
            continue;
        if (notes->capacity.line)
            return csv_wrong(r, "a second line of capacities");
        notes->capacity = *r;
    }
    return csv_ends(r, "the header \"time_s,...\" is missing");
}

static bool read_header(struct csv_reader *r, struct csv_demand *d)
{
    if (!csv_field_is(r, "time_s"))
        return csv_wrong(r, "the header must begin with time_s, not");
    for (const char *c = r->field; c < r->end; c++)
        d->columns += *c == ',';
    if (!d->columns)
        return csv_wrong(r, "no columns after time_s");
    if (d->columns > CSV_COLUMNS_MAX)
        return csv_wrong(r, "more than %d columns", CSV_COLUMNS_MAX);
    d->names = calloc(d->columns, sizeof(*d->names));
    d->capacity = calloc(d->columns, sizeof(*d->capacity));
    if (!d->names || !d->capacity)
        return csv_fail_file(r, "not enough memory");
    for (size_t i = 0; i < d->columns; i++) {
        csv_next_field(r);
        if (!r->length)
            return csv_wrong(r, "a column without a name");
        if (memchr(r->field, '\r', r->length))
            return csv_wrong(r, "lines must end with LF, or CR and LF, not with CR");
        csv_take_name(r, d->names[i]);
        d->capacity[i] = NAN;
    }
    return true;
}

static bool read_capacities(struct csv_reader *r, struct csv_demand *d)
{
    for (size_t i = 0; i < d->columns; i++) {
        if (!csv_next_field(r)) {
            return csv_missing(r, "%zu capacities for %zu columns", i, d->columns);
        }
        if (r->length && !csv_number(r, CSV_MIB_MAX, &d->capacity[i]))
            return false;
        if (d->capacity[i] <= 0)
            return csv_wrong(r, "a capacity of 0");
    }
    return !csv_next_field(r) || csv_wrong(r, "more capacities than columns");
}

static bool read_time(struct csv_reader *r, struct csv_demand *d, double *first)
{
    double time;

    csv_next_field(r);
    if (!csv_number(r, CSV_TIME_MAX, &time))
        return false;
    if (!d->rows)
        *first = time;
    if (time < *first)
        return csv_wrong(r, "time must rise");
    if (time - *first > CSV_SPAN_MAX)
        return csv_wrong(r, "more than %u s after the first row", CSV_SPAN_MAX);
    d->time_ms[d->rows] = (uint64_t)((time - *first) * 1000 + 0.5);
    if (d->rows && d->time_ms[d->rows] <= d->time_ms[d->rows - 1])
        return csv_wrong(r, "time must rise by a millisecond or more");
    if (d->rows && d->time_ms[d->rows] - d->time_ms[d->rows - 1] > STEP_MAX * UINT64_C(1000))
        return csv_wrong(r, "more than %d s after the row before", STEP_MAX);
    return true;
}

static bool read_cells(struct csv_reader *r, struct csv_demand *d, double *most)
{
    double *row = d->mib + d->rows * d->columns;

    for (size_t i = 0; i < d->columns; i++) {
        if (!csv_next_field(r)) {
            return csv_missing(r, "the row ends, %zu fields are missing", d->columns - i);
        }
        row[i] = NAN;
        if (!r->length)
            continue;
        if (!csv_number(r, d->scale.set ? 1 : CSV_MIB_MAX, &row[i]))
            return false;
        *most = fmax(*most, row[i]);
    }
    return !csv_next_field(r) || csv_wrong(r, "more fields than the header has");
}

/* greatest becomes the greatest value, and is less than 0 when there is none. */
static bool read_rows(struct csv_reader *r, struct csv_demand *d, double *greatest)
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
        return csv_fail_file(r, "not enough memory");
    while (csv_next_line(r)) {
        if (*r->field == '#') {
            csv_next_field(r);
            if (is_capacity(r))
                return csv_wrong(r, "capacities must stand before the header");
            continue;
        }
        if (d->rows == most) {
            /* All of these rows together could not have enough commas. */
            r->column = 1;
            return csv_wrong(r, "a row with too few fields");
        }
        if (!read_time(r, d, &first) || !read_cells(r, d, greatest))
            return false;
        d->rows++;
    }
    if (!d->rows)
        return csv_ends(r, "no rows after the header");
    r->column = 1;
    return *greatest >= 0 || csv_missing(r, "no samples in this row nor in any before");
}

static bool read_wide(struct csv_reader *r, struct notes *notes, struct csv_demand *d)
{
    double greatest = -1;

    if (notes->fractions && !d->scale.set)
        d->scale = (struct csv_scale){true, true, CSV_FLOOR_MIB, CSV_CEIL_MIB};
    if (!read_header(r, d) || (notes->capacity.line && !read_capacities(&notes->capacity, d)) ||
        !read_rows(r, d, &greatest))
        return false;
    /* As MiB these would be guests without any demand. */
    if (greatest <= 1 && !d->scale.set)
        d->scale = (struct csv_scale){true, true, CSV_FLOOR_MIB, CSV_CEIL_MIB};
    return true;
}

bool csv_demand_read(const char *path, const struct csv_scale *scale, struct csv_demand *d,
                     struct csv_error *error)
{
    struct csv_reader r = {.path = path, .error = error};
    struct notes notes = {0};
    bool ok;

    *d = (struct csv_demand){.scale = *scale};
    ok = csv_slurp(&r) && skip_notes(&r, &notes);
    if (ok) {
        csv_next_field(&r);
        ok = csv_field_is(&r, "workload") ? csv_long_read(&r, d) : read_wide(&r, &notes, d);
    }
    for (size_t i = 0; ok && d->scale.set && i < d->rows * d->columns; i++)
        d->mib[i] = d->scale.floor_mib + d->mib[i] * (d->scale.ceil_mib - d->scale.floor_mib);
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
