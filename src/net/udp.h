/* SPDX-License-Identifier: MIT */
/* net/udp: UDP mappings (RFC 4787, 768, 7857).
 *
 * One struct udp per client address and port; a struct udp_remote for each remote that it has talked to, with prepare()'s
 * verdict. Datagrams (or whole trains) wait in a short queue of references to the packets' buffers until the handler
 * takes them in the same turn. Replies may come from any remote (endpoint-independent filtering) or only from addresses,
 * or addresses and ports, that the client has sent to. Idle mappings end by timer: unreplied, replied, or DNS (only port 53,
 * short once every query has an answer). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/udp.h"
#include "net/flow.h"
#include "wire/drop.h"
#include "wire/ip.h"
#include "wire/packet.h"

struct net;

enum { UDP_REMOTES_MAX = 1024, UDP_QUEUE_DATAGRAMS_MAX = 256 };
#define UDP_QUEUE_BYTES_MAX (4u * 1024 * 1024)

struct udp_remote {
    struct list node;   /* on udp.remotes, most recently used first */
    adit_addr seen;     /* on the wire */
    adit_addr real;     /* what the handler sees */
    int verdict;
};

struct udp {
    struct flow flow;
    struct net *net;
    struct list idle_node;          /* on net->udp_idle */
    struct list remotes;
    struct list queue;              /* struct udp_queued */
    struct list shown;              /* taken by udp_recv, not released yet */
    adit_addr first_seen;           /* the first remote */
    adit_flow info;                 /* as handlers see it */
    uint64_t last_ns, timeout_ns;   /* timeout_ns: the handler's; 0: by kind */
    uint32_t remotes_count, queued_count, queued_bytes;
    uint32_t unanswered;            /* DNS: queries without an answer */
    bool replied, dns_only, is_new, is_closing;
    int closed_why;                 /* once is_closing */
};

enum drop udp_input(struct net *net, const struct ip_header *ip, const struct packet *p, uint64_t now_ns);
/* Views of up to n datagrams that wait; they stay valid until released. */
int udp_recv(struct udp *u, adit_dgram *d, int n);
void udp_release(struct udp *u, int n);
/* To the client. Returns how many were taken; the others are counted as drops. */
int udp_send(struct udp *u, const adit_dgram *d, int n, uint64_t now_ns);
/* An ICMP error to the client about its datagrams to `real`. */
void udp_unreach(struct udp *u, const adit_addr *real, int verdict, uint64_t now_ns);
/* The same with what an upstream socket reported: too big with its MTU. */
void udp_too_big(struct udp *u, const adit_addr *real, uint32_t mtu_bytes, uint64_t now_ns);
void udp_set_timeout(struct udp *u, uint64_t timeout_ns, uint64_t now_ns);
/* Marks it as closing; it becomes ready, and whoever serves it ends with udp_free(). */
void udp_close(struct udp *u, int why);
void udp_free(struct udp *u);
void udp_expire(struct net *net, struct udp *u, uint64_t now_ns);
/* Memory is critical: closes the mapping that has been idle longest. False: there is none. */
bool udp_evict(struct net *net);
