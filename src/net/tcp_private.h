/* SPDX-License-Identifier: MIT */
/* tcp_private: the connection, and what the tcp_*.c files share. Nobody else includes this but tests.
 *
 * The send side, in sequence space:
 *
 *      snd_una              snd_nxt            snd_una + tx.bytes
 *         |---- in flight ----|---- not sent ----|
 *         [run][run][run][run]                       runs: one per emitted (super-)segment, in sequence order
 *
 * A run is in flight, sacked, or lost. In flight and lost ones are on a second list: `by_time` in the order of their last
 * transmission, or `lost` waiting for retransmission. Runs are split when a SACK block or a retransmission covers a part;
 * sacked neighbours are merged. sacked_bytes and lost_bytes are kept as runs change, so that
 *
 *     pipe = (snd_nxt - snd_una) - sacked_bytes - lost_bytes
 *
 * is always known (RFC 6675), and an ACK costs what it acknowledges, not what is outstanding.
 *
 * The FIN occupies the sequence number after the last octet and is the last of its run. SYN and SYN-ACK have no run; the send
 * timer repeats them. */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include "net/handshake.h"
#include "net/tcp.h"

/* Sequence arithmetic modulo 2^32. */
static inline bool seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}
static inline bool seq_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}
static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? b : a;
}

#define TCP_RTO_INITIAL_US 1000000u /* RFC 6298 2.1 */
#define TCP_RTO_AFTER_LOST_SYN_US 3000000u /* RFC 6298 5.7 */
#define TCP_RTO_MIN_US 200000u      /* as Linux: the 1 s of RFC 6298 2.4 predates timers this fine */
#define TCP_RTO_MAX_US 60000000u
#define TCP_TLP_MIN_NS 2000000ull      /* before what was sent is repeated */
#define TCP_TLP_NEW_MIN_NS 250000ull   /* before something new goes, which costs nothing where the answer is only late */
#define TCP_PEER_DELACK_NS 40000000ull /* RFC 8985's WCDelAckT, for what Linux does */
#define TCP_DELAYED_ACK_NS 40000000ull
#define TCP_QUICK_ACK_NS 1000000ull    /* of short segments in the beginning, and of a FIN */
#define TCP_CHALLENGE_NS 500000000ull  /* per flow: RFC 5961 section 7 */
#define TCP_KEEPALIVE_INTERVAL_NS 75000000000ull
#define TCP_CLOSED_FIN_WAIT_2_NS 60000000000ull /* nobody reads any more: wait for the FIN this long */
#define TCP_STARVED_NS 10000000ull
#define TCP_LINGER_NS 60000000000ull   /* closed by its handler, not all acknowledged: reset when nothing moves for so long */
#define TCP_REST_NS 1000000000ull     /* silent for so long (and an RTO): it rests */
enum {
    TCP_REST_LOG2_MAX = 6,
    TCP_PAWS_IDLE_HOURS = 24 * 24, /* RFC 7323 5.5 */
    TCP_PMTU_MINUTES = 10, /* nine to ten minutes; then a larger one is tried (RFC 1191 6.3, 8201 4) */
    TCP_SYN_RETRIES = 5,
    TCP_TLP_NEW_MAX = 3,        /* probes with new data in a row */
    TCP_RETRIES = 15,           /* R2 of RFC 9293 3.8.3 */
    TCP_KEEPALIVE_PROBES = 9,
    TCP_QUICK_ACKS = 16,        /* segments in the beginning and after a rest, which are acknowledged sooner */
    TCP_ACKS_TWICE = 250,       /* ACKs that go twice after a loss; 1 % shows anew before */
    TCP_RUNS_MAX = 2048,        /* per flow: SACK holes cost memory and time */
    TCP_ISLANDS_MAX = 1024,     /* separate ranges beyond a hole; a full queue in the path loses every other segment */
    TCP_CHALLENGES_PER_SECOND = 1000,
    TCP_ISS_STEP = 128000,      /* how far a reused tuple begins after its predecessor's end */
    TCP_MSS_DEFAULT = 536,
    TCP_MSS_MIN = 88,           /* a peer that announces less gets this much (SACK panic, CVE-2019-11477 ff.) */
    TCP_PMTU_MIN_4 = 552,
    TCP_PMTU_MIN_6 = 1280,
    TCP_SEGMENT_BYTES_MAX = 64 * 1024 - PACKET_HEADERS_MAX, /* payload of a super-segment */
    TCP_RX_LIMIT_FIRST = 128 * 1024, /* the receive window grows from here while the handler keeps up */
    TCP_TX_AHEAD = 256 * 1024,       /* octets taken from the handler that congestion control does not let go yet */
    TCP_TX_STOCK_MIN = 2 * 1024,     /* and beyond the peer's window; there must be some for it to be probed */
    TCP_TX_STOCK_MAX = 64 * 1024,
    TCP_PRESSED_WINDOW = 16 * 1024,  /* the most to offer under memory pressure; so much a flow may hold in any case */
};

enum tcp_timer {
    TCP_TIMER_SEND, /* whatever tcp.send_timer says */
    TCP_TIMER_ACK,  /* a delayed ACK is due */
    TCP_TIMER_LIFE, /* pending, keepalive, idle, FIN-WAIT-2 of a closed flow, TIME-WAIT; starved. At rest: the wheel's */
    TCP_TIMER_REST, /* to look whether it may rest */
    TCP_TIMERS
};

enum tcp_send_timer {
    TCP_SEND_IDLE,
    TCP_SEND_RTO,     /* retransmission (also of SYN and SYN-ACK) */
    TCP_SEND_TLP,     /* tail loss probe (RFC 8985 7) */
    TCP_SEND_REORDER, /* RACK: something may be lost by then */
    TCP_SEND_PERSIST, /* the window is closed: probe it (RFC 9293 3.8.6.1) */
};

enum tcp_recovery {
    TCP_OPEN,     /* nothing lost */
    TCP_RECOVERY, /* fast recovery, by PRR */
    TCP_LOSS,     /* after a timeout: slow start from one segment */
};

enum tcp_run_state { TCP_RUN_FLYING, TCP_RUN_SACKED, TCP_RUN_LOST };

struct tcp_run {
    struct list node;       /* tcp.runs, in sequence order */
    struct list time_node;  /* tcp.by_time, or tcp.lost */
    uint64_t sent_ns;       /* the last transmission */
    uint32_t seq, end;      /* [seq, end), FIN included */
    struct span_place at;   /* of seq in tcp.tx */
    uint8_t state;          /* enum tcp_run_state */
    bool retransmitted, fin;
};

/* Octets that came beyond a hole. */
struct tcp_island {
    struct tcp_island *next;
    uint32_t seq;
    struct span_queue octets;
};

/* What a connection needs while something is under way: queued, in flight, out of order, in the handshake. It comes from a
 * pool and goes back when the connection has been silent for a while (tcp_timer.c), with the few values worth
 * keeping left in struct tcp. A connection at rest points at the engine's at_rest, which nobody writes: it says that
 * nothing is queued, in flight or due. */
struct tcp_work {
    struct tcp_engine *engine;
    struct tcp *tcp;           /* whose it is; NULL: of all that rest */
    struct handshake handshake; /* in SYN-RECEIVED */

    /* send */
    struct span_queue tx;      /* from snd_una (or iss + 1) on */
    struct span_place tx_next; /* snd_nxt in tx; span NULL: its front */
    struct list runs, by_time, lost;
    struct tcp_run *sacked_last; /* the run that was sacked last, where the next block is likely to be; NULL: none */
    uint32_t runs_count;
    uint32_t sacked_bytes, lost_bytes;
    uint32_t high_sacked;      /* the highest octet acknowledged, selectively or not: RFC 6675's HighSACK + 1 */
    uint32_t recovery_point;   /* snd_nxt when it began */
    uint32_t tlp_end;          /* snd_nxt after the probe */
    uint32_t dsack_round;      /* snd_nxt when a DSACK came; valid with dsack_seen */
    uint32_t prr_delivered, prr_out, prr_flight;
    uint64_t rack_sent_ns;     /* RACK.xmit_ts: the latest transmission known to be delivered */
    uint32_t rack_end;         /* and its end */
    uint32_t rack_rtt_us, min_rtt_us;
    uint32_t rto_us;
    uint8_t send_timer;        /* enum tcp_send_timer */
    uint8_t recovery;          /* enum tcp_recovery */
    uint8_t backoff_log2;      /* of the RTO (Karn: until a round trip was timed) or the persist timer; tries of the handshake */
    uint8_t retries;           /* timeouts since snd_una last moved: R2 of RFC 9293 3.8.3 */
    uint8_t persist_probes;    /* probes of a closed window unanswered */
    uint8_t tlp_new_count;     /* probes with new data since something was acknowledged */
    uint8_t dup_acks;          /* for peers without SACK */
    uint8_t reo_wnd_mult;      /* RFC 8985: grows with the DSACKs of a round trip */
    uint8_t reo_wnd_persist;   /* recoveries until it is 1 again */
    uint8_t dsack_count;       /* 1: `dsack` is to be reported */
    uint8_t rest_log2;         /* how much longer to wait before it is looked whether the connection may rest */
    uint64_t timed_ns;         /* SYN, SYN-ACK: sent; 0: retransmitted, not to be timed (Karn) */
    uint64_t last_sent_ns;     /* data */
    uint64_t progress_ns;      /* snd_una last moved */
    uint64_t deadline_ns[TCP_TIMERS];
    struct cc cc;

    /* receive */
    struct span_queue rx;
    struct tcp_island *islands; /* out of order: by sequence number, never touching */
    struct tcp_island *islands_tail; /* the last one, where most arrive; NULL: look for it from the front */
    struct list islands_node;   /* on engine->with_islands */
    uint64_t challenge_ns;      /* the last challenge ACK */
    uint32_t irs;               /* until it is established */
    uint32_t rcv_acked;         /* the last acknowledgment sent; at rest it is rcv_nxt */
    uint32_t rcv_grown_at;      /* sequence number at which rcv_limit last grew */
    uint32_t unacked_bytes;     /* received since the last ACK */
    uint32_t fin_seq;           /* of a FIN that came out of order; valid with fin_early */
    uint32_t island_recent;     /* a sequence number in the one that grew last: it is reported first (RFC 2018 section 4) */
    struct tcp_range dsack;     /* RFC 2883 */
    uint16_t islands_count;
    uint8_t quick_acks;         /* left */
    uint8_t acks_twice;         /* left, since something was lost not long ago */
};

struct tcp {
    struct flow flow; /* first */
    struct tcp_work *work;  /* engine->at_rest: nothing is under way */
    union {
        struct {
            uint32_t snd_wnd, snd_wl1, snd_wl2, snd_wnd_max;
        };
        struct list wait_node; /* in TIME-WAIT: on engine->time_wait */
    };
    uint64_t opened_ns;
    uint64_t heard_ns;      /* anything acceptable from the peer */
    uint64_t rx_bytes, tx_bytes;

    uint32_t iss, snd_una, snd_nxt;
    uint32_t rcv_nxt;
    uint32_t rcv_edge;      /* the right edge offered so far */
    uint32_t rcv_limit;     /* octets that may wait for the handler */
    uint32_t srtt_us, rttvar_us;
    uint32_t rest_cwnd_bytes, rest_ssthresh_bytes; /* at rest: of work->cc */
    uint32_t ts_recent, ts_offset;
    uint32_t retransmits;
    uint32_t idle_ms;       /* prepare()'s; 0: the configured */
    uint16_t snd_mss_bytes, peer_mss_bytes; /* what we send (options taken off); what it announced */
    uint16_t rcv_mss_bytes; /* what the peer sends */
    uint16_t pmtu_bytes;
    uint16_t pmtu_minute;    /* when ICMP last lowered it. Modulo 2^16: 45 days */
    uint16_t ts_recent_hour; /* of ts_recent. Modulo 2^16: 7 years */

    uint8_t state;      /* enum tcp_state; tcp_enter() alone writes it */
    uint8_t snd_wscale_log2, rcv_wscale_log2;
    uint8_t probes;       /* keepalive probes unanswered */
    int8_t why;           /* adit_code that ended it */

    bool ts_on : 1, sack_on : 1, wscale_on : 1;
    bool passive : 1;
    bool accept_early : 1;   /* prepare() said accept: hand it over when established */
    bool fin_wanted : 1;     /* shutdown or close was called */
    bool fin_sent : 1;
    bool fin_received : 1;   /* and in order */
    bool fin_early : 1;      /* out of order: at fin_seq */
    bool closed_by_handler : 1; /* nobody reads any more */
    bool ack_now : 1, ack_later : 1;
    bool probe_now : 1;      /* persist or keepalive: an empty segment below the window */
    bool tlp_now : 1, tlp_out : 1, tlp_repeats : 1; /* a probe is due, is out, repeats old data */
    bool bulk : 1;           /* the handler fills large buffers */
    bool sws_override : 1;   /* a small window has stayed small: fill it (RFC 9293 3.8.6.2.1) */
    bool starved : 1;        /* there was no memory for what the handler, or output, was to do */
    bool cwnd_limited : 1;
    bool reordering : 1;     /* seen on this path */
    bool dsack_seen : 1;     /* in the round trip that ends at dsack_round */
    bool counted_half_open : 1;
    bool write_blocked : 1;  /* the handler was told that there is no room */
};

static_assert(sizeof(struct tcp) <= 280, "an idle flow costs little");

/* Gives the connection what it needs to work. False: no memory. */
bool tcp_wake_(struct tcp *t);
static inline bool tcp_is_awake(const struct tcp *t)
{
    return t->work->tcp != NULL;
}
static inline bool tcp_wake(struct tcp *t)
{
    return tcp_is_awake(t) || tcp_wake_(t);
}
/* There was no memory: it tries again when the life timer comes round. */
void tcp_starve(struct tcp *t);
static inline uint16_t tcp_now_minute(const struct tcp *t)
{
    return (uint16_t)(t->work->engine->now_ns / 60000000000);
}
static inline uint16_t tcp_now_hour(const struct tcp *t)
{
    return (uint16_t)(t->work->engine->now_ns / 3600000000000);
}
/* Nothing is queued or in flight, and what is kept in struct tcp is all that matters. */
bool tcp_may_rest(const struct tcp *t);
void tcp_rest(struct tcp *t);

static inline bool tcp_is_synchronized(const struct tcp *t)
{
    return t->state >= TCP_ESTABLISHED;
}
/* Data and FIN that may exist: from the front of tx. Once the SYN is acknowledged, that is where snd_una is. */
static inline uint32_t tcp_tx_base(const struct tcp *t)
{
    return t->snd_una + !tcp_is_synchronized(t);
}
/* Sequence number after the last octet in tx (the FIN's, if there is one). */
static inline uint32_t tcp_tx_end(const struct tcp *t)
{
    return tcp_tx_base(t) + t->work->tx.bytes;
}
static inline uint32_t tcp_pipe(const struct tcp *t)
{
    return t->snd_nxt - t->snd_una - t->work->sacked_bytes - t->work->lost_bytes;
}
/* With nothing in flight: octets, or a FIN, that have not been sent yet. */
static inline bool tcp_has_unsent(const struct tcp *t)
{
    return t->work->tx.bytes > 0 || (t->fin_wanted && !t->fin_sent);
}
/* Whether data from the peer can still be received. */
static inline bool tcp_can_receive(const struct tcp *t)
{
    return t->state == TCP_ESTABLISHED || t->state == TCP_FIN_WAIT_1 || t->state == TCP_FIN_WAIT_2;
}
static inline uint32_t tcp_ts_now(const struct tcp *t)
{
    return (uint32_t)(t->work->engine->now_ns / 1000000) + t->ts_offset;
}
static inline bool tcp_is_v6(const struct tcp *t)
{
    return !ip_is_mapped4(t->flow.key.client);
}

/* ---- tcp.c ---- */
/* The only writer of state: checks the move against the table, keeps counts and timers. */
void tcp_enter(struct tcp *t, enum tcp_state s);
/* Ends the flow: out of the table, queues released, `why` for the owner. */
void tcp_end(struct tcp *t, int why);
/* A new flow in the table, with options unset. NULL: *why says which limit. */
struct tcp *tcp_new(struct tcp_engine *e, const struct flow_key *key, enum drop *why);
void tcp_set_iss(struct tcp *t, uint32_t iss);
/* Takes what the peer's SYN says: MSS, window scale, timestamps, SACK. */
void tcp_take_syn_options(struct tcp *t, const struct tcp_segment *s);
void tcp_set_mss(struct tcp *t);
void tcp_free(struct tcp *t);
/* Something that the handler may care about has happened. */
void tcp_notify(struct tcp *t);
void tcp_wants_output(struct tcp *t);
/* The window has changed, or something has left or was acknowledged: tells the handler if it waits for room and has enough. */
void tcp_room_made(struct tcp *t);

/* ---- tcp_input.c ---- */
enum drop tcp_input(void *engine, const struct ip_header *ip, const struct packet *p, uint64_t now_ns);
enum drop tcp_icmp_error(void *engine, const struct ip_header *quoted_ip, const uint8_t *quoted,
                         const struct icmp_message *m, uint64_t now_ns);

/* ---- tcp_ack.c ---- */
/* An acceptable acknowledgment of a synchronized connection. */
void tcp_ack_received(struct tcp *t, const struct tcp_segment *s);
/* The first round-trip time (handshake), or another one. */
void tcp_rtt_sample(struct tcp *t, uint64_t rtt_ns);
/* Cuts r in two at seq; the second part is returned, NULL: no memory or too many runs. */
struct tcp_run *tcp_run_split(struct tcp *t, struct tcp_run *r, uint32_t seq);
void tcp_run_free(struct tcp *t, struct tcp_run *r);
void tcp_run_set_state(struct tcp *t, struct tcp_run *r, enum tcp_run_state state);

/* ---- tcp_recovery.c ---- */
struct tcp_ack_effect {      /* what an ACK did to the scoreboard */
    uint32_t acked_bytes;    /* cumulatively */
    uint32_t delivered_bytes; /* acknowledged for the first time, either way */
    uint32_t prior_high_sacked;
    bool is_duplicate;       /* RFC 5681's duplicate ACK */
    bool is_bare;            /* it acknowledges nothing new, and carries neither data nor SACK blocks */
    bool dsack;
};
/* r has been delivered: what RACK learns from it. */
void tcp_rack_delivered(struct tcp *t, const struct tcp_run *r);
void tcp_recovery_on_ack(struct tcp *t, const struct tcp_ack_effect *e);
void tcp_recovery_on_timeout(struct tcp *t);
/* The path takes smaller packets only: what is in flight goes out again, cut anew. No congestion. */
void tcp_recovery_on_too_big(struct tcp *t);
/* Marks what RACK holds for lost; enters recovery where something is. True: something new. */
bool tcp_detect_losses(struct tcp *t);
/* The send timer, started anew: after an ACK that changed something, and after its expiry. */
void tcp_arm_send_timer(struct tcp *t);
/* Something was sent: starts the timer where it does not run for a retransmission already (RFC 6298 5.1). */
void tcp_arm_send_timer_after_sending(struct tcp *t);

/* ---- tcp_receive.c ---- */
void tcp_loss_seen(struct tcp *t);      /* of the peer's segments, or of our ACKs */
enum drop tcp_receive_data(struct tcp *t, struct tcp_segment *s, const struct packet *p);
void tcp_receive_fin(struct tcp *t);
/* The window to offer now, in octets; never takes back what was offered. */
uint32_t tcp_receive_window(struct tcp *t);
void tcp_consume(struct tcp *t, uint32_t len_bytes);
/* SACK blocks for a header with room for `max` of them; the first may be a DSACK. */
uint8_t tcp_sack_blocks(struct tcp *t, struct tcp_range *blocks, uint8_t max);
void tcp_out_of_order_clear(struct tcp *t);

/* ---- tcp_output.c ---- */
bool tcp_output(void *engine, struct flow *f, uint64_t now_ns);
bool tcp_has_new_for_probe(const struct tcp *t); /* a tail probe can carry new data */
/* RST for a segment that belongs to no connection (RFC 9293 3.10.7.1). */
void tcp_send_reset_for(struct tcp_engine *e, const struct ip_header *ip, const struct tcp_segment *s);
/* RST for a connection of ours. */
void tcp_send_reset(struct tcp *t);
/* RST for one in SYN-RECEIVED, and only clients that have our SYN-ACK believe it: one in SYN-SENT wants an acknowledgment
 * (RFC 9293 3.10.7.3), so its next SYN begins anew. */
void tcp_send_handshake_reset(struct tcp *t);
/* ICMP about the client's SYN. */
void tcp_send_unreachable(struct tcp *t, int verdict);
/* Limited per flow and in all (RFC 5961 section 7, with what CVE-2016-5696 taught). */
void tcp_send_challenge(struct tcp *t);

/* ---- tcp_timer.c ---- */
void tcp_set_timer(struct tcp *t, enum tcp_timer which, uint64_t deadline_ns); /* WHEEL_NEVER: stop */
void tcp_expire(void *engine, struct flow *f, uint64_t now_ns);
/* Its handshake ends for another flow (net/handshake.h). */
void tcp_evict(void *engine, struct flow *f);
/* Memory is short: out-of-order queues and what waits in TIME-WAIT go. */
void tcp_relieve(void *engine, uint64_t now_ns);
/* What the life timer waits for in this state. */
void tcp_arm_life_timer(struct tcp *t);
uint64_t tcp_rto_ns(const struct tcp *t); /* with its backoff */
uint32_t tcp_rto_of_rtt_us(const struct tcp *t); /* what the round trips timed so far ask for */
