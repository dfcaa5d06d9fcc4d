/* Lines of bytes to and from a process that need not be kind: nothing here waits, and what it sends
 * is kept only up to a bound. */
#ifndef HOST_WIRE_H
#define HOST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A line may be that long; the longest that QEMU sends to us takes some KiB. */
enum { WIRE_LINE_MOST = 256 * 1024, WIRE_OUT_MOST = 64 * 1024 };

struct wire {
    int fd;         /* or -1 */
    char *in, *out; /* bytes that came, bytes that wait to be sent */
    size_t in_room, in_used, in_seen, line_end;
    size_t out_room, out_used;
};

enum wire_state {
    WIRE_OPEN,
    WIRE_CLOSED, /* the other end has closed it, or it broke */
    WIRE_TOO_LONG,
    WIRE_NO_MEMORY
};

/* Begin without a connection. */
void wire_init(struct wire *wire);

/* Connect to a Unix socket. Returns 0 or an errno. */
int wire_connect(struct wire *wire, const char *path);

/* Take over a connected socket. */
void wire_attach(struct wire *wire, int fd);

/* The process at the other end; 0 when that cannot be told. */
pid_t wire_peer(const struct wire *wire);

/* Put bytes with those that are to be sent; send them all, now or as soon as the other end reads.
 */
enum wire_state wire_put(struct wire *wire, const char *bytes, size_t count);
enum wire_state wire_flush(struct wire *wire);
bool wire_wants_to_write(const struct wire *wire);

/* Take in what is there, up to some KiB. Lines that came before the end can still be read. */
enum wire_state wire_receive(struct wire *wire);

/* The next whole line, without its end and followed by a zero byte; NULL when there is none. Good
 * until the next call. */
char *wire_line(struct wire *wire, size_t *length);

/* Close the connection and forget what came. */
void wire_close(struct wire *wire);

#endif
