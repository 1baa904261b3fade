/* SPDX-License-Identifier: MIT */
/* spin: when to look again before blocking, and what it may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "sock/spin.h"

static void where_it_is_not_possible_no_opportunity_is_taken(void **state)
{
    struct spin s;

    (void)state;
    spin_init(&s, false);
    for (int i = 0; i < 200; i++)
        assert_false(spin_begins(&s));
}

static void as_long_as_something_comes_every_opportunity_is_taken(void **state)
{
    struct spin s;

    (void)state;
    spin_init(&s, true);
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
    spin_init(&s, true);
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
    spin_init(&s, true);
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

static void a_wait_that_a_longer_window_would_have_covered_doubles_it_up_to_the_longest(void **state)
{
    struct spin s;

    (void)state;
    spin_init(&s, true);
    assert_int_equal(s.window_ns, SPIN_MIN_NS);
    spin_blocked(&s, SPIN_MIN_NS);
    assert_int_equal(s.window_ns, SPIN_MIN_NS);
    spin_blocked(&s, SPIN_MIN_NS + 1);
    assert_int_equal(s.window_ns, 2 * SPIN_MIN_NS);
    spin_blocked(&s, 2 * SPIN_MIN_NS);
    assert_int_equal(s.window_ns, 2 * SPIN_MIN_NS);
    spin_blocked(&s, SPIN_MAX_NS);
    spin_blocked(&s, SPIN_MAX_NS);
    assert_int_equal(s.window_ns, SPIN_MAX_NS);
}

static void a_wait_that_none_would_have_covered_takes_the_window_back(void **state)
{
    struct spin s;

    (void)state;
    spin_init(&s, true);
    spin_blocked(&s, SPIN_MAX_NS);
    spin_blocked(&s, SPIN_MAX_NS + 1);
    assert_int_equal(s.window_ns, SPIN_MIN_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_it_is_not_possible_no_opportunity_is_taken),
        cmocka_unit_test(as_long_as_something_comes_every_opportunity_is_taken),
        cmocka_unit_test(each_miss_in_a_row_doubles_what_is_let_pass_up_to_64),
        cmocka_unit_test(one_success_ends_the_caution),
        cmocka_unit_test(a_wait_that_a_longer_window_would_have_covered_doubles_it_up_to_the_longest),
        cmocka_unit_test(a_wait_that_none_would_have_covered_takes_the_window_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
