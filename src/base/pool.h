/* SPDX-License-Identifier: MIT */
/* pool: objects of one size, at most so many of them.
 *
 * Objects are carved from blocks of about 16 KiB; a free one is linked through its own memory and, within
 * a block, the one freed last is handed out first, since it is warm. Blocks in use are filled before
 * empty ones; of the blocks whose objects are all free one is kept, and the others go back to
 * `struct memory`. An empty pool returns NULL and counts it. Objects are aligned to 8 bytes; where
 * POOL_LINED(bytes) is their size, to a cache line. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"

struct memory;

/* The size, at least so large, of which objects follow one another in whole cache lines. */
#define POOL_LINED(bytes) (((bytes) + 63) / 64 * 64)

struct pool {
    struct memory *memory;
    struct list partial, full;  /* blocks with, and without, a free object */
    uint32_t object_bytes, objects_per_block;
    uint32_t block_bytes;       /* a power of two, and blocks begin at multiples of it */
    uint32_t used, used_max;    /* objects handed out now; the limit */
    uint64_t starved;           /* times that the limit or the memory said no */
};

void pool_init(struct pool *p, struct memory *memory, size_t object_bytes, uint32_t used_max);
/* Asserts that every object came back. */
void pool_deinit(struct pool *p);
/* A zeroed object, or NULL. */
void *pool_get(struct pool *p);
/* Its contents are undefined. */
void *pool_get_raw(struct pool *p);
void pool_put(struct pool *p, void *object);
