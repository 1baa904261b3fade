/* SPDX-License-Identifier: MIT */
/* tcp_ack: what an acknowledgment does: the scoreboard of runs (RFC 2018, 6675, 2883), the send window (RFC 9293 3.10.7.4),
 * the round-trip time (RFC 6298, Karn's rule), the release of what was acknowledged.
 *
 * Work per ACK is in proportion to what it newly acknowledges: runs leave from the front, a SACK block is looked for from the
 * run that was sacked last, and sacked neighbours are one run. The number of runs of a flow is bounded; a block that
 * would need one more is not believed, which costs a retransmission at worst. */
#include "net/tcp_private.h"

/* ------------------------------------------------------------------------------------------------ runs -- */

static uint32_t run_bytes(const struct tcp_run *r)
{
    return r->end - r->seq;
}

static void run_uncount(struct tcp *t, const struct tcp_run *r)
{
    if (r->state == TCP_RUN_SACKED)
        t->work->sacked_bytes -= run_bytes(r);
    else if (r->state == TCP_RUN_LOST)
        t->work->lost_bytes -= run_bytes(r);
}

static void run_count(struct tcp *t, const struct tcp_run *r)
{
    if (r->state == TCP_RUN_SACKED)
        t->work->sacked_bytes += run_bytes(r);
    else if (r->state == TCP_RUN_LOST)
        t->work->lost_bytes += run_bytes(r);
}

void tcp_run_set_state(struct tcp *t, struct tcp_run *r, enum tcp_run_state state)
{
    run_uncount(t, r);
    r->state = (uint8_t)state;
    run_count(t, r);
    list_remove(&r->time_node);
    if (state == TCP_RUN_FLYING)
        list_push_back(&t->work->by_time, &r->time_node);
    else if (state == TCP_RUN_LOST)
        list_push_back(&t->work->lost, &r->time_node);
}

void tcp_run_free(struct tcp *t, struct tcp_run *r)
{
    if (t->work->sacked_last == r)
        t->work->sacked_last = NULL;
    run_uncount(t, r);
    list_remove(&r->node);
    list_remove(&r->time_node);
    pool_put(&t->work->engine->run_pool, r);
    t->work->runs_count--;
}

struct tcp_run *tcp_run_split(struct tcp *t, struct tcp_run *r, uint32_t seq)
{
    struct tcp_run *rest;

    if (t->work->runs_count >= TCP_RUNS_MAX)
        return NULL;
    rest = pool_get(&t->work->engine->run_pool);
    if (!rest)
        return NULL;
    *rest = *r;
    rest->seq = seq;
    rest->at = span_advance(&t->work->tx, r->at, seq - r->seq);
    list_push_front(&r->node, &rest->node); /* behind r */
    list_init(&rest->time_node);
    if (list_is_linked(&r->time_node))
        list_push_front(&r->time_node, &rest->time_node);
    r->end = seq;
    r->fin = false;
    t->work->runs_count++;
    return rest;
}

/* The front of r, up to seq, has been acknowledged. */
static void run_trim(struct tcp *t, struct tcp_run *r, uint32_t seq)
{
    run_uncount(t, r);
    r->at = span_advance(&t->work->tx, r->at, seq - r->seq);
    r->seq = seq;
    run_count(t, r);
}

static struct tcp_run *run_of(struct list *node)
{
    return LIST_ENTRY(node, struct tcp_run, node);
}

/* ---------------------------------------------------------------------------------- round-trip time -- */

void tcp_rtt_sample(struct tcp *t, uint64_t rtt_ns)
{
    uint32_t us = rtt_ns / 1000 < TCP_RTO_MAX_US ? (uint32_t)(rtt_ns / 1000) : TCP_RTO_MAX_US;
    uint32_t diff;

    us = us > 0 ? us : 1;
    t->work->backoff_log2 = 0;
    if (t->work->min_rtt_us == 0 || us < t->work->min_rtt_us)
        t->work->min_rtt_us = us;
    if (t->srtt_us == 0) { /* RFC 6298 2.2 */
        t->srtt_us = us;
        t->rttvar_us = us / 2;
    } else { /* 2.3 */
        diff = us > t->srtt_us ? us - t->srtt_us : t->srtt_us - us;
        t->rttvar_us = (uint32_t)((3ull * t->rttvar_us + diff) / 4);
        t->srtt_us = (uint32_t)((7ull * t->srtt_us + us) / 8);
        t->srtt_us = t->srtt_us > 0 ? t->srtt_us : 1;
    }
    t->work->rto_us = tcp_rto_of_rtt_us(t);
}

/* ------------------------------------------------------------------------------------------ scoreboard -- */

static void run_delivered(struct tcp *t, const struct tcp_run *r, struct tcp_ack_effect *e)
{
    e->delivered_bytes += run_bytes(r);
    if (!r->retransmitted && seq_lt(r->end, e->prior_high_sacked))
        t->reordering = true; /* sent once, and overtaken by what was sent later */
    tcp_rack_delivered(t, r);
}

/* Sacked neighbours are one run. Returns what r has become a part of. */
static struct tcp_run *run_merge_back(struct tcp *t, struct tcp_run *r)
{
    struct tcp_run *prev = run_of(r->node.prev);

    if (r->node.prev == &t->work->runs || prev->state != TCP_RUN_SACKED)
        return r;
    t->work->sacked_bytes += run_bytes(r);
    prev->end = r->end;
    prev->fin = r->fin;
    if (prev->sent_ns < r->sent_ns)
        prev->sent_ns = r->sent_ns;
    prev->retransmitted |= r->retransmitted;
    tcp_run_free(t, r);
    return prev;
}

/* A run at or before seq, from which the one that holds it is not far. */
static struct list *run_near(const struct tcp *t, uint32_t seq)
{
    struct list *node = t->work->sacked_last ? &t->work->sacked_last->node : t->work->runs.next;

    while (node->prev != &t->work->runs && seq_lt(seq, run_of(node)->seq))
        node = node->prev;
    return node;
}

static void tcp_mark_sacked(struct tcp *t, struct tcp_range block, struct tcp_ack_effect *e)
{
    struct list *node = run_near(t, block.from);

    while (node != &t->work->runs) {
        struct tcp_run *r = run_of(node);

        node = node->next;
        if (r->state == TCP_RUN_SACKED && seq_le(r->seq, block.to)) {
            t->work->sacked_last = run_merge_back(t, r);
            continue;
        }
        if (seq_le(block.to, r->seq))
            break;
        if (seq_le(r->end, block.from))
            continue;
        if (seq_lt(r->seq, block.from)) {
            r = tcp_run_split(t, r, block.from);
            if (!r)
                continue;
        }
        if (seq_lt(block.to, r->end) && !tcp_run_split(t, r, block.to))
            continue;
        run_delivered(t, r, e);
        tcp_run_set_state(t, r, TCP_RUN_SACKED);
        node = r->node.next;
        t->work->sacked_last = run_merge_back(t, r);
    }
    t->work->high_sacked = seq_max(t->work->high_sacked, block.to);
}

/* RFC 2883: the first block lies below the acknowledgment, or inside the second block. */
static bool sack_is_duplicate(const struct tcp_segment *s)
{
    const struct tcp_range *first = &s->sacks[0], *second = &s->sacks[1];

    if (seq_le(first->to, s->ack))
        return true;
    return s->sacks_count > 1 && seq_le(second->from, first->from) && seq_le(first->to, second->to);
}

static void tcp_take_sacks(struct tcp *t, const struct tcp_segment *s, struct tcp_ack_effect *e)
{
    uint8_t first = 0;

    if (s->sacks_count == 0)
        return;
    if (sack_is_duplicate(s)) {
        e->dsack = true;
        first = 1;
    }
    for (uint8_t i = first; i < s->sacks_count; i++) {
        struct tcp_range b = s->sacks[i];

        if (!seq_lt(b.from, b.to) || seq_lt(b.from, s->ack) || seq_lt(t->snd_nxt, b.to))
            continue; /* nonsense, or old */
        tcp_mark_sacked(t, b, e);
    }
}

/* ------------------------------------------------------------------------------ cumulative, window -- */

/* Karn's rule: what was repeated is timed by the timestamp that came back, or not at all (RFC 7323 section 4.1). One that
 * came back within its millisecond says no more than that: where round trips are shorter, it was like those. */
static uint64_t tcp_timestamp_sample_ns(const struct tcp *t, const struct tcp_segment *s)
{
    uint32_t ms = tcp_ts_now(t) - s->ts_ecr;

    if (!t->ts_on || !s->has_ts || s->ts_ecr == 0 || ms > TCP_RTO_MAX_US / 1000)
        return 0;
    if (ms == 0)
        return t->srtt_us > 0 && t->srtt_us < 1000 ? t->srtt_us * 1000ull : 1000000;
    return ms * 1000000ull;
}

static void tcp_take_ack(struct tcp *t, const struct tcp_segment *s, struct tcp_ack_effect *e)
{
    uint32_t ack = s->ack;
    uint64_t sample_ns = 0;
    uint32_t base = tcp_tx_base(t), data_bytes;
    struct list *node;

    while ((node = list_first(&t->work->runs)) != NULL && seq_lt(run_of(node)->seq, ack)) {
        struct tcp_run *r = run_of(node);

        if (seq_lt(ack, r->end)) {
            if (r->state != TCP_RUN_SACKED) {
                e->delivered_bytes += ack - r->seq;
                if (!r->retransmitted)
                    sample_ns = t->work->engine->now_ns - r->sent_ns;
            }
            run_trim(t, r, ack);
            break;
        }
        if (r->state != TCP_RUN_SACKED) {
            run_delivered(t, r, e);
            if (!r->retransmitted)
                sample_ns = t->work->engine->now_ns - r->sent_ns;
        }
        tcp_run_free(t, r);
    }
    if (sample_ns == 0)
        sample_ns = tcp_timestamp_sample_ns(t, s);
    if (sample_ns > 0)
        tcp_rtt_sample(t, sample_ns);
    t->work->progress_ns = t->work->engine->now_ns;
    t->work->retries = 0;
    e->acked_bytes = ack - t->snd_una;
    data_bytes = ack - base < t->work->tx.bytes ? ack - base : t->work->tx.bytes;
    t->tx_bytes += data_bytes;
    if (ack == t->snd_nxt) /* nothing in flight: what comes next is the new front */
        t->work->tx_next = (struct span_place){0};
    span_consume(&t->work->tx, &t->work->engine->span_pool, data_bytes);
    t->snd_una = ack;
    t->work->high_sacked = seq_max(t->work->high_sacked, ack);
}

/* WL1 and WL2: an old segment must not shrink the window. True: the window has changed. */
static bool tcp_take_window(struct tcp *t, const struct tcp_segment *s)
{
    uint32_t wnd = (uint32_t)s->wnd << (t->wscale_on ? t->snd_wscale_log2 : 0);
    bool changed;

    if (seq_lt(s->ack, t->snd_una) || seq_lt(s->seq, t->snd_wl1) ||
        (t->snd_wl1 == s->seq && seq_lt(s->ack, t->snd_wl2)))
        return false;
    changed = wnd != t->snd_wnd;
    t->snd_wl1 = s->seq;
    t->snd_wl2 = s->ack;
    t->snd_wnd = wnd;
    if (wnd > t->snd_wnd_max)
        t->snd_wnd_max = wnd;
    return changed;
}

void tcp_ack_received(struct tcp *t, const struct tcp_segment *s)
{
    struct tcp_ack_effect e = {.prior_high_sacked = t->work->high_sacked};
    bool in_flight = t->snd_nxt != t->snd_una;
    bool window_changed = tcp_take_window(t, s);

    if (t->sack_on)
        tcp_take_sacks(t, s, &e);
    if (seq_lt(t->snd_una, s->ack))
        tcp_take_ack(t, s, &e);
    else
        e.is_duplicate = in_flight && s->ack == t->snd_una && s->len_bytes == 0 &&
                         !(s->flags & (TCP_SYN | TCP_FIN)) && !window_changed;
    e.is_bare = e.acked_bytes == 0 && s->len_bytes == 0 && s->sacks_count == 0;
    if (t->work->send_timer == TCP_SEND_PERSIST && window_changed)
        t->work->backoff_log2 = 0; /* else probes go on, further and further apart (RFC 9293 3.8.6.1) */
    tcp_recovery_on_ack(t, &e);
    if (e.acked_bytes > 0 || e.delivered_bytes > 0 ||
        (t->work->send_timer == TCP_SEND_PERSIST && window_changed))
        tcp_arm_send_timer(t);
    if (t->work->tx.bytes > 0 || t->fin_wanted)
        tcp_wants_output(t);
    if (e.acked_bytes > 0 || window_changed)
        tcp_room_made(t);
}
