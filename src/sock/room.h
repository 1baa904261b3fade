/* SPDX-License-Identifier: MIT */
/* room: descriptors for those who need one where they are out.
 *
 *     socket(), accept4(), socketpair() --EMFILE, ENFILE--> room_make() --> once more
 *                                                               |
 *                                  spare sockets, all of them; else the tenant used least recently
 *
 * A tenant is somebody whose descriptors can be taken away while it idles: a UDP mapping that is relayed, which ends by that,
 * and a ping socket. So neither a client that sends from thousands of ports nor a forger of them keeps TCP from its sockets,
 * and what is in use stays longest. TCP connections are nobody's room.
 *
 * Each loop has its own tenants: a worker that has none fails, although another one's idle. A splice does without its pipe, and a
 * name that is being resolved, in a thread of libuv's, may fail. */
#pragma once
#include <stdbool.h>
#include "base/list.h"

struct adit_loop;

struct tenant {
    struct list node;
    /* Closes its descriptors, one at least. It is no tenant any more. */
    void (*leave)(struct tenant *t);
};

void tenant_init(struct tenant *t, void (*leave)(struct tenant *t));
/* It holds descriptors and was used now. */
void tenant_use(struct adit_loop *l, struct tenant *t);
/* It holds none, or is busy; not a tenant: nothing happens. Before its memory goes. */
void tenant_end(struct tenant *t);

/* A descriptor could not be opened, for `os` (errno). True: they are out, and some were closed: once more. l NULL: nobody has
 * any. */
bool room_make(struct adit_loop *l, int os);
