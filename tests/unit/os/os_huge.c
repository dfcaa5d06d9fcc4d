/* Transparent huge pages: where they may come, and what they do to discards. */
#include "os_support.h"
#include "os_tree.h"

#define THP   "/sys/kernel/mm/transparent_hugepage/"
#define PAGES HUGE_UNIT

/* --- The rules, from a tree of files --- */

TestSuite(os_huge_rules, .init = tree_make, .fini = tree_remove);

static const uint32_t huge_bit = (uint32_t)1 << 9;

Test(os_huge_rules, no_such_kernel)
{
    struct os_huge h = bl_os_huge_rules(root, false, 0);

    cr_expect_eq(h.pmd, 0);
    cr_expect_eq(h.always | h.advised, 0);
}

Test(os_huge_rules, anonymous_memory)
{
    static const struct {
        const char *text;
        uint32_t always, advised;
    } cases[] = {
        {"[always] madvise never\n", huge_bit, 0},
        {"always [madvise] never\n", 0, huge_bit},
        {"always madvise [never]\n", 0, 0},
        {"always madvise never\n", 0, 0},
        {"[madvise\n", 0, 0},
        {"\n", 0, 0},
    };

    put(THP "hpage_pmd_size", "2097152\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct os_huge h;

        put(THP "enabled", cases[i].text);
        h = bl_os_huge_rules(root, false, 0);
        cr_expect_eq(h.pmd, 512);
        cr_expect_eq(h.always, cases[i].always, "case %d", (int)i);
        cr_expect_eq(h.advised, cases[i].advised, "case %d", (int)i);
    }
}

/* Linux 6.8 has a rule for each size. */
Test(os_huge_rules, sizes_of_their_own)
{
    struct os_huge h;

    put(THP "hpage_pmd_size", "2097152\n");
    put(THP "enabled", "[always] madvise never\n");
    put(THP "hugepages-64kB/enabled", "always inherit [madvise] never\n");
    put(THP "hugepages-128kB/enabled", "always [inherit] madvise never\n");
    put(THP "hugepages-2048kB/enabled", "always inherit madvise [never]\n");
    h = bl_os_huge_rules(root, false, 0);
    cr_expect_eq(h.always, (uint32_t)1 << 5);
    cr_expect_eq(h.advised, (uint32_t)1 << 4);
}

Test(os_huge_rules, files_in_memory)
{
    uint64_t memfd = 1, mount = 27, disk = (uint64_t)254 << 32;
    static const char mounts[] =
        "20 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "31 20 0:27 / /dev/shm rw,nosuid shared:4 - tmpfs tmpfs rw,size=1g,huge=%s,inode64\n";
    static const struct {
        const char *shmem, *mount;
        uint32_t memfd_always, memfd_advised, mount_always, mount_advised;
    } cases[] = {
        {"always within_size advise [never] deny force", "always", 0, 0, huge_bit, 0},
        {"always within_size [advise] never deny force", "advise", 0, huge_bit, 0, huge_bit},
        {"always [within_size] advise never deny force", "never", huge_bit, 0, 0, 0},
        {"always within_size advise never [deny] force", "always", 0, 0, 0, 0},
        {"always within_size advise never deny [force]", "never", huge_bit, 0, huge_bit, 0},
    };

    put(THP "hpage_pmd_size", "2097152\n");
    put(THP "enabled", "[always] madvise never\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[512];
        struct os_huge h;

        put(THP "shmem_enabled", cases[i].shmem);
        snprintf(text, sizeof(text), mounts, cases[i].mount);
        put("/proc/self/mountinfo", text);
        h = bl_os_huge_rules(root, true, memfd);
        cr_expect_eq(h.always, cases[i].memfd_always, "case %d", (int)i);
        cr_expect_eq(h.advised, cases[i].memfd_advised, "case %d", (int)i);
        h = bl_os_huge_rules(root, true, mount);
        cr_expect_eq(h.always, cases[i].mount_always, "case %d", (int)i);
        cr_expect_eq(h.advised, cases[i].mount_advised, "case %d", (int)i);
        h = bl_os_huge_rules(root, true, disk);
        cr_expect_eq(h.always | h.advised, 0);
    }
}

/* --- Memory of this machine --- */

/* Four huge pages' room, aligned, that asks for huge pages; NULL where the kernel gives none. */
static unsigned char *map_huge(void)
{
    unsigned char *all = mmap(NULL, 6 * HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *host = (unsigned char *)(((uintptr_t)all + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    struct os_region region = {.used = true, .host = host, .pages = {GUEST, 4 * PAGES}};
    struct os_smaps smaps;

    cr_assert_neq(all, MAP_FAILED);
    cr_assert_eq(mprotect(host, 4 * HUGE_PAGE, PROT_READ | PROT_WRITE), 0);
    if (madvise(host, 4 * HUGE_PAGE, MADV_HUGEPAGE))
        return NULL;
    memset(host, 0xaa, 4 * HUGE_PAGE);
    if (bl_os_smaps(&region, &smaps) != BALLOON_OK || smaps.huge_bytes < 4 * HUGE_PAGE)
        return NULL;
    return host;
}

struct huge_region {
    balloon_os *os;
    balloon_os_region_status status;
};

static struct huge_region add_huge(unsigned char *host, uint32_t flags, uint64_t granule)
{
    struct huge_region h = {os_make(flags), {.size = sizeof(h.status)}};
    balloon_os_region region = os_region_of(host, 4 * PAGES, -1);

    region.pages.granule = granule;
    cr_assert_eq(balloon_os_add_region(h.os, 0, &region), BALLOON_OK);
    cr_assert_eq(balloon_os_region_get(h.os, 0, &h.status), BALLOON_OK);
    return h;
}

static balloon_os_selftest_result test_huge(struct huge_region *h)
{
    balloon_os_selftest_result r = {.size = sizeof(r)};

    cr_assert_eq(balloon_os_selftest(h->os, 0, (balloon_range){GUEST, 4 * PAGES}, &r), BALLOON_OK);
    cr_log_info("%s", r.words);
    return r;
}

#define NEEDS_HUGE(host)                                                                           \
    do {                                                                                           \
        NEEDS_4K_HOST();                                                                           \
        if (!(host))                                                                               \
            cr_skip_test("this kernel gives no transparent huge pages");                           \
    } while (0)

Test(os_huge, small_granules_are_told)
{
    unsigned char *host = map_huge();
    struct huge_region h;
    balloon_os_selftest_result r;

    NEEDS_HUGE(host);
    h = add_huge(host, 0, 1);
    cr_expect_eq(h.status.huge, PAGES);
    cr_expect_eq(h.status.granule, PAGES);
    cr_expect_eq(h.status.in_huge, 4 * PAGES);
    cr_expect_eq(h.status.notes, BALLOON_OS_NOTE_HUGE);
    r = test_huge(&h);
    cr_expect_not(r.frees, "it says that parts of huge pages were freed");
    cr_expect_eq(r.freed, 0);
    cr_expect_eq(r.huge, PAGES);
    cr_expect_not_null(strstr(r.words, "granules of 512, or MADV_NOHUGEPAGE"));
    /* Small pages have taken the place, until khugepaged comes along, which may be just now. */
    r = test_huge(&h);
    for (int again = 0; again < 4 && !r.frees; again++)
        r = test_huge(&h);
    cr_expect(r.frees, "%s", r.words);
    cr_expect_eq(r.huge, PAGES);
    cr_expect_not_null(strstr(r.words, "granules of 512, or MADV_NOHUGEPAGE"));
    os_drop(h.os);
}

Test(os_huge, granules_as_large_are_fine)
{
    unsigned char *host = map_huge();
    struct huge_region h;
    balloon_os_selftest_result r;

    NEEDS_HUGE(host);
    h = add_huge(host, 0, PAGES);
    cr_expect_eq(h.status.huge, PAGES);
    cr_expect_eq(h.status.notes, 0);
    r = test_huge(&h);
    cr_expect(r.frees, "%s", r.words);
    cr_expect_eq(r.pages, 4 * PAGES);
    cr_expect_eq(r.freed, 4 * PAGES);
    cr_expect_eq(r.huge, 0);
    os_drop(h.os);
}

Test(os_huge, they_are_forbidden_where_asked)
{
    unsigned char *host = map_huge();
    struct huge_region h;
    balloon_os_selftest_result r;
    uint64_t granule;

    NEEDS_HUGE(host);
    for (granule = 1; granule <= PAGES; granule *= PAGES) {
        cr_assert_eq(madvise(host, 4 * HUGE_PAGE, MADV_HUGEPAGE), 0);
        h = add_huge(host, BALLOON_OS_NO_HUGE, granule);
        cr_expect_eq(h.status.huge, granule == 1 ? 0 : PAGES);
        cr_expect_eq(h.status.notes, 0);
        /* Those that were there are gone once all of them was discarded. */
        cr_assert_eq(madvise(host, 4 * HUGE_PAGE, MADV_DONTNEED), 0);
        r = test_huge(&h);
        cr_expect(r.frees, "%s", r.words);
        os_drop(h.os);
    }
}

/* What replaces a private file has no marks of the old mapping, so the mark is made again. */
Test(os_huge, replaced_memory_is_marked_too)
{
    balloon_os *os = os_make(BALLOON_OS_NO_HUGE);
    int fd = memfd_create("test", MFD_CLOEXEC);
    balloon_os_region_status status = {.size = sizeof(status)};
    balloon_run run = run_of(0, 0, 4 * PAGES), failed;
    balloon_os_region region;
    struct os_smaps smaps;
    size_t failures;

    NEEDS_4K_HOST();
    cr_assert(fd >= 0 && !ftruncate(fd, (off_t)(4 * HUGE_PAGE)));
    region = os_region_of(map_file(MAP_PRIVATE, fd, 4 * PAGES), 4 * PAGES, fd);
    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    if (!os->regions[0].no_huge) {
        os_drop(os);
        cr_skip_test("this kernel has no transparent huge pages");
    }
    cr_assert_eq(balloon_os_discard(os, &run, 1, &failed, &failures), BALLOON_OK);
    cr_assert_eq(bl_os_smaps(&os->regions[0], &smaps), BALLOON_OK);
    cr_expect_eq(smaps.plain, 0);
    cr_assert_eq(balloon_os_region_get(os, 0, &status), BALLOON_OK);
    cr_expect_eq(status.huge, 0);
    cr_expect_eq(status.notes, BALLOON_OS_NOTE_MAPPINGS);
    os_drop(os);
}

/* --- Asking --- */

Test(os_huge, bad_questions)
{
    struct memory m = memory_make(0, 16 * host_unit());
    balloon_os_region_status s = {.size = sizeof(s)}, small = {.size = sizeof(s) - 1};

    cr_expect_eq(balloon_os_region_get(NULL, 0, &s), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_region_get(m.os, 1, &s), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_region_get(m.os, 0, NULL), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_region_get(m.os, 0, &small), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_region_get(m.os, 0, &s), BALLOON_OK);
    cr_expect_eq(s.backing, BALLOON_OS_PRIVATE_ANON);
    cr_expect_eq(s.method, BALLOON_OS_DONTNEED);
    cr_expect_eq(s.page, host_unit());
    cr_expect_geq(s.mappings, 1);
    memory_drop(&m);
}

Test(os_huge, each_note_has_words)
{
    for (unsigned bit = 0; bit < 32; bit++) {
        bool known = bit <= 4;

        cr_expect_eq(!strcmp(balloon_os_note_text((uint32_t)1 << bit), "unknown"), !known);
    }
    cr_expect_str_eq(balloon_os_note_text(0), "unknown");
}

Test(os_huge, what_may_go_wrong_later_is_noted)
{
    balloon_os *os = os_make(0);
    uint64_t u = host_unit();
    int fd = make_memfd(0, 16 * u);
    unsigned char *host = map_file(MAP_SHARED, fd, 16 * u);
    balloon_os_region region = os_region_of(host, 16 * u, fd);
    balloon_os_region_status s = {.size = sizeof(s)};

    cr_assert_eq(balloon_os_add_region(os, 0, &region), BALLOON_OK);
    cr_assert_eq(balloon_os_region_get(os, 0, &s), BALLOON_OK);
    cr_expect_eq(s.notes, BALLOON_OS_NOTE_SIGBUS);
    if (!lock_pages(host, 16 * u * PAGE))
        cr_skip_test("mlock() is not allowed here");
    cr_assert_eq(balloon_os_region_get(os, 0, &s), BALLOON_OK);
    cr_expect_eq(s.notes, BALLOON_OS_NOTE_SIGBUS | BALLOON_OS_NOTE_LOCKED);
    os_drop(os);
}
