/* SPDX-License-Identifier: MIT */
/* selftest_linux: does the kernel do with super-segments what it says? Asked of the live device, before traffic. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "dev/netlink_linux.h"

/* fd: a TUN that is up and has the address `own`; called in its network namespace. takes: what to try, VNET_*.
 * Returns those of them that failed. Lasts about 50 ms where a firewall eats the answers, else much less than one. */
unsigned selftest_run(int fd, const struct netlink_prefix *own, unsigned takes);
/* Whether a super-segment of TCP over IPv4 as long as any of ours, whose header cannot state that, arrives whole. own: IPv4.
 * Nothing is proven, and the answer is no, without CAP_NET_RAW in that namespace or with a firewall in the way. At most 40 ms,
 * mostly much less than one. */
bool selftest_big4(int fd, const struct netlink_prefix *own);
