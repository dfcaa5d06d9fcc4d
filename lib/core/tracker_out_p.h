/* Batches that leave, by their shape; a part of tracker_batch_code_p.h. */

/* A block in which so many pages were held was full, or is empty now. */
static NOINLINE void note_gone(balloon_tracker *t, uint64_t block, unsigned held, unsigned n)
{
    if (held == BLOCK_PAGES)
        summary_set(&t->room, block);
    if (held == n)
        summary_clear(&t->some, block);
}

/* Pages of a block that were held are not any more; `waited` of them were pending. */
static ALWAYS_INLINE void went(balloon_tracker *t, uint64_t block, unsigned n, unsigned waited)
{
    unsigned held = t->in[block].held;

    if (held == BLOCK_PAGES || held == n)
        note_gone(t, block, held, n);
    t->in[block].held = (uint16_t)(held - n);
    if (t->in[block].returned)
        bl_tracker_lose(t, block, n - waited);
}

static inline void went_all(balloon_tracker *t, uint64_t n, uint64_t waited, size_t of,
                            balloon_tally *tally)
{
    t->held_pages -= n;
    t->pending_pages -= waited;
    t->ready_pages -= waited;
    t->cancelled += waited;
    tally->changed += n;
    tally->unchanged += of - n;
}

/* All pages of a run are held and nothing is pending, or nothing is changed. */
static inline bool deflate_run(balloon_tracker *t, const region *r, uint32_t first, uint32_t n,
                               balloon_tally *tally)
{
    uint64_t lo = first + r->shift, hi = lo + n, block = lo / BLOCK_PAGES;
    uint64_t border = (block + 1) * BLOCK_PAGES;
    struct span s = span_of(lo, hi);

    if (t->pending_pages || first < r->first || n > end_of(r) - first || !span_all(t->held, s))
        return false;
    span_clear(t->held, s);
    if (hi <= border) {
        went(t, block, n, 0);
    } else {
        went(t, block, (unsigned)(border - lo), 0);
        went(t, block + 1, (unsigned)(hi - border), 0);
    }
    went_all(t, n, 0, n, tally);
    return true;
}

static void deflate_runs(balloon_tracker *t, const region *r, const struct runs *runs,
                         balloon_tally *tally)
{
    fetch_runs(t, r, runs, t->pending_pages != 0);
    for (size_t i = 0; i < runs->count; i++) {
        balloon_range range = {runs->first[i], runs->pages[i]};
        const region *near = r;

        if (!deflate_run(t, r, runs->first[i], runs->pages[i], tally))
            bl_tracker_deflate_near(t, range, tally, &near);
    }
}

/* All pages of the runs, which are held and named once, or nothing. */
static bool deflate_runs_all(balloon_tracker *t, const region *r, const struct runs *unsorted,
                             balloon_tally *tally)
{
    struct runs runs;

    if (!sort_runs(unsorted, &runs))
        return false;
    for (size_t i = 0; i < runs.count; i++) {
        uint64_t lo = runs.first[i] + r->shift;

        if (!span_all(t->held, span_of(lo, lo + runs.pages[i])))
            return false;
    }
    deflate_runs(t, r, &runs, tally);
    return true;
}

/* The marked pages of a block, of which n were named. */
static void drop_words(balloon_tracker *t, uint64_t block, const uint64_t words[BLOCK_WORDS],
                       size_t n, balloon_tally *tally)
{
    uint64_t *held = t->held + block * BLOCK_WORDS, *pending = t->pending + block * BLOCK_WORDS;
    unsigned gone = 0, waited = 0;

    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        gone += ones(words[i] & held[i]);
        held[i] &= ~words[i];
        if (t->pending_pages) {
            waited += ones(words[i] & pending[i]);
            pending[i] &= ~words[i];
        }
    }
    if (waited) {
        t->pending_in[block] = (uint16_t)(t->pending_in[block] - waited);
        bl_tracker_fewer_pending(t, block, t->pending_in[block] + waited);
    }
    if (gone)
        went(t, block, gone, waited);
    went_all(t, gone, waited, n, tally);
}

static void deflate_block(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                          balloon_tally *tally)
{
    uint64_t words[BLOCK_WORDS];

    mark_block(v, n, words);
    drop_words(t, (v[0] + r->shift) / BLOCK_PAGES, words, n, tally);
}

/* All of them, or nothing. */
static bool deflate_block_all(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                              balloon_tally *tally)
{
    uint64_t block = (v[0] + r->shift) / BLOCK_PAGES, words[BLOCK_WORDS], lack = 0;
    size_t named = 0;

    mark_block(v, n, words);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        lack |= words[i] & ~t->held[block * BLOCK_WORDS + i];
        named += ones(words[i]);
    }
    if (lack || named != n)
        return false;
    drop_words(t, block, words, n, tally);
    return true;
}

static NOINLINE void went_one(balloon_tracker *t, uint64_t block, unsigned waited)
{
    went(t, block, 1, waited);
}

/* Pages of one region in any order. */
static ALWAYS_INLINE void let_go(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                 balloon_tally *tally, const bool any_waits, const bool far)
{
    const struct row row = row_of(t, r);
    size_t absent = 0, waited = 0, lost = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t at = v[i] + row.shift, block = at / BLOCK_PAGES, was = row.held[at / WORD_BITS];
        uint64_t bit = UINT64_C(1) << (at % WORD_BITS);

        if (far)
            fetch_ahead(&row, v, i, n, any_waits);
        if (!(was >> (at % WORD_BITS) & 1)) {
            absent++;
            continue;
        }
        row.held[at / WORD_BITS] = was & ~bit;
        if (any_waits && row.pending[at / WORD_BITS] & bit) {
            row.pending[at / WORD_BITS] &= ~bit;
            row.pending_in[block]--;
            bl_tracker_fewer_pending(t, block, row.pending_in[block] + 1u);
            waited++;
            went_one(t, block, 1);
        } else if (is_first_or_last(row.in[block].held) || !row.in[block].returned) {
            went_one(t, block, 0); /* it is empty or was full, or nothing is lost */
        } else {
            add_both(&row.in[block], UINT32_MAX);
            lost++;
        }
    }
    t->returned_pages -= lost;
    went_all(t, n - absent, waited, n, tally);
}

static NOINLINE void deflate_pages(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                   balloon_tally *tally)
{
    bool far = t->blocks >= FETCH_BLOCKS;

    if (t->pending_pages)
        let_go(t, r, v, n, tally, true, far);
    else if (far)
        let_go(t, r, v, n, tally, false, true);
    else
        let_go(t, r, v, n, tally, false, false);
}
