/* Host readings: what the machine, its pressure information and the cgroups say. */
#include "os_p.h"

#ifdef __linux__

#include <stdio.h>
#include <string.h>

#define PATH_BYTES 8192

#define CGROUP_ROOT "/sys/fs/cgroup"

static uint64_t scale(uint64_t value, uint64_t factor)
{
    return value > UINT64_MAX / factor ? UINT64_MAX : value * factor;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Move past a word; false when the text does not begin with it. */
static bool word(const char **text, const char *expected)
{
    size_t length = strlen(expected);

    if (strncmp(*text, expected, length))
        return false;
    *text += length;
    return true;
}

static bool open_in(struct os_lines *lines, const char *directory, const char *name)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s%s", directory, name);

    return length > 0 && (size_t)length < sizeof(path) && bl_os_lines_open(lines, path);
}

/* --- The machine --- */

/* "MemTotal:       24684092 kB" */
static bool meminfo_value(const char *line, const char *key, uint64_t *bytes)
{
    uint64_t kib;

    if (!word(&line, key))
        return false;
    while (*line == ' ')
        line++;
    if (!bl_os_number(&line, 10, &kib) || strcmp(line, " kB"))
        return false;
    *bytes = scale(kib, 1024);
    return true;
}

static void read_meminfo(const char *root, balloon_os_host *host)
{
    struct os_lines lines;
    const char *line;

    if (!open_in(&lines, root, "/proc/meminfo"))
        return;
    while ((line = bl_os_lines_next(&lines))) {
        if (meminfo_value(line, "MemTotal:", &host->total))
            host->present |= BALLOON_OS_HAS_TOTAL;
        else if (meminfo_value(line, "MemAvailable:", &host->available))
            host->present |= BALLOON_OS_HAS_AVAILABLE;
    }
    bl_os_lines_close(&lines);
}

/* --- Pressure --- */

/* "12.34" in hundredths; more digits than two are cut. */
static bool hundredths(const char **text, uint32_t *value)
{
    uint64_t whole, part = 0;

    if (!bl_os_number(text, 10, &whole) || !word(text, ".") || whole > 100)
        return false;
    for (uint64_t weight = 10; **text >= '0' && **text <= '9'; ++*text, weight /= 10)
        part += weight * (uint64_t)(**text - '0');
    *value = (uint32_t)(whole * 100 + part);
    return true;
}

/* "avg10=0.12 avg60=0.00 avg300=0.00 total=12345", the total in microseconds. */
static bool parse_stall(const char *text, uint32_t *avg10, balloon_time_t *total)
{
    uint32_t share;
    uint64_t us;

    if (!word(&text, "avg10=") || !hundredths(&text, &share))
        return false;
    text = strstr(text, " total=");
    if (!text || !word(&text, " total=") || !bl_os_number(&text, 10, &us))
        return false;
    *avg10 = share;
    *total = scale(us, 1000);
    return true;
}

/* Returns the bits of what is there. */
static uint32_t read_pressure(const char *directory, const char *name,
                              balloon_os_pressure *pressure, uint32_t some, uint32_t full)
{
    struct os_lines lines;
    uint32_t present = 0;
    const char *line;

    if (!open_in(&lines, directory, name))
        return 0;
    while ((line = bl_os_lines_next(&lines))) {
        if (word(&line, "some ")) {
            if (parse_stall(line, &pressure->some_avg10, &pressure->some_total))
                present |= some;
        } else if (word(&line, "full ")) {
            if (parse_stall(line, &pressure->full_avg10, &pressure->full_total))
                present |= full;
        }
    }
    bl_os_lines_close(&lines);
    return present;
}

/* --- Control groups --- */

/* A file with one number, or "max". */
static bool read_value(const char *directory, const char *name, uint64_t *value)
{
    struct os_lines lines;
    const char *line;
    bool found = false;

    if (!open_in(&lines, directory, name))
        return false;
    line = bl_os_lines_next(&lines);
    if (line && !strcmp(line, "max")) {
        *value = UINT64_MAX;
        found = true;
    } else if (line) {
        found = bl_os_number(&line, 10, value) && !*line;
    }
    bl_os_lines_close(&lines);
    return found;
}

/* What of a group's use is dropped before anything else suffers: files in the page cache, which are
 * counted without those that are locked or in memory only, and what kernel caches can be shrunk by.
 * So does MemAvailable count for the machine, but for watermarks, which a group has none of. */
static uint64_t read_reclaimable(const char *directory)
{
    static const char *const keys[] = {"active_file ", "inactive_file ", "slab_reclaimable "};
    uint64_t sum = 0, value;
    struct os_lines lines;
    const char *line;

    if (!open_in(&lines, directory, "/memory.stat"))
        return 0;
    while ((line = bl_os_lines_next(&lines))) {
        for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
            if (word(&line, keys[i]) && bl_os_number(&line, 10, &value))
                sum = value > UINT64_MAX - sum ? UINT64_MAX : sum + value;
        }
    }
    bl_os_lines_close(&lines);
    return sum;
}

/* One cgroup's limit and what is left to it. A group that reads files fills up to its limit with
 * cache, of which the active part may be the larger one. */
static void read_level(const char *directory, balloon_os_host *host)
{
    uint64_t limit = UINT64_MAX, value, used;

    if (read_value(directory, "/memory.max", &value))
        limit = value;
    if (read_value(directory, "/memory.high", &value))
        limit = lower(limit, value);
    if (limit == UINT64_MAX)
        return;
    host->cgroup_limit = lower(host->cgroup_limit, limit);
    host->present |= BALLOON_OS_HAS_CGROUP_LIMIT;

    if (!read_value(directory, "/memory.current", &used))
        return;
    used -= lower(used, read_reclaimable(directory));
    host->cgroup_headroom = lower(host->cgroup_headroom, limit - lower(limit, used));
    host->present |= BALLOON_OS_HAS_CGROUP_HEADROOM;
}

/* The directory of this process's cgroup; false when there is none or it is not to be seen from
 * this cgroup namespace. */
static bool find_cgroup(const char *root, char *directory, size_t bytes)
{
    struct os_lines lines;
    const char *line;
    bool found = false;

    if (!open_in(&lines, root, "/proc/self/cgroup"))
        return false;
    while (!found && (line = bl_os_lines_next(&lines))) {
        int length;

        if (!word(&line, "0::/") || !strncmp(line, "..", 2))
            continue;
        length = snprintf(directory, bytes, "%s" CGROUP_ROOT "%s%s", root, *line ? "/" : "", line);
        found = length > 0 && (size_t)length < bytes;
    }
    bl_os_lines_close(&lines);
    return found;
}

static void read_cgroups(const char *root, balloon_os_host *host)
{
    size_t top = strlen(root) + sizeof(CGROUP_ROOT) - 1;
    char directory[PATH_BYTES];

    if (!find_cgroup(root, directory, sizeof(directory)))
        return;
    host->present |= read_pressure(directory, "/memory.pressure", &host->cgroup_pressure,
                                   BALLOON_OS_HAS_CGROUP_SOME, BALLOON_OS_HAS_CGROUP_FULL);
    if (read_value(directory, "/memory.current", &host->cgroup_current))
        host->present |= BALLOON_OS_HAS_CGROUP_CURRENT;

    /* A limit of any group around this one binds as well. The topmost directory has limits only
     * when it is a container's. */
    host->cgroup_limit = host->cgroup_headroom = UINT64_MAX;
    for (;;) {
        read_level(directory, host);
        if (strlen(directory) <= top)
            break;
        *strrchr(directory, '/') = '\0';
    }
    if (!(host->present & BALLOON_OS_HAS_CGROUP_LIMIT))
        host->cgroup_limit = 0;
    if (!(host->present & BALLOON_OS_HAS_CGROUP_HEADROOM))
        host->cgroup_headroom = 0;
}

/* --- Both --- */

/* The lower of two readings, as far as they are there. */
static void combine(balloon_os_host *host, uint32_t a_bit, uint64_t a, uint32_t b_bit, uint64_t b,
                    uint32_t result_bit, uint64_t *result)
{
    bool has_a = host->present & a_bit, has_b = host->present & b_bit;

    if (!has_a && !has_b)
        return;
    *result = lower(has_a ? a : UINT64_MAX, has_b ? b : UINT64_MAX);
    host->present |= result_bit;
}

balloon_status balloon_os_host_read(const char *root, balloon_os_host *host)
{
    balloon_os_host h;

    if (!host || host->size < sizeof(*host))
        return BALLOON_ERR_INVALID;
    memset(&h, 0, sizeof(h));
    h.size = host->size;
    if (!root)
        root = "";

    read_meminfo(root, &h);
    h.present |= read_pressure(root, "/proc/pressure/memory", &h.pressure,
                               BALLOON_OS_HAS_PRESSURE_SOME, BALLOON_OS_HAS_PRESSURE_FULL);
    read_cgroups(root, &h);
    combine(&h, BALLOON_OS_HAS_TOTAL, h.total, BALLOON_OS_HAS_CGROUP_LIMIT, h.cgroup_limit,
            BALLOON_OS_HAS_EFFECTIVE_TOTAL, &h.effective_total);
    combine(&h, BALLOON_OS_HAS_AVAILABLE, h.available, BALLOON_OS_HAS_CGROUP_HEADROOM,
            h.cgroup_headroom, BALLOON_OS_HAS_EFFECTIVE_AVAILABLE, &h.effective_available);
    *host = h;
    return h.present ? BALLOON_OK : BALLOON_ERR_UNSUPPORTED;
}

#endif
