/* SPDX-License-Identifier: MIT */
/* wire/tcp: TCP headers and options <-> struct tcp_segment. RFC 9293, 7323 (window scale, timestamps), 2018 (SACK). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/drop.h"

enum tcp_flag {
    TCP_FIN = 0x01,
    TCP_SYN = 0x02,
    TCP_RST = 0x04,
    TCP_PSH = 0x08,
    TCP_ACK = 0x10,
    TCP_URG = 0x20,
    TCP_ECE = 0x40,
    TCP_CWR = 0x80,
};

enum { TCP_HEADER_BYTES = 20, TCP_HEADER_BYTES_MAX = 60, TCP_SACKS_MAX = 4, TCP_WSCALE_MAX = 14 };

struct tcp_range { /* [from, to) in sequence space */
    uint32_t from, to;
};

struct tcp_segment {
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint16_t wnd; /* as on the wire, unscaled */
    uint8_t flags;
    /* options; has_* and counts are false or 0 where absent */
    bool has_ts, has_wscale, has_mss, sack_permitted;
    uint8_t wscale_log2;
    uint8_t sacks_count;
    uint16_t mss_bytes;
    uint32_t ts_val, ts_ecr;
    struct tcp_range sacks[TCP_SACKS_MAX];
    /* payload (parse only) */
    const uint8_t *data;
    uint32_t len_bytes; /* of data; SYN and FIN not counted */
    uint16_t gso_bytes; /* of the packet that it came in */
};

/* What the segment occupies in sequence space: data, SYN and FIN. */
static inline uint32_t tcp_segment_span(const struct tcp_segment *s)
{
    return s->len_bytes + ((s->flags & TCP_SYN) != 0) + ((s->flags & TCP_FIN) != 0);
}

/* `data`: the TCP header and all that follows it. Options that are malformed (length 0 or 1, beyond the header) are
 * DROP_TCP_OPTIONS; unknown ones, and known ones of another length than theirs, are skipped. MSS (an MSS of 0 is none),
 * window scale (a greater one than 14 is 14) and SACK-permitted are taken from SYNs only, SACK blocks from others only; of
 * these those with from == to are left out. Of an option given twice the last counts. Flags that cannot be (neither FIN, SYN,
 * RST, PSH, ACK nor URG; SYN with FIN or RST) and port 0 are DROP_TCP_FLAGS. No checksum is looked at. Every member
 * of *s is set; gso_bytes to 0. */
enum drop tcp_parse(struct tcp_segment *s, const uint8_t *data, size_t len_bytes);

/* Writes header and options (in the order MSS, SACK-permitted, timestamps, window scale, SACK blocks as room permits),
 * each padded in front with NOPs to four octets as Linux does (which has a fast path for NOP, NOP, timestamps), checksum
 * and urgent pointer 0. `out`: 60 octets. Returns the header's length. */
size_t tcp_emit(uint8_t *out, const struct tcp_segment *s);
/* The length that tcp_emit() would return. */
size_t tcp_emit_bytes(const struct tcp_segment *s);
