/* The saved form of version 1, byte by byte: every later version must write and read it. */
#include <stdlib.h>

#include "vm.h"

TestSuite(golden_saved, .fini = vm_end);

#define NOW (UINT64_C(100) * VM_SECOND)

static const balloon_region ram[2] = {{0, 1024, 1}, {4096, 16, 1}};

static balloon_device *make(void)
{
    balloon_device_config config = {
        .size = sizeof(config), .regions = ram, .region_count = 2, .features = BALLOON_F_ALL};

    return vm_device(&config);
}

/* clang-format off */
static const uint8_t form[] = {
    'B', 'L', 'N', 'V',  1, 0, 0, 0,               /* magic, version */
    /* device */
    0x3f, 0, 0, 0,  0x3b, 0, 0, 0,                 /* offered, chosen */
    1, 1, 0, 0, 1,                                 /* driver; interrupt due, pressure, its action
                                                      due, flush */
    0x40, 0, 0, 0,  0x22, 0x11, 0, 0,              /* target, actual */
    0x05, 0x02, 0, 0, 0, 0, 0, 0,                  /* peak: 517 pages */
    0x00, 0xca, 0x9a, 0x3b, 0, 0, 0, 0,            /* 1 s since progress */
    /* virtio */
    0, 1, 1,  0xaa, 0xaa, 0xaa, 0xaa,              /* numbering, version 1, poison written, poison */
    0x22, 0x11, 0, 0,                              /* latch of actual */
    /* binding: virtio, which adds nothing */
    0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    /* hinting */
    0,  0, 0, 0, 0,  0, 0, 0, 0x80,                /* state, id, next id */
    /* statistics */
    1, 0, 1, 0, 0,  2,                             /* held; late, sample, due, request; queue */
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* cookie */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* no deadline */
    0x00, 0xe4, 0x0b, 0x54, 0x02, 0, 0, 0,         /* period: 10 s */
    0, 0, 0, 0, 0, 0, 0, 0,                        /* the next one is due */
    0x00, 0x5e, 0xd0, 0xb2, 0, 0, 0, 0,            /* age: 3 s */
    0x10, 0, 0, 0,  1, 0, 0, 0,                    /* present: free; one ignored */
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    7, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    /* buffers */
    1, 0, 0, 0,
    9, 0, 0, 0, 0, 0, 0, 0,  0, 0,                 /* cookie 9 of queue 0, settles nothing */
    /* regions */
    2, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 4, 0, 0, 0, 0, 0, 0, /* 1024 pages at 0 */
    0x01,                                          /* all held and none pending */
    0x0a,                                          /* some held, some pending: 512, 514 */
    0x05, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0x05, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0x10, 0, 0, 0, 0, 0, 0,  16, 0, 0, 0, 0, 0, 0, 0, /* 16 pages at 4096 */
    0x02,                                          /* some held: 4097, 4098, 4099 */
    0x0e, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

_Static_assert(sizeof(form) == 581, "the offsets below are counted by hand");

static const uint32_t chosen = BALLOON_F_ALL & ~BALLOON_F_DEFLATE_ON_OOM;

/* A device with this history is saved in that form. */
Test(golden_saved, is_written)
{
    balloon_device *device = make();
    balloon_time_t before = NOW - 3 * VM_SECOND;
    /* free: 7, and a tag that nobody knows. */
    static const uint8_t stats[20] = {4, 0, 7, 0, 0, 0, 0, 0, 0, 0, 99, 0};
    size_t count;

    cr_assert_eq(balloon_virtio_set_features(device, chosen | BALLOON_VIRTIO_F_VERSION_1),
                 BALLOON_OK);
    rig_write_config(device, 12, 0xaaaaaaaa);
    cr_assert_eq(balloon_virtio_driver_ok(device, 0, before), BALLOON_OK);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 0x1122334455667788, stats, 20, before),
                 BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 1, 0, 512, before), BALLOON_OK);
    cr_assert_eq(vm_inflate(device, 2, 4097, 3, before), BALLOON_OK);
    balloon_device_flush(device);
    CHECK_POLL(device, before, "discard 0+512,1:4097+3 | ack inflate/1 | ack inflate/2 | stats");
    balloon_device_set_stats_period(device, 10 * VM_SECOND, NOW);
    cr_assert_eq(balloon_device_set_target(device, 64, before), BALLOON_OK);
    rig_write_config(device, 4, 0x1122);
    cr_assert_eq(
        rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 9, VM_PFNS(512, 514), NOW - VM_SECOND),
        BALLOON_OK);
    balloon_device_flush(device);
    uint8_t *saved = rig_save(device, NOW, &count);

    cr_assert_eq(count, sizeof(form), "%zu bytes", count);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(saved[i], form[i], "byte %zu is %#x, not %#x", i, saved[i], form[i]);
    free(saved);
}

Test(golden_saved, is_read)
{
    balloon_device *device = make();
    balloon_sample sample;
    size_t count;

    cr_assert_eq(balloon_device_load(device, NOW, form, sizeof(form)), BALLOON_OK);
    cr_assert_eq(vm_status(device).negotiated, chosen);
    cr_assert_eq(vm_status(device).target, 64);
    cr_assert_eq(vm_status(device).actual, 0x1122);
    cr_assert_eq(vm_status(device).held, 517);
    cr_assert_eq(vm_status(device).pending, 2);
    cr_assert_eq(rig_read_config(device, 12), 0xaaaaaaaa);
    cr_assert(balloon_device_sample(device, &sample));
    cr_assert_eq(sample.time, NOW - 3 * VM_SECOND);
    cr_assert_eq(sample.value[BALLOON_STAT_FREE], 7);
    uint8_t *saved = rig_save(device, NOW, &count);
    cr_assert_eq(count, sizeof(form));
    cr_assert_eq(memcmp(saved, form, count), 0);
    free(saved);
    CHECK_POLL(device, NOW,
               "irq | discard 512+1,514+1 | ack inflate/9 | ack stats/1234605616436508552");
}

/* Ids of rounds of hints come back after 2^31 of them, without those that mean something else. */
Test(golden_saved, after_the_last_id_comes_the_first)
{
    balloon_device *device = make();
    uint8_t last[sizeof(form)];

    memcpy(last, form, sizeof(form));
    memset(last + 126, 0xff, 4);
    cr_assert_eq(balloon_device_load(device, NOW, last, sizeof(last)), BALLOON_OK);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    cr_assert_eq(rig_read_config(device, 8), UINT32_MAX);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    cr_assert_eq(rig_read_config(device, 8), UINT32_C(0x80000000));
}

/* --- fields that no device writes like this --------------------------------------------------- */

static const struct {
    const char *what;
    size_t at, bytes;
    uint8_t value;
} impossible[] = {
    {"other features offered", 8, 1, 0x1f},
    {"a feature chosen that was not offered", 12, 1, 0x7b},
    {"driver", 16, 1, 2},
    {"interrupt due", 17, 1, 2},
    {"pressure", 18, 1, 2},
    {"pressure due", 19, 1, 2},
    {"flush", 20, 1, 2},
    {"numbering", 45, 1, 3},
    {"version 1", 46, 1, 2},
    {"poison written", 47, 1, 2},
    {"another transport", 56, 1, 1},
    {"something of a transport that adds nothing", 120, 1, 1},
    {"state of hinting", 121, 1, 4},
    {"an id without a round", 122, 1, 2},
    {"a round that is asked for without an id", 121, 1, 1},
    {"a round that runs without an id", 121, 1, 2},
    {"the next id is none of a round", 126, 4, 0},
    {"statistics held", 130, 1, 2},
    {"statistics late", 131, 1, 2},
    {"a sample", 132, 1, 2},
    {"a sample due", 133, 1, 2},
    {"request", 134, 1, 3},
    {"queue of statistics", 135, 1, 5},
    {"a deadline without a request", 144, 8, 0},
    {"a next request without a period", 152, 8, 0},
    {"a statistic that has no number", 178, 1, 8},
    {"more buffers than there are", 336, 1, 2},
    {"less buffers than there are", 336, 1, 0},
    {"queue of a buffer", 348, 1, 5},
    {"settling", 349, 1, 2},
    {"less regions", 350, 1, 1},
    {"more regions", 350, 1, 3},
    {"the first page of a region", 354, 1, 1},
    {"the pages of a region", 362, 1, 1},
    {"a kind of held pages", 370, 1, 3},
    {"a kind of pending pages", 370, 1, 0x0d},
    {"kinds", 370, 1, 0x11},
    {"pages that are pending and not held", 370, 1, 0x04},
    {"a page that is pending and not held", 436, 1, 0x07},
    {"pages outside of the region", 519, 1, 1},
};

static void check_refused(const uint8_t *bytes, size_t count, const char *what)
{
    balloon_device *device = make();

    cr_assert_eq(balloon_device_load(device, NOW, bytes, count), BALLOON_ERR_PROTOCOL, "%s", what);
    cr_assert_not(vm_status(device).driver, "%s", what);
    cr_assert(balloon_device_check(device, NULL), "%s", what);
    vm_end();
}

Test(golden_saved, is_refused_with_any_field_that_cannot_be)
{
    uint8_t bytes[sizeof(form)];

    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
        memcpy(bytes, form, sizeof(form));
        memset(bytes + impossible[i].at, impossible[i].value, impossible[i].bytes);
        check_refused(bytes, sizeof(bytes), impossible[i].what);
    }
}

Test(golden_saved, is_refused_with_two_fields_that_do_not_agree)
{
    uint8_t bytes[sizeof(form)];

    memcpy(bytes, form, sizeof(form));
    bytes[132] = 0;
    bytes[133] = 1;
    check_refused(bytes, sizeof(bytes), "a sample due that there is not");
    memcpy(bytes, form, sizeof(form));
    bytes[121] = 3;
    bytes[122] = 1;
    check_refused(bytes, sizeof(bytes), "a round that is stopped and done");
    memcpy(bytes, form, sizeof(form));
    bytes[516] = 1;
    check_refused(bytes, sizeof(bytes) - 64, "512 pages held of a region of 16");
}
