/* Discarding when the host does not play along: failing calls, short counts, older kernels. */
#include "os_support.h"

#include <sys/wait.h>

#include "prng.h"

/* --- System calls that fail on demand. Each test runs in a process of its own. --- */

static struct {
    const struct os_calls *real;
    int fail_times; /* Calls to fail. */
    int error;      /* With this errno. */
    size_t most;    /* Bytes that process_madvise() does at most. */
    size_t calls;
    size_t most_ranges, most_bytes; /* The largest batch seen. */
    bool old_kernel;                /* No MADV_DONTNEED_LOCKED. */
    const bool *bad;                /* Pages of host that cannot be discarded. */
    unsigned char *host;
} fake;

static bool fails(void)
{
    fake.calls++;
    if (fake.fail_times <= 0)
        return false;
    fake.fail_times--;
    errno = fake.error;
    return true;
}

static bool touches_bad(const void *address, size_t bytes)
{
    size_t first = (size_t)((const unsigned char *)address - fake.host) / PAGE;

    for (size_t i = 0; fake.bad && i < bytes / PAGE; i++) {
        if (fake.bad[first + i]) {
            errno = EINVAL;
            return true;
        }
    }
    return false;
}

static int fake_madvise(void *address, size_t bytes, int advice)
{
    if (fake.old_kernel && advice == MADV_DONTNEED_LOCKED) {
        errno = EINVAL;
        return -1;
    }
    if (fails() || touches_bad(address, bytes))
        return -1;
    return fake.real->madvise(address, bytes, advice);
}

/* Range by range as the kernel does, up to fake.most bytes. */
static ssize_t fake_process_madvise(int pidfd, const struct iovec *iov, size_t count, int advice)
{
    size_t done = 0, bytes = 0;

    (void)pidfd;
    for (size_t i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    if (count > fake.most_ranges)
        fake.most_ranges = count;
    if (bytes > fake.most_bytes)
        fake.most_bytes = bytes;
    if (fails())
        return -1;
    for (size_t i = 0; i < count && done < fake.most; i++) {
        size_t n = iov[i].iov_len < fake.most - done ? iov[i].iov_len : fake.most - done;

        if (touches_bad(iov[i].iov_base, n) || fake.real->madvise(iov[i].iov_base, n, advice))
            return done ? (ssize_t)done : -1;
        done += n;
    }
    return (ssize_t)done;
}

static int fake_fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    return fails() ? -1 : fake.real->fallocate(fd, mode, offset, bytes);
}

static void *fake_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : fake.real->mmap(address, bytes, protection, flags, fd, offset);
}

static void fake_install(balloon_os *os)
{
    static struct os_calls calls;

    memset(&fake, 0, sizeof(fake));
    fake.real = os->calls;
    fake.most = SIZE_MAX;
    calls = *os->calls;
    calls.madvise = fake_madvise;
    calls.process_madvise = fake_process_madvise;
    calls.fallocate = fake_fallocate;
    calls.mmap = fake_mmap;
    os->calls = &calls;
    bl_os_probe_batches(os);
    cr_assert(os->batches[BALLOON_OS_DONTNEED]);
    fake.calls = fake.most_ranges = fake.most_bytes = 0;
}

/* The kernel cuts a batch at 2 GiB less a page; what is cut must not be taken for done, and with
 * huge pages could not even be continued. So no batch may get there. */
Test(os_failures, batches_stay_below_the_kernels_limit)
{
    uint64_t third = ((uint64_t)1 << 30) / 3 / PAGE & ~(uint64_t)15, pages = 40 * third;
    balloon_run runs[20], failed[20];
    balloon_os *os = os_make(0);
    balloon_os_region region;
    unsigned char *host;
    size_t failures;

    if (SIZE_MAX / PAGE / 4 < pages)
        cr_skip_test("no address space for 13 GiB");
    host = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(host, MAP_FAILED);
    region = os_region_of(host, pages, -1);
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    fake_install(os);

    for (uint64_t i = 0; i < 20; i++) {
        runs[i] = run_of(0, 2 * i * third, third);
        host[2 * i * third * PAGE] = host[(2 * i + 1) * third * PAGE - 1] = 1;
    }
    runs[19].range.count = third / 2;
    runs[7] = run_of(0, 14 * third, 0); /* Makes room for one larger than any batch. */
    runs[8] = run_of(0, 10 * third + third, 6 * third - third);
    cr_assert_eq(balloon_os_discard(os, runs, 20, failed, &failures), BALLOON_OK);
    cr_assert_gt(fake.most_ranges, 1);
    cr_assert_leq(fake.most_bytes, (size_t)1 << 30);
    for (uint64_t i = 0; i < 20; i++) {
        if (runs[i].range.count) {
            const unsigned char *at = host + (runs[i].range.first - GUEST) * PAGE;
            cr_assert_eq(at[0], 0);
            cr_assert_eq(at[runs[i].range.count * PAGE - 1], 0);
        }
    }
    munmap(host, pages * PAGE);
    os_drop(os);
}

/* --- Failures of the host --- */

static bool lock_or_drop(struct memory *m, uint64_t first)
{
    if (lock_pages(m->host + first * host_unit() * PAGE, host_unit() * PAGE))
        return true;
    memory_drop(m);
    return false;
}

/* Since Linux 5.18 locked memory can be freed; what is touched again is locked again. */
Test(os_failures, locked_memory_is_freed)
{
    struct memory m = memory_make(0, 64 * host_unit());
    balloon_run runs[20], failed[20];
    uint64_t u = host_unit(), before;
    size_t failures;

    if (!lock_or_drop(&m, 10))
        cr_skip_test("mlock() is not allowed here");
    if (madvise(m.host + 60 * u * PAGE, u * PAGE, MADV_DONTNEED_LOCKED)) {
        memory_drop(&m);
        cr_skip_test("this kernel has no MADV_DONTNEED_LOCKED");
    }
    for (uint64_t i = 0; i < 20; i++)
        runs[i] = run_of(0, 2 * i * u, u);
    for (int again = 0; again < 2; again++) {
        before = counters(m.os).calls;
        memset(m.host, 0xaa, m.pages * PAGE);
        cr_assert_eq(balloon_os_discard(m.os, runs, 20, failed, &failures), BALLOON_OK);
        cr_assert_eq(failures, 0);
        for (uint64_t i = 0; i < 40; i++) {
            cr_assert_eq(bl_os_is_resident(m.host + i * u * PAGE), i % 2, "page %d", (int)i);
            cr_assert(page_is(m.host, i * u, i % 2 ? 0xaa : 0));
        }
    }
    if (m.os->batches[OS_DONTNEED_LOCKED])
        cr_assert_eq(counters(m.os).calls - before, 1, "it is known by now");
    memory_drop(&m);
}

Test(os_failures, a_locked_page_fails_alone)
{
    struct memory m = memory_make(0, 64 * host_unit());
    balloon_run runs[20], failed[20];
    uint64_t u = host_unit();
    size_t failures;

    if (!lock_or_drop(&m, 10))
        cr_skip_test("mlock() is not allowed here");
    fake_install(m.os);
    fake.old_kernel = true;
    for (uint64_t i = 0; i < 20; i++)
        runs[i] = run_of(0, 2 * i * u, u);
    cr_assert_eq(balloon_os_discard(m.os, runs, 20, failed, &failures), BALLOON_ERR_SYSTEM);
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(failures, 1);
    cr_assert_eq(failed[0].range.first, GUEST + 10 * u);
    cr_assert_eq(failed[0].range.count, u);
    for (uint64_t i = 0; i < 20; i++)
        cr_assert(page_is(m.host, 2 * i * u, i == 5 ? 0xaa : 0));
    cr_assert_eq(counters(m.os).failures, 1);
    memory_drop(&m);
}

Test(os_failures, a_locked_page_fails_alone_among_merged_runs)
{
    struct memory m = memory_make(0, 32 * host_unit());
    balloon_run runs[16], failed[16];
    uint64_t u = host_unit();
    size_t failures;

    if (!lock_or_drop(&m, 11))
        cr_skip_test("mlock() is not allowed here");
    fake_install(m.os);
    fake.old_kernel = true;
    for (uint64_t i = 0; i < 16; i++)
        runs[i] = run_of(0, 2 * i * u, 2 * u);
    runs[3].range.count = 0;
    cr_assert_eq(balloon_os_discard(m.os, runs, 16, failed, &failures), BALLOON_ERR_SYSTEM);
    cr_assert_eq(failures, 1);
    cr_assert_eq(failed[0].range.first, GUEST + 10 * u);
    cr_assert_eq(failed[0].range.count, 2 * u);
    for (uint64_t i = 0; i < 32; i++)
        cr_assert(page_is(m.host, i * u, i == 6 || i == 7 || i == 11 ? 0xaa : 0), "page %d",
                  (int)i);
    memory_drop(&m);
}

Test(os_failures, when_everything_fails_everything_is_reported)
{
    struct memory m = memory_make(0, 2 * 1500 * host_unit());
    balloon_run *runs = calloc(1500, sizeof(*runs)), *failed = calloc(1500, sizeof(*runs));
    uint64_t u = host_unit();
    size_t failures;

    fake_install(m.os);
    fake.fail_times = INT32_MAX;
    fake.error = ENOMEM;
    for (uint64_t i = 0; i < 1500; i++)
        runs[i] = run_of(0, 2 * i * u, u);
    cr_assert_eq(balloon_os_discard(m.os, runs, 1500, failed, &failures), BALLOON_ERR_SYSTEM);
    cr_assert_eq(errno, ENOMEM);
    cr_assert_eq(failures, 1500);
    cr_assert_arr_eq(runs, failed, 1500 * sizeof(*runs));
    cr_assert_eq(counters(m.os).bytes, 0);

    fake.error = 0; /* A system call that fails without saying why. */
    cr_assert_eq(balloon_os_discard(m.os, runs, 1500, failed, &failures), BALLOON_ERR_SYSTEM);
    cr_assert_eq(failures, 1500);
    free(runs);
    free(failed);
    memory_drop(&m);
}

Test(os_failures, every_method_can_fail)
{
    static const balloon_os_method methods[] = {BALLOON_OS_DONTNEED, BALLOON_OS_REMOVE,
                                                BALLOON_OS_PUNCH, BALLOON_OS_REMAP};
    uint64_t u = host_unit(), pages = 16 * u;
    int fd = make_memfd(0, pages);
    balloon_os *os = os_make(0);

    fake_install(os);
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        bool shared = methods[i] == BALLOON_OS_REMOVE || methods[i] == BALLOON_OS_PUNCH;
        unsigned char *host = map_file(shared ? MAP_SHARED : MAP_PRIVATE, fd, pages);
        balloon_os_region region = os_region_of(host, pages, fd);
        balloon_run run = run_of(0, 2 * u, u), failed;
        size_t failures = 0;

        region.method = methods[i];
        cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
        fake.fail_times = 2; /* REMOVE and what it falls back to. */
        fake.error = ENOMEM;
        cr_expect_eq(balloon_os_discard(os, &run, 1, &failed, &failures), BALLOON_ERR_SYSTEM);
        cr_expect_eq(failures, 1);
        cr_expect(!memcmp(&failed, &run, sizeof(run)));
        cr_expect(page_is(host, 2 * u, 0xaa));
        fake.fail_times = 0;
        cr_expect_eq(balloon_os_discard(os, &run, 1, &failed, &failures), BALLOON_OK);
        cr_assert_eq(balloon_os_remove_region(os, 0), BALLOON_OK);
        if (shared)
            memset(host, 0xaa, pages * PAGE);
    }
    os_drop(os);
}

Test(os_failures, a_short_count_is_continued)
{
    struct memory m = memory_make(0, 64 * host_unit());
    uint64_t u = host_unit();
    balloon_run runs[10], failed[10];
    size_t failures;

    fake_install(m.os);
    for (uint64_t i = 0; i < 10; i++)
        runs[i] = run_of(0, 6 * i * u, 5 * u);
    /* It ends in the middle of the third range. */
    fake.most = 12 * u * PAGE;
    cr_assert_eq(balloon_os_discard(m.os, runs, 10, failed, &failures), BALLOON_OK);
    for (uint64_t i = 0; i < 60; i++)
        cr_assert(page_is(m.host, i * u, i % 6 < 5 ? 0 : 0xaa), "page %d", (int)(i * u));
    cr_assert_eq(counters(m.os).bytes, 50 * u * PAGE);
    cr_assert_eq(counters(m.os).ranges, 10);
    cr_assert_gt(counters(m.os).shorts, 0);
    cr_assert_lt(counters(m.os).calls, 10);
    memory_drop(&m);
}

Test(os_failures, an_interrupted_call_is_made_again)
{
    struct memory m = memory_make(0, 64 * host_unit());
    uint64_t u = host_unit();
    balloon_run runs[2] = {run_of(0, 0, u), run_of(0, 4 * u, u)}, failed[2];
    const int errors[] = {EINTR, EAGAIN};
    size_t failures;

    fake_install(m.os);
    for (size_t i = 0; i < 2; i++) {
        fake.fail_times = 5;
        fake.error = errors[i];
        fake.calls = 0;
        memset(m.host, 0xaa, m.pages * PAGE);
        cr_assert_eq(balloon_os_discard(m.os, runs, 2, failed, &failures), BALLOON_OK);
        cr_assert_eq(fake.calls, 6);
        cr_assert(page_is(m.host, 0, 0) && page_is(m.host, 4 * u, 0));
    }
    /* Also one that makes no batch. */
    fake.fail_times = 5;
    fake.calls = 0;
    cr_assert_eq(balloon_os_discard(m.os, runs, 1, failed, &failures), BALLOON_OK);
    cr_assert_eq(fake.calls, 6);
    /* But not for ever. */
    fake.fail_times = INT32_MAX;
    fake.calls = 0;
    cr_assert_eq(balloon_os_discard(m.os, runs, 2, failed, &failures), BALLOON_ERR_SYSTEM);
    cr_assert_eq(failures, 2);
    cr_assert_lt(fake.calls, 100);
    memory_drop(&m);
}

Test(os_failures, a_forbidden_batch_is_not_tried_again)
{
    struct memory m = memory_make(0, 64 * host_unit());
    uint64_t u = host_unit();
    balloon_run runs[3] = {run_of(0, 0, u), run_of(0, 4 * u, u), run_of(0, 8 * u, u)}, failed[3];
    size_t failures;

    fake_install(m.os);
    fake.fail_times = 1;
    fake.error = ENOSYS; /* What a seccomp filter may answer. */
    cr_assert_eq(balloon_os_discard(m.os, runs, 3, failed, &failures), BALLOON_OK);
    cr_assert_eq(fake.calls, 4);
    cr_assert_not(m.os->batches[BALLOON_OS_DONTNEED]);
    cr_assert_eq(balloon_os_discard(m.os, runs, 3, failed, &failures), BALLOON_OK);
    cr_assert_eq(fake.calls, 7);
    cr_assert(page_is(m.host, 8 * u, 0));
    memory_drop(&m);
}

/* One region that refuses everything beside one that takes everything. Returns the calls made for
 * both; only those for the first may be many. */
static uint64_t calls_beside(balloon_os *os, uint32_t count, bool mixed)
{
    balloon_run *runs = calloc(2 * count, sizeof(*runs)),
                *failed = calloc(2 * count, sizeof(*runs));
    uint64_t before = counters(os).calls, u = host_unit();
    size_t failures;

    for (uint32_t i = 0; i < 2 * count; i++) {
        uint32_t region = mixed ? i % 2 : i / count;
        runs[i] = run_of(region, 2 * u * (mixed ? i / 2 : i % count), u);
    }
    cr_assert_eq(balloon_os_discard(os, runs, 2 * count, failed, &failures), BALLOON_ERR_SYSTEM);
    cr_assert_eq(failures, count);
    for (size_t i = 0; i < failures; i++)
        cr_assert_eq(failed[i].region, 0);
    free(runs);
    free(failed);
    return counters(os).calls - before;
}

/* A sealed file cannot be punched, and without a descriptor nobody knows before. It answers EPERM,
 * as a filter of system calls may, too. */
Test(os_failures, a_region_that_refuses_does_not_slow_others)
{
    enum { COUNT = 500 };
    uint64_t u = host_unit(), pages = 2 * COUNT * u;
    int sealed = make_memfd(MFD_ALLOW_SEALING, pages), good = make_memfd(0, pages);
    unsigned char *host = map_file(MAP_SHARED, good, pages);
    balloon_os_region regions[2] = {os_region_of(map_file(MAP_SHARED, sealed, pages), pages, -1),
                                    os_region_of(host, pages, good)};
    balloon_os *os = os_make(0);
    balloon_run *runs = calloc(COUNT, sizeof(*runs)), *failed = calloc(COUNT, sizeof(*runs));
    uint64_t before;
    size_t failures;

    if (!os->batches[BALLOON_OS_REMOVE])
        cr_skip_test("this kernel has no process_madvise() for MADV_REMOVE on oneself");
    cr_assert_eq(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    for (uint32_t r = 0; r < 2; r++)
        cr_assert_eq(balloon_os_add_region(os, r, &regions[r]), BALLOON_OK);
    for (int mixed = 0; mixed < 2; mixed++) {
        memset(host, 0xaa, pages * PAGE);
        cr_expect_leq(calls_beside(os, COUNT, mixed), COUNT + 4);
        for (uint64_t i = 0; i < 2 * COUNT; i++)
            cr_assert(page_is(host, i * u, i % 2 ? 0xaa : 0));
    }
    /* Nor later. */
    for (uint64_t i = 0; i < COUNT; i++)
        runs[i] = run_of(1, 2 * i * u, u);
    before = counters(os).calls;
    cr_assert_eq(balloon_os_discard(os, runs, COUNT, failed, &failures), BALLOON_OK);
    cr_assert_eq(counters(os).calls - before, 1);
    free(runs);
    free(failed);
    os_drop(os);
}

/* Whatever the runs, whatever fails, and however short the counts: every page asked for is either
 * gone or named in the failure of its run, and no other page is touched. */
Test(os_failures, no_failure_is_lost)
{
    enum { PAGES = 512, RUNS = 64 };
    struct prng prng = prng_start(prng_seed(), 77);
    struct memory m = memory_make(0, PAGES);
    bool bad[PAGES], asked[PAGES], named[PAGES];
    balloon_run runs[RUNS], failed[RUNS];

    NEEDS_4K_HOST();
    fake_install(m.os);
    fake.host = m.host;
    fake.bad = bad;
    for (int round = 0; round < (prng_check_all() ? 2000 : 200); round++) {
        uint64_t at = 0, odds = 2 + prng_below(&prng, 40);
        size_t count = 0, failures, f = 0;
        balloon_status status;

        memset(m.host, 0xaa, PAGES * PAGE);
        memset(asked, 0, sizeof(asked));
        memset(named, 0, sizeof(named));
        for (int i = 0; i < PAGES; i++)
            bad[i] = prng_one_in(&prng, odds);
        while (count < RUNS && at < PAGES) {
            uint64_t n = prng_below(&prng, 9);

            if (n > PAGES - at)
                n = PAGES - at;
            runs[count++] = run_of(0, at, n);
            for (uint64_t i = 0; i < n; i++)
                asked[at + i] = true;
            at += n + (prng_one_in(&prng, 3) ? 0 : prng_below(&prng, 12));
        }
        fake.most = prng_one_in(&prng, 2) ? SIZE_MAX : (1 + prng_below(&prng, 64)) * PAGE;

        status = balloon_os_discard(m.os, runs, count, failed, &failures);
        cr_assert_eq(status, failures ? BALLOON_ERR_SYSTEM : BALLOON_OK);
        for (size_t r = 0; r < count && f < failures; r++) {
            balloon_range run = runs[r].range, part = failed[f].range;

            if (part.first < run.first || part.first >= run.first + run.count)
                continue;
            cr_assert(part.count && part.first + part.count <= run.first + run.count);
            for (uint64_t i = 0; i < part.count; i++)
                named[part.first - GUEST + i] = true;
            f++;
        }
        cr_assert_eq(f, failures, "a failure of no run, or two of one");
        for (uint64_t i = 0; i < PAGES; i++) {
            bool gone = page_is(m.host, i, 0);

            cr_assert(gone || page_is(m.host, i, 0xaa));
            cr_assert(!gone || asked[i], "page %d was not asked for", (int)i);
            cr_assert(!asked[i] || gone || named[i], "page %d is lost, round %d", (int)i, round);
            cr_assert(!named[i] || asked[i]);
        }
    }
    memory_drop(&m);
}

/* --- Older kernels, and forks --- */

static ssize_t without_pidfd_self(int pidfd, const struct iovec *iov, size_t count, int advice)
{
    if (pidfd == OS_PIDFD_SELF) {
        errno = EBADF;
        return -1;
    }
    return fake.real->process_madvise(pidfd, iov, count, advice);
}

static ssize_t without_effect(int pidfd, const struct iovec *iov, size_t count, int advice)
{
    ssize_t bytes = 0;

    (void)pidfd, (void)advice;
    for (size_t i = 0; i < count; i++)
        bytes += (ssize_t)iov[i].iov_len;
    return bytes;
}

Test(os_failures, batches_are_not_believed_without_effect)
{
    struct memory m = memory_make(0, 64 * host_unit());
    struct os_calls calls = *m.os->calls;

    calls.process_madvise = without_effect;
    m.os->calls = &calls;
    bl_os_probe_batches(m.os);
    cr_assert_not(m.os->batches[BALLOON_OS_DONTNEED]);
    cr_assert_not(m.os->batches[BALLOON_OS_REMOVE]);
    cr_assert_eq(m.os->pidfd, -1);
    check_scattered(&m, 30);
    memory_drop(&m);
}

/* A descriptor from pidfd_open() means the parent also in the child: there the kernel must refuse
 * it, and single calls take over. */
Test(os_failures, a_forked_child_leaves_its_parent_alone)
{
    struct memory m = memory_make(0, 64 * host_unit());
    struct os_calls calls = *m.os->calls;
    int status;
    pid_t child;

    fake.real = m.os->calls;
    calls.process_madvise = without_pidfd_self;
    m.os->calls = &calls;
    bl_os_probe_batches(m.os);
    if (m.os->pidfd < 0) {
        memory_drop(&m);
        cr_skip_test("this kernel has no process_madvise() on oneself by descriptor");
    }
    child = fork();
    if (!child) {
        uint64_t u = host_unit();
        balloon_run runs[2] = {run_of(0, 0, u), run_of(0, 4 * u, u)}, failed[2];
        size_t failures;
        bool good = balloon_os_discard(m.os, runs, 2, failed, &failures) == BALLOON_OK;

        _exit(good && page_is(m.host, 0, 0) && page_is(m.host, 4 * u, 0) ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert(page_is(m.host, 0, 0xaa), "the child discarded the parent's memory");
    check_scattered(&m, 30);
    cr_assert_eq(counters(m.os).calls, 1);
    memory_drop(&m);
}
