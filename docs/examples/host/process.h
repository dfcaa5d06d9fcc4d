/* The process of a VMM, seen from outside: whether it lives, and how much of the host's memory it
 * takes beyond what its guest should have. */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

#include <balloon/types.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a guest takes too much counts once it has stayed for so many looks, a second apart. */
enum { PROCESS_LOOKS = 5 };

struct process {
    pid_t pid;                    /* 0: not known */
    int fd;                       /* a pidfd, or -1 */
    uint64_t ram;                 /* of its guest, bytes */
    uint64_t overhead;            /* what the VMM itself takes */
    bool measured;                /* overhead is known */
    balloon_time_t measure_at;    /* not again before */
    balloon_time_t look_at;       /* when to look next */
    uint64_t over[PROCESS_LOOKS]; /* what was too much, the last times */
    unsigned looks;               /* how many of these there are */
    bool huge;        /* it has huge pages that were set aside, which are not resident */
    const char *proc; /* where /proc is */
};

void process_init(struct process *process);

/* Watch the process at the other end of a socket, if it is one that can have a guest of that size:
 * who made the socket may be another program that has started the VMM. */
bool process_open(struct process *process, pid_t pid, uint64_t ram, balloon_time_t now);
void process_close(struct process *process);

/* What of the guest's memory is resident, looked at page by page; false when it may not be seen. */
bool process_resident(const struct process *process, uint64_t *bytes);

/* All that a process has, its guest's memory and else, huge pages too; 0 when that cannot be told.
 */
uint64_t process_bytes(const struct process *process);

/* What of that is resident now beyond what the VMM itself takes; false while that is not known. */
bool process_guest_bytes(const struct process *process, uint64_t *bytes);

/* Whether it is known to live. */
bool process_lives(const struct process *process);

/* Bytes that the guest has given, as its device says, and that the host does not have back: what is
 * resident of the process beyond its own needs and the guest's size, when it has stayed so for some
 * seconds. A guest that has just shrunk is no matter, nor are huge pages that the kernel is about
 * to split. Looks once a second, however often it is called.
 * @param size of the guest, bytes. */
uint64_t process_owed(struct process *process, uint64_t size, balloon_time_t now);

#endif
