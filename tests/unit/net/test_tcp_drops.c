/* SPDX-License-Identifier: MIT */
/* test_tcp_drops: each TCP_* row of wire/drop.def is reached, by name, with the answer that its text promises. */
#include "tcp_rig.h"

/* A TCP header as it stands in `tcp`; nothing is made right. */
static enum drop in_raw(struct tcp_rig *r, const uint8_t *tcp, uint32_t len_bytes)
{
    struct ip_header ip = {.version = 4, .proto = IP_PROTO_TCP, .ttl = 64, .payload_bytes = len_bytes};
    struct buf *b = buf_new(&r->bufs, 100);
    uint32_t ip_bytes;
    enum drop why;

    ip_map4(ip.src, (const uint8_t[]){10, 0, 0, 2});
    ip_map4(ip.dst, (const uint8_t[]){1, 2, 3, 4});
    ip_bytes = (uint32_t)ip_emit(b->data, &ip);
    memcpy(b->data + ip_bytes, tcp, len_bytes);
    why = net_input(&r->net, &(struct packet){.buf = b, .data = b->data, .len_bytes = ip_bytes + len_bytes},
                    r->now_ns);
    buf_unref(b);
    return why;
}

static enum drop in_syn(struct tcp_rig *r, uint16_t port)
{
    struct tcp_segment s = {.src_port = port, .dst_port = 80, .seq = 5, .flags = TCP_SYN, .wnd = 1000};

    return rig_in_segment(r, s, "", 0);
}

/* Ends all flows that the ready list shows. */
static void end_all(struct tcp_rig *r)
{
    struct tcp *t;

    while ((t = rig_ready(r)) != NULL) {
        tcp_stream(t)->ops->abort(tcp_stream(t));
        tcp_stream(t)->ops->free(tcp_stream(t));
    }
}

/* One segment in a state: the verdict that it gets. */
static void expect(enum tcp_state state, uint8_t flags, int32_t off, int32_t ack_off, enum drop why)
{
    struct tcp_rig r;

    rig_init(&r);
    rig_enter(&r, state);
    assert_string_equal(
        drop_name(rig_in(&r, flags, r.t->rcv_nxt + (uint32_t)off, r.t->snd_nxt + (uint32_t)ack_off, 0)),
        drop_name(why));
    assert_int_equal(r.net.stats.drops[why], 1);
    rig_deinit(&r);
}

static void a_header_that_is_cut_short_or_too_long_is_tcp_header(void **state)
{
    uint8_t tcp[20] = {0x9c, 0x40, 0, 80, [12] = 0x50, [13] = TCP_SYN};
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    assert_int_equal(in_raw(&r, tcp, 19), DROP_TCP_HEADER);
    tcp[12] = 0x40;
    assert_int_equal(in_raw(&r, tcp, 20), DROP_TCP_HEADER);
    tcp[12] = 0x60;
    assert_int_equal(in_raw(&r, tcp, 20), DROP_TCP_HEADER);
    rig_silent(&r);
    rig_deinit(&r);
}

static void an_option_of_length_one_is_tcp_options(void **state)
{
    static const uint8_t tcp[24] = {0x9c, 0x40, 0, 80, [12] = 0x60, [13] = TCP_SYN, [20] = 2, 1, 0, 0};
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    assert_int_equal(in_raw(&r, tcp, sizeof(tcp)), DROP_TCP_OPTIONS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_wrong_checksum_is_tcp_checksum(void **state)
{
    static const uint8_t tcp[20] = {0x9c, 0x40, 0, 80, [12] = 0x50, [13] = TCP_SYN, [16] = 0xba, 0xad};
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    assert_int_equal(in_raw(&r, tcp, sizeof(tcp)), DROP_TCP_CHECKSUM);
    rig_silent(&r);
    rig_deinit(&r);
}

static void flags_that_cannot_be_are_tcp_flags(void **state)
{
    static const uint8_t bad[] = {0, TCP_SYN | TCP_FIN, TCP_SYN | TCP_RST, TCP_ECE};
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    for (size_t i = 0; i < sizeof(bad); i++)
        assert_int_equal(rig_in(&r, bad[i], 1, 0, 0), DROP_TCP_FLAGS);
    assert_int_equal(in_syn(&r, 0), DROP_TCP_FLAGS);
    rig_silent(&r);
    rig_deinit(&r);
}

static void an_ack_of_no_flow_is_answered_by_a_reset_at_its_acknowledgment(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    assert_int_equal(rig_in(&r, TCP_ACK, 500, 900, 3), DROP_TCP_NO_FLOW);
    rig_out(&r, TCP_RST, 900, 0, 0);
    assert_int_equal(rig_in(&r, TCP_FIN, 500, 0, 3), DROP_TCP_NO_FLOW);
    rig_out(&r, TCP_RST | TCP_ACK, 0, 504, 0);
    assert_int_equal(rig_in(&r, TCP_RST, 500, 0, 0), DROP_TCP_NO_FLOW);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_syn_that_prepare_refuses_is_tcp_syn_rejected(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.decision.verdict = ADIT_RESET;
    assert_int_equal(in_syn(&r, 40000), DROP_TCP_SYN_REJECTED);
    rig_out(&r, TCP_RST | TCP_ACK, 0, 6, 0);
    rig_silent(&r);
    rig_deinit(&r);
}

static void half_open_flows_have_a_limit_and_a_limit_per_client(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.net.config.tcp_half_open_max = 3;
    assert_int_equal(in_syn(&r, 1), DROP_NONE);
    assert_int_equal(in_syn(&r, 2), DROP_NONE);
    assert_int_equal(in_syn(&r, 3), DROP_TCP_SYN_CLIENT_LIMIT);
    r.net.config.tcp_half_open_per_client_max = 3;
    assert_int_equal(in_syn(&r, 3), DROP_NONE);
    assert_int_equal(in_syn(&r, 4), DROP_TCP_SYN_LIMIT);
    rig_silent(&r);
    end_all(&r);
    rig_deinit(&r);
}

/* The flow of a SYN from this port, answered. */
static struct tcp *accepted(struct tcp_rig *r, uint16_t port)
{
    struct tcp *t;

    assert_int_equal(in_syn(r, port), DROP_NONE);
    t = rig_ready(r);
    assert_int_equal(tcp_stream(t)->ops->accept(tcp_stream(t)), 0);
    rig_forget_output(r);
    return t;
}

static void a_client_that_does_not_answer_makes_room_for_a_new_flow(void **state)
{
    struct tcp_rig r;
    struct tcp *thinks, *silent, *answered;

    (void)state;
    rig_init(&r);
    r.net.config.tcp_half_open_max = r.net.config.tcp_half_open_per_client_max = 2;
    answered = accepted(&r, 40000);
    assert_int_equal(rig_in(&r, TCP_ACK, 6, answered->iss + 1, 0), DROP_NONE);
    assert_ptr_equal(rig_ready(&r), answered);
    assert_int_equal(in_syn(&r, 1), DROP_NONE);
    thinks = rig_ready(&r);
    silent = accepted(&r, 2);
    assert_int_equal(in_syn(&r, 3), DROP_TCP_SYN_LIMIT);
    rig_sleep(&r, 2000000000);
    rig_forget_output(&r);
    assert_int_equal(in_syn(&r, 3), DROP_NONE);
    rig_out(&r, TCP_RST, silent->iss + 1, 0, 0); /* means nothing to a client that has not had the SYN-ACK */
    rig_silent(&r);
    assert_ptr_equal(rig_ready(&r), silent);
    assert_int_equal(silent->state, TCP_CLOSED);
    assert_int_equal(tcp_stream(silent)->ops->why(tcp_stream(silent)), ADIT_ELIMIT);
    assert_int_equal(thinks->state, TCP_PENDING);
    assert_int_equal(answered->state, TCP_ESTABLISHED);
    assert_int_equal(r.net.stats.tcp_evicted, 1);
    assert_int_equal(in_syn(&r, 4), DROP_TCP_SYN_LIMIT); /* both handlers think */
    tcp_stream(silent)->ops->free(tcp_stream(silent));
    tcp_notify(thinks);
    tcp_notify(answered);
    end_all(&r);
    rig_deinit(&r);
}

static void at_a_clients_limit_its_own_flow_makes_room(void **state)
{
    struct tcp_rig r;
    struct tcp *silent;

    (void)state;
    rig_init(&r);
    r.net.config.tcp_half_open_per_client_max = 1;
    silent = accepted(&r, 1);
    assert_int_equal(in_syn(&r, 2), DROP_TCP_SYN_CLIENT_LIMIT);
    rig_sleep(&r, 2000000000);
    assert_int_equal(in_syn(&r, 2), DROP_NONE);
    assert_int_equal(silent->state, TCP_CLOSED);
    end_all(&r);
    rig_deinit(&r);
}

static void flows_have_a_limit_and_a_limit_per_client(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.net.config.tcp_half_open_max = r.net.config.tcp_half_open_per_client_max = 100;
    r.net.config.tcp_per_client_max = 7;
    for (uint16_t port = 1; port <= 7; port++)
        assert_int_equal(in_syn(&r, port), DROP_NONE);
    assert_int_equal(in_syn(&r, 8), DROP_TCP_CLIENT_LIMIT);
    r.net.config.tcp_per_client_max = 100;
    assert_int_equal(in_syn(&r, 8), DROP_NONE);
    assert_int_equal(in_syn(&r, 9), DROP_TCP_FLOW_LIMIT);
    rig_silent(&r);
    end_all(&r);
    rig_deinit(&r);
}

static void a_repeated_syn_is_tcp_pending_while_the_handler_thinks(void **state)
{
    (void)state;
    expect(TCP_PENDING, TCP_SYN, -1, 0, DROP_TCP_PENDING);
}

static void a_reset_while_the_handler_thinks_is_tcp_pending_reset(void **state)
{
    (void)state;
    expect(TCP_PENDING, TCP_RST, 0, 0, DROP_TCP_PENDING_RESET);
}

static void an_ack_beyond_the_window_is_tcp_sequence(void **state)
{
    (void)state;
    expect(TCP_ESTABLISHED, TCP_ACK, 70000, 0, DROP_TCP_SEQUENCE);
}

static void an_older_timestamp_is_tcp_paws_and_answered(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.ts = 100;
    rig_enter(&r, TCP_ESTABLISHED);
    r.ts = 99;
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 5), DROP_TCP_PAWS);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_deinit(&r);
}

static void a_reset_inside_the_window_is_tcp_reset_challenged(void **state)
{
    (void)state;
    expect(TCP_ESTABLISHED, TCP_RST, 1, 0, DROP_TCP_RESET_CHALLENGED);
}

static void a_syn_on_an_open_flow_is_tcp_syn_challenged(void **state)
{
    (void)state;
    expect(TCP_ESTABLISHED, TCP_SYN, 0, 0, DROP_TCP_SYN_CHALLENGED);
}

static void a_segment_without_ack_is_tcp_no_ack(void **state)
{
    (void)state;
    expect(TCP_ESTABLISHED, TCP_PSH, 0, 0, DROP_TCP_NO_ACK);
}

static void an_acknowledgment_older_than_the_largest_window_is_tcp_ack_old(void **state)
{
    (void)state;
    expect(TCP_ESTABLISHED, TCP_ACK, 0, -65536, DROP_TCP_ACK_OLD);
}

static void an_acknowledgment_of_what_was_never_sent_is_tcp_ack_future(void **state)
{
    (void)state;
    expect(TCP_ESTABLISHED, TCP_ACK, 0, 1, DROP_TCP_ACK_FUTURE);
}

static void a_wrong_handshake_acknowledgment_is_tcp_bad_syn_ack_and_reset(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_enter(&r, TCP_SYN_RECEIVED);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1, 0), DROP_TCP_BAD_SYN_ACK);
    rig_out(&r, TCP_RST, rig_ours(&r) + 1, 0, 0);
    assert_int_equal(r.t->state, TCP_SYN_RECEIVED);
    rig_deinit(&r);
}

static void one_hole_too_many_is_tcp_out_of_order_limit(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    for (uint32_t i = 1; i <= TCP_ISLANDS_MAX; i++) {
        assert_int_equal(rig_in(&r, TCP_ACK, r.snd + 2 * i, rig_ours(&r), 1), DROP_NONE);
        rig_forget_output(&r);
    }
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd + 2 * TCP_ISLANDS_MAX + 2, rig_ours(&r), 1),
                     DROP_TCP_OUT_OF_ORDER_LIMIT);
    assert_int_equal(r.t->work->islands_count, TCP_ISLANDS_MAX);
    rig_deinit(&r);
}

static void an_octet_into_a_closed_window_is_tcp_window_full(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    for (uint32_t left = r.t->rcv_edge - r.snd; left > 0;) {
        uint32_t len = left < 1000 ? left : 1000;

        assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), len), DROP_NONE);
        rig_forget_output(&r);
        r.snd += len;
        left -= len;
    }
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 1), DROP_TCP_WINDOW_FULL);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    assert_int_equal(r.out[0].s.wnd, 0);
    rig_deinit(&r);
}

static void data_that_came_before_is_tcp_duplicate(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 10), DROP_NONE);
    rig_forget_output(&r);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r), 10), DROP_TCP_DUPLICATE);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd + 10, 0);
    rig_deinit(&r);
}

static void data_for_a_handler_that_has_gone_is_tcp_closed_reading_and_reset(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    tcp_stream(r.t)->ops->close(tcp_stream(r.t));
    rig_forget_output(&r);
    assert_int_equal(rig_in(&r, TCP_ACK, r.snd, rig_ours(&r) + 1, 10), DROP_TCP_CLOSED_READING);
    rig_out(&r, TCP_RST | TCP_ACK, rig_ours(&r) + 1, r.snd, 0);
    assert_int_equal(r.t->state, TCP_CLOSED);
    rig_deinit(&r);
}

static void an_exact_reset_is_tcp_reset(void **state)
{
    (void)state;
    expect(TCP_ESTABLISHED, TCP_RST, 0, 0, DROP_TCP_RESET);
}

static void an_old_segment_of_a_flow_in_time_wait_is_tcp_time_wait(void **state)
{
    (void)state;
    expect(TCP_TIME_WAIT, TCP_ACK, 0, 0, DROP_TCP_TIME_WAIT);
}

static void a_reset_with_old_octets_is_not_answered(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    assert_int_equal(rig_in(&r, TCP_RST | TCP_ACK, r.snd - 20, rig_ours(&r), 5), DROP_TCP_SEQUENCE);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_flow_is_challenged_once_in_half_a_second(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_established(&r);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_in(&r, TCP_RST, r.snd + 1, 0, 0), DROP_TCP_RESET_CHALLENGED);
        rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
        for (int n = 0; n < 10; n++) {
            assert_int_equal(rig_in(&r, TCP_RST, r.snd + 1, 0, 0), DROP_TCP_RESET_CHALLENGED);
            rig_silent(&r);
        }
        rig_sleep(&r, TCP_CHALLENGE_NS);
    }
    rig_deinit(&r);
}

static void challenges_of_all_flows_are_limited_by_a_number_that_nobody_knows(void **state)
{
    /* The random numbers of the rig are all 0x5a5a. */
    const uint32_t limit = TCP_CHALLENGES_PER_SECOND / 2 + 0x5a5a % TCP_CHALLENGES_PER_SECOND;
    struct tcp_rig r;
    uint32_t sent = 0;

    (void)state;
    rig_established(&r);
    for (uint32_t n = 0; n < limit + 100; n++) {
        r.t->work->challenge_ns = 0; /* as of another flow */
        assert_int_equal(rig_in(&r, TCP_RST, r.snd + 1, 0, 0), DROP_TCP_RESET_CHALLENGED);
        sent += rig_next(&r) != NULL;
        rig_forget_output(&r);
    }
    assert_int_equal(sent, limit);
    rig_sleep(&r, 1000000000);
    r.t->work->challenge_ns = 0;
    (void)rig_in(&r, TCP_RST, r.snd + 1, 0, 0);
    rig_out(&r, TCP_ACK, rig_ours(&r), r.snd, 0);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_that_is_cut_short_or_too_long_is_tcp_header),
        cmocka_unit_test(an_option_of_length_one_is_tcp_options),
        cmocka_unit_test(a_wrong_checksum_is_tcp_checksum),
        cmocka_unit_test(flags_that_cannot_be_are_tcp_flags),
        cmocka_unit_test(an_ack_of_no_flow_is_answered_by_a_reset_at_its_acknowledgment),
        cmocka_unit_test(a_syn_that_prepare_refuses_is_tcp_syn_rejected),
        cmocka_unit_test(half_open_flows_have_a_limit_and_a_limit_per_client),
        cmocka_unit_test(a_client_that_does_not_answer_makes_room_for_a_new_flow),
        cmocka_unit_test(at_a_clients_limit_its_own_flow_makes_room),
        cmocka_unit_test(flows_have_a_limit_and_a_limit_per_client),
        cmocka_unit_test(a_repeated_syn_is_tcp_pending_while_the_handler_thinks),
        cmocka_unit_test(a_reset_while_the_handler_thinks_is_tcp_pending_reset),
        cmocka_unit_test(an_ack_beyond_the_window_is_tcp_sequence),
        cmocka_unit_test(an_older_timestamp_is_tcp_paws_and_answered),
        cmocka_unit_test(a_reset_inside_the_window_is_tcp_reset_challenged),
        cmocka_unit_test(a_syn_on_an_open_flow_is_tcp_syn_challenged),
        cmocka_unit_test(a_segment_without_ack_is_tcp_no_ack),
        cmocka_unit_test(an_acknowledgment_older_than_the_largest_window_is_tcp_ack_old),
        cmocka_unit_test(an_acknowledgment_of_what_was_never_sent_is_tcp_ack_future),
        cmocka_unit_test(a_wrong_handshake_acknowledgment_is_tcp_bad_syn_ack_and_reset),
        cmocka_unit_test(one_hole_too_many_is_tcp_out_of_order_limit),
        cmocka_unit_test(an_octet_into_a_closed_window_is_tcp_window_full),
        cmocka_unit_test(data_that_came_before_is_tcp_duplicate),
        cmocka_unit_test(data_for_a_handler_that_has_gone_is_tcp_closed_reading_and_reset),
        cmocka_unit_test(an_exact_reset_is_tcp_reset),
        cmocka_unit_test(an_old_segment_of_a_flow_in_time_wait_is_tcp_time_wait),
        cmocka_unit_test(a_reset_with_old_octets_is_not_answered),
        cmocka_unit_test(a_flow_is_challenged_once_in_half_a_second),
        cmocka_unit_test(challenges_of_all_flows_are_limited_by_a_number_that_nobody_knows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
