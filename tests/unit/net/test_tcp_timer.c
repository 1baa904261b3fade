/* SPDX-License-Identifier: MIT */
/* test_tcp_timer: what happens when nothing arrives: pending, keepalive, closed and small windows. */
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
    rig_init(&r);
    rig_enter(&r, TCP_ESTABLISHED);
    for (int i = 0; i < 5; i++) {
        rig_sleep(&r, 2 * HOUR + SECOND);
        assert_int_equal(count_probes(&r), 1);
        ack(&r);
    }
    assert_int_equal(r.t->state, TCP_ESTABLISHED);
    rig_deinit(&r);
}

static void probes_of_a_closed_window_are_further_and_further_apart(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.wnd = 0;
    rig_enter(&r, TCP_ESTABLISHED);
    rig_write(&r, 100);
    rig_silent(&r);
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
    rig_init(&r);
    r.wnd = 0;
    rig_enter(&r, TCP_ESTABLISHED);
    rig_write(&r, 100);
    rig_silent(&r);
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
    rig_init(&r);
    r.wnd = 0;
    rig_enter(&r, TCP_ESTABLISHED);
    rig_write(&r, 100);
    rig_silent(&r);
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
    rig_init(&r);
    rig_enter(&r, TCP_ESTABLISHED);
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
    rig_init(&r);
    rig_enter(&r, TCP_ESTABLISHED);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
