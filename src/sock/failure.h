/* SPDX-License-Identifier: MIT */
/* failure: what the system has heard about datagrams that a socket sent: ICMP errors of routers and of the destination,
 * and failures of its own. One file for each system (failure_linux.c: the error queue of IP_RECVERR). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/adit.h"
#include "wire/icmp.h"

struct sock_failure {
    adit_addr remote;    /* to whom the datagram went */
    adit_addr from;      /* who says so; family 0: this host */
    enum icmp_kind kind; /* ICMP_OTHER: nothing that has a meaning */
    uint32_t mtu_bytes;  /* ICMP_TOO_BIG */
    uint8_t quoted[8];   /* what the datagram began with, behind the IP header (ping sockets), or its payload (UDP) */
    size_t quoted_bytes;
};

/* Asks for failures to be queued. 0 or errno. */
int sock_want_failures(adit_socket s, int family);
/* The oldest failure, taken off the queue. False: none. */
bool sock_next_failure(adit_socket s, struct sock_failure *f);
