/* SPDX-License-Identifier: MIT */
/* instance: whole instances, through the public headers only. Two of them with external devices, back to back:
 *
 *     client = adit_stack_dial()                                        server = a handler
 *     +------------+   output: adit_input of the other    +------------+
 *     |     a      | <----------------------------------> |     b      |     a SYN of a is a client's SYN to b
 *     +------------+                                      +------------+
 *
 * Both are driven by the test's own loop, in one thread, so that each test ends when nothing is left to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "adit/adit.h"
#include "echo.h"

enum { TRANSFER_BYTES = 3 * 1024 * 1024 + 17, SLOW_MS = 10000 };

enum server { SERVER_ECHO, SERVER_REFUSE, SERVER_ABORT, SERVER_HOLD, SERVER_FORGET, SERVER_TAKE, SERVER_STOP };

struct pair {
    adit *a, *b;
    atomic_long allocated_bytes;
    int fail_at; /* the allocation that fails, counted from 1; 0: none */
    enum server server;
    bool cut; /* the wire between them */
    uint64_t wire_packets;

    adit_conn *client;
    size_t sent, received;
    adit_socket taken; /* SERVER_TAKE: the flow as a socket */
    int client_closeds, client_why, server_closeds, server_why, handed_over;
    bool client_open;

    uint8_t out[2048]; /* the last packet that b sent */
    size_t out_len;
    int udp_closeds, udp_why, udp_datagrams;
    int stoppeds;
};

static void *counting_alloc(void *ctx, size_t len, size_t align)
{
    struct pair *p = ctx;
    void *mem = NULL;

    if (p->fail_at > 0 && --p->fail_at == 0)
        return NULL;
    if (posix_memalign(&mem, align < sizeof(void *) ? sizeof(void *) : align, len))
        return NULL;
    atomic_fetch_add(&p->allocated_bytes, (long)len);
    return mem;
}

static void counting_free(void *ctx, void *mem, size_t len)
{
    struct pair *p = ctx;

    atomic_fetch_sub(&p->allocated_bytes, (long)len);
    free(mem);
}

static size_t wire_to_b(void *ctx, const adit_packet *p, size_t n)
{
    struct pair *pair = ctx;

    pair->wire_packets += n;
    if (!pair->cut)
        adit_input(pair->b, p, n);
    return n;
}

static size_t wire_to_a(void *ctx, const adit_packet *p, size_t n)
{
    struct pair *pair = ctx;

    if (n > 0 && p[n - 1].len <= sizeof(pair->out)) {
        memcpy(pair->out, p[n - 1].data, p[n - 1].len);
        pair->out_len = p[n - 1].len;
    }
    if (!pair->cut && pair->a)
        adit_input(pair->a, p, n);
    return n;
}

/* ----------------------------------------------------------------------------------- the server, on b -- */

static void server_closed(adit_conn *c, int why, void *user)
{
    struct pair *p = user;

    (void)c;
    p->server_closeds++;
    p->server_why = why;
}

static void abort_event(adit_conn *c, unsigned ev, void *user)
{
    (void)ev;
    (void)user;
    adit_conn_abort(c);
}

static const adit_conn_ops abort_ops = {.size = sizeof(abort_ops), .event = abort_event, .closed = server_closed};
static const adit_conn_ops echo_ops = {.size = sizeof(echo_ops), .event = echo_event, .closed = server_closed};
static const adit_conn_ops hold_ops = {.size = sizeof(hold_ops), .closed = server_closed};

static void server_tcp(void *ctx, adit_conn *c)
{
    struct pair *p = ctx;

    p->handed_over++;
    switch (p->server) {
    case SERVER_ECHO:
        adit_conn_set_ops(c, &echo_ops, p);
        assert_int_equal(adit_conn_accept(c), 0);
        adit_conn_want(c, ADIT_READ);
        return;
    case SERVER_REFUSE:
        adit_conn_set_ops(c, &hold_ops, p);
        adit_conn_reject(c, ADIT_RESET);
        return;
    case SERVER_ABORT:
        adit_conn_set_ops(c, &abort_ops, p);
        adit_conn_accept(c);
        adit_conn_want(c, ADIT_READ);
        return;
    case SERVER_HOLD:
        adit_conn_set_ops(c, &hold_ops, p);
        adit_conn_accept(c);
        return;
    case SERVER_TAKE:
        adit_conn_set_ops(c, &hold_ops, p);
        assert_int_equal(adit_conn_take_fd(c, &p->taken), 0);
        return;
    case SERVER_STOP:
        adit_conn_set_ops(c, &hold_ops, p);
        adit_conn_accept(c);
        adit_stop(adit_conn_engine(c));
        assert_int_equal(p->server_closeds, 0);
        return;
    case SERVER_FORGET:
        return;
    }
}

static void udp_event(adit_udp *u, void *user)
{
    struct pair *p = user;
    adit_dgram d[2];
    int n;

    while ((n = adit_udp_recv(u, d, 2)) > 0) {
        p->udp_datagrams += n;
        assert_int_equal(adit_udp_send(u, d, n), n);
        adit_udp_release(u, n);
    }
}

static void udp_closed(adit_udp *u, int why, void *user)
{
    struct pair *p = user;

    (void)u;
    p->udp_closeds++;
    p->udp_why = why;
}

static const adit_udp_ops udp_ops = {.size = sizeof(udp_ops), .event = udp_event, .closed = udp_closed};

static void server_udp(void *ctx, adit_udp *u)
{
    adit_udp_set_ops(u, &udp_ops, ctx);
}

static int server_icmp(void *ctx, adit *a, const adit_echo *e)
{
    (void)ctx;
    (void)a;
    return e->seq == 1 ? ADIT_ECHO_REPLY : ADIT_DROP;
}

static void server_stopped(void *ctx, adit *a, const adit_error *why)
{
    struct pair *p = ctx;

    (void)a;
    (void)why;
    p->stoppeds++;
}

static const adit_handler server = {.size = sizeof(server), .tcp = server_tcp, .udp = server_udp, .icmp = server_icmp,
                                    .stopped = server_stopped};
static const adit_handler nothing = {.size = sizeof(nothing)};

/* ----------------------------------------------------------------------------------- the client, on a -- */

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 131 >> 3);
}

static void client_event(adit_conn *c, unsigned ev, void *user)
{
    struct pair *p = user;
    uint8_t data[8192];
    ptrdiff_t n;

    (void)ev;
    p->client_open = true;
    while (p->sent < TRANSFER_BYTES) {
        size_t len = TRANSFER_BYTES - p->sent < sizeof(data) ? TRANSFER_BYTES - p->sent : sizeof(data);

        for (size_t i = 0; i < len; i++)
            data[i] = pattern(p->sent + i);
        n = adit_conn_send(c, data, len);
        if (n <= 0)
            break;
        p->sent += (size_t)n;
        if (p->sent == TRANSFER_BYTES)
            assert_int_equal(adit_conn_shutdown(c), 0);
    }
    while ((n = adit_conn_recv(c, data, sizeof(data))) > 0) {
        for (ptrdiff_t i = 0; i < n; i++)
            assert_int_equal(data[i], pattern(p->received + (size_t)i));
        p->received += (size_t)n;
    }
    adit_conn_want(c, p->sent < TRANSFER_BYTES ? ADIT_READ | ADIT_WRITE : ADIT_READ);
    if (n == 0)
        adit_conn_close(c);
}

static void client_idle_event(adit_conn *c, unsigned ev, void *user)
{
    struct pair *p = user;

    (void)ev;
    p->client_open = true;
    adit_conn_want(c, 0);
}

static void client_closed(adit_conn *c, int why, void *user)
{
    struct pair *p = user;

    assert_ptr_equal(c, p->client);
    p->client_closeds++;
    p->client_why = why;
}

static const adit_conn_ops client_ops = {.size = sizeof(client_ops), .event = client_event, .closed = client_closed};
static const adit_conn_ops idle_ops = {.size = sizeof(idle_ops), .event = client_idle_event, .closed = client_closed};

/* ------------------------------------------------------------------------------------------ the rig -- */

static adit *instance(struct pair *p, adit_output_fn output, const adit_handler *h)
{
    const adit_allocator alloc = {
        .size = sizeof(alloc), .alloc = counting_alloc, .free = counting_free, .ctx = p};
    static adit_allocator kept[2];
    adit_options o;
    adit_error err;
    adit *made;

    kept[h == &server] = alloc; /* borrowed for the life of the instance */
    adit_options_init(&o, ADIT_PRESET_DESKTOP);
    o.kind = ADIT_DEV_EXTERNAL;
    o.output = output;
    o.output_ctx = p;
    o.alloc = &kept[h == &server];
    o.dial_ms = 100;
    if (adit_new(&made, &o, h, p, &err))
        fail_msg("%s (%s)", err.msg, err.hint);
    return made;
}

static int pair_up(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));

    p->taken = ADIT_NO_SOCKET;
    p->a = instance(p, wire_to_b, &nothing);
    p->b = instance(p, wire_to_a, &server);
    *state = p;
    return 0;
}

static int pair_down(void **state)
{
    struct pair *p = *state;

    adit_free(p->a);
    p->a = NULL;
    adit_free(p->b);
    assert_int_equal(atomic_load(&p->allocated_bytes), 0);
    assert_int_equal(p->stoppeds, 0);
    free(p);
    return 0;
}

static int timeout_ms(adit_loop *l)
{
    int64_t ns = adit_loop_timeout_ns(l);

    return ns < 0 || ns > 100000000 ? 100 : (int)((ns + 999999) / 1000000);
}

/* What a thread of a host would do with a socket: sends back what comes, and its end. */
static void echo_taken(struct pair *p)
{
    static uint8_t data[64 * 1024];
    static size_t from, to;

    for (;;) {
        ssize_t n;

        if (from == to) {
            n = read(p->taken, data, sizeof(data));
            if (n == 0)
                assert_int_equal(close(p->taken), 0);
            if (n == 0)
                p->taken = ADIT_NO_SOCKET;
            if (n <= 0)
                return;
            from = 0;
            to = (size_t)n;
        }
        n = write(p->taken, data + from, to - from);
        if (n <= 0)
            return;
        from += (size_t)n;
    }
}

/* Runs both until *what reaches `value`. */
static void run_until(struct pair *p, const int *what, int value)
{
    adit_loop *a = adit_main_loop(p->a), *b = adit_main_loop(p->b);
    time_t end = time(NULL) + SLOW_MS / 1000;

    while (*what != value) {
        struct pollfd fds[3] = {{.fd = adit_loop_pollfd(a), .events = POLLIN},
                                {.fd = adit_loop_pollfd(b), .events = POLLIN},
                                {.fd = p->taken, .events = POLLIN}};
        int ms = timeout_ms(a) < timeout_ms(b) ? timeout_ms(a) : timeout_ms(b);

        poll(fds, 3, ms);
        if (p->taken != ADIT_NO_SOCKET)
            echo_taken(p);
        adit_loop_dispatch(a);
        adit_loop_dispatch(b);
        if (time(NULL) > end)
            fail_msg("waited %d ms for %d, there are %d; sent %zu received %zu", SLOW_MS, value, *what, p->sent,
                     p->received);
    }
}

static void dial(struct pair *p, const adit_conn_ops *ops, unsigned want)
{
    adit_addr from, to;

    assert_int_equal(adit_addr_parse(&from, "10.9.0.1:4000"), 0);
    assert_int_equal(adit_addr_parse(&to, "10.9.0.2:80"), 0);
    assert_int_equal(adit_stack_dial(p->a, &from, &to, ops, p, &p->client), 0);
    adit_conn_want(p->client, want);
}

static adit_stats stats_of(adit *a)
{
    adit_stats s = {.size = sizeof(s)};

    assert_int_equal(adit_get_stats(a, &s), 0);
    return s;
}

/* --------------------------------------------------------------------------------------- the tests -- */

static void bytes_go_both_ways_and_both_ends_close_in_order(void **state)
{
    struct pair *p = *state;

    dial(p, &client_ops, ADIT_READ | ADIT_WRITE);
    run_until(p, &p->client_closeds, 1);
    run_until(p, &p->server_closeds, 1);
    assert_int_equal(p->sent, TRANSFER_BYTES);
    assert_int_equal(p->received, TRANSFER_BYTES);
    assert_int_equal(p->client_why, 0);
    assert_int_equal(p->server_why, 0);
    assert_int_equal(p->handed_over, 1);
    assert_int_equal(stats_of(p->b).tcp_total, 1);
}

static void a_refused_flow_is_refused_for_the_client(void **state)
{
    struct pair *p = *state;

    p->server = SERVER_REFUSE;
    dial(p, &client_ops, ADIT_READ | ADIT_WRITE);
    run_until(p, &p->client_closeds, 1);
    run_until(p, &p->server_closeds, 1);
    assert_int_equal(p->client_why, ADIT_EREFUSED);
    assert_int_equal(stats_of(p->b).tcp_rejected, 1);
    assert_int_equal(stats_of(p->b).tcp_open, 0);
}

static void without_a_tcp_handler_a_port_is_closed(void **state)
{
    struct pair *p = *state;
    adit_addr from, to;

    /* b dials toward a, which has no handler. */
    assert_int_equal(adit_addr_parse(&from, "[fd00::1]:4000"), 0);
    assert_int_equal(adit_addr_parse(&to, "[fd00::2]:80"), 0);
    assert_int_equal(adit_stack_dial(p->b, &from, &to, &idle_ops, p, &p->client), 0);
    run_until(p, &p->client_closeds, 1);
    assert_int_equal(p->client_why, ADIT_EREFUSED);
}

static void an_abort_is_a_reset_for_the_client(void **state)
{
    struct pair *p = *state;

    p->server = SERVER_ABORT;
    dial(p, &client_ops, ADIT_READ | ADIT_WRITE);
    run_until(p, &p->server_closeds, 1);
    run_until(p, &p->client_closeds, 1);
    assert_int_equal(p->server_why, ADIT_ECANCELED);
    assert_int_equal(p->client_why, ADIT_ERESET);
}

static void a_client_that_resets_ends_the_servers_flow(void **state)
{
    struct pair *p = *state;

    p->server = SERVER_HOLD;
    dial(p, &idle_ops, ADIT_WRITE);
    run_until(p, &p->handed_over, 1);
    for (int i = 0; i < 50 && !p->client_open; i++) {
        adit_loop_dispatch(adit_main_loop(p->a));
        adit_loop_dispatch(adit_main_loop(p->b));
    }
    assert_true(p->client_open);
    adit_conn_abort(p->client);
    run_until(p, &p->server_closeds, 1);
    run_until(p, &p->client_closeds, 1);
    assert_int_equal(p->server_why, ADIT_ERESET);
}

static void a_flow_that_nobody_settles_is_refused_after_the_dial_timeout(void **state)
{
    struct pair *p = *state;

    p->server = SERVER_FORGET;
    dial(p, &idle_ops, 0);
    run_until(p, &p->client_closeds, 1);
    assert_int_equal(p->client_why, ADIT_EREFUSED);
    assert_int_equal(p->handed_over, 1);
}

static void stop_ends_open_flows_as_canceled_and_dispatch_says_when_all_is_over(void **state)
{
    struct pair *p = *state;
    adit_loop *b = adit_main_loop(p->b);
    int code = 0;

    p->server = SERVER_HOLD;
    dial(p, &idle_ops, ADIT_WRITE);
    run_until(p, &p->handed_over, 1);
    adit_stop(p->b);
    for (int i = 0; i < 1000 && code != ADIT_ECLOSED; i++)
        code = adit_loop_dispatch(b);
    assert_int_equal(code, ADIT_ECLOSED);
    assert_int_equal(p->server_closeds, 1);
    assert_int_equal(p->server_why, ADIT_ECANCELED);
    assert_int_equal(adit_loop_dispatch(b), ADIT_ECLOSED);
    assert_int_equal(adit_run(p->b, NULL), ADIT_ESTATE);
}

static void free_closes_what_is_open_without_having_been_stopped(void **state)
{
    struct pair *p = *state;

    p->server = SERVER_HOLD;
    dial(p, &idle_ops, ADIT_WRITE);
    run_until(p, &p->handed_over, 1);
    adit_free(p->a);
    p->a = NULL;
    assert_int_equal(p->client_closeds, 1);
    assert_int_equal(p->client_why, ADIT_ECANCELED);
}

static void a_flow_that_was_taken_away_is_a_socket_with_both_its_ends(void **state)
{
    struct pair *p = *state;

    p->server = SERVER_TAKE;
    dial(p, &client_ops, ADIT_READ | ADIT_WRITE);
    run_until(p, &p->client_closeds, 1);
    assert_int_equal(p->received, TRANSFER_BYTES);
    assert_int_equal(p->client_why, 0);
    assert_int_equal(p->server_closeds, 0);
    assert_int_equal(p->taken, ADIT_NO_SOCKET);
}

static void stop_inside_a_callback_calls_nobody_before_it_returns(void **state)
{
    struct pair *p = *state;

    p->server = SERVER_STOP;
    dial(p, &idle_ops, 0);
    run_until(p, &p->server_closeds, 1);
    assert_int_equal(p->server_why, ADIT_ECANCELED);
}

static void a_listener_gets_the_flow(void *ctx, adit_conn *c)
{
    struct pair *p = ctx;

    p->handed_over += 100;
    adit_conn_set_ops(c, &echo_ops, p);
    adit_conn_accept(c);
    adit_conn_want(c, ADIT_READ);
}

static void listen_takes_flows_from_the_handler(void **state)
{
    struct pair *p = *state;
    adit_addr at = {.port = 80};

    assert_int_equal(adit_stack_listen(p->b, &at, a_listener_gets_the_flow, p), 0);
    dial(p, &client_ops, ADIT_READ | ADIT_WRITE);
    run_until(p, &p->client_closeds, 1);
    run_until(p, &p->server_closeds, 1);
    assert_int_equal(p->handed_over, 100);
    assert_int_equal(p->received, TRANSFER_BYTES);
}

/* 10.9.0.1:5000 to 10.9.0.2:5353, "hello", without a UDP checksum. */
static const uint8_t udp_packet[33] = {0x45, 0, 0, 33, 0, 1, 0,    0,    64,   17,   0x66, 0x99, 10, 9, 0,  1,   10,
                                       9,    0, 2, 0x13, 0x88, 0x14, 0xe9, 0, 13, 0, 0, 'h', 'e', 'l', 'l', 'o'};
/* An echo request from 10.9.0.1, identifier 7, sequence 1. */
static const uint8_t ping_packet[32] = {0x45, 0, 0, 32, 0, 1, 0, 0, 64, 1, 0x66, 0xaa, 10, 9, 0, 1,
                                        10,   9, 0, 2,  8, 0, 0, 0, 0,  7, 0,    1,    1,  2, 3, 4};

/* A SYN from 10.9.0.1:5001 to 10.9.0.2:80. */
static const uint8_t syn_packet[40] = {0x45, 0, 0, 40, 0,    1,    0, 0,  64, 6, 0, 0, 10, 9, 0,    1,    10,   9, 0, 2,
                                       0x13, 0x89, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0};

static void fill_sum(uint8_t *at, const uint8_t *from, size_t len)
{
    uint32_t sum = 0;

    at[0] = at[1] = 0;
    for (size_t i = 0; i < len; i += 2)
        sum += (uint32_t)from[i] << 8 | (i + 1 < len ? from[i + 1] : 0);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    at[0] = (uint8_t)(~sum >> 8);
    at[1] = (uint8_t)~sum;
}

/* Whether it was taken. */
static bool packet_may_arrive(struct pair *p, const uint8_t *octets, size_t len)
{
    uint8_t data[64];
    adit_packet packet = {.data = data, .len = len, .flags = ADIT_PACKET_CSUM_VALID};
    bool is_taken;

    memcpy(data, octets, len);
    fill_sum(data + 10, data, 20);
    if (data[9] == ADIT_PROTO_ICMP)
        fill_sum(data + 22, data + 20, len - 20);
    p->out_len = 0;
    is_taken = adit_input(p->b, &packet, 1) == 1;
    adit_loop_dispatch(adit_main_loop(p->b));
    adit_loop_dispatch(adit_main_loop(p->b));
    return is_taken;
}

static void packet_arrives(struct pair *p, const uint8_t *octets, size_t len)
{
    assert_true(packet_may_arrive(p, octets, len));
}

static void a_datagram_is_answered_from_where_it_was_sent_to(void **state)
{
    struct pair *p = *state;

    p->cut = true;
    packet_arrives(p, udp_packet, sizeof(udp_packet));
    assert_int_equal(p->udp_datagrams, 1);
    assert_int_equal(p->out_len, sizeof(udp_packet));
    assert_memory_equal(p->out + 12, udp_packet + 16, 4);
    assert_memory_equal(p->out + 16, udp_packet + 12, 4);
    assert_memory_equal(p->out + 28, "hello", 5);
    assert_int_equal(stats_of(p->b).udp_open, 1);
    adit_stop(p->b);
    while (adit_loop_dispatch(adit_main_loop(p->b)) == 0)
        ;
    assert_int_equal(p->udp_closeds, 1);
    assert_int_equal(p->udp_why, ADIT_ECANCELED);
}

static void an_echo_request_is_answered_as_the_handler_says(void **state)
{
    struct pair *p = *state;
    uint8_t second[sizeof(ping_packet)];

    p->cut = true;
    packet_arrives(p, ping_packet, sizeof(ping_packet));
    assert_int_equal(p->out_len, sizeof(ping_packet));
    assert_int_equal(p->out[20], 0);
    assert_memory_equal(p->out + 24, ping_packet + 24, 8);
    memcpy(second, ping_packet, sizeof(second));
    second[27] = 2;
    packet_arrives(p, second, sizeof(second));
    assert_int_equal(p->out_len, 0);
}

static void what_is_no_packet_is_dropped_and_counted(void **state)
{
    struct pair *p = *state;
    uint8_t junk[40];

    memset(junk, 0x5a, sizeof(junk));
    packet_arrives(p, junk, sizeof(junk));
    assert_int_equal(p->out_len, 0);
    for (unsigned why = 1; adit_drop_name(why); why++)
        if (!strcmp(adit_drop_name(why), "ip_version"))
            assert_int_equal(stats_of(p->b).drops[why], 1);
    assert_null(adit_drop_name(ADIT_DROPS_MAX));
    assert_string_equal(adit_drop_name(0), "none");
}

static void status_says_what_this_instance_is(void **state)
{
    struct pair *p = *state;
    char text[1024];
    int len = adit_status(p->b, text, sizeof(text));

    assert_int_equal(len, strlen(text));
    assert_non_null(strstr(text, "stack: userspace\n"));
    assert_non_null(strstr(text, "device-kind: external\n"));
    assert_string_equal(adit_device_name(p->b), "");
    assert_int_equal(adit_status(p->b, text, 5), len);
}

/* A host that asks for nothing sleeps for ever. */
static void an_idle_instance_has_no_timeout(void **state)
{
    struct pair *p = *state;
    adit_loop *b = adit_main_loop(p->b);

    for (int i = 0; i < 20 && adit_loop_timeout_ns(b) >= 0; i++) {
        usleep(2000);
        adit_loop_dispatch(b);
    }
    assert_int_equal(adit_loop_timeout_ns(b), -1);
}

/* ------------------------------------------------------------------------------------- with threads -- */

static void posted_stop(void *arg)
{
    adit_stop(arg);
}

static void an_instance_stops_from_its_own_callback_and_from_another_thread(void **state)
{
    struct pair *p = *state;
    adit_error err;

    assert_int_equal(adit_start(p->a, &err), 0);
    assert_int_equal(adit_start(p->a, &err), ADIT_ESTATE);
    assert_int_equal(adit_start(p->b, &err), 0);
    assert_int_equal(adit_post(adit_main_loop(p->a), posted_stop, p->a), 0);
    adit_stop(p->b);
    adit_stop(p->b);
}

static void posted_ping(void *arg)
{
    struct pair *p = arg;
    uint8_t data[sizeof(ping_packet)];
    adit_packet packet = {.data = data, .len = sizeof(data)};

    memcpy(data, ping_packet, sizeof(data));
    fill_sum(data + 10, data, 20);
    fill_sum(data + 22, data + 20, sizeof(data) - 20);
    adit_input(p->b, &packet, 1);
}

static void counters_are_read_from_another_thread_soon_after(void **state)
{
    struct pair *p = *state;
    uint64_t sent = 0;

    p->cut = true;
    assert_int_equal(adit_start(p->b, NULL), 0);
    assert_int_equal(adit_post(adit_main_loop(p->b), posted_ping, p), 0);
    for (int i = 0; i < 1000 && sent == 0; i++) {
        usleep(1000);
        sent = stats_of(p->b).tx_packets;
    }
    assert_int_equal(sent, 1);
}

static void never(void *arg)
{
    (void)arg;
    fail_msg("%s", "called after the end");
}

static void never_ready(void *arg, adit_socket s, unsigned ev)
{
    (void)s;
    (void)ev;
    never(arg);
}

static void never_dialled(void *arg, int err, adit_socket s)
{
    (void)err;
    (void)s;
    never(arg);
}

static void what_a_host_left_running_ends_with_the_instance(void **state)
{
    struct pair *p = *state;
    adit_loop *b = adit_main_loop(p->b);
    adit_dest to = {0};
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(adit_addr_parse(&to.addr, "127.0.0.1:9"), 0);
    assert_non_null(adit_timer_start(b, 3600 * 1000, never, p));
    assert_non_null(adit_watch_start(b, fds[0], ADIT_READ, never_ready, p));
    assert_non_null(adit_dial_start(p->b, b, ADIT_PROTO_TCP, &to, never_dialled, p));
    adit_free(p->b);
    p->b = NULL;
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
}

static void a_run_that_was_stopped_before_it_began_returns(void **state)
{
    struct pair *p = *state;

    adit_stop(p->b);
    assert_int_equal(adit_run(p->b, NULL), 0);
}

/* The n-th allocation fails, for every n, while an instance is made and serves a datagram, an echo request and a flow. */
static void an_allocation_that_fails_is_an_error_or_a_drop_and_leaks_nothing(void **state)
{
    struct pair *p = *state;
    bool has_failed = true;
    adit_options o;
    int n;

    p->cut = true;
    adit_free(p->b);
    for (n = 1; has_failed; n++) {
        adit_allocator alloc = {
            .size = sizeof(alloc), .alloc = counting_alloc, .free = counting_free, .ctx = p};
        adit_error err = {0};
        long before = atomic_load(&p->allocated_bytes);

        adit_options_init(&o, ADIT_PRESET_DESKTOP);
        o.kind = ADIT_DEV_EXTERNAL;
        o.output = wire_to_a;
        o.output_ctx = p;
        o.alloc = &alloc;
        p->fail_at = n;
        if (adit_new(&p->b, &o, &server, p, &err) == 0) {
            packet_may_arrive(p, udp_packet, sizeof(udp_packet));
            packet_may_arrive(p, ping_packet, sizeof(ping_packet));
            packet_may_arrive(p, syn_packet, sizeof(syn_packet));
        } else {
            assert_int_equal(err.code, ADIT_ENOMEM);
            assert_true(err.msg[0] != '\0');
        }
        has_failed = p->fail_at == 0;
        adit_free(p->b);
        assert_int_equal(atomic_load(&p->allocated_bytes), before);
    }
    assert_true(n > 10);
    p->fail_at = 0;
    p->b = NULL;
}

static void what_cannot_be_made_says_why_and_leaves_nothing(void **state)
{
    struct pair *p = *state;
    long before = atomic_load(&p->allocated_bytes);
    adit_options o;
    adit_error err;
    adit *a = NULL;

    adit_options_init(&o, ADIT_PRESET_DESKTOP);
    o.kind = ADIT_DEV_EXTERNAL;
    o.output = wire_to_a;
    o.stack = "system";
    assert_int_equal(adit_new(&a, &o, &server, p, &err), ADIT_EINVAL); /* no kernel behind it that could accept */
    assert_true(err.msg[0] && err.hint[0]);
    assert_null(a);
    o.stack = "mixed";
    assert_int_equal(adit_new(&a, &o, &server, p, &err), ADIT_EINVAL);
    assert_true(err.msg[0] && err.hint[0]);
    o.stack = "";
    o.fault = "nonsense=1";
    assert_true(adit_new(&a, &o, &server, p, &err) < 0);
    assert_true(err.msg[0] != '\0');
    assert_int_equal(atomic_load(&p->allocated_bytes), before);
}

static void descriptors_given_for_good_are_closed_whatever_is_wrong_with_the_options(void **state)
{
    const size_t sizes[] = {sizeof(adit_options), sizeof(adit_options) + 8};

    for (size_t i = 0; i < 2; i++) {
        struct {
            adit_options o;
            uint64_t younger;
        } given = {.younger = 1};
        int fds[2];
        adit *a;

        assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
        adit_options_init(&given.o, ADIT_PRESET_DESKTOP);
        given.o.kind = ADIT_DEV_FD;
        given.o.fds = fds;
        given.o.fds_count = 1;
        given.o.take_fds = 1;
        given.o.preset = i == 0 ? 99 : ADIT_PRESET_DESKTOP;
        given.o.size = sizes[i];
        assert_int_equal(adit_new(&a, &given.o, &server, *state, NULL), ADIT_EINVAL);
        assert_int_equal(fcntl(fds[0], F_GETFD), -1);
        close(fds[1]);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_up, pair_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bytes_go_both_ways_and_both_ends_close_in_order),
        T(a_refused_flow_is_refused_for_the_client),
        T(without_a_tcp_handler_a_port_is_closed),
        T(an_abort_is_a_reset_for_the_client),
        T(a_client_that_resets_ends_the_servers_flow),
        T(a_flow_that_nobody_settles_is_refused_after_the_dial_timeout),
        T(stop_ends_open_flows_as_canceled_and_dispatch_says_when_all_is_over),
        T(free_closes_what_is_open_without_having_been_stopped),
        T(a_flow_that_was_taken_away_is_a_socket_with_both_its_ends),
        T(stop_inside_a_callback_calls_nobody_before_it_returns),
        T(listen_takes_flows_from_the_handler),
        T(a_datagram_is_answered_from_where_it_was_sent_to),
        T(an_echo_request_is_answered_as_the_handler_says),
        T(what_is_no_packet_is_dropped_and_counted),
        T(status_says_what_this_instance_is),
        T(an_idle_instance_has_no_timeout),
        T(an_instance_stops_from_its_own_callback_and_from_another_thread),
        T(counters_are_read_from_another_thread_soon_after),
        T(what_a_host_left_running_ends_with_the_instance),
        T(a_run_that_was_stopped_before_it_began_returns),
        T(an_allocation_that_fails_is_an_error_or_a_drop_and_leaks_nothing),
        T(what_cannot_be_made_says_why_and_leaves_nothing),
        T(descriptors_given_for_good_are_closed_whatever_is_wrong_with_the_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
