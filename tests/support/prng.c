#include "prng.h"

#include <stdlib.h>

uint64_t prng_seed(void)
{
    const char *text = getenv("BALLOON_SEED");
    return text ? strtoull(text, NULL, 0) : 20261;
}

bool prng_check_all(void)
{
    const char *text = getenv("BALLOON_CHECK_ALL");
    return text && *text && *text != '0';
}

/* splitmix64: any state is a good one, so streams are just distant starting points. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct prng prng_start(uint64_t seed, uint64_t stream)
{
    return (struct prng){.state = mix(seed) ^ mix(stream + UINT64_C(0x632be59bd9b4e019))};
}

struct prng prng_from_bytes(const uint8_t *bytes, size_t count)
{
    return (struct prng){.bytes = bytes, .left = count};
}

uint64_t prng_next(struct prng *prng)
{
    if (prng->bytes) {
        uint64_t value = 0;
        for (int i = 0; i < 8; i++)
            value = value << 8 | prng_below(prng, 256);
        return value;
    }
    prng->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(prng->state);
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    if (bound <= 1)
        return 0;
    if (!prng->bytes)
        return prng_next(prng) % bound;
    /* A small choice costs the fuzzer one byte, so that single bytes keep their meaning. */
    uint64_t value = 0;
    for (uint64_t span = bound - 1; span; span >>= 8) {
        uint64_t byte = 0;
        if (prng->left) {
            byte = *prng->bytes++;
            prng->left--;
        }
        value = value << 8 | byte;
    }
    return value % bound;
}

bool prng_one_in(struct prng *prng, uint64_t n)
{
    return prng_below(prng, n) == 0;
}
