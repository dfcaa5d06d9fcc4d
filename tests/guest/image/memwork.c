/* Memory work inside the test guest: fill files, check them, hog memory, fragment memory. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MIB = 1 << 20, PAGE = 4096 };

static volatile sig_atomic_t stop;

static void fail(const char *what)
{
    printf("memwork: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t scramble(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void fill_page(uint64_t *page, uint64_t seed, uint64_t number)
{
    uint64_t key = scramble(seed + number * 0x9e3779b97f4a7c15u);
    for (unsigned i = 0; i < PAGE / 8; i++)
        page[i] = key + i * 0x9e3779b97f4a7c15u;
}

/* System calls are dear in this guest, so files are read and written in large pieces. */
static uint64_t piece[MIB / 8];

/* fill FILE MIB SEED: stops early when the file system is full. */
static int fill(const char *path, uint64_t mib, uint64_t seed)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        fail(path);
    uint64_t done = 0;
    for (ssize_t put = MIB; done < mib * MIB && put == MIB; done += (uint64_t)put) {
        for (uint64_t i = 0; i < MIB / PAGE; i++)
            fill_page(piece + i * (PAGE / 8), seed, done / PAGE + i);
        put = write(fd, piece, MIB);
        if (put < 0)
            break;
    }
    close(fd);
    printf("filled %llu KiB\n", (unsigned long long)done / 1024);
    return 0;
}

/* sum FILE: a checksum of its contents that depends on their order. */
static int sum(const char *path)
{
    int fd = open(path, O_RDONLY);
    uint64_t total = 0;
    if (fd < 0)
        fail(path);
    for (ssize_t got; (got = read(fd, piece, MIB)) > 0;)
        for (ssize_t i = 0; i < got / 8; i++)
            total = (total << 7 | total >> 57) * 3 + piece[i];
    close(fd);
    printf("sum %016llx\n", (unsigned long long)total);
    return 0;
}

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static void put_log(const char *log, uint64_t passes, uint64_t bad)
{
    FILE *out = fopen(log, "w");
    if (!out)
        fail(log);
    fprintf(out, "passes %llu bad %llu %s\n", (unsigned long long)passes, (unsigned long long)bad,
            stop ? "end" : "going");
    fclose(out);
}

/* hog MIB SEED LOG: take memory, write a pattern, then verify every word and rewrite it, again and
 * again until a signal comes. The log gets one line at the end of each pass. */
static int hog(uint64_t mib, uint64_t seed, const char *log)
{
    static uint64_t want[PAGE / 8];
    signal(SIGTERM, on_signal);
    uint64_t pages = mib * MIB / PAGE, bad = 0, passes = 0;
    uint8_t *memory =
        mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    for (uint64_t n = 0; n < pages; n++)
        fill_page((uint64_t *)(void *)(memory + n * PAGE), seed, n);
    for (;;) {
        for (uint64_t n = 0; n < pages; n++) {
            uint64_t *page = (uint64_t *)(void *)(memory + n * PAGE);
            fill_page(want, seed + passes, n);
            if (memcmp(page, want, PAGE) != 0)
                for (unsigned i = 0; i < PAGE / 8; i++)
                    bad += page[i] != want[i];
            fill_page(page, seed + passes + 1, n);
        }
        passes++;
        put_log(log, passes, bad);
        if (stop)
            return bad != 0;
    }
}

/* Read a piece and count its wrong words; then give it what the next pass expects. */
static uint64_t work_on(int fd, uint64_t number, uint64_t seed)
{
    static uint64_t want[PAGE / 8];
    uint64_t bad = 0;
    if (pread(fd, piece, MIB, (off_t)(number * MIB)) != MIB)
        fail("pread");
    for (uint64_t i = 0; i < MIB / PAGE; i++) {
        uint64_t *page = piece + i * (PAGE / 8);
        fill_page(want, seed, number * (MIB / PAGE) + i);
        for (unsigned k = 0; k < PAGE / 8; k++)
            bad += page[k] != want[k];
        fill_page(page, seed + 1, number * (MIB / PAGE) + i);
    }
    if (pwrite(fd, piece, MIB, (off_t)(number * MIB)) != MIB)
        fail("pwrite");
    return bad;
}

/* work FILE MIB SEED LOG PACE: what a hog does, on a file in memory, because each page that a
 * process touches for the first time is dear in this guest. Takes PACE MiB a second, and rests
 * between passes. */
static int work(const char *path, uint64_t mib, uint64_t seed, const char *log, uint64_t pace)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        fail(path);
    signal(SIGTERM, on_signal);
    for (uint64_t n = 0; n < mib; n++) {
        for (uint64_t i = 0; i < MIB / PAGE; i++)
            fill_page(piece + i * (PAGE / 8), seed, n * (MIB / PAGE) + i);
        if (pwrite(fd, piece, MIB, (off_t)(n * MIB)) != MIB)
            fail("pwrite");
        if (n % pace == pace - 1 && !stop)
            sleep(1);
    }
    for (uint64_t passes = 0, bad = 0;;) {
        for (uint64_t n = 0; n < mib; n++)
            bad += work_on(fd, n, seed + passes);
        put_log(log, ++passes, bad);
        if (stop) {
            unlink(path);
            return bad != 0;
        }
        sleep(1);
    }
}

/* fragment DIRECTORY MIB PAGES: files of 1..PAGES pages until MIB are used or the file system is
 * full; then every other one is deleted. */
static int fragment(const char *directory, uint64_t mib, uint64_t most)
{
    static uint64_t pages[64 * PAGE / 8];
    char name[256];
    uint64_t files = 0, used = 0, random = 1;
    if (most < 1 || most > 64)
        return 2;
    memset(pages, 0x5a, sizeof pages);
    for (; used < mib * MIB; files++) {
        random = scramble(random);
        size_t bytes = (size_t)(1 + random % most) * PAGE;
        snprintf(name, sizeof name, "%s/%llu", directory, (unsigned long long)files);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if (fd < 0)
            break;
        ssize_t written = write(fd, pages, bytes);
        close(fd);
        if (written != (ssize_t)bytes)
            break;
        used += bytes;
    }
    for (uint64_t i = 0; i < files; i += 2) {
        snprintf(name, sizeof name, "%s/%llu", directory, (unsigned long long)i);
        unlink(name);
    }
    printf("fragmented %llu KiB in %llu files\n", (unsigned long long)used / 1024,
           (unsigned long long)files);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
    if (argc == 3 && strcmp(argv[1], "sum") == 0)
        return sum(argv[2]);
    if (argc == 5 && strcmp(argv[1], "hog") == 0)
        return hog(strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0), argv[4]);
    if (argc == 7 && strcmp(argv[1], "work") == 0 && strtoull(argv[6], NULL, 0) > 0)
        return work(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0), argv[5],
                    strtoull(argv[6], NULL, 0));
    if (argc == 5 && strcmp(argv[1], "fragment") == 0)
        return fragment(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
    printf("usage: memwork fill FILE MIB SEED | sum FILE | hog MIB SEED LOG | "
           "work FILE MIB SEED LOG PACE | "
           "fragment DIRECTORY MIB PAGES\n");
    return 2;
}
