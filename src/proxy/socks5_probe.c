/* SPDX-License-Identifier: MIT */
/* socks5_probe: does the server bear a pipelined greeting?
 *
 * Some read the methods with a large buffer and throw away what came with them; a client that pipelined then waits for a
 * reply until somebody's patience ends, and cannot tell that from a destination that is slow to answer. So no client's
 * connection is risked: the first flow greets stepwise, and beside it a connection of our own asks for a UDP
 * association, pipelined. That has no destination, so every server answers at once, whatever the answer. Any whole
 * reply is a yes; an end, another method than the one offered, or silence is a no.
 *
 * A server may be replaced later, so the question is open again when a pipelined request stays without a reply.
 *
 * A probe goes with the flow that started it; cut off, it leaves the question open for the next one. */
#include "socks5.h"

struct socks5_probe {
    struct socks5_link link;
    struct socks5_probe **owner;
};

static void probe_opened(struct socks5_link *l, int err, const struct socks5_handshake *h)
{
    struct socks5_probe *probe = (struct socks5_probe *)(void *)l;
    int known = PIPELINING_UNKNOWN; /* there was no connection: nothing was found out */

    if (h)
        known = h->reply >= 0 ? PIPELINING_YES : PIPELINING_NO;
    else if (err == ADIT_ETIMEDOUT)
        known = PIPELINING_NO;
    atomic_store(&l->proxy->pipelining, known);
    *probe->owner = NULL;
    socks5_link_close(l);
    adit_loop_free(probe);
}

void socks5_probe_start(struct socks5_probe **owner, struct socks5 *p, adit *engine, adit_loop *l)
{
    struct socks5_probe *probe;
    int unknown = PIPELINING_UNKNOWN;

    if (!atomic_compare_exchange_strong(&p->pipelining, &unknown, PIPELINING_PROBED))
        return;
    probe = adit_loop_alloc(l, sizeof(*probe));
    if (probe) {
        probe->owner = owner;
        probe->link = (struct socks5_link){
            .proxy = p,
            .engine = engine,
            .loop = l,
            .command = SOCKS5_ASSOCIATE,
            .to = {.addr = {.ip = {[10] = 0xff, [11] = 0xff}, .family = 4}},
            .is_probe = true,
            .opened = probe_opened,
        };
    }
    if (probe && socks5_link_start(&probe->link, SOCKS5_PROBE_MS) == 0) {
        *owner = probe;
        return;
    }
    adit_loop_free(probe);
    atomic_store(&p->pipelining, PIPELINING_UNKNOWN);
}

void socks5_probe_cancel(struct socks5_probe *probe)
{
    if (!probe)
        return;
    atomic_store(&probe->link.proxy->pipelining, PIPELINING_UNKNOWN);
    socks5_link_close(&probe->link);
    adit_loop_free(probe);
}
