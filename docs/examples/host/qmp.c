#include "qmp.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* QEMU shows 2^64 - 1 for statistics that are not there, for jansson an error in a whole number. As
 * a real number it is none, and 2^53 bytes are more than any guest has. */
bool qmp_number(const json_t *object, const char *name, uint64_t *value)
{
    const json_t *number = name ? json_object_get(object, name) : object;
    double real = json_real_value(number);

    if (!json_is_real(number) || real < 0)
        return false;
    *value = real < 18446744073709551615.0 ? (uint64_t)real : UINT64_MAX;
    return true;
}

const char *qmp_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

void qmp_read(const char *line, size_t length, struct qmp_message *m)
{
    json_t *error;

    memset(m, 0, sizeof(*m));
    m->root = json_loadb(line, length, JSON_DECODE_INT_AS_REAL, NULL);
    if (!json_is_object(m->root))
        return;
    (void)qmp_number(m->root, "id", &m->id);
    error = json_object_get(m->root, "error");
    if (json_object_get(m->root, "QMP")) {
        m->kind = QMP_GREETING;
    } else if ((m->name = qmp_text(m->root, "event"))) {
        m->kind = QMP_EVENT;
        m->data = json_object_get(m->root, "data");
    } else if (error) {
        m->kind = QMP_ERROR;
        m->name = qmp_text(error, "desc");
        if (m->name == NULL)
            m->name = "an error without text";
    } else if ((m->data = json_object_get(m->root, "return"))) {
        m->kind = QMP_RETURN;
    }
}

void qmp_free(struct qmp_message *m)
{
    json_decref(m->root);
    memset(m, 0, sizeof(*m));
}

static json_t *value_of(const char *text)
{
    if (text[0] && text[strspn(text, "0123456789")] == '\0')
        return json_integer((json_int_t)strtoull(text, NULL, 10));
    return json_string(text);
}

char *qmp_command(const char *name, uint64_t id, const char *const *arguments)
{
    json_t *root = json_object(), *object = json_object();
    char *text = NULL, *line = NULL;

    for (size_t i = 0; arguments && arguments[i]; i += 2)
        json_object_set_new(object, arguments[i], value_of(arguments[i + 1]));
    json_object_set_new(root, "execute", json_string(name));
    if (json_object_size(object))
        json_object_set(root, "arguments", object);
    json_object_set_new(root, "id", json_integer((json_int_t)id));
    text = json_dumps(root, JSON_COMPACT);
    if (text && (line = realloc(text, strlen(text) + 2)) != NULL)
        strcat(line, "\n");
    else
        free(text);
    json_decref(object);
    json_decref(root);
    return line;
}
