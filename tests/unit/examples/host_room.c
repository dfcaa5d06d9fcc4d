/* A pool that follows its host: what guests may have when others need memory. */
#include "host/beat.h"
#include "host/host.h"
#include "host/members.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB UINT64_C(1048576)

enum { TOTAL = 16384, POOL = 12288 };

static struct room room;
static balloon_os_host here;
static balloon_time_t now;

static void begin(void)
{
    now = 5 * SECOND;
    room_init(&room, POOL * MIB);
    here = (balloon_os_host){.size = sizeof(here),
                             .present = BALLOON_OS_HAS_EFFECTIVE_TOTAL |
                                        BALLOON_OS_HAS_EFFECTIVE_AVAILABLE |
                                        BALLOON_OS_HAS_PRESSURE_FULL,
                             .effective_total = TOTAL * MIB};
}

TestSuite(host_room, .init = begin);

static uint64_t after(unsigned looks, unsigned available, unsigned resident)
{
    here.effective_available = available * MIB;
    for (unsigned i = 0; i < looks; i++, now += SECOND)
        room_look(&room, &here, resident * MIB, now);
    return room.bytes / MIB;
}

/* As for want of descriptors: that is not the time to have more. */
Test(host_room, a_host_that_falls_silent_does_not_give_more)
{
    uint32_t present = here.present;

    here.pressure.full_total = 1000 * SECOND;
    cr_assert_eq(after(1, 1000, 8000), 9000 - TOTAL / 32);
    here.present = 0;
    here.pressure.full_total = 0;
    cr_assert_eq(after(5, 0, 0), 9000 - TOTAL / 32);
    here.present = present;
    here.pressure.full_total = 1000 * SECOND;
    cr_assert_eq(after(1, 1000, 8000), 9000 - TOTAL / 32, "nor was there any pressure");
}

Test(host_room, a_host_with_enough_gives_all)
{
    cr_assert_eq(after(5, 10000, 4000), POOL);
    here.present = 0;
    cr_assert_eq(after(5, 0, 0), POOL, "nor does one that says nothing give less");
}

/* What guests have and what is available, less a 32nd of the host that others may want. */
Test(host_room, what_others_take_is_not_the_guests)
{
    cr_assert_eq(after(1, 1000, 8000), 9000 - TOTAL / 32);
    cr_assert_eq(after(1, 200, 8000), 8200 - TOTAL / 32, "more than is left there: it must shrink");
    cr_assert_eq(after(5, 1200, 7000), 8200 - TOTAL / 32, "what guests give changes nothing");
    cr_assert_eq(after(1, 0, 0), POOL / 8, "but there is an end");
}

Test(host_room, it_grows_again_bit_by_bit)
{
    cr_assert_eq(after(1, 200, 8000), 7688);
    cr_assert_eq(after(1, 5000, 8000), 7688 + POOL / 64);
    cr_assert_eq(after(3, 5000, 8000), 7688 + 4 * POOL / 64);
    cr_assert_eq(after(100, 5000, 8000), POOL);
}

/* Available memory goes up and down a little all the time. */
Test(host_room, small_changes_do_not_move_it)
{
    cr_assert_eq(after(1, 1000, 8000), 8488);
    for (unsigned i = 0; i < 20; i++)
        cr_assert_eq(after(1, 1000 + i % 2 * 300, 8000), 8488);
}

Test(host_room, pressure_counts_when_memory_is_scarce)
{
    cr_assert_eq(after(2, 1900, 11000), POOL);
    for (unsigned i = 0; i < 3; i++) {
        here.pressure.full_total += SECOND / 10;
        (void)after(1, 1900, 11000);
    }
    cr_assert_eq(room.bytes / MIB, POOL - 3 * POOL / 64);
    cr_assert_eq(after(3, 1900, 11000), POOL, "and not any longer");
    here.pressure.full_total += 5 * SECOND;
    cr_assert_eq(after(1, 4000, 11000), POOL, "others wait at limits of their own");
    here.cgroup_pressure.full_total = here.pressure.full_total + SECOND;
    cr_assert_eq(after(1, 1900, 11000), POOL - POOL / 64, "that of the cgroup counts, too");
}

Test(host_room, a_first_look_is_no_pressure)
{
    here.pressure.full_total = 1000 * SECOND;
    cr_assert_eq(after(1, 1900, 11000), POOL);
}

static void put_status(const char *root, int pid, unsigned resident, unsigned huge)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%d", root, pid);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/%d/status", root, pid);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    fprintf(file, "VmSize: 900000 kB\nVmRSS: %u kB\nHugetlbPages: %u kB\n", resident * 1024,
            huge * 1024);
    fclose(file);
}

Test(host_room, what_guests_have_is_what_others_could_get_of_them)
{
    char root[] = "/tmp/balloon-room-XXXXXX", path[128];
    static struct member known = {.in_pool = true}, unknown = {.in_pool = true};
    static struct member huge = {.in_pool = true}, stranger, early;
    struct member *members[] = {&known, &unknown, &huge, &stranger, &early};
    struct host host = {.members = members, .count = 5};

    cr_assert_not_null(mkdtemp(root));
    put_status(root, 1, 140, 0);
    put_status(root, 2, 30, 150);
    known.vmm.size = unknown.vmm.size = huge.vmm.size = 300 * MIB;
    known.vmm.ram = unknown.vmm.ram = huge.vmm.ram = 400 * MIB;
    known.vmm.process =
        (struct process){.pid = 1, .proc = root, .measured = true, .overhead = 20 * MIB};
    huge.vmm.process = (struct process){.huge = true};
    stranger.vmm.process = (struct process){.pid = 2, .proc = root, .huge = true};
    cr_assert_eq(members_resident(&host), (120 + 300 + 400 + 180) * MIB);
    stranger.vmm.ram = 200 * MIB;
    cr_assert_eq(members_resident(&host), (120 + 300 + 400 + 200) * MIB);
    put_status(root, 1, 260, 0);
    cr_assert_eq(members_resident(&host), (240 + 300 + 400 + 200) * MIB, "as it is now");
    for (int pid = 1; pid <= 2; pid++) {
        snprintf(path, sizeof(path), "%s/%d/status", root, pid);
        unlink(path);
        snprintf(path, sizeof(path), "%s/%d", root, pid);
        rmdir(path);
    }
    rmdir(root);
}

static void put_meminfo(const char *root, unsigned available)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/proc", root);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    fprintf(file, "MemTotal: %u kB\nMemFree: 0 kB\nMemAvailable: %u kB\n", TOTAL * 1024,
            available * 1024);
    fclose(file);
}

Test(host_room, the_pool_is_told)
{
    char root[] = "/tmp/balloon-room-XXXXXX", path[128];
    static struct config config;
    static struct host host;
    balloon_pool_status status;

    cr_assert_not_null(mkdtemp(root));
    config_init(&config);
    cr_assert(config_parse(&config, "pool = 8192\nreserve = 4096\nguests = /nonexistent\n"));
    cr_assert_null(host_init(&host, &config));
    host.root = root;
    put_meminfo(root, 3000);
    beat_decide(&host, now);
    balloon_pool_status_get(host.pool, &status);
    cr_assert_eq(status.pages, (3000 - TOTAL / 32) * 256);
    cr_assert_eq(status.reserve, status.pages / 4);
    put_meminfo(root, 300);
    beat_decide(&host, now + SECOND / 10);
    balloon_pool_status_get(host.pool, &status);
    cr_assert_eq(status.pages, (3000 - TOTAL / 32) * 256, "it looks once a second");
    beat_decide(&host, now + SECOND);
    balloon_pool_status_get(host.pool, &status);
    cr_assert_eq(status.pages, 1024 * 256, "an eighth");
    host_end(&host);
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    unlink(path);
    snprintf(path, sizeof(path), "%s/proc", root);
    rmdir(path);
    rmdir(root);
}
