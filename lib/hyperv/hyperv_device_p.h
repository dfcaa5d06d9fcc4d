/* The Hyper-V binding of the device: its state, and what its files share. */
#ifndef BALLOON_HYPERV_HYPERV_DEVICE_P_H
#define BALLOON_HYPERV_HYPERV_DEVICE_P_H

#include <balloon/hyperv.h>

#include "../device/device_p.h"

/* From the opening of a channel to its end. */
struct hyperv_device_talk {
    balloon_hyperv_phase phase;
    balloon_hyperv_type answer; /* due: VERSION_ or CAPABILITIES_RESPONSE; ERROR for none */
    bool accepted;              /* what the answer says */
    bool told;                  /* SEND was told, and nothing written since */
    uint32_t answer_id;         /* the guest's number, to be repeated */
    uint32_t next_id;           /* of our own */
    uint32_t version;
    balloon_hyperv_capabilities capabilities;
    balloon_time_t start_at; /* no request before */
    uint32_t left;           /* BALLOONING: pages asked for, and not named yet */
    bool gained;             /* BALLOONING: the last answer brought pages */
    bool exhausted;          /* the last request brought nothing, when the target was this ... */
    uint64_t exhausted_target;
    balloon_time_t retry_at;  /* ... so none before, unless the target changes */
    bool silent;              /* the last request was not answered in time; waits like exhausted */
    balloon_time_t answer_at; /* BALLOONING, UNBALLOONING: the answer is due */
    uint8_t unanswered;       /* requests for pages whose answers may still come, */
    uint8_t unconfirmed;      /* and returned pages */
    balloon_hyperv_hot_add_phase hot_add;
    balloon_hyperv_hot_add request;
    balloon_hyperv_outcome outcome;
    uint32_t added;
};

struct hyperv_device_state {
    balloon_time_t start_delay, retry_delay, answer_timeout;
    struct hyperv_device_talk talk;
};

_Static_assert(sizeof(struct hyperv_device_state) <= DEVICE_ROOM_BYTES, "hyperv has room");

static inline struct hyperv_device_state *hyperv_state(balloon_device *d)
{
    return (struct hyperv_device_state *)(void *)d->room;
}

static inline const struct hyperv_device_state *hyperv_const(const balloon_device *d)
{
    return (const struct hyperv_device_state *)(const void *)d->room;
}

/* So many late answers are waited for at the most. */
#define OWED_MOST 15u

/* Is the guest to answer, and can it be silent? Hot-add may take as long as it likes: a guest that
 * is low on memory holds the answer back. */
static inline bool hyperv_waits(const struct hyperv_device_talk *t)
{
    return t->phase == BALLOON_HYPERV_BALLOONING || t->phase == BALLOON_HYPERV_UNBALLOONING;
}

void bl_hyperv_save(const balloon_device *d, balloon_time_t now,
                    uint8_t saved[SAVED_BINDING_BYTES]);
bool bl_hyperv_load(balloon_device *d, balloon_time_t now,
                    const uint8_t saved[SAVED_BINDING_BYTES]);

#endif
