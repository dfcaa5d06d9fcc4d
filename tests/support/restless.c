/* The page cannot be read, so each access faults, is let through for one instruction, and traps. */
#include "restless.h"

#include <criterion/criterion.h>

#if defined(__x86_64__) && defined(__linux__)
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define TRAP_FLAG 0x100

enum { NOTED = 1024 };

static unsigned char *page;
static size_t page_bytes, places[NOTED];
static volatile sig_atomic_t looks;
static void (*turn_page)(unsigned char *page);

static void on_look(int number, siginfo_t *info, void *context)
{
    size_t place = (uintptr_t)info->si_addr - (uintptr_t)page;

    if (place >= page_bytes) {
        signal(number, SIG_DFL);
        return;
    }
    if (looks < NOTED)
        places[looks] = place;
    looks++;
    mprotect(page, page_bytes, PROT_READ | PROT_WRITE);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_looked(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    if (turn_page)
        turn_page(page);
    mprotect(page, page_bytes, PROT_NONE);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

unsigned char *restless_page(void)
{
    struct sigaction look = {.sa_sigaction = on_look, .sa_flags = SA_SIGINFO};
    struct sigaction looked = {.sa_sigaction = on_looked, .sa_flags = SA_SIGINFO};

    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(page != MAP_FAILED);
    sigemptyset(&look.sa_mask);
    sigemptyset(&looked.sa_mask);
    cr_assert_eq(sigaction(SIGSEGV, &look, NULL), 0);
    cr_assert_eq(sigaction(SIGTRAP, &looked, NULL), 0);
    return page;
}

void restless_start(void (*turn)(unsigned char *page))
{
    turn_page = turn;
    looks = 0;
    cr_assert_eq(mprotect(page, page_bytes, PROT_NONE), 0);
}

size_t restless_stop(void)
{
    cr_assert_eq(mprotect(page, page_bytes, PROT_READ | PROT_WRITE), 0);
    return (size_t)looks;
}

const size_t *restless_places(void)
{
    return places;
}
#else
unsigned char *restless_page(void)
{
    cr_skip_test("stepping over single instructions is written for x86-64 Linux only");
}

void restless_start(void (*turn)(unsigned char *page))
{
    (void)turn;
}

size_t restless_stop(void)
{
    return 0;
}

const size_t *restless_places(void)
{
    return NULL;
}
#endif
