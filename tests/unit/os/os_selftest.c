/* The self-test: it says yes to what frees memory, and no to every call that only pretends. */
#include "os_support.h"

#define PAGES (64 * host_unit())

/* Add memory as region 0 and test all of it. The words are printed: they are what a user sees. */
static balloon_os_selftest_result test_with(balloon_os *os, const balloon_os_region *region)
{
    balloon_os_selftest_result result = {.size = sizeof(result)};
    balloon_range range = {region->pages.first, region->pages.count};

    cr_assert_eq(balloon_os_add_region(os, 0, region), BALLOON_OK);
    cr_assert_eq(balloon_os_selftest(os, 0, range, &result), BALLOON_OK);
    cr_assert_eq(balloon_os_remove_region(os, 0), BALLOON_OK);
    cr_log_info("%s", result.words);
    return result;
}

static balloon_os_selftest_result test_memory(void *host, int fd, balloon_os_method method)
{
    balloon_os_region region = os_region_of(host, PAGES, fd);
    balloon_os *os = os_make(0);
    balloon_os_selftest_result result;

    region.method = method;
    result = test_with(os, &region);
    os_drop(os);
    return result;
}

static void expect_works(const balloon_os_selftest_result *r)
{
    cr_expect(r->frees && r->zeros && r->intact, "%s", r->words);
    cr_expect_eq(r->pages, PAGES);
    cr_expect_eq(r->populated, PAGES);
    cr_expect_eq(r->freed, PAGES);
    cr_expect_not_null(strstr(r->words, "it works"));
    cr_expect_not_null(strstr(r->words, balloon_os_method_text(r->method)));
}

static int make_empty(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    cr_assert(fd >= 0 && !ftruncate(fd, (off_t)(PAGES * PAGE)));
    return fd;
}

Test(os_selftest, private_memory)
{
    void *host = map_anonymous(MAP_PRIVATE, PAGES);
    balloon_os_selftest_result r = test_memory(host, -1, BALLOON_OS_METHOD_AUTO);

    expect_works(&r);
    cr_expect_eq(r.method, BALLOON_OS_DONTNEED);
    r = test_memory(host, -1, BALLOON_OS_REMAP);
    expect_works(&r);
}

Test(os_selftest, memfd_by_either_call)
{
    int fd = make_empty();
    void *host = map_file(MAP_SHARED, fd, PAGES);
    balloon_os_selftest_result r = test_memory(host, fd, BALLOON_OS_METHOD_AUTO);

    expect_works(&r);
    cr_expect_eq(r.method, BALLOON_OS_REMOVE);
    r = test_memory(host, fd, BALLOON_OS_PUNCH);
    expect_works(&r);
    cr_expect_eq(r.batched, 0);
    r = test_memory(host, -1, BALLOON_OS_METHOD_AUTO);
    expect_works(&r);
    cr_expect_eq(file_pages(fd), 0, "the test left pages behind");
}

Test(os_selftest, shared_anonymous_memory)
{
    balloon_os_selftest_result r =
        test_memory(map_anonymous(MAP_SHARED, PAGES), -1, BALLOON_OS_METHOD_AUTO);

    expect_works(&r);
}

Test(os_selftest, private_file)
{
    int fd = make_memfd(0, PAGES);
    unsigned char *file = map_file(MAP_SHARED, fd, PAGES);
    balloon_os_selftest_result r =
        test_memory(map_file(MAP_PRIVATE, fd, PAGES), fd, BALLOON_OS_METHOD_AUTO);

    expect_works(&r);
    for (uint64_t i = 0; i < PAGES; i++)
        cr_expect(page_is(file, i, 0xaa));
}

Test(os_selftest, shared_file_on_disk)
{
    char path[] = "/tmp/balloon-test-XXXXXX";
    int fd = mkstemp(path);
    balloon_os_selftest_result r;

    cr_assert_geq(fd, 0);
    unlink(path);
    cr_assert_eq(ftruncate(fd, (off_t)(PAGES * PAGE)), 0);
    r = test_memory(map_file(MAP_SHARED, fd, PAGES), fd, BALLOON_OS_METHOD_AUTO);
    if (strstr(r.words, "refuses"))
        cr_skip_test("the file system of /tmp cannot punch holes");
    cr_expect(r.frees, "%s", r.words);
}

Test(os_selftest, huge_pages)
{
    uint64_t pages = 4 * HUGE_UNIT;
    balloon_os *os = os_make(0);
    struct huge_pages huge;
    int fd;

    if (!huge_reserve(&huge, 4)) {
        os_drop(os);
        cr_skip_test("no 2 MiB huge pages can be reserved here");
    }
    fd = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB | HUGE_FLAG);
    cr_expect(fd >= 0 && !ftruncate(fd, (off_t)(pages * PAGE)));
    for (int shared = 0; shared < 2; shared++) {
        unsigned char *host = map_file(shared ? MAP_SHARED : MAP_PRIVATE, fd, pages);
        balloon_os_region region = os_region_of(host, pages, fd);
        balloon_os_selftest_result r;

        region.pages.granule = HUGE_UNIT;
        r = test_with(os, &region);
        cr_expect(r.frees, "%s", r.words);
        cr_expect_eq(r.freed, pages);
        if (shared) {
            region.method = BALLOON_OS_DONTNEED;
            r = test_with(os, &region);
            cr_expect_not(r.frees, "%s", r.words);
            region.fd = -1; /* Now only the contents tell. */
            r = test_with(os, &region);
            cr_expect_not(r.frees, "%s", r.words);
        }
        munmap(host, pages * PAGE);
    }
    close(fd);
    os_drop(os);
    huge_give_back(&huge);
}

/* --- Memory that is there already --- */

Test(os_selftest, populated_private_memory)
{
    void *host = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    balloon_os_selftest_result r;

    cr_assert_neq(host, MAP_FAILED);
    r = test_memory(host, -1, BALLOON_OS_METHOD_AUTO);
    expect_works(&r);
}

Test(os_selftest, allocated_memfd)
{
    int fd = make_memfd(0, PAGES);
    void *host = map_file(MAP_SHARED | MAP_POPULATE, fd, PAGES);

    for (int given = 0; given < 2; given++) {
        balloon_os_selftest_result r = test_memory(host, given ? fd : -1, BALLOON_OS_METHOD_AUTO);

        expect_works(&r);
        cr_expect_eq(file_pages(fd), 0);
        cr_assert_eq(fallocate(fd, 0, 0, (off_t)(PAGES * PAGE)), 0);
    }
}

Test(os_selftest, locked_memory)
{
    int fd = make_memfd(0, PAGES);
    void *shared = map_file(MAP_SHARED, fd, PAGES), *private = map_anonymous(MAP_PRIVATE, PAGES);
    balloon_os_selftest_result r;

    if (!lock_pages(shared, PAGES * PAGE) || !lock_pages(private, PAGES * PAGE))
        cr_skip_test("mlock() is not allowed here");
    r = test_memory(shared, fd, BALLOON_OS_METHOD_AUTO);
    expect_works(&r);
    r = test_memory(shared, -1, BALLOON_OS_METHOD_AUTO);
    cr_expect_not(r.frees);
    cr_expect_not_null(strstr(r.words, "refuses"));
    if (madvise(private, host_unit() * PAGE, MADV_DONTNEED_LOCKED))
        cr_skip_test("this kernel has no MADV_DONTNEED_LOCKED");
    r = test_memory(private, -1, BALLOON_OS_METHOD_AUTO);
    expect_works(&r);
}

/* It was there before and is there afterwards: that is no want of pages to try. */
Test(os_selftest, what_stays_is_not_freed)
{
    int fd = make_memfd(0, PAGES);
    void *host = map_file(MAP_SHARED, fd, PAGES);

    for (int given = 0; given < 2; given++) {
        balloon_os_selftest_result r = test_memory(host, given ? fd : -1, BALLOON_OS_DONTNEED);

        cr_expect_not(r.frees);
        cr_expect_not_null(strstr(r.words, "does not free"));
    }
}

/* --- Calls that pretend --- */

/* The classic: it returns 0, and the memory stays in the file. */
Test(os_selftest, says_no_to_dontneed_on_shared_memory)
{
    for (int given = 0; given < 2; given++) {
        int fd = make_empty();
        void *host = map_file(MAP_SHARED, fd, PAGES);
        balloon_os_selftest_result r = test_memory(host, given ? fd : -1, BALLOON_OS_DONTNEED);

        cr_expect_not(r.frees);
        cr_expect_not(r.zeros);
        cr_expect_eq(r.populated, PAGES);
        cr_expect_eq(r.freed, 0);
        cr_expect_eq(file_pages(fd), PAGES);
        cr_expect_not_null(strstr(r.words, ": 0 of"));
        cr_expect_not_null(strstr(r.words, "does not free"));
    }
}

Test(os_selftest, says_no_to_dontneed_on_a_private_file)
{
    int fd = make_memfd(0, PAGES);
    balloon_os_selftest_result r =
        test_memory(map_file(MAP_PRIVATE, fd, PAGES), fd, BALLOON_OS_DONTNEED);

    cr_expect_not(r.frees);
    cr_expect_not(r.zeros, "the bytes of the file came back");
}

static int does_nothing(void *address, size_t bytes, int advice)
{
    (void)address, (void)bytes, (void)advice;
    return 0;
}

static int only_zeroes(void *address, size_t bytes, int advice)
{
    (void)advice;
    memset(address, 0, bytes);
    return 0;
}

static int takes_the_neighbour(void *address, size_t bytes, int advice)
{
    return madvise(address, bytes + host_unit() * PAGE, advice);
}

static int is_refused(void *address, size_t bytes, int advice)
{
    (void)address, (void)bytes, (void)advice;
    errno = EINVAL;
    return -1;
}

static balloon_os_selftest_result test_fake(int (*fake)(void *, size_t, int))
{
    balloon_os *os = os_make(BALLOON_OS_NO_BATCH);
    struct os_calls calls = *os->calls;
    /* One page more than is tested, for the neighbour of the last. */
    void *host = map_anonymous(MAP_PRIVATE, PAGES + host_unit());
    balloon_os_region region = os_region_of(host, PAGES, -1);
    balloon_os_selftest_result result;

    calls.madvise = fake;
    os->calls = &calls;
    result = test_with(os, &region);
    os_drop(os);
    return result;
}

Test(os_selftest, says_no_to_a_call_that_does_nothing)
{
    balloon_os_selftest_result r = test_fake(does_nothing);

    cr_expect_not(r.frees);
    cr_expect_eq(r.freed, 0);
    cr_expect_not_null(strstr(r.words, "does not free"));
}

Test(os_selftest, says_no_to_zeros_that_still_take_memory)
{
    balloon_os_selftest_result r = test_fake(only_zeroes);

    cr_expect(r.zeros);
    cr_expect_not(r.frees);
    cr_expect_eq(r.freed, 0);
}

Test(os_selftest, says_no_to_a_call_that_takes_neighbours)
{
    balloon_os_selftest_result r = test_fake(takes_the_neighbour);

    cr_expect_not(r.intact);
    cr_expect_not(r.frees);
    cr_expect_not_null(strstr(r.words, "destroys"));
}

Test(os_selftest, says_no_to_a_call_that_is_refused)
{
    balloon_os_selftest_result r = test_fake(is_refused);

    cr_expect_not(r.frees);
    cr_expect_not_null(strstr(r.words, "refuses"));
}

/* --- Its arguments, and pages that cannot be had --- */

Test(os_selftest, bad_arguments)
{
    balloon_os *os = os_make(0);
    void *host = map_anonymous(MAP_PRIVATE, PAGES);
    balloon_os_region region = os_region_of(host, PAGES, -1);
    balloon_os_selftest_result r = {.size = sizeof(r)}, small = {.size = sizeof(r) - 1};
    balloon_range all = {GUEST, PAGES};

    cr_assert_eq(balloon_os_selftest(os, 0, all, &r), BALLOON_ERR_INVALID, "no such region");
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    cr_expect_eq(balloon_os_selftest(NULL, 0, all, &r), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_selftest(os, 0, all, NULL), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_selftest(os, 0, all, &small), BALLOON_ERR_INVALID);
    all.count++;
    cr_expect_eq(balloon_os_selftest(os, 0, all, &r), BALLOON_ERR_RANGE);
    all.count = 0;
    cr_expect_eq(balloon_os_selftest(os, 0, all, &r), BALLOON_ERR_RANGE);
    cr_expect_eq(balloon_os_selftest(os, 0, (balloon_range){0, UINT64_MAX}, &r), BALLOON_ERR_RANGE);
    cr_expect(page_is(host, 0, 0xaa));
    os_drop(os);
}

/* One host page is enough, and the rest of the region is left alone. */
Test(os_selftest, uses_only_the_range_given)
{
    balloon_os *os = os_make(0);
    unsigned char *host = map_anonymous(MAP_PRIVATE, PAGES);
    balloon_os_region region = os_region_of(host, PAGES, -1);
    balloon_os_selftest_result r = {.size = sizeof(r)};
    uint64_t u = host_unit();

    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    cr_assert_eq(balloon_os_selftest(os, 0, (balloon_range){GUEST + 4 * u, u}, &r), BALLOON_OK);
    cr_expect(r.frees);
    cr_expect_eq(r.pages, u);
    for (uint64_t i = 0; i < PAGES; i++)
        cr_expect(page_is(host, i, i >= 4 * u && i < 5 * u ? 0 : 0xaa));
    os_drop(os);
}

/* Touching a huge page that is not there kills a process. */
Test(os_selftest, no_huge_pages_left_is_an_error_not_a_crash)
{
    balloon_os *os = os_make(0);
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB | HUGE_FLAG);
    balloon_os_selftest_result r = {.size = sizeof(r)};
    uint64_t pages = 4 * HUGE_UNIT;
    balloon_os_region region;
    struct huge_pages huge;
    unsigned char *host;

    if (fd < 0 || ftruncate(fd, (off_t)(pages * PAGE)) || !huge_reserve(&huge, 0))
        cr_skip_test("no huge pages on this kernel");
    if (huge.before > 0) {
        huge_give_back(&huge);
        cr_skip_test("huge pages are reserved here, so they may not run out");
    }
    host = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    cr_expect_neq(host, MAP_FAILED);
    region = os_region_of(host, pages, fd);
    region.pages.granule = HUGE_UNIT;
    cr_expect_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    cr_expect_eq(balloon_os_selftest(os, 0, (balloon_range){GUEST, pages}, &r), BALLOON_ERR_SYSTEM);
    cr_expect_neq(errno, 0);
    os_drop(os);
    huge_give_back(&huge);
}
