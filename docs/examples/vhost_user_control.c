/* The example's commands on standard input, and its answers on standard output. */
#include "vhost_user_guest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void say_event(const struct guest *g, const char *event)
{
    say("{\"event\":\"%s\",\"guest\":%u}\n", event, g->number);
}

void say_why(const struct guest *g, const char *event, const char *why)
{
    say("{\"event\":\"%s\",\"guest\":%u,\"why\":\"%s\"}\n", event, g->number, why);
}

static void say_sample(const struct guest *g)
{
    balloon_sample sample;
    if (!balloon_device_sample(g->device, &sample))
        return;
    say("{\"guest\":%u,\"age_ms\":%" PRIu64 ",\"stats\":{", g->number,
        (now() - sample.time) / 1000000);
    const char *comma = "";
    for (int i = 0; i < BALLOON_STAT_COUNT; i++) {
        uint64_t value;
        if (!balloon_sample_get(&sample, (balloon_stat)i, &value))
            continue;
        say("%s\"%s\":%" PRIu64, comma, balloon_stat_name((balloon_stat)i), value);
        comma = ",";
    }
    say("}}\n");
}

/* Every "stats" that waits has its answer now. */
void say_stats(struct guest *g, bool late)
{
    for (; g->stats_asked > 0; g->stats_asked--) {
        if (late)
            say("{\"guest\":%u,\"error\":\"statistics are late\"}\n", g->number);
        else
            say_sample(g);
    }
}

/* What the library cannot know comes first. */
static const char *explain(const struct guest *g, balloon_reason reason)
{
    if (g->session.socket < 0)
        return "no front-end is connected";
    if (g->memory_refused)
        return g->memory_refused;
    return g->session.paused ? "the guest is paused, or its driver has left without a word"
                             : balloon_reason_text(reason);
}

static void command_status(struct guest *g, const char *word)
{
    (void)word;
    balloon_device_status s;
    balloon_device_counters c;
    balloon_os_counters os;
    uint32_t all;
    balloon_reason reason = balloon_device_explain(g->device, now(), &all);
    balloon_device_status_get(g->device, &s);
    balloon_device_counters_get(g->device, &c);
    balloon_os_counters_get(g->os, &os);
    say("{\"guest\":%u,\"connected\":%s,\"driver\":%s,\"paused\":%s,\"settled\":%s,\"pressure\":%s,"
        "\"stats_late\":%s,\"inhibited\":%u,\"hinting\":%d,\"offered\":%u,\"negotiated\":%u,"
        "\"reason\":%d,\"reasons\":%u,\"explain\":\"%s\"",
        g->number, g->session.socket >= 0 ? "true" : "false", s.driver ? "true" : "false",
        g->session.paused ? "true" : "false", s.settled ? "true" : "false",
        s.pressure ? "true" : "false", s.stats_late ? "true" : "false", s.inhibited, (int)s.hinting,
        s.offered, s.negotiated, (int)reason, all, explain(g, reason));
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"guest_pages", s.guest_pages},
                   {"target", g->wish > 0 ? g->wish : s.target},
                   {"actual", s.actual},
                   {"held", s.held},
                   {"pending", s.pending},
                   {"hinted", s.hinted},
                   {"buffers", c.buffers},
                   {"acks", c.acks},
                   {"inflated", c.inflated},
                   {"deflated", c.deflated},
                   {"inflate_duplicate", c.inflate_duplicate},
                   {"inflate_outside", c.inflate_outside},
                   {"deflate_unheld", c.deflate_unheld},
                   {"cancelled", c.cancelled},
                   {"discarded", c.discarded},
                   {"discard_runs", c.discard_runs},
                   {"discard_failed", c.discard_failed},
                   {"discard_ranges", os.ranges},
                   {"discard_calls", os.calls},
                   {"reported", c.reported},
                   {"hints", c.hints},
                   {"stats_received", c.stats_received},
                   {"protocol_errors", c.protocol_errors},
                   {"resets", c.resets}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        say(",\"%s\":%" PRIu64, numbers[i].name, numbers[i].value);
    say("}\n");
}

static void answer(const struct guest *g, balloon_status status)
{
    if (status == BALLOON_OK)
        say("{\"guest\":%u,\"ok\":true}\n", g->number);
    else
        say("{\"guest\":%u,\"error\":\"%s\"}\n", g->number, balloon_status_text(status));
}

static void command_target(struct guest *g, const char *word)
{
    char *end;
    errno = 0;
    unsigned long long mib = strtoull(word, &end, 10);
    if (end == word || *end || errno || mib > UINT32_MAX / PAGES_PER_MIB) {
        answer(g, BALLOON_ERR_INVALID);
        return;
    }
    uint64_t pages = mib * PAGES_PER_MIB;
    balloon_device_status s;
    balloon_device_status_get(g->device, &s);
    g->on_its_way = true;
    if (s.guest_pages == 0) {
        g->wish = pages;
        answer(g, BALLOON_OK);
        return;
    }
    answer(g, balloon_device_set_target(g->device, pages, now()));
}

static void command_stats(struct guest *g, const char *word)
{
    (void)word;
    balloon_status status = balloon_device_request_stats(g->device, now());
    if (status == BALLOON_OK || status == BALLOON_ERR_BUSY)
        g->stats_asked++; /* the answer is the statistics */
    else
        answer(g, status);
}

static void command_hint(struct guest *g, const char *word)
{
    if (strcmp(word, "start") == 0)
        answer(g, balloon_device_start_hinting(g->device));
    else if (strcmp(word, "stop") == 0)
        answer(g, balloon_device_stop_hinting(g->device));
    else if (strcmp(word, "finish") == 0)
        answer(g, balloon_device_finish_hinting(g->device));
    else
        answer(g, BALLOON_ERR_INVALID);
}

static void command_inhibit(struct guest *g, const char *word)
{
    (void)word;
    balloon_device_inhibit(g->device);
    answer(g, BALLOON_OK);
}

static void command_release(struct guest *g, const char *word)
{
    (void)word;
    answer(g, balloon_device_release(g->device));
}

static void command_quit(struct guest *g, const char *word)
{
    (void)g;
    (void)word;
    quit = 1;
}

static const struct {
    const char *verb, *argument; /* argument: what it is, or NULL for none */
    void (*run)(struct guest *g, const char *word);
} verbs[] = {{"target", "MIB", command_target},  {"stats", NULL, command_stats},
             {"status", NULL, command_status},   {"hint", "start|stop|finish", command_hint},
             {"inhibit", NULL, command_inhibit}, {"release", NULL, command_release},
             {"quit", NULL, command_quit}};
enum { VERBS = sizeof verbs / sizeof *verbs };

/* One line: a verb, a guest's number unless it is 0, and the verb's argument. */
static void command(char *line)
{
    char *word[4];
    int words = 0;
    for (char *w = strtok(line, " \t\r"); w && words < 4; w = strtok(NULL, " \t\r"))
        word[words++] = w;
    if (words == 0)
        return;
    for (size_t v = 0; v < VERBS; v++) {
        int needed = verbs[v].argument ? 2 : 1;
        unsigned long number = 0;
        if (strcmp(word[0], verbs[v].verb) != 0)
            continue;
        if (words == needed + 1) {
            char *end;
            number = strtoul(word[1], &end, 10);
            if (*end != '\0')
                break;
        }
        if (number >= guest_count || (words != needed && words != needed + 1))
            break;
        verbs[v].run(&guests[number], word[words - 1]);
        return;
    }
    say("{\"error\":\"not a command\",\"commands\":[");
    for (size_t v = 0; v < VERBS; v++)
        say("%s\"%s [GUEST]%s%s\"", v ? "," : "", verbs[v].verb, verbs[v].argument ? " " : "",
            verbs[v].argument ? verbs[v].argument : "");
    say("]}\n");
}

/* Whatever has come on standard input; whole lines are obeyed. */
void commands(void)
{
    static char line[256];
    static size_t length;
    static bool too_long;
    char input[256];
    ssize_t got = read(STDIN_FILENO, input, sizeof input);
    if (got <= 0) {
        quit = 1;
        return;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (input[i] != '\n') {
            if (length < sizeof line - 1)
                line[length++] = input[i];
            else
                too_long = true;
            continue;
        }
        /* What is too long for a command is no command, up to its end. */
        line[too_long ? 0 : length] = '\0';
        if (too_long)
            say("{\"error\":\"the line is too long\"}\n");
        length = 0;
        too_long = false;
        command(line);
    }
}
