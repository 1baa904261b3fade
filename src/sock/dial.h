/* SPDX-License-Identifier: MIT */
/* dial: a connected socket toward a destination, or the honest reason why not.
 *
 * An address is connected at once. A name is resolved (libuv's thread pool) and its addresses are tried in turn, families
 * interleaved, 250 ms apart, the first to connect wins (RFC 8305, without its DNS part). Errors are those of the last
 * attempt: refused, unreachable, timed out ... UDP: connect() only. */
#pragma once
#include "adit/adit.h"
#include "sock/loop.h"
#include "sock/sock.h"

struct dial;
typedef void (*dial_fn)(void *arg, int err, adit_socket s); /* s is the callee's */

/* fn is called exactly once, never from inside dial_start, unless cancelled; the dial is gone then. c is borrowed until
 * then; `to` is copied. An address that is known is used, whatever the name. timeout_ns 0: none but the system's. NULL: no
 * memory. */
struct dial *dial_start(struct adit_loop *l, const struct sock_config *c, int proto, const adit_dest *to, uint32_t mark,
                        uint64_t timeout_ns, dial_fn fn, void *arg);
/* The socket that wins stays registered, edge-triggered, under *w, which lives until fn is called, and its events go to ready.
 * w->loop is NULL as long as there is none. Without this it is registered no more. */
void dial_keep(struct dial *d, struct watch *w, watch_fn ready);
void dial_cancel(struct dial *d); /* not after fn was called; NULL is allowed */
