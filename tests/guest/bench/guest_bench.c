/* What a balloon costs its host: one Linux guest, several balloon devices.
 *
 *   guest_bench qemu ROUNDS   QEMU's own device and the vhost-user example, under QEMU
 *   guest_bench uml ROUNDS    the vhost-user example under user-mode Linux, discarding in three
 * ways
 *
 * Each device is booted anew in each round, and the rounds go around. In each boot a balloon goes
 * up and down three times: when the guest has just booted, when it has written to all its memory,
 * and when its free memory is in small pieces. Prints medians as JSON, one object a line; what
 * happens on the way, and what cannot be measured here, is on standard error. */
#include "subject.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS_MOST = 99, STATES = 3, MOST = 3, TOUCHED = 600, FILLED = 560, PIECE = 8 };
enum { LOOK_MS = 50, SETTLE_SECONDS = 60, UP = 0, DOWN = 1 };

static const char *const states[STATES] = {"fresh", "touched", "fragmented"};
static const char *const ways[2] = {"inflate", "deflate"};

static struct spent figures[MOST][STATES][2][ROUNDS_MOST];
static unsigned rounds;
static char versions[MOST][32];

void guest_failed(const char *message)
{
    fprintf(stderr, "FAILED: %s\n", message);
    exit(EXIT_FAILURE);
}

/* --- measuring --------------------------------------------------------------------------- */

/* In the last state every other file stays: 1 to 8 pages are free between 1 to 8 that are not. */
static void prepare(struct subject *s, unsigned state)
{
    if (state == 1)
        linux_run(s->guest, 60, "memwork fill /tmp/x %d 1; rm /tmp/x", TOUCHED);
    if (state == 2)
        linux_run(s->guest, 120,
                  "mkdir /tmp/f; mount -t tmpfs -o nr_inodes=0,size=100%% f /tmp/f; "
                  "memwork fragment /tmp/f %d %d",
                  FILLED, PIECE);
}

static struct spent measure(struct subject *s, unsigned mib)
{
    struct spent before, after;
    uint64_t end = guest_deadline(SETTLE_SECONDS);
    subject_spent(s, &before);
    subject_target(s, mib);
    do {
        guest_sleep(LOOK_MS);
        if (guest_clock() > end)
            guest_failed("a balloon does not get to its size");
    } while (!subject_settled(s, mib));
    subject_spent(s, &after);
    return (struct spent){.seconds = after.seconds - before.seconds,
                          .cpu = after.cpu - before.cpu,
                          .backend_cpu = after.backend_cpu - before.backend_cpu,
                          .calls = after.calls - before.calls,
                          .ranges = after.ranges - before.ranges,
                          .buffers = after.buffers - before.buffers};
}

static void run_one(unsigned column, enum subject_kind kind, unsigned round)
{
    struct subject subject;
    subject_start(&subject, kind);
    memcpy(versions[column], subject.version, sizeof versions[column]);
    for (unsigned state = 0; state < STATES; state++) {
        prepare(&subject, state);
        figures[column][state][UP][round] = measure(&subject, BALLOON);
        figures[column][state][DOWN][round] = measure(&subject, 0);
        fprintf(stderr, "round %u of %d, %s, %s: %.2f s of processor up, %.2f down\n", round + 1,
                rounds, subject_name(kind), states[state], figures[column][state][UP][round].cpu,
                figures[column][state][DOWN][round].cpu);
    }
    subject_end(&subject);
}

/* --- printing ---------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of a field of all rounds, as a multiple of that of another one if there is one. */
#define MEDIAN(of, field)       median(of, offsetof(struct spent, field), false)
#define MEDIAN_COUNT(of, field) (unsigned long long)median(of, offsetof(struct spent, field), true)

static double median(const struct spent *of, size_t offset, bool is_count)
{
    double values[ROUNDS_MOST];
    for (unsigned i = 0; i < rounds; i++) {
        const char *field = (const char *)&of[i] + offset;
        values[i] = is_count ? (double)*(const uint64_t *)(const void *)field
                             : *(const double *)(const void *)field;
    }
    qsort(values, rounds, sizeof *values, compare);
    return values[rounds / 2];
}

/* How many times less processor time than the first: the median of the rounds. */
static double times_less(const struct spent *of, const struct spent *first)
{
    double values[ROUNDS_MOST];
    for (unsigned i = 0; i < rounds; i++)
        values[i] = first[i].cpu / of[i].cpu;
    qsort(values, rounds, sizeof *values, compare);
    return values[rounds / 2];
}

static void print(const char *guest, unsigned column, enum subject_kind kind, unsigned state,
                  unsigned way)
{
    const struct spent *of = figures[column][state][way];
    printf("{\"case\":\"%s/%s/%s\",\"impl\":\"%s\",\"vmm\":\"%s\",\"mib\":%d,\"cpu_s\":%.3f,"
           "\"backend_cpu_s\":%.3f,\"seconds\":%.2f,\"calls\":%llu,\"ranges\":%llu,"
           "\"cpu_less\":%.2f}\n",
           guest, states[state], ways[way], subject_name(kind), versions[column], BALLOON,
           MEDIAN(of, cpu), MEDIAN(of, backend_cpu), MEDIAN(of, seconds), MEDIAN_COUNT(of, calls),
           MEDIAN_COUNT(of, ranges), times_less(of, figures[0][state][way]));
}

int main(int argc, char **argv)
{
    bool qemu = argc == 3 && strcmp(argv[1], "qemu") == 0;
    enum subject_kind kinds[MOST];
    unsigned count = 0;
    rounds = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (rounds == 0 || rounds > ROUNDS_MOST || (!qemu && strcmp(argv[1], "uml") != 0)) {
        fprintf(stderr, "usage: guest_bench qemu|uml ROUNDS\n");
        return 2;
    }
    for (unsigned i = 0; i < MOST; i++) {
        enum subject_kind kind = (enum subject_kind)(i + (qemu ? QEMU_SHARED : UML_PAGES));
        const char *missing = subject_missing(kind);
        if (missing)
            fprintf(stderr, "SKIP: %s: %s\n", subject_name(kind), missing);
        else
            kinds[count++] = kind;
    }
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < count; i++)
            run_one(i, kinds[i], round);
    for (unsigned state = 0; state < STATES; state++)
        for (unsigned way = UP; way <= DOWN; way++)
            for (unsigned i = 0; i < count; i++)
                print(argv[1], i, kinds[i], state, way);
    return EXIT_SUCCESS;
}
