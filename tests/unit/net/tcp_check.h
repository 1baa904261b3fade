/* SPDX-License-Identifier: MIT */
/* tcp_check: what must hold of a connection between any two calls, counted anew the slow way. For fuzzers and the simulator.
 *
 * The sentence that comes back says what does not hold; NULL: all does. */
#pragma once
#include <stddef.h>
#include <string.h>
#include "net/tcp_private.h"

static inline const char *tcp_check_queue(const struct span_queue *q)
{
    uint32_t bytes = 0;
    const struct span *last = NULL;

    for (const struct span *s = q->head; s; s = s->next) {
        const uint8_t *begin = s->buf->data, *end = s->buf->data + s->buf->capacity;

        if (s->buf->refs == 0)
            return "a span holds a freed buffer";
        if (s->data < begin || s->data + s->len_bytes > end)
            return "a span lies outside its buffer";
        bytes += s->len_bytes;
        last = s;
    }
    if (last != q->tail)
        return "the tail of a queue is not its last span";
    return bytes != q->bytes ? "a queue has miscounted its octets" : NULL;
}

/* The octet that a run points at is the one of its sequence number. */
static inline bool tcp_check_place(const struct tcp *t, const struct tcp_run *r)
{
    uint32_t offset = r->seq - tcp_tx_base(t);
    struct span_place want, is;

    if (offset >= t->work->tx.bytes) /* nothing but the FIN: no octet */
        return true;
    want = span_advance(&t->work->tx, (struct span_place){0}, offset);
    is = span_advance(&t->work->tx, r->at, 0);
    return want.span == is.span && want.octet == is.octet;
}

static inline const char *tcp_check_run(const struct tcp *t, const struct tcp_run *r)
{
    if (!seq_lt(r->seq, r->end))
        return "an empty run";
    if (r->state != TCP_RUN_SACKED && !list_is_linked(&r->time_node))
        return "a run in flight or lost is on no list";
    if (r->state == TCP_RUN_SACKED && list_is_linked(&r->time_node))
        return "a sacked run is on a list";
    if (r->fin && r->end != tcp_tx_end(t) + 1)
        return "a FIN does not follow the last octet";
    return tcp_check_place(t, r) ? NULL : "a run points at another octet than its own";
}

static inline const char *tcp_check_runs(const struct tcp *t)
{
    uint32_t at = t->snd_una, sacked_bytes = 0, lost_bytes = 0, count = 0, flying = 0, lost = 0;
    uint64_t sent_ns = 0;
    const char *why = NULL;

    for (struct list *n = t->work->runs.next; n != &t->work->runs && !why; n = n->next) {
        const struct tcp_run *r = LIST_ENTRY(n, struct tcp_run, node);

        if (r->seq != at)
            return "a gap between runs";
        if (r->state == TCP_RUN_SACKED && n->prev != &t->work->runs &&
            LIST_ENTRY(n->prev, struct tcp_run, node)->state == TCP_RUN_SACKED)
            return "sacked neighbours are two runs";
        at = r->end;
        count++;
        sacked_bytes += r->state == TCP_RUN_SACKED ? r->end - r->seq : 0;
        lost_bytes += r->state == TCP_RUN_LOST ? r->end - r->seq : 0;
        flying += r->state == TCP_RUN_FLYING;
        lost += r->state == TCP_RUN_LOST;
        why = tcp_check_run(t, r);
    }
    if (why)
        return why;
    if (at != t->snd_nxt)
        return "the runs do not reach snd_nxt";
    if (count != t->work->runs_count || count > TCP_RUNS_MAX)
        return "runs are miscounted";
    if (sacked_bytes != t->work->sacked_bytes || lost_bytes != t->work->lost_bytes)
        return "sacked or lost octets are miscounted";
    for (struct list *n = t->work->by_time.next; n != &t->work->by_time; n = n->next, flying--) {
        const struct tcp_run *r = LIST_ENTRY(n, struct tcp_run, time_node);

        if (r->state != TCP_RUN_FLYING || r->sent_ns < sent_ns)
            return "by_time holds what is not in flight, or is not in order";
        sent_ns = r->sent_ns;
    }
    for (struct list *n = t->work->lost.next; n != &t->work->lost; n = n->next, lost--)
        if (LIST_ENTRY(n, struct tcp_run, time_node)->state != TCP_RUN_LOST)
            return "the list of the lost holds what is not lost";
    return flying != 0 || lost != 0 ? "a run is on the wrong list" : NULL;
}

static inline const char *tcp_check_islands(const struct tcp *t)
{
    uint32_t at = t->rcv_nxt, count = 0;

    for (const struct tcp_island *i = t->work->islands; i; i = i->next) {
        const char *why = tcp_check_queue(&i->octets);

        if (why)
            return why;
        if (i->octets.bytes == 0)
            return "an empty island";
        if (!seq_lt(at, i->seq))
            return "islands touch, or are not above rcv_nxt";
        at = i->seq + i->octets.bytes;
        if (seq_lt(t->rcv_edge, at))
            return "an island beyond the window";
        count++;
    }
    if (t->work->islands_tail && t->work->islands_tail->next)
        return "the last island is not the last";
    return count != t->work->islands_count || count > TCP_ISLANDS_MAX ? "islands are miscounted" : NULL;
}

/* The wheel wakes it for the first deadline; what is not acknowledged has one, or is about to be sent. */
static inline const char *tcp_check_timers(const struct tcp *t)
{
    uint64_t first = WHEEL_NEVER;
    bool waits = list_is_linked(&t->flow.output_node);
    bool armed = t->work->send_timer != TCP_SEND_IDLE && t->work->deadline_ns[TCP_TIMER_SEND] != WHEEL_NEVER;

    if (!tcp_is_awake(t))
        return t->flow.timer.deadline_ns == WHEEL_NEVER ? "at rest for ever" : NULL;
    for (int i = 0; i < TCP_TIMERS; i++)
        first = t->work->deadline_ns[i] < first ? t->work->deadline_ns[i] : first;
    if (t->flow.timer.deadline_ns != first)
        return "the wheel has another deadline than the flow";
    if (t->state == TCP_TIME_WAIT || t->state == TCP_PENDING)
        return first == WHEEL_NEVER ? "TIME-WAIT or PENDING for ever" : NULL;
    if (t->snd_nxt != t->snd_una && !armed && !waits)
        return "no timer for what is in flight";
    if (t->work->tx.bytes > 0 && !armed && !waits)
        return "no timer for what is to be sent";
    return NULL;
}

static inline const char *tcp_check_windows(const struct tcp *t)
{
    uint32_t cwnd = tcp_is_awake(t) ? t->work->cc.cwnd_bytes : t->rest_cwnd_bytes;

    if (seq_lt(t->rcv_edge, t->rcv_nxt))
        return "rcv_nxt beyond the window";
    if (tcp_is_awake(t) && seq_lt(t->rcv_nxt, t->work->rcv_acked))
        return "more acknowledged than received";
    if (!tcp_is_synchronized(t))
        return NULL;
    if (seq_lt(t->snd_nxt, t->snd_una))
        return "more is acknowledged than was sent";
    if (seq_lt(tcp_tx_end(t) + t->fin_sent, t->snd_nxt) && t->state != TCP_TIME_WAIT)
        return "more was sent than there is";
    return cwnd < t->snd_mss_bytes || cwnd > CC_CWND_MAX_BYTES ? "cwnd out of range" : NULL;
}

/* Nobody writes what all flows at rest share. */
static inline const char *tcp_check_at_rest(const struct tcp *t)
{
    const struct tcp_work *w = t->work->engine->at_rest;
    struct tcp_work fresh;

    memset(&fresh, 0, sizeof(fresh)); /* its padding too */
    fresh.engine = w->engine;
    fresh.reo_wnd_mult = 1;
    fresh.runs = w->runs;
    fresh.by_time = w->by_time;
    fresh.lost = w->lost;
    fresh.islands_node = w->islands_node;
    for (int i = 0; i < TCP_TIMERS; i++)
        fresh.deadline_ns[i] = WHEEL_NEVER;
    if (!list_is_empty(&w->runs) || !list_is_empty(&w->by_time) || !list_is_empty(&w->lost) ||
        list_is_linked(&w->islands_node))
        return "something is under way for flows at rest";
    return memcmp(w, &fresh, sizeof(fresh)) != 0 ? "what flows at rest share was written" : NULL;
}

static inline const char *tcp_check(const struct tcp *t)
{
    bool half_open =
        t->state == TCP_PENDING || t->state == TCP_SYN_SENT || t->state == TCP_SYN_RECEIVED;
    const char *why = tcp_check_queue(&t->work->rx);

    if (half_open != t->counted_half_open)
        return "half-open flows are miscounted";
    if (!why)
        why = tcp_check_at_rest(t);
    if (!why)
        why = tcp_check_queue(&t->work->tx);
    if (!why)
        why = tcp_check_islands(t);
    if (t->state == TCP_CLOSED)
        return !why && (t->work->runs_count > 0 || t->work->tx.bytes > 0) ? "a closed flow holds something"
                                                              : why;
    if (!why && tcp_is_synchronized(t) && t->state != TCP_TIME_WAIT)
        why = tcp_check_runs(t);
    if (!why)
        why = tcp_check_windows(t);
    return why ? why : tcp_check_timers(t);
}
