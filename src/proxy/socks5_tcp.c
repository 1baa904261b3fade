/* SPDX-License-Identifier: MIT */
/* socks5_tcp: a client's connection through the server.
 *
 *   PENDING --dial--> greeting --reply--> relay (which answers the client)
 *                |  ^    |
 *                |  +----+ once more, stepwise
 *                +--> reject, as the error or the reply says
 *
 * The library bounds the time until the reply: a conn that is still pending after the dial timeout is refused. */
#include <stdlib.h>
#include "endpoint.h"
#include "socks5.h"

struct session {
    struct socks5 *proxy;
    struct socks5_handshake *handshake; /* NULL: not, or no longer, greeting */
    struct socks5_probe *probe;
    bool is_retry;
};

static void session_dial(struct session *s, adit_conn *c);

static void session_forget_handshake(struct session *s)
{
    free(s->handshake);
    s->handshake = NULL;
}

static void session_closed(adit_conn *c, int why, void *user)
{
    struct session *s = user;

    (void)c, (void)why;
    socks5_probe_cancel(s->probe);
    socks5_give_up(s->proxy, s->handshake);
    session_forget_handshake(s);
    free(s);
}

static void session_finish(struct session *s, adit_conn *c, adit_socket upstream)
{
    const struct socks5_handshake *h = s->handshake;
    int err = h->phase == SOCKS5_DONE ? 0 : h->error;

    socks5_learn(s->proxy, adit_conn_engine(c), h, s->is_retry, 0);
    session_forget_handshake(s);
    if (err == 0)
        err = adit_conn_relay(c, upstream);
    if (err)
        adit_conn_reject(c, adit_verdict_for(err));
}

static void session_retry(struct session *s, adit_conn *c, adit_socket upstream)
{
    session_forget_handshake(s);
    s->is_retry = true;
    if (adit_conn_disown(c, upstream) == 0)
        endpoint_close(upstream);
    session_dial(s, c);
}

static void session_step(adit_conn *c, adit_socket upstream, unsigned ev, void *user)
{
    struct session *s = user;
    unsigned wanted = socks5_handshake_drive(s->handshake, upstream);
    int err;

    (void)ev;
    if (!wanted && s->handshake->phase == SOCKS5_RETRY) {
        session_retry(s, c, upstream);
    } else if (!wanted) {
        session_finish(s, c, upstream);
    } else {
        err = adit_conn_watch(c, upstream, wanted, session_step);
        if (err)
            adit_conn_reject(c, adit_verdict_for(err));
    }
}

static void session_dialled(adit_conn *c, int err, adit_socket upstream, void *user)
{
    struct session *s = user;
    bool is_pipelined = !s->is_retry && socks5_bears_pipelining(s->proxy);

    if (err)
        socks5_learn(s->proxy, adit_conn_engine(c), NULL, s->is_retry, err);
    else
        s->handshake = socks5_handshake_new(s->proxy, SOCKS5_CONNECT, &adit_conn_flow(c)->dst,
                                            is_pipelined, &err);
    if (err)
        adit_conn_reject(c, adit_verdict_for(err));
    else
        session_step(c, upstream, 0, s);
}

static void session_dial(struct session *s, adit_conn *c)
{
    int err = adit_conn_dial(c, &s->proxy->server, session_dialled);

    if (err)
        adit_conn_reject(c, adit_verdict_for(err));
}

void socks5_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {.size = sizeof(ops), .closed = session_closed};
    struct session *s = calloc(1, sizeof(*s));

    if (!s) {
        adit_conn_reject(c, ADIT_RESET);
        return;
    }
    s->proxy = ctx;
    adit_conn_set_ops(c, &ops, s);
    socks5_probe_start(&s->probe, s->proxy, adit_conn_engine(c), adit_conn_loop(c));
    session_dial(s, c);
}
