/* The Hyper-V binding of the device with a guest that does not answer, as Linux 6.12 that is set up
 * to hibernate, or late. */
#include <stddef.h>
#include <stdlib.h>

#include "hyperv_device_support.h"

TestSuite(hyperv_device_silent, .fini = vm_end);

/* When a request made at START is over, and when it is made again. */
#define OVER    (START + 60 * VM_SECOND)
#define AGAIN   (OVER + 10 * VM_SECOND)
#define BINDING (8 + 37 + 11 + 1)

/* Times are saved in these. */
#define SAVED_UNIT (UINT64_C(1) << 30)

/* Asked for 16 pages, and silent since. */
static balloon_device *asked(void)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
    return device;
}

Test(hyperv_device_silent, is_a_reason_and_asked_again)
{
    balloon_device *device = asked();
    uint32_t all;

    CHECK_SAYS(hv_poll(device, OVER - 1), "");
    cr_assert_eq(balloon_device_deadline(device), OVER);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_BALLOONING);
    cr_assert_not(hv_session(device).silent);
    CHECK_SAYS(hv_poll(device, OVER), "");
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_IDLE);
    cr_assert(hv_session(device).silent);
    cr_assert_eq(balloon_device_explain(device, OVER, &all), BALLOON_REASON_NO_ANSWER);
    cr_assert(all & 1u << BALLOON_REASON_GUEST_SLOW);
    cr_assert_eq(strstr(balloon_reason_text(BALLOON_REASON_NO_ANSWER), "unknown"), NULL);
    CHECK_SAYS(hv_poll(device, AGAIN - 1), "");
    CHECK_SAYS(hv_poll(device, AGAIN), "ask 16");
    cr_assert_eq(balloon_device_explain(device, AGAIN, NULL), BALLOON_REASON_NO_ANSWER);
    CHECK_SAYS(hv_poll(device, AGAIN + 60 * VM_SECOND), "");
    /* Another target is worth a try at once. */
    hv_target(device, 32, AGAIN + 61 * VM_SECOND);
    CHECK_SAYS(hv_poll(device, AGAIN + 61 * VM_SECOND), "ask 32");
    cr_assert_eq(hv_give(device, false, RANGES({100, 32}), AGAIN + 62 * VM_SECOND), BALLOON_OK);
    cr_assert_not(hv_session(device).silent);
    cr_assert_neq(balloon_device_explain(device, AGAIN + 62 * VM_SECOND, NULL),
                  BALLOON_REASON_NO_ANSWER);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
}

Test(hyperv_device_silent, each_message_takes_its_time)
{
    balloon_device *device = asked();

    cr_assert_eq(hv_give(device, true, RANGES({100, 4}), OVER - 1), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, OVER), "");
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_BALLOONING);
    CHECK_SAYS(hv_poll(device, OVER + 60 * VM_SECOND - 1), "discard 100+4");
    cr_assert(hv_session(device).silent);
}

/* The guest has given the pages, whenever it says so, and would never get back what is dropped. */
Test(hyperv_device_silent, late_answers_count)
{
    balloon_device *device = asked();

    (void)hv_poll(device, OVER);
    cr_assert_eq(hv_give(device, true, RANGES({100, 8}), OVER), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, AGAIN), "ask 8");
    /* The rest of the first answer, then that to the second request. */
    cr_assert_eq(hv_give(device, false, RANGES({108, 8}), AGAIN), BALLOON_OK);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_IDLE);
    cr_assert_eq(hv_give(device, false, RANGES({300, 8}), AGAIN), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 24);
    CHECK_SAYS(hv_poll(device, AGAIN), "return 100+8");
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, AGAIN), BALLOON_OK);
    cr_assert_eq(vm_counters(device).protocol_errors, 0);
    /* All are accounted for. */
    cr_assert_eq(hv_give(device, false, RANGES({400, 8}), AGAIN), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_status(device).held, 16);
}

Test(hyperv_device_silent, about_pages_that_return_too)
{
    balloon_device *device = hv_device(1);

    hv_hold(device, 32, RANGES({100, 32}));
    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "return 100+16");
    cr_assert_eq(balloon_device_deadline(device), OVER);
    CHECK_SAYS(hv_poll(device, OVER), "");
    cr_assert(hv_session(device).silent);
    hv_target(device, 0, OVER);
    CHECK_SAYS(hv_poll(device, OVER), "return 116+16");
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, OVER), BALLOON_OK);
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, OVER), BALLOON_OK);
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, OVER), BALLOON_ERR_PROTOCOL);
    cr_assert_not(hv_session(device).silent);
}

Test(hyperv_device_silent, the_time_is_an_option)
{
    balloon_hyperv_options options = {.size = sizeof(options), .answer_timeout = VM_SECOND};
    balloon_device *device = hv_blank(1, BALLOON_F_DEFAULT);

    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_2_0, false), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "version ok");
    cr_assert_eq(hv_can(device, true, true), BALLOON_OK);
    CHECK_SAYS(hv_poll(device, 0), "can ok");
    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
    cr_assert_eq(balloon_device_deadline(device), START + VM_SECOND);
    balloon_device_reset(device);
    /* As callers of earlier versions know it. */
    options.size = offsetof(balloon_hyperv_options, answer_timeout);
    cr_assert_eq(balloon_hyperv_configure(device, &options), BALLOON_OK);
}

/* A memory of silence moves with the guest; what was saved before there was a limit has all of it.
 */
Test(hyperv_device_silent, is_saved)
{
    balloon_device *device = asked(), *to = hv_blank(1, BALLOON_F_DEFAULT);
    size_t bytes;
    uint8_t *saved;

    cr_assert_eq(vm_move(device, OVER - 5 * SAVED_UNIT, to, START), BALLOON_OK);
    cr_assert_eq(balloon_device_deadline(to), START + 5 * SAVED_UNIT);
    CHECK_SAYS(hv_poll(to, START + 5 * SAVED_UNIT), "");
    device = to;
    to = hv_blank(1, BALLOON_F_DEFAULT);
    cr_assert_eq(vm_move(device, START, to, START), BALLOON_OK);
    cr_assert(hv_session(to).silent);
    cr_assert_eq(hv_give(to, false, RANGES({100, 8}), START), BALLOON_OK);

    device = asked();
    saved = rig_save(device, START, &bytes);
    /* It is at the end of the binding's part, which has the phase first. */
    cr_assert_eq(saved[BINDING], BALLOON_HYPERV_BALLOONING);
    cr_assert_eq(saved[BINDING + 62], 56); /* units in 60 s, the last one begun */
    saved[BINDING + 62] = 0;
    to = hv_blank(1, BALLOON_F_DEFAULT);
    cr_assert_eq(balloon_device_load(to, START, saved, bytes), BALLOON_OK);
    cr_assert_eq(balloon_device_deadline(to), OVER);
    free(saved);
}
