/* SPDX-License-Identifier: MIT */
/* mixed: TCP that ends in our own engine, or in the host's kernel where prepare() asks for it.
 *
 *              SYN of nobody's --> our own TCP: checks, limits, prepare() --- decision: kernel ---> mixed_take --> nat.c
 *   packet --<                          \--- any other decision: stays there
 *              of a flow ---------> whose it is (flow.is_kernel)
 *
 * Each half is the stack of its name on a struct stack of its own, without a handler or conns: conn.c sees the outer one only. A
 * flow is asked about once, whoever gets it, under one id.
 *
 * The kernel's half begins with the first flow that asks for it. Before that the core talks to our own TCP directly, so
 * that an instance in which nobody asks pays one comparison a SYN. Afterwards a packet costs a second look into the flow
 * table. Where the kernel's half cannot be started, or has no listener of the flow's IP version, flows stay in userspace: the
 * host is told once (notice), and the status says why. It is not tried again.
 *
 * The limits are those of the instance: half-open flows and those of a client are counted together; tcp_max holds for what
 * handlers see. */
#include <stdio.h>
#include <string.h>
#include "base/bytes.h"
#include "base/error.h"
#include "net/nat.h"
#include "net/tcp_answer.h"
#include "stack/stack.h"
#include "wire/fake_peer.h"

struct mixed_half {
    struct stack stack;
    const struct stack_ops *ops;
    const struct net_tcp_ops *tcp_ops; /* NULL: it has not been started */
    void *tcp;
};

struct mixed {
    struct stack *stack;
    struct mixed_half user, kernel;
    struct net_kernel door; /* what our own TCP asks */
    bool has_failed;        /* the kernel's half */
};

/* ------------------------------------------------------------------------------------- whose it is -- */

static struct mixed_half *half_of_flow(struct mixed *m, const struct flow *f)
{
    return f->is_kernel ? &m->kernel : &m->user;
}

/* client, remote: the addresses and, before them, the ports of a packet from the client. */
static struct flow *mixed_find(const struct mixed *m, const uint8_t client[16], const uint8_t remote[16],
                               uint16_t client_port, uint16_t remote_port)
{
    const struct flow_table *flows = &m->stack->config.net->flows;
    struct flow_key key = {.client_port = client_port, .remote_port = remote_port, .proto = IP_PROTO_TCP};

    memcpy(key.client, client, 16);
    memcpy(key.remote, remote, 16);
    return flow_find(flows, &key, flow_hash(flows, &key));
}

/* The client uses a port again whose last flow the kernel had: this one has to be asked about. */
static bool packet_begins_anew(const struct mixed *m, struct flow *f, const struct ip_header *ip, const struct packet *p)
{
    const uint8_t *tcp = p->data + ip->header_bytes;

    return ip->payload_bytes >= TCP_HEADER_BYTES && (tcp[13] & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
           tcp_checksum_is_right(m->stack->config.net, ip, p) && nat_forget_done(nat_of_flow(f));
}

static struct mixed_half *half_of_packet(struct mixed *m, const struct ip_header *ip, const struct packet *p)
{
    const uint8_t *tcp = p->data + ip->header_bytes;
    struct flow *f;

    if (ip_is_fake_peer(ip->dst) || ip_is_fake_peer(ip->src))
        return &m->kernel;
    if (ip->payload_bytes < TCP_HEADER_BYTES)
        return &m->user;
    f = mixed_find(m, ip->src, ip->dst, get_be16(tcp), get_be16(tcp + 2));
    if (!f || (f->is_kernel && packet_begins_anew(m, f, ip, p)))
        return &m->user;
    return half_of_flow(m, f);
}

static enum drop mixed_input(void *tcp, const struct ip_header *ip, const struct packet *p, uint64_t now_ns)
{
    const struct mixed_half *h = half_of_packet(tcp, ip, p);

    return h->tcp_ops->input(h->tcp, ip, p, now_ns);
}

static enum drop mixed_icmp_error(void *tcp, const struct ip_header *quoted_ip, const uint8_t *quoted,
                                  const struct icmp_message *e, uint64_t now_ns)
{
    struct mixed *m = tcp;
    const struct flow *f = mixed_find(m, quoted_ip->dst, quoted_ip->src, get_be16(quoted + 2), get_be16(quoted));
    bool is_kernel = f ? f->is_kernel : ip_is_fake_peer(quoted_ip->src) || ip_is_fake_peer(quoted_ip->dst);
    const struct mixed_half *h = is_kernel ? &m->kernel : &m->user;

    return h->tcp_ops->icmp_error(h->tcp, quoted_ip, quoted, e, now_ns);
}

static void mixed_expire(void *tcp, struct flow *f, uint64_t now_ns)
{
    const struct mixed_half *h = half_of_flow(tcp, f);

    h->tcp_ops->expire(h->tcp, f, now_ns);
}

static bool mixed_output(void *tcp, struct flow *f, uint64_t now_ns)
{
    const struct mixed_half *h = half_of_flow(tcp, f);

    return h->tcp_ops->output(h->tcp, f, now_ns);
}

static void mixed_evict(void *tcp, struct flow *f)
{
    const struct mixed_half *h = half_of_flow(tcp, f);

    h->tcp_ops->evict(h->tcp, f);
}

static void mixed_relieve(void *tcp, uint64_t now_ns)
{
    const struct mixed *m = tcp;

    m->user.tcp_ops->relieve(m->user.tcp, now_ns);
}

static const struct net_tcp_ops mixed_tcp_ops = {
    .input = mixed_input,
    .icmp_error = mixed_icmp_error,
    .expire = mixed_expire,
    .output = mixed_output,
    .evict = mixed_evict,
    .relieve = mixed_relieve,
};

/* -------------------------------------------------------------------------------------- the halves -- */

static int half_start(struct mixed_half *h, const struct stack_ops *ops, const struct stack_config *c)
{
    int err;

    h->ops = ops;
    h->stack = (struct stack){.config = *c, .ops = ops};
    err = ops->start(&h->stack);
    if (err)
        return err;
    h->tcp_ops = c->net->tcp_ops;
    h->tcp = c->net->tcp;
    return 0;
}

static void half_stop(struct mixed_half *h)
{
    if (h->tcp_ops)
        h->ops->stop(&h->stack);
    h->tcp_ops = NULL;
}

static void mixed_fall_back(struct mixed *m, adit_error *why)
{
    const struct stack_config *c = &m->stack->config;

    if (why->hint[0] == '\0')
        snprintf(why->hint, sizeof(why->hint), "such flows stay in userspace");
    m->has_failed = true;
    stack_set_fallback(m->stack, why->msg);
    log_write(c->net->log, ADIT_LOG_WARN, "mixed", 0, "the kernel terminates no flow", "why", why->msg, NULL);
    if (c->notice)
        c->notice(c->notice_ctx, why);
}

static void mixed_start_kernel(struct mixed *m)
{
    struct stack_config c = m->stack->config;
    adit_error why = {0};
    int err = 0;

    if (c.listeners_count == 0)
        err = c.listen(c.listen_ctx, c.listeners, &c.listeners_count, &why);
    if (err == 0) {
        err = half_start(&m->kernel, &stack_system, &c);
        if (err) { /* it may have put itself in the place of ours */
            net_set_tcp(c.net, m->user.tcp_ops, m->user.tcp);
            error_set(&why, err, 0, "stack", "the kernel's half of the stack \"mixed\" cannot be started", "");
        }
    }
    if (err) {
        mixed_fall_back(m, &why);
        return;
    }
    m->stack->engine = m->kernel.stack.engine;
    stack_set_fallback(m->stack, m->kernel.stack.fallback);
    net_set_tcp(c.net, &mixed_tcp_ops, m);
}

static bool mixed_is_ready(void *ctx, uint8_t ip_version, uint64_t now_ns)
{
    struct mixed *m = ctx;

    if (!m->kernel.tcp_ops && !m->has_failed)
        mixed_start_kernel(m);
    if (m->has_failed)
        return false;
    m->kernel.ops->set_now(&m->kernel.stack, now_ns);
    return nat_serves(m->kernel.tcp, ip_version);
}

static enum drop mixed_take(void *ctx, const struct ip_header *ip, const struct packet *p, const adit_decision *d,
                            uint64_t id)
{
    struct mixed *m = ctx;

    return nat_take(m->kernel.tcp, ip, p, d, id);
}

/* --------------------------------------------------------------------------------------- the stack -- */

static int mixed_start(struct stack *s)
{
    struct net *net = s->config.net;
    struct mixed *m = memory_alloc(net->memory, sizeof(*m));
    int err;

    if (!m)
        return ADIT_ENOMEM;
    *m = (struct mixed){.stack = s, .door = {.ctx = m, .is_ready = mixed_is_ready, .take = mixed_take}};
    err = half_start(&m->user, &stack_userspace, &s->config);
    if (err) {
        memory_free(net->memory, m, sizeof(*m));
        return err;
    }
    net->kernel = &m->door;
    s->tcp = m;
    return 0;
}

/* The kernel's half goes first: ours takes every flow that is left for its own. */
static void mixed_stop(struct stack *s)
{
    struct mixed *m = s->tcp;

    s->config.net->kernel = NULL;
    half_stop(&m->kernel);
    half_stop(&m->user);
    memory_free(s->config.net->memory, m, sizeof(*m));
    s->tcp = NULL;
}

static struct stream *mixed_stream(struct flow *f)
{
    return f->is_kernel ? stack_system.stream(f) : stack_userspace.stream(f);
}

static struct flow *mixed_dial(struct stack *s, const adit_addr *from, const adit_addr *to, uint64_t now_ns)
{
    struct mixed *m = s->tcp;

    return m->user.ops->dial(&m->user.stack, from, to, now_ns);
}

static void mixed_set_now(struct stack *s, uint64_t now_ns)
{
    struct mixed *m = s->tcp;

    m->user.ops->set_now(&m->user.stack, now_ns);
    if (m->kernel.tcp_ops)
        m->kernel.ops->set_now(&m->kernel.stack, now_ns);
}

const struct stack_ops stack_mixed = {
    .name = "mixed",
    .listeners = STACK_LISTENERS_LATER,
    .start = mixed_start,
    .stop = mixed_stop,
    .stream = mixed_stream,
    .dial = mixed_dial,
    .set_now = mixed_set_now,
};
