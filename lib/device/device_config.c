/* What is wrong with a config, in words; the rules of layout and init are in device.c. */
#include "../core/regions.h"
#include "device_p.h"

static const char *const faults[] = {
    NULL,
    "size: not sizeof(balloon_device_config), or fields of a later version are set",
    "regions: NULL, though region_count is not 0",
    "regions: more pages than a number can say",
    "max_regions: less than region_count, or more than 4096",
    "features: not BALLOON_F_*",
    "target_align: not a power of two",
    "run_batch: more than 1024",
    "max_buffers: more than 65536",
    "max_pages: 0 without regions, more than 2^40, or more than there is room for",
    "region_count: more than 4096",
    "features: BALLOON_F_DEVICE_INIT_REPORTED without BALLOON_F_REPORTING",
};

/* Where a number of pages is wrong that regions make, one of them may be. */
enum { FAULT_SUM = 3, FAULT_PAGES = 9 };

const char *balloon_device_config_check(const balloon_device_config *config)
{
    unsigned fault = bl_device_config_fault(config);
    const char *why = NULL;
    uint64_t pages = 0;

    if (fault == FAULT_SUM || (fault == FAULT_PAGES && !config->max_pages))
        why = bl_regions_fault(config->regions, config->region_count);
    if (why)
        return why;
    if (fault)
        return faults[fault];
    for (size_t i = 0; i < config->region_count; i++)
        pages += config->regions[i].count;
    if (config->max_pages && pages > config->max_pages)
        return "max_pages: less than regions have";
    return bl_regions_fault(config->regions, config->region_count);
}
