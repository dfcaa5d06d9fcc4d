/* The Hyper-V binding of the driver: new memory from the host, and what no sane host sends. */
#include "hyperv_driver_support.h"

TestSuite(hyperv_driver_hostile, .fini = hd_end);

/* --- new memory ------------------------------------------------------------------------------- */

static void start_with_hot_add(void)
{
    balloon_driver_config config = hd_config(false);
    balloon_hyperv_driver_options options = {
        .size = sizeof(options), .hot_add = true, .alignment = 1};

    hd_start(&config, &options);
}

Test(hyperv_driver_hostile, plugs_what_the_host_offers)
{
    balloon_region more = {4096, 512, 1};

    start_with_hot_add();
    cr_assert_eq(hd_plug((balloon_range){4096, 512}, (balloon_range){4096, 1024}, true),
                 BALLOON_OK);
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_HOT_ADDING);
    CHECK_SAYS(hd_poll(SECOND), "plug 4096+512 in 4096+1024");
    CHECK_SAYS(hd_poll(SECOND), "");
    cr_assert_eq(balloon_hyperv_driver_plugged(driver, 513, false), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_driver_add_region(driver, &more, NULL), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_driver_plugged(driver, 512, false), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_driver_plugged(driver, 512, false), BALLOON_ERR_STATE);
    CHECK_SAYS(hd_poll(SECOND), "added 512 ok");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);

    /* The rest of the region. */
    cr_assert_eq(hd_plug((balloon_range){4608, 512}, (balloon_range){0, 0}, true), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "plug 4608+512 in 4608+512");
    cr_assert_eq(balloon_hyperv_driver_plugged(driver, 0, true), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "added 0 no");
}

Test(hyperv_driver_hostile, chooses_a_region_where_the_host_does_not)
{
    start_with_hot_add();
    cr_assert_eq(hd_plug((balloon_range){4100, 512}, (balloon_range){0, 0}, false), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "plug 4100+512 in 4096+1024");
    cr_assert_eq(balloon_hyperv_driver_plugged(driver, 0, false), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "added 0 ok");
}

Test(hyperv_driver_hostile, refuses_memory_it_cannot_plug)
{
    hd_simple();
    cr_assert_eq(hd_plug((balloon_range){4096, 512}, (balloon_range){4096, 512}, true), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "added 0 ok");
}

Test(hyperv_driver_hostile, refuses_memory_that_makes_no_sense)
{
    static const struct {
        balloon_range range, region;
    } bad[] = {
        {{4096, 0}, {4096, 512}},
        {{4096, 512}, {4097, 512}},
        {{4095, 512}, {4095, 512}},
        {{BALLOON_HYPERV_PFN_LIMIT - 1, 2}, {0, 0}},
    };

    start_with_hot_add();
    cr_assert_eq(hd_ask(16, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 16 | take 0+16");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(hd_plug(bad[i].range, bad[i].region, true), BALLOON_ERR_PROTOCOL);
        CHECK_SAYS(hd_poll(SECOND), "added 0 ok");
    }
    /* In the balloon, so there. */
    cr_assert_eq(hd_plug((balloon_range){0, 16}, (balloon_range){0, 16}, true),
                 BALLOON_ERR_PROTOCOL);
    CHECK_SAYS(hd_poll(SECOND), "added 0 ok");
}

Test(hyperv_driver_hostile, plugs_one_thing_at_a_time)
{
    start_with_hot_add();
    cr_assert_eq(hd_plug((balloon_range){4096, 512}, (balloon_range){4096, 512}, true), BALLOON_OK);
    cr_assert_eq(hd_plug((balloon_range){4608, 512}, (balloon_range){4608, 512}, true),
                 BALLOON_ERR_PROTOCOL);
    CHECK_SAYS(hd_poll(SECOND), "plug 4096+512 in 4096+512");
}

/* --- other messages --------------------------------------------------------------------------- */

Test(hyperv_driver_hostile, notes_how_far_the_guest_may_grow)
{
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_INFO};

    hd_simple();
    cr_assert_eq(hd_session().max_pages, 0);
    m.body.info.max_pages = 524288;
    cr_assert_eq(hd_hear(&m, SECOND), BALLOON_OK);
    cr_assert_eq(hd_session().max_pages, 524288);
    m.body.info.type = 5;
    cr_assert_eq(hd_hear(&m, SECOND), BALLOON_OK);
    cr_assert_eq(hd_session().max_pages, 524288);
    CHECK_SAYS(hd_poll(SECOND), "");
}

Test(hyperv_driver_hostile, the_oldest_version_has_no_info)
{
    balloon_driver_config config = hd_config(false);
    balloon_hyperv_message m = {.type = BALLOON_HYPERV_INFO};

    hd_make(&config);
    cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, 0), BALLOON_OK);
    for (unsigned i = 0; i < 3; i++) {
        (void)hd_poll(0);
        cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, i == 2, false, 0), BALLOON_OK);
    }
    (void)hd_poll(0);
    cr_assert_eq(hd_answer(BALLOON_HYPERV_CAPABILITIES_RESPONSE, true, false, 0), BALLOON_OK);
    cr_assert_eq(hd_hear(&m, 0), BALLOON_ERR_PROTOCOL);
}

/* Brings the driver into a phase; what waits for the kernel is left waiting. */
static void in_phase(balloon_hyperv_phase phase)
{
    balloon_driver_config config = hd_config(false);
    balloon_driver_action action;

    if (phase == BALLOON_HYPERV_VERSION || phase == BALLOON_HYPERV_CAPABILITIES) {
        hd_make(&config);
        cr_assert_eq(balloon_hyperv_driver_open(driver, NULL, SECOND), BALLOON_OK);
        (void)hd_poll(SECOND);
        if (phase == BALLOON_HYPERV_CAPABILITIES)
            cr_assert_eq(hd_answer(BALLOON_HYPERV_VERSION_RESPONSE, true, false, SECOND),
                         BALLOON_OK);
        (void)hd_poll(SECOND);
    } else {
        start_with_hot_add();
    }
    if (phase == BALLOON_HYPERV_BALLOONING)
        cr_assert_eq(hd_ask(16, SECOND), BALLOON_OK);
    if (phase == BALLOON_HYPERV_UNBALLOONING)
        cr_assert_eq(hd_return(false, NULL, 0), BALLOON_OK);
    if (phase == BALLOON_HYPERV_HOT_ADDING)
        cr_assert_eq(hd_plug((balloon_range){4096, 512}, (balloon_range){4096, 512}, true),
                     BALLOON_OK);
    if (phase >= BALLOON_HYPERV_BALLOONING)
        cr_assert(balloon_driver_poll(driver, SECOND, &action));
    cr_assert_eq(hd_session().phase, phase);
}

/* Which kinds each phase takes without complaint; by phase, a bit for each kind. The bodies are
 * zeros: nothing is accepted, asked for, returned, or added. */
#define ALWAYS (1u << BALLOON_HYPERV_INFO)
static const unsigned expected_in[] = {
    [BALLOON_HYPERV_VERSION] = 1u << BALLOON_HYPERV_VERSION_RESPONSE,
    [BALLOON_HYPERV_CAPABILITIES] = 1u << BALLOON_HYPERV_CAPABILITIES_RESPONSE,
    [BALLOON_HYPERV_IDLE] =
        ALWAYS | 1u << BALLOON_HYPERV_BALLOON_REQUEST | 1u << BALLOON_HYPERV_UNBALLOON_REQUEST,
    [BALLOON_HYPERV_BALLOONING] = ALWAYS | 1u << BALLOON_HYPERV_UNBALLOON_REQUEST,
    [BALLOON_HYPERV_UNBALLOONING] = ALWAYS | 1u << BALLOON_HYPERV_BALLOON_REQUEST,
    [BALLOON_HYPERV_HOT_ADDING] =
        ALWAYS | 1u << BALLOON_HYPERV_BALLOON_REQUEST | 1u << BALLOON_HYPERV_UNBALLOON_REQUEST,
};

Test(hyperv_driver_hostile, each_phase_takes_its_kinds_of_messages_only)
{
    for (unsigned phase = BALLOON_HYPERV_VERSION; phase <= BALLOON_HYPERV_HOT_ADDING; phase++) {
        for (unsigned type = 0; type <= BALLOON_HYPERV_TYPES + 1; type++) {
            /* An INFO of a kind that has no name. */
            uint8_t bytes[64] = {(uint8_t)type, 0, 64, [16] = 9};
            bool expected = expected_in[phase] >> type & 1;
            balloon_status status;

            in_phase((balloon_hyperv_phase)phase);
            status = balloon_hyperv_driver_receive(driver, bytes, sizeof(bytes), SECOND);
            if (phase == BALLOON_HYPERV_UNBALLOONING && type == BALLOON_HYPERV_UNBALLOON_REQUEST) {
                cr_assert_eq(status, BALLOON_ERR_BUSY);
            } else {
                cr_assert_eq(status, expected ? BALLOON_OK : BALLOON_ERR_PROTOCOL, "%u in %u", type,
                             phase);
                cr_assert_eq(hd_counters().protocol_errors, !expected);
            }
            cr_assert(balloon_driver_check(driver, NULL));
            cr_assert_eq(hd_status().held, 0);
            hd_end();
        }
    }
}

Test(hyperv_driver_hostile, messages_that_are_cut_short_change_nothing)
{
    static const struct {
        balloon_hyperv_phase phase;
        balloon_hyperv_type type;
    } valid[] = {
        {BALLOON_HYPERV_VERSION, BALLOON_HYPERV_VERSION_RESPONSE},
        {BALLOON_HYPERV_CAPABILITIES, BALLOON_HYPERV_CAPABILITIES_RESPONSE},
        {BALLOON_HYPERV_IDLE, BALLOON_HYPERV_BALLOON_REQUEST},
        {BALLOON_HYPERV_IDLE, BALLOON_HYPERV_UNBALLOON_REQUEST},
        {BALLOON_HYPERV_IDLE, BALLOON_HYPERV_HOT_ADD_REQUEST},
        {BALLOON_HYPERV_IDLE, BALLOON_HYPERV_INFO},
    };

    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        balloon_hyperv_message m = {.type = (uint16_t)valid[i].type};
        balloon_hyperv_driver_session before;
        uint8_t bytes[64];
        size_t size;

        if (m.type == BALLOON_HYPERV_UNBALLOON_REQUEST)
            m = list_message(BALLOON_HYPERV_UNBALLOON_REQUEST, false, RANGES({0, 4}, {8, 4}));
        if (m.type == BALLOON_HYPERV_HOT_ADD_REQUEST) {
            m.body.hot_add.range = m.body.hot_add.region = (balloon_range){4096, 512};
            m.body.hot_add.has_region = true;
        }
        in_phase(valid[i].phase);
        before = hd_session();
        size = balloon_hyperv_encode(&m, bytes, sizeof(bytes));
        for (size_t cut = 0; cut < size; cut++) {
            cr_assert_eq(balloon_hyperv_driver_receive(driver, bytes, cut, SECOND),
                         BALLOON_ERR_PROTOCOL);
            cr_assert_eq(hd_session().phase, before.phase);
            CHECK_SAYS(hd_poll(SECOND), "");
        }
        cr_assert_eq(hd_counters().protocol_errors, size);
        cr_assert_eq(balloon_hyperv_driver_receive(driver, bytes, size, SECOND), BALLOON_OK);
        hd_end();
    }
}
