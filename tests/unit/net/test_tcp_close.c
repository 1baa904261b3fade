/* SPDX-License-Identifier: MIT */
/* test_tcp_close: how flows end (RFC 9293 3.6, 3.10.7; RFC 1337, 6191). */
#include "tcp_rig.h"

#define SECOND 1000000000ull

static const struct stream_ops *ops(const struct tcp_rig *r)
{
    return r->t->flow.stream.ops;
}

static enum drop in_syn(struct tcp_rig *r, uint32_t seq, uint32_t ts)
{
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .seq = seq, .flags = TCP_SYN, .wnd = 1000,
                            .has_ts = ts != 0, .ts_val = ts};

    return rig_in_segment(r, s, "", 0);
}

/* In TIME-WAIT, and its handler has let go of it. Returns our last sequence number. */
static uint32_t wait_alone(struct tcp_rig *r)
{
    uint32_t last;

    rig_enter(r, TCP_TIME_WAIT);
    last = r->t->snd_nxt;
    ops(r)->free(&r->t->flow.stream);
    r->t = NULL;
    return last;
}

static void after_our_fin_the_peer_may_go_on_sending(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_FIN_WAIT_2);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1, 1000), DROP_NONE);
    rig_out(&r, TCP_ACK, rig_ours(&r) + 1, r.snd + 1000, 0);
    assert_int_equal(r.t->work->rx.bytes, 1000);
    assert_int_equal(r.t->state, TCP_FIN_WAIT_2);
    rig_deinit(&r);
}

static void after_the_peers_fin_we_may_go_on_sending_until_our_own(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_CLOSE_WAIT);
    rig_write(&r, 100);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 100);
    rig_shutdown(&r);
    rig_out(&r, TCP_FIN | TCP_ACK, rig_ours(&r) + 100, r.snd, 0);
    assert_int_equal(r.t->state, TCP_LAST_ACK);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, r.t->snd_nxt, 0), DROP_NONE);
    assert_int_equal(r.t->state, TCP_CLOSED);
    assert_int_equal(r.t->why, 0);
    rig_silent(&r);
    rig_deinit(&r);
}

static void both_may_close_at_the_same_time(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_shutdown(&r);
    rig_out(&r, TCP_FIN | TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(rig_in(&r, TCP_FIN | TCP_ACK, r.snd++, rig_ours(&r), 0), DROP_NONE);
    rig_out(&r, TCP_ACK, rig_ours(&r) + 1, r.snd, 0);
    assert_int_equal(r.t->state, TCP_CLOSING);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1, 0), DROP_NONE);
    assert_int_equal(r.t->state, TCP_TIME_WAIT);
    rig_deinit(&r);
}

static void the_fin_leaves_with_the_last_octet(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_write(&r, 10);
    rig_shutdown(&r);
    rig_out(&r, TCP_FIN | TCP_ACK, rig_ours(&r), r.snd, 10);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_close_with_data_unread_resets(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 10);
    rig_forget_output(&r);
    ops(&r)->close(&r.t->flow.stream);
    rig_out(&r, TCP_RST | TCP_ACK, rig_ours(&r), r.snd + 10, 0);
    assert_int_equal(r.t->state, TCP_CLOSED);
    rig_deinit(&r);
}

static void data_after_the_close_resets(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    ops(&r)->close(&r.t->flow.stream);
    rig_out(&r, TCP_FIN | TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1, 1), DROP_TCP_CLOSED_READING);
    rig_out(&r, TCP_RST | TCP_ACK, rig_ours(&r) + 1, r.snd, 0);
    rig_deinit(&r);
}

static void an_abort_sends_a_reset_at_once(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    ops(&r)->abort(&r.t->flow.stream);
    assert_int_equal(r.out_count, 1);
    rig_out(&r, TCP_RST | TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(ops(&r)->why(&r.t->flow.stream), ADIT_ECANCELED);
    rig_deinit(&r);
}

static void time_wait_lasts_for_two_msl_and_ignores_resets(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    (void)wait_alone(&r);
    assert_int_equal(rig_in(&r, TCP_RST, r.snd, 0, 0), DROP_TCP_TIME_WAIT);
    rig_sleep(&r, 59 * SECOND);
    assert_int_equal(r.net.stats.tcp_time_wait, 1);
    rig_sleep(&r, 2 * SECOND);
    assert_int_equal(r.net.stats.tcp_time_wait, 0);
    assert_int_equal(r.engine.flows, 0);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_fin_that_comes_again_in_time_wait_is_acknowledged_and_starts_it_anew(void **state)
{
    struct tcp_rig r;
    uint32_t last;

    (void)state;
    rig_init(&r);
    last = wait_alone(&r);
    rig_sleep(&r, 59 * SECOND);
    assert_int_equal(rig_in(&r, TCP_FIN | TCP_ACK, r.snd - 1, last, 0), DROP_TCP_TIME_WAIT);
    rig_out(&r, TCP_ACK, last, r.snd, 0);
    rig_sleep(&r, 59 * SECOND);
    assert_int_equal(r.net.stats.tcp_time_wait, 1);
    rig_deinit(&r);
}

static void a_syn_beyond_the_old_sequence_numbers_ends_time_wait(void **state)
{
    struct tcp_rig r;
    uint32_t last;

    (void)state;
    rig_init(&r);
    last = wait_alone(&r);
    assert_int_equal(in_syn(&r, r.snd, 0), DROP_TCP_TIME_WAIT);
    assert_int_equal(in_syn(&r, r.snd + 1, 0), DROP_NONE);
    r.t = rig_ready(&r);
    assert_non_null(r.t);
    assert_int_equal(r.t->state, TCP_PENDING);
    assert_true(seq_lt(last, r.t->iss));
    rig_deinit(&r);
}

static void a_syn_with_a_newer_timestamp_ends_time_wait(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.ts = 100;
    (void)wait_alone(&r);
    assert_int_equal(in_syn(&r, r.snd + 1000, 99), DROP_TCP_TIME_WAIT);
    assert_int_equal(in_syn(&r, r.snd - 1000, 101), DROP_NONE);
    r.t = rig_ready(&r);
    assert_non_null(r.t);
    rig_deinit(&r);
}

static void the_successor_begins_beyond_what_was_sent_even_if_its_clock_does_not(void **state)
{
    struct tcp_rig r;
    uint32_t last;

    (void)state;
    rig_established(&r);
    rig_write(&r, 10000); /* faster than the clock of initial numbers */
    rig_shutdown(&r);
    rig_forget_output(&r);
    last = r.t->snd_nxt;
    (void)rig_in(&r, TCP_FIN | TCP_ACK, r.snd++, last, 0);
    assert_int_equal(r.t->state, TCP_TIME_WAIT);
    rig_drain_ready(&r);
    ops(&r)->free(&r.t->flow.stream);
    assert_int_equal(in_syn(&r, r.snd + 1, 0), DROP_NONE);
    r.t = rig_ready(&r);
    assert_non_null(r.t);
    assert_int_equal(r.t->iss, last + TCP_ISS_STEP);
    rig_deinit(&r);
}

static void a_closed_flow_without_progress_is_reset_after_a_minute(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.wnd = 0;
    rig_enter(&r, TCP_ESTABLISHED);
    rig_write(&r, 100);
    ops(&r)->close(&r.t->flow.stream);
    rig_sleep(&r, 59 * SECOND);
    assert_int_equal(r.t->state, TCP_ESTABLISHED);
    rig_forget_output(&r);
    rig_sleep(&r, 2 * SECOND);
    r.out_at = r.out_count - 1; /* what is in front of it are window probes */
    rig_out(&r, TCP_RST | TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(r.t->state, TCP_CLOSED);
    assert_int_equal(r.t->why, ADIT_ETIMEDOUT);
    rig_deinit(&r);
}

/* The peer has ended too, and died before it could say that it has our FIN. */
static void a_closed_flow_whose_fin_nobody_acknowledges_is_reset_after_a_minute(void **state)
{
    static const enum tcp_state rows[] = {TCP_LAST_ACK, TCP_CLOSING};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tcp_rig r;

        rig_init(&r);
        rig_enter(&r, rows[i]);
        ops(&r)->close(&r.t->flow.stream);
        rig_sleep(&r, 59 * SECOND);
        assert_int_equal(r.t->state, rows[i]);
        rig_sleep(&r, 2 * SECOND);
        assert_int_equal(r.t->state, TCP_CLOSED);
        assert_int_equal(r.t->why, ADIT_ETIMEDOUT);
        assert_int_equal(r.out[r.out_count - 1].s.flags, TCP_RST | TCP_ACK);
        rig_deinit(&r);
    }
}

static void a_flow_is_over_only_when_what_was_received_is_read(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)rig_in(&r, TCP_FIN | TCP_ACK, r.snd, rig_ours(&r), 10);
    rig_shutdown(&r);
    rig_forget_output(&r);
    (void)rig_in(&r, TCP_ACK, r.snd + 11, rig_ours(&r) + 1, 0);
    assert_int_equal(r.t->state, TCP_CLOSED);
    assert_false(stream_events(&r.t->flow.stream) & STREAM_CLOSED);
    rig_drain_ready(&r);
    ops(&r)->consume(&r.t->flow.stream, 10);
    assert_true(stream_events(&r.t->flow.stream) & STREAM_CLOSED);
    assert_ptr_equal(rig_ready(&r), r.t);
    rig_deinit(&r);
}

static void a_closed_flow_that_goes_forward_is_not_reset(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_write(&r, 5000);
    ops(&r)->close(&r.t->flow.stream);
    rig_forget_output(&r);
    assert_int_equal(r.t->state, TCP_FIN_WAIT_1);
    for (uint32_t i = 1; i <= 5; i++) { /* a slow reader */
        rig_sleep(&r, 50 * SECOND);
        rig_forget_output(&r);
        assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + i * 1000, 0), DROP_NONE);
        assert_int_equal(r.t->state, TCP_FIN_WAIT_1);
    }
    rig_sleep(&r, 61 * SECOND);
    assert_int_equal(r.t->state, TCP_CLOSED);
    assert_int_equal(r.t->why, ADIT_ETIMEDOUT);
    rig_deinit(&r);
}

static void a_fin_that_found_no_memory_leaves_when_there_is_some(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    r.engine.run_pool.used_max = 0;
    rig_shutdown(&r);
    rig_silent(&r);
    r.engine.run_pool.used_max = UINT32_MAX;
    rig_sleep(&r, 3 * SECOND);
    rig_out(&r, TCP_FIN | TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(r.t->state, TCP_FIN_WAIT_1);
    rig_deinit(&r);
}

/* Closed in both directions, with ten octets unread. */
static void end_with_octets_unread(struct tcp_rig *r, enum tcp_state last)
{
    rig_established(r);
    if (last == TCP_TIME_WAIT)
        rig_shutdown(r);
    rig_forget_output(r);
    (void)rig_in(r, TCP_FIN | TCP_ACK, r->snd, r->t->snd_nxt, 10);
    if (last == TCP_CLOSED)
        rig_shutdown(r);
    rig_forget_output(r);
    (void)rig_in(r, TCP_ACK, r->snd + 11, r->t->snd_nxt, 0);
    assert_int_equal(r->t->state, last);
    assert_false(stream_events(&r->t->flow.stream) & STREAM_CLOSED);
    rig_drain_ready(r);
}

static void a_handler_may_let_go_of_an_ended_flow_that_it_has_not_read(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct tcp_rig r;

        end_with_octets_unread(&r, i & 1 ? TCP_TIME_WAIT : TCP_CLOSED);
        if (i & 2)
            ops(&r)->close(&r.t->flow.stream);
        else
            ops(&r)->abort(&r.t->flow.stream);
        assert_true(stream_events(&r.t->flow.stream) & STREAM_CLOSED);
        assert_ptr_equal(rig_ready(&r), r.t);
        rig_deinit(&r);
    }
}

static void the_oldest_flow_in_time_wait_makes_room_for_a_new_one(void **state)
{
    struct tcp_segment s = {.src_port = 40001, .dst_port = 80, .seq = 5, .flags = TCP_SYN, .wnd = 1000};
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.engine.tcp_pool.used_max = 1;
    (void)wait_alone(&r);
    assert_int_equal(r.engine.flows, 1);
    assert_int_equal(rig_in_segment(&r, s, "", 0), DROP_NONE);
    assert_int_equal(r.engine.flows, 1);
    r.t = rig_ready(&r);
    assert_non_null(r.t);
    assert_int_equal(r.t->flow.key.client_port, 40001);
    rig_deinit(&r);
}

static void a_flow_in_time_wait_that_its_handler_still_holds_makes_no_room(void **state)
{
    struct tcp_segment s = {.src_port = 40001, .dst_port = 80, .seq = 5, .flags = TCP_SYN, .wnd = 1000};
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.engine.tcp_pool.used_max = 1;
    rig_enter(&r, TCP_TIME_WAIT);
    assert_int_equal(rig_in_segment(&r, s, "", 0), DROP_TCP_FLOW_LIMIT);
    assert_int_equal(r.t->state, TCP_TIME_WAIT);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_our_fin_the_peer_may_go_on_sending),
        cmocka_unit_test(after_the_peers_fin_we_may_go_on_sending_until_our_own),
        cmocka_unit_test(both_may_close_at_the_same_time),
        cmocka_unit_test(the_fin_leaves_with_the_last_octet),
        cmocka_unit_test(a_close_with_data_unread_resets),
        cmocka_unit_test(data_after_the_close_resets),
        cmocka_unit_test(an_abort_sends_a_reset_at_once),
        cmocka_unit_test(time_wait_lasts_for_two_msl_and_ignores_resets),
        cmocka_unit_test(a_fin_that_comes_again_in_time_wait_is_acknowledged_and_starts_it_anew),
        cmocka_unit_test(a_syn_beyond_the_old_sequence_numbers_ends_time_wait),
        cmocka_unit_test(a_syn_with_a_newer_timestamp_ends_time_wait),
        cmocka_unit_test(the_successor_begins_beyond_what_was_sent_even_if_its_clock_does_not),
        cmocka_unit_test(a_closed_flow_without_progress_is_reset_after_a_minute),
        cmocka_unit_test(a_closed_flow_whose_fin_nobody_acknowledges_is_reset_after_a_minute),
        cmocka_unit_test(a_flow_is_over_only_when_what_was_received_is_read),
        cmocka_unit_test(a_closed_flow_that_goes_forward_is_not_reset),
        cmocka_unit_test(a_fin_that_found_no_memory_leaves_when_there_is_some),
        cmocka_unit_test(a_handler_may_let_go_of_an_ended_flow_that_it_has_not_read),
        cmocka_unit_test(the_oldest_flow_in_time_wait_makes_room_for_a_new_one),
        cmocka_unit_test(a_flow_in_time_wait_that_its_handler_still_holds_makes_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
