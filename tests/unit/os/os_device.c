/* A device and the memory behind it: which of its pages the kernel is asked to discard, and in how
 * few calls. */
#include "os_support.h"

#include "prng.h"
#include "rig.h"

enum { PAGES = 4096, BUFFER = 256, RUNS = 1024 };

/* What a guest holds in its balloon, and what the kernel was told. */
struct host {
    struct memory memory;
    struct os_calls calls;
    balloon_device *device;
    void *device_memory;
    bool held[PAGES], gone[PAGES];
};

static struct host host;
static const struct os_calls *real;

static void note(const void *address, size_t bytes)
{
    size_t first = (size_t)((const unsigned char *)address - host.memory.host) / PAGE;

    for (size_t p = first; p < first + bytes / PAGE; p++) {
        cr_assert(host.held[p], "page %d is not in the balloon", (int)p);
        cr_assert_not(host.gone[p], "page %d is discarded twice", (int)p);
        host.gone[p] = true;
    }
}

static int noted_madvise(void *address, size_t bytes, int advice)
{
    note(address, bytes);
    return real->madvise(address, bytes, advice);
}

static ssize_t noted_process_madvise(int pidfd, const struct iovec *iov, size_t count, int advice)
{
    for (size_t i = 0; i < count; i++)
        note(iov[i].iov_base, iov[i].iov_len);
    return real->process_madvise(pidfd, iov, count, advice);
}

/* Discards gather until a flush. */
static void host_start(uint32_t features)
{
    balloon_region ram = {GUEST, PAGES, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .run_batch = RUNS,
                                    .gather_pages = UINT64_MAX};

    memset(&host, 0, sizeof(host));
    host.memory = memory_make(0, PAGES);
    real = host.memory.os->calls;
    host.calls = *real;
    host.calls.madvise = noted_madvise;
    host.calls.process_madvise = noted_process_madvise;
    host.memory.os->calls = &host.calls;
    host.device = rig_make(&config, &host.device_memory);
    rig_start(host.device, features, 0);
}

static void host_end(void)
{
    free(host.device_memory);
    memory_drop(&host.memory);
}

static void serve(void)
{
    static balloon_run failed[RUNS];
    balloon_action action;
    size_t failures;

    while (balloon_device_poll(host.device, 0, &action)) {
        if (action.type == BALLOON_ACTION_DISCARD)
            cr_assert_eq(balloon_os_discard(host.memory.os, action.runs, action.run_count, failed,
                                            &failures),
                         BALLOON_OK);
    }
}

static void guest_sends(balloon_virtio_queue queue, const uint32_t *pages, size_t count)
{
    uint32_t pfns[BUFFER];

    for (size_t i = 0; i < count; i++) {
        pfns[i] = (uint32_t)GUEST + pages[i];
        host.held[pages[i]] = queue == BALLOON_QUEUE_INFLATE;
        if (queue == BALLOON_QUEUE_DEFLATE)
            host.gone[pages[i]] = false;
    }
    cr_assert_eq(rig_send_pfns(host.device, queue, 1, pfns, count, 0), BALLOON_OK);
    serve();
}

static void flush(void)
{
    balloon_device_flush(host.device);
    serve();
}

/* Pages that may be in the balloon or not, in order or not. */
static size_t some(struct prng *prng, uint32_t *pages)
{
    size_t count = 1 + prng_below(prng, BUFFER);
    uint32_t first = (uint32_t)prng_below(prng, PAGES - BUFFER);
    bool scattered = prng_one_in(prng, 2);

    for (size_t i = 0; i < count; i++)
        pages[i] = scattered ? (uint32_t)prng_below(prng, PAGES) : first + (uint32_t)i;
    return count;
}

/* Also when the guest names pages again, or takes back what it never gave. */
static void check_stream(uint32_t features, uint64_t stream)
{
    struct prng prng = prng_start(prng_seed(), stream);
    uint32_t pages[BUFFER];
    uint64_t calls = 0;

    NEEDS_4K_HOST();
    host_start(features);
    for (int step = 0; step < (prng_check_all() ? 5000 : 500); step++) {
        size_t count = some(&prng, pages);

        if (prng_one_in(&prng, 2)) {
            guest_sends(BALLOON_QUEUE_INFLATE, pages, count);
        } else {
            calls = counters(host.memory.os).calls;
            guest_sends(BALLOON_QUEUE_DEFLATE, pages, count);
            cr_assert_eq(counters(host.memory.os).calls, calls, "a call for a deflate");
        }
        if (prng_one_in(&prng, 8))
            flush();
    }
    flush();
    for (uint32_t p = 0; p < PAGES; p++)
        cr_assert_eq(host.gone[p], host.held[p], "page %d", (int)p);
    cr_assert_gt(calls, 0);
    host_end();
}

Test(os_device, nothing_is_discarded_twice_and_a_deflate_makes_no_call)
{
    check_stream(0, 1);
}

Test(os_device, nothing_gathered_is_discarded_twice_and_a_deflate_makes_no_call)
{
    check_stream(BALLOON_F_MUST_TELL, 2);
}

Test(os_device, what_is_cancelled_makes_no_call)
{
    uint32_t pages[BUFFER];

    NEEDS_4K_HOST();
    host_start(BALLOON_F_MUST_TELL);
    for (uint32_t i = 0; i < BUFFER; i++)
        pages[i] = 7 * i;
    guest_sends(BALLOON_QUEUE_INFLATE, pages, BUFFER);
    guest_sends(BALLOON_QUEUE_DEFLATE, pages, BUFFER);
    flush();
    cr_assert_eq(counters(host.memory.os).calls, 0);
    host_end();
}

/* Two blocks of 2 MiB, their pages in any order, by 4 buffers. */
Test(os_device, blocks_that_fill_up_leave_as_one)
{
    struct prng prng = prng_start(prng_seed(), 3);
    uint32_t all[4 * BUFFER];

    NEEDS_4K_HOST();
    host_start(BALLOON_F_MUST_TELL);
    for (uint32_t i = 0; i < 4 * BUFFER; i++) {
        uint32_t j = (uint32_t)prng_below(&prng, i + 1);

        all[i] = all[j];
        all[j] = 512 + i;
    }
    for (int b = 0; b < 4; b++)
        guest_sends(BALLOON_QUEUE_INFLATE, all + b * BUFFER, BUFFER);
    cr_assert_eq(counters(host.memory.os).calls, 0);
    flush();
    cr_assert_eq(counters(host.memory.os).calls, 1);
    cr_assert_eq(counters(host.memory.os).ranges, 1);
    cr_assert_eq(counters(host.memory.os).bytes, 4 * BUFFER * PAGE);
    host_end();
}

/* Every second page: as many ranges as pages, and as few calls as the kernel permits. */
static uint64_t scattered_calls(uint32_t features)
{
    uint32_t pages[BUFFER];
    uint64_t calls;

    host_start(features);
    if (!host.memory.os->batches[BALLOON_OS_DONTNEED]) {
        host_end();
        cr_skip_test("this kernel has no process_madvise() for MADV_DONTNEED on oneself");
    }
    for (uint32_t b = 0; b < PAGES / 2 / BUFFER; b++) {
        for (uint32_t i = 0; i < BUFFER; i++)
            pages[i] = 2 * (b * BUFFER + i);
        guest_sends(BALLOON_QUEUE_INFLATE, pages, BUFFER);
    }
    flush();
    calls = counters(host.memory.os).calls;
    cr_assert_eq(counters(host.memory.os).ranges, PAGES / 2);
    host_end();
    return calls;
}

Test(os_device, scattered_pages_leave_1024_a_call)
{
    NEEDS_4K_HOST();
    cr_assert_eq(scattered_calls(BALLOON_F_MUST_TELL), PAGES / 2 / RUNS);
}

Test(os_device, without_gathering_a_buffer_is_a_call)
{
    NEEDS_4K_HOST();
    cr_assert_eq(scattered_calls(0), PAGES / 2 / BUFFER);
}
