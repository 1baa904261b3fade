/* SPDX-License-Identifier: MIT */
/* conn: adit_conn, the functions of adit/conn.h over struct stream (net/stream.h).
 *
 *     ready flow --> conn_serve --+-- CLOSED: closed(), then all of it is freed      (the only place that frees a conn)
 *                                 +-- a relay: it moves octets
 *                                 +-- else:   event(want & what there is), again while that is not empty
 *
 * A conn is handed to its handler once and from then on owns the stream. Handlers call back into this file from inside
 * their callbacks; nothing here calls them before it returns, and nothing is freed before closed(), so a conn that was
 * aborted in its own event() is still there when event() returns. The way out (a dial, then its socket, perhaps watched,
 * then a relay) goes with the first call that ends the conn: no dial or watch callback comes after it.
 *
 * Events are level-triggered as with poll(): a handler that wants what it does not take is called in each turn. */
#include "stack/conn.h"
#include <string.h>
#include <uv.h>
#include "sock/reclaim.h"

void conn_pool_init(struct stack *s)
{
    pool_init(&s->conn_pool, s->config.net->memory, sizeof(adit_conn), s->config.conns_max);
}

static adit_conn *conn_new(struct stack *s, struct flow *f)
{
    adit_conn *c = pool_get(&s->conn_pool);

    if (!c)
        return NULL;
    c->stack = s;
    c->flow = f;
    c->socket = ADIT_NO_SOCKET;
    list_push_front(&s->conns, &c->node);
    f->owner = c;
    return c;
}

static struct stream *conn_stream(const adit_conn *c)
{
    return &c->flow->stream;
}

/* A host that runs the loop itself may call between two iterations: deadlines must count from now. */
static void conn_set_now(const adit_conn *c)
{
    stack_set_now(c->stack, adit_loop_now_ns(c->stack->config.loop));
}

/* What the conn holds of a call's views, and of buffers, is looked at when the turn ends. */
static void conn_touch(adit_conn *c)
{
    if (c->is_touched)
        return;
    c->is_touched = true;
    list_remove(&c->node);
    list_push_back(&c->stack->touched_conns, &c->node);
}

/* NULL: no memory. */
static struct conn_search *conn_search(adit_conn *c)
{
    if (c->search)
        return c->search;
    c->search = loop_alloc(c->stack->config.loop, sizeof(*c->search));
    if (c->search)
        c->search->conn = c;
    return c->search;
}

static bool conn_is_dialling(const adit_conn *c)
{
    return !c->is_relayed && c->search && c->search->dial;
}

static void conn_unwatch(adit_conn *c)
{
    if (!c->search || (!c->search->is_watched && !c->search->is_kept))
        return;
    watch_remove(&c->search->watch);
    c->search->is_watched = c->search->is_kept = false;
}

static void conn_end_search(adit_conn *c)
{
    if (c->is_relayed || !c->search)
        return;
    dial_cancel(c->search->dial);
    conn_unwatch(c);
    loop_release(c->stack->config.loop, c->search, sizeof(*c->search));
    c->search = NULL;
}

static void conn_end_relay(adit_conn *c)
{
    if (!c->is_relayed)
        return;
    relay_free(c->relay);
    c->is_relayed = false;
    c->search = NULL;
}

/* Ends whatever leads out. in_order: an upstream socket sees the end of the stream, else a reset. */
static void conn_release_upstream(adit_conn *c, bool in_order)
{
    conn_end_search(c);
    conn_end_relay(c);
    if (!c->owns_socket)
        return;
    if (in_order)
        sock_close(c->socket);
    else
        sock_abort(c->socket);
    c->owns_socket = false;
}

/* ---------------------------------------------------------------------------------------- serving -- */

/* A host that was built with an older, shorter table has no function at that offset. */
static bool conn_has(const adit_conn_ops *ops, size_t offset)
{
    return ops && ops->size >= offset + sizeof(ops->event);
}

static void conn_end(adit_conn *c)
{
    struct stack *s = c->stack;
    struct stream *stream = conn_stream(c);
    int why = c->why;

    if (why == 0 && c->is_relayed)
        why = relay_why(c->relay);
    if (why == 0)
        why = stream->ops->why(stream);
    c->is_ended = true;
    conn_release_upstream(c, why == 0);
    if (!c->is_taken && conn_has(c->ops, offsetof(adit_conn_ops, closed)) && c->ops->closed)
        c->ops->closed(c, why, c->user);
    list_remove(&c->node);
    c->flow->owner = NULL;
    stream->ops->free(stream);
    pool_put(&s->conn_pool, c);
}

/* Another look is due in this turn when what is wanted is (still) there. */
static void conn_poke(adit_conn *c)
{
    if (!c->is_ended && !c->is_relayed && (stream_events(conn_stream(c)) & c->want))
        net_set_ready(c->stack->config.net, c->flow);
}

static void conn_tell(adit_conn *c, unsigned ev)
{
    if (c->is_ended || !(ev & c->want) || !conn_has(c->ops, offsetof(adit_conn_ops, event)) || !c->ops->event)
        return;
    c->ops->event(c, ev & c->want, c->user);
    conn_poke(c);
}

static void conn_hand_over(struct stack *s, adit_conn *c)
{
    struct listener *l = stack_listener(s, &adit_conn_flow(c)->dst.addr);

    if (l)
        l->fn(l->ctx, c);
    else if (s->config.handler.tcp)
        s->config.handler.tcp(s->config.handler_ctx, c);
    else
        adit_conn_reject(c, ADIT_RESET);
}

static void conn_begin(struct stack *s, struct flow *f, struct stream *stream, unsigned ev)
{
    adit_conn *c = s->is_stopping ? NULL : conn_new(s, f);

    if (!c) {
        stream->ops->reject(stream, ADIT_RESET);
        return; /* it is closed now, and comes back as such */
    }
    c->is_accepted = (ev & STREAM_OPEN) != 0;
    conn_touch(c);
    conn_hand_over(s, c);
    conn_poke(c);
}

void conn_serve(struct stack *s, struct flow *f)
{
    struct stream *stream = s->ops->stream(f);
    adit_conn *c = f->owner;
    unsigned ev = stream_events(stream);

    if (!c && (ev & STREAM_CLOSED)) {
        stream->ops->free(stream);
    } else if (!c) {
        if (ev & STREAM_NEW)
            conn_begin(s, f, stream, ev);
    } else if (ev & STREAM_CLOSED) {
        conn_end(c);
    } else {
        conn_touch(c);
        if (c->is_relayed)
            relay_stream_ready(c->relay);
        else
            conn_tell(c, ev);
    }
}

void conn_settle(adit_conn *c)
{
    c->is_touched = false;
    list_push_front(&c->stack->conns, &c->node); /* beside others that are busy, and in the cache */
    conn_stream(c)->ops->settle(conn_stream(c));
}

void conn_stop(adit_conn *c, int why)
{
    if (!c->why)
        c->why = (int8_t)why;
    adit_conn_abort(c);
}

int stack_dial(struct stack *s, const adit_addr *from, const adit_addr *to, const adit_conn_ops *ops, void *user,
               adit_conn **out)
{
    uint64_t now_ns = adit_loop_now_ns(s->config.loop);
    struct flow *f;
    adit_conn *c;

    *out = NULL;
    if (s->is_stopping)
        return ADIT_ECANCELED;
    if (from->port == 0 || to->port == 0 || from->family == 0 || from->family != to->family)
        return ADIT_EINVAL;
    if (!s->ops->dial)
        return ADIT_ENOTSUP;
    f = s->ops->dial(s, from, to, now_ns);
    if (!f)
        return ADIT_ELIMIT;
    c = conn_new(s, f);
    if (!c) {
        struct stream *stream = s->ops->stream(f);

        stream->ops->abort(stream); /* freed when it is served */
        return ADIT_ELIMIT;
    }
    c->is_accepted = true;
    adit_conn_set_ops(c, ops, user);
    *out = c;
    return 0;
}

/* -------------------------------------------------------------------------------- the public face -- */

const adit_flow *adit_conn_flow(const adit_conn *c)
{
    struct stack *s = c->stack;
    adit_flow *f = &s->described[s->described_count++ % STACK_DESCRIBED_MAX];

    flow_describe(s->config.net, c->flow, f);
    return f;
}

adit *adit_conn_engine(const adit_conn *c)
{
    return c->stack->config.engine;
}

adit_loop *adit_conn_loop(const adit_conn *c)
{
    return c->stack->config.loop;
}

void adit_conn_set_ops(adit_conn *c, const adit_conn_ops *ops, void *user)
{
    c->ops = ops;
    c->user = user;
}

void *adit_conn_user(const adit_conn *c)
{
    return c->user;
}

const char *adit_conn_stack(const adit_conn *c)
{
    return conn_stream(c)->ops->name;
}

int adit_conn_accept(adit_conn *c)
{
    int err;

    if (c->is_ended || c->is_accepted)
        return ADIT_ESTATE;
    conn_set_now(c);
    err = conn_stream(c)->ops->accept(conn_stream(c));
    c->is_accepted = err == 0;
    return err;
}

void adit_conn_reject(adit_conn *c, int verdict)
{
    if (c->is_ended)
        return;
    if (c->is_accepted) {
        adit_conn_abort(c);
        return;
    }
    c->is_ended = true;
    conn_set_now(c);
    conn_release_upstream(c, false);
    conn_stream(c)->ops->reject(conn_stream(c), verdict);
}

int adit_verdict_for(int err)
{
    switch ((enum adit_code)err) {
    case ADIT_ENETUNREACH:
    case ADIT_ENODEV:
        return ADIT_UNREACH_NET;
    case ADIT_EHOSTUNREACH:
    case ADIT_ETIMEDOUT:
    case ADIT_ENAME:
        return ADIT_UNREACH_HOST;
    case ADIT_EPERM:
        return ADIT_UNREACH_ADMIN;
    case ADIT_OK:
    case ADIT_EAGAIN:
    case ADIT_EINVAL:
    case ADIT_ENOMEM:
    case ADIT_ELIMIT:
    case ADIT_EEXIST:
    case ADIT_ENOTSUP:
    case ADIT_ESTATE:
    case ADIT_ECLOSED:
    case ADIT_ERESET:
    case ADIT_EREFUSED:
    case ADIT_EPROTO:
    case ADIT_ECANCELED:
    case ADIT_ENOTBUILT:
    case ADIT_ESYS:
        break;
    }
    return ADIT_RESET;
}

void adit_conn_want(adit_conn *c, unsigned ev)
{
    c->want = ev & (ADIT_READ | ADIT_WRITE);
    conn_poke(c);
}

ptrdiff_t adit_conn_recv(adit_conn *c, void *buf, size_t len)
{
    adit_iov iov[16];
    size_t done = 0;
    int n;

    if (len == 0)
        return ADIT_EINVAL;
    n = adit_conn_peek(c, iov, 16);
    if (n <= 0)
        return n;
    for (int i = 0; i < n && done < len; i++) {
        size_t part = iov[i].len < len - done ? iov[i].len : len - done;

        memcpy((uint8_t *)buf + done, iov[i].base, part);
        done += part;
    }
    adit_conn_consume(c, done);
    return (ptrdiff_t)done;
}

int adit_conn_peek(adit_conn *c, adit_iov *iov, int iov_max)
{
    if (c->is_ended)
        return ADIT_ECLOSED;
    if (c->is_relayed || iov_max <= 0)
        return ADIT_ESTATE;
    conn_touch(c);
    return conn_stream(c)->ops->peek(conn_stream(c), iov, iov_max);
}

void adit_conn_consume(adit_conn *c, size_t len)
{
    if (c->is_ended || c->is_relayed || len == 0)
        return;
    conn_set_now(c);
    conn_stream(c)->ops->consume(conn_stream(c), len);
    /* The last octets of a stream that has ended may be all that kept it. */
    if (stream_events(conn_stream(c)) & STREAM_CLOSED)
        net_set_ready(c->stack->config.net, c->flow);
}

ptrdiff_t adit_conn_send(adit_conn *c, const void *buf, size_t len)
{
    size_t done = 0;

    if (len == 0)
        return ADIT_EINVAL;
    while (done < len) {
        adit_iov iov[16];
        size_t part = 0;
        int n = adit_conn_reserve(c, iov, 16);

        if (n <= 0)
            return done > 0 ? (ptrdiff_t)done : n == 0 ? ADIT_EAGAIN : n;
        for (int i = 0; i < n && done < len; i++) {
            size_t piece = iov[i].len < len - done ? iov[i].len : len - done;

            memcpy(iov[i].base, (const uint8_t *)buf + done, piece);
            done += piece;
            part += piece;
        }
        adit_conn_commit(c, part);
    }
    return (ptrdiff_t)done;
}

int adit_conn_reserve(adit_conn *c, adit_iov *iov, int iov_max)
{
    if (c->is_ended)
        return ADIT_ECLOSED;
    if (c->is_relayed || iov_max <= 0)
        return ADIT_ESTATE;
    conn_set_now(c);
    conn_touch(c);
    return conn_stream(c)->ops->reserve(conn_stream(c), iov, iov_max);
}

void adit_conn_commit(adit_conn *c, size_t len)
{
    if (c->is_ended || c->is_relayed || len == 0)
        return;
    conn_set_now(c);
    conn_stream(c)->ops->commit(conn_stream(c), len);
}

int adit_conn_shutdown(adit_conn *c)
{
    if (c->is_ended)
        return ADIT_ECLOSED;
    if (c->is_relayed)
        return ADIT_ESTATE;
    conn_set_now(c);
    return conn_stream(c)->ops->shutdown(conn_stream(c));
}

void adit_conn_close(adit_conn *c)
{
    if (c->is_ended)
        return;
    c->is_ended = true;
    conn_set_now(c);
    conn_release_upstream(c, true);
    conn_stream(c)->ops->close(conn_stream(c));
}

void adit_conn_abort(adit_conn *c)
{
    c->is_ended = true;
    conn_set_now(c);
    conn_release_upstream(c, false);
    conn_stream(c)->ops->abort(conn_stream(c)); /* also of one that is closing in order */
}

int adit_conn_stat(const adit_conn *c, adit_conn_info *out)
{
    conn_stream(c)->ops->stat(conn_stream(c), out);
    return 0;
}

/* ------------------------------------------------------------------------------------ the way out -- */

/* Nobody looks at the socket yet: its edges wait for the relay. */
static void conn_kept_ready(struct watch *w, unsigned events)
{
    LIST_ENTRY(w, struct conn_search, watch)->kept_events |= events;
}

static void conn_dialled(void *arg, int err, adit_socket s)
{
    adit_conn *c = arg;
    struct conn_search *search = c->search;

    search->dial = NULL;
    search->is_kept = search->watch.loop != NULL;
    if (err == 0)
        c->socket = s;
    c->owns_socket = err == 0;
    if (search->dial_fn) {
        search->watch.server = 0; /* the handler may set options, which would stay: no other connection gets this socket */
        search->dial_fn(c, err, s, c->user);
        return;
    }
    if (err == 0)
        err = adit_conn_relay(c, s);
    if (err)
        adit_conn_reject(c, adit_verdict_for(err));
}

int adit_conn_dial(adit_conn *c, const adit_dest *to, adit_conn_dial_fn fn)
{
    const struct stack_config *config = &c->stack->config;

    struct conn_search *search;

    if (c->is_ended || c->is_relayed || conn_is_dialling(c) || c->socket != ADIT_NO_SOCKET)
        return ADIT_ESTATE;
    search = conn_search(c);
    if (!search)
        return ADIT_ENOMEM;
    search->dial_fn = fn;
    search->dial = dial_start(config->loop, &config->sockets, ADIT_PROTO_TCP, to, c->flow->mark, config->dial_ns,
                              conn_dialled, c);
    if (!search->dial)
        return ADIT_ENOMEM;
    search->kept_events = 0;
    dial_keep(search->dial, &search->watch, conn_kept_ready);
    return 0;
}

static void conn_socket_ready(struct watch *w, unsigned events)
{
    struct conn_search *search = LIST_ENTRY(w, struct conn_search, watch);
    adit_conn *c = search->conn;

    search->watch_fn(c, c->socket, events, c->user);
}

int adit_conn_watch(adit_conn *c, adit_socket s, unsigned ev, adit_conn_io_fn fn)
{
    struct conn_search *search;
    int err;

    if (c->is_ended || c->is_relayed || s == ADIT_NO_SOCKET || s != c->socket)
        return ADIT_ESTATE;
    ev &= ADIT_READ | ADIT_WRITE;
    if (ev == 0) {
        conn_unwatch(c);
        return 0;
    }
    search = conn_search(c);
    if (!search)
        return ADIT_ENOMEM;
    if (search->is_kept)
        conn_unwatch(c);
    search->watch_fn = fn;
    if (search->is_watched)
        return watch_set(&search->watch, ev);
    err = watch_add(c->stack->config.loop, &search->watch, s, ev, false, conn_socket_ready);
    search->is_watched = err == 0;
    return err;
}

/* The relay has closed or aborted the stream; what is left is closed(). */
static void conn_relay_done(void *arg, int why)
{
    adit_conn *c = arg;

    conn_end_relay(c);
    c->is_ended = true;
    if (!c->why)
        c->why = (int8_t)why;
    net_set_ready(c->stack->config.net, c->flow);
}

/* Joins the stream and s, which may be registered since the dial. NULL: no memory. */
static struct relay *conn_join(adit_conn *c, adit_socket s)
{
    const struct stack_config *config = &c->stack->config;
    struct relay_socket way_out = {.s = s};

    if (c->search) { /* it is there only where it keeps the registration */
        way_out.kept = &c->search->watch;
        way_out.events = c->search->kept_events;
        c->search->is_kept = false;
    }
    return relay_new(config->loop, conn_stream(c), &way_out, config->half_closed_ns, conn_relay_done, c);
}

int adit_conn_relay(adit_conn *c, adit_socket s)
{
    const struct stack_config *config = &c->stack->config;
    struct relay *relay;
    int err;

    if (s == ADIT_NO_SOCKET)
        return ADIT_EINVAL;
    if (c->is_ended || c->is_relayed || conn_is_dialling(c) || (c->owns_socket && c->socket != s)) {
        /* The one that is, or was, c's goes with c; once more would hit whoever has its number now. */
        if (s != c->socket)
            sock_close(s);
        return ADIT_ESTATE;
    }
    if (c->search && !c->search->is_kept)
        conn_end_search(c);
    c->socket = s; /* from here on it is released with c */
    c->owns_socket = true;
    err = c->is_accepted ? 0 : adit_conn_accept(c);
    if (err) {
        conn_release_upstream(c, false);
        return err;
    }
    c->owns_socket = false;
    conn_set_now(c);
    relay = conn_join(c, s);
    conn_end_search(c);
    c->relay = relay;
    c->is_relayed = relay != NULL;
    if (!c->is_relayed) {
        adit_conn_abort(c);
        return ADIT_ENOMEM;
    }
    net_set_ready(config->net, c->flow);
    return 0;
}

int adit_conn_disown(adit_conn *c, adit_socket s)
{
    if (!c->owns_socket || s != c->socket)
        return ADIT_ESTATE;
    conn_unwatch(c);
    c->socket = ADIT_NO_SOCKET;
    c->owns_socket = false;
    return 0;
}

int adit_conn_take_fd(adit_conn *c, adit_socket *s)
{
    uv_os_sock_t pair[2];
    int err;

    *s = ADIT_NO_SOCKET;
    if (c->is_ended || c->is_relayed || conn_is_dialling(c) || c->socket != ADIT_NO_SOCKET)
        return ADIT_ESTATE;
    if (conn_stream(c)->ops->take_fd && conn_stream(c)->ops->take_fd(conn_stream(c), s) == 0) {
        c->is_ended = c->is_taken = true;
        return 0;
    }
    do
        err = uv_socketpair(SOCK_STREAM, 0, pair, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE);
    while (err && reclaim_fd(c->stack->config.loop, -err));
    if (err)
        return ADIT_ELIMIT;
    err = adit_conn_relay(c, pair[1]);
    if (err) {
        sock_close(pair[0]);
        return err;
    }
    c->is_taken = true;
    *s = pair[0];
    return 0;
}
