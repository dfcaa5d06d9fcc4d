/* make demo-linux: two real Linux guests in a pool that is smaller than both together. A program
 * that needs most of a guest runs in one, then in the other, and the memory follows it.
 *
 * All is measured: sizes are what the device counted, resident is what the host's memory files
 * take. The program fails if memory did not move both ways, if a guest had to kill anything, if a
 * word of memory was lost, or if a process is left over.
 */
#include "../../../docs/examples/demo_view.h"
#include "pool_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RAM = 384, /* MiB, as all below */
    POOL = 512,
    START = 240, /* what a guest boots with */
    FLOOR = 96,
    WARM = 120, /* used and freed before it begins, so that the host really gives it */
    KEPT = 32,  /* a file in memory, with a checksum */
    HOG = 256,
    PACE = 64,        /* a second */
    LEAST_MOVED = 48, /* or it has not worked */
    CALM_SECONDS = 4,
    STILL_SECONDS = 60, /* when nothing has moved for so long, nothing will */
    PASSES = 20,        /* nor when the program went that often through all it has */
    STAY_SECONDS = 3,
    LOOKS = 5, /* at what the program has put down, in a second */
    SKIPPED = 77
};

static const char *const names[HOST_GUESTS] = {"left", "right"};

/* A program in one guest wants memory. */
struct rush {
    unsigned guest;
    uint64_t begin, met_after; /* milliseconds */
    /* Sizes, and what is resident. */
    unsigned before[HOST_GUESTS], after[HOST_GUESTS];
    unsigned host_before[HOST_GUESTS], host_after[HOST_GUESTS];
    uint64_t swapped; /* pages that came back from swap */
    uint64_t passes;  /* times that all of its memory was compared, */
    uint64_t first;   /* when not even once yet: guest_clock(); */
    uint64_t waited;  /* when its guest last waited for the disk, */
    uint64_t waits;   /* and how often it had been compared then */
    bool leave;       /* it shall end */
    bool asked;       /* for what it has put down */
    bool ended;

    /* The last that moved, and in which second. */
    uint64_t work;
    unsigned most, moved;
    uint64_t passes_then; /* when its guest grew last */
};

struct story {
    struct host host;
    struct view view;
    uint64_t begin, next;                           /* milliseconds */
    unsigned rushing;                               /* a guest, or HOST_GUESTS for none */
    unsigned least[HOST_GUESTS], most[HOST_GUESTS]; /* sizes */
    unsigned resident_most;
    char sums[HOST_GUESTS][64];
    struct pool_work booted[HOST_GUESTS];
};

void guest_failed(const char *message)
{
    printf("\n  FAILED: %s\n", message);
    exit(EXIT_FAILURE);
}

static void expect(bool truth, const char *message)
{
    if (!truth)
        guest_failed(message);
}

static unsigned mib(uint64_t pages)
{
    return (unsigned)(pages / PAGES_PER_MIB);
}

/* --- what there is ---------------------------------------------------------------------------- */

static struct view_guest look_at(struct story *s, unsigned i)
{
    const struct pool_guest *g = &s->host.guests[i];
    uint64_t available = g->available < g->size ? g->available : g->size;
    uint64_t unused = g->free < available ? g->free : available;
    unsigned size = mib(g->size);

    s->least[i] = size < s->least[i] ? size : s->least[i];
    s->most[i] = size > s->most[i] ? size : s->most[i];
    return (struct view_guest){.size = size,
                               .used = mib(g->size - available),
                               .cached = mib(available - unused),
                               .second = mib(g->resident),
                               .waits = g->stall / 10000,
                               .rush = s->rushing == i};
}

/* The ledger's promise, against what the host's kernel says. */
static void look(struct story *s)
{
    struct view_moment moment = {0};
    uint64_t all = 0;

    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        const struct pool_guest *g = &s->host.guests[i];

        expect(g->resident <= g->allowed, "a guest takes more memory than the pool knows of");
        moment.guests[i] = look_at(s, i);
        all += g->resident;
    }
    expect(all <= (uint64_t)POOL * PAGES_PER_MIB, "the guests take more than the pool has");
    moment.resident = mib(all);
    if (moment.resident > s->resident_most)
        s->resident_most = moment.resident;
    view_moment(&s->view, &moment);
}

/* --- a rush ------------------------------------------------------------------------------ */

static uint64_t number_after(const char *text, const char *mark)
{
    const char *found = strstr(text, mark);

    return found ? strtoull(found + strlen(mark), NULL, 10) : 0;
}

/* What the program has put down, into its rush. A guest that is short of memory takes long to
 * answer, and its host must not wait for that. */
static void read_log(struct story *s, struct rush *r)
{
    struct linux_guest *guest = s->host.guests[r->guest].linux_guest;
    const char *log = r->asked ? linux_done(guest) : NULL;

    /* The program may be writing its line just now. */
    if (log && strstr(log, "passes ")) {
        r->passes = number_after(log, "passes ");
        expect(number_after(log, " bad ") == 0, "the memory of a program was damaged");
        r->ended = strstr(log, " end") != NULL;
    }
    if ((log || !r->asked) && !r->ended)
        linux_begin(guest, "%scat /tmp/log /tmp/said; :", r->leave ? "killall memwork; " : "");
    r->asked = !r->ended;
}

/* It has its memory from when it was through all of it for the first time, or last waited for the
 * disk. That is known when it then went through all of it again, from end to end, and did not wait.
 */
static void watch(struct story *s, struct rush *r)
{
    uint64_t now = guest_clock(), waited = s->host.guests[r->guest].waited;

    read_log(s, r);
    if (r->passes == 0)
        r->first = now;
    if (waited > r->waited) {
        r->waited = waited;
        r->waits = r->passes;
    }
    if (!r->met_after && r->passes >= r->waits + 2)
        r->met_after = (r->first > r->waited ? r->first : r->waited) - r->begin;
}

/* With a program under way, or NULL. */
static void live_a_second(struct story *s, struct rush *r)
{
    for (unsigned i = 0; i < LOOKS; i++) {
        uint64_t now = guest_clock();

        s->next = (s->next > now ? s->next : now) + 1000 / LOOKS;
        host_live(&s->host, s->next);
        if (r && !r->ended)
            watch(s, r);
    }
    host_look(&s->host);
    look(s);
}

static void check_kills(struct story *s, unsigned i)
{
    struct linux_guest *guest = s->host.guests[i].linux_guest;
    const char *said =
        linux_run(guest, 20, "grep '^oom_kill ' /proc/vmstat; dmesg | grep -i 'out of memory'; :");

    if (number_after(said, "oom_kill ") > 0 || strstr(said, "emory:"))
        guest_failed(said);
}

static void begin_rush(struct story *s, struct rush *r)
{
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        r->before[i] = mib(s->host.guests[i].size);
        r->host_before[i] = mib(s->host.guests[i].resident);
    }
    r->moved = s->view.seconds;
    r->swapped = s->host.guests[r->guest].swapped_in;
    s->rushing = r->guest;
    view_event(&s->view, "%s: a program wants %d MiB; the guest has %u", names[r->guest], HOG,
               r->before[r->guest]);
    r->begin = guest_clock();
    linux_run(s->host.guests[r->guest].linux_guest, 20,
              "memwork work /tmp/work %d %u /tmp/log %d >/tmp/said 2>&1 &", HOG, r->guest + 1,
              PACE);
}

/* How long it takes is the machine's affair. But as long as it is not over, something has to move:
 * the guest grows, or its program gets on, with what it reads from swap. */
static void check_moves(struct story *s, struct rush *r)
{
    const struct pool_guest *g = &s->host.guests[r->guest];
    uint64_t work = r->passes + g->swapped_in;
    unsigned size = mib(g->size);

    if (size > r->most || work != r->work)
        r->moved = s->view.seconds;
    if (size > r->most) {
        r->most = size;
        r->passes_then = r->passes;
    }
    r->work = work;
    if (s->view.seconds - r->moved >= STILL_SECONDS || r->passes - r->passes_then >= PASSES)
        guest_failed("a guest did not get what its program needs");
}

static void wait_for_memory(struct story *s, struct rush *r)
{
    while (!r->met_after) {
        live_a_second(s, r);
        check_moves(s, r);
    }
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        r->after[i] = mib(s->host.guests[i].size);
        r->host_after[i] = mib(s->host.guests[i].resident);
    }
    view_event(&s->view,
               "%s: the program has had its memory since %.1f s after it started; "
               "the guest has %u MiB",
               names[r->guest], (double)r->met_after / 1000, r->after[r->guest]);
}

static void end_rush(struct story *s, struct rush *r)
{
    struct linux_guest *guest = s->host.guests[r->guest].linux_guest;

    for (unsigned i = 0; i < STAY_SECONDS; i++)
        live_a_second(s, r);
    r->leave = true;
    for (unsigned i = 0; !r->ended; i++) {
        expect(i < STILL_SECONDS, "a program does not end");
        live_a_second(s, r);
    }
    s->rushing = HOST_GUESTS;
    r->swapped = s->host.guests[r->guest].swapped_in - r->swapped;
    linux_run(guest, 20, "rm /tmp/log /tmp/said");
    view_event(&s->view, "%s: the program has ended", names[r->guest]);
}

/* --- before and after -------------------------------------------------------------------- */

static void prepare(struct story *s)
{
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        struct linux_guest *guest = s->host.guests[i].linux_guest;

        linux_run(guest, 60, "memwork fill /tmp/keep %d %u", KEPT, 40 + i);
        snprintf(s->sums[i], sizeof s->sums[i], "%s",
                 linux_run(guest, 60, "memwork sum /tmp/keep"));
        linux_run(guest, 60, "memwork fill /tmp/x %d 1; rm /tmp/x", WARM);
        s->booted[i] = host_work(&s->host, i);
        s->least[i] = ~0u;
    }
}

static void check_guests(struct story *s)
{
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        struct linux_guest *guest = s->host.guests[i].linux_guest;

        check_kills(s, i);
        expect(strcmp(s->sums[i], linux_run(guest, 60, "memwork sum /tmp/keep")) == 0,
               "the checksum of a file in memory has changed");
    }
}

/* Every orphan of the guests and of the back-end would be our child now. */
static void check_processes(void)
{
    pid_t child;

    do {
        child = waitpid(-1, NULL, WNOHANG);
    } while (child > 0);
    expect(child < 0, "a process is left over");
}

static void tell_rush(const struct rush *r)
{
    unsigned to = r->guest, from = 1 - to;

    expect(r->after[to] >= r->before[to] + LEAST_MOVED, "no memory followed the demand");
    expect(r->host_before[from] >= r->host_after[from] + LEAST_MOVED,
           "the other guest's memory did not come back to the host");
    view_text("%s to %s: %u MiB in %.1f s, for a program that works on %d MiB.", names[from],
              names[to], r->after[to] - r->before[to], (double)r->met_after / 1000, HOG);
    view_text("  %-5s grew from %u to %u MiB; of the host it took %u, then %u.", names[to],
              r->before[to], r->after[to], r->host_before[to], r->host_after[to]);
    view_text("  %-5s shrank from %u to %u MiB; of the host it took %u, then %u.", names[from],
              r->before[from], r->after[from], r->host_before[from], r->host_after[from]);
    view_text("  On the way %llu pages were read from swap.", (unsigned long long)r->swapped);
}

static void tell_moves(struct story *s, const struct pool_work *works)
{
    view_heading(&s->view, "Totals");
    for (unsigned i = 0; i < HOST_GUESTS; i++) {
        const struct pool_work *w = &works[i], *then = &s->booted[i];
        uint64_t calls = w->calls - then->calls, pages = w->discarded - then->discarded;

        view_text("%-5s %3u to %3u MiB of %d; %u MiB taken, %u given;", names[i], s->least[i],
                  s->most[i], RAM, mib(w->inflated - then->inflated),
                  mib(w->deflated - then->deflated));
        view_text("  %llu discards in %llu system calls, %llu pages a call.",
                  (unsigned long long)(w->runs - then->runs), (unsigned long long)calls,
                  (unsigned long long)(calls ? pages / calls : 0));
    }
}

static void tell(struct story *s, const struct rush rushes[2], const struct pool_work *works)
{
    uint64_t passes = rushes[0].passes + rushes[1].passes;

    view_heading(&s->view, "What moved where");
    for (unsigned i = 0; i < 2; i++)
        tell_rush(&rushes[i]);
    tell_moves(s, works);
    view_text("Two guests of %d MiB took %u MiB of the host at most; the pool has %d.", RAM,
              s->resident_most, POOL);
    view_text("Nothing was killed for want of memory. %llu times %d MiB were compared word by",
              (unsigned long long)passes, HOG);
    view_text("word, and two files of %d MiB by checksum: nothing was lost.", KEPT);
}

static void introduce(void)
{
    printf("\n");
    view_text("Two Linux kernels with %d MiB of RAM each, as user mode processes, with the", RAM);
    view_text("balloon driver they came with. The host has %d MiB for them. Their device is", POOL);
    view_text("vhost_user_balloon; the pool decides when it is due (policy \"%s\").",
              balloon_policy_waterline.name);
}

int main(int argc, char **argv)
{
    static struct story story;
    struct story *s = &story;
    const char *file = argc > 1 ? argv[1] : "demo-linux.svg";
    struct view_subject subject = {.title = "Two Linux guests of 384 MiB",
                                   .clock = "the run",
                                   .names = {names[0], names[1]},
                                   .guests = HOST_GUESTS,
                                   .ram = RAM,
                                   .pool = POOL,
                                   .second = "resident",
                                   .every = 3};
    struct rush rushes[2] = {{.guest = 0}, {.guest = 1}};
    struct pool_work works[HOST_GUESTS];

    setvbuf(stdout, NULL, _IOLBF, 0);
    s->begin = guest_clock();
    s->rushing = HOST_GUESTS;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const char *missing = guest_missing();
    if (missing) {
        printf("SKIP: no Linux guest can run here: %s\n", missing);
        return SKIPPED;
    }
    view_open(&s->view, &subject);
    introduce();
    host_start(&s->host, RAM, START, FLOOR, POOL);
    prepare(s);
    view_text("They have booted after %.1f s, with %d MiB each.",
              (double)(guest_clock() - s->begin) / 1000, START);

    view_heading(&s->view, s->view.live ? "A rush goes from one to the other"
                                        : "A rush goes from one to the other (MiB size/resident)");
    for (unsigned i = 0; i < CALM_SECONDS; i++)
        live_a_second(s, NULL);
    for (unsigned i = 0; i < 2; i++) {
        begin_rush(s, &rushes[i]);
        wait_for_memory(s, &rushes[i]);
        end_rush(s, &rushes[i]);
    }
    for (unsigned i = 0; i < CALM_SECONDS; i++)
        live_a_second(s, NULL);
    view_close(&s->view);

    check_guests(s);
    for (unsigned i = 0; i < HOST_GUESTS; i++)
        works[i] = host_work(&s->host, i);
    host_end(&s->host);
    check_processes();
    tell(s, rushes, works);
    expect(view_draw(&s->view, file), "the drawing cannot be written");
    view_text("A drawing of the run is in %s", file);
    view_text("Done in %.1f s.", (double)(guest_clock() - s->begin) / 1000);
    return EXIT_SUCCESS;
}
