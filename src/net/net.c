/* SPDX-License-Identifier: MIT */
/* net: the composition of the core, its two queues, time, and what its files share.
 *
 * A flow is on the ready list when its handler has something to do, and on the output list when it has something to send;
 * both are walked once a turn. Nothing in this room calls a handler, but prepare() and the echo verdict, which answer
 * questions about a packet and must not come back.
 *
 * One wheel holds one timer a flow. Datagrams in reassembly wait in a queue of their own, since all of them wait equally
 * long. */
#include "net/net.h"
#include <assert.h>
#include <string.h>
#include "net/ip.h"
#include "net/udp.h"

/* Mappings closed per call when memory is critical: their memory comes back only when their handlers have been told. */
enum { NET_EVICTIONS_MAX = 16 };

static uint32_t flows_max(const struct net_config *c)
{
    uint64_t max = (uint64_t)c->tcp_max + c->udp_max + ICMP_ECHOES_MAX;

    return max < UINT32_MAX ? (uint32_t)max : UINT32_MAX;
}

int net_init(struct net *net, const struct net_config *config, const struct net_env *env,
             struct memory *memory, struct buf_pool *bufs, const struct log *log, uint64_t now_ns)
{
    struct sip_key key;

    *net = (struct net){.config = *config, .env = *env, .memory = memory, .bufs = bufs, .log = log};
    env->random(env->ctx, &key, sizeof(key));
    env->random(env->ctx, &net->secret, sizeof(net->secret));
    env->random(env->ctx, &net->ip4_id, sizeof(net->ip4_id));
    flow_table_init(&net->flows, memory, flows_max(config), config->owners ? config->flow_key : &key);
    if (config->owners)
        flow_table_share(&net->flows, config->owners, config->worker, config->workers);
    wheel_init(&net->wheel, now_ns);
    list_init(&net->ready);
    list_init(&net->output);
    list_init(&net->handshakes);
    frag_init(&net->frags, net);
    icmp_limits_init(&net->icmp_limits, now_ns);
    /* udp_max are open; those that end for others wait beside them until they are served. */
    pool_init(&net->udp_pool, memory, sizeof(struct udp), UINT32_MAX);
    pool_init(&net->udp_remote_pool, memory, sizeof(struct udp_remote),
              udp_remotes_max(memory->budget_bytes));
    /* Bounded for each mapping and each client, and all of them by the memory budget. */
    pool_init(&net->datagram_pool, memory, sizeof(struct udp_datagram), UINT32_MAX);
    pool_init(&net->echo_pool, memory, sizeof(struct echo), ICMP_ECHOES_MAX);
    hash_init(&net->udp_remotes, memory, UINT32_MAX);
    return 0;
}

/* Frees a flow that nobody above owns. TCP flows are their engine's, and gone by now. */
static void net_free_flow(struct net *net, struct flow *f)
{
    assert(f->key.proto != IP_PROTO_TCP && !f->owner);
    if (f->key.proto == IP_PROTO_UDP) {
        struct udp *u = LIST_ENTRY(f, struct udp, flow);

        udp_close(u, ADIT_ECANCELED);
        udp_free(u);
    } else {
        icmp_echo_expire(net, LIST_ENTRY(f, struct echo, flow));
    }
}

void net_deinit(struct net *net)
{
    const struct hash *flows = &net->flows.flows;

    for (uint32_t i = 0; flows->slots && i <= flows->mask;) {
        if (flows->slots[i].item)
            net_free_flow(net, flows->slots[i].item); /* another one may have moved to this slot */
        else
            i++;
    }
    frag_deinit(&net->frags, net);
    flow_table_deinit(&net->flows);
    pool_deinit(&net->udp_pool);
    pool_deinit(&net->udp_remote_pool);
    pool_deinit(&net->datagram_pool);
    pool_deinit(&net->echo_pool);
    hash_deinit(&net->udp_remotes);
}

void net_set_tcp(struct net *net, const struct net_tcp_ops *ops, void *tcp)
{
    net->tcp_ops = ops;
    net->tcp = tcp;
}

/* ------------------------------------------------------------------------------------------ a turn -- */

enum drop net_input(struct net *net, const struct packet *p, uint64_t now_ns)
{
    net->stats.rx_packets++;
    net->stats.rx_bytes += p->len_bytes;
    return net_drop(net, ip_input(net, p, now_ns));
}

enum drop net_input_handed_over(struct net *net, const struct packet *p, uint64_t now_ns)
{
    return net_drop(net, ip_input(net, p, now_ns));
}

struct flow *net_next_ready(struct net *net)
{
    struct list *node = list_pop_front(&net->ready);

    return node ? LIST_ENTRY(node, struct flow, ready_node) : NULL;
}

static void net_flow_expire(struct net *net, struct flow *f, uint64_t now_ns)
{
    if (f->key.proto == IP_PROTO_TCP)
        net->tcp_ops->expire(net->tcp, f, now_ns);
    else if (f->key.proto == IP_PROTO_UDP)
        udp_expire(net, LIST_ENTRY(f, struct udp, flow), now_ns);
    else
        icmp_echo_expire(net, LIST_ENTRY(f, struct echo, flow));
}

void net_expire(struct net *net, uint64_t now_ns)
{
    struct wheel_timer *t;

    while ((t = wheel_expire(&net->wheel, now_ns)) != NULL)
        net_flow_expire(net, LIST_ENTRY(t, struct flow, timer), now_ns);
    frag_expire(net, now_ns);
    if (memory_pressure(net->memory) >= MEMORY_HIGH && net->tcp_ops && net->tcp_ops->relieve)
        net->tcp_ops->relieve(net->tcp, now_ns);
    if (memory_pressure(net->memory) < MEMORY_CRITICAL)
        return;
    for (int i = 0; i < NET_EVICTIONS_MAX && udp_evict(net, now_ns, UDP_EVICT_IDLE_NS); i++)
        ;
}

uint64_t net_next_ns(const struct net *net)
{
    uint64_t flows_ns = wheel_next_ns(&net->wheel), frags_ns = frag_next_ns(&net->frags);

    return flows_ns < frags_ns ? flows_ns : frags_ns;
}

void net_trim(struct net *net)
{
    hash_trim(&net->flows.flows);
    hash_trim(&net->flows.clients);
    hash_trim(&net->udp_remotes);
}

void net_output(struct net *net, uint64_t now_ns)
{
    struct list round, *node;

    list_init(&round);
    net->output_left = NET_OUTPUT_PACKETS;
    /* Whoever asks again meanwhile waits for the next call. */
    list_splice_back(&round, &net->output);
    while ((node = list_pop_front(&round)) != NULL) {
        struct flow *f = LIST_ENTRY(node, struct flow, output_node);

        if (net->tcp_ops->output(net->tcp, f, now_ns))
            continue;
        list_remove(node);
        if (net->output_left == 0) /* it has had its share, and goes behind those that had none */
            list_push_back(&round, node);
        else /* the device is full: this one goes first next time */
            list_push_front(&round, node);
        break;
    }
    list_splice_back(&round, &net->output);
    list_splice_back(&net->output, &round);
}

/* ------------------------------------------------------------------------------- for this room's files -- */

enum drop net_drop(struct net *net, enum drop why)
{
    if (why != DROP_NONE)
        net->stats.drops[why]++;
    return why;
}

enum drop net_hand_over_to(struct net *net, unsigned worker, const struct packet *p)
{
    if (!net->env.hand_over(net->env.ctx, worker, p))
        return DROP_WORKER_FULL;
    net->stats.handed_over++;
    return DROP_NONE;
}

bool net_hand_over(struct net *net, uint32_t hash, const struct packet *p, enum drop *why)
{
    int owner = net->config.owners ? owners_find(net->config.owners, hash) : OWNERS_NOBODY;

    if (owner == OWNERS_NOBODY || (unsigned)owner == net->config.worker)
        return false;
    *why = net_hand_over_to(net, (unsigned)owner, p);
    return true;
}

void net_set_ready(struct net *net, struct flow *f)
{
    if (!list_is_linked(&f->ready_node))
        list_push_back(&net->ready, &f->ready_node);
}

void net_set_output(struct net *net, struct flow *f)
{
    if (!list_is_linked(&f->output_node))
        list_push_back(&net->output, &f->output_node);
}

int net_prepare_as(struct net *net, const adit_flow *described, adit_decision *d)
{
    *d = (adit_decision){.size = sizeof(*d), .verdict = ADIT_DEFER};
    net->env.prepare(net->env.ctx, described, d);
    return d->verdict;
}

int net_prepare(struct net *net, const struct flow *f, adit_decision *d)
{
    adit_flow described;

    flow_describe(net, f, &described);
    return net_prepare_as(net, &described, d);
}

bool net_trusts_checksum(const struct net *net, const struct packet *p)
{
    switch ((enum packet_csum)p->csum) {
    case PACKET_CSUM_UNKNOWN:
        return false;
    case PACKET_CSUM_VALID:
        return true;
    case PACKET_CSUM_PARTIAL:
        return net->config.trust_partial_csum;
    }
    return false;
}

struct buf *net_keep(struct net *net, const struct packet *p, const uint8_t **data,
                     uint32_t len_bytes, bool briefly)
{
    struct buf *b;

    if (p->buf && (briefly || p->buf->size == BUF_256 || len_bytes >= p->buf->capacity / 2))
        return buf_ref(p->buf);
    b = buf_new(net->bufs, len_bytes);
    if (!b)
        return NULL;
    memcpy(b->data, *data, len_bytes);
    *data = b->data;
    return b;
}

/* The other side of the alias whose `from` side is a; a itself where there is none. */
static adit_addr alias_map(const struct net *net, const adit_addr *a, bool to_real)
{
    const adit_alias *every_port = NULL;
    adit_addr out = *a;

    for (size_t i = 0; i < net->config.aliases_count; i++) {
        const adit_alias *alias = &net->config.aliases[i];
        const adit_addr *from = to_real ? &alias->seen : &alias->real;

        if (memcmp(from->ip, a->ip, sizeof(a->ip)) != 0)
            continue;
        if (from->port == a->port && a->port != 0)
            return to_real ? alias->real : alias->seen;
        if (from->port == 0 && !every_port)
            every_port = alias;
    }
    if (every_port) {
        out = to_real ? every_port->real : every_port->seen;
        out.port = a->port;
    }
    return out;
}

adit_addr net_alias_real(const struct net *net, const adit_addr *seen)
{
    return alias_map(net, seen, true);
}

adit_addr net_alias_seen(const struct net *net, const adit_addr *real)
{
    return alias_map(net, real, false);
}
