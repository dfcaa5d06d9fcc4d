/* What the Hyper-V bindings add to the device and to the driver. */
#ifndef BALLOON_HYPERV_HYPERV_P_H
#define BALLOON_HYPERV_HYPERV_P_H

#include <balloon/hyperv.h>

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
    balloon_time_t retry_at; /* ... so none before, unless the target changes */
    balloon_hyperv_hot_add_phase hot_add;
    balloon_hyperv_hot_add request;
    balloon_hyperv_outcome outcome;
    uint32_t added;
};

struct hyperv_device_state {
    balloon_time_t start_delay, retry_delay;
    struct hyperv_device_talk talk;
};

/* Memory that the host wants to add. */
enum hyperv_plug {
    PLUG_NONE = 0,
    PLUG_DUE = 1,     /* PLUG is to be told */
    PLUG_ASKED = 2,   /* the kernel has it */
    PLUG_ANSWERED = 3 /* the answer is to be sent */
};

struct hyperv_driver_state {
    bool hot_add;
    uint8_t alignment;
    balloon_time_t report_delay;
    balloon_hyperv_phase phase;
    uint32_t version; /* offered or agreed on */
    uint32_t next_id;
    bool greet;      /* the greeting of this phase is to be sent */
    bool told;       /* SEND was told for CONTROL */
    bool quiet;      /* the host does not read reports */
    bool measure;    /* statistics are to say how much can be given ... */
    uint32_t wanted; /* ... of so many pages */
    bool returned;   /* the last pages were named: confirm when all are free */
    bool report;     /* statistics are to be reported; */
    bool report_due; /* the report is to be sent, ... */
    bool report_told;
    uint64_t available, committed; /* ... and this is in it */
    balloon_time_t report_at;
    balloon_time_t give_up_at; /* during the handshake */
    uint64_t max_pages;
    enum hyperv_plug plug;
    balloon_range plug_runs[2]; /* what to use, and where */
    uint32_t plugged;
    bool plug_failed;
};

#endif
