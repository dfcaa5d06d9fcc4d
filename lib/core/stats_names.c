/* How others name statistics. QEMU: balloon_stat_names[] of hw/virtio/virtio-balloon.c. libvirt:
 * virDomainMemoryStatTags, and the documentation of virConnectGetAllDomainStats(). */
#include <balloon/stats.h>

#include <string.h>

/* Those of libvirt that are sizes are in KiB, the others are counts of events. */
#define KIB_SHIFT 10u

struct stat_name {
    const char *name;
    balloon_stat stat;
    unsigned shift;
};

static const struct stat_name qemu[] = {
    {"stat-swap-in", BALLOON_STAT_SWAP_IN, 0},
    {"stat-swap-out", BALLOON_STAT_SWAP_OUT, 0},
    {"stat-major-faults", BALLOON_STAT_MAJOR_FAULTS, 0},
    {"stat-minor-faults", BALLOON_STAT_MINOR_FAULTS, 0},
    {"stat-free-memory", BALLOON_STAT_FREE, 0},
    {"stat-total-memory", BALLOON_STAT_TOTAL, 0},
    {"stat-available-memory", BALLOON_STAT_AVAILABLE, 0},
    {"stat-disk-caches", BALLOON_STAT_CACHES, 0},
    {"stat-htlb-pgalloc", BALLOON_STAT_HUGE_ALLOC, 0},
    {"stat-htlb-pgfail", BALLOON_STAT_HUGE_FAIL, 0},
    {"stat-oom-kills", BALLOON_STAT_OOM_KILL, 0},
    {"stat-alloc-stalls", BALLOON_STAT_ALLOC_STALL, 0},
    {"stat-async-scans", BALLOON_STAT_ASYNC_SCAN, 0},
    {"stat-direct-scans", BALLOON_STAT_DIRECT_SCAN, 0},
    {"stat-async-reclaims", BALLOON_STAT_ASYNC_RECLAIM, 0},
    {"stat-direct-reclaims", BALLOON_STAT_DIRECT_RECLAIM, 0},
};

/* By tag; 6, 7 and 9 are the size of the balloon, of the process, and the stamp. */
static const struct stat_name libvirt[] = {
    {"swap_in", BALLOON_STAT_SWAP_IN, KIB_SHIFT},
    {"swap_out", BALLOON_STAT_SWAP_OUT, KIB_SHIFT},
    {"major_fault", BALLOON_STAT_MAJOR_FAULTS, 0},
    {"minor_fault", BALLOON_STAT_MINOR_FAULTS, 0},
    {"unused", BALLOON_STAT_FREE, KIB_SHIFT},
    {"available", BALLOON_STAT_TOTAL, KIB_SHIFT},
    {NULL, BALLOON_STAT_SWAP_IN, 0},
    {NULL, BALLOON_STAT_SWAP_IN, 0},
    {"usable", BALLOON_STAT_AVAILABLE, KIB_SHIFT},
    {NULL, BALLOON_STAT_SWAP_IN, 0},
    {"disk_caches", BALLOON_STAT_CACHES, KIB_SHIFT},
    {"hugetlb_pgalloc", BALLOON_STAT_HUGE_ALLOC, 0},
    {"hugetlb_pgfail", BALLOON_STAT_HUGE_FAIL, 0},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static const char *without_prefix(const char *name, const char *prefix)
{
    const char *rest = name;

    while (*prefix != '\0' && *rest == *prefix) {
        rest++;
        prefix++;
    }
    return *prefix == '\0' ? rest : name;
}

static bool set(balloon_sample *sample, const struct stat_name *entry, uint64_t value)
{
    bool known = value <= (uint64_t)INT64_MAX >> entry->shift;

    balloon_sample_set(sample, known ? entry->stat : (balloon_stat)BALLOON_STAT_SLOTS,
                       value << entry->shift);
    return true;
}

bool balloon_sample_set_named(balloon_sample *sample, balloon_stat_names names, const char *name,
                              uint64_t value)
{
    bool is_libvirt = names == BALLOON_STAT_NAMES_LIBVIRT;
    const struct stat_name *table = is_libvirt ? libvirt : qemu;
    size_t count = is_libvirt ? COUNT(libvirt) : COUNT(qemu);

    if (is_libvirt)
        name = without_prefix(name, "balloon.");
    for (size_t i = 0; i < count; i++)
        if (table[i].name != NULL && is_same(table[i].name, name))
            return set(sample, &table[i], value);
    return false;
}

bool balloon_sample_set_libvirt(balloon_sample *sample, uint32_t tag, uint64_t value)
{
    if (tag >= COUNT(libvirt) || libvirt[tag].name == NULL)
        return false;
    return set(sample, &libvirt[tag], value);
}

bool balloon_sample_is_new(const balloon_sample *sample, uint64_t stamp, const balloon_sample *last,
                           uint64_t last_stamp)
{
    if (stamp == 0)
        return false;
    return last == NULL || stamp != last_stamp || sample->present != last->present ||
           memcmp(sample->value, last->value, sizeof(sample->value)) != 0;
}
