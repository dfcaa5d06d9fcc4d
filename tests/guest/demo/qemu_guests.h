/* Three stock Linux guests under unmodified QEMU: how they are started, and how they are looked at
 * from outside, beside whatever manages them. */
#ifndef QEMU_GUESTS_H
#define QEMU_GUESTS_H

#include "../guest.h"
#include "host/vmm.h"

enum { GUESTS = 3, RAM = 384, POOL = 640, SWAP = 512, CACHE = 64 }; /* MiB */

struct qemu_guest {
    struct linux_guest *linux_guest;
    char directory[64];
    char monitor[96];      /* the QMP socket for the manager */
    struct vmm vmm;        /* over a second one, ours */
    unsigned size;         /* MiB */
    unsigned resident;     /* of its memory, in the host; MiB */
    uint64_t swapped[2];   /* pages in and out, since it has booted */
    long log_at;           /* how far the log of its program was read */
    uint64_t taken, given; /* what its balloon has moved, MiB */
};

/* Why they cannot run here, or NULL. */
const char *guests_missing(void);

/* Boot all; then have each as large as the others and with some work to do. */
void guests_start(struct qemu_guest *guests);
void guests_settle(struct qemu_guest *guests, unsigned mib);
void guests_end(struct qemu_guest *guests);

/* Look at sizes; a tenth of a second passes. */
void guests_tick(struct qemu_guest *guests);

/* Ask a guest to be that large. */
void guests_target(struct qemu_guest *guest, unsigned mib);

/* Resident memory, and what was swapped. */
void guests_look(struct qemu_guest *guests);
void guests_count_swap(struct qemu_guest *guest);

/* The next line of the log of its program; false when there is none yet. */
bool guests_log(struct qemu_guest *guest, char *line, int size);

#endif
