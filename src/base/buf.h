/* SPDX-License-Identifier: MIT */
/* buf: reference-counted octets in four sizes.
 *
 * A received packet is read into a BUF_PACKET buffer and everything that keeps a part of it holds a
 * reference, so bytes are not copied to be kept; what is sent is collected in buffers of the same kind
 * and kept until acknowledged. Whoever keeps little of a large buffer copies it to a smaller one
 * (`buf_new(bufs, n)` picks the size), which bounds memory held per byte kept.
 *
 *     +--------------+----------------+------------------------------------------+
 *     | struct buf   | BUF_HEADROOM   | capacity                                 |
 *     +--------------+----------------+------------------------------------------+
 *                                     ^ data
 *
 * Freed buffers are kept for reuse, last freed first (cache-warm), up to `cached_max` octets; the rest
 * goes back: large ones to `struct memory`, and so to the system, small ones to pools, which do so when a block is empty.
 * What nobody needed for a while goes back as well: buf_pool_decay(), called twice a second or so while
 * something is kept, frees half of the buffers that lay there all the time since its last call. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/pool.h"

struct memory;

/* Those below BUF_POOLED_SIZES come from pools. */
enum buf_size { BUF_256, BUF_2K, BUF_16K, BUF_POOLED_SIZES = BUF_16K, BUF_PACKET, BUF_SIZES };

enum {
    BUF_HEADROOM = 128,                /* room in front of `data`: virtio-net header, IP and TCP headers */
    BUF_PACKET_BYTES = 64 * 1024 + 64, /* the largest IP packet, and a little */
};

struct buf_shelf { /* the buffers of one size that are kept */
    struct buf *first;
    uint32_t count, least; /* now; at least so many at any time since the last buf_pool_decay() */
};

struct buf_pool {
    struct memory *memory;
    struct pool small[BUF_POOLED_SIZES];
    struct buf_shelf cached[BUF_SIZES];
    uint64_t cached_bytes, cached_max_bytes;
    uint32_t used; /* buffers out; 0 when nothing leaks */
};

struct buf {
    struct buf_pool *pool;
    struct buf *next;       /* while cached */
    uint32_t refs;
    uint32_t capacity;      /* octets at `data` */
    uint8_t *data;
    uint8_t size;           /* enum buf_size */
};

void buf_pool_init(struct buf_pool *p, struct memory *memory, uint64_t cached_max_bytes);
/* Asserts that every buffer came back. */
void buf_pool_deinit(struct buf_pool *p);
/* Gives back all that is kept. */
void buf_pool_trim(struct buf_pool *p);
/* Gives back what was not needed lately. False: nothing is kept any more. */
bool buf_pool_decay(struct buf_pool *p);
/* The smallest buffer that takes `len_bytes` (at most BUF_PACKET_BYTES), with one reference, contents
 * undefined. NULL: no memory. */
struct buf *buf_new(struct buf_pool *p, size_t len_bytes);

static inline struct buf *buf_ref(struct buf *b)
{
    b->refs++;
    return b;
}

void buf_free_(struct buf *b);

/* NULL is allowed. */
static inline void buf_unref(struct buf *b)
{
    if (b && --b->refs == 0)
        buf_free_(b);
}
