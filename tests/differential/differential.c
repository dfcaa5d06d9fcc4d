/* The same scripts of random guests and hosts for QEMU's balloon device and ours: every buffer must
 * come back alike, the configuration space read alike and the same pages be zero after every step,
 * but for the differences in differences.c. */
#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prng.h"

enum { PAGE = 4096, BUFFERS_FIRST = MMIO_WINDOW_FIRST + 32, PFNS_MAX = 4096, STEPS = 30 };

/* --- buffers ---------------------------------------------------------------------------------- */

struct writer {
    struct pair *pair;
    struct prng *random;
    uint64_t next; /* where there is room in guest memory */
};

static uint64_t below(struct writer *w, uint64_t bound)
{
    return prng_below(w->random, bound);
}

static void say_bytes(struct pair *p, const char *what, const uint8_t *bytes, size_t n)
{
    pair_say(p, "%s, %zu bytes:", what, n);
    for (size_t i = 0; i < n && i < 64; i++)
        pair_say(p, "%s%02x", i % 4 ? "" : " ", bytes[i]);
    pair_say(p, "%s\n", n > 64 ? " ..." : "");
}

/* Add bytes to a buffer in one to four descriptors, somewhere. */
static void add_readable(struct writer *w, struct mmio_buffer *b, const uint8_t *bytes, size_t n)
{
    unsigned pieces = below(w, 2) ? 1 : 1 + (unsigned)below(w, 4);

    for (; n; pieces--) {
        size_t take = pieces <= 1 ? n : 1 + below(w, n);
        if (below(w, 3) == 0 && pieces > 1 && n > 8)
            take = 1 + below(w, 7);
        w->next += below(w, 16);
        memcpy(w->pair->qemu.ram + w->next, bytes, take);
        b->piece[b->pieces++] = (struct mmio_piece){w->next, (uint32_t)take, false};
        pair_say(w->pair, "  piece of %zu\n", take);
        w->next += take;
        bytes += take;
        n -= take;
        cr_assert(w->next < QEMU_BYTES, "too much in one step");
    }
}

static void add_writable(struct writer *w, struct mmio_buffer *b, uint64_t address, uint32_t bytes)
{
    pair_say(w->pair, "  writable %#llx + %#x\n", (unsigned long long)address, bytes);
    b->piece[b->pieces++] = (struct mmio_piece){address, bytes, true};
}

/* --- page numbers ----------------------------------------------------------------------------- */

/* Never the rings' pages. */
static uint32_t tame(uint64_t pfn)
{
    return (uint32_t)pfn >= MMIO_WINDOW_FIRST && (uint32_t)pfn < QEMU_PAGES
               ? (uint32_t)pfn - (QEMU_PAGES - MMIO_WINDOW_FIRST)
               : (uint32_t)pfn;
}

static uint32_t strange_pfn(struct writer *w)
{
    static const uint32_t strange[] = {0,          0xa0,       0xdf,       0xe0,      0xff,
                                       0x100,      0xeff,      0x1000,     0x1001,    0xfeb02,
                                       0xfec00,    0xfee00,    0xfffe0,    0xfffff,   0x100000,
                                       0x7fffffff, 0x80000000, 0xffffffff, 0x10000000};
    return below(w, 4) ? strange[below(w, sizeof strange / sizeof *strange)]
                       : tame(prng_next(w->random));
}

static size_t make_pfns(struct writer *w, uint32_t *pfns)
{
    size_t count = 0, want = 1 + below(w, below(w, 8) ? 64 : below(w, 8) ? 600 : PFNS_MAX);

    while (count < want) {
        uint32_t first = (uint32_t)below(w, MMIO_WINDOW_FIRST);
        size_t n = 1 + below(w, below(w, 3) ? 8 : 400);
        unsigned shape = (unsigned)below(w, 6);

        for (size_t i = 0; i < n && count < want; i++) {
            uint32_t pfn = shape == 0   ? first + (uint32_t)i
                           : shape == 1 ? first - (uint32_t)i
                           : shape == 2 ? (uint32_t)below(w, MMIO_WINDOW_FIRST)
                           : shape == 3 ? strange_pfn(w)
                           : shape == 4 ? first + (uint32_t)i * 2
                                        : first;
            /* Sooner or later the same again. */
            if (count && below(w, 20) == 0)
                pfn = pfns[below(w, count)];
            pfns[count++] = tame(pfn);
        }
    }
    return count;
}

static void send_pfns(struct writer *w)
{
    static uint32_t pfns[PFNS_MAX + 1];
    struct mmio_buffer buffers[MMIO_BURST] = {0};
    unsigned count = 1 + (unsigned)below(w, MMIO_BURST);
    bool inflate = below(w, 3) != 0;

    for (unsigned i = 0; i < count; i++) {
        size_t bytes = make_pfns(w, pfns) * 4;
        /* An odd tail, of a number or alone. */
        if (below(w, 6) == 0)
            bytes = bytes - 3 + below(w, 6);
        say_bytes(w->pair, inflate ? "inflate" : "deflate", (const uint8_t *)pfns, bytes);
        add_readable(w, &buffers[i], (const uint8_t *)pfns, bytes);
        if (below(w, 10) == 0)
            add_writable(w, &buffers[i], below(w, MMIO_WINDOW_FIRST) * PAGE, PAGE);
    }
    pair_send_pfns(w->pair, inflate, buffers, count, below(w, 2));
}

/* --- reports and hints ------------------------------------------------------------------------ */

/* A range that touches RAM only: QEMU refuses to work on with a buffer it cannot map. */
static void add_range(struct writer *w, struct mmio_buffer *b)
{
    uint32_t count = 1 + (uint32_t)below(w, below(w, 8) ? 16 : 700);
    uint32_t first = (uint32_t)below(w, MMIO_WINDOW_FIRST - count);

    for (uint32_t i = 0; i < count; i++)
        if (!w->pair->is_ram[first + i]) {
            count = i;
            break;
        }
    if (!count)
        first = 0x100, count = 1;
    uint64_t address = (uint64_t)first * PAGE;
    uint32_t bytes = count * PAGE;
    if (below(w, 6) == 0)
        bytes -= 1 + (uint32_t)below(w, PAGE - 1);
    if (below(w, 6) == 0 && bytes > PAGE) {
        uint32_t skip = 1 + (uint32_t)below(w, PAGE - 1);
        address += skip;
        bytes -= skip;
    }
    add_writable(w, b, address, bytes);
}

static void send_reports(struct writer *w)
{
    struct mmio_buffer buffers[MMIO_BURST] = {0};
    unsigned count = 1 + (unsigned)below(w, MMIO_BURST);

    for (unsigned i = 0; i < count; i++) {
        pair_say(w->pair, "report\n");
        if (below(w, 10) == 0)
            add_readable(w, &buffers[i], (const uint8_t *)"nothing", 1 + below(w, 6));
        /* At most one outside of RAM, of a page: QEMU has one bounce buffer for such. */
        if (below(w, 8) == 0)
            add_writable(w, &buffers[i], (QEMU_PAGES + below(w, 1000)) * PAGE, PAGE);
        while (!buffers[i].pieces || (buffers[i].pieces < MMIO_PIECES && below(w, 3)))
            add_range(w, &buffers[i]);
    }
    pair_send_reports(w->pair, buffers, count, below(w, 2));
}

/* No round is under way: commands and hints come back, and that is all. */
static void send_hints(struct writer *w)
{
    static const uint32_t ids[] = {0, 1, 2, 0x80000000, 0x80000001, 0xffffffff};
    struct mmio_buffer buffers[MMIO_BURST] = {0};
    unsigned count = 1 + (unsigned)below(w, MMIO_BURST);

    for (unsigned i = 0; i < count; i++) {
        uint32_t id = ids[below(w, sizeof ids / sizeof *ids)];
        pair_say(w->pair, "hint\n");
        if (below(w, 2))
            add_readable(w, &buffers[i], (const uint8_t *)&id, 4);
        if (!buffers[i].pieces || below(w, 4) == 0)
            add_range(w, &buffers[i]);
    }
    pair_send_hints(w->pair, buffers, count, below(w, 2));
}

/* --- statistics and configuration space ------------------------------------------------------- */

static void send_stats(struct writer *w)
{
    uint8_t bytes[10 * 40 + 9];
    struct mmio_buffer buffer = {.pieces = 0};
    size_t n = 0;

    for (uint64_t left = below(w, 3) ? 1 + below(w, 20) : below(w, 40); left; left--) {
        uint64_t tag = below(w, 8) ? below(w, 12) : below(w, 4) ? below(w, 20) : 65535;
        /* From 2^63 on QEMU shows what a guest means for "none". */
        uint64_t value = prng_next(w->random) >> (1 + below(w, 63));
        for (unsigned i = 0; i < 10; i++)
            bytes[n++] = (uint8_t)(i < 2 ? tag >> 8 * i : value >> 8 * (i - 2));
    }
    for (uint64_t tail = n == 0 || below(w, 6) == 0 ? 1 + below(w, 9) : 0; tail; tail--)
        bytes[n++] = (uint8_t)below(w, 256);
    say_bytes(w->pair, "statistics", bytes, n);
    add_readable(w, &buffer, bytes, n);
    pair_send_stats(w->pair, &buffer);
}

static void access_config(struct writer *w)
{
    unsigned width = 1u << below(w, 3);
    unsigned offset = (unsigned)(below(w, 2) ? below(w, 5) * 4 : below(w, 20));

    if (below(w, 2)) {
        pair_config_read(w->pair, offset, width);
        return;
    }
    /* Mostly where something can be written. */
    if (below(w, 2))
        offset = below(w, 3) ? 12 : 4;
    uint32_t value = below(w, 3) ? (uint32_t)prng_next(w->random) : 0;
    pair_config_write(w->pair, offset, width, value);
    for (unsigned i = 0; below(w, 2) && i < 20; i += 4)
        pair_config_read(w->pair, i, 4);
}

static void set_target(struct writer *w)
{
    uint64_t pages = balloon_tracker_pages(balloon_device_tracker(w->pair->device));
    uint64_t bytes = 1 + below(w, pages * PAGE) + (QEMU_BYTES - pages * PAGE);

    if (below(w, 4) == 0)
        bytes = QEMU_BYTES - (uint64_t)w->pair->target * PAGE;
    pair_set_target(w->pair, bytes);
}

/* --- scripts ---------------------------------------------------------------------------------- */

static void start_driver(struct writer *w)
{
    struct pair *p = w->pair;
    uint64_t features = 0, offered = p->offered;
    unsigned queues = 0;

    for (uint64_t bit = 1; bit && bit <= offered; bit <<= 1)
        if (offered & bit && below(w, 5))
            features |= bit;
    if (below(w, 10) == 0)
        features |= BALLOON_F_MUST_TELL;
    while (below(w, 6) == 0)
        access_config(w);
    if (below(w, 8) == 0)
        pair_config_write(p, 12, 4, (uint32_t)prng_next(w->random));
    pair_choose(p, features);
    if (below(w, 3) == 0)
        pair_config_read(p, 12, 4);
    if (below(w, 2)) {
        pair_config_write(p, 4, 4, (uint32_t)below(w, QEMU_PAGES));
        pair_config_read(p, 12, 4);
    }
    if (features & BALLOON_F_POISON && below(w, 2)) {
        uint32_t poison = below(w, 2) ? 0 : (uint32_t)prng_next(w->random);
        pair_config_write(p, 12, 4, poison);
    }
    while (below(w, 3) == 0)
        access_config(w);
    for (int kind = 0; kind < BALLOON_QUEUE_KINDS; kind++)
        if (pair_queue(p, (balloon_virtio_queue)kind) >= 0)
            queues |= 1u << pair_queue(p, (balloon_virtio_queue)kind);
    pair_start_driver(p, queues,
                      (uint16_t)(32u << (p->offered & BALLOON_F_REPORTING ? 0 : below(w, 3))));
}

static void step(struct writer *w)
{
    struct pair *p = w->pair;

    w->next = (uint64_t)BUFFERS_FIRST * PAGE;
    switch (below(w, 16)) {
    case 0:
        if (pair_queue(p, BALLOON_QUEUE_HINT) >= 0)
            send_hints(w);
        break;
    case 1:
    case 2:
    case 3:
        if (pair_queue(p, BALLOON_QUEUE_REPORT) >= 0)
            send_reports(w);
        break;
    case 4:
    case 5:
        send_stats(w);
        break;
    case 6:
        pair_request_stats(p);
        break;
    case 7:
    case 8:
        access_config(w);
        break;
    case 9:
        set_target(w);
        break;
    case 10:
        pair_touch(p, (uint32_t)below(w, MMIO_WINDOW_FIRST), 1 + (uint32_t)below(w, 1000));
        break;
    case 11:
        if (below(w, 2)) {
            pair_reset(p);
            start_driver(w);
        }
        break;
    default:
        send_pfns(w);
    }
}

static void run_script(struct pair *p, uint64_t seed, unsigned long number)
{
    struct prng random = prng_start(seed, number);
    struct writer w = {.pair = p, .random = &random};

    pair_begin_script(p, number);
    pair_say(p, "BALLOON_SEED=%llu\n", (unsigned long long)seed);
    start_driver(&w);
    for (unsigned i = 0; i < STEPS; i++)
        step(&w);
    pair_end_script(p);
}

/* Scripts on every set of features QEMU can be made to offer. */
static void run_all(bool legacy)
{
    const unsigned long scripts = prng_check_all() ? 125 : 7, sets = 8;
    uint64_t seed = prng_seed(), buffers = 0, discarded = 0;
    uint64_t seen[DIFFERENCES] = {0};
    unsigned major = 0;

    if (!qemu_installed())
        cr_skip_test("qemu-system-x86_64 is not installed: nothing was compared with QEMU");
    struct pair *p = malloc(sizeof *p);
    cr_assert_not_null(p);
    for (unsigned long set = 0; set < sets; set++) {
        struct qemu_setup setup = {
            .legacy = legacy, .reporting = !(set & 1), .poison = !(set & 2), .hinting = set & 4};
        pair_start(p, &setup);
        for (unsigned long i = 0; i < scripts; i++)
            run_script(p, seed, (set * 2 + legacy) * 1000 + i);
        for (int i = 0; i < DIFFERENCES; i++)
            seen[i] += p->seen[i];
        buffers += p->buffers;
        discarded += p->discarded;
        major = p->qemu.major;
        pair_end(p);
    }
    free(p);
    cr_log_info("QEMU %u: %lu scripts, %llu buffers, %llu pages discarded by both", major,
                sets * scripts, (unsigned long long)buffers, (unsigned long long)discarded);
    for (int i = SAME + 1; i < DIFFERENCES; i++) {
        cr_log_info("%s: %llu", difference_rows[i].name, (unsigned long long)seen[i]);
        /* A legacy driver's are always dropped, so there it is the other difference. A later QEMU
         * may have left one behind. Another seed need not come by all of them. */
        bool gone = i == STATS_TAGS && major > STATS_TAGS_LAST;
        cr_expect(seen[i] > 0 || getenv("BALLOON_SEED") || gone || (legacy && i == STATS_UNASKED),
                  "the difference \"%s\" was not seen: is it still there?",
                  difference_rows[i].name);
    }
}

Test(differential, qemu_modern, .timeout = 3600)
{
    run_all(false);
}

Test(differential, qemu_legacy, .timeout = 3600)
{
    run_all(true);
}
