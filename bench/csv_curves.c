#include <stdlib.h>
#include <string.h>

#include "csv_reader.h"

static bool read_curve_header(struct csv_reader *r)
{
    static const char *const words[] = {"workload", "size_mib", "miss_ratio", "misses_per_s"};

    do {
        r->column = 0;
        if (!csv_next_line(r))
            return csv_ends(r,
                            "the header \"workload,size_mib,miss_ratio,misses_per_s\" is missing");
    } while (*r->field == '#');
    for (size_t i = 0; i < 4; i++) {
        if (!csv_next_field(r) || !csv_field_is(r, words[i]))
            return csv_wrong(r,
                             "the header must be workload,size_mib,miss_ratio,misses_per_s, not");
    }
    return !csv_next_field(r) || csv_wrong(r, "more fields than the header may have");
}

static bool read_point(struct csv_reader *r, struct csv_curves *c, size_t at)
{
    struct csv_point *p = &c->points[at];
    struct csv_curve *last = c->count ? &c->curves[c->count - 1] : NULL;
    char name[CSV_NAME_MAX];
    double ratio;

    csv_next_field(r);
    if (!r->length)
        return csv_wrong(r, "a workload without a name");
    csv_take_name(r, name);
    if (!last || strcmp(last->name, name)) {
        for (size_t i = 0; i < c->count; i++) {
            if (!strcmp(c->curves[i].name, name))
                return csv_wrong(r, "the rows of a workload must follow each other");
        }
        if (c->count == CSV_CURVES_MAX)
            return csv_wrong(r, "more than %d workloads", CSV_CURVES_MAX);
        last = &c->curves[c->count++];
        *last = (struct csv_curve){.first = at};
        memcpy(last->name, name, sizeof(name));
    }
    if (!csv_next_field(r))
        return csv_missing(r, "size_mib is missing");
    if (!csv_number(r, CSV_MIB_MAX, &p->mib))
        return false;
    if (last->count ? p->mib <= p[-1].mib : p->mib <= 0)
        return csv_wrong(r, "sizes must rise from above 0");
    if (!csv_next_field(r))
        return csv_missing(r, "miss_ratio is missing");
    if (!csv_number(r, 1, &ratio))
        return false;
    if (!csv_next_field(r))
        return csv_missing(r, "misses_per_s is missing");
    if (!csv_number(r, 1e15, &p->misses))
        return false;
    if (last->count && p->misses > p[-1].misses)
        return csv_wrong(r, "misses must not rise with size");
    last->count++;
    return !csv_next_field(r) || csv_wrong(r, "more fields than the header has");
}

static bool read_points(struct csv_reader *r, struct csv_curves *c)
{
    size_t most = 1, count = 0;

    for (size_t i = r->at; i < r->size; i++)
        most += r->text[i] == '\n';
    c->curves = calloc(CSV_CURVES_MAX, sizeof(*c->curves));
    c->points = malloc(most * sizeof(*c->points));
    if (!c->curves || !c->points)
        return csv_fail_file(r, "not enough memory");
    while (csv_next_line(r)) {
        if (*r->field == '#')
            continue;
        if (!read_point(r, c, count++))
            return false;
    }
    return count || csv_ends(r, "no rows after the header");
}

bool csv_curves_read(const char *path, struct csv_curves *c, struct csv_error *error)
{
    struct csv_reader r = {.path = path, .error = error};
    bool ok;

    *c = (struct csv_curves){0};
    ok = csv_slurp(&r) && read_curve_header(&r) && read_points(&r, c);
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
