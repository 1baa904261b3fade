/* SPDX-License-Identifier: MIT */
/* span: queues of octets that are made of references to buffers: what was received and not consumed, what came out of
 * order, what is to be sent and not acknowledged.
 *
 *   queue --> span --> span --> span          a span is [data, data + len) inside buf, of which it holds one reference
 *
 * Bytes enter by reference (a received packet) or by being written into room at the end (`span_reserve`, then
 * `span_commit`), and leave at the front. A queue that stays filled over the end of a turn is settled: spans
 * that hold less than half of a large buffer are copied together into smaller ones, so that memory held per octet
 * queued stays within a factor of two whatever the sizes of the packets were. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/base.h"
#include "base/buf.h"
#include "base/pool.h"

struct span {
    struct span *next;
    struct buf *buf;
    uint8_t *data;
    uint32_t len_bytes;
};

struct span_queue {
    struct span *head, *tail;
    struct span *reserved;  /* fresh ones, to be written to and linked; not part of the queue yet */
    uint32_t bytes;
    uint32_t settled_bytes; /* of the front, looked at by span_settle() before */
};

/* A place in a queue: an octet of `span`, or the end of the last span. NULL span: the front of the queue. It stays valid while
 * octets in front of it are consumed (all of them: then it is the front again) and others are appended. */
struct span_place {
    struct span *span;
    uint8_t *octet;
};

/* Appends [data, data + len) of buf, taking a reference of its own. False: no memory. */
bool span_append(struct span_queue *q, struct pool *spans, struct buf *buf, uint8_t *data, uint32_t len_bytes);
/* Up to iov_max views of the octets from `at` on, at most len_bytes. Returns how many views. */
int span_view(const struct span_queue *q, struct span_place at, uint32_t len_bytes, adit_iov *iov, int iov_max);
/* Moves all of `from` to the end of q. */
void span_join(struct span_queue *q, struct span_queue *from);
/* Drops octets at the front. */
void span_consume(struct span_queue *q, struct pool *spans, uint32_t len_bytes);
/* Room for up to len_bytes after the end: first what is left in the last buffer, then fresh ones, none much larger than what
 * is to go into it and the first of them small unless `bulk`. Returns the number of pieces; 0: no memory. */
int span_reserve(struct span_queue *q, struct pool *spans, struct buf_pool *bufs, uint32_t len_bytes, bool bulk,
                 adit_iov *iov, int iov_max);
/* The first len_bytes of the pieces, at most all of them, have been written: they are in the queue, whatever memory is left.
 * Gives the other buffers back. */
void span_commit(struct span_queue *q, struct pool *spans, uint32_t len_bytes);
void span_release_reserved(struct span_queue *q, struct pool *spans);
void span_settle(struct span_queue *q, struct pool *spans, struct buf_pool *bufs);
/* Puts all octets into one buffer of their size, where that is less than half of what they hold now. No place in the queue
 * is valid after it, and nothing is reserved. */
void span_compact(struct span_queue *q, struct pool *spans, struct buf_pool *bufs);
void span_clear(struct span_queue *q, struct pool *spans); /* what is reserved, too */
/* `at` moved on by len_bytes, which must be in the queue. */
struct span_place span_advance(const struct span_queue *q, struct span_place at, uint32_t len_bytes);
