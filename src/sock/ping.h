/* SPDX-License-Identifier: MIT */
/* ping: echo requests forwarded to their real destination by ping sockets (SOCK_DGRAM, IPPROTO_ICMP), by raw sockets where
 * those are refused and CAP_NET_RAW is there, else not at all (ADIT_EPERM; the log says once what net.ipv4.ping_group_range
 * has to be). One socket per echo flow (the kernel chooses the identifier on the wire; the client's is put back), bounded,
 * closed when idle. Replies and errors (time exceeded, unreachable: traceroute works) go to icmp_reply and icmp_echo_failed. */
#pragma once
#include "net/net.h"
#include "sock/loop.h"
#include "sock/sock.h"

enum { PING_SOCKETS_MAX = 1024 };

struct ping;

/* idle_ns: how long a socket waits for replies. c and net are borrowed until ping_free(). NULL: no memory. */
struct ping *ping_new(struct adit_loop *l, const struct sock_config *c, struct net *net, uint64_t idle_ns);
/* Sends it on. 0, or a code: ADIT_EPERM (no kind of socket allowed), ADIT_ELIMIT, ... */
int ping_request(struct ping *p, const struct flow_key *key, const adit_addr *real, const struct icmp_message *m, uint8_t ttl,
                 uint32_t mark);
void ping_free(struct ping *p); /* NULL is allowed */
