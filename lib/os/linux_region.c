/* Regions: find out how memory is backed, and refuse what cannot be discarded safely. */
#include "os_p.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGETLBFS_TYPE 0x958458f6

/* What the file descriptor tells. */
struct file_facts {
    bool given;
    bool huge;
    bool empty;     /* No blocks allocated. */
    bool protected; /* Not writable through this descriptor, or sealed. */
    uint64_t inode;
    uint64_t page; /* Bytes. */
};

/* What /proc/self/maps tells of the whole region. */
struct map_facts {
    bool shared;
    bool file;      /* Any part maps a file, as shared and hugetlb memory always does. */
    bool anon_huge; /* MAP_ANONYMOUS | MAP_HUGETLB. */
    bool protected; /* Some part may not be read and written. */
    uint64_t page;  /* Bytes; 0 when nobody had to ask. */
};

struct os_region *bl_os_region_find(balloon_os *os, uint32_t id)
{
    return id < os->max_regions && os->regions[id].used ? &os->regions[id] : NULL;
}

size_t bl_os_bytes(balloon_range pages)
{
    return (size_t)(pages.count << BALLOON_PAGE_SHIFT);
}

unsigned char *bl_os_region_host(const struct os_region *region, balloon_range pages)
{
    return region->host + ((pages.first - region->pages.first) << BALLOON_PAGE_SHIFT);
}

static uint64_t host_page(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* --- The file --- */

static balloon_status ask_file(int fd, struct file_facts *file)
{
    struct stat st;
    struct statfs fs;
    int flags, seals;

    memset(file, 0, sizeof(*file));
    if (fd < 0)
        return BALLOON_OK;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return BALLOON_ERR_SYSTEM;
    if (!S_ISREG(st.st_mode))
        return BALLOON_ERR_UNSUPPORTED;
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        seals = 0;

    file->given = true;
    file->huge = (unsigned long)fs.f_type == HUGETLBFS_TYPE;
    file->empty = st.st_blocks == 0;
    file->protected =
        (flags & O_ACCMODE) == O_RDONLY || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
    file->inode = (uint64_t)st.st_ino;
    file->page = file->huge ? (uint64_t)fs.f_bsize : host_page();
    return BALLOON_OK;
}

/* --- The mapping --- */

/* One line of maps: "start-end rwxp offset major:minor inode path". smaps has such lines too,
 * among others that begin with a capital letter. */
struct mapping {
    uint64_t start, end, offset, inode;
    char access[4];
    bool anon_huge;
};

static bool skip(const char **text, char c)
{
    if (**text != c)
        return false;
    ++*text;
    return true;
}

static bool parse_mapping(const char *text, struct mapping *m)
{
    static const char anon_huge[] = "/anon_hugepage";
    uint64_t device;

    if (!bl_os_number(&text, 16, &m->start) || !skip(&text, '-') ||
        !bl_os_number(&text, 16, &m->end) || !skip(&text, ' ') || strlen(text) < 5)
        return false;
    memcpy(m->access, text, 4);
    text += 4;
    if (!skip(&text, ' ') || !bl_os_number(&text, 16, &m->offset) || !skip(&text, ' ') ||
        !bl_os_number(&text, 16, &device) || !skip(&text, ':') ||
        !bl_os_number(&text, 16, &device) || !skip(&text, ' ') ||
        !bl_os_number(&text, 10, &m->inode))
        return false;
    while (skip(&text, ' '))
        ;
    m->anon_huge = !strncmp(text, anon_huge, sizeof(anon_huge) - 1);
    return true;
}

static uint64_t address_of(const struct os_region *region)
{
    return (uint64_t)(uintptr_t)region->host;
}

/* The next mapping that has part in the region; false after the last. */
static bool next_mapping(struct os_lines *lines, const struct os_region *region, struct mapping *m)
{
    uint64_t start = address_of(region);
    uint64_t end = start + (region->pages.count << BALLOON_PAGE_SHIFT);
    const char *line;

    while ((line = bl_os_lines_next(lines))) {
        if (parse_mapping(line, m) && m->end > start && m->start < end)
            return true;
    }
    return false;
}

/* The page size in the lines of smaps that follow a mapping's own, or 0. */
static uint64_t page_below(struct os_lines *lines)
{
    static const char key[] = "KernelPageSize:";
    uint64_t kib = 0;
    const char *line;

    while ((line = bl_os_lines_next(lines))) {
        if (strncmp(line, key, sizeof(key) - 1))
            continue;
        line += sizeof(key) - 1;
        while (skip(&line, ' '))
            ;
        return bl_os_number(&line, 10, &kib) ? kib * 1024 : 0;
    }
    return 0;
}

/* The page size behind a region. The kernel walks all page tables to print smaps, which takes long
 * in a large process: ask only where nothing else tells. */
static balloon_status ask_page(const struct os_region *region, uint64_t *page)
{
    balloon_status status = BALLOON_OK;
    struct os_lines lines;
    struct mapping m;

    if (!bl_os_lines_open(&lines, "/proc/self/smaps"))
        return BALLOON_ERR_SYSTEM;
    while (status == BALLOON_OK && next_mapping(&lines, region, &m)) {
        uint64_t size = page_below(&lines);

        if (!size || (*page && *page != size))
            status = BALLOON_ERR_INVALID;
        *page = size;
    }
    bl_os_lines_close(&lines);
    return status;
}

static balloon_status ask_maps(const struct os_region *region, const struct file_facts *file,
                               struct map_facts *map)
{
    uint64_t at = address_of(region);
    uint64_t end = at + (region->pages.count << BALLOON_PAGE_SHIFT);
    balloon_status status = BALLOON_OK;
    struct os_lines lines;
    struct mapping m;

    memset(map, 0, sizeof(*map));
    if (!bl_os_lines_open(&lines, "/proc/self/maps"))
        return BALLOON_ERR_SYSTEM;
    while (at < end && next_mapping(&lines, region, &m)) {
        bool shared = m.access[3] == 's';
        uint64_t where = at - m.start + m.offset;

        /* Mapped without a gap, in one way, and of the file given, at the place given: a punch at a
         * wrong offset would destroy another guest page. */
        if (m.start > at || (at != address_of(region) && shared != map->shared) ||
            (file->given && m.inode &&
             (m.inode != file->inode || where != region->fd_offset + (at - address_of(region))))) {
            status = BALLOON_ERR_INVALID;
            break;
        }
        map->shared = shared;
        map->file |= m.inode != 0;
        map->anon_huge |= m.anon_huge;
        map->protected |= m.access[0] != 'r' || m.access[1] != 'w';
        at = m.end;
    }
    bl_os_lines_close(&lines);
    if (status == BALLOON_OK && (at < end || (file->given && !map->file)))
        status = BALLOON_ERR_INVALID;
    if (status == BALLOON_OK && map->file && !file->given)
        status = ask_page(region, &map->page);
    return status;
}

/* --- The verdict --- */

static balloon_status find_backing(const struct os_region *region, const struct file_facts *file,
                                   balloon_os_backing *backing, uint64_t *page)
{
    struct map_facts map;
    balloon_status status = ask_maps(region, file, &map);
    bool huge;

    if (status != BALLOON_OK)
        return status;
    if (map.protected)
        return BALLOON_ERR_UNSUPPORTED;
    if (file->given)
        *page = file->page;
    else if (map.file)
        *page = map.page;
    huge = *page > host_page();

    if (map.shared)
        *backing = huge ? BALLOON_OS_HUGETLB_SHARED : BALLOON_OS_SHARED;
    else if (!map.file)
        *backing = BALLOON_OS_PRIVATE_ANON;
    else if (!huge)
        *backing = BALLOON_OS_PRIVATE_FILE;
    else if (file->given || map.anon_huge)
        *backing = BALLOON_OS_HUGETLB_PRIVATE;
    else
        return BALLOON_ERR_UNSUPPORTED; /* Nobody can tell whether the file has contents. */
    return BALLOON_OK;
}

static bool is_shared(balloon_os_backing backing)
{
    return backing == BALLOON_OS_SHARED || backing == BALLOON_OS_HUGETLB_SHARED;
}

static bool is_huge(balloon_os_backing backing)
{
    return backing == BALLOON_OS_HUGETLB_SHARED || backing == BALLOON_OS_HUGETLB_PRIVATE;
}

/* What was said and what the file is must fit, and nothing may be lost that is not the guest's. */
static balloon_status check_backing(balloon_os_backing backing, const struct file_facts *file)
{
    if (!file->given)
        return BALLOON_OK;
    if (backing == BALLOON_OS_PRIVATE_ANON || is_huge(backing) != file->huge)
        return BALLOON_ERR_INVALID;
    if (is_shared(backing) && file->protected)
        return BALLOON_ERR_UNSUPPORTED;
    /* Dropping private huge pages brings back what the file holds. */
    if (backing == BALLOON_OS_HUGETLB_PRIVATE && !file->empty)
        return BALLOON_ERR_UNSUPPORTED;
    return BALLOON_OK;
}

static balloon_status choose_method(balloon_os_backing backing, struct os_region *region)
{
    bool shared = is_shared(backing);

    switch (region->method) {
    case BALLOON_OS_METHOD_AUTO:
        if (shared)
            region->method = BALLOON_OS_REMOVE;
        else
            region->method =
                backing == BALLOON_OS_PRIVATE_FILE ? BALLOON_OS_REMAP : BALLOON_OS_DONTNEED;
        return BALLOON_OK;
    case BALLOON_OS_DONTNEED:
        return BALLOON_OK;
    case BALLOON_OS_REMOVE:
        return shared ? BALLOON_OK : BALLOON_ERR_UNSUPPORTED;
    case BALLOON_OS_PUNCH:
        return shared && region->fd >= 0 ? BALLOON_OK : BALLOON_ERR_UNSUPPORTED;
    case BALLOON_OS_REMAP:
        return shared || is_huge(backing) ? BALLOON_ERR_UNSUPPORTED : BALLOON_OK;
    }
    return BALLOON_ERR_INVALID;
}

/* Numbers that overflow nowhere: in the guest, in memory, in the file. */
static bool valid(const balloon_os_region *region, uint64_t granule)
{
    const balloon_region *pages = &region->pages;
    uint64_t bytes = pages->count << BALLOON_PAGE_SHIFT;

    return region->size >= sizeof(*region) && region->host && pages->count &&
           pages->count <= UINT64_MAX - pages->first &&
           pages->count <= (SIZE_MAX / 2) >> BALLOON_PAGE_SHIFT &&
           (uintptr_t)region->host <= UINTPTR_MAX - (uintptr_t)bytes &&
           granule <= BALLOON_GRANULE_MAX && !(granule & (granule - 1)) && region->fd >= -1 &&
           region->fd_offset <= (uint64_t)INT64_MAX - bytes &&
           (unsigned)region->backing <= BALLOON_OS_PRIVATE_FILE;
}

/* Guest, memory and file must have their page boundaries in the same places. */
static bool aligned(const struct os_region *region, uint64_t page)
{
    uint64_t mask = page - 1;
    uint64_t guest = region->pages.first << BALLOON_PAGE_SHIFT;

    return !((guest ^ address_of(region)) & mask) &&
           (region->fd < 0 || !((guest ^ region->fd_offset) & mask));
}

balloon_status balloon_os_add_region(balloon_os *os, uint32_t id, const balloon_os_region *given)
{
    balloon_os_backing backing, found = BALLOON_OS_AUTO;
    struct file_facts file;
    struct os_region region;
    balloon_status status;
    uint64_t granule, page = host_page();

    if (!os || !given || id >= os->max_regions || os->regions[id].used)
        return BALLOON_ERR_INVALID;
    granule = given->pages.granule ? given->pages.granule : 1;
    if (!valid(given, granule))
        return BALLOON_ERR_INVALID;

    memset(&region, 0, sizeof(region));
    region.used = true;
    region.pages = (balloon_range){given->pages.first, given->pages.count};
    region.host = given->host;
    region.fd = given->fd;
    region.fd_offset = given->fd_offset;
    region.method = given->method;

    status = ask_file(given->fd, &file);
    if (status != BALLOON_OK)
        return status;
    backing = given->backing;
    status = find_backing(&region, &file, &found, &page);
    region.verified = status == BALLOON_OK;
    if (backing == BALLOON_OS_AUTO) {
        backing = found;
    } else if (status == BALLOON_ERR_SYSTEM) {
        /* Without /proc the caller's word is all there is, and the granule for the page. */
        status = BALLOON_OK;
        page = host_page();
        if (is_huge(backing))
            page = file.given ? file.page : granule << BALLOON_PAGE_SHIFT;
    } else if (status == BALLOON_OK && backing != found) {
        return BALLOON_ERR_INVALID;
    }
    if (status == BALLOON_OK)
        status = check_backing(backing, &file);
    if (status == BALLOON_OK)
        status = choose_method(backing, &region);
    if (status != BALLOON_OK)
        return status;
    if (((granule << BALLOON_PAGE_SHIFT) & (page - 1)) || !aligned(&region, page) ||
        (is_huge(backing) && page <= host_page()))
        return BALLOON_ERR_INVALID;

    region.unit = page >> BALLOON_PAGE_SHIFT;
    region.shared = is_shared(backing);
    if (region.fd >= 0) {
        region.fd = fcntl(region.fd, F_DUPFD_CLOEXEC, 0);
        if (region.fd < 0)
            return BALLOON_ERR_SYSTEM;
    }
    os->regions[id] = region;
    return BALLOON_OK;
}

balloon_status balloon_os_remove_region(balloon_os *os, uint32_t id)
{
    struct os_region *region = os ? bl_os_region_find(os, id) : NULL;

    if (!region)
        return BALLOON_ERR_INVALID;
    if (region->fd >= 0)
        close(region->fd);
    memset(region, 0, sizeof(*region));
    return BALLOON_OK;
}

#endif
