/* The example's standard output: whole lines, and never a wait for who should read them. The guests
 * of a back-end that waits stand still, and so does a VMM in the middle of a message. */
#define _DEFAULT_SOURCE
#include "vhost_user_guest.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096, WAITING_MAX = 64 * 1024, LAST_WAIT_MS = 1000 };

static char line[LINE_MAX_BYTES];
static size_t line_length;
static char waiting[WAITING_MAX]; /* lines that were not written yet */
static size_t waiting_length;
static unsigned long lost; /* lines that found no room */

static bool enqueue(const char *text, size_t length)
{
    if (length > sizeof waiting - waiting_length)
        return false;
    memcpy(waiting + waiting_length, text, length);
    waiting_length += length;
    return true;
}

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line + line_length, sizeof line - line_length, format, arguments);
    va_end(arguments);
    if (length > 0)
        line_length += (size_t)length;
    if (line_length >= sizeof line) { /* no line of ours is so long */
        line_length = 0;
        lost++;
    } else if (line_length > 0 && line[line_length - 1] == '\n') {
        lost += !enqueue(line, line_length);
        line_length = 0;
        say_on();
    }
}

bool say_waits(void)
{
    return waiting_length > 0;
}

void say_on(void)
{
    /* A pipe that is ready takes this much without waiting. */
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    while (waiting_length > 0 && poll(&out, 1, 0) > 0) {
        size_t bytes = waiting_length < PIPE_BUF ? waiting_length : PIPE_BUF;
        ssize_t written = write(STDOUT_FILENO, waiting, bytes);
        if (written <= 0) {
            waiting_length = 0; /* nobody is there any more */
            return;
        }
        waiting_length -= (size_t)written;
        memmove(waiting, waiting + written, waiting_length);
    }
    if (lost > 0 && waiting_length == 0) {
        char text[64];
        int length =
            snprintf(text, sizeof text, "{\"event\":\"lines_lost\",\"lines\":%lu}\n", lost);
        lost = 0;
        enqueue(text, (size_t)length);
    }
}

void say_last(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    say_on();
    while (say_waits() && poll(&out, 1, LAST_WAIT_MS) > 0)
        say_on();
}
