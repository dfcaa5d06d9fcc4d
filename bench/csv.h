/* Read demand over time and miss-ratio curves from CSV files, whatever is in them. */
#ifndef BENCH_CSV_H
#define BENCH_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CSV_COLUMNS_MAX 10000
#define CSV_NAME_MAX    64
#define CSV_MIB_MAX     16777216.0 /* 16 TiB */
#define CSV_CURVES_MAX  1000

/* What is wrong: the file, and the line and column in it, both from 1 on. A column is a field of a
 * line, not a byte. */
struct csv_error {
    char text[320];
};

/* Fractions from 0 to 1 instead of MiB: these are their ends. Set is false for plain MiB. */
struct csv_scale {
    bool set;
    bool
        guessed; /* nobody asked for it, but all values are from 0 to 1, or a note says "not MiB" */
    double floor_mib, ceil_mib;
};

/* What is guessed: 20 and 90 % of 16 GiB. */
#define CSV_FLOOR_MIB 3277
#define CSV_CEIL_MIB  14746

/* What memory is counted in. */
enum csv_unit {
    CSV_UNIT_UNKNOWN,
    CSV_UNIT_B,
    CSV_UNIT_KIB,
    CSV_UNIT_MIB,
    CSV_UNIT_GIB,
    CSV_UNIT_PAGES /* of 4 KiB */
};

/* A unit by its name, in any case. */
bool csv_unit_find(const char *name, enum csv_unit *unit);
const char *csv_unit_name(enum csv_unit unit);

/* What is known of a file before it is read. */
struct csv_form {
    struct csv_scale scale;
    enum csv_unit unit;
    const char *columns; /* names of those to take, with commas between; NULL: all but the time */
};

/* Demand: "# capacity_mib,..." (optional), "time_s,<name>,...", then rows of MiB. Or
 * "workload,time_s,working_set_mib,footprint_mib", then the rows of each workload, which all begin
 * at time 0; the working set is the demand. Or what others export: a header with a column of times,
 * which may be dates or since 1970, and of amounts, in a unit that is told, or named by the header
 * or by the cells; fields divided by commas, semicolons or tabs, with quotes or without. */
struct csv_demand {
    struct csv_scale scale; /* as it was applied */
    enum csv_unit unit;     /* as it was applied; unknown for fractions, or when cells say theirs */
    size_t rows, columns;
    uint64_t *time_ms; /* of each row, the first one 0 */
    double *mib;       /* rows times columns; NAN where there is no sample */
    double *capacity;  /* of each column; NAN where it is not known */
    char (*names)[CSV_NAME_MAX];
};

/* @return whether the file could be read; if not, error says why, and there is nothing to free. */
bool csv_demand_read(const char *path, const struct csv_form *form, struct csv_demand *demand,
                     struct csv_error *error);
void csv_demand_free(struct csv_demand *demand);

/* A curve of "workload,size_mib,miss_ratio,misses_per_s". */
struct csv_curve {
    char name[CSV_NAME_MAX];
    size_t first, count; /* of the points */
};

struct csv_point {
    double mib, misses;
};

struct csv_curves {
    size_t count;
    struct csv_curve *curves;
    struct csv_point *points; /* of all curves; sizes rise, misses never do */
};

bool csv_curves_read(const char *path, struct csv_curves *curves, struct csv_error *error);
void csv_curves_free(struct csv_curves *curves);

#endif
