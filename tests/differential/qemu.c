#include "qemu.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROGRAM    "qemu-system-x86_64"
#define TIMEOUT_MS 300000
/* virtio-mmio slots of the microvm machine. */
#define FIRST_SLOT UINT64_C(0xfeb00000)
#define SLOT_BYTES 0x200u
#define SLOTS      24u

enum { MMIO_DEVICE_ID = 8, BALLOON_ID = 5, LATER_MAX = 512, FIRMWARE_BYTES = 65536 };

bool qemu_installed(void)
{
    const char *path = getenv("PATH");
    char file[4096];

    while (path && *path) {
        size_t n = strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/" PROGRAM, (int)n, path);
        if (access(file, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

/* What QEMU said on its standard output and error, for a message. */
static const char *last_words(struct qemu *q)
{
    ssize_t n;

    fcntl(q->kept.out, F_SETFL, O_NONBLOCK);
    n = read(q->kept.out, q->line, sizeof q->line - 1);
    q->line[n > 0 ? n : 0] = '\0';
    return q->line;
}

static void wait_for(struct qemu *q, int fd, const char *what)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int ready;

    while ((ready = poll(&one, 1, TIMEOUT_MS)) < 0 && errno == EINTR)
        ;
    cr_assert(ready > 0, "QEMU does not answer (%s, asked: %s): %s", what, q->asked, last_words(q));
}

/* --- lines ------------------------------------------------------------------------------------ */

static void send_text(struct qemu *q, int fd, const char *text, size_t n)
{
    snprintf(q->asked, sizeof q->asked, "%.*s", (int)n - 1, text);
    while (n) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        cr_assert(sent > 0, "QEMU is gone: %s", last_words(q));
        text += sent;
        n -= (size_t)sent;
    }
}

/* One line of an answer. QEMU sends no more than one that was not asked for, except for events, so
 * that peeking is cheap enough. */
static char *read_line(struct qemu *q, int fd)
{
    size_t used = 0;

    for (;;) {
        wait_for(q, fd, "line");
        ssize_t n = recv(fd, q->line + used, sizeof q->line - 1 - used, MSG_PEEK);
        cr_assert(n > 0, "QEMU is gone: %s", last_words(q));
        char *end = memchr(q->line + used, '\n', (size_t)n);
        size_t take = end ? (size_t)(end - q->line) + 1 - used : (size_t)n;
        cr_assert(recv(fd, q->line + used, take, 0) == (ssize_t)take);
        used += take;
        if (end) {
            q->line[used - 1] = '\0';
            return q->line;
        }
        cr_assert(used < sizeof q->line - 1, "QEMU sends too long a line");
    }
}

static void read_ok(struct qemu *q)
{
    read_line(q, q->qtest);
    cr_assert(strncmp(q->line, "OK", 2) == 0, "qtest answers %s", q->line);
}

void qemu_sync(struct qemu *q)
{
    while (q->later) {
        read_ok(q);
        q->later--;
    }
}

void qemu_write(struct qemu *q, uint64_t address, unsigned width, uint32_t value)
{
    char text[64];
    int n = snprintf(text, sizeof text, "write%c 0x%llx 0x%x\n", " bw l"[width],
                     (unsigned long long)address, value);

    send_text(q, q->qtest, text, (size_t)n);
    if (++q->later == LATER_MAX)
        qemu_sync(q);
}

uint32_t qemu_read(struct qemu *q, uint64_t address, unsigned width)
{
    char text[64];
    int n =
        snprintf(text, sizeof text, "read%c 0x%llx\n", " bw l"[width], (unsigned long long)address);

    qemu_sync(q);
    send_text(q, q->qtest, text, (size_t)n);
    read_ok(q);
    return (uint32_t)strtoull(q->line + 3, NULL, 0);
}

const char *qemu_command(struct qemu *q, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    qemu_sync(q);
    send_text(q, q->qmp, text, (size_t)n);
    do
        read_line(q, q->qmp);
    while (strstr(q->line, "\"event\":"));
    cr_assert(strstr(q->line, "\"return\""), "%s answers %s", text, q->line);
    return q->line;
}

/* --- start and end ---------------------------------------------------------------------------- */

static int listen_at(const char *directory, const char *name, char *path, size_t room)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(path, room, "%.64s/%s", directory, name);
    memcpy(address.sun_path, path, strlen(path) + 1);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                  listen(fd, 1) == 0,
              "%s: %s", path, strerror(errno));
    return fd;
}

static int accept_at(struct qemu *q, int listener)
{
    wait_for(q, listener, "start");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    cr_assert(fd >= 0);
    close(listener);
    return fd;
}

/* Firmware that halts. The machine must run, or QEMU would leave its timers alone; and an
 * accelerator that runs nothing is not in every build of QEMU. */
static void write_firmware(struct qemu *q, char *path, size_t room)
{
    static const unsigned char halt[] = {0xfa, 0xf4, 0xeb, 0xfc}; /* cli; hlt; jmp to the start */

    snprintf(path, room, "%.64s/firmware", q->kept.directory);
    FILE *file = fopen(path, "w");
    cr_assert(file && fseek(file, FIRMWARE_BYTES - 16, SEEK_SET) == 0 &&
              fwrite(halt, sizeof halt, 1, file) == 1 &&
              ftruncate(fileno(file), FIRMWARE_BYTES) == 0 && fclose(file) == 0);
}

static void run(struct qemu *q, const struct qemu_setup *setup, int memory)
{
    char qtest[128], qmp[128], firmware[128], ram[128], device[192], chardev[192];

    cr_assert(keeper_prepare(&q->kept) == 0);
    write_firmware(q, firmware, sizeof firmware);
    int qtest_listener = listen_at(q->kept.directory, "qtest", qtest, sizeof qtest);
    int qmp_listener = listen_at(q->kept.directory, "qmp", qmp, sizeof qmp);
    char qtest_option[160];
    snprintf(qtest_option, sizeof qtest_option, "unix:%s", qtest);
    snprintf(chardev, sizeof chardev, "socket,id=qmp,path=%s", qmp);
    snprintf(ram, sizeof ram,
             "memory-backend-file,id=ram,share=on,size=%zu,mem-path=/proc/%d/fd/%d", QEMU_BYTES,
             (int)getpid(), memory);
    snprintf(device, sizeof device,
             "virtio-balloon-device,id=balloon0,deflate-on-oom=on,free-page-reporting=%s,"
             "page-poison=%s%s",
             setup->reporting ? "on" : "off", setup->poison ? "on" : "off",
             setup->hinting ? ",free-page-hint=on,iothread=thread0" : "");
    char size[32];
    snprintf(size, sizeof size, "%zuk", QEMU_BYTES >> 10);
    const char *global =
        setup->legacy ? "virtio-mmio.force-legacy=true" : "virtio-mmio.force-legacy=false";
    const char *const argv[] = {PROGRAM,
                                "-nodefaults",
                                "-no-user-config",
                                "-display",
                                "none",
                                "-accel",
                                "tcg",
                                "-bios",
                                firmware,
                                "-qtest",
                                qtest_option,
                                "-qtest-log",
                                "/dev/null",
                                "-chardev",
                                chardev,
                                "-mon",
                                "chardev=qmp,mode=control",
                                "-m",
                                size,
                                "-object",
                                ram,
                                "-M",
                                "microvm,memory-backend=ram",
                                "-object",
                                "iothread,id=thread0",
                                "-global",
                                global,
                                "-device",
                                device,
                                NULL};

    cr_assert(keeper_start(&q->kept, argv, NULL) == 0, "cannot start a process");
    q->qtest = accept_at(q, qtest_listener);
    q->qmp = accept_at(q, qmp_listener);
}

void qemu_start(struct qemu *q, const struct qemu_setup *setup)
{
    *q = (struct qemu){.qtest = -1, .qmp = -1};
    int memory = memfd_create("guest", MFD_CLOEXEC);
    cr_assert(memory >= 0 && ftruncate(memory, QEMU_BYTES) == 0);
    q->ram = mmap(NULL, QEMU_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    cr_assert(q->ram != MAP_FAILED);

    run(q, setup, memory);
    read_line(q, q->qmp);
    qemu_command(q, "{\"execute\":\"qmp_capabilities\"}\n");
    const char *version =
        strstr(qemu_command(q, "{\"execute\":\"query-version\"}\n"), "\"major\": ");
    cr_assert(version && sscanf(version, "\"major\": %u", &q->major) == 1, "no version: %s",
              q->line);
    close(memory);
    for (unsigned i = 0; i < SLOTS && !q->base; i++) {
        uint64_t at = FIRST_SLOT + (uint64_t)i * SLOT_BYTES;
        if (qemu_read(q, at + MMIO_DEVICE_ID, 4) == BALLOON_ID)
            q->base = at;
    }
    cr_assert(q->base, "no balloon device in this QEMU");
}

void qemu_end(struct qemu *q)
{
    close(q->qtest);
    close(q->qmp);
    keeper_end(&q->kept);
    munmap(q->ram, QEMU_BYTES);
}
