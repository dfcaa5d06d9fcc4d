/* Arrays of page numbers, as buffers bring them, are cut into batches. */
#include "tracker_batch_p.h"

#ifdef BATCH_AVX2
static bool has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

/* Any thread that finds nothing here puts the same there. */
static const struct batch_code *chosen;

static NOINLINE const struct batch_code *choose(void)
{
    const struct batch_code *code = bl_batch_version(0);

    bl_batch_use(code);
    return code;
}

const struct batch_code *bl_batch_code(void)
{
    const struct batch_code *code = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

    return code ? code : choose();
}

void bl_batch_use(const struct batch_code *code)
{
    __atomic_store_n(&chosen, code, __ATOMIC_RELAXED);
}

const struct batch_code *bl_batch_version(unsigned i)
{
    if (!has_avx2())
        i++;
    return i == 0 ? &bl_batch_avx2 : i == 1 ? &bl_batch_portable : NULL;
}
#else
const struct batch_code *bl_batch_code(void)
{
    return &bl_batch_portable;
}

void bl_batch_use(const struct batch_code *code)
{
    (void)code;
}

const struct batch_code *bl_batch_version(unsigned i)
{
    return i == 0 ? &bl_batch_portable : NULL;
}
#endif

void balloon_tracker_inflate(balloon_tracker *t, const uint32_t *pfns, size_t count,
                             balloon_tally *tally)
{
    const struct batch_code *code = bl_batch_code();

    if (!tally) {
        balloon_tally ignored = {0};

        balloon_tracker_inflate(t, pfns, count, &ignored);
        return;
    }
    if (!t->region_count) {
        tally->outside += count;
        return;
    }
    for (; count > BATCH_PAGES; count -= BATCH_PAGES, pfns += BATCH_PAGES)
        code->inflate(t, pfns, BATCH_PAGES, tally);
    if (count)
        code->inflate(t, pfns, count, tally);
}

void balloon_tracker_deflate(balloon_tracker *t, const uint32_t *pfns, size_t count,
                             balloon_tally *tally)
{
    const struct batch_code *code = bl_batch_code();
    balloon_tally ignored = {0};
    uint64_t cancelled = t->cancelled;

    if (!tally)
        tally = &ignored;
    if (!t->region_count) {
        tally->outside += count;
        return;
    }
    for (; count > BATCH_PAGES; count -= BATCH_PAGES, pfns += BATCH_PAGES)
        code->deflate(t, pfns, BATCH_PAGES, tally);
    if (count)
        code->deflate(t, pfns, count, tally);
    tally->cancelled += t->cancelled - cancelled;
}

void bl_tracker_inflate_from(balloon_tracker *t, const void *peer, size_t count,
                             balloon_tally *tally)
{
    const struct batch_code *code = bl_batch_code();
    const unsigned char *from = peer;

    if (!t->region_count)
        tally->outside += count;
    for (size_t n; t->region_count && count; count -= n, from += n * sizeof(uint32_t)) {
        n = count < BATCH_PAGES ? count : BATCH_PAGES;
        code->inflate_from(t, from, n, tally);
    }
}

void bl_tracker_deflate_from(balloon_tracker *t, const void *peer, size_t count,
                             balloon_tally *tally)
{
    const struct batch_code *code = bl_batch_code();
    const unsigned char *from = peer;
    uint64_t cancelled = t->cancelled;

    if (!t->region_count)
        tally->outside += count;
    for (size_t n; t->region_count && count; count -= n, from += n * sizeof(uint32_t)) {
        n = count < BATCH_PAGES ? count : BATCH_PAGES;
        code->deflate_from(t, from, n, tally);
    }
    tally->cancelled += t->cancelled - cancelled;
}

struct narrowed bl_tracker_narrow(const uint64_t *words, size_t count, unsigned shift, uint32_t one,
                                  uint32_t *pfns)
{
    return bl_batch_code()->narrow(words, count, shift, one, pfns);
}

size_t bl_tracker_inflate_in_order(balloon_tracker *t, const uint32_t *pfns, size_t count,
                                   balloon_tally *tally)
{
    const struct batch_code *code = bl_batch_code();
    size_t done = 0, n = 0, went = 0;

    if (!t->region_count || !t->gather || t->any_reported)
        return 0;
    for (; done < count && went == n; done += went) {
        n = went = count - done < BATCH_PAGES ? count - done : BATCH_PAGES;
        if (!code->inflate_all(t, pfns + done, n, tally))
            went = bl_tracker_inflate_until(t, pfns + done, n, tally);
    }
    return done;
}

size_t bl_tracker_deflate_in_order(balloon_tracker *t, const uint32_t *pfns, size_t count,
                                   balloon_tally *tally)
{
    const struct batch_code *code = bl_batch_code();
    uint64_t cancelled = t->cancelled;
    size_t done = 0, n = 0, went = 0;

    if (!t->region_count || !t->gather || t->any_reported)
        return 0;
    for (; done < count && went == n; done += went) {
        n = went = count - done < BATCH_PAGES ? count - done : BATCH_PAGES;
        if (!code->deflate_all(t, pfns + done, n, tally))
            went = bl_tracker_deflate_until(t, pfns + done, n, tally);
    }
    tally->cancelled += t->cancelled - cancelled;
    return done;
}
