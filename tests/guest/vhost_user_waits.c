/* What the vhost-user example must not wait for: whoever waits lets all its guests stand still, and
 * a VMM in the middle of a message with them. No Linux needed. */
#include "front_end.h"
#include "guest.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

enum { INFLATE = 0, VERSION = 1, GET_FEATURES = 1, SPACE = 16 };

static struct backend *backend;

static void begin(struct front_end *fe, unsigned guest)
{
    char path[128];
    static const char *const options[] = {"--features", "3", NULL};
    if (!backend)
        backend = backend_start(2, options);
    backend_socket(backend, guest, path, sizeof path);
    fe_connect(fe, path);
    fe_set_up(fe);
}

/* A message and a buffer are answered. */
static void check_served(struct front_end *fe)
{
    uint8_t space[SPACE];
    uint32_t pfn = FE_FIRST_PFN;
    uint16_t next = (uint16_t)(fe->ring[INFLATE].used[1] + 1);
    fe_config_read(fe, 0, space, sizeof space);
    memcpy(fe->ram + FE_DATA, &pfn, 4);
    fe->ring[INFLATE].desc[0] = (struct fe_desc){fe_guest(FE_DATA), 4, 0, 0};
    fe_offer(fe, INFLATE, 0);
    cr_assert_eq(fe_wait_used(fe, INFLATE, next), next, "a guest stands still");
}

/* More answers than a pipe and the example's own room can hold, and nobody reads them. */
Test(vhost_user_waits, not_for_who_reads_its_output, .timeout = 60)
{
    enum { ANSWERS = 400 };
    struct front_end fe;
    begin(&fe, 0);
    for (unsigned i = 0; i < ANSWERS; i++)
        backend_tell(backend, "status 0");
    for (unsigned i = 0; i < 40; i++) /* it is through with the commands then */
        check_served(&fe);

    /* What can still be read are whole lines, and then how many are missing. */
    unsigned lines = 0, lost = 0;
    while (lines + lost < ANSWERS) {
        const char *line = backend_line(backend);
        if (strstr(line, "\"lines_lost\""))
            lost = (unsigned)answer_number(line, "lines");
        else if (strstr(line, "\"resets\":0}"))
            lines++;
    }
    cr_assert_gt(lines, 40u);
    cr_assert_gt(lost, 0u);
    cr_assert_eq(backend_number(backend, 0, "held"), 1u);
    fe_close(&fe);
    backend_end(backend);
}

Test(vhost_user_waits, not_for_a_front_end_that_reads_no_answers, .timeout = 60)
{
    struct front_end deaf, fe;
    begin(&fe, 0);
    begin(&deaf, 1);
    for (unsigned i = 0; i < 2000; i++)
        fe_send(&deaf, GET_FEATURES, VERSION, NULL, 0, NULL, 0);
    check_served(&fe);
    for (uint64_t limit = guest_deadline(5); backend_number(backend, 1, "connected");
         guest_sleep(2))
        cr_assert(guest_clock() < limit, "it is still there");
    cr_assert_not_null(strstr(backend_ask(backend, "status 1"), "no front-end is connected"));
    check_served(&fe);
    fe_close(&fe);
    fe_close(&deaf);
    backend_end(backend);
}

Test(vhost_user_waits, not_for_a_front_end_that_reads_no_news, .timeout = 60)
{
    struct front_end fe;
    begin(&fe, 0);
    for (unsigned i = 0; i < 2000; i++)
        backend_do(backend, "target 0 %u", i % 2 + 1);
    check_served(&fe);
    cr_assert_eq(backend_events(backend, "config_irq_lost"), 0u);
    cr_assert(fe_config_told(&fe));
    fe_close(&fe);
    backend_end(backend);
}

Test(vhost_user_waits, not_for_a_guest_that_takes_no_interrupts, .timeout = 60)
{
    struct front_end fe;
    uint64_t full = UINT64_MAX - 1;
    begin(&fe, 0);
    cr_assert_eq(write(fe.ring[INFLATE].call, &full, sizeof full), sizeof full);
    for (unsigned i = 0; i < 3; i++) {
        fe.ring[INFLATE].avail[2 + FE_RING] = fe.ring[INFLATE].used[1]; /* interrupt at the next */
        check_served(&fe);
    }
    cr_assert_eq(backend_number(backend, 0, "held"), 1u);
    fe_close(&fe);
    backend_end(backend);
}

/* The beginning of a line that is too long is not obeyed, nor its end. */
Test(vhost_user_waits, a_line_that_is_too_long_is_no_command, .timeout = 60)
{
    struct front_end fe;
    char line[400];
    begin(&fe, 0);
    memset(line, ' ', sizeof line);
    memcpy(line, "inhibit 0", 9);
    line[sizeof line - 1] = '\0';
    backend_tell(backend, line);
    while (!strstr(backend_line(backend), "the line is too long"))
        ; /* events come first */
    cr_assert_eq(backend_number(backend, 0, "inhibited"), 0u);
    fe_close(&fe);
    backend_end(backend);
}
