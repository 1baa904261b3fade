/* SPDX-License-Identifier: MIT */
/* cc_cubic: CUBIC (RFC 9438). In congestion avoidance the window follows
 *
 *     W(t) = C (t - K)^3 + W_max        t: seconds since the epoch, W in segments, C = 0.4
 *
 * or Reno's estimate where that is larger (section 4.3). Time in which the sender had nothing to say is taken out of the
 * epoch, so that a long silence is no licence (the trap of section 4.2.1 and of gVisor's overflow). Windows and times
 * are doubles and clamped before they become integers. */
#include "net/cc.h"

#define CUBIC_C 0.4
#define CUBIC_BETA 0.7
#define CUBIC_ALPHA (3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA))
#define CUBIC_EPOCH_MAX_S 1000.0 /* beyond it the curve is steeper than any clamp */

static double cube_root(double x)
{
    double y = x > 1.0 ? x : 1.0;

    for (int i = 0; i < 100; i++) {
        double next = (2.0 * y + x / (y * y)) / 3.0;

        if (y - next < 1e-9 * y && next - y < 1e-9 * y)
            break;
        y = next;
    }
    return y;
}

static double segments(const struct cc *cc)
{
    return (double)cc->cwnd_bytes / cc->mss_bytes;
}

static void cubic_begin_epoch(struct cc *cc, uint64_t now_ns)
{
    struct cc_cubic *c = &cc->cubic;
    double w = segments(cc);

    c->epoch_ns = now_ns;
    c->w_est_segments = w;
    if (w < c->w_max_segments) {
        c->k_seconds = cube_root((c->w_max_segments - w) / CUBIC_C);
    } else {
        c->k_seconds = 0;
        c->w_max_segments = w;
    }
}

static double cubic_window(const struct cc_cubic *c, double t)
{
    double d = t - c->k_seconds;

    return CUBIC_C * d * d * d + c->w_max_segments;
}

static void cubic_acked(struct cc *cc, uint32_t bytes, uint64_t srtt_ns, uint64_t now_ns)
{
    struct cc_cubic *c = &cc->cubic;
    uint64_t gap_ns = now_ns - c->last_ns, silent_ns = 2 * srtt_ns + 100000000;
    double w, t, target, grow;

    bytes = cc_slow_start(cc, bytes);
    if (bytes == 0) {
        c->last_ns = now_ns;
        return;
    }
    if (c->epoch_ns == 0)
        cubic_begin_epoch(cc, now_ns);
    else if (gap_ns > silent_ns)
        c->epoch_ns += gap_ns;
    c->last_ns = now_ns;

    w = segments(cc);
    t = (double)(now_ns - c->epoch_ns) / 1e9;
    if (t > CUBIC_EPOCH_MAX_S)
        t = CUBIC_EPOCH_MAX_S;
    target = cubic_window(c, t + (double)srtt_ns / 1e9);
    if (target > 1.5 * w)
        target = 1.5 * w;
    c->w_est_segments += (c->w_est_segments >= c->w_max_segments ? 1.0 : CUBIC_ALPHA) *
                         ((double)bytes / cc->mss_bytes) / w;
    if (cubic_window(c, t) < c->w_est_segments)
        grow = c->w_est_segments - w;
    else
        grow = (target - w) / w * ((double)bytes / cc->mss_bytes);
    if (grow <= 0)
        return;
    grow = grow * cc->mss_bytes + c->credit_bytes;
    if (grow > bytes)
        grow = bytes;
    c->credit_bytes = grow - (double)(uint32_t)grow;
    cc_grow(cc, (uint32_t)grow);
}

static void cubic_congestion(struct cc *cc, uint64_t now_ns)
{
    struct cc_cubic *c = &cc->cubic;
    double w = segments(cc), ssthresh = cc->cwnd_bytes * CUBIC_BETA;

    (void)now_ns;
    c->w_max_segments = w < c->w_max_segments ? w * (1.0 + CUBIC_BETA) / 2.0 : w;
    c->epoch_ns = 0;
    cc->ssthresh_bytes = ssthresh > 2.0 * cc->mss_bytes ? (uint32_t)ssthresh : 2 * cc->mss_bytes;
}

const struct cc_ops cc_cubic = {
    .name = "cubic",
    .acked = cubic_acked,
    .congestion = cubic_congestion,
};
