#include "places.h"
#include "domains.h"

#include <dirent.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void visit_path(const char *path, visit_function *visit, void *context)
{
    struct stat what;

    if (stat(path, &what) == 0 && S_ISSOCK(what.st_mode))
        visit(context, path, (uint64_t)what.st_ino << 32 ^ (uint64_t)what.st_ctime);
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

    if (places_is_uri(place)) {
        domains_visit(place, visit, context);
    } else if (stat(place, &what) == 0 && S_ISDIR(what.st_mode)) {
        visit_directory(place, visit, context);
    } else if (strpbrk(place, "*?[") == NULL) {
        visit_path(place, visit, context);
    } else if (glob(place, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            visit_path(found.gl_pathv[i], visit, context);
        globfree(&found);
    }
}

bool places_is_uri(const char *place)
{
    return place[0] != '/' && strstr(place, "://") != NULL;
}

int places_connect(const char *path, struct wire *wire)
{
    int fd, error;

    if (!places_is_uri(path))
        return wire_connect(wire, path);
    error = domains_connect(path, &fd);
    if (error == 0)
        wire_attach(wire, fd);
    return error;
}

pid_t places_process(const char *path, const struct wire *wire)
{
    return places_is_uri(path) ? domains_process(path) : wire_peer(wire);
}
