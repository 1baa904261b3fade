/* SPDX-License-Identifier: MIT */
/* cc: congestion control behind a small vtable. TCP tells it what was acknowledged and what was lost; it keeps cwnd and
 * ssthresh. In recovery cwnd belongs to the recovery (tcp_recovery.c); cc is asked again when that is over.
 *
 * RFC 5681 (reno, IW of RFC 6928), RFC 9438 (cubic). Bytes are counted, not ACKs (RFC 3465 without its limit, since one ACK
 * of a super-segment stands for many): an ACK of what was never sent is refused before it comes here. */
#pragma once
#include <stdint.h>

enum { CC_CWND_MAX_BYTES = 64 * 1024 * 1024 };

struct cc;

struct cc_ops {
    const char *name;
    /* New data was acknowledged outside recovery, while cwnd was what limited the sender. */
    void (*acked)(struct cc *cc, uint32_t bytes, uint64_t srtt_ns, uint64_t now_ns);
    /* A loss: sets ssthresh. cwnd is the caller's. */
    void (*congestion)(struct cc *cc, uint64_t now_ns);
};

struct cc {
    const struct cc_ops *ops;
    uint32_t cwnd_bytes, ssthresh_bytes, mss_bytes;
    struct cc_cubic {
        double w_max_segments, k_seconds, w_est_segments;
        double credit_bytes; /* growth below one octet, kept for the next ACK */
        uint64_t epoch_ns; /* 0: congestion avoidance has not begun */
        uint64_t last_ns;
    } cubic;
};

extern const struct cc_ops cc_reno, cc_cubic;

void cc_init(struct cc *cc, const struct cc_ops *ops, uint32_t mss_bytes);
/* IW10 (RFC 6928). */
uint32_t cc_initial_bytes(uint32_t mss_bytes);
void cc_set_mss(struct cc *cc, uint32_t mss_bytes);
/* The sender was idle for longer than an RTO: RFC 5681 section 4.1. */
void cc_idle(struct cc *cc);
/* Slow start for `bytes`; returns what is left of them beyond ssthresh. */
uint32_t cc_slow_start(struct cc *cc, uint32_t bytes);
void cc_grow(struct cc *cc, uint32_t bytes);
