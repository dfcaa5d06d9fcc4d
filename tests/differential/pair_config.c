/* Configuration space, target and statistics of the pair. */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ACTUAL = 4, POISON = 12, QEMU_STATS = 10 };

static uint32_t load32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void store32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static void fill_space(const struct pair *p, const struct pair_config *c, uint8_t *space)
{
    store32(space, p->target);
    store32(space + ACTUAL, c->actual);
    store32(space + 8, 0);
    store32(space + POISON, p->chosen & BALLOON_F_POISON ? c->poison : 0);
}

/* Why the two may differ at an offset. */
static enum difference cause_at(const struct pair *p, unsigned offset)
{
    return offset >= POISON ? p->poison_cause : p->actual_cause;
}

/* The bus cuts an access that is not aligned into ones that are, so no access of QEMU's device
 * reaches past the end of its space. */
static unsigned part_of(unsigned offset, unsigned width)
{
    unsigned part = width;

    /* Three bytes may be left. */
    while (part & (part - 1) || offset % part)
        part -= 1;
    return part;
}

void pair_config_read(struct pair *p, unsigned offset, unsigned width)
{
    uint8_t theirs[PAIR_CONFIG_BYTES], mine[PAIR_CONFIG_BYTES], ours[4];

    pair_say(p, "config read %u at %u\n", width, offset);
    fill_space(p, &p->qemu_config, theirs);
    fill_space(p, &p->our_config, mine);
    uint32_t qemu = mmio_config_read(&p->mmio, offset, width);
    balloon_virtio_config_read(p->device, offset, ours, width);
    for (unsigned i = 0; i < width; i++) {
        unsigned at = offset + i;
        uint8_t byte = (uint8_t)(qemu >> 8 * i);

        if (at >= p->config_bytes || theirs[at] == mine[at]) {
            AGREE(p, byte == ours[i], "config byte %u is %#x in QEMU, %#x in ours", at, byte,
                  ours[i]);
            continue;
        }
        AGREE(p, byte == theirs[at] && ours[i] == mine[at],
              "%s: config byte %u is %#x in QEMU and should be %#x, %#x in ours and should be %#x",
              difference_rows[cause_at(p, at)].name, at, byte, theirs[at], ours[i], mine[at]);
        p->seen[cause_at(p, at)]++;
    }
    /* QEMU brings its cache up to date when it is read. */
    if (offset < p->config_bytes)
        memcpy(p->qemu_config.space, theirs, p->config_bytes);
}

static void qemu_takes(struct pair *p, unsigned offset, const uint8_t *bytes, unsigned width)
{
    struct pair_config *c = &p->qemu_config;

    memcpy(c->space + offset, bytes, width);
    /* Every write hands the whole cache over. */
    c->actual = load32(c->space + ACTUAL);
    uint32_t poison = p->chosen & BALLOON_F_POISON ? load32(c->space + POISON) : 0;
    if (poison != c->poison)
        p->poison_cause = offset >= POISON ? POISON_LATE : POISON_STALE;
    c->poison = poison;
}

static void ours_takes(struct pair *p, unsigned at, uint8_t value)
{
    struct pair_config *c = &p->our_config;

    if (at >= ACTUAL && at < ACTUAL + 4) {
        c->space[at] = value;
        if (at == ACTUAL + 3)
            c->actual = load32(c->space + ACTUAL);
    } else if (at >= POISON && !p->driver &&
               ((!p->chosen && !p->version_1) || p->chosen & BALLOON_F_POISON)) {
        c->space[at] = value;
        c->poison = load32(c->space + POISON);
        c->poison_written = true;
    }
}

void pair_config_write(struct pair *p, unsigned offset, unsigned width, uint32_t value)
{
    uint8_t bytes[4];

    pair_say(p, "config write %u at %u: %#x\n", width, offset, value);
    store32(bytes, value);
    if (offset < ACTUAL + 4 && offset + width > ACTUAL)
        p->actual_cause = ACTUAL_BYTES;
    for (unsigned i = 0; i < width;) {
        unsigned part = part_of(offset + i, width - i);
        if (offset + i < p->config_bytes)
            qemu_takes(p, offset + i, bytes + i, part);
        i += part;
    }
    for (unsigned i = 0; i < width && offset + i < p->config_bytes; i++)
        ours_takes(p, offset + i, bytes[i]);
    mmio_config_write(&p->mmio, offset, width, value);
    balloon_virtio_config_write(p->device, offset, bytes, width);
    pair_poll(p);
}

void pair_choose_config(struct pair *p)
{
    if (!(p->chosen & BALLOON_F_POISON)) {
        p->our_config.poison = 0;
        p->our_config.poison_written = false;
        memset(p->our_config.space + POISON, 0, 4);
    } else if (p->our_config.poison != p->qemu_config.poison) {
        p->poison_cause = POISON_EARLY;
    }
}

void pair_reset_config(struct pair *p)
{
    p->qemu_config.poison = 0;
    p->our_config = (struct pair_config){.actual = 0};
    p->actual_cause = ACTUAL_RESET;
    p->poison_cause = SAME;
}

void pair_set_target(struct pair *p, uint64_t vm_bytes)
{
    uint32_t pages = (uint32_t)((QEMU_BYTES - vm_bytes) >> 12);

    pair_say(p, "target: a VM of %llu bytes\n", (unsigned long long)vm_bytes);
    p->config_irqs = 0;
    (void)mmio_interrupts(&p->mmio);
    qemu_command(&p->qemu, "{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}}\n",
                 (unsigned long long)vm_bytes);
    balloon_status status = balloon_device_set_target(p->device, pages, p->now);
    AGREE(p, status == BALLOON_OK, "target: %s", balloon_status_text(status));
    pair_poll(p);

    bool qemu = (mmio_interrupts(&p->mmio) & MMIO_ISR_CONFIG) != 0;
    if (pages == p->target && p->driver) {
        balloon_device_status is;

        balloon_device_status_get(p->device, &is);
        AGREE(p, qemu && p->config_irqs <= !is.settled, "same target: QEMU interrupts %d, ours %u",
              qemu, p->config_irqs);
        p->seen[TARGET_SAME] += !p->config_irqs;
    } else {
        AGREE(p, p->config_irqs == qemu, "target: QEMU interrupts %d, ours %u", qemu,
              p->config_irqs);
    }
    p->target = pages;
}

/* --- statistics ------------------------------------------------------------------------------- */

static const char *const names[BALLOON_VIRTIO_STAT_TAGS] = {
    "stat-swap-in",      "stat-swap-out",     "stat-major-faults",     "stat-minor-faults",
    "stat-free-memory",  "stat-total-memory", "stat-available-memory", "stat-disk-caches",
    "stat-htlb-pgalloc", "stat-htlb-pgfail",  "stat-oom-kills",        "stat-alloc-stalls",
    "stat-async-scans",  "stat-direct-scans", "stat-async-reclaims",   "stat-direct-reclaims",
};

/* QEMU shows what was in its last buffer; all ones where nothing was. */
static void compare_qemu_stats(struct pair *p)
{
    const balloon_sample *sample = &p->qemu_stats.sample;
    const char *answer =
        qemu_command(&p->qemu, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":"
                               "\"/machine/peripheral/balloon0\",\"property\":\"guest-stats\"}}\n");

    for (unsigned i = 0; i < BALLOON_VIRTIO_STAT_TAGS; i++) {
        char key[64];
        uint64_t value = UINT64_MAX;

        snprintf(key, sizeof key, "\"%s\": ", names[i]);
        const char *at = strstr(answer, key);
        (void)balloon_sample_get(sample, (balloon_stat)i, &value);
        if (!at) {
            AGREE(p, i >= QEMU_STATS && p->qemu.major < STATS_TAGS_GONE, "QEMU has no %s: %s",
                  names[i], answer);
            p->seen[STATS_TAGS] += sample->present >> i & 1;
            continue;
        }
        AGREE(p, strtoull(at + strlen(key), NULL, 10) == value, "QEMU's %s, expected %llu", at,
              (unsigned long long)value);
    }
}

static bool same_sample(const balloon_sample *a, const balloon_sample *b)
{
    return a->present == b->present && memcmp(a->value, b->value, sizeof a->value) == 0;
}

static void compare_our_stats(struct pair *p)
{
    balloon_sample sample;
    bool have = balloon_device_sample(p->device, &sample);

    AGREE(p, have == p->our_stats.have_sample, "ours has a sample: %d", have);
    if (have)
        AGREE(p, same_sample(&sample, &p->our_stats.sample), "%s", "ours has another sample");
}

void pair_check_stats_after_reset(struct pair *p)
{
    p->qemu_stats.held = false;
    p->our_stats = (struct pair_stats){.held = false};
    compare_qemu_stats(p);
    compare_our_stats(p);
    p->seen[STATS_RESET] += p->qemu_stats.sample.present != 0;
}

/* What our device makes of a buffer. Returns whether it gives it back at once. */
static bool ours_reads(struct pair *p, const balloon_sample *sample)
{
    struct pair_stats *s = &p->our_stats;
    bool asked = s->request != REQUEST_IDLE;
    bool reads = p->version_1 ? asked || !s->have_sample : s->request == REQUEST_ASKED;

    if (reads && (asked || sample->present)) {
        s->sample = *sample;
        s->have_sample = true;
        s->request = REQUEST_IDLE;
    } else {
        p->seen[p->version_1 ? STATS_UNASKED : STATS_LEGACY]++;
    }
    if (s->request != REQUEST_WANTED)
        return false;
    s->request = REQUEST_ASKED;
    return true;
}

/* Which buffers each device gives back is known; where these are the same, they are compared. */
static void compare_stats_acks(struct pair *p, const uint32_t *qemu, unsigned qemu_count,
                               const uint32_t *ours, unsigned our_count)
{
    struct mmio_used used[4];
    unsigned n =
        mmio_take_used(&p->mmio, (unsigned)pair_queue(p, BALLOON_QUEUE_STATS), used, 4, qemu_count);
    bool same = qemu_count == our_count && memcmp(qemu, ours, our_count * sizeof *ours) == 0;

    AGREE(p, n == qemu_count, "QEMU gives back %u statistics buffers, not %u", n, qemu_count);
    AGREE(p, p->ack_count == our_count, "ours gives back %u statistics buffers, not %u",
          p->ack_count, our_count);
    for (unsigned i = 0; i < n; i++)
        AGREE(p, used[i].head == qemu[i] && used[i].bytes == 0,
              "QEMU gives back statistics buffer %u, length %u", used[i].head, used[i].bytes);
    for (unsigned i = 0; i < our_count; i++)
        AGREE(p, p->acks[i].head == (same ? used[i].head : ours[i]) && p->acks[i].bytes == 0,
              "ours gives back statistics buffer %u, length %u", p->acks[i].head, p->acks[i].bytes);
    if (!same)
        p->seen[p->chosen & BALLOON_F_STATS ? STATS_WISH : QUEUE_UNNEGOTIATED]++;
}

void pair_send_stats(struct pair *p, struct mmio_buffer *buffer)
{
    balloon_iov iov[MMIO_PIECES];
    size_t pieces = 0;
    balloon_virtio_reader reader;
    uint32_t qemu[1], ours[2];
    unsigned qemu_count = 0, our_count = 0;

    for (unsigned i = 0; i < buffer->pieces; i++)
        if (!buffer->piece[i].writable)
            iov[pieces++] =
                (balloon_iov){p->qemu.ram + buffer->piece[i].address, buffer->piece[i].bytes};
    balloon_virtio_reader_init(&reader, iov, pieces, UINT64_MAX, BALLOON_LITTLE_ENDIAN);
    pair_send(p, BALLOON_QUEUE_STATS, buffer, 1, true);

    (void)balloon_virtio_read_stats(&reader, &p->qemu_stats.sample);
    if (p->qemu_stats.held)
        qemu[qemu_count++] = p->qemu_stats.head;
    p->qemu_stats.held = true;
    p->qemu_stats.head = buffer->head;
    if (p->chosen & BALLOON_F_STATS) {
        if (p->our_stats.held)
            ours[our_count++] = p->our_stats.head;
        p->our_stats.held = !ours_reads(p, &p->qemu_stats.sample);
        p->our_stats.head = buffer->head;
        if (!p->our_stats.held)
            ours[our_count++] = buffer->head;
    } else {
        ours[our_count++] = buffer->head;
    }
    compare_stats_acks(p, qemu, qemu_count, ours, our_count);
    compare_qemu_stats(p);
    compare_our_stats(p);
    pair_compare_memory(p);
}

static void set_period(struct pair *p, unsigned seconds)
{
    qemu_command(
        &p->qemu,
        "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/balloon0\","
        "\"property\":\"guest-stats-polling-interval\",\"value\":%u}}\n",
        seconds);
}

void pair_request_stats(struct pair *p)
{
    bool possible = p->driver && p->chosen & BALLOON_F_STATS;
    uint32_t qemu[1], ours[1];
    unsigned qemu_count = 0, our_count = 0;

    pair_say(p, "request statistics\n");
    /* The request before this one is late by now. */
    p->now += UINT64_C(10000000000);
    pair_poll(p);
    p->ack_count = 0;
    /* QEMU's timer is due at once. */
    set_period(p, 1);
    balloon_status status = balloon_device_request_stats(p->device, p->now);
    AGREE(p, status == (possible ? BALLOON_OK : BALLOON_ERR_STATE), "request: %s",
          balloon_status_text(status));
    pair_poll(p);

    if (possible && p->qemu_stats.held) {
        qemu[qemu_count++] = p->qemu_stats.head;
        p->qemu_stats.held = false;
    }
    if (possible && p->our_stats.held) {
        ours[our_count++] = p->our_stats.head;
        p->our_stats.held = false;
        p->our_stats.request = REQUEST_ASKED;
    } else if (possible && p->our_stats.request == REQUEST_IDLE) {
        p->our_stats.request = REQUEST_WANTED;
    }
    compare_stats_acks(p, qemu, qemu_count, ours, our_count);
    set_period(p, 0);
    pair_compare_memory(p);
}
