/** @file
 * @brief Xen: what the bytes of xenstore and of memory hypercalls mean.
 */
#ifndef BALLOON_XEN_CODEC_H
#define BALLOON_XEN_CODEC_H

#include <balloon/types.h>

/** @defgroup balloon_xen_codec Xen codec
 * @brief Pure functions between bytes and numbers of Xen ballooning, for both ends.
 *
 * Xen has no balloon messages. The host asks by a decimal number in xenstore, a small database that
 * guests can watch; the guest gives and takes pages by the hypercall memory_op; and how far it got,
 * the host sees from the guest's size. So there are three things to read and write here: values
 * of xenstore keys, messages to and from xenstore, and arguments of memory_op.
 *
 * Sources: Xen (public/memory.h, public/io/xs_wire.h, public/errno.h, xenstore.txt; how they are
 * meant: common/memory.c, tools/xenstored), and what Linux, FreeBSD, Windows, libxl, squeezed and
 * QEMU make of it. All is little-endian on every machine that Xen runs on.
 * @{ */

BALLOON_BEGIN_DECLS

#define BALLOON_XEN_DOMAIN_SELF     0x7ff0 /**< In place of a domain's number: the caller itself. */
#define BALLOON_XEN_DOMAIN_RESERVED 0x7ff0 /**< Numbers of real domains are less. */

/** @name Values
 * @{ */

#define BALLOON_XEN_NUMBER_CHARS_MAX 20 /**< Digits of the longest number, or sign and digits. */
#define BALLOON_XEN_DOM0_MIN_KIB     131072 /**< libxl sets no smaller target for domain 0. */
#define BALLOON_XEN_MAXMEM_EXTRA_KIB                                                               \
    1024 /**< libxl lets a guest on x86 have so much more than                                     \
              its target and video RAM. */

/** Keys of a domain. Sizes are in KiB; absent is normal for each of them. */
typedef enum balloon_xen_key {
    BALLOON_XEN_KEY_TARGET = 0,          /**< memory/target: the size that the guest should have,
                                              from the toolstack. Without it: no change. */
    BALLOON_XEN_KEY_STATIC_MAX,          /**< memory/static-max: its largest size, set at boot. */
    BALLOON_XEN_KEY_OLD_STATIC_MAX,      /**< memory/memory_static_max: the same, from old hosts. */
    BALLOON_XEN_KEY_VIDEORAM,            /**< memory/videoram: video RAM of an HVM guest. Some hosts
                                              write -1 for none, which is no number here and keeps
                                              Windows from ballooning: hosts should write 0. */
    BALLOON_XEN_KEY_DYNAMIC_MIN,         /**< memory/dynamic-min: least target. xapi. */
    BALLOON_XEN_KEY_DYNAMIC_MAX,         /**< memory/dynamic-max: largest target. xapi. */
    BALLOON_XEN_KEY_INITIAL_RESERVATION, /**< memory/initial-reservation: set aside before the guest
                                              boots. xapi. */
    BALLOON_XEN_KEY_RESERVATION_ID,      /**< memory/reservation-id: a name for that. xapi. */
    BALLOON_XEN_KEY_MEMORY_OFFSET,       /**< memory/memory-offset: what the guest has beyond its
                                              target, with a sign. xapi. */
    BALLOON_XEN_KEY_UNCOOPERATIVE,   /**< memory/uncooperative: there, and empty, while the guest
                                          misses its target. xapi. */
    BALLOON_XEN_KEY_INITIAL_TARGET,  /**< memory/initial-target: xapi's own. */
    BALLOON_XEN_KEY_FEATURE_BALLOON, /**< control/feature-balloon: "1" from a guest that can
                                          balloon. xapi only: with libxl the guest may not write
                                          it, and should try only once. */
    BALLOON_XEN_KEY_BALLOON_ACTIVE,  /**< control/balloon-active: "1" or "0" from Windows, while
                                          it works on the target. */
    BALLOON_XEN_KEY_UPDATED,         /**< data/updated: there once the guest's agent runs. */
    BALLOON_XEN_KEYS,                /**< Number of keys. */
    BALLOON_XEN_KEY_NONE = 255       /**< None of these. */
} balloon_xen_key;

/** Path of a key, relative to its domain, as guests name it.
 * @return a static string, or NULL for what is not a key. */
BALLOON_API const char *balloon_xen_key_path(balloon_xen_key key);

/** Write the path of a domain's key, as hosts name it, without a zero at the end.
 * @param      domain the domain's number, or DOMAIN_SELF for the relative path.
 * @param      key    a key.
 * @param[out] buffer room for the path.
 * @param      bytes  its size.
 * @return the bytes needed, nothing is written when bytes is less; SIZE_MAX for any other key or
 *         domain. */
BALLOON_API size_t balloon_xen_write_path(uint16_t domain, balloon_xen_key key, void *buffer,
                                          size_t bytes);

/** Find the key that a path names, as a watch tells it.
 * @param      path   the path, relative or absolute.
 * @param      bytes  its length.
 * @param[out] domain the domain that it belongs to, DOMAIN_SELF if relative; untouched when it is
 *                    none of our keys.
 * @return the key, or KEY_NONE. */
BALLOON_API balloon_xen_key balloon_xen_find_key(const void *path, size_t bytes, uint16_t *domain);

/** Read a number: decimal digits and nothing else, less than 2^64.
 * @param      text   the value of a key.
 * @param      bytes  its length.
 * @param[out] number the number; untouched on error.
 * @return OK, or ERR_PROTOCOL for anything else; then act as if the key had not changed. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_number(const void *text, size_t bytes,
                                                                   uint64_t *number);

/** Write a number.
 * @return the bytes needed, up to NUMBER_CHARS_MAX; nothing is written when bytes is less. */
BALLOON_API size_t balloon_xen_write_number(uint64_t number, void *text, size_t bytes);

/** Read a number that may have a minus sign, as memory-offset has.
 * @return OK, or ERR_PROTOCOL for anything else. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_offset(const void *text, size_t bytes,
                                                                   int64_t *offset);

/** Write a number with its sign if it is negative.
 * @return the bytes needed, up to NUMBER_CHARS_MAX; nothing is written when bytes is less. */
BALLOON_API size_t balloon_xen_write_offset(int64_t offset, void *text, size_t bytes);

/** Read a size in KiB, as memory/target has it.
 * @param      text  the value of a key.
 * @param      bytes its length.
 * @param[out] pages the size in pages, rounded down, less than 2^62; untouched on error.
 * @return OK, or ERR_PROTOCOL for anything but a number. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_size(const void *text, size_t bytes,
                                                                 uint64_t *pages);

/** Write a size in KiB.
 * @return the bytes needed; nothing is written when bytes is less. SIZE_MAX for 2^62 pages and
 *         more. */
BALLOON_API size_t balloon_xen_write_size(uint64_t pages, void *text, size_t bytes);

/** Read "1" or "0", as control/balloon-active has them.
 * @return OK, or ERR_PROTOCOL for anything else, and flag is untouched. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_flag(const void *text, size_t bytes,
                                                                 bool *flag);

/** @} */

/** @name Errors
 * @{ */

/** Errors of Xen, by its own numbers. Hypercalls return them negative, xenstore sends their names.
 */
typedef enum balloon_xen_error {
    BALLOON_XEN_NO_ERROR = 0,    /**< None, or one that is not listed here. */
    BALLOON_XEN_EPERM = 1,       /**< Not permitted. */
    BALLOON_XEN_ENOENT = 2,      /**< No such key. */
    BALLOON_XEN_ESRCH = 3,       /**< No such domain; hypercalls only. */
    BALLOON_XEN_EIO = 5,         /**< The store is broken. */
    BALLOON_XEN_E2BIG = 7,       /**< Longer than allowed. */
    BALLOON_XEN_EAGAIN = 11,     /**< Another writer was faster: do the transaction again. */
    BALLOON_XEN_ENOMEM = 12,     /**< Out of memory. */
    BALLOON_XEN_EACCES = 13,     /**< No access to this key. */
    BALLOON_XEN_EFAULT = 14,     /**< Bad pointer; hypercalls only. */
    BALLOON_XEN_EBUSY = 16,      /**< In use. */
    BALLOON_XEN_EEXIST = 17,     /**< There already, such as a watch. */
    BALLOON_XEN_EISDIR = 21,     /**< Is a directory. */
    BALLOON_XEN_EINVAL = 22,     /**< Malformed. */
    BALLOON_XEN_ENOSPC = 28,     /**< A quota is used up. */
    BALLOON_XEN_EROFS = 30,      /**< Read-only. */
    BALLOON_XEN_ENOSYS = 38,     /**< This store or Xen does not know the request. */
    BALLOON_XEN_ENOTEMPTY = 39,  /**< Not empty; of set_pod_target: a device is passed through. */
    BALLOON_XEN_EOPNOTSUPP = 95, /**< Not supported; hypercalls only. */
    BALLOON_XEN_EISCONN = 106    /**< Connected already. */
} balloon_xen_error;

/** Name of an error, such as "ENOENT".
 * @return a static string, or NULL for what is not in the enum and for NO_ERROR. */
BALLOON_API const char *balloon_xen_error_name(balloon_xen_error error);

/** @} */

/** @name Messages of xenstore
 * @{ */

#define BALLOON_XEN_HEADER_BYTES 16 /**< What each message starts with. */
#define BALLOON_XEN_PAYLOAD_BYTES_MAX                                                              \
    4096                                   /**< What follows at the most. xenstore ends the        \
                                                connection of who sends more. */
#define BALLOON_XEN_MESSAGE_BYTES_MAX 4112 /**< Both together. */
#define BALLOON_XEN_PATH_MAX          3072 /**< Longest path from the root. */
#define BALLOON_XEN_RELATIVE_PATH_MAX 2048 /**< Longest path from the domain's own directory. */
#define BALLOON_XEN_RING_BYTES                                                                     \
    1024 /**< Ring in shared memory, for each direction: longer                                    \
              messages come in pieces. */

/** Types of messages. Requests and their answers have the same type. */
typedef enum balloon_xen_message_type {
    BALLOON_XEN_CONTROL = 0,               /**< Not read further here: payload as it is. */
    BALLOON_XEN_DIRECTORY = 1,             /**< As it is. */
    BALLOON_XEN_READ = 2,                  /**< Path; answer: value. */
    BALLOON_XEN_GET_PERMS = 3,             /**< As it is. */
    BALLOON_XEN_WATCH = 4,                 /**< Path, token, perhaps a depth as value. */
    BALLOON_XEN_UNWATCH = 5,               /**< Path, token, perhaps a value. */
    BALLOON_XEN_TRANSACTION_START = 6,     /**< Nothing; answer: started. */
    BALLOON_XEN_TRANSACTION_END = 7,       /**< commit. */
    BALLOON_XEN_INTRODUCE = 8,             /**< As it is. */
    BALLOON_XEN_RELEASE = 9,               /**< As it is. */
    BALLOON_XEN_GET_DOMAIN_PATH = 10,      /**< As it is. */
    BALLOON_XEN_WRITE = 11,                /**< Path, value. */
    BALLOON_XEN_MKDIR = 12,                /**< As it is. */
    BALLOON_XEN_RM = 13,                   /**< Path. */
    BALLOON_XEN_SET_PERMS = 14,            /**< As it is. */
    BALLOON_XEN_WATCH_EVENT = 15,          /**< From the store, unasked: path, token. Says that
                                                something may have changed; read it to see what.
                                                The first comes as soon as the watch is set. */
    BALLOON_XEN_ERROR = 16,                /**< From the store, instead of the answer: error. */
    BALLOON_XEN_IS_DOMAIN_INTRODUCED = 17, /**< As it is. */
    BALLOON_XEN_RESUME = 18,               /**< As it is. */
    BALLOON_XEN_SET_TARGET = 19,           /**< As it is. Nothing to do with balloons. */
    BALLOON_XEN_RESET_WATCHES = 21,        /**< As it is: a single zero. Guests start by it. */
    BALLOON_XEN_DIRECTORY_PART = 22,       /**< As it is. */
    BALLOON_XEN_GET_FEATURE = 23,          /**< As it is. */
    BALLOON_XEN_SET_FEATURE = 24,          /**< As it is. */
    BALLOON_XEN_GET_QUOTA = 25,            /**< As it is. */
    BALLOON_XEN_SET_QUOTA = 26,            /**< As it is. */
    BALLOON_XEN_INVALID = 0xffff           /**< Never a type. */
} balloon_xen_message_type;

/** The start of a message. */
typedef struct balloon_xen_header {
    uint32_t type;        /**< @ref balloon_xen_message_type, or anything newer. */
    uint32_t id;          /**< Number of the request, repeated in its answer. Answers may come in
                               any order. */
    uint32_t transaction; /**< Transaction that it belongs to; 0 for none. */
    uint32_t bytes;       /**< Length of what follows. Writing a message puts the right number
                               there, whatever this is. */
} balloon_xen_header;

/** A message. What is in use follows from its type, and the rest is 0. Pointers point into the
 * bytes that were read. */
typedef struct balloon_xen_message {
    balloon_xen_header header; /**< The start. */
    balloon_iov path;          /**< Path, without a zero at the end. */
    balloon_iov token;         /**< The client's name for a watch, likewise. */
    balloon_iov value;         /**< Value of the key; text of an error; what follows the token of a
                                    request to watch; payload of a type not read further. */
    uint32_t started;          /**< Number of the new transaction; not 0. */
    bool commit;               /**< Keep the transaction, or else drop it. */
    balloon_xen_error error;   /**< The error; NO_ERROR for a name that is not known, see value. */
} balloon_xen_message;

/** Collect a message from a stream of bytes, however it was cut. Each byte is read once, so that
 * the pieces can be in memory that is shared with the peer; message must be the caller's own.
 * @param[out]    message room for MESSAGE_BYTES_MAX bytes, kept between calls.
 * @param[in,out] bytes   how many of them there are; 0 to begin.
 * @param         iov     what has arrived.
 * @param         count   number of pieces.
 * @param[out]    taken   how many bytes were used up; those after the message's end are not.
 * @param[out]    whole   whether the message is complete: read it, then set bytes to 0.
 * @return OK; ERR_PROTOCOL when it says that it is longer than allowed, so that nobody knows where
 *         the next one starts: end the connection; ERR_INVALID when bytes is more than it has. On
 *         error nothing was used up. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_gather(void *message, size_t *bytes,
                                                              const balloon_iov *iov, size_t count,
                                                              size_t *taken, bool *whole);

/** Read the start of a message only, for instance to answer one that is malformed.
 * @return OK; ERR_PROTOCOL for less than HEADER_BYTES, or when more than PAYLOAD_BYTES_MAX follow.
 */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_header(const void *bytes, size_t size,
                                                                   balloon_xen_header *header);

/** Read a message from a client, as the store does.
 * @param      bytes   exactly one message, in memory that the peer cannot change.
 * @param      size    its length.
 * @param[out] message the message; untouched on error.
 * @return OK, also for a type that is not known; ERR_PROTOCOL when it is malformed: answer EINVAL.
 */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_request(const void *bytes, size_t size,
                                                                    balloon_xen_message *message);

/** Read a message from the store, as clients do: guest and toolstack alike.
 * @param      bytes   exactly one message, in memory that the peer cannot change.
 * @param      size    its length.
 * @param[out] message the message; untouched on error.
 * @return OK, also for a type that is not known; ERR_PROTOCOL when it is malformed. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_reply(const void *bytes, size_t size,
                                                                  balloon_xen_message *message);

/** Write a message from a client.
 * @param      message what to write.
 * @param[out] buffer  room for the bytes.
 * @param      bytes   its size.
 * @return the bytes needed, nothing is written when bytes is less; SIZE_MAX when there is no such
 *         message: a bad path, a zero in a token, more than PAYLOAD_BYTES_MAX, a type that clients
 * do not send. */
BALLOON_API size_t balloon_xen_write_request(const balloon_xen_message *message, void *buffer,
                                             size_t bytes);

/** Write a message from the store. Events have no id and no transaction. An error is written by its
 * name, NO_ERROR by the text in value.
 * @param      message what to write.
 * @param[out] buffer  room for the bytes.
 * @param      bytes   its size.
 * @return the bytes needed, nothing is written when bytes is less; SIZE_MAX when there is no such
 *         message, as above, or for an error that only hypercalls know. */
BALLOON_API size_t balloon_xen_write_reply(const balloon_xen_message *message, void *buffer,
                                           size_t bytes);

/** May this be the path of a key? Letters, digits and -/_@ only, no empty names, not too long. */
BALLOON_API bool balloon_xen_path_valid(const void *path, size_t bytes);

/** @} */

/** @name Arguments of memory_op
 * @{ */

#define BALLOON_XEN_HYPERCALL_MEMORY_OP  12        /**< Number of the hypercall. */
#define BALLOON_XEN_EXTENTS_MAX          0x3ffffff /**< Most extents of one call; more: none done. */
#define BALLOON_XEN_RESERVATION_BYTES    32        /**< Size of a reservation. */
#define BALLOON_XEN_RESERVATION_32_BYTES 20        /**< The same for @ref BALLOON_XEN_32. */
#define BALLOON_XEN_EXCHANGE_BYTES       72        /**< Size of an exchange. */
#define BALLOON_XEN_EXCHANGE_32_BYTES    44        /**< The same for @ref BALLOON_XEN_32. */
#define BALLOON_XEN_POD_TARGET_BYTES     40        /**< Size of a PoD target. */
#define BALLOON_XEN_POD_TARGET_32_BYTES  36        /**< The same for @ref BALLOON_XEN_32. */
#define BALLOON_XEN_DOMAIN_BYTES         2         /**< Size of a domain's number. */

/** Operations that have to do with balloons. */
typedef enum balloon_xen_op {
    BALLOON_XEN_INCREASE_RESERVATION = 0, /**< More pages, anywhere. Extents done. */
    BALLOON_XEN_DECREASE_RESERVATION = 1, /**< Give these back. Extents done. */
    BALLOON_XEN_CURRENT_RESERVATION = 3,  /**< A domain: its size in pages, or an error. */
    BALLOON_XEN_MAXIMUM_RESERVATION = 4,  /**< A domain: its limit in pages, or an error. */
    BALLOON_XEN_POPULATE_PHYSMAP = 6,     /**< Pages at these places, please. Extents done. */
    BALLOON_XEN_EXCHANGE = 11,            /**< Exchange; PV only. 0 or an error. */
    BALLOON_XEN_MAXIMUM_GPFN = 14,        /**< A domain: its last page frame, or an error. */
    BALLOON_XEN_SET_POD_TARGET = 16,      /**< PoD target. 0 or an error. Toolstack only. */
    BALLOON_XEN_GET_POD_TARGET = 17,      /**< PoD target. 0 or an error. Toolstack only. */
    BALLOON_XEN_CLAIM_PAGES = 24          /**< Reserve so many pages, a reservation without a list.
                                               0 or an error. Toolstack only. */
} balloon_xen_op;

/** How wide pointers, counts and page numbers are. */
typedef enum balloon_xen_layout {
    BALLOON_XEN_64 = 0, /**< 64 bits: x86-64, and Arm of either width. */
    BALLOON_XEN_32 = 1  /**< 32 bits: x86. */
} balloon_xen_layout;

/** Largest orders that Xen takes by default. Its option memop-max-order changes them. */
typedef enum balloon_xen_order {
    BALLOON_XEN_ORDER_GUEST = 9,         /**< Guests: 2 MiB. */
    BALLOON_XEN_ORDER_HARDWARE_ARM = 10, /**< Hardware domain and guests with devices, Arm. */
    BALLOON_XEN_ORDER_HARDWARE_X86 = 12, /**< The same, x86. */
    BALLOON_XEN_ORDER_CONTROL = 18       /**< Control domain: 1 GiB. No order is larger. */
} balloon_xen_order;

/** Argument of increase, decrease, populate and claim. */
typedef struct balloon_xen_reservation {
    uint64_t list;    /**< Guest virtual address of the list of page numbers. 0: none. */
    uint64_t extents; /**< Length of the list. */
    uint32_t order;   /**< Each number stands for 2^order pages. */
    uint32_t flags;   /**< See @ref balloon_xen_flags. */
    uint16_t domain;  /**< Whose memory; guests may only say DOMAIN_SELF. */
} balloon_xen_reservation;

/** Argument of exchange. */
typedef struct balloon_xen_exchange {
    balloon_xen_reservation in;  /**< Pages to give. */
    balloon_xen_reservation out; /**< Pages to get: as many in all. */
    uint64_t exchanged;          /**< Extents of in that are done; 0 before. */
} balloon_xen_exchange;

/** Argument of set_pod_target and get_pod_target: populate on demand, by which a guest starts with
 * less memory than it was promised, until its balloon driver gives the difference back. */
typedef struct balloon_xen_pod_target {
    uint64_t target;  /**< Wanted size in pages; read by set_pod_target only. */
    uint64_t total;   /**< Result: pages that the domain has. */
    uint64_t cache;   /**< Result: of them, not used yet. */
    uint64_t entries; /**< Result: pages promised that have no memory. */
    uint16_t domain;  /**< Whose. */
} balloon_xen_pod_target;

/** Flags of a reservation. */
typedef struct balloon_xen_flags {
    uint8_t address_bits;    /**< Pages must be below 2^address_bits bytes. 0: anywhere. */
    bool has_node;           /**< From a certain NUMA node. */
    uint8_t node;            /**< That node, up to 254; 0 without has_node. */
    bool exact_node;         /**< From no other. */
    bool virtual_node;       /**< The node is the guest's idea of it. */
    bool populate_on_demand; /**< Promise the pages only. Not for oneself. */
    uint32_t unknown;        /**< Other bits, where they are. Xen ignores them; 0 when writing. */
} balloon_xen_flags;

/** Page numbers of a list in 1..n pieces, each byte read once; a number may straddle pieces. Set it
 * up by balloon_xen_frames_init(); the fields are its own business. */
typedef struct balloon_xen_frames {
    const balloon_iov *iov;    /**< Current piece. */
    size_t iov_left;           /**< Pieces from there on. */
    size_t offset;             /**< Bytes read of the current piece. */
    uint64_t left;             /**< Numbers that may still be read. */
    balloon_xen_layout layout; /**< How wide they are. */
} balloon_xen_frames;

/** Take the first argument of memory_op apart.
 * @param      command the argument.
 * @param[out] start   extents that are done already: not 0 only when Xen goes on with a call.
 * @return the operation, @ref balloon_xen_op or any other below 64. */
BALLOON_API unsigned balloon_xen_read_command(uint64_t command, uint64_t *start);

/** Put it together; guests have no start but 0.
 * @param op    an operation below 64.
 * @param start extents done, up to EXTENTS_MAX.
 * @return the argument, 32 bits always; bits that do not fit are cut off. */
BALLOON_API uint32_t balloon_xen_write_command(balloon_xen_op op, uint32_t start);

/** Read a reservation. What follows it is ignored.
 * @param      bytes       guest memory; each byte is read once.
 * @param      size        how much there is.
 * @param      layout      the guest's.
 * @param[out] reservation the reservation; untouched on error.
 * @return OK, or ERR_PROTOCOL when it is cut short. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_xen_read_reservation(const void *bytes, size_t size, balloon_xen_layout layout,
                             balloon_xen_reservation *reservation);

/** Write a reservation.
 * @return the bytes needed, nothing is written when bytes is less; SIZE_MAX when a number is too
 *         large for the layout. */
BALLOON_API size_t balloon_xen_write_reservation(const balloon_xen_reservation *reservation,
                                                 balloon_xen_layout layout, void *buffer,
                                                 size_t bytes);

/** Read an exchange, like balloon_xen_read_reservation(). */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_exchange(
    const void *bytes, size_t size, balloon_xen_layout layout, balloon_xen_exchange *exchange);

/** Write an exchange, like balloon_xen_write_reservation(). */
BALLOON_API size_t balloon_xen_write_exchange(const balloon_xen_exchange *exchange,
                                              balloon_xen_layout layout, void *buffer,
                                              size_t bytes);

/** Read a PoD target, like balloon_xen_read_reservation(). */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_pod_target(
    const void *bytes, size_t size, balloon_xen_layout layout, balloon_xen_pod_target *target);

/** Write a PoD target, like balloon_xen_write_reservation(). */
BALLOON_API size_t balloon_xen_write_pod_target(const balloon_xen_pod_target *target,
                                                balloon_xen_layout layout, void *buffer,
                                                size_t bytes);

/** Read a domain's number, the argument of operations that say "a domain".
 * @return OK, or ERR_PROTOCOL for less than 2 bytes. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_read_domain(const void *bytes, size_t size,
                                                                   uint16_t *domain);

/** Write a domain's number.
 * @return 2, the bytes needed; nothing is written when bytes is less. */
BALLOON_API size_t balloon_xen_write_domain(uint16_t domain, void *buffer, size_t bytes);

/** Would Xen look at any extent of this call?
 * @param op          increase, decrease, populate or claim.
 * @param reservation its argument.
 * @param max_order   the caller's largest order, see @ref balloon_xen_order.
 * @return OK; ERR_PROTOCOL when Xen does nothing and returns 0, for claim -EINVAL: too many
 * extents, too large an order, an address width below a page, promised pages for oneself, a claim
 *         with a list; ERR_INVALID for other operations. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_check_reservation(
    balloon_xen_op op, const balloon_xen_reservation *reservation, uint32_t max_order);

/** Would Xen begin with this exchange?
 * @return OK; ERR_PROTOCOL when it returns -EPERM for too large an order, -EINVAL when in and out
 *         differ in size or domain or more is done than there is. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_xen_check_exchange(const balloon_xen_exchange *exchange, uint32_t max_order);

/** Extents that a call has done. Less than asked is no error: the first that is left did not work,
 * as there was no memory or it was no page of the guest, and nobody looked at the ones behind it.
 * @param result what increase, decrease or populate returned.
 * @param asked  extents of the call.
 * @return their number, never more than asked; 0 for an error. */
BALLOON_API uint64_t balloon_xen_extents_done(int64_t result, uint64_t asked);

/** Pages of an extent. It need not be aligned: neither is it in Xen.
 * @param      first its number in the list.
 * @param      order the order of the call.
 * @param[out] range the pages; untouched on error.
 * @return OK; ERR_PROTOCOL for an order past ORDER_CONTROL, or pages past the last 64-bit address.
 */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_extent_range(balloon_pfn_t first,
                                                                    uint32_t order,
                                                                    balloon_range *range);

/** Take flags apart. */
BALLOON_API void balloon_xen_read_flags(uint32_t word, balloon_xen_flags *flags);

/** Put flags together.
 * @param      flags what to write; unknown is or-ed in.
 * @param[out] word  the flags; untouched on error.
 * @return OK; ERR_INVALID for node 255, which would set populate_on_demand, for a node without
 *         has_node, and for unknown bits that have a meaning. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_xen_write_flags(const balloon_xen_flags *flags,
                                                                   uint32_t *word);

/** Start reading a list.
 * @param[out] frames  the reader.
 * @param      iov     the pieces; they and their memory are used as long as the reader is.
 * @param      count   number of pieces.
 * @param      extents length of the list, as the guest claims.
 * @param      layout  the guest's. */
BALLOON_API void balloon_xen_frames_init(balloon_xen_frames *frames, const balloon_iov *iov,
                                         size_t count, uint64_t extents, balloon_xen_layout layout);

/** Read page numbers. They are claims, and can be anything.
 * @param      frames a reader.
 * @param[out] pfns   room for max numbers.
 * @param      max    how many at the most.
 * @return how many were read; less than max only at the end of the list or of its memory. */
BALLOON_API size_t balloon_xen_read_frames(balloon_xen_frames *frames, balloon_pfn_t *pfns,
                                           size_t max);

/** Write page numbers.
 * @param      pfns   numbers.
 * @param      count  how many.
 * @param      layout how wide.
 * @param[out] buffer room for the bytes.
 * @param      bytes  its size.
 * @return the bytes needed, nothing is written when bytes is less; SIZE_MAX when a number is too
 *         large for the layout, or no such array can exist. */
BALLOON_API size_t balloon_xen_write_frames(const balloon_pfn_t *pfns, size_t count,
                                            balloon_xen_layout layout, void *buffer, size_t bytes);

/** @} */

/** @} */

BALLOON_END_DECLS

#endif
