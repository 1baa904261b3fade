/* SPDX-License-Identifier: MIT */
/* wire/icmp: ICMP and ICMPv6 messages <-> structs. RFC 792, 1191, 1812, 4443, 4884 (only that quoting stays compatible). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/drop.h"
#include "wire/ip.h"

enum { ICMP_HEADER_BYTES = 8 };

/* What we have to say or to hear, whatever the family. */
enum icmp_kind {
    ICMP_ECHO_REQUEST,
    ICMP_ECHO_REPLY,
    ICMP_UNREACH_NET,
    ICMP_UNREACH_HOST,
    ICMP_UNREACH_PROTOCOL, /* v6: parameter problem, unrecognized next header */
    ICMP_UNREACH_PORT,
    ICMP_UNREACH_ADMIN,
    ICMP_TOO_BIG,          /* fragmentation needed; packet too big */
    ICMP_TTL_EXCEEDED,
    ICMP_REASSEMBLY_EXCEEDED,
    ICMP_PARAMETER,
    ICMP_OTHER, /* something else: redirects, router and neighbour discovery, codes that no RFC gives ... Some of these are
                   errors too, so nothing of this kind is ever to be answered. */
};

struct icmp_message {
    enum icmp_kind kind;
    uint8_t type, code;
    uint16_t id, seq;    /* echo */
    uint32_t mtu_bytes;  /* too big; 0 from routers that do not say */
    uint32_t pointer;    /* parameter problem */
    const uint8_t *data; /* echo: the payload; errors: the packet quoted */
    uint32_t data_bytes;
};

/* What type and code of a family say. A code without a kind of its own gets the kind of the same effect (every
 * prohibition is ADMIN); what no RFC gives is ICMP_OTHER. */
enum icmp_kind icmp_kind_of(uint8_t version, uint8_t type, uint8_t code);
/* `data`: the ICMP header and what follows. Verifies the checksum where check_sum. The family is that of
 * ip->version. Every member of *m is set. */
enum drop icmp_parse(struct icmp_message *m, const struct ip_header *ip, const uint8_t *data, size_t len_bytes,
                     bool check_sum);
/* Writes the 8-octet header for m->kind in the family of ip->src, with the checksum over `m->data` included (pseudo-header
 * of `ip` for v6). Type and code are those of the kind, but m->code for ICMP_PARAMETER, and both m->type and m->code for
 * ICMP_OTHER. A v4 MTU beyond 65535 is written as 65535. */
void icmp_emit(uint8_t *out, const struct ip_header *ip, const struct icmp_message *m);
/* How much of a packet an error about it quotes: at most 576 octets in all for v4 (RFC 1812 4.3.2.3), 1280 for v6. */
size_t icmp_quote_bytes(uint8_t version, size_t packet_bytes);
/* Everything but echo and ICMP_OTHER. */
bool icmp_is_error(enum icmp_kind kind);
