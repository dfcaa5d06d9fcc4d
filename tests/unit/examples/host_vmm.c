/* One guest of balloon-host, against a server that is good, and what a pool is told. */
#include "host_fake.h"

#include <criterion/criterion.h>

#include <poll.h>
#include <string.h>
#include <time.h>

TestSuite(host_vmm, .init = fake_begin, .fini = fake_end);

/* Let time pass in which the guest says all it has to. */
static void live(balloon_time_t time)
{
    for (balloon_time_t until = now + time; now < until; now += 10 * MILLISECOND)
        fake_serve(&fake, &vmm, now);
}

static uint64_t value_of(balloon_stat stat)
{
    uint64_t value = 0;

    cr_assert(balloon_sample_get(&vmm.sample, stat, &value), "%s", balloon_stat_name(stat));
    return value;
}

Test(host_vmm, is_there_with_its_size_and_a_fresh_sample)
{
    fake.actual = 300 << 20;
    fake_introduce(&fake, &vmm, &now);
    cr_assert_str_eq(vmm.name, "web_one");
    cr_assert_str_eq(vmm.device, "/machine/peripheral/balloon0");
    cr_assert_eq(vmm.ram, UINT64_C(384) << 20);
    cr_assert_eq(vmm.size, UINT64_C(300) << 20);
    cr_assert(vmm.driver && vmm.running);
    cr_assert_eq(vmm.news, (unsigned)(VMM_SIZE | VMM_SAMPLE | VMM_STATUS));
    cr_assert_eq(value_of(BALLOON_STAT_FREE), UINT64_C(100) << 20);
    cr_assert_eq(value_of(BALLOON_STAT_AVAILABLE), 200000000);
    cr_assert_eq(value_of(BALLOON_STAT_SWAP_IN), 8192);
    cr_assert_eq(value_of(BALLOON_STAT_SWAP_OUT), 4096);
    cr_assert_eq(value_of(BALLOON_STAT_MAJOR_FAULTS), 17);
    cr_assert_not(balloon_sample_get(&vmm.sample, BALLOON_STAT_MINOR_FAULTS, NULL), "is unset");
    cr_assert_str_eq(vmm.error, "");
}

Test(host_vmm, a_balloon_without_a_name_is_found_too)
{
    fake.peripherals = "[]";
    fake.anonymous = "[{\"name\": \"device[0]\", \"type\": \"child<virtio-balloon-ccw>\"}]";
    fake_introduce(&fake, &vmm, &now);
    cr_assert_str_eq(vmm.device, "/machine/peripheral-anon/device[0]");
}

Test(host_vmm, without_a_balloon_it_is_as_large_as_its_memory)
{
    fake.peripherals = "[{\"name\": \"net0\", \"type\": \"child<virtio-net-pci>\"}]";
    vmm_init(&vmm, fake.path);
    while (vmm.state != VMM_THERE) {
        vmm_time(&vmm, now);
        if (fake_accept(&fake))
            fake_say(&fake, FAKE_GREETING);
        vmm_bytes(&vmm, POLLIN, now);
        if (!fake_hear(&fake))
            break;
        if (strcmp(fake.name, "query-balloon") == 0)
            fake_error(&fake, "No balloon device has been activated");
        else
            fake_answer(&fake);
        vmm_bytes(&vmm, POLLIN, now);
    }
    cr_assert_eq(vmm.state, VMM_THERE);
    cr_assert_str_eq(vmm.device, "");
    cr_assert_eq(vmm.size, vmm.ram);
    cr_assert_not(vmm.driver);
}

Test(host_vmm, old_statistics_are_no_sample_and_no_driver)
{
    fake.dumb = true;
    fake_introduce(&fake, &vmm, &now);
    cr_assert_not(vmm.driver);
    cr_assert_eq(vmm.news & (unsigned)VMM_SAMPLE, 0);
    fake.dumb = false;
    vmm.news = 0;
    vmm_want(&vmm, VMM_SAMPLE, now);
    live(SECOND);
    cr_assert(vmm.driver);
    cr_assert_eq(vmm.news, (unsigned)(VMM_SAMPLE | VMM_STATUS));
}

/* As after a manager that was killed: nothing new comes in this second. */
Test(host_vmm, statistics_of_this_moment_are_a_sample_and_a_driver)
{
    fake.stamp = (uint64_t)time(NULL) - 3;
    fake.dumb = true;
    fake_introduce(&fake, &vmm, &now);
    cr_assert(vmm.driver);
    cr_assert_eq(vmm.news & (unsigned)VMM_SAMPLE, (unsigned)VMM_SAMPLE);
    cr_assert_leq(vmm.sample.time, now - 3 * SECOND, "of then");
}

Test(host_vmm, a_guest_that_never_answered_has_no_driver)
{
    fake.stamp = 0;
    fake.dumb = true;
    fake_introduce(&fake, &vmm, &now);
    cr_assert_not(vmm.driver);
    cr_assert_eq(vmm.news & (unsigned)VMM_SAMPLE, 0);
}

Test(host_vmm, two_answers_in_one_second_are_two_when_they_differ)
{
    fake_introduce(&fake, &vmm, &now);
    fake.dumb = true; /* the stamp stays */
    vmm.news = 0;
    vmm_want(&vmm, VMM_SAMPLE, now);
    live(SECOND);
    cr_assert_eq(vmm.news, 0, "the same again is nothing new");
    fake.free--;
    vmm_want(&vmm, VMM_SAMPLE, now);
    live(SECOND);
    cr_assert_eq(vmm.news, (unsigned)VMM_SAMPLE);
    cr_assert_eq(value_of(BALLOON_STAT_FREE), fake.free);
}

Test(host_vmm, asks_once_however_often_it_is_wanted)
{
    unsigned before;

    fake_introduce(&fake, &vmm, &now);
    before = fake.commands;
    vmm.news = 0;
    for (unsigned i = 0; i < 50; i++)
        vmm_want(&vmm, VMM_SAMPLE | VMM_SIZE, now);
    live(SECOND);
    cr_assert_leq(fake.commands - before, 6, "%u", fake.commands - before);
    cr_assert_eq(vmm.news, (unsigned)(VMM_SAMPLE | VMM_SIZE));
}

/* All of a talk goes out in one write, and is answered in one piece. */
Test(host_vmm, what_is_wanted_together_is_asked_for_together)
{
    static const char *const names[] = {"balloon", "query-balloon", "qom-set", "qom-set"};

    fake_introduce(&fake, &vmm, &now);
    vmm_want(&vmm, VMM_SIZE, now); /* goes out at once */
    vmm_want(&vmm, VMM_SIZE | VMM_SAMPLE, now);
    vmm_set_target(&vmm, 200 << 20, now);
    cr_assert(fake_hear(&fake));
    cr_assert_not(vmm_is_telling(&vmm) && fake_hear(&fake), "one talk at a time");
    fake_answer(&fake);
    vmm_bytes(&vmm, POLLIN, now);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cr_assert(fake_hear(&fake), "%zu", i);
        cr_assert_str_eq(fake.name, names[i]);
        fake_answer(&fake);
    }
    cr_assert(vmm_is_telling(&vmm));
    cr_assert_not(fake_hear(&fake));
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert_not(vmm_is_telling(&vmm));
    cr_assert_not(vmm_is_asked(&vmm));
}

Test(host_vmm, what_qemu_has_is_new_once)
{
    fake_introduce(&fake, &vmm, &now);
    vmm_want(&vmm, VMM_NUDGE, now);
    fake_serve(&fake, &vmm, now);
    cr_assert(vmm_is_in_step(&vmm, now + SECOND));
    vmm.news = 0;
    vmm_want(&vmm, VMM_STATS, now);
    fake_serve(&fake, &vmm, now);
    cr_assert_eq(vmm.news, (unsigned)VMM_SAMPLE);
    cr_assert(vmm_is_in_step(&vmm, now + SECOND));
    cr_assert_not(vmm_is_in_step(&vmm, now + 60 * SECOND), "not for ever");
    vmm.news = 0;
    vmm_want(&vmm, VMM_STATS, now);
    fake_serve(&fake, &vmm, now);
    cr_assert_eq(vmm.news, 0, "QEMU has not asked since");
    cr_assert_not(vmm_is_in_step(&vmm, now + SECOND));
}

Test(host_vmm, a_size_is_from_when_it_was_asked_for)
{
    balloon_time_t asked;

    fake_introduce(&fake, &vmm, &now);
    asked = now;
    vmm_want(&vmm, VMM_SIZE, now);
    cr_assert(fake_hear(&fake));
    now += SECOND;
    fake_answer(&fake);
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert_eq(vmm.size_time, asked);
}

Test(host_vmm, is_told_the_last_target_before_anything_else_is_asked)
{
    fake_introduce(&fake, &vmm, &now);
    vmm_want(&vmm, VMM_SIZE, now); /* waits for its answer */
    vmm_want(&vmm, VMM_SAMPLE, now);
    vmm_set_target(&vmm, 200 << 20, now);
    vmm_set_target(&vmm, 250 << 20, now);
    cr_assert(fake_hear(&fake));
    fake_answer(&fake);
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert(fake_hear(&fake));
    cr_assert_str_eq(fake.name, "balloon");
    fake_answer(&fake);
    cr_assert_eq(fake.wished, 250 << 20);
    vmm_bytes(&vmm, POLLIN, now);
    live(SECOND);
    cr_assert_eq(fake.wished, 250 << 20, "and only that");
}

Test(host_vmm, events_tell_what_has_changed)
{
    fake_introduce(&fake, &vmm, &now);
    vmm.news = 0;
    fake_say(&fake, "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1}}\r\n"
                    "{\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 3}}\r\n");
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert_not(vmm.running);
    cr_assert_eq(vmm.news, (unsigned)VMM_STATUS);
    fake_say(&fake, "{\"event\": \"RESUME\"}\r\n");
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert(vmm.running);
    fake.actual = 123 << 20;
    fake_say(&fake, "{\"event\": \"BALLOON_CHANGE\", \"data\": {\"actual\": 99}}\r\n");
    vmm_bytes(&vmm, POLLIN, now);
    fake_serve(&fake, &vmm, now);
    cr_assert_eq(vmm.size, 123 << 20, "as it is now, not as it was then");
}

Test(host_vmm, after_a_reset_there_is_no_driver_until_the_next_answers)
{
    fake_introduce(&fake, &vmm, &now);
    vmm.news = 0;
    fake.dumb = true;
    fake_say(&fake, "{\"event\": \"RESET\", \"data\": {\"guest\": true}}\r\n");
    vmm_bytes(&vmm, POLLIN, now);
    vmm_want(&vmm, VMM_SAMPLE, now);
    live(SECOND);
    cr_assert_not(vmm.driver);
    fake.dumb = false;
    vmm_want(&vmm, VMM_SAMPLE, now);
    live(SECOND);
    cr_assert(vmm.driver);
}

Test(host_vmm, gives_the_polling_interval_back_when_it_leaves)
{
    fake.interval = 7;
    fake_introduce(&fake, &vmm, &now);
    cr_assert_neq(fake.interval, 7);
    vmm_end(&vmm);
    while (fake_hear(&fake))
        if (strcmp(fake.name, "qom-set") == 0 && strstr(fake.line, "\"value\":7"))
            fake.interval = 7;
    cr_assert_eq(fake.interval, 7);
}

/* It is another's from the first command that changes it. */
Test(host_vmm, gives_it_back_before_all_is_known)
{
    char last[sizeof(fake.line)] = "";

    fake.interval = 7;
    fake.dumb = true;
    vmm_init(&vmm, fake.path);
    for (unsigned i = 0; i < 100 && fake.interval == 7; i++, now += 10 * MILLISECOND)
        fake_serve(&fake, &vmm, now);
    cr_assert_eq(vmm.state, VMM_ASKING);
    cr_assert_neq(vmm.sampling, 0);
    vmm_end(&vmm);
    while (fake_hear(&fake))
        memcpy(last, fake.line, sizeof(last));
    cr_assert_not_null(strstr(last, "\"value\":7"), "%s", last);
}

Test(host_vmm, gives_back_what_it_found_first)
{
    fake.interval = 7;
    fake_introduce(&fake, &vmm, &now);
    fake_hang_up(&fake);
    vmm_bytes(&vmm, POLLIN, now);
    cr_assert_eq(vmm.state, VMM_AWAY);
    now = vmm_deadline(&vmm);
    for (unsigned i = 0; i < 100 && vmm.state != VMM_THERE; i++, now += 10 * MILLISECOND)
        fake_serve(&fake, &vmm, now);
    cr_assert_neq(fake.interval, 7, "which is its own, and is found now");
    vmm_end(&vmm);
    cr_assert(fake_hear(&fake));
    cr_assert_not_null(strstr(fake.line, "\"value\":7"), "%s", fake.line);
}

Test(host_vmm, memory_that_is_plugged_is_its_own)
{
    fake_introduce(&fake, &vmm, &now);
    vmm.news = 0;
    fake.actual = UINT64_C(500) << 20;
    vmm_want(&vmm, VMM_SIZE, now);
    live(SECOND);
    cr_assert_eq(vmm.ram, UINT64_C(500) << 20);
    cr_assert_eq(vmm.news, (unsigned)(VMM_SIZE | VMM_STATUS));
}
