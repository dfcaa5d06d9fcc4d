/* Pages that a guest has touched, back to the host: bytes of inflate buffers in, system calls out.
 * A call for each page as it comes, which is what hypervisors do; the runs of each buffer, also in
 * batches; what has gathered; and the least that the kernel takes, one call for all memory of the
 * guest. All do the same streams in turn. In transparent huge pages only whole ones come back, so
 * there the granule is one, and nothing comes back without gathering.
 *
 *   bench_discard [CASE]: only the cases whose name contains that text, as in discard/d. */
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <balloon/alloc.h>
#include <balloon/os.h>
#include <balloon/virtio.h>

#include "measure.h"
#include "patterns.h"

/* A guest of 96 MiB, of which half goes; of patterns c and d every second place. */
#define GUEST_PAGES 24576u
#define TAKEN_PAGES (GUEST_PAGES / 2)
#define PAGE        ((size_t)BALLOON_PAGE_SIZE)

#define RUN_BATCH  1024u
#define HUGE_PAGES 512u
#define OTHERS     2u /* come first */

static const char *only = "";
static unsigned char *ram;
static int advice; /* MADV_HUGEPAGE, or not */
static unsigned char bytes[TAKEN_PAGES * 4];
static uint32_t pages[TAKEN_PAGES];

struct way {
    const char *name;
    uint32_t features; /* of the device */
    uint32_t flags;    /* of the balloon_os */
    bool all;          /* without device: not page by page */
    balloon_device *device;
    balloon_os *os;
    uint64_t calls;
    double ns[MEASURE_RUNS];
};

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "bench_discard: %s\n", what);
    exit(1);
}

/* --- ours ---------------------------------------------------------------------------------------
 */

static uint64_t calls_of(const struct way *w)
{
    balloon_os_counters c;

    balloon_os_counters_get(w->os, &c);
    return c.calls;
}

static void serve(struct way *w, balloon_time_t now)
{
    static balloon_run failed[RUN_BATCH];
    balloon_action action;
    size_t failures;

    while (balloon_device_poll(w->device, now, &action))
        if (action.type == BALLOON_ACTION_DISCARD)
            must(balloon_os_discard(w->os, action.runs, action.run_count, failed, &failures) ==
                     BALLOON_OK,
                 "a discard failed");
}

static void send_all(struct way *w, uint32_t queue)
{
    for (size_t at = 0; at < sizeof(bytes); at += BUFFER_PAGES * 4) {
        balloon_iov iov = {bytes + at, BUFFER_PAGES * 4};
        balloon_virtio_buffer buffer = {.cookie = at, .readable = &iov, .readable_count = 1};

        must(balloon_virtio_receive(w->device, queue, &buffer, 0) == BALLOON_OK, "a bad buffer");
        serve(w, 0);
    }
    if (balloon_device_deadline(w->device) != BALLOON_TIME_NEVER)
        serve(w, balloon_device_deadline(w->device));
}

static void make(struct way *w, uint64_t granule)
{
    balloon_region region = {0, GUEST_PAGES, granule};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &region,
                                    .region_count = 1,
                                    .features = w->features,
                                    .run_batch = RUN_BATCH};
    balloon_os_config os = {.size = sizeof(os), .flags = BALLOON_OS_NO_HUGE | w->flags};
    balloon_os_region host = {.size = sizeof(host), .pages = region, .host = ram, .fd = -1};

    must(balloon_device_create(&config, &w->device) == BALLOON_OK &&
             balloon_virtio_set_features(w->device, balloon_virtio_features(w->device)) ==
                 BALLOON_OK &&
             balloon_virtio_driver_ok(w->device, 0, 0) == BALLOON_OK,
         "no device");
    must(balloon_os_create(&os, &w->os) == BALLOON_OK &&
             balloon_os_add_region(w->os, 0, &host) == BALLOON_OK,
         "memory cannot be discarded here");
    serve(w, 0);
}

/* --- others -------------------------------------------------------------------------------------
 */

static uint64_t page_by_page(void)
{
    for (size_t i = 0; i < TAKEN_PAGES; i++)
        must(madvise(ram + pages[i] * PAGE, PAGE, MADV_DONTNEED) == 0, "madvise() failed");
    return TAKEN_PAGES;
}

static uint64_t all_at_once(void)
{
    must(madvise(ram, GUEST_PAGES * PAGE, MADV_DONTNEED) == 0, "madvise() failed");
    return 1;
}

/* --- measuring ----------------------------------------------------------------------------------
 */

/* The guest writes to its pages; they are out of the balloon. The memory is mapped anew, since page
 * tables that are left of small pages keep huge ones out. */
static void touch(void)
{
    must(mmap(ram, GUEST_PAGES * PAGE, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED,
         "no memory");
    (void)madvise(ram, GUEST_PAGES * PAGE, advice);
    for (size_t i = 0; i < TAKEN_PAGES; i++)
        ram[pages[i] * PAGE] = 1;
}

/* Of a longer stream what is in this guest, in its order. */
static void choose(const uint32_t *stream)
{
    size_t n = 0;

    for (size_t i = 0; i < STREAM_PAGES && n < TAKEN_PAGES; i++)
        if (stream[i] < GUEST_PAGES)
            pages[n++] = stream[i];
    must(n == TAKEN_PAGES, "a stream is too short");
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(pages[i / 4] >> i % 4 * 8);
}

static void inflate(struct way *w, int round)
{
    uint64_t before = w->device ? calls_of(w) : 0;
    double start;

    touch();
    start = measure_now();
    if (w->device)
        send_all(w, BALLOON_QUEUE_INFLATE);
    else
        w->calls = w->all ? all_at_once() : page_by_page();
    if (round >= 0)
        w->ns[round] = measure_now() - start;
    for (size_t i = 0; i < TAKEN_PAGES && round < 0; i++)
        must(ram[pages[i] * PAGE] == 0, "a page is not discarded");
    if (!w->device)
        return;
    w->calls = calls_of(w) - before;
    send_all(w, BALLOON_QUEUE_DEFLATE);
}

static void measure(const char *name, struct way *ways, size_t count)
{
    for (int round = -1; round < MEASURE_RUNS; round++) /* the first one brings in the memory */
        for (size_t k = 0; k < count; k++)
            inflate(&ways[k], round);
    for (size_t k = 0; k < count; k++) {
        double median = measure_median(ways[k].ns, MEASURE_RUNS); /* puts them in order */

        printf("{\"case\":\"%s\",\"impl\":\"%s\",\"pages\":%u,\"ns_per_page\":%.1f,"
               "\"ns_least\":%.1f,\"calls\":%llu,\"pages_per_call\":%.1f}\n",
               name, ways[k].name, TAKEN_PAGES, median / TAKEN_PAGES, ways[k].ns[0] / TAKEN_PAGES,
               (unsigned long long)ways[k].calls, (double)TAKEN_PAGES / (double)ways[k].calls);
    }
    fflush(stdout);
}

static struct way small[] = {
    {.name = "a call a page"},
    {.name = "a call for all", .all = true},
    {.name = "libballoon by buffer, a call a run",
     .features = BALLOON_F_NONE,
     .flags = BALLOON_OS_NO_BATCH},
    {.name = "libballoon by buffer", .features = BALLOON_F_NONE},
    {.name = "libballoon gathering", .features = BALLOON_F_MUST_TELL},
};

static struct way huge[] = {
    {.name = "a call a page"},
    {.name = "a call for all", .all = true},
    {.name = "libballoon gathering", .features = BALLOON_F_MUST_TELL},
};

static void *map_ram(void)
{
    unsigned char *map = mmap(NULL, (GUEST_PAGES + HUGE_PAGES) * PAGE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t over;

    must(map != MAP_FAILED, "no memory");
    over = (uintptr_t)map % (HUGE_PAGES * PAGE);
    ram = map + (over ? HUGE_PAGES * PAGE - over : 0);
    return map;
}

static bool in_huge_pages(struct way *w)
{
    balloon_os_region_status status = {.size = sizeof(status)};

    touch();
    must(balloon_os_region_get(w->os, 0, &status) == BALLOON_OK, "no status of memory");
    return status.in_huge >= TAKEN_PAGES;
}

static void measure_all(const char *kind, const char *patterns, struct way *ways, size_t count,
                        bool in_huge)
{
    void *map = map_ram();
    uint32_t *stream = malloc(STREAM_PAGES * sizeof(*stream));
    char name[32];

    must(stream != NULL, "no memory");
    advice = in_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
    for (size_t k = OTHERS; k < count; k++)
        make(&ways[k], in_huge ? HUGE_PAGES : (uint64_t)sysconf(_SC_PAGESIZE) / PAGE);
    for (const char *p = patterns; *p; p++) {
        snprintf(name, sizeof(name), "discard/%c/%s", *p, kind);
        if (!strstr(name, only))
            continue;
        make_pattern(*p, stream, (uint64_t)2 * STREAM_PAGES);
        choose(stream);
        if (in_huge && !in_huge_pages(&ways[OTHERS]))
            fprintf(stderr, "bench_discard: no huge pages here, %s is left out\n", name);
        else
            measure(name, ways, count);
    }
    for (size_t k = OTHERS; k < count; k++) {
        balloon_os_destroy(ways[k].os);
        balloon_device_destroy(ways[k].device);
    }
    munmap(map, (GUEST_PAGES + HUGE_PAGES) * PAGE);
    free(stream);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        only = argv[1];
    measure_all("4KiB", "acde", small, sizeof(small) / sizeof(*small), false);
    measure_all("2MiB", "ae", huge, sizeof(huge) / sizeof(*huge), true);
    return 0;
}
