/* The demo's output to a terminal or a file. */
#include "demo_view.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS = 80, ROWS = 16, BAR = 40 };

#define BOLD    "\033[1m"
#define DIM     "\033[2m"
#define RED     "\033[31m"
#define PLAIN   "\033[0m"
#define LINE_UP "\033[F"
#define ERASE   "\033[J"

static const char *const paints[VIEW_GUESTS] = {"\033[34m", "\033[33m", "\033[32m"};

static bool can_be_live(void)
{
    const char *term = getenv("TERM");
    struct winsize size;

    return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 &&
           ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= COLUMNS &&
           size.ws_row >= ROWS;
}

void view_open(struct view *v, const struct view_subject *about)
{
    memset(v, 0, sizeof(*v));
    v->about = *about;
    v->live = can_be_live();
    setlocale(LC_CTYPE, "");
    v->blocks = v->live && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static const char *color(const struct view *v, const char *sequence)
{
    return v->live ? sequence : "";
}

static void print_cells(const struct view *v, unsigned from, unsigned to, unsigned full, int shade)
{
    static const char *const shades[2][4] = {{".", "-", "=", "#"}, {"·", "░", "▒", "█"}};

    for (unsigned cell = (from * BAR + full / 2) / full; cell < (to * BAR + full / 2) / full;
         cell++)
        fputs(shades[v->blocks][shade], stdout);
}

static void print_guest(const struct view *v, unsigned i, const struct view_guest *g)
{
    printf("  %-6s %s", v->about.names[i], color(v, paints[i]));
    print_cells(v, 0, g->used, v->about.ram, 3);
    print_cells(v, g->used, g->used + g->cached, v->about.ram, 2);
    print_cells(v, g->used + g->cached, g->size, v->about.ram, 1);
    printf("%s", color(v, PLAIN DIM));
    print_cells(v, g->size, v->about.ram, v->about.ram, 0);
    printf("%s %4u MiB, %s %3u", color(v, PLAIN), g->size, v->about.second, g->second);
    if (g->waits)
        printf("  %swaits %u %%%s", color(v, RED), g->waits, color(v, PLAIN));
    printf("\n");
}

static void print_pool(const struct view *v, const struct view_moment *now)
{
    unsigned from = 0;

    printf("  %-6s ", "pool");
    for (unsigned i = 0; i < v->about.guests; i++) {
        printf("%s", color(v, paints[i]));
        print_cells(v, from, from + now->guests[i].size, v->about.pool, 3);
        from += now->guests[i].size;
    }
    printf("%s", color(v, PLAIN DIM));
    print_cells(v, from, v->about.pool, v->about.pool, 0);
    printf("%s %4u MiB resident\n", color(v, PLAIN), now->resident);
}

static void erase_frame(struct view *v)
{
    for (; v->lines; v->lines--)
        fputs(LINE_UP, stdout);
    if (v->live)
        fputs(ERASE, stdout);
}

static void print_frame(struct view *v)
{
    const struct view_moment *now = &v->moments[v->seconds - 1];

    printf("\n");
    for (unsigned i = 0; i < v->about.guests; i++)
        print_guest(v, i, &now->guests[i]);
    print_pool(v, now);
    printf("  %4u s %s in use, %s files, %s free, %s balloon\n", v->seconds, v->blocks ? "█" : "#",
           v->blocks ? "▒" : "=", v->blocks ? "░" : "-", v->blocks ? "·" : ".");
    v->lines = v->about.guests + 3;
    fflush(stdout);
}

static void print_line(const struct view *v, const struct view_moment *now)
{
    printf("  %4u s ", v->seconds);
    for (unsigned i = 0; i < v->about.guests; i++)
        printf("  %s %3u/%3u", v->about.names[i], now->guests[i].size, now->guests[i].second);
    printf("   resident %3u of %u\n", now->resident, v->about.pool);
}

void view_moment(struct view *v, const struct view_moment *now)
{
    if (v->seconds == VIEW_SECONDS_MAX)
        return;
    v->moments[v->seconds++] = *now;
    if (v->live) {
        erase_frame(v);
        print_frame(v);
    } else if (v->seconds % v->about.every == 0) {
        print_line(v, now);
    }
}

void view_close(struct view *v)
{
    v->lines = 0;
}

void view_event(struct view *v, const char *format, ...)
{
    bool frame = v->lines != 0;
    va_list arguments;

    erase_frame(v);
    va_start(arguments, format);
    printf("  %4u s  ", v->seconds);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    if (frame)
        print_frame(v);
}

void view_heading(struct view *v, const char *text)
{
    printf("\n  %s%s%s\n", color(v, BOLD), text, color(v, PLAIN));
}

void view_text(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("  ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}
