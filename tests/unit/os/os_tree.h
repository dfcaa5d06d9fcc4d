/* A tree of files in place of /proc and /sys. */
#ifndef TEST_OS_TREE_H
#define TEST_OS_TREE_H

#include "os_support.h"

#include <ftw.h>

static char root[] = "/tmp/balloon-tree-XXXXXX";

static inline void tree_make(void)
{
    cr_assert_not_null(mkdtemp(root));
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void tree_remove(void)
{
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Write a file and the directories above it. */
static inline void put(const char *name, const char *text)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        cr_assert(!mkdir(path, 0700) || errno == EEXIST);
    }
    file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    fputs(text, file);
    fclose(file);
}

#endif
