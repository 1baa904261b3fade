/* SPDX-License-Identifier: MIT */
/* test_tcp_timer: what happens when nothing arrives: pending, keepalive, closed and small windows. */
#include "tcp_check.h"
#include "tcp_rig.h"

#define SECOND 1000000000ull
#define HOUR (3600 * SECOND)

/* What left, and that all of it were empty segments just below the window. */
static int count_probes(struct tcp_rig *r)
{
    const struct rig_segment *o;
    int n = 0;

    while ((o = rig_next(r)) != NULL) {
        assert_int_equal(o->s.flags, TCP_ACK);
        assert_int_equal(o->s.seq, r->t->snd_una - 1);
        assert_int_equal(o->s.len_bytes, 0);
        n++;
    }
    rig_forget_output(r);
    return n;
}

static void ack(struct tcp_rig *r)
{
    assert_int_equal(rig_in(r, TCP_ACK, r->snd, r->t->snd_una, 0), DROP_NONE);
}

static void a_flow_that_nobody_settles_is_refused(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_PENDING);
    rig_sleep(&r, 9 * SECOND);
    rig_silent(&r);
    rig_sleep(&r, 2 * SECOND);
    rig_out(&r, TCP_RST | TCP_ACK, 0, r.snd, 0);
    assert_int_equal(r.t->state, TCP_CLOSED);
    assert_int_equal(r.t->why, ADIT_ETIMEDOUT);
    rig_deinit(&r);
}

static void a_silent_peer_is_probed_nine_times_after_two_hours_and_given_up(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.net.config.tcp_idle_ns = 24 * HOUR;
    rig_enter(&r, TCP_ESTABLISHED);
    rig_sleep(&r, 2 * HOUR - SECOND);
    rig_silent(&r);
    rig_sleep(&r, 2 * SECOND + 8 * TCP_KEEPALIVE_INTERVAL_NS);
    assert_int_equal(count_probes(&r), TCP_KEEPALIVE_PROBES);
    rig_sleep(&r, TCP_KEEPALIVE_INTERVAL_NS + SECOND);
    rig_out(&r, TCP_RST | TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(r.t->why, ADIT_ETIMEDOUT);
    rig_deinit(&r);
}

static void a_peer_that_answers_keepalives_keeps_its_flow(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    for (int i = 0; i < 5; i++) {
        rig_sleep(&r, 2 * HOUR + SECOND);
        assert_int_equal(count_probes(&r), 1);
        ack(&r);
    }
    assert_int_equal(r.t->state, TCP_ESTABLISHED);
    rig_deinit(&r);
}

/* Something to send, and no room for it. */
static void open_with_closed_window(struct tcp_rig *r)
{
    rig_init(r);
    r->wnd = 0;
    rig_enter(r, TCP_ESTABLISHED);
    rig_write(r, 100);
    rig_silent(r);
}

static void probes_of_a_closed_window_are_further_and_further_apart(void **state)
{
    struct tcp_rig r;

    (void)state;
    open_with_closed_window(&r);
    for (uint64_t ms = 200; ms <= 6400; ms *= 2) {
        rig_sleep(&r, (ms - 20) * 1000000);
        rig_silent(&r);
        rig_sleep(&r, 20 * 1000000);
        assert_int_equal(count_probes(&r), 1);
        ack(&r);
    }
    r.wnd = 1000;
    ack(&r);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 100);
    rig_deinit(&r);
}

static void a_closed_window_is_probed_for_ever_while_the_peer_answers(void **state)
{
    struct tcp_rig r;

    (void)state;
    open_with_closed_window(&r);
    for (int minute = 0; minute < 60; minute++) {
        rig_sleep(&r, 61 * SECOND);
        assert_true(count_probes(&r) > 0);
        ack(&r);
    }
    assert_int_equal(r.t->state, TCP_ESTABLISHED);
    rig_deinit(&r);
}

static void a_closed_window_ends_the_flow_after_fifteen_probes_without_answer(void **state)
{
    struct tcp_rig r;

    (void)state;
    open_with_closed_window(&r);
    rig_sleep(&r, HOUR);
    assert_int_equal(r.out_count, TCP_RETRIES + 1);
    assert_int_equal(r.out[TCP_RETRIES].s.flags, TCP_RST | TCP_ACK);
    assert_int_equal(r.t->why, ADIT_ETIMEDOUT);
    rig_deinit(&r);
}

static void a_window_that_stays_small_is_filled_after_the_persist_timeout(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    r.wnd = 100; /* it was 65535 */
    ack(&r);
    rig_write(&r, 5000);
    rig_silent(&r);
    rig_sleep(&r, SECOND);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 100);
    rig_deinit(&r);
}

static void timeouts_against_a_closed_window_end_nothing_while_the_peer_answers(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_write(&r, 100);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 100);
    r.wnd = 0; /* it shrank over what is in flight */
    ack(&r);
    for (int minute = 0; minute < 60; minute++) {
        rig_sleep(&r, 60 * SECOND);
        rig_forget_output(&r);
        ack(&r);
    }
    assert_int_equal(r.t->state, TCP_ESTABLISHED);
    rig_sleep(&r, 10 * 60 * SECOND); /* it falls silent */
    assert_int_equal(r.t->state, TCP_CLOSED);
    rig_deinit(&r);
}

static void a_silent_flow_rests_in_every_state_that_may_last(void **state)
{
    static const enum tcp_state rows[] = {TCP_ESTABLISHED, TCP_CLOSE_WAIT, TCP_FIN_WAIT_2, TCP_TIME_WAIT};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tcp_rig r;

        rig_init(&r);
        rig_enter(&r, rows[i]);
        assert_true(tcp_is_awake(r.t));
        rig_sleep(&r, 3 * SECOND);
        assert_int_equal(r.t->state, rows[i]);
        assert_false(tcp_is_awake(r.t));
        assert_int_equal(r.engine.work_pool.used, 1); /* what all of them share */
        assert_int_not_equal(r.t->flow.timer.deadline_ns, WHEEL_NEVER);
        rig_forget_output(&r); /* the ACK of a FIN may have waited */
        rig_silent(&r);
        rig_deinit(&r);
    }
}

static void a_flow_that_rested_goes_on_as_before(void **state)
{
    struct tcp_rig r;
    uint32_t cwnd, ours;

    (void)state;
    rig_established(&r);
    ours = rig_ours(&r);
    r.t->work->cc.cwnd_bytes = cwnd = 3 * 1460;
    r.t->work->cc.ssthresh_bytes = 5 * 1460;
    rig_sleep(&r, 3 * SECOND);
    assert_false(tcp_is_awake(r.t));
    rig_write(&r, 10000);
    assert_int_equal(r.t->work->cc.ssthresh_bytes, 5 * 1460);
    rig_out(&r, TCP_ACK, ours, r.snd, cwnd);
    rig_silent(&r);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, ours + cwnd, 100), DROP_NONE);
    assert_int_equal(r.t->work->rx.bytes, 100);
    rig_sleep(&r, 100 * SECOND); /* nobody acknowledges, nobody reads: no rest */
    assert_true(tcp_is_awake(r.t));
    rig_deinit(&r);
}

static void nothing_read_at_rest_leaves_what_all_share(void **state)
{
    struct tcp_rig r;
    uint32_t limit_bytes;

    (void)state;
    rig_init(&r);
    r.net.config.rx_window_bytes = 1024 * 1024; /* so that there is a limit to grow, */
    r.snd = 1024 * 1024;                        /* and reason to, for one who reads zeros */
    rig_enter(&r, TCP_ESTABLISHED);
    rig_sleep(&r, 3 * SECOND);
    assert_false(tcp_is_awake(r.t));
    limit_bytes = r.t->rcv_limit;
    r.t->flow.stream.ops->consume(&r.t->flow.stream, 0);
    assert_int_equal(r.t->rcv_limit, limit_bytes);
    assert_null(tcp_check(r.t));
    rig_silent(&r);
    rig_deinit(&r);
}

static void without_memory_a_flow_at_rest_loses_what_comes_and_waits_with_what_goes(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_sleep(&r, 3 * SECOND);
    r.engine.work_pool.used_max = r.engine.work_pool.used;
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 100), DROP_NO_MEMORY);
    rig_silent(&r);
    rig_shutdown(&r);
    rig_silent(&r);
    rig_sleep(&r, SECOND);
    rig_silent(&r);
    assert_int_equal(r.engine.at_rest->send_timer, TCP_SEND_IDLE); /* which all at rest share */
    r.engine.work_pool.used_max = UINT32_MAX;
    rig_sleep(&r, SECOND / 50);
    rig_out(&r, TCP_FIN | TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1, 100), DROP_NONE);
    rig_deinit(&r);
}

static void without_memory_a_reset_is_still_believed(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_sleep(&r, 3 * SECOND);
    r.engine.work_pool.used_max = r.engine.work_pool.used;
    assert_int_equal(rig_in(&r, TCP_RST, r.snd, 0, 0), DROP_TCP_RESET);
    assert_int_equal(r.t->state, TCP_CLOSED);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flow_that_nobody_settles_is_refused),
        cmocka_unit_test(a_silent_peer_is_probed_nine_times_after_two_hours_and_given_up),
        cmocka_unit_test(a_peer_that_answers_keepalives_keeps_its_flow),
        cmocka_unit_test(probes_of_a_closed_window_are_further_and_further_apart),
        cmocka_unit_test(a_closed_window_is_probed_for_ever_while_the_peer_answers),
        cmocka_unit_test(a_closed_window_ends_the_flow_after_fifteen_probes_without_answer),
        cmocka_unit_test(a_window_that_stays_small_is_filled_after_the_persist_timeout),
        cmocka_unit_test(timeouts_against_a_closed_window_end_nothing_while_the_peer_answers),
        cmocka_unit_test(a_silent_flow_rests_in_every_state_that_may_last),
        cmocka_unit_test(a_flow_that_rested_goes_on_as_before),
        cmocka_unit_test(nothing_read_at_rest_leaves_what_all_share),
        cmocka_unit_test(without_memory_a_flow_at_rest_loses_what_comes_and_waits_with_what_goes),
        cmocka_unit_test(without_memory_a_reset_is_still_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
