/* SPDX-License-Identifier: MIT */
/* sock: opening the sockets that lead out: non-blocking, close-on-exec, protected, marked and bound as the host configured
 * before they connect, so that they never re-enter the tunnel. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adit/adit.h"
#include "base/log.h"

struct sock_config {
    adit_socket (*socket)(void *ctx, int purpose, int family, int type);
    void *socket_ctx;
    int (*protect)(void *ctx, adit_socket s, const adit_dest *to);
    void *protect_ctx;
    const char *bind_iface; /* borrowed for life */
    uint32_t mark;
    const struct log *log;
    struct adit_loop *loop; /* where descriptors are out, some are reclaimed there (sock/reclaim.h); NULL: nowhere */
    struct log_limit *log_limit; /* of records about sockets that could not be opened; borrowed for life. NULL: none */
};

/* purpose: enum adit_socket_purpose; family: 4 or 6; mark: 0 for the configured one. to may be NULL (unconnected). 0 or a
 * code. */
int sock_open(adit_socket *out, const struct sock_config *c, int purpose, int family, uint32_t mark, const adit_dest *to);
/* The same for a raw ICMP (ICMPv6) socket, where ping sockets are refused. */
int sock_open_raw_icmp(adit_socket *out, const struct sock_config *c, int family, uint32_t mark, const adit_dest *to);
void sock_close(adit_socket s);
/* Closes a TCP socket with RST. */
void sock_abort(adit_socket s);
/* SO_ERROR as an adit_code; 0: none. */
int sock_error(adit_socket s);
/* Begins to connect. 0: connected; ADIT_EAGAIN: under way, the socket becomes writable; else a code. */
int sock_connect(adit_socket s, const adit_addr *to);

/* ---- by system (sock_linux.c): 0 or errno ---- */

int sock_set_mark(adit_socket s, uint32_t mark);
int sock_bind_iface(adit_socket s, int family, const char *iface);
/* Takes a TCP socket back to before its connection, options as they are. False: that has not ended for good, or it cannot be. */
bool sock_disconnect(adit_socket s);
