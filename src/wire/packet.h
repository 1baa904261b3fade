/* SPDX-License-Identifier: MIT */
/* packet: an IP packet on its way in, and one on its way out.
 *
 * In: contiguous octets in a buffer, from the IP header on. `gso_bytes` > 0 makes it a super-segment: one TCP
 * segment of up to 64 KiB which stands for several of at most `gso_bytes` of payload, or a train of UDP
 * datagrams of `gso_bytes` each (the last may be shorter). What the device says about it has been checked
 * against the octets before (dev/offload.c).
 *
 * Out: one run of headers, and slices of payload that stay where they are. A super-segment of TCP over IPv4 may be longer than
 * 64 KiB, with a total length of 0 in its header, where the device has big_tcp4. TCP and UDP leave the core with only
 * the pseudo-header sum in the checksum field; the device completes it, or has the kernel do it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adit/base.h"

struct buf;

enum packet_csum {
    PACKET_CSUM_UNKNOWN, /* verify in software */
    PACKET_CSUM_VALID,   /* verified below us */
    PACKET_CSUM_PARTIAL, /* never was on a wire: the field holds the pseudo-header sum; trusted from a kernel TUN only */
};

struct packet {
    struct buf *buf;    /* the memory, one reference held by the batch; whoever keeps a part takes its own */
    uint8_t *data;      /* the IP header */
    uint32_t len_bytes;
    uint16_t gso_bytes; /* 0: one packet */
    uint8_t csum;       /* enum packet_csum */
};

enum {
    PACKET_HEADERS_MAX = 40 + 60, /* IPv6 + TCP with options */
    PACKET_SLICES_MAX = 17,
    PACKET_BIG_PAYLOAD_BYTES_MAX = 260 * 1024, /* with big_tcp4; one read of a relay and a little: no rest goes alone */
    PACKET_PREFIX = 16,           /* room in front of the headers for a virtio-net header or a family prefix */
};

struct packet_out {
    uint8_t prefix[PACKET_PREFIX];       /* the device's; directly in front of the headers */
    uint8_t headers[PACKET_HEADERS_MAX]; /* IP and transport header (ICMP: IP header only, or all of it) */
    uint8_t headers_bytes;
    uint8_t slices_count;
    uint8_t csum_start, csum_offset; /* transport header's offset in the packet; its checksum's offset therein.
                                        csum_start 0: the checksum is complete already */
    uint16_t gso_bytes;              /* as above */
    uint32_t payload_bytes;          /* of all slices */
    adit_iov slices[PACKET_SLICES_MAX]; /* borrowed until the device's send returns */
};

static inline uint32_t packet_out_bytes(const struct packet_out *p)
{
    return p->headers_bytes + p->payload_bytes;
}
