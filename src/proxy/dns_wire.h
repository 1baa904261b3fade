/* SPDX-License-Identifier: MIT */
/* dns_wire: as much of DNS (RFC 1035, EDNS: RFC 6891) as a handler needs that answers one name itself, or that carries
 * somebody else's answers from TCP to UDP. Pure; strict about what it reads. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/base.h"

enum {
    DNS_HEADER_BYTES = 12,
    DNS_UDP_BYTES = 512, /* what every client takes */
    DNS_UDP_MAX_BYTES =
        4096, /* the most that an answer over UDP is given, whatever the client says */
    DNS_NAME_MAX = 255,
    DNS_ANSWER_MAX = DNS_HEADER_BYTES + DNS_NAME_MAX + 4 + 12 + 16 + 11, /* of dns_answer() */
};
enum {
    DNS_TYPE_A = 1,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_OPT = 41,
    DNS_TYPE_ANY = 255,
    DNS_CLASS_IN = 1
};

struct dns_query {
    uint16_t id, flags;
    uint8_t name[DNS_NAME_MAX]; /* labels, lower case, with the root's at the end */
    uint8_t name_bytes;
    uint16_t type, class;
    size_t question_bytes; /* of the message, from its 12th octet on */
    bool has_edns;
    uint8_t edns_version;
    uint16_t udp_bytes; /* what the client takes: 512 to 4096 */
};

/* What a message deserves. */
enum dns_parse {
    DNS_QUERY,       /* a query with one question */
    DNS_MALFORMED,   /* a query, but it deserves "format error"; id and flags are set */
    DNS_UNSUPPORTED, /* an operation other than a query; id and flags are set */
    DNS_NO_QUERY,    /* too short, or an answer: silence, lest two such ends talk for ever */
};
enum dns_parse dns_query_parse(struct dns_query *out, const uint8_t *data, size_t len_bytes);

/* One name of ours. */
struct dns_record {
    const char *name; /* "hello.adit.test", lower case */
    adit_addr a4, a6;
    uint32_t ttl_seconds;
};
/* Writes the answer to a message, by a server that knows one name and is sure that there is no other. Returns its
 * length; 0: silence. */
size_t dns_answer(uint8_t out[DNS_ANSWER_MAX], const uint8_t *data, size_t len_bytes,
                  const struct dns_record *record);

/* Cuts an answer, of which len_bytes are there, to its header and question, marked as truncated: the client asks
 * again over TCP. Returns the new length; 0: it is no answer. */
size_t dns_truncate(uint8_t *answer, size_t len_bytes);
