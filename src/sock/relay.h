/* SPDX-License-Identifier: MIT */
/* relay: octets between a stream and a socket, both ways, with half-close, none lost or reordered.
 *
 *   up:   stream peek -> sendmsg (all slices at once) -> consume          FIN -> shutdown(SHUT_WR)
 *   down: stream reserve -> recvmsg into the send queue -> commit         EOF -> stream shutdown
 *
 * Back-pressure is the other side's: what sendmsg does not take stays in the stream and closes its window; where reserve
 * gives no room the socket is not read. A reset on one side becomes a reset on the other. The socket is watched
 * edge-triggered, registered once. The stream must be accepted (or accepting) already. */
#pragma once
#include "adit/adit.h"
#include "net/stream.h"
#include "sock/loop.h"

struct relay;

struct relay_socket {
    adit_socket s;
    struct watch *kept; /* by which it is registered already, edge-triggered; NULL: it is not */
    unsigned events;    /* that came to that one */
};

/* Owns s from the call on, also when it fails (NULL: no memory or descriptors). half_closed_ns: how long one direction may
 * stay silent after the other ended. done: once, never from inside a call: the stream has been closed or aborted by
 * then, the socket is closed, and the relay may be freed. why: 0 for both ends in order, else what ended it. Until then
 * the stream must not be freed, even where it shows STREAM_CLOSED. */
struct relay *relay_new(struct adit_loop *l, struct stream *stream, const struct relay_socket *s, uint64_t half_closed_ns,
                        void (*done)(void *arg, int why), void *arg);
/* The stream's events may have changed (its flow was on the ready list). */
void relay_stream_ready(struct relay *r);
/* What ended it, before done is called; 0: nothing yet, or both ends in order. NULL is allowed. */
int relay_why(const struct relay *r);
/* Closes the socket (with RST where the server would take what it has for all of the stream when it is not); the stream is
 * left alone, and done is not called any more. NULL is allowed. */
void relay_free(struct relay *r);
