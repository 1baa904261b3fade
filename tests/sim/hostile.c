/* SPDX-License-Identifier: MIT */
/* hostile: a stranger who knows addresses and ports and can send what he likes. Nothing that he sends may end a flow, change its
 * octets, or be kept: each packet here has a reason why it must be dropped, and sim_hostile() deals them out at
 * random. What would
 * be believed by any TCP (a RST with the exact number, data that fits) is left out; so the crumbs that he strews into the window
 * are the right octets, only in as many pieces as can be, and none that the peer has not sent yet: to have those acknowledged
 * would throw any TCP off.
 *
 * He speaks as the peer of a flow of ours, or as a client of his own (ports from SIM_HOSTILE_PORT on) that opens flows and never
 * goes on: those wait until their time is over, or another wants their place. Half of them are accepted at once, the others by
 * nobody. */
#include <string.h>
#include "base/bytes.h"
#include "sim.h"
#include "wire/checksum.h"

enum attack {
    ATTACK_RST_IN_WINDOW,
    ATTACK_SYN_IN_WINDOW,
    ATTACK_ACK_FUTURE,
    ATTACK_ACK_OLD,
    ATTACK_NO_ACK,
    ATTACK_OLD_TIMESTAMP,
    ATTACK_BAD_HANDSHAKE,
    ATTACK_CLOSED_WINDOW,
    ATTACK_CRUMBS,
    ATTACK_NO_FLAGS,
    ATTACK_CHECKSUM,
    ATTACK_OPTIONS,
    ATTACK_HEADER,
    ATTACK_NO_FLOW,
    ATTACK_SYN,
    ATTACK_SYN_THEN_RST,
    ATTACK_SYN_REFUSED,
    ATTACKS
};

enum { CRUMBS = TCP_ISLANDS_MAX + 20 };

static void hostile_send(struct sim *s, int to, struct ip_header *ip, const struct tcp_segment *seg, enum attack a)
{
    uint8_t octet = seg->len_bytes > 0 ? *seg->data : 0x55;
    uint32_t header_bytes = (uint32_t)tcp_emit_bytes(seg), at;
    uint32_t len = a == ATTACK_CLOSED_WINDOW || a == ATTACK_CRUMBS ? 1 : 0;
    struct buf *b = buf_new(&s->host[to].bufs, 200);
    uint16_t sum;

    if (!b)
        return;
    ip->proto = IP_PROTO_TCP;
    ip->ttl = 64;
    ip->payload_bytes = a == ATTACK_HEADER ? 12 : header_bytes + len;
    at = (uint32_t)ip_emit(b->data, ip);
    (void)tcp_emit(b->data + at, seg);
    b->data[at + header_bytes] = octet;
    if (a == ATTACK_OPTIONS) { /* an option that is longer than what is left of the header */
        b->data[at + header_bytes - 4] = 8;
        b->data[at + header_bytes - 3] = 40;
    }
    sum = checksum_finish(checksum_add(checksum_pseudo(ip->src, ip->dst, IP_PROTO_TCP, ip->payload_bytes),
                                       b->data + at, ip->payload_bytes));
    if (a != ATTACK_HEADER)
        put_be16(b->data + at + 16, a == ATTACK_CHECKSUM ? (uint16_t)~sum : sum);
    sim_arrive(s, to, &(struct packet){.buf = b, .data = b->data, .len_bytes = at + ip->payload_bytes});
    buf_unref(b);
}

/* As the peer of t. False: this attack has no point in its state. */
static bool hostile_forge(struct sim *s, const struct tcp *t, enum attack a, struct tcp_segment *seg)
{
    bool open = t->state >= TCP_ESTABLISHED && t->state != TCP_TIME_WAIT;
    uint32_t window = t->rcv_edge - t->rcv_nxt;

    seg->seq = t->rcv_nxt;
    seg->ack = t->snd_una;
    seg->flags = TCP_ACK;
    seg->wnd = 1000;
    seg->has_ts = t->ts_on;
    seg->ts_val = t->ts_recent;
    switch (a) {
    case ATTACK_RST_IN_WINDOW:
        seg->seq += 1 + (uint32_t)random_below(&s->random, window ? window : 1);
        seg->flags = TCP_RST;
        return open && window > 2;
    case ATTACK_SYN_IN_WINDOW:
        seg->flags = TCP_SYN;
        return open && window > 0;
    case ATTACK_ACK_FUTURE:
        seg->ack = t->snd_nxt + 1 + (uint32_t)random_below(&s->random, 1000000);
        return open;
    case ATTACK_ACK_OLD:
        seg->ack = t->snd_una - t->snd_wnd_max - 1 - (uint32_t)random_below(&s->random, 1000000);
        return open;
    case ATTACK_NO_ACK:
        seg->flags = TCP_PSH;
        return open;
    case ATTACK_OLD_TIMESTAMP:
        seg->ts_val = t->ts_recent - 1 - (uint32_t)random_below(&s->random, 100000);
        return open && t->ts_on;
    case ATTACK_BAD_HANDSHAKE:
        seg->ack = t->iss + 1000;
        return t->state == TCP_SYN_RECEIVED || t->state == TCP_SYN_SENT;
    case ATTACK_CLOSED_WINDOW:
        return open && window == 0 && tcp_can_receive(t);
    case ATTACK_CRUMBS:
        return tcp_can_receive(t) && window > 2 * CRUMBS;
    case ATTACK_NO_FLAGS:
        seg->flags = 0;
        return true;
    case ATTACK_CHECKSUM:
    case ATTACK_HEADER:
        return true;
    case ATTACK_OPTIONS:
        return t->ts_on;
    case ATTACK_NO_FLOW:
    case ATTACK_SYN:
    case ATTACK_SYN_THEN_RST:
    case ATTACK_SYN_REFUSED:
    case ATTACKS:
        break;
    }
    return false;
}

/* Every second octet of what the peer has in flight. */
static void hostile_crumbs(struct sim *s, int to, struct ip_header *ip, struct tcp_segment *seg,
                           const struct tcp *peer)
{
    uint32_t next = seg->seq, offset = next - peer->iss - 1;

    for (uint32_t i = 1; i < 2 * CRUMBS && seq_lt(next + i, peer->snd_nxt - peer->fin_sent); i += 2) {
        uint8_t octet = sim_pattern_octet(offset + i);

        seg->seq = next + i;
        seg->data = &octet;
        seg->len_bytes = 1;
        hostile_send(s, to, ip, seg, ATTACK_CRUMBS);
    }
}

static void hostile_as_peer(struct sim *s, enum attack a)
{
    const struct sim_flow *f = &s->flow[random_below(&s->random, (uint64_t)s->flows)];
    int to = (int)random_below(&s->random, 2);
    struct tcp_segment seg = {0};
    struct ip_header ip = {0};
    const struct tcp *t;

    if (!f->side[to].stream)
        return;
    t = LIST_ENTRY(f->side[to].stream, struct tcp, flow.stream);
    if (t->state == TCP_CLOSED || !hostile_forge(s, t, a, &seg))
        return;
    seg.src_port = t->flow.key.client_port;
    seg.dst_port = t->flow.key.remote_port;
    memcpy(ip.src, t->flow.key.client, 16);
    memcpy(ip.dst, t->flow.key.remote, 16);
    ip.version = tcp_is_v6(t) ? 6 : 4;
    if (a != ATTACK_CRUMBS)
        hostile_send(s, to, &ip, &seg, a);
    else if (f->side[!to].stream)
        hostile_crumbs(s, to, &ip, &seg, LIST_ENTRY(f->side[!to].stream, struct tcp, flow.stream));
}

static void hostile_as_client(struct sim *s, enum attack a)
{
    static const uint8_t server[4] = {10, 7, 0, 2};
    uint8_t client[4] = {10, 7, 1, (uint8_t)(1 + random_below(&s->random, 3))};
    uint16_t port = (uint16_t)(SIM_HOSTILE_PORT + random_below(&s->random, 1000));
    struct tcp_segment seg = {.src_port = port,
                              .dst_port = a == ATTACK_SYN_REFUSED ? SIM_REFUSED_PORT : 80,
                              .seq = (uint32_t)random_next(&s->random),
                              .flags = a == ATTACK_NO_FLOW ? TCP_ACK : TCP_SYN,
                              .wnd = 1000};
    struct ip_header ip = {.version = 4};

    ip_map4(ip.src, client);
    ip_map4(ip.dst, server);
    hostile_send(s, 1, &ip, &seg, a);
    if (a != ATTACK_SYN_THEN_RST)
        return;
    seg.flags = TCP_RST;
    seg.seq++;
    hostile_send(s, 1, &ip, &seg, a);
}

void sim_hostile(struct sim *s)
{
    enum attack a = (enum attack)random_below(&s->random, ATTACKS);

    if (a < ATTACK_NO_FLOW)
        hostile_as_peer(s, a);
    else
        hostile_as_client(s, a);
}
