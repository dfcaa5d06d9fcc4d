# All of the library as two files, for guests and small VMMs: build/amalgamation/balloon.[ch].
AMALGAMATION := $(BUILD)/amalgamation
.PHONY: amalgamation check-amalgamation
## Make one file of all headers and one of all sources: build/amalgamation/balloon.[ch]
amalgamation: $(AMALGAMATION)/balloon.h $(AMALGAMATION)/balloon.c
$(AMALGAMATION)/balloon.h: $(filter %.h,$(HEADERS))
$(AMALGAMATION)/balloon.c: $(LIB_SRC) $(wildcard lib/*/*.h) $(B)/lib.list
$(AMALGAMATION)/balloon.h $(AMALGAMATION)/balloon.c: pkgconfig/amalgamate.awk LICENSE include/balloon/version.h
	$(call say,JOIN,$@)
	$(Q)mkdir -p $(@D) && awk -v version=$(VERSION) -v licence=LICENSE -f pkgconfig/amalgamate.awk \
		$(if $(filter %.h,$@),$(filter %.h,$(HEADERS)),$(LIB_SRC)) >$@

# The tests see what the files of lib share.
AMALGAMATED_TESTS := $(B)/bin/tests-amalgamation
$(B)/amalgamation.o: $(AMALGAMATION)/balloon.c $(AMALGAMATION)/balloon.h
	$(call say,CC,$<)
	$(Q)$(COMPILE) $(LIB_FLAGS) -DBALLOON_INTERNAL= -DBALLOON_INTERNAL_DATA= -c $< -o $@
$(AMALGAMATED_TESTS): $(call objects,$(TEST_SRC)) $(B)/examples.a $(HOST_PARTS) $(B)/amalgamation.o
	$(LINK)
	$(Q)$(LINK_CMD) $(CRITERION_LIBS) $(HOST_LIBS) $(LDLIBS)

## Run the tests with these two files as the library
check-amalgamation: $(AMALGAMATED_TESTS) test-programs
	$(Q)$(TEST_ENV) tests/run.sh $(AMALGAMATED_TESTS) $(call quote,$(or $(T),!(build|bindings|examples|fuzz)/*))
