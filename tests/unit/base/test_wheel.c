/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../random.h"
#include "base/wheel.h"

enum { MS = 1000000 };
#define DAY_NS (86400 * 1000 * (uint64_t)MS)

static struct wheel w;
static struct wheel_timer a, b;

static int setup(void **state)
{
    (void)state;
    wheel_init(&w, 5 * MS + 1);
    wheel_timer_init(&a);
    wheel_timer_init(&b);
    return 0;
}

static void timer_fires_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    wheel_set(&w, &a, 300 * MS);
    assert_null(wheel_expire(&w, 300 * MS - 1));
    assert_true(wheel_is_running(&a));
    assert_ptr_equal(wheel_expire(&w, 300 * MS), &a);
    assert_false(wheel_is_running(&a));
    assert_null(wheel_expire(&w, 400 * MS));
}

static void deadline_in_the_past_fires_at_once(void **state)
{
    (void)state;
    assert_null(wheel_expire(&w, 77 * MS + 5));
    wheel_set(&w, &a, 3);
    wheel_set(&w, &b, 77 * MS);
    assert_true(wheel_next_ns(&w) <= 77 * MS + 5);
    assert_non_null(wheel_expire(&w, 77 * MS + 5));
    assert_non_null(wheel_expire(&w, 77 * MS + 5));
    assert_null(wheel_expire(&w, 77 * MS + 5));
    assert_int_equal(w.count, 0);
}

static void moving_later_leaves_the_timer_where_it_is_linked(void **state)
{
    uint64_t linked_ns;

    (void)state;
    wheel_set(&w, &a, 10 * MS);
    linked_ns = a.linked_ns;
    wheel_set(&w, &a, 500 * MS);
    assert_int_equal(a.linked_ns, linked_ns);
    wheel_set(&w, &a, 400 * MS); /* earlier than before, later than the link */
    assert_int_equal(a.linked_ns, linked_ns);
    assert_null(wheel_expire(&w, 399 * MS));
    assert_ptr_equal(wheel_expire(&w, 400 * MS), &a);
}

static void moving_earlier_fires_earlier(void **state)
{
    (void)state;
    wheel_set(&w, &a, 90000 * (uint64_t)MS);
    wheel_set(&w, &a, 8 * MS);
    assert_ptr_equal(wheel_expire(&w, 8 * MS), &a);
    assert_int_equal(wheel_next_ns(&w), WHEEL_NEVER);
}

static void stopped_timer_does_not_fire(void **state)
{
    (void)state;
    wheel_stop(&w, &a);
    wheel_set(&w, &a, 8 * MS);
    wheel_set(&w, &b, 8 * MS);
    wheel_stop(&w, &a);
    wheel_set(&w, &b, WHEEL_NEVER);
    assert_false(wheel_is_running(&b));
    assert_int_equal(wheel_next_ns(&w), WHEEL_NEVER);
    assert_null(wheel_expire(&w, DAY_NS));
    assert_int_equal(w.count, 0);
}

static void deadline_beyond_the_wheel_waits_for_its_day(void **state)
{
    (void)state;
    wheel_set(&w, &a, 200 * DAY_NS);
    assert_null(wheel_expire(&w, 199 * DAY_NS));
    assert_ptr_equal(wheel_expire(&w, 200 * DAY_NS), &a);
    wheel_set(&w, &a, WHEEL_NEVER - 1);
    assert_null(wheel_expire(&w, 20000 * DAY_NS));
    wheel_stop(&w, &a);
}

static void next_is_exact_within_level_0(void **state)
{
    (void)state;
    assert_int_equal(wheel_next_ns(&w), WHEEL_NEVER);
    wheel_set(&w, &a, 5 * MS + 254 * WHEEL_TICK_NS + 1);
    assert_int_equal(wheel_next_ns(&w), 5 * MS + 255 * WHEEL_TICK_NS);
    wheel_set(&w, &b, 7 * MS);
    assert_int_equal(wheel_next_ns(&w), 7 * MS);
}

/* ------------------------------------------------------------------------ against a slow model -- */

enum { MODEL_TIMERS = 200 };

struct model {
    struct wheel_timer timer[MODEL_TIMERS];
    uint64_t deadline_ns[MODEL_TIMERS]; /* WHEEL_NEVER: stopped */
};

static uint64_t random_delay_ns(struct random *r)
{
    /* All scales alike, from nanoseconds to a year. */
    return random_next(r) >> (8 + random_below(r, 56));
}

static uint64_t model_next_ns(const struct model *m)
{
    uint64_t next_ns = WHEEL_NEVER;

    for (int i = 0; i < MODEL_TIMERS; i++) {
        if (m->deadline_ns[i] < next_ns)
            next_ns = m->deadline_ns[i];
    }
    return next_ns;
}

static void model_change(struct model *m, struct random *r, uint64_t now_ns)
{
    uint64_t i = random_below(r, MODEL_TIMERS);

    if (random_below(r, 4) == 0) {
        wheel_stop(&w, &m->timer[i]);
        m->deadline_ns[i] = WHEEL_NEVER;
        return;
    }
    m->deadline_ns[i] = now_ns + random_delay_ns(r);
    if (random_below(r, 10) == 0)
        m->deadline_ns[i] = random_below(r, now_ns);
    wheel_set(&w, &m->timer[i], m->deadline_ns[i]);
}

/* Nothing early; afterwards nothing left that was due a tick ago. */
static void model_expire(struct model *m, uint64_t now_ns)
{
    struct wheel_timer *t;

    while ((t = wheel_expire(&w, now_ns))) {
        ptrdiff_t i = t - m->timer;

        assert_true(i >= 0 && i < MODEL_TIMERS);
        assert_true(m->deadline_ns[i] <= now_ns);
        assert_false(wheel_is_running(t));
        m->deadline_ns[i] = WHEEL_NEVER;
    }
    assert_true(model_next_ns(m) > now_ns - now_ns % WHEEL_TICK_NS);
}

static void wheel_agrees_with_a_slow_model(void **state)
{
    struct random r = random_seeded("wheel");
    uint64_t now_ns = random_next(&r) >> 8;
    static struct model m;

    (void)state;
    wheel_init(&w, now_ns);
    for (int i = 0; i < MODEL_TIMERS; i++) {
        wheel_timer_init(&m.timer[i]);
        m.deadline_ns[i] = WHEEL_NEVER;
    }
    for (int step = 0; step < 60000; step++) {
        uint64_t next_ns, due_ns;

        model_change(&m, &r, now_ns);
        next_ns = wheel_next_ns(&w);
        due_ns = model_next_ns(&m);
        if (due_ns == WHEEL_NEVER)
            assert_int_equal(next_ns, WHEEL_NEVER);
        else
            assert_true(next_ns <= now_ns || next_ns < due_ns + WHEEL_TICK_NS);
        switch (random_below(&r, 8)) {
        case 0: /* as an event loop does: sleep until the wheel says so */
            if (next_ns != WHEEL_NEVER && next_ns > now_ns)
                now_ns = next_ns;
            break;
        case 1:
            now_ns += random_delay_ns(&r) >> 12;
            break;
        default:
            now_ns += random_below(&r, 3 * MS);
        }
        model_expire(&m, now_ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timer_fires_at_its_deadline_and_not_before, setup),
        cmocka_unit_test_setup(deadline_in_the_past_fires_at_once, setup),
        cmocka_unit_test_setup(moving_later_leaves_the_timer_where_it_is_linked, setup),
        cmocka_unit_test_setup(moving_earlier_fires_earlier, setup),
        cmocka_unit_test_setup(stopped_timer_does_not_fire, setup),
        cmocka_unit_test_setup(deadline_beyond_the_wheel_waits_for_its_day, setup),
        cmocka_unit_test_setup(next_is_exact_within_level_0, setup),
        cmocka_unit_test(wheel_agrees_with_a_slow_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
