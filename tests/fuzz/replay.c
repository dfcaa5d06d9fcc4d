/* Runs a fuzz target on files that are there already, without a fuzzer:
 * replay <file or directory>... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch_version.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long replayed;

/* The input lies in an allocation of exactly its size, so that a sanitizer sees what is read
 * beyond it. */
static int replay_file(const char *path, size_t size)
{
    uint8_t *data = malloc(size);
    FILE *file = fopen(path, "rb");
    int failed = 1;

    if (file == NULL || (data == NULL && size > 0) || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
    } else {
        LLVMFuzzerTestOneInput(data, size);
        replayed++;
        failed = 0;
    }
    if (file != NULL)
        fclose(file);
    free(data);
    return failed;
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int replay(const char *path)
{
    struct dirent **entries;
    struct stat status;
    int failed = 0;
    int count;

    if (stat(path, &status) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(status.st_mode))
        return replay_file(path, (size_t)status.st_size);
    count = scandir(path, &entries, not_hidden, alphasort);
    if (count < 0) {
        perror(path);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        size_t bytes = strlen(path) + strlen(entries[i]->d_name) + 2;
        char *inside = malloc(bytes);

        if (inside == NULL) {
            failed = 1;
        } else {
            snprintf(inside, bytes, "%s/%s", path, entries[i]->d_name);
            failed |= replay(inside);
        }
        free(inside);
        free(entries[i]);
    }
    free(entries);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;

    batch_version_choose();
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i]);
    printf("%lu inputs replayed\n", replayed);
    if (replayed == 0) {
        fprintf(stderr, "nothing was replayed\n");
        failed = 1;
    }
    return failed;
}
