/* One domain of libvirt, served in a thread of its own: see domains.h. */
#ifndef HOST_DOMAIN_H
#define HOST_DOMAIN_H

#include "config.h"

#include <libvirt/libvirt.h>

enum { DOMAIN_UUID = VIR_UUID_STRING_BUFLEN };

/* Begin: answer on one of two sockets, of which the other is returned in fd. Returns 0 or an errno.
 */
int domain_serve(const char *uri, const char *uuid, int *fd);

/* Something has happened to a domain: tell it by the name that QMP has for that, NULL for its end.
 */
void domain_event(const char *uri, const char *uuid, const char *event);

/* Wait until all are served to the end, but not longer than a second. */
void domain_wait(void);

#endif
