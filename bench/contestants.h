/* Who takes part in a comparison: a policy, its knobs, and what it may know. */
#ifndef BENCH_CONTESTANTS_H
#define BENCH_CONTESTANTS_H

#include <balloon/policy.h>

#define CONTESTANTS_MAX 32

struct contestant {
    char name[80]; /* as it was given */
    const balloon_policy *policy;
    balloon_waterline_knobs knobs;
    bool has_knobs;
    bool curves; /* the host measures miss-ratio curves for it */
};

/* Forms of a contestant, for usage texts. */
#define CONTESTANTS_USAGE                                                                          \
    "  A policy is a name, \"+mrc\" behind it gives it measured miss-ratio curves, and knobs of\n" \
    "  waterline follow as in waterline:tax=128:boost=32 (tax, boost, boost_cap, threshold,\n"     \
    "  dead_band, shrink, hold_s, proactive, ignore_curves, or off as a value). The policy\n"      \
    "  curves always has measured curves. all: every one, and waterline+mrc. oracle knows the\n"   \
    "  optimum and has to get there by balloons; it is not part of all.\n"

/* Parse "waterline,shares", "all" or "all,oracle".
 * @return how many; 0 for a list that is wrong, and then why says what. */
size_t contestants_parse(const char *list, struct contestant *to, char *why, size_t why_size);

/* What goes into a pool's config. */
const void *contestant_knobs(const struct contestant *c);

#endif
