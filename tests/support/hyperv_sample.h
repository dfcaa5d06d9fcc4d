/* Random messages of Hyper-V Dynamic Memory, to test readers and writers by. */
#ifndef TEST_HYPERV_SAMPLE_H
#define TEST_HYPERV_SAMPLE_H

#include <balloon/hyperv.h>

#include "prng.h"

#define HYPERV_SAMPLE_BYTES  256
#define HYPERV_SAMPLE_RANGES 20

/* A message, and its bytes by the book: written here, field by field, without the library. */
struct hyperv_sample {
    balloon_hyperv_message message;
    unsigned char bytes[HYPERV_SAMPLE_BYTES];
    size_t count;
    size_t head;                /* Bytes of the fixed part. */
    unsigned char reserved[48]; /* Its bits that mean nothing. */
    unsigned char list[HYPERV_SAMPLE_RANGES * 8];
};

struct hyperv_sample hyperv_sample_make(struct prng *prng, uint16_t type);

/* The sample's message, with its list where the sample lies now. */
balloon_hyperv_message hyperv_sample_message(const struct hyperv_sample *sample);

/* A number, lowest byte first. */
void hyperv_put(unsigned char *bytes, unsigned size, uint64_t value);

#endif
