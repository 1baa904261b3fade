/* SPDX-License-Identifier: MIT */
/* spare: sockets whose connection has ended in order, kept for the next connection to the same server.
 *
 * Making a socket, registering it and closing it is an eighth of what a short connection costs. One that has ended can be
 * taken back to where it began (connect() to AF_UNSPEC), registered and configured as it is, and connected again.
 *
 *     dial: spare_server() --> spare_take() --> [connection] --> relay, both ended: spare_give() --> idle, a second at most
 *
 * Only where nobody can tell:
 *   - The same server: address, port, mark and configuration. Linux numbers the next connection from where the last one was, so
 *     that a server knows the initial sequence number that follows: it may only ever be one of its own connections (RFC 6528).
 *   - Nothing was configured that is bound to one connection or may change: no socket factory, no protect(), no interface.
 *   - No handler has seen the descriptor: options that it set would stay.
 *   - The system has done with the connection: state CLOSE. In LAST-ACK or CLOSING a FIN may still have to be repeated.
 *   - It was a small one, without a move of 16 KiB (its buffers may have grown), without urgent data.
 * A server is remembered from the second dial to it: sockets of those that are met once are closed at once, as ever.
 *
 * They cost no socket its descriptor: who cannot open one has them closed (sock/reclaim.h).
 *
 * A spare is taken once the set has told that it hangs up, in a later iteration than it was given: a connection must not see
 * what is told of the one before it. */
#pragma once
#include "base/hash.h"
#include "sock/loop.h"
#include "sock/sock.h"

enum { SPARES_MAX = 32, SPARES_SEEN = 64, SPARE_GENERATIONS = 1 << 25 };
#define SPARE_IDLE_NS 1000000000ull /* since the first of them was given; then all are closed */

struct spare_server {
    adit_addr to;
    uint32_t mark;
    uint32_t generation; /* changes with what is above; part of what it is known by */
    const struct sock_config *config;
};

struct spares {
    struct sip_key key;
    struct spare_server seen[SPARES_SEEN]; /* the last one that was dialled, by hash */
    struct list idle;                      /* last given first */
    uint32_t count;
    uint64_t reused;
    struct loop_timer timer;
};

void spares_init(struct spares *s);
/* Closes them. Before the loop's memory and wheel go. */
void spares_deinit(struct adit_loop *l);
/* What a TCP dial to `to` is known by, for spare_take(); 0: its socket is nothing to keep. */
uint32_t spare_server(struct adit_loop *l, const struct sock_config *c, const adit_addr *to, uint32_t mark);
/* One that is registered as `w`, edge-triggered, to be connected and then to be given, closed or moved as any. False: none. */
bool spare_take(struct adit_loop *l, struct watch *w, uint32_t server, watch_fn fn);
/* Takes the socket of `w`, which has served a connection (w->server), out of its hands; only w->loop remains of it. False: it
 * is still the caller's. */
bool spare_give(struct watch *w);
