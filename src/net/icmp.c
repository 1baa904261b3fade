/* SPDX-License-Identifier: MIT */
/* net/icmp: echo requests, and errors both ways.
 *
 *                 +-- echo request --> struct echo (prepare(), once) --> env.echo, each time --+--> icmp_reply
 *   icmp_input ---+                                                                            +--> a ping socket's
 *                 +-- error --> quoted packet --> TCP (by sequence number), UDP (by mapping), echo
 *
 *   icmp_error --> may there be one? --> two token buckets --> quote --> net_send
 *
 * A bucket's tokens do not cost one each but a random 0, 1 or 2: the mean is the rate that was set, and yet nobody can count
 * how many were left, which is how an off-path attacker would learn of packets that others have caused (CVE-2020-25705).
 * One bucket is for all, and one for those destinations that hash to it with a key of ours. */
#include "net/icmp.h"
#include <string.h>
#include "base/bytes.h"
#include "net/net.h"
#include "net/udp.h"

enum { ICMP_QUOTED_BYTES_MIN = 8 };
enum { ICMP4_ECHO_REPLY = 0, ICMP6_ECHO_REPLY = 129 };
#define SECOND_NS 1000000000ull

/* ------------------------------------------------------------------------------------ rate limits -- */

void icmp_limits_init(struct icmp_limits *l, uint64_t now_ns)
{
    l->all = (struct icmp_bucket){.refilled_ns = now_ns, .tokens = ICMP_ALL_BURST};
    for (int i = 0; i < ICMP_BUCKETS; i++)
        l->by_destination[i] =
            (struct icmp_bucket){.refilled_ns = now_ns, .tokens = ICMP_DESTINATION_BURST};
}

static void bucket_refill(struct icmp_bucket *b, uint32_t per_second, int32_t burst,
                          uint64_t now_ns)
{
    uint64_t interval_ns = SECOND_NS / per_second;
    uint64_t fresh = now_ns > b->refilled_ns ? (now_ns - b->refilled_ns) / interval_ns : 0;

    b->refilled_ns += fresh * interval_ns;
    b->tokens = fresh < (uint64_t)(burst - b->tokens) ? b->tokens + (int32_t)fresh : burst;
}

static bool bucket_take(struct net *net, struct icmp_bucket *b)
{
    uint8_t cost;

    if (b->tokens <= 0)
        return false;
    net->env.random(net->env.ctx, &cost, sizeof(cost));
    b->tokens -= cost % 3;
    return true;
}

static bool icmp_rate_allows(struct net *net, const uint8_t destination[16], uint64_t now_ns)
{
    struct icmp_limits *l = &net->icmp_limits;
    struct icmp_bucket *b =
        &l->by_destination[siphash13(&net->secret, destination, 16) % ICMP_BUCKETS];

    bucket_refill(b, ICMP_DESTINATION_PER_SECOND, ICMP_DESTINATION_BURST, now_ns);
    bucket_refill(&l->all, ICMP_ALL_PER_SECOND, ICMP_ALL_BURST, now_ns);
    return bucket_take(net, b) && bucket_take(net, &l->all);
}

/* -------------------------------------------------------------------------------------- messages out -- */

/* From ip->src to ip->dst. What m->data points at is borrowed until this returns. */
static enum drop icmp_send(struct net *net, struct ip_header *ip, const struct icmp_message *m)
{
    struct packet_out p;
    uint8_t *header;

    ip->version = ip_is_mapped4(ip->src) ? 4 : 6;
    ip->proto = ip->version == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6;
    ip->payload_bytes = ICMP_HEADER_BYTES + m->data_bytes;
    header = net_ip_header(net, &p, ip);
    icmp_emit(header, ip, m);
    p.headers_bytes += ICMP_HEADER_BYTES;
    p.csum_start = p.csum_offset = 0;
    p.gso_bytes = 0;
    p.slices_count = m->data_bytes > 0;
    p.slices[0] = (adit_iov){.base = (uint8_t *)m->data, .len = m->data_bytes};
    p.payload_bytes = m->data_bytes;
    return net_send_fragmented(net, &p, ip) ? DROP_NONE : DROP_DEVICE_FULL;
}

static bool is_icmp(const struct ip_header *h)
{
    return h->proto == (ip_is_mapped4(h->src) ? IP_PROTO_ICMP : IP_PROTO_ICMPV6);
}

/* RFC 1122 3.2.2, RFC 4443 2.4e: what there must be no error about. */
static enum drop icmp_error_suits(const struct net *net, const struct ip_header *about,
                                  const uint8_t *packet, size_t packet_bytes)
{
    struct icmp_message m;
    enum drop why;

    if (ip_is_unspecified(about->src) || ip_is_multicast(about->src) ||
        ip_is_broadcast(about->src) || (ip_is_loopback(about->src) && !net->config.allow_martians))
        return DROP_IP_MARTIAN_SRC;
    if (ip_is_unspecified(about->dst) || ip_is_multicast(about->dst) || ip_is_broadcast(about->dst))
        return DROP_IP_MARTIAN_DST;
    /* IPv6 wants some to be told; but what is in the middle of an ICMP message nobody knows. */
    if (about->fragment_offset_bytes != 0 && (ip_is_mapped4(about->src) || is_icmp(about)))
        return DROP_FRAG_BAD;
    if (!is_icmp(about))
        return DROP_NONE;
    if (packet_bytes < about->header_bytes)
        return DROP_ICMP_HEADER;
    why = icmp_parse(&m, about, packet + about->header_bytes, packet_bytes - about->header_bytes,
                     false);
    if (why != DROP_NONE)
        return why;
    return m.kind == ICMP_ECHO_REQUEST || m.kind == ICMP_ECHO_REPLY ? DROP_NONE : DROP_ICMP_TYPE;
}

/* m is complete but for what it quotes: the packet that `about` describes. from: as icmp_error()'s. */
static enum drop icmp_say(struct net *net, const struct ip_header *about, struct icmp_message *m,
                          const uint8_t from[16], uint64_t now_ns)
{
    struct ip_header ip = {0};
    enum drop why = icmp_error_suits(net, about, m->data, m->data_bytes);

    if (why != DROP_NONE)
        return why;
    if (!icmp_rate_allows(net, about->src, now_ns))
        return net_drop(net, DROP_ICMP_RATE);
    if (!from || ip_is_mapped4(from) != ip_is_mapped4(about->src))
        from = about->dst;
    memcpy(ip.src, from, sizeof(ip.src));
    memcpy(ip.dst, about->src, sizeof(ip.dst));
    m->data_bytes = (uint32_t)icmp_quote_bytes(ip_is_mapped4(from) ? 4 : 6, m->data_bytes);
    return icmp_send(net, &ip, m);
}

enum drop icmp_error(struct net *net, const struct ip_header *about, const uint8_t *packet,
                     size_t packet_bytes, enum icmp_kind kind, uint32_t mtu_bytes,
                     const uint8_t from[16], uint64_t now_ns)
{
    struct icmp_message m = {
        .kind = kind,
        .mtu_bytes = mtu_bytes,
        .pointer = about->proto_at,
        .data = packet,
        .data_bytes = (uint32_t)packet_bytes,
    };

    return icmp_say(net, about, &m, from, now_ns);
}

enum drop icmp_parameter(struct net *net, const struct ip_header *about, const struct packet *p,
                         uint8_t code, uint32_t pointer, uint64_t now_ns)
{
    struct icmp_message m = {
        .kind = ICMP_PARAMETER,
        .code = code,
        .pointer = pointer,
        .data = p->data,
        .data_bytes = p->len_bytes,
    };

    return icmp_say(net, about, &m, NULL, now_ns);
}

enum icmp_kind icmp_kind_of_verdict(int verdict)
{
    switch ((enum adit_verdict)verdict) {
    case ADIT_RESET:
        return ICMP_UNREACH_PORT;
    case ADIT_UNREACH_HOST:
        return ICMP_UNREACH_HOST;
    case ADIT_UNREACH_NET:
        return ICMP_UNREACH_NET;
    case ADIT_UNREACH_ADMIN:
        return ICMP_UNREACH_ADMIN;
    case ADIT_DEFER:
    case ADIT_ACCEPT:
    case ADIT_DROP:
    case ADIT_ECHO_REPLY:
    case ADIT_ECHO_FORWARD:
        break;
    }
    return ICMP_OTHER;
}

/* --------------------------------------------------------------------------------------------- echo -- */

void icmp_reply(struct net *net, const struct flow_key *key, uint16_t seq, const void *data,
                size_t len_bytes, uint8_t ttl, uint64_t now_ns)
{
    struct ip_header ip = {.ttl = ttl};
    struct icmp_message m = {
        .kind = ICMP_ECHO_REPLY,
        .id = key->client_port,
        .seq = seq,
        .data = data,
        .data_bytes = (uint32_t)len_bytes,
    };

    (void)now_ns;
    if (len_bytes > UINT16_MAX - IP4_HEADER_BYTES - ICMP_HEADER_BYTES) {
        net_drop(net, DROP_DEVICE_TOO_BIG);
        return;
    }
    memcpy(ip.src, key->remote, sizeof(ip.src));
    memcpy(ip.dst, key->client, sizeof(ip.dst));
    (void)icmp_send(net, &ip, &m);
}

void icmp_echo_failed(struct net *net, const struct flow_key *key, uint16_t seq,
                      enum icmp_kind kind, uint32_t mtu_bytes, const uint8_t from[16],
                      uint64_t now_ns)
{
    uint8_t packet[IP6_HEADER_BYTES + ICMP_HEADER_BYTES];
    struct ip_header ip = {.proto = key->proto, .ttl = 1, .payload_bytes = ICMP_HEADER_BYTES};
    struct icmp_message request = {
        .kind = ICMP_ECHO_REQUEST, .id = key->client_port, .seq = seq, .data = packet};

    memcpy(ip.src, key->client, sizeof(ip.src));
    memcpy(ip.dst, key->remote, sizeof(ip.dst));
    ip.version = ip_is_mapped4(ip.src) ? 4 : 6;
    ip.header_bytes = (uint32_t)ip_emit(packet, &ip);
    icmp_emit(packet + ip.header_bytes, &ip, &request);
    (void)icmp_error(net, &ip, packet, ip.header_bytes + ICMP_HEADER_BYTES, kind, mtu_bytes, from,
                     now_ns);
}

static struct echo *echo_find(const struct net *net, const struct flow_key *key, uint32_t hash)
{
    struct flow *f = flow_find(&net->flows, key, hash);

    return f ? LIST_ENTRY(f, struct echo, flow) : NULL;
}

static struct echo *echo_new(struct net *net, const struct flow_key *key, uint32_t hash,
                             enum drop *why)
{
    struct echo *e = NULL;

    *why = DROP_NO_MEMORY;
    if (net->echo_pool.used >= net->echo_pool.used_max)
        *why = DROP_ICMP_LIMIT;
    else if (memory_pressure(net->memory) < MEMORY_CRITICAL)
        e = pool_get(&net->echo_pool);
    if (!e)
        return NULL;
    if (!flow_insert(&net->flows, &e->flow, key, hash)) {
        pool_put(&net->echo_pool, e);
        return NULL;
    }
    e->flow.client->echoes++;
    if (e->flow.client->echoes > ICMP_ECHOES_PER_CLIENT_MAX) {
        *why = DROP_ICMP_LIMIT;
        icmp_echo_expire(net, e);
        return NULL;
    }
    net->stats.icmp_total++;
    return e;
}

void icmp_echo_expire(struct net *net, struct echo *e)
{
    e->flow.client->echoes--;
    flow_remove(net, &e->flow);
    pool_put(&net->echo_pool, e);
}

static struct echo *echo_open(struct net *net, const struct flow_key *key, uint32_t hash,
                              uint8_t tos, enum drop *why)
{
    struct echo *e = echo_new(net, key, hash, why);
    adit_decision d;

    if (!e)
        return NULL;
    e->flow.dscp = tos >> 2;
    e->verdict = net_prepare(net, &e->flow, &d);
    e->flow.mark = d.mark;
    e->timeout_ns = d.idle_ms ? d.idle_ms * 1000000ull : net->config.icmp_ns;
    return e;
}

/* The echo flow of a request; NULL: *why. */
static struct echo *echo_enter(struct net *net, const struct ip_header *ip, uint16_t id,
                               uint64_t now_ns, enum drop *why)
{
    struct flow_key key = {.client_port = id, .proto = ip->proto};
    struct echo *e;
    uint32_t hash;

    memcpy(key.client, ip->src, sizeof(key.client));
    memcpy(key.remote, ip->dst, sizeof(key.remote));
    hash = flow_hash(&net->flows, &key);
    e = echo_find(net, &key, hash);
    if (!e)
        e = echo_open(net, &key, hash, ip->tos, why);
    if (e)
        wheel_set(&net->wheel, &e->flow.timer, now_ns + e->timeout_ns);
    return e;
}

static enum drop echo_input(struct net *net, const struct ip_header *ip, const struct packet *p,
                            const struct icmp_message *m, uint64_t now_ns)
{
    enum drop why = DROP_NONE;
    struct echo *e = echo_enter(net, ip, m->id, now_ns, &why);
    enum icmp_kind kind;
    int verdict;

    if (!e)
        return why;
    verdict = e->verdict;
    if (verdict == ADIT_DEFER || verdict == ADIT_ACCEPT)
        verdict = net->env.echo(net->env.ctx, e, ip, m);
    if (verdict == ADIT_ECHO_FORWARD)
        return DROP_NONE;
    if (verdict == ADIT_ECHO_REPLY) {
        icmp_reply(net, &e->flow.key, m->seq, m->data, m->data_bytes, 0, now_ns);
        return DROP_NONE;
    }
    kind = icmp_kind_of_verdict(verdict);
    if (kind != ICMP_OTHER)
        (void)icmp_error(net, ip, p->data, p->len_bytes, kind, 0, NULL, now_ns);
    return DROP_ICMP_REJECTED;
}

/* ---------------------------------------------------------------------------------------- errors in -- */

/* An error about an echo reply of ours: there is nothing to do, but it must be ours. */
static enum drop echo_error_input(const struct net *net, const struct ip_header *quoted_ip,
                                  const uint8_t *quoted)
{
    struct flow_key key = {.client_port = get_be16(quoted + 4), .proto = quoted_ip->proto};

    if (quoted[0] != (quoted_ip->version == 4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY))
        return DROP_ICMP_ERROR_UNRELATED;
    memcpy(key.client, quoted_ip->dst, sizeof(key.client));
    memcpy(key.remote, quoted_ip->src, sizeof(key.remote));
    return echo_find(net, &key, flow_hash(&net->flows, &key)) ? DROP_NONE
                                                              : DROP_ICMP_ERROR_UNRELATED;
}

/* The hash of the flow of ours that sent what is quoted: TCP or UDP. */
static uint32_t quoted_hash(const struct net *net, const struct ip_header *q, const uint8_t *quoted)
{
    struct flow_key key = {.client_port = get_be16(quoted + 2), .proto = q->proto};

    memcpy(key.client, q->dst, sizeof(key.client));
    if (q->proto == IP_PROTO_TCP) {
        memcpy(key.remote, q->src, sizeof(key.remote));
        key.remote_port = get_be16(quoted);
    }
    return flow_hash(&net->flows, &key);
}

static enum drop icmp_error_input(struct net *net, const struct ip_header *ip, const struct packet *p,
                                  const struct icmp_message *m, uint64_t now_ns)
{
    struct ip_header q;
    const uint8_t *quoted;
    enum drop why = ip_parse_quoted(&q, m->data, m->data_bytes);

    if (why == DROP_IP_TRUNCATED)
        return DROP_ICMP_HEADER;
    if (why != DROP_NONE || q.version != ip->version || q.fragment_offset_bytes != 0)
        return DROP_ICMP_ERROR_UNRELATED;
    if (q.payload_bytes < ICMP_QUOTED_BYTES_MIN)
        return DROP_ICMP_HEADER;
    quoted = m->data + q.header_bytes;
    if ((q.proto == IP_PROTO_TCP || q.proto == IP_PROTO_UDP) && net->config.owners &&
        net_hand_over(net, quoted_hash(net, &q, quoted), p, &why))
        return why;
    if (q.proto == IP_PROTO_TCP && net->tcp_ops)
        return net->tcp_ops->icmp_error(net->tcp, &q, quoted, m, now_ns);
    if (q.proto == IP_PROTO_UDP)
        return udp_icmp_error(net, &q, quoted, m);
    return is_icmp(&q) ? echo_error_input(net, &q, quoted) : DROP_ICMP_ERROR_UNRELATED;
}

enum drop icmp_input(struct net *net, const struct ip_header *ip, const struct packet *p,
                     uint64_t now_ns)
{
    struct icmp_message m;
    enum drop why = icmp_parse(&m, ip, p->data + ip->header_bytes, ip->payload_bytes,
                               !net_trusts_checksum(net, p));

    if (why != DROP_NONE)
        return why;
    if (m.kind == ICMP_ECHO_REQUEST)
        return echo_input(net, ip, p, &m, now_ns);
    return icmp_is_error(m.kind) ? icmp_error_input(net, ip, p, &m, now_ns) : DROP_ICMP_TYPE;
}
