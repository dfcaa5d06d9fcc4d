/* Guest memory: what the front-end shares, mapped. */
#include "vhost_user.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void unplug(struct vu_session *session, unsigned slot)
{
    struct vu_region *region = &session->memory.region[slot];
    if (region->bytes == 0)
        return;
    session->device->unplug(session->self, slot);
    munmap(region->host, region->bytes);
    close(region->fd);
    *region = (struct vu_region){.fd = -1};
}

/* Which entry of a new table is memory that we have already? */
static size_t find_same(const struct vu_region *table, size_t count, const struct vu_region *have)
{
    size_t i = 0;
    for (; i < count; i++) {
        const struct vu_region *r = &table[i];
        if (r->guest == have->guest && r->user == have->user && r->bytes == have->bytes &&
            r->offset == have->offset && r->device == have->device && r->inode == have->inode)
            break;
    }
    return i;
}

/* Map a region of a new table, or say why not. A file that is too short would kill us later. */
static const char *map_region(struct vu_region *region)
{
    struct stat file;
    uint64_t page = BALLOON_PAGE_SIZE;
    if (region->fd < 0 || fstat(region->fd, &file) < 0)
        return "a region has no file";
    uint64_t size = (uint64_t)file.st_size;
    if (region->bytes == 0 || (region->bytes | region->guest | region->offset) % page != 0)
        return "a region is not of whole pages";
    if (region->guest + region->bytes < region->guest ||
        region->user + region->bytes < region->user)
        return "a region wraps";
    if (region->offset > size || size - region->offset < region->bytes)
        return "a region is longer than its file";
    region->device = file.st_dev;
    region->inode = file.st_ino;
    region->host = mmap(NULL, region->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd,
                        (off_t)region->offset);
    return region->host == MAP_FAILED ? "a region cannot be mapped" : NULL;
}

static const char *plug(struct vu_session *session, const struct vu_region *region)
{
    for (unsigned slot = 0; slot < VU_REGIONS; slot++) {
        if (session->memory.region[slot].bytes != 0)
            continue;
        session->memory.region[slot] = *region;
        const char *refused = session->device->plug(session->self, slot);
        if (refused)
            session->memory.region[slot] = (struct vu_region){.fd = -1};
        return refused;
    }
    return "too many regions";
}

/* A table replaces the one before; what is in both stays as it is, balloon and all. */
const char *vu_memory_replace(struct vu_session *session, struct vu_region *table, size_t count)
{
    bool kept[VU_REGIONS] = {false};
    size_t mapped = 0;
    const char *refused = NULL;
    for (; mapped < count && !refused; mapped += !refused)
        refused = map_region(&table[mapped]);
    for (unsigned slot = 0; slot < VU_REGIONS && !refused; slot++) {
        size_t same = find_same(table, count, &session->memory.region[slot]);
        if (same < count)
            kept[same] = true;
        else
            unplug(session, slot);
    }
    for (size_t i = 0; i < count; i++) {
        if (!refused && !kept[i]) {
            refused = plug(session, &table[i]);
            if (!refused)
                continue;
        }
        if (i < mapped)
            munmap(table[i].host, table[i].bytes);
        if (table[i].fd >= 0)
            close(table[i].fd);
    }
    return refused;
}

void vu_memory_drop(struct vu_session *session)
{
    for (unsigned slot = 0; slot < VU_REGIONS; slot++)
        unplug(session, slot);
}
