#include "talk.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* QEMU asks the guest by itself so often, in seconds, also when this program has gone. Setting the
 * interval from 0 to anything else makes it ask at once. */
#define INTERVAL "1"
#define RECENT   10

#define PERIPHERAL "/machine/peripheral"
#define PROPERTY   "guest-stats-polling-interval"

static bool has_device(const struct vmm *g)
{
    return g->device[0] != '\0';
}

/* Whether its statistics can be asked for. */
static bool has_statistics(const struct vmm *g)
{
    return has_device(g) && g->interval != UINT64_MAX;
}

unsigned talk_step(const struct vmm *g, unsigned after)
{
    unsigned step = after + 1;

    if (step == TALK_LIST_ANON && has_device(g))
        step++;
    if (step == TALK_INTERVAL && !has_device(g))
        step = TALK_KNOWN;
    if (step == TALK_BASELINE && !has_statistics(g))
        step = TALK_KNOWN;
    return step;
}

/* --- commands ------------------------------------------------------------------------------ */

static bool put_command(struct vmm *g, const char *name, const char *const *arguments)
{
    char *line = qmp_command(name, ++g->last_id, arguments);
    enum wire_state state = WIRE_NO_MEMORY;

    if (line)
        state = wire_put(&g->wire, line, strlen(line));
    free(line);
    return state == WIRE_OPEN;
}

static bool set_interval(struct vmm *g, const char *seconds)
{
    const char *const arguments[] = {"path",  g->device, "property", PROPERTY,
                                     "value", seconds,   NULL};

    return put_command(g, "qom-set", arguments);
}

static bool get_property(struct vmm *g, const char *property)
{
    const char *const arguments[] = {"path", g->device, "property", property, NULL};

    return put_command(g, "qom-get", arguments);
}

static bool list(struct vmm *g, const char *path)
{
    const char *const arguments[] = {"path", path, NULL};

    return put_command(g, "qom-list", arguments);
}

static bool set_size(struct vmm *g)
{
    char bytes[24];
    const char *const arguments[] = {"value", bytes, NULL};

    snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)g->target);
    g->told = g->target;
    return put_command(g, "balloon", arguments);
}

static bool put_one(struct vmm *g, unsigned command)
{
    switch (command) {
    case TALK_CAPABILITIES:
        return put_command(g, "qmp_capabilities", NULL);
    case TALK_NAME:
        return put_command(g, "query-name", NULL);
    case TALK_STATUS:
        return put_command(g, "query-status", NULL);
    case TALK_MEMORY:
        return put_command(g, "query-memory-size-summary", NULL);
    case TALK_LIST:
        return list(g, PERIPHERAL);
    case TALK_LIST_ANON:
        return list(g, PERIPHERAL "-anon");
    case TALK_INTERVAL:
        return get_property(g, PROPERTY);
    case TALK_SIZE:
        return put_command(g, "query-balloon", NULL);
    case TALK_INTERVAL_OFF:
        return set_interval(g, "0");
    case TALK_INTERVAL_ON:
        return set_interval(g, INTERVAL);
    case TALK_BALLOON:
        return set_size(g);
    default: /* TALK_BASELINE, TALK_STATS */
        return get_property(g, "guest-stats");
    }
}

bool talk_put(struct vmm *g, unsigned command)
{
    if (g->pending_count == VMM_PENDING || !put_one(g, command))
        return false;
    g->pending[g->pending_count++] = (struct vmm_pending){g->last_id, command};
    return true;
}

void talk_restore(struct vmm *g)
{
    char seconds[24];

    if (!has_statistics(g))
        return;
    snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)g->restore);
    if (set_interval(g, seconds))
        (void)wire_flush(&g->wire);
}

/* --- answers ------------------------------------------------------------------------------- */

/* A name that the administrator gave to the guest is better than that of its socket. It is shown on
 * terminals, so only what is harmless there is taken. */
static void take_name(struct vmm *g, const json_t *data)
{
    const char *name = qmp_text(data, "name");
    size_t length = 0;

    if (name == NULL || name[0] == '\0')
        return;
    for (; name[length] && length < VMM_NAME - 1; length++)
        g->name[length] = name[length] > ' ' && name[length] <= '~' ? name[length] : '_';
    g->name[length] = '\0';
}

/* Before its first instruction, on the way in from another host, a guest has no driver; nor has it
 * one that listens while it is stopped. */
static const char *take_status(struct vmm *g, const json_t *data)
{
    const json_t *running = json_object_get(data, "running");

    if (!json_is_boolean(running))
        return "query-status: no answer to that";
    if (g->running != json_is_true(running))
        g->news |= VMM_STATUS;
    g->running = json_is_true(running);
    return NULL;
}

static const char *take_memory(struct vmm *g, const json_t *data)
{
    uint64_t base = 0, plugged = 0;

    if (!qmp_number(data, "base-memory", &base) || base == 0 || base > INT64_MAX / 2)
        return "query-memory-size-summary: no size";
    (void)qmp_number(data, "plugged-memory", &plugged);
    g->ram = base + (plugged <= INT64_MAX / 2 ? plugged : 0);
    return NULL;
}

/* Only QEMU's own device is under /machine/peripheral by a type of that name. */
static const char *take_list(struct vmm *g, const json_t *data)
{
    static const char type[] = "child<virtio-balloon";
    const char *parent = g->command == TALK_LIST ? PERIPHERAL : PERIPHERAL "-anon";

    if (!json_is_array(data))
        return "qom-list: no list";
    for (size_t i = 0; i < json_array_size(data) && !has_device(g); i++) {
        const json_t *item = json_array_get(data, i);
        const char *name = qmp_text(item, "name"), *kind = qmp_text(item, "type");

        if (name == NULL || kind == NULL || strncmp(kind, type, sizeof(type) - 1) != 0)
            continue;
        if (snprintf(g->device, sizeof(g->device), "%s/%s", parent, name) >= (int)sizeof(g->device))
            return "qom-list: the name of the balloon is too long";
    }
    return NULL;
}

static const char *take_size(struct vmm *g, const json_t *data)
{
    uint64_t actual = 0;

    if (!qmp_number(data, "actual", &actual) || actual > INT64_MAX)
        return "query-balloon: no size";
    if (actual > g->ram) { /* a QEMU before 2.11, or memory was plugged */
        g->ram = actual;
        g->news |= VMM_STATUS;
    }
    if (g->size != 0 && g->size != actual)
        g->driver = true;
    g->size = actual;
    g->size_time = g->asked_at;
    g->news |= VMM_SIZE;
    return NULL;
}

/* QEMU has names for statistics, libvirt tags. */
static void take_value(balloon_sample *sample, const char *name, uint64_t value)
{
    if (name[0] >= '0' && name[0] <= '9')
        (void)balloon_sample_set_libvirt(sample, (uint32_t)strtoul(name, NULL, 10), value);
    else
        (void)balloon_sample_set_named(sample, BALLOON_STAT_NAMES_QEMU, name, value);
}

/* What QEMU had before we asked shows that there is a driver when it is no older than two of the
 * intervals in use; then it is a sample, too. */
static bool is_recent(struct vmm *g, balloon_sample *sample, uint64_t stamp)
{
    uint64_t clock = (uint64_t)time(NULL), age = clock > stamp ? clock - stamp : 0;

    if (g->command != TALK_BASELINE || stamp > clock + 1 || age > RECENT ||
        sample->time < age * SECOND)
        return false;
    sample->time -= age * SECOND;
    return true;
}

static const char *take_stats(struct vmm *g, const json_t *data, balloon_time_t now)
{
    balloon_sample sample = {.time = now};
    json_t *stats = json_object_get(data, "stats");
    uint64_t stamp = 0, value;
    const char *name;
    json_t *number;

    if (!json_is_object(stats))
        return "guest-stats: no statistics";
    json_object_foreach(stats, name, number)
    {
        if (qmp_number(number, NULL, &value))
            take_value(&sample, name, value);
    }
    (void)qmp_number(data, "last-update", &stamp);
    if (sample.present != 0 && (is_recent(g, &sample, stamp) ||
                                (g->command == TALK_STATS &&
                                 balloon_sample_is_new(&sample, stamp, &g->sample, g->stamp)))) {
        if (!g->driver)
            g->news |= VMM_STATUS;
        g->driver = true;
        g->news |= VMM_SAMPLE;
    }
    if (g->command == TALK_BASELINE || g->news & VMM_SAMPLE) {
        g->sample = sample;
        g->stamp = stamp;
    } else {
        g->nudged_at = 0;
    }
    return NULL;
}

static const char *take_return(struct vmm *g, const json_t *data, balloon_time_t now)
{
    switch (g->command) {
    case TALK_NAME:
        take_name(g, data);
        return NULL;
    case TALK_STATUS:
        return take_status(g, data);
    case TALK_MEMORY:
        return take_memory(g, data);
    case TALK_LIST:
    case TALK_LIST_ANON:
        return take_list(g, data);
    case TALK_INTERVAL:
        if (!qmp_number(data, NULL, &g->interval))
            return "guest-stats-polling-interval: no number";
        if (g->restore == UINT64_MAX) /* later it is our own */
            g->restore = g->interval;
        return NULL;
    case TALK_SIZE:
        return take_size(g, data);
    case TALK_BASELINE:
    case TALK_STATS:
        return take_stats(g, data, now);
    case TALK_BALLOON:
        g->news |= VMM_TARGET;
        return NULL;
    default:
        return NULL;
    }
}

/* Some errors only tell what the guest does not have. */
static const char *take_error(struct vmm *g, const char *text)
{
    switch (g->command) {
    case TALK_CAPABILITIES:
    case TALK_STATUS:
        return text;
    case TALK_SIZE: /* it has no balloon */
        if (g->ram == 0)
            return text;
        g->device[0] = '\0';
        g->size = g->ram;
        g->size_time = g->asked_at;
        g->news |= VMM_SIZE;
        return NULL;
    case TALK_INTERVAL:
        g->interval = UINT64_MAX;
        return NULL;
    case TALK_BALLOON:
        snprintf(g->error, sizeof(g->error), "balloon: %s", text);
        g->errors++;
        g->news |= VMM_STATUS;
        return NULL;
    default:
        return NULL;
    }
}

const char *talk_answer(struct vmm *g, const struct qmp_message *m, balloon_time_t now)
{
    if (m->kind == QMP_ERROR)
        return take_error(g, m->name);
    return take_return(g, m->data, now);
}

/* --- events -------------------------------------------------------------------------------- */

void talk_event(struct vmm *g, const char *name)
{
    if (strcmp(name, "BALLOON_CHANGE") == 0) {
        g->wanted |= VMM_SIZE;
    } else if (strcmp(name, "STOP") == 0 || strcmp(name, "RESUME") == 0) {
        g->running = name[0] == 'R';
        g->news |= VMM_STATUS;
    } else if (strcmp(name, "RESET") == 0) {
        /* Its balloon is empty until the next driver is there, whatever QEMU remembers. */
        g->driver = false;
        g->news |= VMM_STATUS;
        g->wanted |= VMM_SIZE;
    } else if (strcmp(name, "SHUTDOWN") == 0) {
        g->driver = false;
        g->news |= VMM_STATUS;
    }
}
