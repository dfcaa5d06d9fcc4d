/* Counts the steps the library takes for what a guest sends: the library under it is compiled so
 * that each basic block calls the counter. A guest's bytes may cost a bounded number of steps each,
 * and what it merely claims, or did before, may not cost any. Says what was measured. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/alloc.h>
#include <balloon/virtio.h>

static uint64_t steps;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    steps++;
}

enum { GUEST_PAGES = 1 << 24, MOST_BYTES = 1 << 16 };

/* Prices: of a buffer of any kind, of a page number that is looked at, of one that is marked in a
 * region of single pages, of a run of them, of 2 MiB that a range names, and of 256 KiB where the
 * map must be looked at by words. */
#define STEPS_A_BUFFER 4000
#define STEPS_A_LOOK   6
#define STEPS_A_PFN    30
#define STEPS_A_RUN    130
#define STEPS_A_BLOCK  200
#define STEPS_A_WORD   50

/* Of 64 pages that a bitmap brings to granules. */
#define STEPS_A_BITS 80

/* Of a question about any amount of memory. */
#define STEPS_A_QUESTION 160

/* Of a page number in any region: in time it is three to four times as much as in one of single
 * pages, but each helper counts, and none is inlined here. */
#define STEPS_A_PFN_ANYWHERE 216

static int failures;
static uint8_t bytes[MOST_BYTES];

static void judge(const char *what, uint64_t granule, uint64_t size, uint64_t limit)
{
    if (steps > limit)
        failures++;
    printf("%-36s granule %6llu, %5llu bytes: %8llu steps, at most %8llu%s\n", what,
           (unsigned long long)granule, (unsigned long long)size, (unsigned long long)steps,
           (unsigned long long)limit, steps > limit ? "  TOO MANY" : "");
}

static void judge_pfns(const char *what, uint64_t granule, uint64_t size)
{
    judge(what, granule, size, STEPS_A_BUFFER + STEPS_A_PFN_ANYWHERE * (size / 4));
}

static balloon_device *start(uint64_t granule, uint32_t features)
{
    balloon_region ram = {0, GUEST_PAGES, granule};
    balloon_device_config config = {
        .size = sizeof(config), .regions = &ram, .region_count = 1, .features = features};
    balloon_device *device = NULL;

    if (balloon_device_create(&config, &device) != BALLOON_OK ||
        balloon_virtio_set_features(device, features | BALLOON_VIRTIO_F_VERSION_1) != BALLOON_OK ||
        balloon_virtio_driver_ok(device, 0, 0) != BALLOON_OK)
        exit(2);
    return device;
}

/* Receive a buffer and poll till all is done, counting. */
static void send(balloon_device *device, balloon_virtio_queue queue, size_t size, size_t pieces,
                 const balloon_virtio_span *spans, size_t span_count)
{
    static balloon_iov iov[MOST_BYTES];
    balloon_virtio_buffer buffer = {0, iov, pieces, spans, span_count};
    balloon_action action;
    size_t at = 0;

    for (size_t i = 0; i < pieces; i++) {
        iov[i].base = bytes + at;
        iov[i].bytes = (size - at) / (pieces - i);
        at += iov[i].bytes;
    }
    (void)!balloon_virtio_receive(device, (uint32_t)queue, &buffer, 0);
    while (balloon_device_poll(device, 0, &action))
        ;
}

static void put(size_t i, uint32_t pfn)
{
    for (int b = 0; b < 4; b++)
        bytes[4 * i + (size_t)b] = (uint8_t)(pfn >> 8 * b);
}

typedef uint32_t pfn_function(size_t i, uint64_t granule);

static uint32_t scattered(size_t i, uint64_t granule)
{
    (void)granule;
    return (uint32_t)(i * UINT32_C(2654435761)) % GUEST_PAGES;
}

static uint32_t last_of_granules(size_t i, uint64_t granule)
{
    return (uint32_t)((i + 1) * granule - 1) % GUEST_PAGES;
}

static uint32_t same_page(size_t i, uint64_t granule)
{
    (void)i;
    return (uint32_t)granule - 1;
}

static uint32_t outside(size_t i, uint64_t granule)
{
    (void)granule;
    return UINT32_MAX - (uint32_t)(2 * i);
}

static void receive(balloon_device *device, balloon_virtio_queue queue, size_t size)
{
    balloon_iov iov = {bytes, size};
    balloon_virtio_buffer buffer = {0, &iov, 1, NULL, 0};

    if (balloon_virtio_receive(device, (uint32_t)queue, &buffer, 0) == BALLOON_ERR_BUSY)
        exit(2);
}

static void poll_all(balloon_device *device)
{
    balloon_action action;

    balloon_device_flush(device);
    while (balloon_device_poll(device, 0, &action))
        ;
}

/* Pages that are out come back in, each time completing or breaking a granule where it can; first
 * with an answer to each buffer, then many buffers without any. */
static void back_and_forth(balloon_device *device, const char *what, uint64_t granule, size_t size)
{
    steps = 0;
    send(device, BALLOON_QUEUE_DEFLATE, size, 1, NULL, 0);
    judge_pfns(what, granule, size);
    steps = 0;
    send(device, BALLOON_QUEUE_INFLATE, size, 1, NULL, 0);
    judge_pfns(what, granule, size);
    steps = 0;
    for (int i = 0; i < 32; i++)
        receive(device, i % 2 ? BALLOON_QUEUE_INFLATE : BALLOON_QUEUE_DEFLATE, size);
    judge_pfns(what, granule, 32 * size);
    steps = 0;
    poll_all(device);
    judge_pfns(what, granule, 32 * size);
}

/* The guest's balloon is full. */
static void pages(uint64_t granule, uint32_t features)
{
    static const struct {
        const char *what;
        pfn_function *pfn;
    } kinds[] = {{"scattered pages", scattered},
                 {"last pages of granules", last_of_granules},
                 {"one page again and again", same_page},
                 {"pages that are not there", outside}};
    balloon_device *device = start(granule, features);

    for (uint32_t i = 0; i < GUEST_PAGES; i += MOST_BYTES / 4) {
        for (uint32_t k = 0; k < MOST_BYTES / 4; k++)
            put(k, i + k);
        send(device, BALLOON_QUEUE_INFLATE, MOST_BYTES, 1, NULL, 0);
    }
    poll_all(device);
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++) {
        for (size_t size = 64; size <= MOST_BYTES; size *= 32) {
            for (size_t i = 0; i < size / 4; i++)
                put(i, kinds[kind].pfn(i, granule));
            back_and_forth(device, kinds[kind].what, granule, size);
        }
    }
    balloon_device_destroy(device);
}

/* Nothing was polled yet, so all is still pending: a guest completes no granule, then takes back
 * pages that hold it open, and pages it does not have. Then it completes one and breaks it, again
 * and again. */
static void unpolled(uint64_t granule, uint32_t features)
{
    balloon_device *device = start(granule, features);

    for (uint32_t i = 0; i < MOST_BYTES / 4; i++)
        put(i, 64 * i);
    receive(device, BALLOON_QUEUE_INFLATE, MOST_BYTES);
    for (uint32_t i = 0; i < MOST_BYTES / 4; i++)
        put(i, i % 2 ? 1 : 64 * (i % 500));
    steps = 0;
    receive(device, BALLOON_QUEUE_DEFLATE, MOST_BYTES);
    judge_pfns("pages of open granules", granule, MOST_BYTES);

    for (uint32_t i = 0; i < 1 << 18; i += MOST_BYTES / 4) {
        for (uint32_t k = 0; k < MOST_BYTES / 4; k++)
            put(k, i + k);
        receive(device, BALLOON_QUEUE_INFLATE, MOST_BYTES);
    }
    put(0, 77);
    steps = 0;
    for (int i = 0; i < 100; i++)
        receive(device, i % 2 ? BALLOON_QUEUE_INFLATE : BALLOON_QUEUE_DEFLATE, 4);
    judge_pfns("a page of what was not polled", granule, 100 * 4);
    balloon_device_destroy(device);
}

/* Reported granules wait for their discard; the guest puts pages of them into the balloon and takes
 * them out. */
static void reported(uint64_t granule, uint32_t features)
{
    static const balloon_virtio_span span = {0, (uint64_t)1 << 30};
    balloon_device *device = start(granule, features | BALLOON_F_REPORTING);
    balloon_virtio_buffer buffer = {0, NULL, 0, &span, 1};
    uint32_t queue = 0;

    while (balloon_virtio_queue_of(device, queue) != BALLOON_QUEUE_REPORT)
        queue++;
    if (balloon_virtio_receive(device, queue, &buffer, 0) != BALLOON_OK)
        exit(2);
    for (uint32_t i = 0; i < 64; i++)
        put(i, 100 * i);
    steps = 0;
    for (int i = 0; i < 100; i++)
        receive(device, i % 2 ? BALLOON_QUEUE_DEFLATE : BALLOON_QUEUE_INFLATE, 256);
    judge_pfns("pages of reported granules", granule, 100 * 256);
    balloon_device_destroy(device);
}

static void statistics(void)
{
    balloon_device *device = start(1, BALLOON_F_STATS);

    memset(bytes, 0xff, sizeof(bytes));
    for (size_t size = 64; size <= MOST_BYTES; size *= 32) {
        steps = 0;
        send(device, BALLOON_QUEUE_STATS, size, size, NULL, 0);
        judge("statistics in single bytes", 1, size, STEPS_A_BUFFER + 100 * size);
        (void)!balloon_device_request_stats(device, 0);
    }
    for (int i = 0; i < 10; i++) {
        steps = 0;
        send(device, BALLOON_QUEUE_STATS, MOST_BYTES, 1, NULL, 0);
    }
    judge("statistics nobody asked for", 1, MOST_BYTES, STEPS_A_BUFFER);
    balloon_device_destroy(device);
}

/* What one buffer can name is 16 GiB at most. Where the guest holds a page here and there, the map
 * must be looked at by words. */
static void spans(uint64_t granule, bool speckled)
{
    static const balloon_virtio_span claims[] = {
        {0, UINT64_MAX}, {0, UINT64_MAX}, {4096, (uint64_t)1 << 36}, {UINT64_MAX - 5, 4096}};
    const uint64_t named = (uint64_t)1 << 22;
    balloon_device *device = start(granule, BALLOON_F_REPORTING | BALLOON_F_MUST_TELL);

    for (uint32_t i = 0; speckled && i < named / 512; i += MOST_BYTES / 4) {
        for (uint32_t k = 0; k < MOST_BYTES / 4; k++)
            put(k, (i + k) * 512 + k % 512);
        send(device, BALLOON_QUEUE_INFLATE, MOST_BYTES, 1, NULL, 0);
    }
    poll_all(device);
    for (int round = 0; round < 2; round++) {
        steps = 0;
        send(device, BALLOON_QUEUE_REPORT - 2, 0, 0, claims, 4);
        judge(speckled ? "reports of memory with held pages" : "reports of all memory", granule,
              4 * sizeof(claims[0]),
              STEPS_A_BUFFER + (speckled && granule > 1 ? STEPS_A_WORD * named / 64
                                                        : STEPS_A_BLOCK * named / 512));
    }
    balloon_device_destroy(device);
}

/* A transport that names ranges can name what is there already: all of it in a few bytes. */
static void ranges(uint64_t granule)
{
    balloon_region ram = {0, GUEST_PAGES, granule};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = GUEST_PAGES};
    balloon_tracker *tracker = NULL;
    balloon_range all = {0, GUEST_PAGES};
    balloon_run run;

    if (balloon_tracker_create(&config, &tracker) != BALLOON_OK ||
        balloon_tracker_add_region(tracker, &ram, NULL) != BALLOON_OK)
        exit(2);
    steps = 0;
    balloon_tracker_deflate_range(tracker, all, NULL);
    judge("ranges that are not held", granule, 0, GUEST_PAGES / 512 * STEPS_A_BLOCK);
    balloon_tracker_inflate_range(tracker, all, NULL);
    steps = 0;
    balloon_tracker_inflate_range(tracker, all, NULL);
    judge("ranges that are held", granule, 0, GUEST_PAGES / 512 * STEPS_A_BLOCK);
    steps = 0;
    while (balloon_tracker_take(tracker, &run, 1))
        ;
    judge("all of it handed out", granule, 0, GUEST_PAGES / 512 * STEPS_A_BLOCK);
    balloon_tracker_destroy(tracker);
}

/* A bitmap may have any runs, none of which costs more than its words. A granule is looked at once,
 * though each block brings pages of it. */
static void bitmaps(uint64_t granule, uint8_t pattern)
{
    static uint8_t bits[GUEST_PAGES / 8];
    balloon_region ram = {0, GUEST_PAGES, granule};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = GUEST_PAGES};
    balloon_tracker *tracker = NULL;

    if (balloon_tracker_create(&config, &tracker) != BALLOON_OK ||
        balloon_tracker_add_region(tracker, &ram, NULL) != BALLOON_OK)
        exit(2);
    balloon_tracker_set_gather(tracker, true);
    memset(bits, pattern, sizeof(bits));
    steps = 0;
    for (int round = 0; round < 2; round++)
        (void)!balloon_tracker_import(tracker, (balloon_range){0, GUEST_PAGES}, bits, sizeof(bits),
                                      NULL);
    judge("a bitmap imported twice", granule, pattern,
          2 * (granule == 1 || !pattern ? GUEST_PAGES / 512 * STEPS_A_BLOCK
                                        : GUEST_PAGES / 64 * STEPS_A_BITS));
    balloon_tracker_destroy(tracker);
}

/* Guest memory in many pieces, given all at once, in no order, or one by one, the highest first. */
static void regions(uint32_t count)
{
    static balloon_region ram[4096];
    balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = count, .max_regions = 4096};
    balloon_tracker_config bare = {
        .size = sizeof(bare), .max_pages = 4096 * 512, .max_regions = 4096};
    balloon_device *device = NULL;
    balloon_tracker *tracker = NULL;
    uint64_t log = 0, most = 0;

    while (count >> log)
        log++;
    for (uint32_t i = 0; i < count; i++)
        ram[i] = (balloon_region){(uint64_t)(i * UINT32_C(2654435761) % count) * 1024, 512, 1};
    steps = 0;
    if (balloon_device_create(&config, &device) != BALLOON_OK)
        exit(2);
    judge("regions at set-up", 1, count, STEPS_A_BUFFER + 20 * count * log);
    if (balloon_tracker_create(&bare, &tracker) != BALLOON_OK)
        exit(2);
    for (uint32_t i = 0; i < count; i++) {
        balloon_region next = {(uint64_t)(count - i) * 1024, 512, 1};

        steps = 0;
        if (balloon_tracker_add_region(tracker, &next, NULL) != BALLOON_OK)
            exit(2);
        most = steps > most ? steps : most;
    }
    steps = most;
    judge("a region added", 1, count, STEPS_A_BUFFER + 10 * count);
    balloon_tracker_destroy(tracker);
    balloon_device_destroy(device);
}

/* Runs of pages at places far from each other, up or down: they are found, and marked as runs. */
static void runs(uint32_t length, bool down)
{
    const uint32_t count = MOST_BYTES / 4;
    balloon_device *device = start(1, BALLOON_F_MUST_TELL);

    for (uint32_t i = 0; i < count; i++)
        put(i, i / length * 1024 + 300 + (down ? length - 1 - i % length : i % length));
    steps = 0;
    receive(device, BALLOON_QUEUE_INFLATE, MOST_BYTES);
    judge(down ? "runs down" : "runs up", 1, length,
          STEPS_A_RUN * count / length + STEPS_A_LOOK * count);
    steps = 0;
    receive(device, BALLOON_QUEUE_DEFLATE, MOST_BYTES);
    judge(down ? "runs down, out again" : "runs up, out again", 1, length,
          STEPS_A_RUN * count / length + STEPS_A_LOOK * count);
    balloon_device_destroy(device);
}

/* Where is the next run, and how long is it? And how much is in a GiB? The same whatever is in the
 * balloon, and whatever was. */
static void questions(uint64_t granule)
{
    enum { EMPTY, FULL, LACKS_ONE, CANCELLED, TAKEN, TAKEN_BUT_ONE, FILLS };
    const balloon_range all = {0, GUEST_PAGES};
    balloon_region ram = {0, GUEST_PAGES, granule};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = GUEST_PAGES};

    for (unsigned fill = EMPTY; fill < FILLS; fill++) {
        balloon_tracker *tracker = NULL;
        uint64_t most = 0;
        balloon_run run;

        if (balloon_tracker_create(&config, &tracker) != BALLOON_OK ||
            balloon_tracker_add_region(tracker, &ram, NULL) != BALLOON_OK)
            exit(2);
        balloon_tracker_set_gather(tracker, true);
        if (fill > EMPTY)
            balloon_tracker_inflate_range(tracker, all, NULL);
        while (fill >= TAKEN && balloon_tracker_take(tracker, &run, 1))
            ;
        if (fill == LACKS_ONE || fill == TAKEN_BUT_ONE)
            balloon_tracker_deflate_range(tracker, (balloon_range){GUEST_PAGES - 1, 1}, NULL);
        if (fill == CANCELLED)
            balloon_tracker_deflate_range(tracker, all, NULL);
        for (int set = BALLOON_SET_HELD; set <= BALLOON_SET_PENDING; set++) {
            for (uint64_t from = 0; from < GUEST_PAGES; from += GUEST_PAGES / 8 + 12345) {
                steps = 0;
                balloon_tracker_next(tracker, (balloon_set)set,
                                     (balloon_range){from, GUEST_PAGES - from}, &run);
                most = steps > most ? steps : most;
            }
        }
        steps = most;
        judge("the next run", granule, fill, STEPS_A_QUESTION);
        steps = 0;
        balloon_tracker_count(tracker, BALLOON_SET_HELD, (balloon_range){1, 1 << 18});
        judge("a GiB counted", granule, fill, STEPS_A_QUESTION + (1 << 18) / 512 * 2);
        balloon_tracker_destroy(tracker);
    }
}

/* The price of a page number without any granules. */
static void measure_single(void)
{
    balloon_device *device = start(1, BALLOON_F_MUST_TELL);

    for (uint32_t i = 0; i < MOST_BYTES / 4; i++)
        put(i, scattered(i, 1));
    receive(device, BALLOON_QUEUE_INFLATE, MOST_BYTES);
    poll_all(device);
    steps = 0;
    receive(device, BALLOON_QUEUE_DEFLATE, MOST_BYTES);
    receive(device, BALLOON_QUEUE_INFLATE, MOST_BYTES);
    judge("single pages", 1, 2 * MOST_BYTES, STEPS_A_PFN * (2 * MOST_BYTES / 4));
    balloon_device_destroy(device);
}

int main(void)
{
    static const uint64_t granules[] = {1, 4, 16, 64, 128, 512, 1024, 262144};

    measure_single();
    for (size_t i = 0; i < sizeof(granules) / sizeof(*granules); i++) {
        for (uint32_t tell = 0; tell < 2; tell++) {
            uint32_t features = tell ? BALLOON_F_MUST_TELL : BALLOON_F_STATS;

            pages(granules[i], features);
            unpolled(granules[i], features);
            reported(granules[i], features);
        }
        spans(granules[i], false);
        spans(granules[i], true);
        ranges(granules[i]);
        questions(granules[i]);
        bitmaps(granules[i], 0);
        bitmaps(granules[i], 0x01);
        bitmaps(granules[i], 0x55);
        bitmaps(granules[i], 0xff);
    }
    statistics();
    for (uint32_t length = 32; length <= 2048; length *= 4) {
        runs(length, false);
        runs(length, true);
    }
    regions(64);
    regions(4096);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
