/* balloon-host: gives the memory of a host to the guests that need it. It balances unmodified QEMU
 * guests over QMP, and domains of libvirt; see docs/balloon-host.md. */
#include "hook.h"
#include "host.h"
#include "metrics.h"
#include "table.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* With --once: guests are found in the first second, and two samples of each are a rate. */
#define ONCE_LEAST (3 * SECOND)
#define ONCE_MOST  (8 * SECOND)

struct options {
    bool once, dry;
    struct config config;
};

static int usage(int status)
{
    fprintf(status ? stderr : stdout,
            "usage: balloon-host [OPTION]... [SOCKET | DIRECTORY | PATTERN | URI]...\n"
            "Gives the memory of this host to the guests that need it, over their QMP sockets,\n"
            "or by libvirt: 'qemu:///system', 'qemu:///system web-*'.\n"
            "  -c, --config FILE  read this first; see docs/balloon-host.md\n"
            "  -p, --pool SIZE    memory for all guests: MiB, or %% of the host's (75%%)\n"
            "  -P, --policy NAME  who decides (waterline)\n"
            "  -1, --once         decide once, tell the guests, and end\n"
            "  -n, --dry-run      decide once, tell nobody, and end\n"
            "      --help         show this\n");
    return status;
}

static bool wrong(const char *what, const char *why)
{
    fprintf(stderr, "balloon-host: %s: %s\n", what, why);
    return false;
}

static bool take_option(struct options *o, int letter, const char *value)
{
    switch (letter) {
    case 'c':
        return config_read(&o->config, value) || wrong(value, o->config.error);
    case 'p':
        return (config_amount(value, &o->config.pool) && o->config.pool.number) ||
               wrong(value, "not a size");
    case 'P':
        if (balloon_policy_find(value) == NULL)
            return wrong(value, "no such policy");
        snprintf(o->config.policy, sizeof(o->config.policy), "%s", value);
        return true;
    case '1':
        return o->once = true;
    case 'n':
        return o->once = o->dry = true;
    case 'h':
        exit(usage(EXIT_SUCCESS));
    default:
        return false;
    }
}

static bool take_options(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"config", required_argument, NULL, 'c'},
        {"pool", required_argument, NULL, 'p'},
        {"policy", required_argument, NULL, 'P'},
        {"once", no_argument, NULL, '1'},
        {"dry-run", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int letter;

    config_init(&o->config);
    while ((letter = getopt_long(argc, argv, "c:p:P:1n", names, NULL)) != -1)
        if (!take_option(o, letter, optarg))
            return false;
    for (; optind < argc; optind++)
        if (!config_add_place(&o->config, argv[optind]))
            return wrong(argv[optind], "too long, or too many");
    return true;
}

/* Each guest takes some descriptors; the usual 1024 are for programs that use select(). */
static void allow_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Ends by SIGINT and SIGTERM, in order, so that QEMU gets back what was changed in it. */
static int signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static void run(struct host *h, struct table *t, int signal_fd, struct metrics *m)
{
    struct hook hook = {.command = h->config->on_short};
    struct pollfd extra[HOST_EXTRA];
    balloon_time_t shown = 0;
    unsigned count;

    do {
        extra[0] = (struct pollfd){.fd = signal_fd, .events = POLLIN};
        count = metrics_polled(m, extra + 1);
        host_round(h, extra, 1 + count, BALLOON_TIME_NEVER);
        metrics_serve(m, extra + 1, count, h);
        hook_tick(&hook, h->pool, host_clock());
        table_tick(t);
        if (t->live && host_clock() >= shown + SECOND / 2) {
            shown = host_clock();
            table_show(t);
        }
    } while (extra[0].revents == 0 && h->error == 0);
}

/* Look at all guests for some seconds, and only then decide. */
static void run_once(struct host *h, struct table *v, int signal_fd, bool dry)
{
    struct pollfd extra = {.fd = signal_fd, .events = POLLIN};
    balloon_time_t begin = host_clock(), now = begin;

    h->hold = true;
    h->dry = dry;
    while (extra.revents == 0 && h->error == 0 &&
           (now < begin + ONCE_LEAST || (!host_is_complete(h) && now < begin + ONCE_MOST))) {
        host_round(h, &extra, 1, begin + ONCE_MOST);
        now = host_clock();
    }
    if (extra.revents == 0 && h->error == 0)
        host_decide(h);
    table_tick(v);
    table_show(v);
}

int main(int argc, char **argv)
{
    static struct options options;
    struct host host;
    struct table table;
    struct metrics metrics;
    const char *error;
    int signal_fd, failed;

    if (!take_options(&options, argc, argv))
        return usage(EXIT_FAILURE);
    if (options.config.place_count == 0)
        return wrong("no guests", "name a socket, a directory or a pattern"), usage(EXIT_FAILURE);
    allow_files();
    error = host_init(&host, &options.config);
    if (error)
        return wrong("configuration", error), EXIT_FAILURE;
    failed = metrics_open(&metrics, options.once ? "" : options.config.metrics);
    if (failed)
        return wrong(options.config.metrics, strerror(failed)), EXIT_FAILURE;
    signal_fd = signals();
    if (signal_fd < 0)
        return wrong("signals", strerror(errno)), EXIT_FAILURE;
    table_open(&table, &host);
    host.tell = table_tell;
    host.context = &table;
    if (options.once)
        run_once(&host, &table, signal_fd, options.dry);
    else
        run(&host, &table, signal_fd, &metrics);
    table_close(&table);
    metrics_close(&metrics);
    failed = host.error;
    host_end(&host);
    if (failed)
        return wrong("poll", strerror(failed)), EXIT_FAILURE;
    return EXIT_SUCCESS;
}
