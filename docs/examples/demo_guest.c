/* The toy guest: where pages come from when there are few, and what it costs
 * then. */
#include "demo_guest.h"

#include <stdlib.h>
#include <string.h>

enum {
    FOLIO = 16,                      /* pages; files are cached in pieces of 64 KiB */
    KERNEL = 16 * PAGES_PER_MIB,     /* what the kernel itself has */
    HOT = 16 * PAGES_PER_MIB,        /* files that programs use all the time */
    WATER_LOW = 2 * PAGES_PER_MIB,   /* left free for the kernel itself */
    WATER_HIGH = 12 * PAGES_PER_MIB, /* what is kept free in the background */
    GROWTH = 6 * PAGES_PER_MIB,      /* what the program touches in a step, if it gets it */
    FAULTS_MAX = 250,                /* pages that a disk reads in a step when programs wait */
    READS_MAX = 4 * PAGES_PER_MIB,   /* what is read ahead in a step */
    SCAN_BATCH = 32                  /* pages that an allocation looks at before it waits */
};

#define WORDS (BALLOON_PAGE_SIZE / sizeof(uint64_t))

/* ---- Contents ---- */
static uint64_t *words_of(const struct guest *g, uint32_t page)
{
    return (uint64_t *)(void *)(g->ram + (size_t)page * BALLOON_PAGE_SIZE);
}

static uint64_t word_of(const struct guest *g, uint32_t page, size_t i)
{
    return (((uint64_t)g->stamp[page] << 32 | page) + i) * UINT64_C(0x9e3779b97f4a7c15);
}

static void write_page(struct guest *g, uint32_t page)
{
    uint64_t *words = words_of(g, page);

    g->stamp[page] = g->next_stamp++;
    for (size_t i = 0; i < WORDS; i++)
        words[i] = word_of(g, page, i);
}

static void check_page(struct guest *g, uint32_t page)
{
    const uint64_t *words = words_of(g, page);
    uint64_t wrong = 0;

    for (size_t i = 0; i < WORDS; i++)
        wrong |= words[i] ^ word_of(g, page, i);
    g->checked++;
    g->lost += wrong != 0;
}

/* ---- Pages ---- */
static void give(struct guest *g, uint32_t page, enum owner owner)
{
    g->owned[g->owner[page]]--;
    g->owned[owner]++;
    g->owner[page] = (uint8_t)owner;
}

/* The next free page; there must be one. */
static uint32_t find_free(struct guest *g)
{
    const uint8_t *found = memchr(g->owner + g->cursor, OWNER_FREE, g->pages - g->cursor);

    if (!found)
        found = memchr(g->owner, OWNER_FREE, g->pages);
    g->cursor = (uint32_t)(found - g->owner);
    return g->cursor;
}

static uint32_t use_page(struct guest *g, enum owner owner)
{
    uint32_t page = find_free(g);

    give(g, page, owner);
    write_page(g, page);
    return page;
}

static void drop_page(struct guest *g, uint32_t page)
{
    check_page(g, page);
    give(g, page, OWNER_FREE);
}

/* Give up a folio of the cache. Which one was used least of late has nothing to
 * do with where it lies. */
static void drop_folio(struct guest *g)
{
    g->random = g->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);

    uint32_t from = (uint32_t)((g->random >> 33) % g->pages);
    const uint8_t *found = memchr(g->owner + from, OWNER_CACHE, g->pages - from);

    if (!found)
        found = memchr(g->owner, OWNER_CACHE, g->pages);
    from = (uint32_t)(found - g->owner) / FOLIO * FOLIO;
    for (uint32_t page = from; page < from + FOLIO && page < g->pages; page++)
        if (g->owner[page] == OWNER_CACHE)
            drop_page(g, page);
}

/* Have so many pages free, as long as there is cache beyond `keep`. */
static void reclaim(struct guest *g, uint64_t free_pages, uint32_t keep)
{
    while (g->owned[OWNER_FREE] < free_pages && g->owned[OWNER_CACHE] > keep)
        drop_folio(g);
}

bool guest_init(struct guest *g, void *ram, uint32_t pages, uint32_t unit, uint32_t seed)
{
    memset(g, 0, sizeof(*g));
    g->ram = ram;
    g->pages = pages;
    g->unit = unit;
    g->random = seed;
    g->next_stamp = seed << 28 | 1;
    g->owner = malloc(pages);
    g->stamp = malloc(pages * sizeof(*g->stamp));
    g->program = malloc(pages * sizeof(*g->program));
    if (!g->owner || !g->stamp || !g->program)
        return false;
    memset(g->owner, OWNER_FREE, pages);
    g->owned[OWNER_FREE] = pages;
    while (g->owned[OWNER_KERNEL] < KERNEL)
        use_page(g, OWNER_KERNEL);
    return true;
}

void guest_destroy(struct guest *g)
{
    free(g->owner);
    free(g->stamp);
    free(g->program);
}

/* ---- Life ---- */

/* An allocation that finds nothing free gives up cache itself, and waits while
 * it does so. */
static bool allocate(struct guest *g)
{
    if (g->owned[OWNER_FREE] > WATER_LOW)
        return true;
    if (!g->owned[OWNER_CACHE])
        return false;
    g->stalls++;
    g->scanned += SCAN_BATCH;
    reclaim(g, WATER_LOW + 1, 0);
    return true;
}

static void run_program(struct guest *g)
{
    while (g->owned[OWNER_PROGRAM] > g->demand)
        drop_page(g, g->program[g->owned[OWNER_PROGRAM] - 1]);
    for (uint32_t n = 0; n < GROWTH && g->owned[OWNER_PROGRAM] < g->demand; n++) {
        if (!allocate(g)) {
            /* It asks again every millisecond of what is left of the step. */
            uint32_t waits = STEP_MS - n * STEP_MS / GROWTH;

            g->stalls += waits;
            g->scanned += (uint64_t)waits * SCAN_BATCH;
            break;
        }
        uint32_t page = use_page(g, OWNER_PROGRAM);

        g->program[g->owned[OWNER_PROGRAM] - 1] = page;
    }
}

/* What programs use all the time has to be there: they wait for it, and when it
 * does not stay they wait for it again. */
static void fault_files(struct guest *g)
{
    for (uint32_t n = 0; n < FAULTS_MAX && g->owned[OWNER_CACHE] < HOT; n++) {
        g->faults++;
        if (g->owned[OWNER_FREE] > WATER_LOW)
            use_page(g, OWNER_CACHE);
    }
}

/* Memory that nobody needs fills with files, as it does everywhere: idle is not
 * the same as free.
 */
static void read_files(struct guest *g)
{
    for (uint32_t n = 0; n < READS_MAX && g->owned[OWNER_FREE] > WATER_HIGH; n++)
        use_page(g, OWNER_CACHE);
}

void guest_step(struct guest *g)
{
    reclaim(g, WATER_HIGH, 0);
    run_program(g);
    fault_files(g);
    read_files(g);
}

/* ---- The balloon ---- */
static bool is_free(const struct guest *g, uint32_t first, uint32_t count)
{
    return g->owner[first] == OWNER_FREE &&
           (count == 1 || memcmp(g->owner + first, g->owner + first + 1, count - 1) == 0);
}

size_t guest_take(struct guest *g, uint64_t pages, uint32_t block, balloon_range *runs, size_t max)
{
    size_t count = 0;

    reclaim(g, pages + WATER_LOW, HOT);
    if (g->owned[OWNER_FREE] <= WATER_LOW)
        return 0;
    if (pages > g->owned[OWNER_FREE] - WATER_LOW)
        pages = g->owned[OWNER_FREE] - WATER_LOW;
    for (; block >= g->unit; block /= 2)
        for (uint32_t page = 0; page + block <= g->pages && count < max && pages >= block;
             page += block) {
            if (!is_free(g, page, block))
                continue;
            for (uint32_t i = 0; i < block; i++)
                give(g, page + i, OWNER_BALLOON);
            runs[count++] = (balloon_range){page, block};
            pages -= block;
        }
    return count;
}

void guest_return(struct guest *g, balloon_range range)
{
    for (uint64_t i = 0; i < range.count; i++)
        give(g, (uint32_t)(range.first + i), OWNER_FREE);
}

/* ---- Statistics ---- */
uint32_t guest_need(const struct guest *g)
{
    return KERNEL + g->demand + HOT + WATER_HIGH;
}

static void set_pages(balloon_sample *sample, balloon_stat stat, uint64_t pages)
{
    balloon_sample_set(sample, stat, pages * BALLOON_PAGE_SIZE);
}

balloon_sample guest_stats(const struct guest *g)
{
    uint32_t cache = g->owned[OWNER_CACHE], spare = g->owned[OWNER_FREE];
    uint32_t available = spare + (cache > HOT ? cache - HOT : 0);
    balloon_sample sample = {0};

    set_pages(&sample, BALLOON_STAT_TOTAL, g->pages - g->owned[OWNER_BALLOON]);
    set_pages(&sample, BALLOON_STAT_FREE, spare);
    set_pages(&sample, BALLOON_STAT_AVAILABLE, available > WATER_LOW ? available - WATER_LOW : 0);
    set_pages(&sample, BALLOON_STAT_CACHES, cache);
    set_pages(&sample, BALLOON_STAT_DIRECT_SCAN, g->scanned);
    balloon_sample_set(&sample, BALLOON_STAT_ALLOC_STALL, g->stalls);
    balloon_sample_set(&sample, BALLOON_STAT_MAJOR_FAULTS, g->faults);
    return sample;
}

void guest_check_all(struct guest *g)
{
    for (uint32_t page = 0; page < g->pages; page++)
        if (g->owner[page] != OWNER_FREE && g->owner[page] != OWNER_BALLOON)
            check_page(g, page);
}
