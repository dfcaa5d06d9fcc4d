# "make install" and its opposite. Everything goes below DESTDIR and one of these directories, which
# have GNU's names and defaults.
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
datarootdir ?= $(prefix)/share
datadir ?= $(datarootdir)
mandir ?= $(datarootdir)/man
docdir ?= $(datarootdir)/doc/libballoon
pkgconfigdir ?= $(libdir)/pkgconfig
cmakedir ?= $(libdir)/cmake/balloon
completionsdir ?= $(datadir)/bash-completion/completions

# What pkg-config and CMake read. Directories below prefix are found from the file's own place, so
# that all of it can be moved.
META := $(B)/install
below = $(patsubst $(prefix)/%,$(2)/%,$(1))
CMAKE_UP = $(subst $() ,/,$(patsubst %,..,$(subst /, ,$(patsubst $(prefix)/%,%,$(cmakedir)))))
CMAKE_PREFIX = $(if $(filter $(prefix)/%,$(cmakedir)),$${_balloon_here}/$(CMAKE_UP),$(prefix))
$(META)/%: pkgconfig/%.in FORCE
	$(Q)mkdir -p $(@D) && sed -e 's|@version@|$(VERSION)|' -e 's|@major@|$(MAJOR)|' \
		-e 's|@prefix@|$(prefix)|' -e 's|@libdir@|$(call below,$(libdir),$${prefix})|' \
		-e 's|@includedir@|$(call below,$(includedir),$${prefix})|' \
		-e 's|@cmake_prefix@|$(CMAKE_PREFIX)|' \
		-e 's|@cmake_libdir@|$(call below,$(libdir),$${_balloon_prefix})|' \
		-e 's|@cmake_includedir@|$(call below,$(includedir),$${_balloon_prefix})|' $< >$@

# What a distribution looks for under these names.
$(META)/CHANGELOG: docs/changelog.md
$(META)/SECURITY: docs/security.md
$(META)/CHANGELOG $(META)/SECURITY:
	$(Q)mkdir -p $(@D) && sed -e 's/ {#[a-z_]*}$$//' -e 's/@ref \([a-z_]*\)/"\1" in the manual/g' $< >$@

# Manual pages: a header, a program each, and the overview. Functions and types are links to theirs.
RELEASED = $(shell sed -n '/^\#.*$(VERSION)/s/.*\([0-9]\{4\}-[0-9][0-9]-[0-9][0-9]\).*/\1/p' \
	docs/changelog.md 2>/dev/null)
MAN := $(B)/man
MAN_HEADERS := $(filter-out %/export.h %/balloon.h,$(filter %.h,$(HEADERS)))
MAN_PAGES := $(MAN_HEADERS:include/balloon/%.h=$(MAN)/man3/balloon_%.3) $(MAN)/man7/libballoon.7
MAN_LINKS = $(shell awk -v links=1 -f pkgconfig/man.awk $(MAN_HEADERS))
.PHONY: man
## Make the manual pages in build/man
man: $(MAN_PAGES) $(patsubst docs/man/%,$(MAN)/man1/%,$(wildcard docs/man/*.1))
	$(Q)ln -sfn $(KEY)/man $(BUILD)/man
$(MAN_PAGES): $(MAN)/made ;
$(MAN)/made: $(MAN_HEADERS) docs/mainpage.md docs/changelog.md pkgconfig/man.awk pkgconfig/install.mk
	$(call say,MAN,$(MAN))
	$(Q)mkdir -p $(MAN)/man3 $(MAN)/man7
	$(Q)awk -v version=$(VERSION) -v date=$(RELEASED) -v out=$(MAN) -f pkgconfig/man.awk \
		docs/mainpage.md $(MAN_HEADERS) && touch $@
$(MAN)/man1/%.1: docs/man/%.1 FORCE
	$(Q)mkdir -p $(@D) && sed -e 's|@version@|$(VERSION)|' -e 's|@date@|$(RELEASED)|' $< >$@

# Every file: its mode, where it is, where it goes. balloon-host is there where it could be built.
PROGRAMS := $(call tool,bench/balloon_sim.c) $(HOST)
field = $(word $(1),$(subst :, ,$(2)))
put = $(foreach f,$(3),$(2):$(f):$(1)/$(notdir $(f)))
INSTALLED = $(call put,$(includedir)/balloon,644,$(HEADERS)) \
	$(call put,$(libdir),644,$(A) $(SO)) \
	$(call put,$(pkgconfigdir),644,$(META)/libballoon.pc) \
	$(call put,$(cmakedir),644,$(META)/balloon-config.cmake $(META)/balloon-config-version.cmake) \
	$(call put,$(bindir),755,$(PROGRAMS)) \
	$(call put,$(completionsdir),644,$(patsubst %,pkgconfig/completion/%,$(notdir $(PROGRAMS)))) \
	$(call put,$(mandir)/man1,644,$(patsubst %,$(MAN)/man1/%.1,$(notdir $(PROGRAMS)))) \
	$(call put,$(mandir)/man3,644,$(filter %.3,$(MAN_PAGES))) \
	$(call put,$(mandir)/man7,644,$(filter %.7,$(MAN_PAGES))) \
	$(call put,$(docdir),644,README.md LICENSE $(META)/CHANGELOG $(META)/SECURITY) \
	$(call put,$(docdir)/examples,644,docs/examples/README.md docs/examples/Makefile \
		$(sort $(wildcard docs/examples/*.[ch]))) \
	$(call put,$(docdir)/examples/host,644,$(sort $(wildcard docs/examples/host/*.*)))
# Links: what they name, and where they are.
INSTALLED_LINKS = $(foreach l,$(SO_LINKS),$(notdir $(SO)):$(libdir)/$(l)) \
	$(foreach l,$(MAN_LINKS),$(call field,1,$(l)).3:$(mandir)/man3/$(call field,2,$(l)).3)
# Directories of this library's alone, inner ones first.
OWN_DIRECTORIES = $(includedir)/balloon $(cmakedir) $(docdir)/examples/host $(docdir)/examples $(docdir)

.PHONY: install uninstall
## Install below DESTDIR and prefix; bindir, libdir, mandir, docdir and so on as usual
install: $(foreach f,$(INSTALLED),$(call field,2,$(f)))
	$(Q)umask 022; for d in $(sort $(dir $(foreach f,$(INSTALLED),$(call field,3,$(f))))); do \
		$(INSTALL) -d "$(DESTDIR)$$d" || exit 1; done; \
	for f in $(INSTALLED); do m=$${f%%:*}; f=$${f#*:}; \
		$(INSTALL) -m $$m "$${f%%:*}" "$(DESTDIR)$${f#*:}" || exit 1; done; \
	for l in $(INSTALLED_LINKS); do ln -sf "$${l%%:*}" "$(DESTDIR)$${l#*:}" || exit 1; done
	@[ -n "$(DESTDIR)" ] || \
		echo 'Installed in $(prefix); if programs do not find the library there, run ldconfig as root'

## Remove what install has put there
uninstall:
	$(Q)for f in $(INSTALLED) $(INSTALLED_LINKS); do rm -f "$(DESTDIR)$${f##*:}"; done; \
	for d in $(OWN_DIRECTORIES); do rmdir "$(DESTDIR)$$d" 2>/dev/null || :; done
