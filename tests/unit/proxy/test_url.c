/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "adit/proxy.h"
#include "proxy/url.h"

static void a_good_url_makes_a_proxy(void **state)
{
    static const char *const rows[] = {
        "direct",
        "hello",
        "echo",
        "discard",
        "block",
        "block:net",
        "block:host",
        "block:admin",
        "block:drop",
        "socks5://127.0.0.1:1080",
        "socks5://[::1]:1080",
        "socks5://proxy.example:1080/",
        "socks5://u:p@h:1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        adit_error err = {.code = 1};
        adit_proxy *p;

        assert_int_equal(adit_proxy_new(&p, rows[i], &err), 0);
        assert_non_null(adit_proxy_handler(p));
        assert_int_equal(adit_proxy_handler(p)->size, sizeof(adit_handler));
        assert_int_equal(err.code, 0);
        adit_proxy_free(p);
    }
    adit_proxy_free(NULL);
}

static const struct {
    const char *url, *msg;
} bad_urls[] = {
    {NULL, "empty"},
    {"", "empty"},
    {":", "empty"},
    {"nothing", "no proxy called \"nothing\""},
    {"Direct", "no proxy called"},
    {"direct:", "nothing may follow"},
    {"direct://", "nothing may follow"},
    {"hello:1", "nothing may follow"},
    {"echo ", "no proxy called"},
    {"block:", "no way to block"},
    {"block:everything", "no way to block called \"everything\""},
    {"http://h:1", "no proxy called \"http\""},
    {"socks5h://h:1", "no proxy called \"socks5h\""},
    {"socks5", "a server must follow"},
    {"socks5:", "a server must follow"},
    {"socks5:h:1", "a server must follow"},
    {"socks5:/h:1", "a server must follow"},
    {"socks5://", "the port is missing"},
    {"socks5://h", "the port is missing"},
    {"socks5://h:", "not a port"},
    {"socks5://:1080", "the host is missing"},
    {"socks5://h:0", "not a port"},
    {"socks5://h:01", "not a port"},
    {"socks5://h:65536", "not a port"},
    {"socks5://h:999999", "not a port"},
    {"socks5://h:-1", "not a port"},
    {"socks5://h:80x", "not a port"},
    {"socks5://h:1080/path", "more in the URL"},
    {"socks5://h:1080?x", "more in the URL"},
    {"socks5://h:1080#x", "more in the URL"},
    {"socks5://::1:1080", "more than one colon"},
    {"socks5://[::1]", "the port is missing"},
    {"socks5://[::1", "not closed"},
    {"socks5://[::1]x:1", "not closed"},
    {"socks5://[1.2.3.4]:1", "\"1.2.3.4\" is not an IPv6 address"},
    {"socks5://[host]:1", "not an IPv6 address"},
    {"socks5://[]:1", "the host is missing"},
    {"socks5://1.2.3:1", "neither a name nor an address"},
    {"socks5://1.2.3.256:1", "neither"},
    {"socks5://a..b:1", "neither"},
    {"socks5://.a:1", "neither"},
    {"socks5://a b:1", "neither"},
    {"socks5://h\x01:1", "neither"},
    {"socks5://h%41:1", "neither"},
    {"socks5://@h:1", "user in front of the @ is empty"},
    {"socks5://:p@h:1", "user in front of the @ is empty"},
    {"socks5://u@v@h:1", "two @"},
    {"socks5://u:p%@h:1", "percent sign"},
    {"socks5://u:p%4@h:1", "percent sign"},
    {"socks5://u:p%4g@h:1", "percent sign"},
    {"socks5://u:p%00@h:1", "percent sign"},
    {"socks5://u v:p@h:1", "a character that a URL cannot have"},
    {"socks5://u:p@", "the port is missing"},
};

static void a_bad_url_is_refused_with_its_fault_and_a_hint(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_urls) / sizeof(bad_urls[0]); i++) {
        adit_error err = {0};
        adit_proxy *p = (adit_proxy *)&err;

        assert_int_equal(adit_proxy_new(&p, bad_urls[i].url, &err), ADIT_EINVAL);
        assert_null(p);
        assert_int_equal(err.code, ADIT_EINVAL);
        assert_string_not_equal(err.hint, "");
        if (!strstr(err.msg, bad_urls[i].msg))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad_urls[i].url ? bad_urls[i].url : "NULL",
                     err.msg, bad_urls[i].msg);
        assert_int_equal(adit_proxy_new(&p, bad_urls[i].url, NULL), ADIT_EINVAL);
    }
}

static void no_error_shows_a_password(void **state)
{
    static const char *const rows[] = {
        "socks5://user:s3cret@h",
        "socks5://user:s3cret@h:0",
        "socks5://user:s3cret",
        "socks5://user:s3cret%@h:1",
        "socks5://user:s3cret@x@h:1",
        "socks5://user:s3cret/@h:1",
        "socks5://user:s3cret@[h]:1",
        "socks5://user:s3cret@h:1/x",
        "socks5//user:s3cret@h:1",
        "socks5:user:s3cret@h:1",
        "a-word-that-is-much-too-long-s3cret",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        adit_error err;
        adit_proxy *p;

        assert_int_equal(adit_proxy_new(&p, rows[i], &err), ADIT_EINVAL);
        assert_null(strstr(err.msg, "s3cret"));
        assert_null(strstr(err.hint, "s3cret"));
    }
}

static void the_parts_of_a_server_are_taken_apart(void **state)
{
    static const struct {
        const char *text, *host, *addr, *user, *password; /* addr: with the port */
        uint16_t port;
    } rows[] = {
        {"proxy.example:1080", "proxy.example", NULL, NULL, NULL, 1080},
        {"proxy.example.:65535/", "proxy.example.", NULL, NULL, NULL, 65535},
        {"under_score-1:1", "under_score-1", NULL, NULL, NULL, 1},
        {"10.0.0.1:1", "", "10.0.0.1:1", NULL, NULL, 1},
        {"[2001:db8::1]:1080", "", "[2001:db8::1]:1080", NULL, NULL, 1080},
        {"[::ffff:10.0.0.1]:7", "", "10.0.0.1:7", NULL, NULL, 7},
        {"u@h:1", "h", NULL, "u", "", 1},
        {"u:@h:1", "h", NULL, "u", "", 1},
        {"user:pass@[::1]:1", "", "[::1]:1", "user", "pass", 1},
        {"%40%3a%2F%ff:a:b%25@h:1", "h", NULL, "@:/\xff", "a:b%", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct url_server s;
        adit_addr addr = {.port = rows[i].port};
        const char *user = rows[i].user ? rows[i].user : "",
                   *password = rows[i].password ? rows[i].password : "";

        if (rows[i].addr)
            assert_int_equal(adit_addr_parse(&addr, rows[i].addr), 0);
        assert_int_equal(url_server_parse(&s, rows[i].text, NULL), 0);
        assert_string_equal(s.host, rows[i].host);
        assert_memory_equal(&s.addr, &addr, sizeof(addr));
        assert_int_equal(s.has_account, rows[i].user != NULL);
        assert_int_equal(s.account.user_bytes, strlen(user));
        assert_memory_equal(s.account.user, user, strlen(user));
        assert_int_equal(s.account.password_bytes, strlen(password));
        assert_memory_equal(s.account.password, password, strlen(password));
    }
}

/* "xxx...x" of `count` in the place of %s. */
static int parse_long(const char *format, int count)
{
    char filler[400] = "", text[600];
    struct url_server s;

    memset(filler, 'x', (size_t)count);
    snprintf(text, sizeof(text), format, filler);
    return url_server_parse(&s, text, NULL);
}

static void lengths_end_where_the_protocols_end_them(void **state)
{
    char name[300] = "";
    struct url_server s;

    (void)state;
    assert_int_equal(parse_long("%s:p@h:1", 255), 0);
    assert_int_equal(parse_long("%s:p@h:1", 256), ADIT_EINVAL);
    assert_int_equal(parse_long("u:%s@h:1", 255), 0);
    assert_int_equal(parse_long("u:%s@h:1", 256), ADIT_EINVAL);
    assert_int_equal(parse_long("%s:1", 63), 0);
    assert_int_equal(parse_long("%s:1", 64), ADIT_EINVAL);
    for (int i = 0; i < 253; i++)
        name[i] = i % 2 ? '.' : 'a';
    memcpy(name + 253, ":1", 3);
    assert_int_equal(url_server_parse(&s, name, NULL), 0);
    memcpy(name + 253, ".a:1", 5);
    assert_int_equal(url_server_parse(&s, name, NULL), ADIT_EINVAL);
}

static void block_refuses_as_it_was_told(void **state)
{
    static const struct {
        const char *url;
        int verdict;
    } rows[] = {
        {"block", ADIT_RESET},
        {"block:net", ADIT_UNREACH_NET},
        {"block:host", ADIT_UNREACH_HOST},
        {"block:admin", ADIT_UNREACH_ADMIN},
        {"block:drop", ADIT_DROP},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        static const uint8_t protos[] = {ADIT_PROTO_TCP, ADIT_PROTO_UDP, ADIT_PROTO_ICMP,
                                         ADIT_PROTO_ICMPV6};
        adit_echo echo = {0};
        adit_proxy *p;

        assert_int_equal(adit_proxy_new(&p, rows[i].url, NULL), 0);
        for (size_t j = 0; j < sizeof(protos); j++) {
            adit_flow flow = {.proto = protos[j]};
            adit_decision out = {.size = sizeof(out)};

            adit_proxy_handler(p)->prepare(adit_proxy_ctx(p), NULL, &flow, &out);
            assert_int_equal(out.verdict, rows[i].verdict);
        }
        assert_int_equal(adit_proxy_handler(p)->icmp(adit_proxy_ctx(p), NULL, &echo),
                         rows[i].verdict);
        adit_proxy_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_url_makes_a_proxy),
        cmocka_unit_test(a_bad_url_is_refused_with_its_fault_and_a_hint),
        cmocka_unit_test(no_error_shows_a_password),
        cmocka_unit_test(the_parts_of_a_server_are_taken_apart),
        cmocka_unit_test(lengths_end_where_the_protocols_end_them),
        cmocka_unit_test(block_refuses_as_it_was_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
