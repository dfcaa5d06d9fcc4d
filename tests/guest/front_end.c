/* See front_end.h. */
#include "front_end.h"

#include "guest.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { VERSION = 1, NEED_REPLY = 8 };

struct header {
    uint32_t request, flags, bytes;
};

static void need(bool truth, const char *what)
{
    if (!truth)
        guest_failed(what);
}

void fe_send(struct front_end *fe, uint32_t request, uint32_t flags, const void *payload,
             size_t bytes, const int *fds, size_t count)
{
    struct header header = {request, flags, (uint32_t)bytes};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 8)];
    } control;
    struct iovec pieces[] = {{&header, sizeof header}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = bytes ? 2 : 1};
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    sendmsg(fe->socket, &message, MSG_NOSIGNAL);
}

size_t fe_receive(struct front_end *fe, void *payload, size_t bytes)
{
    struct header header;
    if (recv(fe->socket, &header, sizeof header, MSG_WAITALL) != sizeof header)
        return 0;
    need(header.bytes <= bytes, "an answer is too long");
    if (recv(fe->socket, payload, header.bytes, MSG_WAITALL) != (ssize_t)header.bytes)
        return 0;
    return header.bytes;
}

bool fe_request(struct front_end *fe, uint32_t request, const void *payload, size_t bytes,
                const int *fds, size_t count)
{
    uint64_t refused = 1;
    fe_send(fe, request, VERSION | NEED_REPLY, payload, bytes, fds, count);
    return fe_receive(fe, &refused, sizeof refused) == sizeof refused && refused == 0;
}

static void request_number(struct front_end *fe, uint32_t request, uint64_t number, int fd)
{
    need(fe_request(fe, request, &number, sizeof number, &fd, fd >= 0 ? 1 : 0),
         "the back-end refuses a sane request");
}

static void request_state(struct front_end *fe, uint32_t request, uint32_t index, uint32_t value)
{
    uint32_t state[2] = {index, value};
    need(fe_request(fe, request, state, sizeof state, NULL, 0),
         "the back-end refuses a sane ring state");
}

void fe_connect(struct front_end *fe, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *fe = (struct front_end){.back = -1, .memfd = memfd_create("guest", MFD_CLOEXEC)};
    need(fe->memfd >= 0 && ftruncate(fe->memfd, FE_BYTES) == 0, "no memory");
    fe->ram = mmap(NULL, FE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fe->memfd, 0);
    need(fe->ram != MAP_FAILED, "no memory");
    fe->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Nothing here takes long; whoever waits for more than this waits for ever. */
    struct timeval patience = {.tv_sec = 10};
    setsockopt(fe->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    memcpy(address.sun_path, path, strlen(path));
    need(connect(fe->socket, (struct sockaddr *)&address, sizeof address) == 0, "cannot connect");
    for (unsigned q = 0; q < FE_QUEUES; q++) {
        uint8_t *page = fe->ram + q * 0x4000;
        fe->ring[q] = (struct fe_ring){
            (struct fe_desc *)(void *)page, (uint16_t *)(void *)(page + 0x1000),
            (uint16_t *)(void *)(page + 0x2000), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
            eventfd(0, EFD_CLOEXEC)}; /* the back-end must see to it that it does not wait */
    }
}

void fe_close(struct front_end *fe)
{
    for (unsigned q = 0; q < FE_QUEUES; q++) {
        close(fe->ring[q].kick);
        close(fe->ring[q].call);
    }
    munmap(fe->ram, FE_BYTES);
    close(fe->memfd);
    close(fe->socket);
    if (fe->back >= 0)
        close(fe->back);
}

void fe_set_up(struct front_end *fe)
{
    fe_greet(fe);
    fe_choose(fe);
    fe_share(fe);
    fe_start_rings(fe, NULL);
}

static void open_back_channel(struct front_end *fe)
{
    int ends[2];
    need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
         "no socket pair");
    fe->back = ends[0];
    need(fe_request(fe, 21, NULL, 0, &ends[1], 1), "the back channel is refused");
    close(ends[1]);
}

void fe_greet(struct front_end *fe)
{
    uint64_t offered, protocol;
    fe_send(fe, 1, VERSION, NULL, 0, NULL, 0);
    need(fe_receive(fe, &offered, sizeof offered) == sizeof offered, "no features");
    fe_send(fe, 15, VERSION, NULL, 0, NULL, 0);
    need(fe_receive(fe, &protocol, sizeof protocol) == sizeof protocol, "no protocol features");
    request_number(fe, 16, protocol, -1);
    if (fe->features == 0)
        fe->features = offered;
    need((fe->features & ~offered) == 0, "a feature is not offered");
    open_back_channel(fe);
}

void fe_choose(struct front_end *fe)
{
    request_number(fe, 2, fe->features, -1);
}

void fe_share(struct front_end *fe)
{
    uint64_t table[5] = {1, FE_GUEST, FE_BYTES, FE_USER, 0};
    need(fe_request(fe, 5, table, sizeof table, &fe->memfd, 1), "memory is refused");
}

void fe_start_rings(struct front_end *fe, const uint16_t *bases)
{
    for (unsigned q = 0; q < FE_QUEUES; q++) {
        uint64_t ring = FE_USER + q * 0x4000;
        uint64_t address[5] = {q, ring, ring + 0x2000, ring + 0x1000, 0};
        request_state(fe, 8, q, FE_RING);
        request_state(fe, 10, q, bases ? bases[q] : 0);
        need(fe_request(fe, 9, address, sizeof address, NULL, 0), "ring addresses are refused");
        request_number(fe, 13, q, fe->ring[q].call);
        request_number(fe, 12, q, fe->ring[q].kick);
    }
    if (fe->features & (uint64_t)1 << 30)
        fe_enable(fe, true);
}

void fe_enable(struct front_end *fe, bool enable)
{
    for (unsigned q = 0; q < FE_QUEUES; q++)
        request_state(fe, 18, q, enable);
}

void fe_stop(struct front_end *fe, uint16_t bases[FE_QUEUES])
{
    fe_enable(fe, false);
    for (uint32_t q = 0; q < FE_QUEUES; q++) {
        uint32_t state[2] = {q, 0};
        fe_send(fe, 11, VERSION, state, sizeof state, NULL, 0);
        need(fe_receive(fe, state, sizeof state) == sizeof state, "a ring does not stop");
        bases[q] = (uint16_t)state[1];
    }
}

void fe_go_on(struct front_end *fe, const uint16_t bases[FE_QUEUES])
{
    fe_choose(fe);
    fe_share(fe);
    fe_start_rings(fe, bases);
}

struct config_access {
    uint32_t offset, bytes, flags;
    uint8_t data[256];
};

void fe_config_read(struct front_end *fe, uint32_t offset, void *bytes, uint32_t count)
{
    struct config_access access = {offset, count, 0, {0}};
    fe_send(fe, 24, VERSION, &access, 12 + count, NULL, 0);
    need(fe_receive(fe, &access, sizeof access) == 12 + count, "the configuration is not told");
    memcpy(bytes, access.data, count);
}

bool fe_config_write(struct front_end *fe, uint32_t offset, const void *bytes, uint32_t count)
{
    struct config_access access = {offset, count, 0, {0}};
    memcpy(access.data, bytes, count);
    return fe_request(fe, 25, &access, 12 + count, NULL, 0);
}

bool fe_config_told(struct front_end *fe)
{
    struct header header;
    bool told = false;
    while (recv(fe->back, &header, sizeof header, 0) == sizeof header) {
        need(header.request == 2 && header.bytes == 0, "the back-end asks for something unknown");
        told = true;
    }
    return told;
}

void fe_offer(struct front_end *fe, unsigned queue, uint16_t head)
{
    struct fe_ring *ring = &fe->ring[queue];
    uint64_t one = 1;
    uint16_t index = ring->avail[1];
    ring->avail[2 + index % FE_RING] = head;
    __atomic_store_n(&ring->avail[1], (uint16_t)(index + 1), __ATOMIC_RELEASE);
    need(write(ring->kick, &one, sizeof one) == sizeof one, "cannot kick");
}

uint16_t fe_wait_used(struct front_end *fe, unsigned queue, uint16_t index)
{
    uint16_t used = 0;
    for (uint64_t end = guest_deadline(2); guest_clock() < end; guest_sleep(1)) {
        used = __atomic_load_n(&fe->ring[queue].used[1], __ATOMIC_ACQUIRE);
        if (used == index)
            break;
    }
    return used;
}

bool fe_interrupted(struct front_end *fe, unsigned queue)
{
    uint64_t count;
    return read(fe->ring[queue].call, &count, sizeof count) == sizeof count;
}
