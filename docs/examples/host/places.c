#include "places.h"

#include <dirent.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

typedef void visit_function(void *context, const char *path, const struct stat *what);

static void visit_path(const char *path, visit_function *visit, void *context)
{
    struct stat what;

    if (stat(path, &what) == 0 && S_ISSOCK(what.st_mode))
        visit(context, path, &what);
}

static void visit_directory(const char *place, visit_function *visit, void *context)
{
    DIR *directory = opendir(place);
    struct dirent *entry;
    char path[512];

    if (directory == NULL)
        return;
    while ((entry = readdir(directory)) != NULL) {
        int length = snprintf(path, sizeof(path), "%s/%s", place, entry->d_name);

        if (length < (int)sizeof(path))
            visit_path(path, visit, context);
    }
    closedir(directory);
}

void places_visit(const char *place, visit_function *visit, void *context)
{
    struct stat what;
    glob_t found;

    if (stat(place, &what) == 0 && S_ISDIR(what.st_mode)) {
        visit_directory(place, visit, context);
    } else if (strpbrk(place, "*?[") == NULL) {
        visit_path(place, visit, context);
    } else if (glob(place, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            visit_path(found.gl_pathv[i], visit, context);
        globfree(&found);
    }
}
