/** @file
 * @brief Between the device of one guest and the pool of all: what to pass on, in both directions.
 */
#ifndef BALLOON_HOST_H
#define BALLOON_HOST_H

#include <balloon/device.h>
#include <balloon/pool.h>

/** @defgroup balloon_host Host
 * @brief Two calls for each guest and decision.
 *
 * Feed the pool from each device, decide, and apply each change to its device; then poll the
 * devices as after any other command:
 *
 *     for each guest: balloon_host_feed(pool, id, device, now);
 *     balloon_pool_decide(pool, now);
 *     while (balloon_pool_next(pool, &change))
 *         balloon_host_apply(device of change.id, &change, now);
 *
 * A size in the pool is a guest's RAM less the pages that the device holds: by it guests are
 * judged. What of these has not come back to the host is owed, and promised to nobody. What came
 * back and was touched again by the guest is not known here: where an audit finds such pages
 * (balloon_os_resident() in balloon/os.h), call balloon_pool_set_owed() after each feed. The
 * maximum of the guest in the pool is its RAM; when memory is plugged, raise it by
 * balloon_pool_set_guest().
 *
 * Devices and pool are not tied to each other: where they live in different processes, pass the
 * same numbers by other means.
 * @{ */

BALLOON_BEGIN_DECLS

/** Tell the pool what the device of a guest knows: size, what is owed, driver, pinned memory,
 * statistics.
 * @param pool   a pool.
 * @param id     a guest of it.
 * @param device its device.
 * @param now    the time.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_host_feed(balloon_pool *pool, uint64_t id,
                                                             const balloon_device *device,
                                                             balloon_time_t now);

/** Ask the guest of a device for what the pool has decided. In an emergency, what is ready to be
 * discarded is not gathered any longer.
 * @param device the device of the guest of the change.
 * @param change from balloon_pool_next(). A target larger than the guest's RAM means all of it.
 * @param now    the time.
 * @return as balloon_device_set_target(). */
BALLOON_API BALLOON_CHECKED balloon_status balloon_host_apply(balloon_device *device,
                                                              const balloon_change *change,
                                                              balloon_time_t now);

BALLOON_END_DECLS

/** @} */

#endif
