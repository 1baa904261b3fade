/* SPDX-License-Identifier: MIT */
/* net: one worker's protocol core. Packets go in, packets go out, flows become ready.
 *
 * It is a pure function of (state, packets, now): no descriptor, no system call, no clock, no thread, no global; memory
 * comes from the pools handed to it, randomness and output through `struct net_env`. Time is nanoseconds and an argument.
 *
 *     net_input() for each packet -> net_next_ready() until NULL, each served -> net_expire() -> net_output()
 *
 *               +-- frag                     +-- udp_input --+
 *   net_input --+-- ip_input --(protocol)----+-- icmp_input -+--> ready list --> handlers
 *                                            +-- net->tcp ---+
 *                                                (who terminates TCP: our own, or a translator to the kernel's)
 *   handlers --> output list --> net_output --> tcp_output / ... --> net_send --> env.output
 *
 * Pressure on the memory budget (base/memory.h): at TIGHT windows stop growing, and next to nothing is taken from a handler
 * for a client whose window is closed; at HIGH windows shrink to 16 KiB and out-of-order queues are given up; at CRITICAL idle
 * UDP mappings are evicted, those of the clients that hold most first, and new flows are refused.
 * Established TCP is never evicted. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adit/adit.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/wheel.h"
#include "net/flow.h"
#include "net/frag.h"
#include "net/icmp.h"
#include "wire/drop.h"
#include "wire/ip.h"
#include "wire/packet.h"

struct tcp_engine;
struct udp;

/* Who terminates TCP: a vtable, so that a build without our TCP, or an instance on the kernel's, has the same core. */
struct net_tcp_ops {
    /* A TCP segment (or super-segment) behind a valid IP header; the packet's buffer may be referenced. */
    enum drop (*input)(void *tcp, const struct ip_header *ip, const struct packet *p, uint64_t now_ns);
    /* An ICMP error that quotes a TCP header of ours (`quoted`: that header, at least 8 octets). */
    enum drop (*icmp_error)(void *tcp, const struct ip_header *quoted_ip, const uint8_t *quoted,
                            const struct icmp_message *m, uint64_t now_ns);
    void (*expire)(void *tcp, struct flow *f, uint64_t now_ns);   /* the flow's timer */
    /* Sends what the flow has to send. False: the device is full; it stays on the output list. */
    bool (*output)(void *tcp, struct flow *f, uint64_t now_ns);
    /* Ends a flow whose handshake has lasted for long, since another one is to have its place (net/handshake.h). */
    void (*evict)(void *tcp, struct flow *f);
    /* Memory is HIGH: gives up what can be given up without loss. May be NULL. */
    void (*relieve)(void *tcp, uint64_t now_ns);
};

/* Where a decision may send a flow to the host's kernel, although our own TCP has the SYNs (stack/mixed.c). */
struct net_kernel {
    void *ctx;
    /* Whether it can have a flow of this IP version. It may be started for that. */
    bool (*is_ready)(void *ctx, uint8_t ip_version, uint64_t now_ns);
    /* The SYN of a flow that is in no table any more, with what was decided about it. id: the one that prepare() was told. */
    enum drop (*take)(void *ctx, const struct ip_header *ip, const struct packet *p, const adit_decision *d, uint64_t id);
};

/* A client's kernel answers what it receives while it is written, into a queue of the device that holds some hundreds (1000 of
 * a TUN). So no more is sent than that has room for, and the answers are read before the rest goes. */
enum { NET_OUTPUT_PACKETS = 128 };

struct net_env { /* what the core needs from outside */
    void *ctx;
    /* To the device. False: it is full; nothing was taken. */
    bool (*output)(void *ctx, const struct packet_out *p);
    void (*prepare)(void *ctx, const adit_flow *f, adit_decision *d); /* d is preset */
    /* An echo request that prepare() did not refuse: the handler's verdict. ADIT_ECHO_FORWARD: the callee has taken it. */
    int (*echo)(void *ctx, struct echo *e, const struct ip_header *ip, const struct icmp_message *m);
    void (*random)(void *ctx, void *buf, size_t len_bytes);
    /* A packet for another worker, copied. False: it has no room. Where config.owners is set. */
    bool (*hand_over)(void *ctx, unsigned worker, const struct packet *p);
};

struct net_config { /* copied; strings borrowed for life */
    uint32_t mtu_bytes;
    uint32_t tcp_max, tcp_per_client_max, tcp_half_open_max, tcp_half_open_per_client_max;
    uint32_t udp_max, udp_per_client_max;
    uint32_t rx_window_bytes, tx_buffer_bytes, mss_clamp_bytes;
    uint64_t tcp_idle_ns, tcp_half_closed_ns, tcp_keepalive_ns, tcp_time_wait_ns;
    uint64_t udp_unreplied_ns, udp_replied_ns, udp_dns_ns, icmp_ns, pending_ns;
    int udp_filtering;
    bool allow_martians;
    bool device_big_tcp4;         /* super-segments of TCP over IPv4 may be longer than their header can state */
    bool device_splits;           /* super-segments of TCP leave the device as so many packets */
    bool device_uso;              /* trains may be sent (offload.c splits them where they may not) */
    bool trust_partial_csum;      /* PACKET_CSUM_PARTIAL comes from a kernel */
    const adit_alias *aliases;
    size_t aliases_count;
    const adit_addr *loopbacks;   /* addresses that mean the one who sends to them; ports do not count */
    size_t loopbacks_count;
    struct owners *owners;           /* whose flow is whose, where there are several workers; NULL: one */
    const struct sip_key *flow_key;  /* with owners: all hash alike; copied */
    unsigned worker, workers;        /* with owners: which we are, of how many */
};

struct net_stats {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
    uint64_t tcp_total, tcp_rejected, tcp_open, tcp_half_open, tcp_time_wait;
    uint64_t tcp_evicted; /* half-open flows that ended for others */
    uint64_t tcp_kernel_total, tcp_kernel_open; /* those of them that the host's kernel terminates */
    uint64_t tcp_segments_retransmitted, tcp_fast_retransmits, tcp_timeouts;
    uint64_t udp_total, udp_open, udp_evicted, icmp_total; /* udp_evicted: ended for a limit: of mappings, memory, descriptors */
    uint64_t handed_over; /* packets that were another worker's */
    uint64_t drops[DROP_COUNT];
};

struct net {
    struct net_config config;
    struct net_env env;
    struct memory *memory;
    struct buf_pool *bufs;
    const struct log *log;
    struct flow_table flows;
    struct wheel wheel;
    struct list ready, output;
    struct list handshakes;          /* struct handshake of all flows, oldest first */
    struct frag_table frags;
    struct icmp_limits icmp_limits;
    struct pool udp_pool, udp_remote_pool, datagram_pool, echo_pool;
    struct hash udp_remotes;         /* struct udp_remote of all mappings */
    const struct net_tcp_ops *tcp_ops; /* NULL: no TCP: SYNs are refused */
    void *tcp;
    const struct net_kernel *kernel; /* NULL: decisions cannot ask for it */
    struct sip_key secret;           /* sequence numbers, timestamps, IP identifiers */
    uint16_t ip4_id;
    uint32_t output_left;            /* packets of this call of net_output(): with none left no payload of TCP goes */
    struct net_stats stats;
};

/* memory, bufs and log are borrowed for life. 0 or ADIT_ENOMEM. */
int net_init(struct net *net, const struct net_config *config, const struct net_env *env, struct memory *memory,
             struct buf_pool *bufs, const struct log *log, uint64_t now_ns);
/* Every flow that was handed out must have been closed and freed (tcp_..., udp_free) before; echo flows, fragments, and
 * mappings that nobody was told of (all their remotes were refused) go with it. */
void net_deinit(struct net *net);
void net_set_tcp(struct net *net, const struct net_tcp_ops *ops, void *tcp);

/* The verdict on a packet, counted. The packet is borrowed; what is kept of it takes a reference of p->buf (p->buf
 * NULL: it is copied). */
enum drop net_input(struct net *net, const struct packet *p, uint64_t now_ns);
/* The same for a packet that another worker handed over, which has counted it. */
enum drop net_input_handed_over(struct net *net, const struct packet *p, uint64_t now_ns);
/* The next flow whose handler has something to do, taken off the list; NULL: none left. */
struct flow *net_next_ready(struct net *net);
void net_expire(struct net *net, uint64_t now_ns);
/* When net_expire() is next due. WHEEL_NEVER: never. */
uint64_t net_next_ns(const struct net *net);
/* Gives back what a burst has left behind. Between turns. */
void net_trim(struct net *net);
/* Lets the flows on the output list send, until NET_OUTPUT_PACKETS have left or the device is full. The rest stays there. */
void net_output(struct net *net, uint64_t now_ns);

/* ---- for the files of this room ---- */

/* One packet to the device, counted. False: full. */
bool net_send(struct net *net, const struct packet_out *p);
enum drop net_drop(struct net *net, enum drop why); /* counts it, returns it */
/* For a packet whose flow, with this hash, is not here. True: it may be another worker's, and the packet is (with the verdict
 * in *why); false: it is ours to deal with. */
bool net_hand_over(struct net *net, uint32_t hash, const struct packet *p, enum drop *why);
/* The same, where the worker is known. */
enum drop net_hand_over_to(struct net *net, unsigned worker, const struct packet *p);
void net_set_ready(struct net *net, struct flow *f);
void net_set_output(struct net *net, struct flow *f);
/* prepare() for a flow: presets and fills *d, returns its verdict. */
int net_prepare(struct net *net, const struct flow *f, adit_decision *d);
/* The same, described already. */
int net_prepare_as(struct net *net, const adit_flow *described, adit_decision *d);
/* Whether the transport checksum needs no look: verified below us, or never on a wire. */
bool net_trusts_checksum(const struct net *net, const struct packet *p);
/* A buffer with a reference for the caller which holds the packet's [*data, *data + len_bytes): the packet's own, or a copy
 * (*data moves there) where that is borrowed memory, or much larger than what is kept, and not only for this turn (briefly).
 * NULL: no memory. */
struct buf *net_keep(struct net *net, const struct packet *p, const uint8_t **data, uint32_t len_bytes, bool briefly);
/* Begins p with an IP header for h (TTL 64 where 0, a fresh identification) and returns where the transport header goes;
 * h->payload_bytes must be set. Sets headers_bytes to the IP header's length. */
uint8_t *net_ip_header(struct net *net, struct packet_out *p, struct ip_header *h);
/* Sends p, in fragments where it is larger than the MTU and no super-segment (UDP and ICMP only); the checksum is completed
 * for that. h: as net_ip_header() left it. False: it did not go (whole), which is counted as a drop. */
bool net_send_fragmented(struct net *net, struct packet_out *p, const struct ip_header *h);
/* Real destination of an address on the wire, and back. The alias of that very port goes before one of every port. */
adit_addr net_alias_real(const struct net *net, const adit_addr *seen);
adit_addr net_alias_seen(const struct net *net, const adit_addr *real);
