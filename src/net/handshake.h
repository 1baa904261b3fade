/* SPDX-License-Identifier: MIT */
/* handshake: TCP flows that were accepted and whose client has not spoken since, and which of them makes room for a new flow.
 *
 *   SYN --> the handler thinks --accepts--> handshake_begin() --the client's ACK--> handshake_end()
 *           \_________________________ half-open ________________________/
 *
 * Half-open flows have a limit, in all and for each client, and who forges SYNs reaches it at once. So the oldest handshake ends
 * when another flow wants its place, once a client would have answered: after a second, when its SYN-ACK had to be repeated. A
 * flow whose handler still thinks stays: its client waits rightly, and the dial timeout bounds it.
 *
 * How much longer it has is drawn by lot, each time. Clients repeat their SYNs after whole seconds; if places came free
 * whole seconds after they were taken, a flood that takes all of them in a moment would have them again each time, and who
 * missed that moment once would miss it for ever.
 *
 * Our own TCP and the translator to the kernel's (nat.h) both have it, and their handshakes wait in one queue. RFC 4987 section
 * 3.4; Linux calls it early drop where it tracks connections. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"
#include "net/flow.h"
#include "net/net.h"

struct handshake {
    struct list node;        /* on net->handshakes, oldest first */
    struct list client_node; /* on client->handshakes, likewise */
    struct flow *flow;
    uint64_t since_ns;
};

void handshake_begin(struct net *net, struct handshake *h, struct flow *f, uint64_t now_ns);
/* The client has spoken, or the flow ends. More than once does no harm. */
void handshake_end(struct handshake *h);
/* Whether there may be one more half-open flow, of this client or (NULL) in all. An old handshake may have ended for it. */
bool handshake_has_room(struct net *net, const struct client *c, uint64_t now_ns);
