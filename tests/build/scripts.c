/* The promises that only a shell can check: each test runs one script of tests/checks. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { EXIT_SKIPPED = 77 };

static void run_script(const char *command)
{
    const char *top = getenv("BALLOON_TOP");
    char line[512];
    char output[8192];
    size_t used = 0;

    snprintf(line, sizeof(line), "%s/tests/checks/%s 2>&1", top ? top : ".", command);
    FILE *pipe = popen(line, "r");
    cr_assert_not_null(pipe, "cannot start %s", line);
    for (size_t got; (got = fread(output + used, 1, sizeof(output) - 1 - used, pipe)) > 0;) {
        used += got;
        if (used == sizeof(output) - 1) {
            /* Keep the end, where the reason stands. */
            used /= 2;
            memmove(output, output + sizeof(output) - 1 - used, used);
        }
    }
    output[used] = '\0';
    int status = pclose(pipe);

    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
        output[strcspn(output, "\n")] = '\0';
        cr_skip_test("%s", output);
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s:\n%s", command, output);
}

#define SCRIPT(suite, name, command)                                                               \
    Test(suite, name, .timeout = 3600)                                                             \
    {                                                                                              \
        run_script(command);                                                                       \
    }

SCRIPT(build, headers_gcc, "headers.sh gcc g++")
SCRIPT(build, headers_clang, "headers.sh clang clang++")
SCRIPT(build, warnings_gcc, "warnings.sh gcc")
SCRIPT(build, warnings_clang, "warnings.sh clang")
SCRIPT(build, freestanding_gcc, "freestanding.sh gcc")
SCRIPT(build, freestanding_clang, "freestanding.sh clang")
SCRIPT(build, freestanding_in_one_file, "freestanding.sh gcc amalgamation")
SCRIPT(build, in_one_file, "amalgamation.sh gcc g++")
SCRIPT(build, dist, "dist.sh")
SCRIPT(build, meson_subproject, "subproject.sh")
SCRIPT(build, layers, "layers.sh")
SCRIPT(build, links_what_it_opens, "links.sh")
SCRIPT(build, cross_compiles, "cross_compiles.sh")
SCRIPT(build, exports, "exports.sh")
SCRIPT(build, abi, "abi.sh")
SCRIPT(build, sizes, "sizes.sh")
SCRIPT(build, package, "package.sh")
SCRIPT(build, found_by_cmake, "consumer.sh cmake")
SCRIPT(build, found_by_meson, "consumer.sh meson")
SCRIPT(build, man, "man.sh")
SCRIPT(build, readme, "readme.sh")
SCRIPT(build, tutorials, "tutorials.sh")
SCRIPT(build, docs, "docs.sh")
SCRIPT(build, diagrams, "diagrams.sh")
SCRIPT(build, pages, "pages.sh")
SCRIPT(build, spelling_mistakes, "spelling.sh codespell")
SCRIPT(build, spelling_words, "spelling.sh hunspell")
SCRIPT(build, demo, "demo.sh")
SCRIPT(build, demo_linux, "demo_linux.sh")
SCRIPT(build, bench_guests, "bench_guests.sh")
SCRIPT(build, runner, "runner.sh")

SCRIPT(bindings, cpp_gcc, "bindings_cpp.sh g++")
SCRIPT(bindings, cpp_clang, "bindings_cpp.sh clang++")
SCRIPT(bindings, python, "bindings_python.sh")
SCRIPT(bindings, rust, "bindings_rust.sh")
SCRIPT(bindings, go, "bindings_go.sh")
SCRIPT(bindings, windows, "windows.sh")
SCRIPT(build, other_systems, "other_systems.sh")

SCRIPT(examples, all_are_run, "examples.sh")
SCRIPT(examples, build_by_their_lines, "examples_build.sh")
#define EXAMPLE(name) SCRIPT(examples, name, "examples.sh " #name)
EXAMPLE(custom_policy)
EXAMPLE(device_loop)
EXAMPLE(four_transports)
EXAMPLE(guest_driver)
EXAMPLE(migration_skip)
EXAMPLE(mmio_balloon)
EXAMPLE(policy_test)
EXAMPLE(residency_audit)
EXAMPLE(static_memory)
EXAMPLE(tracker_alone)

SCRIPT(fuzz, corpora, "fuzz.sh")
SCRIPT(build, versions_agree, "versions.sh")
SCRIPT(hostile, work_is_bounded_by_the_bytes_sent, "steps.sh")
