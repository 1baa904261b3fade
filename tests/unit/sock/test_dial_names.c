/* SPDX-License-Identifier: MIT */
/* The resolver is the test's own: its functions take the place of libuv's. */
#include "../sockets.h"
#include "rig.h"
#include <netdb.h>
#include <stdio.h>
#include <uv.h>
#include "sock/dial.h"

enum { ADDRS_MAX = 16 };

static struct resolver {
    uv_getaddrinfo_t *request;
    uv_getaddrinfo_cb done;
    int cancelled, freed;
} resolver; /* of the one dial that a test makes */

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb done,
                   const char *node, const char *service, const struct addrinfo *hints)
{
    (void)loop;
    (void)service;
    (void)hints;
    assert_string_equal(node, "a.test");
    resolver = (struct resolver){.request = request, .done = done};
    return 0;
}

int uv_cancel(uv_req_t *request)
{
    assert_ptr_equal(request, resolver.request);
    resolver.cancelled++;
    return UV_EBUSY; /* it is running already */
}

void uv_freeaddrinfo(struct addrinfo *list)
{
    resolver.freed += list != NULL;
}

struct answer {
    struct addrinfo list[ADDRS_MAX];
    struct sockaddr_storage names[ADDRS_MAX];
};

static void answer_with(struct answer *a, const char *const *texts)
{
    int i, len;

    memset(a, 0, sizeof(*a));
    for (i = 0; texts[i]; i++) {
        adit_addr addr;

        assert_int_equal(adit_addr_parse(&addr, texts[i]), 0);
        assert_int_equal(adit_addr_to_sockaddr(&addr, &a->names[i], &len), 0);
        a->list[i].ai_family = a->names[i].ss_family;
        a->list[i].ai_addr = (struct sockaddr *)&a->names[i];
        a->list[i].ai_addrlen = (socklen_t)len;
        if (i > 0)
            a->list[i - 1].ai_next = &a->list[i];
    }
    resolver.done(resolver.request, 0, i > 0 ? a->list : NULL);
}

struct names_rig {
    struct adit_loop *loop;
    struct sock_config config;
    struct dial *dial;
    char tried[ADDRS_MAX][ADIT_ADDR_TEXT];
    uint64_t now_ns;
    int tried_count, refuse_all;
    struct dialled dialled;
};

static int note_attempt(void *ctx, adit_socket s, const adit_dest *to)
{
    struct names_rig *r = ctx;

    (void)s;
    assert_string_equal(to->host, "a.test");
    adit_addr_format(&to->addr, r->tried[r->tried_count], ADIT_ADDR_TEXT);
    r->tried_count++;
    return r->refuse_all;
}

static uint64_t rig_now_ns(void *ctx)
{
    return ((struct names_rig *)ctx)->now_ns;
}

static void rig_dial(struct names_rig *r, uint16_t port)
{
    adit_dest to = {.addr = {.port = port}, .host = "a.test"};

    *r = (struct names_rig){.now_ns = 1000000000}; /* and there it stays, unless a test moves it */
    r->loop = rig_loop_with(&(struct loop_config){.now_ns = rig_now_ns, .now_ctx = r});
    r->config = (struct sock_config){.protect = note_attempt, .protect_ctx = r};
    r->dial = dial_start(r->loop, &r->config, ADIT_PROTO_TCP, &to, 0, 5000000000u, on_dialled, &r->dialled);
    assert_non_null(r->dial);
}

static void families_alternate_and_the_number_of_addresses_is_bounded(void **state)
{
    static const char *const texts[] = {"::1", "::2", "::3", "::4",       "::5",       "::6", "::7",
                                        "::8", "::9", "::a", "127.0.0.1", "127.0.0.2", NULL};
    static const char *const order[] = {"[::1]:9", "127.0.0.1:9", "[::2]:9", "127.0.0.2:9",
                                        "[::3]:9", "[::4]:9",     "[::5]:9", "[::6]:9"};
    struct names_rig r;
    struct answer a;
    int i;

    (void)state;
    rig_dial(&r, 9);
    r.refuse_all = 1;
    answer_with(&a, texts);
    assert_int_equal(r.dialled.told, 0);
    rig_until(r.loop, &r.dialled.told, 1);
    assert_int_equal(r.dialled.err, ADIT_EPERM); /* that of the last attempt */
    assert_int_equal(r.tried_count, 8);
    for (i = 0; i < 8; i++)
        assert_string_equal(r.tried[i], order[i]);
    assert_int_equal(resolver.freed, 1);
    loop_free(r.loop);
}

static void an_address_that_does_not_answer_is_overtaken_after_250_ms(void **state)
{
    static const char *const texts[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3", NULL};
    int silent, answering, fds[TCP_QUEUE_FILLERS];
    char text[ADIT_ADDR_TEXT];
    adit_addr at, other;
    struct names_rig r;
    struct answer a;

    (void)state;
    silent = tcp_listen(&at, "127.0.0.1", 0);
    tcp_fill_queue(&at, fds);
    snprintf(text, sizeof(text), "127.0.0.2:%d", at.port);
    answering = tcp_listen(&other, text, 4);
    rig_dial(&r, at.port);
    answer_with(&a, texts);
    r.now_ns += 249999999;
    rig_for_ms(r.loop, 5);
    assert_int_equal(r.tried_count, 1);
    r.now_ns += 1000001;
    rig_until(r.loop, &r.dialled.told, 1);
    assert_int_equal(r.dialled.err, 0);
    assert_int_equal(r.tried_count, 2);
    close(r.dialled.s);
    close(silent);
    close(answering);
    tcp_close_all(fds);
    loop_free(r.loop);
}

static void an_address_that_refuses_is_followed_by_the_next_at_once(void **state)
{
    static const char *const texts[] = {"127.0.0.3", "127.0.0.2", NULL};
    adit_addr at;
    int answering = tcp_listen(&at, "127.0.0.2", 4);
    struct names_rig r;
    struct answer a;

    (void)state;
    rig_dial(&r, at.port);
    answer_with(&a, texts);
    rig_until(r.loop, &r.dialled.told, 1);
    assert_int_equal(r.dialled.err, 0);
    assert_int_equal(r.tried_count, 2);
    close(r.dialled.s);
    close(answering);
    loop_free(r.loop);
}

static void an_answer_without_addresses_is_a_name_that_does_not_resolve(void **state)
{
    static const char *const texts[] = {NULL};
    struct names_rig r;
    struct answer a;

    (void)state;
    rig_dial(&r, 9);
    answer_with(&a, texts);
    rig_until(r.loop, &r.dialled.told, 1);
    assert_int_equal(r.dialled.err, ADIT_ENAME);
    loop_free(r.loop);
}

static void an_answer_after_the_cancel_harms_nobody(void **state)
{
    static const char *const texts[] = {"127.0.0.1", NULL};
    struct names_rig r;
    struct answer a;

    (void)state;
    rig_dial(&r, 9);
    dial_cancel(r.dial);
    assert_int_equal(resolver.cancelled, 1);
    answer_with(&a, texts);
    rig_for_ms(r.loop, 5);
    assert_int_equal(r.dialled.told + r.tried_count, 0);
    assert_int_equal(resolver.freed, 1);
    loop_free(r.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_alternate_and_the_number_of_addresses_is_bounded),
        cmocka_unit_test(an_address_that_does_not_answer_is_overtaken_after_250_ms),
        cmocka_unit_test(an_address_that_refuses_is_followed_by_the_next_at_once),
        cmocka_unit_test(an_answer_without_addresses_is_a_name_that_does_not_resolve),
        cmocka_unit_test(an_answer_after_the_cancel_harms_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
