/* SPDX-License-Identifier: MIT */
/* mapping: adit_udp, the functions of adit/udp.h over net/udp.h.
 *
 * A struct udp that is ready is new (an adit_udp is made and given to the handler), has datagrams (the relay or the
 * handler's event takes them), or is closing (closed() is called and it is freed). Its struct udp and its adit_udp live
 * and die together. What a handler leaves unreleased is released when its callback, or the turn, ends: the memory of the
 * datagrams is the device's own. */
#include "stack/mapping.h"
#include "net/icmp.h"

void mapping_pool_init(struct stack *s)
{
    pool_init(&s->mapping_pool, s->config.net->memory, sizeof(adit_udp), s->config.mappings_max);
}

static uint64_t mapping_now_ns(const adit_udp *u)
{
    return adit_loop_now_ns(u->stack->config.loop);
}

static adit_udp *mapping_new(struct stack *s, struct udp *udp)
{
    adit_udp *u = pool_get(&s->mapping_pool);

    if (!u)
        return NULL;
    u->stack = s;
    u->udp = udp;
    list_init(&u->touched_node);
    list_push_back(&s->mappings, &u->node);
    udp->flow.owner = u;
    udp->is_new = false;
    return u;
}

/* A host that was built with an older, shorter table has no function at that offset. */
static bool mapping_has(const adit_udp_ops *ops, size_t offset)
{
    return ops && ops->size >= offset + sizeof(ops->event);
}

static void mapping_end(adit_udp *u)
{
    struct stack *s = u->stack;
    struct udp *udp = u->udp;

    if (u->relay)
        udp_relay_free(u->relay);
    u->relay = NULL;
    mapping_settle(u);
    if (mapping_has(u->ops, offsetof(adit_udp_ops, closed)) && u->ops->closed)
        u->ops->closed(u, udp->closed_why, u->user);
    list_remove(&u->node);
    list_remove(&u->touched_node);
    udp_free(udp);
    pool_put(&s->mapping_pool, u);
}

static void mapping_tell(adit_udp *u)
{
    uint32_t before = u->udp->queued_count;

    if (!list_is_linked(&u->touched_node))
        list_push_back(&u->stack->touched_mappings, &u->touched_node);
    if (u->relay) {
        udp_relay_ready(u->relay);
        return;
    }
    if (before == 0 || !mapping_has(u->ops, offsetof(adit_udp_ops, event)) || !u->ops->event)
        return;
    u->ops->event(u, u->user);
    mapping_settle(u);
    /* A handler that takes a few at a time is called again; one that takes none waits for the next arrival. */
    if (!u->udp->is_closing && u->udp->queued_count > 0 && u->udp->queued_count < before)
        net_set_ready(u->stack->config.net, &u->udp->flow);
}

void mapping_serve(struct stack *s, struct flow *f)
{
    struct udp *udp = LIST_ENTRY(f, struct udp, flow);
    adit_udp *u = f->owner;

    if (udp->is_closing) {
        if (u)
            mapping_end(u);
        else
            udp_free(udp);
        return;
    }
    if (!u) {
        u = s->is_stopping ? NULL : mapping_new(s, udp);
        if (!u) {
            udp_close(udp, ADIT_ELIMIT);
            return;
        }
        s->config.handler.udp(s->config.handler_ctx, u);
        if (udp->is_closing)
            return;
    }
    mapping_tell(u);
}

void mapping_settle(adit_udp *u)
{
    if (u->shown > 0)
        udp_release(u->udp, u->shown);
    u->shown = 0;
}

void mapping_stop(adit_udp *u, int why)
{
    if (!u->udp->is_closing)
        udp_close(u->udp, why);
}

/* -------------------------------------------------------------------------------- the public face -- */

const adit_flow *adit_udp_flow(const adit_udp *u)
{
    return &u->udp->info;
}

adit *adit_udp_engine(const adit_udp *u)
{
    return u->stack->config.engine;
}

adit_loop *adit_udp_loop(const adit_udp *u)
{
    return u->stack->config.loop;
}

void adit_udp_set_ops(adit_udp *u, const adit_udp_ops *ops, void *user)
{
    u->ops = ops;
    u->user = user;
}

void *adit_udp_user(const adit_udp *u)
{
    return u->user;
}

int adit_udp_recv(adit_udp *u, adit_dgram *d, int n)
{
    int got;

    if (u->udp->is_closing || u->relay || n <= 0)
        return 0;
    got = udp_recv(u->udp, d, n);
    u->shown += got;
    /* Outside a callback of ours the turn's end is what ends the views. */
    if (u->shown > 0 && !list_is_linked(&u->touched_node))
        list_push_back(&u->stack->touched_mappings, &u->touched_node);
    return got;
}

void adit_udp_release(adit_udp *u, int n)
{
    if (n > u->shown)
        n = u->shown;
    if (n <= 0)
        return;
    udp_release(u->udp, n);
    u->shown -= n;
}

int adit_udp_send(adit_udp *u, const adit_dgram *d, int n)
{
    if (u->udp->is_closing || n <= 0)
        return 0;
    return udp_send(u->udp, d, n, mapping_now_ns(u));
}

void adit_udp_unreach(adit_udp *u, const adit_addr *remote, int verdict)
{
    if (!u->udp->is_closing)
        udp_unreach(u->udp, remote, verdict, mapping_now_ns(u));
}

void adit_udp_reject(adit_udp *u, int verdict)
{
    if (u->udp->is_closing)
        return;
    if (icmp_kind_of_verdict(verdict) != ICMP_OTHER)
        udp_unreach(u->udp, &u->udp->info.dst.addr, verdict, mapping_now_ns(u));
    udp_close(u->udp, ADIT_EREFUSED);
}

void adit_udp_close(adit_udp *u)
{
    if (!u->udp->is_closing)
        udp_close(u->udp, 0);
}

int adit_udp_relay(adit_udp *u)
{
    struct stack *s = u->stack;

    if (u->udp->is_closing || u->relay)
        return ADIT_ESTATE;
    u->relay = udp_relay_new(s->config.loop, &s->config.sockets, u->udp);
    if (!u->relay)
        return ADIT_ENOMEM;
    mapping_settle(u);
    if (u->udp->queued_count > 0)
        net_set_ready(s->config.net, &u->udp->flow);
    return 0;
}

void adit_udp_set_timeout(adit_udp *u, uint32_t ms)
{
    if (!u->udp->is_closing)
        udp_set_timeout(u->udp, ms * 1000000ull, mapping_now_ns(u));
}
