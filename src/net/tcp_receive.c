/* SPDX-License-Identifier: MIT */
/* tcp_receive: data and FIN in.
 *
 *        rcv_nxt                      rcv_edge
 *   rx ----|      [island]   [island]    |          rx: in order, waiting for the handler; islands: beyond a hole
 *
 * What was received first wins: an overlapping segment never replaces octets that are queued. What is acknowledged is what
 * was taken into rx; since ACKs leave at the end of a turn, after the handler ran, that is normally what the handler has taken,
 * and what it leaves there closes the window.
 *
 * ACKs: at once for anything out of order or unusual, for every full segment in the beginning (TCP_QUICK_ACKS) and for every two
 * later; else with the next data, or after 40 ms. A short request in the beginning, and a FIN, wait for 1 ms only: an upstream
 * nearby has answered by then, and each ACK that goes alone costs a write and a wake-up of the client. Since ACKs leave
 * once a turn, one answers a whole batch; and since the loss of that one would leave the peer without news until its probe, it
 * goes twice for a while after something was lost. Windows: SWS avoidance of RFC 9293 3.8.6.2.2, never taken back, growing with
 * what the handler consumes; an update goes alone only when little is left of the last one (the SYN's, which is not scaled, is
 * smaller than what there is, and no reason for one). RFC 2018, 2883. */
#include <string.h>
#include "net/tcp_private.h"

enum { ISLAND_SMALL_BYTES = 1024 };

/* ------------------------------------------------------------------------------------ out of order -- */

static struct tcp_island *island_new(struct tcp *t, uint32_t seq)
{
    struct tcp_island *i;

    if (t->work->islands_count >= TCP_ISLANDS_MAX)
        return NULL;
    i = pool_get(&t->work->engine->island_pool);
    if (!i)
        return NULL;
    i->seq = seq;
    if (t->work->islands_count++ == 0)
        list_push_back(&t->work->engine->with_islands, &t->work->islands_node);
    return i;
}

static void island_free(struct tcp *t, struct tcp_island *i)
{
    span_clear(&i->octets, &t->work->engine->span_pool);
    pool_put(&t->work->engine->island_pool, i);
    if (t->work->islands_tail == i)
        t->work->islands_tail = NULL;
    if (--t->work->islands_count == 0)
        list_remove(&t->work->islands_node);
}

static uint32_t island_end(const struct tcp_island *i)
{
    return i->seq + i->octets.bytes;
}

void tcp_out_of_order_clear(struct tcp *t)
{
    while (t->work->islands) {
        struct tcp_island *i = t->work->islands;

        t->work->islands = i->next;
        island_free(t, i);
    }
}

/* Adds octets that fill (a part of) the gap behind `before` (NULL: in front of all islands). */
static bool island_fill(struct tcp *t, struct tcp_island *before, uint32_t seq,
                        const struct packet *p, const uint8_t *data, uint32_t len_bytes)
{
    struct tcp_island *i = before && island_end(before) == seq ? before : NULL;
    struct buf *b = net_keep(t->work->engine->net, p, &data, len_bytes, false);
    bool is_kept;

    if (!b)
        return false;
    if (!i) {
        i = island_new(t, seq);
        if (!i) {
            buf_unref(b);
            return false;
        }
        i->next = before ? before->next : t->work->islands;
        *(before ? &before->next : &t->work->islands) = i;
    }
    is_kept = span_append(&i->octets, &t->work->engine->span_pool, b, (uint8_t *)data, len_bytes);
    buf_unref(b);
    if (len_bytes < ISLAND_SMALL_BYTES) /* crumbs are put together, or each would hold a buffer */
        span_settle(&i->octets, &t->work->engine->span_pool, t->work->engine->net->bufs);
    if (i->next && island_end(i) == i->next->seq) {
        struct tcp_island *after = i->next;

        span_join(&i->octets, &after->octets);
        i->next = after->next;
        island_free(t, after);
    }
    if (!i->next)
        t->work->islands_tail = i;
    return is_kept;
}

/* Removes islands that hold nothing (their first octets found no memory). */
static void islands_prune(struct tcp *t)
{
    for (struct tcp_island **at = &t->work->islands; *at;) {
        struct tcp_island *i = *at;

        if (i->octets.bytes > 0) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        island_free(t, i);
    }
}

static enum drop tcp_receive_out_of_order(struct tcp *t, uint32_t seq, const struct packet *p,
                                          const uint8_t *data, uint32_t len_bytes)
{
    struct tcp_island *tail = t->work->islands_tail;
    struct tcp_island *before = tail && seq_le(island_end(tail), seq) ? tail : NULL;
    enum drop why = DROP_TCP_DUPLICATE;

    if (memory_pressure(t->work->engine->net->memory) >= MEMORY_HIGH) {
        tcp_out_of_order_clear(t); /* the peer keeps what was only sacked (RFC 2018 section 8) */
        return DROP_TCP_OUT_OF_ORDER_LIMIT;
    }
    t->work->island_recent = seq;
    while (len_bytes > 0) {
        struct tcp_island *after = before ? before->next : t->work->islands;
        uint32_t gap = len_bytes, skip;

        if (after && seq_le(island_end(after), seq)) {
            before = after;
            continue;
        }
        if (after && seq_lt(after->seq, seq + len_bytes))
            gap = seq_lt(seq, after->seq) ? after->seq - seq : 0;
        if (gap > 0) {
            if (!island_fill(t, before, seq, p, data, gap)) {
                islands_prune(t);
                return DROP_TCP_OUT_OF_ORDER_LIMIT;
            }
            why = DROP_NONE;
            seq += gap;
            data += gap;
            len_bytes -= gap;
            before = NULL; /* islands may have been joined: look again */
            continue;
        }
        skip = island_end(after) - seq; /* what we have already */
        if (skip > len_bytes)
            skip = len_bytes;
        seq += skip;
        data += skip;
        len_bytes -= skip;
    }
    return why;
}

/* Islands that rcv_nxt has reached join the receive queue. True: there was one. */
static bool tcp_land_islands(struct tcp *t)
{
    bool landed = false;

    while (t->work->islands && seq_le(t->work->islands->seq, t->rcv_nxt)) {
        struct tcp_island *i = t->work->islands;

        t->work->islands = i->next;
        t->rcv_nxt += i->octets.bytes;
        t->rx_bytes += i->octets.bytes;
        span_join(&t->work->rx, &i->octets);
        island_free(t, i);
        landed = true;
    }
    return landed;
}

/* ----------------------------------------------------------------------------------------- in order -- */

static void tcp_acknowledge_within(struct tcp *t, uint64_t delay_ns)
{
    if (t->ack_later)
        return;
    t->ack_later = true;
    tcp_set_timer(t, TCP_TIMER_ACK, t->work->engine->now_ns + delay_ns);
}

static void tcp_acknowledge(struct tcp *t, bool at_once)
{
    bool is_quick = t->work->quick_acks > 0;

    t->work->quick_acks -= is_quick;
    if (at_once || t->work->unacked_bytes >= (is_quick ? 1u : 2u) * t->rcv_mss_bytes) {
        t->ack_now = true;
        tcp_wants_output(t);
    } else {
        tcp_acknowledge_within(t, is_quick ? TCP_QUICK_ACK_NS : TCP_DELAYED_ACK_NS);
    }
}

void tcp_loss_seen(struct tcp *t)
{
    if (t->sack_on && tcp_is_awake(t)) /* else a repeated ACK means another loss */
        t->work->acks_twice = TCP_ACKS_TWICE;
}

/* [seq, seq + len) begins at rcv_nxt. It is cut where islands lie in it: what came first stays. */
static enum drop tcp_receive_in_order(struct tcp *t, const struct packet *p, const uint8_t *data,
                                      uint32_t len_bytes)
{
    uint32_t before = t->rcv_nxt, end = t->rcv_nxt + len_bytes;
    bool landed = false, is_kept = true;

    while (is_kept && seq_lt(t->rcv_nxt, end)) {
        uint32_t take = end - t->rcv_nxt;
        const uint8_t *from = data + (len_bytes - take);
        struct buf *b;

        if (t->work->islands && seq_lt(t->work->islands->seq, end))
            take = t->work->islands->seq - t->rcv_nxt;
        b = net_keep(t->work->engine->net, p, &from, take, true);
        is_kept = b && span_append(&t->work->rx, &t->work->engine->span_pool, b, (uint8_t *)from, take);
        buf_unref(b);
        if (!is_kept)
            break;
        t->rcv_nxt += take;
        t->rx_bytes += take;
        t->work->unacked_bytes += take;
        landed |= tcp_land_islands(t);
    }
    if (t->rcv_nxt == before)
        return DROP_NO_MEMORY;
    tcp_notify(t);
    tcp_acknowledge(t, landed || t->work->islands || t->fin_early);
    return is_kept ? DROP_NONE : DROP_NO_MEMORY;
}

enum drop tcp_receive_data(struct tcp *t, struct tcp_segment *s, const struct packet *p)
{
    uint32_t segment_bytes = s->gso_bytes ? s->gso_bytes : s->len_bytes;
    uint32_t room;
    enum drop why;

    if (segment_bytes > t->rcv_mss_bytes)
        t->rcv_mss_bytes = segment_bytes > UINT16_MAX ? UINT16_MAX : (uint16_t)segment_bytes;
    if (seq_lt(s->seq, t->rcv_nxt)) { /* the front was received before */
        uint32_t old = t->rcv_nxt - s->seq;

        old = old < s->len_bytes ? old : s->len_bytes;
        s->seq += old;
        s->data += old;
        s->len_bytes -= old;
    }
    room = t->rcv_edge - s->seq;
    if (s->len_bytes > room) {
        s->len_bytes = room;
        s->flags &= (uint8_t)~TCP_FIN;
        tcp_acknowledge(t, true);
        if (room == 0)
            return DROP_TCP_WINDOW_FULL;
    }
    if (s->len_bytes == 0)
        return DROP_NONE;
    if (s->seq == t->rcv_nxt)
        return tcp_receive_in_order(t, p, s->data, s->len_bytes);
    tcp_loss_seen(t);
    why = tcp_receive_out_of_order(t, s->seq, p, s->data, s->len_bytes);
    if (why == DROP_TCP_DUPLICATE) {
        t->work->dsack = (struct tcp_range){.from = s->seq, .to = s->seq + s->len_bytes};
        t->work->dsack_count = 1;
    }
    tcp_acknowledge(t, true);
    return why;
}

void tcp_receive_fin(struct tcp *t)
{
    t->fin_early = false;
    tcp_out_of_order_clear(t); /* nothing may follow a FIN: such octets are no part of the stream */
    t->fin_received = true;
    t->rcv_nxt++;
    t->rcv_edge = seq_max(t->rcv_edge, t->rcv_nxt);
    if (t->state == TCP_ESTABLISHED) {
        tcp_acknowledge_within(t, TCP_QUICK_ACK_NS); /* our FIN often follows at once */
        tcp_enter(t, TCP_CLOSE_WAIT);
    } else {
        tcp_enter(t, t->state == TCP_FIN_WAIT_1 ? TCP_CLOSING : TCP_TIME_WAIT);
        t->ack_now = true;
        tcp_wants_output(t);
    }
    tcp_notify(t);
}

/* ------------------------------------------------------------------------------ window, consumption -- */

static uint32_t tcp_receive_limit(const struct tcp *t)
{
    if (memory_pressure(t->work->engine->net->memory) >= MEMORY_HIGH && t->rcv_limit > TCP_PRESSED_WINDOW)
        return TCP_PRESSED_WINDOW;
    return t->rcv_limit;
}

static uint32_t tcp_receive_room(const struct tcp *t)
{
    uint32_t limit = tcp_receive_limit(t);

    return t->work->rx.bytes < limit ? limit - t->work->rx.bytes : 0;
}

uint32_t tcp_receive_window(struct tcp *t)
{
    uint32_t offered = t->rcv_edge - t->rcv_nxt, room = tcp_receive_room(t);
    uint32_t half = tcp_receive_limit(t) / 2;
    uint32_t step = half < t->rcv_mss_bytes ? half : t->rcv_mss_bytes;
    uint32_t max = 65535u << t->rcv_wscale_log2;

    if (room >= offered + step)
        offered = room;
    return offered < max ? offered : max;
}

/* The handler keeps up with a whole window: offer twice as much. */
static void tcp_grow_limit(struct tcp *t)
{
    struct net *net = t->work->engine->net;
    uint32_t max = net->config.rx_window_bytes;

    if (t->work->rx.bytes > 0 || t->rcv_nxt - t->work->rcv_grown_at < t->rcv_limit || t->rcv_limit >= max ||
        memory_pressure(net->memory) > MEMORY_EASY)
        return;
    t->rcv_limit = t->rcv_limit > max / 2 ? max : t->rcv_limit * 2;
    t->work->rcv_grown_at = t->rcv_nxt;
}

/* Whether the window has to be offered anew without waiting for a segment that carries it. */
static bool tcp_window_is_due(const struct tcp *t)
{
    uint32_t offered = t->rcv_edge - t->rcv_nxt, room = tcp_receive_room(t);
    uint32_t limit = tcp_receive_limit(t), two = 2u * t->rcv_mss_bytes;

    if (offered >= limit / 4 && offered >= two)
        return false;
    return room >= offered + limit / 2 || (offered < two && room >= 2 * two);
}

void tcp_consume(struct tcp *t, uint32_t len_bytes)
{
    if (len_bytes == 0) /* nor is there a window to grow for a connection at rest */
        return;
    span_consume(&t->work->rx, &t->work->engine->span_pool, len_bytes);
    if (!tcp_can_receive(t)) {
        if (t->work->rx.bytes == 0 && (t->state == TCP_CLOSED || t->state == TCP_TIME_WAIT))
            tcp_notify(t); /* all is read: it may go */
        return;
    }
    tcp_grow_limit(t);
    if (tcp_window_is_due(t)) {
        t->ack_now = true;
        tcp_wants_output(t);
    }
}

/* ----------------------------------------------------------------------------------------------- SACK -- */

static struct tcp_range island_range(const struct tcp_island *i)
{
    return (struct tcp_range){.from = i->seq, .to = island_end(i)};
}

static bool island_is_recent(const struct tcp *t, const struct tcp_island *i)
{
    return seq_le(i->seq, t->work->island_recent) && seq_lt(t->work->island_recent, island_end(i));
}

static const struct tcp_island *island_find_recent(const struct tcp *t)
{
    if (t->work->islands_tail && island_is_recent(t, t->work->islands_tail))
        return t->work->islands_tail;
    for (const struct tcp_island *i = t->work->islands; i; i = i->next)
        if (island_is_recent(t, i))
            return i;
    return NULL;
}

/* The DSACK, the island that grew last, then the highest ones: those that the peer has heard of least often. */
uint8_t tcp_sack_blocks(struct tcp *t, struct tcp_range *blocks, uint8_t max)
{
    const struct tcp_island *recent;
    uint32_t skip;
    uint8_t n = 0;

    if (!t->sack_on)
        return 0;
    if (t->work->dsack_count > 0 && max > 0) {
        blocks[n++] = t->work->dsack;
        t->work->dsack_count = 0;
    }
    recent = island_find_recent(t);
    if (recent && n < max)
        blocks[n++] = island_range(recent);
    skip = t->work->islands_count > max ? t->work->islands_count - max : 0;
    for (const struct tcp_island *i = t->work->islands; i && n < max; i = i->next) {
        if (skip > 0)
            skip--;
        else if (i != recent)
            blocks[n++] = island_range(i);
    }
    return n;
}
