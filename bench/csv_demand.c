#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "csv_cell.h"

#define STEP_MAX      1000000 /* s from row to row */
#define PLAIN_MIB_MAX 1048576 /* more is rather another unit */

/* What notes say, until it is known how many columns there are. */
struct notes {
    struct csv_reader capacity; /* at its first field; line 0 when there is none */
    bool fractions;             /* values are not MiB */
};

/* How a table is to be read, and what was found in it. */
struct table {
    const char *columns; /* to take; NULL for all */
    size_t *of_field;    /* which column a field is, from 1 on; 0 for none */
    size_t fields, time; /* of a row; which of them is the time, from 1 on */
    enum csv_clock clock;
    bool native;        /* "time_s,...": MiB, unless something says otherwise: */
    bool plain;         /* nothing does */
    bool bare, named;   /* there are values without a unit; with one of their own */
    double first, most; /* time; greatest value, less than 0 when there is none */
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

/* sadf begins its header with this sign, too. */
static bool is_header_note(struct csv_reader *r)
{
    static const char word[] = ";timestamp;";
    size_t length = sizeof(word) - 1;

    for (const char *c = r->field; c + length <= r->end; c++) {
        if (memcmp(c, word, length))
            continue;
        for (r->field++; *r->field == ' ';)
            r->field++;
        r->next = r->field;
        return true;
    }
    return false;
}

static bool skip_notes(struct csv_reader *r, struct notes *notes)
{
    while (csv_next_line(r)) {
        /* For spreadsheets. */
        if (r->end - r->field == 5 && !memcmp(r->field, "sep=", 4))
            continue;
        if (*r->field != '#' || is_header_note(r)) {
            csv_find_separator(r);
            return true;
        }
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

/* --- the header --------------------------------------------------------------------------------
 */

/* Is that one of the columns to take? */
static bool is_wanted(const struct csv_reader *r, const char *columns)
{
    while (columns && *columns) {
        size_t length = strcspn(columns, ",");

        if (length == r->length && !memcmp(columns, r->field, length))
            return true;
        columns += length + (columns[length] == ',');
    }
    return !columns;
}

static bool take_column(struct csv_reader *r, const struct table *t, struct csv_demand *d)
{
    if (!r->length && !t->columns)
        return csv_wrong(r, "a column without a name");
    if (memchr(r->field, '\r', r->length))
        return csv_wrong(r, "lines must end with LF, or CR and LF, not with CR");
    if (!is_wanted(r, t->columns))
        return true;
    if (d->columns == CSV_COLUMNS_MAX)
        return csv_wrong(r, "more than %d columns", CSV_COLUMNS_MAX);
    t->of_field[r->column - 1] = d->columns + 1;
    d->capacity[d->columns] = NAN;
    csv_take_name(r, d->names[d->columns++]);
    return true;
}

/* The unit that all names say. */
static enum csv_unit named_unit(const struct csv_demand *d)
{
    enum csv_unit unit = csv_unit_of_name(d->names[0]);

    for (size_t i = 1; i < d->columns; i++) {
        if (csv_unit_of_name(d->names[i]) != unit)
            return CSV_UNIT_UNKNOWN;
    }
    return unit;
}

/* The first column of times is the time. */
static bool read_header(struct csv_reader *r, struct table *t, struct csv_demand *d)
{
    enum csv_clock clock;
    size_t most = 1;

    for (const char *c = r->field; c < r->end; c++)
        most += *c == ',' || *c == ';' || *c == '\t';
    most = most < CSV_COLUMNS_MAX + 2 ? most : CSV_COLUMNS_MAX + 2;
    d->names = calloc(most, sizeof(*d->names));
    d->capacity = calloc(most, sizeof(*d->capacity));
    t->of_field = calloc(most, sizeof(*t->of_field));
    if (!d->names || !d->capacity || !t->of_field)
        return csv_fail_file(r, "not enough memory");
    for (t->fields = 0; csv_next_field(r); t->fields++) {
        if (r->column > most)
            return csv_wrong(r, "more than %d columns", CSV_COLUMNS_MAX);
        if (!t->time && csv_is_clock(r, &clock)) {
            t->time = r->column;
            t->clock = clock;
            t->native = r->column == 1 && clock == CSV_CLOCK_S;
        } else if (!take_column(r, t, d)) {
            return false;
        }
    }
    r->column = 1;
    r->length = 0;
    if (!t->time)
        return csv_wrong(r, "no column of times in the header: time_s, Time, timestamp, date, ...");
    if (!d->columns)
        return csv_wrong(r, t->columns ? "no such columns" : "no columns beside the time");
    if (!d->unit)
        d->unit = named_unit(d);
    t->plain = !d->unit && t->native;
    if (t->plain)
        d->unit = CSV_UNIT_MIB;
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

/* --- rows --------------------------------------------------------------------------------------
 */

static bool take_time(struct csv_reader *r, struct table *t, struct csv_demand *d)
{
    double time;

    if (!csv_time(r, &t->clock, &time))
        return false;
    if (!d->rows)
        t->first = time;
    if (time < t->first)
        return csv_wrong(r, "time must rise");
    if (time - t->first > CSV_SPAN_MAX)
        return csv_wrong(r, "more than %u s after the first row", CSV_SPAN_MAX);
    d->time_ms[d->rows] = (uint64_t)((time - t->first) * 1000 + 0.5);
    if (d->rows && d->time_ms[d->rows] <= d->time_ms[d->rows - 1])
        return csv_wrong(r, "time must rise by a millisecond or more");
    if (d->rows && d->time_ms[d->rows] - d->time_ms[d->rows - 1] > STEP_MAX * UINT64_C(1000))
        return csv_wrong(r, "more than %d s after the row before", STEP_MAX);
    return true;
}

static bool take_cell(struct csv_reader *r, struct table *t, struct csv_demand *d, double *cell)
{
    enum csv_unit unit = d->unit;

    *cell = NAN;
    if (csv_is_blank(r))
        return true;
    if (d->scale.set)
        return csv_number(r, 1, cell) && (t->most = fmax(t->most, *cell), true);
    if (!csv_amount(r, CSV_MIB_MAX, &unit, cell))
        return false;
    /* In an unknown unit until the end is known. */
    t->bare = t->bare || (!unit && *cell > 0);
    t->named = t->named || (unit && !d->unit);
    *cell *= unit ? csv_unit_mib(unit) : 1;
    t->most = fmax(t->most, *cell);
    return true;
}

static bool read_row(struct csv_reader *r, struct table *t, struct csv_demand *d)
{
    double *row = d->mib + d->rows * d->columns;

    for (size_t i = 1; i <= t->fields; i++) {
        size_t column = t->of_field[i - 1];

        if (!csv_next_field(r))
            return csv_missing(r, "the row ends, %zu fields are missing", t->fields - i + 1);
        if (i == t->time ? !take_time(r, t, d) : column && !take_cell(r, t, d, &row[column - 1]))
            return false;
    }
    return !csv_next_field(r) || csv_wrong(r, "more fields than the header has");
}

static bool read_rows(struct csv_reader *r, struct table *t, struct csv_demand *d)
{
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
        if (!read_row(r, t, d))
            return false;
        d->rows++;
    }
    if (!d->rows)
        return csv_ends(r, "no rows after the header");
    r->column = 1;
    r->length = 0;
    return t->most >= 0 || csv_missing(r, "no samples in this row nor in any before");
}

/* As MiB these would be guests without any demand, or with more than there is. */
static bool settle_unit(struct csv_reader *r, struct table *t, struct csv_demand *d, bool told)
{
    const char *what = "in which unit are the values? Say --unit B, KiB, MiB, GiB or pages";

    if (!told && !d->scale.set && !t->named && t->most <= 1 && (!d->unit || t->plain)) {
        d->scale = (struct csv_scale){true, true, CSV_FLOOR_MIB, CSV_CEIL_MIB};
        d->unit = CSV_UNIT_UNKNOWN;
    }
    if (d->scale.set)
        return true;
    if (!d->unit && t->bare)
        return csv_fail_file(r, what);
    if (t->plain && t->most > PLAIN_MIB_MAX)
        return csv_fail_file(r, "a guest with more than 1 TiB: if that is MiB, say --unit MiB");
    return true;
}

static bool read_wide(struct csv_reader *r, struct notes *notes, const struct csv_form *form,
                      struct csv_demand *d)
{
    struct table t = {.columns = form->columns, .most = -1};
    bool ok;

    d->unit = form->unit;
    if (notes->fractions && !form->unit && !d->scale.set)
        d->scale = (struct csv_scale){true, true, CSV_FLOOR_MIB, CSV_CEIL_MIB};
    ok = read_header(r, &t, d) && (!notes->capacity.line || read_capacities(&notes->capacity, d)) &&
         read_rows(r, &t, d) && settle_unit(r, &t, d, form->unit != CSV_UNIT_UNKNOWN);
    free(t.of_field);
    return ok;
}

static bool read_long(struct csv_reader *r, const struct csv_form *form, struct csv_demand *d)
{
    if ((form->unit && form->unit != CSV_UNIT_MIB) || form->columns)
        return csv_fail_file(r, "a table by workload has its unit and columns");
    d->unit = CSV_UNIT_MIB;
    return csv_long_read(r, d);
}

bool csv_demand_read(const char *path, const struct csv_form *form, struct csv_demand *d,
                     struct csv_error *error)
{
    struct csv_reader r = {.path = path, .error = error};
    struct notes notes = {0};
    bool ok;

    *d = (struct csv_demand){.scale = form->scale};
    ok = csv_slurp(&r) && skip_notes(&r, &notes);
    if (ok) {
        /* Not by taking the field: it may have quotes, and would lose them. */
        bool is_long = r.end - r.field > 8 && !memcmp(r.field, "workload,", 9);

        ok =
            is_long ? csv_next_field(&r) && read_long(&r, form, d) : read_wide(&r, &notes, form, d);
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
