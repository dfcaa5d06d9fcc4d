/* A vhost-user balloon: the host end of virtio-balloon for any VMM that speaks vhost-user.
 *
 *     vhost_user_balloon [options] SOCKET...
 *
 * Listens on one Unix socket for each guest and serves them all from one thread. Commands come in
 * as lines on standard input, answers and events go out as one JSON object a line; the end of the
 * input ends the program. Any other word lists the commands, --help the options.
 *
 * How to read it: guest_kicked() feeds buffers to the library, guest_act() does what the library
 * asks for, and serve() waits for the next event or deadline. That is all there is to embedding;
 * the rest is options, commands (vhost_user_control.c), what the transport asks for
 * (vhost_user_device.c) and the transport (vhost_user_session.c, vhost_user_memory.c,
 * vhost_user_ring.c, virtqueue.c).
 */
#define _GNU_SOURCE
#include "vhost_user_guest.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { RUN_BATCH = 1024, BUFFERS_A_TURN = 16, FDS_OURS = 2 };

/* What gathers while the balloon is on its way waits no longer. Pieces that lie side by side are
 * discarded as one, and a guest that is at work when its memory goes is interrupted each time. */
#define GATHER_DELAY ((balloon_time_t)1000000000)

/* After a front-end that could not be let in, none is for so long. */
#define LISTEN_PAUSE ((balloon_time_t)1000000000)

static balloon_time_t listen_again; /* 0: listening */
static bool per_page;               /* a system call for each page, to compare with */

struct guest guests[GUESTS_MAX];
unsigned guest_count;
volatile sig_atomic_t quit;

balloon_time_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (balloon_time_t)t.tv_sec * 1000000000u + (balloon_time_t)t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

void check(balloon_status status, const char *what)
{
    if (status == BALLOON_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, balloon_status_text(status));
    abort();
}

/* --- what the library asks for ----------------------------------------------------------- */

static bool discard_runs(struct guest *g, const balloon_run *runs, uint32_t count)
{
    static balloon_run failed[RUN_BATCH];
    size_t failures;
    if (balloon_os_discard(g->os, runs, count, failed, &failures) == BALLOON_OK)
        return true;
    for (size_t i = 0; i < failures; i++)
        balloon_device_discard_failed(g->device, &failed[i], now());
    return false;
}

/* A call for each page, as hosts do it that keep no set of pages. */
static bool discard_pages(struct guest *g, const balloon_run *runs, uint32_t count)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE) / BALLOON_PAGE_SIZE;
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        balloon_run run = runs[i];
        uint64_t end = run.range.first + run.range.count;
        for (run.range.count = page; run.range.first < end; run.range.first += page)
            all = discard_runs(g, &run, 1) && all;
    }
    return all;
}

static void guest_discard(struct guest *g, const balloon_run *runs, uint32_t count)
{
    /* True as long as there is no dirty log, without which no front-end migrates its guest. */
    if (per_page ? discard_pages(g, runs, count) : discard_runs(g, runs, count))
        balloon_device_discard_zeroed(g->device);
}

/* Give a buffer back, after writing so many bytes to it if there are any. A ring that stands still
 * is the guest's business only when it runs again: the memory of a guest that is paused may be on
 * its way elsewhere. */
static void guest_give(struct guest *g, unsigned queue, uint16_t head, const uint8_t *used,
                       uint32_t bytes)
{
    struct vu_ring *ring = &g->session.ring[queue];
    struct late_ack *late = &g->late[queue];
    if (used && !(vu_ring_runs(ring) && virtqueue_write(&ring->vq, head, used, bytes)))
        bytes = 0;
    if (vu_ring_runs(ring)) {
        if (!vu_ring_give(ring, head, bytes))
            ring->broken = true;
    } else if (!late->waits) {
        *late = (struct late_ack){true, head};
    } else {
        ring->broken = true; /* the device keeps one buffer at the most when a turn is over */
    }
}

void guest_act(struct guest *g)
{
    balloon_ack acks[BUFFERS_A_TURN];
    balloon_action action;
    size_t n;
    for (unsigned q = 0; q < VU_QUEUES; q++) {
        struct late_ack late = g->late[q];
        if (!late.waits || !vu_ring_runs(&g->session.ring[q]))
            continue;
        g->late[q].waits = false;
        guest_give(g, q, late.head, NULL, 0); /* nothing is claimed across a pause */
    }
    while (balloon_device_poll(g->device, now(), &action)) {
        switch (action.type) {
        case BALLOON_ACTION_DISCARD:
            guest_discard(g, action.runs, action.run_count);
            break;
        case BALLOON_ACTION_ACK:
            guest_give(g, action.queue, (uint16_t)action.cookie, action.used, action.used_bytes);
            break;
        case BALLOON_ACTION_CONFIG_IRQ:
            if (!vu_session_config_changed(&g->session))
                say_event(g, "config_irq_lost");
            break;
        case BALLOON_ACTION_STATS:
        case BALLOON_ACTION_STATS_LATE:
            say_stats(g, action.type == BALLOON_ACTION_STATS_LATE);
            break;
        case BALLOON_ACTION_PRESSURE:
            say_event(g, "pressure");
            break;
        case BALLOON_ACTION_HINTED:
            say_event(g, "hinted");
            break;
        case BALLOON_ACTION_SEND: /* not with virtio */
            break;
        }
        while ((n = balloon_device_poll_acks(g->device, acks, BUFFERS_A_TURN)) > 0)
            for (size_t i = 0; i < n; i++)
                guest_give(g, acks[i].queue, (uint16_t)acks[i].cookie, NULL, acks[i].used_bytes);
    }
}

/* A balloon that has got to its target has nothing more to gather for. */
static void guest_arrived(struct guest *g)
{
    balloon_device_status status;
    if (!g->on_its_way)
        return;
    balloon_device_status_get(g->device, &status);
    if (!status.settled)
        return;
    g->on_its_way = false;
    balloon_device_flush(g->device);
    guest_act(g);
}

/* A queue has buffers. Only so many are served in a turn, so that a guest that always has another
 * one, as large as can be, cannot keep the others waiting. */
static void guest_kicked(struct guest *g, unsigned queue)
{
    struct vu_ring *ring = &g->session.ring[queue];
    ring->more = false;
    if (!vu_ring_runs(ring))
        return;
    enum vq_take end = virtqueue_receive(&ring->vq, g->device, queue, BUFFERS_A_TURN, now());
    ring->more = end == VQ_LATER;
    if (end == VQ_BROKEN) {
        ring->broken = true;
        say_event(g, "ring_broken");
    }
}

/* --- setting up and waiting -------------------------------------------------------------- */

static void usage(FILE *out, const char *program)
{
    fprintf(
        out,
        "usage: %s [options] SOCKET...\n"
        "  --features MASK     BALLOON_F_* bits to offer (default 0x%x)\n"
        "  --per-buffer        discard buffer by buffer: do not offer MUST_TELL_HOST\n"
        "  --per-page          the same, and a system call for each page: to compare\n"
        "  --gather-pages N    discard when N pages wait\n"
        "  --gather-ms N       discard after N milliseconds, before the target is reached (1000)\n"
        "  --max-mib N         most memory a guest can have (default 16384)\n"
        "  --stats-ms N        ask for statistics every N milliseconds\n",
        program, BALLOON_F_DEFAULT);
}

static void *allocate(balloon_layout layout)
{
    size_t bytes = (layout.bytes + layout.align - 1) / layout.align * layout.align;
    void *memory = aligned_alloc(layout.align, bytes);
    if (!memory)
        fail("aligned_alloc");
    return memory;
}

static balloon_os *make_os(void)
{
    balloon_os_config config = {.size = sizeof config, .max_regions = VU_REGIONS};
    balloon_layout layout;
    balloon_os *os;
    CHECK(balloon_os_layout(&config, &layout));
    CHECK(balloon_os_init(allocate(layout), layout.bytes, &config, &os));
    return os;
}

/* Guests bring memory that is in use already, so whether this host really takes memory back is
 * tried out on some shared memory of our own. */
static void selftest(void)
{
    enum { BYTES = 1 << 20 };
    balloon_os *os = make_os();
    int fd = memfd_create("selftest", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, BYTES) < 0)
        fail("memfd_create");
    void *host = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (host == MAP_FAILED)
        fail("mmap");
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    balloon_os_region region = {
        .size = sizeof region,
        .pages = {.count = BYTES / BALLOON_PAGE_SIZE, .granule = page / BALLOON_PAGE_SIZE},
        .host = host,
        .fd = fd,
        .backing = BALLOON_OS_SHARED};
    balloon_os_selftest_result result = {.size = sizeof result};
    balloon_range all = {0, region.pages.count};
    CHECK(balloon_os_add_region(os, 0, &region));
    CHECK(balloon_os_selftest(os, 0, all, &result));
    say("{\"event\":\"selftest\",\"frees\":%s,\"batched\":%s,\"words\":\"%s\"}\n",
        result.frees ? "true" : "false", result.batched ? "true" : "false", result.words);
    if (!result.frees) {
        say_last();
        exit(EXIT_FAILURE);
    }
    balloon_os_destroy(os);
    free(os);
    munmap(host, BYTES);
    close(fd);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(path);
    }
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
        fail(path);
    return fd;
}

static void add_guest(const char *path, const balloon_device_config *config,
                      balloon_time_t stats_period)
{
    struct guest *g = &guests[guest_count];
    balloon_layout layout;
    g->number = guest_count++;
    g->path = path;
    CHECK(balloon_device_layout(config, &layout));
    CHECK(balloon_device_init(allocate(layout), layout.bytes, config, &g->device));
    balloon_device_set_stats_period(g->device, stats_period, now());
    g->os = make_os();
    vu_session_init(&g->session, &guest_callbacks, g);
    g->listener = listen_at(path);
    g->memory_due = BALLOON_TIME_NEVER;
}

static void remove_guest(struct guest *g)
{
    if (g->session.socket >= 0)
        vu_session_close(&g->session);
    close(g->listener);
    unlink(g->path);
    balloon_os_destroy(g->os);
    free(g->os);
    free(g->device);
}

static void front_end_came(struct guest *g)
{
    int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        /* Out of descriptors, say: it waits on, and would wake us at once, for ever. */
        listen_again = now() + LISTEN_PAUSE;
        return;
    }
    vu_session_open(&g->session, fd);
    say_event(g, "connected");
}

static void front_end_left(struct guest *g)
{
    const char *why = g->session.why;
    vu_session_close(&g->session);
    g->memory_refused = NULL;
    g->memory_due = BALLOON_TIME_NEVER;
    say_why(g, "disconnected", why);
}

/* Milliseconds until some device wants to be polled; -1: none does. */
static int wait_time(void)
{
    balloon_time_t t = now(), next = listen_again ? listen_again : BALLOON_TIME_NEVER;
    for (unsigned i = 0; i < guest_count; i++) {
        balloon_time_t deadline = balloon_device_deadline(guests[i].device);
        next = deadline < next ? deadline : next;
        next = guests[i].memory_due < next ? guests[i].memory_due : next;
        for (unsigned q = 0; q < VU_QUEUES; q++)
            if (guests[i].session.ring[q].more && vu_ring_runs(&guests[i].session.ring[q]))
                return 0;
    }
    if (next == BALLOON_TIME_NEVER)
        return -1;
    if (next <= t)
        return 0;
    balloon_time_t ms = (next - t + 999999) / 1000000;
    return ms > 60000 ? 60000 : (int)ms;
}

/* Wait for anything to happen, then let each guest have its turn. */
static void serve(void)
{
    static struct pollfd fds[FDS_OURS + GUESTS_MAX * (1 + VU_QUEUES)];
    nfds_t count = 0;
    if (now() >= listen_again)
        listen_again = 0;
    fds[count++] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = say_waits() ? STDOUT_FILENO : -1, .events = POLLOUT};
    for (unsigned i = 0; i < guest_count; i++) {
        struct vu_session *session = &guests[i].session;
        int listener = listen_again ? -1 : guests[i].listener;
        fds[count++] = (struct pollfd){.fd = session->socket >= 0 ? session->socket : listener,
                                       .events = POLLIN};
        for (unsigned q = 0; q < VU_QUEUES; q++)
            fds[count++] =
                (struct pollfd){.fd = vu_ring_runs(&session->ring[q]) ? session->ring[q].kick : -1,
                                .events = POLLIN};
    }
    if (poll(fds, count, wait_time()) < 0 && errno != EINTR)
        fail("poll");

    if (fds[0].revents)
        commands();
    if (fds[1].revents)
        say_on();
    for (unsigned i = 0; i < guest_count; i++) {
        struct guest *g = &guests[i];
        const struct pollfd *mine = &fds[FDS_OURS + i * (1 + VU_QUEUES)];
        if (mine->revents && g->session.socket < 0)
            front_end_came(g);
        else if (mine->revents && !vu_session_input(&g->session))
            front_end_left(g);
        for (unsigned q = 0; q < VU_QUEUES; q++) {
            struct vu_ring *ring = &g->session.ring[q];
            uint64_t kicks;
            if (!mine[1 + q].revents || ring->kick < 0)
                continue;
            /* What was ready may have been replaced by the message above; reading does not wait. */
            ssize_t got = read(ring->kick, &kicks, sizeof kicks);
            if (got > 0)
                ring->more = true;
            else if (got == 0 || errno != EAGAIN)
                ring->broken = true;
        }
        for (unsigned q = 0; q < VU_QUEUES; q++)
            if (g->session.ring[q].more)
                guest_kicked(g, q);
        guest_act(g);
        guest_arrived(g);
        if (now() >= g->memory_due)
            guest_memory_missing(g);
    }
}

static void on_signal(int signal)
{
    (void)signal;
    quit = 1;
}

static uint64_t number(const char *word)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(word, &end, 0);
    if (end == word || *end || errno) {
        fprintf(stderr, "not a number: %s\n", word);
        exit(EXIT_FAILURE);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"features", required_argument, NULL, 'f'},
                                            {"per-buffer", no_argument, NULL, 'b'},
                                            {"per-page", no_argument, NULL, 'P'},
                                            {"gather-pages", required_argument, NULL, 'p'},
                                            {"gather-ms", required_argument, NULL, 'g'},
                                            {"max-mib", required_argument, NULL, 'm'},
                                            {"stats-ms", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    balloon_device_config config = {.size = sizeof config,
                                    .max_pages = 16384 * PAGES_PER_MIB,
                                    .max_regions = VU_REGIONS,
                                    .features = BALLOON_F_DEFAULT,
                                    .gather_delay = GATHER_DELAY,
                                    .run_batch = RUN_BATCH};
    balloon_time_t stats_period = 0;
    bool per_buffer = false;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'f':
            config.features = (uint32_t)number(optarg);
            break;
        case 'P':
            per_page = true; /* fall through */
        case 'b':
            per_buffer = true;
            break;
        case 'p':
            config.gather_pages = number(optarg);
            break;
        case 'g':
            config.gather_delay = number(optarg) * 1000000;
            break;
        case 'm':
            config.max_pages = number(optarg) * PAGES_PER_MIB;
            break;
        case 's':
            stats_period = number(optarg) * 1000000;
            break;
        case 'h':
            usage(stdout, argv[0]);
            return EXIT_SUCCESS;
        default:
            usage(stderr, argv[0]);
            return EXIT_FAILURE;
        }
    }
    if (per_buffer)
        config.features &= ~BALLOON_F_MUST_TELL;
    if (config.features == 0)
        config.features = BALLOON_F_NONE;
    if (optind == argc || argc - optind > GUESTS_MAX) {
        usage(stderr, argv[0]);
        return EXIT_FAILURE;
    }

    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    selftest();
    for (int i = optind; i < argc; i++)
        add_guest(argv[i], &config, stats_period);
    say("{\"event\":\"ready\",\"guests\":%u}\n", guest_count);
    while (!quit)
        serve();
    for (unsigned i = 0; i < guest_count; i++)
        remove_guest(&guests[i]);
    say_last();
    return EXIT_SUCCESS;
}
