#include "differences.h"

#define SPEC "the specification"

const struct difference_row difference_rows[DIFFERENCES] = {
    [SAME] = {"same", "", "", ""},
    [ACTUAL_BYTES] =
        {"actual by bytes", "takes each byte of `actual` at once",
         "takes `actual` with its last byte",
         "legacy drivers write it byte by byte; the values between are noise, and " SPEC
         " says not to use them"},
    [ACTUAL_RESET] = {"actual after reset", "keeps `actual` over a reset", "clears it",
                      "all pages are the guest's again after a reset"},
    [FEATURES_UNOFFERED] = {"features that were not offered", "drops them and goes on",
                            "says so, and the embedder refuses FEATURES_OK",
                            "a driver that relies on them must not run"},
    [POISON_EARLY] = {"poison before the features", "takes `poison_val` only if POISON is chosen",
                      "keeps it until the features come",
                      "QEMU's vhost-user front-end passes on configuration before features"},
    [POISON_LATE] = {"poison after DRIVER_OK", "takes `poison_val` at any time",
                     "takes it until the driver is ready",
                     SPEC " allows it only until then; pages may have been reported since"},
    [POISON_STALE] = {"poison after reset",
                      "writing another field brings a `poison_val` from before the reset back, or "
                      "one from before the feature was chosen, unless the space was read between",
                      "does not", "it is an accident of QEMU's cache"},
    [POISON_UNWRITTEN] = {"poison never written",
                          "discards reported pages when POISON was chosen and `poison_val` was not "
                          "written",
                          "does not discard them",
                          "Linux does not write it again after resume, and its pages do have the "
                          "pattern"},
    [QUEUE_UNNEGOTIATED] = {"queue of a feature that was not chosen",
                            "serves it, and discards what is reported there",
                            "gives the buffer back unread",
                            "without the feature the driver has agreed to nothing that allows it"},
    [REDISCARD] = {"page inflated twice", "discards it again", "does not",
                   "it is in the balloon and was discarded; only a guest that breaks the rules has "
                   "written to it"},
    [REPORT_UNALIGNED] = {"report that is not made of whole pages", "ignores the descriptor",
                          "discards the whole pages in it", "they are as free as any"},
    [STATS_LEGACY] = {"statistics nobody asked for, legacy driver", "reads them",
                      "reads only what answers a request",
                      SPEC " warns that the first buffer of a legacy driver may be uninitialised"},
    [STATS_RESET] = {"statistics after reset",
                     "keeps the values of the last driver when the device is reset, and up to 7.2 "
                     "when the machine is; 10.0 and 11.1 forget them then",
                     "there are none", "they describe a guest that is gone"},
    [STATS_TAGS] = {"statistics 10 to 15", "QEMU up to 8 does not know them", "reads them",
                    "Linux sends them since 6.12; QEMU 10 reads them too"},
    [STATS_UNASKED] = {"statistics nobody asked for, or empty first ones",
                       "reads them, and forgets values that are missing",
                       "reads what answers a request, and the first buffer when it has values",
                       "the guest does not choose how often the host works for it, nor when"},
    [STATS_WISH] = {"request while no buffer is there", "is forgotten when the period is set to 0",
                    "waits for the next buffer; a legacy driver gets that back at once, since it "
                    "was not an answer",
                    "a request is answered or late, not lost"},
    [TARGET_SAME] = {"target set to what it is", "interrupts the guest",
                     "does so while the balloon is not there and nothing has moved for a second",
                     "a driver that sleeps is to be woken, others are to be left alone"},
};
