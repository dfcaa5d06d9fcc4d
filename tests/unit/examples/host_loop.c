/* The loop of balloon-host over several guests: who comes and goes, who holds up whom, what each is
 * told. The guests are servers in this process that answer between two rounds. */
#include "host_fake.h"

#include "host/beat.h"
#include "host/host.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { GUESTS = 3, MIB = 1 << 20, MOST_ROUNDS = 20000 };

static struct fake fakes[GUESTS];
static struct config config;
static struct host host;
static unsigned serving; /* bits: who answers */

/* Whatever this machine has. */
static void start(const struct config *with)
{
    cr_assert_null(host_init(&host, with));
    host.root = "/nonexistent";
}

static void begin(void)
{
    char rules[] = "pool = 700\nreserve = 20\n[*]\nmin = 100\n";

    config_init(&config);
    cr_assert(config_parse(&config, rules));
    serving = 0;
    for (unsigned i = 0; i < GUESTS; i++) {
        fake_open(&fakes[i]);
        fakes[i].polls = true;
        cr_assert(config_add_place(&config, fakes[i].path));
    }
    start(&config);
}

static void end(void)
{
    host_end(&host);
    for (unsigned i = 0; i < GUESTS; i++)
        fake_close(&fakes[i]);
}

TestSuite(host_loop, .init = begin, .fini = end, .timeout = 120);

/* What QEMU does: a guest moves at once to what it was told. */
static void serve(void)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        if (!(serving >> i & 1) || fakes[i].listener < 0)
            continue;
        if (fake_accept(&fakes[i]))
            fake_say(&fakes[i], FAKE_GREETING);
        while (fake_hear(&fakes[i]))
            fake_answer(&fakes[i]);
        if (fakes[i].wished)
            fakes[i].actual = fakes[i].wished;
    }
}

static unsigned in_pool(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < host.count; i++)
        count += host.members[i]->in_pool;
    return count;
}

/* Go round until there are so many in the pool, and so many rounds more. */
static void live_until(unsigned members)
{
    for (unsigned i = 0; i < MOST_ROUNDS && in_pool() != members; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_eq(in_pool(), members);
}

static uint64_t sum(void)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < GUESTS; i++)
        all += fakes[i].actual;
    return all;
}

static void live_until_sum(uint64_t most)
{
    for (unsigned i = 0; i < MOST_ROUNDS && sum() > most; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_leq(sum(), most, "%llu", (unsigned long long)sum());
}

Test(host_loop, takes_over_what_it_finds_and_makes_it_fit)
{
    serving = 7;
    live_until(3);
    live_until_sum(UINT64_C(700) * MIB);
    for (unsigned i = 0; i < GUESTS; i++)
        cr_assert_geq(fakes[i].actual, UINT64_C(100) * MIB);
}

Test(host_loop, who_does_not_answer_holds_up_nobody)
{
    serving = 5;
    live_until(2);
    live_until_sum(UINT64_C(1074) * MIB);
    cr_assert_eq(fakes[1].commands, 0);
    serving = 7;
    live_until(3);
}

Test(host_loop, who_falls_silent_holds_up_nobody)
{
    serving = 7;
    live_until(3);
    live_until_sum(UINT64_C(700) * MIB);
    serving = 5;
    uint64_t before = fakes[1].actual;
    unsigned asked = fakes[0].commands;
    for (unsigned i = 0; i < MOST_ROUNDS && fakes[0].commands < asked + 12; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_geq(fakes[0].commands, asked + 12);
    cr_assert_eq(fakes[1].actual, before);
    cr_assert_eq(in_pool(), 3);
}

static struct member *member_of(const struct fake *f)
{
    for (unsigned i = 0; i < host.count; i++)
        if (strcmp(host.members[i]->vmm.path, f->path) == 0)
            return host.members[i];
    return NULL;
}

/* Else it would be left alone for long because it did not follow. */
Test(host_loop, who_is_silent_is_not_to_blame)
{
    struct member *m;

    serving = 7;
    live_until(3);
    m = member_of(&fakes[1]);
    cr_assert_eq(m->flags, 0);
    serving = 5;
    for (unsigned i = 0; i < MOST_ROUNDS && m->flags == 0; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_eq(m->flags, (uint32_t)BALLOON_GUEST_PINNED);
    serving = 7;
    for (unsigned i = 0; i < MOST_ROUNDS && m->flags != 0; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_eq(m->flags, 0);
}

Test(host_loop, started_again_goes_on_where_it_was)
{
    uint64_t sizes[GUESTS];

    serving = 7;
    live_until(3);
    live_until_sum(UINT64_C(700) * MIB);
    host_end(&host);
    serve();
    for (unsigned i = 0; i < GUESTS; i++) {
        fake_hang_up(&fakes[i]);
        sizes[i] = fakes[i].actual;
        fakes[i].wished = 0;
    }
    start(&config);
    live_until(3);
    for (unsigned i = 0; i < GUESTS; i++) {
        cr_assert_eq(fakes[i].actual, sizes[i], "taking over changes nothing");
        cr_assert_geq(fakes[i].actual, UINT64_C(100) * MIB);
    }
    cr_assert_leq(sum(), UINT64_C(700) * MIB);
}

Test(host_loop, who_goes_leaves_the_pool_and_may_come_again)
{
    serving = 7;
    live_until(3);
    for (unsigned i = 0; i < host.count; i++)
        process_close(&host.members[i]->vmm.process); /* we are that, and live */
    fake_close(&fakes[2]);
    live_until(2);
    for (unsigned i = 0; i < MOST_ROUNDS && host.count > 2; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_eq(host.count, 2, "and is not tried for ever");
    fake_open(&fakes[2]);
    fakes[2].polls = true;
    cr_assert(config_add_place(&config, fakes[2].folder), "a directory does as well");
    live_until(3);
}

/* As when most guests have gone, or cannot be connected to for want of descriptors. */
static void allow_files(unsigned most)
{
    struct rlimit limit;

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* A place that was never taken must not look like one where nobody is. */
Test(host_loop, a_path_that_is_too_long_is_told)
{
    char folder[128], path[256];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct member *m = NULL;

    snprintf(folder, sizeof(folder), "%s/%060d", fakes[0].folder, 0);
    cr_assert_eq(mkdir(folder, 0700), 0);
    cr_assert(config_add_place(&config, folder));
    snprintf(path, sizeof(path), "%s/%080d.qmp", folder, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/short", fakes[0].folder);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(rename(address.sun_path, path), 0);
    host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    for (unsigned i = 0; i < host.count; i++)
        if (strcmp(host.members[i]->vmm.path, path) == 0)
            m = host.members[i];
    unlink(path);
    rmdir(folder);
    close(fd);
    cr_assert_not_null(m);
    cr_assert_str_eq(m->vmm.error, strerror(ENAMETOOLONG));
}

Test(host_loop, signals_are_heard_however_few_files_may_be_open)
{
    struct rlimit before;
    struct pollfd extra = {.events = POLLIN};
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], "x", 1), 1);
    extra.fd = ends[0];
    for (unsigned i = 0; i < GUESTS; i++)
        fake_hang_up(&fakes[i]);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    allow_files(GUESTS);
    for (unsigned i = 0; i < 5; i++)
        host_round(&host, &extra, 1, host_clock() + MILLISECOND);
    cr_assert_eq(host.count, GUESTS);
    cr_assert_eq(extra.revents, POLLIN);
    cr_assert_eq(host.error, 0);
    allow_files(0);
    host_round(&host, &extra, 1, host_clock() + MILLISECOND);
    cr_assert_eq(host.error, EINVAL, "who hears nothing must not go on");
    allow_files((unsigned)before.rlim_cur);
    close(ends[0]);
    close(ends[1]);
}

Test(host_loop, once_decides_once_and_dry_tells_nobody)
{
    serving = 7;
    host.hold = true;
    host.dry = true;
    live_until(3);
    host_decide(&host);
    for (unsigned i = 0; i < 5; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    for (unsigned i = 0; i < GUESTS; i++)
        cr_assert_eq(fakes[i].wished, 0);
    balloon_pool_counters counters;
    balloon_pool_counters_get(host.pool, &counters);
    cr_assert_eq(counters.decisions, 1);
    cr_assert_gt(counters.changes, 0);
}

Test(host_loop, a_pool_too_small_for_all_minimums_keeps_them_all)
{
    struct config small = config;

    host_end(&host);
    small.pool.number = 250;
    start(&small);
    serving = 7;
    live_until(3);
}

static uint64_t set_aside(void)
{
    balloon_pool_status status;

    balloon_pool_status_get(host.pool, &status);
    return status.reserved;
}

/* The process at the other end is this one here. */
Test(host_loop, who_cannot_be_asked_counts_with_what_is_resident)
{
    serving = 5;
    live_until(2);
    for (unsigned i = 0; i < MOST_ROUNDS && set_aside() == 0; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_geq(set_aside(), 256, "%llu", (unsigned long long)set_aside());
    serving = 7;
    live_until(3);
    for (unsigned i = 0; i < MOST_ROUNDS && set_aside() != 0; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_eq(set_aside(), 0);
}

/* Or what they have is promised to those that are. */
Test(host_loop, nothing_is_decided_before_all_are_known)
{
    balloon_pool_counters counters;

    fakes[0].actual = UINT64_C(300) * MIB;
    fakes[1].actual = fakes[2].actual = UINT64_C(190) * MIB;
    serving = 1;
    live_until(1);
    for (unsigned i = 0; i < 200; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
        balloon_pool_counters_get(host.pool, &counters);
        cr_assert(counters.decisions == 0 || host_clock() >= host.settle_until);
    }
    serving = 7;
    live_until(3);
}

/* Who comes late is set aside for, and that is his own place: his minimum is not given up for it.
 */
Test(host_loop, what_is_set_aside_is_for_who_comes)
{
    fakes[0].actual = 100 * MIB;
    fakes[1].actual = fakes[2].actual = 60 * MIB; /* less than the minimum */
    host.hold = true;
    serving = 1;
    live_until(1);
    cr_assert_eq(balloon_pool_reserve(host.pool, 470 * 256), BALLOON_OK);
    serving = 7;
    live_until(3);
    for (unsigned i = 0; i < host.count; i++) {
        balloon_pool_guest_status status;

        cr_assert_eq(balloon_pool_guest_get(host.pool, host.members[i]->id, &status), BALLOON_OK);
        cr_assert_eq(status.config.min, 100 * 256);
    }
}

/* As after a boot: until then the pool wants nothing of it. */
Test(host_loop, a_driver_that_comes_later_is_found)
{
    struct member *m;

    fakes[1].dumb = true;
    serving = 7;
    live_until(3);
    m = member_of(&fakes[1]);
    cr_assert_eq(m->flags, (uint32_t)BALLOON_GUEST_NO_DRIVER);
    fakes[1].dumb = false;
    for (unsigned i = 0; i < MOST_ROUNDS && m->flags != 0; i++) {
        serve();
        host_round(&host, NULL, 0, host_clock() + MILLISECOND);
    }
    cr_assert_eq(m->flags, 0);
}

static uint64_t decisions(void)
{
    balloon_pool_counters counters;

    balloon_pool_counters_get(host.pool, &counters);
    return counters.decisions;
}

static void begin_calm(void)
{
    static struct config large;

    large = config;
    large.pool.number = 2000;
    host_end(&host);
    start(&large);
    serving = 7;
    live_until(3);
    for (unsigned i = 0; i < MOST_ROUNDS && host.calm_until == 0; i++) {
        serve();
        host_round(&host, NULL, 0, BALLOON_TIME_NEVER);
    }
    cr_assert_neq(host.calm_until, 0);
}

/* One to ask all guests what they have, one to read that, and at the end of the second before some
 * to have their statistics made then. */
Test(host_loop, a_calm_second_wakes_it_up_twice)
{
    uint64_t begun;
    unsigned asked, rounds = 0;

    begin_calm();
    begun = decisions();
    asked = fakes[1].commands;
    for (; rounds < 100 && decisions() < begun + 4; rounds++) {
        serve();
        host_round(&host, NULL, 0, BALLOON_TIME_NEVER);
    }
    cr_assert_leq(rounds, 4 * 2 + 3, "%u rounds", rounds);
    cr_assert_leq(fakes[1].commands - asked, 4 * 2 + 2);
    cr_assert_geq(fakes[1].commands - asked, 4 * 2 - 2, "sizes and statistics are asked for");
}

Test(host_loop, seconds_are_longer_while_nothing_happens)
{
    balloon_time_t deadline;

    begin_calm();
    deadline = balloon_pool_deadline(host.pool);
    cr_assert_leq(beat_at(&host), deadline);
    host.quiet_at = 0;
    host.ask_at = BALLOON_TIME_NEVER;
    cr_assert_eq(beat_at(&host), deadline + SECOND * 5 / 4);
    fakes[2].free -= 20 * MIB;
    for (unsigned i = 0; i < MOST_ROUNDS && host.quiet_at == 0; i++) {
        serve();
        host_round(&host, NULL, 0, BALLOON_TIME_NEVER);
    }
    cr_assert_gt(host.quiet_at, host_clock(), "a guest that does something ends that");
}

Test(host_loop, a_guest_that_does_not_answer_delays_a_calm_decision_but_a_little)
{
    const struct vmm *silent;
    uint64_t begun;
    unsigned rounds = 0;

    begin_calm();
    silent = &member_of(&fakes[1])->vmm;
    for (unsigned i = 0; i < MOST_ROUNDS; i++) {
        serve();
        host_round(&host, NULL, 0, BALLOON_TIME_NEVER);
        if (vmm_is_in_step(silent, host_clock() + 5 * SECOND) && !vmm_is_asked(silent))
            break;
    }
    serving = 5;
    begun = decisions();
    for (; rounds < 100 && decisions() < begun + 5; rounds++) {
        serve();
        host_round(&host, NULL, 0, BALLOON_TIME_NEVER);
        cr_assert(host.answer_until == 0 || beat_naps(&host), "it is looked for now and then");
    }
    cr_assert_geq(decisions(), begun + 5);
    cr_assert_eq(in_pool(), 3);
    cr_assert_leq(rounds, 5 * 2 + 8, "%u rounds", rounds);
}
