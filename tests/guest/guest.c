/* Starting, asking and ending guests and their back-end; see guest.h. */
#include "guest.h"
#include "keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 64 * 1024, BOOT_SECONDS = 60, ANSWER_SECONDS = 20, EVENTS_MAX = 256 };

/* A program that is talked to by lines. */
struct talk {
    struct kept kept;
    const char *name;
    char text[TEXT_MAX]; /* what it has said and nobody has read yet */
    size_t length;
};

struct backend {
    struct talk talk;
    char answer[TEXT_MAX];
    char events[EVENTS_MAX][32];
    unsigned event_count;
};

struct linux_guest {
    struct talk talk;
    char line[512]; /* the last that was sent */
    char output[TEXT_MAX];
};

uint64_t guest_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t guest_deadline(unsigned seconds)
{
    enum { SLOWER = 10 };

    return guest_clock() + (uint64_t)seconds * SLOWER * 1000;
}

void guest_sleep(unsigned milliseconds)
{
    poll(NULL, 0, (int)milliseconds);
}

static _Noreturn void failed(const char *format, ...)
{
    static char message[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    guest_failed(message);
}

/* --- what is needed ---------------------------------------------------------------------- */

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

void guest_image_path(char *path, size_t size, const char *file)
{
    char *top = realpath(setting("BALLOON_BUILD", "build"), NULL);
    snprintf(path, size, "%s/guest%s%s", top ? top : ".", *file ? "/" : "", file);
    free(top);
}

static bool ptrace_works(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0);
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

const char *guest_image_missing(const char *kind)
{
    static char why[512];
    char directory[4096], command[8192];
    guest_image_path(directory, sizeof directory, "");
    snprintf(command, sizeof command, "'%s/tests/guest/image/build.sh' '%s' %s 2>&1",
             setting("BALLOON_TOP", "."), directory, kind);
    FILE *pipe = popen(command, "r");
    if (!pipe)
        failed("cannot start %s", command);
    size_t length = fread(why, 1, sizeof why - 1, pipe);
    why[length] = '\0';
    why[strcspn(why, "\n")] = '\0';
    int status = pclose(pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        return why;
    if (status != 0)
        failed("%s: %s", command, why);
    return NULL;
}

const char *guest_missing(void)
{
    const char *why = guest_image_missing("uml");
    return why || ptrace_works() ? why : "ptrace is not allowed";
}

/* --- talking ----------------------------------------------------------------------------- */

static void talk_start(struct talk *talk, const char *name, const char *const *argv,
                       const char *const *variables)
{
    talk->name = name;
    if (keeper_start(&talk->kept, argv, variables) < 0)
        failed("cannot start %s: %s", name, strerror(errno));
}

static void talk_send(struct talk *talk, const char *line)
{
    size_t length = strlen(line);
    /* A program that is gone is noticed on reading. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before);
    bool sent =
        write(talk->kept.in, line, length) == (ssize_t)length && write(talk->kept.in, "\n", 1) == 1;
    sigaction(SIGPIPE, &before, NULL);
    if (!sent)
        failed("%s does not listen to \"%s\"; it said: %s", talk->name, line, talk->text);
}

/* Cut the line out of the text that begins with a mark, up to its newline; earlier text goes before
 * it into before. False: it has not come yet. */
static bool talk_cut(struct talk *talk, const char *mark, char *before, char *line, size_t size)
{
    talk->text[talk->length] = '\0';
    char *found = strstr(talk->text, mark);
    char *end = found ? strchr(found, '\n') : NULL;
    if (!end)
        return false;
    size_t skipped = (size_t)(found - talk->text), length = (size_t)(end - found);
    if (before) {
        memcpy(before, talk->text, skipped);
        before[skipped] = '\0';
    }
    snprintf(line, size, "%.*s", (int)length, found);
    talk->length -= skipped + length + 1;
    memmove(talk->text, end + 1, talk->length + 1);
    return true;
}

/* More text, if some comes before the deadline. */
static bool talk_read(struct talk *talk, uint64_t deadline)
{
    uint64_t t = guest_clock();
    struct pollfd fd = {.fd = talk->kept.out, .events = POLLIN};
    if (poll(&fd, 1, t < deadline ? (int)(deadline - t) : 0) <= 0)
        return false;
    if (talk->length == TEXT_MAX - 1)
        failed("%s talks too much: %.1000s", talk->name, talk->text);
    ssize_t got = read(talk->kept.out, talk->text + talk->length, TEXT_MAX - 1 - talk->length);
    if (got == 0 || (got < 0 && errno != EINTR))
        failed("%s has ended; it said: %s", talk->name, talk->text);
    talk->length += got > 0 ? (size_t)got : 0;
    return true;
}

static void talk_line(struct talk *talk, const char *mark, uint64_t deadline, char *before,
                      char *line, size_t size)
{
    while (!talk_cut(talk, mark, before, line, size))
        if (!talk_read(talk, deadline) && guest_clock() >= deadline)
            failed("%s did not say \"%s\" in time; it said: %s", talk->name, mark, talk->text);
}

/* --- the back-end ------------------------------------------------------------------------ */

static void note_event(struct backend *backend, const char *line)
{
    if (backend->event_count == EVENTS_MAX)
        failed("the back-end has too much to tell: %s", line);
    sscanf(line, "{\"event\":\"%31[^\"]", backend->events[backend->event_count++]);
}

static void next_answer(struct backend *backend)
{
    uint64_t deadline = guest_deadline(ANSWER_SECONDS);
    do {
        talk_line(&backend->talk, "{", deadline, NULL, backend->answer, sizeof backend->answer);
        if (strncmp(backend->answer, "{\"event\"", 8) == 0)
            note_event(backend, backend->answer);
    } while (strncmp(backend->answer, "{\"event\"", 8) == 0);
}

void backend_socket(const struct backend *backend, unsigned guest, char *path, size_t size)
{
    snprintf(path, size, "%s/%u", backend->talk.kept.directory, guest);
}

struct backend *backend_start(unsigned guests, const char *const *options)
{
    struct backend *backend = calloc(1, sizeof *backend);
    char program[4096], sockets[4][80];
    const char *argv[32];
    size_t count = 0;
    if (!backend || guests > 4 || keeper_prepare(&backend->talk.kept) < 0)
        failed("cannot prepare the back-end");
    snprintf(program, sizeof program, "%s/bin/examples/vhost_user_balloon",
             setting("BALLOON_BUILD", "build"));
    argv[count++] = program;
    for (; options && *options && count < 24; options++)
        argv[count++] = *options;
    for (unsigned i = 0; i < guests; i++) {
        backend_socket(backend, i, sockets[i], sizeof sockets[i]);
        argv[count++] = sockets[i];
    }
    argv[count] = NULL;
    talk_start(&backend->talk, "the back-end", argv, NULL);
    do
        note_event(backend, backend_line(backend));
    while (!strstr(backend->answer, "\"ready\""));
    return backend;
}

void backend_end(struct backend *backend)
{
    struct talk *talk = &backend->talk;
    uint64_t deadline = guest_deadline(ANSWER_SECONDS);
    ssize_t got;
    /* Let it end by itself, so that a sanitizer in it can have its say. */
    talk_send(talk, "quit");
    do {
        struct pollfd fd = {.fd = talk->kept.out, .events = POLLIN};
        uint64_t t = guest_clock();
        if (t >= deadline || poll(&fd, 1, (int)(deadline - t)) == 0)
            failed("the back-end does not end");
        got = read(talk->kept.out, talk->text, TEXT_MAX);
    } while (got > 0 || (got < 0 && errno == EINTR));
    keeper_end(&backend->talk.kept);
    free(backend);
}

pid_t backend_pid(const struct backend *backend)
{
    return backend->talk.kept.program;
}

void backend_tell(struct backend *backend, const char *line)
{
    talk_send(&backend->talk, line);
}

const char *backend_line(struct backend *backend)
{
    talk_line(&backend->talk, "{", guest_deadline(ANSWER_SECONDS), NULL, backend->answer,
              sizeof backend->answer);
    return backend->answer;
}

static const char *vask(struct backend *backend, const char *format, va_list arguments)
{
    char line[256];
    vsnprintf(line, sizeof line, format, arguments);
    talk_send(&backend->talk, line);
    next_answer(backend);
    return backend->answer;
}

const char *backend_ask(struct backend *backend, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *answer = vask(backend, format, arguments);
    va_end(arguments);
    return answer;
}

void backend_do(struct backend *backend, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *answer = vask(backend, format, arguments);
    va_end(arguments);
    if (!strstr(answer, "\"ok\":true"))
        failed("the back-end refuses \"%s\": %s", format, answer);
}

uint64_t answer_number(const char *answer, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *found = strstr(answer, key);
    if (!found)
        failed("no %s in %s", name, answer);
    found += strlen(key);
    if (strncmp(found, "true", 4) == 0)
        return 1;
    return strtoull(found, NULL, 10); /* false is 0 */
}

uint64_t backend_number(struct backend *backend, unsigned guest, const char *name)
{
    return answer_number(backend_ask(backend, "status %u", guest), name);
}

void backend_wait(struct backend *backend, unsigned guest, const char *name, uint64_t least,
                  unsigned seconds)
{
    for (uint64_t end = guest_deadline(seconds); backend_number(backend, guest, name) < least;
         guest_sleep(20))
        if (guest_clock() > end)
            failed("%s of guest %u does not reach %llu: %s", name, guest, (unsigned long long)least,
                   backend->answer);
}

unsigned backend_events(struct backend *backend, const char *event)
{
    unsigned count = 0;
    backend_number(backend, 0, "guest"); /* all events before this are read now */
    for (unsigned i = 0; i < backend->event_count; i++)
        count += strcmp(backend->events[i], event) == 0;
    return count;
}

/* --- the guest --------------------------------------------------------------------------- */

/* User-mode Linux wants its memory file where programs may be run; best is memory. */
static const char *memory_directory(void)
{
    struct statvfs fs;
    bool usable = access("/dev/shm", W_OK | X_OK) == 0 && statvfs("/dev/shm", &fs) == 0 &&
                  !(fs.f_flag & ST_NOEXEC);
    return usable ? "/dev/shm" : "/tmp";
}

/* A file for the guest's disk. It takes room only as far as the guest writes to it, and goes with
 * the guest's directory. */
static void make_disk(const char *path, unsigned mib)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)mib << 20) < 0)
        failed("%s: %s", path, strerror(errno));
    close(fd);
}

struct linux_guest *linux_prepare(char *directory, size_t size)
{
    struct linux_guest *guest = calloc(1, sizeof *guest);
    if (!guest || keeper_prepare(&guest->talk.kept) < 0)
        failed("cannot prepare the guest");
    snprintf(directory, size, "%s", guest->talk.kept.directory);
    return guest;
}

void linux_boot(struct linux_guest *guest, const char *const *argv, const char *const *variables)
{
    talk_start(&guest->talk, "the guest", argv, variables);
    linux_wait_ready(guest);
}

void linux_wait_ready(struct linux_guest *guest)
{
    char line[128];
    talk_line(&guest->talk, "<<ready>>", guest_deadline(BOOT_SECONDS), NULL, line, sizeof line);
}

struct linux_guest *linux_start_swapping(struct backend *backend, unsigned number, unsigned mib,
                                         unsigned swap_mib)
{
    char home[64], socket[80], memory[32], initrd[4200], device[128], directory[96], shim[4200],
        temporary[64], disk[96];
    struct linux_guest *guest = linux_prepare(home, sizeof home);
    backend_socket(backend, number, socket, sizeof socket);
    snprintf(memory, sizeof memory, "mem=%uM", mib);
    snprintf(device, sizeof device, "virtio_uml.device=%s:5", socket);
    snprintf(directory, sizeof directory, "uml_dir=%s/", home);
    snprintf(temporary, sizeof temporary, "TMPDIR=%s", memory_directory());
    snprintf(initrd, sizeof initrd, "initrd=");
    guest_image_path(initrd + strlen(initrd), sizeof initrd - strlen(initrd), "initramfs.gz");
    snprintf(shim, sizeof shim, "LD_PRELOAD=");
    guest_image_path(shim + strlen(shim), sizeof shim - strlen(shim), "ptrace_shim.so");
    const char *argv[] = {"linux.uml",      memory,  initrd,       device, directory, "con=null",
                          "con0=fd:0,fd:1", "quiet", "loglevel=1", NULL,   NULL};
    const char *variables[] = {shim, temporary, NULL};
    snprintf(disk, sizeof disk, "ubd0=%s/swap", home);
    if (swap_mib > 0) {
        make_disk(strchr(disk, '/'), swap_mib);
        argv[sizeof argv / sizeof *argv - 2] = disk;
    }
    linux_boot(guest, argv, variables);
    backend_wait(backend, number, "driver", 1, ANSWER_SECONDS);
    if (swap_mib > 0)
        linux_run(guest, ANSWER_SECONDS, "mkswap /dev/ubda >/dev/null && swapon /dev/ubda");
    return guest;
}

struct linux_guest *linux_start(struct backend *backend, unsigned number, unsigned mib)
{
    return linux_start_swapping(backend, number, mib, 0);
}

pid_t linux_pid(const struct linux_guest *guest)
{
    return guest->talk.kept.program;
}

void linux_end(struct linux_guest *guest)
{
    keeper_end(&guest->talk.kept);
    free(guest);
}

static void send_line(struct linux_guest *guest, const char *format, va_list arguments)
{
    vsnprintf(guest->line, sizeof guest->line, format, arguments);
    talk_send(&guest->talk, guest->line);
}

static const char *output_of(struct linux_guest *guest, const char *done)
{
    if (strcmp(done, "<<done 0>>") != 0)
        failed("\"%s\" in the guest: %s, %s", guest->line, done, guest->output);
    return guest->output;
}

const char *linux_run(struct linux_guest *guest, unsigned seconds, const char *format, ...)
{
    char done[64];
    va_list arguments;
    va_start(arguments, format);
    send_line(guest, format, arguments);
    va_end(arguments);
    talk_line(&guest->talk, "<<done ", guest_deadline(seconds), guest->output, done, sizeof done);
    return output_of(guest, done);
}

void linux_begin(struct linux_guest *guest, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    send_line(guest, format, arguments);
    va_end(arguments);
}

const char *linux_done(struct linux_guest *guest)
{
    char done[64];
    while (!talk_cut(&guest->talk, "<<done ", guest->output, done, sizeof done))
        if (!talk_read(&guest->talk, 0))
            return NULL;
    return output_of(guest, done);
}

uint64_t linux_meminfo(struct linux_guest *guest, const char *name)
{
    const char *output = linux_run(guest, 10, "grep '^%s:' /proc/meminfo", name);
    return strtoull(output + strcspn(output, "0123456789"), NULL, 10);
}

uint64_t linux_host_bytes(struct linux_guest *guest)
{
    char path[64];
    uint64_t size = 0, bytes = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)guest->talk.kept.program);
    DIR *directory = opendir(path);
    if (!directory)
        failed("cannot look at the guest's files: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat file;
        if (fstatat(dirfd(directory), entry->d_name, &file, 0) < 0 || !S_ISREG(file.st_mode) ||
            (uint64_t)file.st_size < size)
            continue;
        /* Its memory is by far the largest file it has open. */
        size = (uint64_t)file.st_size;
        bytes = (uint64_t)file.st_blocks * 512;
    }
    closedir(directory);
    if (bytes == 0)
        failed("the guest has ended: its memory file is gone");
    return bytes;
}
