/* SPDX-License-Identifier: MIT */
/* session: one command in its sandbox and the tunnel that carries it, from the fork to the last octet. */
#pragma once
#include "sandbox.h"
#include "tunnel.h"

/* Runs both in this thread; t is what tunnel_init() made. Returns the command's exit status, or -1: it was not started, see
 * why. The tunnel has ended then, and still knows its counters. Call it with the signals blocked (job.h). */
int session_run(struct tunnel *t, const struct sandbox_options *inside, struct complaint *why);
