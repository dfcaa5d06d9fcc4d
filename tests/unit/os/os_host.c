/* Host readings, from file trees written here and from the machine itself. */
#include "os_support.h"
#include "os_tree.h"

static balloon_os_host read_tree(void)
{
    balloon_os_host host = {.size = sizeof(host)};

    cr_assert_eq(balloon_os_host_read(root, &host), BALLOON_OK);
    return host;
}

static const char meminfo[] = "MemTotal:       24684092 kB\n"
                              "MemFree:        24259612 kB\n"
                              "MemAvailable:   20000000 kB\n"
                              "Buffers:           55804 kB\n";

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define CG  "/sys/fs/cgroup"

TestSuite(os_host, .init = tree_make, .fini = tree_remove);

/* --- The machine --- */

Test(os_host, meminfo_and_pressure)
{
    balloon_os_host h;

    put("/proc/meminfo", meminfo);
    put("/proc/pressure/memory", "some avg10=12.34 avg60=1.00 avg300=0.00 total=1234567\n"
                                 "full avg10=100.00 avg60=0.50 avg300=0.00 total=89\n");
    h = read_tree();
    cr_assert_eq(h.present, BALLOON_OS_HAS_TOTAL | BALLOON_OS_HAS_AVAILABLE |
                                BALLOON_OS_HAS_PRESSURE_SOME | BALLOON_OS_HAS_PRESSURE_FULL |
                                BALLOON_OS_HAS_EFFECTIVE_TOTAL |
                                BALLOON_OS_HAS_EFFECTIVE_AVAILABLE);
    cr_expect_eq(h.total, 24684092 * KIB);
    cr_expect_eq(h.available, 20000000 * KIB);
    cr_expect_eq(h.effective_total, h.total);
    cr_expect_eq(h.effective_available, h.available);
    cr_expect_eq(h.pressure.some_avg10, 1234);
    cr_expect_eq(h.pressure.full_avg10, 10000);
    cr_expect_eq(h.pressure.some_total, (balloon_time_t)1234567000);
    cr_expect_eq(h.pressure.full_total, (balloon_time_t)89000);
    cr_expect_eq(h.cgroup_limit, 0);
    cr_expect_eq(h.cgroup_headroom, 0);
}

Test(os_host, nothing_to_read)
{
    balloon_os_host h = {.size = sizeof(h)}, small = {.size = sizeof(h) - 1};

    cr_expect_eq(balloon_os_host_read(root, &h), BALLOON_ERR_UNSUPPORTED);
    cr_expect_eq(h.present, 0);
    cr_expect_eq(h.effective_available, 0);
    cr_expect_eq(balloon_os_host_read(root, NULL), BALLOON_ERR_INVALID);
    cr_expect_eq(balloon_os_host_read(root, &small), BALLOON_ERR_INVALID);
}

/* --- Control groups --- */

static void put_group(const char *path, const char *max, const char *high, const char *current)
{
    char name[256];

    snprintf(name, sizeof(name), CG "%s/memory.max", path);
    put(name, max);
    snprintf(name, sizeof(name), CG "%s/memory.high", path);
    put(name, high);
    snprintf(name, sizeof(name), CG "%s/memory.current", path);
    put(name, current);
}

/* The host has plenty; what binds is the group in the middle. */
Test(os_host, the_tightest_group_wins)
{
    balloon_os_host h;

    put("/proc/meminfo", meminfo);
    put("/proc/self/cgroup", "1:name=systemd:/other\n0::/machine.slice/vm-1.scope/emulator\n");
    put_group("/machine.slice/vm-1.scope/emulator", "max\n", "max\n", "1000000\n");
    put_group("/machine.slice/vm-1.scope", "4294967296\n", "max\n", "4026531840\n");
    put_group("/machine.slice", "8589934592\n", "3221225472\n", "2147483648\n");
    put(CG "/machine.slice/vm-1.scope/emulator/memory.pressure",
        "some avg10=0.07 avg60=0.00 avg300=0.00 total=5\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=4\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_limit, 3 * GIB); /* memory.high of the slice. */
    cr_expect_eq(h.cgroup_current, 1000000);
    cr_expect_eq(h.cgroup_headroom, 256 * MIB); /* 4 GiB - 3.75 GiB of the scope. */
    cr_expect_eq(h.effective_total, 3 * GIB);
    cr_expect_eq(h.effective_available, 256 * MIB);
    cr_expect_eq(h.cgroup_pressure.some_avg10, 7);
    cr_expect_eq(h.cgroup_pressure.full_total, 4000);
    cr_expect_eq(h.present & (BALLOON_OS_HAS_PRESSURE_SOME | BALLOON_OS_HAS_PRESSURE_FULL), 0);
    cr_expect_eq(h.present & BALLOON_OS_HAS_CGROUP_SOME, BALLOON_OS_HAS_CGROUP_SOME);
}

Test(os_host, the_host_may_be_tighter_than_its_groups)
{
    balloon_os_host h;

    put("/proc/meminfo", meminfo);
    put("/proc/self/cgroup", "0::/big\n");
    put_group("/big", "1099511627776\n", "max\n", "0\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_limit, 1024 * GIB);
    cr_expect_eq(h.effective_total, h.total);
    cr_expect_eq(h.effective_available, h.available);
}

/* Inside of a container the group is "/", and the topmost directory has the limits. */
Test(os_host, in_a_container)
{
    balloon_os_host h;

    put("/proc/self/cgroup", "0::/\n");
    put_group("", "1073741824\n", "max\n", "268435456\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_limit, GIB);
    cr_expect_eq(h.cgroup_headroom, 768 * MIB);
    cr_expect_eq(h.effective_available, 768 * MIB);
    cr_expect_eq(h.present & BALLOON_OS_HAS_AVAILABLE, 0);
}

/* A group full of caches is not short of memory, whether they are in use or not. */
Test(os_host, caches_count_as_room)
{
    balloon_os_host h;

    put("/proc/self/cgroup", "0::/vm\n");
    put_group("/vm", "8589934592\n", "max\n", "8589934592\n");
    put(CG "/vm/memory.stat", "anon 1073741824\nfile 7516192768\nactive_file 7516188672\n"
                              "inactive_file 4096\nworkingset_refault_file 7\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_headroom, 7 * GIB);
    put(CG "/vm/memory.stat", "inactive_file 536870912\nunevictable 4096\nslab_reclaimable 8192\n"
                              "slab_unreclaimable 4096\nslab 12288\nshmem 4096\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_headroom, 512 * MIB + 8192);
    put(CG "/vm/memory.stat", "active_file 18446744073709551615\ninactive_file 99999999999999\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_headroom, 8 * GIB);
    put(CG "/vm/memory.stat", "active_file 18446744073709551616\ninactive_file x\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_headroom, 0);
}

/* Each group around this one has caches of its own, those of its other groups among them. */
Test(os_host, caches_count_for_each_group)
{
    balloon_os_host h;

    put("/proc/self/cgroup", "0::/pod/vm\n");
    put_group("/pod/vm", "2147483648\n", "max\n", "1073741824\n");
    put(CG "/pod/vm/memory.stat", "active_file 536870912\n");
    put_group("/pod", "4294967296\n", "max\n", "4294967296\n");
    put(CG "/pod/memory.stat", "active_file 1073741824\ninactive_file 268435456\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_headroom, GIB + 256 * MIB); /* Of the pod; 1.5 GiB of the group. */
    put(CG "/pod/memory.stat", "active_file 2147483648\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_headroom, GIB + 512 * MIB);
}

/* A limit lowered below the use leaves nothing, not a huge number. */
Test(os_host, use_above_the_limit)
{
    balloon_os_host h;

    put("/proc/self/cgroup", "0::/vm\n");
    put_group("/vm", "max\n", "1048576\n", "1073741824\n");
    h = read_tree();
    cr_expect_eq(h.cgroup_limit, MIB);
    cr_expect_eq(h.cgroup_headroom, 0);
    cr_expect_eq(h.present & BALLOON_OS_HAS_CGROUP_HEADROOM, BALLOON_OS_HAS_CGROUP_HEADROOM);
    cr_expect_eq(h.effective_available, 0);
    cr_expect_neq(h.present & BALLOON_OS_HAS_EFFECTIVE_AVAILABLE, 0);
}

Test(os_host, absent_is_not_zero)
{
    balloon_os_host h;

    put("/proc/meminfo", "MemTotal:       24684092 kB\n");
    put("/proc/self/cgroup", "0::/a/b\n");
    put(CG "/a/memory.max", "max\n");
    put(CG "/a/b/memory.current", "5\n");
    h = read_tree();
    cr_expect_eq(h.present, BALLOON_OS_HAS_TOTAL | BALLOON_OS_HAS_CGROUP_CURRENT |
                                BALLOON_OS_HAS_EFFECTIVE_TOTAL);

    put(CG "/a/memory.max", "4096\n"); /* A limit, but no word about the use. */
    h = read_tree();
    cr_expect_eq(h.present, BALLOON_OS_HAS_TOTAL | BALLOON_OS_HAS_CGROUP_CURRENT |
                                BALLOON_OS_HAS_CGROUP_LIMIT | BALLOON_OS_HAS_EFFECTIVE_TOTAL);
    cr_expect_eq(h.effective_total, 4096);
}

Test(os_host, groups_out_of_sight)
{
    static const char *const files[] = {"0::/../sibling\n", "4:memory:/v1\n", "0::\n", "", "0"};

    put("/proc/meminfo", meminfo);
    put_group("", "4096\n", "max\n", "0\n");
    put("/sys/fs/sibling/memory.max", "4096\n");
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        balloon_os_host h;

        put("/proc/self/cgroup", files[i]);
        h = read_tree();
        cr_expect_eq(h.present & BALLOON_OS_HAS_CGROUP_LIMIT, 0, "file %d", (int)i);
        cr_expect_eq(h.effective_available, h.available);
    }
}

/* --- Nonsense --- */

Test(os_host, numbers_that_are_none_are_absent)
{
    static const char *const values[] = {
        "",          "\n",     "-1\n",  "1x\n",    " 1\n",
        "maximum\n", "0x10\n", "1 2\n", "max 1\n", "18446744073709551616\n"};

    put("/proc/meminfo", meminfo);
    put("/proc/self/cgroup", "0::/vm\n");
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        put(CG "/vm/memory.max", values[i]);
        put(CG "/vm/memory.current", values[i]);
        cr_expect_eq(read_tree().present &
                         (BALLOON_OS_HAS_CGROUP_LIMIT | BALLOON_OS_HAS_CGROUP_CURRENT),
                     0, "value %d", (int)i);
    }
    put(CG "/vm/memory.max", "18446744073709551614"); /* The largest, and no newline. */
    cr_expect_eq(read_tree().cgroup_limit, UINT64_MAX - 1);
}

Test(os_host, meminfo_lines_that_are_none_are_absent)
{
    static const char *const lines[] = {"MemTotal: kB\n",
                                        "MemTotal: 1 MB\n",
                                        "MemTotal: 1\n",
                                        "MemTotal: -1 kB\n",
                                        "MemTotalX: 1 kB\n",
                                        " MemTotal: 1 kB\n",
                                        "MemTotal: 99999999999999999999 kB\n"};
    balloon_os_host h;

    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        char text[256];

        snprintf(text, sizeof(text), "%sMemAvailable: 4 kB\n", lines[i]);
        put("/proc/meminfo", text);
        h = read_tree();
        cr_expect_eq(h.present, BALLOON_OS_HAS_AVAILABLE | BALLOON_OS_HAS_EFFECTIVE_AVAILABLE,
                     "line %d", (int)i);
        cr_expect_eq(h.available, 4096);
    }
    put("/proc/meminfo", "MemTotal: 18446744073709551615 kB"); /* More bytes than fit. */
    cr_expect_eq(read_tree().total, UINT64_MAX);
}

Test(os_host, pressure_lines_that_are_none_are_absent)
{
    static const char *const lines[] = {
        "some\n",
        "some avg10=\n",
        "some avg10=1 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=1.00 avg60=0.00 avg300=0.00\n",
        "some avg10=101.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=1.00 avg60=0.00 avg300=0.00 total=\n",
        "some avg10=99999999999999999999.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=1.00 avg60=0.00 avg300=0.00 total=99999999999999999999\n",
        "somewhat avg10=1.00 avg60=0.00 avg300=0.00 total=1\n",
    };
    balloon_os_host h;

    put("/proc/meminfo", meminfo);
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        char text[256];

        snprintf(text, sizeof(text), "%sfull avg10=0.5 avg60=0.00 avg300=0.00 total=2\n", lines[i]);
        put("/proc/pressure/memory", text);
        h = read_tree();
        cr_expect_eq(h.present & BALLOON_OS_HAS_PRESSURE_SOME, 0, "line %d", (int)i);
        cr_expect_eq(h.pressure.some_avg10, 0);
        cr_expect_eq(h.pressure.some_total, 0);
        cr_expect_eq(h.present & BALLOON_OS_HAS_PRESSURE_FULL, BALLOON_OS_HAS_PRESSURE_FULL);
        cr_expect_eq(h.pressure.full_avg10, 50);
    }
    put("/proc/pressure/memory", "some avg10=1.23456 avg60=0 avg300=0 total=18446744073709551615");
    h = read_tree();
    cr_expect_eq(h.pressure.some_avg10, 123);
    cr_expect_eq(h.pressure.some_total, UINT64_MAX);
}

/* Half a line may hold half a number, so a line that is too long is no line. */
Test(os_host, lines_of_any_length)
{
    for (size_t length = OS_LINE_BYTES - 3; length < 3 * OS_LINE_BYTES + 3; length++) {
        char *text = malloc(length + 64);
        balloon_os_host h;

        memset(text, '7', length);
        snprintf(text + length, 64, "\nMemTotal: 4 kB\n");
        memcpy(text, "MemAvailable: ", 14);
        put("/proc/meminfo", text);
        h = read_tree();
        cr_expect_eq(h.present, BALLOON_OS_HAS_TOTAL | BALLOON_OS_HAS_EFFECTIVE_TOTAL);
        cr_expect_eq(h.total, 4096, "%d bytes", (int)length);
        free(text);
        if (length > OS_LINE_BYTES + 3 && length < 3 * OS_LINE_BYTES - 3)
            length += 997;
    }
}

Test(os_host, the_end_of_a_long_line_is_no_line)
{
    char text[OS_LINE_BYTES + 64];
    balloon_os_host h;

    memset(text, ' ', OS_LINE_BYTES);
    snprintf(text + OS_LINE_BYTES, 64, "MemAvailable: 9 kB\nMemTotal: 4 kB\n");
    put("/proc/meminfo", text);
    h = read_tree();
    cr_expect_eq(h.present, BALLOON_OS_HAS_TOTAL | BALLOON_OS_HAS_EFFECTIVE_TOTAL);
}

/* --- The real thing --- */

Test(os_host, this_machine)
{
    balloon_os_host h = {.size = sizeof(h)};
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES), page = (uint64_t)sysconf(_SC_PAGESIZE);

    cr_assert_eq(balloon_os_host_read(NULL, &h), BALLOON_OK);
    cr_assert_eq(h.present & BALLOON_OS_HAS_TOTAL, BALLOON_OS_HAS_TOTAL);
    cr_expect_eq(h.total, pages * page);
    cr_expect(h.available > 0 && h.available <= h.total);
    cr_expect_leq(h.effective_available, h.available);
    cr_expect_leq(h.pressure.full_avg10, 10000);
}
