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
#include "wire/tcp.h"

/* A segment with the flags and options (a multiple of four octets), and "hello" as payload. */
struct tcp_rig {
    uint8_t data[128];
    size_t len_bytes;
    struct tcp_segment s;
};

static enum drop rig_parse(struct tcp_rig *r)
{
    uint8_t *copy = exact_copy(r->data, r->len_bytes);
    enum drop why = tcp_parse(&r->s, copy, r->len_bytes);

    if (why == DROP_NONE)
        assert_true(r->s.data + r->s.len_bytes == copy + r->len_bytes);
    free(copy);
    return why;
}

static struct tcp_rig rig_segment(uint8_t flags, const void *options, size_t options_bytes)
{
    struct tcp_rig r = {.len_bytes = 25 + options_bytes};

    put_be16(r.data, 40000);
    put_be16(r.data + 2, 443);
    put_be32(r.data + 4, 0xfffffff0);
    put_be32(r.data + 8, 0x01020304);
    r.data[12] = (uint8_t)((5 + options_bytes / 4) << 4 | 0xf); /* reserved bits are ignored */
    r.data[13] = flags;
    put_be16(r.data + 14, 64240);
    put_be16(r.data + 18, 99); /* so is the urgent pointer */
    memcpy(r.data + 20, options, options_bytes);
    memcpy(r.data + 20 + options_bytes, "hello", 5);
    return r;
}

static enum drop verdict_on_options(const void *options, size_t options_bytes)
{
    struct tcp_rig r = rig_segment(TCP_SYN, options, options_bytes);

    return rig_parse(&r);
}

static void a_segment_gives_its_fields(void **state)
{
    struct tcp_rig r = rig_segment(TCP_ACK | TCP_PSH | TCP_FIN, "", 0);

    (void)state;
    memset(&r.s, 0xff, sizeof(r.s));
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.s.src_port, 40000);
    assert_int_equal(r.s.dst_port, 443);
    assert_int_equal(r.s.seq, 0xfffffff0);
    assert_int_equal(r.s.ack, 0x01020304);
    assert_int_equal(r.s.flags, TCP_ACK | TCP_PSH | TCP_FIN);
    assert_int_equal(r.s.wnd, 64240);
    assert_int_equal(r.s.len_bytes, 5);
    assert_int_equal(r.s.gso_bytes, 0);
    assert_int_equal(tcp_segment_span(&r.s), 6);
    assert_false(r.s.has_ts || r.s.has_mss || r.s.has_wscale || r.s.sack_permitted);
    assert_int_equal(r.s.sacks_count, 0);
}

static void a_header_that_is_not_whole_is_refused(void **state)
{
    struct tcp_rig r = rig_segment(TCP_SYN, "\x02\x04\x05\xb4", 4);

    (void)state;
    r.len_bytes = 24;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.s.len_bytes, 0);
    while (r.len_bytes > 0) {
        r.len_bytes--;
        assert_int_equal(rig_parse(&r), DROP_TCP_HEADER);
    }
}

static void a_data_offset_below_5_is_refused(void **state)
{
    struct tcp_rig r = rig_segment(TCP_ACK, "", 0);

    (void)state;
    for (unsigned words = 0; words < 5; words++) {
        r.data[12] = (uint8_t)(words << 4);
        assert_int_equal(rig_parse(&r), DROP_TCP_HEADER);
    }
}

static void flags_that_cannot_be_are_refused(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 256; flags++) {
        struct tcp_rig r = rig_segment((uint8_t)flags, "", 0);
        bool none = (flags & 0x3f) == 0;
        bool torn = flags & TCP_SYN && flags & (TCP_FIN | TCP_RST);

        assert_int_equal(rig_parse(&r), none || torn ? DROP_TCP_FLAGS : DROP_NONE);
    }
}

static void port_0_is_refused(void **state)
{
    struct tcp_rig src = rig_segment(TCP_SYN, "", 0), dst = src;

    (void)state;
    put_be16(src.data, 0);
    put_be16(dst.data + 2, 0);
    assert_int_equal(rig_parse(&src), DROP_TCP_FLAGS);
    assert_int_equal(rig_parse(&dst), DROP_TCP_FLAGS);
}

static void the_options_of_a_syn_are_taken(void **state)
{
    struct tcp_rig r = rig_segment(
        TCP_SYN, "\x02\x04\x05\xb4\x04\x02\x08\x0a\x00\x00\x00\x01\x00\x00\x00\x02\x01\x03\x03\x07",
        20);

    (void)state;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_true(r.s.has_mss && r.s.has_ts && r.s.has_wscale && r.s.sack_permitted);
    assert_int_equal(r.s.mss_bytes, 1460);
    assert_int_equal(r.s.ts_val, 1);
    assert_int_equal(r.s.ts_ecr, 2);
    assert_int_equal(r.s.wscale_log2, 7);
}

static void options_of_a_syn_on_another_segment_are_left_out(void **state)
{
    struct tcp_rig r = rig_segment(TCP_ACK, "\x02\x04\x05\xb4\x04\x02\x01\x01\x01\x03\x03\x07", 12);

    (void)state;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_false(r.s.has_mss || r.s.has_wscale || r.s.sack_permitted);
    assert_int_equal(r.s.mss_bytes, 0);
    assert_int_equal(r.s.wscale_log2, 0);
}

static void an_mss_of_zero_is_none(void **state)
{
    struct tcp_rig zero = rig_segment(TCP_SYN, "\x02\x04\x00\x00", 4);
    struct tcp_rig one = rig_segment(TCP_SYN, "\x02\x04\x00\x01", 4);

    (void)state;
    assert_int_equal(rig_parse(&zero), DROP_NONE);
    assert_false(zero.s.has_mss);
    assert_int_equal(rig_parse(&one), DROP_NONE);
    assert_true(one.s.has_mss);
}

static void a_window_scale_is_at_most_14(void **state)
{
    static const uint8_t given[] = {0, 13, 14, 15, 255}, taken[] = {0, 13, 14, 14, 14};

    (void)state;
    for (size_t i = 0; i < sizeof(given); i++) {
        const uint8_t option[] = {1, 3, 3, given[i]};
        struct tcp_rig r = rig_segment(TCP_SYN | TCP_ACK, option, 4);

        assert_int_equal(rig_parse(&r), DROP_NONE);
        assert_true(r.s.has_wscale);
        assert_int_equal(r.s.wscale_log2, taken[i]);
    }
}

static void up_to_four_sack_blocks_are_taken(void **state)
{
    uint8_t options[36] = {1, 1, 5, 2};

    (void)state;
    for (unsigned i = 0; i < 8; i++)
        put_be32(options + 4 + 4 * i, 100 * (i + 1));
    for (unsigned n = 0; n <= TCP_SACKS_MAX; n++) {
        struct tcp_rig r;

        options[3] = (uint8_t)(2 + 8 * n);
        r = rig_segment(TCP_ACK, options, 4 + 8 * n);
        assert_int_equal(rig_parse(&r), DROP_NONE);
        assert_int_equal(r.s.sacks_count, n);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(r.s.sacks[i].from, 200 * i + 100);
            assert_int_equal(r.s.sacks[i].to, 200 * i + 200);
        }
    }
}

static void empty_sack_blocks_and_those_of_a_syn_are_left_out(void **state)
{
    const uint8_t options[20] = {1, 1, 5, 18, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9};
    struct tcp_rig r = rig_segment(TCP_ACK, options, 20), syn = rig_segment(TCP_SYN, options, 20);

    (void)state;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.s.sacks_count, 1);
    assert_int_equal(r.s.sacks[0].from, 8);
    assert_int_equal(r.s.sacks[0].to, 9);
    assert_int_equal(rig_parse(&syn), DROP_NONE);
    assert_int_equal(syn.s.sacks_count, 0);
}

static void options_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    assert_int_equal(verdict_on_options("\x02\x00\x05\xb4", 4), DROP_TCP_OPTIONS);
    assert_int_equal(verdict_on_options("\x02\x01\x05\xb4", 4), DROP_TCP_OPTIONS);
    assert_int_equal(verdict_on_options("\x02\x05\x05\xb4", 4), DROP_TCP_OPTIONS);
    assert_int_equal(verdict_on_options("\x01\x02\x04\x05", 4), DROP_TCP_OPTIONS);
    assert_int_equal(verdict_on_options("\x01\x01\x01\x08", 4), DROP_TCP_OPTIONS);
    assert_int_equal(verdict_on_options("\xfe\xff\x00\x00", 4), DROP_TCP_OPTIONS);
}

static void unknown_options_and_what_lies_behind_the_end_are_skipped(void **state)
{
    struct tcp_rig r = rig_segment(TCP_SYN, "\xfe\x04\x00\x00\x02\x04\x00\x64", 8);

    (void)state;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.s.mss_bytes, 100);
    assert_int_equal(verdict_on_options("\x01\x01\xfe\x02", 4), DROP_NONE);
    assert_int_equal(verdict_on_options("\x00\x02\x00\xff", 4), DROP_NONE);
}

static void known_options_of_another_length_are_skipped(void **state)
{
    struct tcp_rig r = rig_segment(
        TCP_SYN, "\x02\x03\x05\x03\x02\x04\x03\x00\x08\x09\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01",
        20);
    struct tcp_rig sack = rig_segment(TCP_ACK, "\x05\x0c\0\0\0\1\0\0\0\2\0\0\x08\x03\1\1", 16);

    (void)state;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_false(r.s.has_mss || r.s.has_ts || r.s.has_wscale || r.s.sack_permitted);
    assert_int_equal(rig_parse(&sack), DROP_NONE);
    assert_int_equal(sack.s.sacks_count, 0);
    assert_false(sack.s.has_ts);
}

static void of_an_option_given_twice_the_last_counts(void **state)
{
    struct tcp_rig r = rig_segment(TCP_SYN, "\x02\x04\x00\x01\x02\x04\x00\x02", 8);

    (void)state;
    assert_int_equal(rig_parse(&r), DROP_NONE);
    assert_int_equal(r.s.mss_bytes, 2);
}

static void broken_segments_are_refused_or_make_sense(void **state)
{
    struct random random = random_seeded("tcp");

    (void)state;
    for (int round = 0; round < 40000; round++) {
        struct tcp_rig r = rig_segment(TCP_SYN, "", 0);

        r.len_bytes = random_below(&random, 100);
        for (size_t i = 20; i < sizeof(r.data); i++)
            r.data[i] = (uint8_t)random_below(&random, random_below(&random, 2) ? 12 : 256);
        r.data[12] = (uint8_t)random_next(&random);
        r.data[13] = (uint8_t)random_next(&random);
        if (rig_parse(&r) != DROP_NONE)
            continue;
        assert_true(r.s.wscale_log2 <= TCP_WSCALE_MAX);
        assert_true(r.s.sacks_count <= TCP_SACKS_MAX);
        assert_true(r.s.len_bytes + TCP_HEADER_BYTES <= r.len_bytes);
    }
}

/* ------------------------------------------------------------------------------------------ emit -- */

static void an_acknowledgment_with_timestamps_is_as_linux_writes_it(void **state)
{
    const struct tcp_segment s = {.src_port = 443,
                                  .dst_port = 40000,
                                  .seq = 1,
                                  .ack = 0x01020304,
                                  .wnd = 501,
                                  .flags = TCP_ACK,
                                  .has_ts = true,
                                  .ts_val = 5,
                                  .ts_ecr = 9};
    const uint8_t wire[] = {1, 0xbb, 0x9c, 0x40, 0, 0, 0, 1,  1, 2, 3, 4, 0x80, 0x10, 1, 0xf5,
                            0, 0,    0,    0,    1, 1, 8, 10, 0, 0, 0, 5, 0,    0,    0, 9};
    uint8_t out[TCP_HEADER_BYTES_MAX];

    (void)state;
    memset(out, 0xee, sizeof(out));
    assert_int_equal(tcp_emit(out, &s), sizeof(wire));
    assert_memory_equal(out, wire, sizeof(wire));
}

static void a_syn_carries_its_options_in_the_order_of_linux(void **state)
{
    const struct tcp_segment s = {.flags = TCP_SYN,
                                  .has_mss = true,
                                  .mss_bytes = 1460,
                                  .sack_permitted = true,
                                  .has_ts = true,
                                  .ts_val = 1,
                                  .has_wscale = true,
                                  .wscale_log2 = 7};
    const uint8_t options[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};
    uint8_t out[TCP_HEADER_BYTES_MAX];

    (void)state;
    assert_int_equal(tcp_emit(out, &s), 40);
    assert_memory_equal(out + 20, options, sizeof(options));
    assert_int_equal(out[12], 0xa0);
}

static void sack_blocks_go_out_as_room_permits(void **state)
{
    static const struct {
        bool ts, all;
        unsigned given, sent;
    } rows[] = {{false, false, 4, 4}, {false, false, 1, 1}, {true, false, 3, 3},
                {true, false, 4, 3},  {true, true, 4, 2},   {true, true, 1, 1}};
    uint8_t out[TCP_HEADER_BYTES_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tcp_segment s = {.src_port = 1,
                                .dst_port = 2,
                                .flags = TCP_ACK,
                                .has_ts = rows[i].ts,
                                .sacks = {{1, 2}, {3, 4}, {5, 6}, {7, 8}}};
        struct tcp_segment back;
        size_t header_bytes;

        s.has_mss = s.sack_permitted = s.has_wscale = rows[i].all;
        s.sacks_count = (uint8_t)rows[i].given;
        header_bytes = tcp_emit(out, &s);
        assert_int_equal(tcp_parse(&back, out, header_bytes), DROP_NONE);
        assert_int_equal(back.sacks_count, rows[i].sent);
        assert_memory_equal(back.sacks, s.sacks, rows[i].sent * sizeof(s.sacks[0]));
    }
}

/* Every combination of options, with every number of SACK blocks. */
static void whatever_is_emitted_parses_to_the_same(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 16 * 5 * 2; bits++) {
        struct tcp_segment s = {.src_port = 1,
                                .dst_port = 2,
                                .seq = 3,
                                .ack = 4,
                                .wnd = 5,
                                .flags = bits < 80 ? TCP_SYN | TCP_ECE | TCP_CWR
                                                   : TCP_ACK | TCP_FIN | TCP_URG | TCP_PSH,
                                .has_mss = bits & 1,
                                .has_ts = bits & 2,
                                .has_wscale = bits & 4,
                                .sack_permitted = bits & 8,
                                .mss_bytes = 1220,
                                .ts_val = 0x01020304,
                                .ts_ecr = 0xf5f6f7f8,
                                .wscale_log2 = 14,
                                .sacks_count = (uint8_t)(bits / 16 % 5),
                                .sacks = {{1, 2}, {3, 4}, {5, 6}, {7, 8}}};
        uint8_t *out = exact_copy(samples[0].data, TCP_HEADER_BYTES_MAX);
        size_t header_bytes = tcp_emit(out, &s);
        bool syn = s.flags & TCP_SYN;
        struct tcp_segment back;

        assert_int_equal(header_bytes, tcp_emit_bytes(&s));
        assert_true(header_bytes % 4 == 0 && header_bytes <= TCP_HEADER_BYTES_MAX);
        assert_int_equal(get_be32(out + 16), 0);
        assert_int_equal(tcp_parse(&back, out, header_bytes), DROP_NONE);
        assert_int_equal(back.flags, s.flags);
        assert_int_equal(back.seq, 3);
        assert_int_equal(back.ack, 4);
        assert_int_equal(back.wnd, 5);
        assert_int_equal(back.has_ts, s.has_ts);
        assert_int_equal(back.ts_val, s.has_ts ? s.ts_val : 0);
        assert_int_equal(back.ts_ecr, s.has_ts ? s.ts_ecr : 0);
        assert_int_equal(back.has_mss, syn && s.has_mss);
        assert_int_equal(back.mss_bytes, syn && s.has_mss ? s.mss_bytes : 0);
        assert_int_equal(back.has_wscale, syn && s.has_wscale);
        assert_int_equal(back.sack_permitted, syn && s.sack_permitted);
        assert_true(back.sacks_count <= s.sacks_count);
        assert_true(syn ? back.sacks_count == 0 : s.sacks_count == 0 || back.sacks_count > 0);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_gives_its_fields),
        cmocka_unit_test(a_header_that_is_not_whole_is_refused),
        cmocka_unit_test(a_data_offset_below_5_is_refused),
        cmocka_unit_test(flags_that_cannot_be_are_refused),
        cmocka_unit_test(port_0_is_refused),
        cmocka_unit_test(the_options_of_a_syn_are_taken),
        cmocka_unit_test(options_of_a_syn_on_another_segment_are_left_out),
        cmocka_unit_test(an_mss_of_zero_is_none),
        cmocka_unit_test(a_window_scale_is_at_most_14),
        cmocka_unit_test(up_to_four_sack_blocks_are_taken),
        cmocka_unit_test(empty_sack_blocks_and_those_of_a_syn_are_left_out),
        cmocka_unit_test(options_that_do_not_fit_are_refused),
        cmocka_unit_test(unknown_options_and_what_lies_behind_the_end_are_skipped),
        cmocka_unit_test(known_options_of_another_length_are_skipped),
        cmocka_unit_test(of_an_option_given_twice_the_last_counts),
        cmocka_unit_test(broken_segments_are_refused_or_make_sense),
        cmocka_unit_test(an_acknowledgment_with_timestamps_is_as_linux_writes_it),
        cmocka_unit_test(a_syn_carries_its_options_in_the_order_of_linux),
        cmocka_unit_test(sack_blocks_go_out_as_room_permits),
        cmocka_unit_test(whatever_is_emitted_parses_to_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
