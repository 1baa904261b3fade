/* SPDX-License-Identifier: MIT */
/* buf: where buffers come from and where they go. The fast path is a pop from, or a push to, the list of
 * cached buffers of one size; what a cached buffer costs is counted in `struct memory` like any other. */
#include "base/buf.h"
#include <assert.h>
#include "base/memory.h"
#include "base/poison.h"

/* The head is a cache line; data begins on one too. */
enum { BUF_HEAD_BYTES = 64, BUF_OVERHEAD_BYTES = BUF_HEAD_BYTES + BUF_HEADROOM };

_Static_assert(sizeof(struct buf) <= BUF_HEAD_BYTES, "struct buf fits a cache line");
_Static_assert(BUF_PACKET_BYTES >= 65535, "the largest IP packet fits");

static const uint32_t buf_capacity_bytes[BUF_SIZES] = {
    [BUF_256] = 256,
    [BUF_2K] = 2048,
    [BUF_16K] = 16 * 1024,
    [BUF_PACKET] = BUF_PACKET_BYTES,
};

static size_t buf_size_bytes(enum buf_size size)
{
    return BUF_OVERHEAD_BYTES + (size_t)buf_capacity_bytes[size];
}

void buf_pool_init(struct buf_pool *p, struct memory *memory, uint64_t cached_max_bytes)
{
    *p = (struct buf_pool){.memory = memory, .cached_max_bytes = cached_max_bytes};
    for (int size = 0; size < BUF_POOLED_SIZES; size++)
        pool_init(&p->small[size], memory, POOL_LINED(buf_size_bytes(size)), UINT32_MAX);
}

void buf_pool_deinit(struct buf_pool *p)
{
    assert(p->used == 0);
    buf_pool_trim(p);
    for (int size = 0; size < BUF_POOLED_SIZES; size++)
        pool_deinit(&p->small[size]);
}

static void buf_poison(struct buf *b)
{
    poison((uint8_t *)b + BUF_HEAD_BYTES, buf_size_bytes(b->size) - BUF_HEAD_BYTES);
}

static void buf_unpoison(struct buf *b)
{
    unpoison((uint8_t *)b + BUF_HEAD_BYTES, buf_size_bytes(b->size) - BUF_HEAD_BYTES);
}

static struct buf *buf_alloc(struct buf_pool *p, enum buf_size size)
{
    if (size < BUF_POOLED_SIZES)
        return pool_get_raw(&p->small[size]);
    return memory_alloc(p->memory, buf_size_bytes(size));
}

static void buf_give_back(struct buf_pool *p, struct buf *b)
{
    if (b->size < BUF_POOLED_SIZES)
        pool_put(&p->small[b->size], b);
    else
        memory_free(p->memory, b, buf_size_bytes(b->size));
}

static void buf_shelf_drop(struct buf_pool *p, enum buf_size size, uint32_t count)
{
    struct buf_shelf *shelf = &p->cached[size];

    for (; count > 0; count--) {
        struct buf *b = shelf->first;

        shelf->first = b->next;
        shelf->count--;
        p->cached_bytes -= buf_size_bytes(size);
        buf_unpoison(b);
        buf_give_back(p, b);
    }
    shelf->least = shelf->count;
}

void buf_pool_trim(struct buf_pool *p)
{
    for (int size = 0; size < BUF_SIZES; size++)
        buf_shelf_drop(p, size, p->cached[size].count);
}

bool buf_pool_decay(struct buf_pool *p)
{
    for (int size = 0; size < BUF_SIZES; size++)
        buf_shelf_drop(p, size, (p->cached[size].least + 1) / 2);
    return p->cached_bytes > 0;
}

/* Out of line, so that the fast path saves no registers. */
__attribute__((noinline))
static struct buf *buf_new_uncached(struct buf_pool *p, enum buf_size size)
{
    struct buf *b = buf_alloc(p, size);

    if (!b && p->cached_bytes) { /* buffers of other sizes stand in the way */
        buf_pool_trim(p);
        b = buf_alloc(p, size);
    }
    if (!b)
        return NULL;
    *b = (struct buf){
        .pool = p,
        .refs = 1,
        .capacity = buf_capacity_bytes[size],
        .data = (uint8_t *)b + BUF_OVERHEAD_BYTES,
        .size = (uint8_t)size,
    };
    p->used++;
    return b;
}

struct buf *buf_new(struct buf_pool *p, size_t len_bytes)
{
    enum buf_size size = len_bytes > 2048 ? (len_bytes > 16 * 1024 ? BUF_PACKET : BUF_16K)
                                          : (len_bytes > 256 ? BUF_2K : BUF_256);
    struct buf_shelf *shelf = &p->cached[size];
    struct buf *b = shelf->first;

    assert(len_bytes <= BUF_PACKET_BYTES);
    if (!b)
        return buf_new_uncached(p, size);
    shelf->first = b->next;
    if (--shelf->count < shelf->least)
        shelf->least = shelf->count;
    p->cached_bytes -= buf_size_bytes(size);
    p->used++;
    b->refs = 1;
    buf_unpoison(b);
    return b;
}

void buf_free_(struct buf *b)
{
    struct buf_pool *p = b->pool;
    struct buf_shelf *shelf = &p->cached[b->size];
    size_t total_bytes = buf_size_bytes(b->size);

    assert(p->used > 0);
    p->used--;
    if (p->cached_bytes + total_bytes > p->cached_max_bytes) {
        buf_give_back(p, b);
        return;
    }
    b->next = shelf->first;
    shelf->first = b;
    shelf->count++;
    p->cached_bytes += total_bytes;
    buf_poison(b);
}
