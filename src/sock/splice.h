/* SPDX-License-Identifier: MIT */
/* splice: octets from one socket of the kernel's to another by way of a pipe, without a copy of them in this process.
 *
 *     socket --splice_in--> [ pipe: references to the kernel's pages ] --splice_out--> socket
 *
 * A pipe belongs to a direction only while octets are in it or on their way: it is taken from the worker's pool, given back
 * when it is empty, and the next flow uses it. So there are as many as directions whose reader has stalled, and one. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/list.h"

struct memory;

enum {
    PIPE_BYTES_MAX = 1024 * 1024, /* what is asked for; larger ones gain nothing */
    PIPE_BYTES_MIN = 64 * 1024,   /* a smaller one costs more calls than copying */
    PIPES_IDLE_MAX = 4,           /* kept open for the next flow */
};

struct pipe {
    struct list node;
    int read_fd, write_fd;
    uint32_t capacity_bytes;
    uint32_t bytes; /* in it */
};

struct pipe_pool {
    struct memory *memory;
    struct list idle; /* last used first */
    uint32_t idle_count;
    uint64_t used_bytes, max_bytes; /* capacities of all open ones; of the quota that the user's pipes share */
    uint64_t refused;               /* times that a direction had to go on by copies */
};

void pipe_pool_init(struct pipe_pool *p, struct memory *memory);
/* All pipes must be back. */
void pipe_pool_deinit(struct pipe_pool *p);
/* An empty pipe. NULL: none may be made; that is counted. */
struct pipe *pipe_take(struct pipe_pool *p);
/* An empty one is kept or closed; one with octets in it is closed, and they are gone. NULL is allowed. */
void pipe_give(struct pipe_pool *p, struct pipe *x);

static inline uint32_t pipe_bytes(const struct pipe *x)
{
    return x ? x->bytes : 0;
}

/* Both: octets moved; 0: the socket has ended (in only); or -errno. The socket must be O_NONBLOCK. */
ssize_t splice_in(struct pipe *x, int fd);  /* what the pipe has room for; x must be empty */
ssize_t splice_out(struct pipe *x, int fd); /* all that is in it, or less: then the socket is full */
/* The socket does not block and takes octets from a pipe (which is empty). */
bool splice_is_possible(const struct pipe *x, int fd);
/* The error says that this kind of socket, or this system, cannot do it: nothing was moved, and a copy will do. */
bool splice_is_unknown(int os);
