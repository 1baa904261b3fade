/* SPDX-License-Identifier: MIT */
/* tcp_answer: segments that need no connection: refusals, and how any segment begins. Whoever terminates TCP needs them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "net/net.h"
#include "wire/tcp.h"

/* Writes IP and TCP header (of `s`; IP addresses of *ip) into p, whose payload_bytes is set, with the pseudo-header's sum. */
void tcp_out_begin(struct net *net, struct packet_out *p, struct ip_header *ip, const struct tcp_segment *s);
/* RFC 9293 3.10.7.1: the RST that answers this segment. `about`: its IP header. */
void tcp_answer_reset(struct net *net, const struct ip_header *about, const struct tcp_segment *s);
/* The ICMP error for a verdict on the SYN that began the flow `key`. The SYN itself is gone: what an error has to quote of it
 * is known. */
void tcp_answer_unreachable(struct net *net, const struct flow_key *key, uint32_t isn, int verdict, uint64_t now_ns);
/* Whether the checksum is right, or need not be looked at. */
bool tcp_checksum_is_right(const struct net *net, const struct ip_header *ip, const struct packet *p);
