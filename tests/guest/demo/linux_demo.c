/* make demo-linux: a real Linux guest gives its memory to the host and takes it back. */
#include "../guest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GUEST_MIB = 512, TARGET_MIB = 384, KEPT_MIB = 32, LEAST_RETURNED_MIB = 300, PAGES = 256 };
enum { SKIPPED = 77 };

static struct backend *backend;
static struct linux_guest *guest;
static bool terminal;

void guest_failed(const char *message)
{
    printf("%sFAILED: %s\n", terminal ? "\n" : "", message);
    exit(EXIT_FAILURE);
}

static void expect(bool truth, const char *message)
{
    if (!truth)
        guest_failed(message);
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%s", terminal ? "\r\033[K" : "");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

static unsigned mib(uint64_t bytes)
{
    return (unsigned)(bytes >> 20);
}

/* What the host gives for the guest, and how much of the guest is in its balloon. On a terminal
 * one line keeps changing, elsewhere there is a line whenever something moved. */
static void show(void)
{
    static unsigned last_host = ~0u, last_balloon;
    enum { WIDTH = 48 };
    char bar[WIDTH + 1];
    unsigned host = mib(linux_host_bytes(guest));
    unsigned balloon = (unsigned)(backend_number(backend, 0, "held") / PAGES);
    if (host == last_host && balloon == last_balloon)
        return;
    last_host = host;
    last_balloon = balloon;
    unsigned filled = host * WIDTH / GUEST_MIB;
    memset(bar, '.', WIDTH);
    memset(bar, '#', filled < WIDTH ? filled : WIDTH);
    bar[WIDTH] = '\0';
    printf("%s  host memory [%s] %3u MiB, balloon %3u MiB%s", terminal ? "\r\033[K" : "", bar, host,
           balloon, terminal ? "" : "\n");
    fflush(stdout);
}

/* Show what happens until a number of the status is reached, and a moment longer. */
static void watch(const char *name, uint64_t least, unsigned seconds)
{
    uint64_t end = guest_deadline(seconds);
    for (; backend_number(backend, 0, name) < least; guest_sleep(50)) {
        show();
        expect(guest_clock() < end, "that takes too long");
    }
    for (int i = 0; i < 6; i++, guest_sleep(50))
        show();
}

static void say_stats(void)
{
    const char *stats = backend_ask(backend, "stats");
    say("The guest says: %u MiB free, %u MiB available, %u MiB file cache, %llu minor faults.",
        mib(answer_number(stats, "free")), mib(answer_number(stats, "available")),
        mib(answer_number(stats, "caches")),
        (unsigned long long)answer_number(stats, "minor_faults"));
}

static unsigned inflate_and_deflate(void)
{
    say("1. Filling its memory and freeing it again: the host still gives all of it.");
    linux_run(guest, 60, "memwork fill /tmp/x 400 1; rm /tmp/x");
    say_stats();
    show();
    uint64_t before = linux_host_bytes(guest);

    say("2. Inflating to %u MiB: %u MiB stay usable.", TARGET_MIB, GUEST_MIB - TARGET_MIB);
    backend_do(backend, "target %u", TARGET_MIB);
    watch("settled", 1, 20);
    uint64_t after = linux_host_bytes(guest);
    expect(before >= after + ((uint64_t)LEAST_RETURNED_MIB << 20), "too little came back");
    say_stats();
    const char *status = backend_ask(backend, "status");
    uint64_t calls = answer_number(status, "discard_calls");
    say("%u MiB came back to the host: %llu buffers, discarded in %llu runs by %llu system calls, "
        "%llu pages a call.",
        mib(before - after), (unsigned long long)answer_number(status, "buffers"),
        (unsigned long long)answer_number(status, "discard_runs"), (unsigned long long)calls,
        (unsigned long long)(calls ? answer_number(status, "discarded") / calls : 0));

    say("3. Deflating: the guest has all its memory again.");
    backend_do(backend, "target 0");
    watch("settled", 1, 20);
    expect(backend_number(backend, 0, "held") == 0, "the balloon is not empty");
    return mib(before - after);
}

static unsigned report(void)
{
    say("4. Free page reporting: the guest uses memory, frees it, and tells by itself.");
    linux_run(guest, 60, "memwork fill /tmp/x 300 2");
    show();
    uint64_t before = linux_host_bytes(guest);
    uint64_t reported = backend_number(backend, 0, "reported");
    linux_run(guest, 10, "rm /tmp/x");
    watch("reported", reported + 250 * PAGES, 20);
    uint64_t after = linux_host_bytes(guest);
    expect(before >= after + (200u << 20), "reported pages did not come back");
    say("%u MiB came back to the host, with an empty balloon.", mib(before - after));
    return mib(before - after);
}

int main(void)
{
    char sum[64];
    uint64_t begin = guest_clock();
    terminal = isatty(STDOUT_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *missing = guest_missing();
    if (missing) {
        printf("SKIP: no Linux guest can run here: %s\n", missing);
        return SKIPPED;
    }
    say("Booting Linux with %u MiB of memory; its balloon device is vhost_user_balloon.",
        GUEST_MIB);
    backend = backend_start(1, NULL);
    guest = linux_start(backend, 0, GUEST_MIB);
    say("Booted after %.1f s. A file of %u MiB stays in its memory; its checksum is taken.",
        (double)(guest_clock() - begin) / 1000, KEPT_MIB);
    linux_run(guest, 60, "memwork fill /tmp/keep %u 42", KEPT_MIB);
    snprintf(sum, sizeof sum, "%s", linux_run(guest, 60, "memwork sum /tmp/keep"));

    unsigned ballooned = inflate_and_deflate();
    unsigned reported = report();

    bool same = strcmp(sum, linux_run(guest, 60, "memwork sum /tmp/keep")) == 0;
    expect(same, "the checksum changed: guest data was lost");
    linux_end(guest);
    backend_end(backend);
    say("Done in %.1f s: %u MiB by ballooning, %u MiB by reporting, and the checksum is the same.",
        (double)(guest_clock() - begin) / 1000, ballooned, reported);
    return EXIT_SUCCESS;
}
