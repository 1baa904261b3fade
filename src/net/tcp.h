/* SPDX-License-Identifier: MIT */
/* net/tcp: our own TCP (RFC 9293), for flows that come out of a device and for flows that we open toward it.
 *
 *   tcp.c          lifecycle: engine, creation, states, the stream interface (what handlers call)
 *   tcp_input.c    segments in, as the row of steps of RFC 9293 section 3.10.7
 *   tcp_ack.c      what an acknowledgment does: SACK scoreboard (RFC 2018, 6675), RTT, window
 *   tcp_recovery.c loss detection and repair: RACK-TLP (RFC 8985), PRR (RFC 9937), RTO (RFC 6298)
 *   tcp_receive.c  data in: receive queue, out-of-order queue, SACK blocks to send, window to offer
 *   tcp_output.c   segments out
 *   tcp_timer.c    the flow's one timer
 *   span.c         queues of octets made of references to buffers
 *   cc.h cc_*.c    congestion control behind a small vtable
 *
 * A flow is born PENDING by a SYN, unanswered, until its handler accepts or rejects it. Nothing calls back: whatever may
 * interest those above puts the flow on the ready list, and shows in stream_events(). What is to be sent is sent when
 * net_output() comes round, after handlers ran, so that one ACK answers all that came together and was consumed.
 *
 * Ownership: from the moment that a flow is on the ready list for the first time, whoever serves the list owns it, and
 * calls stream->ops->free once STREAM_CLOSED shows. A flow in TIME-WAIT is kept by the engine after that. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"
#include "base/pool.h"
#include "net/cc.h"
#include "net/flow.h"
#include "net/net.h"
#include "net/span.h"
#include "net/stream.h"
#include "wire/tcp.h"

enum tcp_state { /* ordered: from TCP_ESTABLISHED on the connection is synchronized (RFC 9293 3.3.2) */
    TCP_CLOSED,       /* out of the flow table; waits to be freed by its owner */
    TCP_PENDING,      /* a SYN came; nobody has answered it */
    TCP_SYN_SENT,     /* tcp_dial() */
    TCP_SYN_RECEIVED, /* accepted: SYN-ACK sent (or about to be) */
    TCP_ESTABLISHED,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSE_WAIT,
    TCP_CLOSING,
    TCP_LAST_ACK,
    TCP_TIME_WAIT,
    TCP_STATES
};

struct tcp;
struct tcp_work;

struct tcp_engine {
    struct net *net;
    struct pool tcp_pool, work_pool, run_pool, island_pool, span_pool;
    struct tcp_work *at_rest; /* of all flows for which nothing is under way; never written */
    struct list time_wait;   /* tcp.wait_node, oldest first */
    struct list with_islands; /* tcp_work.islands_node of flows that hold octets beyond a hole */
    uint64_t now_ns;         /* of the call that is being served */
    uint64_t challenge_second; /* RFC 5961: challenge ACKs sent in this second, for all flows */
    uint32_t challenge_tokens;
    uint32_t flows;          /* all of them */
    const struct cc_ops *cc; /* for new flows: cubic */
    uint64_t states_visited; /* a bit per enum tcp_state, for tests */
};

int tcp_engine_init(struct tcp_engine *e, struct net *net); /* and net_set_tcp() */
/* Frees what is in TIME-WAIT; all other flows must have been aborted and freed. */
void tcp_engine_deinit(struct tcp_engine *e);
/* Active open from `from` (an address of the outer world) to `to` (a client behind the device). NULL: limit or memory,
 * or the tuple is in use. The flow comes up as STREAM_OPEN, or STREAM_CLOSED with a reason. */
struct tcp *tcp_dial(struct tcp_engine *e, const adit_addr *from, const adit_addr *to, uint64_t now_ns);
struct stream *tcp_stream(struct tcp *t);
struct tcp *tcp_of_flow(struct flow *f);
struct flow *tcp_flow(struct tcp *t);
const char *tcp_state_name(enum tcp_state s);
