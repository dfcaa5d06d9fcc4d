/* Keys of xenstore and their values. */
#include <criterion/criterion.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/xen.h>

#include "prng.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* --- Numbers --------------------------------------------------------------------------------- */

static const uint64_t edges[] = {0,
                                 1,
                                 9,
                                 10,
                                 99,
                                 100,
                                 UINT32_MAX,
                                 (uint64_t)UINT32_MAX + 1,
                                 INT64_MAX,
                                 (uint64_t)INT64_MAX + 1,
                                 9999999999999999999u,
                                 10000000000000000000u,
                                 UINT64_MAX - 1,
                                 UINT64_MAX};

static void check_number(uint64_t number)
{
    char expected[32];
    char found[32];
    size_t length = (size_t)snprintf(expected, sizeof(expected), "%" PRIu64, number);
    uint64_t back = ~number;

    memset(found, 'x', sizeof(found));
    for (size_t room = 0; room < length; room++) {
        cr_assert_eq(balloon_xen_write_number(number, found, room), length);
        cr_assert_eq(found[0], 'x');
    }
    cr_assert_eq(balloon_xen_write_number(number, found, length), length);
    cr_assert_eq(memcmp(found, expected, length), 0, "%s", expected);
    cr_assert_eq(found[length], 'x');
    cr_assert_eq(balloon_xen_read_number(expected, length, &back), BALLOON_OK);
    cr_assert_eq(back, number);
}

Test(xen_value, numbers_are_written_and_read_again)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);

    for (size_t i = 0; i < COUNT_OF(edges); i++)
        check_number(edges[i]);
    for (uint64_t power = 1; power <= 1000000000000000000u; power *= 10) {
        check_number(power - 1);
        check_number(power);
        check_number(power * 9);
    }
    for (int i = 0; i < 20000; i++)
        check_number(prng_next(&prng) >> prng_below(&prng, 64));
}

Test(xen_value, a_number_is_digits_and_below_2_to_the_64)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      "-0",
                                      "12a",
                                      "a12",
                                      " 1",
                                      "1 ",
                                      "1\n",
                                      "0x10",
                                      "1e3",
                                      "1,000",
                                      "/",
                                      ":",
                                      "18446744073709551616",
                                      "18446744073709551620",
                                      "20000000000000000000",
                                      "99999999999999999999",
                                      "100000000000000000000",
                                      "184467440737095516160000"};
    uint64_t number = 5;

    for (size_t i = 0; i < COUNT_OF(bad); i++)
        cr_assert_eq(balloon_xen_read_number(bad[i], strlen(bad[i]), &number), BALLOON_ERR_PROTOCOL,
                     "'%s'", bad[i]);
    cr_assert_eq(balloon_xen_read_number("7\0", 2, &number), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_xen_read_number(NULL, 0, &number), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(number, 5);
    cr_assert_eq(balloon_xen_read_number("00000000000000000000000000000000000012", 38, &number),
                 BALLOON_OK);
    cr_assert_eq(number, 12);
    cr_assert_eq(balloon_xen_read_number("77", 1, &number), BALLOON_OK);
    cr_assert_eq(number, 7);
}

/* Each single byte in place of each digit of the largest number. */
Test(xen_value, every_byte_at_every_place_of_a_number)
{
    static const char largest[] = "18446744073709551615";

    for (size_t at = 0; at < 20; at++) {
        for (unsigned c = 0; c < 256; c++) {
            char changed[21];
            uint64_t expected;
            uint64_t number = 0;
            balloon_status status;

            memcpy(changed, largest, sizeof(changed));
            changed[at] = (char)c;
            status = balloon_xen_read_number(changed, 20, &number);
            errno = 0;
            expected = strtoull(changed, NULL, 10);
            if (c < '0' || c > '9' || errno == ERANGE) {
                cr_assert_eq(status, BALLOON_ERR_PROTOCOL, "%u at %zu", c, at);
            } else {
                cr_assert_eq(status, BALLOON_OK, "%u at %zu", c, at);
                cr_assert_eq(number, expected);
            }
        }
    }
}

Test(xen_value, offsets_have_a_sign)
{
    static const int64_t offsets[] = {
        0, 1, -1, 10, -10, 4096, -4096, INT64_MAX, INT64_MIN + 1, INT64_MIN};
    static const char *const bad[] = {"",
                                      "-",
                                      "--1",
                                      "+1",
                                      "- 1",
                                      "1-",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "-18446744073709551616"};
    int64_t back = 0;

    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        char expected[32];
        char found[32];
        size_t length = (size_t)snprintf(expected, sizeof(expected), "%" PRId64, offsets[i]);

        cr_assert_leq(length, BALLOON_XEN_NUMBER_CHARS_MAX);
        memset(found, 'x', sizeof(found));
        for (size_t room = 0; room < length; room++)
            cr_assert_eq(balloon_xen_write_offset(offsets[i], found, room), length);
        cr_assert_eq(found[0], 'x');
        cr_assert_eq(balloon_xen_write_offset(offsets[i], found, length), length);
        cr_assert_eq(memcmp(found, expected, length), 0, "%s", expected);
        cr_assert_eq(balloon_xen_read_offset(expected, length, &back), BALLOON_OK);
        cr_assert_eq(back, offsets[i]);
    }
    cr_assert_eq(balloon_xen_read_offset("-0", 2, &back), BALLOON_OK);
    cr_assert_eq(back, 0);
    back = 3;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        cr_assert_eq(balloon_xen_read_offset(bad[i], strlen(bad[i]), &back), BALLOON_ERR_PROTOCOL,
                     "'%s'", bad[i]);
    cr_assert_eq(back, 3);
}

Test(xen_value, sizes_are_in_kib_and_round_down)
{
    static const char *const kib[] = {"0", "3", "4", "7", "8", "1048576", "18446744073709551615"};
    static const uint64_t pages[] = {0, 0, 1, 1, 2, 262144, UINT64_MAX / 4};
    char found[BALLOON_XEN_NUMBER_CHARS_MAX];
    uint64_t back;

    for (size_t i = 0; i < COUNT_OF(kib); i++) {
        cr_assert_eq(balloon_xen_read_size(kib[i], strlen(kib[i]), &back), BALLOON_OK);
        cr_assert_eq(back, pages[i], "%s", kib[i]);
    }
    cr_assert_eq(balloon_xen_write_size(UINT64_MAX / 4, found, sizeof(found)), 20);
    cr_assert_eq(memcmp(found, "18446744073709551612", 20), 0);
    cr_assert_eq(balloon_xen_write_size(UINT64_MAX / 4 + 1, found, sizeof(found)), SIZE_MAX);
    cr_assert_eq(balloon_xen_write_size(UINT64_MAX, found, sizeof(found)), SIZE_MAX);
    cr_assert_eq(balloon_xen_write_size(1, found, 0), 1);
}

Test(xen_value, flags_are_one_or_zero)
{
    static const char *const bad[] = {"", "2", "01", "10", "1\n", "t", "true", "/"};
    bool flag = false;

    cr_assert_eq(balloon_xen_read_flag("1", 1, &flag), BALLOON_OK);
    cr_assert(flag);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        cr_assert_eq(balloon_xen_read_flag(bad[i], strlen(bad[i]), &flag), BALLOON_ERR_PROTOCOL);
    cr_assert_eq(balloon_xen_read_flag(NULL, 0, &flag), BALLOON_ERR_PROTOCOL);
    cr_assert(flag);
    cr_assert_eq(balloon_xen_read_flag("0", 1, &flag), BALLOON_OK);
    cr_assert_not(flag);
}

/* --- Keys ------------------------------------------------------------------------------------ */

Test(xen_value, every_key_is_found_by_its_path)
{
    static const uint16_t domains[] = {0, 1, 9, 10, 32751, BALLOON_XEN_DOMAIN_SELF};

    for (int key = 0; key < BALLOON_XEN_KEYS; key++) {
        const char *name = balloon_xen_key_path((balloon_xen_key)key);

        cr_assert_not_null(name);
        cr_assert(balloon_xen_path_valid(name, strlen(name)));
        for (size_t i = 0; i < COUNT_OF(domains); i++) {
            char expected[80];
            char found[80];
            size_t length = (size_t)snprintf(expected, sizeof(expected), "/local/domain/%u/%s",
                                             domains[i], name);
            uint16_t domain = 1234;

            if (domains[i] == BALLOON_XEN_DOMAIN_SELF)
                length = (size_t)snprintf(expected, sizeof(expected), "%s", name);
            memset(found, 'x', sizeof(found));
            for (size_t room = 0; room < length; room++)
                cr_assert_eq(balloon_xen_write_path(domains[i], (balloon_xen_key)key, found, room),
                             length);
            cr_assert_eq(found[0], 'x');
            cr_assert_eq(balloon_xen_write_path(domains[i], (balloon_xen_key)key, found, length),
                         length);
            cr_assert_eq(memcmp(found, expected, length), 0, "%s", expected);
            cr_assert_eq(found[length], 'x');
            cr_assert_eq(balloon_xen_find_key(found, length, &domain), (balloon_xen_key)key);
            cr_assert_eq(domain, domains[i]);
            for (size_t cut = 0; cut < length; cut++)
                cr_assert_eq(balloon_xen_find_key(found, cut, &domain), BALLOON_XEN_KEY_NONE);
            cr_assert_eq(balloon_xen_find_key(found, length + 1, &domain), BALLOON_XEN_KEY_NONE);
        }
    }
}

Test(xen_value, other_paths_are_no_keys)
{
    static const char *const paths[] = {"",
                                        "/",
                                        "memory",
                                        "/memory/target",
                                        "memory/Target",
                                        "/local/domain/5",
                                        "/local/domain/5/",
                                        "/local/domain//memory/target",
                                        "/local/domain/05/memory/target",
                                        "/local/domain/-1/memory/target",
                                        "/local/domain/x/memory/target",
                                        "/local/domain/32752/memory/target",
                                        "/local/domain/65541/memory/target",
                                        "/local/domain/4294967301/memory/target",
                                        "/local/domain/18446744073709551621/memory/target",
                                        "/local/domain/5/memory/target/",
                                        "/local/domain/5//memory/target",
                                        "/local/domain/5/memory/target-tot_pages",
                                        "/local/domaim/5/memory/target",
                                        "@releaseDomain"};
    uint16_t domain = 77;

    for (size_t i = 0; i < COUNT_OF(paths); i++)
        cr_assert_eq(balloon_xen_find_key(paths[i], strlen(paths[i]), &domain),
                     BALLOON_XEN_KEY_NONE, "%s", paths[i]);
    cr_assert_eq(balloon_xen_find_key(NULL, 0, &domain), BALLOON_XEN_KEY_NONE);
    cr_assert_eq(domain, 77);
    cr_assert_null(balloon_xen_key_path(BALLOON_XEN_KEYS));
    cr_assert_null(balloon_xen_key_path(BALLOON_XEN_KEY_NONE));
    cr_assert_eq(balloon_xen_write_path(0, BALLOON_XEN_KEYS, NULL, 0), SIZE_MAX);
    cr_assert_eq(
        balloon_xen_write_path(BALLOON_XEN_DOMAIN_SELF + 1, BALLOON_XEN_KEY_TARGET, NULL, 0),
        SIZE_MAX);
}

Test(xen_value, paths)
{
    static char longest[BALLOON_XEN_PATH_MAX + 1];
    static const char *const good[] = {
        "/",         "a", "memory/target", "/local/domain/5", "@releaseDomain", "@releaseDomain/5",
        "A-Z_0-9@/x"};
    static const char *const bad[] = {"",      "//",  "a/",  "/a/",  "a//b",
                                      "/a//b", "a b", "a.b", "a\\b", "\xc3\xa4"};

    for (size_t i = 0; i < COUNT_OF(good); i++)
        cr_assert(balloon_xen_path_valid(good[i], strlen(good[i])), "%s", good[i]);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        cr_assert_not(balloon_xen_path_valid(bad[i], strlen(bad[i])), "%s", bad[i]);
    cr_assert_not(balloon_xen_path_valid("a\0b", 3));
    memset(longest, 'a', sizeof(longest));
    cr_assert(balloon_xen_path_valid(longest, BALLOON_XEN_RELATIVE_PATH_MAX));
    cr_assert_not(balloon_xen_path_valid(longest, BALLOON_XEN_RELATIVE_PATH_MAX + 1));
    longest[0] = '/';
    cr_assert(balloon_xen_path_valid(longest, BALLOON_XEN_PATH_MAX));
    cr_assert_not(balloon_xen_path_valid(longest, BALLOON_XEN_PATH_MAX + 1));
}
