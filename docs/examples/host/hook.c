#include "hook.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MINUTE (60 * UINT64_C(1000000000))

enum { PAGES_PER_MIB = 256 };

static _Noreturn void run(const char *command, uint64_t pages)
{
    char text[32];
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    snprintf(text, sizeof(text), "%llu",
             (unsigned long long)((pages + PAGES_PER_MIB - 1) / PAGES_PER_MIB));
    setenv("BALLOON_SHORT_MIB", text, 1);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

void hook_tick(struct hook *h, const balloon_pool *pool, balloon_time_t now)
{
    balloon_pool_status status;

    if (h->command[0] == '\0')
        return;
    if (h->running && waitpid(h->running, NULL, WNOHANG) != 0)
        h->running = 0;
    balloon_pool_status_get(pool, &status);
    if (status.verdict != BALLOON_VERDICT_SHORT || h->running || now < h->again_at)
        return;
    h->again_at = now + MINUTE;
    h->running = fork();
    if (h->running == 0)
        run(h->command, status.shortfall);
    if (h->running < 0)
        h->running = 0;
}
