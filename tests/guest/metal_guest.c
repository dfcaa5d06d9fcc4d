/* The driver in a kernel of its own, on QEMU's balloon device and on the vhost-user example:
 * tests/guest/metal boots on the microvm machine, without KVM, and is asked over its serial line.
 */
#include <balloon/types.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../differential/qemu.h"
#include "guest.h"

enum { TIMEOUT_MS = 300000, PAGE = 4096, PAGES_PER_MIB = 256, RAM_MIB = 256 };
enum { RAM_PAGES = RAM_MIB * PAGES_PER_MIB };

struct machine {
    struct qemu qemu; /* only its QMP side is in use */
    int serial;
    char line[1024];
    char ready[1024]; /* what the guest said when it had booted */
};

struct machine_setup {
    bool legacy, oom, reporting;
    bool shared;                   /* memory in a file: there reading takes memory on any host */
    const struct backend *backend; /* the device is the example, not QEMU's; memory is shared */
};

#define BACKEND_DEVICE "vhost-user-test-device"

/* --- start and end ---------------------------------------------------------------------------- */

static void image_path(char *path, size_t room)
{
    const char *build = getenv("BALLOON_BUILD");
    snprintf(path, room, "%s/metal/metal.elf", build ? build : "build/lib/..");
}

static void need_machine(void)
{
    char image[4096];

    image_path(image, sizeof image);
    if (!qemu_installed())
        cr_skip_test("qemu-system-x86_64 is not installed: the driver ran on no real device");
    if (access(image, R_OK) != 0)
        cr_skip_test("no compiler for x86-64 kernels: the driver ran on no real device");
}

static const char *program(void)
{
    const char *value = getenv("BALLOON_QEMU");
    return value && *value ? value : "qemu-system-x86_64";
}

static void need_backend(void)
{
    char command[4200];

    need_machine();
    snprintf(command, sizeof command,
             "'%s' -device " BACKEND_DEVICE ",help 2>/dev/null | grep -q virtio-id", program());
    if (system(command) != 0)
        cr_skip_test("no QEMU with " BACKEND_DEVICE " (11.1): BALLOON_QEMU can name one");
}

static int listen_at(const struct machine *m, const char *name, char *path, size_t room)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(path, room, "%s/%s", m->qemu.kept.directory, name);
    memcpy(address.sun_path, path, strlen(path) + 1);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                  listen(fd, 1) == 0,
              "%s: %s", path, strerror(errno));
    return fd;
}

static void wait_for(int fd, const char *what)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int ready;

    while ((ready = poll(&one, 1, TIMEOUT_MS)) < 0 && errno == EINTR)
        ;
    cr_assert(ready > 0, "no answer: %s", what);
}

static int accept_at(int listener)
{
    wait_for(listener, "QEMU does not start");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    cr_assert(fd >= 0);
    close(listener);
    return fd;
}

static void read_line(int fd, char *line, size_t room, const char *what)
{
    for (size_t n = 0;; n++) {
        cr_assert(n < room, "too long a line");
        wait_for(fd, what);
        cr_assert(read(fd, &line[n], 1) == 1, "QEMU is gone: %s", what);
        if (line[n] == '\n') {
            line[n] = '\0';
            return;
        }
    }
}

static void start(struct machine *m, const struct machine_setup *setup)
{
    struct kept *kept = &m->qemu.kept;
    char image[4096], path[128], qmp[192], serial[192], device[192], memory[16], object[64];
    char greeting[1024], socket[160] = "null,id=socket";

    *m = (struct machine){.qemu = {.qtest = -1}};
    cr_assert(keeper_prepare(kept) == 0);
    image_path(image, sizeof image);
    int qmp_listener = listen_at(m, "qmp", path, sizeof path);
    snprintf(qmp, sizeof qmp, "socket,id=qmp,path=%s", path);
    int serial_listener = listen_at(m, "serial", path, sizeof path);
    snprintf(serial, sizeof serial, "socket,id=serial,path=%s", path);
    snprintf(memory, sizeof memory, "%dM", RAM_MIB);
    snprintf(object, sizeof object, "memory-backend-%s,id=ram,size=%dM%s",
             setup->shared ? "memfd" : "ram", RAM_MIB, setup->shared ? ",share=on" : "");
    snprintf(device, sizeof device,
             "virtio-balloon-device,id=balloon0,page-poison=off,deflate-on-oom=%s,"
             "free-page-reporting=%s",
             setup->oom ? "on" : "off", setup->reporting ? "on" : "off");
    if (setup->backend) {
        snprintf(device, sizeof device,
                 BACKEND_DEVICE ",chardev=socket,virtio-id=5,num_vqs=5,vq_size=128,config_size=16");
        backend_socket(setup->backend, 0, path, sizeof path);
        snprintf(socket, sizeof socket, "socket,id=socket,path=%s", path);
    }
    const char *global =
        setup->legacy ? "virtio-mmio.force-legacy=true" : "virtio-mmio.force-legacy=false";
    const char *const argv[] = {setup->backend ? program() : "qemu-system-x86_64",
                                "-nodefaults",
                                "-no-user-config",
                                "-no-reboot",
                                "-display",
                                "none",
                                "-M",
                                "microvm,memory-backend=ram",
                                "-object",
                                object,
                                "-accel",
                                "tcg",
                                "-m",
                                memory,
                                "-kernel",
                                image,
                                "-global",
                                global,
                                "-chardev",
                                socket,
                                "-device",
                                device,
                                "-chardev",
                                qmp,
                                "-mon",
                                "chardev=qmp,mode=control",
                                "-chardev",
                                serial,
                                "-serial",
                                "chardev:serial",
                                NULL};
    /* Else the kernel may fill what the guest gave back, to make large pages of it. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    cr_assert(keeper_start(kept, argv, NULL) == 0, "cannot start a process");
    m->qemu.qmp = accept_at(qmp_listener);
    m->serial = accept_at(serial_listener);
    read_line(m->qemu.qmp, greeting, sizeof greeting, "QEMU's greeting");
    qemu_command(&m->qemu, "{\"execute\":\"qmp_capabilities\"}\n");
    read_line(m->serial, m->ready, sizeof m->ready, "the guest does not boot");
    cr_assert(strncmp(m->ready, "ready ", 6) == 0, "the guest says: %s", m->ready);
}

static void end(struct machine *m)
{
    close(m->qemu.qmp);
    close(m->serial);
    keeper_end(&m->qemu.kept);
}

/* --- questions -------------------------------------------------------------------------------- */

static const char *ask(struct machine *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static const char *ask(struct machine *m, const char *format, ...)
{
    char text[64];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(text, sizeof text - 1, format, args);
    va_end(args);
    text[n] = '\n';
    cr_assert(send(m->serial, text, (size_t)n + 1, MSG_NOSIGNAL) == n + 1, "QEMU is gone");
    text[n] = '\0';
    read_line(m->serial, m->line, sizeof m->line, text);
    return m->line;
}

/* The number after these characters. */
static uint64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    cr_assert_not_null(at, "no %s in: %s", name, text);
    return strtoull(at + strlen(name), NULL, 10);
}

static uint64_t guest_number(struct machine *m, const char *name)
{
    char wanted[32];

    snprintf(wanted, sizeof wanted, " %s=", name);
    return number_after(ask(m, "status"), wanted);
}

/* Pages in the balloon, as QEMU has it from the guest. */
static uint64_t balloon_pages(struct machine *m)
{
    const char *answer = qemu_command(&m->qemu, "{\"execute\":\"query-balloon\"}\n");
    return RAM_PAGES - number_after(answer, "\"actual\": ") / PAGE;
}

/* Bytes of the host's memory that QEMU has. */
static uint64_t resident_bytes(const struct machine *m)
{
    char path[64], line[256];
    unsigned long long kib, sum = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)m->qemu.kept.program);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1 || sscanf(line, "RssShmem: %llu", &kib) == 1)
            sum += kib;
    fclose(file);
    return sum << 10;
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- phases ----------------------------------------------------------------------------------- */

static void set_target(struct machine *m, uint64_t pages)
{
    qemu_command(&m->qemu, "{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}}\n",
                 (unsigned long long)(RAM_PAGES - pages) * PAGE);
}

static void wait_balloon(struct machine *m, uint64_t pages)
{
    for (int64_t stop = clock_ms() + TIMEOUT_MS; balloon_pages(m) != pages; pause_a_little())
        cr_assert(clock_ms() < stop, "%llu pages in the balloon, not %llu; the guest: %s",
                  (unsigned long long)balloon_pages(m), (unsigned long long)pages,
                  ask(m, "status"));
    cr_assert_eq(guest_number(m, "held"), pages, "%s", m->line);
    cr_assert_eq(number_after(m->line, " way="), 0u, "%s", m->line);
    cr_assert_eq(number_after(m->line, " away="), pages, "%s", m->line);
}

static void wait_guest(struct machine *m, const char *name, uint64_t least)
{
    for (int64_t stop = clock_ms() + TIMEOUT_MS; guest_number(m, name) < least; pause_a_little())
        cr_assert(clock_ms() < stop, "%s is not reached: %s", name, m->line);
}

/* Every page that the guest has holds what it wrote there last, what came back from the host is
 * empty, and the driver is in order. The guest reads all of that, and on hosts without a shared
 * zero page reading takes memory: measure before. */
static void check_guest(struct machine *m)
{
    ask(m, "verify");
    cr_assert_eq(number_after(m->line, " bad="), 0u, "%s", m->line);
    cr_assert_eq(number_after(m->line, " stale="), 0u, "%s", m->line);
    cr_assert_eq(number_after(m->line, " wrong="), 0u, "%s", m->line);
    cr_assert_eq(number_after(m->line, " errors="), 0u, "%s", m->line);
    cr_assert_not_null(strstr(m->line, " why=none"), "%s", m->line);
}

/* At least nine tenths of that many pages are the host's again. */
static void check_given_back(struct machine *m, uint64_t before, uint64_t pages)
{
    uint64_t after = resident_bytes(m), bytes = pages * PAGE;

    cr_log_info("%llu pages: %llu KiB resident before, %llu after", (unsigned long long)pages,
                (unsigned long long)before >> 10, (unsigned long long)after >> 10);
    cr_assert(after + bytes / 10 * 9 <= before,
              "%llu pages: %llu bytes resident before, %llu after", (unsigned long long)pages,
              (unsigned long long)before, (unsigned long long)after);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* The last target leaves only pieces of memory, single pages among them. */
static void go_to_targets(bool legacy)
{
    static const uint64_t targets[] = {64 * PAGES_PER_MIB, 150 * PAGES_PER_MIB + 77,
                                       225 * PAGES_PER_MIB};
    struct machine m;

    need_machine();
    start(&m, &(struct machine_setup){.legacy = legacy, .shared = !legacy});
    cr_assert_eq(number_after(m.ready, " version="), legacy ? 1u : 2u);
    uint64_t free_pages = number_after(m.ready, " free=");
    uint64_t before = resident_bytes(&m);
    cr_assert_gt(before, (uint64_t)RAM_PAGES * PAGE / 10 * 9);
    ask(&m, "start");
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        set_target(&m, targets[i]);
        wait_balloon(&m, targets[i]);
        cr_assert_eq(guest_number(&m, "free"), free_pages - targets[i]);
        check_given_back(&m, before, targets[i]);
        check_guest(&m);
    }
    cr_assert_eq(number_after(ask(&m, "oom 100"), " result="), (unsigned)BALLOON_ERR_UNSUPPORTED);

    /* Nothing of it needs host memory before the guest touches it. */
    set_target(&m, targets[0]);
    wait_balloon(&m, targets[0]);
    check_given_back(&m, before, targets[2]);
    set_target(&m, 0);
    wait_balloon(&m, 0);
    cr_assert_eq(guest_number(&m, "free"), free_pages);
    check_given_back(&m, before, targets[2]);
    check_guest(&m);
    ask(&m, "fill");
    check_guest(&m);
    cr_assert_gt(resident_bytes(&m), before / 10 * 9);
    end(&m);
}

Test(metal_guest, goes_to_each_target_legacy, .timeout = 1200)
{
    go_to_targets(true);
}

Test(metal_guest, goes_to_each_target_modern, .timeout = 1200)
{
    go_to_targets(false);
}

/* The guest gives all it has, goes on asking itself for more, and takes back what it must. */
Test(metal_guest, target_beyond_what_is_free, .timeout = 1200)
{
    struct machine m;

    need_machine();
    start(&m, &(struct machine_setup){0});
    uint64_t free_pages = number_after(m.ready, " free=");
    ask(&m, "start");
    set_target(&m, RAM_PAGES - 512);
    cr_assert_lt(free_pages, RAM_PAGES - 512u);
    wait_balloon(&m, free_pages);
    check_guest(&m);
    uint64_t asked = guest_number(&m, "allocs");
    for (int i = 0; i < 3; i++)
        ask(&m, "later 60000");
    wait_guest(&m, "allocs", asked + 3);
    wait_balloon(&m, free_pages);
    set_target(&m, 0);
    wait_balloon(&m, 0);
    ask(&m, "fill");
    check_guest(&m);
    end(&m);
}

static uint64_t statistic(const char *answer, const char *name)
{
    char wanted[64];

    snprintf(wanted, sizeof wanted, "\"stat-%s\": ", name);
    return number_after(answer, wanted);
}

static void answer_statistics(bool legacy)
{
    static const char get[] = "{\"execute\":\"qom-get\",\"arguments\":{\"path\":"
                              "\"/machine/peripheral/balloon0\",\"property\":\"guest-stats\"}}\n";
    struct machine m;

    need_machine();
    start(&m, &(struct machine_setup){.legacy = legacy, .oom = true});
    uint64_t free_pages = number_after(m.ready, " free=");
    ask(&m, "start");
    qemu_command(&m.qemu,
                 "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/"
                 "balloon0\",\"property\":\"guest-stats-polling-interval\",\"value\":1}}\n");
    for (unsigned i = 0; i < 2; i++) {
        uint64_t left = free_pages - i * 30000u;
        set_target(&m, i * 30000u);
        wait_balloon(&m, i * 30000u);
        cr_assert_eq(guest_number(&m, "free"), left);
        int64_t stop = clock_ms() + TIMEOUT_MS;
        const char *said;
        while (said = qemu_command(&m.qemu, get), statistic(said, "free-memory") != left * PAGE) {
            cr_assert(clock_ms() < stop, "%llu pages are free, but: %s", (unsigned long long)left,
                      said);
            pause_a_little();
        }
        cr_assert_gt(number_after(said, "\"last-update\": "), 0u);
        cr_assert_eq(statistic(said, "available-memory"), left * PAGE);
        uint64_t total = statistic(said, "total-memory");
        cr_assert_eq(total, guest_number(&m, "total") * PAGE);
        cr_assert(total <= (uint64_t)RAM_PAGES * PAGE &&
                  total > (uint64_t)RAM_PAGES * PAGE / 10 * 9);
    }
    check_guest(&m);
    end(&m);
}

Test(metal_guest, answers_statistics_legacy, .timeout = 1200)
{
    answer_statistics(true);
}

Test(metal_guest, answers_statistics_modern, .timeout = 1200)
{
    answer_statistics(false);
}

static void report_free_pages(bool legacy)
{
    struct machine m;

    need_machine();
    start(&m, &(struct machine_setup){.legacy = legacy, .reporting = true, .shared = !legacy});
    uint64_t whole = number_after(m.ready, " whole=");
    uint64_t free_pages = number_after(m.ready, " free=");
    cr_assert_gt(whole, (unsigned)RAM_PAGES * 3 / 4);
    uint64_t before = resident_bytes(&m);
    ask(&m, "start");
    for (unsigned round = 1; round <= 2; round++) {
        wait_guest(&m, "reported", whole * round);
        cr_assert_eq(guest_number(&m, "reported"), whole * round, "%s", m.line);
        cr_assert_eq(number_after(m.line, " free="), free_pages, "%s", m.line);
        cr_assert_eq(balloon_pages(&m), 0u);
        check_given_back(&m, before, whole);
        check_guest(&m);
        if (round == 1) {
            /* What was written is worth reporting again. */
            ask(&m, "fill");
            ask(&m, "later 60000");
        }
    }
    ask(&m, "fill");
    check_guest(&m);
    end(&m);
}

Test(metal_guest, reports_free_pages_legacy, .timeout = 1200)
{
    report_free_pages(true);
}

Test(metal_guest, reports_free_pages_modern, .timeout = 1200)
{
    report_free_pages(false);
}

/* The guest holds its clock so far back that it does not inflate again before it is told to. */
static void deflate_on_oom(bool legacy)
{
    enum { TARGET = 60000, WANTED = 3333 };
    struct machine m;

    need_machine();
    start(&m, &(struct machine_setup){.legacy = legacy, .oom = true});
    uint64_t free_pages = number_after(m.ready, " free=");
    ask(&m, "start");
    set_target(&m, TARGET);
    wait_balloon(&m, TARGET);

    ask(&m, "oom %d", WANTED);
    cr_assert_eq(number_after(m.line, " result="), (unsigned)BALLOON_OK, "%s", m.line);
    cr_assert_eq(number_after(m.line, " coming="), (unsigned)WANTED, "%s", m.line);
    wait_balloon(&m, TARGET - WANTED);
    cr_assert_eq(guest_number(&m, "free"), free_pages - TARGET + WANTED);
    cr_assert_eq(number_after(m.line, " target="), (unsigned)TARGET);
    ask(&m, "fill");
    check_guest(&m);
    cr_assert_eq(balloon_pages(&m), (unsigned)(TARGET - WANTED));

    ask(&m, "later 3600000");
    wait_balloon(&m, TARGET);
    set_target(&m, 0);
    wait_balloon(&m, 0);
    ask(&m, "fill");
    check_guest(&m);
    end(&m);
}

Test(metal_guest, deflates_when_out_of_memory_legacy, .timeout = 1200)
{
    deflate_on_oom(true);
}

Test(metal_guest, deflates_when_out_of_memory_modern, .timeout = 1200)
{
    deflate_on_oom(false);
}

/* --- pages known to be zero ------------------------------------------------------------------- */

static void wait_held(struct machine *m, struct backend *backend, uint64_t pages)
{
    for (int64_t stop = clock_ms() + TIMEOUT_MS;
         guest_number(m, "held") != pages || number_after(m->line, " way=") != 0 ||
         backend_number(backend, 0, "held") != pages;
         pause_a_little())
        cr_assert(clock_ms() < stop, "no balloon of %llu pages: %s", (unsigned long long)pages,
                  m->line);
}

/* A kernel that wants zeros in what comes back, with a device that says where they are and with one
 * that does not. What it need not zero costs the host no memory either. */
static void zero_what_comes_back(bool told)
{
    enum { BALLOON_MIB = 150, PAGES = BALLOON_MIB * PAGES_PER_MIB };
    const char *const options[] = {"--features", told ? "0xe1" : "0x21", NULL};
    struct machine m;

    need_backend();
    struct backend *backend = backend_start(1, options);
    start(&m, &(struct machine_setup){.shared = true, .backend = backend});
    uint64_t whole = number_after(m.ready, " whole="), before = resident_bytes(&m);
    ask(&m, "wipe");
    ask(&m, "start");
    wait_guest(&m, "reported", whole);
    cr_assert_eq(number_after(m.line, told ? " saved=" : " wiped="), whole, "%s", m.line);
    cr_assert_eq(number_after(m.line, told ? " wiped=" : " saved="), 0u, "%s", m.line);

    ask(&m, "fill");
    backend_do(backend, "target 0 %d", BALLOON_MIB);
    wait_held(&m, backend, PAGES);
    backend_do(backend, "target 0 0");
    wait_held(&m, backend, 0);
    cr_log_info("%d MiB came back: %llu pages zeroed by the guest, %llu known to be zero, %llu KiB "
                "resident of %llu",
                BALLOON_MIB, (unsigned long long)guest_number(&m, "wiped"),
                (unsigned long long)number_after(m.line, " saved="),
                (unsigned long long)resident_bytes(&m) >> 10, (unsigned long long)before >> 10);
    cr_assert_geq(number_after(m.line, told ? " saved=" : " wiped="), whole + PAGES, "%s", m.line);
    cr_assert_eq(number_after(m.line, told ? " wiped=" : " saved="), 0u, "%s", m.line);
    if (told)
        check_given_back(&m, before, PAGES);
    else
        cr_assert_gt(resident_bytes(&m), before / 10 * 9);
    check_guest(&m);
    ask(&m, "fill");
    check_guest(&m);
    end(&m);
    backend_end(backend);
}

Test(metal_guest, zeroes_nothing_that_the_host_has_zeroed, .timeout = 1200)
{
    zero_what_comes_back(true);
}

Test(metal_guest, zeroes_what_comes_back_if_nobody_says_what_it_is, .timeout = 1200)
{
    zero_what_comes_back(false);
}
