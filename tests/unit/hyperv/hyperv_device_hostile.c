/* The Hyper-V binding of the device: new memory for the guest, and what no sane guest sends. */
#include "hyperv_device_support.h"

TestSuite(hyperv_device_hostile, .fini = vm_end);

/* --- hot-add ---------------------------------------------------------------------------------- */

static const balloon_hyperv_hot_add more_memory = {
    .range = {4096, 512}, .region = {4096, 1024}, .has_region = true};

Test(hyperv_device_hostile, offers_memory_and_tells_what_became_of_it)
{
    static const struct {
        uint32_t pages, result;
        balloon_hyperv_outcome outcome;
        uint32_t added;
        balloon_status status;
    } answers[] = {
        {512, 1, BALLOON_HYPERV_ADDED, 512, BALLOON_OK},
        {100, 1, BALLOON_HYPERV_ADDED_PART, 100, BALLOON_OK},
        {0, 1, BALLOON_HYPERV_NEVER, 0, BALLOON_OK},
        {0, 0, BALLOON_HYPERV_TRY_LATER, 0, BALLOON_OK},
        {513, 1, BALLOON_HYPERV_ADDED, 512, BALLOON_ERR_PROTOCOL},
    };
    balloon_device *device = hv_device(1);

    cr_assert_eq(hv_session(device).hot_add, BALLOON_HYPERV_HOT_ADD_NONE);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_OK);
        cr_assert_eq(hv_session(device).hot_add, BALLOON_HYPERV_HOT_ADD_WAITING);
        cr_assert_eq(hv_session(device).added, 0);
        cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_ERR_BUSY);
        CHECK_SAYS(hv_poll(device, START), "add 4096+512 in 4096+1024");
        cr_assert_eq(hv_session(device).hot_add, BALLOON_HYPERV_HOT_ADD_ASKED);
        cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_HOT_ADDING);
        cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_ERR_BUSY);
        cr_assert_eq(hv_added(device, answers[i].pages, answers[i].result), answers[i].status);
        cr_assert_eq(hv_session(device).hot_add, BALLOON_HYPERV_HOT_ADD_ANSWERED);
        cr_assert_eq(hv_session(device).outcome, answers[i].outcome);
        cr_assert_eq(hv_session(device).added, answers[i].added);
        cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_IDLE);
    }
}

Test(hyperv_device_hostile, memory_without_a_region_is_offered_in_the_short_form)
{
    balloon_device *device = hv_device(1);
    balloon_hyperv_hot_add add = {.range = {4096, 512}, .region = {1, 1}};

    cr_assert_eq(balloon_hyperv_hot_add_request(device, &add), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "add 4096+512");
}

Test(hyperv_device_hostile, memory_waits_for_the_end_of_what_is_under_way)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
    cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "");
    cr_assert_eq(hv_give(device, false, RANGES({0, 8}), START), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "add 4096+512 in 4096+1024");
    cr_assert_eq(hv_added(device, 512, 1), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, START), "ask 8");
}

Test(hyperv_device_hostile, offers_only_what_the_guest_can_take)
{
    balloon_device *device = hv_device(1);
    balloon_device *cannot = hv_blank(1, BALLOON_F_DEFAULT);
    balloon_hyperv_hot_add add = more_memory;

    cr_assert_eq(balloon_hyperv_open(cannot), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_hot_add_request(cannot, &add), BALLOON_ERR_STATE);
    cr_assert_eq(hv_version(cannot, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(cannot, 0), "version ok");
    cr_assert_eq(hv_can(cannot, true, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(cannot, 0), "can ok");
    cr_assert_eq(balloon_hyperv_hot_add_request(cannot, &add), BALLOON_ERR_UNSUPPORTED);

    add.range.count = 511;
    cr_assert_eq(balloon_hyperv_hot_add_request(device, &add), BALLOON_ERR_INVALID);
    add.range.count = 0;
    cr_assert_eq(balloon_hyperv_hot_add_request(device, &add), BALLOON_ERR_INVALID);
    add.range.count = 512;
    add.region.count = 1000;
    cr_assert_eq(balloon_hyperv_hot_add_request(device, &add), BALLOON_ERR_INVALID);
    add.region = (balloon_range){0, 512};
    cr_assert_eq(balloon_hyperv_hot_add_request(device, &add), BALLOON_ERR_INVALID);
    CHECK_SAYS(hv_poll(device, START), "");
}

/* --- nonsense --------------------------------------------------------------------------------- */

/* Which kinds each phase takes; by phase, a bit for each kind. */
static const unsigned expected_in[] = {
    [BALLOON_HYPERV_VERSION] = 1u << BALLOON_HYPERV_VERSION_REQUEST,
    [BALLOON_HYPERV_CAPABILITIES] = 1u << BALLOON_HYPERV_CAPABILITIES_REPORT,
    [BALLOON_HYPERV_IDLE] = 1u << BALLOON_HYPERV_STATUS_REPORT,
    [BALLOON_HYPERV_BALLOONING] =
        1u << BALLOON_HYPERV_STATUS_REPORT | 1u << BALLOON_HYPERV_BALLOON_RESPONSE,
    [BALLOON_HYPERV_UNBALLOONING] =
        1u << BALLOON_HYPERV_STATUS_REPORT | 1u << BALLOON_HYPERV_UNBALLOON_RESPONSE,
    [BALLOON_HYPERV_HOT_ADDING] =
        1u << BALLOON_HYPERV_STATUS_REPORT | 1u << BALLOON_HYPERV_HOT_ADD_RESPONSE,
};

static balloon_device *in_phase(balloon_hyperv_phase phase)
{
    balloon_device *device;

    if (phase < BALLOON_HYPERV_IDLE) {
        device = hv_blank(1, BALLOON_F_DEFAULT);
        cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    } else {
        device = hv_device(1);
    }
    if (phase == BALLOON_HYPERV_CAPABILITIES)
        cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    if (phase == BALLOON_HYPERV_BALLOONING)
        hv_target(device, 16, START);
    if (phase == BALLOON_HYPERV_UNBALLOONING) {
        hv_hold(device, 16, RANGES({0, 16}));
        hv_target(device, 0, START);
    }
    if (phase == BALLOON_HYPERV_HOT_ADDING)
        cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_OK);
    (void)hv_poll(device, START);
    cr_assert_eq(hv_session(device).phase, phase);
    return device;
}

Test(hyperv_device_hostile, each_phase_takes_its_kinds_of_messages_only)
{
    for (unsigned phase = BALLOON_HYPERV_VERSION; phase <= BALLOON_HYPERV_HOT_ADDING; phase++) {
        for (unsigned type = 0; type <= BALLOON_HYPERV_TYPES + 1; type++) {
            uint8_t bytes[64] = {(uint8_t)type, 0, 64};
            bool expected = expected_in[phase] >> type & 1;
            balloon_device *device = in_phase((balloon_hyperv_phase)phase);
            balloon_status status = balloon_hyperv_receive(device, bytes, sizeof(bytes), START);

            cr_assert_eq(status, expected ? BALLOON_OK : BALLOON_ERR_PROTOCOL, "%u in %u", type,
                         phase);
            cr_assert_eq(vm_counters(device).protocol_errors, !expected);
            if (!expected)
                cr_assert_eq(hv_session(device).phase, phase);
            cr_assert(balloon_device_check(device, NULL));
            vm_end();
        }
    }
}

Test(hyperv_device_hostile, messages_that_are_cut_short_change_nothing)
{
    static const struct {
        balloon_hyperv_phase phase;
        balloon_hyperv_type type;
    } valid[] = {
        {BALLOON_HYPERV_VERSION, BALLOON_HYPERV_VERSION_REQUEST},
        {BALLOON_HYPERV_CAPABILITIES, BALLOON_HYPERV_CAPABILITIES_REPORT},
        {BALLOON_HYPERV_IDLE, BALLOON_HYPERV_STATUS_REPORT},
        {BALLOON_HYPERV_BALLOONING, BALLOON_HYPERV_BALLOON_RESPONSE},
        {BALLOON_HYPERV_UNBALLOONING, BALLOON_HYPERV_UNBALLOON_RESPONSE},
        {BALLOON_HYPERV_HOT_ADDING, BALLOON_HYPERV_HOT_ADD_RESPONSE},
    };

    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        balloon_device *device = in_phase(valid[i].phase);
        balloon_hyperv_message m = {.type = (uint16_t)valid[i].type};
        balloon_hyperv_session before = hv_session(device), after;
        uint8_t bytes[64];
        size_t size;

        if (m.type == BALLOON_HYPERV_BALLOON_RESPONSE)
            m = list_message(BALLOON_HYPERV_BALLOON_RESPONSE, false, RANGES({0, 4}, {8, 4}));
        size = balloon_hyperv_encode(&m, bytes, sizeof(bytes));
        for (size_t cut = 0; cut < size; cut++) {
            cr_assert_eq(balloon_hyperv_receive(device, bytes, cut, START), BALLOON_ERR_PROTOCOL);
            after = hv_session(device);
            cr_assert_eq(after.phase, before.phase);
            cr_assert_eq(after.hot_add, before.hot_add);
            cr_assert_eq(after.version, before.version);
            cr_assert_eq(vm_status(device).held, 0);
        }
        cr_assert_eq(vm_counters(device).protocol_errors, size);
        cr_assert_eq(balloon_hyperv_receive(device, bytes, size, START), BALLOON_OK);
    }
}
