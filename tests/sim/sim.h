/* SPDX-License-Identifier: MIT */
/* sim: two cores, a link between them, and virtual time.
 *
 *   host 0: net + TCP <==== link[0] ====> host 1: net + TCP          link[i] carries what host i sends
 *            |              link[1]              |
 *          apps: flows dialled by host 0, accepted by host 1, octets of a known pattern both ways
 *
 * Everything is decided by one seed. A link has a rate, a delay, a queue, and faults: loss (independent or in bursts),
 * reordering, duplication, corruption, an MTU that may change. Super-segments cross it whole, or cut into packets of
 * the MTU. The oracle: every octet arrives once and in order, nothing stalls for longer than the timers allow, and when all is
 * over no pool holds anything. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "net/net.h"
#include "net/tcp_private.h"
#include "../unit/random.h"

struct sim_link_config {
    uint64_t rate_bps;       /* 0: infinite */
    uint64_t delay_ns;
    uint32_t queue_bytes;    /* tail drop beyond it */
    double loss;             /* probability per packet */
    double burst_enter, burst_leave; /* Gilbert: all is lost while in the bad state */
    double reorder;          /* probability that a packet is late by up to reorder_ns */
    uint64_t reorder_ns;
    double duplicate, corrupt;
    bool whole;              /* super-segments cross uncut, checksums partial */
};

struct sim_packet {
    uint64_t at_ns, order;
    int to; /* host */
    struct packet p;
};

struct sim_link {
    struct sim_link_config config;
    uint32_t mtu_bytes;
    uint64_t busy_until_ns, burst_since_ns;
    bool in_burst;
    uint64_t packets, lost, queue_drops, corrupted;
};

struct sim_host {
    struct sim *sim;
    int index;
    struct memory memory;
    struct buf_pool bufs;
    struct log log;
    struct net net;
    struct tcp_engine engine;
    double device_full; /* probability that the device takes no packet */
    bool retry;         /* it took none: the output list is not empty */
};

struct sim_side {
    struct stream *stream; /* NULL: not there yet, or gone */
    uint64_t to_send, sent, received;
    uint64_t pause_until_ns;
    uint32_t read_max;     /* octets consumed per call; 0: all */
    double pause;          /* probability of stopping to read for up to pause_ns after a read */
    uint64_t pause_ns;
    uint64_t abort_at;     /* received octets at which it gives up; UINT64_MAX: never */
    bool gives_up_politely; /* by close(), not abort() */
    uint64_t accept_at_ns; /* passive side: when it accepts */
    bool accepted, shut, closed;
    int why;
};

enum { SIM_FLOWS_MAX = 8, SIM_HOSTILE_PORT = 40000, SIM_REFUSED_PORT = 81 };

struct sim_flow {
    struct sim_side side[2];
    uint16_t port; /* of host 0 */
};

struct sim {
    uint64_t seed, now_ns, order;
    struct random random;
    struct sim_host host[2];
    struct sim_link link[2];
    struct sim_packet *queue; /* binary heap by (at_ns, order) */
    uint32_t queued, queue_max;
    struct sim_flow flow[SIM_FLOWS_MAX];
    int flows;
    uint64_t mtu_change_at_ns; /* link[0] and link[1] then take mtu_after_bytes; 0: never */
    uint32_t mtu_after_bytes;
    double hostile;            /* probability of a hostile packet at each step */
    bool memory_may_fail;
    uint64_t finished_ns;      /* when the last flow ended */
    bool trace;                /* ADIT_SIM_TRACE is set: each packet that arrives is printed, with its verdict */
    const char *failure;       /* the oracle's complaint; NULL: none */
    char failure_text[160];
};

struct sim_options {
    uint64_t seed;
    uint32_t mtu_bytes;
    bool v6;
    const struct cc_ops *cc;
    uint32_t rx_window_bytes, tx_buffer_bytes;
    uint64_t budget_bytes;     /* of memory, per host */
    const adit_allocator *allocator[2]; /* of each host; it may fail: then buffers are not kept for reuse, and a flow may end
                                           early, but has to say so. NULL: the C library's */
    uint32_t tcp_max, tcp_per_client_max, half_open_max, half_open_per_client_max; /* 0: more than enough */
    struct sim_link_config link[2];
};

void sim_init(struct sim *s, const struct sim_options *o);
/* Adds a flow; its sides may be adjusted before sim_run(). */
struct sim_flow *sim_add_flow(struct sim *s, uint64_t up_bytes, uint64_t down_bytes);
/* Until every flow has ended and TIME-WAIT is over, or limit_ns of virtual time. False: s->failure says why. */
bool sim_run(struct sim *s, uint64_t limit_ns);
/* Frees everything; false: something was still held (s->failure). */
bool sim_deinit(struct sim *s);
/* A packet arrives at a host, now. It is borrowed. */
void sim_arrive(struct sim *s, int to, const struct packet *p);
/* One hostile packet, at random (hostile.c). */
void sim_hostile(struct sim *s);
uint8_t sim_pattern_octet(uint64_t offset); /* of every stream */
double sim_uniform(struct sim *s); /* [0, 1) */
uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high);
