#include "guest_kernel.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void broken(struct guest_kernel *k, const char *format, ...)
{
    va_list args;

    if (k->why[0])
        return;
    va_start(args, format);
    vsnprintf(k->why, sizeof(k->why), format, args);
    va_end(args);
}

void kernel_start(struct guest_kernel *k, struct prng *prng, uint64_t pages, uint32_t page_pages)
{
    memset(k, 0, sizeof(*k));
    k->prng = prng;
    k->pages = pages;
    k->page_pages = page_pages;
    k->owner = calloc((size_t)pages, 1);
    k->memory = calloc((size_t)pages, 1);
    k->wrote = calloc((size_t)pages, 1);
}

void kernel_end(struct guest_kernel *k)
{
    free(k->owner);
    free(k->memory);
    free(k->wrote);
}

void kernel_plug(struct guest_kernel *k, balloon_range range)
{
    memset(k->owner + range.first, KERNEL_FREE, (size_t)range.count);
    k->present += range.count;
}

static bool all(const struct guest_kernel *k, balloon_range range, enum kernel_owner owner)
{
    for (uint64_t i = 0; i < range.count; i++)
        if (k->owner[range.first + i] != owner)
            return false;
    return true;
}

bool kernel_unplug(struct guest_kernel *k, balloon_range range)
{
    for (uint64_t i = 0; i < range.count; i++)
        if (k->owner[range.first + i] == KERNEL_LENT)
            return false;
    for (uint64_t i = 0; i < range.count; i++)
        k->used -= k->owner[range.first + i] == KERNEL_USED;
    memset(k->owner + range.first, KERNEL_ABSENT, (size_t)range.count);
    k->present -= range.count;
    return true;
}

void kernel_lose(struct guest_kernel *k, balloon_range range)
{
    if (!all(k, range, KERNEL_FREE))
        broken(k, "pages %" PRIu64 "+%" PRIu64 " have memory", range.first, range.count);
    memset(k->owner + range.first, KERNEL_LENT, (size_t)range.count);
    k->lent += range.count;
}

static bool find(const struct guest_kernel *k, uint32_t size, balloon_range *run)
{
    uint64_t blocks = k->pages / size, at = prng_below(k->prng, blocks);

    run->count = size;
    for (uint64_t i = 0; i < blocks; i++) {
        run->first = (at + i) % blocks * size;
        if (all(k, *run, KERNEL_FREE))
            return true;
    }
    return false;
}

size_t kernel_lend(struct guest_kernel *k, uint64_t pages, uint32_t block, bool whole_blocks,
                   balloon_range *runs, size_t max)
{
    size_t count = 0;
    uint32_t least = whole_blocks ? block : k->page_pages;

    while (count < max && block >= least) {
        if (block > pages || !find(k, block, &runs[count])) {
            block /= 2;
            continue;
        }
        memset(k->owner + runs[count].first, KERNEL_LENT, block);
        k->lent += block;
        pages -= block;
        count++;
    }
    return count;
}

void kernel_return(struct guest_kernel *k, balloon_range range)
{
    if (range.first + range.count > k->pages || !all(k, range, KERNEL_LENT)) {
        broken(k, "pages %" PRIu64 "+%" PRIu64 " are freed, and not all of them were lent",
               range.first, range.count);
        return;
    }
    memset(k->owner + range.first, KERNEL_FREE, (size_t)range.count);
    k->lent -= range.count;
}

void kernel_work(struct guest_kernel *k, unsigned times)
{
    while (times-- > 0) {
        uint64_t page = prng_below(k->prng, k->pages / k->page_pages) * k->page_pages;
        balloon_range all_of = {page, k->page_pages};

        if (k->owner[page] == KERNEL_USED && prng_one_in(k->prng, 2)) {
            for (uint32_t i = 0; i < k->page_pages; i++)
                if (k->memory[page + i] != k->wrote[page + i])
                    broken(k, "page %" PRIu64 " has lost what a program wrote", page + i);
            memset(k->owner + page, KERNEL_FREE, k->page_pages);
            k->used -= k->page_pages;
        } else if (all(k, all_of, KERNEL_FREE) || k->owner[page] == KERNEL_USED) {
            k->used += k->owner[page] == KERNEL_FREE ? k->page_pages : 0;
            memset(k->owner + page, KERNEL_USED, k->page_pages);
            for (uint32_t i = 0; i < k->page_pages; i++)
                k->memory[page + i] = k->wrote[page + i] = (uint8_t)(1 + prng_below(k->prng, 255));
        }
    }
}

void kernel_verify(struct guest_kernel *k)
{
    for (uint64_t i = 0; i < k->pages; i++)
        if (k->owner[i] == KERNEL_USED && k->memory[i] != k->wrote[i])
            broken(k, "page %" PRIu64 " has lost what a program wrote", i);
}

void kernel_discard(struct guest_kernel *k, balloon_range range)
{
    if (range.first + range.count > k->pages || !all(k, range, KERNEL_LENT))
        broken(k, "the host discards pages %" PRIu64 "+%" PRIu64 " that the guest may be using",
               range.first, range.count);
    memset(k->memory + range.first, 0, (size_t)range.count);
}
