/* SPDX-License-Identifier: MIT */
/* net/ip: IP packets in: what is served, reassembly, and to whom the payload goes. */
#pragma once
#include <stdint.h>
#include "wire/drop.h"
#include "wire/packet.h"

struct net;

/* The verdict on a packet, not counted. */
enum drop ip_input(struct net *net, const struct packet *p, uint64_t now_ns);
