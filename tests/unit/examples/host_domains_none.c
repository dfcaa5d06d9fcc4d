/* balloon-host where it was built without libvirt, in place of the tests with it. */
#include "host/host.h"

#include <criterion/criterion.h>

#include <string.h>

Test(host_domains, says_that_it_was_built_without_libvirt)
{
    static struct config config;
    static struct host host;
    const char *wrong;

    config_init(&config);
    cr_assert(config_parse(&config, "guests = qemu:///system web-*\n"));
    wrong = host_init(&host, &config);
    cr_assert_not_null(wrong);
    cr_assert_not_null(strstr(wrong, "built without libvirt"), "%s", wrong);
}

Test(host_domains, domains)
{
    cr_skip_test("balloon-host is built without libvirt (package libvirt-dev)");
}
