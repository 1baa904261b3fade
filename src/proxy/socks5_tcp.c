/* SPDX-License-Identifier: MIT */
/* socks5_tcp: a client's connection through the server.
 *
 *   PENDING --dial--> greeting --reply--> relay (which answers the client)
 *                |  ^    |
 *                |  +----+ once more, stepwise
 *                +--> reject, as the error or the reply says
 *
 * The library bounds the time until the reply: a conn that is still pending after the dial timeout is refused.
 *
 * A pipelined request that has no reply after 1.5 s went to a slow destination, or to a server that no longer bears
 * pipelining (it was replaced) and has thrown it away. A probe tells which, and if it says so the greeting is repeated. */
#include "endpoint.h"
#include "socks5.h"

enum { JUDGE_MS = SOCKS5_PROBE_MS + 500 };

struct session {
    struct socks5 *proxy;
    adit_conn *conn;
    adit_socket upstream;
    adit_timer *timer; /* of a pipelined request: when to doubt, then when to judge */
    struct socks5_handshake *handshake; /* NULL: not, or no longer, greeting */
    struct socks5_probe *probe;
    bool is_retry;
};

static void session_dial(struct session *s);

static void session_forget_handshake(struct session *s)
{
    adit_timer_stop(s->timer);
    s->timer = NULL;
    adit_loop_free(s->handshake);
    s->handshake = NULL;
}

static void session_closed(adit_conn *c, int why, void *user)
{
    struct session *s = user;

    (void)c, (void)why;
    socks5_probe_cancel(s->probe);
    socks5_doubt(s->proxy, s->handshake);
    session_forget_handshake(s);
    adit_loop_free(s);
}

static void session_finish(struct session *s)
{
    const struct socks5_handshake *h = s->handshake;
    int err = h->phase == SOCKS5_DONE ? 0 : h->error;

    socks5_learn(s->proxy, adit_conn_engine(s->conn), h, s->is_retry, 0);
    session_forget_handshake(s);
    if (err == 0)
        err = adit_conn_relay(s->conn, s->upstream);
    if (err)
        adit_conn_reject(s->conn, adit_verdict_for(err));
}

static void session_retry(struct session *s)
{
    session_forget_handshake(s);
    s->is_retry = true;
    if (adit_conn_disown(s->conn, s->upstream) == 0)
        endpoint_close(s->upstream);
    session_dial(s);
}

static void session_judge(void *arg)
{
    struct session *s = arg;

    s->timer = NULL;
    if (atomic_load(&s->proxy->pipelining) == PIPELINING_NO)
        session_retry(s);
}

static void session_doubt(void *arg)
{
    struct session *s = arg;
    adit_loop *loop = adit_conn_loop(s->conn);

    socks5_doubt(s->proxy, s->handshake);
    socks5_probe_start(&s->probe, s->proxy, adit_conn_engine(s->conn), loop);
    s->timer = adit_timer_start(loop, JUDGE_MS, session_judge, s);
}

/* Without memory for a timer there is no doubt. */
static void session_bound_trust(struct session *s)
{
    const struct socks5_handshake *h = s->handshake;

    if (h->is_pipelined && h->phase == SOCKS5_REPLY && !s->timer)
        s->timer = adit_timer_start(adit_conn_loop(s->conn), SOCKS5_DOUBT_MS, session_doubt, s);
}

static void session_step(adit_conn *c, adit_socket upstream, unsigned ev, void *user)
{
    struct session *s = user;
    unsigned wanted = socks5_handshake_drive(s->handshake, upstream);
    int err;

    (void)ev;
    if (!wanted && s->handshake->phase == SOCKS5_RETRY) {
        session_retry(s);
    } else if (!wanted) {
        session_finish(s);
    } else {
        session_bound_trust(s);
        err = adit_conn_watch(c, upstream, wanted, session_step);
        if (err)
            adit_conn_reject(c, adit_verdict_for(err));
    }
}

static void session_dialled(adit_conn *c, int err, adit_socket upstream, void *user)
{
    struct session *s = user;
    bool is_pipelined = !s->is_retry && socks5_bears_pipelining(s->proxy);

    s->upstream = upstream;
    if (err) {
        socks5_learn(s->proxy, adit_conn_engine(c), NULL, s->is_retry, err);
    } else {
        s->handshake = adit_loop_alloc(adit_conn_loop(c), sizeof(*s->handshake));
        err = socks5_handshake_begin(&s->handshake, s->proxy, SOCKS5_CONNECT, &adit_conn_flow(c)->dst, is_pipelined);
    }
    if (err)
        adit_conn_reject(c, adit_verdict_for(err));
    else
        session_step(c, upstream, 0, s);
}

static void session_dial(struct session *s)
{
    int err = adit_conn_dial(s->conn, &s->proxy->server, session_dialled);

    if (err)
        adit_conn_reject(s->conn, adit_verdict_for(err));
}

void socks5_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {.size = sizeof(ops), .closed = session_closed};
    struct session *s = adit_loop_alloc(adit_conn_loop(c), sizeof(*s));

    if (!s) {
        adit_conn_reject(c, ADIT_RESET);
        return;
    }
    s->proxy = ctx;
    s->conn = c;
    adit_conn_set_ops(c, &ops, s);
    socks5_probe_start(&s->probe, s->proxy, adit_conn_engine(c), adit_conn_loop(c));
    session_dial(s);
}
