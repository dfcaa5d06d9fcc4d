/* Memory of a peer that is another one after each instruction that looks at it, so that whoever
 * reads a byte twice is found out, always and not once in a thousand runs. */
#ifndef TEST_RESTLESS_H
#define TEST_RESTLESS_H

#include <stddef.h>

/* A page, zeroed. Skips the test where nobody has written how to step over one instruction. */
unsigned char *restless_page(void);

/* From now on each look is noted, and turn(page), if it is not NULL, comes after it. */
void restless_start(void (*turn)(unsigned char *page));

/* Until now; returns how many looks there were. */
size_t restless_stop(void);

/* Where each of them began, in bytes, in the order they came in; the first 1,024 of them. */
const size_t *restless_places(void);

#endif
