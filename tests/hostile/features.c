/* Every set of features that can be offered, every part of it that can be chosen, every way to
 * number the queues: all queues are served and no feature acts that was not chosen. */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static const balloon_region ram[] = {{0, 1024, 1}};
static const uint32_t needs[] = {0, 0, BALLOON_F_STATS, BALLOON_F_HINTING, BALLOON_F_REPORTING};

/* Polls; returns letters for what was asked: D(iscard), A(cknowledge), C(onfiguration interrupt),
 * S(tatistics), L(ate), P(ressure), H(inted). */
static const char *script(balloon_device *device, balloon_time_t now)
{
    static const char letter[] = "?DACSLPH";
    static char text[64];
    balloon_action action;
    size_t n = 0;
    while (balloon_device_poll(device, now, &action)) {
        cr_assert_lt(n + 1, sizeof(text));
        text[n++] = letter[action.type];
    }
    text[n] = 0;
    return text;
}

static void serve(balloon_device *device, uint32_t chosen, const char *what)
{
    uint32_t pfns[] = {10, 11, 12};
    bool gathers = chosen & BALLOON_F_MUST_TELL;
    balloon_virtio_span span = {512 << 12, 16 << 12};
    script(device, 0);

    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, 3, 0), BALLOON_OK);
    cr_assert_str_eq(script(device, 0), gathers ? "A" : "DA", "%s", what);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_DEFLATE, 2, pfns, 1, 0), BALLOON_OK);
    cr_assert_str_eq(script(device, 0), "A", "%s", what);
    balloon_device_flush(device);
    cr_assert_str_eq(script(device, 0), gathers ? "D" : "", "%s", what);

    static const uint8_t stats[10] = {6, 0, 1};
    balloon_status status = rig_send(device, BALLOON_QUEUE_STATS, 3, stats, 10, 0);
    if (chosen & BALLOON_F_STATS) {
        cr_assert_eq(status, BALLOON_OK, "%s", what);
        script(device, 0);
        cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_OK, "%s", what);
        cr_assert_str_eq(script(device, 0), "A", "%s", what);
        cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 4, stats, 10, 0), BALLOON_OK);
        cr_assert_str_eq(script(device, 0), "S", "%s", what);
    } else {
        cr_assert_neq(status, BALLOON_OK, "%s", what);
        cr_assert_eq(balloon_device_request_stats(device, 0), BALLOON_ERR_STATE, "%s", what);
    }

    status = rig_send_spans(device, BALLOON_QUEUE_REPORT, 5, &span, 1, 0);
    bool keeps = chosen & BALLOON_F_POISON;
    if (chosen & BALLOON_F_REPORTING)
        cr_assert_str_eq(script(device, 0), keeps ? "A" : "DA", "%s", what);
    else
        cr_assert_neq(status, BALLOON_OK, "%s", what);

    balloon_status started = balloon_device_start_hinting(device);
    if (chosen & BALLOON_F_HINTING) {
        cr_assert_eq(started, BALLOON_OK, "%s", what);
        cr_assert_str_eq(script(device, 0), "C", "%s", what);
        uint8_t id[4], stop[4] = {0};
        balloon_virtio_config_read(device, 8, id, 4);
        cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 6, id, 4, 0), BALLOON_OK);
        cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_HINT, 7, &span, 1, 0), BALLOON_OK);
        cr_assert_eq(rig_send(device, BALLOON_QUEUE_HINT, 8, stop, 4, 0), BALLOON_OK);
        cr_assert_str_eq(script(device, 0), "AAAH", "%s", what);
        cr_assert_eq(balloon_tracker_hinted(balloon_device_tracker(device)), 16, "%s", what);
        cr_assert_eq(balloon_device_finish_hinting(device), BALLOON_OK, "%s", what);
    } else {
        cr_assert_eq(started, BALLOON_ERR_STATE, "%s", what);
    }
    script(device, 0);
    const char *why = NULL;
    cr_assert(balloon_device_check(device, &why), "%s: %s", what, why);
}

Test(feature_matrix, every_offer_every_choice_every_numbering)
{
    for (uint32_t offered = 0; offered < 64; offered++) {
        balloon_device_config config = {.size = sizeof(config),
                                        .regions = ram,
                                        .region_count = 1,
                                        .features = offered ? offered : BALLOON_F_NONE};
        void *memory;
        balloon_device *device = rig_make(&config, &memory);
        cr_assert_eq(balloon_virtio_features(device), offered | BALLOON_VIRTIO_F_VERSION_1);
        size_t space = offered & BALLOON_F_POISON ? 16 : offered & BALLOON_F_HINTING ? 12 : 8;
        cr_assert_eq(balloon_virtio_config_bytes(device), space);
        for (uint32_t chosen = 0; chosen < 64; chosen++) {
            for (int rule = 0; rule < 3; rule++) {
                char what[64];
                snprintf(what, sizeof(what), "offered %#x chosen %#x rule %d", offered, chosen,
                         rule);
                balloon_virtio_options options = {.size = sizeof(options),
                                                  .numbering = (balloon_virtio_numbering)rule};
                balloon_device_reset(device);
                cr_assert_eq(balloon_virtio_configure(device, &options), BALLOON_OK);
                balloon_status status = balloon_virtio_set_features(device, chosen);
                if (chosen & ~offered) {
                    cr_assert_eq(status, BALLOON_ERR_PROTOCOL, "%s", what);
                    continue;
                }
                cr_assert_eq(status, BALLOON_OK, "%s", what);
                rig_write_config(device, 12, 0xaaaaaaaa);
                cr_assert_eq(balloon_virtio_driver_ok(device, 0, 0), BALLOON_OK, "%s", what);
                balloon_device_status now;
                balloon_device_status_get(device, &now);
                cr_assert_eq(now.negotiated, chosen, "%s", what);
                for (uint32_t kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
                    int index = balloon_virtio_queue_index((balloon_virtio_numbering)rule, offered,
                                                           chosen, (balloon_virtio_queue)kind);
                    bool have = (needs[kind] & chosen) == needs[kind];
                    cr_assert(!have || index >= 0, "%s: queue kind %u has no number", what, kind);
                    if (have)
                        cr_assert_eq(balloon_virtio_queue_of(device, (uint32_t)index), kind, "%s",
                                     what);
                }
                serve(device, chosen, what);
            }
        }
        free(memory);
    }
}

/* A driver that counts its queues in its own way is understood by which of them it sets up. */
Test(feature_matrix, the_numbering_is_found)
{
    for (uint32_t offered = 0; offered < 64; offered++) {
        for (uint32_t chosen = 0; chosen < 64; chosen++) {
            if (chosen & ~offered)
                continue;
            for (int rule = 0; rule < 3; rule++) {
                balloon_virtio_numbering found = BALLOON_QUEUES_BY_OFFER;
                int index[BALLOON_QUEUE_KINDS];
                uint32_t enabled = 0;
                for (uint32_t kind = 0; kind < BALLOON_QUEUE_KINDS; kind++) {
                    index[kind] = -1;
                    if ((needs[kind] & chosen) != needs[kind])
                        continue;
                    index[kind] =
                        balloon_virtio_queue_index((balloon_virtio_numbering)rule, offered, chosen,
                                                   (balloon_virtio_queue)kind);
                    enabled |= 1u << index[kind];
                }
                cr_assert(balloon_virtio_find_numbering(offered, chosen, enabled, &found));
                cr_assert_leq((int)found, rule);
                balloon_device_config config = {.size = sizeof(config),
                                                .regions = ram,
                                                .region_count = 1,
                                                .features = offered ? offered : BALLOON_F_NONE};
                void *memory;
                balloon_device *device = rig_make(&config, &memory);
                cr_assert_eq(balloon_virtio_set_features(device, chosen), BALLOON_OK);
                cr_assert_eq(balloon_virtio_driver_ok(device, enabled, 0), BALLOON_OK);
                uint32_t served = 0;
                for (uint32_t i = 0; i < BALLOON_QUEUE_KINDS; i++)
                    if ((enabled >> i & 1) &&
                        balloon_virtio_queue_of(device, i) != BALLOON_QUEUE_NONE)
                        served |= 1u << i;
                cr_assert_eq(served, enabled, "offered %#x chosen %#x rule %d: %#x of %#x", offered,
                             chosen, rule, served, enabled);
                free(memory);
            }
        }
    }
}
