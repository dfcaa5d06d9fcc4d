/* Seeded random numbers for tests, and the same draws out of a fuzzer's bytes. */
#ifndef TEST_PRNG_H
#define TEST_PRNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prng {
    uint64_t state;
    const uint8_t *bytes; /* When not NULL, draws come from here and are 0 once it is used up. */
    size_t left;
};

/* BALLOON_SEED of the environment, or a fixed default. */
uint64_t prng_seed(void);

/* BALLOON_CHECK_ALL of the environment: run longer and check more. */
bool prng_check_all(void);

/* Streams of one seed do not depend on each other. */
struct prng prng_start(uint64_t seed, uint64_t stream);
struct prng prng_from_bytes(const uint8_t *bytes, size_t count);

uint64_t prng_next(struct prng *prng);
uint64_t prng_below(struct prng *prng, uint64_t bound); /* 0 .. bound - 1; 0 for bound 0. */
bool prng_one_in(struct prng *prng, uint64_t n);

#endif
