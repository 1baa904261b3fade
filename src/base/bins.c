/* SPDX-License-Identifier: MIT */
/* bins: see bins.h. A pool that was never asked has no block, so sizes that nobody uses cost nothing. */
#include "base/bins.h"
#include "base/memory.h"

enum { BINS_COUNT = BINS_BYTES_MAX / BINS_STEP_BYTES };

void bins_init(struct bins *b, struct memory *memory)
{
    b->memory = memory;
    for (size_t i = 0; i < BINS_COUNT; i++)
        pool_init(&b->pools[i], memory, (i + 1) * BINS_STEP_BYTES, UINT32_MAX);
}

void bins_deinit(struct bins *b)
{
    for (size_t i = 0; i < BINS_COUNT; i++)
        pool_deinit(&b->pools[i]);
}

static struct pool *bins_pool(struct bins *b, size_t len_bytes)
{
    return &b->pools[len_bytes > 0 ? (len_bytes - 1) / BINS_STEP_BYTES : 0];
}

void *bins_alloc(struct bins *b, size_t len_bytes)
{
    return len_bytes <= BINS_BYTES_MAX ? pool_get(bins_pool(b, len_bytes)) : memory_alloc_zeroed(b->memory, len_bytes);
}

void bins_free(struct bins *b, void *p, size_t len_bytes)
{
    if (len_bytes > BINS_BYTES_MAX)
        memory_free(b->memory, p, len_bytes);
    else if (p)
        pool_put(bins_pool(b, len_bytes), p);
}
