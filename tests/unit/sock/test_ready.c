/* SPDX-License-Identifier: MIT */
/* The wait of the readiness set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <uv.h>
#include "sock/ready.h"

/* The least of 20, since the processor may be somebody else's. */
static void a_wait_of_a_quarter_of_a_millisecond_is_not_a_whole_one(void **state)
{
    struct ready r;
    struct ready_event e;
    uint64_t least_ns = UINT64_MAX;

    (void)state;
    assert_int_equal(ready_open(&r), 0);
    for (int i = 0; i < 20; i++) {
        uint64_t began_ns = uv_hrtime(), took_ns;

        assert_int_equal(ready_wait(&r, &e, 1, 250000), 0);
        took_ns = uv_hrtime() - began_ns;
        assert_true(took_ns >= 250000);
        least_ns = took_ns < least_ns ? took_ns : least_ns;
    }
    if (!r.is_coarse)
        assert_true(least_ns < 1000000);
    ready_close(&r);
}

static void a_coarse_wait_is_rounded_up_to_milliseconds(void **state)
{
    struct ready r;
    struct ready_event e;
    uint64_t began_ns = uv_hrtime();

    (void)state;
    assert_int_equal(ready_open(&r), 0);
    r.is_coarse = true;
    assert_int_equal(ready_wait(&r, &e, 1, 250000), 0);
    assert_true(uv_hrtime() - began_ns >= 900000);
    ready_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_of_a_quarter_of_a_millisecond_is_not_a_whole_one),
        cmocka_unit_test(a_coarse_wait_is_rounded_up_to_milliseconds),
    };

    return cmocka_run_group_tests_name("ready", tests, NULL, NULL);
}
