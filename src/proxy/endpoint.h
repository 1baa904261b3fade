/* SPDX-License-Identifier: MIT */
/* endpoint: what a handler does with a socket that the library opened for it. Nothing here blocks; failures are codes of
 * enum adit_code. */
#pragma once
#include <stddef.h>
#include "adit/base.h"

/* Octets taken, or ADIT_EAGAIN, ADIT_ERESET ... */
ptrdiff_t endpoint_send(adit_socket s, const void *data, size_t len_bytes);
/* > 0: octets; 0: the peer's end; ADIT_EAGAIN ... */
ptrdiff_t endpoint_recv(adit_socket s, void *data, size_t len_bytes);
void endpoint_close(adit_socket s);
int endpoint_peer(adit_socket s, adit_addr *out);

/* A datagram in two pieces, as the header and the payload of a protocol are. */
struct endpoint_dgram {
    adit_iov pieces[2];
};
/* A whole datagram received into data[0, room_bytes). */
struct endpoint_slot {
    uint8_t *data;
    size_t room_bytes, len_bytes; /* len_bytes 0: it was longer than the room, or empty */
};
enum { ENDPOINT_BATCH_MAX = 64 };

/* On a connected datagram socket, up to ENDPOINT_BATCH_MAX. One that cannot be sent is lost, as datagrams are.
 * 0, or what the socket says about itself: ADIT_EREFUSED ... */
int endpoint_send_batch(adit_socket s, const struct endpoint_dgram *d, int n);
/* How many were received, ADIT_EAGAIN, or what the socket says about itself. */
int endpoint_recv_batch(adit_socket s, struct endpoint_slot *slots, int n);
