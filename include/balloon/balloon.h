/** @file
 * @brief All of the library that needs no operating system, in one include.
 *
 * The hosted edge, os.h and alloc.h, is for those who ask for it.
 */
#ifndef BALLOON_BALLOON_H
#define BALLOON_BALLOON_H

#include <balloon/export.h>
#include <balloon/version.h>
#include <balloon/types.h>
#include <balloon/range.h>
#include <balloon/stats.h>
#include <balloon/tracker.h>
#include <balloon/device.h>
#include <balloon/driver.h>
#include <balloon/virtio.h>
#include <balloon/hyperv.h>
#include <balloon/vmware.h>
#include <balloon/xen.h>
#include <balloon/policy.h>
#include <balloon/pool.h>
#include <balloon/host.h>
#include <balloon/optimum.h>
#include <balloon/sim.h>

#endif
