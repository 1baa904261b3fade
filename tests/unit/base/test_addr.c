/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <net/if.h>
#include <netinet/in.h>
#include "adit/base.h"

static void text_is_parsed_and_printed_again(void **state)
{
    static const struct {
        const char *in, *out;
        int family, port;
    } rows[] = {
        {"1.2.3.4", "1.2.3.4", 4, 0},
        {"1.2.3.4:5", "1.2.3.4:5", 4, 5},
        {"0.0.0.0:65535", "0.0.0.0:65535", 4, 65535},
        {"255.255.255.255:0", "255.255.255.255", 4, 0},
        {"::", "::", 6, 0},
        {"::1", "::1", 6, 0},
        {"[::1]", "::1", 6, 0},
        {"[::1]:5", "[::1]:5", 6, 5},
        {"::1:5", "::1:5", 6, 0},
        {"2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1", 6, 0},
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1", 6, 0},
        {"1:0:3:4:5:6:0:0", "1:0:3:4:5:6::", 6, 0},
        {"0:2:3:4:5:6:7:0", "0:2:3:4:5:6:7:0", 6, 0},
        {"0:0:3:4:5:6:7:8", "::3:4:5:6:7:8", 6, 0},
        {"::0.1.0.5", "::1:5", 6, 0},
        {"[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535", NULL, 6, 65535},
        {"::ffff:9.8.7.6", "9.8.7.6", 4, 0},
        {"[::ffff:9.8.7.6]:53", "9.8.7.6:53", 4, 53},
        {"fe80::1%7", "fe80::1%7", 6, 0},
        {"[fe80::1%2147483647]:80", "[fe80::1%2147483647]:80", 6, 80},
        {"ff02::fb%2", "ff02::fb%2", 6, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *out = rows[i].out ? rows[i].out : rows[i].in;
        char text[ADIT_ADDR_TEXT];
        adit_addr a, again;

        assert_int_equal(adit_addr_parse(&a, rows[i].in), ADIT_OK);
        assert_int_equal(a.family, rows[i].family);
        assert_int_equal(a.port, rows[i].port);
        assert_int_equal(adit_addr_format(&a, text, sizeof(text)), strlen(out));
        assert_string_equal(text, out);
        assert_int_equal(adit_addr_parse(&again, text), ADIT_OK);
        assert_memory_equal(&a, &again, sizeof(a));
    }
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const rows[] = {
        "", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4",
        "0x1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4:080", "1.2.3.4:5x",
        "1.2.3.4:99999999999999999999", "[1.2.3.4]:5", "[1.2.3.4]", ":5", ":", "[", "[]", "[]:5", "[::1", "::1]",
        "[::1]5", "[::1]:", "[::1]x:5", "[[::1]]:5", ":::", "1::2::3", "::12345", "g::", "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9", "::1%3", "2001:db8::1%eth0", "fe80::1%", "fe80::1%0", "fe80::1%03",
        "fe80::1%no-such-if", "fe80::1%4294967296", "[fe80::1]%3:80", "localhost", "example.com:80",
        "fe80::1%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    const adit_addr none = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        adit_addr a = {.family = 4};

        if (adit_addr_parse(&a, rows[i]) != ADIT_EINVAL)
            fail_msg("\"%s\" was taken", rows[i]);
        assert_memory_equal(&a, &none, sizeof(a));
    }
    assert_int_equal(adit_addr_parse(&(adit_addr){0}, NULL), ADIT_EINVAL);
}

static void scope_may_be_the_name_of_an_interface(void **state)
{
    adit_addr a;

    (void)state;
    if (!if_nametoindex("lo"))
        skip();
    assert_int_equal(adit_addr_parse(&a, "[fe80::1%lo]:80"), ADIT_OK);
    assert_int_equal(a.scope, if_nametoindex("lo"));
    assert_int_equal(a.port, 80);
}

static void printing_says_the_length_and_always_terminates(void **state)
{
    adit_addr a;
    char text[4] = "xxx";

    (void)state;
    assert_int_equal(adit_addr_parse(&a, "10.20.30.40:50"), ADIT_OK);
    assert_int_equal(adit_addr_format(&a, text, sizeof(text)), 14);
    assert_string_equal(text, "10.");
    assert_int_equal(adit_addr_format(&a, NULL, 0), 14);
    assert_int_equal(adit_addr_format(&(adit_addr){0}, text, sizeof(text)), 4);
}

static void sockaddr_round_trip_keeps_everything(void **state)
{
    static const struct {
        const char *text;
        int family, len;
    } rows[] = {
        {"1.2.3.4:5", AF_INET, sizeof(struct sockaddr_in)},
        {"[2001:db8::1]:443", AF_INET6, sizeof(struct sockaddr_in6)},
        {"[fe80::1%3]:80", AF_INET6, sizeof(struct sockaddr_in6)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sockaddr_storage ss;
        adit_addr a, again;
        int len;

        assert_int_equal(adit_addr_parse(&a, rows[i].text), ADIT_OK);
        assert_int_equal(adit_addr_to_sockaddr(&a, &ss, &len), ADIT_OK);
        assert_int_equal(ss.ss_family, rows[i].family);
        assert_int_equal(len, rows[i].len);
        assert_int_equal(adit_addr_from_sockaddr(&again, &ss), ADIT_OK);
        assert_memory_equal(&a, &again, sizeof(a));
    }
}

static void mapped_sockaddr_is_the_ip4_address(void **state)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(7), .sin6_scope_id = 9};
    adit_addr a, expected;

    (void)state;
    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    in6.sin6_addr.s6_addr[12] = 10;
    assert_int_equal(adit_addr_from_sockaddr(&a, &in6), ADIT_OK);
    assert_int_equal(adit_addr_parse(&expected, "10.0.0.0:7"), ADIT_OK);
    assert_memory_equal(&a, &expected, sizeof(a));
}

static void other_families_are_refused(void **state)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNIX};
    adit_addr a;
    int len;

    (void)state;
    assert_int_equal(adit_addr_from_sockaddr(&a, &ss), ADIT_EINVAL);
    assert_int_equal(adit_addr_to_sockaddr(&(adit_addr){.port = 53}, &ss, &len), ADIT_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_parsed_and_printed_again),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(scope_may_be_the_name_of_an_interface),
        cmocka_unit_test(printing_says_the_length_and_always_terminates),
        cmocka_unit_test(sockaddr_round_trip_keeps_everything),
        cmocka_unit_test(mapped_sockaddr_is_the_ip4_address),
        cmocka_unit_test(other_families_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
