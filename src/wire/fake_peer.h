/* SPDX-License-Identifier: MIT */
/* fake_peer: the addresses under which the kernel sees clients, where it terminates TCP (net/nat.h): 198.19.255.0/24, of the
 * range for tests of network devices (RFC 2544), and a /120 of ours (RFC 4193). They must be routed to the device, and neither
 * prefix may hold an address of its. 256 addresses each; the last octet counts them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { FAKE_PEERS = 256 };

/* The first address of family 4 or 6; returns the length of the prefix in bits. */
uint8_t fake_peer_prefix(int family, uint8_t ip[16]);
bool ip_is_fake_peer(const uint8_t ip[16]);
