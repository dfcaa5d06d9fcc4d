/* The vhost-user example and the order of messages: what QEMU, user-mode Linux and others send when
 * a driver comes, pauses, goes on or leaves. No Linux needed. */
#include "front_end.h"
#include "guest.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INFLATE = 0, STATS = 2, REPORTING = 2 }; /* of the features that a test offers */
enum { TARGET = 0, ACTUAL = 4, POISON = 12, SPACE = 16 };
enum { VERSION = 1 };
enum { GET_FEATURES = 1, SET_FEATURES = 2, RESET_OWNER = 4, SET_MEM_TABLE = 5, RESET_DEVICE = 34 };

static struct backend *backend;
static struct front_end fe;
static const uint16_t all_new[FE_QUEUES];

/* A back-end that offers these features, and a front-end that has said nothing yet. */
static void connect_to(const char *features, const char *option, const char *value)
{
    char path[128];
    const char *options[] = {"--features", features, option, value, NULL};
    backend = backend_start(1, options);
    backend_socket(backend, 0, path, sizeof path);
    fe_connect(&fe, path);
}

static void begin(const char *features)
{
    connect_to(features, NULL, NULL);
    fe_set_up(&fe);
}

static void end(void)
{
    fe_close(&fe);
    backend_end(backend);
}

static void inflate(uint32_t first, uint32_t count)
{
    uint16_t next = (uint16_t)(fe.ring[INFLATE].used[1] + 1);
    for (uint32_t i = 0; i < count; i++, first++)
        memcpy(fe.ram + FE_DATA + i * 4, &first, 4);
    fe.ring[INFLATE].desc[0] = (struct fe_desc){fe_guest(FE_DATA), count * 4, 0, 0};
    fe_offer(&fe, INFLATE, 0);
    cr_assert_eq(fe_wait_used(&fe, INFLATE, next), next);
}

static uint64_t number(const char *name)
{
    return backend_number(backend, 0, name);
}

static void check_explains(const char *words)
{
    const char *status = backend_ask(backend, "status");
    cr_assert_not_null(strstr(status, words), "not explained by \"%s\": %s", words, status);
}

static void clear_rings(void)
{
    memset(fe.ram, 0, FE_DATA);
}

/* --- pauses ------------------------------------------------------------------------------ */

static void check_paused(uint64_t held)
{
    cr_assert_eq(number("paused"), 1u);
    cr_assert_eq(number("driver"), 1u);
    cr_assert_eq(number("held"), held);
    cr_assert_eq(number("actual"), held);
    cr_assert_eq(number("guest_pages"), (uint64_t)FE_BYTES / 4096);
    check_explains("\"explain\":\"the guest is paused");
}

Test(vhost_user_order, a_pause_keeps_the_balloon_and_its_numbers, .timeout = 1200)
{
    uint16_t bases[FE_QUEUES];
    uint32_t actual = 40;
    begin("3");
    inflate(FE_FIRST_PFN, 40);
    cr_assert(fe_config_write(&fe, ACTUAL, &actual, 4));
    for (uint64_t round = 1; round <= 2; round++) {
        fe_stop(&fe, bases);
        cr_assert_eq(bases[INFLATE], 1u);
        check_paused(40);
        fe_go_on(&fe, bases);
        cr_assert_eq(number("paused"), 0u);
        cr_assert_eq(number("held"), 40u);
        cr_assert_eq(backend_events(backend, "resumed"), round);
    }
    inflate(FE_FIRST_PFN + 40, 2);
    cr_assert_eq(number("held"), 42u);

    /* Some front-ends only disable their rings. */
    actual = 42;
    cr_assert(fe_config_write(&fe, ACTUAL, &actual, 4));
    fe_enable(&fe, false);
    check_paused(42);
    fe_enable(&fe, true);
    cr_assert_eq(number("held"), 42u);
    cr_assert_eq(number("resets"), 0u);
    end();
}

Test(vhost_user_order, a_target_of_a_pause_is_told_when_it_ends, .timeout = 1200)
{
    uint16_t bases[FE_QUEUES];
    uint32_t target;
    begin("3");
    inflate(FE_FIRST_PFN, 40);
    backend_do(backend, "target 1");
    fe_stop(&fe, bases);
    fe_config_told(&fe);
    backend_do(backend, "target 2");
    cr_assert_eq(number("target"), 512u);
    cr_assert_not(fe_config_told(&fe), "nobody is told while the rings stand still");
    fe_go_on(&fe, bases);
    cr_assert_eq(number("held"), 40u);
    cr_assert(fe_config_told(&fe));
    fe_config_read(&fe, TARGET, &target, 4);
    cr_assert_eq(target, 512u);
    end();
}

/* The index of a ring has 16 bits. */
static void stop_after_65536_buffers(void)
{
    uint16_t bases[FE_QUEUES] = {65533};
    connect_to("1", NULL, NULL);
    fe_greet(&fe);
    fe_choose(&fe);
    fe_share(&fe);
    fe.ring[INFLATE].avail[1] = fe.ring[INFLATE].used[1] = bases[INFLATE];
    fe_start_rings(&fe, bases);
    for (uint32_t i = 0; i < 3; i++)
        inflate(FE_FIRST_PFN + i, 1);
    fe_stop(&fe, bases);
    cr_assert_eq(bases[INFLATE], 0u);
}

Test(vhost_user_order, a_pause_after_65536_buffers_is_a_pause, .timeout = 60)
{
    stop_after_65536_buffers();
    fe_go_on(&fe, all_new);
    cr_assert_eq(number("held"), 3u);
    cr_assert_eq(backend_events(backend, "resumed"), 1u);
    inflate(FE_FIRST_PFN + 3, 1);
    cr_assert_eq(number("held"), 4u);
    end();
}

Test(vhost_user_order, a_new_driver_after_65536_buffers_is_new, .timeout = 60)
{
    stop_after_65536_buffers();
    clear_rings();
    fe_go_on(&fe, all_new);
    cr_assert_eq(number("held"), 0u);
    cr_assert_eq(backend_events(backend, "driver"), 2u);
    end();
}

Test(vhost_user_order, the_statistics_buffer_outlives_a_pause, .timeout = 1200)
{
    static const uint8_t free_memory[] = {4, 0, 0, 0, 0, 0x10, 0, 0, 0, 0}; /* tag 4: 4096 bytes */
    uint16_t bases[FE_QUEUES];
    struct fe_ring *ring = &fe.ring[STATS];
    begin("3");
    memcpy(fe.ram + FE_DATA, free_memory, sizeof free_memory);
    ring->desc[5] = (struct fe_desc){fe_guest(FE_DATA), sizeof free_memory, 0, 0};
    fe_offer(&fe, STATS, 5);
    backend_wait(backend, 0, "stats_received", 1, 5);
    fe_stop(&fe, bases);
    cr_assert_eq(bases[STATS], 1u);
    cr_assert_not_null(strstr(backend_ask(backend, "stats"), "statistics are late"));
    cr_assert_eq(ring->used[1], 0, "a ring that stands still was written to");
    fe_go_on(&fe, bases);
    cr_assert_eq(fe_wait_used(&fe, STATS, 1), 1);
    cr_assert_eq(ring->used[2], 5);
    fe_offer(&fe, STATS, 5);
    backend_wait(backend, 0, "stats_received", 2, 5);
    cr_assert_eq(ring->used[1], 1);

    /* It is no business of the next driver. */
    fe_stop(&fe, bases);
    backend_ask(backend, "stats");
    clear_rings();
    fe_go_on(&fe, all_new);
    cr_assert_eq(backend_events(backend, "driver_left"), 1u);
    inflate(FE_FIRST_PFN, 1);
    cr_assert_eq(ring->used[1], 0);
    end();
}

/* --- a driver leaves --------------------------------------------------------------------- */

static void by_reset(void)
{
    cr_assert(fe_request(&fe, RESET_DEVICE, NULL, 0, NULL, 0));
}

static void by_reset_of_old(void)
{
    cr_assert(fe_request(&fe, RESET_OWNER, NULL, 0, NULL, 0));
}

static void by_other_features(void)
{
    uint64_t features = fe.features & ~(uint64_t)2;
    cr_assert(fe_request(&fe, SET_FEATURES, &features, sizeof features, NULL, 0));
}

/* User-mode Linux does so when it has removed the queues. */
static void by_a_new_question(void)
{
    uint64_t offered;
    fe_send(&fe, GET_FEATURES, VERSION, NULL, 0, NULL, 0);
    cr_assert_eq(fe_receive(&fe, &offered, sizeof offered), sizeof offered);
}

/* The pattern of a new driver; a guest in a pause could not write it. */
static void by_configuration(void)
{
    uint8_t space[SPACE];
    fe_config_read(&fe, 0, space, sizeof space);
    cr_assert(fe_config_write(&fe, 0, space, sizeof space));
}

Test(vhost_user_order, what_only_a_new_driver_does_is_no_pause, .timeout = 1200)
{
    static void (*const ways[])(void) = {by_reset, by_reset_of_old, by_other_features,
                                         by_a_new_question, by_configuration};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        uint16_t bases[FE_QUEUES];
        begin("3");
        inflate(FE_FIRST_PFN, 40);
        fe_stop(&fe, bases);
        ways[i]();
        cr_assert_eq(number("paused"), 0u, "way %u", i);
        cr_assert_eq(number("driver"), 0u, "way %u", i);
        cr_assert_eq(number("held"), 0u, "way %u", i);
        cr_assert_eq(backend_events(backend, "driver_left"), 1u, "way %u", i);
        /* Another one begins. */
        clear_rings();
        fe_go_on(&fe, all_new);
        inflate(FE_FIRST_PFN, 7);
        cr_assert_eq(number("held"), 7u, "way %u", i);
        end();
    }
}

Test(vhost_user_order, rings_that_begin_anew_have_a_new_driver, .timeout = 1200)
{
    uint16_t bases[FE_QUEUES];
    begin("3");
    for (unsigned i = 0; i < 2; i++) {
        inflate(FE_FIRST_PFN, 40);
        fe_stop(&fe, bases);
        clear_rings();
        fe_go_on(&fe, all_new);
        cr_assert_eq(number("held"), 0u);
        cr_assert_eq(number("negotiated"), 3u);
        cr_assert_eq(backend_events(backend, "driver"), i + 2);
    }
    cr_assert_eq(backend_events(backend, "ring_broken"), 0u);
    end();
}

/* Memory and rings as they were some time ago: nobody knows what was in the balloon then. */
Test(vhost_user_order, rings_that_go_on_elsewhere_have_a_new_driver, .timeout = 60)
{
    uint16_t bases[FE_QUEUES];
    begin("3");
    inflate(FE_FIRST_PFN, 40);
    inflate(FE_FIRST_PFN + 40, 40);
    fe_stop(&fe, bases);
    bases[INFLATE]--;
    fe.ring[INFLATE].avail[1]--;
    fe.ring[INFLATE].used[1]--;
    fe_go_on(&fe, bases);
    cr_assert_eq(number("held"), 0u);
    cr_assert_eq(backend_events(backend, "driver"), 2u);
    end();
}

/* --- configuration ----------------------------------------------------------------------- */

static uint64_t memory_bytes(void)
{
    struct stat file;
    cr_assert_eq(fstat(fe.memfd, &file), 0);
    return (uint64_t)file.st_blocks * 512;
}

/* The driver writes what free pages hold; QEMU passes that on at once, and the driver's features
 * when its rings start. */
static void start_with_pattern(uint32_t pattern)
{
    uint8_t space[SPACE];
    fe_config_read(&fe, 0, space, sizeof space);
    memcpy(space + POISON, &pattern, 4);
    cr_assert(fe_config_write(&fe, 0, space, sizeof space));
    clear_rings();
    fe_go_on(&fe, all_new);
}

static void report_pages(void)
{
    memset(fe.ram + FE_PAGES, 0x55, FE_BYTES - FE_PAGES);
    fe.ring[REPORTING].desc[0] =
        (struct fe_desc){fe_guest(FE_PAGES), FE_BYTES - FE_PAGES, FE_WRITE, 0};
    fe_offer(&fe, REPORTING, 0);
    cr_assert_eq(fe_wait_used(&fe, REPORTING, 1), 1);
}

Test(vhost_user_order, a_pattern_may_come_before_the_features, .timeout = 1200)
{
    uint16_t bases[FE_QUEUES];
    connect_to("0x30", NULL, NULL); /* the pattern, and reporting */
    fe_greet(&fe);
    start_with_pattern(0);
    report_pages();
    cr_assert_leq(memory_bytes(), (uint64_t)FE_PAGES);
    cr_assert_eq(number("discarded"), (FE_BYTES - FE_PAGES) / 4096u);

    /* The next driver expects something in its pages. */
    fe_stop(&fe, bases);
    start_with_pattern(0xaaaaaaaa);
    report_pages();
    cr_assert_geq(memory_bytes(), (uint64_t)(FE_BYTES - FE_PAGES));
    check_explains("expects a pattern");

    /* And the next does not; it comes without a word about the one before. */
    fe_stop(&fe, bases);
    start_with_pattern(0);
    report_pages();
    cr_assert_leq(memory_bytes(), (uint64_t)FE_PAGES);
    cr_assert_eq(number("protocol_errors"), 0u);
    end();
}

/* What the guest writes is one field; QEMU sends all of them, as old as its last read. */
Test(vhost_user_order, a_front_end_may_write_the_whole_space, .timeout = 1200)
{
    uint8_t space[SPACE];
    begin("0x1f");
    for (uint32_t i = 1; i <= 8; i++) {
        backend_do(backend, "target %u", i % 3);
        fe_config_read(&fe, 0, space, sizeof space);
        inflate(FE_FIRST_PFN + i * 8, 8);
        memcpy(space + ACTUAL, &(uint32_t){i * 8}, 4);
        if (i % 2)
            backend_do(backend, "target 3"); /* just now */
        cr_assert(fe_config_write(&fe, 0, space, sizeof space));
        cr_assert_eq(number("actual"), i * 8);
    }
    cr_assert_eq(number("protocol_errors"), 0u);

    /* The guest tries to write what it may not. */
    space[TARGET] ^= 1;
    cr_assert(fe_config_write(&fe, 0, space, sizeof space));
    cr_assert_eq(number("protocol_errors"), 1u);
    end();
}

/* --- memory ------------------------------------------------------------------------------ */

static void refuse_memory(const uint64_t *table, int fd, const char *words)
{
    cr_assert_not(fe_request(&fe, SET_MEM_TABLE, table, 40, &fd, fd >= 0 ? 1 : 0));
    cr_assert_eq(backend_events(backend, "memory_refused"), 1u);
    check_explains(words);
    backend_do(backend, "target 1");

    /* The next table may be a better one. */
    fe_share(&fe);
    fe_start_rings(&fe, NULL);
    cr_assert_eq(number("driver"), 1u);
    cr_assert_eq(number("target"), 256u);
}

Test(vhost_user_order, memory_without_a_file_is_refused_aloud, .timeout = 1200)
{
    static const uint64_t table[5] = {1, FE_GUEST, FE_BYTES, FE_USER, 0};
    connect_to("3", NULL, NULL);
    fe_greet(&fe);
    fe_choose(&fe);
    refuse_memory(table, -1, "a region has no file");
    end();
}

Test(vhost_user_order, too_much_memory_is_refused_aloud, .timeout = 1200)
{
    static const uint64_t table[5] = {1, FE_GUEST, 2 * (uint64_t)FE_BYTES, FE_USER, 0};
    connect_to("3", "--max-mib", "4");
    fe_greet(&fe);
    fe_choose(&fe);
    int large = memfd_create("large", MFD_CLOEXEC);
    cr_assert(large >= 0 && ftruncate(large, 2 * FE_BYTES) == 0);
    refuse_memory(table, large, "--max-mib");
    close(large);
    end();
}

/* QEMU sends no table when it finds that its memory is private. */
Test(vhost_user_order, memory_that_does_not_come_is_missed, .timeout = 1200)
{
    connect_to("3", NULL, NULL);
    fe_greet(&fe);
    fe_choose(&fe);
    for (uint64_t limit = guest_deadline(20); !backend_events(backend, "memory_refused");
         guest_sleep(20))
        cr_assert(guest_clock() < limit, "nobody misses the memory");
    check_explains("share=on");
    fe_share(&fe);
    fe_start_rings(&fe, NULL);
    check_explains("\"explain\":\"the target is 0");
    end();
}

Test(vhost_user_order, a_lost_front_end_is_told_with_the_reason, .timeout = 1200)
{
    char path[128];
    begin("3");
    inflate(FE_FIRST_PFN, 40);
    fe_close(&fe);
    for (uint64_t limit = guest_deadline(5); number("connected"); guest_sleep(2))
        cr_assert(guest_clock() < limit, "the end of a front-end goes unnoticed");
    cr_assert_eq(backend_events(backend, "disconnected"), 1u);
    check_explains("\"explain\":\"no front-end is connected\"");
    cr_assert_eq(number("paused"), 0u);
    cr_assert_eq(number("held"), 0u);
    backend_socket(backend, 0, path, sizeof path);
    fe_connect(&fe, path);
    fe_set_up(&fe);
    cr_assert_eq(number("driver"), 1u);
    end();
}
