/* SPDX-License-Identifier: MIT */
/* cc: what all congestion controls share, and Reno (RFC 5681). */
#include "net/cc.h"

uint32_t cc_initial_bytes(uint32_t mss_bytes)
{
    uint32_t ten = 10 * mss_bytes, floor = 2 * mss_bytes > 14600 ? 2 * mss_bytes : 14600;

    return ten < floor ? ten : floor;
}

void cc_init(struct cc *cc, const struct cc_ops *ops, uint32_t mss_bytes)
{
    *cc = (struct cc){
        .ops = ops,
        .cwnd_bytes = cc_initial_bytes(mss_bytes),
        .ssthresh_bytes = CC_CWND_MAX_BYTES,
        .mss_bytes = mss_bytes,
    };
}

void cc_set_mss(struct cc *cc, uint32_t mss_bytes)
{
    cc->mss_bytes = mss_bytes;
    if (cc->cwnd_bytes < mss_bytes)
        cc->cwnd_bytes = mss_bytes;
}

void cc_idle(struct cc *cc)
{
    uint32_t restart = cc_initial_bytes(cc->mss_bytes);

    if (cc->cwnd_bytes <= restart)
        return;
    /* Remember where we were: ssthresh at 3/4 of the old window (RFC 7661's spirit), then start anew. */
    if (cc->ssthresh_bytes < cc->cwnd_bytes / 4 * 3)
        cc->ssthresh_bytes = cc->cwnd_bytes / 4 * 3;
    cc->cwnd_bytes = restart;
    cc->cubic.epoch_ns = 0;
}

void cc_grow(struct cc *cc, uint32_t bytes)
{
    if (bytes > CC_CWND_MAX_BYTES - cc->cwnd_bytes)
        bytes = CC_CWND_MAX_BYTES - cc->cwnd_bytes;
    cc->cwnd_bytes += bytes;
}

uint32_t cc_slow_start(struct cc *cc, uint32_t bytes)
{
    uint32_t room;

    if (cc->cwnd_bytes >= cc->ssthresh_bytes)
        return bytes;
    room = cc->ssthresh_bytes - cc->cwnd_bytes;
    if (bytes <= room) {
        cc_grow(cc, bytes);
        return 0;
    }
    cc_grow(cc, room);
    return bytes - room;
}

static void reno_acked(struct cc *cc, uint32_t bytes, uint64_t srtt_ns, uint64_t now_ns)
{
    uint64_t grow;

    (void)srtt_ns;
    (void)now_ns;
    bytes = cc_slow_start(cc, bytes);
    if (bytes == 0)
        return;
    grow = (uint64_t)bytes * cc->mss_bytes / cc->cwnd_bytes;
    cc_grow(cc, grow > bytes ? bytes : (uint32_t)grow);
}

static void reno_congestion(struct cc *cc, uint64_t now_ns)
{
    uint32_t half = cc->cwnd_bytes / 2;

    (void)now_ns;
    cc->ssthresh_bytes = half > 2 * cc->mss_bytes ? half : 2 * cc->mss_bytes;
}

const struct cc_ops cc_reno = {
    .name = "reno",
    .acked = reno_acked,
    .congestion = reno_congestion,
};
