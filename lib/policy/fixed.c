#include "policy_p.h"

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        if (bl_movable(&view->guests[i]))
            bl_wish(&view->guests[i], &wishes[i], view->guests[i].target, BALLOON_WHY_HOLD);
        else
            bl_keep_fixed(&view->guests[i], &wishes[i]);
    }
}

const balloon_policy balloon_policy_fixed = {
    .size = sizeof(balloon_policy),
    .name = "fixed",
    .decide = decide,
};
