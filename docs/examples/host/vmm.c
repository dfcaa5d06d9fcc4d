/* The life of a guest's connection, and what is asked when. What is said is in talk.c. */
#include "vmm.h"
#include "places.h"
#include "talk.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* A QMP server greets at once, and its answers take milliseconds. While it is being got to know,
 * one that does neither is let go; later it is only silent, since a stopped QEMU may go on. */
#define ANSWER_MOST (5 * SECOND)
#define SILENT      (2 * SECOND)
#define LEAST_RAM   (UINT64_C(16) << 20)
#define RETRY_FIRST (SECOND / 4)
#define RETRY_MOST  (60 * SECOND)

/* How long a guest takes to answer: from some milliseconds to a good part of a second. */
#define LOOK_FIRST (20 * MILLISECOND)
enum { LOOKS = 5 };

/* For that long the seconds of QEMU are believed to be ours. */
#define IN_STEP (30 * SECOND)

/* Taking statistics: the interval was set to 0, or to what it should be, or the guest is asked. */
enum { IDLE, FORCING, FORCED, LOOKING };

/* --- connection ---------------------------------------------------------------------------- */

static void name_after(struct vmm *g, const char *path)
{
    static const char *const suffixes[] = {".sock", ".qmp", ".socket", ".monitor"};
    const char *slash = strrchr(path, '/');
    size_t length;

    snprintf(g->name, sizeof(g->name), "%.*s", VMM_NAME - 1, slash ? slash + 1 : path);
    length = strlen(g->name);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        size_t cut = strlen(suffixes[i]);

        if (length > cut && strcmp(g->name + length - cut, suffixes[i]) == 0) {
            g->name[length - cut] = '\0';
            return;
        }
    }
}

static void forget_conversation(struct vmm *g)
{
    wire_close(&g->wire);
    g->state = VMM_AWAY;
    g->greeted = false;
    g->pending_count = 0;
    g->nudged_at = 0;
    g->wanted = 0;
    g->news &= (unsigned)(VMM_STATUS | VMM_GONE);
    g->step = TALK_NOTHING;
    g->sampling = IDLE;
    g->device[0] = '\0';
    g->interval = UINT64_MAX;
    g->told = 0;
}

void vmm_init(struct vmm *g, const char *path)
{
    memset(g, 0, sizeof(*g));
    wire_init(&g->wire);
    process_init(&g->process);
    snprintf(g->path, sizeof(g->path), "%s", path);
    g->restore = UINT64_MAX;
    name_after(g, path);
    forget_conversation(g);
    vmm_retry(g);
}

void vmm_retry(struct vmm *g)
{
    g->retry_at = 0;
    g->retry_delay = RETRY_FIRST;
}

static void fail(struct vmm *g, const char *what, balloon_time_t now)
{
    if (what != g->error)
        snprintf(g->error, sizeof(g->error), "%s", what);
    g->errors++;
    g->news |= VMM_STATUS;
    if (g->state == VMM_THERE)
        g->retry_delay = RETRY_FIRST;
    forget_conversation(g);
    g->retry_at = now + g->retry_delay;
    g->retry_delay = g->retry_delay > RETRY_MOST / 2 ? RETRY_MOST : g->retry_delay * 2;
}

/* It has memory before it has said how much; nothing is a guest below 16 MiB. */
static void watch_process(struct vmm *g, balloon_time_t now)
{
    pid_t pid = places_process(g->path, &g->wire);

    if (g->process.pid != pid || pid == 0)
        (void)process_open(&g->process, pid, g->ram ? g->ram : LEAST_RAM, now);
}

/* Nobody listens any more: its memory is back once its process has gone, too. */
static void connect_to(struct vmm *g, balloon_time_t now)
{
    int error = places_connect(g->path, &g->wire);

    if (error == 0) {
        g->state = VMM_ASKING;
        g->asked_at = now;
        watch_process(g, now);
        return;
    }
    fail(g, strerror(error), now);
    if ((error == ENOENT || error == ECONNREFUSED) && !process_lives(&g->process)) {
        process_close(&g->process);
        g->news |= VMM_GONE;
    }
}

void vmm_end(struct vmm *g)
{
    if (g->greeted)
        talk_restore(g);
    wire_close(&g->wire);
    process_close(&g->process);
}

short vmm_events(const struct vmm *g)
{
    if (g->wire.fd < 0)
        return 0;
    return wire_wants_to_write(&g->wire) ? POLLIN | POLLOUT : POLLIN;
}

/* --- what to say next ---------------------------------------------------------------------- */

/* All is known, and the first sample is there or none will be: a pool can be told of the guest. */
static void arrive(struct vmm *g, balloon_time_t now)
{
    (void)process_open(&g->process, places_process(g->path, &g->wire), g->ram, now);
    g->state = VMM_THERE;
    g->error[0] = '\0';
    g->retry_delay = RETRY_FIRST;
    g->news |= VMM_STATUS | VMM_SIZE;
}

/* Whether something of that is wanted, which it is no more. */
static bool take_wish(struct vmm *g, unsigned what)
{
    unsigned found = g->wanted & what;

    g->wanted &= ~what;
    return found != 0;
}

static unsigned begin_forcing(struct vmm *g, balloon_time_t now)
{
    g->look = g->wanted & VMM_SAMPLE;
    g->nudged_at = g->look ? 0 : now;
    g->wanted &= ~(unsigned)(VMM_SAMPLE | VMM_NUDGE);
    if (g->interval == UINT64_MAX)
        return TALK_NOTHING;
    g->sampling = FORCING;
    return TALK_INTERVAL_OFF;
}

/* Of a talk; each is asked for once. */
static unsigned next_command(struct vmm *g, balloon_time_t now)
{
    if (g->step < TALK_KNOWN)
        return g->pending_count ? TALK_NOTHING : g->step;
    if (take_wish(g, VMM_TARGET))
        return TALK_BALLOON;
    if (take_wish(g, VMM_SIZE))
        return TALK_SIZE;
    if (g->sampling == FORCING) {
        g->sampling = FORCED;
        return TALK_INTERVAL_ON;
    }
    if (g->sampling == LOOKING && now >= g->look_at) {
        g->look_at = BALLOON_TIME_NEVER;
        return TALK_STATS;
    }
    if (take_wish(g, VMM_STATS))
        return TALK_STATS;
    return g->wanted && g->sampling == IDLE ? begin_forcing(g, now) : TALK_NOTHING;
}

static void go_on(struct vmm *g, balloon_time_t now)
{
    bool sent = true;
    unsigned command;

    if (g->state == VMM_AWAY || g->pending_count || !g->greeted)
        return;
    while (sent && (command = next_command(g, now)) != TALK_NOTHING)
        sent = talk_put(g, command);
    if (g->pending_count) {
        g->asked_at = now;
        sent = sent && wire_flush(&g->wire) == WIRE_OPEN;
    }
    if (!sent)
        fail(g, "a command could not be sent", now);
    else if (g->pending_count == 0 && g->state == VMM_ASKING && g->sampling == IDLE)
        arrive(g, now);
}

/* --- messages ------------------------------------------------------------------------------ */

static void look_later(struct vmm *g, balloon_time_t now)
{
    if (g->news & VMM_SAMPLE || g->looks >= LOOKS) {
        g->sampling = IDLE;
        return;
    }
    g->sampling = LOOKING;
    g->look_at = now + (LOOK_FIRST << g->looks++);
}

/* The command has its answer; what does that bring about? */
static void advance(struct vmm *g, balloon_time_t now)
{
    switch (g->command) {
    case TALK_INTERVAL_ON:
        g->sampling = IDLE;
        g->looks = 0;
        if (g->look)
            look_later(g, now);
        break;
    case TALK_STATS:
        if (g->sampling == LOOKING)
            look_later(g, now);
        break;
    default:
        if (g->step >= TALK_KNOWN)
            break;
        g->step = talk_step(g, g->step);
        if (g->step == TALK_KNOWN)
            g->wanted |= VMM_SIZE | VMM_SAMPLE;
    }
}

/* Answers come in the order of the commands, or in another. */
static bool take_pending(struct vmm *g, uint64_t id)
{
    for (unsigned i = 0; i < g->pending_count; i++) {
        if (g->pending[i].id != id)
            continue;
        g->command = g->pending[i].command;
        g->pending_count--;
        memmove(&g->pending[i], &g->pending[i + 1], (g->pending_count - i) * sizeof(g->pending[0]));
        return true;
    }
    return false;
}

static const char *take_answer(struct vmm *g, const struct qmp_message *m, balloon_time_t now)
{
    const char *wrong;

    if (!take_pending(g, m->id))
        return "an answer to what was not asked";
    wrong = talk_answer(g, m, now);
    if (wrong == NULL)
        advance(g, now);
    return wrong;
}

static void take_message(struct vmm *g, const char *line, size_t length, balloon_time_t now)
{
    const char *wrong = NULL;
    struct qmp_message m;
    char text[VMM_TEXT];

    qmp_read(line, length, &m);
    if (m.kind == QMP_GREETING && !g->greeted) {
        g->greeted = true;
        g->step = TALK_CAPABILITIES;
    } else if (m.kind == QMP_EVENT) {
        talk_event(g, m.name);
    } else if (g->greeted && (m.kind == QMP_RETURN || m.kind == QMP_ERROR)) {
        wrong = take_answer(g, &m, now);
    } else {
        wrong = m.kind == QMP_BAD ? "this is not QMP" : "QMP in the wrong order";
    }
    if (wrong) {
        snprintf(text, sizeof(text), "%s", wrong); /* may be of the message */
        fail(g, text, now);
    }
    qmp_free(&m);
}

void vmm_bytes(struct vmm *g, short events, balloon_time_t now)
{
    enum wire_state state = WIRE_OPEN;
    size_t length;
    char *line;

    if (g->wire.fd < 0)
        return;
    if (events & POLLOUT)
        state = wire_flush(&g->wire);
    if (events & (POLLIN | POLLHUP | POLLERR))
        state = wire_receive(&g->wire);
    while (g->wire.fd >= 0 && (line = wire_line(&g->wire, &length)) != NULL)
        take_message(g, line, length, now);
    if (g->wire.fd >= 0 && state == WIRE_CLOSED)
        fail(g, "the connection was closed", now);
    else if (g->wire.fd >= 0 && state != WIRE_OPEN)
        fail(g, state == WIRE_TOO_LONG ? "a line that is too long" : "no memory", now);
    go_on(g, now);
}

/* --- time ---------------------------------------------------------------------------------- */

balloon_time_t vmm_deadline(const struct vmm *g)
{
    if (g->state == VMM_AWAY)
        return g->retry_at;
    if (g->state == VMM_ASKING && (!g->greeted || g->pending_count))
        return g->asked_at + ANSWER_MOST;
    if (g->pending_count == 0 && g->sampling == LOOKING)
        return g->look_at;
    return BALLOON_TIME_NEVER;
}

void vmm_time(struct vmm *g, balloon_time_t now)
{
    if (now < vmm_deadline(g))
        return;
    if (g->state == VMM_AWAY)
        connect_to(g, now);
    else if (g->state == VMM_ASKING && (!g->greeted || g->pending_count))
        fail(g, g->greeted ? "no answer" : "no greeting: is another program connected?", now);
    else
        go_on(g, now);
}

bool vmm_is_telling(const struct vmm *g)
{
    for (unsigned i = 0; i < g->pending_count; i++)
        if (g->pending[i].command == TALK_BALLOON)
            return true;
    return g->wanted & VMM_TARGET;
}

bool vmm_is_asked(const struct vmm *g)
{
    return g->pending_count != 0;
}

bool vmm_is_in_step(const struct vmm *g, balloon_time_t now)
{
    return g->nudged_at != 0 && now < g->nudged_at + IN_STEP;
}

bool vmm_is_silent(const struct vmm *g, balloon_time_t now)
{
    return g->state != VMM_THERE || (g->pending_count != 0 && now >= g->asked_at + SILENT);
}

/* --- wishes -------------------------------------------------------------------------------- */

void vmm_want(struct vmm *g, unsigned what, balloon_time_t now)
{
    if (g->state != VMM_THERE)
        return;
    if (g->sampling != IDLE)
        what &= ~(unsigned)(VMM_SAMPLE | VMM_STATS | VMM_NUDGE);
    g->wanted |= what;
    go_on(g, now);
}

void vmm_set_target(struct vmm *g, uint64_t bytes, balloon_time_t now)
{
    g->target = bytes;
    vmm_want(g, VMM_TARGET, now);
}
