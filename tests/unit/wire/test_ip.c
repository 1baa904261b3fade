/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "../random.h"
#include "adit/base.h"
#include "base/bytes.h"
#include "packets.h"
#include "wire/ip.h"

/* ------------------------------------------------------------------------------------------- rig -- */

/* A packet under construction, and what became of it. */
struct ip_rig {
    uint8_t data[4096];
    size_t len_bytes;
    struct ip_header h;
};

static enum drop rig_parse(struct ip_rig *r)
{
    uint8_t *copy = exact_copy(r->data, r->len_bytes);
    enum drop why = ip_parse(&r->h, copy, r->len_bytes, true);

    free(copy);
    return why;
}

static enum drop rig_parse_quoted(struct ip_rig *r)
{
    uint8_t *copy = exact_copy(r->data, r->len_bytes);
    enum drop why = ip_parse_quoted(&r->h, copy, r->len_bytes);

    free(copy);
    return why;
}

/* IPv4, with `options` (a multiple of four) and 8 octets of payload. */
static struct ip_rig rig_ip4(const void *options, size_t options_bytes)
{
    struct ip_rig r = {.len_bytes = 28 + options_bytes};

    r.data[0] = (uint8_t)(0x45 + options_bytes / 4);
    r.data[1] = 0xb9;
    put_be16(r.data + 2, (uint16_t)r.len_bytes);
    put_be16(r.data + 4, 0x1234);
    r.data[8] = 63;
    r.data[9] = IP_PROTO_UDP;
    memcpy(r.data + 12, "\x0a\x00\x00\x02\x01\x02\x03\x04", 8);
    if (options_bytes > 0)
        memcpy(r.data + 20, options, options_bytes);
    ip4_seal(r.data);
    return r;
}

/* The verdict on a packet whose 16 bits at `at` are `value`, the checksum being right again. */
static enum drop ip4_with16(size_t at, uint16_t value)
{
    struct ip_rig r = rig_ip4(NULL, 0);

    put_be16(r.data + at, value);
    ip4_seal(r.data);
    return rig_parse(&r);
}

static enum drop ip4_with_options(const void *options, size_t options_bytes)
{
    struct ip_rig r = rig_ip4(options, options_bytes);

    return rig_parse(&r);
}

/* IPv6 without any extension header or payload yet. */
static struct ip_rig rig_ip6(uint8_t next)
{
    struct ip_rig r = {.len_bytes = 40};

    put_be32(r.data, 0x6b9abcde);
    r.data[6] = next;
    r.data[7] = 63;
    memcpy(r.data + 8, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02", 16);
    memcpy(r.data + 24, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    return r;
}

static void rig_add(struct ip_rig *r, const void *data, size_t len_bytes)
{
    memcpy(r->data + r->len_bytes, data, len_bytes);
    r->len_bytes += len_bytes;
    put_be16(r->data + 4, (uint16_t)(r->len_bytes - 40));
}

/* An extension header of `bytes` octets, padded with Pad1. */
static void rig_add_extension(struct ip_rig *r, uint8_t next, size_t bytes)
{
    uint8_t header[2048] = {next, (uint8_t)(bytes / 8 - 1)};

    rig_add(r, header, bytes);
}

static void rig_add_payload(struct ip_rig *r)
{
    rig_add(r, "8 octets", 8);
}

/* The verdict on a packet with one extension header of the kind and octets. */
static enum drop ip6_with_extension(uint8_t kind, const void *header, size_t len_bytes)
{
    struct ip_rig r = rig_ip6(kind);

    rig_add(&r, header, len_bytes);
    rig_add_payload(&r);
    return rig_parse(&r);
}

/* ------------------------------------------------------------------------------------------ IPv4 -- */

static void an_ipv4_header_gives_its_fields(void **state)
{
    const uint8_t src[16] = {[10] = 0xff, 0xff, 10, 0, 0, 2},
                  dst[16] = {[10] = 0xff, 0xff, 1, 2, 3, 4};
    struct ip_rig r = rig_ip4("\x01\x01\x01\x00", 4);

    (void)state;
    put_be16(r.data + 6, 0x4000);
    ip4_seal(r.data);
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.h.version, 4);
    assert_memory_equal(r.h.src, src, 16);
    assert_memory_equal(r.h.dst, dst, 16);
    assert_int_equal(r.h.proto, IP_PROTO_UDP);
    assert_int_equal(r.h.proto_at, 9);
    assert_int_equal(r.h.ttl, 63);
    assert_int_equal(r.h.tos, 0xb9);
    assert_int_equal(r.h.header_bytes, 24);
    assert_int_equal(r.h.payload_bytes, 8);
    assert_int_equal(r.h.fragment_id, 0x1234);
    assert_true(r.h.dont_fragment);
    assert_false(ip_is_fragment(&r.h));
}

static void padding_behind_an_ipv4_packet_is_no_payload(void **state)
{
    struct ip_rig r = rig_ip4(NULL, 0);

    (void)state;
    r.len_bytes += 18;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.h.payload_bytes, 8);
}

static void an_empty_packet_is_truncated(void **state)
{
    struct ip_rig r = {.len_bytes = 0};

    (void)state;
    assert_int_equal(rig_parse(&r), DROP_IP_TRUNCATED);
}

static void versions_other_than_4_and_6_are_refused(void **state)
{
    struct ip_rig r = rig_ip4(NULL, 0);

    (void)state;
    for (unsigned v = 0; v < 16; v++) {
        r.data[0] = (uint8_t)(v << 4 | 5);
        if (v != 4 && v != 6)
            assert_int_equal(rig_parse(&r), DROP_IP_VERSION);
    }
}

static void an_ipv4_header_length_below_20_is_refused(void **state)
{
    struct ip_rig r = rig_ip4(NULL, 0);

    (void)state;
    for (unsigned words = 0; words < 5; words++) {
        r.data[0] = (uint8_t)(0x40 | words);
        assert_int_equal(rig_parse(&r), DROP_IP_HEADER);
    }
}

static void an_ipv4_header_longer_than_its_packet_is_refused(void **state)
{
    struct ip_rig r = rig_ip4(NULL, 0);

    (void)state;
    r.data[0] = 0x47;
    ip4_seal(r.data);
    assert_int_equal(rig_parse(&r), DROP_NONE); /* 28 octets of header, no payload */
    assert_int_equal(r.h.payload_bytes, 0);
    r.data[0] = 0x48;
    assert_int_equal(rig_parse(&r), DROP_IP_HEADER);
}

static void an_ipv4_total_length_below_the_header_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ip4_with16(2, 0), DROP_IP_HEADER);
    assert_int_equal(ip4_with16(2, 19), DROP_IP_HEADER);
    assert_int_equal(ip4_with16(2, 20), DROP_NONE);
}

static void an_ipv4_total_length_beyond_the_octets_is_truncated(void **state)
{
    (void)state;
    assert_int_equal(ip4_with16(2, 28), DROP_NONE);
    assert_int_equal(ip4_with16(2, 29), DROP_IP_TRUNCATED);
    assert_int_equal(ip4_with16(2, 65535), DROP_IP_TRUNCATED);
}

static void the_reserved_flag_of_ipv4_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ip4_with16(6, 0x8000), DROP_IP_HEADER);
}

static void a_wrong_ipv4_checksum_is_seen_where_it_is_asked_for(void **state)
{
    struct ip_rig r = rig_ip4(NULL, 0);

    (void)state;
    for (size_t at = 0; at < 20; at++) {
        struct ip_rig broken = r;
        enum drop why;

        broken.data[at] ^= at == 0 ? 1 : 0x20; /* the version stays */
        why = rig_parse(&broken);
        assert_int_not_equal(why, DROP_NONE);
        if (at >= 8)
            assert_int_equal(why, DROP_IP_CHECKSUM);
    }
    r.data[11] ^= 1;
    assert_int_equal(rig_parse(&r), DROP_IP_CHECKSUM);
    assert_int_equal(r.h.src[12], 10);
    assert_int_equal(r.h.dst[15], 4);
    assert_int_equal(ip_parse(&r.h, r.data, r.len_bytes, false), DROP_NONE);
}

static void the_checksum_of_ipv4_covers_the_options(void **state)
{
    struct ip_rig r = rig_ip4("\x01\x01\x01\x01", 4);

    (void)state;
    r.data[23] = 0;
    assert_int_equal(rig_parse(&r), DROP_IP_CHECKSUM);
}

static void a_ttl_of_zero_is_refused(void **state)
{
    struct ip_rig r4 = rig_ip4(NULL, 0), r6 = rig_ip6(IP_PROTO_UDP);

    (void)state;
    rig_add_payload(&r6);
    r4.data[8] = r6.data[7] = 1;
    ip4_seal(r4.data);
    assert_int_equal(rig_parse(&r4), DROP_NONE);
    assert_int_equal(rig_parse(&r6), DROP_NONE);
    r4.data[8] = r6.data[7] = 0;
    ip4_seal(r4.data);
    assert_int_equal(rig_parse(&r4), DROP_IP_TTL);
    assert_int_equal(rig_parse(&r6), DROP_IP_TTL);
}

static void ipv4_options_that_fit_are_accepted(void **state)
{
    (void)state;
    assert_int_equal(ip4_with_options("\x01\x01\x01\x01", 4), DROP_NONE);
    assert_int_equal(ip4_with_options("\x94\x04\x00\x00", 4), DROP_NONE); /* router alert */
    assert_int_equal(ip4_with_options("\x07\x07\x04\x00\x00\x00\x00\x00", 8),
                     DROP_NONE);                                          /* record route */
    assert_int_equal(ip4_with_options("\x01\x01\x99\x02", 4), DROP_NONE); /* unknown, to the end */
    assert_int_equal(ip4_with_options("\x00\x99\x00\x83", 4), DROP_NONE); /* behind the end */
}

static void ipv4_options_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    assert_int_equal(ip4_with_options("\x94\x00\x00\x00", 4), DROP_IP_OPTIONS); /* length 0 */
    assert_int_equal(ip4_with_options("\x94\x01\x00\x00", 4), DROP_IP_OPTIONS); /* length 1 */
    assert_int_equal(ip4_with_options("\x94\x05\x00\x00", 4), DROP_IP_OPTIONS); /* beyond the end */
    assert_int_equal(ip4_with_options("\x01\x94\x04\x00", 4), DROP_IP_OPTIONS); /* by one */
    assert_int_equal(ip4_with_options("\x01\x01\x01\x94", 4),
                     DROP_IP_OPTIONS); /* no length at all */
    assert_int_equal(ip4_with_options("\x94\xff\x00\x00", 4), DROP_IP_OPTIONS);
}

static void source_routes_of_ipv4_are_refused(void **state)
{
    (void)state;
    assert_int_equal(ip4_with_options("\x83\x07\x04\x01\x01\x01\x01\x00", 8), DROP_IP_OPTIONS);
    assert_int_equal(ip4_with_options("\x01\x89\x07\x04\x01\x01\x01\x01", 8), DROP_IP_OPTIONS);
    assert_int_equal(ip4_with_options("\x01\x83\x03\x04", 4), DROP_IP_OPTIONS);
}

static void an_ipv4_fragment_gives_its_place(void **state)
{
    struct ip_rig r = rig_ip4(NULL, 0);

    (void)state;
    put_be16(r.data + 6, 0x2000);
    ip4_seal(r.data);
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_true(ip_is_fragment(&r.h));
    assert_true(r.h.more_fragments);
    assert_int_equal(r.h.fragment_offset_bytes, 0);
    put_be16(r.data + 6, 0x1fff);
    ip4_seal(r.data);
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_true(ip_is_fragment(&r.h));
    assert_false(r.h.more_fragments);
    assert_int_equal(r.h.fragment_offset_bytes, 65528);
    assert_int_equal(r.h.header_bytes, 20);
}

/* ------------------------------------------------------------------------------------------ IPv6 -- */

static void an_ipv6_header_gives_its_fields(void **state)
{
    struct ip_rig r = rig_ip6(IP_PROTO_TCP);

    (void)state;
    rig_add_payload(&r);
    r.len_bytes += 4; /* padding */
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.h.version, 6);
    assert_memory_equal(r.h.src, r.data + 8, 16);
    assert_memory_equal(r.h.dst, r.data + 24, 16);
    assert_int_equal(r.h.proto, IP_PROTO_TCP);
    assert_int_equal(r.h.proto_at, 6);
    assert_int_equal(r.h.ttl, 63);
    assert_int_equal(r.h.tos, 0xb9);
    assert_int_equal(r.h.header_bytes, 40);
    assert_int_equal(r.h.payload_bytes, 8);
    assert_false(ip_is_fragment(&r.h));
    assert_int_equal(r.h.problem_at, 0);
}

static void an_ipv6_payload_beyond_the_octets_is_truncated(void **state)
{
    struct ip_rig r = rig_ip6(IP_PROTO_UDP);

    (void)state;
    rig_add_payload(&r);
    put_be16(r.data + 4, 9);
    assert_int_equal(rig_parse(&r), DROP_IP_TRUNCATED);
    put_be16(r.data + 4, 0);
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.h.payload_bytes, 0);
}

static void a_mapped_address_on_an_ipv6_wire_is_a_martian(void **state)
{
    const uint8_t mapped[16] = {[10] = 0xff, 0xff, 10, 0, 0, 2};
    struct ip_rig src = rig_ip6(IP_PROTO_UDP), dst = rig_ip6(IP_PROTO_UDP);

    (void)state;
    rig_add_payload(&src);
    rig_add_payload(&dst);
    memcpy(src.data + 8, mapped, 16);
    memcpy(dst.data + 24, mapped, 16);
    assert_int_equal(rig_parse(&src), DROP_IP_MARTIAN_SRC);
    assert_int_equal(rig_parse(&dst), DROP_IP_MARTIAN_DST);
    assert_int_equal(rig_parse_quoted(&dst), DROP_IP_MARTIAN_DST);
    src.data[8 + 9] = 1; /* no longer that prefix */
    assert_int_equal(rig_parse(&src), DROP_NONE);
}

static void extension_headers_are_stepped_over(void **state)
{
    struct ip_rig r = rig_ip6(0);

    (void)state;
    rig_add_extension(&r, 60, 16);
    rig_add_extension(&r, 43, 8);
    rig_add_extension(&r, 60, 24);
    rig_add_extension(&r, IP_PROTO_TCP, 8);
    rig_add_payload(&r);
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.h.proto, IP_PROTO_TCP);
    assert_int_equal(r.h.proto_at, 40 + 48);
    assert_int_equal(r.h.header_bytes, 40 + 56);
    assert_int_equal(r.h.payload_bytes, 8);
}

static void hop_by_hop_is_accepted_in_front_only(void **state)
{
    struct ip_rig r = rig_ip6(60), twice = rig_ip6(0);

    (void)state;
    rig_add_extension(&r, 0, 8);
    rig_add_extension(&r, IP_PROTO_UDP, 8);
    rig_add_payload(&r);
    assert_int_equal(rig_parse(&r), DROP_IP_EXTENSION);
    rig_add_extension(&twice, 0, 8);
    rig_add_extension(&twice, IP_PROTO_UDP, 8);
    rig_add_payload(&twice);
    assert_int_equal(rig_parse(&twice), DROP_IP_EXTENSION);
}

static void extension_headers_are_limited_in_number(void **state)
{
    (void)state;
    for (unsigned count = IP_EXTENSIONS_MAX; count <= IP_EXTENSIONS_MAX + 1; count++) {
        struct ip_rig r = rig_ip6(60);

        for (unsigned i = 1; i < count; i++)
            rig_add_extension(&r, 60, 8);
        rig_add_extension(&r, IP_PROTO_UDP, 8);
        rig_add_payload(&r);
        assert_int_equal(rig_parse(&r), count <= IP_EXTENSIONS_MAX ? DROP_NONE : DROP_IP_EXTENSION);
    }
}

static void extension_headers_are_limited_in_octets(void **state)
{
    struct ip_rig most = rig_ip6(60), one_more = rig_ip6(60), single = rig_ip6(60);

    (void)state;
    rig_add_extension(&most, 60, IP_EXTENSION_BYTES_MAX - 8);
    rig_add_extension(&most, IP_PROTO_UDP, 8);
    rig_add_payload(&most);
    assert_int_equal(rig_parse(&most), DROP_NONE);
    rig_add_extension(&one_more, 60, IP_EXTENSION_BYTES_MAX - 8);
    rig_add_extension(&one_more, IP_PROTO_UDP, 16);
    rig_add_payload(&one_more);
    assert_int_equal(rig_parse(&one_more), DROP_IP_EXTENSION);
    rig_add_extension(&single, IP_PROTO_UDP, 2048);
    rig_add_payload(&single);
    assert_int_equal(rig_parse(&single), DROP_IP_EXTENSION);
}

static void an_extension_header_beyond_the_payload_is_refused(void **state)
{
    struct ip_rig none = rig_ip6(60), longer = rig_ip6(60), half = rig_ip6(43);

    (void)state;
    assert_int_equal(rig_parse(&none), DROP_IP_EXTENSION);
    rig_add_extension(&longer, IP_PROTO_UDP, 16);
    put_be16(longer.data + 4, 15);
    assert_int_equal(rig_parse(&longer), DROP_IP_EXTENSION);
    put_be16(longer.data + 4, 16);
    assert_int_equal(rig_parse(&longer), DROP_NONE);
    rig_add(&half, "\x11\x00\x00\x00\x00\x00\x00", 7);
    assert_int_equal(rig_parse(&half), DROP_IP_EXTENSION);
}

static void a_routing_header_is_refused_only_with_segments_left(void **state)
{
    (void)state;
    assert_int_equal(ip6_with_extension(43, "\x11\x00\x00\x00\x00\x00\x00\x00", 8), DROP_NONE);
    assert_int_equal(ip6_with_extension(43, "\x11\x00\x04\x00\x00\x00\x00\x00", 8), DROP_NONE);
    assert_int_equal(ip6_with_extension(43, "\x11\x00\x00\x01\x00\x00\x00\x00", 8),
                     DROP_IP_ROUTING_HEADER);
    assert_int_equal(ip6_with_extension(43, "\x11\x00\x04\xff\x00\x00\x00\x00", 8),
                     DROP_IP_ROUTING_HEADER);
}

static void a_refused_routing_header_shows_where_it_begins(void **state)
{
    struct ip_rig r = rig_ip6(60);

    (void)state;
    rig_add_extension(&r, 43, 16);
    rig_add(&r, "\x11\x00\x04\x01\x00\x00\x00\x00", 8);
    rig_add_payload(&r);
    assert_int_equal(rig_parse(&r), DROP_IP_ROUTING_HEADER);
    assert_int_equal(r.h.header_bytes, 40 + 16);
}

static void options_of_ipv6_must_fit_their_header(void **state)
{
    struct ip_rig last = rig_ip6(60);

    (void)state;
    rig_add(&last, "\x3b\x00\x00\x00\x00\x00\x00\x01", 8); /* no length, and nothing behind */
    assert_int_equal(rig_parse(&last), DROP_IP_EXTENSION);
    assert_int_equal(ip6_with_extension(60, "\x11\x00\x01\x04\x00\x00\x00\x00", 8), DROP_NONE);
    assert_int_equal(ip6_with_extension(60, "\x11\x00\x01\x05\x00\x00\x00\x00", 8),
                     DROP_IP_EXTENSION);
    assert_int_equal(ip6_with_extension(0, "\x11\x00\x00\x00\x00\x00\x01\x00", 8), DROP_NONE);
    assert_int_equal(ip6_with_extension(0, "\x11\x00\x00\x00\x00\x00\x00\x01", 8),
                     DROP_IP_EXTENSION); /* no length */
    assert_int_equal(ip6_with_extension(0, "\x11\x00\x05\x02\x00\x00\x01\x00", 8),
                     DROP_NONE); /* router alert */
    assert_int_equal(ip6_with_extension(0, "\x11\x00\x01\xff\x00\x00\x00\x00", 8),
                     DROP_IP_EXTENSION);
}

/* The verdict on a hop-by-hop option of the type, to a multicast destination or not; the offset of the problem. */
static enum drop ip6_with_option(uint8_t type, bool multicast, uint32_t *problem_at)
{
    const uint8_t header[8] = {IP_PROTO_UDP, 0, 0 /* Pad1 */, type, 1, 0, 0, 0};
    struct ip_rig r = rig_ip6(0);
    enum drop why;

    rig_add(&r, header, sizeof(header));
    rig_add_payload(&r);
    if (multicast)
        r.data[24] = 0xff;
    why = rig_parse(&r);
    *problem_at = r.h.problem_at;
    return why;
}

static void unknown_options_of_ipv6_do_what_their_high_bits_say(void **state)
{
    static const struct {
        uint8_t type;
        bool multicast;
        enum drop why;
        uint32_t problem_at;
    } rows[] = {
        {0x1e, false, DROP_NONE, 0},          {0x1e, true, DROP_NONE, 0},
        {0x5e, false, DROP_IP_EXTENSION, 0},  {0x5e, true, DROP_IP_EXTENSION, 0},
        {0x9e, false, DROP_IP_EXTENSION, 43}, {0x9e, true, DROP_IP_EXTENSION, 43},
        {0xde, false, DROP_IP_EXTENSION, 43}, {0xde, true, DROP_IP_EXTENSION, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t problem_at;

        assert_int_equal(ip6_with_option(rows[i].type, rows[i].multicast, &problem_at),
                         rows[i].why);
        assert_int_equal(problem_at, rows[i].problem_at);
    }
}

static void jumbograms_are_refused(void **state)
{
    struct ip_rig r = rig_ip6(0);

    (void)state;
    rig_add(&r, "\x11\x00\xc2\x04\x00\x01\x00\x00", 8);
    rig_add_payload(&r);
    assert_int_equal(rig_parse(&r), DROP_IP_EXTENSION);
    put_be16(r.data + 4, 0);
    assert_int_equal(rig_parse(&r), DROP_IP_EXTENSION);
}

static void an_ipv6_fragment_ends_the_chain(void **state)
{
    struct ip_rig r = rig_ip6(60);

    (void)state;
    rig_add_extension(&r, 44, 8);
    rig_add(&r, "\x3c\x00\x00\x0f\x01\x02\x03\x04", 8); /* offset 8, reserved bits set, more */
    rig_add_payload(&r);
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_true(ip_is_fragment(&r.h));
    assert_true(r.h.more_fragments);
    assert_int_equal(r.h.fragment_offset_bytes, 8);
    assert_int_equal(r.h.fragment_id, 0x01020304);
    assert_int_equal(r.h.unfragmentable_bytes, 48);
    assert_int_equal(r.h.header_bytes, 56);
    assert_int_equal(r.h.payload_bytes, 8);
    assert_int_equal(r.h.proto, 60);
    assert_int_equal(r.h.proto_at, 48);
}

static void the_last_ipv6_fragment_may_lie_at_the_end(void **state)
{
    struct ip_rig r = rig_ip6(44);

    (void)state;
    rig_add(&r, "\x11\xff\xff\xf8\x00\x00\x00\x01", 8); /* a length octet is reserved here */
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.h.fragment_offset_bytes, 65528);
    assert_false(r.h.more_fragments);
    assert_int_equal(r.h.payload_bytes, 0);
}

static void an_atomic_fragment_is_none(void **state)
{
    struct ip_rig r = rig_ip6(44);

    (void)state;
    rig_add(&r, "\x3c\x00\x00\x00\x01\x02\x03\x04", 8);
    rig_add_extension(&r, IP_PROTO_UDP, 8);
    rig_add_payload(&r);
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_false(ip_is_fragment(&r.h));
    assert_int_equal(r.h.proto, IP_PROTO_UDP);
    assert_int_equal(r.h.header_bytes, 56);
    assert_int_equal(r.h.unfragmentable_bytes, 0);
}

static void a_second_fragment_header_is_refused(void **state)
{
    struct ip_rig r = rig_ip6(44);

    (void)state;
    rig_add(&r, "\x2c\x00\x00\x00\x01\x02\x03\x04", 8);
    rig_add(&r, "\x11\x00\x00\x01\x01\x02\x03\x04", 8);
    rig_add_payload(&r);
    assert_int_equal(rig_parse(&r), DROP_IP_EXTENSION);
}

static void security_headers_and_no_next_header_end_the_chain(void **state)
{
    static const uint8_t protos[] = {50, 51, 59, 135, 139, 253};

    (void)state;
    for (size_t i = 0; i < sizeof(protos); i++) {
        struct ip_rig r = rig_ip6(protos[i]);

        rig_add_payload(&r);
        assert_int_equal(rig_parse(&r), DROP_NONE);
        assert_int_equal(r.h.proto, protos[i]);
        assert_int_equal(r.h.header_bytes, 40);
    }
}

/* ------------------------------------------------------------------------- whatever may arrive -- */

/* What holds for every header that was accepted. */
static void check_accepted(const struct ip_header *h, size_t len_bytes)
{
    assert_true(h->version == 4 || h->version == 6);
    assert_in_range(h->header_bytes, h->version == 4 ? 20 : 40,
                    h->version == 4 ? 60 : 40 + IP_EXTENSION_BYTES_MAX);
    assert_true(h->header_bytes + h->payload_bytes <= len_bytes);
    assert_true(h->proto_at < h->header_bytes);
    assert_true(h->unfragmentable_bytes < h->header_bytes);
    assert_true(ip_is_mapped4(h->src) == (h->version == 4));
    assert_true(ip_is_mapped4(h->dst) == (h->version == 4));
}

static void a_packet_cut_anywhere_is_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct ip_rig r = {.len_bytes = samples[i].len_bytes};

        memcpy(r.data, samples[i].data, r.len_bytes);
        if (r.data[0] >> 4 == 4)
            ip4_seal(r.data);
        assert_int_equal(rig_parse(&r), DROP_NONE);
        check_accepted(&r.h, r.len_bytes);
        assert_int_equal(r.h.header_bytes + r.h.payload_bytes, r.len_bytes);
        while (r.len_bytes > 0) {
            r.len_bytes--;
            assert_int_equal(rig_parse(&r), DROP_IP_TRUNCATED);
        }
    }
}

static void a_quoted_packet_may_be_cut_behind_its_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct ip_rig r = {.len_bytes = samples[i].len_bytes};
        struct ip_header whole;

        memcpy(r.data, samples[i].data, r.len_bytes);
        r.data[r.data[0] >> 4 == 4 ? 8 : 7] = 0; /* the TTL that brought the error about */
        assert_int_equal(rig_parse_quoted(&r), DROP_NONE);
        whole = r.h;
        for (; r.len_bytes > 0; r.len_bytes--) {
            enum drop why = rig_parse_quoted(&r);

            assert_int_equal(why == DROP_NONE, r.len_bytes >= whole.header_bytes);
            if (why == DROP_NONE)
                assert_int_equal(r.h.header_bytes + r.h.payload_bytes, r.len_bytes);
        }
    }
}

static void broken_packets_are_refused_or_make_sense(void **state)
{
    struct random random = random_seeded("ip");

    (void)state;
    for (int round = 0; round < 40000; round++) {
        const struct sample *s = &samples[random_below(&random, SAMPLES)];
        size_t cut = random_below(&random, 4) ? 0 : random_below(&random, s->len_bytes);
        struct ip_rig r = {.len_bytes = s->len_bytes - cut};

        memcpy(r.data, s->data, s->len_bytes);
        for (uint64_t n = random_below(&random, 4); n > 0; n--)
            r.data[random_below(&random, s->len_bytes)] = (uint8_t)random_next(&random);
        if (r.data[0] >> 4 == 4 && (r.data[0] & 0xf) >= 5 && random_below(&random, 8))
            ip4_seal(r.data);
        if (rig_parse(&r) == DROP_NONE)
            check_accepted(&r.h, r.len_bytes);
        if (rig_parse_quoted(&r) == DROP_NONE)
            check_accepted(&r.h, r.len_bytes);
    }
}

/* ------------------------------------------------------------------------------------------ emit -- */

static void what_is_emitted_parses_to_the_same(void **state)
{
    struct ip_header h = {
        .proto = IP_PROTO_TCP, .ttl = 64, .tos = 0xb8, .fragment_id = 0x4321, .payload_bytes = 8};
    uint8_t out[48] = {0};
    struct ip_header back;

    (void)state;
    for (int family = 4; family <= 6; family += 2) {
        size_t header_bytes;

        memset(h.src, 0x11, 16);
        memset(h.dst, 0x22, 16);
        if (family == 4) {
            ip_map4(h.src, (const uint8_t[]){10, 0, 0, 2});
            ip_map4(h.dst, (const uint8_t[]){1, 2, 3, 4});
        }
        h.dont_fragment = true;
        header_bytes = ip_emit(out, &h);
        assert_int_equal(header_bytes, family == 4 ? 20 : 40);
        assert_int_equal(ip_parse(&back, out, header_bytes + 8, true), DROP_NONE);
        assert_int_equal(back.version, family);
        assert_memory_equal(back.src, h.src, 16);
        assert_memory_equal(back.dst, h.dst, 16);
        assert_int_equal(back.proto, h.proto);
        assert_int_equal(back.ttl, h.ttl);
        assert_int_equal(back.tos, h.tos);
        assert_int_equal(back.payload_bytes, 8);
        assert_int_equal(back.dont_fragment, h.dont_fragment);
        assert_int_equal(back.fragment_id, family == 4 ? 0x4321 : 0);
    }
}

static void every_ipv4_header_that_is_emitted_has_its_checksum(void **state)
{
    struct random r = random_seeded("ip");

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct ip_header h = {.proto = IP_PROTO_UDP,
                              .ttl = (uint8_t)(1 + random_below(&r, 255)),
                              .tos = (uint8_t)random_next(&r),
                              .fragment_id = (uint32_t)random_next(&r),
                              .dont_fragment = random_below(&r, 2)};
        uint32_t ends[2] = {(uint32_t)random_next(&r), (uint32_t)random_next(&r)};
        uint8_t out[20];
        struct ip_header back;

        if (round % 3 == 0)
            ends[0] = ends[1] = round % 2 ? 0 : 0xffffffff;
        ip_map4(h.src, (const uint8_t *)&ends[0]);
        ip_map4(h.dst, (const uint8_t *)&ends[1]);
        ip_emit(out, &h);
        assert_int_equal(ip_parse(&back, out, sizeof(out), true), DROP_NONE);
        assert_int_equal(back.fragment_id, h.fragment_id & 0xffff);
    }
}

static void a_payload_too_long_for_its_field_emits_a_length_of_zero(void **state)
{
    struct ip_header h = {.payload_bytes = 65535 - 20};
    uint8_t out[40];

    (void)state;
    ip_map4(h.src, (const uint8_t[]){10, 0, 0, 2});
    ip_emit(out, &h);
    assert_int_equal(get_be16(out + 2), 65535);
    h.payload_bytes++;
    ip_emit(out, &h);
    assert_int_equal(get_be16(out + 2), 0);
    memset(h.src, 1, 16);
    h.payload_bytes = 65535;
    ip_emit(out, &h);
    assert_int_equal(get_be16(out + 4), 65535);
    h.payload_bytes++;
    ip_emit(out, &h);
    assert_int_equal(get_be16(out + 4), 0);
}

/* ------------------------------------------------------------------------------------- addresses -- */

static void addresses_are_what_the_registries_say(void **state)
{
    enum {
        UNSPECIFIED = 1,
        LOOPBACK = 2,
        MULTICAST = 4,
        BROADCAST = 8,
        LINK_LOCAL = 16,
        RESERVED = 32
    };
    static const struct {
        const char *text;
        unsigned kinds;
    } rows[] = {
        {"0.0.0.0", UNSPECIFIED},
        {"0.255.255.255", UNSPECIFIED},
        {"1.0.0.0", 0},
        {"126.255.255.255", 0},
        {"127.0.0.1", LOOPBACK},
        {"127.255.255.255", LOOPBACK},
        {"128.0.0.0", 0},
        {"169.253.255.255", 0},
        {"169.254.0.0", LINK_LOCAL},
        {"169.254.255.255", LINK_LOCAL},
        {"169.255.0.0", 0},
        {"223.255.255.255", 0},
        {"224.0.0.0", MULTICAST},
        {"239.255.255.255", MULTICAST},
        {"240.0.0.0", RESERVED},
        {"255.255.255.254", RESERVED},
        {"255.255.255.255", BROADCAST},
        {"10.0.0.1", 0},
        {"::", UNSPECIFIED},
        {"::1", LOOPBACK},
        {"::2", RESERVED},
        {"::102:304", RESERVED},
        {"::1:0:0", 0},
        {"64:ff9b::1", 0},
        {"2001:db8::1", 0},
        {"fe7f::1", 0},
        {"fe80::1", LINK_LOCAL},
        {"febf::1", LINK_LOCAL},
        {"fec0::1", 0},
        {"feff::1", 0},
        {"ff00::", MULTICAST},
        {"ff02::1", MULTICAST},
        {"fd00::1", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned kinds = 0;
        adit_addr a;

        assert_int_equal(adit_addr_parse(&a, rows[i].text), 0);
        kinds |= ip_is_unspecified(a.ip) ? UNSPECIFIED : 0;
        kinds |= ip_is_loopback(a.ip) ? LOOPBACK : 0;
        kinds |= ip_is_multicast(a.ip) ? MULTICAST : 0;
        kinds |= ip_is_broadcast(a.ip) ? BROADCAST : 0;
        kinds |= ip_is_link_local(a.ip) ? LINK_LOCAL : 0;
        kinds |= ip_is_reserved(a.ip) ? RESERVED : 0;
        assert_int_equal(kinds, rows[i].kinds);
        assert_int_equal(ip_is_mapped4(a.ip), a.family == 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ipv4_header_gives_its_fields),
        cmocka_unit_test(padding_behind_an_ipv4_packet_is_no_payload),
        cmocka_unit_test(an_empty_packet_is_truncated),
        cmocka_unit_test(versions_other_than_4_and_6_are_refused),
        cmocka_unit_test(an_ipv4_header_length_below_20_is_refused),
        cmocka_unit_test(an_ipv4_header_longer_than_its_packet_is_refused),
        cmocka_unit_test(an_ipv4_total_length_below_the_header_is_refused),
        cmocka_unit_test(an_ipv4_total_length_beyond_the_octets_is_truncated),
        cmocka_unit_test(the_reserved_flag_of_ipv4_is_refused),
        cmocka_unit_test(a_wrong_ipv4_checksum_is_seen_where_it_is_asked_for),
        cmocka_unit_test(the_checksum_of_ipv4_covers_the_options),
        cmocka_unit_test(a_ttl_of_zero_is_refused),
        cmocka_unit_test(ipv4_options_that_fit_are_accepted),
        cmocka_unit_test(ipv4_options_that_do_not_fit_are_refused),
        cmocka_unit_test(source_routes_of_ipv4_are_refused),
        cmocka_unit_test(an_ipv4_fragment_gives_its_place),
        cmocka_unit_test(an_ipv6_header_gives_its_fields),
        cmocka_unit_test(an_ipv6_payload_beyond_the_octets_is_truncated),
        cmocka_unit_test(a_mapped_address_on_an_ipv6_wire_is_a_martian),
        cmocka_unit_test(extension_headers_are_stepped_over),
        cmocka_unit_test(hop_by_hop_is_accepted_in_front_only),
        cmocka_unit_test(extension_headers_are_limited_in_number),
        cmocka_unit_test(extension_headers_are_limited_in_octets),
        cmocka_unit_test(an_extension_header_beyond_the_payload_is_refused),
        cmocka_unit_test(a_routing_header_is_refused_only_with_segments_left),
        cmocka_unit_test(a_refused_routing_header_shows_where_it_begins),
        cmocka_unit_test(options_of_ipv6_must_fit_their_header),
        cmocka_unit_test(unknown_options_of_ipv6_do_what_their_high_bits_say),
        cmocka_unit_test(jumbograms_are_refused),
        cmocka_unit_test(an_ipv6_fragment_ends_the_chain),
        cmocka_unit_test(the_last_ipv6_fragment_may_lie_at_the_end),
        cmocka_unit_test(an_atomic_fragment_is_none),
        cmocka_unit_test(a_second_fragment_header_is_refused),
        cmocka_unit_test(security_headers_and_no_next_header_end_the_chain),
        cmocka_unit_test(a_packet_cut_anywhere_is_truncated),
        cmocka_unit_test(a_quoted_packet_may_be_cut_behind_its_headers),
        cmocka_unit_test(broken_packets_are_refused_or_make_sense),
        cmocka_unit_test(what_is_emitted_parses_to_the_same),
        cmocka_unit_test(every_ipv4_header_that_is_emitted_has_its_checksum),
        cmocka_unit_test(a_payload_too_long_for_its_field_emits_a_length_of_zero),
        cmocka_unit_test(addresses_are_what_the_registries_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
