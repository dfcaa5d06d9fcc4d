/* Batches that come in, by their shape; a part of tracker_batch_code_p.h. */

/* What becomes of pages that come in. */
enum way {
    LINE, /* in line to be taken */
    WAIT, /* pending with what is pending already */
};

/* --- counts of blocks ------------------------------------------------------------------------ */

/* Of a block in which so many pages are held, and more come: was it empty, or will it be full? One
 * comparison, since both are rare. */
static inline bool at_an_end(unsigned held, unsigned more)
{
    return held - 1 >= BLOCK_PAGES - 1 - more;
}

/* A block that was empty, or is full now, is known to the summaries. It waits as a whole only if it
 * is full, as nothing was reported. */
static NOINLINE void note_block(balloon_tracker *t, uint64_t block, unsigned held, unsigned waiting)
{
    summary_set(&t->some, block);
    if (held == BLOCK_PAGES)
        summary_clear(&t->room, block);
    if (waiting == BLOCK_PAGES)
        summary_clear(&t->calm, block);
}

static NOINLINE void note_ready(balloon_tracker *t, uint64_t block)
{
    summary_set(&t->ready, block);
}

static ALWAYS_INLINE void came(balloon_tracker *t, uint64_t block, unsigned n, enum way way)
{
    unsigned was = t->in[block].held;

    if (at_an_end(was, n))
        note_block(t, block, was + n, way == WAIT ? t->pending_in[block] + n : 0);
    if (way == LINE) {
        add_both(&t->in[block], n);
        return;
    }
    t->in[block].held = (uint16_t)(was + n);
    if (!t->pending_in[block])
        note_ready(t, block);
    t->pending_in[block] = (uint16_t)(t->pending_in[block] + n);
}

static inline void came_all(balloon_tracker *t, uint64_t n, size_t of, balloon_tally *tally)
{
    t->held_pages += n;
    t->pending_pages += n;
    t->ready_pages += n;
    tally->changed += n;
    tally->unchanged += of - n;
}

/* How pages may come in now, and whether there are ways other than the slow one. */
static inline enum way way_in(const balloon_tracker *t, size_t n)
{
    return !t->gather && !t->pending_pages && n <= t->line.max ? LINE : WAIT;
}

/* --- one run --------------------------------------------------------------------------------- */

/* Hold pages of which none was held. */
static ALWAYS_INLINE void hold_run(balloon_tracker *t, uint64_t lo, uint64_t hi, enum way way)
{
    struct span s = span_of(lo, hi);
    uint64_t block = lo / BLOCK_PAGES, border = (block + 1) * BLOCK_PAGES;

    span_set(t->held, s);
    if (way == WAIT)
        span_set(t->pending, s);
    if (hi <= border) {
        came(t, block, (unsigned)(hi - lo), way);
    } else {
        came(t, block, (unsigned)(border - lo), way);
        came(t, block + 1, (unsigned)(hi - border), way);
    }
}

/* Put a run behind those in line, or before a single one; false when there is no room. */
static inline bool queue_run(balloon_tracker *t, const region *r, uint32_t first, uint32_t end)
{
    struct line *line = &t->line;
    uint32_t *edge = bl_line_edges(t) + 2 * line->count; /* behind the first page of the last run */

    if (line->count) {
        if (edge[0] == first && first != r->first) {
            edge[0] = end;
            return true;
        }
        if (line->count == line->next + 1 && edge[-1] == end && end < r->end) {
            edge[-1] = first;
            return true;
        }
        if (line->count == line->max)
            return false;
        line->mixed = line->mixed || edge[0] > first || !edge[0];
    }
    edge[1] = first;
    edge[2] = end;
    bl_line_end(t, line->count + 1);
    return true;
}

static inline bool inflate_run(balloon_tracker *t, const region *r, uint32_t first, size_t n,
                               balloon_tally *tally)
{
    uint64_t lo = first + r->shift, hi = lo + n;

    if (first < r->first || n > end_of(r) - first || span_any(t->held, span_of(lo, hi)))
        return false;
    if ((way_in(t, n) == LINE || t->line.count) && queue_run(t, r, first, first + (uint32_t)n)) {
        hold_run(t, lo, hi, LINE);
    } else {
        bl_tracker_leave_line(t);
        hold_run(t, lo, hi, WAIT);
    }
    came_all(t, n, n, tally);
    return true;
}

/* --- one block ------------------------------------------------------------------------------- */

/* Where runs of a block begin and end, in turn; returns how many such edges. */
static size_t find_edges(const uint64_t *words, uint32_t at, uint32_t *edge)
{
    uint32_t *to = edge;
    uint64_t last = 0;

    for (unsigned i = 0; i < BLOCK_WORDS; i++, at += WORD_BITS) {
        /* Bits that differ from the one before. */
        to = turns(words[i] ^ (words[i] << 1 | last), at, to);
        last = words[i] >> (WORD_BITS - 1);
    }
    if (last)
        *to++ = at;
    return (size_t)(to - edge);
}

static void inflate_block(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                          balloon_tally *tally)
{
    uint64_t block = (v[0] + r->shift) / BLOCK_PAGES, words[BLOCK_WORDS];
    uint64_t *held = t->held + block * BLOCK_WORDS, *pending = t->pending + block * BLOCK_WORDS;
    uint32_t at = v[0] & ~(uint32_t)(BLOCK_PAGES - 1);
    enum way way = way_in(t, n);
    unsigned fresh = 0;

    mark_block(v, n, words);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        words[i] &= ~held[i];
        held[i] |= words[i];
        fresh += ones(words[i]);
    }
    tally->unchanged += n - fresh;
    if (!fresh)
        return;
    if (way == LINE)
        bl_line_end(t, find_edges(words, at, bl_line_edges(t) + 1) / 2);
    else
        for (unsigned i = 0; i < BLOCK_WORDS; i++)
            pending[i] |= words[i];
    came(t, block, fresh, way);
    came_all(t, fresh, fresh, tally);
}

/* All of them, which wait, or nothing. */
static bool inflate_block_all(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                              balloon_tally *tally)
{
    uint64_t block = (v[0] + r->shift) / BLOCK_PAGES, words[BLOCK_WORDS], again = 0;
    uint64_t *held = t->held + block * BLOCK_WORDS, *pending = t->pending + block * BLOCK_WORDS;
    size_t named = 0;

    mark_block(v, n, words);
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        again |= words[i] & held[i];
        named += ones(words[i]);
    }
    if (again || named != n)
        return false;
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        held[i] |= words[i];
        pending[i] |= words[i];
    }
    came(t, block, (unsigned)n, WAIT);
    came_all(t, n, n, tally);
    return true;
}

/* --- from all over --------------------------------------------------------------------------- */

/* Of a batch, those that are not `old`. */
static NOINLINE size_t drop_old(const uint32_t *v, size_t n, const uint64_t *old, uint32_t *to)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        to[kept] = v[i];
        kept += !(old[i / WORD_BITS] >> (i % WORD_BITS) & 1);
    }
    return kept;
}

/* Sorted pages of one region. Pages that are held already are rare. */
static ALWAYS_INLINE void line_up(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                  balloon_tally *tally, const bool far)
{
    const struct row row = row_of(t, r);
    /* Behind the runs of another region, which may be there. */
    uint32_t *edge = bl_line_edges(t) + 2 * t->line.count, fresh[BATCH_PAGES];
    uint64_t old[BATCH_PAGES / WORD_BITS] = {0};
    size_t again = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t at = v[i] + row.shift, block = at / BLOCK_PAGES, was = row.held[at / WORD_BITS];
        unsigned held;

        if (far)
            fetch_ahead(&row, v, i, n, false);
        if (was >> (at % WORD_BITS) & 1) {
            old[i / WORD_BITS] |= UINT64_C(1) << (i % WORD_BITS);
            again++;
            continue;
        }
        row.held[at / WORD_BITS] = was | UINT64_C(1) << (at % WORD_BITS);
        held = add_both(&row.in[block], 1);
        if (is_first_or_last(held))
            note_block(t, block, held, 0);
    }
    if (again) {
        n = drop_old(v, n, old, fresh);
        v = fresh;
    }
    if (n)
        bl_line_end(t, t->line.count + edges(v, n, edge));
    came_all(t, n, n + again, tally);
}

static NOINLINE void inflate_sorted(balloon_tracker *t, const region *r, const uint32_t *v,
                                    size_t n, balloon_tally *tally)
{
    if (t->blocks < FETCH_BLOCKS)
        line_up(t, r, v, n, tally, false);
    else
        line_up(t, r, v, n, tally, true);
}

/* Pages of one region in any order become pending. */
static ALWAYS_INLINE void let_wait(balloon_tracker *t, const region *r, const uint32_t *v, size_t n,
                                   balloon_tally *tally, const bool far)
{
    const struct row row = row_of(t, r);
    size_t again = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t at = v[i] + row.shift, block = at / BLOCK_PAGES, was = row.held[at / WORD_BITS];
        unsigned held, waiting;

        if (far)
            fetch_ahead(&row, v, i, n, true);
        if (was >> (at % WORD_BITS) & 1) {
            again++;
            continue;
        }
        row.held[at / WORD_BITS] = was | UINT64_C(1) << (at % WORD_BITS);
        row.pending[at / WORD_BITS] |= UINT64_C(1) << (at % WORD_BITS);
        held = ++row.in[block].held;
        waiting = ++row.pending_in[block];
        if (is_first_or_last(held))
            note_block(t, block, held, waiting);
        if (waiting == 1)
            note_ready(t, block);
    }
    came_all(t, n - again, n, tally);
}

static NOINLINE void inflate_unsorted(balloon_tracker *t, const region *r, const uint32_t *v,
                                      size_t n, balloon_tally *tally)
{
    if (t->blocks < FETCH_BLOCKS)
        let_wait(t, r, v, n, tally, false);
    else
        let_wait(t, r, v, n, tally, true);
}

/* --- some runs ------------------------------------------------------------------------------- */

/* Runs in any order become pending. */
static void let_runs_wait(balloon_tracker *t, const region *r, const struct runs *runs,
                          balloon_tally *tally)
{
    fetch_runs(t, r, runs, true);
    for (size_t i = 0; i < runs->count; i++) {
        balloon_range range = {runs->first[i], runs->pages[i]};
        const region *near = r;

        if (!inflate_run(t, r, runs->first[i], runs->pages[i], tally))
            bl_tracker_inflate_near(t, range, tally, &near);
    }
}

/* Are all pages of the runs new, and named once? */
static bool all_new(const balloon_tracker *t, const region *r, const struct runs *unsorted,
                    struct runs *sorted)
{
    uint64_t any = 0;

    if (!sort_runs(unsorted, sorted))
        return false;
    for (size_t i = 0; i < sorted->count; i++) {
        uint64_t lo = sorted->first[i] + r->shift;

        any |= span_any(t->held, span_of(lo, lo + sorted->pages[i]));
    }
    return !any;
}

/* If they are, they become pending, or nothing does. */
static bool inflate_runs_all(balloon_tracker *t, const region *r, const struct runs *unsorted,
                             balloon_tally *tally)
{
    struct runs runs;

    if (!all_new(t, r, unsorted, &runs))
        return false;
    let_runs_wait(t, r, &runs, tally);
    return true;
}

/* And if there is room for them behind those that are in line, they join these. */
static bool queue_runs(balloon_tracker *t, const region *r, const struct runs *unsorted, size_t n,
                       balloon_tally *tally)
{
    uint32_t *edge = bl_line_edges(t) + 2 * t->line.count + 1;
    struct runs runs;

    if (unsorted->count > t->line.max - t->line.count)
        return false;
    fetch_runs(t, r, unsorted, false);
    if (!all_new(t, r, unsorted, &runs))
        return false;
    for (size_t i = 0; i < runs.count; i++) {
        uint64_t lo = runs.first[i] + r->shift;

        hold_run(t, lo, lo + runs.pages[i], LINE);
        *edge++ = runs.first[i];
        *edge++ = runs.first[i] + runs.pages[i];
    }
    t->line.mixed = true;
    bl_line_end(t, t->line.count + runs.count);
    came_all(t, n, n, tally);
    return true;
}

/* In line, if they lie apart. What comes with or after a page that is held already goes page by
 * page. */
static bool line_up_runs(balloon_tracker *t, const region *r, const struct runs *unsorted, size_t n,
                         balloon_tally *tally)
{
    uint32_t *edge = bl_line_edges(t), rest[BATCH_PAGES];
    size_t i = 0, left = n, k = 0;
    struct runs runs;

    fetch_runs(t, r, unsorted, false);
    if (!sort_runs(unsorted, &runs))
        return false;
    for (; i < runs.count; i++) {
        uint64_t lo = runs.first[i] + r->shift, hi = lo + runs.pages[i];

        if (span_any(t->held, span_of(lo, hi)))
            break;
        hold_run(t, lo, hi, LINE);
        edge[2 * i + 1] = runs.first[i];
        edge[2 * i + 2] = runs.first[i] + runs.pages[i];
        left -= runs.pages[i];
    }
    if (i)
        bl_line_end(t, i);
    came_all(t, n - left, n - left, tally);
    for (; i < runs.count; i++)
        for (uint32_t page = 0; page < runs.pages[i]; page++)
            rest[k++] = runs.first[i] + page;
    if (k)
        inflate_sorted(t, r, rest, k, tally);
    return true;
}
