/* Buffers that no sane driver sends. Whatever is in them, each comes back once, the page map
 * stays right, and not a byte more is read than was given. */
#include "prng.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BUFFER_MAX ((size_t)1 << 20) /* The default of max_buffer_bytes. */

static const balloon_region ram[] = {{16, 4096, 1}};

static balloon_device *make(void **memory)
{
    balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = 1, .features = BALLOON_F_ALL};
    balloon_device *device = rig_make(&config, memory);
    rig_start(device, BALLOON_F_ALL & ~BALLOON_F_POISON, 0);
    return device;
}

static balloon_device_counters counters(const balloon_device *device)
{
    balloon_device_counters c;
    balloon_device_counters_get(device, &c);
    return c;
}

static void check(const balloon_device *device)
{
    const char *why = NULL;
    cr_assert(balloon_device_check(device, &why), "%s", why);
}

/* Memory that ends at a page nobody may touch. */
static uint8_t *guarded(size_t bytes)
{
    uint8_t *map =
        mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(map, MAP_FAILED);
    cr_assert_eq(mprotect(map + bytes, 4096, PROT_NONE), 0);
    return map;
}

static balloon_status receive(balloon_device *device, balloon_virtio_queue kind,
                              const balloon_iov *iov, size_t count)
{
    balloon_virtio_buffer buffer = {.cookie = 5, .readable = iov, .readable_count = count};
    return balloon_virtio_receive(device, (uint32_t)rig_queue(device, kind), &buffer, 0);
}

/* A descriptor may claim 4 GiB. What lies beyond max_buffer_bytes is not there to be read. */
Test(hostile_buffers, no_more_is_read_than_the_limit)
{
    void *memory;
    balloon_device *device = make(&memory);
    uint8_t *bytes = guarded(BUFFER_MAX);
    memset(bytes, 0x11, BUFFER_MAX);
    for (int kind = BALLOON_QUEUE_INFLATE; kind <= BALLOON_QUEUE_STATS; kind++) {
        balloon_iov iov = {bytes, UINT32_MAX};
        uint64_t truncated = counters(device).truncated_bytes;
        cr_assert_eq(receive(device, (balloon_virtio_queue)kind, &iov, 1), BALLOON_ERR_PROTOCOL);
        cr_assert_eq(counters(device).truncated_bytes - truncated, UINT32_MAX - BUFFER_MAX);
        rig_drain(device, 0);
    }
    cr_assert_eq(counters(device).inflate_outside, BUFFER_MAX / 4);
    check(device);
    free(memory);
}

/* A chain that loops shows the same memory again and again. */
Test(hostile_buffers, a_cyclic_chain_ends)
{
    void *memory;
    balloon_device *device = make(&memory);
    uint8_t *bytes = guarded(4096);
    enum { links = 65536 };
    balloon_iov *iov = malloc(links * sizeof(*iov));
    for (size_t i = 0; i < links; i++)
        iov[i] = (balloon_iov){bytes, 4096};
    memset(bytes, 0, 4096);
    bytes[0] = 100;
    cr_assert_eq(receive(device, BALLOON_QUEUE_INFLATE, iov, links), BALLOON_ERR_PROTOCOL);
    balloon_device_counters c = counters(device);
    cr_assert_eq(c.inflated, 1);
    cr_assert_eq(c.inflate_duplicate, BUFFER_MAX / 4096 - 1);
    cr_assert_eq(c.inflate_outside, BUFFER_MAX / 4 - BUFFER_MAX / 4096);
    cr_assert_eq(c.truncated_bytes, (uint64_t)links * 4096 - BUFFER_MAX);
    /* Lengths whose sum does not fit 64 bits. */
    for (size_t i = 0; i < links; i++)
        iov[i].bytes = i < BUFFER_MAX / 4096 ? 4096 : SIZE_MAX;
    cr_assert_eq(receive(device, BALLOON_QUEUE_INFLATE, iov, links), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(counters(device).inflated, 1);
    cr_assert_eq(rig_drain(device, 0), 2);
    check(device);
    free(iov);
    free(memory);
}

/* The same bytes in any pieces do the same, and none is read past its end. */
Test(hostile_buffers, pieces_do_not_matter)
{
    static const uint32_t pfns[] = {20, 21, 22, 300, 299, 20, 4112, 4111, UINT32_MAX, 0};
    enum { bytes_max = sizeof(pfns) + 3 };
    uint8_t bytes[bytes_max];
    balloon_virtio_write_pfns(pfns, 10, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes));
    memset(bytes + sizeof(pfns), 0xff, 3);
    for (size_t length = 0; length <= bytes_max; length++) {
        size_t want_bytes = 0;
        void *want = NULL;
        for (size_t first = 0; first <= length; first++) {
            size_t second = (length - first) / 2;
            uint8_t *end[3] = {guarded(4096) + 4096, guarded(4096) + 4096, guarded(4096) + 4096};
            balloon_iov iov[5] = {
                {end[0] - first, first},
                {NULL, 0},
                {end[1] - second, second},
                {end[2], 0},
                {end[2] - (length - first - second), length - first - second},
            };
            memcpy(end[0] - first, bytes, first);
            memcpy(end[1] - second, bytes + first, second);
            memcpy(end[2] - (length - first - second), bytes + first + second,
                   length - first - second);
            void *memory;
            balloon_device *device = make(&memory);
            balloon_status status = receive(device, BALLOON_QUEUE_INFLATE, iov, 5);
            cr_assert(status == BALLOON_OK || status == BALLOON_ERR_PROTOCOL);
            cr_assert_eq(counters(device).tail_bytes, length % 4);
            size_t got_bytes;
            void *got = rig_save(device, 0, &got_bytes);
            if (!want) {
                want = got;
                want_bytes = got_bytes;
            } else {
                cr_assert(want_bytes == got_bytes && !memcmp(want, got, got_bytes),
                          "%zu bytes, cut at %zu", length, first);
                free(got);
            }
            cr_assert_eq(rig_drain(device, 0), 1);
            free(memory);
            for (int i = 0; i < 3; i++)
                munmap(end[i] - 4096, 8192);
        }
        free(want);
    }
}

Test(hostile_buffers, empty_and_odd_ones_come_back)
{
    void *memory;
    balloon_device *device = make(&memory);
    balloon_virtio_span span = {0, 4096};
    for (int kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
        uint32_t queue = (uint32_t)rig_queue(device, (balloon_virtio_queue)kind);
        size_t held = kind == BALLOON_QUEUE_STATS; /* One of those stays. */
        balloon_virtio_buffer buffer = {.cookie = UINT64_MAX};
        cr_assert_eq(balloon_virtio_receive(device, queue, &buffer, 0), BALLOON_OK);
        cr_assert_eq(rig_drain(device, 0), 1 - held, "queue kind %d", kind);
        /* Both directions at once. */
        balloon_iov iov = {"abcdefg", 7};
        buffer = (balloon_virtio_buffer){
            .readable = &iov, .readable_count = 1, .writable = &span, .writable_count = 1};
        (void)!balloon_virtio_receive(device, queue, &buffer, 0);
        cr_assert_eq(rig_drain(device, 0), 1, "queue kind %d", kind);
        check(device);
    }
    balloon_virtio_buffer buffer = {0};
    cr_assert_eq(balloon_virtio_receive(device, 5, &buffer, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_virtio_receive(device, UINT32_MAX, &buffer, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(rig_drain(device, 0), 0);
    free(memory);
}

Test(hostile_buffers, more_than_max_buffers_wait_outside)
{
    void *memory;
    balloon_device *device = make(&memory);
    uint32_t pfn = 100;
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 256; i++)
            cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, i, &pfn, 1, 0), BALLOON_OK);
        balloon_device_counters before = counters(device);
        for (int kind = 0; kind < BALLOON_QUEUE_KINDS; kind++)
            cr_assert_eq(rig_send(device, (balloon_virtio_queue)kind, 9, "abcd", 4, 0),
                         BALLOON_ERR_BUSY, "queue kind %d", kind);
        balloon_device_counters after = counters(device);
        cr_assert_eq(memcmp(&before, &after, sizeof(after)), 0);
        cr_assert_eq(rig_drain(device, 0), 256);
    }
    check(device);
    free(memory);
}

Test(hostile_buffers, page_numbers_at_the_top)
{
    static const balloon_region top[] = {{0, 16, 1}, {UINT32_MAX - 15, 16, 4}};
    balloon_device_config config = {.size = sizeof(config), .regions = top, .region_count = 2};
    void *memory;
    balloon_device *device = rig_make(&config, &memory);
    rig_start(device, 0, 0);
    uint32_t pfns[64];
    for (uint32_t i = 0; i < 64; i++)
        pfns[i] = 0u - 32u + i; /* Counts up across 2^32, as a run that wraps would. */
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, 64, 0),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(counters(device).inflated, 32);
    cr_assert_eq(counters(device).inflate_outside, 32);
    for (uint32_t i = 0; i < 64; i++)
        pfns[i] = 31u - i;
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_DEFLATE, 2, pfns, 64, 0),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(counters(device).deflated, 32);
    check(device);
    free(memory);
}

/* With RAM above 16 TiB a 32-bit page number may mean another page: nothing is inflated. Reports
 * carry whole addresses and are served. */
Test(hostile_buffers, ram_above_16_tib)
{
    const uint64_t high = UINT64_C(1) << 32;
    balloon_region regions[] = {{0, 64, 1}, {high, 64, 1}};
    balloon_device_config config = {
        .size = sizeof(config), .regions = regions, .region_count = 2, .features = BALLOON_F_ALL};
    void *memory;
    balloon_device *device = rig_make(&config, &memory);
    rig_start(device, BALLOON_F_REPORTING, 0);
    cr_assert_eq(balloon_device_set_target(device, 16, 0), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(balloon_device_set_target(device, 0, 0), BALLOON_OK);
    uint32_t pfn = 3;
    (void)!rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, &pfn, 1, 0);
    balloon_action action;
    while (balloon_device_poll(device, 0, &action))
        cr_assert_neq(action.type, BALLOON_ACTION_DISCARD);
    balloon_virtio_span span = {high << 12, 2 << 12};
    cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 2, &span, 1, 0), BALLOON_OK);
    cr_assert(balloon_device_poll(device, 0, &action));
    cr_assert_eq(action.type, BALLOON_ACTION_DISCARD);
    cr_assert_eq(action.runs[0].range.first, high);
    cr_assert_eq(action.runs[0].range.count, 2);
    cr_assert_eq(rig_drain(device, 0), 1);
    free(memory);
}

/* Spans that overflow, or name everything, many times over: at most guest RAM is discarded. */
Test(hostile_buffers, reports_of_everything)
{
    void *memory;
    balloon_device *device = make(&memory);
    balloon_virtio_span spans[256];
    static const balloon_virtio_span odd[] = {
        {0, UINT64_MAX},           {UINT64_MAX, UINT64_MAX},
        {UINT64_MAX - 4095, 8192}, {1, 4095},
        {(16 << 12) - 1, 8192},    {17 << 12, 0},
        {4111 << 12, 8192},        {4095, 4096},
    };
    for (size_t i = 0; i < 256; i++)
        spans[i] = odd[i % 8];
    for (size_t n = 1; n <= 256; n += n < 8 ? 1 : 31) {
        (void)!rig_send_spans(device, BALLOON_QUEUE_REPORT, n, spans, n, 0);
        (void)!rig_send_spans(device, BALLOON_QUEUE_HINT, n, spans, n, 0);
        uint64_t discarded = 0, acks = 0;
        balloon_action action;
        while (balloon_device_poll(device, 0, &action)) {
            acks += action.type == BALLOON_ACTION_ACK;
            for (uint32_t i = 0; i < action.run_count; i++) {
                balloon_range run = action.runs[i].range;
                cr_assert(run.first >= 16 && run.first + run.count <= 16 + 4096);
                discarded += run.count;
            }
        }
        cr_assert_leq(discarded, 4096);
        cr_assert_eq(acks, 2);
        check(device);
    }
    cr_assert_eq(balloon_tracker_held(balloon_device_tracker(device)), 0);
    free(memory);
}

/* 64-bit page numbers, as Windows sends them: the parts above 32 bits are not cut off. */
Test(hostile_buffers, wide_page_numbers)
{
    balloon_region low = {0, 64, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &low, .region_count = 1};
    balloon_virtio_options options = {.size = sizeof(options), .windows_pfns = true};
    void *memory;
    balloon_device *device = rig_make(&config, &memory);
    cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
    rig_start(device, 0, 0);
    static const uint64_t pfns[] = {20, 21, (UINT64_C(1) << 32) + 22, UINT64_MAX, 0, 16};
    uint8_t bytes[sizeof(pfns) + 5] = {0};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 8; j++)
            bytes[8 * i + j] = (uint8_t)(pfns[i] >> 8 * j);
    (void)!rig_send(device, BALLOON_QUEUE_INFLATE, 1, bytes, sizeof(bytes), 0);
    balloon_device_counters c = counters(device);
    cr_assert_eq(c.inflated, 4);
    cr_assert_eq(c.inflate_outside, 2);
    cr_assert_eq(c.tail_bytes, 5);
    check(device);
    free(memory);
}
