/* Transparent huge pages: which sizes the kernel may put into a region.
 *
 * They matter because a huge page is freed as a whole: pages discarded from it stay in use until
 * the last one is, or until the kernel splits it, and one page touched can bring all of them back.
 */
#include "os_p.h"

#ifdef __linux__

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#define DIRECTORY "/sys/kernel/mm/transparent_hugepage/"

#ifndef PR_GET_THP_DISABLE
#define PR_GET_THP_DISABLE 42
#endif

/* Where huge pages come without being asked for, where MADV_HUGEPAGE asks for them, nowhere. */
enum rule { RULE_NEVER, RULE_ADVISED, RULE_ALWAYS, RULE_INHERIT };

static const struct {
    const char *word;
    enum rule rule;
} words[] = {
    {"always", RULE_ALWAYS},   {"within_size", RULE_ALWAYS}, {"force", RULE_ALWAYS},
    {"madvise", RULE_ADVISED}, {"advise", RULE_ADVISED},     {"inherit", RULE_INHERIT},
};

static enum rule rule_of(const char *word, size_t length)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (strlen(words[i].word) == length && !strncmp(word, words[i].word, length))
            return words[i].rule;
    }
    return RULE_NEVER;
}

/* The first line of a file, copied into line; false when there is none. */
static bool read_line(const char *root, const char *name, char *line, size_t bytes)
{
    struct os_lines lines;
    const char *text;
    char path[512];
    int length = snprintf(path, sizeof(path), "%s%s", root, name);

    if (length < 0 || (size_t)length >= sizeof(path) || !bl_os_lines_open(&lines, path))
        return false;
    text = bl_os_lines_next(&lines);
    if (text)
        snprintf(line, bytes, "%s", text);
    bl_os_lines_close(&lines);
    return text != NULL;
}

/* The word in brackets: "always [madvise] never". */
static bool read_rule(const char *root, const char *name, char *line, size_t bytes, enum rule *rule)
{
    char *from, *to;

    if (!read_line(root, name, line, bytes))
        return false;
    from = strchr(line, '[');
    to = from ? strchr(from, ']') : NULL;
    if (!to)
        return false;
    *to = '\0';
    memmove(line, from + 1, (size_t)(to - from));
    *rule = rule_of(line, strlen(line));
    return true;
}

static void apply(struct os_huge *huge, unsigned order, enum rule rule)
{
    if (rule == RULE_ALWAYS)
        huge->always |= (uint32_t)1 << order;
    else if (rule == RULE_ADVISED)
        huge->advised |= (uint32_t)1 << order;
}

/* A rule for the size of a page table's page, the PMD, and for each size one of its own where the
 * kernel has these. */
static void read_sizes(const char *root, const char *file, unsigned pmd, enum rule top,
                       struct os_huge *huge)
{
    char name[128], line[128];

    for (unsigned order = 1; order <= pmd; order++) {
        enum rule rule = RULE_NEVER;

        snprintf(name, sizeof(name), DIRECTORY "hugepages-%lukB/%s", 4UL << order, file);
        if (!read_rule(root, name, line, sizeof(line), &rule))
            rule = order == pmd ? RULE_INHERIT : RULE_NEVER;
        apply(huge, order, rule == RULE_INHERIT ? top : rule);
    }
}

/* "... - tmpfs tmpfs rw,size=1g,huge=always" of the mount with a device number. */
static bool mount_rule(const char *root, uint64_t device, bool *tmpfs, enum rule *rule)
{
    struct os_lines lines;
    char path[512], wanted[64];
    bool found = false;
    const char *line;
    int length = snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);

    *tmpfs = false;
    *rule = RULE_NEVER;
    if (length < 0 || (size_t)length >= sizeof(path) || !bl_os_lines_open(&lines, path))
        return false;
    snprintf(wanted, sizeof(wanted), " %lu:%lu ", (unsigned long)(device >> 32),
             (unsigned long)(device & UINT32_MAX));
    while (!found && (line = bl_os_lines_next(&lines))) {
        const char *type = strstr(line, " - "), *at = strstr(line, wanted), *option;

        if (!type || !at || at > type)
            continue;
        found = true;
        *tmpfs = !strncmp(type, " - tmpfs ", 9) || !strncmp(type, " - devtmpfs ", 12);
        option = strstr(type, ",huge=");
        if (option) {
            option += strlen(",huge=");
            *rule = rule_of(option, strcspn(option, ","));
        }
    }
    bl_os_lines_close(&lines);
    return found;
}

bool bl_os_is_internal(uint64_t device)
{
    bool tmpfs;
    enum rule rule;

    return !(device >> 32) && !mount_rule("", device, &tmpfs, &rule);
}

/* Files in memory have rules of their own: those of a mount stand in its options, those of memfd
 * and shared anonymous memory, which no mount shows, in shmem_enabled. */
static void read_shared(const char *root, uint64_t device, unsigned pmd, struct os_huge *huge)
{
    enum rule top = RULE_NEVER, rule;
    char line[128] = "";
    bool tmpfs;

    (void)!read_rule(root, DIRECTORY "shmem_enabled", line, sizeof(line), &top);
    if (mount_rule(root, device, &tmpfs, &rule)) {
        if (!tmpfs || !strcmp(line, "deny"))
            return;
        apply(huge, pmd, !strcmp(line, "force") ? RULE_ALWAYS : rule);
    } else if (!(device >> 32)) {
        read_sizes(root, "shmem_enabled", pmd, top, huge);
    }
}

struct os_huge bl_os_huge_rules(const char *root, bool shared, uint64_t device)
{
    struct os_huge huge = {0, 0, 0};
    enum rule top = RULE_NEVER;
    char line[128];
    const char *text = line;
    uint64_t bytes;
    unsigned pmd = 0;

    if (!read_line(root, DIRECTORY "hpage_pmd_size", line, sizeof(line)) ||
        !bl_os_number(&text, 10, &bytes))
        return huge;
    while (pmd + 1 < OS_ORDERS && (uint64_t)BALLOON_PAGE_SIZE << (pmd + 1) <= bytes)
        pmd++;
    huge.pmd = (uint64_t)1 << pmd;
    if (shared) {
        read_shared(root, device, pmd, &huge);
    } else {
        (void)!read_rule(root, DIRECTORY "enabled", line, sizeof(line), &top);
        read_sizes(root, "enabled", pmd, top, &huge);
    }
    return huge;
}

uint64_t bl_os_huge_pages(const struct os_region *region, const struct os_smaps *smaps)
{
    int disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
    struct os_huge huge;
    uint32_t orders;

    if (disabled == 1 || region->backing == BALLOON_OS_HUGETLB_SHARED ||
        region->backing == BALLOON_OS_HUGETLB_PRIVATE)
        return 0;
    huge = bl_os_huge_rules("", region->shared, region->device);
    /* Since 6.18 a process can forbid only those that nobody asks for. */
    orders = (disabled > 0 ? 0 : huge.always & smaps->plain) |
             ((huge.always | huge.advised) & smaps->advised);
    for (unsigned order = OS_ORDERS; order-- > 0;) {
        if (orders >> order & 1 && (uint64_t)1 << order > region->unit)
            return (uint64_t)1 << order;
    }
    return 0;
}

#endif
