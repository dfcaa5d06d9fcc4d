/* A program that works on its memory at a steady pace, and tells how well it gets on:
 *
 *     pace MIB RATE [LOG]
 *
 * It touches MIB of memory from end to end, again and again, at RATE MiB a second; what it has
 * lost it does not make up for. Each fifth of a second a line goes to the log:
 *
 *     pace <milliseconds since its start> <MiB resident> <MiB touched a second, lately>
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIB    1048576ull
#define SECOND 1000000000ull

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static unsigned long long resident(void)
{
    unsigned long long all = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%llu %llu", &all, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages * 4096 / MIB;
}

static void wait_until(uint64_t time)
{
    struct timespec until = {.tv_sec = (time_t)(time / SECOND), .tv_nsec = (long)(time % SECOND)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 2 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t rate = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    FILE *log = argc > 3 ? fopen(argv[3], "w") : NULL;
    if (!mib || !rate || (argc > 3 && !log))
        return 2;
    uint8_t *memory =
        mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    uint64_t begin = now(), next = begin, told = begin, since = 0;
    for (uint64_t n = 0;; n = (n + 1) % mib) {
        for (uint64_t i = 0; i < MIB; i += 4096)
            ++*(volatile uint64_t *)(void *)(memory + n * MIB + i);
        since++;
        next += SECOND / rate;
        uint64_t time = now();
        if (time < next)
            wait_until(next);
        else
            next = time;
        time = now();
        if (log && time - told >= SECOND / 5) {
            fprintf(log, "pace %llu %llu %llu\n", (unsigned long long)((time - begin) / 1000000),
                    resident(), (unsigned long long)(since * SECOND / (time - told)));
            fflush(log);
            told = time;
            since = 0;
        }
    }
}
