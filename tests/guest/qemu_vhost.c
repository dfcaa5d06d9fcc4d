/* A stock Linux kernel in a stock QEMU, whose balloon device is the vhost-user example. QEMU 11.1
 * is the first that lets a user attach one; without KVM a guest boots in 5 to 40 s. */
#include "../differential/qemu.h"
#include "guest.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEVICE "vhost-user-test-device-pci"

enum { PAGES_PER_MIB = 256, MIB = 512, MISSED_SECONDS = 30 };

static struct backend *backend;
static struct linux_guest *guest;
static struct qemu monitor; /* only its QMP side is in use */

/* --- start and end ----------------------------------------------------------------------- */

static const char *program(void)
{
    const char *value = getenv("BALLOON_QEMU");
    return value && *value ? value : "qemu-system-x86_64";
}

static void need_qemu(void)
{
    char command[4200];
    snprintf(command, sizeof command,
             "'%s' -device " DEVICE ",help 2>/dev/null | grep -q virtio-id", program());
    if (system(command) != 0)
        cr_skip_test("no QEMU with " DEVICE " (11.1): BALLOON_QEMU can name one");
    const char *missing = guest_image_missing("qemu");
    if (missing)
        cr_skip_test("no guest for QEMU: %s", missing);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path) + 1);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
              listen(fd, 1) == 0);
    return fd;
}

static void open_monitor(int listener)
{
    char c = 0;
    monitor =
        (struct qemu){.kept = {.out = -1}, .qtest = -1, .qmp = accept4(listener, NULL, NULL, 0)};
    cr_assert_geq(monitor.qmp, 0);
    close(listener);
    while (c != '\n') /* its greeting */
        cr_assert_eq(read(monitor.qmp, &c, 1), 1);
    qemu_command(&monitor, "{\"execute\":\"qmp_capabilities\"}\n");
}

static void tell(const char *command)
{
    qemu_command(&monitor, "{\"execute\":\"%s\"}\n", command);
}

/* The exact command line of docs/vhost-user.md, but for what a test needs beside it. */
static void start(const char *kernel_options, const char *share)
{
    char home[64], path[96], qmp[128], socket[96], chardev[128], memory[96], kernel[4200],
        initrd[4200], append[256], size[16];
    const char *no_options[] = {NULL};
    backend = backend_start(1, no_options);
    backend_socket(backend, 0, socket, sizeof socket);
    guest = linux_prepare(home, sizeof home);
    snprintf(path, sizeof path, "%s/qmp", home);
    snprintf(qmp, sizeof qmp, "socket,id=qmp,path=%s", path);
    snprintf(chardev, sizeof chardev, "socket,id=c0,path=%s", socket);
    snprintf(memory, sizeof memory, "memory-backend-memfd,id=mem,size=%uM,share=%s", MIB, share);
    snprintf(size, sizeof size, "%u", MIB);
    guest_image_path(kernel, sizeof kernel, "qemu.kernel");
    guest_image_path(initrd, sizeof initrd, "qemu.gz");
    snprintf(append, sizeof append, "console=ttyS0 quiet mitigations=off rdinit=/init %s",
             kernel_options);
    const char *argv[] = {program(),
                          "-M",
                          "q35,memory-backend=mem",
                          "-m",
                          size,
                          "-object",
                          memory,
                          "-chardev",
                          chardev,
                          "-device",
                          DEVICE ",chardev=c0,virtio-id=5,num_vqs=5,vq_size=128,config_size=16",
                          "-accel",
                          "tcg,tb-size=64",
                          "-nodefaults",
                          "-display",
                          "none",
                          "-serial",
                          "stdio",
                          "-chardev",
                          qmp,
                          "-mon",
                          "chardev=qmp,mode=control",
                          "-kernel",
                          kernel,
                          "-initrd",
                          initrd,
                          "-append",
                          append,
                          NULL};
    int listener = listen_at(path);
    linux_boot(guest, argv, NULL);
    open_monitor(listener);
}

static void end(void)
{
    close(monitor.qmp);
    linux_end(guest);
    backend_end(backend);
}

/* --- questions --------------------------------------------------------------------------- */

static uint64_t number(const char *name)
{
    return backend_number(backend, 0, name);
}

static void wait_for_balloon(unsigned mib)
{
    for (uint64_t end = guest_deadline(60);; guest_sleep(20)) {
        const char *status = backend_ask(backend, "status");
        if (answer_number(status, "settled") &&
            answer_number(status, "held") == mib * PAGES_PER_MIB)
            break;
        cr_assert(guest_clock() < end, "the target of %u MiB is not reached: %s", mib, status);
    }
}

static void inflate_to(unsigned mib)
{
    backend_do(backend, "target %u", mib);
    wait_for_balloon(mib);
}

/* --- tests ------------------------------------------------------------------------------- */

/* With init_on_free the driver promises pages of zeros, in a field that QEMU passes on before the
 * features are chosen. */
Test(qemu_vhost, free_pages_are_reported_and_the_balloon_goes_up_and_down, .timeout = 300)
{
    need_qemu();
    start("init_on_free=1", "on");
    backend_wait(backend, 0, "driver", 1, 20);
    linux_run(guest, 60, "memwork fill /tmp/x 200 1 >/dev/null");
    uint64_t before = linux_host_bytes(guest), back = 0;
    linux_run(guest, 60, "rm /tmp/x");
    for (uint64_t end = guest_deadline(60); back < 180u << 20; guest_sleep(50)) {
        back = before - linux_host_bytes(guest);
        cr_assert(guest_clock() < end, "%llu of 200 MiB came back: %s",
                  (unsigned long long)back >> 20, backend_ask(backend, "status"));
    }

    inflate_to(300);
    uint64_t most = linux_host_bytes(guest);
    cr_assert_leq(most, (uint64_t)(MIB - 290) << 20, "%llu MiB are still there",
                  (unsigned long long)most >> 20);
    const char *stats = backend_ask(backend, "stats");
    cr_assert_gt(answer_number(stats, "total"), 400u << 20);
    inflate_to(0);
    cr_assert_eq(number("inflated"), number("deflated"));
    cr_assert_eq(number("protocol_errors"), 0u);
    cr_assert_eq(number("deflate_unheld"), 0u);
    end();
}

Test(qemu_vhost, pauses_keep_the_balloon_and_resets_do_not, .timeout = 300)
{
    need_qemu();
    start("", "on");
    inflate_to(100);
    tell("stop");
    cr_assert_eq(number("paused"), 1u);
    cr_assert_eq(number("driver"), 1u);
    cr_assert_eq(number("held"), 100u * PAGES_PER_MIB);
    cr_assert_eq(number("actual"), 100u * PAGES_PER_MIB);
    backend_do(backend, "target 200");
    cr_assert_not_null(strstr(backend_ask(backend, "stats"), "statistics are late"));
    tell("cont");
    wait_for_balloon(200);
    cr_assert_eq(number("inflated"), 200u * PAGES_PER_MIB, "it went on where it was");
    cr_assert_gt(answer_number(backend_ask(backend, "stats"), "free"), 0u);

    linux_run(guest, 60, "rmmod virtio_balloon");
    cr_assert_eq(number("held"), 0u);
    linux_run(guest, 60, "insmod /virtio_balloon.ko");
    wait_for_balloon(200);
    cr_assert_eq(backend_events(backend, "driver_left"), 1u);

    /* The guest forgets its balloon; the target stays. */
    tell("system_reset");
    linux_wait_ready(guest);
    wait_for_balloon(200);
    cr_assert_eq(backend_events(backend, "driver_left"), 2u);
    cr_assert_eq(backend_events(backend, "resumed"), 1u);
    cr_assert_eq(backend_events(backend, "ring_broken"), 0u);
    cr_assert_eq(number("protocol_errors"), 0u);
    end();
}

/* QEMU keeps the reason to itself. */
Test(qemu_vhost, private_memory_is_missed, .timeout = 300)
{
    need_qemu();
    start("", "off");
    backend_do(backend, "target 100");
    for (uint64_t end = guest_deadline(MISSED_SECONDS); /* its driver may come late */
         !backend_events(backend, "memory_refused"); guest_sleep(50))
        cr_assert(guest_clock() < end, "nobody misses the memory");
    cr_assert_not_null(strstr(backend_ask(backend, "status"), "share=on"));
    cr_assert_eq(number("driver"), 0u);
    end();
}
