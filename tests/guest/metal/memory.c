/* A page allocator that is slow and knows all: where each page is, and what was last written to
 * it. */
#include "metal.h"

#include <balloon/range.h>
#include <string.h>

enum { MAGIC = 0x336ec578, RAM = 1, WORDS = 512, IN_USE_EVERY = 3 };
/* Room for a guest of 512 MiB. */
enum { PAGES_MAX = 131072, IN_USE_END = 10240 };

/* Of the PVH boot protocol, as much as is used here. */
struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, acpi, map;
    uint32_t entries, reserved;
};

struct map_entry {
    uint64_t address, bytes;
    uint32_t type, reserved;
};

enum page_state { UNKNOWN = 0, IN_USE, FREE, AWAY };

static uint8_t state[PAGES_MAX];
/* What the pattern in a page was made of; 0: nothing was written since it was away. */
static uint32_t stamp[PAGES_MAX];
/* It came back, and nobody has looked into it. */
static bool unread[PAGES_MAX];
/* It is away, and the host says that it reads as zeros. */
static bool zeroed[PAGES_MAX];
static bool wiping;
static uint32_t fills;
static balloon_region ram[MEMORY_REGIONS];
static size_t ram_count;
static struct memory_counts counts;

extern const char metal_end[];

static uint64_t *words_of(uint64_t page)
{
    return (uint64_t *)(uintptr_t)(page << 12);
}

/* The pages below 1 MiB and those of this program belong to nobody. Every third page of the next
 * ones is in use, so that what is free between them is in small pieces. */
static void add_region(uint64_t first, uint64_t end)
{
    uint64_t own_end = ((uint64_t)(uintptr_t)metal_end + 4095) >> 12;

    ram[ram_count++] = (balloon_region){.first = first, .count = end - first};
    counts.total += end - first;
    for (uint64_t page = first < own_end ? own_end : first; page < end; page++) {
        bool in_use = page < IN_USE_END && page % IN_USE_EVERY == 0;
        state[page] = in_use ? IN_USE : FREE;
        counts.free += !in_use;
    }
}

static bool is_free(uint64_t first, uint64_t count, bool written_only)
{
    bool written = !written_only;

    for (uint64_t page = first; page < first + count; page++) {
        if (state[page] != FREE)
            return false;
        written = written || stamp[page];
    }
    return written;
}

uint64_t memory_whole(uint64_t block)
{
    uint64_t pages = 0;

    for (uint64_t at = 0; at + block <= PAGES_MAX; at += block)
        pages += is_free(at, block, true) ? block : 0;
    return pages;
}

bool memory_start(const void *start_info)
{
    const struct start_info *info = start_info;
    const struct map_entry *entry = (const struct map_entry *)(uintptr_t)info->map;

    if (info->magic != MAGIC)
        return false;
    for (uint32_t i = 0; i < info->entries && ram_count < MEMORY_REGIONS; i++) {
        uint64_t first = (entry[i].address + 4095) >> 12;
        uint64_t end = (entry[i].address + entry[i].bytes) >> 12;
        if (entry[i].type == RAM && first < end && end <= PAGES_MAX)
            add_region(first, end);
    }
    return counts.free > 0;
}

size_t memory_regions(balloon_region *regions)
{
    for (size_t i = 0; i < ram_count; i++)
        regions[i] = ram[i];
    return ram_count;
}

size_t memory_take(uint64_t pages, uint32_t block, uint32_t max_runs, bool written_only,
                   balloon_range *runs)
{
    size_t n = 0;

    for (uint64_t size = block; size; size = written_only ? 0 : size / 2) {
        for (uint64_t at = 0; at + size <= PAGES_MAX && size <= pages; at += size) {
            if (!is_free(at, size, written_only))
                continue;
            if (n && !written_only && balloon_range_end(runs[n - 1]) == at)
                runs[n - 1].count += size;
            else if (n < max_runs)
                runs[n++] = (balloon_range){at, size};
            else
                return n;
            memset(state + at, AWAY, size);
            memset(unread + at, false, size);
            memset(zeroed + at, false, size);
            counts.free -= size;
            counts.away += size;
            pages -= size;
        }
    }
    return n;
}

void memory_zeroed(balloon_range range)
{
    for (uint64_t page = range.first; page < balloon_range_end(range); page++) {
        if (page < PAGES_MAX && state[page] == AWAY)
            zeroed[page] = true;
        else
            counts.wrong++;
    }
}

void memory_wipe(void)
{
    wiping = true;
}

void memory_put(balloon_range range)
{
    for (uint64_t page = range.first; page < balloon_range_end(range); page++) {
        if (page >= PAGES_MAX || state[page] != AWAY) {
            counts.wrong++;
            continue;
        }
        state[page] = FREE;
        stamp[page] = 0;
        unread[page] = true;
        counts.away--;
        counts.free++;
        if (wiping && zeroed[page]) {
            counts.saved++;
        } else if (wiping) {
            memset(words_of(page), 0, WORDS * sizeof(uint64_t));
            counts.wiped++;
        }
    }
}

static void look_into(uint64_t page)
{
    const uint64_t *word = words_of(page);
    bool zero = true;

    for (unsigned i = 0; i < WORDS && zero; i++)
        zero = word[i] == 0;
    counts.stale += !zero;
    unread[page] = false;
}

static uint64_t pattern(uint64_t page)
{
    return (page << 32 | stamp[page]) * UINT64_C(0x9e3779b97f4a7c15);
}

void memory_fill(void)
{
    fills++;
    for (uint64_t page = 0; page < PAGES_MAX; page++) {
        if (state[page] != FREE && state[page] != IN_USE)
            continue;
        if (unread[page])
            look_into(page);
        uint64_t *word = words_of(page);
        stamp[page] = fills;
        uint64_t first = pattern(page);
        for (unsigned i = 0; i < WORDS; i++)
            word[i] = first + i;
    }
}

void memory_verify(void)
{
    for (uint64_t page = 0; page < PAGES_MAX; page++) {
        if (unread[page])
            look_into(page);
        if ((state[page] != FREE && state[page] != IN_USE) || !stamp[page])
            continue;
        const uint64_t *word = words_of(page);
        uint64_t first = pattern(page);
        bool good = true;
        for (unsigned i = 0; i < WORDS && good; i++)
            good = word[i] == first + i;
        counts.bad += !good;
    }
}

const struct memory_counts *memory_counts(void)
{
    return &counts;
}
