/* Run a program so that it and all its descendants end with us, however we end. */
#ifndef KEEPER_H
#define KEEPER_H

#include <sys/types.h>

struct kept {
    pid_t keeper;       /* our child, which watches over the program */
    pid_t program;      /* its child */
    int lifeline;       /* while this is open, the program may live */
    int in, out;        /* to its standard input, from its standard output and error */
    char directory[64]; /* a directory of its own, removed at the end */
};

/* Make the directory; then run argv with the given variables added to the environment. */
int keeper_prepare(struct kept *kept);
int keeper_start(struct kept *kept, const char *const *argv, const char *const *variables);
void keeper_end(struct kept *kept);

#endif
