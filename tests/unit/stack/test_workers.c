/* SPDX-License-Identifier: MIT */
/* workers: an instance with two workers whose queues are sockets, and between it and its clients a switch that is as bad as can
 * be: it puts each packet on any queue.
 *
 *     client (one worker, adit_stack_dial) <--socket--> the switch, this thread <--socket, socket--> server (two workers)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "../random.h"
#include "adit/adit.h"
#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/icmp.h"
#include "wire/ip.h"
#include "echo.h"

enum { QUEUES = 2, FLOWS = 12, FLOW_BYTES = 100000, WAIT_MS = 30000, PACKET_BYTES = 65536, CAPTURE_BYTES = 4 << 20 };

struct client_flow {
    struct world *world;
    uint32_t sent, received;
    int why;
};

struct world {
    int near[1 + QUEUES], far[1 + QUEUES]; /* [0]: the client's; near: what the switch has */
    adit *server, *client;
    struct random r;
    atomic_int clients_open, mappings, listened, refused;
    uint32_t narrow_bytes; /* 0, or: the switch has no room for what is longer. It says so at queue 2; everything else the
                              client sends goes to queue 1 */
    int too_big;
    struct client_flow flows[FLOWS];
};

static struct world w;
static struct { /* apart: the instance adds to it without a lock of the test's */
    uint8_t bytes[CAPTURE_BYTES];
    size_t len;
} capture;

/* -------------------------------------------------------------------------------------- the server -- */

static const adit_conn_ops echo_ops = {.size = sizeof(echo_ops), .event = echo_event};

static void server_tcp(void *ctx, adit_conn *c)
{
    (void)ctx;
    adit_conn_set_ops(c, &echo_ops, NULL);
    adit_conn_accept(c);
    adit_conn_want(c, ADIT_READ);
}

static void listener_tcp(void *ctx, adit_conn *c)
{
    atomic_fetch_add(&w.listened, 1);
    server_tcp(ctx, c);
}

static void udp_event(adit_udp *u, void *user)
{
    adit_dgram d;

    (void)user;
    while (adit_udp_recv(u, &d, 1) == 1) {
        adit_udp_send(u, &d, 1);
        adit_udp_release(u, 1);
    }
}

static void udp_closed(adit_udp *u, int why, void *user)
{
    (void)u;
    (void)user;
    atomic_fetch_add(&w.refused, why == ADIT_EREFUSED);
}

static const adit_udp_ops udp_ops = {.size = sizeof(udp_ops), .event = udp_event, .closed = udp_closed};

static void server_udp(void *ctx, adit_udp *u)
{
    (void)ctx;
    atomic_fetch_add(&w.mappings, 1);
    adit_udp_set_ops(u, &udp_ops, NULL);
}

static const adit_handler server = {.size = sizeof(server), .tcp = server_tcp, .udp = server_udp};
static const adit_handler nobody = {.size = sizeof(nobody)};

/* ------------------------------------------------------------------------------------- the clients -- */

static void client_event(adit_conn *c, unsigned ev, void *user)
{
    struct client_flow *f = user;
    uint8_t data[4096];
    ptrdiff_t n;

    (void)ev;
    while (f->sent < FLOW_BYTES) {
        uint32_t len = FLOW_BYTES - f->sent < sizeof(data) ? FLOW_BYTES - f->sent : sizeof(data);

        for (uint32_t i = 0; i < len; i++)
            data[i] = (uint8_t)((f->sent + i) * 131 >> 3);
        n = adit_conn_send(c, data, len);
        if (n <= 0)
            break;
        f->sent += (uint32_t)n;
        if (f->sent == FLOW_BYTES)
            adit_conn_shutdown(c);
    }
    while ((n = adit_conn_recv(c, data, sizeof(data))) > 0) {
        for (ptrdiff_t i = 0; i < n; i++)
            assert_int_equal(data[i], (uint8_t)((f->received + (uint32_t)i) * 131 >> 3));
        f->received += (uint32_t)n;
    }
    adit_conn_want(c, f->sent < FLOW_BYTES ? ADIT_READ | ADIT_WRITE : ADIT_READ);
    if (n == 0)
        adit_conn_close(c);
}

static void client_closed(adit_conn *c, int why, void *user)
{
    struct client_flow *f = user;

    (void)c;
    f->why = why;
    atomic_fetch_sub(&w.clients_open, 1);
}

static const adit_conn_ops client_ops = {.size = sizeof(client_ops), .event = client_event, .closed = client_closed};

static void clients_dial(void *arg)
{
    adit_addr from, to;
    adit_conn *c;

    (void)arg;
    adit_addr_parse(&from, "10.0.0.1:1000");
    adit_addr_parse(&to, "192.0.2.1:80");
    for (int i = 0; i < FLOWS; i++) {
        from.port = (uint16_t)(1000 + i);
        w.flows[i] = (struct client_flow){.world = &w, .why = 1};
        assert_int_equal(adit_stack_dial(w.client, &from, &to, &client_ops, &w.flows[i], &c), 0);
        adit_conn_want(c, ADIT_READ | ADIT_WRITE);
    }
}

/* -------------------------------------------------------------------------------------- the switch -- */

static void append(void *ctx, const void *bytes, size_t len)
{
    (void)ctx;
    assert_true(capture.len + len <= sizeof(capture.bytes));
    memcpy(capture.bytes + capture.len, bytes, len);
    capture.len += len;
}

static void make(adit **a, const int *fds, size_t count, const adit_handler *h)
{
    adit_options o;
    adit_error err;

    adit_options_init(&o, ADIT_PRESET_DESKTOP);
    o.kind = ADIT_DEV_FD;
    o.fds = fds;
    o.fds_count = count;
    o.stack = "userspace";
    if (count > 1) {
        o.capture = append;
        o.capture_snap_bytes = 64;
    }
    if (adit_new(a, &o, h, NULL, &err))
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof(w));
    capture.len = 0;
    w.r = random_seeded("workers");
    for (int i = 0; i < 1 + QUEUES; i++) {
        int two[2];

        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, two))
            return -1;
        w.near[i] = two[0];
        w.far[i] = two[1];
    }
    make(&w.client, w.far, 1, &nobody);
    make(&w.server, w.far + 1, QUEUES, &server);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    adit_free(w.server);
    adit_free(w.client);
    for (int i = 0; i < 1 + QUEUES; i++) {
        close(w.near[i]);
        close(w.far[i]);
    }
    return 0;
}

static void start(void)
{
    assert_int_equal(adit_start(w.client, NULL), 0);
    assert_int_equal(adit_start(w.server, NULL), 0);
}

/* A packet to one side; one that finds no room within 100 ms is lost. */
/* False: the queue has been full for long, and the packet is lost. */
static bool put(int fd, const void *packet, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, 100) == 1 && send(fd, packet, len, MSG_DONTWAIT) == (ssize_t)len;
}

/* What a router would say about a packet of 192.0.2.1 or whomever. */
static size_t icmp_error_about(uint8_t *out, const uint8_t *packet, size_t len, enum icmp_kind kind, uint32_t mtu_bytes)
{
    struct icmp_message m = {.kind = kind, .mtu_bytes = mtu_bytes, .data = packet};
    struct ip_header ip = {.version = 4, .proto = 1, .ttl = 64}, about;
    size_t head;

    assert_int_equal(ip_parse(&about, packet, len, true), DROP_NONE);
    m.data_bytes = (uint32_t)icmp_quote_bytes(4, len);
    memcpy(ip.src, about.dst, 16);
    memcpy(ip.dst, about.src, 16);
    ip.payload_bytes = ICMP_HEADER_BYTES + m.data_bytes;
    head = ip_emit(out, &ip);
    icmp_emit(out + head, &ip, &m);
    memcpy(out + head + ICMP_HEADER_BYTES, packet, m.data_bytes);
    return head + ICMP_HEADER_BYTES + m.data_bytes;
}

static int queue_for_client(void)
{
    return w.narrow_bytes > 0 ? 1 : 1 + (int)(random_next(&w.r) % QUEUES);
}

/* One packet of one side to the other. */
static void pass(int from)
{
    static uint8_t packet[PACKET_BYTES], error[2048];
    ssize_t len = recv(w.near[from], packet, sizeof(packet), MSG_DONTWAIT);

    if (len <= 0)
        return;
    if (from == 0) {
        put(w.near[queue_for_client()], packet, (size_t)len);
    } else if (w.narrow_bytes == 0 || (size_t)len <= w.narrow_bytes) {
        put(w.near[0], packet, (size_t)len);
    } else {
        w.too_big += put(w.near[2], error, icmp_error_about(error, packet, (size_t)len, ICMP_TOO_BIG, w.narrow_bytes));
    }
}

static uint64_t clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Until all clients have closed. */
static void run_switch(void)
{
    uint64_t end_ms = clock_ms() + WAIT_MS;
    struct pollfd p[1 + QUEUES];

    while (atomic_load(&w.clients_open) > 0 && clock_ms() < end_ms) {
        for (int i = 0; i < 1 + QUEUES; i++)
            p[i] = (struct pollfd){.fd = w.near[i], .events = POLLIN};
        poll(p, 1 + QUEUES, 20);
        for (int i = 0; i < 1 + QUEUES; i++)
            if (p[i].revents & POLLIN)
                pass(i);
    }
    assert_int_equal(atomic_load(&w.clients_open), 0);
}

/* When they have stayed the same for ten times a report's age: a thread may have to wait for its processor. */
static adit_stats counters(adit *a)
{
    adit_stats s = {.size = sizeof(s)}, before;

    assert_int_equal(adit_get_stats(a, &s), 0);
    for (int same = 0; same < 10; same++) {
        before = s;
        usleep(30000);
        assert_int_equal(adit_get_stats(a, &s), 0);
        if (memcmp(&s, &before, sizeof(s)) != 0)
            same = 0;
    }
    return s;
}

static uint64_t drops(const adit_stats *s, const char *name)
{
    for (unsigned i = 0; adit_drop_name(i); i++)
        if (strcmp(adit_drop_name(i), name) == 0)
            return s->drops[i];
    fail_msg("there is no counter called %s", name);
    return 0;
}

static void flows_whose_packets_come_to_any_worker_are_whole(void **state)
{
    adit_stats s;

    (void)state;
    atomic_store(&w.clients_open, FLOWS);
    start();
    assert_int_equal(adit_post(adit_main_loop(w.client), clients_dial, NULL), 0);
    run_switch();
    for (int i = 0; i < FLOWS; i++) {
        assert_int_equal(w.flows[i].why, 0);
        assert_int_equal(w.flows[i].received, FLOW_BYTES);
    }
    s = counters(w.server);
    assert_int_equal(s.tcp_total, FLOWS);
    assert_true(s.handed_over > 0);
    assert_int_equal(drops(&s, "worker_full"), 0);
}

static void a_listener_has_its_flows_whichever_worker_gets_them(void **state)
{
    adit_addr at;

    (void)state;
    adit_addr_parse(&at, "192.0.2.1:80");
    assert_int_equal(adit_stack_listen(w.server, &at, listener_tcp, NULL), 0);
    assert_int_equal(adit_stack_listen(w.server, &at, listener_tcp, NULL), ADIT_EEXIST);
    atomic_store(&w.clients_open, FLOWS);
    start();
    assert_int_equal(adit_post(adit_main_loop(w.client), clients_dial, NULL), 0);
    run_switch();
    assert_int_equal(atomic_load(&w.listened), FLOWS);
}

/* A datagram of 192.0.2.1:5000 to 10.0.0.`to`:7, or its fragment: [at, at + len) of `all` octets, UDP header included. */
static size_t datagram(uint8_t *out, uint8_t to, uint32_t all, uint32_t at, uint32_t len)
{
    struct ip_header ip = {.version = 4, .proto = 17, .ttl = 64, .fragment_id = 77, .payload_bytes = len};
    uint8_t whole[4096] = {0x13, 0x88, 0, 7};
    size_t head;

    put_be16(whole + 4, (uint16_t)all);
    memset(whole + 8, 'x', sizeof(whole) - 8);
    memcpy(ip.src, (uint8_t[16]){[10] = 255, 255, 192, 0, 2, 1}, 16);
    memcpy(ip.dst, (uint8_t[16]){[10] = 255, 255, 10, 0, 0, to}, 16);
    head = ip_emit(out, &ip);
    put_be16(out + 6, (uint16_t)(at / 8 | (at + len < all ? 0x2000u : 0)));
    put_be16(out + 10, 0);
    put_be16(out + 10, checksum_finish(checksum_add(0, out, head)));
    memcpy(out + head, whole + at, len);
    return head + len;
}

/* The queue (1 on) at which the next packet comes out; 0: none within a second. */
static int next_out(uint8_t *packet, ssize_t *len)
{
    struct pollfd p[QUEUES];

    for (int i = 0; i < QUEUES; i++)
        p[i] = (struct pollfd){.fd = w.near[1 + i], .events = POLLIN};
    if (poll(p, QUEUES, 1000) <= 0)
        return 0;
    for (int i = 0; i < QUEUES; i++) {
        if (!(p[i].revents & POLLIN))
            continue;
        *len = recv(w.near[1 + i], packet, 2048, 0);
        return 1 + i;
    }
    return 0;
}

static void a_clients_datagrams_are_one_mapping_whichever_worker_gets_them(void **state)
{
    uint8_t packet[2048];
    ssize_t len = 0;
    adit_stats s;

    (void)state;
    start();
    for (uint8_t i = 0; i < 8; i++) {
        put(w.near[1 + i % QUEUES], packet, datagram(packet, (uint8_t)(1 + i), 100, 0, 100));
        assert_int_equal(next_out(packet, &len), 1); /* the first one's queue */
        assert_int_equal(len, 120);
        assert_int_equal(packet[15], 1 + i);
    }
    s = counters(w.server);
    assert_int_equal(s.udp_total, 1);
    assert_int_equal(atomic_load(&w.mappings), 1);
    assert_int_equal(s.handed_over, 4);
}

static void fragments_that_come_to_different_workers_are_one_datagram(void **state)
{
    uint8_t packet[2048];
    ssize_t len = 0;
    adit_stats s;

    (void)state;
    start();
    for (uint8_t i = 1; i < 9; i++) {
        put(w.near[1], packet, datagram(packet, i, 1208, 0, 800));
        put(w.near[2], packet, datagram(packet, i, 1208, 800, 408));
        assert_int_not_equal(next_out(packet, &len), 0);
        assert_int_equal(len, 1228);
        assert_int_equal(packet[15], i);
    }
    s = counters(w.server);
    assert_int_equal(s.udp_total, 1);
    assert_int_equal(drops(&s, "frag_timeout"), 0);
    assert_true(s.handed_over >= 8); /* one fragment of each */
}

static void an_error_about_a_flow_of_another_worker_reaches_it(void **state)
{
    uint8_t packet[2048], error[2048];
    ssize_t len = 0;
    adit_stats s;

    (void)state;
    start();
    put(w.near[1], packet, datagram(packet, 1, 100, 0, 100));
    assert_int_equal(next_out(packet, &len), 1);
    put(w.near[2], error, icmp_error_about(error, packet, (size_t)len, ICMP_UNREACH_PORT, 0));
    for (uint64_t end_ms = clock_ms() + WAIT_MS; atomic_load(&w.refused) == 0 && clock_ms() < end_ms;)
        usleep(1000);
    assert_int_equal(atomic_load(&w.refused), 1);
    s = counters(w.server);
    assert_int_equal(s.handed_over, 1);
    assert_int_equal(drops(&s, "icmp_error_unrelated"), 0);
}

static void a_narrow_path_that_another_worker_hears_of_is_kept_to(void **state)
{
    adit_stats s;

    (void)state;
    w.narrow_bytes = 1300;
    atomic_store(&w.clients_open, FLOWS);
    start();
    assert_int_equal(adit_post(adit_main_loop(w.client), clients_dial, NULL), 0);
    run_switch();
    for (int i = 0; i < FLOWS; i++)
        assert_int_equal(w.flows[i].received, FLOW_BYTES);
    s = counters(w.server);
    assert_true(w.too_big > 0);
    assert_int_equal(s.handed_over, w.too_big);
    /* Once for each flow: who knows already takes it for something else. */
    assert_int_equal(s.handed_over - drops(&s, "icmp_error_unrelated"), FLOWS);
}

static uint32_t captured_word(size_t at)
{
    uint32_t v;

    assert_true(at + sizeof(v) <= capture.len);
    memcpy(&v, capture.bytes + at, sizeof(v));
    return v;
}

/* The clock that a capture's times are of. */
static uint64_t date_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void the_capture_of_all_workers_is_one_file(void **state)
{
    uint64_t began_ns = date_ns(), packets[3] = {0}; /* by direction: 1 in, 2 out */
    size_t at = 0;
    int blocks = 0;
    adit_stats s;

    (void)state;
    atomic_store(&w.clients_open, FLOWS);
    start();
    assert_int_equal(adit_post(adit_main_loop(w.client), clients_dial, NULL), 0);
    run_switch();
    adit_stop(w.server);
    usleep(1000000); /* more than it may take to end */
    s = counters(w.server);
    for (; at < capture.len; blocks++) {
        uint32_t type = captured_word(at), len = captured_word(at + 4);
        uint64_t time_ns = (uint64_t)captured_word(at + 12) << 32 | captured_word(at + 16);

        assert_int_equal(type, blocks == 0 ? 0x0a0d0d0a : blocks == 1 ? 1 : 6);
        assert_int_equal(captured_word(at + len - 4), len);
        at += len;
        if (type != 6)
            continue;
        assert_in_range(time_ns, began_ns - 1000000000u, date_ns() + 1000000000u);
        assert_in_range(captured_word(at - 12), 1, 2);
        packets[captured_word(at - 12)]++;
    }
    assert_int_equal(at, capture.len);
    assert_int_equal(packets[1], s.rx_packets); /* once, where they came */
    assert_int_equal(packets[2], s.tx_packets);
}

static void loops_of_several_workers_are_nobody_elses(void **state)
{
    (void)state;
    assert_int_equal(adit_loop_dispatch(adit_main_loop(w.client)), 0);
    assert_int_equal(adit_loop_dispatch(adit_main_loop(w.server)), ADIT_ENOTSUP);
    assert_int_equal(adit_start(w.server, NULL), 0);
    assert_int_equal(adit_loop_dispatch(adit_main_loop(w.server)), ADIT_ENOTSUP);
}

static void as_many_workers_as_queues_or_none_is_said(void **state)
{
    adit_options o;
    adit_error err;
    adit *a;

    (void)state;
    adit_options_init(&o, ADIT_PRESET_DESKTOP);
    o.kind = ADIT_DEV_FD;
    o.fds = w.far + 1;
    o.fds_count = QUEUES;
    o.workers = QUEUES + 1;
    assert_int_equal(adit_new(&a, &o, &server, NULL, &err), ADIT_EINVAL);
    assert_non_null(strstr(err.msg, "3 workers need as many queues, and there are 2"));
    o.workers = 1;
    assert_int_equal(adit_new(&a, &o, &server, NULL, &err), ADIT_EINVAL);
    assert_non_null(strstr(err.msg, "2 queues need as many workers"));
    o.workers = QUEUES;
    o.stack = "system";
    assert_int_equal(adit_new(&a, &o, &server, NULL, &err), ADIT_ENOTSUP);
    assert_non_null(strstr(err.msg, "the stack \"system\" runs one worker: the kernel accepts at one place"));
    o.stack = "mixed";
    assert_int_equal(adit_new(&a, &o, &server, NULL, &err), ADIT_ENOTSUP);
    assert_non_null(strstr(err.msg, "the stack \"mixed\" runs one worker"));
    assert_non_null(strstr(err.hint, "userspace"));
}

static void an_instance_that_never_ran_is_freed(void **state)
{
    (void)state; /* which teardown does */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(flows_whose_packets_come_to_any_worker_are_whole),
        TEST(a_listener_has_its_flows_whichever_worker_gets_them),
        TEST(a_clients_datagrams_are_one_mapping_whichever_worker_gets_them),
        TEST(fragments_that_come_to_different_workers_are_one_datagram),
        TEST(an_error_about_a_flow_of_another_worker_reaches_it),
        TEST(a_narrow_path_that_another_worker_hears_of_is_kept_to),
        TEST(the_capture_of_all_workers_is_one_file),
        TEST(loops_of_several_workers_are_nobody_elses),
        TEST(as_many_workers_as_queues_or_none_is_said),
        TEST(an_instance_that_never_ran_is_freed),
    };

    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
