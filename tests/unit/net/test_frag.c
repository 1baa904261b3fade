/* SPDX-License-Identifier: MIT */
/* Reassembly: any order, every limit, and against a slow model that knows nothing but octets. */
#include "rig.h"

static struct net_rig rig;

enum { MORE = 1, LAST = 0 };

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
    assert_int_equal(rig.net.frags.bytes, 0);
    return 0;
}

/* The fragment [at, at + n) of `whole` (transport header and data), of the datagram `id`. */
static uint32_t make_fragment(uint8_t *out, bool is6, uint32_t id, const uint8_t *whole, uint32_t at, uint32_t n, bool more)
{
    static uint8_t payload[65536];
    uint32_t len;

    if (is6) {
        payload[0] = IP_PROTO_UDP;
        payload[1] = 0;
        put_be16(payload + 2, (uint16_t)(at | more));
        put_be32(payload + 4, id);
        memcpy(payload + 8, whole + at, n);
        return make_ip(out, "fd00::2", "2001:db8::1", 44, payload, 8 + n);
    }
    len = make_ip(out, "10.0.0.2", "1.2.3.4", IP_PROTO_UDP, whole + at, n);
    put_be16(out + 4, (uint16_t)id);
    put_be16(out + 6, (uint16_t)(at / 8 | (more ? 0x2000 : 0)));
    mend_ip4(out);
    return len;
}

/* A datagram's transport header and data, of len octets in all. */
static void make_whole(uint8_t *whole, bool is6, uint32_t len)
{
    static uint8_t packet[66000], data[65536];

    for (uint32_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 13 + i / 241);
    if (is6)
        make_udp(packet, "[fd00::2]:1000", "[2001:db8::1]:2000", data, len - 8);
    else
        make_udp(packet, "10.0.0.2:1000", "1.2.3.4:2000", data, len - 8);
    memcpy(whole, packet + (is6 ? IP6_HEADER_BYTES : IP4_HEADER_BYTES), len);
}

static uint8_t whole[65536];

static enum drop fragment(bool is6, uint32_t id, uint32_t at, uint32_t n, bool more)
{
    static uint8_t p[66000];

    return rig_input(&rig, p, make_fragment(p, is6, id, whole, at, n, more));
}

/* One datagram arrived, which is `whole` up to len. */
static void assert_arrived(uint32_t len)
{
    struct udp *u = rig_ready_udp(&rig);
    adit_dgram d;

    assert_non_null(u);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.len, len - 8);
    assert_memory_equal(d.data, whole + 8, len - 8);
    udp_release(u, 1);
    assert_int_equal(u->queued_count, 0);
}

static void fragments_in_order_become_a_datagram(void **state)
{
    (void)state;
    for (int is6 = 0; is6 <= 1; is6++) {
        make_whole(whole, is6, 3000);
        assert_int_equal(fragment(is6, 1, 0, 1480, MORE), DROP_NONE);
        assert_int_equal(fragment(is6, 1, 1480, 1480, MORE), DROP_NONE);
        assert_null(rig_ready_udp(&rig));
        assert_int_equal(fragment(is6, 1, 2960, 40, LAST), DROP_NONE);
        assert_arrived(3000);
    }
    assert_int_equal(rig.net.frags.bytes, 0);
    assert_int_equal(frag_next_ns(&rig.net.frags), WHEEL_NEVER);
}

static void what_came_in_fragments_may_leave_in_fragments(void **state)
{
    struct udp *u;
    adit_dgram d;

    (void)state;
    for (int is6 = 0; is6 <= 1; is6++) {
        make_whole(whole, is6, 64);
        assert_int_equal(fragment(is6, 1, 0, 32, MORE), DROP_NONE);
        assert_int_equal(fragment(is6, 1, 32, 32, LAST), DROP_NONE);
        u = rig_ready_udp(&rig);
        assert_int_equal(udp_recv(u, &d, 1), 1);
        assert_int_equal(d.dont_fragment, 0);
        udp_release(u, 1);
    }
}

static void the_largest_datagram_at_the_smallest_mtu_is_put_together(void **state)
{
    (void)state;
    make_whole(whole, true, 65535);
    for (uint32_t at = 0; at < 65535; at += 1232)
        assert_int_equal(fragment(true, 1, at, at + 1232 < 65535 ? 1232 : 65535 - at, at + 1232 < 65535), DROP_NONE);
    assert_arrived(65535);
}

static void headers_in_front_of_the_fragment_header_stay(void **state)
{
    uint8_t p[400], payload[300] = {44, 0, 1, 4};
    struct udp *u;
    adit_dgram d;
    uint32_t n;

    (void)state;
    make_whole(whole, true, 64);
    for (int i = 1; i >= 0; i--) { /* destination options, then the fragment header; the last one first */
        payload[8] = IP_PROTO_UDP;
        put_be16(payload + 10, (uint16_t)(i * 32 | !i));
        put_be32(payload + 12, 5);
        memcpy(payload + 16, whole + i * 32, 32);
        n = make_ip(p, "fd00::2", "2001:db8::1", 60, payload, 48);
        assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    }
    u = rig_ready_udp(&rig);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_memory_equal(d.data, whole + 8, 56);
}

static void ipv4_options_of_the_first_fragment_stay(void **state)
{
    uint8_t p[400], payload[100] = {1, 1, 1, 0};
    uint32_t n;

    (void)state;
    make_whole(whole, false, 64);
    assert_int_equal(fragment(false, 7, 32, 32, LAST), DROP_NONE);
    memcpy(payload + 4, whole, 32);
    n = make_ip(p, "10.0.0.2", "1.2.3.4", IP_PROTO_UDP, payload, 36);
    p[0] = 0x46;
    put_be16(p + 6, 0x2000);
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    assert_arrived(64);
}

static void fragments_of_other_protocols_are_of_other_datagrams(void **state)
{
    uint8_t p[200];
    uint32_t n;

    (void)state;
    make_whole(whole, false, 64);
    n = make_fragment(p, false, 1, whole, 32, 32, LAST);
    p[9] = IP_PROTO_ICMP;
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_NONE);
    assert_null(rig_ready_udp(&rig));
    assert_int_equal(fragment(false, 1, 32, 32, LAST), DROP_NONE);
    assert_arrived(64);
}

static void a_source_may_have_any_number_of_datagrams_put_together(void **state)
{
    (void)state;
    make_whole(whole, false, 64); /* the first one makes a mapping, which keeps the client known */
    for (uint32_t id = 0; id < 2 * FRAG_PER_SOURCE_MAX; id++) {
        assert_int_equal(fragment(false, id, 0, 32, MORE), DROP_NONE);
        assert_int_equal(fragment(false, id, 32, 32, LAST), DROP_NONE);
        assert_arrived(64);
    }
}

static void an_atomic_fragment_is_no_fragment(void **state)
{
    (void)state;
    make_whole(whole, true, 64);
    assert_int_equal(fragment(true, 9, 0, 32, MORE), DROP_NONE); /* the same id, half done */
    assert_int_equal(fragment(true, 9, 0, 64, LAST), DROP_NONE);
    assert_arrived(64);
}

static void an_overlap_drops_the_datagram_and_what_comes_of_it_later(void **state)
{
    (void)state;
    make_whole(whole, false, 96);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 1, 24, 32, MORE), DROP_FRAG_OVERLAP);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_FRAG_OVERLAP);
    assert_int_equal(fragment(false, 1, 32, 64, LAST), DROP_FRAG_OVERLAP);
    assert_int_equal(rig.net.frags.bytes, 0);
    rig_sleep(&rig, FRAG_TIMEOUT_NS);
    assert_int_equal(rig_drops(&rig, DROP_FRAG_TIMEOUT), 0);
    rig_silent(&rig);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 1, 32, 64, LAST), DROP_NONE);
    assert_arrived(96);
}

static void a_duplicate_is_ignored_unless_its_octets_differ(void **state)
{
    (void)state;
    make_whole(whole, false, 96);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 1, 32, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 1, 64, 32, LAST), DROP_NONE);
    assert_arrived(96);

    assert_int_equal(fragment(false, 2, 0, 32, MORE), DROP_NONE);
    whole[20] ^= 1;
    assert_int_equal(fragment(false, 2, 0, 32, MORE), DROP_FRAG_OVERLAP);
}

static void lengths_that_cannot_be_are_bad(void **state)
{
    uint8_t p[100];
    struct icmp_message m;

    (void)state;
    make_whole(whole, false, 200);
    assert_int_equal(fragment(false, 1, 0, 33, MORE), DROP_FRAG_BAD);
    assert_int_equal(rig_input(&rig, p, make_fragment(p, false, 1, whole, 64, 0, LAST)), DROP_FRAG_BAD);
    rig_silent(&rig);
    assert_int_equal(fragment(true, 1, 0, 33, MORE), DROP_FRAG_BAD);
    m = rig_out_icmp(&rig); /* IPv6 wants it told: the payload length */
    assert_int_equal(m.kind, ICMP_PARAMETER);
    assert_int_equal(m.pointer, 4);
}

static void nothing_reaches_beyond_65535(void **state)
{
    static uint8_t p[200], data[200];
    uint32_t n = make_ip(p, "10.0.0.2", "1.2.3.4", IP_PROTO_UDP, data, 100);

    (void)state;
    put_be16(p + 6, 0x1fff);
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_FRAG_BAD);
    memset(data, 0, sizeof(data));
    data[0] = IP_PROTO_UDP;
    put_be16(data + 2, 0xfff8);
    n = make_ip(p, "fd00::2", "2001:db8::1", 44, data, 8 + 16);
    assert_int_equal(rig_input(&rig, p, n), DROP_FRAG_BAD);
    assert_int_equal(rig_out_icmp(&rig).pointer, 42);
}

static void a_first_header_that_makes_the_whole_too_long_is_bad(void **state)
{
    static uint8_t p[66000], payload[65536] = {1, 1, 1, 0};
    uint32_t n;

    (void)state;
    make_whole(whole, false, 65515); /* fits behind 20 octets, not behind 24 */
    assert_int_equal(fragment(false, 1, 32000, 65515 - 32000, LAST), DROP_NONE);
    memcpy(payload + 4, whole, 32000);
    n = make_ip(p, "10.0.0.2", "1.2.3.4", IP_PROTO_UDP, payload, 32004);
    p[0] = 0x46;
    put_be16(p + 4, 1);
    put_be16(p + 6, 0x2000);
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_FRAG_BAD);
    assert_int_equal(rig.net.frags.bytes, 0);
}

static void two_different_ends_are_bad(void **state)
{
    (void)state;
    make_whole(whole, false, 200);
    assert_int_equal(fragment(false, 1, 64, 32, LAST), DROP_NONE);
    assert_int_equal(fragment(false, 1, 128, 32, LAST), DROP_FRAG_BAD);
    assert_int_equal(fragment(false, 2, 64, 32, LAST), DROP_NONE);
    assert_int_equal(fragment(false, 2, 96, 32, MORE), DROP_FRAG_BAD);
    assert_int_equal(fragment(false, 3, 96, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 3, 64, 32, LAST), DROP_FRAG_BAD);
    assert_int_equal(fragment(false, 4, 32, 32, LAST), DROP_NONE);
    assert_int_equal(fragment(false, 4, 0, 32, LAST), DROP_UDP_HEADER); /* no fragment at all */
}

static void a_first_fragment_must_hold_the_transport_header(void **state)
{
    uint8_t p[200], payload[100] = {IP_PROTO_UDP, 0, 0, 1, 0, 0, 0, 1};
    uint32_t n;

    (void)state;
    make_whole(whole, false, 200);
    n = make_fragment(p, false, 1, whole, 0, 16, MORE);
    p[9] = IP_PROTO_TCP; /* which needs 20 */
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_FRAG_FIRST_SHORT);
    assert_int_equal(fragment(false, 1, 0, 8, MORE), DROP_NONE);

    payload[0] = 60; /* destination options, which end where the fragment ends: no UDP header */
    payload[8] = IP_PROTO_UDP;
    n = make_ip(p, "fd00::2", "2001:db8::1", 44, payload, 16);
    assert_int_equal(rig_input(&rig, p, n), DROP_FRAG_FIRST_SHORT);
    payload[9] = 1; /* which end beyond it */
    assert_int_equal(rig_input(&rig, p, n), DROP_FRAG_FIRST_SHORT);
}

static void a_fragment_header_behind_a_fragment_header_is_refused(void **state)
{
    uint8_t p[200], payload[100] = {44, 0, 0, 1, 0, 0, 0, 1};
    uint32_t n;

    (void)state;
    payload[8] = IP_PROTO_UDP;
    put_be16(payload + 10, 0x100 | 1);
    n = make_ip(p, "fd00::2", "2001:db8::1", 44, payload, 24);
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    put_be16(payload + 2, 16);
    n = make_ip(p, "fd00::2", "2001:db8::1", 44, payload, 24);
    assert_int_equal(rig_input(&rig, p, n), DROP_IP_EXTENSION);
}

static void fragments_of_one_datagram_are_limited(void **state)
{
    (void)state;
    make_whole(whole, false, 8 * (FRAG_PARTS_MAX + 1));
    for (uint32_t i = 0; i < FRAG_PARTS_MAX; i++)
        assert_int_equal(fragment(false, 1, i * 8, 8, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 1, 8 * FRAG_PARTS_MAX, 8, LAST), DROP_FRAG_LIMIT);
    assert_int_equal(rig.net.frags.bytes, 0);
}

/* A first fragment of `id` from the source number `source`. */
static enum drop fragment_of(uint32_t source, uint32_t id)
{
    uint8_t p[200];
    uint32_t n = make_fragment(p, false, id, whole, 0, 32, MORE);

    p[14] = (uint8_t)source;
    mend_ip4(p);
    return rig_input(&rig, p, n);
}

static void one_source_has_a_quarter_of_the_room(void **state)
{
    (void)state;
    for (uint32_t source = 1; source <= 4; source++) {
        for (uint32_t id = 0; id < FRAG_PER_SOURCE_MAX; id++)
            assert_int_equal(fragment_of(source, id), DROP_NONE);
        assert_int_equal(fragment_of(source, FRAG_PER_SOURCE_MAX), DROP_FRAG_SOURCE_LIMIT);
    }
    assert_int_equal(fragment_of(5, 1), DROP_FRAG_LIMIT);
    rig_sleep(&rig, FRAG_TIMEOUT_NS);
    assert_int_equal(fragment_of(5, 1), DROP_NONE);
    assert_int_equal(rig_drops(&rig, DROP_FRAG_TIMEOUT), FRAG_DATAGRAMS_MAX);
}

static void octets_in_reassembly_are_limited(void **state)
{
    uint32_t n = 0;

    (void)state;
    make_whole(whole, false, 64000);
    while (fragment(false, n, 0, 32000, MORE) == DROP_NONE)
        n++;
    assert_int_equal(n, FRAG_BYTES_MAX / BUF_PACKET_BYTES);
    assert_int_equal(rig.net.frags.datagrams.count, n); /* the refused one left nothing behind */
    assert_true(rig.net.frags.bytes <= FRAG_BYTES_MAX);
    assert_int_equal(fragment(false, 0, 32000, 32000, LAST), DROP_FRAG_LIMIT);
    assert_int_equal(rig_drops(&rig, DROP_FRAG_LIMIT), 2);
}

static void what_is_not_complete_in_time_is_given_up_and_told(void **state)
{
    struct icmp_message m;

    (void)state;
    make_whole(whole, false, 96);
    assert_int_equal(fragment(false, 1, 0, 32, MORE), DROP_NONE);
    rig_sleep(&rig, 5 * RIG_SECOND_NS);
    assert_int_equal(fragment(false, 1, 32, 32, MORE), DROP_NONE);
    assert_int_equal(fragment(false, 2, 32, 32, MORE), DROP_NONE); /* without a first fragment: silence */
    assert_int_equal(net_next_ns(&rig.net), RIG_EPOCH_NS + FRAG_TIMEOUT_NS);
    rig_sleep(&rig, 10 * RIG_SECOND_NS - 1);
    rig_silent(&rig);
    rig_sleep(&rig, 1);
    assert_int_equal(rig_drops(&rig, DROP_FRAG_TIMEOUT), 1);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_REASSEMBLY_EXCEEDED);
    assert_int_equal(m.data_bytes, 20 + 32);
    rig_sleep(&rig, 5 * RIG_SECOND_NS);
    assert_int_equal(rig_drops(&rig, DROP_FRAG_TIMEOUT), 2);
    rig_silent(&rig);
    assert_int_equal(net_next_ns(&rig.net), WHEEL_NEVER);
}

/* ---------------------------------------------------------------------------------------- the model -- */

/* What the rules say, without any structure: which octets are there, and whether something contradicted. */
struct model {
    uint8_t have[512];
    uint32_t total; /* 0: not known */
    bool dead, done;
    uint32_t starts[64], lens[64], count;
};

enum outcome { KEPT, COMPLETE, REFUSED };

static enum outcome model_add(struct model *m, uint32_t at, uint32_t n, bool more)
{
    uint32_t top = 0, held = 0;

    if (m->dead)
        return REFUSED;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->starts[i] == at && m->lens[i] == n)
            return KEPT;
        if (m->starts[i] + m->lens[i] > top)
            top = m->starts[i] + m->lens[i];
    }
    for (uint32_t i = at; i < at + n; i++)
        m->dead |= m->have[i];
    if (more)
        m->dead |= m->total && at + n >= m->total;
    else
        m->dead |= m->total || top > at + n;
    if (m->dead)
        return REFUSED;
    memset(m->have + at, 1, n);
    m->starts[m->count] = at;
    m->lens[m->count++] = n;
    if (!more)
        m->total = at + n;
    for (uint32_t i = 0; i < sizeof(m->have); i++)
        held += m->have[i];
    m->done = m->total && held == m->total;
    return m->done ? COMPLETE : KEPT;
}

static void sequences_of_fragments_fare_as_the_model_says(void **state)
{
    struct random r = random_seeded("frag");

    (void)state;
    for (uint32_t id = 0; id < 3000; id++) {
        bool is6 = random_below(&r, 2), honest = random_below(&r, 2);
        uint32_t units = 2 + (uint32_t)random_below(&r, 12), len = units * 8 + (uint32_t)random_below(&r, 8) + 8;
        struct model m = {0};

        make_whole(whole, is6, len);
        for (int i = 0; i < 60 && !m.done; i++) {
            uint32_t at = 8 * (uint32_t)random_below(&r, units + 1), n = 8 * (1 + (uint32_t)random_below(&r, 4));
            bool more = honest ? at + n < len : random_below(&r, 8) != 0;
            enum outcome want, got;
            enum drop why;

            if (honest && random_below(&r, 4)) { /* on a grid, so that it can succeed */
                at -= at % 16;
                n = 16;
                more = at + n < len;
            }
            if (at + n > len || (!more && honest))
                n = len - at;
            if (n == 0 || (at == 0 && !more) || (more && n % 8))
                continue;
            want = model_add(&m, at, n, more);
            why = fragment(is6, id, at, n, more);
            got = why != DROP_NONE ? REFUSED : rig.net.frags.datagrams.count == 0 ? COMPLETE : KEPT;
            if (want == COMPLETE) { /* shorter than it was when its sender lied */
                assert_int_equal(rig.net.frags.datagrams.count, 0);
                if (m.total == len)
                    assert_arrived(len);
            } else {
                assert_int_equal(got, want);
            }
        }
        rig_sleep(&rig, FRAG_TIMEOUT_NS);
        rig_serve_ends(&rig);
        assert_int_equal(rig.net.frags.datagrams.count, 0);
        rig_forget_output(&rig);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(fragments_in_order_become_a_datagram),
        T(what_came_in_fragments_may_leave_in_fragments),
        T(the_largest_datagram_at_the_smallest_mtu_is_put_together),
        T(headers_in_front_of_the_fragment_header_stay),
        T(ipv4_options_of_the_first_fragment_stay),
        T(fragments_of_other_protocols_are_of_other_datagrams),
        T(a_source_may_have_any_number_of_datagrams_put_together),
        T(an_atomic_fragment_is_no_fragment),
        T(an_overlap_drops_the_datagram_and_what_comes_of_it_later),
        T(a_duplicate_is_ignored_unless_its_octets_differ),
        T(lengths_that_cannot_be_are_bad),
        T(nothing_reaches_beyond_65535),
        T(a_first_header_that_makes_the_whole_too_long_is_bad),
        T(two_different_ends_are_bad),
        T(a_first_fragment_must_hold_the_transport_header),
        T(a_fragment_header_behind_a_fragment_header_is_refused),
        T(fragments_of_one_datagram_are_limited),
        T(one_source_has_a_quarter_of_the_room),
        T(octets_in_reassembly_are_limited),
        T(what_is_not_complete_in_time_is_given_up_and_told),
        T(sequences_of_fragments_fare_as_the_model_says),
    };

    return cmocka_run_group_tests_name("frag", tests, NULL, NULL);
}
