#include <balloon/version.h>

#define JOIN(major, minor, patch) #major "." #minor "." #patch
#define TEXT(major, minor, patch) JOIN(major, minor, patch)

const char *balloon_version(void)
{
    return TEXT(BALLOON_VERSION_MAJOR, BALLOON_VERSION_MINOR, BALLOON_VERSION_PATCH);
}
