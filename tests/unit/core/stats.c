#include <criterion/criterion.h>

#include <string.h>

#include <balloon/stats.h>

Test(stats, what_is_set_can_be_got)
{
    balloon_sample sample = {0};
    uint64_t value = 0;

    for (int i = 0; i < BALLOON_STAT_COUNT; i++) {
        cr_assert_not(balloon_sample_get(&sample, (balloon_stat)i, NULL));
        balloon_sample_set(&sample, (balloon_stat)i, UINT64_MAX - (uint64_t)i);
        cr_assert(balloon_sample_get(&sample, (balloon_stat)i, &value));
        cr_assert_eq(value, UINT64_MAX - (uint64_t)i);
        cr_assert(balloon_sample_get(&sample, (balloon_stat)i, NULL));
    }
    cr_assert_eq(sample.present, (UINT32_C(1) << BALLOON_STAT_COUNT) - 1);
    cr_assert_eq(sample.ignored, 0);
}

Test(stats, an_absent_value_leaves_the_result_alone)
{
    balloon_sample sample = {0};
    uint64_t value = 77;

    balloon_sample_set(&sample, BALLOON_STAT_FREE, 5);
    cr_assert_not(balloon_sample_get(&sample, BALLOON_STAT_TOTAL, &value));
    cr_assert_eq(value, 77);
}

Test(stats, zero_is_present)
{
    balloon_sample sample = {0};
    uint64_t value = 77;

    balloon_sample_set(&sample, BALLOON_STAT_FREE, 0);
    cr_assert(balloon_sample_get(&sample, BALLOON_STAT_FREE, &value));
    cr_assert_eq(value, 0);
}

Test(stats, unknown_numbers_are_counted_and_change_nothing_else)
{
    static const int numbers[] = {
        BALLOON_STAT_COUNT, BALLOON_STAT_SLOTS - 1, BALLOON_STAT_SLOTS, 255, 65535, 0x7fffffff, -1};
    balloon_sample sample = {0};
    balloon_sample expected = {0};
    uint64_t value = 77;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        balloon_sample_set(&sample, (balloon_stat)numbers[i], 1);
        expected.ignored++;
        cr_assert_eq(memcmp(&sample, &expected, sizeof(sample)), 0, "number %d", numbers[i]);
        cr_assert_not(balloon_sample_get(&sample, (balloon_stat)numbers[i], &value));
    }
    memset(&sample, 0xff, sizeof(sample));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        cr_assert_not(balloon_sample_get(&sample, (balloon_stat)numbers[i], &value));
    cr_assert_eq(value, 77);
}

Test(stats, the_count_of_unknown_numbers_does_not_wrap)
{
    balloon_sample sample = {.ignored = UINT32_MAX - 1};

    balloon_sample_set(&sample, (balloon_stat)100, 1);
    cr_assert_eq(sample.ignored, UINT32_MAX);
    balloon_sample_set(&sample, (balloon_stat)100, 1);
    cr_assert_eq(sample.ignored, UINT32_MAX);
}

Test(stats, every_statistic_has_its_own_name)
{
    for (int i = 0; i < BALLOON_STAT_COUNT; i++) {
        const char *name = balloon_stat_name((balloon_stat)i);

        cr_assert_not_null(name, "number %d", i);
        cr_assert_gt(strlen(name), 0);
        cr_assert_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name), "%s", name);
        cr_assert_str_neq(name, "unknown", "number %d", i);
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(name, balloon_stat_name((balloon_stat)j));
    }
    cr_assert_str_eq(balloon_stat_name(BALLOON_STAT_MAJOR_FAULTS), "major_faults");
    cr_assert_str_eq(balloon_stat_name(BALLOON_STAT_DIRECT_RECLAIM), "direct_reclaim");
    cr_assert_str_eq(balloon_stat_name((balloon_stat)BALLOON_STAT_COUNT), "unknown");
    cr_assert_str_eq(balloon_stat_name((balloon_stat)-1), "unknown");
}
