/** @file
 * @brief Hyper-V Dynamic Memory: what the bytes mean, and both ends of it.
 */
#ifndef BALLOON_HYPERV_H
#define BALLOON_HYPERV_H

#include <balloon/device.h>
#include <balloon/driver.h>
#include <balloon/types.h>

/** @defgroup balloon_hyperv_codec Hyper-V codec
 * @brief Pure functions between bytes and messages of Hyper-V Dynamic Memory, for both ends.
 *
 * A message is the payload of one in-band VMBus packet, whole and contiguous. Decode it by
 * balloon_hyperv_decode(), write it by balloon_hyperv_encode(). Lists of pages stay packed in a
 * message: balloon_hyperv_read_ranges() unpacks them, balloon_hyperv_pack() makes them.
 *
 * There is no public specification. The sources are Linux (drivers/hv/hv_balloon.c: the guest),
 * QEMU (dynmem-proto.h, hv-balloon.c: a host) and, for the heat hint, Linux' hvgdk_ext.h and
 * hvgdk_mini.h. All is little-endian, on 32-bit and 64-bit guests alike.
 * @{ */

BALLOON_BEGIN_DECLS

/** Class of the VMBus channel. */
#define BALLOON_HYPERV_CLASS "525074dc-8985-46e2-8057-a307dc18a502"

#define BALLOON_HYPERV_MESSAGE_BYTES  4096  /**< Longest message that peers in use receive. */
#define BALLOON_HYPERV_WIRE_BYTES_MAX 65535 /**< Longest message that the header can state. */
#define BALLOON_HYPERV_RANGE_BYTES    8     /**< A packed range. */
#define BALLOON_HYPERV_RANGES_OFFSET  16    /**< Where ranges start in a message. */
#define BALLOON_HYPERV_RANGES_MAX     510   /**< Ranges that fit into MESSAGE_BYTES. */
#define BALLOON_HYPERV_REMOVED_OFFSET 24    /**< For HOT_REMOVE_RESPONSE: where they start, */
#define BALLOON_HYPERV_REMOVED_MAX    509   /**< and how many fit. */
#define BALLOON_HYPERV_ALIGNMENT_MAX  15    /**< Largest balloon_hyperv_capabilities.alignment. */

#define BALLOON_HYPERV_RANGE_PAGES_MAX 0xffffff            /**< Pages that one range can have. */
#define BALLOON_HYPERV_PFN_LIMIT       ((uint64_t)1 << 40) /**< First page past all ranges. */

/** Most pages to ask for in a BALLOON_REQUEST: Windows ignores larger ones (QEMU). */
#define BALLOON_HYPERV_REQUEST_PAGES_MAX 585728

/** Most pages, 2 GiB, that QEMU names in an UNBALLOON_REQUEST or asks to hot-add at a time. */
#define BALLOON_HYPERV_CHUNK_PAGES 524288

/** Kinds of messages. */
typedef enum balloon_hyperv_type {
    BALLOON_HYPERV_ERROR = 0,                 /**< Nobody sends it and nobody knows its layout. */
    BALLOON_HYPERV_VERSION_REQUEST = 1,       /**< Guest: may we speak this version? */
    BALLOON_HYPERV_VERSION_RESPONSE = 2,      /**< Host: yes or no. */
    BALLOON_HYPERV_CAPABILITIES_REPORT = 3,   /**< Guest: what it can do. */
    BALLOON_HYPERV_CAPABILITIES_RESPONSE = 4, /**< Host: yes, or stop. */
    BALLOON_HYPERV_STATUS_REPORT = 5,         /**< Guest, once a second: its memory pressure. */
    BALLOON_HYPERV_BALLOON_REQUEST = 6,       /**< Host: give that many pages. */
    BALLOON_HYPERV_BALLOON_RESPONSE = 7,      /**< Guest: these; one or more messages. */
    BALLOON_HYPERV_UNBALLOON_REQUEST = 8,     /**< Host: have these back; one or more messages. */
    BALLOON_HYPERV_UNBALLOON_RESPONSE = 9,    /**< Guest: done, after the last of them. */
    BALLOON_HYPERV_HOT_ADD_REQUEST = 10,      /**< Host: here is new memory. */
    BALLOON_HYPERV_HOT_ADD_RESPONSE = 11,     /**< Guest: so much of it is in use now. */
    BALLOON_HYPERV_INFO = 12,                 /**< Host: something to know. Since 1.0. */
    BALLOON_HYPERV_HOT_REMOVE_REQUEST = 13,   /**< Host: take memory out. Since 2.0; QEMU's header
                                                   has it, no code is known to send it. */
    BALLOON_HYPERV_HOT_REMOVE_RESPONSE = 14,  /**< Guest: this was taken out. Since 2.0. */
    BALLOON_HYPERV_TYPES = 15                 /**< Number of kinds. */
} balloon_hyperv_type;

/** Versions, as they are on the wire: major in the high half, minor in the low half. */
typedef enum balloon_hyperv_version {
    BALLOON_HYPERV_VERSION_0_3 = 0x00000003, /**< "Version 1", Windows 7. */
    BALLOON_HYPERV_VERSION_1_0 = 0x00010000, /**< "Version 2", Windows 8. */
    BALLOON_HYPERV_VERSION_2_0 = 0x00020000  /**< "Version 3", Windows 10. */
} balloon_hyperv_version;

/** What a host tells by @ref BALLOON_HYPERV_INFO. */
typedef enum balloon_hyperv_info_type {
    BALLOON_HYPERV_INFO_MAX_PAGES = 0 /**< The largest size that the guest may grow to. */
} balloon_hyperv_info_type;

/** Flags of a @ref BALLOON_HYPERV_HOT_REMOVE_REQUEST. */
typedef enum balloon_hyperv_qos {
    BALLOON_HYPERV_QOS_LARGE = 1, /**< Large pages. */
    BALLOON_HYPERV_QOS_LOCAL = 2  /**< Local pages. */
} balloon_hyperv_qos;

/** Body of VERSION_REQUEST. */
typedef struct balloon_hyperv_version_request {
    uint32_t version; /**< @ref balloon_hyperv_version, or anything else a peer sends. */
    bool last;        /**< The guest gives up when this is refused, too. */
} balloon_hyperv_version_request;

/** Body of CAPABILITIES_REPORT. */
typedef struct balloon_hyperv_capabilities {
    bool balloon;       /**< Takes balloon requests. Linux with pages of other sizes does not. */
    bool hot_add;       /**< Takes hot-add requests. Hosts are said to send no balloon requests
                             either without it, so set it and refuse each request. */
    bool hot_remove;    /**< Takes hot-remove requests; since 2.0. */
    uint8_t alignment;  /**< What is hot-added must be aligned to 2^alignment MiB; up to 15. */
    uint64_t min_pages; /**< Guests send 0. */
    uint64_t max_page;  /**< Guests send all ones. */
} balloon_hyperv_capabilities;

/** Body of VERSION_RESPONSE and CAPABILITIES_RESPONSE. */
typedef struct balloon_hyperv_answer {
    bool accepted;         /**< Whether to go on. */
    bool hot_remove;       /**< CAPABILITIES_RESPONSE only: the host knows hot-remove. */
    bool suppress_reports; /**< CAPABILITIES_RESPONSE only: the host does not read status reports.
                                Linux sends them all the same. */
} balloon_hyperv_answer;

/** Body of STATUS_REPORT. All in pages of 4 KiB, whatever the guest's are; all claims. Linux sends
 * the first two. */
typedef struct balloon_hyperv_status {
    uint64_t available;        /**< Memory that can be had. */
    uint64_t committed;        /**< What the guest needs, pages in the balloon included, which is
                                    what hosts go by. */
    uint64_t page_file;        /**< Size of all page files. */
    uint64_t zero_free;        /**< Zeroed and free pages. */
    uint32_t page_file_writes; /**< Pages written to page files. */
    uint32_t io_diff;          /**< Faults on the file cache less reads of pages. */
} balloon_hyperv_status;

/** A packed list of ranges: body of BALLOON_RESPONSE and UNBALLOON_REQUEST, part of
 * HOT_REMOVE_RESPONSE. */
typedef struct balloon_hyperv_ranges {
    const void *packed; /**< count times 8 bytes, at any address. From balloon_hyperv_decode():
                             inside of the bytes that it was given. */
    uint32_t count;     /**< How many. A BALLOON_RESPONSE without any says that the guest has no
                             more to give. */
    bool more;          /**< More messages of the same transaction follow. */
} balloon_hyperv_ranges;

/** Body of HOT_ADD_REQUEST, in both its forms. */
typedef struct balloon_hyperv_hot_add {
    balloon_range range;  /**< What to take into use. */
    balloon_range region; /**< What to plug, of which the rest must not be used. */
    bool has_region;      /**< The long form, with a region. Else the guest chooses it, by its own
                               alignment. */
} balloon_hyperv_hot_add;

/** Body of HOT_ADD_RESPONSE. See balloon_hyperv_hot_add_result(). */
typedef struct balloon_hyperv_hot_added {
    uint32_t pages;  /**< Pages in use now. */
    uint32_t result; /**< 1 for success, 0 for failure. */
} balloon_hyperv_hot_added;

/** Body of INFO. */
typedef struct balloon_hyperv_info {
    uint32_t type;      /**< @ref balloon_hyperv_info_type, or anything newer. */
    uint64_t max_pages; /**< For INFO_MAX_PAGES the value, else 0. */
    balloon_iov data;   /**< For other types the bytes, where they are; for INFO_MAX_PAGES none. */
} balloon_hyperv_info;

/** Body of HOT_REMOVE_REQUEST. */
typedef struct balloon_hyperv_hot_remove {
    uint32_t node;  /**< Virtual NUMA node. */
    uint32_t pages; /**< How many to take out. */
    uint32_t qos;   /**< @ref balloon_hyperv_qos flags. */
} balloon_hyperv_hot_remove;

/** Body of HOT_REMOVE_RESPONSE. */
typedef struct balloon_hyperv_hot_removed {
    uint32_t result;              /**< 1 for success, 0 for failure. */
    balloon_hyperv_ranges ranges; /**< What was taken out. */
} balloon_hyperv_hot_removed;

/** A message. Which member of body is in use follows from type; BALLOON_REQUEST has pages,
 * UNBALLOON_RESPONSE has none. */
typedef struct balloon_hyperv_message {
    uint16_t type;  /**< @ref balloon_hyperv_type. */
    uint16_t bytes; /**< Length by the message's own header, which no host in use checks. Writing
                         a message puts the right number there, whatever this is. */
    uint32_t id;    /**< Transaction. Hosts repeat the guest's number in their answers; guests
                         number their answers themselves, so nothing can be matched by it. */
    /** The rest of it, by type. */
    union balloon_hyperv_body {
        balloon_hyperv_version_request version;   /**< VERSION_REQUEST. */
        balloon_hyperv_answer answer;             /**< VERSION_ and CAPABILITIES_RESPONSE. */
        balloon_hyperv_capabilities capabilities; /**< CAPABILITIES_REPORT. */
        balloon_hyperv_status status;             /**< STATUS_REPORT. */
        uint32_t pages;                           /**< BALLOON_REQUEST. */
        balloon_hyperv_ranges ranges;             /**< BALLOON_RESPONSE, UNBALLOON_REQUEST. */
        balloon_hyperv_hot_add hot_add;           /**< HOT_ADD_REQUEST. */
        balloon_hyperv_hot_added hot_added;       /**< HOT_ADD_RESPONSE. */
        balloon_hyperv_info info;                 /**< INFO. */
        balloon_hyperv_hot_remove hot_remove;     /**< HOT_REMOVE_REQUEST. */
        balloon_hyperv_hot_removed hot_removed;   /**< HOT_REMOVE_RESPONSE. */
        balloon_iov error;                        /**< ERROR: all after the header. */
    } body;                                       /**< The rest, by type. */
} balloon_hyperv_message;

/** Read a message. What is there decides, not the length in the header (Linux and QEMU do
 * so, too), but for HOT_ADD_REQUEST: a header of 16 bytes is the short form. Reserved bits and
 * bytes after the end are ignored.
 * @param      bytes   the payload of a packet. Lists and data in the message point into it.
 * @param      size    its length.
 * @param[out] message the message; untouched on error.
 * @return OK; ERR_PROTOCOL when it is cut short, counts more ranges or data than there are, or is
 * of a type this version does not know. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_decode(const void *bytes, size_t size,
                                                                 balloon_hyperv_message *message);

/** Write a message. Reserved fields are zero.
 * @param      message what to write. Its list may lie in the buffer already, best at the place
 *                     where it belongs, RANGES_OFFSET or REMOVED_OFFSET.
 * @param[out] buffer  room for the bytes.
 * @param      bytes   its size.
 * @return the bytes needed, nothing is written when bytes is less; SIZE_MAX when there is no such
 *         message: an unknown type, a number that its field cannot hold, more than 65535 bytes. */
BALLOON_API size_t balloon_hyperv_encode(const balloon_hyperv_message *message, void *buffer,
                                         size_t bytes);

/** Unpack ranges. They can lie anywhere below 2^40 + 2^24, be empty and overlap.
 * @param      list   a list.
 * @param      first  index of the first range to read.
 * @param[out] ranges room for max ranges.
 * @param      max    how many at the most.
 * @return how many were read; less than max only at the end of the list. */
BALLOON_API size_t balloon_hyperv_read_ranges(const balloon_hyperv_ranges *list, size_t first,
                                              balloon_range *ranges, size_t max);

/** Append pages to a packed list, in as few ranges as it takes: they join the last one if they
 * continue it, and are cut where a range is full.
 * @param[in,out] range  the pages; what found no room is left in it.
 * @param[in,out] packed the list.
 * @param[in,out] count  how many ranges it has.
 * @param         max    room for how many, 8 bytes each.
 * @return OK; ERR_NOSPACE when the list is full and range is not used up: send it, then go on;
 *         ERR_RANGE when there are pages past 2^40, and nothing has changed. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_pack(balloon_range *range, void *packed,
                                                               uint32_t *count, uint32_t max);

/** May that end send such a message?
 * @param type    the message's type.
 * @param guest   whether the guest sends it, or else the host.
 * @param version the version agreed on; 0 before there is one.
 * @return whether it may. Nobody may send ERROR or what has no name. */
BALLOON_API bool balloon_hyperv_may_send(uint16_t type, bool guest, uint32_t version);

/** Is this one of the three versions? Hosts should accept these only. */
BALLOON_API bool balloon_hyperv_version_known(uint32_t version);

/** The version for a guest to offer when one was refused.
 * @param refused what was refused; UINT32_MAX to begin.
 * @return the highest known version below; 0 when there is none, so that an offer for which this is
 *         0 is the last one. */
BALLOON_API uint32_t balloon_hyperv_version_below(uint32_t refused);

/** Alignment of what a host hot-adds.
 * @param capabilities the guest's.
 * @return pages: 256 for 1 MiB up to 2^23 for 32 GiB. */
BALLOON_API uint64_t
balloon_hyperv_alignment_pages(const balloon_hyperv_capabilities *capabilities);

/** May a guest act on this request? A host in error may name anything.
 * @param hot_add a request.
 * @return whether there is something to add, all of it below 2^40, and inside of the region where a
 *         region is named. A region without pages names none: that is how a host goes on with one
 *         that it has named before. */
BALLOON_API bool balloon_hyperv_hot_add_valid(const balloon_hyperv_hot_add *hot_add);

/** What a HOT_ADD_RESPONSE comes to. */
typedef enum balloon_hyperv_outcome {
    BALLOON_HYPERV_ADDED = 0,  /**< All is in use. */
    BALLOON_HYPERV_ADDED_PART, /**< Some is; expect all later requests to fail. */
    BALLOON_HYPERV_NEVER,      /**< None is; ask no more. */
    BALLOON_HYPERV_TRY_LATER   /**< None is; ask again after a while. */
} balloon_hyperv_outcome;

/** Understand a HOT_ADD_RESPONSE.
 * @param      response what the guest said.
 * @param      asked    pages of the request.
 * @param[out] pages    how many are in use: never more than asked, and 0 on failure. May be NULL.
 * @return what it comes to. */
BALLOON_API balloon_hyperv_outcome balloon_hyperv_hot_add_result(
    const balloon_hyperv_hot_added *response, uint32_t asked, uint32_t *pages);

/** What a guest should keep for itself, as Linux reckons: half of a small guest up to a 32nd of a
 * large one. It belongs into balloon_hyperv_status.committed, and a BALLOON_REQUEST that would
 * leave less available is cut.
 * @param total pages of memory.
 * @return pages to keep. Can be more than there are, below 16 MiB. */
BALLOON_API uint64_t balloon_hyperv_floor(uint64_t total);

/* --- Memory heat hint ------------------------------------------------------------------------ */

#define BALLOON_HYPERV_CALL_CAPABILITIES 0x8001 /**< Hypercall: which extended ones there are. */
#define BALLOON_HYPERV_CALL_HEAT_HINT    0x8003 /**< Hypercall that gives a hint. */

/** Bit in the result of CALL_CAPABILITIES: the host takes hints of free memory. */
#define BALLOON_HYPERV_CAPABILITY_COLD_DISCARD ((uint64_t)1 << 8)

/** Result of the hypercall: the hint is refused. Linux goes on with 2 MiB and more only. */
#define BALLOON_HYPERV_CALL_INVALID_PARAMETER 5

#define BALLOON_HYPERV_HINT_BYTES      4096 /**< Longest input of the hypercall. */
#define BALLOON_HYPERV_HINT_OFFSET     8    /**< Where its ranges start. */
#define BALLOON_HYPERV_HINT_RANGES_MAX 511  /**< How many there can be. */
#define BALLOON_HYPERV_HINT_UNITS_MAX  2048 /**< Pages of one size in a range. */

/** What is said of the memory. */
typedef enum balloon_hyperv_heat {
    BALLOON_HYPERV_HEAT_COLD = 0,   /**< Little used. */
    BALLOON_HYPERV_HEAT_HOT = 1,    /**< Much used. */
    BALLOON_HYPERV_HEAT_DISCARD = 2 /**< Free: its content may go. This is how Linux reports free
                                         pages. */
} balloon_hyperv_heat;

/** Input of the hypercall. */
typedef struct balloon_hyperv_hint {
    balloon_hyperv_heat heat; /**< What is said. */
    const void *packed;       /**< Ranges of 8 bytes each. From balloon_hyperv_decode_hint(): inside
                                   of the bytes that it was given. */
    uint32_t count;           /**< How many, 1 to 511. */
} balloon_hyperv_hint;

/** Read the input of the hypercall.
 * @param      bytes guest memory.
 * @param      size  how much of it there is, up to the end of the page.
 * @param      count number of ranges, which is the repeat count of the hypercall.
 * @param[out] hint  the hint; untouched on error.
 * @return OK; ERR_PROTOCOL for an unknown heat, reserved bits that are set, no ranges, or more than
 *         fit. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_decode_hint(const void *bytes,
                                                                      size_t size, uint32_t count,
                                                                      balloon_hyperv_hint *hint);

/** Unpack one range of a hint. Since its memory may be discarded, a range of which not every bit
 * is understood is refused.
 * @param      hint  a hint.
 * @param      index which range.
 * @param[out] range the pages, at the most 2 TiB; untouched on error.
 * @return OK; ERR_INVALID without such a range; ERR_PROTOCOL when reserved bits are set, or a range
 *         of 1 GiB pages is not aligned to them. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_read_hint_range(
    const balloon_hyperv_hint *hint, uint32_t index, balloon_range *range);

/** Append pages to the packed list of a hint, as Linux does: in pages of 2 MiB where that can be,
 * of 4 KiB else. For a host that takes no small ones round the range first, by
 * balloon_range_inward().
 * @param[in,out] range  the pages; what found no room is left in it.
 * @param[in,out] packed the list.
 * @param[in,out] count  how many ranges it has.
 * @param         max    room for how many, 8 bytes each.
 * @return OK; ERR_NOSPACE when the list is full and range is not used up; ERR_RANGE when there are
 *         pages past 2^52, and nothing has changed. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_pack_hint(balloon_range *range,
                                                                    void *packed, uint32_t *count,
                                                                    uint32_t max);

/** Write the input of the hypercall.
 * @param      hint   what to write; its list may lie in the buffer already.
 * @param[out] buffer room for the bytes.
 * @param      bytes  its size.
 * @return the bytes needed, nothing is written when bytes is less; SIZE_MAX when there is no such
 *         hint: an unknown heat, no ranges, or too many. */
BALLOON_API size_t balloon_hyperv_encode_hint(const balloon_hyperv_hint *hint, void *buffer,
                                              size_t bytes);

/** @} */

/** @defgroup balloon_hyperv Hyper-V binding
 * @brief Packets of the guest in, messages to the guest out: the host of a Windows or Linux guest.
 *
 * Configure the device, open it when the guest opens the channel, pass each packet to
 * balloon_hyperv_receive(), and answer each @ref BALLOON_ACTION_SEND by sending what
 * balloon_hyperv_write() makes. The binding negotiates, asks for pages until
 * balloon_device_set_target() is met or the guest has no more, and gives pages back.
 *
 * Linux that is set up to hibernate (ACPI S4) ignores requests about pages without a word. A
 * request is given up after answer_timeout, and made again later; what is answered then still
 * counts.
 *
 * A page that a guest names is the host's until the host names it, so discards gather as under
 * MUST_TELL_HOST. The guest's status reports become samples: AVAILABLE, COMMITTED and, where a
 * guest knows it, FREE.
 * @{ */

/** How the guest is spoken to. Set size; 0 elsewhere means the default. */
typedef struct balloon_hyperv_options {
    size_t size;                /**< sizeof(balloon_hyperv_options). */
    balloon_time_t start_delay; /**< Time from the handshake to the first request; 0 means 50 s, as
                                     in QEMU: some Windows guests crash on earlier ones. */
    balloon_time_t retry_delay; /**< A guest that had no more to give is asked again after this
                                     long, or when the target changes; 0 means 10 s. */
    balloon_time_t answer_timeout; /**< A guest that has not said anything about a request for this
                                        long does not answer; it is asked again after retry_delay,
                                      or when the target changes. 0 means 60 s. */
} balloon_hyperv_options;

/** How far the talk with the guest is. */
typedef enum balloon_hyperv_phase {
    BALLOON_HYPERV_CLOSED = 0,       /**< No channel, or the embedder has not said so. */
    BALLOON_HYPERV_VERSION = 1,      /**< The guest is to offer a version. */
    BALLOON_HYPERV_CAPABILITIES = 2, /**< The guest is to say what it can do. */
    BALLOON_HYPERV_IDLE = 3,         /**< Nothing under way. */
    BALLOON_HYPERV_BALLOONING = 4,   /**< The guest is to give pages. */
    BALLOON_HYPERV_UNBALLOONING = 5, /**< The guest is to confirm pages that it got back. */
    BALLOON_HYPERV_HOT_ADDING = 6,   /**< The guest is to take new memory into use. */
    BALLOON_HYPERV_FAILED = 7 /**< Driver only: the host refused, or did not answer in time. */
} balloon_hyperv_phase;

/** How far the last balloon_hyperv_hot_add_request() is. */
typedef enum balloon_hyperv_hot_add_phase {
    BALLOON_HYPERV_HOT_ADD_NONE = 0,    /**< There was none in this session. */
    BALLOON_HYPERV_HOT_ADD_WAITING = 1, /**< The guest was not told yet. */
    BALLOON_HYPERV_HOT_ADD_ASKED = 2,   /**< The guest has not answered. */
    BALLOON_HYPERV_HOT_ADD_ANSWERED = 3 /**< It has. */
} balloon_hyperv_hot_add_phase;

/** Where the talk with the guest stands. */
typedef struct balloon_hyperv_session {
    balloon_hyperv_phase phase;               /**< How far it is. */
    uint32_t version;                         /**< Version agreed on; 0 before. */
    balloon_hyperv_capabilities capabilities; /**< What the guest can do; zeros before it said,
                                                   and min_pages and max_page always. */
    balloon_hyperv_hot_add_phase hot_add;     /**< How far hot-add is. */
    balloon_hyperv_outcome outcome;           /**< HOT_ADD_ANSWERED: what it came to. */
    uint32_t added;                           /**< HOT_ADD_ANSWERED: pages in use, from the start of
                                                   the range. */
    bool exhausted; /**< The guest has ended its last answer with nothing, and has not been asked
                         since: it has no more to give. */
    bool silent;    /**< It has not answered a request about pages in time, and nothing about pages
                         since: @ref BALLOON_REASON_NO_ANSWER. */
} balloon_hyperv_session;

/** Speak Hyper-V with the guest. The device offers MUST_TELL, which is how this protocol works, and
 * STATS if its config does, nothing else; without STATS the guest is told not to report, and what
 * it reports is dropped. With it, reports come unasked, once a second at best;
 * balloon_device_request_stats() sends nothing, and only asks to be told when none has come for
 * stats_timeout, which is 3 s here unless it is set.
 * @return OK; ERR_INVALID for a size that is too small; ERR_STATE while there is a driver or a
 *         channel. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_hyperv_configure(balloon_device *device, const balloon_hyperv_options *options);

/** The guest has opened the channel.
 * @return OK; ERR_STATE when it is open already, or the device is not configured for Hyper-V. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_open(balloon_device *device);

/** The channel is closed: balloon_device_reset(). Memory that was hot-added stays as it is. */
BALLOON_API void balloon_hyperv_close(balloon_device *device);

/** A packet of the guest. Bytes are read once; at most 16 GiB of memory that it names are.
 * @param device a device.
 * @param bytes  its payload, in one piece; not kept.
 * @param size   its length.
 * @param now    the time.
 * @return OK; ERR_PROTOCOL for what a sane guest does not send in this phase: it is counted, and
 *         dropped but for the pages in a BALLOON_RESPONSE that was asked for; ERR_STATE without a
 *         channel. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_receive(balloon_device *device,
                                                                  const void *bytes, size_t size,
                                                                  balloon_time_t now);

/** Make the message that @ref BALLOON_ACTION_SEND is about. It counts as sent, so call this when
 * the ring has room for BALLOON_HYPERV_MESSAGE_BYTES, at once or whenever that is; until then the
 * action is not repeated. Pages that the message gives back are the guest's from here on.
 * @param      device a device.
 * @param[out] buffer room for the message.
 * @param      bytes  its size: a message of pages is as long as that allows, up to
 *                    BALLOON_HYPERV_MESSAGE_BYTES.
 * @param      now    the time.
 * @param[out] used   bytes written.
 * @return OK; ERR_NOSPACE for less than 24 bytes; ERR_STATE when there is nothing to send, which is
 *         no error after a new target or a reset. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_write(balloon_device *device,
                                                                void *buffer, size_t bytes,
                                                                balloon_time_t now, size_t *used);

/** Offer new memory to the guest, when nothing else is under way. First map it; once
 * balloon_hyperv_session_get() says how much of it is in use, add that to the device by
 * balloon_device_add_region().
 * @param device  a device.
 * @param request the memory: range, and region if there is one, aligned to
 *                balloon_hyperv_alignment_pages() of the guest's capabilities at both ends.
 * @return OK; ERR_INVALID for a request that balloon_hyperv_hot_add_valid() refuses, that is not
 *         aligned, or has more pages than a range holds; ERR_STATE before the guest has said what
 *         it can do; ERR_UNSUPPORTED when it cannot hot-add; ERR_BUSY while another one waits. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_hyperv_hot_add_request(balloon_device *device, const balloon_hyperv_hot_add *request);

/** Where the talk with the guest stands.
 * @param      device  a device.
 * @param[out] session filled in. */
BALLOON_API void balloon_hyperv_session_get(const balloon_device *device,
                                            balloon_hyperv_session *session);

/** @} */

/** @defgroup balloon_hyperv_driver Hyper-V driver binding
 * @brief The same at the guest's end.
 *
 * Open the channel and balloon_hyperv_driver_open(); pass each packet to
 * balloon_hyperv_driver_receive(); answer each SEND by sending what balloon_hyperv_driver_write()
 * makes; then poll.
 *
 * A request for pages is for that many more. It is cut so that the guest keeps
 * balloon_driver_config.floor_pages, of its RAM and of what STATS says is AVAILABLE, and ends with
 * the first allocation that falls short. Pages go back only when the host names them: guests cannot
 * deflate. Messages are as long as balloon_driver_config.chunk_pages lets them be; a message can
 * have 510 ranges, so blocks of 2 MiB and chunks of 2^18 pages suit.
 *
 * The driver needs regions, to know the pages that a host names from others. Guests with pages of
 * more than 4 KiB give nothing, since hosts may return any single one.
 * @{ */

/** What the guest can do. Set size; 0 elsewhere means the default. */
typedef struct balloon_hyperv_driver_options {
    size_t size;                 /**< sizeof(balloon_hyperv_driver_options). */
    balloon_time_t report_delay; /**< Time from the handshake to the first status report; 0 means
                                      45 s, as in Linux. Then there is one a second, if config.stats
                                      is set and the host reads them. */
    bool hot_add;      /**< The kernel answers PLUG. Without it the driver says it can, since
                            hosts are said to want that, and refuses each request. */
    uint8_t alignment; /**< What is plugged must be aligned to 2^alignment MiB; 0 means 7
                            (128 MiB); at most 15. */
} balloon_hyperv_driver_options;

/** Where the talk with the host stands. */
typedef struct balloon_hyperv_driver_session {
    balloon_hyperv_phase phase; /**< How far it is. */
    uint32_t version;           /**< Version agreed on; 0 before. */
    uint64_t max_pages; /**< The largest size the guest may grow to, if the host has said so;
                             else 0. */
} balloon_hyperv_driver_session;

/** The channel is open. The driver offers all versions, from the latest down, and has 5 s for that
 * and 5 s for what it can do; if the host refuses or is not in time, the phase is FAILED, and all
 * there is to do is balloon_driver_reset(). That is also what to call when the channel is closed:
 * the guest has its pages back then.
 * @param driver  a driver.
 * @param options what it can do; NULL for the defaults.
 * @param now     the time.
 * @return OK; ERR_INVALID for options outside their limits; ERR_UNSUPPORTED without regions;
 *         ERR_STATE while there is a host; ERR_BUSY while pages wait for polls. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_driver_open(
    balloon_driver *driver, const balloon_hyperv_driver_options *options, balloon_time_t now);

/** A packet of the host.
 * @param driver a driver.
 * @param bytes  its payload, in one piece; not kept.
 * @param size   its length.
 * @param now    the time.
 * @return OK; ERR_PROTOCOL for what a sane host does not send: it is counted and, but for a second
 *         request for pages, which replaces the first, and an invalid one to hot-add, which is
 *         refused, ignored;
 *         ERR_BUSY, and nothing has changed, while pages of an UNBALLOON_REQUEST wait for polls,
 *         for another request about pages, or its answer waits for balloon_hyperv_driver_write(),
 *         for another UNBALLOON_REQUEST: pass the packet again then;
 *         ERR_STATE without a channel. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_driver_receive(balloon_driver *driver,
                                                                         const void *bytes,
                                                                         size_t size,
                                                                         balloon_time_t now);

/** Make the message of a SEND. It counts as sent, so call this when the ring has room for it, at
 * once or whenever that is; until then the SEND is not repeated.
 * @param      driver  a driver.
 * @param      channel that of the action.
 * @param[out] buffer  room for the message: action.bytes.
 * @param      bytes   its size.
 * @param      now     the time.
 * @param[out] used    bytes written, or needed when the status is ERR_NOSPACE.
 * @return OK; ERR_NOSPACE, and nothing has changed; ERR_STATE when nothing is to be sent there,
 * which is no error after a second request for pages, a failure or a reset. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_hyperv_driver_write(balloon_driver *driver, balloon_driver_channel channel, void *buffer,
                            size_t bytes, balloon_time_t now, size_t *used);

/** Answer PLUG. Before, tell the driver of what is in use now by balloon_driver_add_region().
 * @param driver a driver.
 * @param pages  how much of runs[0] is in use, from its start. Less than all tells the host that
 *               the guest cannot have more, ever; 0 without later the same.
 * @param later  with 0 pages: the host may try again.
 * @return OK; ERR_STATE when nothing was asked; ERR_INVALID for more pages than asked. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_hyperv_driver_plugged(balloon_driver *driver,
                                                                         uint64_t pages,
                                                                         bool later);

/** Where the talk with the host stands.
 * @param      driver  a driver.
 * @param[out] session filled in. */
BALLOON_API void balloon_hyperv_driver_session_get(const balloon_driver *driver,
                                                   balloon_hyperv_driver_session *session);

/** @} */

BALLOON_END_DECLS

#endif
