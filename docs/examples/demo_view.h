/* What the demo shows: lines of text anywhere; on a terminal also bars and a memory map that move.
 */
#ifndef DEMO_VIEW_H
#define DEMO_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct view {
    bool live;                                /* standard output is a terminal that can show it */
    bool blocks;                              /* it knows the block characters of Unicode */
    uint64_t total;                           /* pages of guest memory: a full bar */
    unsigned lines;                           /* lines of the moving part that are on the screen */
    unsigned steps;                           /* steps begun */
    uint64_t resident_before, balloon_before; /* when the step began */
};

/* Counts are in pages of 4 KiB. */
struct view_figures {
    uint64_t resident;
    uint64_t balloon;
    const unsigned char *present; /* bit 0 of each byte: this host page is in memory */
    size_t host_pages;
};

void view_open(struct view *view, uint64_t total);
void view_begin(struct view *view, const struct view_figures *now, const char *title);
void view_frame(struct view *view, const struct view_figures *now);
void view_end(struct view *view, const struct view_figures *now);
void view_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
void view_heading(const struct view *view, const char *text);

#endif
