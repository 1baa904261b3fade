/* SPDX-License-Identifier: MIT */
/* handshake: see handshake.h. */
#include "net/handshake.h"

enum { HANDSHAKE_NS = 1000000000 /* the first repetition of a SYN-ACK (RFC 6298 2.1) */ };

void handshake_begin(struct net *net, struct handshake *h, struct flow *f, uint64_t now_ns)
{
    h->flow = f;
    h->since_ns = now_ns;
    list_push_back(&net->handshakes, &h->node);
    list_push_back(&f->client->handshakes, &h->client_node);
}

void handshake_end(struct handshake *h)
{
    list_remove(&h->node);
    list_remove(&h->client_node);
}

static struct handshake *handshake_oldest(const struct net *net, const struct client *c)
{
    struct list *node = list_first(c ? &c->handshakes : &net->handshakes);

    if (!node)
        return NULL;
    return c ? LIST_ENTRY(node, struct handshake, client_node) : LIST_ENTRY(node, struct handshake, node);
}

static bool handshake_make_room(struct net *net, const struct client *c, uint64_t now_ns)
{
    const struct handshake *h = handshake_oldest(net, c);
    uint32_t lot;

    if (!h)
        return false;
    net->env.random(net->env.ctx, &lot, sizeof(lot));
    if (now_ns - h->since_ns < HANDSHAKE_NS + lot % HANDSHAKE_NS)
        return false;
    net->stats.tcp_evicted++;
    net->tcp_ops->evict(net->tcp, h->flow);
    return true;
}

bool handshake_has_room(struct net *net, const struct client *c, uint64_t now_ns)
{
    const struct net_config *config = &net->config;
    uint64_t count = c ? c->half_open : net->stats.tcp_half_open;

    return count < (c ? config->tcp_half_open_per_client_max : config->tcp_half_open_max) || handshake_make_room(net, c, now_ns);
}
