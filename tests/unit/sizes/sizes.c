/* Structs that begin with their size, from programs of every version: docs/abi.md. Each lies before
 * a page that nobody may read, so that a look behind its end is a crash in any build. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "../hyperv/hyperv_device_support.h"
#include "sized_structs.h"

TestSuite(sizes, .fini = vm_end);

/* Room for 4 KiB, and a page behind it that is not there. */
static unsigned char *wall(void)
{
    static unsigned char *at;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (4096 + page - 1) / page * page;

    if (!at) {
        at = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        cr_assert(at != MAP_FAILED);
        at += bytes;
        cr_assert_eq(mprotect(at, page, PROT_NONE), 0);
    }
    return at;
}

/* A struct that says it has so many bytes, with as many before the wall, all else 0. */
static void *block(size_t size, size_t bytes)
{
    /* Odd sizes are wrong ones; structs are aligned all the same. */
    unsigned char *at = wall() - (bytes + 7) / 8 * 8;

    memset(at, 0, (size_t)(wall() - at));
    memcpy(at, &size, sizeof(size));
    return at;
}

#define EACH(row)                                                                                  \
    for (const struct sized *row = sized_structs; row < sized_structs + sized_struct_count; row++)

static bool taken(const struct sized *row, void *given, uint64_t *seen)
{
    balloon_status status;

    *seen = 0;
    status = row->use(given, seen);
    vm_end();
    return status != BALLOON_ERR_INVALID;
}

Test(sizes, every_version_of_a_struct_is_listed)
{
    EACH(row)
    {
        size_t last = 0;

        for (unsigned v = 0; v < MOST_VERSIONS && row->versions[v]; v++) {
            cr_expect_lt(last, row->versions[v], "%s", row->name);
            last = row->versions[v];
        }
        cr_expect_eq(last, row->now, "%s has grown to %zu", row->name, row->now);
    }
}

Test(sizes, every_struct_with_a_size_is_listed)
{
    const char *top = getenv("BALLOON_TOP");
    char path[1024], line[256], name[256] = "";
    unsigned found = 0;
    struct dirent *entry;
    DIR *folder;

    snprintf(path, sizeof(path), "%s/include/balloon", top ? top : ".");
    folder = opendir(path);
    cr_assert_not_null(folder, "%s", path);
    while ((entry = readdir(folder))) {
        snprintf(path, sizeof(path), "%s/include/balloon/%s", top ? top : ".", entry->d_name);

        FILE *header = strstr(entry->d_name, ".h") ? fopen(path, "r") : NULL;

        while (header && fgets(line, sizeof(line), header)) {
            bool listed = false;

            if (sscanf(line, "typedef struct %255s {", name) == 1 || !strstr(line, " size_t size;"))
                continue;
            EACH(row)
            listed = listed || !strcmp(row->name, name);
            /* The library makes views; policies are functions that read them. */
            cr_expect(listed || !strcmp(name, "balloon_view"), "%s", name);
            found++;
        }
        if (header)
            fclose(header);
    }
    closedir(folder);
    cr_expect_eq(found, sized_struct_count + 1);
}

Test(sizes, older_structs_mean_the_defaults)
{
    EACH(row)
    {
        uint64_t seen, seen_now;

        cr_assert(taken(row, block(row->now, row->now), &seen_now), "%s", row->name);
        for (unsigned v = 0; v < MOST_VERSIONS && row->versions[v]; v++) {
            size_t size = row->versions[v];

            cr_expect(taken(row, block(size, size), &seen), "%s of %zu bytes", row->name, size);
            cr_expect_eq(seen, seen_now, "%s of %zu bytes", row->name, size);
        }
    }
}

Test(sizes, no_version_ends_elsewhere)
{
    EACH(row)
    {
        uint64_t seen;

        for (unsigned v = 0; v < MOST_VERSIONS && row->versions[v]; v++)
            cr_expect(!taken(row, block(row->versions[v] - 1, row->versions[v] - 1), &seen),
                      "%s of %zu bytes", row->name, row->versions[v] - 1);
        /* Nothing but its size is looked at. */
        cr_expect(!taken(row, block(0, sizeof(size_t)), &seen), "%s without a size", row->name);
        cr_expect(!taken(row, block(sizeof(size_t), sizeof(size_t)), &seen), "%s alone", row->name);
    }
}

Test(sizes, what_later_versions_have_must_be_zero)
{
    EACH(row)
    {
        for (size_t more = 8; more <= 64; more += 56) {
            size_t size = row->now + more;
            uint64_t seen, seen_now;

            cr_assert(taken(row, block(row->now, row->now), &seen_now), "%s", row->name);
            cr_expect(taken(row, block(size, size), &seen), "%s and %zu bytes", row->name, more);
            cr_expect_eq(seen, seen_now, "%s and %zu bytes", row->name, more);
            for (size_t at = row->now; at < size; at++) {
                unsigned char *given = block(size, size);
                bool set = row->kind == FILLED_BY_PROGRAMS;

                given[at] = 1;
                cr_expect_eq(taken(row, given, &seen), !set, "%s, byte %zu", row->name, at);
                cr_expect_eq(given[at], 1, "%s, byte %zu", row->name, at);
            }
        }
    }
}

/* Such as a struct on the stack whose size was not set. */
Test(sizes, garbage_is_no_size)
{
    static const size_t sizes[] = {4096, SIZE_MAX / 2, SIZE_MAX};

    EACH(row)
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        uint64_t seen;

        if (row->kind == FILLED_BY_PROGRAMS)
            cr_expect(!taken(row, block(sizes[i], row->now), &seen), "%s of %zu bytes", row->name,
                      sizes[i]);
    }
}
