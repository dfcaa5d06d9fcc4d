/* Page numbers in any order, in any regions: run by run as they come. */
#include "tracker_batch_p.h"

static size_t run_length(const uint32_t *v, size_t n, uint32_t step)
{
    /* Page numbers do not wrap, though the arithmetic below does. */
    uint32_t room = step == 1 ? UINT32_MAX - v[0] : v[0];
    size_t k = 1;

    if (n - 1 > room)
        n = (size_t)room + 1;
    while (k < n && v[k] == v[k - 1] + step)
        k++;
    return k;
}

static ALWAYS_INLINE void runs(balloon_tracker *t, const uint32_t *v, size_t n,
                               balloon_tally *tally, bool inflate)
{
    const region *near = t->regions;

    for (size_t i = 0, k; i < n; i += k) {
        balloon_range range = {v[i], 1};

        k = run_length(v + i, n - i, 1);
        if (k == 1) {
            k = run_length(v + i, n - i, UINT32_MAX);
            range.first = v[i + k - 1];
        }
        range.count = k;
        (inflate ? bl_tracker_inflate_near : bl_tracker_deflate_near)(t, range, tally, &near);
    }
}

void bl_tracker_inflate_any(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    runs(t, v, n, tally, true);
}

void bl_tracker_deflate_any(balloon_tracker *t, const uint32_t *v, size_t n, balloon_tally *tally)
{
    runs(t, v, n, tally, false);
}
