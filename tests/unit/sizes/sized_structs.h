/* The structs that begin with their size, and what a program does with each. */
#ifndef SIZED_STRUCTS_H
#define SIZED_STRUCTS_H

#include <balloon/balloon.h>

enum { MOST_VERSIONS = 4 };

/* One that the library fills says in size how much the program knows of it. */
enum kind { FILLED_BY_PROGRAMS, FILLED_BY_LIBRARY };

struct sized {
    const char *name;
    enum kind kind;
    size_t now;
    balloon_status (*use)(void *given, uint64_t *seen);
    size_t versions[MOST_VERSIONS]; /* rising */
};

extern const struct sized sized_structs[];
extern const size_t sized_struct_count;

#endif
