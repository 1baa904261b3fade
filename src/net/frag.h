/* SPDX-License-Identifier: MIT */
/* frag: reassembly of IPv4 and IPv6 fragments (RFC 791, 815, 5722, 6946, 7112, 8200).
 *
 * Limits: FRAG_BYTES_MAX octets in all, FRAG_DATAGRAMS_MAX datagrams, FRAG_PER_SOURCE_MAX of them per source address,
 * FRAG_PARTS_MAX fragments a datagram (65535 octets at an MTU of 1280 are 53), 15 s. Any overlap drops the whole datagram
 * (an exact duplicate of one fragment is ignored), and what still comes of it is dropped until it times out. The first
 * fragment must hold all extension headers and the whole transport header (TCP: 20 octets, UDP and ICMP: 8). No lengths but
 * multiples of 8 except in the last, nothing beyond 65535. */
#pragma once
#include <stdint.h>
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"
#include "wire/drop.h"
#include "wire/ip.h"
#include "wire/packet.h"

struct net;

enum { FRAG_BYTES_MAX = 1024 * 1024, FRAG_DATAGRAMS_MAX = 256, FRAG_PER_SOURCE_MAX = 64, FRAG_PARTS_MAX = 64 };
#define FRAG_TIMEOUT_NS 15000000000ull

struct frag_table {
    struct hash datagrams;
    struct pool datagram_pool, part_pool;
    struct list by_age; /* oldest first */
    uint64_t bytes; /* capacity of the buffers that hold fragments */
};

void frag_init(struct frag_table *t, struct net *net);
void frag_deinit(struct frag_table *t, struct net *net);
/* Takes a fragment. DROP_NONE with whole->buf != NULL: the datagram is complete: `whole` is the packet (header of
 * the first fragment with the fragment fields cleared, checksum state UNKNOWN), one reference to be released by the
 * caller. DROP_NONE with whole->buf == NULL: kept. */
enum drop frag_input(struct net *net, const struct ip_header *h, const struct packet *p, struct packet *whole,
                     uint64_t now_ns);
/* Gives up datagrams that are too old (an ICMP reassembly time exceeded goes out where the first fragment is there). */
void frag_expire(struct net *net, uint64_t now_ns);
uint64_t frag_next_ns(const struct frag_table *t);
