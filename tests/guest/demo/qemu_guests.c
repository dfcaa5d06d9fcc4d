#include "qemu_guests.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB_BYTES (UINT64_C(1) << 20)

enum { SETTLE_SECONDS = 60 };

static balloon_time_t now(void)
{
    return guest_clock() * MILLISECOND;
}

static const char *program(void)
{
    const char *value = getenv("BALLOON_QEMU");

    return value && *value ? value : "qemu-system-x86_64";
}

/* Without KVM figures are the same wherever it runs, and where it does not there may be a /dev/kvm
 * all the same. */
static const char *accelerator(void)
{
    const char *value = getenv("ACCEL");

    return value && *value ? value : "tcg,tb-size=64";
}

const char *guests_missing(void)
{
    char command[4200];

    snprintf(command, sizeof command, "'%s' --version >/dev/null 2>&1", program());
    if (system(command) != 0)
        return "no QEMU (package qemu-system-x86)";
    return guest_image_missing("qemu");
}

/* --- start and end ----------------------------------------------------------------------- */

static void make_disk(const char *directory, const char *name, unsigned mib)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "w");
    if (!file || ftruncate(fileno(file), (off_t)(mib * MIB_BYTES)) != 0)
        guest_failed("cannot make a disk");
    fclose(file);
}

static void start(struct qemu_guest *g, unsigned number)
{
    char kernel[4200], initrd[4200], memory[96], swap[160], cold[160], log[128], ours[128],
        theirs[128], name[16], size[16], device[128];
    const char *options = getenv("DEVICE");

    memset(g, 0, sizeof(*g));
    g->linux_guest = linux_prepare(g->directory, sizeof g->directory);
    make_disk(g->directory, "swap", SWAP);
    make_disk(g->directory, "cold", CACHE);
    guest_image_path(kernel, sizeof kernel, "qemu.kernel");
    guest_image_path(initrd, sizeof initrd, "qemu.gz");
    snprintf(size, sizeof size, "%d", RAM);
    snprintf(name, sizeof name, "guest%u", number);
    snprintf(memory, sizeof memory, "memory-backend-ram,id=ram,size=%dM", RAM);
    snprintf(device, sizeof device, "virtio-balloon-pci,id=balloon0%s%s",
             options && *options ? "," : "", options ? options : "");
    snprintf(swap, sizeof swap, "file=%s/swap,if=virtio,format=raw", g->directory);
    snprintf(cold, sizeof cold, "file=%s/cold,if=virtio,format=raw", g->directory);
    snprintf(log, sizeof log, "file:%s/log", g->directory);
    snprintf(g->monitor, sizeof g->monitor, "%s/qmp", g->directory);
    snprintf(theirs, sizeof theirs, "unix:%s,server=on,wait=off", g->monitor);
    snprintf(ours, sizeof ours, "unix:%s/own,server=on,wait=off", g->directory);
    linux_boot(
        g->linux_guest,
        (const char *[]){program(),    "-name",
                         name,         "-nodefaults",
                         "-display",   "none",
                         "-M",         "pc,memory-backend=ram",
                         "-object",    memory,
                         "-m",         size,
                         "-accel",     accelerator(),
                         "-kernel",    kernel,
                         "-initrd",    initrd,
                         "-append",    "console=ttyS0 quiet panic=-1 mitigations=off rdinit=/init",
                         "-serial",    "stdio",
                         "-serial",    log,
                         "-qmp",       theirs,
                         "-qmp",       ours,
                         "-drive",     swap,
                         "-drive",     cold,
                         "-device",    device,
                         "-no-reboot", NULL},
        NULL);
}

static void connect_to(struct qemu_guest *g)
{
    char path[128];

    snprintf(path, sizeof path, "%s/own", g->directory);
    vmm_init(&g->vmm, path);
}

void guests_start(struct qemu_guest *guests)
{
    for (unsigned i = 0; i < GUESTS; i++)
        start(&guests[i], i);
    for (unsigned i = 0; i < GUESTS; i++) {
        linux_run(guests[i].linux_guest, 60, "mkswap /dev/vda >/dev/null && swapon /dev/vda");
        connect_to(&guests[i]);
    }
}

void guests_end(struct qemu_guest *guests)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        vmm_end(&guests[i].vmm);
        linux_end(guests[i].linux_guest);
    }
}

/* --- looking ----------------------------------------------------------------------------- */

static void take_size(struct qemu_guest *g)
{
    unsigned size = (unsigned)(g->vmm.size / MIB_BYTES);

    if (g->size > size)
        g->taken += g->size - size;
    else if (g->size)
        g->given += size - g->size;
    g->size = size;
}

void guests_tick(struct qemu_guest *guests)
{
    balloon_time_t until = now() + 100 * MILLISECOND;
    struct pollfd polled[GUESTS];

    for (unsigned i = 0; i < GUESTS; i++)
        vmm_want(&guests[i].vmm, VMM_SIZE, now());
    while (now() < until) {
        for (unsigned i = 0; i < GUESTS; i++)
            polled[i] =
                (struct pollfd){.fd = guests[i].vmm.wire.fd, .events = vmm_events(&guests[i].vmm)};
        poll(polled, GUESTS, 10);
        for (unsigned i = 0; i < GUESTS; i++) {
            if (polled[i].revents)
                vmm_bytes(&guests[i].vmm, polled[i].revents, now());
            vmm_time(&guests[i].vmm, now());
            if (guests[i].vmm.news & VMM_SIZE)
                take_size(&guests[i]);
            if (guests[i].vmm.news & VMM_GONE)
                guest_failed("a guest has ended");
            guests[i].vmm.news = 0;
        }
    }
}

void guests_look(struct qemu_guest *guests)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        uint64_t bytes = 0;

        if (!process_resident(&guests[i].vmm.process, &bytes))
            guest_failed("cannot see the memory of a QEMU");
        guests[i].resident = (unsigned)(bytes / MIB_BYTES);
    }
}

void guests_count_swap(struct qemu_guest *g)
{
    const char *said = linux_run(g->linux_guest, 60, "grep ^pswp /proc/vmstat");
    unsigned long long in = 0, out = 0;

    if (sscanf(said, "pswpin %llu pswpout %llu", &in, &out) != 2)
        guest_failed(said);
    g->swapped[0] = in;
    g->swapped[1] = out;
}

bool guests_log(struct qemu_guest *g, char *line, int size)
{
    char path[128];
    bool whole = false;
    FILE *file;

    snprintf(path, sizeof path, "%s/log", g->directory);
    file = fopen(path, "r");
    if (!file)
        return false;
    if (fseek(file, g->log_at, SEEK_SET) == 0 && fgets(line, size, file) && strchr(line, '\n')) {
        g->log_at = ftell(file);
        whole = true;
    }
    fclose(file);
    return whole;
}

/* --- before it begins -------------------------------------------------------------------- */

void guests_target(struct qemu_guest *g, unsigned mib)
{
    vmm_set_target(&g->vmm, mib * MIB_BYTES, now());
}

static bool are_all(struct qemu_guest *guests, unsigned mib)
{
    for (unsigned i = 0; i < GUESTS; i++)
        if (guests[i].size > mib + 1 || guests[i].size + 1 < mib)
            return false;
    return true;
}

void guests_settle(struct qemu_guest *guests, unsigned mib)
{
    uint64_t end = guest_deadline(SETTLE_SECONDS);

    while (guests[0].vmm.state != VMM_THERE || guests[1].vmm.state != VMM_THERE ||
           guests[2].vmm.state != VMM_THERE) {
        guests_tick(guests);
        if (guest_clock() > end)
            guest_failed("a QEMU does not answer");
    }
    for (unsigned i = 0; i < GUESTS; i++) {
        linux_run(guests[i].linux_guest, 60,
                  "echo 3 >/proc/sys/vm/drop_caches; pace 16 16 >/tmp/said 2>&1 &");
        guests_target(&guests[i], mib);
    }
    while (!are_all(guests, mib)) {
        guests_tick(guests);
        if (guest_clock() > end)
            guest_failed("the guests do not shrink");
    }
    for (unsigned i = 0; i < GUESTS; i++)
        linux_run(guests[i].linux_guest, 60, "dd if=/dev/vdb of=/dev/null bs=64k 2>/tmp/said");
}
