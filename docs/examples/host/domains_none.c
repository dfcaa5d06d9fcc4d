/* In place of domains.c and domain.c, where libvirt is not there to build with. */
#include "domains.h"

#include <errno.h>

const char *domains_missing(void)
{
    return "built without libvirt (package libvirt-dev)";
}

void domains_visit(const char *place, visit_function *visit, void *context)
{
    (void)place;
    (void)visit;
    (void)context;
}

bool domains_error(const char *place, char *text, size_t room)
{
    (void)place;
    (void)text;
    (void)room;
    return false;
}

bool domains_settled(void)
{
    return true;
}

int domains_connect(const char *path, int *fd)
{
    (void)path;
    (void)fd;
    return ENOSYS;
}

pid_t domains_process(const char *path)
{
    (void)path;
    return 0;
}

void domains_end(void)
{
}
