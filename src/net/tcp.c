/* SPDX-License-Identifier: MIT */
/* tcp: the engine, the life of a connection, and the stream interface that those above call.
 *
 * States move through tcp_enter() only, along the edges of RFC 9293 figure 5 plus PENDING, which stands for LISTEN's
 * decision being put off: a SYN makes a flow, its handler answers it. Calls from above never send by themselves and never
 * call back: they change the state and put the flow on the output list. The exceptions are RST and ICMP on reject and abort,
 * which leave at once, because the flow may be gone before the turn ends. */
#include "net/tcp.h"
#include <assert.h>
#include <string.h>
#include "base/bytes.h"
#include "net/tcp_private.h"

static const char *const state_names[] = {
    [TCP_CLOSED] = "CLOSED",           [TCP_PENDING] = "PENDING",
    [TCP_SYN_SENT] = "SYN-SENT",       [TCP_SYN_RECEIVED] = "SYN-RECEIVED",
    [TCP_ESTABLISHED] = "ESTABLISHED", [TCP_FIN_WAIT_1] = "FIN-WAIT-1",
    [TCP_FIN_WAIT_2] = "FIN-WAIT-2",   [TCP_CLOSE_WAIT] = "CLOSE-WAIT",
    [TCP_CLOSING] = "CLOSING",         [TCP_LAST_ACK] = "LAST-ACK",
    [TCP_TIME_WAIT] = "TIME-WAIT",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == TCP_STATES, "a name for each state");

/* Where each state may go: a bit per state. CLOSED may be reached from everywhere. */
#define TO(s) (1u << (s))
static const uint16_t state_moves[TCP_STATES] = {
    [TCP_CLOSED] = TO(TCP_PENDING) | TO(TCP_SYN_SENT), /* while it is being made */
    [TCP_PENDING] = TO(TCP_SYN_RECEIVED),
    [TCP_SYN_SENT] = TO(TCP_SYN_RECEIVED) | TO(TCP_ESTABLISHED),
    [TCP_SYN_RECEIVED] = TO(TCP_ESTABLISHED),
    [TCP_ESTABLISHED] = TO(TCP_FIN_WAIT_1) | TO(TCP_CLOSE_WAIT),
    [TCP_FIN_WAIT_1] = TO(TCP_FIN_WAIT_2) | TO(TCP_CLOSING) | TO(TCP_TIME_WAIT),
    [TCP_FIN_WAIT_2] = TO(TCP_TIME_WAIT),
    [TCP_CLOSE_WAIT] = TO(TCP_LAST_ACK),
    [TCP_CLOSING] = TO(TCP_TIME_WAIT),
    [TCP_LAST_ACK] = 0,
    [TCP_TIME_WAIT] = 0,
};

static const struct net_tcp_ops net_ops = {
    .input = tcp_input,
    .icmp_error = tcp_icmp_error,
    .expire = tcp_expire,
    .output = tcp_output,
    .evict = tcp_evict,
    .relieve = tcp_relieve,
};

static const struct stream_ops stream_userspace;

/* ------------------------------------------------------------------------------------- the engine -- */

static void tcp_work_init(struct tcp_work *w, struct tcp_engine *e)
{
    w->engine = e;
    list_init(&w->runs);
    list_init(&w->by_time);
    list_init(&w->lost);
    list_init(&w->islands_node);
    for (int i = 0; i < TCP_TIMERS; i++)
        w->deadline_ns[i] = WHEEL_NEVER;
    w->reo_wnd_mult = 1;
}

int tcp_engine_init(struct tcp_engine *e, struct net *net)
{
    uint32_t tcp_max = net->config.tcp_max;

    *e = (struct tcp_engine){.net = net, .cc = &cc_cubic};
    pool_init(&e->tcp_pool, net->memory, sizeof(struct tcp), tcp_max);
    pool_init(&e->work_pool, net->memory, sizeof(struct tcp_work), UINT32_MAX);
    /* Runs and spans are bounded by the memory budget; these limits only keep the counters honest. */
    pool_init(&e->run_pool, net->memory, sizeof(struct tcp_run), UINT32_MAX);
    pool_init(&e->island_pool, net->memory, sizeof(struct tcp_island), UINT32_MAX);
    pool_init(&e->span_pool, net->memory, sizeof(struct span), UINT32_MAX);
    list_init(&e->time_wait);
    list_init(&e->with_islands);
    e->at_rest = pool_get(&e->work_pool);
    if (!e->at_rest)
        return ADIT_ENOMEM;
    tcp_work_init(e->at_rest, e);
    net_set_tcp(net, &net_ops, e);
    return 0;
}

void tcp_engine_deinit(struct tcp_engine *e)
{
    struct list *node;

    while ((node = list_first(&e->time_wait)) != NULL) {
        struct tcp *t = LIST_ENTRY(node, struct tcp, wait_node);

        tcp_enter(t, TCP_CLOSED);
        tcp_free(t);
    }
    pool_put(&e->work_pool, e->at_rest);
    pool_deinit(&e->tcp_pool);
    pool_deinit(&e->work_pool);
    pool_deinit(&e->run_pool);
    pool_deinit(&e->island_pool);
    pool_deinit(&e->span_pool);
}

struct tcp *tcp_of_flow(struct flow *f)
{
    return LIST_ENTRY(f, struct tcp, flow);
}

struct stream *tcp_stream(struct tcp *t)
{
    return &t->flow.stream;
}

struct flow *tcp_flow(struct tcp *t)
{
    return &t->flow;
}

const char *tcp_state_name(enum tcp_state s)
{
    return state_names[s];
}

/* --------------------------------------------------------------------------------- life of a flow -- */

void tcp_notify(struct tcp *t)
{
    net_set_ready(t->work->engine->net, &t->flow);
}

void tcp_wants_output(struct tcp *t)
{
    net_set_output(t->work->engine->net, &t->flow);
}

static bool state_is_half_open(enum tcp_state s)
{
    return s == TCP_PENDING || s == TCP_SYN_SENT || s == TCP_SYN_RECEIVED;
}

static void tcp_count_half_open(struct tcp *t, bool half_open)
{
    if (half_open == t->counted_half_open)
        return;
    t->counted_half_open = half_open;
    t->flow.client->half_open += half_open ? 1u : -1u;
    t->work->engine->net->stats.tcp_half_open += half_open ? 1 : -1ull;
}

bool tcp_wake_(struct tcp *t)
{
    struct tcp_engine *e = t->work->engine;
    struct tcp_work *w = pool_get(&e->work_pool);

    if (!w)
        return false;
    tcp_work_init(w, e);
    w->tcp = t;
    w->high_sacked = t->snd_una;
    w->rcv_grown_at = w->rcv_acked = t->rcv_nxt;
    w->quick_acks = TCP_QUICK_ACKS;
    w->rto_us = tcp_rto_of_rtt_us(t);
    w->min_rtt_us = t->srtt_us;
    w->progress_ns = e->now_ns;
    cc_init(&w->cc, e->cc, t->snd_mss_bytes);
    if (t->rest_cwnd_bytes > 0) {
        w->cc.cwnd_bytes = t->rest_cwnd_bytes;
        w->cc.ssthresh_bytes = t->rest_ssthresh_bytes;
        cc_set_mss(&w->cc, t->snd_mss_bytes);
        cc_idle(&w->cc); /* it was silent for longer than an RTO */
    }
    w->deadline_ns[TCP_TIMER_LIFE] = t->flow.timer.deadline_ns;
    t->work = w;
    tcp_set_timer(t, TCP_TIMER_REST, e->now_ns + TCP_REST_NS);
    return true;
}

bool tcp_may_rest(const struct tcp *t)
{
    const struct tcp_work *w = t->work;
    bool is_quiet = t->state == TCP_ESTABLISHED || t->state == TCP_CLOSE_WAIT ||
                    t->state == TCP_FIN_WAIT_2 || t->state == TCP_TIME_WAIT;

    return is_quiet && t->snd_una == t->snd_nxt && w->send_timer == TCP_SEND_IDLE &&
           w->recovery == TCP_OPEN && w->tx.bytes == 0 && !w->tx.reserved && w->rx.bytes == 0 &&
           !w->islands && w->dsack_count == 0 && !t->fin_early && !t->ack_now && !t->ack_later &&
           !t->starved && (t->fin_sent || !t->fin_wanted) && !list_is_linked(&t->flow.output_node);
}

void tcp_rest(struct tcp *t)
{
    struct tcp_engine *e = t->work->engine;
    uint64_t life_ns = t->work->deadline_ns[TCP_TIMER_LIFE];

    t->rest_cwnd_bytes = t->work->cc.cwnd_bytes;
    t->rest_ssthresh_bytes = t->work->cc.ssthresh_bytes;
    t->dsack_seen = t->tlp_out = t->tlp_now = false;
    pool_put(&e->work_pool, t->work);
    t->work = e->at_rest;
    tcp_set_timer(t, TCP_TIMER_LIFE, life_ns);
}

/* What was received and not read stays. */
static void tcp_release_queues(struct tcp *t)
{
    struct tcp_engine *e = t->work->engine;
    struct list *node;

    if (!tcp_is_awake(t))
        return;
    while ((node = list_first(&t->work->runs)) != NULL)
        tcp_run_free(t, LIST_ENTRY(node, struct tcp_run, node));
    span_clear(&t->work->tx, &e->span_pool);
    t->work->tx_next = (struct span_place){0};
    tcp_out_of_order_clear(t);
}

/* TIME-WAIT: only its end is left to be waited for. */
static void tcp_stop_timers(struct tcp *t)
{
    if (!tcp_is_awake(t))
        return;
    tcp_set_timer(t, TCP_TIMER_SEND, WHEEL_NEVER);
    t->work->send_timer = TCP_SEND_IDLE;
}

void tcp_enter(struct tcp *t, enum tcp_state s)
{
    struct net *net = t->work->engine->net;
    uint8_t was = t->state;

    assert(s == TCP_CLOSED || (state_moves[t->state] & TO(s)));
    tcp_count_half_open(t, state_is_half_open(s));
    net->stats.tcp_time_wait +=
        (uint64_t)(s == TCP_TIME_WAIT) - (uint64_t)(was == TCP_TIME_WAIT);
    t->state = (uint8_t)s;
    t->work->engine->states_visited |= TO(s);
    if (was == TCP_SYN_RECEIVED)
        handshake_end(&t->work->handshake);
    if (s == TCP_SYN_RECEIVED)
        handshake_begin(net, &t->work->handshake, &t->flow, t->work->engine->now_ns);
    if (s == TCP_TIME_WAIT) {
        tcp_release_queues(t);
        list_init(&t->wait_node);
        list_push_back(&t->work->engine->time_wait, &t->wait_node);
        tcp_stop_timers(t);
    }
    if (s == TCP_CLOSED) {
        if (was == TCP_TIME_WAIT)
            list_remove(&t->wait_node);
        tcp_release_queues(t);
        t->flow.client->tcp--;
        flow_remove(net, &t->flow);
        t->work->engine->flows--;
        net->stats.tcp_open--;
    } else {
        tcp_arm_life_timer(t);
    }
}

void tcp_end(struct tcp *t, int why)
{
    if (t->state == TCP_CLOSED)
        return;
    t->why = (int8_t)why;
    tcp_enter(t, TCP_CLOSED);
    tcp_notify(t);
}

/* All that is left of it goes, unread octets too. */
static void tcp_forget_work(struct tcp *t)
{
    struct tcp_engine *e = t->work->engine;

    if (!tcp_is_awake(t))
        return;
    span_clear(&t->work->rx, &e->span_pool);
    pool_put(&e->work_pool, t->work);
    t->work = e->at_rest;
}

void tcp_free(struct tcp *t)
{
    assert(t->state == TCP_CLOSED);
    list_remove(&t->flow.ready_node);
    tcp_forget_work(t);
    pool_put(&t->work->engine->tcp_pool, t);
}

/* The oldest flow in TIME-WAIT makes room for a new one. */
static struct tcp *tcp_get(struct tcp_engine *e)
{
    struct tcp *t = pool_get(&e->tcp_pool);
    struct list *oldest = list_first(&e->time_wait);

    while (!t && oldest) {
        struct tcp *old = LIST_ENTRY(oldest, struct tcp, wait_node);

        oldest = oldest->next == &e->time_wait ? NULL : oldest->next;
        if (old->flow.owner)
            continue;
        tcp_enter(old, TCP_CLOSED);
        tcp_free(old);
        t = pool_get(&e->tcp_pool);
    }
    return t;
}

/* RFC 6528: a keyed hash of the 4-tuple, and a clock of 4 us. */
static uint32_t tcp_initial_sequence(const struct tcp *t)
{
    const struct flow_key *k = &t->flow.key;

    return (uint32_t)siphash24(&t->work->engine->net->secret, k, sizeof(*k)) +
           (uint32_t)(t->work->engine->now_ns / 4000);
}

/* RFC 7323 section 5.4: an offset per pair of hosts, so that they see one clock and nobody sees ours. */
static uint32_t tcp_timestamp_offset(const struct tcp *t)
{
    uint8_t pair[32];

    memcpy(pair, t->flow.key.client, 16);
    memcpy(pair + 16, t->flow.key.remote, 16);
    return (uint32_t)siphash24(&t->work->engine->net->secret, pair, sizeof(pair));
}

static uint8_t tcp_window_scale(uint32_t window_bytes)
{
    uint8_t log2 = 0;

    while (log2 < TCP_WSCALE_MAX && window_bytes >> log2 > 65535)
        log2++;
    return log2;
}

void tcp_set_iss(struct tcp *t, uint32_t iss)
{
    t->iss = t->snd_una = t->snd_nxt = t->work->high_sacked = iss;
}

struct tcp *tcp_new(struct tcp_engine *e, const struct flow_key *key, enum drop *why)
{
    struct net *net = e->net;
    struct tcp *t = NULL;

    *why = DROP_NO_MEMORY;
    if (memory_pressure(net->memory) == MEMORY_CRITICAL)
        tcp_relieve(e, e->now_ns);
    if (memory_pressure(net->memory) < MEMORY_CRITICAL)
        t = tcp_get(e);
    if (!t) {
        if (e->tcp_pool.used >= e->tcp_pool.used_max)
            *why = DROP_TCP_FLOW_LIMIT;
        return NULL;
    }
    if (!flow_insert(&net->flows, &t->flow, key, flow_hash(&net->flows, key))) {
        pool_put(&e->tcp_pool, t);
        return NULL;
    }
    t->work = e->at_rest;
    if (!tcp_wake(t)) {
        flow_remove(net, &t->flow);
        pool_put(&e->tcp_pool, t);
        return NULL;
    }
    t->flow.client->tcp++;
    t->flow.stream.ops = &stream_userspace;
    t->opened_ns = t->heard_ns = e->now_ns;
    t->pmtu_bytes = (uint16_t)net->config.mtu_bytes;
    t->peer_mss_bytes = TCP_MSS_DEFAULT;
    t->rcv_mss_bytes = TCP_MSS_DEFAULT;
    t->rcv_limit = TCP_RX_LIMIT_FIRST < net->config.rx_window_bytes ? TCP_RX_LIMIT_FIRST
                                                                    : net->config.rx_window_bytes;
    t->rcv_wscale_log2 = tcp_window_scale(net->config.rx_window_bytes);
    tcp_set_iss(t, tcp_initial_sequence(t));
    t->ts_offset = tcp_timestamp_offset(t);
    e->flows++;
    net->stats.tcp_total++;
    net->stats.tcp_open++;
    return t;
}

/* What fits: the peer's word, our MTU (or what ICMP said of the path), less the options of every segment. */
void tcp_set_mss(struct tcp *t)
{
    uint32_t headers = (tcp_is_v6(t) ? IP6_HEADER_BYTES : IP4_HEADER_BYTES) + TCP_HEADER_BYTES;
    uint32_t mss = t->pmtu_bytes - headers;

    if (mss > t->peer_mss_bytes)
        mss = t->peer_mss_bytes;
    if (mss < TCP_MSS_MIN)
        mss = TCP_MSS_MIN;
    if (t->ts_on)
        mss -= 12;
    if (mss > TCP_SEGMENT_BYTES_MAX)
        mss = TCP_SEGMENT_BYTES_MAX;
    t->snd_mss_bytes = (uint16_t)mss;
    if (tcp_is_awake(t))
        cc_set_mss(&t->work->cc, mss);
}

void tcp_take_syn_options(struct tcp *t, const struct tcp_segment *s)
{
    t->peer_mss_bytes = s->has_mss && s->mss_bytes > 0 ? s->mss_bytes : TCP_MSS_DEFAULT;
    t->wscale_on = s->has_wscale;
    t->snd_wscale_log2 = s->has_wscale ? s->wscale_log2 : 0;
    if (!s->has_wscale)
        t->rcv_wscale_log2 = 0;
    t->ts_on = s->has_ts;
    t->sack_on = s->sack_permitted;
    if (s->has_ts) {
        t->ts_recent = s->ts_val;
        t->ts_recent_hour = tcp_now_hour(t);
    }
    t->work->irs = s->seq;
    t->rcv_nxt = t->rcv_edge = s->seq + 1;
    t->work->rcv_acked = t->work->rcv_grown_at = t->rcv_nxt;
    t->snd_wnd = t->snd_wnd_max = s->wnd; /* a SYN's window is never scaled */
    t->snd_wl1 = s->seq;
    t->snd_wl2 = s->flags & TCP_ACK ? s->ack : t->iss;
    tcp_set_mss(t);
    cc_init(&t->work->cc, t->work->engine->cc, t->snd_mss_bytes);
}

struct tcp *tcp_dial(struct tcp_engine *e, const adit_addr *from, const adit_addr *to,
                     uint64_t now_ns)
{
    struct flow_key key = {
        .client_port = to->port, .remote_port = from->port, .proto = IP_PROTO_TCP};
    enum drop why;
    struct tcp *t;

    e->now_ns = now_ns;
    memcpy(key.client, to->ip, 16);
    memcpy(key.remote, from->ip, 16);
    if (from->family != to->family || from->port == 0 || to->port == 0 ||
        flow_find(&e->net->flows, &key, flow_hash(&e->net->flows, &key)))
        return NULL;
    t = tcp_new(e, &key, &why);
    if (!t)
        return NULL;
    t->ts_on = t->sack_on = t->wscale_on = true; /* offered */
    tcp_set_mss(t);
    cc_init(&t->work->cc, e->cc, t->snd_mss_bytes);
    tcp_enter(t, TCP_SYN_SENT);
    tcp_wants_output(t);
    return t;
}

/* ------------------------------------------------------------------------------------- the stream -- */

static struct tcp *tcp_of(const struct stream *s)
{
    return LIST_ENTRY(s, struct tcp, flow.stream);
}

/* The most that it may hold toward the client, unsent or in flight: half of what is left for all. So a few flows may hold much,
 * and of many no one so much that memory ends: with n of them each comes to rest at 1/(n + 2). Buffers that are free are kept on
 * the budget, and are as good as memory that is left. */
static uint32_t tcp_tx_max(const struct tcp *t)
{
    const struct net *net = t->work->engine->net;
    uint64_t share = (memory_left(net->memory, MEMORY_HIGH) + net->bufs->cached_bytes) / 2;

    if (share < TCP_PRESSED_WINDOW)
        share = TCP_PRESSED_WINDOW;
    return share < net->config.tx_buffer_bytes ? (uint32_t)share : net->config.tx_buffer_bytes;
}

static uint32_t tcp_tx_ahead_max(const struct tcp *t)
{
    const struct net *net = t->work->engine->net;
    uint32_t ahead = memory_pressure(net->memory) >= MEMORY_HIGH ? TCP_PRESSED_WINDOW : TCP_TX_AHEAD;
    uint32_t max = tcp_tx_max(t);

    return ahead < max ? ahead : max;
}

/* What may wait for a window that is closed: enough for its probes, and as long as memory is plenty so much that whoever reads
 * on gets large segments. */
static uint32_t tcp_tx_stock(const struct tcp *t)
{
    uint32_t stock = t->snd_wnd_max / 4;

    if (stock < TCP_TX_STOCK_MIN || memory_pressure(t->work->engine->net->memory) > MEMORY_EASY)
        return TCP_TX_STOCK_MIN;
    return stock < TCP_TX_STOCK_MAX ? stock : TCP_TX_STOCK_MAX;
}

/* How much may wait unsent. What is in flight is bounded by the windows; more than can leave in the next turns only fills
 * memory, and leaves the cache before it leaves. What the peer has no room for stays with whoever sends it, but for a stock: ten
 * thousand clients that do not read cost little. A window that opens is seen, filled by the handler and used within one turn. */
static uint32_t tcp_tx_limit(const struct tcp *t)
{
    uint32_t right = t->snd_una + t->snd_wnd, max = tcp_tx_ahead_max(t), stock = tcp_tx_stock(t);
    uint32_t window = seq_lt(t->snd_nxt, right) ? right - t->snd_nxt : 0;

    return window + stock < max ? window + stock : max;
}

static uint32_t tcp_tx_unsent(const struct tcp *t)
{
    return tcp_tx_end(t) - t->snd_nxt;
}

static uint32_t tcp_tx_room(const struct tcp *t)
{
    uint32_t max = tcp_tx_max(t), limit = tcp_tx_limit(t), unsent, room;

    if (t->fin_wanted || (t->state != TCP_ESTABLISHED && t->state != TCP_CLOSE_WAIT))
        return 0;
    unsent = tcp_tx_unsent(t);
    room = unsent < limit ? limit - unsent : 0;
    if (t->work->tx.bytes >= max)
        return 0;
    return room < max - t->work->tx.bytes ? room : max - t->work->tx.bytes;
}

/* Room is worth a call of the handler when it is a quarter of what there can be, so that it is not called for crumbs; or when
 * there is nothing else to send, and the peer's window lets it be no more. */
static bool tcp_tx_room_is_worth_it(const struct tcp *t)
{
    uint32_t most = tcp_tx_ahead_max(t), most_open = t->snd_wnd_max + tcp_tx_stock(t), room = tcp_tx_room(t);

    if (most_open < most)
        most = most_open;
    return room >= most / 4 || (room > 0 && tcp_tx_unsent(t) == 0 && tcp_tx_limit(t) < most);
}

static bool tcp_is_writable(const struct tcp *t)
{
    return !t->starved && tcp_tx_room(t) > 0 && (!t->write_blocked || tcp_tx_room_is_worth_it(t));
}

void tcp_room_made(struct tcp *t)
{
    if (!t->write_blocked || !tcp_tx_room_is_worth_it(t))
        return;
    t->write_blocked = false;
    tcp_notify(t);
}

/* Who is told that there is no room waits for it, whether it has tried to write or not: room may go without a write, when the
 * peer takes its window back or memory gets tight. */
static unsigned tcp_stream_events(const struct stream *s)
{
    struct tcp *t = tcp_of(s);
    unsigned ev = 0;

    /* What was received in order is still the handler's to read. */
    if ((t->state == TCP_CLOSED || t->state == TCP_TIME_WAIT) &&
        (t->work->rx.bytes == 0 || t->why != 0 || t->closed_by_handler))
        ev |= STREAM_CLOSED;
    if (!t->flow.owner &&
        (t->state == TCP_PENDING || (tcp_is_synchronized(t) && t->passive && t->accept_early)))
        ev |= STREAM_NEW;
    if (tcp_is_synchronized(t))
        ev |= STREAM_OPEN;
    if (t->work->rx.bytes > 0 || t->fin_received || t->why != 0)
        ev |= STREAM_READ;
    if (tcp_is_writable(t) || t->why != 0)
        ev |= STREAM_WRITE;
    else
        t->write_blocked = true;
    return ev;
}

static int tcp_stream_accept(struct stream *s)
{
    struct tcp *t = tcp_of(s);

    if (t->state != TCP_PENDING)
        return t->state == TCP_CLOSED ? ADIT_ECLOSED : ADIT_ESTATE;
    tcp_enter(t, TCP_SYN_RECEIVED);
    tcp_wants_output(t);
    return 0;
}

/* The connection is over, and what its handler has not read it does not want. */
static void tcp_forget_received(struct tcp *t)
{
    t->closed_by_handler = true;
    if (tcp_is_awake(t))
        span_clear(&t->work->rx, &t->work->engine->span_pool);
    tcp_notify(t);
}

static void tcp_stream_abort(struct stream *s)
{
    struct tcp *t = tcp_of(s);

    if (t->state == TCP_CLOSED) {
        tcp_forget_received(t);
        return;
    }
    if (t->state != TCP_TIME_WAIT && t->state != TCP_SYN_SENT)
        tcp_send_reset(t);
    tcp_end(t, ADIT_ECANCELED);
}

static void tcp_stream_reject(struct stream *s, int verdict)
{
    struct tcp *t = tcp_of(s);

    if (t->state != TCP_PENDING) {
        tcp_stream_abort(s);
        return;
    }
    t->work->engine->net->stats.tcp_rejected++;
    if (verdict == ADIT_RESET)
        tcp_send_reset(t);
    else if (verdict != ADIT_DROP)
        tcp_send_unreachable(t, verdict);
    tcp_end(t, ADIT_ECANCELED);
}

static int tcp_stream_peek(const struct stream *s, adit_iov *iov, int iov_max)
{
    struct tcp *t = tcp_of(s);

    if (t->work->rx.bytes > 0)
        return span_view(&t->work->rx, (struct span_place){0}, t->work->rx.bytes, iov, iov_max);
    if (t->fin_received)
        return 0;
    if (t->why != 0)
        return t->why;
    return t->state == TCP_CLOSED ? ADIT_ECLOSED : ADIT_EAGAIN;
}

static void tcp_stream_consume(struct stream *s, size_t len_bytes)
{
    struct tcp *t = tcp_of(s);

    assert(len_bytes <= t->work->rx.bytes);
    tcp_consume(t, (uint32_t)len_bytes);
}

static int tcp_stream_reserve(struct stream *s, adit_iov *iov, int iov_max)
{
    struct tcp *t = tcp_of(s);
    struct tcp_engine *e = t->work->engine;
    uint32_t room = tcp_tx_room(t);
    int n;

    if (t->state == TCP_CLOSED)
        return t->why ? t->why : ADIT_ECLOSED;
    if (t->fin_wanted || t->state > TCP_CLOSE_WAIT)
        return ADIT_ECLOSED;
    if (!tcp_is_writable(t)) {
        t->write_blocked = true;
        return ADIT_EAGAIN;
    }
    if (!tcp_wake(t)) {
        tcp_starve(t);
        return ADIT_EAGAIN;
    }
    n = span_reserve(&t->work->tx, &e->span_pool, e->net->bufs, room, t->bulk, iov, iov_max);
    if (n == 0) {
        tcp_starve(t);
        return ADIT_EAGAIN;
    }
    return n;
}

static void tcp_stream_commit(struct stream *s, size_t len_bytes)
{
    struct tcp *t = tcp_of(s);

    if (t->state == TCP_CLOSED)
        return;
    t->bulk = len_bytes > 16 * 1024;
    span_commit(&t->work->tx, &t->work->engine->span_pool, (uint32_t)len_bytes);
    if (tcp_tx_room(t) == 0)
        t->write_blocked = true;
    tcp_wants_output(t);
}

static int tcp_stream_shutdown(struct stream *s)
{
    struct tcp *t = tcp_of(s);

    if (t->state != TCP_ESTABLISHED && t->state != TCP_CLOSE_WAIT && t->state != TCP_SYN_SENT &&
        t->state != TCP_SYN_RECEIVED)
        return t->state == TCP_PENDING ? ADIT_ESTATE : ADIT_ECLOSED;
    t->fin_wanted = true; /* the state moves when the FIN leaves */
    tcp_wants_output(t);
    return 0;
}

static void tcp_stream_close(struct stream *s)
{
    struct tcp *t = tcp_of(s);

    if (t->state == TCP_CLOSED || t->state == TCP_TIME_WAIT) {
        tcp_forget_received(t);
        return;
    }
    if (t->state == TCP_PENDING || t->state == TCP_SYN_SENT) {
        tcp_stream_abort(s);
        return;
    }
    t->closed_by_handler = true;
    if (tcp_wake(t)) /* else output will try */
        t->work->progress_ns = t->work->engine->now_ns;
    if (t->work->rx.bytes > 0) {
        /* RFC 9293 3.6.1, 1122 4.2.2.13: what was acknowledged and never read is lost; say so. */
        tcp_stream_abort(s);
        return;
    }
    if (!t->fin_wanted)
        (void)tcp_stream_shutdown(s);
    tcp_arm_life_timer(t);
}

static void tcp_stream_settle(struct stream *s)
{
    struct tcp *t = tcp_of(s);

    if (!tcp_is_awake(t))
        return;
    span_settle(&t->work->rx, &t->work->engine->span_pool, t->work->engine->net->bufs);
    span_release_reserved(&t->work->tx, &t->work->engine->span_pool);
}

static int tcp_stream_why(const struct stream *s)
{
    return tcp_of(s)->why;
}

static void tcp_stream_stat(const struct stream *s, adit_conn_info *out)
{
    const struct tcp *t = tcp_of(s);

    *out = (adit_conn_info){
        .rx_bytes = t->rx_bytes,
        .tx_bytes = t->tx_bytes,
        .opened_ns = t->opened_ns,
        .state = state_names[t->state],
        .srtt_us = t->srtt_us,
        .rto_us = tcp_is_awake(t) ? t->work->rto_us : tcp_rto_of_rtt_us(t),
        .cwnd_bytes = tcp_is_awake(t) ? t->work->cc.cwnd_bytes : t->rest_cwnd_bytes,
        .mss_bytes = t->snd_mss_bytes,
        .retransmits = t->retransmits,
        .rx_queued_bytes = t->work->rx.bytes,
        .tx_queued_bytes = t->work->tx.bytes,
    };
}

static void tcp_stream_free(struct stream *s)
{
    struct tcp *t = tcp_of(s);

    t->flow.owner = NULL;
    if (t->state == TCP_TIME_WAIT) {
        list_remove(&t->flow.ready_node);
        if (tcp_is_awake(t))
            span_clear(&t->work->rx, &t->work->engine->span_pool);
        return; /* the engine's now */
    }
    tcp_free(t);
}

static const struct stream_ops stream_userspace = {
    .name = "userspace",
    .events = tcp_stream_events,
    .accept = tcp_stream_accept,
    .reject = tcp_stream_reject,
    .peek = tcp_stream_peek,
    .consume = tcp_stream_consume,
    .reserve = tcp_stream_reserve,
    .commit = tcp_stream_commit,
    .shutdown = tcp_stream_shutdown,
    .close = tcp_stream_close,
    .abort = tcp_stream_abort,
    .settle = tcp_stream_settle,
    .why = tcp_stream_why,
    .stat = tcp_stream_stat,
    .free = tcp_stream_free,
};
