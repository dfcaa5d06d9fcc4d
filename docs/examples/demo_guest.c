/* The toy guest of the demo: memory management first, the balloon driver below. */
#include "demo_guest.h"

#include <balloon/range.h>

#include <stdlib.h>
#include <string.h>

enum {
    FOLIO = 16,             /* pages; files and programs use memory in pieces of 64 KiB */
    EXTENT_FOLIOS_MAX = 64, /* what belongs together lies together, up to 4 MiB */
    DRIVER_PAGE = 0,        /* where the driver builds its buffers */
    PFNS_MAX = 256,         /* page numbers in a buffer, as in Linux */
    SPANS_MAX = 32,         /* free ranges in a report, as in Linux */
    SPAN_PAGES_MIN = FOLIO,
    CONFIG_NUM_PAGES = 0,
    CONFIG_ACTUAL = 4,
    CONFIG_HINT_ID = 8
};

/* ---- Memory management ---- */
static uint64_t next_random(struct guest *g)
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return g->random;
}

static void push(struct page_list *list, uint32_t page)
{
    list->pages[list->count++] = page;
}

static uint32_t pop(struct page_list *list)
{
    return list->pages[--list->count];
}

static void give(struct guest *g, uint32_t page, enum owner owner)
{
    g->owned[g->owner[page]]--;
    g->owned[owner]++;
    g->owner[page] = (uint8_t)owner;
}

static void write_page(struct guest *g, uint32_t page)
{
    uint64_t *words = (uint64_t *)(void *)(g->ram + (size_t)page * BALLOON_PAGE_SIZE);

    for (size_t i = 0; i < BALLOON_PAGE_SIZE / sizeof(*words); i++)
        words[i] = next_random(g);
}

static void free_page(struct guest *g, uint32_t page)
{
    give(g, page, OWNER_FREE);
    push(&g->free, page);
}

/* The cache gives way in the order its folios were used last, which has nothing to do with where
 * they lie: they were shuffled when they came in. */
static bool alloc_page(struct guest *g, enum owner owner, uint32_t *page)
{
    if (!g->free.count && !g->cache.count)
        return false;
    *page = pop(g->free.count ? &g->free : &g->cache);
    give(g, *page, owner);
    return true;
}

static void shuffle_folios(struct guest *g, struct page_list *list)
{
    for (uint32_t i = list->count / FOLIO; i > 1; i--) {
        uint32_t *a = list->pages + (size_t)(i - 1) * FOLIO;
        uint32_t *b = list->pages + (size_t)(next_random(g) % i) * FOLIO;
        uint32_t swap[FOLIO];

        memcpy(swap, a, sizeof(swap));
        memmove(a, b, sizeof(swap));
        memcpy(b, swap, sizeof(swap));
    }
}

/* Data, cache and the program's memory lie between each other as after some time of use. In 32nds
 * of RAM they have 11, 17 and 4. */
static void lay_out(struct guest *g)
{
    static const uint32_t parts[OWNER_COUNT] = {
        [OWNER_DATA] = 11, [OWNER_PROGRAM] = 4, [OWNER_CACHE] = 17};
    uint32_t page = 0;

    memset(g->owner, OWNER_DATA, g->pages);
    g->owned[OWNER_DATA] = g->pages;
    while (page < g->pages) {
        uint32_t end = page + FOLIO * (1 + (uint32_t)(next_random(g) % EXTENT_FOLIOS_MAX));
        uint64_t dice = next_random(g) % 32;
        enum owner owner = OWNER_DATA;

        if (dice < parts[OWNER_CACHE])
            owner = OWNER_CACHE;
        else if (dice < parts[OWNER_CACHE] + parts[OWNER_PROGRAM])
            owner = OWNER_PROGRAM;
        for (; page < end && page < g->pages; page++)
            if (page >= FOLIO && owner != OWNER_DATA &&
                g->owned[owner] < g->pages / 32 * parts[owner])
                give(g, page, owner);
    }
    /* Chance has left some of them short. */
    for (enum owner owner = OWNER_PROGRAM; owner <= OWNER_CACHE; owner++)
        for (page = FOLIO; page < g->pages; page++)
            if (g->owner[page] == OWNER_DATA && g->owned[owner] < g->pages / 32 * parts[owner])
                give(g, page, owner);
    for (page = 0; page < g->pages; page++)
        if (g->owner[page] == OWNER_CACHE)
            push(&g->cache, page);
    shuffle_folios(g, &g->cache);
}

bool guest_init(struct guest *g, struct machine *machine, void *ram, uint32_t pages)
{
    memset(g, 0, sizeof(*g));
    g->machine = machine;
    g->ram = ram;
    g->pages = pages;
    g->random = 20;
    g->owner = malloc(pages);
    g->free.pages = malloc(pages * sizeof(uint32_t));
    g->cache.pages = malloc(pages * sizeof(uint32_t));
    g->balloon.pages = malloc(pages * sizeof(uint32_t));
    if (!g->owner || !g->free.pages || !g->cache.pages || !g->balloon.pages)
        return false;
    lay_out(g);
    return true;
}

void guest_destroy(struct guest *g)
{
    free(g->owner);
    free(g->free.pages);
    free(g->cache.pages);
    free(g->balloon.pages);
}

bool guest_boot(struct guest *g, uint32_t pages)
{
    for (; pages && g->filled < g->pages; pages--)
        write_page(g, g->filled++);
    return g->filled < g->pages;
}

uint32_t guest_read_files(struct guest *g, uint32_t pages)
{
    uint32_t done = 0;

    for (; done < pages && g->free.count; done++) {
        uint32_t page = pop(&g->free);

        give(g, page, OWNER_CACHE);
        write_page(g, page);
        push(&g->cache, page);
    }
    return done;
}

void guest_end_program(struct guest *g)
{
    for (uint32_t page = 0; page < g->pages; page++)
        if (g->owner[page] == OWNER_PROGRAM)
            free_page(g, page);
}

uint64_t guest_checksum(const struct guest *g)
{
    uint64_t sum = 0;

    for (uint32_t page = 0; page < g->pages; page++) {
        const uint64_t *words =
            (const uint64_t *)(const void *)(g->ram + (size_t)page * BALLOON_PAGE_SIZE);

        /* The driver writes to its page all the time. */
        if (g->owner[page] != OWNER_DATA || page == DRIVER_PAGE)
            continue;
        for (size_t i = 0; i < BALLOON_PAGE_SIZE / sizeof(*words); i++)
            sum = (sum ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
    }
    return sum;
}

/* ---- The balloon driver ---- */
static void send_bytes(struct guest *g, balloon_virtio_queue queue, size_t bytes)
{
    balloon_iov iov = {g->ram + DRIVER_PAGE * BALLOON_PAGE_SIZE, bytes};
    balloon_virtio_buffer buffer = {.readable = &iov, .readable_count = 1};

    machine_kick(g->machine, queue, &buffer);
}

static void send_pfns(struct guest *g, balloon_virtio_queue queue, const uint32_t *pfns,
                      uint32_t count)
{
    send_bytes(g, queue,
               balloon_virtio_write_pfns(pfns, count, BALLOON_LITTLE_ENDIAN,
                                         g->ram + DRIVER_PAGE * BALLOON_PAGE_SIZE,
                                         BALLOON_PAGE_SIZE));
}

bool guest_balloon(struct guest *g)
{
    uint32_t target = machine_config_read(g->machine, CONFIG_NUM_PAGES);
    uint32_t pfns[PFNS_MAX];
    uint32_t n = 0;

    if (g->balloon.count < target) {
        while (n < PFNS_MAX && g->balloon.count < target && alloc_page(g, OWNER_BALLOON, &pfns[n]))
            push(&g->balloon, pfns[n++]);
        if (n)
            send_pfns(g, BALLOON_QUEUE_INFLATE, pfns, n);
    } else {
        while (n < PFNS_MAX && g->balloon.count > target)
            pfns[n++] = pop(&g->balloon);
        if (n)
            send_pfns(g, BALLOON_QUEUE_DEFLATE, pfns, n);
        /* Only now, after the device has answered, they may be used. */
        for (uint32_t i = 0; i < n; i++)
            free_page(g, pfns[i]);
    }
    machine_config_write(g->machine, CONFIG_ACTUAL, g->balloon.count);
    return n && g->balloon.count != target;
}

balloon_sample guest_send_stats(struct guest *g)
{
    uint64_t free_pages = g->owned[OWNER_FREE] + g->owned[OWNER_REPORTED];
    balloon_sample sample = {0};

    balloon_sample_set(&sample, BALLOON_STAT_TOTAL,
                       (uint64_t)(g->pages - g->balloon.count) * BALLOON_PAGE_SIZE);
    balloon_sample_set(&sample, BALLOON_STAT_FREE, free_pages * BALLOON_PAGE_SIZE);
    balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE,
                       (free_pages + g->owned[OWNER_CACHE]) * BALLOON_PAGE_SIZE);
    balloon_sample_set(&sample, BALLOON_STAT_CACHES,
                       (uint64_t)g->owned[OWNER_CACHE] * BALLOON_PAGE_SIZE);
    send_bytes(g, BALLOON_QUEUE_STATS,
               balloon_virtio_write_stats(&sample, BALLOON_LITTLE_ENDIAN,
                                          g->ram + DRIVER_PAGE * BALLOON_PAGE_SIZE,
                                          BALLOON_PAGE_SIZE));
    return sample;
}

/* The next ranges of free pages; those that the host knows already do not count. */
static size_t find_free(struct guest *g, balloon_virtio_span *spans, size_t max)
{
    size_t n = 0;

    while (n < max && g->scan < g->pages) {
        uint32_t first = g->scan;

        while (g->scan < g->pages && g->owner[g->scan] == OWNER_FREE)
            g->scan++;
        if (g->scan - first >= SPAN_PAGES_MIN)
            spans[n++] = (balloon_virtio_span){(uint64_t)first * BALLOON_PAGE_SIZE,
                                               (uint64_t)(g->scan - first) * BALLOON_PAGE_SIZE};
        else if (g->scan == first)
            g->scan++;
    }
    return n;
}

bool guest_report(struct guest *g)
{
    balloon_virtio_span spans[SPANS_MAX];
    size_t n = find_free(g, spans, SPANS_MAX);

    if (!n) {
        g->scan = 0;
        return false;
    }
    /* Nobody allocates them until the buffer is back. */
    machine_kick(g->machine, BALLOON_QUEUE_REPORT,
                 &(balloon_virtio_buffer){.writable = spans, .writable_count = n});
    for (size_t i = 0; i < n; i++) {
        balloon_range range = balloon_range_from_bytes(spans[i].address, spans[i].bytes);

        for (uint64_t k = 0; k < range.count; k++)
            give(g, (uint32_t)(range.first + k), OWNER_REPORTED);
    }
    return true;
}

static void send_hint_command(struct guest *g, uint32_t id)
{
    send_bytes(g, BALLOON_QUEUE_HINT,
               balloon_virtio_write_hint(id, BALLOON_LITTLE_ENDIAN,
                                         g->ram + DRIVER_PAGE * BALLOON_PAGE_SIZE,
                                         BALLOON_PAGE_SIZE));
}

bool guest_hint(struct guest *g)
{
    uint32_t shown = machine_config_read(g->machine, CONFIG_HINT_ID);
    balloon_virtio_span span;

    if (shown <= BALLOON_VIRTIO_HINT_DONE)
        return false;
    if (shown != g->hinting)
        send_hint_command(g, g->hinting = shown);
    if (find_free(g, &span, 1)) {
        machine_kick(g->machine, BALLOON_QUEUE_HINT,
                     &(balloon_virtio_buffer){.writable = &span, .writable_count = 1});
        return true;
    }
    send_hint_command(g, BALLOON_VIRTIO_HINT_STOP);
    g->scan = 0;
    return false;
}
