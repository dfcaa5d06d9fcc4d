#include <string.h>

#include "hyperv_sample.h"

void hyperv_put(unsigned char *bytes, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
}

static void put_list(struct prng *prng, struct hyperv_sample *sample, balloon_hyperv_ranges *ranges)
{
    ranges->packed = sample->list;
    ranges->count = (uint32_t)prng_below(prng, HYPERV_SAMPLE_RANGES + 1);
    ranges->more = prng_one_in(prng, 2);
    for (size_t i = 0; i < ranges->count; i++)
        hyperv_put(sample->list + i * 8, 8, prng_next(prng));
    sample->count = sample->head + ranges->count * 8;
    memcpy(sample->bytes + sample->head, sample->list, ranges->count * 8);
}

static balloon_range random_range(struct prng *prng)
{
    return (balloon_range){prng_next(prng) >> 24, prng_next(prng) >> 40};
}

struct hyperv_sample hyperv_sample_make(struct prng *prng, uint16_t type)
{
    struct hyperv_sample sample;
    balloon_hyperv_message *message = &sample.message;
    unsigned char *body = sample.bytes + 8;
    unsigned char *reserved = sample.reserved + 8;

    memset(&sample, 0, sizeof(sample));
    message->type = type;
    message->id = (uint32_t)prng_next(prng);
    sample.head = sample.count = 16;
    switch (type) {
    case BALLOON_HYPERV_ERROR:
        sample.head = 8;
        sample.count = 8 + (size_t)prng_below(prng, 40);
        for (size_t i = 8; i < sample.count; i++)
            sample.bytes[i] = sample.list[i] = (unsigned char)prng_next(prng);
        message->body.error = (balloon_iov){sample.list + 8, sample.count - 8};
        break;
    case BALLOON_HYPERV_VERSION_REQUEST:
        message->body.version.version = (uint32_t)prng_next(prng);
        message->body.version.last = prng_one_in(prng, 2);
        hyperv_put(body, 4, message->body.version.version);
        hyperv_put(body + 4, 4, message->body.version.last);
        hyperv_put(reserved + 4, 4, 0xfffffffe);
        break;
    case BALLOON_HYPERV_VERSION_RESPONSE:
        message->body.answer.accepted = prng_one_in(prng, 2);
        hyperv_put(body, 8, message->body.answer.accepted);
        hyperv_put(reserved, 8, ~(uint64_t)1);
        break;
    case BALLOON_HYPERV_CAPABILITIES_REPORT:
        message->body.capabilities.balloon = prng_one_in(prng, 2);
        message->body.capabilities.hot_add = prng_one_in(prng, 2);
        message->body.capabilities.hot_remove = prng_one_in(prng, 2);
        message->body.capabilities.alignment = (uint8_t)prng_below(prng, 16);
        message->body.capabilities.min_pages = prng_next(prng);
        message->body.capabilities.max_page = prng_next(prng);
        hyperv_put(body, 8,
                   (message->body.capabilities.balloon ? 1u : 0u) +
                       (message->body.capabilities.hot_add ? 2u : 0u) +
                       message->body.capabilities.alignment * 4u +
                       (message->body.capabilities.hot_remove ? 64u : 0u));
        hyperv_put(body + 8, 8, message->body.capabilities.min_pages);
        hyperv_put(body + 16, 8, message->body.capabilities.max_page);
        hyperv_put(reserved, 8, ~(uint64_t)0x7f);
        sample.head = sample.count = 32;
        break;
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        message->body.answer.accepted = prng_one_in(prng, 2);
        message->body.answer.hot_remove = prng_one_in(prng, 2);
        message->body.answer.suppress_reports = prng_one_in(prng, 2);
        hyperv_put(body, 8,
                   (message->body.answer.accepted ? 1u : 0u) +
                       (message->body.answer.hot_remove ? 2u : 0u) +
                       (message->body.answer.suppress_reports ? 4u : 0u));
        hyperv_put(reserved, 8, ~(uint64_t)7);
        break;
    case BALLOON_HYPERV_STATUS_REPORT:
        message->body.status = (balloon_hyperv_status){
            prng_next(prng), prng_next(prng),           prng_next(prng),
            prng_next(prng), (uint32_t)prng_next(prng), (uint32_t)prng_next(prng)};
        hyperv_put(body, 8, message->body.status.available);
        hyperv_put(body + 8, 8, message->body.status.committed);
        hyperv_put(body + 16, 8, message->body.status.page_file);
        hyperv_put(body + 24, 8, message->body.status.zero_free);
        hyperv_put(body + 32, 4, message->body.status.page_file_writes);
        hyperv_put(body + 36, 4, message->body.status.io_diff);
        sample.head = sample.count = 48;
        break;
    case BALLOON_HYPERV_BALLOON_REQUEST:
        message->body.pages = (uint32_t)prng_next(prng);
        hyperv_put(body, 4, message->body.pages);
        hyperv_put(reserved + 4, 4, UINT32_MAX);
        break;
    case BALLOON_HYPERV_BALLOON_RESPONSE:
        put_list(prng, &sample, &message->body.ranges);
        hyperv_put(body + 4, 4,
                   message->body.ranges.count * 2 + (message->body.ranges.more ? 1 : 0));
        hyperv_put(reserved, 4, UINT32_MAX);
        break;
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        put_list(prng, &sample, &message->body.ranges);
        hyperv_put(body, 4, message->body.ranges.more);
        hyperv_put(body + 4, 4, message->body.ranges.count);
        hyperv_put(reserved, 4, 0xfffffffe);
        break;
    case BALLOON_HYPERV_UNBALLOON_RESPONSE:
        sample.head = sample.count = 8;
        break;
    case BALLOON_HYPERV_HOT_ADD_REQUEST:
        message->body.hot_add.range = random_range(prng);
        message->body.hot_add.has_region = prng_one_in(prng, 2);
        hyperv_put(body, 5, message->body.hot_add.range.first);
        hyperv_put(body + 5, 3, message->body.hot_add.range.count);
        if (message->body.hot_add.has_region) {
            message->body.hot_add.region = random_range(prng);
            hyperv_put(body + 8, 5, message->body.hot_add.region.first);
            hyperv_put(body + 13, 3, message->body.hot_add.region.count);
            sample.head = sample.count = 24;
        }
        break;
    case BALLOON_HYPERV_HOT_ADD_RESPONSE:
        message->body.hot_added.pages = (uint32_t)prng_next(prng);
        message->body.hot_added.result = (uint32_t)prng_next(prng);
        hyperv_put(body, 4, message->body.hot_added.pages);
        hyperv_put(body + 4, 4, message->body.hot_added.result);
        break;
    case BALLOON_HYPERV_INFO:
        sample.head = 24;
        if (prng_one_in(prng, 2)) {
            message->body.info.max_pages = prng_next(prng);
            hyperv_put(body + 16, 8, message->body.info.max_pages);
            sample.count = 32;
        } else {
            message->body.info.type = 1 + (uint32_t)prng_below(prng, UINT32_MAX);
            sample.count = 24 + (size_t)prng_below(prng, 40);
            for (size_t i = 24; i < sample.count; i++)
                sample.bytes[i] = sample.list[i] = (unsigned char)prng_next(prng);
            message->body.info.data = (balloon_iov){sample.list + 24, sample.count - 24};
        }
        hyperv_put(body + 4, 4, sample.count - 16);
        hyperv_put(body + 8, 4, message->body.info.type);
        hyperv_put(body + 12, 4, sample.count - 24);
        hyperv_put(reserved, 4, UINT32_MAX);
        break;
    case BALLOON_HYPERV_HOT_REMOVE_REQUEST:
        message->body.hot_remove = (balloon_hyperv_hot_remove){
            (uint32_t)prng_next(prng), (uint32_t)prng_next(prng), (uint32_t)prng_below(prng, 4)};
        hyperv_put(body, 4, message->body.hot_remove.node);
        hyperv_put(body + 4, 4, message->body.hot_remove.pages);
        hyperv_put(body + 8, 4, message->body.hot_remove.qos);
        hyperv_put(reserved + 8, 8, ~(uint64_t)3);
        sample.head = sample.count = 24;
        break;
    default:
        sample.head = 24;
        put_list(prng, &sample, &message->body.hot_removed.ranges);
        message->body.hot_removed.result = (uint32_t)prng_next(prng);
        hyperv_put(body, 4, message->body.hot_removed.result);
        hyperv_put(body + 4, 4, message->body.hot_removed.ranges.count);
        hyperv_put(body + 8, 8, message->body.hot_removed.ranges.more);
        hyperv_put(reserved + 8, 8, ~(uint64_t)1);
    }
    message->bytes = (uint16_t)sample.count;
    hyperv_put(sample.bytes, 2, type);
    hyperv_put(sample.bytes + 2, 2, sample.count);
    hyperv_put(sample.bytes + 4, 4, message->id);
    return sample;
}

balloon_hyperv_message hyperv_sample_message(const struct hyperv_sample *sample)
{
    balloon_hyperv_message message = sample->message;

    switch (message.type) {
    case BALLOON_HYPERV_ERROR:
        message.body.error.base = sample->list + 8;
        break;
    case BALLOON_HYPERV_BALLOON_RESPONSE:
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        message.body.ranges.packed = sample->list;
        break;
    case BALLOON_HYPERV_INFO:
        if (message.body.info.type != BALLOON_HYPERV_INFO_MAX_PAGES)
            message.body.info.data.base = sample->list + 24;
        break;
    case BALLOON_HYPERV_HOT_REMOVE_RESPONSE:
        message.body.hot_removed.ranges.packed = sample->list;
        break;
    default:
        break;
    }
    return message;
}
