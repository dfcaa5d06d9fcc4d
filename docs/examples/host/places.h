/* Where sockets of guests are: paths, directories, patterns of paths. */
#ifndef HOST_PLACES_H
#define HOST_PLACES_H

#include <sys/stat.h>

/* Call back for each socket at a place: at a path, in a directory, or where a pattern of paths
 * fits. A place that is not there has none. */
void places_visit(const char *place,
                  void (*visit)(void *context, const char *path, const struct stat *what),
                  void *context);

#endif
