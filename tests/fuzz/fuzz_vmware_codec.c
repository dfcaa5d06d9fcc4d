/* The VMware codec on registers and batch pages of a peer: what can be read can be written and is
 * read the same again, what cannot leaves no trace, and nothing outside of the bytes is touched
 * (they are an allocation of their own, for the address sanitizer to watch).
 *
 * Input: kind of message and width, command or salt, two bytes of number of entries, then bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/vmware.h>

#define HEADER 4

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum message { REQUEST, REPLY, BATCH, NEGOTIATION, MESSAGES };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const balloon_vmware_frame *frame, balloon_vmware_width width)
{
    balloon_vmware_request request;
    balloon_vmware_request again;
    balloon_vmware_request untouched;
    balloon_vmware_frame clean;
    balloon_range range;

    memset(&request, 0x5c, sizeof(request));
    memset(&untouched, 0x5c, sizeof(untouched));
    if (balloon_vmware_read_request(frame, width, &request) != BALLOON_OK) {
        CHECK(memcmp(&request, &untouched, sizeof(request)) == 0);
        return;
    }
    CHECK(balloon_vmware_is_call(frame));
    CHECK(request.entries <= BALLOON_VMWARE_BATCH_MAX);
    CHECK(request.entries == 0 || request.pfn < BALLOON_VMWARE_PFN_END);
    CHECK(balloon_vmware_allowed(request.command, BALLOON_VMWARE_CAPABILITIES_ALL));
    CHECK(balloon_vmware_write_request(&request, width, &clean) == BALLOON_OK);
    CHECK(balloon_vmware_read_request(&clean, width, &again) == BALLOON_OK);
    CHECK(again.command == request.command && again.entries == request.entries &&
          again.pfn == request.pfn && again.capabilities == request.capabilities &&
          again.limit == request.limit && again.guest == request.guest &&
          again.context == request.context && again.resource == request.resource);
    if (balloon_vmware_entry_range(request.command, request.pfn, &range) == BALLOON_OK)
        CHECK(range.first == request.pfn && range.count <= BALLOON_VMWARE_LARGE_PAGE &&
              range.first + range.count <= BALLOON_VMWARE_PFN_END);
}

static void check_reply(const balloon_vmware_frame *frame, balloon_vmware_width width,
                        balloon_vmware_command command)
{
    balloon_vmware_frame after = *frame;
    balloon_vmware_reply reply;
    balloon_vmware_reply again;

    if (balloon_vmware_read_reply(command, frame, width, &reply) != BALLOON_OK)
        return;
    CHECK((reply.capabilities & 1) == 0);
    if (balloon_vmware_write_reply(command, &reply, width, &after) != BALLOON_OK) {
        /* A status or capabilities that only a strange host would have. */
        CHECK(memcmp(&after, frame, sizeof(after)) == 0);
        CHECK(reply.status < BALLOON_VMWARE_FAILURE || reply.status > BALLOON_VMWARE_BUSY);
        return;
    }
    CHECK(after.dx == frame->dx && after.si == frame->si && after.di == frame->di);
    CHECK(balloon_vmware_read_reply(command, &after, width, &again) == BALLOON_OK);
    CHECK(again.status == reply.status && again.target == reply.target &&
          again.capabilities == reply.capabilities);
}

static void check_batch(const uint8_t *bytes, size_t size, uint32_t count)
{
    static balloon_vmware_entry entries[BALLOON_VMWARE_BATCH_MAX];
    static uint8_t written[BALLOON_VMWARE_BATCH_MAX * BALLOON_VMWARE_ENTRY_BYTES];
    bool plain = true;
    size_t needed;

    if (balloon_vmware_read_batch(bytes, size, count, entries) != BALLOON_OK) {
        CHECK(count < 1 || count > BALLOON_VMWARE_BATCH_MAX || size < (size_t)count * 8);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        CHECK(entries[i].pfn < BALLOON_VMWARE_PFN_END && entries[i].status < 32);
        plain = plain && entries[i].status <= BALLOON_VMWARE_BUSY;
    }
    needed = balloon_vmware_write_batch(entries, count, written, sizeof(written));
    CHECK(needed == (plain ? (size_t)count * 8 : 0));
    for (size_t i = 0; i < needed; i++) { /* All but the reserved bits 5 to 11. */
        uint8_t kept = i % 8 == 0 ? 0x1f : i % 8 == 1 ? 0xf0 : 0xff;

        CHECK(written[i] == (bytes[i] & kept));
    }
}

static void check_negotiation(const balloon_vmware_frame *frame, balloon_vmware_width width)
{
    balloon_vmware_reply reply;
    balloon_vmware_frame after = *frame;
    balloon_vmware_reply again;

    balloon_vmware_answer_start(frame->bx, frame->cx, &reply);
    CHECK((reply.capabilities & ~(frame->bx & frame->cx)) == 0);
    if (balloon_vmware_write_reply(BALLOON_VMWARE_START, &reply, width, &after) != BALLOON_OK) {
        CHECK(width == BALLOON_VMWARE_32_BIT && reply.capabilities > UINT32_MAX);
        return;
    }
    CHECK(balloon_vmware_read_reply(BALLOON_VMWARE_START, &after, width, &again) == BALLOON_OK);
    CHECK(again.status == reply.status && again.capabilities == reply.capabilities);
    CHECK(balloon_vmware_negotiate(frame->bx, again.capabilities) == reply.capabilities);
    CHECK(balloon_vmware_clamp_target(frame->si, width, reply.capabilities) <= frame->si);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    balloon_vmware_width width;
    balloon_vmware_frame frame;
    balloon_status status;
    uint8_t written[BALLOON_VMWARE_FRAME_BYTES];
    uint8_t *bytes;
    size_t count;

    if (size < HEADER)
        return 0;
    width = data[0] & 0x80 ? BALLOON_VMWARE_32_BIT : BALLOON_VMWARE_64_BIT;
    count = size - HEADER;
    bytes = malloc(count);
    CHECK(bytes != NULL || count == 0);
    if (count > 0)
        memcpy(bytes, data + HEADER, count);

    if ((data[0] & 0x7f) % MESSAGES == BATCH) {
        check_batch(bytes, count, (uint32_t)data[2] | (uint32_t)data[3] << 8);
    } else {
        size_t exact = width == BALLOON_VMWARE_32_BIT ? 24 : 48;

        status = balloon_vmware_read_frame(bytes, count, width, &frame);
        CHECK((status == BALLOON_OK) == (count == exact));
        if (status == BALLOON_OK) {
            CHECK(balloon_vmware_write_frame(&frame, width, written, sizeof(written)) == exact);
            CHECK(memcmp(written, bytes, exact) == 0);
            switch ((data[0] & 0x7f) % MESSAGES) {
            case REQUEST:
                check_request(&frame, width);
                break;
            case REPLY:
                check_reply(&frame, width, (balloon_vmware_command)data[1]);
                break;
            default:
                check_negotiation(&frame, width);
            }
        }
    }
    free(bytes);
    return 0;
}
