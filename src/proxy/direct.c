/* SPDX-License-Identifier: MIT */
/* direct: to the real destination. A connection is answered when the destination has answered: what is closed there looks
 * closed here. */
#include "proxy.h"

static void direct_tcp(void *ctx, adit_conn *c)
{
    int err = adit_conn_dial(c, &adit_conn_flow(c)->dst, NULL);

    (void)ctx;
    if (err)
        adit_conn_reject(c, adit_verdict_for(err));
}

static void direct_udp(void *ctx, adit_udp *u)
{
    int err = adit_udp_relay(u);

    (void)ctx;
    if (err)
        adit_udp_reject(u, adit_verdict_for(err));
}

static int direct_icmp(void *ctx, adit *a, const adit_echo *e)
{
    (void)ctx, (void)a, (void)e;
    return ADIT_ECHO_FORWARD;
}

int direct_open(adit_proxy *p, const struct proxy_target *t, adit_error *err)
{
    static const adit_handler handler = {
        .size = sizeof(handler),
        .tcp = direct_tcp,
        .udp = direct_udp,
        .icmp = direct_icmp,
    };

    (void)t, (void)err;
    p->handler = &handler;
    return 0;
}
