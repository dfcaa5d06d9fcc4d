/* What the demo shows: lines of text anywhere, on a terminal also bars that
 * move, and at the end a drawing of the whole run. Nothing here knows about
 * balloons. */
#ifndef DEMO_VIEW_H
#define DEMO_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VIEW_GUESTS = 3, VIEW_SECONDS_MAX = 600 };

/* How things are at one moment. Sizes in MiB. */
struct view_moment {
    struct view_guest {
        unsigned size;   /* RAM that it has */
        unsigned used;   /* of that, what is in use and not a file that could be read
                            again */
        unsigned cached; /* and files */
        unsigned second; /* the figure that stands beside its size: view_subject.second */
        unsigned waits;  /* share of time that it waits for memory, in percent */
        bool rush;       /* a program wants more than usual */
    } guests[VIEW_GUESTS];
    unsigned resident; /* memory of the host that all of them take */
};

/* What the run is about. */
struct view_subject {
    const char *title; /* of the drawing */
    const char *clock; /* whose seconds they are */
    const char *names[VIEW_GUESTS];
    unsigned guests;    /* how many */
    unsigned ram;       /* of each guest */
    unsigned pool;      /* for all of them */
    const char *second; /* what is shown of a guest beside its size, a verb */
    unsigned every;     /* not on a terminal: seconds from one line to the next */
};

struct view {
    struct view_subject about;
    bool live;      /* standard output is a terminal that can show it */
    bool blocks;    /* it knows the block characters of Unicode */
    unsigned lines; /* lines of the moving part that are on the screen */
    unsigned seconds;
    struct view_moment moments[VIEW_SECONDS_MAX]; /* of each second */
};

void view_open(struct view *view, const struct view_subject *about);
void view_moment(struct view *view, const struct view_moment *now);
void view_close(struct view *view);

/* Lines of text, above what moves. */
void view_event(struct view *view, const char *format, ...) __attribute__((format(printf, 2, 3)));
void view_heading(struct view *view, const char *text);
void view_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The run as a drawing in SVG. Returns whether it could be written. */
bool view_draw(const struct view *view, const char *file);

#endif
