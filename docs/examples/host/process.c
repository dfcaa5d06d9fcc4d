#include "process.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define KIB    UINT64_C(1024)
#define GIB    (UINT64_C(1) << 30)

/* Page tables of a guest of 64 GiB take part of a second to look at. */
#define SMAPS_MOST    (64 * GIB)
#define MEASURE_AGAIN (10 * SECOND)

void process_init(struct process *p)
{
    memset(p, 0, sizeof(*p));
    p->fd = -1;
    p->proc = "/proc";
}

void process_close(struct process *p)
{
    const char *proc = p->proc;

    if (p->fd >= 0)
        close(p->fd);
    process_init(p);
    p->proc = proc;
}

static FILE *open_file(const struct process *p, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%d/%s", p->proc, (int)p->pid, name);
    return fopen(path, "re");
}

/* VmSize and VmRSS, in bytes, and pages of hugetlbfs, which are in VmSize only. */
static bool read_status(const struct process *p, uint64_t *all, uint64_t *resident, uint64_t *huge)
{
    FILE *file = open_file(p, "status");
    unsigned long long kib;
    unsigned found = 0;
    char line[256];

    *huge = 0;
    if (file == NULL)
        return false;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "VmSize: %llu kB", &kib) == 1) {
            *all = kib * KIB;
            found |= 1;
        } else if (sscanf(line, "VmRSS: %llu kB", &kib) == 1) {
            *resident = kib * KIB;
            found |= 2;
        } else if (sscanf(line, "HugetlbPages: %llu kB", &kib) == 1) {
            *huge = kib * KIB;
        }
    }
    fclose(file);
    return found == 3;
}

/* What is resident of the mappings that can be a guest's memory: as large as that or, where it is
 * in several pieces, those of 16 MiB and more that are a large part of it. */
bool process_resident(const struct process *p, uint64_t *resident)
{
    FILE *file = open_file(p, "smaps");
    unsigned long long from, to, kib;
    uint64_t bytes = 0;
    bool found = false;
    char line[512];

    if (file == NULL)
        return false;
    *resident = 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
            bytes = to - from;
        else if (bytes >= p->ram / 4 && sscanf(line, "Rss: %llu kB", &kib) == 1) {
            *resident += kib * KIB;
            found = true;
        }
    }
    fclose(file);
    return found;
}

static uint64_t beyond(uint64_t whole, uint64_t part)
{
    return whole > part ? whole - part : 0;
}

static void measure(struct process *p, uint64_t resident, balloon_time_t now)
{
    uint64_t guest;

    if (resident > SMAPS_MOST || now < p->measure_at)
        return;
    p->measure_at = now + MEASURE_AGAIN;
    if (!process_resident(p, &guest))
        return;
    p->overhead = beyond(resident, guest);
    p->measured = true;
}

bool process_open(struct process *p, pid_t pid, uint64_t ram, balloon_time_t now)
{
    uint64_t all, resident, huge;

    process_close(p);
    p->pid = pid;
    p->ram = ram;
    if (pid <= 0 || !read_status(p, &all, &resident, &huge) || all < ram) {
        p->pid = 0;
        return false;
    }
    p->huge = huge != 0;
    p->fd = (int)syscall(SYS_pidfd_open, pid, 0);
    measure(p, resident, now);
    return true;
}

uint64_t process_bytes(const struct process *p)
{
    uint64_t all, resident, huge;

    return p->pid && read_status(p, &all, &resident, &huge) ? resident + huge : 0;
}

bool process_guest_bytes(const struct process *p, uint64_t *bytes)
{
    uint64_t all, resident, huge;

    if (p->pid == 0 || !p->measured || !read_status(p, &all, &resident, &huge))
        return false;
    *bytes = beyond(resident, p->overhead);
    return true;
}

bool process_lives(const struct process *p)
{
    struct pollfd one = {.fd = p->fd, .events = POLLIN};

    return p->fd >= 0 && poll(&one, 1, 0) == 0;
}

static uint64_t least(const struct process *p)
{
    uint64_t found = UINT64_MAX;

    for (unsigned i = 0; i < PROCESS_LOOKS; i++)
        if (p->over[i] < found)
            found = p->over[i];
    return p->looks < PROCESS_LOOKS ? 0 : found;
}

uint64_t process_owed(struct process *p, uint64_t size, balloon_time_t now)
{
    uint64_t all, resident, huge;

    if (p->pid == 0 || !p->measured)
        return 0;
    if (now < p->look_at)
        return least(p);
    p->look_at = now + SECOND;
    if (!read_status(p, &all, &resident, &huge))
        return least(p);
    p->huge = huge != 0;
    p->over[p->looks++ % PROCESS_LOOKS] = beyond(resident, p->overhead + size);
    if (p->looks >= 2 * PROCESS_LOOKS)
        p->looks -= PROCESS_LOOKS;
    /* The VMM itself may have grown: look before anything is counted. */
    if (least(p) > 0) {
        measure(p, resident, now);
        p->over[(p->looks - 1) % PROCESS_LOOKS] = beyond(resident, p->overhead + size);
    }
    return least(p);
}
