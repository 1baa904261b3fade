/* SPDX-License-Identifier: MIT */
/* tcp_recovery: finding what was lost and pacing its repair.
 *
 *            losses found (RACK, duplicate ACKs)            snd_una reaches recovery_point
 *   OPEN -------------------------------------> RECOVERY ---------------------------------> OPEN
 *     \                                            | RTO
 *      \------------------ RTO -----------------> LOSS ------------------------------------> OPEN
 *
 * RACK (RFC 8985): a run is lost when something sent later has been delivered and the reordering window has passed since. It
 * finds lost retransmissions as well, which duplicate ACKs cannot. by_time is in order of transmission, so the search stops
 * at the first run that is too young: each run is looked at once per transmission. TLP: a probe after two round trips of
 * silence turns a lost tail into a SACK instead of a timeout. PRR (RFC 9937) spreads the reduction of the window over
 * one round trip. Without SACK: three duplicate ACKs, then NewReno's partial ACKs (RFC 5681, 6582). */
#include "net/tcp_private.h"

enum { DUP_THRESH = 3, REO_WND_PERSIST = 16, REO_WND_MULT_MAX = 16 };

static struct tcp_run *run_by_time(struct list *node)
{
    return LIST_ENTRY(node, struct tcp_run, time_node);
}

static bool sent_after(uint64_t ns, uint32_t end, uint64_t than_ns, uint32_t than_end)
{
    return ns > than_ns || (ns == than_ns && seq_lt(than_end, end));
}

void tcp_rack_delivered(struct tcp *t, const struct tcp_run *r)
{
    uint64_t rtt_us = (t->work->engine->now_ns - r->sent_ns) / 1000;

    if (r->retransmitted && rtt_us < t->work->min_rtt_us)
        return; /* too early to be the retransmission's: the original arrived */
    if (t->work->rack_sent_ns != 0 && !sent_after(r->sent_ns, r->end, t->work->rack_sent_ns, t->work->rack_end))
        return;
    t->work->rack_sent_ns = r->sent_ns;
    t->work->rack_end = r->end;
    t->work->rack_rtt_us = rtt_us < TCP_RTO_MAX_US ? (uint32_t)rtt_us : TCP_RTO_MAX_US;
}

/* RFC 8985 section 6.2 step 4. */
static uint64_t reordering_window_ns(const struct tcp *t)
{
    uint64_t window_us;

    if (!t->reordering &&
        (t->work->recovery != TCP_OPEN || t->work->sacked_bytes >= DUP_THRESH * (uint32_t)t->snd_mss_bytes))
        return 0;
    window_us = (uint64_t)t->work->reo_wnd_mult * t->work->min_rtt_us / 4;
    return (window_us < t->srtt_us ? window_us : t->srtt_us) * 1000;
}

static uint64_t run_lost_at_ns(const struct tcp *t, const struct tcp_run *r)
{
    return r->sent_ns + t->work->rack_rtt_us * 1000ull + reordering_window_ns(t);
}

/* The oldest run in flight, if something sent later has been delivered; NULL: nothing to suspect. */
static struct tcp_run *tcp_suspect(const struct tcp *t)
{
    struct list *node = list_first(&t->work->by_time);
    struct tcp_run *r = node ? run_by_time(node) : NULL;

    if (!r || t->work->rack_sent_ns == 0 || !sent_after(t->work->rack_sent_ns, t->work->rack_end, r->sent_ns, r->end))
        return NULL;
    return r;
}

static void tcp_enter_recovery(struct tcp *t)
{
    if (t->work->recovery != TCP_OPEN)
        return;
    t->work->recovery = TCP_RECOVERY;
    t->work->recovery_point = t->snd_nxt;
    t->work->prr_flight = t->snd_nxt - t->snd_una;
    t->work->prr_delivered = t->work->prr_out = 0;
    t->tlp_out = false;
    t->work->cc.ops->congestion(&t->work->cc, t->work->engine->now_ns);
    t->work->cc.cwnd_bytes = tcp_pipe(t) + t->snd_mss_bytes; /* one segment now, the rest as ACKs come */
}

bool tcp_detect_losses(struct tcp *t)
{
    struct tcp_run *r;
    bool found = false;

    while ((r = tcp_suspect(t)) != NULL && run_lost_at_ns(t, r) <= t->work->engine->now_ns) {
        tcp_run_set_state(t, r, TCP_RUN_LOST);
        found = true;
    }
    if (t->work->lost_bytes > 0)
        tcp_enter_recovery(t);
    return found;
}

/* ---------------------------------------------------------------------------------- peers without SACK -- */

/* The first segment that is not acknowledged is lost. False: it is known already. */
static bool tcp_lose_head(struct tcp *t)
{
    struct list *node = list_first(&t->work->runs);
    struct tcp_run *r;

    if (!node)
        return false;
    r = LIST_ENTRY(node, struct tcp_run, node);
    if (r->state != TCP_RUN_FLYING)
        return false;
    if (r->end - r->seq > t->snd_mss_bytes)
        (void)tcp_run_split(t, r, r->seq + t->snd_mss_bytes);
    tcp_run_set_state(t, r, TCP_RUN_LOST);
    tcp_enter_recovery(t);
    return true;
}

static bool tcp_count_duplicates(struct tcp *t, struct tcp_ack_effect *e)
{
    if (e->is_duplicate) {
        if (t->work->dup_acks < UINT8_MAX)
            t->work->dup_acks++;
        e->delivered_bytes = t->snd_mss_bytes; /* something has left the network */
        if (t->work->dup_acks == DUP_THRESH && t->work->recovery == TCP_OPEN)
            return tcp_lose_head(t);
    } else if (e->acked_bytes > 0) {
        t->work->dup_acks = 0;
        if (t->work->recovery == TCP_RECOVERY && seq_lt(t->snd_una, t->work->recovery_point))
            return tcp_lose_head(t); /* a partial ACK: the next hole */
    }
    return false;
}

/* --------------------------------------------------------------------------------------- on every ACK -- */

/* RFC 9937 section 6.2. is_safe: the ACK went forward and showed no further loss (SafeACK). */
static void tcp_prr(struct tcp *t, uint32_t delivered_bytes, bool is_safe)
{
    uint32_t pipe = tcp_pipe(t), ssthresh = t->work->cc.ssthresh_bytes, mss = t->snd_mss_bytes;
    uint64_t send = 0;

    if (delivered_bytes == 0)
        return;
    t->work->prr_delivered += delivered_bytes;
    if (pipe > ssthresh) {
        uint64_t due = ((uint64_t)t->work->prr_delivered * ssthresh + t->work->prr_flight - 1) / t->work->prr_flight;

        send = due > t->work->prr_out ? due - t->work->prr_out : 0;
    } else {
        uint32_t owed = t->work->prr_delivered > t->work->prr_out ? t->work->prr_delivered - t->work->prr_out : 0;

        send = (owed > delivered_bytes ? owed : delivered_bytes) + (uint64_t)(is_safe ? mss : 0);
        if (send > ssthresh - pipe)
            send = ssthresh - pipe;
    }
    if (t->work->prr_out == 0 && send < mss)
        send = mss; /* the first retransmission never waits */
    t->work->cc.cwnd_bytes = pipe + (uint32_t)send;
    if (t->work->cc.cwnd_bytes < mss)
        t->work->cc.cwnd_bytes = mss;
}

static void tcp_leave_recovery(struct tcp *t)
{
    if (t->work->recovery == TCP_RECOVERY)
        t->work->cc.cwnd_bytes = t->work->cc.ssthresh_bytes;
    if (t->work->reo_wnd_persist > 0 && --t->work->reo_wnd_persist == 0)
        t->work->reo_wnd_mult = 1;
    t->work->recovery = TCP_OPEN;
    t->work->dup_acks = 0;
}

/* RFC 8985 section 7.4.2: did the probe repair a loss? An ACK that ends at the probe may be the original's, on its way when the
 * probe left: then a second one follows, with a DSACK or bare. Only when more has been acknowledged meanwhile was it a loss,
 * and congestion. */
static void tcp_probe_answered(struct tcp *t, const struct tcp_ack_effect *e)
{
    bool is_needless = !t->tlp_repeats || e->dsack || e->is_bare;

    if (!t->tlp_out || seq_lt(t->snd_una, t->work->tlp_end) || (!is_needless && t->snd_una == t->work->tlp_end))
        return;
    t->tlp_out = false;
    if (!is_needless && t->work->recovery == TCP_OPEN) {
        t->work->cc.ops->congestion(&t->work->cc, t->work->engine->now_ns);
        t->work->cc.cwnd_bytes = t->work->cc.ssthresh_bytes;
    }
}

/* RFC 8985 section 6.2 step 4: a retransmission was needless, so it has to wait longer. */
static void tcp_widen_reordering_window(struct tcp *t, const struct tcp_ack_effect *e)
{
    if (t->dsack_seen && seq_le(t->work->dsack_round, t->snd_una))
        t->dsack_seen = false;
    if (!e->dsack || t->dsack_seen || (t->tlp_out && t->tlp_repeats)) /* a probe's is no sign of reordering */
        return;
    t->dsack_seen = t->reordering = true;
    t->work->dsack_round = t->snd_nxt;
    t->work->reo_wnd_persist = REO_WND_PERSIST;
    if (t->work->reo_wnd_mult < REO_WND_MULT_MAX)
        t->work->reo_wnd_mult++;
}

void tcp_recovery_on_ack(struct tcp *t, const struct tcp_ack_effect *effect)
{
    struct tcp_ack_effect e = *effect;
    bool lost;

    if (e.acked_bytes > 0 || e.delivered_bytes > 0)
        t->work->tlp_new_count = 0;
    tcp_widen_reordering_window(t, &e);
    tcp_probe_answered(t, &e);
    if (t->work->recovery != TCP_OPEN && seq_le(t->work->recovery_point, t->snd_una))
        tcp_leave_recovery(t);
    lost = t->sack_on ? tcp_detect_losses(t) : tcp_count_duplicates(t, &e);
    if (t->work->recovery == TCP_RECOVERY)
        tcp_prr(t, e.delivered_bytes, e.acked_bytes > 0 && !lost);
    else if (e.acked_bytes > 0 && (t->cwnd_limited || t->work->recovery == TCP_LOSS))
        t->work->cc.ops->acked(&t->work->cc, e.acked_bytes, t->srtt_us * 1000ull, t->work->engine->now_ns);
}

/* ----------------------------------------------------------------------------------- timeout, path MTU -- */

/* All that is not sacked goes out again, from the front. */
static void tcp_lose_all(struct tcp *t, bool reneged)
{
    for (struct list *n = t->work->runs.next; n != &t->work->runs; n = n->next) {
        struct tcp_run *r = LIST_ENTRY(n, struct tcp_run, node);

        if (reneged || r->state != TCP_RUN_SACKED)
            tcp_run_set_state(t, r, TCP_RUN_LOST);
    }
}

void tcp_recovery_on_timeout(struct tcp *t)
{
    struct list *node = list_first(&t->work->runs);
    /* The front was sacked and yet never acknowledged: the peer has thrown it away (RFC 2018 section 8). */
    bool reneged = node && LIST_ENTRY(node, struct tcp_run, node)->state == TCP_RUN_SACKED;

    if (t->work->recovery == TCP_OPEN || seq_le(t->work->recovery_point, t->snd_una))
        t->work->cc.ops->congestion(&t->work->cc, t->work->engine->now_ns);
    t->work->recovery = TCP_LOSS;
    t->work->recovery_point = t->snd_nxt;
    t->tlp_out = t->tlp_now = false;
    t->work->dup_acks = 0;
    tcp_lose_all(t, reneged);
    t->work->cc.cwnd_bytes = t->snd_mss_bytes;
}

void tcp_recovery_on_too_big(struct tcp *t)
{
    uint32_t cwnd = t->work->cc.cwnd_bytes;

    tcp_lose_all(t, false);
    if (t->work->recovery != TCP_OPEN || t->snd_nxt == t->snd_una)
        return;
    t->work->recovery = TCP_RECOVERY; /* which ends at the window it began with */
    t->work->recovery_point = t->snd_nxt;
    t->work->prr_flight = t->snd_nxt - t->snd_una;
    t->work->prr_delivered = t->work->prr_out = 0;
    t->tlp_out = false;
    t->work->cc.ssthresh_bytes = cwnd;
}

/* ---------------------------------------------------------------------------------------- the send timer -- */

/* RFC 8985 section 7.2. That one asks for no probe in recovery, where SACKs are to tell of further losses. But the ACK of the
 * repair is often the only one under way then, since a receiver compresses those before it; where it is lost nothing would be
 * heard until the timeout. So a probe goes in recovery too, as QUIC's does (RFC 9002 section 6.2). And like QUIC's, one with new
 * data follows another after twice the time: a single one may be lost as well. It would have gone anyway, so it need not wait
 * for an ACK that the peer may keep back, which it brings about. */
static uint64_t tcp_probe_timeout_ns(const struct tcp *t)
{
    uint64_t ns = 2000ull * t->srtt_us;

    if (tcp_has_new_for_probe(t))
        return (ns > TCP_TLP_NEW_MIN_NS ? ns : TCP_TLP_NEW_MIN_NS) << t->work->tlp_new_count;
    if (t->snd_nxt - t->snd_una <= t->snd_mss_bytes)
        ns += TCP_PEER_DELACK_NS;
    return ns > TCP_TLP_MIN_NS ? ns : TCP_TLP_MIN_NS;
}

static bool tcp_may_probe(const struct tcp *t)
{
    bool is_first = !t->tlp_out;
    bool is_next = !t->tlp_repeats && t->work->tlp_new_count < TCP_TLP_NEW_MAX && tcp_has_new_for_probe(t);

    return t->sack_on && t->work->recovery != TCP_LOSS && t->srtt_us > 0 && (is_first || is_next) && !t->tlp_now &&
           t->work->backoff_log2 == 0;
}

static void tcp_start_send_timer(struct tcp *t, enum tcp_send_timer what, uint64_t deadline_ns)
{
    t->work->send_timer = (uint8_t)what;
    tcp_set_timer(t, TCP_TIMER_SEND, deadline_ns);
}

/* Nothing is in flight, so there are no runs, and the window does not take what waits: that may be for hours. */
static void tcp_compact_stock(struct tcp *t)
{
    struct tcp_engine *e = t->work->engine;

    if (t->snd_wnd >= t->work->tx.bytes)
        return;
    span_compact(&t->work->tx, &e->span_pool, e->net->bufs);
    t->work->tx_next = (struct span_place){0};
}

void tcp_arm_send_timer(struct tcp *t)
{
    uint64_t now_ns = t->work->engine->now_ns, rto_ns = tcp_rto_ns(t), probe_ns = tcp_probe_timeout_ns(t);
    struct tcp_run *suspect;

    if (!tcp_is_synchronized(t) || t->state == TCP_TIME_WAIT)
        return;
    if (t->snd_una == t->snd_nxt) {
        if (tcp_has_unsent(t)) {
            tcp_compact_stock(t);
            tcp_start_send_timer(t, TCP_SEND_PERSIST, now_ns + rto_ns);
        } else {
            tcp_start_send_timer(t, TCP_SEND_IDLE, WHEEL_NEVER);
        }
        return;
    }
    suspect = t->sack_on ? tcp_suspect(t) : NULL;
    if (suspect)
        tcp_start_send_timer(t, TCP_SEND_REORDER, run_lost_at_ns(t, suspect));
    else if (tcp_may_probe(t) && probe_ns < rto_ns)
        tcp_start_send_timer(t, TCP_SEND_TLP, now_ns + probe_ns);
    else
        tcp_start_send_timer(t, TCP_SEND_RTO, now_ns + rto_ns);
}

void tcp_arm_send_timer_after_sending(struct tcp *t)
{
    if (t->work->send_timer == TCP_SEND_RTO || t->work->send_timer == TCP_SEND_REORDER)
        return;
    tcp_arm_send_timer(t);
}
