/* Domains of libvirt, as balloon-host sees them: against libvirt's own test driver, which lives in
 * this process. */
#include "host/domains.h"
#include "host/host.h"

#include <criterion/criterion.h>

#include <dlfcn.h>
#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define URI "test:///default"
#define KIB UINT64_C(1024)

enum { ROUNDS = 5000 };

static struct vmm vmm;
static virConnectPtr ours;
static virDomainPtr domain;
static char found_path[VMM_PATH];
static unsigned found_count;

/* --- what libvirt does when it does not do what it should ----------------------------------- */

/* These take the place of libvirt's own in this program, and call them. */
static _Atomic(const char *) opened;      /* a URI in place of all others */
static _Atomic(const char *) description; /* of all domains */
static atomic_bool lists_fail, events_fail;
static atomic_int last_close = -1;

static void real(const char *name, void *function)
{
    void *found = dlsym(RTLD_NEXT, name);

    cr_assert_not_null(found, "%s", name);
    memcpy(function, &found, sizeof(found));
}

virConnectPtr virConnectOpen(const char *uri)
{
    virConnectPtr (*open)(const char *);
    const char *other = opened;

    real("virConnectOpen", &open);
    return open(other ? other : uri);
}

int virConnectClose(virConnectPtr connection)
{
    int (*close_it)(virConnectPtr), references;

    real("virConnectClose", &close_it);
    references = close_it(connection);
    last_close = references;
    return references;
}

int virConnectListAllDomains(virConnectPtr connection, virDomainPtr **domains, unsigned flags)
{
    int (*list)(virConnectPtr, virDomainPtr **, unsigned);

    real("virConnectListAllDomains", &list);
    return lists_fail ? -1 : list(connection, domains, flags);
}

char *virDomainGetXMLDesc(virDomainPtr of, unsigned flags)
{
    char *(*describe)(virDomainPtr, unsigned);
    const char *text = description;

    real("virDomainGetXMLDesc", &describe);
    return text ? strdup(text) : describe(of, flags);
}

int virEventRunDefaultImpl(void)
{
    int (*run)(void);

    real("virEventRunDefaultImpl", &run);
    return atomic_exchange(&events_fail, false) ? -1 : run();
}

/* --- one domain ----------------------------------------------------------------------------- */

static void take(void *context, const char *path, uint64_t instance)
{
    (void)context;
    cr_assert_eq(instance, 1, "its id");
    snprintf(found_path, sizeof(found_path), "%s", path);
    found_count++;
}

static void look(const char *place)
{
    found_count = 0;
    domains_visit(place, take, NULL);
    for (unsigned i = 0; i < ROUNDS && !domains_settled(); i++)
        usleep(1000);
    cr_assert(domains_settled());
    domains_visit(place, take, NULL);
}

static void go_round(void)
{
    struct pollfd one = {.fd = vmm.wire.fd, .events = vmm_events(&vmm)};

    if (poll(&one, 1, 1) > 0)
        vmm_bytes(&vmm, one.revents, host_clock());
    vmm_time(&vmm, host_clock());
}

#define live_until(condition)                                                                      \
    do {                                                                                           \
        for (unsigned round_ = 0; round_ < ROUNDS && !(condition); round_++)                       \
            go_round();                                                                            \
        cr_assert(condition);                                                                      \
    } while (0)

/* After the first visit libvirt's event loop is there, which connections must not come before. */
static void begin(void)
{
    look(URI);
    cr_assert_eq(found_count, 1);
    ours = virConnectOpen(URI);
    cr_assert_not_null(ours);
    domain = virDomainLookupByName(ours, "test");
    cr_assert_not_null(domain);
    vmm_init(&vmm, found_path);
    live_until(vmm.state == VMM_THERE);
}

static void end(void)
{
    vmm_end(&vmm);
    domains_end();
    virDomainFree(domain);
    virConnectClose(ours);
}

TestSuite(host_domains, .timeout = 120);

Test(host_domains, a_domain_is_a_guest, .init = begin, .fini = end)
{
    uint64_t value = 0;

    cr_assert_str_eq(vmm.name, "test");
    cr_assert_eq(vmm.ram, 8388608 * KIB);
    cr_assert_eq(vmm.size, 2097152 * KIB);
    cr_assert(vmm.running);
    cr_assert_neq(vmm.device[0], '\0');
    cr_assert(balloon_sample_get(&vmm.sample, BALLOON_STAT_FREE, &value));
    cr_assert_eq(value, 1048576 * KIB);
    cr_assert(balloon_sample_get(&vmm.sample, BALLOON_STAT_AVAILABLE, &value));
    cr_assert_eq(value, 1048576 * KIB);
    cr_assert(balloon_sample_get(&vmm.sample, BALLOON_STAT_TOTAL, &value));
    cr_assert_eq(value, 2097152 * KIB);
}

Test(host_domains, a_target_arrives_and_changes_what_the_guest_says, .init = begin, .fini = end)
{
    virDomainInfo info;

    cr_assert_not(vmm.driver, "the test driver's figures are of 1989");
    vmm.news = 0;
    vmm_set_target(&vmm, 3145728 * KIB, host_clock());
    live_until(vmm.news & VMM_TARGET);
    cr_assert_eq(virDomainGetInfo(domain, &info), 0);
    cr_assert_eq(info.memory, 3145728);
    vmm_want(&vmm, VMM_SIZE | VMM_STATS, host_clock());
    live_until(vmm.news & VMM_SAMPLE);
    cr_assert_eq(vmm.size, 3145728 * KIB);
    cr_assert(vmm.driver);
}

/* How often libvirt's QEMU asks the guest. */
static bool has_period(const char *seconds)
{
    char *text = virDomainGetXMLDesc(domain, 0), wanted[32];
    bool has;

    snprintf(wanted, sizeof(wanted), "<stats period='%s'/>", seconds);
    has = strstr(text, wanted) != NULL;
    free(text);
    return has;
}

Test(host_domains, events_tell_what_has_changed, .init = begin, .fini = end)
{
    cr_assert_eq(virDomainSuspend(domain), 0);
    live_until(!vmm.running);
    cr_assert_eq(virDomainResume(domain), 0);
    live_until(vmm.running);
}

Test(host_domains, events_go_on_after_one_that_failed, .init = begin, .fini = end)
{
    events_fail = true;
    cr_assert_eq(virDomainSuspend(domain), 0);
    live_until(!events_fail);
    cr_assert_eq(virDomainResume(domain), 0);
    live_until(vmm.running);
    cr_assert_eq(virDomainSuspend(domain), 0);
    live_until(!vmm.running);
}

/* Or it would be open for ever, at each restart of libvirtd one more. */
Test(host_domains, a_connection_that_fails_is_closed)
{
    look(URI);
    cr_assert_eq(found_count, 1);
    lists_fail = true;
    for (unsigned i = 0; i < ROUNDS && last_close < 0; i++) {
        domains_visit(URI, take, NULL);
        usleep(1000);
    }
    cr_assert_eq(last_close, 0, "so many still hold it: %d", last_close);
    lists_fail = false;
    look(URI);
    cr_assert_geq(found_count, 1);
}

Test(host_domains, what_libvirt_refuses_is_told_in_its_words, .init = begin, .fini = end)
{
    vmm_set_target(&vmm, UINT64_C(1) << 45, host_clock());
    live_until(vmm.errors);
    cr_assert_not_null(strstr(vmm.error, "memory"), "%s", vmm.error);
}

Test(host_domains, why_a_domain_cannot_be_served_is_told)
{
    char why[VMM_TEXT];

    look(URI);
    opened = "nonsense:///system";
    vmm_init(&vmm, found_path);
    live_until(vmm.errors);
    cr_assert_null(virConnectOpen(URI));
    snprintf(why, sizeof(why), "%s", virGetLastErrorMessage());
    cr_assert_str_eq(vmm.error, why);
    vmm_end(&vmm);
    domains_end();
}

Test(host_domains, models_of_other_devices_are_not_the_balloons)
{
    description = "<domain><devices><memballoon model='virtio'><stats period='5'/></memballoon>"
                  "</devices><seclabel type='none' model='none'/></domain>";
    look(URI);
    vmm_init(&vmm, found_path);
    live_until(vmm.state == VMM_THERE);
    cr_assert_neq(vmm.device[0], '\0');
    cr_assert_eq(vmm.restore, 5);
    vmm_end(&vmm);
    domains_end();
    description = "<domain><devices><memballoon model='none'/></devices></domain>";
    vmm_init(&vmm, found_path);
    live_until(vmm.state == VMM_THERE);
    cr_assert_eq(vmm.device[0], '\0');
    vmm_end(&vmm);
    domains_end();
}

/* Files of the same name on this host are about others. */
Test(host_domains, processes_of_other_hosts_are_not_known)
{
    char folder[] = "/tmp/balloon-run-XXXXXX", path[128];
    static const char *const parts[] = {"/libvirt", "/libvirt/qemu", "/libvirt/qemu/run"};
    FILE *file;

    cr_assert_not_null(mkdtemp(folder));
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s%s", folder, parts[i]);
        cr_assert_eq(mkdir(path, 0700), 0);
    }
    snprintf(path, sizeof(path), "%s/libvirt/qemu/run/test.pid", folder);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs("4711\n", file);
    fclose(file);
    setenv("XDG_RUNTIME_DIR", folder, 1);
    opened = URI;
    look("qemu:///session");
    cr_assert_eq(domains_process(found_path), 4711);
    look("qemu+ssh://far/session");
    cr_assert_eq(found_count, 1);
    cr_assert_eq(domains_process(found_path), 0);
    unlink(path);
    for (unsigned i = 3; i > 0; i--) {
        snprintf(path, sizeof(path), "%s%s", folder, parts[i - 1]);
        rmdir(path);
    }
    rmdir(folder);
}

Test(host_domains, who_has_ended_is_gone, .init = begin, .fini = end)
{
    cr_assert_eq(virDomainDestroy(domain), 0);
    for (unsigned i = 0; i < ROUNDS && !(vmm.news & VMM_GONE); i++) {
        domains_visit(URI, take, NULL);
        vmm_want(&vmm, VMM_SIZE, host_clock());
        go_round();
    }
    cr_assert_eq(vmm.news & (unsigned)VMM_GONE, (unsigned)VMM_GONE);
    look(URI);
    cr_assert_eq(found_count, 0);
}

Test(host_domains, patterns_are_of_names)
{
    look(URI " t?st");
    cr_assert_eq(found_count, 1);
    look(URI "  web-*");
    cr_assert_eq(found_count, 0);
}

/* Or each try would leave another thread that waits for libvirt. */
Test(host_domains, a_domain_is_served_once_at_a_time, .init = begin, .fini = end)
{
    int fd;

    cr_assert_eq(domains_connect(found_path, &fd), EBUSY);
    cr_assert_eq(domains_connect(URI "#6695eb01-f6a4-8304-79aa-97f2502e1931", &fd), ENOENT);
    cr_assert_eq(domains_connect("test:///other#6695eb01", &fd), ENOENT);
}

Test(host_domains, what_libvirt_cannot_is_an_error_with_a_name)
{
    char text[256];
    int fd;

    look("nonsense:///system");
    cr_assert_eq(found_count, 0);
    cr_assert(domains_error("nonsense:///system", text, sizeof(text)));
    cr_assert_neq(text[0], '\0');
    cr_assert_eq(domains_connect("nonsense:///system#6695eb01", &fd), ENOTCONN,
                 "nobody has gone because libvirt has");
    look(URI);
    cr_assert_not(domains_error(URI, text, sizeof(text)));
}

/* --- the loop over domains ----------------------------------------------------------------- */

static struct config config;
static struct host host;

static void begin_loop(void)
{
    look(URI);
    ours = virConnectOpen(URI);
    domain = virDomainLookupByName(ours, "test");
    cr_assert_eq(virDomainSetMemoryStatsPeriod(domain, 7, VIR_DOMAIN_AFFECT_LIVE), 0);
    config_init(&config);
    cr_assert(config_parse(&config, "pool = 6000\nguests = " URI " te*\n"));
    cr_assert_null(host_init(&host, &config));
    host.root = "/nonexistent";
    for (unsigned i = 0; i < ROUNDS && (host.count == 0 || !host.members[0]->in_pool); i++)
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    cr_assert_eq(host.count, 1);
    cr_assert(host.members[0]->in_pool);
}

static void end_loop(void)
{
    virDomainFree(domain);
    virConnectClose(ours);
}

Test(host_domains, a_long_uri_is_as_good_as_a_short_one)
{
    static const char uri[] = URI "?with_a_name_that_is_so_long_that_the_path_of_a_socket_could_"
                                  "never_be_as_long";

    opened = URI;
    config_init(&config);
    cr_assert(config_add_place(&config, uri));
    cr_assert_null(host_init(&host, &config));
    host.root = "/nonexistent";
    for (unsigned i = 0; i < ROUNDS && (host.count == 0 || !host.members[0]->in_pool); i++)
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    cr_assert_eq(host.count, 1);
    cr_assert(host.members[0]->in_pool);
    host_end(&host);
}

Test(host_domains, a_domain_is_in_the_pool_until_it_ends, .init = begin_loop, .fini = end_loop)
{
    cr_assert_eq(virDomainDestroy(domain), 0);
    for (unsigned i = 0; i < ROUNDS && host.count; i++)
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    cr_assert_eq(host.count, 0);
    host_end(&host);
}

Test(host_domains, gives_back_the_interval_that_it_found, .init = begin_loop, .fini = end_loop)
{
    cr_assert(has_period("1"));
    host_end(&host);
    cr_assert(has_period("7"));
}
