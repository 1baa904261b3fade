/* SPDX-License-Identifier: MIT */
/* udp_relay: a UDP mapping to its real destinations: one unconnected socket for each family, opened on first use.
 *
 *   up:   udp_recv -> sendmmsg, a train as one UDP_SEGMENT send; TTL, TOS and DF carried over
 *   down: recvmmsg with UDP_GRO -> udp_send as a train
 *
 * Errors of the socket (IP_RECVERR: refused, unreachable, too big) go back to the client as ICMP about the remote
 * concerned. Where the kernel or the path refuses UDP_SEGMENT the train is split, and the socket remembers. What a full
 * socket does not take is dropped and counted (DROP_UDP_UPSTREAM), as a router's queue would. */
#pragma once
#include "net/udp.h"
#include "sock/loop.h"
#include "sock/sock.h"

struct udp_relay;

/* c and u are borrowed until udp_relay_free(), which comes before udp_free(). */
struct udp_relay *udp_relay_new(struct adit_loop *l, const struct sock_config *c, struct udp *u); /* NULL: no memory */
void udp_relay_ready(struct udp_relay *r); /* datagrams wait */
void udp_relay_free(struct udp_relay *r);  /* NULL is allowed */
