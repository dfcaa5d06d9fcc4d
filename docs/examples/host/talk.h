/* What is said to a guest's QEMU and what its answers mean. Each function is one command, one
 * answer or one event; when what comes next is vmm.c's affair. */
#ifndef HOST_TALK_H
#define HOST_TALK_H

#include "vmm.h"
#include "qmp.h"

enum talk_command {
    TALK_NOTHING,
    /* To find out what is there, in this order. */
    TALK_CAPABILITIES,
    TALK_NAME,
    TALK_STATUS,
    TALK_MEMORY,
    TALK_LIST,
    TALK_LIST_ANON,
    TALK_INTERVAL,
    TALK_BASELINE,
    TALK_KNOWN, /* no command: all these are done */
    /* Later, whenever it is wanted. */
    TALK_SIZE,
    TALK_INTERVAL_OFF,
    TALK_INTERVAL_ON,
    TALK_STATS,
    TALK_BALLOON
};

/* The next step of finding out that this guest needs, or TALK_KNOWN. */
unsigned talk_step(const struct vmm *vmm, unsigned after);

/* Put a command with those to be sent. Returns whether there was room. */
bool talk_put(struct vmm *vmm, unsigned command);

/* The answer to vmm->command. Returns NULL, or what is wrong with it. */
const char *talk_answer(struct vmm *vmm, const struct qmp_message *answer, balloon_time_t now);

void talk_event(struct vmm *vmm, const char *name);

/* Give QEMU back the polling interval that it had. Nothing waits for the answer. */
void talk_restore(struct vmm *vmm);

#endif
