/* What balloon-host tells Prometheus and the program above it, and that nobody holds it up by
 * asking. */
#include "host/hook.h"
#include "host/metrics.h"

#include <criterion/criterion.h>

#include <balloon/alloc.h>
#include <balloon/policy.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAGES_PER_MIB = 256, ROUNDS = 2000 };

static struct config config;
static struct host host;
static struct metrics metrics;
static char path[64], folder[32];
static char answer[1 << 16];

static void begin(void)
{
    config_init(&config);
    cr_assert(config_parse(&config, "pool = 100\nreserve = 4\n"));
    cr_assert_null(host_init(&host, &config));
    host.root = "/nonexistent";
    snprintf(folder, sizeof(folder), "/tmp/balloon-metrics-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    metrics.fd = -1;
}

static void end(void)
{
    metrics_close(&metrics);
    host_end(&host);
    unlink(path);
    rmdir(folder);
}

TestSuite(host_metrics, .init = begin, .fini = end, .timeout = 60);

/* A guest that is there, without a QEMU. */
static struct member *join(const char *name, unsigned mib)
{
    struct member *m = calloc(1, sizeof(*m));
    balloon_pool_guest guest = {
        .size = sizeof(guest), .min = 60 * PAGES_PER_MIB, .max = (uint64_t)mib * PAGES_PER_MIB};

    guest.current = guest.max;
    vmm_init(&m->vmm, name);
    m->vmm.ram = (uint64_t)mib << 20;
    if (host.members == NULL)
        host.members = calloc(4, sizeof(struct member *));
    host.members[host.count++] = m;
    m->in_pool = balloon_pool_adopt(host.pool, &guest, 1, &m->id) == BALLOON_OK;
    return m;
}

static int connect_here(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(address.sun_path, path, strlen(path) + 1);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void serve(unsigned rounds)
{
    struct pollfd polled[HOST_EXTRA];

    for (unsigned i = 0; i < rounds; i++) {
        unsigned count = metrics_polled(&metrics, polled);

        cr_assert_lt(count, HOST_EXTRA);
        if (poll(polled, count, 0) > 0)
            metrics_serve(&metrics, polled, count, &host);
    }
}

static void read_answer(int fd)
{
    size_t used = 0;

    for (unsigned i = 0; i < ROUNDS; i++) {
        ssize_t got;

        serve(1);
        got = recv(fd, answer + used, sizeof(answer) - 1 - used, MSG_DONTWAIT);
        if (got == 0)
            break;
        if (got > 0)
            used += (size_t)got;
    }
    answer[used] = '\0';
}

Test(host_metrics, are_told_by_the_names_of_libvirts_exporter)
{
    static const char *const lines[] = {
        "\nlibvirt_domain_info_maximum_memory_bytes{domain=\"a\\\"b\"} 83886080\n",
        "\nlibvirt_domain_memory_stats_actual_balloon_bytes{domain=\"a\\\"b\"} 83886080\n",
        "\nlibvirt_domain_memory_stats_unused_bytes{domain=\"a\\\"b\"} 4096\n",
        "\nballoon_pool_bytes 104857600\n",
        "\nballoon_pool_configured_bytes 104857600\n",
        "\n# TYPE libvirt_domain_memory_stats_swap_in_bytes counter\n",
        "\nballoon_guest_up{domain=\"a\\\"b\"} 0\n",
    };
    struct member *m = join("a\"b", 80);
    char *text;

    balloon_sample_set(&m->vmm.sample, BALLOON_STAT_FREE, 4096);
    text = metrics_text(&host);
    cr_assert_not_null(text);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        cr_assert_not_null(strstr(text, lines[i]), "%s", lines[i]);
    cr_assert_null(strstr(text, "\nlibvirt_domain_memory_stats_swap_in_bytes{"), "is not known");
    free(text);
}

Test(host_metrics, come_over_http_whatever_is_asked)
{
    int fd;

    cr_assert_eq(metrics_open(&metrics, path), 0);
    fd = connect_here();
    cr_assert_eq(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    read_answer(fd);
    close(fd);
    cr_assert_eq(strncmp(answer, "HTTP/1.0 200 OK\r\n", 17), 0, "%s", answer);
    cr_assert_not_null(strstr(answer, "\r\n\r\n# HELP balloon_pool_bytes"), "%s", answer);
}

Test(host_metrics, who_asks_nothing_or_reads_nothing_holds_up_nobody)
{
    int dull[12], fd;

    cr_assert_eq(metrics_open(&metrics, path), 0);
    for (unsigned i = 0; i < 12; i++) {
        dull[i] = connect_here();
        serve(4);
    }
    fd = connect_here();
    cr_assert_eq(send(fd, "x", 1, 0), 1);
    read_answer(fd);
    cr_assert_not_null(strstr(answer, "balloon_pool_bytes"));
    for (unsigned i = 0; i < 12; i++)
        close(dull[i]);
    close(fd);
    serve(20);
}

/* Or the loop would turn without a pause while there are no descriptors. */
Test(host_metrics, who_cannot_be_accepted_is_heard_later)
{
    struct pollfd polled[HOST_EXTRA];
    struct rlimit before, none;
    int fd;

    cr_assert_eq(metrics_open(&metrics, path), 0);
    fd = connect_here();
    cr_assert_eq(send(fd, "x", 1, 0), 1);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)fd;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    (void)metrics_polled(&metrics, polled);
    polled[0].revents = POLLIN;
    metrics_serve(&metrics, polled, 5, &host);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_assert_gt(metrics.accept_at, host_clock());
    metrics.accept_at = BALLOON_TIME_NEVER;
    cr_assert_eq(metrics_polled(&metrics, polled), 5);
    cr_assert_eq(polled[0].fd, -1);
    metrics.accept_at = 0;
    read_answer(fd);
    cr_assert_not_null(strstr(answer, "balloon_pool_bytes"));
    close(fd);
}

Test(host_metrics, an_old_socket_is_replaced_and_another_file_is_not)
{
    FILE *file;

    cr_assert_eq(metrics_open(&metrics, path), 0);
    metrics_close(&metrics);
    cr_assert_eq(metrics_open(&metrics, path), 0);
    metrics_close(&metrics);
    unlink(path);
    file = fopen(path, "w");
    fclose(file);
    cr_assert_neq(metrics_open(&metrics, path), 0);
    cr_assert_neq(metrics_open(&metrics, "no port"), 0);
    cr_assert_neq(metrics_open(&metrics, "70000"), 0);
    cr_assert_eq(metrics_open(&metrics, ""), 0);
    cr_assert_eq(metrics_polled(&metrics, NULL), 0);
}

Test(host_metrics, the_hook_runs_while_memory_is_short_and_not_more_than_once_a_minute)
{
    char command[128], text[16] = "";
    struct hook hook = {.command = command};
    balloon_time_t now = 10 * SECOND;
    FILE *file;

    snprintf(command, sizeof(command), "echo $BALLOON_SHORT_MIB >>%s", path);
    (void)balloon_pool_decide(host.pool, now);
    hook_tick(&hook, host.pool, now);
    cr_assert_eq(hook.running, 0, "nothing is short");
    cr_assert(join("one", 80)->in_pool);
    struct member *two = join("two", 200);
    cr_assert_not(two->in_pool, "the minimums do not fit");
    balloon_pool_guest guest = {.size = sizeof(guest),
                                .min = 0,
                                .max = 200 * PAGES_PER_MIB,
                                .current = 200 * PAGES_PER_MIB};
    cr_assert_eq(balloon_pool_adopt(host.pool, &guest, now, &two->id), BALLOON_OK);
    cr_assert_eq(balloon_pool_set_flags(host.pool, two->id, BALLOON_GUEST_NO_DRIVER, now),
                 BALLOON_OK);
    now += SECOND;
    cr_assert_eq(balloon_pool_decide(host.pool, now), BALLOON_VERDICT_SHORT);
    for (unsigned i = 0; i < 20; i++, now += SECOND) {
        hook_tick(&hook, host.pool, now);
        usleep(1000);
    }
    for (unsigned i = 0; i < ROUNDS && hook.running; i++, usleep(1000))
        hook_tick(&hook, host.pool, now);
    file = fopen(path, "r");
    cr_assert_not_null(file);
    cr_assert_not_null(fgets(text, sizeof(text), file));
    cr_assert_gt(atoi(text), 100, "%s", text);
    cr_assert_null(fgets(text, sizeof(text), file), "once only");
    fclose(file);
    hook_tick(&hook, host.pool, now + 60 * SECOND);
    cr_assert_gt(hook.running, 0);
    for (unsigned i = 0; i < ROUNDS && hook.running; i++, usleep(1000))
        hook_tick(&hook, host.pool, now);
}
