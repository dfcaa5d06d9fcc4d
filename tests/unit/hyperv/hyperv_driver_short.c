/* A driver of Hyper-V whose kernel has less than the host asks for. */
#include "hyperv_driver_support.h"

TestSuite(hyperv_driver_short, .fini = hd_end);

Test(hyperv_driver_short, ends_with_nothing_when_there_is_nothing)
{
    hd_simple();
    kernel.left = 0;
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 100 | take");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);
    cr_assert_eq(hd_status().target, 0);

    /* The host decides when to ask again. */
    kernel.left = 1000;
    CHECK_SAYS(hd_poll(100 * SECOND), "");
    cr_assert_eq(hd_ask(10, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 10 | take 0+10");
}

Test(hyperv_driver_short, has_ended_even_if_that_is_said_much_later)
{
    uint8_t bytes[16];
    size_t used;

    hd_simple();
    kernel.left = 0;
    kernel.lazy = true;
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 100 | -5");
    kernel.left = 1000;
    CHECK_SAYS(hd_poll(100 * SECOND), "");
    cr_assert_eq(
        balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_CONTROL, bytes, 16, SECOND, &used),
        BALLOON_OK);
    CHECK_SAYS(hd_poll(200 * SECOND), "");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);
}

Test(hyperv_driver_short, ends_with_what_there_is)
{
    hd_simple();
    kernel.left = 140;
    cr_assert_eq(hd_ask(300, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 128 | take 0+128 ... | alloc 172 | take 128+12");
    cr_assert_eq(hd_status().held, 140);
    cr_assert_eq(hd_status().target, 140);
}

Test(hyperv_driver_short, lack_of_memory_ends_the_request)
{
    uint8_t bytes[32];
    size_t used;

    hd_simple();
    kernel.lazy = true;
    cr_assert_eq(hd_ask(300, SECOND), BALLOON_OK);
    CHECK_SAYS(hd_poll(SECOND), "alloc 128 | -0");
    cr_assert_eq(balloon_driver_oom(driver, 5, NULL, SECOND), BALLOON_ERR_UNSUPPORTED);
    cr_assert_eq(
        balloon_hyperv_driver_write(driver, BALLOON_CHANNEL_INFLATE, bytes, 32, SECOND, &used),
        BALLOON_OK);
    kernel.lazy = false;
    CHECK_SAYS(hd_poll(SECOND), "");
    cr_assert_eq(hd_session().phase, BALLOON_HYPERV_IDLE);
    cr_assert_eq(hd_status().held, 128);
}

Test(hyperv_driver_short, an_answer_that_cannot_be_used_ends_the_request)
{
    balloon_driver_action action;
    balloon_range bad = {5000, 1};

    hd_simple();
    cr_assert_eq(hd_ask(100, SECOND), BALLOON_OK);
    cr_assert(balloon_driver_poll(driver, SECOND, &action));
    cr_assert_eq(balloon_driver_give(driver, BALLOON_CHANNEL_INFLATE, &bad, 1, SECOND),
                 BALLOON_ERR_INVALID);
    CHECK_SAYS(hd_poll(SECOND), "take");
}
