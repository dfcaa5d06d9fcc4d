/* Between the device of one guest and the pool of all. */
#include <balloon/host.h>

balloon_status balloon_host_feed(balloon_pool *pool, uint64_t id, const balloon_device *device,
                                 balloon_time_t now)
{
    balloon_device_status at;
    balloon_sample sample;
    balloon_status status;
    uint32_t flags = 0;

    balloon_device_status_get(device, &at);
    if (!at.driver)
        flags |= (uint32_t)BALLOON_GUEST_NO_DRIVER;
    if (at.inhibited)
        flags |= (uint32_t)BALLOON_GUEST_PINNED;
    status = balloon_pool_set_size(pool, id, at.guest_pages - at.held, now);
    if (status == BALLOON_OK)
        status = balloon_pool_set_owed(pool, id, at.held - at.returned);
    if (status == BALLOON_OK)
        status = balloon_pool_set_flags(pool, id, flags, now);
    if (status == BALLOON_OK && balloon_device_sample(device, &sample))
        status = balloon_pool_sample(pool, id, &sample, now);
    return status;
}

balloon_status balloon_host_apply(balloon_device *device, const balloon_change *change,
                                  balloon_time_t now)
{
    balloon_device_status at;
    balloon_status status;

    balloon_device_status_get(device, &at);
    status = balloon_device_set_target(
        device, at.guest_pages > change->target ? at.guest_pages - change->target : 0, now);
    if (status == BALLOON_OK && change->emergency)
        balloon_device_flush(device);
    return status;
}
