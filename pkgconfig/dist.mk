# The tarball of a release: HEAD of a git tree, and a meson.build, so that it can be a subproject. Equal
# commits give equal bytes.
DIST := libballoon-$(VERSION)
DIST_FILE := $(BUILD)/$(DIST).tar.gz
DIST_TREE := $(BUILD)/dist/$(DIST)
.PHONY: dist
## Make the tarball of HEAD: build/libballoon-<version>.tar.gz
dist:
	@git rev-parse -q --verify HEAD >/dev/null || { echo 'dist: this is not a git tree'; exit 1; }
	@[ -z "$$(git status --porcelain -uno)" ] || echo 'dist: what is not committed is left out' >&2
	$(Q)rm -rf $(BUILD)/dist && mkdir -p $(BUILD)/dist
	$(Q)git archive --format=tar --prefix=$(DIST)/ HEAD | tar -xf - -C $(BUILD)/dist
	$(Q)$(MAKE) --no-print-directory -C $(DIST_TREE) BUILD=build meson.build
	$(Q)rm -rf $(DIST_TREE)/build
	$(Q)tar -C $(BUILD)/dist --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
		--mtime=@$$(git log -1 --format=%ct) -cf - $(DIST) | gzip -n9 >$(DIST_FILE)
	$(Q)rm -rf $(BUILD)/dist
	@echo $(DIST_FILE)

# Meson knows no lists of its own.
meson.build: pkgconfig/meson.build.in
	$(Q)sed -e 's|@version@|$(VERSION)|' -e 's|@major@|$(MAJOR)|' \
		-e 's|@sources@|$(foreach s,$(LIB_SRC),  '\''$(s)'\'',\n)|' $< >$@
