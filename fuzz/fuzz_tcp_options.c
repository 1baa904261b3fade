/* SPDX-License-Identifier: MIT */
/* tcp_options: any octets as a TCP segment. What was parsed is emitted, parsed again, and must be the same; and a segment
 * made of any octets is emitted within its 60. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "wire/tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

/* Emits into memory of exactly the length that was announced. The header is to be freed. */
static uint8_t *emit(const struct tcp_segment *s, size_t *header_bytes)
{
    uint8_t *out = malloc(tcp_emit_bytes(s));

    if (!out)
        abort();
    *header_bytes = tcp_emit(out, s);
    assert(*header_bytes == tcp_emit_bytes(s));
    assert(*header_bytes <= TCP_HEADER_BYTES_MAX && *header_bytes % 4 == 0);
    return out;
}

static void check_same(const struct tcp_segment *a, const struct tcp_segment *b)
{
    assert(a->src_port == b->src_port && a->dst_port == b->dst_port);
    assert(a->seq == b->seq && a->ack == b->ack && a->wnd == b->wnd && a->flags == b->flags);
    assert(a->has_mss == b->has_mss && a->mss_bytes == b->mss_bytes);
    assert(a->has_wscale == b->has_wscale && a->wscale_log2 == b->wscale_log2);
    assert(a->has_ts == b->has_ts && a->ts_val == b->ts_val && a->ts_ecr == b->ts_ecr);
    assert(a->sack_permitted == b->sack_permitted && a->sacks_count == b->sacks_count);
    assert(memcmp(a->sacks, b->sacks, a->sacks_count * sizeof(a->sacks[0])) == 0);
}

static void check_round_trip(const uint8_t *data, size_t len_bytes)
{
    struct tcp_segment s, back;
    size_t header_bytes;
    uint8_t *out;

    if (tcp_parse(&s, data, len_bytes) != DROP_NONE)
        return;
    assert(s.data + s.len_bytes == data + len_bytes);
    assert(s.wscale_log2 <= TCP_WSCALE_MAX && s.sacks_count <= TCP_SACKS_MAX);
    out = emit(&s, &header_bytes);
    assert(tcp_parse(&back, out, header_bytes) == DROP_NONE);
    check_same(&s, &back);
    free(out);
}

static void check_any_segment(const uint8_t *data, size_t len_bytes)
{
    struct tcp_segment s = {.src_port = 1, .dst_port = 2, .flags = TCP_ACK}, back;
    size_t header_bytes;
    uint8_t *out;

    if (len_bytes < 2)
        return;
    s.has_mss = data[0] & 1;
    s.has_ts = data[0] & 2;
    s.has_wscale = data[0] & 4;
    s.sack_permitted = data[0] & 8;
    s.sacks_count = data[1] % (TCP_SACKS_MAX + 1);
    memcpy(s.sacks, data + 2, len_bytes - 2 < sizeof(s.sacks) ? len_bytes - 2 : sizeof(s.sacks));
    out = emit(&s, &header_bytes);
    assert(tcp_parse(&back, out, header_bytes) == DROP_NONE);
    assert(back.sacks_count <= s.sacks_count && back.has_ts == s.has_ts);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    check_round_trip(data, len_bytes);
    check_any_segment(data, len_bytes);
    return 0;
}
