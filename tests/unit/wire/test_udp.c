/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "packets.h"
#include "wire/udp.h"

/* What becomes of `octets` octets that say they are `stated`. */
static enum drop verdict_on(uint16_t dst_port, uint16_t stated, size_t octets, uint16_t gso_bytes,
                            struct udp_header *h)
{
    uint8_t wire[64] = {0x14, 0xe9};
    uint8_t *copy;
    enum drop why;

    put_be16(wire + 2, dst_port);
    put_be16(wire + 4, stated);
    put_be16(wire + 6, 0xbeef);
    copy = exact_copy(wire, octets);
    why = udp_parse(h, copy, octets, gso_bytes);
    if (why == DROP_NONE)
        assert_true(h->data == copy + UDP_HEADER_BYTES);
    free(copy);
    return why;
}

static void a_datagram_gives_its_fields(void **state)
{
    struct udp_header h;

    (void)state;
    assert_int_equal(verdict_on(53, 12, 12, 0, &h), DROP_NONE);
    assert_int_equal(h.src_port, 5353);
    assert_int_equal(h.dst_port, 53);
    assert_int_equal(h.len_bytes, 12);
    assert_int_equal(h.checksum, 0xbeef);
    assert_int_equal(h.data_bytes, 4);
}

static void a_header_that_is_not_whole_is_refused(void **state)
{
    struct udp_header h;

    (void)state;
    for (size_t octets = 0; octets < UDP_HEADER_BYTES; octets++) {
        assert_int_equal(verdict_on(53, 8, octets, 0, &h), DROP_UDP_HEADER);
        assert_int_equal(verdict_on(53, 8, octets, 1000, &h), DROP_UDP_HEADER);
    }
    assert_int_equal(verdict_on(53, 8, 8, 0, &h), DROP_NONE);
    assert_int_equal(h.data_bytes, 0);
}

static void a_length_that_cannot_be_is_refused(void **state)
{
    struct udp_header h;

    (void)state;
    assert_int_equal(verdict_on(53, 0, 20, 0, &h), DROP_UDP_HEADER);
    assert_int_equal(verdict_on(53, 7, 20, 0, &h), DROP_UDP_HEADER);
    assert_int_equal(verdict_on(53, 21, 20, 0, &h), DROP_UDP_HEADER);
    assert_int_equal(verdict_on(53, 20, 20, 0, &h), DROP_NONE);
}

static void octets_behind_the_datagram_are_not_its_payload(void **state)
{
    struct udp_header h;

    (void)state;
    assert_int_equal(verdict_on(53, 10, 20, 0, &h), DROP_NONE);
    assert_int_equal(h.data_bytes, 2);
}

static void the_length_of_a_train_is_not_looked_at(void **state)
{
    static const uint16_t stated[] = {0, 7, 18, 60, 65535};
    struct udp_header h;

    (void)state;
    for (size_t i = 0; i < sizeof(stated) / sizeof(stated[0]); i++) {
        assert_int_equal(verdict_on(53, stated[i], 60, 10, &h), DROP_NONE);
        assert_int_equal(h.data_bytes, 52);
    }
}

static void port_0_is_allowed_as_source_only(void **state)
{
    const uint8_t wire[8] = {0, 0, 0, 53, 0, 8, 0, 0};
    struct udp_header h;

    (void)state;
    assert_int_equal(udp_parse(&h, wire, sizeof(wire), 0), DROP_NONE);
    assert_int_equal(verdict_on(0, 8, 8, 0, &h), DROP_UDP_HEADER);
    assert_int_equal(verdict_on(0, 8, 60, 10, &h), DROP_UDP_HEADER);
}

static void what_is_emitted_parses_to_the_same(void **state)
{
    uint8_t out[12];
    struct udp_header h;

    (void)state;
    udp_emit(out, 53, 5353, 4);
    assert_int_equal(udp_parse(&h, out, sizeof(out), 0), DROP_NONE);
    assert_int_equal(h.src_port, 53);
    assert_int_equal(h.dst_port, 5353);
    assert_int_equal(h.len_bytes, 12);
    assert_int_equal(h.checksum, 0);
}

static void a_payload_too_long_for_the_field_emits_a_length_of_zero(void **state)
{
    uint8_t out[8];

    (void)state;
    udp_emit(out, 53, 5353, 65527);
    assert_int_equal(get_be16(out + 4), 65535);
    udp_emit(out, 53, 5353, 65528);
    assert_int_equal(get_be16(out + 4), 0);
    udp_emit(out, 53, 5353, UINT32_MAX);
    assert_int_equal(get_be16(out + 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_gives_its_fields),
        cmocka_unit_test(a_header_that_is_not_whole_is_refused),
        cmocka_unit_test(a_length_that_cannot_be_is_refused),
        cmocka_unit_test(octets_behind_the_datagram_are_not_its_payload),
        cmocka_unit_test(the_length_of_a_train_is_not_looked_at),
        cmocka_unit_test(port_0_is_allowed_as_source_only),
        cmocka_unit_test(what_is_emitted_parses_to_the_same),
        cmocka_unit_test(a_payload_too_long_for_the_field_emits_a_length_of_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
