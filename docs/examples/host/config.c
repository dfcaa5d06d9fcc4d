#include "config.h"

#include <balloon/policy.h>

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MOST = 64 * 1024, PAGES_PER_MIB = 256 };

void config_init(struct config *c)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->policy, sizeof(c->policy), "%s", balloon_policy_waterline.name);
    c->pool = (struct config_amount){.number = 75, .percent = true};
}

/* --- values -------------------------------------------------------------------------------- */

bool config_amount(const char *text, struct config_amount *amount)
{
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    amount->number = strtoull(text, &end, 10);
    amount->percent = *end == '%';
    amount->given = true;
    end += amount->percent;
    if (errno || *end || amount->number > (amount->percent ? 100 : UINT64_C(1) << 32))
        return false;
    return true;
}

static bool number(const char *text, uint32_t least, uint32_t most, uint32_t *value)
{
    struct config_amount amount;

    if (!config_amount(text, &amount) || amount.percent || amount.number < least ||
        amount.number > most)
        return false;
    *value = (uint32_t)amount.number;
    return true;
}

static bool word(const char *text, char *to, size_t room)
{
    if (strlen(text) >= room)
        return false;
    memcpy(to, text, strlen(text) + 1);
    return true;
}

bool config_add_place(struct config *c, const char *path)
{
    return c->place_count < CONFIG_PLACES && word(path, c->places[c->place_count++], CONFIG_PATH);
}

/* --- lines --------------------------------------------------------------------------------- */

static bool set_global(struct config *c, const char *key, const char *value)
{
    if (strcmp(key, "pool") == 0)
        return config_amount(value, &c->pool) && c->pool.number > 0;
    if (strcmp(key, "reserve") == 0)
        return config_amount(value, &c->reserve);
    if (strcmp(key, "policy") == 0)
        return balloon_policy_find(value) && word(value, c->policy, sizeof(c->policy));
    if (strcmp(key, "guests") == 0)
        return config_add_place(c, value);
    if (strcmp(key, "metrics") == 0)
        return word(value, c->metrics, sizeof(c->metrics));
    if (strcmp(key, "on_short") == 0)
        return word(value, c->on_short, sizeof(c->on_short));
    return false;
}

static bool set_rule(struct config_rule *r, const char *key, const char *value)
{
    if (strcmp(key, "min") == 0)
        return config_amount(value, &r->min);
    if (strcmp(key, "max") == 0)
        return config_amount(value, &r->max) && r->max.number > 0;
    if (strcmp(key, "shares") == 0)
        return r->has_shares = number(value, 1, 10000, &r->shares);
    if (strcmp(key, "priority") == 0)
        return r->has_priority = number(value, 0, UINT32_MAX, &r->priority);
    if (strcmp(key, "windows") == 0) {
        r->windows = strcmp(value, "yes") == 0;
        return r->has_windows = r->windows || strcmp(value, "no") == 0;
    }
    return false;
}

static bool begin_rule(struct config *c, char *pattern)
{
    char *end = strchr(pattern, ']');

    if (end == NULL || end == pattern || end[1] || c->rule_count == CONFIG_RULES)
        return false;
    *end = '\0';
    return word(pattern, c->rules[c->rule_count++].pattern, CONFIG_NAME);
}

static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " \t\r");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

static bool take_line(struct config *c, char *line)
{
    char *equal, *key;

    line = trim(line);
    if (*line == '\0' || *line == '#')
        return true;
    if (*line == '[')
        return begin_rule(c, line + 1);
    equal = strchr(line, '=');
    if (equal == NULL)
        return false;
    *equal = '\0';
    key = trim(line);
    if (c->rule_count)
        return set_rule(&c->rules[c->rule_count - 1], key, trim(equal + 1));
    return set_global(c, key, trim(equal + 1));
}

bool config_parse(struct config *c, const char *text)
{
    unsigned line_number = 1;

    for (; *text; line_number++) {
        size_t length = strcspn(text, "\n");
        char line[CONFIG_TEXT * 2], shown[CONFIG_TEXT / 2];
        bool fits = length < sizeof(line);

        snprintf(line, sizeof(line), "%.*s", (int)(fits ? length : sizeof(line) - 1), text);
        snprintf(shown, sizeof(shown), "%.*s", (int)sizeof(shown) - 1, line);
        if (!fits || !take_line(c, line)) {
            snprintf(c->error, sizeof(c->error), "line %u: not understood: %s", line_number, shown);
            return false;
        }
        text += length + (text[length] == '\n');
    }
    return true;
}

bool config_read(struct config *c, const char *path)
{
    static char text[FILE_MOST];
    FILE *file = fopen(path, "re");
    size_t length;

    if (file == NULL) {
        snprintf(c->error, sizeof(c->error), "%s", strerror(errno));
        return false;
    }
    length = fread(text, 1, sizeof(text) - 1, file);
    text[length] = '\0';
    if (ferror(file) || !feof(file) || strlen(text) != length) {
        snprintf(c->error, sizeof(c->error), "not a text of less than %d KiB", FILE_MOST / 1024);
        fclose(file);
        return false;
    }
    fclose(file);
    return config_parse(c, text);
}

/* --- questions ----------------------------------------------------------------------------- */

uint64_t config_pages(const struct config_amount *amount, uint64_t all)
{
    if (amount->percent)
        return all / BALLOON_PAGE_SIZE * amount->number / 100;
    return amount->number * PAGES_PER_MIB;
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

void config_limits(const struct config *c, const char *name, uint64_t ram,
                   balloon_pool_guest *limits)
{
    uint64_t pages = ram / BALLOON_PAGE_SIZE;

    *limits = (balloon_pool_guest){.size = sizeof(*limits), .min = pages / 4, .max = pages};
    for (unsigned i = 0; i < c->rule_count; i++) {
        const struct config_rule *r = &c->rules[i];

        if (fnmatch(r->pattern, name, 0) != 0)
            continue;
        if (r->min.given)
            limits->min = config_pages(&r->min, ram);
        if (r->max.given)
            limits->max = config_pages(&r->max, ram);
        if (r->has_shares)
            limits->shares = r->shares;
        if (r->has_priority)
            limits->priority = r->priority;
    }
    limits->max = at_most(limits->max, pages);
    limits->min = at_most(limits->min, limits->max);
}

bool config_is_windows(const struct config *c, const char *name)
{
    bool windows = false;

    for (unsigned i = 0; i < c->rule_count; i++)
        if (c->rules[i].has_windows && fnmatch(c->rules[i].pattern, name, 0) == 0)
            windows = c->rules[i].windows;
    return windows;
}
