/* For objects that were made by balloon_os_create(). */
#ifndef BALLOON_OS_RELEASE_P_H
#define BALLOON_OS_RELEASE_P_H

#include <balloon/os.h>

/* What balloon_os_destroy() hands the object's memory to at last. */
void bl_os_release_by(balloon_os *os, void (*release)(void *memory));

#endif
