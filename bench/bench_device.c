/* Whole devices: bytes of a buffer in, the last action out; discards are not executed. Beside them
 * the tracker alone, and the cost of reading. All do the same streams in turn.
 *
 *   bench_device [CASE]: only the cases whose name contains that text, as in device/inflate/d. */
#include <balloon/alloc.h>
#include <balloon/tracker.h>

#include "cases.h"
#include "device_path.h"
#include "page_maps.h"
#include "patterns.h"

/* The tracker in settling mode and in gathering mode, then the devices. */
enum { TRACKERS = 2, WAYS = TRACKERS + DEVICE_PATHS };
#define GUEST_PAGES (UINT64_C(1) << 20)

static balloon_tracker *trackers[TRACKERS];
static struct device_path paths[DEVICE_PATHS];

static void take_all(balloon_tracker *tracker)
{
    balloon_run runs[BUFFER_PAGES];
    size_t n;

    do {
        n = balloon_tracker_take(tracker, runs, BUFFER_PAGES);
        cases_sink += n;
    } while (n == BUFFER_PAGES);
}

static void tracker_inflate(int gather, const uint32_t *stream)
{
    balloon_tally tally = {0};

    for (uint32_t b = 0; b < BUFFERS; b++) {
        balloon_tracker_inflate(trackers[gather], stream + b * BUFFER_PAGES, BUFFER_PAGES, &tally);
        if (gather)
            continue;
        take_all(trackers[gather]);
        balloon_tracker_settle(trackers[gather]);
    }
    take_all(trackers[gather]);
    cases_sink += tally.changed;
}

static void tracker_deflate(int gather, const uint32_t *stream)
{
    balloon_tally tally = {0};

    for (uint32_t b = 0; b < BUFFERS; b++)
        balloon_tracker_deflate(trackers[gather], stream + b * BUFFER_PAGES, BUFFER_PAGES, &tally);
    cases_sink += tally.changed;
}

static void inflate(int way, const uint32_t *stream)
{
    if (way < TRACKERS)
        tracker_inflate(way, stream);
    else
        device_path_inflate(&paths[way - TRACKERS]);
}

static void deflate(int way, const uint32_t *stream)
{
    if (way < TRACKERS)
        tracker_deflate(way, stream);
    else
        device_path_deflate(&paths[way - TRACKERS]);
}

/* Brings in what a way reads first, since the others left it far away: as near as a guest's buffers
 * are that it has just written. */
static void bring_in(int way, const uint32_t *stream)
{
    const unsigned char *bytes = (const unsigned char *)stream;
    size_t size = STREAM_PAGES * sizeof(*stream);
    unsigned sum = 0;

    if (way >= TRACKERS)
        bytes = device_path_bytes(&paths[way - TRACKERS], &size);
    for (size_t i = 0; i < size; i += 64)
        sum += bytes[i];
    cases_sink += sum;
}

static void measure(char pattern, const uint32_t *stream)
{
    static double in[WAYS][MEASURE_RUNS], out[WAYS][MEASURE_RUNS], nothing[MEASURE_RUNS];
    static const char *const names[TRACKERS] = {"tracker", "tracker gathering"};
    char inflates[64], deflates[64];

    snprintf(inflates, sizeof(inflates), "device/inflate/%c/4GiB", pattern);
    snprintf(deflates, sizeof(deflates), "device/deflate/%c/4GiB", pattern);
    if (!case_wanted(inflates) && !case_wanted(deflates))
        return;
    for (int k = 0; k < DEVICE_PATHS; k++)
        device_path_load(&paths[k], stream, BUFFERS);
    for (int i = -1; i < MEASURE_RUNS; i++) { /* the first one brings in the memory */
        for (int k = 0; k < WAYS; k++) {
            double start, middle;

            bring_in(k, stream);
            start = measure_now();
            inflate(k, stream);
            middle = measure_now();
            deflate(k, stream);
            if (i < 0)
                continue;
            in[k][i] = middle - start;
            out[k][i] = measure_now() - middle;
        }
        if (i >= 0) {
            double start;

            floor_pass(NULL, stream); /* the others left it far away */
            start = measure_now();
            floor_pass(NULL, stream);
            nothing[i] = measure_now() - start;
        }
    }
    measure_print(inflates, "read floor", STREAM_PAGES, measure_median(nothing, MEASURE_RUNS));
    for (int k = 0; k < WAYS; k++) {
        const char *name = k < TRACKERS ? names[k] : paths[k - TRACKERS].name;

        measure_print(inflates, name, STREAM_PAGES, measure_median(in[k], MEASURE_RUNS));
        measure_print(deflates, name, STREAM_PAGES, measure_median(out[k], MEASURE_RUNS));
    }
}

static bool make_tracker(int gather)
{
    balloon_region ram = {0, GUEST_PAGES, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = GUEST_PAGES};

    if (balloon_tracker_create(&config, &trackers[gather]) != BALLOON_OK ||
        balloon_tracker_add_region(trackers[gather], &ram, NULL) != BALLOON_OK)
        return false;
    balloon_tracker_set_gather(trackers[gather], gather);
    return true;
}

int main(int argc, char **argv)
{
    uint32_t *stream = malloc(STREAM_PAGES * sizeof(*stream));

    if (argc > 1)
        cases_only = argv[1];
    if (!stream || !make_tracker(0) || !make_tracker(1))
        return 1;
    for (unsigned i = 0; i < DEVICE_PATHS; i++)
        device_path_open(&paths[i], i, GUEST_PAGES);
    for (char pattern = 'a'; pattern <= 'e'; pattern++) {
        make_pattern(pattern, stream, GUEST_PAGES);
        measure(pattern, stream);
    }
    for (int i = 0; i < DEVICE_PATHS; i++)
        device_path_close(&paths[i]);
    for (int i = 0; i < TRACKERS; i++)
        balloon_tracker_destroy(trackers[i]);
    free(stream);
    return 0;
}
