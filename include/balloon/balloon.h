/** @file
 * @brief All of the library, in one include.
 *
 * Headers alone ask nothing of a system. Functions of alloc.h need malloc, those of os.h Linux; all
 * others work anywhere.
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
#include <balloon/os.h>
#include <balloon/alloc.h>

#endif
