/* SPDX-License-Identifier: MIT */
/* ip: IPv4 and IPv6 headers <-> struct ip_header. One struct for both; addresses are 16 octets, IPv4 mapped.
 *
 * ip_parse() checks everything that one packet alone can show: lengths, version, TTL, IPv4 header checksum (unless the
 * packet never was on a wire) and options (source routes are refused), the IPv6 extension chain (hop-by-hop only first,
 * at most one fragment header, at most IP_EXTENSIONS_MAX headers and IP_EXTENSION_BYTES_MAX octets, routing header with
 * segments left refused, unknown options as their high bits say). A mapped address on a v6 wire would be taken for IPv4 from
 * then on, so it is a martian whatever the instance allows. It stops at the transport header or at a fragment; lengths
 * and offsets of fragments are for whoever reassembles them. RFC 791, 8200, 7112, 5095. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/drop.h"

enum { IP_PROTO_ICMP = 1, IP_PROTO_TCP = 6, IP_PROTO_UDP = 17, IP_PROTO_ICMPV6 = 58 };
enum { IP4_HEADER_BYTES = 20, IP6_HEADER_BYTES = 40 };
enum { /* IPv4: flags and offset field */
    IP4_RESERVED = 0x8000,
    IP4_DONT_FRAGMENT = 0x4000,
    IP4_MORE_FRAGMENTS = 0x2000,
    IP4_OFFSET = 0x1fff,
};
enum { /* IPv6: what may stand between the header and the transport's */
    IP6_HOP_BY_HOP = 0,
    IP6_ROUTING = 43,
    IP6_FRAGMENT = 44,
    IP6_NO_NEXT_HEADER = 59,
    IP6_DESTINATION = 60,
};
enum { IP_PACKET_BYTES_MAX = 65535 }; /* that an IPv4 header can state */
enum { IP_EXTENSIONS_MAX = 8, IP_EXTENSION_BYTES_MAX = 256 };

struct ip_header {
    uint8_t src[16], dst[16];
    uint8_t version;  /* 4 or 6 */
    uint8_t proto;    /* of the transport header; for a fragment: of what its first header would be */
    uint8_t ttl, tos;
    uint32_t header_bytes;  /* where the payload begins: IP header, options, extension headers (a v6 fragment header too) */
    uint32_t payload_bytes; /* as the header states; the packet may be longer (padding), never shorter */
    uint32_t proto_at;      /* offset of the octet that names `proto` (for ICMP parameter problem) */
    uint32_t unfragmentable_bytes; /* v6 fragments: the headers in front of the fragment header */
    uint32_t problem_at; /* after DROP_IP_EXTENSION: the unknown option that an ICMPv6 parameter problem, code 2, is due
                            for; 0: none is due */
    /* fragments: offset 0 and !more is none (an atomic v6 fragment counts as none, RFC 6946) */
    uint32_t fragment_id;
    uint16_t fragment_offset_bytes;
    bool more_fragments;
    bool dont_fragment; /* v4: the flag; v6: parsed always, for no router fragments it; emitted: v4 only */
};

static inline bool ip_is_fragment(const struct ip_header *h)
{
    return h->more_fragments || h->fragment_offset_bytes != 0;
}

/* check_sum: verify the IPv4 header checksum. On a drop *h may be half filled; version, src, dst are valid for
 * every reason but IP_TRUNCATED, IP_VERSION and IP_HEADER. After IP_ROUTING_HEADER header_bytes is where that
 * header begins. */
enum drop ip_parse(struct ip_header *h, const uint8_t *data, size_t len_bytes, bool check_sum);
/* The same for a packet that an ICMP error quotes: it may be cut anywhere behind its headers, routers have changed its TTL
 * (which may be 0) and not always its checksum. payload_bytes: what is there of it. */
enum drop ip_parse_quoted(struct ip_header *h, const uint8_t *data, size_t len_bytes);

/* Writes a header without options for `payload_bytes` of payload; v4 is chosen when src is a mapped address. v4: the
 * checksum is complete, DF as given, id as given. Returns its length (20 or 40). proto, tos, ttl, fragment_id (v4 id),
 * dont_fragment, src, dst and payload_bytes of *h are used. A payload that does not fit 16 bits emits length 0. */
size_t ip_emit(uint8_t *out, const struct ip_header *h);

bool ip_is_mapped4(const uint8_t ip[16]);
void ip_map4(uint8_t out[16], const uint8_t v4[4]);
/* What an address is; a mapped one is IPv4. Broadcast: 255.255.255.255 only. */
bool ip_is_unspecified(const uint8_t ip[16]); /* 0.0.0.0/8, :: */
bool ip_is_loopback(const uint8_t ip[16]);    /* 127/8, ::1 */
bool ip_is_multicast(const uint8_t ip[16]);   /* 224/4, ff00::/8 */
bool ip_is_broadcast(const uint8_t ip[16]);
bool ip_is_link_local(const uint8_t ip[16]);  /* 169.254/16, fe80::/10 */
bool ip_is_reserved(const uint8_t ip[16]);    /* 240/4 but broadcast; ::/96 but :: and ::1 */
