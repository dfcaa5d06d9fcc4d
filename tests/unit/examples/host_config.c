#include "host/config.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB UINT64_C(1048576)

static struct config config;

TestSuite(host_config);

Test(host_config, has_defaults)
{
    balloon_pool_guest limits;

    config_init(&config);
    cr_assert(config_parse(&config, ""));
    cr_assert_str_eq(config.policy, "waterline");
    cr_assert_eq(config_pages(&config.pool, 1000 * 4096), 750);
    config_limits(&config, "any", 1024 * MIB, &limits);
    cr_assert_eq(limits.min, 256 * 256);
    cr_assert_eq(limits.max, 1024 * 256);
    cr_assert_eq(limits.shares, 0);
    cr_assert_eq(limits.size, sizeof(limits));
}

Test(host_config, everything_can_be_said)
{
    balloon_pool_guest limits;

    config_init(&config);
    cr_assert(config_parse(&config, "# all there is\n"
                                    "pool = 640\n"
                                    "  reserve=5%  \r\n"
                                    "\n"
                                    "policy = buffer\n"
                                    "guests = /run/a/*.qmp\n"
                                    "guests = /run/b\n"
                                    "metrics = 9177\n"
                                    "on_short = /bin/echo too little\n"
                                    "[*]\n"
                                    "min = 100\n"
                                    "[web-*]\n"
                                    "min = 50%\n"
                                    "max = 300\n"
                                    "shares = 2000\n"
                                    "priority = 3\n"
                                    "[web-1]\n"
                                    "shares = 1\n"
                                    "[w*]\n"
                                    "windows = yes\n"
                                    "[web-2]\n"
                                    "windows = no"),
              "%s", config.error);
    cr_assert_eq(config_pages(&config.pool, 0), 640 * 256);
    cr_assert_eq(config_pages(&config.reserve, 640 * MIB), 32 * 256);
    cr_assert_str_eq(config.policy, "buffer");
    cr_assert_eq(config.place_count, 2);
    cr_assert_str_eq(config.places[1], "/run/b");
    cr_assert_str_eq(config.metrics, "9177");
    cr_assert_str_eq(config.on_short, "/bin/echo too little");
    config_limits(&config, "db", 400 * MIB, &limits);
    cr_assert_eq(limits.min, 100 * 256);
    cr_assert_eq(limits.max, 400 * 256);
    config_limits(&config, "web-1", 400 * MIB, &limits);
    cr_assert_eq(limits.min, 200 * 256);
    cr_assert_eq(limits.max, 300 * 256);
    cr_assert_eq(limits.shares, 1);
    cr_assert_eq(limits.priority, 3);
    cr_assert(config_is_windows(&config, "web-1"));
    cr_assert_not(config_is_windows(&config, "web-2"));
    cr_assert_not(config_is_windows(&config, "db"));
}

/* A guest may be smaller than what its pattern is for. */
Test(host_config, limits_are_in_order_whatever_is_said)
{
    static const char *const texts[] = {"[*]\nmin = 9999\n", "[*]\nmin = 90%\nmax = 10\n",
                                        "[*]\nmax = 9999\nmin = 100%\n"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        balloon_pool_guest limits;

        config_init(&config);
        cr_assert(config_parse(&config, texts[i]));
        config_limits(&config, "g", 384 * MIB, &limits);
        cr_assert(limits.min <= limits.max && limits.max <= 384 * 256, "%s", texts[i]);
        cr_assert_geq(limits.max, 1);
    }
}

Test(host_config, what_is_not_understood_is_named_with_its_line)
{
    static const char *const lines[] = {
        "pool",
        "pool = ",
        "pool = 0",
        "pool = -1",
        "pool = 101%",
        "pool = 5 %",
        "pool = 5MiB",
        "pool = 1e3",
        "pools = 5",
        "policy = best",
        "min = 5",
        "[",
        "[]",
        "[a",
        "[a]b",
        "[a]\npool=5",
        "[a]\nmin = x",
        "[a]\nshares = 0",
        "[a]\nmax = 0",
        "[a]\nwindows = maybe",
        "[a]\nshares = 10001",
        "= 5",
        "pool = 99999999999999999999",
        "[a]\nshares = 5%",
    };
    char text[128], line[16];

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        config_init(&config);
        snprintf(text, sizeof(text), "# first\n%s\n", lines[i]);
        snprintf(line, sizeof(line), "line %d", strchr(lines[i], '\n') ? 3 : 2);
        cr_assert_not(config_parse(&config, text), "%s", lines[i]);
        cr_assert_eq(strncmp(config.error, line, strlen(line)), 0, "%s: %s", lines[i],
                     config.error);
    }
}

Test(host_config, too_much_is_an_error)
{
    static char text[CONFIG_RULES * 16];

    config_init(&config);
    for (unsigned i = 0; i < CONFIG_PLACES; i++)
        cr_assert(config_add_place(&config, "/run"));
    cr_assert_not(config_add_place(&config, "/run"));
    for (unsigned i = 0; i <= CONFIG_RULES; i++)
        strcat(text, "[a]\n");
    cr_assert_not(config_parse(&config, text));
    memset(text, 'x', sizeof(text) - 1);
    cr_assert_not(config_parse(&config, text));
}

Test(host_config, files_are_texts)
{
    char path[] = "/tmp/balloon-config-XXXXXX";
    int fd = mkstemp(path);

    config_init(&config);
    cr_assert_eq(write(fd, "pool = 5\n", 9), 9);
    cr_assert(config_read(&config, path), "%s", config.error);
    cr_assert_eq(config.pool.number, 5);
    cr_assert_eq(write(fd, "\0pool = 6\n", 10), 10);
    cr_assert_not(config_read(&config, path));
    close(fd);
    unlink(path);
    cr_assert_not(config_read(&config, path));
    cr_assert_neq(config.error[0], '\0');
}
