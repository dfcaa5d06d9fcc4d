/* The tracker against the naive model, the operations chosen by the fuzzer's bytes. */
#include "tracker_duel.h"

#include <stdio.h>
#include <stdlib.h>

/* Fuzz targets are linked to the library alone. */
#include "model.c"
#include "prng.c"
#include "tracker_duel.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prng prng = prng_from_bytes(data, size);
    struct tracker_duel duel;
    tracker_duel_start(&duel, &prng, 1 + prng_below(&prng, 2500));
    duel.check_every = 8;
    const char *why = NULL;
    while (prng.left && !why)
        why = tracker_duel_step(&duel, &prng);
    if (!why)
        why = tracker_duel_compare(&duel);
    if (why) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    tracker_duel_end(&duel);
    return 0;
}
