/* The demo's output. Nothing here knows about balloons. */
#include "demo_view.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS = 80, ROWS = 16, BAR = 44, MAP_ROWS = 4, MAP_COLUMNS = 64, PAGES_PER_MIB = 256 };

#define BOLD    "\033[1m"
#define DIM     "\033[2m"
#define GREEN   "\033[32m"
#define YELLOW  "\033[33m"
#define PLAIN   "\033[0m"
#define LINE_UP "\033[F"
#define ERASE   "\033[J"

static bool can_be_live(void)
{
    const char *term = getenv("TERM");
    struct winsize size;

    return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 &&
           ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= COLUMNS &&
           size.ws_row >= ROWS;
}

void view_open(struct view *v, uint64_t total)
{
    memset(v, 0, sizeof(*v));
    v->total = total;
    v->live = can_be_live();
    setlocale(LC_CTYPE, "");
    v->blocks = v->live && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static const char *color(const struct view *v, const char *sequence)
{
    return v->live ? sequence : "";
}

/* Eighths of a character cell. */
static void print_bar(const struct view *v, const char *paint, uint64_t part)
{
    static const char *const eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    unsigned filled = (unsigned)((part * BAR * 8 + v->total / 2) / v->total);
    unsigned cell = 0;

    fputs(color(v, paint), stdout);
    for (; cell < filled / 8 && cell < BAR; cell++)
        fputs(v->blocks ? "█" : "#", stdout);
    if (cell < BAR && filled % 8 && v->blocks) {
        fputs(eighths[filled % 8], stdout);
        cell++;
    }
    fputs(color(v, PLAIN DIM), stdout);
    for (; cell < BAR; cell++)
        fputs(v->blocks ? "·" : ".", stdout);
    fputs(color(v, PLAIN), stdout);
}

static void print_row(const struct view *v, const char *name, const char *paint, uint64_t before,
                      uint64_t now)
{
    printf("    %-8s  ", name);
    print_bar(v, paint, now);
    printf("  %4llu -> %llu MiB\n", (unsigned long long)(before / PAGES_PER_MIB),
           (unsigned long long)(now / PAGES_PER_MIB));
}

static void print_map(const struct view *v, const struct view_figures *now)
{
    static const char *const shades[2][5] = {{" ", ".", ":", "+", "#"}, {" ", "░", "▒", "▓", "█"}};
    const size_t cells = MAP_ROWS * MAP_COLUMNS;

    printf("\n    %sEach cell is %llu KiB of guest memory; the fuller, the more is resident.%s\n",
           color(v, DIM), (unsigned long long)(v->total * 4 / cells), color(v, PLAIN));
    for (size_t cell = 0; cell < cells; cell++) {
        size_t first = now->host_pages * cell / cells, end = now->host_pages * (cell + 1) / cells;
        size_t present = 0;

        for (size_t i = first; i < end; i++)
            present += now->present[i] & 1;
        size_t shade = end > first ? (present * 4 + (end - first) - 1) / (end - first) : 0;
        if (cell % MAP_COLUMNS == 0)
            printf("    %s", color(v, GREEN));
        fputs(shades[v->blocks][shade], stdout);
        if (cell % MAP_COLUMNS == MAP_COLUMNS - 1)
            printf("%s\n", color(v, PLAIN));
    }
}

static void erase_frame(struct view *v)
{
    for (; v->lines; v->lines--)
        fputs(LINE_UP, stdout);
    if (v->live)
        fputs(ERASE, stdout);
}

void view_frame(struct view *v, const struct view_figures *now)
{
    if (!v->live)
        return;
    erase_frame(v);
    print_row(v, "resident", GREEN, v->resident_before, now->resident);
    print_row(v, "balloon", YELLOW, v->balloon_before, now->balloon);
    print_map(v, now);
    v->lines = 2 + 2 + MAP_ROWS;
    fflush(stdout);
}

void view_begin(struct view *v, const struct view_figures *now, const char *title)
{
    v->resident_before = now->resident;
    v->balloon_before = now->balloon;
    printf("\n %s%u  %s%s\n", color(v, BOLD), ++v->steps, title, color(v, PLAIN));
    view_frame(v, now);
}

void view_end(struct view *v, const struct view_figures *now)
{
    erase_frame(v);
    print_row(v, "resident", GREEN, v->resident_before, now->resident);
    if (now->balloon != v->balloon_before)
        print_row(v, "balloon", YELLOW, v->balloon_before, now->balloon);
    fflush(stdout);
}

void view_text(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("    ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

void view_heading(const struct view *v, const char *text)
{
    printf("\n %s%s%s\n", color(v, BOLD), text, color(v, PLAIN));
}
