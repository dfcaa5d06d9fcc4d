/* Regions: how a backing is found out, and what is refused. */
#include "os_support.h"

#define PAGES (16 * host_unit())

static balloon_status add(balloon_os *os, const balloon_os_region *region)
{
    (void)!balloon_os_remove_region(os, 0);
    return balloon_os_add_region(os, 0, region);
}

static void expect_method(balloon_os *os, void *host, int fd, balloon_os_method method)
{
    balloon_os_region region = os_region_of(host, PAGES, fd);

    cr_expect_eq(add(os, &region), BALLOON_OK);
    cr_expect_eq(os->regions[0].method, method);
}

/* A file in the build's or the system's directory for such, and so of a real file system. */
static int make_disk_file(uint64_t pages)
{
    char path[] = "/tmp/balloon-test-XXXXXX";
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    unlink(path);
    cr_assert_eq(ftruncate(fd, (off_t)(pages * PAGE)), 0);
    return fd;
}

Test(os_region, backings_are_found_out)
{
    balloon_os *os = os_make(0);
    int memfd = make_memfd(0, PAGES), disk = make_disk_file(PAGES);

    expect_method(os, map_anonymous(MAP_PRIVATE, PAGES), -1, BALLOON_OS_DONTNEED);
    expect_method(os, map_anonymous(MAP_SHARED, PAGES), -1, BALLOON_OS_REMOVE);
    expect_method(os, map_file(MAP_SHARED, memfd, PAGES), memfd, BALLOON_OS_REMOVE);
    expect_method(os, map_file(MAP_SHARED, memfd, PAGES), -1, BALLOON_OS_REMOVE);
    expect_method(os, map_file(MAP_SHARED, disk, PAGES), disk, BALLOON_OS_REMOVE);
    expect_method(os, map_file(MAP_PRIVATE, memfd, PAGES), memfd, BALLOON_OS_REMAP);
    expect_method(os, map_file(MAP_PRIVATE, disk, PAGES), -1, BALLOON_OS_REMAP);
    os_drop(os);
}

/* Not everybody may ask what a mapping is of. */
static bool may_ask(const void *host)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/self/map_files/%llx-%llx",
             (unsigned long long)(uintptr_t)host,
             (unsigned long long)((uintptr_t)host + PAGES * PAGE));
    return stat(path, &st) == 0;
}

/* Two file systems number their files alike. Where nobody can tell, nothing is proven. */
Test(os_region, a_file_of_another_file_system_is_refused)
{
    balloon_os *os = os_make(0);
    int memfd = make_memfd(0, PAGES), disk = make_disk_file(PAGES);
    balloon_os_region given = os_region_of(map_file(MAP_SHARED, memfd, PAGES), PAGES, memfd);
    struct os_region region = {
        .pages = {GUEST, PAGES}, .host = given.host, .fd = memfd, .fd_offset = 0};
    struct os_file file = {.given = true};
    struct os_maps maps;
    struct stat st, other;

    cr_assert_eq(fstat(memfd, &st), 0);
    cr_assert_eq(fstat(disk, &other), 0);
    cr_assert_neq(st.st_dev, other.st_dev);
    file.inode = (uint64_t)st.st_ino;
    file.device = (uint64_t)major(st.st_dev) << 32 | minor(st.st_dev);
    cr_expect_eq(bl_os_maps(&region, &file, &maps), BALLOON_OS_REASON_NONE);
    file.device = (uint64_t)major(other.st_dev) << 32 | minor(other.st_dev);
    if (may_ask(given.host)) {
        cr_expect_eq(bl_os_maps(&region, &file, &maps), BALLOON_OS_REASON_FILE);
    } else {
        cr_expect_eq(bl_os_maps(&region, &file, &maps), BALLOON_OS_REASON_NONE);
        cr_expect(maps.unproven);
    }
    cr_expect_eq(add(os, &given), BALLOON_OK);
    os_drop(os);
}

/* A wrong word would let a hole be punched where other data lies. */
Test(os_region, a_stated_backing_is_checked)
{
    balloon_os *os = os_make(0);
    int memfd = make_memfd(0, PAGES);
    balloon_os_region region = os_region_of(map_file(MAP_SHARED, memfd, PAGES), PAGES, memfd);

    region.backing = BALLOON_OS_SHARED;
    cr_expect_eq(add(os, &region), BALLOON_OK);
    region.fd_offset = PAGE;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID);
    region.fd_offset = 0;
    region.backing = BALLOON_OS_PRIVATE_FILE;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID);
    region.backing = BALLOON_OS_PRIVATE_ANON;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID);
    region.backing = BALLOON_OS_HUGETLB_SHARED;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID);
    region = os_region_of(map_file(MAP_PRIVATE, memfd, PAGES), PAGES, memfd);
    region.backing = BALLOON_OS_SHARED;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID);
    region.backing = BALLOON_OS_PRIVATE_FILE;
    cr_expect_eq(add(os, &region), BALLOON_OK);
    cr_expect_eq(os->regions[0].method, BALLOON_OS_REMAP);
    os_drop(os);
}

Test(os_region, read_only_memory_is_refused)
{
    balloon_os *os = os_make(0);
    char path[64];
    int memfd = make_memfd(0, PAGES), sealed = make_memfd(MFD_ALLOW_SEALING, PAGES), readable;
    unsigned char *rom = map_anonymous(MAP_PRIVATE, PAGES), *shared, *host;
    balloon_os_region region;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
    readable = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert_geq(readable, 0);
    shared = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, readable, 0);
    cr_assert_neq(shared, MAP_FAILED);
    region = os_region_of(shared, PAGES, readable);
    cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED);
    region.fd = -1;
    cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED);
    region.fd = readable;
    region.backing = BALLOON_OS_SHARED;
    cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED);

    /* A snapshot is opened for reading only, and its private copy may still be written. */
    host = map_file(MAP_PRIVATE, readable, PAGES);
    region = os_region_of(host, PAGES, readable);
    cr_expect_eq(add(os, &region), BALLOON_OK);

    host = map_file(MAP_SHARED, sealed, PAGES);
    cr_assert_eq(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    region = os_region_of(host, PAGES, sealed);
    cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED);

    cr_assert_eq(mprotect(rom + 4 * host_unit() * PAGE, host_unit() * PAGE, PROT_READ), 0);
    region = os_region_of(rom, PAGES, -1);
    cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED);
    os_drop(os);
}

/* It can be mapped shared, but nothing takes a page out of it. */
Test(os_region, secret_memory_is_refused)
{
    balloon_os *os = os_make(0);
    balloon_os_region region;
    unsigned char *host;
    int fd = -1;

#ifdef SYS_memfd_secret
    fd = (int)syscall(SYS_memfd_secret, 0);
#endif
    if (fd < 0 || ftruncate(fd, (off_t)(PAGES * PAGE)) ||
        (host = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) ==
            MAP_FAILED) {
        os_drop(os);
        cr_skip_test("no memfd_secret() here");
    }
    region = os_region_of(host, PAGES, fd);
    for (int given = 0; given < 2; given++) {
        cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED);
        cr_expect_eq(balloon_os_refusal(os), BALLOON_OS_REASON_SECRET);
        region.fd = -1;
    }
    os_drop(os);
}

Test(os_region, a_descriptor_that_is_not_mapped_there_is_refused)
{
    balloon_os *os = os_make(0);
    int memfd = make_memfd(0, PAGES), other = make_memfd(0, PAGES),
        null = open("/dev/null", O_RDWR);
    unsigned char *host = map_file(MAP_SHARED, memfd, PAGES);
    balloon_os_region region = os_region_of(host, PAGES, other);

    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID, "another file");
    region.fd = memfd;
    region.fd_offset = host_unit() * PAGE;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID, "another place of the file");
    region.fd_offset = 0;
    region.host = map_anonymous(MAP_PRIVATE, PAGES);
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID, "no file at all");
    region.host = host;
    region.fd = null;
    cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED, "a device");
    close(null);
    region.fd = null;
    cr_expect_eq(add(os, &region), BALLOON_ERR_SYSTEM, "a closed descriptor");
    cr_expect_eq(errno, EBADF);
    os_drop(os);
}

Test(os_region, memory_must_be_mapped_throughout_in_one_way)
{
    uint64_t u = host_unit();
    balloon_os *os = os_make(0);
    unsigned char *host = map_anonymous(MAP_PRIVATE, PAGES), *at = host + 4 * u * PAGE;
    balloon_os_region region = os_region_of(host, PAGES, -1);

    cr_assert_eq(mprotect(at, u * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    cr_expect_eq(add(os, &region), BALLOON_OK, "two mappings of one kind are fine");
    cr_assert_neq(
        mmap(at, u * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        MAP_FAILED);
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID, "shared in between");
    munmap(at, u * PAGE);
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID, "a hole");
    region.host = at;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID, "a hole at the beginning");
    munmap(host, PAGES * PAGE);
    region.host = host;
    cr_expect_eq(add(os, &region), BALLOON_ERR_INVALID, "nothing at all");
    os_drop(os);
}

Test(os_region, methods_that_could_do_harm_are_refused)
{
    balloon_os *os = os_make(0);
    int memfd = make_memfd(0, PAGES);
    void *anon = map_anonymous(MAP_PRIVATE, PAGES), *shared = map_file(MAP_SHARED, memfd, PAGES),
         *file = map_file(MAP_PRIVATE, memfd, PAGES);
    const struct {
        void *host;
        int fd;
        balloon_os_method method;
        balloon_status status;
    } cases[] = {
        {anon, -1, BALLOON_OS_DONTNEED, BALLOON_OK},
        {anon, -1, BALLOON_OS_REMOVE, BALLOON_ERR_UNSUPPORTED},
        {anon, -1, BALLOON_OS_PUNCH, BALLOON_ERR_UNSUPPORTED},
        {anon, -1, BALLOON_OS_REMAP, BALLOON_OK},
        {shared, memfd, BALLOON_OS_DONTNEED, BALLOON_OK},
        {shared, memfd, BALLOON_OS_REMOVE, BALLOON_OK},
        {shared, memfd, BALLOON_OS_PUNCH, BALLOON_OK},
        {shared, -1, BALLOON_OS_PUNCH, BALLOON_ERR_UNSUPPORTED},
        {shared, memfd, BALLOON_OS_REMAP, BALLOON_ERR_UNSUPPORTED},
        {file, memfd, BALLOON_OS_DONTNEED, BALLOON_OK},
        {file, memfd, BALLOON_OS_REMOVE, BALLOON_ERR_UNSUPPORTED},
        {file, memfd, BALLOON_OS_PUNCH, BALLOON_ERR_UNSUPPORTED},
        {file, memfd, BALLOON_OS_REMAP, BALLOON_OK},
        {anon, -1, (balloon_os_method)5, BALLOON_ERR_INVALID},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        balloon_os_region region = os_region_of(cases[i].host, PAGES, cases[i].fd);

        region.method = cases[i].method;
        cr_expect_eq(add(os, &region), cases[i].status, "case %d", (int)i);
    }
    os_drop(os);
}

Test(os_region, numbers_outside_their_limits_are_refused)
{
    balloon_os *os = os_make(0);
    int memfd = make_memfd(0, PAGES);
    void *host = map_file(MAP_SHARED, memfd, PAGES);
    const balloon_os_region good = os_region_of(host, PAGES, memfd);
    balloon_os_region r;

#define EXPECT_INVALID(change)                                                                     \
    do {                                                                                           \
        r = good;                                                                                  \
        change;                                                                                    \
        cr_expect_eq(add(os, &r), BALLOON_ERR_INVALID, #change);                                   \
    } while (0)
    EXPECT_INVALID(r.size--);
    EXPECT_INVALID(r.host = NULL);
    EXPECT_INVALID(r.host = (unsigned char *)r.host + 1);
    EXPECT_INVALID(r.host = (void *)(UINTPTR_MAX & ~(uintptr_t)0xffff));
    EXPECT_INVALID(r.fd = -2);
    EXPECT_INVALID(r.fd_offset = 1);
    EXPECT_INVALID(r.fd_offset = UINT64_MAX & ~(uint64_t)0xffff);
    EXPECT_INVALID(r.fd_offset = (uint64_t)INT64_MAX & ~(uint64_t)0xffff);
    EXPECT_INVALID(r.pages.count = 0);
    EXPECT_INVALID(r.pages.count = UINT64_MAX);
    EXPECT_INVALID(r.pages.count = UINT64_MAX >> BALLOON_PAGE_SHIFT);
    EXPECT_INVALID(r.pages.first = UINT64_MAX - PAGES + 1);
    EXPECT_INVALID(r.pages.granule = 3);
    EXPECT_INVALID(r.pages.granule = 2 * BALLOON_GRANULE_MAX);
    EXPECT_INVALID(r.backing = (balloon_os_backing)6);
    EXPECT_INVALID(r.backing = (balloon_os_backing)-1);
#undef EXPECT_INVALID
    cr_expect_eq(balloon_os_add_region(os, 8, &good), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_add_region(os, 0, NULL), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_add_region(NULL, 0, &good), BALLOON_ERR_INVALID);
    cr_expect_eq(add(os, &good), BALLOON_OK);
    os_drop(os);
}

Test(os_region, ids_come_and_go)
{
    balloon_os *os = os_make(0);
    int memfd = make_memfd(0, PAGES), duplicate;
    balloon_os_region region = os_region_of(map_file(MAP_SHARED, memfd, PAGES), PAGES, memfd);
    balloon_run run = run_of(3, 0, host_unit()), failed;
    size_t failures;

    cr_assert_eq(balloon_os_remove_region(os, 3), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_remove_region(os, 8), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_remove_region(NULL, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_add_region(os, 3, &region), BALLOON_OK);
    cr_assert_eq(balloon_os_add_region(os, 3, &region), BALLOON_ERR_INVALID);
    duplicate = os->regions[3].fd;
    cr_assert_neq(duplicate, memfd);
    cr_assert_eq(balloon_os_remove_region(os, 3), BALLOON_OK);
    cr_assert_eq(fcntl(duplicate, F_GETFD), -1, "the duplicate is still open");
    cr_assert_eq(balloon_os_discard(os, &run, 1, &failed, &failures), BALLOON_ERR_RANGE);
    cr_assert_eq(balloon_os_add_region(os, 3, &region), BALLOON_OK);
    duplicate = os->regions[3].fd;
    os_drop(os);
    cr_assert_eq(fcntl(duplicate, F_GETFD), -1, "the duplicate is still open");
    cr_assert_geq(fcntl(memfd, F_GETFD), 0, "the caller's descriptor was closed");
}

Test(os_region, huge_pages_are_found_out)
{
    uint64_t pages = 2 * HUGE_UNIT;
    balloon_os *os = os_make(0);
    struct huge_pages huge;
    unsigned char *host;
    int fd;
    balloon_os_region region;

    if (!huge_reserve(&huge, 4)) {
        os_drop(os);
        cr_skip_test("no 2 MiB huge pages can be reserved here");
    }
    fd = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB | HUGE_FLAG);
    cr_expect(fd >= 0 && !ftruncate(fd, (off_t)(pages * PAGE)));
    for (int i = 0; i < 6; i++) {
        bool anonymous = i < 2, shared = i % 2 == 1, given = !anonymous && i < 4;
        /* Private pages of a file whose contents nobody can look at are refused. */
        balloon_status status = i == 4 ? BALLOON_ERR_UNSUPPORTED : BALLOON_OK;

        host = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                    (shared ? MAP_SHARED : MAP_PRIVATE) |
                        (anonymous ? MAP_ANONYMOUS | MAP_HUGETLB | HUGE_FLAG : 0),
                    anonymous ? -1 : fd, 0);
        if (host == MAP_FAILED) {
            cr_expect(false, "mmap() failed");
            continue;
        }
        region = os_region_of(host, pages, given ? fd : -1);
        region.pages.granule = HUGE_UNIT;
        cr_expect_eq(add(os, &region), status, "case %d", i);
        if (status == BALLOON_OK) {
            cr_expect_eq(os->regions[0].unit, HUGE_UNIT);
            cr_expect_eq(os->regions[0].method, shared ? BALLOON_OS_REMOVE : BALLOON_OS_DONTNEED);
        }
        region.pages.first += 16;
        cr_expect_neq(add(os, &region), BALLOON_OK, "guest and host huge pages are shifted");
        region.pages.first -= 16;

        /* Dropping private pages would bring back what the file holds. */
        if (i == 2) {
            unsigned char *other = mmap(NULL, pages * PAGE, PROT_WRITE, MAP_SHARED, fd, 0);

            other[0] = 1;
            cr_expect_eq(add(os, &region), BALLOON_ERR_UNSUPPORTED, "a file with contents");
            cr_expect_eq(madvise(other, HUGE_PAGE, MADV_REMOVE), 0);
            munmap(other, pages * PAGE);
        }
        munmap(host, pages * PAGE);
    }
    close(fd);
    os_drop(os);
    huge_give_back(&huge);
}

/* --- Setting up --- */

Test(os_region, the_layout_is_enough_and_needed)
{
    balloon_os_config config = {.size = sizeof(config), .max_regions = 100};
    balloon_layout layout;
    unsigned char *memory;
    balloon_os *os = NULL;

    cr_assert_eq(balloon_os_layout(&config, &layout), BALLOON_OK);
    memory = malloc(layout.bytes + 1);
    cr_assert_eq(balloon_os_init(memory, layout.bytes - 1, &config, &os), BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_os_init(memory + 1, layout.bytes, &config, &os), BALLOON_ERR_INVALID);
    cr_assert_null(os);
    cr_assert_eq(balloon_os_init(memory, layout.bytes, &config, &os), BALLOON_OK);
    cr_assert_eq(balloon_os_remove_region(os, 99), BALLOON_ERR_INVALID);
    balloon_os_destroy(os);
    balloon_os_destroy(NULL);

    config.max_regions = 4097;
    cr_assert_eq(balloon_os_layout(&config, &layout), BALLOON_ERR_INVALID);
    config.max_regions = 4096;
    cr_assert_eq(balloon_os_layout(&config, &layout), BALLOON_OK);
    config.flags = 1u << 31;
    cr_assert_eq(balloon_os_layout(&config, &layout), BALLOON_ERR_INVALID);
    config.flags = 0;
    config.size--;
    cr_assert_eq(balloon_os_layout(&config, &layout), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_layout(NULL, &layout), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_os_init(memory, layout.bytes, NULL, &os), BALLOON_ERR_INVALID);
    free(memory);
}

Test(os_region, every_method_and_reason_has_a_name)
{
    for (int r = -1; r <= BALLOON_OS_REASON_RANGE + 1; r++) {
        bool known = r >= 0 && r <= BALLOON_OS_REASON_RANGE;

        cr_expect_eq(!strcmp(balloon_os_reason_text((balloon_os_reason)r), "unknown"), !known);
    }
    for (int m = -1; m <= 5; m++)
        cr_expect_neq(*balloon_os_method_text((balloon_os_method)m), '\0');
    cr_expect_str_eq(balloon_os_method_text(BALLOON_OS_REMOVE), "madvise(MADV_REMOVE)");
    cr_expect_str_eq(balloon_os_method_text((balloon_os_method)5), "unknown");
}
