/* The long form of demand: a row for each sample of a workload. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csv_reader.h"

#define CELLS_MAX ((size_t)1 << 26)

struct sample {
    uint64_t time_ms;
    size_t column;
    double mib;
};

static bool read_header(struct csv_reader *r)
{
    static const char *const words[] = {"time_s", "working_set_mib", "footprint_mib"};

    for (size_t i = 0; i < 3; i++) {
        if (!csv_next_field(r) || !csv_field_is(r, words[i]))
            return csv_wrong(r, "not time_s,<name>,... and not workload,time_s,working_set_mib,"
                                "footprint_mib; curves belong to --curves");
    }
    return !csv_next_field(r) || csv_wrong(r, "more fields than the header may have");
}

static bool take_workload(struct csv_reader *r, struct csv_demand *d)
{
    char name[CSV_NAME_MAX];

    csv_next_field(r);
    if (!r->length)
        return csv_wrong(r, "a workload without a name");
    csv_take_name(r, name);
    if (d->columns && !strcmp(d->names[d->columns - 1], name))
        return true;
    for (size_t i = 0; i < d->columns; i++) {
        if (!strcmp(d->names[i], name))
            return csv_wrong(r, "the rows of a workload must follow each other");
    }
    if (d->columns == CSV_CURVES_MAX)
        return csv_wrong(r, "more than %d workloads", CSV_CURVES_MAX);
    d->capacity[d->columns] = NAN;
    memcpy(d->names[d->columns++], name, sizeof(name));
    return true;
}

/* last: the sample before, or NULL. Times count from the first sample of the workload, first. */
static bool read_sample(struct csv_reader *r, struct csv_demand *d, const struct sample *last,
                        double *first, struct sample *to)
{
    double time, footprint;

    if (!take_workload(r, d))
        return false;
    to->column = d->columns - 1;
    if (!csv_next_field(r))
        return csv_missing(r, "time_s is missing");
    if (!csv_number(r, CSV_TIME_MAX, &time))
        return false;
    if (!last || last->column != to->column) {
        last = NULL;
        *first = time;
    }
    if (time < *first || (last && (uint64_t)((time - *first) * 1000 + 0.5) < last->time_ms))
        return csv_wrong(r, "time must rise");
    if (time - *first > CSV_SPAN_MAX)
        return csv_wrong(r, "more than %u s after the first row", CSV_SPAN_MAX);
    to->time_ms = (uint64_t)((time - *first) * 1000 + 0.5);
    if (!csv_next_field(r))
        return csv_missing(r, "working_set_mib is missing");
    if (!csv_number(r, d->scale.set ? 1 : CSV_MIB_MAX, &to->mib))
        return false;
    if (!csv_next_field(r))
        return csv_missing(r, "footprint_mib is missing");
    return csv_number(r, CSV_MIB_MAX, &footprint) &&
           (!csv_next_field(r) || csv_wrong(r, "more fields than the header has"));
}

static int by_time(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;

    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

/* A row for each time at which there is a sample of any workload. */
static bool spread(struct csv_reader *r, struct csv_demand *d, struct sample *samples, size_t count)
{
    size_t rows = 0;

    qsort(samples, count, sizeof(*samples), by_time);
    for (size_t i = 0; i < count; i++)
        rows += !i || samples[i].time_ms != samples[i - 1].time_ms;
    if (rows > CELLS_MAX / d->columns)
        return csv_ends(r, "too many different times for so many workloads");
    d->time_ms = malloc(rows * sizeof(*d->time_ms));
    d->mib = malloc(rows * d->columns * sizeof(*d->mib));
    if (!d->time_ms || !d->mib)
        return csv_fail_file(r, "not enough memory");
    for (size_t i = 0; i < rows * d->columns; i++)
        d->mib[i] = NAN;
    for (size_t i = 0; i < count; i++) {
        const struct sample *s = &samples[i];
        double *cell;

        if (!i || s->time_ms != s[-1].time_ms)
            d->time_ms[d->rows++] = s->time_ms;
        /* Of two in a millisecond, the larger one. */
        cell = &d->mib[(d->rows - 1) * d->columns + s->column];
        *cell = fmax(*cell, s->mib);
    }
    return true;
}

bool csv_long_read(struct csv_reader *r, struct csv_demand *d)
{
    struct sample *samples;
    size_t most = 1, count = 0;
    double first = 0;
    bool ok;

    if (!read_header(r))
        return false;
    for (size_t i = r->at; i < r->size; i++)
        most += r->text[i] == '\n';
    samples = malloc(most * sizeof(*samples));
    d->names = calloc(CSV_CURVES_MAX, sizeof(*d->names));
    d->capacity = calloc(CSV_CURVES_MAX, sizeof(*d->capacity));
    ok = samples && d->names && d->capacity;
    if (!ok)
        csv_fail_file(r, "not enough memory");
    while (ok && csv_next_line(r)) {
        if (*r->field == '#')
            continue;
        ok = read_sample(r, d, count ? &samples[count - 1] : NULL, &first, &samples[count]);
        count++;
    }
    ok = ok && (count || csv_ends(r, "no rows after the header")) && spread(r, d, samples, count);
    free(samples);
    return ok;
}
