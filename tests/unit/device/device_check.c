/* Does balloon_device_check() see it when a rule is broken? See tracker_check.c. */
#include "../../../lib/core/tracker_p.h"
#include "../../../lib/device/device_p.h"

#include "vm.h"

TestSuite(device_check, .fini = vm_end);

static void check_broken(const balloon_device *device, const char *rule)
{
    const char *why = "nothing";

    cr_assert_not(balloon_device_check(device, &why), "not seen: %s", rule);
    cr_assert(strcmp(why, rule) == 0, "seen: %s\nnot: %s", why, rule);
    cr_assert_not(balloon_device_check(device, NULL));
}

#define BREAK(field, value, rule)                                                                  \
    do {                                                                                           \
        __typeof__(field) was_ = field;                                                            \
        field = (__typeof__(field))(value);                                                        \
        check_broken(device, rule);                                                                \
        field = was_;                                                                              \
        cr_assert(balloon_device_check(device, NULL));                                             \
    } while (0)

#define RING     "waiting buffers are in their ring"
#define OWNER    "without a driver the guest has all its pages"
#define SETTLED  "without MUST_TELL_HOST nothing is pending after its acknowledgement"
#define PROTOCOL "sizes fit the protocol"

Test(device_check, with_a_driver)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);

    BREAK(device->tracker->held_pages, 1, "held pages are counted");
    BREAK(device->buffer_count, device->max_buffers + 1, RING);
    BREAK(device->buffer_first, device->max_buffers, RING);
    BREAK(device->chosen, BALLOON_F_ALL, "only offered features are chosen");
    BREAK(device->gather, true, "discards gather exactly under MUST_TELL_HOST");
    BREAK(device->target, UINT64_C(1) << 32, PROTOCOL);
    BREAK(device->actual, UINT64_C(1) << 32, PROTOCOL);
}

Test(device_check, without_a_driver)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);

    balloon_device_reset(device);
    BREAK(device->buffer_count, 1, OWNER);
    BREAK(device->stats.held, true, OWNER);
    BREAK(device->gather, true, OWNER);
    balloon_tracker_inflate_range(device->tracker, (balloon_range){0, 1}, NULL);
    check_broken(device, OWNER);
    balloon_tracker_reset(device->tracker);
    balloon_tracker_report(device->tracker, (balloon_range){0, 1}, NULL);
    check_broken(device, OWNER);
}

Test(device_check, pages)
{
    balloon_device *device = vm_simple(BALLOON_F_HINTING);

    balloon_tracker_inflate_range(device->tracker, (balloon_range){0, 1}, NULL);
    check_broken(device, SETTLED);
    balloon_tracker_settle(device->tracker);
    cr_assert(balloon_device_check(device, NULL));
    balloon_tracker_hint(device->tracker, (balloon_range){0, 1}, NULL);
    check_broken(device, "hints end with hinting");
}
