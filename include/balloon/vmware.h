/** @file
 * @brief VMware's balloon, "vmmemctl": what the registers and batch pages mean, the device and the
 * driver that speak so.
 */
#ifndef BALLOON_VMWARE_H
#define BALLOON_VMWARE_H

#include <balloon/device.h>
#include <balloon/driver.h>
#include <balloon/types.h>

/** @defgroup balloon_vmware_codec VMware codec
 * @brief Pure functions between registers, bytes and messages, for both ends.
 *
 * Every exchange is one call of the guest: it reads 32 bits from an I/O port, the host sees its
 * registers, changes some of them, and lets it go on. Lists of pages travel in one page of guest
 * memory, the batch page. The guest asks, the host only answers; what it wants is the *target*
 * that comes with most answers.
 *
 * Source of the rules: open-vm-tools (balloon_def.h, backdoor_balloon.c, vmballoon.c) and Linux
 * (drivers/misc/vmw_balloon.c). No host is public; see @ref vmware_balloon for what follows from
 * that.
 *
 * A host: balloon_vmware_read_request(), balloon_vmware_allowed(), for batched commands
 * balloon_vmware_read_batch(), balloon_vmware_entry_range() and balloon_vmware_write_batch(), then
 * balloon_vmware_write_reply(). A guest: balloon_vmware_write_request(), for batched commands
 * balloon_vmware_write_batch(), the call itself, then balloon_vmware_read_reply() and
 * balloon_vmware_read_batch().
 * @{ */

BALLOON_BEGIN_DECLS

#define BALLOON_VMWARE_PORT  0x5670     /**< I/O port of the balloon, in DX. */
#define BALLOON_VMWARE_MAGIC 0x456c6d6f /**< What EAX has to hold in a request. */

#define BALLOON_VMWARE_FRAME_BYTES   48 /**< The registers of a 64-bit guest, as bytes. */
#define BALLOON_VMWARE_FRAME32_BYTES 24 /**< The registers of a 32-bit guest, as bytes. */

#define BALLOON_VMWARE_ENTRY_BYTES 8   /**< An entry of a batch page. */
#define BALLOON_VMWARE_BATCH_MAX   512 /**< Entries of a batch page at the most: it is 4 KiB. */
#define BALLOON_VMWARE_LARGE_PAGE  512 /**< Pages that an entry of a 2 MiB command stands for. */

/** Page numbers end here: the number and 12 bits of offset share 64 bits. */
#define BALLOON_VMWARE_PFN_END ((balloon_pfn_t)1 << 52)

/** "No context" and "no resource": the doorbell is taken back. */
#define BALLOON_VMWARE_NO_ID 0xffffffffu

/** Version of the protocol before there were capabilities. Guests of that time offer this number
 * in START, and it reads as @ref BALLOON_VMWARE_BASIC. */
#define BALLOON_VMWARE_VERSION_2 2

/** A guest asks for the target once in this time (open-vm-tools, Linux). */
#define BALLOON_VMWARE_POLL_PERIOD ((balloon_time_t)1000000000)
/** A guest that is above its target by fewer pages than this does nothing, unless the target is 0
 * (open-vm-tools, Linux). */
#define BALLOON_VMWARE_SLACK 512
/** Pages of one size that a guest lets the host refuse before it gives up for this time (Linux;
 * open-vm-tools with single calls after the first one, with batches not before its rate ends). */
#define BALLOON_VMWARE_REFUSED_MAX 16

/** Guests by the width of their registers. Choose by the mode that the processor is in at the
 * call. */
typedef enum balloon_vmware_width {
    BALLOON_VMWARE_64_BIT = 0, /**< RAX, RBX and so on. */
    BALLOON_VMWARE_32_BIT = 1  /**< EAX, EBX and so on; upper halves mean nothing. */
} balloon_vmware_width;

/** What the guest wants. Others are not known and are answered with
 * @ref BALLOON_VMWARE_CMD_INVALID; 5 had a short life in builds that were never shipped. */
typedef enum balloon_vmware_command {
    BALLOON_VMWARE_START = 0,             /**< Forget all pages, agree on capabilities. */
    BALLOON_VMWARE_GET_TARGET = 1,        /**< Ask for the target. */
    BALLOON_VMWARE_LOCK = 2,              /**< A page goes into the balloon. */
    BALLOON_VMWARE_UNLOCK = 3,            /**< A page is wanted back. */
    BALLOON_VMWARE_SET_GUEST = 4,         /**< Say which system the guest is. */
    BALLOON_VMWARE_BATCHED_LOCK = 6,      /**< A batch of pages goes in. */
    BALLOON_VMWARE_BATCHED_UNLOCK = 7,    /**< A batch of pages is wanted back. */
    BALLOON_VMWARE_BATCHED_2M_LOCK = 8,   /**< A batch of 2 MiB pages goes in. */
    BALLOON_VMWARE_BATCHED_2M_UNLOCK = 9, /**< A batch of 2 MiB pages is wanted back. */
    BALLOON_VMWARE_SET_DOORBELL = 10      /**< How to tell the guest that the target changed. */
} balloon_vmware_command;

/** What both ends can do, as bits. Bit 0 is never set: builds with version 3 of the protocol,
 * never shipped, would take the word for their version. */
typedef enum balloon_vmware_capability {
    BALLOON_VMWARE_BASIC = 1 << 1,         /**< LOCK and UNLOCK. */
    BALLOON_VMWARE_BATCHED = 1 << 2,       /**< BATCHED_LOCK and BATCHED_UNLOCK. */
    BALLOON_VMWARE_BATCHED_2M = 1 << 3,    /**< BATCHED_2M_LOCK and BATCHED_2M_UNLOCK. */
    BALLOON_VMWARE_DOORBELL = 1 << 4,      /**< SET_DOORBELL. */
    BALLOON_VMWARE_WIDE_TARGET = 1 << 5,   /**< Targets, limits and pages of LOCK and UNLOCK may be
                                                2^32 and more. */
    BALLOON_VMWARE_CAPABILITIES_ALL = 0x3e /**< All that are known. */
} balloon_vmware_capability;

/** How a call, or an entry of a batch, went. What is not listed has failed, too.
 *
 * A host should give entries of a LOCK no other status than SUCCESS, PPN_INVALID, PPN_PINNED,
 * PPN_NOTNEEDED and RESET: open-vm-tools loses the page with any other. */
typedef enum balloon_vmware_status {
    BALLOON_VMWARE_FAILURE = -1,      /**< Failed; for calls, does not fit into an entry. */
    BALLOON_VMWARE_SUCCESS = 0,       /**< Done. */
    BALLOON_VMWARE_CMD_INVALID = 1,   /**< No such command, or it was not agreed on. */
    BALLOON_VMWARE_PPN_INVALID = 2,   /**< Not a page that can be in the balloon. */
    BALLOON_VMWARE_PPN_LOCKED = 3,    /**< It is in the balloon already. */
    BALLOON_VMWARE_PPN_UNLOCKED = 4,  /**< It is not in the balloon. */
    BALLOON_VMWARE_PPN_PINNED = 5,    /**< The host cannot take it now. */
    BALLOON_VMWARE_PPN_NOTNEEDED = 6, /**< The target has been reached. */
    BALLOON_VMWARE_RESET = 7,         /**< Free all pages and START again. */
    BALLOON_VMWARE_BUSY = 8,          /**< Try later. */
    BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES = 0x03000000 /**< START only: done, and CX has the
                                                               capabilities. */
} balloon_vmware_status;

/** Systems that guests say they are. */
typedef enum balloon_vmware_guest {
    BALLOON_VMWARE_GUEST_UNKNOWN = 0,     /**< Not said. */
    BALLOON_VMWARE_GUEST_LINUX = 1,       /**< Linux. */
    BALLOON_VMWARE_GUEST_BSD = 2,         /**< FreeBSD. */
    BALLOON_VMWARE_GUEST_WINDOWS_NT4 = 3, /**< Windows NT 4. */
    BALLOON_VMWARE_GUEST_WINDOWS_NT5 = 4, /**< Windows 2000 and later. */
    BALLOON_VMWARE_GUEST_SOLARIS = 5,     /**< Solaris. */
    BALLOON_VMWARE_GUEST_MACOS = 6,       /**< macOS. */
    BALLOON_VMWARE_GUEST_FROBOS = 7       /**< VMware's system for tests. */
} balloon_vmware_guest;

/** @name Registers
 * @{ */

/** The guest's registers at the call, and after it. */
typedef struct balloon_vmware_frame {
    uint64_t ax; /**< Magic; then the status. */
    uint64_t bx; /**< First argument; then the target. */
    uint64_t cx; /**< Command; then, after START, the capabilities. */
    uint64_t dx; /**< Port. */
    uint64_t si; /**< Second argument. */
    uint64_t di; /**< Not used. */
} balloon_vmware_frame;

/** Read registers from bytes: AX, BX, CX, DX, SI, DI, each 8 bytes, of a 32-bit guest 4 bytes,
 * little-endian, the layout that open-vm-tools has them in. For transports, traces and tests; a
 * VMM that has the registers fills the struct.
 * @param      bytes the bytes, each of which is read once.
 * @param      size  how many.
 * @param      width the guest.
 * @param[out] frame the registers; untouched on error.
 * @return OK; ERR_PROTOCOL when there are not exactly as many bytes as the width has. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_vmware_read_frame(const void *bytes, size_t size,
                                                                     balloon_vmware_width width,
                                                                     balloon_vmware_frame *frame);

/** Write registers as bytes; of a 32-bit guest the lower halves.
 * @return 48 or 24, the bytes needed; nothing is written when bytes is less. */
BALLOON_API size_t balloon_vmware_write_frame(const balloon_vmware_frame *frame,
                                              balloon_vmware_width width, void *buffer,
                                              size_t bytes);

/** Whether registers at a port read are a call of the balloon: magic and port are right. Only the
 * parts that guests set are looked at, EAX and DX; open-vm-tools leaves anything in the rest. */
BALLOON_API bool balloon_vmware_is_call(const balloon_vmware_frame *frame);

/** @} */

/** @name Requests
 * @{ */

/** A call of the guest. Only the fields that the command names are used, others are 0 when read. */
typedef struct balloon_vmware_request {
    balloon_vmware_command command; /**< What is wanted. */
    uint32_t entries;               /**< Batched commands: entries in the batch page, 1 to
                                         @ref BALLOON_VMWARE_BATCH_MAX. */
    balloon_pfn_t pfn;     /**< LOCK, UNLOCK: the page, which can be any number. Batched commands:
                                the batch page, below @ref BALLOON_VMWARE_PFN_END. Either may be
                                outside of guest memory. */
    uint64_t capabilities; /**< START: what the guest can do; unknown bits included. 0: the guest
                                is about to leave, or cannot go on for now. */
    uint64_t limit;        /**< GET_TARGET: pages that the balloon could have at the most, mostly
                                all of the guest's memory; 0: not said. Without
                                @ref BALLOON_VMWARE_WIDE_TARGET it is the lower half of the number
                                in large guests of open-vm-tools. */
    uint32_t guest;        /**< SET_GUEST: a @ref balloon_vmware_guest, or something newer. */
    uint32_t context;      /**< SET_DOORBELL: VMCI context, or @ref BALLOON_VMWARE_NO_ID. */
    uint32_t resource;     /**< SET_DOORBELL: VMCI resource, or @ref BALLOON_VMWARE_NO_ID. */
} balloon_vmware_request;

/** Read a call.
 * @param      frame   the registers.
 * @param      width   the guest.
 * @param[out] request the call; untouched on error.
 * @return OK; ERR_PROTOCOL when it is no call of the balloon, the command is not known, the number
 *         of entries is 0 or more than @ref BALLOON_VMWARE_BATCH_MAX, the batch page has no
 *         address in 64 bits, or the guest's system no number in 32. A host answers with
 *         CMD_INVALID, unless balloon_vmware_is_call() says that it was not asked. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_vmware_read_request(
    const balloon_vmware_frame *frame, balloon_vmware_width width, balloon_vmware_request *request);

/** Set up the registers for a call.
 * @param      request the call.
 * @param      width   the guest.
 * @param[out] frame   the registers; untouched on error.
 * @return OK; ERR_INVALID when balloon_vmware_read_request() would not take it, or when a number
 *         does not fit into a register. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_vmware_write_request(
    const balloon_vmware_request *request, balloon_vmware_width width, balloon_vmware_frame *frame);

/** @} */

/** @name Replies
 * @{ */

/** The host's answer to a call. */
typedef struct balloon_vmware_reply {
    int32_t status;        /**< A @ref balloon_vmware_status; read, it can be any number. */
    uint64_t target;       /**< Pages that the host wants in the balloon: with GET_TARGET and all
                                commands that lock and unlock; 0 for others when read. Hosts give
                                it with every status; Linux believes it with SUCCESS only. */
    uint64_t capabilities; /**< START: what was agreed on; 0 for others when read. */
} balloon_vmware_reply;

/** Read the answer to a call.
 * @param      command the command that was sent.
 * @param      frame   the registers after the call.
 * @param      width   the guest.
 * @param[out] reply   the answer; untouched on error. Pass its capabilities through
 *                     balloon_vmware_negotiate(), since the host may have more than was offered.
 * @return OK; ERR_PROTOCOL when capabilities have bit 0 set, which means another protocol;
 *         ERR_INVALID for a command that does not exist. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_vmware_read_reply(balloon_vmware_command command, const balloon_vmware_frame *frame,
                          balloon_vmware_width width, balloon_vmware_reply *reply);

/** Answer a call: put the answer into the registers that it came with.
 *
 * Only what carries the answer is changed: AX always, BX for commands that have a target, CX for a
 * START that succeeds. Guests count on the others, Linux on DI.
 * @param         command the command that was read; any for a call that could not be.
 * @param         reply   the answer. The status is one of @ref balloon_vmware_status.
 * @param         width   the guest.
 * @param[in,out] frame   the registers; untouched on error.
 * @return OK; ERR_INVALID for a status that the command cannot have; a target that does not fit
 *         into the register (see balloon_vmware_clamp_target()); with SUCCESS to a START, other
 *         capabilities than BASIC; with SUCCESS_WITH_CAPABILITIES, any that
 *         balloon_vmware_negotiate() never gives. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_vmware_write_reply(balloon_vmware_command command, const balloon_vmware_reply *reply,
                           balloon_vmware_width width, balloon_vmware_frame *frame);

/** @} */

/** @name Negotiation
 * @{ */

/** What two ends have in common: what both can do, without bit 0, and 2 MiB batches only together
 * with batches.
 * @param a @ref balloon_vmware_capability bits of one end; unknown bits stay when both have them.
 * @param b those of the other. */
BALLOON_API uint64_t balloon_vmware_negotiate(uint64_t a, uint64_t b);

/** A host's answer to START that guests of any age understand. Those from before there were
 * capabilities offer @ref BALLOON_VMWARE_VERSION_2 and know success as plain SUCCESS only; so that
 * is the answer when nothing but BASIC is agreed on.
 * @param      offered   what the guest can do, or its version.
 * @param      supported what the host can do.
 * @param[out] reply     the answer; its capabilities are what was agreed on. When these are none,
 *                       which is how Linux leaves, the status is CMD_INVALID: what it does not
 *                       take for a session, and leaves after at once. The host refuses GET_TARGET
 *                       then, since a guest could act on it. */
BALLOON_API void balloon_vmware_answer_start(uint64_t offered, uint64_t supported,
                                             balloon_vmware_reply *reply);

/** Whether a command was agreed on.
 * @param command any value.
 * @param granted the capabilities agreed on; 0 before START. */
BALLOON_API bool balloon_vmware_allowed(balloon_vmware_command command, uint64_t granted);

/** The target to show to a guest: not more than 32 bits when it can take no more. Guests cut the
 * upper half off otherwise.
 * @param pages   the target.
 * @param width   the guest.
 * @param granted the capabilities agreed on. */
BALLOON_API uint64_t balloon_vmware_clamp_target(uint64_t pages, balloon_vmware_width width,
                                                 uint64_t granted);

/** @} */

/** @name Batches
 * @{ */

/** An entry of a batch page. */
typedef struct balloon_vmware_entry {
    balloon_pfn_t pfn; /**< The page, or the first of 512: below @ref BALLOON_VMWARE_PFN_END. */
    uint32_t status;   /**< 0 from the guest; from the host a @ref balloon_vmware_status of 0 to 8,
                            but read it can be anything up to 31. It has no meaning when the call's
                            own status is not SUCCESS. */
} balloon_vmware_entry;

/** Read the entries of a batch page. Reserved bits are ignored.
 * @param      page    the batch page, each byte of which is read once: the peer may change it
 *                     meanwhile, so decide on the entries and not on the page.
 * @param      bytes   how much of it can be read.
 * @param      count   entries to read.
 * @param[out] entries room for count entries; untouched on error.
 * @return OK; ERR_PROTOCOL when count is 0 or more than @ref BALLOON_VMWARE_BATCH_MAX, or there are
 *         less than 8 bytes for each. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_vmware_read_batch(const void *page, size_t bytes,
                                                                     uint32_t count,
                                                                     balloon_vmware_entry *entries);

/** Write the entries of a batch page: a guest the pages with status 0, a host the same pages with
 * their status, since guests read the page numbers again. The page is not read.
 * @param      entries the entries.
 * @param      count   how many.
 * @param[out] page    the batch page.
 * @param      bytes   how much of it can be written.
 * @return 8 * count, the bytes needed; nothing is written when bytes is less. 0 and nothing written
 *         when count is 0 or more than @ref BALLOON_VMWARE_BATCH_MAX, a page number is too large
 *         or a status not from 0 to 8. */
BALLOON_API size_t balloon_vmware_write_batch(const balloon_vmware_entry *entries, uint32_t count,
                                              void *page, size_t bytes);

/** The pages that a command means by a page number.
 * @param      command a command that locks or unlocks.
 * @param      pfn     the page number, of the request or of an entry.
 * @param[out] range   one page, or 512 for 2 MiB commands; untouched on error.
 * @return OK; ERR_PROTOCOL when the number is too large or, for 2 MiB, not a multiple of 512: a
 *         host gives it the status PPN_INVALID; ERR_INVALID for other commands. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_vmware_entry_range(balloon_vmware_command command, balloon_pfn_t pfn, balloon_range *range);

/** @} */

/** @} */

/** @defgroup balloon_vmware VMware device
 * @brief Binds @ref balloon_device to a guest with a vmmemctl driver.
 *
 * A guest reads its port; the VMM hands the registers to balloon_vmware_call(), puts them back and
 * lets the guest go on: the answer is complete, and there is no BALLOON_ACTION_ACK. Then poll, as
 * after any input: what was locked leaves by BALLOON_ACTION_DISCARD, gathered, because a locked
 * page is the host's until its UNLOCK was answered, as with BALLOON_F_MUST_TELL.
 *
 *     balloon_vmware_request call;
 *     void *page = NULL;
 *
 *     if (balloon_vmware_read_request(&frame, width, &call) == BALLOON_OK && call.entries)
 *         page = map_guest_page(call.pfn);    // NULL when it is no RAM of the guest
 *     if (balloon_vmware_call(device, &frame, width, page, page ? 4096 : 0, now) == BALLOON_OK)
 *         put_registers(&frame);
 *
 * The guest asks once a second, so a new target takes that long to arrive. With a doorbell it is
 * told at once: BALLOON_ACTION_CONFIG_IRQ means to ring the one that
 * balloon_vmware_session_get() names. Without a doorbell the action does not come.
 *
 * **When there is a driver.** From the first call after START that is about pages or the target,
 * which every driver makes at once. START alone is not enough: open-vm-tools leaves by one that
 * looks like any other, and then is silent.
 *
 * **What is refused.** Before START, and after START without capabilities, everything that is about
 * pages is answered by RESET; so a guest that goes on after balloon_device_reset() frees its pages
 * and starts again. The driver of open-vm-tools takes each 2 MiB page that it frees so for one
 * page, and believes the other 511 to be in its balloon as long as it lives. Its targets are that
 * much larger from then on; any guest that goes on locking at the target shows that it does not
 * count like that, and sees the target as it is. Pages that are not guest RAM are PPN_INVALID;
 * pages in the balloon are PPN_LOCKED to LOCK and PPN_INVALID in a batch, which is also what
 * becomes of the second of two equal entries, and of the batch page itself. LOCK is PPN_NOTNEEDED
 * when the balloon has reached the target, and PPN_PINNED under balloon_device_inhibit(). An entry
 * of 2 MiB may cross the target, since guests count on that (@ref BALLOON_VMWARE_SLACK). UNLOCK of
 * a page that is not in the balloon is PPN_UNLOCKED; of 2 MiB, when none of its pages is. A call
 * whose batch page could not be mapped is PPN_INVALID as a whole, and PPN_LOCKED when that page is
 * in the balloon: a guest may not use it, and the host shall not touch it.
 *
 * Every START forgets all pages and takes the time of balloon_device_reset(); other calls take time
 * by their entries. A call counts as a buffer and an acknowledgement, a START also as a reset, and
 * the balloon's size by the host's count is what status shows as actual.
 * @{ */

/** What a host grants, unless told otherwise: all but the doorbell, which needs a VMCI device. */
#define BALLOON_VMWARE_CAPABILITIES_DEFAULT ((uint64_t)0x2e)

/** How a device speaks to guests of VMware. Set size, leave the rest 0 for the defaults. */
typedef struct balloon_vmware_options {
    size_t size;           /**< sizeof(balloon_vmware_options). */
    uint64_t capabilities; /**< @ref balloon_vmware_capability bits to grant, BASIC among them; 0
                                means @ref BALLOON_VMWARE_CAPABILITIES_DEFAULT. */
} balloon_vmware_options;

/** What the guest has said since its START. */
typedef struct balloon_vmware_session {
    uint64_t capabilities; /**< Agreed on; 0 without a driver. */
    uint64_t limit;        /**< See balloon_vmware_request; a claim, not computed with. */
    uint32_t guest;        /**< A @ref balloon_vmware_guest, or something newer. */
    uint32_t context;      /**< VMCI context of the doorbell, or @ref BALLOON_VMWARE_NO_ID. */
    uint32_t resource;     /**< VMCI resource of the doorbell, or @ref BALLOON_VMWARE_NO_ID. */
} balloon_vmware_session;

/** Let a device speak this protocol instead of virtio. After balloon_device_init(), or later
 * between two drivers.
 * @param device  a device that offers BALLOON_F_MUST_TELL, as it does by default.
 * @param options how.
 * @return OK; ERR_INVALID for capabilities that are not known, lack BASIC, or have 2 MiB batches
 *         without batches, and for a device that does not offer BALLOON_F_MUST_TELL; ERR_STATE
 *         while there is a driver. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_vmware_configure(balloon_device *device, const balloon_vmware_options *options);

/** Answer a call of the guest. What a sane driver would not ask is answered and counted.
 * @param         device a device.
 * @param[in,out] frame  the registers at the call, and with OK after it; of a 32-bit guest, upper
 *                       halves mean nothing.
 * @param         width  the guest, by the mode of its processor now.
 * @param[in,out] batch  the page that the call names, if it is a batched command: read once, then
 *                       written, entry by entry. NULL when the call names none, or a page that is
 *                       no guest RAM.
 * @param         bytes  its size: 4096.
 * @param         now    the time.
 * @return OK; ERR_INVALID, and nothing has changed, when the registers are no call of the balloon;
 *         ERR_STATE when the device does not speak this protocol. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_vmware_call(balloon_device *device,
                                                               balloon_vmware_frame *frame,
                                                               balloon_vmware_width width,
                                                               void *batch, size_t bytes,
                                                               balloon_time_t now);

/** What the guest has said.
 * @param      device  a device that speaks this protocol.
 * @param[out] session filled in. */
BALLOON_API void balloon_vmware_session_get(const balloon_device *device,
                                            balloon_vmware_session *session);

/** @} */

/** @defgroup balloon_vmware_driver VMware driver binding
 * @brief Binds @ref balloon_driver to a host of VMware, for guests.
 *
 * 1. Set aside one page of memory as the batch page, and balloon_vmware_driver_open().
 * 2. Poll. For each SEND: balloon_vmware_driver_write(), load the registers, read 32 bits from the
 *    port, and balloon_vmware_driver_reply() with the registers as they are then. The answer is
 *    there at once, so one call is over before the next is written. Then poll again.
 * 3. At each interrupt of the doorbell: balloon_vmware_driver_doorbell().
 *
 * The driver starts a session by START, asks for the target once a second, and locks and unlocks
 * pages until the balloon is as large as that, exactly. Blocks of 2 MiB travel as such where the
 * host can, if the config lets a message have that many pages: chunk_pages of 262144 makes full
 * use of a batch. When a page is refused in one size, the next message is in the other.
 *
 * **What the host can do.** RESET as an answer to anything about pages frees them all, without
 * UNLOCK, and starts again, but not more than once a second. A call that fails refuses the whole
 * message: pages that were to go in are freed, pages that were to come out stay, and the driver
 * pauses (retry_delay, doubling). So it does after REFUSED_MAX refused entries within a second, and
 * when the host needs no more. START that fails is tried again each second. A balloon that is
 * larger than the target by less than BALLOON_VMWARE_SLACK pages stays as it is, unless the target
 * is 0; once pages come out, they do until the target. Page numbers that the host writes into the
 * batch page mean nothing; that it did counts as a protocol error.
 *
 * balloon_driver_suspend() unlocks all pages, takes the doorbell back and leaves by START without
 * capabilities. Pages that the host did not let go by then are freed after that.
 * @{ */

/** Who the guest is. Set size, leave the rest 0 for the defaults. */
typedef struct balloon_vmware_driver_options {
    size_t size;                /**< sizeof(balloon_vmware_driver_options). */
    balloon_vmware_width width; /**< In which mode the guest makes its calls. */
    uint64_t capabilities;      /**< What to ask for; BASIC or BATCHED is needed. 0 means all that
                                     the guest can do: not WIDE_TARGET with 32 bits, DOORBELL with a
                                     context only. Without WIDE_TARGET no page from 2^32 on goes into
                                     the balloon. */
    uint32_t guest;             /**< A @ref balloon_vmware_guest to tell the host. */
    uint32_t context;           /**< VMCI context of the doorbell; 0: there is none. */
    uint32_t resource;          /**< VMCI resource of the doorbell. */
} balloon_vmware_driver_options;

/** Start to look for a host. Nobody knows whether there is one before START was answered.
 * @param driver  a detached driver whose page_pages is 1.
 * @param options who the guest is; NULL means all defaults.
 * @param now     the time.
 * @return OK; ERR_INVALID for options outside of their limits; ERR_UNSUPPORTED for larger pages;
 *         ERR_STATE when it is attached; ERR_BUSY while pages of an earlier session wait for a
 *         poll. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_vmware_driver_open(
    balloon_driver *driver, const balloon_vmware_driver_options *options, balloon_time_t now);

/** Make the call of a SEND. Until it is answered it can be written again, and writing another one
 * forgets it.
 * @param      driver  a driver.
 * @param      channel that of the action.
 * @param[out] frame   the registers.
 * @param[out] batch   the batch page; may be NULL where the action has 0 bytes.
 * @param      bytes   its size.
 * @param      pfn     its page number. The page must not be in the balloon.
 * @return OK; ERR_STATE when nothing is to be sent there; ERR_NOSPACE when bytes is less than that
 *         of the action; ERR_INVALID for a page number that does not fit into a register. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_vmware_driver_write(
    balloon_driver *driver, balloon_driver_channel channel, balloon_vmware_frame *frame,
    void *batch, size_t bytes, balloon_pfn_t pfn);

/** The host has answered.
 * @param driver a driver.
 * @param frame  the registers after the call.
 * @param batch  the batch page as it was written; read once.
 * @param bytes  its size.
 * @param now    the time.
 * @return OK, also when the answer is no; ERR_PROTOCOL for one that no host gives, now counted;
 *         ERR_STATE, counted as well, when no call was written; ERR_NOSPACE, and the call is still
 *         to be answered, when bytes is less than that of the action. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_vmware_driver_reply(balloon_driver *driver, const balloon_vmware_frame *frame,
                            const void *batch, size_t bytes, balloon_time_t now);

/** The doorbell has rung: ask for the target now.
 * @param driver a driver.
 * @param now    the time. */
BALLOON_API void balloon_vmware_driver_doorbell(balloon_driver *driver, balloon_time_t now);

/** What host and guest have agreed on.
 * @return @ref balloon_vmware_capability bits; 0 without a session. */
BALLOON_API uint64_t balloon_vmware_driver_capabilities(const balloon_driver *driver);

/** @} */

BALLOON_END_DECLS

#endif
