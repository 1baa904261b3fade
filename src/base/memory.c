/* SPDX-License-Identifier: MIT */
/* memory: the budget of a worker, in front of the host's allocator or the C library's.
 *
 * Callers say the length again when they free, so nothing is stored beside an object: the count is exact
 * and a host's allocator may be a simple one; what it gives that is not aligned as asked is refused.
 * `used_bytes` counts what was asked for, not what the allocator rounds it to. Every object begins at a
 * multiple of 64 octets, a cache line of most machines.
 *
 * Without an allocator of the host, what is large comes from the system in pages of its own and goes back there when
 * it is freed: the C library would keep it, since something small that lives on lies behind it. */
#include "base/memory.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "adit/base.h"
#include "base/pages.h"

enum { MEMORY_ALIGN = 64 };

void memory_init(struct memory *m, uint64_t budget_bytes, const struct adit_allocator *allocator)
{
    *m = (struct memory){.allocator = allocator, .budget_bytes = budget_bytes};
}

static void *memory_alloc_system(size_t len_bytes, size_t align_bytes)
{
    void *p;

    if (len_bytes >= MEMORY_PAGES_BYTES)
        return align_bytes > MEMORY_ALIGN ? pages_alloc_aligned(len_bytes, align_bytes) : pages_alloc(len_bytes);
    return posix_memalign(&p, align_bytes, len_bytes) == 0 ? p : NULL;
}

/* An address at another place than asked for would lead a pool to memory that is not its own. */
static void *memory_alloc_host(const struct adit_allocator *a, size_t len_bytes, size_t align_bytes)
{
    void *p = a->alloc(a->ctx, len_bytes, align_bytes);

    if (((uintptr_t)p & (align_bytes - 1)) == 0)
        return p;
    a->free(a->ctx, p, len_bytes);
    return NULL;
}

void *memory_alloc(struct memory *m, size_t len_bytes)
{
    return memory_alloc_aligned(m, len_bytes, MEMORY_ALIGN);
}

void *memory_alloc_aligned(struct memory *m, size_t len_bytes, size_t align_bytes)
{
    const struct adit_allocator *a = m->allocator;
    void *p = NULL;

    /* used_bytes never exceeds the budget, so the difference does not wrap. */
    if (len_bytes <= m->budget_bytes - m->used_bytes)
        p = a ? memory_alloc_host(a, len_bytes, align_bytes) : memory_alloc_system(len_bytes, align_bytes);
    if (!p) {
        m->starved++;
        return NULL;
    }
    m->used_bytes += len_bytes;
    if (m->used_bytes > m->peak_bytes)
        m->peak_bytes = m->used_bytes;
    return p;
}

void *memory_alloc_zeroed(struct memory *m, size_t len_bytes)
{
    void *p = memory_alloc(m, len_bytes);
    bool is_fresh = !m->allocator && len_bytes >= MEMORY_PAGES_BYTES;

    return p && !is_fresh ? memset(p, 0, len_bytes) : p;
}

void memory_free(struct memory *m, void *p, size_t len_bytes)
{
    if (!p)
        return;
    assert(m->used_bytes >= len_bytes);
    m->used_bytes -= len_bytes;
    if (m->allocator)
        m->allocator->free(m->allocator->ctx, p, len_bytes);
    else if (len_bytes >= MEMORY_PAGES_BYTES)
        pages_free(p, len_bytes);
    else
        free(p);
}

static uint64_t memory_level_bytes(const struct memory *m, enum memory_pressure level)
{
    static const uint8_t percent[] = {[MEMORY_TIGHT] = 50, [MEMORY_HIGH] = 80, [MEMORY_CRITICAL] = 95};

    return m->budget_bytes / 100 * percent[level];
}

enum memory_pressure memory_pressure(const struct memory *m)
{
    enum memory_pressure level = MEMORY_CRITICAL;

    while (level > MEMORY_EASY && m->used_bytes < memory_level_bytes(m, level))
        level--;
    return level;
}

uint64_t memory_left(const struct memory *m, enum memory_pressure level)
{
    uint64_t full_bytes = memory_level_bytes(m, level);

    return m->used_bytes < full_bytes ? full_bytes - m->used_bytes : 0;
}
