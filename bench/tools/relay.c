/* SPDX-License-Identifier: MIT */
/* bench_relay LISTEN TO BASE_PORT: the library's relay between two sockets of the kernel's, without a device: what the stack
 * `system` would cost if its engine were free. It listens on LISTEN at the ports of the TCP services and relays each
 * connection to TO, the same port, until its input ends.
 *
 * Each service has a thread with a loop, a core and the stack `system`, as a worker has. The stack waits for SYNs that a
 * device has seen; here nobody sees them, so one is made up for each connection that the kernel accepts, and a RST when the
 * conn has ended. That costs about a microsecond a connection, and nothing for an octet. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/stack.h"
#include "tool.h"
#include "wire/ip.h"
#include "wire/tcp.h"

enum { RELAY_FLOWS_MAX = 20000, RELAY_CACHED_BYTES = 8 * 1024 * 1024 };
#define RELAY_SECOND_NS 1000000000ull

struct relay_service {
    pthread_t thread;
    struct memory memory;
    struct buf_pool bufs;
    struct log log;
    struct net net;
    struct stack stack;
    struct adit_loop *loop;
    adit_addr client, remote, peer; /* of the flow that is made up; peer: the fake one that it was given */
    adit_dest to;
    uint64_t random;
    int listener;
};

static _Thread_local struct relay_service *relay_own; /* of this thread, for accept4() */

/* ------------------------------------------------------------------------------------- made-up packets -- */

static void relay_say(struct relay_service *s, const adit_addr *client, uint8_t flags)
{
    struct tcp_segment t = {.src_port = client->port, .dst_port = s->remote.port, .flags = flags, .seq = 1, .wnd = 65535};
    struct ip_header h = {.proto = ADIT_PROTO_TCP, .ttl = 64};
    struct packet p = {.buf = buf_new(&s->bufs, 256), .csum = PACKET_CSUM_VALID};
    uint8_t segment[TCP_HEADER_BYTES_MAX];
    size_t at;

    if (!p.buf)
        tool_fail("no memory");
    h.payload_bytes = (uint32_t)tcp_emit(segment, &t);
    memcpy(h.src, client->ip, 16);
    memcpy(h.dst, s->remote.ip, 16);
    at = ip_emit(p.buf->data, &h);
    memcpy(p.buf->data + at, segment, h.payload_bytes);
    p.data = p.buf->data;
    p.len_bytes = (uint32_t)at + h.payload_bytes;
    (void)net_input(&s->net, &p, loop_now_ns(s->loop));
    buf_unref(p.buf);
}

/* In the place of the C library's: the stack's listener accepts from the fake peer that the core chose. */
int accept4(int fd, struct sockaddr *name, socklen_t *len, int flags)
{
    int got = (int)syscall(SYS_accept4, fd, NULL, NULL, flags), bytes;
    struct relay_service *s = relay_own;

    if (got < 0)
        return got;
    if (++s->client.port == 0) {
        s->client.port = 1;
        s->client.ip[15]++;
    }
    relay_say(s, &s->client, TCP_SYN);
    if (adit_addr_to_sockaddr(&s->peer, name, &bytes) < 0)
        tool_fail("accept");
    *len = (socklen_t)bytes;
    return got;
}

/* What goes to the kernel is the SYN: its source is the fake peer. */
static bool relay_output(void *ctx, const struct packet_out *p)
{
    struct relay_service *s = ctx;
    struct ip_header h;
    uint8_t packet[PACKET_HEADERS_MAX + TCP_HEADER_BYTES_MAX];
    size_t at = p->headers_bytes;

    memcpy(packet, p->headers, at);
    for (int i = 0; i < p->slices_count && at + p->slices[i].len <= sizeof(packet); i++) {
        memcpy(packet + at, p->slices[i].base, p->slices[i].len);
        at += p->slices[i].len;
    }
    if (ip_parse(&h, packet, at, true) != DROP_NONE || h.payload_bytes < TCP_HEADER_BYTES)
        return true;
    memcpy(s->peer.ip, h.src, 16);
    s->peer.port = get_be16(packet + h.header_bytes);
    return true;
}

static void relay_prepare(void *ctx, const adit_flow *f, adit_decision *d)
{
    (void)ctx;
    (void)f;
    d->verdict = ADIT_ACCEPT;
}

static void relay_random(void *ctx, void *buf, size_t len)
{
    struct relay_service *s = ctx;

    for (size_t i = 0; i < len; i++) {
        s->random = s->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)buf)[i] = (uint8_t)(s->random >> 56);
    }
}

/* ---------------------------------------------------------------------------------------- the handler -- */

static void relay_closed(adit_conn *c, int why, void *user)
{
    (void)why;
    relay_say(user, &adit_conn_flow(c)->src, TCP_RST);
}

static void relay_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {.size = sizeof(ops), .closed = relay_closed};
    struct relay_service *s = ctx;

    adit_conn_set_ops(c, &ops, s);
    if (adit_conn_dial(c, &s->to, NULL) < 0)
        adit_conn_abort(c);
}

/* ------------------------------------------------------------------------------------------ a service -- */

static void relay_begin(void *ctx, uint64_t now_ns)
{
    stack_set_now(&((struct relay_service *)ctx)->stack, now_ns);
}

/* As a worker's turn. */
static void relay_turn(void *ctx, uint64_t now_ns)
{
    struct relay_service *s = ctx;
    struct flow *f;

    while ((f = net_next_ready(&s->net)) != NULL)
        stack_serve(&s->stack, f);
    net_expire(&s->net, now_ns);
    net_output(&s->net, now_ns);
    stack_settle(&s->stack);
}

static uint64_t relay_next_ns(void *ctx)
{
    struct relay_service *s = ctx;

    return list_is_empty(&s->net.ready) ? net_next_ns(&s->net) : 0;
}

static void *relay_run(void *arg)
{
    relay_own = arg;
    loop_run(relay_own->loop);
    return NULL;
}

static void relay_start(struct relay_service *s)
{
    struct net_config config = {
        .mtu_bytes = 1500, .tcp_max = RELAY_FLOWS_MAX, .tcp_per_client_max = RELAY_FLOWS_MAX,
        .tcp_half_open_max = RELAY_FLOWS_MAX, .tcp_half_open_per_client_max = RELAY_FLOWS_MAX, .udp_max = 1,
        .udp_per_client_max = 1, .tcp_idle_ns = 3600 * RELAY_SECOND_NS, .tcp_half_closed_ns = 60 * RELAY_SECOND_NS,
        .tcp_time_wait_ns = RELAY_SECOND_NS, .pending_ns = 10 * RELAY_SECOND_NS, .allow_martians = true};
    struct net_env env = {.ctx = s, .output = relay_output, .prepare = relay_prepare, .random = relay_random};
    struct loop_config loop = {
        .hooks = {.ctx = s, .begin = relay_begin, .turn = relay_turn, .next_ns = relay_next_ns}};
    struct stack_config stack;

    memory_init(&s->memory, UINT64_MAX, NULL);
    buf_pool_init(&s->bufs, &s->memory, RELAY_CACHED_BYTES);
    if (loop_new(&s->loop, &loop, NULL) ||
        net_init(&s->net, &config, &env, &s->memory, &s->bufs, &s->log, loop_now_ns(s->loop)))
        tool_fail("a loop");
    stack = (struct stack_config){
        .loop = s->loop, .net = &s->net, .handler = {.size = sizeof(adit_handler), .tcp = relay_tcp}, .handler_ctx = s,
        .dial_ns = 10 * RELAY_SECOND_NS, .half_closed_ns = 60 * RELAY_SECOND_NS, .conns_max = RELAY_FLOWS_MAX,
        .mappings_max = 1, .listeners = {s->listener}, .listeners_count = 1};
    if (stack_init(&s->stack, &stack_system, &stack) || pthread_create(&s->thread, NULL, relay_run, s))
        tool_fail("a stack");
}

static int relay_listen(const char *address, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
        tool_fail(address);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4096) < 0)
        tool_fail("listen");
    return fd;
}

int main(int argc, char **argv)
{
    static const int services[] = {TOOL_ECHO, TOOL_SINK, TOOL_SOURCE};
    static struct relay_service all[sizeof(services) / sizeof(services[0])];
    uint32_t base;

    if (argc != 4) {
        fprintf(stderr, "usage: bench_relay LISTEN TO BASE_PORT\n");
        return 1;
    }
    base = tool_number(argv[3], 1, 65000);
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        struct relay_service *s = &all[i];
        uint16_t port = (uint16_t)(base + (uint32_t)services[i]);

        if (adit_addr_parse(&s->client, "10.0.0.2:1") || adit_addr_parse(&s->remote, "192.0.2.1:80") ||
            adit_addr_parse(&s->to.addr, argv[2]))
            tool_fail(argv[2]);
        s->to.addr.port = port;
        s->peer.family = 4;
        s->listener = relay_listen(argv[1], port);
        relay_start(s);
    }
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    _exit(0);
}
