/* Discarding: what it does to each kind of memory, and in how few calls. */
#include "os_support.h"

#include <sys/wait.h>

/* --- What it does --- */

Test(os_discard, frees_exactly_what_was_asked)
{
    struct memory m = memory_make(0, 64);
    uint64_t u = host_unit();
    balloon_run runs[] = {run_of(0, u, u), run_of(0, 3 * u, 2 * u)}, failed[2];
    size_t failures = 99;

    m.os->error = EIO; /* Of an earlier call; must not show. */
    cr_assert_eq(balloon_os_discard(m.os, runs, 2, failed, &failures), BALLOON_OK);
    cr_assert_eq(failures, 0);
    for (uint64_t i = 0; i < 64; i++) {
        bool gone = (i >= u && i < 2 * u) || (i >= 3 * u && i < 5 * u);
        cr_assert(page_is(m.host, i, gone ? 0 : 0xaa), "page %d", (int)i);
    }
    cr_assert_eq(counters(m.os).bytes, 3 * u * PAGE);
    cr_assert_eq(counters(m.os).ranges, 2);
    memory_drop(&m);
}

Test(os_discard, nothing_to_do_is_fine)
{
    struct memory m = memory_make(0, 16);
    balloon_run empty = run_of(0, 0, 0), failed;
    size_t failures = 99;

    cr_assert_eq(balloon_os_discard(m.os, NULL, 0, NULL, &failures), BALLOON_OK);
    cr_assert_eq(failures, 0);
    cr_assert_eq(balloon_os_discard(m.os, &empty, 1, &failed, &failures), BALLOON_OK);
    cr_assert_eq(failures, 0);
    cr_assert_eq(counters(m.os).calls, 0);
    memory_drop(&m);
}

Test(os_discard, null_pointers_are_refused)
{
    struct memory m = memory_make(0, 16);
    balloon_run run = run_of(0, 0, 16), failed;
    size_t failures;

    cr_assert_eq(balloon_os_discard(NULL, &run, 1, &failed, &failures), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_discard(m.os, NULL, 1, &failed, &failures), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_discard(m.os, &run, 1, NULL, &failures), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_discard(m.os, &run, 1, &failed, NULL), BALLOON_ERR_INVALID);
    cr_assert(page_is(m.host, 0, 0xaa));
    memory_drop(&m);
}

Test(os_discard, neighbours_become_one_range)
{
    struct memory m = memory_make(0, 256);
    balloon_run runs[16], failed[16];
    uint64_t u = host_unit();
    size_t failures;

    for (uint64_t i = 0; i < 16; i++)
        runs[i] = run_of(0, i * u, u);
    cr_assert_eq(balloon_os_discard(m.os, runs, 16, failed, &failures), BALLOON_OK);
    cr_assert_eq(counters(m.os).ranges, 1);
    cr_assert_eq(counters(m.os).calls, 1);
    cr_assert(page_is(m.host, 16 * u - 1, 0));
    memory_drop(&m);
}

/* The guest sees one piece of memory, the host has it in two places. */
Test(os_discard, neighbours_of_two_regions_stay_two_ranges)
{
    uint64_t u = host_unit(), pages = 8 * u;
    unsigned char *far = map_anonymous(MAP_PRIVATE, 64 * u);
    balloon_os_region low = os_region_of(far + 32 * u * PAGE, pages, -1),
                      high = os_region_of(far, pages, -1);
    balloon_run runs[2] = {run_of(0, 6 * u, 2 * u), run_of(1, 8 * u, 2 * u)}, failed[2];
    balloon_os *os = os_make(0);
    size_t failures;

    high.pages.first += pages;
    cr_assert_eq(balloon_os_add_region(os, 0, &low), BALLOON_OK);
    cr_assert_eq(balloon_os_add_region(os, 1, &high), BALLOON_OK);
    cr_assert_eq(balloon_os_discard(os, runs, 2, failed, &failures), BALLOON_OK);
    cr_assert_eq(counters(os).ranges, 2);
    for (uint64_t i = 0; i < 64; i++)
        cr_assert(page_is(far, i * u, i == 38 || i == 39 || i < 2 ? 0 : 0xaa), "page %d", (int)i);
    os_drop(os);
}

Test(os_discard, scattered_ranges_leave_in_batches)
{
    struct memory m = memory_make(0, 2 * 2500 * host_unit());

    if (!m.os->batches[BALLOON_OS_DONTNEED]) {
        memory_drop(&m);
        cr_skip_test("this kernel has no process_madvise() for MADV_DONTNEED on oneself");
    }
    check_scattered(&m, 2500);
    cr_assert_eq(counters(m.os).calls, 3);
    memory_drop(&m);
}

Test(os_discard, without_batches_one_call_a_range)
{
    struct memory m = memory_make(BALLOON_OS_NO_BATCH, 2 * 100 * host_unit());

    cr_assert_not(m.os->batches[BALLOON_OS_DONTNEED]);
    check_scattered(&m, 100);
    cr_assert_eq(counters(m.os).calls, 100);
    memory_drop(&m);
}

/* --- Runs that are refused --- */

Test(os_discard, runs_outside_of_their_region_are_failures)
{
    struct memory m = memory_make(0, 64);
    uint64_t u = host_unit();
    balloon_run failed[7], runs[7] = {
                               run_of(1, 0, u),             /* No such region. */
                               run_of(UINT32_MAX, 0, u),    /* No such id. */
                               run_of(0, 64, u),            /* Behind. */
                               {0, 0, {GUEST - u, 2 * u}},  /* Begins before. */
                               run_of(0, 64 - u, 2 * u),    /* Ends behind. */
                               {0, 0, {GUEST, UINT64_MAX}}, /* Runs past the last page. */
                               run_of(0, 2 * u, u),         /* Good. */
                           };
    size_t failures;

    cr_assert_eq(balloon_os_discard(m.os, runs, 7, failed, &failures), BALLOON_ERR_RANGE);
    cr_assert_eq(failures, 6);
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(failed[i].region, runs[i].region);
        cr_assert_eq(failed[i].range.first, runs[i].range.first);
        cr_assert_eq(failed[i].range.count, runs[i].range.count);
    }
    for (uint64_t i = 0; i < 64; i++)
        cr_assert(page_is(m.host, i, i >= 2 * u && i < 3 * u ? 0 : 0xaa));
    cr_assert_eq(counters(m.os).refused, 6);
    memory_drop(&m);
}

/* As on a host with 16 KiB pages: the calls would round up and take live pages along. */
Test(os_discard, ranges_are_rounded_inward)
{
    struct memory m = memory_make(0, 64);
    balloon_run failed[3], runs[3] = {run_of(0, 1, 10), run_of(0, 17, 2), run_of(0, 32, 6)};
    size_t failures;

    NEEDS_4K_HOST();
    m.os->regions[0].unit = 4;
    cr_assert_eq(balloon_os_discard(m.os, runs, 3, failed, &failures), BALLOON_ERR_RANGE);
    for (uint64_t i = 0; i < 64; i++)
        cr_assert(page_is(m.host, i, (i >= 4 && i < 8) || (i >= 32 && i < 36) ? 0 : 0xaa),
                  "page %d", (int)i);
    cr_assert_eq(failures, 3);
    cr_assert_eq(failed[0].range.first, GUEST + 1);
    cr_assert_eq(failed[0].range.count, 10);
    cr_assert_eq(failed[1].range.first, GUEST + 17);
    cr_assert_eq(failed[1].range.count, 2);
    cr_assert_eq(failed[2].range.first, GUEST + 36); /* Only what is left of it. */
    cr_assert_eq(failed[2].range.count, 2);
    memory_drop(&m);
}

/* --- Backings --- */

Test(os_discard, shared_memory_goes_away_for_everyone)
{
    uint64_t u = host_unit(), pages = 64 * u, held;
    int fd = make_memfd(0, pages), up[2], down[2], status;
    unsigned char *host = map_file(MAP_SHARED, fd, pages);
    balloon_os_region region = os_region_of(host, pages, fd);
    balloon_run runs[2] = {run_of(0, 2 * u, 2 * u), run_of(0, 8 * u, u)}, failed[2];
    balloon_os *os = os_make(0);
    char byte = 0;
    size_t failures;
    pid_t child;

    cr_assert_eq(pipe(up), 0);
    cr_assert_eq(pipe(down), 0);
    child = fork();
    if (!child) { /* Another process that has the pages mapped and in its page tables. */
        bool good = page_is(host, 2 * u, 0xaa) && page_is(host, 8 * u, 0xaa);

        good = good && write(up[1], "", 1) == 1 && read(down[0], &byte, 1) == 1;
        _exit(good && page_is(host, 2 * u, 0) && page_is(host, 8 * u, 0) &&
                      page_is(host, 4 * u, 0xaa)
                  ? 0
                  : 1);
    }
    cr_assert_eq(read(up[0], &byte, 1), 1);

    held = file_pages(fd);
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    cr_assert_eq(balloon_os_discard(os, runs, 2, failed, &failures), BALLOON_OK);
    cr_assert_eq(file_pages(fd), held - 3 * u);
    cr_assert_eq(write(down[1], "", 1), 1);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the other process has old pages");
    os_drop(os);
}

Test(os_discard, locked_shared_memory_is_punched_through_the_file)
{
    uint64_t u = host_unit(), pages = 16 * u;
    int fd = make_memfd(0, pages);
    unsigned char *host = map_file(MAP_SHARED, fd, pages);
    balloon_os_region with = os_region_of(host, pages, fd), without = os_region_of(host, pages, -1);
    balloon_run runs[2] = {run_of(0, 4 * u, u), run_of(1, 6 * u, u)}, failed[2];
    balloon_os *os = os_make(0);
    size_t failures;

    if (!lock_pages(host, pages * PAGE))
        cr_skip_test("mlock() is not allowed here");
    cr_assert_eq(balloon_os_add_region(os, 0, &with), BALLOON_OK);
    cr_assert_eq(balloon_os_add_region(os, 1, &without), BALLOON_OK);
    cr_assert_eq(balloon_os_discard(os, runs, 2, failed, &failures), BALLOON_ERR_SYSTEM);
    cr_assert_eq(failures, 1);
    cr_assert_eq(failed[0].region, 1);
    cr_assert(page_is(host, 4 * u, 0));
    cr_assert(page_is(host, 6 * u, 0xaa));
    os_drop(os);
}

/* The region begins inside of the file, and the guest's page numbers do not begin at 0. */
Test(os_discard, punching_hits_the_right_place_of_the_file)
{
    uint64_t u = host_unit(), pages = 64 * u;
    int fd = make_memfd(0, pages);
    unsigned char *host = map_file(MAP_SHARED, fd, pages);
    balloon_os_region region = os_region_of(host + 16 * u * PAGE, pages - 16 * u, fd);
    balloon_run run = run_of(0, 3 * u, 2 * u), failed;
    balloon_os *os = os_make(0);
    size_t failures;

    region.fd_offset = 16 * u * PAGE;
    region.method = BALLOON_OS_PUNCH;
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    close(fd); /* The region has its own. */
    cr_assert_eq(balloon_os_discard(os, &run, 1, &failed, &failures), BALLOON_OK);
    for (uint64_t i = 0; i < 64; i++)
        cr_assert(page_is(host, i * u, i == 19 || i == 20 ? 0 : 0xaa), "page %d", (int)i);
    os_drop(os);
}

Test(os_discard, a_private_file_stays_as_it_is)
{
    uint64_t u = host_unit(), pages = 16 * u;
    int fd = make_memfd(0, pages);
    unsigned char *host = map_file(MAP_PRIVATE, fd, pages), *file = map_file(MAP_SHARED, fd, pages);
    balloon_os_region region = os_region_of(host, pages, fd);
    balloon_run runs[2] = {run_of(0, 2 * u, u), run_of(0, 5 * u, 2 * u)}, failed[2];
    balloon_os *os = os_make(0);
    size_t failures;

    memset(host + 2 * u * PAGE, 0xbb, u * PAGE); /* One written before, the others not. */
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(balloon_os_discard(os, runs, 2, failed, &failures), BALLOON_OK);
        for (uint64_t i = 0; i < 16; i++) {
            cr_assert(page_is(host, i * u, i == 2 || i == 5 || i == 6 ? 0 : 0xaa));
            cr_assert(page_is(file, i * u, 0xaa));
        }
        host[2 * u * PAGE] = 1; /* Still memory to write to. */
    }
    os_drop(os);
}

Test(os_discard, regions_of_all_kinds_in_one_call)
{
    uint64_t u = host_unit(), pages = 16 * u;
    int shared = make_memfd(0, pages), file = make_memfd(0, pages);
    unsigned char *host[4] = {map_anonymous(MAP_PRIVATE, pages),
                              map_file(MAP_SHARED, shared, pages),
                              map_file(MAP_PRIVATE, file, pages), map_anonymous(MAP_SHARED, pages)};
    const int fds[4] = {-1, shared, file, -1};
    balloon_run runs[16], failed[16];
    balloon_os *os = os_make(0);
    size_t failures;

    for (uint32_t r = 0; r < 4; r++) {
        balloon_os_region region = os_region_of(host[r], pages, fds[r]);
        cr_assert_eq(balloon_os_add_region(os, r, &region), BALLOON_OK);
    }
    for (uint32_t i = 0; i < 16; i++)
        runs[i] = run_of(i % 4, (i / 4 * 3 + 1) * u, 2 * u);
    cr_assert_eq(balloon_os_discard(os, runs, 16, failed, &failures), BALLOON_OK);
    for (uint32_t r = 0; r < 4; r++) {
        for (uint64_t i = 0; i < 16; i++)
            cr_assert(page_is(host[r], i * u, i < 12 && i % 3 ? 0 : 0xaa), "region %d page %d",
                      (int)r, (int)i);
    }
    os_drop(os);
}

Test(os_discard, huge_pages_shared_and_private)
{
    struct huge_pages huge;
    uint64_t pages = 4 * HUGE_UNIT;
    balloon_os *os = os_make(0);
    unsigned char *host[2];
    int fd;

    if (!huge_reserve(&huge, 8)) {
        os_drop(os);
        cr_skip_test("no 2 MiB huge pages can be reserved here");
    }
    fd = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB | HUGE_FLAG);
    cr_expect(fd >= 0 && !ftruncate(fd, (off_t)(pages * PAGE)));
    host[0] = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    host[1] = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | HUGE_FLAG, -1, 0);
    cr_expect(host[0] != MAP_FAILED && host[1] != MAP_FAILED);
    for (uint32_t r = 0; r < 2 && host[r] != MAP_FAILED; r++) {
        balloon_os_region region = os_region_of(host[r], pages, r ? -1 : fd);
        /* The second is cut off inside of a huge page, which stays. */
        balloon_run failed[2],
            runs[2] = {run_of(r, 0, HUGE_UNIT), run_of(r, 2 * HUGE_UNIT, HUGE_UNIT + 300)};
        size_t failures = 0;

        memset(host[r], 0xaa, pages * PAGE);
        cr_expect_eq(balloon_os_add_region(os, r, &region), BALLOON_ERR_INVALID,
                     "granules smaller than a huge page");
        region.pages.granule = HUGE_UNIT;
        cr_expect_eq(balloon_os_add_region(os, r, &region), BALLOON_OK);
        cr_expect_eq(balloon_os_discard(os, runs, 2, failed, &failures), BALLOON_ERR_RANGE);
        cr_expect_eq(failures, 1);
        cr_expect_eq(failed[0].range.first, GUEST + 3 * HUGE_UNIT);
        cr_expect_eq(failed[0].range.count, 300);
        if (r == 0)
            cr_expect_eq(file_pages(fd), 2 * HUGE_UNIT);
        for (uint64_t i = 0; i < pages; i++)
            cr_expect(page_is(host[r], i, i / HUGE_UNIT % 2 ? 0xaa : 0));
    }
    munmap(host[0], pages * PAGE);
    munmap(host[1], pages * PAGE);
    close(fd);
    os_drop(os);
    huge_give_back(&huge);
}
