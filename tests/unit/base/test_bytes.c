/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"

static void integers_are_big_endian_at_any_alignment(void **state)
{
    uint8_t data[12];

    (void)state;
    for (size_t at = 0; at < 4; at++) {
        memset(data, 0, sizeof(data));
        put_be16(data + at, 0xfedc);
        put_be32(data + at + 2, 0x89abcdef);
        assert_memory_equal(data + at, "\xfe\xdc\x89\xab\xcd\xef", 6);
        assert_int_equal(data[at + 6], 0);
        assert_int_equal(get_be16(data + at), 0xfedc);
        assert_int_equal(get_be32(data + at + 2), 0x89abcdef);
    }
}

static void cursor_reads_in_order(void **state)
{
    struct bytes b = bytes_of("\x01\x02\x03\x04\x05\x06\x07xy", 9);

    (void)state;
    assert_int_equal(bytes_u8(&b), 0x01);
    assert_int_equal(bytes_be16(&b), 0x0203);
    assert_int_equal(bytes_be32(&b), 0x04050607);
    assert_int_equal(bytes_left(&b), 2);
    assert_memory_equal(bytes_take(&b, 2), "xy", 2);
    assert_int_equal(bytes_left(&b), 0);
    assert_false(b.bad);
}

static void read_past_the_end_gives_zero_and_says_so(void **state)
{
    struct bytes b = bytes_of("\x01\x02\x03", 3);

    (void)state;
    assert_int_equal(bytes_be32(&b), 0);
    assert_true(b.bad);
    assert_int_equal(bytes_left(&b), 0);
    assert_int_equal(bytes_u8(&b), 0);
    assert_int_equal(bytes_be16(&b), 0);
    assert_null(bytes_take(&b, SIZE_MAX));
    b = bytes_of(NULL, 0);
    assert_int_equal(bytes_u8(&b), 0);
    assert_true(b.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_big_endian_at_any_alignment),
        cmocka_unit_test(cursor_reads_in_order),
        cmocka_unit_test(read_past_the_end_gives_zero_and_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
