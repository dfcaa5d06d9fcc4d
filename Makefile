# libballoon: one Makefile for everything. "make help" lists what it can do.
#
# Objects live in build/<key>/, where <key> is a hash of the compiler and of all flags, so nothing is
# ever stale and builds with different flags stand side by side. build/lib and build/bin point to
# the last "make all".

# Packages decide what the rest of this file finds, so in "make deps check" install first, then
# start again; also under -j.
REST := $(filter-out deps,$(MAKECMDGOALS))
ifneq ($(and $(filter deps,$(MAKECMDGOALS)),$(REST)),)
.NOTPARALLEL:
.PHONY: deps $(REST)
deps:
	+@$(MAKE) --no-print-directory deps
$(REST): deps
	+@$(MAKE) --no-print-directory $@
else

# ---- What the user may set -------------------------------------------------------------------------
CFLAGS ?= -O2 -g
prefix ?= /usr/local
BUILD ?= build
# make check: only the tests that match, as in T=tracker or T='tracker/take_*'.
T ?=
# make lint: warnings are errors.
WERROR ?=

INSTALL ?= install
PKG_CONFIG ?= pkg-config
CLANG_FORMAT ?= clang-format
# The sources are worded so that all of these agree about them.
CLANG_FORMAT_OLDEST := 14
CLANG_FORMAT_NEWEST := 21

V ?= 0
ifeq ($(V),0)
Q := @
# On standard error, so that the output of benchmarks and demos can be piped.
say = @printf '  %-5s %s\n' '$(1)' '$(2)' >&2
endif

# ---- Flags: the user's come last, except where the library cannot do without ------------------------
WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow $(if $(WERROR),-Werror)
HOSTED := -D_GNU_SOURCE
COMPILE = $(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) -std=c11 -Iinclude -MMD -MP
# One set of objects serves both libraries. Nobody may replace one exported function by his own, so
# the compiler may inline them in spite of -fPIC.
LIB_FLAGS := -fPIC -fvisibility=hidden -fno-semantic-interposition
TEST_FLAGS := $(HOSTED) -Itests/support -Idocs/examples
CRITERION_LIBS := $(or $(shell $(PKG_CONFIG) --libs criterion 2>/dev/null),-lcriterion)
HAVE_ROARING := $(shell echo '\#include <roaring/roaring.h>' | $(CC) -E - >/dev/null 2>&1 && echo yes)
BENCH_FLAGS := $(HOSTED) $(if $(HAVE_ROARING),-DHAVE_ROARING)
BENCH_LIBS := $(if $(HAVE_ROARING),-lroaring)
# A guest without an operating system, whatever the host's flags are.
METAL_FLAGS := $(WARN) -std=c11 -Itests/guest/metal -Iinclude -Os -ffreestanding -mno-red-zone \
	-mgeneral-regs-only -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables \
	-ffunction-sections
METAL_LINK := -static -nostdlib -Wl,--gc-sections -Wl,-z,noexecstack -Wl,--build-id=none
HAVE_METAL := $(shell echo 'int start[__x86_64__ * __LP64__];' | \
	$(CC) $(METAL_FLAGS) $(METAL_LINK) -x c - -o /dev/null 2>/dev/null && echo yes)
# Set by "make fuzz": link the fuzz targets to libFuzzer instead of to the replayer of corpora.
FUZZER :=

quote = '$(subst ','\'',$(1))'
KEY := $(shell { $(CC) --version 2>&1; printf '%s\n' $(call quote,$(COMPILE) $(LIB_FLAGS) \
	$(TEST_FLAGS) $(BENCH_FLAGS) $(METAL_FLAGS) $(METAL_LINK) $(LDFLAGS) $(FUZZER)); } | cksum | cut -d' ' -f1)
B := $(BUILD)/$(KEY)

version_part = $(shell sed -n 's/^\#define BALLOON_VERSION_$(1)  *\([0-9]*\).*/\1/p' \
	include/balloon/version.h)
MAJOR := $(call version_part,MAJOR)
VERSION := $(MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

# ---- What there is to build ------------------------------------------------------------------------
LIB_SRC := $(sort $(wildcard lib/*.c lib/*/*.c))
TEST_SRC := $(sort $(wildcard $(patsubst %,tests/%/*.c,unit unit/* golden model oracle hostile loop guest differential policy build support)))
EXAMPLE_SRC := $(sort $(wildcard docs/examples/*.c))
# The manager for QEMU wants a library for JSON, and so do its tests.
HAVE_JANSSON := $(shell echo 'int main(void) { return !json_true(); }' | \
	$(CC) -include jansson.h -x c - -o /dev/null -ljansson 2>/dev/null && echo yes)
# With libvirt it knows domains, too.
HAVE_LIBVIRT := $(if $(HAVE_JANSSON),$(shell echo 'int main(void) { return virInitialize(); }' | \
	$(CC) -include libvirt/libvirt.h -x c - -o /dev/null -lvirt 2>/dev/null && echo yes))
HOST_SRC := $(if $(HAVE_JANSSON),$(sort $(filter-out \
	$(if $(HAVE_LIBVIRT),%/domains_none.c,%/domain.c %/domains.c),$(wildcard docs/examples/host/*.c))))
override TEST_SRC := $(filter-out $(if $(HAVE_JANSSON),%/host_missing.c \
	$(if $(HAVE_LIBVIRT),%/host_domains_none.c,%/host_domains.c),\
	$(filter-out %/host_missing.c,$(wildcard tests/unit/examples/host_*.c))),$(TEST_SRC))
BENCH_SRC := $(sort $(wildcard bench/*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/*.c))
LINUX_DEMO_SRC := $(filter-out tests/guest/demo/qemu_%,$(sort $(wildcard tests/guest/demo/*.c)))
QEMU_DEMO_SRC := $(if $(HAVE_JANSSON),$(sort $(wildcard tests/guest/demo/qemu_*.c)))
GUEST_BENCH_SRC := $(sort $(wildcard tests/guest/bench/*.c))
METAL_SRC := $(filter lib/core/% lib/driver/% lib/virtio/%,$(LIB_SRC)) \
	$(sort $(wildcard tests/guest/metal/*.c))
ALL_SRC := $(LIB_SRC) $(TEST_SRC) $(EXAMPLE_SRC) $(HOST_SRC) $(BENCH_SRC) $(FUZZ_SRC) $(LINUX_DEMO_SRC) $(QEMU_DEMO_SRC) $(GUEST_BENCH_SRC)
HEADERS := $(sort $(wildcard include/balloon/*.h include/balloon/*.hpp))

objects = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIB_OBJ := $(call objects,$(LIB_SRC))
# Programs in bench/ and tests/fuzz/ are bench_*.c and fuzz_*.c, in docs/examples those with a main
# and, where tests are built, those with a test; what else lies there they share. The programs about
# policies are in bench/, too, but tools.
EXAMPLE_MAIN := $(shell grep -l '^int main\>' $(EXAMPLE_SRC) /dev/null)
EXAMPLE_TEST := $(shell grep -l '^.include <criterion' $(EXAMPLE_SRC) /dev/null)
EXAMPLE_PARTS := $(call objects,$(filter-out $(EXAMPLE_MAIN) $(EXAMPLE_TEST),$(EXAMPLE_SRC)))
TOOL_MAIN := $(filter bench/balloon_sim.c bench/policy_report.c bench/plot_bars.c,$(BENCH_SRC))
BENCH_OBJ := $(call objects,$(filter-out bench/bench_% $(TOOL_MAIN),$(BENCH_SRC)))
REPLAY_OBJ := $(if $(FUZZER),,$(call objects,$(filter-out tests/fuzz/fuzz_%,$(FUZZ_SRC))))

A := $(B)/lib/libballoon.a
SO := $(B)/lib/libballoon.so.$(VERSION)
SO_LINKS := libballoon.so.$(MAJOR) libballoon.so
SO_NAME := -soname,libballoon.so.$(MAJOR)
# For Windows it is a DLL, which the same list of exports holds for, and a library to link by.
ifneq ($(findstring mingw,$(shell $(CC) -dumpmachine 2>/dev/null)),)
SO := $(B)/lib/libballoon-$(MAJOR).dll
SO_LINKS :=
SO_NAME := --out-implib,$(B)/lib/libballoon.dll.a
endif
TESTS := $(B)/bin/tests
EXAMPLES := $(patsubst docs/examples/%.c,$(B)/bin/examples/%,$(EXAMPLE_MAIN))
EXAMPLE_TESTS := $(patsubst docs/examples/%.c,$(B)/bin/examples/%,$(EXAMPLE_TEST))
BENCHES := $(patsubst bench/%.c,$(B)/bin/bench/%,$(filter bench/bench_%,$(BENCH_SRC)))
tool = $(B)/bin/$(subst _,-,$(basename $(notdir $(1))))
TOOLS := $(foreach t,$(TOOL_MAIN),$(call tool,$(t)))
LINUX_DEMOS := $(B)/bin/linux_pool $(B)/bin/linux_demo
QEMU_DEMO := $(if $(HAVE_JANSSON),$(B)/bin/qemu_demo)
GUEST_BENCH := $(B)/bin/guest_bench
HOST_MAIN := docs/examples/host/balloon_host.c
HOST_PARTS := $(call objects,$(filter-out $(HOST_MAIN),$(HOST_SRC)))
HOST := $(if $(HAVE_JANSSON),$(B)/bin/balloon-host)
HOST_LIBS := $(if $(HAVE_JANSSON),-ljansson) $(if $(HAVE_LIBVIRT),-lvirt -pthread)
POLICY_REPORT := $(call tool,bench/policy_report.c)
PLOT_BARS := $(call tool,bench/plot_bars.c)
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/bin/fuzz/%,$(filter tests/fuzz/fuzz_%,$(FUZZ_SRC)))
METAL_OBJ := $(if $(HAVE_METAL),$(METAL_SRC:%.c=$(B)/metal/%.o))
METAL := $(if $(HAVE_METAL),$(B)/metal/metal.elf)

# ---- Targets ---------------------------------------------------------------------------------------
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all check check-asan check-cross check-fresh check-all test-programs unit-tests objects \
	demo demo-linux demo-linux-one demo-qemu bench bench-qemu bench-uml bench-plot bench-policies tools fuzz fuzz-run docs diagrams examples format \
	lint coverage coverage-report sizes deps help balloon-host clean FORCE

## Build the static and the shared library (the default)
all: $(A) $(SO)
	$(Q)ln -sfn $(KEY)/lib $(BUILD)/lib && ln -sfn $(KEY)/bin $(BUILD)/bin

# What the tests need to know, whatever directory they are started in.
TEST_ENV = BALLOON_TOP=$(CURDIR) BALLOON_BUILD=$(abspath $(B))
unit-tests: $(TESTS)
test-programs: $(TESTS) $(FUZZERS) $(EXAMPLES) $(EXAMPLE_TESTS) $(TOOLS) $(HOST) $(METAL) $(LINUX_DEMOS) $(QEMU_DEMO) $(GUEST_BENCH) $(SO)

## Run the tests; T=pattern selects some, as in T=tracker or T='tracker/take_*'
check: test-programs
	$(Q)$(TEST_ENV) tests/run.sh $(TESTS) $(call quote,$(T))

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
## Run the tests under the address, leak and undefined behaviour sanitizers
check-asan:
	+$(Q)$(MAKE) --no-print-directory check CFLAGS="-O1 -g $(SANITIZE)" LDFLAGS="$(SANITIZE)"

## Run all there is: longer tests, sanitizers, other machines, benchmarks, lint
check-all:
	+$(Q)$(MAKE) --no-print-directory lint
	+$(Q)$(MAKE) --no-print-directory bench
	+$(Q)BALLOON_CHECK_ALL=1 $(MAKE) --no-print-directory check-asan
	+$(Q)BALLOON_CHECK_ALL=1 $(MAKE) --no-print-directory check
	+$(Q)$(MAKE) --no-print-directory check-amalgamation
	$(Q)BALLOON_CHECK_ALL=1 tests/checks/each.sh 'amalgamation.sh clang clang++' $(INSTRUCTION_CHECKS) $(CROSS_CHECKS) $(FRESH_CHECKS) \
		$(PACKAGE_CHECKS)

# Slow paths fail here, whatever else the machine does.
INSTRUCTION_CHECKS := 'instructions.sh gcc' 'instructions.sh clang'
CROSS_CHECKS := $(foreach m,s390x arm,'cross.sh $(m)')
## Run the tests on emulated machines: s390x (big-endian) and arm (32 bits)
check-cross:
	$(Q)tests/checks/each.sh $(CROSS_CHECKS)

SUITE ?= bookworm trixie sid
FRESH_CHECKS = $(foreach s,$(SUITE),'fresh.sh $(s)')
## Do what the README says on a Debian just installed: SUITE=bookworm, trixie, sid or several
check-fresh:
	$(Q)tests/checks/each.sh $(FRESH_CHECKS)

## Compile everything, tests and examples too, without linking
objects: $(call objects,$(ALL_SRC)) $(METAL_OBJ)

## Show the library at work; needs a C compiler and make only
demo: $(B)/bin/examples/demo
	$(Q)$<

## Show it with two real Linux guests; needs user-mode-linux and busybox-static
demo-linux: $(B)/bin/linux_pool $(EXAMPLES)
	$(Q)$(TEST_ENV) $< $(BUILD)/demo-linux.svg

## Show one real Linux guest: ballooning and free page reporting
demo-linux-one: $(B)/bin/linux_demo $(EXAMPLES)
	$(Q)$(TEST_ENV) $<

## Show balloon-host with three guests in QEMU; CONTROLLER=policy, CONTROLLERS=all
demo-qemu: $(QEMU_DEMO) $(HOST)
	$(if $(QEMU_DEMO),,@echo 'SKIP: no jansson (package libjansson-dev)')
	$(if $(QEMU_DEMO),$(Q)$(TEST_ENV) $< $(BUILD)/demo-qemu.svg $(BUILD)/demo-qemu.log)

# make bench: only the cases with this in their names.
CASE ?=
RUN_BENCHES = set -e; for b in $(BENCHES); do $$b $(call quote,$(CASE)); done
## Run the benchmarks, a JSON object a line; CASE=inflate/d: cases with that in their names
bench: $(BENCHES)
	$(Q)$(RUN_BENCHES)

# How often each device is booted; figures are medians.
ROUNDS ?= 3
## Compare QEMU's own balloon with ours in real guests, JSON too; BALLOON_QEMU names a QEMU (11.1)
bench-qemu: $(GUEST_BENCH) $(EXAMPLES)
	$(Q)$(TEST_ENV) $< qemu $(call quote,$(ROUNDS))

## Compare ways of discarding in real guests of user-mode Linux, JSON too
bench-uml: $(GUEST_BENCH) $(EXAMPLES)
	$(Q)$(TEST_ENV) $< uml $(call quote,$(ROUNDS))

## Draw what they say, as bars beside the cost of reading: build/bench/*.svg and lines.json
bench-plot: $(BENCHES) $(PLOT_BARS)
	$(Q)mkdir -p $(BUILD)/bench && rm -f $(BUILD)/bench/*.svg
	$(Q){ $(RUN_BENCHES); } >$(BUILD)/bench/lines.json
	$(Q)$(PLOT_BARS) $(BUILD)/bench <$(BUILD)/bench/lines.json

## Compare the policies in all scenarios: build/policies/report.html and report.json
bench-policies: $(POLICY_REPORT)
	$(Q)$< --out $(BUILD)/policies

## Build the simulator and the comparison as programs: balloon-sim and policy-report in build/bin
tools: $(TOOLS) all

TIME ?= 60
## Fuzz each target by libFuzzer for TIME seconds (60)
fuzz:
	+$(Q)$(MAKE) --no-print-directory fuzz-run CC=clang FUZZER=-fsanitize=fuzzer \
		CFLAGS="-O1 -g -fsanitize=fuzzer-no-link $(SANITIZE)" LDFLAGS="$(SANITIZE)"
fuzz-run: $(FUZZERS)
	$(Q)set -e; for f in $^; do mkdir -p $(BUILD)/corpus/$${f##*/fuzz_}; \
		$$f -max_total_time=$(TIME) $(BUILD)/corpus/$${f##*/fuzz_} tests/fuzz/corpus/$${f##*/fuzz_}; \
	done

## Build the examples in docs/examples
examples: $(EXAMPLES) balloon-host

## Build the manager for QEMU guests: balloon-host in build/bin; needs libjansson-dev, better libvirt-dev too
balloon-host: $(HOST) all
	$(if $(HOST),,@echo 'Not built: balloon-host, for want of jansson (package libjansson-dev)')

## Build the manual in build/docs; any warning is an error
docs:
	@command -v doxygen >/dev/null || { echo 'docs: doxygen is missing, try "make deps"'; exit 1; }
	$(call say,DOC,$(BUILD)/docs/html/index.html)
	$(Q)mkdir -p $(BUILD)/docs
	$(Q)awk -v folder=docs/examples -f docs/site/examples.awk \
		docs/examples/*.[ch] docs/examples/host/*.[ch] >$(BUILD)/docs/examples.dox
	$(Q)doxygen -l $(BUILD)/docs/layout.new && \
		sed -f docs/site/layout.sed $(BUILD)/docs/layout.new >$(BUILD)/docs/layout.xml
	$(Q)(cat docs/Doxyfile; echo 'LAYOUT_FILE = $(BUILD)/docs/layout.xml'; echo 'PROJECT_NUMBER = $(VERSION)'; \
		echo 'INPUT += $(BUILD)/docs/examples.dox'; echo 'STRIP_FROM_PATH += $(BUILD)'; \
		if doxygen -g - | grep -q '^IMPLICIT_DIR_DOCS'; then echo 'IMPLICIT_DIR_DOCS = NO'; fi; \
		echo 'OUTPUT_DIRECTORY = $(BUILD)/docs') | doxygen -

## Draw docs/diagrams/*.svg again, from the texts beside them
diagrams:
	$(Q)set -e; for t in docs/diagrams/*.txt; do \
		awk -f docs/diagrams/sequence.awk $$t >$${t%.txt}.svg; done

include pkgconfig/install.mk pkgconfig/abi.mk pkgconfig/dist.mk pkgconfig/amalgamation.mk pkgconfig/deb.mk

FORMATTED = $(ALL_SRC) $(HEADERS) $(wildcard lib/*/*.h tests/*/*.h tests/unit/*/*.h tests/checks/*.c tests/cross/*.c tests/cross/*/*.h tests/guest/bench/*.h tests/*/image/*.c tests/*/metal/*.[ch] docs/examples/*.h docs/examples/host/*.h bench/*.h tests/bindings/*.c tests/bindings/*.cc docs/bindings/cpp/*.cc)
## Lay out all sources as .clang-format says
format:
	$(Q)$(CLANG_FORMAT) -i $(sort $(FORMATTED))

## Check the layout, and compile everything by gcc and clang with warnings as errors
lint:
	$(Q)v=$$($(CLANG_FORMAT) --version 2>/dev/null | sed 's/.*version \([0-9]*\).*/\1/'); \
	if [ "$${v:-0}" -ge $(CLANG_FORMAT_OLDEST) ] && [ "$$v" -le $(CLANG_FORMAT_NEWEST) ]; then \
		echo "Layout, by clang-format $$v" && \
		$(CLANG_FORMAT) --dry-run -Werror $(sort $(FORMATTED)); \
	else echo "Skipped: layout, for want of a clang-format from" \
		"$(CLANG_FORMAT_OLDEST) to $(CLANG_FORMAT_NEWEST) (here: $${v:-none})"; fi
	+$(Q)$(MAKE) --no-print-directory objects CC=gcc WERROR=1
	+$(Q)$(MAKE) --no-print-directory objects CC=clang WERROR=1

## Lines and branches of lib/ (without lib/os) that the tests reach
coverage:
	+$(Q)$(MAKE) --no-print-directory coverage-report CC=gcc CFLAGS='-O0 -g --coverage'
coverage-report: test-programs
	$(Q)find $(B) -name '*.gcda' -delete
	$(Q)$(TEST_ENV) tests/run.sh $(TESTS) '!(build)/*'
	$(Q)gcovr --root . --filter lib/ --exclude lib/os/ --exclude-throw-branches $(B)/obj/lib \
		--txt $(BUILD)/coverage.txt --print-summary

## Sizes of the library by module, and of what a guest kernel needs of it
sizes:
	$(Q)tests/checks/sizes.sh

DEPS := libcriterion-dev pkg-config clang clang-format g++ doxygen gcovr libroaring-dev \
	user-mode-linux busybox-static qemu-system-x86 qemu-user libjansson-dev libvirt-dev valgrind \
	codespell hunspell hunspell-en-us \
	cmake meson mandoc abigail-tools
# Other compilers, each with its C library. One that does not go with what is installed, as all but
# musl's with gcc-multilib, is left out.
CROSS_DEPS := 'gcc-s390x-linux-gnu libc6-dev-s390x-cross' \
	'gcc-arm-linux-gnueabihf libc6-dev-armhf-cross' 'gcc-aarch64-linux-gnu libc6-dev-arm64-cross' \
	'gcc-riscv64-linux-gnu libc6-dev-riscv64-cross' 'gcc-i686-linux-gnu libc6-dev-i386-cross' \
	gcc-mingw-w64-x86-64-win32 musl-tools
SUDO = $(if $(filter-out 0,$(shell id -u)),sudo)
APT_INSTALL = $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-remove --no-install-recommends
# The sanitizers of clang are a package named after its version.
CLANG_RT = apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$$/libclang-rt-\1-dev/p'
## Install what tests, manual and benchmarks need (Debian and Ubuntu)
deps:
	$(if $(shell command -v apt-get),,$(error No apt-get here. Please install what these Debian \
		packages hold: $(DEPS) $(subst ',,$(CROSS_DEPS))))
	$(Q)$(SUDO) apt-get update -qq
	$(Q)set -e; for p in $(DEPS) $$($(CLANG_RT)); do \
		if apt-cache show $$p >/dev/null 2>&1; then known="$$known $$p"; \
		else echo "Not in this distribution: $$p"; fi; done; $(APT_INSTALL) $$known
	$(Q)for p in $(CROSS_DEPS); do \
		$(APT_INSTALL) $$p || echo "Left out, so check-cross will skip it: $$p"; done
	$(Q)tests/guest/image/kernel.sh $(BUILD)/kernel

## List the targets
help:
	@awk '/^## / { text = substr($$0, 4) } \
		/^[a-z-]+:/ && text { sub(/:.*/, "", $$1); printf "  %-14s %s\n", $$1, text; text = "" }' \
		Makefile pkgconfig/*.mk

## Remove all that was built
clean:
	$(Q)rm -rf $(BUILD)

# ---- Rules -----------------------------------------------------------------------------------------
# A list of members, so that an archive or program is made again when a source file goes away.
$(B)/%.list: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(MEMBERS) | cmp -s - $@ || printf '%s\n' $(MEMBERS) >$@
$(B)/lib.list: MEMBERS = $(LIB_OBJ)
$(B)/tests.list: MEMBERS = $(TEST_SRC)
$(B)/examples.list: MEMBERS = $(EXAMPLE_PARTS)

$(A): $(LIB_OBJ) $(B)/lib.list
$(B)/examples.a: $(EXAMPLE_PARTS) $(B)/examples.list
%.a:
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && $(AR) qcs $@ $(filter %.o,$^)

$(SO): $(LIB_OBJ) $(B)/lib.list lib/libballoon.map
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,$(SO_NAME) -Wl,-Bsymbolic-functions \
		-Wl,--version-script=lib/libballoon.map -o $@ $(LIB_OBJ)
	$(Q)for l in $(SO_LINKS); do ln -sf $(@F) $(@D)/$$l; done

LINK = $(call say,LINK,$@)
LINK_CMD = mkdir -p $(@D) && $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^)
$(TESTS): $(call objects,$(TEST_SRC)) $(B)/examples.a $(HOST_PARTS) $(A) $(B)/tests.list
	$(LINK)
	$(Q)$(LINK_CMD) $(CRITERION_LIBS) $(HOST_LIBS) $(LDLIBS)
$(HOST): $(call objects,$(HOST_MAIN)) $(HOST_PARTS) $(A)
	$(LINK)
	$(Q)$(LINK_CMD) $(HOST_LIBS) $(LDLIBS)
$(EXAMPLE_TESTS): EXAMPLE_LIBS = $(CRITERION_LIBS)
$(B)/bin/examples/%: $(B)/obj/docs/examples/%.o $(B)/examples.a $(A)
	$(LINK)
	$(Q)$(LINK_CMD) $(EXAMPLE_LIBS) $(LDLIBS)
LINUX_GUEST_OBJ := $(call objects,tests/guest/guest.c tests/guest/keeper.c)
$(B)/bin/linux_demo: $(call objects,tests/guest/demo/linux_demo.c) $(LINUX_GUEST_OBJ)
$(B)/bin/linux_pool: $(call objects,$(filter-out %/linux_demo.c,$(LINUX_DEMO_SRC))) \
	$(LINUX_GUEST_OBJ) $(B)/examples.a $(A)
$(GUEST_BENCH): $(call objects,$(GUEST_BENCH_SRC)) $(LINUX_GUEST_OBJ)
$(LINUX_DEMOS) $(GUEST_BENCH):
	$(LINK)
	$(Q)$(LINK_CMD) $(LDLIBS)
$(QEMU_DEMO): $(call objects,$(QEMU_DEMO_SRC)) $(LINUX_GUEST_OBJ) $(HOST_PARTS) $(B)/examples.a $(A)
	$(LINK)
	$(Q)$(LINK_CMD) $(HOST_LIBS) $(LDLIBS)
$(B)/bin/bench/%: $(B)/obj/bench/%.o $(BENCH_OBJ) $(A)
	$(LINK)
	$(Q)$(LINK_CMD) $(BENCH_LIBS) $(LDLIBS) -lm
$(foreach t,$(TOOL_MAIN),$(eval $(call tool,$(t)): $(call objects,$(t)) $(BENCH_OBJ) $(A)))
$(TOOLS):
	$(LINK)
	$(Q)$(LINK_CMD) $(LDLIBS) -lm
$(B)/bin/fuzz/%: $(B)/obj/tests/fuzz/%.o $(REPLAY_OBJ) $(B)/examples.a $(A)
	$(LINK)
	$(Q)$(LINK_CMD) $(FUZZER) $(LDLIBS)

$(B)/metal/metal.elf: $(METAL_OBJ) tests/guest/metal/start.S tests/guest/metal/metal.ld
	$(LINK)
	$(Q)$(CC) $(METAL_FLAGS) $(METAL_LINK) -T $(filter %.ld,$^) -o $@ $(filter %.o %.S,$^)
$(B)/metal/%.o: %.c
	$(call say,CC,$< (metal))
	$(Q)mkdir -p $(@D) && $(CC) $(METAL_FLAGS) -MMD -MP -c $< -o $@

$(B)/obj/lib/%.o: PART_FLAGS = $(LIB_FLAGS)
$(B)/obj/lib/os/%.o: PART_FLAGS = $(LIB_FLAGS) $(HOSTED)
$(B)/obj/docs/examples/host/%.o: PART_FLAGS = $(HOSTED)
$(B)/obj/tests/%.o: PART_FLAGS = $(TEST_FLAGS)
$(B)/obj/bench/%.o: PART_FLAGS = $(BENCH_FLAGS)
$(B)/obj/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(COMPILE) $(PART_FLAGS) -c $< -o $@

-include $(patsubst %.o,%.d,$(call objects,$(ALL_SRC)) $(METAL_OBJ))
endif
