/* SPDX-License-Identifier: MIT */
/* nat: TCP that ends in the host's kernel, seen from the device: packets are rewritten and go back where they came from.
 *
 *   client -> remote                  rewritten, back into the device        the kernel's listener
 *   10.0.0.2:5000 -> 1.2.3.4:80  ---> 198.19.255.7:1024 -> 10.0.0.1:P  ----> accepts from a "fake peer"
 *   1.2.3.4:80 -> 10.0.0.2:5000  <--- 10.0.0.1:P -> 198.19.255.7:1024  <---- answers it
 *
 * The pure part of it: a function of packets and time. Sockets are somebody else's (stack/system.c), who embeds struct
 * nat_flow in an object of its own and is told through the ready list. States:
 *
 *   SYN -> PENDING --nat_accept--> ACCEPTING --nat_accepted--> OPEN --nat_release--> LINGER --time--> gone
 *             \ refused, RST, time     \ RST, time                 (closing goes on between client and kernel)
 *              `-> CLOSED <------------'    \--nat_release--> LINGER
 *
 * PENDING holds a copy of the newest SYN and answers nothing. ACCEPTING has put it to the kernel under a fake peer's address and
 * port, and again if the kernel does not answer. Where half-open flows have reached their limit, one whose client does not answer
 * ends for another (handshake.h); when the kernel repeats its SYN-ACK it is told so by a RST. From ACCEPTING on every packet is
 * passed on and the kernel judges it; here only FIN, RST and the time of the last packet are noted, to know when it can go.
 *
 * A shortcut (struct nat_shortcut) is whoever rewrites packets before they come here: below, in the kernel. It gets the two ways
 * of a flow that was accepted and loses them with the entry. What comes earlier is passed on here, one after the other: where two
 * processors bring the ACK of a handshake and what follows it at once, the kernel may find neither its half-open socket nor the
 * one that takes its place, and answers with a RST. SYNs and RSTs come here all the same. What it has seen meanwhile is asked for
 * when a deadline has come or an entry is to be used again. A packet that it does not take is rewritten here.
 *
 * A pair of a fake peer's address and port is never given to two entries at a time, and pairs are used in turn: 256 addresses of
 * 64,512 ports, so one that is free again rests until sixteen million others have been used. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"
#include "base/pool.h"
#include "net/flow.h"
#include "net/handshake.h"
#include "net/net.h"
#include "wire/tcp.h"

enum { NAT_PEER_PORT_FIRST = 1024, NAT_PROBE_PORT = 1 /* of no flow */ };

enum nat_state {
    NAT_CLOSED, /* out of the tables; waits for nat_release() */
    NAT_PENDING,
    NAT_ACCEPTING,
    NAT_OPEN,
    NAT_LINGER, /* nobody above any more */
};

enum nat_seen { NAT_FIN_UP = 1, NAT_FIN_DOWN = 2, NAT_RST = 4, NAT_ANSWERED = 8 };

struct nat;

struct nat_ends { /* of a packet */
    uint8_t src[16], dst[16];
    uint16_t src_port, dst_port;
};

struct nat_way { /* what a packet has for ends, and what it gets */
    struct nat_ends from, to;
};

enum { NAT_UP, NAT_DOWN, NAT_WAYS };

struct nat_looked { /* at one way */
    bool is_heard; /* a packet has passed; .. */
    bool is_fin;   /* .. one with a FIN */
    uint64_t age_ns; /* since the last one */
};

struct nat_shortcut {
    void *ctx;
    /* False: it has no room; the flow is rewritten here. */
    bool (*add)(void *ctx, const struct nat_way ways[NAT_WAYS]);
    void (*look)(void *ctx, const struct nat_way ways[NAT_WAYS], struct nat_looked out[NAT_WAYS]);
    void (*remove)(void *ctx, const struct nat_way ways[NAT_WAYS]);
};

struct nat_flow {
    struct flow flow;
    struct nat *nat;
    struct list node;      /* on nat->all */
    struct list done_node; /* on nat->done: in LINGER, and both sides have ended */
    struct handshake handshake; /* in ACCEPTING, until the client answers */
    uint64_t opened_ns;
    uint64_t accepted_ns;  /* when the SYN was first put to the kernel */
    uint64_t heard_ns;     /* the last packet, either way */
    uint64_t again_ns;     /* ACCEPTING: when the SYN is put again; WHEEL_NEVER: the kernel has answered. LINGER: see .. */
    uint32_t idle_ms;      /* from prepare(); 0: the option's */
    uint32_t isn;          /* of the SYN */
    uint16_t peer_port;    /* 0: none was given yet */
    uint8_t peer;          /* which fake peer */
    uint8_t state;         /* enum nat_state */
    uint8_t seen;          /* enum nat_seen */
    int8_t why;            /* an adit_code, once it ended by itself; it may be OPEN still (idle) */
    bool accept_early;     /* prepare() accepted: nobody is told before it is open */
    bool is_half_open;     /* counted as such */
    bool has_shortcut;     /* .. LINGER: it is looked at, at again_ns */
    bool is_given_away;    /* LINGER: the socket lives on elsewhere */
    uint8_t syn_tos, syn_bytes;
    uint8_t syn[TCP_HEADER_BYTES_MAX]; /* the newest, without data */
};

struct nat {
    struct net *net;
    struct pool pool;
    struct hash by_peer;
    struct list all, done;      /* done: oldest first */
    struct nat_shortcut shortcut; /* add NULL: none */
    adit_addr listeners[2];     /* for IPv4 and IPv6; family 0: none */
    uint64_t now_ns;            /* of the call that is being served */
    uint32_t half_open, flows;
    uint32_t probe_isn;
    uint8_t probes_answered;    /* 1: IPv4, 2: IPv6 */
    uint32_t next_pair;         /* port << 8 | peer, from 0 on; see nat_take_pair() */
};

/* flow_bytes: of the object that begins with a struct nat_flow. listeners: the addresses, with ports, at which the kernel
 * listens; one for each family at most. 0, or ADIT_EINVAL: a listener is one of the fake peers. */
int nat_init(struct nat *n, struct net *net, size_t flow_bytes, const adit_addr *listeners, size_t listeners_count);
/* Before the first flow. Copied. */
void nat_set_shortcut(struct nat *n, const struct nat_shortcut *s);
/* All flows must have been released; those in LINGER go with it. */
void nat_deinit(struct nat *n);
struct nat_flow *nat_of_flow(struct flow *f);
/* Whether the kernel listens for flows of this IP version. */
bool nat_serves(const struct nat *n, uint8_t ip_version);
/* A SYN that somebody else has checked and asked about, with the decision: net_kernel.take of net/net.h. */
enum drop nat_take(struct nat *n, const struct ip_header *ip, const struct packet *p, const adit_decision *d, uint64_t id);
/* Sends a SYN of a fake peer to each listener that has not answered one yet; the answer is refused. What nat_is_answered() says
 * later tells whether the kernel gets, and its answers reach us: firewalls may drop either. */
void nat_probe(struct nat *n);
bool nat_is_answered(const struct nat *n);
/* Ends an entry that only waits for stray packets. False: it is none of these. */
bool nat_forget_done(struct nat_flow *f);

/* Puts the SYN of a PENDING flow to the kernel. 0, ADIT_ESTATE, or ADIT_ELIMIT: no pair is free. */
int nat_accept(struct nat_flow *f);
/* Refuses a PENDING flow (enum adit_verdict); it is CLOSED. */
void nat_reject(struct nat_flow *f, int verdict);
/* The kernel has a connection from this fake peer: whose it is. NULL: nobody's, or nobody wants it any more. */
struct nat_flow *nat_accepted(struct nat *n, const adit_addr *peer);
/* Its owner is done with it, and f must not be touched any more. given_away: its socket lives on elsewhere. PENDING flows
 * must have been refused before. */
void nat_release(struct nat_flow *f, bool given_away);
