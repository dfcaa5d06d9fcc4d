#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_one.h"

/* Told to the process that is for one test: which, and the file for its result. */
#define TEST_VARIABLE "CROSS_TEST"
#define FILE_VARIABLE "CROSS_RESULT"

static struct result result;
static const char *program, *path;
/* The one test of this process, as it was told at the start: what is said to others changes the
 * variable. */
static char *only;

struct result *run_one_start(const char *own)
{
    /* Lines end as everywhere, for the scripts that read them. */
    _setmode(_fileno(stderr), _O_BINARY);
    program = own;
    only = getenv(TEST_VARIABLE);
    only = only ? _strdup(only) : NULL;
    path = getenv(FILE_VARIABLE);
    if (!path) {
        path = _tempnam(NULL, "cross");
        if (!path || _putenv_s(FILE_VARIABLE, path) != 0)
            return NULL;
    }
    return &result;
}

const char *run_one_only(void)
{
    return only;
}

void run_one_end(void)
{
    FILE *file = fopen(path, "wb");

    if (!file || fwrite(&result, sizeof(result), 1, file) != 1 || fclose(file) != 0)
        exit(2);
    exit(0);
}

bool run_one(const struct cr_entry *test, const char *id,
             void (*run_test)(const struct cr_entry *test))
{
    const char *argv[] = {program, NULL};

    (void)test;
    (void)run_test;
    fflush(NULL);
    _putenv_s(TEST_VARIABLE, id);
    intptr_t status = _spawnv(_P_WAIT, program, argv);
    FILE *file = fopen(path, "rb");
    if (file) {
        if (fread(&result, sizeof(result), 1, file) != 1)
            result.finished = false;
        fclose(file);
        remove(path);
    }
    if (status == 0 && result.finished)
        return true;
    fprintf(stderr, "[----] it ended the process, status %lld\n", (long long)status);
    return false;
}
#endif
