/* Private mappings of files: fresh memory replaces them, and mappings do not run out. */
#include "os_support.h"

#include <pthread.h>

/* A region that maps a sparse file of so many pages. */
struct snapshot {
    balloon_os *os;
    unsigned char *host;
    uint64_t pages;
};

static struct snapshot snapshot_make(uint64_t pages, int protection)
{
    struct snapshot s = {os_make(0), NULL, pages};
    int fd = memfd_create("test", MFD_CLOEXEC);
    balloon_os_region region;

    cr_assert(fd >= 0 && !ftruncate(fd, (off_t)(pages * PAGE)));
    s.host = mmap(NULL, pages * PAGE, protection, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    cr_assert_neq(s.host, MAP_FAILED);
    region = os_region_of(s.host, pages, fd);
    cr_assert_eq(balloon_os_add_region(s.os, 0, &region), BALLOON_OK);
    cr_assert_eq(s.os->regions[0].method, BALLOON_OS_REMAP);
    close(fd);
    return s;
}

static void snapshot_drop(struct snapshot *s)
{
    munmap(s->host, s->pages * PAGE);
    os_drop(s->os);
}

static bool discard(struct snapshot *s, uint64_t page, uint64_t count)
{
    balloon_run run = run_of(0, page, count), failed;
    size_t failures;

    return balloon_os_discard(s->os, &run, 1, &failed, &failures) == BALLOON_OK;
}

static void *nothing(void *argument)
{
    return argument;
}

/* As a guest does whose memory is in pieces. Before they were counted, 128 MiB used up what the
 * kernel allows. */
Test(os_remap, a_process_can_still_map_after_scattered_discards)
{
    uint64_t u = host_unit(), pages = (uint64_t)1 << 18, done = 0;
    struct snapshot s = snapshot_make(pages, PROT_READ | PROT_WRITE);
    pthread_t thread;
    void *more;

    for (uint64_t page = 0; page < pages; page += 2 * u) {
        if (discard(&s, page, u)) {
            done++;
        } else {
            cr_assert_eq(errno, ENOMEM);
            cr_assert_eq(balloon_os_refusal(s.os), BALLOON_OS_REASON_MAPPINGS);
        }
    }
    cr_expect(done > 0);
    cr_expect_leq(bl_os_count_mappings(), s.os->mappings.limit / 2 + 16);
    cr_expect_eq(pthread_create(&thread, NULL, nothing, NULL), 0);
    pthread_join(thread, NULL);
    more = mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_expect_neq(more, MAP_FAILED);
    snapshot_drop(&s);
}

Test(os_remap, neighbours_cost_no_mapping)
{
    uint64_t u = host_unit(), pages = 4096 * u;
    struct snapshot s = snapshot_make(pages, PROT_READ | PROT_WRITE);

    s.os->mappings.limit = 2 * bl_os_count_mappings() + 64;
    for (uint64_t i = 0; i < 4096; i++)
        cr_assert(discard(&s, (i < 2048 ? i : 6143 - i) * u, u), "page %d", (int)i);
    cr_expect_eq(balloon_os_refusal(s.os), BALLOON_OS_REASON_NONE);
    cr_expect_leq(bl_os_count_mappings(), s.os->mappings.limit / 2);
    snapshot_drop(&s);
}

/* What was replaced once needs no mapping when it comes again, and what lies between two such pages
 * joins them. */
Test(os_remap, at_the_bound_only_new_places_are_refused)
{
    uint64_t u = host_unit(), pages = 4096 * u, bound, last = 0;
    struct snapshot s = snapshot_make(pages, PROT_READ | PROT_WRITE);

    s.os->mappings.limit = 2 * bl_os_count_mappings() + 1000;
    bound = s.os->mappings.limit / 2;
    while (last < 4096 && discard(&s, last * u, u))
        last += 4;
    cr_assert(last > 100 && last < 4096);
    cr_expect_leq(bl_os_count_mappings(), bound);
    cr_expect_eq(s.os->regions[0].failures, 1);
    cr_expect_eq(s.os->regions[0].reason, BALLOON_OS_REASON_MAPPINGS);

    for (uint64_t i = 0; i < last; i++) {
        if (i % 4 == 3)
            continue;
        memset(s.host + i * u * PAGE, 0xaa, u * PAGE);
        cr_assert(discard(&s, i * u, u), "page %d", (int)i);
        cr_assert(page_is(s.host, i * u, 0));
    }
    cr_expect_leq(bl_os_count_mappings(), bound);
    /* With its neighbours gone there is room again, after a while. */
    for (uint64_t i = 3; i < last; i += 4)
        cr_assert(discard(&s, i * u, u));
    for (int i = 0; i < 3000 && !discard(&s, 4095 * u, u); i++)
        ;
    cr_expect_eq(balloon_os_refusal(s.os), BALLOON_OS_REASON_NONE);
    snapshot_drop(&s);
}

static void *no_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    (void)address, (void)bytes, (void)protection, (void)flags, (void)fd, (void)offset;
    errno = ENOMEM;
    return MAP_FAILED;
}

Test(os_remap, what_was_replaced_is_not_mapped_again)
{
    uint64_t u = host_unit();
    struct snapshot s = snapshot_make(64 * u, PROT_READ | PROT_WRITE);
    struct os_calls calls = *s.os->calls;

    cr_assert(discard(&s, 4 * u, 8 * u));
    memset(s.host, 0xaa, s.pages * PAGE);
    calls.mmap = no_mmap;
    s.os->calls = &calls;
    cr_expect(discard(&s, 5 * u, 3 * u));
    for (uint64_t i = 0; i < 16; i++)
        cr_expect(page_is(s.host, i * u, i >= 5 && i < 8 ? 0 : 0xaa));
    cr_expect_not(discard(&s, 11 * u, 2 * u), "the second page never was");
    snapshot_drop(&s);
}

/* A handle counts what others map, too. */
Test(os_remap, mappings_of_others_count)
{
    uint64_t u = host_unit();
    struct snapshot s = snapshot_make(64 * u, PROT_READ | PROT_WRITE);

    s.os->mappings.limit = bl_os_count_mappings() + 10;
    cr_expect_not(discard(&s, 4 * u, u));
    cr_expect_eq(balloon_os_refusal(s.os), BALLOON_OS_REASON_MAPPINGS);
    snapshot_drop(&s);
}

/* --- What the old mapping had --- */

/* What /proc tells of one page of it. */
static struct os_region one_page(const struct snapshot *s, uint64_t page)
{
    struct os_region region = s->os->regions[0];

    region.host += page * PAGE;
    region.pages = (balloon_range){GUEST + page, host_unit()};
    region.fd_offset += page * PAGE;
    return region;
}

Test(os_remap, protection_stays)
{
    static const int protections[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC};
    uint64_t u = host_unit();
    struct os_file none = {.given = false};

    for (size_t i = 0; i < 2; i++) {
        struct snapshot s = snapshot_make(64 * u, protections[i]);
        struct os_region page = one_page(&s, 4 * u);
        struct os_maps maps;

        cr_assert(discard(&s, 4 * u, u));
        cr_assert_eq(bl_os_maps(&page, &none, &maps), BALLOON_OS_REASON_NONE);
        cr_expect_eq(maps.protection, protections[i]);
        cr_expect_not(maps.file);
        snapshot_drop(&s);
    }
}

Test(os_remap, different_protections_are_refused)
{
    balloon_os *os = os_make(0);
    uint64_t u = host_unit();
    int fd = make_memfd(0, 16 * u);
    unsigned char *host = map_file(MAP_PRIVATE, fd, 16 * u);
    balloon_os_region region = os_region_of(host, 16 * u, fd);

    cr_assert_eq(mprotect(host + 4 * u * PAGE, u * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    cr_expect_eq(balloon_os_add_region(os, 0, &region), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_refusal(os), BALLOON_OS_REASON_MAPPING);
    os_drop(os);
}

Test(os_remap, a_lock_stays)
{
    uint64_t u = host_unit();
    int fd = make_memfd(0, 16 * u);
    struct snapshot s = {os_make(0), map_file(MAP_PRIVATE, fd, 16 * u), 16 * u};
    balloon_os_region region = os_region_of(s.host, 16 * u, fd);
    struct os_region page;
    struct os_smaps smaps;

    if (!lock_pages(s.host, 16 * u * PAGE)) {
        snapshot_drop(&s);
        cr_skip_test("mlock() is not allowed here");
    }
    cr_assert_eq(balloon_os_add_region(s.os, 0, &region), BALLOON_OK);
    for (int again = 0; again < 2; again++) {
        cr_assert(discard(&s, 4 * u, 2 * u));
        for (uint64_t i = 0; i < 16; i++)
            cr_expect_eq(bl_os_is_resident(s.host + i * u * PAGE), i < 4 || i > 5);
        page = one_page(&s, 4 * u);
        cr_assert_eq(bl_os_smaps(&page, &smaps), BALLOON_OK);
        cr_expect(smaps.locked);
        s.host[4 * u * PAGE] = 1;
    }
    snapshot_drop(&s);
}

static int no_dontneed_locked(void *address, size_t bytes, int advice)
{
    if (advice != MADV_DONTNEED_LOCKED)
        return madvise(address, bytes, advice);
    errno = EINVAL;
    return -1;
}

/* New mappings are filled at once there: it said OK, and freed nothing. */
Test(os_remap, under_mlockall_it_frees_or_fails)
{
    uint64_t u = host_unit();
    struct snapshot s = snapshot_make(16 * u, PROT_READ | PROT_WRITE);
    struct os_calls calls = *s.os->calls;
    bool frees, fails;

    memset(s.host, 0xaa, s.pages * PAGE);
    if (syscall(SYS_mlockall, MCL_FUTURE)) {
        snapshot_drop(&s);
        cr_skip_test("mlockall() is not allowed here");
    }
    frees = discard(&s, 4 * u, 4 * u) && !bl_os_is_resident(s.host + 4 * u * PAGE) &&
            !bl_os_is_resident(s.host + 7 * u * PAGE);
    calls.madvise = no_dontneed_locked;
    s.os->calls = &calls;
    fails = !discard(&s, 12 * u, u) && balloon_os_refusal(s.os) == BALLOON_OS_REASON_LOCKED;
    syscall(SYS_munlockall);
    cr_expect(fails);
    if (madvise(s.host, u * PAGE, MADV_DONTNEED_LOCKED)) {
        snapshot_drop(&s);
        cr_skip_test("this kernel has no MADV_DONTNEED_LOCKED");
    }
    cr_expect(frees);
    snapshot_drop(&s);
}
