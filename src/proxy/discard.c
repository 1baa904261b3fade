/* SPDX-License-Identifier: MIT */
/* discard: RFC 863 on every port. What arrives is consumed without being looked at, and nothing is ever sent. */
#include "proxy.h"

enum { VIEWS_MAX = 16, DGRAMS_MAX = 16 };

static void discard_event(adit_conn *c, unsigned ev, void *user)
{
    adit_iov views[VIEWS_MAX];
    int n;

    (void)ev, (void)user;
    while ((n = adit_conn_peek(c, views, VIEWS_MAX)) > 0) {
        size_t len_bytes = 0;

        for (int i = 0; i < n; i++)
            len_bytes += views[i].len;
        adit_conn_consume(c, len_bytes);
    }
    if (n == 0)
        adit_conn_close(c);
    else if (n != ADIT_EAGAIN)
        adit_conn_abort(c);
}

static void discard_prepare(void *ctx, adit *a, const adit_flow *f, adit_decision *out)
{
    (void)ctx, (void)a;
    if (f->proto == ADIT_PROTO_TCP)
        out->verdict = ADIT_ACCEPT;
}

static void discard_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {.size = sizeof(ops), .event = discard_event};

    (void)ctx;
    adit_conn_set_ops(c, &ops, NULL);
    adit_conn_want(c, ADIT_READ);
}

static void discard_datagrams(adit_udp *u, void *user)
{
    adit_dgram d[DGRAMS_MAX];
    int n;

    (void)user;
    while ((n = adit_udp_recv(u, d, DGRAMS_MAX)) > 0)
        adit_udp_release(u, n);
}

static void discard_udp(void *ctx, adit_udp *u)
{
    static const adit_udp_ops ops = {.size = sizeof(ops), .event = discard_datagrams};

    (void)ctx;
    adit_udp_set_ops(u, &ops, NULL);
}

static int discard_icmp(void *ctx, adit *a, const adit_echo *e)
{
    (void)ctx, (void)a, (void)e;
    return ADIT_DROP;
}

int discard_open(adit_proxy *p, const struct proxy_target *t, adit_error *err)
{
    static const adit_handler handler = {
        .size = sizeof(handler),
        .prepare = discard_prepare,
        .tcp = discard_tcp,
        .udp = discard_udp,
        .icmp = discard_icmp,
    };

    (void)t, (void)err;
    p->handler = &handler;
    return 0;
}
