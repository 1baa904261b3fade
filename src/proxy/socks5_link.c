/* SPDX-License-Identifier: MIT */
/* socks5_link: dial, handshake, and from then on the owner's.
 *
 *   start --> dial --> handshake --> opened(0) --> ready() ...
 *              |  ^        |
 *              |  +--retry-+  (once, stepwise)
 *              +-----------+--> opened(err)
 *
 * The timer bounds all of it up to opened(). */
#include "endpoint.h"
#include "socks5.h"

static int link_dial(struct socks5_link *l);

static void link_disconnect(struct socks5_link *l)
{
    if (l->watch)
        adit_watch_stop(l->watch);
    l->watch = NULL;
    if (l->socket != ADIT_NO_SOCKET)
        endpoint_close(l->socket);
    l->socket = ADIT_NO_SOCKET;
    adit_loop_free(l->handshake);
    l->handshake = NULL;
}

void socks5_link_close(struct socks5_link *l)
{
    adit_dial_cancel(l->dial);
    l->dial = NULL;
    adit_timer_stop(l->timer);
    l->timer = NULL;
    link_disconnect(l);
}

/* The last that is done to l: its owner may free it. is_slow: the server has answered, the destination has not. */
static void link_end(struct socks5_link *l, int err, bool is_slow)
{
    struct socks5_handshake *h = l->handshake;

    l->handshake = NULL;
    if (!l->is_probe && !is_slow && (h ? socks5_handshake_is_over(h) : err != ADIT_ENOMEM))
        socks5_learn(l->proxy, l->engine, h, l->is_retry, err);
    if (err) {
        socks5_link_close(l);
    } else {
        adit_timer_stop(l->timer);
        l->timer = NULL;
        adit_watch_set(l->watch, ADIT_READ);
    }
    l->opened(l, err, h);
    adit_loop_free(h);
}

static void link_finish(struct socks5_link *l, int err)
{
    link_end(l, err, false);
}

static void link_retry(struct socks5_link *l)
{
    int err;

    link_disconnect(l);
    l->is_retry = true;
    err = link_dial(l);
    if (err)
        link_finish(l, err);
}

static void link_step(struct socks5_link *l)
{
    struct socks5_handshake *h = l->handshake;
    unsigned ev = socks5_handshake_drive(h, l->socket);

    if (ev)
        adit_watch_set(l->watch, ev);
    else if (h->phase == SOCKS5_RETRY && !l->is_probe)
        link_retry(l);
    else
        link_finish(l, h->phase == SOCKS5_DONE     ? 0
                       : h->phase == SOCKS5_FAILED ? h->error
                                                   : ADIT_EPROTO);
}

static void link_ready(void *arg, adit_socket s, unsigned ev)
{
    struct socks5_link *l = arg;

    (void)s;
    if (l->handshake)
        link_step(l);
    else
        l->ready(l, ev);
}

static void link_dialled(void *arg, int err, adit_socket s)
{
    struct socks5_link *l = arg;
    bool is_pipelined = l->is_probe || (!l->is_retry && socks5_bears_pipelining(l->proxy));

    l->dial = NULL;
    l->socket = s;
    if (err == 0) {
        l->handshake = adit_loop_alloc(l->loop, sizeof(*l->handshake));
        err = socks5_handshake_begin(&l->handshake, l->proxy, l->command, &l->to, is_pipelined);
    }
    if (l->handshake) {
        l->watch = adit_watch_start(l->loop, s, 0, link_ready, l);
        err = l->watch ? 0 : ADIT_ENOMEM;
    }
    if (err)
        link_finish(l, err);
    else
        link_step(l);
}

static void link_expire(void *arg)
{
    struct socks5_link *l = arg;
    bool is_slow = l->handshake && l->handshake->phase == SOCKS5_REPLY;

    l->timer = NULL;
    socks5_doubt(l->proxy, l->handshake);
    adit_loop_free(l->handshake);
    l->handshake = NULL;
    link_end(l, ADIT_ETIMEDOUT, is_slow);
}

static int link_dial(struct socks5_link *l)
{
    l->dial =
        adit_dial_start(l->engine, l->loop, ADIT_PROTO_TCP, &l->proxy->server, link_dialled, l);
    return l->dial ? 0 : ADIT_ENOMEM;
}

int socks5_link_start(struct socks5_link *l, uint32_t timeout_ms)
{
    int err;

    l->socket = ADIT_NO_SOCKET;
    l->timer = adit_timer_start(l->loop, timeout_ms, link_expire, l);
    if (!l->timer)
        return ADIT_ENOMEM;
    err = link_dial(l);
    if (err)
        socks5_link_close(l);
    return err;
}
