/* SPDX-License-Identifier: MIT */
/* spin: when to look again before blocking, and what it may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "sock/spin.h"

static void one_processor_is_never_spun_on(void **state)
{
    struct spin s;

    (void)state;
    spin_init(&s, 1);
    for (int i = 0; i < 200; i++)
        assert_false(spin_begins(&s));
}

static void as_long_as_something_comes_every_opportunity_is_taken(void **state)
{
    struct spin s;

    (void)state;
    spin_init(&s, 2);
    for (int i = 0; i < 200; i++) {
        assert_true(spin_begins(&s));
        spin_ended(&s, true);
    }
}

/* How many opportunities pass before the next one that is taken. */
static unsigned skipped(struct spin *s)
{
    unsigned n = 0;

    while (!spin_begins(s))
        n++;
    return n;
}

static void each_miss_in_a_row_doubles_what_is_let_pass_up_to_64(void **state)
{
    static const unsigned expected[] = {2, 4, 8, 16, 32, 64, 64, 64};
    struct spin s;

    (void)state;
    spin_init(&s, 2);
    assert_int_equal(skipped(&s), 0);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        spin_ended(&s, false);
        assert_int_equal(skipped(&s), expected[i]);
    }
}

static void one_success_ends_the_caution(void **state)
{
    struct spin s;

    (void)state;
    spin_init(&s, 2);
    assert_int_equal(skipped(&s), 0);
    spin_ended(&s, false);
    assert_int_equal(skipped(&s), 2);
    spin_ended(&s, false);
    assert_int_equal(skipped(&s), 4);
    spin_ended(&s, true);
    assert_int_equal(skipped(&s), 0);
    spin_ended(&s, false);
    assert_int_equal(skipped(&s), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_processor_is_never_spun_on),
        cmocka_unit_test(as_long_as_something_comes_every_opportunity_is_taken),
        cmocka_unit_test(each_miss_in_a_row_doubles_what_is_let_pass_up_to_64),
        cmocka_unit_test(one_success_ends_the_caution),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
