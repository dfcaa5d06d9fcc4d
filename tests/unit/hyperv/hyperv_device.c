/* The Hyper-V binding of the device: the handshake, requests for pages, pages back. */
#include "hyperv_device_support.h"

TestSuite(hyperv_device, .fini = vm_end);

/* --- setting up ------------------------------------------------------------------------------- */

Test(hyperv_device, refuses_options_that_are_too_small)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);
    balloon_hyperv_options options = {.size = sizeof(options) - 1};

    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_ERR_INVALID);
}

Test(hyperv_device, is_configured_only_without_a_channel)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);
    balloon_device *other = vm_simple(BALLOON_F_MUST_TELL);
    balloon_hyperv_options options = {.size = sizeof(options)};

    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_hyperv_configure(other, &options), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_hyperv_open(other), BALLOON_ERR_STATE);
}

Test(hyperv_device, offers_what_the_protocol_is)
{
    cr_assert_eq(vm_status(hv_blank(1, BALLOON_F_ALL)).offered,
                 BALLOON_F_MUST_TELL | BALLOON_F_STATS);
    cr_assert_eq(vm_status(hv_blank(1, BALLOON_F_NONE)).offered, BALLOON_F_MUST_TELL);
}

Test(hyperv_device, has_no_bound_of_32_bits)
{
    balloon_region ram = {UINT64_C(1) << 33, 4096, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_hyperv_options options = {.size = sizeof(options)};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_device_set_target(device, 16, 0), BALLOON_OK);
}

Test(hyperv_device, without_a_channel_there_is_nothing_to_hear_or_say)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);
    uint8_t bytes[64];
    size_t used;

    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_ERR_STATE);
    cr_assert_eq(balloon_hyperv_write(device, bytes, sizeof(bytes), 0, &used), BALLOON_ERR_STATE);
    hv_target(device, 16, 0);
    CHECK_SAYS(hv_poll(device, START), "");
    cr_assert_eq(vm_counters(device).buffers, 0);
}

/* --- handshake -------------------------------------------------------------------------------- */

Test(hyperv_device, accepts_the_versions_there_are)
{
    static const uint32_t versions[] = {BALLOON_HYPERV_VERSION_0_3, BALLOON_HYPERV_VERSION_1_0,
                                        BALLOON_HYPERV_VERSION_2_0};

    for (size_t i = 0; i < 3; i++) {
        balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);

        cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
        cr_assert_eq(hv_version(device, versions[i], true), BALLOON_OK);
        CHECK_SAYS(hv_poll(device, 0), "version ok");
        cr_assert_eq(hv_session(device).version, versions[i]);
        cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_CAPABILITIES);
    }
}

Test(hyperv_device, refuses_other_versions_and_waits_for_a_better_one)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, 0x30000, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version no");
    cr_assert_eq(hv_version(device, 4, true), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version no");
    cr_assert_eq(hv_session(device).version, 0);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_1_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
}

Test(hyperv_device, answers_by_the_number_of_the_question)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);
    balloon_hyperv_message m;
    uint8_t bytes[64];
    size_t used;

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_write(device, bytes, sizeof(bytes), 0, &used), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_decode(bytes, used, &m), BALLOON_OK);
    cr_assert_eq(m.id, 77);
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_write(device, bytes, sizeof(bytes), 0, &used), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_decode(bytes, used, &m), BALLOON_OK);
    cr_assert_eq(m.id, 78);
}

Test(hyperv_device, answers_one_question_at_a_time)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, 0x30000, false), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(hv_can(device, true, true), BALLOON_ERR_PROTOCOL);
    CHECK_SAYS(hv_poll(device, 0), "version no");
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    cr_assert_eq(hv_can(device, false, false), BALLOON_ERR_PROTOCOL);
    cr_assert_not(vm_status(device).driver);
    CHECK_SAYS(hv_poll(device, 0), "can ok");
    cr_assert(vm_status(device).driver);
    cr_assert(hv_session(device).capabilities.balloon);
    cr_assert_eq(hv_session(device).capabilities.alignment, 1);
    cr_assert_eq(hv_session(device).capabilities.max_page, 0);
    cr_assert_eq(vm_counters(device).protocol_errors, 3);
}

Test(hyperv_device, tells_a_guest_not_to_report_what_nobody_reads)
{
    balloon_device *device = hv_blank(1, BALLOON_F_MUST_TELL);
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_STATUS_REPORT};

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "can ok quiet");
    cr_assert_eq(hv_hear(device, &m, 0), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "");
    cr_assert_eq(vm_counters(device).stats_unasked, 1);
}

Test(hyperv_device, asks_for_nothing_in_the_first_50_seconds)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);
    const balloon_time_t first = 50 * VM_SECOND + 7;

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    hv_target(device, 32, 0);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 7), "can ok");
    CHECK_SAYS(hv_poll(device, first - 1), "");
    cr_assert_eq(balloon_device_deadline(device), first);
    cr_assert_eq(balloon_device_explain(device, first - 1, NULL),
                 BALLOON_REASON_REPORT_NOT_OFFERED);
    CHECK_SAYS(hv_poll(device, first), "ask 32");
    cr_assert_eq(balloon_device_explain(device, first + 6 * VM_SECOND, NULL),
                 BALLOON_REASON_GUEST_SLOW);
}

Test(hyperv_device, asks_nothing_of_a_guest_that_cannot_balloon)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
    cr_assert_eq(hv_can(device, false, true), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "can ok");
    hv_target(device, 32, START);
    CHECK_SAYS(hv_poll(device, START), "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
}

/* --- pages in --------------------------------------------------------------------------------- */

Test(hyperv_device, asks_until_the_target_is_met)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 64, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_BALLOONING);
    cr_assert_eq(hv_give(device, true, RANGES({100, 10}, {200, 6}), START), BALLOON_OK);
    cr_assert_eq(vm_status(device).actual, 16);
    CHECK_SAYS(hv_poll(device, START), "");
    cr_assert_eq(hv_give(device, false, RANGES({300, 16}), START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "ask 32");
    cr_assert_eq(hv_give(device, false, RANGES({400, 32}), START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "");
    cr_assert_eq(vm_status(device).held, 64);
    cr_assert(vm_status(device).settled);
    CHECK_SAYS(hv_poll(device, START + VM_SECOND), "discard 100+10,200+6,300+16,400+32");
}

Test(hyperv_device, asks_for_no_more_than_windows_takes_at_a_time)
{
    balloon_region ram = {0, 1 << 20, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};
    balloon_hyperv_options options = {.size = sizeof(options), .start_delay = 1};
    balloon_device *device = vm_device(&config);

    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "can ok");
    hv_target(device, 600000, 1);
    CHECK_SAYS(hv_poll(device, 1), "ask 585728");
    cr_assert_eq(hv_give(device, false, RANGES({0, 585728}), 1), BALLOON_OK);
    cr_assert(strstr(hv_poll(device, 1), "ask 14272"));
    cr_assert_eq(hv_give(device, false, RANGES({600000, 14272}), 1), BALLOON_OK);
    (void)hv_poll(device, 1);

    /* And gives back no more than QEMU does, ... */
    hv_target(device, 16, 1);
    CHECK_SAYS(hv_poll(device, 1), "return 600000+14272,0+510016");
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, 1), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 1), "return 510016+75696");
}

Test(hyperv_device, a_guest_without_more_is_left_alone_for_a_while)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 64, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
    cr_assert_eq(hv_give(device, false, RANGES({0, 16}), START), BALLOON_OK);
    cr_assert_not(hv_session(device).exhausted);
    CHECK_SAYS(hv_poll(device, START), "ask 48");
    cr_assert_eq(hv_give(device, false, NULL, 0, START), BALLOON_OK);
    cr_assert(hv_session(device).exhausted);
    balloon_device_flush(device);
    CHECK_SAYS(hv_poll(device, START), "discard 0+16");
    cr_assert_eq(balloon_device_deadline(device), START + 10 * VM_SECOND);
    CHECK_SAYS(hv_poll(device, START + 10 * VM_SECOND), "ask 48");
    cr_assert_eq(hv_give(device, false, NULL, 0, START), BALLOON_OK);
    hv_target(device, 80, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
}

Test(hyperv_device, nothing_before_the_end_counts_as_no_more)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 64, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
    cr_assert_eq(hv_give(device, true, RANGES({0, 16}), START), BALLOON_OK);
    cr_assert_eq(hv_give(device, true, NULL, 0, START), BALLOON_OK);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_BALLOONING);
    cr_assert_eq(hv_give(device, false, NULL, 0, START), BALLOON_OK);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_IDLE);
    cr_assert(hv_session(device).exhausted);
}

Test(hyperv_device, pages_that_were_there_before_do_not_make_it_ask_again)
{
    balloon_device *device = hv_device(1);

    hv_hold(device, 16, RANGES({0, 16}));
    hv_target(device, 32, START);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
    cr_assert_eq(hv_give(device, false, RANGES({0, 8}, {4, 8}), START), BALLOON_OK);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 16);
    cr_assert(hv_session(device).exhausted);
    CHECK_SAYS(hv_poll(device, START), "");
}

Test(hyperv_device, an_endless_answer_is_read_and_counted)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 32, START);
    CHECK_SAYS(hv_poll(device, START), "ask 32");
    cr_assert_eq(hv_give(device, true, RANGES({0, 32}), START), BALLOON_OK);
    for (unsigned i = 0; i < 1000; i++)
        cr_assert_eq(hv_give(device, true, RANGES({0, 32}), START), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 32);
    cr_assert_eq(vm_counters(device).inflate_duplicate, 32000);
    cr_assert_eq(hv_give(device, false, NULL, 0, START), BALLOON_OK);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_IDLE);
}

Test(hyperv_device, pages_beyond_what_was_asked_are_kept_and_returned)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
    cr_assert_eq(hv_give(device, false, RANGES({10, 20}), START), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 20);
    CHECK_SAYS(hv_poll(device, START), "return 10+4");
    cr_assert_eq(vm_status(device).held, 16);
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "");
}

Test(hyperv_device, pages_that_are_not_guest_memory_are_counted)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 64, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
    cr_assert_eq(
        hv_give(device, true, RANGES({4090, 10}, {BALLOON_HYPERV_PFN_LIMIT - 1, 3}), START),
        BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 6);
    cr_assert_eq(vm_counters(device).inflate_outside, 7);
    cr_assert_eq(hv_give(device, true, RANGES({4000, 0}, {0, 1}), START), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 7);
}

/* 24 bytes must not make work for 64 GiB. */
Test(hyperv_device, reads_no_more_pages_than_16_gib_of_a_message)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 64, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
    cr_assert_eq(hv_give(device, true, RANGES({5000, (1 << 22) - 1}, {0, 2}, {8, 4}), START),
                 BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 1);
    cr_assert_eq(vm_counters(device).truncated_bytes, 5 * 4096);
    cr_assert_eq(vm_counters(device).inflate_outside, (1 << 22) - 1);
}

Test(hyperv_device, pages_nobody_asked_for_are_dropped)
{
    balloon_device *device = hv_device(1);

    cr_assert_eq(hv_give(device, false, RANGES({0, 16}), START), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 0);
    CHECK_SAYS(hv_poll(device, START), "");
}

Test(hyperv_device, reads_lists_longer_than_peers_write)
{
    static balloon_range ranges[2000];
    balloon_device *device = hv_device(1);

    for (size_t i = 0; i < 2000; i++)
        ranges[i] = (balloon_range){2 * i, 1};
    hv_target(device, 2000, START);
    CHECK_SAYS(hv_poll(device, START), "ask 2000");
    cr_assert_eq(hv_give(device, false, ranges, 2000, START), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 2000);
}

/* --- pages back ------------------------------------------------------------------------------- */

Test(hyperv_device, names_the_pages_that_the_guest_gets_back)
{
    balloon_device *device = hv_device(1);

    hv_hold(device, 64, RANGES({100, 32}, {200, 32}));
    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "return 100+32,200+16");
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_UNBALLOONING);
    cr_assert_eq(vm_status(device).held, 16);
    cr_assert_eq(vm_status(device).actual, 16);
    cr_assert_eq(vm_counters(device).deflated, 48);
    cr_assert_not(vm_status(device).pressure);
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, START), BALLOON_OK);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_IDLE);
    CHECK_SAYS(hv_poll(device, START), "");
}

/* Granule 16: of pages 100 to 163 the host got 112 to 159 only. */
Test(hyperv_device, returns_first_what_the_host_never_got)
{
    balloon_device *device = hv_device(16);

    hv_hold(device, 64, RANGES({100, 64}));
    cr_assert_eq(vm_status(device).pending, 16);
    hv_target(device, 48, START);
    CHECK_SAYS(hv_poll(device, START), "return 100+12,160+4");
    cr_assert_eq(vm_status(device).pending, 0);
    cr_assert_eq(vm_counters(device).cancelled, 16);
}

Test(hyperv_device, a_message_has_the_ranges_that_find_room)
{
    static balloon_range ranges[1000];
    balloon_device *device = hv_device(1);
    char expected[64];

    for (size_t i = 0; i < 1000; i++)
        ranges[i] = (balloon_range){2 * i, 1};
    hv_target(device, 992, START);
    CHECK_SAYS(hv_poll(device, START), "ask 992");
    cr_assert_eq(hv_give(device, false, ranges, 992, START), BALLOON_OK);
    hv_target(device, 0, START);
    cr_assert(strstr(hv_poll_room(device, START, 40), "return 0+1,2+1,4+1"));
    cr_assert_eq(vm_status(device).held, 989);
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, START), BALLOON_OK);
    CHECK_SAYS(hv_poll_room(device, START, 24), "return 6+1");
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, START), BALLOON_OK);
    const char *said = hv_poll_room(device, START, 60000);
    snprintf(expected, sizeof(expected), "%u+1", 2 * (4 + 510 - 1));
    cr_assert_str_eq(strrchr(said, ',') + 1, expected);
    cr_assert_eq(vm_status(device).held, 988 - 510);
}

Test(hyperv_device, a_new_target_waits_for_the_end_of_what_is_under_way)
{
    balloon_device *device = hv_device(1);

    hv_hold(device, 64, RANGES({100, 64}));
    hv_target(device, 32, START);
    CHECK_SAYS(hv_poll(device, START), "return 100+32");
    hv_target(device, 48, START);
    CHECK_SAYS(hv_poll(device, START), "");
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
    hv_target(device, 0, START);
    CHECK_SAYS(hv_poll(device, START), "");
    cr_assert_eq(hv_give(device, false, RANGES({500, 16}), START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "return 500+16,132+32");
}

Test(hyperv_device, a_silent_guest_is_told_of_and_stops_nothing_else)
{
    balloon_device *device = hv_device(1);
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_STATUS_REPORT};

    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
    CHECK_SAYS(hv_poll(device, START + 1000 * VM_SECOND), "");
    cr_assert_eq(balloon_device_explain(device, START + 1000 * VM_SECOND, NULL),
                 BALLOON_REASON_NO_ANSWER);
    cr_assert_eq(hv_hear(device, &m, START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "stats");
    balloon_hyperv_close(device);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_CLOSED);
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
}

Test(hyperv_device, the_end_of_the_channel_forgets_the_balloon)
{
    balloon_device *device = hv_device(1);

    hv_hold(device, 64, RANGES({100, 64}));
    balloon_hyperv_close(device);
    cr_assert_eq(vm_status(device).held, 0);
    cr_assert_not(vm_status(device).driver);
    cr_assert_eq(vm_status(device).target, 64);
    cr_assert_eq(hv_session(device).version, 0);
    CHECK_SAYS(hv_poll(device, START), "");
}

/* --- sending ---------------------------------------------------------------------------------- */

Test(hyperv_device, tells_of_a_message_once_and_writes_it_whenever)
{
    balloon_device *device = hv_device(1);
    uint8_t bytes[24];
    size_t used;

    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll_room(device, START, 0), "-");
    CHECK_SAYS(hv_poll_room(device, START, 0), "");
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    hv_target(device, 48, START);
    cr_assert_eq(balloon_hyperv_write(device, bytes, 23, START, &used), BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_hyperv_write(device, bytes, 24, START, &used), BALLOON_OK);
    cr_assert_eq(used, 16);
    cr_assert_eq(bytes[8], 48);
    cr_assert_eq(balloon_hyperv_write(device, bytes, 24, START, &used), BALLOON_ERR_STATE);
}

Test(hyperv_device, a_message_that_is_void_by_now_is_not_sent)
{
    balloon_device *device = hv_device(1);
    uint8_t bytes[64];
    size_t used;

    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll_room(device, START, 0), "-");
    hv_target(device, 0, START);
    cr_assert_eq(balloon_hyperv_write(device, bytes, 64, START, &used), BALLOON_ERR_STATE);
    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll_room(device, START, 0), "-");
    hv_target(device, 0, START);
    CHECK_SAYS(hv_poll_room(device, START, 0), "");
    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
}

/* --- status reports --------------------------------------------------------------------------- */

Test(hyperv_device, reports_become_samples_in_bytes)
{
    balloon_device *device = hv_device(1);
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_STATUS_REPORT};
    balloon_sample sample;

    m.body.status.available = 100;
    m.body.status.committed = UINT64_MAX;
    cr_assert_eq(hv_hear(device, &m, START + 5), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START + 5), "stats");
    cr_assert(balloon_device_sample(device, &sample));
    cr_assert_eq(sample.time, START + 5);
    cr_assert_eq(sample.present, 1u << BALLOON_STAT_AVAILABLE | 1u << BALLOON_STAT_COMMITTED);
    cr_assert_eq(sample.value[BALLOON_STAT_AVAILABLE], 409600);
    cr_assert_eq(sample.value[BALLOON_STAT_COMMITTED], UINT64_MAX);
    m.body.status.zero_free = 3;
    cr_assert_eq(hv_hear(device, &m, START + 6), BALLOON_OK);
    cr_assert(balloon_device_sample(device, &sample));
    cr_assert_eq(sample.value[BALLOON_STAT_FREE], 3 * 4096);
    cr_assert_eq(vm_counters(device).stats_received, 2);
}

Test(hyperv_device, a_guest_that_does_not_report_in_time_is_late)
{
    balloon_device *device = hv_device(1);
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_STATUS_REPORT};

    cr_assert_eq(balloon_device_request_stats(device, START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "");
    /* Linux waits for more than a second after its last report. */
    CHECK_SAYS(hv_poll(device, START + 3 * VM_SECOND - 1), "");
    CHECK_SAYS(hv_poll(device, START + 3 * VM_SECOND), "late");
    cr_assert_eq(hv_hear(device, &m, START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "stats");
    cr_assert_not(vm_status(device).stats_late);
}

Test(hyperv_device, reports_before_the_handshake_are_an_error)
{
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_STATUS_REPORT};

    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_hear(device, &m, 0), BALLOON_ERR_PROTOCOL);
    CHECK_SAYS(hv_poll(device, 0), "");
}
