/* The device against the naive model: guest, commands, moves and resets chosen by the fuzzer. */
#include "device_duel.h"

#include <stdio.h>
#include <stdlib.h>

/* Fuzz targets are linked to the library alone. */
#include "device_duel.c"
#include "device_duel_inputs.c"
#include "model.c"
#include "prng.c"
#include "rig.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prng prng = prng_from_bytes(data, size);
    struct device_duel duel;
    device_duel_start(&duel, &prng);
    duel.check_every = 8;
    const char *why = NULL;
    while (prng.left && !why) {
        why = device_duel_step(&duel);
        if (!why && prng_one_in(&prng, 32))
            why = device_duel_move(&duel);
    }
    if (!why)
        why = device_duel_compare(&duel);
    if (why) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    device_duel_end(&duel);
    return 0;
}
