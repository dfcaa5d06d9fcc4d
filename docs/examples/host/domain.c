#include "domain.h"

#include <jansson.h>
#include <libvirt/virterror.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KIB 1024ull

struct domain {
    struct domain *next; /* of all that are served */
    char uri[CONFIG_PATH], uuid[DOMAIN_UUID];
    int fd;
    FILE *in;                /* the same, to read from */
    char error[CONFIG_TEXT]; /* why libvirt does not serve it */
    virConnectPtr connection;
    virDomainPtr domain;
};

/* Who is served, and may be told of events. Holding the lock is the right to write to any. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct domain *served;

/* A domain that has ended, or a libvirt that has, is no answer but the end of the connection. */
static bool is_there(const struct domain *d)
{
    return virConnectIsAlive(d->connection) == 1 && virDomainIsActive(d->domain) == 1;
}

/* --- what is asked ------------------------------------------------------------------------- */

/* Each returns what QMP would, or NULL when libvirt has an error. */
typedef json_t *answer_function(struct domain *d, const json_t *arguments);

static json_t *nothing(struct domain *d, const json_t *arguments)
{
    (void)d;
    (void)arguments;
    return json_object();
}

static json_t *name(struct domain *d, const json_t *arguments)
{
    (void)arguments;
    return json_pack("{s:s}", "name", virDomainGetName(d->domain));
}

static json_t *state(struct domain *d, const json_t *arguments)
{
    int now = VIR_DOMAIN_NOSTATE;

    (void)arguments;
    if (virDomainGetState(d->domain, &now, NULL, 0) != 0)
        return NULL;
    return json_pack("{s:b}", "running",
                     now == VIR_DOMAIN_RUNNING || now == VIR_DOMAIN_BLOCKED ||
                         now == VIR_DOMAIN_NOSTATE);
}

static json_t *memory(struct domain *d, const json_t *arguments)
{
    virDomainInfo info;

    (void)arguments;
    if (virDomainGetInfo(d->domain, &info) != 0)
        return NULL;
    return json_pack("{s:I}", "base-memory", (json_int_t)(info.maxMem * KIB));
}

/* The part of a domain's description that is about its balloon, to be freed; empty when there is no
 * balloon; NULL for an error. */
static char *description(struct domain *d)
{
    char *text = virDomainGetXMLDesc(d->domain, 0), *begin, *end, *none;

    if (text == NULL)
        return NULL;
    begin = strstr(text, "<memballoon ");
    end = begin ? strchr(begin, '>') : NULL;
    none = begin ? strstr(begin, "model='none'") : NULL;
    if (end == NULL || (none && none < end)) /* what follows may have models, too */
        return text[0] = '\0', text;
    if (end[-1] != '/')
        end = strstr(end, "</memballoon>");
    if (end)
        *end = '\0';
    memmove(text, begin, strlen(begin) + 1);
    return text;
}

static json_t *devices(struct domain *d, const json_t *arguments)
{
    char *balloon = description(d);
    json_t *list = json_array();

    (void)arguments;
    if (balloon == NULL) {
        json_decref(list);
        return NULL;
    }
    if (balloon[0])
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "name", "libvirt", "type", "child<virtio-balloon>"));
    free(balloon);
    return list;
}

static json_t *period(struct domain *d)
{
    static const char key[] = "<stats period='";
    char *balloon = description(d), *found;
    json_int_t seconds = 0;

    if (balloon == NULL)
        return NULL;
    found = strstr(balloon, key);
    if (found)
        seconds = (json_int_t)strtoul(found + sizeof(key) - 1, NULL, 10);
    free(balloon);
    return json_integer(seconds);
}

/* By tag. */
static int read_statistics(struct domain *d, virDomainMemoryStatStruct *values)
{
    return virDomainMemoryStats(d->domain, values, VIR_DOMAIN_MEMORY_STAT_NR, 0);
}

static json_t *statistics(struct domain *d)
{
    virDomainMemoryStatStruct values[VIR_DOMAIN_MEMORY_STAT_NR];
    int count = read_statistics(d, values);
    json_int_t stamp = 0;
    json_t *stats;
    char tag[16];

    if (count < 0)
        return NULL;
    stats = json_object();
    for (int i = 0; i < count; i++) {
        if (values[i].tag == VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE)
            stamp = (json_int_t)values[i].val;
        snprintf(tag, sizeof(tag), "%d", values[i].tag);
        json_object_set_new(stats, tag, json_integer((json_int_t)values[i].val));
    }
    return json_pack("{s:o, s:I}", "stats", stats, "last-update", stamp);
}

static json_t *property(struct domain *d, const json_t *arguments)
{
    const char *which = json_string_value(json_object_get(arguments, "property"));

    return which && strcmp(which, "guest-stats") == 0 ? statistics(d) : period(d);
}

/* Of the balloon as QEMU has it now; what virDomainGetInfo() tells can be a second old. */
static json_t *size(struct domain *d, const json_t *arguments)
{
    virDomainMemoryStatStruct values[VIR_DOMAIN_MEMORY_STAT_NR];
    int count = read_statistics(d, values);
    virDomainInfo info;

    (void)arguments;
    for (int i = 0; i < count; i++)
        if (values[i].tag == VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON)
            return json_pack("{s:I}", "actual", (json_int_t)(values[i].val * KIB));
    /* Of a domain that has ended that tells how large it would be. */
    if ((count < 0 && !is_there(d)) || virDomainGetInfo(d->domain, &info) != 0)
        return NULL;
    return json_pack("{s:I}", "actual", (json_int_t)(info.memory * KIB));
}

static json_t *set_period(struct domain *d, const json_t *arguments)
{
    json_int_t seconds = json_integer_value(json_object_get(arguments, "value"));

    if (virDomainSetMemoryStatsPeriod(d->domain, (int)seconds, VIR_DOMAIN_AFFECT_LIVE) != 0)
        return NULL;
    return json_object();
}

static json_t *set_size(struct domain *d, const json_t *arguments)
{
    json_int_t bytes = json_integer_value(json_object_get(arguments, "value"));
    unsigned long kib = (unsigned long)((uint64_t)bytes / KIB);

    if (virDomainSetMemoryFlags(d->domain, kib, VIR_DOMAIN_AFFECT_LIVE) != 0)
        return NULL;
    return json_object();
}

/* --- the conversation ---------------------------------------------------------------------- */

static const struct {
    const char *name;
    answer_function *answer;
} commands[] = {
    {"qmp_capabilities", nothing}, {"query-name", name},
    {"query-status", state},       {"query-memory-size-summary", memory},
    {"qom-list", devices},         {"qom-get", property},
    {"qom-set", set_period},       {"query-balloon", size},
    {"balloon", set_size},
};

/* Lines of two threads do not mix. Who does not listen, and leaves so much that this one finds no
 * room, is not waited for. Returns whether it could be said. */
static bool say_locked(int fd, json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0;
    bool said;

    json_decref(message);
    if (text == NULL)
        return false;
    text[length] = '\n'; /* in place of the zero */
    said = send(fd, text, length + 1, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length + 1;
    free(text);
    return said;
}

static bool say(const struct domain *d, json_t *message)
{
    bool said;

    pthread_mutex_lock(&lock);
    said = say_locked(d->fd, message);
    pthread_mutex_unlock(&lock);
    return said;
}

static bool answer(struct domain *d, const char *line)
{
    json_t *command = json_loads(line, 0, NULL), *data = NULL;
    const char *wanted = json_string_value(json_object_get(command, "execute"));
    json_int_t id = json_integer_value(json_object_get(command, "id"));
    char error[CONFIG_TEXT];
    bool said = false;

    for (size_t i = 0; d->domain && wanted && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, wanted) == 0)
            data = commands[i].answer(d, json_object_get(command, "arguments"));
    /* Whatever is asked of libvirt next forgets that. */
    snprintf(error, sizeof(error), "%s", d->domain ? virGetLastErrorMessage() : d->error);
    if (data)
        said = say(d, json_pack("{s:o, s:I}", "return", data, "id", id));
    else if (d->domain == NULL || is_there(d))
        said = say(d, json_pack("{s:{s:s}, s:I}", "error", "desc", error, "id", id));
    json_decref(command);
    return said;
}

/* Returns whether there is something to say: why it cannot be served is the answer to all that is
 * asked. */
static bool open_domain(struct domain *d)
{
    d->connection = virConnectOpen(d->uri);
    if (d->connection)
        d->domain = virDomainLookupByUUIDString(d->connection, d->uuid);
    if (d->domain)
        return is_there(d);
    snprintf(d->error, sizeof(d->error), "%s", virGetLastErrorMessage());
    return true;
}

static void converse(struct domain *d)
{
    size_t room = 0;
    char *line = NULL;
    bool goes_on = say(d, json_pack("{s:{}}", "QMP"));

    while (goes_on && getline(&line, &room, d->in) > 0)
        goes_on = answer(d, line);
    free(line);
}

static void forget(struct domain *d)
{
    struct domain **at = &served;

    pthread_mutex_lock(&lock);
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    fclose(d->in);
    pthread_mutex_unlock(&lock);
    free(d);
}

static void *serve(void *argument)
{
    struct domain *d = argument;

    if (open_domain(d))
        converse(d);
    if (d->domain)
        virDomainFree(d->domain);
    if (d->connection)
        virConnectClose(d->connection);
    forget(d);
    return NULL;
}

/* --- from other threads -------------------------------------------------------------------- */

static struct domain *find(const char *uri, const char *uuid)
{
    struct domain *d = served;

    while (d && (strcmp(d->uuid, uuid) != 0 || strcmp(d->uri, uri) != 0))
        d = d->next;
    return d;
}

static int begin(struct domain *d, int *fd)
{
    pthread_t thread;
    int ends[2], error = ENOMEM;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return errno;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    d->fd = ends[1];
    d->in = fdopen(ends[1], "r");
    if (d->in)
        error = pthread_create(&thread, NULL, serve, d);
    if (error) {
        close(ends[0]);
        (void)(d->in ? fclose(d->in) : close(ends[1]));
        return error;
    }
    pthread_detach(thread);
    d->next = served;
    served = d;
    *fd = ends[0];
    return 0;
}

int domain_serve(const char *uri, const char *uuid, int *fd)
{
    struct domain *d = calloc(1, sizeof(*d));
    int error = ENOMEM;

    if (d) {
        snprintf(d->uri, sizeof(d->uri), "%s", uri);
        snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
        pthread_mutex_lock(&lock);
        error = find(uri, uuid) ? EBUSY : begin(d, fd);
        pthread_mutex_unlock(&lock);
    }
    if (error)
        free(d);
    return error;
}

void domain_event(const char *uri, const char *uuid, const char *event)
{
    struct domain *d;

    pthread_mutex_lock(&lock);
    d = find(uri, uuid);
    if (d && (event == NULL || !say_locked(d->fd, json_pack("{s:s}", "event", event))))
        shutdown(d->fd, SHUT_RDWR);
    pthread_mutex_unlock(&lock);
}

void domain_wait(void)
{
    bool ended = false;

    for (unsigned i = 0; i < 100 && !ended; i++) {
        pthread_mutex_lock(&lock);
        ended = served == NULL;
        pthread_mutex_unlock(&lock);
        if (!ended)
            usleep(10000);
    }
}
