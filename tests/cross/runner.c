/* Runs the tests of criterion/criterion.h, each in a process of its own. It takes those options of
 * Criterion that tests/run.sh gives, ends with the same closing line, and has an option more, the
 * list of tests that cannot run here, "<pattern> <reason>" on each line:
 *
 *     tests [--tap=<file>] [--filter <pattern>] [--skips=<file>] */
#include <criterion/criterion.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "run_one.h"

enum { MAX_SKIPS = 64 };

static struct cr_entry *entries, **last = &entries;
static struct result *result;
static jmp_buf leave;
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
        longjmp(leave, 1);
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
    longjmp(leave, 1);
}

static void call(void (*hook)(void))
{
    if (hook)
        hook();
}

static const struct cr_entry *suite_of(const struct cr_entry *test)
{
    static const struct cr_entry plain;

    for (const struct cr_entry *e = entries; e; e = e->next)
        if (!e->name && !strcmp(e->suite, test->suite))
            return e;
    return &plain;
}

/* In a process of its own. */
static void run_test(const struct cr_entry *test)
{
    const struct cr_entry *suite = suite_of(test);

    if (!setjmp(leave)) {
        call(suite->init);
        call(test->init);
        test->run();
    }
    /* A test that gave up cleans up after itself all the same. */
    if (!setjmp(leave)) {
        call(test->fini);
        call(suite->fini);
    }
    result->finished = true;
}

/* --- patterns --------------------------------------------------------------------------------- */

static bool matches(const char *p, const char *p_end, const char *s, const char *s_end);

/* One of the patterns between the parentheses matches the whole text. */
static bool any_matches(const char *p, const char *p_end, const char *s, const char *s_end)
{
    for (const char *bar; p <= p_end; p = bar + 1) {
        bar = memchr(p, '|', (size_t)(p_end - p));
        bar = bar ? bar : p_end;
        if (matches(p, bar, s, s_end))
            return true;
    }
    return false;
}

/* Those of Criterion that are in use: ?, *, @(one|other) and !(one|other), without nesting. */
static bool matches(const char *p, const char *p_end, const char *s, const char *s_end)
{
    for (; p < p_end; p++, s++) {
        const char *close =
            p_end - p > 1 && p[1] == '(' ? memchr(p, ')', (size_t)(p_end - p)) : NULL;
        bool group = close && (*p == '@' || *p == '!');

        if (group || *p == '*') {
            const char *rest = group ? close + 1 : p + 1;
            for (const char *cut = s; cut <= s_end; cut++)
                if ((!group || any_matches(p + 2, close, s, cut) == (*p == '@')) &&
                    matches(rest, p_end, cut, s_end))
                    return true;
            return false;
        }
        if (s == s_end || (*p != '?' && *p != *s))
            return false;
    }
    return s == s_end;
}

static bool fits(const char *pattern, const char *id)
{
    return matches(pattern, pattern + strlen(pattern), id, id + strlen(id));
}

/* --- skips ------------------------------------------------------------------------------------ */

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
        if (fits(skips[i].pattern, id)) {
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
        else if (strncmp(argv[i], "--tap=", 6) != 0 || !(tap = fopen(argv[i] + 6, "wb"))) {
            fprintf(stderr, "%s: cannot use %s\n", argv[0], argv[i]);
            return 2;
        }
    }
    result = run_one_start(argv[0]);
    if (!result)
        return 2;

    for (const struct cr_entry *test = entries; test; test = test->next) {
        char id[256];
        snprintf(id, sizeof(id), "%s/%s", test->suite, test->name ? test->name : "");
        if (run_one_only() && test->name && !strcmp(run_one_only(), id)) {
            run_test(test);
            run_one_end();
        }
        if (run_one_only() || !test->name || !fits(filter, id))
            continue;
        *result = (struct result){0};
        bool crash = !listed(id) && !run_one(test, id, run_test);
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
