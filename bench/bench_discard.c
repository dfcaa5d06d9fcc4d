/* Pages that a guest has touched, back to the host: bytes of inflate buffers in, system calls out.
 * A call for each page as it comes, which is what hypervisors do, beside the runs of each buffer
 * and what has gathered, with and without process_madvise(). All do the same streams in turn.
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

/* A guest of 256 MiB, of which half goes; of patterns c and d every second place. */
#define GUEST_PAGES 65536u
#define TAKEN_PAGES (GUEST_PAGES / 2)
#define PAGE        ((size_t)BALLOON_PAGE_SIZE)

#define RUN_BATCH 1024u

static unsigned char *ram;
static unsigned char bytes[TAKEN_PAGES * 4];
static uint32_t pages[TAKEN_PAGES];

struct way {
    const char *name;
    uint32_t features; /* of the device */
    uint32_t flags;    /* of the balloon_os */
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

static void make(struct way *w)
{
    balloon_region region = {0, GUEST_PAGES, (uint64_t)sysconf(_SC_PAGESIZE) / PAGE};
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

/* --- a call for each page -----------------------------------------------------------------------
 */

static void page_by_page(void)
{
    for (size_t i = 0; i < TAKEN_PAGES; i++)
        must(madvise(ram + pages[i] * PAGE, PAGE, MADV_DONTNEED) == 0, "madvise() failed");
}

/* --- measuring ----------------------------------------------------------------------------------
 */

/* The guest writes to its pages; they are out of the balloon. */
static void touch(void)
{
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
    double start;

    touch();
    start = measure_now();
    w->calls = w->device ? calls_of(w) : 0;
    if (w->device)
        send_all(w, BALLOON_QUEUE_INFLATE);
    else
        page_by_page();
    if (round >= 0)
        w->ns[round] = measure_now() - start;
    w->calls = w->device ? calls_of(w) - w->calls : TAKEN_PAGES;
    for (size_t i = 0; i < TAKEN_PAGES; i++)
        must(ram[pages[i] * PAGE] == 0, "a page is not discarded");
    if (w->device)
        send_all(w, BALLOON_QUEUE_DEFLATE);
}

static void measure(const char *name, struct way *ways, size_t count)
{
    for (int round = -1; round < MEASURE_RUNS; round++) /* the first one brings in the memory */
        for (size_t k = 0; k < count; k++)
            inflate(&ways[k], round);
    for (size_t k = 0; k < count; k++)
        printf("{\"case\":\"%s\",\"impl\":\"%s\",\"pages\":%u,\"ns_per_page\":%.1f,\"calls\":%llu,"
               "\"pages_per_call\":%.1f}\n",
               name, ways[k].name, TAKEN_PAGES,
               measure_median(ways[k].ns, MEASURE_RUNS) / TAKEN_PAGES,
               (unsigned long long)ways[k].calls, (double)TAKEN_PAGES / (double)ways[k].calls);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct way ways[] = {
        {.name = "a call a page"},
        {.name = "libballoon by buffer, a call a run",
         .features = BALLOON_F_NONE,
         .flags = BALLOON_OS_NO_BATCH},
        {.name = "libballoon by buffer", .features = BALLOON_F_NONE},
        {.name = "libballoon gathering, a call a run",
         .features = BALLOON_F_MUST_TELL,
         .flags = BALLOON_OS_NO_BATCH},
        {.name = "libballoon gathering", .features = BALLOON_F_MUST_TELL},
    };
    const size_t count = sizeof(ways) / sizeof(*ways);
    uint32_t *stream = malloc(STREAM_PAGES * sizeof(*stream));
    char name[] = "discard/?";

    ram =
        mmap(NULL, GUEST_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(stream && ram != MAP_FAILED, "no memory");
    for (size_t k = 1; k < count; k++)
        make(&ways[k]);
    for (const char *p = "acde"; *p; p++) {
        name[sizeof(name) - 2] = *p;
        if (!strstr(name, argc > 1 ? argv[1] : ""))
            continue;
        make_pattern(*p, stream, (uint64_t)2 * STREAM_PAGES);
        choose(stream);
        measure(name, ways, count);
    }
    for (size_t k = 1; k < count; k++) {
        balloon_os_destroy(ways[k].os);
        balloon_device_destroy(ways[k].device);
    }
    munmap(ram, GUEST_PAGES * PAGE);
    free(stream);
    return 0;
}
