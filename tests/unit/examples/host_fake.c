#include "host_fake.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BALLOON                                                                                    \
    "[{\"name\": \"net0\", \"type\": \"child<virtio-net-pci>\"}, "                                 \
    "{\"name\": \"balloon0\", \"type\": \"child<virtio-balloon-pci>\"}]"

void fake_open(struct fake *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *f = (struct fake){.listener = -1,
                       .fd = -1,
                       .ram = 384 << 20,
                       .actual = 384 << 20,
                       .stamp = 1700000000,
                       .free = 100 << 20,
                       .status = "{\"status\": \"running\", \"running\": true}",
                       .peripherals = BALLOON,
                       .anonymous = "[]"};
    snprintf(f->folder, sizeof(f->folder), "/tmp/balloon-fake-XXXXXX");
    cr_assert_not_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/guest.qmp", f->folder);
    memcpy(address.sun_path, f->path, strlen(f->path) + 1);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(f->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(f->listener, 4), 0);
}

void fake_hang_up(struct fake *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

void fake_close(struct fake *f)
{
    fake_hang_up(f);
    if (f->listener >= 0)
        close(f->listener);
    f->listener = -1;
    unlink(f->path);
    rmdir(f->folder);
}

bool fake_accept(struct fake *f)
{
    int fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return false;
    fake_hang_up(f);
    f->fd = fd;
    return true;
}

void fake_say(struct fake *f, const char *text)
{
    size_t length = strlen(text);
    ssize_t sent = send(f->fd, text, length, MSG_NOSIGNAL);

    cr_assert(sent == (ssize_t)length || errno == EPIPE);
}

bool fake_hear(struct fake *f)
{
    size_t used = 0;
    const char *at;

    if (f->fd < 0)
        return false;
    while (used < sizeof(f->line) - 1 && recv(f->fd, f->line + used, 1, 0) == 1)
        if (f->line[used++] == '\n')
            break;
    f->line[used] = '\0';
    if (used == 0)
        return false;
    cr_assert_eq(f->line[used - 1], '\n', "half a command: %s", f->line);
    at = strstr(f->line, "\"execute\":\"");
    cr_assert_not_null(at, "%s", f->line);
    cr_assert_eq(sscanf(at, "\"execute\":\"%63[^\"]\"", f->name), 1);
    at = strstr(f->line, "\"id\":");
    cr_assert_not_null(at, "%s", f->line);
    f->id = strtoull(at + strlen("\"id\":"), NULL, 10);
    f->commands++;
    return true;
}

void fake_return(struct fake *f, const char *json)
{
    char text[4096];

    snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %llu}\r\n", json,
             (unsigned long long)f->id);
    fake_say(f, text);
}

void fake_error(struct fake *f, const char *what)
{
    char text[512];

    snprintf(text, sizeof(text),
             "{\"error\": {\"class\": \"GenericError\", \"desc\": \"%s\"}, \"id\": %llu}\r\n", what,
             (unsigned long long)f->id);
    fake_say(f, text);
}

static void answer_statistics(struct fake *f)
{
    char text[1024];

    if ((f->asked || f->polls) && !f->dumb)
        f->stamp++;
    f->asked = false;
    snprintf(text, sizeof(text),
             "{\"stats\": {\"stat-htlb-pgalloc\": 0, \"stat-swap-out\": 4096, "
             "\"stat-available-memory\": 200000000, \"stat-free-memory\": %llu, "
             "\"stat-minor-faults\": 18446744073709551615, \"stat-major-faults\": 17, "
             "\"stat-total-memory\": 371834880, \"stat-swap-in\": 8192}, \"last-update\": %llu}",
             (unsigned long long)f->free, (unsigned long long)f->stamp);
    fake_return(f, text);
}

static void set_interval(struct fake *f)
{
    const char *value = strstr(f->line, "\"value\":");

    cr_assert_not_null(value);
    f->interval = strtoull(value + strlen("\"value\":"), NULL, 10);
    f->asked = f->interval != 0;
    fake_return(f, "{}");
}

static void set_balloon(struct fake *f)
{
    const char *value = strstr(f->line, "\"value\":");

    cr_assert_not_null(value);
    f->wished = strtoull(value + strlen("\"value\":"), NULL, 10);
    fake_return(f, "{}");
}

static void answer_property(struct fake *f)
{
    char number[24];

    if (strstr(f->line, "\"guest-stats\"")) {
        answer_statistics(f);
        return;
    }
    snprintf(number, sizeof(number), "%llu", (unsigned long long)f->interval);
    fake_return(f, number);
}

void fake_answer(struct fake *f)
{
    char text[128];

    if (strcmp(f->name, "qmp_capabilities") == 0) {
        fake_return(f, "{}");
    } else if (strcmp(f->name, "query-name") == 0) {
        fake_return(f, "{\"name\": \"web one\"}");
    } else if (strcmp(f->name, "query-status") == 0) {
        fake_return(f, f->status);
    } else if (strcmp(f->name, "query-memory-size-summary") == 0) {
        snprintf(text, sizeof(text), "{\"base-memory\": %llu, \"plugged-memory\": 0}",
                 (unsigned long long)f->ram);
        fake_return(f, text);
    } else if (strcmp(f->name, "qom-list") == 0) {
        fake_return(f, strstr(f->line, "peripheral-anon") ? f->anonymous : f->peripherals);
    } else if (strcmp(f->name, "query-balloon") == 0) {
        snprintf(text, sizeof(text), "{\"actual\": %llu}", (unsigned long long)f->actual);
        fake_return(f, text);
    } else if (strcmp(f->name, "qom-get") == 0) {
        answer_property(f);
    } else if (strcmp(f->name, "qom-set") == 0) {
        set_interval(f);
    } else if (strcmp(f->name, "balloon") == 0) {
        set_balloon(f);
    } else {
        cr_assert_fail("an unknown command: %s", f->line);
    }
}

unsigned fake_serve(struct fake *f, struct vmm *g, balloon_time_t at)
{
    unsigned before = f->commands;

    vmm_time(g, at);
    if (fake_accept(f)) {
        fake_say(f, FAKE_GREETING);
        vmm_bytes(g, POLLIN, at);
    }
    while (fake_hear(f)) {
        fake_answer(f);
        vmm_bytes(g, POLLIN, at);
    }
    return f->commands - before;
}

void fake_introduce(struct fake *f, struct vmm *g, balloon_time_t *at)
{
    vmm_init(g, f->path);
    for (unsigned i = 0; i < 100 && g->state != VMM_THERE; i++) {
        fake_serve(f, g, *at);
        *at += 10 * MILLISECOND;
    }
    cr_assert_eq(g->state, VMM_THERE, "%s", g->error);
}

/* --- for tests of one guest ---------------------------------------------------------------- */

struct fake fake;
struct vmm vmm;
balloon_time_t now;

void fake_begin(void)
{
    now = 5 * SECOND;
    fake_open(&fake);
}

void fake_end(void)
{
    vmm_end(&vmm);
    fake_close(&fake);
}
