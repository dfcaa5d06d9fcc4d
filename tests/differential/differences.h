/* Where our device is meant to differ from QEMU's. Nothing else may. */
#ifndef DIFFERENTIAL_DIFFERENCES_H
#define DIFFERENTIAL_DIFFERENCES_H

enum difference {
    SAME,
    ACTUAL_BYTES,
    ACTUAL_RESET,
    FEATURES_UNOFFERED,
    POISON_EARLY,
    POISON_LATE,
    POISON_STALE,
    POISON_UNWRITTEN,
    QUEUE_UNNEGOTIATED,
    REDISCARD,
    REPORT_UNALIGNED,
    STATS_LEGACY,
    STATS_RESET,
    STATS_TAGS,
    STATS_UNASKED,
    STATS_WISH,
    TARGET_SAME,
    DIFFERENCES
};

struct difference_row {
    const char *name, *qemu, *ours, *reason;
};

/* QEMU's major versions that are known not to have the newer statistics, and to have them. Between
 * the two either may be. */
enum { STATS_TAGS_LAST = 8, STATS_TAGS_GONE = 10 };

/* The table. docs/protocols/differences.md has the same rows for people to read. */
extern const struct difference_row difference_rows[DIFFERENCES];

#endif
