/* SPDX-License-Identifier: MIT */
/* flow: the table of everything that we carry, and of those we carry it for.
 *
 *     packet --> flow_key --SipHash--> flows: (hash, struct flow *) --> struct tcp | struct udp | struct echo
 *                                                  |
 *                                                  +--> client (one per source address, counted references)
 *
 * Keys are the octets of the wire, so a lookup is one hash and one comparison of 40 octets, whatever the family. The hash
 * is keyed: nobody outside can aim for one place in the table. Ids count up and are never reused. */
#include "net/flow.h"
#include <assert.h>
#include <string.h>
#include "net/net.h"
#include "net/udp.h"

static_assert(sizeof(struct flow_key) == 40,
              "no padding: the key is hashed and compared as octets");

void flow_table_init(struct flow_table *t, struct memory *memory, uint32_t flows_max,
                     const struct sip_key *key)
{
    /* A datagram in reassembly holds a client too. */
    uint32_t clients_max =
        flows_max <= UINT32_MAX - FRAG_DATAGRAMS_MAX ? flows_max + FRAG_DATAGRAMS_MAX : UINT32_MAX;

    *t = (struct flow_table){.key = *key, .next_id = 1, .id_step = 1};
    for (int i = 0; i < FLOW_HOLDER_CLASSES; i++)
        list_init(&t->udp_holders[i]);
    hash_init(&t->flows, memory, flows_max);
    hash_init(&t->clients, memory, clients_max);
    pool_init(&t->client_pool, memory, sizeof(struct client), clients_max);
}

void flow_table_share(struct flow_table *t, struct owners *owners, unsigned worker, unsigned workers)
{
    t->owners = owners;
    t->worker = worker;
    t->next_id = worker + 1;
    t->id_step = workers;
}

void flow_table_deinit(struct flow_table *t)
{
    assert(t->flows.count == 0 && t->clients.count == 0);
    hash_deinit(&t->flows);
    hash_deinit(&t->clients);
    pool_deinit(&t->client_pool);
}

uint32_t flow_hash(const struct flow_table *t, const struct flow_key *key)
{
    return (uint32_t)siphash13(&t->key, key, sizeof(*key));
}

struct flow *flow_find(const struct flow_table *t, const struct flow_key *key, uint32_t hash)
{
    uint32_t pos;

    for (struct flow *f = hash_first(&t->flows, hash, &pos); f;
         f = hash_next(&t->flows, hash, &pos)) {
        if (memcmp(&f->key, key, sizeof(*key)) == 0)
            return f;
    }
    return NULL;
}

/* Echo requests are answered wherever they come. */
static bool flow_has_owner(const struct flow_table *t, const struct flow_key *key)
{
    return t->owners && (key->proto == IP_PROTO_TCP || key->proto == IP_PROTO_UDP);
}

static bool flow_enter(struct flow_table *t, struct flow *f, const struct flow_key *key, uint32_t hash)
{
    if (flow_has_owner(t, key) && !owners_enter(t->owners, hash, t->worker))
        return false;
    if (hash_insert(&t->flows, hash, f))
        return true;
    if (flow_has_owner(t, key))
        owners_leave(t->owners, hash);
    return false;
}

bool flow_insert(struct flow_table *t, struct flow *f, const struct flow_key *key, uint32_t hash)
{
    struct client *c = client_get(t, key->client);

    if (!c)
        return false;
    if (!flow_enter(t, f, key, hash)) {
        client_put(t, c);
        return false;
    }
    f->key = *key;
    f->id = t->next_id;
    t->next_id += t->id_step;
    f->client = c;
    list_init(&f->ready_node);
    list_init(&f->output_node);
    wheel_timer_init(&f->timer);
    return true;
}

void flow_remove(struct net *net, struct flow *f)
{
    uint32_t hash = flow_hash(&net->flows, &f->key);

    hash_remove(&net->flows.flows, hash, f);
    if (flow_has_owner(&net->flows, &f->key))
        owners_leave(net->flows.owners, hash);
    wheel_stop(&net->wheel, &f->timer);
    list_remove(&f->ready_node);
    list_remove(&f->output_node);
    client_put(&net->flows, f->client);
    f->client = NULL;
}

struct client *client_get(struct flow_table *t, const uint8_t ip[16])
{
    uint32_t hash = (uint32_t)siphash13(&t->key, ip, 16), pos;
    struct client *c;

    for (c = hash_first(&t->clients, hash, &pos); c; c = hash_next(&t->clients, hash, &pos)) {
        if (memcmp(c->ip, ip, sizeof(c->ip)) == 0) {
            c->refs++;
            return c;
        }
    }
    c = pool_get(&t->client_pool);
    if (!c)
        return NULL;
    if (!hash_insert(&t->clients, hash, c)) {
        pool_put(&t->client_pool, c);
        return NULL;
    }
    list_init(&c->holder_node);
    list_init(&c->handshakes);
    list_init(&c->udp_idle);
    list_init(&c->udp_remotes);
    memcpy(c->ip, ip, sizeof(c->ip));
    c->hash = hash;
    c->refs = 1;
    return c;
}

void client_put(struct flow_table *t, struct client *c)
{
    if (--c->refs > 0)
        return;
    assert(c->udp_class == 0);
    hash_remove(&t->clients, c->hash, c);
    pool_put(&t->client_pool, c);
}

void client_weigh(struct flow_table *t, struct client *c)
{
    uint8_t class = 0;

    for (uint32_t held = c->mappings + c->remotes; held > 0; held >>= 1)
        class++;
    if (class == c->udp_class)
        return;
    c->udp_class = class;
    list_remove(&c->holder_node);
    if (class > 0)
        list_push_back(&t->udp_holders[class], &c->holder_node);
}

void flow_describe(const struct net *net, const struct flow *f, adit_flow *out)
{
    const struct flow_key *k = &f->key;
    bool has_ports = k->proto == IP_PROTO_TCP || k->proto == IP_PROTO_UDP;
    adit_addr seen;

    *out = (adit_flow){.id = f->id, .proto = k->proto, .dscp = f->dscp};
    out->src = flow_addr(k->client, has_ports ? k->client_port : 0);
    if (k->proto == IP_PROTO_UDP)
        seen = LIST_ENTRY(f, struct udp, flow)->first_seen;
    else
        seen = flow_addr(k->remote, has_ports ? k->remote_port : 0);
    out->dst.addr = net_alias_real(net, &seen);
}
