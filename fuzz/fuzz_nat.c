/* SPDX-License-Identifier: MIT */
/* The translator of src/net/nat.c between hostile clients and a hostile kernel. The input is a row of records; the first octet of
 * each is kind and slot (a client each, some of them IPv6):
 *
 *   0, 1  shape  flags  seq  length (2)  gso (2)  [at (2) octet]..   a segment of the slot's client, or of the kernel's socket
 *   2     flags  gso (2)  length (2)  octets                         any packet
 *   3     ms (2)                                                     time passes
 *   4     call                                                       the handler of the slot's flow does something
 *   5     verdict  device_full  look                                 of prepare(); whether the device takes anything; what the
 *                                                                    shortcut has seen
 *   6     seq  type                                                  an ICMP error about what went to client or kernel
 *
 * shape: checksum (2 bits), IP options, words of TCP options (3 bits), octets that are changed afterwards (2 bits). Whatever is
 * sent is judged: as long as what came, the same octets between the ends that its flow names, a checksum that is right, summed
 * over all of it, exactly if it was right before; or an answer. After each record the tables must agree with each other. */
#include "base/bytes.h"
#include "core.h"
#include "net/nat.h"
#include "wire/fake_peer.h"

enum { SLOTS = 6, SLOTS4 = 4, FLOWS_MAX = 4, SHORTCUT_MAX = 3, PACKET_BYTES = 65535, RECORDS_MAX = 400 };

struct given { /* the packet that the core has right now */
    bool is_given, is_tcp, is_fragment, is_right;
    struct ip_header ip;
    struct tcp_segment segment;
    const uint8_t *tcp;
};

struct world {
    struct core core;
    struct nat nat;
    struct given in;
    struct nat_way ways[SHORTCUT_MAX][NAT_WAYS];
    bool is_used[SHORTCUT_MAX];
    uint8_t look;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static void listener_of(adit_addr *a, int family)
{
    *a = (adit_addr){.family = (uint8_t)family, .port = family == 4 ? 40000 : 40001};
    if (family == 4)
        ip_map4(a->ip, (const uint8_t[]){10, 0, 0, 1});
    else
        memcpy(a->ip, (const uint8_t[16]){0xfd, [15] = 1}, 16);
}

static void key_of(struct flow_key *key, int slot)
{
    *key = (struct flow_key){.client_port = (uint16_t)(5000 + slot), .remote_port = 80, .proto = IP_PROTO_TCP};
    if (slot < SLOTS4) {
        ip_map4(key->client, (const uint8_t[]){10, 0, 0, 2});
        ip_map4(key->remote, (const uint8_t[]){1, 2, 3, 4});
    } else {
        memcpy(key->client, (const uint8_t[16]){0xfd, [15] = 2}, 16);
        memcpy(key->remote, (const uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = 1}, 16);
    }
}

static struct nat_flow *flow_of_slot(struct world *w, int slot)
{
    struct flow_key key;
    struct flow *f;

    key_of(&key, slot);
    f = flow_find(&w->core.net.flows, &key, flow_hash(&w->core.net.flows, &key));
    return f ? nat_of_flow(f) : NULL;
}

static void ends_of_flow(const struct nat_flow *f, bool is_up, struct nat_ends *e)
{
    const struct flow_key *k = &f->flow.key;
    adit_addr to;

    if (is_up) {
        listener_of(&to, ip_is_mapped4(k->client) ? 4 : 6);
        *e = (struct nat_ends){.src_port = f->peer_port, .dst_port = to.port};
        (void)fake_peer_prefix(to.family, e->src);
        e->src[15] = f->peer;
        memcpy(e->dst, to.ip, 16);
        return;
    }
    *e = (struct nat_ends){.src_port = k->remote_port, .dst_port = k->client_port};
    memcpy(e->src, k->remote, 16);
    memcpy(e->dst, k->client, 16);
}

static bool ends_are(const struct nat_ends *e, const struct ip_header *ip, const struct tcp_segment *s)
{
    return memcmp(e->src, ip->src, 16) == 0 && memcmp(e->dst, ip->dst, 16) == 0 && e->src_port == s->src_port &&
           e->dst_port == s->dst_port;
}

static bool ends_answer(const struct nat_ends *e, const struct ip_header *ip, const struct tcp_segment *s)
{
    return memcmp(e->src, ip->dst, 16) == 0 && memcmp(e->dst, ip->src, 16) == 0 && e->src_port == s->dst_port &&
           e->dst_port == s->src_port;
}

/* Whose packet this is, on its way to the kernel or to the client. */
static struct nat_flow *flow_of_ends(struct world *w, bool is_up, const struct ip_header *ip, const struct tcp_segment *s)
{
    struct nat_flow *found = NULL;

    for (struct list *i = w->nat.all.next; i != &w->nat.all; i = i->next) {
        struct nat_flow *f = LIST_ENTRY(i, struct nat_flow, node);
        struct nat_ends e;

        ends_of_flow(f, is_up, &e);
        if ((is_up && f->peer_port == 0) || !ends_are(&e, ip, s))
            continue;
        assert(!found);
        found = f;
    }
    return found;
}

/* ------------------------------------------------------------------------------------ what leaves -- */

static bool sum_is_right(const struct ip_header *ip, const uint8_t *tcp)
{
    uint64_t sum = checksum_pseudo(ip->src, ip->dst, IP_PROTO_TCP, ip->payload_bytes);

    return checksum_finish(checksum_add(sum, tcp, ip->payload_bytes)) == 0;
}

static void judge_translated(const struct world *w, const struct ip_header *ip, const uint8_t *tcp, bool was_complete)
{
    const struct given *in = &w->in;
    size_t header_bytes = (size_t)(tcp[12] >> 4) * 4;

    if (in->is_fragment) /* what came is in pieces; that it parses is all that is known */
        return;
    assert(in->is_tcp && ip->payload_bytes == in->ip.payload_bytes);
    assert(ip->version == in->ip.version && ip->tos == in->ip.tos && ip->ttl == in->ip.ttl);
    assert(memcmp(tcp + 4, in->tcp + 4, 12) == 0);
    assert(memcmp(tcp + 18, in->tcp + 18, header_bytes - 18) == 0);
    assert(memcmp(tcp + header_bytes, in->tcp + header_bytes, ip->payload_bytes - header_bytes) == 0);
    assert(sum_is_right(ip, tcp) == (in->is_right || !was_complete));
}

static void judge_answer(const struct world *w, const struct ip_header *ip, const struct tcp_segment *s, const uint8_t *tcp)
{
    const struct given *in = &w->in;
    struct nat_ends e = {.src_port = in->segment.src_port, .dst_port = in->segment.dst_port};

    assert((s->flags & TCP_RST) && s->len_bytes == 0 && sum_is_right(ip, tcp));
    if (!in->is_given || in->is_fragment)
        return;
    assert(in->is_tcp && !(in->segment.flags & TCP_RST));
    memcpy(e.src, in->ip.src, 16);
    memcpy(e.dst, in->ip.dst, 16);
    assert(ends_answer(&e, ip, s));
}

static void judge_tcp(struct world *w, const struct ip_header *ip, const uint8_t *tcp, bool was_complete)
{
    struct nat_flow *up, *down;
    struct tcp_segment s;
    struct nat_ends from;

    assert(tcp_parse(&s, tcp, ip->payload_bytes) == DROP_NONE);
    up = flow_of_ends(w, true, ip, &s);
    down = flow_of_ends(w, false, ip, &s);
    if (up) {
        if (up->state != NAT_LINGER && (s.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && s.len_bytes == 0 && !was_complete) {
            assert(sum_is_right(ip, tcp)); /* its copy */
            return;
        }
        ends_of_flow(up, false, &from);
        assert(w->in.is_fragment || ends_answer(&from, &w->in.ip, &w->in.segment));
        judge_translated(w, ip, tcp, was_complete);
        return;
    }
    if (down && down->peer_port != 0) {
        ends_of_flow(down, true, &from);
        if (w->in.is_fragment || (w->in.is_tcp && ends_answer(&from, &w->in.ip, &w->in.segment))) {
            judge_translated(w, ip, tcp, was_complete);
            return;
        }
    }
    judge_answer(w, ip, &s, tcp);
}

static bool world_output(void *ctx, const struct packet_out *p)
{
    static uint8_t flat[PACKET_BYTES + IP6_HEADER_BYTES];
    struct world *w = LIST_ENTRY(ctx, struct world, core);
    uint32_t at = p->headers_bytes, len = packet_out_bytes(p);
    struct ip_header ip;

    if (!core_output(ctx, p))
        return false;
    assert(len <= sizeof(flat));
    memcpy(flat, p->headers, at);
    for (int i = 0; i < p->slices_count; i++) {
        if (p->slices[i].len > 0)
            memcpy(flat + at, p->slices[i].base, p->slices[i].len);
        at += (uint32_t)p->slices[i].len;
    }
    assert(at == len && ip_parse(&ip, flat, len, true) == DROP_NONE && ip.header_bytes + ip.payload_bytes == len);
    if (ip.proto != IP_PROTO_TCP)
        return true;
    if (p->csum_start) /* as the device completes it */
        put_be16(flat + p->csum_start + p->csum_offset,
                 checksum_finish(checksum_add(0, flat + p->csum_start, len - p->csum_start)));
    judge_tcp(w, &ip, flat + ip.header_bytes, p->csum_start == 0);
    return true;
}

/* ------------------------------------------------------------------------------------ what arrives -- */

static void give(struct world *w, const uint8_t *packet, size_t len, uint16_t gso_bytes, uint8_t csum)
{
    struct given *in = &w->in;

    *in = (struct given){.is_given = true};
    if (ip_parse(&in->ip, packet, len, csum == PACKET_CSUM_UNKNOWN) == DROP_NONE) {
        in->tcp = packet + in->ip.header_bytes;
        in->is_fragment = ip_is_fragment(&in->ip);
        in->is_tcp = !in->is_fragment && in->ip.proto == IP_PROTO_TCP &&
                     tcp_parse(&in->segment, in->tcp, in->ip.payload_bytes) == DROP_NONE;
    }
    in->is_right = in->is_tcp && sum_is_right(&in->ip, in->tcp);
    core_input(&w->core, packet, len, gso_bytes, csum);
    *in = (struct given){.is_given = false};
}

/* An IP header of its own, and one with options behind it. */
static size_t put_ip(uint8_t *out, struct ip_header *ip, bool has_options)
{
    size_t n = ip_emit(out, ip);

    if (!has_options)
        return n;
    if (ip->version == 4) {
        memset(out + n, 1, 4); /* NOPs */
        out[0] = 0x46;
        put_be16(out + 2, (uint16_t)(ip->payload_bytes + 24));
        put_be16(out + 10, 0);
        put_be16(out + 10, checksum_finish(checksum_add(0, out, 24)));
        return n + 4;
    }
    memcpy(out + n, (const uint8_t[8]){IP_PROTO_TCP, 0, 1, 4}, 8);
    out[6] = IP6_DESTINATION;
    put_be16(out + 4, (uint16_t)(ip->payload_bytes + 8));
    return n + 8;
}

static size_t put_tcp(uint8_t *out, const struct nat_ends *e, uint8_t shape, struct bytes *in)
{
    uint8_t words = shape >> 3 & 7;
    struct tcp_segment s = {.src_port = e->src_port, .dst_port = e->dst_port, .wnd = 1000};
    size_t len, n;

    s.flags = bytes_u8(in);
    s.seq = 1000 + bytes_u8(in);
    s.ack = s.flags & TCP_ACK ? 7000 : 0;
    len = bytes_be16(in);
    n = tcp_emit(out, &s);
    memset(out + n, 1, words * 4u);
    out[12] = (uint8_t)((5 + words) << 4);
    n += words * 4u;
    len = len < 65000 ? len : 65000;
    for (size_t i = 0; i < len; i++)
        out[n + i] = (uint8_t)(i * 7 + s.seq);
    return n + len;
}

static void give_segment(struct world *w, int slot, bool is_up, struct bytes *in)
{
    static uint8_t packet[PACKET_BYTES + IP6_HEADER_BYTES + 8], tcp[PACKET_BYTES];
    uint8_t shape = bytes_u8(in), csum = shape & 3;
    struct nat_flow *f = flow_of_slot(w, slot);
    struct ip_header ip = {.version = slot < SLOTS4 ? 4 : 6, .proto = IP_PROTO_TCP, .ttl = 64, .tos = shape};
    struct nat_flow ghost = {.peer = (uint8_t)slot, .peer_port = 2000};
    struct nat_ends reverse, e;
    uint16_t gso_bytes;
    size_t at, len;
    uint64_t sum;

    key_of(&ghost.flow.key, slot);
    ends_of_flow(is_up ? &ghost : f && f->peer_port ? f : &ghost, !is_up, &reverse);
    e = (struct nat_ends){.src_port = reverse.dst_port, .dst_port = reverse.src_port};
    memcpy(ip.src, reverse.dst, 16);
    memcpy(ip.dst, reverse.src, 16);
    ip.payload_bytes = (uint32_t)put_tcp(tcp, &e, shape, in);
    gso_bytes = bytes_be16(in);
    sum = checksum_pseudo(ip.src, ip.dst, IP_PROTO_TCP, ip.payload_bytes);
    put_be16(tcp + 16, csum == PACKET_CSUM_PARTIAL ? checksum_fold(sum)
                                                   : checksum_finish(checksum_add(sum, tcp, ip.payload_bytes)));
    at = put_ip(packet, &ip, shape & 4);
    len = at + ip.payload_bytes;
    memcpy(packet + at, tcp, ip.payload_bytes);
    for (int i = shape >> 6; i > 0; i--) {
        size_t where = bytes_be16(in);

        packet[where % len] = bytes_u8(in);
    }
    give(w, packet, len, csum == PACKET_CSUM_PARTIAL && ip.payload_bytes > 1400 ? gso_bytes : 0, csum % 3);
}

static void give_any(struct world *w, struct bytes *in)
{
    uint8_t flags = bytes_u8(in);
    uint16_t gso_bytes = bytes_be16(in), len = bytes_be16(in);
    size_t left = bytes_left(in);

    len = len < left ? len : (uint16_t)left;
    give(w, bytes_take(in, len), len, flags & 4 ? gso_bytes : 0, flags % 3);
}

static void give_error(struct world *w, int slot, struct bytes *in)
{
    uint8_t packet[PACKET_HEADERS_MAX * 2], quote[PACKET_HEADERS_MAX] = {0}, seq = bytes_u8(in), type = bytes_u8(in);
    struct ip_header ip = {.ttl = 64}, quoted_ip = {.proto = IP_PROTO_TCP, .ttl = 64, .payload_bytes = 20};
    struct icmp_message m = {.kind = type & 1 ? ICMP_TOO_BIG : ICMP_UNREACH_PORT, .mtu_bytes = type & 1 ? type * 16u : 0};
    struct nat_flow *f = flow_of_slot(w, slot);
    struct nat_ends e;
    size_t n;

    if (!f)
        return;
    ends_of_flow(f, type & 2, &e);
    memcpy(quoted_ip.src, e.src, 16);
    memcpy(quoted_ip.dst, e.dst, 16);
    n = ip_emit(quote, &quoted_ip);
    put_be16(quote + n, e.src_port);
    put_be16(quote + n + 2, e.dst_port);
    put_be32(quote + n + 4, 1000u + seq);
    m.data = quote;
    m.data_bytes = (uint32_t)n + 20;
    memcpy(ip.src, e.dst, 16);
    memcpy(ip.dst, e.src, 16);
    ip.proto = slot < SLOTS4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6;
    ip.payload_bytes = ICMP_HEADER_BYTES + m.data_bytes;
    n = ip_emit(packet, &ip);
    memcpy(packet + n + ICMP_HEADER_BYTES, quote, m.data_bytes);
    icmp_emit(packet + n, &ip, &m);
    give(w, packet, n + ip.payload_bytes, 0, PACKET_CSUM_UNKNOWN);
}

/* ------------------------------------------------------------------------------ shortcut, handler -- */

static bool shortcut_add(void *ctx, const struct nat_way ways[NAT_WAYS])
{
    struct world *w = ctx;

    for (int i = 0; i < SHORTCUT_MAX; i++) {
        if (w->is_used[i])
            continue;
        w->is_used[i] = true;
        memcpy(w->ways[i], ways, sizeof(w->ways[i]));
        return true;
    }
    return false;
}

static int shortcut_find(const struct world *w, const struct nat_way ways[NAT_WAYS])
{
    for (int i = 0; i < SHORTCUT_MAX; i++)
        if (w->is_used[i] && memcmp(w->ways[i], ways, sizeof(w->ways[i])) == 0)
            return i;
    abort();
}

static void shortcut_look(void *ctx, const struct nat_way ways[NAT_WAYS], struct nat_looked out[NAT_WAYS])
{
    const struct world *w = ctx;

    (void)shortcut_find(w, ways);
    for (int i = 0; i < NAT_WAYS; i++)
        out[i] = (struct nat_looked){.is_heard = w->look & (1 << i), .is_fin = w->look & (4 << i),
                                     .age_ns = (w->look >> 4) * 1000000000ull};
}

static void shortcut_remove(void *ctx, const struct nat_way ways[NAT_WAYS])
{
    struct world *w = ctx;

    w->is_used[shortcut_find(w, ways)] = false;
}

static void serve(struct world *w)
{
    struct flow *f;

    while ((f = net_next_ready(&w->core.net)) != NULL) {
        assert(f->key.proto == IP_PROTO_TCP);
        f->owner = w;
        if (nat_of_flow(f)->state == NAT_CLOSED || nat_of_flow(f)->why)
            nat_release(nat_of_flow(f), false);
    }
}

static void call(struct world *w, int slot, uint8_t what)
{
    struct nat_flow *f = flow_of_slot(w, slot);
    adit_addr peer;

    if (!f)
        return;
    peer = (adit_addr){.family = slot < SLOTS4 ? 4 : 6, .port = f->peer_port};
    (void)fake_peer_prefix(peer.family, peer.ip);
    peer.ip[15] = f->peer;
    switch (what % 4) {
    case 0:
        (void)nat_accept(f);
        break;
    case 1:
        if (f->state == NAT_PENDING)
            nat_reject(f, what / 4 % 8);
        break;
    case 2:
        assert(nat_accepted(&w->nat, &peer) == f || f->peer_port == 0 || f->state != NAT_ACCEPTING);
        break;
    case 3:
        if (f->state == NAT_ACCEPTING || f->state == NAT_OPEN)
            nat_release(f, what & 4);
        break;
    }
}

/* ----------------------------------------------------------------------------------------- worlds -- */

static void check_flow(struct world *w, struct nat_flow *f)
{
    struct nat_flow *other;
    struct ip_header ip;
    struct tcp_segment s = {0};
    struct nat_ends e;

    assert(f->state != NAT_CLOSED && flow_find(&w->core.net.flows, &f->flow.key,
                                               flow_hash(&w->core.net.flows, &f->flow.key)) == &f->flow);
    assert((f->peer_port == 0) == (f->state == NAT_PENDING));
    assert(f->flow.client->tcp > 0 && f->flow.client->half_open <= f->flow.client->tcp);
    assert(!f->has_shortcut || f->peer_port);
    if (f->peer_port == 0)
        return;
    ends_of_flow(f, true, &e);
    memcpy(ip.src, e.src, 16);
    memcpy(ip.dst, e.dst, 16);
    s.src_port = e.src_port;
    s.dst_port = e.dst_port;
    other = flow_of_ends(w, true, &ip, &s); /* it is the only one, or there it fails */
    assert(other == f);
}

static void check(struct world *w)
{
    uint32_t flows = 0, half_open = 0, pairs = 0, shortcuts = 0, used = 0;
    const struct net_stats *stats = &w->core.net.stats;

    for (struct list *i = w->nat.all.next; i != &w->nat.all; i = i->next) {
        struct nat_flow *f = LIST_ENTRY(i, struct nat_flow, node);

        check_flow(w, f);
        flows++;
        half_open += f->state == NAT_PENDING || f->state == NAT_ACCEPTING;
        pairs += f->peer_port != 0;
        shortcuts += f->has_shortcut;
    }
    for (int i = 0; i < SHORTCUT_MAX; i++)
        used += w->is_used[i];
    assert(flows <= FLOWS_MAX && flows == w->nat.flows && flows == stats->tcp_open && flows == stats->tcp_kernel_open);
    assert(half_open <= w->core.net.config.tcp_half_open_max && half_open == w->nat.half_open);
    assert(half_open == stats->tcp_half_open && stats->tcp_time_wait <= flows);
    assert(pairs == w->nat.by_peer.count && shortcuts == used);
    assert(w->nat.pool.used == flows && memory_pressure(&w->core.memory) < MEMORY_CRITICAL);
}

static void world_begin(struct world *w)
{
    struct nat_shortcut shortcut = {w, shortcut_add, shortcut_look, shortcut_remove};
    struct net_config *c = &w->core.net.config;
    adit_addr listeners[2];

    memset(w, 0, sizeof(*w));
    core_begin(&w->core);
    w->core.net.env.output = world_output;
    c->mtu_bytes = PACKET_BYTES; /* what comes in goes out as it is */
    c->tcp_max = c->tcp_per_client_max = FLOWS_MAX;
    c->tcp_half_open_max = c->tcp_half_open_per_client_max = FLOWS_MAX - 1;
    c->tcp_idle_ns = 7440000000000ull;
    c->tcp_half_closed_ns = 600000000000ull;
    c->tcp_time_wait_ns = 60000000000ull;
    c->pending_ns = 10000000000ull;
    c->allow_martians = true;
    listener_of(&listeners[0], 4);
    listener_of(&listeners[1], 6);
    if (nat_init(&w->nat, &w->core.net, sizeof(struct nat_flow), listeners, 2) < 0)
        abort();
    nat_set_shortcut(&w->nat, &shortcut);
}

static void world_end(struct world *w)
{
    struct list *node = w->nat.all.next;

    serve(w);
    while (node != &w->nat.all) {
        struct nat_flow *f = LIST_ENTRY(node, struct nat_flow, node);

        node = node->next;
        if (f->state == NAT_PENDING)
            nat_reject(f, ADIT_DROP);
        else if (f->state != NAT_LINGER)
            nat_release(f, false);
    }
    serve(w);
    w->look = 0;
    core_sleep(&w->core, 8000000000000ull); /* the longest that an entry lives on its own */
    check(w);
    assert(w->nat.flows == 0);
    nat_deinit(&w->nat);
    core_end(&w->core);
}

static void record(struct world *w, uint8_t kind, int slot, struct bytes *in)
{
    switch (kind) {
    case 0:
    case 1:
        give_segment(w, slot, kind == 0, in);
        break;
    case 2:
        give_any(w, in);
        break;
    case 3:
        core_sleep(&w->core, bytes_be16(in) * 1000000ull);
        break;
    case 4:
        call(w, slot, bytes_u8(in));
        break;
    case 5:
        w->core.verdict = bytes_u8(in);
        w->core.device_full = bytes_u8(in) & 1;
        w->look = bytes_u8(in);
        break;
    case 6:
        give_error(w, slot, in);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct world w;
    struct bytes in = bytes_of(data, len_bytes);

    world_begin(&w);
    for (int i = 0; i < RECORDS_MAX && bytes_left(&in) > 0; i++) {
        uint8_t head = bytes_u8(&in);

        record(&w, head % 8, head / 8 % SLOTS, &in);
        serve(&w);
        check(&w);
    }
    world_end(&w);
    return 0;
}
