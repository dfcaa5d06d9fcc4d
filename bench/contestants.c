#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contestants.h"
#include "run_optimum.h"

/* --- knobs -------------------------------------------------------------------------------------
 */

static bool set_knob(balloon_waterline_knobs *knobs, const char *name, uint32_t value)
{
    const struct {
        const char *name;
        uint32_t *at;
    } words[] = {{"tax", &knobs->tax},
                 {"boost", &knobs->boost},
                 {"boost_cap", &knobs->boost_cap},
                 {"threshold", &knobs->threshold},
                 {"dead_band", &knobs->dead_band},
                 {"shrink", &knobs->shrink}};

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (!strcmp(name, words[i].name)) {
            *words[i].at = value;
            return true;
        }
    }
    if (!strcmp(name, "hold_s"))
        knobs->hold = value * UINT64_C(1000000000);
    else if (!strcmp(name, "proactive"))
        knobs->proactive = value != 0;
    else if (!strcmp(name, "ignore_curves"))
        knobs->ignore_curves = value != 0;
    else
        return false;
    return true;
}

/* One "name=value"; off stands for BALLOON_KNOB_OFF. */
static bool parse_knob(balloon_waterline_knobs *knobs, char *text)
{
    char *value = strchr(text, '='), *end;
    unsigned long number;

    if (!value)
        return false;
    *value++ = '\0';
    if (!strcmp(value, "off"))
        return set_knob(knobs, text, BALLOON_KNOB_OFF);
    if (*value < '0' || *value > '9')
        return false;
    number = strtoul(value, &end, 10);
    return !*end && number < 1000000000 && set_knob(knobs, text, (uint32_t)number);
}

/* Policies refuse what they cannot do when they begin. */
static bool knobs_fit(const struct contestant *c)
{
    static _Alignas(max_align_t) unsigned char state[4096];

    memset(state, 0, sizeof(state));
    return c->policy == &run_oracle_policy || !c->policy->init ||
           c->policy->init(state, contestant_knobs(c));
}

/* --- lists -------------------------------------------------------------------------------------
 */

static bool parse_one(char *text, struct contestant *c, char *why, size_t why_size)
{
    char *knobs, *mrc;

    *c = (struct contestant){.knobs = {.size = sizeof(c->knobs)}};
    if (strlen(text) >= sizeof(c->name)) {
        snprintf(why, why_size, "a policy with a very long name");
        return false;
    }
    strcpy(c->name, text);
    knobs = strchr(text, ':');
    if (knobs)
        *knobs++ = '\0';
    mrc = strstr(text, "+mrc");
    if (mrc && !mrc[4])
        *mrc = '\0';
    c->policy = strcmp(text, "oracle") ? balloon_policy_find(text) : &run_oracle_policy;
    if (!c->policy) {
        snprintf(why, why_size, "no such policy: %.40s", text);
        return false;
    }
    c->curves = mrc || c->policy == &balloon_policy_curves || c->policy == &run_oracle_policy;
    c->has_knobs = knobs != NULL;
    if (knobs && c->policy != &balloon_policy_waterline) {
        snprintf(why, why_size, "knobs are for waterline only");
        return false;
    }
    while (knobs) {
        char *next = strchr(knobs, ':');

        if (next)
            *next++ = '\0';
        if (!parse_knob(&c->knobs, knobs)) {
            snprintf(why, why_size, "no such knob, or a wrong value: %.40s", knobs);
            return false;
        }
        knobs = next;
    }
    if (!knobs_fit(c)) {
        snprintf(why, why_size, "knobs outside of their limits: %.60s", c->name);
        return false;
    }
    return true;
}

static size_t take_all(struct contestant *to)
{
    size_t count;
    const balloon_policy *const *policies = balloon_policies(&count);

    for (size_t i = 0; i < count; i++) {
        to[i] = (struct contestant){.policy = policies[i]};
        snprintf(to[i].name, sizeof(to[i].name), "%s", policies[i]->name);
        to[i].curves = policies[i] == &balloon_policy_curves;
    }
    to[count] = (struct contestant){
        .name = "waterline+mrc", .policy = &balloon_policy_waterline, .curves = true};
    return count + 1;
}

size_t contestants_parse(const char *list, struct contestant *to, char *why, size_t why_size)
{
    char text[2048], *next = text;
    size_t count = 0;

    if (strlen(list) >= sizeof(text)) {
        snprintf(why, why_size, "a very long list of policies");
        return 0;
    }
    strcpy(text, list);
    while (next) {
        char *one = next;

        next = strchr(next, ',');
        if (next)
            *next++ = '\0';
        if (!strcmp(one, "all") && !count) {
            count = take_all(to);
            continue;
        }
        if (count == CONTESTANTS_MAX) {
            snprintf(why, why_size, "more than %d policies", CONTESTANTS_MAX);
            return 0;
        }
        if (!parse_one(one, &to[count], why, why_size))
            return 0;
        count++;
    }
    return count;
}

const void *contestant_knobs(const struct contestant *c)
{
    return c->has_knobs ? &c->knobs : NULL;
}
