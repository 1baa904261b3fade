/* SPDX-License-Identifier: MIT */
/* ip: the front door. Every octet here was chosen by somebody else.
 *
 *   ip_parse -- ip_parse_any --+-- ip4_parse -- ip4_check_options
 *   ip_parse_quoted ----'      +-- ip6_parse -- ip6_walk --+-- ip6_options      (hop-by-hop, destination)
 *                                               one step    +-- ip6_routing
 *                                               a header    +-- ip6_fragment
 *
 * Invariants, whatever arrives: nothing is read beyond the octets given; a header is read only after its length was
 * compared with what the packet claims, and that with what is there; header_bytes + payload_bytes never exceeds either.
 * Every loop advances by at least one octet in a run of at most 256.
 *
 * What it refuses to do: it follows no source route and no routing header, it looks at no transport header, and it
 * holds no opinion on which addresses are served (but for mapped ones on a v6 wire). AH, ESP, mobility and "no next header"
 * end the chain: they are transport protocols that nobody serves here.
 *
 * RFC 791 (3.1, options), 1122 (3.2.1), 8200 (4), 5095 (routing headers), 6946 (atomic
 * fragments), 7112 (chains), 4291 (addresses). */
#include "wire/ip.h"
#include <string.h>
#include "base/bytes.h"
#include "wire/checksum.h"

/* Bits. */
enum ip_rules {
    IP_RULE_CHECK_SUM = 1,
    IP_RULE_QUOTED = 2, /* the end may be missing; no TTL, no checksum */
};

/* IPv4 options */
enum {
    IP4_OPTION_END = 0,
    IP4_OPTION_NOP = 1,
    IP4_OPTION_LOOSE_ROUTE = 131,
    IP4_OPTION_STRICT_ROUTE = 137,
};

/* IPv6 options, and what the two high bits of an unknown one ask for */
enum {
    IP6_OPTION_PAD1 = 0,
    IP6_ACTION_MASK = 0xc0,
    IP6_ACTION_SKIP = 0x00,
    IP6_ACTION_DISCARD = 0x40,
    IP6_ACTION_PROBLEM = 0x80,
    IP6_ACTION_PROBLEM_UNICAST = 0xc0,
};

enum { IP4_PROTO_AT = 9, IP6_NEXT_AT = 6 };

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool ip_is_mapped4(const uint8_t ip[16])
{
    return memcmp(ip, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

void ip_map4(uint8_t out[16], const uint8_t v4[4])
{
    memcpy(out, mapped_prefix, sizeof(mapped_prefix));
    memcpy(out + 12, v4, 4);
}

/* Twelve zeros in front: ::/96. */
static bool ip_is_low6(const uint8_t ip[16])
{
    static const uint8_t zeros[12];

    return memcmp(ip, zeros, sizeof(zeros)) == 0;
}

bool ip_is_unspecified(const uint8_t ip[16])
{
    if (ip_is_mapped4(ip))
        return ip[12] == 0;
    return ip_is_low6(ip) && get_be32(ip + 12) == 0;
}

bool ip_is_loopback(const uint8_t ip[16])
{
    if (ip_is_mapped4(ip))
        return ip[12] == 127;
    return ip_is_low6(ip) && get_be32(ip + 12) == 1;
}

bool ip_is_multicast(const uint8_t ip[16])
{
    if (ip_is_mapped4(ip))
        return ip[12] >> 4 == 14;
    return ip[0] == 0xff;
}

bool ip_is_broadcast(const uint8_t ip[16])
{
    return ip_is_mapped4(ip) && get_be32(ip + 12) == 0xffffffff;
}

bool ip_is_link_local(const uint8_t ip[16])
{
    if (ip_is_mapped4(ip))
        return ip[12] == 169 && ip[13] == 254;
    return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

bool ip_is_reserved(const uint8_t ip[16])
{
    if (ip_is_mapped4(ip))
        return ip[12] >> 4 == 15 && !ip_is_broadcast(ip);
    return ip_is_low6(ip) && get_be32(ip + 12) > 1;
}

/* What the packet claims must be there; a quoted one may be cut. Sets payload_bytes to what is there of it. */
static enum drop ip_set_payload(struct ip_header *h, size_t claimed_bytes, size_t len_bytes,
                                unsigned rules)
{
    if (claimed_bytes > len_bytes) {
        if (!(rules & IP_RULE_QUOTED))
            return DROP_IP_TRUNCATED;
        claimed_bytes = len_bytes;
    }
    h->payload_bytes = (uint32_t)(claimed_bytes - h->header_bytes);
    return DROP_NONE;
}

static enum drop ip4_check_options(const uint8_t *options, size_t len_bytes)
{
    while (len_bytes > 0 && options[0] != IP4_OPTION_END) {
        size_t option_bytes = 1;

        if (options[0] != IP4_OPTION_NOP) {
            if (len_bytes < 2 || options[1] < 2 || options[1] > len_bytes)
                return DROP_IP_OPTIONS;
            if (options[0] == IP4_OPTION_LOOSE_ROUTE || options[0] == IP4_OPTION_STRICT_ROUTE)
                return DROP_IP_OPTIONS;
            option_bytes = options[1];
        }
        options += option_bytes;
        len_bytes -= option_bytes;
    }
    return DROP_NONE;
}

static enum drop ip4_parse(struct ip_header *h, const uint8_t *data, size_t len_bytes,
                           unsigned rules)
{
    size_t header_bytes, total_bytes;
    unsigned fragment;
    enum drop why;

    if (len_bytes < IP4_HEADER_BYTES)
        return DROP_IP_TRUNCATED;
    header_bytes = (size_t)(data[0] & 0xf) * 4;
    total_bytes = get_be16(data + 2);
    fragment = get_be16(data + 6);
    if (header_bytes < IP4_HEADER_BYTES || total_bytes < header_bytes || fragment & IP4_RESERVED)
        return DROP_IP_HEADER;
    if (header_bytes > len_bytes)
        return DROP_IP_TRUNCATED;
    h->header_bytes = (uint32_t)header_bytes;
    why = ip_set_payload(h, total_bytes, len_bytes, rules);
    if (why != DROP_NONE)
        return why;

    ip_map4(h->src, data + 12);
    ip_map4(h->dst, data + 16);
    h->tos = data[1];
    h->ttl = data[8];
    h->proto = data[IP4_PROTO_AT];
    h->proto_at = IP4_PROTO_AT;
    h->fragment_id = get_be16(data + 4);
    h->fragment_offset_bytes = (uint16_t)((fragment & IP4_OFFSET) * 8);
    h->more_fragments = (fragment & IP4_MORE_FRAGMENTS) != 0;
    h->dont_fragment = (fragment & IP4_DONT_FRAGMENT) != 0;

    if (rules & IP_RULE_CHECK_SUM && checksum_finish(checksum_add(0, data, header_bytes)) != 0)
        return DROP_IP_CHECKSUM;
    if (h->ttl == 0 && !(rules & IP_RULE_QUOTED))
        return DROP_IP_TTL;
    return ip4_check_options(data + IP4_HEADER_BYTES, header_bytes - IP4_HEADER_BYTES);
}

/* An option that we do not know and that may not be skipped. `at`: its offset in the packet. */
static enum drop ip6_refuse_option(struct ip_header *h, uint8_t type, size_t at)
{
    unsigned action = type & IP6_ACTION_MASK;

    if (action == IP6_ACTION_PROBLEM ||
        (action == IP6_ACTION_PROBLEM_UNICAST && !ip_is_multicast(h->dst)))
        h->problem_at = (uint32_t)at;
    return DROP_IP_EXTENSION;
}

/* The options of a hop-by-hop or destination header that lies at `at` and takes `bytes`. No option is acted upon, so one
 * is either skipped or refused. */
static enum drop ip6_options(struct ip_header *h, const uint8_t *data, size_t at, size_t bytes)
{
    size_t end = at + bytes;

    at += 2;
    while (at < end) {
        if (data[at] == IP6_OPTION_PAD1) {
            at++;
            continue;
        }
        if (end - at < 2 || (size_t)data[at + 1] + 2 > end - at)
            return DROP_IP_EXTENSION;
        if ((data[at] & IP6_ACTION_MASK) != IP6_ACTION_SKIP)
            return ip6_refuse_option(h, data[at], at);
        at += (size_t)data[at + 1] + 2;
    }
    return DROP_NONE;
}

/* Whatever its type: with no segments left it has done its work and is skipped. */
static enum drop ip6_routing(const uint8_t *header)
{
    return header[3] == 0 ? DROP_NONE : DROP_IP_ROUTING_HEADER;
}

static void ip6_fragment(struct ip_header *h, const uint8_t *header)
{
    unsigned field = get_be16(header + 2);

    h->fragment_offset_bytes = (uint16_t)(field & 0xfff8);
    h->more_fragments = (field & 1) != 0;
    h->fragment_id = get_be32(header + 4);
    if (ip_is_fragment(h))
        h->unfragmentable_bytes = h->header_bytes;
}

static bool ip6_is_extension(uint8_t proto)
{
    return proto == IP6_HOP_BY_HOP || proto == IP6_ROUTING || proto == IP6_FRAGMENT ||
           proto == IP6_DESTINATION;
}

/* Steps over the extension header at h->header_bytes, which h->proto names. `fragments`: fragment headers so far. */
static enum drop ip6_step(struct ip_header *h, const uint8_t *data, unsigned *fragments)
{
    size_t at = h->header_bytes, bytes = 8;
    const uint8_t *header = data + at;
    enum drop why = DROP_NONE;

    if (h->payload_bytes < 8)
        return DROP_IP_EXTENSION;
    if (h->proto != IP6_FRAGMENT)
        bytes += (size_t)header[1] * 8;
    if (bytes > h->payload_bytes || at + bytes > IP6_HEADER_BYTES + IP_EXTENSION_BYTES_MAX)
        return DROP_IP_EXTENSION;
    if (h->proto == IP6_HOP_BY_HOP && at != IP6_HEADER_BYTES)
        return DROP_IP_EXTENSION;
    if (h->proto == IP6_FRAGMENT && (*fragments)++ > 0)
        return DROP_IP_EXTENSION;

    if (h->proto == IP6_FRAGMENT)
        ip6_fragment(h, header);
    else if (h->proto == IP6_ROUTING)
        why = ip6_routing(header);
    else
        why = ip6_options(h, data, at, bytes);
    if (why != DROP_NONE)
        return why;
    h->proto = header[0];
    h->proto_at = (uint32_t)at;
    h->header_bytes += (uint32_t)bytes;
    h->payload_bytes -= (uint32_t)bytes;
    return DROP_NONE;
}

static enum drop ip6_walk(struct ip_header *h, const uint8_t *data)
{
    unsigned headers = 0, fragments = 0;

    while (ip6_is_extension(h->proto) && !ip_is_fragment(h)) {
        enum drop why;

        if (headers++ == IP_EXTENSIONS_MAX)
            return DROP_IP_EXTENSION;
        why = ip6_step(h, data, &fragments);
        if (why != DROP_NONE)
            return why;
    }
    return DROP_NONE;
}

static enum drop ip6_parse(struct ip_header *h, const uint8_t *data, size_t len_bytes,
                           unsigned rules)
{
    enum drop why;

    if (len_bytes < IP6_HEADER_BYTES)
        return DROP_IP_TRUNCATED;
    h->header_bytes = IP6_HEADER_BYTES;
    why = ip_set_payload(h, IP6_HEADER_BYTES + (size_t)get_be16(data + 4), len_bytes, rules);
    if (why != DROP_NONE)
        return why;

    memcpy(h->src, data + 8, 16);
    memcpy(h->dst, data + 24, 16);
    h->tos = (uint8_t)(get_be16(data) >> 4);
    h->proto = data[IP6_NEXT_AT];
    h->proto_at = IP6_NEXT_AT;
    h->ttl = data[7];
    h->dont_fragment = true;

    if (ip_is_mapped4(h->src))
        return DROP_IP_MARTIAN_SRC;
    if (ip_is_mapped4(h->dst))
        return DROP_IP_MARTIAN_DST;
    if (h->ttl == 0 && !(rules & IP_RULE_QUOTED))
        return DROP_IP_TTL;
    return ip6_walk(h, data);
}

static enum drop ip_parse_any(struct ip_header *h, const uint8_t *data, size_t len_bytes,
                              unsigned rules)
{
    memset(h, 0, sizeof(*h));
    if (len_bytes == 0)
        return DROP_IP_TRUNCATED;
    h->version = data[0] >> 4;
    if (h->version == 4)
        return ip4_parse(h, data, len_bytes, rules);
    if (h->version == 6)
        return ip6_parse(h, data, len_bytes, rules);
    return DROP_IP_VERSION;
}

enum drop ip_parse(struct ip_header *h, const uint8_t *data, size_t len_bytes, bool check_sum)
{
    return ip_parse_any(h, data, len_bytes, check_sum ? IP_RULE_CHECK_SUM : 0);
}

enum drop ip_parse_quoted(struct ip_header *h, const uint8_t *data, size_t len_bytes)
{
    return ip_parse_any(h, data, len_bytes, IP_RULE_QUOTED);
}

/* The field for a sum of less than 2^16 words of 32 bits in host order. */
static uint16_t ip4_checksum(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Made of words, and summed as such: a sum over octets that were just written singly waits for each of them. */
static size_t ip4_emit(uint8_t *out, const struct ip_header *h)
{
    uint64_t total_bytes = (uint64_t)h->payload_bytes + IP4_HEADER_BYTES;
    uint32_t length = total_bytes > UINT16_MAX ? 0 : (uint32_t)total_bytes;
    uint32_t first = 0x45u << 24 | (uint32_t)h->tos << 16 | length;
    uint32_t second = h->fragment_id << 16 | (h->dont_fragment ? IP4_DONT_FRAGMENT : 0);
    uint32_t third = (uint32_t)h->ttl << 24 | (uint32_t)h->proto << 16;
    uint32_t src = get_be32(h->src + 12), dst = get_be32(h->dst + 12);

    third |= ip4_checksum((uint64_t)first + second + third + src + dst);
    put_be32(out, first);
    put_be32(out + 4, second);
    put_be32(out + 8, third);
    put_be32(out + 12, src);
    put_be32(out + 16, dst);
    return IP4_HEADER_BYTES;
}

size_t ip_emit(uint8_t *out, const struct ip_header *h)
{
    if (ip_is_mapped4(h->src))
        return ip4_emit(out, h);
    put_be32(out, 6u << 28 | (uint32_t)h->tos << 20);
    put_be16(out + 4, h->payload_bytes > UINT16_MAX ? 0 : (uint16_t)h->payload_bytes);
    out[6] = h->proto;
    out[7] = h->ttl;
    memcpy(out + 8, h->src, 16);
    memcpy(out + 24, h->dst, 16);
    return IP6_HEADER_BYTES;
}
