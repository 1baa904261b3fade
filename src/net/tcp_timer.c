/* SPDX-License-Identifier: MIT */
/* tcp_timer: a connection has three deadlines (enum tcp_timer) and one entry in the wheel, at the earliest of them.
 *
 * The wheel moves an entry later by a store, so re-arming the send timer with each ACK costs next to nothing. On expiry
 * every deadline that has passed is served, then the entry is set anew. RFC 6298 (RTO), 8985 section 7 (TLP),
 * 9293 3.8.6.1 (zero windows), 1122 4.2.3.6 (keepalive). */
#include "net/tcp_private.h"

static void tcp_set_wheel(struct tcp *t)
{
    uint64_t first = WHEEL_NEVER;

    for (int i = 0; i < TCP_TIMERS; i++)
        if (t->work->deadline_ns[i] < first)
            first = t->work->deadline_ns[i];
    wheel_set(&t->work->engine->net->wheel, &t->flow.timer, first);
}

void tcp_set_timer(struct tcp *t, enum tcp_timer which, uint64_t deadline_ns)
{
    if (t->state == TCP_CLOSED)
        return;
    if (!tcp_is_awake(t)) {
        if (which == TCP_TIMER_LIFE)
            wheel_set(&t->work->engine->net->wheel, &t->flow.timer, deadline_ns);
        return; /* no other runs */
    }
    if (t->work->deadline_ns[which] == deadline_ns)
        return;
    t->work->deadline_ns[which] = deadline_ns;
    tcp_set_wheel(t);
}

void tcp_starve(struct tcp *t)
{
    t->starved = true;
    tcp_arm_life_timer(t);
}

/* RFC 6298 2.1 to 2.4, with a granularity of 1 ms. Open, and no round trip timed: the SYN-ACK was repeated (5.7). */
uint32_t tcp_rto_of_rtt_us(const struct tcp *t)
{
    uint32_t us = t->srtt_us + (4 * t->rttvar_us > 1000 ? 4 * t->rttvar_us : 1000);

    if (t->srtt_us == 0)
        return tcp_is_synchronized(t) ? TCP_RTO_AFTER_LOST_SYN_US : TCP_RTO_INITIAL_US;
    if (us < TCP_RTO_MIN_US)
        return TCP_RTO_MIN_US;
    return us < TCP_RTO_MAX_US ? us : TCP_RTO_MAX_US;
}

uint64_t tcp_rto_ns(const struct tcp *t)
{
    uint64_t us = (uint64_t)t->work->rto_us << (t->work->backoff_log2 < 16 ? t->work->backoff_log2 : 16);

    return (us < TCP_RTO_MAX_US ? us : TCP_RTO_MAX_US) * 1000;
}

static uint64_t tcp_idle_ns(const struct tcp *t)
{
    return t->idle_ms ? t->idle_ms * 1000000ull : t->work->engine->net->config.tcp_idle_ns;
}

void tcp_arm_life_timer(struct tcp *t)
{
    const struct net_config *c = &t->work->engine->net->config;
    uint64_t now_ns = t->work->engine->now_ns, at_ns = WHEEL_NEVER;

    switch ((enum tcp_state)t->state) {
    case TCP_PENDING:
        at_ns = t->opened_ns + c->pending_ns;
        break;
    case TCP_ESTABLISHED:
    case TCP_CLOSE_WAIT:
        at_ns = t->probes ? now_ns + TCP_KEEPALIVE_INTERVAL_NS : t->heard_ns + c->tcp_keepalive_ns;
        if (at_ns > t->heard_ns + tcp_idle_ns(t))
            at_ns = t->heard_ns + tcp_idle_ns(t);
        if (t->closed_by_handler && tcp_is_awake(t) &&
            at_ns > t->work->progress_ns + TCP_LINGER_NS)
            at_ns = t->work->progress_ns + TCP_LINGER_NS;
        break;
    case TCP_FIN_WAIT_1:
        at_ns = t->closed_by_handler ? t->work->progress_ns + TCP_LINGER_NS
                                     : t->heard_ns + c->tcp_half_closed_ns;
        break;
    case TCP_FIN_WAIT_2:
        at_ns = t->closed_by_handler ? now_ns + TCP_CLOSED_FIN_WAIT_2_NS
                                     : t->heard_ns + c->tcp_half_closed_ns;
        break;
    case TCP_CLOSING:
    case TCP_LAST_ACK:
        if (t->closed_by_handler)
            at_ns = t->work->progress_ns + TCP_LINGER_NS;
        break;
    case TCP_TIME_WAIT:
        at_ns = now_ns + c->tcp_time_wait_ns;
        break;
    case TCP_CLOSED:
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
    case TCP_STATES:
        break; /* the send timer bounds these */
    }
    if (t->starved && at_ns > now_ns + TCP_STARVED_NS)
        at_ns = now_ns + TCP_STARVED_NS;
    tcp_set_timer(t, TCP_TIMER_LIFE, at_ns);
}

static void tcp_expire_handshake(struct tcp *t)
{
    if (t->work->backoff_log2 >= TCP_SYN_RETRIES) {
        if (t->state == TCP_SYN_RECEIVED)
            tcp_send_reset(t);
        tcp_end(t, ADIT_ETIMEDOUT);
        return;
    }
    t->work->backoff_log2++;
    t->retransmits++;
    t->snd_nxt = t->iss; /* output sends it again */
    tcp_wants_output(t);
}

/* The peer lives and has closed its window on what is in flight: no reason to give up (RFC 9293 3.8.6.1). */
static bool tcp_is_held_off(const struct tcp *t)
{
    return t->snd_wnd == 0 && t->work->engine->now_ns - t->heard_ns < 2ull * TCP_RTO_MAX_US * 1000;
}

static void tcp_expire_rto(struct tcp *t)
{
    if (!tcp_is_synchronized(t)) {
        tcp_expire_handshake(t);
        return;
    }
    if (t->work->retries >= TCP_RETRIES && !tcp_is_held_off(t)) {
        tcp_send_reset(t);
        tcp_end(t, ADIT_ETIMEDOUT);
        return;
    }
    if (t->work->retries < TCP_RETRIES)
        t->work->retries++;
    if (t->work->backoff_log2 < TCP_RETRIES)
        t->work->backoff_log2++;
    t->work->engine->net->stats.tcp_timeouts++;
    tcp_recovery_on_timeout(t);
    tcp_wants_output(t);
}

static void tcp_expire_persist(struct tcp *t)
{
    /* Probes go on as long as the peer answers. */
    if (t->work->persist_probes >= TCP_RETRIES) {
        tcp_send_reset(t);
        tcp_end(t, ADIT_ETIMEDOUT);
        return;
    }
    t->work->persist_probes++;
    if (t->work->backoff_log2 < TCP_RETRIES)
        t->work->backoff_log2++;
    if (t->snd_wnd > 0)
        t->sws_override = true;
    else
        t->probe_now = true;
    tcp_wants_output(t);
}

static void tcp_expire_send(struct tcp *t)
{
    enum tcp_send_timer what = t->work->send_timer;

    t->work->send_timer = TCP_SEND_IDLE;
    switch (what) {
    case TCP_SEND_IDLE:
        break;
    case TCP_SEND_RTO:
        tcp_expire_rto(t);
        break;
    case TCP_SEND_TLP:
        t->tlp_now = true;
        tcp_wants_output(t);
        break;
    case TCP_SEND_REORDER:
        (void)tcp_detect_losses(t);
        tcp_wants_output(t);
        break;
    case TCP_SEND_PERSIST:
        tcp_expire_persist(t);
        break;
    }
    tcp_arm_send_timer(t); /* in the handshake output does it */
}

/* An established flow that has been silent: probe it, or give it up. */
static void tcp_expire_silent(struct tcp *t)
{
    uint64_t now_ns = t->work->engine->now_ns;

    bool lingers = t->closed_by_handler && tcp_is_awake(t) && now_ns >= t->work->progress_ns + TCP_LINGER_NS;

    if (lingers || now_ns >= t->heard_ns + tcp_idle_ns(t) || t->probes >= TCP_KEEPALIVE_PROBES) {
        tcp_send_reset(t);
        tcp_end(t, ADIT_ETIMEDOUT);
        return;
    }
    if (now_ns >= t->heard_ns + t->work->engine->net->config.tcp_keepalive_ns) {
        t->probes++;
        t->probe_now = true;
        tcp_wants_output(t);
    }
    tcp_arm_life_timer(t);
}

/* We have ended. The other direction may stay open as long as something comes. When nobody reads it any more, what is queued and
 * our FIN may still go as long as it goes forward; then the peer has a minute for its FIN. */
static void tcp_expire_ended(struct tcp *t)
{
    uint64_t now_ns = t->work->engine->now_ns;
    bool goes_on;

    if (!t->closed_by_handler)
        goes_on = now_ns < t->heard_ns + t->work->engine->net->config.tcp_half_closed_ns;
    else
        goes_on = t->state != TCP_FIN_WAIT_2 && now_ns < t->work->progress_ns + TCP_LINGER_NS;
    if (goes_on) {
        tcp_arm_life_timer(t);
        return;
    }
    tcp_send_reset(t);
    tcp_end(t, ADIT_ETIMEDOUT);
}

static void tcp_expire_life(struct tcp *t)
{
    if (t->starved) {
        t->starved = false;
        tcp_notify(t);
        tcp_wants_output(t);
        tcp_arm_life_timer(t);
        return;
    }
    switch ((enum tcp_state)t->state) {
    case TCP_PENDING: /* nobody settled it: refused */
        t->work->engine->net->stats.tcp_rejected++;
        tcp_send_reset(t);
        tcp_end(t, ADIT_ETIMEDOUT);
        break;
    case TCP_ESTABLISHED:
    case TCP_CLOSE_WAIT:
        tcp_expire_silent(t);
        break;
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
        tcp_expire_ended(t);
        break;
    case TCP_TIME_WAIT:
        tcp_enter(t, TCP_CLOSED);
        if (t->flow.owner)
            tcp_notify(t);
        else
            tcp_free(t);
        break;
    case TCP_CLOSED:
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
    case TCP_STATES:
        break;
    }
}

/* Looks whether the connection has been silent for long enough; one that is stuck is looked at more and more seldom. */
static void tcp_expire_rest(struct tcp *t)
{
    struct tcp_work *w = t->work;
    uint64_t silent_ns = tcp_rto_ns(t) > TCP_REST_NS ? tcp_rto_ns(t) : TCP_REST_NS;
    uint64_t since_ns = t->heard_ns > w->last_sent_ns ? t->heard_ns : w->last_sent_ns;

    if (!tcp_may_rest(t)) {
        tcp_set_timer(t, TCP_TIMER_REST, t->work->engine->now_ns + (TCP_REST_NS << w->rest_log2));
        w->rest_log2 = (uint8_t)(w->rest_log2 + (w->rest_log2 < TCP_REST_LOG2_MAX));
        return;
    }
    w->rest_log2 = 0;
    if (t->work->engine->now_ns < since_ns + silent_ns)
        tcp_set_timer(t, TCP_TIMER_REST, since_ns + silent_ns);
    else
        tcp_rest(t);
}

void tcp_expire(void *engine, struct flow *f, uint64_t now_ns)
{
    struct tcp_engine *e = engine;
    struct tcp *t = tcp_of_flow(f);
    bool due[TCP_TIMERS] = {[TCP_TIMER_LIFE] = true};

    e->now_ns = now_ns;
    for (int i = 0; i < TCP_TIMERS && tcp_is_awake(t); i++) {
        due[i] = t->work->deadline_ns[i] <= now_ns;
        if (due[i])
            t->work->deadline_ns[i] = WHEEL_NEVER;
    }
    if (due[TCP_TIMER_ACK] && t->ack_later) {
        t->ack_now = true;
        tcp_wants_output(t);
    }
    if (due[TCP_TIMER_SEND])
        tcp_expire_send(t);
    if (due[TCP_TIMER_LIFE] && t->state != TCP_CLOSED) {
        bool last = t->state == TCP_TIME_WAIT && !t->flow.owner;

        tcp_expire_life(t);
        if (last)
            return; /* freed */
    }
    if (due[TCP_TIMER_REST] && t->state != TCP_CLOSED)
        tcp_expire_rest(t);
    if (t->state != TCP_CLOSED && tcp_is_awake(t))
        tcp_set_wheel(t);
}

void tcp_evict(void *engine, struct flow *f)
{
    struct tcp *t = tcp_of_flow(f);

    (void)engine;
    tcp_send_handshake_reset(t);
    tcp_end(t, ADIT_ELIMIT);
}

void tcp_relieve(void *engine, uint64_t now_ns)
{
    struct tcp_engine *e = engine;
    struct list *node;

    e->now_ns = now_ns;
    while ((node = list_first(&e->with_islands)) != NULL)
        tcp_out_of_order_clear(LIST_ENTRY(node, struct tcp_work, islands_node)->tcp);
    for (node = e->time_wait.next; node != &e->time_wait;) {
        struct tcp *t = LIST_ENTRY(node, struct tcp, wait_node);

        node = node->next;
        if (t->flow.owner)
            continue;
        tcp_enter(t, TCP_CLOSED);
        tcp_free(t);
    }
}
