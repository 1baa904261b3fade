/* SPDX-License-Identifier: MIT */
/* kernel_stream: struct stream over a socket that the kernel has accepted from a device, and before that, over the SYN that
 * waits for its answer (net/nat.h). One object for a flow of the stack `system`. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "net/nat.h"
#include "net/stream.h"
#include "sock/loop.h"

struct kernel_piece { /* octets in a buffer: [at, at + bytes) */
    struct buf *buf;
    uint32_t at, bytes;
};

struct kernel_stream {
    struct nat_flow nat; /* first: the pool is the translator's */
    struct adit_loop *loop; /* NULL: not looked at yet, see kernel_stream_of() */
    struct watch watch;
    struct loop_timer timer; /* no memory: try again; closing: give up */
    int fd;                  /* -1: not accepted yet, or gone */
    struct kernel_piece rx, tx;
    uint64_t rx_total, tx_total;
    int8_t why;
    bool readable, writable; /* what the last edge said, until a call shows that it is over */
    bool hangup, urgent;     /* a short read proves nothing */
    bool is_bulk;            /* large buffers pay */
    bool is_starved;         /* no buffer was there; the timer looks again */
    bool fin_received, fin_wanted, fin_sent;
    bool is_closing;         /* close() waits for the send queue, or for the kernel to hand over the socket */
    bool is_ended;           /* STREAM_CLOSED */
    bool is_taken;           /* the socket is somebody else's */
};

/* The stream of a TCP flow, made ready for use when it is asked for first. */
struct kernel_stream *kernel_stream_of(struct adit_loop *l, struct flow *f);
/* What sockets inherit from the one that listens for them (tcp(7)): no call for each of them. */
void kernel_stream_listen(int fd, const struct net_config *c);
/* The kernel has accepted it: fd is the stream's from here on. */
void kernel_stream_attach(struct kernel_stream *k, int fd);
