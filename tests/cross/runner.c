/* Runs the tests of criterion/criterion.h, each in a process of its own. It takes those options of
 * Criterion that tests/run.sh gives, ends with the same closing line, and has an option more, the
 * list of tests that cannot run here, "<pattern> <reason>" on each line:
 *
 *     tests [--tap=<file>] [--filter <pattern>] [--skips=<file>] */
#include <criterion/criterion.h>

#include <fnmatch.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* An emulated machine is slow, a test that hangs is for ever. */
enum { SECONDS = 1200, MAX_SKIPS = 64 };

/* How a test went: written by its process, read by the runner. */
struct result {
    bool failed, skipped, finished;
    char reason[200];
};

static struct cr_entry *entries, **last = &entries;
static struct result *result;
static sigjmp_buf leave;
static struct skip {
    char pattern[100], reason[200];
    bool used;
} skips[MAX_SKIPS];
static int skip_count;

void cr_add(struct cr_entry *entry)
{
    *last = entry;
    last = &entry->next;
}

void cr_failed(bool fatal, const char *file, int line, const char *what, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "[----] %s:%d: not so: %s;", file, line, what);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    result->failed = true;
    if (fatal)
        siglongjmp(leave, 1);
}

void cr_log_info(const char *format, ...)
{
    (void)format; /* Criterion shows these only if asked to. */
}

void cr_skip_test(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(result->reason, sizeof(result->reason), format, args);
    va_end(args);
    result->skipped = true;
    siglongjmp(leave, 1);
}

static void call(void (*hook)(void))
{
    if (hook)
        hook();
}

static _Noreturn void child(const struct cr_entry *test, const struct cr_entry *suite)
{
    setpgid(0, 0);
    alarm(SECONDS);
    if (!sigsetjmp(leave, 1)) {
        call(suite->init);
        call(test->init);
        test->run();
    }
    /* A test that gave up cleans up after itself all the same. */
    if (!sigsetjmp(leave, 1)) {
        call(test->fini);
        call(suite->fini);
    }
    fflush(NULL);
    result->finished = true;
    _exit(0);
}

static const struct cr_entry *suite_of(const struct cr_entry *test)
{
    static const struct cr_entry plain;

    for (const struct cr_entry *e = entries; e; e = e->next)
        if (!e->name && !strcmp(e->suite, test->suite))
            return e;
    return &plain;
}

/* Returns false if the test crashed. */
static bool run(const struct cr_entry *test)
{
    int status;

    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(test, suite_of(test));
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("cannot run a test");
        exit(2);
    }
    kill(-pid, SIGKILL); /* what it may have left behind */
    if (WIFSIGNALED(status))
        fprintf(stderr, "[----] %s\n", strsignal(WTERMSIG(status)));
    else if (result->finished)
        return true;
    else
        fprintf(stderr, "[----] it ended the process\n");
    return false;
}

static void read_skips(const char *path)
{
    FILE *file = fopen(path, "r");

    if (!file) {
        perror(path);
        exit(2);
    }
    while (skip_count < MAX_SKIPS &&
           fscanf(file, "%99s %199[^\n]", skips[skip_count].pattern, skips[skip_count].reason) == 2)
        skip_count++;
    if (!feof(file)) {
        fprintf(stderr, "%s: cannot use line %d\n", path, skip_count + 1);
        exit(2);
    }
    fclose(file);
}

static bool listed(const char *id)
{
    for (int i = 0; i < skip_count; i++)
        if (!fnmatch(skips[i].pattern, id, FNM_EXTMATCH)) {
            skips[i].used = result->skipped = true;
            snprintf(result->reason, sizeof(result->reason), "%s", skips[i].reason);
            return true;
        }
    return false;
}

int main(int argc, char **argv)
{
    const char *filter = "*";
    FILE *tap = NULL;
    int passed = 0, failed = 0, crashed = 0;

    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--skips=", 8))
            read_skips(argv[i] + 8);
        else if (!strcmp(argv[i], "--filter") && i + 1 < argc)
            filter = argv[++i];
        else if (strncmp(argv[i], "--tap=", 6) != 0 || !(tap = fopen(argv[i] + 6, "w"))) {
            fprintf(stderr, "%s: cannot use %s\n", argv[0], argv[i]);
            return 2;
        }
    }
    result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED)
        return 2;

    for (const struct cr_entry *test = entries; test; test = test->next) {
        char id[256];
        snprintf(id, sizeof(id), "%s/%s", test->suite, test->name ? test->name : "");
        if (!test->name || fnmatch(filter, id, FNM_EXTMATCH))
            continue;
        *result = (struct result){0};
        bool crash = !listed(id) && !run(test);
        bool bad = crash || result->failed;
        bool skipped = !bad && result->skipped;
        passed += !bad && !skipped;
        failed += bad;
        crashed += crash;
        if (bad)
            fprintf(stderr, "[FAIL] %s::%s%s\n", test->suite, test->name, crash ? ": CRASH!" : "");
        if (tap)
            fprintf(tap, "%sok - %s::%s %s%s\n", bad ? "not " : "", test->suite, test->name,
                    skipped ? " # SKIP " : "", skipped ? result->reason : "");
    }
    /* A list of skips that has grown old hides what it should not. */
    for (int i = 0; i < skip_count && !strcmp(filter, "*"); i++)
        if (!skips[i].used) {
            fprintf(stderr, "[FAIL] no test is %s\n", skips[i].pattern);
            failed++;
        }
    if (tap)
        fclose(tap);
    fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d\n",
            passed + failed, passed, failed, crashed);
    return failed > 0;
}
