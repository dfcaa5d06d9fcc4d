#include <criterion/criterion.h>

#include "policy_desk.h"

Test(fixed, edges)
{
    desk_check_edges(&balloon_policy_fixed);
}

Test(fixed, keeps_sizes_within_limits)
{
    struct policy_desk desk;

    cr_assert(desk_open(&desk, &balloon_policy_fixed, NULL, 3));
    desk_set_size(&desk, 0, 1000);
    desk_set_size(&desk, 1, 1000);
    desk.guests[1].min = 2000;
    desk_set_size(&desk, 2, 1000);
    desk.guests[2].max = 500;
    desk.view.state = BALLOON_HOST_LOW;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 1000);
    cr_assert_eq(desk.wishes[0].why, (uint32_t)BALLOON_WHY_HOLD);
    cr_assert_eq(desk.wishes[1].target, 2000);
    cr_assert_eq(desk.wishes[1].why, (uint32_t)BALLOON_WHY_LIMIT);
    cr_assert_eq(desk.wishes[2].target, 500);
    desk_close(&desk);
}

Test(fixed, has_no_knobs)
{
    cr_assert_null(balloon_policy_fixed.init);
}

Test(policies, are_found_by_name)
{
    static const char *const names[] = {"waterline", "fixed",   "proportional", "shares",
                                        "mom",       "proxmox", "balance",      "stall",
                                        "buffer",    "curves",  "greedy"};
    size_t count;
    const balloon_policy *const *all = balloon_policies(&count);

    cr_assert_eq(count, sizeof(names) / sizeof(names[0]));
    cr_assert_eq(balloon_policies(NULL), all);
    for (size_t i = 0; i < count; i++) {
        cr_assert_str_eq(all[i]->name, names[i]);
        cr_assert_eq(balloon_policy_find(names[i]), all[i]);
        cr_assert_eq(all[i]->size, sizeof(balloon_policy));
    }
    cr_assert_eq(all[0], &balloon_policy_waterline);
    cr_assert_null(balloon_policy_find("water"));
    cr_assert_null(balloon_policy_find("fixed "));
    cr_assert_null(balloon_policy_find(""));
    cr_assert_null(balloon_policy_find(NULL));
}
