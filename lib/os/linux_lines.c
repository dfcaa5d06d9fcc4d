/* Text files of /proc and /sys: lines and numbers, bounded whatever stands in them. */
#include "os_p.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool bl_os_lines_open(struct os_lines *lines, const char *path)
{
    lines->at = lines->end = 0;
    lines->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return lines->fd >= 0;
}

void bl_os_lines_close(struct os_lines *lines)
{
    close(lines->fd);
}

/* Make room at the front and read more; false at the end of the file. */
static bool fill(struct os_lines *lines)
{
    size_t room;
    ssize_t got;

    memmove(lines->buffer, lines->buffer + lines->at, lines->end - lines->at);
    lines->end -= lines->at;
    lines->at = 0;
    room = OS_LINE_BYTES - lines->end;
    do {
        got = read(lines->fd, lines->buffer + lines->end, room);
    } while (got < 0 && errno == EINTR);
    if (got <= 0)
        return false;
    lines->end += (size_t)got;
    return true;
}

char *bl_os_lines_next(struct os_lines *lines)
{
    bool skipping = false;
    char *line;

    for (;;) {
        char *end = memchr(lines->buffer + lines->at, '\n', lines->end - lines->at);

        if (end) {
            line = lines->buffer + lines->at;
            *end = '\0';
            lines->at = (size_t)(end - lines->buffer) + 1;
            if (!skipping)
                return line;
            skipping = false;
            continue;
        }
        if (lines->end - lines->at == OS_LINE_BYTES) {
            lines->at = lines->end;
            skipping = true;
        }
        if (!fill(lines))
            break;
    }
    if (skipping || lines->at == lines->end)
        return NULL;
    line = lines->buffer + lines->at;
    lines->buffer[lines->end] = '\0';
    lines->at = lines->end;
    return line;
}

bool bl_os_number(const char **text, unsigned base, uint64_t *value)
{
    const char *at = *text;
    uint64_t sum = 0;

    for (;; at++) {
        unsigned digit;

        if (*at >= '0' && *at <= '9')
            digit = (unsigned)(*at - '0');
        else if (base == 16 && *at >= 'a' && *at <= 'f')
            digit = (unsigned)(*at - 'a') + 10;
        else
            break;
        if (sum > (UINT64_MAX - digit) / base)
            return false;
        sum = sum * base + digit;
    }
    if (at == *text)
        return false;
    *text = at;
    *value = sum;
    return true;
}

#endif
