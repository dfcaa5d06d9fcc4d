/* In place of the tests of balloon-host, where it is not built. */
#include <criterion/criterion.h>

Test(host, balloon_host)
{
    cr_skip_test("balloon-host is not built: no jansson (package libjansson-dev)");
}
