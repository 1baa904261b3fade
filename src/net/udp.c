/* SPDX-License-Identifier: MIT */
/* net/udp: datagrams in both directions through mappings.
 *
 *   udp_input --> mapping (client address and port) --> remote (prepare(), once) --> queue --> ready list --> udp_recv
 *
 *   udp_send --> filter --> [a b c d] of one remote and one size --> one train, or datagrams --> net_send
 *
 * A mapping is in the flow table from its first datagram until udp_close(), which takes it out at once: what the client
 * sends after that begins another mapping, while the old one waits for its owner to free it. A mapping whose remotes
 * were all refused exists only to remember that; nobody above hears of it.
 *
 * The remotes of all mappings share one table, so that finding one of a thousand costs what finding one of two does. The
 * one used last is looked at first. Clients are sorted by the size of what they hold, each doubling a class of its own, so
 * that whoever holds most, which is who has to give when all is taken, is found at once.
 *
 * A datagram is queued as a reference to the packet's buffer as long as the handler takes what comes in the turn in which
 * it comes. Where it does not (or has not yet been told of the mapping) small datagrams are copied out of large buffers,
 * so that waiting costs about what the data is long. */
#include "net/udp.h"
#include <assert.h>
#include <string.h>
#include "base/bytes.h"
#include "net/net.h"
#include "wire/checksum.h"

enum { DNS_PORT = 53, UDP_CSUM_AT = 6, IP6_NEXT_AT = 6 };

/* ---------------------------------------------------------------------------------------- mappings -- */

static void udp_key(struct flow_key *key, const uint8_t client[16], uint16_t port)
{
    *key = (struct flow_key){.client_port = port, .proto = IP_PROTO_UDP};
    memcpy(key->client, client, sizeof(key->client));
}

static struct udp *udp_find(const struct net *net, const struct flow_key *key, uint32_t hash)
{
    struct flow *f = flow_find(&net->flows, key, hash);

    return f ? LIST_ENTRY(f, struct udp, flow) : NULL;
}

static uint64_t udp_idle_ns(const struct udp *u)
{
    const struct net_config *c = &u->net->config;

    if (u->timeout_ns)
        return u->timeout_ns;
    if (!u->replied)
        return c->udp_unreplied_ns;
    if (u->dns_only)
        return u->unanswered == 0 ? c->udp_dns_ns : c->udp_unreplied_ns;
    return c->udp_replied_ns;
}

static void udp_arm(struct udp *u)
{
    wheel_set(&u->net->wheel, &u->flow.timer, u->last_ns + udp_idle_ns(u));
}

/* It was used. */
static void udp_touch(struct udp *u, uint64_t now_ns)
{
    struct list *idle = &u->flow.client->udp_idle;

    u->last_ns = now_ns;
    if (idle->prev != &u->idle_node) {
        list_remove(&u->idle_node);
        list_push_back(idle, &u->idle_node);
    }
    udp_arm(u);
}

/* NULL: the client has none that has been idle for so long. */
static struct udp *client_idlest(const struct client *c, uint64_t now_ns, uint64_t idle_ns)
{
    struct list *oldest = list_first(&c->udp_idle);
    struct udp *u = oldest ? LIST_ENTRY(oldest, struct udp, idle_node) : NULL;

    return u && now_ns - u->last_ns >= idle_ns ? u : NULL;
}

bool udp_evict(struct net *net, uint64_t now_ns, uint64_t idle_ns)
{
    for (int class = FLOW_HOLDER_CLASSES - 1; class > 0; class--) {
        struct list *holders = &net->flows.udp_holders[class], *first = list_pop_front(holders);
        struct udp *u;

        if (!first)
            continue;
        list_push_back(holders, first); /* who is as heavy has its turn next */
        u = client_idlest(LIST_ENTRY(first, struct client, holder_node), now_ns, idle_ns);
        if (u) {
            udp_close(u, ADIT_ELIMIT);
            return true;
        }
    }
    return false;
}

/* Why there can be no further mapping, or DROP_NONE. */
static enum drop udp_limit(struct net *net, uint64_t now_ns)
{
    if (memory_pressure(net->memory) == MEMORY_CRITICAL)
        return DROP_NO_MEMORY;
    if (net->stats.udp_open < net->config.udp_max || udp_evict(net, now_ns, UDP_REPLACE_IDLE_NS))
        return DROP_NONE;
    return DROP_UDP_LIMIT;
}

/* The same of a client. */
static enum drop client_limit(const struct net *net, const struct client *c, uint64_t now_ns)
{
    struct udp *idlest;

    if (c->mappings < net->config.udp_per_client_max)
        return DROP_NONE;
    idlest = client_idlest(c, now_ns, UDP_REPLACE_IDLE_NS);
    if (!idlest)
        return DROP_UDP_CLIENT_LIMIT;
    udp_close(idlest, ADIT_ELIMIT);
    return DROP_NONE;
}

static struct udp *udp_new(struct net *net, const struct flow_key *key, uint32_t hash,
                           uint64_t now_ns, enum drop *why)
{
    struct udp *u;

    *why = udp_limit(net, now_ns);
    if (*why != DROP_NONE)
        return NULL;
    *why = DROP_NO_MEMORY;
    u = pool_get(&net->udp_pool);
    if (!u)
        return NULL;
    if (!flow_insert(&net->flows, &u->flow, key, hash)) {
        pool_put(&net->udp_pool, u);
        return NULL;
    }
    *why = client_limit(net, u->flow.client, now_ns);
    if (*why != DROP_NONE) {
        flow_remove(net, &u->flow);
        pool_put(&net->udp_pool, u);
        return NULL;
    }
    u->flow.client->mappings++;
    client_weigh(&net->flows, u->flow.client);
    u->net = net;
    u->is_new = u->dns_only = true;
    list_init(&u->remotes);
    list_init(&u->queue);
    list_init(&u->shown);
    list_push_back(&u->flow.client->udp_idle, &u->idle_node);
    net->stats.udp_total++;
    net->stats.udp_open++;
    return u;
}

static void queue_add(struct udp *u, struct udp_datagram *g)
{
    list_push_back(&u->queue, &g->node);
    u->queued_count++;
    u->queued_bytes += g->len_bytes;
    u->flow.client->udp_queued_bytes += g->len_bytes + UDP_DATAGRAM_OVERHEAD;
}

/* NULL: it is empty. */
static struct udp_datagram *queue_take(struct udp *u)
{
    struct list *node = list_pop_front(&u->queue);
    struct udp_datagram *g = node ? LIST_ENTRY(node, struct udp_datagram, node) : NULL;

    if (!g)
        return NULL;
    u->queued_count--;
    u->queued_bytes -= g->len_bytes;
    u->flow.client->udp_queued_bytes -= g->len_bytes + UDP_DATAGRAM_OVERHEAD;
    return g;
}

static void datagram_free(struct net *net, struct udp_datagram *g)
{
    list_remove(&g->node);
    buf_unref(g->buf);
    pool_put(&net->datagram_pool, g);
}

static void datagrams_clear(struct net *net, struct list *datagrams)
{
    struct list *node;

    while ((node = list_first(datagrams)) != NULL)
        datagram_free(net, LIST_ENTRY(node, struct udp_datagram, node));
}

static void remote_free(struct udp *u, struct udp_remote *r)
{
    list_remove(&r->node);
    list_remove(&r->client_node);
    hash_remove(&u->net->udp_remotes, r->hash, r);
    pool_put(&u->net->udp_remote_pool, r);
    u->remotes_count--;
    u->flow.client->remotes--;
    client_weigh(&u->net->flows, u->flow.client);
}

void udp_close(struct udp *u, int why)
{
    struct net *net = u->net;
    struct udp_datagram *g;
    struct list *node;

    if (u->is_closing)
        return;
    u->is_closing = true;
    u->closed_why = why;
    net->stats.udp_evicted += why == ADIT_ELIMIT;
    while ((node = list_first(&u->remotes)) != NULL)
        remote_free(u, LIST_ENTRY(node, struct udp_remote, node));
    while ((g = queue_take(u)) != NULL)
        datagram_free(net, g);
    list_remove(&u->idle_node);
    u->flow.client->mappings--;
    client_weigh(&net->flows, u->flow.client);
    flow_remove(net, &u->flow);
    net->stats.udp_open--;
    net_set_ready(net, &u->flow);
}

void udp_free(struct udp *u)
{
    assert(u->is_closing);
    datagrams_clear(u->net, &u->shown);
    list_remove(&u->flow.ready_node);
    pool_put(&u->net->udp_pool, u);
}

void udp_expire(struct net *net, struct udp *u, uint64_t now_ns)
{
    (void)net;
    (void)now_ns;
    udp_close(u, ADIT_ETIMEDOUT);
}

void udp_set_timeout(struct udp *u, uint64_t timeout_ns, uint64_t now_ns)
{
    (void)now_ns; /* idle since when does not change by this */
    u->timeout_ns = timeout_ns;
    if (!u->is_closing)
        udp_arm(u);
}

/* ----------------------------------------------------------------------------------------- remotes -- */

static bool verdict_accepts(int verdict)
{
    return verdict == ADIT_DEFER || verdict == ADIT_ACCEPT;
}

static uint32_t remote_hash(const struct udp *u, const adit_addr *seen)
{
    struct {
        uint64_t mapping;
        uint8_t ip[16];
        uint64_t port;
    } key = {.mapping = u->flow.id, .port = seen->port};

    memcpy(key.ip, seen->ip, sizeof(key.ip));
    return (uint32_t)siphash13(&u->net->secret, &key, sizeof(key));
}

static struct udp_remote *remote_find(const struct udp *u, const adit_addr *seen)
{
    const struct hash *t = &u->net->udp_remotes;
    struct list *latest = list_first(&u->remotes);
    struct udp_remote *r = latest ? LIST_ENTRY(latest, struct udp_remote, node) : NULL;
    uint32_t hash, pos;

    if (!r || flow_addr_is_same(&r->seen, seen))
        return r;
    hash = remote_hash(u, seen);
    for (r = hash_first(t, hash, &pos); r; r = hash_next(t, hash, &pos)) {
        if (r->udp == u && flow_addr_is_same(&r->seen, seen))
            return r;
    }
    return NULL;
}

/* prepare() about a remote, which is in no list yet. The first one that is accepted is what the mapping is known by. */
static void remote_ask(struct udp *u, struct udp_remote *r)
{
    adit_flow described = u->info;
    adit_decision d;

    described.dst.addr = r->real;
    r->verdict = net_prepare_as(u->net, &described, &d);
    if (u->is_accepted || !verdict_accepts(r->verdict))
        return;
    u->is_accepted = true;
    u->first_seen = r->seen;
    u->info.dst.addr = r->real;
    u->flow.mark = d.mark;
    u->timeout_ns = d.idle_ms * 1000000ull;
}

uint32_t udp_remotes_max(uint64_t budget_bytes)
{
    uint64_t max = budget_bytes / UDP_REMOTES_PART / UDP_REMOTE_COST;

    if (max < UDP_REMOTES_MAX)
        return UDP_REMOTES_MAX;
    return max < UDP_REMOTES_ALL_MAX ? (uint32_t)max : UDP_REMOTES_ALL_MAX;
}

static struct udp_remote *mapping_oldest(const struct udp *u)
{
    return list_is_empty(&u->remotes) ? NULL : LIST_ENTRY(u->remotes.prev, struct udp_remote, node);
}

static struct udp_remote *client_oldest(const struct client *c)
{
    const struct list *remotes = &c->udp_remotes;

    return list_is_empty(remotes) ? NULL
                                  : LIST_ENTRY(remotes->prev, struct udp_remote, client_node);
}

/* Of whom a remote is forgotten when all hold too many and c needs one more. */
static struct udp_remote *heaviest_oldest(const struct net *net, const struct client *c)
{
    for (int class = FLOW_HOLDER_CLASSES - 1; class > c->udp_class; class--) {
        struct list *first = list_first(&net->flows.udp_holders[class]);
        struct udp_remote *r =
            first ? client_oldest(LIST_ENTRY(first, struct client, holder_node)) : NULL;

        if (r)
            return r;
    }
    return client_oldest(c);
}

/* An object for one more remote: a fresh one, or that of another which is forgotten. */
static struct udp_remote *remote_get(struct udp *u, uint64_t now_ns, enum drop *why)
{
    struct pool *pool = &u->net->udp_remote_pool;
    struct client *c = u->flow.client;
    struct udp_remote *gone, *r;

    *why = DROP_UDP_REMOTE_LIMIT;
    if (u->remotes_count >= UDP_REMOTES_MAX) {
        gone = mapping_oldest(u);
    } else if (c->remotes >= pool->used_max / 2) {
        gone = client_oldest(c);
    } else if (pool->used >= pool->used_max) {
        gone = heaviest_oldest(u->net, c);
    } else {
        *why = DROP_NO_MEMORY;
        r = pool_get(pool);
        if (r)
            return r;
        gone = mapping_oldest(u);
    }
    if (!gone || (gone->udp->flow.client == c && now_ns - gone->last_ns < UDP_REMOTE_KEEP_NS))
        return NULL;
    remote_free(gone->udp, gone);
    return pool_get(pool);
}

static struct udp_remote *remote_new(struct udp *u, const adit_addr *seen, uint64_t now_ns,
                                     enum drop *why)
{
    struct udp_remote *r = remote_get(u, now_ns, why);

    if (!r)
        return NULL;
    r->udp = u;
    r->seen = *seen;
    r->real = net_alias_real(u->net, seen);
    r->hash = remote_hash(u, seen);
    list_init(&r->node);
    list_init(&r->client_node);
    remote_ask(u, r);
    if (u->is_closing) { /* which the handler did when it was asked */
        *why = DROP_UDP_REJECTED;
    } else if (hash_insert(&u->net->udp_remotes, r->hash, r)) {
        list_push_front(&u->remotes, &r->node);
        list_push_front(&u->flow.client->udp_remotes, &r->client_node);
        u->remotes_count++;
        u->flow.client->remotes++;
        client_weigh(&u->net->flows, u->flow.client);
        return r;
    }
    pool_put(&u->net->udp_remote_pool, r);
    return NULL;
}

static struct udp_remote *remote_use(struct udp *u, const adit_addr *seen, uint64_t now_ns,
                                     enum drop *why)
{
    struct udp_remote *r = remote_find(u, seen);

    if (!r)
        r = remote_new(u, seen, now_ns, why);
    if (!r)
        return NULL;
    r->last_ns = now_ns;
    if (u->remotes.next != &r->node) {
        list_remove(&r->node);
        list_push_front(&u->remotes, &r->node);
    }
    if (u->flow.client->udp_remotes.next != &r->client_node) {
        list_remove(&r->client_node);
        list_push_front(&u->flow.client->udp_remotes, &r->client_node);
    }
    return r;
}

/* ------------------------------------------------------------------------------------------ the way in -- */

static bool udp_checksum_is_right(const struct net *net, const struct ip_header *ip,
                                  const struct packet *p, const struct udp_header *h)
{
    uint64_t sum;

    if (p->csum == PACKET_CSUM_PARTIAL && net->config.trust_partial_csum)
        return true;
    if (h->checksum == 0) /* none, which is no choice over IPv6 (RFC 8200 8.1) */
        return ip->version == 4 && p->gso_bytes == 0;
    if (p->csum == PACKET_CSUM_VALID)
        return true;
    if (p->gso_bytes > 0)
        return false; /* every datagram of the train would have its own, and there is one field */
    sum = checksum_pseudo(ip->src, ip->dst, IP_PROTO_UDP, h->len_bytes);
    return checksum_finish(checksum_add(sum, p->data + ip->header_bytes, h->len_bytes)) == 0;
}

/* Whether what is queued now is likely to be taken before the turn is over. */
static bool handler_keeps_up(const struct udp *u, uint64_t now_ns)
{
    struct list *oldest = list_first(&u->queue);

    if (!u->flow.owner)
        return false;
    return !oldest || LIST_ENTRY(oldest, struct udp_datagram, node)->arrived_ns == now_ns;
}

static bool queue_has_room(const struct udp *u, uint32_t len_bytes, bool keeps_up)
{
    const struct memory *m = u->net->memory;

    if (keeps_up && memory_pressure(m) < MEMORY_HIGH)
        return u->queued_count < UDP_QUEUE_DATAGRAMS_MAX &&
               u->queued_bytes + len_bytes <= UDP_QUEUE_BYTES_MAX;
    return u->queued_count < UDP_BACKLOG_DATAGRAMS_MAX &&
           u->queued_bytes + len_bytes <= UDP_BACKLOG_BYTES_MAX &&
           u->flow.client->udp_queued_bytes + len_bytes + UDP_DATAGRAM_OVERHEAD <=
               m->budget_bytes / UDP_BACKLOG_CLIENT_PART;
}

static enum drop udp_queue(const struct udp_remote *r, const struct ip_header *ip,
                           const struct packet *p, const struct udp_header *h, uint64_t now_ns)
{
    struct udp *u = r->udp;
    struct net *net = u->net;
    struct udp_datagram *g;
    bool keeps_up = handler_keeps_up(u, now_ns);

    if (!queue_has_room(u, h->data_bytes, keeps_up))
        return DROP_UDP_QUEUE_FULL;
    keeps_up = keeps_up && memory_pressure(net->memory) == MEMORY_EASY;
    g = pool_get(&net->datagram_pool);
    if (!g)
        return DROP_NO_MEMORY;
    g->data = h->data;
    g->buf = net_keep(net, p, &g->data, h->data_bytes, keeps_up);
    if (!g->buf) {
        pool_put(&net->datagram_pool, g);
        return DROP_NO_MEMORY;
    }
    g->remote = r->real;
    g->arrived_ns = now_ns;
    g->len_bytes = h->data_bytes;
    g->gso_bytes = h->data_bytes > p->gso_bytes ? p->gso_bytes : 0;
    g->tos = ip->tos;
    g->ttl = ip->ttl;
    g->dont_fragment = ip->dont_fragment;
    queue_add(u, g);
    net_set_ready(net, &u->flow);
    return DROP_NONE;
}

static enum drop udp_refuse(struct net *net, const struct ip_header *ip, const struct packet *p,
                            int verdict, uint64_t now_ns)
{
    enum icmp_kind kind = icmp_kind_of_verdict(verdict);

    if (kind != ICMP_OTHER)
        (void)icmp_error(net, ip, p->data, p->len_bytes, kind, 0, NULL, now_ns);
    return DROP_UDP_REJECTED;
}

/* The mapping of a client's datagram and its remote; NULL: *why. */
static struct udp_remote *udp_enter(struct net *net, const struct ip_header *ip, const struct packet *p,
                                    uint64_t now_ns, enum drop *why)
{
    const uint8_t *ports = p->data + ip->header_bytes;
    adit_addr seen = flow_addr(ip->dst, get_be16(ports + 2));
    struct flow_key key;
    struct udp_remote *r;
    struct udp *u;
    uint32_t hash;

    udp_key(&key, ip->src, get_be16(ports));
    hash = flow_hash(&net->flows, &key);
    u = udp_find(net, &key, hash);
    if (u)
        return remote_use(u, &seen, now_ns, why);
    if (net_hand_over(net, hash, p, why))
        return NULL;
    u = udp_new(net, &key, hash, now_ns, why);
    if (!u)
        return NULL;
    u->first_seen = seen;
    flow_describe(net, &u->flow, &u->info);
    u->flow.dscp = u->info.dscp = ip->tos >> 2;
    udp_touch(u, now_ns);
    r = remote_use(u, &seen, now_ns, why);
    if (!r) {
        udp_close(u, ADIT_ENOMEM);
        udp_free(u);
    }
    return r;
}

enum drop udp_input(struct net *net, const struct ip_header *ip, const struct packet *p,
                    uint64_t now_ns)
{
    struct udp_header h;
    struct udp_remote *r;
    struct udp *u;
    enum drop why = udp_parse(&h, p->data + ip->header_bytes, ip->payload_bytes, p->gso_bytes);

    if (why != DROP_NONE)
        return why;
    if (!udp_checksum_is_right(net, ip, p, &h))
        return DROP_UDP_CHECKSUM;
    r = udp_enter(net, ip, p, now_ns, &why);
    if (!r)
        return why;
    if (!verdict_accepts(r->verdict))
        return udp_refuse(net, ip, p, r->verdict, now_ns);
    u = r->udp;
    if (h.dst_port == DNS_PORT)
        u->unanswered++;
    else
        u->dns_only = false;
    udp_touch(u, now_ns);
    return udp_queue(r, ip, p, &h, now_ns);
}

enum drop udp_icmp_error(struct net *net, const struct ip_header *quoted_ip, const uint8_t *quoted,
                         const struct icmp_message *m)
{
    adit_addr seen = flow_addr(quoted_ip->src, get_be16(quoted));
    struct flow_key key;
    struct udp_remote *r;
    struct udp *u;

    udp_key(&key, quoted_ip->dst, get_be16(quoted + 2));
    u = udp_find(net, &key, flow_hash(&net->flows, &key));
    if (!u)
        return DROP_ICMP_ERROR_UNRELATED;
    r = m->kind == ICMP_UNREACH_PORT ? remote_find(u, &seen) : NULL;
    if (!r)
        return DROP_NONE;
    remote_free(u, r);
    if (u->remotes_count == 0)
        udp_close(u, ADIT_EREFUSED);
    return DROP_NONE;
}

int udp_recv(struct udp *u, adit_dgram *d, int n)
{
    struct udp_datagram *g;
    int got = 0;

    while (got < n && (g = queue_take(u)) != NULL) {
        d[got++] = (adit_dgram){
            .remote = g->remote,
            .data = (uint8_t *)g->data,
            .len = g->len_bytes,
            .gso_bytes = g->gso_bytes,
            .tos = g->tos,
            .ttl = g->ttl,
            .dont_fragment = g->dont_fragment,
        };
        list_push_back(&u->shown, &g->node);
    }
    return got;
}

void udp_release(struct udp *u, int n)
{
    struct list *node;

    while (n-- > 0 && (node = list_first(&u->shown)) != NULL)
        datagram_free(u->net, LIST_ENTRY(node, struct udp_datagram, node));
}

/* ----------------------------------------------------------------------------------------- the way out -- */

static uint32_t udp_ip_bytes(const struct udp *u)
{
    return ip_is_mapped4(u->flow.key.client) ? IP4_HEADER_BYTES : IP6_HEADER_BYTES;
}

/* The address under which the client knows a remote. An alias that it has used goes before one that it could have. */
static adit_addr remote_seen(const struct udp *u, const adit_addr *real)
{
    adit_addr seen = net_alias_seen(u->net, real);

    if (flow_addr_is_same(&seen, real))
        return flow_addr(real->ip, real->port);
    for (const struct list *node = u->remotes.next; node != &u->remotes; node = node->next) {
        const struct udp_remote *r = LIST_ENTRY(node, struct udp_remote, node);

        if (flow_addr_is_same(&r->real, real))
            return r->seen;
    }
    return seen;
}

static bool remote_of_address(const struct udp *u, const adit_addr *seen)
{
    for (const struct list *node = u->remotes.next; node != &u->remotes; node = node->next) {
        const struct udp_remote *r = LIST_ENTRY(node, struct udp_remote, node);

        if (memcmp(r->seen.ip, seen->ip, sizeof(seen->ip)) == 0 && verdict_accepts(r->verdict))
            return true;
    }
    return false;
}

/* RFC 4787 section 5. */
static bool udp_lets_in(const struct udp *u, const adit_addr *seen)
{
    int filtering = u->net->config.udp_filtering;
    const struct udp_remote *r;

    if (seen->port == 0 || ip_is_mapped4(seen->ip) != ip_is_mapped4(u->flow.key.client))
        return false;
    if (filtering == ADIT_FILTER_ENDPOINT)
        return true;
    if (filtering == ADIT_FILTER_ADDRESS)
        return remote_of_address(u, seen);
    r = remote_find(u, seen);
    return r && verdict_accepts(r->verdict);
}

/* One packet in the making. */
struct udp_batch {
    struct udp *u;
    struct packet_out p;
    adit_addr seen;
    uint32_t unit_bytes; /* of every datagram in it but the last */
    uint8_t tos, ttl;
    uint32_t entries; /* that end in it */
    int taken;        /* entries, by packets that have gone */
};

static void batch_emit_headers(struct udp_batch *b, struct ip_header *ip)
{
    const struct flow_key *k = &b->u->flow.key;
    struct packet_out *p = &b->p;
    uint8_t *header;

    *ip = (struct ip_header){.proto = IP_PROTO_UDP, .tos = b->tos, .ttl = b->ttl};
    memcpy(ip->src, b->seen.ip, sizeof(ip->src));
    memcpy(ip->dst, k->client, sizeof(ip->dst));
    ip->payload_bytes = UDP_HEADER_BYTES + p->payload_bytes;
    header = net_ip_header(b->u->net, p, ip);
    udp_emit(header, b->seen.port, k->client_port, p->payload_bytes);
    put_be16(header + UDP_CSUM_AT,
             checksum_fold(checksum_pseudo(ip->src, ip->dst, IP_PROTO_UDP, ip->payload_bytes)));
    p->csum_start = p->headers_bytes;
    p->csum_offset = UDP_CSUM_AT;
    p->headers_bytes += UDP_HEADER_BYTES;
    p->gso_bytes = p->payload_bytes > b->unit_bytes ? (uint16_t)b->unit_bytes : 0;
}

static void batch_flush(struct udp_batch *b)
{
    struct net *net = b->u->net;
    struct ip_header ip;
    bool sent;

    if (b->p.slices_count == 0)
        return;
    batch_emit_headers(b, &ip);
    sent = net_send_fragmented(net, &b->p, &ip); /* counts one drop when it fails */
    if (sent)
        b->taken += (int)b->entries;
    for (uint32_t i = 1; !sent && i < b->entries; i++)
        net_drop(net, DROP_DEVICE_FULL);
    b->p.slices_count = 0;
    b->p.payload_bytes = 0;
    b->entries = 0;
}

/* The most octets of datagrams of this size that may leave as one packet. */
static uint32_t batch_bytes_max(const struct udp *u, uint32_t unit_bytes)
{
    const struct net_config *c = &u->net->config;
    uint32_t fit;

    if (!c->device_uso || unit_bytes == 0 ||
        unit_bytes + udp_ip_bytes(u) + UDP_HEADER_BYTES > c->mtu_bytes)
        return unit_bytes;
    fit = UDP_TRAIN_BYTES_MAX / unit_bytes;
    return unit_bytes * (fit < UDP_TRAIN_MAX ? fit : UDP_TRAIN_MAX);
}

static bool batch_has_room(const struct udp_batch *b, const adit_dgram *d, const adit_addr *seen,
                           uint32_t len_bytes, uint32_t unit_bytes)
{
    const struct packet_out *p = &b->p;

    if (p->slices_count == 0 || p->slices_count == PACKET_SLICES_MAX || b->tos != d->tos ||
        b->ttl != d->ttl)
        return false;
    if (len_bytes == 0 || unit_bytes > b->unit_bytes ||
        (unit_bytes < b->unit_bytes && len_bytes > unit_bytes))
        return false;
    return p->payload_bytes % b->unit_bytes == 0 && flow_addr_is_same(&b->seen, seen) &&
           p->payload_bytes + len_bytes <= batch_bytes_max(b->u, b->unit_bytes);
}

/* How much of a train goes with what is gathered; 0: none of it. `most`: what a packet of its own takes. */
static size_t batch_room(const struct udp_batch *b, const adit_dgram *d, const adit_addr *seen,
                         uint32_t unit_bytes, size_t most)
{
    return b->unit_bytes == unit_bytes && batch_has_room(b, d, seen, unit_bytes, unit_bytes)
               ? most - b->p.payload_bytes
               : 0;
}

/* One datagram, or some of a train that fit a packet. */
static void batch_add(struct udp_batch *b, const adit_dgram *d, const adit_addr *seen,
                      adit_iov part, uint32_t unit_bytes)
{
    uint32_t len_bytes = (uint32_t)part.len;

    if (!batch_has_room(b, d, seen, len_bytes, unit_bytes)) {
        batch_flush(b);
        b->seen = *seen;
        b->tos = d->tos;
        b->ttl = d->ttl;
        b->unit_bytes = unit_bytes;
    }
    b->p.slices[b->p.slices_count++] = part;
    b->p.payload_bytes += len_bytes;
}

static enum drop batch_add_entry(struct udp_batch *b, const adit_dgram *d)
{
    struct udp *u = b->u;
    bool is_train = d->gso_bytes > 0 && d->len > d->gso_bytes;
    size_t unit = is_train ? d->gso_bytes : d->len, at = 0, most;
    adit_addr seen = remote_seen(u, &d->remote);

    if (!udp_lets_in(u, &seen))
        return DROP_UDP_FILTERED;
    most = UINT16_MAX - UDP_HEADER_BYTES -
           (udp_ip_bytes(u) == IP4_HEADER_BYTES ? IP4_HEADER_BYTES : 0u);
    if (unit > most)
        return DROP_DEVICE_TOO_BIG;
    most = batch_bytes_max(u, (uint32_t)unit);
    do {
        size_t room = is_train ? batch_room(b, d, &seen, (uint32_t)unit, most) : 0, n;

        n = room ? room : most;
        n = d->len - at < n ? d->len - at : n;
        batch_add(b, d, &seen, (adit_iov){.base = (uint8_t *)d->data + at, .len = n},
                  (uint32_t)(n < unit ? n : unit));
        at += n;
    } while (at < d->len);
    b->entries++;
    if (seen.port == DNS_PORT && u->unanswered > 0)
        u->unanswered--;
    return DROP_NONE;
}

int udp_send(struct udp *u, const adit_dgram *d, int n, uint64_t now_ns)
{
    struct udp_batch b;

    if (u->is_closing || n <= 0)
        return 0;
    b.u = u;
    b.p.slices_count = 0;
    b.p.payload_bytes = 0;
    b.entries = 0;
    b.taken = 0;
    for (int i = 0; i < n; i++)
        net_drop(u->net, batch_add_entry(&b, &d[i]));
    batch_flush(&b);
    if (b.taken == 0)
        return 0;
    u->replied = true;
    udp_touch(u, now_ns);
    return b.taken;
}

/* Whether what a socket heard is told to the client. */
static bool failure_is_told(enum icmp_kind kind)
{
    switch (kind) {
    case ICMP_UNREACH_NET:
    case ICMP_UNREACH_HOST:
    case ICMP_UNREACH_PROTOCOL:
    case ICMP_UNREACH_PORT:
    case ICMP_UNREACH_ADMIN:
    case ICMP_TOO_BIG:
    case ICMP_TTL_EXCEEDED:
        return true;
    case ICMP_REASSEMBLY_EXCEEDED: /* about fragments that we made */
    case ICMP_PARAMETER:           /* about a header that we made */
    case ICMP_ECHO_REQUEST:
    case ICMP_ECHO_REPLY:
    case ICMP_OTHER:
        break;
    }
    return false;
}

/* The address that tells the client; NULL: the remote as the client sees it. */
static const uint8_t *failure_source(const struct udp_failure *f, const adit_addr *real)
{
    const uint8_t *from = f->from.ip;

    if (f->from.family == 0 || memcmp(from, real->ip, sizeof(real->ip)) == 0)
        return NULL;
    return ip_is_loopback(from) || ip_is_unspecified(from) || ip_is_multicast(from) ? NULL : from;
}

/* The datagram is gone, but what an error has to quote of it is known. */
void udp_failed(struct udp *u, const adit_addr *real, const struct udp_failure *f, uint64_t now_ns)
{
    uint8_t packet[IP6_HEADER_BYTES + UDP_HEADER_BYTES];
    adit_addr seen = remote_seen(u, real);
    struct ip_header ip = {
        .proto = IP_PROTO_UDP,
        .proto_at = IP6_NEXT_AT,
        .ttl = f->kind == ICMP_TTL_EXCEEDED ? 1 : 64,
        .payload_bytes = UDP_HEADER_BYTES,
    };

    if (u->is_closing || !failure_is_told(f->kind) ||
        ip_is_mapped4(seen.ip) != ip_is_mapped4(u->flow.key.client))
        return;
    memcpy(ip.src, u->flow.key.client, sizeof(ip.src));
    memcpy(ip.dst, seen.ip, sizeof(ip.dst));
    ip.version = ip_is_mapped4(ip.src) ? 4 : 6;
    ip.header_bytes = (uint32_t)ip_emit(packet, &ip);
    udp_emit(packet + ip.header_bytes, u->flow.key.client_port, seen.port, 0);
    (void)icmp_error(u->net, &ip, packet, ip.header_bytes + UDP_HEADER_BYTES, f->kind,
                     f->mtu_bytes, failure_source(f, real), now_ns);
}

void udp_unreach(struct udp *u, const adit_addr *real, int verdict, uint64_t now_ns)
{
    const struct udp_failure f = {.kind = icmp_kind_of_verdict(verdict)};

    udp_failed(u, real, &f, now_ns);
}
