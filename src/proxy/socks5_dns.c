/* SPDX-License-Identifier: MIT */
/* socks5_dns: DNS for clients that ask over UDP behind a server that carries none: each query goes over a connection
 * of its own (RFC 7766 calls it wasteful and allows it; servers of names close idle connections, and most clients ask
 * from a port of its own for each query anyway).
 *
 *   datagram --> CONNECT --> length, query --> length, answer --> datagram, cut to what the client said it takes
 *
 * Bounded: 16 at once for a mapping, 256 for the proxy, 10 s each. A query that is sent again while its answer is under way
 * is the client's retransmission. */
#include <string.h>
#include "dns_wire.h"
#include "endpoint.h"
#include "socks5.h"

enum { QUERIES_PER_MAPPING_MAX = 16, LENGTH_BYTES = 2 };

struct socks5_query {
    struct socks5_link link;
    struct socks5_queries *owner;
    struct socks5_query *next;
    adit_udp *u;
    adit_timer *timer; /* bounds what follows the handshake */
    adit_addr remote;
    size_t udp_bytes; /* what the client takes */
    size_t out_bytes, out_sent;
    size_t in_bytes;
    uint8_t out[LENGTH_BYTES + DNS_UDP_MAX_BYTES];
    uint8_t in[LENGTH_BYTES +
               DNS_UDP_MAX_BYTES]; /* the first octets of a longer answer: it is cut anyway */
};

static void query_free(struct socks5_query *q)
{
    struct socks5_query **at = &q->owner->first;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    q->owner->count--;
    atomic_fetch_sub(&q->link.proxy->queries, 1);
    socks5_link_close(&q->link);
    adit_timer_stop(q->timer);
    adit_loop_free(q);
}

static void query_expire(void *arg)
{
    struct socks5_query *q = arg;

    q->timer = NULL;
    query_free(q);
}

/* How much is needed to answer the client: all of it, or enough to cut it. */
static size_t query_wanted_bytes(const struct socks5_query *q)
{
    size_t wanted = LENGTH_BYTES;

    if (q->in_bytes >= LENGTH_BYTES)
        wanted += (size_t)(q->in[0] << 8 | q->in[1]);
    return wanted < sizeof(q->in) ? wanted : sizeof(q->in);
}

static void query_answer(struct socks5_query *q)
{
    uint8_t *answer = q->in + LENGTH_BYTES;
    size_t whole_bytes = (size_t)(q->in[0] << 8 | q->in[1]), len_bytes = q->in_bytes - LENGTH_BYTES;
    adit_dgram d = {.remote = q->remote, .data = answer};

    if (len_bytes < DNS_HEADER_BYTES || memcmp(answer, q->out + LENGTH_BYTES, 2) != 0)
        return; /* the answer to something else */
    d.len = whole_bytes > q->udp_bytes ? dns_truncate(answer, len_bytes) : len_bytes;
    if (d.len > 0)
        adit_udp_send(q->u, &d, 1);
}

static void query_send(struct socks5_query *q)
{
    ptrdiff_t n = endpoint_send(q->link.socket, q->out + q->out_sent, q->out_bytes - q->out_sent);

    if (n < 0 && n != ADIT_EAGAIN) {
        query_free(q);
        return;
    }
    q->out_sent += n > 0 ? (size_t)n : 0;
    adit_watch_set(q->link.watch, q->out_sent < q->out_bytes ? ADIT_WRITE : ADIT_READ);
}

static void query_receive(struct socks5_query *q)
{
    while (q->in_bytes < query_wanted_bytes(q)) {
        ptrdiff_t n =
            endpoint_recv(q->link.socket, q->in + q->in_bytes, query_wanted_bytes(q) - q->in_bytes);

        if (n == ADIT_EAGAIN)
            return;
        if (n <= 0) {
            query_free(q);
            return;
        }
        q->in_bytes += (size_t)n;
    }
    query_answer(q);
    query_free(q);
}

static void query_ready(struct socks5_link *l, unsigned ev)
{
    struct socks5_query *q = (struct socks5_query *)(void *)l;

    (void)ev;
    if (q->out_sent < q->out_bytes)
        query_send(q);
    else
        query_receive(q);
}

static void query_opened(struct socks5_link *l, int err, const struct socks5_handshake *h)
{
    struct socks5_query *q = (struct socks5_query *)(void *)l;

    (void)h;
    if (err == 0)
        q->timer = adit_timer_start(l->loop, SOCKS5_QUERY_MS, query_expire, q);
    if (!q->timer)
        query_free(q); /* the client asks again, or somebody else */
    else
        query_send(q);
}

static bool queries_have(const struct socks5_queries *queries, const adit_dgram *d)
{
    for (const struct socks5_query *q = queries->first; q; q = q->next)
        if (memcmp(&q->remote, &d->remote, sizeof(q->remote)) == 0 &&
            q->out_bytes == LENGTH_BYTES + d->len &&
            memcmp(q->out + LENGTH_BYTES, d->data, d->len) == 0)
            return true;
    return false;
}

static struct socks5_query *query_new(struct socks5_queries *queries, struct socks5 *p, adit_udp *u,
                                      const adit_dgram *d)
{
    struct socks5_query *q = adit_loop_alloc(adit_udp_loop(u), sizeof(*q));

    if (!q)
        return NULL;
    q->link = (struct socks5_link){
        .proxy = p,
        .engine = adit_udp_engine(u),
        .loop = adit_udp_loop(u),
        .command = SOCKS5_CONNECT,
        .to = {.addr = d->remote},
        .opened = query_opened,
        .ready = query_ready,
    };
    q->owner = queries;
    q->next = queries->first;
    q->u = u;
    q->timer = NULL;
    q->remote = d->remote;
    q->out_sent = q->in_bytes = 0;
    q->out_bytes = LENGTH_BYTES + d->len;
    q->out[0] = (uint8_t)(d->len >> 8);
    q->out[1] = (uint8_t)d->len;
    memcpy(q->out + LENGTH_BYTES, d->data, d->len);
    return q;
}

void socks5_query_start(struct socks5_queries *queries, struct socks5 *p, adit_udp *u,
                        const adit_dgram *d)
{
    struct dns_query parsed;
    struct socks5_query *q;

    if (d->len > DNS_UDP_MAX_BYTES || dns_query_parse(&parsed, d->data, d->len) == DNS_NO_QUERY ||
        queries->count >= QUERIES_PER_MAPPING_MAX || queries_have(queries, d))
        return;
    if (atomic_fetch_add(&p->queries, 1) >= SOCKS5_QUERIES_MAX) {
        atomic_fetch_sub(&p->queries, 1);
        return;
    }
    q = query_new(queries, p, u, d);
    if (!q) {
        atomic_fetch_sub(&p->queries, 1);
        return;
    }
    q->udp_bytes = parsed.udp_bytes;
    queries->first = q;
    queries->count++;
    if (socks5_link_start(&q->link, SOCKS5_HANDSHAKE_MS))
        query_free(q);
}

void socks5_queries_cancel(struct socks5_queries *queries)
{
    while (queries->first)
        query_free(queries->first);
}
