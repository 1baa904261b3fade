/* SPDX-License-Identifier: MIT */
/* net/ip: IP packets in: what is served, reassembly, and to whom the payload goes. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "wire/drop.h"
#include "wire/ip.h"
#include "wire/packet.h"

struct net;

/* The verdict on a packet, not counted. */
enum drop ip_input(struct net *net, const struct packet *p, uint64_t now_ns);
/* Whether this packet is for one of config.loopbacks, and comes back by ip_turn(). */
bool ip_turns(const struct net *net, const struct ip_header *h);
/* Sends it back whence it came, with source and destination changed about. */
enum drop ip_turn(struct net *net, const struct ip_header *h, const struct packet *p);
