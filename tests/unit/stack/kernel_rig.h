/* SPDX-License-Identifier: MIT */
/* kernel_rig: the stack `system` with a kernel that needs no device and no root. The test gives the SYN to the core, sees the
 * translated one leave, and connects to the listener itself; accept4() says that this was the fake peer.
 *
 *     test's client socket == loopback == the kernel's socket --- kernel_stream --- adit_conn --- the test's handler
 *                                                                                      \--- relay == test's server socket */
#pragma once
#include "../net/rig.h"
#include "../sock/rig.h"
#include "../sockets.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "stack/conn.h"
#include "stack/kernel_stream.h"
#include "wire/fake_peer.h"
#include "wire/tcp.h"

#define KERNEL_PATIENCE_NS 20000000000ull

struct kernel_rig {
    struct net_rig r;
    struct adit_loop *loop;
    struct stack stack;
    adit_conn *conn;
    int client; /* -1: closed */
    int listener;
    adit_addr listens, peer; /* peer: who connects next, as accept4() has it */
    uint64_t ahead_ns;       /* of the loop's clock before the system's */
    uint16_t next_port;
    int events, closeds, closed_why;
    unsigned last_event;
    void (*on_event)(struct kernel_rig *k, unsigned ev);
};

static struct kernel_rig *kernel_rig;

/* In the place of the C library's. */
int accept4(int fd, struct sockaddr *name, socklen_t *len, int flags)
{
    int got = (int)syscall(SYS_accept4, fd, name, len, flags), bytes;

    if (got >= 0 && fd == kernel_rig->listener) {
        assert_int_equal(adit_addr_to_sockaddr(&kernel_rig->peer, name, &bytes), 0);
        *len = (socklen_t)bytes;
    }
    return got;
}

static inline uint64_t kernel_now_ns(void *ctx)
{
    return rig_clock_ns() + ((struct kernel_rig *)ctx)->ahead_ns;
}

static inline void kernel_begin(void *ctx, uint64_t now_ns)
{
    stack_set_now(&((struct kernel_rig *)ctx)->stack, now_ns);
}

/* As a worker's turn. */
static inline void kernel_turn(void *ctx, uint64_t now_ns)
{
    struct kernel_rig *k = ctx;
    struct flow *f;

    k->r.now_ns = now_ns;
    for (int i = 0; i < 64 && (f = net_next_ready(&k->r.net)) != NULL; i++)
        stack_serve(&k->stack, f);
    net_expire(&k->r.net, now_ns);
    net_output(&k->r.net, now_ns);
    stack_settle(&k->stack);
}

static inline uint64_t kernel_next_ns(void *ctx)
{
    struct kernel_rig *k = ctx;

    return list_is_empty(&k->r.net.ready) ? net_next_ns(&k->r.net) : 0;
}

static inline void kernel_event(adit_conn *c, unsigned ev, void *user)
{
    struct kernel_rig *k = user;

    (void)c;
    k->events++;
    k->last_event = ev;
    if (k->on_event)
        k->on_event(k, ev);
}

static inline void kernel_closed(adit_conn *c, int why, void *user)
{
    struct kernel_rig *k = user;

    assert_ptr_equal(c, k->conn);
    k->closeds++;
    k->closed_why = why;
    k->conn = NULL;
}

static inline void kernel_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {.size = sizeof(ops), .event = kernel_event, .closed = kernel_closed};
    struct kernel_rig *k = ctx;

    k->conn = c;
    adit_conn_set_ops(c, &ops, k);
}

static inline int kernel_up(void **state)
{
    struct kernel_rig *k = kernel_rig = calloc(1, sizeof(*k));
    struct net_config config = rig_config();
    struct loop_config loop_config = {
        .now_ns = kernel_now_ns, .now_ctx = k,
        .hooks = {.ctx = k, .begin = kernel_begin, .turn = kernel_turn, .next_ns = kernel_next_ns}};
    struct stack_config stack_config;

    *state = k;
    config.pending_ns = 10 * RIG_SECOND_NS;
    config.tcp_idle_ns = 3600 * RIG_SECOND_NS;
    config.tcp_half_closed_ns = 60 * RIG_SECOND_NS;
    config.tcp_time_wait_ns = RIG_SECOND_NS;
    config.tcp_keepalive_ns = 77 * RIG_SECOND_NS;
    rig_init_with(&k->r, &config, 64 * 1024 * 1024, NULL);
    k->ahead_ns = RIG_EPOCH_NS - rig_clock_ns();
    k->client = -1;
    k->next_port = 40000;
    k->loop = rig_loop_with(&loop_config);
    k->listener = tcp_listen(&k->listens, "127.0.0.1", 16);
    tcp_unblock(k->listener);
    stack_config = (struct stack_config){
        .loop = k->loop, .net = &k->r.net, .handler = {.size = sizeof(adit_handler), .tcp = kernel_tcp}, .handler_ctx = k,
        .dial_ns = RIG_SECOND_NS, .half_closed_ns = 60 * RIG_SECOND_NS, .conns_max = 16, .mappings_max = 4,
        .listeners = {k->listener}, .listeners_count = 1};
    return stack_init(&k->stack, &stack_system, &stack_config);
}

static inline int kernel_down(void **state)
{
    struct kernel_rig *k = *state;

    stack_stop(&k->stack);
    for (int i = 0; i < 10 && !stack_is_empty(&k->stack); i++)
        rig_turn(k->loop, 0);
    stack_deinit(&k->stack);
    loop_free(k->loop);
    rig_deinit(&k->r);
    close(k->listener);
    if (k->client >= 0)
        close(k->client);
    free(k);
    return 0;
}

/* Turns until it is true. */
#define KERNEL_UNTIL(k, condition)                                                        \
    do {                                                                                  \
        uint64_t end_ns_ = rig_clock_ns() + KERNEL_PATIENCE_NS;                           \
        while (!(condition)) {                                                            \
            if (rig_clock_ns() > end_ns_)                                                 \
                fail_msg("never: %s", #condition);                                        \
            rig_turn((k)->loop, 10);                                                      \
        }                                                                                 \
    } while (0)

/* Time passes, and the loop turns. */
static inline void kernel_skip_ms(struct kernel_rig *k, uint64_t ms)
{
    k->ahead_ns += ms * 1000000;
    rig_turn(k->loop, 0);
}

/* A SYN comes; k->conn is PENDING. */
static inline void kernel_syn(struct kernel_rig *k)
{
    uint8_t packet[128], segment[TCP_HEADER_BYTES_MAX];
    struct tcp_segment syn = {.src_port = k->next_port++, .dst_port = 80, .flags = TCP_SYN, .seq = 100, .wnd = 1000};
    uint32_t len = make_ip(packet, "10.0.0.2", "1.2.3.4", IP_PROTO_TCP, segment, (uint32_t)tcp_emit(segment, &syn));

    assert_null(k->conn);
    assert_int_equal(rig_input_as(&k->r, packet, len, 0, PACKET_CSUM_VALID), DROP_NONE);
    rig_turn(k->loop, 0);
    assert_non_null(k->conn);
}

static inline struct kernel_stream *kernel_of_conn(const adit_conn *c)
{
    return LIST_ENTRY(&c->flow->stream, struct kernel_stream, nat.flow.stream);
}

/* The SYN that left is answered by the kernel, whose listener the client connects to. */
static inline void kernel_connect(struct kernel_rig *k)
{
    const struct nat_flow *f = &kernel_of_conn(k->conn)->nat;

    k->peer = (adit_addr){.family = 4, .port = f->peer_port};
    (void)fake_peer_prefix(4, k->peer.ip);
    k->peer.ip[15] = f->peer;
    k->client = tcp_connect(&k->listens, SOCK_STREAM);
    tcp_unblock(k->client);
}

/* A conn that is open, with its client. */
static inline void kernel_open(struct kernel_rig *k)
{
    kernel_syn(k);
    assert_int_equal(adit_conn_accept(k->conn), 0);
    kernel_connect(k);
    KERNEL_UNTIL(k, kernel_of_conn(k->conn)->fd >= 0);
}

static inline void kernel_client_closes(struct kernel_rig *k)
{
    close(k->client);
    k->client = -1;
}

static inline void tcp_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(fd);
}

static inline void kernel_client_resets(struct kernel_rig *k)
{
    tcp_reset(k->client);
    k->client = -1;
}

/* What recv() says within a second, while the loop turns: octets, 0 for FIN, -errno. */
static inline ssize_t kernel_recv(struct kernel_rig *k, int fd, void *out, size_t len)
{
    uint64_t end_ns = rig_clock_ns() + KERNEL_PATIENCE_NS;
    ssize_t got;

    while ((got = recv(fd, out, len, MSG_DONTWAIT)) < 0 && errno == EAGAIN && rig_clock_ns() < end_ns)
        rig_turn(k->loop, 1);
    return got < 0 ? -errno : got;
}
