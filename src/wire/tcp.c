/* SPDX-License-Identifier: MIT */
/* wire/tcp: TCP headers.
 *
 * Reading is suspicious: the options of a segment are at most 40 octets of kind, length, value, and a length is used only
 * after it was compared with what is left of them. What a segment says is taken down, not judged: whether a window scale
 * or a timestamp means anything is for the connection to know.
 *
 * Writing is hot: one call for each segment or super-segment that leaves. Every option is padded in front to a
 * multiple of four octets, so that the header is a row of whole words without a cursor of bytes:
 *
 *   MSS            02 04 mm mm
 *   SACK-permitted 01 01 04 02, and with timestamps, which then need no padding of their own: 04 02
 *   timestamps     01 01 08 0a vv vv vv vv ee ee ee ee
 *   window scale   01 03 03 ss
 *   SACK           01 01 05 nn, then 8 octets a block
 *
 * The most that may be asked for is 20 octets without SACK blocks; of these as many go out as the 40 octets hold: 4, 3 with
 * timestamps, 2 with everything. */
#include "wire/tcp.h"
#include <string.h>
#include "base/bytes.h"

enum {
    TCP_OPTION_END = 0,
    TCP_OPTION_NOP = 1,
    TCP_OPTION_MSS = 2,
    TCP_OPTION_WSCALE = 3,
    TCP_OPTION_SACK_PERMITTED = 4,
    TCP_OPTION_SACK = 5,
    TCP_OPTION_TS = 8,
};

enum {
    TCP_OPTION_MSS_BYTES = 4,
    TCP_OPTION_WSCALE_BYTES = 3,
    TCP_OPTION_SACK_PERMITTED_BYTES = 2,
    TCP_OPTION_SACK_BYTES = 2, /* and each block */
    TCP_OPTION_TS_BYTES = 10,
    TCP_SACK_BLOCK_BYTES = 8,
};

static void tcp_parse_sacks(struct tcp_segment *s, const uint8_t *blocks, size_t len_bytes)
{
    s->sacks_count = 0;
    for (; len_bytes >= TCP_SACK_BLOCK_BYTES && s->sacks_count < TCP_SACKS_MAX;
         len_bytes -= TCP_SACK_BLOCK_BYTES, blocks += TCP_SACK_BLOCK_BYTES) {
        struct tcp_range r = {get_be32(blocks), get_be32(blocks + 4)};

        if (r.from != r.to)
            s->sacks[s->sacks_count++] = r;
    }
}

/* Options that only a SYN carries. */
static void tcp_parse_syn_option(struct tcp_segment *s, const uint8_t *option, size_t bytes)
{
    uint8_t kind = option[0];

    if (kind == TCP_OPTION_MSS && bytes == TCP_OPTION_MSS_BYTES) {
        s->mss_bytes = get_be16(option + 2);
        s->has_mss = s->mss_bytes != 0;
    } else if (kind == TCP_OPTION_WSCALE && bytes == TCP_OPTION_WSCALE_BYTES) {
        s->wscale_log2 = option[2] < TCP_WSCALE_MAX ? option[2] : TCP_WSCALE_MAX;
        s->has_wscale = true;
    } else if (kind == TCP_OPTION_SACK_PERMITTED && bytes == TCP_OPTION_SACK_PERMITTED_BYTES) {
        s->sack_permitted = true;
    }
}

static void tcp_parse_option(struct tcp_segment *s, const uint8_t *option, size_t bytes)
{
    size_t value_bytes = bytes - 2;

    if (option[0] == TCP_OPTION_TS && bytes == TCP_OPTION_TS_BYTES) {
        s->has_ts = true;
        s->ts_val = get_be32(option + 2);
        s->ts_ecr = get_be32(option + 6);
    } else if (s->flags & TCP_SYN) {
        tcp_parse_syn_option(s, option, bytes);
    } else if (option[0] == TCP_OPTION_SACK && value_bytes % TCP_SACK_BLOCK_BYTES == 0) {
        tcp_parse_sacks(s, option + 2, value_bytes);
    }
}

static enum drop tcp_parse_options(struct tcp_segment *s, const uint8_t *option, size_t len_bytes)
{
    while (len_bytes > 0 && option[0] != TCP_OPTION_END) {
        size_t bytes = 1;

        if (option[0] != TCP_OPTION_NOP) {
            if (len_bytes < 2 || option[1] < 2 || option[1] > len_bytes)
                return DROP_TCP_OPTIONS;
            bytes = option[1];
            tcp_parse_option(s, option, bytes);
        }
        option += bytes;
        len_bytes -= bytes;
    }
    return DROP_NONE;
}

static bool tcp_flags_can_be(uint8_t flags)
{
    if (flags & TCP_SYN && flags & (TCP_FIN | TCP_RST))
        return false;
    return (flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG)) != 0;
}

enum drop tcp_parse(struct tcp_segment *s, const uint8_t *data, size_t len_bytes)
{
    size_t header_bytes;

    memset(s, 0, sizeof(*s));
    if (len_bytes < TCP_HEADER_BYTES)
        return DROP_TCP_HEADER;
    header_bytes = (size_t)(data[12] >> 4) * 4;
    if (header_bytes < TCP_HEADER_BYTES || header_bytes > len_bytes)
        return DROP_TCP_HEADER;
    s->src_port = get_be16(data);
    s->dst_port = get_be16(data + 2);
    s->seq = get_be32(data + 4);
    s->ack = get_be32(data + 8);
    s->flags = data[13];
    s->wnd = get_be16(data + 14);
    s->data = data + header_bytes;
    s->len_bytes = (uint32_t)(len_bytes - header_bytes);
    if (s->src_port == 0 || s->dst_port == 0 || !tcp_flags_can_be(s->flags))
        return DROP_TCP_FLAGS;
    return tcp_parse_options(s, data + TCP_HEADER_BYTES, header_bytes - TCP_HEADER_BYTES);
}

/* The header without SACK blocks. */
static inline size_t tcp_base_bytes(const struct tcp_segment *s)
{
    size_t bytes = TCP_HEADER_BYTES;

    bytes += s->has_mss ? 4 : 0;
    if (s->has_ts)
        bytes += 12;
    else if (s->sack_permitted)
        bytes += 4;
    bytes += s->has_wscale ? 4 : 0;
    return bytes;
}

/* How many blocks go behind a header of so many octets. */
static inline size_t tcp_sacks_fitting(const struct tcp_segment *s, size_t base_bytes)
{
    size_t room = (TCP_HEADER_BYTES_MAX - 4 - base_bytes) / TCP_SACK_BLOCK_BYTES;

    return s->sacks_count < room ? s->sacks_count : room;
}

static inline size_t tcp_sacks_bytes(size_t count)
{
    return count > 0 ? 4 + count * TCP_SACK_BLOCK_BYTES : 0;
}

size_t tcp_emit_bytes(const struct tcp_segment *s)
{
    size_t base_bytes = tcp_base_bytes(s);

    return base_bytes + tcp_sacks_bytes(tcp_sacks_fitting(s, base_bytes));
}

static inline uint8_t *tcp_put_option(uint8_t *at, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    put_be32(at, (uint32_t)a << 24 | (uint32_t)b << 16 | (uint32_t)c << 8 | d);
    return at + 4;
}

static inline uint8_t *tcp_emit_sacks(uint8_t *at, const struct tcp_range *sacks, size_t count)
{
    at = tcp_put_option(at, TCP_OPTION_NOP, TCP_OPTION_NOP, TCP_OPTION_SACK,
                        (uint8_t)(TCP_OPTION_SACK_BYTES + count * TCP_SACK_BLOCK_BYTES));
    for (size_t i = 0; i < count; i++, at += TCP_SACK_BLOCK_BYTES) {
        put_be32(at, sacks[i].from);
        put_be32(at + 4, sacks[i].to);
    }
    return at;
}

static inline uint8_t *tcp_emit_options(uint8_t *at, const struct tcp_segment *s)
{
    if (s->has_mss)
        at = tcp_put_option(at, TCP_OPTION_MSS, TCP_OPTION_MSS_BYTES, (uint8_t)(s->mss_bytes >> 8),
                            (uint8_t)s->mss_bytes);
    if (s->has_ts) {
        uint8_t kind = s->sack_permitted ? TCP_OPTION_SACK_PERMITTED : TCP_OPTION_NOP;
        uint8_t next = s->sack_permitted ? TCP_OPTION_SACK_PERMITTED_BYTES : TCP_OPTION_NOP;

        at = tcp_put_option(at, kind, next, TCP_OPTION_TS, TCP_OPTION_TS_BYTES);
        put_be32(at, s->ts_val);
        put_be32(at + 4, s->ts_ecr);
        at += 8;
    } else if (s->sack_permitted) {
        at = tcp_put_option(at, TCP_OPTION_NOP, TCP_OPTION_NOP, TCP_OPTION_SACK_PERMITTED,
                            TCP_OPTION_SACK_PERMITTED_BYTES);
    }
    if (s->has_wscale)
        at = tcp_put_option(at, TCP_OPTION_NOP, TCP_OPTION_WSCALE, TCP_OPTION_WSCALE_BYTES,
                            s->wscale_log2);
    return at;
}

size_t tcp_emit(uint8_t *out, const struct tcp_segment *s)
{
    uint8_t *end = tcp_emit_options(out + TCP_HEADER_BYTES, s);
    size_t sacks = tcp_sacks_fitting(s, (size_t)(end - out));
    size_t header_bytes;

    if (sacks > 0)
        end = tcp_emit_sacks(end, s->sacks, sacks);
    header_bytes = (size_t)(end - out);
    put_be16(out, s->src_port);
    put_be16(out + 2, s->dst_port);
    put_be32(out + 4, s->seq);
    put_be32(out + 8, s->ack);
    put_be16(out + 12, (uint16_t)(header_bytes / 4 << 12 | s->flags));
    put_be16(out + 14, s->wnd);
    put_be32(out + 16, 0);
    return header_bytes;
}
