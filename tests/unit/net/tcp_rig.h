/* SPDX-License-Identifier: MIT */
/* tcp_rig: one TCP flow of ours against a scripted peer. The peer is the client 10.0.0.2:40000, ours is 1.2.3.4:80. What
 * arrives is made here, what leaves is recorded. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "net/tcp_private.h"
#include "wire/checksum.h"

enum { RIG_OUT_MAX = 64 };
#define RIG_PEER_ISS 1000u

struct rig_segment {
    struct tcp_segment s;
    uint8_t proto;
    uint8_t octets[64]; /* the first of its payload; of what is not TCP: behind the IP header */
};

struct tcp_rig {
    struct memory memory;
    struct buf_pool bufs;
    struct log log;
    struct net net;
    struct tcp_engine engine;
    uint64_t now_ns;
    adit_decision decision;  /* what prepare() says */
    struct tcp *t;
    struct rig_segment out[RIG_OUT_MAX];
    int out_count, out_at;   /* recorded; looked at */
    uint32_t snd, rcv;       /* the peer's next sequence number; what it has received of ours */
    uint32_t edge;           /* the window that we offered it ends here */
    uint32_t ts;             /* the peer's timestamp clock; 0: no timestamps */
    uint16_t wnd;            /* what it offers, unscaled */
    bool device_full;        /* nothing leaves */
    void *others;            /* memory that is not ours; NULL: all is */
    size_t others_bytes;
    uint16_t gso_bytes;      /* what it sends are super-segments of such segments; 0: they are not */
};

static inline bool rig_output(void *ctx, const struct packet_out *p)
{
    struct tcp_rig *r = ctx;
    struct rig_segment *o = &r->out[r->out_count];
    uint8_t flat[4096];
    uint32_t at = p->headers_bytes;
    struct ip_header ip;

    if (r->device_full)
        return false;
    assert_true(r->out_count < RIG_OUT_MAX);
    memcpy(flat, p->headers, p->headers_bytes);
    for (int i = 0; i < p->slices_count; i++)
        for (size_t j = 0; j < p->slices[i].len && at < sizeof(flat); j++)
            flat[at++] = ((const uint8_t *)p->slices[i].base)[j];
    memset(o, 0, sizeof(*o));
    o->proto = p->headers[9];
    if (ip_parse(&ip, p->headers, packet_out_bytes(p), true) == DROP_NONE && ip.proto == IP_PROTO_TCP) {
        assert_int_equal(tcp_parse(&o->s, flat + ip.header_bytes, at - ip.header_bytes), DROP_NONE);
        memcpy(o->octets, o->s.data, o->s.len_bytes < 64 ? o->s.len_bytes : 64);
        o->s.len_bytes = p->payload_bytes;
        o->s.gso_bytes = p->gso_bytes;
    } else {
        memcpy(o->octets, flat + 20, at - 20 < 64 ? at - 20 : 64);
    }
    r->out_count++;
    return true;
}

static inline void rig_prepare(void *ctx, const adit_flow *f, adit_decision *d)
{
    (void)f;
    *d = ((struct tcp_rig *)ctx)->decision;
}

static inline int rig_echo(void *ctx, struct echo *e, const struct ip_header *ip, const struct icmp_message *m)
{
    (void)ctx;
    (void)e;
    (void)ip;
    (void)m;
    return ADIT_DROP;
}

static inline void rig_random(void *ctx, void *buf, size_t len_bytes)
{
    (void)ctx;
    memset(buf, 0x5a, len_bytes);
}

static inline void rig_init(struct tcp_rig *r)
{
    struct net_env env = {
        .ctx = r, .output = rig_output, .prepare = rig_prepare, .echo = rig_echo, .random = rig_random};
    struct net_config c = {
        .mtu_bytes = 1500,
        .tcp_max = 8,
        .tcp_per_client_max = 8,
        .tcp_half_open_max = 4,
        .tcp_half_open_per_client_max = 2,
        .udp_max = 4,
        .udp_per_client_max = 4,
        .rx_window_bytes = 65535,
        .tx_buffer_bytes = 1024 * 1024,
        .tcp_idle_ns = 7440000000000ull,
        .tcp_half_closed_ns = 600000000000ull,
        .tcp_keepalive_ns = 7200000000000ull,
        .tcp_time_wait_ns = 60000000000ull,
        .pending_ns = 10000000000ull,
    };

    memset(r, 0, sizeof(*r));
    r->now_ns = 1000000000000ull;
    r->decision = (adit_decision){.size = sizeof(r->decision), .verdict = ADIT_DEFER};
    r->snd = RIG_PEER_ISS;
    r->wnd = 65535;
    memory_init(&r->memory, 64 * 1024 * 1024, NULL);
    buf_pool_init(&r->bufs, &r->memory, 1024 * 1024);
    assert_int_equal(net_init(&r->net, &c, &env, &r->memory, &r->bufs, &r->log, r->now_ns), 0);
    assert_int_equal(tcp_engine_init(&r->engine, &r->net), 0);
}

/* The flow that the ready list shows, as those above would find it. */
static inline struct tcp *rig_ready(struct tcp_rig *r)
{
    struct flow *f = net_next_ready(&r->net);

    return f ? tcp_of_flow(f) : NULL;
}

static inline void rig_drain_ready(struct tcp_rig *r)
{
    while (rig_ready(r)) {
    }
}

/* Of the memory so many percent are in use from now on, by others. */
static inline void rig_press(struct tcp_rig *r, unsigned percent)
{
    r->others_bytes = r->memory.budget_bytes / 100 * percent - r->memory.used_bytes;
    r->others = memory_alloc(&r->memory, r->others_bytes);
    assert_non_null(r->others);
}

static inline void rig_relieve(struct tcp_rig *r)
{
    memory_free(&r->memory, r->others, r->others_bytes);
    r->others = NULL;
}

static inline void rig_deinit(struct tcp_rig *r)
{
    rig_relieve(r);
    if (r->t) {
        struct stream *s = tcp_stream(r->t);

        if (r->t->state != TCP_CLOSED)
            s->ops->abort(s);
        s->ops->free(s);
    }
    tcp_engine_deinit(&r->engine);
    net_deinit(&r->net);
    buf_pool_deinit(&r->bufs);
    assert_int_equal(r->memory.used_bytes, 0);
}

static inline enum drop rig_in_segment(struct tcp_rig *r, struct tcp_segment s, const void *data, uint32_t len_bytes)
{
    struct ip_header ip = {.version = 4, .proto = IP_PROTO_TCP, .ttl = 64};
    struct buf *b = buf_new(&r->bufs, 100 + len_bytes);
    uint32_t header_bytes = (uint32_t)tcp_emit_bytes(&s), ip_bytes;
    enum drop why;
    uint64_t sum;

    ip_map4(ip.src, (const uint8_t[]){10, 0, 0, 2});
    ip_map4(ip.dst, (const uint8_t[]){1, 2, 3, 4});
    ip.payload_bytes = header_bytes + len_bytes;
    ip_bytes = (uint32_t)ip_emit(b->data, &ip);
    (void)tcp_emit(b->data + ip_bytes, &s);
    memcpy(b->data + ip_bytes + header_bytes, data, len_bytes);
    sum = checksum_pseudo(ip.src, ip.dst, IP_PROTO_TCP, ip.payload_bytes);
    sum = checksum_add(sum, b->data + ip_bytes, ip.payload_bytes);
    b->data[ip_bytes + 16] = (uint8_t)(checksum_finish(sum) >> 8);
    b->data[ip_bytes + 17] = (uint8_t)checksum_finish(sum);
    why = net_input(&r->net,
                    &(struct packet){.buf = b,
                                     .data = b->data,
                                     .len_bytes = ip_bytes + ip.payload_bytes,
                                     .gso_bytes = r->gso_bytes},
                    r->now_ns);
    buf_unref(b);
    return why;
}

/* A segment from the peer. */
static inline enum drop rig_in(struct tcp_rig *r, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len_bytes)
{
    static const uint8_t zeros[65536];
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .seq = seq, .ack = ack, .flags = flags, .wnd = r->wnd,
                            .has_ts = r->ts != 0, .ts_val = r->ts};

    return rig_in_segment(r, s, zeros, len_bytes);
}

static inline void rig_flush(struct tcp_rig *r)
{
    net_output(&r->net, r->now_ns);
}

static inline void rig_sleep(struct tcp_rig *r, uint64_t ns)
{
    uint64_t end_ns = r->now_ns + ns;

    while (net_next_ns(&r->net) <= end_ns) {
        uint64_t at = net_next_ns(&r->net);

        r->now_ns = at > r->now_ns ? at : r->now_ns;
        net_expire(&r->net, r->now_ns);
        net_output(&r->net, r->now_ns);
    }
    r->now_ns = end_ns;
}

/* What leaves, after the turn's output: NULL: nothing (more). */
static inline const struct rig_segment *rig_next(struct tcp_rig *r)
{
    rig_flush(r);
    return r->out_at < r->out_count ? &r->out[r->out_at++] : NULL;
}

static inline void rig_out(struct tcp_rig *r, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len_bytes)
{
    const struct rig_segment *o = rig_next(r);

    assert_non_null(o);
    assert_int_equal(o->s.flags & ~TCP_PSH, flags);
    assert_int_equal(o->s.seq, seq);
    if (flags & TCP_ACK)
        assert_int_equal(o->s.ack, ack);
    assert_int_equal(o->s.len_bytes, len_bytes);
}

static inline void rig_silent(struct tcp_rig *r)
{
    assert_null(rig_next(r));
}

static inline void rig_forget_output(struct tcp_rig *r)
{
    rig_flush(r);
    r->out_at = r->out_count = 0;
}

/* Our data and FIN, handed over by the handler. */
static inline void rig_write(struct tcp_rig *r, size_t len_bytes)
{
    struct stream *s = tcp_stream(r->t);

    while (len_bytes > 0) {
        adit_iov iov[4];
        int n = s->ops->reserve(s, iov, 4);
        size_t given = 0;

        assert_true(n > 0);
        for (int i = 0; i < n && given < len_bytes; i++) {
            size_t take = iov[i].len < len_bytes - given ? iov[i].len : len_bytes - given;

            memset(iov[i].base, 'x', take);
            given += take;
        }
        s->ops->commit(s, given);
        len_bytes -= given;
    }
}

static inline void rig_shutdown(struct tcp_rig *r)
{
    assert_int_equal(tcp_stream(r->t)->ops->shutdown(tcp_stream(r->t)), 0);
}

/* Our sequence number that follows the SYN-ACK's. */
static inline uint32_t rig_ours(const struct tcp_rig *r)
{
    return r->t->iss + 1;
}

static inline void rig_syn(struct tcp_rig *r)
{
    struct tcp_segment syn = {.src_port = 40000, .dst_port = 80, .seq = r->snd, .flags = TCP_SYN, .wnd = r->wnd,
                              .has_mss = true, .mss_bytes = 1460, .sack_permitted = true,
                              .has_ts = r->ts != 0, .ts_val = r->ts};

    assert_int_equal(rig_in_segment(r, syn, "", 0), DROP_NONE);
    r->snd++;
    r->t = rig_ready(r);
    assert_non_null(r->t);
    r->t->flow.owner = r;
}

/* Takes a fresh rig to a state by what peer and handler would do. */
static inline void rig_enter(struct tcp_rig *r, enum tcp_state state)
{
    bool peer_closes_first = state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK;

    if (state == TCP_SYN_SENT) {
        adit_addr from, to;

        (void)adit_addr_parse(&from, "1.2.3.4:80");
        (void)adit_addr_parse(&to, "10.0.0.2:40000");
        r->t = tcp_dial(&r->engine, &from, &to, r->now_ns);
        assert_non_null(r->t);
        r->t->flow.owner = r;
        rig_forget_output(r);
        return;
    }
    rig_syn(r);
    if (state == TCP_PENDING)
        return;
    assert_int_equal(tcp_stream(r->t)->ops->accept(tcp_stream(r->t)), 0);
    rig_forget_output(r);
    if (state != TCP_SYN_RECEIVED) {
        assert_int_equal(rig_in(r, TCP_ACK, r->snd, rig_ours(r), 0), DROP_NONE);
        if (peer_closes_first) {
            assert_int_equal(rig_in(r, TCP_FIN | TCP_ACK, r->snd++, rig_ours(r), 0), DROP_NONE);
            if (state == TCP_LAST_ACK)
                rig_shutdown(r);
        } else if (state != TCP_ESTABLISHED) {
            rig_shutdown(r);
            rig_forget_output(r);
            if (state == TCP_CLOSING) {
                (void)rig_in(r, TCP_FIN | TCP_ACK, r->snd++, rig_ours(r), 0);
            } else if (state != TCP_FIN_WAIT_1) {
                (void)rig_in(r, TCP_ACK, r->snd, rig_ours(r) + 1, 0);
                if (state == TCP_TIME_WAIT)
                    (void)rig_in(r, TCP_FIN | TCP_ACK, r->snd++, rig_ours(r) + 1, 0);
            }
        }
    }
    rig_forget_output(r);
    rig_drain_ready(r);
    assert_int_equal(r->t->state, state);
    r->edge = r->t->rcv_edge;
}

/* A fresh rig whose flow is open. */
static inline void rig_established(struct tcp_rig *r)
{
    rig_init(r);
    rig_enter(r, TCP_ESTABLISHED);
}
