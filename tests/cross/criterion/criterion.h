/* The part of Criterion that the tests use, for machines that have no Criterion: the same test
 * files compile against either. runner.c runs them. What is missing here does not compile. */
#ifndef TESTS_CROSS_CRITERION_H
#define TESTS_CROSS_CRITERION_H

/* As with the real one, which lies in /usr/include, the tests are not warned about its macros. */
#pragma GCC system_header

#include <stdbool.h>
#include <string.h>

/* A test, or a suite if it has no name. */
struct cr_entry {
    const char *suite;
    const char *name;
    void (*run)(void);
    void (*init)(void);
    void (*fini)(void);
    double timeout; /* seconds on a fast machine: the runner has its own */
    struct cr_entry *next;
};

void cr_add(struct cr_entry *entry);
void cr_failed(bool fatal, const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void cr_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void cr_skip_test(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define CR_ENTRY(symbol, ...)                                                                      \
    __attribute__((constructor)) static void symbol##_add(void)                                    \
    {                                                                                              \
        static struct cr_entry entry = {__VA_ARGS__};                                              \
        cr_add(&entry);                                                                            \
    }

#define TestSuite(suite_, ...)                                                                     \
    CR_ENTRY(cr_##suite_, .suite = #suite_, __VA_ARGS__)                                           \
    struct cr_entry /* takes the semicolon that follows */
#define Test(suite_, name_, ...)                                                                   \
    static void cr_##suite_##_##name_(void);                                                       \
    CR_ENTRY(cr_##suite_##_##name_, .suite = #suite_, .name = #name_,                              \
             .run = cr_##suite_##_##name_, __VA_ARGS__)                                            \
    static void cr_##suite_##_##name_(void)

/* What follows the operands is a message, if there is any. */
#define CR_CHECK(fatal, what, holds, ...)                                                          \
    ((holds) ? (void)0 : cr_failed(fatal, __FILE__, __LINE__, what, " " __VA_ARGS__))
#define CR_RELATION(fatal, a, relation, b, ...)                                                    \
    CR_CHECK(fatal, #a " " #relation " " #b, (a)relation(b), __VA_ARGS__)

#define cr_assert(x, ...)     CR_CHECK(true, #x, (x), __VA_ARGS__)
#define cr_assert_not(x, ...) CR_CHECK(true, "not " #x, !(x), __VA_ARGS__)
#define cr_expect(x, ...)     CR_CHECK(false, #x, (x), __VA_ARGS__)
#define cr_expect_not(x, ...) CR_CHECK(false, "not " #x, !(x), __VA_ARGS__)

#define cr_assert_fail(...) CR_CHECK(true, "to get here", false, __VA_ARGS__)

#define cr_assert_eq(a, b, ...)     CR_RELATION(true, a, ==, b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)    CR_RELATION(true, a, !=, b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)     CR_RELATION(true, a, <, b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)    CR_RELATION(true, a, <=, b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)     CR_RELATION(true, a, >, b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)    CR_RELATION(true, a, >=, b, __VA_ARGS__)
#define cr_assert_null(a, ...)      CR_RELATION(true, a, ==, NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...)  CR_RELATION(true, a, !=, NULL, __VA_ARGS__)
#define cr_expect_eq(a, b, ...)     CR_RELATION(false, a, ==, b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...)    CR_RELATION(false, a, !=, b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...)     CR_RELATION(false, a, <, b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...)    CR_RELATION(false, a, >=, b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...)    CR_RELATION(false, a, <=, b, __VA_ARGS__)
#define cr_expect_not_null(a, ...)  CR_RELATION(false, a, !=, NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) CR_CHECK(true, #a " is " #b, !strcmp(a, b), __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) CR_CHECK(false, #a " is " #b, !strcmp(a, b), __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)                                                               \
    CR_CHECK(true, #a " is not " #b, strcmp(a, b) != 0, __VA_ARGS__)
#define cr_assert_float_eq(a, b, most, ...)                                                        \
    CR_CHECK(true, #a " is " #b, (a) - (b) <= (most) && (b) - (a) <= (most), __VA_ARGS__)
#define cr_assert_arr_eq(a, b, bytes, ...)                                                         \
    CR_CHECK(true, #a " is " #b, !memcmp(a, b, bytes), __VA_ARGS__)

#endif
