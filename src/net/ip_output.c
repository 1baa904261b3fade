/* SPDX-License-Identifier: MIT */
/* ip_output: IP packets out, and fragments of those that are too long for the device.
 *
 *     headers | slices  --fits, or a super-segment-->  net_send
 *                       --too long-->  IP [frag] transport | slices   IP [frag] | slices   ...
 *
 * Only UDP and ICMP come out longer than the MTU: TCP cuts for itself, and trains are cut by the device. A fragment's
 * slices point into those of the whole; nothing is copied but headers. When the device fills up between two fragments, the
 * others are not sent: the receiver could do nothing with them.
 *
 * IPv4 identifiers count up from a random number, IPv6 ones are random (RFC 6864, 7739). RFC 791, 8200 section 4.5. */
#include <assert.h>
#include <string.h>
#include "base/bytes.h"
#include "net/net.h"
#include "wire/checksum.h"
#include "wire/udp.h"

enum { IP6_FRAGMENT_BYTES = 8 };
enum { UDP_CSUM_OFFSET = 6 };

/* How many packets leave the device. */
static uint32_t packets_count(const struct net *net, const struct packet_out *p)
{
    if (p->gso_bytes == 0 || !net->config.device_splits)
        return 1;
    return (p->payload_bytes + p->gso_bytes - 1) / p->gso_bytes;
}

bool net_send(struct net *net, const struct packet_out *p)
{
    uint32_t count = packets_count(net, p);

    if (!net->env.output(net->env.ctx, p))
        return false;
    net->output_left -= count < net->output_left ? count : net->output_left;
    net->stats.tx_packets++;
    net->stats.tx_bytes += packet_out_bytes(p);
    return true;
}

uint8_t *net_ip_header(struct net *net, struct packet_out *p, struct ip_header *h)
{
    if (h->ttl == 0)
        h->ttl = 64;
    h->fragment_id = net->ip4_id++;
    p->headers_bytes = (uint8_t)ip_emit(p->headers, h);
    return p->headers + p->headers_bytes;
}

static void complete_checksum(struct packet_out *p)
{
    uint8_t *transport = p->headers + p->csum_start;
    uint16_t sum;

    if (p->csum_start == 0)
        return;
    sum = checksum_finish(
        checksum_add_iov(checksum_add(0, transport, (size_t)(p->headers_bytes - p->csum_start)),
                         p->slices, p->slices_count));
    if (sum == 0 && p->csum_offset == UDP_CSUM_OFFSET)
        sum = 0xffff; /* zero would say that there is none (RFC 768) */
    put_be16(transport + p->csum_offset, sum);
    p->csum_start = 0;
}

/* Where the payload has been cut so far. */
struct cutter {
    const struct packet_out *whole;
    uint32_t slice, offset_bytes; /* of that slice */
    uint32_t at;                  /* in the fragmentable part */
    uint32_t total_bytes;
};

/* Appends the next len_bytes of the whole's slices to f. */
static void cut_slices(struct cutter *c, struct packet_out *f, uint32_t len_bytes)
{
    f->payload_bytes = len_bytes;
    while (len_bytes > 0) {
        const adit_iov *s = &c->whole->slices[c->slice];
        uint32_t left = (uint32_t)s->len - c->offset_bytes, n = left < len_bytes ? left : len_bytes;

        if (n > 0)
            f->slices[f->slices_count++] =
                (adit_iov){.base = (uint8_t *)s->base + c->offset_bytes, .len = n};
        c->offset_bytes += n;
        len_bytes -= n;
        if (c->offset_bytes == s->len) {
            c->slice++;
            c->offset_bytes = 0;
        }
    }
}

/* The IP header of the fragment [at, at + len_bytes), with its fragment header where there is one. */
static void emit_headers(const struct cutter *c, struct packet_out *f, struct ip_header h,
                         uint32_t len_bytes)
{
    bool more = c->at + len_bytes < c->total_bytes;
    uint8_t proto = h.proto, *fragment;

    if (ip_is_mapped4(h.src)) {
        uint16_t field = (uint16_t)(c->at / 8 | (more ? IP4_MORE_FRAGMENTS : 0)), none = 0, wire;

        h.payload_bytes = len_bytes;
        f->headers_bytes = (uint8_t)ip_emit(f->headers, &h);
        put_be16(&wire, field);
        put_be16(f->headers + 10,
                 checksum_update(get_be16(f->headers + 10), &none, &wire, sizeof(wire)));
        put_be16(f->headers + 6, field);
        return;
    }
    h.proto = IP6_FRAGMENT;
    h.payload_bytes = IP6_FRAGMENT_BYTES + len_bytes;
    f->headers_bytes = (uint8_t)ip_emit(f->headers, &h);
    fragment = f->headers + f->headers_bytes;
    fragment[0] = proto;
    fragment[1] = 0;
    put_be16(fragment + 2, (uint16_t)(c->at | more));
    put_be32(fragment + 4, h.fragment_id);
    f->headers_bytes += IP6_FRAGMENT_BYTES;
}

static bool send_fragment(struct net *net, struct cutter *c, const struct ip_header *h,
                          uint32_t len_bytes)
{
    struct packet_out f;
    uint32_t ip_bytes = ip_is_mapped4(h->src) ? IP4_HEADER_BYTES : IP6_HEADER_BYTES;
    uint32_t transport_bytes = c->at == 0 ? c->whole->headers_bytes - ip_bytes : 0;

    f.slices_count = f.csum_start = f.csum_offset = 0;
    f.gso_bytes = 0;
    emit_headers(c, &f, *h, len_bytes);
    memcpy(f.headers + f.headers_bytes, c->whole->headers + ip_bytes, transport_bytes);
    f.headers_bytes = (uint8_t)(f.headers_bytes + transport_bytes);
    cut_slices(c, &f, len_bytes - transport_bytes);
    c->at += len_bytes;
    return net_send(net, &f);
}

static bool send_fragments(struct net *net, struct packet_out *p, const struct ip_header *h)
{
    struct ip_header base = *h;
    bool is4 = ip_is_mapped4(h->src);
    uint32_t overhead = is4 ? IP4_HEADER_BYTES : IP6_HEADER_BYTES + IP6_FRAGMENT_BYTES;
    uint32_t room = (net->config.mtu_bytes - overhead) / 8 * 8;
    struct cutter c = {.whole = p, .total_bytes = h->payload_bytes};

    assert(net->config.mtu_bytes >= overhead + 2 * UDP_HEADER_BYTES);
    complete_checksum(p);
    if (!is4)
        net->env.random(net->env.ctx, &base.fragment_id, sizeof(base.fragment_id));
    while (c.at < c.total_bytes) {
        uint32_t left = c.total_bytes - c.at;

        if (!send_fragment(net, &c, &base, left < room ? left : room))
            return false;
    }
    return true;
}

bool net_send_fragmented(struct net *net, struct packet_out *p, const struct ip_header *h)
{
    bool fits = p->gso_bytes > 0 || packet_out_bytes(p) <= net->config.mtu_bytes;

    if (!fits && h->dont_fragment) {
        net_drop(net, DROP_DEVICE_TOO_BIG);
        return false;
    }
    if (fits ? net_send(net, p) : send_fragments(net, p, h))
        return true;
    net_drop(net, DROP_DEVICE_FULL);
    return false;
}
