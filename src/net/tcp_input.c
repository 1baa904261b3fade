/* SPDX-License-Identifier: MIT */
/* tcp_input: segments in, by RFC 9293 section 3.10.7, each step of which is a function here, in the RFC's order:
 *
 *   no such flow ------------------ tcp_input_unknown     3.10.7.1, .2 (LISTEN: every SYN is a new flow)
 *   SYN-SENT ---------------------- tcp_input_syn_sent    3.10.7.3
 *   TIME-WAIT --------------------- tcp_input_time_wait   RFC 6191, 1337
 *   all others -------------------- tcp_segment           3.10.7.4
 *        first   tcp_check_sequence    and PAWS (RFC 7323)
 *        second  tcp_check_reset       RFC 5961 section 3
 *        third   security: there is none
 *        fourth  tcp_check_syn         RFC 5961 section 4
 *        fifth   tcp_check_ack         RFC 5961 section 5
 *        sixth   URG: the pointer is ignored, the octets are read inline
 *        seventh tcp_check_data
 *        eighth  tcp_check_fin
 *
 * A super-segment is one segment: sequence arithmetic does not care how long it is. Each step returns DROP_NONE to go on, or the
 * verdict; what it answered is on its way by then. Nothing in here trusts the peer. */
#include <string.h>
#include "net/tcp_private.h"
#include "net/tcp_answer.h"
#include "base/bytes.h"

/* ---------------------------------------------------------------------------------- helper steps -- */

static void tcp_answer_now(struct tcp *t)
{
    t->ack_now = true;
    tcp_wants_output(t);
}

static void tcp_heard(struct tcp *t)
{
    if (tcp_is_awake(t))
        t->work->persist_probes = 0;
    t->heard_ns = t->work->engine->now_ns;
    if (t->probes > 0) {
        t->probes = 0;
        tcp_arm_life_timer(t);
    }
}

static bool tcp_is_timestamp_forgotten(const struct tcp *t)
{
    return (uint16_t)(tcp_now_hour(t) - t->ts_recent_hour) >= TCP_PAWS_IDLE_HOURS;
}

/* RFC 7323 section 4.3. Only from a segment whose acknowledgment was believed as well: a blind one must not set the clock. */
static void tcp_take_timestamp(struct tcp *t, const struct tcp_segment *s)
{
    if (!t->ts_on || !s->has_ts || seq_lt(t->work->rcv_acked, s->seq))
        return;
    if (seq_lt(s->ts_val, t->ts_recent) && !tcp_is_timestamp_forgotten(t))
        return;
    t->ts_recent = s->ts_val;
    t->ts_recent_hour = tcp_now_hour(t);
}

static void tcp_established(struct tcp *t, const struct tcp_segment *s)
{
    uint8_t shift = t->wscale_on && !(s->flags & TCP_SYN) ? t->snd_wscale_log2 : 0;

    t->snd_una = t->snd_nxt = s->ack; /* snd_nxt: a repetition of our SYN may be due, and is not needed any more */
    t->work->high_sacked = s->ack;
    t->snd_wnd = t->snd_wnd_max = (uint32_t)s->wnd << shift;
    t->snd_wl1 = s->seq;
    t->snd_wl2 = s->ack;
    t->work->backoff_log2 = 0;
    if (t->work->timed_ns)
        tcp_rtt_sample(t, t->work->engine->now_ns - t->work->timed_ns);
    else
        t->work->rto_us = TCP_RTO_AFTER_LOST_SYN_US;
    if (t->retransmits > 1)
        t->work->cc.cwnd_bytes = t->snd_mss_bytes; /* RFC 6928 section 2: one may have been late, two were lost */
    t->work->send_timer = TCP_SEND_IDLE;
    tcp_set_timer(t, TCP_TIMER_SEND, WHEEL_NEVER);
    tcp_set_timer(t, TCP_TIMER_REST, t->work->engine->now_ns + TCP_REST_NS);
    tcp_enter(t, TCP_ESTABLISHED);
    tcp_notify(t);
    if (t->fin_wanted)
        tcp_wants_output(t);
}

/* A handshake's segment that acknowledges what was never sent: RST, by its own number. */
static void tcp_refuse(struct tcp *t, const struct tcp_segment *s)
{
    struct ip_header ip = {.proto = IP_PROTO_TCP};

    memcpy(ip.src, t->flow.key.client, 16);
    memcpy(ip.dst, t->flow.key.remote, 16);
    tcp_send_reset_for(t->work->engine, &ip, s);
}

/* A valid RST. */
static enum drop tcp_reset_received(struct tcp *t)
{
    switch ((enum tcp_state)t->state) {
    case TCP_SYN_SENT:
        tcp_end(t, ADIT_EREFUSED);
        break;
    case TCP_CLOSING:
    case TCP_LAST_ACK: /* both have said all; only our FIN, or data in front of it, is unacknowledged */
        tcp_end(t, t->work->tx.bytes > 0 ? ADIT_ERESET : 0);
        break;
    case TCP_PENDING:
    case TCP_SYN_RECEIVED:
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_CLOSED:
    case TCP_TIME_WAIT:
    case TCP_STATES:
        tcp_end(t, ADIT_ERESET);
        break;
    }
    return DROP_TCP_RESET;
}

/* ------------------------------------------------------- first: sequence number, and timestamps -- */

static bool tcp_is_acceptable(const struct tcp *t, const struct tcp_segment *s)
{
    uint32_t span = tcp_segment_span(s), last = s->seq + span - 1;

    if (span == 0) /* the right edge itself is where a sender that has filled the window stands */
        return seq_le(t->rcv_nxt, s->seq) && seq_le(s->seq, t->rcv_edge);
    if (t->rcv_edge == t->rcv_nxt) /* zero window: ACKs are let through, the octets are not */
        return s->seq == t->rcv_nxt;
    return (seq_le(t->rcv_nxt, s->seq) && seq_lt(s->seq, t->rcv_edge)) ||
           (seq_le(t->rcv_nxt, last) && seq_lt(last, t->rcv_edge));
}

static bool tcp_fails_paws(const struct tcp *t, const struct tcp_segment *s)
{
    return t->ts_on && s->has_ts && !(s->flags & TCP_RST) && seq_lt(s->ts_val, t->ts_recent) &&
           !tcp_is_timestamp_forgotten(t);
}

/* The answer to a segment that is not acceptable. Those that carry something deserve an ACK each (the peer repeats what
 * we have); empty ones are limited, or two hosts with different ideas would answer each other for ever. */
static void tcp_answer_unacceptable(struct tcp *t, const struct tcp_segment *s)
{
    if (s->flags & TCP_RST)
        return;
    if (s->len_bytes > 0 || (s->flags & TCP_FIN))
        tcp_answer_now(t);
    else
        tcp_send_challenge(t);
}

static enum drop tcp_check_sequence(struct tcp *t, const struct tcp_segment *s)
{
    if (tcp_fails_paws(t, s)) {
        tcp_answer_unacceptable(t, s);
        return DROP_TCP_PAWS;
    }
    if (tcp_is_acceptable(t, s)) {
        tcp_heard(t);
        return DROP_NONE;
    }
    if (s->flags & TCP_RST)
        return DROP_TCP_SEQUENCE;
    /* A repeated SYN: our SYN-ACK was lost. */
    if (t->state == TCP_SYN_RECEIVED && (s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
        s->seq == t->work->irs) {
        t->snd_nxt = t->iss;
        t->retransmits++;
        tcp_wants_output(t);
        return DROP_TCP_DUPLICATE;
    }
    if (s->len_bytes > 0 && seq_le(s->seq + tcp_segment_span(s), t->rcv_nxt)) {
        if (tcp_wake(t)) {
            t->work->dsack = (struct tcp_range){.from = s->seq, .to = s->seq + s->len_bytes};
            t->work->dsack_count = 1;
        }
        t->heard_ns = t->work->engine->now_ns;
        tcp_loss_seen(t);
        tcp_answer_now(t);
        return DROP_TCP_DUPLICATE;
    }
    /* Keepalives and window probes come from just below the window: they show that the peer lives. */
    if (s->len_bytes == 0 && s->seq == t->rcv_nxt - 1) {
        t->heard_ns = t->work->engine->now_ns;
        tcp_answer_now(t);
        return DROP_TCP_SEQUENCE;
    }
    tcp_answer_unacceptable(t, s);
    return DROP_TCP_SEQUENCE;
}

/* ------------------------------------------------------------------------- second, fourth, fifth -- */

static enum drop tcp_check_reset(struct tcp *t, const struct tcp_segment *s)
{
    if (!(s->flags & TCP_RST))
        return DROP_NONE;
    if (s->seq == t->rcv_nxt)
        return tcp_reset_received(t);
    tcp_send_challenge(t);
    return DROP_TCP_RESET_CHALLENGED;
}

static enum drop tcp_check_syn(struct tcp *t, const struct tcp_segment *s)
{
    if (!(s->flags & TCP_SYN))
        return DROP_NONE;
    tcp_send_challenge(t);
    return DROP_TCP_SYN_CHALLENGED;
}

static enum drop tcp_check_handshake_ack(struct tcp *t, const struct tcp_segment *s)
{
    if (s->ack != t->iss + 1) {
        tcp_refuse(t, s);
        return DROP_TCP_BAD_SYN_ACK;
    }
    tcp_established(t, s);
    return DROP_NONE;
}

static void tcp_fin_acknowledged(struct tcp *t)
{
    switch ((enum tcp_state)t->state) {
    case TCP_FIN_WAIT_1:
        tcp_enter(t, TCP_FIN_WAIT_2);
        break;
    case TCP_CLOSING:
        tcp_enter(t, TCP_TIME_WAIT);
        tcp_notify(t);
        break;
    case TCP_LAST_ACK:
        tcp_end(t, 0);
        break;
    case TCP_CLOSED:
    case TCP_PENDING:
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_TIME_WAIT:
    case TCP_STATES:
        break;
    }
}

static enum drop tcp_check_ack(struct tcp *t, const struct tcp_segment *s)
{
    if (!(s->flags & TCP_ACK))
        return DROP_TCP_NO_ACK;
    if (t->state == TCP_SYN_RECEIVED) {
        enum drop why = tcp_check_handshake_ack(t, s);

        if (why != DROP_NONE)
            return why;
    }
    if (seq_lt(t->snd_nxt, s->ack)) {
        tcp_send_challenge(t);
        return DROP_TCP_ACK_FUTURE;
    }
    if (seq_lt(s->ack, t->snd_una - t->snd_wnd_max)) {
        tcp_send_challenge(t);
        return DROP_TCP_ACK_OLD;
    }
    tcp_take_timestamp(t, s);
    tcp_ack_received(t, s);
    if (t->fin_sent && t->snd_una == t->snd_nxt)
        tcp_fin_acknowledged(t);
    return DROP_NONE;
}

/* --------------------------------------------------------------------------------- seventh, eighth -- */

static enum drop tcp_check_data(struct tcp *t, struct tcp_segment *s, const struct packet *p)
{
    if (s->len_bytes == 0)
        return DROP_NONE;
    if (!tcp_can_receive(t))
        return t->state == TCP_CLOSED || t->state == TCP_TIME_WAIT ? DROP_NONE : DROP_TCP_DUPLICATE;
    if (t->closed_by_handler) {
        tcp_send_reset(t);
        tcp_end(t, ADIT_ERESET);
        return DROP_TCP_CLOSED_READING;
    }
    return tcp_receive_data(t, s, p);
}

static void tcp_check_fin(struct tcp *t, const struct tcp_segment *s)
{
    if ((s->flags & TCP_FIN) && tcp_can_receive(t)) {
        t->fin_early = true;
        t->work->fin_seq = s->seq + s->len_bytes;
        if (t->work->fin_seq != t->rcv_nxt)
            tcp_answer_now(t);
    }
    if (t->fin_early && t->work->fin_seq == t->rcv_nxt && tcp_can_receive(t))
        tcp_receive_fin(t);
}

static enum drop tcp_segment(struct tcp *t, struct tcp_segment *s, const struct packet *p)
{
    enum drop why = tcp_check_sequence(t, s);

    if (why == DROP_NONE)
        why = tcp_check_reset(t, s);
    if (why == DROP_NONE)
        why = tcp_check_syn(t, s);
    if (why == DROP_NONE && !tcp_wake(t))
        why = DROP_NO_MEMORY; /* as if it had been lost */
    if (why == DROP_NONE)
        why = tcp_check_ack(t, s);
    if (why != DROP_NONE)
        return why;
    why = tcp_check_data(t, s, p);
    if (why == DROP_NONE || why == DROP_TCP_DUPLICATE) /* its octets may be known and its FIN new */
        tcp_check_fin(t, s);
    return why;
}

/* ------------------------------------------------------------------------------- the other states -- */

static enum drop tcp_input_pending(struct tcp *t, const struct tcp_segment *s)
{
    if ((s->flags & TCP_RST) && s->seq == t->rcv_nxt) {
        tcp_end(t, ADIT_ERESET);
        return DROP_TCP_PENDING_RESET;
    }
    if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && s->seq == t->work->irs && s->has_ts &&
        t->ts_on)
        t->ts_recent = s->ts_val; /* answer the newest copy, so that the client times it rightly */
    return DROP_TCP_PENDING;
}

static enum drop tcp_input_syn_sent(struct tcp *t, const struct tcp_segment *s)
{
    bool acked = (s->flags & TCP_ACK) != 0;

    if (acked && s->ack != t->iss + 1) {
        if (!(s->flags & TCP_RST))
            tcp_refuse(t, s);
        return DROP_TCP_BAD_SYN_ACK;
    }
    if (s->flags & TCP_RST)
        return acked ? tcp_reset_received(t) : DROP_TCP_SEQUENCE;
    if (!(s->flags & TCP_SYN))
        return DROP_TCP_NO_ACK;
    tcp_take_syn_options(t, s);
    t->heard_ns = t->work->engine->now_ns;
    if (acked) {
        tcp_established(t, s);
        tcp_answer_now(t);
        return DROP_NONE;
    }
    /* Simultaneous open: answer with our SYN again, and their number acknowledged. */
    t->snd_nxt = t->iss;
    t->retransmits++;
    tcp_enter(t, TCP_SYN_RECEIVED);
    tcp_wants_output(t);
    return DROP_NONE;
}

/* RFC 6191: a SYN that is newer than the old connection (by timestamp, else by sequence number) ends its TIME-WAIT. */
static bool tcp_may_reuse(const struct tcp *t, const struct tcp_segment *s)
{
    if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN || t->flow.owner)
        return false;
    if (t->ts_on && s->has_ts && s->ts_val != t->ts_recent)
        return seq_lt(t->ts_recent, s->ts_val);
    return seq_lt(t->rcv_nxt, s->seq);
}

static void tcp_restart_time_wait(struct tcp *t)
{
    tcp_arm_life_timer(t);
    list_remove(&t->wait_node);
    list_push_back(&t->work->engine->time_wait, &t->wait_node);
}

static enum drop tcp_input_time_wait(struct tcp *t, const struct tcp_segment *s)
{
    if (s->flags & TCP_RST)
        return DROP_TCP_TIME_WAIT; /* RFC 1337 */
    if (s->flags & TCP_SYN)
        tcp_send_challenge(t);
    else if ((s->flags & TCP_FIN) && s->seq + s->len_bytes + 1 == t->rcv_nxt)
        tcp_restart_time_wait(t); /* our last ACK was lost: 2 MSL once more */
    if (tcp_segment_span(s) > 0 && !(s->flags & TCP_SYN))
        tcp_answer_now(t);
    return DROP_TCP_TIME_WAIT;
}

static void flow_key_of(struct flow_key *key, const struct ip_header *ip,
                        const struct tcp_segment *s)
{
    *key = (struct flow_key){
        .client_port = s->src_port, .remote_port = s->dst_port, .proto = IP_PROTO_TCP};
    memcpy(key->client, ip->src, 16);
    memcpy(key->remote, ip->dst, 16);
}

/* Why there is no room for one more flow of this client, or DROP_NONE. t is counted already, but not as half-open. */
static enum drop tcp_client_limit(const struct tcp *t)
{
    const struct tcp_engine *e = t->work->engine;

    if (t->flow.client->tcp > e->net->config.tcp_per_client_max)
        return DROP_TCP_CLIENT_LIMIT;
    if (!handshake_has_room(e->net, t->flow.client, e->now_ns))
        return DROP_TCP_SYN_CLIENT_LIMIT;
    return DROP_NONE;
}

static void tcp_discard(struct tcp *t)
{
    tcp_enter(t, TCP_CLOSED);
    tcp_free(t);
}

/* Whether the decision sends it to the kernel, and that can take it. */
static bool tcp_is_for_kernel(const struct tcp *t, const struct ip_header *ip, const adit_decision *d)
{
    const struct net_kernel *k = t->work->engine->net->kernel;

    if (!k || d->stack != ADIT_STACK_SYSTEM || (d->verdict != ADIT_DEFER && d->verdict != ADIT_ACCEPT))
        return false;
    return k->is_ready(k->ctx, ip->version, t->work->engine->now_ns);
}

/* Carries out prepare()'s decision about a flow that was just made. */
static enum drop tcp_decide(struct tcp *t, const struct ip_header *ip, const struct packet *p)
{
    struct net *net = t->work->engine->net;
    adit_decision d = {.size = sizeof(d), .verdict = ADIT_DEFER};
    int verdict = net_prepare(net, &t->flow, &d);

    if (tcp_is_for_kernel(t, ip, &d)) {
        uint64_t id = t->flow.id;

        tcp_discard(t);
        return net->kernel->take(net->kernel->ctx, ip, p, &d, id);
    }
    t->flow.mark = d.mark;
    t->idle_ms = d.idle_ms;
    if (verdict == ADIT_DEFER || verdict == ADIT_ACCEPT) {
        tcp_enter(t, TCP_PENDING);
        if (verdict == ADIT_ACCEPT) {
            t->accept_early = true;
            return t->flow.stream.ops->accept(&t->flow.stream) == 0 ? DROP_NONE : DROP_NO_MEMORY;
        }
        tcp_notify(t);
        return DROP_NONE;
    }
    net->stats.tcp_rejected++;
    if (verdict == ADIT_RESET)
        tcp_send_reset(t);
    else if (icmp_kind_of_verdict(verdict) != ICMP_OTHER)
        (void)icmp_error(net, ip, p->data, p->len_bytes, icmp_kind_of_verdict(verdict), 0, NULL,
                         t->work->engine->now_ns);
    tcp_discard(t);
    return DROP_TCP_SYN_REJECTED;
}

/* newer_than: the last sequence number of a connection whose TIME-WAIT this one cuts short. */
static enum drop tcp_input_new(struct tcp_engine *e, const struct ip_header *ip,
                               const struct tcp_segment *s, const struct packet *p,
                               const uint32_t *newer_than)
{
    enum drop why;
    struct flow_key key;
    struct tcp *t;

    if (!handshake_has_room(e->net, NULL, e->now_ns))
        return DROP_TCP_SYN_LIMIT;
    flow_key_of(&key, ip, s);
    t = tcp_new(e, &key, &why);
    if (!t)
        return why;
    why = tcp_client_limit(t);
    if (why != DROP_NONE) {
        tcp_discard(t);
        return why;
    }
    if (newer_than && seq_le(t->iss, *newer_than))
        tcp_set_iss(t, *newer_than + TCP_ISS_STEP);
    t->passive = true;
    t->flow.dscp = ip->tos >> 2;
    tcp_take_syn_options(t, s);
    return tcp_decide(t, ip, p);
}

/* LISTEN and CLOSED: a SYN begins a flow, anything else but a RST is answered by one. */
static enum drop tcp_input_unknown(struct tcp_engine *e, const struct ip_header *ip,
                                   const struct tcp_segment *s, const struct packet *p)
{
    if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN)
        return tcp_input_new(e, ip, s, p, NULL);
    if (!(s->flags & TCP_RST))
        tcp_send_reset_for(e, ip, s);
    return DROP_TCP_NO_FLOW;
}

/* ------------------------------------------------------------------------------------ the entries -- */

enum drop tcp_input(void *engine, const struct ip_header *ip, const struct packet *p,
                    uint64_t now_ns)
{
    struct tcp_engine *e = engine;
    struct tcp_segment s;
    struct flow_key key;
    struct flow *f;
    struct tcp *t;
    uint32_t hash;
    enum drop why = tcp_parse(&s, p->data + ip->header_bytes, ip->payload_bytes);

    e->now_ns = now_ns;
    if (why != DROP_NONE)
        return why;
    if (!tcp_checksum_is_right(e->net, ip, p))
        return DROP_TCP_CHECKSUM;
    s.gso_bytes = p->gso_bytes;
    flow_key_of(&key, ip, &s);
    hash = flow_hash(&e->net->flows, &key);
    f = flow_find(&e->net->flows, &key, hash);
    if (!f)
        return net_hand_over(e->net, hash, p, &why) ? why : tcp_input_unknown(e, ip, &s, p);
    t = tcp_of_flow(f);
    if (t->state == TCP_TIME_WAIT) {
        uint32_t last = t->snd_nxt;

        if (!tcp_may_reuse(t, &s))
            return tcp_input_time_wait(t, &s);
        tcp_discard(t);
        return tcp_input_new(e, ip, &s, p, &last);
    }
    if (t->state == TCP_PENDING)
        return tcp_input_pending(t, &s);
    if (t->state == TCP_SYN_SENT)
        return tcp_input_syn_sent(t, &s);
    return tcp_segment(t, &s, p);
}

/* 0: no answer to a SYN. */
static int tcp_code_of_unreachable(enum icmp_kind kind)
{
    if (kind == ICMP_UNREACH_PORT || kind == ICMP_UNREACH_PROTOCOL)
        return ADIT_EREFUSED;
    if (kind == ICMP_UNREACH_NET)
        return ADIT_ENETUNREACH;
    return kind == ICMP_UNREACH_HOST || kind == ICMP_UNREACH_ADMIN ? ADIT_EHOSTUNREACH : 0;
}

/* RFC 5927: believed only when the quoted sequence number is in flight. */
enum drop tcp_icmp_error(void *engine, const struct ip_header *quoted_ip, const uint8_t *quoted,
                         const struct icmp_message *m, uint64_t now_ns)
{
    struct tcp_engine *e = engine;
    struct flow_key key = {.proto = IP_PROTO_TCP};
    uint32_t seq = get_be32(quoted + 4), floor;
    struct flow *f;
    struct tcp *t;

    e->now_ns = now_ns;
    key.client_port = get_be16(quoted + 2);
    key.remote_port = get_be16(quoted);
    memcpy(key.client, quoted_ip->dst, 16);
    memcpy(key.remote, quoted_ip->src, 16);
    f = flow_find(&e->net->flows, &key, flow_hash(&e->net->flows, &key));
    t = f ? tcp_of_flow(f) : NULL;
    if (!t || t->state < TCP_SYN_SENT || seq_lt(seq, t->snd_una) || !seq_lt(seq, t->snd_nxt))
        return DROP_ICMP_ERROR_UNRELATED;
    if (m->kind == ICMP_TOO_BIG && tcp_is_synchronized(t)) {
        floor = tcp_is_v6(t) ? TCP_PMTU_MIN_6 : TCP_PMTU_MIN_4;
        if (m->mtu_bytes >= t->pmtu_bytes)
            return DROP_ICMP_ERROR_UNRELATED;
        t->pmtu_bytes = (uint16_t)(m->mtu_bytes > floor ? m->mtu_bytes : floor);
        t->pmtu_minute = tcp_now_minute(t);
        tcp_set_mss(t);
        tcp_recovery_on_too_big(t);
        tcp_wants_output(t);
    } else if (t->state == TCP_SYN_SENT && tcp_code_of_unreachable(m->kind) != 0) {
        tcp_end(t, tcp_code_of_unreachable(m->kind)); /* later a soft error, now the answer: 9293 3.9.2.2 */
    }
    return DROP_NONE;
}
