#include "domains.h"
#include "config.h"
#include "domain.h"

#include <libvirt/virterror.h>

#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A domain that runs; it has another id each time that it is started. */
struct entry {
    char uuid[DOMAIN_UUID];
    char name[CONFIG_NAME];
    uint64_t id;
};

/* A URI, looked at by a thread of its own: whenever it is wanted, and when libvirt tells of a
 * change. */
struct source {
    struct source *next;
    char uri[CONFIG_PATH];
    virConnectPtr connection; /* the thread's */
    int callbacks[3];         /* on it; -1 for none */
    /* Under the lock: */
    bool wanted;
    bool asked;            /* libvirt was asked once */
    bool known;            /* what is in entries is true */
    struct entry *entries; /* replaced as a whole */
    char error[CONFIG_TEXT];
    unsigned count;
};

/* How a URI begins whose QEMUs are processes of this host. */
#define LOCAL "qemu:///"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wish = PTHREAD_COND_INITIALIZER;
static struct source *sources;

const char *domains_missing(void)
{
    return NULL;
}

/* --- the thread of a URI ------------------------------------------------------------------- */

static void want(struct source *s)
{
    pthread_mutex_lock(&lock);
    s->wanted = true;
    pthread_cond_broadcast(&wish);
    pthread_mutex_unlock(&lock);
}

static void tell(const struct source *s, virDomainPtr domain, const char *event)
{
    char uuid[DOMAIN_UUID];

    if (virDomainGetUUIDString(domain, uuid) == 0)
        domain_event(s->uri, uuid, event);
}

static int on_life(virConnectPtr connection, virDomainPtr domain, int event, int detail,
                   void *context)
{
    struct source *s = context;

    (void)connection;
    (void)detail;
    if (event == VIR_DOMAIN_EVENT_SUSPENDED)
        tell(s, domain, "STOP");
    else if (event == VIR_DOMAIN_EVENT_RESUMED)
        tell(s, domain, "RESUME");
    else if (event == VIR_DOMAIN_EVENT_SHUTDOWN)
        tell(s, domain, "SHUTDOWN");
    else if (event == VIR_DOMAIN_EVENT_STOPPED)
        tell(s, domain, NULL);
    if (event == VIR_DOMAIN_EVENT_STOPPED || event == VIR_DOMAIN_EVENT_STARTED)
        want(s);
    return 0;
}

static void on_reboot(virConnectPtr connection, virDomainPtr domain, void *context)
{
    (void)connection;
    tell(context, domain, "RESET");
}

static void on_balloon(virConnectPtr connection, virDomainPtr domain, unsigned long long actual,
                       void *context)
{
    (void)connection;
    (void)actual;
    tell(context, domain, "BALLOON_CHANGE");
}

static int on(struct source *s, int event, virConnectDomainEventGenericCallback callback)
{
    return virConnectDomainEventRegisterAny(s->connection, NULL, event, callback, s, NULL);
}

/* What a driver of libvirt has no events for is seen at the next look. */
static void open_source(struct source *s)
{
    s->connection = virConnectOpen(s->uri);
    if (s->connection == NULL)
        return;
    s->callbacks[0] = on(s, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_life));
    s->callbacks[1] = on(s, VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot));
    s->callbacks[2] =
        on(s, VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_balloon));
}

/* A callback holds its connection, which would stay open. */
static void close_source(struct source *s)
{
    for (size_t i = 0; i < sizeof(s->callbacks) / sizeof(s->callbacks[0]); i++)
        if (s->callbacks[i] >= 0)
            (void)virConnectDomainEventDeregisterAny(s->connection, s->callbacks[i]);
    virConnectClose(s->connection);
    s->connection = NULL;
}

static bool describe(virDomainPtr domain, struct entry *e)
{
    const char *name = virDomainGetName(domain);
    unsigned id = virDomainGetID(domain);

    if (name == NULL || id == UINT32_MAX || virDomainGetUUIDString(domain, e->uuid) != 0)
        return false;
    snprintf(e->name, sizeof(e->name), "%.*s", CONFIG_NAME - 1, name);
    e->id = id;
    return true;
}

/* Who runs; NULL and no count for none, a count of -1 when libvirt does not say. */
static struct entry *list(struct source *s, int *count)
{
    struct entry *entries = NULL;
    virDomainPtr *domains = NULL;
    int found = -1, kept = 0;

    if (s->connection)
        found = virConnectListAllDomains(s->connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (found > 0)
        entries = calloc((size_t)found, sizeof(*entries));
    for (int i = 0; i < found; i++) {
        if (entries && describe(domains[i], &entries[kept]))
            kept++;
        virDomainFree(domains[i]);
    }
    free(domains);
    *count = found < 0 || (found > 0 && entries == NULL) ? -1 : kept;
    return entries;
}

/* One look; afterwards all can see what was there. */
static void look(struct source *s)
{
    struct entry *entries, *old;
    int count;

    if (s->connection == NULL)
        open_source(s);
    entries = list(s, &count);
    pthread_mutex_lock(&lock);
    s->known = count >= 0;
    s->asked = true;
    snprintf(s->error, sizeof(s->error), "%s", s->known ? "" : virGetLastErrorMessage());
    old = s->known ? s->entries : entries;
    if (s->known) {
        s->entries = entries;
        s->count = (unsigned)count;
    }
    pthread_mutex_unlock(&lock);
    free(old);
    if (count < 0 && s->connection)
        close_source(s);
}

static void *watch(void *context)
{
    struct source *s = context;

    for (;;) {
        pthread_mutex_lock(&lock);
        while (!s->wanted)
            pthread_cond_wait(&wish, &lock);
        s->wanted = false;
        pthread_mutex_unlock(&lock);
        look(s);
    }
    return NULL;
}

/* --- the first URI ------------------------------------------------------------------------- */

/* Errors are asked for where they occur. */
static void be_quiet(void *context, virErrorPtr error)
{
    (void)context;
    (void)error;
}

/* Events of all connections; what fails once need not fail for ever. */
static void *dispatch(void *context)
{
    for (;;)
        if (virEventRunDefaultImpl() != 0)
            sleep(1);
    return context;
}

static bool start(void *(*run)(void *), void *context)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, context) != 0)
        return false;
    pthread_detach(thread);
    return true;
}

static bool begin_libvirt(void)
{
    static bool begun;

    if (begun)
        return true;
    virSetErrorFunc(NULL, be_quiet);
    begun = virInitialize() == 0 && virEventRegisterDefaultImpl() == 0 && start(dispatch, NULL);
    return begun;
}

static struct source *find(const char *uri, size_t length)
{
    struct source *s = sources;

    while (s && (strlen(s->uri) != length || strncmp(s->uri, uri, length) != 0))
        s = s->next;
    return s;
}

static struct source *add(const char *uri, size_t length)
{
    struct source *s;

    if (!begin_libvirt() || (s = calloc(1, sizeof(*s))) == NULL)
        return NULL;
    snprintf(s->uri, sizeof(s->uri), "%.*s", (int)length, uri);
    if (!start(watch, s)) {
        free(s);
        return NULL;
    }
    s->next = sources;
    sources = s;
    return s;
}

/* --- for the loop -------------------------------------------------------------------------- */

static void visit_all(const struct source *s, const char *pattern, visit_function *visit,
                      void *context)
{
    char path[CONFIG_PATH + DOMAIN_UUID];

    for (unsigned i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];

        if (*pattern && fnmatch(pattern, e->name, 0) != 0)
            continue;
        snprintf(path, sizeof(path), "%s#%s", s->uri, e->uuid);
        visit(context, path, e->id);
    }
}

void domains_visit(const char *place, visit_function *visit, void *context)
{
    size_t length = strcspn(place, " \t");
    const char *pattern = place + length + strspn(place + length, " \t");
    struct source *s = find(place, length);

    if (s == NULL)
        s = add(place, length);
    if (s == NULL)
        return;
    pthread_mutex_lock(&lock);
    visit_all(s, pattern, visit, context);
    pthread_mutex_unlock(&lock);
    want(s);
}

bool domains_error(const char *place, char *text, size_t room)
{
    const struct source *s = find(place, strcspn(place, " \t"));

    if (s == NULL)
        return false;
    pthread_mutex_lock(&lock);
    snprintf(text, room, "%s", s->error);
    pthread_mutex_unlock(&lock);
    return text[0] != '\0';
}

bool domains_settled(void)
{
    bool settled = true;

    pthread_mutex_lock(&lock);
    for (const struct source *s = sources; s; s = s->next)
        settled = settled && s->asked;
    pthread_mutex_unlock(&lock);
    return settled;
}

static const struct entry *entry_of(const struct source *s, const char *uuid)
{
    for (unsigned i = 0; s && i < s->count; i++)
        if (strcmp(s->entries[i].uuid, uuid) == 0)
            return &s->entries[i];
    return NULL;
}

int domains_connect(const char *path, int *fd)
{
    size_t length = strcspn(path, "#");
    const char *uuid = path + length + 1;
    struct source *s = path[length] ? find(path, length) : NULL;
    int error = 0;

    if (s == NULL)
        return ENOENT;
    pthread_mutex_lock(&lock);
    if (!s->known)
        error = ENOTCONN;
    else if (entry_of(s, uuid) == NULL)
        error = ENOENT;
    pthread_mutex_unlock(&lock);
    return error ? error : domain_serve(s->uri, uuid, fd);
}

/* libvirt's driver for QEMU on this host keeps them where root's guests and those of a user are. */
static int read_number(const char *folder, const char *inside, const char *name)
{
    char path[512];
    FILE *file;
    int number = 0;

    snprintf(path, sizeof(path), "%s/libvirt/qemu/%s%s.pid", folder, inside, name);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%d", &number) != 1)
        number = 0;
    fclose(file);
    return number;
}

pid_t domains_process(const char *path)
{
    size_t length = strcspn(path, "#");
    const struct source *s = path[length] ? find(path, length) : NULL;
    const char *run = getenv("XDG_RUNTIME_DIR");
    char name[CONFIG_NAME] = "";
    const struct entry *e;

    pthread_mutex_lock(&lock);
    e = entry_of(s, path + length + 1);
    if (e)
        snprintf(name, sizeof(name), "%s", e->name);
    pthread_mutex_unlock(&lock);
    if (name[0] == '\0' || strncmp(path, LOCAL, strlen(LOCAL)) != 0)
        return 0;
    if (strstr(path, "/session"))
        return run ? read_number(run, "run/", name) : 0;
    return read_number("/run", "", name);
}

void domains_end(void)
{
    domain_wait();
}
