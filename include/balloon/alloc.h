/** @file
 * @brief create and destroy with malloc, for those who do not place objects themselves.
 */
#ifndef BALLOON_ALLOC_H
#define BALLOON_ALLOC_H

#include <balloon/device.h>
#include <balloon/driver.h>
#include <balloon/os.h>
#include <balloon/pool.h>
#include <balloon/tracker.h>

/** @defgroup balloon_alloc Allocation
 * @brief Objects in memory of malloc instead of the caller's. Hosted systems only.
 * @{ */

BALLOON_BEGIN_DECLS

/** balloon_tracker_init() in memory of its own.
 * @param      config  see there.
 * @param[out] tracker to be given to balloon_tracker_destroy().
 * @return as balloon_tracker_init(); ERR_NOSPACE when there is no memory. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_tracker_create(const balloon_tracker_config *config, balloon_tracker **tracker);

/** Free a tracker made by balloon_tracker_create(); NULL is fine. */
BALLOON_API void balloon_tracker_destroy(balloon_tracker *tracker);

/** balloon_device_init() in memory of its own.
 * @param      config see there.
 * @param[out] device to be given to balloon_device_destroy().
 * @return as balloon_device_init(); ERR_NOSPACE when there is no memory. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_device_create(const balloon_device_config *config, balloon_device **device);

/** Free a device made by balloon_device_create(); NULL is fine. */
BALLOON_API void balloon_device_destroy(balloon_device *device);

/** balloon_driver_init() in memory of its own.
 * @param      config see there.
 * @param[out] driver to be given to balloon_driver_destroy().
 * @return as balloon_driver_init(); ERR_NOSPACE when there is no memory. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_driver_create(const balloon_driver_config *config, balloon_driver **driver);

/** Free a driver made by balloon_driver_create(); NULL is fine. */
BALLOON_API void balloon_driver_destroy(balloon_driver *driver);

/** balloon_pool_init() in memory of its own.
 * @param      config see there.
 * @param[out] pool   to be given to balloon_pool_destroy().
 * @return as balloon_pool_init(); ERR_NOSPACE when there is no memory. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_create(const balloon_pool_config *config,
                                                               balloon_pool **pool);

/** Free a pool made by balloon_pool_create(); NULL is fine. */
BALLOON_API void balloon_pool_destroy(balloon_pool *pool);

/** balloon_os_init() in memory of its own, which balloon_os_destroy() frees.
 * @param      config see there.
 * @param[out] os     to be given to balloon_os_destroy().
 * @return as balloon_os_layout() and balloon_os_init(); ERR_NOSPACE when there is no memory. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_create(const balloon_os_config *config,
                                                             balloon_os **os);

BALLOON_END_DECLS

/** @} */

#endif
