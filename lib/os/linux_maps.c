/* How this process maps a region, by /proc/self/maps and smaps. */
#include "os_p.h"

#ifdef __linux__

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* One line of maps: "start-end rwxp offset major:minor inode path". smaps has such lines too,
 * among others that begin with a capital letter. */
struct mapping {
    uint64_t start, end, offset, inode;
    uint64_t major, minor;
    char access[4];
    bool anon_huge;
    bool secret;
};

static bool skip(const char **text, char c)
{
    if (**text != c)
        return false;
    ++*text;
    return true;
}

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

static bool parse_mapping(const char *text, struct mapping *m)
{
    if (!bl_os_number(&text, 16, &m->start) || !skip(&text, '-') ||
        !bl_os_number(&text, 16, &m->end) || !skip(&text, ' ') || strlen(text) < 5)
        return false;
    memcpy(m->access, text, 4);
    text += 4;
    if (!skip(&text, ' ') || !bl_os_number(&text, 16, &m->offset) || !skip(&text, ' ') ||
        !bl_os_number(&text, 16, &m->major) || !skip(&text, ':') ||
        !bl_os_number(&text, 16, &m->minor) || !skip(&text, ' ') ||
        !bl_os_number(&text, 10, &m->inode))
        return false;
    while (skip(&text, ' '))
        ;
    m->anon_huge = begins(text, "/anon_hugepage");
    m->secret = !m->major && begins(text, "/secretmem");
    return true;
}

static uint64_t start_of(const struct os_region *region)
{
    return (uint64_t)(uintptr_t)region->host;
}

static uint64_t end_of(const struct os_region *region)
{
    return start_of(region) + (region->pages.count << BALLOON_PAGE_SHIFT);
}

static bool overlaps(const struct mapping *m, const struct os_region *region)
{
    return m->end > start_of(region) && m->start < end_of(region);
}

/* --- maps --- */

static int protection_of(const struct mapping *m)
{
    return (m->access[0] == 'r' ? PROT_READ : 0) | (m->access[1] == 'w' ? PROT_WRITE : 0) |
           (m->access[2] == 'x' ? PROT_EXEC : 0);
}

/* Numbers of files are those of a file system. Some (btrfs, overlayfs) show another device in maps
 * than fstat() does; there the mapping's own file is asked, which not everybody may. */
static bool maps_the_file(const struct mapping *m, const struct os_file *file, bool *unproven)
{
    char path[64];
    struct stat st;

    if (m->inode != file->inode)
        return false;
    if ((m->major << 32 | m->minor) == file->device)
        return true;
    snprintf(path, sizeof(path), "/proc/self/map_files/%llx-%llx", (unsigned long long)m->start,
             (unsigned long long)m->end);
    if (stat(path, &st) < 0) {
        *unproven = true;
        return true;
    }
    return (uint64_t)st.st_ino == file->inode &&
           ((uint64_t)major(st.st_dev) << 32 | minor(st.st_dev)) == file->device;
}

/* Add one mapping of the region, the part from at on. */
static balloon_os_reason take_mapping(const struct os_region *region, const struct os_file *file,
                                      const struct mapping *m, uint64_t at, struct os_maps *maps)
{
    bool first = at == start_of(region), shared = m->access[3] == 's';
    uint64_t where = at - m->start + m->offset;

    /* Mapped without a gap, in one way, and of the file given, at the place given: a punch at a
     * wrong offset would destroy another guest page. */
    if (m->start > at || (!first && shared != maps->shared))
        return BALLOON_OS_REASON_MAPPING;
    if (file->given && m->inode &&
        (!maps_the_file(m, file, &maps->unproven) ||
         where != region->fd_offset + (at - start_of(region))))
        return BALLOON_OS_REASON_FILE;
    if (m->secret)
        return BALLOON_OS_REASON_SECRET;
    maps->shared = shared;
    maps->file |= m->inode != 0;
    maps->anon_huge |= m->anon_huge;
    if (!first && maps->protection != protection_of(m))
        maps->mixed = true;
    maps->protection = protection_of(m);
    maps->read_only |= (protection_of(m) & (PROT_READ | PROT_WRITE)) != (PROT_READ | PROT_WRITE);
    if (m->inode)
        maps->device = m->major << 32 | m->minor;
    return BALLOON_OS_REASON_NONE;
}

balloon_os_reason bl_os_maps(const struct os_region *region, const struct os_file *file,
                             struct os_maps *maps)
{
    uint64_t at = start_of(region), end = end_of(region);
    balloon_os_reason why = BALLOON_OS_REASON_NONE;
    struct os_lines lines;
    struct mapping m;
    const char *line;

    memset(maps, 0, sizeof(*maps));
    if (!bl_os_lines_open(&lines, "/proc/self/maps"))
        return BALLOON_OS_REASON_SYSTEM;
    while (!why && at < end && (line = bl_os_lines_next(&lines))) {
        if (!parse_mapping(line, &m) || !overlaps(&m, region))
            continue;
        why = take_mapping(region, file, &m, at, maps);
        at = m.end;
    }
    bl_os_lines_close(&lines);
    if (!why && at < end)
        why = BALLOON_OS_REASON_MAPPING;
    if (!why && file->given && !maps->file)
        why = BALLOON_OS_REASON_FILE;
    return why;
}

uint64_t bl_os_count_mappings(void)
{
    struct os_lines lines;
    uint64_t count = 0;

    if (!bl_os_lines_open(&lines, "/proc/self/maps"))
        return 0;
    while (bl_os_lines_next(&lines))
        count++;
    bl_os_lines_close(&lines);
    return count;
}

/* --- smaps --- */

/* "KernelPageSize:        4 kB"; bytes. */
static bool size_line(const char *line, const char *key, uint64_t *bytes)
{
    uint64_t kib;

    if (!begins(line, key))
        return false;
    line += strlen(key);
    while (skip(&line, ' '))
        ;
    if (!bl_os_number(&line, 10, &kib) || kib > UINT64_MAX / 1024)
        return false;
    *bytes = kib * 1024;
    return true;
}

/* "VmFlags: rd wr mr mw me ac": two letters each. */
static bool has_flag(const char *line, const char *flag)
{
    for (line += strlen("VmFlags:"); skip(&line, ' ') && line[0] && line[1]; line += 2) {
        if (!memcmp(line, flag, 2))
            return true;
    }
    return false;
}

/* Sizes of 2^i pages of which a whole one, aligned, lies in a mapping and touches the region. */
static uint32_t orders_that_fit(const struct mapping *m, const struct os_region *region)
{
    uint64_t from = m->start > start_of(region) ? m->start : start_of(region);
    uint64_t to = m->end < end_of(region) ? m->end : end_of(region);
    uint32_t orders = 0;

    for (unsigned order = 1; order < OS_ORDERS; order++) {
        uint64_t size = (uint64_t)BALLOON_PAGE_SIZE << order;
        uint64_t at = from & ~(size - 1);

        if (at < m->start)
            at += size;
        if (at < to && at + size <= m->end)
            orders |= (uint32_t)1 << order;
    }
    return orders;
}

balloon_status bl_os_smaps(const struct os_region *region, struct os_smaps *smaps)
{
    bool inside = false;
    struct os_lines lines;
    struct mapping m;
    const char *line;

    memset(smaps, 0, sizeof(*smaps));
    if (!bl_os_lines_open(&lines, "/proc/self/smaps"))
        return BALLOON_ERR_SYSTEM;
    while ((line = bl_os_lines_next(&lines))) {
        uint64_t bytes;

        if (parse_mapping(line, &m)) {
            if (m.start >= end_of(region))
                break;
            inside = overlaps(&m, region);
            smaps->mappings += inside;
        } else if (!inside) {
            continue;
        } else if (size_line(line, "KernelPageSize:", &bytes)) {
            smaps->mixed |= !bytes || (smaps->page && smaps->page != bytes);
            smaps->page = bytes;
        } else if (size_line(line, "AnonHugePages:", &bytes) ||
                   size_line(line, "ShmemPmdMapped:", &bytes)) {
            smaps->huge_bytes += bytes;
        } else if (begins(line, "VmFlags:")) {
            uint32_t orders = orders_that_fit(&m, region);

            smaps->locked |= has_flag(line, "lo");
            smaps->advised |= has_flag(line, "hg") ? orders : 0;
            smaps->plain |= has_flag(line, "nh") ? 0 : orders;
        }
    }
    bl_os_lines_close(&lines);
    return BALLOON_OK;
}

bool bl_os_locks_memory(void)
{
    struct os_lines lines;
    uint64_t bytes = 0;
    const char *line;

    if (!bl_os_lines_open(&lines, "/proc/self/status"))
        return false;
    while ((line = bl_os_lines_next(&lines))) {
        if (begins(line, "VmLck:")) {
            line += strlen("VmLck:");
            while (skip(&line, '\t') || skip(&line, ' '))
                ;
            (void)!bl_os_number(&line, 10, &bytes);
        }
    }
    bl_os_lines_close(&lines);
    return bytes > 0;
}

#endif
