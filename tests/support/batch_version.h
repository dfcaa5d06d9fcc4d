/* Which version of the tracker's code for batches is tested: the one for this machine, or that of
 * the environment variable BALLOON_BATCH. */
#ifndef TEST_BATCH_VERSION_H
#define TEST_BATCH_VERSION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/core/tracker_batch_p.h"

static inline void batch_version_choose(void)
{
    const char *name = getenv("BALLOON_BATCH");
    unsigned i = 0;

    while (name && bl_batch_version(i) && strcmp(bl_batch_version(i)->name, name) != 0)
        i++;
    if (!bl_batch_version(i)) {
        fprintf(stderr, "BALLOON_BATCH=%s: this machine has no such version\n", name);
        exit(1);
    }
    if (name)
        bl_batch_use(bl_batch_version(i));
}

#endif
