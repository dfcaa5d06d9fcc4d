/* The configuration file: what there is for guests, where they are, and what each may have.
 *
 *     # memory for guests: MiB, or a share of the host (or of this program's cgroup)
 *     pool = 75%
 *     guests = /run/guests                 (any number of these)
 *
 *     [web-*]                           (guests by name; later sections win)
 *     min = 512
 */
#ifndef HOST_CONFIG_H
#define HOST_CONFIG_H

#include <balloon/pool.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONFIG_PATH = 108,
    CONFIG_NAME = 64,
    CONFIG_PLACES = 32,
    CONFIG_RULES = 64,
    CONFIG_TEXT = 256
};

/* MiB, or hundredths of something. */
struct config_amount {
    uint64_t number;
    bool percent;
    bool given;
};

struct config_rule {
    char pattern[CONFIG_NAME];
    struct config_amount min, max; /* of the guest's RAM when in percent */
    uint32_t shares, priority;
    bool has_shares, has_priority;
    bool windows, has_windows;
};

struct config {
    struct config_amount pool, reserve; /* reserve: of the pool when in percent */
    char policy[CONFIG_NAME];
    char places[CONFIG_PLACES][CONFIG_PATH]; /* sockets, directories or patterns of paths */
    unsigned place_count;
    struct config_rule rules[CONFIG_RULES];
    unsigned rule_count;
    char metrics[CONFIG_PATH];  /* a socket's path or a port of 127.0.0.1; empty for none */
    char on_short[CONFIG_TEXT]; /* a program to run when memory is short; empty for none */
    char error[CONFIG_TEXT];    /* what is wrong, with the line */
};

/* The defaults. */
void config_init(struct config *config);

/* Read a file, or text as of a file. Returns whether all of it was understood; else see error. */
bool config_read(struct config *config, const char *path);
bool config_parse(struct config *config, const char *text);

/* Add a place where guests are. Returns whether there was room. */
bool config_add_place(struct config *config, const char *path);

/* An amount as text, such as "640" or "75%". */
bool config_amount(const char *text, struct config_amount *amount);

/* An amount in pages, where all of it would be so many bytes. */
uint64_t config_pages(const struct config_amount *amount, uint64_t all);

/* What a guest of that name and that RAM, in bytes, may have. Its current size is left alone. */
void config_limits(const struct config *config, const char *name, uint64_t ram,
                   balloon_pool_guest *limits);

/* Whether a guest of that name is said to be a Windows: what it calls swapped in is all that hard
 * faults have read, of files as well. QMP does not tell that; see BALLOON_SAMPLE_READS. */
bool config_is_windows(const struct config *config, const char *name);

#endif
