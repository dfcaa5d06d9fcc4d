/* A 16550 at the usual place, asked for each byte. */
#include "metal.h"

enum { PORT = 0x3f8, LINE_STATUS = PORT + 5, HAS_DATA = 0x01, CAN_SEND = 0x20, LINE_MAX = 64 };

static uint8_t in(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

void serial_text(const char *text)
{
    for (; *text; text++) {
        while (!(in(LINE_STATUS)&CAN_SEND))
            ;
        out(PORT, (uint8_t)*text);
    }
}

void serial_number(const char *name, uint64_t value)
{
    char digits[21], *at = digits + sizeof digits;

    *--at = '\0';
    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    serial_text(" ");
    serial_text(name);
    serial_text("=");
    serial_text(at);
}

const char *serial_line(void)
{
    static char line[LINE_MAX];
    static size_t used;

    while (in(LINE_STATUS)&HAS_DATA) {
        char c = (char)in(PORT);
        if (c == '\n') {
            line[used] = '\0';
            used = 0;
            return line;
        }
        if (used < LINE_MAX - 1)
            line[used++] = c;
    }
    return NULL;
}
