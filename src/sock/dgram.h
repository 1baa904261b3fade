/* SPDX-License-Identifier: MIT */
/* dgram: datagrams through a UDP socket, many at a time, trains whole. One file for each system (dgram_linux.c). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adit/adit.h"

struct dgram_socket {
    adit_socket fd;
    uint32_t segment_bytes_max; /* larger datagrams do not go as trains; 0: none does */
    uint8_t family;
    bool dont_fragment; /* as the socket is set now */
};

enum { DGRAM_SEND_MAX = 64, DGRAM_RECEIVE_MAX = 16 };

/* Prepares an open socket. Never fails: what the system does not know is left out. */
void dgram_init(struct dgram_socket *s, adit_socket fd, int family);
/* Sends d[0] to d[n - 1], at most DGRAM_SEND_MAX, all of the socket's family. Returns how many are settled; if fewer than
 * n, d[returned] was refused with the errno *os. scratch: loop_scratch(). */
int dgram_send(struct dgram_socket *s, void *scratch, const adit_dgram *d, int n, int *os);
/* Receives up to DGRAM_RECEIVE_MAX datagrams or trains; their octets are in scratch. How many, or -1 with errno. */
int dgram_receive(struct dgram_socket *s, void *scratch, adit_dgram *d);
