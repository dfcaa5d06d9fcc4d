#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PIECE = 16 * 1024 };

void wire_init(struct wire *w)
{
    memset(w, 0, sizeof(*w));
    w->fd = -1;
}

void wire_attach(struct wire *w, int fd)
{
    wire_close(w);
    w->fd = fd;
}

int wire_connect(struct wire *w, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, error = 0;

    if (strlen(path) >= sizeof(address.sun_path))
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    /* A full queue of connections is EAGAIN here; a Unix socket never connects later. */
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        error = errno;
        close(fd);
        return error;
    }
    wire_attach(w, fd);
    return 0;
}

pid_t wire_peer(const struct wire *w)
{
    struct ucred peer;
    socklen_t bytes = sizeof(peer);

    if (getsockopt(w->fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
        return 0;
    return peer.pid;
}

static bool make_room(char **bytes, size_t *room, size_t needed)
{
    size_t more = *room ? *room : PIECE;
    char *larger;

    while (more < needed)
        more *= 2;
    if (more == *room)
        return true;
    larger = realloc(*bytes, more);
    if (larger == NULL)
        return false;
    *bytes = larger;
    *room = more;
    return true;
}

enum wire_state wire_put(struct wire *w, const char *bytes, size_t count)
{
    if (w->out_used + count > WIRE_OUT_MOST)
        return WIRE_TOO_LONG;
    if (!make_room(&w->out, &w->out_room, w->out_used + count))
        return WIRE_NO_MEMORY;
    memcpy(w->out + w->out_used, bytes, count);
    w->out_used += count;
    return WIRE_OPEN;
}

enum wire_state wire_flush(struct wire *w)
{
    ssize_t sent = 0;

    if (w->out_used == 0)
        return WIRE_OPEN;
    sent = send(w->fd, w->out, w->out_used, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? WIRE_OPEN : WIRE_CLOSED;
    w->out_used -= (size_t)sent;
    memmove(w->out, w->out + sent, w->out_used);
    return WIRE_OPEN;
}

bool wire_wants_to_write(const struct wire *w)
{
    return w->out_used != 0;
}

/* Drop the line that was handed out last. */
static void drop_line(struct wire *w)
{
    w->in_used -= w->line_end;
    memmove(w->in, w->in + w->line_end, w->in_used);
    w->in_seen = 0;
    w->line_end = 0;
}

enum wire_state wire_receive(struct wire *w)
{
    ssize_t got;

    if (w->line_end)
        drop_line(w);
    if (w->in_used >= WIRE_LINE_MOST)
        return WIRE_TOO_LONG;
    if (!make_room(&w->in, &w->in_room, w->in_used + PIECE))
        return WIRE_NO_MEMORY;
    got = recv(w->fd, w->in + w->in_used, PIECE, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? WIRE_OPEN : WIRE_CLOSED;
    w->in_used += (size_t)got;
    return got == 0 ? WIRE_CLOSED : WIRE_OPEN;
}

char *wire_line(struct wire *w, size_t *length)
{
    char *end;

    if (w->line_end)
        drop_line(w);
    if (w->in_seen == w->in_used)
        return NULL;
    end = memchr(w->in + w->in_seen, '\n', w->in_used - w->in_seen);
    w->in_seen = w->in_used;
    if (end == NULL)
        return NULL;
    *end = '\0';
    w->line_end = (size_t)(end - w->in) + 1;
    *length = w->line_end - 1;
    return w->in;
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->in);
    free(w->out);
    wire_init(w);
}
