/* What stands in a cell of an exported table: a time, or an amount of memory in some unit. */
#ifndef BENCH_CSV_CELL_H
#define BENCH_CSV_CELL_H

#include "csv_reader.h"

/* How the times of a file are written; begins as CSV_CLOCK_ANY and is what the first one shows. */
enum csv_clock {
    CSV_CLOCK_ANY,
    CSV_CLOCK_S,
    CSV_CLOCK_MS,
    CSV_CLOCK_US,
    CSV_CLOCK_NS,
    CSV_CLOCK_DATE
};

/* Does a column of that name hold times, and is it said how? */
bool csv_is_clock(const struct csv_reader *r, enum csv_clock *clock);

/* A time in seconds: a number of seconds, or since 1970 of milli-, micro- or nanoseconds by its
 * size; or a date, as in 2026-11-30T08:00:00.5+01:00, with a space for the T, or less of it. */
bool csv_time(struct csv_reader *r, enum csv_clock *clock, double *seconds);

/* MiB of a unit; 0 for one that is not known. */
double csv_unit_mib(enum csv_unit unit);

/* As people see it: "KiB". */
const char *csv_unit_name(enum csv_unit unit);

/* The unit that a column's name says, as in rss_bytes, "Used (GiB)" or kbmemused, or unknown. kB
 * and KB are KiB, and so on, as the kernel and most tools mean it. */
enum csv_unit csv_unit_of_name(const char *name);

/* Nothing, NaN, null and the like. */
bool csv_is_blank(const struct csv_reader *r);

/* A number that may have a unit behind it. *unit is that, and stays what it was without. */
bool csv_amount(struct csv_reader *r, double most_mib, enum csv_unit *unit, double *value);

#endif
