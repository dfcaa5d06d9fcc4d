# "make deb": Debian's packages, by the files in pkgconfig/debian, from the tarball of "make dist".
.PHONY: deb
## Build Debian packages in build/deb; needs debhelper and the Build-Depends of pkgconfig/debian/control
deb: dist
	$(Q)pkgconfig/deb.sh $(DIST_FILE) $(VERSION) $(BUILD)/deb

# Longer: on each of these a Debian is made in which they are built, installed and removed.
PACKAGE_CHECKS = $(foreach s,$(SUITE),'packages.sh $(s)')
.PHONY: check-deb
## Build, install, use and remove the packages on a Debian just installed: SUITE=, as for check-fresh
check-deb:
	$(Q)tests/checks/each.sh $(PACKAGE_CHECKS)
