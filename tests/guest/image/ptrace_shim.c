/* Preloaded into linux.uml, for the tests only. User-mode Linux keeps its tasks' floating point
 * state in a buffer of fixed size. Where the processor's state is larger (AMX), the host refuses to
 * set the registers from it: so fetch the whole state, replace its beginning, and set it whole. */
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

static _Alignas(64) char state[64 * 1024];

static long set_state(pid_t pid, struct iovec *given)
{
    struct iovec whole = {state, sizeof state};
    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) < 0)
        return -1;
    memcpy(state, given->iov_base, given->iov_len < whole.iov_len ? given->iov_len : whole.iov_len);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && (size_t)address == NT_X86_XSTATE)
        return set_state(pid, data);
    if (request < PTRACE_PEEKTEXT || request > PTRACE_PEEKUSER)
        return syscall(SYS_ptrace, request, pid, address, data);
    /* The library's PEEK requests return the word itself; the system call stores it. */
    long word;
    if (syscall(SYS_ptrace, request, pid, address, &word) < 0)
        return -1;
    errno = 0;
    return word;
}
