/* A QEMU whose guest does nothing: its balloon device is spoken to through the qtest protocol, its
 * guest memory is shared with us. */
#ifndef DIFFERENTIAL_QEMU_H
#define DIFFERENTIAL_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../guest/keeper.h"

#define QEMU_PAGES UINT32_C(4096)
#define QEMU_BYTES ((size_t)QEMU_PAGES << 12)

struct qemu {
    struct kept kept;
    int qtest, qmp;
    uint8_t *ram;   /* QEMU_BYTES of guest memory */
    uint64_t base;  /* where the balloon's virtio-mmio registers are */
    unsigned major; /* its version */
    unsigned later; /* commands whose answers have not been read */
    char line[4096], asked[256];
};

struct qemu_setup {
    bool legacy;                     /* the register layout before virtio 1.0 */
    bool reporting, poison, hinting; /* what to offer besides STATS and DEFLATE_ON_OOM */
};

/* Whether there is a QEMU on this machine. */
bool qemu_installed(void);

/* Both fail the test when QEMU does not do what it should, or hangs. QEMU ends
 * with us however we end. */
void qemu_start(struct qemu *qemu, const struct qemu_setup *setup);
void qemu_end(struct qemu *qemu);

/* Writes are sent with the next read or sync, in order. Width: 1, 2 or 4 bytes. */
void qemu_write(struct qemu *qemu, uint64_t address, unsigned width, uint32_t value);
uint32_t qemu_read(struct qemu *qemu, uint64_t address, unsigned width);
void qemu_sync(struct qemu *qemu);

/* A QMP command; returns its answer, good until the next call. */
const char *qemu_command(struct qemu *qemu, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
