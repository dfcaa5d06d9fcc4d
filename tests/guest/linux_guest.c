/* A real Linux kernel's own balloon driver against our device, over the vhost-user example. */
#include "guest.h"
#include "prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES_PER_MIB = 256, PAGES_PER_GIB = 262144 };
enum { MUST_TELL = 1, STATS = 2, OOM = 4, HINTING = 8, POISON = 16, REPORTING = 32 };
enum { HINTING_OFF = 0, HINTING_STOPPED = 3 };

void guest_failed(const char *message)
{
    cr_assert_fail("%s", message);
    abort();
}

static void need_guest(void)
{
    const char *missing = guest_missing();
    if (missing)
        cr_skip_test("no Linux guest: %s", missing);
}

static void need_check_all(void)
{
    if (!prng_check_all())
        cr_skip_test("long: runs with BALLOON_CHECK_ALL=1");
}

static struct backend *backend_with(unsigned guests, unsigned features, bool per_buffer)
{
    char mask[16];
    snprintf(mask, sizeof mask, "0x%x", features);
    const char *options[] = {"--features", mask, per_buffer ? "--per-buffer" : NULL, NULL};
    return backend_start(guests, options);
}

/* The guest claims the target and we count it. The kernel may be moving a page of its balloon, and
 * then we count one more for a moment. */
static void inflate_to(struct backend *backend, unsigned guest, unsigned mib)
{
    backend_do(backend, "target %u %u", guest, mib);
    for (uint64_t end = guest_deadline(30);; guest_sleep(20)) {
        const char *status = backend_ask(backend, "status %u", guest);
        if (answer_number(status, "settled") &&
            answer_number(status, "held") == mib * PAGES_PER_MIB)
            break;
        cr_assert(guest_clock() < end, "the target of %u MiB is not reached: %s", mib, status);
    }
}

static void wait_discarded(struct backend *backend, unsigned guest)
{
    for (uint64_t end = guest_deadline(5); backend_number(backend, guest, "pending") > 0;
         guest_sleep(20))
        cr_assert(guest_clock() < end, "what is pending is not discarded");
}

/* All buffers came back but the statistics buffer, which the device keeps. */
static void check_acks(struct backend *backend, unsigned guest)
{
    uint64_t end = guest_deadline(5);
    for (;; guest_sleep(20)) {
        const char *status = backend_ask(backend, "status %u", guest);
        uint64_t kept = answer_number(status, "negotiated") & STATS ? 1 : 0;
        if (answer_number(status, "buffers") == answer_number(status, "acks") + kept)
            break;
        cr_assert(guest_clock() < end, "an acknowledgement is missing: %s", status);
    }
}

static void keep_file(struct linux_guest *linux_guest, unsigned mib, char *sum, size_t size)
{
    linux_run(linux_guest, 30, "memwork fill /tmp/keep %u 42 >/dev/null", mib);
    snprintf(sum, size, "%s", linux_run(linux_guest, 30, "memwork sum /tmp/keep"));
    cr_assert(strncmp(sum, "sum ", 4) == 0, "%s", sum);
}

static void check_kept_file(struct linux_guest *linux_guest, const char *sum)
{
    cr_assert_str_eq(linux_run(linux_guest, 30, "memwork sum /tmp/keep"), sum);
}

static void touch_memory(struct linux_guest *linux_guest, unsigned mib)
{
    linux_run(linux_guest, 60, "memwork fill /tmp/x %u 1; rm /tmp/x", mib);
}

Test(linux_guest, memory_comes_back_to_the_host, .timeout = 1200)
{
    need_guest();
    struct backend *backend = backend_with(1, MUST_TELL | STATS | OOM | POISON, false);
    struct linux_guest *guest = linux_start(backend, 0, 256);
    char sum[64];
    keep_file(guest, 16, sum, sizeof sum);
    touch_memory(guest, 160);
    uint64_t before = linux_host_bytes(guest);

    inflate_to(backend, 0, 150);
    wait_discarded(backend, 0);
    uint64_t after = linux_host_bytes(guest);
    cr_assert_geq(before, after + (140u << 20), "host bytes: %llu before, %llu after",
                  (unsigned long long)before, (unsigned long long)after);
    cr_assert_eq(backend_number(backend, 0, "discarded"), 150 * PAGES_PER_MIB);

    const char *stats = backend_ask(backend, "stats");
    uint64_t free_bytes = answer_number(stats, "free");
    cr_assert_gt(answer_number(stats, "total"), 200u << 20);
    cr_assert_gt(free_bytes, 1u << 20);
    cr_assert_lt(free_bytes, 106u << 20);
    cr_assert_gt(answer_number(stats, "minor_faults"), 0u);

    inflate_to(backend, 0, 40);
    inflate_to(backend, 0, 0);
    cr_assert_eq(backend_number(backend, 0, "deflated"), 150 * PAGES_PER_MIB);
    cr_assert_eq(backend_number(backend, 0, "deflate_unheld"), 0u);
    cr_assert_eq(backend_number(backend, 0, "protocol_errors"), 0u);
    touch_memory(guest, 160);
    check_kept_file(guest, sum);
    check_acks(backend, 0);
    linux_end(guest);
    backend_end(backend);
}

Test(linux_guest, free_pages_are_reported, .timeout = 1200)
{
    need_guest();
    struct backend *backend = backend_with(1, STATS | REPORTING, false);
    struct linux_guest *guest = linux_start(backend, 0, 256);
    char sum[64];
    keep_file(guest, 16, sum, sizeof sum);
    linux_run(guest, 60, "memwork fill /tmp/x 160 1");
    uint64_t before = linux_host_bytes(guest);
    uint64_t reported = backend_number(backend, 0, "reported");
    linux_run(guest, 10, "rm /tmp/x");
    backend_wait(backend, 0, "reported", reported + 120 * PAGES_PER_MIB, 30);
    uint64_t after = linux_host_bytes(guest);
    cr_assert_geq(before, after + (110u << 20), "host bytes: %llu before, %llu after",
                  (unsigned long long)before, (unsigned long long)after);
    cr_assert_eq(backend_number(backend, 0, "held"), 0u);
    check_kept_file(guest, sum);
    check_acks(backend, 0);
    linux_end(guest);
    backend_end(backend);
}

/* Without POISON in the offer the driver keeps all features and can disable its rings; with it,
 * this kernel sets its features twice and only stops. */
static void reload_driver(unsigned features)
{
    need_guest();
    struct backend *backend = backend_with(1, features, false);
    struct linux_guest *guest = linux_start(backend, 0, 128);
    char sum[64];
    keep_file(guest, 16, sum, sizeof sum);
    inflate_to(backend, 0, 48);
    for (int i = 0; i < 2; i++) {
        uint64_t unused = linux_meminfo(guest, "MemFree");
        linux_run(guest, 30, "rmmod virtio_balloon");
        cr_assert_eq(backend_number(backend, 0, "driver"), 0u);
        cr_assert_eq(backend_number(backend, 0, "held"), 0u);
        cr_assert_eq(backend_number(backend, 0, "target"), 48u * PAGES_PER_MIB);
        /* MemFree leaves out what the kernel keeps at hand for its processor. */
        cr_assert_gt(linux_meminfo(guest, "MemFree"), unused + (32u << 10));
        linux_run(guest, 30, "insmod /virtio_balloon.ko");
        backend_wait(backend, 0, "held", 48 * PAGES_PER_MIB, 30);
        backend_wait(backend, 0, "settled", 1, 30);
    }
    wait_discarded(backend, 0);
    cr_assert_eq(backend_number(backend, 0, "deflate_unheld"), 0u);
    check_kept_file(guest, sum);
    linux_end(guest);
    backend_end(backend);
}

Test(linux_guest, driver_is_reloaded, .timeout = 1200)
{
    reload_driver(MUST_TELL | STATS | OOM | REPORTING);
}

Test(linux_guest, driver_is_reloaded_after_refusing_a_feature, .timeout = 1200)
{
    reload_driver(MUST_TELL | STATS | OOM | POISON);
}

Test(linux_guest, free_pages_are_hinted, .timeout = 1200)
{
    need_guest();
    struct backend *backend = backend_with(1, MUST_TELL | STATS | HINTING | REPORTING, false);
    struct linux_guest *guest = linux_start(backend, 0, 256);
    char sum[64];
    keep_file(guest, 16, sum, sizeof sum);
    cr_assert_not_null(strstr(backend_ask(backend, "hint stop"), "error"));
    for (unsigned round = 1; round <= 2; round++) {
        uint64_t unused = linux_meminfo(guest, "MemFree");
        backend_do(backend, "hint start");
        backend_wait(backend, 0, "hinting", HINTING_STOPPED, 30);
        uint64_t hinted = backend_number(backend, 0, "hinted");
        cr_assert_gt(hinted * 4, unused / 2, "%llu pages hinted of %llu KiB free",
                     (unsigned long long)hinted, (unsigned long long)unused);
        cr_assert_eq(backend_events(backend, "hinted"), round);
        cr_assert_lt(linux_meminfo(guest, "MemFree"), unused / 2);
        backend_do(backend, "hint finish");
        cr_assert_eq(backend_number(backend, 0, "hinting"), (unsigned)HINTING_OFF);
        for (uint64_t end = guest_deadline(10); linux_meminfo(guest, "MemFree") < unused * 3 / 4;)
            cr_assert(guest_clock() < end, "the guest does not get its pages back");
    }
    backend_do(backend, "hint start");
    backend_do(backend, "hint stop");
    backend_do(backend, "hint finish");
    inflate_to(backend, 0, 64);
    check_kept_file(guest, sum);
    check_acks(backend, 0);
    linux_end(guest);
    backend_end(backend);
}

Test(linux_guest, two_guests_share_a_process, .timeout = 1200)
{
    need_guest();
    struct backend *backend = backend_with(2, MUST_TELL | STATS, false);
    struct linux_guest *first = linux_start(backend, 0, 96);
    struct linux_guest *second = linux_start(backend, 1, 128);
    backend_do(backend, "inhibit 1");
    inflate_to(backend, 0, 24);
    inflate_to(backend, 1, 40);
    wait_discarded(backend, 0);
    guest_sleep(200);
    cr_assert_eq(backend_number(backend, 1, "discarded"), 0u);
    cr_assert_eq(backend_number(backend, 1, "pending"), 40u * PAGES_PER_MIB);
    backend_do(backend, "release 1");
    wait_discarded(backend, 1);
    cr_assert_eq(backend_number(backend, 1, "discarded"), 40u * PAGES_PER_MIB);

    /* The end of one is nothing to the other. */
    linux_end(first);
    inflate_to(backend, 1, 20);
    for (uint64_t end = guest_deadline(5); backend_number(backend, 0, "connected"); guest_sleep(20))
        cr_assert(guest_clock() < end, "the end of a front-end goes unnoticed");
    cr_assert_eq(backend_number(backend, 0, "guest_pages"), 0u);
    cr_assert_eq(backend_number(backend, 0, "held"), 0u);

    /* Another front-end may follow on the same socket; a target can be waiting for it. */
    backend_do(backend, "target 0 32");
    first = linux_start(backend, 0, 96);
    backend_wait(backend, 0, "held", 32 * PAGES_PER_MIB, 30);
    check_acks(backend, 1);
    linux_end(first);
    linux_end(second);
    backend_end(backend);
}

static void random_features(uint64_t stream)
{
    need_guest();
    struct prng random = prng_start(prng_seed(), 1000 + stream);
    unsigned drawn = (unsigned)prng_below(&random, 64);
    char sum[64];
    for (int per_buffer = 0; per_buffer < 2; per_buffer++) {
        unsigned features = per_buffer ? drawn & ~(unsigned)MUST_TELL : drawn | MUST_TELL;
        cr_log_info("features 0x%x, %s", features, per_buffer ? "per buffer" : "gathered");
        struct backend *backend = backend_with(1, features, per_buffer);
        struct linux_guest *guest = linux_start(backend, 0, 128);
        keep_file(guest, 16, sum, sizeof sum);
        unsigned last = 0;
        for (int i = 0; i < 6; i++) {
            last = (unsigned)prng_below(&random, 64);
            inflate_to(backend, 0, last);
        }
        wait_discarded(backend, 0);
        check_acks(backend, 0);
        const char *status = backend_ask(backend, "status");
        cr_assert_eq(answer_number(status, "inflated") - answer_number(status, "deflated"),
                     last * PAGES_PER_MIB, "features 0x%x: %s", features, status);
        cr_assert_eq(answer_number(status, "protocol_errors"), 0u, "features 0x%x: %s", features,
                     status);
        check_kept_file(guest, sum);
        linux_end(guest);
        backend_end(backend);
    }
}

Test(linux_guest, random_features_1, .timeout = 1200)
{
    random_features(1);
}

Test(linux_guest, random_features_2, .timeout = 1200)
{
    random_features(2);
}

Test(linux_guest, random_features_3, .timeout = 1200)
{
    random_features(3);
}

/* Hogs verify every word of their memory while the balloon breathes around them. */
static void breathe_beside_hogs(bool per_buffer)
{
    need_check_all();
    need_guest();
    struct backend *backend = backend_with(1, MUST_TELL | STATS | OOM | REPORTING, per_buffer);
    struct linux_guest *guest = linux_start(backend, 0, 512);
    struct prng random = prng_start(prng_seed(), 2000);
    char sum[64];
    keep_file(guest, 16, sum, sizeof sum);
    for (int i = 0; i < 2; i++)
        linux_run(guest, 10, "memwork hog 70 %d /tmp/hog%d >/tmp/said%d 2>&1 &", i + 1, i, i);
    for (int i = 0; i < 200; i++) {
        backend_do(backend, "target %u", (unsigned)prng_below(&random, 270));
        /* Every other one is reached, if the guest has the memory; the rest are overtaken by the
         * next. */
        uint64_t end = guest_clock() + (i % 2 ? 5000 : prng_below(&random, 100));
        while (guest_clock() < end && !backend_number(backend, 0, "settled"))
            guest_sleep(10);
        if (i % 20 == 0)
            linux_run(guest, 60, "memwork fill /tmp/x 60 %d; rm /tmp/x", i);
    }
    inflate_to(backend, 0, 0);
    linux_run(guest, 60, "killall memwork; wait");
    for (int i = 0; i < 2; i++) {
        const char *log = linux_run(guest, 10, "cat /tmp/hog%d /tmp/said%d", i, i);
        cr_assert_not_null(strstr(log, " bad 0 end"), "hog %d: %s", i, log);
        cr_assert_gt(strtoull(log + strcspn(log, "0123456789"), NULL, 10), 1u, "hog %d: %s", i,
                     log);
    }
    check_kept_file(guest, sum);
    check_acks(backend, 0);
    cr_assert_gt(backend_number(backend, 0, "inflated"), 2u * PAGES_PER_GIB);
    linux_end(guest);
    backend_end(backend);
}

Test(linux_guest, no_word_is_lost_beside_hogs_gathered, .timeout = 1200)
{
    breathe_beside_hogs(false);
}

Test(linux_guest, no_word_is_lost_beside_hogs_per_buffer, .timeout = 1200)
{
    breathe_beside_hogs(true);
}

/* Runs handed to the host for each GiB that comes back. What gathers is discarded when all of it is
 * there, so that the counts do not depend on the machine's speed; the time is for a page that the
 * kernel moved on the way. */
static double runs_per_gib(bool per_buffer, bool fragmented)
{
    unsigned mib = fragmented ? 112 : 384;
    char all[16];
    snprintf(all, sizeof all, "%u", mib * PAGES_PER_MIB);
    const char *options[] = {"--features",
                             "7",
                             "--gather-ms",
                             "60000",
                             "--gather-pages",
                             all,
                             per_buffer ? "--per-buffer" : NULL,
                             NULL};
    struct backend *backend = backend_start(1, options);
    struct linux_guest *guest = linux_start(backend, 0, 512);
    /* Every other file goes again, which leaves 120 MiB in small holes. */
    if (fragmented)
        linux_run(guest, 120,
                  "mkdir /tmp/f; mount -t tmpfs -o nr_inodes=0,size=100%% f /tmp/f; "
                  "memwork fragment /tmp/f 240 8");
    inflate_to(backend, 0, mib);
    wait_discarded(backend, 0);
    const char *status = backend_ask(backend, "status");
    double runs = (double)answer_number(status, "discard_runs");
    double pages = (double)answer_number(status, "discarded");
    cr_assert_eq(answer_number(status, "discarded"), mib * PAGES_PER_MIB);
    linux_end(guest);
    backend_end(backend);
    return runs * (double)PAGES_PER_GIB / pages;
}

Test(linux_guest, gathering_merges_runs_of_a_fresh_guest, .timeout = 1200)
{
    need_check_all();
    need_guest();
    double per_buffer = runs_per_gib(true, false), gathered = runs_per_gib(false, false);
    cr_log_info("runs per GiB: %.0f per buffer, %.0f gathered", per_buffer, gathered);
    cr_assert(per_buffer >= 8 * gathered, "%.0f runs per GiB per buffer, %.0f gathered", per_buffer,
              gathered);
}

Test(linux_guest, gathering_merges_runs_of_a_fragmented_guest, .timeout = 1200)
{
    need_check_all();
    need_guest();
    double per_buffer = runs_per_gib(true, true), gathered = runs_per_gib(false, true);
    cr_log_info("runs per GiB: %.0f per buffer, %.0f gathered", per_buffer, gathered);
    cr_assert(per_buffer >= 1.8 * gathered, "%.0f runs per GiB per buffer, %.0f gathered",
              per_buffer, gathered);
}
