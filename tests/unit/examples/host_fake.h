/* A QMP server in the hands of a test: it says what the test wants, when the test wants it. Nothing
 * runs beside the test, and time is what the test says. */
#ifndef HOST_FAKE_H
#define HOST_FAKE_H

#include "host/vmm.h"

#include <stdbool.h>
#include <stdint.h>

struct fake {
    char folder[64], path[96];
    int listener, fd;
    char line[4096]; /* the last command */
    char name[64];   /* of it, */
    uint64_t id;     /* and its number */

    /* What a good server answers. */
    uint64_t ram, actual;
    uint64_t stamp, free, interval;
    const char *status;      /* text of query-status */
    const char *peripherals; /* what qom-list of /machine/peripheral shows */
    const char *anonymous;   /* and of peripheral-anon */
    bool asked;              /* the guest was asked for statistics: the next answer is new */
    bool dumb;               /* but it does not answer */
    bool polls;              /* QEMU asks by itself, too, before it is asked for what it has */
    unsigned commands;       /* how many came */
    uint64_t wished;         /* value of the last "balloon" */
};

void fake_open(struct fake *f);
void fake_close(struct fake *f);

/* Take the connection that the guest has made. Returns whether there was one. */
bool fake_accept(struct fake *f);
void fake_hang_up(struct fake *f);
void fake_say(struct fake *f, const char *text);

/* Read a command, if there is one. */
bool fake_hear(struct fake *f);

/* Answer it as QEMU does, or with these texts in place of the return. */
void fake_answer(struct fake *f);
void fake_return(struct fake *f, const char *json);
void fake_error(struct fake *f, const char *text);

#define FAKE_GREETING                                                                              \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}}, "            \
    "\"capabilities\": [\"oob\"]}}\r\n"

/* What tests of one guest need: its server, what balloon-host has of it, and the time. Functions to
 * begin and end such a test with. */
extern struct fake fake;
extern struct vmm vmm;
extern balloon_time_t now;

void fake_begin(void);
void fake_end(void);

/* Accept, greet and answer until the guest has no more to say at that time. Returns how many
 * commands there were. */
unsigned fake_serve(struct fake *f, struct vmm *g, balloon_time_t at);

/* The same from the first connection until the guest is there; time goes on as it must. */
void fake_introduce(struct fake *f, struct vmm *g, balloon_time_t *at);

#endif
