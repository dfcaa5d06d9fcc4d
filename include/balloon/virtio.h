/** @file
 * @brief virtio-balloon: what the bytes mean, and the binding to the device.
 */
#ifndef BALLOON_VIRTIO_H
#define BALLOON_VIRTIO_H

#include <balloon/device.h>
#include <balloon/driver.h>
#include <balloon/stats.h>
#include <balloon/types.h>

/** @defgroup balloon_virtio_codec virtio codec
 * @brief Pure functions between bytes and numbers, for both ends.
 *
 * Source of the rules: virtio specification 1.1 to 1.4, "Traditional Memory Balloon Device", and
 * what Linux, Windows, FreeBSD, QEMU, Firecracker, Cloud Hypervisor, crosvm and kvmtool make of
 * it.
 * @{ */

BALLOON_BEGIN_DECLS

#define BALLOON_VIRTIO_DEVICE_ID 5 /**< virtio device type. */

/** VERSION_1: little-endian buffers; without it they are in the guest's byte order. */
#define BALLOON_VIRTIO_F_VERSION_1 ((uint64_t)1 << 32)

#define BALLOON_VIRTIO_STAT_BYTES   10 /**< A statistics record: 16-bit tag, 64-bit value. */
#define BALLOON_VIRTIO_STAT_TAGS    16 /**< Tags there are: the statistics below this. */
#define BALLOON_VIRTIO_HINT_STOP    0  /**< Hinting command id: no round. */
#define BALLOON_VIRTIO_HINT_DONE    1  /**< Hinting command id: the guest may use its pages. */
#define BALLOON_VIRTIO_CONFIG_BYTES 16 /**< Configuration space with all its four fields. */

/** Byte order of a guest's buffers. The configuration space is little-endian always. */
typedef enum balloon_endian {
    BALLOON_LITTLE_ENDIAN = 0, /**< VERSION_1, or a little-endian legacy guest. */
    BALLOON_BIG_ENDIAN = 1     /**< A big-endian legacy guest. */
} balloon_endian;

/** Reads numbers from a buffer in 1..n pieces, each byte once; a number may straddle pieces.
 * Set it up by balloon_virtio_reader_init(); the fields are its own business. */
typedef struct balloon_virtio_reader {
    const balloon_iov *iov; /**< Current piece. */
    size_t iov_left;        /**< Pieces from there on. */
    size_t offset;          /**< Bytes read of the current piece. */
    uint64_t budget;        /**< Bytes that may still be read. */
    balloon_endian endian;  /**< Byte order. */
} balloon_virtio_reader;

/** Start reading.
 * @param[out] reader the reader.
 * @param      iov    the pieces; they and their memory are used as long as the reader is.
 * @param      count  number of pieces.
 * @param      limit  bytes to read at the most.
 * @param      endian byte order of the numbers. */
BALLOON_API void balloon_virtio_reader_init(balloon_virtio_reader *reader, const balloon_iov *iov,
                                            size_t count, uint64_t limit, balloon_endian endian);

/** Bytes that are left to read. Takes a step for each piece left. */
BALLOON_API uint64_t balloon_virtio_reader_left(const balloon_virtio_reader *reader);

/** Read 32-bit page numbers, as inflate and deflate buffers carry them.
 * @param      reader a reader.
 * @param[out] pfns   room for max numbers, in the host's byte order.
 * @param      max    how many at the most.
 * @return how many were read; less than max only when less than 4 bytes are left. */
BALLOON_API size_t balloon_virtio_read_pfns(balloon_virtio_reader *reader, uint32_t *pfns,
                                            size_t max);

/** Read 64-bit page numbers. 64-bit Windows guests send these where the protocol has 32-bit ones:
 * read as 32-bit, every second number is page 0.
 * @return how many were read; less than max only when less than 8 bytes are left. */
BALLOON_API size_t balloon_virtio_read_pfns64(balloon_virtio_reader *reader, balloon_pfn_t *pfns,
                                              size_t max);

/** Read a statistics buffer. Records come in any order; of two with the same tag the last wins;
 * unknown tags are skipped and counted in sample->ignored, and so are values from 2^63 on: Windows
 * sends -1, or -1 * 4096, for what it could not find out, and no guest has so much of anything.
 *
 * A buffer of ten records with tags 0 to 9 in this order, of which the last two are 0, is from the
 * driver of Windows (Linux has 8 and 9 before 4): if SWAP_IN is among them, BALLOON_SAMPLE_READS is
 * set. In place of a tag there may be 0xffff, with which that driver fills its buffer first.
 * @param      reader a reader.
 * @param[out] sample what was sent; its time is 0.
 * @return whole records read. */
BALLOON_API size_t balloon_virtio_read_stats(balloon_virtio_reader *reader, balloon_sample *sample);

/** Read a hinting command: exactly 4 bytes.
 * @param      reader a reader at the start of a buffer.
 * @param[out] id     the command id; untouched on error.
 * @return OK, or ERR_PROTOCOL for any other length. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_virtio_read_hint(balloon_virtio_reader *reader,
                                                                    uint32_t *id);

/** Write 32-bit page numbers, as a driver does.
 * @param      pfns   numbers.
 * @param      count  how many.
 * @param      endian byte order.
 * @param[out] buffer room for the bytes.
 * @param      bytes  its size.
 * @return 4 * count, the bytes needed; nothing is written when bytes is less. */
BALLOON_API size_t balloon_virtio_write_pfns(const uint32_t *pfns, size_t count,
                                             balloon_endian endian, void *buffer, size_t bytes);

/** Write the statistics that are present in a sample, by ascending tag.
 * @return the bytes needed; nothing is written when bytes is less. */
BALLOON_API size_t balloon_virtio_write_stats(const balloon_sample *sample, balloon_endian endian,
                                              void *buffer, size_t bytes);

/** Write a hinting command.
 * @return 4, the bytes needed; nothing is written when bytes is less. */
BALLOON_API size_t balloon_virtio_write_hint(uint32_t id, balloon_endian endian, void *buffer,
                                             size_t bytes);

/** A working set record of crosvm's guests (feature bit 8, outside of the specification). */
typedef struct balloon_virtio_working_set {
    uint16_t tag;     /**< Kind of record. */
    uint16_t node;    /**< NUMA node. */
    uint64_t idle_ms; /**< Idle time that this bin stands for. */
    uint64_t anon;    /**< Bytes of anonymous memory in the bin. */
    uint64_t file;    /**< Bytes of file memory in the bin. */
} balloon_virtio_working_set;

/** Read crosvm working set records of 32 bytes.
 * @return how many were read; less than max only when less than 32 bytes are left. */
BALLOON_API size_t balloon_virtio_read_working_sets(balloon_virtio_reader *reader,
                                                    balloon_virtio_working_set *records,
                                                    size_t max);

/** What a queue is for. */
typedef enum balloon_virtio_queue {
    BALLOON_QUEUE_INFLATE = 0, /**< Pages into the balloon. */
    BALLOON_QUEUE_DEFLATE = 1, /**< Pages out of it. */
    BALLOON_QUEUE_STATS = 2,   /**< Statistics. */
    BALLOON_QUEUE_HINT = 3,    /**< Free page hints. */
    BALLOON_QUEUE_REPORT = 4,  /**< Free page reports. */
    BALLOON_QUEUE_KINDS = 5,   /**< Number of kinds. */
    BALLOON_QUEUE_NONE = 255   /**< No such queue. */
} balloon_virtio_queue;

/** How queues are numbered when optional ones are missing. The specification's text fixes the
 * numbers; every driver and device in use since Linux 5.0 counts without gaps. */
typedef enum balloon_virtio_numbering {
    BALLOON_QUEUES_BY_OFFER = 0,       /**< Without gaps over what was offered; the default. */
    BALLOON_QUEUES_BY_NEGOTIATION = 1, /**< Without gaps over what was negotiated. */
    BALLOON_QUEUES_FIXED = 2           /**< 0 .. 4 always, as the specification reads. */
} balloon_virtio_numbering;

/** The number of a queue.
 * @param rule       how queues are numbered.
 * @param offered    BALLOON_F_* offered.
 * @param negotiated BALLOON_F_* negotiated.
 * @param kind       which queue.
 * @return its number, or -1 when the guest has no such queue. */
BALLOON_API int balloon_virtio_queue_index(balloon_virtio_numbering rule, uint32_t offered,
                                           uint32_t negotiated, balloon_virtio_queue kind);

/** The queue with a number; the inverse of balloon_virtio_queue_index().
 * @return what it is for, or BALLOON_QUEUE_NONE. */
BALLOON_API balloon_virtio_queue balloon_virtio_queue_kind(balloon_virtio_numbering rule,
                                                           uint32_t offered, uint32_t negotiated,
                                                           uint32_t index);

/** Find the rule that a driver follows from the queues it has set up.
 * @param      offered    BALLOON_F_* offered.
 * @param      negotiated BALLOON_F_* negotiated.
 * @param      enabled    bit i is set when queue i is set up.
 * @param[out] rule       the first rule, in the order of the enum, under which exactly the queues
 *                        of the negotiated features are set up; untouched when none fits.
 * @return whether one fits. */
BALLOON_API bool balloon_virtio_find_numbering(uint32_t offered, uint32_t negotiated,
                                               uint32_t enabled, balloon_virtio_numbering *rule);

/** @} */

/** @defgroup balloon_virtio virtio binding
 * @brief Queues and configuration space in, actions of the device out.
 * @{ */

/** How the guest's driver is spoken to. Most embedders need none of it. Set size, leave the rest
 * 0. */
typedef struct balloon_virtio_options {
    size_t size;                        /**< sizeof(balloon_virtio_options). */
    balloon_virtio_numbering numbering; /**< How queues are numbered. */
    balloon_endian legacy_endian;       /**< The guest's byte order without VERSION_1. */
    bool windows_pfns;                  /**< Page numbers are 64-bit: see
                                             balloon_virtio_read_pfns64(). */
    bool legacy_only;                   /**< Do not offer VERSION_1. */
} balloon_virtio_options;

/** A piece of guest physical memory that a descriptor names. */
typedef struct balloon_virtio_span {
    uint64_t address; /**< Guest physical address. */
    uint64_t bytes;   /**< Length. */
} balloon_virtio_span;

/** A buffer from a queue: its descriptor chain. */
typedef struct balloon_virtio_buffer {
    uint64_t cookie;                     /**< The caller's name for it; comes back in the
                                              acknowledgement. */
    const balloon_iov *readable;         /**< Device-readable descriptors, as host memory. */
    size_t readable_count;               /**< How many. */
    const balloon_virtio_span *writable; /**< Device-writable descriptors, as guest addresses: the
                                              hints and reports, and with
                                              BALLOON_F_DEVICE_INIT_ON_INFLATE room for a bitmap.
                                              They are not written to by the device; an ACK may say
                                              what to write. */
    size_t writable_count;               /**< How many. */
} balloon_virtio_buffer;

/** Choose how to speak to the driver.
 * @return OK; ERR_INVALID for values outside their enums; ERR_STATE while there is a driver. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_virtio_configure(balloon_device *device, const balloon_virtio_options *options);

/** Features to offer: BALLOON_F_* in their virtio places, and VERSION_1. Transport features are
 * the caller's to add. */
BALLOON_API uint64_t balloon_virtio_features(const balloon_device *device);

/** The driver has chosen. May be called again until balloon_virtio_driver_ok().
 * @param device a device.
 * @param chosen its choice; bits that are not the balloon's are ignored.
 * @return OK; ERR_PROTOCOL when it chose what was not offered (answer by refusing FEATURES_OK);
 *         ERR_STATE while there is a driver and the choice differs. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_virtio_set_features(balloon_device *device,
                                                                       uint64_t chosen);

/** The driver is ready (DRIVER_OK, or the first queue was started where the transport does not
 * tell). **Then look into all queues**, as if each had been kicked: Linux fills the statistics
 * queue before, and does not kick it again, so that without it statistics never come.
 * @param device  a device.
 * @param enabled bit i is set when queue i is set up; used to find the numbering that the driver
 *                follows where the configured one does not fit. 0 keeps the configured one.
 * @param now     the time.
 * @return OK; ERR_STATE when there is a driver already. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_virtio_driver_ok(balloon_device *device,
                                                                    uint32_t enabled,
                                                                    balloon_time_t now);

/** What a queue is for, as the device numbers them now. */
BALLOON_API balloon_virtio_queue balloon_virtio_queue_of(const balloon_device *device,
                                                         uint32_t index);

/** Number of queues the transport should show, so that a driver finds its queues by whichever rule
 * it numbers them: up to the highest number an offered feature can have. */
BALLOON_API uint32_t balloon_virtio_queue_count(const balloon_device *device);

/** A buffer arrived. It is read here and now, and never again. Nothing that a guest does is
 * ERR_INVALID, so that may end a VMM; and a buffer that comes before DRIVER_OK is ERR_STATE: leave
 * it in its ring, from where it is taken when all queues are polled at DRIVER_OK.
 * @param device a device.
 * @param queue  number of its queue, below balloon_virtio_queue_count().
 * @param buffer the buffer; the arrays it points to are not kept.
 * @param now    the time.
 * @return OK and the buffer will be acknowledged once, by a later poll, or held (one statistics
 *         buffer) until the next request or reset;
 *         ERR_PROTOCOL the same, and the guest sent nonsense in it, or put it on a queue of a
 *         feature that it did not take, now counted;
 *         ERR_BUSY when max_buffers wait: poll, then call again;
 *         ERR_STATE without a driver, ERR_INVALID for a queue that was never offered: the buffer
 *         was not taken. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_virtio_receive(balloon_device *device, uint32_t queue, const balloon_virtio_buffer *buffer,
                       balloon_time_t now);

/** Several buffers of one queue arrived: balloon_virtio_receive() for one after the other, in less
 * time. Stops at the first that cannot be taken.
 * @param      device   a device.
 * @param      queue    number of their queue.
 * @param      buffers  the buffers, in the order of the ring.
 * @param      count    how many.
 * @param[out] statuses of each, what balloon_virtio_receive() would have returned: OK or
 *                      ERR_PROTOCOL of those that were taken, which will be acknowledged once each;
 *                      of all others ERR_BUSY (poll, and give them again), ERR_STATE or
 * ERR_INVALID.
 * @param      now      the time.
 * @return how many were taken, from the first one on. */
BALLOON_API size_t balloon_virtio_receive_many(balloon_device *device, uint32_t queue,
                                               const balloon_virtio_buffer *buffers, size_t count,
                                               balloon_status *statuses, balloon_time_t now);

/** Size of the configuration space by the features offered: 8, 12 or 16 bytes. */
BALLOON_API size_t balloon_virtio_config_bytes(const balloon_device *device);

/** The driver reads configuration space, at any offset and width; bytes beyond it read 0xff. */
BALLOON_API void balloon_virtio_config_read(const balloon_device *device, uint64_t offset,
                                            void *bytes, size_t count);

/** The driver writes configuration space, at any offset and width. Only `actual` can be written,
 * and `poison_val` until the driver is ready; everything else is ignored, and counted unless it is
 * what would be read there: some front-ends write the whole space for each field. A new `actual`
 * takes effect when its last byte is written, since legacy drivers write it byte by byte; a
 * `poison_val` that comes before the features, when these have chosen it.
 * @param device a device.
 * @param offset first byte.
 * @param bytes  what is written; the caller's copy, not guest memory.
 * @param count  how many. */
BALLOON_API void balloon_virtio_config_write(balloon_device *device, uint64_t offset,
                                             const void *bytes, size_t count);

/** @} */

/** @defgroup balloon_virtio_driver virtio driver binding
 * @brief The same at the guest's end: configuration space and used buffers in, messages out.
 *
 * 1. Reset the device; balloon_virtio_driver_negotiate(); write the features. Poll: there may be a
 *    pattern to write to the configuration space.
 * 2. Set up the queues, set DRIVER_OK, balloon_virtio_driver_start(),
 *    balloon_virtio_driver_config().
 * 3. For each SEND: balloon_virtio_driver_write(), put the buffer on the queue. For each used
 *    buffer: balloon_virtio_driver_acked(), or balloon_virtio_driver_used() where experimental
 *    features were asked for. For each configuration interrupt: balloon_virtio_driver_config().
 *    Then poll.
 * @{ */

/** How the device is spoken to; all 0 is usual. */
typedef struct balloon_virtio_driver_options {
    size_t size;                        /**< sizeof(balloon_virtio_driver_options). */
    balloon_virtio_numbering numbering; /**< How queues are numbered. */
    balloon_endian legacy_endian;       /**< The guest's own byte order, for devices without
                                             VERSION_1. */
    uint32_t stat_tags;                 /**< Send statistics whose tag is below this, at most
                                             BALLOON_VIRTIO_STAT_TAGS. 0 means 10, what Linux up to 6.11 sends: some
                                             devices (kvmtool) take no more at a time. QEMU and devices of this
                                             library read all. */
    uint64_t experimental;              /**< BALLOON_F_EXPERIMENTAL, or one bit of it: take that
                                             from a device that offers it, and believe what it says
                                             of pages that read as zeros (@ref BALLOON_DRIVER_ZEROED).
                                             A host that is wrong in that has the guest take old
                                             contents for zeros, and one process read another's. It
                                             could do as much to any guest whose memory it can read
                                             and write. **So never set it in a confidential guest.**
                                             Not taken where free pages hold a pattern other than
                                             0. */
} balloon_virtio_driver_options;

/** A buffer for a queue. Either bytes or spans are there, never both. */
typedef struct balloon_virtio_message {
    uint32_t queue;             /**< Number of the queue. */
    uint32_t span_count;        /**< How many spans. */
    size_t bytes;               /**< Device-readable: the first so many bytes of the buffer. */
    const balloon_range *spans; /**< Device-writable: these pages, a descriptor each. Valid until
                                     the answer. */
    size_t bitmap_bytes; /**< Device-writable: so many bytes of the buffer behind the readable
                              ones, as another descriptor. 0 without
                              BALLOON_F_DEVICE_INIT_ON_INFLATE. */
} balloon_virtio_message;

/** Choose features.
 * @param      driver  a detached driver.
 * @param      offered what the device offers.
 * @param      options how to speak to it; NULL for the defaults.
 * @param[out] chosen  what to accept: BALLOON_F_* that config and device allow, and VERSION_1 if
 *                     offered. Transport features are the caller's to add.
 * @return OK; ERR_INVALID for values outside their enums; ERR_STATE when it was started already;
 *         ERR_BUSY while pages wait for polls. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_virtio_driver_negotiate(balloon_driver *driver, uint64_t offered,
                                const balloon_virtio_driver_options *options, uint64_t *chosen);

/** The device is ready: DRIVER_OK is set.
 * @return OK; ERR_STATE before balloon_virtio_driver_negotiate() or when it was started already. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_virtio_driver_start(balloon_driver *driver,
                                                                       balloon_time_t now);

/** The configuration space, or what there is of it, as read after an interrupt.
 * @param driver a driver.
 * @param config its bytes from offset 0; the caller's copy.
 * @param bytes  how many; less than 4 say nothing.
 * @param now    the time. */
BALLOON_API void balloon_virtio_driver_config(balloon_driver *driver, const void *config,
                                              size_t bytes, balloon_time_t now);

/** Make the message of a SEND.
 * @param      driver  a driver.
 * @param      channel that of the action.
 * @param[out] buffer  room for it: action.bytes, which is 4 bytes a page of chunk_pages at the
 *                     most, and with BALLOON_F_DEVICE_INIT_ON_INFLATE 32 bytes more.
 * @param      bytes   its size.
 * @param[out] message where it goes and what it has.
 * @return OK; ERR_STATE when nothing is to be sent there; ERR_NOSPACE, and message->bytes and
 *         bitmap_bytes say how much is needed. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_virtio_driver_write(balloon_driver *driver, balloon_driver_channel channel, void *buffer,
                            size_t bytes, balloon_virtio_message *message);

/** The device has used a buffer of a queue.
 * @return OK; ERR_PROTOCOL when none is there, now counted; ERR_STATE when not started. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_virtio_driver_acked(balloon_driver *driver,
                                                                       uint32_t queue,
                                                                       balloon_time_t now);

/** balloon_virtio_driver_acked(), and what the device has written, which is told by
 * BALLOON_DRIVER_ZEROED. A length beyond what there was room for is a protocol error, and nothing
 * of it is believed; bits for pages that were not in the message are counted, too. Without
 * experimental features length and bitmap are not looked at.
 * @param driver a driver.
 * @param queue  number of the queue.
 * @param bytes  length that the device has put on the used ring.
 * @param bitmap the bitmap of the message that was sent, of its bitmap_bytes, each byte of which is
 *               read once; NULL: none.
 * @param now    the time.
 * @return as balloon_virtio_driver_acked(). */
BALLOON_API BALLOON_CHECKED balloon_status balloon_virtio_driver_used(balloon_driver *driver,
                                                                      uint32_t queue,
                                                                      uint32_t bytes,
                                                                      const uint8_t *bitmap,
                                                                      balloon_time_t now);

BALLOON_END_DECLS

/** @} */

#endif
