/* SPDX-License-Identifier: MIT */
/* test_tcp_recovery: how losses are found and repaired (RFC 8985, 5681, 6582, 3042, 6298, 9937). The path's round trip is 20 ms,
 * the segments are of 1460 octets; what is written at once leaves as one super-segment. */
#include "tcp_rig.h"

enum { MSS = 1460, MS = 1000000 };

/* Established, with a known round-trip time. Returns our first sequence number. */
static uint32_t open_flow(struct tcp_rig *r)
{
    rig_established(r);
    r->t->srtt_us = r->t->work->min_rtt_us = 20000;
    r->t->rttvar_us = 5000;
    return rig_ours(r);
}

static uint32_t send_segments(struct tcp_rig *r, uint32_t count)
{
    uint32_t seq = r->t->snd_nxt;

    rig_write(r, (size_t)count * MSS);
    rig_out(r, TCP_ACK, seq, r->snd, count * MSS);
    rig_silent(r);
    return seq;
}

static void ack_with_sack(struct tcp_rig *r, uint32_t ack, uint32_t from, uint32_t to)
{
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .seq = r->snd, .ack = ack, .flags = TCP_ACK,
                            .wnd = r->wnd, .sacks_count = 1, .sacks = {{.from = from, .to = to}}};

    assert_int_equal(rig_in_segment(r, s, "", 0), DROP_NONE);
}

static void ack(struct tcp_rig *r, uint32_t number)
{
    assert_int_equal(rig_in(r, TCP_ACK, r->snd, number, 0), DROP_NONE);
}

static uint32_t rto_ms(const struct tcp_rig *r)
{
    adit_conn_info info;

    tcp_stream(r->t)->ops->stat(tcp_stream(r->t), &info);
    return info.rto_us / 1000;
}

static void sack_brings_the_lost_segment_again_before_the_timeout(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 5);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + MSS, una + 5 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    rig_silent(&r);
    assert_int_equal(r.t->work->recovery, TCP_RECOVERY);
    assert_int_equal(r.net.stats.tcp_timeouts, 0);
    rig_deinit(&r);
}

static void duplicate_acks_without_sack_send_two_new_segments_then_the_lost_one(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    r.t->sack_on = false;
    rig_write(&r, 12 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, 10 * MSS);
    rig_sleep(&r, 20 * MS);
    ack(&r, una);
    rig_out(&r, TCP_ACK, una + 10 * MSS, r.snd, MSS);
    ack(&r, una);
    rig_out(&r, TCP_ACK, una + 11 * MSS, r.snd, MSS);
    ack(&r, una);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_partial_ack_without_sack_sends_the_next_hole(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    r.t->sack_on = false;
    send_segments(&r, 6);
    rig_sleep(&r, 20 * MS);
    for (int i = 0; i < 3; i++)
        ack(&r, una);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    ack(&r, una + 3 * MSS);
    rig_out(&r, TCP_ACK, una + 3 * MSS, r.snd, MSS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_retransmission_that_is_lost_is_found_without_a_timeout(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 5);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + MSS, una + 5 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    rig_sleep(&r, 1 * MS);
    send_segments(&r, 1);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + MSS, una + 6 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    assert_int_equal(r.net.stats.tcp_timeouts, 0);
    rig_deinit(&r);
}

static void reordering_within_a_quarter_of_the_round_trip_is_no_loss(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 2);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + MSS, una + 2 * MSS);
    rig_sleep(&r, 4 * MS);
    rig_silent(&r);
    ack(&r, una + 2 * MSS);
    rig_sleep(&r, 500 * MS);
    rig_silent(&r);
    assert_int_equal(r.t->retransmits, 0);
    rig_deinit(&r);
}

static void a_hole_older_than_the_reordering_window_is_lost(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 2);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + MSS, una + 2 * MSS);
    rig_sleep(&r, 7 * MS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    assert_int_equal(r.net.stats.tcp_timeouts, 0);
    rig_deinit(&r);
}

static void the_last_segment_is_sent_again_after_two_round_trips_of_silence(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 3);
    rig_sleep(&r, 39 * MS);
    rig_silent(&r);
    rig_sleep(&r, 3 * MS);
    rig_out(&r, TCP_ACK, una + 2 * MSS, r.snd, MSS);
    rig_sleep(&r, 100 * MS);
    rig_silent(&r); /* one probe only */
    rig_deinit(&r);
}

static void the_timeout_doubles_and_the_flow_ends_after_fifteen(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    r.t->sack_on = false;
    send_segments(&r, 1);
    for (uint64_t rto_ms = 200; rto_ms <= 1600; rto_ms *= 2) {
        rig_sleep(&r, (rto_ms - 10) * MS);
        rig_silent(&r);
        rig_sleep(&r, 10 * MS);
        rig_out(&r, TCP_ACK, una, r.snd, MSS);
    }
    rig_sleep(&r, 1200000ull * MS);
    for (int i = 4; i < TCP_RETRIES; i++)
        rig_out(&r, TCP_ACK, una, r.snd, MSS);
    rig_out(&r, TCP_RST | TCP_ACK, una + MSS, r.snd, 0);
    rig_silent(&r);
    assert_int_equal(r.t->state, TCP_CLOSED);
    assert_int_equal(r.t->why, ADIT_ETIMEDOUT);
    rig_deinit(&r);
}

static void what_was_repeated_is_not_timed(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    r.t->sack_on = false;
    send_segments(&r, 1);
    rig_sleep(&r, 250 * MS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    ack(&r, una + MSS);
    assert_int_equal(r.t->srtt_us, 20000);
    send_segments(&r, 1);
    rig_sleep(&r, 28 * MS);
    ack(&r, una + 2 * MSS);
    assert_int_equal(r.t->srtt_us, 21000);
    rig_deinit(&r);
}

static void a_lost_syn_ack_is_repeated_after_a_second(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_SYN_RECEIVED);
    rig_sleep(&r, 990 * MS);
    rig_silent(&r);
    rig_sleep(&r, 20 * MS);
    rig_out(&r, TCP_SYN | TCP_ACK, r.t->iss, r.snd, 0);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_dsack_makes_the_reordering_window_larger(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 1);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una + MSS, una, una + MSS);
    assert_int_equal(r.t->work->reo_wnd_mult, 2);
    send_segments(&r, 2);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una + MSS, una + 2 * MSS, una + 3 * MSS);
    rig_sleep(&r, 9 * MS); /* 5 ms before, 10 ms now */
    rig_silent(&r);
    rig_sleep(&r, 3 * MS);
    rig_out(&r, TCP_ACK, una + MSS, r.snd, MSS);
    rig_deinit(&r);
}

static void recovery_ends_with_no_more_than_ssthresh(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 10);
    rig_sleep(&r, 20 * MS);
    for (uint32_t i = 2; i <= 10; i++) {
        ack_with_sack(&r, una, una + MSS, una + i * MSS);
        rig_forget_output(&r);
    }
    assert_int_equal(r.t->work->recovery, TCP_RECOVERY);
    assert_true(r.t->work->cc.cwnd_bytes <= r.t->work->cc.ssthresh_bytes);
    ack(&r, una + 10 * MSS);
    assert_int_equal(r.t->work->recovery, TCP_OPEN);
    assert_int_equal(r.t->work->cc.cwnd_bytes, r.t->work->cc.ssthresh_bytes);
    assert_int_equal(r.t->work->cc.ssthresh_bytes, 10 * MSS * 7 / 10);
    rig_deinit(&r);
}

/* Two segments, and after two round trips of silence the second again. Returns our first sequence number. */
static uint32_t probe_the_tail(struct tcp_rig *r)
{
    uint32_t una = open_flow(r);

    send_segments(r, 2);
    rig_sleep(r, 42 * MS);
    rig_out(r, TCP_ACK, una + MSS, r->snd, MSS);
    return una;
}

static void an_ack_that_was_on_its_way_when_the_probe_left_is_no_congestion(void **state)
{
    struct tcp_rig r;
    uint32_t una = probe_the_tail(&r), cwnd = r.t->work->cc.cwnd_bytes;

    (void)state;
    ack(&r, una + 2 * MSS);
    assert_true(r.t->tlp_out);
    ack(&r, una + 2 * MSS); /* for the probe, from a peer that knows no DSACK */
    assert_false(r.t->tlp_out);
    send_segments(&r, 1);
    ack(&r, una + 3 * MSS);
    assert_int_equal(r.t->work->cc.cwnd_bytes, cwnd);
    rig_deinit(&r);
}

static void a_probe_that_repaired_a_loss_is_congestion(void **state)
{
    struct tcp_rig r;
    uint32_t una = probe_the_tail(&r), cwnd = r.t->work->cc.cwnd_bytes;

    (void)state;
    ack(&r, una + 2 * MSS);
    assert_int_equal(r.t->work->cc.cwnd_bytes, cwnd);
    send_segments(&r, 1);
    ack(&r, una + 3 * MSS);
    assert_false(r.t->tlp_out);
    assert_int_equal(r.t->work->cc.cwnd_bytes, cwnd * 7 / 10);
    rig_deinit(&r);
}

static void a_probe_that_waits_for_the_device_is_not_asked_for_again(void **state)
{
    struct tcp_rig r;

    (void)state;
    (void)open_flow(&r);
    send_segments(&r, 2);
    r.device_full = true;
    rig_sleep(&r, 42 * MS);
    assert_true(r.t->tlp_now);
    assert_int_equal(r.t->work->send_timer, TCP_SEND_RTO);
    rig_deinit(&r);
}

static void a_lost_ack_of_the_last_repair_is_asked_for_before_the_timeout(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 5);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + MSS, una + 5 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    rig_sleep(&r, 42 * MS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    ack_with_sack(&r, una + 5 * MSS, una, una + MSS); /* it had arrived: a DSACK, and no sign of reordering */
    assert_int_equal(r.t->work->recovery, TCP_OPEN);
    assert_false(r.t->tlp_out);
    assert_false(r.t->reordering);
    assert_int_equal(r.t->work->reo_wnd_mult, 1);
    assert_int_equal(r.t->work->cc.cwnd_bytes, r.t->work->cc.ssthresh_bytes);
    assert_int_equal(r.net.stats.tcp_timeouts, 0);
    rig_deinit(&r);
}

static void assert_next(struct tcp_rig *r, uint32_t seq, uint32_t len_bytes, bool is_pushed)
{
    const struct rig_segment *o = rig_next(r);

    assert_non_null(o);
    assert_int_equal(o->s.seq, seq);
    assert_int_equal(o->s.len_bytes, len_bytes);
    assert_int_equal((o->s.flags & TCP_PSH) != 0, is_pushed);
}

/* A receiver may keep the ACK of the last one back, while the sender has nothing else to wait for. */
static void what_the_congestion_window_lets_go_last_is_pushed(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r), cwnd = r.t->work->cc.cwnd_bytes;

    (void)state;
    rig_write(&r, 4 * cwnd);
    assert_next(&r, una, cwnd, true);
    rig_sleep(&r, 42 * MS);
    assert_next(&r, una + cwnd, MSS, true); /* the tail loss probe */
    rig_deinit(&r);
}

static void probes_with_new_data_follow_one_another_three_times_each_after_twice_the_time(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r), cwnd = r.t->work->cc.cwnd_bytes;

    (void)state;
    rig_write(&r, 2 * cwnd);
    assert_next(&r, una, cwnd, true);
    for (uint32_t i = 0; i < 3; i++) {
        rig_sleep(&r, (40 << i) * MS - WHEEL_TICK_NS);
        rig_silent(&r);
        rig_sleep(&r, WHEEL_TICK_NS);
        assert_next(&r, una + cwnd + i * MSS, MSS, true);
    }
    assert_int_equal(r.t->work->send_timer, TCP_SEND_RTO);
    ack(&r, una + cwnd); /* from here on there may be three again */
    assert_int_equal(r.t->work->tlp_new_count, 0);
    assert_int_equal(r.t->work->recovery, TCP_OPEN);
    rig_deinit(&r);
}

/* What goes anyway need not wait for the delayed ACK of a single segment, which it brings about. */
static void a_probe_with_new_data_does_not_wait_for_a_delayed_ack(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    r.t->work->cc.cwnd_bytes = MSS;
    rig_write(&r, 2 * MSS);
    assert_next(&r, una, MSS, true);
    rig_sleep(&r, 41 * MS);
    assert_next(&r, una + MSS, MSS, true);
    rig_deinit(&r);
}

static void a_probe_that_repeats_is_not_followed_by_one_with_new_data(void **state)
{
    struct tcp_rig r;
    uint32_t una = probe_the_tail(&r);

    (void)state;
    r.t->work->cc.cwnd_bytes = 2 * MSS;
    rig_write(&r, MSS);
    rig_sleep(&r, 100 * MS);
    rig_silent(&r);
    assert_int_equal(r.t->snd_nxt, una + 2 * MSS);
    rig_deinit(&r);
}

static void what_the_peers_window_lets_go_last_is_not_pushed(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    r.t->snd_wnd = 4 * MSS;
    rig_write(&r, 8 * MSS);
    assert_next(&r, una, 4 * MSS, false);
    rig_silent(&r);
    rig_deinit(&r);
}

static void when_sequence_numbers_come_round_to_the_first_no_octet_is_lost(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    r.t->iss = una + MSS; /* 4 GiB ago */
    rig_write(&r, 3 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, 3 * MSS);
    for (uint32_t acked = MSS; acked <= 3 * MSS; acked += MSS) {
        assert_int_equal(rig_in(&r, TCP_ACK, r.snd, una + acked, 0), DROP_NONE);
        assert_int_equal(r.t->work->tx.bytes, 3 * MSS - acked);
    }
    rig_silent(&r);
    rig_deinit(&r);
}

static void each_ack_of_a_turn_makes_the_window_larger(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r), cwnd = r.t->work->cc.cwnd_bytes;

    (void)state;
    rig_write(&r, 2 * cwnd);
    rig_out(&r, TCP_ACK, una, r.snd, cwnd);
    rig_sleep(&r, 20 * MS);
    for (uint32_t i = 1; i <= 5; i++) /* nothing leaves in between */
        ack(&r, una + i * 2 * MSS);
    assert_int_equal(r.t->work->cc.cwnd_bytes, 2 * cwnd);
    rig_deinit(&r);
}

static void a_part_of_a_super_segment_is_timed_by_its_ack(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 4);
    rig_sleep(&r, 28 * MS);
    ack(&r, una + 2 * MSS);
    assert_int_equal(r.t->srtt_us, 21000);
    rig_deinit(&r);
}

/* No receiver that is in order acknowledges a part of what it has whole; the time of one that does is its own. */
static void a_part_of_what_was_sacked_before_is_not_timed(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 5);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + MSS, una + 5 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    rig_sleep(&r, 20 * MS);
    ack(&r, una + 3 * MSS);
    assert_int_equal(r.t->srtt_us, 20000);
    rig_deinit(&r);
}

/* A timestamp is of a millisecond: it does not make a millisecond of a round trip that is shorter. */
static void a_timestamp_of_the_same_millisecond_leaves_a_short_round_trip_short(void **state)
{
    struct tcp_rig r;
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .flags = TCP_ACK, .wnd = 60000, .has_ts = true};

    (void)state;
    rig_init(&r);
    r.ts = 1000;
    rig_enter(&r, TCP_ESTABLISHED);
    r.t->srtt_us = r.t->work->min_rtt_us = 100;
    r.t->sack_on = false;
    rig_write(&r, 100);
    rig_forget_output(&r);
    rig_sleep(&r, 250 * MS); /* a timeout after 200 */
    rig_forget_output(&r);
    s.seq = r.snd;
    s.ack = rig_ours(&r) + 100;
    s.ts_val = 1250;
    s.ts_ecr = (uint32_t)(r.now_ns / MS) + r.t->ts_offset;
    assert_int_equal(rig_in_segment(&r, s, "", 0), DROP_NONE);
    assert_int_equal(r.t->srtt_us, 100);
    rig_deinit(&r);
}

static void losses_that_the_clock_finds_are_not_repaired_in_one_burst(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 10);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + 9 * MSS, una + 10 * MSS);
    rig_sleep(&r, 7 * MS);
    assert_int_equal(r.t->work->lost_bytes, 8 * MSS);
    rig_out(&r, TCP_ACK, una, r.snd, MSS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void an_ack_that_shows_more_losses_releases_no_more_than_it_delivers(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 10);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una, una + 7 * MSS, una + 10 * MSS); /* 3 delivered, 7 lost */
    rig_out(&r, TCP_ACK, una, r.snd, 3 * MSS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void the_reordering_window_is_narrow_again_after_sixteen_recoveries(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 1);
    rig_sleep(&r, 20 * MS);
    ack_with_sack(&r, una + MSS, una, una + MSS);
    ack_with_sack(&r, una + MSS, una, una + MSS);
    assert_int_equal(r.t->work->reo_wnd_mult, 3); /* nothing is in flight: each is a round trip of its own */
    for (int i = 0; i < 16; i++) {
        uint32_t seq;

        assert_int_equal(r.t->work->reo_wnd_mult, 3);
        seq = send_segments(&r, 2);
        rig_sleep(&r, 20 * MS);
        ack_with_sack(&r, seq, seq + MSS, seq + 2 * MSS);
        rig_sleep(&r, 25 * MS);
        assert_int_equal(r.t->work->recovery, TCP_RECOVERY);
        rig_forget_output(&r);
        ack(&r, seq + 2 * MSS);
        assert_int_equal(r.t->work->recovery, TCP_OPEN);
    }
    assert_int_equal(r.t->work->reo_wnd_mult, 1);
    rig_deinit(&r);
}

static void dsacks_of_one_round_trip_widen_the_reordering_window_once(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 3);
    ack_with_sack(&r, una + MSS, una, una + MSS);
    ack_with_sack(&r, una + MSS, una, una + MSS);
    ack_with_sack(&r, una + 2 * MSS, una, una + MSS);
    assert_int_equal(r.t->work->reo_wnd_mult, 2);
    rig_deinit(&r);
}

static void after_a_lost_handshake_the_timeout_is_three_seconds_until_something_is_timed(void **state)
{
    static const enum tcp_state rows[] = {TCP_SYN_RECEIVED, TCP_SYN_SENT};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tcp_rig r;

        rig_init(&r);
        rig_enter(&r, rows[i]);
        rig_sleep(&r, 1010ull * MS);
        rig_forget_output(&r);
        if (rows[i] == TCP_SYN_SENT)
            assert_int_equal(rig_in(&r, TCP_SYN | TCP_ACK, r.snd++, rig_ours(&r), 0), DROP_NONE);
        else
            ack(&r, rig_ours(&r));
        rig_forget_output(&r);
        assert_int_equal(rto_ms(&r), 3000);
        assert_int_equal(r.t->work->cc.cwnd_bytes, 10 * r.t->snd_mss_bytes);
        rig_sleep(&r, 4000ull * MS);
        assert_false(tcp_is_awake(r.t));
        assert_int_equal(rto_ms(&r), 3000);
        send_segments(&r, 1);
        assert_int_equal(rto_ms(&r), 3000);
        rig_sleep(&r, 20 * MS);
        ack(&r, r.t->snd_nxt);
        assert_int_equal(rto_ms(&r), 200);
        rig_deinit(&r);
    }
}

static void after_two_lost_syn_acks_the_first_window_is_one_segment(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_SYN_RECEIVED);
    rig_sleep(&r, 3100ull * MS);
    rig_forget_output(&r);
    ack(&r, rig_ours(&r));
    assert_int_equal(r.t->work->cc.cwnd_bytes, MSS);
    rig_deinit(&r);
}

static void an_old_ack_does_not_set_the_window(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 2);
    ack(&r, una + 2 * MSS);
    r.wnd = 10;
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd + 5, una + MSS, 5), DROP_NONE); /* newer octets, older ACK */
    assert_int_equal(r.t->snd_wnd, 65535);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd + 10, una + 2 * MSS, 5), DROP_NONE);
    assert_int_equal(r.t->snd_wnd, 10);
    rig_deinit(&r);
}

static void sacked_neighbours_are_one_run_whichever_came_first(void **state)
{
    struct tcp_rig r;
    uint32_t una = open_flow(&r);

    (void)state;
    send_segments(&r, 8);
    for (uint32_t i = 6; i >= 2; i -= 2)
        ack_with_sack(&r, una, una + i * MSS, una + (i + 1) * MSS);
    assert_int_equal(r.t->work->runs_count, 7);
    for (uint32_t i = 5; i >= 3; i -= 2)
        ack_with_sack(&r, una, una + i * MSS, una + (i + 1) * MSS);
    assert_int_equal(r.t->work->sacked_bytes, 5 * MSS);
    assert_int_equal(r.t->work->runs_count, 3);
    rig_deinit(&r);
}

static void what_was_repeated_is_timed_by_the_timestamp_that_comes_back(void **state)
{
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .flags = TCP_ACK, .wnd = 65535, .has_ts = true};
    struct tcp_rig r;
    const struct rig_segment *o;

    (void)state;
    rig_init(&r);
    r.ts = 1000;
    rig_enter(&r, TCP_ESTABLISHED);
    r.t->srtt_us = r.t->work->min_rtt_us = 20000;
    r.t->rttvar_us = 5000;
    r.t->sack_on = false;
    rig_write(&r, 100);
    rig_forget_output(&r);
    rig_sleep(&r, 250 * MS); /* a timeout after 200 */
    o = rig_next(&r);
    assert_non_null(o);
    assert_int_equal(r.t->work->backoff_log2, 1);
    s.seq = r.snd;
    s.ack = rig_ours(&r) + 100;
    s.ts_val = 1250;
    s.ts_ecr = o->s.ts_val - 200; /* it is the first copy that is answered: after 250 ms */
    assert_int_equal(rig_in_segment(&r, s, "", 0), DROP_NONE);
    assert_in_range(r.t->srtt_us, 20000 * 7 / 8 + 245000 / 8, 20000 * 7 / 8 + 255000 / 8);
    assert_int_equal(r.t->work->backoff_log2, 0);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sack_brings_the_lost_segment_again_before_the_timeout),
        cmocka_unit_test(duplicate_acks_without_sack_send_two_new_segments_then_the_lost_one),
        cmocka_unit_test(a_partial_ack_without_sack_sends_the_next_hole),
        cmocka_unit_test(a_retransmission_that_is_lost_is_found_without_a_timeout),
        cmocka_unit_test(reordering_within_a_quarter_of_the_round_trip_is_no_loss),
        cmocka_unit_test(a_hole_older_than_the_reordering_window_is_lost),
        cmocka_unit_test(the_last_segment_is_sent_again_after_two_round_trips_of_silence),
        cmocka_unit_test(the_timeout_doubles_and_the_flow_ends_after_fifteen),
        cmocka_unit_test(what_was_repeated_is_not_timed),
        cmocka_unit_test(a_lost_syn_ack_is_repeated_after_a_second),
        cmocka_unit_test(a_dsack_makes_the_reordering_window_larger),
        cmocka_unit_test(recovery_ends_with_no_more_than_ssthresh),
        cmocka_unit_test(an_ack_that_was_on_its_way_when_the_probe_left_is_no_congestion),
        cmocka_unit_test(a_probe_that_repaired_a_loss_is_congestion),
        cmocka_unit_test(a_probe_that_waits_for_the_device_is_not_asked_for_again),
        cmocka_unit_test(probes_with_new_data_follow_one_another_three_times_each_after_twice_the_time),
        cmocka_unit_test(a_probe_with_new_data_does_not_wait_for_a_delayed_ack),
        cmocka_unit_test(a_probe_that_repeats_is_not_followed_by_one_with_new_data),
        cmocka_unit_test(a_lost_ack_of_the_last_repair_is_asked_for_before_the_timeout),
        cmocka_unit_test(what_the_congestion_window_lets_go_last_is_pushed),
        cmocka_unit_test(what_the_peers_window_lets_go_last_is_not_pushed),
        cmocka_unit_test(when_sequence_numbers_come_round_to_the_first_no_octet_is_lost),
        cmocka_unit_test(each_ack_of_a_turn_makes_the_window_larger),
        cmocka_unit_test(a_part_of_a_super_segment_is_timed_by_its_ack),
        cmocka_unit_test(a_part_of_what_was_sacked_before_is_not_timed),
        cmocka_unit_test(a_timestamp_of_the_same_millisecond_leaves_a_short_round_trip_short),
        cmocka_unit_test(losses_that_the_clock_finds_are_not_repaired_in_one_burst),
        cmocka_unit_test(an_ack_that_shows_more_losses_releases_no_more_than_it_delivers),
        cmocka_unit_test(the_reordering_window_is_narrow_again_after_sixteen_recoveries),
        cmocka_unit_test(dsacks_of_one_round_trip_widen_the_reordering_window_once),
        cmocka_unit_test(after_a_lost_handshake_the_timeout_is_three_seconds_until_something_is_timed),
        cmocka_unit_test(after_two_lost_syn_acks_the_first_window_is_one_segment),
        cmocka_unit_test(an_old_ack_does_not_set_the_window),
        cmocka_unit_test(sacked_neighbours_are_one_run_whichever_came_first),
        cmocka_unit_test(what_was_repeated_is_timed_by_the_timestamp_that_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
