/* SPDX-License-Identifier: MIT */
/* socks5_udp: a mapping through the server: one UDP association for all its remotes.
 *
 *   OPENING --ASSOCIATE--> CONNECTING --our socket to the relay address--> OPEN --the control connection ends--> closed
 *      |
 *      +--the server does not do UDP--> NAMES_ONLY: port 53 over TCP (socks5_dns.c), the rest is unreachable
 *      +--anything else--> rejected
 *
 * Until the association is open datagrams wait where they are, in the mapping's bounded queue. Each datagram has the
 * server's header in front of it, so a train is taken apart here; a batch leaves, and arrives, in one system call.
 * Our socket is connected: the system lets datagrams of the relay address through and nobody else's. What the socket has
 * no room for is lost, as datagrams are.
 *
 * A server that has refused UDP is believed for a minute: flows of that time are NAMES_ONLY from the start. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "endpoint.h"
#include "socks5.h"

enum {
    VIEWS_MAX = 16,     /* datagrams, or trains, taken from the mapping at a time */
    SLOTS_MAX = 16,     /* datagrams received at a time */
    SLOT_BYTES = 65536, /* any datagram fits */
    ROUNDS_MAX = 4,     /* batches received before others have their turn */
    DNS_PORT = 53,
    NANOSECONDS_PER_MS = 1000000,
};

enum association_state {
    ASSOCIATION_OPENING,
    ASSOCIATION_CONNECTING,
    ASSOCIATION_OPEN,
    ASSOCIATION_NAMES_ONLY
};

struct association {
    struct socks5_link control; /* first */
    adit_udp *u;
    enum association_state state;
    adit_dial *dial; /* of data */
    adit_socket data;
    adit_watch *watch; /* of data; there while it is */
    struct socks5_queries queries;
};

/* --------------------------------------------------------------------------------------------- up -- */

/* A batch on its way to the server. A header is shared by the datagrams of its train. */
struct outgoing {
    struct endpoint_dgram dgrams[ENDPOINT_BATCH_MAX];
    uint8_t headers[VIEWS_MAX][SOCKS5_UDP_HEADER_MAX];
    int count;
};

static int outgoing_flush(struct outgoing *o, adit_socket s)
{
    int err = o->count ? endpoint_send_batch(s, o->dgrams, o->count) : 0;

    o->count = 0;
    return err;
}

/* Where the first remote of a mapping has a name, the server is told the name. */
static adit_dest association_dest(const struct association *a, const adit_addr *remote)
{
    const adit_dest *first = &adit_udp_flow(a->u)->dst;
    bool is_first = memcmp(remote, &first->addr, sizeof(*remote)) == 0;

    return (adit_dest){.addr = *remote, .host = is_first ? first->host : NULL};
}

static int association_send(const struct association *a, struct outgoing *o, uint8_t *header,
                            const adit_dgram *d)
{
    adit_dest to = association_dest(a, &d->remote);
    size_t header_bytes = socks5_udp_emit(header, &to);
    size_t piece_bytes = d->gso_bytes ? d->gso_bytes : d->len, done_bytes = 0;
    int err = 0;

    if (header_bytes == 0)
        return 0;
    do { /* an empty datagram is one */
        size_t left_bytes = d->len - done_bytes;
        size_t len_bytes = left_bytes < piece_bytes ? left_bytes : piece_bytes;

        if (o->count == ENDPOINT_BATCH_MAX)
            err = outgoing_flush(o, a->data);
        o->dgrams[o->count++] = (struct endpoint_dgram){
            {{header, header_bytes}, {(uint8_t *)d->data + done_bytes, len_bytes}}};
        done_bytes += len_bytes;
    } while (done_bytes < d->len && err == 0);
    return err;
}

static void association_forward(struct association *a)
{
    adit_dgram d[VIEWS_MAX];
    struct outgoing o;
    int n, err = 0;

    o.count = 0;
    while (err == 0 && (n = adit_udp_recv(a->u, d, VIEWS_MAX)) > 0) {
        for (int i = 0; i < n && err == 0; i++)
            err = association_send(a, &o, o.headers[i], &d[i]);
        if (err == 0)
            err = outgoing_flush(&o, a->data);
        adit_udp_release(a->u, n);
    }
    if (err) /* nobody listens at the relay address any more */
        adit_udp_close(a->u);
}

static void association_ask_names(struct association *a)
{
    adit_dgram d[VIEWS_MAX];
    int n;

    while ((n = adit_udp_recv(a->u, d, VIEWS_MAX)) > 0) {
        for (int i = 0; i < n; i++) {
            size_t piece_bytes = d[i].gso_bytes ? d[i].gso_bytes : d[i].len;

            if (d[i].remote.port != DNS_PORT) {
                adit_udp_unreach(a->u, &d[i].remote, ADIT_RESET);
                continue;
            }
            for (size_t at = 0; at < d[i].len; at += piece_bytes) {
                adit_dgram one = d[i];

                one.data = (uint8_t *)d[i].data + at;
                one.len = d[i].len - at < piece_bytes ? d[i].len - at : piece_bytes;
                socks5_query_start(&a->queries, a->control.proxy, a->u, &one);
            }
        }
        adit_udp_release(a->u, n);
    }
}

static void association_event(adit_udp *u, void *user)
{
    struct association *a = user;

    (void)u;
    switch (a->state) {
    case ASSOCIATION_OPENING:
    case ASSOCIATION_CONNECTING:
        break;
    case ASSOCIATION_OPEN:
        association_forward(a);
        break;
    case ASSOCIATION_NAMES_ONLY:
        association_ask_names(a);
        break;
    }
}

/* ------------------------------------------------------------------------------------------- down -- */

/* The spare batch, or a new one. The memory is large only on paper: a slot is touched as far as datagrams reach. */
static uint8_t *batch_take(struct socks5 *p)
{
    uint8_t *batch = atomic_exchange(&p->spare_batch, NULL);

    return batch ? batch : malloc((size_t)SLOTS_MAX * SLOT_BYTES);
}

static void batch_put(struct socks5 *p, uint8_t *batch)
{
    free(atomic_exchange(&p->spare_batch, batch));
}

/* False: the client is not to see it. */
static bool association_unwrap(const struct association *a, const struct endpoint_slot *slot,
                               adit_dgram *out)
{
    const adit_dest *first = &adit_udp_flow(a->u)->dst;
    struct socks5_datagram d;

    if (!socks5_udp_parse(&d, slot->data, slot->len_bytes))
        return false;
    *out = (adit_dgram){.remote = d.from, .data = (uint8_t *)d.payload, .len = d.payload_bytes};
    if (d.from.family != 0)
        return d.from.port != 0;
    if (!first->host || strlen(first->host) != d.host_bytes || d.from.port != first->addr.port ||
        strncasecmp(first->host, (const char *)d.host, d.host_bytes) != 0)
        return false; /* a name that the client has no address for */
    out->remote = first->addr;
    return true;
}

/* One batch. Returns how many came, or what the socket says. */
static int association_receive(struct association *a, uint8_t *batch)
{
    struct endpoint_slot slots[SLOTS_MAX];
    adit_dgram dgrams[SLOTS_MAX];
    int n, count = 0;

    for (int i = 0; i < SLOTS_MAX; i++)
        slots[i] = (struct endpoint_slot){.data = batch + (size_t)i * SLOT_BYTES,
                                          .room_bytes = SLOT_BYTES};
    n = endpoint_recv_batch(a->data, slots, SLOTS_MAX);
    for (int i = 0; i < n; i++)
        count += association_unwrap(a, &slots[i], &dgrams[count]);
    if (count)
        adit_udp_send(a->u, dgrams, count);
    return n;
}

static void association_data_ready(void *arg, adit_socket s, unsigned ev)
{
    struct association *a = arg;
    uint8_t *batch = batch_take(a->control.proxy);
    int n = SLOTS_MAX;

    (void)s, (void)ev;
    if (!batch) {
        adit_udp_close(a->u);
        return;
    }
    for (int i = 0; i < ROUNDS_MAX && n == SLOTS_MAX; i++)
        n = association_receive(a, batch);
    batch_put(a->control.proxy, batch);
    if (n == ADIT_EREFUSED || n == ADIT_ERESET)
        adit_udp_close(a->u);
}

/* ---------------------------------------------------------------------------------------- opening -- */

static void association_connected(void *arg, int err, adit_socket s)
{
    struct association *a = arg;

    a->dial = NULL;
    if (err) {
        adit_udp_reject(a->u, adit_verdict_for(err));
        return;
    }
    a->data = s;
    a->watch = adit_watch_start(a->control.loop, s, ADIT_READ, association_data_ready, a);
    if (!a->watch) {
        adit_udp_reject(a->u, ADIT_RESET);
        return;
    }
    a->state = ASSOCIATION_OPEN;
    association_forward(a);
}

static bool addr_is_loopback(const adit_addr *a)
{
    static const uint8_t one[16] = {[15] = 1};

    return a->family == 4 ? a->ip[12] == 127 : memcmp(a->ip, one, sizeof(one)) == 0;
}

static bool addr_is_any(const adit_addr *a)
{
    static const uint8_t zero[16];

    return a->family == 4 ? memcmp(a->ip + 12, zero, 4) == 0
                          : memcmp(a->ip, zero, sizeof(zero)) == 0;
}

/* Servers that listen everywhere say 0.0.0.0, some give a name or their own loopback: the server's address is meant. */
static int association_relay_addr(const struct association *a, const adit_addr *bound,
                                  adit_addr *out)
{
    int err = endpoint_peer(a->control.socket, out);

    if (err)
        return err;
    if (bound->port == 0)
        return ADIT_EPROTO;
    if (bound->family != 0 && !addr_is_any(bound) &&
        (!addr_is_loopback(bound) || addr_is_loopback(out))) {
        uint32_t scope = out->scope;

        *out = *bound;
        out->scope =
            bound->family == 6 && bound->ip[0] == 0xfe && (bound->ip[1] & 0xc0) == 0x80 ? scope : 0;
    }
    out->port = bound->port;
    return 0;
}

static void association_refuse(struct association *a)
{
    struct socks5 *p = a->control.proxy;
    uint64_t now_ns = adit_loop_now_ns(a->control.loop);

    atomic_store(&p->udp_refused_ns, now_ns ? now_ns : 1);
    if (!atomic_exchange(&p->has_told_udp_refused, true))
        adit_log(a->control.engine, ADIT_LOG_WARN, "socks5", 0,
                 "the server does not carry UDP: names are asked for over TCP, other datagrams are "
                 "refused");
    a->state = ASSOCIATION_NAMES_ONLY;
    association_ask_names(a);
}

static void association_opened(struct socks5_link *l, int err, const struct socks5_handshake *h)
{
    struct association *a = (struct association *)(void *)l;
    adit_dest relay = {0};

    /* Some servers end the connection instead of saying that they do not know the command. */
    if (err && h && (h->reply > 0 || err == ADIT_ECLOSED)) {
        association_refuse(a);
        return;
    }
    if (err == 0)
        err = association_relay_addr(a, &h->bound, &relay.addr);
    if (err == 0) {
        a->state = ASSOCIATION_CONNECTING;
        a->dial =
            adit_dial_start(l->engine, l->loop, ADIT_PROTO_UDP, &relay, association_connected, a);
        err = a->dial ? 0 : ADIT_ENOMEM;
    }
    if (err)
        adit_udp_reject(a->u, adit_verdict_for(err));
}

/* RFC 1928: the association ends with the connection that it was asked for on. Octets on it mean nothing. */
static void association_control_ready(struct socks5_link *l, unsigned ev)
{
    struct association *a = (struct association *)(void *)l;
    uint8_t nothing[64];
    ptrdiff_t n = endpoint_recv(l->socket, nothing, sizeof(nothing));

    (void)ev;
    if (n > 0 || n == ADIT_EAGAIN)
        return;
    adit_watch_set(l->watch, 0); /* until closed() */
    adit_udp_close(a->u);
}

static void association_closed(adit_udp *u, int why, void *user)
{
    struct association *a = user;

    (void)u, (void)why;
    socks5_queries_cancel(&a->queries);
    adit_dial_cancel(a->dial);
    if (a->watch)
        adit_watch_stop(a->watch);
    if (a->data != ADIT_NO_SOCKET)
        endpoint_close(a->data);
    socks5_link_close(&a->control);
    adit_loop_free(a);
}

static bool udp_is_refused(const struct socks5 *p, uint64_t now_ns)
{
    uint64_t when_ns = atomic_load(&p->udp_refused_ns);

    return when_ns && now_ns - when_ns < (uint64_t)SOCKS5_UDP_RETRY_MS * NANOSECONDS_PER_MS;
}

static struct association *association_new(struct socks5 *p, adit_udp *u)
{
    struct association *a = adit_loop_alloc(adit_udp_loop(u), sizeof(*a));

    if (!a)
        return NULL;
    a->u = u;
    a->data = ADIT_NO_SOCKET;
    a->control = (struct socks5_link){
        .proxy = p,
        .engine = adit_udp_engine(u),
        .loop = adit_udp_loop(u),
        .command = SOCKS5_ASSOCIATE,
        .to = {.addr = {.ip = {[10] = 0xff, [11] = 0xff},
                        .family = 4}}, /* where we shall send from is not known yet */
        .socket = ADIT_NO_SOCKET,
        .opened = association_opened,
        .ready = association_control_ready,
    };
    return a;
}

void socks5_udp(void *ctx, adit_udp *u)
{
    static const adit_udp_ops ops = {
        .size = sizeof(ops),
        .event = association_event,
        .closed = association_closed,
    };
    struct socks5 *p = ctx;
    struct association *a = association_new(p, u);
    int err = 0;

    if (!a) {
        adit_udp_reject(u, ADIT_RESET);
        return;
    }
    adit_udp_set_ops(u, &ops, a);
    if (udp_is_refused(p, adit_loop_now_ns(a->control.loop)))
        a->state = ASSOCIATION_NAMES_ONLY;
    else
        err = socks5_link_start(&a->control, SOCKS5_HANDSHAKE_MS);
    if (err)
        adit_udp_reject(u, adit_verdict_for(err));
}
