/* SPDX-License-Identifier: MIT */
/* resolv.conf: which nameserver is found in the host's, and what a command gets to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "../../../cli/resolv.h"

static void the_first_usable_nameserver_is_found(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: none */
    } rows[] = {
        {"", NULL},
        {"# nameserver 192.0.2.1\n", NULL},
        {"nameserver 192.0.2.1\n", "192.0.2.1:53"},
        {"nameserver 192.0.2.1", "192.0.2.1:53"},
        {"nameserver\t192.0.2.1 \r\n", "192.0.2.1:53"},
        {"search x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n", "127.0.0.53:53"},
        {"nameserver 2001:db8::1\n", "[2001:db8::1]:53"},
        {"nameserver name.example\nnameserver 192.0.2.1\n", "192.0.2.1:53"},
        {"nameserver fe80::1%nonesuch0\nnameserver 192.0.2.1\n", "192.0.2.1:53"},
        {"nameserver 0.0.0.0\nnameserver 192.0.2.1\n", "192.0.2.1:53"},
        {"nameserver ::\nnameserver 192.0.2.1\n", "192.0.2.1:53"},
        {"nameserver\n192.0.2.1\n", NULL},
        {"nameserver \n192.0.2.1\n", NULL},
        {"nameserver192.0.2.1\n", NULL},
        {"nameserver", NULL},
        {"\n\n\nnameserver ::1\n", "[::1]:53"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        adit_addr a = {0};
        char text[ADIT_ADDR_TEXT];
        assert_int_equal(resolv_nameserver(rows[i].text, &a), rows[i].want != NULL);
        if (!rows[i].want)
            continue;
        adit_addr_format(&a, text, sizeof(text));
        assert_string_equal(text, rows[i].want);
    }
}

static void a_word_too_long_for_an_address_is_passed_over(void **state)
{
    char text[600] = "nameserver ";
    adit_addr a;
    (void)state;
    memset(text + 11, '1', 500);
    strcpy(text + 511, "\nnameserver 192.0.2.1\n");
    assert_true(resolv_nameserver(text, &a));
    assert_int_equal(a.ip[12], 192);
}

static void the_hosts_nameservers_are_replaced_and_its_search_is_kept(void **state)
{
    char out[RESOLV_TEXT_BYTES];
    (void)state;
    resolv_compose(out, "192.0.0.2",
                   "nameserver 10.1.1.1\n# search not\nsearch a b\noptions ndots:2\nsortlist x",
                   false);
    assert_string_equal(out, "# made by adit for this command\nnameserver 192.0.0.2\n"
                             "search a b\noptions ndots:2\n");
    resolv_compose(out, "192.0.0.2", "domain c", true);
    assert_string_equal(out, "# made by adit for this command\nnameserver 192.0.0.2\n"
                             "options use-vc\ndomain c");
}

static void what_does_not_fit_is_left_out_whole(void **state)
{
    char host[2 * RESOLV_TEXT_BYTES], out[RESOLV_TEXT_BYTES];
    (void)state;
    memset(host, 'x', sizeof(host));
    memcpy(host, "search ", 7);
    strcpy(host + RESOLV_TEXT_BYTES, "\ndomain d\n");
    resolv_compose(out, "192.0.0.2", host, false);
    assert_string_equal(out, "# made by adit for this command\nnameserver 192.0.0.2\ndomain d\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_usable_nameserver_is_found),
        cmocka_unit_test(a_word_too_long_for_an_address_is_passed_over),
        cmocka_unit_test(the_hosts_nameservers_are_replaced_and_its_search_is_kept),
        cmocka_unit_test(what_does_not_fit_is_left_out_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
