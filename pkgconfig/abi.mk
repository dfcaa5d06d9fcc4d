# What programs built against the last release count on: pkgconfig/abi has it, docs/abi.md the rules.
ABI := pkgconfig/abi
.PHONY: abi abi-update
## Compare the shared library with the last release's, by abidiff; OLD=revision: run that one's programs on it
abi: $(SO)
	$(Q)CC="$(CC)" $(ABI)/abi.sh compare $(SO) || [ $$? -eq 77 ]
	$(if $(OLD),$(Q)$(TEST_ENV) tests/checks/old_consumer.sh $(OLD))

## At a release: write down the ABI of the shared library
abi-update: $(SO)
	$(Q)CC="$(CC)" $(ABI)/abi.sh update $(SO)
