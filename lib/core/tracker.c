/* The tracker's life: memory, modes, regions that come and go. */
#include <string.h>

#include "sized.h"
#include "tracker_p.h"

#define DEFAULT_REGIONS 8u

/* Looked at, and cleared, at a time. */
#define CLEAR_BYTES 4096u

/* Maps begin at a line of the cache, so that a block does not lie in two. */
#define LINE_BYTES 64u

/* Rounded up; the unit is a constant power of two, so no division is left for a 32-bit guest. */
#define UNITS(n, unit) ((n) / (unit) + ((n) % (unit) != 0))

#define SUMMARIES 6

/* Everything in one piece of memory: offsets of the parts behind the first line that begins after
 * the tracker itself, found the same way by layout and init; and how many bytes it takes at most.
 */
struct parts {
    size_t held, pending, hinted, regions, in, pending_in, summary[SUMMARIES], bytes;
    uint64_t blocks, summary_words, top_words, peak_words;
};

/* 0, or which of the rules of tracker_config.c is broken. */
static unsigned find_parts(const balloon_tracker_config *config, struct parts *p)
{
    uint64_t at = 0, regions;

    if (!config || !bl_sized(config, sizeof(*config)))
        return 1;
    regions = config->max_regions ? config->max_regions : DEFAULT_REGIONS;
    if (!config->max_pages || config->max_pages > MAX_PAGES)
        return 2;
    if (regions > MAX_REGIONS)
        return 3;
    /* A region may begin and end inside a block, which costs it up to two more. */
    p->blocks = UNITS(config->max_pages, BLOCK_PAGES) + 2 * regions;
    p->summary_words = UNITS(p->blocks, WORD_BITS);
    p->top_words = UNITS(p->summary_words, WORD_BITS);
    p->peak_words = UNITS(p->top_words, WORD_BITS);

    p->held = (size_t)at;
    at += p->blocks * BLOCK_WORDS * sizeof(uint64_t);
    p->pending = (size_t)at;
    at += p->blocks * BLOCK_WORDS * sizeof(uint64_t);
    p->hinted = (size_t)at;
    if (config->hints)
        at += p->blocks * BLOCK_WORDS * sizeof(uint64_t);
    p->regions = (size_t)at;
    at += regions * sizeof(region);
    for (int i = 0; i < SUMMARIES; i++) {
        p->summary[i] = (size_t)at;
        at += (p->summary_words + p->top_words + p->peak_words) * sizeof(uint64_t);
    }
    p->in = (size_t)at;
    at += p->blocks * sizeof(struct block_pages);
    p->pending_in = (size_t)at;
    at += p->blocks * sizeof(uint16_t);
    at += sizeof(balloon_tracker) + LINE_BYTES - 1;
    p->bytes = (size_t)at;
    return at <= SIZE_MAX / 2 ? 0 : 2;
}

unsigned bl_tracker_config_fault(const balloon_tracker_config *config)
{
    struct parts p;

    return find_parts(config, &p);
}

balloon_status balloon_tracker_layout(const balloon_tracker_config *config, balloon_layout *layout)
{
    struct parts p;

    if (!layout || find_parts(config, &p))
        return BALLOON_ERR_INVALID;
    layout->bytes = p.bytes;
    layout->align = _Alignof(max_align_t) > _Alignof(balloon_tracker) ? _Alignof(max_align_t)
                                                                      : _Alignof(balloon_tracker);
    return BALLOON_OK;
}

/* Memory that is zero already is only read: what the system has promised and not given yet, it need
 * not give before it is used. */
static void clear(void *memory, size_t bytes)
{
    unsigned char *at = memory;

    for (size_t part; bytes; bytes -= part, at += part) {
        part = bytes < CLEAR_BYTES ? bytes : CLEAR_BYTES;
        if (at[0] || memcmp(at, at + 1, part - 1) != 0)
            memset(at, 0, part);
    }
}

static balloon_status init(void *memory, size_t bytes, const balloon_tracker_config *config,
                           bool is_zero, balloon_tracker **tracker)
{
    balloon_tracker *t = memory;
    uint8_t *base;
    struct parts p;

    if (!memory || !tracker || find_parts(config, &p) ||
        (uintptr_t)memory % _Alignof(balloon_tracker))
        return BALLOON_ERR_INVALID;
    if (bytes < p.bytes)
        return BALLOON_ERR_NOSPACE;

    if (!is_zero)
        clear(memory, p.bytes);
    base = (uint8_t *)memory + sizeof(*t);
    base += (0 - (uintptr_t)base) % LINE_BYTES;
    t->regions = (region *)(void *)(base + p.regions);
    t->held = (uint64_t *)(void *)(base + p.held);
    t->pending = (uint64_t *)(void *)(base + p.pending);
    t->hinted = config->hints ? (uint64_t *)(void *)(base + p.hinted) : NULL;
    t->in = (struct block_pages *)(void *)(base + p.in);
    t->pending_in = (uint16_t *)(void *)(base + p.pending_in);

    summary *const summaries[SUMMARIES] = {&t->some,  &t->room, &t->waiting,
                                           &t->ready, &t->calm, &t->reported};
    for (int i = 0; i < SUMMARIES; i++) {
        summaries[i]->bit = (uint64_t *)(void *)(base + p.summary[i]);
        summaries[i]->top = summaries[i]->bit + p.summary_words;
        summaries[i]->peak = summaries[i]->top + p.top_words;
    }
    t->max_pages = config->max_pages;
    t->max_regions = config->max_regions ? config->max_regions : DEFAULT_REGIONS;
    t->max_blocks = p.blocks;
    /* A run takes two numbers, each of half a word. */
    uint64_t room = p.blocks * BLOCK_WORDS - (1 + LINE_SPARE + 1) / 2;
    t->line.max = room < LINE_RUNS ? (uint32_t)room : LINE_RUNS;
    *tracker = t;
    return BALLOON_OK;
}

balloon_status balloon_tracker_init(void *memory, size_t bytes,
                                    const balloon_tracker_config *config, balloon_tracker **tracker)
{
    return init(memory, bytes, config, false, tracker);
}

balloon_status bl_tracker_init_zero(void *memory, size_t bytes,
                                    const balloon_tracker_config *config, balloon_tracker **tracker)
{
    return init(memory, bytes, config, true, tracker);
}

void balloon_tracker_reset(balloon_tracker *t)
{
    size_t words = (size_t)(t->blocks * BLOCK_WORDS);

    memset(t->held, 0, words * sizeof(uint64_t));
    memset(t->pending, 0, words * sizeof(uint64_t));
    memset(t->in, 0, (size_t)t->blocks * sizeof(*t->in));
    memset(t->pending_in, 0, (size_t)t->blocks * sizeof(uint16_t));
    t->line.next = t->line.count = t->line.used = 0;
    t->line.mixed = false;
    t->held_pages = t->pending_pages = t->ready_pages = t->returned_pages = 0;
    t->any_reported = false;
    balloon_tracker_forget_hints(t);
    bl_tracker_rebuild(t, 0, t->blocks);
}

void balloon_tracker_forget_hints(balloon_tracker *t)
{
    if (t->hinted && t->hinted_pages)
        memset(t->hinted, 0, (size_t)(t->blocks * BLOCK_WORDS) * sizeof(uint64_t));
    t->hinted_pages = 0;
}

uint64_t balloon_tracker_pages(const balloon_tracker *t)
{
    return t->pages;
}

uint64_t balloon_tracker_held(const balloon_tracker *t)
{
    return t->held_pages;
}

uint64_t balloon_tracker_pending(const balloon_tracker *t)
{
    return t->pending_pages;
}

uint64_t balloon_tracker_returned(const balloon_tracker *t)
{
    if (!t->gather)
        return t->returned_pages;
    return t->held_pages > t->pending_pages ? t->held_pages - t->pending_pages : 0;
}

uint64_t balloon_tracker_ready(const balloon_tracker *t)
{
    return t->ready_pages;
}

uint64_t balloon_tracker_hinted(const balloon_tracker *t)
{
    return t->hinted_pages;
}
