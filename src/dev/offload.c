/* SPDX-License-Identifier: MIT */
/* offload: the virtio-net header against the packet, checksums, and super-segments.
 *
 * On the way in nothing that the header says is taken over; everything is computed from the octets and compared:
 *
 *   csum_start, csum_offset   must be the place of the transport checksum of this very packet
 *   gso_type                  must be that of its IP version and protocol, and comes with NEEDS_CSUM only
 *   gso_size                  at least 8 and less than the payload, which ends where the IP header says, within the packet
 *   hdr_len                   ignored: forwarding kernels put the length of the whole first segment there
 *
 * A contradiction is DROP_OFFLOAD_HEADER. A packet that the header says nothing special about is not looked at: judging it
 * is the core's. The same goes for NEEDS_CSUM on what is neither TCP nor UDP, or a fragment, or malformed: no
 * place of a checksum is known there, so the claim is not believed and the core verifies, and names the true fault.
 *
 * The split follows what the kernel's own segmentation does (net/ipv4/tcp_offload.c, udp_offload.c): every part has the
 * headers of the whole with length, sequence number and IPv4 identification moved on; FIN and PSH belong to the last
 * part, CWR to the first. Payload is never copied: a part's slices point into those of the whole. */
#include "dev/offload.h"
#include <assert.h>
#include <string.h>
#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/ip.h"
#include "wire/tcp.h"
#include "wire/udp.h"

_Static_assert(sizeof(struct vnet_header) == VNET_HEADER_BYTES, "the layout on the descriptor");

enum { TCP_CSUM_OFFSET = 16, UDP_CSUM_OFFSET = 6, TCP_FLAGS_AT = 13, TCP_SEQ_AT = 4 };

/* ---------------------------------------------------------------------------------------- layout -- */

static bool layout4(struct offload_layout *l, const uint8_t *h, uint32_t have_bytes)
{
    uint32_t header_bytes;

    if (have_bytes < IP4_HEADER_BYTES)
        return false;
    header_bytes = (h[0] & 15u) * 4u;
    if (header_bytes < IP4_HEADER_BYTES || header_bytes > have_bytes)
        return false;
    if (get_be16(h + 6) & 0x3fff) /* more fragments, or an offset */
        return false;
    l->proto = h[9];
    l->transport_at = (uint16_t)header_bytes;
    l->stated_bytes = get_be16(h + 2);
    return true;
}

static bool layout6(struct offload_layout *l, const uint8_t *h, uint32_t have_bytes)
{
    uint32_t at = IP6_HEADER_BYTES;
    uint8_t next;

    if (have_bytes < IP6_HEADER_BYTES)
        return false;
    next = h[6];
    for (int i = 0; next == IP6_HOP_BY_HOP || next == IP6_ROUTING || next == IP6_DESTINATION; i++) {
        if (i == IP_EXTENSIONS_MAX || at + 8 > have_bytes)
            return false;
        next = h[at];
        at += 8 + h[at + 1] * 8u;
        if (at > IP6_HEADER_BYTES + IP_EXTENSION_BYTES_MAX)
            return false;
    }
    l->proto = next;
    l->transport_at = (uint16_t)at;
    l->stated_bytes = IP6_HEADER_BYTES + get_be16(h + 4);
    return true;
}

static bool layout_transport(struct offload_layout *l, const uint8_t *h, uint32_t have_bytes)
{
    uint32_t at = l->transport_at, header_bytes;

    switch (l->proto) {
    case IP_PROTO_TCP:
        if (at + TCP_HEADER_BYTES > have_bytes)
            return false;
        header_bytes = (h[at + 12] >> 4) * 4u;
        if (header_bytes < TCP_HEADER_BYTES)
            return false;
        l->csum_offset = TCP_CSUM_OFFSET;
        break;
    case IP_PROTO_UDP:
        header_bytes = UDP_HEADER_BYTES;
        l->csum_offset = UDP_CSUM_OFFSET;
        break;
    default:
        return false;
    }
    l->payload_at = (uint16_t)(at + header_bytes);
    return l->payload_at <= have_bytes;
}

bool offload_layout_parse(struct offload_layout *l, const uint8_t *headers, uint32_t have_bytes)
{
    if (have_bytes == 0)
        return false;
    l->version = headers[0] >> 4;
    if (l->version == 4 ? !layout4(l, headers, have_bytes) : !layout6(l, headers, have_bytes))
        return false;
    return (l->version == 4 || l->version == 6) && layout_transport(l, headers, have_bytes);
}

/* ------------------------------------------------------------------------------------- checksums -- */

/* The sum of the pseudo-header as it stands in the field of a partial checksum. */
static uint16_t pseudo_sum(const struct offload_layout *l, const uint8_t *headers,
                           uint32_t len_bytes)
{
    uint8_t src[16], dst[16];

    if (l->version == 6)
        return checksum_fold(checksum_pseudo(headers + 8, headers + 24, l->proto, len_bytes));
    ip_map4(src, headers + 12);
    ip_map4(dst, headers + 16);
    return checksum_fold(checksum_pseudo(src, dst, l->proto, len_bytes));
}

/* What the field gets. A UDP checksum of zero would say that there is none (RFC 768). */
static void put_checksum(uint8_t *field, uint64_t sum, bool is_udp)
{
    uint16_t value = checksum_finish(sum);

    put_be16(field, is_udp && value == 0 ? 0xffff : value);
}

void offload_complete_out(struct packet_out *p)
{
    uint8_t *transport = p->headers + p->csum_start;
    uint64_t sum;

    if (p->csum_start == 0)
        return;
    assert(p->csum_start + p->csum_offset + 2 <= p->headers_bytes);
    assert((p->headers_bytes - p->csum_start) % 2 == 0);
    sum = checksum_add(0, transport, (size_t)(p->headers_bytes - p->csum_start));
    sum = checksum_add_iov(sum, p->slices, p->slices_count);
    put_checksum(transport + p->csum_offset, sum, p->csum_offset == UDP_CSUM_OFFSET);
    p->csum_start = 0;
}

uint32_t offload_flatten(const struct packet_out *p, uint8_t *to)
{
    uint32_t len_bytes = p->headers_bytes;

    memcpy(to, p->headers, p->headers_bytes);
    for (int i = 0; i < p->slices_count; i++) {
        memcpy(to + len_bytes, p->slices[i].base, p->slices[i].len);
        len_bytes += (uint32_t)p->slices[i].len;
    }
    if (p->csum_start != 0)
        put_checksum(to + p->csum_start + p->csum_offset,
                     checksum_add(0, to + p->csum_start, len_bytes - p->csum_start),
                     p->csum_offset == UDP_CSUM_OFFSET);
    return len_bytes;
}

static void complete(struct packet *p, const struct offload_layout *l)
{
    uint8_t *transport = p->data + l->transport_at;
    uint64_t sum = checksum_add(0, transport, l->stated_bytes - l->transport_at);

    put_checksum(transport + l->csum_offset, sum, l->proto == IP_PROTO_UDP);
    p->csum = PACKET_CSUM_VALID;
}

/* Headers end within what the IP header states, and that is there. */
static bool layout_is_whole(const struct offload_layout *l, uint32_t len_bytes)
{
    return l->stated_bytes <= len_bytes && l->payload_at <= l->stated_bytes;
}

void offload_complete(struct packet *p)
{
    struct offload_layout l;

    if (p->csum != PACKET_CSUM_PARTIAL)
        return;
    if (offload_layout_parse(&l, p->data, p->len_bytes) && layout_is_whole(&l, p->len_bytes))
        complete(p, &l);
}

/* ---------------------------------------------------------------------------------------- way in -- */

static bool gso_fits(const struct offload_layout *l, uint32_t len_bytes, uint16_t gso_bytes)
{
    return layout_is_whole(l, len_bytes) && gso_bytes >= OFFLOAD_GSO_BYTES_MIN &&
           gso_bytes < l->stated_bytes - l->payload_at;
}

static uint8_t gso_type_of(uint8_t version, bool is_udp)
{
    if (is_udp)
        return VNET_GSO_UDP;
    return version == 4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6;
}

enum drop offload_input(struct packet *p, const struct vnet_header *h)
{
    struct offload_layout l;
    uint8_t type = h->gso_type & (uint8_t)~VNET_GSO_ECN;

    p->gso_bytes = 0;
    p->csum = h->flags & VNET_DATA_VALID ? PACKET_CSUM_VALID : PACKET_CSUM_UNKNOWN;
    if (!(h->flags & VNET_NEEDS_CSUM))
        return h->gso_type == VNET_GSO_NONE ? DROP_NONE : DROP_OFFLOAD_HEADER;

    p->csum = PACKET_CSUM_UNKNOWN;
    if ((uint32_t)h->csum_start + h->csum_offset + 2 > p->len_bytes)
        return DROP_OFFLOAD_HEADER;
    if (!offload_layout_parse(&l, p->data, p->len_bytes))
        return h->gso_type == VNET_GSO_NONE ? DROP_NONE : DROP_OFFLOAD_HEADER;
    if (h->csum_start != l.transport_at || h->csum_offset != l.csum_offset)
        return DROP_OFFLOAD_HEADER;
    p->csum = PACKET_CSUM_PARTIAL;
    if (h->gso_type == VNET_GSO_NONE)
        return DROP_NONE;

    if (type != gso_type_of(l.version, l.proto == IP_PROTO_UDP))
        return DROP_OFFLOAD_HEADER;
    if (type == VNET_GSO_UDP && h->gso_type & VNET_GSO_ECN)
        return DROP_OFFLOAD_HEADER;
    if (!gso_fits(&l, p->len_bytes, h->gso_bytes))
        return DROP_OFFLOAD_HEADER;
    p->gso_bytes = h->gso_bytes;
    return DROP_NONE;
}

enum drop offload_claim(struct packet *p, uint32_t flags, uint16_t gso_bytes)
{
    struct offload_layout l;
    uint32_t transport_bytes;

    p->gso_bytes = 0;
    p->csum = flags & ADIT_PACKET_CSUM_VALID ? PACKET_CSUM_VALID : PACKET_CSUM_UNKNOWN;
    if (!(flags & ADIT_PACKET_CSUM_PARTIAL) && gso_bytes == 0)
        return DROP_NONE;
    if (!offload_layout_parse(&l, p->data, p->len_bytes) || !layout_is_whole(&l, p->len_bytes))
        return DROP_OFFLOAD_HEADER;
    if (gso_bytes != 0 && !gso_fits(&l, p->len_bytes, gso_bytes))
        return DROP_OFFLOAD_HEADER;
    p->gso_bytes = gso_bytes;
    if (!(flags & ADIT_PACKET_CSUM_PARTIAL))
        return DROP_NONE;

    transport_bytes = l.stated_bytes - l.transport_at;
    if (get_be16(p->data + l.transport_at + l.csum_offset) !=
        pseudo_sum(&l, p->data, transport_bytes))
        return DROP_OFFLOAD_HEADER;
    complete(p, &l);
    return DROP_NONE;
}

/* --------------------------------------------------------------------------------------- way out -- */

void offload_output(struct vnet_header *h, const struct packet_out *p)
{
    bool is_udp = p->csum_offset == UDP_CSUM_OFFSET;

    *h = (struct vnet_header){.hdr_bytes = p->headers_bytes};
    if (p->csum_start == 0) {
        assert(!offload_is_super(p));
        return;
    }
    h->flags = VNET_NEEDS_CSUM;
    h->csum_start = p->csum_start;
    h->csum_offset = p->csum_offset;
    if (!offload_is_super(p))
        return;
    h->gso_type = gso_type_of(p->headers[0] >> 4, is_udp);
    h->gso_bytes = p->gso_bytes;
    if (!is_udp && p->headers[p->csum_start + TCP_FLAGS_AT] & TCP_CWR)
        h->gso_type |= VNET_GSO_ECN;
}

/* ----------------------------------------------------------------------------------------- parts -- */

bool offload_parts_begin(struct offload_parts *it, const uint8_t *headers, uint32_t have_bytes,
                         uint32_t total_bytes, uint32_t step_bytes)
{
    assert(step_bytes > 0);
    *it = (struct offload_parts){.step_bytes = step_bytes};
    if (!offload_layout_parse(&it->layout, headers, have_bytes))
        return false;
    if (it->layout.payload_at > total_bytes)
        return false;
    it->payload_bytes = total_bytes - it->layout.payload_at;
    return true;
}

bool offload_parts_next(struct offload_parts *it)
{
    uint32_t left_bytes;

    if (it->last)
        return false;
    if (it->len_bytes != 0) {
        it->at += it->len_bytes;
        it->index++;
    }
    left_bytes = it->payload_bytes - it->at;
    it->last = left_bytes <= it->step_bytes;
    it->len_bytes = it->last ? left_bytes : it->step_bytes;
    return true;
}

void offload_parts_headers(const struct offload_parts *it, uint8_t *headers)
{
    const struct offload_layout *l = &it->layout;
    uint8_t *transport = headers + l->transport_at;
    uint32_t packet_bytes = l->payload_at + it->len_bytes;
    uint32_t transport_bytes = packet_bytes - l->transport_at;

    if (l->version == 4) {
        put_be16(headers + 2, (uint16_t)packet_bytes);
        put_be16(headers + 4, (uint16_t)(get_be16(headers + 4) + it->index));
        put_be16(headers + 10, 0);
        put_be16(headers + 10, checksum_finish(checksum_add(0, headers, l->transport_at)));
    } else {
        put_be16(headers + 4, (uint16_t)(packet_bytes - IP6_HEADER_BYTES));
    }

    if (l->proto == IP_PROTO_UDP) {
        put_be16(transport + 4, (uint16_t)transport_bytes);
    } else {
        put_be32(transport + TCP_SEQ_AT, get_be32(transport + TCP_SEQ_AT) + it->at);
        if (!it->last)
            transport[TCP_FLAGS_AT] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
        if (it->index != 0)
            transport[TCP_FLAGS_AT] &= (uint8_t)~TCP_CWR;
    }
    put_be16(transport + l->csum_offset, pseudo_sum(l, headers, transport_bytes));
}

struct slice_cursor {
    const struct packet_out *p;
    uint32_t slice;
    size_t offset_bytes;
};

/* The next `len_bytes` of the whole's payload become the part's slices. */
static void part_payload(struct packet_out *part, struct slice_cursor *c, uint32_t len_bytes)
{
    part->slices_count = 0;
    part->payload_bytes = len_bytes;
    while (len_bytes > 0) {
        const adit_iov *from = &c->p->slices[c->slice];
        size_t take;

        assert(c->slice < c->p->slices_count);
        take = from->len - c->offset_bytes;
        if (take > len_bytes)
            take = len_bytes;
        if (take > 0)
            part->slices[part->slices_count++] =
                (adit_iov){(uint8_t *)from->base + c->offset_bytes, take};
        len_bytes -= (uint32_t)take;
        c->offset_bytes += take;
        if (c->offset_bytes == from->len) {
            c->slice++;
            c->offset_bytes = 0;
        }
    }
}

int offload_split(const struct packet_out *p, uint32_t step_bytes,
                  int (*emit)(void *ctx, const struct packet_out *part), void *ctx)
{
    struct slice_cursor cursor = {.p = p};
    struct offload_parts it;
    struct packet_out part;
    bool ok =
        offload_parts_begin(&it, p->headers, p->headers_bytes, packet_out_bytes(p), step_bytes);

    assert(ok && it.layout.payload_at == p->headers_bytes);
    while (offload_parts_next(&it)) {
        int rc;

        memcpy(part.headers, p->headers, p->headers_bytes);
        offload_parts_headers(&it, part.headers);
        part.headers_bytes = p->headers_bytes;
        part.csum_start = (uint8_t)it.layout.transport_at;
        part.csum_offset = (uint8_t)it.layout.csum_offset;
        part.gso_bytes = it.len_bytes > p->gso_bytes ? p->gso_bytes : 0;
        part_payload(&part, &cursor, it.len_bytes);
        rc = emit(ctx, &part);
        if (rc != 0)
            return rc;
    }
    return 0;
}
