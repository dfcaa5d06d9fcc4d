/* The vhost-user protocol, back-end side: messages of a front-end over a Unix socket. */
#include "vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Requests of the front-end. */
enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    RESET_OWNER = 4,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
    SET_BACKEND_REQ_FD = 21,
    GET_CONFIG = 24,
    SET_CONFIG = 25,
    RESET_DEVICE = 34
};
/* Ours, over the back channel. */
enum { BACKEND_CONFIG_CHANGE = 2 };

enum { VERSION = 1, REPLY = 4, NEED_REPLY = 8, VERSION_MASK = 3 };
enum { RING_INDEX_MASK = 0xff, RING_NO_FD = 0x100 };

#define F_PROTOCOL_FEATURES ((uint64_t)1 << 30)
/* Indirect descriptors and event indices are the ring's business, not the device's. */
#define RING_FEATURES VQ_FEATURES

#define P_REPLY_ACK   ((uint64_t)1 << 3)
#define P_BACKEND_REQ ((uint64_t)1 << 5)
#define P_CONFIG      ((uint64_t)1 << 9)
#define P_RESET       ((uint64_t)1 << 13)
#define P_ALL         (P_REPLY_ACK | P_BACKEND_REQ | P_CONFIG | P_RESET)

struct header {
    uint32_t request, flags, bytes;
};

struct ring_state {
    uint32_t index, value;
};

struct ring_address {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};

struct memory_table {
    uint32_t count, padding;
    struct {
        uint64_t guest, bytes, user, offset;
    } region[VU_REGIONS];
};

struct config_space {
    uint32_t offset, bytes, flags;
    uint8_t data[VU_CONFIG_MAX];
};

union payload {
    uint64_t number;
    struct ring_state state;
    struct ring_address address;
    struct memory_table table;
    struct config_space config;
};

/* What handling a message came to. */
enum outcome { REFUSED, DONE, ANSWERED };

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int take_fd(struct vu_session *session, size_t i)
{
    int fd = -1;
    if (i < session->fd_count) {
        fd = session->fds[i];
        session->fds[i] = -1;
    }
    return fd;
}

static void drop_fds(struct vu_session *session)
{
    for (size_t i = 0; i < session->fd_count; i++)
        close_fd(&session->fds[i]);
    session->fd_count = 0;
}

/* --- rings ------------------------------------------------------------------------------- */

bool vu_ring_runs(const struct vu_ring *ring)
{
    return ring->kick >= 0 && ring->enabled && !ring->broken;
}

/* The driver that stopped will not go on. */
static void driver_left(struct vu_session *session)
{
    if (!session->paused)
        return;
    session->paused = false;
    session->device->left(session->self);
}

/* Was a descriptor ever written? Only asked about rings at index 0, which a new driver has cleared.
 * After a multiple of 65536 buffers an old one is at 0 as well. */
static bool ring_was_used(const struct vu_session *session, const struct vu_ring *ring)
{
    uint64_t bytes = (uint64_t)ring->vq.size * 16, address;
    const uint8_t *table = vu_guest_memory(&session->memory, ring->vq.desc, &bytes);
    for (uint64_t at = 0; table && at + 16 <= bytes; at += 16) {
        memcpy(&address, table + at, sizeof address);
        if (address != 0)
            return true;
    }
    return false;
}

/* Rings start. Is that the driver that was there when they stopped? Its rings go on where they
 * were, all of them; those of a new one begin at 0. Where in doubt it is new: who takes a new
 * driver for the old one may discard memory that is in use. */
static bool same_driver(const struct vu_session *session)
{
    bool begun = false;
    for (size_t i = 0; i < VU_QUEUES; i++) {
        const struct vu_ring *ring = &session->ring[i];
        if (ring->kick < 0)
            continue;
        if (ring->vq.next_avail != ring->stopped_at || ring->vq.next_used != ring->stopped_used)
            return false;
        begun = begun || ring->vq.next_avail != 0 || ring->vq.next_used != 0 ||
                ring_was_used(session, ring);
    }
    return begun;
}

static bool choose_features(const struct vu_session *session)
{
    uint64_t ours = RING_FEATURES | F_PROTOCOL_FEATURES;
    return session->device->set_features(session->self, session->features & ~ours);
}

/* Tell the device when the first ring begins or the last one ends. */
static void update_running(struct vu_session *session)
{
    bool any = false;
    for (size_t i = 0; i < VU_QUEUES; i++)
        any |= session->ring[i].kick >= 0 && session->ring[i].enabled;
    if (any == session->running)
        return;
    session->running = any;
    if (any) {
        if (session->paused && !same_driver(session)) {
            driver_left(session);
            choose_features(session);
        }
        session->paused = false;
        session->device->started(session->self);
    } else {
        for (size_t i = 0; i < VU_QUEUES; i++) {
            session->ring[i].stopped_at = session->ring[i].vq.next_avail;
            session->ring[i].stopped_used = session->ring[i].vq.next_used;
        }
        session->paused = true;
        session->device->stopped(session->self);
    }
}

static void stop_rings(struct vu_session *session)
{
    for (size_t i = 0; i < VU_QUEUES; i++) {
        close_fd(&session->ring[i].kick);
        session->ring[i].enabled = false;
    }
    update_running(session);
}

static struct vu_ring *ring_at(struct vu_session *session, uint64_t index)
{
    return index < VU_QUEUES ? &session->ring[index] : NULL;
}

static enum outcome set_ring_kick(struct vu_session *session, uint64_t number)
{
    struct vu_ring *ring = ring_at(session, number & RING_INDEX_MASK);
    /* Without an eventfd we would have to poll the ring all the time. */
    if (!ring || (number & RING_NO_FD))
        return REFUSED;
    if (!vu_ring_begin(session, ring))
        return REFUSED;
    int fd = take_fd(session, 0);
    if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        close_fd(&fd);
        return REFUSED;
    }
    close_fd(&ring->kick);
    ring->kick = fd;
    ring->broken = false;
    ring->more = true;
    /* A front-end that did not take the protocol features cannot enable a ring: it just runs. */
    if (!(session->features & F_PROTOCOL_FEATURES))
        ring->enabled = true;
    return DONE;
}

static enum outcome set_ring_call(struct vu_session *session, uint64_t number)
{
    struct vu_ring *ring = ring_at(session, number & RING_INDEX_MASK);
    if (!ring)
        return REFUSED;
    close_fd(&ring->call);
    ring->call = take_fd(session, 0);
    if (ring->call < 0)
        return number & RING_NO_FD ? DONE : REFUSED;
    return fcntl(ring->call, F_SETFL, O_NONBLOCK) < 0 ? REFUSED : DONE;
}

static enum outcome set_ring_size(struct vu_session *session, struct ring_state state)
{
    struct vu_ring *ring = ring_at(session, state.index);
    bool power_of_two = state.value && (state.value & (state.value - 1)) == 0;
    if (!ring || ring->kick >= 0 || !power_of_two || state.value > VQ_SIZE_MAX)
        return REFUSED;
    ring->vq.size = state.value;
    return DONE;
}

static enum outcome set_ring_address(struct vu_session *session, const struct ring_address *a)
{
    struct vu_ring *ring = ring_at(session, a->index);
    if (!ring)
        return REFUSED;
    ring->desc = a->desc;
    ring->avail = a->avail;
    ring->used = a->used;
    ring->addressed = true;
    if (ring->kick >= 0 && !vu_ring_locate(session, ring))
        ring->broken = true;
    return DONE;
}

static enum outcome set_ring_base(struct vu_session *session, struct ring_state state)
{
    struct vu_ring *ring = ring_at(session, state.index);
    if (!ring || ring->kick >= 0)
        return REFUSED;
    ring->vq.next_avail = (uint16_t)state.value;
    return DONE;
}

static enum outcome set_ring_enable(struct vu_session *session, struct ring_state state)
{
    struct vu_ring *ring = ring_at(session, state.index);
    if (!ring)
        return REFUSED;
    ring->enabled = state.value != 0;
    ring->more = true;
    return DONE;
}

static enum outcome set_memory(struct vu_session *session, const struct memory_table *table)
{
    struct vu_region new[VU_REGIONS];
    for (size_t i = 0; i < table->count; i++)
        new[i] = (struct vu_region){.guest = table->region[i].guest,
                                    .user = table->region[i].user,
                                    .bytes = table->region[i].bytes,
                                    .offset = table->region[i].offset,
                                    .fd = take_fd(session, i)};
    const char *refused = vu_memory_replace(session, new, table->count);
    session->device->memory(session->self, refused);
    return refused ? REFUSED : DONE;
}

/* --- messages ---------------------------------------------------------------------------- */

static bool answer(struct vu_session *session, uint32_t request, const void *payload, size_t bytes)
{
    uint8_t buffer[sizeof(struct header) + sizeof(union payload)];
    struct header header = {request, VERSION | REPLY, (uint32_t)bytes};
    memcpy(buffer, &header, sizeof header);
    memcpy(buffer + sizeof header, payload, bytes);
    size_t all = sizeof header + bytes;
    /* A front-end that does not read its answers does not deserve any. */
    return send(session->socket, buffer, all, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)all;
}

static enum outcome answer_number(struct vu_session *session, uint32_t request, uint64_t number)
{
    return answer(session, request, &number, sizeof number) ? ANSWERED : REFUSED;
}

static enum outcome get_ring_base(struct vu_session *session, struct ring_state state)
{
    struct vu_ring *ring = ring_at(session, state.index);
    if (!ring)
        return REFUSED;
    close_fd(&ring->kick);
    close_fd(&ring->call);
    state.value = ring->vq.next_avail;
    update_running(session);
    return answer(session, GET_VRING_BASE, &state, sizeof state) ? ANSWERED : REFUSED;
}

static enum outcome get_config(struct vu_session *session, struct config_space config, size_t bytes)
{
    size_t head = offsetof(struct config_space, data);
    if (config.bytes > VU_CONFIG_MAX || bytes != head + config.bytes)
        return REFUSED;
    session->device->config_read(session->self, config.offset, config.data, config.bytes);
    return answer(session, GET_CONFIG, &config, bytes) ? ANSWERED : REFUSED;
}

static enum outcome set_config(struct vu_session *session, struct config_space config, size_t bytes)
{
    if (config.bytes > VU_CONFIG_MAX || bytes != offsetof(struct config_space, data) + config.bytes)
        return REFUSED;
    /* A guest in a pause writes nothing: this is a new driver, on its way. */
    driver_left(session);
    session->device->config_write(session->self, config.offset, config.data, config.bytes);
    return DONE;
}

static uint64_t offered(const struct vu_session *session)
{
    return session->device->features(session->self) | RING_FEATURES | F_PROTOCOL_FEATURES;
}

static enum outcome get_features(struct vu_session *session)
{
    /* Linux' virtio_uml forgets the protocol features when its driver drops another feature. It
     * cannot disable rings then; that it asks for the features again is all we hear when its
     * driver goes away, and the rings' memory is the guest's again after our answer. */
    if (session->running && !(session->features & F_PROTOCOL_FEATURES))
        stop_rings(session);
    /* With them it disables the rings first. Nobody asks in a pause. */
    driver_left(session);
    return answer_number(session, GET_FEATURES, offered(session));
}

static enum outcome set_features(struct vu_session *session, uint64_t chosen)
{
    if (chosen & ~offered(session))
        return REFUSED;
    /* Only dirty logging, which we do not offer, changes the features of a driver at work. */
    stop_rings(session);
    if (chosen != session->features)
        driver_left(session);
    for (size_t i = 0; i < VU_QUEUES; i++)
        session->ring[i].addressed = false;
    session->features = chosen;
    return choose_features(session) ? DONE : REFUSED;
}

/* The shortest payload that each request may have. */
static size_t least_payload(uint32_t request, const union payload *payload)
{
    switch (request) {
    case SET_FEATURES:
    case SET_PROTOCOL_FEATURES:
    case SET_VRING_KICK:
    case SET_VRING_CALL:
    case SET_VRING_ERR:
        return sizeof payload->number;
    case SET_VRING_NUM:
    case SET_VRING_BASE:
    case GET_VRING_BASE:
    case SET_VRING_ENABLE:
        return sizeof payload->state;
    case SET_VRING_ADDR:
        return sizeof payload->address;
    case SET_MEM_TABLE:
        if (payload->table.count > VU_REGIONS)
            return SIZE_MAX;
        return offsetof(struct memory_table, region) +
               payload->table.count * sizeof payload->table.region[0];
    case GET_CONFIG:
    case SET_CONFIG:
        return offsetof(struct config_space, data);
    default:
        return 0;
    }
}

static enum outcome handle(struct vu_session *session, uint32_t request,
                           const union payload *payload, size_t bytes)
{
    if (bytes < least_payload(request, payload))
        return REFUSED;
    switch (request) {
    case GET_FEATURES:
        return get_features(session);
    case SET_FEATURES:
        return set_features(session, payload->number);
    case GET_PROTOCOL_FEATURES:
        return answer_number(session, request, P_ALL);
    case SET_PROTOCOL_FEATURES:
        session->protocol = payload->number & P_ALL;
        return DONE;
    case SET_OWNER:
    case SET_VRING_ERR:
        return DONE;
    case RESET_OWNER:
    case RESET_DEVICE:
        stop_rings(session);
        driver_left(session);
        return DONE;
    case SET_MEM_TABLE:
        return set_memory(session, &payload->table);
    case SET_VRING_NUM:
        return set_ring_size(session, payload->state);
    case SET_VRING_ADDR:
        return set_ring_address(session, &payload->address);
    case SET_VRING_BASE:
        return set_ring_base(session, payload->state);
    case GET_VRING_BASE:
        return get_ring_base(session, payload->state);
    case SET_VRING_KICK:
        return set_ring_kick(session, payload->number);
    case SET_VRING_CALL:
        return set_ring_call(session, payload->number);
    case SET_VRING_ENABLE:
        return set_ring_enable(session, payload->state);
    case SET_BACKEND_REQ_FD:
        close_fd(&session->back);
        session->back = take_fd(session, 0);
        return session->back >= 0 && fcntl(session->back, F_SETFL, O_NONBLOCK) == 0 ? DONE
                                                                                    : REFUSED;
    case GET_CONFIG:
        return get_config(session, payload->config, bytes);
    case SET_CONFIG:
        return set_config(session, payload->config, bytes);
    default:
        return REFUSED;
    }
}

/* Read what is still missing of the message, without ever waiting for it. */
static ssize_t receive(struct vu_session *session, size_t wanted)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * VU_REGIONS)];
    } control;
    struct iovec piece = {session->message + session->have, wanted - session->have};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got = recvmsg(session->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return got;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (session->fd_count < VU_REGIONS)
                session->fds[session->fd_count++] = fd;
            else
                close(fd);
        }
    }
    session->have += (size_t)got;
    return got;
}

bool vu_session_input(struct vu_session *session)
{
    struct header header = {0, 0, 0};
    size_t wanted = sizeof header;
    for (;;) {
        if (session->have >= sizeof header) {
            memcpy(&header, session->message, sizeof header);
            if (header.bytes > sizeof session->message - sizeof header ||
                (header.flags & VERSION_MASK) != VERSION) {
                session->why = "the front-end sent what is no message";
                return false;
            }
            wanted = sizeof header + header.bytes;
        }
        if (session->have == wanted)
            break;
        ssize_t got = receive(session, wanted);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (got <= 0) {
            session->why = got == 0 ? "the front-end closed the connection" : strerror(errno);
            return false;
        }
    }
    session->have = 0;

    union payload payload = {0};
    size_t known = header.bytes < sizeof payload ? header.bytes : sizeof payload;
    memcpy(&payload, session->message + sizeof header, known);
    enum outcome outcome = handle(session, header.request, &payload, header.bytes);
    drop_fds(session);
    update_running(session);
    if (outcome == ANSWERED)
        return true;
    if ((session->protocol & P_REPLY_ACK) && (header.flags & NEED_REPLY)) {
        session->why = "the front-end does not read its answers";
        return answer_number(session, header.request, outcome == DONE ? 0 : 1) == ANSWERED;
    }
    session->why = "a request was refused"; /* there is no other way to refuse */
    return outcome == DONE;
}

bool vu_session_config_changed(struct vu_session *session)
{
    struct header header = {BACKEND_CONFIG_CHANGE, VERSION, 0};
    /* Only a device that runs has a driver to tell; what is new is told when it runs again. */
    if (!session->running)
        return true;
    if (session->back < 0 || !(session->protocol & P_BACKEND_REQ))
        return false;
    /* Linux' virtio_uml gives us a pipe here, so this cannot be send(). */
    /* When it is full, there are enough of these in it. */
    return write(session->back, &header, sizeof header) == (ssize_t)sizeof header ||
           errno == EAGAIN;
}

void vu_session_init(struct vu_session *session, const struct vu_device *device, void *self)
{
    *session = (struct vu_session){.socket = -1, .back = -1, .device = device, .self = self};
    for (size_t i = 0; i < VU_REGIONS; i++)
        session->memory.region[i].fd = -1;
    for (size_t i = 0; i < VU_QUEUES; i++)
        session->ring[i] = (struct vu_ring){.kick = -1, .call = -1};
}

void vu_session_open(struct vu_session *session, int socket)
{
    session->socket = socket;
}

void vu_session_close(struct vu_session *session)
{
    stop_rings(session);
    driver_left(session);
    vu_memory_drop(session);
    for (size_t i = 0; i < VU_QUEUES; i++)
        close_fd(&session->ring[i].call);
    drop_fds(session);
    close_fd(&session->back);
    close_fd(&session->socket);
    vu_session_init(session, session->device, session->self);
}
