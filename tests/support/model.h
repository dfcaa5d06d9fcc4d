/* The tracker once more, as naive as can be: one struct a page, loops over everything. */
#ifndef TEST_MODEL_H
#define TEST_MODEL_H

#include <balloon/tracker.h>

#define MODEL_REGIONS 16

struct model_page {
    uint8_t held;
    uint8_t pending;
    uint8_t returned; /* what the host got back, whatever the tracker can know of it */
    uint8_t hinted;
};

struct model_region {
    bool used;
    balloon_region at;
    struct model_page *page;
};

struct model {
    uint64_t max_pages;
    uint32_t max_regions;
    bool hints;
    bool gather;
    struct model_region region[MODEL_REGIONS];
};

/* Counts of every set at once: one walk over all pages. */
struct model_counts {
    uint64_t pages;
    uint64_t held;
    uint64_t pending;
    uint64_t ready;
    uint64_t returned;
    uint64_t hinted;
};

void model_init(struct model *model, uint64_t max_pages, uint32_t max_regions, bool hints);
void model_free(struct model *model);

/* The statuses that adding this region may return, as bits (1 << status): where several things are
 * wrong with it any of them will do. */
unsigned model_region_verdict(const struct model *model, const balloon_region *region);
void model_add_region(struct model *model, const balloon_region *region, uint32_t id);
void model_remove_region(struct model *model, uint32_t id);

/* The page with a number, or NULL when no region has it; region may be NULL. */
struct model_page *model_page_at(const struct model *model, balloon_pfn_t pfn,
                                 const struct model_region **region);

void model_reset(struct model *model);
void model_set_gather(struct model *model, bool gather);
void model_inflate(struct model *model, balloon_range range, balloon_tally *tally);
void model_deflate(struct model *model, balloon_range range, balloon_tally *tally);
void model_report(struct model *model, balloon_range range, balloon_tally *tally);
void model_hint(struct model *model, balloon_range range, balloon_tally *tally);
void model_forget_hints(struct model *model);
size_t model_take(struct model *model, balloon_run *runs, size_t max);
uint64_t model_put_back(struct model *model, const balloon_run *run);
void model_settle(struct model *model);
void model_import(struct model *model, balloon_range range, const uint8_t *bits,
                  balloon_tally *tally);

struct model_counts model_count_all(const struct model *model);
bool model_in_set(const struct model *model, const struct model_page *page, balloon_set set);
uint64_t model_count(const struct model *model, balloon_set set, balloon_range range);
bool model_next(const struct model *model, balloon_set set, balloon_range range, balloon_run *run);
/* Sets the bits of a set and leaves the others. */
void model_merge(const struct model *model, balloon_set set, balloon_range range, uint8_t *bits);

/* NULL when the tracker and the model agree on every page, else what differs. */
const char *model_compare_sets(const struct model *model, const balloon_tracker *tracker);
/* NULL when they agree on every total. */
const char *model_compare_counts(const struct model *model, const balloon_tracker *tracker);

#endif
