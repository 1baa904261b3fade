/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "proxy/http_wire.h"

static enum http_parse parse(struct http_request *r, const char *text, size_t len_bytes)
{
    char *exact = malloc(len_bytes ? len_bytes : 1); /* a sanitizer sees a read past its end */
    enum http_parse result;

    memcpy(exact, text, len_bytes);
    result = http_request_parse(r, exact, len_bytes);
    free(exact);
    return result;
}

static void a_head_is_read(void **state)
{
    static const struct {
        const char *text;
        bool is_head, is_plain;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, 0},
        {"GET / HTTP/1.0\r\n\r\n", 0, 0},
        {"GET / HTTP/1.1\n\n", 0, 0},
        {"HEAD http://x/y?z HTTP/1.1\r\n\r\n", 1, 0},
        {"GET / HTTP/1.1\r\nUser-Agent: curl/8\r\n\r\n", 0, 1},
        {"GET / HTTP/1.1\r\nuser-agent:Wget/1\r\n\r\n", 0, 1},
        {"GET / HTTP/1.1\r\nuser-agent: Mozilla curl/8\r\n\r\n", 0, 0},
        {"GET / HTTP/1.1\r\nX: user-agent: curl/\r\n\r\n", 0, 0},
        {"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_request r;

        assert_int_equal(parse(&r, rows[i].text, strlen(rows[i].text)), HTTP_REQUEST);
        assert_int_equal(r.is_head, rows[i].is_head);
        assert_int_equal(r.is_plain, rows[i].is_plain);
    }
}

static void a_head_that_is_not_all_there_needs_more(void **state)
{
    static const char text[] = "GET /path HTTP/1.1\r\nHost: x\r\nX\r\nUser-Agent: curl/8\r\n\r\n";
    struct http_request r;

    (void)state;
    for (size_t cut = 0; cut < sizeof(text) - 1; cut++)
        assert_int_equal(parse(&r, text, cut), HTTP_MORE);
}

static void what_cannot_become_http_is_told_at_once(void **state)
{
    static const struct {
        const char *text;
        size_t len_bytes;
    } rows[] = {
        {"\x16\x03\x01", 3}, /* TLS */
        {"SSH-2.0-x\r\n", 11},
        {"get / HTTP/1.1\r\n\r\n", 18},
        {"PRI * HTTP/2.0\r\n\r\n", 18},
        {"GET  HTTP/1.1\r\n\r\n", 17},
        {"GET /\r\n\r\n", 9},
        {"GET / HTTP/1.\r\n\r\n", 17},
        {"GET / HTTP/1.x\r\n\r\n", 18},
        {"GET / x HTTP/1.1\r\n\r\n", 20},
        {"GET\r\n", 5},
        {"GET / \0HTTP/1.1", 15},
        {"GET /\0 HTTP/1.1\n\n", 17},
        {"GET /\r HTTP/1.1\n\n", 17},
        {" GET / HTTP/1.1\r\n\r\n", 19},
        {"ABCDEFGHIJKLMNOPQ", 17},
        {"\r\n", 2},
        {"\n", 1},
    };
    struct http_request r;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(parse(&r, rows[i].text, rows[i].len_bytes), HTTP_NO_HTTP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_read),
        cmocka_unit_test(a_head_that_is_not_all_there_needs_more),
        cmocka_unit_test(what_cannot_become_http_is_told_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
