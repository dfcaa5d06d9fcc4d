/* balloon-sim from outside: runs of it, files for it, and figures in what it says. */
#ifndef SIM_TOOL_H
#define SIM_TOOL_H

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_MAX = 1 << 16 };

struct end {
    int status; /* -1 for a crash */
    char output[OUTPUT_MAX];
};

static inline const char *program(void)
{
    static char path[1024];
    const char *build = getenv("BALLOON_BUILD");

    if (!build)
        cr_skip_test("where balloon-sim is, is not known: BALLOON_BUILD is not set");
    snprintf(path, sizeof(path), "%s/bin/balloon-sim", build);
    if (access(path, X_OK))
        cr_skip_test("balloon-sim is not built");
    return path;
}

/* Both streams of a run. The status of a crash or of a sanitizer's complaint is none of 0, 1, 2. */
static inline void run(struct end *end, const char *format, ...)
{
    char options[4096], line[6000];
    size_t used = 0;
    va_list args;
    FILE *pipe;
    int status;

    va_start(args, format);
    vsnprintf(options, sizeof(options), format, args);
    va_end(args);
    snprintf(line, sizeof(line), "exec '%s' %s 2>&1", program(), options);
    pipe = popen(line, "r");
    cr_assert_not_null(pipe);
    for (size_t got; (got = fread(end->output + used, 1, OUTPUT_MAX - 1 - used, pipe)) > 0;)
        used += got;
    end->output[used] = '\0';
    status = pclose(pipe);
    end->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char file_path[64];

static inline void remove_file(void)
{
    if (*file_path)
        unlink(file_path);
}

/* Bytes in a file of this test. */
static inline const char *file_of(const void *bytes, size_t size)
{
    FILE *file;

    if (!*file_path) {
        strcpy(file_path, "/tmp/balloon-sim-XXXXXX");
        int fd = mkstemp(file_path);

        cr_assert_geq(fd, 0);
        close(fd);
    }
    file = fopen(file_path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
    return file_path;
}

static inline double field(const char *from, const char *name)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "\"%s\": ", name);
    at = strstr(from, key);
    cr_assert_not_null(at, "no %s in %s", name, from);
    return strtod(at + strlen(key), NULL);
}

#endif
