/* SPDX-License-Identifier: MIT */
/* test_tcp_receive: what is taken, acknowledged and offered (RFC 9293 3.8.6, RFC 1122 4.2, RFC 2018, 2883, 7323). */
#include "tcp_rig.h"

enum { MS = 1000000 };

static enum drop in_text(struct tcp_rig *r, uint32_t seq, uint8_t flags, const char *text)
{
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .seq = seq, .ack = rig_ours(r), .flags = flags,
                            .wnd = r->wnd};

    return rig_in_segment(r, s, text, (uint32_t)strlen(text));
}

/* The next octets in order. */
static void in_order(struct tcp_rig *r, uint32_t len_bytes)
{
    assert_int_equal(rig_in(r, TCP_ACK, r->snd, rig_ours(r), len_bytes), DROP_NONE);
    r->snd += len_bytes;
}

/* The handler reads. */
static void consume(struct tcp_rig *r, size_t len_bytes)
{
    tcp_stream(r->t)->ops->consume(tcp_stream(r->t), len_bytes);
}

static void assert_received(struct tcp_rig *r, const char *text)
{
    adit_iov iov[8];
    char got[64];
    size_t len = 0;
    int n = tcp_stream(r->t)->ops->peek(tcp_stream(r->t), iov, 8);

    for (int i = 0; i < n; i++) {
        memcpy(got + len, iov[i].base, iov[i].len);
        len += iov[i].len;
    }
    assert_int_equal(len, strlen(text));
    assert_memory_equal(got, text, len);
}

static void fill_window(struct tcp_rig *r)
{
    while (r->snd != r->t->rcv_edge) {
        uint32_t left = r->t->rcv_edge - r->snd;

        rig_forget_output(r);
        in_order(r, left < 1000 ? left : 1000);
    }
    rig_sleep(r, 50 * MS);
}

static void data_in_order_is_acknowledged_once_a_turn(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    for (int i = 0; i < 5; i++)
        in_order(&r, 1000);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_silent(&r);
    rig_deinit(&r);
}

static void the_first_sixteen_are_acknowledged_at_once_the_next_after_40_ms(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    for (int i = 0; i < TCP_QUICK_ACKS; i++) {
        in_order(&r, 1000);
        rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    }
    in_order(&r, 1000);
    rig_sleep(&r, 39 * MS);
    rig_silent(&r);
    rig_sleep(&r, 3 * MS);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_deinit(&r);
}

static void a_request_is_acknowledged_by_its_answer(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    in_order(&r, 10);
    consume(&r, 10); /* and no window update for it */
    rig_silent(&r);
    rig_write(&r, 5);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 5);
    rig_sleep(&r, 5 * MS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_request_whose_answer_takes_long_is_acknowledged_after_a_millisecond(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    in_order(&r, 10);
    rig_silent(&r);
    rig_sleep(&r, 2 * MS);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_deinit(&r);
}

static void a_fin_is_acknowledged_by_ours_if_that_follows_at_once(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)rig_in(&r, TCP_FIN | TCP_ACK, r.snd, rig_ours(&r), 0);
    rig_silent(&r);
    rig_shutdown(&r);
    rig_out(&r, TCP_FIN | TCP_ACK, rig_ours(&r), r.snd + 1, 0);
    rig_sleep(&r, 5 * MS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void two_full_segments_are_acknowledged_without_delay(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    r.t->work->quick_acks = 0;
    in_order(&r, 1000);
    rig_silent(&r);
    in_order(&r, 1000);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_deinit(&r);
}

static void after_a_loss_acks_go_twice_for_a_while(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    in_order(&r, 1000);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_silent(&r);
    (void)rig_in(&r, TCP_ACK, r.snd + 1000, rig_ours(&r), 1000); /* the one in front was lost */
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_silent(&r);
    in_order(&r, 1000);
    r.snd += 1000;
    for (int i = 0; i < TCP_ACKS_TWICE; i++) {
        consume(&r, r.t->work->rx.bytes);
        for (int k = 0; i > 0 && k < 2; k++)
            in_order(&r, 1000);
        rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
        if (i < TCP_ACKS_TWICE - 1)
            rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
        rig_silent(&r);
        rig_forget_output(&r);
    }
    rig_deinit(&r);
}

static void without_sack_an_ack_goes_once(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    r.t->sack_on = false;
    (void)rig_in(&r, TCP_ACK, r.snd + 1000, rig_ours(&r), 1000);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_silent(&r);
    rig_deinit(&r);
}

static void octets_beyond_a_hole_are_sacked_the_most_recent_first(void **state)
{
    struct tcp_rig r;
    const struct rig_segment *o;

    (void)state;
    rig_established(&r);
    (void)rig_in(&r, TCP_ACK, r.snd + 300, rig_ours(&r), 10);
    rig_forget_output(&r);
    (void)rig_in(&r, TCP_ACK, r.snd + 100, rig_ours(&r), 10);
    o = rig_next(&r);
    assert_non_null(o);
    assert_int_equal(o->s.ack, r.snd);
    assert_int_equal(o->s.sacks_count, 2);
    assert_int_equal(o->s.sacks[0].from, r.snd + 100);
    assert_int_equal(o->s.sacks[0].to, r.snd + 110);
    assert_int_equal(o->s.sacks[1].from, r.snd + 300);
    assert_int_equal(o->s.sacks[1].to, r.snd + 310);
    rig_deinit(&r);
}

static void a_hole_that_is_filled_is_acknowledged_up_to_the_end(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)in_text(&r, r.snd + 3, TCP_ACK, "def");
    rig_forget_output(&r);
    (void)in_text(&r, r.snd, TCP_ACK, "abc");
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd + 6, 0);
    assert_int_equal(r.out[0].s.sacks_count, 0);
    assert_received(&r, "abcdef");
    rig_deinit(&r);
}

static void where_segments_overlap_what_came_first_stays(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)in_text(&r, r.snd + 2, TCP_ACK, "BB");
    (void)in_text(&r, r.snd + 1, TCP_ACK, "ccccc");
    (void)in_text(&r, r.snd, TCP_ACK, "ddddddd");
    assert_received(&r, "dcBBccd");
    rig_deinit(&r);
}

static void a_fin_out_of_order_waits_for_the_data_in_front_of_it(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)rig_in(&r, TCP_FIN | TCP_ACK, r.snd + 10, rig_ours(&r), 0);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(r.t->state, TCP_ESTABLISHED);
    in_order(&r, 10);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd + 1, 0);
    assert_int_equal(r.t->state, TCP_CLOSE_WAIT);
    rig_deinit(&r);
}

static void urgent_data_is_read_inline(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)in_text(&r, r.snd, TCP_ACK | TCP_URG, "now");
    assert_received(&r, "now");
    rig_deinit(&r);
}

static void the_window_closes_and_does_not_reopen_for_crumbs(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    fill_window(&r);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(r.out[0].s.wnd, 0);
    rig_forget_output(&r);
    consume(&r, 3999); /* four segments of the peer's are worth an update */
    rig_silent(&r);
    consume(&r, 1);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(r.out[0].s.wnd, 4000);
    rig_deinit(&r);
}

static void segments_of_one_octet_are_never_offered_more_than_the_limit(void **state)
{
    enum { LIMIT = 8192 };
    struct tcp_rig r;
    enum drop why = DROP_NONE;

    (void)state;
    rig_init(&r);
    rig_syn(&r);
    r.t->rcv_limit = LIMIT;
    r.t->wscale_on = true;
    r.t->rcv_wscale_log2 = 7;
    assert_int_equal(tcp_stream(r.t)->ops->accept(tcp_stream(r.t)), 0);
    rig_forget_output(&r);
    for (int i = 0; i < 2 * LIMIT && why == DROP_NONE; i++) {
        why = rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 1);
        r.snd += why == DROP_NONE;
        rig_forget_output(&r);
        tcp_stream(r.t)->ops->settle(tcp_stream(r.t));
        assert_true(r.t->rcv_edge - r.t->rcv_nxt + r.t->work->rx.bytes <= LIMIT);
    }
    assert_int_equal(why, DROP_TCP_WINDOW_FULL);
    assert_true(r.t->work->rx.bytes > LIMIT - 128);
    rig_deinit(&r);
}

static void check_timestamp_is_forgotten(uint64_t days)
{
    struct tcp_rig r;

    rig_init(&r);
    r.ts = 100;
    rig_enter(&r, TCP_ESTABLISHED);
    r.ts = 50;
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 1), DROP_TCP_PAWS);
    r.now_ns += days * 24 * 3600000000000ull;
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 1), DROP_NONE);
    rig_forget_output(&r);
    r.ts = 49; /* the newer one counts from now on */
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd + 1, rig_ours(&r), 1), DROP_TCP_PAWS);
    rig_deinit(&r);
}

/* A clock of milliseconds is half a turn ahead from 24.9 to 49.7 days. */
static void a_timestamp_older_than_24_days_is_not_held_against_the_peer(void **state)
{
    (void)state;
    check_timestamp_is_forgotten(24);
    check_timestamp_is_forgotten(46);
    check_timestamp_is_forgotten(49);
}

static void a_duplicate_is_reported_by_a_dsack(void **state)
{
    struct tcp_rig r;
    const struct rig_segment *o;

    (void)state;
    rig_established(&r);
    in_order(&r, 10);
    rig_forget_output(&r);
    (void)rig_in(&r, TCP_ACK, r.snd - 10, rig_ours(&r), 10);
    o = rig_next(&r);
    assert_non_null(o);
    assert_int_equal(o->s.sacks_count, 1);
    assert_int_equal(o->s.sacks[0].from, r.snd - 10);
    assert_int_equal(o->s.sacks[0].to, r.snd);
    rig_deinit(&r);
}

static void under_memory_pressure_a_small_window_is_offered(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_syn(&r);
    rig_press(&r, 85);
    assert_int_equal(tcp_stream(r.t)->ops->accept(tcp_stream(r.t)), 0);
    rig_out(&r, TCP_SYN | TCP_ACK, r.t->iss, r.snd, 0);
    assert_int_equal(r.out[0].s.wnd, TCP_PRESSED_WINDOW);
    rig_deinit(&r);
}

static void octets_that_come_one_by_one_out_of_order_hold_little_memory(void **state)
{
    enum { COUNT = 4000 };
    struct tcp_rig r;
    size_t used;

    (void)state;
    rig_established(&r);
    used = r.memory.used_bytes;
    for (uint32_t i = 1; i <= COUNT; i++) {
        assert_int_equal(rig_in(&r, TCP_ACK, r.snd + i, rig_ours(&r), 1), DROP_NONE);
        rig_forget_output(&r);
    }
    assert_int_equal(r.t->work->islands_count, 1);
    assert_int_equal(r.t->work->islands->octets.bytes, COUNT);
    assert_true(r.memory.used_bytes < used + 128 * 1024);
    rig_deinit(&r);
}

static void under_memory_pressure_a_window_for_large_segments_opens_again(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 40000), DROP_NONE);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd + 40000, rig_ours(&r), 25535), DROP_NONE);
    rig_forget_output(&r);
    assert_int_equal(r.t->rcv_edge, r.t->rcv_nxt); /* full */
    rig_press(&r, 85);
    consume(&r, 65535);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd + 65535, 0);
    assert_int_equal(r.out[0].s.wnd, TCP_PRESSED_WINDOW);
    rig_deinit(&r);
}

static void a_super_segment_is_one_segment_that_stands_for_many(void **state)
{
    static const uint8_t zeros[5 * 1460];
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .flags = TCP_ACK, .wnd = 65535};
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    r.t->work->quick_acks = 0;
    s.seq = r.snd;
    s.ack = rig_ours(&r);
    r.gso_bytes = 1460;
    assert_int_equal(rig_in_segment(&r, s, zeros, sizeof(zeros)), DROP_NONE);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd + (uint32_t)sizeof(zeros), 0);
    assert_int_equal(r.t->rcv_mss_bytes, 1460);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_in_order_is_acknowledged_once_a_turn),
        cmocka_unit_test(the_first_sixteen_are_acknowledged_at_once_the_next_after_40_ms),
        cmocka_unit_test(a_request_is_acknowledged_by_its_answer),
        cmocka_unit_test(after_a_loss_acks_go_twice_for_a_while),
        cmocka_unit_test(without_sack_an_ack_goes_once),
        cmocka_unit_test(a_request_whose_answer_takes_long_is_acknowledged_after_a_millisecond),
        cmocka_unit_test(a_fin_is_acknowledged_by_ours_if_that_follows_at_once),
        cmocka_unit_test(two_full_segments_are_acknowledged_without_delay),
        cmocka_unit_test(octets_beyond_a_hole_are_sacked_the_most_recent_first),
        cmocka_unit_test(a_hole_that_is_filled_is_acknowledged_up_to_the_end),
        cmocka_unit_test(where_segments_overlap_what_came_first_stays),
        cmocka_unit_test(a_fin_out_of_order_waits_for_the_data_in_front_of_it),
        cmocka_unit_test(urgent_data_is_read_inline),
        cmocka_unit_test(the_window_closes_and_does_not_reopen_for_crumbs),
        cmocka_unit_test(segments_of_one_octet_are_never_offered_more_than_the_limit),
        cmocka_unit_test(a_timestamp_older_than_24_days_is_not_held_against_the_peer),
        cmocka_unit_test(a_duplicate_is_reported_by_a_dsack),
        cmocka_unit_test(under_memory_pressure_a_small_window_is_offered),
        cmocka_unit_test(octets_that_come_one_by_one_out_of_order_hold_little_memory),
        cmocka_unit_test(under_memory_pressure_a_window_for_large_segments_opens_again),
        cmocka_unit_test(a_super_segment_is_one_segment_that_stands_for_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
