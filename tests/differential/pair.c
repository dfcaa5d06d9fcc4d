/* The pair's life, queues and guest memory. */
#include "pair.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "rig.h"

enum { PAGE = 4096, MAX_REGIONS = 8 };

void pair_say(struct pair *p, const char *format, ...)
{
    va_list args;
    size_t room = sizeof p->log - p->log_used;

    va_start(args, format);
    int n = vsnprintf(p->log + p->log_used, room, format, args);
    va_end(args);
    p->log_used += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

int pair_queue(const struct pair *p, balloon_virtio_queue kind)
{
    uint32_t offered = (uint32_t)p->offered & BALLOON_F_ALL;
    return balloon_virtio_queue_index(BALLOON_QUEUES_BY_OFFER, offered, offered, kind);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* A page of data never begins nor ends in zeros. */
static void fill_page(struct pair *p, uint32_t page)
{
    uint64_t words[PAGE / 8];

    for (uint64_t i = 0; i < PAGE / 8; i++)
        words[i] = (((uint64_t)page << 16 | i) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
    memcpy(p->qemu.ram + (size_t)page * PAGE, words, PAGE);
    memcpy(p->ram + (size_t)page * PAGE, words, PAGE);
    p->zero[page] = false;
}

static bool is_zero(const uint8_t *ram, uint32_t page)
{
    uint64_t first, last;

    memcpy(&first, ram + (size_t)page * PAGE, 8);
    memcpy(&last, ram + (size_t)page * PAGE + PAGE - 8, 8);
    return !first && !last;
}

void pair_compare_memory(struct pair *p)
{
    for (uint32_t i = 0; i < MMIO_WINDOW_FIRST; i++) {
        bool qemu = is_zero(p->qemu.ram, i), ours = is_zero(p->ram, i);

        if (p->qemu_would[i] == p->ours_would[i]) {
            AGREE(p, qemu == ours, "page %#x is zero in QEMU %d, in ours %d", i, qemu, ours);
        } else {
            bool qemu_should = p->zero[i] || p->qemu_would[i];
            bool ours_should = p->zero[i] || p->ours_would[i];
            AGREE(p, qemu == qemu_should && ours == ours_should,
                  "%s: page %#x is zero in QEMU %d and should be %d, in ours %d and should be %d",
                  difference_rows[p->cause[i]].name, i, qemu, qemu_should, ours, ours_should);
            p->seen[p->cause[i]] += qemu != ours;
        }
        p->discarded += qemu && !p->zero[i];
        p->zero[i] = qemu;
        if (qemu != ours)
            fill_page(p, i);
    }
    memset(p->qemu_would, 0, sizeof p->qemu_would);
    memset(p->ours_would, 0, sizeof p->ours_would);
    memset(p->cause, SAME, sizeof p->cause);
}

void pair_touch(struct pair *p, uint32_t first, uint32_t count)
{
    pair_say(p, "touch %#x + %u\n", first, count);
    for (uint32_t i = first; i < first + count && i < MMIO_WINDOW_FIRST; i++)
        if (p->is_ram[i])
            fill_page(p, i);
}

/* --- our device ------------------------------------------------------------------------------- */

static void discard(struct pair *p, const balloon_run *run)
{
    balloon_range r = run->range;

    AGREE(p, r.first < QEMU_PAGES && r.count <= QEMU_PAGES - r.first, "discard of %#llx + %#llx",
          (unsigned long long)r.first, (unsigned long long)r.count);
    memset(p->ram + r.first * PAGE, 0, (size_t)r.count * PAGE);
}

void pair_poll(struct pair *p)
{
    balloon_action action;

    while (balloon_device_poll(p->device, p->now, &action)) {
        if (action.type == BALLOON_ACTION_DISCARD) {
            for (uint32_t i = 0; i < action.run_count; i++)
                discard(p, &action.runs[i]);
        } else if (action.type == BALLOON_ACTION_ACK) {
            AGREE(p, p->ack_count < 64, "%u acknowledgements", p->ack_count);
            p->acks[p->ack_count++] =
                (struct mmio_used){(uint32_t)action.cookie, action.used_bytes};
        } else if (action.type == BALLOON_ACTION_CONFIG_IRQ) {
            p->config_irqs++;
        }
    }
}

static void receive(struct pair *p, unsigned queue, const struct mmio_buffer *b, bool negotiated)
{
    balloon_iov readable[MMIO_PIECES];
    balloon_virtio_span writable[MMIO_PIECES];
    balloon_virtio_buffer buffer = {.cookie = b->head, .readable = readable, .writable = writable};

    for (unsigned i = 0; i < b->pieces; i++) {
        const struct mmio_piece *piece = &b->piece[i];
        if (piece->writable)
            writable[buffer.writable_count++] = (balloon_virtio_span){piece->address, piece->bytes};
        else
            readable[buffer.readable_count++] =
                (balloon_iov){p->qemu.ram + piece->address, piece->bytes};
    }
    balloon_status status = balloon_virtio_receive(p->device, queue, &buffer, p->now);
    if (negotiated)
        AGREE(p, status == BALLOON_OK || status == BALLOON_ERR_PROTOCOL, "receive: %s",
              balloon_status_text(status));
    else
        AGREE(p, status == BALLOON_ERR_PROTOCOL, "receive on a queue that was not chosen: %s",
              balloon_status_text(status));
}

static bool negotiated(const struct pair *p, balloon_virtio_queue kind)
{
    static const uint32_t needs[] = {0, 0, BALLOON_F_STATS, BALLOON_F_HINTING, BALLOON_F_REPORTING};
    return (p->chosen & needs[kind]) == needs[kind];
}

/* Send buffers to both, without comparing yet. */
void pair_send(struct pair *p, balloon_virtio_queue kind, struct mmio_buffer *buffers,
               unsigned count, bool poll_each)
{
    unsigned queue = (unsigned)pair_queue(p, kind);

    p->buffers += count;
    p->ack_count = 0;
    mmio_send(&p->mmio, queue, buffers, count);
    for (unsigned i = 0; i < count; i++) {
        receive(p, queue, &buffers[i], negotiated(p, kind));
        if (poll_each)
            pair_poll(p);
    }
    pair_poll(p);
}

/* Both give all buffers back in their order, with used length 0. */
static void compare_acks(struct pair *p, balloon_virtio_queue kind,
                         const struct mmio_buffer *buffers, unsigned count)
{
    struct mmio_used used[MMIO_BURST + 1];
    unsigned n =
        mmio_take_used(&p->mmio, (unsigned)pair_queue(p, kind), used, MMIO_BURST + 1, count);

    AGREE(p, n == count, "QEMU gives back %u buffers of %u", n, count);
    AGREE(p, p->ack_count == count, "ours gives back %u buffers of %u", p->ack_count, count);
    for (unsigned i = 0; i < count; i++) {
        AGREE(p, used[i].head == buffers[i].head && used[i].bytes == 0,
              "QEMU gives back buffer %u, length %u", used[i].head, used[i].bytes);
        AGREE(p, p->acks[i].head == used[i].head && p->acks[i].bytes == used[i].bytes,
              "ours gives back buffer %u, length %u", p->acks[i].head, p->acks[i].bytes);
    }
}

/* --- queues ----------------------------------------------------------------------------------- */

static void note_pfn(struct pair *p, uint32_t pfn, bool inflate)
{
    if (pfn >= MMIO_WINDOW_FIRST || !p->is_ram[pfn])
        return;
    if (inflate) {
        p->qemu_would[pfn] = true;
        if (p->held[pfn])
            p->cause[pfn] = REDISCARD;
        else
            p->ours_would[pfn] = true;
    }
    p->held[pfn] = inflate;
}

void pair_send_pfns(struct pair *p, bool inflate, struct mmio_buffer *buffers, unsigned count,
                    bool poll_each)
{
    balloon_virtio_queue kind = inflate ? BALLOON_QUEUE_INFLATE : BALLOON_QUEUE_DEFLATE;

    for (unsigned b = 0; b < count; b++) {
        uint32_t pfn = 0;
        unsigned have = 0;
        for (unsigned i = 0; i < buffers[b].pieces; i++) {
            const struct mmio_piece *piece = &buffers[b].piece[i];
            for (uint32_t at = 0; !piece->writable && at < piece->bytes; at++) {
                pfn |= (uint32_t)p->qemu.ram[piece->address + at] << 8 * have;
                if (++have == 4) {
                    note_pfn(p, pfn, inflate);
                    have = 0;
                    pfn = 0;
                }
            }
        }
    }
    pair_send(p, kind, buffers, count, poll_each);
    compare_acks(p, kind, buffers, count);
    pair_compare_memory(p);
}

static void note_report(struct pair *p, const struct mmio_piece *piece)
{
    bool has_poison = (p->chosen & BALLOON_F_POISON) != 0;
    bool accepted = negotiated(p, BALLOON_QUEUE_REPORT);
    bool aligned = ((piece->address | piece->bytes) & (PAGE - 1)) == 0;
    bool qemu = aligned && !p->qemu_config.poison;
    bool ours =
        accepted && (!has_poison || (p->our_config.poison_written && !p->our_config.poison));
    uint64_t first = (piece->address + PAGE - 1) / PAGE;
    uint64_t end = (piece->address + piece->bytes) / PAGE;
    enum difference cause = SAME;

    if (qemu != ours) {
        if (!accepted)
            cause = QUEUE_UNNEGOTIATED;
        else if (ours && !p->qemu_config.poison)
            cause = REPORT_UNALIGNED;
        else if (p->qemu_config.poison != p->our_config.poison)
            cause = p->poison_cause;
        else
            cause = POISON_UNWRITTEN;
    }
    for (uint64_t i = first; i < end && i < MMIO_WINDOW_FIRST; i++) {
        if (!p->is_ram[i])
            continue;
        p->qemu_would[i] |= qemu;
        p->ours_would[i] |= ours;
        if (cause != SAME)
            p->cause[i] = (uint8_t)cause;
    }
}

void pair_send_reports(struct pair *p, struct mmio_buffer *buffers, unsigned count, bool poll_each)
{
    for (unsigned b = 0; b < count; b++)
        for (unsigned i = 0; i < buffers[b].pieces; i++)
            if (buffers[b].piece[i].writable)
                note_report(p, &buffers[b].piece[i]);
    pair_send(p, BALLOON_QUEUE_REPORT, buffers, count, poll_each);
    compare_acks(p, BALLOON_QUEUE_REPORT, buffers, count);
    pair_compare_memory(p);
}

void pair_send_hints(struct pair *p, struct mmio_buffer *buffers, unsigned count, bool poll_each)
{
    pair_send(p, BALLOON_QUEUE_HINT, buffers, count, poll_each);
    compare_acks(p, BALLOON_QUEUE_HINT, buffers, count);
    pair_compare_memory(p);
}

/* --- life ------------------------------------------------------------------------------------- */

/* QEMU's machine has ROM over some pages. What cannot be seen through the guest's address space
 * is not RAM. */
static void find_ram(struct pair *p)
{
    for (uint32_t i = 0; i < QEMU_PAGES; i++) {
        uint32_t here;
        fill_page(p, i);
        memcpy(&here, p->qemu.ram + (size_t)i * PAGE, 4);
        p->is_ram[i] = qemu_read(&p->qemu, (uint64_t)i * PAGE, 4) == here;
    }
}

static void make_device(struct pair *p, const struct qemu_setup *setup)
{
    balloon_region regions[MAX_REGIONS];
    balloon_device_config config = {
        .size = sizeof config, .regions = regions, .target_align = 1, .run_batch = 16};
    balloon_virtio_options options = {.size = sizeof options, .legacy_only = setup->legacy};

    config.features =
        BALLOON_F_STATS | BALLOON_F_DEFLATE_ON_OOM | (setup->reporting ? BALLOON_F_REPORTING : 0) |
        (setup->poison ? BALLOON_F_POISON : 0) | (setup->hinting ? BALLOON_F_HINTING : 0);
    for (uint32_t i = 0; i < QEMU_PAGES;) {
        uint32_t first = i;
        while (i < QEMU_PAGES && p->is_ram[i] == p->is_ram[first])
            i++;
        if (!p->is_ram[first])
            continue;
        cr_assert(config.region_count < MAX_REGIONS, "QEMU's memory is in too many parts");
        regions[config.region_count++] =
            (balloon_region){.first = first, .count = i - first, .granule = 1};
    }
    p->device = rig_make(&config, &p->memory);
    cr_assert(balloon_virtio_configure(p->device, &options) == BALLOON_OK);
    p->config_bytes = balloon_virtio_config_bytes(p->device);
}

void pair_start(struct pair *p, const struct qemu_setup *setup)
{
    const uint64_t balloon = BALLOON_F_ALL | (setup->legacy ? 0 : BALLOON_VIRTIO_F_VERSION_1);

    memset(p, 0, sizeof *p);
    qemu_start(&p->qemu, setup);
    p->mmio = (struct mmio){.qemu = &p->qemu, .legacy = setup->legacy};
    p->ram = mmap(NULL, QEMU_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(p->ram != MAP_FAILED);
    find_ram(p);
    make_device(p, setup);
    p->offered = balloon_virtio_features(p->device);
    uint64_t theirs = mmio_offered(&p->mmio) & balloon;
    cr_assert(theirs == p->offered, "QEMU offers %#llx, ours %#llx", (unsigned long long)theirs,
              (unsigned long long)p->offered);
}

void pair_end(struct pair *p)
{
    qemu_end(&p->qemu);
    munmap(p->ram, QEMU_BYTES);
    free(p->memory);
}

void pair_reset(struct pair *p)
{
    pair_say(p, "reset\n");
    mmio_reset(&p->mmio);
    balloon_device_reset(p->device);
    pair_poll(p);
    p->driver = p->version_1 = false;
    p->chosen = 0;
    p->ack_count = p->config_irqs = 0;
    memset(p->held, 0, sizeof p->held);
    pair_reset_config(p);
    pair_check_stats_after_reset(p);
    pair_compare_memory(p);
}

void pair_choose(struct pair *p, uint64_t features)
{
    uint64_t legal = features & p->offered;

    pair_say(p, "features %#llx\n", (unsigned long long)features);
    mmio_choose(&p->mmio, features);
    balloon_status status = balloon_virtio_set_features(p->device, features);
    if (features != legal) {
        /* QEMU has taken what it offered of them, so that is what ours goes on with. */
        AGREE(p, status == BALLOON_ERR_PROTOCOL, "features: %s", balloon_status_text(status));
        p->seen[FEATURES_UNOFFERED]++;
        status = balloon_virtio_set_features(p->device, legal);
    }
    AGREE(p, status == BALLOON_OK, "features: %s", balloon_status_text(status));
    p->chosen = (uint32_t)legal & BALLOON_F_ALL;
    p->version_1 = (legal & BALLOON_VIRTIO_F_VERSION_1) != 0;
    pair_choose_config(p);
}

void pair_start_driver(struct pair *p, unsigned queues, uint16_t ring_size)
{
    pair_say(p, "driver with queues %#x of %u\n", queues, ring_size);
    mmio_start(&p->mmio, queues, ring_size);
    balloon_status status = balloon_virtio_driver_ok(p->device, queues, p->now);
    AGREE(p, status == BALLOON_OK, "driver_ok: %s", balloon_status_text(status));
    p->driver = true;
    pair_poll(p);
    for (unsigned i = 0; i < MMIO_QUEUES; i++) {
        struct mmio_used used;
        unsigned n = mmio_take_used(&p->mmio, i, &used, 1, 0);
        AGREE(p, n == 0, "QEMU gives back a buffer of queue %u that was not sent", i);
    }
    p->config_irqs = 0;
    (void)mmio_interrupts(&p->mmio);
}

void pair_begin_script(struct pair *p, unsigned long script)
{
    p->script = script;
    p->log_used = 0;
    p->log[0] = '\0';
    p->now += UINT64_C(10000000000);
    pair_reset(p);
    for (uint32_t i = 0; i < MMIO_WINDOW_FIRST; i++)
        if (p->is_ram[i] && p->zero[i])
            fill_page(p, i);
}

void pair_end_script(struct pair *p)
{
    const char *why = NULL;

    for (uint32_t i = 0; i < MMIO_WINDOW_FIRST; i++)
        if (p->is_ram[i])
            AGREE(p, memcmp(p->qemu.ram + (size_t)i * PAGE, p->ram + (size_t)i * PAGE, PAGE) == 0,
                  "page %#x differs", i);
    AGREE(p, balloon_device_check(p->device, &why), "our device is broken: %s", why);
}
