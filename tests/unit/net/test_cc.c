/* SPDX-License-Identifier: MIT */
/* test_cc: congestion control by itself: growth, reduction, and that no length of time or pattern of ACKs takes cwnd out of its
 * bounds (RFC 5681, 6928, 9438). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "net/cc.h"

enum { MSS = 1460 };
#define RTT_NS 20000000ull
#define SECOND 1000000000ull

static const struct cc_ops *const all[] = {&cc_reno, &cc_cubic};

static void the_first_window_is_ten_segments_or_14600_octets(void **state)
{
    (void)state;
    assert_int_equal(cc_initial_bytes(1460), 14600);
    assert_int_equal(cc_initial_bytes(536), 5360);
    assert_int_equal(cc_initial_bytes(9000), 18000);
}

static void slow_start_doubles_the_window_each_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct cc cc;

        cc_init(&cc, all[i], MSS);
        cc.ops->acked(&cc, 10 * MSS, RTT_NS, SECOND);
        assert_int_equal(cc.cwnd_bytes, 20 * MSS);
    }
}

static void a_loss_halves_reno_and_leaves_seven_tenths_to_cubic(void **state)
{
    struct cc cc;

    (void)state;
    cc_init(&cc, &cc_reno, MSS);
    cc.ops->congestion(&cc, SECOND);
    assert_int_equal(cc.ssthresh_bytes, 5 * MSS);
    cc_init(&cc, &cc_cubic, MSS);
    cc.ops->congestion(&cc, SECOND);
    assert_int_equal(cc.ssthresh_bytes, 7 * MSS);
}

static void no_loss_takes_ssthresh_below_two_segments(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct cc cc;

        cc_init(&cc, all[i], MSS);
        for (int n = 0; n < 100; n++) {
            cc.ops->congestion(&cc, SECOND);
            cc.cwnd_bytes = cc.ssthresh_bytes;
        }
        assert_int_equal(cc.ssthresh_bytes, 2 * MSS);
    }
}

static void reno_grows_by_one_segment_each_round_trip_after_a_loss(void **state)
{
    struct cc cc;

    (void)state;
    cc_init(&cc, &cc_reno, MSS);
    cc.cwnd_bytes = cc.ssthresh_bytes = 20 * MSS;
    for (int n = 0; n < 20; n++)
        cc.ops->acked(&cc, MSS, RTT_NS, SECOND);
    assert_in_range(cc.cwnd_bytes, 20 * MSS + MSS * 9 / 10, 21 * MSS);
}

static void cubic_is_back_at_the_old_window_after_k_seconds_and_not_before(void **state)
{
    struct cc cc;
    uint64_t now_ns = SECOND;
    uint32_t at_half = 0;

    (void)state;
    cc_init(&cc, &cc_cubic, MSS);
    cc.cwnd_bytes = 1000 * MSS;
    cc.ops->congestion(&cc, now_ns);
    cc.cwnd_bytes = cc.ssthresh_bytes;
    /* K = cbrt(1000 * 0.3 / 0.4) = 9.09 s */
    for (int n = 0; n < 455; n++) {
        now_ns += RTT_NS;
        cc.ops->acked(&cc, cc.cwnd_bytes, RTT_NS, now_ns);
        if (n == 225)
            at_half = cc.cwnd_bytes;
    }
    assert_in_range(at_half, 900 * MSS, 980 * MSS); /* concave: most of it in the first half */
    assert_in_range(cc.cwnd_bytes, 980 * MSS, 1030 * MSS);
}

static void an_idle_sender_starts_from_the_initial_window_and_remembers(void **state)
{
    struct cc cc;

    (void)state;
    cc_init(&cc, &cc_cubic, MSS);
    cc.cwnd_bytes = 100 * MSS;
    cc.ssthresh_bytes = 50 * MSS;
    cc_idle(&cc);
    assert_int_equal(cc.cwnd_bytes, 10 * MSS);
    assert_int_equal(cc.ssthresh_bytes, 75 * MSS);
}

static void months_of_acks_losses_and_silence_keep_the_window_in_its_bounds(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        uint64_t now_ns = SECOND, x = 88172645463325252ull; /* xorshift64 */
        struct cc cc;

        cc_init(&cc, all[i], MSS);
        for (int n = 0; n < 200000; n++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            now_ns += x % 100 == 0 ? x % (86400 * SECOND) : x % (100 * RTT_NS);
            if (x % 5000 < 5) {
                cc.ops->congestion(&cc, now_ns);
                cc.cwnd_bytes = x % 2 ? cc.ssthresh_bytes : MSS;
            } else {
                cc.ops->acked(&cc, (uint32_t)(x >> 32) % (cc.cwnd_bytes + 1), x % SECOND, now_ns);
            }
            assert_in_range(cc.cwnd_bytes, MSS, CC_CWND_MAX_BYTES);
            assert_in_range(cc.ssthresh_bytes, 2 * MSS, CC_CWND_MAX_BYTES);
        }
        assert_true(now_ns > 90 * 86400 * SECOND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_window_is_ten_segments_or_14600_octets),
        cmocka_unit_test(slow_start_doubles_the_window_each_round_trip),
        cmocka_unit_test(a_loss_halves_reno_and_leaves_seven_tenths_to_cubic),
        cmocka_unit_test(no_loss_takes_ssthresh_below_two_segments),
        cmocka_unit_test(reno_grows_by_one_segment_each_round_trip_after_a_loss),
        cmocka_unit_test(cubic_is_back_at_the_old_window_after_k_seconds_and_not_before),
        cmocka_unit_test(an_idle_sender_starts_from_the_initial_window_and_remembers),
        cmocka_unit_test(months_of_acks_losses_and_silence_keep_the_window_in_its_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
