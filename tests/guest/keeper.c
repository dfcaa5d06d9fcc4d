/* A program under guard. Between us and the program stands a keeper process: it sees the lifeline
 * close when we end, even by SIGKILL, and as a subreaper it inherits every orphan that the program
 * leaves, so it can end them all by their process ids. */
#include "keeper.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static pid_t parent_of(const char *pid)
{
    char path[64], line[512];
    int parent = -1;
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    if (fgets(line, sizeof line, file)) {
        /* The name before it is in parentheses and may hold anything. */
        const char *after = strrchr(line, ')');
        if (!after || sscanf(after, ") %*c %d", &parent) != 1)
            parent = -1;
    }
    fclose(file);
    return parent;
}

/* Each child that dies hands its own children to us, until none is left. */
static void end_all_children(void)
{
    do {
        DIR *proc = opendir("/proc");
        if (!proc)
            return;
        for (struct dirent *entry; (entry = readdir(proc));)
            if (isdigit((unsigned char)entry->d_name[0]) && parent_of(entry->d_name) == getpid())
                kill((pid_t)atoi(entry->d_name), SIGKILL);
        closedir(proc);
    } while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
}

/* musl does not have the call by name. */
static void close_from(unsigned fd)
{
    syscall(SYS_close_range, fd, ~0u, 0);
}

static _Noreturn void run_program(const char *const *argv, const char *const *variables, int in,
                                  int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (; variables && *variables; variables++)
        putenv((char *)(uintptr_t)*variables);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    close_from(3);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static _Noreturn void keep(const char *directory, const char *const *argv,
                           const char *const *variables, int lifeline, int in, int out)
{
    char end;
    /* Interrupting us at a terminal must not take the keeper away first. */
    setpgid(0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t program = fork();
    if (program == 0)
        run_program(argv, variables, in, out);
    if (write(lifeline, &program, sizeof program) != sizeof program)
        _exit(1);
    dup2(lifeline, 3);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    close_from(4);
    while (read(3, &end, 1) < 0 && errno == EINTR)
        ;
    end_all_children();
    nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    _exit(0);
}

int keeper_prepare(struct kept *kept)
{
    *kept = (struct kept){.keeper = -1, .program = -1, .lifeline = -1, .in = -1, .out = -1};
    snprintf(kept->directory, sizeof kept->directory, "/tmp/balloon-guest-XXXXXX");
    return mkdtemp(kept->directory) ? 0 : -1;
}

int keeper_start(struct kept *kept, const char *const *argv, const char *const *variables)
{
    int life[2], in[2], out[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, life) < 0 || pipe2(in, O_CLOEXEC) < 0 ||
        pipe2(out, O_CLOEXEC) < 0)
        return -1;
    fflush(NULL);
    kept->keeper = fork();
    if (kept->keeper == 0) {
        close(life[0]);
        keep(kept->directory, argv, variables, life[1], in[0], out[1]);
    }
    close(life[1]);
    close(in[0]);
    close(out[1]);
    kept->lifeline = life[0];
    kept->in = in[1];
    kept->out = out[0];
    if (kept->keeper < 0 ||
        read(kept->lifeline, &kept->program, sizeof kept->program) != sizeof kept->program)
        return -1;
    return 0;
}

void keeper_end(struct kept *kept)
{
    close(kept->in);
    close(kept->lifeline);
    while (waitpid(kept->keeper, NULL, 0) < 0 && errno == EINTR)
        ;
    close(kept->out);
}
