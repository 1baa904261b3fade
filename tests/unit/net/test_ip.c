/* SPDX-License-Identifier: MIT */
/* IP packets in: each reason to refuse one, and what is answered. IP packets out: headers and fragments. */
#include "rig.h"
#include "net/ip.h"

static struct net_rig rig;

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

static uint32_t make_some_udp(uint8_t *packet)
{
    return make_udp(packet, "10.0.0.2:1000", "1.2.3.4:2000", "some", 4);
}

static uint32_t make_some_udp6(uint8_t *packet)
{
    return make_udp(packet, "[fd00::2]:1000", "[2001:db8::1]:2000", "some", 4);
}

static void a_packet_shorter_than_it_says_is_truncated(void **state)
{
    uint8_t p[200];
    uint32_t n = make_some_udp(p);

    (void)state;
    assert_int_equal(rig_input(&rig, p, n - 1), DROP_IP_TRUNCATED);
    assert_int_equal(rig_input(&rig, p, 0), DROP_IP_TRUNCATED);
    assert_int_equal(rig_drops(&rig, DROP_IP_TRUNCATED), 2);
    assert_int_equal(rig.net.stats.rx_packets, 2);
    assert_int_equal(rig.net.stats.rx_bytes, n - 1);
}

static void versions_but_4_and_6_are_refused(void **state)
{
    uint8_t p[200];
    uint32_t n = make_some_udp(p);

    (void)state;
    p[0] = 0x55;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_VERSION);
    rig_silent(&rig);
}

static void an_impossible_header_length_is_refused(void **state)
{
    uint8_t p[200];
    uint32_t n = make_some_udp(p);

    (void)state;
    p[0] = 0x44;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_HEADER);
}

static void a_wrong_header_checksum_is_refused_even_with_partial_transport_checksums(void **state)
{
    uint8_t p[200];
    uint32_t n = make_some_udp(p);

    (void)state;
    p[10] ^= 1;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_CHECKSUM);
    assert_int_equal(rig_input_as(&rig, p, n, 0, PACKET_CSUM_PARTIAL), DROP_IP_CHECKSUM);
    assert_int_equal(rig_input_as(&rig, p, n, 0, PACKET_CSUM_VALID), DROP_NONE);
}

static void a_source_route_is_refused(void **state)
{
    uint8_t p[200], payload[12] = {131, 7, 4, 9, 9, 9, 9, 1};
    uint32_t n = make_ip(p, "10.0.0.2", "1.2.3.4", IP_PROTO_UDP, payload, sizeof(payload));

    (void)state;
    p[0] = 0x47;
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_OPTIONS);
}

static void an_unknown_option_that_must_be_told_is_told_with_its_place(void **state)
{
    uint8_t p[200], payload[16] = {IP_PROTO_UDP, 0, 0x9e, 4};
    uint32_t n = make_ip(p, "fd00::2", "2001:db8::1", 0, payload, sizeof(payload));
    struct icmp_message m;

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_EXTENSION);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_PARAMETER);
    assert_int_equal(m.code, 2);
    assert_int_equal(m.pointer, 42);
    assert_int_equal(m.data_bytes, n);
    assert_memory_equal(m.data, p, n);
}

static void a_malformed_extension_chain_is_refused_in_silence(void **state)
{
    uint8_t p[200], payload[8] = {IP_PROTO_UDP, 9};
    uint32_t n = make_ip(p, "fd00::2", "2001:db8::1", 60, payload, sizeof(payload));

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_EXTENSION);
    rig_silent(&rig);
}

static void a_routing_header_with_segments_left_is_refused_and_told(void **state)
{
    uint8_t p[200], payload[24] = {IP_PROTO_UDP, 2, 0, 1};
    uint32_t n = make_ip(p, "fd00::2", "2001:db8::1", 43, payload, sizeof(payload));
    struct icmp_message m;

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_ROUTING_HEADER);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_PARAMETER);
    assert_int_equal(m.code, 0);
    assert_int_equal(m.pointer, 42);
}

static void an_unknown_protocol_is_answered_by_unreachable(void **state)
{
    uint8_t p[200];
    uint32_t n = make_ip(p, "10.0.0.2", "1.2.3.4", 132, "sctp sctp sctp", 14);
    const struct rig_packet *o;
    struct icmp_message m;

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_PROTOCOL);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_UNREACH_PROTOCOL);
    assert_memory_equal(m.data, p, n);
    o = &rig.out[0];
    assert_addr(o->ip.src, "1.2.3.4");
    assert_addr(o->ip.dst, "10.0.0.2");

    n = make_ip(p, "fd00::2", "2001:db8::1", 132, "sctp sctp sctp", 14);
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_PROTOCOL);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_UNREACH_PROTOCOL);
    assert_int_equal(m.pointer, 6);
}

static void the_other_familys_icmp_is_an_unknown_protocol(void **state)
{
    uint8_t p[200];
    uint32_t n = make_ip(p, "10.0.0.2", "1.2.3.4", IP_PROTO_ICMPV6, "\200\0\0\0\0\0\0\0", 8);

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_PROTOCOL);
}

static void no_next_header_is_dropped_in_silence(void **state)
{
    uint8_t p[200];
    uint32_t n = make_ip(p, "fd00::2", "2001:db8::1", 59, "", 0);

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_PROTOCOL);
    rig_silent(&rig);
}

static void sources_that_cannot_be_are_martians(void **state)
{
    static const char *const from[] = {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255",
                                       "::",      "::1",     "ff02::1",   "::1.2.3.4"};
    uint8_t p[200];

    (void)state;
    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
        uint32_t n = make_ip(p, from[i], strchr(from[i], ':') ? "2001:db8::1" : "1.2.3.4", 132, "octets", 6);

        assert_int_equal(rig_input(&rig, p, n), DROP_IP_MARTIAN_SRC);
    }
    rig_silent(&rig);
}

static void destinations_that_are_not_served_are_martians(void **state)
{
    static const char *const to[] = {"0.0.0.0", "127.0.0.1", "239.255.255.250", "255.255.255.255", "::1", "ff02::1"};
    uint8_t p[200];

    (void)state;
    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        uint32_t n = make_ip(p, strchr(to[i], ':') ? "fd00::2" : "10.0.0.2", to[i], 132, "octets", 6);

        assert_int_equal(rig_input(&rig, p, n), DROP_IP_MARTIAN_DST);
    }
    rig_silent(&rig);
}

static void reserved_ipv4_addresses_are_served(void **state)
{
    (void)state;
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1000", "240.0.0.1:2000", "some", 4), DROP_NONE);
}

static void a_host_may_allow_martians(void **state)
{
    (void)state;
    rig.net.config.allow_martians = true;
    assert_int_equal(rig_udp(&rig, "127.0.0.1:1000", "127.0.0.2:2000", "some", 4), DROP_NONE);
    assert_int_equal(rig_udp(&rig, "[::1]:1000", "[ff02::1]:2000", "some", 4), DROP_NONE);
}

static void mapped_addresses_on_a_v6_wire_are_never_allowed(void **state)
{
    uint8_t p[200];
    uint32_t n = make_some_udp6(p);

    (void)state;
    rig.net.config.allow_martians = true;
    memset(p + 8, 0, 10);
    memset(p + 18, 0xff, 2); /* the source becomes ::ffff:0:2 */
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_MARTIAN_SRC);
}

static void a_packet_from_its_own_destination_is_land(void **state)
{
    uint8_t p[200];
    uint32_t n = make_ip(p, "10.0.0.2", "10.0.0.2", 132, "octets", 6);

    (void)state;
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1000", "10.0.0.2:1000", "some", 4), DROP_IP_LAND);
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_LAND);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1000", "10.0.0.2:1001", "some", 4), DROP_NONE);
    rig_silent(&rig);
}

static void a_ttl_of_zero_is_refused(void **state)
{
    uint8_t p[200];
    uint32_t n = make_some_udp(p);

    (void)state;
    p[8] = 0;
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_TTL);
    n = make_some_udp6(p);
    p[7] = 0;
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_TTL);
}

static void without_an_engine_tcp_has_no_flow(void **state)
{
    uint8_t p[200], syn[20] = {1, 2, 3, 4, [12] = 0x50, [13] = 2};
    uint32_t n = make_ip(p, "10.0.0.2", "1.2.3.4", IP_PROTO_TCP, syn, sizeof(syn));

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_TCP_NO_FLOW);
    rig_silent(&rig);
}

static void padding_behind_a_packet_is_no_part_of_it(void **state)
{
    uint8_t p[200] = {0};
    uint32_t n = make_some_udp(p);
    struct udp *u;
    adit_dgram d;

    (void)state;
    assert_int_equal(rig_input(&rig, p, n + 10), DROP_NONE);
    u = rig_ready_udp(&rig);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.len, 4);
}

static void borrowed_memory_is_copied(void **state)
{
    uint8_t octets[200];
    struct packet p = {.data = octets, .len_bytes = make_some_udp(octets)};
    struct udp *u;
    adit_dgram d;

    (void)state;
    assert_int_equal(net_input(&rig.net, &p, rig.now_ns), DROP_NONE);
    memset(octets, 0xee, sizeof(octets));
    u = rig_ready_udp(&rig);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_memory_equal(d.data, "some", 4);
}

/* ---------------------------------------------------------------------------------------------- out -- */

/* A datagram of n octets in two slices from 1.2.3.4:80, or from 2001:db8::1, to a client. */
static bool send_long(bool is6, uint32_t n, bool dont_fragment)
{
    static uint8_t data[65536];
    adit_addr from = addr(is6 ? "2001:db8::1" : "1.2.3.4"), to = addr(is6 ? "fd00::2" : "10.0.0.2");
    struct ip_header h = {.proto = IP_PROTO_UDP, .payload_bytes = 8 + n, .tos = 0x2e, .dont_fragment = dont_fragment};
    struct packet_out p = {.slices_count = 2, .payload_bytes = n, .csum_offset = 6};
    uint8_t *header;

    for (uint32_t i = 0; i < n; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    memcpy(h.src, from.ip, 16);
    memcpy(h.dst, to.ip, 16);
    p.slices[0] = (adit_iov){data, 1001};
    p.slices[1] = (adit_iov){data + 1001, n - 1001};
    header = net_ip_header(&rig.net, &p, &h);
    udp_emit(header, 80, 1000, n);
    put_be16(header + 6, checksum_fold(checksum_pseudo(h.src, h.dst, IP_PROTO_UDP, 8 + n)));
    p.csum_start = p.headers_bytes;
    p.headers_bytes += 8;
    return net_send_fragmented(&rig.net, &p, &h);
}

/* What left is put together again; returns its length. */
static uint32_t join(uint8_t *out, uint32_t mtu_bytes)
{
    uint32_t len = 0, id = 0;

    while (rig.out_at < rig.out_count) {
        const struct rig_packet *o = rig_out(&rig);
        bool last = rig.out_at == rig.out_count;

        assert_true(o->len_bytes <= mtu_bytes);
        assert_int_equal(o->ip.fragment_offset_bytes, len);
        assert_int_equal(o->ip.more_fragments, !last);
        assert_int_equal(o->ip.tos, 0x2e);
        assert_true(last || o->len_bytes + 8 > mtu_bytes - 7);
        assert_true(id == 0 || o->ip.fragment_id == id);
        id = o->ip.fragment_id;
        memcpy(out + len, o->octets + o->ip.header_bytes, o->ip.payload_bytes);
        len += o->ip.payload_bytes;
    }
    return len;
}

static void a_long_datagram_leaves_in_fragments(void **state)
{
    static uint8_t whole[65536];
    static const uint32_t lengths[] = {1473, 1480, 2952, 4096, 65507};

    (void)state;
    for (int is6 = 0; is6 <= 1; is6++) {
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            adit_addr from = addr(is6 ? "2001:db8::1" : "1.2.3.4"), to = addr(is6 ? "fd00::2" : "10.0.0.2");
            uint32_t n = lengths[i];

            assert_true(send_long(is6, n, false));
            assert_int_equal(join(whole, 1500), 8 + n);
            assert_int_equal(
                checksum_finish(checksum_add(checksum_pseudo(from.ip, to.ip, IP_PROTO_UDP, 8 + n), whole, 8 + n)), 0);
            for (uint32_t j = 0; j < n; j++)
                assert_int_equal(whole[8 + j], (uint8_t)(j * 7 + j / 251));
        }
    }
}

static void a_checksum_of_zero_leaves_as_all_ones(void **state)
{
    static uint8_t data[2000];
    adit_addr from = addr("1.2.3.4"), to = addr("10.0.0.2");
    struct ip_header h = {.proto = IP_PROTO_UDP, .payload_bytes = 8 + sizeof(data)};
    struct packet_out p = {.slices_count = 1, .payload_bytes = sizeof(data), .slices = {{data, sizeof(data)}}};
    uint64_t sum;
    uint8_t *header;

    (void)state;
    memcpy(h.src, from.ip, 16);
    memcpy(h.dst, to.ip, 16);
    header = net_ip_header(&rig.net, &p, &h);
    udp_emit(header, 80, 1000, sizeof(data));
    sum = checksum_pseudo(h.src, h.dst, IP_PROTO_UDP, h.payload_bytes);
    put_be16(header + 6, checksum_fold(sum));
    put_be16(data, checksum_finish(checksum_add(sum, header, 6))); /* what makes it all ones */
    p.csum_start = p.headers_bytes;
    p.csum_offset = 6;
    p.headers_bytes += 8;
    assert_true(net_send_fragmented(&rig.net, &p, &h));
    assert_int_equal(get_be16(rig_out(&rig)->octets + IP4_HEADER_BYTES + 6), 0xffff);
}

static void what_fits_leaves_whole(void **state)
{
    (void)state;
    assert_true(send_long(false, 1472, false));
    assert_int_equal(rig_out(&rig)->len_bytes, 1500);
    rig_silent(&rig);
    assert_int_equal(rig.net.stats.tx_packets, 1);
    assert_int_equal(rig.net.stats.tx_bytes, 1500);
}

static void what_must_not_be_fragmented_is_too_big(void **state)
{
    (void)state;
    assert_false(send_long(false, 1473, true));
    rig_silent(&rig);
    assert_int_equal(rig_drops(&rig, DROP_DEVICE_TOO_BIG), 1);
}

static void a_device_that_fills_up_between_fragments_is_one_drop(void **state)
{
    (void)state;
    rig.device_room = 2;
    assert_false(send_long(false, 6000, false));
    assert_int_equal(rig.out_count, 2);
    assert_int_equal(rig_drops(&rig, DROP_DEVICE_FULL), 1);
    assert_int_equal(rig.net.stats.tx_packets, 2);
}

static void identifiers_differ(void **state)
{
    uint32_t id;

    (void)state;
    assert_true(send_long(false, 1002, false) && send_long(false, 1002, false));
    id = rig_out(&rig)->ip.fragment_id;
    assert_int_not_equal(rig_out(&rig)->ip.fragment_id, id);
}

/* ------------------------------------------------------------------------------------- loopback addresses -- */

static void what_is_sent_to_a_loopback_address_comes_back_from_it(const char *src, const char *dst, adit_addr loopback[2])
{
    static uint8_t packet[RIG_PACKET_BYTES];
    struct net_rig r;
    const struct rig_packet *o;
    adit_addr from = addr(src), to = addr(dst);
    uint32_t len;

    rig_init(&r);
    r.net.config.loopbacks = loopback;
    r.net.config.loopbacks_count = 1;
    len = make_udp(packet, src, dst, "octets", 6);
    assert_int_equal(rig_input(&r, packet, len), DROP_NONE);
    o = rig_out(&r);
    assert_memory_equal(o->ip.src, to.ip, 16);
    assert_memory_equal(o->ip.dst, from.ip, 16);
    assert_int_equal(get_be16(o->octets + o->ip.header_bytes), from.port);
    assert_int_equal(get_be16(o->octets + o->ip.header_bytes + 2), to.port);
    assert_memory_equal(o->octets + o->ip.header_bytes + 8, "octets", 6);
    assert_int_equal(checksum_finish(checksum_add(checksum_pseudo(o->ip.src, o->ip.dst, IP_PROTO_UDP, o->ip.payload_bytes),
                                                  o->octets + o->ip.header_bytes, o->ip.payload_bytes)),
                     0);
    rig_silent(&r);
    assert_int_equal(r.prepares, 0);
    loopback[1] = from; /* between two of them it would turn for ever */
    r.net.config.loopbacks_count = 2;
    assert_int_equal(rig_input(&r, packet, len), DROP_IP_MARTIAN_SRC);
    rig_silent(&r);
    rig_deinit(&r);
}

static void a_loopback_address_means_its_sender(void **state)
{
    adit_addr four[2] = {addr("198.51.100.7:0")}, six[2] = {addr("[2001:db8::7]:0")};

    (void)state;
    what_is_sent_to_a_loopback_address_comes_back_from_it("10.0.0.2:5000", "198.51.100.7:80", four);
    what_is_sent_to_a_loopback_address_comes_back_from_it("[fd00::2]:5000", "[2001:db8::7]:80", six);
}

static void a_tcp_segment_without_a_whole_header_does_not_come_back(void **state)
{
    static uint8_t packet[RIG_PACKET_BYTES];
    uint8_t tcp[20] = {[12] = 0xf0}; /* a header of 60 octets, it says */
    adit_addr loopback = addr("198.51.100.7:0");
    struct net_rig r;

    (void)state;
    rig_init(&r);
    r.net.config.loopbacks = &loopback;
    r.net.config.loopbacks_count = 1;
    assert_int_equal(rig_input(&r, packet, make_ip(packet, "10.0.0.2:1", "198.51.100.7:1", IP_PROTO_TCP, tcp, 20)),
                     DROP_TCP_HEADER);
    assert_int_equal(rig_input(&r, packet, make_ip(packet, "10.0.0.2:1", "198.51.100.7:1", IP_PROTO_TCP, tcp, 12)),
                     DROP_TCP_HEADER);
    rig_silent(&r);
    rig_deinit(&r);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_packet_shorter_than_it_says_is_truncated),
        T(versions_but_4_and_6_are_refused),
        T(an_impossible_header_length_is_refused),
        T(a_wrong_header_checksum_is_refused_even_with_partial_transport_checksums),
        T(a_source_route_is_refused),
        T(an_unknown_option_that_must_be_told_is_told_with_its_place),
        T(a_malformed_extension_chain_is_refused_in_silence),
        T(a_routing_header_with_segments_left_is_refused_and_told),
        T(an_unknown_protocol_is_answered_by_unreachable),
        T(the_other_familys_icmp_is_an_unknown_protocol),
        T(no_next_header_is_dropped_in_silence),
        T(sources_that_cannot_be_are_martians),
        T(destinations_that_are_not_served_are_martians),
        T(reserved_ipv4_addresses_are_served),
        T(a_host_may_allow_martians),
        T(mapped_addresses_on_a_v6_wire_are_never_allowed),
        T(a_packet_from_its_own_destination_is_land),
        T(a_ttl_of_zero_is_refused),
        T(without_an_engine_tcp_has_no_flow),
        T(padding_behind_a_packet_is_no_part_of_it),
        T(borrowed_memory_is_copied),
        T(a_long_datagram_leaves_in_fragments),
        T(a_checksum_of_zero_leaves_as_all_ones),
        T(what_fits_leaves_whole),
        T(what_must_not_be_fragmented_is_too_big),
        T(a_device_that_fills_up_between_fragments_is_one_drop),
        T(identifiers_differ),
        cmocka_unit_test(a_loopback_address_means_its_sender),
        cmocka_unit_test(a_tcp_segment_without_a_whole_header_does_not_come_back),
    };

    return cmocka_run_group_tests_name("ip", tests, NULL, NULL);
}
