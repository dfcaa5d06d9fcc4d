#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csv_reader.h"

#define FILE_MAX ((size_t)64 << 20)

bool csv_wrong(struct csv_reader *r, const char *format, ...)
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

bool csv_missing(struct csv_reader *r, const char *format, ...)
{
    char what[160];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    r->column++;
    r->length = 0;
    return csv_wrong(r, "%s", what);
}

bool csv_ends(struct csv_reader *r, const char *what)
{
    r->line++;
    r->column = 0;
    return csv_missing(r, "%s", what);
}

bool csv_fail_file(struct csv_reader *r, const char *what)
{
    snprintf(r->error->text, sizeof(r->error->text), "%.200s: %s", r->path, what);
    return false;
}

bool csv_slurp(struct csv_reader *r)
{
    FILE *file = fopen(r->path, "rb");
    size_t room = 0, got;
    bool ok = false;

    if (!file)
        return csv_fail_file(r, strerror(errno));
    for (;;) {
        if (r->size == room) {
            char *more = realloc(r->text, room = room ? room * 2 : 65536);

            if (!more) {
                csv_fail_file(r, "not enough memory");
                break;
            }
            r->text = more;
        }
        got = fread(r->text + r->size, 1, room - r->size, file);
        r->size += got;
        if (r->size > FILE_MAX) {
            csv_fail_file(r, "larger than 64 MiB");
            break;
        }
        if (!got) {
            ok = !ferror(file);
            /* A byte order mark is no part of the first name. */
            if (r->size >= 3 && !memcmp(r->text, "\xef\xbb\xbf", 3))
                r->at = 3;
            if (!ok)
                csv_fail_file(r, strerror(errno ? errno : EIO));
            break;
        }
    }
    fclose(file);
    return ok;
}

bool csv_next_line(struct csv_reader *r)
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
        r->field = r->next = start;
        r->length = r->column = 0;
        r->end = end;
        return true;
    }
    return false;
}

static char separator_of(const struct csv_reader *r)
{
    return r->separator ? r->separator : ',';
}

/* From the opening quote to behind the closing one; NULL when that is not the end of a field. The
 * text in between moves to where the quote was. */
static const char *unquote(struct csv_reader *r, const char *start, size_t *length)
{
    const char *from = start + 1, *stop;
    char *to = r->text + (start - r->text);

    for (stop = from; stop < r->end; stop++) {
        if (*stop != '"')
            continue;
        if (stop + 1 == r->end || stop[1] != '"')
            break;
        stop++;
    }
    if (stop == r->end || (stop + 1 < r->end && stop[1] != separator_of(r)))
        return NULL;
    for (*length = 0; from < stop; from++) {
        to[(*length)++] = *from;
        from += *from == '"';
    }
    return stop + 1;
}

bool csv_next_field(struct csv_reader *r)
{
    const char *start = r->next, *end = NULL;

    if (!start)
        return false;
    if (start < r->end && *start == '"')
        end = unquote(r, start, &r->length);
    if (!end) {
        end = memchr(start, separator_of(r), (size_t)(r->end - start));
        end = end ? end : r->end;
        r->length = (size_t)(end - start);
    }
    r->next = end < r->end ? end + 1 : NULL;
    r->field = start;
    for (; r->length && *r->field == ' '; r->length--)
        r->field++;
    while (r->length && r->field[r->length - 1] == ' ')
        r->length--;
    r->column++;
    return true;
}

void csv_find_separator(struct csv_reader *r)
{
    bool quoted = false;

    for (const char *c = r->field; c < r->end; c++) {
        quoted ^= *c == '"';
        if (!quoted && *c && strchr(",;\t", *c)) {
            r->separator = *c;
            return;
        }
    }
}

bool csv_field_is(const struct csv_reader *r, const char *text)
{
    return r->length == strlen(text) && !memcmp(r->field, text, r->length);
}

bool csv_number(struct csv_reader *r, double most, double *value)
{
    char text[64], *end;

    if (!r->length)
        return csv_wrong(r, "a number is missing");
    if (r->length >= sizeof(text))
        return csv_wrong(r, "not a number");
    for (size_t i = 0; i < r->length; i++) {
        const char *allowed = separator_of(r) == ',' ? "0123456789+-.eE" : "0123456789+-.eE,";

        if (!r->field[i] || !strchr(allowed, r->field[i]))
            return csv_wrong(r, "not a number");
    }
    memcpy(text, r->field, r->length);
    text[r->length] = '\0';
    if (separator_of(r) != ',' && (end = strchr(text, ',')) != NULL)
        *end = '.';
    *value = strtod(text, &end);
    if (*end || end == text)
        return csv_wrong(r, "not a number");
    if (!(*value >= 0))
        return csv_wrong(r, "less than 0");
    if (*value > most)
        return csv_wrong(r, "more than %.0f", most);
    return true;
}

void csv_take_name(const struct csv_reader *r, char *to)
{
    size_t n = r->length < CSV_NAME_MAX - 1 ? r->length : CSV_NAME_MAX - 1;

    for (size_t i = 0; i < n; i++)
        to[i] = r->field[i] >= ' ' && r->field[i] <= '~' ? r->field[i] : '?';
    to[n] = '\0';
}
