/* SPDX-License-Identifier: MIT */
/* listen: the sockets at which the kernel accepts flows that come out of a device, for the stack `system`. */
#pragma once
#include <stddef.h>
#include "adit/adit.h"

enum { LISTEN_MAX = 2 };

/* One listening socket for each family that has an address among the options, on the first of these, reachable through the
 * interface `ifname` only, and a route of the fake peers (wire/fake_peer.h) to it. In the calling thread's network namespace. */
int listen_open(const adit_options *o, const char *ifname, adit_socket out[LISTEN_MAX], size_t *count, adit_error *err);
void listen_close(adit_socket *sockets, size_t *count);
