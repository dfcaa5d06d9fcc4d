/* What the VMware bindings keep inside the device and inside the driver. */
#ifndef BALLOON_VMWARE_VMWARE_P_H
#define BALLOON_VMWARE_VMWARE_P_H

#include <balloon/vmware.h>

struct vmware_device_state {
    uint64_t supported; /* what can be granted */
    balloon_vmware_session session;
};

/* What the driver does next, beside moving pages. */
enum vmware_step {
    STEP_START = 0,    /* START, not before start_at */
    STEP_DOORBELL = 1, /* tell of the doorbell */
    STEP_GUEST = 2,    /* tell which system this is */
    STEP_RUN = 3       /* GET_TARGET at ask_at, and pages */
};

struct vmware_driver_state {
    balloon_vmware_width width;
    uint64_t wanted, granted; /* capabilities; granted is 0 without a session */
    uint32_t guest, context, resource;
    enum vmware_step step;
    balloon_time_t start_at, ask_at;
    balloon_vmware_request control; /* the call of channel CONTROL, */
    bool told;                      /* if there is one that was not answered */
    bool called;                    /* a call was written and not answered: */
    balloon_driver_channel channel; /* that of this channel, */
    balloon_vmware_command command; /* this one */
    bool rung;                      /* the host may have our doorbell */
    uint32_t refused;               /* pages refused since the target was asked for */
};

#endif
