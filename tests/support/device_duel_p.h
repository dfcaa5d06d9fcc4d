/* What the files of the device duel share. */
#ifndef TEST_DEVICE_DUEL_P_H
#define TEST_DEVICE_DUEL_P_H

#include "device_duel.h"

#include <inttypes.h>

#define MS          UINT64_C(1000000)
#define DUEL_WINDOW 4096 /* Regions lie below this page. */

/* Keep the words for what went wrong, and return them. */
const char *duel_fail(struct device_duel *duel, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *duel_expect(struct device_duel *duel, const char *what, balloon_status got,
                        balloon_status want);

/* Whether discards gather now: a driver is there and has taken MUST_TELL_HOST. */
bool duel_gathers(const struct device_duel *duel);

/* One random buffer of a queue. */
const char *duel_send_pfns(struct device_duel *duel, bool inflate);
const char *duel_send_report(struct device_duel *duel);
const char *duel_send_hint(struct device_duel *duel);
const char *duel_send_stats(struct device_duel *duel);

/* One random command, or a change of guest memory or of `actual`. */
const char *duel_command(struct device_duel *duel);

#endif
