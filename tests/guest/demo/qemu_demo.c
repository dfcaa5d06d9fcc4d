/* make demo-qemu: three stock Linux guests under unmodified QEMU, in a pool that is smaller than
 * they are together. A program that needs most of a guest runs in one after the other; balloon-host
 * gives the memory to whom needs it.
 *
 * CONTROLLER names the policy: waterline, greedy, buffer and so on; "oracle", who is told when the
 * program starts and where; or "none". CONTROLLERS=all runs several, one after the other. All
 * KILLS=7 kills balloon-host seven times in each phase, at any moment, and starts it again; STOP=10
 * stops the QEMU of a guest that gives memory for the first ten seconds of each phase. In every
 * case no guest may be below its minimum, nor all of them take more than the pool. All figures are
 * measured beside the manager: the program's by itself, sizes over a second QMP socket, resident
 * memory in /proc.
 */
#include "demo_view.h"
#include "../keeper.h"
#include "qemu_guests.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HOG = 250,  /* MiB */
    PACE = 100, /* MiB a second */
    FLOOR = 96, /* MiB: what a guest keeps */
    START = POOL / GUESTS,
    PHASE_SECONDS = 30,
    CALM_SECONDS = 5,
    GROWN = 90, /* percent of the program's memory that it has to have */
    FULL = 80,  /* and of its speed, for a second */
    SKIPPED = 77
};

static const char *const names[GUESTS] = {"guest0", "guest1", "guest2"};
static const char *const all[] = {"waterline", "greedy", "buffer", "shares", "mom", "oracle"};

struct phase {
    unsigned guest;
    int grown, full;            /* milliseconds; -1 for never */
    unsigned moved;             /* MiB out of the guests */
    unsigned hog[2], donors[2]; /* MiB swapped in and out */
    unsigned resident;          /* the most of all guests together, MiB */
    unsigned end;               /* size of the guest at the end */
};

struct run {
    const char *controller;
    struct qemu_guest guests[GUESTS];
    struct kept manager;
    bool managed; /* balloon-host runs */
    FILE *log;    /* what it says */
    const char *log_name;
    unsigned kills; /* how often it is killed in a phase */
    uint64_t kill_at;
    unsigned killed;
    unsigned stop; /* seconds at the start of a phase in which a donor's QEMU is stopped */
    struct view view;
    unsigned rushing; /* a guest, or GUESTS */
    uint64_t second_at;
    unsigned targets[GUESTS]; /* of the oracle */
    struct phase phases[GUESTS];
};

void guest_failed(const char *message)
{
    printf("\n  FAILED: %s\n", message);
    exit(EXIT_FAILURE);
}

/* --- who decides ------------------------------------------------------------------------- */

static void start_manager(struct run *r)
{
    const char *build = getenv("BALLOON_BUILD");
    char program[4200], path[128], pool[16];
    FILE *file;

    if (strcmp(r->controller, "oracle") == 0 || strcmp(r->controller, "none") == 0)
        return;
    if (keeper_prepare(&r->manager) != 0)
        guest_failed("cannot start balloon-host");
    snprintf(path, sizeof path, "%s/balloon-host.conf", r->manager.directory);
    file = fopen(path, "w");
    if (!file)
        guest_failed("cannot write a configuration");
    fprintf(file, "policy = %s\npool = %d\n[*]\nmin = %d\n", r->controller, POOL, FLOOR);
    fclose(file);
    snprintf(program, sizeof program, "%s/bin/balloon-host", build ? build : "build");
    snprintf(pool, sizeof pool, "%d", POOL);
    if (keeper_start(&r->manager,
                     (const char *[]){program, "--config", path, r->guests[0].monitor,
                                      r->guests[1].monitor, r->guests[2].monitor, NULL},
                     NULL) != 0)
        guest_failed("cannot start balloon-host");
    r->log = fopen(r->log_name, r->killed ? "a" : "w");
    if (!r->log)
        guest_failed("cannot write a log");
    r->managed = true;
}

static void read_manager(struct run *r)
{
    struct pollfd one = {.fd = r->manager.out, .events = POLLIN};
    char text[4096];
    ssize_t got;

    while (r->managed && poll(&one, 1, 0) > 0) {
        got = read(r->manager.out, text, sizeof text);
        if (got <= 0)
            guest_failed("balloon-host has ended");
        fwrite(text, 1, (size_t)got, r->log);
    }
}

static void end_manager(struct run *r)
{
    if (!r->managed)
        return;
    read_manager(r);
    keeper_end(&r->manager); /* by SIGKILL, at whatever it is */
    fclose(r->log);
    r->managed = false;
}

/* Moments that have nothing to do with what happens. */
static void set_kill(struct run *r)
{
    uint64_t step = PHASE_SECONDS * 1000 / (r->kills ? r->kills : 1);

    r->kill_at = guest_clock() + step / 2 + (uint64_t)rand() % step;
}

static void kill_manager(struct run *r)
{
    if (r->kills == 0 || !r->managed || guest_clock() < r->kill_at)
        return;
    end_manager(r);
    r->killed++;
    start_manager(r);
    set_kill(r);
}

/* The best that is possible: donors are asked at once for all that they can give, and it gets what
 * has come back. */
static void play_oracle(struct run *r)
{
    unsigned left = POOL;

    if (strcmp(r->controller, "oracle") != 0 || r->rushing == GUESTS)
        return;
    for (unsigned i = 0; i < GUESTS; i++) {
        if (i == r->rushing)
            continue;
        r->targets[i] = (POOL - RAM) / (GUESTS - 1);
        left -= r->guests[i].size > r->targets[i] ? r->guests[i].size : r->targets[i];
    }
    r->targets[r->rushing] = left < RAM ? left : RAM;
    for (unsigned i = 0; i < GUESTS; i++)
        if (r->guests[i].vmm.target != r->targets[i] * (UINT64_C(1) << 20))
            guests_target(&r->guests[i], r->targets[i]);
}

/* --- time -------------------------------------------------------------------------------- */

static void show(struct run *r, struct phase *p)
{
    struct view_moment moment = {0};

    guests_look(r->guests);
    for (unsigned i = 0; i < GUESTS; i++) {
        const struct qemu_guest *g = &r->guests[i];

        moment.guests[i] =
            (struct view_guest){.size = g->size,
                                .used = g->resident < g->size ? g->resident : g->size,
                                .second = g->resident,
                                .rush = r->rushing == i};
        moment.resident += g->resident;
    }
    if (p && moment.resident > p->resident)
        p->resident = moment.resident;
    if (p && r->managed && moment.resident > POOL)
        view_event(&r->view, "the guests take %u MiB of %d", moment.resident, POOL);
    view_moment(&r->view, &moment);
}

static void live(struct run *r, struct phase *p)
{
    guests_tick(r->guests);
    play_oracle(r);
    read_manager(r);
    kill_manager(r);
    for (unsigned i = 0; i < GUESTS; i++)
        if (r->guests[i].size < FLOOR)
            guest_failed("a guest is below its minimum");
    if (guest_clock() >= r->second_at) {
        r->second_at = guest_clock() + 1000;
        show(r, p);
    }
}

/* --- a phase ----------------------------------------------------------------------------- */

struct progress {
    int since;  /* when it was fast for the first time in this row, or -1 */
    bool grown; /* it has its memory */
};

static void take_line(struct phase *p, struct progress *at, const char *line)
{
    unsigned ms, resident, rate;

    if (sscanf(line, "pace %u %u %u", &ms, &resident, &rate) != 3)
        return;
    if (p->grown < 0 && resident * 100 >= HOG * GROWN)
        p->grown = (int)ms;
    if (p->grown < 0 || rate * 100 < PACE * FULL)
        at->since = -1;
    else if (at->since < 0)
        at->since = (int)ms;
    if (p->full < 0 && at->since >= 0 && (int)ms >= at->since + 1000)
        p->full = at->since;
}

static unsigned mib_swapped(uint64_t now, uint64_t before)
{
    return (unsigned)((now - before) / 256);
}

static void play_phase(struct run *r, struct phase *p, unsigned guest)
{
    struct qemu_guest *g = &r->guests[guest];
    struct progress at = {.since = -1};
    pid_t donor = r->guests[(guest + 1) % GUESTS].vmm.process.pid;
    uint64_t before[GUESTS][2], taken = 0, begin, end;
    char line[256];

    *p = (struct phase){.guest = guest, .grown = -1, .full = -1};
    for (unsigned i = 0; i < GUESTS; i++) {
        guests_count_swap(&r->guests[i]);
        memcpy(before[i], r->guests[i].swapped, sizeof before[i]);
        taken -= r->guests[i].taken;
    }
    while (guests_log(g, line, sizeof line))
        ;
    view_event(&r->view, "%s: a program wants %d MiB; the guest has %u", names[guest], HOG,
               g->size);
    linux_run(g->linux_guest, 60, "pace %d %d /dev/ttyS1 >/tmp/said 2>&1 & echo $! >/tmp/pid", HOG,
              PACE);
    r->rushing = guest;
    if (r->stop)
        kill(donor, SIGSTOP);
    begin = guest_clock();
    /* After a long stop there is time to see what comes of it. */
    end = begin + (r->stop + 10 > PHASE_SECONDS ? r->stop + 10 : PHASE_SECONDS) * 1000;
    while (guest_clock() < end) {
        live(r, p);
        if (r->stop && guest_clock() >= begin + r->stop * 1000)
            kill(donor, SIGCONT);
        while (guests_log(g, line, sizeof line))
            take_line(p, &at, line);
    }
    linux_run(g->linux_guest, 60, "kill $(cat /tmp/pid)");
    r->rushing = GUESTS;
    p->end = g->size;
    for (unsigned i = 0; i < GUESTS; i++) {
        guests_count_swap(&r->guests[i]);
        for (unsigned way = 0; way < 2; way++)
            *(i == guest ? &p->hog[way] : &p->donors[way]) +=
                mib_swapped(r->guests[i].swapped[way], before[i][way]);
        taken += r->guests[i].taken;
    }
    p->moved = (unsigned)taken;
}

/* --- results ----------------------------------------------------------------------------- */

static const char *seconds(int milliseconds, char *text)
{
    if (milliseconds < 0)
        return strcpy(text, "never");
    sprintf(text, "%.1f", (double)milliseconds / 1000);
    return text;
}

static void tell(const struct run *r)
{
    char grown[16], full[16];

    for (unsigned i = 0; i < GUESTS; i++) {
        const struct phase *p = &r->phases[i];

        printf("  %-10s %-7s %7s %7s %6u %5u %5u/%-5u %5u/%-5u %5u\n", r->controller,
               names[p->guest], seconds(p->grown, grown), seconds(p->full, full), p->end, p->moved,
               p->hog[0], p->hog[1], p->donors[0], p->donors[1], p->resident);
    }
}

static void head(void)
{
    printf("\n  Seconds until the program has its memory, and its full speed; MiB else\n"
           "  %-10s %-7s %7s %7s %6s %5s %11s %11s %5s\n",
           "controller", "in", "memory", "speed", "size", "moved", "swap in/out", "donors'", "RSS");
}

static unsigned number_of(const char *name)
{
    const char *value = getenv(name);

    return value ? (unsigned)strtoul(value, NULL, 10) : 0;
}

static void play(struct run *r, const char *controller, const char *file, const char *log)
{
    struct view_subject subject = {.title = "Three Linux guests of 384 MiB under QEMU",
                                   .clock = "the run",
                                   .names = {names[0], names[1], names[2]},
                                   .guests = GUESTS,
                                   .ram = RAM,
                                   .pool = POOL,
                                   .second = "resident",
                                   .every = 5};

    r->controller = controller;
    r->log_name = log;
    r->kills = number_of("KILLS");
    r->stop = number_of("STOP");
    r->rushing = GUESTS;
    r->managed = false;
    view_open(&r->view, &subject);
    view_heading(&r->view, controller);
    guests_start(r->guests);
    guests_settle(r->guests, START);
    start_manager(r);
    set_kill(r);
    for (uint64_t end = guest_clock() + CALM_SECONDS * 1000; guest_clock() < end;)
        live(r, NULL);
    for (unsigned i = 0; i < GUESTS; i++)
        play_phase(r, &r->phases[i], (i + 1) % GUESTS);
    view_close(&r->view);
    end_manager(r);
    guests_end(r->guests);
    if (!view_draw(&r->view, file))
        guest_failed("the drawing cannot be written");
}

int main(int argc, char **argv)
{
    static struct run runs[sizeof all / sizeof all[0]];
    const char *file = argc > 1 ? argv[1] : "demo-qemu.svg",
               *log = argc > 2 ? argv[2] : "demo-qemu.log";
    const char *missing = guests_missing();
    const char *one = getenv("CONTROLLER"), *many = getenv("CONTROLLERS");
    unsigned count = many && strcmp(many, "all") == 0 ? sizeof all / sizeof all[0] : 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (missing) {
        printf("SKIP: no Linux guest can run in QEMU here: %s\n", missing);
        return SKIPPED;
    }
    view_text(
        "Three Linux guests with %d MiB of RAM each, under QEMU as it is. The host has %d MiB", RAM,
        POOL);
    view_text("for them. A program of %d MiB runs in one after the other, %d s in each.", HOG,
              PHASE_SECONDS);
    for (unsigned i = 0; i < count; i++)
        play(&runs[i], count > 1 || !one || !*one ? all[i] : one, file, log);
    head();
    for (unsigned i = 0; i < count; i++)
        tell(&runs[i]);
    for (unsigned i = 0; i < count; i++)
        if (runs[i].killed)
            printf("  %s: balloon-host was killed %u times\n", runs[i].controller, runs[i].killed);
    printf("\n  A drawing of the last run is in %s, what balloon-host said in %s\n", file, log);
    return EXIT_SUCCESS;
}
