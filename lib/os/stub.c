/* Systems other than Linux: every function says that it is not supported. */
#include "os_release_p.h"

#include <balloon/os.h>

#ifndef __linux__

const char *balloon_os_config_check(const balloon_os_config *config)
{
    (void)config;
    return "size: this system is not supported";
}

balloon_status balloon_os_layout(const balloon_os_config *config, balloon_layout *layout)
{
    (void)config, (void)layout;
    return BALLOON_ERR_UNSUPPORTED;
}

balloon_status balloon_os_init(void *memory, size_t bytes, const balloon_os_config *config,
                               balloon_os **os)
{
    (void)memory, (void)bytes, (void)config, (void)os;
    return BALLOON_ERR_UNSUPPORTED;
}

void bl_os_release_by(balloon_os *os, void (*release)(void *memory))
{
    (void)os, (void)release;
}

void balloon_os_destroy(balloon_os *os)
{
    (void)os;
}

balloon_status balloon_os_add_region(balloon_os *os, uint32_t id, const balloon_os_region *region)
{
    (void)os, (void)id, (void)region;
    return BALLOON_ERR_UNSUPPORTED;
}

balloon_status balloon_os_remove_region(balloon_os *os, uint32_t id)
{
    (void)os, (void)id;
    return BALLOON_ERR_UNSUPPORTED;
}

/* No failure may get lost, not even here. */
balloon_status balloon_os_discard(balloon_os *os, const balloon_run *runs, size_t count,
                                  balloon_run *failed, size_t *failed_count)
{
    (void)os;
    for (size_t i = 0; i < count; i++)
        failed[i] = runs[i];
    *failed_count = count;
    return BALLOON_ERR_UNSUPPORTED;
}

void balloon_os_counters_get(const balloon_os *os, balloon_os_counters *counters)
{
    (void)os;
    *counters = (balloon_os_counters){0};
}

balloon_os_reason balloon_os_refusal(const balloon_os *os)
{
    (void)os;
    return BALLOON_OS_REASON_SYSTEM;
}

balloon_status balloon_os_region_get(balloon_os *os, uint32_t id, balloon_os_region_status *status)
{
    (void)os, (void)id, (void)status;
    return BALLOON_ERR_UNSUPPORTED;
}

balloon_status balloon_os_selftest(balloon_os *os, uint32_t id, balloon_range range,
                                   balloon_os_selftest_result *result)
{
    (void)os, (void)id, (void)range, (void)result;
    return BALLOON_ERR_UNSUPPORTED;
}

balloon_status balloon_os_resident(balloon_os *os, balloon_run *run, uint64_t most,
                                   balloon_os_residency *found)
{
    (void)os, (void)run, (void)most, (void)found;
    return BALLOON_ERR_UNSUPPORTED;
}

balloon_status balloon_os_host_read(const char *root, balloon_os_host *host)
{
    (void)root, (void)host;
    return BALLOON_ERR_UNSUPPORTED;
}

#endif
