/* Residency: what a guest has brought back is seen, and nothing else. */
#include "os_support.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#define PAGES (64 * host_unit())

/* Discard all of region 0, then write to host pages 3, 4 and 40 and read 7 and 8. */
static void discard_and_touch(balloon_os *os, volatile unsigned char *host)
{
    balloon_run all = run_of(0, 0, PAGES), failed;
    size_t failures;
    uint64_t u = host_unit() * PAGE;

    cr_assert_eq(balloon_os_discard(os, &all, 1, &failed, &failures), BALLOON_OK);
    host[3 * u] = host[4 * u] = host[40 * u] = 1;
    cr_assert_eq(host[7 * u] + host[8 * u], 0);
}

static balloon_os_residency look(balloon_os *os)
{
    balloon_os_residency found = {.size = sizeof(found)};
    balloon_run run = run_of(0, 0, PAGES);

    cr_assert_eq(balloon_os_resident(os, &run, 0, &found), BALLOON_OK);
    cr_assert_eq(run.range.count, 0);
    cr_assert_eq(run.range.first, GUEST + PAGES);
    cr_expect_eq(found.looked, PAGES);
    return found;
}

static bool have_scan(void)
{
    struct os_pages pages;
    unsigned char *host = map_anonymous(MAP_PRIVATE, host_unit());
    bool have = bl_os_pagemap(host, host_unit() * PAGE, &pages);

    munmap(host, host_unit() * PAGE);
    return have;
}

Test(os_resident, private_memory)
{
    struct memory m = memory_make(0, PAGES);
    balloon_os_residency found = look(m.os);
    uint64_t u = host_unit();

    cr_expect_eq(found.resident, PAGES);
    discard_and_touch(m.os, m.host);
    found = look(m.os);
    cr_expect_eq(found.may_be_more, 0);
    /* mincore() takes the page of zeros for one. */
    if (have_scan()) {
        cr_expect_eq(found.resident, 3 * u);
        cr_expect_eq(found.may_be_less, 0);
    } else {
        cr_expect(found.resident >= 3 * u && found.resident <= 5 * u);
        cr_expect_neq(found.may_be_less, 0);
    }
    memory_drop(&m);
}

Test(os_resident, private_files)
{
    balloon_os *os = os_make(0);
    int fd = make_memfd(0, PAGES);
    unsigned char *host = map_file(MAP_PRIVATE, fd, PAGES);
    balloon_os_region region = os_region_of(host, PAGES, fd);
    balloon_os_residency found;

    if (!have_scan())
        cr_skip_test("this kernel has no PAGEMAP_SCAN");
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    for (uint64_t i = 0; i < PAGES; i++)
        cr_assert(page_is(host, i, 0xaa));
    cr_expect_eq(look(os).resident, 0, "the file's cache is not the guest's");
    memset(host, 0xbb, 2 * host_unit() * PAGE);
    cr_expect_eq(look(os).resident, 2 * host_unit());
    discard_and_touch(os, host);
    found = look(os);
    cr_expect_eq(found.resident, 3 * host_unit());
    cr_expect_eq(found.may_be_more | found.may_be_less, 0);
    os_drop(os);
}

/* What another process touches counts, too: it is the same memory. */
Test(os_resident, shared_memory)
{
    for (int kind = 0; kind < 3; kind++) {
        balloon_os *os = os_make(0);
        int fd = make_memfd(0, PAGES);
        unsigned char *host =
            kind == 2 ? map_anonymous(MAP_SHARED, PAGES) : map_file(MAP_SHARED, fd, PAGES);
        balloon_os_region region = os_region_of(host, PAGES, kind ? -1 : fd);
        balloon_run all = run_of(0, 0, PAGES), failed;
        balloon_os_residency found;
        size_t failures;
        int status;
        pid_t child;

        cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
        cr_assert_eq(balloon_os_discard(os, &all, 1, &failed, &failures), BALLOON_OK);
        child = fork();
        if (!child) {
            host[5 * host_unit() * PAGE] = 1;
            _exit(0);
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        found = look(os);
        cr_expect_eq(found.resident, host_unit(), "kind %d", kind);
        cr_expect_eq(found.may_be_more | found.may_be_less, 0, "kind %d", kind);
        os_drop(os);
    }
}

/* mincore() would call every page of it present. */
Test(os_resident, a_file_of_another_user)
{
    char path[] = "/dev/shm/balloon-test-XXXXXX";
    balloon_os *os = os_make(0);
    int fd = mkstemp(path);
    balloon_os_residency found;
    balloon_os_region region;
    unsigned char *host;

    if (geteuid() || !have_scan()) {
        if (fd >= 0)
            unlink(path);
        cr_skip_test("takes root, and a kernel with PAGEMAP_SCAN");
    }
    cr_assert_geq(fd, 0);
    unlink(path);
    cr_assert(!fchmod(fd, 0600) && !ftruncate(fd, (off_t)(PAGES * PAGE)));
    host = map_file(MAP_SHARED, fd, PAGES);
    region = os_region_of(host, PAGES, fd);
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    cr_assert_eq(seteuid(65534), 0);
    cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* Or /proc/self is root's. */
    host[0] = 1;
    found = look(os);
    cr_assert_eq(seteuid(0), 0);
    cr_expect_eq(found.resident, host_unit());
    cr_expect_neq(found.may_be_more, 0);
    os_drop(os);
}

Test(os_resident, huge_pages)
{
    uint64_t pages = 4 * HUGE_UNIT;
    struct huge_pages huge;

    if (!huge_reserve(&huge, 4))
        cr_skip_test("no 2 MiB huge pages can be reserved here");
    for (int shared = 0; shared < 2; shared++) {
        balloon_os *os = os_make(0);
        balloon_os_residency found = {.size = sizeof(found)};
        balloon_run run = run_of(0, 0, pages), failed;
        balloon_os_region region;
        size_t failures = 0;
        unsigned char *host = mmap(
            NULL, pages * PAGE, PROT_READ | PROT_WRITE,
            (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_HUGETLB | HUGE_FLAG, -1, 0);

        cr_expect_neq(host, MAP_FAILED);
        region = os_region_of(host, pages, -1);
        region.pages.granule = HUGE_UNIT;
        cr_expect_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
        memset(host, 0xaa, pages * PAGE);
        cr_expect_eq(balloon_os_discard(os, &run, 1, &failed, &failures), BALLOON_OK);
        host[HUGE_PAGE] = 1;
        cr_expect_eq(balloon_os_resident(os, &run, 0, &found), BALLOON_OK);
        cr_expect_eq(found.looked, pages);
        cr_expect_eq(found.resident, HUGE_UNIT);
        cr_expect_eq(found.may_be_more != 0, shared);
        munmap(host, pages * PAGE);
        os_drop(os);
    }
    huge_give_back(&huge);
}

/* --- How it goes on --- */

Test(os_resident, goes_on_where_it_stopped)
{
    struct memory m = memory_make(0, PAGES);
    balloon_os_residency found = {.size = sizeof(found)};
    balloon_run run = run_of(0, 0, PAGES);
    uint64_t u = host_unit(), calls = 0;

    discard_and_touch(m.os, m.host);
    memset(m.host, 0xaa, 8 * u * PAGE);
    while (run.range.count) {
        uint64_t before = found.looked;

        cr_assert_eq(balloon_os_resident(m.os, &run, 5 * u, &found), BALLOON_OK);
        cr_assert(found.looked > before && found.looked <= before + 5 * u);
        calls++;
    }
    cr_expect_eq(calls, 13);
    cr_expect_eq(found.looked, PAGES);
    cr_expect_eq(found.resident, have_scan() ? 9 * u : 10 * u); /* The page of zeros. */
    memory_drop(&m);
}

/* As on a host with 16 KiB pages. */
Test(os_resident, parts_of_host_pages_are_passed_over)
{
    struct memory m = memory_make(0, 64);
    balloon_os_residency found = {.size = sizeof(found)};
    balloon_run run = run_of(0, 1, 42);

    NEEDS_4K_HOST();
    m.os->regions[0].unit = 4;
    while (run.range.count)
        cr_assert_eq(balloon_os_resident(m.os, &run, 10, &found), BALLOON_OK);
    cr_expect_eq(run.range.first, GUEST + 43);
    cr_expect_eq(found.looked, 36);
    cr_expect_eq(found.resident, 36);
    run = run_of(0, 1, 3);
    cr_assert_eq(balloon_os_resident(m.os, &run, 1, &found), BALLOON_OK);
    cr_expect_eq(run.range.count, 0);
    memory_drop(&m);
}

Test(os_resident, bad_arguments)
{
    struct memory m = memory_make(0, PAGES);
    balloon_os_residency found = {.size = sizeof(found)}, small = {.size = sizeof(found) - 1};
    balloon_run run = run_of(0, 0, PAGES), outside = run_of(0, 1, PAGES), none = run_of(1, 0, 1);

    cr_expect_eq(balloon_os_resident(NULL, &run, 0, &found), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_resident(m.os, NULL, 0, &found), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_resident(m.os, &run, 0, NULL), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_resident(m.os, &run, 0, &small), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_resident(m.os, &outside, 0, &found), BALLOON_ERR_RANGE);
    cr_expect_eq(balloon_os_resident(m.os, &none, 0, &found), BALLOON_ERR_RANGE);
    cr_expect_eq(found.looked, 0);
    cr_expect_eq(run.range.count, PAGES);
    memory_drop(&m);
}
