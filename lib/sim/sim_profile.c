/* What the host can see of a guest: what its scenario says, or what a profile makes of that. */
#include "sim_p.h"

#define MIB BALLOON_SIM_MIB

/* Pages that Linux' watermarks keep free: one and a half times min_free_kbytes, and what the lowest
 * zones have to themselves. From mm/page_alloc.c, four times the root of all KiB; where there are
 * huge pages, from 512 MiB on, mm/khugepaged.c makes that 44 MiB, or 66 with memory above 4 GiB,
 * and at most a 20th. */
static uint64_t kept(uint64_t ram)
{
    uint64_t least = 0;

    if (ram >= 512 * MIB)
        least = bl_sim_least(bl_div(ram, 20), (ram > 4096 * MIB ? 66 : 44) * MIB);
    else
        while ((least + 1) * (least + 1) <= 4 * ram)
            least++;
    return least + least / 2 + 3 * MIB;
}

static bool sends_as_linux(const struct bl_sim_guest *g)
{
    uint32_t sends = g->config->sends;

    return !sends || (sends & BALLOON_SIM_SENDS_LINUX) == BALLOON_SIM_SENDS_LINUX;
}

/* Every other guest is polled by somebody who is in less of a hurry. */
static void look_through_virtio(const balloon_sim *sim, struct bl_sim_guest *g)
{
    struct bl_sim_sight *s = &g->sight;

    if (sends_as_linux(g))
        s->sends = BALLOON_SIM_SENDS_VIRTIO;
    else if (!(s->sends &= BALLOON_SIM_SENDS_VIRTIO))
        s->sends = BALLOON_SIM_SENDS_NONE;
    if (sim->config.profile == BALLOON_SIM_VIRTIO_PSI && s->sends == BALLOON_SIM_SENDS_VIRTIO)
        s->sends |= (uint32_t)1 << BALLOON_STAT_STALL_SOME;
    s->flags &= ~((uint32_t)BALLOON_SIM_HOST_ACTIVE | (uint32_t)BALLOON_SIM_HOST_CURVE);
    s->period = (g - sim->guests) & 1 ? 5000 : 1000;
    s->age = 30;
    s->jitter = 170;
    s->kept = kept(g->config->max);
    s->seconds = s->asked = true;
}

void bl_sim_look(const balloon_sim *sim, struct bl_sim_guest *g)
{
    const balloon_sim_guest *c = g->config;

    g->sight = (struct bl_sim_sight){.sends = c->sends ? c->sends : BALLOON_SIM_SENDS_PSI,
                                     .flags = c->flags,
                                     .period = c->period_ms ? c->period_ms : 1000,
                                     .age = c->age_ms,
                                     .jitter = c->jitter_ms,
                                     .asked = sim->config.rest_ms != 0};
    switch (sim->config.profile) {
    case BALLOON_SIM_VIRTIO:
    case BALLOON_SIM_VIRTIO_PSI:
        look_through_virtio(sim, g);
        break;
    case BALLOON_SIM_CURVES:
        g->sight.flags |= BALLOON_SIM_HOST_CURVE;
        g->sight.flags |= BALLOON_SIM_HOST_ACTIVE;
        break;
    case BALLOON_SIM_MEASURED:
        g->sight.flags |= BALLOON_SIM_HOST_ACTIVE;
        break;
    default:
        break;
    }
}

const char *balloon_sim_profile_name(uint32_t profile)
{
    static const char *const names[] = {
        [BALLOON_SIM_AS_SET] = "as-set",         [BALLOON_SIM_VIRTIO] = "virtio",
        [BALLOON_SIM_VIRTIO_PSI] = "virtio+psi", [BALLOON_SIM_MEASURED] = "measured",
        [BALLOON_SIM_CURVES] = "curves",
    };

    return profile < sizeof(names) / sizeof(names[0]) ? names[profile] : "unknown";
}
