/* Domains of libvirt. Each of them looks like a QMP socket: a thread of its own, with its own
 * connection to libvirt, answers on one end of a pair of sockets the few commands that talk.c has.
 * libvirt's calls wait, for a QEMU that is stopped without end; so that is all that waits with it.
 *
 * A place is a URI, such as qemu:///system, with a pattern of names behind it if not all are meant.
 * A domain's path is "URI#UUID". */
#ifndef HOST_DOMAINS_H
#define HOST_DOMAINS_H

#include "places.h"

/* What keeps this program from knowing domains; NULL when nothing does. */
const char *domains_missing(void);

/* Each domain that was running when libvirt was asked last; asks it again, and does not wait. */
void domains_visit(const char *place, visit_function *visit, void *context);

/* Whether each URI that was visited has been asked once, and has answered or failed. */
bool domains_settled(void);

/* Why libvirt does not say who runs under a URI that was visited; false when it does. */
bool domains_error(const char *place, char *text, size_t room);

/* Begin to serve a domain. Returns 0 or an errno: ENOENT when there is no such domain, ENOTCONN
 * when libvirt does not say, EBUSY when the last connection still waits for libvirt. */
int domains_connect(const char *path, int *fd);

/* The process of its VMM, as far as libvirt lets that be known; else 0. */
pid_t domains_process(const char *path);

/* Wait until what was said last has been done, but not long. */
void domains_end(void);

#endif
