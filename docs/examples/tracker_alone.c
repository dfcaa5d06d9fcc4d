/* The tracker without a device: a snapshot that leaves out the pages a guest does not need. */
#include <balloon/range.h>
#include <balloon/tracker.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 64 MiB of guest memory in two pieces with a hole between them, the second backed by 2 MiB pages.
 */
static const balloon_region regions[] = {
    {.first = 0, .count = 8192, .granule = 1},
    {.first = 0x100000, .count = 8192, .granule = 512},
};
static const balloon_range everything = {0, UINT64_MAX};

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(EXIT_FAILURE);
}
#define CHECK(x) check(x, #x)

/* Write each run of pages that are in use: where it lies, how long it is, and its contents. */
static void save(const balloon_tracker *tracker, uint8_t *const ram[], FILE *file)
{
    balloon_range rest = everything;
    balloon_run run;

    while (balloon_tracker_next(tracker, BALLOON_SET_FREE, rest, &run)) {
        const uint8_t *from =
            ram[run.region] + (run.range.first - regions[run.region].first) * BALLOON_PAGE_SIZE;

        CHECK(fwrite(&run, sizeof(run), 1, file) == 1);
        CHECK(fwrite(from, BALLOON_PAGE_SIZE, run.range.count, file) == run.range.count);
        rest.first = balloon_range_end(run.range);
        rest.count = UINT64_MAX - rest.first;
    }
}

static void restore(FILE *file, uint8_t *const ram[])
{
    balloon_run run;

    while (fread(&run, sizeof(run), 1, file) == 1) {
        uint8_t *to =
            ram[run.region] + (run.range.first - regions[run.region].first) * BALLOON_PAGE_SIZE;

        CHECK(fread(to, BALLOON_PAGE_SIZE, run.range.count, file) == run.range.count);
    }
}

int main(void)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 16384};
    balloon_layout layout;
    balloon_tracker *tracker;
    uint8_t *ram[2], *copy[2];

    CHECK(!balloon_tracker_layout(&config, &layout));
    void *memory = malloc(layout.bytes + layout.align); /* or static, or from a pool */
    CHECK(memory);
    void *aligned = (void *)(((uintptr_t)memory + layout.align - 1) & ~(layout.align - 1));
    CHECK(!balloon_tracker_init(aligned, layout.bytes, &config, &tracker));
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t id;

        CHECK(!balloon_tracker_add_region(tracker, &regions[i], &id));
        CHECK(id == i);
        ram[i] = malloc(regions[i].count * BALLOON_PAGE_SIZE);
        copy[i] = calloc(regions[i].count, BALLOON_PAGE_SIZE);
        CHECK(ram[i] && copy[i]);
        memset(ram[i], 0x5a, regions[i].count * BALLOON_PAGE_SIZE);
    }

    /* The guest gives up pages, in whatever order and with whatever mistakes. */
    static const uint32_t loose[] = {70, 69, 68, 70, 0x80000, 4000};
    balloon_tally tally = {0};
    balloon_tracker_inflate(tracker, loose, 6, &tally);
    balloon_tracker_inflate_range(tracker, (balloon_range){0x100100, 1280}, &tally);
    CHECK(tally.changed == 1284 && tally.unchanged == 1 && tally.outside == 1);

    /* What the host can free now: single pages in one region, whole huge pages in the other. */
    balloon_run runs[8];
    size_t count = balloon_tracker_take(tracker, runs, 8);
    for (size_t i = 0; i < count; i++)
        printf("free  region %u: pages %#llx + %llu\n", (unsigned)runs[i].region,
               (unsigned long long)runs[i].range.first, (unsigned long long)runs[i].range.count);
    CHECK(count == 3 && runs[2].range.first == 0x100200 && runs[2].range.count == 1024);

    FILE *file = tmpfile();
    CHECK(file);
    save(tracker, ram, file);
    uint64_t kept = balloon_tracker_count(tracker, BALLOON_SET_FREE, everything);
    printf("saved %llu of %llu pages in %ld bytes\n", (unsigned long long)kept,
           (unsigned long long)balloon_tracker_pages(tracker), ftell(file));
    rewind(file);
    restore(file, copy);

    /* Everything the guest uses is back, and nothing else was written. */
    for (uint32_t i = 0; i < 2; i++) {
        for (uint64_t page = 0; page < regions[i].count; page++) {
            balloon_range one = {regions[i].first + page, 1};
            bool held = balloon_tracker_count(tracker, BALLOON_SET_HELD, one) != 0;

            CHECK(copy[i][page * BALLOON_PAGE_SIZE + 100] == (held ? 0 : 0x5a));
        }
        free(ram[i]);
        free(copy[i]);
    }
    fclose(file);
    free(memory);
    return 0;
}
