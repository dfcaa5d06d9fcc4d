#include <string.h>

#include <balloon/vmware.h>

#include "../core/bytes.h"

/* --- Commands -------------------------------------------------------------------------------- */

/* What the first argument of a command is. */
enum argument {
    ARGUMENT_NONE, /* No such command. */
    ARGUMENT_CAPABILITIES,
    ARGUMENT_LIMIT,
    ARGUMENT_PAGE,
    ARGUMENT_GUEST,
    ARGUMENT_BATCH,
    ARGUMENT_DOORBELL
};

struct command {
    unsigned char argument;
    unsigned char needs;       /* Capability that it comes with, or 0. */
    unsigned short entry_size; /* Pages that a page number stands for, or 0. */
};

static const struct command commands[] = {
    [BALLOON_VMWARE_START] = {ARGUMENT_CAPABILITIES, 0, 0},
    [BALLOON_VMWARE_GET_TARGET] = {ARGUMENT_LIMIT, 0, 0},
    [BALLOON_VMWARE_LOCK] = {ARGUMENT_PAGE, BALLOON_VMWARE_BASIC, 1},
    [BALLOON_VMWARE_UNLOCK] = {ARGUMENT_PAGE, BALLOON_VMWARE_BASIC, 1},
    [BALLOON_VMWARE_SET_GUEST] = {ARGUMENT_GUEST, 0, 0},
    [BALLOON_VMWARE_BATCHED_LOCK] = {ARGUMENT_BATCH, BALLOON_VMWARE_BATCHED, 1},
    [BALLOON_VMWARE_BATCHED_UNLOCK] = {ARGUMENT_BATCH, BALLOON_VMWARE_BATCHED, 1},
    [BALLOON_VMWARE_BATCHED_2M_LOCK] = {ARGUMENT_BATCH, BALLOON_VMWARE_BATCHED_2M,
                                        BALLOON_VMWARE_LARGE_PAGE},
    [BALLOON_VMWARE_BATCHED_2M_UNLOCK] = {ARGUMENT_BATCH, BALLOON_VMWARE_BATCHED_2M,
                                          BALLOON_VMWARE_LARGE_PAGE},
    [BALLOON_VMWARE_SET_DOORBELL] = {ARGUMENT_DOORBELL, BALLOON_VMWARE_DOORBELL, 0},
};

static struct command look_up(uint64_t number)
{
    static const struct command none = {ARGUMENT_NONE, 0, 0};

    return number < sizeof(commands) / sizeof(commands[0]) ? commands[number] : none;
}

static bool has_target(struct command command)
{
    return command.argument == ARGUMENT_LIMIT || command.entry_size > 0;
}

/* --- Registers ------------------------------------------------------------------------------- */

static size_t register_size(balloon_vmware_width width)
{
    return width == BALLOON_VMWARE_32_BIT ? 4 : 8;
}

static uint64_t register_max(balloon_vmware_width width)
{
    return width == BALLOON_VMWARE_32_BIT ? UINT32_MAX : UINT64_MAX;
}

balloon_status balloon_vmware_read_frame(const void *bytes, size_t size, balloon_vmware_width width,
                                         balloon_vmware_frame *frame)
{
    unsigned char copy[BALLOON_VMWARE_FRAME_BYTES];
    size_t each = register_size(width);

    if (size != 6 * each)
        return BALLOON_ERR_PROTOCOL;
    bl_copy_in(copy, bytes, size);
    frame->ax = bl_get_le(copy, each);
    frame->bx = bl_get_le(copy + each, each);
    frame->cx = bl_get_le(copy + 2 * each, each);
    frame->dx = bl_get_le(copy + 3 * each, each);
    frame->si = bl_get_le(copy + 4 * each, each);
    frame->di = bl_get_le(copy + 5 * each, each);
    return BALLOON_OK;
}

size_t balloon_vmware_write_frame(const balloon_vmware_frame *frame, balloon_vmware_width width,
                                  void *buffer, size_t bytes)
{
    unsigned char *to = buffer;
    size_t each = register_size(width);

    if (bytes < 6 * each)
        return 6 * each;
    bl_put_le(to, each, frame->ax);
    bl_put_le(to + each, each, frame->bx);
    bl_put_le(to + 2 * each, each, frame->cx);
    bl_put_le(to + 3 * each, each, frame->dx);
    bl_put_le(to + 4 * each, each, frame->si);
    bl_put_le(to + 5 * each, each, frame->di);
    return 6 * each;
}

bool balloon_vmware_is_call(const balloon_vmware_frame *frame)
{
    return (uint32_t)frame->ax == BALLOON_VMWARE_MAGIC &&
           (uint16_t)frame->dx == BALLOON_VMWARE_PORT;
}

/* --- Requests -------------------------------------------------------------------------------- */

static bool is_batch(balloon_pfn_t page, uint32_t entries)
{
    return page < BALLOON_VMWARE_PFN_END && entries >= 1 && entries <= BALLOON_VMWARE_BATCH_MAX;
}

balloon_status balloon_vmware_read_request(const balloon_vmware_frame *frame,
                                           balloon_vmware_width width,
                                           balloon_vmware_request *request)
{
    uint64_t first = frame->bx & register_max(width);
    uint32_t second = (uint32_t)frame->si;
    uint16_t number = (uint16_t)frame->cx;
    balloon_vmware_request found;

    if (!balloon_vmware_is_call(frame))
        return BALLOON_ERR_PROTOCOL;
    memset(&found, 0, sizeof(found));
    switch (look_up(number).argument) {
    case ARGUMENT_CAPABILITIES:
        found.capabilities = first;
        break;
    case ARGUMENT_LIMIT:
        found.limit = first;
        break;
    case ARGUMENT_PAGE: /* The second argument is 1 from Linux, 0 from others. */
        found.pfn = first;
        break;
    case ARGUMENT_GUEST:
        if (first > UINT32_MAX)
            return BALLOON_ERR_PROTOCOL;
        found.guest = (uint32_t)first;
        break;
    case ARGUMENT_BATCH:
        if (!is_batch(first, second))
            return BALLOON_ERR_PROTOCOL;
        found.pfn = first;
        found.entries = second;
        break;
    case ARGUMENT_DOORBELL: /* Linux extends "no ID" to all ones in 64 bits. */
        found.context = (uint32_t)first;
        found.resource = second;
        break;
    default:
        return BALLOON_ERR_PROTOCOL;
    }
    found.command = (balloon_vmware_command)number;
    *request = found;
    return BALLOON_OK;
}

static uint64_t extend_id(uint32_t id, balloon_vmware_width width)
{
    return id == BALLOON_VMWARE_NO_ID ? register_max(width) : id;
}

balloon_status balloon_vmware_write_request(const balloon_vmware_request *request,
                                            balloon_vmware_width width, balloon_vmware_frame *frame)
{
    uint64_t first;
    uint64_t second = 0;

    switch (look_up((uint64_t)request->command).argument) {
    case ARGUMENT_CAPABILITIES:
        first = request->capabilities;
        break;
    case ARGUMENT_LIMIT:
        first = request->limit;
        break;
    case ARGUMENT_PAGE:
        first = request->pfn;
        break;
    case ARGUMENT_GUEST:
        first = request->guest;
        break;
    case ARGUMENT_BATCH:
        if (!is_batch(request->pfn, request->entries))
            return BALLOON_ERR_INVALID;
        first = request->pfn;
        second = request->entries;
        break;
    case ARGUMENT_DOORBELL: /* As Linux does, in case a host compares more than 32 bits. */
        first = extend_id(request->context, width);
        second = extend_id(request->resource, width);
        break;
    default:
        return BALLOON_ERR_INVALID;
    }
    if (first > register_max(width))
        return BALLOON_ERR_INVALID;
    frame->ax = BALLOON_VMWARE_MAGIC;
    frame->bx = first;
    frame->cx = (uint64_t)request->command;
    frame->dx = BALLOON_VMWARE_PORT;
    frame->si = second;
    frame->di = 0;
    return BALLOON_OK;
}

/* --- Replies --------------------------------------------------------------------------------- */

static int32_t to_signed(uint32_t value)
{
    return value <= INT32_MAX ? (int32_t)value : -1 - (int32_t)(UINT32_MAX - value);
}

balloon_status balloon_vmware_read_reply(balloon_vmware_command command,
                                         const balloon_vmware_frame *frame,
                                         balloon_vmware_width width, balloon_vmware_reply *reply)
{
    struct command known = look_up((uint64_t)command);
    uint64_t granted = 0;
    int32_t status = to_signed((uint32_t)frame->ax);

    if (known.argument == ARGUMENT_NONE)
        return BALLOON_ERR_INVALID;
    if (command == BALLOON_VMWARE_START && status == BALLOON_VMWARE_SUCCESS) {
        granted = BALLOON_VMWARE_BASIC;
    } else if (command == BALLOON_VMWARE_START &&
               status == BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES) {
        granted = frame->cx & register_max(width);
        if (granted & 1)
            return BALLOON_ERR_PROTOCOL;
    }
    reply->status = status;
    reply->target = has_target(known) ? frame->bx & register_max(width) : 0;
    reply->capabilities = granted;
    return BALLOON_OK;
}

/* Whether a host may answer a command like this. */
static bool is_reply(balloon_vmware_command command, const balloon_vmware_reply *reply,
                     balloon_vmware_width width)
{
    uint64_t granted = reply->capabilities;

    if (has_target(look_up((uint64_t)command)) && reply->target > register_max(width))
        return false;
    if (reply->status == BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES)
        return command == BALLOON_VMWARE_START && granted <= register_max(width) &&
               balloon_vmware_negotiate(granted, granted) == granted;
    if (reply->status == BALLOON_VMWARE_SUCCESS)
        return command != BALLOON_VMWARE_START || granted == BALLOON_VMWARE_BASIC;
    return reply->status >= BALLOON_VMWARE_FAILURE && reply->status <= BALLOON_VMWARE_BUSY;
}

balloon_status balloon_vmware_write_reply(balloon_vmware_command command,
                                          const balloon_vmware_reply *reply,
                                          balloon_vmware_width width, balloon_vmware_frame *frame)
{
    if (!is_reply(command, reply, width))
        return BALLOON_ERR_INVALID;
    /* Not sign-extended: Linux compares all 64 bits. */
    frame->ax = (uint32_t)reply->status;
    if (has_target(look_up((uint64_t)command)))
        frame->bx = reply->target;
    /* BASIC is also the number of the version that guests before capabilities look for. */
    if (command == BALLOON_VMWARE_START &&
        (reply->status == BALLOON_VMWARE_SUCCESS ||
         reply->status == BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES))
        frame->cx = reply->capabilities;
    return BALLOON_OK;
}

/* --- Negotiation ----------------------------------------------------------------------------- */

uint64_t balloon_vmware_negotiate(uint64_t a, uint64_t b)
{
    uint64_t common = a & b & ~(uint64_t)1;

    /* open-vm-tools looks at the bit for 2 MiB alone. */
    if (!(common & BALLOON_VMWARE_BATCHED))
        common &= ~(uint64_t)BALLOON_VMWARE_BATCHED_2M;
    return common;
}

void balloon_vmware_answer_start(uint64_t offered, uint64_t supported, balloon_vmware_reply *reply)
{
    reply->capabilities = balloon_vmware_negotiate(offered, supported);
    reply->target = 0;
    if (!reply->capabilities)
        reply->status = BALLOON_VMWARE_CMD_INVALID;
    else if (reply->capabilities == BALLOON_VMWARE_BASIC)
        reply->status = BALLOON_VMWARE_SUCCESS;
    else
        reply->status = BALLOON_VMWARE_SUCCESS_WITH_CAPABILITIES;
}

bool balloon_vmware_allowed(balloon_vmware_command command, uint64_t granted)
{
    struct command known = look_up((uint64_t)command);

    return known.argument != ARGUMENT_NONE && (known.needs & ~granted) == 0;
}

uint64_t balloon_vmware_clamp_target(uint64_t pages, balloon_vmware_width width, uint64_t granted)
{
    bool wide = width != BALLOON_VMWARE_32_BIT && (granted & BALLOON_VMWARE_WIDE_TARGET);

    return wide || pages <= UINT32_MAX ? pages : UINT32_MAX;
}

/* --- Batches --------------------------------------------------------------------------------- */

#define STATUS_MASK 0x1f

balloon_status balloon_vmware_read_batch(const void *page, size_t bytes, uint32_t count,
                                         balloon_vmware_entry *entries)
{
    const unsigned char *from = page;

    if (count < 1 || count > BALLOON_VMWARE_BATCH_MAX || bytes / BALLOON_VMWARE_ENTRY_BYTES < count)
        return BALLOON_ERR_PROTOCOL;
    for (uint32_t i = 0; i < count; i++) {
        unsigned char copy[BALLOON_VMWARE_ENTRY_BYTES];
        uint64_t word;

        bl_copy_in(copy, from + (size_t)i * sizeof(copy), sizeof(copy));
        word = bl_get_le(copy, sizeof(copy));
        entries[i].pfn = word >> BALLOON_PAGE_SHIFT;
        entries[i].status = (uint32_t)word & STATUS_MASK;
    }
    return BALLOON_OK;
}

size_t balloon_vmware_write_batch(const balloon_vmware_entry *entries, uint32_t count, void *page,
                                  size_t bytes)
{
    unsigned char *to = page;

    if (count < 1 || count > BALLOON_VMWARE_BATCH_MAX)
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].pfn >= BALLOON_VMWARE_PFN_END || entries[i].status > BALLOON_VMWARE_BUSY)
            return 0;
    }
    if (bytes / BALLOON_VMWARE_ENTRY_BYTES >= count) {
        for (uint32_t i = 0; i < count; i++)
            bl_put_le(to + (size_t)i * BALLOON_VMWARE_ENTRY_BYTES, BALLOON_VMWARE_ENTRY_BYTES,
                      entries[i].pfn << BALLOON_PAGE_SHIFT | entries[i].status);
    }
    return (size_t)count * BALLOON_VMWARE_ENTRY_BYTES;
}

balloon_status balloon_vmware_entry_range(balloon_vmware_command command, balloon_pfn_t pfn,
                                          balloon_range *range)
{
    uint64_t size = look_up((uint64_t)command).entry_size;

    if (size == 0)
        return BALLOON_ERR_INVALID;
    if (pfn >= BALLOON_VMWARE_PFN_END || (pfn & (size - 1)) != 0)
        return BALLOON_ERR_PROTOCOL;
    range->first = pfn;
    range->count = size;
    return BALLOON_OK;
}
