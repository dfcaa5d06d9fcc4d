/* Structs that callers fill begin with their size, so that programs and libraries of different
 * versions go together: docs/abi.md. */
#ifndef BALLOON_CORE_SIZED_H
#define BALLOON_CORE_SIZED_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* No struct will ever be as large: a size beyond is garbage, behind which nothing is read. */
enum { BL_SIZED_END = 4096 };

/* Has the caller's struct all that is known here? It may have fields of a later version behind
 * that, as long as they are 0: what is set and not known would be ignored in silence. */
static inline bool bl_sized(const void *given, size_t known)
{
    const unsigned char *bytes = (const unsigned char *)given;
    size_t size;

    memcpy(&size, given, sizeof(size));
    if (size < known || size >= BL_SIZED_END)
        return false;
    while (size > known && !bytes[size - 1])
        size--;
    return size == known;
}

#endif
