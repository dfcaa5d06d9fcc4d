/* balloon-sim from outside: what it takes, what it refuses and how it says so. */
#include "prng.h"
#include "sim_tool.h"

#define LONG "workload,time_s,working_set_mib,footprint_mib\n"

static const char *trace(const char *name)
{
    static char path[2][1024];
    static unsigned turn;
    const char *top = getenv("BALLOON_TOP");
    char *to = path[turn++ % 2];

    snprintf(to, sizeof(path[0]), "%s/bench/traces/%s", top ? top : ".", name);
    return to;
}

static struct end end;

TestSuite(balloon_sim, .fini = remove_file, .timeout = 300);

static const char *of_policy(const char *name)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "{\"policy\": \"%s\"", name);
    at = strstr(end.output, key);
    cr_assert_not_null(at, "no %s in %s", name, end.output);
    return at;
}

/* --- what it takes -----------------------------------------------------------------------------
 */

Test(balloon_sim, recorded_demand_with_measured_curves)
{
    run(&end, "--trace '%s' --curves '%s' --pool-mib 1000 --policy waterline,fixed --json",
        trace("lab_a_pss.csv"), trace("mrc_lab_a.csv"));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert_eq(field(end.output, "pool_mib"), 1000);
    cr_assert_eq(field(end.output, "rows"), 202);
    cr_assert_eq(field(end.output, "seconds"), 101);
    cr_assert(strstr(end.output, "\"synthetic_pairing\": true"));
    cr_assert(strstr(end.output, "{\"name\": \"pgbench_oltp\", \"ram_mib\": "));
    double best = field(strstr(end.output, "\"optimum\""), "cost");
    double reached = field(strstr(end.output, "\"optimum\""), "reached");

    cr_assert_gt(best, 0);
    cr_assert_leq(best, reached);
    cr_assert(strstr(end.output, "\"kind\": \"bound\""), "%s", end.output);
    const char *names[] = {"waterline", "fixed"};

    for (int i = 0; i < 2; i++) {
        const char *own = of_policy(names[i]);
        double cost = field(own, "cost");

        cr_assert_geq(cost, best);
        cr_assert_float_eq(field(own, "regret"), cost / best - 1, 1e-4);
        cr_assert_float_eq(field(own, "over_optimum"), cost - best, 0.01);
        cr_assert_eq(field(own, "unsafe_growth") + field(own, "unsafe_targets"), 0);
    }
}

Test(balloon_sim, every_trace_of_the_tree)
{
    static const char *const names[] = {"scout_ec2_a.csv", "prmon_atlas_job.csv",
                                        "lab_a_referenced.csv", "nezha_onlineboutique_a.csv"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        run(&end, "--trace '%s' --policy waterline", trace(names[i]));
        cr_assert_eq(end.status, 0, "%s: %s", names[i], end.output);
        cr_assert(strstr(end.output, "\nwaterline "), "%s", end.output);
        cr_assert(strstr(end.output, "a built-in convex one"), "%s", end.output);
    }
}

Test(balloon_sim, fractions_need_a_scale)
{
    const char *text = "time_s,a\n0,0\n60,1\n120,0.5\n";

    run(&end, "--trace %s --scale-mib 1000,3000 --policy fixed --json",
        file_of(text, strlen(text)));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert_eq(field(end.output, "demand_peak_mib"), 3000);
    cr_assert_eq(field(end.output, "demand_mean_mib"), 2000);
    cr_assert_eq(field(end.output, "ram_mib"), 3750);
    text = "time_s,a\n0,0\n60,1.5\n";
    run(&end, "--trace %s --scale-mib 1000,3000", file_of(text, strlen(text)));
    cr_assert_eq(end.status, 2);
    cr_assert(strstr(end.output, ": line 3, column 2: more than 1"), "%s", end.output);
}

/* Fractions that nobody has named as such, and files whose notes do. */
Test(balloon_sim, fractions_without_a_scale_are_parts_of_16_gib)
{
    const char *texts[] = {"time_s,a\n0,0\n60,1\n120,0.5\n",
                           "\xef\xbb\xbf# NOT MiB: 0..1\ntime_s,a\n0,0\n60,1\n120,0.5\n"};

    for (size_t i = 0; i < 2; i++) {
        const char *name = file_of(texts[i], strlen(texts[i]));

        run(&end, "--trace %s --policy fixed --json", name);
        cr_assert_eq(end.status, 0, "%s", end.output);
        cr_assert_eq(field(end.output, "demand_peak_mib"), 14746);
        cr_assert(strstr(end.output, "\"scale_mib\": [3277.000, 14746.000], "
                                     "\"scale_guessed\": true"),
                  "%s", end.output);
        run(&end, "--trace %s --policy fixed", name);
        cr_assert(
            strstr(end.output, "\nvalues are fractions: 0 taken for 3277 MiB and 1 for 14746"),
            "%s", end.output);
    }
    run(&end, "--trace '%s' --policy fixed --json", trace("smd_norm_3days.csv"));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert_gt(field(of_policy("fixed"), "cost"), 0);
}

/* b has begun later, a has two samples in a millisecond, and both count from their first. */
Test(balloon_sim, working_sets_by_workload)
{
    const char *text = "# note\n" LONG "a,5,100,900\na,6,300,900\na,6.0001,200,900\n"
                       "a,7.5,100,900\nb,100,50,60\nb,102,70,70\n";

    run(&end, "--trace %s --policy fixed --json", file_of(text, strlen(text)));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert_eq(field(end.output, "rows"), 4);
    /* Rows at 0, 1, 2 and 2.5 s, and the last one lasts as long as the one before. */
    cr_assert_eq(field(end.output, "seconds"), 3);
    cr_assert_eq(field(end.output, "demand_peak_mib"), 370);
    cr_assert(strstr(end.output, "{\"name\": \"a\", \"ram_mib\": 375}, "
                                 "{\"name\": \"b\", \"ram_mib\": 88}"),
              "%s", end.output);
}

Test(balloon_sim, a_capacity_that_is_too_low_is_raised_and_said)
{
    const char *text = "#capacity_mib,100,900\ntime_s,a,b\n0,300,300\n60,200,300\n";
    const char *name = file_of(text, strlen(text));

    run(&end, "--trace %s --policy fixed", name);
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert(strstr(end.output, "\n1 of the guests want more than their capacity"), "%s",
              end.output);
    run(&end, "--trace %s --policy fixed --json", name);
    cr_assert(strstr(end.output, "{\"name\": \"a\", \"ram_mib\": 300, "
                                 "\"capacity_mib\": 100.000}, "
                                 "{\"name\": \"b\", \"ram_mib\": 900}"),
              "%s", end.output);
}

Test(balloon_sim, seeds_have_64_bits)
{
    run(&end, "--trace '%s' --policy fixed --json --seed 18446744073709551615",
        trace("lab_a_pss.csv"));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert(strstr(end.output, "\"seed\": 18446744073709551615"), "%s", end.output);
}

/* The first guest never gets to be larger than a tenth of the pool, so it is all about what the
 * second one, that is there from the third row on, begins with. */
Test(balloon_sim, late_guests_are_let_in)
{
    const char *text = "time_s,a,b\n0,1000,\n60,1000,\n120,1000,8000\n600,1000,8000\n";
    const char *name = file_of(text, strlen(text));

    run(&end, "--trace %s --policy all --json", name);
    cr_assert_eq(end.status, 0, "%s", end.output);
    for (const char *at = end.output; (at = strstr(at, "\"waiting_s\": ")) != NULL; at++)
        cr_expect_lt(field(at, "waiting_s"), 30, "%.200s", at);
    /* Room must be made first, which takes a second or more. */
    text = "time_s,a,b\n0,8000,\n60,8000,\n120,8000,8000\n600,8000,8000\n";
    run(&end, "--trace %s --policy waterline", file_of(text, strlen(text)));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert(strstr(end.output, "\nwaterline: guests waited "), "%s", end.output);
    run(&end, "--trace %s --policy waterline --json", file_of(text, strlen(text)));
    cr_assert_gt(field(of_policy("waterline"), "waiting_s"), 0);
    cr_assert_lt(field(of_policy("waterline"), "waiting_s"), 300);
}

/* For 400 unlike guests no step of sizes fits all, and nobody may be better than the optimum. */
Test(balloon_sim, the_optimum_of_many_guests_is_a_bound)
{
    enum { GUESTS = 400 };
    static char text[GUESTS * 40];
    size_t at = (size_t)snprintf(text, sizeof(text), "time_s");

    for (int i = 0; i < GUESTS; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, ",g%d", i);
    for (int row = 0; row < 3; row++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "\n%d", row * 60);
        for (int i = 0; i < GUESTS; i++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, ",%d",
                                   10 + (i * 37 + row * 11) % 900 * (i % 50 ? 1 : 40));
    }
    at += (size_t)snprintf(text + at, sizeof(text) - at, "\n");
    run(&end, "--trace %s --policy waterline+mrc,stall --json", file_of(text, at));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert(strstr(end.output, "\"kind\": \"exact\""));
    cr_assert_gt(field(strstr(end.output, "\"optimum\""), "cost"), 0);
    cr_assert_geq(field(of_policy("waterline+mrc"), "regret"), -0.001);
    cr_assert_geq(field(of_policy("stall"), "regret"), -0.001);
}

/* In a gap the last value holds; before its first and after its last sample a guest is not there.
 */
Test(balloon_sim, gaps)
{
    const char *text = "# note\n# capacity_mib,400,,100\ntime_s,a,b,never\n"
                       "0,100,,\n60,,200,\n\n120,300,,\r\n180,,,\n240,100,,\n300,100,,\n";

    run(&end, "--trace %s --policy fixed --json --pool-mib 700", file_of(text, strlen(text)));
    cr_assert_eq(end.status, 0, "%s", end.output);
    /* a: 100 100 300 300 100 100; b: 200 in the second row. */
    cr_assert_eq(field(end.output, "demand_mean_mib"), 200);
    cr_assert_eq(field(end.output, "demand_peak_mib"), 300);
    cr_assert_eq(field(end.output, "seconds"), 360);
    cr_assert(strstr(end.output, "\"guests\": [{\"name\": \"a\", \"ram_mib\": 400}, "
                                 "{\"name\": \"b\", \"ram_mib\": 250}]"),
              "%s", end.output);
}

Test(balloon_sim, longer_than_one_simulation)
{
    const char *text = "time_s,a,b\n1700000000,100,200\n1700900000,300,100\n1701700000,,250\n"
                       "1702600000,200,\n";

    run(&end, "--trace %s --policy fixed --json", file_of(text, strlen(text)));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert_eq(field(end.output, "seconds"), 3500000);
    cr_assert_eq(field(end.output, "parts"), 4);
}

Test(balloon_sim, rows_far_apart_need_fewer_decisions_and_that_is_said)
{
    const char *far = "time_s,a\n0,100\n60,200\n", *near = "time_s,a\n0,100\n9,200\n";

    run(&end, "--trace %s --policy fixed", file_of(far, strlen(far)));
    cr_assert(strstr(end.output, "\nrows are 60 s apart: decisions are once a second"), "%s",
              end.output);
    run(&end, "--trace %s --policy fixed", file_of(near, strlen(near)));
    cr_assert_null(strstr(end.output, "rows are"), "%s", end.output);
}

Test(balloon_sim, one_seed_one_result)
{
    static struct end other;
    const char *options = "--trace '%s' --policy all --pool-mib 900 %s --seed %d";

    for (int json = 0; json < 2; json++) {
        run(&end, options, trace("lab_a_pss.csv"), json ? "--json" : "", 7);
        cr_assert_eq(end.status, 0, "%s", end.output);
        run(&other, options, trace("lab_a_pss.csv"), json ? "--json" : "", 7);
        cr_assert_str_eq(end.output, other.output);
        run(&other, options, trace("lab_a_pss.csv"), json ? "--json" : "", 8);
        cr_assert_str_neq(end.output, other.output);
    }
}

Test(balloon_sim, knobs_are_parts_of_a_name)
{
    run(&end,
        "--trace '%s' --json --pool-mib 900 --policy "
        "waterline,waterline:tax=off:hold_s=1,waterline+mrc:boost=8,curves",
        trace("lab_a_pss.csv"));
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert_neq(field(of_policy("waterline"), "cost"),
                  field(of_policy("waterline:tax=off:hold_s=1"), "cost"));
    (void)of_policy("waterline+mrc:boost=8");
}

/* --- what it refuses ---------------------------------------------------------------------------
 */

static void expect_error(const char *text, size_t size, const char *option, const char *message)
{
    const char *name = file_of(text, size);

    run(&end, "--policy fixed %s %s", option, name);
    cr_expect_eq(end.status, 2, "status %d for %s", end.status, message);
    cr_expect(strstr(end.output, message) && strstr(end.output, name), "not \"%s\" but %s", message,
              end.output);
}

Test(balloon_sim, says_where_demand_is_wrong)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", ": line 1, column 1: the header"},
        {"# only notes\n", ": line 2, column 1: the header"},
        {"\xef\xbb\xbf", ": line 1, column 1: the header"},
        {"time_s,a\r0,1\r60,2\r", ": line 1, column 2: lines must end with LF"},
        {"# note\rtime_s,a\r0,1\r", ": line 2, column 1: the header"},
        {"hello\n", ": line 1, column 1: no column of times in the header: time_s, Time"},
        {"workload,size_mib\n", ": line 1, column 2: not time_s,<name>"},
        {"time_s\n0\n", ": line 1, column 1: no columns"},
        {"time_s,a,\n", ": line 1, column 3: a column without a name"},
        {"time_s,a\n", ": line 2, column 1: no rows"},
        {"time_s,a,b\n0,,\n60,,\n", ": line 3, column 2: no samples"},
        {"time_s,a\n0,1\n60,x y\n", ": line 3, column 2: not a number: \"x y\""},
        {"time_s,a\n0,1\n60,inf\n", ": line 3, column 2: not a number"},
        {"time_s,a\n0,1\n60,0x10\n", ": line 3, column 2: not a number"},
        {"time_s,a\n0,1e\n", ": line 2, column 2: not a number"},
        {"time_s,a\n0,1.5.2\n", ": line 2, column 2: not a number"},
        {"time_s,a\n0,-1\n", ": line 2, column 2: less than 0"},
        {"time_s,a\n0,1e300\n", ": line 2, column 2: more than 16777216"},
        {"time_s,a\n0,1e999\n", ": line 2, column 2: more than 16777216"},
        {"time_s,a\n0,"
         "11111111111111111111111111111111111111111111111111111111111111111111111\n",
         ": line 2, column 2: not a number: \"11111111111111111111111111111111...\""},
        {"time_s,a,b\n0,1,2\n60,1\n", ": line 3, column 3: the row ends"},
        {"time_s,a,b\n0,1,2\n60,1,2,3\n", ": line 3, column 4: more fields"},
        {"time_s,a,b,c,d,e,f\n0\n1\n2\n3\n4\n", ": line 2, column 2: the row ends"},
        {"time_s,a\n,1\n", ": line 2, column 1: a number is missing"},
        {"time_s,a\n5,1\n5,1\n", ": line 3, column 1: time must rise"},
        {"time_s,a\n5,1\n4,1\n", ": line 3, column 1: time must rise"},
        {"time_s,a\n0,1\n2000000,1\n", ": line 3, column 1: more than 1000000 s"},
        {"time_s,a\n0,1\n40000000,1\n", ": line 3, column 1: more than 31622400 s"},
        {"# capacity_mib,1\n# capacity_mib,1\ntime_s,a\n", ": line 2, column 1: a second"},
        {"# capacity_mib,1\ntime_s,a,b\n0,1,1\n", ": line 1, column 3: 1 capacities for 2"},
        {"# capacity_mib,1,2\ntime_s,a\n0,1\n", ": line 1, column 3: more capacities"},
        {"# capacity_mib,0\ntime_s,a\n0,1\n", ": line 1, column 2: a capacity of 0"},
        {"#capacity_mib,1,2\ntime_s,a\n0,1\n", ": line 1, column 3: more capacities"},
        {"time_s,a\n# capacity_mib,5\n0,1\n", ": line 2, column 1: capacities must stand"},
        {"# not MiB\ntime_s,a\n0,1\n60,40\n", ": line 4, column 2: more than 1"},
        {"# capacity_mib,q\ntime_s,a\n0,1\n", ": line 1, column 2: not a number"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_error(cases[i].text, strlen(cases[i].text), "--trace", cases[i].message);
    expect_error("time_s,a\n0,1\0\n", 13, "--trace", ": line 2, column 2: not a number: \"1?\"");
}

Test(balloon_sim, says_where_the_long_form_is_wrong)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {LONG, ": line 2, column 1: no rows"},
        {"workload,time_s,working_set_mib\n", ": line 1, column 3: not time_s,<name>"},
        {"workload,time_s,working_set_mib,footprint_mib,x\n", ": line 1, column 5: more fields"},
        {LONG ",1,1,1\n", ": line 2, column 1: a workload without a name"},
        {LONG "a\n", ": line 2, column 2: time_s is missing"},
        {LONG "a,1\n", ": line 2, column 3: working_set_mib is missing"},
        {LONG "a,1,2\n", ": line 2, column 4: footprint_mib is missing"},
        {LONG "a,1,2,3,4\n", ": line 2, column 5: more fields"},
        {LONG "a,1,x,3\n", ": line 2, column 3: not a number: \"x\""},
        {LONG "a,2,1,1\na,1,1,1\n", ": line 3, column 2: time must rise"},
        {LONG "a,2,1,1\na,40000000,1,1\n", ": line 3, column 2: more than 31622400 s"},
        {LONG "a,1,1,1\nb,1,1,1\na,2,1,1\n", ": line 4, column 1: the rows of a workload"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_error(cases[i].text, strlen(cases[i].text), "--trace", cases[i].message);
}

Test(balloon_sim, says_where_curves_are_wrong)
{
#define HEADER "workload,size_mib,miss_ratio,misses_per_s\n"
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", ": line 1, column 1: the header"},
        {"time_s,a\n", ": line 1, column 1: the header must be"},
        {"workload,size_mib,miss_ratio\n", ": line 1, column 3: the header must be"},
        {"workload,size_mib,miss_ratio,misses_per_s,x\n", ": line 1, column 5: more fields"},
        {HEADER, ": line 2, column 1: no rows"},
        {HEADER ",1,1,1\n", ": line 2, column 1: a workload without a name"},
        {HEADER "a\n", ": line 2, column 2: size_mib is missing"},
        {HEADER "a,z\n", ": line 2, column 2: not a number"},
        {HEADER "a,0,1,1\n", ": line 2, column 2: sizes must rise"},
        {HEADER "a,1\n", ": line 2, column 3: miss_ratio is missing"},
        {HEADER "a,1,2,1\n", ": line 2, column 3: more than 1"},
        {HEADER "a,1,1\n", ": line 2, column 4: misses_per_s is missing"},
        {HEADER "a,1,1,-1\n", ": line 2, column 4: less than 0"},
        {HEADER "a,1,1,1,1\n", ": line 2, column 5: more fields"},
        {HEADER "a,1,1,1\na,1,1,1\n", ": line 3, column 2: sizes must rise"},
        {HEADER "a,1,1,1\na,2,1,2\n", ": line 3, column 4: misses must not rise"},
        {HEADER "a,1,1,1\nb,1,1,1\na,2,1,1\n", ": line 4, column 1: the rows of a workload"},
    };
    char option[1100];

    snprintf(option, sizeof(option), "--trace '%s' --curves", trace("lab_a_pss.csv"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_error(cases[i].text, strlen(cases[i].text), option, cases[i].message);
}

Test(balloon_sim, odd_curves_do)
{
    const char *texts[] = {HEADER "a,1,0,0\n", HEADER "a,1,1,1\n",
                           HEADER "a,1,1,9\na,1.000001,1,8\na,1.000002,1,7\nb,5,1,1e15\nb,6,0,0\n"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        run(&end, "--trace '%s' --policy all --curves %s", trace("lab_a_pss.csv"),
            file_of(texts[i], strlen(texts[i])));
        cr_assert_eq(end.status, 0, "%s", end.output);
    }
}

Test(balloon_sim, bad_options_show_how_it_is_used)
{
    static const char *const options[] = {"",
                                          "--nonsense",
                                          "--trace",
                                          "--trace x y",
                                          "--trace x --policy ''",
                                          "--trace x --policy nobody",
                                          "--trace x --policy fixed:tax=1",
                                          "--trace x --policy waterline:tux=1",
                                          "--trace x --policy waterline:tax",
                                          "--trace x --policy waterline:tax=x",
                                          "--trace x --policy waterline:tax=100000",
                                          "--trace x --pool-mib 0",
                                          "--trace x --pool-mib 5x",
                                          "--trace x --pool-mib 99999999999999999999999",
                                          "--trace x --seed -1",
                                          "--trace x --seed 18446744073709551616",
                                          "--trace x --scale-mib 5",
                                          "--trace x --scale-mib 5,4",
                                          "--trace x --scale-mib 5,nan"};

    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        run(&end, "%s", options[i]);
        cr_expect_eq(end.status, 2, "status %d for %s", end.status, options[i]);
        cr_expect(strstr(end.output, "Usage: balloon-sim"), "%s: %s", options[i], end.output);
    }
    run(&end, "--help");
    cr_expect_eq(end.status, 0);
    cr_expect(strstr(end.output, "Usage: balloon-sim"));
}

Test(balloon_sim, says_which_file_or_pool_will_not_do)
{
    run(&end, "--trace /nowhere/at/all.csv");
    cr_expect_eq(end.status, 2);
    cr_expect(strstr(end.output, "/nowhere/at/all.csv: "), "%s", end.output);
    run(&end, "--trace /");
    cr_expect_eq(end.status, 2);
    run(&end, "--trace '%s' --pool-mib 100", trace("lab_a_pss.csv"));
    cr_expect_eq(end.status, 2);
    cr_expect(strstr(end.output, "a pool of 100 MiB is too small"), "%s", end.output);
}

/* Bytes at random, and good files with some bytes changed: never anything but 0 or 2. */
Test(balloon_sim, any_bytes)
{
    static const char good[] = "# capacity_mib,400,\ntime_s,a,b\n0,100,\n60,,200\n120,300,7\n";
    static const char letters[] = "0123456789,,,,\n\n.e-#time_sab \r\";T:NaGiB";
    struct prng prng = prng_start(prng_seed(), 11);
    unsigned char bytes[400];
    unsigned read = 0;

    for (unsigned i = 0; i < 150; i++) {
        size_t size = 1 + (size_t)prng_below(&prng, sizeof(bytes) - 1);
        unsigned kind = i % 3;

        for (size_t k = 0; k < size; k++)
            bytes[k] = kind ? (unsigned char)letters[prng_below(&prng, sizeof(letters) - 1)]
                            : (unsigned char)prng_below(&prng, 256);
        if (kind == 2) {
            unsigned changes = 1 + (unsigned)prng_below(&prng, 3);

            size = sizeof(good) - 1;
            memcpy(bytes, good, size);
            while (changes--)
                bytes[prng_below(&prng, size)] =
                    (unsigned char)letters[prng_below(&prng, sizeof(letters) - 1)];
        }
        run(&end, "--policy fixed --trace %s", file_of(bytes, size));
        cr_assert(end.status == 0 || end.status == 2, "round %u: %d, %s", i, end.status,
                  end.output);
        read += end.status == 0;
    }
    cr_assert_gt(read, 5, "so few were read that little was tried");
}
