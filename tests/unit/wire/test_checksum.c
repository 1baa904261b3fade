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
#include "wire/checksum.h"
#include "wire/checksum_blocks.h"

enum { SHORT_BYTES = 300, ALIGNMENTS = 33, LARGE_BYTES = 1 << 20 };

/* The obvious loop: octet pairs, most significant first, with the carry brought back at once. */
static uint16_t model_sum(const uint8_t *data, size_t len_bytes)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len_bytes; i++) {
        sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
        if (sum > 0xffff)
            sum -= 0xffff;
    }
    return (uint16_t)sum;
}

static void random_fill(struct random *r, uint8_t *data, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++)
        data[i] = (uint8_t)random_next(r);
}

static void the_example_of_rfc_1071_gives_its_sum(void **state)
{
    const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

    (void)state;
    assert_int_equal(checksum_fold(checksum_add(0, data, sizeof(data))), 0xddf2);
    assert_int_equal(checksum_finish(checksum_add(0, data, sizeof(data))), 0x220d);
}

static void every_length_at_every_alignment_agrees_with_the_obvious_loop(void **state)
{
    struct random r = random_seeded("checksum");
    uint8_t data[SHORT_BYTES + ALIGNMENTS];

    (void)state;
    for (int fill = 0; fill < 3; fill++) {
        if (fill == 0)
            random_fill(&r, data, sizeof(data));
        else
            memset(data, fill == 1 ? 0xff : 0, sizeof(data));
        for (size_t at = 0; at < ALIGNMENTS; at++) {
            for (size_t n = 0; n <= SHORT_BYTES; n++) {
                uint8_t *copy = malloc(n + at + 1);

                assert_non_null(copy);
                memcpy(copy + at + 1, data, n);
                assert_int_equal(checksum_fold(checksum_add(0, copy + at + 1, n)),
                                 model_sum(data, n));
                free(copy);
            }
        }
    }
}

static void large_runs_agree_with_the_obvious_loop(void **state)
{
    static const size_t lengths[] = {1480, 4097, 65535, 65536, LARGE_BYTES - 63, LARGE_BYTES};
    struct random r = random_seeded("checksum");
    uint8_t *data = malloc(LARGE_BYTES);

    (void)state;
    assert_non_null(data);
    random_fill(&r, data, LARGE_BYTES);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        assert_int_equal(checksum_fold(checksum_add(0, data, lengths[i])),
                         model_sum(data, lengths[i]));
    memset(data, 0xff, LARGE_BYTES);
    assert_int_equal(checksum_fold(checksum_add(0, data, LARGE_BYTES)), 0xffff);
    free(data);
}

static void the_portable_blocks_and_those_of_this_processor_agree(void **state)
{
    struct random r = random_seeded("checksum");
    uint8_t data[CHECKSUM_BLOCK_BYTES * 20 + 1];

    (void)state;
    for (size_t blocks = 0; blocks <= 20; blocks++) {
        random_fill(&r, data, sizeof(data));
        assert_int_equal(checksum_blocks(data + 1, blocks), checksum_blocks16(data + 1, blocks));
    }
}

static void an_odd_piece_continues_in_the_middle_of_a_pair(void **state)
{
    struct random r = random_seeded("checksum");
    uint8_t data[SHORT_BYTES];

    (void)state;
    random_fill(&r, data, sizeof(data));
    for (size_t cut = 1; cut < sizeof(data); cut += 2) {
        uint64_t sum = checksum_add(0, data, cut);

        sum = checksum_add_odd(sum, data + cut, sizeof(data) - cut);
        assert_int_equal(checksum_fold(sum), model_sum(data, sizeof(data)));
    }
}

static void slices_of_any_length_sum_to_the_whole(void **state)
{
    struct random r = random_seeded("checksum");
    uint8_t data[SHORT_BYTES];
    adit_iov slices[17];

    (void)state;
    for (int round = 0; round < 2000; round++) {
        size_t at = 0;
        int count = 0;
        uint64_t start = random_next(&r) >> 32;

        random_fill(&r, data, sizeof(data));
        while (count < 16) {
            size_t n = random_below(&r, 30);

            slices[count++] = (adit_iov){data + at, n};
            at += n;
            if (at + 30 > sizeof(data))
                break;
        }
        slices[count++] = (adit_iov){NULL, 0};
        assert_int_equal(checksum_fold(checksum_add_iov(start, slices, count)),
                         checksum_fold(checksum_add(start, data, at)));
        assert_int_equal(checksum_fold(checksum_add_iov(0, slices, count)), model_sum(data, at));
    }
}

static void sums_may_be_added(void **state)
{
    const uint8_t ones[64] = {[0 ... 63] = 0xff}, data[] = {1, 2, 3, 4};
    uint64_t sum = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        sum += checksum_add(0, ones, sizeof(ones));
    sum += checksum_add(0, data, sizeof(data));
    assert_int_equal(checksum_fold(sum), 0x0406);
    assert_int_equal(checksum_fold(checksum_add(UINT64_MAX, data, sizeof(data))), 0x0406);
}

static void folding_keeps_zero_apart_from_its_negative(void **state)
{
    (void)state;
    assert_int_equal(checksum_fold(0), 0);
    assert_int_equal(checksum_fold(0xffff), 0xffff);
    assert_int_equal(checksum_fold(0xffffffff), 0xffff);
    assert_int_equal(checksum_fold(0x1fffffffe), 0xffff);
    assert_int_equal(checksum_fold(UINT64_MAX), 0xffff);
    assert_int_not_equal(checksum_fold(0xffffffffffff0001), 0); /* carries in each step */
    assert_int_equal(checksum_finish(0), 0xffff);
}

static void a_pseudo_header_of_ipv4_is_that_of_its_four_octets(void **state)
{
    const uint8_t src[16] = {[10] = 0xff, 0xff, 10, 0, 0, 2},
                  dst[16] = {[10] = 0xff, 0xff, 1, 2, 3, 4};
    const uint8_t wire[] = {10, 0, 0, 2, 1, 2, 3, 4, 0, 17, 0x12, 0x35};

    (void)state;
    assert_int_equal(checksum_fold(checksum_pseudo(src, dst, 17, 0x1235)),
                     model_sum(wire, sizeof(wire)));
}

static void a_pseudo_header_of_ipv6_has_a_length_of_32_bits(void **state)
{
    struct random r = random_seeded("checksum");
    uint8_t wire[40] = {0};

    (void)state;
    random_fill(&r, wire, 32);
    memcpy(wire + 32, "\x00\x12\x34\x57\x00\x00\x00\x3a", 8);
    assert_int_equal(checksum_fold(checksum_pseudo(wire, wire + 16, 58, 0x123457)),
                     model_sum(wire, sizeof(wire)));
}

static void an_update_gives_what_a_new_sum_would(void **state)
{
    struct random r = random_seeded("checksum");
    uint8_t data[40], fresh[20];

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t n = random_below(&r, 11) * 2;
        uint16_t field;

        random_fill(&r, data, sizeof(data));
        random_fill(&r, fresh, sizeof(fresh));
        if (round % 3 == 0)
            memset(fresh, round % 2 ? 0xff : 0, sizeof(fresh));
        field = checksum_finish(checksum_add(0, data, sizeof(data)));
        field = checksum_update(field, data + 10, fresh, n);
        memcpy(data + 10, fresh, n);
        assert_int_equal(field, (uint16_t)~model_sum(data, sizeof(data)));
    }
}

static void the_update_of_rfc_1624_section_4_avoids_its_negative_zero(void **state)
{
    const uint8_t old[] = {0x55, 0x55}, fresh[] = {0x32, 0x85};

    (void)state;
    assert_int_equal(checksum_update(0xdd2f, old, fresh, 2), 0x0000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_rfc_1071_gives_its_sum),
        cmocka_unit_test(every_length_at_every_alignment_agrees_with_the_obvious_loop),
        cmocka_unit_test(large_runs_agree_with_the_obvious_loop),
        cmocka_unit_test(the_portable_blocks_and_those_of_this_processor_agree),
        cmocka_unit_test(an_odd_piece_continues_in_the_middle_of_a_pair),
        cmocka_unit_test(slices_of_any_length_sum_to_the_whole),
        cmocka_unit_test(sums_may_be_added),
        cmocka_unit_test(folding_keeps_zero_apart_from_its_negative),
        cmocka_unit_test(a_pseudo_header_of_ipv4_is_that_of_its_four_octets),
        cmocka_unit_test(a_pseudo_header_of_ipv6_has_a_length_of_32_bits),
        cmocka_unit_test(an_update_gives_what_a_new_sum_would),
        cmocka_unit_test(the_update_of_rfc_1624_section_4_avoids_its_negative_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
