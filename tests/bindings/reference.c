/* What the bindings of other languages must do, done in C: reference device|tracker|pool|sim. Each
 * of them prints every decision of the library, so that equal output means that all arguments and
 * all results came through. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/balloon.h>

enum { MS = 1000000 };

static void check(balloon_status status)
{
    if (status != BALLOON_OK) {
        fprintf(stderr, "%s\n", balloon_status_text(status));
        exit(1);
    }
}

static uint64_t drawn = 1;

static uint32_t draw(uint32_t below)
{
    drawn = drawn * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((drawn >> 33) % below);
}

/* ---- A VMM's loop: a toy guest inflates and deflates, some discards fail
 * --------------------------- */

static unsigned discards;

static void serve(balloon_device *device, balloon_time_t now)
{
    balloon_action action;

    while (balloon_device_poll(device, now, &action)) {
        if (action.type == BALLOON_ACTION_DISCARD) {
            for (uint32_t i = 0; i < action.run_count; i++)
                printf("discard %" PRIu32 " %" PRIu64 "+%" PRIu64 "\n", action.runs[i].region,
                       action.runs[i].range.first, action.runs[i].range.count);
            if (++discards % 7 == 0) {
                balloon_run failed = action.runs[0];

                balloon_device_discard_failed(device, &failed, now);
                printf("failed\n");
            }
        } else if (action.type == BALLOON_ACTION_ACK) {
            printf("ack %" PRIu32 " %" PRIu64 " %" PRIu32 "\n", action.queue, action.cookie,
                   action.used_bytes);
        } else if (action.type == BALLOON_ACTION_CONFIG_IRQ) {
            unsigned char space[4];

            balloon_virtio_config_read(device, 0, space, sizeof(space));
            printf("target %u\n", (unsigned)(space[0] | space[1] << 8 | space[2] << 16));
        } else if (action.type == BALLOON_ACTION_PRESSURE) {
            printf("the guest is short of memory\n");
        }
    }
}

static void run_device(void)
{
    balloon_region ram[] = {{0, 16384, 1}, {0x80000, 16384, 16}};
    balloon_device_config config = {.size = sizeof(config), .regions = ram, .region_count = 2};
    balloon_time_t now = 0;
    balloon_device *device;

    check(balloon_device_create(&config, &device));
    check(balloon_virtio_set_features(device, balloon_virtio_features(device)));
    check(balloon_virtio_driver_ok(device, 0, now));
    check(balloon_device_set_target(device, 8192, now));
    serve(device, now);
    for (uint32_t step = 0; step < 300; step++) {
        unsigned char bytes[256];
        uint32_t queue = draw(4) ? BALLOON_QUEUE_INFLATE : BALLOON_QUEUE_DEFLATE;
        uint32_t first = (draw(2) ? 0x80000 : 0) + draw(16384 - 64);
        uint32_t count = 1 + draw(64);

        for (uint32_t i = 0; i < count; i++) {
            for (int b = 0; b < 4; b++)
                bytes[4 * i + (uint32_t)b] = (unsigned char)((first + i) >> 8 * b);
        }
        balloon_iov readable = {bytes, (size_t)4 * count};
        balloon_virtio_buffer buffer = {.cookie = step, .readable = &readable, .readable_count = 1};

        now += 7 * MS;
        check(balloon_virtio_receive(device, queue, &buffer, now));
        serve(device, now);
    }
    for (int i = 0; i < 3; i++) {
        now = balloon_device_deadline(device);
        printf("sleep until %" PRIu64 "\n", now);
        serve(device, now);
    }

    balloon_device_status status;
    balloon_device_counters n;
    size_t bytes = balloon_device_save_bytes(device);
    unsigned char *saved = malloc(bytes);
    size_t used;
    uint64_t sum = 0;

    balloon_device_status_get(device, &status);
    balloon_device_counters_get(device, &n);
    printf("held %" PRIu64 " pending %" PRIu64 " returned %" PRIu64 "\n", status.held,
           status.pending, status.returned);
    printf("inflated %" PRIu64 " deflated %" PRIu64 " cancelled %" PRIu64 " discarded %" PRIu64
           " in %" PRIu64 " failed %" PRIu64 "\n",
           n.inflated, n.deflated, n.cancelled, n.discarded, n.discard_runs, n.discard_failed);
    printf("%s\n", balloon_reason_text(balloon_device_explain(device, now, NULL)));
    if (!saved)
        exit(1);
    check(balloon_device_save(device, now, saved, bytes, &used));
    for (size_t i = 0; i < used; i++)
        sum = sum * 31 + saved[i];
    printf("saved %zu %016" PRIx64 "\n", used, sum);
    free(saved);
    balloon_device_destroy(device);
}

/* ---- The page map: single pages and ranges in and out, runs taken, sets walked
 * --------------------- */

static void run_tracker(void)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 65536};
    balloon_region ram[] = {{0, 32768, 1}, {0x80000, 32768, 512}};
    balloon_tally tally = {0};
    balloon_tracker *tracker;

    check(balloon_tracker_create(&config, &tracker));
    for (int i = 0; i < 2; i++)
        check(balloon_tracker_add_region(tracker, &ram[i], NULL));
    balloon_tracker_set_gather(tracker, true);
    for (uint32_t step = 0; step < 400; step++) {
        uint32_t pfns[64];
        uint32_t op = draw(5);
        uint32_t first = (draw(2) ? 0x80000 : 0) + draw(32768);
        uint32_t count = 1 + draw(64);
        balloon_range range = {first, (uint64_t)count * 37};

        for (uint32_t i = 0; i < count; i++)
            pfns[i] = first + i * 3;
        if (op < 2)
            balloon_tracker_inflate(tracker, pfns, count, &tally);
        else if (op == 2)
            balloon_tracker_inflate_range(tracker, range, &tally);
        else if (op == 3)
            balloon_tracker_deflate(tracker, pfns, count, &tally);
        else
            balloon_tracker_deflate_range(tracker, range, &tally);
        if (step == 300)
            balloon_tracker_set_gather(tracker, false);
        if (step % 8 == 7) {
            balloon_run runs[5];
            size_t got = balloon_tracker_take(tracker, runs, 5);

            for (size_t i = 0; i < got; i++)
                printf("%" PRIu32 " %" PRIu64 "+%" PRIu64 "\n", runs[i].region, runs[i].range.first,
                       runs[i].range.count);
            printf("held %" PRIu64 " ready %" PRIu64 "\n", balloon_tracker_held(tracker),
                   balloon_tracker_ready(tracker));
            balloon_tracker_settle(tracker);
        }
    }
    printf("changed %" PRIu64 " unchanged %" PRIu64 " outside %" PRIu64 " cancelled %" PRIu64 "\n",
           tally.changed, tally.unchanged, tally.outside, tally.cancelled);

    balloon_range all = {0, 0x100000};
    balloon_run run;

    printf("free %" PRIu64 "\n", balloon_tracker_count(tracker, BALLOON_SET_FREE, all));
    while (balloon_tracker_next(tracker, BALLOON_SET_HELD, all, &run)) {
        printf("%" PRIu64 "+%" PRIu64 "\n", run.range.first, run.range.count);
        all.first = run.range.first + run.range.count;
        all.count = 0x100000 - all.first;
    }
    balloon_tracker_destroy(tracker);
}

/* ---- A manager's loop: three toy guests that need memory in turn
 * ----------------------------------- */

enum { GUESTS = 3, HALF_SECOND = 500 * MS };

typedef struct toy {
    uint64_t id, size, target, swapped_in;
} toy;

static void run_pool(const char *policy)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = GUESTS,
                                  .pages = 229376, /* 896 MiB */
                                  .policy = balloon_policy_find(policy)};
    toy guests[GUESTS];
    balloon_pool *pool;

    check(balloon_pool_create(&config, &pool));
    for (int g = 0; g < GUESTS; g++) {
        balloon_pool_guest guest = {
            .size = sizeof(guest), .min = 16384, .max = 131072, .current = 65536};

        guests[g] = (toy){.size = guest.current, .target = guest.current};
        check(balloon_pool_add(pool, &guest, 0, &guests[g].id));
    }
    for (uint64_t tick = 1; tick <= 160; tick++) {
        balloon_time_t now = tick * HALF_SECOND;
        balloon_change change;

        for (int g = 0; g < GUESTS; g++) {
            toy *t = &guests[g];
            uint64_t need = (tick / 32 + (uint64_t)g) % GUESTS == 0 ? 114688 : 32768;
            uint64_t rest = t->size > need ? t->size - need : 0;
            balloon_sample sample = {.time = now};

            /* It moves by 25 MiB at the most. */
            if (t->target > t->size)
                t->size += t->target - t->size < 6400 ? t->target - t->size : 6400;
            else
                t->size -= t->size - t->target < 6400 ? t->size - t->target : 6400;
            if (rest == 0)
                t->swapped_in += 4 << 20;
            balloon_sample_set(&sample, BALLOON_STAT_SWAP_IN, t->swapped_in);
            balloon_sample_set(&sample, BALLOON_STAT_TOTAL, t->size * BALLOON_PAGE_SIZE);
            balloon_sample_set(&sample, BALLOON_STAT_FREE, rest / 2 * BALLOON_PAGE_SIZE);
            balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, rest * BALLOON_PAGE_SIZE);
            check(balloon_pool_set_size(pool, t->id, t->size, now));
            check(balloon_pool_sample(pool, t->id, &sample, now));
        }
        balloon_verdict verdict = balloon_pool_decide(pool, now);

        while (balloon_pool_next(pool, &change)) {
            for (int g = 0; g < GUESTS; g++) {
                if (guests[g].id == change.id)
                    guests[g].target = change.target;
            }
            printf("%" PRIu64 ": guest %" PRIu64 " to %" PRIu64 ", %s%s\n", tick, change.id,
                   change.target, balloon_why_text(change.why), change.emergency ? "!" : "");
        }
        if (verdict != BALLOON_VERDICT_OK)
            printf("%" PRIu64 ": verdict %d\n", tick, (int)verdict);
    }

    balloon_pool_status status;

    balloon_pool_status_get(pool, &status);
    printf("used %" PRIu64 " committed %" PRIu64 " budget %" PRIu64 " next at %" PRIu64 "\n",
           status.used, status.committed, status.budget, balloon_pool_deadline(pool));
    balloon_pool_destroy(pool);
}

/* ---- A policy in the simulator
 * --------------------------------------------------------------------- */

static void *allocate(balloon_layout layout)
{
    void *memory = calloc(1, layout.bytes);

    if (!memory)
        exit(1);
    return memory;
}

static void run_sim(const char *policy)
{
    enum { EVERY_MS = 5000 };
    balloon_scenario_options options = {
        .size = sizeof(options), .number = 3, .guests = 4, .seed = 7};
    const balloon_scenario *scenario;
    balloon_layout layout;

    check(balloon_scenario_layout(&options, &layout));
    void *room = allocate(layout);
    check(balloon_scenario_build(room, layout.bytes, &options, &scenario));

    size_t count = (size_t)(scenario->duration_ms / EVERY_MS + 1) * scenario->guest_count;
    balloon_sim_record *records = calloc(count, sizeof(*records));
    balloon_sim_config config = {.size = sizeof(config),
                                 .scenario = scenario,
                                 .pool = {.policy = balloon_policy_find(policy)},
                                 .seed = 11,
                                 .records = records,
                                 .record_count = count,
                                 .record_ms = EVERY_MS,
                                 .profile = BALLOON_SIM_VIRTIO};
    balloon_sim_result result;
    balloon_sim *sim;

    if (!records)
        exit(1);
    check(balloon_sim_layout(&config, &layout));
    void *memory = allocate(layout);
    check(balloon_sim_init(memory, layout.bytes, &config, &sim));
    balloon_sim_run(sim, scenario->duration_ms);
    balloon_sim_result_get(sim, &result);
    printf("%s: %" PRIu32 " guests in %" PRIu64 " pages\n", scenario->name, scenario->guest_count,
           scenario->pages);
    printf("cost %" PRIu64 " misses %" PRIu64 " swap-ins %" PRIu64 " kills %" PRIu64 "\n",
           result.cost, result.misses, result.swap_ins, result.oom_kills);
    printf("stall %" PRIu64 " p99 %" PRIu64 " pressure %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
           result.stall_mean, result.stall_p99, result.pressure[0], result.pressure[1],
           result.pressure[2]);
    printf("churn %" PRIu64 " decisions %" PRIu64 " waiting %" PRIu64 "\n", result.churn,
           result.decisions, result.waiting_ms);
    for (size_t i = 0; i < balloon_sim_records(sim) * scenario->guest_count; i++)
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 "\n",
               records[i].size, records[i].target, records[i].need, records[i].misses,
               records[i].stall, records[i].present);
    free(memory);
    free(records);
    free(room);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    const char *policy = argc > 2 ? argv[2] : "waterline";

    if (!strcmp(what, "device"))
        run_device();
    else if (!strcmp(what, "tracker"))
        run_tracker();
    else if (!strcmp(what, "pool"))
        run_pool(policy);
    else if (!strcmp(what, "sim"))
        run_sim(policy);
    else
        return 2;
    return 0;
}
