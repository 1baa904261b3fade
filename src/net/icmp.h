/* SPDX-License-Identifier: MIT */
/* net/icmp: echo, errors that we send, errors that we hear.
 *
 * Errors out are never about ICMP errors, IPv4 fragments but the first, multicast, or bogus sources (RFC 1122 3.2.2, RFC
 * 4443 2.4e), are limited per destination and in all (token buckets with jitter, so that the limit is no oracle:
 * CVE-2020-25705), and quote the packet as it came. Errors in are believed only about what we sent: TCP decides by the quoted
 * sequence number (RFC 5927), UDP by the mapping. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "net/flow.h"
#include "wire/drop.h"
#include "wire/icmp.h"
#include "wire/ip.h"
#include "wire/packet.h"

struct net;

enum { ICMP_BUCKETS = 64, ICMP_ECHOES_MAX = 4096, ICMP_ECHOES_PER_CLIENT_MAX = 1024 };
/* Errors a second, and at once: to all, and to those destinations that share a bucket. */
enum {
    ICMP_ALL_PER_SECOND = 1000,
    ICMP_ALL_BURST = 500,
    ICMP_DESTINATION_PER_SECOND = 100,
    ICMP_DESTINATION_BURST = 50,
};

struct icmp_limits {
    struct icmp_bucket {
        uint64_t refilled_ns;
        int32_t tokens; /* may be in debt by one */
    } all, by_destination[ICMP_BUCKETS];
};

/* One source's echo requests to one destination with one identifier. Lives until idle (config.icmp_ns). */
struct echo {
    struct flow flow;
    int verdict;          /* of prepare() */
    uint64_t timeout_ns;
};

/* All buckets full. */
void icmp_limits_init(struct icmp_limits *l, uint64_t now_ns);
enum drop icmp_input(struct net *net, const struct ip_header *ip, const struct packet *p, uint64_t now_ns);
/* An error about a packet that arrived (quoted from p), from the address `from` (16 octets; NULL: the packet's own
 * destination). kind: ICMP_UNREACH_*, ICMP_TOO_BIG (mtu_bytes), ICMP_TTL_EXCEEDED, ICMP_REASSEMBLY_EXCEEDED.
 * The pointer of ICMP_UNREACH_PROTOCOL over v6 is about->proto_at.
 * DROP_NONE, or why it was not sent. Of these, the rate limit and a full device are counted; that there must be no error
 * about such a packet is no fault. */
enum drop icmp_error(struct net *net, const struct ip_header *about, const uint8_t *packet, size_t packet_bytes,
                     enum icmp_kind kind, uint32_t mtu_bytes, const uint8_t from[16], uint64_t now_ns);
/* ICMP_PARAMETER about p, which arrived: what is wrong (the message's code) and at which offset. */
enum drop icmp_parameter(struct net *net, const struct ip_header *about, const struct packet *p, uint8_t code,
                         uint32_t pointer, uint64_t now_ns);
/* An echo reply to the client of `key` (an echo flow's), from its remote. The flow itself may be gone already. */
void icmp_reply(struct net *net, const struct flow_key *key, uint16_t seq, const void *data, size_t len_bytes, uint8_t ttl,
                uint64_t now_ns);
/* What became of an echo request that was forwarded, said by the router `from` (traceroute): ICMP_TTL_EXCEEDED,
 * ICMP_UNREACH_*, ICMP_TOO_BIG. Quotes a request made from `key` and `seq`. */
void icmp_echo_failed(struct net *net, const struct flow_key *key, uint16_t seq, enum icmp_kind kind, uint32_t mtu_bytes,
                      const uint8_t from[16], uint64_t now_ns);
/* The error that a verdict (ADIT_RESET, ADIT_UNREACH_*) means; ICMP_OTHER: none (drop). */
enum icmp_kind icmp_kind_of_verdict(int verdict);
/* Its timer has fired, or all ends: frees it. */
void icmp_echo_expire(struct net *net, struct echo *e);
