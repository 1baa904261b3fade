/* SPDX-License-Identifier: MIT */
/* echo: RFC 862 on every port.
 *
 * What waits to be read is copied straight into the send queue and consumed as far as it fitted. While the send queue
 * is full nothing is read, so the client's window closes: a client that does not read what comes back cannot make us
 * hold more than the two queues. Datagrams go back as they came, a train as a train. */
#include "proxy.h"
#include <stdbool.h>
#include <string.h>

enum { VIEWS_MAX = 16, DGRAMS_MAX = 16, TOS_ECN = 3 };

/* A position in a row of views. */
struct cursor {
    const adit_iov *at, *end;
    size_t used_bytes; /* of *at */
};

static size_t cursor_left(const struct cursor *c)
{
    return c->at < c->end ? c->at->len - c->used_bytes : 0;
}

static void cursor_advance(struct cursor *c, size_t len_bytes)
{
    c->used_bytes += len_bytes;
    while (c->at < c->end && c->used_bytes == c->at->len) {
        c->at++;
        c->used_bytes = 0;
    }
}

static size_t views_copy(const adit_iov *out, int out_count, const adit_iov *in, int in_count)
{
    struct cursor to = {out, out + out_count, 0}, from = {in, in + in_count, 0};
    size_t total_bytes = 0;

    cursor_advance(&to, 0);
    cursor_advance(&from, 0);
    while (cursor_left(&to) && cursor_left(&from)) {
        size_t part = cursor_left(&to) < cursor_left(&from) ? cursor_left(&to) : cursor_left(&from);

        memcpy((uint8_t *)to.at->base + to.used_bytes,
               (const uint8_t *)from.at->base + from.used_bytes, part);
        cursor_advance(&to, part);
        cursor_advance(&from, part);
        total_bytes += part;
    }
    return total_bytes;
}

/* Copies once. False: no more is to be done now. */
static bool echo_some(adit_conn *c)
{
    adit_iov in[VIEWS_MAX], out[VIEWS_MAX];
    int in_count, out_count = adit_conn_reserve(c, out, VIEWS_MAX);
    size_t len_bytes;

    if (out_count == ADIT_EAGAIN || out_count == 0) {
        adit_conn_want(c, ADIT_WRITE);
        return false;
    }
    in_count = out_count > 0 ? adit_conn_peek(c, in, VIEWS_MAX) : out_count;
    if (in_count == ADIT_EAGAIN) {
        adit_conn_want(c, ADIT_READ);
        return false;
    }
    if (in_count <= 0) {
        if (in_count == 0)
            adit_conn_close(c);
        else
            adit_conn_abort(c);
        return false;
    }
    len_bytes = views_copy(out, out_count, in, in_count);
    adit_conn_commit(c, len_bytes);
    adit_conn_consume(c, len_bytes);
    return len_bytes > 0;
}

static void echo_event(adit_conn *c, unsigned ev, void *user)
{
    (void)ev, (void)user;
    while (echo_some(c))
        ;
}

static void echo_prepare(void *ctx, adit *a, const adit_flow *f, adit_decision *out)
{
    (void)ctx, (void)a;
    if (f->proto == ADIT_PROTO_TCP)
        out->verdict = ADIT_ACCEPT;
}

static void echo_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {.size = sizeof(ops), .event = echo_event};

    (void)ctx;
    adit_conn_set_ops(c, &ops, NULL);
    adit_conn_want(c, ADIT_READ);
}

static void echo_datagrams(adit_udp *u, void *user)
{
    adit_dgram d[DGRAMS_MAX];
    int n;

    (void)user;
    while ((n = adit_udp_recv(u, d, DGRAMS_MAX)) > 0) {
        for (int i = 0; i < n; i++) {
            d[i].ttl = 0;
            d[i].tos &=
                (uint8_t)~TOS_ECN; /* what the path did to it on its way here is not ours to claim */
        }
        adit_udp_send(u, d, n);
        adit_udp_release(u, n);
    }
}

static void echo_udp(void *ctx, adit_udp *u)
{
    static const adit_udp_ops ops = {.size = sizeof(ops), .event = echo_datagrams};

    (void)ctx;
    adit_udp_set_ops(u, &ops, NULL);
}

static int echo_icmp(void *ctx, adit *a, const adit_echo *e)
{
    (void)ctx, (void)a, (void)e;
    return ADIT_ECHO_REPLY;
}

int echo_open(adit_proxy *p, const struct proxy_target *t, adit_error *err)
{
    static const adit_handler handler = {
        .size = sizeof(handler),
        .prepare = echo_prepare,
        .tcp = echo_tcp,
        .udp = echo_udp,
        .icmp = echo_icmp,
    };

    (void)t, (void)err;
    p->handler = &handler;
    return 0;
}
