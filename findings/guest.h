/* What the programs share that look at their memory in a guest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A figure in KiB: after its name in a file, or in bytes and alone. */
static long figure(const char *path, const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen(path, "r");

    while (value < 0 && file && fgets(line, sizeof(line), file))
        if (!name)
            value = atol(line) / 1024;
        else if (!strncmp(line, name, strlen(name)))
            value = atol(line + strlen(name));
    if (file)
        fclose(file);
    return value;
}

static long rss(void)
{
    return figure("/proc/self/status", "RssAnon:");
}

/* Of the cgroup that in_cgroup puts a program in. */
static long charged(void)
{
    return figure("/sys/fs/cgroup/test/memory.current", NULL);
}

static void show(const char *when)
{
    printf("%s: RSS %ld KiB, charged %ld KiB\n", when, rss(), charged());
    fflush(stdout);
}
