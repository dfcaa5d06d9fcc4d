#include <criterion/criterion.h>

#include <string.h>

#include <balloon/stats.h>

/* Typed from QEMU 11.1's answer to qom-get guest-stats and from libvirt's documentation, by tag. */
static const struct named {
    const char *name;
    balloon_stat stat;
    uint64_t unit;
} qemu[] =
    {
        {"stat-swap-in", BALLOON_STAT_SWAP_IN, 1},
        {"stat-swap-out", BALLOON_STAT_SWAP_OUT, 1},
        {"stat-major-faults", BALLOON_STAT_MAJOR_FAULTS, 1},
        {"stat-minor-faults", BALLOON_STAT_MINOR_FAULTS, 1},
        {"stat-free-memory", BALLOON_STAT_FREE, 1},
        {"stat-total-memory", BALLOON_STAT_TOTAL, 1},
        {"stat-available-memory", BALLOON_STAT_AVAILABLE, 1},
        {"stat-disk-caches", BALLOON_STAT_CACHES, 1},
        {"stat-htlb-pgalloc", BALLOON_STAT_HUGE_ALLOC, 1},
        {"stat-htlb-pgfail", BALLOON_STAT_HUGE_FAIL, 1},
        {"stat-oom-kills", BALLOON_STAT_OOM_KILL, 1},
        {"stat-alloc-stalls", BALLOON_STAT_ALLOC_STALL, 1},
        {"stat-async-scans", BALLOON_STAT_ASYNC_SCAN, 1},
        {"stat-direct-scans", BALLOON_STAT_DIRECT_SCAN, 1},
        {"stat-async-reclaims", BALLOON_STAT_ASYNC_RECLAIM, 1},
        {"stat-direct-reclaims", BALLOON_STAT_DIRECT_RECLAIM, 1},
},
  libvirt[] = {
      {"balloon.swap_in", BALLOON_STAT_SWAP_IN, 1024},
      {"balloon.swap_out", BALLOON_STAT_SWAP_OUT, 1024},
      {"balloon.major_fault", BALLOON_STAT_MAJOR_FAULTS, 1},
      {"balloon.minor_fault", BALLOON_STAT_MINOR_FAULTS, 1},
      {"balloon.unused", BALLOON_STAT_FREE, 1024},
      {"balloon.available", BALLOON_STAT_TOTAL, 1024},
      {"balloon.current", BALLOON_STAT_SLOTS, 0},
      {"balloon.rss", BALLOON_STAT_SLOTS, 0},
      {"balloon.usable", BALLOON_STAT_AVAILABLE, 1024},
      {"balloon.last-update", BALLOON_STAT_SLOTS, 0},
      {"balloon.disk_caches", BALLOON_STAT_CACHES, 1024},
      {"balloon.hugetlb_pgalloc", BALLOON_STAT_HUGE_ALLOC, 1},
      {"balloon.hugetlb_pgfail", BALLOON_STAT_HUGE_FAIL, 1},
      {"balloon.maximum", BALLOON_STAT_SLOTS, 0},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void expect_only(const balloon_sample *sample, const struct named *n, uint64_t value)
{
    balloon_sample expected = {0};

    if (n->unit != 0) {
        expected.present = UINT32_C(1) << n->stat;
        expected.value[n->stat] = value * n->unit;
    }
    cr_assert_eq(memcmp(sample, &expected, sizeof(expected)), 0, "%s", n->name);
}

Test(stats_names, each_name_of_qemu_is_one_statistic)
{
    for (size_t i = 0; i < COUNT(qemu); i++) {
        balloon_sample sample = {0};

        cr_assert(balloon_sample_set_named(&sample, BALLOON_STAT_NAMES_QEMU, qemu[i].name, 12345));
        expect_only(&sample, &qemu[i], 12345);
    }
}

Test(stats_names, each_name_of_libvirt_is_one_statistic_with_or_without_prefix)
{
    for (size_t i = 0; i < COUNT(libvirt); i++) {
        const char *names[] = {libvirt[i].name, libvirt[i].name + strlen("balloon.")};

        for (size_t k = 0; k < COUNT(names); k++) {
            balloon_sample sample = {0};

            cr_assert_eq(
                balloon_sample_set_named(&sample, BALLOON_STAT_NAMES_LIBVIRT, names[k], 99),
                libvirt[i].unit != 0, "%s", names[k]);
            expect_only(&sample, &libvirt[i], 99);
        }
    }
}

Test(stats_names, each_tag_of_libvirt_is_what_its_name_is)
{
    for (uint32_t tag = 0; tag < 20; tag++) {
        balloon_sample by_tag = {0}, by_name = {0};
        bool known = tag < 13 && libvirt[tag].unit != 0;

        cr_assert_eq(balloon_sample_set_libvirt(&by_tag, tag, 7), known, "tag %u", (unsigned)tag);
        if (known)
            balloon_sample_set_named(&by_name, BALLOON_STAT_NAMES_LIBVIRT, libvirt[tag].name, 7);
        cr_assert_eq(memcmp(&by_tag, &by_name, sizeof(by_tag)), 0, "tag %u", (unsigned)tag);
    }
    cr_assert_not(balloon_sample_set_libvirt(&(balloon_sample){0}, UINT32_MAX, 7));
}

Test(stats_names, other_names_change_nothing)
{
    static const char *const others[] = {
        "",
        "stat",
        "stat-",
        "stat-free",
        "stat-free-memory ",
        "stat-free-memoryx",
        "last-update",
        "balloon.",
        "balloon",
        "balloon.balloon.unused",
        "unuse",
        "Unused",
    };

    for (size_t i = 0; i < COUNT(others); i++) {
        balloon_sample sample = {0}, nothing = {0};

        cr_assert_not(balloon_sample_set_named(&sample, BALLOON_STAT_NAMES_QEMU, others[i], 1));
        cr_assert_not(balloon_sample_set_named(&sample, BALLOON_STAT_NAMES_LIBVIRT, others[i], 1));
        cr_assert_eq(memcmp(&sample, &nothing, sizeof(sample)), 0, "%s", others[i]);
    }
    cr_assert_not(balloon_sample_set_named(&(balloon_sample){0}, BALLOON_STAT_NAMES_QEMU,
                                           "balloon.unused", 1));
    cr_assert_not(balloon_sample_set_named(&(balloon_sample){0}, BALLOON_STAT_NAMES_LIBVIRT,
                                           "stat-free-memory", 1));
}

Test(stats_names, what_no_guest_can_have_is_none)
{
    static const struct {
        balloon_stat_names names;
        const char *name;
        uint64_t value;
        bool kept;
    } cases[] = {
        {BALLOON_STAT_NAMES_QEMU, "stat-free-memory", UINT64_MAX, false},
        {BALLOON_STAT_NAMES_QEMU, "stat-free-memory", UINT64_MAX - 4095, false},
        {BALLOON_STAT_NAMES_QEMU, "stat-free-memory", UINT64_C(1) << 63, false},
        {BALLOON_STAT_NAMES_QEMU, "stat-free-memory", INT64_MAX, true},
        {BALLOON_STAT_NAMES_LIBVIRT, "unused", UINT64_MAX, false},
        {BALLOON_STAT_NAMES_LIBVIRT, "unused", UINT64_C(1) << 53, false},
        {BALLOON_STAT_NAMES_LIBVIRT, "unused", (UINT64_C(1) << 53) - 1, true},
        {BALLOON_STAT_NAMES_LIBVIRT, "major_fault", UINT64_C(1) << 53, true},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        balloon_sample sample = {0};

        cr_assert(balloon_sample_set_named(&sample, cases[i].names, cases[i].name, cases[i].value));
        cr_assert_eq(sample.present != 0, cases[i].kept, "case %zu", i);
        cr_assert_eq(sample.ignored, cases[i].kept ? 0u : 1u, "case %zu", i);
    }
}

static balloon_sample sample_of(uint64_t bytes)
{
    balloon_sample sample = {.time = bytes}; /* times never matter */

    balloon_sample_set(&sample, BALLOON_STAT_FREE, bytes);
    return sample;
}

Test(stats_names, an_answer_is_new_by_its_stamp_or_its_values)
{
    balloon_sample a = sample_of(1), b = sample_of(2), later = a, more = a;

    later.time++;
    balloon_sample_set(&more, BALLOON_STAT_TOTAL, 0);
    cr_assert(balloon_sample_is_new(&a, 5, NULL, 0), "the first");
    cr_assert_not(balloon_sample_is_new(&a, 0, NULL, 0), "never");
    cr_assert_not(balloon_sample_is_new(&a, 0, &b, 0), "still never");
    cr_assert_not(balloon_sample_is_new(&later, 5, &a, 5), "the same again");
    cr_assert(balloon_sample_is_new(&a, 6, &a, 5), "the same a second later");
    cr_assert(balloon_sample_is_new(&a, 4, &a, 5), "the clock was set back");
    cr_assert(balloon_sample_is_new(&b, 5, &a, 5), "others in the same second");
    cr_assert(balloon_sample_is_new(&more, 5, &a, 5), "one more, though it is 0");
}
