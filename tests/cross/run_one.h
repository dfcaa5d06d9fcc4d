/* A test in a process of its own: by fork() in run_one_posix.c, by starting the program again in
 * run_one_windows.c. */
#ifndef TESTS_CROSS_RUN_ONE_H
#define TESTS_CROSS_RUN_ONE_H

#include <stdbool.h>

struct cr_entry;

/* How a test went: written by its process, read by the runner. */
struct result {
    bool failed, skipped, finished;
    char reason[200];
};

/* Call first. Where both processes find it; NULL if the system does not give it. */
struct result *run_one_start(const char *program);

/* The only test that this process is for, or NULL if it is the runner. */
const char *run_one_only(void);

/* Call run_test(test) in a process of its own. Returns false, and says why, if that crashed. */
bool run_one(const struct cr_entry *test, const char *id,
             void (*run_test)(const struct cr_entry *test));

/* The process that is for one test only ends here. */
_Noreturn void run_one_end(void);

#endif
