/* The report as one page: no scripts, nothing to load, readable without colours. */
#include <math.h>
#include <string.h>

#include "report.h"

void report_put_html(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", to);
        else if (*text == '&')
            fputs("&amp;", to);
        else if (*text == '"')
            fputs("&quot;", to);
        else
            fputc(*text, to);
    }
}

static void put_number(FILE *to, double value)
{
    if (isnan(value))
        fputs("–", to);
    else if (isinf(value))
        fputs("∞", to);
    else if (fabs(value) < 0.0005)
        fputs("0", to);
    else
        fprintf(to, fabs(value) < 10 ? "%.2f" : fabs(value) < 100 ? "%.1f" : "%.0f", value);
}

static const char style[] =
    "<style>\n"
    "body{font:15px/1.45 system-ui,sans-serif;color:#222;background:#fff;max-width:76rem;"
    "margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}h3{font-size:1rem;margin:.2rem 0}\n"
    "table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.2rem .5rem;text-align:right;border-bottom:1px solid #e4e4e4;"
    "white-space:nowrap}\n"
    "th:first-child,td:first-child{text-align:left}th{font-weight:600}\n"
    ".best{font-weight:700;background:#e3f2e3}.bad{background:#fbdcdc}.dim{color:#777}\n"
    ".more{font-style:italic}\n"
    ".wide{overflow-x:auto}.grid{display:grid;grid-template-columns:repeat(auto-fill,"
    "minmax(330px,1fr));gap:1rem}\n"
    "details{border-top:1px solid #ddd;padding:.4rem 0}summary{cursor:pointer}\n"
    "svg{width:100%;height:auto;display:block}figure{margin:0}figcaption{font-size:13px}\n"
    "</style>\n";

/* Light colours that stay apart when printed in grey next to each other. */
static const char *const colours[PLOT_GUESTS] = {
    "#8ecae6", "#ffd6a5", "#b7e4c7", "#cdb4db", "#f4a6a6", "#d9d9a0", "#a0c4ff", "#e9c46a",
    "#95d5b2", "#e5b8d6", "#c9ada7", "#bde0fe", "#f7c59f", "#a3b18a", "#b8b8f3", "#d0d0d0"};

/* --- pictures ----------------------------------------------------------------------------------
 */

#define STEP   4   /* of a column; all coordinates are whole numbers */
#define HEIGHT 120 /* of the sizes */
#define BELOW  34  /* of the stall under them */
#define WIDTH  (PLOT_COLUMNS * STEP)

static unsigned long scaled(uint64_t value, uint64_t most, unsigned long height)
{
    if (value > most)
        value = most;
    return most ? (unsigned long)((double)value * (double)height / (double)most + 0.5) : 0;
}

static uint64_t greatest(const struct run_plot *p)
{
    uint64_t most = 1;

    for (uint32_t x = 0; x < p->columns; x++) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < p->guests; i++)
            sum += p->size[x][i];
        most = sum > most ? sum : most;
        most = p->budget[x] > most ? p->budget[x] : most;
        most = p->need[x] > most ? p->need[x] : most;
    }
    return most;
}

/* The sum of the first guests' sizes as an area; drawn from all of them down, they make a stack. */
static void put_band(FILE *to, const struct run_plot *p, uint32_t guests, uint64_t most)
{
    long last = 0;

    fprintf(to, "<path fill=\"%s\" d=\"M0 %d", colours[guests - 1], HEIGHT);
    for (uint32_t x = 0; x < p->columns; x++) {
        uint64_t sum = 0;
        long y;

        for (uint32_t i = 0; i < guests; i++)
            sum += p->size[x][i];
        y = (long)scaled(sum, most, HEIGHT);
        fprintf(to, "v%ldh%d", last - y, STEP);
        last = y;
    }
    fprintf(to, "V%dz\"/>", HEIGHT);
}

static void put_curve(FILE *to, const uint32_t *values, uint32_t columns, uint64_t most,
                      const char *look)
{
    long last = 0;

    fprintf(to, "<path fill=\"none\" %s d=\"M0 ", look);
    for (uint32_t x = 0; x < columns; x++) {
        long y = (long)scaled(values[x], most, HEIGHT);

        if (!x)
            fprintf(to, "%ldh%d", HEIGHT - y, STEP);
        else
            fprintf(to, "v%ldh%d", last - y, STEP);
        last = y;
    }
    fprintf(to, "\"/>");
}

/* The root of the stall, so that small ones can be seen. */
static void put_stall(FILE *to, const struct run_plot *p)
{
    long last = 0;

    fprintf(to, "<path fill=\"#c1121f\" d=\"M0 %d", HEIGHT + BELOW);
    for (uint32_t x = 0; x < p->columns; x++) {
        long y = (long)(sqrt((double)p->stall[x] / 1e6) * (BELOW - 4) + 0.5);

        fprintf(to, "v%ldh%d", last - y, STEP);
        last = y;
    }
    fprintf(to, "V%dz\"/>", HEIGHT + BELOW);
}

static void put_plot(FILE *to, const struct report *r, size_t c, size_t who)
{
    const struct run_job *job = report_job(r, c, 0, who);
    const struct run_plot *p = &job->out.result.plot;
    uint64_t most;

    fprintf(to, "<figure><h3>");
    report_put_html(to, r->who[who].name);
    fprintf(to, "</h3>");
    if (job->state != RUN_DONE) {
        fprintf(to, "<p>%s</p></figure>\n", job->state == RUN_SKIPPED ? "not run" : "failed");
        return;
    }
    most = greatest(p);
    fprintf(to,
            "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"sizes over time\">"
            "<rect width=\"%d\" height=\"%d\" fill=\"#f7f7f7\"/>",
            WIDTH, HEIGHT + BELOW, WIDTH, HEIGHT);
    for (uint32_t i = p->guests; i; i--)
        put_band(to, p, i, most);
    put_curve(to, p->budget, p->columns, most, "stroke=\"#666\" stroke-width=\"1\"");
    put_curve(to, p->need, p->columns, most,
              "stroke=\"#111\" stroke-width=\"1.3\" stroke-dasharray=\"5 3\"");
    put_stall(to, p);
    fprintf(to, "</svg><figcaption>cost ");
    put_number(to, report_ratio(r, c, who));
    fprintf(to, " of the best, mean stall %.2f %%, p99 %.1f %%, churn ",
            (double)job->out.result.sim.stall_mean / 1e4,
            (double)job->out.result.sim.stall_p99 / 1e4);
    put_number(to, report_churn(r, c, 0, who));
    fprintf(to, " MiB/s, full height %llu MiB</figcaption></figure>\n", (unsigned long long)most);
}

/* Cost over the optimum of each contestant, on a scale of logarithms. */
static void put_bars(FILE *to, const struct report *r, size_t c)
{
    double most = 0;

    for (size_t i = 0; i < r->who_count; i++) {
        double excess = report_median(r, c, i, report_excess);

        if (excess > most)
            most = excess;
    }
    fprintf(to, "<svg viewBox=\"0 0 800 %zu\" role=\"img\" aria-label=\"misses over the optimum\">",
            r->who_count * 18 + 4);
    for (size_t i = 0; i < r->who_count; i++) {
        double excess = report_median(r, c, i, report_excess);
        double regret = report_median(r, c, i, report_regret);
        double width = most > 0 && excess > 0 ? log1p(excess) / log1p(most) * 480 : 0;

        fprintf(to, "<text x=\"150\" y=\"%zu\" font-size=\"12\" text-anchor=\"end\">", i * 18 + 14);
        report_put_html(to, r->who[i].name);
        fprintf(to,
                "</text><rect x=\"158\" y=\"%zu\" width=\"%.0f\" height=\"13\" fill=\"%s\"/>"
                "<text x=\"%.0f\" y=\"%zu\" font-size=\"12\">",
                i * 18 + 4, width, report_wins(r, c, i) ? "#52a569" : "#8ab6d6", width + 164,
                i * 18 + 14);
        put_number(to, excess);
        fprintf(to, "/s, regret ");
        put_number(to, regret);
        fprintf(to, "</text>");
    }
    fprintf(to, "</svg>\n");
}

/* --- tables ------------------------------------------------------------------------------------
 */

static void put_head(FILE *to, const struct report *r, const char *first)
{
    fprintf(to, "<tr><th>%s</th>", first);
    for (size_t i = 0; i < r->who_count; i++) {
        fprintf(to, "<th>");
        report_put_html(to, r->who[i].name);
        fprintf(to, "</th>");
    }
    fprintf(to, "</tr>\n");
}

static void put_cases(FILE *to, const struct report *r)
{
    fprintf(to,
            "<h2>Scenarios</h2><p>Cost by that of the best policy without measured curves "
            "<span class=\"dim\">(regret C/OPT − 1, or misses/s over OPT where that is 0)"
            "</span>; medians over seeds. The best is marked. Those in italics are other forms of "
            "a scenario and not in the summary.</p>\n"
            "<div class=\"wide\"><table>\n");
    put_head(to, r, "scenario");
    for (size_t c = 0; c < r->case_count; c++) {
        fprintf(to, "<tr%s><td><a href=\"#c%zu\">", r->cases[c].more ? " class=\"more\"" : "", c);
        report_put_html(to, r->cases[c].name);
        fprintf(to, "</a></td>");
        for (size_t i = 0; i < r->who_count; i++) {
            double regret = report_median(r, c, i, report_regret);

            fprintf(to, "<td%s>", report_wins(r, c, i) ? " class=\"best\"" : "");
            put_number(to, report_ratio(r, c, i));
            fprintf(to, " <span class=\"dim\">(");
            put_number(to, isinf(regret) ? report_median(r, c, i, report_excess) : regret);
            fprintf(to, "%s)</span></td>", isinf(regret) ? "/s" : "");
        }
        fprintf(to, "</tr>\n");
    }
    fprintf(to, "</table></div>\n");
}

/* Reversals by those of the shares policy, the closest relative of what is in use elsewhere. */
static double relative_turns(const struct report *r, const struct report_summary *all, size_t who)
{
    for (size_t i = 0; i < r->who_count; i++) {
        if (!strcmp(r->who[i].name, "shares"))
            return all[i].reversals > 0 ? all[who].reversals / all[i].reversals : (double)NAN;
    }
    return NAN;
}

static void put_summary(FILE *to, const struct report *r)
{
    static const char *const names[] = {"policy",
                                        "times best",
                                        "median cost by best",
                                        "by oracle",
                                        "median regret",
                                        "worst regret",
                                        "median misses/s over OPT",
                                        "worst",
                                        "reversals per guest-hour",
                                        "by those of shares",
                                        "churn MiB/s",
                                        "time stalled &gt; 1 %",
                                        "stall by a neighbour, ppm",
                                        "OOM kills",
                                        "safety violations",
                                        "over the pool",
                                        "failed runs"};
    struct report_summary all[CONTESTANTS_MAX];

    for (size_t i = 0; i < r->who_count; i++)
        report_summarise(r, i, &all[i]);
    fprintf(to, "<h2>Summary</h2><div class=\"wide\"><table><tr>");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        fprintf(to, "<th>%s</th>", names[i]);
    fprintf(to, "</tr>\n");
    for (size_t i = 0; i < r->who_count; i++) {
        const struct report_summary *s = &all[i];
        const double values[] = {s->wins,          s->median_ratio,   s->median_by_oracle,
                                 s->median_regret, s->worst_regret,   s->median_excess,
                                 s->worst_excess,  s->reversals,      relative_turns(r, all, i),
                                 s->churn,         100 * s->pressure, s->isolation};

        fprintf(to, "<tr><td>");
        report_put_html(to, r->who[i].name);
        fprintf(to, "%s</td>", r->who[i].curves ? " †" : "");
        for (size_t k = 0; k < sizeof(values) / sizeof(*values); k++) {
            fprintf(to, "<td>");
            if (k)
                put_number(to, values[k]);
            else
                fprintf(to, "%u", s->wins);
            fprintf(to, "%s</td>", k == 10 ? " %" : "");
        }
        fprintf(to, "<td>%llu</td><td%s>%llu</td><td>%llu</td><td%s>%llu</td></tr>\n",
                (unsigned long long)s->oom_kills, s->violations ? " class=\"bad\"" : "",
                (unsigned long long)s->violations, (unsigned long long)s->over_pool,
                s->failed ? " class=\"bad\"" : "", (unsigned long long)s->failed);
    }
    fprintf(
        to,
        "</table></div><p class=\"dim\">† The host measures miss-ratio curves for it, 30 s "
        "late. Medians are over scenarios; worst is of all runs, regret where OPT is not 0. "
        "Safety violations are promises of memory that was not there, and targets outside of "
        "their limits. Over the pool are decisions after which sizes and targets add up to more "
        "than it: nobody asked for that, it is guests that take memory back on their own (S11) "
        "and hosts that shrink (S16). Stall by a neighbour: how much more of their time the other "
        "guests of "
        "S8 stall than when the one that streams keeps still.</p>\n");
}

/* --- the page ----------------------------------------------------------------------------------
 */

void report_html(const struct report *r, FILE *to)
{
    fprintf(to,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width\">"
            "<title>Balloon policies compared</title>\n%s</head><body>\n"
            "<h1>Balloon policies compared</h1>\n"
            "<p>%zu policies in %zu scenarios with %u seeds each. Cost is weighted misses. OPT is "
            "the best division of memory at each time by somebody who knows all curves and "
            "moves memory at once, so nobody reaches it where needs change. The oracle wishes "
            "what OPT has and gets there by the same balloons: what it costs, no policy can save. "
            "S20 is recorded "
            "demand paired with curves that were measured of other programs: a synthetic load "
            "with real parts. Its pool is 85 %% of the greatest demand. What the host sees of the "
            "guests: %s.</p>\n",
            style, r->who_count, r->case_count, r->seeds, balloon_sim_profile_name(r->profile));
    put_summary(to, r);
    put_cases(to, r);
    fprintf(to, "<h2>In detail</h2><p>Sizes of the guests over time, one on the other (seed 1); "
                "dashed: what all of them need; grey: what may be given to guests; red, below: "
                "the root of the share of time stalled. Bars: weighted misses a second over OPT, "
                "on a scale of logarithms.</p>\n");
    for (size_t c = 0; c < r->case_count; c++) {
        fprintf(to, "<details id=\"c%zu\"%s><summary><b>", c, c ? "" : " open");
        report_put_html(to, r->cases[c].name);
        fprintf(to, "</b> ");
        report_put_html(to, r->cases[c].text);
        fprintf(to, "</summary>\n");
        put_bars(to, r, c);
        fprintf(to, "<div class=\"grid\">\n");
        for (size_t i = 0; i < r->who_count; i++)
            put_plot(to, r, c, i);
        fprintf(to, "</div></details>\n");
    }
    fprintf(to, "</body></html>\n");
}
