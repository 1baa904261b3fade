/* SPDX-License-Identifier: MIT */
/* net/udp: UDP mappings (RFC 4787, 768, 7857).
 *
 * One struct udp per client address and port; a struct udp_remote for each remote that it has talked to, with prepare()'s
 * verdict. Datagrams (or whole trains) wait in a short queue of references to the packets' buffers until the handler
 * takes them in the same turn; for a handler that does not, few are kept. Replies may come from any remote
 * (endpoint-independent filtering) or only from addresses, or addresses and ports, that the client has sent to. Idle
 * mappings end by timer: unreplied, replied, or DNS (only port 53, short once every query has an answer). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/udp.h"
#include "net/flow.h"
#include "wire/drop.h"
#include "wire/icmp.h"
#include "wire/ip.h"
#include "wire/packet.h"
#include "wire/udp.h"

struct net;

enum {
    UDP_REMOTES_MAX = 1024,
    UDP_QUEUE_DATAGRAMS_MAX = 256,
    UDP_TRAIN_MAX = 64, /* datagrams: what every Linux takes */
    UDP_TRAIN_BYTES_MAX = 65535 - IP6_HEADER_BYTES - UDP_HEADER_BYTES,
};
#define UDP_QUEUE_BYTES_MAX (4u * 1024 * 1024)
/* What waits for a handler that does not take it in the turn in which it comes; and all such of a client cost at most this
 * part of the memory budget, each counted with its buffer's and its own overhead. */
enum {
    UDP_BACKLOG_DATAGRAMS_MAX = 128, /* what two turns can bring: a mapping may begin with a burst */
    UDP_BACKLOG_BYTES_MAX = 256 * 1024,
    UDP_BACKLOG_CLIENT_PART = 16,
    UDP_DATAGRAM_OVERHEAD = 512,
};

/* All remotes together take this part of the memory budget (within the bounds), each with its place in the table; those of one
 * client at most half of that. */
enum { UDP_REMOTES_PART = 16, UDP_REMOTE_COST = 128, UDP_REMOTES_ALL_MAX = 256 * 1024 };

/* At the limit of a mapping or a client its remote least recently used is forgotten, but none that was used this recently:
 * nobody is asked about more new remotes than the limit in that time. At the limit of all it is one of the client that
 * holds most, whenever it was used, unless who needs it holds about as much. */
#define UDP_REMOTE_KEEP_NS 1000000000ull
/* Under memory pressure a mapping that was idle for less than this is not evicted. */
#define UDP_EVICT_IDLE_NS 1000000000ull
/* At a limit of mappings the one idle longest ends for a new one, unless it was used this recently: what comes in one burst does
 * not drive itself out before it is answered. */
#define UDP_REPLACE_IDLE_NS 10000000ull

struct udp;

struct udp_remote {
    struct list node;        /* on udp.remotes, most recently used first */
    struct list client_node; /* on client.udp_remotes, likewise */
    struct udp *udp;
    uint64_t last_ns;   /* the client's last datagram to it */
    uint32_t hash;      /* in net->udp_remotes */
    adit_addr seen;     /* on the wire */
    adit_addr real;     /* what the handler sees */
    int verdict;
};

/* A datagram, or a train, that waits for the handler. */
struct udp_datagram {
    struct list node;   /* on udp.queue, then on udp.shown */
    struct buf *buf;    /* a reference */
    const uint8_t *data;
    adit_addr remote;   /* as the handler sees it */
    uint64_t arrived_ns;
    uint32_t len_bytes;
    uint16_t gso_bytes;
    uint8_t tos, ttl;
    bool dont_fragment;
};

/* What became of a datagram on its way to a remote. */
struct udp_failure {
    enum icmp_kind kind;
    uint32_t mtu_bytes; /* ICMP_TOO_BIG */
    adit_addr from;     /* who says so; family 0: nobody else than the remote */
};

struct udp {
    struct flow flow;
    struct net *net;
    struct list idle_node;          /* on client.udp_idle */
    struct list remotes;
    struct list queue;              /* struct udp_datagram */
    struct list shown;              /* taken by udp_recv, not released yet */
    adit_addr first_seen;           /* the first remote that was not refused (or the first one) */
    adit_flow info;                 /* as handlers see it */
    uint64_t last_ns, timeout_ns;   /* timeout_ns: the handler's; 0: by kind */
    uint32_t remotes_count;
    uint32_t queued_count, queued_bytes; /* of queue */
    uint32_t unanswered;            /* DNS: queries without an answer */
    bool replied, dns_only;
    bool is_new;                    /* nobody above has been told */
    bool is_accepted;               /* a remote was not refused: somebody was, or is about to be */
    bool is_closing;                /* out of the flow table */
    int closed_why;                 /* once is_closing */
};

/* Remotes of all mappings together. */
uint32_t udp_remotes_max(uint64_t budget_bytes);
enum drop udp_input(struct net *net, const struct ip_header *ip, const struct packet *p, uint64_t now_ns);
/* An ICMP error that quotes a datagram of ours. A client that refuses what a remote sends (port unreachable) has no more to
 * do with that remote; when it was the last one the mapping closes. */
enum drop udp_icmp_error(struct net *net, const struct ip_header *quoted_ip, const uint8_t *quoted,
                         const struct icmp_message *m);
/* Views of up to n datagrams that wait; they stay valid until released. */
int udp_recv(struct udp *u, adit_dgram *d, int n);
void udp_release(struct udp *u, int n);
/* To the client. Returns how many were taken; the others are counted as drops. A train may be of any length and of any number
 * of datagrams: it is cut into such as a device takes. */
int udp_send(struct udp *u, const adit_dgram *d, int n, uint64_t now_ns);
/* An ICMP error to the client about its datagrams to `real`. */
void udp_unreach(struct udp *u, const adit_addr *real, int verdict, uint64_t now_ns);
/* The same with what an upstream socket heard. A router's word comes from the router (which is what traceroute is after), a
 * loopback address's from `real`. What is no error about a whole packet is not passed on. */
void udp_failed(struct udp *u, const adit_addr *real, const struct udp_failure *f, uint64_t now_ns);
void udp_set_timeout(struct udp *u, uint64_t timeout_ns, uint64_t now_ns);
/* Marks it as closing; it becomes ready, and whoever serves it ends with udp_free(). */
void udp_close(struct udp *u, int why);
void udp_free(struct udp *u);
void udp_expire(struct net *net, struct udp *u, uint64_t now_ns);
/* Closes a mapping of a client that holds many, the one idle longest. False: none found that has been idle for so long. */
bool udp_evict(struct net *net, uint64_t now_ns, uint64_t idle_ns);
