/* balloon-sim reads what other tools write. */
#include "sim_tool.h"

static struct end end;

TestSuite(sim_exports, .fini = remove_file, .timeout = 300);

static void read_text(const char *text, const char *options)
{
    run(&end, "--policy fixed --json --trace %s %s", file_of(text, strlen(text)), options);
}

/* Two guests for three minutes, some say nothing of b in the second: a has 1024
 * MiB, 1024 and 2048, b 512, as before and 1024. */
Test(sim_exports, all_forms_say_the_same)
{
    static const struct {
        const char *text, *options, *unit;
    } table[] = {
        {"time_s,a,b\n0,1024,512\n60,1024,512\n120,2048,1024\n", "", "MiB"},
        /* Grafana: quotes, its own names for nothing, ms since 1970. */
        {"\"Time\",\"a\",\"b\"\n1700000000000,1024,512\n1700000060000,1024,NaN\n"
         "1700000120000,2048,1024\n",
         "--unit MiB", "MiB"},
        {"\"Time\",\"a\",\"b\"\n\"2026-11-30 08:00:00\",\"1024\",\"512\"\n"
         "\"2026-11-30 08:01:00\",\"1024\",null\n\"2026-11-30 08:02:00\",\"2048\",\"1024\"\n",
         "--unit mib", "MiB"},
        {"sep=;\nTime;a;b\n2026-11-30T08:00:00;1 GiB;512 MiB\n"
         "2026-11-30T08:01:00;1024 MiB;undefined\n2026-11-30T08:02:00;2 GiB;1,0 GiB\n",
         "", NULL},

        {"timestamp,a,b\n1700000000,1048576,524288\n1700000060,1048576,\n"
         "1700000120,2097152,1048576\n",
         "--unit KiB", "KiB"},
        {"date,a,b\r\n2026/11/30 08:00,1073741824,536870912\r\n"
         "2026/11/30 08:01,1073741824,536870912\r\n2026/11/30 08:02,2147483648,1.073741824e9\r\n",
         "--unit B", "B"},
        {"a\tTime\tb\n262144\t0\t131072\n262144\t60\t - \n524288\t120\t262144\n", "--unit pages",
         "pages"},
        {"epoch,a,b\n1700000000000000,1,0.5\n1700000060000000,1,n/a\n1700000120000000,2,1\n",
         "--unit GiB", "GiB"},
        {"ts,a,b\n1700000000000000000,1,0.5\n1700000060000000000,1,NA\n1700000120000000000,2,1\n",
         "--unit GiB", "GiB"},
        {"time_ms,a,b\n0,1,0.5\n60000,1,None\n120000,2,1\n", "--unit GiB", "GiB"},
        /* Across midnight, the end of a leap year's February, and a change of the clock. */
        {"Time,a,b\n2024-02-29T23:59:00Z,1024,512\n2024-03-01 00:00:00 UTC,1024,512\n"
         "2024-03-01T01:01:00.000+01:00,2048,1024\n",
         "--unit MiB", "MiB"},
        {"Time,a,b\n2026-12-31T23:58:30.5-0130,1024,512\n2027-01-01 01:29:30.500Z,1024,512\n"
         "2027-01-01T01:30:30.5+00,2048,1024\n",
         "--unit MiB", "MiB"},
        /* Columns to take; the others need not be numbers. */
        {"host,Time,a,b,c\nx,0,1024,512,?\nx,60,1024,512,\ny,120,2048,1024,q\n",
         "--unit MiB --columns a,b", "MiB"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char unit[32];

        read_text(table[i].text, table[i].options);
        cr_assert_eq(end.status, 0, "row %zu: %s", i, end.output);
        cr_assert_eq(field(end.output, "rows"), 3, "row %zu", i);
        cr_assert_eq(field(end.output, "seconds"), 180, "row %zu: %s", i, end.output);
        cr_assert_eq(field(end.output, "demand_mean_mib"), 2048, "row %zu: %s", i, end.output);
        cr_assert_eq(field(end.output, "demand_peak_mib"), 3072, "row %zu: %s", i, end.output);
        cr_assert(strstr(end.output, "\"guests\": [{\"name\": \"a\", \"ram_mib\": 2560}, "
                                     "{\"name\": \"b\", \"ram_mib\": 1280}]"),
                  "row %zu: %s", i, end.output);
        snprintf(unit, sizeof(unit), "\"unit\": \"%s\"", table[i].unit ? table[i].unit : "");
        cr_assert_eq(strstr(end.output, unit) != NULL, table[i].unit != NULL, "row %zu: %s", i,
                     end.output);
    }
}

/* A comma in quotes is part of a name, and so are quotes of which there are two. */
Test(sim_exports, quotes_protect)
{
    read_text("\"Time\",\"a, \"\"b\"\" {x}\",c d\n0,\"1024\",5\n60,\"1024\",5\n", "--unit MiB");
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert(strstr(end.output, "{\"name\": \"a, \\\"b\\\" {x}\""), "%s", end.output);
    cr_assert(strstr(end.output, "{\"name\": \"c d\""), "%s", end.output);
}

/* As sadf -d -- -r writes it: the header is a comment, and memory in KiB. */
Test(sim_exports, sadf)
{
    read_text("# hostname;interval;timestamp;kbmemfree;kbmemused;%memused\n"
              "vm7;600;2026-11-30 08:10:01 UTC;1000;2097152;50,00\n"
              "vm7;600;2026-11-30 08:20:01 UTC;1000;4194304;60,00\n",
              "--columns kbmemused");
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert_eq(field(end.output, "demand_peak_mib"), 4096);
    cr_assert_eq(field(end.output, "seconds"), 1200);
    cr_assert(strstr(end.output, "\"unit\": \"KiB\""), "%s", end.output);
}

/* All names must say the same. */
Test(sim_exports, names_say_the_unit)
{
    static const char *const units[][2] = {
        {"rss_bytes,x bytes", "B"},
        {"rss_kb,x_KiB", "KiB"},
        {"Used (MiB),Free [MB]", "MiB"},
        {"mem GB,\"b (GiB)\"", "GiB"},
        {"kbmemused,kbavail", "KiB"},
        {"used_pages,hot_pages", "pages"},
        {"a (B),b [b]", "B"},
    };

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        char text[128], unit[32];

        snprintf(text, sizeof(text), "Time,%s\n0,4096,4096\n60,4096,4096\n", units[i][0]);
        read_text(text, "");
        cr_assert_eq(end.status, 0, "%s: %s", units[i][0], end.output);
        snprintf(unit, sizeof(unit), "\"unit\": \"%s\"", units[i][1]);
        cr_assert(strstr(end.output, unit), "%s: %s", units[i][0], end.output);
    }
    /* Also where it would be MiB else. */
    read_text("time_s,rss_kb\n0,4194304\n", "");
    cr_assert_eq(field(end.output, "demand_peak_mib"), 4096);
    /* What is told counts. */
    read_text("time_s,rss_kb\n0,4096\n", "--unit MiB");
    cr_assert_eq(field(end.output, "demand_peak_mib"), 4096);
}

/* Nothing is taken for MiB because nobody said otherwise; the plain table says so in the result. */
Test(sim_exports, no_unit_is_guessed)
{
    static const char *const texts[] = {
        "Time,a\n0,1024\n60,2048\n",    "Time,a_mib,b\n0,1024,5\n60,2048,5\n",
        "Time,rss_b,b b\n0,1024,5\n",   "Time,rss_kb,rss_mb\n0,1024,5\n",
        "Time,a\n0,1 GiB\n60,2048\n",   "Time,a\n0,1048576\n60,2097152\n",
        "timestamp,kb,kbX\n0,1024,7\n",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        read_text(texts[i], "");
        cr_assert_eq(end.status, 2, "%s: %s", texts[i], end.output);
        cr_assert(strstr(end.output, "in which unit are the values? Say --unit"), "%s", end.output);
        read_text(texts[i], "--unit MiB");
        cr_assert_eq(end.status, 0, "%s: %s", texts[i], end.output);
    }
    /* More than 1 TiB in a guest is rather KiB. */
    read_text("time_s,a\n0,1048577\n60,4194304\n", "");
    cr_assert_eq(end.status, 2);
    cr_assert(strstr(end.output, "if that is MiB, say --unit MiB"), "%s", end.output);
    read_text("time_s,a\n0,1048577\n60,4194304\n", "--unit MiB");
    cr_assert_eq(end.status, 0);
    read_text("time_s,a\n0,1048576\n60,1048576\n", "");
    cr_assert_eq(end.status, 0);
    run(&end, "--policy fixed --trace %s", file_of("time_s,a\n0,100\n", 15));
    cr_assert(strstr(end.output, "\nvalues are in MiB\n"), "%s", end.output);
}

/* Fractions are so in every table, but not where a unit is known. */
Test(sim_exports, fractions_have_no_unit)
{
    read_text("Time,a\n0,0.25\n60,1\n", "");
    cr_assert_eq(end.status, 0, "%s", end.output);
    cr_assert(strstr(end.output, "\"scale_guessed\": true"), "%s", end.output);
    cr_assert_null(strstr(end.output, "\"unit\""));
    read_text("Time,a\n0,0.25\n60,1\n", "--unit GiB");
    cr_assert_eq(field(end.output, "demand_peak_mib"), 1024);
    read_text("time_s,a_gb\n0,0.25\n60,1\n", "");
    cr_assert_eq(field(end.output, "demand_peak_mib"), 1024);
    read_text("Time,a\n0,0.25\n60,1\n", "--unit GiB --scale-mib 0,1");
    cr_assert_eq(end.status, 2);
    cr_assert(strstr(end.output, "fractions have no unit"), "%s", end.output);
}

Test(sim_exports, says_what_is_wrong)
{
    static const struct {
        const char *text, *options, *message;
    } table[] = {
        {"Time,a\n2026-13-01,1\n", "--unit B", ": line 2, column 1: not a date: \"2026-13-01\""},
        {"Time,a\n2026-11-30 8:00,1\n", "--unit B", ": line 2, column 1: not a date"},
        {"Time,a\n2026-11-30 08:00:00 CET,1\n", "--unit B", ": line 2, column 1: not a date"},
        {"Time,a\n2026-11-30 08:00,1\n60,1\n", "--unit B", ": line 3, column 1: not a date"},
        {"Time,a\n0,1\n2026-11-30 08:00,1\n", "--unit B", ": line 3, column 1: not a number"},
        {"Time,a\nyesterday,1\n", "--unit B", ": line 2, column 1: not a number"},
        {"Time,a\n0,1 TiB\n", "--unit B", ": line 2, column 2: not a number: \"1 TiB\""},
        {"Time,a\n0,99 GiB b\n", "--unit B", ": line 2, column 2: not a number"},
        {"Time,a\n0,16385 GiB\n", "--unit B", ": line 2, column 2: more than 16384"},
        {"Time,a\n0,17592186044417\n", "--unit B", ": line 2, column 2: more than 17592186044416"},
        {"Time,a\n0,\"1\n60,2\n", "--unit B", ": line 2, column 2: not a number: \"\"1\""},
        {"Time;a\n0;1;2\n", "--unit B", ": line 2, column 3: more fields"},
        {"Time,a\n0,1\n", "--unit B --columns b", ": line 1, column 1: no such columns"},
        {"Time,Date\n0,1\n", "--unit MB", "no such unit: MB"},
        {"workload,time_s,working_set_mib,footprint_mib\na,0,1,1\n", "--unit KiB",
         "a table by workload has its unit and columns"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        read_text(table[i].text, table[i].options);
        cr_expect_eq(end.status, 2, "row %zu: status %d", i, end.status);
        cr_expect(strstr(end.output, table[i].message), "row %zu: not \"%s\" but %s", i,
                  table[i].message, end.output);
    }
}
