#include "subject.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define OURS_IN_QEMU "vhost-user-test-device-pci"

#define FEATURES "3" /* MUST_TELL_HOST and statistics */

enum { COUNTS_BYTES = 4096 };

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static const char *program(void)
{
    return setting("BALLOON_QEMU", "qemu-system-x86_64");
}

const char *subject_name(enum subject_kind kind)
{
    static const char *const names[] = {
        "QEMU's device", "QEMU's device, private memory",  "libballoon in QEMU",
        "a call a page", "libballoon, before each answer", "libballoon"};
    return names[kind];
}

/* --- what is needed ---------------------------------------------------------------------- */

static bool runs(const char *options)
{
    char command[4300];
    snprintf(command, sizeof command, "'%s' %s", program(), options);
    return system(command) == 0;
}

const char *subject_missing(enum subject_kind kind)
{
    if (kind >= UML_PAGES)
        return guest_missing();
    if (!runs("--version >/dev/null 2>&1"))
        return "no QEMU (package qemu-system-x86; BALLOON_QEMU names another)";
    if (kind == QEMU_OURS && !runs("-device " OURS_IN_QEMU ",help 2>/dev/null | grep -q virtio-id"))
        return "this QEMU has no " OURS_IN_QEMU " (11.1 has; BALLOON_QEMU names another)";
    return guest_image_missing("qemu");
}

/* --- QMP --------------------------------------------------------------------------------- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
        guest_failed("cannot listen for QEMU's monitor");
    return fd;
}

/* The next line that has this in it; events go by. */
static const char *monitor_line(int monitor, const char *mark)
{
    static char line[4096];
    do {
        size_t length = 0;
        do {
            if (length == sizeof line - 1 || read(monitor, line + length, 1) != 1)
                guest_failed("QEMU's monitor has ended");
        } while (line[length++] != '\n');
        line[length] = '\0';
        if (strncmp(line, "{\"error\"", 8) == 0)
            guest_failed(line);
    } while (!strstr(line, mark));
    return line;
}

static const char *ask_monitor(int monitor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static const char *ask_monitor(int monitor, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vdprintf(monitor, format, arguments);
    va_end(arguments);
    if (length < 0)
        guest_failed("QEMU's monitor has ended");
    return monitor_line(monitor, "\"return\"");
}

static void open_monitor(struct subject *s, int listener)
{
    s->monitor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    if (s->monitor < 0)
        guest_failed("QEMU's monitor does not come");
    const char *hello = monitor_line(s->monitor, "\"QMP\"");
    snprintf(s->version, sizeof s->version, "QEMU %u.%u.%u",
             (unsigned)answer_number(hello, "major"), (unsigned)answer_number(hello, "minor"),
             (unsigned)answer_number(hello, "micro"));
    ask_monitor(s->monitor, "{\"execute\":\"qmp_capabilities\"}\n");
}

/* --- start and end ----------------------------------------------------------------------- */

static const uint64_t *make_counts(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *counts = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, COUNTS_BYTES) == 0)
        counts = mmap(NULL, COUNTS_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (counts == MAP_FAILED)
        guest_failed("cannot make a file for counts");
    close(fd);
    return counts;
}

static void start_qemu(struct subject *s)
{
    char home[64], path[96], qmp[128], socket[96], chardev[128], memory[96], kernel[4200],
        initrd[4200], size[16], counts[96], counts_is[128], preload[4300] = "LD_PRELOAD=";
    /* QEMU's own does not report free pages unless it is told to. */
    const char *const options[] = {"--features", FEATURES, NULL};
    if (s->kind == QEMU_OURS)
        s->backend = backend_start(1, options);
    s->guest = linux_prepare(home, sizeof home);
    snprintf(path, sizeof path, "%s/qmp", home);
    snprintf(qmp, sizeof qmp, "socket,id=qmp,path=%s", path);
    snprintf(memory, sizeof memory,
             s->kind == QEMU_PRIVATE ? "memory-backend-ram,id=mem,size=%uM"
                                     : "memory-backend-memfd,id=mem,size=%uM,share=on",
             RAM);
    snprintf(size, sizeof size, "%u", RAM);
    guest_image_path(kernel, sizeof kernel, "qemu.kernel");
    guest_image_path(initrd, sizeof initrd, "qemu.gz");
    guest_image_path(preload + strlen(preload), sizeof preload - strlen(preload),
                     "count_discards.so");
    snprintf(counts, sizeof counts, "%s/counts", home);
    snprintf(counts_is, sizeof counts_is, "COUNT_DISCARDS=%s", counts);
    s->counted = make_counts(counts);
    const char *argv[] = {program(),
                          "-M",
                          "q35,memory-backend=mem",
                          "-m",
                          size,
                          "-object",
                          memory,
                          "-accel",
                          setting("ACCEL", "tcg,tb-size=64"),
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
                          "console=ttyS0 quiet mitigations=off rdinit=/init",
                          "-device",
                          "virtio-balloon-pci",
                          NULL,
                          NULL,
                          NULL};
    if (s->backend) {
        size_t last = sizeof argv / sizeof *argv - 4;
        backend_socket(s->backend, 0, socket, sizeof socket);
        snprintf(chardev, sizeof chardev, "socket,id=c0,path=%s", socket);
        argv[last] = OURS_IN_QEMU ",chardev=c0,virtio-id=5,num_vqs=5,vq_size=128,config_size=16";
        argv[last + 1] = "-chardev";
        argv[last + 2] = chardev;
    }
    int listener = listen_at(path);
    linux_boot(s->guest, argv, (const char *[]){preload, counts_is, NULL});
    open_monitor(s, listener);
    if (s->backend)
        backend_wait(s->backend, 0, "driver", 1, 20);
}

static void start_uml(struct subject *s)
{
    const char *options[] = {"--features", FEATURES, NULL, NULL};
    options[2] = s->kind == UML_PAGES     ? "--per-page"
                 : s->kind == UML_BUFFERS ? "--per-buffer"
                                          : NULL;
    s->backend = backend_start(1, options);
    s->guest = linux_start(s->backend, 0, RAM);
    snprintf(s->version, sizeof s->version, "user-mode Linux");
}

void subject_start(struct subject *s, enum subject_kind kind)
{
    *s = (struct subject){.kind = kind, .monitor = -1};
    if (kind < UML_PAGES)
        start_qemu(s);
    else
        start_uml(s);
}

void subject_end(struct subject *s)
{
    if (s->monitor >= 0)
        close(s->monitor);
    linux_end(s->guest);
    if (s->backend)
        backend_end(s->backend);
    if (s->counted)
        munmap((void *)(uintptr_t)s->counted, COUNTS_BYTES);
}

/* --- targets ----------------------------------------------------------------------------- */

void subject_target(struct subject *s, unsigned mib)
{
    if (s->backend)
        backend_do(s->backend, "target %u", mib);
    else
        ask_monitor(s->monitor, "{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}}\n",
                    (unsigned long long)(RAM - mib) << 20);
}

bool subject_settled(struct subject *s, unsigned mib)
{
    if (!s->backend) {
        const char *said = ask_monitor(s->monitor, "{\"execute\":\"query-balloon\"}\n");
        return answer_number(said, "actual") == (uint64_t)(RAM - mib) << 20;
    }
    const char *status = backend_ask(s->backend, "status");
    return answer_number(status, "settled") && answer_number(status, "pending") == 0 &&
           answer_number(status, "held") == mib * PAGES_PER_MIB;
}

/* --- what it took ------------------------------------------------------------------------ */

/* Processor time of a process, with that of its threads that have ended. */
static double process_cpu(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = '\0';
    fclose(file);
    const char *end = strrchr(text, ')'); /* of its name */
    return end && sscanf(end, ") %*c %d", &parent) == 1 ? parent : 0;
}

/* The same with all its descendants; those of user-mode Linux are its programs. */
static double family_cpu(pid_t pid)
{
    double seconds = process_cpu(pid);
    DIR *directory = opendir("/proc");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        pid_t other = (pid_t)strtol(entry->d_name, NULL, 10);
        if (other > 0 && parent_of(other) == pid)
            seconds += family_cpu(other);
    }
    if (directory)
        closedir(directory);
    return seconds;
}

void subject_spent(struct subject *s, struct spent *spent)
{
    struct timespec t;
    *spent = (struct spent){0};
    if (s->counted)
        spent->calls = spent->ranges = *(const volatile uint64_t *)s->counted;
    if (s->backend) {
        const char *status = backend_ask(s->backend, "status");
        spent->calls += answer_number(status, "discard_calls");
        spent->ranges += answer_number(status, "discard_ranges");
        spent->buffers = answer_number(status, "buffers");
        spent->backend_cpu = process_cpu(backend_pid(s->backend));
    }
    spent->cpu = family_cpu(linux_pid(s->guest)) + spent->backend_cpu;
    clock_gettime(CLOCK_MONOTONIC, &t);
    spent->seconds = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
