/* SPDX-License-Identifier: MIT */
/* udp_relay: datagrams between a mapping and the sockets that lead to its remotes.
 *
 * Whatever the mapping holds is sent and released in the same call, so that no buffer of a packet outlives the turn in
 * which it came. What a socket does not take is not kept for later: its buffer is megabytes of datagrams that wait for the
 * network already, and more of the same would only be older when it is sent.
 *
 * An ICMP error about an earlier datagram also fails the next call on the socket, whatever that is. So a send that fails is
 * repeated once, after the errors that wait have been told to the client; if it fails again it is the datagram itself
 * that was refused (no route, a firewall), and that is told too. */
#include "sock/udp_relay.h"
#include <errno.h>
#include "base/error.h"
#include "net/net.h"
#include "sock/dgram.h"
#include "sock/failure.h"
#include "sock/reclaim.h"

enum {
    UDP_RELAY_BATCHES_MAX = 8, /* of one wake-up: level-triggered, and others have their turn */
    UDP_RELAY_FAILURES_MAX = 64,
};

struct udp_side {
    struct watch watch;
    struct dgram_socket socket;
    struct udp_relay *relay;
    bool is_open;
};

struct udp_relay {
    struct reclaimable reclaimable; /* with a socket; not while it sends: its second socket is not to cost it the first */
    struct adit_loop *loop;
    const struct sock_config *config;
    struct udp *udp;
    struct udp_side sides[2]; /* IPv4, IPv6 */
};

/* ADIT_DROP: there is no ICMP error for it. */
static int verdict_of_code(int code)
{
    switch (code) {
    case ADIT_EREFUSED:
    case ADIT_ELIMIT: /* no descriptor: a resolver asks the next server at once */
        return ADIT_RESET;
    case ADIT_ENETUNREACH:
    case ADIT_ENOTSUP: /* this host has no such family */
        return ADIT_UNREACH_NET;
    case ADIT_EHOSTUNREACH:
        return ADIT_UNREACH_HOST;
    case ADIT_EPERM:
        return ADIT_UNREACH_ADMIN;
    default:
        return ADIT_DROP;
    }
}

/* One datagram (or train) could not be sent. code: why, or 0 for a want of room. */
static void udp_relay_refuse(struct udp_relay *r, const adit_addr *remote, int code)
{
    int verdict = code ? verdict_of_code(code) : ADIT_DROP;

    net_drop(r->udp->net, DROP_UDP_UPSTREAM);
    if (verdict != ADIT_DROP)
        udp_unreach(r->udp, remote, verdict, loop_now_ns(r->loop));
}

/* refused: NULL, or where the datagram went that this host has just refused for its size. What it says of that names no
 * port (IPv4), and is queued at each try. */
static void udp_side_tell_failures(struct udp_side *side, const adit_addr *refused)
{
    struct udp_relay *r = side->relay;
    uint64_t now_ns = loop_now_ns(r->loop);
    struct sock_failure f;
    int i;

    for (i = 0; i < UDP_RELAY_FAILURES_MAX && sock_next_failure(side->socket.fd, &f); i++) {
        const struct udp_failure told = {
            .kind = f.kind, .mtu_bytes = f.mtu_bytes, .from = f.from};
        bool is_own_mtu = f.kind == ICMP_TOO_BIG && f.from.family == 0;

        if (!is_own_mtu)
            udp_failed(r->udp, &f.remote, &told, now_ns);
        else if (refused)
            udp_failed(r->udp, refused, &told, now_ns);
    }
}

/* ------------------------------------------------------------------------------------------- down -- */

static void udp_side_receive(struct udp_side *side)
{
    struct udp_relay *r = side->relay;
    adit_dgram d[DGRAM_RECEIVE_MAX];
    void *scratch = loop_scratch(r->loop);
    int i, n;

    for (i = 0; scratch && i < UDP_RELAY_BATCHES_MAX; i++) {
        n = dgram_receive(&side->socket, scratch, d);
        if (n > 0)
            udp_send(r->udp, d, n, loop_now_ns(r->loop)); /* counts what it drops */
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n >= 0 && n < DGRAM_RECEIVE_MAX)
            return;
    }
}

static void udp_side_ready(struct watch *w, unsigned events)
{
    struct udp_side *side = LIST_ENTRY(w, struct udp_side, watch);

    reclaimable_use(w->loop, &side->relay->reclaimable);
    if (events & WATCH_HANGUP)
        udp_side_tell_failures(side, NULL);
    udp_side_receive(side);
}

/* --------------------------------------------------------------------------------------------- up -- */

/* The side toward `remote`, open; NULL: it cannot be opened, *code says why. */
static struct udp_side *udp_relay_side(struct udp_relay *r, const adit_addr *remote, int *code)
{
    struct udp_side *side = &r->sides[remote->family == 6];
    adit_dest to = {.addr = *remote};
    adit_socket s;

    if (side->is_open)
        return side;
    *code = sock_open(&s, r->config, ADIT_SOCKET_UDP, remote->family == 6 ? 6 : 4,
                      r->udp->flow.mark, &to);
    if (*code < 0)
        return NULL;
    *code = watch_add(r->loop, &side->watch, s, ADIT_READ, false, udp_side_ready);
    if (*code < 0) {
        sock_close(s);
        return NULL;
    }
    dgram_init(&side->socket, s, remote->family == 6 ? 6 : 4);
    side->relay = r;
    side->is_open = true;
    return side;
}

static bool is_want_of_room(int os)
{
    return os == EAGAIN || os == EWOULDBLOCK || os == ENOBUFS || os == ENOMEM;
}

/* Sends n datagrams that are all for one side. */
static void udp_side_send(struct udp_side *side, void *scratch, const adit_dgram *d, int n)
{
    int at = 0, repeated = -1, os = 0;

    for (;;) {
        at += dgram_send(&side->socket, scratch, d + at, n - at, &os);
        if (at >= n)
            return;
        if (is_want_of_room(os)) {
            while (at < n)
                udp_relay_refuse(side->relay, &d[at++].remote, 0);
            return;
        }
        if (repeated != at) {
            repeated = at;
            udp_side_tell_failures(side, NULL);
            continue;
        }
        if (os == EMSGSIZE)
            udp_side_tell_failures(side, &d[at].remote);
        udp_relay_refuse(side->relay, &d[at].remote, error_from_errno(os));
        at++;
    }
}

static void udp_relay_send(struct udp_relay *r, const adit_dgram *d, int n)
{
    void *scratch = loop_scratch(r->loop);
    struct udp_side *side;
    int i, count, code = ADIT_ENOMEM;

    for (i = 0; i < n; i += count) {
        for (count = 1; i + count < n && d[i + count].remote.family == d[i].remote.family; count++)
            ;
        side = scratch ? udp_relay_side(r, &d[i].remote, &code) : NULL;
        if (side) {
            udp_side_send(side, scratch, d + i, count);
            continue;
        }
        udp_relay_refuse(r, &d[i].remote, code);
        count = 1;
    }
}

void udp_relay_ready(struct udp_relay *r)
{
    adit_dgram d[DGRAM_SEND_MAX];
    int n;

    reclaimable_end(&r->reclaimable);
    while ((n = udp_recv(r->udp, d, DGRAM_SEND_MAX)) > 0) {
        udp_relay_send(r, d, n);
        udp_release(r->udp, n);
    }
    if (r->sides[0].is_open || r->sides[1].is_open)
        reclaimable_use(r->loop, &r->reclaimable);
}

/* -------------------------------------------------------------------------------------- lifecycle -- */

static void udp_relay_close(struct udp_relay *r)
{
    for (int i = 0; i < 2; i++) {
        if (!r->sides[i].is_open)
            continue;
        r->sides[i].is_open = false;
        watch_remove(&r->sides[i].watch);
        sock_close(r->sides[i].socket.fd);
    }
}

static void udp_relay_reclaim(struct reclaimable *t)
{
    struct udp_relay *r = LIST_ENTRY(t, struct udp_relay, reclaimable);

    udp_relay_close(r);
    udp_close(r->udp, ADIT_ELIMIT);
}

struct udp_relay *udp_relay_new(struct adit_loop *l, const struct sock_config *c, struct udp *u)
{
    struct udp_relay *r = loop_alloc(l, sizeof(*r));

    if (!r)
        return NULL;
    reclaimable_init(&r->reclaimable, udp_relay_reclaim);
    r->loop = l;
    r->config = c;
    r->udp = u;
    return r;
}

void udp_relay_free(struct udp_relay *r)
{
    if (!r)
        return;
    reclaimable_end(&r->reclaimable);
    udp_relay_close(r);
    loop_release(r->loop, r, sizeof(*r));
}
