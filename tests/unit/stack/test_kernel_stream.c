/* SPDX-License-Identifier: MIT */
/* kernel_stream: what adit/conn.h promises, kept by a socket of the kernel's. */
#include "kernel_rig.h"
#include "../sock/spares.h"

enum { MIB = 1024 * 1024 };

static void client_sends(struct kernel_rig *k, const char *text)
{
    assert_int_equal(send(k->client, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What the handler reads now; 0: the client's FIN. */
static int handler_peeks(struct kernel_rig *k, adit_iov *v)
{
    int n;

    KERNEL_UNTIL(k, (n = adit_conn_peek(k->conn, v, 1)) != ADIT_EAGAIN);
    return n;
}

static void assert_client_gets(struct kernel_rig *k, const char *text)
{
    char got[64] = "";

    assert_int_equal(kernel_recv(k, k->client, got, sizeof(got) - 1), (ssize_t)strlen(text));
    assert_string_equal(got, text);
}

/* Sends in pieces that are no bulk until the last one stays here, or a part of it. Returns how many octets. */
static size_t handler_fills(struct kernel_rig *k)
{
    static const uint8_t octets[1000];
    size_t sent = 0;
    ssize_t n;

    while ((n = adit_conn_send(k->conn, octets, sizeof(octets))) > 0)
        sent += (size_t)n;
    assert_true(kernel_of_conn(k->conn)->tx.bytes > 0);
    return sent;
}

/* ----------------------------------------------------------------------------------- both directions -- */

static void what_is_peeked_stays_until_it_is_consumed(void **state)
{
    struct kernel_rig *k = *state;
    adit_iov v;

    kernel_open(k);
    client_sends(k, "octets");
    assert_int_equal(handler_peeks(k, &v), 1);
    assert_int_equal(v.len, 6);
    adit_conn_consume(k->conn, 2);
    client_sends(k, " and more");
    rig_for_ms(k->loop, 5);
    assert_int_equal(adit_conn_peek(k->conn, &v, 1), 1);
    assert_int_equal(v.len, 4);
    assert_memory_equal(v.base, "tets", 4);
    adit_conn_consume(k->conn, 4);
    assert_int_equal(handler_peeks(k, &v), 1);
    assert_memory_equal(v.base, " and more", v.len);
}

static void what_is_committed_reaches_the_client_and_what_is_reserved_only_does_not(void **state)
{
    struct kernel_rig *k = *state;
    adit_iov v;

    kernel_open(k);
    assert_int_equal(adit_conn_reserve(k->conn, &v, 1), 1);
    memcpy(v.base, "not this", 8);
    assert_int_equal(adit_conn_reserve(k->conn, &v, 1), 1);
    memcpy(v.base, "but this", 8);
    adit_conn_commit(k->conn, 8);
    assert_client_gets(k, "but this");
}

static void a_read_event_comes_when_octets_do_and_again_while_they_are_left(void **state)
{
    struct kernel_rig *k = *state;

    kernel_open(k);
    adit_conn_want(k->conn, ADIT_READ);
    rig_for_ms(k->loop, 5);
    assert_int_equal(k->events, 0);
    client_sends(k, "x");
    KERNEL_UNTIL(k, k->events >= 3);
    assert_int_equal(k->last_event, ADIT_READ);
    adit_conn_want(k->conn, 0);
}

static void an_idle_flow_holds_no_buffer(void **state)
{
    struct kernel_rig *k = *state;
    char got[16];

    kernel_open(k);
    client_sends(k, "x");
    KERNEL_UNTIL(k, adit_conn_recv(k->conn, got, sizeof(got)) == 1);
    assert_int_equal(adit_conn_send(k->conn, "y", 1), 1);
    rig_for_ms(k->loop, 5);
    assert_null(kernel_of_conn(k->conn)->rx.buf);
    assert_null(kernel_of_conn(k->conn)->tx.buf);
}

/* ------------------------------------------------------------------------------------- back-pressure -- */

static void a_client_that_does_not_read_leaves_no_room_and_makes_some_when_it_does(void **state)
{
    struct kernel_rig *k = *state;
    static uint8_t octets[MIB], got[MIB];
    size_t sent = 0, read = 0;
    ssize_t n;

    kernel_open(k);
    for (size_t i = 0; i < sizeof(octets); i++)
        octets[i] = (uint8_t)random_next(&k->r.random);
    while ((n = adit_conn_send(k->conn, octets + sent % MIB, MIB - sent % MIB)) > 0) {
        sent += (size_t)n;
        assert_true(sent < 64 * MIB);
    }
    assert_int_equal(n, ADIT_EAGAIN);
    assert_true(kernel_of_conn(k->conn)->tx.bytes <= 2048);
    adit_conn_want(k->conn, ADIT_WRITE);
    rig_for_ms(k->loop, 5);
    assert_int_equal(k->events, 0);
    while (read < sent) {
        n = kernel_recv(k, k->client, got, MIB - read % MIB);
        assert_true(n > 0);
        assert_memory_equal(got, octets + read % MIB, n);
        read += (size_t)n;
    }
    KERNEL_UNTIL(k, k->events > 0);
    assert_int_equal(k->last_event, ADIT_WRITE);
    adit_conn_want(k->conn, 0);
}

static void a_handler_that_does_not_read_stops_the_client(void **state)
{
    struct kernel_rig *k = *state;
    static uint8_t octets[MIB];
    size_t sent = 0;
    int stalls = 0;

    kernel_open(k);
    while (stalls < 20) {
        ssize_t n = send(k->client, octets, sizeof(octets), MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        stalls = n > 0 ? 0 : stalls + 1;
        assert_true(sent < 64 * MIB);
        rig_for_ms(k->loop, 2);
    }
    assert_null(kernel_of_conn(k->conn)->rx.buf);
}

/* ---------------------------------------------------------------------------------------- half-close -- */

static void the_clients_fin_reads_as_nothing_and_leaves_the_other_direction_open(void **state)
{
    struct kernel_rig *k = *state;
    adit_iov v;

    kernel_open(k);
    client_sends(k, "last");
    shutdown(k->client, SHUT_WR);
    assert_int_equal(handler_peeks(k, &v), 1);
    adit_conn_consume(k->conn, v.len);
    assert_int_equal(handler_peeks(k, &v), 0);
    assert_int_equal(adit_conn_peek(k->conn, &v, 1), 0);
    assert_int_equal(adit_conn_send(k->conn, "answer", 6), 6);
    assert_client_gets(k, "answer");
    assert_int_equal(k->closeds, 0);
    assert_int_equal(adit_conn_shutdown(k->conn), 0);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(k->closed_why, 0);
    assert_int_equal(kernel_recv(k, k->client, &v, 1), 0);
}

static void a_shutdown_before_the_kernel_has_accepted_is_a_fin_when_it_has(void **state)
{
    struct kernel_rig *k = *state;
    char got[8];

    kernel_syn(k);
    assert_int_equal(adit_conn_shutdown(k->conn), ADIT_ESTATE);
    assert_int_equal(adit_conn_accept(k->conn), 0);
    assert_int_equal(adit_conn_shutdown(k->conn), 0);
    assert_int_equal(adit_conn_shutdown(k->conn), ADIT_ECLOSED);
    kernel_connect(k);
    assert_int_equal(kernel_recv(k, k->client, got, sizeof(got)), 0);
    client_sends(k, "still");
    KERNEL_UNTIL(k, adit_conn_recv(k->conn, got, sizeof(got)) == 5);
}

static void a_shutdown_follows_what_is_queued(void **state)
{
    struct kernel_rig *k = *state;
    static uint8_t octets[MIB];
    size_t sent, read = 0;
    ssize_t n;

    kernel_open(k);
    sent = handler_fills(k);
    assert_int_equal(adit_conn_shutdown(k->conn), 0);
    assert_int_equal(adit_conn_send(k->conn, octets, 1), ADIT_ECLOSED);
    while ((n = kernel_recv(k, k->client, octets, sizeof(octets))) > 0)
        read += (size_t)n;
    assert_int_equal(n, 0);
    assert_int_equal(read, sent);
}

/* ------------------------------------------------------------------------------------------- endings -- */

static void a_close_delivers_what_is_queued_and_gives_up_after_a_time(void **state)
{
    struct kernel_rig *k = *state;
    static uint8_t octets[MIB];

    kernel_open(k);
    (void)handler_fills(k);
    adit_conn_close(k->conn);
    rig_for_ms(k->loop, 5);
    assert_int_equal(k->closeds, 0);
    kernel_skip_ms(k, 60001);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(k->closed_why, ADIT_ETIMEDOUT);
    while (recv(k->client, octets, sizeof(octets), 0) > 0)
        ;
    assert_int_equal(errno, ECONNRESET);
}

static void a_close_with_octets_unread_is_a_reset(void **state)
{
    struct kernel_rig *k = *state;
    adit_iov v;

    kernel_open(k);
    client_sends(k, "unread");
    assert_int_equal(handler_peeks(k, &v), 1);
    adit_conn_close(k->conn);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(kernel_recv(k, k->client, &v, 1), -ECONNRESET);
}

static void an_abort_is_a_reset(void **state)
{
    struct kernel_rig *k = *state;
    char got;

    kernel_open(k);
    adit_conn_abort(k->conn);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(k->closed_why, ADIT_ECANCELED);
    assert_int_equal(kernel_recv(k, k->client, &got, 1), -ECONNRESET);
}

static void an_abort_before_the_kernel_has_accepted_resets_what_it_accepts(void **state)
{
    struct kernel_rig *k = *state;
    char got;

    kernel_syn(k);
    assert_int_equal(adit_conn_accept(k->conn), 0);
    kernel_connect(k);
    adit_conn_abort(k->conn);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(kernel_recv(k, k->client, &got, 1), -ECONNRESET);
}

static void a_reset_of_the_client_ends_the_conn_at_once(void **state)
{
    struct kernel_rig *k = *state;

    kernel_open(k);
    kernel_client_resets(k);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(k->closed_why, ADIT_ERESET);
}

static void a_reset_after_the_clients_fin_ends_the_conn_too(void **state)
{
    struct kernel_rig *k = *state;
    adit_iov v;

    kernel_open(k);
    shutdown(k->client, SHUT_WR);
    assert_int_equal(handler_peeks(k, &v), 0);
    kernel_client_resets(k);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(k->closed_why, ADIT_ERESET);
}

static void octets_for_a_client_that_has_gone_end_the_conn_as_a_reset(void **state)
{
    struct kernel_rig *k = *state;
    adit_iov v;

    kernel_open(k);
    kernel_client_closes(k);
    assert_int_equal(handler_peeks(k, &v), 0);
    assert_int_equal(adit_conn_send(k->conn, "x", 1), 1);
    KERNEL_UNTIL(k, k->closeds == 1);
    assert_int_equal(k->closed_why, ADIT_ERESET);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void a_socket_is_born_with_what_the_options_ask_for(void **state)
{
    struct kernel_rig *k = *state;
    int fd;

    kernel_open(k);
    fd = kernel_of_conn(k->conn)->fd;
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_OOBINLINE), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
}

/* ------------------------------------------------------------------------------------------- take_fd -- */

static void take_fd_of_an_open_flow_is_the_kernels_own_socket(void **state)
{
    struct kernel_rig *k = *state;
    int own, taken;
    char got[8] = "";

    kernel_open(k);
    own = kernel_of_conn(k->conn)->fd;
    assert_int_equal(adit_conn_take_fd(k->conn, &taken), 0);
    assert_int_equal(taken, own);
    rig_for_ms(k->loop, 5);
    assert_true(stack_is_empty(&k->stack));
    assert_int_equal(k->closeds, 0);
    client_sends(k, "to you");
    assert_int_equal(kernel_recv(k, taken, got, sizeof(got)), 6);
    assert_string_equal(got, "to you");
    assert_true(fcntl(taken, F_GETFL) & O_NONBLOCK);
    close(taken);
    assert_int_equal(kernel_recv(k, k->client, got, 1), 0);
}

static void take_fd_after_a_half_close_is_the_kernels_own_socket(void **state)
{
    struct kernel_rig *k = *state;
    int own, taken;
    adit_iov v;
    char got;

    kernel_open(k);
    shutdown(k->client, SHUT_WR);
    assert_int_equal(handler_peeks(k, &v), 0);
    own = kernel_of_conn(k->conn)->fd;
    assert_int_equal(adit_conn_take_fd(k->conn, &taken), 0);
    assert_int_equal(taken, own);
    assert_int_equal(recv(taken, &got, 1, 0), 0);
    close(taken);
}

static void take_fd_with_octets_in_our_hands_is_a_pair_that_loses_none(void **state)
{
    struct kernel_rig *k = *state;
    int own, taken;
    adit_iov v;
    char got[16] = "";

    kernel_open(k);
    client_sends(k, "first");
    assert_int_equal(handler_peeks(k, &v), 1);
    own = kernel_of_conn(k->conn)->fd;
    assert_int_equal(adit_conn_take_fd(k->conn, &taken), 0);
    assert_int_not_equal(taken, own);
    assert_int_equal(kernel_recv(k, taken, got, sizeof(got)), 5);
    assert_string_equal(got, "first");
    close(taken);
    kernel_client_closes(k);
    KERNEL_UNTIL(k, stack_is_empty(&k->stack));
}

static void take_fd_of_a_pending_flow_accepts_it(void **state)
{
    struct kernel_rig *k = *state;
    int taken;
    char got[16] = "";

    kernel_syn(k);
    assert_int_equal(adit_conn_take_fd(k->conn, &taken), 0);
    kernel_connect(k);
    client_sends(k, "hello");
    assert_int_equal(kernel_recv(k, taken, got, sizeof(got)), 5);
    assert_int_equal(send(taken, "you too", 7, MSG_NOSIGNAL), 7);
    assert_client_gets(k, "you too");
    close(taken);
    kernel_client_closes(k);
    KERNEL_UNTIL(k, stack_is_empty(&k->stack));
}

static void a_flow_gets_the_descriptor_of_a_spare_where_they_are_out(void **state)
{
    struct kernel_rig *k = *state;
    struct rlimit before;

    kernel_syn(k);
    assert_int_equal(adit_conn_accept(k->conn), 0);
    kernel_connect(k);
    before = spares_are_last(k->loop, 1);
    KERNEL_UNTIL(k, !k->conn || kernel_of_conn(k->conn)->fd >= 0);
    spares_made_room(k->loop, &before);
    assert_non_null(k->conn); /* not reset */
    assert_int_equal(adit_conn_send(k->conn, "hello", 5), 5);
    assert_client_gets(k, "hello");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, kernel_up, kernel_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_peeked_stays_until_it_is_consumed),
        T(what_is_committed_reaches_the_client_and_what_is_reserved_only_does_not),
        T(a_read_event_comes_when_octets_do_and_again_while_they_are_left),
        T(an_idle_flow_holds_no_buffer),
        T(a_client_that_does_not_read_leaves_no_room_and_makes_some_when_it_does),
        T(a_handler_that_does_not_read_stops_the_client),
        T(the_clients_fin_reads_as_nothing_and_leaves_the_other_direction_open),
        T(a_shutdown_before_the_kernel_has_accepted_is_a_fin_when_it_has),
        T(a_shutdown_follows_what_is_queued),
        T(a_close_delivers_what_is_queued_and_gives_up_after_a_time),
        T(a_close_with_octets_unread_is_a_reset),
        T(an_abort_is_a_reset),
        T(an_abort_before_the_kernel_has_accepted_resets_what_it_accepts),
        T(a_reset_of_the_client_ends_the_conn_at_once),
        T(a_reset_after_the_clients_fin_ends_the_conn_too),
        T(octets_for_a_client_that_has_gone_end_the_conn_as_a_reset),
        T(a_socket_is_born_with_what_the_options_ask_for),
        T(take_fd_of_an_open_flow_is_the_kernels_own_socket),
        T(take_fd_after_a_half_close_is_the_kernels_own_socket),
        T(take_fd_with_octets_in_our_hands_is_a_pair_that_loses_none),
        T(take_fd_of_a_pending_flow_accepts_it),
        T(a_flow_gets_the_descriptor_of_a_spare_where_they_are_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
