#include "csv_cell.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_any(const struct csv_reader *r, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(words[i]) == r->length && !strncasecmp(words[i], r->field, r->length))
            return true;
    }
    return false;
}

/* --- times -------------------------------------------------------------------------------------
 */

bool csv_is_clock(const struct csv_reader *r, enum csv_clock *clock)
{
    static const char *const words[] = {"time",      "timestamp", "date", "datetime",
                                        "date time", "epoch",     "ts",   "time_utc"};

    *clock = CSV_CLOCK_ANY;
    if (csv_field_is(r, "time_s"))
        *clock = CSV_CLOCK_S;
    else if (csv_field_is(r, "time_ms"))
        *clock = CSV_CLOCK_MS;
    return *clock != CSV_CLOCK_ANY || is_any(r, words, sizeof(words) / sizeof(*words));
}

static bool take_digits(const char **at, const char *end, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, ++*at) {
        if (*at == end || !isdigit((unsigned char)**at))
            return false;
        *value = *value * 10 + (**at - '0');
    }
    return true;
}

static bool take_char(const char **at, const char *end, const char *any)
{
    if (*at == end || !**at || !strchr(any, **at))
        return false;
    ++*at;
    return true;
}

/* Days since 1970 of a date of the Gregorian calendar, by eras of 400 years that begin in March. */
static double days_of(int year, int month, int day)
{
    long y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    long of_year = (153L * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return (double)(era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468);
}

static bool take_zone(const char **at, const char *end, double *seconds)
{
    int hours, minutes = 0, sign;

    take_char(at, end, " ");
    if (take_char(at, end, "zZ") || *at == end)
        return true;
    if (end - *at == 3 && (!strncmp(*at, "UTC", 3) || !strncmp(*at, "GMT", 3))) {
        *at = end;
        return true;
    }
    sign = **at == '-' ? -1 : 1;
    if (!take_char(at, end, "+-") || !take_digits(at, end, 2, &hours))
        return false;
    take_char(at, end, ":");
    if (*at != end && !take_digits(at, end, 2, &minutes))
        return false;
    *seconds -= sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool take_date(const struct csv_reader *r, double *seconds)
{
    const char *at = r->field, *end = at + r->length;
    int year, month, day, hour = 0, minute = 0, second = 0;
    double part = 0.1;

    if (!take_digits(&at, end, 4, &year) || !take_char(&at, end, "-/") ||
        !take_digits(&at, end, 2, &month) || !take_char(&at, end, "-/") ||
        !take_digits(&at, end, 2, &day) || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    *seconds = days_of(year, month, day) * 86400;
    if (!take_char(&at, end, "tT "))
        return at == end;
    if (!take_digits(&at, end, 2, &hour) || !take_char(&at, end, ":") ||
        !take_digits(&at, end, 2, &minute) ||
        (take_char(&at, end, ":") && !take_digits(&at, end, 2, &second)) || hour > 24 ||
        minute > 59 || second > 60)
        return false;
    *seconds += hour * 3600 + minute * 60 + second;
    if (take_char(&at, end, ".,")) {
        for (; at < end && isdigit((unsigned char)*at); at++, part /= 10)
            *seconds += (*at - '0') * part;
    }
    return take_zone(&at, end, seconds) && at == end;
}

/* No time in seconds has so many digits, and none since 1970 in ms so few. */
static enum csv_clock clock_of(double number)
{
    return number < 1e11   ? CSV_CLOCK_S
           : number < 1e14 ? CSV_CLOCK_MS
           : number < 1e17 ? CSV_CLOCK_US
                           : CSV_CLOCK_NS;
}

bool csv_time(struct csv_reader *r, enum csv_clock *clock, double *seconds)
{
    static const double parts[] = {
        [CSV_CLOCK_S] = 1, [CSV_CLOCK_MS] = 1e3, [CSV_CLOCK_US] = 1e6, [CSV_CLOCK_NS] = 1e9};

    if (*clock == CSV_CLOCK_ANY && r->length > 4 && strchr("-/", r->field[4]) && r->field[4])
        *clock = CSV_CLOCK_DATE;
    if (*clock == CSV_CLOCK_DATE)
        return take_date(r, seconds) || csv_wrong(r, "not a date");
    if (!csv_number(r, *clock == CSV_CLOCK_ANY ? 1e20 : CSV_TIME_MAX * parts[*clock], seconds))
        return false;
    if (*clock == CSV_CLOCK_ANY)
        *clock = clock_of(*seconds);
    *seconds /= parts[*clock];
    return true;
}

/* --- amounts -----------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    double mib;
} units[] = {
    [CSV_UNIT_UNKNOWN] = {"unknown", 0},  [CSV_UNIT_B] = {"B", 1.0 / 1048576},
    [CSV_UNIT_KIB] = {"KiB", 1.0 / 1024}, [CSV_UNIT_MIB] = {"MiB", 1},
    [CSV_UNIT_GIB] = {"GiB", 1024},       [CSV_UNIT_PAGES] = {"pages", 1.0 / 256},
};

double csv_unit_mib(enum csv_unit unit)
{
    return units[unit].mib;
}

const char *csv_unit_name(enum csv_unit unit)
{
    return units[unit].name;
}

bool csv_unit_find(const char *name, enum csv_unit *unit)
{
    for (int u = CSV_UNIT_B; u <= CSV_UNIT_PAGES; u++) {
        if (!strcasecmp(name, units[u].name)) {
            *unit = (enum csv_unit)u;
            return true;
        }
    }
    return false;
}

/* A word for a unit, as others write it. */
static enum csv_unit unit_of_word(const char *word, size_t length)
{
    static const struct {
        const char *word;
        enum csv_unit unit;
    } words[] = {
        {"b", CSV_UNIT_B},         {"byte", CSV_UNIT_B},  {"bytes", CSV_UNIT_B},
        {"kib", CSV_UNIT_KIB},     {"kb", CSV_UNIT_KIB},  {"mib", CSV_UNIT_MIB},
        {"mb", CSV_UNIT_MIB},      {"gib", CSV_UNIT_GIB}, {"gb", CSV_UNIT_GIB},
        {"pages", CSV_UNIT_PAGES},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (strlen(words[i].word) == length && !strncasecmp(words[i].word, word, length))
            return words[i].unit;
    }
    return CSV_UNIT_UNKNOWN;
}

enum csv_unit csv_unit_of_name(const char *name)
{
    const char *end = name + strlen(name), *word;
    enum csv_unit unit;

    /* sadf. */
    if (!strncmp(name, "kb", 2) && islower((unsigned char)name[2]))
        return CSV_UNIT_KIB;
    while (end > name && strchr(")] ", end[-1]))
        end--;
    for (word = end; word > name && isalpha((unsigned char)word[-1]);)
        word--;
    unit = word > name ? unit_of_word(word, (size_t)(end - word)) : CSV_UNIT_UNKNOWN;
    /* A name that ends in b after a blank or a stroke is just a name. */
    return unit == CSV_UNIT_B && end - word == 1 && word[-1] != '(' && word[-1] != '['
               ? CSV_UNIT_UNKNOWN
               : unit;
}

bool csv_is_blank(const struct csv_reader *r)
{
    static const char *const words[] = {"",    "nan", "null",      "none",   "na",
                                        "n/a", "-",   "undefined", "no data"};

    return is_any(r, words, sizeof(words) / sizeof(*words));
}

bool csv_amount(struct csv_reader *r, double most_mib, enum csv_unit *unit, double *value)
{
    size_t whole = r->length, digits = whole;
    enum csv_unit own;
    double most;
    bool ok;

    while (digits && (isalpha((unsigned char)r->field[digits - 1]) || r->field[digits - 1] == ' '))
        digits--;
    for (own = CSV_UNIT_UNKNOWN; digits < whole && r->field[digits] == ' ';)
        digits++;
    own = unit_of_word(r->field + digits, whole - digits);
    if (own) {
        *unit = own;
        while (digits && r->field[digits - 1] == ' ')
            digits--;
        r->length = digits;
    }
    /* The largest amount, as a number in the smallest unit while it is not known. */
    most = most_mib / csv_unit_mib(*unit ? *unit : CSV_UNIT_B);
    ok = csv_number(r, most, value);
    r->length = ok ? whole : r->length;
    return ok;
}
