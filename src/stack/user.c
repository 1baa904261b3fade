/* SPDX-License-Identifier: MIT */
/* user: TCP that ends in our own engine (net/tcp.h). The only file of this room that knows struct tcp; a build with
 * -Duserspace=disabled is without it. */
#include "net/tcp.h"
#include "stack/stack.h"

static struct stream *user_stream(struct flow *f)
{
    return tcp_stream(tcp_of_flow(f));
}

static int user_start(struct stack *s)
{
    struct net *net = s->config.net;
    struct tcp_engine *e = memory_alloc(net->memory, sizeof(*e));
    int err;

    if (!e)
        return ADIT_ENOMEM;
    err = tcp_engine_init(e, net);
    if (err) {
        memory_free(net->memory, e, sizeof(*e));
        return err;
    }
    s->tcp = e;
    return 0;
}

/* Flows that nobody has been told of yet: prepare() accepted them and their handshake is not done. */
static void user_abort_unowned(struct net *net)
{
    const struct hash *flows = &net->flows.flows;

    for (uint32_t i = 0; flows->slots && i <= flows->mask;) {
        struct flow *f = flows->slots[i].item;
        struct stream *stream = f && f->key.proto == IP_PROTO_TCP ? user_stream(f) : NULL;

        if (!stream || (stream_events(stream) & STREAM_CLOSED)) {
            i++; /* free, or in TIME-WAIT: the engine's */
            continue;
        }
        stream->ops->abort(stream); /* another one may have moved to this slot */
        stream->ops->free(stream);
    }
}

static void user_stop(struct stack *s)
{
    struct net *net = s->config.net;

    user_abort_unowned(net);
    net_set_tcp(net, NULL, NULL);
    tcp_engine_deinit(s->tcp);
    memory_free(net->memory, s->tcp, sizeof(struct tcp_engine));
    s->tcp = NULL;
}

static struct flow *user_dial(struct stack *s, const adit_addr *from, const adit_addr *to, uint64_t now_ns)
{
    struct tcp *t = tcp_dial(s->tcp, from, to, now_ns);

    return t ? tcp_flow(t) : NULL;
}

static void user_set_now(struct stack *s, uint64_t now_ns)
{
    struct tcp_engine *e = s->tcp;

    e->now_ns = now_ns;
}

const struct stack_ops stack_userspace = {
    .name = "userspace",
    .start = user_start,
    .stop = user_stop,
    .stream = user_stream,
    .dial = user_dial,
    .set_now = user_set_now,
};
