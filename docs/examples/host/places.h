/* Where guests are: paths of sockets, directories, patterns of paths, and URIs of libvirt. */
#ifndef HOST_PLACES_H
#define HOST_PLACES_H

#include "wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A guest was found: at that path, which names it. Another instance is another guest, started anew
 * at the same path. */
typedef void visit_function(void *context, const char *path, uint64_t instance);

/* Call back for each guest at a place: at a path, in a directory, where a pattern of paths fits, or
 * under a URI. A place that is not there has none. */
void places_visit(const char *place, visit_function *visit, void *context);

/* Whether a place or path is libvirt's, and not a socket's. */
bool places_is_uri(const char *place);

/* Connect to what was found there. Returns 0 or an errno. */
int places_connect(const char *path, struct wire *wire);

/* The process of the guest's VMM, once connected; 0 when that cannot be told. */
pid_t places_process(const char *path, const struct wire *wire);

#endif
