/* policy-report from outside: all scenarios, by few policies. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[] = "/tmp/policy-report-XXXXXX";

static void remove_directory(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", directory);
    (void)!system(command);
}

TestSuite(policy_report, .fini = remove_directory, .timeout = 900);

/* The report, and what is printed in front of it. */
static char *report(const char *options)
{
    const char *build = getenv("BALLOON_BUILD"), *top = getenv("BALLOON_TOP");
    char command[4096], path[256];
    char *text;
    FILE *file;
    size_t size;

    if (!build || !top)
        cr_skip_test("where policy-report is, is not known: BALLOON_BUILD is not set");
    snprintf(path, sizeof(path), "%s/bin/policy-report", build);
    if (access(path, X_OK))
        cr_skip_test("policy-report is not built");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(command, sizeof(command),
             "%s --quiet --seeds 1 --traces '%s/bench/traces' --out %s %s >%s/report.txt", path,
             top, directory, options, directory);
    cr_assert_eq(system(command), 0);
    snprintf(command, sizeof(command), "cat %s/report.txt %s/report.json", directory, directory);
    file = popen(command, "r");
    cr_assert_not_null(file);
    text = malloc(1 << 22);
    size = fread(text, 1, (1 << 22) - 1, file);
    text[size] = '\0';
    cr_assert_eq(pclose(file), 0);
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

/* In every scenario, also of the policies that come nearest to it. */
Test(policy_report, nobody_is_better_than_the_optimum)
{
    char *text = report("--policy fixed,stall,oracle");
    unsigned regrets = 0;

    for (const char *at = text; (at = strstr(at, "\"regret\": ")) != NULL; at++) {
        const char *number = at + strlen("\"regret\": ");

        if (!strncmp(number, "null", 4))
            continue;
        cr_expect_geq(strtod(number, NULL), -0.001, "%.300s", at - 100);
        regrets++;
    }
    cr_assert_gt(regrets, 60);
    cr_assert_eq(count(text, "\"failed\": true"), 0);
    cr_assert_eq(count(text, "\"unsafe_growth\": 0, \"unsafe_targets\": 0, "),
                 count(text, "\"unsafe_growth\": "));
    /* 19 scenarios, 7 traces; four periods, one without a neighbour, four other numbers of guests,
     * of which the two largest go without optimum and oracle; the hog. */
    cr_assert_eq(count(text, "\"in_summary\": true"), 26);
    cr_assert_eq(count(text, "\"in_summary\": false"), 10);
    cr_assert_eq(count(text, "\"optimum\": null"), 2);
    cr_assert_eq(count(text, "\"skipped\": true"), 2);
    cr_assert_eq(count(text, "\nS6/10s square "), 1);
    cr_assert_eq(count(text, "\nS15/10000 crowd  "), 1);
    free(text);
}

/* For two guests it is known what the best is that their balloons can reach. */
Test(policy_report, balloons_that_are_slow_cost_more)
{
    char *text = report("--policy fixed --scenarios S15");
    const char *best = strstr(text, "\"optimum\": {\"cost\": "), *paced;

    cr_assert_not_null(best);
    paced = strstr(best, "\"paced\": ");
    cr_assert_not_null(paced);
    cr_assert_gt(strtod(paced + strlen("\"paced\": "), NULL),
                 strtod(best + strlen("\"optimum\": {\"cost\": "), NULL));
    free(text);
}
