#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/alloc.h>
#include <balloon/hyperv.h>
#include <balloon/virtio.h>
#include <balloon/vmware.h>
#include <balloon/xen.h>

#include "device_path.h"
#include "patterns.h"

#define PIECE 4096u                /* room for a buffer in any form */
#define PFNS  (4 * BUFFER_PAGES)   /* virtio's: one behind the other, as the tracker's stream */
#define KICK  16u                  /* buffers that come with one kick, where several do */
#define START UINT64_C(1000000000) /* when drivers come; requests of Hyper-V are due later */
#define NOW   (2 * START)

struct transport {
    const char *name;
    uint32_t features;
    size_t piece; /* bytes from buffer to buffer */
    void (*open)(balloon_device *device);
    void (*pack)(unsigned char *piece, const uint32_t *pfns, bool last);
    uint32_t kick; /* buffers in each call of these two */
    void (*inflate)(balloon_device *device, unsigned char *pieces);
    void (*deflate)(balloon_device *device, unsigned char *pieces);
};

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}
#define MUST(call) must((call) == BALLOON_OK, #call)

/* --- virtio ------------------------------------------------------------------------------- */

static void virtio_open(balloon_device *device)
{
    MUST(balloon_virtio_set_features(device, balloon_virtio_features(device)));
    MUST(balloon_virtio_driver_ok(device, 0, START));
}

static void virtio_pack(unsigned char *piece, const uint32_t *pfns, bool last)
{
    (void)last;
    balloon_virtio_write_pfns(pfns, BUFFER_PAGES, BALLOON_LITTLE_ENDIAN, piece, PFNS);
}

static void virtio_send(balloon_device *device, const unsigned char *piece, uint32_t queue)
{
    balloon_iov iov = {piece, PFNS};
    balloon_virtio_buffer buffer = {.readable = &iov, .readable_count = 1};

    MUST(balloon_virtio_receive(device, queue, &buffer, NOW));
}

static void virtio_send_many(balloon_device *device, const unsigned char *pieces, uint32_t queue)
{
    balloon_virtio_buffer buffers[KICK];
    balloon_status statuses[KICK];
    balloon_iov iov[KICK];

    for (uint32_t i = 0; i < KICK; i++) {
        iov[i] = (balloon_iov){pieces + i * PFNS, PFNS};
        buffers[i] = (balloon_virtio_buffer){.readable = &iov[i], .readable_count = 1};
    }
    must(balloon_virtio_receive_many(device, queue, buffers, KICK, statuses, NOW) == KICK,
         "several buffers");
    for (uint32_t i = 0; i < KICK; i++)
        MUST(statuses[i]);
}

static void virtio_inflate_many(balloon_device *device, unsigned char *pieces)
{
    virtio_send_many(device, pieces, BALLOON_QUEUE_INFLATE);
}

static void virtio_deflate_many(balloon_device *device, unsigned char *pieces)
{
    virtio_send_many(device, pieces, BALLOON_QUEUE_DEFLATE);
}

static void virtio_inflate(balloon_device *device, unsigned char *piece)
{
    virtio_send(device, piece, BALLOON_QUEUE_INFLATE);
}

static void virtio_deflate(balloon_device *device, unsigned char *piece)
{
    virtio_send(device, piece, BALLOON_QUEUE_DEFLATE);
}

/* --- VMware ------------------------------------------------------------------------------- */

static void vmware_call(balloon_device *device, const balloon_vmware_request *request,
                        unsigned char *page)
{
    balloon_vmware_frame frame;
    balloon_vmware_reply reply;

    MUST(balloon_vmware_write_request(request, BALLOON_VMWARE_64_BIT, &frame));
    MUST(balloon_vmware_call(device, &frame, BALLOON_VMWARE_64_BIT, page, page ? PIECE : 0, NOW));
    MUST(balloon_vmware_read_reply(request->command, &frame, BALLOON_VMWARE_64_BIT, &reply));
    must(reply.status == BALLOON_VMWARE_SUCCESS ||
             reply.status == BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES,
         "call of VMware");
}

static void vmware_open(balloon_device *device)
{
    balloon_vmware_options options = {.size = sizeof(options)};

    MUST(balloon_vmware_configure(device, &options));
    vmware_call(device,
                &(balloon_vmware_request){.command = BALLOON_VMWARE_START,
                                          .capabilities = BALLOON_VMWARE_CAPABILITIES_ALL},
                NULL);
    vmware_call(device, &(balloon_vmware_request){.command = BALLOON_VMWARE_GET_TARGET}, NULL);
}

static void vmware_pack(unsigned char *piece, const uint32_t *pfns, bool last)
{
    balloon_vmware_entry entries[BUFFER_PAGES];

    (void)last;
    for (uint32_t i = 0; i < BUFFER_PAGES; i++)
        entries[i] = (balloon_vmware_entry){pfns[i], 0};
    balloon_vmware_write_batch(entries, BUFFER_PAGES, piece, PIECE);
}

/* The batch page itself lies above the balloon. */
static void vmware_batch(balloon_device *device, unsigned char *piece,
                         balloon_vmware_command command)
{
    balloon_vmware_request request = {
        .command = command, .entries = BUFFER_PAGES, .pfn = UINT64_C(1) << 40};

    vmware_call(device, &request, piece);
}

static void vmware_inflate(balloon_device *device, unsigned char *piece)
{
    vmware_batch(device, piece, BALLOON_VMWARE_BATCHED_LOCK);
}

static void vmware_deflate(balloon_device *device, unsigned char *piece)
{
    vmware_batch(device, piece, BALLOON_VMWARE_BATCHED_UNLOCK);
}

/* --- Xen ---------------------------------------------------------------------------------- */

static void xen_open(balloon_device *device)
{
    balloon_xen_options options = {.size = sizeof(options)};

    MUST(balloon_xen_configure(device, &options));
}

static void xen_pack(unsigned char *piece, const uint32_t *pfns, bool last)
{
    uint64_t frames[BUFFER_PAGES];

    (void)last;
    for (uint32_t i = 0; i < BUFFER_PAGES; i++)
        frames[i] = pfns[i];
    balloon_xen_write_frames(frames, BUFFER_PAGES, BALLOON_XEN_64, piece, PIECE);
}

static void xen_move(balloon_device *device, const unsigned char *piece, uint64_t op)
{
    balloon_iov iov = {piece, 8 * BUFFER_PAGES};
    balloon_xen_reservation reservation = {
        .list = 0x1000, .extents = BUFFER_PAGES, .domain = BALLOON_XEN_DOMAIN_SELF};
    int64_t result;

    MUST(balloon_xen_memory_op(device, op, &reservation, &iov, 1, &result, NOW));
    must(result == BUFFER_PAGES, "hypercall of Xen");
}

static void xen_inflate(balloon_device *device, unsigned char *piece)
{
    xen_move(device, piece, BALLOON_XEN_DECREASE_RESERVATION);
}

static void xen_deflate(balloon_device *device, unsigned char *piece)
{
    xen_move(device, piece, BALLOON_XEN_POPULATE_PHYSMAP);
}

/* --- Hyper-V ------------------------------------------------------------------------------ */

static void hyperv_tell(balloon_device *device, const balloon_hyperv_message *message,
                        balloon_time_t now)
{
    unsigned char packet[BALLOON_HYPERV_MESSAGE_BYTES];
    size_t bytes = balloon_hyperv_encode(message, packet, sizeof(packet));

    MUST(balloon_hyperv_receive(device, packet, bytes, now));
}

static void hyperv_poll(balloon_device *device)
{
    unsigned char packet[BALLOON_HYPERV_MESSAGE_BYTES];
    balloon_action action;
    size_t used;

    while (balloon_device_poll(device, START, &action))
        if (action.type == BALLOON_ACTION_SEND)
            MUST(balloon_hyperv_write(device, packet, sizeof(packet), START, &used));
}

static void hyperv_open(balloon_device *device)
{
    balloon_hyperv_options options = {.size = sizeof(options), .start_delay = 1};
    balloon_hyperv_message version = {.type = BALLOON_HYPERV_VERSION_REQUEST};
    balloon_hyperv_message can = {.type = BALLOON_HYPERV_CAPABILITIES_REPORT};

    version.body.version.version = BALLOON_HYPERV_VERSION_2_0;
    can.body.capabilities =
        (balloon_hyperv_capabilities){.balloon = true, .hot_add = true, .max_page = UINT64_MAX};
    MUST(balloon_hyperv_configure(device, &options));
    MUST(balloon_hyperv_open(device));
    hyperv_tell(device, &version, START);
    hyperv_poll(device);
    hyperv_tell(device, &can, START);
    hyperv_poll(device);
}

/* Runs upwards, as guests make them. */
static void hyperv_pack(unsigned char *piece, const uint32_t *pfns, bool last)
{
    unsigned char packed[BUFFER_PAGES * BALLOON_HYPERV_RANGE_BYTES];
    balloon_hyperv_message message = {.type = BALLOON_HYPERV_BALLOON_RESPONSE};
    uint32_t count = 0;

    for (uint32_t i = 0; i < BUFFER_PAGES; i++)
        MUST(balloon_hyperv_pack(&(balloon_range){pfns[i], 1}, packed, &count, BUFFER_PAGES));
    message.body.ranges = (balloon_hyperv_ranges){packed, count, !last};
    balloon_hyperv_encode(&message, piece, PIECE);
}

static void hyperv_inflate(balloon_device *device, unsigned char *piece)
{
    MUST(balloon_hyperv_receive(device, piece, (size_t)(piece[2] | piece[3] << 8), NOW));
}

/* --- all ---------------------------------------------------------------------------------- */

static const struct transport transports[DEVICE_PATHS] = {
    {"virtio", BALLOON_F_STATS, PFNS, virtio_open, virtio_pack, 1, virtio_inflate, virtio_deflate},
    {"virtio gathering", BALLOON_F_MUST_TELL, PFNS, virtio_open, virtio_pack, 1, virtio_inflate,
     virtio_deflate},
    {"Hyper-V", 0, PIECE, hyperv_open, hyperv_pack, 1, hyperv_inflate, NULL},
    {"VMware", 0, PIECE, vmware_open, vmware_pack, 1, vmware_inflate, vmware_deflate},
    {"Xen", 0, PIECE, xen_open, xen_pack, 1, xen_inflate, xen_deflate},
    {"virtio by 16", BALLOON_F_STATS, PFNS, virtio_open, virtio_pack, KICK, virtio_inflate_many,
     virtio_deflate_many},
};

void device_path_open(struct device_path *path, unsigned number, uint64_t guest_pages)
{
    const struct transport *transport = &transports[number];
    balloon_region ram = {0, guest_pages, 1};
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = &ram,
                                    .region_count = 1,
                                    .features = transport->features};

    *path = (struct device_path){.name = transport->name,
                                 .transport = transport,
                                 .bytes = malloc(BUFFERS * transport->piece)};
    must(path->bytes != NULL, "memory");
    MUST(balloon_device_create(&config, &path->device));
    transport->open(path->device);
}

void device_path_close(struct device_path *path)
{
    balloon_device_destroy(path->device);
    free(path->bytes);
}

void device_path_load(struct device_path *path, const uint32_t *stream, uint32_t buffers)
{
    path->buffers = buffers;
    for (uint32_t b = 0; b < buffers; b++)
        path->transport->pack(path->bytes + b * path->transport->piece, stream + b * BUFFER_PAGES,
                              b + 1 == buffers);
}

const unsigned char *device_path_bytes(const struct device_path *path, size_t *bytes)
{
    *bytes = path->buffers * path->transport->piece;
    return path->bytes;
}

/* Returns whether a message was sent that says it was the last of several. */
static bool drain(struct device_path *path)
{
    static unsigned char packet[BALLOON_HYPERV_MESSAGE_BYTES];
    balloon_hyperv_message message;
    balloon_ack acks[KICK];
    balloon_action action;
    bool last = false;
    size_t used;

    while (balloon_device_poll(path->device, NOW, &action)) {
        path->actions++;
        path->runs += action.run_count;
        if (path->transport->kick > 1)
            path->actions += balloon_device_poll_acks(path->device, acks, KICK);
        if (action.type != BALLOON_ACTION_SEND)
            continue;
        MUST(balloon_hyperv_write(path->device, packet, sizeof(packet), NOW, &used));
        MUST(balloon_hyperv_decode(packet, used, &message));
        last = message.type == BALLOON_HYPERV_UNBALLOON_REQUEST && !message.body.ranges.more;
    }
    return last;
}

static bool is_hyperv(const struct device_path *path)
{
    return path->transport->open == hyperv_open;
}

void device_path_inflate(struct device_path *path)
{
    MUST(balloon_device_set_target(path->device, path->buffers * BUFFER_PAGES, NOW));
    drain(path);
    for (uint32_t b = 0; b < path->buffers; b += path->transport->kick) {
        path->transport->inflate(path->device, path->bytes + b * path->transport->piece);
        drain(path);
    }
    balloon_device_flush(path->device);
    drain(path);
}

void device_path_deflate(struct device_path *path)
{
    balloon_hyperv_message got = {.type = BALLOON_HYPERV_UNBALLOON_RESPONSE};

    MUST(balloon_device_set_target(path->device, 0, NOW));
    for (uint32_t b = 0; !is_hyperv(path) && b < path->buffers; b += path->transport->kick) {
        path->transport->deflate(path->device, path->bytes + b * path->transport->piece);
        drain(path);
    }
    while (is_hyperv(path) && drain(path))
        hyperv_tell(path->device, &got, NOW);
}
