/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/log.h"

struct seen {
    int count, level;
    uint64_t flow;
    char text[256];
};

static void see(void *ctx, const adit_log_record *r)
{
    struct seen *s = ctx;

    s->count++;
    s->level = r->level;
    s->flow = r->flow;
    snprintf(s->text, sizeof(s->text), "%s: %s", r->module, r->msg);
    for (size_t i = 0; i < r->kv_count; i += 2) {
        size_t at = strlen(s->text);

        snprintf(s->text + at, sizeof(s->text) - at, " %s=%s", r->kv[i], r->kv[i + 1]);
    }
}

static void record_arrives_with_its_pairs(void **state)
{
    struct seen s = {0};
    const struct log l = {.fn = see, .ctx = &s, .level = ADIT_LOG_INFO};

    (void)state;
    log_write(&l, ADIT_LOG_WARN, "tun", 7, "queue is full", "device", "adit0", "len", "500", NULL);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.level, ADIT_LOG_WARN);
    assert_int_equal(s.flow, 7);
    assert_string_equal(s.text, "tun: queue is full device=adit0 len=500");
    log_write(&l, ADIT_LOG_INFO, "tun", 0, "no pairs", NULL);
    assert_string_equal(s.text, "tun: no pairs");
}

static void record_above_the_level_is_not_made(void **state)
{
    struct seen s = {0};
    const struct log l = {.fn = see, .ctx = &s, .level = ADIT_LOG_INFO}, silent = {.level = ADIT_LOG_TRACE};

    (void)state;
    log_write(&l, ADIT_LOG_DEBUG, "tun", 0, "detail", NULL);
    assert_int_equal(s.count, 0);
    log_write(&silent, ADIT_LOG_ERROR, "tun", 0, "nobody listens", NULL);
}

static void pairs_beyond_the_limit_are_left_out(void **state)
{
    struct seen s = {0};
    const struct log l = {.fn = see, .ctx = &s, .level = ADIT_LOG_INFO};

    (void)state;
    log_write(&l, ADIT_LOG_INFO, "m", 0, "x", "1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "", "8", "",
        "9", "", "10", "", "11", "", "12", "", "13", "", "14", "", "15", "", "16", "", "17", "", NULL);
    assert_non_null(strstr(s.text, " 16="));
    assert_null(strstr(s.text, " 17="));
}

static void limit_lets_a_burst_through_and_then_one_a_second(void **state)
{
    const uint64_t second_ns = 1000000000;
    struct log_limit r = {.burst = 3};
    uint64_t now_ns = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(log_limit_allows(&r, now_ns));
    assert_false(log_limit_allows(&r, now_ns));
    assert_false(log_limit_allows(&r, now_ns + second_ns / 2));
    assert_int_equal(r.suppressed, 2);
    now_ns += second_ns + second_ns / 2;
    assert_true(log_limit_allows(&r, now_ns));
    assert_false(log_limit_allows(&r, now_ns));
    assert_true(log_limit_allows(&r, 2 * second_ns + 1)); /* the half second before counts */
    now_ns = 1000 * second_ns;
    for (int i = 0; i < 3; i++)
        assert_true(log_limit_allows(&r, now_ns));
    assert_false(log_limit_allows(&r, now_ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_arrives_with_its_pairs),
        cmocka_unit_test(record_above_the_level_is_not_made),
        cmocka_unit_test(pairs_beyond_the_limit_are_left_out),
        cmocka_unit_test(limit_lets_a_burst_through_and_then_one_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
