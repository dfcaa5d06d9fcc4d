/* What a guest takes too much, from files as they are in /proc. */
#include "host/process.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB    UINT64_C(1048576)
#define SECOND UINT64_C(1000000000)

enum { RAM = 384 };

static char proc[64], folder[96], status[128], smaps[128];
static struct process process;
static balloon_time_t now;

static void put_files(unsigned guest, unsigned vmm)
{
    FILE *file = fopen(status, "w");

    fprintf(file, "Name:\tqemu\nVmSize:\t%u kB\nVmRSS:\t%u kB\nThreads:\t3\n", (RAM + 500) * 1024,
            (guest + vmm) * 1024);
    fclose(file);
    file = fopen(smaps, "w");
    fprintf(file,
            "55d000000000-55d000100000 r-xp 00000000 fe:00 1 /usr/bin/qemu\nSize: 1024 kB\n"
            "Rss:  %u kB\nPss: 7 kB\n"
            "7f0000000000-7f0018000000 rw-p 00000000 00:00 0 \nSize: %u kB\nRss: %u kB\n"
            "7f0020000000-7f0020100000 rw-p 00000000 00:00 0 [heap]\nRss: 0 kB\n",
            vmm * 1024, RAM * 1024, guest * 1024);
    fclose(file);
}

static void begin(void)
{
    now = SECOND;
    snprintf(proc, sizeof(proc), "/tmp/balloon-proc-XXXXXX");
    cr_assert_not_null(mkdtemp(proc));
    snprintf(folder, sizeof(folder), "%s/%d", proc, (int)getpid());
    snprintf(status, sizeof(status), "%s/status", folder);
    snprintf(smaps, sizeof(smaps), "%s/smaps", folder);
    mkdir(folder, 0700);
    process_init(&process);
    process.proc = proc;
}

static void end(void)
{
    process_close(&process);
    unlink(status);
    unlink(smaps);
    rmdir(folder);
    rmdir(proc);
}

TestSuite(host_process, .init = begin, .fini = end);

static uint64_t owed_after(unsigned seconds, unsigned size)
{
    uint64_t owed = 0;

    for (unsigned i = 0; i < seconds; i++, now += SECOND)
        owed = process_owed(&process, size * MIB, now);
    return owed / MIB;
}

static void open_it(unsigned guest, unsigned vmm)
{
    put_files(guest, vmm);
    cr_assert(process_open(&process, getpid(), RAM * MIB, now));
}

Test(host_process, what_the_vmm_needs_is_not_owed)
{
    open_it(300, 90);
    cr_assert_eq(owed_after(20, 300), 0);
}

Test(host_process, what_stays_resident_is_owed)
{
    open_it(300, 90);
    cr_assert_eq(owed_after(PROCESS_LOOKS - 1, 260), 0, "not at once");
    cr_assert_eq(owed_after(1, 260), 40);
    put_files(270, 90);
    cr_assert_eq(owed_after(1, 260), 10, "the least counts, at once");
    put_files(260, 90);
    cr_assert_eq(owed_after(1, 260), 0);
}

Test(host_process, what_goes_again_is_not)
{
    open_it(300, 90);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(owed_after(PROCESS_LOOKS - 1, 260), 0);
        cr_assert_eq(owed_after(1, 300), 0);
    }
}

Test(host_process, a_vmm_that_grows_owes_nothing)
{
    open_it(300, 30);
    now += 30 * SECOND;
    put_files(300, 94);
    cr_assert_eq(owed_after(20, 300), 0);
}

Test(host_process, looks_once_a_second)
{
    open_it(300, 90);
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(process_owed(&process, 1, now), 0);
    cr_assert_eq(process.looks, 1);
}

Test(host_process, who_made_the_socket_need_not_be_the_vmm)
{
    put_files(10, 10);
    cr_assert_not(process_open(&process, getpid(), 64 * 1024 * MIB, now));
    cr_assert_not(process_lives(&process));
    cr_assert_eq(owed_after(20, 0), 0);
    cr_assert_not(process_open(&process, 0, 1, now));
    unlink(status);
    cr_assert_not(process_open(&process, getpid(), 1, now));
}

Test(host_process, pages_of_hugetlbfs_are_seen)
{
    FILE *file;

    open_it(300, 90);
    cr_assert_not(process.huge);
    cr_assert_eq(process_bytes(&process), 390 * MIB);
    file = fopen(status, "a");
    fputs("HugetlbPages:\t  401408 kB\n", file);
    fclose(file);
    cr_assert_eq(process_bytes(&process), (390 + 392) * MIB);
    now += SECOND;
    (void)process_owed(&process, 300 * MIB, now);
    cr_assert(process.huge);
}

Test(host_process, without_a_look_at_its_memory_nothing_is_owed)
{
    put_files(300, 90);
    unlink(smaps);
    cr_assert(process_open(&process, getpid(), RAM * MIB, now));
    cr_assert_eq(owed_after(20, 100), 0);
    cr_assert(process_lives(&process));
}

Test(host_process, a_process_that_has_ended_does_not_live)
{
    pid_t child = fork();
    char path[96];

    if (child == 0) {
        pause();
        _exit(0);
    }
    put_files(300, 90);
    snprintf(path, sizeof(path), "%s/%d", proc, (int)child);
    cr_assert_eq(symlink(folder, path), 0);
    cr_assert(process_open(&process, child, RAM * MIB, now));
    cr_assert(process_lives(&process));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    cr_assert_not(process_lives(&process));
    unlink(path);
}
