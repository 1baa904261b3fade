/* SPDX-License-Identifier: MIT */
/* mixed: which half gets a flow, that each is asked about once, and what happens where the kernel's half cannot be had. The net
 * is that of the core's tests; the listeners are sockets on the loopback interface at which nobody ever arrives. */
#include "../net/rig.h"
#include "../sockets.h"
#include "sock/loop.h"
#include "sock/sock.h"
#include "stack/conn.h"
#include "wire/fake_peer.h"
#include "wire/tcp.h"

#define CLIENT "10.0.0.2:5000"
#define REMOTE "1.2.3.4:80"
#define CLIENT6 "[fd00::2]:5000"
#define REMOTE6 "[2001:db8::1]:80"

struct mixed_rig {
    struct net_rig r;
    struct stack stack;
    struct adit_loop *loop;
    adit_socket listener;
    adit_addr listener_addr;
    adit_conn *conn; /* the last one that was handed over */
    int listens, notices, conns, closeds;
    bool cannot_listen;
};

static void on_closed(adit_conn *c, int why, void *user)
{
    struct mixed_rig *m = user;

    (void)c;
    (void)why;
    m->closeds++;
}

static const adit_conn_ops conn_ops = {.size = sizeof(conn_ops), .closed = on_closed};

static void on_tcp(void *ctx, adit_conn *c)
{
    struct mixed_rig *m = ctx;

    m->conn = c;
    m->conns++;
    adit_conn_set_ops(c, &conn_ops, m);
}

static int on_listen(void *ctx, adit_socket out[2], size_t *count, adit_error *err)
{
    struct mixed_rig *m = ctx;

    m->listens++;
    *count = 0;
    if (m->cannot_listen) {
        *err = (adit_error){.code = ADIT_EPERM, .msg = "nobody may listen"};
        return ADIT_EPERM;
    }
    out[0] = m->listener;
    *count = 1;
    return 0;
}

static void on_notice(void *ctx, const adit_error *e)
{
    struct mixed_rig *m = ctx;

    assert_true(e->msg[0] && e->hint[0]);
    m->notices++;
}

static int mixed_up(void **state)
{
    static struct mixed_rig m;
    struct net_config config = rig_config();
    struct loop_config loop = {.log = &m.r.log, .memory = &m.r.memory};
    struct stack_config stack = {
        .net = &m.r.net, .handler = {.size = sizeof(adit_handler), .tcp = on_tcp}, .handler_ctx = &m,
        .conns_max = 8, .mappings_max = 8, .dial_ns = RIG_SECOND_NS,
        .listen = on_listen, .listen_ctx = &m, .notice = on_notice, .notice_ctx = &m};
    adit_error err;

    memset(&m, 0, sizeof(m));
    config.pending_ns = 10 * RIG_SECOND_NS;
    config.tcp_idle_ns = config.tcp_half_closed_ns = config.tcp_time_wait_ns = 60 * RIG_SECOND_NS;
    config.trust_partial_csum = true;
    rig_init_with(&m.r, &config, 64 * 1024 * 1024, NULL);
    assert_int_equal(loop_new(&m.loop, &loop, &err), 0);
    stack.loop = m.loop;
    m.listener = tcp_listen(&m.listener_addr, "127.0.0.1", 1);
    assert_int_equal(stack_init(&m.stack, &stack_mixed, &stack), 0);
    *state = &m;
    return 0;
}

static void serve(struct mixed_rig *m)
{
    struct flow *f;

    while ((f = net_next_ready(&m->r.net)) != NULL)
        stack_serve(&m->stack, f);
    net_output(&m->r.net, m->r.now_ns);
    stack_settle(&m->stack);
}

static int mixed_down(void **state)
{
    struct mixed_rig *m = *state;

    stack_stop(&m->stack);
    for (int i = 0; i < 4; i++)
        serve(m);
    assert_true(stack_is_empty(&m->stack));
    assert_int_equal(m->closeds, m->conns);
    stack_deinit(&m->stack);
    loop_free(m->loop);
    sock_close(m->listener);
    assert_int_equal(m->r.net.stats.tcp_open, 0);
    assert_int_equal(m->r.net.stats.tcp_half_open, 0);
    assert_int_equal(m->r.net.stats.tcp_kernel_open, 0);
    rig_deinit(&m->r);
    return 0;
}

static enum drop segment(struct mixed_rig *m, const char *src, const char *dst, uint8_t flags, uint32_t seq)
{
    static uint8_t packet[RIG_PACKET_BYTES];
    adit_addr from = addr(src), to = addr(dst);
    struct tcp_segment s = {.src_port = from.port, .dst_port = to.port, .flags = flags, .seq = seq, .wnd = 1000};
    uint8_t tcp[TCP_HEADER_BYTES_MAX];
    size_t n = tcp_emit(tcp, &s);

    put_be16(tcp + 16, checksum_finish(checksum_add(checksum_pseudo(from.ip, to.ip, IP_PROTO_TCP, (uint32_t)n), tcp, n)));
    stack_set_now(&m->stack, m->r.now_ns);
    return rig_input(&m->r, packet, make_ip(packet, src, dst, IP_PROTO_TCP, tcp, (uint32_t)n));
}

static void syn(struct mixed_rig *m, const char *src, const char *dst)
{
    assert_int_equal(segment(m, src, dst, TCP_SYN, 100), DROP_NONE);
    serve(m);
}

/* The one packet that left goes there. */
static const struct rig_packet *out_to(struct mixed_rig *m, const uint8_t ip[16])
{
    const struct rig_packet *o = rig_out(&m->r);

    assert_memory_equal(o->ip.dst, ip, 16);
    rig_silent(&m->r);
    return o;
}

static void want_kernel(struct mixed_rig *m)
{
    m->r.decision.stack = ADIT_STACK_SYSTEM;
}

/* ------------------------------------------------------------------------------------------ the tests -- */

static void where_nobody_asks_for_the_kernel_nothing_of_it_is_made_and_nothing_is_in_between(void **state)
{
    struct mixed_rig *m = *state;
    const struct net_tcp_ops *before = m->r.net.tcp_ops;
    adit_addr client = addr(CLIENT);

    syn(m, CLIENT, REMOTE);
    assert_string_equal(adit_conn_stack(m->conn), "userspace");
    assert_int_equal(adit_conn_accept(m->conn), 0);
    serve(m);
    out_to(m, client.ip);
    assert_int_equal(m->listens, 0);
    assert_ptr_equal(m->r.net.tcp_ops, before);
    assert_null(m->stack.engine);
    assert_int_equal(m->r.net.stats.tcp_kernel_total, 0);
}

static void a_flow_that_is_the_kernels_by_decision_is_asked_about_once_and_put_to_the_kernel(void **state)
{
    struct mixed_rig *m = *state;
    const struct rig_packet *o;

    want_kernel(m);
    syn(m, CLIENT, REMOTE);
    assert_int_equal(m->r.prepares, 1);
    assert_int_equal(m->conns, 1);
    assert_int_equal(adit_conn_flow(m->conn)->id, m->r.asked.id);
    assert_string_equal(adit_conn_stack(m->conn), "system");
    assert_int_equal(m->r.net.stats.tcp_total, 1);
    assert_int_equal(m->r.net.stats.tcp_open, 1);
    assert_int_equal(m->r.net.stats.tcp_kernel_total, 1);
    assert_string_equal(m->stack.engine, "nat");
    rig_silent(&m->r);
    assert_int_equal(adit_conn_accept(m->conn), 0);
    o = out_to(m, m->listener_addr.ip);
    assert_true(ip_is_fake_peer(o->ip.src));
    assert_int_equal(m->listens, 1);
}

static void flows_of_both_halves_live_side_by_side(void **state)
{
    struct mixed_rig *m = *state;
    adit_addr client = addr(CLIENT);
    adit_conn *kernel, *user;
    const struct rig_packet *o;

    want_kernel(m);
    syn(m, CLIENT, REMOTE);
    kernel = m->conn;
    m->r.decision.stack = ADIT_STACK_DEFAULT;
    syn(m, CLIENT, "1.2.3.4:81");
    user = m->conn;
    assert_int_equal(m->r.prepares, 2);
    assert_string_equal(adit_conn_stack(kernel), "system");
    assert_string_equal(adit_conn_stack(user), "userspace");
    assert_int_equal(adit_conn_accept(user), 0);
    serve(m);
    out_to(m, client.ip);
    assert_int_equal(adit_conn_accept(kernel), 0);
    o = out_to(m, m->listener_addr.ip);
    assert_int_equal(get_be16(o->octets + o->ip.header_bytes + 2), m->listener_addr.port);
    assert_int_equal(m->listens, 1);
    assert_int_equal(m->r.net.stats.tcp_open, 2);
    assert_int_equal(m->r.net.stats.tcp_half_open, 2);
    /* A reset of each ends that one. */
    assert_int_equal(segment(m, CLIENT, REMOTE, TCP_RST, 101), DROP_NONE);
    serve(m);
    assert_int_equal(m->closeds, 1);
    (void)segment(m, CLIENT, "1.2.3.4:81", TCP_RST, 101);
    serve(m);
    assert_int_equal(m->closeds, 2);
}

static void timers_find_their_half(void **state)
{
    struct mixed_rig *m = *state;

    want_kernel(m);
    syn(m, CLIENT, REMOTE);
    m->r.decision.stack = ADIT_STACK_USERSPACE;
    syn(m, CLIENT, "1.2.3.4:81");
    m->r.now_ns += 11 * RIG_SECOND_NS;
    net_expire(&m->r.net, m->r.now_ns);
    serve(m);
    assert_int_equal(m->closeds, 2);
    assert_int_equal(m->r.net.stats.tcp_open, 0);
}

static void without_listeners_a_flow_stays_in_userspace_and_the_host_is_told_once(void **state)
{
    struct mixed_rig *m = *state;

    m->cannot_listen = true;
    want_kernel(m);
    syn(m, CLIENT, REMOTE);
    assert_string_equal(adit_conn_stack(m->conn), "userspace");
    syn(m, CLIENT, "1.2.3.4:81");
    assert_string_equal(adit_conn_stack(m->conn), "userspace");
    assert_int_equal(m->listens, 1);
    assert_int_equal(m->notices, 1);
    assert_string_equal(m->stack.fallback, "nobody may listen");
    assert_null(m->stack.engine);
}

static void a_family_without_a_listener_stays_in_userspace(void **state)
{
    struct mixed_rig *m = *state;

    want_kernel(m);
    syn(m, CLIENT, REMOTE);
    syn(m, CLIENT6, REMOTE6);
    assert_string_equal(adit_conn_stack(m->conn), "userspace");
    assert_int_equal(m->notices, 0);
}

static void a_refusal_that_names_the_kernel_starts_nothing(void **state)
{
    struct mixed_rig *m = *state;

    want_kernel(m);
    m->r.decision.verdict = ADIT_RESET;
    assert_int_equal(segment(m, CLIENT, REMOTE, TCP_SYN, 100), DROP_TCP_SYN_REJECTED);
    serve(m);
    assert_int_equal(m->listens, 0);
    assert_int_equal(m->conns, 0);
    assert_int_equal(m->r.net.stats.tcp_rejected, 1);
}

static void half_open_flows_of_both_halves_are_counted_together(void **state)
{
    struct mixed_rig *m = *state;

    m->r.net.config.tcp_half_open_max = 2;
    want_kernel(m);
    syn(m, CLIENT, REMOTE);
    m->r.decision.stack = ADIT_STACK_USERSPACE;
    syn(m, CLIENT, "1.2.3.4:81");
    assert_int_equal(segment(m, CLIENT, "1.2.3.4:82", TCP_SYN, 100), DROP_TCP_SYN_LIMIT);
    want_kernel(m);
    assert_int_equal(segment(m, CLIENT, "1.2.3.4:83", TCP_SYN, 100), DROP_TCP_SYN_LIMIT);
}

static void a_flow_of_either_half_makes_room_for_one_of_the_other(void **state)
{
    struct mixed_rig *m = *state;

    m->r.net.config.tcp_half_open_max = 1;
    want_kernel(m);
    syn(m, CLIENT, REMOTE);
    assert_int_equal(adit_conn_accept(m->conn), 0);
    m->r.now_ns += 2 * RIG_SECOND_NS;
    m->r.decision.stack = ADIT_STACK_USERSPACE;
    syn(m, CLIENT, "1.2.3.4:81");
    assert_int_equal(m->closeds, 1);
    assert_string_equal(adit_conn_stack(m->conn), "userspace");
    assert_int_equal(adit_conn_accept(m->conn), 0);
    m->r.now_ns += 2 * RIG_SECOND_NS;
    want_kernel(m);
    syn(m, CLIENT, "1.2.3.4:82");
    assert_int_equal(m->closeds, 2);
    assert_string_equal(adit_conn_stack(m->conn), "system");
    assert_int_equal(m->r.net.stats.tcp_evicted, 2);
}

static void a_flow_that_prepare_accepted_is_put_to_the_kernel_at_once(void **state)
{
    struct mixed_rig *m = *state;

    want_kernel(m);
    m->r.decision.verdict = ADIT_ACCEPT;
    syn(m, CLIENT, REMOTE);
    out_to(m, m->listener_addr.ip);
    assert_int_equal(m->conns, 0); /* not before the kernel has accepted */
}

#define T(f) cmocka_unit_test_setup_teardown(f, mixed_up, mixed_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(where_nobody_asks_for_the_kernel_nothing_of_it_is_made_and_nothing_is_in_between),
        T(a_flow_that_is_the_kernels_by_decision_is_asked_about_once_and_put_to_the_kernel),
        T(flows_of_both_halves_live_side_by_side),
        T(timers_find_their_half),
        T(without_listeners_a_flow_stays_in_userspace_and_the_host_is_told_once),
        T(a_family_without_a_listener_stays_in_userspace),
        T(a_refusal_that_names_the_kernel_starts_nothing),
        T(half_open_flows_of_both_halves_are_counted_together),
        T(a_flow_of_either_half_makes_room_for_one_of_the_other),
        T(a_flow_that_prepare_accepted_is_put_to_the_kernel_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
