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
#include "base/bytes.h"
#include "packets.h"
#include "wire/icmp.h"

static struct ip_header ends(uint8_t version)
{
    struct ip_header ip = {.version = version};

    memset(ip.src, 0x20, 16);
    memset(ip.dst, 0x30, 16);
    if (version == 4) {
        ip_map4(ip.src, (const uint8_t[]){10, 0, 0, 2});
        ip_map4(ip.dst, (const uint8_t[]){1, 1, 1, 1});
    }
    return ip;
}

/* The kind that a message of the type and code is, and its second word as kept. */
static enum icmp_kind kind_of(uint8_t version, uint8_t type, uint8_t code, struct icmp_message *m)
{
    const uint8_t wire[10] = {type, code, 0, 0, 0x12, 0x34, 0x56, 0x78, 1, 2};
    const struct ip_header ip = ends(version);

    assert_int_equal(icmp_parse(m, &ip, wire, sizeof(wire), false), DROP_NONE);
    assert_int_equal(m->type, type);
    assert_int_equal(m->code, code);
    assert_int_equal(m->data_bytes, 2);
    assert_int_equal(icmp_kind_of(version, type, code), m->kind);
    return m->kind;
}

static void messages_shorter_than_their_header_are_refused(void **state)
{
    const struct ip_header ip = ends(4);
    struct icmp_message m;

    (void)state;
    for (size_t n = 0; n < ICMP_HEADER_BYTES; n++) {
        uint8_t *copy = exact_copy("\x08\0\xf7\xff\0\0\0\0", n);

        assert_int_equal(icmp_parse(&m, &ip, copy, n, true), DROP_ICMP_HEADER);
        free(copy);
    }
    assert_int_equal(icmp_parse(&m, &ip, (const uint8_t *)"\x08\0\xf7\xff\0\0\0\0", 8, true),
                     DROP_NONE);
    assert_int_equal(m.data_bytes, 0);
}

static void types_and_codes_of_icmp_have_their_kinds(void **state)
{
    static const struct {
        uint8_t type, code;
        enum icmp_kind kind;
    } rows[] = {
        {8, 0, ICMP_ECHO_REQUEST},
        {0, 0, ICMP_ECHO_REPLY},
        {3, 0, ICMP_UNREACH_NET},
        {3, 1, ICMP_UNREACH_HOST},
        {3, 2, ICMP_UNREACH_PROTOCOL},
        {3, 3, ICMP_UNREACH_PORT},
        {3, 4, ICMP_TOO_BIG},
        {3, 5, ICMP_UNREACH_HOST},
        {3, 6, ICMP_UNREACH_NET},
        {3, 7, ICMP_UNREACH_HOST},
        {3, 9, ICMP_UNREACH_ADMIN},
        {3, 10, ICMP_UNREACH_ADMIN},
        {3, 13, ICMP_UNREACH_ADMIN},
        {3, 15, ICMP_UNREACH_ADMIN},
        {3, 16, ICMP_OTHER},
        {3, 255, ICMP_OTHER},
        {11, 0, ICMP_TTL_EXCEEDED},
        {11, 1, ICMP_REASSEMBLY_EXCEEDED},
        {11, 2, ICMP_OTHER},
        {12, 0, ICMP_PARAMETER},
        {12, 3, ICMP_OTHER},
        {4, 0, ICMP_OTHER},
        {5, 1, ICMP_OTHER},
        {13, 0, ICMP_OTHER},
        {128, 0, ICMP_OTHER},
        {255, 255, ICMP_OTHER},
    };
    struct icmp_message m;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(kind_of(4, rows[i].type, rows[i].code, &m), rows[i].kind);
}

static void types_and_codes_of_icmpv6_have_their_kinds(void **state)
{
    static const struct {
        uint8_t type, code;
        enum icmp_kind kind;
    } rows[] = {
        {128, 0, ICMP_ECHO_REQUEST},
        {129, 0, ICMP_ECHO_REPLY},
        {1, 0, ICMP_UNREACH_NET},
        {1, 1, ICMP_UNREACH_ADMIN},
        {1, 2, ICMP_UNREACH_HOST},
        {1, 3, ICMP_UNREACH_HOST},
        {1, 4, ICMP_UNREACH_PORT},
        {1, 5, ICMP_UNREACH_ADMIN},
        {1, 6, ICMP_UNREACH_ADMIN},
        {1, 8, ICMP_OTHER},
        {2, 0, ICMP_TOO_BIG},
        {2, 9, ICMP_TOO_BIG},
        {3, 0, ICMP_TTL_EXCEEDED},
        {3, 1, ICMP_REASSEMBLY_EXCEEDED},
        {3, 2, ICMP_OTHER},
        {4, 0, ICMP_PARAMETER},
        {4, 1, ICMP_UNREACH_PROTOCOL},
        {4, 2, ICMP_PARAMETER},
        {8, 0, ICMP_OTHER},
        {0, 0, ICMP_OTHER},
        {133, 0, ICMP_OTHER},
        {135, 0, ICMP_OTHER},
    };
    struct icmp_message m;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(kind_of(6, rows[i].type, rows[i].code, &m), rows[i].kind);
}

static void the_second_word_is_what_the_kind_makes_of_it(void **state)
{
    struct icmp_message m;

    (void)state;
    kind_of(4, 8, 0, &m);
    assert_int_equal(m.id, 0x1234);
    assert_int_equal(m.seq, 0x5678);
    kind_of(6, 129, 0, &m);
    assert_int_equal(m.id, 0x1234);
    assert_int_equal(m.seq, 0x5678);
    kind_of(4, 3, 4, &m);
    assert_int_equal(m.mtu_bytes, 0x5678);
    assert_int_equal(m.id, 0);
    kind_of(6, 2, 0, &m);
    assert_int_equal(m.mtu_bytes, 0x12345678);
    kind_of(4, 12, 0, &m);
    assert_int_equal(m.pointer, 0x12);
    kind_of(6, 4, 0, &m);
    assert_int_equal(m.pointer, 0x12345678);
    kind_of(4, 3, 2, &m);
    assert_int_equal(m.pointer, 0);
    kind_of(4, 3, 1, &m);
    assert_int_equal(m.mtu_bytes, 0);
}

static void a_wrong_checksum_is_seen_where_it_is_asked_for(void **state)
{
    (void)state;
    for (uint8_t version = 4; version <= 6; version = (uint8_t)(version + 2)) {
        const uint8_t payload[5] = {1, 2, 3, 4, 5};
        struct icmp_message m = {
            .kind = ICMP_ECHO_REQUEST, .id = 1, .data = payload, .data_bytes = 5};
        const struct ip_header ip = ends(version);
        uint8_t wire[13];

        icmp_emit(wire, &ip, &m);
        memcpy(wire + 8, payload, 5);
        assert_int_equal(icmp_parse(&m, &ip, wire, sizeof(wire), true), DROP_NONE);
        for (size_t i = 0; i < sizeof(wire); i++) {
            wire[i] ^= 0x10;
            assert_int_equal(icmp_parse(&m, &ip, wire, sizeof(wire), true), DROP_ICMP_CHECKSUM);
            assert_int_equal(icmp_parse(&m, &ip, wire, sizeof(wire), false), DROP_NONE);
            wire[i] ^= 0x10;
        }
    }
}

static void the_checksum_of_icmpv6_covers_the_addresses(void **state)
{
    struct icmp_message m = {.kind = ICMP_ECHO_REPLY};
    struct ip_header ip = ends(6);
    uint8_t wire[8];

    (void)state;
    icmp_emit(wire, &ip, &m);
    ip.dst[15]++;
    assert_int_equal(icmp_parse(&m, &ip, wire, sizeof(wire), true), DROP_ICMP_CHECKSUM);
}

static void every_kind_is_emitted_in_both_families_and_parses_to_itself(void **state)
{
    (void)state;
    for (uint8_t version = 4; version <= 6; version = (uint8_t)(version + 2)) {
        for (int kind = 0; kind < ICMP_OTHER; kind++) {
            struct icmp_message m = {.kind = (enum icmp_kind)kind,
                                     .id = 7,
                                     .seq = 9,
                                     .mtu_bytes = 1280,
                                     .pointer = 40,
                                     .data = samples[0].data,
                                     .data_bytes = (uint32_t)samples[0].len_bytes};
            struct ip_header ip = ends(version);
            struct icmp_message back;
            uint8_t wire[8 + 60];

            ip.version = 0; /* as in a header that was never parsed */
            icmp_emit(wire, &ip, &m);
            memcpy(wire + 8, m.data, m.data_bytes);
            ip.version = version;
            assert_int_equal(icmp_parse(&back, &ip, wire, sizeof(wire), true), DROP_NONE);
            assert_int_equal(back.kind, kind);
            assert_int_equal(icmp_is_error(back.kind), kind > ICMP_ECHO_REPLY);
            assert_int_equal(back.id, kind <= ICMP_ECHO_REPLY ? 7 : 0);
            assert_int_equal(back.seq, kind <= ICMP_ECHO_REPLY ? 9 : 0);
            assert_int_equal(back.mtu_bytes, kind == ICMP_TOO_BIG ? 1280 : 0);
            if (kind == ICMP_PARAMETER || (kind == ICMP_UNREACH_PROTOCOL && version == 6))
                assert_int_equal(back.pointer, 40);
        }
    }
}

static void errors_are_emitted_with_the_numbers_of_their_rfcs(void **state)
{
    static const struct {
        enum icmp_kind kind;
        uint8_t version, type, code;
    } rows[] = {
        {ICMP_UNREACH_PORT, 4, 3, 3},   {ICMP_UNREACH_PORT, 6, 1, 4},  {ICMP_UNREACH_HOST, 4, 3, 1},
        {ICMP_UNREACH_HOST, 6, 1, 3},   {ICMP_UNREACH_NET, 4, 3, 0},   {ICMP_UNREACH_NET, 6, 1, 0},
        {ICMP_UNREACH_ADMIN, 4, 3, 13}, {ICMP_UNREACH_ADMIN, 6, 1, 1}, {ICMP_TOO_BIG, 4, 3, 4},
        {ICMP_TOO_BIG, 6, 2, 0},        {ICMP_PARAMETER, 4, 12, 2},    {ICMP_PARAMETER, 6, 4, 2},
        {ICMP_OTHER, 4, 99, 2},         {ICMP_OTHER, 6, 99, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct icmp_message m = {.kind = rows[i].kind, .type = 99, .code = 2};
        const struct ip_header ip = ends(rows[i].version);
        uint8_t wire[8];

        icmp_emit(wire, &ip, &m);
        assert_int_equal(wire[0], rows[i].type);
        assert_int_equal(wire[1], rows[i].code);
    }
    assert_false(icmp_is_error(ICMP_OTHER));
}

static void an_mtu_too_large_for_ipv4_is_written_as_the_largest(void **state)
{
    const struct icmp_message m = {.kind = ICMP_TOO_BIG, .mtu_bytes = 65536};
    const struct ip_header ip4 = ends(4), ip6 = ends(6);
    uint8_t wire[8];

    (void)state;
    icmp_emit(wire, &ip4, &m);
    assert_int_equal(get_be32(wire + 4), 65535);
    icmp_emit(wire, &ip6, &m);
    assert_int_equal(get_be32(wire + 4), 65536);
}

static void an_error_is_at_most_576_or_1280_octets(void **state)
{
    (void)state;
    assert_int_equal(icmp_quote_bytes(4, 28), 28);
    assert_int_equal(icmp_quote_bytes(4, 548), 548);
    assert_int_equal(icmp_quote_bytes(4, 549), 548);
    assert_int_equal(icmp_quote_bytes(4, 65535), 548);
    assert_int_equal(icmp_quote_bytes(6, 1232), 1232);
    assert_int_equal(icmp_quote_bytes(6, 1233), 1232);
}

static void any_octets_are_a_message_of_some_kind(void **state)
{
    struct random r = random_seeded("icmp");

    (void)state;
    for (int round = 0; round < 20000; round++) {
        const struct ip_header ip = ends(round % 2 ? 4 : 6);
        size_t n = 8 + random_below(&r, 20);
        struct icmp_message m;
        uint8_t wire[28], *copy;

        for (size_t i = 0; i < n; i++)
            wire[i] = (uint8_t)random_next(&r);
        copy = exact_copy(wire, n);
        assert_int_equal(icmp_parse(&m, &ip, copy, n, false), DROP_NONE);
        assert_true(m.kind <= ICMP_OTHER);
        assert_true(m.data + m.data_bytes == copy + n);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_shorter_than_their_header_are_refused),
        cmocka_unit_test(types_and_codes_of_icmp_have_their_kinds),
        cmocka_unit_test(types_and_codes_of_icmpv6_have_their_kinds),
        cmocka_unit_test(the_second_word_is_what_the_kind_makes_of_it),
        cmocka_unit_test(a_wrong_checksum_is_seen_where_it_is_asked_for),
        cmocka_unit_test(the_checksum_of_icmpv6_covers_the_addresses),
        cmocka_unit_test(every_kind_is_emitted_in_both_families_and_parses_to_itself),
        cmocka_unit_test(errors_are_emitted_with_the_numbers_of_their_rfcs),
        cmocka_unit_test(an_mtu_too_large_for_ipv4_is_written_as_the_largest),
        cmocka_unit_test(an_error_is_at_most_576_or_1280_octets),
        cmocka_unit_test(any_octets_are_a_message_of_some_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
