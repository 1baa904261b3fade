/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "wire/drop.h"

static void every_reason_has_a_name_of_its_own_and_a_text(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DROP_COUNT; i++) {
        assert_non_null(drop_name(i));
        assert_non_null(drop_text(i));
        assert_true(strlen(drop_text(i)) > 0);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(drop_name(i), drop_name(j));
    }
    assert_string_equal(drop_name(DROP_NONE), "none");
    assert_string_equal(drop_name(DROP_IP_TTL), "ip_ttl");
    assert_string_equal(drop_text(DROP_IP_TTL), "TTL or hop limit of zero");
}

static void what_is_no_reason_has_neither(void **state)
{
    (void)state;
    assert_null(drop_name(DROP_COUNT));
    assert_null(drop_text(DROP_COUNT));
    assert_null(drop_name(UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_a_name_of_its_own_and_a_text),
        cmocka_unit_test(what_is_no_reason_has_neither),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
