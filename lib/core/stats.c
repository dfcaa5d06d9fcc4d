#include <balloon/stats.h>

static const char *const names[BALLOON_STAT_COUNT] = {
    [BALLOON_STAT_SWAP_IN] = "swap_in",
    [BALLOON_STAT_SWAP_OUT] = "swap_out",
    [BALLOON_STAT_MAJOR_FAULTS] = "major_faults",
    [BALLOON_STAT_MINOR_FAULTS] = "minor_faults",
    [BALLOON_STAT_FREE] = "free",
    [BALLOON_STAT_TOTAL] = "total",
    [BALLOON_STAT_AVAILABLE] = "available",
    [BALLOON_STAT_CACHES] = "caches",
    [BALLOON_STAT_HUGE_ALLOC] = "huge_alloc",
    [BALLOON_STAT_HUGE_FAIL] = "huge_fail",
    [BALLOON_STAT_OOM_KILL] = "oom_kill",
    [BALLOON_STAT_ALLOC_STALL] = "alloc_stall",
    [BALLOON_STAT_ASYNC_SCAN] = "async_scan",
    [BALLOON_STAT_DIRECT_SCAN] = "direct_scan",
    [BALLOON_STAT_ASYNC_RECLAIM] = "async_reclaim",
    [BALLOON_STAT_DIRECT_RECLAIM] = "direct_reclaim",
    [BALLOON_STAT_COMMITTED] = "committed",
    [BALLOON_STAT_STALL_SOME] = "stall_some",
    [BALLOON_STAT_STALL_FULL] = "stall_full",
};

/* The last bit of a sample's present is BALLOON_SAMPLE_READS. */
_Static_assert(BALLOON_STAT_COUNT < BALLOON_STAT_SLOTS, "a sample has no room");

static bool is_known(balloon_stat stat)
{
    return (uint32_t)stat < BALLOON_STAT_COUNT;
}

bool balloon_sample_get(const balloon_sample *sample, balloon_stat stat, uint64_t *value)
{
    if (!is_known(stat) || (sample->present >> stat & 1) == 0)
        return false;
    if (value != NULL)
        *value = sample->value[stat];
    return true;
}

void balloon_sample_set(balloon_sample *sample, balloon_stat stat, uint64_t value)
{
    if (is_known(stat)) {
        sample->present |= (uint32_t)1 << stat;
        sample->value[stat] = value;
    } else if (sample->ignored != UINT32_MAX) {
        sample->ignored++;
    }
}

const char *balloon_stat_name(balloon_stat stat)
{
    return is_known(stat) ? names[stat] : "unknown";
}
