/* A toy kernel: who has each page, and what is in it. A page is free, used, or lent to the balloon
 * driver; never two of these. Memory is a byte a page. */
#ifndef TEST_GUEST_KERNEL_H
#define TEST_GUEST_KERNEL_H

#include <balloon/types.h>

#include "prng.h"

#define KERNEL_WHY 160

enum kernel_owner { KERNEL_ABSENT = 0, KERNEL_FREE = 1, KERNEL_USED = 2, KERNEL_LENT = 3 };

struct guest_kernel {
    struct prng *prng;
    uint64_t pages;      /* addresses, present or not */
    uint32_t page_pages; /* the kernel's own page, in pages of 4 KiB */
    uint8_t *owner, *memory, *wrote;
    uint64_t present, lent, used;
    char why[KERNEL_WHY]; /* the first rule that was broken; empty if none */
};

void kernel_start(struct guest_kernel *k, struct prng *prng, uint64_t pages, uint32_t page_pages);
void kernel_end(struct guest_kernel *k);

/* Memory comes, as free pages, or goes; going fails unless none of it is lent. */
void kernel_plug(struct guest_kernel *k, balloon_range range);
bool kernel_unplug(struct guest_kernel *k, balloon_range range);

/* Free pages were never there: they are the balloon's. */
void kernel_lose(struct guest_kernel *k, balloon_range range);

/* Lend up to that many pages in up to max blocks of block pages, or of less where there are none.
 * Used pages are not lent. Returns the number of blocks. */
size_t kernel_lend(struct guest_kernel *k, uint64_t pages, uint32_t block, bool whole_blocks,
                   balloon_range *runs, size_t max);

/* Pages come back. */
void kernel_return(struct guest_kernel *k, balloon_range range);

/* Programs take and drop pages, write to them, and look whether they still hold what they wrote. */
void kernel_work(struct guest_kernel *k, unsigned times);
void kernel_verify(struct guest_kernel *k);

/* The host discards pages: they read as zeros from now on. */
void kernel_discard(struct guest_kernel *k, balloon_range range);

#endif
