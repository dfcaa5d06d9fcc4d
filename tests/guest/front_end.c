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
    *fe = (struct front_end){.memfd = memfd_create("guest", MFD_CLOEXEC)};
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
            eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
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
}

void fe_set_up(struct front_end *fe)
{
    uint64_t offered, protocol, table[5] = {1, FE_GUEST, FE_BYTES, FE_USER, 0};
    fe_send(fe, 1, VERSION, NULL, 0, NULL, 0);
    need(fe_receive(fe, &offered, sizeof offered) == sizeof offered, "no features");
    fe_send(fe, 15, VERSION, NULL, 0, NULL, 0);
    need(fe_receive(fe, &protocol, sizeof protocol) == sizeof protocol, "no protocol features");
    request_number(fe, 16, protocol, -1);
    if (fe->features == 0)
        fe->features = offered;
    need((fe->features & ~offered) == 0, "a feature is not offered");
    request_number(fe, 2, fe->features, -1);
    need(fe_request(fe, 5, table, sizeof table, &fe->memfd, 1), "memory is refused");
    fe_start_rings(fe, 0);
}

void fe_start_rings(struct front_end *fe, uint16_t base)
{
    for (unsigned q = 0; q < FE_QUEUES; q++) {
        uint64_t ring = FE_USER + q * 0x4000;
        uint64_t address[5] = {q, ring, ring + 0x2000, ring + 0x1000, 0};
        request_state(fe, 8, q, FE_RING);
        request_state(fe, 10, q, q == 0 ? base : 0);
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
    for (uint64_t end = guest_clock() + 2000; guest_clock() < end; guest_sleep(1)) {
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
