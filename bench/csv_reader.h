/* Lines and fields of a CSV file, and how to say where something is wrong. */
#ifndef BENCH_CSV_READER_H
#define BENCH_CSV_READER_H

#include "csv.h"

#define CSV_TIME_MAX 1e11      /* s; dates in seconds are fine */
#define CSV_SPAN_MAX 31622400u /* s of all rows: a year */

/* A file in memory, a line of it, and the fields of that line. */
struct csv_reader {
    const char *path;
    struct csv_error *error;
    char *text;
    size_t size, at;   /* at: where the next line begins */
    size_t line;       /* the number of the current one */
    const char *field; /* the current field, */
    size_t length;     /* its length, */
    size_t column;     /* and its number; 0 before the first */
    const char *end;   /* of the line */
    const char *next;  /* where the next field begins; NULL after the last */
    char separator;    /* between fields; 0 means a comma */
};

/* Name the place, and quote the field as far as it can be printed. Always false. */
bool csv_wrong(struct csv_reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for the field after the last one of the line. */
bool csv_missing(struct csv_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The file ends where more should come. Always false. */
bool csv_ends(struct csv_reader *r, const char *what);

/* What is wrong has no place. Always false. */
bool csv_fail_file(struct csv_reader *r, const char *what);

/* Read the file; text is to be freed whatever comes out. */
bool csv_slurp(struct csv_reader *r);

/* Go to the next line that is not empty. */
bool csv_next_line(struct csv_reader *r);

/* Go to the next field of the line. It loses blanks around it, and quotes, of which the bytes in
 * the file are changed, so no line is read twice. */
bool csv_next_field(struct csv_reader *r);

/* Take what follows the first field of the line for the separator. */
void csv_find_separator(struct csv_reader *r);

bool csv_field_is(const struct csv_reader *r, const char *text);

/* Plain decimal numbers from 0 to most only, with a comma for the point where that separates
 * nothing: what strtod() takes beside them is no measurement. */
bool csv_number(struct csv_reader *r, double most, double *value);

void csv_take_name(const struct csv_reader *r, char *to);

/* Demand by workload, from the first field of its header on. */
bool csv_long_read(struct csv_reader *r, struct csv_demand *d);

#endif
