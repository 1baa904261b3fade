/* SPDX-License-Identifier: MIT */
/* conn: the rules of adit/conn.h over a stream that a test plays: who is called when, how often, and what is freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../sock/spares.h"
#include "../sockets.h"
#include "stack/conn.h"

/* A stream whose events the test sets and which counts what is asked of it. */
struct fake {
    struct flow flow;
    unsigned events;
    int accepted, rejected, aborted, closed, freed, settled;
    int verdict, why;
    bool fin; /* from the client */
};

struct rig {
    struct memory memory;
    struct log log;
    struct buf_pool bufs;
    struct net net;
    struct stack stack;
    struct adit_loop *loop;
    struct fake fake;
    adit_conn *conn;
    int handed_over, listened, events, closeds, dials;
    unsigned last_event;
    int closed_why, dial_err;
    bool abort_in_event;
    void (*on_tcp)(adit_conn *c);
};

static struct rig *rig;

static struct fake *fake_of(const struct stream *s)
{
    return LIST_ENTRY(s, struct fake, flow.stream);
}

static unsigned fake_events(const struct stream *s)
{
    return fake_of(s)->events;
}

static int fake_accept(struct stream *s)
{
    fake_of(s)->accepted++;
    return 0;
}

static void fake_end(struct fake *f, int why)
{
    f->why = why;
    f->events |= STREAM_CLOSED;
    net_set_ready(&rig->net, &f->flow);
}

static void fake_reject(struct stream *s, int verdict)
{
    fake_of(s)->rejected++;
    fake_of(s)->verdict = verdict;
    fake_end(fake_of(s), ADIT_ECANCELED);
}

static int fake_peek(const struct stream *s, adit_iov *iov, int iov_max)
{
    (void)iov;
    (void)iov_max;
    return fake_of(s)->fin ? 0 : ADIT_EAGAIN;
}

static void fake_move(struct stream *s, size_t len_bytes)
{
    (void)s;
    (void)len_bytes;
}

static int fake_reserve(struct stream *s, adit_iov *iov, int iov_max)
{
    static uint8_t room[16];

    (void)s;
    iov[0] = (adit_iov){room, sizeof(room)};
    return iov_max > 0;
}

static int fake_shutdown(struct stream *s)
{
    (void)s;
    return 0;
}

static void fake_close(struct stream *s)
{
    fake_of(s)->closed++;
}

static void fake_abort(struct stream *s)
{
    if (fake_of(s)->events & STREAM_CLOSED)
        return;
    fake_of(s)->aborted++;
    fake_end(fake_of(s), ADIT_ECLOSED);
}

static void fake_settle(struct stream *s)
{
    fake_of(s)->settled++;
}

static int fake_why(const struct stream *s)
{
    return fake_of(s)->why;
}

static void fake_stat(const struct stream *s, adit_conn_info *out)
{
    (void)s;
    *out = (adit_conn_info){.state = "FAKE"};
}

static void fake_free(struct stream *s)
{
    fake_of(s)->freed++;
    flow_remove(&rig->net, &fake_of(s)->flow);
}

static const struct stream_ops fake_stream_ops = {
    .name = "fake", .events = fake_events, .accept = fake_accept, .reject = fake_reject, .peek = fake_peek,
    .consume = fake_move, .reserve = fake_reserve, .commit = fake_move, .shutdown = fake_shutdown,
    .close = fake_close, .abort = fake_abort, .settle = fake_settle, .why = fake_why, .stat = fake_stat,
    .free = fake_free,
};

static int fake_start(struct stack *s)
{
    (void)s;
    return 0;
}

static struct stream *fake_stream(struct flow *f)
{
    return &f->stream;
}

static void fake_set_now(struct stack *s, uint64_t now_ns)
{
    (void)s;
    (void)now_ns;
}

static const struct stack_ops fake_stack = {
    .name = "fake", .start = fake_start, .stream = fake_stream, .set_now = fake_set_now};

/* ------------------------------------------------------------------------------------- the handler -- */

static void on_event(adit_conn *c, unsigned ev, void *user)
{
    assert_ptr_equal(user, rig);
    rig->events++;
    rig->last_event = ev;
    if (rig->abort_in_event)
        adit_conn_abort(c);
    assert_int_equal(rig->closeds, 0);
}

static void on_closed(adit_conn *c, int why, void *user)
{
    assert_ptr_equal(c, rig->conn);
    assert_ptr_equal(user, rig);
    rig->closeds++;
    rig->closed_why = why;
}

static const adit_conn_ops conn_ops = {.size = sizeof(conn_ops), .event = on_event, .closed = on_closed};

static void on_tcp(void *ctx, adit_conn *c)
{
    assert_ptr_equal(ctx, rig);
    rig->conn = c;
    rig->handed_over++;
    adit_conn_set_ops(c, &conn_ops, rig);
    if (rig->on_tcp)
        rig->on_tcp(c);
}

static void on_listened(void *ctx, adit_conn *c)
{
    rig->listened += *(int *)ctx;
    rig->conn = c;
    adit_conn_set_ops(c, &conn_ops, rig);
}

/* ----------------------------------------------------------------------------------------- the rig -- */

static bool rig_output(void *ctx, const struct packet_out *p)
{
    (void)ctx;
    (void)p;
    return true;
}

static void rig_random(void *ctx, void *buf, size_t len)
{
    (void)ctx;
    memset(buf, 7, len);
}

static int rig_up(void **state)
{
    struct net_config config = {.mtu_bytes = 1500, .tcp_max = 8, .udp_max = 8};
    struct net_env env = {.output = rig_output, .random = rig_random, .prepare = NULL};
    struct loop_config loop_config = {0};
    struct stack_config stack_config;

    rig = calloc(1, sizeof(*rig));
    *state = rig;
    memory_init(&rig->memory, 1 << 20, NULL);
    buf_pool_init(&rig->bufs, &rig->memory, 0);
    assert_int_equal(net_init(&rig->net, &config, &env, &rig->memory, &rig->bufs, &rig->log, 0), 0);
    assert_int_equal(loop_new(&rig->loop, &loop_config, NULL), 0);
    stack_config = (struct stack_config){
        .loop = rig->loop, .net = &rig->net, .handler = {.size = sizeof(adit_handler), .tcp = on_tcp},
        .handler_ctx = rig, .dial_ns = 1000000000, .conns_max = 8, .mappings_max = 8};
    return stack_init(&rig->stack, &fake_stack, &stack_config);
}

static int rig_down(void **state)
{
    (void)state;
    stack_deinit(&rig->stack);
    loop_free(rig->loop);
    net_deinit(&rig->net);
    buf_pool_deinit(&rig->bufs);
    assert_int_equal(rig->memory.used_bytes, 0);
    free(rig);
    return 0;
}

/* A SYN has come. */
static void rig_flow_arrives(void)
{
    struct flow_key key = {.client_port = 40000, .remote_port = 80, .proto = ADIT_PROTO_TCP};
    const uint8_t client[4] = {10, 0, 0, 2}, remote[4] = {192, 0, 2, 1};

    ip_map4(key.client, client);
    ip_map4(key.remote, remote);
    rig->fake.flow.stream.ops = &fake_stream_ops;
    rig->fake.events = STREAM_NEW;
    assert_true(flow_insert(&rig->net.flows, &rig->fake.flow, &key, flow_hash(&rig->net.flows, &key)));
    net_set_ready(&rig->net, &rig->fake.flow);
}

/* At most `max` flows are served; returns how many. */
static int rig_serve(int max)
{
    struct flow *f;
    int n = 0;

    while (n < max && (f = net_next_ready(&rig->net)) != NULL) {
        stack_serve(&rig->stack, f);
        n++;
    }
    stack_settle(&rig->stack);
    return n;
}

static void rig_until(const int *count)
{
    for (int i = 0; i < 1000 && *count == 0; i++) {
        usleep(1000);
        adit_loop_dispatch(rig->loop);
        rig_serve(10);
    }
    assert_int_equal(*count, 1);
}

static void rig_client_resets(void)
{
    fake_end(&rig->fake, ADIT_ERESET);
    rig_serve(10);
}

static void rig_gone(int why)
{
    assert_int_equal(rig->closeds, 1);
    assert_int_equal(rig->closed_why, why);
    assert_int_equal(rig->fake.freed, 1);
    assert_true(stack_is_empty(&rig->stack));
}

/* ----------------------------------------------------------------------------------------- the tests -- */

static void a_flow_is_handed_over_once_and_its_closed_comes_once(void **state)
{
    (void)state;
    rig_flow_arrives();
    assert_int_equal(rig_serve(10), 1);
    net_set_ready(&rig->net, &rig->fake.flow);
    rig_serve(10);
    assert_int_equal(rig->handed_over, 1);
    assert_int_equal(adit_conn_flow(rig->conn)->dst.addr.port, 80);
    assert_string_equal(adit_conn_stack(rig->conn), "fake");
    rig_client_resets();
    rig_gone(ADIT_ERESET);
}

static void accept_answers_a_pending_flow_and_no_other(void **state)
{
    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_accept(rig->conn), 0);
    assert_int_equal(adit_conn_accept(rig->conn), ADIT_ESTATE);
    assert_int_equal(rig->fake.accepted, 1);
    rig_client_resets();
    rig_gone(ADIT_ERESET);
}

static void reject_in_the_handler(adit_conn *c)
{
    adit_conn_reject(c, ADIT_UNREACH_NET);
    adit_conn_reject(c, ADIT_RESET);
    assert_int_equal(rig->closeds, 0);
}

static void reject_carries_its_verdict_and_closed_comes_after_the_call(void **state)
{
    (void)state;
    rig->on_tcp = reject_in_the_handler;
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(rig->fake.rejected, 1);
    assert_int_equal(rig->fake.verdict, ADIT_UNREACH_NET);
    rig_gone(ADIT_ECANCELED);
}

static void reject_after_the_accept_is_an_abort(void **state)
{
    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    adit_conn_accept(rig->conn);
    adit_conn_reject(rig->conn, ADIT_UNREACH_HOST);
    assert_int_equal(rig->fake.rejected, 0);
    assert_int_equal(rig->fake.aborted, 1);
    rig_serve(10);
    rig_gone(ADIT_ECLOSED);
}

static void only_what_is_wanted_is_told_and_again_while_it_lasts(void **state)
{
    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    adit_conn_accept(rig->conn);
    rig->fake.events = STREAM_OPEN | STREAM_READ | STREAM_WRITE;
    net_set_ready(&rig->net, &rig->fake.flow);
    rig_serve(10);
    assert_int_equal(rig->events, 0);
    adit_conn_want(rig->conn, ADIT_READ);
    assert_int_equal(rig_serve(3), 3);
    assert_int_equal(rig->events, 3);
    assert_int_equal(rig->last_event, ADIT_READ);
    adit_conn_want(rig->conn, 0);
    rig_serve(10);
    assert_int_equal(rig->events, 3);
    rig_client_resets();
    rig_gone(ADIT_ERESET);
}

static void an_abort_inside_its_own_event_is_the_last_event(void **state)
{
    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    adit_conn_accept(rig->conn);
    rig->fake.events = STREAM_OPEN | STREAM_READ;
    rig->abort_in_event = true;
    adit_conn_want(rig->conn, ADIT_READ);
    rig_serve(10);
    assert_int_equal(rig->events, 1);
    rig_gone(ADIT_ECLOSED);
}

static void nothing_is_read_or_written_after_close_but_abort_still_works(void **state)
{
    adit_iov iov;
    char octet = 0;

    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    adit_conn_accept(rig->conn);
    adit_conn_close(rig->conn);
    adit_conn_close(rig->conn);
    assert_int_equal(rig->fake.closed, 1);
    assert_int_equal(adit_conn_peek(rig->conn, &iov, 1), ADIT_ECLOSED);
    assert_int_equal(adit_conn_recv(rig->conn, &octet, 1), ADIT_ECLOSED);
    assert_int_equal(adit_conn_send(rig->conn, &octet, 1), ADIT_ECLOSED);
    assert_int_equal(adit_conn_shutdown(rig->conn), ADIT_ECLOSED);
    assert_int_equal(adit_conn_accept(rig->conn), ADIT_ESTATE);
    rig->fake.events |= STREAM_READ | STREAM_OPEN;
    adit_conn_want(rig->conn, ADIT_READ);
    net_set_ready(&rig->net, &rig->fake.flow);
    rig_serve(10);
    assert_int_equal(rig->events, 0);
    adit_conn_abort(rig->conn);
    assert_int_equal(rig->fake.aborted, 1);
    rig_serve(10);
    rig_gone(ADIT_ECLOSED);
}

static void on_dialled(adit_conn *c, int err, adit_socket s, void *user)
{
    (void)c;
    (void)s;
    (void)user;
    rig->dials++;
    rig->dial_err = err;
}

static void a_client_that_leaves_takes_its_dial_with_it(void **state)
{
    adit_dest to = {0};
    int listener = tcp_listen(&to.addr, "127.0.0.1", 4);

    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_dial(rig->conn, &to, on_dialled), 0);
    assert_int_equal(adit_conn_dial(rig->conn, &to, on_dialled), ADIT_ESTATE);
    rig_client_resets();
    rig_gone(ADIT_ERESET);
    for (int i = 0; i < 3; i++) {
        usleep(2000);
        adit_loop_dispatch(rig->loop);
    }
    assert_int_equal(rig->dials, 0);
    close(listener);
}

static void a_dialled_socket_is_closed_with_its_flow(void **state)
{
    adit_dest to = {0};
    int listener = tcp_listen(&to.addr, "127.0.0.1", 4), upstream;
    char octet;

    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_dial(rig->conn, &to, on_dialled), 0);
    rig_until(&rig->dials);
    assert_int_equal(rig->dial_err, 0);
    upstream = accept(listener, NULL, NULL);
    assert_true(upstream >= 0);
    rig_client_resets();
    rig_gone(ADIT_ERESET);
    assert_true(read(upstream, &octet, 1) <= 0);
    close(upstream);
    close(listener);
}

static void relay_the_dialled(adit_conn *c, int err, adit_socket s, void *user)
{
    on_dialled(c, err, s, user);
    assert_int_equal(adit_conn_relay(c, s), 0);
}

/* A flow that is dialled and relayed, until both of its ends have come in order. */
static void rig_flow_passes(const adit_dest *to, int listener, adit_conn_dial_fn fn)
{
    int upstream;
    char octet;

    rig->fake = (struct fake){.fin = true};
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_dial(rig->conn, to, fn), 0);
    rig_until(&rig->fake.accepted);
    upstream = accept(listener, NULL, NULL);
    assert_int_equal(read(upstream, &octet, 1), 0);
    close(upstream);
    rig_until(&rig->fake.closed);
    assert_int_equal(rig->fake.rejected, 0);
    rig_client_resets();
    assert_true(stack_is_empty(&rig->stack));
}

static void a_dial_without_a_function_relays_and_leaves_its_socket_to_the_next_flow(void **state)
{
    adit_dest to = {0};
    int listener = tcp_listen(&to.addr, "127.0.0.1", 4);

    (void)state;
    rig_flow_passes(&to, listener, NULL);
    assert_int_equal(rig->loop->spares.count, 0); /* the server was not known */
    rig_flow_passes(&to, listener, NULL);
    assert_int_equal(rig->loop->spares.count, 1);
    close(listener);
}

static void a_socket_that_a_handler_has_seen_is_left_to_no_other_flow(void **state)
{
    adit_dest to = {0};
    int listener = tcp_listen(&to.addr, "127.0.0.1", 4);

    (void)state;
    rig_flow_passes(&to, listener, NULL);
    rig_flow_passes(&to, listener, relay_the_dialled);
    assert_int_equal(rig->dials, 1);
    assert_int_equal(rig->loop->spares.count, 0);
    close(listener);
}

static void a_dial_without_a_function_that_fails_rejects_with_the_verdict_for_the_error(void **state)
{
    adit_dest to = {0};

    (void)state;
    close(tcp_listen(&to.addr, "127.0.0.1", 4));
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_dial(rig->conn, &to, NULL), 0);
    rig_until(&rig->fake.rejected);
    assert_int_equal(rig->fake.verdict, ADIT_RESET);
    rig_gone(ADIT_ECANCELED);
}

static void a_second_socket_is_refused_and_closed(void **state)
{
    int a[2], b[2];
    char octet;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_relay(rig->conn, a[0]), 0);
    assert_int_equal(rig->fake.accepted, 1);
    assert_int_equal(adit_conn_relay(rig->conn, b[0]), ADIT_ESTATE);
    assert_int_equal(read(b[1], &octet, 1), 0);
    rig_client_resets();
    rig_gone(ADIT_ERESET);
    assert_true(read(a[1], &octet, 1) == 0);
    close(a[1]);
    close(b[1]);
}

static void a_socket_that_went_with_its_flow_is_not_closed_again(void **state)
{
    int a[2], other[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_relay(rig->conn, a[0]), 0);
    adit_conn_abort(rig->conn);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, other), 0);
    assert_int_equal(other[0], a[0]); /* somebody else has the number */
    assert_int_equal(adit_conn_relay(rig->conn, a[0]), ADIT_ESTATE);
    assert_int_equal(adit_conn_disown(rig->conn, a[0]), ADIT_ESTATE);
    assert_true(fcntl(other[0], F_GETFD) >= 0);
    rig_serve(10);
    rig_gone(rig->closed_why);
    close(a[1]);
    close(other[0]);
    close(other[1]);
}

static void a_table_of_functions_is_read_as_far_as_it_says(void **state)
{
    const adit_conn_ops older = {
        .size = offsetof(adit_conn_ops, closed), .event = on_event, .closed = on_closed};

    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    adit_conn_set_ops(rig->conn, &older, rig);
    adit_conn_abort(rig->conn);
    rig_serve(10);
    assert_int_equal(rig->closeds, 0);
    assert_int_equal(rig->fake.freed, 1);
}

static void take_fd_is_a_socket_and_no_callback_any_more(void **state)
{
    adit_socket s;
    char octet;

    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(adit_conn_take_fd(rig->conn, &s), 0);
    assert_true(s >= 0);
    rig_client_resets();
    assert_int_equal(rig->closeds, 0);
    assert_int_equal(rig->fake.freed, 1);
    assert_true(stack_is_empty(&rig->stack));
    assert_int_equal(read(s, &octet, 1), 0);
    close(s);
}

static void spares_make_room_for_a_dial_and_for_a_pair_where_descriptors_are_out(void **state)
{
    struct rlimit before;
    adit_socket s;
    adit_dest to = {0};
    int listener = tcp_listen(&to.addr, "127.0.0.1", 4);

    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    before = spares_are_last(rig->loop, 2);
    assert_int_equal(adit_conn_take_fd(rig->conn, &s), 0);
    spares_made_room(rig->loop, &before);
    close(s);
    rig_client_resets();
    rig_flow_arrives();
    rig_serve(10);
    before = spares_are_last(rig->loop, 1);
    assert_int_equal(adit_conn_dial(rig->conn, &to, on_dialled), 0);
    spares_made_room(rig->loop, &before);
    rig_client_resets();
    close(listener);
}

static void stop_ends_every_flow_as_canceled_and_refuses_new_ones(void **state)
{
    (void)state;
    rig_flow_arrives();
    rig_serve(10);
    adit_conn_accept(rig->conn);
    stack_stop(&rig->stack);
    assert_int_equal(rig->closeds, 0);
    rig_serve(10);
    rig_gone(ADIT_ECANCELED);
    rig->fake = (struct fake){0};
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(rig->handed_over, 1);
    assert_int_equal(rig->fake.rejected, 1);
    assert_int_equal(rig->fake.freed, 1);
}

static void a_flow_without_memory_for_it_is_refused(void **state)
{
    (void)state;
    rig->stack.conn_pool.used_max = 0;
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(rig->handed_over, 0);
    assert_int_equal(rig->fake.rejected, 1);
    assert_int_equal(rig->fake.verdict, ADIT_RESET);
    assert_int_equal(rig->fake.freed, 1);
}

static void a_listener_gets_the_flow_and_the_most_particular_one_wins(void **state)
{
    adit_addr at = {.port = 80}, exact;
    int any = 1, particular = 100;

    (void)state;
    assert_int_equal(adit_addr_parse(&exact, "192.0.2.1:80"), 0);
    assert_int_equal(stack_listen(&rig->stack, &at, on_listened, &any), 0);
    assert_int_equal(stack_listen(&rig->stack, &at, on_listened, &any), ADIT_EEXIST);
    assert_int_equal(stack_listen(&rig->stack, &exact, on_listened, &particular), 0);
    at.port = 0;
    assert_int_equal(stack_listen(&rig->stack, &at, on_listened, &any), ADIT_EINVAL);
    rig_flow_arrives();
    rig_serve(10);
    assert_int_equal(rig->handed_over, 0);
    assert_int_equal(rig->listened, 100);
    rig_client_resets();
    rig_gone(ADIT_ERESET);
}

static void the_verdict_for_an_error_is_what_the_network_would_have_said(void **state)
{
    (void)state;
    assert_int_equal(adit_verdict_for(ADIT_EREFUSED), ADIT_RESET);
    assert_int_equal(adit_verdict_for(ADIT_ENETUNREACH), ADIT_UNREACH_NET);
    assert_int_equal(adit_verdict_for(ADIT_EHOSTUNREACH), ADIT_UNREACH_HOST);
    assert_int_equal(adit_verdict_for(ADIT_ETIMEDOUT), ADIT_UNREACH_HOST);
    assert_int_equal(adit_verdict_for(ADIT_EPERM), ADIT_UNREACH_ADMIN);
    assert_int_equal(adit_verdict_for(-12345), ADIT_RESET);
}

/* The name of the stack, or NULL and *code, which comes with a hint. */
static const char *chosen(const char *name, bool all_networks, bool has_kernel, int *code)
{
    const struct stack_wish wish = {.name = name, .all_networks = all_networks, .has_kernel = has_kernel};
    const struct stack_ops *ops;
    adit_error err = {0};

    *code = stack_choose(&ops, &wish, &err);
    assert_int_equal(*code, err.code);
    assert_true(*code == 0 || err.hint[0] != '\0');
    assert_true((ops == NULL) == (*code != 0));
    return ops ? ops->name : "";
}

static void a_stack_is_chosen_by_name_or_refused_with_a_hint(void **state)
{
    int code;

    (void)state;
    assert_string_equal(chosen("system", false, true, &code), "system");
    assert_string_equal(chosen("system", true, true, &code), "");
    assert_int_equal(code, ADIT_EINVAL);
    assert_string_equal(chosen("system", false, false, &code), "");
    assert_int_equal(code, ADIT_EINVAL);
    assert_string_equal(chosen("mixed", true, true, &code), "");
    assert_int_equal(code, ADIT_EINVAL);
    assert_string_equal(chosen("mixed", false, false, &code), "");
    assert_int_equal(code, ADIT_EINVAL);
    assert_string_equal(chosen("lwip", false, true, &code), "");
    assert_int_equal(code, ADIT_EINVAL);
}

static void the_best_stack_depends_on_the_build_and_on_whether_a_kernel_can_accept(void **state)
{
    int code;

    (void)state;
#ifdef ADIT_USERSPACE
    assert_string_equal(chosen("", false, true, &code), "mixed");
    assert_string_equal(chosen("", false, false, &code), "userspace");
    assert_string_equal(chosen("", true, true, &code), "userspace"); /* all networks: userspace only */
    assert_string_equal(chosen("gvisor", true, false, &code), "userspace");
    assert_string_equal(chosen("mixed", false, true, &code), "mixed");
#else
    assert_string_equal(chosen("", false, true, &code), "system");
    assert_string_equal(chosen("", false, false, &code), "");
    assert_int_equal(code, ADIT_ENOTBUILT);
    assert_string_equal(chosen("", true, true, &code), "");
    assert_int_equal(code, ADIT_ENOTBUILT);
    assert_string_equal(chosen("userspace", false, true, &code), "");
    assert_int_equal(code, ADIT_ENOTBUILT);
    assert_string_equal(chosen("mixed", false, true, &code), "");
    assert_int_equal(code, ADIT_ENOTBUILT);
#endif
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_flow_is_handed_over_once_and_its_closed_comes_once),
        T(accept_answers_a_pending_flow_and_no_other),
        T(reject_carries_its_verdict_and_closed_comes_after_the_call),
        T(reject_after_the_accept_is_an_abort),
        T(only_what_is_wanted_is_told_and_again_while_it_lasts),
        T(an_abort_inside_its_own_event_is_the_last_event),
        T(nothing_is_read_or_written_after_close_but_abort_still_works),
        T(a_client_that_leaves_takes_its_dial_with_it),
        T(a_dialled_socket_is_closed_with_its_flow),
        T(a_dial_without_a_function_relays_and_leaves_its_socket_to_the_next_flow),
        T(a_socket_that_a_handler_has_seen_is_left_to_no_other_flow),
        T(a_dial_without_a_function_that_fails_rejects_with_the_verdict_for_the_error),
        T(a_second_socket_is_refused_and_closed),
        T(a_socket_that_went_with_its_flow_is_not_closed_again),
        T(a_table_of_functions_is_read_as_far_as_it_says),
        T(take_fd_is_a_socket_and_no_callback_any_more),
        T(spares_make_room_for_a_dial_and_for_a_pair_where_descriptors_are_out),
        T(stop_ends_every_flow_as_canceled_and_refuses_new_ones),
        T(a_flow_without_memory_for_it_is_refused),
        T(a_listener_gets_the_flow_and_the_most_particular_one_wins),
        cmocka_unit_test(the_verdict_for_an_error_is_what_the_network_would_have_said),
        cmocka_unit_test(a_stack_is_chosen_by_name_or_refused_with_a_hint),
        cmocka_unit_test(the_best_stack_depends_on_the_build_and_on_whether_a_kernel_can_accept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
