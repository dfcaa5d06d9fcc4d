/* What is wrong with a config, in words; the rules of layout and init are in driver.c. */
#include "../core/regions.h"
#include "driver_p.h"

static const char *const faults[] = {
    NULL,
    "size: not sizeof(balloon_driver_config), or fields of a later version are set",
    "region_count: 0 with regions, or regions: NULL with a count",
    "regions: no pages, or 2^40 and more",
    "total_pages: 0 without regions, or 2^40 and more",
    "max_regions: less than region_count, or more than 4096",
    "page_pages: not 1, 4 or 16",
    "chunk_pages: less than page_pages, or more than 2^20",
    "chunk_runs: more than 4096",
    "block_pages: not a power of two",
    "report_block: not a power of two",
    "retry_delay: too long",
    "oom_delay: too long",
    "max_pages: more than 2^40, or more than there is room for",
    "region_count: more than 4096",
};

/* Where a number of pages is wrong that regions make, one of them may be. */
enum { FAULT_SUM = 3, FAULT_PAGES = 13 };

const char *balloon_driver_config_check(const balloon_driver_config *config)
{
    unsigned fault = bl_driver_config_fault(config);
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
