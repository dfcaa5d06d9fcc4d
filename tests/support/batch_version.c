/* Before any test begins. */
#include "batch_version.h"

__attribute__((constructor)) static void choose(void)
{
    batch_version_choose();
}
