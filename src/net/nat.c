/* SPDX-License-Identifier: MIT */
/* nat: see nat.h.
 *
 * A packet is passed on in one piece, super-segments too. The IP header is written anew (what options or extension headers it had
 * has been judged by wire/ip.h and does not go on), the TCP header is copied, and the payload stays where it is. A checksum that
 * is complete is updated by what changed in addresses and ports (RFC 1624), so that damage stays visible to the kernel; one that
 * holds the pseudo-header's sum only is that of the new addresses, and a super-segment always is of that kind.
 *
 * Segments that change what is noted here (SYN, FIN, RST) are verified first, the rest is for the kernel to judge. Anything
 * without an entry is refused by RST, SYNs become entries if prepare() and the limits allow. */
#include "net/nat.h"
#include <assert.h>
#include <string.h>
#include "base/bytes.h"
#include "net/tcp_answer.h"
#include "wire/checksum.h"
#include "wire/fake_peer.h"

enum { TCP_CSUM_OFFSET = 16, NAT_PAIR_TRIES = 4096, NAT_PAIRS = FAKE_PEERS * (65536 - NAT_PEER_PORT_FIRST) };
#define NAT_AGAIN_NS 250000000ull /* the kernel did not answer a SYN: its backlog was full, or the packet was lost */
#define NAT_LOOK_NS 100000000ull  /* whether a shortcut has seen the end of a flow: after this, then ever more seldom */
#define NAT_STRAY_NS 1000000000ull /* what may be on its way still when a RST has passed */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------------------------------- fake peers -- */

static bool flow_is_v4(const struct nat_flow *f)
{
    return ip_is_mapped4(f->flow.key.client);
}

static void peer_ip(const struct nat_flow *f, uint8_t ip[16])
{
    (void)fake_peer_prefix(flow_is_v4(f) ? 4 : 6, ip);
    ip[15] = f->peer;
}

static const adit_addr *flow_listener(const struct nat_flow *f)
{
    return &f->nat->listeners[flow_is_v4(f) ? 0 : 1];
}

/* Pairs come in turn, so that these are spread over the table as they are. */
static uint32_t pair_hash(uint8_t peer, uint16_t port)
{
    return (uint32_t)port << 8 | peer;
}

static struct nat_flow *nat_find_pair(const struct nat *n, const uint8_t ip[16], uint16_t port)
{
    uint32_t pos, hash = pair_hash(ip[15], port);
    bool is_v4 = ip_is_mapped4(ip);
    struct nat_flow *f;

    for (f = hash_first(&n->by_peer, hash, &pos); f; f = hash_next(&n->by_peer, hash, &pos)) {
        if (f->peer == ip[15] && f->peer_port == port && flow_is_v4(f) == is_v4)
            return f;
    }
    return NULL;
}

/* Gives f the next pair that nobody has. */
static bool nat_take_pair(struct nat_flow *f)
{
    struct nat *n = f->nat;
    uint8_t ip[16];

    for (int i = 0; i < NAT_PAIR_TRIES; i++) {
        uint32_t pair = n->next_pair;
        uint16_t port = (uint16_t)(NAT_PEER_PORT_FIRST + pair / FAKE_PEERS);

        n->next_pair = (pair + 1) % NAT_PAIRS;
        f->peer = (uint8_t)(pair % FAKE_PEERS);
        peer_ip(f, ip);
        if (nat_find_pair(n, ip, port))
            continue;
        if (!hash_insert(&n->by_peer, pair_hash(f->peer, port), f))
            return false;
        f->peer_port = port;
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------- ends -- */

/* Of a packet to the kernel's listener. */
static struct nat_ends ends_up(const struct nat_flow *f)
{
    const adit_addr *to = flow_listener(f);
    struct nat_ends e = {.src_port = f->peer_port, .dst_port = to->port};

    peer_ip(f, e.src);
    memcpy(e.dst, to->ip, 16);
    return e;
}

/* Of a packet to the client. */
static struct nat_ends ends_down(const struct nat_flow *f)
{
    const struct flow_key *k = &f->flow.key;
    struct nat_ends e = {.src_port = k->remote_port, .dst_port = k->client_port};

    memcpy(e.src, k->remote, 16);
    memcpy(e.dst, k->client, 16);
    return e;
}

static struct nat_ends ends_answer(const struct nat_ends *e)
{
    struct nat_ends answer = {.src_port = e->dst_port, .dst_port = e->src_port};

    memcpy(answer.src, e->dst, 16);
    memcpy(answer.dst, e->src, 16);
    return answer;
}

static void flow_ways(const struct nat_flow *f, struct nat_way ways[NAT_WAYS])
{
    ways[NAT_UP].to = ends_up(f);
    ways[NAT_DOWN].to = ends_down(f);
    ways[NAT_UP].from = ends_answer(&ways[NAT_DOWN].to);
    ways[NAT_DOWN].from = ends_answer(&ways[NAT_UP].to);
}

/* --------------------------------------------------------------------------------- the shortcut -- */

static void flow_take_shortcut(struct nat_flow *f)
{
    const struct nat_shortcut *s = &f->nat->shortcut;
    struct nat_way ways[NAT_WAYS];

    if (!s->add)
        return;
    flow_ways(f, ways);
    f->has_shortcut = s->add(s->ctx, ways);
}

static void flow_leave_shortcut(struct nat_flow *f)
{
    const struct nat_shortcut *s = &f->nat->shortcut;
    struct nat_way ways[NAT_WAYS];

    if (!f->has_shortcut)
        return;
    flow_ways(f, ways);
    s->remove(s->ctx, ways);
    f->has_shortcut = false;
}

/* What has passed by the shortcut. RSTs come here; octets long after one say that nobody believed it. */
static void flow_look(struct nat_flow *f)
{
    const struct nat_shortcut *s = &f->nat->shortcut;
    struct nat_looked looked[NAT_WAYS] = {{0}};
    struct nat_way ways[NAT_WAYS];

    if (!f->has_shortcut)
        return;
    flow_ways(f, ways);
    s->look(s->ctx, ways, looked);
    f->seen |= (looked[NAT_UP].is_fin ? NAT_FIN_UP : 0) | (looked[NAT_DOWN].is_fin ? NAT_FIN_DOWN : 0);
    for (int i = 0; i < NAT_WAYS; i++) {
        uint64_t heard_ns = f->nat->now_ns - earlier(looked[i].age_ns, f->nat->now_ns);

        if (!looked[i].is_heard || heard_ns <= f->heard_ns)
            continue;
        if (heard_ns > f->heard_ns + NAT_STRAY_NS)
            f->seen &= (uint8_t)~NAT_RST;
        f->heard_ns = heard_ns;
    }
}

/* One that was closed ends soon; one that lives on elsewhere may do so for long, and its entry is in nobody's way. */
static void flow_look_again(struct nat_flow *f)
{
    uint64_t now_ns = f->nat->now_ns, silent_ns = now_ns - earlier(f->heard_ns, now_ns);

    f->again_ns = now_ns + (f->is_given_away ? f->nat->net->config.tcp_time_wait_ns : NAT_LOOK_NS + silent_ns / 2);
}

/* --------------------------------------------------------------------------------- life of a flow -- */

struct nat_flow *nat_of_flow(struct flow *f)
{
    return LIST_ENTRY(f, struct nat_flow, flow);
}

/* Both sides have said all, or one has broken it off. */
static bool flow_is_done(const struct nat_flow *f)
{
    const uint8_t both = NAT_FIN_UP | NAT_FIN_DOWN;

    return (f->seen & NAT_RST) || (f->seen & both) == both;
}

static uint64_t flow_deadline_ns(const struct nat_flow *f)
{
    const struct net_config *c = &f->nat->net->config;
    uint64_t idle_ns = f->idle_ms ? f->idle_ms * 1000000ull : c->tcp_idle_ns;
    uint64_t end_ns;

    switch ((enum nat_state)f->state) {
    case NAT_PENDING:
        return f->opened_ns + c->pending_ns;
    case NAT_ACCEPTING:
        return earlier(f->again_ns, f->accepted_ns + c->pending_ns);
    case NAT_OPEN:
        return f->why ? WHEEL_NEVER : f->heard_ns + idle_ns;
    case NAT_LINGER:
        if (flow_is_done(f))
            return f->heard_ns + c->tcp_time_wait_ns;
        end_ns = f->heard_ns + (f->is_given_away ? idle_ns : c->tcp_half_closed_ns);
        return f->has_shortcut ? earlier(f->again_ns, end_ns) : end_ns;
    case NAT_CLOSED:
        break;
    }
    return WHEEL_NEVER;
}

static void flow_arm(struct nat_flow *f)
{
    wheel_set(&f->nat->net->wheel, &f->flow.timer, flow_deadline_ns(f));
}

static void flow_count_half_open(struct nat_flow *f, bool half_open)
{
    struct nat *n = f->nat;

    if (half_open == f->is_half_open)
        return;
    f->is_half_open = half_open;
    f->flow.client->half_open += half_open ? 1u : -1u;
    n->half_open += half_open ? 1u : -1u;
    n->net->stats.tcp_half_open += half_open ? 1 : -1ull;
}

/* Into the queue of those that may be forgotten, or out of it. */
static void flow_count_done(struct nat_flow *f)
{
    struct nat *n = f->nat;
    bool is_done = f->state == NAT_LINGER && flow_is_done(f);

    if (is_done == list_is_linked(&f->done_node))
        return;
    n->net->stats.tcp_time_wait += is_done ? 1 : -1ull;
    if (is_done)
        list_push_back(&n->done, &f->done_node);
    else
        list_remove(&f->done_node);
    if (is_done) /* the deadline has come nearer */
        flow_arm(f);
}

static void flow_enter(struct nat_flow *f, enum nat_state s)
{
    struct nat *n = f->nat;

    flow_count_half_open(f, s == NAT_PENDING || s == NAT_ACCEPTING);
    if (f->state == NAT_ACCEPTING)
        handshake_end(&f->handshake);
    if (s == NAT_ACCEPTING)
        handshake_begin(n->net, &f->handshake, &f->flow, n->now_ns);
    f->state = (uint8_t)s;
    flow_count_done(f);
    if (s != NAT_CLOSED) {
        flow_arm(f);
        return;
    }
    if (f->peer_port) {
        flow_leave_shortcut(f);
        hash_remove(&n->by_peer, pair_hash(f->peer, f->peer_port), f);
    }
    f->flow.client->tcp--;
    flow_remove(n->net, &f->flow);
    list_remove(&f->node);
    n->flows--;
    n->net->stats.tcp_open--;
    n->net->stats.tcp_kernel_open--;
}

static void flow_free(struct nat_flow *f)
{
    assert(f->state == NAT_CLOSED);
    list_remove(&f->flow.ready_node);
    pool_put(&f->nat->pool, f);
}

/* It is over, and its owner shall know. */
static void flow_end(struct nat_flow *f, int why)
{
    struct net *net = f->nat->net;

    f->why = (int8_t)why;
    flow_enter(f, NAT_CLOSED);
    net_set_ready(net, &f->flow);
}

static void flow_forget(struct nat_flow *f)
{
    flow_enter(f, NAT_CLOSED);
    flow_free(f);
}

/* The one that has been over for longest makes room for a new one. */
static struct nat_flow *nat_get(struct nat *n)
{
    struct nat_flow *f = pool_get(&n->pool);

    if (f || list_is_empty(&n->done))
        return f;
    flow_forget(LIST_ENTRY(list_first(&n->done), struct nat_flow, done_node));
    return pool_get(&n->pool);
}

static struct nat_flow *nat_new(struct nat *n, const struct flow_key *key, enum drop *why)
{
    struct net *net = n->net;
    struct nat_flow *f = NULL;

    *why = DROP_NO_MEMORY;
    if (memory_pressure(net->memory) < MEMORY_CRITICAL)
        f = nat_get(n);
    if (!f) {
        if (n->pool.used >= n->pool.used_max)
            *why = DROP_TCP_FLOW_LIMIT;
        return NULL;
    }
    if (!flow_insert(&net->flows, &f->flow, key, flow_hash(&net->flows, key))) {
        pool_put(&n->pool, f);
        return NULL;
    }
    f->nat = n;
    f->opened_ns = f->heard_ns = n->now_ns;
    list_init(&f->done_node);
    list_push_back(&n->all, &f->node);
    f->flow.is_kernel = true;
    f->flow.client->tcp++;
    n->flows++;
    net->stats.tcp_total++;
    net->stats.tcp_open++;
    net->stats.tcp_kernel_total++;
    net->stats.tcp_kernel_open++;
    return f;
}

/* --------------------------------------------------------------------------------------- packets -- */

/* 36 octets: what a TCP checksum covers of addresses and ports. */
static void put_ends(uint8_t out[36], const uint8_t *src, const uint8_t *dst, const uint8_t ports[4])
{
    memcpy(out, src, 16);
    memcpy(out + 16, dst, 16);
    memcpy(out + 32, ports, 4);
}

/* Begins p with an IP header and a copy of the TCP header between these ends; the checksum is still the old one. */
static uint8_t *put_headers(struct net *net, struct packet_out *p, struct ip_header *ip, const struct nat_ends *e,
                            const uint8_t *tcp)
{
    size_t tcp_bytes = (size_t)(tcp[12] >> 4) * 4;
    uint8_t *header;

    memcpy(ip->src, e->src, 16);
    memcpy(ip->dst, e->dst, 16);
    header = net_ip_header(net, p, ip);
    memcpy(header, tcp, tcp_bytes);
    put_be16(header, e->src_port);
    put_be16(header + 2, e->dst_port);
    p->csum_offset = TCP_CSUM_OFFSET;
    p->csum_start = p->headers_bytes;
    p->headers_bytes = (uint8_t)(p->headers_bytes + tcp_bytes);
    return header;
}

static void put_partial_sum(const struct ip_header *ip, uint8_t *header)
{
    put_be16(header + TCP_CSUM_OFFSET,
             checksum_fold(checksum_pseudo(ip->src, ip->dst, IP_PROTO_TCP, ip->payload_bytes)));
}

static void pass_on(struct net *net, const struct ip_header *ip, const struct packet *p, const struct tcp_segment *s,
                    const struct nat_ends *e)
{
    const uint8_t *tcp = p->data + ip->header_bytes;
    struct ip_header fresh = {
        .version = ip->version, .proto = IP_PROTO_TCP, .ttl = ip->ttl, .tos = ip->tos,
        .payload_bytes = ip->payload_bytes, .dont_fragment = ip->dont_fragment,
    };
    struct packet_out out;
    uint8_t *header = put_headers(net, &out, &fresh, e, tcp);

    out.gso_bytes = p->gso_bytes;
    out.payload_bytes = s->len_bytes;
    out.slices_count = s->len_bytes > 0;
    out.slices[0] = (adit_iov){.base = (uint8_t *)(uintptr_t)s->data, .len = s->len_bytes};
    if (p->gso_bytes > 0 || p->csum == PACKET_CSUM_PARTIAL) {
        put_partial_sum(&fresh, header);
    } else {
        uint8_t old_ends[36], new_ends[36];

        put_ends(old_ends, ip->src, ip->dst, tcp);
        put_ends(new_ends, fresh.src, fresh.dst, header);
        put_be16(header + TCP_CSUM_OFFSET,
                 checksum_update(get_be16(header + TCP_CSUM_OFFSET), old_ends, new_ends, sizeof(old_ends)));
        out.csum_start = 0;
    }
    if (!net_send(net, &out))
        net_drop(net, DROP_DEVICE_FULL); /* TCP repairs it */
}

/* The SYN as the kernel gets it. Data on it (RFC 7413) is left to be sent again: the listener would not take it. */
static void put_syn_to_kernel(struct nat_flow *f)
{
    struct net *net = f->nat->net;
    struct nat_ends e = ends_up(f);
    struct ip_header ip = {
        .version = flow_is_v4(f) ? 4 : 6, .proto = IP_PROTO_TCP, .tos = f->syn_tos, .payload_bytes = f->syn_bytes,
        .dont_fragment = true,
    };
    struct packet_out out;
    uint8_t *header = put_headers(net, &out, &ip, &e, f->syn);

    out.gso_bytes = out.slices_count = 0;
    out.payload_bytes = 0;
    put_partial_sum(&ip, header);
    if (!net_send(net, &out))
        net_drop(net, DROP_DEVICE_FULL);
}

static void keep_syn(struct nat_flow *f, const struct ip_header *ip, const uint8_t *tcp, const struct tcp_segment *s)
{
    f->isn = s->seq;
    f->syn_tos = ip->tos;
    f->syn_bytes = (uint8_t)((tcp[12] >> 4) * 4);
    memcpy(f->syn, tcp, f->syn_bytes);
}

static void note(struct nat_flow *f, const struct tcp_segment *s, uint8_t fin)
{
    f->heard_ns = f->nat->now_ns;
    if (s->flags & TCP_FIN)
        f->seen |= fin;
    if (s->flags & TCP_RST)
        f->seen |= NAT_RST;
    else if (s->len_bytes > 0)
        f->seen &= (uint8_t)~NAT_RST; /* the kernel did not believe it: octets still flow */
    flow_count_done(f);
}

/* -------------------------------------------------------------------------------------- decisions -- */

int nat_accept(struct nat_flow *f)
{
    if (f->state != NAT_PENDING)
        return f->state == NAT_CLOSED ? ADIT_ECLOSED : ADIT_ESTATE;
    if (!nat_take_pair(f))
        return ADIT_ELIMIT;
    f->accepted_ns = f->nat->now_ns;
    f->again_ns = f->nat->now_ns + NAT_AGAIN_NS;
    flow_enter(f, NAT_ACCEPTING);
    put_syn_to_kernel(f);
    return 0;
}

static void answer_verdict(struct nat_flow *f, int verdict)
{
    struct net *net = f->nat->net;
    const struct flow_key *k = &f->flow.key;
    struct ip_header about;
    struct tcp_segment syn = {
        .src_port = k->client_port, .dst_port = k->remote_port, .seq = f->isn, .flags = TCP_SYN};

    if (verdict != ADIT_RESET) {
        if (icmp_kind_of_verdict(verdict) != ICMP_OTHER)
            tcp_answer_unreachable(net, k, f->isn, verdict, f->nat->now_ns);
        return;
    }
    memcpy(about.src, k->client, 16);
    memcpy(about.dst, k->remote, 16);
    tcp_answer_reset(net, &about, &syn);
}

void nat_reject(struct nat_flow *f, int verdict)
{
    if (f->state != NAT_PENDING)
        return;
    f->nat->net->stats.tcp_rejected++;
    answer_verdict(f, verdict);
    flow_end(f, ADIT_ECANCELED);
}

struct nat_flow *nat_accepted(struct nat *n, const adit_addr *peer)
{
    struct nat_flow *f = ip_is_fake_peer(peer->ip) ? nat_find_pair(n, peer->ip, peer->port) : NULL;

    if (!f || f->state != NAT_ACCEPTING)
        return NULL;
    flow_take_shortcut(f);
    flow_enter(f, NAT_OPEN);
    net_set_ready(n->net, &f->flow);
    return f;
}

void nat_release(struct nat_flow *f, bool given_away)
{
    f->flow.owner = NULL;
    assert(f->state != NAT_PENDING && f->state != NAT_LINGER);
    if (f->state == NAT_CLOSED) {
        flow_free(f);
        return;
    }
    list_remove(&f->flow.ready_node);
    f->is_given_away = given_away;
    f->heard_ns = f->nat->now_ns;
    flow_look(f);
    flow_look_again(f);
    flow_enter(f, NAT_LINGER);
}

/* Carries out a decision about a flow that was just made. */
static enum drop nat_decide(struct nat_flow *f, const adit_decision *d)
{
    struct net *net = f->nat->net;

    f->flow.mark = d->mark;
    f->idle_ms = d->idle_ms;
    flow_enter(f, NAT_PENDING);
    if (d->verdict == ADIT_DEFER) {
        net_set_ready(net, &f->flow);
        return DROP_NONE;
    }
    if (d->verdict == ADIT_ACCEPT) {
        f->accept_early = true;
        if (nat_accept(f) == 0)
            return DROP_NONE;
        flow_forget(f);
        return DROP_TCP_FLOW_LIMIT;
    }
    net->stats.tcp_rejected++;
    answer_verdict(f, d->verdict);
    flow_forget(f);
    return DROP_TCP_SYN_REJECTED;
}

/* ------------------------------------------------------------------------------------------ input -- */

static void key_of(struct flow_key *key, const struct ip_header *ip, const struct tcp_segment *s)
{
    *key = (struct flow_key){.client_port = s->src_port, .remote_port = s->dst_port, .proto = IP_PROTO_TCP};
    memcpy(key->client, ip->src, 16);
    memcpy(key->remote, ip->dst, 16);
}

/* The flow that a SYN begins, with a copy of it; nothing is decided. NULL: *why. */
static struct nat_flow *flow_of_syn(struct nat *n, const struct ip_header *ip, const struct packet *p,
                                    const struct tcp_segment *s, enum drop *why)
{
    struct flow_key key;
    struct nat_flow *f;

    *why = DROP_TCP_SYN_LIMIT;
    if (!handshake_has_room(n->net, NULL, n->now_ns))
        return NULL;
    key_of(&key, ip, s);
    f = nat_new(n, &key, why);
    if (!f)
        return NULL;
    if (f->flow.client->tcp > n->net->config.tcp_per_client_max)
        *why = DROP_TCP_CLIENT_LIMIT;
    else if (!handshake_has_room(n->net, f->flow.client, n->now_ns))
        *why = DROP_TCP_SYN_CLIENT_LIMIT;
    else
        *why = DROP_NONE;
    if (*why != DROP_NONE) {
        flow_forget(f);
        return NULL;
    }
    f->flow.dscp = ip->tos >> 2;
    keep_syn(f, ip, p->data + ip->header_bytes, s);
    return f;
}

static enum drop input_syn(struct nat *n, const struct ip_header *ip, const struct packet *p, const struct tcp_segment *s)
{
    adit_decision d;
    enum drop why;
    struct nat_flow *f = flow_of_syn(n, ip, p, s, &why);

    if (!f)
        return why;
    (void)net_prepare(n->net, &f->flow, &d);
    return nat_decide(f, &d);
}

bool nat_serves(const struct nat *n, uint8_t ip_version)
{
    return n->listeners[ip_version == 4 ? 0 : 1].family != 0;
}

enum drop nat_take(struct nat *n, const struct ip_header *ip, const struct packet *p, const adit_decision *d, uint64_t id)
{
    struct tcp_segment s;
    enum drop why = tcp_parse(&s, p->data + ip->header_bytes, ip->payload_bytes);
    struct nat_flow *f;

    if (why != DROP_NONE)
        return why;
    f = flow_of_syn(n, ip, p, &s, &why);
    if (!f)
        return why;
    f->flow.id = id;
    n->net->stats.tcp_total--; /* it was counted when it was asked about */
    return nat_decide(f, d);
}

static bool segment_is_syn(const struct tcp_segment *s)
{
    return (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

static enum drop input_unknown(struct nat *n, const struct ip_header *ip, const struct packet *p, const struct tcp_segment *s)
{
    if (segment_is_syn(s) && nat_serves(n, ip->version))
        return input_syn(n, ip, p, s);
    if (!(s->flags & TCP_RST))
        tcp_answer_reset(n->net, ip, s);
    return DROP_TCP_NO_FLOW;
}

static enum drop input_pending(struct nat_flow *f, const struct ip_header *ip, const struct packet *p,
                               const struct tcp_segment *s)
{
    if ((s->flags & TCP_RST) && (s->seq == f->isn || s->seq == f->isn + 1)) {
        flow_end(f, ADIT_ERESET);
        return DROP_TCP_PENDING_RESET;
    }
    if (segment_is_syn(s))
        keep_syn(f, ip, p->data + ip->header_bytes, s);
    return DROP_TCP_PENDING;
}

bool nat_forget_done(struct nat_flow *f)
{
    if (f->state == NAT_LINGER)
        flow_look(f);
    if (f->state != NAT_LINGER || !flow_is_done(f))
        return false;
    flow_forget(f);
    return true;
}

/* From the client. */
static enum drop input_up(struct nat *n, const struct ip_header *ip, const struct packet *p, const struct tcp_segment *s)
{
    struct flow_key key;
    struct flow *flow;
    struct nat_flow *f;
    struct nat_ends e;

    if (ip_is_fake_peer(ip->src))
        return DROP_IP_MARTIAN_SRC;
    key_of(&key, ip, s);
    flow = flow_find(&n->net->flows, &key, flow_hash(&n->net->flows, &key));
    if (!flow)
        return input_unknown(n, ip, p, s);
    f = nat_of_flow(flow);
    if (f->state == NAT_PENDING)
        return input_pending(f, ip, p, s);
    if (segment_is_syn(s) && nat_forget_done(f)) /* the client uses its port again */
        return input_syn(n, ip, p, s);
    if (f->state == NAT_ACCEPTING && (s->flags & TCP_ACK))
        handshake_end(&f->handshake);
    note(f, s, NAT_FIN_UP);
    e = ends_up(f);
    pass_on(n->net, ip, p, s, &e);
    if (f->state == NAT_ACCEPTING && (s->flags & TCP_RST))
        flow_end(f, ADIT_ERESET); /* what the kernel may have made of it is closed when it comes */
    return DROP_NONE;
}

/* The kernel's answer to nat_probe(): that it is refused takes it back. */
static bool probe_is_answered(struct nat *n, const struct ip_header *ip, const struct tcp_segment *s)
{
    if (s->dst_port != NAT_PROBE_PORT || (s->flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK) || s->ack != n->probe_isn + 1)
        return false;
    n->probes_answered |= ip->version == 4 ? 1 : 2;
    return true;
}

void nat_probe(struct nat *n)
{
    if (n->probe_isn == 0)
        n->net->env.random(n->net->env.ctx, &n->probe_isn, sizeof(n->probe_isn));
    for (int i = 0; i < 2; i++) {
        const adit_addr *to = &n->listeners[i];
        struct tcp_segment syn = {.src_port = NAT_PROBE_PORT, .dst_port = to->port, .seq = n->probe_isn, .flags = TCP_SYN,
                                  .wnd = UINT16_MAX};
        struct ip_header ip = {.version = to->family, .proto = IP_PROTO_TCP};
        struct packet_out out;

        if (to->family == 0 || (n->probes_answered & (1 << i)))
            continue;
        (void)fake_peer_prefix(to->family, ip.src);
        ip.src[15] = 1;
        memcpy(ip.dst, to->ip, 16);
        out.payload_bytes = 0;
        tcp_out_begin(n->net, &out, &ip, &syn);
        out.gso_bytes = out.slices_count = 0;
        if (!net_send(n->net, &out))
            net_drop(n->net, DROP_DEVICE_FULL);
    }
}

bool nat_is_answered(const struct nat *n)
{
    return (n->listeners[0].family == 0 || (n->probes_answered & 1)) && (n->listeners[1].family == 0 || (n->probes_answered & 2));
}

/* From the kernel's socket. One that nothing is known of is told so, or it would go on for minutes. */
static enum drop input_down(struct nat *n, const struct ip_header *ip, const struct packet *p, const struct tcp_segment *s)
{
    struct nat_flow *f = nat_find_pair(n, ip->dst, s->dst_port);
    struct nat_ends e;

    if (!f) {
        if (!(s->flags & TCP_RST))
            tcp_answer_reset(n->net, ip, s);
        return probe_is_answered(n, ip, s) ? DROP_NONE : DROP_TCP_NO_FLOW;
    }
    note(f, s, NAT_FIN_DOWN);
    f->again_ns = WHEEL_NEVER;
    e = ends_down(f);
    pass_on(n->net, ip, p, s, &e);
    if (f->state == NAT_ACCEPTING && (s->flags & TCP_RST))
        flow_end(f, ADIT_EREFUSED);
    return DROP_NONE;
}

static enum drop nat_input(void *tcp, const struct ip_header *ip, const struct packet *p, uint64_t now_ns)
{
    struct nat *n = tcp;
    const adit_addr *l = &n->listeners[ip->version == 4 ? 0 : 1];
    struct tcp_segment s;
    enum drop why = tcp_parse(&s, p->data + ip->header_bytes, ip->payload_bytes);

    n->now_ns = now_ns;
    if (why != DROP_NONE)
        return why;
    if (((s.flags & (TCP_SYN | TCP_FIN | TCP_RST)) || p->gso_bytes > 0 || p->csum == PACKET_CSUM_PARTIAL) &&
        !tcp_checksum_is_right(n->net, ip, p))
        return DROP_TCP_CHECKSUM;
    if (l->family != 0 && s.src_port == l->port && memcmp(ip->src, l->ip, 16) == 0 && ip_is_fake_peer(ip->dst))
        return input_down(n, ip, p, &s);
    return input_up(n, ip, p, &s);
}

/* ------------------------------------------------------------------------------------- ICMP errors -- */

/* Says an ICMP error again, from the sender's side of `e` to the other; what it quotes went the opposite way. tcp: the quoted
 * header. */
static void pass_error_on(struct net *net, uint8_t version, const struct icmp_message *m, const struct nat_ends *e,
                          const uint8_t *tcp)
{
    uint8_t quote[IP6_HEADER_BYTES + 8];
    struct ip_header inner = {.version = version, .proto = IP_PROTO_TCP, .ttl = 64, .dont_fragment = true};
    struct ip_header ip = {.version = version, .proto = version == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6, .ttl = 64};
    struct icmp_message fresh = *m;
    struct packet_out out;
    size_t at;

    inner.payload_bytes = TCP_HEADER_BYTES;
    memcpy(inner.src, e->dst, 16);
    memcpy(inner.dst, e->src, 16);
    at = ip_emit(quote, &inner);
    put_be16(quote + at, e->dst_port);
    put_be16(quote + at + 2, e->src_port);
    memcpy(quote + at + 4, tcp + 4, 4);
    fresh.data = quote;
    fresh.data_bytes = (uint32_t)at + 8;
    memcpy(ip.src, e->src, 16);
    memcpy(ip.dst, e->dst, 16);
    ip.payload_bytes = ICMP_HEADER_BYTES + fresh.data_bytes;
    icmp_emit(net_ip_header(net, &out, &ip), &ip, &fresh);
    out.headers_bytes = (uint8_t)(out.headers_bytes + ICMP_HEADER_BYTES);
    out.csum_start = out.csum_offset = 0;
    out.gso_bytes = 0;
    out.payload_bytes = fresh.data_bytes;
    out.slices_count = 1;
    out.slices[0] = (adit_iov){.base = quote, .len = fresh.data_bytes};
    if (!net_send(net, &out))
        net_drop(net, DROP_DEVICE_FULL);
}

/* A router's word about what went to the client is said again about what the kernel sent, and the kernel's word about what a fake
 * peer sent (a firewall that rejects, a smaller MTU) about what the client sent. It comes from the far end: that it is
 * believed depends on the sequence number that is quoted (RFC 5927). */
static enum drop nat_icmp_error(void *tcp, const struct ip_header *quoted_ip, const uint8_t *quoted,
                                const struct icmp_message *m, uint64_t now_ns)
{
    struct nat *n = tcp;
    struct flow_key key = {.client_port = get_be16(quoted + 2), .remote_port = get_be16(quoted), .proto = IP_PROTO_TCP};
    bool is_about_peer = ip_is_fake_peer(quoted_ip->src);
    const struct nat_flow *f;
    struct nat_ends e;

    n->now_ns = now_ns;
    memcpy(key.client, quoted_ip->dst, 16);
    memcpy(key.remote, quoted_ip->src, 16);
    if (is_about_peer) {
        f = nat_find_pair(n, quoted_ip->src, get_be16(quoted));
    } else {
        struct flow *flow = flow_find(&n->net->flows, &key, flow_hash(&n->net->flows, &key));

        f = flow ? nat_of_flow(flow) : NULL;
    }
    if (!f || f->peer_port == 0)
        return DROP_ICMP_ERROR_UNRELATED;
    e = is_about_peer ? ends_down(f) : ends_up(f);
    pass_error_on(n->net, quoted_ip->version, m, &e, quoted);
    return DROP_NONE;
}

/* ------------------------------------------------------------------------------------------- time -- */

static void expire_accepting(struct nat_flow *f)
{
    struct nat *n = f->nat;

    if (n->now_ns >= f->accepted_ns + n->net->config.pending_ns) {
        flow_end(f, ADIT_ETIMEDOUT);
        return;
    }
    n->net->stats.tcp_segments_retransmitted++;
    f->again_ns = n->now_ns + 2 * (f->again_ns - f->accepted_ns);
    put_syn_to_kernel(f);
    flow_arm(f);
}

/* The deadline may be one of those that mean no more than this. */
static void expire_look(struct nat_flow *f)
{
    flow_look(f);
    if (f->state != NAT_LINGER)
        return;
    if (f->again_ns <= f->nat->now_ns)
        flow_look_again(f);
    flow_count_done(f);
}

static void nat_expire(void *tcp, struct flow *flow, uint64_t now_ns)
{
    struct nat *n = tcp;
    struct nat_flow *f = nat_of_flow(flow);

    n->now_ns = now_ns;
    if (flow_deadline_ns(f) <= now_ns && f->has_shortcut)
        expire_look(f);
    if (flow_deadline_ns(f) > now_ns) { /* packets have come since it was set */
        flow_arm(f);
        return;
    }
    switch ((enum nat_state)f->state) {
    case NAT_PENDING:
        answer_verdict(f, ADIT_RESET);
        flow_end(f, ADIT_ETIMEDOUT);
        break;
    case NAT_ACCEPTING:
        expire_accepting(f);
        break;
    case NAT_OPEN:
        f->why = ADIT_ETIMEDOUT; /* its owner resets the socket, and the entry serves until that is done */
        net_set_ready(n->net, flow);
        break;
    case NAT_LINGER:
        flow_forget(f);
        break;
    case NAT_CLOSED:
        break;
    }
}

static void nat_evict(void *tcp, struct flow *f)
{
    (void)tcp;
    flow_end(nat_of_flow(f), ADIT_ELIMIT);
}

/* Nothing of it waits for a turn to send. */
static bool nat_output(void *tcp, struct flow *f, uint64_t now_ns)
{
    (void)tcp;
    (void)f;
    (void)now_ns;
    return true;
}

/* ------------------------------------------------------------------------------------- the engine -- */

static const struct net_tcp_ops nat_ops = {
    .input = nat_input,
    .icmp_error = nat_icmp_error,
    .expire = nat_expire,
    .output = nat_output,
    .evict = nat_evict,
};

int nat_init(struct nat *n, struct net *net, size_t flow_bytes, const adit_addr *listeners, size_t listeners_count)
{
    *n = (struct nat){.net = net};
    for (size_t i = 0; i < listeners_count; i++) {
        if (ip_is_fake_peer(listeners[i].ip))
            return ADIT_EINVAL;
        n->listeners[listeners[i].family == 4 ? 0 : 1] = listeners[i];
    }
    pool_init(&n->pool, net->memory, flow_bytes, net->config.tcp_max);
    hash_init(&n->by_peer, net->memory, net->config.tcp_max);
    list_init(&n->all);
    list_init(&n->done);
    net->env.random(net->env.ctx, &n->next_pair, sizeof(n->next_pair));
    n->next_pair %= NAT_PAIRS;
    net_set_tcp(net, &nat_ops, n);
    return 0;
}

void nat_set_shortcut(struct nat *n, const struct nat_shortcut *s)
{
    n->shortcut = *s;
}

void nat_deinit(struct nat *n)
{
    struct list *node;

    while ((node = list_first(&n->all)) != NULL) {
        struct nat_flow *f = LIST_ENTRY(node, struct nat_flow, node);

        assert(f->state == NAT_LINGER);
        flow_forget(f);
    }
    net_set_tcp(n->net, NULL, NULL);
    hash_deinit(&n->by_peer);
    pool_deinit(&n->pool);
}
