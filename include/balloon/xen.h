/** @file
 * @brief Xen: both ends of a balloon.
 */
#ifndef BALLOON_XEN_H
#define BALLOON_XEN_H

#include <balloon/device.h>
#include <balloon/driver.h>
#include <balloon/xen_codec.h>

BALLOON_BEGIN_DECLS

/** @defgroup balloon_xen Xen device
 * @brief Binds @ref balloon_device to a guest of Xen: for a VMM that emulates Xen's interfaces.
 *
 * Such a VMM is the guest's xenstore and its hypervisor. It hands each message of the guest to
 * balloon_xen_receive(), which takes those about the keys of the balloon and leaves the others to
 * the VMM's own store; answers and events leave by BALLOON_ACTION_SEND, for which
 * balloon_xen_write() makes the bytes. And it hands memory_op hypercalls to
 * balloon_xen_memory_op(), which answers them at once; there is no BALLOON_ACTION_ACK. Poll after
 * each of these calls.
 *
 *     while (have_message(ring, bytes, &size)) {
 *         balloon_status status = balloon_xen_receive(device, bytes, size, now);
 *
 *         if (status == BALLOON_ERR_BUSY)
 *             break;                                // poll and write first, then try again
 *         if (status == BALLOON_ERR_UNSUPPORTED)
 *             my_store(bytes, size);
 *         take_message(ring);
 *     }
 *
 * A page that the guest gave back is the host's until the guest asks for it by name, so discards
 * gather as with BALLOON_F_MUST_TELL. The balloon's size that the host counts is what status shows
 * as actual.
 *
 * The driver counts as attached when it sets its watch on memory/target, or gives back its first
 * page; balloon_device_reset() ends that.
 *
 * **Guests with less than their maximum.** A guest that starts below static-max has addresses
 * without memory, which it may populate at any time, also without a driver, as mini-os does. Say so
 * before it runs by balloon_device_declare_held() for these pages; they are in the balloon then,
 * whether or not there is a driver, until balloon_device_reset(). A guest that runs gets more than
 * static-max by balloon_device_add_region() and balloon_device_declare_held() for the same pages,
 * which a Linux that plugs in memory by itself then populates; both keys are as much larger from
 * then on. Do not remove such a region from a guest that runs.
 *
 * **What is in the store.** memory/static-max is fixed when the device is configured, but for what
 * is declared later; memory/target is static-max less the balloon that is asked for, which is how
 * Linux, FreeBSD and Windows see it when memory/videoram is 0, as it is here. The guest may set and
 * remove control/feature-balloon, which reads as "1" then, and control/balloon-active, "1" or "0".
 * There is room for one watch, and on memory/target only; those on its directories are nobody's.
 *
 * Toolstacks of a real Xen do not need this: they write memory/target by
 * balloon_xen_write_path(), balloon_xen_write_size() and balloon_xen_write_request(), and look at
 * the size of the domain.
 * @{ */

#define BALLOON_XEN_TOKEN_BYTES_MAX                                                                \
    32 /**< Longest name of a watch: Windows' has 25 bytes, that of Linux and FreeBSD 16. */
#define BALLOON_XEN_SEND_BYTES                                                                     \
    128 /**< Room that balloon_xen_write() and balloon_xen_driver_write() need at the most. */

/** How the guest is spoken to. Set size; 0 elsewhere means the default. */
typedef struct balloon_xen_options {
    size_t size;               /**< sizeof(balloon_xen_options). */
    uint64_t static_max;       /**< What the guest booted with, in pages, below 2^62; 0 means its
                                    RAM now. */
    uint32_t max_order;        /**< Largest extents, as order; 0 means ORDER_GUEST, and
                                    ORDER_CONTROL is the most. */
    uint16_t domain;           /**< The guest's number; 0 means 1, as in QEMU. */
    balloon_xen_layout layout; /**< Of its lists. */
    bool enforce;              /**< Do not let the guest take back so much that it has 1 MiB more
                                    than the target lets it have, as libxl sees to by the domain's
                                    maximum. */
} balloon_xen_options;

/** What the guest has set up. */
typedef struct balloon_xen_session {
    bool watched; /**< It watches memory/target. */
    bool feature; /**< control/feature-balloon is there: it says that it can balloon. */
    bool active;  /**< control/balloon-active is "1": it says that it is working on the target. A
                       migration of a Windows guest waits until it is not. */
} balloon_xen_session;

/** Let a device speak Xen instead of virtio. After balloon_device_init(), or later between two
 * drivers.
 * @param device  a device that offers BALLOON_F_MUST_TELL, as it does by default.
 * @param options how.
 * @return OK; ERR_INVALID for options outside their limits, a guest without RAM, and a device that
 *         does not offer BALLOON_F_MUST_TELL; ERR_STATE while there is a driver. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_xen_configure(balloon_device *device, const balloon_xen_options *options);

/** A message from the guest to its xenstore. Transactions do not hold back what it sets.
 * @param device a device.
 * @param bytes  exactly one message, as balloon_xen_gather() collects it, in memory that the guest
 *               cannot change; not kept.
 * @param size   its length.
 * @param now    the time.
 * @return OK when it was taken; ERR_PROTOCOL when it was taken and is answered by an error that a
 *         sane guest does not meet; ERR_BUSY while the last answer waits for balloon_xen_write();
 *         ERR_UNSUPPORTED when it is not about the balloon, or malformed: the embedder's own store
 *         answers it. So it does RESET_WATCHES, although the watch is dropped here; ERR_STATE when
 *         the device does not speak Xen. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_receive(balloon_device *device,
                                                               const void *bytes, size_t size,
                                                               balloon_time_t now);

/** Make the message that @ref BALLOON_ACTION_SEND is about. It counts as sent, so call this when
 * the ring has room; until then the action is not repeated.
 * @param      device a device.
 * @param[out] buffer room for the message.
 * @param      bytes  its size; BALLOON_XEN_SEND_BYTES is always enough.
 * @param[out] used   bytes written, or needed when the status is ERR_NOSPACE.
 * @return OK; ERR_NOSPACE when bytes is too small; ERR_STATE when there is nothing to send, which
 *         is no error after a reset, or when the guest has dropped its watch. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_write(balloon_device *device, void *buffer,
                                                             size_t bytes, size_t *used);

/** Answer a memory_op of the guest: decrease_reservation, populate_physmap, current_reservation or
 * maximum_reservation. What the hypercall returns is in result, also when it is an error.
 *
 * Extents go in their order, each wholly or not at all, up to the first that cannot: a page that is
 * no guest RAM, in the balloon already or not in it, more than enforce permits, the end of the
 * list. Work is bounded by the list and by the guest's memory.
 * @param      device      a device.
 * @param      command     the hypercall's first argument.
 * @param      reservation the second one; of current_reservation and maximum_reservation only
 *                         domain is looked at, from balloon_xen_read_domain().
 * @param      list        decrease and populate: the list, as far as it could be mapped; each byte
 *                         is read once.
 * @param      pieces      how many pieces it has.
 * @param[out] result      what to return to the guest.
 * @param      now         the time.
 * @return OK; ERR_PROTOCOL, with a result, for what a sane guest does not ask; ERR_UNSUPPORTED for
 *         any other operation: the embedder answers it; ERR_STATE when the device does not speak
 *         Xen. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_memory_op(
    balloon_device *device, uint64_t command, const balloon_xen_reservation *reservation,
    const balloon_iov *list, size_t pieces, int64_t *result, balloon_time_t now);

/** What the guest has set up.
 * @param      device  a device that speaks Xen.
 * @param[out] session filled in. */
BALLOON_API void balloon_xen_session_get(const balloon_device *device,
                                         balloon_xen_session *session);

/** @} */

/** @defgroup balloon_xen_driver Xen driver
 * @brief The guest's end: messages of xenstore and results of hypercalls in, requests and lists of
 * pages out.
 *
 * After balloon_xen_driver_open(), answer each SEND:
 * - CONTROL: put what balloon_xen_driver_write() makes on the ring of xenstore. There is one
 *   request at a time. Everything that comes from the store goes to balloon_xen_driver_receive(),
 *   which leaves alone what is not its own.
 * - INFLATE, DEFLATE: balloon_xen_driver_reservation() makes the list and the argument; make the
 *   hypercall and tell its result to balloon_xen_driver_result().
 *
 *         bytes = balloon_xen_write_reservation(&reservation, layout, argument, sizeof(argument));
 *         result = hypercall(BALLOON_XEN_HYPERCALL_MEMORY_OP, command, argument);
 *
 * Before an INFLATE, nothing may be left in the pages that the host should not see, since Xen does
 * not wipe them, and no mapping of them anywhere. After a DEFLATE they hold anything. PV guests
 * have machine frames in these lists: they translate the list before the call, and take the new
 * frames from it after populate_physmap.
 *
 * **Target.** The balloon wanted is static-max less target, as in Linux; static-max is read once,
 * with the first target, and is that target if the store has none: hosts rewrite it (`xl mem-max`),
 * and may ask for more then. For PV guests and domain 0 the balloon wanted is the guest's RAM less
 * target. RAM is what has memory, which is XENMEM_current_reservation, and what the driver holds.
 * The memory map of a guest that starts below its maximum has more: give the driver the whole map
 * and balloon_driver_declare_out() the pages without memory, or leave them out of the regions and
 * plug them in when balloon_xen_driver_session.beyond says that the host offers as much, as Linux
 * does (by 128 MiB, from 4 GiB on). A target that is no number changes nothing.
 *
 * **What is refused.** Of a call that did less than asked, the rest comes back by FREE (INFLATE) or
 * stays in the balloon (DEFLATE), and the next try waits. The driver goes on for ever, at the least
 * each 64 retry_delay; Linux 6.12 tries after 1, 2, 4 and 8 s, and then not before the host writes
 * another target.
 *
 * **Save, restore and migration of the guest** are no reset: the pages of the balloon stay without
 * memory. Do not call balloon_driver_reset() then, which hands them to the kernel, but
 * balloon_xen_driver_resume(). Before the driver goes, balloon_driver_suspend() brings them back.
 * @{ */

#define BALLOON_XEN_DRIVER_TOKEN "libballoon" /**< The driver's name for its watch. */
#define BALLOON_XEN_DRIVER_IDS   256          /**< Numbers of requests that a driver uses. */

/** How the host is spoken to; all 0 but size is usual. */
typedef struct balloon_xen_driver_options {
    size_t size;               /**< sizeof(balloon_xen_driver_options). */
    balloon_xen_layout layout; /**< The guest's. */
    uint32_t extents;          /**< Most extents of a hypercall; 0 means 512, and EXTENTS_MAX is
                                    the most. */
    uint32_t first_id;         /**< Requests have the DRIVER_IDS numbers from here on. */
    bool no_large;             /**< Pages go one by one, never as 2 MiB: PV guests, and hosts with
                                    memop-max-order below 9. */
    bool pv;                   /**< A PV guest, or domain 0. */
    bool feature;              /**< Write control/feature-balloon, for xapi. That other toolstacks
                                    do not allow it does no harm. */
} balloon_xen_driver_options;

/** How far the talk with the store is. */
typedef struct balloon_xen_driver_session {
    bool watched;        /**< The watch on memory/target is set. */
    bool have_target;    /**< There has been a target. */
    uint64_t target;     /**< The last one, in pages. */
    uint64_t static_max; /**< What it is taken from, in pages; PV: 0. */
    uint64_t beyond;     /**< Pages that the host offers beyond the guest's RAM. A kernel that can
                              adds a region and declares it out, and they come. */
} balloon_xen_driver_session;

/** The store is there.
 * @param driver  a detached driver.
 * @param options how to speak to it; NULL for the defaults.
 * @return OK; ERR_INVALID for options outside their limits; ERR_STATE when it is attached; ERR_BUSY
 *         while pages wait for polls. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_xen_driver_open(balloon_driver *driver, const balloon_xen_driver_options *options);

/** The guest was saved and restored, or moved to another host, or for other reasons the store has
 * forgotten its requests and watches: ask and watch again. Nothing of pages changes.
 * @return OK; ERR_STATE when not open. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_driver_resume(balloon_driver *driver);

/** Make the request of a SEND for CONTROL. It counts as sent.
 * @param      driver a driver.
 * @param[out] buffer room for the message.
 * @param      bytes  its size; BALLOON_XEN_SEND_BYTES is always enough.
 * @param[out] used   bytes written, or needed when the status is ERR_NOSPACE.
 * @return OK; ERR_NOSPACE when bytes is too small; ERR_STATE when there is nothing to send. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_driver_write(balloon_driver *driver,
                                                                    void *buffer, size_t bytes,
                                                                    size_t *used);

/** A message from the store.
 * @param driver a driver.
 * @param bytes  exactly one message, as balloon_xen_gather() collects it; the guest's copy.
 * @param size   its length.
 * @param now    the time.
 * @return OK, also when it is an error that was to be expected; ERR_PROTOCOL for what a sane store
 *         does not send, now counted: with this driver's number and not asked for, or malformed;
 *         ERR_UNSUPPORTED when it is not for this driver; ERR_STATE when not open. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_driver_receive(balloon_driver *driver,
                                                                      const void *bytes,
                                                                      size_t size,
                                                                      balloon_time_t now);

/** Make the hypercall of a SEND for INFLATE or DEFLATE.
 * @param      driver      a driver.
 * @param[out] list        room for the list.
 * @param      bytes       its size; action.bytes is always enough.
 * @param      address     where the list is, as the hypervisor shall see it.
 * @param[out] command     first argument of the hypercall.
 * @param[out] reservation the second one, to be written by balloon_xen_write_reservation().
 * @return OK, and again until the result is told; ERR_NOSPACE when bytes is too small; ERR_INVALID
 *         for an address that the layout has no room for; ERR_STATE when there is nothing to send.
 */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_xen_driver_reservation(balloon_driver *driver, void *list, size_t bytes, uint64_t address,
                               uint32_t *command, balloon_xen_reservation *reservation);

/** What the hypercall returned.
 * @param driver a driver.
 * @param result extents done, or an error.
 * @param now    the time.
 * @return OK; ERR_PROTOCOL when it is more than was asked, now counted, and taken for all;
 * ERR_STATE when nothing was asked. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_driver_result(balloon_driver *driver,
                                                                     int64_t result,
                                                                     balloon_time_t now);

/** How far the talk with the store is.
 * @param      driver  an open driver.
 * @param[out] session filled in. */
BALLOON_API void balloon_xen_driver_session_get(const balloon_driver *driver,
                                                balloon_xen_driver_session *session);

/** @} */

BALLOON_END_DECLS

#endif
