#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include <balloon/types.h>
#include <balloon/version.h>

Test(types, every_status_has_its_own_words)
{
    const char *unknown = balloon_status_text((balloon_status)1000);

    for (int i = BALLOON_OK; i <= BALLOON_ERR_SYSTEM; i++) {
        const char *text = balloon_status_text((balloon_status)i);

        cr_assert_not_null(text);
        cr_assert_gt(strlen(text), 0);
        cr_assert_str_neq(text, unknown, "status %d has no words", i);
        for (int j = BALLOON_OK; j < i; j++)
            cr_assert_str_neq(text, balloon_status_text((balloon_status)j), "%d and %d", i, j);
    }
}

Test(types, numbers_outside_of_the_enum_have_words_too)
{
    const int numbers[] = {-1, BALLOON_ERR_SYSTEM + 1, 255, 0x7fffffff};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        cr_assert_str_eq(balloon_status_text((balloon_status)numbers[i]), "unknown status");
}

Test(types, page_constants_agree)
{
    cr_assert_eq(BALLOON_PAGE_SIZE, 4096);
    cr_assert_eq(BALLOON_GRANULE_MAX * BALLOON_PAGE_SIZE, (uint64_t)1 << 30);
}

Test(types, linked_version_is_that_of_the_headers)
{
    char expected[64];

    snprintf(expected, sizeof(expected), "%d.%d.%d", BALLOON_VERSION_MAJOR, BALLOON_VERSION_MINOR,
             BALLOON_VERSION_PATCH);
    cr_assert_str_eq(balloon_version(), expected);
}
