/* What is wrong with a config, in words; the rules are in tracker.c. */
#include "tracker_p.h"

static const char *const faults[] = {
    NULL,
    "size: not sizeof(balloon_tracker_config), or fields of a later version are set",
    "max_pages: not from 1 to 2^40, or more than there is room for",
    "max_regions: more than 4096",
};

const char *balloon_tracker_config_check(const balloon_tracker_config *config)
{
    return faults[bl_tracker_config_fault(config)];
}
