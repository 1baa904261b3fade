/* SPDX-License-Identifier: MIT */
/* pool: blocks of equal objects.
 *
 *     +--------------+--------+--------+- - - - - - - - - - - +
 *     | struct block | object | object |  not yet carved      |
 *     +--------------+--------+--------+- - - - - - - - - - - +
 *     a multiple of the block's length
 *
 * An object's address says where its block begins, so returning one needs no search, and nothing is stored beside it. Blocks
 * are carved as they are needed, which leaves the memory of a fresh block untouched. Invariants: a block is on `partial` exactly
 * when it has an object to give; the empty ones stand at the end of `partial`, and there is at most one. */
#include "base/pool.h"
#include <assert.h>
#include <string.h>
#include "base/memory.h"
#include "base/poison.h"

enum { POOL_BLOCK_BYTES = 16 * 1024, POOL_ALIGN = 8, POOL_LINE = 64 };

struct object {
    struct object *next; /* while free */
};

struct block {
    struct list node;
    struct object *free;
    uint32_t used, carved;
    _Alignas(POOL_LINE) uint8_t slots[];
};

static size_t pool_stride(const struct pool *p)
{
    return ((size_t)p->object_bytes + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
}

static struct block *pool_block_of(const struct pool *p, void *object)
{
    return (struct block *)(void *)((uint8_t *)object - ((uintptr_t)object & (p->block_bytes - 1)));
}

void pool_init(struct pool *p, struct memory *memory, size_t object_bytes, uint32_t used_max)
{
    assert(object_bytes >= sizeof(struct object) && object_bytes <= UINT32_MAX / 4);
    *p = (struct pool){
        .memory = memory,
        .object_bytes = (uint32_t)object_bytes,
        .used_max = used_max,
        .block_bytes = POOL_BLOCK_BYTES,
    };
    while (p->block_bytes < sizeof(struct block) + pool_stride(p))
        p->block_bytes *= 2;
    p->objects_per_block = (uint32_t)((p->block_bytes - sizeof(struct block)) / pool_stride(p));
    list_init(&p->partial);
    list_init(&p->full);
}

static void pool_free_block(struct pool *p, struct block *b)
{
    list_remove(&b->node);
    unpoison(b, p->block_bytes);
    memory_free(p->memory, b, p->block_bytes);
}

void pool_deinit(struct pool *p)
{
    struct list *node;

    assert(p->used == 0 && list_is_empty(&p->full));
    while ((node = list_first(&p->partial)))
        pool_free_block(p, LIST_ENTRY(node, struct block, node));
}

static struct block *pool_add_block(struct pool *p)
{
    struct block *b = memory_alloc_aligned(p->memory, p->block_bytes, p->block_bytes);

    if (!b)
        return NULL;
    b->free = NULL;
    b->used = b->carved = 0;
    list_push_front(&p->partial, &b->node);
    poison(b->slots, p->block_bytes - sizeof(*b));
    return b;
}

static void *pool_take(struct pool *p, struct block *b)
{
    struct object *o = b->free;

    if (o) {
        unpoison(o, p->object_bytes);
        b->free = o->next;
    } else {
        o = (struct object *)(void *)(b->slots + b->carved++ * pool_stride(p));
        unpoison(o, p->object_bytes);
    }
    b->used++;
    return o;
}

void *pool_get_raw(struct pool *p)
{
    struct list *node = list_first(&p->partial);
    struct block *b = NULL;
    void *object;

    if (p->used < p->used_max)
        b = node ? LIST_ENTRY(node, struct block, node) : pool_add_block(p);
    if (!b) {
        p->starved++;
        return NULL;
    }
    object = pool_take(p, b);
    if (b->used == p->objects_per_block) {
        list_remove(&b->node);
        list_push_back(&p->full, &b->node);
    }
    p->used++;
    return object;
}

void *pool_get(struct pool *p)
{
    void *object = pool_get_raw(p);

    return object ? memset(object, 0, p->object_bytes) : NULL;
}

/* A block became empty: it is the one that is kept, unless another is. */
static void pool_retire(struct pool *p, struct block *b)
{
    struct block *last;

    list_remove(&b->node);
    list_push_back(&p->partial, &b->node);
    last = LIST_ENTRY(b->node.prev, struct block, node);
    if (b->node.prev != &p->partial && last->used == 0)
        pool_free_block(p, last);
}

void pool_put(struct pool *p, void *object)
{
    struct object *o = object;
    struct block *b = pool_block_of(p, object);

    assert(b->used > 0);
    if (b->used-- == p->objects_per_block) {
        list_remove(&b->node);
        list_push_front(&p->partial, &b->node);
    }
    o->next = b->free;
    b->free = o;
    poison(o, p->object_bytes);
    p->used--;
    if (b->used == 0)
        pool_retire(p, b);
}
