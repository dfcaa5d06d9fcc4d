/* A machine: RAM of a guest, its balloon device, the driver in the guest, and
 * the wire between them, which is bytes of virtio-balloon. */
#ifndef DEMO_MACHINE_H
#define DEMO_MACHINE_H

#include "demo_guest.h"

#include <balloon/os.h>
#include <balloon/virtio.h>

struct machine {
    const char *name;
    uint8_t *ram;
    uint32_t pages;
    uint64_t granule; /* a host page, in pages of 4 KiB */
    unsigned char *present;
    struct guest guest;
    balloon_driver *driver; /* the guest's end */
    balloon_device *device; /* the host's end */
    balloon_os *os;
    balloon_time_t in_library, in_kernel; /* time that the host's end took */
};

/* What the host's end has done since the start. */
struct machine_work {
    uint64_t inflated, deflated, discarded; /* pages */
    uint64_t runs, calls;                   /* discards, and system calls for them */
    balloon_time_t in_library, in_kernel;
};

/* Say what is wrong, and exit. */
_Noreturn void demo_die(const char *what, const char *why);
void demo_check(balloon_status status, const char *what);
#define CHECK(call) demo_check((call), #call)

/* A guest that boots with a balloon of so many pages already, and that never
 * gets smaller than floor. With gather, discards wait for more of their kind,
 * since the driver waits for the host's answer before it uses a page again. */
void machine_start(struct machine *machine, const char *name, uint32_t pages, uint32_t floor,
                   uint32_t balloon, bool gather);
void machine_stop(struct machine *machine);

/* Serve both ends until they wait for something. */
void machine_serve(struct machine *machine, balloon_time_t now);

/* When one of them has something to do next by itself. */
balloon_time_t machine_deadline(const struct machine *machine);

/* RAM less the balloon, in pages; of the balloon, what did not come back to
 * the host. */
uint64_t machine_size(const struct machine *machine);
uint64_t machine_owed(const struct machine *machine);

/* Pages that take memory of this host, as the kernel tells. */
uint64_t machine_resident(struct machine *machine);

struct machine_work machine_work(const struct machine *machine);

/* A rule that does not hold, or NULL. */
const char *machine_wrong(const struct machine *machine);

#endif
