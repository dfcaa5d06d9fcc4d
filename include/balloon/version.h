/** @file
 * @brief Version of the library: the one place where it is written.
 *
 * The Makefile and libballoon.pc read these three lines.
 */
#ifndef BALLOON_VERSION_H
#define BALLOON_VERSION_H

#include <balloon/export.h>

/** @addtogroup balloon_types
 * @{ */

#define BALLOON_VERSION_MAJOR 0 /**< Changes when the ABI breaks; also the soname. */
#define BALLOON_VERSION_MINOR 2 /**< Changes when the API grows. */
#define BALLOON_VERSION_PATCH 0 /**< Changes with every other release. */

BALLOON_BEGIN_DECLS

/** Version of the library that is linked, as "major.minor.patch".
 * Compare with the BALLOON_VERSION_* of the headers to find a mismatch at run time.
 * @return a static string, never NULL. */
BALLOON_API const char *balloon_version(void);

BALLOON_END_DECLS

/** @} */

#endif
