/* Regions: find out how memory is backed, and refuse what cannot be discarded safely. */
#include "os_p.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGETLBFS_TYPE 0x958458f6
#define SECRETMEM_TYPE 0x5345434d

struct os_region *bl_os_region_find(balloon_os *os, uint32_t id)
{
    return id < os->max_regions && os->regions[id].used ? &os->regions[id] : NULL;
}

static uint64_t host_page(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool is_shared(balloon_os_backing backing)
{
    return backing == BALLOON_OS_SHARED || backing == BALLOON_OS_HUGETLB_SHARED;
}

static bool is_huge(balloon_os_backing backing)
{
    return backing == BALLOON_OS_HUGETLB_SHARED || backing == BALLOON_OS_HUGETLB_PRIVATE;
}

/* --- The file --- */

static balloon_os_reason ask_file(int fd, struct os_file *file)
{
    struct stat st;
    struct statfs fs;
    int flags, seals;

    memset(file, 0, sizeof(*file));
    if (fd < 0)
        return BALLOON_OS_REASON_NONE;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return BALLOON_OS_REASON_SYSTEM;
    if ((unsigned long)fs.f_type == SECRETMEM_TYPE)
        return BALLOON_OS_REASON_SECRET;
    if (!S_ISREG(st.st_mode))
        return BALLOON_OS_REASON_DEVICE;
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        seals = 0;

    file->given = true;
    file->huge = (unsigned long)fs.f_type == HUGETLBFS_TYPE;
    file->empty = st.st_blocks == 0;
    file->read_only =
        (flags & O_ACCMODE) == O_RDONLY || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
    file->inode = (uint64_t)st.st_ino;
    file->device = (uint64_t)major(st.st_dev) << 32 | minor(st.st_dev);
    file->page = file->huge ? (uint64_t)fs.f_bsize : host_page();
    return BALLOON_OS_REASON_NONE;
}

/* --- The verdict --- */

/* The page size behind a mapping of a file that was not given. */
static balloon_os_reason ask_page(const struct os_region *region, uint64_t *page)
{
    struct os_smaps smaps;

    if (bl_os_smaps(region, &smaps) != BALLOON_OK)
        return BALLOON_OS_REASON_SYSTEM;
    *page = smaps.page;
    return smaps.mixed || !smaps.page ? BALLOON_OS_REASON_MAPPING : BALLOON_OS_REASON_NONE;
}

/* Fills in the region's backing and protection, and the size of its pages. */
static balloon_os_reason find_backing(struct os_region *region, const struct os_file *file,
                                      uint64_t *page)
{
    struct os_maps maps;
    balloon_os_reason why = bl_os_maps(region, file, &maps);
    bool huge;

    if (!why && maps.read_only)
        why = BALLOON_OS_REASON_READ_ONLY;
    if (!why && maps.file && !file->given)
        why = ask_page(region, page);
    if (why)
        return why;
    if (file->given)
        *page = file->page;
    huge = *page > host_page();
    region->protection = maps.mixed ? 0 : maps.protection;
    region->device = maps.device;
    region->unproven = maps.unproven;

    if (maps.shared)
        region->backing = huge ? BALLOON_OS_HUGETLB_SHARED : BALLOON_OS_SHARED;
    else if (!maps.file)
        region->backing = BALLOON_OS_PRIVATE_ANON;
    else if (!huge)
        region->backing = BALLOON_OS_PRIVATE_FILE;
    else if (file->given || maps.anon_huge)
        region->backing = BALLOON_OS_HUGETLB_PRIVATE;
    else
        return BALLOON_OS_REASON_CONTENTS; /* Nobody can tell whether the file has any. */
    return BALLOON_OS_REASON_NONE;
}

/* Look at the region, and hold what was stated against it. */
static balloon_os_reason ask_backing(struct os_region *region, balloon_os_backing stated,
                                     const struct os_file *file, uint64_t granule, uint64_t *page)
{
    balloon_os_reason why = find_backing(region, file, page);

    region->verified = !why;
    if (why == BALLOON_OS_REASON_SYSTEM && stated) {
        /* Without /proc the caller's word is all there is, and the granule for the page. */
        region->backing = stated;
        region->protection = PROT_READ | PROT_WRITE;
        *page = host_page();
        if (is_huge(stated))
            *page = file->given ? file->page : granule << BALLOON_PAGE_SHIFT;
        return BALLOON_OS_REASON_NONE;
    }
    if (!why && stated && stated != region->backing)
        return BALLOON_OS_REASON_BACKING;
    return why;
}

/* What was said and what the file is must fit, and nothing may be lost that is not the guest's. */
static balloon_os_reason check_backing(balloon_os_backing backing, const struct os_file *file)
{
    if (!file->given)
        return BALLOON_OS_REASON_NONE;
    if (backing == BALLOON_OS_PRIVATE_ANON || is_huge(backing) != file->huge)
        return BALLOON_OS_REASON_FILE;
    if (is_shared(backing) && file->read_only)
        return BALLOON_OS_REASON_READ_ONLY;
    /* Dropping private huge pages brings back what the file holds. */
    if (backing == BALLOON_OS_HUGETLB_PRIVATE && !file->empty)
        return BALLOON_OS_REASON_CONTENTS;
    return BALLOON_OS_REASON_NONE;
}

static balloon_os_method method_for(balloon_os_backing backing)
{
    if (is_shared(backing))
        return BALLOON_OS_REMOVE;
    return backing == BALLOON_OS_PRIVATE_FILE ? BALLOON_OS_REMAP : BALLOON_OS_DONTNEED;
}

static bool suits(balloon_os_method method, balloon_os_backing backing, int fd)
{
    switch (method) {
    case BALLOON_OS_REMOVE:
        return is_shared(backing);
    case BALLOON_OS_PUNCH:
        return is_shared(backing) && fd >= 0;
    case BALLOON_OS_REMAP:
        return !is_shared(backing) && !is_huge(backing);
    case BALLOON_OS_METHOD_AUTO:
    case BALLOON_OS_DONTNEED:
        break;
    }
    return true;
}

/* Numbers that overflow nowhere: in the guest, in memory, in the file. */
static bool valid(const balloon_os_region *region, uint64_t granule)
{
    const balloon_region *pages = &region->pages;
    uint64_t bytes = pages->count << BALLOON_PAGE_SHIFT;

    return region->host && pages->count && pages->count <= UINT64_MAX - pages->first &&
           pages->count <= (SIZE_MAX / 2) >> BALLOON_PAGE_SHIFT &&
           (uintptr_t)region->host <= UINTPTR_MAX - (uintptr_t)bytes &&
           granule <= BALLOON_GRANULE_MAX && !(granule & (granule - 1)) && region->fd >= -1 &&
           region->fd_offset <= (uint64_t)INT64_MAX - bytes &&
           (unsigned)region->backing <= BALLOON_OS_PRIVATE_FILE &&
           (unsigned)region->method <= BALLOON_OS_REMAP;
}

/* Guest, memory and file must have their page boundaries in the same places. */
static bool aligned(const struct os_region *region, uint64_t page)
{
    uint64_t mask = page - 1;
    uint64_t guest = region->pages.first << BALLOON_PAGE_SHIFT;
    uint64_t host = (uint64_t)(uintptr_t)region->host;

    return !((guest ^ host) & mask) && (region->fd < 0 || !((guest ^ region->fd_offset) & mask));
}

/* All that is to be known about a region, without taking anything for it. */
static balloon_os_reason look_at(struct os_region *region, const balloon_os_region *given)
{
    uint64_t granule, page = host_page();
    balloon_os_reason why;
    struct os_file file;
    struct os_smaps smaps;

    memset(region, 0, sizeof(*region));
    if (!bl_sized(given, sizeof(*given)))
        return BALLOON_OS_REASON_ARGUMENT;
    granule = given->pages.granule ? given->pages.granule : 1;
    if (!valid(given, granule))
        return BALLOON_OS_REASON_ARGUMENT;
    region->used = true;
    region->pages = (balloon_range){given->pages.first, given->pages.count};
    region->host = given->host;
    region->fd = given->fd;
    region->fd_offset = given->fd_offset;

    why = ask_file(given->fd, &file);
    if (!why)
        why = ask_backing(region, given->backing, &file, granule, &page);
    if (!why)
        why = check_backing(region->backing, &file);
    if (why)
        return why;
    if (region->unproven && given->method == BALLOON_OS_PUNCH)
        return BALLOON_OS_REASON_FILE;
    if (!suits(given->method, region->backing, given->fd))
        return BALLOON_OS_REASON_METHOD;
    if (((granule << BALLOON_PAGE_SHIFT) & (page - 1)) || !aligned(region, page) ||
        (is_huge(region->backing) && page <= host_page()))
        return BALLOON_OS_REASON_GRANULE;
    region->unit = page >> BALLOON_PAGE_SHIFT;
    region->granule = granule;
    region->shared = is_shared(region->backing);
    region->method = given->method ? given->method : method_for(region->backing);
    region->way = (int)region->method;
    if (region->method == BALLOON_OS_REMAP) {
        if (!region->protection)
            return BALLOON_OS_REASON_MAPPING;
        region->locked =
            bl_os_locks_memory() && bl_os_smaps(region, &smaps) == BALLOON_OK && smaps.locked;
    }
    return BALLOON_OS_REASON_NONE;
}

static balloon_status status_of(balloon_os_reason why)
{
    switch (why) {
    case BALLOON_OS_REASON_NONE:
        return BALLOON_OK;
    case BALLOON_OS_REASON_SYSTEM:
        return BALLOON_ERR_SYSTEM;
    case BALLOON_OS_REASON_READ_ONLY:
    case BALLOON_OS_REASON_CONTENTS:
    case BALLOON_OS_REASON_DEVICE:
    case BALLOON_OS_REASON_SECRET:
    case BALLOON_OS_REASON_METHOD:
        return BALLOON_ERR_UNSUPPORTED;
    default:
        return BALLOON_ERR_INVALID;
    }
}

balloon_status balloon_os_add_region(balloon_os *os, uint32_t id, const balloon_os_region *given)
{
    struct os_region region;

    if (!os)
        return BALLOON_ERR_INVALID;
    os->refusal = BALLOON_OS_REASON_ARGUMENT;
    if (!given || id >= os->max_regions || os->regions[id].used)
        return BALLOON_ERR_INVALID;
    os->refusal = look_at(&region, given);
    if (os->refusal)
        return status_of(os->refusal);
    if (region.method == BALLOON_OS_REMAP && bl_os_remap_open(os, &region) != BALLOON_OK) {
        os->refusal = BALLOON_OS_REASON_SYSTEM;
        return BALLOON_ERR_SYSTEM;
    }
    if (region.fd >= 0)
        region.fd = fcntl(region.fd, F_DUPFD_CLOEXEC, 0);
    if (given->fd >= 0 && region.fd < 0) {
        bl_os_remap_close(&region);
        os->refusal = BALLOON_OS_REASON_SYSTEM;
        return BALLOON_ERR_SYSTEM;
    }
    /* Where this fails, a kernel without huge pages or memory of another kind, nothing is lost. */
    region.no_huge = (os->flags & BALLOON_OS_NO_HUGE) &&
                     region.granule < bl_os_huge_rules("", region.shared, region.device).pmd &&
                     madvise(region.host, bl_os_bytes(region.pages), MADV_NOHUGEPAGE) == 0;
    os->regions[id] = region;
    return BALLOON_OK;
}

balloon_status balloon_os_remove_region(balloon_os *os, uint32_t id)
{
    struct os_region *region = os ? bl_os_region_find(os, id) : NULL;

    if (!region)
        return BALLOON_ERR_INVALID;
    bl_os_remap_close(region);
    if (region->fd >= 0)
        close(region->fd);
    memset(region, 0, sizeof(*region));
    return BALLOON_OK;
}

#endif
