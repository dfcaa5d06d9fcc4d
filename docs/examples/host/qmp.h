/* Messages of QMP, QEMU's monitor protocol: a JSON object a line. See docs/interop/qmp-spec of
 * QEMU. */
#ifndef HOST_QMP_H
#define HOST_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t; /* jansson's */

enum qmp_kind {
    QMP_BAD, /* no JSON, or none of these */
    QMP_GREETING,
    QMP_RETURN,
    QMP_ERROR,
    QMP_EVENT
};

struct qmp_message {
    enum qmp_kind kind;
    uint64_t id;         /* of a return or an error, 0 when there is none */
    const char *name;    /* of an event; what the error says */
    struct json_t *data; /* what was returned, the data of an event; may be NULL */
    struct json_t *root; /* owns all of it */
};

/* Read a line. What is in the message lasts until qmp_free(). */
void qmp_read(const char *line, size_t length, struct qmp_message *message);
void qmp_free(struct qmp_message *message);

/* A command with its id, and arguments given as name and text, NULL at the end. A text of digits is
 * sent as a number. Returns a line to be freed, or NULL without memory. */
char *qmp_command(const char *name, uint64_t id, const char *const *arguments);

/* Members of an object; false when there is no such thing there. */
bool qmp_number(const struct json_t *object, const char *name, uint64_t *value);
const char *qmp_text(const struct json_t *object, const char *name); /* or NULL */

#endif
