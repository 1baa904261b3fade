/* SPDX-License-Identifier: MIT */
/* spare: a socket that has served one connection serves the next to the same server, and no other. */
#include "../sockets.h"
#include "rig.h"
#include "spares.h"
#include "sock/dial.h"
#include "sock/reclaim.h"

#define FIVE_SECONDS_NS 5000000000ull

struct spare_rig {
    struct adit_loop *loop;
    struct sock_config config;
    uint64_t skipped_ns; /* by which the loop's clock is ahead */
    int listener;
    adit_dest to;
    struct watch watch; /* of the dialled socket, as conn.c keeps it */
    unsigned events;
    struct dialled dialled;
};

static uint64_t rig_now_ns(void *ctx)
{
    return rig_clock_ns() + ((struct spare_rig *)ctx)->skipped_ns;
}

static void rig_open(struct spare_rig *r)
{
    struct loop_config c = {.now_ns = rig_now_ns, .now_ctx = r};

    memset(r, 0, sizeof(*r));
    r->loop = rig_loop_with(&c);
    r->listener = tcp_listen(&r->to.addr, "127.0.0.1", 16);
}

static void rig_close(struct spare_rig *r)
{
    loop_free(r->loop);
    close(r->listener);
}

static void on_ready(struct watch *w, unsigned events)
{
    LIST_ENTRY(w, struct spare_rig, watch)->events |= events;
}

static void rig_start_dial(struct spare_rig *r)
{
    struct dial *d = dial_start(r->loop, &r->config, ADIT_PROTO_TCP, &r->to, 0, FIVE_SECONDS_NS, on_dialled, &r->dialled);

    assert_non_null(d);
    dial_keep(d, &r->watch, on_ready);
    r->events = 0;
}

/* Connects to r->to. The server's end. */
static int rig_dial(struct spare_rig *r)
{
    int server;

    rig_start_dial(r);
    server = accept(r->listener, NULL, NULL);
    assert_true(server >= 0);
    rig_until(r->loop, &r->dialled.told, r->dialled.told + 1);
    assert_int_equal(r->dialled.err, 0);
    assert_ptr_equal(r->watch.loop, r->loop);
    return server;
}

/* An octet each way, then FIN from the client, then from the server. */
static void rig_converse(struct spare_rig *r, int server)
{
    uint64_t end_ns = rig_clock_ns() + FIVE_SECONDS_NS;
    char octet = 0;

    assert_int_equal(send(r->dialled.s, "u", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(server, &octet, 1, 0), 1);
    assert_int_equal(octet, 'u');
    assert_int_equal(send(server, "d", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(shutdown(r->dialled.s, SHUT_WR), 0);
    assert_int_equal(recv(server, &octet, 1, 0), 0);
    close(server);
    while (!(r->events & WATCH_HANGUP) && rig_clock_ns() < end_ns)
        rig_turn(r->loop, 50);
    assert_int_equal(recv(r->dialled.s, &octet, 1, MSG_DONTWAIT), 1);
    assert_int_equal(octet, 'd');
    assert_int_equal(recv(r->dialled.s, &octet, 1, MSG_DONTWAIT), 0);
}

static void rig_drop(struct spare_rig *r)
{
    watch_forget(&r->watch);
    close(r->dialled.s);
}

/* A connection from its dial to its end, and its socket given. */
static bool rig_connection(struct spare_rig *r)
{
    rig_converse(r, rig_dial(r));
    if (spare_give(&r->watch))
        return true;
    rig_drop(r);
    return false;
}

static void rig_open_with_a_spare(struct spare_rig *r)
{
    rig_open(r);
    rig_connection(r);
    assert_true(rig_connection(r));
    rig_turn(r->loop, 0); /* it hangs up: nobody minds */
    assert_int_equal(r->loop->spares.count, 1);
}

static void a_socket_serves_one_connection_after_the_other_to_a_server(void **state)
{
    struct spare_rig r;

    (void)state;
    rig_open_with_a_spare(&r);
    for (int i = 0; i < 10; i++) {
        adit_socket before = r.dialled.s;

        assert_true(rig_connection(&r));
        assert_int_equal(r.dialled.s, before);
        rig_turn(r.loop, 0);
    }
    assert_int_equal(r.loop->spares.reused, 10);
    rig_close(&r);
}

static void a_server_that_was_met_once_leaves_no_socket(void **state)
{
    struct spare_rig r;

    (void)state;
    rig_open(&r);
    assert_false(rig_connection(&r));
    assert_int_equal(r.loop->spares.count, 0);
    rig_close(&r);
}

static void another_server_gets_a_socket_of_its_own(void **state)
{
    struct spare_rig r;

    (void)state;
    rig_open_with_a_spare(&r);
    close(r.listener);
    r.listener = tcp_listen(&r.to.addr, "127.0.0.1", 16);
    for (int i = 0; i < 3; i++) {
        close(rig_dial(&r));
        assert_int_equal(r.loop->spares.reused, 0);
        rig_drop(&r);
    }
    rig_close(&r);
}

static void another_configuration_gets_a_socket_of_its_own(void **state)
{
    struct spare_rig r;
    struct sock_config other = {0};
    struct watch w;
    uint32_t server;

    (void)state;
    rig_open_with_a_spare(&r);
    server = spare_server(r.loop, &r.config, &r.to.addr, 0);
    assert_true(server != 0);
    assert_int_equal(spare_server(r.loop, &r.config, &r.to.addr, 1), 0); /* another mark, seen for the first time */
    assert_true(spare_server(r.loop, &r.config, &r.to.addr, 1) != server);
    assert_int_equal(spare_server(r.loop, &other, &r.to.addr, 1), 0);
    assert_false(spare_take(r.loop, &w, spare_server(r.loop, &other, &r.to.addr, 1), on_ready));
    assert_int_equal(r.loop->spares.count, 1);
    other.bind_iface = "lo";
    for (int i = 0; i < 3; i++)
        assert_int_equal(spare_server(r.loop, &other, &r.to.addr, 0), 0);
    rig_close(&r);
}

static void a_connection_that_has_not_ended_leaves_no_socket(void **state)
{
    struct spare_rig r;
    int server;

    (void)state;
    rig_open(&r);
    rig_connection(&r);
    server = rig_dial(&r);
    assert_false(spare_give(&r.watch)); /* established */
    assert_int_equal(shutdown(r.dialled.s, SHUT_WR), 0);
    assert_false(spare_give(&r.watch)); /* the server has not ended */
    assert_int_equal(send(server, "d", 1, MSG_NOSIGNAL), 1);
    close(server);
    rig_drop(&r);
    rig_close(&r);
}

static void a_spare_waits_for_the_next_iteration(void **state)
{
    struct spare_rig r;
    struct watch w;

    (void)state;
    rig_open(&r);
    rig_connection(&r);
    assert_true(rig_connection(&r));
    assert_false(spare_take(r.loop, &w, spare_server(r.loop, &r.config, &r.to.addr, 0), on_ready));
    rig_turn(r.loop, 0);
    assert_true(spare_take(r.loop, &w, spare_server(r.loop, &r.config, &r.to.addr, 0), on_ready));
    watch_forget(&w);
    close(w.fd);
    rig_close(&r);
}

static void spares_are_closed_after_a_second(void **state)
{
    struct spare_rig r;

    (void)state;
    rig_open_with_a_spare(&r);
    r.skipped_ns = 2 * SPARE_IDLE_NS;
    rig_turn(r.loop, 0);
    assert_int_equal(r.loop->spares.count, 0);
    assert_int_equal(write(r.dialled.s, "x", 1), -1); /* EBADF */
    rig_close(&r);
}

static void whatever_needs_a_descriptor_gets_that_of_a_spare_where_they_are_out(void **state)
{
    static const int rows[] = {ADIT_SOCKET_TCP, ADIT_SOCKET_UDP, ADIT_SOCKET_PING};
    struct spare_rig r;
    adit_socket s;

    (void)state;
    rig_open(&r);
    r.config.loop = r.loop;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rlimit before = spares_are_last(r.loop, 1);
        int rc = sock_open(&s, &r.config, rows[i], 4, 0, NULL);

        if (rc == ADIT_EPERM && rows[i] == ADIT_SOCKET_PING)
            rc = sock_open_raw_icmp(&s, &r.config, 4, 0, NULL);
        if (rc == ADIT_EPERM) { /* none of either kind */
            assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
            continue;
        }
        spares_made_room(r.loop, &before);
        assert_int_equal(rc, 0);
        close(s);
    }
    rig_close(&r);
}

static void without_a_spare_descriptors_that_are_out_are_a_limit(void **state)
{
    struct rlimit before;
    struct spare_rig r;
    adit_socket s, none;

    (void)state;
    rig_open(&r);
    r.config.loop = r.loop;
    before = spares_are_last(r.loop, 1);
    assert_int_equal(sock_open(&s, &r.config, ADIT_SOCKET_TCP, 4, 0, NULL), 0);
    assert_int_equal(sock_open(&none, &r.config, ADIT_SOCKET_TCP, 4, 0, NULL), ADIT_ELIMIT);
    spares_made_room(r.loop, &before);
    close(s);
    rig_close(&r);
}

static void spares_are_closed_for_no_other_reason(void **state)
{
    struct spare_rig r;

    (void)state;
    rig_open_with_a_spare(&r);
    assert_false(reclaim_fd(r.loop, EACCES));
    assert_int_equal(r.loop->spares.count, 1);
    assert_true(reclaim_fd(r.loop, ENFILE));
    assert_int_equal(r.loop->spares.count, 0);
    assert_false(reclaim_fd(r.loop, ENFILE));
    assert_false(reclaim_fd(NULL, ENFILE));
    rig_close(&r);
}

static void a_server_that_is_gone_refuses(void **state)
{
    struct spare_rig r;

    (void)state;
    rig_open_with_a_spare(&r);
    close(r.listener);
    rig_start_dial(&r);
    rig_until(r.loop, &r.dialled.told, r.dialled.told + 1);
    assert_int_equal(r.dialled.err, ADIT_EREFUSED);
    assert_int_equal(r.loop->spares.reused, 1);
    r.listener = tcp_listen(&r.to.addr, "127.0.0.1", 16);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_serves_one_connection_after_the_other_to_a_server),
        cmocka_unit_test(a_server_that_was_met_once_leaves_no_socket),
        cmocka_unit_test(another_server_gets_a_socket_of_its_own),
        cmocka_unit_test(another_configuration_gets_a_socket_of_its_own),
        cmocka_unit_test(a_connection_that_has_not_ended_leaves_no_socket),
        cmocka_unit_test(a_spare_waits_for_the_next_iteration),
        cmocka_unit_test(spares_are_closed_after_a_second),
        cmocka_unit_test(whatever_needs_a_descriptor_gets_that_of_a_spare_where_they_are_out),
        cmocka_unit_test(without_a_spare_descriptors_that_are_out_are_a_limit),
        cmocka_unit_test(spares_are_closed_for_no_other_reason),
        cmocka_unit_test(a_server_that_is_gone_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
