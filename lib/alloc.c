/* The only file that allocates. */
#include "core/tracker_saved_p.h"
#include "device/device_p.h"
#include "os/os_release_p.h"

#include <stdlib.h>

#include <balloon/alloc.h>

static void *allocate(const balloon_layout *layout)
{
    /* No layout asks for more alignment than that. Zero, since a tracker needs no more: a large one
     * costs memory as it fills. */
    return calloc(1, layout->bytes);
}

balloon_status balloon_tracker_create(const balloon_tracker_config *config,
                                      balloon_tracker **tracker)
{
    balloon_layout layout;
    balloon_status status = balloon_tracker_layout(config, &layout);
    void *memory = status == BALLOON_OK ? allocate(&layout) : NULL;

    if (status != BALLOON_OK)
        return status;
    if (!memory)
        return BALLOON_ERR_NOSPACE;
    status = bl_tracker_init_zero(memory, layout.bytes, config, tracker);
    if (status != BALLOON_OK)
        free(memory);
    return status;
}

void balloon_tracker_destroy(balloon_tracker *tracker)
{
    free(tracker);
}

balloon_status balloon_device_create(const balloon_device_config *config, balloon_device **device)
{
    balloon_layout layout;
    balloon_status status = balloon_device_layout(config, &layout);
    void *memory = status == BALLOON_OK ? allocate(&layout) : NULL;

    if (status != BALLOON_OK)
        return status;
    if (!memory)
        return BALLOON_ERR_NOSPACE;
    status = bl_device_init_zero(memory, layout.bytes, config, device);
    if (status != BALLOON_OK)
        free(memory);
    return status;
}

void balloon_device_destroy(balloon_device *device)
{
    free(device);
}

balloon_status balloon_driver_create(const balloon_driver_config *config, balloon_driver **driver)
{
    balloon_layout layout;
    balloon_status status = balloon_driver_layout(config, &layout);
    void *memory = status == BALLOON_OK ? allocate(&layout) : NULL;

    if (status != BALLOON_OK)
        return status;
    if (!memory)
        return BALLOON_ERR_NOSPACE;
    status = balloon_driver_init(memory, layout.bytes, config, driver);
    if (status != BALLOON_OK)
        free(memory);
    return status;
}

void balloon_driver_destroy(balloon_driver *driver)
{
    free(driver);
}

balloon_status balloon_pool_create(const balloon_pool_config *config, balloon_pool **pool)
{
    balloon_layout layout;
    balloon_status status = balloon_pool_layout(config, &layout);
    void *memory = status == BALLOON_OK ? allocate(&layout) : NULL;

    if (status != BALLOON_OK)
        return status;
    if (!memory)
        return BALLOON_ERR_NOSPACE;
    status = balloon_pool_init(memory, layout.bytes, config, pool);
    if (status != BALLOON_OK)
        free(memory);
    return status;
}

void balloon_pool_destroy(balloon_pool *pool)
{
    free(pool);
}

balloon_status balloon_os_create(const balloon_os_config *config, balloon_os **os)
{
    balloon_layout layout;
    balloon_status status = balloon_os_layout(config, &layout);
    void *memory = status == BALLOON_OK ? allocate(&layout) : NULL;

    if (status != BALLOON_OK)
        return status;
    if (!memory)
        return BALLOON_ERR_NOSPACE;
    status = balloon_os_init(memory, layout.bytes, config, os);
    if (status == BALLOON_OK)
        bl_os_release_by(*os, free);
    else
        free(memory);
    return status;
}
