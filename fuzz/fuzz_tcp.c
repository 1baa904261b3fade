/* SPDX-License-Identifier: MIT */
/* Up to three flows of one TCP engine, given segments, time and calls. The input is a row of records; the first
 * octet of each is kind and slot (a client port each; the last is IPv6):
 *
 *   0  flags  seq (3)  ack (3)  options  [blocks]  wnd (2)  length (2)   a segment
 *   1  ms (2)                                                            time passes, timers fire
 *   2  call  amount (2)                                                  the handler does something
 *   3  what                                                              a turn ends; device, verdict
 *   4  mtu (2)  seq (3)                                                  ICMP: too big, or unreachable
 *
 * Sequence numbers are an offset from one that the flow has (rcv_nxt, the window's edge, ...). Each octet is a
 * function of its place in the stream, both ways, so that whatever is read or sent can be judged. After each record
 * tcp_check() looks at every flow. */
#include <stdio.h>
#include "../tests/unit/net/tcp_check.h"
#include "base/bytes.h"
#include "core.h"

enum { SLOTS = 3, FLOWS_MAX = 4, PORT = 40000 };

struct hand { /* a flow that the handler owns */
    struct tcp *t;
    uint32_t read_bytes;
};

struct world {
    struct core core;
    struct tcp_engine engine;
    struct hand hands[FLOWS_MAX];
    struct { /* how far right each slot's window has been */
        uint64_t id;
        uint32_t edge;
    } edges[SLOTS];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static uint8_t octet_at(uint32_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 8) * 3);
}

static void key_of(struct flow_key *key, int slot)
{
    *key = (struct flow_key){
        .client_port = (uint16_t)(PORT + slot), .remote_port = 80, .proto = IP_PROTO_TCP};
    if (slot == SLOTS - 1) {
        memcpy(key->client, (const uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = 2}, 16);
        memcpy(key->remote, (const uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = 1}, 16);
    } else {
        ip_map4(key->client, (const uint8_t[]){10, 0, 0, 2});
        ip_map4(key->remote, (const uint8_t[]){1, 2, 3, 4});
    }
}

static struct tcp *flow_of_slot(struct world *w, int slot)
{
    struct flow_key key;
    struct flow *f;

    key_of(&key, slot);
    f = flow_find(&w->core.net.flows, &key, flow_hash(&w->core.net.flows, &key));
    return f ? tcp_of_flow(f) : NULL;
}

/* The sequence number of the first octet that the flow receives. The engine forgets its own (irs) when it rests. */
static uint32_t first_seq(const struct tcp *t)
{
    const struct hand *h = t->flow.owner;

    return t->rcv_nxt - t->fin_received - t->work->rx.bytes - (h ? h->read_bytes : 0);
}

/* What leaves is what was written, at its place. */
static bool world_output(void *ctx, const struct packet_out *p)
{
    struct world *w = LIST_ENTRY(ctx, struct world, core);
    struct tcp_segment s;
    struct ip_header ip;
    struct tcp *t;
    uint32_t at;

    if (!core_output(ctx, p))
        return false;
    assert(ip_parse(&ip, p->headers, packet_out_bytes(p), true) == DROP_NONE);
    if (ip.proto != IP_PROTO_TCP)
        return true;
    assert(tcp_parse(&s, p->headers + ip.header_bytes, p->headers_bytes - ip.header_bytes) ==
           DROP_NONE);
    t = flow_of_slot(w, s.dst_port - PORT);
    at = t ? s.seq - t->iss - 1 : 0;
    assert(t || p->payload_bytes == 0);
    for (int i = 0; i < p->slices_count; i++)
        for (size_t j = 0; j < p->slices[i].len; j++)
            assert(((const uint8_t *)p->slices[i].base)[j] == octet_at(at++));
    return true;
}

/* ---------------------------------------------------------------------------------- segments -- */

static uint32_t take_seq(struct bytes *in, const struct tcp *t)
{
    uint8_t from = bytes_u8(in);
    uint32_t offset = (uint32_t)(int32_t)(int16_t)bytes_be16(in);
    const struct tcp_island *i = t ? t->work->islands : NULL;

    if (!t)
        return 1000 + offset;
    switch (from % 8) {
    case 0:
        return t->rcv_nxt + offset;
    case 1:
        return t->rcv_edge + offset;
    case 2:
        return first_seq(t) - 1 + offset;
    case 3:
        return (i ? i->seq : t->rcv_nxt) + offset;
    case 4:
        return t->snd_una + offset;
    case 5:
        return t->snd_nxt + offset;
    case 6:
        return t->iss + offset;
    default:
        return tcp_tx_end(t) + offset;
    }
}

static void take_options(struct bytes *in, const struct tcp *t, struct tcp_segment *s)
{
    uint8_t options = bytes_u8(in), stamp;

    s->has_mss = options & 1;
    s->sack_permitted = options & 1;
    s->mss_bytes = options & 2 ? 1360 : 100;
    s->has_wscale = options & 4;
    s->wscale_log2 = 7;
    s->has_ts = options & 8;
    if (s->has_ts) {
        stamp = bytes_u8(in);
        s->ts_val = (t ? t->ts_recent : 1000) + (uint32_t)(int32_t)(int8_t)stamp;
        s->ts_ecr = t ? tcp_ts_now(t) - (stamp & 7) : 0;
    }
    s->sacks_count = (uint8_t)(s->flags & TCP_SYN ? 0 : (options >> 4) % (s->has_ts ? 4 : 5));
    for (int i = 0; i < s->sacks_count; i++) {
        s->sacks[i].from = take_seq(in, t);
        s->sacks[i].to = s->sacks[i].from + bytes_be16(in);
    }
}

static void give_segment(struct world *w, int slot, struct bytes *in)
{
    struct tcp *t = flow_of_slot(w, slot);
    struct tcp_segment s = {.dst_port = 80, .src_port = (uint16_t)(PORT + slot)};
    struct ip_header ip = {.version = slot == SLOTS - 1 ? 6 : 4, .proto = IP_PROTO_TCP, .ttl = 64};
    static uint8_t packet[65536];
    struct flow_key key;
    uint32_t at, len;
    size_t headers;

    s.flags = bytes_u8(in);
    s.seq = take_seq(in, t);
    s.ack = take_seq(in, t);
    take_options(in, t, &s);
    s.wnd = bytes_be16(in);
    len = bytes_be16(in) % 60000;
    key_of(&key, slot);
    memcpy(ip.src, key.client, 16);
    memcpy(ip.dst, key.remote, 16);
    ip.payload_bytes = (uint32_t)tcp_emit_bytes(&s) + len;
    headers = ip_emit(packet, &ip);
    headers += tcp_emit(packet + headers, &s);
    at = s.seq + ((s.flags & TCP_SYN) != 0) - (t ? first_seq(t) : 0);
    for (uint32_t i = 0; i < len; i++)
        packet[headers + i] = octet_at(at + i);
    core_input(&w->core, packet, headers + len, len > 1360 ? 1360 : 0, PACKET_CSUM_VALID);
}

static void give_icmp(struct world *w, int slot, struct bytes *in)
{
    struct tcp *t = flow_of_slot(w, slot);
    uint32_t mtu_bytes = bytes_be16(in);
    struct icmp_message m = {.kind = mtu_bytes > 0 ? ICMP_TOO_BIG : ICMP_UNREACH_PORT,
                             .mtu_bytes = mtu_bytes};
    struct ip_header quoted_ip = {.proto = IP_PROTO_TCP};
    uint8_t quoted[8];
    struct flow_key key;

    key_of(&key, slot);
    memcpy(quoted_ip.src, key.remote, 16);
    memcpy(quoted_ip.dst, key.client, 16);
    put_be16(quoted, key.remote_port);
    put_be16(quoted + 2, key.client_port);
    put_be32(quoted + 4, take_seq(in, t));
    (void)w->core.net.tcp_ops->icmp_error(&w->engine, &quoted_ip, quoted, &m, w->core.now_ns);
}

/* ----------------------------------------------------------------------------------- handler -- */

static struct hand *hand_of(struct world *w, const struct tcp *t)
{
    for (int i = 0; i < FLOWS_MAX; i++)
        if (w->hands[i].t == t)
            return &w->hands[i];
    return NULL;
}

static void hand_take(struct world *w, struct tcp *t)
{
    struct hand *h = hand_of(w, NULL);

    assert(h);
    *h = (struct hand){.t = t};
    t->flow.owner = h;
}

static void hand_read(struct hand *h, uint32_t len_bytes)
{
    struct stream *s = tcp_stream(h->t);
    adit_iov iov[4];
    int n = s->ops->peek(s, iov, 4);
    uint32_t taken = 0;

    for (int i = 0; i < n; i++)
        for (size_t j = 0; j < iov[i].len && taken < len_bytes; j++)
            assert(((const uint8_t *)iov[i].base)[j] == octet_at(h->read_bytes + taken++));
    s->ops->consume(s, taken);
    h->read_bytes += taken;
}

static void hand_write(struct hand *h, uint32_t len_bytes)
{
    struct stream *s = tcp_stream(h->t);
    uint32_t at = tcp_tx_end(h->t) - h->t->iss - 1, given = 0;
    adit_iov iov[4];
    int n = s->ops->reserve(s, iov, 4);

    for (int i = 0; i < n; i++)
        for (size_t j = 0; j < iov[i].len && given < len_bytes; j++)
            ((uint8_t *)iov[i].base)[j] = octet_at(at + given++);
    if (n > 0)
        s->ops->commit(s, given);
}

static void hand_free_closed(struct hand *h)
{
    struct stream *s = tcp_stream(h->t);

    if (!(stream_events(s) & STREAM_CLOSED))
        return;
    s->ops->free(s);
    h->t = NULL;
}

static void serve(struct world *w)
{
    struct flow *f;

    while ((f = net_next_ready(&w->core.net)) != NULL) {
        struct tcp *t = tcp_of_flow(f);

        if (!f->owner)
            hand_take(w, t);
        hand_free_closed(f->owner);
    }
}

static void dial(struct world *w, int slot)
{
    struct flow_key key;
    adit_addr from, to;
    struct tcp *t;

    key_of(&key, slot);
    from = flow_addr(key.remote, key.remote_port);
    to = flow_addr(key.client, key.client_port);
    t = tcp_dial(&w->engine, &from, &to, w->core.now_ns);
    if (t)
        hand_take(w, t);
}

static void call(struct world *w, int slot, struct bytes *in)
{
    uint8_t what = bytes_u8(in);
    uint16_t amount = bytes_be16(in);
    struct tcp *t = flow_of_slot(w, slot);
    struct hand *h = t && t->flow.owner ? t->flow.owner : NULL;
    struct stream *s = h ? tcp_stream(t) : NULL;

    if (what % 10 == 9)
        dial(w, slot);
    if (!h)
        return;
    switch (what % 10) {
    case 0:
        (void)s->ops->accept(s);
        break;
    case 1:
        s->ops->reject(s, amount % 8);
        break;
    case 2:
        hand_read(h, amount);
        break;
    case 3:
    case 4:
        hand_write(h, what % 10 == 3 ? amount : amount * 16u);
        break;
    case 5:
        (void)s->ops->shutdown(s);
        break;
    case 6:
        s->ops->close(s);
        break;
    case 7:
        s->ops->abort(s);
        break;
    case 8:
        s->ops->settle(s);
        break;
    }
}

/* ------------------------------------------------------------------------------------ worlds -- */

static void must_hold(const char *why)
{
    if (why) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
}

static void check_all(struct world *w)
{
    for (int i = 0; i < FLOWS_MAX; i++)
        if (w->hands[i].t)
            must_hold(tcp_check(w->hands[i].t));
    for (int i = 0; i < SLOTS; i++) {
        struct tcp *t = flow_of_slot(w, i);

        if (!t)
            continue;
        must_hold(tcp_check(t));
        if (w->edges[i].id == t->flow.id && t->state > TCP_SYN_SENT &&
            seq_lt(t->rcv_edge, w->edges[i].edge))
            must_hold("the window was taken back");
        w->edges[i].id = t->state > TCP_SYN_SENT ? t->flow.id : 0;
        w->edges[i].edge = t->rcv_edge;
    }
}

static void sleep_for(struct world *w, uint64_t ns)
{
    struct net *net = &w->core.net;
    uint64_t end_ns = w->core.now_ns + ns, at_ns;

    while ((at_ns = net_next_ns(net)) <= end_ns) {
        w->core.now_ns = at_ns > w->core.now_ns ? at_ns : w->core.now_ns;
        net_expire(net, w->core.now_ns);
        serve(w);
        net_output(net, w->core.now_ns);
        check_all(w);
    }
    w->core.now_ns = end_ns;
}

static void world_begin(struct world *w)
{
    struct net_config *c = &w->core.net.config;

    memset(w, 0, sizeof(*w));
    core_begin(&w->core);
    w->core.net.env.output = world_output;
    c->tcp_max = c->tcp_per_client_max = FLOWS_MAX;
    c->tcp_half_open_max = c->tcp_half_open_per_client_max = SLOTS;
    c->rx_window_bytes = 512 * 1024;
    c->tx_buffer_bytes = 512 * 1024;
    c->tcp_idle_ns = 7440000000000ull;
    c->tcp_half_closed_ns = 600000000000ull;
    c->tcp_keepalive_ns = 7200000000000ull;
    c->tcp_time_wait_ns = 60000000000ull;
    c->pending_ns = 10000000000ull;
    c->allow_martians = true;
    (void)tcp_engine_init(&w->engine, &w->core.net);
}

static void world_end(struct world *w)
{
    serve(w);
    for (int i = 0; i < FLOWS_MAX; i++) {
        struct tcp *t = w->hands[i].t;

        if (t) {
            t->flow.stream.ops->abort(&t->flow.stream);
            t->flow.stream.ops->free(&t->flow.stream);
        }
    }
    for (int i = 0; i < SLOTS; i++) {
        struct tcp *t = flow_of_slot(w, i);

        if (t && t->state != TCP_TIME_WAIT) { /* accepted by prepare(), and nobody's yet */
            t->flow.stream.ops->abort(&t->flow.stream);
            t->flow.stream.ops->free(&t->flow.stream);
        }
    }
    tcp_engine_deinit(&w->engine);
    net_deinit(&w->core.net);
    buf_pool_deinit(&w->core.bufs);
    assert(w->core.memory.used_bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct world w;
    struct bytes in = bytes_of(data, len_bytes);

    world_begin(&w);
    while (bytes_left(&in) > 0) {
        uint8_t head = bytes_u8(&in), what;
        int slot = head / 8 % SLOTS;

        switch (head % 8 % 5) {
        case 0:
            give_segment(&w, slot, &in);
            break;
        case 1:
            sleep_for(&w, bytes_be16(&in) * 1000000ull);
            break;
        case 2:
            call(&w, slot, &in);
            break;
        case 3:
            what = bytes_u8(&in);
            w.core.verdict = what / 2;
            serve(&w);
            w.core.device_full = what & 1;
            net_output(&w.core.net, w.core.now_ns);
            break;
        case 4:
            give_icmp(&w, slot, &in);
            break;
        }
        serve(&w);
        check_all(&w);
    }
    world_end(&w);
    return 0;
}
