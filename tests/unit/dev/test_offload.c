/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "adit/base.h"
#include "dev/offload.h"
#include "packets.h"

static struct made made, part_octets;

static enum drop judge(struct made *m, const struct vnet_header *h, struct packet *p)
{
    *p = (struct packet){.data = m->octets, .len_bytes = m->len_bytes};
    return offload_input(p, h);
}

/* What a kernel says about the packet. */
static struct vnet_header honest(const struct made *m, uint16_t gso_bytes)
{
    struct vnet_header h = {.flags = VNET_NEEDS_CSUM, .gso_bytes = gso_bytes};

    h.csum_start = (uint16_t)m->transport_at;
    h.csum_offset = m->proto == TCP ? 16 : 6;
    h.hdr_bytes = (uint16_t)m->payload_at;
    if (gso_bytes)
        h.gso_type = m->proto == UDP   ? VNET_GSO_UDP
                     : m->version == 4 ? VNET_GSO_TCP4
                                       : VNET_GSO_TCP6;
    return h;
}

static void honest_headers_are_believed(void **state)
{
    struct random r = random_seeded(__func__);
    struct packet p;

    (void)state;
    for (int i = 0; i < 200; i++) {
        uint8_t version = random_below(&r, 2) ? 4 : 6, proto = random_below(&r, 2) ? TCP : UDP;
        uint32_t payload = 9 + (uint32_t)random_below(&r, 60000);
        uint16_t gso = (uint16_t)(8 + random_below(&r, payload - 8));
        struct vnet_header h;

        make_packet(&made, version, proto, 8 * (uint32_t)random_below(&r, 4), payload, &r);
        h = honest(&made, gso);
        h.hdr_bytes = (uint16_t)random_next(&r); /* is not looked at */
        assert_int_equal(judge(&made, &h, &p), DROP_NONE);
        assert_int_equal(p.gso_bytes, gso);
        assert_int_equal(p.csum, PACKET_CSUM_PARTIAL);
    }
}

static void header_that_says_nothing_leaves_the_packet_to_the_core(void **state)
{
    struct vnet_header nothing = {0}, valid = {.flags = VNET_DATA_VALID};
    struct packet p;

    (void)state;
    memset(made.octets, 0xff, 60);
    made.len_bytes = 60;
    assert_int_equal(judge(&made, &nothing, &p), DROP_NONE);
    assert_int_equal(p.csum, PACKET_CSUM_UNKNOWN);
    assert_int_equal(judge(&made, &valid, &p), DROP_NONE);
    assert_int_equal(p.csum, PACKET_CSUM_VALID);
}

static void contradictions_are_dropped(void **state)
{
    struct random r = random_seeded(__func__);
    static const struct {
        uint8_t version, proto, flags, gso_type;
        uint16_t gso_bytes, csum_start, csum_offset;
    } rows[] = {
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_TCP4, 0, 20, 16}, /* no segment size */
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_TCP4, 1, 20, 16},
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_TCP4, 7, 20, 16},
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_TCP4, 5000, 20, 16}, /* the whole payload */
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_TCP4, 65535, 20, 16},
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_TCP6, 1000, 20, 16}, /* of another version */
        {6, TCP, VNET_NEEDS_CSUM, VNET_GSO_TCP4, 1000, 40, 16},
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_UDP, 1000, 20, 16}, /* of another protocol */
        {4, UDP, VNET_NEEDS_CSUM, VNET_GSO_TCP4, 1000, 20, 6},
        {4, UDP, VNET_NEEDS_CSUM, VNET_GSO_UDP | VNET_GSO_ECN, 1000, 20, 6},
        {4, UDP, VNET_NEEDS_CSUM, 3, 1000, 20, 6}, /* fragmentation offload: never asked for */
        {4, TCP, VNET_NEEDS_CSUM, 77, 1000, 20, 16},
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_ECN, 1000, 20, 16},
        {4, TCP, 0, VNET_GSO_TCP4, 1000, 20, 16}, /* without a partial checksum */
        {4, TCP, VNET_DATA_VALID, VNET_GSO_TCP4, 1000, 20, 16},
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_NONE, 0, 40, 16}, /* elsewhere than the checksum is */
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_NONE, 0, 20, 6},
        {4, TCP, VNET_NEEDS_CSUM, VNET_GSO_NONE, 0, 0, 10},
        {6, UDP, VNET_NEEDS_CSUM, VNET_GSO_NONE, 0, 20, 6},
        {6, UDP, VNET_NEEDS_CSUM, VNET_GSO_NONE, 0, 65535, 65535}, /* beyond the packet */
        {6, UDP, VNET_NEEDS_CSUM, VNET_GSO_NONE, 0, 5040, 10},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct vnet_header h = {rows[i].flags,     rows[i].gso_type,   0,
                                      rows[i].gso_bytes, rows[i].csum_start, rows[i].csum_offset};
        struct packet p;

        make_packet(&made, rows[i].version, rows[i].proto, 0, 5000, &r);
        if (judge(&made, &h, &p) != DROP_OFFLOAD_HEADER)
            fail_msg("row %zu", i);
        assert_int_equal(p.gso_bytes, 0);
    }
}

static void lengths_that_the_ip_header_does_not_state_are_no_super_segment(void **state)
{
    struct random r = random_seeded(__func__);
    struct vnet_header h;
    struct packet p;

    (void)state;
    for (int version = 4; version <= 6; version += 2) {
        uint8_t *length = made.octets + (version == 4 ? 2 : 4);

        make_packet(&made, (uint8_t)version, TCP, 0, 5000, &r);
        h = honest(&made, 1000);
        put_be16(length, (uint16_t)(get_be16(length) + 1)); /* more than is there */
        assert_int_equal(judge(&made, &h, &p), DROP_OFFLOAD_HEADER);
        put_be16(length, 0);
        assert_int_equal(judge(&made, &h, &p), DROP_OFFLOAD_HEADER);
        put_be16(length,
                 (uint16_t)(made.payload_at + 1000 - (version == 4 ? 0 : 40))); /* one segment */
        assert_int_equal(judge(&made, &h, &p), DROP_OFFLOAD_HEADER);
    }
}

static void partial_checksum_where_no_transport_is_known_is_not_believed(void **state)
{
    struct random r = random_seeded(__func__);
    struct vnet_header h;
    struct packet p;

    (void)state;
    make_packet(&made, 4, UDP, 0, 100, &r);
    h = honest(&made, 0);
    put_be16(made.octets + 6, 0x2000); /* a first fragment */
    assert_int_equal(judge(&made, &h, &p), DROP_NONE);
    assert_int_equal(p.csum, PACKET_CSUM_UNKNOWN);
    make_packet(&made, 4, UDP, 0, 100, &r);
    made.octets[9] = 1; /* ICMP */
    assert_int_equal(judge(&made, &h, &p), DROP_NONE);
    assert_int_equal(p.csum, PACKET_CSUM_UNKNOWN);
    h = honest(&made, 50);
    assert_int_equal(judge(&made, &h, &p), DROP_OFFLOAD_HEADER);
}

static void no_header_and_no_packet_is_too_short_or_too_wild(void **state)
{
    struct random r = random_seeded(__func__);

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct vnet_header h;
        struct packet p;
        uint8_t *exact;

        make_packet(&made, random_below(&r, 2) ? 4 : 6, random_below(&r, 2) ? TCP : UDP,
                    8 * (uint32_t)random_below(&r, 3), (uint32_t)random_below(&r, 100), &r);
        h = honest(&made, (uint16_t)random_below(&r, 60));
        if (random_below(&r, 2))
            ((uint8_t *)&h)[random_below(&r, sizeof(h))] = (uint8_t)random_next(&r);
        made.octets[random_below(&r, made.payload_at)] = (uint8_t)random_next(&r);
        made.len_bytes = 1 + (uint32_t)random_below(&r, made.len_bytes);
        exact = malloc(made.len_bytes); /* so that a sanitizer sees its end */
        memcpy(exact, made.octets, made.len_bytes);
        p = (struct packet){.data = exact, .len_bytes = made.len_bytes};
        if (offload_input(&p, &h) == DROP_NONE && p.gso_bytes)
            assert_true(p.gso_bytes >= 8 && p.gso_bytes < p.len_bytes);
        offload_complete(&p);
        free(exact);
    }
}

/* ---------------------------------------------------------------------------------- a host's claims -- */

static enum drop claim(struct made *m, uint32_t flags, uint16_t gso_bytes, struct packet *p)
{
    *p = (struct packet){.data = m->octets, .len_bytes = m->len_bytes};
    return offload_claim(p, flags, gso_bytes);
}

static void partial_checksum_of_a_host_is_completed(void **state)
{
    struct random r = random_seeded(__func__);
    struct packet p;

    (void)state;
    for (int i = 0; i < 50; i++) {
        uint8_t version = i % 2 ? 4 : 6, proto = i % 4 < 2 ? TCP : UDP;

        make_packet(&made, version, proto, 8, 100 + (uint32_t)random_below(&r, 3000), &r);
        assert_int_equal(claim(&made, ADIT_PACKET_CSUM_PARTIAL, 90, &p), DROP_NONE);
        assert_int_equal(p.csum, PACKET_CSUM_VALID);
        assert_int_equal(p.gso_bytes, 90);
        assert_true(checksums_are_right(made.octets, made.len_bytes, made.transport_at, proto));
    }
}

static void claims_of_a_host_that_the_octets_belie_are_dropped(void **state)
{
    struct random r = random_seeded(__func__);
    struct packet p;

    (void)state;
    make_packet(&made, 4, TCP, 0, 1000, &r);
    assert_int_equal(claim(&made, 0, 1000, &p), DROP_OFFLOAD_HEADER);
    assert_int_equal(claim(&made, 0, 7, &p), DROP_OFFLOAD_HEADER);
    assert_int_equal(claim(&made, 0, 999, &p), DROP_NONE);
    assert_int_equal(p.csum, PACKET_CSUM_UNKNOWN);
    assert_int_equal(claim(&made, ADIT_PACKET_CSUM_VALID, 0, &p), DROP_NONE);
    assert_int_equal(p.csum, PACKET_CSUM_VALID);
    made.octets[made.transport_at + 16] ^= 1; /* not the pseudo-header sum */
    assert_int_equal(claim(&made, ADIT_PACKET_CSUM_PARTIAL, 0, &p), DROP_OFFLOAD_HEADER);
    made.octets[9] = 1;
    assert_int_equal(claim(&made, ADIT_PACKET_CSUM_PARTIAL, 0, &p), DROP_OFFLOAD_HEADER);
    assert_int_equal(claim(&made, 0, 0, &p), DROP_NONE);
}

/* --------------------------------------------------------------------------------------- checksums -- */

static void udp_checksum_of_zero_is_sent_as_ones(void **state)
{
    struct random r = random_seeded(__func__);
    struct packet_out p;
    struct packet in;
    uint32_t len;

    (void)state;
    for (int version = 4; version <= 6; version += 2) {
        make_packet(&made, (uint8_t)version, UDP, 0, 2, &r);
        put_be16(made.octets + made.payload_at, 0);
        /* the sum over all, field included, becomes 0xffff: its complement is 0 */
        put_be16(made.octets + made.payload_at,
                 (uint16_t)~slow_sum(0, made.octets + made.transport_at,
                                     made.len_bytes - made.transport_at));
        made_out(&made, &p, 0, &r);
        offload_complete_out(&p);
        assert_int_equal(p.csum_start, 0);
        len = flatten(&p, part_octets.octets);
        assert_int_equal(get_be16(part_octets.octets + made.transport_at + 6), 0xffff);
        assert_true(checksums_are_right(part_octets.octets, len, made.transport_at, UDP));
        in = (struct packet){
            .data = made.octets, .len_bytes = made.len_bytes, .csum = PACKET_CSUM_PARTIAL};
        offload_complete(&in);
        assert_memory_equal(made.octets, part_octets.octets, len);
    }
}

static void completed_checksums_agree_with_the_obvious_loop(void **state)
{
    struct random r = random_seeded(__func__);

    (void)state;
    for (int i = 0; i < 200; i++) {
        uint8_t proto = i % 2 ? TCP : UDP;
        struct packet_out p;
        uint32_t len;

        make_packet(&made, i % 4 < 2 ? 4 : 6, proto, 8, (uint32_t)random_below(&r, 9000), &r);
        made_out(&made, &p, 0, &r);
        offload_complete_out(&p);
        len = flatten(&p, part_octets.octets);
        assert_true(checksums_are_right(part_octets.octets, len, made.transport_at, proto));
    }
}

/* ----------------------------------------------------------------------------------------- splitting -- */

struct reassembly {
    const struct made *whole;
    uint16_t gso_bytes;
    uint32_t payload_bytes, count;
    uint8_t payload[66000];
};

/* Checks one part against the whole, and appends its payload. */
static int receive_part(void *ctx, const struct packet_out *part)
{
    struct reassembly *a = ctx;
    const struct made *m = a->whole;
    const uint8_t *was = m->octets + m->transport_at;
    struct packet_out complete = *part;
    const uint8_t *now = part_octets.octets + m->transport_at;
    uint32_t whole_bytes = m->len_bytes - m->payload_at, len;
    bool is_first = a->payload_bytes == 0, is_last;

    for (int i = 0; i < part->slices_count; i++) {
        const uint8_t *at = part->slices[i].base;

        assert_true(at >= m->octets + m->payload_at &&
                    at + part->slices[i].len <= m->octets + m->len_bytes);
    }
    offload_complete_out(&complete);
    len = flatten(&complete, part_octets.octets);
    assert_int_equal(len, packet_out_bytes(part));
    assert_true(checksums_are_right(part_octets.octets, len, m->transport_at, m->proto));
    is_last = a->payload_bytes + part->payload_bytes == whole_bytes;
    assert_true(is_last ? part->payload_bytes <= a->gso_bytes
                        : part->payload_bytes == a->gso_bytes);
    assert_int_equal(part->gso_bytes, 0);
    if (m->version == 4) {
        assert_int_equal(get_be16(part_octets.octets + 2), len);
        assert_int_equal(get_be16(part_octets.octets + 4),
                         (uint16_t)(get_be16(m->octets + 4) + a->count));
        assert_memory_equal(part_octets.octets + 12, m->octets + 12, m->transport_at - 12);
    } else {
        assert_int_equal(get_be16(part_octets.octets + 4), len - 40);
        assert_memory_equal(part_octets.octets + 6, m->octets + 6, m->transport_at - 6);
    }
    if (m->proto == UDP) {
        assert_int_equal(get_be16(now + 4), 8 + part->payload_bytes);
    } else {
        assert_int_equal(get_be32(now + 4), get_be32(was + 4) + a->payload_bytes);
        assert_memory_equal(now + 8, was + 8, 5);
        assert_memory_equal(now + 20, was + 20, m->payload_at - m->transport_at - 20);
        assert_int_equal(now[13], ACK | (is_last ? PSH | FIN : 0) | (is_first ? CWR : 0));
    }
    memcpy(a->payload + a->payload_bytes, part_octets.octets + m->payload_at, part->payload_bytes);
    a->payload_bytes += part->payload_bytes;
    a->count++;
    return 0;
}

static void parts_of_a_super_segment_are_the_super_segment(void **state)
{
    static struct reassembly a;
    struct random r = random_seeded(__func__);

    (void)state;
    for (int i = 0; i < 200; i++) {
        uint8_t version = random_below(&r, 2) ? 4 : 6, proto = random_below(&r, 2) ? TCP : UDP;
        uint32_t options = 8 * (uint32_t)random_below(&r, 3);
        uint32_t payload = 2 + (uint32_t)random_below(&r, random_below(&r, 2) ? 65000 : 3000);
        uint16_t gso = (uint16_t)(1 + random_below(&r, payload - 1));
        struct packet_out p;

        if (random_below(&r, 2) && gso > 1460)
            gso = 1460;
        make_packet(&made, version, proto, options, payload, &r);
        made_out(&made, &p, gso, &r);
        a = (struct reassembly){.whole = &made, .gso_bytes = gso};
        assert_int_equal(offload_split(&p, gso, receive_part, &a), 0);
        assert_int_equal(a.payload_bytes, payload);
        assert_int_equal(a.count, offload_parts_count(&p, gso));
        assert_memory_equal(a.payload, made.octets + made.payload_at, payload);
    }
}

static int count_trains(void *ctx, const struct packet_out *part)
{
    uint32_t *at = ctx;

    assert_int_equal(part->gso_bytes, part->payload_bytes > 100 ? 100 : 0);
    assert_true(part->payload_bytes <= 6400);
    *at += part->payload_bytes;
    return 0;
}

static void long_train_splits_into_shorter_trains(void **state)
{
    struct random r = random_seeded(__func__);
    struct packet_out p;
    uint32_t at = 0;

    (void)state;
    make_packet(&made, 4, UDP, 0, 2 * 6400 + 50, &r);
    made_out(&made, &p, 100, &r);
    assert_int_equal(offload_split(&p, 6400, count_trains, &at), 0);
    assert_int_equal(at, 2 * 6400 + 50);
}

static int stop_at_third(void *ctx, const struct packet_out *part)
{
    int *count = ctx;

    (void)part;
    return ++*count == 3 ? -7 : 0;
}

static void split_ends_when_a_part_is_not_taken(void **state)
{
    struct random r = random_seeded(__func__);
    struct packet_out p;
    int count = 0;

    (void)state;
    make_packet(&made, 6, TCP, 0, 1000, &r);
    made_out(&made, &p, 100, &r);
    assert_int_equal(offload_split(&p, 100, stop_at_third, &count), -7);
    assert_int_equal(count, 3);
}

static void header_for_a_kernel_is_one_that_we_would_believe(void **state)
{
    struct random r = random_seeded(__func__);

    (void)state;
    for (int i = 0; i < 100; i++) {
        uint8_t version = i % 2 ? 4 : 6, proto = i % 4 < 2 ? TCP : UDP;
        uint16_t gso = i % 3 ? 500 : 0;
        struct vnet_header h;
        struct packet_out out;
        struct packet in;

        make_packet(&made, version, proto, 8, 501 + (uint32_t)random_below(&r, 5000), &r);
        made_out(&made, &out, gso, &r);
        offload_output(&h, &out);
        assert_int_equal(judge(&made, &h, &in), DROP_NONE);
        assert_int_equal(in.gso_bytes, gso);
        assert_int_equal(in.csum, PACKET_CSUM_PARTIAL);
        assert_int_equal(h.hdr_bytes, made.payload_at);
        assert_int_equal(h.gso_type & VNET_GSO_ECN,
                         gso && proto == TCP ? VNET_GSO_ECN : 0); /* CWR is set */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_headers_are_believed),
        cmocka_unit_test(header_that_says_nothing_leaves_the_packet_to_the_core),
        cmocka_unit_test(contradictions_are_dropped),
        cmocka_unit_test(lengths_that_the_ip_header_does_not_state_are_no_super_segment),
        cmocka_unit_test(partial_checksum_where_no_transport_is_known_is_not_believed),
        cmocka_unit_test(no_header_and_no_packet_is_too_short_or_too_wild),
        cmocka_unit_test(partial_checksum_of_a_host_is_completed),
        cmocka_unit_test(claims_of_a_host_that_the_octets_belie_are_dropped),
        cmocka_unit_test(udp_checksum_of_zero_is_sent_as_ones),
        cmocka_unit_test(completed_checksums_agree_with_the_obvious_loop),
        cmocka_unit_test(parts_of_a_super_segment_are_the_super_segment),
        cmocka_unit_test(long_train_splits_into_shorter_trains),
        cmocka_unit_test(split_ends_when_a_part_is_not_taken),
        cmocka_unit_test(header_for_a_kernel_is_one_that_we_would_believe),
    };

    return cmocka_run_group_tests_name("offload", tests, NULL, NULL);
}
