/* balloon-host, against servers that are broken, slow, silent, or mean no good. */
#include "host_fake.h"
#include "prng.h"

#include <criterion/criterion.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(host_hostile, .init = fake_begin, .fini = fake_end);

/* A guest that has connected, and was greeted. */
static void greet(void)
{
    vmm_init(&vmm, fake.path);
    vmm_time(&vmm, now);
    cr_assert(fake_accept(&fake));
    fake_say(&fake, FAKE_GREETING);
    vmm_bytes(&vmm, POLLIN, now);
}

static void expect_away(const char *error)
{
    cr_assert_eq(vmm.state, VMM_AWAY);
    cr_assert_not_null(strstr(vmm.error, error), "%s", vmm.error);
    cr_assert_eq(vmm.wire.fd, -1);
}

Test(host_hostile, a_greeting_may_come_byte_by_byte_and_with_the_next_answer)
{
    char byte[2] = "";

    vmm_init(&vmm, fake.path);
    vmm_time(&vmm, now);
    cr_assert(fake_accept(&fake));
    for (const char *at = FAKE_GREETING; *at; at++) {
        cr_assert_not(fake_hear(&fake), "it talks before it was greeted");
        byte[0] = *at;
        fake_say(&fake, byte);
        vmm_bytes(&vmm, POLLIN, now);
    }
    cr_assert(fake_hear(&fake));
    cr_assert_str_eq(fake.name, "qmp_capabilities");
    fake_say(&fake, "{\"event\": \"STOP\"}\r\n{\"return\": ");
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert_not(fake_hear(&fake));
    fake_say(&fake, "{}, \"id\": 1}\r\n{\"event\": \"RESUME\"}\r\n");
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert(fake_hear(&fake));
    cr_assert_str_eq(fake.name, "query-name");
}

Test(host_hostile, what_is_not_qmp_ends_the_connection)
{
    static const char *const lines[] = {
        "\n",
        "hello\n",
        "{\n",
        "[]\n",
        "7\n",
        "{}\n",
        "{\"return\": {}, \"id\": 2}\n",
        "{\"return\": {}, \"id\": -1}\n",
        "{\"return\": {}, \"id\": \"1\"}\n",
        "{\"return\": {}}\n",
        "{\"error\": \"GenericError\", \"id\": 9}\n",
        "{\"event\": 3}\n",
        "{\"error\": {\"desc\": \"no\"}, \"id\": 1}\n", /* of qmp_capabilities */
        FAKE_GREETING,
        "{\"return\": 1e999, \"id\": 1}\n",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        greet();
        cr_assert(fake_hear(&fake));
        fake_say(&fake, lines[i]);
        vmm_bytes(&vmm, POLLIN, now);
        cr_assert_eq(vmm.state, VMM_AWAY, "%s", lines[i]);
        cr_assert_neq(vmm.error[0], '\0', "%s", lines[i]);
        cr_assert_eq(vmm.errors, 1);
        vmm_end(&vmm);
    }
}

Test(host_hostile, an_answer_of_another_kind_is_an_error_or_nothing)
{
    static const char *const answers[] = {
        "{}",
        "[]",
        "null",
        "-1",
        "\"text\"",
        "{\"name\": 7, \"running\": 3, \"base-memory\": -5, \"actual\": [], \"stats\": []}",
        "{\"base-memory\": 1e300, \"actual\": 1e300, \"running\": true, \"stats\": {\"stat-\": 1}}",
        "{\"base-memory\": 0, \"stats\": {\"stat-free-memory\": \"x\"}, \"last-update\": {}}",
        "[{\"name\": 1, \"type\": 2}, 3, {\"type\": \"child<virtio-balloon\"}]",
    };
    static const unsigned commands = 16;

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        for (unsigned wrong = 1; wrong < commands; wrong++) {
            greet();
            for (unsigned n = 1, pause = 0; pause < 100; pause++) {
                for (; fake_hear(&fake); n++) {
                    if (n == wrong)
                        fake_return(&fake, answers[i]);
                    else
                        fake_answer(&fake);
                    vmm_bytes(&vmm, POLLIN, now);
                }
                now += 20 * MILLISECOND;
                if (vmm.state != VMM_AWAY)
                    vmm_time(&vmm, now);
            }
            cr_assert_neq(vmm.state, VMM_ASKING, "%s for command %u", answers[i], wrong);
            cr_assert_leq(vmm.size, INT64_MAX);
            vmm_end(&vmm);
        }
    }
}

Test(host_hostile, a_line_of_ten_megabytes_is_not_kept)
{
    static char piece[16 * 1024];
    size_t sent = 0;

    greet();
    memset(piece, ' ', sizeof(piece));
    for (; sent < 10 << 20 && vmm.state != VMM_AWAY; sent += sizeof(piece)) {
        if (send(fake.fd, piece, sizeof(piece), MSG_NOSIGNAL) < 0)
            break;
        vmm_bytes(&vmm, POLLIN, now);
        cr_assert_leq(vmm.wire.in_room, 2 * WIRE_LINE_MOST);
    }
    cr_assert_leq(sent, WIRE_LINE_MOST + sizeof(piece));
    expect_away("too long");
}

Test(host_hostile, depth_is_an_error)
{
    static char deep[100001];

    greet();
    cr_assert(fake_hear(&fake));
    memset(deep, '[', 100000);
    deep[99999] = '\n';
    cr_assert_eq(send(fake.fd, deep, 100000, MSG_NOSIGNAL), 100000);
    for (unsigned i = 0; i < 10 && vmm.state != VMM_AWAY; i++)
        vmm_bytes(&vmm, POLLIN, now);
    expect_away("not QMP");
}

Test(host_hostile, who_does_not_greet_is_tried_again_later_and_later)
{
    balloon_time_t began, last = 0;

    vmm_init(&vmm, fake.path);
    for (unsigned i = 0; i < 12; i++) {
        vmm_time(&vmm, now);
        cr_assert_eq(vmm.state, VMM_ASKING);
        cr_assert(fake_accept(&fake));
        now = vmm_deadline(&vmm);
        vmm_time(&vmm, now);
        expect_away("no greeting");
        began = vmm_deadline(&vmm) - now;
        cr_assert(began > last || began == 60 * SECOND, "try %u", i);
        last = began;
        now = vmm_deadline(&vmm);
    }
    cr_assert_eq(last, 60 * SECOND);
    cr_assert_eq(vmm.errors, 12);
    fake_hang_up(&fake);
    fake_introduce(&fake, &vmm, &now);
    cr_assert_str_eq(vmm.error, "");
}

Test(host_hostile, who_greets_and_does_not_answer_is_let_go)
{
    greet();
    cr_assert(fake_hear(&fake));
    now = vmm_deadline(&vmm);
    vmm_time(&vmm, now);
    expect_away("no answer");
}

/* A QEMU that is stopped goes on where it was. */
Test(host_hostile, who_was_there_and_is_silent_keeps_its_connection)
{
    fake_introduce(&fake, &vmm, &now);
    vmm_want(&vmm, VMM_SIZE, now);
    cr_assert_not(vmm_is_silent(&vmm, now));
    for (unsigned i = 0; i < 60; i++) {
        now += SECOND;
        vmm_want(&vmm, VMM_SIZE | VMM_SAMPLE, now);
        vmm_set_target(&vmm, (200 + i) << 20, now);
        vmm_time(&vmm, now);
    }
    cr_assert(vmm_is_silent(&vmm, now));
    cr_assert_eq(vmm.state, VMM_THERE);
    fake_serve(&fake, &vmm, now);
    cr_assert_not(vmm_is_silent(&vmm, now));
    cr_assert_eq(fake.wished, 259 << 20, "it hears the last target only");
}

Test(host_hostile, who_hangs_up_in_a_command_is_connected_anew)
{
    fake_introduce(&fake, &vmm, &now);
    vmm_want(&vmm, VMM_SIZE, now);
    cr_assert(fake_hear(&fake));
    fake_say(&fake, "{\"return\": {\"actu");
    fake_hang_up(&fake);
    vmm_bytes(&vmm, POLLIN, now);
    vmm_bytes(&vmm, POLLIN, now);
    expect_away("closed");
    cr_assert_eq(vmm.news & (unsigned)VMM_GONE, 0);
    now = vmm_deadline(&vmm);
    for (unsigned i = 0; i < 100 && vmm.state != VMM_THERE; i++, now += 10 * MILLISECOND)
        fake_serve(&fake, &vmm, now);
    cr_assert_eq(vmm.state, VMM_THERE);
}

/* Commands are sent together, and their answers need not come so. */
static unsigned hear_all(uint64_t *ids, unsigned room)
{
    unsigned count = 0;

    for (; count < room && fake_hear(&fake); count++)
        ids[count] = fake.id;
    return count;
}

Test(host_hostile, answers_may_come_in_any_order_and_in_pieces)
{
    uint64_t ids[VMM_PENDING];
    char text[256];

    fake_introduce(&fake, &vmm, &now);
    vmm.news = 0;
    vmm_want(&vmm, VMM_SIZE | VMM_STATS, now);
    cr_assert_eq(hear_all(ids, VMM_PENDING), 2);
    snprintf(text, sizeof(text),
             "{\"return\": {\"stats\": {\"stat-free-memory\": 77}, \"last-update\": 1800000000}, "
             "\"id\": %llu}\n{\"return\": {\"actual\": 209715200}, \"id\": %llu}\n",
             (unsigned long long)ids[1], (unsigned long long)ids[0]);
    for (const char *at = text; *at; at++) {
        cr_assert(vmm_is_asked(&vmm));
        cr_assert_eq(send(fake.fd, at, 1, MSG_NOSIGNAL), 1);
        vmm_bytes(&vmm, POLLIN, now);
    }
    cr_assert_not(vmm_is_asked(&vmm));
    cr_assert_eq(vmm.size, 200 << 20);
    cr_assert_eq(vmm.news, (unsigned)(VMM_SIZE | VMM_SAMPLE));
    cr_assert_eq(vmm.state, VMM_THERE);
}

Test(host_hostile, an_answer_given_twice_is_an_error)
{
    uint64_t ids[VMM_PENDING];

    fake_introduce(&fake, &vmm, &now);
    vmm_want(&vmm, VMM_SIZE | VMM_STATS, now);
    cr_assert_eq(hear_all(ids, VMM_PENDING), 2);
    fake.id = ids[0];
    fake_return(&fake, "{\"actual\": 209715200}");
    fake_return(&fake, "{\"actual\": 209715200}");
    vmm_bytes(&vmm, POLLIN, now);
    expect_away("not asked");
}

Test(host_hostile, who_hangs_up_between_two_answers_is_asked_again)
{
    uint64_t ids[VMM_PENDING];

    fake_introduce(&fake, &vmm, &now);
    vmm_want(&vmm, VMM_SIZE | VMM_SAMPLE, now);
    vmm_set_target(&vmm, 150 << 20, now);
    cr_assert_eq(hear_all(ids, VMM_PENDING), 3, "the target waits for that to end");
    fake.id = ids[0];
    fake_return(&fake, "{\"actual\": 209715200}");
    fake_hang_up(&fake);
    vmm_bytes(&vmm, POLLIN, now);
    vmm_bytes(&vmm, POLLIN, now);
    expect_away("closed");
    cr_assert_not(vmm_is_asked(&vmm));
    cr_assert_eq(vmm.told, 0);
    now = vmm_deadline(&vmm);
    for (unsigned i = 0; i < 100 && vmm.state != VMM_THERE; i++, now += 10 * MILLISECOND)
        fake_serve(&fake, &vmm, now);
    cr_assert_eq(vmm.state, VMM_THERE);
}

Test(host_hostile, who_has_gone_is_gone)
{
    fake_introduce(&fake, &vmm, &now);
    fake_hang_up(&fake);
    close(fake.listener);
    fake.listener = -1;
    vmm_bytes(&vmm, POLLIN, now);
    process_close(&vmm.process); /* it is our own, which lives */
    now = vmm_deadline(&vmm);
    vmm_time(&vmm, now);
    cr_assert_eq(vmm.news & (unsigned)VMM_GONE, (unsigned)VMM_GONE);
}

Test(host_hostile, a_process_that_lives_has_not_gone)
{
    fake_introduce(&fake, &vmm, &now);
    fake_hang_up(&fake);
    close(fake.listener);
    fake.listener = -1;
    vmm_bytes(&vmm, POLLIN, now);
    process_close(&vmm.process);
    cr_assert(process_open(&vmm.process, getpid(), 1, now));
    now = vmm_deadline(&vmm);
    vmm_time(&vmm, now);
    cr_assert_eq(vmm.news & (unsigned)VMM_GONE, 0);
}

/* Good conversations in which some bytes are others. */
Test(host_hostile, no_bytes_do_harm)
{
    struct prng random = prng_start(prng_seed(), 0);
    char text[4096];

    for (unsigned i = 0; i < 300; i++) {
        greet();
        for (unsigned n = 0; n < 40 && fake_hear(&fake); n++) {
            int ends[2];
            int kept = fake.fd;
            ssize_t length;

            cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
            fake.fd = ends[0];
            fake_answer(&fake);
            fake.fd = kept;
            length = recv(ends[1], text, sizeof(text), 0);
            close(ends[0]);
            close(ends[1]);
            cr_assert_gt(length, 0);
            for (uint64_t k = prng_below(&random, 3); k > 0 && n > 0; k--)
                text[prng_below(&random, (uint64_t)length)] = (char)prng_below(&random, 256);
            if (send(fake.fd, text, (size_t)length, MSG_NOSIGNAL) != length)
                break;
            now += 20 * MILLISECOND;
            vmm_bytes(&vmm, POLLIN, now);
            vmm_time(&vmm, now);
        }
        vmm_end(&vmm);
    }
}
