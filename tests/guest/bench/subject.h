/* A guest with one of the balloon devices that are compared, and what it costs its host. */
#ifndef SUBJECT_H
#define SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "../guest.h"

enum { RAM = 768, BALLOON = 280, PAGES_PER_MIB = 256 }; /* MiB */

enum subject_kind {
    QEMU_SHARED,  /* QEMU's own device, memory in a shared file */
    QEMU_PRIVATE, /* QEMU's own device, memory of its own */
    QEMU_OURS,    /* the vhost-user example, for QEMU */
    UML_PAGES,    /* the vhost-user example, for user-mode Linux: a call for each page */
    UML_BUFFERS,  /* discards before each answer */
    UML_OURS      /* gathered, as it is by default */
};

/* What all processes of a host have spent, and what they have done. */
struct spent {
    double seconds;
    double cpu, backend_cpu;         /* seconds, backend_cpu is a part of cpu */
    uint64_t calls, ranges, buffers; /* discards, and buffers of page numbers; 0 if unknown */
};

struct subject {
    enum subject_kind kind;
    struct linux_guest *guest;
    struct backend *backend; /* NULL: the device is QEMU's */
    int monitor;             /* QMP, or -1 */
    char version[32];        /* of the VMM */
    const uint64_t *counted; /* discard calls of QEMU */
};

const char *subject_name(enum subject_kind kind);

/* Why guests of this kind cannot be run here, or NULL. */
const char *subject_missing(enum subject_kind kind);

void subject_start(struct subject *subject, enum subject_kind kind);
void subject_end(struct subject *subject);

/* Ask for a balloon of that size; has all that was asked for happened? */
void subject_target(struct subject *subject, unsigned mib);
bool subject_settled(struct subject *subject, unsigned mib);

void subject_spent(struct subject *subject, struct spent *spent);

#endif
