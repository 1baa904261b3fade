/* SPDX-License-Identifier: MIT */
/* span: see span.h. */
#include "net/span.h"
#include <assert.h>
#include <string.h>

enum { SPAN_SMALL_BYTES = 2048 }; /* of a fresh buffer for a writer who may write little */

static struct span *span_new(struct pool *spans, struct buf *buf, uint8_t *data, uint32_t len_bytes)
{
    struct span *s = pool_get(spans);

    if (!s)
        return NULL;
    s->buf = buf_ref(buf);
    s->data = data;
    s->len_bytes = len_bytes;
    return s;
}

static void span_free(struct pool *spans, struct span *s)
{
    buf_unref(s->buf);
    pool_put(spans, s);
}

static void span_link(struct span_queue *q, struct span *s)
{
    if (q->tail)
        q->tail->next = s;
    else
        q->head = s;
    q->tail = s;
    q->bytes += s->len_bytes;
}

bool span_append(struct span_queue *q, struct pool *spans, struct buf *buf, uint8_t *data,
                 uint32_t len_bytes)
{
    struct span *s = q->tail;

    if (s && s->buf == buf && s->data + s->len_bytes == data) {
        s->len_bytes += len_bytes;
        q->bytes += len_bytes;
        return true;
    }
    s = span_new(spans, buf, data, len_bytes);
    if (!s)
        return false;
    span_link(q, s);
    return true;
}

static struct span_place span_place_or_front(const struct span_queue *q, struct span_place at)
{
    if (!at.span && q->head)
        at = (struct span_place){.span = q->head, .octet = q->head->data};
    return at;
}

/* Octets of at.span from `at` to its end. */
static uint32_t span_left(struct span_place at)
{
    return (uint32_t)(at.span->data + at.span->len_bytes - at.octet);
}

int span_view(const struct span_queue *q, struct span_place at, uint32_t len_bytes, adit_iov *iov,
              int iov_max)
{
    int n = 0;

    at = span_place_or_front(q, at);
    while (at.span && len_bytes > 0 && n < iov_max) {
        uint32_t take = span_left(at);

        if (take > len_bytes)
            take = len_bytes;
        if (take > 0)
            iov[n++] = (adit_iov){.base = at.octet, .len = take};
        len_bytes -= take;
        at.span = at.span->next;
        at.octet = at.span ? at.span->data : NULL;
    }
    return n;
}

void span_join(struct span_queue *q, struct span_queue *from)
{
    if (!from->head)
        return;
    if (q->tail)
        q->tail->next = from->head;
    else
        q->head = from->head;
    q->tail = from->tail;
    q->bytes += from->bytes;
    *from = (struct span_queue){0};
}

void span_consume(struct span_queue *q, struct pool *spans, uint32_t len_bytes)
{
    assert(len_bytes <= q->bytes);
    q->bytes -= len_bytes;
    q->settled_bytes -= len_bytes < q->settled_bytes ? len_bytes : q->settled_bytes;
    while (len_bytes > 0) {
        struct span *s = q->head;

        if (len_bytes < s->len_bytes) {
            s->data += len_bytes;
            s->len_bytes -= len_bytes;
            return;
        }
        len_bytes -= s->len_bytes;
        q->head = s->next;
        if (!q->head)
            q->tail = NULL;
        span_free(spans, s);
    }
}

static uint32_t span_room(const struct span *s)
{
    return (uint32_t)(s->buf->data + s->buf->capacity - (s->data + s->len_bytes));
}

/* One more span with a fresh buffer at the end of the reserved ones. */
static struct span *reserve_one(struct span_queue *q, struct pool *spans, struct buf_pool *bufs, size_t len_bytes)
{
    struct buf *b = buf_new(bufs, len_bytes);
    struct span *s = b ? span_new(spans, b, b->data, 0) : NULL;
    struct span **at = &q->reserved;

    buf_unref(b); /* the span holds it */
    if (!s)
        return NULL;
    while (*at)
        at = &(*at)->next;
    *at = s;
    return s;
}

/* How large a fresh buffer should be. */
static uint32_t reserve_bytes(uint32_t len_bytes, bool bulk)
{
    if (!bulk || len_bytes < SPAN_SMALL_BYTES)
        return SPAN_SMALL_BYTES;
    return len_bytes < BUF_PACKET_BYTES ? len_bytes : BUF_PACKET_BYTES;
}

int span_reserve(struct span_queue *q, struct pool *spans, struct buf_pool *bufs, uint32_t len_bytes,
                 bool bulk, adit_iov *iov, int iov_max)
{
    int n = 0;

    span_release_reserved(q, spans);
    if (q->tail && span_room(q->tail) > 0 && iov_max > 0) {
        uint32_t room = span_room(q->tail);

        room = room < len_bytes ? room : len_bytes;
        iov[n++] = (adit_iov){.base = q->tail->data + q->tail->len_bytes, .len = room};
        len_bytes -= room;
    }
    while (len_bytes > 0 && n < iov_max) {
        struct span *s = reserve_one(q, spans, bufs, reserve_bytes(len_bytes, bulk));
        uint32_t room;

        if (!s)
            break;
        room = s->buf->capacity < len_bytes ? s->buf->capacity : len_bytes;
        iov[n++] = (adit_iov){.base = s->data, .len = room};
        len_bytes -= room;
        bulk = true;
    }
    return n;
}

void span_release_reserved(struct span_queue *q, struct pool *spans)
{
    while (q->reserved) {
        struct span *s = q->reserved;

        q->reserved = s->next;
        span_free(spans, s);
    }
}

void span_commit(struct span_queue *q, struct pool *spans, uint32_t len_bytes)
{
    if (q->tail && len_bytes > 0) {
        uint32_t room = span_room(q->tail);

        room = room < len_bytes ? room : len_bytes;
        q->tail->len_bytes += room;
        q->bytes += room;
        len_bytes -= room;
    }
    while (len_bytes > 0) {
        struct span *s = q->reserved;

        assert(s);
        q->reserved = s->next;
        s->next = NULL;
        s->len_bytes = s->buf->capacity < len_bytes ? s->buf->capacity : len_bytes;
        len_bytes -= s->len_bytes;
        span_link(q, s);
    }
    span_release_reserved(q, spans);
}

/* Whether a span wastes its buffer: it holds less than half of it. */
static bool span_is_sparse(const struct span *s)
{
    return s->len_bytes < s->buf->capacity / 2;
}

/* Copies s to the end of `to` where that is a buffer of our own with room for it. */
static bool span_merge(struct span *to, const struct span *s)
{
    if (!to || to->buf->refs != 1 || span_room(to) < s->len_bytes)
        return false;
    memcpy(to->data + to->len_bytes, s->data, s->len_bytes);
    to->len_bytes += s->len_bytes;
    return true;
}

/* Octets of s and of the sparse spans after it, as far as one buffer takes them. */
static uint32_t sparse_run_bytes(const struct span *s)
{
    uint32_t bytes = 0;

    for (; s && span_is_sparse(s) && bytes + s->len_bytes <= BUF_PACKET_BYTES; s = s->next)
        bytes += s->len_bytes;
    return bytes;
}

/* Moves s into a buffer that fits it and what follows. */
static void span_shrink(struct span *s, struct buf_pool *bufs)
{
    uint32_t run_bytes = sparse_run_bytes(s);
    struct buf *b;

    if (run_bytes * 2 > s->buf->capacity && s->buf->refs == 1 && s->data == s->buf->data)
        return; /* what follows will fill it */
    if (s->buf->size == BUF_256)
        return; /* there is no smaller one; what follows goes into it */
    b = buf_new(bufs, run_bytes);
    if (!b)
        return; /* it stays sparse; the budget knows about the large buffer */
    memcpy(b->data, s->data, s->len_bytes);
    buf_unref(s->buf);
    s->buf = b;
    s->data = b->data;
}

void span_settle(struct span_queue *q, struct pool *spans, struct buf_pool *bufs)
{
    struct span *prev = NULL, *s = q->head;
    uint32_t skip = q->settled_bytes;

    if (skip == q->bytes)
        return;
    /* Everything in front of the last settled span is dense; that span itself may take more. */
    while (s && s->next && skip >= s->len_bytes) {
        skip -= s->len_bytes;
        prev = s;
        s = s->next;
    }
    while (s) {
        struct span *next = s->next;

        if (span_is_sparse(s) && span_merge(prev, s)) {
            prev->next = next;
            if (!next)
                q->tail = prev;
            span_free(spans, s);
        } else {
            if (span_is_sparse(s))
                span_shrink(s, bufs);
            prev = s;
        }
        s = next;
    }
    q->settled_bytes = q->bytes;
}

static uint32_t span_held_bytes(const struct span_queue *q)
{
    uint32_t bytes = 0;

    for (const struct span *s = q->head; s; s = s->next)
        bytes += s->buf->capacity;
    return bytes;
}

void span_compact(struct span_queue *q, struct pool *spans, struct buf_pool *bufs)
{
    struct span_queue one = {0};
    struct buf *b;
    uint32_t at = 0;

    if (q->bytes == 0 || q->bytes > BUF_PACKET_BYTES || q->bytes * 2 > span_held_bytes(q))
        return;
    b = buf_new(bufs, q->bytes);
    if (b && b->capacity * 2 <= span_held_bytes(q) && span_append(&one, spans, b, b->data, q->bytes)) {
        for (const struct span *s = q->head; s; at += s->len_bytes, s = s->next)
            memcpy(b->data + at, s->data, s->len_bytes);
        span_clear(q, spans);
        *q = one;
    }
    buf_unref(b);
}

void span_clear(struct span_queue *q, struct pool *spans)
{
    span_release_reserved(q, spans);
    span_consume(q, spans, q->bytes);
    *q = (struct span_queue){0};
}

struct span_place span_advance(const struct span_queue *q, struct span_place at, uint32_t len_bytes)
{
    at = span_place_or_front(q, at);
    /* The end of a span that has a successor is the successor's front: a place may not depend on octets before it. */
    while (at.span && at.span->next && len_bytes >= span_left(at)) {
        len_bytes -= span_left(at);
        at.span = at.span->next;
        at.octet = at.span->data;
    }
    if (at.span) {
        assert(len_bytes <= span_left(at));
        at.octet += len_bytes;
    }
    return at;
}
