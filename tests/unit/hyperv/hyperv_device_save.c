/* The Hyper-V binding of the device: save and load in each phase. */
#include <stdlib.h>

#include "hyperv_device_support.h"

TestSuite(hyperv_device_save, .fini = vm_end);

#define NOW (9000 * VM_SECOND) /* where the clock is another */

static const balloon_hyperv_hot_add more_memory = {
    .range = {4096, 512}, .region = {4096, 1024}, .has_region = true};

/* To a machine whose clock is the same; and what is saved there is the same. */
static balloon_device *moved(const balloon_device *device)
{
    balloon_device *to = hv_blank(1, BALLOON_F_DEFAULT);
    size_t bytes_a, bytes_b;
    void *a, *b;

    cr_assert_eq(vm_move(device, START, to, START), BALLOON_OK);
    cr_assert(balloon_device_check(to, NULL));
    a = rig_save(device, START, &bytes_a);
    b = rig_save(to, START, &bytes_b);
    cr_assert_eq(bytes_a, bytes_b);
    cr_assert_eq(memcmp(a, b, bytes_a), 0);
    free(a);
    free(b);
    return to;
}

Test(hyperv_device_save, before_and_in_the_handshake)
{
    balloon_device *device = moved(hv_blank(1, BALLOON_F_DEFAULT));

    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_CLOSED);
    cr_assert_eq(balloon_hyperv_open(device), BALLOON_OK);
    device = moved(device);
    cr_assert_eq(hv_version(device, 0x30000, false), BALLOON_OK);
    device = moved(device);
    CHECK_SAYS(hv_poll(device, START), "version no");
    cr_assert_eq(hv_version(device, BALLOON_HYPERV_VERSION_1_0, false), BALLOON_OK);
    device = moved(device);
    CHECK_SAYS(hv_poll(device, START), "version ok");
    device = moved(device);
    cr_assert_eq(hv_can(device, true, false), BALLOON_OK);
    device = moved(device);
    CHECK_SAYS(hv_poll(device, START), "can ok");
    device = moved(device);
    cr_assert_eq(hv_session(device).version, BALLOON_HYPERV_VERSION_1_0);
    cr_assert(hv_session(device).capabilities.balloon);
    cr_assert_not(hv_session(device).capabilities.hot_add);
    cr_assert_eq(hv_session(device).capabilities.alignment, 1);
    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll(device, START + 50 * VM_SECOND - 1), "");
    CHECK_SAYS(hv_poll(device, START + 50 * VM_SECOND), "ask 16");
}

Test(hyperv_device_save, while_pages_come)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 64, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
    device = moved(device);
    cr_assert_eq(hv_give(device, true, RANGES({0, 32}), START), BALLOON_OK);
    device = moved(device);
    cr_assert_eq(hv_give(device, true, RANGES({100, 33}), START), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(hv_give(device, false, RANGES({0, 0}), START), BALLOON_OK);
    cr_assert_not(hv_session(device).exhausted);
    device = moved(device);
    CHECK_SAYS(hv_poll(device, START), "return 0+1");
    device = moved(device);
    cr_assert_eq(hv_session(device).phase, BALLOON_HYPERV_UNBALLOONING);
    cr_assert_eq(hv_simple(device, BALLOON_HYPERV_UNBALLOON_RESPONSE, START), BALLOON_OK);
    cr_assert_eq(vm_status(device).held, 64);
}

Test(hyperv_device_save, while_the_guest_has_no_more)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 64, START);
    CHECK_SAYS(hv_poll(device, START), "ask 64");
    cr_assert_eq(hv_give(device, false, NULL, 0, START), BALLOON_OK);
    balloon_device *to = hv_blank(1, BALLOON_F_DEFAULT);
    cr_assert_eq(vm_move(device, START + VM_SECOND, to, NOW), BALLOON_OK);
    CHECK_SAYS(hv_poll(to, NOW), "");
    CHECK_SAYS(hv_poll(to, NOW + 9 * VM_SECOND - 1), "");
    CHECK_SAYS(hv_poll(to, NOW + 9 * VM_SECOND), "ask 64");
}

Test(hyperv_device_save, while_memory_is_added)
{
    balloon_device *device = hv_device(1);

    cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_OK);
    device = moved(device);
    CHECK_SAYS(hv_poll(device, START), "add 4096+512 in 4096+1024");
    device = moved(device);
    cr_assert_eq(hv_added(device, 100, 1), BALLOON_OK);
    device = moved(device);
    cr_assert_eq(hv_session(device).hot_add, BALLOON_HYPERV_HOT_ADD_ANSWERED);
    cr_assert_eq(hv_session(device).outcome, BALLOON_HYPERV_ADDED_PART);
    cr_assert_eq(hv_session(device).added, 100);
}

/* What SEND was about is told again: the embedder's intention does not move. */
Test(hyperv_device_save, tells_again_what_was_not_written)
{
    balloon_device *device = hv_device(1);

    hv_target(device, 16, START);
    CHECK_SAYS(hv_poll_room(device, START, 0), "-");
    device = moved(device);
    CHECK_SAYS(hv_poll(device, START), "ask 16");
}

Test(hyperv_device_save, is_for_a_device_of_the_same_kind)
{
    balloon_device *hyperv = hv_device(1);
    balloon_device *quiet = hv_blank(1, BALLOON_F_MUST_TELL);
    balloon_region ram = {0, 4096, 1};
    balloon_device_config config = {
        .size = sizeof(config),
        .regions = &ram,
        .region_count = 1,
        .features = BALLOON_F_MUST_TELL | BALLOON_F_STATS,
    };
    balloon_device *virtio = vm_device(&config);

    cr_assert_eq(vm_move(hyperv, START, virtio, NOW), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_move(hyperv, START, quiet, NOW), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(vm_move(virtio, START, hyperv, NOW), BALLOON_ERR_PROTOCOL);
}

/* --- saved forms that no device has saved ----------------------------------------------------- */

/* In the saved form: magic, version, device, virtio, and the number of the binding. */
#define BINDING (8 + 37 + 11 + 1)
#define DRIVER  (8 + 8)
#define CHOSEN  (8 + 4)

enum field {
    PHASE = BINDING,
    ANSWER = BINDING + 1,
    FLAGS = BINDING + 2,
    SMALL = BINDING + 3,
    VERSION = BINDING + 12,
    LEFT = BINDING + 24,
    FIRST = BINDING + 40,
    ADDED = BINDING + 56,
    SPARE = BINDING + 60
};

/* Loads what a device saves, with a byte changed. */
static balloon_status load_with(const balloon_device *device, size_t at, uint8_t value)
{
    balloon_device *to = hv_blank(1, BALLOON_F_DEFAULT);
    size_t bytes;
    uint8_t *saved = rig_save(device, START, &bytes);
    balloon_status status;

    cr_assert_neq(saved[at], value);
    saved[at] = value;
    status = balloon_device_load(to, NOW, saved, bytes);
    free(saved);
    return status;
}

static bool refuses(const balloon_device *device, size_t at, uint8_t value)
{
    return load_with(device, at, value) == BALLOON_ERR_PROTOCOL;
}

Test(hyperv_device_save, refuses_phases_that_do_not_fit)
{
    balloon_device *closed = hv_blank(1, BALLOON_F_DEFAULT), *open, *idle = hv_device(1);

    open = hv_blank(1, BALLOON_F_DEFAULT);
    cr_assert_eq(balloon_hyperv_open(open), BALLOON_OK);
    cr_assert(refuses(closed, PHASE, BALLOON_HYPERV_IDLE));
    cr_assert(refuses(closed, VERSION, 3));
    cr_assert(refuses(closed, SPARE, 1));
    cr_assert(refuses(closed, FIRST, 1));
    cr_assert_eq(load_with(closed, PHASE, BALLOON_HYPERV_VERSION), BALLOON_OK);
    cr_assert(refuses(open, PHASE, BALLOON_HYPERV_CAPABILITIES));
    cr_assert(refuses(open, ANSWER, BALLOON_HYPERV_CAPABILITIES_RESPONSE));
    cr_assert_eq(load_with(open, ANSWER, BALLOON_HYPERV_VERSION_RESPONSE), BALLOON_OK);
    cr_assert(refuses(open, ANSWER, BALLOON_HYPERV_STATUS_REPORT));
    cr_assert(refuses(open, CHOSEN, 1));
    cr_assert(refuses(open, DRIVER, 1));
    cr_assert(refuses(idle, PHASE, 7));
    cr_assert(refuses(idle, PHASE, BALLOON_HYPERV_CAPABILITIES));
    cr_assert(refuses(idle, PHASE, BALLOON_HYPERV_HOT_ADDING));
    cr_assert(refuses(idle, ANSWER, BALLOON_HYPERV_VERSION_RESPONSE));
    cr_assert(refuses(idle, CHOSEN, BALLOON_F_STATS));
    cr_assert(refuses(idle, VERSION, 1));
    cr_assert(refuses(idle, FLAGS, 0x80));
    cr_assert(refuses(idle, SPARE + 3, 1));
}

Test(hyperv_device_save, refuses_requests_that_do_not_fit)
{
    balloon_device *device = hv_device(1);

    cr_assert(refuses(device, LEFT + 3, 1));
    cr_assert(refuses(device, ADDED, 1));
    cr_assert(refuses(device, SMALL, 1 | BALLOON_HYPERV_HOT_ADD_WAITING << 4));
    cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_OK);
    cr_assert(refuses(device, SMALL, 1 | BALLOON_HYPERV_HOT_ADD_ASKED << 4));
    cr_assert(refuses(device, FIRST + 1, 0));
    CHECK_SAYS(hv_poll(device, START), "add 4096+512 in 4096+1024");
    cr_assert(refuses(device, SMALL, 1 | BALLOON_HYPERV_HOT_ADD_ANSWERED << 4));
}

/* Whatever is loaded keeps the rules, and is saved as it was. */
Test(hyperv_device_save, any_byte_is_sound_or_refused)
{
    balloon_device *device = hv_device(1);
    size_t bytes, loaded = 0;
    uint8_t *saved;

    hv_hold(device, 16, RANGES({0, 16}));
    cr_assert_eq(balloon_hyperv_hot_add_request(device, &more_memory), BALLOON_OK);
    saved = rig_save(device, START, &bytes);
    for (size_t at = BINDING; at < BINDING + 64; at++) {
        for (unsigned value = 0; value < 256; value += 5) {
            balloon_device *to = hv_blank(1, BALLOON_F_DEFAULT);
            uint8_t was = saved[at];

            saved[at] = (uint8_t)value;
            if (balloon_device_load(to, NOW, saved, bytes) == BALLOON_OK) {
                size_t again_bytes;
                uint8_t *again = rig_save(to, NOW, &again_bytes);

                /* Without a time for the answer, as earlier versions saved it, it begins anew. */
                if (at == PHASE && value == BALLOON_HYPERV_UNBALLOONING)
                    again[BINDING + 62] = 0;
                cr_assert_eq(memcmp(again, saved, bytes), 0);
                free(again);
                (void)hv_poll(to, NOW);
                loaded++;
            }
            saved[at] = was;
            vm_end();
        }
    }
    free(saved);
    cr_assert_gt(loaded, 100);
}
