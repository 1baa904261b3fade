/* SPDX-License-Identifier: MIT */
/* wire/icmp: ICMP and ICMPv6.
 *
 *    0        1        2      4          8
 *   +--------+--------+--------+--------+ - - - - - - - - - -
 *   |  type  |  code  |    checksum     |
 *   +--------+--------+-----------------+   echo: payload
 *   | id, seq | mtu | pointer | unused  |   errors: the packet quoted
 *   +-----------------------------------+ - - - - - - - - - -
 *
 * Both families say the same things with other numbers, so there is one list of kinds. What is heard may use many codes for
 * one kind and is read by `icmp4_kind` and `icmp6_kind`; what we say uses one each and stands in a table.
 *
 * What follows the quoted packet (RFC 4884 extensions) is not looked at: the quoted IP header says where its packet
 * ends. The unused octets of what we send are 0, which says that there is no extension. */
#include "wire/icmp.h"
#include "base/bytes.h"
#include "wire/checksum.h"

enum {
    ICMP4_ECHO_REPLY = 0,
    ICMP4_UNREACH = 3,
    ICMP4_ECHO_REQUEST = 8,
    ICMP4_TIME_EXCEEDED = 11,
    ICMP4_PARAMETER = 12,
    ICMP6_UNREACH = 1,
    ICMP6_TOO_BIG = 2,
    ICMP6_TIME_EXCEEDED = 3,
    ICMP6_PARAMETER = 4,
    ICMP6_ECHO_REQUEST = 128,
    ICMP6_ECHO_REPLY = 129,
};

enum { ICMP4_ERROR_BYTES_MAX = 576, ICMP6_ERROR_BYTES_MAX = 1280 };

/* By code: RFC 792, 1122 (3.2.2.1), 1812 (5.2.7.1). */
static enum icmp_kind icmp4_unreach_kind(uint8_t code)
{
    static const enum icmp_kind kinds[] = {
        ICMP_UNREACH_NET,   ICMP_UNREACH_HOST,  ICMP_UNREACH_PROTOCOL,
        ICMP_UNREACH_PORT,  ICMP_TOO_BIG,       ICMP_UNREACH_HOST /* source route failed */,
        ICMP_UNREACH_NET,   ICMP_UNREACH_HOST,  ICMP_UNREACH_HOST /* source isolated */,
        ICMP_UNREACH_ADMIN, ICMP_UNREACH_ADMIN, ICMP_UNREACH_NET /* for this type of service */,
        ICMP_UNREACH_HOST,  ICMP_UNREACH_ADMIN, ICMP_UNREACH_ADMIN /* precedence */,
        ICMP_UNREACH_ADMIN,
    };

    return code < sizeof(kinds) / sizeof(kinds[0]) ? kinds[code] : ICMP_OTHER;
}

/* RFC 4443 3.1; 5 and 6 are a policy's, 7 (RFC 6554) is a source route's, 8 (RFC 8883) a limit's. */
static enum icmp_kind icmp6_unreach_kind(uint8_t code)
{
    static const enum icmp_kind kinds[] = {
        ICMP_UNREACH_NET,  ICMP_UNREACH_ADMIN, ICMP_UNREACH_HOST,  ICMP_UNREACH_HOST,
        ICMP_UNREACH_PORT, ICMP_UNREACH_ADMIN, ICMP_UNREACH_ADMIN, ICMP_UNREACH_HOST,
    };

    return code < sizeof(kinds) / sizeof(kinds[0]) ? kinds[code] : ICMP_OTHER;
}

static enum icmp_kind icmp_time_kind(uint8_t code)
{
    if (code > 1)
        return ICMP_OTHER;
    return code == 0 ? ICMP_TTL_EXCEEDED : ICMP_REASSEMBLY_EXCEEDED;
}

static enum icmp_kind icmp4_kind(uint8_t type, uint8_t code)
{
    switch (type) {
    case ICMP4_ECHO_REQUEST:
        return ICMP_ECHO_REQUEST;
    case ICMP4_ECHO_REPLY:
        return ICMP_ECHO_REPLY;
    case ICMP4_UNREACH:
        return icmp4_unreach_kind(code);
    case ICMP4_TIME_EXCEEDED:
        return icmp_time_kind(code);
    case ICMP4_PARAMETER:
        return code <= 2 ? ICMP_PARAMETER : ICMP_OTHER;
    }
    return ICMP_OTHER;
}

static enum icmp_kind icmp6_kind(uint8_t type, uint8_t code)
{
    switch (type) {
    case ICMP6_ECHO_REQUEST:
        return ICMP_ECHO_REQUEST;
    case ICMP6_ECHO_REPLY:
        return ICMP_ECHO_REPLY;
    case ICMP6_UNREACH:
        return icmp6_unreach_kind(code);
    case ICMP6_TOO_BIG:
        return ICMP_TOO_BIG;
    case ICMP6_TIME_EXCEEDED:
        return icmp_time_kind(code);
    case ICMP6_PARAMETER:
        return code == 1 ? ICMP_UNREACH_PROTOCOL : ICMP_PARAMETER;
    }
    return ICMP_OTHER;
}

enum icmp_kind icmp_kind_of(uint8_t version, uint8_t type, uint8_t code)
{
    return version == 4 ? icmp4_kind(type, code) : icmp6_kind(type, code);
}

/* The second word, which each kind uses in its own way. */
static void icmp_parse_word(struct icmp_message *m, const uint8_t *word, bool is4)
{
    switch (m->kind) {
    case ICMP_ECHO_REQUEST:
    case ICMP_ECHO_REPLY:
        m->id = get_be16(word);
        m->seq = get_be16(word + 2);
        break;
    case ICMP_TOO_BIG:
        m->mtu_bytes = is4 ? get_be16(word + 2) : get_be32(word);
        break;
    case ICMP_UNREACH_PROTOCOL:
    case ICMP_PARAMETER:
        if (!is4)
            m->pointer = get_be32(word);
        else if (m->type == ICMP4_PARAMETER)
            m->pointer = word[0];
        break;
    case ICMP_UNREACH_NET:
    case ICMP_UNREACH_HOST:
    case ICMP_UNREACH_PORT:
    case ICMP_UNREACH_ADMIN:
    case ICMP_TTL_EXCEEDED:
    case ICMP_REASSEMBLY_EXCEEDED:
    case ICMP_OTHER:
        break;
    }
}

enum drop icmp_parse(struct icmp_message *m, const struct ip_header *ip, const uint8_t *data,
                     size_t len_bytes, bool check_sum)
{
    bool is4 = ip->version == 4;
    uint64_t sum = 0;

    *m = (struct icmp_message){.kind = ICMP_OTHER};
    if (len_bytes < ICMP_HEADER_BYTES)
        return DROP_ICMP_HEADER;
    if (check_sum) {
        if (!is4)
            sum = checksum_pseudo(ip->src, ip->dst, IP_PROTO_ICMPV6, (uint32_t)len_bytes);
        if (checksum_finish(checksum_add(sum, data, len_bytes)) != 0)
            return DROP_ICMP_CHECKSUM;
    }
    m->type = data[0];
    m->code = data[1];
    m->kind = icmp_kind_of(ip->version, m->type, m->code);
    icmp_parse_word(m, data + 4, is4);
    m->data = data + ICMP_HEADER_BYTES;
    m->data_bytes = (uint32_t)(len_bytes - ICMP_HEADER_BYTES);
    return DROP_NONE;
}

/* Type and code of what we say. */
static void icmp_emit_type(uint8_t *out, const struct icmp_message *m, bool is4)
{
    static const uint8_t types[][4] = {
        /* v4 type and code, v6 type and code */
        [ICMP_ECHO_REQUEST] = {ICMP4_ECHO_REQUEST, 0, ICMP6_ECHO_REQUEST, 0},
        [ICMP_ECHO_REPLY] = {ICMP4_ECHO_REPLY, 0, ICMP6_ECHO_REPLY, 0},
        [ICMP_UNREACH_NET] = {ICMP4_UNREACH, 0, ICMP6_UNREACH, 0},
        [ICMP_UNREACH_HOST] = {ICMP4_UNREACH, 1, ICMP6_UNREACH, 3},
        [ICMP_UNREACH_PROTOCOL] = {ICMP4_UNREACH, 2, ICMP6_PARAMETER, 1},
        [ICMP_UNREACH_PORT] = {ICMP4_UNREACH, 3, ICMP6_UNREACH, 4},
        [ICMP_UNREACH_ADMIN] = {ICMP4_UNREACH, 13, ICMP6_UNREACH, 1},
        [ICMP_TOO_BIG] = {ICMP4_UNREACH, 4, ICMP6_TOO_BIG, 0},
        [ICMP_TTL_EXCEEDED] = {ICMP4_TIME_EXCEEDED, 0, ICMP6_TIME_EXCEEDED, 0},
        [ICMP_REASSEMBLY_EXCEEDED] = {ICMP4_TIME_EXCEEDED, 1, ICMP6_TIME_EXCEEDED, 1},
        [ICMP_PARAMETER] = {ICMP4_PARAMETER, 0, ICMP6_PARAMETER, 0},
        [ICMP_OTHER] = {0, 0, 0, 0},
    };
    const uint8_t *pair = types[m->kind] + (is4 ? 0 : 2);

    out[0] = m->kind == ICMP_OTHER ? m->type : pair[0];
    out[1] = m->kind == ICMP_OTHER || m->kind == ICMP_PARAMETER ? m->code : pair[1];
}

static void icmp_emit_word(uint8_t *word, const struct icmp_message *m, bool is4)
{
    put_be32(word, 0);
    switch (m->kind) {
    case ICMP_ECHO_REQUEST:
    case ICMP_ECHO_REPLY:
        put_be16(word, m->id);
        put_be16(word + 2, m->seq);
        break;
    case ICMP_TOO_BIG:
        if (is4)
            put_be16(word + 2, m->mtu_bytes < UINT16_MAX ? (uint16_t)m->mtu_bytes : UINT16_MAX);
        else
            put_be32(word, m->mtu_bytes);
        break;
    case ICMP_UNREACH_PROTOCOL:
        if (!is4)
            put_be32(word, m->pointer);
        break;
    case ICMP_PARAMETER:
        put_be32(word, is4 ? m->pointer << 24 : m->pointer);
        break;
    case ICMP_UNREACH_NET:
    case ICMP_UNREACH_HOST:
    case ICMP_UNREACH_PORT:
    case ICMP_UNREACH_ADMIN:
    case ICMP_TTL_EXCEEDED:
    case ICMP_REASSEMBLY_EXCEEDED:
    case ICMP_OTHER:
        break;
    }
}

void icmp_emit(uint8_t *out, const struct ip_header *ip, const struct icmp_message *m)
{
    bool is4 = ip_is_mapped4(ip->src);
    uint64_t sum = 0;

    icmp_emit_type(out, m, is4);
    put_be16(out + 2, 0);
    icmp_emit_word(out + 4, m, is4);
    if (!is4)
        sum = checksum_pseudo(ip->src, ip->dst, IP_PROTO_ICMPV6, ICMP_HEADER_BYTES + m->data_bytes);
    sum = checksum_add(sum, out, ICMP_HEADER_BYTES);
    put_be16(out + 2, checksum_finish(checksum_add(sum, m->data, m->data_bytes)));
}

size_t icmp_quote_bytes(uint8_t version, size_t packet_bytes)
{
    size_t room = version == 4 ? ICMP4_ERROR_BYTES_MAX - IP4_HEADER_BYTES - ICMP_HEADER_BYTES
                               : ICMP6_ERROR_BYTES_MAX - IP6_HEADER_BYTES - ICMP_HEADER_BYTES;

    return packet_bytes < room ? packet_bytes : room;
}

bool icmp_is_error(enum icmp_kind kind)
{
    return kind != ICMP_ECHO_REQUEST && kind != ICMP_ECHO_REPLY && kind != ICMP_OTHER;
}
