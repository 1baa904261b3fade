/* SPDX-License-Identifier: MIT */
/* tcp_output: segments out. Called once a turn for a flow on the output list:
 *
 *   what was lost, as far as cwnd allows -> new data, as far as cwnd and the peer's window allow (with the FIN behind the last
 *   octet) -> a tail loss probe, a window or keepalive probe -> an ACK, where nothing that was sent carried it
 *
 * Segments are as long as the windows allow, up to 64 KiB, and up to 260 KiB over IPv4 to a device that takes such: it takes
 * them whole or cuts them (dev/offload.c). There is no Nagle: a handler hands over what it has, and the last piece of it goes
 * at once. Sender's silly-window avoidance: a piece smaller than a segment that is cut short by the peer's window waits, unless
 * it is half of the largest window ever offered, or has waited for a persist timeout (RFC 9293 3.8.6.2.1). Probes of a closed
 * window and keepalives are empty segments just below the window, which every TCP answers (RFC 1122 4.2.3.6); the octet that
 * RFC 9293 3.8.6.1 would send can be refused, this cannot.
 *
 * When the device is full, or net_output() has sent its share, the flow stays on the output list and nothing has changed. */
#include <string.h>
#include "net/tcp_private.h"
#include "net/tcp_answer.h"

/* What one segment is to carry. */
struct tcp_outgoing {
    uint32_t seq;
    uint8_t flags;
    struct span_place at; /* of its data */
    uint32_t len_bytes;   /* may come out shorter: slices are bounded */
};

/* ----------------------------------------------------------------------------------- one segment -- */

static void flow_ip_header(const struct tcp *t, struct ip_header *ip)
{
    *ip = (struct ip_header){.version = tcp_is_v6(t) ? 6 : 4};
    memcpy(ip->src, t->flow.key.remote, 16);
    memcpy(ip->dst, t->flow.key.client, 16);
}

static void tcp_fill_options(struct tcp *t, struct tcp_segment *s)
{
    s->has_ts = t->ts_on;
    s->ts_val = tcp_ts_now(t);
    s->ts_ecr = t->ts_recent;
    if (s->flags & TCP_SYN) {
        uint32_t headers = (tcp_is_v6(t) ? IP6_HEADER_BYTES : IP4_HEADER_BYTES) + TCP_HEADER_BYTES;
        uint32_t mss = t->work->engine->net->config.mtu_bytes - headers;
        uint32_t clamp = t->work->engine->net->config.mss_clamp_bytes;

        s->has_mss = true;
        s->mss_bytes = (uint16_t)(clamp > 0 && clamp < mss ? clamp : mss);
        s->has_wscale = t->wscale_on;
        s->wscale_log2 = t->rcv_wscale_log2;
        s->sack_permitted = t->sack_on;
    } else if (t->work->islands || t->work->dsack_count > 0) {
        s->sacks_count = tcp_sack_blocks(t, s->sacks, t->ts_on ? 3 : TCP_SACKS_MAX);
    }
}

/* The window for the header, and the edge that it promises. Scaling rounds it down: what the peer reads may end a little before
 * the edge, up to which octets are accepted all the same (RFC 7323 2.4). Rounding up would offer the difference again with each
 * small segment, for ever. */
static uint16_t tcp_window_field(struct tcp *t, bool scaled)
{
    uint8_t shift = scaled ? t->rcv_wscale_log2 : 0;
    uint32_t window = tcp_receive_window(t), field = window >> shift;

    if (field > UINT16_MAX)
        field = UINT16_MAX;
    t->rcv_edge = seq_max(t->rcv_edge, t->rcv_nxt + (field << shift));
    return (uint16_t)field;
}

static void tcp_acked_all(struct tcp *t)
{
    if (tcp_is_awake(t)) {
        t->work->rcv_acked = t->rcv_nxt;
        t->work->unacked_bytes = 0;
    }
    t->ack_now = t->ack_later = false;
    tcp_set_timer(t, TCP_TIMER_ACK, WHEEL_NEVER);
}

/* SACK blocks take their room from the payload of each segment. */
static uint16_t tcp_gso_bytes(const struct tcp *t, const struct tcp_segment *s,
                              uint32_t payload_bytes)
{
    uint16_t mss = t->snd_mss_bytes;

    if (s->sacks_count > 0)
        mss = (uint16_t)(mss - (4 + 8 * s->sacks_count));
    return payload_bytes > mss ? mss : 0;
}

/* False: the device is full, or enough was sent for now. o->len_bytes is what went. */
static bool tcp_send(struct tcp *t, struct tcp_outgoing *o)
{
    struct net *net = t->work->engine->net;
    struct packet_out p;
    struct ip_header ip;
    bool is_syn = (o->flags & TCP_SYN) != 0;
    struct tcp_segment s = {
        .src_port = t->flow.key.remote_port,
        .dst_port = t->flow.key.client_port,
        .seq = o->seq,
        .ack = o->flags & TCP_ACK ? t->rcv_nxt : 0,
        .flags = o->flags,
    };
    bool sent;

    if (o->len_bytes > 0 && net->output_left == 0)
        return false;
    p.slices_count = 0;
    p.payload_bytes = 0;
    if (o->len_bytes > 0) {
        int n = span_view(&t->work->tx, o->at, o->len_bytes, p.slices, PACKET_SLICES_MAX);

        p.slices_count = (uint8_t)n;
        for (int i = 0; i < n; i++)
            p.payload_bytes += (uint32_t)p.slices[i].len;
        if (p.payload_bytes < o->len_bytes) { /* more pieces than slices: the rest goes next */
            o->len_bytes = p.payload_bytes;
            s.flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
            o->flags = s.flags;
        }
    }
    s.wnd = tcp_window_field(t, !is_syn);
    tcp_fill_options(t, &s);
    p.gso_bytes = tcp_gso_bytes(t, &s, p.payload_bytes);
    flow_ip_header(t, &ip);
    tcp_out_begin(net, &p, &ip, &s);
    sent = net_send(net, &p);
    if (sent && (o->flags & TCP_ACK))
        tcp_acked_all(t);
    return sent;
}

static bool tcp_send_empty(struct tcp *t, uint32_t seq, uint8_t flags)
{
    struct tcp_outgoing o = {.seq = seq, .flags = flags};

    return tcp_send(t, &o);
}

/* ------------------------------------------------------------------------------------------ handshake -- */

static bool tcp_output_handshake(struct tcp *t)
{
    uint8_t flags = t->state == TCP_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK;

    if (t->snd_nxt == t->iss) {
        if (!tcp_send_empty(t, t->iss, flags))
            return false;
        t->snd_nxt = t->iss + 1;
        t->work->timed_ns = t->retransmits == 0 ? t->work->engine->now_ns : 0;
        t->work->send_timer = TCP_SEND_RTO;
        tcp_set_timer(t, TCP_TIMER_SEND, t->work->engine->now_ns + tcp_rto_ns(t));
    }
    if (t->ack_now && t->state == TCP_SYN_RECEIVED)
        return tcp_send_empty(t, t->snd_nxt, TCP_ACK);
    return true;
}

/* -------------------------------------------------------------------------------------- retransmission -- */

static uint32_t run_data_bytes(const struct tcp_run *r)
{
    return r->end - r->seq - r->fin;
}

/* Sends (the front of) a run again. False: the device is full. */
static bool tcp_send_run(struct tcp *t, struct tcp_run *r, uint32_t len_bytes)
{
    struct tcp_outgoing o = {.seq = r->seq, .flags = TCP_ACK, .at = r->at, .len_bytes = len_bytes};
    struct net_stats *stats = &t->work->engine->net->stats;
    uint32_t segments;

    if (len_bytes == run_data_bytes(r) && r->fin)
        o.flags |= TCP_FIN;
    if (r->seq + len_bytes == tcp_tx_end(t))
        o.flags |= TCP_PSH;
    if (!tcp_send(t, &o))
        return false;
    if (o.len_bytes < run_data_bytes(r))
        (void)tcp_run_split(
            t, r,
            r->seq +
                o.len_bytes); /* if it cannot be split, more was promised than sent: RACK repairs */
    r->sent_ns = t->work->engine->now_ns;
    r->retransmitted = true;
    tcp_run_set_state(t, r, TCP_RUN_FLYING);
    segments = (o.len_bytes + t->snd_mss_bytes - 1) / t->snd_mss_bytes;
    segments = segments > 0 ? segments : 1;
    t->retransmits += segments;
    stats->tcp_segments_retransmitted += segments;
    if (t->work->recovery == TCP_RECOVERY)
        stats->tcp_fast_retransmits += segments;
    t->work->prr_out += o.len_bytes;
    return true;
}

static uint32_t tcp_cwnd_room(const struct tcp *t)
{
    uint32_t pipe = tcp_pipe(t), cwnd = t->work->cc.cwnd_bytes;

    if (!t->sack_on &&
        t->work->recovery == TCP_OPEN) /* limited transmit (RFC 3042); with SACK pipe shrinks by itself */
        cwnd += (t->work->dup_acks < 2u ? t->work->dup_acks : 2u) * t->snd_mss_bytes;
    return cwnd > pipe ? cwnd - pipe : 0;
}

static uint32_t whole_segments(const struct tcp *t, uint32_t len_bytes)
{
    return len_bytes - len_bytes % t->snd_mss_bytes;
}

static uint32_t tcp_segment_bytes_max(const struct tcp *t)
{
    bool is_big = t->work->engine->net->config.device_big_tcp4 && ip_is_mapped4(t->flow.key.client);

    return is_big ? PACKET_BIG_PAYLOAD_BYTES_MAX : TCP_SEGMENT_BYTES_MAX;
}

static bool tcp_send_lost(struct tcp *t)
{
    struct list *node;

    while ((node = list_first(&t->work->lost)) != NULL) {
        struct tcp_run *r = LIST_ENTRY(node, struct tcp_run, time_node);
        uint32_t len = run_data_bytes(r), room = tcp_cwnd_room(t);

        if (room < t->snd_mss_bytes && room < len)
            break;
        if (len > room)
            len = whole_segments(t, room);
        if (len > tcp_segment_bytes_max(t))
            len = whole_segments(t, tcp_segment_bytes_max(t));
        if (!tcp_send_run(t, r, len))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------- new data -- */

/* Octets of new data that may go in one segment now. */
static uint32_t tcp_sendable(struct tcp *t, uint32_t unsent)
{
    uint32_t right = t->snd_una + t->snd_wnd, window, room = tcp_cwnd_room(t), len = unsent;
    uint32_t max = tcp_segment_bytes_max(t);

    window = seq_lt(t->snd_nxt, right) ? right - t->snd_nxt : 0;
    if (len > window)
        len = window;
    if (len > room) {
        t->cwnd_limited = true;
        return whole_segments(t, room < max ? room : max);
    }
    if (len > max)
        return whole_segments(t, max);
    if (len == unsent || len < t->snd_mss_bytes) /* the last piece; or a small window */
        return len == unsent || len >= t->snd_wnd_max / 2 || t->sws_override ? len : 0;
    return whole_segments(t, len);
}

static struct tcp_run *run_new(struct tcp *t)
{
    struct tcp_run *r;

    if (t->work->runs_count >= TCP_RUNS_MAX)
        return NULL;
    r = pool_get(&t->work->engine->run_pool);
    if (!r)
        return NULL;
    list_init(&r->node);
    list_init(&r->time_node);
    t->work->runs_count++;
    return r;
}

static void tcp_fin_left(struct tcp *t)
{
    t->fin_sent = true;
    if (t->state == TCP_ESTABLISHED)
        tcp_enter(t, TCP_FIN_WAIT_1);
    else if (t->state == TCP_CLOSE_WAIT)
        tcp_enter(t, TCP_LAST_ACK);
}

/* Whether the peer should be asked (by PSH) to hand over what it has, and to answer: nothing follows this, or nothing before an
 * ACK comes. Without it Linux keeps the ACK of a single segment back for 40 ms. */
static bool tcp_is_pushed(const struct tcp *t, uint32_t len_bytes)
{
    return len_bytes > 0 &&
           (t->snd_nxt + len_bytes == tcp_tx_end(t) || tcp_cwnd_room(t) < len_bytes + t->snd_mss_bytes);
}

/* One segment of new data, with the FIN where it is the last. */
static bool tcp_send_next(struct tcp *t, uint32_t len_bytes, bool fin)
{
    struct tcp_outgoing o = {
        .seq = t->snd_nxt, .flags = TCP_ACK, .at = t->work->tx_next, .len_bytes = len_bytes};
    struct tcp_run *r = run_new(t);

    if (!r)
        return true; /* no record, no transmission: an ACK frees some */
    if (tcp_is_pushed(t, len_bytes))
        o.flags |= TCP_PSH;
    if (fin)
        o.flags |= TCP_FIN;
    if (!tcp_send(t, &o)) {
        tcp_run_free(t, r);
        return false;
    }
    fin = (o.flags & TCP_FIN) != 0;
    r->seq = t->snd_nxt;
    r->end = t->snd_nxt + o.len_bytes + fin;
    r->fin = fin;
    r->at = span_advance(&t->work->tx, t->work->tx_next, 0);
    r->sent_ns = t->work->last_sent_ns = t->work->engine->now_ns;
    list_push_back(&t->work->runs, &r->node);
    list_push_back(&t->work->by_time, &r->time_node);
    t->work->tx_next = span_advance(&t->work->tx, t->work->tx_next, o.len_bytes);
    t->snd_nxt = r->end;
    t->work->prr_out += o.len_bytes;
    t->sws_override = false;
    if (fin)
        tcp_fin_left(t);
    else
        tcp_room_made(t);
    return true;
}

/* What ICMP said about the path is ten minutes old: try the device's own size again. */
static void tcp_retry_mtu(struct tcp *t)
{
    uint32_t mtu = t->work->engine->net->config.mtu_bytes;

    if (t->pmtu_bytes == mtu || (uint16_t)(tcp_now_minute(t) - t->pmtu_minute) < TCP_PMTU_MINUTES)
        return;
    t->pmtu_bytes = (uint16_t)mtu;
    tcp_set_mss(t);
}

static bool tcp_send_new(struct tcp *t)
{
    t->cwnd_limited = false; /* until the next call every ACK is one of a sender whom cwnd limits, or is not */
    if (!tcp_has_unsent(t))
        return true;
    tcp_retry_mtu(t);
    if (t->snd_nxt == t->snd_una && t->work->engine->now_ns - t->work->last_sent_ns > tcp_rto_ns(t))
        cc_idle(&t->work->cc);
    while (!t->fin_sent) {
        uint32_t before = t->snd_nxt, unsent = tcp_tx_end(t) - t->snd_nxt;
        uint32_t len = unsent > 0 ? tcp_sendable(t, unsent) : 0;
        bool fin = t->fin_wanted && len == unsent;

        if (len == 0 && !fin)
            break;
        if (!tcp_send_next(t, len, fin))
            return false;
        if (t->snd_nxt == before)
            break;
    }
    return true;
}

/* ----------------------------------------------------------------------------------- probes, ACKs -- */

bool tcp_has_new_for_probe(const struct tcp *t)
{
    return !t->fin_sent && seq_lt(t->snd_nxt, tcp_tx_end(t)) && seq_lt(t->snd_nxt, t->snd_una + t->snd_wnd);
}

/* RFC 8985 section 7.3: new data if there is some and the peer's window takes it, else the last segment again. */
static bool tcp_send_tail_probe(struct tcp *t)
{
    struct list *node = t->work->by_time.prev;
    bool sent;

    if (tcp_has_new_for_probe(t)) {
        uint32_t unsent = tcp_tx_end(t) - t->snd_nxt, right = t->snd_una + t->snd_wnd;
        uint32_t len = unsent < t->snd_mss_bytes ? unsent : t->snd_mss_bytes;

        len = len < right - t->snd_nxt ? len : right - t->snd_nxt;
        t->tlp_repeats = false;
        t->work->tlp_new_count++;
        sent = tcp_send_next(t, len, t->fin_wanted && len == unsent);
    } else if (node != &t->work->by_time) {
        struct tcp_run *r = LIST_ENTRY(node, struct tcp_run, time_node);
        uint32_t len = run_data_bytes(r);

        if (len > t->snd_mss_bytes) {
            struct tcp_run *tail = tcp_run_split(t, r, r->seq + len - t->snd_mss_bytes);

            r = tail ? tail : r;
            len = t->snd_mss_bytes;
        }
        t->tlp_repeats = true;
        sent = tcp_send_run(t, r, len);
    } else {
        return true;
    }
    if (sent) {
        t->tlp_now = false;
        t->tlp_out = true;
        t->work->tlp_end = t->snd_nxt;
        tcp_arm_send_timer(t);
    }
    return sent;
}

/* One ACK answers a whole turn. Where it is lost the peer hears nothing until its probe or its timeout: so after a loss
 * it goes twice for a while. */
static bool tcp_send_ack(struct tcp *t)
{
    if (!tcp_send_empty(t, t->snd_nxt, TCP_ACK))
        return false;
    if (t->work->acks_twice > 0) {
        t->work->acks_twice--;
        (void)tcp_send_empty(t, t->snd_nxt, TCP_ACK);
    }
    return true;
}

static bool tcp_output_synchronized(struct tcp *t)
{
    uint32_t before = t->snd_nxt;
    bool had_lost = t->work->lost_bytes > 0;

    if (tcp_has_unsent(t) && !tcp_wake(t))
        tcp_starve(t);
    else if (!tcp_send_lost(t) || !tcp_send_new(t))
        return false;
    if (t->tlp_now) {
        bool useful = t->snd_nxt == before && t->snd_nxt != t->snd_una;

        if (useful && !tcp_send_tail_probe(t))
            return false;
        t->tlp_now = false;
    }
    if (t->probe_now) {
        if (!tcp_send_empty(t, t->snd_una - 1, TCP_ACK))
            return false;
        t->probe_now = false;
    }
    if (t->ack_now && !tcp_send_ack(t))
        return false;
    if (t->snd_nxt != before || had_lost || (tcp_is_awake(t) && tcp_has_unsent(t) && t->work->send_timer == TCP_SEND_IDLE))
        tcp_arm_send_timer_after_sending(t);
    return true;
}

bool tcp_output(void *engine, struct flow *f, uint64_t now_ns)
{
    struct tcp_engine *e = engine;
    struct tcp *t = tcp_of_flow(f);

    e->now_ns = now_ns;
    switch ((enum tcp_state)t->state) {
    case TCP_CLOSED:
    case TCP_PENDING:
        return true;
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
        return tcp_output_handshake(t);
    case TCP_TIME_WAIT:
        return !t->ack_now || tcp_send_empty(t, t->snd_nxt, TCP_ACK);
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
    case TCP_STATES:
        break;
    }
    return tcp_output_synchronized(t);
}

/* ------------------------------------------------------------------------------------ refusals -- */

void tcp_send_reset_for(struct tcp_engine *e, const struct ip_header *about,
                        const struct tcp_segment *s)
{
    tcp_answer_reset(e->net, about, s);
}

static void tcp_send_reset_as(struct tcp *t, uint8_t flags, uint32_t seq, uint32_t ack)
{
    struct packet_out p;
    struct ip_header ip;
    struct tcp_segment rst = {
        .src_port = t->flow.key.remote_port,
        .dst_port = t->flow.key.client_port,
        .seq = seq,
        .ack = ack,
        .flags = flags,
    };

    flow_ip_header(t, &ip);
    p.slices_count = 0;
    p.payload_bytes = p.gso_bytes = 0;
    tcp_out_begin(t->work->engine->net, &p, &ip, &rst);
    (void)net_send(t->work->engine->net, &p);
}

void tcp_send_reset(struct tcp *t)
{
    bool unanswered = t->state == TCP_PENDING || t->state == TCP_CLOSED;

    tcp_send_reset_as(t, TCP_RST | TCP_ACK, unanswered ? 0 : t->snd_nxt, t->rcv_nxt);
}

void tcp_send_handshake_reset(struct tcp *t)
{
    tcp_send_reset_as(t, TCP_RST, t->iss + 1, 0); /* snd_nxt is iss where the SYN-ACK is to be repeated */
}

void tcp_send_unreachable(struct tcp *t, int verdict)
{
    tcp_answer_unreachable(t->work->engine->net, &t->flow.key, t->work->irs, verdict, t->work->engine->now_ns);
}

void tcp_send_challenge(struct tcp *t)
{
    struct tcp_engine *e = t->work->engine;
    uint64_t second = e->now_ns / 1000000000;

    if (!tcp_wake(t))
        return;
    if (t->work->challenge_ns != 0 && e->now_ns - t->work->challenge_ns < TCP_CHALLENGE_NS)
        return;
    if (second !=
        e->challenge_second) { /* a different limit each second: it cannot be measured from outside */
        uint16_t jitter;

        e->net->env.random(e->net->env.ctx, &jitter, sizeof(jitter));
        e->challenge_second = second;
        e->challenge_tokens = TCP_CHALLENGES_PER_SECOND / 2 + jitter % TCP_CHALLENGES_PER_SECOND;
    }
    if (e->challenge_tokens == 0)
        return;
    e->challenge_tokens--;
    t->work->challenge_ns = e->now_ns;
    t->ack_now = true;
    tcp_wants_output(t);
}
