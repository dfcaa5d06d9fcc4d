/* Counts the steps the library takes for what a guest sends: the library under it is compiled so
 * that each basic block calls the counter. A guest's bytes may cost a bounded number of steps each,
 * and what it merely claims, or did before, may not cost any. Says what was measured. */
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

/* A buffer of any kind; one that names 16 GiB of memory at once touches that many words. */
#define STEPS_A_BUFFER 4000
#define STEPS_SPANS    (200 * (((uint64_t)1 << 22) / 64))

/* Each PFN has its price, and each granule that was given back once more when it is broken. */
static uint64_t pfns_limit(uint64_t size, uint64_t granule)
{
    uint64_t pfns = size / 4, granules = GUEST_PAGES / granule;

    return STEPS_A_BUFFER + 250 * pfns + (pfns < granules ? pfns : granules) * (granule / 8);
}

static int failures;
static uint8_t bytes[MOST_BYTES];

static void judge(const char *what, uint64_t granule, uint64_t size, uint64_t limit)
{
    if (steps > limit)
        failures++;
    printf("%-34s granule %6llu, %5llu bytes: %8llu steps, at most %8llu%s\n", what,
           (unsigned long long)granule, (unsigned long long)size, (unsigned long long)steps,
           (unsigned long long)limit, steps > limit ? "  TOO MANY" : "");
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

/* The guest's balloon is full; it takes pages out and gives them again, each time completing or
 * breaking a granule where it can. */
static void pages(const char *what, pfn_function *pfn, uint64_t granule, uint32_t features)
{
    balloon_device *device = start(granule, features);
    balloon_action action;

    for (uint32_t i = 0; i < GUEST_PAGES; i += MOST_BYTES / 4) {
        for (uint32_t k = 0; k < MOST_BYTES / 4; k++)
            put(k, i + k);
        send(device, BALLOON_QUEUE_INFLATE, MOST_BYTES, 1, NULL, 0);
    }
    balloon_device_flush(device);
    while (balloon_device_poll(device, 0, &action))
        ;
    for (size_t size = 64; size <= MOST_BYTES; size *= 32) {
        uint64_t limit = pfns_limit(size, granule);

        for (size_t i = 0; i < size / 4; i++)
            put(i, pfn(i, granule));
        steps = 0;
        send(device, BALLOON_QUEUE_DEFLATE, size, 1, NULL, 0);
        judge(what, granule, size, limit);
        steps = 0;
        send(device, BALLOON_QUEUE_INFLATE, size, size, NULL, 0);
        judge(what, granule, size, limit);
    }
    balloon_device_destroy(device);
}

/* Nothing was polled, so all is still pending: a guest completes no granule, then takes back pages
 * that hold it open, and pages it does not have. */
static void unpolled(uint64_t granule, uint32_t features)
{
    balloon_device *device = start(granule, features);
    balloon_iov iov = {bytes, MOST_BYTES};
    balloon_virtio_buffer buffer = {0, &iov, 1, NULL, 0};

    for (uint32_t i = 0; i < MOST_BYTES / 4; i++)
        put(i, 64 * i);
    (void)!balloon_virtio_receive(device, BALLOON_QUEUE_INFLATE, &buffer, 0);
    for (uint32_t i = 0; i < MOST_BYTES / 4; i++)
        put(i, i % 2 ? 1 : 64 * (i % 500));
    steps = 0;
    (void)!balloon_virtio_receive(device, BALLOON_QUEUE_DEFLATE, &buffer, 0);
    judge("pages of open granules", granule, MOST_BYTES, STEPS_A_BUFFER + 250 * MOST_BYTES / 4);
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

static void spans(uint64_t granule)
{
    static const balloon_virtio_span claims[] = {
        {0, UINT64_MAX}, {0, UINT64_MAX}, {4096, (uint64_t)1 << 36}, {UINT64_MAX - 5, 4096}};
    balloon_device *device = start(granule, BALLOON_F_REPORTING | BALLOON_F_MUST_TELL);

    for (int round = 0; round < 2; round++) {
        steps = 0;
        send(device, BALLOON_QUEUE_REPORT - 2, 0, 0, claims, 4);
        judge("reports of all memory", granule, 4 * sizeof(claims[0]),
              STEPS_A_BUFFER + STEPS_SPANS);
    }
    balloon_device_destroy(device);
}

int main(void)
{
    static const uint64_t granules[] = {1, 16, 512, 262144};

    for (size_t i = 0; i < 4; i++) {
        for (uint32_t tell = 0; tell < 2; tell++) {
            uint32_t features = tell ? BALLOON_F_MUST_TELL : BALLOON_F_STATS;

            pages("scattered pages", scattered, granules[i], features);
            pages("last pages of granules", last_of_granules, granules[i], features);
            pages("one page again and again", same_page, granules[i], features);
            pages("pages that are not there", outside, granules[i], features);
            unpolled(granules[i], features);
        }
        spans(granules[i]);
    }
    statistics();
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
