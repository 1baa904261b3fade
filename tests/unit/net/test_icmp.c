/* SPDX-License-Identifier: MIT */
/* ICMP: echo and its verdicts, errors that leave and how many of them, errors that arrive and whether they are believed. */
#include "rig.h"

static struct net_rig rig;

#define CLIENT "10.0.0.2"
#define REMOTE "1.2.3.4"
#define CLIENT6 "fd00::2"
#define REMOTE6 "2001:db8::1"

static int begin(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static int end(void **state)
{
    (void)state;
    rig_deinit(&rig);
    return 0;
}

static enum drop ping_from(const char *client, const char *remote, uint16_t id, uint16_t seq, const char *data)
{
    static uint8_t p[2000];
    struct icmp_message m = {
        .kind = ICMP_ECHO_REQUEST, .id = id, .seq = seq, .data = (const uint8_t *)data, .data_bytes = (uint32_t)strlen(data)};

    return rig_input(&rig, p, make_icmp(p, client, remote, &m));
}

static enum drop ping(uint16_t id)
{
    return ping_from(CLIENT, REMOTE, id, 1, "0123456789");
}

/* ---------------------------------------------------------------------------------------------- echo -- */

static void an_echo_request_is_answered(void **state)
{
    struct icmp_message m;

    (void)state;
    assert_int_equal(ping_from(CLIENT, REMOTE, 77, 5, "payload"), DROP_NONE);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_ECHO_REPLY);
    assert_int_equal(m.id, 77);
    assert_int_equal(m.seq, 5);
    assert_int_equal(m.data_bytes, 7);
    assert_memory_equal(m.data, "payload", 7);
    assert_addr(rig.out[0].ip.src, REMOTE);
    assert_addr(rig.out[0].ip.dst, CLIENT);

    assert_int_equal(ping_from(CLIENT6, REMOTE6, 77, 5, "payload"), DROP_NONE);
    assert_int_equal(rig_out_icmp(&rig).kind, ICMP_ECHO_REPLY);
    assert_addr(rig.out[1].ip.src, REMOTE6);
    assert_int_equal(rig.net.stats.icmp_total, 2);
}

static void a_long_reply_leaves_in_fragments(void **state)
{
    static uint8_t data[3000];
    struct flow_key key = {.client_port = 9, .proto = IP_PROTO_ICMP};
    adit_addr client = addr(CLIENT), remote = addr(REMOTE);

    (void)state;
    memcpy(key.client, client.ip, 16);
    memcpy(key.remote, remote.ip, 16);
    icmp_reply(&rig.net, &key, 1, data, sizeof(data), 50, rig.now_ns);
    assert_int_equal(rig.out_count, 3);
    assert_int_equal(rig.out[0].ip.ttl, 50);
    icmp_reply(&rig.net, &key, 1, data, 65508, 50, rig.now_ns);
    assert_int_equal(rig.out_count, 3);
    assert_int_equal(rig_drops(&rig, DROP_DEVICE_TOO_BIG), 1);
}

static void prepare_is_asked_once_for_an_echo_flow_and_the_handler_each_time(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ping(1), DROP_NONE);
    assert_int_equal(rig.prepares, 1);
    assert_int_equal(rig.echoes, 3);
    assert_int_equal(rig.asked.proto, ADIT_PROTO_ICMP);
    assert_addr(rig.asked.src.ip, CLIENT);
    assert_int_equal(rig.asked.src.port, 0);
    assert_addr(rig.asked.dst.addr.ip, REMOTE);
    assert_int_equal(ping_from(CLIENT, "5.6.7.8", 1, 1, ""), DROP_NONE);
    assert_int_equal(rig.prepares, 2);
}

static void what_prepare_refuses_is_refused_as_it_says(void **state)
{
    (void)state;
    rig.decision.verdict = ADIT_UNREACH_NET;
    assert_int_equal(ping(1), DROP_ICMP_REJECTED);
    assert_int_equal(rig_out_icmp(&rig).kind, ICMP_UNREACH_NET);
    assert_int_equal(ping(1), DROP_ICMP_REJECTED);
    assert_int_equal(rig.prepares, 1);
    assert_int_equal(rig.echoes, 0);
    rig.decision.verdict = ADIT_DROP;
    rig_out_icmp(&rig);
    assert_int_equal(ping(2), DROP_ICMP_REJECTED);
    rig_silent(&rig);
}

static void the_handlers_verdict_is_carried_out(void **state)
{
    (void)state;
    rig.echo_verdict = ADIT_ECHO_FORWARD;
    assert_int_equal(ping(1), DROP_NONE);
    rig_silent(&rig);
    rig.echo_verdict = ADIT_RESET;
    assert_int_equal(ping(1), DROP_ICMP_REJECTED);
    assert_int_equal(rig_out_icmp(&rig).kind, ICMP_UNREACH_PORT);
    rig.echo_verdict = ADIT_UNREACH_HOST;
    assert_int_equal(ping(1), DROP_ICMP_REJECTED);
    assert_int_equal(rig_out_icmp(&rig).kind, ICMP_UNREACH_HOST);
    rig.echo_verdict = ADIT_DROP;
    assert_int_equal(ping(1), DROP_ICMP_REJECTED);
    rig.echo_verdict = 4711; /* no verdict at all */
    assert_int_equal(ping(1), DROP_ICMP_REJECTED);
    rig_silent(&rig);
}

static void echo_flows_are_limited_per_client_and_in_all(void **state)
{
    char client[32];
    uint32_t flows = 0;

    (void)state;
    for (int i = 0; i < ICMP_ECHOES_PER_CLIENT_MAX; i++)
        assert_int_equal(ping((uint16_t)i), DROP_NONE);
    assert_int_equal(ping(ICMP_ECHOES_PER_CLIENT_MAX), DROP_ICMP_LIMIT);
    assert_int_equal(ping(0), DROP_NONE);
    rig_forget_output(&rig);
    for (uint32_t i = ICMP_ECHOES_PER_CLIENT_MAX; i < ICMP_ECHOES_MAX; i++) {
        snprintf(client, sizeof(client), "10.1.%u.%u", i / 250, i % 250 + 1);
        assert_int_equal(ping_from(client, REMOTE, 1, 1, ""), DROP_NONE);
    }
    assert_int_equal(ping_from("10.2.0.1", REMOTE, 1, 1, ""), DROP_ICMP_LIMIT);
    rig_sleep(&rig, 30 * RIG_SECOND_NS);
    flows = rig.net.flows.flows.count;
    assert_int_equal(flows, 0);
    assert_int_equal(ping(5000), DROP_NONE);
}

static void an_echo_flow_ends_when_it_was_idle_for_its_time(void **state)
{
    (void)state;
    assert_int_equal(ping(1), DROP_NONE);
    rig_sleep(&rig, 20 * RIG_SECOND_NS);
    assert_int_equal(ping(1), DROP_NONE);
    rig_sleep(&rig, 30 * RIG_SECOND_NS - WHEEL_TICK_NS);
    assert_int_equal(rig.net.echo_pool.used, 1);
    rig_sleep(&rig, WHEEL_TICK_NS);
    assert_int_equal(rig.net.echo_pool.used, 0);
    rig.decision.idle_ms = 1000;
    assert_int_equal(ping(1), DROP_NONE);
    assert_int_equal(rig.prepares, 2);
    rig_sleep(&rig, RIG_SECOND_NS);
    assert_int_equal(rig.net.echo_pool.used, 0);
}

/* --------------------------------------------------------------------------------------- what is refused -- */

static void a_truncated_message_is_refused(void **state)
{
    uint8_t p[100];

    (void)state;
    assert_int_equal(rig_input(&rig, p, make_ip(p, CLIENT, REMOTE, IP_PROTO_ICMP, "\10\0\0\0\0\0\0", 7)), DROP_ICMP_HEADER);
}

static void a_wrong_checksum_is_refused(void **state)
{
    uint8_t p[100];
    struct icmp_message m = {.kind = ICMP_ECHO_REQUEST, .data = (const uint8_t *)"x", .data_bytes = 1};
    uint32_t n = make_icmp(p, CLIENT, REMOTE, &m);

    (void)state;
    p[n - 1] ^= 1;
    assert_int_equal(rig_input(&rig, p, n), DROP_ICMP_CHECKSUM);
    assert_int_equal(rig_input_as(&rig, p, n, 0, PACKET_CSUM_VALID), DROP_NONE);
}

static void types_without_a_meaning_here_are_refused(void **state)
{
    uint8_t p[100];
    struct icmp_message reply = {.kind = ICMP_ECHO_REPLY, .data = (const uint8_t *)"x", .data_bytes = 1};
    struct icmp_message redirect = {.kind = ICMP_OTHER, .type = 5, .data = (const uint8_t *)"x", .data_bytes = 1};

    (void)state;
    assert_int_equal(rig_input(&rig, p, make_icmp(p, CLIENT, REMOTE, &reply)), DROP_ICMP_TYPE);
    assert_int_equal(rig_input(&rig, p, make_icmp(p, CLIENT, REMOTE, &redirect)), DROP_ICMP_TYPE);
    rig_silent(&rig);
}

/* ---------------------------------------------------------------------------------------- errors out -- */

/* An error about a datagram that arrived. */
static enum drop complain(const char *client, const char *remote, uint64_t at_ns)
{
    uint8_t p[100];
    uint32_t n = make_udp(p, client, remote, "some", 4);
    struct ip_header h;

    assert_int_equal(ip_parse(&h, p, n, true), DROP_NONE);
    return icmp_error(&rig.net, &h, p, n, ICMP_UNREACH_PORT, 0, NULL, at_ns);
}

static void an_error_quotes_as_much_as_its_family_allows(void **state)
{
    static uint8_t p[3000], data[2000];
    struct ip_header h;
    uint32_t n = make_udp(p, "10.0.0.2:1", "1.2.3.4:2", data, sizeof(data));

    (void)state;
    assert_int_equal(ip_parse(&h, p, n, true), DROP_NONE);
    assert_int_equal(icmp_error(&rig.net, &h, p, n, ICMP_UNREACH_PORT, 0, NULL, rig.now_ns), DROP_NONE);
    assert_int_equal(rig_out(&rig)->len_bytes, 576);
    n = make_udp(p, "[fd00::2]:1", "[2001:db8::1]:2", data, sizeof(data));
    assert_int_equal(ip_parse(&h, p, n, true), DROP_NONE);
    assert_int_equal(icmp_error(&rig.net, &h, p, n, ICMP_TOO_BIG, 1300, NULL, rig.now_ns), DROP_NONE);
    assert_int_equal(rig.out[1].len_bytes, 1280);
    assert_int_equal(rig_out_icmp(&rig).mtu_bytes, 1300);
}

static void an_error_comes_from_the_router_that_said_it(void **state)
{
    uint8_t p[100];
    struct ip_header h;
    adit_addr router = addr("9.9.9.9"), router6 = addr("2001:db8::9");
    uint32_t n = make_udp(p, "10.0.0.2:1", "1.2.3.4:2", "some", 4);

    (void)state;
    assert_int_equal(ip_parse(&h, p, n, true), DROP_NONE);
    assert_int_equal(icmp_error(&rig.net, &h, p, n, ICMP_TTL_EXCEEDED, 0, router.ip, rig.now_ns), DROP_NONE);
    assert_addr(rig_out(&rig)->ip.src, "9.9.9.9");
    assert_int_equal(icmp_error(&rig.net, &h, p, n, ICMP_TTL_EXCEEDED, 0, router6.ip, rig.now_ns), DROP_NONE);
    assert_addr(rig_out(&rig)->ip.src, "1.2.3.4"); /* another family's cannot say it */
}

static void there_is_no_error_about_what_must_have_none(void **state)
{
    uint8_t p[200], quoted[100];
    struct ip_header h;
    struct icmp_message m = {.kind = ICMP_UNREACH_PORT, .data = quoted};
    uint32_t n;

    (void)state;
    assert_int_equal(complain("224.0.0.1:1", "1.2.3.4:2", rig.now_ns), DROP_IP_MARTIAN_SRC);
    assert_int_equal(complain("0.0.0.0:1", "1.2.3.4:2", rig.now_ns), DROP_IP_MARTIAN_SRC);
    assert_int_equal(complain("127.0.0.1:1", "1.2.3.4:2", rig.now_ns), DROP_IP_MARTIAN_SRC);
    assert_int_equal(complain("10.0.0.2:1", "224.0.0.1:2", rig.now_ns), DROP_IP_MARTIAN_DST);
    assert_int_equal(complain("10.0.0.2:1", "255.255.255.255:2", rig.now_ns), DROP_IP_MARTIAN_DST);

    m.data_bytes = make_udp(quoted, "1.2.3.4:2", "10.0.0.2:1", "some", 4);
    n = make_icmp(p, CLIENT, REMOTE, &m);
    assert_int_equal(ip_parse(&h, p, n, true), DROP_NONE);
    assert_int_equal(icmp_error(&rig.net, &h, p, n, ICMP_UNREACH_HOST, 0, NULL, rig.now_ns), DROP_ICMP_TYPE);
    assert_int_equal(icmp_error(&rig.net, &h, p, 22, ICMP_UNREACH_HOST, 0, NULL, rig.now_ns), DROP_ICMP_HEADER);

    n = make_udp(p, "10.0.0.2:1", "1.2.3.4:2", "some", 4);
    assert_int_equal(ip_parse(&h, p, n, true), DROP_NONE);
    h.fragment_offset_bytes = 8;
    assert_int_equal(icmp_error(&rig.net, &h, p, n, ICMP_UNREACH_HOST, 0, NULL, rig.now_ns), DROP_FRAG_BAD);
    rig_silent(&rig);
    assert_int_equal(rig_drops(&rig, DROP_ICMP_RATE), 0);
}

static void errors_to_one_destination_are_limited(void **state)
{
    uint32_t sent = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        sent += complain("10.0.0.2:1", "1.2.3.4:2", rig.now_ns) == DROP_NONE;
    assert_in_range(sent, ICMP_DESTINATION_BURST / 2, ICMP_DESTINATION_BURST * 2);
    assert_int_equal(rig_drops(&rig, DROP_ICMP_RATE), 1000 - sent);
    assert_int_equal(complain("10.0.0.3:1", "1.2.3.4:2", rig.now_ns), DROP_NONE); /* another one has its own */

    rig_forget_output(&rig);
    sent = 0;
    for (int i = 0; i < 10000; i++) /* ten seconds */
        sent += complain("10.0.0.2:1", "1.2.3.4:2", rig.now_ns + (uint64_t)i * 1000000) == DROP_NONE;
    assert_in_range(sent, 9 * ICMP_DESTINATION_PER_SECOND, 11 * ICMP_DESTINATION_PER_SECOND + ICMP_DESTINATION_BURST);
}

static void errors_to_all_are_limited(void **state)
{
    char client[32];
    uint32_t sent = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(client, sizeof(client), "10.0.%u.%u:1", i / 250, i % 250 + 1);
        sent += complain(client, "1.2.3.4:2", rig.now_ns) == DROP_NONE;
    }
    assert_in_range(sent, ICMP_ALL_BURST / 2, ICMP_ALL_BURST * 2);
}

static void how_many_errors_leave_cannot_be_foretold(void **state)
{
    uint32_t first = 0, differ = 0;

    (void)state;
    for (int round = 0; round < 20; round++) {
        uint32_t sent = 0;

        for (int i = 0; i < 200; i++)
            sent += complain("10.0.0.2:1", "1.2.3.4:2", rig.now_ns) == DROP_NONE;
        first = round == 0 ? sent : first;
        differ += sent != first;
        rig.now_ns += 10 * RIG_SECOND_NS;
        rig_forget_output(&rig);
    }
    assert_true(differ > 5);
}

static void an_error_that_the_device_does_not_take_is_counted(void **state)
{
    (void)state;
    rig.device_room = 0;
    assert_int_equal(complain("10.0.0.2:1", "1.2.3.4:2", rig.now_ns), DROP_DEVICE_FULL);
    assert_int_equal(rig_drops(&rig, DROP_DEVICE_FULL), 1);
}

static void what_became_of_a_forwarded_request_is_told_with_the_request(void **state)
{
    struct flow_key key = {.client_port = 9, .proto = IP_PROTO_ICMP};
    adit_addr client = addr(CLIENT), remote = addr(REMOTE), router = addr("9.9.9.9");
    struct icmp_message m, q;
    struct ip_header h;

    (void)state;
    memcpy(key.client, client.ip, 16);
    memcpy(key.remote, remote.ip, 16);
    icmp_echo_failed(&rig.net, &key, 3, ICMP_TTL_EXCEEDED, 0, router.ip, rig.now_ns);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_TTL_EXCEEDED);
    assert_addr(rig.out[0].ip.src, "9.9.9.9");
    assert_addr(rig.out[0].ip.dst, CLIENT);
    assert_int_equal(ip_parse(&h, m.data, m.data_bytes, true), DROP_NONE);
    assert_addr(h.src, CLIENT);
    assert_addr(h.dst, REMOTE);
    assert_int_equal(icmp_parse(&q, &h, m.data + h.header_bytes, h.payload_bytes, true), DROP_NONE);
    assert_int_equal(q.kind, ICMP_ECHO_REQUEST);
    assert_int_equal(q.id, 9);
    assert_int_equal(q.seq, 3);
}

/* ----------------------------------------------------------------------------------------- errors in -- */

static enum drop hear(const char *from, const char *to, const uint8_t *quoted, uint32_t n)
{
    static uint8_t p[2000];
    struct icmp_message m = {.kind = ICMP_UNREACH_HOST, .data = quoted, .data_bytes = n};

    return rig_input(&rig, p, make_icmp(p, from, to, &m));
}

static void errors_about_what_we_never_sent_are_not_believed(void **state)
{
    uint8_t q[200];
    uint32_t n = make_udp(q, "1.2.3.4:2000", "10.0.0.2:1000", "some", 4);

    (void)state;
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_ICMP_ERROR_UNRELATED);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1000", "1.2.3.4:2000", "x", 1), DROP_NONE);
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_NONE);
    put_be16(q + 6, 1); /* the second fragment of it: whose ports nobody knows */
    mend_ip4(q);
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_ICMP_ERROR_UNRELATED);
    n = make_ip(q, REMOTE, CLIENT, 132, "sctp sctp", 9);
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_ICMP_ERROR_UNRELATED);
    n = make_ip(q, REMOTE, CLIENT, IP_PROTO_TCP, "no engine is here", 17);
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_ICMP_ERROR_UNRELATED);
    assert_int_equal(rig_udp(&rig, "[fd00::2]:1000", "[2001:db8::1]:2000", "x", 1), DROP_NONE);
    n = make_udp(q, "[2001:db8::1]:2000", "[fd00::2]:1000", "some", 4);
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_ICMP_ERROR_UNRELATED); /* of the other family */
    assert_int_equal(hear(CLIENT6, REMOTE6, q, n), DROP_NONE);
    rig_silent(&rig);
}

static void errors_about_echo_replies_need_an_echo_flow(void **state)
{
    uint8_t q[200];
    struct icmp_message m = {.kind = ICMP_ECHO_REPLY, .id = 5, .data = q};
    uint32_t n = make_icmp(q, REMOTE, CLIENT, &m);

    (void)state;
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_ICMP_ERROR_UNRELATED);
    assert_int_equal(ping(5), DROP_NONE);
    rig_out_icmp(&rig);
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_NONE);
    m.kind = ICMP_ECHO_REQUEST; /* we never ask */
    n = make_icmp(q, REMOTE, CLIENT, &m);
    assert_int_equal(hear(CLIENT, REMOTE, q, n), DROP_ICMP_ERROR_UNRELATED);
    rig_silent(&rig);
}

static void a_quote_that_ends_too_early_is_refused(void **state)
{
    uint8_t q[200];
    uint32_t n = make_udp(q, "1.2.3.4:2000", "10.0.0.2:1000", "some", 4);

    (void)state;
    (void)n;
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1000", "1.2.3.4:2000", "x", 1), DROP_NONE);
    assert_int_equal(hear(CLIENT, REMOTE, q, 28), DROP_NONE);
    assert_int_equal(hear(CLIENT, REMOTE, q, 27), DROP_ICMP_HEADER);
    assert_int_equal(hear(CLIENT, REMOTE, q, 19), DROP_ICMP_HEADER);
    assert_int_equal(hear(CLIENT, REMOTE, q, 0), DROP_ICMP_HEADER);
}

static struct icmp_message heard;
static uint16_t heard_port;

static enum drop tcp_heard(void *tcp, const struct ip_header *quoted_ip, const uint8_t *quoted, const struct icmp_message *m,
                           uint64_t now_ns)
{
    assert_ptr_equal(tcp, &rig);
    assert_int_equal(now_ns, rig.now_ns);
    assert_addr(quoted_ip->dst, CLIENT);
    heard = *m;
    heard_port = get_be16(quoted);
    return DROP_ICMP_ERROR_UNRELATED;
}

static void errors_about_tcp_go_to_its_engine(void **state)
{
    static const struct net_tcp_ops ops = {.icmp_error = tcp_heard};
    uint8_t q[200], p[300], tcp[8] = {0, 80, 4, 210};
    struct icmp_message m = {.kind = ICMP_TOO_BIG, .mtu_bytes = 1400, .data = q};

    (void)state;
    net_set_tcp(&rig.net, &ops, &rig);
    m.data_bytes = make_ip(q, REMOTE, CLIENT, IP_PROTO_TCP, tcp, sizeof(tcp));
    assert_int_equal(rig_input(&rig, p, make_icmp(p, CLIENT, REMOTE, &m)), DROP_ICMP_ERROR_UNRELATED);
    assert_int_equal(heard.kind, ICMP_TOO_BIG);
    assert_int_equal(heard.mtu_bytes, 1400);
    assert_int_equal(heard_port, 80);
    net_set_tcp(&rig.net, NULL, NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(an_echo_request_is_answered),
        T(a_long_reply_leaves_in_fragments),
        T(prepare_is_asked_once_for_an_echo_flow_and_the_handler_each_time),
        T(what_prepare_refuses_is_refused_as_it_says),
        T(the_handlers_verdict_is_carried_out),
        T(echo_flows_are_limited_per_client_and_in_all),
        T(an_echo_flow_ends_when_it_was_idle_for_its_time),
        T(a_truncated_message_is_refused),
        T(a_wrong_checksum_is_refused),
        T(types_without_a_meaning_here_are_refused),
        T(an_error_quotes_as_much_as_its_family_allows),
        T(an_error_comes_from_the_router_that_said_it),
        T(there_is_no_error_about_what_must_have_none),
        T(errors_to_one_destination_are_limited),
        T(errors_to_all_are_limited),
        T(how_many_errors_leave_cannot_be_foretold),
        T(an_error_that_the_device_does_not_take_is_counted),
        T(what_became_of_a_forwarded_request_is_told_with_the_request),
        T(errors_about_what_we_never_sent_are_not_believed),
        T(errors_about_echo_replies_need_an_echo_flow),
        T(a_quote_that_ends_too_early_is_refused),
        T(errors_about_tcp_go_to_its_engine),
    };

    return cmocka_run_group_tests_name("icmp", tests, NULL, NULL);
}
