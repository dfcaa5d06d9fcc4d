/* Real Linux guests for tests and the demo: user-mode Linux in front, the vhost-user example
 * behind.
 *
 * Nothing returns an error: what goes wrong ends in guest_failed(), and every wait has an end. All
 * processes and files are gone when their owner ends, in whatever way it does.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Defined by each program that uses this file: say it and leave. */
_Noreturn void guest_failed(const char *message);

/* Why no guest can be run here, or NULL. Builds what the guest boots when that is stale. */
const char *guest_missing(void);

/* The same for what a kind of guest boots only, "uml" or "qemu"; and the path of a file of it. */
const char *guest_image_missing(const char *kind);
void guest_image_path(char *path, size_t size, const char *file);

/* The example back-end, serving one socket for each guest. */
struct backend;
struct backend *backend_start(unsigned guests, const char *const *options);
void backend_end(struct backend *backend);

/* Send a command; the answer stays valid until the next. Events on the way are only remembered. */
const char *backend_ask(struct backend *backend, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Send a command and read no answer; then read what comes, a line at a time. */
void backend_tell(struct backend *backend, const char *line);
const char *backend_line(struct backend *backend);

/* backend_ask() that must be answered by "ok". */
void backend_do(struct backend *backend, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A number of a guest's status (true is 1), or of an answer. */
uint64_t backend_number(struct backend *backend, unsigned guest, const char *name);
uint64_t answer_number(const char *answer, const char *name);

/* Wait until a number of the status reaches at least a value; see guest_deadline() for seconds. */
void backend_wait(struct backend *backend, unsigned guest, const char *name, uint64_t least,
                  unsigned seconds);

/* Where a guest's front-end connects. */
void backend_socket(const struct backend *backend, unsigned guest, char *path, size_t size);

/* How many events of this name have come, from whatever guest. */
unsigned backend_events(struct backend *backend, const char *event);

/* A booted Linux on one of the back-end's sockets, its driver loaded. */
struct linux_guest;
struct linux_guest *linux_start(struct backend *backend, unsigned number, unsigned mib);

/* The same with a disk for swapping, so that a guest short of memory gets slow and not killed. */
struct linux_guest *linux_start_swapping(struct backend *backend, unsigned number, unsigned mib,
                                         unsigned swap_mib);

/* The same for another program that boots the image on its standard input and output. First comes
 * its directory, which goes when it ends. */
struct linux_guest *linux_prepare(char *directory, size_t size);
void linux_boot(struct linux_guest *guest, const char *const *argv, const char *const *variables);
/* Wait until it has booted; again when it boots again. */
void linux_wait_ready(struct linux_guest *guest);
void linux_end(struct linux_guest *guest);

/* Run a shell line inside; its output stays valid until the next. It must exit with 0. */
const char *linux_run(struct linux_guest *guest, unsigned seconds, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for who cannot wait: begin, then ask until there is output. One line at a time. */
void linux_begin(struct linux_guest *guest, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *linux_done(struct linux_guest *guest);

/* A line of its /proc/meminfo, in KiB. */
uint64_t linux_meminfo(struct linux_guest *guest, const char *name);

/* The process of the back-end, and that of a guest. */
pid_t backend_pid(const struct backend *backend);
pid_t linux_pid(const struct linux_guest *guest);

/* Host memory that the guest's RAM takes: allocated bytes of the file it lies in. */
uint64_t linux_host_bytes(struct linux_guest *guest);

/* Milliseconds of a clock that only goes forward. */
uint64_t guest_clock(void);

/* The time to give up a wait that takes at most so many seconds on an idle machine. On a busy one
 * it takes longer; only a test that fails waits for this. */
uint64_t guest_deadline(unsigned seconds);
void guest_sleep(unsigned milliseconds);

#endif
