/* SPDX-License-Identifier: MIT */
/* reclaim: descriptors for those who need one where they are out.
 *
 *     socket(), accept4(), socketpair() --EMFILE, ENFILE--> reclaim_fd() --> once more
 *                                                               |
 *                              spare sockets, all of them; else the reclaimable used least recently
 *
 * Reclaimable is whose descriptors can be taken away while it idles: a UDP mapping that is relayed, which ends by that,
 * and a ping socket. So neither a client that sends from thousands of ports nor a forger of them keeps TCP from its sockets,
 * and what is in use stays longest. Those of TCP connections are never reclaimed.
 *
 * Each loop has its own: a worker that has none fails, although another one's idle. A splice does without its pipe, and a
 * name that is being resolved, in a thread of libuv's, may fail. */
#pragma once
#include <stdbool.h>
#include "base/list.h"

struct adit_loop;

struct reclaimable {
    struct list node;
    /* Closes its descriptors, one at least. It is not reclaimable any more. */
    void (*reclaim)(struct reclaimable *t);
};

void reclaimable_init(struct reclaimable *t, void (*reclaim)(struct reclaimable *t));
/* It holds descriptors and was used now. */
void reclaimable_use(struct adit_loop *l, struct reclaimable *t);
/* It holds none, or is busy; more than once does no harm. Before its memory goes. */
void reclaimable_end(struct reclaimable *t);

/* A descriptor could not be opened, for `os` (errno). True: they are out, and some were closed: once more. l NULL: nobody has
 * any. */
bool reclaim_fd(struct adit_loop *l, int os);
