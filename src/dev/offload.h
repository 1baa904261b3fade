/* SPDX-License-Identifier: MIT */
/* offload: what a virtio-net header promises about a packet, checked against the packet's octets; and doing in software
 * what a device does not do: completing checksums, splitting super-segments. Pure functions: no descriptor, no clock, no
 * memory but the caller's.
 *
 * A virtio-net header is ten octets in front of a packet, in the machine's own byte order on a TUN
 * (linux/virtio_net.h, Documentation/networking/tuntap.rst). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "wire/drop.h"
#include "wire/packet.h"

enum { VNET_HEADER_BYTES = 10 };

enum { /* vnet_header.flags */
       VNET_NEEDS_CSUM =
           1, /* the checksum field holds the pseudo-header sum: csum_start, csum_offset say where */
       VNET_DATA_VALID = 2, /* verified below us */
};

enum { /* vnet_header.gso_type */
       VNET_GSO_NONE = 0,
       VNET_GSO_TCP4 = 1,
       VNET_GSO_TCP6 = 4,
       VNET_GSO_UDP = 5,    /* a train of datagrams, either family (VIRTIO_NET_HDR_GSO_UDP_L4) */
       VNET_GSO_ECN = 0x80, /* beside TCP: the first segment carries CWR */
};

struct vnet_header { /* laid out as on the descriptor */
    uint8_t flags, gso_type;
    uint16_t hdr_bytes; /* a hint; not believed on the way in */
    uint16_t gso_bytes;
    uint16_t csum_start, csum_offset;
};

/* The least payload of a segment that is believed: less would multiply one packet into thousands. */
enum { OFFLOAD_GSO_BYTES_MIN = 8 };
/* The most datagrams that every Linux takes as one train (UDP_MAX_SEGMENTS of old ones). */
enum { OFFLOAD_TRAIN_MAX = 64 };

/* Where the parts of a TCP segment or UDP datagram are. */
struct offload_layout {
    uint8_t version, proto;
    uint16_t transport_at, payload_at;
    uint16_t csum_offset;  /* of the checksum field in the transport header */
    uint32_t stated_bytes; /* the packet's length as its IP header states it */
};

/* False: not TCP or UDP, a fragment, or headers that are malformed or end beyond `have_bytes`. */
bool offload_layout_parse(struct offload_layout *l, const uint8_t *headers, uint32_t have_bytes);

/* Sets gso_bytes and csum of *p, whose data and len_bytes are set, as the header of a kernel's TUN says.
 * DROP_OFFLOAD_HEADER: header and packet contradict each other. */
enum drop offload_input(struct packet *p, const struct vnet_header *h);
/* The same for a packet that a host hands over with flags of ADIT_PACKET_CSUM_* and a segment size. A partial checksum
 * is completed in place (it is believed only where the field does hold the pseudo-header sum) and becomes valid. */
enum drop offload_claim(struct packet *p, uint32_t flags, uint16_t gso_bytes);
/* The header for a packet that goes to a kernel whole. */
void offload_output(struct vnet_header *h, const struct packet_out *p);

/* Completes the checksum in the headers and sets csum_start to 0. */
void offload_complete_out(struct packet_out *p);
/* Writes all octets of the packet, one after the other and its checksum complete. Returns their number. */
uint32_t offload_flatten(const struct packet_out *p, uint8_t *to);
/* Completes a PACKET_CSUM_PARTIAL packet in place and makes it PACKET_CSUM_VALID. Others are left as they are. A
 * super-segment gets the checksum that it would have as one packet. */
void offload_complete(struct packet *p);

/* The parts of a super-segment, one by one. */
struct offload_parts {
    struct offload_layout layout;
    uint32_t payload_bytes, step_bytes; /* of the whole; of each part but the last */
    uint32_t index, at,
        len_bytes; /* the part: its number, where its payload begins in the whole, how long it is */
    bool last;
};

/* headers: the super-segment's, of which there are at least have_bytes; total_bytes: all of it. False: it has no parts,
 * for the reasons of offload_layout_parse(). step_bytes > 0. */
bool offload_parts_begin(struct offload_parts *it, const uint8_t *headers, uint32_t have_bytes,
                         uint32_t total_bytes, uint32_t step_bytes);
/* False: there is no further one. */
bool offload_parts_next(struct offload_parts *it);
/* Turns a copy of the super-segment's headers (layout.payload_at octets) into those of the part: lengths, IPv4 identification
 * and checksum, sequence number, FIN and PSH on the last part only, CWR on the first only; the transport checksum is
 * left partial. */
void offload_parts_headers(const struct offload_parts *it, uint8_t *headers);

/* Calls emit with each packet that the super-segment stands for, in order; headers are copied, payload is not. Parts are
 * of step_bytes of payload each (gso_bytes, or a multiple of it: then the parts are shorter super-segments); the
 * checksum of a part is partial. Ends early, and returns what emit returned, when that is not 0. */
int offload_split(const struct packet_out *p, uint32_t step_bytes,
                  int (*emit)(void *ctx, const struct packet_out *part), void *ctx);

/* How many parts that makes. */
static inline uint32_t offload_parts_count(const struct packet_out *p, uint32_t step_bytes)
{
    return (p->payload_bytes + step_bytes - 1) / step_bytes;
}

static inline bool offload_is_super(const struct packet_out *p)
{
    return p->gso_bytes != 0 && p->payload_bytes > p->gso_bytes;
}
