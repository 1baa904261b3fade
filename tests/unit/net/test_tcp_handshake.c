/* SPDX-License-Identifier: MIT */
/* test_tcp_handshake: how flows begin, and what the two sides agree on (RFC 9293 3.10.7, RFC 6528, 6691, 7323, 5927). */
#include "tcp_rig.h"
#include "base/bytes.h"

static const struct tcp_segment plain_syn = {
    .src_port = 40000, .dst_port = 80, .seq = RIG_PEER_ISS, .flags = TCP_SYN, .wnd = 65535};

static void syn_with(struct tcp_rig *r, struct tcp_segment syn)
{
    assert_int_equal(rig_in_segment(r, syn, "", 0), DROP_NONE);
    r->snd = RIG_PEER_ISS + 1;
    r->t = rig_ready(r);
    assert_non_null(r->t);
}

/* Our SYN-ACK. */
static const struct rig_segment *accepted(struct tcp_rig *r)
{
    const struct rig_segment *o;

    assert_int_equal(tcp_stream(r->t)->ops->accept(tcp_stream(r->t)), 0);
    o = rig_next(r);
    assert_non_null(o);
    assert_int_equal(o->s.flags, TCP_SYN | TCP_ACK);
    return o;
}

static void options_that_the_client_offers_are_taken(void **state)
{
    struct tcp_segment syn = plain_syn;
    const struct rig_segment *o;
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    syn.has_mss = syn.has_wscale = syn.has_ts = syn.sack_permitted = true;
    syn.mss_bytes = 1300;
    syn.wscale_log2 = 7;
    syn.ts_val = 77;
    syn_with(&r, syn);
    o = accepted(&r);
    assert_true(o->s.has_mss && o->s.has_wscale && o->s.has_ts && o->s.sack_permitted);
    assert_int_equal(o->s.mss_bytes, 1460);
    assert_int_equal(o->s.ts_ecr, 77);
    assert_int_equal(r.t->snd_mss_bytes, 1300 - 12);
    assert_int_equal(r.t->snd_wscale_log2, 7);
    rig_deinit(&r);
}

static void options_that_the_client_does_not_offer_are_not_sent(void **state)
{
    const struct rig_segment *o;
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    syn_with(&r, plain_syn);
    o = accepted(&r);
    assert_true(o->s.has_mss);
    assert_false(o->s.has_wscale || o->s.has_ts || o->s.sack_permitted);
    assert_int_equal(r.t->snd_mss_bytes, TCP_MSS_DEFAULT);
    rig_deinit(&r);
}

static void a_tiny_mss_is_raised_to_the_floor(void **state)
{
    struct tcp_segment syn = plain_syn;
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    syn.has_mss = true;
    syn.mss_bytes = 1;
    syn_with(&r, syn);
    assert_int_equal(r.t->snd_mss_bytes, TCP_MSS_MIN);
    rig_deinit(&r);
}

static void our_own_syn_offers_everything(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_SYN_SENT);
    assert_int_equal(r.out[0].s.flags, TCP_SYN);
    assert_true(r.out[0].s.has_mss && r.out[0].s.has_wscale && r.out[0].s.has_ts &&
                r.out[0].s.sack_permitted);
    rig_deinit(&r);
}

static void both_may_open_at_the_same_time(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_SYN_SENT);
    assert_int_equal(rig_in(&r, TCP_SYN, r.snd++, 0, 0), DROP_NONE);
    rig_out(&r, TCP_SYN | TCP_ACK, r.t->iss, r.snd, 0);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 0), DROP_NONE);
    assert_int_equal(r.t->state, TCP_ESTABLISHED);
    rig_deinit(&r);
}

static void a_flow_may_be_refused_by_reset_by_icmp_or_by_silence(void **state)
{
    static const struct {
        int verdict;
        uint8_t code; /* of ICMP destination unreachable */
    } rows[] = {{ADIT_UNREACH_NET, 0}, {ADIT_UNREACH_HOST, 1}, {ADIT_UNREACH_ADMIN, 13}};
    struct tcp_rig r;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const struct rig_segment *o;

        rig_init(&r);
        syn_with(&r, plain_syn);
        tcp_stream(r.t)->ops->reject(tcp_stream(r.t), rows[i].verdict);
        o = rig_next(&r);
        assert_non_null(o);
        assert_int_equal(o->proto, IP_PROTO_ICMP);
        assert_int_equal(o->octets[0], 3);
        assert_int_equal(o->octets[1], rows[i].code);
        rig_deinit(&r);
    }
    rig_init(&r);
    syn_with(&r, plain_syn);
    tcp_stream(r.t)->ops->reject(tcp_stream(r.t), ADIT_RESET);
    rig_out(&r, TCP_RST | TCP_ACK, 0, r.snd, 0);
    rig_deinit(&r);
    rig_init(&r);
    syn_with(&r, plain_syn);
    tcp_stream(r.t)->ops->reject(tcp_stream(r.t), ADIT_DROP);
    rig_silent(&r);
    assert_int_equal(r.t->state, TCP_CLOSED);
    rig_deinit(&r);
}

static void initial_numbers_differ_by_tuple_and_advance_with_the_clock(void **state)
{
    struct tcp_segment other = plain_syn;
    uint32_t first;
    struct tcp_rig r;
    struct tcp *t;

    (void)state;
    rig_init(&r);
    other.src_port = 40001;
    syn_with(&r, plain_syn);
    first = r.t->iss;
    assert_int_equal(rig_in_segment(&r, other, "", 0), DROP_NONE);
    t = rig_ready(&r);
    assert_int_not_equal(t->iss, first);
    t->flow.stream.ops->abort(&t->flow.stream);
    t->flow.stream.ops->free(&t->flow.stream);
    r.t->flow.stream.ops->abort(&r.t->flow.stream);
    r.t->flow.stream.ops->free(&r.t->flow.stream);
    r.now_ns += 4000ull * 1000;
    syn_with(&r, plain_syn);
    assert_int_equal(r.t->iss, first + 1000);
    rig_deinit(&r);
}

static void super_segments_leave_room_for_sack_blocks(void **state)
{
    const struct rig_segment *o;
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    (void)rig_in(&r, TCP_ACK, r.snd + 10, rig_ours(&r), 5);
    rig_forget_output(&r);
    rig_write(&r, 5000);
    o = rig_next(&r);
    assert_non_null(o);
    assert_int_equal(o->s.sacks_count, 1);
    assert_int_equal(o->s.gso_bytes, 1460 - 12);
    rig_deinit(&r);
}

static void super_segments_are_four_times_as_long_where_the_device_takes_them(void **state)
{
    struct tcp_rig r;

    (void)state;
    for (int big = 0; big <= 1; big++) {
        rig_init(&r);
        r.net.config.device_big_tcp4 = big;
        rig_enter(&r, TCP_ESTABLISHED);
        r.t->snd_wnd = r.t->work->cc.cwnd_bytes = 1024 * 1024;
        r.t->work->last_sent_ns = r.now_ns;
        rig_write(&r, 250000);
        net_output(&r.net, r.now_ns);
        assert_int_equal(r.t->snd_nxt - r.t->snd_una, 250000);
        assert_int_equal(r.out_count - r.out_at, big ? 1 : 4);
        rig_deinit(&r);
    }
}

static void one_call_sends_no_more_packets_than_their_answers_have_room(void **state)
{
    enum { PART = 1460, ALL = 170 * PART };
    struct tcp_rig r;
    uint32_t first;

    (void)state;
    rig_init(&r);
    r.net.config.device_splits = true;
    rig_enter(&r, TCP_ESTABLISHED);
    r.t->snd_wnd = r.t->work->cc.cwnd_bytes = 1024 * 1024;
    r.t->work->last_sent_ns = r.now_ns;
    rig_write(&r, ALL);
    net_output(&r.net, r.now_ns);
    first = r.t->snd_nxt - r.t->snd_una;
    assert_in_range(first, NET_OUTPUT_PACKETS * PART, ALL - 1);
    net_output(&r.net, r.now_ns);
    assert_int_equal(r.t->snd_nxt - r.t->snd_una, ALL);
    assert_true(list_is_empty(&r.net.output));
    rig_deinit(&r);
}

/* An error about a segment of ours that began at seq. */
static enum drop in_icmp(struct tcp_rig *r, uint32_t seq, const struct icmp_message *m)
{
    struct ip_header ip = {.version = 4, .proto = IP_PROTO_TCP};
    uint8_t quoted[8];

    ip_map4(ip.src, (const uint8_t[]){1, 2, 3, 4});
    ip_map4(ip.dst, (const uint8_t[]){10, 0, 0, 2});
    put_be16(quoted, 80);
    put_be16(quoted + 2, 40000);
    put_be32(quoted + 4, seq);
    return tcp_icmp_error(&r->engine, &ip, quoted, m, r->now_ns);
}

static enum drop in_too_big(struct tcp_rig *r, uint32_t seq, uint32_t mtu_bytes)
{
    struct icmp_message m = {.kind = ICMP_TOO_BIG, .mtu_bytes = mtu_bytes};

    return in_icmp(r, seq, &m);
}

static void too_big_is_believed_about_what_is_in_flight_only(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_write(&r, 3000);
    rig_forget_output(&r);
    assert_int_equal(in_too_big(&r, rig_ours(&r) + 3000, 1000), DROP_ICMP_ERROR_UNRELATED);
    assert_int_equal(in_too_big(&r, rig_ours(&r) - 1, 1000), DROP_ICMP_ERROR_UNRELATED);
    assert_int_equal(r.t->snd_mss_bytes, 1460);
    assert_int_equal(in_too_big(&r, rig_ours(&r), 1000), DROP_NONE);
    assert_int_equal(r.t->snd_mss_bytes, 960);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 3000);
    assert_int_equal(r.out[0].s.gso_bytes, 960);
    rig_deinit(&r);
}

static void too_big_never_goes_below_the_floor(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_write(&r, 3000);
    rig_forget_output(&r);
    assert_int_equal(in_too_big(&r, rig_ours(&r), 68), DROP_NONE);
    assert_int_equal(r.t->pmtu_bytes, TCP_PMTU_MIN_4);
    assert_int_equal(r.t->snd_mss_bytes, 512);
    rig_deinit(&r);
}

static void errors_about_our_syn_end_the_dial_only_when_they_say_unreachable(void **state)
{
    static const struct {
        enum icmp_kind kind;
        int why;
    } rows[] = {
        {ICMP_UNREACH_PORT, ADIT_EREFUSED},      {ICMP_UNREACH_NET, ADIT_ENETUNREACH},
        {ICMP_UNREACH_HOST, ADIT_EHOSTUNREACH},  {ICMP_UNREACH_ADMIN, ADIT_EHOSTUNREACH},
        {ICMP_UNREACH_PROTOCOL, ADIT_EREFUSED},  {ICMP_TOO_BIG, 0},
        {ICMP_TTL_EXCEEDED, 0},                  {ICMP_OTHER, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct icmp_message m = {.kind = rows[i].kind, .mtu_bytes = 1000};
        struct tcp_rig r;

        rig_init(&r);
        rig_enter(&r, TCP_SYN_SENT);
        assert_int_equal(in_icmp(&r, r.t->iss, &m), DROP_NONE);
        assert_int_equal(r.t->state, rows[i].why ? TCP_CLOSED : TCP_SYN_SENT);
        assert_int_equal(r.t->why, rows[i].why);
        rig_deinit(&r);
    }
}

static void a_smaller_path_is_forgotten_after_ten_minutes(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    rig_write(&r, 1000);
    rig_forget_output(&r);
    assert_int_equal(in_too_big(&r, rig_ours(&r), 600), DROP_NONE);
    assert_int_equal(r.t->snd_mss_bytes, 560);
    rig_forget_output(&r);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1000, 0), DROP_NONE);
    rig_sleep(&r, (TCP_PMTU_MINUTES - 1) * 60000000000ull - 1000000000);
    rig_write(&r, 100);
    rig_forget_output(&r);
    assert_int_equal(r.t->snd_mss_bytes, 560);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1100, 0), DROP_NONE);
    rig_sleep(&r, 62000000000);
    rig_write(&r, 100);
    rig_forget_output(&r);
    assert_int_equal(r.t->snd_mss_bytes, 1460);
    rig_deinit(&r);
}

static void octets_in_a_syn_are_not_acknowledged(void **state)
{
    struct tcp_segment s = {.src_port = 40000, .dst_port = 80, .seq = RIG_PEER_ISS, .flags = TCP_SYN, .wnd = 1000};
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    assert_int_equal(rig_in_segment(&r, s, "early", 5), DROP_NONE);
    r.t = rig_ready(&r);
    r.t->flow.owner = &r;
    assert_int_equal(tcp_stream(r.t)->ops->accept(tcp_stream(r.t)), 0);
    rig_out(&r, TCP_SYN | TCP_ACK, r.t->iss, RIG_PEER_ISS + 1, 0);
    assert_int_equal(rig_in(&r, TCP_ACK, RIG_PEER_ISS + 1, rig_ours(&r), 5), DROP_NONE);
    assert_int_equal(r.t->work->rx.bytes, 5);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_the_client_offers_are_taken),
        cmocka_unit_test(options_that_the_client_does_not_offer_are_not_sent),
        cmocka_unit_test(a_tiny_mss_is_raised_to_the_floor),
        cmocka_unit_test(our_own_syn_offers_everything),
        cmocka_unit_test(both_may_open_at_the_same_time),
        cmocka_unit_test(a_flow_may_be_refused_by_reset_by_icmp_or_by_silence),
        cmocka_unit_test(initial_numbers_differ_by_tuple_and_advance_with_the_clock),
        cmocka_unit_test(super_segments_leave_room_for_sack_blocks),
        cmocka_unit_test(super_segments_are_four_times_as_long_where_the_device_takes_them),
        cmocka_unit_test(one_call_sends_no_more_packets_than_their_answers_have_room),
        cmocka_unit_test(too_big_is_believed_about_what_is_in_flight_only),
        cmocka_unit_test(too_big_never_goes_below_the_floor),
        cmocka_unit_test(errors_about_our_syn_end_the_dial_only_when_they_say_unreachable),
        cmocka_unit_test(a_smaller_path_is_forgotten_after_ten_minutes),
        cmocka_unit_test(octets_in_a_syn_are_not_acknowledged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
